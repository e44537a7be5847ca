//! The bus on NATS: one connection, its outgoing and its incoming side.

use std::sync::Arc;

use async_nats::Client;
use async_nats::connection::State;
use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_ports::{Bus, BusError, Inbox, Subscription};
use skywave_protocol::Subject;
use tokio::time::timeout;

use crate::config::NatsConfig;
use crate::connect;
use crate::error::NatsError;
use crate::interest::Interests;
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::publish::Publisher;
use crate::round_trip::RoundTrips;

/// A connection to NATS; clones share it. It ends with the last clone.
#[derive(Clone)]
pub struct NatsBus(Arc<Sides>);

struct Sides {
    client: Arc<Client>,
    publisher: Publisher,
    interests: Interests,
    round_trips: RoundTrips,
}

impl NatsBus {
    /// Connects within `start_timeout`, or says why not. From then on a lost connection is made again, for ever. Its tasks
    /// run on the current runtime.
    pub async fn connect(config: NatsConfig, registry: &mut Registry) -> Result<Self, NatsError> {
        let metrics = Metrics::register(registry);
        let client = Arc::new(connect::connect(&config, &metrics).await?);
        registry.register_collector(Box::new(ConnectionMetrics(Arc::downgrade(&client))));
        let round_trips = Self::first_round_trip(&client, &config).await?;
        let interests = Interests::start(
            Arc::clone(&client),
            round_trips.clone(),
            metrics.clone(),
            config.exact_subscriptions,
            config.subscription_queue,
            config.subscribe_timeout,
        );
        let publisher = Publisher::new(Arc::clone(&client), metrics, config.publish_queue_bytes);
        Ok(Self(Arc::new(Sides { client, publisher, interests, round_trips })))
    }

    /// A server that does not let us make one would make every subscription wait in vain: better to know now.
    async fn first_round_trip(client: &Client, config: &NatsConfig) -> Result<RoundTrips, NatsError> {
        let servers = config.servers.join(", ");
        let first = async {
            let round_trips = RoundTrips::start(client.clone()).await.ok()?;
            round_trips.wait().await.then_some(round_trips)
        };
        match timeout(config.start_timeout, first).await {
            Ok(Some(round_trips)) => Ok(round_trips),
            _ if client.connection_state() == State::Connected => {
                Err(NatsError::Forbidden { servers, auth: format!("{:?}", config.auth) })
            }
            _ => {
                let reason = "the connection was lost again".to_owned();
                Err(NatsError::Unreachable { servers, waited: config.start_timeout, reason })
            }
        }
    }

    /// Whether the connection stands, as far as is known: a server that fell silent is noticed after three ping intervals.
    pub fn connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// The connection itself, for what else speaks on it: [`crate::micro`], [`crate::NatsRegister`]. It stays open while a clone lives.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Returns when the server has everything that was published before; without a connection it waits. For the end of a
    /// process, whose last answers should still go out.
    pub async fn flush(&self) {
        self.0.round_trips.wait().await;
    }
}

#[async_trait]
impl Bus for NatsBus {
    fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.0.publisher.publish(subject, payload)
    }

    async fn subscribe(
        &self,
        subject: &Subject,
        group: Option<&str>,
        inbox: &Inbox,
    ) -> Result<Subscription, BusError> {
        self.0.interests.subscribe(subject, group, inbox).await
    }
}
