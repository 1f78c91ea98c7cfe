//! Suites on a real control plane, one for all of them: see [`e2e::shared`].

mod alerts;
mod chart;
mod cli;
mod cluster_policies;
mod clusters;
mod crds;
mod explain;
mod failures;
mod fix;
mod gitops;
mod install;
mod live;
mod metrics_page;
mod monitoring;
mod open_reports;
mod operator;
mod policies;
mod preview;
mod remediation;
mod rights;
mod testbed;
mod unread;
mod upgrade;
mod watcher;
mod webhook;
mod webhook_config;
