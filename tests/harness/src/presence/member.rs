//! A client that is in a channel while it is told to be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::roll::{News, Roll, Stay};
use crate::participant::Places;
use crate::socket::{Received, Socket};

/// How often a member looks whether it is still wanted, and between two attempts to connect.
const LOOK: Duration = Duration::from_millis(20);

/// Comes when it is dropped in, leaves when it is dropped.
pub struct Member {
    wanted: Arc<AtomicBool>,
    stands: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// A client of `user` that is wanted in the channel.
    pub fn start(places: Places, roll: &Roll, user: &str, channel: &str, token: Option<String>) -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        let (stands, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut work = Work {
            places,
            roll: roll.clone(),
            user: user.to_owned(),
            channel: channel.to_owned(),
            token,
            wanted: wanted.clone(),
            stands: stands.clone(),
            ended: ended.clone(),
        };
        Self { wanted, stands, ended, thread: Some(std::thread::spawn(move || work.run())) }
    }

    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Whether it is where it is wanted to be.
    pub fn is_settled(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == self.stands.load(Ordering::SeqCst)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

struct Work {
    places: Places,
    roll: Roll,
    user: String,
    channel: String,
    token: Option<String>,
    wanted: Arc<AtomicBool>,
    stands: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Work {
    fn run(&mut self) {
        while !self.ended.load(Ordering::SeqCst) {
            if !self.is_wanted() || self.stay().is_err() {
                std::thread::sleep(LOOK);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst)
    }

    /// Connects, and stays until it is not wanted or the connection ends.
    fn stay(&mut self) -> anyhow::Result<()> {
        let edge = self.places.here();
        let entered = self.enter(edge);
        let (mut socket, client) = entered.inspect_err(|_| self.places.move_on())?;
        self.stands.store(true, Ordering::SeqCst);
        while self.is_wanted() {
            match socket.receive_within(LOOK) {
                Ok(None) => {}
                Ok(Some(Received::Message(message))) => self.told(&client, edge, &message),
                Ok(Some(Received::Close { .. } | Received::End)) | Err(_) => {
                    self.places.move_on();
                    break;
                }
                Ok(Some(_)) => {}
            }
        }
        drop(socket);
        self.roll.went(&client, Instant::now());
        self.stands.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn enter(&self, edge: SocketAddr) -> anyhow::Result<(Socket, String)> {
        let mut socket = Socket::open(edge)?;
        let connect = self.token.as_ref().map_or_else(|| json!({}), |token| json!({ "token": token }));
        let answer = socket.request("connect", connect)?;
        let client = answer["connected"]["client"].as_str().context("not connected")?.to_owned();
        let answer = socket.request("subscribe", json!({ "channel": self.channel, "presence": true }))?;
        anyhow::ensure!(answer.get("subscribed").is_some(), "not subscribed: {answer}");
        let (channel, user) = (self.channel.clone(), self.user.clone());
        let from = Instant::now();
        self.roll.came(Stay { channel, user, client: client.clone(), edge, from, to: None });
        Ok((socket, client))
    }

    fn told(&self, client: &str, edge: SocketAddr, message: &Value) {
        for (verb, came) in [("join", true), ("leave", false)] {
            let Some(news) = message.get(verb) else { continue };
            let Some(user) = news["user"].as_str() else { continue };
            let (channel, client, user) = (self.channel.clone(), client.to_owned(), user.to_owned());
            self.roll.told(News { channel, client, edge, user, came, at: Instant::now() });
        }
    }
}
