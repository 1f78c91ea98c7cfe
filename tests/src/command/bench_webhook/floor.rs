//! `e2e floor-server`: the baseline, with the least that a server of the webhook's stack does. It has
//! the webhook's libraries and threads, reads each body completely, and allows the request.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The name of the subcommand.
pub(super) const SUBCOMMAND: &str = "floor-server";

/// The number of threads of a service of the platform.
const THREADS: usize = 2;
const HTTP2: &[u8] = b"h2";
/// The webhook's response to an object without violations, before and after the uid.
const BEFORE_UID: &[u8] =
    br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":""#;
const AFTER_UID: &[u8] = br#"","allowed":true}}"#;

/// The options of the webhook that this server needs.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long)]
    tls_cert: PathBuf,
    #[arg(long)]
    tls_key: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let tls = TlsAcceptor::from(Arc::new(tls(options)?));
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    threads.block_on(async {
        let listener = TcpListener::bind(options.addr).await?;
        let line = json!({ "message": "listening", "addr": listener.local_addr()? });
        writeln!(io::stdout(), "{line}")?;
        loop {
            let (stream, _) = listener.accept().await?;
            // The connection ends when the client closes it.
            tokio::spawn(serve(stream, tls.clone()));
        }
    })
}

/// The same TLS configuration as that of the webhook.
fn tls(options: &Options) -> Result<ServerConfig> {
    let (certificate, key) = (fs::read(&options.tls_cert)?, fs::read(&options.tls_key)?);
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&key).context("the key")?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn serve(stream: TcpStream, tls: TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let (stream, service) = (TokioIo::new(stream), service_fn(allow));
    if is_http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await?;
    } else {
        http1::Builder::new().serve_connection(stream, service).await?;
    }
    Ok(())
}

async fn allow(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // There is no client to respond to after an incomplete body.
    let review = request.into_body().collect().await.map(Collected::to_bytes);
    let review = review.unwrap_or_default();
    let answer = [BEFORE_UID, uid(&review).unwrap_or_default(), AFTER_UID].concat();
    let mut answer = Response::new(Full::new(Bytes::from(answer)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

/// The uid, which the response must repeat. It is the first field of a request.
fn uid(review: &[u8]) -> Option<&[u8]> {
    const FIELD: &[u8] = br#""uid":""#;
    let start = review.windows(FIELD.len()).position(|part| part == FIELD)? + FIELD.len();
    let rest = &review[start..];
    Some(&rest[..rest.iter().position(|&byte| byte == b'"')?])
}
