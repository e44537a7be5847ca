//! The scripts, and running one: by its digest, and with its text when the server does not know it (yet, or any more: it was
//! restarted, flushed, or another one took over).

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, FromValue, Value};
use fred::util::sha1_hash;

pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

pub(crate) struct Scripts {
    pub(crate) take: Script,
    pub(crate) append: Script,
    pub(crate) read: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let script = |text| Script { text, digest: sha1_hash(text) };
        Self {
            take: script(include_str!("lua/take.lua")),
            append: script(include_str!("lua/append.lua")),
            read: script(include_str!("lua/read.lua")),
        }
    }
}

impl Script {
    pub(crate) async fn run<R: FromValue>(
        &self,
        client: &WithOptions<Client>,
        key: String,
        arguments: Vec<Value>,
    ) -> Result<R, Error> {
        // As a command of our own: the library's `evalsha` knows no options, so no limit.
        let call = |command: &'static str, script: Value| {
            let mut all = vec![script, Value::from(1), Value::from(key.as_str())];
            all.extend_from_slice(&arguments);
            // Of a position among the arguments the library takes no notice: only of a slot that was computed.
            let slot = ClusterHash::from(key.as_str());
            client.custom::<R, _>(CustomCommand::new_static(command, slot, false), all)
        };
        match call("EVALSHA", Value::from(self.digest.as_str())).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                call("EVAL", Value::from_static_str(self.text)).await
            }
            outcome => outcome,
        }
    }
}
