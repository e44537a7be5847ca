//! Faults on real processes: one list of them, each struck under load, watched, healed and judged by the checkers of
//! [`skywave_harness::checkers`] over everything that was published, acknowledged and delivered.
//!
//! - [`scenarios`] says what is done to the cluster, and how it is seen that it really happened;
//! - [`setting`] brings up the cluster that it is done to;
//! - [`stage`] has the load: publishers and subscribers in every region, all through raw sockets;
//! - [`attendance`] has those who are present in channels, and come and go;
//! - [`measure`] reads from the recorded history what clients saw, and how long it took;
//! - [`report`] writes the table of `docs/reliability.md`;
//! - [`trouble`] tells of a failure what is needed to understand it.
//!
//! Never: judges by time. How long something took is told, not tested.

pub mod attendance;
pub mod crowd;
pub mod measure;
pub mod report;
pub mod scenarios;
pub mod setting;
pub mod stage;
pub mod trouble;

pub use measure::Figures;
pub use scenarios::{SCENARIOS, Scenario, Strength};
pub use setting::Setting;
pub use stage::Stage;
