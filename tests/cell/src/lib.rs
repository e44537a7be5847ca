//! Nothing but its tests: one cell on real servers, with faults.
