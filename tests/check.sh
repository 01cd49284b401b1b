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
