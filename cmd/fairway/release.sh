#!/usr/bin/env bash
# Build the programs of a release for every system, and krew's manifest of the kubectl plugin.
#
#   cmd/fairway/release.sh VERSION FOLDER
#
# TARGETS says for which systems ("linux/amd64 darwin/arm64"), TRIM= leaves the paths of this machine
# in the programs, which is faster where others were built so.
#
# Each archive holds fairway, and under two more names what kubectl needs: the plugin, and the
# program that completes its arguments. Equal sources make equal archives.
set -euo pipefail
version=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] ||
	{ echo "release: $version is no version such as v1.2.3" >&2; exit 2; }
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build SYSTEM ARCHITECTURE: make the archive of one system.
build() {
	local at=$work/$1-$2 suffix='' name=fairway_${version}_$1_$2.tar.gz
	[[ $1 != windows ]] || suffix=.exe
	mkdir "$at"
	GOOS=$1 GOARCH=$2 CGO_ENABLED=0 "${GO:-go}" build ${TRIM--trimpath} -buildvcs=false \
		-ldflags "-s -w -X main.release=$version" -o "$at/fairway$suffix" ./cmd/fairway
	cp LICENSE "$at/"
	ln "$at/fairway$suffix" "$at/kubectl-fairway$suffix"
	ln "$at/fairway$suffix" "$at/kubectl_complete-fairway$suffix"
	tar --create --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w \
		--directory "$at" . | gzip --no-name --best >"$folder/$name"
	platform "$1" "$2" "$name" "$suffix" >>"$work/platforms"
	rm -rf "$at"
}

# platform SYSTEM ARCHITECTURE ARCHIVE SUFFIX: print krew's entry for an archive.
platform() {
	cat <<-EOT
		    - selector: {matchLabels: {os: $1, arch: $2}}
		      uri: https://github.com/fairwaynet/fairway/releases/download/$version/$3
		      sha256: $(sha256sum "$folder/$3" | cut -d' ' -f1)
		      bin: kubectl-fairway$4
		      files: [{from: kubectl-fairway$4, to: .}, {from: LICENSE, to: .}]
	EOT
}

for target in ${TARGETS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}; do
	build "${target%/*}" "${target#*/}"
done
cat >"$folder/fairway.yaml" - "$work/platforms" <<EOF2
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata: {name: fairway}
spec:
  version: $version
  homepage: https://github.com/fairwaynet/fairway
  shortDescription: Explain and check what an ingress serves
  description: |
    Follows a request through host, route and backend and says where it ends and why (explain), shows
    what Fairway does in a cluster and what is wrong (status), and reports mistakes in manifests
    before they are applied (check).
  platforms:
EOF2
