//! Deliberately broken builds. Each must be caught by the checkers; the engine itself knows nothing of them, the wiring
//! around it is bent instead.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The sequencer sees a fresh id with every attempt.
    DedupOff,
    /// A restored sequencer starts with an empty dedup window.
    DedupForgottenOnRestore,
    /// Live publications go to subscribers as they come, past the hub.
    GapCheckOff,
    /// The sequencer reads (and acknowledges) records that are not yet synced.
    AckBeforeDurable,
    /// A recovery misses its first publication.
    RecoveryOffByOne,
    /// A connection gets publications from the moment it asks, not from the position it is told.
    SeamOpen,
    /// Core never announces heads.
    HeadsSilent,
    /// The checkpoint is stored, the rows with it are not.
    TornCommit,
    /// A dead node's members stay.
    NoLeases,
    /// Every connection counts as a user of its own.
    TabsCountApart,
    /// Slow clients are queued for without bound.
    OutboxUnbounded,
    /// A gap is not announced to members.
    GapsSilent,
    /// A page misses its first publication.
    PagesOffByOne,
    /// Who is catching up gets live publications too.
    LiveWhileBehind,
}

impl Sabotage {
    pub const ALL: [Self; 14] = [
        Self::DedupOff,
        Self::DedupForgottenOnRestore,
        Self::GapCheckOff,
        Self::AckBeforeDurable,
        Self::RecoveryOffByOne,
        Self::SeamOpen,
        Self::HeadsSilent,
        Self::TornCommit,
        Self::NoLeases,
        Self::TabsCountApart,
        Self::OutboxUnbounded,
        Self::GapsSilent,
        Self::PagesOffByOne,
        Self::LiveWhileBehind,
    ];
}
