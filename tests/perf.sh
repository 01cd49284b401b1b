#!/bin/sh
# perf.sh PERF RECORD [--write] - instructions of each case of tests/perf.c as callgrind counts them, beside those in the
# file RECORD when there is one; --write puts the new counts there. `make perf` and `make perf-record` call it.
perf=$1 record=$2 write=$3
if ! valgrind=$(command -v valgrind); then
    echo "skipped: no valgrind here"
    exit 0
fi
log=$(mktemp) new=$(mktemp)
trap 'rm -f "$log" "$new"' EXIT

# Callgrind's machine may lack instruction sets that this one has: asked inside, where the counting happens.
about=$("$valgrind" --quiet --tool=none "$perf" --about) || exit 1
{
    echo "# Instructions of fixed pieces of work (tests/perf.c), one thread, no OpenMP, counted by callgrind: make perf-record"
    echo "# with: $about"
} >"$new"
recorded=
if [ -f "$record" ]; then recorded=$(sed -n 's/^# with: //p' "$record"); fi
if [ -n "$recorded" ] && [ "$recorded" != "$about" ]; then
    echo "recorded with $recorded, counted with $about: changes below are not the program's alone"
fi
printf '%-10s %15s %15s %9s\n' case instructions recorded change
for name in $("$perf" --list); do
    # An empty environment: where the stack begins decides how far copies are aligned.
    if ! env -i "$valgrind" --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=perf_counted "$perf" "$name" >"$log" 2>&1; then
        cat "$log"
        exit 1
    fi
    count=$(sed -n 's/^==[0-9]*== Collected : //p' "$log")
    if [ "${count:-0}" -le 0 ]; then
        cat "$log"
        echo "$name: callgrind counted nothing"
        exit 1
    fi
    was=
    if [ -f "$record" ]; then was=$(awk -v name="$name" '$1 == name { print $2 }' "$record"); fi
    awk -v name="$name" -v count="$count" -v was="$was" 'BEGIN {
        printf "%-10s %15.0f", name, count
        if (was > 0) printf " %15.0f %+7.2f %%", was, 100 * (count - was) / was
        printf "\n"
    }'
    echo "$name $count" >>"$new"
done
if [ "$write" = --write ]; then cat "$new" >"$record"; fi
