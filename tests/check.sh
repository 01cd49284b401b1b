# check.sh - the shell tests' side of check.h: `check NAME COMMAND...` counts a command that succeeds, `refuse NAME
# COMMAND...` one that fails; `check_done` prints the verdict. A fresh folder $work is there, and gone at the end.
BUILD=${BUILD:-build}
CC=${CC:-cc}
CXX=${CXX:-c++}
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    check_name=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $check_name: $*"
        tail -n 8 "$work/check.log"
    fi
}
refuse() {
    check_name=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then
        failed=$((failed + 1))
        echo "failed: $check_name: should not succeed: $*"
    else passed=$((passed + 1)); fi
}
# status NAME N COMMAND...: the command ends with exit status N.
status() {
    check_name=$1 check_want=$2
    shift 2
    "$@" >"$work/check.log" 2>&1
    check_got=$?
    if [ "$check_got" -eq "$check_want" ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $check_name: exit status $check_got, not $check_want: $*"
        tail -n 8 "$work/check.log"
    fi
}
# says_full NAME: the last exit status is 1, and words say why.
says_full() {
    if [ $? -eq 1 ] && grep -q 'cannot write' "$work/check.log"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $1: no error of a full disk:"
        tail -n 8 "$work/check.log"
    fi
}
# full NAME COMMAND...: on a full disk, played by a limit on the size of files (of 2 or 4 kB).
full() {
    check_name=$1
    shift
    (trap '' XFSZ && ulimit -f 4 && exec "$@") >"$work/check.log" 2>&1
    says_full "$check_name"
}
# full_output NAME COMMAND...: its stdout goes to a full disk.
full_output() {
    if [ ! -c /dev/full ]; then return; fi
    check_name=$1
    shift
    "$@" >/dev/full 2>"$work/check.log"
    says_full "$check_name"
}
# The test's own ground is missing here: say so and end.
skip_all() {
    echo "skipped: $*"
    check_done
}
check_done() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit $?
}
