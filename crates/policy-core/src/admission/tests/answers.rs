use super::*;

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

fn answered(verdict: &AdmissionVerdict) -> Value {
    serde_json::from_slice(&answer(UID, verdict)).unwrap()
}

#[test]
fn a_clean_object_is_recorded_without_a_word() {
    let verdict = verdict(&create(&pod(&[container("web", "nginx:1")])), &[strict()]);
    let text = String::from_utf8(answer(UID, &verdict)).unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{UID}","allowed":true}}}}"#
        )
    );
}

#[test]
fn a_denial_names_policy_container_check_and_remedy() {
    let containers =
        [json!({ "name": "proxy", "image": "envoy:1" }), container("web", "nginx:latest")];
    let liveness = policy(
        "probes",
        json!({ "requireLivenessProbe": true,
        "severityOverrides": { "missingLiveness": "high" } }),
    );
    let verdict = verdict(&create(&pod(&containers)), &[liveness, strict()]);
    assert_eq!(
        answered(&verdict),
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {
                "uid": UID, "allowed": false,
                "status": { "code": 403, "reason": "Forbidden", "message":
                    "denied by policy production/strict: container web: image nginx:latest is not pinned \
                     (check latest-tag, critical); use a fixed tag or digest\n\
                     denied by policy production/probes: container proxy: missing liveness probe \
                     (check missing-liveness, high); add a livenessProbe" },
                "warnings": ["policy production/strict: container proxy: missing readiness probe (missing-readiness, medium)"],
            },
        })
    );
}

#[test]
fn a_denied_debug_copy_is_told_what_to_do() {
    let probes = policy(
        "probes",
        json!({ "forbidLatestTag": true, "requireReadinessProbe": true,
            "severityOverrides": { "missingReadiness": "high", "latestTag": "high" } }),
    );
    let message = |containers: &[Value]| {
        verdict(&create(&pod(containers)), std::slice::from_ref(&probes)).message().unwrap()
    };
    let bare = |name: &str| json!({ "name": name, "image": "nginx:1" });
    let copy = message(&[bare("web"), bare("debugger-x7k2p")]);
    assert_eq!(copy.lines().count(), 3, "{copy}");
    assert!(copy.ends_with(
        "debug in an ephemeral container instead (without --copy-to), or keep the probes by \
         --keep-liveness --keep-readiness and name a container of the pod by -c"
    ));
    // Another name, and another reason.
    for containers in [bare("debugger"), container("debugger-x7k2p", "nginx")] {
        let message = message(&[containers]);
        assert!(!message.contains("kubectl debug"), "{message}");
    }
    let name = "n".repeat(200);
    let long: Vec<Value> = (0..9).map(|number| bare(&format!("{name}{number}"))).collect();
    let message = message(&[&long[..], &[bare("debugger-x7k2p")]].concat());
    assert!(message.len() <= 2048 && message.contains("kubectl debug"), "{message}");
}

#[test]
fn a_fail_open_has_an_annotation_and_a_warning() {
    let text =
        answer_fail_open(UID, FailOpenReason::UnreadableObject, "the object\ncannot be read: odd");
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        answer["response"],
        json!({
            "uid": UID, "allowed": true,
            "warnings": ["allowed by the policy webhook without a verdict: the object cannot be read"],
            "auditAnnotations": { "fail-open":
                "unreadable_object: the object cannot be read: the object\u{fffd}cannot be read: odd" },
        })
    );
    for &reason in FailOpenReason::ALL {
        let text = String::from_utf8(answer_fail_open(UID, reason, "")).unwrap();
        assert!(
            text.contains(&format!(r#""fail-open":"{}: {reason}""#, reason.as_str())),
            "{text}"
        );
        assert!(text.contains(&format!("without a verdict: {reason}\"]")), "not cut: {text}");
    }
}

#[test]
fn lines_are_sorted_by_severity_policy_container_and_check() {
    let bare = |name: &str| json!({ "name": name, "image": "x" });
    let rules = |latest: &str| {
        json!({ "forbidLatestTag": true, "requireLivenessProbe": true,
        "severityOverrides": { "latestTag": latest }, "admission": { "denySeverity": "low" } })
    };
    let policies = [policy("b", rules("critical")), policy("a", rules("medium"))];
    let verdict = verdict(&create(&pod(&[bare("z"), bare("y")])), &policies);
    let message = verdict.message().unwrap();
    let words = |line: &str| {
        let (_, rest) = line.split_once('/').unwrap();
        let (policy, rest) = rest.split_once(": container ").unwrap();
        let check = rest.split_once("check ").unwrap().1.split_once(',').unwrap().0;
        format!("{policy} {} {check}", &rest[..1])
    };
    let found: Vec<String> = message.lines().map(words).collect();
    assert_eq!(
        found,
        [
            "b z latest-tag",
            "b y latest-tag",
            "a z latest-tag",
            "a z missing-liveness",
            "a y latest-tag",
            "a y missing-liveness",
            "b z missing-liveness",
            "b y missing-liveness",
        ]
    );
}

#[test]
fn long_messages_are_cut_and_the_rest_is_counted() {
    let many: Vec<Value> =
        (0..500).map(|i| json!({ "name": format!("c{i}"), "image": "nginx" })).collect();
    let verdict = verdict(&create(&pod(&many)), &[strict()]);
    let message = verdict.message().unwrap();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!((lines.len(), lines[10]), (11, "and 490 more"), "{message}");
    let warnings = verdict.warnings();
    let shown = warnings.len() - 1;
    assert!(shown > 30, "{warnings:?}");
    assert_eq!(warnings[shown], format!("and {} more", 500 - shown));
    assert!(warnings.iter().map(String::len).sum::<usize>() <= 4096);
    let long = "r.example/".to_owned() + &"x".repeat(3_000_000);
    let verdict = super::verdict(&create(&pod(&[container("web", &long)])), &[strict()]);
    let message = verdict.message().unwrap();
    assert!(message.len() < 400, "{}", message.len());
    let end = "x… is not pinned (check latest-tag, critical); use a fixed tag or digest";
    assert!(message.ends_with(end), "{message}");
}

#[test]
fn no_name_begins_a_line_or_moves_the_cursor() {
    let odd = "web\nWarning: \u{1b}[2J\u{202e}";
    let name = NamedPolicy { name: odd.into(), ..strict() };
    let mut review = create(&pod(&[json!({ "name": odd, "image": format!("x{odd}") })]));
    review["request"]["namespace"] = json!(odd);
    let verdict = verdict(&review, &[name]);
    let texts = [vec![verdict.message().unwrap()], verdict.warnings()].concat();
    assert_eq!(texts.len(), 2);
    for text in texts {
        assert!(!text.contains(char::is_control) && !text.contains('\u{202e}'), "{text:?}");
    }
}

#[test]
fn every_reason_is_a_label_of_its_own() {
    let labels: std::collections::BTreeSet<_> =
        FailOpenReason::ALL.iter().map(|d| d.as_str()).collect();
    assert_eq!(labels.len(), FailOpenReason::ALL.len());
    assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    let operations: Vec<_> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
    assert_eq!(operations, ["create", "update", "delete", "connect"]);
    assert_eq!(Decision::ALL.map(Decision::as_str), ["denied", "warned", "recorded", "exempted"]);
    for key in [RECORDED, EXEMPTED, FAIL_OPEN] {
        assert!(key.len() <= 63 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    }
}
