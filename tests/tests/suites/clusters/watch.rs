//! What `multi-cluster watch` tells while clusters change, fall silent and come back.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Parts, Testbed, policyctl};
use serde_json::json;

use super::trio::{join, variant};
use crate::cli;
use crate::policies::policy;

/// A running `watch`. It is killed with the test.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Watch {
    fn start(kubeconfig: &Path) -> Self {
        let mut child = Command::new(policyctl().unwrap())
            .args(["multi-cluster", "watch", "--interval", "1"])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line, without its time.
    fn next(&mut self) -> String {
        let line = self.lines.next().unwrap().unwrap();
        let (time, rest) = line.split_once("  ").unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
        rest.to_owned()
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn each_change_is_named_once() {
    let testbed = Testbed::start(&Parts::new("tower")).unwrap();
    cli::expect(&testbed, 0, &["crd", "install"], "");
    testbed.kubectl(&["create", "namespace", "shop"]).unwrap().succeeded().unwrap();
    let judge = |score: i32, class: &str, findings: i32| {
        let status = json!({ "status": { "healthScore": score, "classification": class,
            "podsEvaluated": 4, "totalViolations": findings } })
        .to_string();
        let patch = ["patch", "dop", "strict", "-n", "shop", "--subresource=status"];
        let patch = [&patch[..], &["--type=merge", "-p", &status]].concat();
        testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    };
    let mut watch = Watch::start(testbed.kubeconfig());
    assert_eq!(watch.next(), "tower  answers, and has no policy");
    cli::expect(&testbed, 0, &["import", "-"], &policy("shop", "strict", "{maxRestartCount: 3}"));
    assert_eq!(watch.next(), "tower  shop/strict: new, not judged yet");
    judge(93, "Healthy", 1);
    assert_eq!(
        watch.next(),
        "tower  shop/strict: 93 Healthy, 1 finding in 4 pods; was not judged yet"
    );
    judge(70, "Stable", 9);
    let change = "70 Stable, 9 findings in 4 pods; was 93 Healthy, 1 finding in 4 pods";
    assert_eq!(watch.next(), format!("tower  shop/strict: {change}"));
    testbed.kill_api_server().unwrap();
    let line = watch.next();
    assert!(line.starts_with("tower  does not answer: "), "{line}");
    testbed.restart_api_server().unwrap();
    assert_eq!(watch.next(), "tower  answers again");
    testbed.kubectl(&["delete", "dop", "strict", "-n", "shop"]).unwrap().succeeded().unwrap();
    assert_eq!(watch.next(), "tower  shop/strict: removed");
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn a_dead_cluster_is_shown_and_delays_no_other() {
    let [left, _] = super::policies::pair();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", silent.local_addr().unwrap());
    let [mute, refused] = [("mute", &*server), ("refused", "https://127.0.0.1:1")]
        .map(|(name, server)| variant(left, name, server));
    let start = Instant::now();
    let mut watch = Watch::start(&join(&[&mute, &refused, left.kubeconfig()]));
    let mut seen: Vec<String> = Vec::new();
    // Other tests change the policies of this cluster.
    let is_seen = |seen: &[String], name: &str| seen.iter().any(|line| line.starts_with(name));
    while !["mute  ", "refused  ", "left  "].iter().all(|name| is_seen(&seen, name)) {
        seen.push(watch.next());
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for (place, expected) in [("refused", "does not answer: "), ("left", ""), ("mute", "does not")]
    {
        let line = seen.iter().find_map(|line| line.strip_prefix(place)?.strip_prefix("  "));
        assert!(line.is_some_and(|line| line.starts_with(expected)), "{place}: {seen:?}");
    }
    assert_eq!(seen.iter().filter(|line| line.starts_with("refused")).count(), 1, "{seen:?}");
    assert_eq!(watch.interrupt(), Some(0));
}
