//! Custom checks: an expression means in policyctl and in the webhook what it means to the API
//! server, in a `ValidatingAdmissionPolicy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use e2e::{Parts, Run, Testbed};
use policy_core::Timestamp;
use policy_core::admission::{Creation, NamedPolicy, NamespacePolicies, Review, admit};
use policy_core::custom::CustomNamespace;
use policy_core::manifest::{Document, documents};
use policy_core::policy::CompiledPolicy;
use serde_json::{Value, json};

use super::{AdmissionTestbed, SURELY, program};
use crate::cli;

/// How many checks a policy has beside the one that always finds something.
const CHECKS: usize = 15;

/// Expressions that are taken. Each is compared with its negation too, which tells what is true from
/// what has no result.
const EXPRESSIONS: &[&str] = &[
    // Fields and their absence.
    "has(object.spec.hostNetwork)",
    "object.spec.hostNetwork == true",
    "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "has(object.metadata.labels) && 'team' in object.metadata.labels",
    "object.metadata.labels['team'] == 'shop'",
    "object.metadata.labels.team.startsWith('sh')",
    "has(object.metadata.annotations.owner)",
    "object.spec.restartPolicy == 'Always'",
    "object.spec.terminationGracePeriodSeconds >= 30",
    "has(object.spec.securityContext.runAsNonRoot) && object.spec.securityContext.runAsNonRoot",
    "has(object.spec.securityContext.runAsUser.x)",
    "object.spec.none.none == 1",
    "has(object.spec.containers.x)",
    "has(object.spec.restartPolicy.x)",
    "has(object.spec.hostNetwork.x)",
    "object.spec.restartPolicy.x == 1",
    // Macros.
    "object.spec.containers.all(c, c.image.startsWith('reg.example.com/'))",
    "object.spec.containers.exists(c, c.name == 'app')",
    "object.spec.containers.exists_one(c, has(c.ports))",
    "object.spec.containers.exists_one(c, c.ports.size() == 1)",
    "object.spec.containers.filter(c, has(c.ports)).size() == 1",
    "object.spec.containers.map(c, c.name) == ['app', 'side']",
    "object.spec.containers.map(c, has(c.ports), c.name) == ['app']",
    "object.spec.containers.all(c, has(c.ports) ? c.ports.all(p, p.containerPort > 1024) : true)",
    "object.spec.containers.all(c, c.ports.all(p, p.containerPort > 1024))",
    "object.spec.containers.exists(c, c.ports.exists(p, p.containerPort == 8080))",
    "object.spec.containers.all(c, has(c.resources.limits) && 'memory' in c.resources.limits)",
    "object.spec.containers.exists(c, c.env.exists(e, e.name == 'A' && e.value == 'é'))",
    "object.spec.volumes.all(v, !has(v.hostPath))",
    "!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))",
    "object.metadata.labels.all(k, k.size() > 3)",
    "object.metadata.labels.exists(k, object.metadata.labels[k] == 'shop')",
    "object.metadata.labels.map(k, k).exists(k, k == 'team')",
    "object.spec.restartPolicy.all(c, true) || true",
    "[].all(x, x == 1) && ![].exists(x, x == 1)",
    "[1, 2, 3].filter(x, x > 1).map(x, x * 2) == [4, 6]",
    // Numbers.
    "object.spec.terminationGracePeriodSeconds + 1 == 31",
    "object.spec.terminationGracePeriodSeconds % 7 == 2",
    "object.spec.terminationGracePeriodSeconds / 7 == 4",
    "-object.spec.terminationGracePeriodSeconds / 7 == -4",
    "object.spec.terminationGracePeriodSeconds * 2 - 60 == 0",
    "object.spec.terminationGracePeriodSeconds == 30.0",
    "object.spec.terminationGracePeriodSeconds < 30.5",
    "object.spec.terminationGracePeriodSeconds / 0 == 1",
    "object.spec.terminationGracePeriodSeconds + 9223372036854775807 > 0",
    "object.spec.terminationGracePeriodSeconds == '30'",
    "object.spec.terminationGracePeriodSeconds < 'a'",
    "object.spec.terminationGracePeriodSeconds + 'a' == 'x'",
    "object.spec.terminationGracePeriodSeconds in [10, 30]",
    "0x1E == 30 && 1e1 == 10.0 && -1 < 0",
    // Texts.
    "object.spec.containers[0].image.contains(':')",
    "object.spec.containers[0].image.endsWith(':latest')",
    "object.spec.containers[0].image.matches('^[a-z0-9.-]+/[^:@]+(:[\\\\w.-]+|@sha256:[0-9a-f]{64})$')",
    "object.spec.containers[0].name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "object.spec.containers[0].image.split('/')[0] == 'reg.example.com'",
    "object.spec.containers[0].image.split('').size() > 10",
    "object.spec.containers.map(c, c.name).join(',') == 'app,side'",
    "object.metadata.labels['team'].upperAscii() == 'SHOP'",
    "'ÄB'.lowerAscii() == 'Äb'",
    "size('é') == 1 && 'é'.size() == 1 && size([1]) == 1",
    "object.metadata.annotations['text'].matches('^\\\\d+$')",
    "object.metadata.annotations['text'].matches('a\\\\b')",
    "object.metadata.annotations['text'].matches('^\\\\s$')",
    "object.metadata.annotations['text'].matches('^[a&&b]$')",
    "'a' < 'b' && 'a' + 'b' == 'ab' && 'é' > 'z' && '' < 'a'",
    "r'\\d' == '\\\\d' && '\\u00e9' == 'é' && \"a\\\"b\" == 'a\"b' && '''a'b''' == 'a\\'b'",
    "string(object.spec.terminationGracePeriodSeconds) == '30' && string(true) == 'true'",
    // Logic: a side that decides does so whatever the other one is.
    "object.spec.none == 1 || true",
    "true || object.spec.none == 1",
    "object.spec.none == 1 && false",
    "object.spec.none == 1 || false",
    "object.spec.hostNetwork || object.spec.restartPolicy == 'Always'",
    "object.spec.restartPolicy || true",
    "object.spec.restartPolicy && true",
    "object.spec.restartPolicy ? true : false",
    "has(object.spec.hostNetwork) ? object.spec.hostNetwork == false : true",
    // Comments.
    "has(object.spec.hostNetwork) // the pod's object\n",
    "// it's \"\nobject.spec.restartPolicy == 'Always' // || true\n && 'a//b' != 'a'",
    // Equality and membership.
    "object.spec.containers[0] == object.spec.containers[0]",
    "object.spec.containers == [] || object.spec.containers[0] != object.spec.containers[1]",
    "object.spec.containers[5].name == 'x'",
    "object.spec.containers['a'] == 'x'",
    "object.metadata.labels[0] == 'x'",
    "1 in object.metadata.labels",
    "'a' in object.spec.restartPolicy",
    "object.metadata.labels == object.metadata.annotations",
    "object.spec.securityContext != null && object.spec.restartPolicy != null",
    "object.spec.containers + [] == object.spec.containers",
    // The namespace.
    "namespaceObject.metadata.labels['tier'] == 'web'",
    "namespaceObject.metadata.name.startsWith('custom')",
    "has(namespaceObject.metadata.labels.none)",
    "'tier' in namespaceObject.metadata.labels && namespaceObject.metadata.labels.size() > 0",
    "namespaceObject.metadata.labels.exists(k, k.matches('^(t{1,10}i?er){1,100}$'))",
    "namespaceObject != null && namespaceObject.metadata.name == object.metadata.namespace",
    // Members of a list.
    "'shop' in [object.metadata.labels['team'], object.spec.restartPolicy]",
    "'web' in ['a', namespaceObject.metadata.labels['tier'], string(object.spec.restartPolicy)]",
    "[[], ['a'], []].size() == 3 && [[], [object.spec.restartPolicy]].size() == 2",
    "[['a'], ['b'] + []] == [['a'], ['b']] && [has(object.spec.none), 1 > 0].exists(x, !x)",
    // Of what has no default: the same in a manifest as it is written.
    "object.spec.hostNetwork == false",
    "object.spec.containers.exists(c, c.tty == false)",
    "object.spec.containers.all(c, c.resources.limits.memory == '1Gi')",
    "object.spec.containers.exists(c, c.resources.limits.cpu == '1500m')",
    "object.spec.volumes.exists(v, v.emptyDir.sizeLimit == '1M')",
];

/// The last ones.
const AS_WRITTEN: usize = 5;

/// Objects with and without what the expressions ask for.
fn objects() -> Vec<Value> {
    let pod = |metadata: Value, spec: Value| json!({ "metadata": metadata, "spec": spec });
    let container = |name: &str, image: &str| json!({ "name": name, "image": image });
    let labelled = |text: &str| {
        json!({ "labels": { "team": "shop", "app": "x" },
            "annotations": { "owner": "ann", "text": text } })
    };
    let full = json!([
        { "name": "app", "image": "reg.example.com/shop/app:1.2", "ports": [{ "containerPort": 8080 }],
          "env": [{ "name": "A", "value": "é" }],
          "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } },
        { "name": "side", "image": "busybox:latest", "resources": { "limits": { "memory": "1Gi" } } },
    ]);
    let host = json!({ "hostNetwork": true, "containers": [container("app", "nginx")],
        "volumes": [{ "name": "v", "hostPath": { "path": "/" } }], "terminationGracePeriodSeconds": 5 });
    let secure = json!({ "containers": full, "hostNetwork": false, "restartPolicy": "Never",
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000 },
        "volumes": [{ "name": "v", "emptyDir": {} }] });
    let ported = json!({ "containers": [
        { "name": "a", "image": "a:1", "ports": [{ "containerPort": 80 }] },
        { "name": "b", "image": "b", "ports": [{ "containerPort": 8081 }, { "containerPort": 8080 }] }] });
    // The API server writes it in another way.
    let uncanonical = json!({ "hostNetwork": false, "containers": [{ "name": "app", "image": "a:1",
        "tty": false, "resources": { "limits": { "cpu": 1.5, "memory": "1024Mi" } } }],
        "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "1000k" } }] });
    let templates = [
        pod(json!({}), json!({ "containers": [container("app", "nginx")] })),
        pod(labelled("٣"), json!({ "containers": full })),
        pod(labelled("aé"), host),
        pod(labelled("\u{a0}"), secure),
        pod(json!({ "labels": { "team": "other" }, "annotations": { "text": "&" } }), ported),
        pod(json!({}), uncanonical),
    ];
    let pods = templates.iter().map(|template| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"],
            "spec": template["spec"] })
    });
    let deployment = |template: &Value| {
        let mut template = template.clone();
        template["metadata"]["labels"]["a"] = json!("b");
        template["spec"]["restartPolicy"] = json!("Always");
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "labels": { "team": "no" } },
            "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } })
    };
    let mut job = templates[3].clone();
    job["metadata"]["labels"]["a"] = json!("b");
    let cron_job = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {},
        "spec": { "schedule": "@daily", "jobTemplate": { "spec": { "template": job } } } });
    let mut objects: Vec<Value> =
        pods.chain([deployment(&templates[1]), deployment(&templates[4]), cron_job]).collect();
    for (number, object) in objects.iter_mut().enumerate() {
        object["metadata"]["name"] = json!(format!("o-{number}"));
    }
    objects
}

/// The checks of a policy that always finds something.
fn policy(namespace: &str, number: usize, checks: &[(String, String)]) -> Value {
    let checks =
        checks.iter().map(|(name, expression)| json!({ "name": name, "expression": expression }));
    let always = json!({ "name": "always", "expression": "false" });
    json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": format!("p{number}"), "namespace": namespace },
        "spec": { "custom": checks.chain([always]).collect::<Vec<_>>() } })
}

/// The checks of which a text says that they found something.
fn found(text: &str) -> BTreeSet<String> {
    let names = text.split("custom/").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(|c: char| !c.is_ascii_alphanumeric())?;
        rest.starts_with(" medium)").then(|| name.to_owned())
    });
    names.collect()
}

fn in_namespace(namespace: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// Creates an object in each of the namespaces, all at once: the API server sends warnings of at most
/// 4 KiB for each.
fn create(testbed: &Testbed, namespaces: &[String], object: &Value) -> Run {
    let items = namespaces.iter().map(|namespace| in_namespace(namespace, object));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() });
    let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    testbed.kubectl_stdin(&create, &list.to_string()).unwrap()
}

#[test]
fn an_expression_means_what_it_means_to_the_api_server() {
    let testbed = Testbed::start(&Parts::new("custom-cel")).unwrap();
    cli::expect(&testbed, 0, &["crd", "install"], "");
    let plain = [testbed.namespace("plain").unwrap()];
    let checks: Vec<(String, String)> = EXPRESSIONS
        .iter()
        .enumerate()
        .flat_map(|(n, text)| {
            [(format!("e{n}"), (*text).to_owned()), (format!("n{n}"), format!("!({text})"))]
        })
        .collect();
    let file = testbed.folder().join("policy.json");
    let (mut namespaces, mut all_rules) = (Vec::new(), Vec::new());
    for (number, checks) in checks.chunks(CHECKS).enumerate() {
        let namespace = testbed.namespace(&format!("custom-{number}")).unwrap();
        testbed.kubectl(&["label", "ns", &namespace, "tier=web"]).unwrap().succeeded().unwrap();
        let policy = policy(&namespace, number, checks);
        testbed.apply(&policy.to_string()).unwrap();
        fs::write(&file, policy.to_string()).unwrap();
        let export = ["export-vap", "--policy", file.to_str().unwrap()];
        let printed = cli::expect(&testbed, 0, &export, "");
        // Kubernetes has to take every expression that is taken here.
        testbed.kubectl_stdin(&["apply", "-f", "-"], &printed).unwrap().succeeded().unwrap();
        all_rules.push(rules(&namespace, &policy));
        namespaces.push(namespace);
    }
    let objects = objects();
    let all_warn = |run: &Run| run.stderr.matches("custom/always").count() == namespaces.len();
    let first = || Ok(all_warn(&create(&testbed, &namespaces, &objects[0])));
    testbed.wait_for("all policies to warn", SURELY, first).unwrap();

    let mut differences = Vec::new();
    let (mut numbers, mut seen) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for object in &objects {
        // With the defaults of the API server, which expressions see as well.
        let stored = create(&testbed, &plain, object).succeeded().unwrap();
        let mut stored: Value = serde_json::from_str(&stored).unwrap();
        if stored["kind"] == "List" {
            stored = stored["items"][0].take();
        }
        let theirs = found(&create(&testbed, &namespaces, object).stderr);
        let by_each = |find: fn(&NamespacePolicies, &str, &Value) -> BTreeSet<String>, object| {
            let each = namespaces.iter().zip(&all_rules);
            let found = each.flat_map(|(namespace, rules)| find(rules, namespace, object));
            found.collect::<BTreeSet<_>>()
        };
        let (ours, of_review) = (by_each(of_file, &stored), by_each(of_review, &stored));
        assert_eq!(ours, of_review, "file and review: {object}");
        let written = by_each(of_file, object);
        for (n, expression) in EXPRESSIONS.iter().enumerate().rev().take(AS_WRITTEN) {
            for name in [format!("e{n}"), format!("n{n}")] {
                let [written, stored] = [&written, &ours].map(|found| found.contains(&name));
                assert_eq!(written, stored, "{expression}, as written: {object}");
            }
        }
        for (name, expression) in &checks {
            let [ours, theirs] = [&ours, &theirs].map(|found| found.contains(name));
            if ours != theirs {
                differences
                    .push(format!("{expression}: {ours}, the API server {theirs}: {object}"));
            }
        }
        for n in 0..EXPRESSIONS.len() {
            let [is_false, is_true] = ["e", "n"].map(|kind| theirs.contains(&format!("{kind}{n}")));
            let result = match (is_true, is_false) {
                (true, false) => "true",
                (false, true) => "false",
                _ => "none",
            };
            *numbers.entry(result).or_default() += 1;
            seen.insert((n, result));
        }
    }
    e2e::say(&format!(
        "{} expressions on {} objects: {numbers:?}",
        EXPRESSIONS.len(),
        objects.len()
    ));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(numbers.values().all(|number| *number >= 40), "{numbers:?}");
    assert!(seen.len() > EXPRESSIONS.len(), "the objects differ");
}

/// The namespace, and a policy for it.
fn rules(namespace: &str, policy: &Value) -> NamespacePolicies {
    let spec = serde_json::from_value(policy["spec"].clone()).unwrap();
    let rules = Ok(Arc::new(CompiledPolicy::compile(&spec).unwrap()));
    let labels = [("tier".to_owned(), "web".to_owned())].into();
    NamespacePolicies {
        namespace: Some(Arc::new(CustomNamespace::new(namespace, &labels))),
        ..NamespacePolicies::from(NamedPolicy { name: "p".into(), rules })
    }
}

/// What is found in the object of a file.
fn of_file(policies: &NamespacePolicies, namespace: &str, object: &Value) -> BTreeSet<String> {
    let text = in_namespace(namespace, object).to_string();
    let document = Document { reads_custom: true, ..documents(text.as_bytes())[0] };
    let object = document.read("default").objects.remove(0);
    let custom = object.custom.map(|custom| *custom);
    let verdict = Creation::of(&object.facts).admit_with(custom, policies, Timestamp::UNIX_EPOCH);
    found(&verdict.warnings().join("\n"))
}

/// What is found in the object of a review.
fn of_review(policies: &NamespacePolicies, namespace: &str, object: &Value) -> BTreeSet<String> {
    let body = super::agreement::review(&in_namespace(namespace, object)).to_string();
    let request = Review::decode(body.as_bytes()).unwrap().request.unwrap();
    let verdict = admit(request, policies, Timestamp::UNIX_EPOCH, || true).unwrap();
    found(&verdict.warnings().join("\n"))
}

#[test]
fn the_webhook_denies_by_an_expression_and_by_the_labels_of_the_namespace() {
    let admission = &AdmissionTestbed::new(&Parts::new("custom-webhook"));
    let shop = admission.testbed.namespace("shop").unwrap();
    let spec = "{custom: [\
        {name: host, severity: high, expression: '!has(object.spec.hostNetwork)', \
        messageExpression: \"object.metadata.name + ' is in the network of its node'\"}, \
        {name: team, severity: high, expression: 'has(namespaceObject.metadata.labels.team)'}, \
        {name: broken, severity: high, expression: 'object.status.phase == 1'}]}";
    let policy = cli::policy(&shop, "own", spec);
    admission.testbed.apply(&policy).unwrap();
    let webhook = admission.start("webhook", program(), &[]);
    let judged = |pod_spec: Value| {
        let object = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "web", "namespace": shop }, "spec": pod_spec });
        let review = super::agreement::review(&object).to_string();
        let (status, body) = webhook.post("/validate", &review).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["response"].take()
    };
    let container = json!([{ "name": "c", "image": "a:1" }]);
    let plain = judged(json!({ "containers": container }));
    let message = plain["status"]["message"].as_str().unwrap();
    let team =
        format!("denied by policy {shop}/own: custom check team failed (check custom/team, high)");
    assert_eq!(message, team);
    assert!(plain["warnings"][0].as_str().unwrap().contains("check custom/broken was not applied"));
    let label = ["label", "namespace", &shop, "team=a"];
    admission.testbed.kubectl(&label).unwrap().succeeded().unwrap();
    let is_allowed = || Ok(judged(json!({ "containers": container }))["allowed"] == true);
    admission.testbed.wait_for("the label to count", SURELY, is_allowed).unwrap();
    let host = judged(json!({ "containers": container, "hostNetwork": true }));
    let message = host["status"]["message"].as_str().unwrap();
    let expected = format!(
        "denied by policy {shop}/own: host: web is in the network of its node (check custom/host, high)"
    );
    assert_eq!(message, expected);
    let page = webhook.get("/metrics").unwrap().1;
    for line in [
        "webhook_findings_total{check=\"custom\",decision=\"denied\"}",
        "webhook_failopen_total{reason=\"custom_check\"}",
    ] {
        assert!(page.contains(line), "{page}");
    }
}
