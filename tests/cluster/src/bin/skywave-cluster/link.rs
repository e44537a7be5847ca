//! `cluster link`: changes a link, or shows it; and how times, shares and rates are written.

use std::str::FromStr;

use skywave_cluster::Cluster;
use skywave_wan::{Change, Control};

use crate::arguments::Link;
use crate::report;

/// A time with its unit, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Duration(f64);

/// A share of a hundred, as one of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

/// Kilobits a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(u64);

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        match (number.parse::<f64>(), unit) {
            (Ok(number), "ms") => Ok(Self(number)),
            (Ok(number), "s") => Ok(Self(number * 1_000.0)),
            (Ok(0.0), "") => Ok(Self(0.0)),
            _ => Err("a time looks like 40ms or 1.5s".into()),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split(text) {
            (number, "%") => number.parse::<f64>().ok().map(|number| Self(number / 100.0)),
            ("0", "") => Some(Self(0.0)),
            _ => None,
        }
        .ok_or_else(|| "a share looks like 1% or 0.5%".into())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        match (number.parse::<u64>(), unit) {
            (Ok(number), "kbit") => Ok(Self(number)),
            (Ok(number), "mbit") => Ok(Self(number * 1_000)),
            (Ok(number), "gbit") => Ok(Self(number * 1_000_000)),
            (Ok(0), "") => Ok(Self(0)),
            _ => Err("a rate looks like 500kbit or 10mbit".into()),
        }
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    text.split_at(end)
}

pub(crate) fn run(cluster: &Cluster, wish: &Link) -> anyhow::Result<()> {
    let mut control = cluster.links()?;
    let pairs = pairs(&mut control, wish)?;
    let change = change(wish);
    for (from, to) in &pairs {
        match change {
            Some(change) if wish.one_way => control.shape_way(from, to, change)?,
            Some(change) => control.shape(from, to, change)?,
            None => {}
        }
        if wish.sweep {
            control.sweep(from, to)?;
        }
    }
    report::links(&mut control, |way| {
        pairs.iter().any(|(a, b)| (&way.from, &way.to) == (a, b) || (&way.from, &way.to) == (b, a))
    })
}

/// The links that are meant.
fn pairs(control: &mut Control, wish: &Link) -> anyhow::Result<Vec<(String, String)>> {
    let status = control.status()?;
    if let Some(to) = &wish.to {
        let known = status.way(&wish.from, to).is_some();
        anyhow::ensure!(known, "no link {} {to}; {}", wish.from, names(&status));
        return Ok(vec![(wish.from.clone(), to.clone())]);
    }
    let from = status.ways.iter().filter(|way| way.from == wish.from);
    let pairs: Vec<_> = from.map(|way| (way.from.clone(), way.to.clone())).collect();
    anyhow::ensure!(!pairs.is_empty(), "no link of {}; {}", wish.from, names(&status));
    Ok(pairs)
}

fn names(status: &skywave_wan::Status) -> String {
    let once = status.ways.iter().filter(|way| way.from < way.to);
    let names: Vec<String> = once.map(|way| format!("{} {}", way.from, way.to)).collect();
    format!("links: {}", names.join(", "))
}

fn change(wish: &Link) -> Option<Change> {
    let mut change = if wish.perfect {
        Change {
            delay_ms: Some(0.0),
            jitter_ms: Some(0.0),
            loss: Some(0.0),
            duplicate: Some(0.0),
            mtu: Some(0),
            rate_kbit: Some(0),
            cut: Some(false),
        }
    } else {
        Change::default()
    };
    change.delay_ms = wish.delay.map(|delay| delay.0).or(change.delay_ms);
    change.jitter_ms = wish.jitter.map(|jitter| jitter.0).or(change.jitter_ms);
    change.loss = wish.loss.map(|share| share.0).or(change.loss);
    change.duplicate = wish.duplicate.map(|share| share.0).or(change.duplicate);
    change.mtu = wish.mtu.or(change.mtu);
    change.rate_kbit = wish.rate.map(|rate| rate.0).or(change.rate_kbit);
    if wish.cut || wish.heal {
        change.cut = Some(wish.cut);
    }
    (change != Change::default()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_their_absence_is_refused() {
        assert_eq!("40ms".parse(), Ok(Duration(40.0)));
        assert_eq!("1.5s".parse(), Ok(Duration(1_500.0)));
        assert_eq!("1%".parse(), Ok(Share(0.01)));
        assert_eq!("10mbit".parse(), Ok(Rate(10_000)));
        assert_eq!(("0".parse(), "0".parse(), "0".parse()), (Ok(Duration(0.0)), Ok(Share(0.0)), Ok(Rate(0))));
        for text in ["40", "ms", "-1ms", "40 ms", "4..0ms", "∞ms"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert!("0.01".parse::<Share>().is_err());
        assert!("10".parse::<Rate>().is_err());
    }
}
