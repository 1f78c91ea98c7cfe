#!/usr/bin/env bash
# promtool of Prometheus 3.16.0: `check metrics` says nothing about a histogram that cannot be: a
# bucket that holds less than a smaller one, a last bucket that is not the count, or no bucket +Inf.
# Guess: the linter of the text format checks the rules of a histogram, as it checks names and help
# texts, so that a page that it takes gives right quantiles.
# Seen: exit code 0 and no line for all three; a missing help text is told, and is exit code 3.
# Needs: Go 1.26 or newer, the Go module proxy; builds promtool, some minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
mkdir build pages
cd build
go mod init finding 2> /dev/null
go mod edit -require=github.com/prometheus/prometheus@v0.316.0
printf 'package main\n\nimport _ "github.com/prometheus/prometheus/model/labels"\n\nfunc main() {}\n' > main.go
GOFLAGS=-mod=mod go build -o ../ github.com/prometheus/prometheus/cmd/promtool 2> /dev/null
cd ../pages
# The first argument is the help line, the others are the counts up to 1 s, up to 2 s, and of all.
page() {
  echo "$1"
  echo '# TYPE wait_seconds histogram'
  printf 'wait_seconds_bucket{le="1"} %s\nwait_seconds_bucket{le="2"} %s\n' "$2" "$3"
  [ -z "$4" ] || echo "wait_seconds_bucket{le=\"+Inf\"} $4"
  printf 'wait_seconds_sum 4\nwait_seconds_count 5\n'
}
help='# HELP wait_seconds Time of waiting.'
page "$help" 5 3 5 > falling
page "$help" 1 3 4 > other-count
page "$help" 1 5 '' > no-infinity
page '# A page without help.' 1 3 5 > no-help
for name in falling other-count no-infinity no-help; do
  code=0
  output=$(../promtool check metrics < "$name" 2>&1) || code=$?
  echo "$name: exit $code: $output"
done | tee seen
grep -qx 'falling: exit 0: ' seen
grep -qx 'other-count: exit 0: ' seen
grep -qx 'no-infinity: exit 0: ' seen
grep -q '^no-help: exit 3: .*help' seen
