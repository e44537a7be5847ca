//! Real nats-servers: one, a cluster, or a super-cluster of clusters joined by gateways.
//!
//! [`NatsOptions`] says everything about one server and is kept as its configuration file, so that a server which was
//! killed comes back on the same ports, with the same files. [`NatsCluster`] and [`SuperCluster`] fill the options in for
//! servers of one machine; who needs other addresses (links through a proxy, network namespaces) fills them in himself.

mod cluster;
mod configuration;
mod options;
mod server;

pub use cluster::{NatsCluster, SuperCluster};
pub use options::{
    Authorization, Gateway, JetStream, NatsOptions, Permissions, RemoteGateway, Routes, Tls, User,
};
pub use server::NatsServer;
