//! What reports say beside findings: notes, checks that judge nothing here, and those that pass.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
    spec: {template: {spec: {containers: [{name: c, image: nginx}]}}}\n";

/// A folder with manifests, and a policy with this spec.
fn folder(manifests: &str, spec: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let policy = format!(
        "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\n\
         metadata: {{name: p, namespace: shop}}\nspec:\n{spec}"
    );
    fs::write(folder.path().join("app.yaml"), manifests).unwrap();
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    folder
}

fn output(folder: &Path, command: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    program.current_dir(folder).args(command).args(["-f", "app.yaml", "--policy", "policy.yaml"]);
    String::from_utf8(program.output().unwrap().stdout).unwrap()
}

fn json(folder: &Path, command: &[&str]) -> Value {
    serde_json::from_str(&output(folder, command)).unwrap()
}

/// The notes on the exemptions, in order.
fn notes(manifests: &str, exemptions: &str) -> Vec<String> {
    let checks = "  forbidLatestTag: true\n  maxRestartCount: 3\n  forbidBlockedDrain: true\n";
    let folder = folder(manifests, &format!("{checks}  exemptions:\n{exemptions}"));
    let report = json(folder.path(), &["analyze", "-o", "json"]);
    let notes = report["coverage"]["notes"].as_array().unwrap().iter();
    let text = |note: &Value| {
        let [source, message] = ["source", "message"].map(|field| note[field].as_str().unwrap());
        format!("{source}: {message}")
    };
    notes.map(text).filter(|note| note.starts_with("spec")).collect()
}

#[test]
fn notes_are_in_each_form_that_has_room_for_them() {
    let folder = folder(
        WEB,
        "  forbidLatestTag: true\n  exemptions:\n  - checks: [latest-tag]\n    \
         workload: {kind: Deployment, name: gone}\n    reason: r\n",
    );
    let path = folder.path();
    let place = "spec.exemptions[0] (Deployment/gone)";
    let text = "exempts nothing: there is no such finding";
    let of = |form: &str| output(path, &["analyze", "-q", "-o", form]);
    let explained = output(path, &["explain", "-q"]);
    assert!(explained.contains(&format!("\nNotes:\n  {place}: {text}\n")), "{explained}");
    let markdown = of("markdown");
    assert!(markdown.contains(&format!("\n### Notes\n\n- `{place}`: `{text}`\n")), "{markdown}");
    let html = of("html");
    assert!(html.contains(&format!("<h2>Notes</h2>\n<ul>\n<li>{place}: {text}\n")), "{html}");
    let junit = of("junit");
    let suite = "<testsuite name=\"coverage\" tests=\"0\" failures=\"0\" errors=\"0\">";
    let output = format!("<system-out>{place}: {text}</system-out>");
    assert!(junit.contains(suite) && junit.contains(&output), "{junit}");
    let sarif: Value = serde_json::from_str(&of("sarif")).unwrap();
    let notification = &sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"][0];
    let message = format!("spec.exemptions\\[0\\] (Deployment/gone): {text}");
    assert_eq!(
        (&notification["level"], &notification["message"]["text"]),
        (&"note".into(), &message.into())
    );
}

#[test]
fn a_check_that_needs_a_cluster_is_not_checked_in_files() {
    let folder = folder(WEB, "  forbidBlockedDrain: true\n  forbidLatestTag: true\n");
    let path = folder.path();
    let note = "  check drain-blocked: tests nothing here: files do not say which evictions a \
                cluster allows\n";
    let table = output(path, &["analyze"]);
    let row = "\nBlocked drains             : not checked\n";
    assert!(table.contains(row) && table.contains(note), "{table}");
    let explained = output(path, &["explain"]);
    assert!(explained.contains(note), "{explained}");
    assert!(explained.contains("\nlatest-tag "), "{explained}");
    assert!(!explained.contains("\ndrain-blocked "), "{explained}");
    let report = json(path, &["analyze", "-o", "json"]);
    let counts = serde_json::json!({ "latest-tag": 1 });
    assert_eq!(report["summary"]["violationsByCheck"], counts);
    assert_eq!(report["namespaces"][0]["violationsByCheck"], counts);
}

#[test]
fn of_an_exemption_only_what_is_known_is_said() {
    let exemption = |checks: &str, name: &str, more: &str| {
        format!(
            "  - {{checks: [{checks}], workload: {{kind: Deployment, name: {name}}}, reason: r{more}}}\n"
        )
    };
    // Files show neither restarts nor budgets.
    for checks in ["high-restarts", "drain-blocked", "latest-tag, drain-blocked"] {
        assert_eq!(notes(WEB, &exemption(checks, "gone", "")), [""; 0], "{checks}");
    }
    let gone = exemption("latest-tag", "gone", "");
    let nothing = "spec.exemptions[0] (Deployment/gone): exempts nothing: there is no such finding";
    assert_eq!(notes(WEB, &gone), [nothing]);
    // It may be about what could not be read.
    assert_eq!(notes(&format!("{WEB}---\nkind: [\n"), &gone), [""; 0]);

    let ended = ", expires: \"2020-01-01T00:00:00Z\"";
    let at = "spec.exemptions[0] (Deployment/web): ended at 2020-01-01T00:00:00Z";
    let forever = exemption("latest-tag", "web", "");
    let lasting = exemption("latest-tag", "web", ", expires: \"2999-01-01T00:00:00Z\"");
    for (exemptions, note) in [
        (exemption("latest-tag", "web", ended), format!("{at}: its findings count again")),
        (
            exemption("latest-tag", "web", ended) + &forever,
            format!("{at}: another exemption exempts its findings"),
        ),
        (exemption("high-restarts", "web", ended), format!("{at}: it exempts nothing any more")),
        (
            lasting + &forever,
            "spec.exemptions[0] (Deployment/web): exempts nothing: another exemption exempts its \
             findings"
                .to_owned(),
        ),
    ] {
        assert_eq!(notes(WEB, &exemptions), [note], "{exemptions}");
    }
}

#[test]
fn custom_checks_that_pass_count() {
    let check = |name: &str, expression: &str| {
        format!("  - {{name: {name}, expression: \"{expression}\"}}\n")
    };
    let checks = check("ok", "true")
        + &check("host", "has(object.spec.hostNetwork)")
        + &check("team", "namespaceObject.metadata.labels['team'] == 'a'");
    let folder = folder(WEB, &format!("  requireLivenessProbe: false\n  custom:\n{checks}"));
    let reports = json(folder.path(), &["analyze", "-o", "openreports"]);
    let summary = &reports["items"][0]["summary"];
    assert_eq!((&summary["pass"], &summary["fail"]), (&1.into(), &1.into()), "{summary}");
    let junit = output(folder.path(), &["analyze", "-o", "junit"]);
    assert!(junit.contains("<testcase classname=\"shop\" name=\"custom/ok\"/>"), "{junit}");
    // Nobody knows whether a check without a result passes.
    assert!(junit.contains("custom/host") && !junit.contains("name=\"custom/team\""), "{junit}");
}
