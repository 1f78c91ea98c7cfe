//! Texts from outside (a kubeconfig, an API server) that a terminal would obey, in each command that
//! prints them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

/// Colours by ESC and by U+009B, moves the cursor, and begins a line that looks like the program's
/// or like a command to GitHub's runner.
const HOSTILE: &str = "x\u{1b}[31m\u{9b}31m\u{7f}\r\u{8}\n::error::forged\nerror: forged";

/// Whether a terminal obeys a part of the output, or a line of it is forged.
fn is_obeyed(output: &str) -> bool {
    let is_control = |c: char| c.is_control() && c != '\n';
    let is_forged = |line: &str| {
        let line = line.trim_start();
        line.starts_with("::error") || line == "error: forged"
    };
    output.contains(is_control) || output.lines().any(is_forged)
}

fn policyctl(kubeconfig: &Path, arguments: &str) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_policyctl"))
        .args(arguments.split_whitespace())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_remove("CLICOLOR_FORCE")
        .env("HTTP_PROXY", "")
        .env("http_proxy", "")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

fn kubeconfig(folder: &Path, server: &str) -> std::path::PathBuf {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": HOSTILE,
        "contexts": [
            { "name": HOSTILE, "context": { "cluster": HOSTILE, "user": "u" } },
            { "name": "lost", "context": { "cluster": format!("gone{HOSTILE}"), "user": "u" } },
        ],
        "clusters": [{ "name": HOSTILE, "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": {} }],
    });
    let path = folder.join("kubeconfig");
    // YAML takes these characters only where they are escaped.
    let config = config.to_string().replace('\u{9b}', "\\u009b").replace('\u{7f}', "\\u007f");
    fs::write(&path, config).unwrap();
    path
}

/// An API server in which every text is hostile.
fn answer(method: &str, path: &str) -> (u16, Value) {
    let metadata = json!({ "name": HOSTILE, "namespace": HOSTILE });
    let list = |items: Value| {
        (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
    };
    match (method, path.split('?').next().unwrap()) {
        (_, "/version") => {
            let version = format!("v1.36.0{HOSTILE}");
            (
                200,
                json!({ "major": "1", "minor": "36", "gitVersion": version, "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
            )
        }
        (_, path) if path.ends_with("/selfsubjectaccessreviews") => {
            (201, json!({ "metadata": {}, "spec": {}, "status": { "allowed": true } }))
        }
        (_, path) if path.ends_with("/pods") => list(json!([
            { "metadata": metadata, "status": { "phase": HOSTILE, "podIP": HOSTILE }, "spec": {
                "nodeName": HOSTILE, "containers": [{ "name": HOSTILE, "image": HOSTILE }],
                "volumes": [{ "name": HOSTILE, "image": { "reference": HOSTILE } }] } },
            { "metadata": metadata, "spec": { "containers": HOSTILE } },
        ])),
        (_, path) if path.ends_with("/devopspolicies") => list(json!([
            { "metadata": metadata, "spec": { "forbidLatestTag": true } },
            { "metadata": { "name": format!("odd{HOSTILE}"), "namespace": HOSTILE },
                "spec": { "enforcementMode": HOSTILE } },
        ])),
        _ => (
            403,
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                "reason": "Forbidden", "message": HOSTILE }),
        ),
    }
}

fn serve(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    let request: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    while line != "\r\n" && !line.is_empty() {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let [method, path, ..] = request.as_slice() else { return };
    let (status, body) = answer(method, path);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client that has gone needs no answer.
    let _ = reader.into_inner().write_all(&[head.as_bytes(), body.as_bytes()].concat());
}

#[test]
fn no_text_of_a_kubeconfig_or_a_server_is_obeyed_by_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| {
            thread::spawn(|| serve(stream));
        });
    });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), &server);
    let mut seen = String::new();
    for command in [
        "check",
        "list pods",
        "analyze",
        "analyze --policies cluster",
        "preview --bundle restricted",
        "explain odd -n shop",
        "multi-cluster list-contexts",
        "multi-cluster list-contexts --probe",
        "multi-cluster analyze --per-cluster",
        "export",
        "crd install",
    ] {
        let plain = if command == "export" { "yaml" } else { "table" };
        let more = if command == "list pods" { "-o wide" } else { "-o json" };
        for options in [format!("-o {plain}"), format!("{more} -v"), "-o yaml".to_owned()] {
            let (output, code) = policyctl(&kubeconfig, &format!("{command} {options}"));
            assert!(!is_obeyed(&output), "{command} {options}: {}", output.escape_debug());
            assert!(output.contains("[31m"), "{command} {options} names nothing: {output}");
            assert!(code.is_some_and(|code| code <= 3), "{command} {options}");
            seen += &output;
        }
    }
    assert!(seen.starts_with("Context     x\u{fffd}[31m\u{fffd}31m"), "the table of check: {seen}");
}

#[test]
fn an_error_is_one_line_whatever_it_names() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    let kubeconfig = kubeconfig(folder.path(), "http://127.0.0.1:1");
    for command in ["check", "list pods", "analyze", "export", "check --context lost"] {
        let (output, code) = policyctl(&kubeconfig, command);
        assert_eq!((output.lines().count(), code), (1, Some(3)), "{command}: {output}");
        assert!(output.starts_with("error: ") && !is_obeyed(&output), "{command}: {output}");
    }
}
