#!/bin/sh
# test_search.sh - examples/search and examples/score as programs: options, outputs, kill -9 and resume, full disks.
. tests/check.sh
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
SEARCH=$BUILD/examples/search
SCORE=$BUILD/examples/score
# says NAME N PATTERN COMMAND...: ends with status N and prints a line that matches.
says() {
    says_name=$1 says_want=$2 says_pattern=$3
    shift 3
    "$@" >"$work/said" 2>&1
    check "$says_name: exit status" test $? -eq "$says_want"
    check "$says_name: words" grep -q -e "$says_pattern" "$work/said"
}
small="--space xxbl --start SuperConvK3BNRELU(3,8,2,1)SuperResK3K3(8,16,2,8,1)SuperConvK1BNRELU(16,32,1,1) --budget-params 30000 --max-layers 7 --batch 2 --resolution 16 --population 20 --generation 8 --seed 3"

status "search --help" 0 $SEARCH --help
status "search without start" 2 $SEARCH --out "$work/x"
status "search without out" 2 $SEARCH --preset fer-m
status "unknown option" 2 $SEARCH --frob
status "unknown preset" 2 $SEARCH --preset fer-x --out "$work/x"
status "unknown score" 2 $SEARCH --preset fer-m --score best --out "$work/x"
status "no such space file" 1 $SEARCH --preset fer-m --space "$work/none" --out "$work/x"
status "broken start" 1 $SEARCH --start 'SuperConvK3BNRELU(3,8,2' --out "$work/x"
rm -rf "$work/x"
says "nothing bounds it" 0 'may grow until memory ends' $SEARCH --space xxbl --start "SuperConvK3BNRELU(3,8,2,1)SuperConvK1BNRELU(8,32,1,1)" --max-layers 4 --batch 2 --resolution 16 --population 4 --iterations 8 --out "$work/unbound"
says "impossible budget" 1 '^search: none of .*flops refuses.*% over' $SEARCH $small --budget-flops 10 --out "$work/x"
status "a file where the folder should be" 1 $SEARCH $small --out tests/check.sh
{ echo "# all of it" && head -c 70000 /dev/zero | tr '\0' '\n'; } >"$work/long"
says "a space file too large" 1 'larger than 65535 bytes' $SEARCH $small --space "$work/long" --out "$work/x"
says "a folder as space file" 1 'cannot read: ' $SEARCH $small --space "$work" --out "$work/x"
mkdir "$work/closed"
ln -s search.state "$work/closed/search.state"
says "a state that cannot be opened is not none" 1 'search.state: cannot open: ' $SEARCH $small --iterations 40 --out "$work/closed" --resume
check "and is left alone" test -h "$work/closed/search.state"
status "--print-space" 0 $SEARCH --print-space --space xxbl
$SEARCH --print-space --space xxbl >"$work/space"

# One straight run; the same with three threads; the same with the space from a file.
status "a search" 0 $SEARCH $small --iterations 400 --out "$work/a" --json
for file in best_structure.txt population.csv history.csv search.html search.state; do check "$file is there" test -s "$work/a/$file"; done
check "nothing half-written" sh -c "! ls $work/a/*.part 2>/dev/null"
status "three threads" 0 $SEARCH $small --iterations 400 --threads 3 --out "$work/b"
check "the same result" cmp "$work/a/best_structure.txt" "$work/b/best_structure.txt"
check "the same population" cmp "$work/a/population.csv" "$work/b/population.csv"
sed 's/xxbl/FILE/' "$work/space" >"$work/space2"
status "a space from a file" 0 $SEARCH $small --space "$work/space2" --iterations 400 --out "$work/c"
check "the same result again" cmp "$work/a/population.csv" "$work/c/population.csv"
check "the page refers to nothing outside" sh -c "! grep -E '(src|href)=|@import|url\(' '$work/a/search.html'"
check "the page draws" grep -q '<svg class="net"' "$work/a/search.html"
check "the command, for a shell" grep -q -- "--start .SuperConvK3BNRELU(3,8,2,1)[^ ]*(16,32,1,1).[^ ]* --budget" "$work/a/search.html"
check "as many rows as members" test "$(wc -l <"$work/a/population.csv")" -eq 21

# Not twice into one folder; finished searches go further when asked to.
status "a folder with a search" 1 $SEARCH $small --iterations 400 --out "$work/a"
says "another seed cannot resume it" 1 'seed=' $SEARCH $small --seed 4 --iterations 400 --resume --out "$work/a"
status "resumed at its end" 0 $SEARCH $small --iterations 400 --resume --out "$work/a"
check "still the same" cmp "$work/a/population.csv" "$work/b/population.csv"

# Killed hard, again and again, then finished: the result of the straight run.
mkdir -p "$work/k"
for wait in 0.3 0.5 0.8; do
    $SEARCH $small --iterations 1500 --resume --save-seconds 0 --out "$work/k" >/dev/null 2>&1 &
    pid=$!
    sleep $wait
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
done
status "resumed after kill -9" 0 $SEARCH $small --iterations 1500 --resume --out "$work/k"
status "the straight run" 0 $SEARCH $small --iterations 1500 --out "$work/s"
check "the same population" cmp "$work/k/population.csv" "$work/s/population.csv"

# A full disk, played by a limit on the size of files: an error, and the old state stays. (clang's OpenMP itself writes a kilobyte.)
cp "$work/k/search.state" "$work/before"
(ulimit -f 4 && exec $SEARCH $small --iterations 2500 --resume --out "$work/k") >"$work/full.log" 2>&1
check "a full disk is an error" test $? -eq 1
check "and says so" grep -q 'cannot write' "$work/full.log"
check "and nothing is lost" cmp "$work/k/search.state" "$work/before"
status "later it goes on" 0 $SEARCH $small --iterations 1600 --resume --out "$work/k"
head -c 500 "$work/before" >"$work/k/search.state"
status "a damaged state" 1 $SEARCH $small --iterations 1600 --resume --out "$work/k"
check "and it is left alone" test "$(wc -c <"$work/k/search.state")" -eq 500

# A sieve: the search goes by it, the finalists by the score; other finals of a finished search.
status "a sieve" 0 $SEARCH $small --sieve zen-expected --finalists 4 --iterations 400 --out "$work/e" --json
says "its finals" 0 '"finalists": 6, "final_seconds": ' $SEARCH $small --sieve zen-expected --finalists 6 --final-repeat 2 --iterations 400 --resume --out "$work/e" --json
says "another sieve is another search" 1 'score=' $SEARCH $small --sieve flops --iterations 400 --resume --out "$work/e"
status "an unknown sieve" 2 $SEARCH $small --sieve best --out "$work/x"

# Latency budgets, and where the structure goes.
says "a latency budget, and the prediction's error" 0 'off by' $SEARCH $small --iterations 60 --max-latency-ms 1000 --out "$work/l"
status "measured candidates" 0 $SEARCH $small --iterations 20 --max-latency-ms 1000 --latency measured --out "$work/m"
status "analyze takes the structure" 0 $BUILD/examples/analyze "$work/a/best_structure.txt" --no-layers
says "score takes it" 0 '"repeat": 3' $SCORE "$work/a/best_structure.txt" --batch 2 --resolution 16 --repeat 3 --json

status "score --help" 0 $SCORE --help
status "score without a structure" 2 $SCORE
says "score of a broken one among good ones" 1 'params [0-9]' $SCORE zennet-x zennet-m --score params
for kind in zen zen-paper gradnorm synflow naswot tenas zen-expected flops params deepmad random; do
    status "score $kind" 0 $SCORE 'SuperConvK3BNRELU(3,8,2,1)SuperConvK3BNRELU(8,16,2,1)' --score $kind --batch 3 --resolution 16
done
says "score beside another" 0 'of params and flops over 3 structures: 1.0000' $SCORE 'SuperConvK3BNRELU(3,8,2,1)' 'SuperConvK3BNRELU(3,16,2,1)' 'SuperConvK3BNRELU(3,32,2,1)' --score params --beside flops
says "and as JSON" 0 '"beside": "flops", "beside_mean": [1-9]' $SCORE 'SuperConvK3BNRELU(3,8,2,1)' --score params --beside flops --json
says "score without a formula" 1 'no formula for se' $SCORE 'ConvKX(3,8,3,1)SE(8)' --score zen-expected
says "search_study, very short" 0 'rank correlation of score and accuracy over 2 networks' $BUILD/examples/search_study --out "$work/study" --networks 2 --seconds 0.001 --iterations 12 --train 70 --test 70 --size 16
check "its rows" test "$(wc -l <"$work/study/study.csv")" -eq 3
check_done
