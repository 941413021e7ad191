#!/usr/bin/env bash
# Run the tests of packages, and print at the end which took longest.
#
#   test/suite.sh [FLAG-OF-GO-TEST...] -- PACKAGE...
#
# Packages whose tests start programs (API servers, Envoys) run four at a time: each
# package has a network of its own, and waits more than it computes. The longest of them
# begin first, so that none runs alone at the end. All others run side by side before. A
# failure does not keep the rest from running. The timeout is for one package, and
# generous, because other programs may use the cores too. "make verify" vets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
flags=()
while [[ $1 != -- ]]; do
	flags+=("$1")
	shift
done
shift

# heavy lists those of the packages whose tests start programs.
heavy() {
	"${GO:-go}" list -test -f '{{.ImportPath}}{{range .Deps}} {{.}}{{end}}' "$@" |
		awk '$1 ~ /\.test$/ && / [^ ]*\/test\/(child|tools|cluster|netns|lab)( |$)/ { sub(/\.test$/, "", $1); print $1 }' | sort -u
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
began=$SECONDS
status=0
all=$("${GO:-go}" list "$@") # where this fails, nothing would be tested
heavy=$(heavy "$@")
longest='/(test/(chart|gateway|ingress|install|issuance|nodes|status)|xds/envoy)$'
mapfile -t four < <(grep -E "$longest" <<<"$heavy"; grep -vE "$longest|^$" <<<"$heavy")
mapfile -t together < <(grep -vxFf <(echo "$heavy") <<<"$all")

run() { "${GO:-go}" test -vet off -timeout 20m "$@" 2>&1 | tee -a "$log" || status=1; }
((${#together[@]} == 0)) || run "${flags[@]}" "${together[@]}"
between=$SECONDS
((${#four[@]} == 0)) || run -p 4 -parallel 4 "${flags[@]}" "${four[@]}"

printf '\nWhere the time went (tests alone, without what was compiled for them):\n'
awk -f test/times.awk "$log" | sort -rn | sed -n 1,15p
printf '%6d s    in all: %d packages side by side in %d s, then %d four at a time in %d s\n' \
	$((SECONDS - began)) ${#together[@]} $((between - began)) ${#four[@]} $((SECONDS - between))
exit "$status"
