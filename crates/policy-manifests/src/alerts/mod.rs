//! The alerts, one file for each group. Their runbooks are the sections of docs/runbooks.md; the cases
//! in `tests` are run by promtool in the suites.

mod enforcement;
mod reconcile;
mod services;
mod watch;
mod webhook;

use crate::promql::Expr;

/// Where the runbooks are.
const RUNBOOKS: &str = "https://github.com/kube-devops/kube-devops/blob/main/docs/runbooks.md";

/// Alerts that are evaluated together.
#[derive(Debug)]
pub struct Group {
    /// Such as `watch`.
    pub name: &'static str,
    /// In the order of the runbooks.
    pub alerts: Vec<Alert>,
    /// Cases for `promtool test rules`, a document of YAML.
    pub tests: &'static str,
}

/// An alert.
#[derive(Debug)]
pub struct Alert {
    /// Such as `KubeDevopsScoreFalling`.
    pub name: &'static str,
    /// What it fires on.
    pub expr: Expr,
    /// How long that has to hold, such as `10m`.
    pub hold: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// One line, in which Prometheus replaces `{{ $labels.namespace }}` and the like.
    pub summary: &'static str,
    /// What it means, with its value.
    pub description: &'static str,
}

/// How urgent an alert is, in the words of Prometheus' users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody has to look at once: nothing is judged.
    Critical,
    /// Somebody has to look today.
    Warning,
}

impl Severity {
    /// As in the label `severity`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

impl Alert {
    /// The section of the runbook.
    #[must_use]
    pub fn runbook_url(&self) -> String {
        format!("{RUNBOOKS}#{}", self.name.to_lowercase())
    }
}

/// All alerts.
#[must_use]
pub fn groups() -> Vec<Group> {
    vec![
        watch::group(),
        reconcile::group(),
        enforcement::group(),
        webhook::group(),
        services::group(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNBOOK_PAGE: &str = include_str!("../../../../docs/runbooks.md");

    #[test]
    fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
        let sections = RUNBOOK_PAGE.lines().filter_map(|line| line.strip_prefix("### "));
        let groups = groups();
        let alerts: Vec<&str> =
            groups.iter().flat_map(|group| &group.alerts).map(|alert| alert.name).collect();
        // GitHub makes the anchor of a heading of one word by lower case.
        assert_eq!(sections.collect::<Vec<_>>(), alerts);
        let page = RUNBOOKS.rsplit_once('/').unwrap().1;
        assert_eq!(page, "runbooks.md");
    }

    #[test]
    fn names_are_unique_and_sentences_end() {
        for alert in groups().iter().flat_map(|group| &group.alerts) {
            let Alert { name, summary, description, .. } = alert;
            assert!(name.starts_with("KubeDevops"), "{name}");
            assert!(!summary.ends_with('.') && description.ends_with('.'), "{name}");
            // A label that the result lacks would be printed as nothing.
            for text in format!("{summary} {description}").split("$labels.").skip(1) {
                let label = text.split(' ').next().unwrap();
                let is_known = alert.expr.labels().iter().any(|known| *known == label);
                assert!(is_known, "{name} has no label {label}");
            }
        }
    }
}
