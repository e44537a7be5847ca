//! What a line does to what passes it, and changes to that.

use serde::{Deserialize, Serialize};

/// One way of a link. The default is a perfect line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Milliseconds from one end to the other.
    pub delay_ms: f64,
    /// Each chunk or datagram takes up to so many milliseconds more or less, evenly distributed. Datagrams overtake each
    /// other for it, streams never.
    pub jitter_ms: f64,
    /// Share of packets that are lost, 0 to 1. A stream's lost segments are sent again, later.
    pub loss: f64,
    /// Share of datagrams that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Datagrams with more bytes of payload than this vanish; 0: none do.
    pub mtu: usize,
    /// Throughput in kilobits a second, of all that goes this way together; 0: unlimited.
    pub rate_kbit: u64,
    /// Nothing passes.
    pub cut: bool,
}

/// New values for some of the [`Conditions`]; the others stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_kbit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// Longest delay and jitter: an hour. Longer ones are a mistake in the unit.
const LONGEST_MS: f64 = 3_600_000.0;

impl Change {
    /// The line from now on and for ever closed, or open again; all else stays.
    pub fn cut(cut: bool) -> Self {
        Self { cut: Some(cut), ..Self::default() }
    }

    /// The conditions with this change made; an error names what cannot be.
    pub fn apply(self, mut to: Conditions) -> anyhow::Result<Conditions> {
        let time = |name: &str, value: f64| {
            let good = (0.0..=LONGEST_MS).contains(&value);
            anyhow::ensure!(good, "{name}: {value} is not between 0 and {LONGEST_MS} ms");
            Ok(value)
        };
        let share = |name: &str, value: f64| {
            anyhow::ensure!((0.0..=1.0).contains(&value), "{name}: {value} is not between 0 and 1");
            Ok(value)
        };
        if let Some(value) = self.delay_ms {
            to.delay_ms = time("delay_ms", value)?;
        }
        if let Some(value) = self.jitter_ms {
            to.jitter_ms = time("jitter_ms", value)?;
        }
        if let Some(value) = self.loss {
            to.loss = share("loss", value)?;
        }
        if let Some(value) = self.duplicate {
            to.duplicate = share("duplicate", value)?;
        }
        to.mtu = self.mtu.unwrap_or(to.mtu);
        to.rate_kbit = self.rate_kbit.unwrap_or(to.rate_kbit);
        to.cut = self.cut.unwrap_or(to.cut);
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let line = Conditions { delay_ms: 40.0, loss: 0.1, ..Conditions::default() };
        let changed = Change { loss: Some(0.2), ..Change::default() }.apply(line).unwrap();
        assert_eq!(changed, Conditions { loss: 0.2, ..line });
    }

    #[test]
    fn values_that_no_line_can_have_are_refused() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(
                Change { delay_ms: Some(bad), ..Change::default() }.apply(Conditions::default()).is_err()
            );
            assert!(Change { loss: Some(bad), ..Change::default() }.apply(Conditions::default()).is_err());
        }
    }
}
