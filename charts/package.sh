#!/usr/bin/env bash
# Package the chart of a release, whose images have the release's name as their tag.
#
#   charts/package.sh VERSION FOLDER
set -euo pipefail
version=$1 folder=$2
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] ||
	{ echo "package: ${version:-(nothing)} is no version such as v1.2.3" >&2; exit 2; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
"${FAIRWAY_TOOLS:-.tools}/bin/helm4" package charts/fairway --version "${version#v}" --app-version "$version" --destination "$folder"
