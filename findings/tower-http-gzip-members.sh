#!/usr/bin/env bash
# tower-http 0.7.1, DecompressionLayer: of a gzip body with several members only the first arrives.
# Guess: a gzip stream may consist of members (RFC 1952, section 2.2), gunzip and Go read them all,
# and Kubernetes 1.37 sends a watch as one member for each event (kubernetes/kubernetes#139308).
# Seen: the body ends after the first member. There is no error: the rest is missing in silence.
# Needs: Rust 1.89 or newer, gzip, crates.io.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
bytes = "1"
http = "1"
http-body-util = "0.1"
tokio = { version = "1", features = ["macros", "rt"] }
tower = { version = "0.5", features = ["util"] }
tower-http = { version = "=0.7.1", features = ["decompression-gzip"] }
TOML
cat > src/main.rs <<'RUST'
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let body = Bytes::from(std::fs::read("events.gz").unwrap());
    let server = tower::service_fn(move |_: Request<Empty<Bytes>>| {
        let body = Full::new(body.clone());
        let response = Response::builder().header("content-encoding", "gzip").body(body).unwrap();
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    let client = tower_http::decompression::DecompressionLayer::new().layer(server);
    let response = client.oneshot(Request::new(Empty::new())).await.unwrap();
    match response.into_body().collect().await {
        Ok(body) => print!("body: {}", String::from_utf8_lossy(&body.to_bytes())),
        Err(error) => println!("error: {error}"),
    }
}
RUST
{ echo ADDED | gzip; echo MODIFIED | gzip; } > events.gz
echo "gunzip: $(gunzip < events.gz | tr '\n' ' ')"
seen=$(cargo run --quiet)
echo "tower-http 0.7.1: $seen"
[ "$(gunzip < events.gz | tr '\n' ' ')" = "ADDED MODIFIED " ]
[ "$seen" = "body: ADDED" ]
