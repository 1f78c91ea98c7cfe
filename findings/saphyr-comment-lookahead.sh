#!/usr/bin/env bash
# serde-saphyr 2.1.1: with the feature `comments`, 33 comment lines between a key and its nested
# value are an error; without the feature they are read.
# Guess: comments never make a document unreadable, and a feature of a parser that the program does
# not ask for changes nothing. Cargo unifies features: kube-client 5.0 switches `comments` on for
# every crate of a program, so the same code reads a file in one program and refuses it in another.
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
[features]
comments = ["serde-saphyr/comments"]
[dependencies]
serde-saphyr = { version = "=2.1.1", default-features = false, features = ["deserialize"] }
serde_json = "1"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    for lines in [32, 33] {
        let text = format!("spec:\n{}  replicas: 1\n", "  # why\n".repeat(lines));
        match serde_saphyr::from_str::<serde_json::Value>(&text) {
            Ok(value) => println!("{lines} comment lines: {value}"),
            Err(error) => println!("{lines} comment lines: error: {}", error.without_snippet()),
        }
    }
}
RUST
plain=$(cargo run --quiet)
with=$(cargo run --quiet --features comments)
printf 'serde-saphyr 2.1.1\n%s\nserde-saphyr 2.1.1 with comments\n%s\n' "$plain" "$with"
grep -q '^33 comment lines: {"spec":{"replicas":1}}$' <<< "$plain"
grep -q '^32 comment lines: {"spec":{"replicas":1}}$' <<< "$with"
grep -q '^33 comment lines: error: .*comments' <<< "$with"
