//! What a checked token changes: the connection opens, or goes on under a fresh authorization, or is refused.

use skywave_protocol::message::{Connected, Reply};
use skywave_protocol::{ChannelName, CloseCode, ErrorCode, WireError};

use super::state::{Connecting, Open, Phase};
use super::{Authorization, Session};
use crate::capability::Operation;
use crate::time::Millis;

impl Session {
    /// Outcome of `Authenticate`. `unix_now_s` is the wall clock, the only use of it: it turns the token's expiry into a
    /// duration.
    pub fn handle_authorized(
        &mut self,
        now: Millis,
        unix_now_s: u64,
        result: Result<Authorization, WireError>,
    ) {
        let result = result.and_then(|authorization| match authorization.expires_at_s {
            Some(at) if at <= unix_now_s => {
                Err(WireError::new(ErrorCode::TokenExpired, "the token has expired"))
            }
            _ => Ok(authorization),
        });
        match &mut self.phase {
            Phase::Connecting(connecting) => {
                let Connecting { request_id, held, .. } = std::mem::take(&mut **connecting);
                match result {
                    Ok(authorization) => {
                        self.open(now, unix_now_s, request_id, authorization);
                        for message in held {
                            self.request(now, message);
                        }
                    }
                    Err(error) => self.refuse_connection(request_id, error),
                }
            }
            Phase::Open(open) => {
                let Some(request_id) = open.refreshing.take() else { return };
                match result {
                    Ok(authorization) => self.refreshed(now, unix_now_s, request_id, authorization),
                    Err(error) => self.refuse(request_id, error),
                }
            }
            Phase::New { .. } | Phase::Closed => {}
        }
    }

    fn open(&mut self, now: Millis, unix_now_s: u64, request_id: u32, authorization: Authorization) {
        let expires_in_seconds = authorization.expires_at_s.map(|at| at - unix_now_s);
        let connected = Connected {
            client: self.client.clone(),
            user: authorization.user.clone(),
            region: self.config.region.clone(),
            node: self.config.node.clone(),
            ping_seconds: self.config.ping_seconds,
            pong_timeout_seconds: self.config.pong_timeout_seconds,
            expires_in_seconds,
            message_bytes: self.config.message_bytes,
        };
        self.phase =
            Phase::Open(Box::new(Open { authorization, expires_at: None, warn_at: None, refreshing: None }));
        self.reply(request_id, Reply::Connected(connected));
        self.set_expiry(now, expires_in_seconds);
    }

    fn refuse_connection(&mut self, request_id: u32, error: WireError) {
        let code = match error.code {
            ErrorCode::TokenExpired => CloseCode::TokenExpired,
            ErrorCode::Forbidden => CloseCode::Forbidden,
            ErrorCode::RateLimited => CloseCode::RateLimited,
            ErrorCode::ServerFull => CloseCode::ServerFull,
            ErrorCode::Draining => CloseCode::Drain,
            ErrorCode::Internal
            | ErrorCode::Timeout
            | ErrorCode::StoreUnavailable
            | ErrorCode::LogUnavailable => CloseCode::InternalError,
            _ => CloseCode::Unauthorized,
        };
        let reason = error.message.clone();
        self.refuse(request_id, error);
        self.close(code, &reason);
    }

    fn refreshed(&mut self, now: Millis, unix_now_s: u64, request_id: u32, authorization: Authorization) {
        let Phase::Open(open) = &mut self.phase else { return };
        if open.authorization.user != authorization.user {
            let error = WireError::new(ErrorCode::Forbidden, "a refresh must name the same user");
            return self.refuse(request_id, error);
        }
        let expires_in_seconds = authorization.expires_at_s.map(|at| at - unix_now_s);
        open.authorization = authorization;
        self.reply(request_id, Reply::Refreshed { expires_in_seconds });
        self.set_expiry(now, expires_in_seconds);
        self.end_forbidden_subscriptions();
    }

    fn set_expiry(&mut self, now: Millis, expires_in_seconds: Option<u64>) {
        let warning = self.config.expiry_warning_ms;
        if let Phase::Open(open) = &mut self.phase {
            open.expires_at =
                expires_in_seconds.map(|seconds| now.saturating_add(Millis::saturating_mul(seconds, 1_000)));
            open.warn_at = open.expires_at.map(|at| at.saturating_sub(warning).max(now));
        }
    }

    /// Ends what the fresh token does not allow any more.
    fn end_forbidden_subscriptions(&mut self) {
        let Phase::Open(open) = &self.phase else { return };
        let config = &self.config;
        let forbidden = self.subscriptions.iter().filter(|subscription| {
            let channel = &subscription.channel;
            let allowed = config.namespace(channel).is_some_and(|namespace| {
                open.allows(Operation::Subscribe, channel, namespace)
                    && (!subscription.presence || open.allows(Operation::Presence, channel, namespace))
            });
            !allowed && !subscription.granted
        });
        let forbidden: Vec<ChannelName> =
            forbidden.map(|subscription| subscription.channel.clone()).collect();
        for channel in forbidden {
            self.end_subscription(&channel, || {
                WireError::new(ErrorCode::Forbidden, "the fresh token does not allow this channel")
            });
        }
    }
}
