//! `POST /v1/sse`: requests of the client whose event stream stands.

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use skywave_protocol::ErrorCode;
use tokio::time::timeout;

use super::secret::Secret;
use super::session;
use crate::http::answer::Refusal;
use crate::http::{Api, body};

/// The header that holds the secret of the stream's first event.
const SESSION: &str = "skywave-session";

/// 204 when the requests are on their way to the session; their answers come on the stream.
pub(crate) async fn receive(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let secret = headers.get(SESSION).and_then(|value| value.to_str().ok()).and_then(Secret::parse);
    let unknown = || Refusal::new(ErrorCode::NotFound, "no event stream stands under this Skywave-Session");
    let secret = secret.ok_or_else(unknown)?;
    let worker = api.shared.workers.get(usize::from(secret.worker())).ok_or_else(unknown)?;
    let deadline = api.shared.config.timing.head;
    let lines = body::read(body, api.shared.config.limits.message_bytes, deadline).await?;
    let digest = secret.digest();
    let found = worker.run(move |_| session::find(&digest)).await;
    let session = found.ok().flatten().ok_or_else(unknown)?;
    match timeout(deadline, session.send(lines)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(_)) => Err(unknown()),
        Err(_) => Err(Refusal::new(ErrorCode::RateLimited, "earlier requests are still waiting")),
    }
}
