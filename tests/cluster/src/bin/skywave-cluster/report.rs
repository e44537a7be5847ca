//! What a cluster looks like at this moment, as tables.

use std::fmt::Write as _;
use std::thread;

use skywave_cluster::{Cluster, Member, Standing};
use skywave_servers::State;
use skywave_wan::{Control, WayStatus};

use crate::tell;

pub(crate) fn status(cluster: &Cluster) -> anyhow::Result<()> {
    let members = cluster.members()?;
    // At the same time: one that does not answer is waited for.
    let standings: Vec<Standing> = thread::scope(|scope| {
        let asked: Vec<_> = members.iter().map(|member| scope.spawn(|| member.standing())).collect();
        let gone = Standing { state: State::Gone, ready: false };
        asked.into_iter().map(|asked| asked.join().unwrap_or(gone)).collect()
    });
    let mut rows = vec![["NAME", "PID", "STATE", "READY", "ADDRESS"].map(str::to_owned)];
    rows.extend(members.iter().zip(standings).map(|(member, standing)| row(member, standing)));
    tell(&table(&rows));
    match cluster.links() {
        Ok(mut control) => links(&mut control, |_| true),
        Err(error) => {
            tell(&format!("the links do not answer: {error:#}"));
            Ok(())
        }
    }
}

fn row(member: &Member, standing: Standing) -> [String; 5] {
    let state = match standing.state {
        State::Running => "running",
        State::Stopped => "frozen",
        State::Gone if member.pid().is_some() => "died",
        State::Gone => "ended",
    };
    let address = ["http", "url", "control"].iter().find_map(|key| member.addresses.get(*key));
    [
        member.name.clone(),
        member.pid().map_or("-".into(), |pid| pid.to_string()),
        state.into(),
        if standing.ready { "yes" } else { "no" }.into(),
        address.cloned().unwrap_or_default(),
    ]
}

/// The chosen ways of links, one a line.
pub(crate) fn links(control: &mut Control, choose: impl Fn(&WayStatus) -> bool) -> anyhow::Result<()> {
    let mut rows = vec![["FROM", "TO", "LINE", "PASSED", "LOST", "HELD"].map(str::to_owned)];
    for way in control.status()?.ways.iter().filter(|way| choose(way)) {
        let counters = &way.counters;
        let lost = counters.retransmitted
            + counters.lost
            + counters.oversized
            + counters.cut_off
            + counters.overflowed;
        rows.push([
            way.from.clone(),
            way.to.clone(),
            line(way),
            size(counters.stream_bytes + counters.datagram_bytes),
            lost.to_string(),
            counters.held.to_string(),
        ]);
    }
    tell(table(&rows).trim_end());
    Ok(())
}

/// Its conditions in words.
fn line(way: &WayStatus) -> String {
    let now = &way.conditions;
    let mut words = Vec::new();
    if now.cut {
        words.push("CUT".to_owned());
    }
    if now.delay_ms > 0.0 || now.jitter_ms > 0.0 {
        words.push(match now.jitter_ms {
            0.0 => format!("{} ms", now.delay_ms),
            jitter => format!("{} ± {jitter} ms", now.delay_ms),
        });
    }
    let mut share = |share: f64, what: &str| {
        if share > 0.0 {
            words.push(format!("{} % {what}", (share * 10_000.0).round() / 100.0));
        }
    };
    share(now.loss, "lost");
    share(now.duplicate, "doubled");
    if now.mtu > 0 {
        words.push(format!("{} bytes at most", now.mtu));
    }
    if now.rate_kbit > 0 {
        words.push(format!("{} kbit/s", now.rate_kbit));
    }
    if words.is_empty() { "perfect".into() } else { words.join(", ") }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// Columns as wide as their widest cell.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
