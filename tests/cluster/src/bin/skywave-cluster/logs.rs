//! `cluster logs`: the end of a process's log, and what comes after it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::Context;
use skywave_cluster::Cluster;

/// Most that is looked through for the last lines.
const TAIL: u64 = 4 * 1024 * 1024;

const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn show(cluster: &Cluster, name: &str, lines: usize, follow: bool) -> anyhow::Result<()> {
    let member = cluster.member(name)?;
    let path = member.log();
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let mut out = std::io::stdout().lock();
    out.write_all(last(&tail, lines))?;
    if !follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK);
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        out.write_all(&more)?;
        out.flush()?;
    }
}

/// The last so many lines.
fn last(text: &[u8], lines: usize) -> &[u8] {
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    // A line's end at the very end of the text ends the last line, and begins none.
    let from = ends.filter(|end| *end < text.len()).nth(lines.saturating_sub(1)).unwrap_or(0);
    if lines == 0 { &[] } else { &text[from..] }
}

#[cfg(test)]
mod tests {
    use super::last;

    #[test]
    fn as_many_lines_are_shown_as_were_asked_for() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!(last(text, 1), b"three\n");
        assert_eq!(last(text, 2), b"two\nthree\n");
        assert_eq!(last(text, 9), text);
        assert_eq!(last(text, 0), b"");
        assert_eq!(last(b"one\nunfinished", 1), b"unfinished");
    }
}
