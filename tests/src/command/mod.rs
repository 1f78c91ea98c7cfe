//! One module for each subcommand.

pub(crate) mod bench_live;
pub(crate) mod bench_watcher;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod up;
