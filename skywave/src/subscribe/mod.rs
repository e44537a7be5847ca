//! `skywave sub`: prints what is published, one line a publication.

mod print;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use skywave_client::{ChannelName, Start, SubscribeOptions, Subscription, SubscriptionEvent};
use tokio::sync::mpsc;

use crate::connection::{self, ConnectionArgs, printable};
use print::Style;

/// Print what is published, one line for each publication
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(value_name = "CHANNEL", required = true, value_parser = connection::channel)]
    channels: Vec<ChannelName>,
    /// Print JSON objects with channel, position, id, publisher, time and data
    #[arg(long)]
    json: bool,
    /// Begin with this offset, or with the oldest publication that is kept
    #[arg(long, value_name = "OFFSET|beginning", value_parser = start)]
    from: Option<Start>,
    /// End after this many publications
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Tell on standard error who comes and goes
    #[arg(long)]
    presence: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Examples:
  skywave sub chat:lobby
  skywave sub chat:lobby chat:kitchen --json
  skywave sub weblog --from beginning --count 1000 > access.log

JSON strings are printed without quotes, bytes as they are, everything else as JSON. Where messages may hold line
breaks of their own, --json keeps one line a publication.

The command lives through restarts of the relay: it goes on after the last publication it has printed, without loss
and without repetition. What the relay no longer has is announced on standard error.

Exit code 0: nothing was missed. 1: the subscription ended or failed. 3: there was a gap.";

/// Exit code when publications were announced as lost.
const GAP: u8 = 3;
/// Events between the subscriptions and the printer. Full: the subscriptions wait, and through them the relay.
const QUEUE: usize = 1_024;

fn start(text: &str) -> Result<Start, String> {
    match text {
        "beginning" => Ok(Start::Beginning),
        _ => match text.parse() {
            Ok(0) => Ok(Start::Beginning),
            Ok(offset) => Ok(Start::Offset(offset)),
            Err(_) => Err("an offset (1, 2, 3 …) or the word beginning".into()),
        },
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    connection::block_on(subscribe(args))?
}

async fn subscribe(args: Args) -> anyhow::Result<ExitCode> {
    let client = connection::connect(args.connection.config()?).await?;
    let (sender, mut events) = mpsc::channel(QUEUE);
    for channel in &args.channels {
        let options =
            SubscribeOptions { start: args.from.clone().unwrap_or_default(), presence: args.presence };
        let subscription = client.subscribe(channel, options).await?;
        tokio::spawn(forward(subscription, sender.clone()));
    }
    drop(sender);
    let style = match (args.json, io::stdout().is_terminal()) {
        (true, _) => Style::Json,
        (false, true) => Style::Terminal,
        (false, false) => Style::Raw,
    };
    let code = print_all(&mut events, style, args.count).await?;
    if code == ExitCode::FAILURE
        && let skywave_client::State::Closed(error) = client.state()
    {
        eprintln!("skywave: {error}");
    }
    client.close().await;
    Ok(code)
}

async fn forward(mut subscription: Subscription, events: mpsc::Sender<(ChannelName, SubscriptionEvent)>) {
    while let Some(event) = subscription.next().await {
        if events.send((subscription.channel().clone(), event)).await.is_err() {
            return;
        }
    }
}

/// Prints until `count` publications are out or nothing more can come.
async fn print_all(
    events: &mut mpsc::Receiver<(ChannelName, SubscriptionEvent)>,
    style: Style,
    count: Option<u64>,
) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut ready = Vec::with_capacity(QUEUE);
    let (mut printed, mut gap, mut ended) = (0u64, false, false);
    let wanted = count.unwrap_or(u64::MAX);
    while printed < wanted {
        if events.recv_many(&mut ready, QUEUE).await == 0 {
            ended = true;
            break;
        }
        for (channel, event) in ready.drain(..) {
            match event {
                SubscriptionEvent::Publication { position, publication } => {
                    if printed < wanted {
                        if broken_pipe(style.write(&mut out, &channel, position.as_ref(), &publication))? {
                            return Ok(ExitCode::SUCCESS);
                        }
                        printed += 1;
                    }
                }
                SubscriptionEvent::Gap { from, to, reason, .. } => {
                    gap = true;
                    if from > to {
                        eprintln!("skywave: {channel}: the log has begun anew ({reason:?})");
                    } else {
                        eprintln!("skywave: {channel}: publications {from} to {to} are lost ({reason:?})");
                    }
                }
                SubscriptionEvent::Ended(error) => {
                    ended = true;
                    eprintln!("skywave: {channel}: {}", printable(&error.to_string()));
                }
                SubscriptionEvent::Join(member) => {
                    eprintln!("skywave: {channel}: {} came", print::name(&member))
                }
                SubscriptionEvent::Leave(member) => {
                    eprintln!("skywave: {channel}: {} left", print::name(&member))
                }
                SubscriptionEvent::Subscribed { .. } => {}
            }
        }
        if broken_pipe(out.flush())? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(match (ended, gap) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(GAP),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Whoever reads has had enough (`skywave sub x | head`): no error.
fn broken_pipe(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error),
    }
}
