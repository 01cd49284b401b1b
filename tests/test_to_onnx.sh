#!/bin/sh
# test_to_onnx.sh - data_tools/to_onnx on checkpoints, names and structures; wrong usage. What stands in the files is
# test_onnx's matter.
. tests/check.sh
to_onnx=$BUILD/data_tools/to_onnx
stem='SuperConvK3BNRELU(3,8,2,1)'
plain=tests/checkpoints/plain.safetensors

check "a checkpoint" "$to_onnx" $plain "$work/plain.onnx" --arch "$stem" --attention none --resolution 32
check "its structure stands in the file" grep -aqF "$stem" "$work/plain.onnx"
check "its tensors too" grep -aq 'fc_linear.netblock.weight' "$work/plain.onnx"
check "PyTorch's formats" "$to_onnx" tests/checkpoints/legacy.pth "$work/legacy.onnx" --arch "$stem" --attention none --resolution 32
check "give the same network" cmp "$work/plain.onnx" "$work/legacy.onnx"
check "a name" "$to_onnx" zennet-r "$work/name.onnx" --resolution 32 --batch 2 --lw-att
check "again" "$to_onnx" zennet-r "$work/again.onnx" --resolution 32 --batch 2 --lw-att
check "the same weights" cmp "$work/name.onnx" "$work/again.onnx"
check "another seed" "$to_onnx" zennet-r "$work/again.onnx" --resolution 32 --batch 2 --lw-att --seed 2
refuse "gives others" cmp "$work/name.onnx" "$work/again.onnx"
check "a free batch" "$to_onnx" zennet-r "$work/again.onnx" --resolution 32 --batch free --lw-att
check "has a name" grep -aq 'batch' "$work/again.onnx"
check "a model file" "$BUILD"/tests/test_infer --model "$work/model.safetensors"
check "describes itself" "$to_onnx" "$work/model.safetensors" "$work/model.onnx"

status "no words" 2 "$to_onnx"
status "one word" 2 "$to_onnx" zennet-m
status "batch 0" 2 "$to_onnx" zennet-m "$work/x.onnx" --batch 0
status "batch in words" 2 "$to_onnx" zennet-m "$work/x.onnx" --batch many
status "no description" 1 "$to_onnx" $plain "$work/x.onnx"
"$to_onnx" $plain "$work/x.onnx" 2>"$work/err"
check "and the hint" grep -q 'say which structure' "$work/err"
status "another structure" 1 "$to_onnx" $plain "$work/x.onnx" --arch zennet-m
status "no such file" 1 "$to_onnx" "$work/nowhere" "$work/x.onnx"
status "bad structure" 1 "$to_onnx" 'SuperConvK3BNRELU(3,8,2' "$work/x.onnx"
"$to_onnx" 'SuperConvK3BNRELU(3,8,2' "$work/x.onnx" 2>"$work/err"
check "and its column" grep -q 'column 24' "$work/err"
status "a folder that is not there" 1 "$to_onnx" zennet-r "$work/no/x.onnx" --resolution 32
refuse "nothing was written" test -e "$work/x.onnx"
full "no room" "$to_onnx" zennet-r "$work/again.onnx" --resolution 32
check "the old file is kept" sh -c "grep -aq batch '$work/again.onnx' && ! ls '$work' | grep part"
check_done
