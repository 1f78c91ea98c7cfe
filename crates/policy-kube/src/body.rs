//! A response as a stream of bytes.

use std::io;

use futures::{AsyncBufRead, AsyncReadExt as _, TryStreamExt as _};
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::core::Status;

/// As much of a refusal as is read, in bytes: some proxies explain themselves by a page.
const LARGEST_REFUSAL: u64 = 64 << 10;

/// Sends `GET path`, and gives the body as it comes.
///
/// The answer is never compressed. Kubernetes 1.37 compresses watches and streamed lists for
/// clients that accept gzip, one gzip member for each event (kubernetes/kubernetes#139308,
/// #140140), and tower-http's decompression reads the first member only
/// (tower-rs/tower-http#737). kube-client sends the same header in `Client::request_events`.
///
/// kube-client's `Client::request_stream` would collect the body of a refusal whole, whatever its
/// size.
///
/// # Errors
/// Those of the connection, and what the server answers instead.
pub async fn open(client: &Client, path: &str) -> kube::Result<impl AsyncBufRead + use<>> {
    let request = Request::get(path)
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    let status = response.status();
    let stream = response.into_body().into_data_stream().map_err(io::Error::other);
    let stream = stream.into_async_read();
    if status.is_success() {
        return Ok(stream);
    }
    let mut body = Vec::new();
    // Of a body that breaks off, the part that arrived says more than the break.
    let _: io::Result<usize> = stream.take(LARGEST_REFUSAL).read_to_end(&mut body).await;
    Err(kube::Error::Api(Box::new(refusal(status, &body))))
}

/// A refusal as a `Status`. One that is not in Kubernetes' form gets the reason that kube-client
/// gives it, by which [`crate::error`] tells other servers from API servers.
fn refusal(status: StatusCode, body: &[u8]) -> Status {
    let parsed = serde_json::from_slice::<Status>(body).ok().filter(|parsed| parsed.code != 0);
    parsed.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let first = text.lines().next().unwrap_or_default();
        Status::failure(first, crate::error::NOT_A_STATUS).with_code(status.as_u16())
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write as _;
    use std::time::Duration;

    use flate2::{Compression, write::GzEncoder};
    use http::Response;
    use http::header::CONTENT_ENCODING;
    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use kube::Config;
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::{self, Retries};

    const EVENTS: [&str; 2] = ["{\"type\":\"ADDED\"}\n", "{\"type\":\"MODIFIED\"}\n"];

    /// As Kubernetes 1.37 does: one gzip member for each event, where the client accepts gzip.
    fn watch(request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let accepted = request.headers().get(ACCEPT_ENCODING);
        let accepts_gzip =
            accepted.is_none_or(|value| value.to_str().is_ok_and(|text| text.contains("gzip")));
        if !accepts_gzip {
            return Response::new(EVENTS.concat().into());
        }
        let body = EVENTS.map(member).concat();
        let response = Response::builder().header(CONTENT_ENCODING, "gzip");
        response.body(Full::from(body)).unwrap()
    }

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// A client of a server on this machine.
    async fn client(
        answer: fn(&Request<hyper::body::Incoming>) -> Response<Full<Bytes>>,
    ) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service =
                    service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request)) });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let config = Config::new(format!("http://{address}/").parse().unwrap());
        client::build(config, Retries::Never, Duration::from_secs(5), "cannot connect")
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn every_event_of_a_server_that_compresses_each_by_itself_is_read() {
        let client = client(watch).await;
        let mut text = String::new();
        let mut stream = std::pin::pin!(open(&client, "/api/v1/pods?watch=true").await.unwrap());
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, EVENTS.concat());
    }

    #[tokio::test]
    async fn a_refusal_is_read_up_to_a_limit_and_named() {
        let client = client(|_| {
            let page = format!("<html>{}", "x".repeat(10 << 20));
            Response::builder().status(502).body(page.into()).unwrap()
        })
        .await;
        let error = open(&client, "/api/v1/pods").await.err().unwrap();
        let reason = crate::reason(&error);
        assert_eq!(reason, "the server answers with status 502, and not as Kubernetes does");
    }

    #[tokio::test]
    async fn an_error_of_a_connection_names_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = Config::new(format!("http://{address}/").parse().unwrap());
        let client =
            client::build(config, Retries::Never, Duration::from_secs(5), "cannot connect");
        let error = open(&client.await.unwrap(), "/api/v1/pods").await.err().unwrap();
        let reason = crate::reason(&error);
        assert!(reason.starts_with("Connection refused"), "{reason}");
        assert!(reason.ends_with(&format!("(API server http://{address})")), "{reason}");
    }
}
