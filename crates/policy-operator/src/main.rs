//! The operator's program.

use std::process::ExitCode;

/// The heap of a process that has read a hundred thousand pods is full of gaps, and glibc's
/// allocator looks through them again and again: a changed pod costs a third more than in a small
/// cluster. This one keeps sizes apart, and needs a tenth less memory.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    policy_operator::run()
}
