use policy_metrics::{every_service, operator, watcher, webhook};

use super::foreign::{APISERVER_FAIL_OPEN, UP, our_fail_open};
use super::*;

/// What another implementation says of a query.
fn parsed(expr: &Expr) -> Result<(), String> {
    let text = expr.to_string().replace("$__rate_interval", "4m").replace("$__range", "1h");
    promql_parser::parser::parse(&text).map(|_| ()).map_err(|error| format!("{error} in {text}"))
}

#[test]
fn queries_are_prometheus_queries() {
    let score = || gauge(&watcher::NAMESPACE_SCORE).matching("namespace", "$namespace");
    let pods = || gauge(&watcher::NAMESPACE_PODS).value();
    let cases = [
        (
            score().value().bottomk(10),
            "bottomk(10, max by (cluster, namespace) \
             (namespace_health_score{namespace=~\"$namespace\"}))",
        ),
        (
            gauge(&watcher::NAMESPACE_COMPLIANT).value().sum() / pods().sum() * 100.0,
            "(sum(max by (cluster, namespace) (namespace_compliant_pods)) / \
             sum(max by (cluster, namespace) (namespace_pods))) * 100",
        ),
        (
            counter(&webhook::REQUESTS)
                .equal("decision", "denied")
                .rate(Range::RateInterval)
                .sum_by(&["operation"]),
            "sum by (operation) (rate(webhook_requests_total{decision=\"denied\"}\
             [$__rate_interval]))",
        ),
        (
            histogram(&operator::DURATION).quantile(0.99, Range::Fixed("5m")),
            "histogram_quantile(0.99, \
             sum by (le) (rate(devopspolicy_reconcile_duration_seconds_bucket[5m])))",
        ),
        (
            histogram(&webhook::DURATION).average(Range::Dashboard),
            "sum(rate(webhook_request_duration_seconds_sum[$__range])) / \
             sum(rate(webhook_request_duration_seconds_count[$__range]))",
        ),
        (
            gauge(&every_service::LEADER).value().of_our_services().sum_by(&["service"]),
            "sum by (service) (leader * on (cluster, job, instance) group_left (service) \
             max by (cluster, job, instance, service) (kube_devops_build_info))",
        ),
        (
            gauge(&every_service::CERTIFICATE_EXPIRY).value().until().lt(3600.0),
            "(tls_certificate_expiry_timestamp_seconds - time()) < 3600",
        ),
        (
            APISERVER_FAIL_OPEN.counter().equal("type", "validating").increase(Range::Fixed("1h")),
            "increase(apiserver_admission_webhook_fail_open_count{type=\"validating\"}[1h])",
        ),
        (
            our_fail_open().increase_from_none(Range::Fixed("1h")).sum_by(&["name"]),
            "sum by (name) (((FAILED unless FAILED offset 1h) and on (cluster, job, instance) \
             (up offset 1h == 1)) or increase(FAILED[1h]))",
        ),
        (
            UP.gauge().matching("job", ".*policy-webhook").value().absent(),
            "absent(up{job=~\".*policy-webhook\"})",
        ),
        (
            (gauge(&watcher::CLUSTER_SCORE).offset("1h").value()
                - gauge(&watcher::CLUSTER_SCORE).value())
            .min_over_time("10m")
            .gt(10.0),
            "min_over_time((max by (cluster) (cluster_health_score offset 1h) - \
             max by (cluster) (cluster_health_score))[10m:]) > 10",
        ),
    ];
    let failed =
        r#"apiserver_admission_webhook_fail_open_count{name=~".+\\.devops\\.stochastic\\.io"}"#;
    for (expr, text) in cases {
        assert_eq!(expr.to_string(), text.replace("FAILED", failed));
        assert_eq!(parsed(&expr), Ok(()));
    }
}

#[test]
fn a_choice_is_among_the_values_of_a_label() {
    let of_cluster = gauge(&watcher::NAMESPACE_PODS).matching("cluster", "$cluster");
    let text = "label_values(namespace_pods{cluster=~\"$cluster\"}, namespace)";
    assert_eq!(of_cluster.label_values("namespace"), text);
}

#[test]
#[should_panic(expected = "cluster_pods has no label namespace")]
fn a_choice_is_among_the_labels_of_the_metric() {
    let _ = gauge(&watcher::CLUSTER_PODS).label_values("namespace");
}

#[test]
fn a_query_knows_its_metrics_and_labels() {
    let fail_open = counter(&webhook::FAIL_OPEN).increase(Range::Dashboard).sum_by(&["reason"]);
    assert_eq!(fail_open.labels().iter().collect::<Vec<_>>(), [&"reason"]);
    let both = gauge(&watcher::CLUSTER_COMPLIANT).value() / gauge(&watcher::CLUSTER_PODS).value();
    assert_eq!(
        both.metrics().iter().collect::<Vec<_>>(),
        [&"cluster_compliant_pods", &"cluster_pods"]
    );
}

#[test]
#[should_panic(expected = "webhook_denials_total is a counter, not a gauge")]
fn a_counter_is_never_read_as_a_gauge() {
    let _ = gauge(&webhook::DENIALS);
}

#[test]
#[should_panic(expected = "pods_tracked_total is a gauge, not a counter")]
fn a_gauge_has_no_rate() {
    let _ = counter(&watcher::PODS_TRACKED);
}

#[test]
#[should_panic(expected = "webhook_denials_total has no label namespace")]
fn the_namespace_of_a_service_is_not_taken_for_one_of_pods() {
    let _ = counter(&webhook::DENIALS).matching("namespace", "$namespace");
}

#[test]
#[should_panic(expected = "severity of violations_by_severity is never Critical")]
fn a_value_is_one_of_the_list() {
    let _ = gauge(&operator::VIOLATIONS_BY_SEVERITY).equal("severity", "Critical");
}

#[test]
#[should_panic(expected = "no label policy in")]
fn values_are_grouped_by_labels_that_they_have() {
    let _ = gauge(&watcher::NAMESPACE_PODS).value().sum_by(&["policy"]);
}

#[test]
#[should_panic(expected = "other labels in")]
fn values_are_joined_with_those_of_the_same_labels() {
    let _ = gauge(&watcher::NAMESPACE_PODS).value() / gauge(&watcher::CLUSTER_PODS).value();
}
