//! What Grafana asks Prometheus for a dashboard, once it has replaced its variables
//! (<https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/>).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What the reader sees of time, in seconds.
const SHOWN: u64 = 900;
/// The interval of scrapes in the settings of the data source, in seconds.
const SCRAPED: u64 = 1;
/// The points of a panel that does not limit them: about the width of its picture.
const POINTS: u64 = 900;

/// A dashboard, and what its reader has chosen.
pub struct Viewed<'a> {
    dashboard: &'a Value,
    chosen: BTreeMap<&'a str, &'a str>,
    shown: u64,
    scraped: u64,
}

/// A query of a panel.
#[derive(Debug)]
pub struct PanelQuery {
    /// The title of the panel.
    pub panel: String,
    /// What the series or the column is called, with the names of labels in it.
    pub legend: String,
    /// For Prometheus.
    pub expr: String,
    /// The time between two points; nothing where only the present is shown.
    pub step: Option<Duration>,
    /// How far back a range query begins.
    pub back: Duration,
}

/// A list from which a reader chooses.
#[derive(Debug)]
pub struct Choices {
    /// The variable.
    pub name: String,
    /// The series that have the values.
    pub selector: String,
    /// The label whose values they are.
    pub label: String,
}

impl<'a> Viewed<'a> {
    /// As it is opened: with all values of every variable.
    #[must_use]
    pub fn new(dashboard: &'a Value) -> Self {
        Self { dashboard, chosen: BTreeMap::new(), shown: SHOWN, scraped: SCRAPED }
    }

    /// Over another time than the last 15 minutes, with another interval of scrapes than a second.
    #[must_use]
    pub fn over(self, shown: Duration, scraped: Duration) -> Self {
        Self { shown: shown.as_secs(), scraped: scraped.as_secs(), ..self }
    }

    /// With one value of a variable.
    #[must_use]
    pub fn choose(mut self, variable: &'a str, value: &'a str) -> Self {
        self.chosen.insert(variable, value);
        self
    }

    /// The queries of all panels.
    pub fn queries(&self) -> Result<Vec<PanelQuery>> {
        let panels = self.dashboard["panels"].as_array().context("no panels")?.iter();
        let targets = panels.flat_map(|panel| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (panel, target))
        });
        targets.map(|(panel, target)| self.query(panel, target)).collect()
    }

    /// The lists from which its reader chooses, each narrowed by what is chosen.
    pub fn choices(&self) -> Result<Vec<Choices>> {
        let queries = self.variables().filter(|variable| variable["type"] == "query");
        let choices = queries.map(|variable| {
            let query = text(&variable["query"]["query"])?;
            let call = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let arguments = call.and_then(|call| call.rsplit_once(", "));
            let (selector, label) = arguments.with_context(|| format!("not known: {query}"))?;
            Ok(Choices {
                name: text(&variable["name"])?.to_owned(),
                selector: self.replaced(selector)?,
                label: label.to_owned(),
            })
        });
        choices.collect()
    }

    fn query(&self, panel: &Value, target: &Value) -> Result<PanelQuery> {
        let points = panel["maxDataPoints"].as_u64().unwrap_or(POINTS);
        let Self { shown, scraped, .. } = *self;
        let step = (shown / points).max(scraped);
        let rate_interval = (step + scraped).max(4 * scraped);
        let expr = text(&target["expr"])?
            .replace("$__rate_interval", &format!("{rate_interval}s"))
            .replace("$__range", &format!("{shown}s"));
        Ok(PanelQuery {
            panel: text(&panel["title"])?.to_owned(),
            legend: text(&target["legendFormat"])?.to_owned(),
            expr: self.replaced(&expr)?,
            step: (target["instant"] != true).then_some(Duration::from_secs(step)),
            back: Duration::from_secs(shown),
        })
    }

    fn variables(&self) -> impl Iterator<Item = &'a Value> {
        self.dashboard["templating"]["list"].as_array().into_iter().flatten()
    }

    fn replaced(&self, query: &str) -> Result<String> {
        let mut replaced = query.to_owned();
        for variable in self.variables() {
            let name = text(&variable["name"])?;
            let value = match self.chosen.get(name) {
                Some(value) => escaped(value),
                // Not escaped, as it is a pattern.
                None => variable["allValue"].as_str().unwrap_or_default().to_owned(),
            };
            replaced = replaced.replace(&format!("${name}"), &value);
        }
        ensure!(!replaced.contains('$'), "a variable is left in {replaced}");
        Ok(replaced)
    }
}

/// A value for a regular expression in a string of `PromQL`, as of a variable with several values.
fn escaped(value: &str) -> String {
    let each = value.chars().map(|c| match c {
        '\\' => r"\\\\".to_owned(),
        c if "$^*{}[]+?.()|".contains(c) => format!(r"\\{c}"),
        c => c.to_string(),
    });
    each.collect()
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}

#[cfg(test)]
mod tests {
    use policy_manifests::dashboard;

    use super::*;

    #[test]
    fn variables_are_replaced_as_by_grafana() {
        let dashboard = serde_json::to_value(dashboard::dashboard()).unwrap();
        let queries = Viewed::new(&dashboard).queries().unwrap();
        let of = |queries: &[PanelQuery], title: &str| {
            let query = queries.iter().find(|query| query.panel == title).unwrap();
            (query.expr.clone(), query.step)
        };
        let (expr, step) = of(&queries, "Pods evaluated");
        assert_eq!(expr, r#"sum(rate(devopspolicy_pods_scanned_total{cluster=~".*"}[4s]))"#);
        assert_eq!(step, Some(Duration::from_secs(1)));
        assert_eq!(of(&queries, "Violations by check over time").1, Some(Duration::from_secs(15)));
        assert_eq!(of(&queries, "Policies by mode").1, None);

        let viewed = Viewed::new(&dashboard).choose("cluster", "eu.1").choose("namespace", "shop");
        let (expr, _) = of(&viewed.queries().unwrap(), "Policies by mode");
        assert!(expr.contains(r#"{cluster=~"eu\\.1", namespace=~"shop", policy=~".*"}"#), "{expr}");
        let choices = viewed.choices().unwrap();
        let names: Vec<_> = choices.iter().map(|choice| &*choice.name).collect();
        assert_eq!(names, ["cluster", "namespace", "policy"]);
        let selector = r#"devopspolicy_health_score{cluster=~"eu\\.1", namespace=~"shop"}"#;
        assert_eq!((&*choices[2].selector, &*choices[2].label), (selector, "policy"));
    }
}
