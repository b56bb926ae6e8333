#!/bin/sh
# Installs the Debian packages that a Carepost command needs: ./bootstrap.sh SET...
#
# Sets: build (compile everything), reader (taps through the real pcscd), browser (the kiosk page in a
# real browser), clock (programs whose clock is wrong), chaos (faults of real networks and file systems);
# and for cross/: aarch64, armv7, x86_64 (a C compiler for it), rust (a compiler where rustup cannot add a
# target), qemu. Says what is missing and why, installs it as root or through sudo, and answers at once,
# without the network, when nothing is
# missing.
set -eu

# package | set | must or may | why.  Without a "may" package the command goes on and says what it skips.
packages() {
    cat <<'LIST'
pkg-config             | build   | must | finds the system libraries below
libpcsclite-dev        | build   | must | the agent talks to badge readers through PC/SC
libssl-dev             | build   | must | SQLCipher encrypts with OpenSSL's libcrypto
pcscd                  | reader  | may  | the PC/SC daemon that the demo's and the tests' badge taps go through
iproute2               | chaos   | may  | puts devices into network namespaces of their own, to cut and restore their links
nftables               | chaos   | may  | drops packets at random between them and the server
util-linux             | chaos   | may  | starts the server in such a namespace
mount                  | chaos   | may  | mounts a file system that is shut down under a writing agent
e2fsprogs              | chaos   | may  | makes that file system
xfsprogs               | chaos   | may  | its xfs_io shuts that file system down, ext4 like any other
chromium               | browser | may  | the kiosk page is tested in a real browser
chromium-driver        | browser | may  | drives that browser
faketime               | clock   | may  | the tests give agents and servers wrong clocks with its libfaketime
gcc-aarch64-linux-gnu  | aarch64 | must | compiles and links C for a 64-bit Raspberry Pi
gcc-arm-linux-gnueabihf | armv7  | must | compiles and links C for a 32-bit Raspberry Pi
gcc-x86-64-linux-gnu   | x86_64  | must | compiles and links C for x86-64
rustc-web              | rust    | must | a Rust compiler whose standard library Debian has for the Pi as well
libstd-rust-web-dev    | rust    | must | that compiler's standard library for this machine
qemu-user-static       | qemu    | may  | runs the cross-compiled agent on this machine
LIST
}

say() { printf 'bootstrap: %s\n' "$*" >&2; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Prints "package|must or may|why" for each package of the wanted sets that is not installed.
missing() {
    packages | while IFS='|' read -r package set need why; do
        package=$(echo $package) set=$(echo $set) need=$(echo $need) why=$(echo $why)
        case " $wanted " in *" $set "*) ;; *) continue ;; esac
        installed "$package" || printf '%s|%s|%s\n' "$package" "$need" "$why"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif [ -t 0 ]; then sudo "$@"
    else sudo -n "$@"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
}

wanted=" $* "
sets=$(packages | awk -F'|' '{ gsub(/ /, "", $2); if (!seen[$2]++) printf "%s ", $2 }')
[ $# -gt 0 ] || { say "name a set of: $sets"; exit 2; }
for set in "$@"; do
    case " $sets" in *" $set "*) ;; *) say "there is no set '$set', only: $sets"; exit 2 ;; esac
done

for tool in cargo cc git; do
    command -v "$tool" >/dev/null || { say "'$tool' is not on the PATH. Carepost needs Rust (rustup.rs), a C compiler, make and git to begin with."; exit 1; }
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not a Debian-family machine, so nothing is installed. Make sure that these are here, under the names your system gives them:"
    packages | while IFS='|' read -r package set need why; do
        case "$wanted" in *" $(echo $set) "*) say "  $(echo $package):$why" ;; esac
    done
    exit 0
fi

absent=$(missing)
[ -n "$absent" ] || exit 0

say "installing what is missing:"
echo "$absent" | while IFS='|' read -r package need why; do say "  $package: $why"; done

names() { echo "$absent" | awk -F'|' -v need="$1" '$2 == need { printf "%s ", $1 }'; }
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    say "this needs root, and there is no sudo. As root, run:"
    say "  apt-get update && apt-get install --no-install-recommends $(names must)$(names may)"
    [ -z "$(names must)" ] || exit 1
    say "going on without them."
    exit 0
fi

as_root apt-get update >&2 || say "the package lists could not all be refreshed; going on with those there are"
must=$(names must) may=$(names may)
# shellcheck disable=SC2086 # the names are words to split
[ -z "$must" ] || apt_install $must || { say "could not install $must; the build cannot do without"; exit 1; }
# shellcheck disable=SC2086
[ -z "$may" ] || apt_install $may || say "could not install ${may}- what needs them will say that it skips"
