#!/usr/bin/env bash
# structured-merge-diff 6.4.2, the library of server-side apply: a manager that applies less may remove
# values that nobody owns.
# Guess: an apply that leaves out `requests.memory` removes that value alone, and `requests.cpu`, which
# has no owner (its owner's entry in managedFields was removed), stays.
# Seen: the whole map is removed, `cpu` included. It stays where another manager owns any value of
# the map, and where the map held nothing of ours.
# Needs: Go 1.23 or newer, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > go.mod <<'MOD'
module finding

go 1.23

require sigs.k8s.io/structured-merge-diff/v6 v6.4.2
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

const schema = `types:
- name: object
  map:
    fields:
    - name: image
      type: {scalar: string}
    - name: requests
      type: {namedType: amounts}
- name: amounts
  map:
    elementType: {scalar: string}
`

// One version, so nothing is converted.
type same struct{}

func (same) Convert(o *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return o, nil
}
func (same) IsMissingVersionError(error) bool { return false }

func main() {
	parser, err := typed.NewParser(schema)
	check(err)
	parse := func(text string) *typed.TypedValue {
		parsed, err := parser.Type("object").FromYAML(typed.YAMLObject(text))
		check(err)
		return parsed
	}
	updater := merge.UpdaterBuilder{Converter: same{}}
	run := func(name, other string, first, second string) {
		live, owners := parse(`{image: a, requests: {cpu: "1"}}`), fieldpath.ManagedFields{}
		apply := func(text, manager string) {
			next, now, err := updater.BuildUpdater().Apply(live, parse(text), "v1", owners, manager, false)
			check(err)
			owners = now
			if next != nil {
				live = next
			}
		}
		if other != "" {
			apply(other, "other")
		}
		apply(first, "ours")
		apply(second, "ours")
		text, err := value.ToYAML(live.AsValue())
		check(err)
		fmt.Println(name+":", strings.Join(strings.Fields(string(text)), " "))
	}
	run("alone", "", `{requests: {memory: "2"}}`, `{}`)
	run("beside another", `{requests: {disk: "3"}}`, `{requests: {memory: "2"}}`, `{}`)
	run("nothing given up", "", `{image: a}`, `{}`)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
GOFLAGS=-mod=mod go run . 2> log > seen || { cat log; exit 1; }
cat seen
diff - seen <<'SEEN'
alone: image: a
beside another: image: a requests: cpu: "1" disk: "3"
nothing given up: requests: cpu: "1"
SEEN
