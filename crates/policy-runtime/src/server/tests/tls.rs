//! Certificates and handshakes.

use tokio::io::AsyncReadExt as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::*;
use crate::readiness::Readiness;
use crate::tls::CertificateFollower;
use crate::tls::tests::mounted;

/// The serial number of the certificate that a server shows.
async fn shown(server: &Running) -> String {
    let stream = server.tls("h2", None).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    X509Certificate::from_der(&shown[0]).unwrap().1.raw_serial_as_string()
}

#[tokio::test]
async fn both_versions_of_http_are_served() {
    let server = Running::start(Speech::Http1, Limits::default()).await;
    for speech in [Speech::Http1, Speech::Http2] {
        let mut connection = server.connect(speech).await;
        for _ in 0..3 {
            let answer = connection.get("/quick").await.unwrap();
            assert_eq!(answer, (200, "quick\n".to_owned()), "{speech:?}");
        }
        assert_eq!(connection.get("/who").await.unwrap().0, 405, "{speech:?}");
        assert_eq!(connection.post("/quick", "x").await.unwrap().0, 405, "{speech:?}");
        assert_eq!(connection.get("/nothing").await.unwrap().0, 404, "{speech:?}");
        assert_eq!(connection.post("/who", "x").await.unwrap().1, " false\n", "{speech:?}");
    }
    assert!(server.tls("smtp", None).await.is_err(), "a protocol that nobody speaks here");
}

#[tokio::test]
async fn a_new_certificate_costs_no_request() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.server(1).mount(folder.path(), "..1");
    let follower = CertificateFollower::open(&mounted(folder.path())).unwrap();
    let store = follower.store();
    let server = Running::with(Speech::Http1, Limits::default(), authority, store).await;
    tokio::spawn(follower.every(Duration::from_millis(20)).run(Readiness::default()));
    let mut first = server.connect(Speech::Http1).await;
    let mut second = server.connect(Speech::Http2).await;
    for generation in 2..6 {
        let issued = server.authority.server(generation);
        issued.mount(folder.path(), &format!("..{generation}"));
        let serial = format!("0{generation}");
        let taken = async {
            while shown(&server).await != serial {
                for connection in [&mut first, &mut second] {
                    assert_eq!(connection.get("/quick").await.unwrap().0, 200);
                }
            }
        };
        timeout(LONG, taken).await.unwrap();
    }
}

#[tokio::test]
async fn clients_are_identified_by_their_certificates() {
    let server = Running::start(Speech::Http1, Limits::default()).await;
    let ca = Authority::new();
    server.store.set_clients(ca.pem.as_bytes(), &["caller".to_owned()]).unwrap();
    let answer = async |protocol: &str, shown: Option<&Issued>| {
        let stream = server.tls(protocol, shown).await.unwrap();
        let connect = async |stream| match protocol {
            "h2" => http2(stream).await,
            _ => http1(stream).await,
        };
        connect(stream).await.post("/who", "").await.unwrap().1
    };
    for protocol in ["h2", "http/1.1"] {
        assert_eq!(answer(protocol, Some(&ca.client("caller"))).await, "caller true\n");
        assert_eq!(answer(protocol, Some(&ca.client("other"))).await, "other false\n");
        assert_eq!(answer(protocol, None).await, " false\n");
        let stranger = Authority::new().client("caller");
        // With TLS 1.3 the caller has finished before the server refuses.
        if let Ok(mut stream) = server.tls(protocol, Some(&stranger)).await {
            assert!(stream.read_u8().await.is_err(), "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_client_ca_may_cover_all_but_probes() {
    let (authority, store, ca) = (Authority::new(), CertificateStore::new(), Authority::new());
    authority.server(1).serve(&store).unwrap();
    store.set_clients(ca.pem.as_bytes(), &["caller".to_owned()]).unwrap();
    let mut endpoints = Endpoints::default();
    endpoints.probe("/healthz", || text(StatusCode::OK, "ok"));
    endpoints.get("/metrics", || text(StatusCode::OK, "up 1"));
    endpoints.require_certificate();
    let limits = Limits::default();
    let server = Running::serving(endpoints, Speech::Http2, limits, authority, store).await;
    let [caller, other] = ["caller", "other"].map(|name| ca.client(name));
    for (shown, metrics) in [(None, 403), (Some(&other), 403), (Some(&caller), 200)] {
        let mut connection = http2(server.tls("h2", shown).await.unwrap()).await;
        assert_eq!(connection.get("/healthz").await.unwrap().0, 200);
        assert_eq!(connection.get("/metrics").await.unwrap().0, metrics);
        let (status, text) = connection.get("/nothing").await.unwrap();
        assert_eq!(status, if metrics == 200 { 404 } else { 403 }, "{text}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_closed() {
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let server = Running::start(Speech::Http1, limits).await;
    let mut silent = server.tcp().await;
    assert_eq!(timeout(LONG, silent.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(server.connect(Speech::Http2).await.get("/quick").await.unwrap().0, 200);
}

#[tokio::test]
async fn without_a_certificate_only_probes_are_answered() {
    let (authority, store) = (Authority::new(), CertificateStore::new());
    let server = Running::with(Speech::Http1, Limits::default(), authority, store).await;
    assert!(server.tls("h2", None).await.is_err(), "nobody can verify the bootstrap certificate");
    let mut probe = http1(server.tls_unverified().await.unwrap()).await;
    assert_eq!(probe.get("/quick").await.unwrap().0, 200);
    let (status, text) = probe.post("/who", "x").await.unwrap();
    assert_eq!((status, text.as_str()), (503, "the service has no certificate yet\n"));
    server.authority.server(7).serve(&server.store).unwrap();
    assert_eq!(shown(&server).await, "07");
    assert_eq!(server.connect(Speech::Http1).await.post("/who", "x").await.unwrap().0, 200);
}
