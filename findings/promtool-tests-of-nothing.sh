#!/usr/bin/env bash
# promtool of Prometheus 3.16.0: a test of an alert that no rule defines passes, and so does a test
# whose rule file does not exist.
# Guess: `promtool test rules` fails when it cannot find what it is told to test, so that after a
# rename of an alert the tests that say "this alert stays silent" fail.
# Seen: for both it prints SUCCESS and exits with 0 (the missing file is a warning). An expected
# silence holds for every name that does not exist.
# Needs: Go 1.26 or newer, the Go module proxy; builds promtool, some minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
mkdir build tests
cd build
go mod init finding 2> /dev/null
go mod edit -require=github.com/prometheus/prometheus@v0.316.0
printf 'package main\n\nimport _ "github.com/prometheus/prometheus/model/labels"\n\nfunc main() {}\n' > main.go
GOFLAGS=-mod=mod go build -o ../ github.com/prometheus/prometheus/cmd/promtool 2> /dev/null
cd ../tests
cat > rules.yaml <<'YAML'
groups:
- name: example
  rules:
  - alert: InstanceDown
    expr: up == 0
YAML
cat > renamed.yaml <<'YAML'
rule_files: [rules.yaml]
tests:
- input_series: [{series: 'up{instance="a"}', values: '0x5'}]
  alert_rule_test:
  - {eval_time: 3m, alertname: TargetDown, exp_alerts: []}
YAML
sed 's/rules.yaml/moved.yaml/; s/TargetDown/InstanceDown/' renamed.yaml > missing.yaml
sed 's/TargetDown/InstanceDown/' renamed.yaml > wrong.yaml
for test in renamed missing wrong; do
  code=0
  output=$(../promtool test rules $test.yaml 2>&1) || code=$?
  echo "$test: exit $code: $(tr -s '\n ' ' ' <<< "$output")"
done | tee seen
grep -q '^renamed: exit 0: .*SUCCESS' seen
grep -q '^missing: exit 0: .*SUCCESS' seen
grep -q '^wrong: exit 1: ' seen
