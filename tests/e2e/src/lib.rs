//! End-to-end tests live in `tests/`; this library is empty because a package needs a target.
