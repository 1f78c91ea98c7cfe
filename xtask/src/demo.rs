//! `cargo xtask demo`: the product on the example application.

use anyhow::Result;

use crate::cargo;

const STEPS: [(&str, &[&str]); 4] = [
    (
        "The example application by the built-in profile. Each object has another kind of \
         finding; the numbers on the left are lines of the file.",
        &["analyze", "-f", "deploy/examples"],
    ),
    ("The ready-made policies.", &["bundle", "list"]),
    (
        "The same application by the strictest of them, as a pipeline would ask: exit code 1 \
         says that something is of severity high or worse.",
        &["analyze", "-f", "deploy/examples", "--bundle", "restricted", "--fail-on", "high"],
    ),
    ("A policy to commit or to apply.", &["bundle", "apply", "baseline", "--namespace", "shop"]),
];

pub(crate) fn run() -> Result<()> {
    println!("Building policyctl (the first time this takes a minute or two) ...");
    cargo::run(&["build", "--quiet", "--locked", "--package", "policyctl"])?;
    for (explanation, arguments) in STEPS {
        println!("\n# {explanation}\n$ policyctl {}\n", arguments.join(" "));
        let status = cargo::command()
            .args(["run", "--quiet", "--locked", "--package", "policyctl", "--"])
            .args(arguments)
            .status()?;
        let code = status.code().unwrap_or(-1);
        let may_find = arguments.contains(&"--fail-on");
        anyhow::ensure!(code == i32::from(may_find), "policyctl ended with {status}");
        println!("\n(exit code {code})");
    }
    println!("\nTry it on your own manifests: cargo run --package policyctl -- analyze -f FOLDER");
    Ok(())
}
