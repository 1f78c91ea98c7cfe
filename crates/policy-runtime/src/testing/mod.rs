//! Support for tests: a scripted API server, a leader gate without an election, and the check of the
//! key table in the documentation.

mod gate;
mod key_table;
mod script;

pub use self::gate::open_gate;
pub use self::key_table::check_key_table;
pub use self::script::{Reply, Script, respond, status_json};
pub use crate::lease::GateControl;
