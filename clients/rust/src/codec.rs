//! The two encodings behind one face: writes requests into a frame, reads messages out of one.

use skywave_protocol::decode::DecodeError;
use skywave_protocol::{ClientMessage, ServerMessage, binary, json};

use crate::config::Encoding;

impl Encoding {
    /// The WebSocket subprotocol.
    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "skywave.json.v1",
            Self::Binary => "skywave.binary.v1",
        }
    }

    /// Appends a request to a batch.
    pub(crate) fn append(self, message: &ClientMessage, batch: &mut Vec<u8>) {
        match self {
            Self::Json => {
                if !batch.is_empty() {
                    batch.push(b'\n');
                }
                json::encode_client(message, batch);
            }
            Self::Binary => binary::encode_client(message, batch),
        }
    }

    /// The messages of a frame. Kinds this version does not know are skipped.
    pub(crate) fn read(self, frame: &[u8]) -> Result<Vec<ServerMessage>, DecodeError> {
        let known = |read: Result<ServerMessage, DecodeError>| match read {
            Err(DecodeError::UnknownKind { .. }) => None,
            read => Some(read),
        };
        match self {
            Self::Json => json::split(frame).filter_map(|text| known(json::decode_server(text))).collect(),
            Self::Binary => binary::split(frame)
                .filter_map(|message| known(message.and_then(binary::decode_server)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use skywave_protocol::{Push, Reply, Request};

    use super::*;

    #[test]
    fn batches_are_what_the_server_reads() {
        let requests = [1, 2, 3].map(|id| ClientMessage { id, request: Request::Ping });
        for encoding in [Encoding::Json, Encoding::Binary] {
            let mut batch = Vec::new();
            requests.iter().for_each(|request| encoding.append(request, &mut batch));
            let read: Vec<_> = match encoding {
                Encoding::Json => json::decode_client_batch(&batch).map(Result::unwrap).collect(),
                Encoding::Binary => binary::decode_client_batch(&batch).map(Result::unwrap).collect(),
            };
            assert_eq!(read, requests);
        }
    }

    #[test]
    fn frames_hold_several_messages() {
        let messages = [
            ServerMessage::Reply { id: 7, reply: Reply::Pong },
            ServerMessage::Push(Push::Expiring { seconds: 3 }),
        ];
        for encoding in [Encoding::Json, Encoding::Binary] {
            let mut frame = Vec::new();
            for message in &messages {
                match encoding {
                    Encoding::Json => {
                        json::encode_server(message, &mut frame);
                        frame.push(b'\n');
                    }
                    Encoding::Binary => binary::encode_server(message, &mut frame),
                }
            }
            assert_eq!(encoding.read(&frame).unwrap(), messages);
            assert!(encoding.read(b"\x05nonsense").is_err());
        }
    }
}
