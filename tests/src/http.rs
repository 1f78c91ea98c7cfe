//! A minimal HTTP/1.1 client for one request to a service on the loopback address.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Metrics;

/// A TLS client that trusts these certificates only and has no certificate of its own.
pub fn trusting(trusted: &[CertificateDer<'static>]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).context("cannot trust a certificate")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Deadline of one request, unless somebody wants another.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// The headers of a scrape
/// (<https://prometheus.io/docs/instrumenting/content_negotiation/>).
const PROMETHEUS: &str = "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n";

/// The address of a service, with TLS or without.
#[derive(Clone, Debug)]
pub struct Address {
    pub(crate) addr: SocketAddr,
    /// The TLS client for an HTTPS service.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Address {
    /// The same address, for HTTPS with that client.
    #[must_use]
    pub fn trusting(self, client: ClientConfig) -> Self {
        Self { tls: Some(Arc::new(client)), ..self }
    }

    /// Sends a GET request, and returns status and body. The deadline covers all of it, also when a
    /// stopped service leaves it to the kernel to accept the connection.
    pub fn get(&self, path: &str, within: Duration) -> Result<(u16, String)> {
        let Self { addr, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        self.text(&request, within).with_context(|| format!("GET {addr}{path}"))
    }

    /// Scrapes `/metrics` with the headers of Prometheus 3, and returns the body as it is sent, which
    /// may be compressed.
    pub fn scrape(&self) -> Result<Vec<u8>> {
        let Self { addr, .. } = self;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{PROMETHEUS}\r\n"
        );
        let (status, body) = self.exchange(&request, ANSWER).context("a scrape")?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(body)
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = self.get("/metrics", ANSWER)?;
        ensure!(status == 200, "/metrics answered {status}: {body}");
        Metrics::parse(&body)
    }

    /// Sends a POST request with a JSON body, and returns status and body.
    pub fn post(&self, path: &str, json: &str, within: Duration) -> Result<(u16, String)> {
        let Self { addr, .. } = self;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        self.text(&request, within).with_context(|| format!("POST {addr}{path}"))
    }

    fn text(&self, request: &str, within: Duration) -> Result<(u16, String)> {
        let (status, body) = self.exchange(request, within)?;
        Ok((status, String::from_utf8(body).context("the body is not UTF-8")?))
    }

    fn exchange(&self, request: &str, within: Duration) -> Result<(u16, Vec<u8>)> {
        let end = Instant::now() + within;
        let stream = TcpStream::connect_timeout(&self.addr, within)?;
        // A second handle of the socket, to set its timeouts.
        let socket = stream.try_clone()?;
        match &self.tls {
            None => read_answer(stream, &socket, request, within, end),
            Some(tls) => {
                let name = ServerName::from(self.addr.ip());
                let session = ClientConnection::new(Arc::clone(tls), name)?;
                read_answer(StreamOwned::new(session, stream), &socket, request, within, end)
            }
        }
    }
}

fn read_answer(
    mut stream: impl Read + Write,
    socket: &TcpStream,
    request: &str,
    within: Duration,
    end: Instant,
) -> Result<(u16, Vec<u8>)> {
    // The standard library refuses a timeout of zero.
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    socket.set_write_timeout(Some(left()))?;
    // The TLS handshake reads within the first write.
    socket.set_read_timeout(Some(left()))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        ensure!(Instant::now() < end, "no complete response within {} s", within.as_secs_f32());
        socket.set_read_timeout(Some(left()))?;
        match stream.read(&mut part) {
            Ok(0) => return parse(&answer),
            Ok(read) => answer.extend_from_slice(part.get(..read).unwrap_or_default()),
            // A timeout, which the next round turns into an error, or a signal.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Status and body of a complete response.
fn parse(answer: &[u8]) -> Result<(u16, Vec<u8>)> {
    let end = find(answer, b"\r\n\r\n").context("the response ends within its head")?;
    let (head, body) = answer.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("the response is not HTTP: {head:?}"))?;
    let body = match header(&head, "transfer-encoding") {
        Some("chunked") => join_chunks(body)?,
        Some(other) => bail!("the transfer encoding {other:?} is not supported"),
        None => body.to_vec(),
    };
    if let Some(length) = header(&head, "content-length") {
        ensure!(length == body.len().to_string(), "the body has {} of {length} bytes", body.len());
    }
    Ok((status, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// Joins chunks. The length of a chunk precedes it on a line of its own; 0 ends the body.
fn join_chunks(mut rest: &[u8]) -> Result<Vec<u8>> {
    const CUT: &str = "the answer ends within a chunk";
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").context(CUT)?;
        let (length, chunk) = rest.split_at(end);
        let length = usize::from_str_radix(std::str::from_utf8(length)?, 16)?;
        if length == 0 {
            return Ok(body);
        }
        let chunk = chunk.get(2..).context(CUT)?;
        body.extend_from_slice(chunk.get(..length).context(CUT)?);
        rest = chunk.get(length + 2..).context(CUT)?;
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let plain = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n";
        assert_eq!(parse(plain).unwrap(), (503, b"no\n".to_vec()));
        parse(&plain[..plain.len() - 1]).unwrap_err();
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), (200, b"abc0123456789".to_vec()));
        parse(&chunked[..chunked.len() - 8]).unwrap_err();
        parse(b"SSH-2.0\r\n\r\n").unwrap_err();
    }

    #[test]
    fn a_service_that_stands_still_costs_the_deadline_and_no_more() {
        // The test never accepts; the kernel does.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let address = Address { addr: silent.local_addr().unwrap(), tls: None };
        let error = address.get("/readyz", Duration::from_millis(100));
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.ends_with("/readyz: no complete response within 0.1 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
