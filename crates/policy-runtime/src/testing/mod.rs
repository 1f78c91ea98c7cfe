//! Support for tests: a scripted API server, a leader gate without an election, and the check of the
//! key table in the documentation.

mod key_table;
mod script;

pub use self::key_table::check_key_table;
pub use self::script::{Reply, Script, respond, status_json};
pub use crate::lease::GateControl;
use crate::lease::LeaderGate;

/// A leader gate that stays open for as long as the process lives.
#[must_use]
pub fn open_gate() -> LeaderGate {
    let (control, gate) = GateControl::for_test();
    control.open();
    // Dropping the control would close the gate.
    std::mem::forget(control);
    gate
}
