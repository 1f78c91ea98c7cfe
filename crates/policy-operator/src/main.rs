//! The operator's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    policy_operator::run()
}
