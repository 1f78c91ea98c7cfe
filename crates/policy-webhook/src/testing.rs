//! The webhook with somebody else to decide, so that faults can be caused that the engine does not
//! have.

use std::process::ExitCode;

pub use crate::validate::Judge;

/// Runs the webhook, as [`run`](crate::run) does, with that judge in the engine's place.
#[must_use]
pub fn run_with(judge: impl Judge) -> ExitCode {
    crate::run_with(judge)
}
