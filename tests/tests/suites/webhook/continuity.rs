//! No verdict is lost or wrong while certificates, policies and replicas change.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use e2e::{Parts, Service, Signal};

use super::{AdmissionTestbed, SURELY, allows, certificates, policy, program, review};
use crate::cli;

/// Asks from several threads at once until it is over, each time on a new connection; every
/// answer has to be right. Gives how many there were.
fn ask_until(
    is_over: &AtomicBool,
    namespace: &str,
    ask: impl Fn(&str) -> (u16, String) + Sync,
) -> usize {
    const THREADS: usize = 4;
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ask, asked) = (&ask, &asked);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let uid = format!("{thread}-{}", asked.fetch_add(1, Ordering::Relaxed));
                    let bad = ask(&review(namespace, &uid, "nginx"));
                    assert!(!allows(&bad, &uid), "{bad:?}");
                    let good = ask(&review(namespace, &uid, "nginx:1.27"));
                    assert!(allows(&good, &uid), "{good:?}");
                }
            });
        }
    });
    asked.into_inner()
}

/// What the kubelet does with a Secret that changed: all its files change in one step.
fn publish(mounted: &Path, files: &Path, version: &str) {
    let folder = mounted.join(format!("..{version}"));
    fs::create_dir(&folder).unwrap();
    for file in ["tls.crt", "tls.key"] {
        fs::copy(files.join(file), folder.join(file)).unwrap();
    }
    let new = mounted.join("..data_tmp");
    symlink(&folder, &new).unwrap();
    fs::rename(&new, mounted.join("..data")).unwrap();
}

/// When the certificate expires that a replica serves.
pub(super) fn expiry(webhook: &Service<'_>) -> Option<f64> {
    webhook.metrics().unwrap().value("tls_certificate_expiry_timestamp_seconds", &[])
}

#[test]
fn no_verdict_is_lost_while_certificates_and_policies_change() {
    const ROTATIONS: u32 = 3;
    let admission = AdmissionTestbed::new(&Parts::new("rotation"));
    let shop = admission.strict();
    let mounted = admission.testbed.folder().join("mounted");
    fs::create_dir(&mounted).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), mounted.join(file)).unwrap();
    }
    // Of another CA each time, and valid for another time, which tells them apart.
    let generated: Vec<_> = (1..=ROTATIONS)
        .map(|number| {
            let folder = admission.testbed.folder().join(format!("certificates-{number}"));
            let (path, days) = (folder.to_str().unwrap(), (100 * number).to_string());
            let generate = ["webhook", "cert-generate", "--output-dir", path, "--days", &days];
            cli::expect(
                &admission.testbed,
                0,
                &[&generate[..], &["--ip-san", "127.0.0.1"]].concat(),
                "",
            );
            folder
        })
        .collect();
    publish(&mounted, &admission.certificates, "first");
    let all = generated.iter().map(|folder| folder.join("ca.crt").to_str().unwrap().to_owned());
    let trusted: Vec<_> =
        all.chain([admission.file("ca.crt")]).flat_map(|file| certificates(&file)).collect();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| mounted.join(name));
    let webhook = admission
        .testbed
        .service("webhook", program())
        .kubeconfig(&admission.kubeconfig)
        .arguments(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()])
        .https(&trusted)
        .unwrap()
        .start()
        .unwrap();
    webhook.wait_ready(SURELY).unwrap();
    let is_over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            ask_until(&is_over, &shop, |review| webhook.post("/validate", review).unwrap())
        });
        for (number, folder) in generated.iter().enumerate() {
            let before = expiry(&webhook);
            publish(&mounted, folder, &format!("rotation-{number}"));
            // Another policy comes and goes meanwhile.
            let other = policy(&shop, "other", "{requireReadinessProbe: true}");
            admission.testbed.apply(&other).unwrap();
            let changed = || Ok(asking.is_finished() || expiry(&webhook) != before);
            admission.testbed.wait_for("the new certificate", SURELY, changed).unwrap();
            super::delete(&admission.testbed, &shop, "dop/other");
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 100, "{asked}");
    let dropped = webhook.metrics().unwrap().value("dropped_total", &[("what", "certificates")]);
    assert_eq!(dropped, Some(0.0));
}

/// Passes connections on to one of the replicas by turns, as a Service does.
pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Front {
    pub(crate) fn start(replicas: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let replicas = Arc::new(Mutex::new(replicas));
        let known = Arc::clone(&replicas);
        thread::spawn(move || {
            for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
                let replica = {
                    let replicas = known.lock().unwrap();
                    replicas[number % replicas.len()]
                };
                let server = TcpStream::connect(replica).unwrap();
                pass_on(&client, &server);
                pass_on(&server, &client);
            }
        });
        Self { addr, replicas }
    }

    pub(crate) fn add(&self, replica: SocketAddr) {
        self.replicas.lock().unwrap().push(replica);
    }

    pub(crate) fn drop(&self, replica: SocketAddr) {
        self.replicas.lock().unwrap().retain(|known| *known != replica);
    }
}

fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn no_verdict_is_lost_while_replicas_are_replaced() {
    let admission = AdmissionTestbed::new(&Parts::new("rolling"));
    let shop = admission.strict();
    // The load balancer learns of a shutdown after half of that.
    let drain = [("GOV_SHUTDOWN__DRAIN_SECONDS", "10")];
    let start = |name: &str| admission.start(name, program(), &drain);
    let old = [start("a"), start("b")];
    let front = Front::start(old.iter().map(Service::addr).collect());
    // Asked as if it were one service: by one who trusts the same CA.
    let asked_by = old[0].at(front.addr);
    let (is_over, mut started) = (AtomicBool::new(false), Vec::new());
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            ask_until(&is_over, &shop, |review| asked_by.post("/validate", review, SURELY).unwrap())
        });
        for (replica, name) in old.iter().zip(["c", "d"]) {
            let new = start(name);
            front.add(new.addr());
            replica.signal(Signal::Term).unwrap();
            let not_ready = || Ok(replica.get("/readyz").is_ok_and(|(status, _)| status == 503));
            admission
                .testbed
                .wait_for("it not to be ready", Duration::from_secs(5), not_ready)
                .unwrap();
            front.drop(replica.addr());
            assert_eq!(replica.wait_exit(SURELY).unwrap().code(), Some(0));
            started.push(new);
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 100, "{asked}");
}
