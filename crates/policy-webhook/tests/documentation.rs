//! docs/reference lists every key of the webhook, from the schema of its configuration, and its metrics.

use policy_metrics::webhook::METRICS;
use policy_runtime::testing::{check_key_table, check_metric_table};
use policy_webhook::Config;

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-webhook"), Ok(()));
}

#[test]
fn the_page_has_the_table_of_metrics() {
    assert_eq!(check_metric_table("policy-webhook", METRICS), Ok(()));
}
