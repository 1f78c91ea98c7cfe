//! What goes wrong around a watcher, and what it says of it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Parts, Run, Service, Signal, shared};
use serde_json::json;

use super::{SURELY, installed, json_of, pod, program, start, wait_until_leads};
use crate::failures::{fake_server, response};

/// Runs it to its end, with nobody's environment but these variables.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(program());
    command.env_clear().envs(variables.iter().copied()).args(arguments);
    Run::of(&mut command, None).unwrap()
}

/// What is wrong, arguments, variables, the exit code, and what has to be said.
type Start<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

#[test]
fn a_start_that_cannot_be_says_why_and_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let missing = [("GOV_KUBE__KUBECONFIG", "/nowhere/kubeconfig")];
    let any = ["--addr", "127.0.0.1:0"];
    let cases: [Start<'_>; 5] = [
        ("a port in use", &["--addr", &taken], &missing, 1, &["cannot listen on", &taken]),
        (
            "no kubeconfig",
            &any,
            &missing,
            1,
            &["cannot configure the client of the API server", "/nowhere"],
        ),
        ("no bundle of that name", &any, &[("GOV_BUNDLE", "strict")], 2, &["bundle", "strict"]),
        ("no address", &["--addr", "here"], &[], 2, &["addr", "here"]),
        ("no such flag", &["--adr", "x"], &[], 2, &["--adr"]),
    ];
    for (what, arguments, variables, code, says) in cases {
        let run = run(arguments, variables);
        assert_eq!(run.code, Some(code), "{what}: {run:?}");
        for text in says {
            assert!(run.stderr.contains(text), "{what}: {text:?} is not in {}", run.stderr);
        }
        assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    }
}

#[test]
fn a_token_without_rights_is_told_and_asked_for_at_most_once_a_second() {
    let testbed = shared();
    let namespace = testbed.namespace("rights").unwrap();
    let kubeconfig = testbed.service_account(&namespace, "nothing", "[]").unwrap();
    let start = Instant::now();
    let watcher = testbed.service("no-rights", program()).kubeconfig(&kubeconfig).start().unwrap();
    thread::sleep(Duration::from_secs(8));
    let (status, body) = watcher.get("/readyz").unwrap();
    assert_eq!((status, body.as_str()), (503, "pending: the initial list of pods\n"));
    assert_eq!(watcher.get("/healthz").unwrap().0, 200);
    assert_eq!(watcher.get("/scores").unwrap().0, 503);
    let metrics = watcher.metrics().unwrap();
    assert!(!metrics.has("cluster_health_score") && !metrics.has("cluster_pods"));
    assert!(metrics.value("watch_errors_total", &[("kind", "Pod")]) >= Some(1.0));
    let logs = watcher.logs().unwrap();
    assert!(logs.contains("pods is forbidden"), "{logs}");
    let calls = testbed.audit(&format!("system:serviceaccount:{namespace}:nothing")).unwrap();
    let pods = calls.iter().filter(|call| call.resource == "pods").count();
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!((1..=seconds + 1).contains(&pods), "{pods} tries in {seconds} s");
    assert_stops(&watcher);
}

#[test]
fn an_api_server_of_another_kind_is_waited_for() {
    type Server = fn(&str) -> Option<Vec<u8>>;
    let servers: [(&str, Server); 2] =
        [("garbage", |_| Some(response("200 OK", "text/html", "<html>"))), ("silence", |_| None)];
    for (what, answer) in servers {
        let address = fake_server(answer);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "u", "user": { "token": "t" } }],
        });
        let testbed = shared();
        let file = testbed.folder().join(format!("{what}.kubeconfig"));
        std::fs::write(&file, config.to_string()).unwrap();
        let watcher = testbed.service(what, program()).kubeconfig(&file).start().unwrap();
        thread::sleep(Duration::from_secs(2));
        assert_eq!(watcher.get("/readyz").unwrap().0, 503, "{what}");
        assert!(!watcher.metrics().unwrap().has("cluster_health_score"), "{what}");
        assert_stops(&watcher);
    }
}

#[test]
fn an_api_server_that_is_away_leaves_the_last_true_score() {
    let (testbed, kubeconfig) = installed(&Parts::new("away"));
    for name in ["one", "two"] {
        testbed.apply(&pod("default", name)).unwrap();
    }
    let watcher = start(&testbed, "watcher", &kubeconfig);
    wait_until_leads(&testbed, &watcher, SURELY);
    let numbers = |metrics: &e2e::Metrics| {
        ["cluster_health_score", "cluster_pods", "cluster_compliant_pods"]
            .map(|name| metrics.value(name, &[]))
    };
    let before = watcher.metrics().unwrap();
    assert_eq!(numbers(&before), [Some(90.0), Some(2.0), Some(0.0)]);
    testbed.kill_api_server().unwrap();
    let away = Instant::now();
    // While it is the leader it exports the last known scores; afterwards none.
    while away.elapsed() < Duration::from_secs(14) {
        let metrics = watcher.metrics().unwrap();
        let expected =
            if metrics.has("cluster_health_score") { numbers(&before) } else { [None; 3] };
        assert_eq!(numbers(&metrics), expected);
        assert_eq!(json_of(&watcher, "/scores")["cluster"]["pods"], 2);
        thread::sleep(Duration::from_millis(100));
    }
    let heard = |metrics: &e2e::Metrics| {
        metrics.value("watch_last_event_timestamp_seconds", &[("kind", "Pod")]).unwrap()
    };
    let last = watcher.metrics().unwrap();
    assert!(heard(&last) <= heard(&before) + 5.0, "the age of the data is exported");
    assert_eq!(watcher.get("/readyz").unwrap().0, 200);
    testbed.restart_api_server().unwrap();
    testbed.apply(&pod("default", "three")).unwrap();
    let back = testbed.wait_for("the third pod", SURELY, || {
        Ok(watcher.metrics()?.value("cluster_pods", &[]) == Some(3.0))
    });
    back.unwrap();
    assert!(heard(&watcher.metrics().unwrap()) > heard(&last));
}

/// Asks it to stop, which it has to do in good order and soon.
fn assert_stops(watcher: &Service<'_>) {
    let asked = Instant::now();
    watcher.signal(Signal::Term).unwrap();
    assert_eq!(watcher.wait_exit(SURELY).unwrap().code(), Some(0), "{}", watcher.logs().unwrap());
    let took = asked.elapsed();
    // A second, on a machine that does nothing else; a pod is killed after thirty.
    assert!(took <= Duration::from_secs(10), "{took:?}\n{}", watcher.logs().unwrap());
}

#[test]
fn half_a_question_does_not_hold_up_the_stop() {
    let testbed = shared();
    let namespace = testbed.namespace("half").unwrap();
    let kubeconfig = testbed.service_account(&namespace, "nothing", "[]").unwrap();
    let watcher = testbed.service("half", program()).kubeconfig(&kubeconfig).start().unwrap();
    // More than are let in at a time.
    let half = |_| {
        let mut stream = TcpStream::connect(watcher.addr()).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        stream
    };
    let held: Vec<TcpStream> = (0..300).map(half).collect();
    thread::sleep(Duration::from_secs(1));
    assert_stops(&watcher);
    drop(held);
}

#[test]
fn a_second_signal_cuts_the_stop_short() {
    let testbed = shared();
    let namespace = testbed.namespace("twice").unwrap();
    let kubeconfig = testbed.service_account(&namespace, "nothing", "[]").unwrap();
    let launch = testbed.service("twice", program()).kubeconfig(&kubeconfig);
    let watcher = launch.variable("GOV_SHUTDOWN__DRAIN_SECONDS", "20").start().unwrap();
    watcher.signal(Signal::Term).unwrap();
    let is_stopping = || Ok(watcher.logs()?.contains(r#""message":"stopping""#));
    testbed.wait_for("the stop to begin", SURELY, is_stopping).unwrap();
    watcher.signal(Signal::Term).unwrap();
    assert_eq!(watcher.wait_exit(SURELY).unwrap().code(), Some(128 + 15));
}

#[test]
fn a_stop_under_load_resets_nobody_and_gives_the_lease_back() {
    let (testbed, kubeconfig) = installed(&Parts::new("stop"));
    let watcher = start(&testbed, "watcher", &kubeconfig);
    wait_until_leads(&testbed, &watcher, SURELY);
    let (addr, stop) = (watcher.addr(), AtomicBool::new(false));
    // Each client sends requests in a loop, on a new connection each time, and counts its failures.
    // Those of `/metrics` wait for each other.
    let ask = |path: &str| {
        let (mut answers, mut lost) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            // Who finds the admission closed was not let in, and is no request under way.
            let Ok(mut stream) = TcpStream::connect(addr) else { continue };
            let request = format!("GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            let result = stream
                .write_all(request.as_bytes())
                .and_then(|()| stream.read_to_string(&mut answer));
            match result {
                Ok(_) if answer.starts_with("HTTP/1.1 200") => answers += 1,
                other => lost.push(format!("{other:?} {answer:.40}")),
            }
        }
        (answers, lost)
    };
    let (took, lost, answers) = thread::scope(|threads| {
        let paths = ["/metrics", "/healthz"].repeat(4);
        let asking: Vec<_> =
            paths.into_iter().map(|path| threads.spawn(move || ask(path))).collect();
        thread::sleep(Duration::from_secs(1));
        let asked = Instant::now();
        watcher.signal(Signal::Term).unwrap();
        assert_eq!(watcher.wait_exit(SURELY).unwrap().code(), Some(0));
        let took = asked.elapsed();
        stop.store(true, Ordering::Relaxed);
        let (answers, lost): (Vec<u32>, Vec<Vec<String>>) =
            asking.into_iter().map(|thread| thread.join().unwrap()).unzip();
        (took, lost.concat(), answers.iter().sum::<u32>())
    });
    assert!(took <= Duration::from_secs(10), "{took:?}");
    assert!(answers > 100, "{answers} answers");
    assert!(lost.is_empty(), "{} of {answers}: {:?}", lost.len(), lost.first());
    let holder = ["get", "lease", "policy-watcher", "-n", "kube-devops"];
    let holder = [&holder[..], &["-o", "jsonpath={.spec.holderIdentity}"]].concat();
    assert_eq!(testbed.kubectl(&holder).unwrap().succeeded().unwrap(), "");
}
