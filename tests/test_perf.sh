#!/bin/sh
# test_perf.sh - the pieces of work of tests/perf.c, and the table that perf.sh makes of what valgrind says. Valgrind is
# played here: "$work/bin/valgrind" runs nothing and counts 1000 for every case.
. tests/check.sh
perf=$BUILD/tests/perf
for name in $("$perf" --list); do check "$name" "$perf" "$name"; done
status "no such case" 2 "$perf" infer-x
status "no case" 2 "$perf"

mkdir "$work/bin" "$work/empty"
cat >"$work/bin/valgrind" <<'END'
#!/bin/sh
case "$*" in
*--about) echo "${ABOUT:-gcc 1.2.3, avx2}" ;;
*train-r) echo "==7== Collected : $(cat "${0%/*}/count")" >&2 ;;
*) echo "==7== Collected : 1000" >&2 ;;
esac
END
chmod +x "$work/bin/valgrind"
echo 2000 >"$work/bin/count"
table() { PATH="$work/bin:$PATH" sh tests/perf.sh "$perf" "$work/record" "$@" >"$work/table" 2>&1; }

check "counts without a record" table
check "every case" test "$(grep -c ' [12]000$' "$work/table")" -eq "$("$perf" --list | wc -l)"
refuse "nothing is recorded unasked" test -e "$work/record"
check "recording" table --write
check "what they belong to" grep -qx '# with: gcc 1.2.3, avx2' "$work/record"
check "a line" grep -qx 'train-r 2000' "$work/record"
echo 1500 >"$work/bin/count"
check "comparing" table
check "the change" grep -qE '^train-r +1500 +2000 +-25.00 %$' "$work/table"
check "no change" grep -qE '^jpeg +1000 +1000 +\+0.00 %$' "$work/table"
refuse "nothing to warn of" grep -q 'recorded with' "$work/table"
check "the record stands" grep -qx 'train-r 2000' "$work/record"
export ABOUT="gcc 9.9.9, avx2"
check "another compiler" table
check "is said" grep -q 'recorded with gcc 1.2.3, avx2, counted with gcc 9.9.9, avx2' "$work/table"
echo 0 >"$work/bin/count"
refuse "a function that was not found" table --write
check "is named" grep -q 'train-r: callgrind counted nothing' "$work/table"
check "and not recorded" grep -qx 'train-r 2000' "$work/record"
sh=$(command -v sh)
PATH="$work/empty" "$sh" tests/perf.sh "$perf" "$work/record" >"$work/table" 2>&1
check "no valgrind is no error" test $? -eq 0
check "but said" grep -q '^skipped' "$work/table"
check_done
