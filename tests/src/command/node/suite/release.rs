//! The release of the chart: installation, upgrades, `helm test`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::Testbed;

use super::super::chart::{NAMESPACE, helm, helm_release};
use super::{load, pods, seconds};

const INSTALL: Duration = Duration::from_secs(15);
/// Creations of each kind during an upgrade.
const CREATIONS: usize = 1_000;

/// Installs the chart into a namespace that enforces Pod Security *restricted*.
pub(super) fn install(testbed: &Testbed) -> Result<String> {
    testbed.kubectl(&["create", "namespace", NAMESPACE])?.succeeded()?;
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    testbed.kubectl(&["label", "namespace", NAMESPACE, enforce])?.succeeded()?;
    let start = Instant::now();
    helm(testbed, "install", &["--wait", "--timeout=120s"])?.succeeded()?;
    let took = start.elapsed();
    ensure!(took <= INSTALL, "{}", seconds(took));
    Ok(seconds(took))
}

pub(super) fn test(testbed: &Testbed) -> Result<String> {
    let output = helm_release(testbed, "test", &["--timeout=60s"])?.succeeded()?;
    let succeeded = output.matches("Phase:").count();
    ensure!(succeeded > 0, "the chart has no test");
    Ok(format!("{succeeded} succeeded"))
}

/// An upgrade that replaces every pod.
pub(super) fn upgrade(testbed: &Testbed) -> Result<String> {
    load::during(testbed, CREATIONS, || {
        let upgrade = ["--wait", "--timeout=120s", "--set=podAnnotations.upgraded=once"];
        helm(testbed, "upgrade", &upgrade)?.succeeded()?;
        pods::wait_until_ready(testbed)?;
        Ok(())
    })
}

/// An upgrade to images that do not exist: Helm fails, and what ran before runs again.
pub(super) fn failed_upgrade(testbed: &Testbed) -> Result<String> {
    let revision = revision(testbed)?;
    let answers = load::during(testbed, 0, || {
        let upgrade =
            ["--wait", "--timeout=20s", "--rollback-on-failure", "--set=image.tag=missing"];
        let run = helm(testbed, "upgrade", &upgrade)?;
        ensure!(run.code != Some(0), "Helm did not notice that no image exists");
        pods::wait_until_ready(testbed)?;
        Ok(())
    })?;
    let now = self::revision(testbed)?;
    // The failed revision, and the one that repeats the revision before it.
    ensure!(now == revision + 2, "revision {now} is deployed after {revision}");
    Ok(format!("revision {now} repeats {revision}; {answers}"))
}

/// The number of the deployed revision.
fn revision(testbed: &Testbed) -> Result<u64> {
    let status = helm_release(testbed, "status", &["-o", "json"])?.succeeded()?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(status["info"]["status"] == "deployed", "the release is {}", status["info"]["status"]);
    Ok(status["version"].as_u64().unwrap_or_default())
}
