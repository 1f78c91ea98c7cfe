//! More connections than there is room for, and such that mean no good.

use std::io::ErrorKind;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A newcomer is answered within a second, and stays.
async fn is_served(server: &Running, speech: Speech) -> Connection {
    let begin = Instant::now();
    let mut connection = server.connect(speech).await;
    assert_eq!(connection.get("/quick").await.unwrap(), (200, "quick\n".to_owned()));
    assert!(begin.elapsed() < SECOND, "{speech:?}: {:?}", begin.elapsed());
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_block_no_client() {
    // Both ends of each are here.
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(maximum.is_none_or(|most| most >= 6_000), "{current:?} file descriptors");
    for speech in [Speech::Plain, Speech::Http2] {
        let server = Running::start(speech, Limits::default()).await;
        let mut idle = Vec::new();
        for round in 0..20 {
            for _ in 0..100 {
                idle.push(server.tcp().await);
            }
            if round % 5 == 0 {
                is_served(&server, speech).await;
            }
        }
        is_served(&server, speech).await;
        assert!(is_closed(&mut idle[0]).await, "the oldest made no room");
        let newest = idle.last().unwrap().try_read(&mut [0]);
        assert_eq!(newest.unwrap_err().kind(), ErrorKind::WouldBlock, "a new one had to go");
    }
}

#[tokio::test]
async fn a_busy_connection_is_not_evicted() {
    let limits = Limits { connections: 4, ..Limits::default() };
    for speech in [Speech::Plain, Speech::Http1, Speech::Http2] {
        let server = Running::start(speech, limits).await;
        let mut slow = Vec::new();
        for _ in 0..3 {
            let mut connection = server.connect(speech).await;
            slow.push(tokio::spawn(async move { connection.post("/slow", "body").await }));
            server.one_begun().await;
        }
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(is_served(&server, speech).await);
        }
        server.answers.add_permits(3);
        for slow in slow {
            let answer = timeout(LONG, slow).await.unwrap().unwrap().unwrap();
            assert_eq!(answer, (200, "slow 4\n".to_owned()), "{speech:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_waits_while_all_others_are_busy() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Running::start(Speech::Plain, limits).await;
    let mut slow = server.connect(Speech::Plain).await;
    let slow = tokio::spawn(async move { slow.post("/slow", "").await });
    server.one_begun().await;
    let mut next = server.connect(Speech::Plain).await;
    let next = next.get("/quick");
    let mut next = std::pin::pin!(next);
    assert!(timeout(Duration::from_millis(50), next.as_mut()).await.is_err());
    server.answers.add_permits(1);
    assert_eq!(timeout(LONG, next).await.unwrap().unwrap().0, 200);
    assert_eq!(slow.await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn bodies_that_never_arrive_block_no_client() {
    let limits = Limits { connections: 8, ..Limits::default() };
    let server = Running::start(Speech::Plain, limits).await;
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = server.tcp().await;
        half.write_all(b"POST /who HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1")
            .await
            .unwrap();
        halves.push(half);
        is_served(&server, Speech::Plain).await;
    }
    assert!(is_closed(&mut halves[0]).await);
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET https://a/`, from the static table (RFC 7541, appendix A).
const GET: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];

/// Says this over HTTP/2, and is thrown out for it while others are served.
async fn is_thrown_out(server: &Running, words: Vec<u8>) {
    let mut stream = server.tls("h2", None).await.unwrap();
    let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    begin.extend(frame(4, 0, 0, &[]));
    stream.write_all(&begin).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    // It breaks off as soon as the server has had enough.
    let writing = tokio::spawn(async move { write.write_all(&words).await });
    is_served(server, Speech::Http2).await;
    assert!(is_closed(&mut read).await);
    drop(writing.await);
    is_served(server, Speech::Http2).await;
}

#[tokio::test]
async fn rapid_resets_of_streams_end_the_connection() {
    let server = Running::start(Speech::Http2, Limits::default()).await;
    let streams = (0..20_000_u32).map(|number| 2 * number + 1);
    let words = streams.flat_map(|stream| {
        [frame(1, 0x5, stream, &GET), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    is_thrown_out(&server, words.collect()).await;
}

#[tokio::test]
async fn heads_without_end_are_not_read() {
    let server = Running::start(Speech::Http2, Limits::default()).await;
    let mut words = frame(1, 0x1, 1, &GET);
    for _ in 0..20_000 {
        // A header of one letter, 100 times.
        words.extend(frame(9, 0, 1, &[0x00, 0x01, b'a', 0x01, b'b'].repeat(100)));
    }
    is_thrown_out(&server, words).await;
    let mut plain = Running::start(Speech::Plain, Limits::default()).await.tcp().await;
    let _ = plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await;
    let _ = plain.write_all(format!("a: {}\r\n\r\n", "b".repeat(40_000)).as_bytes()).await;
    let mut answer = [0; 12];
    plain.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_client_that_sends_too_much_gets_413() {
    for speech in [Speech::Plain, Speech::Http1, Speech::Http2] {
        let server = Running::start(speech, Limits::default()).await;
        let mut connection = server.connect(speech).await;
        let (status, text) = connection.post("/who", vec![b'a'; 8 << 20]).await.unwrap();
        assert_eq!((status, text.as_str()), (413, "the body is too large\n"), "{speech:?}");
        let mut connection = server.connect(speech).await;
        let fits = connection.post("/slow", vec![b'a'; 1 << 20]);
        server.answers.add_permits(1);
        assert_eq!(fits.await.unwrap(), (200, "slow 1048576\n".to_owned()), "{speech:?}");
    }
    let server = Running::start(Speech::Plain, Limits::default()).await;
    let head = b"POST /who HTTP/1.1\r\nhost: a\r\ncontent-length: 8388608\r\n\r\n";
    // Who listens only after the last word is not cut off before.
    let mut stream = server.tcp().await;
    stream.write_all(head).await.unwrap();
    stream.write_all(&vec![b'a'; 8 << 20]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // Who stops in the middle is not waited for.
    let mut stream = server.tcp().await;
    stream.write_all(head).await.unwrap();
    let begin = Instant::now();
    assert!(is_closed(&mut stream).await);
    assert!(begin.elapsed() < 3 * SECOND, "{:?}", begin.elapsed());
}
