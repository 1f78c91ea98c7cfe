//! A client with as little cost as possible: it runs on the same cores as the servers, so its cost
//! would bring their figures closer together.

use std::net::SocketAddr;
use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One HTTP/1.1 connection over TLS, for one request after the other.
pub(in crate::command) struct Connection {
    stream: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    pub(in crate::command) async fn open(tls: &TlsConnector, addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let stream = tls.connect(ServerName::from(addr.ip()), stream).await?;
        let version = stream.get_ref().1.protocol_version();
        ensure!(version == Some(rustls::ProtocolVersion::TLSv1_3), "it speaks {version:?}");
        Ok(Self { stream, answer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request with head and body, and returns the body of the response, whose status must
    /// be 200.
    pub(in crate::command) async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the connection was closed within a response");
            if let Some(body) = body(&self.answer)? {
                return Ok(&self.answer[body]);
            }
        }
    }
}

/// The range of the body, when it is complete.
fn body(answer: &[u8]) -> Result<Option<Range<usize>>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|part| part == END) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "it sent {:?}", String::from_utf8_lossy(answer));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.with_context(|| format!("no length in {head:?}"))?.parse()?;
    let start = end + END.len();
    Ok((answer.len() >= start + length).then_some(start..start + length))
}
