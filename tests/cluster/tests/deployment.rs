//! `docker-compose.yml`, `Dockerfile` and what lies in `deploy/`: that they fit together, describe the regions that
//! `cargo xtask cluster` starts, and hold settings that today's programs take. No container is needed for it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_yaml_ng::Value;
use skywave_cluster::ClusterOptions;
use skywave_servers::install;

const SECRETS: [(&str, &str); 3] = [
    ("token_secret", "0123456789abcdef0123456789abcdef"),
    // A number with a unit, to nats-server.
    ("nats_password", "10k"),
    ("postgres_password", "secret"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    // What is merged may merge something itself.
    (0..4).for_each(|_| compose.apply_merge().unwrap());
    compose
}

fn services(compose: &Value) -> BTreeMap<&str, &Value> {
    compose["services"]
        .as_mapping()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str().unwrap(), value))
        .collect()
}

/// A list of names, or the names of a mapping.
fn names(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Null => BTreeSet::new(),
        Value::Mapping(mapping) => mapping.keys().map(|name| name.as_str().unwrap()).collect(),
        list => list.as_sequence().unwrap().iter().map(|name| name.as_str().unwrap()).collect(),
    }
}

/// `edge` of `eu-edge-1`.
fn kind(service: &str) -> &str {
    service.split('-').nth(1).unwrap()
}

fn region(service: &str) -> &str {
    service.split('-').next().unwrap()
}

#[test]
fn it_has_the_processes_that_the_cluster_on_one_machine_has() {
    let options = ClusterOptions::new("unused");
    let mut expected = BTreeSet::new();
    for region in &options.regions {
        expected.extend(["nats", "redis"].map(|kind| format!("{region}-{kind}")));
        expected.extend((1..=options.edges).map(|number| format!("{region}-edge-{number}")));
    }
    expected.extend(["kafka", "postgres"].map(|kind| format!("{}-{kind}", options.regions[0])));
    expected.extend((1..=options.cores).map(|number| format!("{}-core-{number}", options.regions[0])));
    let compose = compose();
    assert_eq!(services(&compose).into_keys().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_region_is_left_by_its_nats_alone() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let mut expected = BTreeSet::from([region(name)]);
        if kind(name) == "nats" {
            expected.insert("ocean");
        }
        assert_eq!(names(&service["networks"]), expected, "{name}");
    }
}

#[test]
fn whatever_is_named_is_there() {
    let compose = compose();
    let all = services(&compose);
    for (name, service) in &all {
        assert!(names(&service["networks"]).is_subset(&names(&compose["networks"])), "{name}");
        assert!(names(&service["secrets"]).is_subset(&names(&compose["secrets"])), "{name}");
        assert!(names(&service["depends_on"]).iter().all(|other| all.contains_key(other)), "{name}");
        for volume in names(&service["volumes"]) {
            let named = volume.split_once(':').map(|(volume, _)| volume);
            assert!(
                named.is_none_or(|volume| names(&compose["volumes"]).contains(volume)),
                "{name}: {volume}"
            );
        }
        for config in service["configs"].as_sequence().into_iter().flatten() {
            let file = compose["configs"][config["source"].as_str().unwrap()]["file"].as_str().unwrap();
            assert!(root().join(file).is_file(), "{name}: {file}");
        }
    }
    let made = read("deploy/make-secrets");
    for secret in names(&compose["secrets"]) {
        let file = compose["secrets"][secret]["file"].as_str().unwrap();
        assert_eq!(file, format!("deploy/secrets/{secret}"));
        assert!(made.contains(secret), "deploy/make-secrets does not make {secret}");
    }
}

#[test]
fn every_image_is_pinned_checked_and_without_rights_it_does_not_need() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap();
        let own = image == "skywave:local";
        let version = image.split_once(':').unwrap().1.split('-').next().unwrap();
        let numbers = version.split('.').filter(|part| part.parse::<u32>().is_ok()).count();
        assert!(own || numbers >= 2, "{name}: {image}");
        assert!(own || service["healthcheck"]["test"].is_sequence(), "{name}");
        assert_eq!(service["security_opt"][0].as_str(), Some("no-new-privileges:true"), "{name}");
        assert!(!own || service["read_only"].as_bool() == Some(true), "{name}");
        for port in service["ports"].as_sequence().into_iter().flatten() {
            assert!(
                port.as_str().unwrap().starts_with("127.0.0.1:"),
                "{name} is open to the world: {port:?}"
            );
        }
    }
    let dockerfile = read("Dockerfile");
    let toolchain: toml::Table = toml::from_str(&read("rust-toolchain.toml")).unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{channel}-")), "another compiler than ours");
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={channel}\n")));
    assert!(dockerfile.contains("\nHEALTHCHECK ") && dockerfile.contains("\nUSER 10001"));
    assert!(
        dockerfile.lines().filter(|line| line.starts_with("FROM ")).all(|line| !line.contains(":latest"))
    );
}

#[test]
fn edges_and_cores_take_their_settings() {
    let folder = tempfile::tempdir().unwrap();
    for (secret, value) in SECRETS {
        std::fs::write(folder.path().join(secret), value).unwrap();
    }
    let secrets = folder.path().display().to_string();
    let file = folder.path().join("skywave.toml");
    std::fs::write(&file, read("deploy/skywave.toml").replace("/run/secrets", &secrets)).unwrap();
    let compose = compose();
    let mut checked = 0;
    for (name, service) in services(&compose) {
        if !matches!(kind(name), "edge" | "core") {
            continue;
        }
        assert_eq!(service["command"][0].as_str(), Some(kind(name)));
        let mut command = Command::new(program("skywave"));
        command.args(["check-config", "--role", kind(name), "--config"]).arg(&file).env_clear();
        let mut health = None;
        for (variable, value) in service["environment"].as_mapping().unwrap() {
            let value = value.as_str().map_or_else(|| value.as_u64().unwrap().to_string(), str::to_owned);
            if variable.as_str() == Some("HEALTH_PORT") {
                health = Some(value);
            } else {
                command.env(variable.as_str().unwrap(), value);
            }
        }
        let output = command.arg("--show").output().unwrap();
        assert!(output.status.success(), "{name}: {}", said(&output));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let listen = format!("0.0.0.0:{}", health.unwrap());
        assert!(
            shown.contains(&listen),
            "{name}: health is asked at {listen}, which is not listened on: {shown}"
        );
        assert!(shown.contains(name), "{name} does not know its name: {shown}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[test]
fn nats_takes_its_configuration_whatever_the_password_looks_like() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nats_password"), SECRETS[1].1).unwrap();
    let server = install::nats::nats_server().unwrap().display().to_string();
    let configuration = root().join("deploy/nats.conf").display().to_string();
    let compose = compose();
    for (name, service) in services(&compose).into_iter().filter(|(name, _)| kind(name) == "nats") {
        assert_eq!(service["entrypoint"][0].as_str(), Some("sh"));
        let line = service["command"][0].as_str().unwrap();
        let line = line
            .replace("$$", "$")
            .replace("/run/secrets", &folder.path().display().to_string())
            .replace("exec nats-server", &format!("exec {server} -t"))
            .replace("/etc/nats/nats.conf", &configuration);
        let mut command = Command::new("sh");
        for (variable, value) in service["environment"].as_mapping().unwrap() {
            command.env(variable.as_str().unwrap(), value.as_str().unwrap());
        }
        let output = command.args(["-c", &line]).output().unwrap();
        assert!(output.status.success() && said(&output).contains("is valid"), "{name}: {}", said(&output));
    }
}

/// Where there is a compose command line, it has the last word.
#[test]
fn compose_understands_it() {
    let asked = Command::new("docker").args(["compose", "version"]).output();
    if !asked.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no `docker compose` here");
        return;
    }
    let output =
        Command::new("docker").args(["compose", "config", "--quiet"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program of this workspace, in the folder above that of the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("no {name} beside the tests: run `cargo build --workspace` first"))
}
