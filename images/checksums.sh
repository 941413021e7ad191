#!/usr/bin/env bash
# Write what a release is checked by: the digests of its images as values of the chart, for those who
# pin them, and the checksums of everything.
#
#   images/checksums.sh VERSION FOLDER
#
# FOLDER holds the images' layouts, the chart, and the programs in release/.
set -euo pipefail
version=$1
cd "$2"
mkdir -p release

# digest IMAGE: print the digest of the image's list of architectures.
digest() {
	local found
	found=$(grep -o '"digest": *"sha256:[0-9a-f]*"' "$1/index.json" | grep -o 'sha256:[0-9a-f]*')
	[[ $found =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "checksums: $1/index.json names not exactly one list of architectures" >&2; exit 1; }
	echo "$found"
}

controller=$(digest fairway) gateway=$(digest fairway-gateway) node=$(digest fairway-node) dns=$(digest fairway-dns)
cat >release/digests.yaml <<EOT
# Values of the chart that pin the images of Fairway $version.
controller: {image: {digest: "$controller"}}
gateway: {image: {digest: "$gateway"}}
network: {image: {digest: "$node"}}
dns: {image: {digest: "$dns"}}
EOT
cp "fairway-${version#v}.tgz" ./*.spdx.json release/
{
	(cd release && sha256sum -- *)
	echo "${controller#sha256:}  ghcr.io/fairwaynet/fairway:$version"
	echo "${gateway#sha256:}  ghcr.io/fairwaynet/fairway-gateway:$version"
	echo "${node#sha256:}  ghcr.io/fairwaynet/fairway-node:$version"
	echo "${dns#sha256:}  ghcr.io/fairwaynet/fairway-dns:$version"
} >checksums.txt
cp checksums.txt release/
cat checksums.txt
