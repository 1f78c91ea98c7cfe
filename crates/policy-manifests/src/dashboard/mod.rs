//! The Grafana dashboard of the platform.
//!
//! Four rows, one file each, made for looking: the first panel says what to fix and where, and every
//! description says what to do. Queries are those of [`crate::promql`], so no panel can ask for a
//! metric that is not there. Whoever looks at 10 000 namespaces gets the worst ones, by `topk`; a panel
//! that sums over all of them at each step has few steps.

mod enforcement;
mod model;
mod panel;
mod reconcile;
mod view;
mod watch;
mod webhook;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use policy_metrics::operator::HEALTH_SCORE;
use policy_metrics::watcher::{CLUSTER_SCORE, NAMESPACE_PODS};

pub use self::model::Dashboard;
use self::model::{
    Choice, DataSourceVariable, Link, Listed, PROMETHEUS, QueryVariable, TimeRange, Variable,
    VariableQuery,
};
use self::panel::{Section, placed};
use crate::metadata::{PLATFORM, in_namespace};
use crate::promql::{Selector, gauge};

/// The file of the dashboard in its `ConfigMap`, and in the chart.
pub const FILE: &str = "kube-devops-dashboard.json";

/// The label by which the sidecar of Grafana's chart finds dashboards
/// (<https://github.com/grafana/helm-charts/tree/main/charts/grafana#sidecar-for-dashboards>).
const SIDECAR_LABEL: (&str, &str) = ("grafana_dashboard", "1");

/// Leads to the panels of the namespace of a row.
const TO_NAMESPACE: Link = Link {
    title: "Show this namespace",
    url: "/d/${__dashboard.uid}?var-datasource=${datasource}\
          &var-cluster=${__data.fields.cluster}&var-namespace=${__data.fields.namespace}\
          &${__url_time_range}",
};

/// Leads to the panels of the policy of a row.
const TO_POLICY: Link = Link {
    title: "Show this policy",
    url: "/d/${__dashboard.uid}?var-datasource=${datasource}\
          &var-cluster=${__data.fields.cluster}&var-namespace=${__data.fields.namespace}\
          &var-policy=${__data.fields.policy}&${__url_time_range}",
};

/// Leads from a series to the panels of its cluster.
const SERIES_TO_CLUSTER: Link = Link {
    title: "Show this cluster",
    url: "/d/${__dashboard.uid}?var-datasource=${datasource}\
          &var-cluster=${__field.labels.cluster}&${__url_time_range}",
};

/// Leads from a series to the panels of its namespace.
const SERIES_TO_NAMESPACE: Link = Link {
    title: "Show this namespace",
    url: "/d/${__dashboard.uid}?var-datasource=${datasource}\
          &var-cluster=${__field.labels.cluster}&var-namespace=${__field.labels.namespace}\
          &${__url_time_range}",
};

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: PLATFORM,
        title: "kube-devops",
        description: "What to fix in the workloads of a cluster, whose it is, and how the platform \
                      itself is doing.",
        tags: vec!["kubernetes", "governance", PLATFORM],
        timezone: "browser",
        editable: true,
        graph_tooltip: 1,
        refresh: "1m",
        time: TimeRange { from: "now-6h", to: "now" },
        // Of Grafana 11; newer ones migrate it.
        schema_version: 39,
        templating: Listed { list: variables() },
        annotations: Listed { list: Vec::new() },
        links: Vec::new(),
        panels: placed(sections()),
    }
}

/// The dashboard as the sidecar of Grafana's chart finds it.
///
/// # Errors
/// Errors of the JSON serializer, which no known dashboard causes.
pub fn config_map() -> serde_json::Result<ConfigMap> {
    let mut metadata = in_namespace(PLATFORM);
    metadata.name = Some(format!("{PLATFORM}-dashboard"));
    let (label, value) = SIDECAR_LABEL;
    metadata.labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
    let data = BTreeMap::from([(FILE.to_owned(), json()?)]);
    Ok(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}

/// The dashboard as Grafana imports it.
///
/// # Errors
/// As for [`config_map`].
pub fn json() -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(&dashboard())? + "\n")
}

fn sections() -> Vec<Section> {
    vec![watch::row(), reconcile::row(), enforcement::row(), webhook::row()]
}

/// The labels by whose values a reader chooses, each with the variable of its name. A choice offers
/// what the choices before it leave.
const CHOICES: [(&str, &str); 3] =
    [("cluster", "$cluster"), ("namespace", "$namespace"), ("policy", "$policy")];

fn variables() -> Vec<Variable> {
    let data_source =
        DataSourceVariable { name: "datasource", label: "Data source", query: "prometheus" };
    let titles = ["Cluster", "Namespace", "Policy"];
    let metrics = [&CLUSTER_SCORE, &NAMESPACE_PODS, &HEALTH_SCORE];
    let choices = titles.into_iter().zip(metrics).enumerate().map(|(position, (title, metric))| {
        let (name, _) = CHOICES[position];
        let among = narrowed(gauge(metric), &CHOICES[..position]);
        choice(name, title, among.label_values(name))
    });
    [Variable::DataSource(data_source)].into_iter().chain(choices).collect()
}

fn choice(name: &'static str, label: &'static str, query: String) -> Variable {
    Variable::Query(Box::new(QueryVariable {
        name,
        label,
        datasource: PROMETHEUS,
        query: VariableQuery { query, ref_id: "StandardVariableQuery" },
        multi: true,
        include_all: true,
        all_value: ".*",
        current: Choice { text: "All", value: "$__all" },
        refresh: 1,
        sort: 1,
    }))
}

/// What the reader has chosen of a metric.
fn chosen<K>(selector: Selector<K>) -> Selector<K> {
    narrowed(selector, &CHOICES)
}

fn narrowed<K>(selector: Selector<K>, by: &[(&str, &str)]) -> Selector<K> {
    by.iter().fold(selector, |selector, (label, variable)| {
        let has_label = *label == "cluster" || selector.has_label(label);
        if has_label { selector.matching(label, variable) } else { selector }
    })
}

#[cfg(test)]
mod tests;
