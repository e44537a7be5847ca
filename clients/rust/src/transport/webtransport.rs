//! WebTransport over HTTP/3.

use tokio::sync::mpsc;

use super::{Dialer, Report, hopeless};
use crate::machine::Broken;

pub(super) async fn run(
    _dialer: &Dialer,
    _url: &str,
    _queue: mpsc::Receiver<Vec<u8>>,
    _report: &Report,
) -> Broken {
    hopeless("WebTransport is not available yet")
}
