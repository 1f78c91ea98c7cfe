#!/usr/bin/env bash
# structured-merge-diff 6.4.2, the library of server-side apply: an apply of an empty object, where the
# same manager had content before, gives null.
# Guess: `report: {}` after `report: {lines: [a], total: 1}` gives `report: {}`, as it does where
# there was nothing before.
# Seen: `report: null`. For a custom resource the API server (1.37.2) then refuses the apply with 422,
# "must be of type object", as often as it is repeated. Leaving `report` out removes it, and with
# one of the two fields kept the other one goes as expected.
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

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

const schema = `types:
- name: object
  map:
    fields:
    - name: score
      type: {scalar: numeric}
    - name: report
      type: {namedType: report}
- name: report
  map:
    fields:
    - name: total
      type: {scalar: numeric}
    - name: lines
      type: {list: {elementType: {scalar: string}, elementRelationship: atomic}}
`

type unchanged struct{}

func (unchanged) Convert(o *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return o, nil
}
func (unchanged) IsMissingVersionError(error) bool { return false }

func must[T any](result T, err error) T {
	if err != nil {
		panic(err)
	}
	return result
}

// What is there after these applies of one manager, one after the other.
func after(applies ...string) string {
	object := must(typed.NewParser(schema)).Type("object")
	updater := (&merge.UpdaterBuilder{Converter: unchanged{}}).BuildUpdater()
	live, owners := must(object.FromYAML("{}")), fieldpath.ManagedFields{}
	for _, text := range applies {
		config := must(object.FromYAML(typed.YAMLObject(text)))
		next, now, err := updater.Apply(live, config, "v1", owners, "ours", true)
		if err != nil {
			panic(err)
		}
		owners = now
		if next != nil {
			live = next
		}
	}
	return string(must(value.ToJSON(live.AsValue())))
}

func main() {
	const content = `{score: 1, report: {lines: [a], total: 1}}`
	fmt.Println("at once:", after(`{score: 1, report: {}}`))
	fmt.Println("after content:", after(content, `{score: 1, report: {}}`))
	fmt.Println("left out:", after(content, `{score: 1}`))
	fmt.Println("one kept:", after(content, `{score: 1, report: {total: 1}}`))
}
GO
GOFLAGS=-mod=mod go run . 2> log > seen || { cat log; exit 1; }
cat seen
diff - seen <<'SEEN'
at once: {"report":{},"score":1}
after content: {"report":null,"score":1}
left out: {"score":1}
one kept: {"report":{"total":1},"score":1}
SEEN
