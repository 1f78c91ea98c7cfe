#!/usr/bin/env bash
# cel 0.15.0 (Rust) and cel-go 0.29.2, the CEL of Kubernetes 1.37: `matches` reads other regexes.
# Guess: CEL names RE2 as the syntax of `matches`, and the crate `regex` has RE2's syntax, so a
# pattern that both accept means the same in a ValidatingAdmissionPolicy and in a Rust tool.
# Seen: in the Rust crate \d, \s and \b are those of Unicode, in Go those of ASCII: an Arabic digit
# matches ^\d$ in Rust alone. `&&` and `[[` within a class are set operations in Rust and plain
# characters in Go. Each pattern below compiles in both, and none gives the same answer.
# Needs: Rust 1.89 or newer, Go 1.26 or newer, crates.io, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > expressions <<'CEL'
'٣'.matches('^\\d$')
'\u00a0'.matches('^\\s$')
'aé'.matches('a\\b')
'&'.matches('^[a&&b]$')
'b'.matches('^[[ab]]$')
CEL
mkdir -p rust/src go
cat > rust/Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
cel = { version = "=0.15.0", default-features = false, features = ["regex"] }
TOML
cat > rust/src/main.rs <<'RUST'
fn main() {
    for line in std::io::stdin().lines() {
        let program = cel::Program::compile(&line.unwrap()).unwrap();
        match program.execute(&cel::Context::default()).unwrap() {
            cel::Value::Bool(answer) => println!("{answer}"),
            other => panic!("{other:?}"),
        }
    }
}
RUST
cat > go/main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
)

func main() {
	env, err := cel.NewEnv()
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ast, issues := env.Compile(lines.Text())
		if issues.Err() != nil {
			panic(issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			panic(err)
		}
		answer, _, err := program.Eval(map[string]any{})
		if err != nil {
			panic(err)
		}
		fmt.Println(answer.Value())
	}
}
GO
cd go
go mod init finding 2> /dev/null
go mod edit -require=github.com/google/cel-go@v0.29.2
GOFLAGS=-mod=mod go build -o ../answer-go . 2> /dev/null
cd ..
cargo build --quiet --manifest-path rust/Cargo.toml
rust/target/debug/finding < expressions > rust.txt
./answer-go < expressions > go.txt
seen=$(paste rust.txt go.txt expressions)
echo "answers of cel 0.15.0, of cel-go 0.29.2, and the expression:"
echo "$seen"
expected=$(printf 'true\tfalse\ntrue\tfalse\nfalse\ttrue\nfalse\ttrue\ntrue\tfalse')
[ "$(cut -f1,2 <<< "$seen")" = "$expected" ]
