//! What a worker reports of its connections, if anybody wants to know.

use skywave_protocol::CloseCode;

use super::state::State;
use super::subscribers::ConnectionSlot;
use crate::reporting::{Happening, Whose};

impl State {
    /// A connection has been let in, or not.
    pub(crate) fn report_connected(&mut self, slot: ConnectionSlot) {
        let reporter = &self.shared.reporter;
        let connection = &mut self.connections[slot as usize];
        if !reporter.wants_activity() || connection.session.authorization().is_none() {
            return;
        }
        let session = &connection.session;
        let whose = Whose { client: session.client().clone(), user: session.user().cloned() };
        connection.reported = Some(Box::new(whose.clone()));
        reporter.report(Happening::Connected { whose, transport: connection.transport });
    }

    /// Of a connection that was let in.
    pub(crate) fn report(&self, slot: ConnectionSlot, happening: impl FnOnce(Whose) -> Happening) {
        if let Some(whose) = &self.connections[slot as usize].reported {
            self.shared.reporter.report(happening((**whose).clone()));
        }
    }

    /// It has ended; `why`: what was said at its end, if anything was.
    pub(crate) fn report_disconnected(&self, slot: ConnectionSlot, why: Option<(CloseCode, String)>) {
        self.report(slot, |whose| Happening::Disconnected { whose, why });
    }
}
