#!/bin/sh
# The header as people include it: C99, C11, C++11, static, in several files, as double; which symbols it brings along;
# whether the programs in its manual and in the README build and run, and its section keys lead somewhere.
. tests/check.sh
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wundef -Wdouble-promotion -Werror"
include=-I$(pwd)

printf '#define ZENNET_IMPLEMENTATION\n#include "zennet.h"\n' >"$work/impl.c"
printf '#include "zennet.h"\nint main(void) { return zn_version() == ZENNET_VERSION_MAJOR * 10000 + ZENNET_VERSION_MINOR * 100 + ZENNET_VERSION_PATCH ? 0 : 1; }\n' >"$work/use.c"
printf '#define ZENNET_STATIC\n#define ZENNET_IMPLEMENTATION\n#include "zennet.h"\n#include "zennet.h"\nint main(void) { return zn_version() > 0 ? 0 : 1; }\n' >"$work/static.c"
printf '#define ZENNET_STATIC\n#define ZENNET_IMPLEMENTATION\n#include "zennet.h"\nint other(void);\nint other(void) { return zn_version(); }\n' >"$work/static2.c"

# CC may already choose language or mode (the C++ and -m32 variants of the tests): then those are what is tested.
case "$CC" in
*c++*) languages="-std=c++11" ;;
*) languages="-std=c99 -std=c11" ;;
esac
for language in $languages; do
    check "implementation, $language" $CC $language $WARN -O0 -fno-pie $include -c "$work/impl.c" -o "$work/impl.o"
    check "declarations, $language" $CC $language $WARN $include -c "$work/use.c" -o "$work/use.o"
    check "two files, $language" $CC -no-pie $language -x none "$work/impl.o" "$work/use.o" -o "$work/use" -lm
    check "two files run, $language" "$work/use"
done
# The last object above: every global symbol begins with zn_, and nothing of what a library must not call is used.
if command -v nm >/dev/null; then
    nm -g "$work/impl.o" | awk '$2 ~ /[TDBRCVW]/ { print $3 }' | grep -v '^_*zn_' | grep -v -e '^_Z' -e '^DW.ref' -e '^__' >"$work/foreign.txt"
    check "only zn_ symbols: $(tr '\n' ' ' <"$work/foreign.txt")" test ! -s "$work/foreign.txt"
    nm -g "$work/impl.o" | awk '$1 == "U" { print $2 }' | grep -xE '_?(exit|abort|printf|puts|putchar|system|rand|srand|__assert_fail|__printf_chk)' >"$work/banned.txt"
    check "no printing, no exit: $(tr '\n' ' ' <"$work/banned.txt")" test ! -s "$work/banned.txt"
    nm "$work/impl.o" | awk '$2 ~ /^[dDbBC]$/ { print $3 }' | grep -v -e '^DW.ref' -e '^\.' >"$work/globals.txt"
    check "no variables that can be written: $(tr '\n' ' ' <"$work/globals.txt")" test ! -s "$work/globals.txt"
fi
language=${languages##* }
check "static" $CC $language $WARN -O0 $include "$work/static.c" -o "$work/static" -lm
check "static runs" "$work/static"
check "static in two files" $CC $language -O0 $include "$work/static.c" "$work/static2.c" -o "$work/static" -lm
check "double" $CC $language $WARN -O0 -DZENNET_DOUBLE $include -c "$work/impl.c" -o "$work/double.o"
check "no dispatch" $CC $language $WARN -O0 -DZN_NO_DISPATCH $include -c "$work/impl.c" -o "$work/plain.o"
case "$CC" in
*c++*) ;;
*) if command -v "$CXX" >/dev/null; then
    check "as C++11" $CXX -x c++ -std=c++11 $WARN -O0 $include -c "$work/impl.c" -o "$work/cxx.o"
    check "implementation in C++, use in C++" $CXX -x c++ -std=c++11 $include "$work/use.c" -x none "$work/cxx.o" -o "$work/use" -lm
    check "C++ runs" "$work/use"
fi ;;
esac
refuse "-ffast-math" $CC $language -ffast-math $include -c "$work/impl.c" -o "$work/fast.o"

# The program in the header's manual.
sed -n '/^   A PROGRAM/,/^   CONTENTS/p' zennet.h | sed '1d;$d;s/^         //' >"$work/manual.c"
check "the manual's program builds" $CC $language -O0 $include "$work/manual.c" -o "$work/manual" -lm
check "the manual's program runs" sh -c "'$work/manual' | grep -q '^step 30: loss 0.00'"
# Every C block of the README that has a main.
if [ -f README.md ]; then
    awk -v out="$work/readme" '/^```c$/ { n++; on = 1; next } /^```/ { on = 0 } on { print > (out n ".c") }' README.md
    for block in "$work"/readme*.c; do
        [ -f "$block" ] || continue
        if grep -q 'main(' "$block"; then check "README's $(basename "$block") builds" $CC $language -O0 $include "$block" -o "$work/readme" -lm
        else check "README's $(basename "$block") compiles" $CC $language -O0 $include -c "$block" -o "$work/readme.o"; fi
    done
fi

# Section keys: once in the contents, once at the section; sections in the order of the contents.
sed -n '/^   CONTENTS/,/^   WHAT IT DOES/p' zennet.h | grep -oE '(API|IMPL)-[A-Z]+' >"$work/contents.txt"
grep -A1 '^/\* =====' zennet.h | grep -oE '^   (API|IMPL)-[A-Z]+' | tr -d ' ' >"$work/sections.txt"
check "contents and sections agree" cmp "$work/contents.txt" "$work/sections.txt"
check "there are contents" test -s "$work/contents.txt"
# Both licenses, in both places.
for text in "ALTERNATIVE A - MIT License" "ALTERNATIVE B"; do
    check "license: $text" sh -c "grep -q '$text' zennet.h && grep -q '$text' LICENSE"
done
check_done
