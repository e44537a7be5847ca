//! Standard input as lines, and lines as payloads.

use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use skywave_client::Payload;
use skywave_protocol::limits::MESSAGE_BYTES_MAX;
use tokio::sync::mpsc;

/// Lines read ahead of what is on its way. Full: reading waits.
const AHEAD: usize = 1_024;

/// How a line travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a JSON string, or as bytes if it is not UTF-8.
    Text,
    Json,
    Binary,
}

impl Form {
    pub(super) fn payload(self, line: &[u8]) -> anyhow::Result<Payload> {
        match (self, std::str::from_utf8(line)) {
            (Self::Json, _) => Ok(Payload::from_json(line)?),
            (Self::Text, Ok(text)) => Ok(Payload::Json(Bytes::from(serde_json::to_vec(text)?))),
            (Self::Text, Err(_)) | (Self::Binary, _) => Ok(Payload::Binary(Bytes::copy_from_slice(line))),
        }
    }
}

/// Reads standard input in a thread of its own, line by line and without the line ends.
pub(super) fn stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
        while let Some(line) = next(&mut input).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    lines
}

/// The next line; no more of it is held than a message can carry.
fn next(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.take(MESSAGE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MESSAGE_BYTES_MAX {
        let problem = format!("a line has more than {MESSAGE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_stands_between_line_ends() {
        let mut input = io::Cursor::new(b"a\r\n\n\xff\nlast".to_vec());
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"a\r"[..], b"", b"\xff", b"last"]);
        let endless = vec![b'x'; MESSAGE_BYTES_MAX + 10];
        assert!(next(&mut io::Cursor::new(endless)).is_err());
    }

    #[test]
    fn a_line_travels_in_its_form() {
        let text = |line: &[u8]| Form::Text.payload(line).unwrap();
        assert_eq!(text(b"say \"hi\"\t"), Payload::Json(Bytes::from_static(br#""say \"hi\"\t""#)));
        assert_eq!(text(b""), Payload::Json(Bytes::from_static(b"\"\"")));
        assert_eq!(text(b"\xff"), Payload::Binary(Bytes::from_static(b"\xff")));
        assert_eq!(Form::Json.payload(b" [1] ").unwrap(), Payload::Json(Bytes::from_static(b"[1]")));
        assert!(Form::Json.payload(b"[1").is_err());
        assert_eq!(Form::Binary.payload(b"x").unwrap(), Payload::Binary(Bytes::from_static(b"x")));
    }
}
