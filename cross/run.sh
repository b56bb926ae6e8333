#!/bin/sh
# Runs the agent that build.sh made, under QEMU's user emulation where this machine cannot run it itself:
# cross/run.sh ARCHITECTURE [ARGUMENT...]
set -eu
. "$(dirname "$0")/common.sh"

architecture "${1:-}"
shift
[ -x "$binary" ] || { say "$binary is not there; build it first with cross/build.sh"; exit 1; }
[ "$(uname -m)" != "$machine" ] || exec "$binary" "$@"
command -v "$qemu" >/dev/null || { say "$qemu is not installed (package qemu-user-static), so the agent cannot run here"; exit 1; }
exec "$qemu" -L "$sysroot" "$binary" "$@"
