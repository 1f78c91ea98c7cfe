//! The commands, one file each.

pub(crate) mod admit;
pub(crate) mod analyze;
pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod crd;
pub(crate) mod deploy;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod export_map;
pub(crate) mod export_vap;
pub(crate) mod fix;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod multi_cluster;
pub(crate) mod observability;
pub(crate) mod preview;
pub(crate) mod remediations;
pub(crate) mod report;
pub(crate) mod revert;
pub(crate) mod test;
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod webhook;
