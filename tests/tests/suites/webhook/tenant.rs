//! Somebody who owns a namespace neither gets bad pods past the webhook, nor keeps it from judging those
//! of others.

use std::cell::Cell;
use std::time::{Duration, Instant};

use e2e::{Parts, Service, Testbed, client, say};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::{AdmissionTestbed, MEMORY, in_doubt, pod, policy, program};
use crate::cli;

/// What an owner of a namespace may do in it.
const OWNER: &str = "
- {apiGroups: [''], resources: [pods], verbs: [create, get, delete]}
- {apiGroups: [apps], resources: [deployments], verbs: [create, get, patch, delete]}
- {apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [create, get, list, patch]}
";
/// Custom checks of a policy: as many as it may have.
const CUSTOM_CHECKS: usize = 16;
/// It compares each container with each, and ends at the limit of steps.
const EXPENSIVE: &str =
    "object.spec.containers.all(a, object.spec.containers.all(b, a.name + b.name != 'c'))";
/// Policies of the hostile namespace, more than are judged.
const POLICIES: usize = 70;
const CONTAINERS: usize = 1_000;
/// Clients that patch at the same time.
const PATCHING: usize = 4;
/// How long the attack lasts, and how often the victim creates a bad pod.
const ATTACK: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(50);

/// All that can be asked for, and only warned of, so that each of its requests is judged to the end.
fn thorough() -> String {
    let custom = (0..CUSTOM_CHECKS)
        .map(|number| json!({ "name": format!("e-{number}"), "expression": EXPENSIVE }));
    json!({ "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
        "requireResources": true, "admission": { "mode": "warn" },
        "custom": custom.collect::<Vec<_>>() })
    .to_string()
}

/// A pod with one container, whose environment has so many `<`, each of which takes six bytes in a
/// review.
fn padded_pod(name: &str, image: &str, padding: usize) -> Pod {
    let env = json!([{ "name": "A", "value": "<".repeat(padding) }]);
    let pod = json!({ "metadata": { "name": name },
        "spec": { "containers": [{ "name": "web", "image": image, "env": env }] } });
    serde_json::from_value(pod).unwrap()
}

fn deployment(containers: &[Value]) -> Deployment {
    let labels = json!({ "app": "web" });
    let deployment = json!({ "metadata": { "name": "web" }, "spec": {
        "replicas": 0, "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } } } });
    serde_json::from_value(deployment).unwrap()
}

/// Whether the API server says that a policy has denied the request, and with which message.
fn denial<T: std::fmt::Debug>(created: Result<T, kube::Error>) -> Option<String> {
    let error = created.err()?.to_string();
    assert!(error.contains("denied by policy"), "{error}");
    Some(error)
}

fn denials(webhook: &Service<'_>) -> f64 {
    webhook.metrics().unwrap().value("webhook_denials_total", &[]).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn padding_lets_nothing_in() {
    let admission = AdmissionTestbed::new(&Parts::new("padding"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let before = denials(&webhook);
    let seen = runtime().block_on(async {
        let client = client(admission.testbed.kubeconfig()).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &shop);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let create = async |image: &str, padding| {
            denial(pods.create(&dry, &padded_pod("padded", image, padding)).await)
        };
        // A review of 7.5 MB and one of 18 MB, as large as the API server takes.
        for padding in [1_250_000, 3_000_000] {
            let message = create("nginx", padding).await.expect("it is denied");
            assert!(message.contains("image nginx is not pinned"), "{message}");
            assert_eq!(create("nginx:1.27", padding).await, None, "it is judged, not just denied");
        }
        // More than one at a time fits into memory: the others wait.
        let together = join_all((0..6).map(|_| create("nginx", 1_250_000))).await;
        assert!(together.iter().all(Option::is_some), "{together:?}");
        // An update holds two objects, and this one is over what is read.
        let deployments: Api<Deployment> = Api::namespaced(client, &shop);
        let value = |size: usize| {
            json!([{ "name": "web", "image": "nginx:1.27",
            "env": [{ "name": "A", "value": "<".repeat(size) }] }])
        };
        let small = deployment(value(1_400_000).as_array().unwrap());
        deployments.create(&PostParams::default(), &small).await.unwrap();
        let patch =
            json!({ "spec": { "template": { "spec": { "containers": value(2_900_000) } } } });
        let file = admission.testbed.folder().join("patch.json");
        std::fs::write(&file, patch.to_string()).unwrap();
        let file = format!("--patch-file={}", file.display());
        let patch = ["patch", "deployment", "web", "-n", &shop, "--type=merge", &file];
        assert_eq!(
            admission.testbed.kubectl(&patch).unwrap().stderr,
            format!(
                "Error from server (Forbidden): admission webhook \"validate.devops.stochastic.io\" \
                 denied the request: denied by policy {shop}/strict: the object is too large to be \
                 judged: its admission review has 25 MiB, and the policy webhook reads 19 MiB; make \
                 the object smaller, such as its annotations and environment variables\n"
            )
        );
        2.0 + 6.0 + 1.0
    });
    assert!((denials(&webhook) - before - seen).abs() < 0.5, "{} to {}", before, denials(&webhook));
    let metrics = webhook.metrics().unwrap();
    assert_eq!(metrics.value("dropped_total", &[("what", "large bodies")]), Some(1.0));
    for reason in ["too_large", "overload", "deadline", "slow_body"] {
        assert_eq!(in_doubt(&webhook, reason), Some(0.0), "{reason}");
    }
    let (_, most) = webhook.memory_mib().unwrap();
    assert!(most <= MEMORY, "{most:.0} MiB at most");
}

/// The namespace of somebody hostile, with the kubeconfig of its owner.
struct Tenant {
    namespace: String,
    client: Client,
}

impl Tenant {
    /// With more policies than are judged, and a Deployment of many containers.
    async fn new(testbed: &Testbed) -> Self {
        let namespace = testbed.namespace("greedy").unwrap();
        let owner = testbed.limited_user(&namespace, OWNER).unwrap();
        let spec = thorough();
        let policies = (0..POLICIES).map(|number| {
            format!("---\n{}\n", policy(&namespace, &format!("p-{number:03}"), &spec))
        });
        let file = testbed.folder().join("policies.yaml");
        std::fs::write(&file, policies.collect::<String>()).unwrap();
        let apply = ["create", "-f", file.to_str().unwrap()];
        testbed.kubectl_as(&owner, &apply).unwrap().succeeded().unwrap();
        let client = client(&owner).await.unwrap();
        let container = |number| json!({ "name": format!("c-{number}"), "image": "nginx" });
        let containers: Vec<_> = (0..CONTAINERS).map(container).collect();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        deployments.create(&PostParams::default(), &deployment(&containers)).await.unwrap();
        Self { namespace, client }
    }

    /// Changes the Deployment again and again until then. Gives how often.
    async fn patch(&self, until: Instant, number: usize) -> usize {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut patched = 0;
        while Instant::now() < until {
            let count = format!("{number}-{patched}");
            let patch = Patch::Merge(json!({ "metadata": { "annotations": { "count": count } } }));
            // Where two of them collide too often, the API server refuses one.
            let _ = deployments.patch("web", &PatchParams::default(), &patch).await;
            patched += 1;
        }
        patched
    }

    /// Creates padded pods until then. Gives how many.
    async fn pad(&self, until: Instant) -> usize {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let pod = padded_pod("padded", "nginx", 1_250_000);
        let mut created = 0;
        while Instant::now() < until {
            pods.create(&dry, &pod).await.unwrap();
            created += 1;
        }
        created
    }
}

/// Bad pods and good ones, at a steady rate until then: how many bad ones were denied, and let in.
async fn create_steadily(pods: Api<Pod>, until: Instant) -> (usize, usize) {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let (denied, let_in) = (Cell::new(0), Cell::new(0));
    let create = async |image: &str| {
        let pod = padded_pod("web", image, 0);
        match (image, denial(pods.create(&dry, &pod).await)) {
            ("nginx", None) => let_in.set(let_in.get() + 1),
            ("nginx", Some(_)) => denied.set(denied.get() + 1),
            (_, denial) => assert_eq!(denial, None, "a good pod"),
        }
    };
    let steady = async |image| {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            ticks.tick().await;
            create(image).await;
        }
    };
    // Two at a time, so that one that takes long does not keep the other.
    tokio::join!(steady("nginx"), steady("nginx"), steady("nginx:1.27"));
    (denied.get(), let_in.get())
}

#[test]
fn one_namespace_does_not_keep_the_webhook_from_judging_another() {
    let admission = AdmissionTestbed::new(&Parts::new("tenant"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let runtime = runtime();
    let tenant = runtime.block_on(Tenant::new(&admission.testbed));
    let before = denials(&webhook);
    let start = Instant::now();
    let (patched, padded, (denied, let_in)) = runtime.block_on(async {
        let until = start + ATTACK;
        let pods = Api::namespaced(client(admission.testbed.kubeconfig()).await.unwrap(), &shop);
        let patching = (0..PATCHING).map(|number| tenant.patch(until, number));
        tokio::join!(join_all(patching), tenant.pad(until), create_steadily(pods, until))
    });
    let counted = denials(&webhook) - before;
    let (_, most) = webhook.memory_mib().unwrap();
    say(&format!(
        "{patched:?} patches, {padded} padded pods; bad pods: {denied} denied ({counted} counted), \
         {let_in} let in; {most:.0} MiB at most"
    ));
    assert!(patched.iter().sum::<usize>() >= PATCHING && padded > 0, "it was an attack");
    assert!(denied >= 200 && let_in == 0, "{denied} denied, {let_in} let in");
    assert!((counted - f64::from(u32::try_from(denied).unwrap())).abs() < 0.5, "{counted} counted");
    assert!(most <= MEMORY, "{most:.0} MiB at most");
    // The excess is told of.
    let metrics = webhook.metrics().unwrap();
    assert!(metrics.value("dropped_total", &[("what", "policies")]) > Some(0.0));
    let (_, state) = webhook.get("/debug/state").unwrap();
    let line = format!("{}: 6 policies are not judged", tenant.namespace);
    assert!(state.contains(&line), "{state}");
    let (_, warning) = admission.would_let_in(&tenant.namespace);
    let line =
        format!("policies not applied in {}: 6 (only 64 are, the oldest first)", tenant.namespace);
    assert!(warning.contains(&line), "{warning}");
    let admit = ["admit", "-f", "-", "-n", &tenant.namespace];
    let answer =
        cli::expect(&admission.testbed, 0, &admit, &pod(&tenant.namespace, "web", "nginx"));
    assert!(answer.contains(&line), "{answer}");
}
