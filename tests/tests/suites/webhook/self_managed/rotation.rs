//! A certificate that is due is replaced, and nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Service, trusting};
use k8s_openapi::ByteString;
use policy_manifests::certificate::{Names, issue};
use serde_json::json;
use time::OffsetDateTime;

use super::{DENIAL, NAMESPACE, SECRET, SelfManaged, authorities};
use crate::webhook::continuity::{Front, expiry};
use crate::webhook::{SURELY, allows, pod, review};

const USER: &str = "system:serviceaccount:kube-devops:policy-webhook";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A new authority has to have been known for a minute, and each replica looks each ten seconds.
const ROTATION: Duration = Duration::from_secs(180);

/// Puts a certificate into the Secret of whose time less than a third is left.
fn put_old_certificate(world: &SelfManaged) {
    let mut names = Names::of_service("policy-webhook", NAMESPACE);
    names.ips.push("127.0.0.1".parse().unwrap());
    let old = issue(&names, OffsetDateTime::now_utc() - 61 * DAY, 90 * DAY).unwrap();
    let bytes = |text: String| ByteString(text.into_bytes());
    let data = json!({
        "ca.crt": bytes(old.authority.certificate),
        "tls.crt": bytes(old.server.certificate),
        "tls.key": bytes(old.server.key),
    });
    let patch = json!([{ "op": "add", "path": "/data", "value": data }]).to_string();
    world.patch(SECRET, &patch);
}

/// Asks a replica as an API server does that has just read the configuration: on a new connection,
/// by the authorities that stand there.
fn ask(world: &SelfManaged, webhook: &Service<'_>, namespace: &str, uid: &str) {
    let trusted = authorities(&world.bundle());
    let address = webhook.at(webhook.addr()).trusting(trusting(&trusted).unwrap());
    let bad = address.post("/validate", &review(namespace, uid, "nginx"), SURELY).unwrap();
    assert!(!allows(&bad, uid), "{bad:?}");
}

#[test]
fn no_verdict_is_lost_while_the_certificate_is_replaced() {
    let world = SelfManaged::new("rotation-by-itself");
    let shop = world.door.strict();
    put_old_certificate(&world);
    let before = world.secret();
    let mut replicas = ["a", "b"].map(|name| world.start(name));
    let front = Front::start(replicas.iter().map(Service::addr).collect());
    world.install(front.addr);
    world.wait_until_told();
    world.door.wait_until_denied(&shop);
    let first = replicas.each_ref().map(expiry);
    let (is_over, created, asked) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let pods = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = created.fetch_add(1, Ordering::Relaxed);
                let run = world.door.create(&pod(&shop, &format!("bad-{number}"), "nginx"), &[]);
                assert!(run.code != Some(0) && run.stderr.contains(DENIAL), "{run:?}");
            }
        });
        let connections = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                ask(&world, &replicas[number % 2], &shop, &number.to_string());
            }
        });
        let is_replaced = || {
            let secret = world.secret();
            secret["tls.crt"] != before["tls.crt"] && !secret.contains_key("next.crt")
        };
        let replaced = world.door.testbed.wait_for("the rotation", ROTATION, || {
            Ok(pods.is_finished() || connections.is_finished() || is_replaced())
        });
        // Both replicas have it, and go on for a while.
        let after = asked.load(Ordering::Relaxed);
        let has_gone_on = || {
            let serial = |name: &Service<'_>| name.logs().unwrap().matches("serving a new").count();
            let both = replicas.iter().all(|replica| serial(replica) == 2);
            Ok(connections.is_finished() || both && asked.load(Ordering::Relaxed) > after + 10)
        };
        let gone_on = world.door.testbed.wait_for("both to serve it", SURELY, has_gone_on);
        is_over.store(true, Ordering::Relaxed);
        pods.join().unwrap();
        connections.join().unwrap();
        replaced.unwrap();
        gone_on.unwrap();
    });
    let (created, asked) = (created.into_inner(), asked.into_inner());
    assert!(created > 50 && asked > 50, "{created} and {asked}");
    let pods = ["get", "pods", "-n", &shop, "-o", "name"];
    assert_eq!(world.kubectl(&pods), "", "nobody got in");
    assert_eq!(authorities(&world.secret()["ca.crt"]).len(), 2, "the old one until it expires");
    for (replica, first) in replicas.iter_mut().zip(first) {
        world.trust(replica);
        assert!(expiry(replica) > first);
    }
    each_step_was_made_once(&world);
}

/// The next certificate, and its promotion: who was second was refused, or saw that it was done.
fn each_step_was_made_once(world: &SelfManaged) {
    let calls = world.door.testbed.audit(USER).unwrap();
    let writes: Vec<_> = calls.iter().filter(|call| call.verb == "update").collect();
    assert_eq!(writes.iter().filter(|call| call.code == 200).count(), 2, "{writes:?}");
    assert!(writes.iter().all(|call| [200, 409].contains(&call.code)), "{writes:?}");
}
