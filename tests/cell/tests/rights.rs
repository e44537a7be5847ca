//! The cell's nodes and its backends are the users of `deploy/nats-users.conf`: all that is tested here goes with those rights,
//! and after each test it is looked whether NATS has refused anybody anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use async_nats::{Client, ConnectOptions, Event};
use serde_json::{Value, json};
use skywave_cluster::{Cluster, Kind};
use skywave_harness::{Socket, token, wait};
use tokio::runtime::Runtime;

use crate::cell::{CORES, Cell, EDGES};

const USERS: &str = include_str!("../../../deploy/nats-users.conf");
const PASSWORD: &str = "10k";
/// The user as nats-server names it in its complaints.
const BACKEND: &str = "/user:backend\"";

/// The file as delivered, with passwords.
pub(crate) fn users() -> String {
    let named = |text: String, user| {
        text.replace(&format!("$SKYWAVE_NATS_{user}_PASSWORD"), &format!("\"{PASSWORD}\""))
    };
    ["EDGE", "CORE", "BACKEND"].into_iter().fold(USERS.to_owned(), named)
}

/// `[nats]` of a node.
pub(crate) fn settings(user: &str) -> String {
    format!("[nats]\nuser = \"{user}\"\npassword = \"{PASSWORD}\"\n")
}

/// Nobody wanted what is not his, but the backend that is told to.
pub(crate) fn kept(cell: &Cell) -> anyhow::Result<()> {
    let log = cell.cluster.member("eu-nats-1")?.log().to_owned();
    let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let wrong: Vec<&str> =
        text.lines().filter(|line| line.contains("Violation") && !line.contains(BACKEND)).collect();
    anyhow::ensure!(wrong.is_empty(), "NATS refused: {wrong:#?}");
    for node in EDGES.into_iter().chain(CORES) {
        // Not what else it may complain of: a node that was frozen is told so.
        let refused = cell.metric(node, "skywave_nats_server_errors_total{reason=\"permissions\"}")?;
        anyhow::ensure!(refused == 0.0, "NATS refused {node} something {refused} times");
    }
    Ok(())
}

/// A backend on NATS.
pub(crate) struct Backend {
    pub(crate) client: Client,
    refused: Arc<AtomicU64>,
    /// Ends last.
    pub(crate) runtime: Runtime,
}

impl Backend {
    pub(crate) fn connect(cluster: &Cluster) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let servers = cluster.of_kind("eu", Kind::Nats)?;
        let url = format!("nats://{}", servers.first().context("no NATS")?.address("url")?);
        let refused = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&refused);
        let options = ConnectOptions::with_user_and_password("backend".into(), PASSWORD.into());
        let options = options.event_callback(move |event| {
            if matches!(event, Event::ServerError(_)) {
                count.fetch_add(1, Ordering::SeqCst);
            }
            std::future::ready(())
        });
        let client = runtime.block_on(options.connect(url))?;
        Ok(Self { client, refused, runtime })
    }

    pub(crate) fn ask(&self, operation: &str, body: &Value) -> anyhow::Result<Value> {
        let asked = self.client.request(format!("skywave.{operation}"), body.to_string().into());
        let answer = self.runtime.block_on(asked)?;
        if let Some(error) = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error")) {
            anyhow::bail!("{operation}: {error}");
        }
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    fn until_refused(&self, count: u64, what: &str) -> anyhow::Result<()> {
        wait::until(&format!("{what} to be refused"), || {
            (self.refused.load(Ordering::SeqCst) >= count).then_some(())
        })
    }
}

fn until_closed(socket: &mut Socket, code: u16) -> anyhow::Result<()> {
    let closed = socket.wait_close()?;
    anyhow::ensure!(closed == Some(code), "closed with {closed:?} instead of {code}");
    Ok(())
}

/// Each question of the micro service, on what goes to the log and on what does not.
pub(crate) fn backend_asks(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::connect(&cell.cluster)?;
    let mut sockets = Vec::new();
    for edge in EDGES {
        let mut socket = cell.connect(edge, "ada")?;
        socket.request("subscribe", json!({ "channel": "chat:rights", "presence": true }))?;
        socket.subscribe("live:rights")?;
        sockets.push(socket);
    }
    let published = backend.ask("publish", &json!({ "channel": "chat:rights", "id": "r-1", "data": 1 }))?;
    anyhow::ensure!(published["offset"] == 1, "{published}");
    backend.ask("publish", &json!({ "channel": "live:rights", "data": 2 }))?;
    backend.ask("broadcast", &json!({ "channels": ["chat:rights"], "id": "r-2", "data": 3 }))?;
    for socket in &mut sockets {
        // Of one channel in order; the ephemeral one goes its own way.
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let push = socket.push()?;
            seen.extend(push.get("pub").and_then(|publication| publication["data"].as_u64()));
        }
        seen.sort_unstable();
        anyhow::ensure!(seen == [1, 2, 3], "{seen:?}");
    }
    let page = backend.ask("history.chat", &json!({ "channel": "chat:rights" }))?;
    anyhow::ensure!(page["publications"].as_array().is_some_and(|all| all.len() == 2), "{page}");
    let members = backend.ask("presence", &json!({ "channel": "chat:rights" }))?;
    anyhow::ensure!(members["members"].as_array().is_some_and(|all| !all.is_empty()), "{members}");
    let info = backend.ask("info", &json!({}))?;
    anyhow::ensure!(info.is_object(), "{info}");

    backend.ask("disconnect", &json!({ "user": "ada" }))?;
    for socket in &mut sockets {
        anyhow::ensure!(socket.wait_close()?.is_some(), "no close");
    }
    let claims = json!({ "sub": "eve", "jti": "rights-1", "exp": token::now() + 3_600 });
    let secret = std::fs::read_to_string(cell.cluster.secret_file())?;
    let signed = token::signed(&claims, secret.trim_end());
    let mut revoked = Vec::new();
    for edge in EDGES {
        revoked.push(Socket::connect(cell.address(edge)?, Some(&signed))?);
    }
    backend.ask("revoke", &json!({ "token_id": "rights-1", "until": token::now() + 3_600 }))?;
    revoked.iter_mut().try_for_each(|socket| until_closed(socket, 4501))?;
    anyhow::ensure!(backend.refused.load(Ordering::SeqCst) == 0, "a question was refused");
    Ok(())
}

/// A backend with the delivered rights is no edge and no core.
pub(crate) fn backend_is_no_node(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::connect(&cell.cluster)?;
    let mut reader = cell.connect(EDGES[0], "reader")?;
    reader.subscribe("chat:forged")?;
    let mut refused = 0;
    let mut expect = |what: &str| {
        refused += 1;
        backend.until_refused(refused, what)
    };
    for subject in ["sw.live.0.chat:forged", "sw.ingest.main", "sw.cores.main", "sw.control", "sw.reply.x.0"]
    {
        backend.runtime.block_on(backend.client.publish(subject, "forged".into()))?;
        expect(subject)?;
    }
    for subject in ["sw.>", "sw.live.*.*", "sw.ingest.main", "sw.history.main", "skywave.publish", ">"] {
        let _nothing = backend.runtime.block_on(backend.client.subscribe(subject))?;
        expect(subject)?;
    }
    let mut publisher = cell.connect(EDGES[1], "ada")?;
    publisher.publish("chat:forged", "m-1", json!("real"))?;
    let publication = reader.push()?["pub"].clone();
    anyhow::ensure!(publication["data"] == "real" && publication["offset"] == 1, "{publication}");
    Ok(())
}
