# test_data.sh - toy_faces, pack and check_data end to end: every layout gives the same classes and counts by name; bad
# sets, bad files and bad options end with the right status and words; packs do not depend on the number of threads.
. tests/check.sh
tools=$BUILD/data_tools
log=$work/check.log

# holds NAME TEXT: the last command of check, refuse or status printed it.
holds() {
    if grep -qF -- "$2" "$log"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "failed: $1: no '$2' in:"
        tail -n 8 "$log"
    fi
}
# counts PACK: "name train test" of each class, sorted by name.
counts() { "$tools/check_data" "$1" | sed -n 's/^ *[0-9][0-9]* \([A-Z][a-z]*\)  *\([0-9][0-9]*\)  *\([0-9][0-9]*\)$/\1 \2 \3/p' | sort; }
faces() { "$tools/toy_faces" "$@" --train 90 --test 40 --size 24 --format ppm; }

# Every layout, with what each needs to be told.
for row in 'raf' 'folders' 'folders0 --layout raf' 'folders00 --labels 00=Neutral,01=Happiness,02=Sadness,03=Surprise,04=Fear,05=Anger,06=Disgust' 'names' 'csv' \
    'csv --layout csv' 'list --labels raf --base 0' 'affectnet' 'affectnet2017' 'affectnet-csv' 'affectnet-folders --layout affectnet' 'affectnet-names'; do
    layout=${row%% *} flags=
    case $row in *' '*) flags=${row#* } ;; esac
    case $layout in affect*) flags="$flags --classes 7" ;; esac
    rm -rf "$work/faces"
    case $layout in # seven classes in all, so that the counts are the same
    affect*) check "faces as $layout" faces "$work/faces" --layout "$layout" --classes 7 ;;
    *) check "faces as $layout" faces "$work/faces" --layout "$layout" ;;
    esac
    check "$row is packed" "$tools/pack" "$work/faces" "$work/$layout.pack" $flags
    check "$row is checked" "$tools/check_data" "$work/faces" $flags
    holds "$row has 130 images" '130 images, nothing wrong'
    counts "$work/$layout.pack" >"$work/counts"
    [ -f "$work/want" ] || cp "$work/counts" "$work/want"
    check "$row has the same classes" cmp "$work/want" "$work/counts"
done
check 'seven classes were compared' test "$(wc -l <"$work/want")" -eq 7
rm -rf "$work/faces"
check 'folders 0 to 6' faces "$work/faces" --layout folders0
status 'alone are refused' 1 "$tools/pack" "$work/faces" "$work/x.pack"
holds 'with the flags that decide' '--labels affectnet'
rm -rf "$work/faces"
check 'eight classes in folders' faces "$work/faces" --layout affectnet-folders
check 'contempt left out' "$tools/check_data" "$work/faces" --classes 7
holds 'of eight classes means AffectNet' 'AffectNet, 7 classes '
rm -rf "$work/faces"
check 'eight classes' faces "$work/faces" --layout affectnet2017
check 'packed' "$tools/pack" "$work/faces" "$work/eight.pack" --store files
check 'checked' "$tools/check_data" "$work/eight.pack"
holds 'contempt is there' 'Contempt'
check 'as pixels' "$tools/pack" "$work/faces" "$work/pixels.pack" --store pixels
check 'boxes are cut' test "$(wc -c <"$work/pixels.pack")" -lt "$(wc -c <"$work/eight.pack")"

# The same options, the same bytes, whatever the threads.
rm -rf "$work/faces" "$work/again"
check 'JPEG faces' "$tools/toy_faces" "$work/faces" --train 60 --test 20 --size 48
check 'JPEG faces again' env OMP_NUM_THREADS=1 "$tools/toy_faces" "$work/again" --train 60 --test 20 --size 48
check 'are the same' diff -r "$work/faces" "$work/again"
rm -rf "$work/again"
check 'another seed' "$tools/toy_faces" "$work/again" --train 60 --test 20 --size 48 --seed 2
refuse 'draws others' diff -r "$work/faces" "$work/again"
check 'one thread' "$tools/pack" "$work/faces" "$work/one.pack" --threads 1
check 'three threads' "$tools/pack" "$work/faces" "$work/three.pack" --threads 3
check 'give one pack' cmp "$work/one.pack" "$work/three.pack"
check 'JSON' "$tools/check_data" "$work/one.pack" --json
holds 'says how many' '"train":60,"test":20'
check 'files and pixels' "$tools/pack" "$work/faces" "$work/files.pack" --store files
check 'decode' "$tools/check_data" "$work/files.pack"
holds 'all of them' '80 images, nothing wrong'
if [ "${GOLDEN_SHARED:-yes}" != no ]; then
    check 'a set to learn' "$tools/toy_faces" "$work/learn" --size 32 --format ppm
    check 'is packed' "$tools/pack" "$work/learn" "$work/learn.pack"
    check 'a linear classifier' "$BUILD/tests/linear" "$work/learn.pack" 16
    share=$(sed -n 's/^linear 0\.\([0-9]*\)$/\1/p' "$log")
    echo "linear classifier on 3000 faces of 16 x 16: 0.$share"
    check 'gets more than always saying happiness' test "$share" -gt 390
    check 'and stays below 60 %' test "$share" -lt 600
    rm -rf "$work/learn"
fi

# Pictures that are not upright as they are stored.
mkdir -p "$work/turned/a" "$work/turned/b" "$work/upright/a" "$work/upright/b"
cp tests/images/made_orient_1.jpg tests/images/made_orient_6.jpg "$work/turned/a"
cp tests/images/made_orient_3.jpg "$work/turned/b"
for f in a/made_orient_1 a/made_orient_6 b/made_orient_3; do
    check "$f is turned" "$tools/convert" --orient "$work/turned/$f.jpg" "$work/upright/$f.ppm"
done
check 'turned pictures' "$tools/check_data" "$work/turned"
holds 'are counted' 'note: 2 JPEG files have an EXIF orientation'
check 'upright ones' "$tools/check_data" "$work/upright"
refuse 'are not' grep -q orientation "$log"
check 'pictures turned upright' "$tools/pack" "$work/turned" "$work/turned.pack" --orient --json
hash=$(sed -n 's/.*\("hash":"[0-9a-f]*"\).*/\1/p' "$log")
check 'and those that were' "$tools/pack" "$work/upright" "$work/upright.pack" --json
holds 'hold the same pixels' "$hash"
status 'files are not turned' 1 "$tools/pack" "$work/turned" "$work/x.pack" --orient --store files
holds 'with the flag' '--store pixels'

# Bad files among the good.
images=$work/faces/basic/Image/aligned
list=$work/faces/basic/EmoLabel/list_patition_label.txt
head -c 700 "$images/train_00003_aligned.jpg" >"$work/cut" && mv "$work/cut" "$images/train_00003_aligned.jpg"
: >"$images/train_00005_aligned.jpg"
rm "$images/train_00007_aligned.jpg"
cp "$images/train_00009_aligned.jpg" "$images/test_0001_aligned.jpg"
status 'bad images: status 1' 1 "$tools/pack" "$work/faces" "$work/bad.pack"
holds 'names the cut one' 'train_00003_aligned.jpg'
holds 'names the empty one' 'train_00005_aligned.jpg: empty'
holds 'names the missing one' 'train_00007.jpg: listed, but there is no such file'
holds 'is written all the same' 'packed 77 images'
status 'bad images with --skip-bad' 0 "$tools/pack" "$work/faces" "$work/bad.pack" --skip-bad
status 'check_data sees them' 1 "$tools/check_data" "$work/faces"
holds 'and the copy' 'in both splits'
status 'the pack keeps the copy' 1 "$tools/check_data" "$work/bad.pack"
holds 'seen by content' 'in both splits'
status 'RAF-DB has no 8 classes' 1 "$tools/pack" "$work/faces" "$work/bad.pack" --classes 8
echo 'train_00001.jpg 12' >>"$list"
status 'the compound set' 1 "$tools/check_data" "$work/faces"
holds 'is told' 'compound set'

# Sizes at both ends, odd names.
mkdir -p "$work/odd/a b" "$work/odd/-c" "$work/odd/ü"
n=100
for f in 1 2 3; do for d in 'a b' -c ü; do n=$((n + 1)) && printf 'P6\n1 1\n255\n%d' $n >"$work/odd/$d/$f'\"\$x.ppm"; done; done
check 'odd names, 1 x 1' "$tools/pack" "$work/odd" "$work/odd.pack" --every 3
holds 'three classes' 'packed 9 images of 3 classes'
holds 'ü takes one column' '  2 ü                            2         1'
check 'odd names in a table' "$tools/check_data" "$work/odd"
holds 'ü takes one column there' '  2 ü                            3         0'
check 'odd names as JSON' "$tools/check_data" "$work/odd" --json
printf 'P6\n20000 20000\n255\n' >"$work/odd/-c/4.ppm"
status '20000 x 20000' 1 "$tools/pack" "$work/odd" "$work/odd.pack"
holds 'is refused by size' '20000 x 20000 pixels, above the limit'
printf 'GIF89a' >"$work/odd/-c/4.ppm"
status 'another format' 1 "$tools/pack" "$work/odd" "$work/odd.pack"
rm "$work/odd/-c/"*
printf 'P6\n1 1\n' >"$work/odd/-c/1.ppm"
cp "$work/odd.pack" "$work/kept.pack"
status 'a class with nothing readable' 1 "$tools/pack" "$work/odd" "$work/odd.pack" --skip-bad
holds 'is named' 'class -c has no readable images'
check 'the old pack is kept' cmp "$work/odd.pack" "$work/kept.pack"
rm "$work/odd/-c/"*
status 'an empty class' 1 "$tools/pack" "$work/odd" "$work/odd.pack"
holds 'is named' 'class -c has no images'
for split in train test; do mkdir -p "$work/alone/$split" && cp -r "$work/odd/a b" "$work/alone/$split/happy"; done
status 'one class only' 1 "$tools/pack" "$work/alone" "$work/x.pack"
holds 'is said' 'one class alone teaches nothing'
(cd "$work/odd/ü" && ls | sed 's/$/ 0/') >"$work/odd/ü/list.txt"
status 'one class only in a list' 1 "$tools/pack" "$work/odd/ü/list.txt" "$work/x.pack" --labels one --base 0
for label in x 99999999999; do
    sed "2s/0\$/1/;3s/0\$/$label/" "$work/odd/ü/list.txt" >"$work/odd/ü/wrong.txt"
    status "label $label among numbers" 1 "$tools/pack" "$work/odd/ü/wrong.txt" "$work/x.pack"
    holds 'is shown' "its label '$label' is no number"
done

# Outputs that cannot be, options that are none.
status 'no folder for the pack' 1 "$tools/pack" "$work/faces/basic/Image" "$work/nowhere/x.pack"
status 'a file where the folder should be' 1 "$tools/pack" "$work/again" "$work/one.pack/x.pack"
status 'a folder where the pack should be' 1 "$tools/pack" "$work/again" "$work/odd"
cp "$work/one.pack" "$work/kept.pack"
full 'no room for a pack' "$tools/pack" "$work/again" "$work/one.pack"
check 'the old pack is kept' cmp "$work/one.pack" "$work/kept.pack"
full 'no room for faces' "$tools/toy_faces" "$work/none" --train 60 --test 20 --format ppm
check 'nothing is left of them' test ! -e "$work/none"
full_output 'no room for what check_data says' "$tools/check_data" "$work/one.pack" --json
check 'nothing half is left' sh -c "! ls '$work' | grep part"
status 'a set that is not there' 1 "$tools/pack" "$work/nothing" "$work/x.pack"
holds 'is said' 'No such file'
status 'faces over others' 1 "$tools/toy_faces" "$work/odd"
holds 'are refused' 'is not empty'
status 'faces where none can be' 1 "$tools/toy_faces" "$work/one.pack/faces"
head -c 3000 "$work/one.pack" >"$work/cut.pack"
status 'a cut pack' 1 "$tools/check_data" "$work/cut.pack"
holds 'is told' 'not a whole pack'
for tool in toy_faces pack check_data; do
    check "$tool --help" "$tools/$tool" --help
    holds 'says how' 'usage:'
    status "$tool without names" 2 "$tools/$tool"
    status "$tool with an unknown option" 2 "$tools/$tool" x y --nonsense
    status "$tool with an unknown layout" 2 "$tools/$tool" x --layout nonsense
done
status 'pack with too many names' 2 "$tools/pack" a b c
status 'a number that is none' 2 "$tools/pack" a b --every five
status 'eight classes in RAF-DB' 2 "$tools/toy_faces" "$work/x" --classes 8

mkdir -p "$work/piped/anger" "$work/piped/happy"
cp tests/images/17x33_420_q90.jpg "$work/piped/anger/a.jpg"
cp tests/images/17x33_420_q90.jpg "$work/piped/happy/b.jpg"
mkfifo "$work/piped/anger/pipe.jpg"
status 'a pipe among the pictures is not waited for' 1 "$tools/pack" "$work/piped" "$work/piped.pack"
holds 'but left out' 'pipe.jpg: not a file'
cp tests/images/17x33_420_q90.jpg "$work/precious.jpg"
status 'a file that is no pack is not replaced by one' 1 "$tools/pack" "$work/piped" "$work/precious.jpg" --skip-bad
check 'it is what it was' cmp tests/images/17x33_420_q90.jpg "$work/precious.jpg"

# A real data set, where it is.
digits=../shared/data/sign_digits
if [ "${GOLDEN_SHARED:-yes}" != no ] && [ -d $digits ]; then
    check 'sign digits' "$tools/pack" $digits "$work/digits.pack" --every 5
    holds 'are all there' 'packed 2062 images of 10 classes'
else echo "skipped: $digits"; fi
check_done
