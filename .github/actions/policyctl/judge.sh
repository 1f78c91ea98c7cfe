#!/usr/bin/env bash
# The step of action.yml that judges. Its inputs are environment variables, so that none of them is
# read as a command.
set -euo pipefail
arguments=(analyze -o table -o "sarif=$SARIF")
while IFS= read -r file; do
  [ -z "$file" ] || arguments+=(-f "$file")
done <<< "$FILES"
[ -z "$BUNDLE" ] || arguments+=(--bundle "$BUNDLE")
[ -z "$POLICY" ] || arguments+=(--policy "$POLICY")
[ -z "$BASELINE" ] || arguments+=(--baseline "$BASELINE")
[ -z "$FAIL_ON" ] || arguments+=(--fail-on "$FAIL_ON")
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
code=0
policyctl "${arguments[@]}" -o "markdown=$summary" || code=$?
cat "$summary" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$code"
