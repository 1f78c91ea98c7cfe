//! The watcher's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    policy_watcher::run()
}
