//! A certificate that is due is replaced, and nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Service, trusting};

use super::{DENIAL, SelfManaged, authorities};
use crate::webhook::continuity::Front;
use crate::webhook::{SURELY, allows, pod, review};

const USER: &str = "system:serviceaccount:kube-devops:policy-webhook";
/// A new authority has to have been known for a minute, and each replica looks each ten seconds.
const ROTATION: Duration = Duration::from_secs(180);

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
    let shop = world.admission.strict();
    let replicas = ["a", "b"].map(|name| world.start(name));
    let before = world.secret();
    let front = Front::start(replicas.iter().map(Service::addr).collect());
    world.install(front.addr);
    world.wait_until_told();
    world.admission.wait_until_denied(&shop);
    let (is_over, created, asked) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let pods = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = created.fetch_add(1, Ordering::Relaxed);
                let run =
                    world.admission.create(&pod(&shop, &format!("bad-{number}"), "nginx"), &[]);
                assert!(run.code != Some(0) && run.stderr.contains(DENIAL), "{run:?}");
            }
        });
        let connections = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                ask(&world, &replicas[number % 2], &shop, &number.to_string());
            }
        });
        // A third one is to have one more name: so a new certificate is due, as it is with time.
        let third = world.start_with("c", "127.0.0.1,hook.example.com");
        let is_replaced = || {
            let secret = world.secret();
            secret["tls.crt"] != before["tls.crt"] && !secret.contains_key("next.crt")
        };
        let replaced = world.admission.testbed.wait_for("the rotation", ROTATION, || {
            Ok(pods.is_finished() || connections.is_finished() || is_replaced())
        });
        // All replicas have it, and go on for a while.
        let after = asked.load(Ordering::Relaxed);
        let has_gone_on = || {
            let served = |name: &Service<'_>| name.logs().unwrap().matches("serving a new").count();
            let all = replicas.iter().chain([&third]).all(|replica| served(replica) == 2);
            let asked = asked.load(Ordering::Relaxed);
            let enough = created.load(Ordering::Relaxed) > 50 && asked > 50 && asked > after + 10;
            Ok(connections.is_finished() || all && enough)
        };
        let gone_on = world.admission.testbed.wait_for("all to serve it", SURELY, has_gone_on);
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
    each_step_was_made_once(&world);
}

/// The first certificate, the next one, and its promotion: who was second was refused, or saw that it was done.
fn each_step_was_made_once(world: &SelfManaged) {
    let calls = world.admission.testbed.audit(USER).unwrap();
    let writes: Vec<_> = calls.iter().filter(|call| call.verb == "update").collect();
    assert_eq!(writes.iter().filter(|call| call.code == 200).count(), 3, "{writes:?}");
    assert!(writes.iter().all(|call| [200, 409].contains(&call.code)), "{writes:?}");
}
