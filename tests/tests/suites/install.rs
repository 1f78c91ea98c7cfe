//! `deploy/kustomize/base` on a real API server: it applies, and grants what it says.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use e2e::{Parts, Testbed, shared};

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
fn the_base_gives_the_webhook_policies_and_its_own_certificate_and_nothing_else() {
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
    let secret = "secrets/policy-webhook-self-managed";
    let configurations = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let configuration = &format!("{configurations}/kube-devops-policy-webhook");
    for (verb, resource, scope) in [
        ("list", policies, everywhere),
        ("watch", policies, everywhere),
        ("get", secret, &own),
        ("update", secret, &own),
        ("get", configuration, everywhere),
        ("patch", configuration, everywhere),
    ] {
        assert!(may(verb, resource, scope), "{verb} {resource} {scope}");
    }
    for (verb, resource, scope) in [
        ("patch", policies, everywhere),
        ("list", "pods", everywhere),
        ("list", "namespaces", everywhere),
        ("get", "secrets", &own),
        ("create", "secrets", &own),
        ("list", "secrets", &own),
        ("delete", secret, &own),
        ("get", secret, "--namespace=default"),
        ("create", "serviceaccounts/token", &own),
        ("create", "leases.coordination.k8s.io", &own),
        ("patch", configurations, everywhere),
        ("create", configurations, everywhere),
        ("delete", configuration, everywhere),
    ] {
        assert!(!may(verb, resource, scope), "{verb} {resource} {scope}");
    }
}

/// What the webhook has written, as far as the base could take it away.
fn filled_in(testbed: &Testbed) -> [String; 2] {
    let secret = ["secret/policy-webhook-self-managed", "{.data}"];
    let configuration = [
        "validatingwebhookconfiguration/kube-devops-policy-webhook",
        "{.webhooks[0].clientConfig.caBundle}",
    ];
    [secret, configuration].map(|[object, path]| {
        let path = format!("jsonpath={path}");
        let get = ["get", object, "-n", NAMESPACE, "-o", &path];
        testbed.kubectl(&get).unwrap().succeeded().unwrap()
    })
}

#[test]
fn whoever_applies_the_base_again_takes_nothing_from_the_webhook_and_harms_nobody() {
    let testbed = &Testbed::start(&Parts::new("base")).unwrap();
    testbed.apply_base(&[]).unwrap();
    assert_eq!(filled_in(testbed), ["", ""]);
    // Any certificate will do, as long as it is one.
    let authority = std::fs::read(testbed.certificate_authority()).unwrap();
    let authority = serde_json::to_string(&k8s_openapi::ByteString(authority)).unwrap();
    let secret = ["patch", "secret", "policy-webhook-self-managed", "-n", NAMESPACE, "-p"];
    let data = format!(r#"{{"data": {{"ca.crt": {authority}}}}}"#);
    testbed.kubectl(&[&secret[..], &[&data]].concat()).unwrap().succeeded().unwrap();
    let webhook = format!(
        r#"{{"webhooks": [{{"name": "validate.devops.stochastic.io", "clientConfig": {{"caBundle": {authority}}}}}]}}"#
    );
    let name = "kube-devops-policy-webhook";
    let patch = ["patch", "validatingwebhookconfigurations", name, "-p", &webhook];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    let filled = filled_in(testbed);
    assert!(filled.iter().all(|text| text.contains("LS0tLS1CRUdJTi")), "{filled:?}");
    for options in [&[][..], &["--server-side"], &["--server-side"]] {
        testbed.apply_base(options).unwrap();
        assert_eq!(filled_in(testbed), filled, "{options:?}");
    }
    // The API server asks a webhook that nobody runs.
    let run = ["run", "web", "--image=nginx"];
    testbed.kubectl(&run).unwrap().succeeded().unwrap();
}
