//! Whatever goes wrong, pods are created, and somebody hears why.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use e2e::Parts;

use super::{Door, SURELY, in_doubt, program, review};

/// The webhook with a judge that fails where an image asks for it.
fn faulty() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_faulty-webhook"))
}

#[test]
fn faults_of_judging_let_in_with_a_warning_and_a_count() {
    let door = Door::new(&Parts::new("faults"));
    let shop = door.strict();
    let webhook = door.start("webhook", faulty(), &[("GOV_ADMISSION__DEADLINE_MILLIS", "1000")]);
    door.install(&webhook);
    door.wait_until_denied(&shop);
    for (image, reason) in
        [("fault.example/panic", "panic"), ("fault.example/slow-2000", "deadline")]
    {
        let told = door.lets_in(&shop, reason, image);
        assert!(told.starts_with("Warning: "), "{told}");
        assert!(in_doubt(&webhook, reason) >= Some(1.0), "{reason}: {told}");
    }
    // It goes on.
    door.wait_until_denied(&shop);
}

#[test]
fn before_policies_are_known_nobody_is_denied() {
    let door = Door::new(&Parts::new("unsynced"));
    let shop = door.strict();
    // Whoever may not list policies never knows them.
    let blind = door.testbed.service_account("kube-devops", "blind", "[]").unwrap();
    let webhook = door.launch("webhook", program()).kubeconfig(&blind).start().unwrap();
    let (status, body) = webhook.get("/readyz").unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("the first list of policies"), "{body}");
    door.install(&webhook);
    door.testbed
        .wait_for("the API server to call", SURELY, || {
            let (_, told) = door.would_let_in(&shop);
            Ok(told.starts_with("Warning: "))
        })
        .unwrap();
    assert!(in_doubt(&webhook, "not_synced") >= Some(1.0));
}

#[test]
fn a_server_that_is_away_hangs_or_talks_nonsense_keeps_nobody_out() {
    let door = Door::new(&Parts::new("away"));
    let shop = door.strict();
    let ca = door.file("ca.crt");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    door.install_url(&format!("https://{away}"), &ca);
    door.lets_in(&shop, "away", "nginx");
    // The kernel accepts; nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    door.install_url(&format!("https://{}", hanging.local_addr().unwrap()), &ca);
    door.lets_in(&shop, "hanging", "nginx");
    let nonsense = TcpListener::bind("127.0.0.1:0").unwrap();
    door.install_url(&format!("https://{}", nonsense.local_addr().unwrap()), &ca);
    thread::spawn(move || {
        for stream in nonsense.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"\x00SSH-2.0 no TLS\r\n"));
        }
    });
    door.lets_in(&shop, "nonsense", "nginx");
}

#[test]
fn a_certificate_that_is_not_trusted_keeps_nobody_out() {
    let door = Door::new(&Parts::new("untrusted"));
    let shop = door.strict();
    let webhook = door.start("webhook", program(), &[]);
    door.install(&webhook);
    door.wait_until_denied(&shop);
    let other = door.testbed.certificate_authority().to_str().unwrap();
    door.install_url(&format!("https://{}", webhook.addr()), other);
    door.testbed
        .wait_for("the API server to trust another CA", SURELY, || Ok(door.would_let_in(&shop).0))
        .unwrap();
    door.lets_in(&shop, "untrusted", "nginx");
    assert!(
        webhook.metrics().unwrap().value("dropped_total", &[("what", "handshakes")]) > Some(0.0)
    );
}

#[test]
fn more_than_it_can_take_is_turned_away_and_the_rest_is_right() {
    const AT_ONCE: usize = 80;
    let door = Door::new(&Parts::new("overload"));
    let shop = door.strict();
    let webhook = door.start("webhook", faulty(), &[("GOV_ADMISSION__CONCURRENCY", "8")]);
    door.install(&webhook);
    door.wait_until_denied(&shop);
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
    door.wait_until_denied(&shop);
}
