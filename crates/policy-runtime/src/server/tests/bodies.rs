//! Bodies on one connection, as the API server sends all its reviews.

use futures::future::join_all;

use super::*;

/// More than the bodies that all callers may have in memory, and than may wait.
const LARGE_BODIES: usize = 60;
/// So many fit into memory.
const IN_MEMORY: usize = 24;

#[tokio::test]
async fn large_bodies_that_wait_for_memory_keep_no_small_one() {
    let server = Running::start(Speech::Http2, Limits::default()).await;
    let Connection::Http2(sender) = server.connect(Speech::Http2).await else { unreachable!() };
    let post = |path: &'static str, size: usize| {
        let mut connection = Connection::Http2(sender.clone());
        tokio::spawn(async move { connection.post(path, vec![b'a'; size]).await.unwrap() })
    };
    let large: Vec<_> = (0..LARGE_BODIES).map(|_| post("/slow", 1 << 20)).collect();
    for _ in 0..IN_MEMORY {
        server.one_begun().await;
    }
    // The memory is full, and the others wait or are refused.
    for _ in 0..3 {
        let small = timeout(LONG, post("/who", 200 << 10)).await.unwrap().unwrap();
        assert_eq!(small, (200, " false\n".to_owned()));
    }
    server.answers.add_permits(LARGE_BODIES);
    let answers: Vec<_> = join_all(large).await.into_iter().map(Result::unwrap).collect();
    let answered = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(answered >= IN_MEMORY + 16, "those that waited: {answered}");
    assert!(answers.iter().all(|(status, _)| [200, 503].contains(status)), "{answers:?}");
}
