#!/bin/sh
# train and evaluate as commands: killed and resumed to the same bytes, stopped by Ctrl-C, full disks, wrong labels,
# wrong usage. The set is small toy faces.
. tests/check.sh
if [ ! -x "$BUILD/data_tools/toy_faces" ]; then skip_all "$BUILD/data_tools/toy_faces is not built"; fi
OMP_WAIT_POLICY=passive # the tests share their cores
export OMP_WAIT_POLICY
arch='SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)SuperConvK1BNRELU(16,32,1,1)'
train="$BUILD/examples/train"
# said NAME TEXT: the last command's output holds a line like TEXT.
said() {
    cp "$work/check.log" "$work/said.log"
    check "$1" grep -q -- "$2" "$work/said.log"
}
evaluate="$BUILD/examples/evaluate"

check "toy faces" "$BUILD/data_tools/toy_faces" "$work/toy" --layout names --train 96 --test 48 --size 32
check "pack" "$BUILD/data_tools/pack" "$work/toy" "$work/toy.pack"
# A closed stream is not the file that is opened next.
mkdir "$work/spoilt"
cp -r "$work/toy/train" "$work/toy/test" "$work/spoilt"
echo "no picture" >"$work/spoilt/train/anger/bad.jpg"
check "pack with a bad picture" "$BUILD/data_tools/pack" "$work/spoilt" "$work/open.pack" --skip-bad
for closed in 0 1 2; do
    sh -c "exec $closed>&- && exec \"\$@\"" sh "$BUILD/data_tools/pack" "$work/spoilt" "$work/closed$closed.pack" --skip-bad >"$work/check.log" 2>&1
    check "with descriptor $closed closed: exit status" test $? -eq $((closed == 1)) # the results, which stdout cannot take
    check "the same pack" cmp "$work/open.pack" "$work/closed$closed.pack"
done
# Where memory or open files run out, no image is left out for it.
pack_here() { "$BUILD/data_tools/pack" "$work/spoilt" "$work/starved.pack" --skip-bad --threads 1; }
few_files() { (ulimit -n 4 && pack_here); }
few_files >"$work/few.log" 2>&1
if ! grep -q "^OMP: " "$work/few.log"; then # clang's OpenMP aborts by itself without files of its own
    status "too few open files" 1 few_files
    said "ends at the image" "pack: stopped at "
fi
{ printf 'P6 3000 3000 255\n' && head -c 27000000 /dev/zero; } >"$work/spoilt/train/fear/large.ppm"
little_memory() { (ulimit -v 40000 && pack_here); }
if (ulimit -v 40000 && "$BUILD/data_tools/pack" --help) >/dev/null 2>&1; then # not under a sanitizer
    status "too little memory" 1 little_memory
    said "ends there too" "pack: stopped at .*large.ppm"
fi
check "no pack of either" sh -c "! ls '$work' | grep starved"
set -- --data "$work/toy.pack" --arch "$arch" --resolution 24 --epochs 5 --batch 16 --recipe rafdb --ema 0.9 --checkpoint-seconds 0.05
check "a run without a stop" "$train" "$@" --out "$work/whole.zn"
check "log" test "$(wc -l <"$work/whole.zn.run/log.csv")" -eq 6
check "report" grep -q "</html>" "$work/whole.zn.run/report.html"
check "the last of two recipes" sh -c "'$train' --recipe plain --recipe=rafdb --help | grep -q 'passes over the data (400)'"
check "a report's command" "$train" "$@" --epochs 1 --out "$work/it's.zn" --checkpoint-dir "" --report "$work/quoted.html"
check "is quoted" grep -q "it'.''s.zn'" "$work/quoted.html"
check "contact sheet" "$train" "$@" --epochs 1 --out "$work/sheet.zn" --checkpoint-dir "" --preview "$work/sheet.png"
check "contact sheet is a picture" test -s "$work/sheet.png"
check "no folder when none is wanted" test ! -e "$work/sheet.zn.run"

# Killed at any moment, five times, then left to end.
for moment in 0.1 0.3 0.2 0.5 0.4; do
    "$train" "$@" --out "$work/killed.zn" --resume >/dev/null 2>&1 &
    sleep $moment
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
done
check "resumed after kills" "$train" "$@" --out "$work/killed.zn" --resume
check "the same bytes as without kills" cmp "$work/whole.zn" "$work/killed.zn"
mkdir "$work/search (1)"
{ printf '\357\273\277' && echo "$arch"; } >"$work/search (1)/best_structure.txt" # as a search leaves it, and an editor
check "the structure from a file, into a link's file" sh -c "ln -s file.zn '$work/link.zn' && '$train' \"\$@\"" "$train" "$@" --arch "$work/search (1)/best_structure.txt" --out "$work/link.zn"
check "the same bytes" cmp "$work/whole.zn" "$work/file.zn"
check "the link is still one" test -h "$work/link.zn"
status "no such file of a structure" 1 "$train" "$@" --arch "$work/none.txt" --out "$work/none.zn"
said "says what it is not" "is no structure, no name"
check "threads change nothing" "$train" "$@" --out "$work/threads.zn" --threads 1
check "the same bytes from one thread" cmp "$work/whole.zn" "$work/threads.zn"

# Ctrl-C: as soon as the folder is there. (Background jobs of sh ignore SIGINT, so a shell of its own starts it.)
"$train" "$@" --epochs 5000 --eval-every 5000 --out "$work/stopped.zn" >"$work/stop.log" 2>&1 &
job=$!
tries=0
while [ ! -e "$work/stopped.zn.run/log.csv" ] && [ $tries -lt 200 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -INT $job 2>/dev/null
wait $job
check "exit status of a stopped run" test $? -eq 1
check "says how to go on" grep -q "stopped; --resume" "$work/stop.log"
check "no model from a stopped run" test ! -e "$work/stopped.zn"

status "it is not thrown away" 1 "$train" "$@" --epochs 5000 --eval-every 5000 --out "$work/stopped.zn"
said "says what to do" "holds a run stopped after epoch .* of 5000: --resume goes on"

# Other options, other data, no room.
status "other options do not resume" 1 "$train" "$@" --seed 2 --out "$work/killed.zn" --resume
said "says which" 'made with "seed 1", but now it is "seed 2"'
cp -r "$work/killed.zn.run" "$work/before"
full "no room for a checkpoint" "$train" "$@" --seed 2 --out "$work/killed.zn" --log ""
said "says how to go on" "--resume goes on"
check "what was there is whole" cmp "$work/before/latest.safetensors" "$work/killed.zn.run/latest.safetensors"
check "nothing half is left" test ! -e "$work/killed.zn.run/latest.safetensors.part"
cp "$work/whole.zn" "$work/old.zn"
full "no room for the model" "$train" "$@" --epochs 1 --out "$work/old.zn" --checkpoint-dir ""
check "the old model is kept" cmp "$work/whole.zn" "$work/old.zn"
(ulimit -f 4 && exec "$train" "$@" --epochs 1 --out "$work/old.zn" --checkpoint-dir "") >"$work/check.log" 2>&1
says_full "no room, and nobody told the shell to ignore the signal of it"
check "the old model is kept, nothing half beside it" sh -c "cmp '$work/whole.zn' '$work/old.zn' && [ ! -e '$work/old.zn.part' ]"
full "no room for the report" "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --report "$work/none.html"
full "no room for the contact sheet" "$train" "$@" --epochs 1 --out "$work/old.zn" --checkpoint-dir "" --preview "$work/none.png"
full_output "no room for what evaluate says" "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --json
check "nothing of them is left" sh -c "! ls '$work' | grep -e part -e none"
status "no folder to write to" 1 "$train" "$@" --out "$work/none/x.zn"
for file in out log report; do
    status "the $file cannot be written" 1 "$train" "$@" --checkpoint-dir "" --out "$work/x.zn" --$file "$work/toy.pack/x"
    check "known before the training ($file)" sh -c "! grep epoch.1/ '$work/check.log'"
done
status "no such pack" 1 "$train" "$@" --data "$work/none.pack" --out "$work/x.zn"
head -c 20000 "$work/toy.pack" >"$work/cut.pack"
status "a truncated pack" 1 "$train" "$@" --data "$work/cut.pack" --out "$work/x.zn"
status "a bad structure" 1 "$train" "$@" --arch "SuperConvK3BNRELU(3,8,2,1" --out "$work/x.zn"
said "with its column" column

# One file for two things: refused before anything is lost.
cp "$work/toy.pack" "$work/kept.pack"
cp "$work/whole.zn" "$work/kept.zn"
ln -s toy.pack "$work/also.pack"
mkdir "$work/sub"
for files in "--out toy.pack" "--out also.pack" "--preview toy.pack" "--log toy.pack" "--out new.zn --report sub/../new.zn" "--teacher whole.zn --log whole.zn" "--pretrained whole.zn --out whole.zn"; do
    status "train $files" 2 sh -c "cd '$work' && exec \"\$@\" $files" sh "$(realpath "$train")" "$@" --epochs 1 --out "$work/new.zn" --checkpoint-dir ""
done
said "says which" "--pretrained and --out are the same file, whole.zn"
check "nothing is written" test ! -e "$work/new.zn"
status "train: a file of a structure" 2 "$train" "$@" --arch "$work/search (1)/best_structure.txt" --out "$work/search (1)/best_structure.txt"
status "evaluate" 2 "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --report "$work/whole.zn"
status "train_affectnet" 2 "$BUILD/examples/train_affectnet" --quick --out "$work" --teacher "$work/model.safetensors"
status "transfer" 2 "$BUILD/examples/transfer" --quick --out "$work" --teacher "$work/large.safetensors"
status "to_onnx" 2 "$BUILD/data_tools/to_onnx" "$work/whole.zn" "$work/whole.zn"
check "all are what they were" sh -c "cmp '$work/toy.pack' '$work/kept.pack' && cmp '$work/whole.zn' '$work/kept.zn'"
check "a name is no file" sh -c "cd '$work' && '$(realpath "$BUILD/data_tools/to_onnx")' zennet-m zennet-m && rm zennet-m"

# Transfer, distillation, options.
check "transfer" "$train" "$@" --epochs 1 --out "$work/transfer.zn" --pretrained "$work/whole.zn" --freeze
check "distillation, optimizer, schedule" "$train" "$@" --epochs 2 --out "$work/student.zn" --teacher "$work/whole.zn" --optimizer adam --lr 0.002 --schedule step --milestones 1 \
    --micro-batch 8 --clip 1 --balanced --init msra --lw-att --attention se --keep-last
check "evaluate" "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack"
said "its last line" '^48 images: top-1 '
"$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --json >"$work/test.json" 2>/dev/null
for key in top1 top5 mean_class confusion; do check "JSON has $key" grep -q "\"$key\": " "$work/test.json"; done
check "the train split too, with a report" "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --split train --report "$work/later.html" --history "$work/whole.zn.run/latest.safetensors"
check "report with curves" grep -q "Loss by epoch" "$work/later.html"

mkfifo "$work/pipe.html"
cat "$work/pipe.html" >"$work/piped.html" &
check "a report into a pipe" "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --report "$work/pipe.html"
wait
check "which has got it all" sh -c "[ -p '$work/pipe.html' ] && grep -q '</html>' '$work/piped.html'"
status "curves without a report" 2 "$evaluate" --model "$work/whole.zn" --data "$work/toy.pack" --history "$work/whole.zn.run/latest.safetensors"
status "a folder is no pack" 1 "$evaluate" --model "$work/whole.zn" --data "$work/toy"
said "says what makes one" "data_tools/pack makes one file of it"
mkdir "$work/utf8"
cp -r "$work/toy/train" "$work/toy/test" "$work/utf8"
for split in train test; do mv "$work/utf8/$split/anger" "$work/utf8/$split/Ärger über 愤怒愤怒愤怒愤怒愤怒愤怒"; done
check "names of several bytes a letter" "$BUILD/data_tools/pack" "$work/utf8" "$work/utf8.pack"
check "a network that knows them" "$train" --data "$work/utf8.pack" --arch "$arch" --resolution 24 --epochs 1 --batch 16 --out "$work/utf8.zn" --checkpoint-dir ""
cp "$work/check.log" "$work/utf8.log"
check "cut between letters, in a column" grep -q "^ *recall.* Ärger \$" "$work/utf8.log"
check "and in a row" grep -q "^Ärger über 愤怒愤怒愤怒愤怒愤怒愤怒   0.0 %" "$work/utf8.log"

# The same faces under each other's names: the hint.
check "numbered folders" "$BUILD/data_tools/toy_faces" "$work/numbers" --layout folders --train 96 --test 48 --size 32
check "pack" "$BUILD/data_tools/pack" "$work/numbers" "$work/true.pack" --labels raf
check "pack with wrong names" "$BUILD/data_tools/pack" "$work/numbers" "$work/wrong.pack" --labels Fear,Disgust,Happiness,Sadness,Anger,Neutral,Surprise
check "a network that knows its faces" "$train" --data "$work/true.pack" --arch 'SuperConvK3BNRELU(3,16,2,1)SuperResIDWE4K3(16,32,2,32,1)SuperConvK1BNRELU(32,64,1,1)' --resolution 24 --epochs 40 \
    --batch 16 --lr 0.1 --balanced --keep-last --bn-momentum 0.1 --out "$work/fit.zn" --checkpoint-dir ""
check "evaluation under wrong names" "$evaluate" --model "$work/fit.zn" --data "$work/wrong.pack" --split train
said "hint" 'what it calls "Surprise" is "Fear"'
"$evaluate" --model "$work/fit.zn" --data "$work/wrong.pack" --split train --by-index --json >"$work/index.json" 2>/dev/null
"$evaluate" --model "$work/fit.zn" --data "$work/true.pack" --split train --json >"$work/names.json" 2>/dev/null
check "by number all is well" cmp "$work/index.json" "$work/names.json"
check "two wrong names" "$BUILD/data_tools/pack" "$work/numbers" "$work/two.pack" --labels Surprise,Fear,Disgust,Happiness,Neutral,Anger,Sadness
check "evaluation with two wrong names" "$evaluate" --model "$work/fit.zn" --data "$work/two.pack" --split train
said "hint, though chance is worse" 'what it calls "Sadness" is "Neutral"'

# The pipelines, on packs and on a folder in RAF-DB's own layout.
check "faces like RAF-DB's" "$BUILD/data_tools/toy_faces" "$work/raf" --layout raf --train 64 --test 32 --size 48
check "train_rafdb" "$BUILD/examples/train_rafdb" "$work/raf" --out "$work/raf.run" --arch "$arch" --epochs 1
said "its last line" "^best epoch 1: accuracy"
for file in data.pack model.safetensors report.html log.csv; do check "train_rafdb leaves $file" test -s "$work/raf.run/$file"; done
check "goes on where it was" "$BUILD/examples/train_rafdb" "$work/raf" --out "$work/raf.run" --arch "$arch" --epochs 1
said "without packing again" "packed before"
status "another set's pack is not taken for this" 1 "$BUILD/examples/train_rafdb" "$work/numbers" --out "$work/raf.run" --arch "$arch" --epochs 1
said "says what is there" "raf.run/data.pack is there, but not made of"
mkdir "$work/untested"
cp -r "$work/numbers/train" "$work/untested"
check "train_rafdb without a test split" "$BUILD/examples/train_rafdb" "$work/untested" --out "$work/untested.run" --arch "$arch" --epochs 1
said "says so" "has no images to test on"
check "and leaves model and report" test -s "$work/untested.run/model.safetensors" -a -s "$work/untested.run/report.html"
status "not with other options" 1 "$BUILD/examples/train_rafdb" "$work/raf" --out "$work/raf.run" --arch "$arch" --epochs 2
check "train_affectnet" "$BUILD/examples/train_affectnet" "$work/raf.run/data.pack" --out "$work/affect.run" --arch "$arch" --epochs 1 --classes 7
check "transfer" "$BUILD/examples/transfer" "$work/raf.run/data.pack" "$work/toy.pack" --out "$work/move.run" --arch "$arch" --epochs 1 --freeze
said "transferred" "^transferred: "
cp "$work/move.run/model.safetensors" "$work/moved.zn"
check "transfer again" "$BUILD/examples/transfer" "$work/raf.run/data.pack" "$work/toy.pack" --out "$work/move.run" --arch "$arch" --epochs 1 --freeze
said "is not trained again" "^transferred: "
check "and changes nothing" cmp "$work/move.run/model.safetensors" "$work/moved.zn"
for file in large.safetensors large.html model.html large/log.csv model/latest.safetensors; do check "transfer leaves $file" test -s "$work/move.run/$file"; done
mkdir -p "$work/part.run/faces.part/basic" "$work/elsewhere"
touch "$work/part.run/faces.part/basic/half.jpg" "$work/part.run/data.pack" "$work/elsewhere/mine"
ln -s "$work/elsewhere" "$work/part.run/faces.part/link"
status "faces that a killed run left half drawn" 1 "$BUILD/examples/train_rafdb" --quick --out "$work/part.run" # data.pack stops it there
said "are drawn anew" "data.pack is there, but not made of"
check "all of them, and nothing else is gone" sh -c "[ -d '$work/part.run/faces' ] && [ ! -e '$work/part.run/faces/basic/half.jpg' ] && [ -e '$work/elsewhere/mine' ]"
status "a source like an option" 1 "$BUILD/examples/train_rafdb" --out "$work/option.run" -- --help
said "is a name to pack too" "pack: .*--help"
status "nothing to train on" 2 "$BUILD/examples/train_rafdb"
status "both" 2 "$BUILD/examples/train_affectnet" "$work/raf" --quick
status "no such folder" 1 "$BUILD/examples/train_rafdb" "$work/nothing" --out "$work/raf2.run"

# Wrong usage.
status "no data" 2 "$train" --out "$work/x.zn"
status "no model" 2 "$evaluate" --data "$work/toy.pack"
for bad in "--epochs 0" "--epochs x" "--lr -1" "--schedule round" "--optimizer adamw" "--augment lots" "--milestones 1,x" "--warmup 9" "--batch 0" "--nonsense 1" "--recipe raf" "stray"; do
    status "wrong usage: $bad" 2 "$train" "$@" --out "$work/x.zn" $bad
done
status "help" 0 "$train" --help
check "help shows the recipe's defaults" sh -c "'$train' --recipe rafdb --help | grep -q 'passes over the data (400)'"
check_done
