//! One session against a scripted client, hub and core.

mod channels;
mod connecting;
mod law;
mod requests;
mod support;
mod timers;
mod tokens;
