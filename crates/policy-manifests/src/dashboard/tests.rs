use std::collections::BTreeSet;

use policy_core::checks::CheckId;
use policy_metrics::{Metric, every_service, operator, watcher, webhook};
use serde_json::Value;

use super::*;

/// What is scraped and not shown, and why.
const NOT_SHOWN: [(&Metric, &str); 6] = [
    (
        &every_service::CERTIFICATE_NOT_BEFORE,
        "an alert compares it with the expiry, which is shown",
    ),
    (&every_service::MAX_FILES, "a constant"),
    (&every_service::THREADS, "constant while a service runs"),
    (&every_service::VIRTUAL, "says nothing about the memory in use"),
    (&every_service::MAX_VIRTUAL, "a constant"),
    (&every_service::OPEN_FILES, "connections are bounded, and dropped_total counts those refused"),
];

fn read() -> Value {
    serde_json::from_str(&json().unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

fn texts<'a>(values: &'a Value, key: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
}

#[test]
fn it_has_four_rows_and_at_least_26_panels_with_texts_and_units() {
    let dashboard = read();
    let rows: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["Watch", "Reconcile", "Enforcement", "Webhook"]);
    assert!(panels(&dashboard).count() >= 26, "{}", panels(&dashboard).count());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        assert!(panel["description"].as_str().unwrap().len() > 30, "{title} says too little");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{title}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title} asks for nothing");
    }
    assert_eq!(
        texts(&dashboard["templating"]["list"], "name"),
        ["datasource", "cluster", "namespace", "policy"]
    );
}

#[test]
fn ids_and_titles_are_unique_and_no_two_panels_overlap() {
    let dashboard = read();
    let all = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len());
    let titles: BTreeSet<&str> = all.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), all.len());
    let mut taken = BTreeSet::new();
    for panel in all {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{} is too wide", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} overlaps at {cell:?}", panel["title"]);
        }
    }
}

#[test]
fn every_metric_is_shown_or_left_out_for_a_reason() {
    let dashboard = read();
    let targets = panels(&dashboard).flat_map(|panel| panel["targets"].as_array().unwrap());
    let words = targets.flat_map(|target| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        target["expr"].as_str().unwrap().split(move |c| !is_part(c))
    });
    let shown: BTreeSet<&str> =
        words.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect();
    let registry = [every_service::METRICS, watcher::METRICS, operator::METRICS, webhook::METRICS];
    for metric in registry.iter().copied().flatten() {
        let is_left_out = NOT_SHOWN.iter().any(|(left_out, _)| left_out.name == metric.name);
        assert_ne!(shown.contains(metric.name), is_left_out, "{}", metric.name);
    }
    assert!(NOT_SHOWN.iter().all(|(_, why)| !why.is_empty()));
}

#[test]
fn every_check_that_a_query_names_exists() {
    let dashboard = read();
    let targets = panels(&dashboard).flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut named: Vec<&str> = targets
        .flat_map(|target| target["expr"].as_str().unwrap().split("check=\"").skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    named.dedup();
    assert!(!named.is_empty());
    assert!(named.iter().all(|id| CheckId::from_name(id).is_some()), "{named:?}");
}

#[test]
fn every_query_can_be_parsed_and_follows_the_choice_of_clusters() {
    let dashboard = read();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            let text = expr.replace("$__rate_interval", "4m").replace("$__range", "1h");
            let parsed = promql_parser::parser::parse(&text);
            assert!(parsed.is_ok(), "{}: {parsed:?}", panel["title"]);
            assert!(expr.contains("cluster=~\"$cluster\""), "{expr} is of no cluster");
        }
    }
}

/// 10 000 namespaces: a query over the time range that sums over all of them has few steps, and a
/// table or a list of bars has the worst ones.
#[test]
fn nothing_fans_out_over_all_namespaces() {
    const OF_OBJECTS: [&str; 5] = [
        "namespace_",
        "devopspolicy_violations",
        "devopspolicy_health",
        "enforcement_mode",
        "violations_by",
    ];
    let dashboard = read();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            if !OF_OBJECTS.iter().any(|metric| expr.contains(metric)) {
                continue;
            }
            let is_cut = ["topk(", "sum by (check)", "sum by (severity)", "count("]
                .iter()
                .any(|cut| expr.contains(cut));
            assert!(is_cut || expr.contains("bottomk("), "{}: {expr}", panel["title"]);
            let steps = panel["maxDataPoints"].as_u64();
            assert!(target["instant"] == true || steps <= Some(100) && steps.is_some(), "{expr}");
        }
    }
}

#[test]
fn links_lead_from_cluster_to_namespace_to_policy() {
    let text = json().unwrap();
    for (from, to) in [
        ("${__field.labels.cluster}", "var-cluster="),
        ("${__data.fields.namespace}", "var-namespace="),
        ("${__data.fields.policy}", "var-policy="),
    ] {
        assert!(text.contains(&format!("{to}{from}")), "{to}{from}");
    }
}

#[test]
fn the_config_map_has_what_the_sidecar_looks_for_and_the_same_bytes_each_time() {
    let object = config_map().unwrap();
    assert_eq!(object.metadata.labels.as_ref().unwrap()["grafana_dashboard"], "1");
    assert_eq!(object.data.as_ref().unwrap()[FILE], json().unwrap());
    assert_eq!(config_map().unwrap(), object);
    // The limit of a ConfigMap, and of what `kubectl apply` keeps in an annotation.
    assert!(json().unwrap().len() < 256 * 1024);
}

/// Grafana would show a column "Value #F" otherwise.
#[test]
fn the_values_of_each_query_of_a_table_have_a_title_or_are_left_out() {
    let dashboard = read();
    let tables = panels(&dashboard).filter(|panel| panel["type"] == "table");
    let mut left_out = Vec::new();
    for panel in tables {
        let organize = &panel["transformations"][1]["options"];
        let targets = panel["targets"].as_array().unwrap();
        for target in targets {
            let field = match targets.len() {
                1 => "Value".to_owned(),
                _ => format!("Value #{}", target["refId"].as_str().unwrap()),
            };
            let is_titled = organize["renameByName"][&field].is_string();
            let is_left_out = organize["excludeByName"][&field] == true;
            assert_ne!(is_titled, is_left_out, "{}: {field}", panel["title"]);
            if is_left_out {
                left_out.push(target["expr"].as_str().unwrap());
            }
        }
    }
    // The check that a namespace breaks most often.
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].starts_with("topk by (cluster, namespace) (1, "), "{}", left_out[0]);
}
