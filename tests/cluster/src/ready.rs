//! Whether a process serves those it is there for: asked from outside, knowing only its address.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skywave_servers::nats::NatsServer;
use skywave_servers::redis::Redis;
use skywave_servers::{Kafka, Postgres, http};
use skywave_wan::Control;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ready {
    /// It says so itself, at `/health/ready`.
    Skywave(SocketAddr),
    /// The address is its monitor's.
    Nats(SocketAddr),
    Redis(SocketAddr),
    Kafka(SocketAddr),
    Postgres(SocketAddr),
    Wan(PathBuf),
}

impl Ready {
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Skywave(address) => {
                http::get(*address, "/health/ready").is_ok_and(|(status, _)| status == 200)
            }
            Self::Nats(monitor) => NatsServer::serves(*monitor),
            Self::Redis(address) => Redis::answers(*address),
            Self::Kafka(address) => Kafka::takes_part(*address),
            Self::Postgres(address) => Postgres::takes_queries(*address),
            Self::Wan(socket) => Control::connect(socket).and_then(|mut control| control.status()).is_ok(),
        }
    }
}
