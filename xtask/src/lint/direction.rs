//! The direction of dependencies: services → engine, ports → protocol; adapters → ports; only the binary and the tests
//! name an adapter; protocol and engine are pure (no runtime, no clock, no socket, no randomness).

use crate::workspace::{Package, Source};

/// Which members a folder may depend on, by folder prefix. Anything not listed is refused, so that a new room must be
/// given its place here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("crates/protocol", &[]),
    ("crates/engine", &["crates/protocol"]),
    ("crates/ports", &["crates/protocol"]),
    ("crates/runtime", &["crates/protocol"]),
    ("crates/adapters/", &["crates/ports", "crates/protocol", "tests/servers"]),
    ("tests/servers", &[]),
    ("core", &["crates/engine", "crates/ports", "crates/protocol", "crates/runtime"]),
    ("edge", &["crates/engine", "crates/ports", "crates/protocol", "crates/runtime"]),
    ("clients/rust", &["crates/protocol"]),
    ("skywave", &["crates/", "core", "edge", "clients/rust"]),
    ("tests/", &["crates/", "core", "edge", "clients/rust", "tests/"]),
    ("xtask", &["tests/servers"]),
];

/// Folders whose code takes time and randomness as inputs.
const PURE: &[&str] = &["crates/protocol", "crates/engine"];

/// What a pure crate must not link, tests aside.
const IMPURE_CRATES: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "futures-util",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "parking_lot",
    "quinn",
    "rand",
    "rustix",
    "socket2",
    "time",
    "tokio",
    "tracing",
    "ulid",
    "uuid",
];

/// What a pure crate must not name, tests aside.
const IMPURE_PATHS: &[&str] =
    &["std::time::Instant", "std::time::SystemTime", "std::net", "std::thread", "std::fs", "std::io::stdin"];

/// Complaints about members that depend on what they must not know.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(prefix, _)| is_under(&package.folder, prefix)) else {
            complaints.push(format!(
                "{}: a new room; give it its place in xtask/src/lint/direction.rs",
                package.folder
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(target) = packages.iter().find(|other| other.name == dependency.name) {
                if !allowed.iter().any(|prefix| is_under(&target.folder, prefix))
                    && target.name != package.name
                {
                    complaints.push(format!(
                        "{}: must not depend on {} ({})",
                        package.folder, target.folder, "dependencies point downwards"
                    ));
                }
            } else if PURE.contains(&package.folder.as_str())
                && !dependency.development
                && IMPURE_CRATES.contains(&dependency.name.as_str())
            {
                complaints.push(format!("{}: must stay pure, but links {}", package.folder, dependency.name));
            }
        }
    }
    complaints
}

/// Complaints about pure crates that reach for a clock, a thread, a file or a socket of the standard library.
pub(super) fn check_purity(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let path = source.path.to_string_lossy();
        if !PURE.iter().any(|folder| path.starts_with(&format!("{folder}/src/"))) {
            continue;
        }
        for (number, line) in super::style::product_lines(&source.text) {
            for forbidden in IMPURE_PATHS.iter().filter(|forbidden| line.contains(**forbidden)) {
                complaints.push(format!("{path}:{number}: must stay pure, but names {forbidden}"));
            }
        }
    }
    complaints
}

fn is_under(folder: &str, prefix: &str) -> bool {
    folder == prefix || (prefix.ends_with('/') && folder.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn member(folder: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: folder.to_owned(),
            folder: folder.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, development)| Dependency { name: (*name).to_owned(), development: *development })
                .collect(),
        }
    }

    #[test]
    fn a_service_that_names_an_adapter_is_refused_even_for_its_tests() {
        let packages = [
            member("crates/adapters/embedded", &[]),
            member("core", &[("crates/adapters/embedded", true)]),
            member("skywave", &[("crates/adapters/embedded", false), ("core", false)]),
        ];
        let complaints = check(&packages);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("core:"));
    }

    #[test]
    fn the_engine_links_no_runtime_but_its_tests_may() {
        assert_eq!(check(&[member("crates/engine", &[("tokio", false)])]).len(), 1);
        assert_eq!(check(&[member("crates/engine", &[("rand", true), ("bytes", false)])]).len(), 0);
    }

    #[test]
    fn a_room_without_a_place_is_refused() {
        assert_eq!(check(&[member("crates/surprise", &[])]).len(), 1);
    }

    #[test]
    fn a_clock_in_the_engine_is_found_outside_its_tests_only() {
        let source = |text: &str| Source { path: "crates/engine/src/hub.rs".into(), text: text.to_owned() };
        assert_eq!(check_purity(&[source("use std::time::Instant;\n")]).len(), 1);
        assert_eq!(
            check_purity(&[source("#[cfg(test)]\nmod tests {\n use std::time::Instant;\n}\n")]).len(),
            0
        );
    }
}
