#!/bin/sh
# Runs every test program under $BUILD/tests and every tests/test_*.sh from the top of the repository. Prints one line
# for each, the whole output of those that fail, and the sum as the very last line. `make test` builds first.
# GOLDEN_SHARED=no leaves the golden files that are not committed alone, even where they are present.
BUILD=${BUILD:-build}
export BUILD
SHARED=../shared/golden
passed=0 failed=0
log=$BUILD/tests/output

# start LABEL COMMAND...: output and exit status go to files. judge LABEL: the last line must be "N passed, N failed" and the
# exit status agree with it. run LABEL COMMAND...: both.
start() {
    begin=$(date +%s)
    label=$1
    shift
    "$@" >"$log.$label" 2>&1 </dev/null
    echo $? $(($(date +%s) - begin)) >"$log.$label.status"
}
judge() {
    output=$log.$1
    read -r status seconds <"$output.status"
    verdict=$(tail -n 1 "$output")
    p=$(printf '%s\n' "$verdict" | sed -n 's/^\([0-9][0-9]*\) passed, [0-9][0-9]* failed$/\1/p')
    f=$(printf '%s\n' "$verdict" | sed -n 's/^[0-9][0-9]* passed, \([0-9][0-9]*\) failed$/\1/p')
    if [ -z "$p" ]; then p=0 f=1 verdict="no verdict"; fi
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
    skipped=$(grep -ciE '^skip' "$output")
    note=
    if [ "$skipped" -gt 0 ]; then note=", $skipped skipped"; fi
    printf '%-32s %s%s, exit %d, %d s\n' "$1" "$verdict" "$note" "$status" "$seconds"
    if [ "$f" -ne 0 ]; then sed 's/^/    /' "$output" | tail -n 60; fi
    rm -f "$output" "$output.status"
}
run() {
    start "$@"
    judge "$1"
}

# It compiles the header over and over: beside the others.
start test_header.sh sh tests/test_header.sh &
for program in "$BUILD"/tests/test_*; do
    if [ -x "$program" ] && [ -f "$program" ]; then run "$(basename "$program")" "$program"; fi
done
for script in tests/test_*.sh; do
    if [ "$script" != tests/test_header.sh ]; then run "$(basename "$script")" sh "$script"; fi
done
for precision in golden golden_double; do
    if [ ! -x "$BUILD/tests/$precision" ]; then continue; fi
    run "$precision" "$BUILD/tests/$precision" tests/golden
    if [ "${GOLDEN_SHARED:-yes}" = no ] || [ ! -d $SHARED ]; then
        echo "$precision: skipped $SHARED (not present, or not wanted)"
    else
        run "$precision, shared" "$BUILD/tests/$precision" $SHARED/*.txt $SHARED/images
        loadable=$(ls $SHARED/checkpoints/*.pth $SHARED/checkpoints/*.safetensors | grep -v -e hostile -e truncated)
        run "$precision, checkpoints" "$BUILD/tests/$precision" --case $SHARED/res_k1k3k1_sa.txt $loadable
    fi
done
wait
judge test_header.sh
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
