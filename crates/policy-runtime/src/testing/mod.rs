//! Support for tests: a scripted API server, a leader gate without an election, a client that trusts
//! anybody, and the comparison of docs/reference with a service.

mod gate;
mod reference;
mod script;
mod tls;

pub use self::gate::open_gate;
pub use self::reference::{check_key_table, check_metric_table};
pub use self::script::{Reply, Script, respond, status_json};
pub use self::tls::trusting_anybody;
pub use crate::lease::GateControl;
