//! docs/reference lists every key of the watcher, from the schema of its configuration, and its metrics.

use policy_metrics::watcher::METRICS;
use policy_runtime::testing::{check_key_table, check_metric_table};
use policy_watcher::Config;

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-watcher"), Ok(()));
}

#[test]
fn the_page_has_the_table_of_metrics() {
    assert_eq!(check_metric_table("policy-watcher", METRICS), Ok(()));
}
