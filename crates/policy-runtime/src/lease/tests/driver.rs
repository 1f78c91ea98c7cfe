//! Elections by requests, in paused time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::server::{Fault, Server};
use crate::lease::{Election, LeaderGate, Timing, identity};

struct Replica {
    gate: LeaderGate,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn candidate(server: &Server, identity: &str) -> (Election, LeaderGate) {
    Election::new(server.client(), "ns", "lease", identity, Timing::default())
}

fn start(server: &Server, identity: &str) -> Replica {
    let (election, gate) = candidate(server, identity);
    let stop = CancellationToken::new();
    let task = tokio::spawn(election.run(stop.clone()));
    Replica { gate, stop, task }
}

/// How long it takes until the gate is open, or closed.
async fn wait(gate: &LeaderGate, is_open: bool) -> Duration {
    let start = Instant::now();
    let change = async {
        while gate.is_open() != is_open {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(120), change).await.unwrap();
    start.elapsed()
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test(start_paused = true)]
async fn creates_the_lease_leads_and_renews() {
    let server = Server::default();
    let a = start(&server, "a");
    let mut changes = a.gate.changes();
    assert!(!a.gate.is_open() && a.gate.holder().is_none());
    assert!(wait(&a.gate, true).await < millis(10));
    assert_eq!(*changes.borrow_and_update(), Some(1));
    assert_eq!(a.gate.check().unwrap().term, 1);
    assert_eq!(a.gate.holder().as_deref(), Some("a"));
    assert_eq!(server.spec("holderIdentity"), "a");
    assert_eq!(server.spec("leaseDurationSeconds"), 15);
    assert_eq!(server.spec("leaseTransitions"), 1);
    let (acquired, renewed) = (server.spec("acquireTime"), server.spec("renewTime"));
    assert!(acquired.is_string() && acquired == renewed);
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        assert!(a.gate.check().unwrap().remaining() > Duration::from_secs(7));
    }
    assert!(!changes.has_changed().unwrap());
    assert_eq!(server.spec("acquireTime"), acquired);
    assert_ne!(server.spec("renewTime"), renewed);
    assert_eq!((server.count(&Method::POST), server.count(&Method::GET)), (1, 1));
    assert!((25..=30).contains(&server.count(&Method::PUT)));
}

#[tokio::test(start_paused = true)]
async fn takes_over_right_at_expiry() {
    let server = Server::default();
    let old = json!({"holderIdentity": "old", "leaseDurationSeconds": 20, "leaseTransitions": 4,
        // By this the Lease would have expired long ago.
        "renewTime": "2020-01-01T00:00:00.000000Z", "acquireTime": "2020-01-01T00:00:00.000000Z"});
    server.put(&old);
    let a = start(&server, "a");
    let took = wait(&a.gate, true).await;
    assert!((millis(20_000)..millis(20_020)).contains(&took), "{took:?}");
    assert_eq!(a.gate.check().unwrap().term, 5);
    assert_eq!(server.spec("leaseTransitions"), 5);
    assert_ne!(server.spec("acquireTime"), "2020-01-01T00:00:00.000000Z");
    // What others wrote into it stays.
    let lease = server.state().lease.clone().unwrap();
    assert_eq!(lease["metadata"]["labels"]["app"], "x");
    assert_eq!(lease["metadata"]["managedFields"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn one_of_two_wins() {
    let server = Server::default();
    server.put(&json!({"holderIdentity": "old"}));
    server.state().delay = millis(20);
    let (a, b) = (start(&server, "a"), start(&server, "b"));
    sleep(Duration::from_secs(14)).await;
    assert_eq!(server.count(&Method::PUT), 0);
    sleep(Duration::from_secs(4)).await;
    assert!(a.gate.is_open() ^ b.gate.is_open());
    let holder = if a.gate.is_open() { "a" } else { "b" };
    assert_eq!(server.spec("holderIdentity"), holder);
    assert_eq!(a.gate.holder().as_deref(), Some(holder));
    assert_eq!(b.gate.holder().as_deref(), Some(holder));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_costs_a_round() {
    let server = Server::default();
    server.set(Fault::LosesReplies);
    let a = start(&server, "a");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.spec("holderIdentity"), "a");
    assert!(!a.gate.is_open());
    server.set(Fault::None);
    assert!(wait(&a.gate, true).await < millis(1_500));
    // And when it leads, the gate does not even close.
    let mut changes = a.gate.changes();
    changes.mark_unchanged();
    server.set(Fault::LosesReplies);
    sleep(Duration::from_secs(5)).await;
    server.set(Fault::None);
    sleep(Duration::from_secs(30)).await;
    assert!(!changes.has_changed().unwrap());
    assert_eq!(a.gate.check().unwrap().term, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_ends_the_leadership() {
    let server = Server::default();
    let a = start(&server, "a");
    wait(&a.gate, true).await;
    let mut changes = a.gate.changes();
    changes.mark_unchanged();
    let remaining = a.gate.check().unwrap().remaining();
    server.set(Fault::Hangs);
    let took = wait(&a.gate, false).await;
    assert!((remaining..remaining + millis(3)).contains(&took), "{took:?}");
    timeout(millis(10), changes.changed()).await.unwrap().unwrap();
    assert_eq!(*changes.borrow(), None);
    server.set(Fault::None);
    assert!(wait(&a.gate, true).await < millis(3_100));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_process_does_not_lead() {
    let server = Server::default();
    let (election, gate) = candidate(&server, "a");
    let mut run = Box::pin(election.run(CancellationToken::new()));
    tokio::select! {
        () = &mut run => panic!("ended"),
        _ = wait(&gate, true) => {}
    }
    // From here on nobody polls the election.
    let remaining = gate.check().unwrap().remaining();
    advance(remaining.saturating_sub(millis(1))).await;
    assert!(gate.is_open());
    advance(millis(1)).await;
    assert!(!gate.is_open());
    assert_eq!(*gate.changes().borrow(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn hands_over_on_stop() {
    let server = Server::default();
    let a = start(&server, "a");
    wait(&a.gate, true).await;
    let b = start(&server, "b");
    sleep(Duration::from_secs(9)).await;
    assert_eq!(b.gate.holder().as_deref(), Some("a"));
    a.stop.cancel();
    wait(&a.gate, false).await;
    timeout(millis(10), a.task).await.unwrap().unwrap();
    assert_eq!(server.spec("holderIdentity"), "");
    assert_eq!(server.spec("leaseDurationSeconds"), 1);
    assert!(wait(&b.gate, true).await < millis(2_500));
    assert_eq!(b.gate.check().unwrap().term, 2);
    assert_eq!(server.spec("leaseDurationSeconds"), 15);
}

#[tokio::test(start_paused = true)]
async fn stops_in_time_where_the_server_hangs() {
    let server = Server::default();
    let a = start(&server, "a");
    wait(&a.gate, true).await;
    server.set(Fault::Hangs);
    let stopped = Instant::now();
    a.stop.cancel();
    assert!(wait(&a.gate, false).await < millis(3));
    a.task.await.unwrap();
    assert!(stopped.elapsed() <= millis(2_005), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_twice() {
    let server = Server::default();
    let a = start(&server, "a");
    wait(&a.gate, true).await;
    server.set(Fault::LosesReplies);
    a.stop.cancel();
    sleep(millis(500)).await;
    server.set(Fault::None);
    a.task.await.unwrap();
    assert_eq!(server.spec("holderIdentity"), "");
}

#[tokio::test(start_paused = true)]
async fn a_stop_amid_the_first_write_leaves_nothing_behind() {
    let server = Server::default();
    server.set(Fault::LosesReplies);
    let a = start(&server, "a");
    sleep(millis(500)).await;
    assert_eq!(server.spec("holderIdentity"), "a");
    server.set(Fault::None);
    a.stop.cancel();
    a.task.await.unwrap();
    assert_eq!(server.spec("holderIdentity"), "");
}

#[tokio::test(start_paused = true)]
async fn a_standby_releases_nothing() {
    let server = Server::default();
    server.put(&json!({"holderIdentity": "old"}));
    let a = start(&server, "a");
    sleep(Duration::from_secs(5)).await;
    a.stop.cancel();
    a.task.await.unwrap();
    assert_eq!(server.spec("holderIdentity"), "old");
}

#[tokio::test(start_paused = true)]
async fn fields_may_be_missing() {
    for spec in [json!({}), Value::Null, json!({"holderIdentity": "", "leaseTransitions": -3})] {
        let server = Server::default();
        server.put(&spec);
        let a = start(&server, "a");
        assert!(wait(&a.gate, true).await < millis(10));
        assert_eq!(a.gate.check().unwrap().term, 1);
    }
    // A holder without a duration is given our own.
    let server = Server::default();
    server.put(&json!({"holderIdentity": "old"}));
    let a = start(&server, "a");
    let took = wait(&a.gate, true).await;
    assert!((millis(15_000)..millis(15_020)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_is_made_again() {
    let server = Server::default();
    let (a, b) = (start(&server, "a"), start(&server, "b"));
    sleep(Duration::from_secs(5)).await;
    let (leader, follower) = if a.gate.is_open() { (a, b) } else { (b, a) };
    server.state().lease = None;
    for _ in 0..600 {
        sleep(millis(100)).await;
        assert!(leader.gate.is_open() && !follower.gate.is_open());
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        crate::telemetry::tests::enable_for_all_threads();
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_leader_is_logged_once() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Server::default();
    server.put(&json!({"holderIdentity": "old"}));
    let a = start(&server, "a");
    wait(&a.gate, true).await;
    sleep(Duration::from_secs(60)).await;
    a.stop.cancel();
    a.task.await.unwrap();
    let lines = [
        " INFO old holds Lease ns/lease; this replica is a standby\n",
        " INFO a is the leader (Lease ns/lease, term 1)\n",
        " INFO a is no longer the leader (Lease ns/lease)\n",
        " INFO a released Lease ns/lease\n",
    ];
    assert_eq!(log.text(), lines.concat());
}

#[tokio::test(start_paused = true)]
async fn failures_are_logged_and_do_not_spin() {
    let log = Log::default();
    let _guard = log.listen();
    let faults = [Fault::Answers(403), Fault::Answers(409), Fault::Refuses, Fault::Hangs];
    for (fault, most) in faults.into_iter().zip([31, 31, 31, 21]) {
        let server = Server::default();
        server.set(fault);
        let a = start(&server, "a");
        sleep(Duration::from_secs(60)).await;
        a.task.abort();
        let count = server.state().requests.len();
        assert!((15..=most).contains(&count), "{fault:?}: {count}");
    }
    let text = log.text();
    let warning = " WARN cannot read Lease ns/lease: for a test\n";
    assert!((4..=6).contains(&text.matches(warning).count()), "{text}");
    assert!(
        text.contains(" WARN cannot read Lease ns/lease: no usable answer within 3 s\n"),
        "{text}"
    );
    assert!(text.contains(" WARN cannot read Lease ns/lease: nobody listens\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_write_does_not_spin() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Server::default();
    server.put(&json!({"holderIdentity": "old"}));
    server.set(Fault::ForbidsWrites);
    let a = start(&server, "a");
    sleep(Duration::from_secs(60)).await;
    assert!(!a.gate.is_open());
    let count = server.state().requests.len();
    assert!((40..=61).contains(&count), "{count}");
    let warning = " WARN cannot acquire Lease ns/lease: for a test\n";
    assert_eq!(log.text().matches(warning).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_does_not_spin_either() {
    for fault in [Fault::Answers(403), Fault::Answers(409), Fault::LosesReplies, Fault::Hangs] {
        let server = Server::default();
        let a = start(&server, "a");
        wait(&a.gate, true).await;
        server.state().requests.clear();
        server.set(fault);
        sleep(Duration::from_secs(60)).await;
        let count = server.state().requests.len();
        assert!((15..=61).contains(&count), "{fault:?}: {count}");
        assert!(!a.gate.is_open(), "{fault:?}");
    }
}

#[test]
fn identities_differ() {
    let (one, other) = (identity("pod-1"), identity("pod-1"));
    assert_ne!(one, other);
    assert!(one.starts_with("pod-1-") && one.len() == 14, "{one}");
}
