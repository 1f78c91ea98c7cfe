//! What other objects of an input say of the namespace of a workload.

use super::{HEAD, fixed};

#[test]
fn the_input_says_what_must_not_be_filled_in() {
    let web = format!(
        "{HEAD}      containers:\n      - name: web\n        image: a:1\n        ports: [{{containerPort: 80}}]\n"
    );
    let with = |more: &str| fixed(&format!("{web}---\n{more}"));
    let metadata = "metadata: {name: x, namespace: default}";
    let target = "{apiVersion: apps/v1, kind: Deployment, name: web}";
    let limits = |limits: &str| {
        format!("apiVersion: v1\nkind: LimitRange\n{metadata}\nspec: {{limits: [{limits}]}}\n")
    };
    let scaler = |api: &str, spec: &str| {
        format!(
            "apiVersion: {api}\nkind: HorizontalPodAutoscaler\n{metadata}\nspec: {{scaleTargetRef: {target}{spec}}}\n"
        )
    };
    let by = |resource: &str, kind: &str| {
        format!(
            ", metrics: [{{type: Resource, resource: {{name: {resource}, target: {{type: {kind}}}}}}}]"
        )
    };
    let cpu = "HorizontalPodAutoscaler x computes with its cpu";
    for (more, fields, reason) in [
        (limits("{type: Container, max: {memory: 100Mi}}"), "memory", "LimitRange x"),
        // The API server makes max the default of the other one.
        (limits("{type: Container, max: {cpu: 50m}}"), "cpu", "LimitRange x"),
        (scaler("autoscaling/v2", &by("cpu", "Utilization")), "cpu", cpu),
        (scaler("autoscaling/v1", ", targetCPUUtilizationPercentage: 80"), "cpu", cpu),
        (scaler("autoscaling/v2", ""), "cpu", cpu),
    ] {
        let (text, left) = with(&more);
        assert!(!left.is_empty(), "{more}");
        for left in &left {
            let is_named = left.contains(&format!(".{fields}: ")) && left.contains(reason);
            assert!(is_named, "{left} of {more}");
        }
        let other = if fields == "cpu" { "memory: 128Mi" } else { "cpu: 100m" };
        assert!(text.contains(other) && text.contains("livenessProbe"), "{text}");
    }
    let vpa = format!(
        "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\n{metadata}\nspec: {{targetRef: {target}}}\n"
    );
    let (text, left) = with(&vpa);
    assert!(!text.contains("resources:") && text.contains("livenessProbe"), "{text}");
    assert_eq!(left.len(), 4, "{left:?}");
    let namespace = |says: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, annotations: {{devops.stochastic.io/remediation: {says}}}}}\n"
        )
    };
    let off = namespace("disabled");
    let (text, left) = with(&format!("{off}---\n{}", namespace("enabled")));
    assert!(!text.contains("livenessProbe") && left[0].contains("namespace"), "{left:?}");

    // What limits another namespace or workload, or computes with no request, is in no way.
    for fine in [
        limits("{type: Container, max: {memory: 100Mi}}").replace("default", "other"),
        scaler("autoscaling/v2", "").replace("name: web", "name: other"),
        scaler("autoscaling/v2", &by("cpu", "AverageValue")),
    ] {
        let (text, left) = with(&fine);
        assert!(text.contains("cpu: 100m") && text.contains("memory: 256Mi"), "{text}");
        assert_eq!(left, [] as [String; 0], "{fine}");
    }
}
