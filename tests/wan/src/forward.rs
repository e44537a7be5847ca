//! An address in one place that leads to a server in another: what TCP and UDP forwards have in common.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::control::{ForwardSpec, ForwardStatus};
use crate::direction::Direction;

/// Shared by a forward's tasks.
pub(crate) struct Forward {
    pub(crate) spec: ForwardSpec,
    pub(crate) clock: Rc<Clock>,
    /// From those who connect to the target.
    pub(crate) out: Rc<Direction>,
    /// From the target to those who connect.
    pub(crate) back: Rc<Direction>,
    /// Ends every connection, and forgets every peer, there is.
    pub(crate) sweep: Notify,
    pub(crate) open: Cell<u64>,
    pub(crate) opened: Cell<u64>,
    pub(crate) refused: Cell<u64>,
}

impl Forward {
    pub(crate) fn new(spec: ForwardSpec, clock: Rc<Clock>, out: Rc<Direction>, back: Rc<Direction>) -> Self {
        Self {
            spec,
            clock,
            out,
            back,
            sweep: Notify::new(),
            open: Cell::new(0),
            opened: Cell::new(0),
            refused: Cell::new(0),
        }
    }

    pub(crate) fn status(&self) -> ForwardStatus {
        ForwardStatus {
            spec: self.spec.clone(),
            open: self.open.get(),
            opened: self.opened.get(),
            refused: self.refused.get(),
        }
    }

    /// Counts one more connection or peer for as long as the guard lives.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        self.open.set(self.open.get() + 1);
        self.opened.set(self.opened.get() + 1);
        Entered(self.clone())
    }

    pub(crate) fn refuse(&self) {
        self.refused.set(self.refused.get() + 1);
    }
}

/// See [`Forward::enter`].
pub(crate) struct Entered(Rc<Forward>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}
