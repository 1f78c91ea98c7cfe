//! The time of one plan.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::say;
use policy_core::api::DevOpsPolicySpec;
use policy_core::policy::CompiledPolicy;
use policy_core::remediation::{
    NamespaceFacts, NamespaceRules, Plan, PlanInput, Target, apply_body, plan,
};
use serde_json::{Value, json};

use super::super::measure::median;
use super::repair::SPEC;

const ROUNDS: usize = 15;
const PLANS: usize = 2_000;

/// From the workload as JSON text to the body of its patch, in microseconds: the median.
pub(super) fn microseconds_each() -> Result<f64> {
    let spec: DevOpsPolicySpec = serde_json::from_str(SPEC)?;
    let policy =
        CompiledPolicy::compile(&spec).map_err(|invalid| anyhow::anyhow!("{invalid:?}"))?;
    let rules = policy.remediation().context("the policy is not in enforce mode")?;
    let rules = NamespaceRules::of([("strict", rules)], policy_core::Timestamp::UNIX_EPOCH);
    let namespace = NamespaceFacts { has_mutating_webhook: true, ..NamespaceFacts::default() };
    let text = workload().to_string();
    let body = || -> Result<Value> {
        let workload: Value = serde_json::from_str(black_box(&text))?;
        let target = Target::read(&workload).map_err(anyhow::Error::msg)?;
        let input = PlanInput {
            rules: &rules,
            namespace: &namespace,
            target: &target,
            peaks: None,
            memory: None,
        };
        let Plan::Patch { fields, .. } = plan(&input).plan else {
            anyhow::bail!("the workload is not patched")
        };
        Ok(apply_body(&target, &fields, "shop/strict"))
    };
    ensure!(body()?["spec"]["template"]["spec"]["containers"][0]["livenessProbe"].is_object());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PLANS {
            black_box(body()?);
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e6 / PLANS as f64);
    }
    let each = median(rounds);
    say(&format!(
        "{each:.1} us from a Deployment of {} bytes to the body of its patch",
        text.len()
    ));
    Ok(each)
}

/// A Deployment as an API server has it, with one container that lacks everything beside one that
/// lacks nothing.
fn workload() -> Value {
    let probe = json!({ "httpGet": { "path": "/healthz", "port": 8080, "scheme": "HTTP" },
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3 });
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:v1.24.3"),
            "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
            "env": [{ "name": "BACKEND", "value": "http://backend.shop.svc.cluster.local:8080" }],
            "resources": {}, "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/shop" }],
        })
    };
    let mut complete = container("proxy");
    complete["livenessProbe"] = probe.clone();
    complete["readinessProbe"] = probe;
    complete["resources"] = json!({ "requests": { "cpu": "100m", "memory": "128Mi" },
        "limits": { "memory": "256Mi" } });
    let fields = |of: &Value| -> Value {
        let names = of.as_object().into_iter().flatten();
        names.map(|(name, _)| (format!("f:{name}"), json!({}))).collect()
    };
    let managed = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        r#"k:{"name":"web"}"#: fields(&container("web")),
        r#"k:{"name":"proxy"}"#: fields(&complete),
    } } } } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "payment-service", "namespace": "shop", "generation": 3,
            "uid": "5f0c9a3e-9d0b-4c55-8e0a-1c2d3e4f5a6b", "resourceVersion": "123456",
            "labels": { "app.kubernetes.io/name": "payment-service" },
            "annotations": { "deployment.kubernetes.io/revision": "3" },
            "managedFields": [{
                "manager": "kubectl-client-side-apply", "operation": "Update",
                "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": managed,
            }],
        },
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": { "matchLabels": { "app": "payment" } },
            "strategy": { "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": {
                "metadata": { "labels": { "app": "payment" } },
                "spec": {
                    "containers": [container("web"), complete], "restartPolicy": "Always",
                    "volumes": [{ "name": "config", "configMap": { "name": "config" } }],
                    "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                    "schedulerName": "default-scheduler",
                },
            },
        },
        "status": { "readyReplicas": 3, "replicas": 3, "updatedReplicas": 3 },
    })
}
