//! `cargo xtask bench live`.

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-live";
pub(super) const ROWS: [Row; 6] = [
    ("analyze_ratio", AtMost(1.3), "policyctl analyze, 20 000 pods / reading the pages"),
    ("analyze_rss_mib", AtMost(40.0), "its peak of resident memory"),
    ("live_ratio", AtMost(0.5), "the time / kubectl get pods -A -o json of the same pods"),
    ("live_memory_ratio", AtMost(0.1), "the peaks of resident memory"),
    ("pod_kb", AtMost(15.0), "size of a pod, as the API server sends it"),
    ("testbed_start_s", AtMost(6.0), "etcd and API server, from start to ready"),
];
