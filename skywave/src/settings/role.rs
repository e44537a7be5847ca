//! What a process is, and so which sections of the configuration it uses.

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

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Edge => "edge",
            Self::Core => "core",
        }
    }
}
