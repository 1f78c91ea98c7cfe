//! `deploy/kustomize/base` on a real API server: it applies, and grants what it says.

use e2e::shared;

use crate::policies;

const NAMESPACE: &str = "kube-devops";

#[test]
fn the_base_installs_twice_and_gives_the_watcher_its_rights_alone() {
    let testbed = shared();
    testbed.install_base().unwrap();
    testbed.install_base().unwrap();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, "policy-watcher").unwrap();
    let may = |verb: &str, resource: &str, scope: &str| {
        let question = ["auth", "can-i", verb, resource, scope];
        testbed.kubectl_as(&kubeconfig, &question).unwrap().stdout.trim() == "yes"
    };
    let everywhere = "--all-namespaces";
    let own = &format!("--namespace={NAMESPACE}");
    let lease = "leases.coordination.k8s.io";
    let own_lease = &format!("{lease}/policy-watcher");
    for (verb, resource, scope) in [
        ("list", "pods", everywhere),
        ("watch", "pods", everywhere),
        ("create", lease, own),
        ("get", own_lease, own),
        ("update", own_lease, own),
    ] {
        assert!(may(verb, resource, scope), "{verb} {resource} {scope}");
    }
    for (verb, resource, scope) in [
        ("get", "pods", own.as_str()),
        ("delete", "pods", everywhere),
        ("list", "secrets", own),
        ("list", "namespaces", everywhere),
        ("update", &format!("{lease}/policy-operator"), own),
        ("delete", own_lease, own),
        ("create", lease, "--namespace=default"),
        ("get", own_lease, "--namespace=default"),
    ] {
        assert!(!may(verb, resource, scope), "{verb} {resource} {scope}");
    }
}

#[test]
fn the_base_gives_the_webhook_policies_to_watch_and_nothing_else() {
    // kubectl asks about kinds by the names that the API server serves.
    let testbed = policies::testbed();
    testbed.install_base().unwrap();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, "policy-webhook").unwrap();
    let may = |verb: &str, resource: &str, scope: &str| {
        let question = ["auth", "can-i", verb, resource, scope];
        testbed.kubectl_as(&kubeconfig, &question).unwrap().stdout.trim() == "yes"
    };
    let (everywhere, own) = ("--all-namespaces", format!("--namespace={NAMESPACE}"));
    let policies = "devopspolicies.devops.stochastic.io";
    for verb in ["list", "watch"] {
        assert!(may(verb, policies, everywhere), "{verb}");
    }
    for (verb, resource, scope) in [
        ("patch", policies, everywhere),
        ("list", "pods", everywhere),
        ("list", "namespaces", everywhere),
        ("get", "secrets", &own),
        ("create", "leases.coordination.k8s.io", &own),
        ("patch", "validatingwebhookconfigurations.admissionregistration.k8s.io", everywhere),
    ] {
        assert!(!may(verb, resource, scope), "{verb} {resource} {scope}");
    }
}
