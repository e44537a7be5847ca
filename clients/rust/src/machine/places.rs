//! Where to connect: the configured addresses in turn; or, if the client is to be routed, the nodes that the relay at such an
//! address names, best first, and the address itself when none of them answers.
//!
//! A *round* begins with a question to the relay and ends with a connection that stands, or with all places tried.

use std::collections::VecDeque;

/// What to do to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Open {
        url: String,
        /// The relay has sent us there.
        placed: bool,
    },
    /// Ask the relay at this address.
    Ask(String),
}

#[derive(Debug)]
pub(super) struct Places {
    urls: Vec<String>,
    at: usize,
    round: Round,
}

#[derive(Debug)]
enum Round {
    /// The client is not routed.
    Plain,
    Unasked,
    /// Nodes not tried yet; then the address itself, if that was not tried either.
    Named {
        nodes: VecDeque<String>,
        own: bool,
    },
    /// The relay could not say.
    Unknown {
        tried: bool,
    },
}

impl Places {
    pub(super) fn new(urls: Vec<String>, routed: bool) -> Self {
        Self { urls, at: 0, round: if routed { Round::Unasked } else { Round::Plain } }
    }

    pub(super) fn next(&mut self) -> Next {
        let own = self.urls[self.at % self.urls.len()].clone();
        match &mut self.round {
            Round::Plain => Next::Open { url: own, placed: false },
            Round::Unasked => Next::Ask(own),
            Round::Named { nodes, own: tried } => match nodes.pop_front() {
                Some(url) => Next::Open { url, placed: true },
                None => {
                    *tried = true;
                    // Sent elsewhere, in vain: wherever this leads, it must not send us there again.
                    Next::Open { url: own, placed: true }
                }
            },
            Round::Unknown { tried } => {
                *tried = true;
                Next::Open { url: own, placed: false }
            }
        }
    }

    /// The relay's answer.
    pub(super) fn named(&mut self, answer: Result<Vec<String>, String>) {
        self.round = match answer {
            Ok(nodes) => Round::Named { nodes: nodes.into(), own: false },
            Err(reason) => {
                tracing::debug!(reason, "no route; connecting without one");
                Round::Unknown { tried: false }
            }
        };
    }

    /// Whether this round has a place that was not tried: it is tried at once.
    pub(super) fn has_more(&self) -> bool {
        match &self.round {
            Round::Plain | Round::Unasked => false,
            Round::Named { own, .. } => !own,
            Round::Unknown { tried } => !tried,
        }
    }

    /// The round is over.
    pub(super) fn begin_again(&mut self) {
        if !matches!(self.round, Round::Plain) {
            self.round = Round::Unasked;
        }
    }

    /// The address in turn is not a good one for now.
    pub(super) fn turn(&mut self) {
        self.at += 1;
    }

    /// The next address, as it is.
    pub(super) fn another(&mut self) -> String {
        self.turn();
        self.urls[self.at % self.urls.len()].clone()
    }
}
