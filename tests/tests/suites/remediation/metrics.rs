//! The metrics of the operator, and the page that explains them.

use std::collections::BTreeSet;

use e2e::Metrics;

use super::enforced::Enforced;
use crate::metrics_page;

/// The metrics of enforce mode.
const REMEDIATION: [&str; 6] = [
    "enforcement_mode",
    "enforcement_remediating",
    "enforcement_remediations_applied_total",
    "enforcement_remediations_failed_total",
    "enforcement_remediations_proposed_total",
    "enforcement_remediations_reverted_total",
];

#[test]
fn each_metric_has_a_help_text_and_is_documented() {
    let enforced = Enforced::shared();
    let namespace = enforced.testbed().namespace("metrics").unwrap();
    enforced.apply_policy(&namespace, super::POLICY);
    let read = || enforced.operator().get("/metrics").unwrap().1;
    enforced.wait_until(&namespace, "the series of the policy", || {
        read().contains(&format!("enforcement_remediating{{namespace=\"{namespace}\""))
    });
    let text = read();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '))
        {
            assert!(help.len() > 5, "{line}");
            helped.insert(name);
        }
    }
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let without_help: Vec<_> = typed.filter(|name| !helped.contains(name)).collect();
    assert!(without_help.is_empty(), "{without_help:?}");
    metrics_page::assert_documented("policy-operator", &Metrics::parse(&text).unwrap());
    let gone: Vec<_> = REMEDIATION.iter().filter(|name| !helped.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}
