//! Questions and orders about the topic: where it begins and ends, and what may be forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use skywave_ports::log::{LogError, LogPosition, Partition};

use crate::background::{Background, Detached};
use crate::client;
use crate::config::KafkaConfig;
use crate::error::KafkaError;

/// Before the second attempt, and at most before a later one.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_AT_MOST: Duration = Duration::from_millis(250);
/// Also when the time for a question is over: then the next one is asked where the leader is.
const REFRESH_AT_LEAST: Duration = Duration::from_millis(500);

/// Its failures are the answers of those who asked.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {}
    fn error(&self, _error: ClientError, _reason: &str) {}
}

/// Clones share one client.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Arc<Detached<AdminClient<Quiet>>>,
    topic: Arc<str>,
    timeout: Duration,
}

impl Admin {
    pub(crate) fn new(config: &KafkaConfig, background: &Background) -> Result<Self, KafkaError> {
        let mut settings = client::settings(config, "admin");
        // Nobody takes from this client's own queue, where its log lines and statistics would gather.
        settings.set_log_level(RDKafkaLogLevel::Emerg).set("statistics.interval.ms", "0");
        let client: AdminClient<Quiet> =
            settings.create_with_context(Quiet).map_err(|error| KafkaError::Client(error.to_string()))?;
        Ok(Self {
            client: Arc::new(Detached::new(client, background.clone())),
            topic: config.topic().into(),
            timeout: config.request_timeout,
        })
    }

    pub(super) fn client(&self) -> &AdminClient<impl ClientContext + use<>> {
        &self.client
    }

    pub(crate) fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }

    /// First kept position and the one the next record will get.
    pub(crate) async fn bounds(&self, partition: Partition) -> Result<(LogPosition, LogPosition), LogError> {
        let admin = self.clone();
        // A leader that has just changed is asked again: the first attempt has learned of the new one.
        let ask = move || {
            let deadline = Instant::now() + admin.timeout;
            let left = || deadline.saturating_duration_since(Instant::now()).max(AGAIN);
            let mut again = AGAIN;
            loop {
                let client = admin.client.inner();
                let error = match client.fetch_watermarks(&admin.topic, partition.cast_signed(), left()) {
                    Ok(watermarks) => return Ok(watermarks),
                    Err(error) => error,
                };
                admin.refresh(left().max(REFRESH_AT_LEAST));
                if !is_passing(&error) || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(again.min(left()));
                again = (again * 2).min(AGAIN_AT_MOST);
            }
        };
        let watermarks = tokio::task::spawn_blocking(ask).await;
        let watermarks = watermarks.map_err(|error| LogError::Unavailable(error.to_string()))?;
        let (first, end) = watermarks.map_err(unavailable)?;
        match (LogPosition::try_from(first), LogPosition::try_from(end)) {
            (Ok(first), Ok(end)) => Ok((first, end)),
            _ => Err(LogError::Unavailable(format!("Kafka says that the log goes from {first} to {end}"))),
        }
    }

    /// Asks the cluster where everything is. A partition that once had no leader is `UnknownPartition` for the library's
    /// questions to leaders for as long as it remembers that, and it does not ask anew by itself. Blocks.
    fn refresh(&self, timeout: Duration) {
        // All topics: asking for one would make it, on brokers that are set to make topics on their own. A failure is met
        // again by whoever needed the answer.
        let _ = self.client.inner().fetch_metadata(None, timeout);
    }

    /// The names of all topics that may be seen.
    pub(crate) async fn topics(&self) -> Result<HashSet<String>, String> {
        let admin = self.clone();
        let ask = move || admin.client.inner().fetch_metadata(None, admin.timeout);
        let metadata = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
        let metadata = metadata.map_err(|error| reason(&error))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// Lets everything before `before` be forgotten.
    pub(crate) async fn delete_before(
        &self,
        partition: Partition,
        before: LogPosition,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(before.cast_signed());
        list.add_partition_offset(&self.topic, partition.cast_signed(), offset).map_err(unavailable)?;
        let mut deleted = self.delete_records(&list).await;
        if deleted.as_ref().is_err_and(is_passing) {
            let admin = self.clone();
            // It has no way to fail but a panic, which has been reported.
            let _ = tokio::task::spawn_blocking(move || admin.refresh(admin.timeout)).await;
            deleted = self.delete_records(&list).await;
        }
        deleted.map_err(unavailable)
    }

    async fn delete_records(&self, list: &TopicPartitionList) -> Result<(), ClientError> {
        let deleted = self.client.delete_records(list, &self.options()).await?;
        deleted.elements().iter().try_for_each(|element| element.error())
    }
}

/// What a change of leader looks like to those who ask the old one, or too early.
fn is_passing(error: &ClientError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    client::is_out_of_sight(code)
        || matches!(
            code,
            Some(
                Code::NotLeaderForPartition
                    | Code::LeaderNotAvailable
                    | Code::OffsetNotAvailable
                    | Code::BrokerTransportFailure
            )
        )
}

pub(crate) fn unavailable(error: ClientError) -> LogError {
    LogError::Unavailable(reason(&error))
}

/// What the library's error comes to, without the names of its types.
pub(crate) fn reason(error: &ClientError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
