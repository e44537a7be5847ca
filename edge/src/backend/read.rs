//! History, presence, and what the node says of itself.

use serde::{Deserialize, Serialize};
use skywave_engine::capability::Operation;
use skywave_engine::session::Authorization;
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{HistoryQuery, Reply};
use skywave_protocol::{ErrorCode, Offset, WireError};

use super::{Backend, channel, object, parse};

/// Publications in a page when the request does not say.
const PAGE: u32 = 100;

/// As in the native protocol.
#[derive(Deserialize)]
struct History<'a> {
    #[serde(borrow)]
    channel: std::borrow::Cow<'a, str>,
    #[serde(default)]
    after: Offset,
    #[serde(default)]
    before: Offset,
    #[serde(default = "page")]
    limit: u32,
    #[serde(default)]
    reverse: bool,
}

fn page() -> u32 {
    PAGE
}

#[derive(Deserialize)]
struct Presence<'a> {
    #[serde(borrow)]
    channel: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct Info<'a> {
    node: &'a str,
    region: &'a str,
    cell: &'a str,
    version: &'a str,
    uptime_seconds: u64,
    connections: usize,
    draining: bool,
}

impl Backend {
    pub(super) async fn history(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        let History { channel: name, after, before, limit, reverse } = parse(body)?;
        if !(1..=HISTORY_PAGE_MAX).contains(&limit) {
            return Err(WireError::new(ErrorCode::BadRequest, format!("limit is 1 to {HISTORY_PAGE_MAX}")));
        }
        let channel = channel(&name)?;
        self.may(who, Operation::History, &channel)?;
        let page = self.relay.history(HistoryQuery { channel, after, before, limit, reverse }).await?;
        Ok(object(&Reply::History(page)))
    }

    pub(super) async fn presence(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        let Presence { channel: name } = parse(body)?;
        let channel = channel(&name)?;
        self.may(who, Operation::Presence, &channel)?;
        let members = self.relay.presence(channel.clone()).await?;
        Ok(object(&Reply::Presence { channel, members }))
    }

    pub(super) fn info(&self, who: &Authorization) -> Result<Vec<u8>, WireError> {
        self.must_be_admin(who)?;
        let shared = self.shared();
        let info = Info {
            node: shared.config.node.as_str(),
            region: &shared.config.region,
            cell: &shared.config.cell,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: shared.started.elapsed().as_secs(),
            connections: shared.admission.connections(),
            draining: shared.is_draining(),
        };
        serde_json::to_vec(&info).map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
    }
}
