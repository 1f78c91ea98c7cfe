//! What is done with a workload, and what stands against it.

use super::*;
use crate::api::{RemediatedWorkload, RemediationState};

#[test]
fn a_workload_with_everything_is_left_alone() {
    let complete = container(
        "web",
        &json!({
            "livenessProbe": { "exec": {} }, "readinessProbe": { "grpc": {} },
            "resources": { "requests": { "cpu": "1", "memory": "1" }, "limits": { "memory": "1" } },
        }),
    );
    assert_eq!(plan_of(&deployment(json!([complete])), &[PROBES, RESOURCES]), Plan::Nothing);
    assert_eq!(plan_of(&deployment(json!([web()])), &["{}"]), Plan::Nothing);
    let demanding = r#"{"requireReadinessProbe": true}"#;
    assert_eq!(code(&plan_of(&deployment(json!([web()])), &[demanding])), "NoDefault");
}

fn with(path: &str, value: Value) -> Value {
    let mut workload = deployment(json!([web()]));
    if workload.pointer(path).is_none() {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/");
        if workload.pointer(parent).is_none() {
            let (above, parent) = parent.rsplit_once('/').unwrap();
            workload.pointer_mut(above).unwrap()[parent] = json!({});
        }
        workload.pointer_mut(parent).unwrap()[name] = value;
    } else {
        *workload.pointer_mut(path).unwrap() = value;
    }
    workload
}

#[test]
fn each_veto_names_its_reason() {
    for (path, value, reason) in [
        ("/spec/paused", json!(true), "Paused"),
        ("/spec/replicas", json!(0), "ScaledToZero"),
        ("/spec/strategy/type", json!("Recreate"), "Recreate"),
        ("/spec/strategy/rollingUpdate/maxUnavailable", json!("100%"), "AllUnavailable"),
        ("/spec/strategy/rollingUpdate/maxUnavailable", json!(2), "AllUnavailable"),
        ("/spec/revisionHistoryLimit", json!(1), "SmallHistory"),
        ("/status/readyReplicas", json!(1), "NotReady"),
        ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), "Deleted"),
        (
            "/metadata/ownerReferences",
            json!([{ "kind": "Shop", "name": "s", "controller": true }]),
            "ForeignOwner",
        ),
        ("/metadata/annotations/devops.stochastic.io~1remediation", json!("disabled"), "OptedOut"),
        ("/metadata/annotations/devops.stochastic.io~1remediation", json!("disbled"), "OptedOut"),
    ] {
        assert_eq!(code(&plan_of(&with(path, value.clone()), &[PROBES])), reason, "{path} {value}");
    }
}

#[test]
fn a_stateful_set_of_one_and_on_delete_are_proposed() {
    let stateful = |replicas: u32, strategy: Value| {
        let mut workload = deployment(json!([web()]));
        workload["kind"] = "StatefulSet".into();
        workload["spec"]["replicas"] = replicas.into();
        workload["spec"]["updateStrategy"] = strategy;
        workload["status"]["readyReplicas"] = replicas.into();
        plan_of(&workload, &[PROBES])
    };
    let rolling = || json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    assert_eq!(code(&stateful(1, rolling())), "SinglePod");
    assert_eq!(code(&stateful(3, json!({ "type": "OnDelete" }))), "OnDelete");
    let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    assert_eq!(code(&stateful(3, partition)), "Partitioned");
    assert_eq!(lines(&stateful(3, rolling())).len(), 1);
    let mut single = deployment(json!([web()]));
    single["spec"]["replicas"] = 1.into();
    assert_eq!(lines(&plan_of(&single, &[PROBES])).len(), 1, "the next pod starts first");
    single["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 0.into();
    assert_eq!(code(&plan_of(&single, &[PROBES])), "SinglePod");
}

#[test]
fn a_daemon_set_is_patched_by_its_own_numbers() {
    let mut workload = deployment(json!([web()]));
    workload["kind"] = "DaemonSet".into();
    workload["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } });
    workload["status"] = json!({ "desiredNumberScheduled": 3, "numberReady": 3 });
    assert_eq!(lines(&plan_of(&workload, &[PROBES])).len(), 1);
    workload["status"]["desiredNumberScheduled"] = 0.into();
    assert_eq!(code(&plan_of(&workload, &[PROBES])), "ScaledToZero");
}

#[test]
fn an_owner_that_would_be_locked_out_gets_an_injection() {
    let applied_by = |manager: &str| {
        json!([{ "manager": manager, "operation": "Apply",
            "fieldsV1": { "f:spec": { "f:template": {} } } }])
    };
    let owned = [
        with("/metadata/annotations/meta.helm.sh~1release-name", json!("shop")),
        with("/metadata/annotations/argocd.argoproj.io~1tracking-id", json!("x")),
        with("/metadata/labels/kustomize.toolkit.fluxcd.io~1name", json!("x")),
        with("/metadata/managedFields", applied_by("helm")),
    ];
    let method = |method: &str| {
        format!(
            r#"{{"requireReadinessProbe": true, "defaultProbe": {{"tcpPort": 8080}},
                "remediation": {{"method": "{method}"}}}}"#
        )
    };
    for workload in owned {
        let auto = plan_of(&workload, &[&method("auto")]);
        assert!(matches!(auto, Plan::InjectAtAdmission { .. }), "{auto:?}");
        assert_eq!(code(&plan_of(&workload, &[&method("patch")])), "OwnerLockedOut");
        assert_eq!(code(&plan_of(&workload, &[&method("propose")])), "MethodPropose");
    }
    let client_side = deployment(json!([web()]));
    let auto = plan_of(&client_side, &[&method("auto")]);
    assert!(matches!(auto, Plan::Patch { .. }), "{auto:?}");
    let admission = plan_of(&client_side, &[&method("admission")]);
    assert!(matches!(admission, Plan::InjectAtAdmission { .. }), "{admission:?}");
    for (path, value) in [
        ("/metadata/labels/app.kubernetes.io~1instance", json!("shop")),
        ("/metadata/labels/app.kubernetes.io~1managed-by", json!("Helm")),
        ("/metadata/managedFields", applied_by("policy-operator")),
    ] {
        let plan = plan_of(&with(path, value), &[&method("auto")]);
        assert!(matches!(plan, Plan::Patch { .. }), "{path}: {plan:?}");
    }
}

fn planned(workload: &Value, namespace: &NamespaceFacts, memory: &RemediatedWorkload) -> Plan {
    let (rules, target) = (rules(&[PROBES]), read(workload));
    let memory = Some(memory);
    plan(&PlanInput { rules: &rules, namespace, target: &target, peaks: None, memory }).plan
}

fn remembered(workload: &Value, state: RemediationState) -> RemediatedWorkload {
    let target = read(workload);
    RemediatedWorkload {
        workload: target.label(),
        uid: target.uid,
        state,
        template: target.template,
        since: serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap(),
        fields: lines(&plan_of(workload, &[PROBES])),
        reason: String::new(),
        message: String::new(),
    }
}

#[test]
fn nothing_is_filled_in_without_the_webhook_that_gives_way() {
    let workload = deployment(json!([web()]));
    let memory = remembered(&workload, RemediationState::Waiting);
    assert_eq!(code(&planned(&workload, &NamespaceFacts::default(), &memory)), "NoMutatingWebhook");
}

#[test]
fn what_was_taken_back_or_removed_is_left_alone_until_the_template_changes() {
    let workload = deployment(json!([web()]));
    for (state, reason) in [
        (RemediationState::Reverted, "Reverted"),
        (RemediationState::Patched, "Withdrawn"),
        (RemediationState::Withdrawn, "Withdrawn"),
    ] {
        let memory = remembered(&workload, state);
        assert_eq!(code(&planned(&workload, &installed(), &memory)), reason);
        let mut restarted = workload.clone();
        restarted["spec"]["template"]["metadata"]["annotations"] =
            json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
        assert_eq!(code(&planned(&restarted, &installed(), &memory)), reason, "a restart");
        let mut paused = workload.clone();
        paused["spec"]["paused"] = true.into();
        assert_eq!(code(&planned(&paused, &installed(), &memory)), reason, "a pause");
        let mut changed = workload.clone();
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2".into();
        assert_eq!(lines(&planned(&changed, &installed(), &memory)).len(), 1, "{state:?}");
        let mut other = workload.clone();
        other["metadata"]["uid"] = "u-2".into();
        assert_eq!(lines(&planned(&other, &installed(), &memory)).len(), 1, "another object");
    }
    let waiting = remembered(&workload, RemediationState::Waiting);
    assert_eq!(lines(&planned(&workload, &installed(), &waiting)).len(), 1);
}

#[test]
fn a_namespace_decides_as_well() {
    let workload = deployment(json!([web()]));
    let memory = remembered(&workload, RemediationState::Waiting);
    let disabled = NamespaceFacts { opt_in: OptIn::Disabled, ..installed() };
    assert_eq!(code(&planned(&workload, &disabled, &memory)), "OptedOut");
    let excluded = NamespaceFacts { is_excluded: true, ..installed() };
    assert_eq!(code(&planned(&workload, &excluded, &memory)), "ExcludedNamespace");
}

#[test]
fn a_template_of_many_containers_is_patched_whole_and_one_of_too_many_is_not() {
    let all = |number: u32| {
        let each = |n| {
            let mut container = web();
            container["name"] = format!("{n}-{}", "n".repeat(50)).into();
            container
        };
        plan_of(&deployment((0..number).map(each).collect()), &[PROBES, RESOURCES])
    };
    assert_eq!(lines(&all(50)).len(), 50);
    assert_eq!(code(&all(65)), "TooManyContainers");
}

#[test]
fn other_kinds_are_no_targets() {
    for (api_version, kind) in
        [("v1", "Pod"), ("batch/v1", "Job"), ("example.com/v1", "Deployment")]
    {
        let mut workload = deployment(json!([web()]));
        workload["apiVersion"] = api_version.into();
        workload["kind"] = kind.into();
        assert!(Target::read(&workload).unwrap_err().contains("cannot be patched"));
    }
    assert!(Target::read(&json!({})).is_err());
    assert!(Target::read(&deployment(json!(null))).is_err());
}

#[test]
fn nothing_is_filled_in_for_an_exempted_finding() {
    let exempted = |id: &str, container: &str| {
        let mut spec: Value = serde_json::from_str(PROBES).unwrap();
        spec["exemptions"] = json!([{ "checks": [id], "container": container, "reason": "r",
            "workload": { "kind": "Deployment", "name": "web" } }]);
        spec.to_string()
    };
    let workload = deployment(json!([web()]));
    let probes = |policies: &[&str]| {
        let lines = lines(&plan_of(&workload, policies)).concat();
        ["livenessProbe", "readinessProbe"].map(|probe| lines.contains(probe))
    };
    assert_eq!(probes(&[PROBES]), [true, true]);
    assert_eq!(probes(&[&exempted("missing-liveness", "web")]), [false, true]);
    assert_eq!(probes(&[&exempted("missing-liveness", "other")]), [true, true]);
    let of_another = [&*exempted("missing-liveness", "web"), PROBES];
    assert_eq!(probes(&of_another), [true, true], "another policy exempts nothing");
}

#[test]
fn an_exempted_finding_needs_no_default() {
    let spec = r#"{"requireLivenessProbe": true, "exemptions": [{ "checks": ["missing-liveness"],
        "reason": "r", "workload": { "kind": "Deployment", "name": "web" } }]}"#;
    let workload = deployment(json!([web()]));
    assert_eq!(code(&plan_of(&workload, &[r#"{"requireLivenessProbe": true}"#])), "NoDefault");
    assert_eq!(plan_of(&workload, &[spec]), Plan::Nothing);
}
