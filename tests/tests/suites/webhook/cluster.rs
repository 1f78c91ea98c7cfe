//! Cluster policies: where they apply, who may write them, and a cluster without their definition.

use std::time::{Duration, Instant};

use e2e::{Parts, client};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{AdmissionTestbed, STRICT, SURELY, policy, program};
use crate::cli;

/// How soon a change of a namespace's labels has to take effect, and how often it is made.
const SOON: Duration = Duration::from_secs(1);
const CHANGES: usize = 20;

fn cluster_policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: ClusterDevOpsPolicy, \
         metadata: {{name: {name}}}, spec: {spec}}}"
    )
}

/// As `STRICT`, in namespaces with the label.
const OF_WEB: &str = "{forbidLatestTag: true, severityOverrides: {latestTag: critical}, \
    namespaceSelector: {matchLabels: {tier: web}}}";

fn label(admission: &AdmissionTestbed, namespace: &str, label: &str) {
    let label = ["label", "namespace", namespace, label];
    admission.testbed.kubectl(&label).unwrap().succeeded().unwrap();
}

#[test]
fn a_cluster_policy_denies_where_it_selects_and_no_tenant_weakens_it() {
    let admission = &AdmissionTestbed::new(&Parts::new("cluster-policy"));
    let [shop, lab] = ["shop", "lab"].map(|name| admission.testbed.namespace(name).unwrap());
    admission.testbed.apply(&cluster_policy("fleet", OF_WEB)).unwrap();
    label(admission, &shop, "tier=web");
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let denial = admission.would_let_in(&shop).1;
    let expected = "denied by policy ClusterDevOpsPolicy/fleet: container web: image nginx is not \
                    pinned (check latest-tag, critical); use a fixed tag or digest";
    assert!(denial.contains(expected), "{denial}");
    assert_eq!(admission.would_let_in(&lab), (true, String::new()));
    // What the owner of the namespace may write does not reach it.
    let owner = "
- {apiGroups: [devops.stochastic.io], resources: ['*'], verbs: ['*']}
- {apiGroups: [''], resources: [pods], verbs: [create]}
";
    let owner = admission.testbed.limited_user(&shop, owner).unwrap();
    let lenient = "{admission: {mode: disabled}}";
    for (manifest, is_allowed) in
        [(policy(&shop, "lenient", lenient), true), (cluster_policy("fleet", lenient), false)]
    {
        let file = admission.testbed.folder().join("written.yaml");
        std::fs::write(&file, manifest).unwrap();
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()];
        let run = admission.testbed.kubectl_as(&owner, &apply).unwrap();
        assert_eq!(run.code == Some(0), is_allowed, "{run:?}");
        assert!(is_allowed || run.stderr.contains("is forbidden"), "{run:?}");
    }
    assert!(!admission.would_let_in(&shop).0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let slowest = runtime.block_on(slowest_change(admission, &lab));
    assert!(slowest < SOON, "{slowest:?}");
    admission.testbed.kubectl(&["delete", "cdop", "fleet"]).unwrap().succeeded().unwrap();
    let allowed = || Ok(admission.would_let_in(&shop).0);
    admission.testbed.wait_for("the end of the cluster policy", SURELY, allowed).unwrap();
}

/// Labels a namespace and removes the label again and again: how long the verdict takes to follow.
async fn slowest_change(admission: &AdmissionTestbed, namespace: &str) -> Duration {
    let client = client(admission.testbed.kubeconfig()).await.unwrap();
    let (namespaces, pods) =
        (Api::<Namespace>::all(client.clone()), Api::<Pod>::namespaced(client, namespace));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "probe" },
        "spec": { "containers": [{ "name": "web", "image": "nginx" }] } }))
    .unwrap();
    let mut slowest = Duration::ZERO;
    for number in 0..CHANGES {
        let is_web = number % 2 == 0;
        let tier = is_web.then_some("web");
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "tier": tier } } }));
        namespaces.patch(namespace, &PatchParams::default(), &patch).await.unwrap();
        let changed = Instant::now();
        while pods.create(&dry, &pod).await.is_err() != is_web {
            assert!(changed.elapsed() < SURELY, "the label has no effect");
        }
        slowest = slowest.max(changed.elapsed());
    }
    slowest
}

#[test]
fn without_the_definition_policies_of_namespaces_apply_and_cluster_policies_do_once_it_is_there() {
    let admission = &AdmissionTestbed::new(&Parts::new("no-cluster-policy"));
    let definition = "crd/clusterdevopspolicies.devops.stochastic.io";
    admission.testbed.kubectl(&["delete", definition]).unwrap().succeeded().unwrap();
    let shop = admission.strict();
    let lab = admission.testbed.namespace("lab").unwrap();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    assert!(admission.would_let_in(&lab).0);
    let said = "the API server does not serve the kind: there are no cluster policies";
    cli::expect(&admission.testbed, 0, &["crd", "install"], "");
    admission.testbed.apply(&cluster_policy("fleet", STRICT)).unwrap();
    admission.wait_until_denied(&lab);
    assert_eq!(webhook.logs().unwrap().matches(said).count(), 1);
}
