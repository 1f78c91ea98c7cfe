#!/usr/bin/env bash
# k8s.io/apiserver 0.37.2, the compiler of ValidatingAdmissionPolicies: a list with a text and a field of
# the object is refused, though both are texts.
# Guess: `object` has no type that is known at compile time, so that an expression on its fields is
# checked when it is evaluated, as `object.metadata.name == 'web'` is.
# Seen: `in ['web', object.metadata.labels.app]` is a compile error ("expected type 'string' but found
# 'dyn'"), two fields in a list are none, and neither is the field in `string()`. A policy whose
# expression CEL itself evaluates is not stored.
# Needs: Go 1.26 or newer, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > go.mod <<'MOD'
module finding

go 1.26.0

require (
	github.com/google/cel-go v0.29.2
	k8s.io/apiserver v0.37.2
)
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

type validation string

func (v validation) GetExpression() string      { return string(v) }
func (validation) ReturnTypes() []*cel.Type { return []*cel.Type{cel.BoolType} }

func main() {
	compiler := plugin.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	for _, text := range []string{
		"object.metadata.name == 'web'",
		"object.metadata.name in ['web', object.metadata.labels.app]",
		"object.metadata.name in [object.metadata.labels.team, object.metadata.labels.app]",
		"object.metadata.name in ['web', string(object.metadata.labels.app)]",
	} {
		result := compiler.CompileCELExpression(validation(text), plugin.OptionalVariableDeclarations{}, environment.NewExpressions)
		said := "taken"
		if result.Error != nil {
			said = strings.Join(strings.Fields(result.Error.Detail), " ")
		}
		fmt.Printf("%s: %s\n", text, said)
	}
}
GO
export GOFLAGS=-mod=mod GOTOOLCHAIN=auto
go mod tidy > /dev/null 2>&1
go run . | tee seen
test "$(grep -c ': taken$' seen)" = 3
grep -q "^object.metadata.name in \['web', object.metadata.labels.app\]: .*expected type 'string' but found 'dyn'" seen
