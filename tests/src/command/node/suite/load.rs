//! Creations of Deployments while something happens.

use anyhow::Result;
use e2e::{Load, Testbed};

use super::{deployment, pods};

/// Creates Deployments without storing them, until `action` has ended and `least` creations of each
/// kind were answered. Fails if one answer is wrong.
pub(super) fn during(
    testbed: &Testbed,
    least: usize,
    action: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let load = Load { pairs: vec![["latest", "v1.2.3"].map(deployment)], dry_run: true, least };
    // Also while the replaced pods end, which may be after the new ones are ready.
    let ((), answers) =
        load.during(testbed, || action().and_then(|()| pods::wait_until_gone(testbed)))?;
    Ok(answers)
}
