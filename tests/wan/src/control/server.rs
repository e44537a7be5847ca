//! The served end of the control socket.

use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::message::{Answer, Request};
use crate::network::Network;

/// Longest request line.
const LINE: u64 = 64 * 1024;

/// Answers requests until one of them is `stop`.
pub(crate) async fn listen(network: Rc<Network>, listener: UnixListener) {
    let stop = Rc::new(Notify::new());
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (network, stop) = (network.clone(), stop.clone());
                    clients.spawn_local(async move {
                        // A client that is gone needs no answer.
                        let _ = converse(&network, &stop, stream).await;
                    });
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = clients.join_next() => {}
            () = stop.notified() => return,
        }
    }
}

async fn converse(network: &Rc<Network>, stop: &Notify, mut stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        if (&mut reader).take(LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let request: Result<Request, _> = serde_json::from_str(&line);
        let (answer, ends) = match request {
            Ok(Request::Stop) => (Answer::Done, true),
            Ok(request) => {
                (network.handle(request).unwrap_or_else(|error| Answer::Error(format!("{error:#}"))), false)
            }
            Err(error) => (Answer::Error(format!("not a request: {error}")), false),
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        writer.write_all(&bytes).await?;
        if ends {
            stop.notify_one();
        }
    }
}
