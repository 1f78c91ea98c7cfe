//! Pods of a cluster: listed, judged by profiles and by the cluster's policies, and judged as
//! their manifests are.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::time::Duration;

use e2e::{Testbed, shared};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::{cli, policies};

/// One pod for each kind of finding, one that ended, one that nothing is wrong with.
const PODS: &str = r#"
{name: tidy, image: "r.example.com/a:v1"}
{name: latest, image: nginx}
{name: bare, image: "r.example.com/a:v1", probes: false, resources: false}
{name: restless, image: "r.example.com/a:v1", annotations: {testbed/restarts: "9"}}
{name: waiting, image: "r.example.com/a:v1", annotations: {testbed/phase: Pending}}
{name: ended, image: nginx, annotations: {testbed/phase: Succeeded}, once: true}
"#;

fn manifests(namespace: &str) -> String {
    let pod = |line: &str| {
        let pod: Value = serde_saphyr::from_str(line).unwrap();
        let is = |field: &str| pod[field] != false;
        let mut container = serde_json::json!({ "name": "c", "image": pod["image"] });
        if is("probes") {
            for probe in ["livenessProbe", "readinessProbe"] {
                container[probe] = serde_json::json!({ "tcpSocket": { "port": 8080 } });
            }
        }
        if is("resources") {
            container["resources"] = serde_json::json!({
                "requests": { "cpu": "10m", "memory": "8Mi" }, "limits": { "memory": "8Mi" } });
        }
        let policy = if pod["once"] == true { "Never" } else { "Always" };
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": pod["name"], "namespace": namespace, "annotations": pod["annotations"] },
            "spec": { "containers": [container], "restartPolicy": policy },
        })
        .to_string()
    };
    PODS.trim().lines().map(pod).collect::<Vec<_>>().join("\n---\n")
}

/// A namespace in which each pod has become what its annotations ask for.
fn namespace(testbed: &Testbed) -> String {
    let namespace = testbed.namespace("live").unwrap();
    testbed.apply(&manifests(&namespace)).unwrap();
    let wanted = ["Pending", "Running", "Running", "Running", "Running", "Succeeded"];
    testbed
        .wait_for("the pods", Duration::from_secs(60), || {
            let columns = "jsonpath={range .items[*]}{.status.phase} {end}";
            let get = ["get", "pods", "-n", &namespace, "-o", columns];
            let phases = testbed.kubectl(&get)?.succeeded()?;
            let mut phases: Vec<&str> = phases.split_whitespace().collect();
            phases.sort_unstable();
            Ok(phases == wanted)
        })
        .unwrap();
    namespace
}

/// The findings as `pod check count`.
fn findings(analysis: &Value) -> Vec<String> {
    let row = |finding: &Value| {
        let text = |field: &str| finding[field].as_str().unwrap().to_owned();
        format!("{} {} {}", text("name"), text("check"), finding["count"])
    };
    analysis["findings"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn each_kind_of_finding_is_found_in_a_live_namespace() {
    let testbed = shared();
    let namespace = namespace(testbed);
    let analysis = cli::analysis(testbed, &["-n", &namespace]);
    assert_eq!(
        findings(&analysis),
        [
            "bare missing-liveness 1",
            "bare missing-readiness 1",
            "bare missing-resources 1",
            "latest latest-tag 1",
            "restless high-restarts 5",
        ]
    );
    assert_eq!(analysis["summary"]["pods"], 5, "the ended one is not counted");
    // (3 + 2 + 0 + 5 + 6 * 5) / 5 is 8.
    assert_eq!(analysis["summary"]["score"], 92);
    assert_eq!(
        analysis["coverage"],
        serde_json::json!({ "evaluated": 5, "skipped": 1, "failed": [] })
    );
    let source = &analysis["source"];
    assert_eq!(source["type"], "cluster");
    assert_eq!(source["context"], testbed.name());
    assert_eq!(source["namespace"], namespace.as_str());
    cli::expect(testbed, 1, &["analyze", "-n", &namespace, "--fail-below", "93"], "");
    cli::expect(testbed, 1, &["analyze", "-n", &namespace, "--fail-on", "medium"], "");
}

#[test]
fn live_pods_and_their_manifests_get_the_same_verdict_byte_for_byte() {
    let testbed = shared();
    let namespace = namespace(testbed);
    let file = testbed.folder().join(format!("{namespace}.yaml"));
    let get = ["get", "pods", "-n", &namespace, "-o", "yaml"];
    std::fs::write(&file, testbed.kubectl(&get).unwrap().succeeded().unwrap()).unwrap();
    // At the restart limit, over it, under a bundle, and with a Pending pod that is late at once.
    let strict = testbed.folder().join(format!("{namespace}-strict.yaml"));
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: strict}\n\
                  spec: {forbidPendingDuration: 0, maxRestartCount: 0, forbidLatestTag: true}\n";
    std::fs::write(&strict, policy).unwrap();
    let strict = strict.to_str().unwrap();
    // Ages count in whole seconds. Once late it stays late, so that both analyses see it so.
    let is_late = || {
        let analysis = cli::analysis(testbed, &["-n", &namespace, "--policy", strict]);
        Ok(findings(&analysis).contains(&"waiting pending 1".to_owned()))
    };
    testbed.wait_for("the waiting pod to be late", Duration::from_secs(30), is_late).unwrap();
    for judgement in [&[][..], &["--bundle", "restricted"], &["--policy", strict]] {
        let live = cli::analysis(testbed, &[&["-n", &namespace], judgement].concat());
        let filed = cli::analysis(testbed, &[&["-f", file.to_str().unwrap()], judgement].concat());
        assert!(filed["findings"][0]["line"].is_u64() && live["findings"][0]["line"].is_null());
        assert_eq!(comparable(live), comparable(filed), "{judgement:?}");
    }
}

/// The text of a report without what says where it came from.
fn comparable(mut report: Value) -> String {
    report.as_object_mut().unwrap().remove("source");
    for finding in report["findings"].as_array_mut().unwrap() {
        for place in ["file", "document", "line"] {
            finding.as_object_mut().unwrap().remove(place);
        }
    }
    serde_json::to_string_pretty(&report).unwrap()
}

#[test]
fn the_policies_of_a_cluster_judge_their_own_namespaces() {
    let testbed = policies::testbed();
    let namespace = namespace(testbed);
    let apply = [
        policies::policy(&namespace, "images", "{forbidLatestTag: true}"),
        policies::policy(&namespace, "probes", "{requireLivenessProbe: true}"),
        policies::policy("kube-system", "never", "{forbidLatestTag: true}"),
    ];
    testbed.apply(&apply.concat()).unwrap();
    let by_policies = ["analyze", "--policies", "cluster"];
    let found = cli::json(testbed, &[&by_policies[..], &["-n", &namespace]].concat(), "");
    let reports = found
        .as_array()
        .unwrap()
        .iter()
        .map(|report| (report["policy"].as_str().unwrap().to_owned(), findings(report)));
    let expected = [("images", "latest latest-tag 1"), ("probes", "bare missing-liveness 1")];
    let expected = expected
        .map(|(policy, finding)| (format!("{namespace}/{policy}"), vec![finding.to_owned()]));
    assert_eq!(reports.collect::<Vec<_>>(), expected);
    let file = testbed.folder().join("by-policies.json");
    let into_file = format!("json={}", file.display());
    let both = ["-n", &namespace, "-o", "table", "-o", &into_file];
    let text = cli::expect(testbed, 0, &[&by_policies[..], &both].concat(), "");
    assert!(text.contains(&format!("\n{namespace}/images ")), "{text}");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap(), found);
    // (5 of latest-tag) / 5 pods is 1.
    assert_eq!(
        (&found[0]["summary"]["score"], &found[0]["summary"]["pods"]),
        (&99.into(), &5.into())
    );

    let without = testbed.namespace("unpoliced").unwrap();
    testbed.apply(&cli::restless(&without, 0)).unwrap();
    let text = cli::expect(testbed, 0, &by_policies, "");
    for part in [format!("\n{namespace}/images "), format!("\nnone in namespace {without} ")] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(!text.contains("kube-system/never"), "{text}");
    let fail = ["-n", &namespace, "--fail-below", "100"];
    let run = cli::run(testbed.kubeconfig(), &[&by_policies[..], &fail].concat(), "");
    assert_eq!(run.code, Some(1), "{run:?}");
    let reason = format!("{namespace}/images: the score 99 is below 100 (--fail-below)\n");
    assert!(run.stderr.contains(&reason), "{run:?}");
}

/// The seconds since an RFC 3339 time.
fn seconds_since(time: &str) -> i64 {
    let time: Timestamp = time.parse().unwrap();
    Timestamp::now().as_second() - time.as_second()
}

#[test]
fn a_pod_is_pending_from_the_end_of_its_scheduling_gate() {
    let testbed = policies::testbed();
    let namespace = testbed.namespace("queue").unwrap();
    let limit = 5;
    let spec = format!("{{forbidPendingDuration: {limit}}}");
    let gated = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: gated, namespace: {namespace}, \
         annotations: {{testbed/phase: Pending}}}}, spec: {{schedulingGates: \
         [{{name: example.com/queue}}], containers: [{{name: c, image: 'nginx:1.27'}}]}}}}"
    );
    testbed.apply(&policies::policy(&namespace, "wait", &spec)).unwrap();
    testbed.apply(&gated).unwrap();
    let field = |path: &str| {
        let path = format!("jsonpath={{{path}}}");
        testbed.kubectl(&["get", "pod", "gated", "-n", &namespace, "-o", &path])?.succeeded()
    };
    let is_late = || {
        let arguments = ["analyze", "--policies", "cluster", "-n", &namespace];
        !findings(&cli::json(testbed, &arguments, "")[0]).is_empty()
    };
    let created = field(".metadata.creationTimestamp").unwrap();
    testbed
        .wait_for("the pod to be older than the limit", Duration::from_secs(60), || {
            Ok(seconds_since(&created) > limit)
        })
        .unwrap();
    assert!(!is_late(), "a gated pod is not pending");
    let ungate = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    let patch = ["patch", "pod", "gated", "-n", &namespace, "--type=json", "-p", ungate];
    // Before the patch: its answer may be late.
    let ungated = Timestamp::now().as_second();
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    testbed
        .wait_for("the pod to be late", Duration::from_secs(60), || {
            let late = is_late();
            let since = Timestamp::now().as_second() - ungated;
            assert!(!late || since >= limit, "late {since} s after the gate was removed");
            Ok(late)
        })
        .unwrap();
}

#[test]
fn pods_are_listed_in_columns_those_of_the_system_included() {
    let testbed = shared();
    let namespace = namespace(testbed);
    let system = "{apiVersion: v1, kind: Pod, metadata: {name: list-me, namespace: kube-system}, \
                  spec: {containers: [{name: c, image: nginx}]}}";
    testbed.apply(system).unwrap();
    let all = cli::expect(testbed, 0, &["list", "pods"], "");
    let row = |text: &str, namespace: &str, name: &str| {
        let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.starts_with(&[namespace, name])).unwrap();
        row.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    row(&all, "kube-system", "list-me");
    assert_eq!(row(&all, &namespace, "tidy")[2], "Running");
    let own = cli::expect(testbed, 0, &["list", "pods", "-n", &namespace, "-o", "wide"], "");
    assert_eq!(own.lines().count(), 7, "{own}");
    assert_eq!(row(&own, &namespace, "restless")[3..5], ["1/1", "9"]);
    let json = cli::expect(testbed, 0, &["list", "pods", "-n", &namespace, "-o", "json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["name"], "bare");
    // Not scored, but counted as left out.
    let system = cli::analysis(testbed, &["-n", "kube-system"]);
    assert_eq!(system["summary"]["pods"], 0);
    assert!(system["coverage"]["skipped"].as_u64().unwrap() > 0);
}

#[test]
fn check_shows_version_webhook_and_permissions() {
    let testbed = shared();
    let text = cli::expect(testbed, 0, &["check"], "");
    assert!(text.contains("supported (1.34 and newer)"), "{text}");
    assert!(text.contains("Webhook     kube-devops-policy-webhook: "), "{text}");
    let json = cli::expect(testbed, 0, &["check", "-o", "json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    let permissions = json["permissions"].as_array().unwrap();
    assert!(permissions.iter().all(|permission| permission["isAllowed"] == true), "{json}");
    let namespace = testbed.namespace("nobody").unwrap();
    let nobody = testbed.limited_user(&namespace, "[]").unwrap();
    let run = cli::run(&nobody, &["check", "-o", "json"], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let permissions = json["permissions"].as_array().unwrap();
    assert!(permissions.iter().all(|permission| permission["isAllowed"] == false), "{json}");
}

#[test]
fn a_terminal_does_not_obey_the_name_of_a_context() {
    let testbed = shared();
    let config = std::fs::read_to_string(testbed.kubeconfig()).unwrap();
    let mut config: Value = serde_saphyr::from_str(&config).unwrap();
    let name = "red\u{1b}[31m\nerror: forged";
    config["contexts"][0]["name"] = name.into();
    config["current-context"] = name.into();
    let kubeconfig = testbed.kubeconfig().with_file_name("hostile.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let shown = "red\u{fffd}[31m\u{fffd}error: forged";
    for (arguments, line) in [
        (&["check"][..], format!("Context     {shown}\n")),
        (&["multi-cluster", "list-contexts"], format!("*        {shown}  ")),
        (&["multi-cluster", "analyze", "--per-cluster"], format!("\ncluster {shown}\n")),
    ] {
        let run = cli::run(&kubeconfig, arguments, "");
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains(&line), "{line} in {run:?}");
        let all = run.stdout + &run.stderr;
        assert!(!all.contains('\u{1b}') && !all.contains("\nerror: forged"), "{all}");
    }
}

#[test]
fn check_of_a_namespace_allows_what_kubectl_allows() {
    let testbed = shared();
    let namespace = testbed.namespace("checked").unwrap();
    // A Role can allow to read the namespace that it is in.
    let rules = "[{apiGroups: [''], resources: [pods, namespaces], verbs: [get, list]}]";
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let run = cli::run(&user, &["check", "-n", &namespace, "-o", "json"], "");
    assert_eq!(run.code, Some(0), "{run:?}");
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let allowed = json["permissions"].as_array().unwrap().iter();
    let allowed: Vec<String> = allowed
        .filter(|permission| permission["isAllowed"] == true)
        .map(|p| format!("{} {}", p["verb"].as_str().unwrap(), p["resource"].as_str().unwrap()))
        .collect();
    assert_eq!(allowed, ["list pods", "get namespaces"]);
    let get = ["auth", "can-i", "get", &format!("namespaces/{namespace}"), "-n", &namespace];
    assert_eq!(testbed.kubectl_as(&user, &get).unwrap().stdout.trim(), "yes");
}

#[test]
fn a_list_of_several_pages_is_read_to_its_end() {
    let testbed = shared();
    let namespace = testbed.namespace("pages").unwrap();
    let pod = |i: usize| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p-{i:04}, namespace: {namespace}}}, \
                 spec: {{containers: [{{name: c, image: 'r.example.com/a:v1'}}], schedulingGates: [{{name: hold.me/here}}]}}}}"
        )
    };
    // One more than two pages.
    let pods: Vec<String> = (0..1001).map(pod).collect();
    let create = ["create", "-f", "-"];
    testbed.kubectl_stdin(&create, &pods.join("\n---\n")).unwrap().succeeded().unwrap();
    let analysis = cli::analysis(testbed, &["-n", &namespace]);
    assert_eq!(analysis["summary"]["pods"], 1001);
    let list = cli::expect(testbed, 0, &["list", "pods", "-n", &namespace], "");
    assert_eq!(list.lines().count(), 1002);
}
