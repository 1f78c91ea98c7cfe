//! The metrics of the operator, and the page that explains them.

use std::collections::BTreeSet;

use super::enforced::Enforced;

/// The metrics of enforce mode.
const REMEDIATION: [&str; 6] = [
    "enforcement_mode",
    "enforcement_remediating",
    "enforcement_remediations_applied_total",
    "enforcement_remediations_failed_total",
    "enforcement_remediations_proposed_total",
    "enforcement_remediations_reverted_total",
];

/// The metrics in the first column of the table; a name that ends with `*` stands for several.
fn documented(page: &str) -> BTreeSet<&str> {
    let table = page.lines().skip_while(|line| !line.starts_with("| metric |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    names.flat_map(|names| names.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn each_metric_has_a_help_text_and_is_documented() {
    let enforced = Enforced::shared();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy-operator.md");
    let page = std::fs::read_to_string(page).unwrap();
    let documented = documented(&page);
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
    let is_documented = |name: &str| {
        let covers =
            |known: &str| known.strip_suffix('*').is_some_and(|start| name.starts_with(start));
        documented.contains(name) || documented.iter().any(|known| covers(known))
    };
    let missing: Vec<_> = helped.iter().filter(|name| !is_documented(name)).collect();
    assert!(missing.is_empty(), "not in docs/policy-operator.md: {missing:?}");
    let gone: Vec<_> = REMEDIATION.iter().filter(|name| !helped.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}
