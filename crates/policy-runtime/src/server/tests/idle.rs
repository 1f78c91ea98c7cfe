//! Connections on which nothing is asked.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::*;
use crate::server::SWEEP;

const HEAD: Duration = Duration::from_millis(100);

fn impatient() -> Limits {
    Limits { idle: HEAD, ..Limits::default() }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Running::start(Speech::Plain, impatient()).await;
    let whole = "GET /quick HTTP/1.1\r\nhost: a\r\n\r\n";
    for sent in ["", "GET /qui", whole, &format!("{whole}GET /qui")] {
        let mut caller = server.tcp().await;
        caller.write_all(sent.as_bytes()).await.unwrap();
        let from = Instant::now();
        assert!(is_closed(&mut caller).await, "{sent:?}");
        assert!(from.elapsed() >= HEAD, "{sent:?}: {:?}", from.elapsed());
    }
    let server = Running::start(Speech::Http1, impatient()).await;
    assert!(is_closed(&mut server.tls("http/1.1", None).await.unwrap()).await);
}

#[tokio::test]
async fn an_http2_connection_that_answers_pings_may_be_silent() {
    let server = Running::start(Speech::Http2, impatient()).await;
    let mut connection = server.connect(Speech::Http2).await;
    for _ in 0..2 {
        assert_eq!(connection.get("/quick").await.unwrap().0, 200);
        sleep(HEAD + 2 * SWEEP).await;
    }
}

#[tokio::test]
async fn a_connection_that_waits_or_reads_slowly_is_not_idle() {
    let server = Running::start(Speech::Plain, impatient()).await;
    let mut waits = server.connect(Speech::Plain).await;
    let waits = tokio::spawn(async move { waits.post("/slow", "").await });
    let mut reads = server.tcp().await;
    reads.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    sleep(HEAD + 2 * SWEEP).await;
    server.answers.add_permits(1);
    assert_eq!(waits.await.unwrap().unwrap().0, 200);
    let mut answer = Vec::new();
    timeout(LONG, reads.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > LARGE, "only {} bytes came", answer.len());
}
