//! Requests that mean harm: each is refused within bounds, and all others go on being answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Parts, Service};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::{AdmissionTestbed, MEMORY, SURELY, allows, program, review};

/// The largest body that is read whole.
const LARGEST: usize = 19 << 20;
/// Connections that say nothing.
const IDLE: u64 = 10_000;

struct Attack<'a> {
    webhook: &'a Service<'a>,
    shop: &'a str,
    tls: Arc<ClientConfig>,
}

impl<'a> Attack<'a> {
    fn new(admission: &AdmissionTestbed, webhook: &'a Service<'a>, shop: &'a str) -> Self {
        Self { webhook, shop, tls: admission.client() }
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(self.webhook.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = self.webhook.addr().ip().into();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), stream)
    }

    /// The status line of the answer to these bytes; empty where the connection just ends.
    fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.connect();
        // Refused before all was sent, perhaps.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = vec![0; 64];
        let read = stream.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..read]).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }

    fn post(&self, content_type: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!(
            "POST /validate HTTP/1.1\r\nHost: w\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.send(&head, body)
    }

    /// Others are still answered, soon and right, and memory is within its bounds.
    fn is_over(&self, what: &str) {
        let start = Instant::now();
        for (image, expected) in [("nginx", false), ("nginx:1.27", true)] {
            let answer = self.webhook.post("/validate", &review(self.shop, "u", image)).unwrap();
            assert_eq!(allows(&answer, "u"), expected, "after {what}: {answer:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        let (_, most) = self.webhook.memory_mib().unwrap();
        assert!(most <= MEMORY, "{what}: {most:.0} MiB at most");
    }
}

#[test]
fn what_means_harm_harms_nobody_else() {
    let admission = AdmissionTestbed::new(&Parts::new("hostile"));
    let shop = admission.strict();
    let webhook =
        admission.start("webhook", program(), &[("GOV_ADMISSION__DEADLINE_MILLIS", "2000")]);
    let attack = Attack::new(&admission, &webhook, &shop);
    attack.is_over("nothing");

    for size in [LARGEST + 1, 24 << 20] {
        let answer = attack.post("application/json", &vec![b' '; size]);
        assert_eq!(answer, "HTTP/1.1 413 Payload Too Large");
    }
    attack.is_over("bodies too large");
    // As large as may be, many at a time: all of it in one text, or in what takes most memory.
    let mut padded: Value = serde_json::from_str(&review(&shop, "u", "nginx")).unwrap();
    padded["request"]["object"]["metadata"]["annotations"] = json!({ "a": "x".repeat(18 << 20) });
    for large in [padded.to_string(), expanding(&shop)] {
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| attack.post("application/json", large.as_bytes()));
            }
        });
        attack.is_over("large bodies");
    }
    // What is being judged is judged to its end, also where its caller got an answer at the deadline.
    // Large requests of others wait for that, and may exceed their own deadline.
    padded["request"]["object"]["metadata"]["annotations"] = json!({ "a": "x".repeat(1 << 17) });
    let large = padded.to_string();
    let is_judged = || Ok(attack.post("application/json", large.as_bytes()).contains(" 200 "));
    admission.testbed.wait_for("a large review to be judged again", SURELY, is_judged).unwrap();

    let slow = "POST /validate HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let start = Instant::now();
    let answer = attack.send(slow, b"");
    assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    attack.is_over("a slow body");

    for (what, body) in hostile_reviews() {
        let answer = attack.post("application/json", body.as_bytes());
        assert!(answer.contains(" 200 ") || answer.contains(" 400 "), "{what}: {answer}");
    }
    let answer = attack.post("text/plain", review(&shop, "u", "nginx").as_bytes());
    assert!(answer.contains(" 415 "), "{answer}");
    attack.is_over("odd reviews");

    let head = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = attack.send(&head, b"");
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    attack.is_over("a flood of headers");

    // Each takes a file descriptor here as well; where there are not so many, all there are.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let most = maximum.map_or(IDLE, |most| IDLE.min(most.saturating_sub(1_000)));
    let idle: Vec<_> = (0..most).map(|_| TcpStream::connect(webhook.addr()).unwrap()).collect();
    attack.is_over("connections that say nothing");
    drop(idle);
    assert!(!webhook.logs().unwrap().contains("injected\n"), "{}", webhook.logs().unwrap());
}

/// An update, as the API server writes it, of objects with as many containers as are read, whose
/// images and names are as long as is kept.
fn expanding(namespace: &str) -> String {
    let container = format!(r#"{{"name":"{}","image":"{}"}},"#, "n".repeat(50), "i".repeat(60));
    let list = container.repeat(16_384);
    let list = list.trim_end_matches(',');
    let spec = format!(
        r#"{{"containers":[{list}],"initContainers":[{list}],"ephemeralContainers":[{list}]}}"#
    );
    let object = format!(r#"{{"apiVersion":"v1","kind":"Pod","spec":{spec}}}"#);
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"namespace":"{namespace}","operation":"UPDATE","userInfo":{{"username":"ann"}},"object":{object},"oldObject":{object}}}}}"#
    )
}

/// Reviews that are wrong in one way each.
fn hostile_reviews() -> Vec<(String, String)> {
    let fine: Value = serde_json::from_str(&review("shop", "u", "nginx")).unwrap();
    let mut all = vec![
        ("nothing".to_owned(), String::new()),
        ("no JSON".to_owned(), "{".to_owned()),
        ("deep".to_owned(), "[".repeat(1 << 20)),
        (
            "a deep object".to_owned(),
            fine.to_string().replace("\"web\"", &"{\"a\":".repeat(100_000)),
        ),
    ];
    // Each part missing, null, and of another type.
    let parts = [
        "",
        "/apiVersion",
        "/kind",
        "/request",
        "/request/uid",
        "/request/operation",
        "/request/namespace",
        "/request/kind",
        "/request/userInfo",
        "/request/userInfo/username",
        "/request/object",
        "/request/object/metadata",
        "/request/object/spec",
        "/request/object/spec/containers",
        "/request/object/spec/containers/0",
        "/request/object/spec/containers/0/name",
        "/request/object/spec/containers/0/image",
    ];
    for part in parts {
        for value in [Value::Null, json!(7), json!([[]]), json!("a\u{1b}[2J\ninjected\n\u{202e}")] {
            let mut review = fine.clone();
            if let Some(place) = review.pointer_mut(part) {
                *place = value.clone();
            }
            all.push((format!("{part} {value}"), review.to_string()));
        }
    }
    all
}
