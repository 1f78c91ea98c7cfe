//! The webhook with another judge, which causes faults that the engine does not have.

use std::process::ExitCode;

pub use crate::validate::Judge;

/// Runs the webhook as [`run`](crate::run) does, but with this judge.
#[must_use]
pub fn run_with(judge: impl Judge) -> ExitCode {
    crate::run_with(judge)
}
