//! From the definitions of the version before to those of today, with objects in place.

use std::process::Command;

use e2e::{Parts, Run, Testbed, say};
use serde_json::{Value, json};

use super::{GROUP, KINDS, SOON, manifest, policy, policyctl, repository, verdict};

#[test]
fn an_upgrade_keeps_every_object() {
    let testbed = Testbed::start(&Parts::new("crds-upgrade")).unwrap();
    // On the client's side, so that the definitions belong to another field manager than ours.
    let apply = |yaml: &str| testbed.kubectl_stdin(&["apply", "--filename=-"], yaml);
    let previous = previous_definitions();
    apply(&previous.join("---\n")).unwrap().succeeded().unwrap();
    let objects = [
        policy("plain", "{}"),
        policy("strict", "{enforcementMode: enforce, maxRestartCount: 3, weights: {pending: 0}}"),
        manifest("PolicyAuditResult", "strict-1", &verdict().to_string()),
    ];
    // Until the API server serves the kinds.
    testbed
        .wait_for("the objects", SOON, || Ok(apply(&objects.join("---\n"))?.code == Some(0)))
        .unwrap();
    let status = json!({ "status": { "healthScore": 72, "classification": "Stable" } });
    let patch = format!("--patch={status}");
    let patch = ["patch", "dop", "strict", "--subresource=status", "--type=merge", &patch];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    let before = kept(&testbed);
    assert_eq!(before.as_array().unwrap().len(), 3);
    assert_eq!(before[1]["status"], status["status"]);

    let politely = policyctl(&testbed, &["crd", "install"]);
    if politely.code != Some(0) {
        assert_eq!(politely.code, Some(3));
        let error = politely.stderr.lines().last().unwrap();
        for part in [GROUP, "\"kubectl-client-side-apply\"", "--force-conflicts takes it over"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let force = ["crd", "install", "--force-conflicts"];
    let said = policyctl(&testbed, &force).succeeded().unwrap();
    let lines: Vec<_> = said.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let words: Vec<_> = lines.iter().map(|(word, _)| *word).collect();
    let names: Vec<_> = lines.iter().map(|(_, name)| name.trim().to_owned()).collect();
    assert_eq!(names, KINDS.map(|kind| format!("{kind}.{GROUP}")));
    // A kind that is new is created, and no other.
    let created = words.iter().filter(|word| **word == "created").count();
    assert_eq!(created, KINDS.len() - previous.len(), "{said}");
    assert!(words.iter().all(|word| ["created", "changed", "unchanged"].contains(word)), "{said}");
    assert!(politely.code == Some(0) || words.contains(&"changed"), "{said}");
    let again = policyctl(&testbed, &force).succeeded().unwrap();
    assert_eq!(again.matches("unchanged  ").count(), KINDS.len(), "{again}");

    let after = kept(&testbed);
    assert!(holds(&after, &before), "{before:#}\n{after:#}");
    // And they are worked with as before.
    let patch = |object: &str, change: &Value| {
        let patch = format!("--patch={change}");
        testbed.kubectl(&["patch", object, "--type=merge", &patch]).unwrap()
    };
    let change = json!({ "spec": { "maxRestartCount": 5 } });
    patch(&format!("{}/plain", KINDS[0]), &change).succeeded().unwrap();
    let change = json!({ "spec": { "healthScore": 73 } });
    let run = patch(&format!("{}/strict-1", KINDS[2]), &change);
    assert!(run.stderr.contains("an audit result cannot be changed"), "{}", run.stderr);
}

/// What an upgrade may not lose of the objects, in the order of their kinds and names.
fn kept(testbed: &Testbed) -> Value {
    let kinds = [KINDS[0], KINDS[2]].join(",");
    let get = ["get", &kinds, "--output=json"];
    let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let keep = |object: &Value| {
        json!({
            "kind": object["kind"], "uid": object["metadata"]["uid"],
            "generation": object["metadata"]["generation"],
            "spec": object["spec"], "status": object["status"],
        })
    };
    list["items"].as_array().unwrap().iter().map(keep).collect()
}

/// Whether all of `part` is in `whole`, to which new definitions may add defaults.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

/// The definitions before their last change, without kinds that were not there yet; those of today
/// where the history does not go back that far.
fn previous_definitions() -> Vec<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let mut git = Command::new("git");
        git.current_dir(repository()).args(arguments);
        Run::of(&mut git, None).ok()?.succeeded().ok()
    };
    let log = git(&["log", "-2", "--format=%H", "--", "deploy/crds"]).unwrap_or_default();
    if let Some(commit) = log.lines().nth(1) {
        let definition = |kind: &&str| git(&["show", &format!("{commit}:deploy/crds/{kind}.yaml")]);
        return KINDS.iter().filter_map(definition).collect();
    }
    say("the history has no earlier deploy/crds: the upgrade starts from those of today");
    let read = |kind: &str| {
        std::fs::read_to_string(repository().join(format!("deploy/crds/{kind}.yaml"))).unwrap()
    };
    KINDS.map(read).to_vec()
}
