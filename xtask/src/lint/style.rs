//! House style that a machine can check: module headers, file length, names that say nothing, unfinished code.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::workspace::Source;

/// Most lines of a file, its `#[cfg(test)]` part not counted.
const LINES_MAX: usize = 450;

/// File, folder and module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "stuff"];

/// Macros of unfinished or leftover code (written in two halves, or this file would accuse itself).
const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];

/// Complaints about the given files.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let test_modules: HashSet<PathBuf> = sources.iter().flat_map(test_modules).collect();
    let is_test = |source: &Source| is_test(&source.path) || test_modules.contains(&source.path);
    sources.iter().flat_map(|source| check_one(source, is_test(source))).collect()
}

fn check_one(source: &Source, test: bool) -> Vec<String> {
    let path = source.path.display();
    let mut complaints = Vec::new();
    if !test && !has_header(&source.text) {
        complaints.push(format!("{path}:1: no `//!` header that says what the module is for"));
    }
    let lines = product_lines(&source.text).count();
    if !test && lines > LINES_MAX {
        complaints.push(format!("{path}: {lines} lines without tests; split it (at most {LINES_MAX})"));
    }
    for part in source.path.iter().filter_map(|part| part.to_str()) {
        if EMPTY_NAMES.contains(&part.trim_end_matches(".rs")) {
            complaints.push(format!("{path}: `{part}` says nothing; name it after what it does"));
        }
    }
    for (number, line) in source.text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if let Some(name) = empty_name(line) {
            complaints.push(format!("{path}:{number}: `{name}` says nothing; name it after what it does"));
        }
        for unfinished in UNFINISHED.iter().filter(|unfinished| line.contains(**unfinished)) {
            complaints.push(format!("{path}:{number}: {unfinished}…) is unfinished code"));
        }
    }
    complaints
}

/// Lines (numbered from 1) before the file's `#[cfg(test)]` module.
pub(super) fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        let (at, line) = lines.next()?;
        let tests_follow =
            line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| next.starts_with("mod "));
        (!tests_follow).then_some((at + 1, line))
    })
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    name == "tests"
        || path.iter().rev().skip(1).any(|part| matches!(part.to_str(), Some("tests" | "fuzz_targets")))
}

/// Files that a source declares as `#[cfg(test)] mod name;`.
fn test_modules(source: &Source) -> Vec<PathBuf> {
    let name = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = match name {
        "mod" | "lib" | "main" => source.path.with_file_name(""),
        _ => source.path.with_extension(""),
    };
    let lines: Vec<&str> = source.text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'))
        .flat_map(|module| [folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")])
        .collect()
}

fn has_header(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"))
}

/// The name a line declares, if it is one that says nothing.
fn empty_name(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            "pub" | "crate" | "super" | "in" => {}
            "mod" => return words.next().filter(|name| EMPTY_NAMES.contains(name)),
            "struct" | "enum" | "trait" => {
                return words.next().filter(|name| name.ends_with("Manager") || name.ends_with("Helper"));
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&[Source { path: path.into(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_module_needs_a_header_and_a_test_file_does_not() {
        assert_eq!(complaints("core/src/ingest.rs", "use std::fmt;\n"), 1);
        assert_eq!(complaints("core/src/ingest.rs", "//! Appends to the log.\n"), 0);
        assert_eq!(complaints("core/tests/ingest.rs", "use std::fmt;\n"), 0);
    }

    #[test]
    fn a_file_that_is_only_there_for_tests_is_a_test() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
        let parent = source("core/src/lib.rs", "//! x\n#[cfg(test)]\nmod attacks;\nmod log;\n");
        assert_eq!(
            check(&[parent, source("core/src/attacks.rs", ""), source("core/src/log.rs", "")]).len(),
            1
        );
    }

    #[test]
    fn length_counts_product_lines_only() {
        let long = format!("//! x\n{}", "// y\n".repeat(LINES_MAX));
        assert_eq!(complaints("core/src/ingest.rs", &long), 1);
        let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// y\n".repeat(LINES_MAX));
        assert_eq!(complaints("core/src/ingest.rs", &tested), 0);
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(complaints("core/src/utils.rs", "//! x\n"), 1);
        assert_eq!(complaints("core/src/common/log.rs", "//! x\n"), 1);
        assert_eq!(complaints("core/src/log.rs", "//! x\npub(crate) mod helpers;\n"), 1);
        assert_eq!(complaints("core/src/log.rs", "//! x\npub struct LogManager;\n"), 1);
        assert_eq!(complaints("core/src/log.rs", "//! x\npub struct Log; // no manager here\n"), 0);
    }

    #[test]
    fn unfinished_code_is_refused() {
        assert_eq!(complaints("core/src/log.rs", &format!("//! x\nfn f() {{ {}) }}\n", UNFINISHED[0])), 1);
    }
}
