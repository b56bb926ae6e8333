#!/bin/sh
# Changes the pure crates in small ways, one at a time, and runs the changed crate's own tests on each
# (cargo-mutants; .cargo/mutants.toml says how). Fails where fewer than nineteen of twenty changes are caught.
set -eu
found=$1/mutants.out
shift
command -v cargo-mutants >/dev/null || cargo install cargo-mutants --locked

# Each change is built in a folder of its own, whatever folder the rest is built in.
status=0
env -u CARGO_TARGET_DIR cargo mutants --package carepost-protocol --package carepost-agent-core \
    --output "${found%/*}" "$@" || status=$?
# 2: some were missed, 3: tests of some never ended, which catches them.
case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac

caught=$(cat "$found/caught.txt" "$found/timeout.txt" | wc -l)
viable=$((caught + $(wc -l <"$found/missed.txt")))
[ "$viable" -gt 0 ] || { echo "mutants: no change could be built; see $found/log"; exit 1; }
echo "mutants: the tests catch $caught of $viable changes"
if [ $((caught * 20)) -lt $((viable * 19)) ]; then
    echo "mutants: that is fewer than nineteen of twenty; write tests that tell what $found/missed.txt lists"
    exit 1
fi
