//! The webhook has the rights that it needs, and needs those that it has.

use std::collections::BTreeSet;

use e2e::{Parts, Signal};

use super::{Door, SURELY, program};

const USER: &str = "system:serviceaccount:kube-devops:policy-webhook";

/// What it asked of a server of that sort.
fn asked(parts: &Parts) -> BTreeSet<String> {
    let door = Door::new(parts);
    let shop = door.strict();
    let webhook = door.start("webhook", program(), &[]);
    door.install(&webhook);
    door.wait_until_denied(&shop);
    webhook.signal(Signal::Term).unwrap();
    assert_eq!(webhook.wait_exit(SURELY).unwrap().code(), Some(0));
    // A watch stands in the log once it has ended.
    let ended = || Ok(door.testbed.audit(USER)?.iter().any(|call| call.verb == "watch"));
    door.testbed.wait_for("the audit log", SURELY, ended).unwrap();
    let calls = door.testbed.audit(USER).unwrap();
    let names = calls.into_iter().map(|call| {
        assert_ne!(call.code, 403, "{call:?}");
        format!("{} {}", call.verb, call.resource)
    });
    names.collect()
}

#[test]
fn it_needs_exactly_the_rules_that_are_installed() {
    let mut used = asked(&Parts::new("streams"));
    used.extend(asked(&Parts::new("pages").without_streamed_lists()));
    let used: Vec<_> = used.iter().map(String::as_str).collect();
    assert_eq!(used, ["list devopspolicies", "watch devopspolicies"]);
}
