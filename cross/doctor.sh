#!/bin/sh
# Runs `carepost-agent doctor` of the build for another architecture: cross/doctor.sh ARCHITECTURE
#
# This machine is no kiosk, so the doctor may well find things to mend (no server, no reader, not enrolled:
# exit codes 3 to 5). What it shows is that the program, its libraries and its emulator work together.
set -eu
. "$(dirname "$0")/common.sh"

architecture "${1:-}"
home=$(dirname "$binary")/doctor
rm -rf "$home"
mkdir -p "$home/state"
cat > "$home/agent.toml" <<TOML
state_dir = "$home/state"

[server]
url = "https://devices.example.test:8444"
TOML

code=0
"$root/cross/run.sh" "$1" --config "$home/agent.toml" doctor || code=$?
case $code in
    0|3|4|5) say "the doctor ran on $1 (exit code $code)" ;;
    *) say "the doctor did not run on $1 (exit code $code)"; exit 1 ;;
esac
