//! `cargo xtask bench live`: measured by the package `e2e`, which has the control plane.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::measure::{Measured, print};
use crate::e2e;

pub(super) fn run(json: bool) -> Result<()> {
    let results: Value = serde_json::from_str(&e2e::measure("bench-live")?)?;
    let value = |key: &str| results[key].as_f64().with_context(|| format!("no number {key}"));
    let results = [
        Measured {
            key: "analyze_ratio",
            value: value("analyze_ratio")?,
            at_most: 1.3,
            what: "policyctl analyze, 20 000 pods / reading the pages",
        },
        Measured {
            key: "analyze_rss_mib",
            value: value("analyze_rss_mib")?,
            at_most: 40.0,
            what: "its peak of resident memory",
        },
        Measured {
            key: "pod_kb",
            value: value("pod_kb")?,
            at_most: 15.0,
            what: "size of a pod, as the API server sends it",
        },
        Measured {
            key: "testbed_start_s",
            value: value("testbed_start_s")?,
            at_most: 6.0,
            what: "etcd and API server, from start to ready",
        },
    ];
    print(&results, json)
}
