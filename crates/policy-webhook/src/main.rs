//! The program.

use std::process::ExitCode;

/// glibc's allocator coalesces and splits free chunks over a kilobyte again and again, and each
/// request allocates and frees some: its object and the future of its answer.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    policy_webhook::run()
}
