//! In normal service nobody is wrongly denied, and nobody wrongly allowed: many requests of which
//! the verdicts are known.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use e2e::{Parts, Service};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use super::{AdmissionTestbed, allows, policy, program, review};

const DIRECT: usize = 100_000;
const CONNECTIONS: usize = 8;
const BY_API_SERVER: usize = 1_000;

/// One with a policy that denies, one with a policy that warns, one without a policy.
struct Namespaces([String; 3]);

impl Namespaces {
    fn new(admission: &AdmissionTestbed) -> Self {
        let strict = admission.strict();
        let [lenient, free] =
            ["lenient", "free"].map(|name| admission.testbed.namespace(name).unwrap());
        let warns = "{forbidLatestTag: true, admission: {mode: warn}}";
        admission.testbed.apply(&policy(&lenient, "lenient", warns)).unwrap();
        Self([strict, lenient, free])
    }

    /// The namespace and image of a request, and what is to become of it. Different with each
    /// number, so that no answer of another request would do.
    fn request(&self, number: usize) -> (&str, String, Expected) {
        let namespace = &self.0[number % 3];
        let (image, is_pinned) = match number / 3 % 4 {
            0 => (format!("shop/web-{number}"), false),
            1 => (format!("shop/web-{number}:latest"), false),
            2 => (format!("reg:5000/web-{number}:v1"), true),
            _ => (format!("shop/web:v{number}"), true),
        };
        let expected = match number % 3 {
            0 if !is_pinned => Expected::Denied,
            1 if !is_pinned => Expected::Warned,
            _ => Expected::Fine,
        };
        (namespace, image, expected)
    }

    /// How many of the direct requests are to end like that.
    fn count(&self, expected: Expected) -> f64 {
        let count = (0..DIRECT).filter(|&number| self.request(number).2 == expected).count();
        u32::try_from(count).unwrap().into()
    }
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Denied,
    Warned,
    Fine,
}

/// What the webhook counted so far: requests allowed, denied; denials; findings denied, warned of.
fn counted(webhook: &Service<'_>) -> [f64; 5] {
    let metrics = webhook.metrics().unwrap();
    let requests = |decision| {
        let labels = [("operation", "create"), ("decision", decision)];
        metrics.value("webhook_requests_total", &labels).unwrap()
    };
    let findings = |decision| {
        let labels = [("check", "latest-tag"), ("decision", decision)];
        metrics.value("webhook_findings_total", &labels).unwrap()
    };
    let denials = metrics.value("webhook_denials_total", &[]).unwrap();
    [requests("allowed"), requests("denied"), denials, findings("denied"), findings("warned")]
}

/// One connection for many requests.
struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    fn open(webhook: &Service<'_>, tls: &Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(webhook.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        let session = ClientConnection::new(Arc::clone(tls), webhook.addr().ip().into()).unwrap();
        Self(BufReader::new(StreamOwned::new(session, stream)))
    }

    fn post(&mut self, json: &str) -> (u16, String) {
        let length = json.len();
        let request = format!(
            "POST /validate HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the connection ended");
            head.push_str(&line.to_ascii_lowercase());
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

fn ask_directly(admission: &AdmissionTestbed, webhook: &Service<'_>, namespaces: &Namespaces) {
    let tls = admission.client();
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let mut connection = Connection::open(webhook, &tls);
            scope.spawn(move || {
                for number in (first..DIRECT).step_by(CONNECTIONS) {
                    let (namespace, image, expected) = namespaces.request(number);
                    let uid = number.to_string();
                    let answer = connection.post(&review(namespace, &uid, &image));
                    assert_eq!(
                        allows(&answer, &uid),
                        expected != Expected::Denied,
                        "{namespace} {image}: {answer:?}"
                    );
                }
            });
        }
    });
}

async fn ask_by_api_server(admission: &AdmissionTestbed, namespaces: &Namespaces) {
    let client = e2e::client(admission.testbed.kubeconfig()).await.unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let asked = (0..BY_API_SERVER).map(|number| {
        let (namespace, image, expected) = namespaces.request(number);
        let pod: Value = serde_json::from_str(&review(namespace, "u", &image)).unwrap();
        let mut pod: Pod = serde_json::from_value(pod["request"]["object"].clone()).unwrap();
        pod.metadata.name = Some(format!("web-{number}"));
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let dry = &dry;
        async move {
            let created = api.create(dry, &pod).await;
            let is_as_expected = match &created {
                Ok(_) => expected != Expected::Denied,
                Err(kube::Error::Api(status)) => {
                    status.code == 403
                        && status.message.contains("denied by policy")
                        && expected == Expected::Denied
                }
                Err(_) => false,
            };
            assert!(is_as_expected, "{namespace} {image}: {created:?}");
        }
    });
    stream::iter(asked).buffer_unordered(CONNECTIONS).collect::<()>().await;
}

#[test]
fn many_requests_are_all_judged_right() {
    let admission = AdmissionTestbed::new(&Parts::new("mass"));
    let namespaces = Namespaces::new(&admission);
    let webhook = admission.start("webhook", program(), &[]);
    admission.install(&webhook);
    admission.wait_until_denied(&namespaces.0[0]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask_by_api_server(&admission, &namespaces));
    let before = counted(&webhook);
    ask_directly(&admission, &webhook, &namespaces);
    let after = counted(&webhook);
    let [denied, warned, fine] =
        [Expected::Denied, Expected::Warned, Expected::Fine].map(|one| namespaces.count(one));
    let expected = [warned + fine, denied, denied, denied, warned];
    let counted = std::iter::zip(before, after).map(|(before, after)| after - before);
    assert!(counted.eq(expected), "{before:?} to {after:?}, not {expected:?} more");
    let metrics = webhook.metrics().unwrap();
    for (series, count) in
        metrics.iter().filter(|(series, _)| series.name == "webhook_failopen_total")
    {
        assert!(count == 0.0, "{series:?}: {count}");
    }
}
