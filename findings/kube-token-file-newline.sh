#!/usr/bin/env bash
# kube-client 5.0.0: the token of a kubeconfig's `tokenFile` is not trimmed.
# Guess: as with kubectl, `echo TOKEN > FILE` makes a token file (client-go trims the content since
# kubernetes/kubernetes#52919).
# Seen: with a newline at the end of the file, the client refuses to send any request, since the
# header `Authorization` would hold a newline. Without the newline the request is sent.
# Needs: Rust 1.89 or newer, crates.io.
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
kube = { version = "=5.0.0", default-features = false, features = ["client"] }
k8s-openapi = { version = "=0.29.0", features = ["v1_33"] }
tokio = { version = "1", features = ["macros", "rt", "net", "io-util"] }
TOML
cat > src/main.rs <<'RUST'
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The request line that a server receives, or the client's error.
async fn ask(token: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::fs::write("token", token).unwrap();
    let mut config = kube::Config::new(format!("http://{address}/").parse().unwrap());
    config.default_retry = false;
    config.auth_info.token_file = Some("token".into());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        let body = r#"{"major":"1","minor":"37","gitVersion":"v1.37.2","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..length]).to_lowercase().contains("authorization: bearer abc")
    });
    let client = kube::Client::try_from(config).unwrap();
    match client.apiserver_version().await {
        Ok(_) => format!("sent, with the token: {}", server.await.unwrap()),
        Err(error) => format!("refused by the client: {error:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("without newline: {}", ask("abc").await);
    println!("with newline: {}", ask("abc\n").await);
}
RUST
seen=$(cargo run --quiet)
echo "kube-client 5.0.0:"
echo "$seen"
grep -q '^without newline: sent, with the token: true$' <<< "$seen"
grep -q '^with newline: refused by the client: .*[Ii]nvalid.*' <<< "$seen"
