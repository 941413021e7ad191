#!/usr/bin/env bash
# Run every fuzz test of the module for $FUZZTIME, one after the other, because Go
# runs only one per call. A failing input stays in testdata/fuzz of its package;
# commit it, and every later test uses it as a seed. Renderings are also shown to
# a real Envoy, which is slow. Minimising one input may take at most a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()
while IFS=: read -r file name; do
	echo "== $name in $(dirname "$file"), ${FUZZTIME:=30s}"
	FAIRWAY_SOAK=1 "${GO:-go}" test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$(dirname "$file")" ||
		failed+=("$name in $(dirname "$file")")
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' ./*/ | sed 's/func //' | sort)

if ((${#failed[@]})); then
	printf 'failed: %s\n' "${failed[@]}"
	exit 1
fi
