//! The NATS micro service `skywave`: the operations of the edge's backend room, as subjects.
//!
//! Who may ask `skywave.publish` is an administrator: NATS permissions by subject decide. Under a namespace
//! (`skywave.publish.chat`) an asker has the rights of a token for that namespace, and nothing else.

use std::sync::Arc;

use futures_util::FutureExt;
use skywave_edge::backend::{Backend, Operation};
use skywave_engine::capability::Capabilities;
use skywave_engine::session::Authorization;
use skywave_nats::micro::{Answerer, MicroConfig, MicroEndpoint, Question};
use skywave_protocol::{ErrorCode, WireError};

/// Questions one node answers at a time.
const IN_FLIGHT: usize = 1_024;

pub(crate) fn config() -> MicroConfig {
    let endpoints = Operation::TABLE
        .iter()
        .map(|(operation, name, description)| MicroEndpoint {
            name,
            description,
            scoped: is_scoped(*operation),
        })
        .collect();
    MicroConfig {
        name: "skywave",
        version: env!("CARGO_PKG_VERSION"),
        description: "Skywave relay: publish, read and manage from a backend".into(),
        endpoints,
        in_flight: IN_FLIGHT,
    }
}

/// What concerns a channel may be asked under its namespace. What concerns a user's connections is an administrator's.
fn is_scoped(operation: Operation) -> bool {
    match operation {
        Operation::Publish | Operation::Broadcast | Operation::History | Operation::Presence => true,
        Operation::Subscribe
        | Operation::Unsubscribe
        | Operation::Disconnect
        | Operation::Revoke
        | Operation::Info => false,
    }
}

pub(crate) fn answerer(backend: Backend) -> Answerer {
    Arc::new(move |question: Question| {
        let backend = backend.clone();
        async move {
            let operation = operation(question.endpoint)?;
            let who = authorization(question.scope.as_deref())?;
            backend.call(operation, &who, &question.body).await
        }
        .boxed()
    })
}

fn operation(name: &str) -> Result<Operation, WireError> {
    let found = Operation::TABLE.iter().find(|row| row.1 == name).map(|row| row.0);
    found.ok_or_else(|| WireError::new(ErrorCode::NotFound, "there is no such operation"))
}

fn authorization(namespace: Option<&str>) -> Result<Authorization, WireError> {
    let Some(namespace) = namespace else {
        return Ok(Authorization { admin: true, ..Authorization::default() });
    };
    let capabilities = Capabilities::from_claims([(format!("{namespace}:*"), ["*"])])
        .map_err(|error| WireError::new(ErrorCode::UnknownNamespace, error.to_string()))?;
    Ok(Authorization { capabilities, ..Authorization::default() })
}

#[cfg(test)]
mod tests {
    use skywave_engine::capability;
    use skywave_protocol::{ChannelName, NamespaceOptions};

    use super::*;

    #[test]
    fn every_operation_is_an_endpoint() {
        let names: Vec<_> = config().endpoints.iter().map(|endpoint| endpoint.name).collect();
        assert_eq!(names.len(), Operation::TABLE.len());
        for (asked, name, _) in Operation::TABLE {
            assert_eq!(operation(name).unwrap(), *asked);
        }
    }

    #[test]
    fn a_namespace_gives_rights_in_itself_only() {
        let chat = authorization(Some("chat")).unwrap();
        let may = |who: &Authorization, name: &str| {
            let channel = ChannelName::parse(name).unwrap();
            who.allows(capability::Operation::Publish, &channel, &NamespaceOptions::default())
        };
        assert!(may(&chat, "chat:1") && !may(&chat, "chatter:1") && !may(&chat, "user:1") && !chat.admin);
        assert!(may(&authorization(None).unwrap(), "user:1"));
        for hostile in ["*", "", "a b", "chat:1*"] {
            let who = authorization(Some(hostile));
            assert!(who.is_err() || !may(&who.unwrap(), "chat:1"), "{hostile:?}");
        }
    }
}
