//! The webhook has the rights that it needs, and needs those that it has.

use std::collections::BTreeSet;

use e2e::{Parts, Service, Signal};

use super::self_managed::SelfManaged;
use super::{AdmissionTestbed, SURELY, program};

const USER: &str = "system:serviceaccount:kube-devops:policy-webhook";

/// What it asked of a server of that sort, with a certificate that comes as files.
fn asked(parts: &Parts) -> BTreeSet<String> {
    let admission = AdmissionTestbed::new(parts);
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    asked_until_its_end(&admission, &webhook)
}

/// The same where it issues the certificate itself.
fn asked_where_it_issues_its_certificate() -> BTreeSet<String> {
    let world = SelfManaged::new("issues");
    let shop = world.admission.strict();
    let webhook = world.start("webhook");
    world.install(webhook.addr());
    world.admission.wait_until_denied(&shop);
    world.install_mutating(webhook.addr());
    asked_until_its_end(&world.admission, &webhook)
}

fn asked_until_its_end(admission: &AdmissionTestbed, webhook: &Service<'_>) -> BTreeSet<String> {
    webhook.signal(Signal::Term).unwrap();
    assert_eq!(webhook.wait_exit(SURELY).unwrap().code(), Some(0));
    // A watch stands in the log once it has ended.
    let ended = || Ok(admission.testbed.audit(USER)?.iter().any(|call| call.verb == "watch"));
    admission.testbed.wait_for("the audit log", SURELY, ended).unwrap();
    let calls = admission.testbed.audit(USER).unwrap();
    let names = calls.into_iter().map(|call| {
        assert_ne!(call.code, 403, "{call:?}");
        format!("{} {}", call.verb, call.resource)
    });
    names.collect()
}

#[test]
fn with_files_it_asks_for_policies_alone() {
    let used = asked(&Parts::new("rights"));
    assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), ["watch devopspolicies"]);
}

#[test]
fn to_issue_its_certificate_it_needs_all_other_rules_that_are_installed() {
    let used = asked_where_it_issues_its_certificate();
    let used: Vec<_> = used.iter().map(String::as_str).collect();
    assert_eq!(
        used,
        [
            "get mutatingwebhookconfigurations",
            "get secrets",
            "get validatingwebhookconfigurations",
            "patch mutatingwebhookconfigurations",
            "patch validatingwebhookconfigurations",
            "update secrets",
            "watch devopspolicies",
        ]
    );
}
