//! The webhook's program.

use std::process::ExitCode;

/// What a request takes and gives back at once, glibc's allocator joins and divides again each time
/// where a piece is larger than a kilobyte, as an object and its answer's future are.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    policy_webhook::run()
}
