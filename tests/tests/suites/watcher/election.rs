//! Two and three replicas: at most one exports scores at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Metrics, Parts, Service, Signal, Testbed, say};

use super::{SURELY, installed, json_of, leads, pod, start, wait_until_leads};

/// For an answer of a replica that may be standing still.
const SHORT: Duration = Duration::from_millis(300);
/// Between two questions to one replica.
const PAUSE: Duration = Duration::from_millis(50);
/// Take-over after a leader that gave the Lease back, and after one that could not.
const AFTER_RELEASE: Duration = Duration::from_secs(3);
const AFTER_CRASH: Duration = Duration::from_secs(20);

/// Whether a replica exported scores in one request, and the time of that request.
#[derive(Debug)]
struct Sample {
    replica: usize,
    exports: bool,
    from: Instant,
    to: Instant,
}

/// Asks a replica again and again, more than ten times a second, until it is stopped.
fn sample(replica: usize, service: &Service<'_>, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let from = Instant::now();
        let answer = service.get_within("/metrics", SHORT);
        let exports = answer.is_ok_and(|(status, text)| {
            status == 200 && Metrics::parse(&text).unwrap().has("cluster_health_score")
        });
        samples.push(Sample { replica, exports, from, to: Instant::now() });
        thread::sleep(PAUSE);
    }
    samples
}

/// Two consecutive answers with scores show that a replica was the leader between them, so no other
/// replica may have exported scores in that time.
fn assert_one_at_a_time(samples: &[Sample], replicas: usize) {
    for replica in 0..replicas {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.replica == replica).collect();
        for pair in own.windows(2).filter(|pair| pair[0].exports && pair[1].exports) {
            let between = |other: &&Sample| {
                other.exports
                    && other.replica != replica
                    && other.from >= pair[0].to
                    && other.to <= pair[1].from
            };
            let other = samples.iter().find(between);
            assert!(other.is_none(), "two leaders: {pair:?} and {other:?}");
        }
    }
}

fn leader(replicas: &[Service<'_>]) -> Option<usize> {
    replicas.iter().position(|replica| {
        let answer = replica.get_within("/metrics", SHORT);
        answer.is_ok_and(|(_, text)| text.contains("\ncluster_health_score "))
    })
}

/// Waits for another leader than that one, and gives it with the time it took.
fn successor(
    testbed: &Testbed,
    replicas: &[Service<'_>],
    before: Option<usize>,
    within: Duration,
) -> (usize, Duration) {
    let start = Instant::now();
    let mut found = None;
    let waited = testbed.wait_for("a leader", within + SURELY, || {
        found = leader(replicas).filter(|found| Some(*found) != before);
        Ok(found.is_some())
    });
    let took = start.elapsed();
    let logs = || replicas.iter().map(|r| r.logs().unwrap()).collect::<Vec<_>>().join("\n");
    assert!(waited.is_ok() && took <= within, "after {took:?} {found:?} leads\n{}", logs());
    (found.unwrap(), took)
}

#[test]
fn at_every_moment_at_most_one_replica_tells_scores() {
    let (testbed, kubeconfig) = installed(&Parts::new("election"));
    testbed.apply(&pod("default", "one")).unwrap();
    let mut replicas: Vec<Service<'_>> =
        ["a", "b", "c"].iter().map(|name| start(&testbed, name, &kubeconfig)).collect();
    let (first, _) = successor(&testbed, &replicas, None, AFTER_CRASH);

    // A leader that is asked to stop.
    let second = observed(&replicas, || {
        replicas[first].signal(Signal::Term).unwrap();
        let (next, took) = successor(&testbed, &replicas, Some(first), AFTER_RELEASE);
        let ended = replicas[first].wait_exit(SURELY).unwrap();
        assert_eq!(ended.code(), Some(0));
        say(&format!("after SIGTERM another led within {took:.1?}"));
        next
    });
    replicas[first] = start(&testbed, "d", &kubeconfig);

    // A leader that is killed.
    let third = observed(&replicas, || {
        replicas[second].signal(Signal::Kill).unwrap();
        let (third, took) = successor(&testbed, &replicas, Some(second), AFTER_CRASH);
        say(&format!("after kill -9 another led within {took:.1?}"));
        third
    });
    replicas[second] = start(&testbed, "e", &kubeconfig);

    // A leader that is stopped for longer than the lease duration, and then continues.
    let fourth = observed(&replicas, || {
        replicas[third].signal(Signal::Stop).unwrap();
        let (fourth, took) = successor(&testbed, &replicas, Some(third), AFTER_CRASH);
        say(&format!("after SIGSTOP another led within {took:.1?}"));
        replicas[third].signal(Signal::Cont).unwrap();
        thread::sleep(Duration::from_secs(4));
        fourth
    });
    assert_eq!(leader(&replicas), Some(fourth), "who comes back does not take over");

    // An API server that is away for longer than the Lease.
    observed(&replicas, || {
        testbed.kill_api_server().unwrap();
        thread::sleep(Duration::from_secs(17));
        assert_eq!(leader(&replicas), None, "nobody can know that nobody else leads");
        let last = json_of(&replicas[fourth], "/scores");
        assert_eq!(last["cluster"]["pods"], 1, "the last known scores are still exported");
        testbed.restart_api_server().unwrap();
        successor(&testbed, &replicas, None, AFTER_CRASH);
        thread::sleep(Duration::from_secs(3));
    });
    let holders: Vec<_> = replicas
        .iter()
        .map(|replica| json_of(replica, "/debug/state")["leader"]["holder"].clone())
        .collect();
    assert!(holders.iter().all(|holder| *holder == holders[0]), "{holders:?}");
}

/// Does something while all replicas are asked all the time.
fn observed<T>(replicas: &[Service<'_>], work: impl FnOnce() -> T) -> T {
    let stop = &AtomicBool::new(false);
    thread::scope(|threads| {
        let sampling = replicas.iter().enumerate();
        let sampling = sampling.map(|(n, replica)| threads.spawn(move || sample(n, replica, stop)));
        let sampling: Vec<_> = sampling.collect();
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let samples: Vec<Sample> =
            sampling.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let result = work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_one_at_a_time(&samples, replicas.len());
        result
    })
}

#[test]
fn a_standby_is_ready_and_tells_its_own_numbers_only() {
    let (testbed, kubeconfig) = installed(&Parts::new("standby"));
    testbed.apply(&pod("default", "one")).unwrap();
    let leader = start(&testbed, "leader", &kubeconfig);
    wait_until_leads(&testbed, &leader, SURELY);
    let standby = start(&testbed, "standby", &kubeconfig);
    let metrics = standby.metrics().unwrap();
    assert_eq!(metrics.value("leader", &[]), Some(0.0));
    assert_eq!(metrics.value("pods_tracked_total", &[]), Some(1.0));
    for name in ["cluster_health_score", "namespace_health_score", "cluster_pods"] {
        assert!(!metrics.has(name), "{name}");
    }
    assert!(leads(&leader) && !leads(&standby));
    let metrics = leader.metrics().unwrap();
    assert_eq!(metrics.value("leader", &[]), Some(1.0));
    assert_eq!(metrics.value("namespace_health_score", &[("namespace", "default")]), Some(90.0));
    let state = json_of(&standby, "/debug/state");
    assert_eq!(state["leader"]["isLeader"], false);
    assert_eq!(state["leader"]["holder"], json_of(&leader, "/debug/state")["leader"]["identity"]);
    assert_eq!(state["pods"], 1);
}
