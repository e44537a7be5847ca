//! Standard input into a channel: pipelined, in order, each line acknowledged or accounted for.

use std::collections::VecDeque;
use std::process::ExitCode;

use skywave_client::{ChannelName, Client, ErrorCode, MessageId, PendingPublish, Publish, PublishError};

use super::lines::{self, Form};
use super::progress::Progress;

pub(super) struct Source {
    pub(super) channel: ChannelName,
    pub(super) form: Form,
    pub(super) id_prefix: Option<String>,
}

/// Lines whose acknowledgement is awaited. Full: no more are read.
const AWAITED: usize = 8_192;

/// Publishes until the input ends and everything is answered, or until a refusal that would meet every line.
pub(super) async fn publish_lines(client: &Client, source: Source, quiet: bool) -> anyhow::Result<ExitCode> {
    let mut input = lines::stdin();
    let mut awaited: VecDeque<(u64, PendingPublish)> = VecDeque::new();
    let mut progress = Progress::new(quiet);
    let (mut line_number, mut failed, mut open) = (0u64, 0u64, true);
    while open || !awaited.is_empty() {
        tokio::select! {
            line = input.recv(), if open && awaited.len() < AWAITED => match line {
                None => open = false,
                Some(Err(error)) => {
                    eprintln!("skywave: line {}: {error}", line_number + 1);
                    failed += 1;
                    open = false;
                }
                Some(Ok(line)) => {
                    line_number += 1;
                    match source.publish(line_number, &line) {
                        Ok(publish) => awaited.push_back((line_number, client.enqueue(publish).await?)),
                        Err(error) => {
                            eprintln!("skywave: line {line_number}: {error}");
                            failed += 1;
                        }
                    }
                }
            },
            Some((number, result)) = first(&mut awaited) => match result {
                Ok(published) => progress.acknowledged(published),
                Err(error) => {
                    eprintln!("skywave: line {number}: {error}");
                    failed += 1;
                    if meets_every_line(&error) {
                        // What is on its way is still answered; nothing more is read.
                        open = false;
                    }
                }
            },
        }
    }
    progress.finish();
    client.close().await;
    if failed > 0 {
        eprintln!("skywave: {failed} of {line_number} lines were not published");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer to the oldest line. Cancel-safe; `None` when nothing is awaited.
async fn first(
    awaited: &mut VecDeque<(u64, PendingPublish)>,
) -> Option<(u64, Result<skywave_client::Published, PublishError>)> {
    let (number, pending) = awaited.front_mut()?;
    let number = *number;
    let result = pending.await;
    awaited.pop_front();
    Some((number, result))
}

impl Source {
    fn publish(&self, number: u64, line: &[u8]) -> anyhow::Result<Publish> {
        let mut publish = Publish::new(self.channel.clone(), self.form.payload(line)?);
        if let Some(prefix) = &self.id_prefix {
            publish.id = Some(MessageId::parse(&format!("{prefix}{number}"))?);
        }
        Ok(publish)
    }
}

/// Whether the lines that follow would fail as well.
fn meets_every_line(error: &PublishError) -> bool {
    match error {
        PublishError::Refused(error) => {
            !matches!(error.code, ErrorCode::TooLarge | ErrorCode::InvalidData | ErrorCode::InvalidId)
        }
        PublishError::Closed(_) => true,
        PublishError::TimedOut
        | PublishError::Lost
        | PublishError::OutboxFull
        | PublishError::TooLarge { .. } => false,
    }
}
