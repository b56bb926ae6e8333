#!/bin/sh
# Builds the agent for another architecture: cross/build.sh aarch64|armv7|x86_64
#
# The result is target/cross/ARCHITECTURE/carepost-agent, stripped, in the profile that ships. It runs on
# Debian 12, Raspberry Pi OS bookworm, and later (ARMv6 boards, the Pi 1 and Zero 1, are out), and needs
# libpcsclite1, libssl3 and ca-certificates there. PROFILE=release builds faster and bigger.
#
# Rust's standard library for the target comes from rustup where `rustup target add` has put it, else from
# Debian, together with Debian's own compiler: the two standard libraries cannot be mixed.
set -eu
. "$(dirname "$0")/common.sh"

architecture "${1:-}"
profile=${PROFILE:-dist}

has_rustup_target() { rustup target list --installed 2>/dev/null | grep -qx "$triple"; }

# Fetches what the architecture $1 needs and tells cargo, the cc crate and pcsc-sys where it is.
cross_settings() {
    lower=$(echo "$triple" | tr - _) upper=$(echo "$triple" | tr a-z- A-Z_)
    flags="-C link-arg=--sysroot=$sysroot"
    sets="build $1 qemu"
    set -- libc6 libc6-dev linux-libc-dev libgcc-s1 libcrypt1 libpcsclite1 libpcsclite-dev libssl3 libssl-dev
    if ! has_rustup_target; then
        say "rustup has no $triple here (rustup target add $triple); using Debian's compiler and standard library"
        sets="$sets rust"
        set -- "$@" libstd-rust-web-dev
        flags="$flags --sysroot=$sysroot/usr"
        export RUSTC=/usr/bin/rustc
    fi
    # shellcheck disable=SC2086 # the sets are words to split
    "$root/bootstrap.sh" $sets
    "$root/cross/sysroot.sh" "$debian" "$sysroot" "$@"

    export "CARGO_TARGET_${upper}_LINKER=$gcc-gcc" "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
    export "CC_$lower=$gcc-gcc" "AR_$lower=$gcc-ar" "CFLAGS_$lower=--sysroot=$sysroot"
    export "PCSC_LIB_DIR=$sysroot/usr/lib/$gcc"
}

if [ "$(uname -m)" = "$machine" ]; then
    "$root/bootstrap.sh" build
else
    cross_settings "$1"
fi

export CARGO_TARGET_DIR="$root/target/cross/build"
cd "$root"
cargo build --locked --profile "$profile" --target "$triple" -p carepost-agent --bin carepost-agent
mkdir -p "$(dirname "$binary")"
cp "$CARGO_TARGET_DIR/$triple/$profile/carepost-agent" "$binary"
say "$binary, $(wc -c < "$binary") bytes"
