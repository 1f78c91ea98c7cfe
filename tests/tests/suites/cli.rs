//! `policyctl` as the suites run it.
#![expect(clippy::unwrap_used, reason = "a test that cannot run the program has failed")]

use std::path::Path;
use std::process::Command;

use e2e::{Run, Testbed, policyctl};
use serde_json::Value;

/// Runs it against the cluster of a kubeconfig, with this standard input.
pub(crate) fn run(kubeconfig: &Path, arguments: &[&str], stdin: &str) -> Run {
    let mut command = Command::new(policyctl().unwrap());
    command.env("KUBECONFIG", kubeconfig).env_remove("NO_COLOR").args(arguments);
    Run::of(&mut command, Some(stdin)).unwrap()
}

/// Runs it as the administrator; it has to end with this exit code. Gives standard output.
pub(crate) fn expect(testbed: &Testbed, code: i32, arguments: &[&str], stdin: &str) -> String {
    let run = run(testbed.kubeconfig(), arguments, stdin);
    let Run { stdout, stderr, .. } = &run;
    assert_eq!(run.code, Some(code), "policyctl {arguments:?}\n{stdout}\n{stderr}");
    run.stdout
}

/// The JSON of `analyze` with these arguments.
pub(crate) fn analysis(testbed: &Testbed, arguments: &[&str]) -> Value {
    let json = expect(testbed, 0, &[&["analyze", "-o", "json"], arguments].concat(), "");
    serde_json::from_str(&json).unwrap()
}
