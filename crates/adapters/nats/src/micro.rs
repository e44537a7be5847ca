//! A micro service on NATS: subjects under one prefix that any NATS client may ask, shared among all instances, and
//! discoverable (`nats micro ls`; ADR-32 of NATS, <https://github.com/nats-io/nats-architecture-and-design>).
//!
//! - Each endpoint is a subject `<service>.<endpoint>`; all instances form one queue group, so that one of them answers.
//!   In a super-cluster NATS prefers instances of the asker's own cluster.
//! - An endpoint that may be *scoped* is served on `<service>.<endpoint>.<scope>` as well. NATS permissions can then allow
//!   a service one scope and not the others; what the scope means is the answering side's business.
//! - An error goes out as the headers `Nats-Service-Error` and `Nats-Service-Error-Code` (its HTTP status), with
//!   `Skywave-Error` (its code) and, where it says so, `Skywave-Retry-After-Ms`.
//!
//! At most `in_flight` questions are answered at a time; further ones are refused with `rate_limited` at once.
//! Never: looks into a body, or decides who may ask what: NATS permissions by subject do.

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint as Questions;
use async_nats::service::{Request, Service, ServiceExt, error};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use skywave_protocol::{ErrorCode, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// What a service is called and answers.
#[derive(Debug, Clone)]
pub struct MicroConfig {
    /// First token of every subject: letters, digits, `_` and `-`.
    pub name: &'static str,
    /// A semantic version.
    pub version: &'static str,
    pub description: String,
    pub endpoints: Vec<MicroEndpoint>,
    /// Questions answered at a time.
    pub in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MicroEndpoint {
    /// Last token of the subject.
    pub name: &'static str,
    pub description: &'static str,
    /// Also served with one more token.
    pub scoped: bool,
}

/// One question as it came.
#[derive(Debug, Clone)]
pub struct Question {
    pub endpoint: &'static str,
    /// The subject's last token, if the question came under a scope.
    pub scope: Option<String>,
    pub body: Bytes,
}

/// Answers questions.
pub type Answerer = Arc<dyn Fn(Question) -> BoxFuture<'static, Result<Vec<u8>, WireError>> + Send + Sync>;

/// How long the server has for an answer.
const ROUND_TRIP: Duration = Duration::from_secs(5);

/// Why a service could not start.
#[derive(Debug, thiserror::Error)]
#[error("the NATS micro service cannot start: {0}")]
pub struct MicroError(String);

/// A running service.
pub struct MicroService {
    client: Client,
    service: Service,
    endpoints: Vec<JoinHandle<()>>,
    slots: Arc<Semaphore>,
    in_flight: u32,
}

impl MicroService {
    /// Subscribes to every endpoint. Questions that come from now on are answered.
    pub async fn start(client: &Client, config: MicroConfig, answerer: Answerer) -> Result<Self, MicroError> {
        let MicroConfig { name, version, description, endpoints, in_flight } = config;
        let wrong = |error: async_nats::Error| MicroError(error.to_string());
        let builder = client.service_builder().description(description).queue_group(name);
        let service = builder.start(name, version).await.map_err(wrong)?;
        let group = service.group(name);
        // A u32, for that is what a semaphore gives out at once when everything is waited for.
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX).max(1);
        let slots = Arc::new(Semaphore::new(in_flight as usize));
        let mut tasks = Vec::new();
        for endpoint in endpoints {
            let subjects = [(endpoint.name.to_owned(), endpoint.name.to_owned())];
            let scoped = (format!("{}-in", endpoint.name), format!("{}.*", endpoint.name));
            for (label, subject) in subjects.into_iter().chain(endpoint.scoped.then_some(scoped)) {
                let metadata = [("description".to_owned(), endpoint.description.to_owned())].into();
                let builder = group.endpoint_builder().name(label).metadata(metadata);
                let questions = builder.add(subject).await.map_err(wrong)?;
                tasks.push(tokio::spawn(serve(endpoint.name, questions, slots.clone(), answerer.clone())));
            }
        }
        // What was subscribed is known to the server when this returns.
        round_trip(client).await.map_err(wrong)?;
        Ok(Self { client: client.clone(), service, endpoints: tasks, slots, in_flight })
    }

    /// Takes no more questions, and returns when those taken have been answered. One that is on its way just now is
    /// answered by nobody: its asker asks again, publications under the same id.
    pub async fn stop(self) {
        let Self { client, service, endpoints, slots, in_flight } = self;
        // Never fails: it only tells tasks of this process.
        let _ = service.stop().await;
        for endpoint in endpoints {
            // One that panicked has stopped as well.
            let _ = endpoint.await;
        }
        // From here on the server sends questions to others. (Without a connection it does so anyway.)
        let _ = round_trip(&client).await;
        let _ = slots.acquire_many(in_flight).await;
    }
}

/// To the server and back: it has taken note of everything that was sent before. (A flush only writes.)
async fn round_trip(client: &Client) -> Result<(), async_nats::Error> {
    let inbox = client.new_inbox();
    let mut back = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Bytes::new()).await?;
    match tokio::time::timeout(ROUND_TRIP, back.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err("the NATS server does not answer".into()),
    }
}

async fn serve(endpoint: &'static str, mut questions: Questions, slots: Arc<Semaphore>, answerer: Answerer) {
    while let Some(request) = questions.next().await {
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                tokio::spawn(answer(endpoint, request, answerer.clone(), slot));
            }
            Err(_) => {
                let error = WireError::new(ErrorCode::RateLimited, "too many questions are being answered");
                respond(&request, Err(error.retry_after_ms(1_000))).await;
            }
        }
    }
}

async fn answer(endpoint: &'static str, request: Request, answerer: Answerer, slot: OwnedSemaphorePermit) {
    let body = request.message.payload.clone();
    let question = Question { endpoint, scope: scope(endpoint, &request.message.subject), body };
    let result = answerer(question).await;
    respond(&request, result).await;
    drop(slot);
}

/// The token behind the endpoint's own: `publish.chat` in `skywave.publish.chat`.
fn scope(endpoint: &str, subject: &str) -> Option<String> {
    let mut tokens = subject.rsplit('.');
    match (tokens.next(), tokens.next()) {
        (Some(last), Some(before)) if last != endpoint || before == endpoint => Some(last.to_owned()),
        _ => None,
    }
}

async fn respond(request: &Request, result: Result<Vec<u8>, WireError>) {
    let sent = match result {
        Ok(body) => request.respond(Ok(body.into())).await,
        Err(refused) => {
            let mut headers = HeaderMap::new();
            headers.insert("Skywave-Error", refused.code.name());
            if let Some(ms) = refused.retry_after_ms {
                headers.insert("Skywave-Retry-After-Ms", ms.to_string().as_str());
            }
            let status = format!("{}: {}", refused.code.name(), one_line(&refused.message));
            let error = error::Error { status, code: refused.code.http_status().into() };
            request.respond_with_headers(Err(error), headers).await
        }
    };
    if let Err(error) = sent {
        // Asked without a reply subject, or the connection is gone: the asker's own time-out ends it.
        tracing::debug!(%error, "a question could not be answered");
    }
}

/// A header holds one line; what others sent may be in the message.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_what_stands_behind_the_endpoint() {
        assert_eq!(scope("publish", "skywave.publish"), None);
        assert_eq!(scope("publish", "skywave.publish.chat"), Some("chat".into()));
        assert_eq!(scope("publish", "skywave.publish.publish"), Some("publish".into()));
    }
}
