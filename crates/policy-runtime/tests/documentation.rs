//! docs/reference lists the metrics that services have in common.

use policy_metrics::every_service::METRICS;
use policy_runtime::testing::check_metric_table;

#[test]
fn the_page_has_the_metrics_of_all_services() {
    assert_eq!(check_metric_table("all services", METRICS), Ok(()));
}
