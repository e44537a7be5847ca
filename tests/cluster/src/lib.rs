//! Several regions on one machine, from real processes: started, frozen, killed, restarted, parted from each other, and ended
//! without a trace.
//!
//! - [`ClusterOptions`] say what there is to be; [`Cluster::up`] plans it (`plan`), starts it wave by wave and returns when all
//!   of it serves.
//! - The processes outlive the program that started them. What is needed to find, judge and start them again lies in the
//!   cluster's folder (`store`), so that the command line and a test do the same things with it: [`Cluster::open`].
//! - Every byte between two regions passes through a link of `skywave-wan`, which can be made slow, lossy or cut.
//!
//! Owns its folder and the processes it started. Never signals any other process, whatever number it bears.

mod cluster;
mod document;
mod folder;
mod interrupt;
mod member;
mod options;
mod plan;
mod ready;
mod store;
mod up;

pub use cluster::Cluster;
pub use member::{Kind, Member, Standing};
pub use options::ClusterOptions;
