//! What a durable publication from a backend is checked for, wherever it comes from: what an edge checks of a client's.

use std::collections::BTreeMap;

use skywave_protocol::{ChannelName, Durability, NamespaceOptions, Payload};

/// What a record needs beside payload and names, at most.
const ENVELOPE_BYTES: usize = 1_024;

/// Why it can never be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpublishable {
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    #[error("namespace {0:?} is ephemeral: nothing of it is ever stored")]
    Ephemeral(String),
    #[error("a publication here has at most {limit} bytes; this one has {got}")]
    TooLarge { limit: usize, got: usize },
}

impl Unpublishable {
    /// What is wrong in one word, for counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoNamespace(_) | Self::Ephemeral(_) => "namespace",
            Self::TooLarge { .. } => "size",
        }
    }
}

pub(crate) fn check(
    channel: &ChannelName,
    data: &Payload,
    namespaces: &BTreeMap<String, NamespaceOptions>,
    record_bytes: usize,
) -> Result<(), Unpublishable> {
    let name = channel.namespace();
    let Some(options) = namespaces.get(name) else {
        return Err(Unpublishable::NoNamespace(name.to_owned()));
    };
    if options.durability == Durability::Ephemeral {
        return Err(Unpublishable::Ephemeral(name.to_owned()));
    }
    let (got, limit) = (data.len(), options.payload_bytes.min(record_bytes.saturating_sub(ENVELOPE_BYTES)));
    if got > limit {
        return Err(Unpublishable::TooLarge { limit, got });
    }
    Ok(())
}
