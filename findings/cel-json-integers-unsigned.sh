#!/usr/bin/env bash
# cel 0.15.0: an integer of a JSON object becomes `uint`, so arithmetic with a literal is an error.
# Guess: an expression over an object that serde_json has read, such as `port % 2 == 0`, works as in
# a ValidatingAdmissionPolicy, where integers of an object are `int` as literals are.
# Seen: `Context::add_variable` makes a positive integer a `uint`. Comparisons with an `int` still
# work, which hides it; `port % 2` and `port + 1` fail with "Unsupported binary operator", `port % 2u` works.
# Needs: Rust 1.89 or newer, crates.io.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
cel = { version = "=0.15.0", default-features = false }
serde_json = "=1.0.145"
TOML
cat > src/main.rs <<'RUST'
use cel::{Context, Program};

fn main() {
    let object: serde_json::Value = serde_json::from_str(r#"{"port": 8080}"#).unwrap();
    let mut context = Context::default();
    context.add_variable("object", object).unwrap();
    for expression in ["object.port > 80", "object.port % 2 == 0", "object.port + 1 == 8081", "object.port % 2u == 0u"] {
        match Program::compile(expression).unwrap().execute(&context) {
            Ok(value) => println!("{expression}: {value:?}"),
            Err(error) => println!("{expression}: {error}"),
        }
    }
}
RUST
seen=$(cargo run --quiet)
echo "cel 0.15.0:"
echo "$seen"
grep -q '^object.port > 80: Bool(true)$' <<< "$seen"
[ "$(grep -cE '(% 2 == 0|\+ 1 == 8081): Unsupported binary operator' <<< "$seen")" = 2 ]
grep -q '^object.port % 2u == 0u: Bool(true)$' <<< "$seen"
