//! Installation, upgrade, rollback and uninstallation. Nodes are simulated, so a container runs only
//! where a test runs its program.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use e2e::{Parts, Rights, Run, Testbed};
use serde_json::Value;

use super::{CHART, NAMESPACE, helm, object};
use crate::cli;

const SURELY: Duration = Duration::from_secs(60);
/// What `helm uninstall` keeps.
const DEFINITIONS: [&str; 3] = [
    "customresourcedefinition.apiextensions.k8s.io/clusterdevopspolicies.devops.stochastic.io",
    "customresourcedefinition.apiextensions.k8s.io/devopspolicies.devops.stochastic.io",
    "customresourcedefinition.apiextensions.k8s.io/policyauditresults.devops.stochastic.io",
];
const POLICY: &str = "{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {name: strict, \
    namespace: default, finalizers: [devops.stochastic.io/cleanup, example.com/other]}, \
    spec: {forbidLatestTag: true}}";

const CLUSTER_POLICY: &str = "{apiVersion: devops.stochastic.io/v1, kind: ClusterDevOpsPolicy, \
    metadata: {name: fleet, finalizers: [devops.stochastic.io/cleanup]}, spec: {}}";

fn start(name: &str) -> Testbed {
    Testbed::start(&Parts::new(name).with_controllers().with_nodes(2)).unwrap()
}

fn install(testbed: &Testbed, options: &[&str]) -> Run {
    let options = [&["--create-namespace", "--wait", "--timeout=2m"], options].concat();
    helm(testbed, "install", &options)
}

/// `helm VERB kube-devops`, for the verbs that take no chart.
fn release(testbed: &Testbed, verb: &str, arguments: &[&str]) -> Run {
    let mut helm = testbed.helm().unwrap();
    helm.args([verb, "kube-devops"]).args(arguments).args(["--namespace", NAMESPACE]);
    Run::of(&mut helm, None).unwrap()
}

fn get(testbed: &Testbed, what: &[&str]) -> String {
    testbed.kubectl(&[&["get"], what].concat()).unwrap().succeeded().unwrap()
}

/// All objects of the platform, by name: in its namespace, and in the cluster.
fn installed(testbed: &Testbed) -> BTreeSet<String> {
    let own = "all,serviceaccounts,secrets,configmaps,roles,rolebindings,poddisruptionbudgets,\
        networkpolicies,leases";
    let own = get(testbed, &[own, "--namespace", NAMESPACE, "-o", "name"]);
    let cluster = "clusterroles,clusterrolebindings,validatingwebhookconfigurations,\
        mutatingwebhookconfigurations,validatingadmissionpolicies,\
        validatingadmissionpolicybindings,customresourcedefinitions";
    let cluster = get(testbed, &[cluster, "-o", "name"]);
    let is_ours = |name: &&str| name.contains("devops");
    // The controllers of Kubernetes make both in every namespace.
    let of_kubernetes = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
    let own = own.lines().filter(|name| !of_kubernetes.contains(name));
    own.chain(cluster.lines().filter(is_ours)).map(str::to_owned).collect()
}

#[test]
fn what_services_write_survives_upgrade_and_rollback() {
    let testbed = &start("upgrade");
    install(testbed, &[]).succeeded().unwrap();
    // As the webhook does.
    let data = r#"{"data": {"ca.crt": "c29tZXRoaW5n"}}"#;
    let secret = ["patch", "secret", "policy-webhook-self-managed", "-n", NAMESPACE, "-p", data];
    testbed.kubectl(&secret).unwrap().succeeded().unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let bundle = k8s_openapi::ByteString(authority.cert.pem().into_bytes());
    let bundle = serde_json::to_string(&bundle).unwrap();
    let configuration = ["validatingwebhookconfiguration", "kube-devops-policy-webhook"];
    let operations = format!(
        r#"[{{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": {bundle}}}]"#
    );
    let patch = [&["patch"], &configuration[..], &["--type=json", "-p", &operations]].concat();
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    let written = || {
        let secret = ["secret", "policy-webhook-self-managed", "-n", NAMESPACE];
        let data = get(testbed, &[&secret[..], &["-o", "jsonpath={.data}"]].concat());
        assert_eq!(data, r#"{"ca.crt":"c29tZXRoaW5n"}"#);
        let authority = "-o=jsonpath={.webhooks[0].clientConfig.caBundle}";
        let found = get(testbed, &[&configuration[..], &[authority]].concat());
        assert_eq!(format!("\"{found}\""), bundle);
    };
    written();
    let before = installed(testbed);
    let more = "replicaCount=3,enforcement.enabled=true,networkPolicy.enabled=true";
    let upgrade = ["--set", more, "--wait", "--timeout=2m"];
    helm(testbed, "upgrade", &upgrade).succeeded().unwrap();
    written();
    let replicas = ["deployments", "-n", NAMESPACE, "-o=jsonpath={.items[*].status.readyReplicas}"];
    assert_eq!(get(testbed, &replicas), "3 3 3");
    assert!(installed(testbed).len() > before.len());
    release(testbed, "rollback", &["1", "--wait", "--timeout=2m"]).succeeded().unwrap();
    written();
    assert_eq!(get(testbed, &replicas), "2 2 2");
    let names = |all: BTreeSet<String>| {
        // Pods, ReplicaSets and the records of Helm are other ones.
        let stays = |name: &String| {
            !["pod/", "replicaset.", "secret/sh.helm."].iter().any(|kind| name.starts_with(kind))
        };
        all.into_iter().filter(stays).collect::<BTreeSet<_>>()
    };
    let settled = || Ok(names(installed(testbed)) == names(before.clone()));
    testbed.wait_for("the objects of the first revision", SURELY, settled).unwrap();
}

/// Does for the pod of a hook what a kubelet would: runs policyctl with its arguments as its account,
/// and reports success. Gives the rights of that account, too.
fn run_policyctl(testbed: &Testbed, name: &str) -> (Run, Rights) {
    let selector = format!("-l=app.kubernetes.io/name={name}");
    let select = ["pods", "-n", NAMESPACE, &selector, "-o", "json"];
    let pod = || -> Value {
        let found: Value = serde_json::from_str(&get(testbed, &select)).unwrap();
        found["items"][0].clone()
    };
    testbed.wait_for("the pod of the hook", SURELY, || Ok(!pod().is_null())).unwrap();
    let pod = pod();
    assert_eq!(pod["spec"]["serviceAccountName"], name);
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap().clone();
    let arguments: Vec<&str> = arguments.iter().map(|text| text.as_str().unwrap()).collect();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, name).unwrap();
    // They end with the hook.
    let rights = testbed.rights(NAMESPACE, name).unwrap();
    let run = cli::run(&kubeconfig, &arguments, "");
    let phase = if run.code == Some(0) { "Succeeded" } else { "Failed" };
    let pod = format!("pod/{}", pod["metadata"]["name"].as_str().unwrap());
    let phase = format!("testbed/phase={phase}");
    testbed.kubectl(&["annotate", &pod, "-n", NAMESPACE, &phase]).unwrap().succeeded().unwrap();
    (run, rights)
}

#[test]
fn an_uninstallation_leaves_the_definitions_and_policies_that_can_be_deleted() {
    let testbed = &start("uninstall");
    install(testbed, &["--set", "enforcement.enabled=true"]).succeeded().unwrap();
    testbed.apply(POLICY).unwrap();
    testbed.apply(CLUSTER_POLICY).unwrap();
    let (removed, rights) = thread::scope(|scope| {
        let uninstall = scope.spawn(|| release(testbed, "uninstall", &["--wait", "--timeout=2m"]));
        let (run, rights) = run_policyctl(testbed, "policy-uninstall");
        assert_eq!(run.code, Some(0), "{run:?}");
        let finalizer = "finalizer removed  DevOpsPolicy strict in default\n";
        assert!(run.stdout.contains(finalizer), "{run:?}");
        let finalizer = "finalizer removed  ClusterDevOpsPolicy fleet\n";
        assert!(run.stdout.contains(finalizer), "{run:?}");
        assert!(!run.stdout.contains("Configuration"), "Helm removes them: {run:?}");
        (uninstall.join().unwrap(), rights)
    });
    removed.succeeded().unwrap();
    let left = || Ok(installed(testbed).iter().eq(DEFINITIONS));
    let waited = testbed.wait_for("the end of all objects", SURELY, left);
    assert!(waited.is_ok(), "{:?}", installed(testbed));
    let finalizers = ["dop", "strict", "-o=jsonpath={.metadata.finalizers[*]}"];
    assert_eq!(get(testbed, &finalizers), "example.com/other", "the one of somebody else stays");
    testbed.needs_all_but(&[], &rights).unwrap();
    // Definitions that were kept are no obstacle, and the policies are still there.
    install(testbed, &[]).succeeded().unwrap();
    assert_eq!(get(testbed, &["dop", "-A", "-o", "name"]).lines().count(), 1);
}

#[test]
fn an_uninstallation_whose_hook_fails_removes_nothing() {
    let testbed = &start("failing");
    install(testbed, &[]).succeeded().unwrap();
    testbed.apply(POLICY).unwrap();
    let before = installed(testbed);
    // It runs into the deadline of Helm, as if its image could not be pulled.
    let run = release(testbed, "uninstall", &["--timeout=5s"]);
    assert!(run.code != Some(0) && run.stderr.contains("policy-uninstall not ready"), "{run:?}");
    assert!(installed(testbed).is_superset(&before));
    // What the notes say is to be done then.
    let by_hand = cli::expect(testbed, 0, &["uninstall", "--finalizers-only"], "");
    assert!(by_hand.contains("finalizer removed  DevOpsPolicy strict in default"), "{by_hand}");
    release(testbed, "uninstall", &["--no-hooks"]).succeeded().unwrap();
    let of_hook = |name: &String| name.contains("policy-uninstall");
    let left = || Ok(installed(testbed).iter().filter(|name| !of_hook(name)).eq(DEFINITIONS));
    let waited = testbed.wait_for("the end of all objects", SURELY, left);
    assert!(waited.is_ok(), "{:?}", installed(testbed));
}

#[test]
fn helm_test_runs_policyctl_check_with_exactly_its_rights() {
    let testbed = &start("helm-test");
    install(testbed, &[]).succeeded().unwrap();
    let (outcome, rights) = thread::scope(|scope| {
        let test = scope.spawn(|| release(testbed, "test", &["--timeout=2m"]));
        let (run, rights) = run_policyctl(testbed, "policy-test");
        assert_eq!(run.code, Some(0), "{run:?}");
        let definition = "devopspolicies.devops.stochastic.io: v1, up to date";
        assert!(run.stdout.contains(definition), "{run:?}");
        (test.join().unwrap(), rights)
    });
    let report = outcome.succeeded().unwrap();
    assert!(report.contains("Phase:") && report.contains("Succeeded"), "{report}");
    // It asks whether it may list pods, which `analyze` needs, and lists none.
    testbed.needs_all_but(&["list pods"], &rights).unwrap();
}

#[test]
fn a_refused_installation_leaves_nothing() {
    let testbed = &Testbed::start(&Parts::new("refused").with_controllers()).unwrap();
    testbed.kubectl(&["create", "namespace", NAMESPACE]).unwrap().succeeded().unwrap();
    testbed
        .wait_for("the account", SURELY, || {
            Ok(testbed.kubectl(&["get", "sa/default", "-n", NAMESPACE])?.code == Some(0))
        })
        .unwrap();
    let nothing = installed(testbed);
    assert!(nothing.is_empty(), "{nothing:?}");
    let run = helm(testbed, "install", &["--set", "replicaCount=1"]);
    assert!(run.stderr.contains("block every drain"), "{run:?}");
    assert_eq!(installed(testbed), nothing);
    // Somebody who may do everything in the namespace alone.
    let rules = "[{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]";
    let kubeconfig = testbed.limited_user(NAMESPACE, rules).unwrap();
    let mut limited = testbed.helm().unwrap();
    limited.env("KUBECONFIG", &kubeconfig);
    limited.args(["install", "kube-devops", CHART, "--namespace", NAMESPACE]);
    let run = Run::of(limited.arg("--rollback-on-failure"), None).unwrap();
    assert!(run.stderr.contains("forbidden"), "{run:?}");
    let nothing = || Ok(installed(testbed).iter().all(|name| !name.contains("polic")));
    let waited = testbed.wait_for("the end of all objects", SURELY, nothing);
    assert!(waited.is_ok(), "{:?}", installed(testbed));
    // Definitions of another tool.
    testbed.install_definitions().unwrap();
    let run = helm(testbed, "install", &[]);
    assert!(run.stderr.contains("exists and cannot be imported"), "{run:?}");
    let left = installed(testbed);
    assert!(!left.iter().any(|name| name.contains("serviceaccount")), "{left:?}");
    helm(testbed, "install", &["--take-ownership"]).succeeded().unwrap();
}

#[test]
fn policyctl_uninstall_removes_what_it_has_printed() {
    let testbed = &start("generated");
    let printed = cli::expect(testbed, 0, &["deploy", "generate-all", "--enforcement"], "");
    // The definitions are served a moment after they are applied.
    testbed
        .wait_for("the installation", SURELY, || {
            let apply = ["apply", "--server-side", "-f", "-"];
            Ok(testbed.kubectl_stdin(&apply, &printed)?.code == Some(0))
        })
        .unwrap();
    testbed.apply(POLICY).unwrap();
    let other =
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: default}}";
    testbed.apply(other).unwrap();
    let own = super::parsed(&printed);
    object(&own, "Namespace", NAMESPACE);
    for component in ["policy-operator", "policy-watcher", "policy-webhook"] {
        let deployment = format!("deployment/{component}");
        let rollout = ["rollout", "status", &deployment, "-n", NAMESPACE, "--timeout=60s"];
        testbed.kubectl(&rollout).unwrap().succeeded().unwrap();
    }
    let before = installed(testbed);
    let would = cli::expect(testbed, 0, &["uninstall", "--dry-run"], "");
    assert_eq!(installed(testbed), before);
    // Three definitions stay.
    assert_eq!(would.matches("\nwould be removed").count() + 1, own.len() - 3, "{would}");
    assert!(
        would.contains("finalizer would be removed  DevOpsPolicy strict in default"),
        "{would}"
    );

    // Somebody who may not remove anything learns of all at once.
    let read = "[{apiGroups: ['*'], resources: ['*'], verbs: [get, list]}]";
    let reader = testbed.service_account("default", "reader", read).unwrap();
    let run = cli::run(&reader, &["uninstall", "--dry-run"], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    assert_eq!(run.stdout.matches("not removed").count(), own.len() - 3 + 1, "{run:?}");
    let policy = "cannot remove the finalizer of policy default/strict";
    assert!(run.stderr.contains(policy), "{run:?}");

    let lines = cli::expect(testbed, 0, &["uninstall"], "");
    let position = |text: &str| {
        let found = lines.lines().position(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text}: {lines}"))
    };
    let order = [
        "removed            ValidatingWebhookConfiguration",
        "removed            MutatingWebhookConfiguration",
        "removed            Deployment policy-operator in kube-devops",
        "finalizer removed  DevOpsPolicy strict in default",
        "removed            Deployment policy-webhook in kube-devops",
        "removed            ServiceAccount policy-webhook in kube-devops",
        "removed            Namespace kube-devops",
    ];
    let positions: Vec<usize> = order.iter().map(|text| position(text)).collect();
    assert!(positions.is_sorted(), "{lines}");
    let left = || {
        let namespaces = get(testbed, &["namespaces", "-o", "name"]);
        Ok(!namespaces.contains(NAMESPACE) && installed(testbed).iter().eq(DEFINITIONS))
    };
    testbed.wait_for("the end of the namespace", SURELY, left).unwrap();
    get(testbed, &["serviceaccount", "other"]);
    assert_eq!(cli::expect(testbed, 0, &["uninstall"], ""), "", "there is nothing left");
    // What somebody else has made under one of the names stays.
    testbed.kubectl(&["create", "namespace", NAMESPACE]).unwrap().succeeded().unwrap();
    let label = ["label", "namespace", NAMESPACE, "app.kubernetes.io/part-of=kube-devops"];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
    let service = ["create", "service", "clusterip", "policy-watcher", "--tcp=80", "-n", NAMESPACE];
    testbed.kubectl(&service).unwrap().succeeded().unwrap();
    assert_eq!(
        cli::expect(testbed, 0, &["uninstall"], ""),
        "kept               Service policy-watcher in kube-devops: it has no label \
         app.kubernetes.io/part-of=kube-devops\n\
         kept               Namespace kube-devops: objects in it stay\n"
    );
    let all = cli::expect(testbed, 0, &["uninstall", "--delete-crds"], "");
    assert_eq!(all.matches("removed            CustomResourceDefinition").count(), 3, "{all}");
}
