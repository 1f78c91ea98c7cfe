//! The times at which a remediation may start.

use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::{Enforced, OPERATOR};
use super::workloads::{install, list, pods, read, text, wait_until_rolled_out, workload};
use crate::operator::{condition, policy};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The minute and the hour of a time in seconds since 1970, in UTC.
fn minute_and_hour(second: u64) -> (u64, u64) {
    (second / 60 % 60, second / 3_600 % 24)
}

/// The policy with one more field of `remediation`.
fn with(remediation: &str) -> String {
    POLICY.replacen('{', &format!("{{remediation: {{{remediation}}}, "), 1)
}

/// The requests by which the operator changed a workload of a namespace.
fn patches(testbed: &Testbed, namespace: &str) -> usize {
    let calls = testbed.audit(OPERATOR).unwrap();
    let is_patch = |call: &&e2e::AuditedCall| {
        call.group == "apps" && call.verb == "patch" && call.namespace == namespace
    };
    calls.iter().filter(is_patch).count()
}

#[test]
fn nothing_starts_before_its_window_opens_and_then_everything_does() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("windows").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let chart = workload("Deployment", &namespace, "chart");
    for (owner, object) in [(Owner::KubectlClientSide, &web), (Owner::Helm, &chart)] {
        install(testbed, owner, object);
    }
    let generation = |object: &Value| read(testbed, object)["metadata"]["generation"].clone();
    let before = [generation(&web), generation(&chart)];
    // In one to two minutes.
    let opens = (now() / 60 + 2) * 60;
    let (minute, hour) = minute_and_hour(opens);
    let window = format!("windows: [{{schedule: '{minute} {hour} * * *', durationSeconds: 3600}}]");
    enforced.apply_policy(&namespace, &with(&window));
    let label = |name: &str| format!("Deployment/{name}");
    enforced.wait_until(&namespace, "both to wait", || {
        ["web", "chart"].iter().all(|name| enforced.state(&namespace, &label(name)) == "Waiting")
    });
    let time = format!("T{hour:02}:{minute:02}:00Z");
    for name in ["web", "chart"] {
        let entry = enforced.entry(&namespace, &label(name));
        assert_eq!(entry["reason"], "Window", "{entry:#}");
        let message = text(&entry["message"]);
        assert!(
            message.contains("the next one opens at ") && message.ends_with(&time),
            "{message}"
        );
    }
    let found = policy(testbed, &namespace, "p");
    assert_eq!(condition(&found, "Remediating"), ("False", "Window"));
    // New pods are not injected into either.
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    wait_until_rolled_out(testbed, &chart);
    for pod in pods(testbed, &namespace) {
        assert_eq!(pod["spec"]["containers"][0]["livenessProbe"], Value::Null, "{pod:#}");
    }
    assert_eq!([generation(&web), generation(&chart)], before);
    assert_eq!(patches(testbed, &namespace), 0);
    assert!(now() < opens, "the machine is too slow for this test");

    enforced.wait_until(&namespace, "the window to open", || {
        enforced.is_patched(&namespace, &label("web"))
            && enforced.state(&namespace, &label("chart")) == "Injecting"
    });
    assert!(now() >= opens, "that was too early");
    let found = policy(testbed, &namespace, "p");
    assert_eq!(condition(&found, "Remediating"), ("True", "Remediating"));
    let probe = &read(testbed, &web)["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
    assert_eq!(probe["tcpSocket"], json!({ "port": 8080 }), "{probe:#}");
}

#[test]
fn a_malformed_window_is_named_and_nothing_is_written() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("malformed").unwrap();
    let web = workload("Deployment", &namespace, "web");
    install(testbed, Owner::KubectlClientSide, &web);
    let windows = "windows: [{schedule: 0 9 * * MON, durationSeconds: 3600}, \
                   {schedule: 0 25 * * *, durationSeconds: 3600, timeZone: Mars/Olympus}]";
    enforced.apply_policy(&namespace, &with(windows));
    let ready = || {
        let policy = policy(testbed, &namespace, "p");
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "Ready")
    };
    enforced.wait_until(&namespace, "the policy to be refused", || ready().is_some());
    let ready = ready().unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Invalid")));
    let named = ["remediation.windows[1].schedule: hour `25`", "Mars/Olympus"];
    for named in named {
        assert!(text(&ready["message"]).contains(named), "{ready:#}");
    }
    enforced.wait_until(&namespace, "an Event about it", || {
        let events = list(testbed, &namespace, "events.events.k8s.io");
        let notes = events.iter().map(|event| text(&event["note"]));
        notes.into_iter().any(|note| named.iter().all(|named| note.contains(named)))
    });
    assert_eq!(patches(testbed, &namespace), 0);
    // Once its owner has repaired it, it is in force.
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "the Deployment to be patched", || {
        enforced.is_patched(&namespace, "Deployment/web")
    });
}
