//! `cargo xtask lint`: what rustfmt and clippy cannot know. Formatting, the direction of dependencies, and house style.
//!
//! Each check returns its complaints, so that one run shows all of them.

mod direction;
mod style;

use crate::{step, workspace};

/// Formatting and the project's own lints.
pub(crate) fn run() -> anyhow::Result<()> {
    let formatted = step::cargo(&["fmt", "--all", "--check"]).status()?.success();
    house_rules()?;
    anyhow::ensure!(formatted, "not formatted: run `cargo fmt`");
    println!("lint: clean");
    Ok(())
}

/// The project's own lints alone.
pub(crate) fn house_rules() -> anyhow::Result<()> {
    let mut complaints = direction::check(&workspace::packages()?);
    let sources = workspace::sources()?;
    complaints.extend(direction::check_purity(&sources));
    complaints.extend(style::check(&sources));
    for complaint in &complaints {
        println!("{complaint}");
    }
    anyhow::ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    Ok(())
}
