//! `skywave pub`: publishes its argument, or standard input line by line, in order.

mod lines;
mod pipe;
mod progress;

use std::process::ExitCode;
use std::time::Duration;

use skywave_client::{ChannelName, Client, MessageId, Publish};

use crate::connection::{self, ConnectionArgs};
use lines::Form;

/// Publish to a channel: the argument, or every line of standard input
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(value_name = "CHANNEL", value_parser = connection::channel)]
    channel: ChannelName,
    /// What to publish; without it, each line of standard input is one publication
    data: Option<String>,
    /// The data is JSON and published as it is
    #[arg(long, conflicts_with = "binary")]
    json: bool,
    /// The data is published as bytes, whatever it is
    #[arg(long)]
    binary: bool,
    /// Message id of the one publication; publishing it again under this id has no effect
    #[arg(long, value_name = "ID", conflicts_with = "id_prefix", requires = "data")]
    id: Option<String>,
    /// Ids are PREFIX and the line's number: running the command again publishes only what is missing
    #[arg(long, value_name = "PREFIX", conflicts_with = "data")]
    id_prefix: Option<String>,
    /// Publications on their way at once. With 1 the order holds even if the relay refuses some for a while
    #[arg(long, value_name = "N", default_value_t = 256)]
    window: usize,
    /// Give up a publication after this many seconds without acknowledgement (0: never)
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    /// No progress and no summary
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Examples:
  skywave pub chat:lobby 'hello'
  skywave pub chat:lobby --json '{\"text\":\"hello\"}'
  skywave pub weblog < access.log
  skywave pub weblog --id-prefix access-2026-01-01: < access.log

Lines travel as JSON strings (as bytes if they are not UTF-8), so that `skywave pub X < file` and
`skywave sub X > copy` make a copy. The command lives through restarts of the relay: what is not acknowledged is
sent again, in order, and published once. With a rate limit on the relay, --window 1 keeps the order strictly.

Exit code 0: everything is acknowledged. 1: something could not be published.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    connection::block_on(publish(args))?
}

async fn publish(args: Args) -> anyhow::Result<ExitCode> {
    let mut config = args.connection.config()?;
    config.window = args.window.max(1);
    config.publish_timeout = (args.timeout > 0).then(|| Duration::from_secs(args.timeout));
    let form = match (args.json, args.binary) {
        (true, _) => Form::Json,
        (_, true) => Form::Binary,
        _ => Form::Text,
    };
    if let Some(prefix) = &args.id_prefix {
        // Room for any line number.
        MessageId::parse(&format!("{prefix}{}", u64::MAX))
            .map_err(|error| anyhow::anyhow!("--id-prefix: with a number behind it, {error}"))?;
    }
    match &args.data {
        Some(data) => {
            let mut publish = Publish::new(args.channel.clone(), form.payload(data.as_bytes())?);
            publish.id = args.id.as_deref().map(MessageId::parse).transpose()?;
            let client = connection::connect(config).await?;
            one(&client, publish, args.quiet).await
        }
        None => {
            let client = connection::connect(config).await?;
            let source = pipe::Source { channel: args.channel, form, id_prefix: args.id_prefix };
            pipe::publish_lines(&client, source, args.quiet).await
        }
    }
}

async fn one(client: &Client, publish: Publish, quiet: bool) -> anyhow::Result<ExitCode> {
    let published = client.enqueue(publish).await?.await?;
    if !quiet {
        let duplicate = if published.duplicate { ", which had been published before" } else { "" };
        match published.position {
            Some(position) => eprintln!("published at {}:{}{duplicate}", position.epoch, position.offset),
            None => eprintln!("published (the channel is ephemeral)"),
        }
    }
    client.close().await;
    Ok(ExitCode::SUCCESS)
}
