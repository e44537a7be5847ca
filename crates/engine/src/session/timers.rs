//! What happens by itself: connect timeout, unanswered requests, ping and pong, token expiry, end of a drain.

use skywave_protocol::message::Reply;
use skywave_protocol::{CloseCode, ErrorCode, Push, ServerMessage, WireError};

use super::Session;
use super::state::Phase;
use crate::time::{Millis, earlier};

impl Session {
    pub fn handle_timeout(&mut self, now: Millis) {
        match &self.phase {
            Phase::New { until } if *until <= now => {
                self.close(CloseCode::ConnectRequired, "connect did not come in time");
            }
            Phase::Connecting(connecting) if connecting.until <= now => {
                let request_id = connecting.request_id;
                self.refuse(
                    request_id,
                    WireError::new(ErrorCode::Timeout, "the token was not checked in time"),
                );
                self.close(CloseCode::InternalError, "the token was not checked in time");
            }
            Phase::Open(_) => self.open_timeout(now),
            _ => {}
        }
    }

    /// When `handle_timeout` wants to be called next. Bytes from the client may postpone it without notice: a timer that
    /// fires early does no harm.
    pub fn poll_timeout(&self) -> Option<Millis> {
        match &self.phase {
            Phase::New { until } => Some(*until),
            Phase::Connecting(connecting) => Some(connecting.until),
            Phase::Open(open) => {
                let token = earlier(open.warn_at, open.expires_at);
                let answer = self.waiting.first().map(|(_, until)| *until);
                earlier(earlier(token, answer), earlier(Some(self.silence_until()), self.drain_at))
            }
            Phase::Closed => None,
        }
    }

    fn open_timeout(&mut self, now: Millis) {
        let Phase::Open(open) = &mut self.phase else { return };
        if open.expires_at.is_some_and(|at| at <= now) {
            return self.close(CloseCode::TokenExpired, "the token has expired");
        }
        if self.drain_at.is_some_and(|at| at <= now) {
            return self.close(CloseCode::Drain, "the node is draining");
        }
        if let (Some(expires_at), Some(_)) = (open.expires_at, open.warn_at.take_if(|at| *at <= now)) {
            let seconds = u32::try_from((expires_at - now).div_ceil(1_000)).unwrap_or(u32::MAX);
            self.push(Push::Expiring { seconds });
        }
        while let Some((id, _)) = self.waiting.first().copied().filter(|(_, until)| *until <= now) {
            self.waiting.remove(0);
            let error =
                WireError::new(ErrorCode::Timeout, "no answer in time; retry with the same message id");
            self.reply(id, Reply::Error(error.retry_after_ms(1_000)));
        }
        self.forget_if_idle();
        if self.silence_until() <= now {
            if self.pinged_at.is_some() {
                return self.close(CloseCode::PingTimeout, "no answer to the ping");
            }
            self.pinged_at = Some(now);
            self.send(ServerMessage::Ping);
        }
    }

    /// When silence has to be answered: with a ping, or (after one) with a close.
    fn silence_until(&self) -> Millis {
        match self.pinged_at {
            Some(at) => at + Millis::from(self.config.pong_timeout_seconds) * 1_000,
            None => self.received_at + Millis::from(self.config.ping_seconds) * 1_000,
        }
    }
}
