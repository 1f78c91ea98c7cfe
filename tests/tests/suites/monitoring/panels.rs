//! Every query of the dashboard, as Grafana sends it, gets data from a real Prometheus.

use std::collections::BTreeSet;

use e2e::{PanelQuery, Prometheus, Viewed};
use policy_manifests::alerts::groups;
use policy_manifests::dashboard;
use promql_parser::parser::{self, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

use super::scraped::{NAMESPACE, SURELY, Scraped};

const FAILED: &str = "Failed, by reason";

impl Scraped<'_> {
    /// Also where the reader chooses one cluster, one namespace and its policy. Panels of `stopped`,
    /// the namespace of a policy whose circuit breaker is open, are those that have most to show.
    pub(super) fn every_panel_has_data(
        &self,
        stopped: &str,
        other: &Prometheus<'_>,
        cluster: &str,
    ) {
        let dashboard = serde_json::to_value(dashboard::dashboard()).unwrap();
        let all = || Viewed::new(&dashboard);
        let one = || all().choose("namespace", stopped).choose("policy", "p");
        for (prometheus, clusters) in [(&self.prometheus, vec![]), (other, vec![cluster])] {
            for viewed in [all(), one()] {
                assert_choices(prometheus, &viewed, stopped, &clusters);
                self.assert_has_data(prometheus, &viewed);
            }
        }
        for viewed in [all(), one()] {
            let viewed = viewed.choose("cluster", cluster);
            assert_choices(other, &viewed, stopped, &[cluster]);
            self.assert_has_data(other, &viewed);
        }
        // Else a choice of clusters would be none.
        for query in all().choose("cluster", "another").queries().unwrap() {
            let found = values(other, &query);
            let is_zero = found.iter().all(|value| *value == 0.0);
            assert!(is_zero, "of another cluster: {query:?} {found:?}");
        }
    }

    /// What was waited for is seen by one Prometheus; the other one scrapes at other moments.
    fn assert_has_data(&self, prometheus: &Prometheus<'_>, viewed: &Viewed<'_>) {
        let mut silent = viewed.queries().unwrap();
        assert!(silent.len() > 60, "{}", silent.len());
        // A quantile of no durations is no number.
        let is_silent = |query: &PanelQuery| {
            let has_data = values(prometheus, query).iter().any(|value| value.is_finite());
            let is_right = has_data || (query.panel == FAILED && has_none_failed(prometheus));
            !is_right
        };
        let reached = self.testbed.wait_for("data of every query", SURELY, || {
            silent.retain(is_silent);
            Ok(silent.is_empty())
        });
        assert!(reached.is_ok(), "{silent:#?}");
    }

    pub(super) fn every_alert_finds_its_series(&self) {
        for alert in groups().iter().flat_map(|group| &group.alerts) {
            for selector in selectors(&alert.expr.to_string()) {
                let asked = format!("{selector}, of {}", alert.name);
                self.wait_until(&asked, SURELY, || {
                    !self.prometheus.query(&selector).unwrap().is_empty()
                });
            }
        }
    }
}

/// The table has a row for each reason, so it is rightly empty until a remediation fails.
fn has_none_failed(prometheus: &Prometheus<'_>) -> bool {
    let failed = prometheus.value("sum(enforcement_remediations_failed_total)").unwrap();
    failed == Some(0.0)
}

/// All values of a query, in the time that Grafana asks for.
fn values(prometheus: &Prometheus<'_>, query: &PanelQuery) -> Vec<f64> {
    match query.step {
        None => {
            let found = prometheus.query(&query.expr).unwrap();
            found.into_iter().map(|(_, value)| value).collect()
        }
        Some(step) => {
            let found = prometheus.query_range(&query.expr, query.back, step).unwrap();
            found.into_iter().flat_map(|(_, values)| values).collect()
        }
    }
}

fn assert_choices(
    prometheus: &Prometheus<'_>,
    viewed: &Viewed<'_>,
    namespace: &str,
    clusters: &[&str],
) {
    for choices in viewed.choices().unwrap() {
        let found = prometheus.label_values(&choices.selector, &choices.label).unwrap();
        let has = |value: &str| found.iter().any(|found| found == value);
        let is_right = match &*choices.name {
            "cluster" => found == clusters,
            "namespace" => has(namespace) && has(NAMESPACE) && !has("kube-system"),
            "policy" => has("p"),
            _ => false,
        };
        assert!(is_right, "{choices:?} {found:?}");
    }
}

/// The series that an expression reads.
fn selectors(expression: &str) -> BTreeSet<String> {
    #[derive(Default)]
    struct Selectors(BTreeSet<String>);

    impl ExprVisitor for Selectors {
        type Error = String;

        fn pre_visit(&mut self, expr: &parser::Expr) -> Result<bool, String> {
            let selector = match expr {
                parser::Expr::VectorSelector(selector) => Some(selector),
                parser::Expr::MatrixSelector(matrix) => Some(&matrix.vs),
                _ => None,
            };
            let now = selector.map(|found| VectorSelector { offset: None, ..found.clone() });
            self.0.extend(now.map(|selector| selector.to_string()));
            Ok(true)
        }
    }

    let mut selectors = Selectors::default();
    walk_expr(&mut selectors, &parser::parse(expression).unwrap()).unwrap();
    selectors.0
}
