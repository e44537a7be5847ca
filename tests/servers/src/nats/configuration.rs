//! The options as nats-server's configuration file. Its values may be JSON, so JSON is written, and no name or password
//! can break out of its quotes.

use serde_json::{Map, Value, json};

use super::options::{Authorization, Gateway, JetStream, NatsOptions, Permissions, Routes, Tls, User};

impl NatsOptions {
    pub(super) fn configuration(&self) -> String {
        let mut all = Map::new();
        let mut set = |key: &str, value: Value| {
            if !value.is_null() {
                all.insert(key.to_owned(), value);
            }
        };
        set("server_name", json!(self.name));
        set("listen", json!(self.client.to_string()));
        set("client_advertise", json!(self.client_advertise));
        set("http", json!(self.monitor.to_string()));
        set("authorization", authorization(&self.authorization));
        set("tls", self.tls.as_ref().map_or(Value::Null, tls));
        set("max_payload", json!(self.max_payload));
        set("max_pending", json!(self.max_pending));
        set("write_deadline", json!(self.write_deadline.map(|limit| format!("{}ms", limit.as_millis()))));
        set("cluster", self.routes.as_ref().map_or(Value::Null, routes));
        set("gateway", self.gateway.as_ref().map_or(Value::Null, gateway));
        if let Some(options) = &self.jetstream {
            set("jetstream", jetstream(options, &self.folder.join("jetstream").to_string_lossy()));
        }
        all.extend(self.extra.clone());
        let lines = all.into_iter().map(|(key, value)| format!("{key}: {value:#}\n"));
        format!("{}\n{}", self.text, lines.collect::<String>())
    }
}

fn authorization(who: &Authorization) -> Value {
    match who {
        Authorization::Anyone => Value::Null,
        Authorization::Token(token) => json!({ "token": token }),
        Authorization::Users(users) => json!({ "users": users.iter().map(user).collect::<Vec<_>>() }),
    }
}

fn user(user: &User) -> Value {
    let mut entry = json!({ "user": user.name, "password": user.password });
    if let (Some(Permissions { publish, subscribe }), Some(entry)) =
        (&user.permissions, entry.as_object_mut())
    {
        let permissions = json!({ "publish": { "allow": publish }, "subscribe": { "allow": subscribe } });
        entry.insert("permissions".to_owned(), permissions);
    }
    entry
}

fn tls(options: &Tls) -> Value {
    json!({
        "cert_file": options.certificates.server,
        "key_file": options.certificates.server_key,
        "ca_file": options.certificates.authority,
        "verify": options.verify_clients,
        "timeout": 5,
    })
}

fn jetstream(options: &JetStream, store: &str) -> Value {
    let mut settings = json!({ "store_dir": store });
    if let Some(settings) = settings.as_object_mut() {
        if options.sync_always {
            settings.insert("sync_interval".to_owned(), json!("always"));
        }
        if let Some(domain) = &options.domain {
            settings.insert("domain".to_owned(), json!(domain));
        }
    }
    settings
}

fn routes(options: &Routes) -> Value {
    let mut settings = json!({
        "name": options.cluster,
        "listen": options.listen.to_string(),
        "routes": options.members.iter().map(|member| format!("nats://{member}")).collect::<Vec<_>>(),
        "no_advertise": options.no_advertise,
    });
    if let (Some(advertise), Some(settings)) = (&options.advertise, settings.as_object_mut()) {
        settings.insert("advertise".to_owned(), json!(advertise));
    }
    settings
}

fn gateway(options: &Gateway) -> Value {
    let remotes = options.remotes.iter().map(|remote| {
        let urls: Vec<String> = remote.addresses.iter().map(|address| format!("nats://{address}")).collect();
        json!({ "name": remote.name, "urls": urls })
    });
    let mut settings = json!({
        "name": options.name,
        "listen": options.listen.to_string(),
        "gateways": remotes.collect::<Vec<_>>(),
    });
    if let (Some(advertise), Some(settings)) = (&options.advertise, settings.as_object_mut()) {
        settings.insert("advertise".to_owned(), json!(advertise));
    }
    settings
}
