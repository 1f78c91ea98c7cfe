//! Which values are filled in.

use std::collections::BTreeMap;

use super::*;
use crate::facts::PodFacts;

#[test]
fn probes_get_a_declared_port_and_the_liveness_probe_is_laxer() {
    let declared = |ports: Value| {
        let container = container("web", &json!({ "ports": ports }));
        lines(&plan_of(&deployment(json!([container])), &[PROBES])).remove(0)
    };
    assert_eq!(
        declared(json!([{ "containerPort": 9000 }, { "containerPort": 8080 }])),
        "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
         livenessProbe=tcp:8080,delay=5,period=10,failures=9"
    );
    let first = declared(json!([
        { "containerPort": 53, "protocol": "UDP" }, { "containerPort": 9000, "protocol": "TCP" },
        { "containerPort": 9001 },
    ]));
    assert!(first.contains("readinessProbe=tcp:9000,"), "{first}");
}

#[test]
fn a_port_that_nothing_declares_is_a_guess() {
    let silent = deployment(json!([container("web", &json!({}))]));
    assert_eq!(code(&plan_of(&silent, &[PROBES])), "GuessedPort");
    let mut opted_in = silent.clone();
    opted_in["metadata"]["annotations"] = json!({ "devops.stochastic.io/remediation": "enabled" });
    assert!(lines(&plan_of(&opted_in, &[PROBES]))[0].contains("tcp:8080"));
    // What is no guess is filled in all the same.
    let both = plan_of(&silent, &[PROBES, RESOURCES]);
    assert_eq!(lines(&both), ["web: requests.cpu=100m requests.memory=128Mi"]);
    let Plan::Patch { withheld, .. } = both else { panic!("{both:?}") };
    let withheld: Vec<_> = withheld.iter().map(|w| (w.field, w.reason.code())).collect();
    let guess = "GuessedPort";
    assert_eq!(
        withheld,
        [
            ("readinessProbe", guess),
            ("livenessProbe", guess),
            ("limits.memory", "UnknownMemoryUse")
        ]
    );
}

#[test]
fn a_liveness_probe_waits_three_times_as_long_as_the_readiness_probe_of_its_container() {
    let mut web = web();
    web["readinessProbe"] = json!({ "httpGet": { "port": 8080 }, "periodSeconds": 20,
        "failureThreshold": 6, "initialDelaySeconds": 60 });
    let plan = plan_of(&deployment(json!([web])), &[PROBES]);
    assert_eq!(lines(&plan), ["web: livenessProbe=tcp:8080,delay=60,period=10,failures=36"]);
}

#[test]
fn only_containers_that_keep_running_get_anything() {
    let mut workload = deployment(json!([web()]));
    workload["spec"]["template"]["spec"]["initContainers"] = json!([
        container("setup", &json!({})),
        container(
            "proxy",
            &json!({ "restartPolicy": "Always", "ports": [{ "containerPort": 1 }] })
        ),
    ]);
    let names: Vec<_> = lines(&plan_of(&workload, &[PROBES, RESOURCES]))
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["web", "proxy"]);
}

fn resources_with(own: &Value, use_: Option<&str>, policy: &str) -> String {
    let workload = deployment(json!([container("web", &json!({ "resources": own }))]));
    let peaks = use_.map(peaks);
    match plan_in(&installed(), &workload, &[policy], peaks.as_ref()) {
        Plan::Patch { fields, .. } => fields.lines().join("\n"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_memory_limit_is_never_below_what_is_used() {
    let none = json!({});
    let base = "web: requests.cpu=100m requests.memory=128Mi";
    assert_eq!(resources_with(&none, None, RESOURCES), base);
    let low = resources_with(&none, Some("10Mi"), RESOURCES);
    assert_eq!(low, format!("{base} limits.memory=256Mi"));
    let high = resources_with(&none, Some("1000Mi"), RESOURCES);
    assert_eq!(high, format!("{base} limits.memory=1201Mi"));
}

#[test]
fn requests_and_limits_fit_what_the_container_has() {
    let own = |resources: Value| resources_with(&resources, Some("10Mi"), RESOURCES);
    // The API server sets a request from the container's own limit.
    let limited = own(json!({ "limits": { "memory": "64Mi" } }));
    assert_eq!(limited, "web: requests.cpu=100m");
    // A limit of 256Mi below this request would refuse the pods.
    let large = own(json!({ "requests": { "memory": "1Gi" } }));
    assert_eq!(large, "web: requests.cpu=100m");
    let small = own(json!({ "requests": { "memory": "1Mi", "cpu": "1" } }));
    assert_eq!(small, "web: limits.memory=256Mi");
    let only_limit = r#"{"defaultResources": {"memoryLimit": "256Mi"}}"#;
    let request = resources_with(&json!({}), Some("10Mi"), only_limit);
    assert_eq!(request, "web: requests.memory=256Mi limits.memory=256Mi");
}

#[test]
fn a_cpu_limit_is_set_only_where_the_policy_names_one() {
    let policy = r#"{"defaultResources": {"cpuRequest": "100m", "cpuLimit": "500m"}}"#;
    let line = resources_with(&json!({}), None, policy);
    assert_eq!(line, "web: requests.cpu=100m limits.cpu=500m");
    let complete = json!({ "requests": { "cpu": 1, "memory": 1 }, "limits": { "memory": 1 } });
    assert_eq!(resources_with(&complete, None, policy), "Nothing");
}

/// The plan where the namespace has these objects.
fn in_namespace(namespace: &NamespaceFacts) -> Plan {
    plan_in(namespace, &deployment(json!([web()])), &[PROBES, RESOURCES], None)
}

#[test]
fn what_an_autoscaler_computes_with_is_withheld() {
    let hpa = |metric: Value, target: &str| {
        Autoscaler::horizontal(&json!({
            "metadata": { "name": "scaler" },
            "spec": {
                "scaleTargetRef": { "kind": "Deployment", "name": target },
                "metrics": [{ "type": "Resource", "resource": metric }],
            },
        }))
    };
    let with = |autoscaler| {
        let namespace = NamespaceFacts { autoscalers: vec![autoscaler], ..installed() };
        lines(&in_namespace(&namespace)).remove(0)
    };
    let utilization = || json!({ "name": "cpu", "target": { "type": "Utilization" } });
    let line = with(hpa(utilization(), "web"));
    assert!(!line.contains("requests.cpu") && line.contains("requests.memory"), "{line}");
    assert!(with(hpa(utilization(), "other")).contains("requests.cpu"));
    let value = json!({ "name": "cpu", "target": { "type": "AverageValue" } });
    assert!(with(hpa(value, "web")).contains("requests.cpu"));
    let vpa = json!({ "metadata": { "name": "v" },
        "spec": { "targetRef": { "kind": "Deployment", "name": "web" } } });
    assert!(!with(Autoscaler::vertical(&vpa)).contains("requests"));
}

/// What is filled in, and the codes of what is withheld, where the namespace has a `LimitRange`.
fn with_limits(limits: &Value, containers: &Value) -> (Vec<String>, Vec<String>) {
    with_limits_of(limits, &deployment(containers.clone()))
}

fn with_limits_of(limits: &Value, workload: &Value) -> (Vec<String>, Vec<String>) {
    let range = json!({ "metadata": { "name": "small" }, "spec": { "limits": limits } });
    let namespace = NamespaceFacts { limit_ranges: vec![LimitRange::read(&range)], ..installed() };
    let mut peaks = MemoryPeaks::default();
    let used = |name: &str| json!({ "name": name, "usage": { "memory": "10Mi" } });
    peaks.observe(&json!({ "containers": [used("web"), used("proxy")] }));
    let (fields, withheld) = match plan_in(&namespace, workload, &[RESOURCES], Some(&peaks)) {
        Plan::Patch { fields, withheld } => (fields.lines(), withheld),
        Plan::Withhold { withheld } => (Vec::new(), withheld),
        other => panic!("{other:?}"),
    };
    let withheld = withheld.iter().map(|Withheld { container, field, reason }| {
        format!("{container} {field} {}", reason.code())
    });
    (fields, withheld.collect())
}

#[test]
fn what_a_limit_range_gives_is_not_filled_in() {
    let of =
        |field: &str, resource: &str| json!([{ "type": "Container", field: { resource: "50m" } }]);
    let web = json!([container("web", &json!({}))]);
    let default = |field: &str| format!("web {field} LimitRangeDefault");
    let whole = "web: requests.cpu=100m requests.memory=128Mi limits.memory=256Mi";
    for field in ["max", "min", "default", "defaultRequest"] {
        let (lines, withheld) = with_limits(&of(field, "cpu"), &web);
        assert_eq!(withheld, [default("requests.cpu")], "{field}");
        assert_eq!(lines, ["web: requests.memory=128Mi limits.memory=256Mi"]);
    }
    for field in ["max", "default"] {
        let (lines, withheld) = with_limits(&of(field, "memory"), &web);
        assert_eq!(withheld, [default("limits.memory"), default("requests.memory")], "{field}");
        assert_eq!(lines, ["web: requests.cpu=100m"]);
    }
    // A limit without a request would be the request, so what is given is written out.
    let given =
        |amount: &str| json!([{ "type": "Container", "defaultRequest": { "memory": amount } }]);
    for (amount, written) in [("200Mi", "200Mi"), ("0.1G", "100000000")] {
        let (lines, withheld) = with_limits(&given(amount), &web);
        assert_eq!(lines, [whole.replace("128Mi", written)]);
        assert_eq!(withheld, [""; 0]);
    }
    let (lines, withheld) = with_limits(&given("1Gi"), &web);
    assert_eq!(lines, ["web: requests.cpu=100m"], "it is above the limit of the policy");
    assert_eq!(withheld, [default("requests.memory")]);
    let zero = json!([{ "type": "Container", "default": { "memory": "0" },
        "defaultRequest": { "memory": "128Mi" } }]);
    assert_eq!(with_limits(&zero, &web).0, [whole], "a limit of zero is none");
    let (lines, _) = with_limits(&json!([]), &web);
    assert_eq!(lines, [whole]);
}

#[test]
fn what_a_limit_range_refuses_is_withheld() {
    let large = json!({ "resources": { "requests": { "memory": "150Mi" }, "limits": { "memory": "150Mi" } } });
    let both = json!([container("proxy", &large), container("web", &json!({}))]);
    let pods = |memory: &str| json!([{ "type": "Pod", "max": { "memory": memory } }]);
    // 150Mi of the other container and 256Mi.
    let (lines, withheld) = with_limits(&pods("400Mi"), &both);
    let refused = ["web requests.memory LimitRange", "web limits.memory LimitRange"];
    assert_eq!(withheld, refused);
    assert_eq!(lines, ["proxy: requests.cpu=100m", "web: requests.cpu=100m"]);
    let (_, withheld) = with_limits(&pods("406Mi"), &both);
    assert_eq!(withheld, [""; 0]);
    // What is filled in in one container counts for the next one.
    let both = json!([container("proxy", &json!({})), container("web", &json!({}))]);
    assert_eq!(with_limits(&pods("511Mi"), &both).1, refused);
    assert_eq!(with_limits(&pods("512Mi"), &both).1, [""; 0]);
    // Limits together: of a pod without any, nothing is demanded.
    let min = |memory: &str| json!([{ "type": "Pod", "min": { "memory": memory } }]);
    assert_eq!(with_limits(&min("512Mi"), &both).1, [""; 0]);
    let (lines, withheld) = with_limits(&min("513Mi"), &both);
    assert_eq!(withheld, ["proxy limits.memory LimitRange", "web limits.memory LimitRange"]);
    assert_eq!(lines[1], "web: requests.cpu=100m requests.memory=128Mi");
    let ratio = json!([{ "type": "Container", "maxLimitRequestRatio": { "memory": "1.5" } }]);
    assert_eq!(with_limits(&ratio, &json!([container("web", &json!({}))])).1, refused);
}

#[test]
fn an_init_container_counts_with_the_sidecars_before_it() {
    let mut workload = deployment(json!([container("web", &json!({}))]));
    let large = json!({ "resources": { "requests": { "memory": "300Mi" },
        "limits": { "memory": "300Mi" } } });
    workload["spec"]["template"]["spec"]["initContainers"] = json!([
        container("proxy", &json!({ "restartPolicy": "Always" })),
        container("setup", &large),
    ]);
    let withheld = |max: &str| {
        with_limits_of(&json!([{ "type": "Pod", "max": { "memory": max } }]), &workload).1
    };
    // 300Mi beside the 256Mi of the sidecar, when it starts.
    assert_eq!(withheld("556Mi"), [""; 0]);
    let of_sidecar = ["proxy requests.memory LimitRange", "proxy limits.memory LimitRange"];
    assert_eq!(withheld("555Mi"), of_sidecar);
}

#[test]
fn a_cpu_limit_of_the_pod_is_a_cpu_limit() {
    let policy = r#"{"defaultResources": {"cpuRequest": "100m", "cpuLimit": "500m",
        "memoryRequest": "128Mi"}}"#;
    let mut workload = deployment(json!([container("web", &json!({}))]));
    workload["spec"]["template"]["spec"]["resources"] =
        json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "1" } });
    let plan = plan_of(&workload, &[policy]);
    let Plan::Patch { fields, withheld } = plan else { panic!("{plan:?}") };
    assert_eq!(fields.lines(), ["web: requests.memory=128Mi"]);
    assert_eq!(withheld, []);
}

#[test]
fn what_the_pod_has_for_all_containers_is_not_filled_in() {
    for list in ["requests", "limits"] {
        let mut workload = deployment(json!([web()]));
        workload["spec"]["template"]["spec"]["resources"] = json!({ list: { "memory": "10Mi" } });
        let lines = lines(&plan_of(&workload, &[RESOURCES]));
        assert_eq!(lines, ["web: requests.cpu=100m"], "{list}");
        let fields = plan_of(&deployment(json!([web()])), &[RESOURCES]);
        let Plan::Patch { fields, .. } = fields else { panic!("{fields:?}") };
        let pod = &workload["spec"]["template"];
        let patch = serde_json::to_string(&inject(pod, &fields, "shop/strict")).unwrap();
        assert!(patch.contains("100m") && !patch.contains("128Mi"), "{patch}");
    }
}

#[test]
fn the_older_policy_wins() {
    let younger = r#"{"defaultResources": {"cpuRequest": "1", "memoryRequest": "1Mi"}}"#;
    let older = r#"{"defaultResources": {"cpuRequest": "100m"}}"#;
    let (rules, namespace) = (rules(&[older, younger]), installed());
    let target = read(&deployment(json!([web()])));
    let input = PlanInput {
        rules: &rules,
        namespace: &namespace,
        target: &target,
        peaks: None,
        memory: None,
    };
    let planned = plan(&input);
    assert_eq!(lines(&planned.plan), ["web: requests.cpu=100m requests.memory=1Mi"]);
    assert_eq!(planned.policy.as_deref(), Some("a"));
}

#[test]
fn the_use_of_a_workload_is_found_by_the_names_of_its_pods() {
    let pod = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "web-5d8-a",
            "labels": { "pod-template-hash": "5d8" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "web-5d8", "controller": true }] },
        "spec": { "containers": [{ "name": "web", "image": "nginx:1" }] },
    }));
    let pod = PodFacts::of_pod(&pod.unwrap(), "");
    let found = |metrics: &[&str]| {
        let mut peaks = WorkloadPeaks::new([&pod]);
        for name in metrics {
            let containers = json!([{ "name": "web", "usage": { "memory": "7Mi" } }]);
            // As prometheus-adapter has it: without labels.
            peaks.observe(&json!({ "metadata": { "name": name }, "containers": containers }));
        }
        peaks.finish()
    };
    let of_pod = BTreeMap::from([((*pod.workload).clone(), peaks("7Mi"))]);
    assert_eq!(found(&["web-5d8-a", "another"]), Some(of_pod));
    assert_eq!(found(&["another"]), Some(BTreeMap::new()));
    assert_eq!(found(&[]), None, "nothing answers, or nothing has been measured yet");
}
