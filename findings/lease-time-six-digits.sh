#!/usr/bin/env bash
# k8s.io/apimachinery 0.37.2: a MicroTime has exactly six digits behind the point, or is an error.
# Guess: `renewTime` of a Lease and `eventTime` of an Event take any RFC 3339 time, as
# `creationTimestamp` does, and "micro" says what precision is kept.
# Seen: without a fraction, with one digit (trailing zeros cut, as many libraries print) or with
# nine, decoding fails with "cannot parse". A leader election that prints its time by a library's
# default works until a renewal falls on a time whose last digit is zero: one in ten.
# Needs: Go 1.26 or newer, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"

	coordination "k8s.io/api/coordination/v1"
)

func main() {
	for _, fraction := range []string{"", ".1", ".12345", ".123456", ".123456789"} {
		time := "2026-01-02T03:04:05" + fraction + "Z"
		for _, field := range []string{`{"spec":{"renewTime":%q}}`, `{"metadata":{"creationTimestamp":%q}}`} {
			var lease coordination.Lease
			err := json.Unmarshal([]byte(fmt.Sprintf(field, time)), &lease)
			fmt.Printf(field+" accepted: %v\n", time, err == nil)
		}
	}
}
GO
go mod init finding 2> /dev/null
go mod edit -require=k8s.io/api@v0.37.2 -require=k8s.io/apimachinery@v0.37.2
GOFLAGS=-mod=mod go build -o seen . 2> /dev/null
seen=$(./seen)
echo "k8s.io/apimachinery 0.37.2:"
echo "$seen"
[ "$(grep -c 'creationTimestamp.*true$' <<< "$seen")" = 5 ]
[ "$(grep -c 'renewTime.*false$' <<< "$seen")" = 4 ]
grep -q 'renewTime.*\.123456Z"}} accepted: true$' <<< "$seen"
