//! Clusters that take connections and do not answer: they cost their deadline, and nothing else.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::trio::{
    ALL, SURELY, WEST, assert_trio, assert_unread, join, report, row, states, trio, trio_and,
    variant,
};
use crate::failures::{fake_server, response};

#[test]
fn a_silent_cluster_costs_its_deadline_and_nothing_else() {
    // It may have to be built first.
    e2e::policyctl().unwrap();
    // The kernel accepts connections, and no program ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let files = ["https", "http"].map(|scheme| {
        let server = format!("{scheme}://{address}");
        variant(&trio()[0], &format!("silent-{scheme}"), &server)
    });
    let kubeconfig = trio_and(&[&files[0]]);
    for (kubeconfig, mute) in
        [(kubeconfig, "silent-https"), (trio_and(&[&files[1]]), "silent-http")]
    {
        let start = Instant::now();
        let (report, _) = report(&kubeconfig, 3, &[]);
        let elapsed = start.elapsed();
        // Its share is 8 s; the default deadline is 120 s.
        assert!(elapsed < SURELY, "{mute}: {elapsed:?}");
        let reason = &row(&report, mute)["coverage"]["failed"][0]["reason"];
        let reason = reason.as_str().unwrap();
        assert!(reason.contains("timed out") || reason.contains("no usable answer"), "{reason}");
        assert_unread(&report, mute, "");
        assert_trio(&report);
        ALL.assert(&report["summary"]);
    }
}

#[test]
fn what_was_read_before_a_cluster_fell_silent_counts() {
    let page = json!({
        "metadata": { "continue": "more" },
        "items": [{
            "metadata": { "name": "a", "namespace": "shop" },
            "spec": { "containers": [{ "name": "main", "image": "nginx" }] },
            "status": { "phase": "Running" },
        }],
    });
    let version = json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "goVersion": "",
        "gitTreeState": "", "buildDate": "", "compiler": "", "platform": "",
    });
    let server = fake_server(move |request| match request {
        _ if request.starts_with("GET /version") => Some(ok(&version)),
        _ if request.contains("continue=more") => None,
        _ => Some(ok(&page)),
    });
    let half = variant(&trio()[0], "half", &format!("http://{server}"));
    let kubeconfig = join(&[trio()[1].kubeconfig(), &half]);
    e2e::policyctl().unwrap();
    let start = Instant::now();
    let (report, _) = report(&kubeconfig, 3, &["--timeout", "15"]);
    assert!(start.elapsed() < SURELY, "{:?}", start.elapsed());
    assert_eq!(states(&report), ["west complete", "half partial"]);
    WEST.assert(&row(&report, "west")["summary"]);
    let half = row(&report, "half");
    assert_eq!((&half["summary"]["pods"], &half["summary"]["score"]), (&json!(1), &json!(90)));
    let reason = half["coverage"]["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("15 s (--timeout)"), "{reason}");
    // (30 + 10 + 10) / 3 of two pods in west and the one of this page.
    assert_eq!((&report["summary"]["pods"], &report["summary"]["score"]), (&json!(3), &json!(84)));
}

fn ok(body: &Value) -> Vec<u8> {
    response("200 OK", "application/json", &body.to_string())
}

#[test]
fn the_deadlines_of_dead_clusters_pass_at_the_same_time() {
    e2e::policyctl().unwrap();
    let silent: Vec<TcpListener> =
        (0..12).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut files = Vec::new();
    for (number, listener) in silent.iter().enumerate() {
        let server = format!("https://{}", listener.local_addr().unwrap());
        // Two contexts of each, as of two users.
        for user in ["a", "b"] {
            files.push(variant(&trio()[0], &format!("silent-{number}-{user}"), &server));
        }
    }
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let start = Instant::now();
    let (report, _) = report(&trio_and(&files), 3, &[]);
    let elapsed = start.elapsed();
    // One after the other they would take a minute and more.
    assert!(elapsed < Duration::from_secs(40), "{elapsed:?}");
    assert_trio(&report);
    ALL.assert(&report["summary"]);
    for number in 0..12 {
        assert_unread(&report, &format!("silent-{number}-b"), "");
    }
}
