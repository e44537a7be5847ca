//! The `skywave` command: parses the command line and hands over to one module per subcommand.
//!
//! Every subcommand decides about its own runtime (a server wants one thread per core, a benchmark pins its own) and
//! returns its exit code: 0 done, 1 the work failed, 2 it could not begin (wrong usage, configuration or environment).

mod backends;
mod bench;
mod check_config;
mod connection;
mod core;
mod dev;
mod edge;
mod publish;
mod serving;
mod settings;
mod subscribe;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Gives memory back when a burst is over (the system's own allocator keeps what lies between things that live on), and adds
/// nothing to the many small things a channel consists of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Skywave, a self-hosted realtime relay.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  skywave                          a relay on http://127.0.0.1:8080, data in ./data
  skywave sub chat:lobby           print what is published
  skywave pub chat:lobby hello     publish one message
  skywave pub weblog < access.log  one line, one publication, in order
  skywave token --user ada --cap 'chat:*=*' --secret-file secret

Without a subcommand, `skywave` means `skywave dev`.";

#[derive(Subcommand)]
enum Command {
    Dev(dev::Args),
    Edge(edge::Args),
    Core(core::Args),
    #[command(name = "pub")]
    Publish(publish::Args),
    #[command(name = "sub")]
    Subscribe(subscribe::Args),
    Token(token::Args),
    CheckConfig(check_config::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or_else(|| Command::Dev(dev::Args::default())) {
        Command::Dev(args) => dev::run(args),
        Command::Edge(args) => edge::run(args),
        Command::Core(args) => core::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Token(args) => token::run(args),
        Command::CheckConfig(args) => check_config::run(args),
        Command::Bench(args) => bench::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("skywave: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
