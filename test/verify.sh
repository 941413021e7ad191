#!/usr/bin/env bash
# Check what is easily forgotten before a commit: gofmt, go mod tidy, go generate.
#
#   test/verify.sh MODULE-FOLDER...
#
# All checks run; each one that fails says which command fixes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0

# complain NEXT TEXT: report that a check failed and found TEXT. NEXT is the
# command to run.
complain() {
	printf '%s\nverify: run %s\n\n' "$2" "$1" >&2
	failed=1
}

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.go')
found=$(gofmt -l "${sources[@]}")
[[ -z $found ]] || complain 'gofmt -w on these files' "$found"

for module in "$@"; do
	found=$(env -C "$module" go mod tidy -diff 2>&1) ||
		complain "go mod tidy in $module" "$found"
done

state() { git diff && git status --porcelain; }
before=$(state)
go generate ./...
[[ $before == "$(state)" ]] || complain 'make generate and commit' "$(git status --short)"

exit "$failed"
