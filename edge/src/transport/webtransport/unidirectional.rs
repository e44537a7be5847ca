//! The unidirectional streams a client opens: HTTP/3's own, which stay open as long as the connection stands (ending one
//! would be an error), and others, which are turned away.
//!
//! One after the other: what waits behind a stream that says nothing waits at the client, which has few of them. Never:
//! reads more of a stream than says what it is.

use quinn_proto::{Dir, StreamId};

use super::connection::News;
use super::establish::Failed;
use super::h3::{self, H3Error, Unidirectional};
use super::quic::Quic;

/// Holds something only while a stream has not said what it is.
#[derive(Default)]
pub(super) struct ClientStreams {
    unknown: Option<Box<Unknown>>,
}

struct Unknown {
    stream: StreamId,
    bytes: Vec<u8>,
}

impl ClientStreams {
    /// Looks at what has come. Errors end the connection.
    pub(super) fn read(&mut self, quic: &mut Quic, news: &News) -> Result<(), Failed> {
        if !news.unidirectional {
            return Ok(());
        }
        loop {
            let mut unknown = match self.unknown.take() {
                Some(unknown) => unknown,
                None => match quic.protocol.streams().accept(Dir::Uni) {
                    Some(stream) => Box::new(Unknown { stream, bytes: Vec::new() }),
                    None => return Ok(()),
                },
            };
            match unknown.identify(quic)? {
                None => {
                    self.unknown = Some(unknown);
                    return Ok(());
                }
                Some(Unidirectional::Control | Unidirectional::Qpack) => {}
                // The session knows no unidirectional streams of a client.
                Some(Unidirectional::Other) => {
                    let _ = quic.protocol.recv_stream(unknown.stream).stop(H3Error::StreamCreation.code());
                }
            }
        }
    }
}

impl Unknown {
    /// What it is, once enough has arrived.
    fn identify(&mut self, quic: &mut Quic) -> Result<Option<Unidirectional>, Failed> {
        let goes_on = quic.read_beginning(self.stream, &mut self.bytes)?;
        let Some((kind, used)) = h3::unidirectional(&self.bytes) else {
            return Ok((!goes_on).then_some(Unidirectional::Other));
        };
        if kind == Unidirectional::Control
            && h3::begins_with_settings(&self.bytes[used..]).transpose()?.is_none()
        {
            return if goes_on { Ok(None) } else { Err(H3Error::MissingSettings.into()) };
        }
        Ok(Some(kind))
    }
}
