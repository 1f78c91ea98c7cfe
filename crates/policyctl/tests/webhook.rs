//! `webhook cert-generate`, and `webhook install-config` without a cluster.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Exit code, standard output, standard error.
fn policyctl(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    command.current_dir(folder).env("KUBECONFIG", "does-not-exist");
    let output = command.arg("webhook").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_certificate_is_made_once_and_its_names_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let make = ["cert-generate", "--ip-san", "10.0.0.7", "--dns-san", "hook.example.com"];
    let (code, stdout, stderr) = policyctl(folder.path(), &make);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    let [ca, ca_key, certificate, key, "", names, until] = lines.as_slice() else {
        panic!("{stdout}")
    };
    let files = ["ca.crt", "ca.key", "tls.crt", "tls.key"];
    assert_eq!(
        [*ca, *ca_key, *certificate, *key],
        files.map(|name| format!("created   webhook-certs/{name}"))
    );
    assert_eq!(
        *names,
        "Names  policy-webhook, policy-webhook.kube-devops, policy-webhook.kube-devops.svc, \
         policy-webhook.kube-devops.svc.cluster.local, hook.example.com, 10.0.0.7"
    );
    assert!(until.starts_with("Until  20") && until.ends_with('Z'), "{until}");
    assert!(stderr.contains("kubectl create secret tls policy-webhook-tls"), "{stderr}");
    let read = |name: &str| fs::read_to_string(folder.path().join("webhook-certs").join(name));
    let before = files.map(|name| read(name).unwrap());

    let (code, stdout, stderr) = policyctl(folder.path(), &["cert-generate"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(
        stderr,
        "error: webhook-certs already has ca.crt, ca.key, tls.crt, tls.key; --force replaces them\n"
    );
    assert_eq!(files.map(|name| read(name).unwrap()), before);

    let (code, stdout, stderr) = policyctl(folder.path(), &["cert-generate", "--force", "--quiet"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("replaced  webhook-certs/ca.crt\n"), "{stdout}");
    for (name, before) in files.iter().zip(before) {
        assert_ne!(read(name).unwrap(), before, "{name}");
    }
}

#[test]
fn the_printed_configuration_has_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    policyctl(folder.path(), &["cert-generate", "--output-dir", "."]);
    let print = ["install-config", "--ca-bundle-path", "ca.crt", "-o", "yaml"];
    let printed = |more: &[&str]| -> Value {
        let (code, stdout, stderr) = policyctl(folder.path(), &[&print[..], more].concat());
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        serde_saphyr::from_str(&stdout).unwrap()
    };
    let webhook = &printed(&["--exclude-namespace", "sandbox"])["webhooks"][0];
    let service = &webhook["clientConfig"]["service"];
    assert_eq!(
        (&service["name"], &service["namespace"]),
        (&"policy-webhook".into(), &"kube-devops".into())
    );
    // `LS0tLS1CRUdJTi` is how `-----BEGIN ` begins in base64.
    let authority = webhook["clientConfig"]["caBundle"].as_str().unwrap();
    assert!(authority.starts_with("LS0tLS1CRUdJTi"), "{authority}");
    assert!(!authority.contains(char::is_whitespace));
    let excluded = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
    assert!(excluded.as_array().unwrap().contains(&"sandbox".into()), "{excluded}");

    let webhook = &printed(&["--service-name", "hook", "-n", "team"])["webhooks"][0];
    let service = &webhook["clientConfig"]["service"];
    assert_eq!((&service["name"], &service["namespace"]), (&"hook".into(), &"team".into()));

    let webhook = &printed(&["--url", "https://10.0.0.7:8443"])["webhooks"][0];
    assert_eq!(webhook["clientConfig"]["url"], "https://10.0.0.7:8443/validate");
    assert_eq!(webhook["clientConfig"]["service"], Value::Null);

    let (code, stdout, stderr) = policyctl(folder.path(), &["install-config", "-o", "yaml"]);
    let without: Value = serde_saphyr::from_str(&stdout).unwrap();
    let client_config = &without["webhooks"][0]["clientConfig"];
    assert_eq!((code, &client_config["caBundle"]), (0, &Value::Null));
    assert_eq!(client_config["service"]["name"], "policy-webhook");
    assert_eq!(
        stderr,
        "the configuration has no caBundle: the webhook has to issue its own certificate, and adds \
         it\n"
    );

    let with_key = ["install-config", "--ca-bundle-path", "ca.key", "-o", "yaml"];
    let (code, stdout, stderr) = policyctl(folder.path(), &with_key);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.starts_with("error: the CA file ca.key: has a private key, which"), "{stderr}");
}
