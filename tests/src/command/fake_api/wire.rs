//! As much of HTTP as the clients speak.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

/// A request, taken apart as Kubernetes builds its paths.
#[derive(Default)]
pub(super) struct Call {
    pub(super) method: String,
    /// In the plural, such as `pods`.
    pub(super) resource: String,
    /// Empty for the whole cluster.
    pub(super) namespace: String,
    /// Empty for a list.
    pub(super) name: String,
    /// Such as `status`.
    pub(super) subresource: String,
    query: String,
    body: Vec<u8>,
}

impl Call {
    /// The next request of a connection.
    pub(super) fn read(reader: &mut BufReader<&TcpStream>) -> Result<Self> {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(anyhow!("the connection ended"));
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if first.is_empty() {
                line.clone_into(&mut first);
            }
        }
        let mut call = Self::of(&first);
        call.body = vec![0; length];
        reader.read_exact(&mut call.body)?;
        Ok(call)
    }

    fn of(first_line: &str) -> Self {
        let mut words = first_line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut parts = path.trim_start_matches('/').split('/').map(str::to_owned).peekable();
        // `api` and the version, or `apis`, the group and the version.
        let skipped = if parts.peek().is_some_and(|first| first == "api") { 2 } else { 3 };
        let mut parts = parts.skip(skipped).peekable();
        let is_namespaced = parts.next_if(|part| part == "namespaces").is_some();
        let mut next = || parts.next().unwrap_or_default();
        let namespace = if is_namespaced { next() } else { String::new() };
        let (resource, name, subresource) = (next(), next(), next());
        let (query, body) = (query.to_owned(), Vec::new());
        Self { method, resource, namespace, name, subresource, query, body }
    }

    /// A parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&');
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// A parameter that is a number.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.query(name).and_then(|text| text.parse().ok())
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("a body that is no JSON")
    }
}

/// An answer: its code, and what it says.
pub(super) type Answer = (u16, Vec<u8>);

pub(super) fn done(object: &Value) -> Answer {
    (200, object.to_string().into_bytes())
}

/// A failure as API servers tell it.
pub(super) fn refused(code: u16, reason: &str) -> Answer {
    let status = json!({ "kind": "Status", "code": code, "reason": reason, "message": reason,
        "status": "Failure" });
    (code, status.to_string().into_bytes())
}

pub(super) fn send(mut stream: &TcpStream, (code, body): &Answer) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(())
}

/// A piece of an answer that has no end yet.
pub(super) fn chunk(text: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
    chunk.extend_from_slice(text);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Sends the chunks as they come, until the client is gone or nobody sends any more.
pub(super) fn stream(
    mut stream: &TcpStream,
    chunks: impl IntoIterator<Item = Vec<u8>>,
) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    for chunk in chunks {
        stream.write_all(&chunk)?;
    }
    stream.write_all(b"0\r\n\r\n")?;
    Ok(())
}
