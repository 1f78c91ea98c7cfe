//! docs/reference lists every key of the operator, from the schema of its configuration, and its metrics.

use policy_metrics::operator::METRICS;
use policy_operator::Config;
use policy_runtime::testing::{check_key_table, check_metric_table};

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-operator"), Ok(()));
}

#[test]
fn the_page_has_the_table_of_metrics() {
    assert_eq!(check_metric_table("policy-operator", METRICS), Ok(()));
}
