//! The machine against a scripted server over virtual time.

use std::sync::Arc;

use skywave_protocol::message::GapReason;
use skywave_protocol::message::{Connected, Member, Published, Recovery, Subscribed};
use skywave_protocol::{
    ClientId, ClientMessage, CloseCode, Epoch, ErrorCode, MessageId, NodeId, Payload, Position, Publication,
    Push, Reply, ServerMessage, WireError, json,
};

use super::*;
use crate::error::PublishError;
use crate::event::{GrantEvent, State, SubscriptionEvent};

mod connecting;
mod granted;
mod moving;
mod publishing;
mod routing;
mod subscribing;
mod support;

use support::*;
