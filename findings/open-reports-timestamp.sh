#!/usr/bin/env bash
# openreports/reports-api 0.2.1, the Go types of Reports (openreports.io/v1alpha1): the time of a result.
# Guess: `timestamp` is a text of RFC 3339, as the times of the Kubernetes API are, and is left out where
# a result has none (its JSON tag says `omitempty`).
# Seen: it is `metav1.Timestamp`, the twin of `metav1.Time` for protobuf: an object of seconds and
# nanoseconds. A text is refused. A result without a time is written as one of 1970, as `omitempty`
# leaves out no struct, so that a viewer cannot tell the two apart.
# Needs: Go 1.24 or newer, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > go.mod <<'MOD'
module finding

go 1.24

require (
	github.com/openreports/reports-api v0.2.1
	k8s.io/apimachinery v0.34.0
)
MOD
cat > main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"

	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func written(result v1alpha1.ReportResult) {
	text, err := json.Marshal(result)
	fmt.Printf("%s %v\n", text, err)
}

func main() {
	written(v1alpha1.ReportResult{Timestamp: metav1.Timestamp{Seconds: 1793491200}})
	written(v1alpha1.ReportResult{})
	text := []byte(`{"timestamp": "2026-11-01T00:00:00Z"}`)
	fmt.Println("a text is refused:", json.Unmarshal(text, &v1alpha1.ReportResult{}) != nil)
}
GO
GOFLAGS=-mod=mod go run . 2> log > seen || { cat log; exit 1; }
cat seen
diff - seen <<'SEEN'
{"source":"","policy":"","timestamp":{"seconds":1793491200,"nanos":0}} <nil>
{"source":"","policy":"","timestamp":{"seconds":0,"nanos":0}} <nil>
a text is refused: true
SEEN
