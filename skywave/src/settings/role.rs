//! What a process is, and so which sections of the configuration it uses.

use std::net::SocketAddr;

use skywave_runtime::config::FlagValue;

/// Everything in one process, or one part of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Role {
    /// `skywave dev`: everything embedded.
    #[default]
    Dev,
    /// `skywave edge`: clients, over NATS and Redis.
    Edge,
    /// `skywave core`: sequencer and history, over NATS, Kafka and Postgres.
    Core,
}

impl Role {
    pub(crate) fn has_edge(self) -> bool {
        self != Self::Core
    }

    pub(crate) fn has_core(self) -> bool {
        self != Self::Edge
    }

    /// `--listen` of a service, as a setting.
    pub(crate) fn listen_flag(self, address: Option<SocketAddr>) -> Vec<FlagValue> {
        let value = |address: SocketAddr| FlagValue {
            flag: "--listen".into(),
            path: format!("{}.listen", self.name()),
            value: address.to_string(),
        };
        address.map(value).into_iter().collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Edge => "edge",
            Self::Core => "core",
        }
    }
}
