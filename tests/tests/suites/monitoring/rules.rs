//! The alerts, checked and run by promtool.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Program, Run};
use policy_manifests::alerts::groups;
use serde_json::Value;

use crate::cli;

fn promtool(folder: &Path, arguments: &[&str]) -> Run {
    let mut promtool = Command::new(Program::Promtool.path().unwrap());
    Run::of(promtool.args(arguments).current_dir(folder), None).unwrap()
}

/// Writes the alerts as a file of rules, and the cases of each group.
fn written(folder: &Path) -> Vec<&'static str> {
    let generate = ["observability", "generate-rules"];
    let rules = cli::json(e2e::shared(), &generate, "")["items"][0]["spec"].clone();
    fs::write(folder.join("rules.yaml"), rules.to_string()).unwrap();
    let groups = groups();
    for group in &groups {
        fs::write(folder.join(format!("{}.yaml", group.name)), group.tests).unwrap();
    }
    groups.iter().map(|group| group.name).collect()
}

#[test]
fn each_alert_fires_in_one_case_and_is_silent_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cases: Vec<String> = written(folder).iter().map(|name| format!("{name}.yaml")).collect();
    let check = ["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"];
    let found = promtool(folder, &check);
    assert_eq!(found.code, Some(0), "{found:?}");
    let test: Vec<&str> =
        ["test", "rules"].into_iter().chain(cases.iter().map(String::as_str)).collect();
    let found = promtool(folder, &test);
    assert_eq!(found.code, Some(0), "{}{}", found.stdout, found.stderr);

    for group in groups() {
        let cases: Value = serde_saphyr::from_str(group.tests).unwrap();
        let cases = cases["tests"].as_array().unwrap().iter();
        let all = cases.flat_map(|case| case["alert_rule_test"].as_array().unwrap());
        let (fires, silent): (Vec<_>, Vec<_>) = all.partition(|case| {
            case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty())
        });
        let alerts: BTreeSet<&str> = group.alerts.iter().map(|alert| alert.name).collect();
        for (cases, what) in [(fires, "fires"), (silent, "is silent")] {
            let named: BTreeSet<&str> =
                cases.iter().map(|case| case["alertname"].as_str().unwrap()).collect();
            assert_eq!(named, alerts, "each alert of {} {what} in a case", group.name);
        }
    }
}
