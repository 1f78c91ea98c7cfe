//! Support for tests: a scripted API server, a leader gate without an election, and the comparison
//! of docs/reference with a service.

mod gate;
mod reference;
mod script;

pub use self::gate::open_gate;
pub use self::reference::{check_key_table, check_metric_table};
pub use self::script::{Reply, Script, respond, status_json};
pub use crate::lease::GateControl;
