//! What the tests of the checks share: one pod as JSON in, `(container, count)` out.

use super::CheckId;
use crate::api::DevOpsPolicySpec;
use crate::evaluate::evaluate;
use crate::facts::PodFacts;
use crate::policy::CompiledPolicy;
use k8s_openapi::jiff::Timestamp;

/// Ten minutes after the pods of these tests were created.
pub(super) const NOW: &str = "2026-01-01T00:10:00Z";

/// The findings of a policy that sets only this field, in a pod with that spec and status.
pub(super) fn findings(
    check: &str,
    field_value: impl Into<serde_json::Value>,
    spec: &str,
    status: &str,
) -> Vec<(String, u32)> {
    let check = CheckId::from_name(check).unwrap();
    let text = format!(
        r#"{{"metadata": {{"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}}, "spec": {spec}, "status": {status}}}"#
    );
    let pod = PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "default");
    let spec: DevOpsPolicySpec =
        serde_json::from_value(serde_json::json!({ check.meta().field: field_value.into() }))
            .unwrap();
    let policy = CompiledPolicy::compile(&spec).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    evaluate(&pod, &policy, now)
        .findings
        .iter()
        .map(|finding| {
            assert_eq!(finding.check, check);
            let container =
                finding.container(&pod.checked).map_or("", |container| &*container.name);
            (format!("{container}: {}", finding.message(&pod.checked, &policy)), finding.count)
        })
        .collect()
}

/// The names of the containers with a finding.
pub(super) fn containers(check: &str, spec: &str) -> Vec<String> {
    findings(check, true, spec, "{}")
        .into_iter()
        .map(|(text, count)| {
            assert_eq!(count, 1);
            text.split(':').next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A pod spec with one container of each sort, each with that body.
pub(super) fn one_of_each(body: &str) -> String {
    let named = |name: &str| format!(r#"{{"name": "{name}", {body}}}"#);
    format!(
        r#"{{"containers": [{}], "initContainers": [{}, {{"name": "sidecar", "restartPolicy": "Always", {body}}}],
            "ephemeralContainers": [{}]}}"#,
        named("regular"),
        named("init"),
        named("ephemeral"),
    )
}

/// Asserts for both probe checks which containers need a probe, what counts as one, and the text.
pub(super) fn assert_probe_check(check: &str, field: &str, message: &str) {
    let without = one_of_each(r#""image": "a:1""#);
    assert_eq!(containers(check, &without), ["regular", "sidecar"]);
    let with = one_of_each(&format!(r#""{field}": {{"exec": {{}}}}"#));
    assert!(containers(check, &with).is_empty());
    for empty in ["{}", "null"] {
        let spec = format!(r#"{{"containers": [{{"name": "c", "{field}": {empty}}}]}}"#);
        let expected = [(format!("c: {message}"), 1)];
        assert_eq!(findings(check, true, &spec, "{}"), expected, "{empty}");
    }
    for policy in ["Never", "OnFailure"] {
        let spec = format!(r#"{{"restartPolicy": "{policy}", "containers": [{{"name": "c"}}]}}"#);
        assert!(containers(check, &spec).is_empty(), "{policy}");
        let spec = format!(
            r#"{{"restartPolicy": "{policy}", "containers": [{{"name": "c"}}, {{"name": "always", "restartPolicy": "Always"}}],
                "initContainers": [{{"name": "sidecar", "restartPolicy": "Always"}}]}}"#
        );
        assert_eq!(containers(check, &spec), ["always"], "KEP-5307 in a pod of {policy}");
        let spec = format!(
            r#"{{"containers": [{{"name": "c"}}, {{"name": "once", "restartPolicy": "{policy}"}}]}}"#
        );
        assert_eq!(containers(check, &spec), ["c"], "a container of {policy}");
    }
}
