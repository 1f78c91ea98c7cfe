//! Suites on a real control plane, one for all of them: see [`e2e::shared`].

mod cli;
mod clusters;
mod crds;
mod failures;
mod install;
mod live;
mod operator;
mod policies;
mod rights;
mod testbed;
mod watcher;
