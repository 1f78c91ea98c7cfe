//! With enforce and deny both on, what the operator has filled in can be taken back.

use std::path::PathBuf;
use std::sync::LazyLock;

use e2e::{Run, Testbed};
use serde_json::{Value, json};

use super::verdicts::{created, shared};
use super::{SURELY, policy};

/// Denies containers without probes, and fills in both.
const ENFORCE: &str = "{forbidLatestTag: true, requireLivenessProbe: true, \
    requireReadinessProbe: true, enforcementMode: enforce, defaultProbe: {tcpPort: 8080}, \
    severityOverrides: {latestTag: critical, missingLiveness: high, missingReadiness: high}}";
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The part of an object that names it.
pub(super) fn named(kind: &str, namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": name, "namespace": namespace } })
}

pub(super) fn workload(kind: &str, namespace: &str, name: &str, container: &Value) -> Value {
    let labels = json!({ "app": name });
    let mut object = named(kind, namespace, name);
    object["spec"] = json!({
        "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("web");
    }
    object
}

pub(super) fn bare() -> Value {
    json!({ "name": "web", "image": "nginx:1.27" })
}

pub(super) fn with_probes(mut container: Value) -> Value {
    for probe in ["livenessProbe", "readinessProbe"] {
        container[probe] = json!({ "tcpSocket": { "port": 8080 } });
    }
    container
}

/// The operator's account, with the rights of enforce mode.
pub(super) struct Operator<'a> {
    testbed: &'a Testbed,
    kubeconfig: PathBuf,
}

impl<'a> Operator<'a> {
    pub(super) fn new(testbed: &'a Testbed) -> Self {
        testbed.install_operator_remediation().unwrap();
        let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
        Self { testbed, kubeconfig }
    }

    /// Applies its part of an object by its own field manager.
    pub(super) fn apply(&self, object: &Value) -> Run {
        let text = |pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let file = format!("operator-{}-{}.json", text("/kind"), text("/metadata/name"));
        let file = self.testbed.folder().join(file);
        std::fs::write(&file, object.to_string()).unwrap();
        let apply = ["apply", "--server-side", "--field-manager=policy-operator", "-f"];
        let apply = [&apply[..], &[file.to_str().unwrap()]].concat();
        self.testbed.kubectl_as(&self.kubeconfig, &apply).unwrap()
    }
}

/// That of the shared control plane: two tests must not write its kubeconfig at a time.
fn operator() -> &'static Operator<'static> {
    static OPERATOR: LazyLock<Operator<'static>> =
        LazyLock::new(|| Operator::new(&shared().testbed));
    &OPERATOR
}

/// Fills in probes of the first container.
fn fill_in(kind: &str, namespace: &str, name: &str) {
    let mut ours = named(kind, namespace, name);
    ours["metadata"]["annotations"] = json!({ "devops.stochastic.io/patched-by": "a/b" });
    ours["spec"] = json!({ "template": { "spec": { "containers":
        [with_probes(json!({ "name": "web" }))] } } });
    created(&operator().apply(&ours));
    assert!(has_probes(&shared().testbed, kind, namespace, name));
}

pub(super) fn has_probes(testbed: &Testbed, kind: &str, namespace: &str, name: &str) -> bool {
    let path = "jsonpath={.spec.template.spec.containers[0]['livenessProbe','readinessProbe']}";
    let get = ["get", kind, name, "-n", namespace, "-o", path];
    let probes = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    probes.matches("tcpSocket").count() == 2
}

/// A namespace in which each kind has a workload without probes that is older than the policy.
fn shop() -> String {
    let admission = shared();
    let testbed = &admission.testbed;
    let shop = testbed.namespace("shop").unwrap();
    for kind in KINDS {
        for name in ["released", "undone"] {
            created(&admission.create(&workload(kind, &shop, name, &bare()).to_string(), &[]));
        }
    }
    testbed.apply(&policy(&shop, "strict", ENFORCE)).unwrap();
    admission.wait_until_denied(&shop);
    shop
}

#[test]
fn the_operator_and_whoever_acts_for_it_release_what_it_filled_in() {
    let shop = shop();
    let testbed = &shared().testbed;
    for kind in KINDS {
        fill_in(kind, &shop, "released");
        created(&operator().apply(&named(kind, &shop, "released")));
        assert!(!has_probes(testbed, kind, &shop, "released"), "{kind}");
        // As `policyctl revert` does by the account of a user.
        fill_in(kind, &shop, "released");
        let release = named(kind, &shop, "released").to_string();
        let apply = ["apply", "--server-side", "--field-manager=policy-operator", "-f", "-"];
        created(&testbed.kubectl_stdin(&apply, &release).unwrap());
        assert!(!has_probes(testbed, kind, &shop, "released"), "{kind}");
    }
}

#[test]
fn a_user_undoes_the_rollout_of_what_was_filled_in() {
    let shop = shop();
    let testbed = &shared().testbed;
    for kind in KINDS {
        let object = format!("{kind}/undone");
        let revisions = |wanted: usize| {
            let history = ["rollout", "history", &object, "-n", &shop];
            let count = || {
                let text = testbed.kubectl(&history)?.stdout;
                let is_number = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
                Ok(text.lines().filter(is_number).count() == wanted)
            };
            testbed.wait_for("the revisions", SURELY, count).unwrap();
        };
        revisions(1);
        fill_in(kind, &shop, "undone");
        revisions(2);
        created(&testbed.kubectl(&["rollout", "undo", &object, "-n", &shop]).unwrap());
        assert!(!has_probes(testbed, kind, &shop, "undone"), "{kind}");
    }
}

#[test]
fn the_probes_of_a_user_stay_as_they_are_judged() {
    let shop = shop();
    let testbed = &shared().testbed;
    let remove = r#"[{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}]"#;
    for kind in KINDS {
        let own = workload(kind, &shop, "own", &with_probes(bare()));
        created(&shared().create(&own.to_string(), &[]));
        let patch = ["patch", kind, "own", "-n", &shop, "--type=json", "-p", remove];
        let run = testbed.kubectl(&patch).unwrap();
        let expected = format!(
            "denied by policy {shop}/strict: container web: missing liveness probe (check \
             missing-liveness, high)"
        );
        assert!(run.code != Some(0) && run.stderr.contains(&expected), "{kind}: {run:?}");
        assert!(has_probes(testbed, kind, &shop, "own"), "{kind}");
    }
}
