//! End-to-end tests: the real binary as a process of its own, real sockets, real disks, real kills.
//!
//! One test program, so that it is linked once. Every test starts its own server.

mod disk_full;
mod drain;
mod far_behind;
mod grants;
mod hostile_channels;
mod hostile_clients;
mod hostile_frames;
mod hostile_tokens;
mod kills;
mod presence;
mod relay;
mod slow_reader;
mod transports;
