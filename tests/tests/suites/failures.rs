//! What users read when a cluster cannot be reached or refuses a request: one sentence, soon.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod user;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use e2e::{Parts, Testbed, shared};
use serde_json::{Value, json};

use crate::{cli, policies};
use user::{User, assert_all, complaints, kubeconfig, owned, real};
pub(crate) use user::{fake_server, response};

const SURELY: Duration = Duration::from_secs(60);
pub(crate) const READ_PODS: &str = "[{apiGroups: [''], resources: [pods], verbs: [get, list]}]";
const ANALYZE: [&str; 3] = ["analyze", "-o", "json"];

#[test]
fn a_kubeconfig_that_is_not_there_or_none_is_named() {
    let user = User::new();
    let home = user.path("nobody/.kube/config");
    let broken = user.write("broken", "contexts: [");
    let text = user.write("text", "Just some text.\n");
    let empty = user.write("empty", "");
    let binary = user.path("binary");
    fs::write(&binary, b"\x7fELF\xff\xfe").unwrap();
    let (missing, nowhere) = (user.path("missing"), user.path("a:b"));
    // Whether --kubeconfig says so, or KUBECONFIG, or neither; and the files to be named.
    let cases = [
        ("", &home, "no context in"),
        ("KUBECONFIG", &nowhere, "; set KUBECONFIG or --kubeconfig"),
        ("KUBECONFIG", &binary, "UTF-8"),
        ("--kubeconfig", &missing, "No such file"),
        ("--kubeconfig", &user.path("."), "directory"),
        ("--kubeconfig", &broken, "line 1 column"),
        ("--kubeconfig", &text, "line 1 column"),
        ("--kubeconfig", &empty, "no context"),
    ];
    let mut wrong = Vec::new();
    for (source, file, says) in cases {
        let path = file.to_str().unwrap();
        let says: Vec<&str> = path.split(':').chain([says]).collect();
        for command in [&["analyze"][..], &["list", "pods"], &["multi-cluster", "list-contexts"]] {
            let option = if source == "--kubeconfig" { &[source, path][..] } else { &[] };
            let variable = if source == "KUBECONFIG" { &[(source, &**file)][..] } else { &[] };
            let run = user.run(&[command, option].concat(), variable);
            let complaints = complaints(&run, &says);
            if !complaints.is_empty() {
                wrong.push(format!("{command:?} of {path}: {complaints:?}\n    {}", run.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_context_that_leads_nowhere_is_named() {
    let cluster = json!({ "server": "https://127.0.0.1:1" });
    let with = |field: &str, value: Value| {
        let mut config = kubeconfig(&cluster, &json!({ "token": "t" }));
        config[field] = value;
        config
    };
    let contexts = json!([{ "name": "eu", "context": { "cluster": "somewhere", "user": "somebody" } },
                          { "name": "us", "context": { "cluster": "somewhere", "user": "somebody" } }]);
    let mut undecided = with("contexts", contexts.clone());
    undecided["current-context"] = "".into();
    let server = |url: Value| kubeconfig(&json!({ "server": url }), &json!({ "token": "t" }));
    assert_all([
        ("no current context", undecided, owned(&["no current context", "--context", "eu, us"])),
        ("current context unknown", with("contexts", contexts), owned(&["`prod`", "eu, us"])),
        ("no cluster of it", with("clusters", json!([])), owned(&["`prod`", "somewhere"])),
        // kubectl refuses this as well. Who is asked for nobody's rights may not know it.
        ("no user of it", with("users", json!([])), owned(&["`prod`", "somebody"])),
        ("empty context", with("contexts", json!([{ "name": "prod" }])), owned(&["`prod`"])),
        ("no server", server(Value::Null), owned(&["`prod`", "url is missing"])),
        ("no URL", server("not a url".into()), owned(&["`prod`", "url"])),
        ("no scheme", server("127.0.0.1:1".into()), owned(&["`prod`", "127.0.0.1:1"])),
    ]);
    let user = User::new();
    let file = user.write("kubeconfig", &with("namespace", Value::Null).to_string());
    let file = file.to_str().unwrap();
    let run = user.run(&["analyze", "--kubeconfig", file, "--context", "nope"], &[]);
    assert_eq!(run.stderr, "error: there is no context `nope`; there are prod\n");
    assert_eq!(run.code, Some(2));
}

#[test]
fn a_server_that_is_not_what_it_should_be_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let respond = |status: &'static str| {
        fake_server(move |_| {
            let body = "<html><body><h1>Welcome to nginx!</h1></body></html>";
            Some(response(status, "text/html", body))
        })
    };
    let closing = fake_server(|_| Some(Vec::new()));
    let foreign = fake_server(|_| Some(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    let late = ["timed out", "no usable answer within 8 s"];
    let cases: [(&str, String, &[&str]); 13] = [
        ("refuses", "https://127.0.0.1:1".into(), &["Connection refused"]),
        ("silent, https", format!("https://{silent_address}"), &late[..1]),
        ("silent, http", format!("http://{silent_address}"), &late[1..]),
        ("closes, https", format!("https://{closing}"), &["onnection"]),
        ("closes, http", format!("http://{closing}"), &["onnection closed"]),
        ("HTML, 200", format!("http://{}", respond("200 OK")), &["not", "Kubernetes"]),
        ("HTML, 404", format!("http://{}", respond("404 Not Found")), &["404"]),
        ("HTML, 502", format!("http://{}", respond("502 Bad Gateway")), &["502"]),
        ("HTML, 503", format!("http://{}", respond("503 Unavailable")), &["503"]),
        ("another protocol", format!("http://{foreign}"), &["HTTP"]),
        ("http for https", format!("https://{}", respond("400 Bad Request")), &["TLS"]),
        ("https for http", shared().server_url().replace("https", "http"), &["HTTPS"]),
        ("no such host", "https://no-such-host.invalid:6443".into(), &["lookup"]),
    ];
    assert_all(cases.map(|(name, server, says)| {
        let says = [&["`prod`", &server], says].concat();
        let says = owned(&says);
        (name, kubeconfig(&json!({ "server": server }), &json!({ "token": "t" })), says)
    }));
}

#[test]
fn a_certificate_that_is_not_trusted_is_named() {
    let user = json!({ "token": "t" });
    let gone = "/nowhere/ca.pem";
    let folder = User::new();
    let no_pem = folder.write("ca.pem", "hello\n");
    let cases: [(&str, Value, &[&str]); 5] = [
        ("unknown issuer", json!({ "certificate-authority": null }), &["unknown issuer"]),
        ("wrong name", json!({ "tls-server-name": "wrong.example" }), &["\"wrong.example\""]),
        ("missing file", json!({ "certificate-authority": gone }), &[gone, "No such file"]),
        ("no PEM", json!({ "certificate-authority": no_pem }), &[no_pem.to_str().unwrap()]),
        (
            "no base64",
            json!({ "certificate-authority": null, "certificate-authority-data": "!!" }),
            &["certificate authority", "base64"],
        ),
    ];
    assert_all(cases.map(|(name, changes, says)| {
        (name, kubeconfig(&real(&changes), &user), owned(&[&["`prod`"], says].concat()))
    }));
}

/// As in the image of policyctl, which holds one file.
#[test]
fn root_certificates_are_missed_only_where_they_are_needed() {
    let user = User::new();
    let http = json!({ "server": "http://127.0.0.1:1" });
    let says = |cluster: &Value, says: &[&str]| {
        let file =
            user.write("kubeconfig", &kubeconfig(cluster, &json!({ "token": "t" })).to_string());
        let arguments = ["analyze", "--kubeconfig", file.to_str().unwrap()];
        let run = user.run(&arguments, &[("SSL_CERT_FILE", Path::new("/dev/null"))]);
        let complaints = complaints(&run, says);
        assert!(complaints.is_empty(), "{complaints:?}\n    {}", run.stderr);
    };
    let no_authority = json!({ "certificate-authority": null });
    says(&real(&no_authority), &["no root certificates", "certificate-authority", "SSL_CERT_FILE"]);
    let unchecked = json!({ "certificate-authority": null, "insecure-skip-tls-verify": true });
    says(&real(&unchecked), &["credentials", "401"]);
    says(&http, &["Connection refused"]);
    says(&real(&json!({})), &["credentials", "401"]);
}

#[test]
fn credentials_that_do_not_work_are_named() {
    let plugin = |script: &str| {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": "sh", "args": ["-c", script],
        });
        json!({ "exec": exec })
    };
    let mut missing = plugin("");
    missing["exec"]["command"] = "no-such-plugin".into();
    missing["exec"]["installHint"] = "See the handbook\nof operations.".into();
    let key = json!({ "client-certificate": "/nowhere/crt", "client-key": "/nowhere/key" });
    let cases: [(&str, Value, &[&str]); 10] = [
        ("garbage", json!({ "token": "garbage" }), &["credentials", "401"]),
        ("no line", json!({ "token": "two\nlines" }), &["token"]),
        ("no token file", json!({ "tokenFile": "/nowhere/token" }), &["/nowhere/token"]),
        ("no certificate file", key, &["/nowhere/"]),
        ("no plugin", missing, &["no-such-plugin", "; See the handbook of operations."]),
        ("the plugin hangs", plugin("exec sleep 30"), &["`sh`", "no usable answer within 8 s"]),
        (
            "the plugin fails",
            plugin("echo please run: aws sso login >&2; echo hush-hush; exit 1"),
            &["please run: aws sso login", "`sh`"],
        ),
        ("the plugin fails silently", plugin("exit 7"), &["`sh`", "7"]),
        // What it prints may well be a token.
        ("the plugin prints garbage", plugin("echo hush-hush"), &["`sh`"]),
        ("the plugin prints nothing", plugin("exit 0"), &["plugin"]),
    ];
    assert_all(cases.map(|(name, user, says)| {
        (name, kubeconfig(&real(&json!({})), &user), owned(&[&["`prod`"], says].concat()))
    }));
}

#[test]
fn a_deleted_service_account_is_nobody() {
    let testbed = shared();
    let namespace = testbed.namespace("deleted").unwrap();
    let account = testbed.service_account(&namespace, "gone", READ_PODS).unwrap();
    assert_eq!(cli::run(&account, &ANALYZE, "").code, Some(0));
    let delete = ["delete", "serviceaccount", "gone", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    // The API server remembers for a moment that the token was good.
    let refused = testbed.wait_for("the token to be refused", SURELY, || {
        let run = cli::run(&account, &ANALYZE, "");
        let says = ["`shared`", "credentials", "401"];
        Ok(run.code != Some(0) && complaints(&run, &says) == Vec::<String>::new())
    });
    refused.unwrap();
}

#[test]
fn a_proxy_is_asked_for_those_hosts_that_need_one() {
    let user = User::new();
    let live = user.path("live");
    fs::copy(shared().kubeconfig(), &live).unwrap();
    let far = json!({ "server": "https://cluster.invalid:6443" });
    let far = user.write("far", &kubeconfig(&far, &json!({ "token": "t" })).to_string());
    let proxy = Path::new("http://user:hush-hush@127.0.0.1:1");
    let run = |config: &Path, no_proxy: &str| {
        let arguments = ["list", "pods", "--kubeconfig", config.to_str().unwrap()];
        user.run(&arguments, &[("HTTPS_PROXY", proxy), ("NO_PROXY", Path::new(no_proxy))])
    };
    // This machine needs no proxy, whatever NO_PROXY says; kubectl has it so as well.
    for no_proxy in ["", "127.0.0.1,.internal"] {
        let run = run(&live, no_proxy);
        assert_eq!(run.code, Some(0), "{no_proxy}");
        // Other suites may have pods meanwhile.
        assert!(["", "there is no pod\n"].contains(&run.stderr.as_str()), "{}", run.stderr);
    }
    // Who refuses is the proxy, and its password is nobody's business.
    for no_proxy in ["", "127.0.0.1,.internal"] {
        let says = ["`prod`", "cluster.invalid", "through the proxy 127.0.0.1:1", "refused"];
        assert_eq!(complaints(&run(&far, no_proxy), &says), Vec::<String>::new(), "{no_proxy}");
    }
    for no_proxy in ["cluster.invalid", ".invalid", "*"] {
        let run = run(&far, no_proxy);
        assert_eq!(complaints(&run, &["`prod`", "lookup"]), Vec::<String>::new(), "{no_proxy}");
        assert!(!run.stderr.contains("proxy"), "{}", run.stderr);
    }
}

#[test]
fn several_files_are_read_as_kubectl_reads_them() {
    let user = User::new();
    let admin = fs::read_to_string(shared().kubeconfig()).unwrap();
    let mut config: Value = serde_saphyr::from_str(&admin).unwrap();
    config["clusters"][0]["cluster"]["certificate-authority"] = "keys/ca.pem".into();
    let live = user.write("deep/live", &config.to_string());
    user.write("deep/keys/ca.pem", &fs::read_to_string(shared().certificate_authority()).unwrap());
    let mut first = kubeconfig(&json!({ "server": "https://127.0.0.1:1" }), &json!({}));
    // Names of the second file that the first one takes.
    let taken = json!({ "name": "shared@taken", "context": { "cluster": "somewhere" } });
    first["contexts"].as_array_mut().unwrap().push(taken);
    let first = user.write("first", &first.to_string());
    config["contexts"][0]["name"] = "shared@taken".into();
    let second = user.write("second", &config.to_string());
    let missing = user.path("missing");
    let files = std::env::join_paths([&missing, &first, &live, &second]).unwrap();
    let variables = [("KUBECONFIG", Path::new(&files))];
    let contexts = |arguments: &[&str]| {
        let list = [&["multi-cluster", "list-contexts", "-o", "json"][..], arguments].concat();
        let rows = user.run(&list, &variables).succeeded().unwrap();
        let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
        let text = |row: &Value| {
            format!("{} {} {}", row["name"], row["cluster"], row["isCurrent"]).replace('"', "")
        };
        rows.iter().map(text).collect::<Vec<_>>()
    };
    let merged = ["prod somewhere true", "shared shared false", "shared@taken somewhere false"];
    assert_eq!(contexts(&[]), merged);
    let kubectl = ["config", "get-contexts", "--output=name"];
    let kubectl = shared().kubectl_as(Path::new(&files), &kubectl).unwrap().succeeded().unwrap();
    assert_eq!(kubectl, "prod\nshared\nshared@taken\n");
    assert_eq!(contexts(&["--kubeconfig", live.to_str().unwrap()]), ["shared shared true"]);
    assert_eq!(contexts(&["--kubeconfig", "deep/live"]), ["shared shared true"]);
    // The path of the certificate is relative to its file, wherever one stands.
    for arguments in [&["--context", "shared"][..], &["--kubeconfig", "deep/live"]] {
        // Without the note that there may be no pod.
        let run = user.run(&[&["--quiet", "list", "pods"], arguments].concat(), &variables);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_limited_user_gets_what_is_allowed_and_hears_what_is_not() {
    let testbed = shared();
    let namespace = testbed.namespace("narrow").unwrap();
    let run = ["run", "only", "--image=nginx", "-n", &namespace];
    testbed.kubectl(&run).unwrap().succeeded().unwrap();
    let limited = testbed.limited_user(&namespace, READ_PODS).unwrap();
    let others = format!("namespaces other than {namespace}");
    for (own, code) in [(false, 3), (true, 0)] {
        let with = |arguments: &[&str], notes: usize| {
            let arguments = arguments.iter().copied();
            let option = ["-n", &namespace].into_iter().filter(|_| own);
            let arguments = arguments.chain(option).collect::<Vec<_>>();
            let run = cli::run(&limited, &arguments, "");
            assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
            let expected =
                if own { String::new() } else { format!("error: {others}: pods is forbidden") };
            assert!(run.stderr.starts_with(&expected), "{}", run.stderr);
            assert_eq!(run.stderr.lines().count(), usize::from(!own) + notes, "{}", run.stderr);
            // Nobody takes it for granted that no rollout is stuck.
            let note =
                "Deployments: rollouts that are stuck are not noted: deployments.apps is forbidden";
            assert_eq!(run.stderr.matches(note).count(), notes, "{}", run.stderr);
            serde_json::from_str::<Value>(&run.stdout).unwrap()
        };
        let report = with(&ANALYZE, 1);
        assert_eq!(report["coverage"]["evaluated"], 1);
        // latest-tag, missing-liveness, missing-readiness: 10 points of one pod.
        assert_eq!(report["summary"]["score"], 90);
        let failed = report["coverage"]["failed"].as_array().unwrap();
        let sources: Vec<_> = failed.iter().map(|part| part["source"].as_str().unwrap()).collect();
        assert_eq!(sources, if own { vec![] } else { vec![others.as_str()] });
        let pods = with(&["list", "pods", "-o", "json"], 0);
        assert_eq!((pods.as_array().unwrap().len(), &pods[0]["name"]), (1, &json!("only")));
    }
    let run = cli::run(&limited, &["analyze"], "");
    let expected = format!("\nNot read:\n  {others}: pods is forbidden: User \"limited-");
    assert!(run.stdout.contains(&expected), "{}", run.stdout);
}

#[test]
fn every_command_reports_a_namespace_that_does_not_exist() {
    policies::testbed();
    let commands: [&[&str]; 9] = [
        &ANALYZE,
        &["analyze", "--policies", "cluster", "-o", "json"],
        &["list", "pods"],
        &["multi-cluster", "analyze", "-o", "json"],
        &["check"],
        &["export"],
        &["explain", "p"],
        &["preview", "--bundle", "baseline", "-o", "json"],
        &["import", "-"],
    ];
    let policy = policies::policy("does-not-exist", "p", "{forbidLatestTag: true}");
    for command in commands {
        let arguments = [command, &["-n", "does-not-exist"]].concat();
        let run = cli::run(shared().kubeconfig(), &arguments, &policy);
        assert_eq!(run.code, Some(3), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(r#"namespaces "does-not-exist" not found"#), "{run:?}");
    }
    // Here the namespace is no error: its policies are only in the file.
    for (command, code) in [(&["diff", "-"][..], 1), (&["admit", "-f", "-"], 0)] {
        let arguments = [command, &["-n", "does-not-exist"]].concat();
        let pod = cli::restless("does-not-exist", 0);
        let stdin = if code == 1 { &policy } else { &pod };
        let run = cli::run(shared().kubeconfig(), &arguments, stdin);
        assert_eq!(run.code, Some(code), "{arguments:?}: {run:?}");
        let sentence = "there is no such namespace: namespaces \"does-not-exist\" not found\n";
        assert!(run.stderr.contains(sentence), "{arguments:?}: {run:?}");
    }
    let run = cli::run(shared().kubeconfig(), &["analyze", "-n", "does-not-exist"], "");
    assert!(run.stdout.contains("\nNot read:\n  namespace does-not-exist: "), "{}", run.stdout);
}

#[test]
fn a_server_that_comes_back_is_read_again() {
    let testbed = Testbed::start(&Parts::new("phoenix")).unwrap();
    let analyze = || cli::run(testbed.kubeconfig(), &ANALYZE, "");
    let before = analyze().succeeded().unwrap();
    testbed.kill_api_server().unwrap();
    let says = ["`phoenix`", testbed.server_url(), "Connection refused"];
    assert_eq!(complaints(&analyze(), &says), Vec::<String>::new());
    testbed.restart_api_server().unwrap();
    assert_eq!(analyze().succeeded().unwrap(), before);
}
