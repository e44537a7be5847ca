//! The key that tokens of this cluster are signed with.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// Writes 32 random bytes in hexadecimal, for the owner to read, unless a secret is there.
pub(super) fn make(file: &Path) -> anyhow::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let mut random = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut secret = OpenOptions::new().create_new(true).write(true).mode(0o600).open(file)?;
    secret.write_all(text.as_bytes()).with_context(|| format!("writing {}", file.display()))
}
