//! One publication, a batch, or the same one to many channels.

use futures_util::future::join_all;
use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use skywave_engine::capability::Operation;
use skywave_engine::session::Authorization;
use skywave_protocol::limits::{BATCH_REQUESTS, BROADCAST_CHANNELS};
use skywave_protocol::message::{Publish, Published, Reply, Request};
use skywave_protocol::{ChannelName, ErrorCode, UserId, WireError};

use super::{Backend, channel, object, parse, user};
use crate::http::native;

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Option<Vec<&'a RawValue>>,
}

/// What stands beside a publication that only an administrator may say.
#[derive(Deserialize)]
struct OnBehalf<'a> {
    #[serde(borrow)]
    from: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Broadcast<'a> {
    #[serde(borrow)]
    channels: Vec<std::borrow::Cow<'a, str>>,
}

/// How many requests a body of `publish` or `broadcast` counts for; one that cannot be read counts as one.
pub(crate) fn requests(body: &[u8]) -> u32 {
    let batch = serde_json::from_slice::<Batch<'_>>(body).ok().and_then(|batch| batch.batch);
    let channels =
        || serde_json::from_slice::<Broadcast<'_>>(body).ok().map(|broadcast| broadcast.channels.len());
    let count = batch.map(|items| items.len()).or_else(channels).unwrap_or(1);
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

/// A publication and whom it is from.
struct Item {
    publish: Publish,
    from: Option<UserId>,
}

impl Backend {
    pub(super) async fn publish(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        let batch: Batch<'_> = parse(body).map_err(|error| {
            WireError::new(error.code, format!("the body is no publication and no batch: {}", error.message))
        })?;
        match batch.batch {
            None => {
                let Item { publish, from } = self.read(who, body)?;
                let published = self.relay.publish(publish, from).await?;
                Ok(object(&Reply::Published(published)))
            }
            Some(items) => {
                if items.is_empty() || items.len() > BATCH_REQUESTS {
                    let message = format!("a batch holds 1 to {BATCH_REQUESTS} publications");
                    return Err(WireError::new(ErrorCode::BadRequest, message));
                }
                let items = items.into_iter().map(|item| self.read(who, item.get().as_bytes()));
                Ok(results_object(self.publish_all(items.collect()).await))
            }
        }
    }

    /// The same publication to every named channel. Under one id it is published at most once in each of them.
    pub(super) async fn broadcast(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        let Broadcast { channels } = parse(body)?;
        if channels.is_empty() || channels.len() > BROADCAST_CHANNELS {
            let message = format!("a broadcast names 1 to {BROADCAST_CHANNELS} channels");
            return Err(WireError::new(ErrorCode::BadRequest, message));
        }
        let from = self.author(who, body)?;
        // Read once, with the first channel in the place where a publication has its own.
        let first = channel(&channels[0])?;
        let text = with_channel(body, &first)?;
        let publish = self.checked_size(&text)?;
        let items = channels.iter().map(|name| {
            let channel = channel(name)?;
            self.may(who, Operation::Publish, &channel)?;
            Ok(Item { publish: Publish { channel, ..publish.clone() }, from: from.clone() })
        });
        Ok(results_object(self.publish_all(items.collect()).await))
    }

    /// Publishes what could be read. Within a channel one after the other, so that they stand in the order of the list;
    /// `None`: not tried, because one before it in the same channel failed and would be overtaken.
    async fn publish_all(
        &self,
        items: Vec<Result<Item, WireError>>,
    ) -> Vec<Option<Result<Published, WireError>>> {
        let mut results = Vec::with_capacity(items.len());
        let mut by_channel: HashMap<ChannelName, Vec<(usize, Item)>> = HashMap::new();
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Ok(item) => {
                    by_channel.entry(item.publish.channel.clone()).or_default().push((index, item));
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let published = join_all(by_channel.into_values().map(|items| self.in_order(items))).await;
        for (index, result) in published.into_iter().flatten() {
            results[index] = Some(result);
        }
        results
    }

    async fn in_order(&self, items: Vec<(usize, Item)>) -> Vec<(usize, Result<Published, WireError>)> {
        let mut results = Vec::with_capacity(items.len());
        for (index, Item { publish, from }) in items {
            let result = self.relay.publish(publish, from).await;
            let failed = result.is_err();
            results.push((index, result));
            if failed {
                break;
            }
        }
        results
    }

    /// Reads and checks `{"channel":…,"id":…,"data":…,"from":…}`.
    fn read(&self, who: &Authorization, text: &[u8]) -> Result<Item, WireError> {
        let publish = self.checked_size(text)?;
        self.may(who, Operation::Publish, &publish.channel)?;
        Ok(Item { publish, from: self.author(who, text)? })
    }

    /// Reads a publication exactly as the native protocol does.
    fn checked_size(&self, text: &[u8]) -> Result<Publish, WireError> {
        let limit = self.shared().config.limits.message_bytes;
        if text.len() > limit {
            return Err(WireError::new(
                ErrorCode::TooLarge,
                format!("a publication has at most {limit} bytes"),
            ));
        }
        match native::request("publish", text)? {
            Request::Publish(publish) => Ok(publish),
            _ => Err(WireError::new(ErrorCode::BadRequest, "not a publication")),
        }
    }

    /// Whom a publication is from: the asker, or whom an administrator names.
    fn author(&self, who: &Authorization, text: &[u8]) -> Result<Option<UserId>, WireError> {
        match parse::<OnBehalf<'_>>(text)?.from {
            None => Ok(who.user.clone()),
            Some(name) if who.admin => user(&name).map(Some),
            Some(name) if who.user.as_ref().is_some_and(|user| user.as_str() == name) => Ok(who.user.clone()),
            Some(_) => {
                Err(WireError::new(ErrorCode::Forbidden, "only an administrator may speak for others"))
            }
        }
    }
}

/// The body with a channel of its own.
fn with_channel(body: &[u8], channel: &ChannelName) -> Result<Vec<u8>, WireError> {
    #[derive(Deserialize, serde::Serialize)]
    struct Fields<'a> {
        #[serde(skip_deserializing)]
        channel: &'a str,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        data: Option<&'a RawValue>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        data64: Option<&'a RawValue>,
    }
    // `null` is data too, and not the same as none.
    fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(value).map(Some)
    }
    let fields = Fields { channel: channel.as_str(), ..parse(body)? };
    serde_json::to_vec(&fields).map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

/// `{"results":[…]}`: for each publication its position or `{"error":…}`, in the order asked.
fn results_object(results: Vec<Option<Result<Published, WireError>>>) -> Vec<u8> {
    let mut out = br#"{"results":["#.to_vec();
    for (index, result) in results.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let skipped = || {
            let message = "not published: one before it in the same channel failed";
            Err(WireError::new(ErrorCode::NotAvailable, message))
        };
        match result.unwrap_or_else(skipped) {
            Ok(published) => out.extend_from_slice(&object(&Reply::Published(published))),
            Err(error) => {
                out.extend_from_slice(br#"{"error":"#);
                out.extend_from_slice(&object(&Reply::Error(error)));
                out.push(b'}');
            }
        }
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_for_what_it_publishes() {
        assert_eq!(requests(br#"{"channel":"a","data":1}"#), 1);
        assert_eq!(requests(br#"{"batch":[1,2,3]}"#), 3);
        assert_eq!(requests(br#"{"channels":["a","b"],"data":1}"#), 2);
        assert_eq!(requests(b"{"), 1);
    }

    #[test]
    fn a_broadcast_is_read_as_a_publication_in_a_channel() {
        let name = ChannelName::parse("a").unwrap();
        let text = with_channel(br#"{"channels":["a"],"channel":"x","id":"i","data":null,"more":1}"#, &name)
            .unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"channel":"a","id":"i","data":null}"#);
    }
}
