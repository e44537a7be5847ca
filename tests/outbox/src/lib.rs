//! The transactional outbox as a whole: an application, its Postgres, a relay and a core. See `tests/exactly_once.rs`.
