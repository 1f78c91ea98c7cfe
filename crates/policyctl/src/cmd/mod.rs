//! The commands, one file each.

pub(crate) mod analyze;
pub(crate) mod bundle;
pub(crate) mod completions;
pub(crate) mod crd;
pub(crate) mod version;
