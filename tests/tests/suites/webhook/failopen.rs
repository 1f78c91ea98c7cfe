//! On every fault of the webhook pods are created, with the reason in a warning.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use e2e::Parts;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{AdmissionTestbed, SURELY, certificates, in_doubt, pod, policy, program, review};
use crate::failures::response;
use crate::operator::create_undecodable;

/// The webhook with a judge that fails where an image asks for it.
fn faulty() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_faulty-webhook"))
}

#[test]
fn faults_of_judging_let_in_with_a_warning_and_a_count() {
    let admission = AdmissionTestbed::new(&Parts::new("faults"));
    let shop = admission.strict();
    let webhook =
        admission.start("webhook", faulty(), &[("GOV_ADMISSION__DEADLINE_MILLIS", "3000")]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    for (image, reason) in
        [("fault.example/panic", "panic"), ("fault.example/slow-4000", "deadline")]
    {
        let warning = admission.lets_in(&shop, reason, image);
        assert!(warning.starts_with("Warning: "), "{warning}");
        assert!(in_doubt(&webhook, reason) >= Some(1.0), "{reason}: {warning}");
    }
    // It still judges.
    admission.wait_until_denied(&shop);
}

#[test]
fn before_policies_are_known_nobody_is_denied() {
    let admission = AdmissionTestbed::new(&Parts::new("unsynced"));
    let shop = admission.strict();
    // Without the right to watch policies the webhook never has any.
    let blind = admission.testbed.service_account("kube-devops", "blind", "[]").unwrap();
    let webhook = admission.launch("webhook", program()).kubeconfig(&blind).start().unwrap();
    let (status, body) = webhook.get("/readyz").unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("the initial list of policies"), "{body}");
    admission.install(&webhook);
    admission
        .testbed
        .wait_for("the API server to call", SURELY, || {
            let (_, warning) = admission.would_let_in(&shop);
            Ok(warning.starts_with("Warning: "))
        })
        .unwrap();
    assert!(in_doubt(&webhook, "not_synced") >= Some(1.0));
}

#[test]
fn a_server_that_is_away_hangs_or_talks_nonsense_keeps_nobody_out() {
    let admission = AdmissionTestbed::new(&Parts::new("away"));
    let shop = admission.strict();
    let ca = admission.file("ca.crt");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    admission.install_url(&format!("https://{away}"), &ca);
    admission.lets_in(&shop, "away", "nginx");
    // The kernel accepts; nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    admission.install_url(&format!("https://{}", hanging.local_addr().unwrap()), &ca);
    admission.lets_in(&shop, "hanging", "nginx");
    let nonsense = TcpListener::bind("127.0.0.1:0").unwrap();
    admission.install_url(&format!("https://{}", nonsense.local_addr().unwrap()), &ca);
    thread::spawn(move || {
        for stream in nonsense.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"\x00SSH-2.0 no TLS\r\n"));
        }
    });
    admission.lets_in(&shop, "nonsense", "nginx");
    let nonsense = admission.serving_nonsense();
    admission.install_url(&format!("https://{nonsense}"), &ca);
    admission.lets_in(&shop, "nonsense-by-https", "nginx");
}

impl AdmissionTestbed {
    /// Certificate, key and CA, which is the certificate itself, valid until then.
    fn certificate_until(&self, end: SystemTime) -> (String, String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let [cert, key] =
            [("short.crt", pem), ("short.key", key.serialize_pem())].map(|(name, pem)| {
                fs::write(self.file(name), pem).unwrap();
                self.file(name)
            });
        (cert.clone(), key, cert)
    }

    /// A server with the webhook's own certificate, whose answers are no reviews.
    fn serving_nonsense(&self) -> SocketAddr {
        let chain = certificates(&self.file("tls.crt"));
        let key = PrivateKeyDer::from_pem_file(self.file("tls.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                let _ = stream.read(&mut [0; 4096]);
                let answer = response("200 OK", "application/json", "{\"a\": [1]");
                let _ = stream.write_all(&answer);
            }
        });
        addr
    }
}

#[test]
fn a_certificate_that_is_not_trusted_keeps_nobody_out() {
    let admission = AdmissionTestbed::new(&Parts::new("untrusted"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let other = admission.testbed.certificate_authority().to_str().unwrap();
    admission.install_url(&format!("https://{}", webhook.addr()), other);
    admission
        .testbed
        .wait_for("the API server to trust another CA", SURELY, || {
            Ok(admission.would_let_in(&shop).0)
        })
        .unwrap();
    admission.lets_in(&shop, "untrusted", "nginx");
    assert!(
        webhook.metrics().unwrap().value("dropped_total", &[("what", "handshakes")]) > Some(0.0)
    );
}

#[test]
fn more_than_it_can_take_is_turned_away_and_the_rest_is_right() {
    const AT_ONCE: usize = 80;
    let admission = AdmissionTestbed::new(&Parts::new("overload"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", faulty(), &[("GOV_ADMISSION__CONCURRENCY", "8")]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    // Slow, so that they are there at the same time.
    let [good, bad] = ["slow-500:v1", "slow-500"]
        .map(|image| review(&shop, "u", &format!("fault.example/{image}")));
    let answers: Vec<(bool, u16, String)> = thread::scope(|scope| {
        let ask = |number: usize| {
            let (webhook, is_bad) = (&webhook, number.is_multiple_of(2));
            let review = if is_bad { &bad } else { &good };
            scope.spawn(move || {
                let (status, body) = webhook.post("/validate", review).unwrap();
                (is_bad, status, body)
            })
        };
        let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let (judged, shed): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(_, status, _)| *status == 200);
    assert!(judged.len() >= 8 && !shed.is_empty(), "{} judged", judged.len());
    for (is_bad, _, body) in judged {
        let is_denied = body.contains(r#""allowed":false"#);
        assert_eq!(is_denied, *is_bad, "{body}");
    }
    assert!(shed.iter().all(|(_, status, _)| *status == 503), "{shed:?}");
    assert!(in_doubt(&webhook, "overload") >= Some(f64::from(u32::try_from(shed.len()).unwrap())));
    admission.wait_until_denied(&shop);
}

#[test]
fn without_file_descriptors_nobody_is_kept_out_and_then_it_goes_on() {
    const FILES: usize = 48;
    let admission = AdmissionTestbed::new(&Parts::new("descriptors"));
    let shop = admission.strict();
    // The webhook, with so few of them.
    let scarce = admission.testbed.folder().join("scarce-webhook");
    let script = format!("#!/bin/sh\nulimit -n {FILES}\nexec {} \"$@\"\n", program().display());
    fs::write(&scarce, script).unwrap();
    fs::set_permissions(&scarce, Permissions::from_mode(0o755)).unwrap();
    let webhook = admission.start("webhook", &scarce, &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let taken: Vec<_> =
        (0..2 * FILES).map(|_| TcpStream::connect(webhook.addr()).unwrap()).collect();
    // Judged or not: it is answered.
    let run = admission.create(&pod(&shop, "scarce", "nginx:1.27"), &[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    drop(taken);
    admission.wait_until_denied(&shop);
}

#[test]
fn a_policy_that_cannot_be_judged_by_is_left_out_and_the_others_still_deny() {
    let admission = AdmissionTestbed::new(&Parts::new("invalid"));
    let shop = admission.testbed.namespace("shop").unwrap();
    create_undecodable(&admission.testbed, &shop, "broken");
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    let warning = || Ok(admission.would_let_in(&shop).1.contains("Warning: "));
    admission.testbed.wait_for("the API server to call", SURELY, warning).unwrap();
    let (is_let_in, warning) = admission.would_let_in(&shop);
    assert!(is_let_in && warning.contains("broken"), "{warning}");
    assert!(in_doubt(&webhook, "invalid_policy") >= Some(1.0));
    let (_, state) = webhook.get("/debug/state").unwrap();
    assert!(state.contains(&format!("{shop}/broken: the policy cannot be read")), "{state}");
    admission.testbed.apply(&policy(&shop, "strict", super::STRICT)).unwrap();
    admission.wait_until_denied(&shop);
}

#[test]
fn an_expired_certificate_keeps_nobody_out() {
    let admission = AdmissionTestbed::new(&Parts::new("expired"));
    let shop = admission.strict();
    let end = SystemTime::now() + Duration::from_secs(45);
    let (cert, key, ca) = admission.certificate_until(end);
    let webhook = admission
        .testbed
        .service("webhook", program())
        .kubeconfig(&admission.kubeconfig)
        .arguments(&["--tls-cert", &cert, "--tls-key", &key])
        .https(&certificates(&ca))
        .unwrap()
        .start()
        .unwrap();
    webhook.wait_ready(SURELY).unwrap();
    admission.install_url(&format!("https://{}", webhook.addr()), &ca);
    admission.wait_until_denied(&shop);
    let is_over = || Ok(SystemTime::now() > end);
    admission.testbed.wait_for("the certificate to expire", SURELY, is_over).unwrap();
    // An open connection is kept: certificates are checked in the handshake only.
    admission.testbed.kill_api_server().unwrap();
    admission.testbed.restart_api_server().unwrap();
    admission.lets_in(&shop, "expired", "nginx");
}
