# Sourced by build.sh and run.sh: what each architecture is called by Rust, Debian, gcc and QEMU.

root=$(cd "$(dirname "$0")/.." && pwd)

say() { printf 'cross: %s\n' "$*" >&2; }

# Sets triple, debian, gcc, machine and qemu for the architecture $1.
architecture() {
    case $1 in
        aarch64) triple=aarch64-unknown-linux-gnu debian=arm64 gcc=aarch64-linux-gnu machine=aarch64 qemu=qemu-aarch64-static ;;
        armv7) triple=armv7-unknown-linux-gnueabihf debian=armhf gcc=arm-linux-gnueabihf machine=armv7l qemu=qemu-arm-static ;;
        x86_64) triple=x86_64-unknown-linux-gnu debian=amd64 gcc=x86_64-linux-gnu machine=x86_64 qemu=qemu-x86_64-static ;;
        *) say "'$1' is none of aarch64, armv7, x86_64"; exit 2 ;;
    esac
    sysroot=$root/target/cross/$1/sysroot
    binary=$root/target/cross/$1/carepost-agent
}
