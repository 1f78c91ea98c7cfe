//! Only the API server is answered, where that is asked for.

use e2e::{Parts, WEBHOOK_CLIENT};

use super::{AdmissionTestbed, SURELY, in_doubt, program};

#[test]
fn only_the_api_server_is_answered_and_probes_still_work() {
    let admission = AdmissionTestbed::new(&Parts::new("mtls"));
    let shop = admission.strict();
    let ca = admission.testbed.certificate_authority().to_str().unwrap().to_owned();
    let names = format!("[{WEBHOOK_CLIENT}]");
    let client = [("GOV_TLS__CLIENT_CA", ca.as_str()), ("GOV_TLS__CLIENT_NAMES", &names)];
    let webhook = admission.start("webhook", program(), &client);
    assert_eq!(webhook.get("/healthz").unwrap().0, 200);
    let (status, body) = webhook.post("/validate", "{}").unwrap();
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("client certificate"), "{body}");
    assert_eq!(in_doubt(&webhook, "unauthenticated"), Some(1.0));
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    assert_eq!(in_doubt(&webhook, "unauthenticated"), Some(1.0));
    drop(webhook);
    // A name that the API server's certificate does not have.
    let other = [("GOV_TLS__CLIENT_CA", ca.as_str()), ("GOV_TLS__CLIENT_NAMES", "[somebody-else]")];
    let webhook = admission.start("webhook", program(), &other);
    admission.install(&webhook);
    admission
        .testbed
        .wait_for("the API server to be turned away", SURELY, || {
            assert!(admission.would_let_in(&shop).0, "it answers");
            Ok(in_doubt(&webhook, "unauthenticated") >= Some(1.0))
        })
        .unwrap();
}
