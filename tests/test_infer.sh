#!/bin/sh
# test_infer.sh - examples/infer on files, folders, bad pictures, raw frames; boxes, JSON lines, Grad-CAM; wrong usage.
. tests/check.sh
infer=$BUILD/examples/infer model=$work/model.safetensors
"$BUILD"/tests/test_infer --model "$model" || skip_all "no model to test with"

# ppm FILE WIDTH HEIGHT BYTE: one colour
ppm() {
    mkdir -p "$(dirname "$1")"
    { printf 'P6 %d %d 255\n' "$2" "$3" && head -c $(($2 * $3 * 3)) /dev/zero | tr '\0' "$4"; } >"$1"
}
ppm "$work/pictures/a/dark.ppm" 40 30 '\020'
ppm "$work/pictures/b/light.ppm" 7 50 '\360'
ppm "$work/pictures/one.ppm" 1 1 '\100'
printf 'P6 40 30 255\nshort' >"$work/bad.ppm"
printf 'not a picture' >"$work/pictures/b/notes.txt"
lines() { [ "$(wc -l <"$work/out")" -eq "$1" ]; }
holds() { grep -q "$1" "$work/out"; }
try() { "$infer" --model "$model" "$@" >"$work/out" 2>"$work/err"; }

check "files and folders" try "$work/pictures" "$work/pictures/one.ppm"
check "one line for each, other files left alone" lines 4
check "in the order of names" grep -q 'a/dark.ppm: [a-z].* %, .* %, .* %$' "$work/out"
check "first" sh -c "head -n 1 '$work/out' | grep -q dark"
cp "$work/out" "$work/plain"
check "batches and threads do not matter" try --batch 2 --threads 2 "$work/pictures" "$work/pictures/one.ppm"
check "same lines" cmp "$work/out" "$work/plain"
check "all classes" try --top-k 100 --json "$work/pictures/one.ppm"
check "seven of them, quotes escaped" holds '"index": 6.*"index": [0-5]\|beta \\"b\\""'
check "json" sh -c "python3 -c 'import json, sys; r = json.loads(open(sys.argv[1]).readline()); assert abs(sum(t[\"probability\"] for t in r[\"top\"]) - 1) < 1e-4 and len(r[\"top\"]) == 7 and r[\"top\"][0][\"class\"] == r[\"class\"]' '$work/out' || ! command -v python3"
status "a bad picture among good ones" 1 "$infer" --model "$model" "$work/pictures/one.ppm" "$work/bad.ppm" "$work/nowhere.ppm" "$work/pictures/a"
try "$work/pictures/one.ppm" "$work/bad.ppm" "$work/nowhere.ppm" "$work/pictures/a"
check "goes on" lines 2
check "says which and why" grep -q 'bad.ppm: .' "$work/err"
check "says what is not there" grep -q 'nowhere.ppm: No such file' "$work/err"
mkdir -p "$work/odd/below" "$work/odd/pipes"
cp "$work/pictures/one.ppm" "$work/odd/below"
ln -s ../below "$work/odd/below/up"
check "a link that leads back up" try "$work/odd/below"
check "each picture once" lines 1
mkfifo "$work/odd/pipes/pipe.jpg"
(sleep 1 && : 1<>"$work/odd/pipes/pipe.jpg") & # lets go who waits at it
check "a pipe among pictures is left alone" try "$work/odd"
wait
mkdir "$work/empty"
status "empty folder" 1 "$infer" --model "$model" "$work/empty"

check "as it is stored" try tests/images/made_orient_6.jpg
cp "$work/out" "$work/stored"
check "upright" try --orient tests/images/made_orient_6.jpg
check "that is another picture" sh -c "! cmp '$work/out' '$work/stored'"
check "turned by convert" "$BUILD/data_tools/convert" --orient tests/images/made_orient_6.jpg "$work/upright.png"
cp "$work/out" "$work/oriented"
check "the same" try "$work/upright.png"
check "answer" sh -c "[ \"\$(sed 's/.*jpg: //' '$work/oriented')\" = \"\$(sed 's/.*png: //' '$work/out')\" ]"

check "box" try --box 1,2,20,25 "$work/pictures/a/dark.ppm"
status "box outside" 1 "$infer" --model "$model" --box 30,2,20,25 "$work/pictures/a/dark.ppm"
status "box that is none" 2 "$infer" --model "$model" --box 30,2,20 "$work/pictures/a/dark.ppm"

cat "$work/pictures/a/dark.ppm" "$work/pictures/a/dark.ppm" | tail -c 3600 >"$work/frame"
cat "$work/frame" "$work/frame" "$work/frame" >"$work/frames"
raw() { "$infer" --model "$model" --raw 40x30 "$@" >"$work/out" 2>"$work/err" <"$work/frames"; }
check "raw frames" raw
check "three" lines 3
check "numbered, as the file" sh -c "[ \"\$(sed -n '3s/^2://p' '$work/out')\" = \"\$(sed -n 's/.*dark.ppm://p' '$work/plain')\" ]"
check "as json" raw --json --box 0,0,40,30
check "frame" holds '^{"frame": 2, "class": '
printf 'x' >>"$work/frames"
refuse "half a frame at the end" raw
check "after the others" lines 3
: >"$work/frames"
refuse "no frame" raw
check "says so" grep -q 'stdin: no frame' "$work/err"
status "frames from a folder" 1 sh -c "'$infer' --model '$model' --raw 40x30 2>'$work/err' <'$work'"
check "says why" grep -q 'stdin: Is a directory' "$work/err"

check "grad-cam" try --gradcam "$work/cam.png" "$work/pictures/a/dark.ppm"
check "is a picture" try "$work/cam.png"
refuse "grad-cam into no folder" try --gradcam "$work/none/cam.png" "$work/pictures/a/dark.ppm"
mkdir "$work/single"
cp "$work/pictures/a/dark.ppm" "$model" "$work/single"
status "grad-cam over its picture" 2 "$infer" --model "$model" --gradcam "$work/single/../single/dark.ppm" "$work/single/dark.ppm"
status "found in a folder" 2 "$infer" --model "$model" --gradcam "$work/single/dark.ppm" "$work/single"
status "over its model" 2 "$infer" --model "$work/single/model.safetensors" --gradcam "$work/single/model.safetensors" "$work/single"
check "they are what they were" sh -c "cmp '$work/single/dark.ppm' '$work/pictures/a/dark.ppm' && cmp '$work/single/model.safetensors' '$model'"
refuse "grad-cam of a bad picture" try --gradcam "$work/cam.png" "$work/bad.ppm"
{ printf 'P6 60 60 255\n' && head -c 10800 "$model"; } >"$work/noise.ppm" # which no PNG makes small
full "no room for grad-cam" "$infer" --model "$model" --gradcam "$work/full.png" "$work/noise.ppm"
check "nothing of it is left" sh -c "! ls '$work' | grep full"
full_output "no room for the answers" "$infer" --model "$model" "$work/cam.png"
status "grad-cam of a folder of several" 1 "$infer" --model "$model" --gradcam "$work/several.png" "$work/pictures"
check "no picture of them" test ! -e "$work/several.png"
status "grad-cam of two" 2 "$infer" --model "$model" --gradcam "$work/cam.png" "$work/pictures" "$work/pictures"

status "no model" 2 "$infer" "$work/pictures"
status "no picture" 2 "$infer" --model "$model"
status "both kinds" 2 "$infer" --model "$model" --raw 40x30 "$work/pictures"
status "model that is none" 1 "$infer" --model "$work/bad.ppm" "$work/pictures"
status "no such option" 2 "$infer" --model "$model" --wrong
status "help" 0 "$infer" --help
check_done
