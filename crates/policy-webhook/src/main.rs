//! The webhook's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    policy_webhook::run()
}
