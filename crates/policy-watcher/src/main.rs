//! The watcher's program.

use std::process::ExitCode;

/// musl's allocator has one lock for all threads. glibc's serves the watcher as well as this one does.
#[cfg(all(target_os = "linux", target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    policy_watcher::run()
}
