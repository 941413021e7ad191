#!/usr/bin/env bash
# Run the tests of packages, and say at the end where the time went.
#
#   test/suite.sh [FLAG-OF-GO-TEST...] -- PACKAGE...
#
# Packages whose tests start programs (API servers, Envoys) or labs run one after
# the other: they have floods of requests, and deadlines for what a user waits
# for. All others run side by side. What fails does not keep the rest from
# running. The timeout is for one package, and generous: two cores may be shared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
flags=()
while [[ $1 != -- ]]; do
	flags+=("$1")
	shift
done
shift

# alone lists those of the packages whose tests start programs.
alone() {
	"${GO:-go}" list -test -f '{{.ImportPath}}{{range .Deps}} {{.}}{{end}}' "$@" |
		awk '$1 ~ /\.test$/ && / [^ ]*\/test\/(child|tools|cluster|netns|lab)( |$)/ { sub(/\.test$/, "", $1); print $1 }' | sort -u
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
began=$SECONDS
status=0
all=$("${GO:-go}" list "$@") # where this fails, nothing would be tested
alone=$(alone "$@")
mapfile -t one < <(grep -xFf <(echo "$alone") <<<"$all")
mapfile -t together < <(grep -vxFf <(echo "$alone") <<<"$all")

run() { "${GO:-go}" test -timeout 20m "${flags[@]}" "$@" 2>&1 | tee -a "$log" || status=1; }
((${#together[@]} == 0)) || run "${together[@]}"
between=$SECONDS
((${#one[@]} == 0)) || run -p 1 "${one[@]}"

printf '\nWhere the time went (tests alone, without what was compiled for them):\n'
awk '$1 == "ok" || $1 == "FAIL" { if ($3 ~ /^[0-9.]+s$/) printf "%8.1f s  %s\n", $3, $2 }' "$log" | sort -rn | head -n 15
printf '%6d s    in all: %d packages side by side in %d s, then %d one by one in %d s\n' \
	$((SECONDS - began)) ${#together[@]} $((between - began)) ${#one[@]} $((SECONDS - between))
exit "$status"
