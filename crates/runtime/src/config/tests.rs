//! Layers, types and messages, over a small configuration type.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Serialize, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Config {
    edge: Edge,
    auth: Auth,
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Edge {
    listen: SocketAddr,
    workers: u16,
    rate: f64,
    tls: bool,
    origins: Vec<String>,
    target: Option<String>,
    mode: Mode,
}

impl Default for Edge {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        Self { listen, workers: 0, rate: 1.0, tls: false, origins: vec![], target: None, mode: Mode::Fast }
    }
}

#[derive(Debug, Serialize, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Auth {
    secret: Option<Secret>,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Key {
    secret: String,
}

#[derive(Debug, Serialize, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Namespace {
    presence: bool,
}

#[derive(Debug, Serialize, Deserialize, Default, PartialEq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Fast,
    Careful,
}

struct Given {
    toml: Option<&'static str>,
    variables: &'static [(&'static str, &'static str)],
    flags: &'static [(&'static str, &'static str, &'static str)],
}

const NOTHING: Given = Given { toml: None, variables: &[], flags: &[] };

impl Given {
    fn load(&self) -> Result<Loaded<Config>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = self.toml.map(|text| {
            let path = folder.path().join("skywave.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let own = |text: &str| OsString::from(text);
        load(&Sources {
            file,
            environment: self.variables.iter().map(|(name, value)| (own(name), own(value))).collect(),
            reserved: &["SKYWAVE_TOKEN"],
            flags: self
                .flags
                .iter()
                .map(|(flag, path, value)| FlagValue {
                    flag: (*flag).into(),
                    path: (*path).into(),
                    value: (*value).into(),
                })
                .collect(),
        })
    }

    /// The message, without the temporary folder.
    fn error(&self) -> String {
        let message = self.load().expect_err("must be refused").to_string();
        message
            .rsplit_once("/skywave.toml")
            .map_or(message.clone(), |(_, rest)| format!("skywave.toml{rest}"))
    }
}

fn toml(text: &'static str) -> Given {
    Given { toml: Some(text), ..NOTHING }
}

fn variable(variables: &'static [(&'static str, &'static str)]) -> Given {
    Given { variables, ..NOTHING }
}

#[test]
fn later_layers_win_key_by_key() {
    let loaded = Given {
        toml: Some(
            "[edge]\nlisten = \"0.0.0.0:1\"\nworkers = 3\nrate = 2\n[namespaces.chat]\npresence = true\n",
        ),
        variables: &[("SKYWAVE_EDGE__WORKERS", "4"), ("SKYWAVE_EDGE__MODE", "careful"), ("PATH", "/bin")],
        flags: &[("--listen", "edge.listen", "127.0.0.1:9")],
    }
    .load()
    .unwrap();
    let Config { edge, namespaces, .. } = &loaded.value;
    assert_eq!(edge.listen, "127.0.0.1:9".parse().unwrap());
    assert_eq!((edge.workers, edge.rate, edge.mode, edge.tls), (4, 2.0, Mode::Careful, false));
    assert!(namespaces["chat"].presence);
    assert_eq!(loaded.source("edge.listen").to_string(), "--listen");
    assert_eq!(loaded.source("edge.workers").to_string(), "SKYWAVE_EDGE__WORKERS");
    assert!(loaded.source("edge.rate").to_string().ends_with("skywave.toml:4"));
    assert_eq!(loaded.source("auth.secret"), Source::Default);
}

#[test]
fn variables_are_read_as_the_type_demands() {
    let loaded = variable(&[
        ("SKYWAVE_EDGE__ORIGINS", "https://a.example, https://b.example"),
        ("SKYWAVE_EDGE__TLS", "yes"),
        ("SKYWAVE_EDGE__TARGET", "123"),
        ("SKYWAVE_NAMESPACES__LIVE", "{ presence = true }"),
        ("SKYWAVE_TOKEN", "reserved"),
        ("SKYWAVE_SERVICE_HOST", "10.0.0.1"),
        ("SKYWAVE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ])
    .load()
    .unwrap();
    let edge = &loaded.value.edge;
    assert_eq!(edge.origins, ["https://a.example", "https://b.example"]);
    assert_eq!((edge.tls, edge.target.as_deref()), (true, Some("123")));
    assert!(loaded.value.namespaces["live"].presence);
    let list = variable(&[("SKYWAVE_EDGE__ORIGINS", "[\"a,b\"]")]).load().unwrap();
    assert_eq!(list.value.edge.origins, ["a,b"]);
}

#[test]
fn an_empty_variable_unsets() {
    let given = Given {
        toml: Some("[edge]\ntarget = \"x\"\n"),
        variables: &[("SKYWAVE_EDGE__TARGET", "")],
        ..NOTHING
    };
    assert_eq!(given.load().unwrap().value.edge.target, None);
}

#[test]
fn errors_say_where_what_and_what_instead() {
    let cases: &[(Given, &str)] = &[
        (toml("[edge]\n\nlisen = 1\n"), "skywave.toml:3: edge.lisen: unknown key; did you mean listen?"),
        (toml("[edg]\n"), "skywave.toml:1: edg: unknown key; did you mean edge?"),
        (
            toml("[edge]\nworkers = \"many\"\n"),
            "skywave.toml:2: edge.workers: expected a whole number from 0 to 65535, found \"many\"",
        ),
        (
            toml("[edge]\nworkers = -1\n"),
            "skywave.toml:2: edge.workers: expected a whole number from 0 to 65535, found the number -1",
        ),
        (
            toml("[edge]\nmode = \"carefull\"\n"),
            "skywave.toml:2: edge.mode: expected one of fast, careful, found \"carefull\"; did you mean \"careful\"?",
        ),
        (toml("edge = 1\n"), "skywave.toml:1: edge: expected a table, found the number 1"),
        (
            toml("[edge]\norigins = [1]\n"),
            "skywave.toml:2: edge.origins[0]: expected a string, found the number 1",
        ),
        (
            toml("[edge]\ntls = 2024-01-01\n"),
            "skywave.toml:2: edge.tls: expected true or false, found the time 2024-01-01",
        ),
        (
            toml("[edge]\nlisten = \"here\"\n"),
            "skywave.toml:2: edge.listen: invalid socket address syntax (found \"here\")",
        ),
        (
            variable(&[("SKYWAVE_EDGE__WORKERS", "x")]),
            "SKYWAVE_EDGE__WORKERS: edge.workers: expected a whole number from 0 to 65535, found \"x\"",
        ),
        (
            variable(&[("SKYWAVE_EDGE__WORKER", "1")]),
            "SKYWAVE_EDGE__WORKER: edge.worker: unknown key; did you mean workers?",
        ),
        (
            variable(&[("SKYWAVE_EDGE_LISTEN", "1")]),
            "SKYWAVE_EDGE_LISTEN: no such setting; did you mean SKYWAVE_EDGE__LISTEN?",
        ),
        (
            Given { flags: &[("--set", "edge.colour", "red")], ..NOTHING },
            "--set: edge.colour: unknown key; known here: listen, workers, rate, tls, origins, target, mode",
        ),
        (
            Given { flags: &[("--set", "edge..x", "red")], ..NOTHING },
            "--set: edge..x: not a dotted path such as edge.listen",
        ),
    ];
    for (given, message) in cases {
        assert_eq!(given.error(), *message);
    }
    let syntax = toml("[edge]\nworkers = = 1\n").error();
    assert!(syntax.starts_with("skywave.toml:2: "), "{syntax}");
    let twice = toml("[edge]\nworkers = 1\nworkers = 2\n").error();
    assert!(twice.starts_with("skywave.toml:3: ") && twice.contains("duplicate key"), "{twice}");
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources { file: Some("/no/such/skywave.toml".into()), ..Sources::default() };
    let message = load::<Config>(&sources).unwrap_err().to_string();
    assert!(message.starts_with("cannot read the configuration file /no/such/skywave.toml: "), "{message}");
}

#[test]
fn secrets_do_not_show_themselves() {
    let loaded = toml("[auth]\nsecret = \"hunter2\"\n").load().unwrap();
    assert_eq!(loaded.value.auth.secret.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!loaded.show().contains("hunter2"), "{}", loaded.show());
    let plain = toml("[auth]\nkeys = [{ secret = \"hunter2\" }]\n").load().unwrap();
    assert!(plain.show().contains("keys = [{ secret = \"<redacted>\" }]"), "{}", plain.show());
    let wrong = toml("[auth]\nsecret = 4711\n").error();
    assert_eq!(wrong, "skywave.toml:2: auth.secret: expected a string, found something else");
}

#[test]
fn what_is_shown_loads_again() {
    let shown = Given {
        toml: Some("[edge]\ntarget = \"a\\\"b\"\n[namespaces.chat]\npresence = true\n"),
        flags: &[("--workers", "edge.workers", "7")],
        ..NOTHING
    }
    .load()
    .unwrap();
    let text = shown.show();
    assert!(text.contains("workers = 7  # --workers\n"), "{text}");
    assert!(text.contains("rate = 1.0  # default\n"), "{text}");
    assert!(text.contains("# secret is not set"), "{text}");
    let again: Config = read::typed(&file::parse(&text, "shown").unwrap()).unwrap();
    assert_eq!(again, shown.value);
}

#[test]
fn keys_are_listed_with_their_variables() {
    let paths = keys::paths(&Config::default());
    assert!(paths.contains(&"edge.target".to_owned()), "{paths:?}");
    assert_eq!(keys::variable("edge.listen"), "SKYWAVE_EDGE__LISTEN");
}
