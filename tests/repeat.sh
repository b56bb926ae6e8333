#!/bin/sh
# Runs the integration tests many times in a row, and says of each run whether it passed and what failed.
# With a second argument a program keeps every core busy meanwhile.
set -eu
times=$1 busy=${2:-}

built=$(cargo test --workspace --test it --locked --no-run 2>&1) || { echo "$built"; exit 1; }
binary=$(echo "$built" | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
binary=$(realpath "$binary")
logs=$(dirname "$binary")/../..
log=$(mktemp)
spinning=
trap 'kill $spinning 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM
if [ -n "$busy" ]; then
    for _ in $(seq "$(nproc)"); do
        while :; do :; done &
        spinning="$spinning $!"
    done
fi

failed=0
for run in $(seq "$times"); do
    began=$(date +%s)
    if (cd tests && "$binary") >"$log" 2>&1; then
        echo "run $run: passed in $(($(date +%s) - began)) s"
    else
        failed=$((failed + 1))
        echo "run $run: FAILED in $(($(date +%s) - began)) s"
        sed -n 's/^test \(.*\) \.\.\. FAILED$/    \1/p' "$log"
        cp "$log" "$logs/repeat-$run.log"
    fi
done
echo "$failed of $times runs failed${busy:+, every core busy}"
[ "$failed" -eq 0 ] || echo "what they said is in $(realpath "$logs")/repeat-*.log"
[ "$failed" -eq 0 ]
