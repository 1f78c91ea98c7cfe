//! The webhook has the rights that it needs, and needs those that it has.

use e2e::{Parts, Service, Signal};

use super::self_managed::SelfManaged;
use super::{AdmissionTestbed, SURELY, program};

/// Ends it; then it has needed all rights but these.
fn needs_all_but(unneeded: &[&str], admission: &AdmissionTestbed, webhook: &Service<'_>) {
    webhook.signal(Signal::Term).unwrap();
    assert_eq!(webhook.wait_exit(SURELY).unwrap().code(), Some(0));
    let rights = admission.testbed.rights("kube-devops", "policy-webhook").unwrap();
    admission.testbed.needs_all_but(unneeded, &rights).unwrap();
}

#[test]
fn with_files_it_asks_for_policies_alone() {
    let admission = AdmissionTestbed::new(&Parts::new("rights"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let of_certificate = [
        "get mutatingwebhookconfigurations.admissionregistration.k8s.io kube-devops-policy-webhook",
        "get secrets policy-webhook-self-managed in kube-devops",
        "get validatingwebhookconfigurations.admissionregistration.k8s.io kube-devops-policy-webhook",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io kube-devops-policy-webhook",
        "patch validatingwebhookconfigurations.admissionregistration.k8s.io \
         kube-devops-policy-webhook",
        "update secrets policy-webhook-self-managed in kube-devops",
    ];
    needs_all_but(&of_certificate, &admission, &webhook);
}

#[test]
fn to_issue_its_certificate_it_needs_all_rules_that_are_installed() {
    let world = SelfManaged::new("issues");
    let shop = world.admission.strict();
    let webhook = world.start("webhook");
    world.install(webhook.addr());
    world.admission.wait_until_denied(&shop);
    world.install_mutating(webhook.addr());
    needs_all_but(&[], &world.admission, &webhook);
}
