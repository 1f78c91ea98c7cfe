//! `deploy/kustomize/base` and `deploy/examples` on a real API server: they apply, and the roles
//! grant what they state.

use std::time::Duration;

use e2e::{Parts, Testbed, shared};
use k8s_openapi::ByteString;

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
        ("watch", "pods", everywhere),
        ("create", lease, own),
        ("get", own_lease, own),
        ("update", own_lease, own),
    ] {
        assert!(may(verb, resource, scope), "{verb} {resource} {scope}");
    }
    for (verb, resource, scope) in [
        ("get", "pods", own.as_str()),
        ("list", "pods", everywhere),
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
    let mutating = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    let own_mutating = &format!("{mutating}/kube-devops-policy-webhook");
    for (verb, resource, scope) in [
        ("watch", policies, everywhere),
        ("get", secret, &own),
        ("update", secret, &own),
        ("get", configuration, everywhere),
        ("patch", configuration, everywhere),
        ("get", own_mutating, everywhere),
        ("patch", own_mutating, everywhere),
    ] {
        assert!(may(verb, resource, scope), "{verb} {resource} {scope}");
    }
    for (verb, resource, scope) in [
        ("patch", policies, everywhere),
        ("list", policies, everywhere),
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
        ("patch", mutating, everywhere),
        ("create", configurations, everywhere),
        ("delete", configuration, everywhere),
    ] {
        assert!(!may(verb, resource, scope), "{verb} {resource} {scope}");
    }
}

#[test]
fn the_account_of_the_operator_changes_nothing_of_a_policy_but_its_own_finalizer() {
    let testbed = policies::testbed();
    testbed.install_base().unwrap();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, "policy-operator").unwrap();
    let namespace = testbed.namespace("guard").unwrap();
    let policy = |metadata: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
                "metadata": {{"name": "strict", "namespace": "{namespace}"{metadata}}}{spec}}}"#
        )
    };
    let spec = r#", "spec": {"forbidLatestTag": true}"#;
    testbed.apply(&policy(r#", "finalizers": ["example.com/other"]"#, spec)).unwrap();
    // As `policy-operator` applies it, without a change that lasts.
    let apply = |text: &str| {
        let file = testbed.folder().join("guarded.json");
        std::fs::write(&file, text).unwrap();
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server"];
        let file = ["--field-manager=policy-operator", "-f", file.to_str().unwrap()];
        testbed.kubectl_as(&kubeconfig, &[&apply[..], &file].concat()).unwrap()
    };
    // The API server needs a moment to serve a new admission policy.
    let other_spec = policy("", r#", "spec": {"forbidLatestTag": false}"#);
    testbed
        .wait_for("the admission policy", Duration::from_secs(60), || {
            Ok(apply(&other_spec).stderr.contains("the operator may not change the spec"))
        })
        .unwrap();
    for (text, message) in [
        (other_spec, "the operator may not change the spec of a policy"),
        (
            policy(r#", "labels": {"team": "a"}"#, spec),
            "the operator may not change the metadata of a policy",
        ),
        (
            policy(r#", "annotations": {"team": "a"}"#, spec),
            "the operator may not change the metadata of a policy",
        ),
        (
            policy(r#", "finalizers": ["example.com/another"]"#, spec),
            "the operator may only add and remove its own finalizer",
        ),
    ] {
        let run = apply(&text);
        assert!(run.code == Some(1) && run.stderr.contains(message), "{text}: {run:?}");
    }
    let own = policy(r#", "finalizers": ["devops.stochastic.io/cleanup"]"#, spec);
    let run = apply(&own);
    assert_eq!(run.code, Some(0), "{run:?}");
    // Everybody else may do what RBAC allows.
    let release = ["patch", "dop", "strict", "-n", &namespace, "--type=merge", "-p"];
    let nothing = r#"{"metadata": {"finalizers": null}, "spec": {"forbidLatestTag": false}}"#;
    testbed.kubectl(&[&release[..], &[nothing]].concat()).unwrap().succeeded().unwrap();
}

/// The first container of a workload.
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[test]
fn the_account_of_the_operator_changes_nothing_of_a_workload_but_what_it_fills_in() {
    let testbed = policies::testbed();
    testbed.install_base().unwrap();
    testbed.install_operator_remediation().unwrap();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, "policy-operator").unwrap();
    let namespace = testbed.namespace("guard").unwrap();
    let workload = |kind: &str, service: &str| {
        format!(
            r#"{{"apiVersion": "apps/v1", "kind": "{kind}",
                "metadata": {{"name": "web", "namespace": "{namespace}", "labels": {{"a": "b"}},
                    "annotations": {{"c": "d"}}}},
                "spec": {{"selector": {{"matchLabels": {{"a": "b"}}}}, {service}
                    "template": {{"metadata": {{"labels": {{"a": "b"}}}}, "spec": {{
                        "initContainers": [{{"name": "init", "image": "init:1"}}],
                        "containers": [{{"name": "web", "image": "web:1", "livenessProbe":
                            {{"httpGet": {{"port": 80}}}}}}, {{"name": "more", "image": "more:1"}}]
                }}}}}}}}"#
        )
    };
    let message = |what: &str| format!("the operator may {what}");
    let spec = message("not change the spec of a workload beside its pod template");
    let template = message("change nothing of a pod template but its containers");
    let container = message("change nothing of a container but probes and resources");
    let metadata = message("not change the metadata of a workload");
    let annotation = message("change no annotation of a workload but its own");
    for (kind, service) in
        [("Deployment", ""), ("StatefulSet", r#""serviceName": "web","#), ("DaemonSet", "")]
    {
        testbed.apply(&workload(kind, service)).unwrap();
        let patch = |operations: &str| {
            let patch = ["patch", kind, "web", "-n", &namespace, "--type=json", "-p"];
            let patch = [&patch[..], &[operations, "--dry-run=server"]].concat();
            testbed.kubectl_as(&kubeconfig, &patch).unwrap()
        };
        let set = |path: &str, value: &str| {
            patch(&format!(r#"[{{"op": "add", "path": "{path}", "value": {value}}}]"#))
        };
        // The API server needs a moment to serve a new admission policy.
        let image = format!("{CONTAINER}/image");
        let is_denied = || Ok(set(&image, r#""evil""#).stderr.contains(&container));
        testbed.wait_for("the admission policy", Duration::from_secs(60), is_denied).unwrap();
        let at = |path: &str| format!("{CONTAINER}/{path}");
        for (path, value, message) in [
            (image.clone(), r#""evil""#, &container),
            (at("command"), r#"["sh"]"#, &container),
            (at("livenessProbe"), r#"{"exec": {"command": ["sh"]}}"#, &container),
            (at("readinessProbe"), r#"{"exec": {"command": ["sh"]}}"#, &container),
            (at("readinessProbe"), r#"{"httpGet": {"port": 80}}"#, &container),
            (at("readinessProbe"), r#"{"tcpSocket": {"port": 80, "host": "x"}}"#, &container),
            (at("startupProbe"), r#"{"tcpSocket": {"port": 80}}"#, &container),
            (at("securityContext"), r#"{"privileged": true}"#, &container),
            (
                "/spec/template/spec/containers/-".to_owned(),
                r#"{"name": "x", "image": "x"}"#,
                &container,
            ),
            ("/spec/template/spec/initContainers/0/image".to_owned(), r#""evil""#, &container),
            ("/spec/template/spec/hostNetwork".to_owned(), "true", &template),
            ("/spec/template/spec/serviceAccountName".to_owned(), r#""admin""#, &template),
            ("/spec/template/metadata/annotations".to_owned(), r#"{"a": "b"}"#, &template),
            ("/spec/minReadySeconds".to_owned(), "7", &spec),
            ("/metadata/labels/team".to_owned(), r#""a""#, &metadata),
            ("/metadata/annotations/c".to_owned(), r#""e""#, &annotation),
            ("/metadata/annotations".to_owned(), "{}", &annotation),
        ] {
            let run = set(&path, value);
            assert!(run.code == Some(1) && run.stderr.contains(message), "{kind} {path}: {run:?}");
        }
        for (path, value) in [
            (at("readinessProbe"), r#"{"tcpSocket": {"port": 80}}"#),
            (at("livenessProbe/periodSeconds"), "7"),
            (at("resources"), r#"{"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}"#),
            ("/metadata/annotations/devops.stochastic.io~1patched-by".to_owned(), r#""a/b""#),
        ] {
            let run = set(&path, value);
            assert_eq!(run.code, Some(0), "{kind} {path}: {run:?}");
        }
        // The order of containers is no change: a server-side apply puts them in its own.
        let order = format!(
            r#"[{{"op": "move", "from": "{CONTAINER}", "path": "/spec/template/spec/containers/1"}}]"#
        );
        let run = patch(&order);
        assert_eq!(run.code, Some(0), "{kind}: {run:?}");
    }
}

#[test]
fn the_account_of_the_webhook_changes_nothing_of_its_configuration_but_the_ca_bundle() {
    let testbed = &Testbed::start(&Parts::new("limited")).unwrap();
    testbed.apply_base(&[]).unwrap();
    let kubeconfig = testbed.account_kubeconfig(NAMESPACE, "policy-webhook").unwrap();
    let configuration = r#"{"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "kube-devops-policy-webhook"},
        "webhooks": [{"name": "validate.devops.stochastic.io", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "clientConfig": {"service": {"namespace": "kube-devops", "name": "policy-webhook"}},
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["none"],
                "operations": ["CREATE"]}]}]}"#;
    testbed.apply(configuration).unwrap();
    let patch = |operation: &str| {
        let patch = ["patch", "validatingwebhookconfiguration", "kube-devops-policy-webhook"];
        let how = ["--type=json", "--dry-run=server", "-p"];
        let operations = format!("[{operation}]");
        testbed.kubectl_as(&kubeconfig, &[&patch[..], &how, &[&operations]].concat()).unwrap()
    };
    let set = |path: &str, value: &str| {
        patch(&format!(r#"{{"op": "add", "path": "{path}", "value": {value}}}"#))
    };
    let nothing_else = "the webhook may change nothing of a webhook configuration but caBundle";
    // The API server needs a moment to serve a new admission policy.
    testbed
        .wait_for("the admission policy", Duration::from_secs(60), || {
            Ok(set("/webhooks/0/failurePolicy", r#""Fail""#).stderr.contains(nothing_else))
        })
        .unwrap();
    let other = r#"{"name": "other.example.com", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://other.example.com"}}"#;
    for (path, value) in [
        ("/webhooks/0/name", r#""validate.example.com""#),
        ("/webhooks/0/failurePolicy", r#""Fail""#),
        ("/webhooks/0/matchPolicy", r#""Exact""#),
        ("/webhooks/0/timeoutSeconds", "30"),
        ("/webhooks/0/sideEffects", r#""NoneOnDryRun""#),
        ("/webhooks/0/admissionReviewVersions", r#"["v1", "v1beta1"]"#),
        ("/webhooks/0/clientConfig/service/name", r#""other""#),
        ("/webhooks/0/clientConfig", r#"{"url": "https://other.example.com"}"#),
        ("/webhooks/0/rules/0/resources", r#"["*"]"#),
        ("/webhooks/0/rules", "[]"),
        ("/webhooks/0/namespaceSelector", r#"{"matchLabels": {"a": "b"}}"#),
        ("/webhooks/0/objectSelector", r#"{"matchLabels": {"a": "b"}}"#),
        ("/webhooks/0/matchConditions", r#"[{"name": "no", "expression": "false"}]"#),
        ("/webhooks/-", other),
        ("/webhooks", "[]"),
    ] {
        let run = set(path, value);
        assert!(run.code == Some(1) && run.stderr.contains(nothing_else), "{path}: {run:?}");
    }
    let run = set("/metadata/labels", r#"{"team": "a"}"#);
    assert!(run.stderr.contains("the webhook may not change the metadata"), "{run:?}");
    let mutating = configuration.replace("Validating", "Mutating");
    testbed.apply(&mutating).unwrap();
    let mutating = |patch: &str| {
        let object = ["patch", "mutatingwebhookconfiguration", "kube-devops-policy-webhook"];
        let how = ["--type=json", "--dry-run=server", "-p", patch];
        testbed.kubectl_as(&kubeconfig, &[&object[..], &how].concat()).unwrap()
    };
    for field in ["failurePolicy", "reinvocationPolicy"] {
        let value = if field == "failurePolicy" { "Fail" } else { "IfNeeded" };
        let run = mutating(&format!(
            r#"[{{"op": "add", "path": "/webhooks/0/{field}", "value": "{value}"}}]"#
        ));
        assert!(run.code == Some(1) && run.stderr.contains(nothing_else), "{field}: {run:?}");
    }
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let bundle = ByteString(certificate.cert.pem().into_bytes());
    let bundle = serde_json::to_string(&bundle).unwrap();
    let run = set("/webhooks/0/clientConfig/caBundle", &bundle);
    assert_eq!(run.code, Some(0), "{run:?}");
    let bundle = format!(
        r#"[{{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": {bundle}}}]"#
    );
    let run = mutating(&bundle);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn namespace_users_read_policies_and_only_admins_write_them() {
    let testbed = policies::testbed();
    testbed.install_base().unwrap();
    let namespace = testbed.namespace("users").unwrap();
    let may_in = |scope: &str, role: &str, verb: &str, resource: &str| {
        let user = format!("--as={role}-of-{namespace}");
        let question = ["auth", "can-i", verb, resource, scope, &user];
        testbed.kubectl(&question).unwrap().stdout.trim() == "yes"
    };
    let own = format!("--namespace={namespace}");
    let may = |role: &str, verb: &str, resource: &str| may_in(&own, role, verb, resource);
    for role in ["view", "edit", "admin"] {
        let user = format!("--user={role}-of-{namespace}");
        let role = format!("--clusterrole={role}");
        let bind = ["create", "rolebinding", &user[7..], &role, &user, "-n", &namespace];
        testbed.kubectl(&bind).unwrap().succeeded().unwrap();
    }
    let policies = "devopspolicies.devops.stochastic.io";
    let results = "policyauditresults.devops.stochastic.io";
    // The controller manager aggregates the roles a moment after they are applied, one by another.
    let reads = |role: &&str| may(role, "watch", policies) && may(role, "watch", results);
    let is_aggregated =
        || Ok(["view", "edit", "admin"].iter().all(reads) && may("admin", "delete", policies));
    testbed.wait_for("the aggregated roles", Duration::from_secs(30), is_aggregated).unwrap();
    let cluster_policies = "clusterdevopspolicies.devops.stochastic.io";
    for role in ["view", "edit", "admin"] {
        // A binding in a namespace gives no right on an object of the cluster.
        for verb in ["get", "create", "update", "patch", "delete"] {
            assert!(!may_in("--all-namespaces", role, verb, cluster_policies), "{role} {verb}");
        }
        for verb in ["get", "list", "watch"] {
            assert!(may(role, verb, policies) && may(role, verb, results), "{role} {verb}");
        }
        for verb in ["create", "update", "patch", "delete"] {
            assert_eq!(may(role, verb, policies), role == "admin", "{role} {verb}");
            assert!(!may(role, verb, results), "{role} {verb} {results}");
        }
    }
}

#[test]
fn the_example_applies_to_an_api_server() {
    let testbed = shared();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    let apply = || testbed.kubectl(&["apply", "-f", example]).unwrap().succeeded().unwrap();
    let text = apply();
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.lines().all(|line| line.ends_with(" created")), "{text}");
    let again = apply();
    assert!(!again.contains("created"), "{again}");
    let delete = ["delete", "-f", example, "--wait=false"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

#[test]
fn whoever_applies_the_base_again_takes_no_certificate_from_the_webhook() {
    let testbed = &Testbed::start(&Parts::new("base")).unwrap();
    let kept = || {
        let get = ["get", "secret/policy-webhook-self-managed", "-n", NAMESPACE];
        let data = ["-o", "jsonpath={.data}"];
        testbed.kubectl(&[&get[..], &data].concat()).unwrap().succeeded().unwrap()
    };
    testbed.apply_base(&[]).unwrap();
    assert_eq!(kept(), "");
    let secret = ["patch", "secret", "policy-webhook-self-managed", "-n", NAMESPACE, "-p"];
    let data = r#"{"data": {"ca.crt": "c29tZXRoaW5n"}}"#;
    testbed.kubectl(&[&secret[..], &[data]].concat()).unwrap().succeeded().unwrap();
    for options in [&[][..], &["--server-side"], &["--server-side"]] {
        testbed.apply_base(options).unwrap();
        assert_eq!(kept(), r#"{"ca.crt":"c29tZXRoaW5n"}"#, "{options:?}");
    }
}
