#!/usr/bin/env bash
# Serve examples/shop with a real Envoy, two small backends, no cluster and no
# root, and show requests that work.
#
#   examples/demo.sh          serve until Ctrl-C
#   examples/demo.sh --once   ask, check the answers, and end (also with CI=true)
#
# PORT (8080) is where it serves. What is missing is fetched and built first:
# Envoy into .tools/ (or $FAIRWAY_TOOLS), the programs into bin/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
port=${PORT:-8080}
once=${CI:-false}
[[ ${1:-} == --once ]] && once=true

say() { if [[ -t 1 ]]; then printf '\e[1m%s\e[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# shellcheck source=test/tools/watch.sh
source test/tools/watch.sh

# Everything that was started ends with this script, however the script ends.
children=()
log=$(mktemp)
cleanup() {
	trap - EXIT INT TERM
	local child
	for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
	for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
	rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The download and the build take about the same time, so they run in parallel.
prepare() {
	test/tools/install.sh envoy &
	local fetch=$!
	children+=("$fetch")
	say "building bin/fairway and bin/backend (the first time takes minutes)"
	watch build "$log" env CGO_ENABLED=0 go build -v -ldflags '-s -w' -o bin/ ./cmd/fairway ./examples/backend || {
		tail -n 15 "$log" >&2
		die "the build failed; it says above why"
	}
	wait "$fetch" || die "Envoy could not be installed"
	children=()
}

start() {
	local address
	for address in shop=127.0.0.1:18081 cart=127.0.0.1:18082; do
		bin/backend -name "${address%%=*}" -listen "${address#*=}" &
		children+=($!)
	done
	bin/fairway serve examples/shop --http-port "$port" --access-log=false \
		--envoy "${FAIRWAY_TOOLS:-.tools}/bin/envoy" &
	children+=($!)
}

# ask HOST PATH: print the body of the answer.
ask() {
	if command -v curl >/dev/null; then
		curl -sS --max-time 5 -H "Host: $1" "http://127.0.0.1:$port$2"
	else # as curl would do
		exec 9<>"/dev/tcp/127.0.0.1/$port"
		printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&9
		sed '1,/^\r$/d' <&9
		exec 9<&-
	fi
}

# await: wait for the first answer, or until a program has ended.
await() {
	local child
	until ask shop.test / 2>/dev/null | grep -q '^Hello'; do
		for child in "${children[@]}"; do
			kill -0 "$child" 2>/dev/null || die "something could not start; it says above why"
		done
		((SECONDS < deadline)) || die "no answer after 30 s"
		sleep 0.05
	done
}

# show WANT HOST PATH: print a request and the first line of its answer.
failed=0
show() {
	local want=$1 answer
	printf "  curl -H 'Host: %s' http://127.0.0.1:%s%s\n" "$2" "$port" "$3"
	answer=$(ask "$2" "$3" | head -n 1)
	printf '    %s\n' "$answer"
	[[ $answer =~ $want ]] || { printf '    expected: %s\n' "$want"; failed=1; }
}

prepare
start
deadline=$((SECONDS + 30))
await
say "ask what you like:"
show '^Hello from shop\.$' shop.test /
show '^Hello from cart\.$' shop.test /cart/items
show '^Hello from shop\.$' blue.shop.test /
show '^Hello from (shop|cart)\.$' both.test /
show '^Hello from cart\.$' other.test /

if [[ $once == true ]]; then
	((failed == 0)) && say "all as expected"
	exit "$failed"
fi
say "serving until Ctrl-C; edit examples/shop/*.yaml and ask again"
wait -n "${children[@]}" || true
die "something ended; it says above why"
