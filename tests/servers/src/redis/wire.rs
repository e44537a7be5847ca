//! One command and its answer (RESP 2), so that tests can look at a server without the client under test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
/// Of one text in an answer.
const TEXT_BYTES: usize = 16 * 1024 * 1024;

pub(super) fn ask(address: SocketAddr, password: Option<&str>, command: &[&str]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    if let Some(password) = password {
        stream.write_all(&encode(&["AUTH", password]))?;
        answer(&mut answers)?;
    }
    stream.write_all(&encode(command))?;
    answer(&mut answers)
}

fn encode(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend(format!("${}\r\n{part}\r\n", part.len()).into_bytes());
    }
    bytes
}

fn answer(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else { anyhow::bail!("the server has gone") };
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" => {
            // A length of -1 stands for none.
            let Ok(length) = usize::try_from(rest.parse::<i64>()?) else { return Ok(String::new()) };
            anyhow::ensure!(length <= TEXT_BYTES, "a text of {length} bytes");
            let mut text = vec![0; length + 2];
            from.read_exact(&mut text)?;
            text.truncate(length);
            Ok(String::from_utf8(text)?)
        }
        "*" => {
            let count = rest.parse::<i64>()?.max(0);
            let elements: Result<Vec<_>, _> = (0..count).map(|_| answer(from)).collect();
            Ok(elements?.join("\n"))
        }
        _ => anyhow::bail!("{line}"),
    }
}
