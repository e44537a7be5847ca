//! `GET /v1/sse`: opens an event stream and the session behind it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use skywave_protocol::limits::BATCH_REQUESTS;
use skywave_protocol::message::{Connect, Request as Wish, Subscribe};
use skywave_protocol::{ChannelName, ClientMessage, ErrorCode, WireError};

use super::events::Events;
use super::queue::Queue;
use super::secret::Secret;
use super::session::{self, Beginning};
use crate::http::access::{address, bearer};
use crate::http::answer::Refusal;
use crate::http::{Api, native};

/// The query as it stands: `subscribe` may come more than once.
type Pairs = Vec<(String, String)>;

pub(crate) async fn open(
    State(api): State<Api>,
    query: Result<Query<Pairs>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(pairs) = query.map_err(|error| Refusal::new(ErrorCode::BadRequest, error.body_text()))?;
    let (head, _) = request.into_parts();
    let requests = requests(bearer(&head)?, &pairs)?;
    let Some(secret) = Secret::new(api.worker) else {
        return Err(Refusal::new(ErrorCode::Internal, "the system gives no random numbers"));
    };
    let queue = Arc::<Queue>::default();
    // Before anything can fail: a body that is dropped ends the session.
    let events = Events::new(queue.clone());
    let beginning = Beginning { secret, address: address(&head), requests };
    api.shared.workers[usize::from(api.worker)]
        .run(move |worker| session::begin(worker, queue, beginning))
        .await
        .map_err(|_| Refusal::new(ErrorCode::Draining, "this node is stopping"))??;
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // For nginx, which would otherwise collect events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What a client that cannot POST wants: to connect with the token it shows, and to subscribe. None of it for one that
/// asks for nothing: it will POST.
fn requests(bearer: Option<&str>, pairs: &Pairs) -> Result<Vec<ClientMessage>, WireError> {
    let bad = |message: String| WireError::new(ErrorCode::BadRequest, message);
    let mut token = bearer.map(str::to_owned);
    let mut wishes = Vec::new();
    for (key, value) in pairs {
        match key.as_str() {
            "access_token" if token.is_some() => return Err(bad("give one token".into())),
            "access_token" => token = Some(value.clone()),
            "subscribe" if wishes.len() + 1 >= BATCH_REQUESTS => {
                return Err(bad(format!("at most {} subscriptions here", BATCH_REQUESTS - 1)));
            }
            "subscribe" => wishes.push(subscription(value)?),
            _ => {}
        }
    }
    if token.is_none() && wishes.is_empty() {
        return Ok(Vec::new());
    }
    wishes.insert(0, Wish::Connect(Connect { token, ..Connect::default() }));
    Ok((1..).zip(wishes).map(|(id, request)| ClientMessage { id, request }).collect())
}

/// A channel's name, or the object that the native protocol's `subscribe` holds (with `recover`, for one).
fn subscription(value: &str) -> Result<Wish, WireError> {
    if value.starts_with('{') {
        return native::request("subscribe", value.as_bytes());
    }
    let channel = ChannelName::parse(value)
        .map_err(|error| WireError::new(ErrorCode::InvalidChannel, error.to_string()))?;
    Ok(Wish::Subscribe(Subscribe { channel, recover: None, presence: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_client_that_asks_for_nothing_will_post() {
        assert_eq!(requests(None, &Vec::new()).unwrap(), []);
    }

    #[test]
    fn a_token_or_a_channel_connects_at_once() {
        let got = requests(Some("t"), &Vec::new()).unwrap();
        assert_eq!(got.len(), 1);
        let wanted = [
            ("access_token", "t"),
            ("subscribe", "chat:1"),
            ("subscribe", r#"{"channel":"chat:2","recover":{"epoch":"e","offset":7}}"#),
        ];
        let got = requests(None, &pairs(&wanted)).unwrap();
        let ids: Vec<u32> = got.iter().map(|message| message.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(matches!(&got[0].request, Wish::Connect(connect) if connect.token.as_deref() == Some("t")));
        assert!(
            matches!(&got[2].request, Wish::Subscribe(subscribe) if subscribe.recover.as_ref().is_some_and(|p| p.offset == 7))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            pairs(&[("subscribe", "a b")]),
            pairs(&[("subscribe", "")]),
            pairs(&[("subscribe", "{")]),
            pairs(&[("subscribe", r#"{"channel":"a"}},"publish":{"#)]),
            pairs(&[("access_token", "a"), ("access_token", "b")]),
            vec![("subscribe".into(), "a".into()); BATCH_REQUESTS],
        ] {
            assert!(requests(None, &bad).is_err(), "{bad:?}");
        }
        assert!(requests(Some("t"), &pairs(&[("access_token", "t")])).is_err());
    }
}
