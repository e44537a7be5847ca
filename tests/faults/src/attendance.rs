//! Who is there while a fault strikes (I12): in every region users with a tab at each edge, some of whom come and go all the
//! time. Afterwards every edge has to tell the truth, and nobody may have been told what was not so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use skywave_harness::checkers::Violation;
use skywave_harness::participant::Places;
use skywave_harness::presence::{Audit, Member, Roll};

/// Users of each region in each channel.
const USERS: usize = 2;
/// The last one of so many, two users with two tabs, is there all the time.
const STAYS: usize = 4;
/// Between two comings or goings.
const PAUSE: Duration = Duration::from_millis(150);
/// Longest wait for the edges to agree; only a failure waits so long.
const AGREEMENT: Duration = Duration::from_secs(60);

pub struct Attendance {
    roll: Roll,
    channels: Vec<String>,
    members: Arc<Vec<Member>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attendance {
    /// Lets everybody come. `regions`: names, and the edges' addresses. In the last channel there is nobody of the last region.
    pub fn begin(
        regions: &[(String, Vec<std::net::SocketAddr>)],
        channels: Vec<String>,
        token: impl Fn(&str) -> String,
    ) -> Self {
        let roll = Roll::default();
        let mut members = Vec::new();
        for (at, (region, edges)) in regions.iter().enumerate() {
            let last = at + 1 == regions.len();
            for channel in &channels[..channels.len() - usize::from(last && channels.len() > 1)] {
                for (user, tab) in (0..USERS).flat_map(|user| (0..edges.len()).map(move |tab| (user, tab))) {
                    let mut places = edges.clone();
                    places.rotate_left(tab);
                    let user = format!("m-{region}-{user}");
                    let token = Some(token(&user));
                    members.push(Member::start(Places::new(places), &roll, &user, channel, token));
                }
            }
        }
        let (members, ended) = (Arc::new(members), Arc::<AtomicBool>::default());
        Self { roll, channels, members, ended, thread: None }
    }

    pub fn is_settled(&self) -> bool {
        self.members.iter().all(Member::is_settled)
    }

    /// From now on all but every fourth one go and come, one after the other: one user with every tab, the next with all but one.
    pub fn move_about(&mut self) {
        let (members, ended) = (Arc::clone(&self.members), Arc::clone(&self.ended));
        self.thread = Some(std::thread::spawn(move || {
            for round in 0_usize.. {
                for (_, member) in members.iter().enumerate().filter(|(at, _)| at % STAYS != STAYS - 1) {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    member.want(round % 2 == 1);
                    std::thread::sleep(PAUSE);
                }
            }
        }));
    }

    /// Lets everybody come back, waits until the edges agree, and judges.
    pub fn judge(mut self, edges: Vec<std::net::SocketAddr>, secret: &str) -> Vec<Violation> {
        self.stand_still();
        self.members.iter().for_each(|member| member.want(true));
        let audit = Audit { roll: &self.roll, edges, channels: &self.channels, secret };
        let mut found = audit.agree(AGREEMENT, || self.is_settled());
        found.extend(somebody_moved(&self.roll));
        found
    }

    fn stand_still(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.stand_still();
    }
}

/// Without news there was nothing that could have been told wrongly.
fn somebody_moved(roll: &Roll) -> Option<Violation> {
    let news = roll.snapshot().news;
    let told = |came: bool| news.iter().any(|news| news.came == came);
    let what = "nobody was told of a coming and of a going: the record proves nothing".to_owned();
    (!told(true) || !told(false)).then_some(Violation { invariant: "I12", what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_nobody_moved_proves_nothing() {
        assert_eq!(somebody_moved(&Roll::default()).map(|found| found.invariant), Some("I12"));
    }

    #[test]
    fn edges_that_do_not_answer_do_not_agree() {
        let roll = Roll::default();
        let channels = ["room:1".to_owned()];
        // Nobody listens there.
        let edges = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 1))];
        let audit = Audit { roll: &roll, edges, channels: &channels, secret: "s" };
        assert!(!audit.agree(Duration::ZERO, || true).is_empty());
        assert!(!audit.agree(Duration::ZERO, || false).is_empty());
    }
}
