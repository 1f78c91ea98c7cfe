//! One module for each subcommand.

pub(crate) mod bench_changes;
pub(crate) mod bench_clusters;
pub(crate) mod bench_live;
pub(crate) mod bench_memory;
pub(crate) mod bench_offline;
pub(crate) mod bench_operator;
pub(crate) mod bench_remediation;
pub(crate) mod bench_scrape;
pub(crate) mod bench_watcher;
pub(crate) mod bench_webhook;
pub(crate) mod build;
pub(crate) mod chart_lint;
pub(crate) mod demo;
mod fake_api;
pub(crate) mod gitops;
mod measure;
pub(crate) mod monitoring;
pub(crate) mod node;
mod process;
pub(crate) mod up;
