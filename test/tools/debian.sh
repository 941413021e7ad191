#!/usr/bin/env bash
# Install a Debian package if the program or file that it has is missing: as root on Debian,
# else say what to install.
#
#   test/tools/debian.sh PACKAGE PROGRAM|/PATH
set -euo pipefail
package=$1 program=$2
if [[ $program == /* && -e $program ]] || PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
	exit
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "missing: $program: install $package (Debian's name), then run again" >&2
	exit 1
fi
echo "$package: install it" >&2
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$package" >/dev/null
