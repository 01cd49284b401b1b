#!/bin/sh
# Runs every test program under $BUILD/tests and every tests/test_*.sh from the top of the repository. Prints one line
# for each, the whole output of those that fail, and the sum as the very last line. `make test` builds first.
# GOLDEN_SHARED=no leaves the golden files that are not committed alone, even where they are present.
BUILD=${BUILD:-build}
export BUILD
SHARED=../shared/golden
passed=0 failed=0
log=$BUILD/tests/output.txt

# run LABEL COMMAND...: the last line must be "N passed, N failed" and the exit status agree with it.
run() {
    label=$1
    shift
    begin=$(date +%s)
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    verdict=$(tail -n 1 "$log")
    p=$(printf '%s\n' "$verdict" | sed -n 's/^\([0-9][0-9]*\) passed, [0-9][0-9]* failed$/\1/p')
    f=$(printf '%s\n' "$verdict" | sed -n 's/^[0-9][0-9]* passed, \([0-9][0-9]*\) failed$/\1/p')
    if [ -z "$p" ]; then p=0 f=1 verdict="no verdict"; fi
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
    skipped=$(grep -ciE '^skip' "$log")
    note=
    if [ "$skipped" -gt 0 ]; then note=", $skipped skipped"; fi
    printf '%-32s %s%s, exit %d, %d s\n' "$label" "$verdict" "$note" "$status" $(($(date +%s) - begin))
    if [ "$f" -ne 0 ]; then sed 's/^/    /' "$log" | tail -n 60; fi
}

for program in "$BUILD"/tests/test_*; do
    if [ -x "$program" ] && [ -f "$program" ]; then run "$(basename "$program")" "$program"; fi
done
for script in tests/test_*.sh; do
    if [ -f "$script" ]; then run "$(basename "$script")" sh "$script"; fi
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
rm -f "$log"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
