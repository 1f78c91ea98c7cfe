//! `policyctl export-vap`: the API server denies and warns of what the webhook would, by the verdicts
//! of policy-core, on every kind and on each way to write an image.
//!
//! With the variable `E2E_MANIFESTS`, the workloads of that folder are compared as well.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use e2e::{Parts, Run, Testbed};
use serde_json::{Value, json};

use super::{KINDS, SURELY, pod, policy};
use crate::cli;

const SPEC: &str = "{forbidLatestTag: true, requireLivenessProbe: true, \
    requireReadinessProbe: true, requireResources: true, maxRestartCount: 3, \
    severityOverrides: {latestTag: critical, missingLiveness: high, missingResources: high}, \
    exemptions: [\
    {checks: [latest-tag, missing-liveness, missing-resources], reason: r, workload: {kind: Pod, name: o-0}}, \
    {checks: [latest-tag, missing-liveness], reason: r, workload: {kind: Deployment, name: o-1}}, \
    {checks: [latest-tag, missing-liveness], reason: r, workload: {kind: Deployment, name: o-9}, \
    container: c0-of-9}, \
    {checks: [latest-tag], reason: r, workload: {kind: StatefulSet, name: o-2, namespace: elsewhere}}]}";
const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Images as people and attackers write them.
fn images() -> Vec<String> {
    let texts = [
        "nginx",
        "nginx:1",
        "nginx:Latest",
        "nginx:latest",
        "nginx:",
        "nginx:1.27-alpine",
        ":1",
        "localhost:5000",
        "localhost:5000/a",
        "localhost:5000/a:1",
        "localhost/a:latest",
        "UP/a:1",
        "Nginx:1",
        "a/B:1",
        "reg.io/a_b/c__d/e---f:v1",
        "a___b:1",
        "a_-b:1",
        "-a:1",
        "a-:1",
        "a..b:1",
        "a_b.c/d:1",
        "a.b/c:1",
        "a.b:1",
        "reg:5000/nginx",
        "reg:port/nginx:1",
        "[::1]:5000/a:1",
        "[::1]/a:1",
        "[g]/a:1",
        "a//b:1",
        "/a:1",
        "a/:1",
        "a:1:2",
        "a:.1",
        "a:_1",
        "a b:1",
        "ä:1",
        "http://reg.io/a:1",
        "$(IMAGE):1",
        "a@sha256:12",
        "a:1@sha256:12",
        "a@",
        "a@sha256:",
        "a@b@c",
    ];
    let digests = [
        format!("nginx@{SHA}"),
        format!("nginx:latest@{SHA}"),
        format!("reg.io:443/a/b:1@{SHA}"),
        format!("nginx@{}", SHA.to_uppercase()),
        format!("nginx@{SHA}0"),
        format!("nginx@{}", SHA.replace("sha256", "sha1")),
        format!("nginx@sha512:{}", "0123456789abcdef".repeat(8)),
        "0123456789abcdef".repeat(4),
        format!("a:{}", "x".repeat(128)),
        format!("a:{}", "x".repeat(129)),
        format!("{}:1", "a".repeat(255)),
        format!("{}:1", "a".repeat(256)),
        format!("{}@{SHA}", "a".repeat(255)),
        format!("{}:1@{SHA}", "a".repeat(256)),
    ];
    texts.into_iter().map(str::to_owned).chain(digests).collect()
}

fn pod_of(spec: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec })
}

/// The generated corpus with what the API server demands, pods of odd shapes, and manifests.
fn corpus() -> Vec<Value> {
    let mut objects = super::agreement::corpus("any", &super::KINDS);
    for object in &mut objects {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let labels = json!({ "app": object["metadata"]["name"] });
        match &*kind {
            "Pod" | "Job" => {}
            "CronJob" => object["spec"]["schedule"] = json!("@daily"),
            "ReplicationController" => object["spec"]["selector"] = labels,
            _ => object["spec"]["selector"] = json!({ "matchLabels": labels }),
        }
    }
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let full = json!({ "requests": { "cpu": "1" }, "limits": { "memory": "1Gi" } });
    let good = |image: &str| json!({ "image": image, "livenessProbe": probe, "readinessProbe": probe, "resources": full });
    objects.extend(images().iter().map(|image| pod_of(&json!({ "containers": [good(image)] }))));
    let bare = json!({ "image": "a:1" });
    for policy in ["Always", "OnFailure", "Never"] {
        objects.push(pod_of(&json!({ "restartPolicy": policy, "containers": [bare] })));
        for own in ["Always", "Never"] {
            let mut own_policy = bare.clone();
            own_policy["restartPolicy"] = json!(own);
            let spec = json!({ "restartPolicy": policy, "containers": [own_policy, good("a:1")] });
            objects.push(pod_of(&spec));
        }
    }
    for resources in [
        json!({ "limits": { "cpu": "1", "memory": "0" } }),
        json!({ "requests": { "cpu": "0", "memory": "0" } }),
        json!({ "requests": { "cpu": "1", "memory": "1Gi" } }),
    ] {
        let mut container = good("a:1");
        container["resources"] = resources.clone();
        objects.push(pod_of(&json!({ "containers": [container] })));
        let spec = json!({ "containers": [bare, good("a:1")], "resources": resources });
        objects.push(pod_of(&spec));
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    objects.extend(manifests(&examples));
    if let Some(folder) = env::var_os("E2E_MANIFESTS") {
        objects.extend(manifests(Path::new(&folder)));
    }
    objects
}

/// The workloads in the files of a folder.
fn manifests(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|of| of == "yaml" || of == "yml" || of == "json") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let documents = text.split("\n---").map(serde_saphyr::from_str::<Value>);
            found.extend(documents.flatten());
        }
    }
    let list = |object: &Value| object["items"].as_array().cloned();
    let all = found.into_iter().flat_map(|object| list(&object).unwrap_or_else(|| vec![object]));
    all.filter(|object| KINDS.iter().any(|kind| object["kind"] == *kind)).collect()
}

/// Gives each object and container a name of its own: kubectl prints a warning once.
fn named(objects: Vec<Value>) -> Vec<Value> {
    let mut objects = objects;
    for (number, object) in objects.iter_mut().enumerate() {
        let metadata = json!({ "name": format!("o-{number}") });
        let labels = object["metadata"].get("labels").cloned();
        object["metadata"] = metadata;
        if let Some(labels) = labels {
            object["metadata"]["labels"] = labels;
        }
        let pod = match object["kind"].as_str().unwrap() {
            "Pod" => &mut object["spec"],
            "CronJob" => &mut object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            _ => &mut object["spec"]["template"]["spec"],
        };
        for list in ["containers", "initContainers"] {
            let containers = pod.get_mut(list).and_then(Value::as_array_mut);
            for (index, container) in containers.into_iter().flatten().enumerate() {
                container["name"] = json!(format!("{}{index}-of-{number}", &list[..1]));
            }
        }
    }
    objects
}

/// The numbers of the objects that the API server would create in a namespace, and its warnings.
fn dry_run(testbed: &Testbed, namespace: &str, objects: &[Value]) -> (BTreeSet<usize>, String) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let create = [
        "create",
        "--validate=false",
        "--dry-run=server",
        "-o",
        "name",
        "-n",
        namespace,
        "-f",
        "-",
    ];
    let Run { stdout, stderr, .. } = testbed.kubectl_stdin(&create, &list.to_string()).unwrap();
    let numbers = stdout.lines().filter_map(|line| line.rsplit_once("/o-")?.1.parse().ok());
    (numbers.collect(), stderr)
}

/// Exports a policy and waits until it denies.
fn install(testbed: &Testbed, namespace: &str, file: &str) -> String {
    let printed = cli::expect(testbed, 0, &["export-vap", "--policy", file], "");
    testbed.kubectl_stdin(&["apply", "-f", "-"], &printed).unwrap().succeeded().unwrap();
    let probe = pod(namespace, "probe", "nginx");
    testbed
        .wait_for("the first denial", SURELY, || {
            let create = ["create", "--dry-run=server", "-f", "-"];
            Ok(testbed.kubectl_stdin(&create, &probe)?.code != Some(0))
        })
        .unwrap();
    printed
}

#[test]
fn the_api_server_says_what_the_webhook_would() {
    let testbed = Testbed::start(&Parts::new("export-vap")).unwrap();
    let [plain, shop] = ["plain", "shop"].map(|name| testbed.namespace(name).unwrap());
    let folder = testbed.folder().join("vap");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let objects = named(corpus());
    write("strict.yaml", &policy(&shop, "strict", SPEC));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    write("corpus.json", &list.to_string());
    write(
        "policy-test.yaml",
        &format!(
            "policies: [{{file: strict.yaml}}]\nobjects: [corpus.json]\nnamespace: {shop}\nnow: 2026-01-01T00:00:00Z\n"
        ),
    );
    let path = folder.to_str().unwrap();
    let file = folder.join("strict.yaml");
    install(&testbed, &shop, file.to_str().unwrap());

    // What the API server refuses anyway is compared with nothing.
    let (valid, _) = dry_run(&testbed, &plain, &objects);
    let (created, warnings) = dry_run(&testbed, &shop, &objects);
    let Run { stdout, .. } = cli::run(testbed.kubeconfig(), &["test", path, "-o", "json"], "");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let judged = report["files"][0]["tests"].as_array().unwrap();
    assert_eq!(judged.len(), objects.len(), "{}", report["errors"]);
    let (mut compared, mut denied, mut differences) = (0, 0, Vec::new());
    for test in judged {
        let name = test["object"]["name"].as_str().unwrap();
        let number: usize = name.strip_prefix("o-").unwrap().parse().unwrap();
        if !valid.contains(&number) {
            continue;
        }
        let is_warned = warnings
            .lines()
            .any(|line| line.starts_with("Warning: ") && line.contains(&format!("-of-{number}: ")));
        let found = match (created.contains(&number), is_warned) {
            (false, _) => "denied",
            (true, true) => "warned",
            (true, false) => "allowed",
        };
        compared += 1;
        denied += usize::from(found == "denied");
        if test["object"]["outcome"] != found {
            differences.push(format!("{found}: {test}\n{}", objects[number]));
        }
    }
    e2e::say(&format!("{compared} of {} objects compared, {denied} denied", objects.len()));
    assert!(differences.is_empty(), "{}\n{warnings}", differences.join("\n"));
    assert!(compared >= 350 && denied >= 150, "{compared} {denied}");
}

#[test]
fn only_what_a_change_brings_in_counts_and_controllers_are_let_in() {
    let testbed = Testbed::start(&Parts::new("export-vap-updates")).unwrap();
    let shop = testbed.namespace("shop").unwrap();
    let deployment = |image: &str, label: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: {shop}, \
             labels: {{a: {label}}}}}, spec: {{selector: {{matchLabels: {{a: b}}}}, template: \
             {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: web, image: {image}}}]}}}}}}}}"
        )
    };
    testbed.apply(&deployment("nginx", "one")).unwrap();
    testbed.apply(&pod(&shop, "running", "nginx")).unwrap();
    let file = testbed.folder().join("strict.yaml");
    let spec = "{forbidLatestTag: true, severityOverrides: {latestTag: high}}";
    fs::write(&file, policy(&shop, "strict", spec)).unwrap();
    let run =
        cli::run(testbed.kubeconfig(), &["export-vap", "--policy", file.to_str().unwrap()], "");
    let existing = format!("existing in namespace {shop}: 2 objects, of which 2 would be denied");
    assert!(run.stderr.contains(&existing), "{run:?}");
    let printed = install(&testbed, &shop, file.to_str().unwrap());
    assert!(!printed.contains("kube-devops-warn"), "nothing is only warned of: {printed}");

    let apply = |text: &str| testbed.kubectl_stdin(&["apply", "-f", "-"], text).unwrap();
    let is_denied = |run: &Run| {
        let sentence = format!("policy {shop}/strict: container ");
        assert!(run.code == Some(0) || run.stderr.contains(&sentence), "{run:?}");
        run.code != Some(0)
    };
    assert!(!is_denied(&apply(&deployment("nginx", "two"))), "a label");
    assert!(is_denied(&apply(&deployment("httpd", "two"))), "another image");
    let beside = deployment("nginx}, {name: beside, image: nginx", "two");
    assert!(is_denied(&apply(&beside)), "another container of the same image");
    assert!(!is_denied(&apply(&deployment("httpd:2", "two"))), "a repair");
    assert!(is_denied(&apply(&deployment("nginx", "two"))), "the same as before the repair");
    let debug = r#"{"spec": {"ephemeralContainers": [{"name": "debug", "image": "IMAGE"}]}}"#;
    let patch = |image: &str| {
        let patch = debug.replace("IMAGE", image);
        let on = ["patch", "pod", "running", "-n", &shop, "--subresource=ephemeralcontainers"];
        testbed.kubectl(&[&on[..], &["-p", &patch]].concat()).unwrap()
    };
    assert!(is_denied(&patch("busybox")), "an ephemeral container");
    assert!(!is_denied(&patch("busybox:1.37")));
    let create = |user: &str| {
        let account = format!("--as=system:serviceaccount:kube-system:{user}");
        let create = ["create", "--dry-run=server", &account, "-f", "-"];
        testbed.kubectl_stdin(&create, &pod(&shop, "made", "nginx")).unwrap()
    };
    assert!(!is_denied(&create("replicaset-controller")));
    // Its rights are those of the others; it makes no pods.
    let bind = [
        "create",
        "clusterrolebinding",
        "x",
        "--clusterrole=cluster-admin",
        "--serviceaccount=kube-system:deployment-controller",
    ];
    testbed.kubectl(&bind).unwrap().succeeded().unwrap();
    assert!(is_denied(&create("deployment-controller")));
}
