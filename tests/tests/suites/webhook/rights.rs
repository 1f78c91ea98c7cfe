//! The webhook has the rights that it needs, and needs those that it has.

use e2e::{Parts, Service, Signal};

use super::self_managed::SelfManaged;
use super::{AdmissionTestbed, SURELY, program};

/// What the chart installs where the certificate comes as files.
const WITH_CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../charts/kube-devops/files/policy-webhook-with-certificate.yaml"
);

/// Ends it; then it has needed all of its rights.
fn needs_all(admission: &AdmissionTestbed, webhook: &Service<'_>) {
    webhook.signal(Signal::Term).unwrap();
    assert_eq!(webhook.wait_exit(SURELY).unwrap().code(), Some(0));
    let rights = admission.testbed.rights("kube-devops", "policy-webhook").unwrap();
    admission.testbed.needs_all_but(&[], &rights).unwrap();
}

#[test]
fn with_files_it_needs_policies_alone() {
    let admission = AdmissionTestbed::new(&Parts::new("rights"));
    let delete = ["delete", "role/policy-webhook", "rolebinding/policy-webhook"];
    let delete = [&delete[..], &["--namespace=kube-devops"]].concat();
    admission.testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    admission.testbed.apply(&std::fs::read_to_string(WITH_CERTIFICATE).unwrap()).unwrap();
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    needs_all(&admission, &webhook);
}

#[test]
fn to_issue_its_certificate_it_needs_all_rules_that_are_installed() {
    let world = SelfManaged::new("issues");
    let shop = world.admission.strict();
    let webhook = world.start("webhook");
    world.install(webhook.addr());
    world.admission.wait_until_denied(&shop);
    world.install_mutating(webhook.addr());
    needs_all(&world.admission, &webhook);
}
