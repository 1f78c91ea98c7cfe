//! A leader gate without an election.

use std::time::Duration;

use tokio::time::Instant;

use crate::lease::{GateControl, LeaderGate, Leadership};

impl GateControl {
    /// A closed gate of the candidate `test`.
    #[must_use]
    pub fn for_test() -> (Self, LeaderGate) {
        Self::new("test".into())
    }

    /// Opens the gate for a year.
    pub fn open(&self) {
        self.open_for_term(1);
    }

    /// Opens the gate for a year, in that term.
    pub fn open_for_term(&self, term: u32) {
        let until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        self.set(Some(Leadership { term, until }), Some("test".into()));
    }

    /// Closes the gate.
    pub fn close(&self) {
        self.set(None, None);
    }

    /// Closes the gate because another candidate holds the Lease.
    pub fn hold_by(&self, holder: &str) {
        self.set(None, Some(holder.into()));
    }
}

/// A gate that stays open for as long as the process lives.
#[must_use]
pub fn open_gate() -> LeaderGate {
    let (control, gate) = GateControl::for_test();
    control.open();
    // Dropping the control would close the gate.
    std::mem::forget(control);
    gate
}
