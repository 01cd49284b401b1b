#!/bin/sh
# test_convert.sh - data_tools/convert on good, damaged and foreign files, wrong usage; zennet_image.h as people include
# it: static, in two files, its symbols, the program in its manual.
. tests/check.sh
convert=$BUILD/data_tools/convert images=tests/images
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wundef -Wdouble-promotion -Werror"
case "$CC" in *c++*) standard=-std=c++11 ;; *) standard=-std=c99 ;; esac
says() { "$convert" "$@" 2>&1 | grep -q "$words"; }

words='^JPEG 24 x 17, 3 channels, 8 bits, orientation 6: tests/images/made_orient_6.jpg$'
check "info" says --info $images/made_orient_6.jpg
words='^PNG 32 x 32, 4 channels, 16 bits, orientation 1: '
check "info of PNG" says --info $images/basn6a16.png
words='^{"file":"tests/images/made_cmyk.jpg","format":"JPEG","width":24,"height":17,"channels":4,"depth":8,"orientation":1}$'
check "info as JSON" says --info --json $images/made_cmyk.jpg
words='"error":".*arithmetic-coded JPEG is not supported"}$'
check "error as JSON" says --info --json $images/17x33_ARITH_reject.jpg
status "info goes on behind a bad file" 1 "$convert" --info $images/xd0n2c08.png $images/basn6a16.png

check "JPEG to PPM" "$convert" $images/17x33_420_q90.jpg "$work/a.ppm"
check "PPM to PNG" "$convert" "$work/a.ppm" "$work/a.PNG"
check "PNG to PPM" "$convert" "$work/a.PNG" "$work/b.ppm"
check "nothing changed on the way" cmp "$work/a.ppm" "$work/b.ppm"
check "to JPEG" "$convert" "$work/a.ppm" "$work/a.jpeg" --quality 50
check "gray JPEG" "$convert" --gray "$work/a.ppm" "$work/g.jpg"
check "gray PNG" "$convert" --gray "$work/a.ppm" "$work/g.png"
words='^PNG 17 x 33, 1 channels'
check "one channel" says --info "$work/g.png"
check "alpha" "$convert" --alpha $images/basn6a08.png "$work/alpha.png"
words='^PNG 32 x 32, 4 channels'
check "four channels" says --info "$work/alpha.png"
check "upright" "$convert" --orient $images/made_orient_6.jpg "$work/up.ppm"
words='^PNM 17 x 24'
check "rows became columns" says --info "$work/up.ppm"

status "damaged" 1 "$convert" $images/peacock.default.truncated.jpeg "$work/t.png"
check "no file is left of it" test ! -e "$work/t.png"
words='damaged: byte 1024: the compressed data end too early'
check "salvaged, and said so" says --salvage $images/peacock.default.truncated.jpeg "$work/t.png"
check "there it is" test -s "$work/t.png"
status "too large" 1 "$convert" --max-pixels 500 $images/17x33_420_q90.jpg "$work/x.png"
status "no such file" 1 "$convert" "$work/none.jpg" "$work/x.png"
status "no such folder" 1 "$convert" $images/made.ppm "$work/none/x.png"
cp $images/made.ppm "$work/old.ppm"
full "no room" "$convert" $images/hopper_rle8_grayscale.bmp "$work/old.ppm"
check "the old file is kept" cmp $images/made.ppm "$work/old.ppm"
# Links stay links, pipes pipes.
ln -s real.ppm "$work/link.ppm"
ln -s link.ppm "$work/chain.ppm"
check "through links to a file that is not there yet" "$convert" $images/made.ppm "$work/chain.ppm"
check "it is where they end" sh -c "[ -h '$work/link.ppm' ] && [ ! -h '$work/real.ppm' ] && cmp $images/made.ppm '$work/real.ppm'"
check "through a link to a file" "$convert" $images/hopper_rle8_grayscale.bmp "$work/link.ppm"
check "both are what they were" sh -c "[ -h '$work/link.ppm' ] && [ ! -h '$work/real.ppm' ] && ! cmp $images/made.ppm '$work/real.ppm'"
ln -s loop.ppm "$work/loop.ppm"
status "a link to itself" 1 "$convert" $images/made.ppm "$work/loop.ppm"
mkfifo "$work/pipe.ppm"
cat "$work/pipe.ppm" >"$work/piped.ppm" &
check "into a pipe" "$convert" $images/made.ppm "$work/pipe.ppm"
wait
check "which has got it all" sh -c "[ -p '$work/pipe.ppm' ] && cmp $images/made.ppm '$work/piped.ppm'"
status "unknown ending" 2 "$convert" $images/made.ppm "$work/x.gif"
status "one file" 2 "$convert" $images/made.ppm
status "three files" 2 "$convert" $images/made.ppm "$work/x.png" "$work/y.png"
status "bad quality" 2 "$convert" --quality 0 $images/made.ppm "$work/x.jpg"
status "unknown option" 2 "$convert" --info --frob $images/made.ppm
status "alpha into JPEG" 2 "$convert" --alpha $images/made.ppm "$work/x.jpg"
status "help" 0 "$convert" --help

include="-I$(pwd)/data_tools"
printf '#define ZENNET_IMAGE_IMPLEMENTATION\n#include "zennet_image.h"\n' >"$work/impl.c"
printf '#include "zennet_image.h"\nint main(void) { zim_free(NULL); return zim_opts_default().channels - 3; }\n' >"$work/use.c"
printf '#define ZENNET_IMAGE_STATIC\n#define ZENNET_IMAGE_IMPLEMENTATION\n#include "zennet_image.h"\nint main(void) { return zim_opts_default().channels - 3; }\n' >"$work/static.c"
check "implementation" $CC $standard $WARN -O1 -fno-pie $include -c "$work/impl.c" -o "$work/impl.o"
check "declarations" $CC $standard $WARN -fno-pie $include -c "$work/use.c" -o "$work/use.o"
check "two files" $CC -no-pie -x none "$work/impl.o" "$work/use.o" -o "$work/use"
check "two files run" "$work/use"
check "static" $CC $standard $WARN -O1 $include "$work/static.c" -o "$work/static"
if command -v nm >/dev/null; then
    nm -g "$work/impl.o" | awk '$2 ~ /[TDBRCVW]/ { print $3 }' | grep -v -e '^_*zim_' -e '^_Z' -e '^DW.ref' -e '^__' >"$work/foreign.txt"
    check "only zim_ symbols: $(tr '\n' ' ' <"$work/foreign.txt")" test ! -s "$work/foreign.txt"
    nm -g "$work/impl.o" | awk '$1 == "U" { print $2 }' | grep -xE '_?(exit|abort|printf|puts|putchar|fprintf|system|rand|srand|__assert_fail|__printf_chk)' >"$work/banned.txt"
    check "no printing, no exit: $(tr '\n' ' ' <"$work/banned.txt")" test ! -s "$work/banned.txt"
    nm "$work/impl.o" | awk '$2 ~ /^[dDbBC]$/ { print $3 }' | grep -v -e '^DW.ref' -e '^\.' >"$work/globals.txt"
    check "no variables that can be written: $(tr '\n' ' ' <"$work/globals.txt")" test ! -s "$work/globals.txt"
fi
sed -n '/^   A PROGRAM/,/^   READS/p' data_tools/zennet_image.h | sed '1d;$d;s/^         //' >"$work/manual.c"
case "$CC" in *c++*) ;; *) standard=-std=c11 ;; esac # // comments
check "the manual's program builds" $CC $standard -O1 $include "$work/manual.c" -o "$work/manual"
check "the manual's program runs" "$work/manual" $images/made.ppm "$work/half.png"
words='^PNG 12 x 8, 3 channels'
check "half the size" says --info "$work/half.png"
check_done
