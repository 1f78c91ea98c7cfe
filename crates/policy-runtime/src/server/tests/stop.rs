//! The end: nobody is reset in the middle of a request, and nobody holds it up.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::*;

const ALL: [Speech; 3] = [Speech::Plain, Speech::Http1, Speech::Http2];

#[tokio::test]
async fn a_request_under_way_is_answered() {
    let stopped = ALL.map(|speech| async move {
        let server = Running::start(speech, Limits::default()).await;
        let mut connection = server.connect(speech).await;
        let slow = tokio::spawn(async move {
            let answer = connection.post("/slow", "body").await;
            (answer, connection.get("/quick").await)
        });
        server.one_begun().await;
        server.stop.cancel();
        // Longer than those get that are in the middle of nothing.
        sleep(Duration::from_secs(1)).await;
        assert!(!server.task.is_finished(), "{speech:?}");
        server.answers.add_permits(1);
        let (answer, next) = timeout(LONG, slow).await.unwrap().unwrap();
        assert_eq!(answer.unwrap(), (200, "slow 4\n".to_owned()), "{speech:?}");
        assert!(next.is_err(), "{speech:?}: the connection goes on");
        server.ended().await;
    });
    futures::future::join_all(stopped).await;
}

#[tokio::test]
async fn a_request_in_transit_is_answered() {
    for speech in ALL {
        let server = Running::start(speech, Limits::default()).await;
        let mut quiet = server.connect(speech).await;
        assert_eq!(quiet.get("/quick").await.unwrap().0, 200);
        let mut fresh = server.connect(speech).await;
        server.stop.cancel();
        assert_eq!(quiet.get("/quick").await.unwrap().0, 200, "{speech:?}");
        assert_eq!(fresh.get("/quick").await.unwrap().0, 200, "{speech:?}");
        server.ended().await;
    }
}

#[tokio::test]
async fn a_request_in_transit_is_the_last_one_of_its_connection() {
    let server = Running::start(Speech::Plain, Limits::default()).await;
    let mut connection = server.tcp().await;
    let request = b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n";
    connection.write_all(request).await.unwrap();
    assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
    server.stop.cancel();
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_connection_of_the_backlog_is_answered() {
    for speech in ALL {
        let server = Running::start(speech, Limits::default()).await;
        server.connect(speech).await.get("/quick").await.unwrap();
        let waiting = [(); 10].map(|()| std::net::TcpStream::connect(server.address).unwrap());
        // The server has not had a moment to look since.
        server.stop.cancel();
        let answers = waiting.map(async |stream| {
            stream.set_nonblocking(true).unwrap();
            let stream = TcpStream::from_std(stream).unwrap();
            let mut connection = connect(stream, &server.authority, speech).await;
            connection.get("/quick").await.unwrap().0
        });
        let answers = futures::future::join_all(answers).await;
        assert!(answers.iter().all(|status| *status == 200), "{speech:?}: {answers:?}");
        server.ended().await;
    }
}

#[tokio::test]
async fn a_partial_request_does_not_delay_the_shutdown() {
    let halves: [&[u8]; 4] = [
        b"",
        b"GET /quick HT",
        b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1",
        b"\x16\x03\x01",
    ];
    for speech in ALL {
        let server = Running::start(speech, Limits::default()).await;
        let mut held = Vec::new();
        for half in halves {
            let mut stream = server.tcp().await;
            stream.write_all(half).await.unwrap();
            held.push(stream);
        }
        if speech != Speech::Plain {
            let mut stream = server.tls("http/1.1", None).await.unwrap();
            stream.write_all(halves[2]).await.unwrap();
            stream.flush().await.unwrap();
            // Until here the server was not asked anything.
            server.connect(speech).await.get("/quick").await.unwrap();
        }
        let begin = Instant::now();
        server.stop.cancel();
        server.ended().await;
        assert!(begin.elapsed() < Duration::from_secs(4), "{speech:?}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn an_expired_connection_does_not_delay_the_shutdown() {
    let limits = Limits { life: Duration::from_millis(50), ..Limits::default() };
    let server = Running::start(Speech::Plain, limits).await;
    let mut half = server.tcp().await;
    half.write_all(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1").await.unwrap();
    half.flush().await.unwrap();
    // It lives a fifth longer at most, and this one began later.
    for _ in 0..2 {
        let mut idle = server.tcp().await;
        assert_eq!(timeout(LONG, idle.read(&mut [0])).await.unwrap().unwrap(), 0);
    }
    let begin = Instant::now();
    server.stop.cancel();
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_end_of_a_stream_is_reported() {
    let server = Running::start(Speech::Http1, Limits::default()).await;
    let mut http1 = server.tls("http/1.1", None).await.unwrap();
    let http2 = TokioIo::new(server.tls("h2", None).await.unwrap());
    let (_sender, http2) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), http2).await.unwrap();
    let http2 = tokio::spawn(http2);
    server.stop.cancel();
    // An end without the word for it would be an error.
    timeout(LONG, http1.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    timeout(LONG, http2).await.unwrap().unwrap().unwrap();
    server.ended().await;
}
