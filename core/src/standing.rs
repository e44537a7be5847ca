//! What a core owns, and how it does: for health checks and the people who read them.

use std::fmt;

use skywave_ports::log::Partition;

use crate::owned::Ownership;
use crate::service::Shared;

/// A core's part in its cell at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The group has told it its share.
    pub member: bool,
    /// Partitions of the cell.
    pub partitions: u32,
    pub serving: Vec<Partition>,
    pub replaying: Vec<Partition>,
    /// With the reason of the last failure.
    pub failing: Vec<(Partition, String)>,
}

impl Standing {
    pub(crate) fn of(shared: &Shared) -> Self {
        let mut standing = Self {
            member: shared.is_member(),
            partitions: shared.log.partitions(),
            serving: Vec::new(),
            replaying: Vec::new(),
            failing: Vec::new(),
        };
        for (partition, ownership) in shared.owned.all() {
            match ownership {
                Ownership::Serving(_) => standing.serving.push(partition),
                Ownership::Replaying => standing.replaying.push(partition),
                Ownership::Failing { reason, .. } => standing.failing.push((partition, reason.to_string())),
            }
        }
        standing
    }

    /// Whether it does all that it should.
    pub fn is_ready(&self) -> bool {
        self.member && self.replaying.is_empty() && self.failing.is_empty()
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.member {
            return f.write_str("waits for its share of the partitions");
        }
        if self.serving.is_empty() && self.replaying.is_empty() && self.failing.is_empty() {
            return write!(f, "standby: owns none of {} partitions", self.partitions);
        }
        let list = |partitions: &[Partition]| {
            partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let mut parts = Vec::new();
        if !self.serving.is_empty() {
            parts.push(format!("serves {} of {}", list(&self.serving), self.partitions));
        }
        if !self.replaying.is_empty() {
            parts.push(format!("replays {}", list(&self.replaying)));
        }
        for (partition, reason) in &self.failing {
            parts.push(format!("{partition} fails: {reason}"));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_does() {
        let mut standing =
            Standing { member: false, partitions: 4, serving: vec![], replaying: vec![], failing: vec![] };
        assert!(!standing.is_ready());
        standing.member = true;
        assert!(standing.is_ready());
        assert_eq!(standing.to_string(), "standby: owns none of 4 partitions");
        standing.serving = vec![0, 2];
        assert!(standing.is_ready());
        standing.replaying = vec![1];
        standing.failing = vec![(3, "no disk".into())];
        assert!(!standing.is_ready());
        assert_eq!(standing.to_string(), "serves 0, 2 of 4; replays 1; 3 fails: no disk");
    }
}
