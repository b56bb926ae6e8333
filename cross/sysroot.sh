#!/bin/sh
# Makes a private sysroot of another architecture: cross/sysroot.sh DEBIAN_ARCHITECTURE FOLDER PACKAGE...
#
# Needs no root and leaves the machine's own package state alone: apt runs with a configuration and lists
# of its own under FOLDER, and the packages are unpacked there, not installed. What is already unpacked in
# the wanted selection is kept, so a second run needs no network.
set -eu

debian=$1 folder=$2
shift 2

say() { printf 'cross: %s\n' "$*" >&2; }

mark=$folder/unpacked
[ "$(cat "$mark" 2>/dev/null)" != "$*" ] || exit 0

apt=$folder.apt
rm -rf "$folder" "$apt"
mkdir -p "$folder" "$apt/lists/partial" "$apt/archives/partial" "$apt/debs"
: > "$apt/status"
cat > "$apt/apt.conf" <<CONF
APT::Architecture "$debian";
APT::Architectures { "$debian"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
CONF
export APT_CONFIG="$apt/apt.conf"

say "reading Debian's package lists for $debian"
apt-get update -q > "$apt/update.log" 2>&1 ||
    say "not every list could be read (see $apt/update.log); going on with what came"

cd "$apt/debs"
failed=
for package in "$@"; do
    apt-get download -q "$package" > "$apt/$package.log" 2>&1 || failed="$failed $package"
done
if [ -n "$failed" ]; then
    say "could not get for $debian:$failed"
    for package in $failed; do tail -n 1 "$apt/$package.log" >&2; done
    say "the machine's apt sources must offer $debian; where an index is corrupt, run this again later"
    exit 1
fi
for deb in *.deb; do dpkg -x "$deb" "$folder"; done
rm -rf "$apt/debs" "$apt/archives"
printf '%s' "$*" > "$mark"
say "unpacked $# packages into $folder"
