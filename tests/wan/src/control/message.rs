//! What is said over the control socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::conditions::{Change, Conditions};
use crate::counters::Counters;

/// One line from a client. A line `{"do":"link","a":"eu","b":"us"}` is a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Makes a link of two perfect ways; one that is there stays as it is.
    Link { a: String, b: String },
    /// Adds a forward to a link that is there.
    Forward(ForwardSpec),
    /// Ends a forward with all its connections.
    Remove { name: String },
    /// Changes a link both ways, or only from `from` to `to`.
    Shape {
        from: String,
        to: String,
        #[serde(default)]
        one_way: bool,
        change: Change,
    },
    /// Resets every connection of the link and gives every UDP peer a new address towards its target, as a NAT does that
    /// has forgotten them.
    Sweep { a: String, b: String },
    /// Everything there is to know.
    Status,
    /// Ends the process.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// An address in `from` that leads to `target` in `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSpec {
    pub name: String,
    pub protocol: Protocol,
    pub from: String,
    pub to: String,
    /// Port 0: any free one; the answer says which.
    pub listen: SocketAddr,
    pub target: SocketAddr,
}

/// One line to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// Where a new forward listens.
    Listening(SocketAddr),
    Status(Status),
    Error(String),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Two for each link.
    pub ways: Vec<WayStatus>,
    pub forwards: Vec<ForwardStatus>,
}

impl Status {
    /// One way of a link.
    pub fn way(&self, from: &str, to: &str) -> Option<&WayStatus> {
        self.ways.iter().find(|way| way.from == from && way.to == to)
    }

    pub fn forward(&self, name: &str) -> Option<&ForwardStatus> {
        self.forwards.iter().find(|forward| forward.spec.name == name)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayStatus {
    pub from: String,
    pub to: String,
    pub conditions: Conditions,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    #[serde(flatten)]
    pub spec: ForwardSpec,
    /// Connections, or UDP peers, there are.
    pub open: u64,
    /// There have been.
    pub opened: u64,
    /// Turned away: too many, or the target refused, or given up while the line was cut.
    pub refused: u64,
}
