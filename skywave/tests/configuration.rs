//! `check-config`: what it accepts, what it says about the rest, and that the documentation is true.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::{free_port, run, skywave, stderr, stdout};

fn checked(toml: &str) -> (Option<i32>, String) {
    checked_as("dev", toml)
}

fn checked_as(role: &str, toml: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("skywave.toml");
    fs::write(&path, toml).unwrap();
    let output = run(&["check-config", "--role", role, "--config", path.to_str().unwrap()]);
    let text = stderr(&output).replace(path.to_str().unwrap(), "FILE");
    (output.status.code(), text.trim().to_owned())
}

#[test]
fn mistakes_are_named_with_their_place() {
    let cases = [
        ("[edge]\nlisten = \"8080\"\n", "FILE:2: edge.listen: invalid socket address syntax"),
        ("[edge]\nworker = 2\n", "FILE:2: edge.worker: unknown key; did you mean workers?"),
        ("[limits]\nconnections = 0\n", "FILE:2: limits.connections: must be at least 1"),
        ("[tls]\ncertificate = \"/x.pem\"\n", "tls.key: is missing"),
        ("[namespaces.\"a b\"]\n", "namespaces.a b: a namespace name has"),
        ("[namespaces.chat]\ndurability = \"durabel\"\n", "did you mean \"durable\"?"),
        ("[log]\nlevel = \"loud=x\"\n", "FILE:2: log.level: "),
        ("[core]\npersist_records = 0\n", "FILE:2: core.persist_records: must be at least 1"),
        ("[auth]\nanonymous = false\n", "auth: "),
        ("[timing]\npresence_lease_seconds = 1\n", "must be longer than timing.presence_beat_seconds"),
        ("[node]\nname = \"a b\"\n", "FILE:2: node.name: "),
        ("[postgres]\ntls = \"verify_ca\"\n", "did you mean \"verify-ca\"?"),
    ];
    for (toml, message) in cases {
        let (code, text) = checked(toml);
        assert_eq!(code, Some(2), "{toml}: {text}");
        assert!(text.contains(message) && text.lines().count() == 1, "{toml}: {text}");
    }
    assert_eq!(checked("[edge]\nworkers = 2\n"), (Some(0), "The configuration is usable.".into()));
}

#[test]
fn each_role_checks_the_sections_it_uses() {
    let cases = [
        (
            "edge",
            "[nats]\nservers = [\"nats://me:hunter2@h\"]\n",
            "FILE:2: nats.servers: must be one or more of",
        ),
        ("edge", "[nats]\nuser = \"me\"\n", "nats: name either user and password"),
        (
            "core",
            "[nats]\ntoken = \"hunter2\"\ntoken_file = \"/x\"\n",
            "nats.token_file: cannot be set beside",
        ),
        ("edge", "[nats]\nca_file = \"/x\"\n", "FILE:2: nats.ca_file: needs nats.tls = true"),
        ("edge", "[redis]\nurl = \"redis://me:hunter2@h\"\n", "FILE:2: redis.url: must hold no user"),
        (
            "core",
            "[[events.topics]]\ntopic = \"orders\"\nchannel = \"live:{key}\"\n",
            "events.topics: of topic \"orders\", channel must be in a durable namespace",
        ),
        (
            "core",
            "[[events.topics]]\ntopic = \"orders\"\nchannel = \"chat:{value}\"\n",
            "of topic \"orders\", channel must be a template with {key}",
        ),
        ("edge", "[redis]\nurl = \"http://h\"\n", "redis: the address of Redis begins with"),
        ("edge", "[redis]\npassword_file = \"/no/such\"\n", "FILE:2: redis.password_file: cannot read"),
        (
            "core",
            "[postgres]\nurl = \"mysql://me:hunter2@h\"\n",
            "FILE:2: postgres.url: must begin with postgres://",
        ),
        (
            "core",
            "[postgres]\nread_timeout_ms = 1\n",
            "FILE:2: postgres.read_timeout_ms: must be 10 ms to one day",
        ),
        ("core", "[kafka]\nbrokers = []\n", "FILE:2: kafka.brokers: must be one or more of host:port"),
        (
            "core",
            "[kafka]\nmin_insync = 9\n",
            "FILE:2: kafka.min_insync: must be between 1 and kafka.replication",
        ),
        (
            "core",
            "[kafka]\nsession_timeout_ms = 500\n",
            "FILE:2: kafka.session_timeout_ms: must be at least three",
        ),
        ("core", "[kafka]\nuser = \"me\"\n", "kafka.sasl: is missing"),
        ("core", "[node]\ncell = \"a b\"\n", "FILE:2: node.cell: must be of letters"),
        ("core", "[node]\nstart_seconds = 0\n", "FILE:2: node.start_seconds: must lie between 1 and 3600"),
    ];
    for (role, toml, message) in cases {
        let (code, text) = checked_as(role, toml);
        assert_eq!(code, Some(2), "{role} {toml}: {text}");
        assert!(text.contains(message) && text.lines().count() == 1, "{role} {toml}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(checked_as("dev", toml).0, Some(0), "dev has no use for {toml}");
    }
    let edges_only = "[auth]\nanonymous = false\n";
    assert_eq!((checked_as("edge", edges_only).0, checked_as("core", edges_only).0), (Some(2), Some(0)));
    let cores_only = "[core]\npersist_records = 0\n";
    assert_eq!((checked_as("edge", cores_only).0, checked_as("core", cores_only).0), (Some(0), Some(2)));
}

#[test]
fn passwords_of_servers_are_shown_by_nothing() {
    let output = skywave(&["check-config", "--role", "core", "--show"])
        .env("SKYWAVE_POSTGRES__PASSWORD", "hunter2")
        .env("SKYWAVE_POSTGRES__REPLICA_URL", "postgres://me:hunter2@h/d")
        .env("SKYWAVE_NATS__TOKEN", "hunter2")
        .env("SKYWAVE_REDIS__PASSWORD", "hunter2")
        .output()
        .unwrap();
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!shown.contains("hunter2") && shown.contains("password = \"<redacted>\""), "{shown}");
}

#[test]
fn a_node_that_finds_no_server_says_which_and_ends() {
    let nobody = free_port();
    for role in ["edge", "core"] {
        let listen = ["--listen", "127.0.0.1:0", "--set", "node.start_seconds=3"];
        let output = skywave(&[&[role], &listen[..]].concat())
            .env("SKYWAVE_NATS__SERVERS", format!("nats://{nobody}"))
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let line = text.lines().last().unwrap();
        assert!(
            line.starts_with(&format!("skywave: NATS at {nobody} could not be reached within")),
            "{text}"
        );
    }
}

#[test]
fn every_layer_shows_its_values_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("skywave.toml");
    let secret = "hunter2-".repeat(8);
    let toml = format!("[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n[edge]\nworkers = 3\n");
    fs::write(&path, toml).unwrap();
    let output =
        skywave(&["check-config", "--show", "--set", "limits.queue=100", "--config", path.to_str().unwrap()])
            .env("SKYWAVE_NODE__REGION", "eu-1")
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(!shown.contains("hunter2"), "{shown}");
    for line in [
        "region = \"eu-1\"  # SKYWAVE_NODE__REGION",
        "queue = 100  # --set",
        "listen = \"127.0.0.1:8080\"  # default",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    assert!(shown.contains(&format!("workers = 3  # {}:5", path.display())), "{shown}");
}

#[test]
fn a_server_refuses_what_check_config_refuses() {
    let output = skywave(&["dev"]).env("SKYWAVE_EDGE__WORKERS", "many").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output).trim(),
        "skywave: SKYWAVE_EDGE__WORKERS: edge.workers: expected a whole number from 0 to 18446744073709551615, found \"many\""
    );
}

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    fs::read_to_string(path).unwrap()
}

/// Examples of the document that are whole configurations: blocks of TOML.
fn examples(document: &str) -> Vec<&str> {
    let blocks = document.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_of_the_document_are_accepted() {
    let document = document();
    let examples = examples(&document);
    assert!(examples.len() >= 3);
    let folder = tempfile::tempdir().unwrap();
    // The files that the examples name.
    let secret = folder.path().join("secret");
    fs::write(&secret, "s".repeat(48)).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["relay.example.com".into()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.path().join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.path().join("token.pub.pem"), key.public_key_pem()).unwrap();
    for example in examples {
        let toml = example.replace("/etc/skywave", folder.path().to_str().unwrap());
        let roles = if example.contains("[kafka]") { &["dev", "edge", "core"][..] } else { &["dev"] };
        for role in roles {
            let (code, text) = checked_as(role, &toml);
            assert_eq!(code, Some(0), "{role}: {text}\n{toml}");
        }
    }
}
