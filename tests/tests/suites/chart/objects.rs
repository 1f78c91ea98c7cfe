//! What is rendered: the objects of policyctl, and what the API server says of them.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{PROMETHEUS_DEFINITIONS, Parts, Testbed};
use serde_json::{Value, json};

use super::{NAMESPACE, helm, object, parsed, rendered, template};
use crate::{cli, gitops};

/// What Helm's conventions want on every object, and policyctl does not print.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// By kind and name, without what Helm alone adds.
pub(super) fn without_helm(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let each = objects.into_iter().map(|mut object| {
        for (field, names) in
            [("labels", &OF_HELM[..]), ("annotations", &["helm.sh/resource-policy"])]
        {
            let metadata = object["metadata"].as_object_mut().unwrap();
            let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
                continue;
            };
            map.retain(|name, _| !names.contains(&name.as_str()));
            if map.is_empty() {
                metadata.remove(field);
            }
        }
        // The type of the API has a float for `maximum`; Helm writes what is whole without a point.
        with_whole_numbers(&mut object);
        (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
    });
    each.collect()
}

fn with_whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(with_whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(with_whole_numbers),
        Value::Number(number) => {
            let whole = number.to_string().strip_suffix(".0").and_then(|text| text.parse().ok());
            *number = whole.unwrap_or_else(|| number.clone());
        }
        _ => {}
    }
}

#[test]
fn the_chart_renders_what_policyctl_prints() {
    let testbed = e2e::shared();
    let other = "replicaCount=1,pdb.enabled=false,image.tag=v1,image.repository=r.example.com/p";
    let flags = ["--replicas=1", "--image-tag=v1", "--image-repository=r.example.com/p"];
    for (values, flags) in [
        (&[][..], &[][..]),
        (&["--set", "enforcement.enabled=true"], &["--enforcement"]),
        (&["--set", "openReports.enabled=true"], &["--open-reports"]),
        (&["--set", other], &flags),
    ] {
        let options = [&["--no-hooks"], values].concat();
        let text = helm(testbed, "template", &options).succeeded().unwrap();
        assert_eq!(helm(testbed, "template", &options).stdout, text, "not the same bytes twice");
        let printed = cli::expect(testbed, 0, &[&["deploy", "generate-all"], flags].concat(), "");
        let [rendered, mut printed] = [text, printed].map(|text| {
            let objects = parsed(&text);
            let count = objects.len();
            let objects = without_helm(objects);
            assert_eq!(objects.len(), count, "two objects are the same one");
            objects
        });
        // The dashboard is of the monitoring, and the only part of it that every cluster can have.
        let dashboard = ["observability", "generate-dashboard"];
        printed.extend(without_helm(parsed(&cli::expect(testbed, 0, &dashboard, ""))));
        // `helm install --create-namespace` makes it.
        assert!(printed.remove("\"Namespace\" \"kube-devops\"").is_some());
        let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&printed));
        for (name, object) in &printed {
            assert_eq!(&rendered[name], object, "{name}");
        }
    }
}

/// Everything that needs no definition of another project.
const EVERYTHING: &str = "enforcement.enabled=true,networkPolicy.enabled=true,clusterName=blue,\
    openReports.enabled=true,excludedNamespaces={sandbox},certificate.source=secret,certificate.secretName=mine";

#[test]
fn the_api_server_accepts_every_object_and_pod_security_every_pod() {
    let testbed = &Testbed::start(&Parts::new("accepts").with_controllers()).unwrap();
    testbed.install_published(&[gitops::CERT_MANAGER]).unwrap();
    testbed.install_published(&PROMETHEUS_DEFINITIONS).unwrap();
    testbed
        .apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}, labels: \
         {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
        ))
        .unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let file = testbed.folder().join("authority.crt");
    std::fs::write(&file, authority.cert.pem()).unwrap();
    let file = format!("certificate.caBundle={}", file.display());
    let of_others = "certificate.source=cert-manager";
    let of_others = ["--set", of_others, "--api-versions", "monitoring.coreos.com/v1"];
    let mut kinds = BTreeSet::new();
    for options in [&[][..], &["--set", EVERYTHING, "--set-file", &file], &of_others] {
        let all = rendered(testbed, options);
        kinds.extend(all.iter().map(|object| object["kind"].as_str().unwrap().to_owned()));
        // A dry run does not find the account that another one would have made.
        for account in all.iter().filter(|object| object["kind"] == "ServiceAccount") {
            testbed.apply(&account.to_string()).unwrap();
        }
        for object in &all {
            let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict"];
            let apply = [&apply[..], &["-f", "-"]].concat();
            let run = testbed.kubectl_stdin(&apply, &object.to_string()).unwrap();
            assert_eq!(run.code, Some(0), "{object}: {run:?}");
        }
        let has_template = |object: &&Value| object["spec"]["template"].is_object();
        let templates: Vec<&Value> = all.iter().filter(has_template).collect();
        assert_eq!(templates.len(), 4, "three Deployments and a Job");
        for object in templates {
            let mut pod = object["spec"]["template"].clone();
            (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
            pod["metadata"]["name"] = object["metadata"]["name"].clone();
            pod["metadata"]["namespace"] = json!(NAMESPACE);
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            let created = |pod: &Value| testbed.kubectl_stdin(&create, &pod.to_string()).unwrap();
            let run = created(&pod);
            assert_eq!(run.code, Some(0), "{pod}: {run:?}");
            // The level is enforced: another pod is refused.
            pod["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
            assert!(created(&pod).stderr.contains("violates PodSecurity"), "{pod}");
        }
    }
    for kind in ["Certificate", "Issuer", "ServiceMonitor"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
}

#[test]
fn no_selector_has_a_label_of_the_release() {
    let testbed = e2e::shared();
    let options = ["--set", "networkPolicy.enabled=true", "--api-versions"];
    for object in rendered(testbed, &[&options[..], &["monitoring.coreos.com/v1"]].concat()) {
        let spec = &object["spec"];
        let selectors = [&spec["selector"], &spec["podSelector"], &spec["template"]["metadata"]];
        for label in OF_HELM {
            let has_it = selectors.iter().any(|selector| selector.to_string().contains(label));
            assert!(!has_it, "{object}");
        }
        if object["kind"] == "ServiceMonitor" {
            let service = &object["metadata"]["name"];
            let selected = &spec["selector"]["matchLabels"]["app.kubernetes.io/name"];
            assert_eq!(selected, service);
        }
    }
}

#[test]
fn the_certificate_comes_from_the_webhook_from_cert_manager_or_from_a_secret() {
    let testbed = e2e::shared();
    let configuration = |all: &[Value]| {
        object(all, "ValidatingWebhookConfiguration", "kube-devops-policy-webhook").clone()
    };
    let volume = |all: &[Value]| {
        let template = template(all, "policy-webhook").clone();
        let mount = &template["spec"]["containers"][0]["volumeMounts"][0]["mountPath"];
        let secret = &template["spec"]["volumes"][0]["secret"]["secretName"];
        (mount.clone(), secret.clone())
    };
    // What the webhook may do for its certificate.
    let rights = |all: &[Value]| {
        let kinds = ["Secret", "Role", "RoleBinding", "ValidatingAdmissionPolicy"];
        let is_its_own = |object: &&Value| {
            let name = object["metadata"]["name"].as_str().unwrap();
            name.contains("policy-webhook") && kinds.contains(&object["kind"].as_str().unwrap())
        };
        let role = object(all, "ClusterRole", "kube-devops-policy-webhook");
        (role["rules"].as_array().unwrap().len(), all.iter().filter(is_its_own).count())
    };
    let none = rendered(testbed, &[]);
    assert_eq!(rights(&none), (3, 4));
    assert_eq!(volume(&none), (Value::Null, Value::Null));
    assert!(configuration(&none)["webhooks"][0]["clientConfig"]["caBundle"].is_null());

    let options = ["--set", "certificate.source=cert-manager,enforcement.enabled=true"];
    let all = rendered(testbed, &options);
    assert_eq!(rights(&all), (2, 0));
    let certificate = object(&all, "Certificate", "policy-webhook");
    // Of an authority that stays, so that a renewal changes no caBundle.
    let authority = object(&all, "Certificate", "policy-webhook-ca");
    assert_eq!(authority["spec"]["isCA"], true);
    assert_eq!(certificate["spec"]["issuerRef"]["name"], "policy-webhook");
    let issuer = object(&all, "Issuer", "policy-webhook");
    assert_eq!(issuer["spec"]["ca"]["secretName"], authority["spec"]["secretName"]);
    assert_eq!(
        volume(&all),
        (json!("/etc/policy-webhook"), certificate["spec"]["secretName"].clone())
    );
    assert_eq!(certificate["spec"]["dnsNames"][0], "policy-webhook.kube-devops.svc");
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let annotations =
            &object(&all, kind, "kube-devops-policy-webhook")["metadata"]["annotations"];
        let from = &annotations["cert-manager.io/inject-ca-from"];
        assert_eq!(from, "kube-devops/policy-webhook", "{kind}");
    }

    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let file = testbed.folder().join("brought.crt");
    std::fs::write(&file, pem).unwrap();
    let file = format!("certificate.caBundle={}", file.display());
    let secret = "certificate.source=secret,certificate.secretName=mine";
    let all = rendered(testbed, &["--set", secret, "--set-file", &file]);
    assert_eq!(volume(&all), (json!("/etc/policy-webhook"), json!("mine")));
    assert_eq!(rights(&all), (2, 0));
    let bundle = &configuration(&all)["webhooks"][0]["clientConfig"]["caBundle"];
    assert_eq!(
        bundle,
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
    );
}
