# zennet.h - no configure step. `make help` lists the targets.
CC      ?= cc
CXX     ?= c++
CFLAGS  ?= -O2
STD      = -std=c99
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wundef -Wdouble-promotion
WERROR   =
# Where everything is built; variants of the tests build beside it.
BUILD    = build
# OpenMP is found by trying the compiler; OPENMP= turns it off.
OPENMP  := $(shell printf 'int main(void){return 0;}' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp)
ALL_CFLAGS = $(STD) $(WARN) $(WERROR) $(CFLAGS) $(OPENMP) -I.
LIBS     = -lm
HEADERS  = zennet.h $(wildcard data_tools/*.h) $(wildcard tests/*.h) $(wildcard examples/*.h)

EXAMPLES   = $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/*.c))
DATA_TOOLS = $(patsubst data_tools/%.c,$(BUILD)/data_tools/%,$(wildcard data_tools/*.c))
# These tests run twice: with float and, exactly, with double as the real type.
DOUBLE     = $(patsubst tests/%.c,$(BUILD)/tests/%_double,$(wildcard tests/golden.c tests/test_ops.c tests/test_graphs.c tests/test_model.c tests/test_kernels.c tests/test_infer.c tests/curve.c))
TESTS      = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/*.c)) $(DOUBLE)

# Each program holds the whole library when it is compiled by hand. Here the implementation is compiled once per real type
# and shared: ZENNET_IMPLEMENTATION_DONE tells the header that it stands elsewhere. Tests that look inside stay whole.
WHOLE    = $(shell grep -lE 'zni_|ZNI_|ZN_MALLOC|ZENNET_STATIC' /dev/null tests/*.c data_tools/*.c)
IMAGE_WHOLE = $(shell grep -lE 'zimi_|ZIM_MALLOC' /dev/null tests/*.c data_tools/*.c)
SHARED   = $(if $(filter $<,$(WHOLE)),,-DZENNET_IMPLEMENTATION_DONE) $(if $(filter $<,$(IMAGE_WHOLE)),,-DZENNET_IMAGE_IMPLEMENTATION_DONE)
objects  = -x none $(if $(filter $<,$(WHOLE)),,$(1)) $(if $(filter $<,$(IMAGE_WHOLE)),,$(BUILD)/zennet_image.o)
OBJECTS  = $(BUILD)/zennet.o $(BUILD)/zennet_double.o $(BUILD)/zennet_image.o

all: $(EXAMPLES) $(DATA_TOOLS) $(filter-out $(BUILD)/tests/test_%,$(TESTS)) ## build every example and tool, and the checkers of golden files
build-tests: all $(TESTS) ## and the tests

$(BUILD)/zennet.c:
	@mkdir -p $(@D)
	@printf '#define _POSIX_C_SOURCE 200809L\n#define ZENNET_IMPLEMENTATION\n#include "zennet.h"\n' >$@
$(BUILD)/zennet_image.c:
	@mkdir -p $(@D)
	@printf '#define _POSIX_C_SOURCE 200809L\n#define ZENNET_IMAGE_IMPLEMENTATION\n#include "data_tools/zennet_image.h"\n' >$@
$(BUILD)/zennet.o: $(BUILD)/zennet.c zennet.h
	$(CC) $(ALL_CFLAGS) -c $< -o $@
$(BUILD)/zennet_double.o: $(BUILD)/zennet.c zennet.h
	$(CC) $(ALL_CFLAGS) -DZENNET_DOUBLE -c $< -o $@
$(BUILD)/zennet_image.o: $(BUILD)/zennet_image.c data_tools/zennet_image.h
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(DOUBLE): $(BUILD)/tests/%_double: tests/%.c $(HEADERS) $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DZENNET_DOUBLE $(SHARED) $< $(call objects,$(BUILD)/zennet_double.o) -o $@ $(LIBS)
$(BUILD)/%: %.c $(HEADERS) $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(SHARED) $< $(call objects,$(BUILD)/zennet.o) -o $@ $(LIBS)

test: build-tests ## build and run every test; the last line is the sum
	@BUILD=$(BUILD) CC="$(CC)" CXX="$(CXX)" sh tests/run.sh

# The whole way on faces drawn here: pictures, a pack, a trained network with its report, its opinion of a few files.
DEMO = $(BUILD)/demo
DEMO_NET = SuperConvK3BNRELU(3,16,2,1)SuperResK3K3(16,24,2,24,1)SuperResK3K3(24,48,2,48,1)SuperResK3K3(48,64,2,64,1)SuperConvK1BNRELU(64,128,1,1)
DEMO_EPOCHS = 16
demo: $(BUILD)/data_tools/toy_faces $(BUILD)/data_tools/pack $(BUILD)/examples/train $(BUILD)/examples/evaluate $(BUILD)/examples/infer ## draw faces, train on them, evaluate, classify, report
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BUILD)/data_tools/toy_faces $(DEMO)/faces
	$(BUILD)/data_tools/pack $(DEMO)/faces $(DEMO)/faces.pack
	$(BUILD)/examples/train --data $(DEMO)/faces.pack --arch "$(DEMO_NET)" --resolution 48 --epochs $(DEMO_EPOCHS) --batch 32 --lr 0.4 --init msra \
	    --bn-momentum 0.1 --augment simple --out $(DEMO)/faces.safetensors --preview $(DEMO)/contact_sheet.png --report $(DEMO)/report.html
	$(BUILD)/examples/evaluate --model $(DEMO)/faces.safetensors --data $(DEMO)/faces.pack
	$(BUILD)/examples/infer --model $(DEMO)/faces.safetensors $$(ls $(DEMO)/faces/basic/Image/aligned/test_000[1-5]_aligned.jpg)
	@echo "what the network was fed: $(DEMO)/contact_sheet.png; how it went: $(DEMO)/report.html"

# The same suite built in other ways; the long golden files run in the plain build only.
VARIANT = $(MAKE) --no-print-directory test GOLDEN_SHARED=no
export GOLDEN_SHARED
ASAN = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
test-asan: ## the tests with gcc's address and undefined-behaviour sanitizers
	+@$(VARIANT) CC=gcc BUILD=build/asan CFLAGS="$(ASAN)"
test-clang: ## the tests built by clang
	+@if command -v clang >/dev/null; then $(VARIANT) CC=clang BUILD=build/clang; else echo "skipped: no clang here"; echo "0 passed, 0 failed"; fi
test-noomp: ## the tests without OpenMP
	+@$(VARIANT) OPENMP= BUILD=build/noomp
test-cxx: ## the tests compiled as C++11
	+@$(VARIANT) CC="$(CXX) -x c++" STD=-std=c++11 BUILD=build/cxx
test-m32: ## the tests as 32-bit programs, where the compiler can
	+@if echo '#include <math.h>' | $(CC) -m32 -x c -E - >/dev/null 2>&1 && echo 'int main(void){return 0;}' | $(CC) -m32 -x c - -o /dev/null 2>/dev/null; \
	then $(VARIANT) CC="$(CC) -m32 -msse2 -mfpmath=sse" BUILD=build/m32; else echo "skipped: $(CC) -m32 does not build here"; echo "0 passed, 0 failed"; fi

FUZZ_SECONDS = 60
FUZZ_SEED = 1
fuzz: $(BUILD)/tests/test_graphs_double ## damaged files into every reader, under the sanitizers, and random graphs, for FUZZ_SECONDS each
	+@$(MAKE) --no-print-directory CC=gcc BUILD=build/asan CFLAGS="$(ASAN)" build/asan/tests/fuzz
	build/asan/tests/fuzz --seed $(FUZZ_SEED) --seconds $(FUZZ_SECONDS) $(wildcard tests/golden/*.txt tests/images/* tests/checkpoints/*.pth tests/checkpoints/*.safetensors)
	$(BUILD)/tests/test_graphs_double --seed $(FUZZ_SEED) --seconds $(FUZZ_SECONDS)

PYTHON ?= python3
bench-peers: $(BUILD)/examples/benchmark $(BUILD)/data_tools/to_onnx ## time zennet.h against ONNX Runtime and PyTorch, where Python has them
	$(PYTHON) tests/peers/bench_peers.py --build $(BUILD) --mode infer,train

check-onnx: $(BUILD)/data_tools/to_onnx ## the golden networks in ONNX Runtime, where Python has it
	$(PYTHON) tests/peers/check_onnx.py --build $(BUILD) $(wildcard tests/golden/*.txt ../shared/golden/*.txt)

check-training: $(BUILD)/tests/curve $(BUILD)/tests/curve_double ## the same training here and in PyTorch, step by step, where Python has it
	$(PYTHON) tests/peers/compare_training.py --build $(BUILD) --picture $(BUILD)/training_curves.svg

# Counted, not timed: what a change does to speed, on a machine that does other things too.
PERF = $(MAKE) --no-print-directory BUILD=build/perf OPENMP= build/perf/tests/perf
perf: ## count the instructions of fixed pieces of work, beside those recorded, where valgrind is
	+@$(PERF)
	@sh tests/perf.sh build/perf/tests/perf tests/perf_record.txt
perf-record: ## the same, and record them in tests/perf_record.txt
	+@$(PERF)
	@sh tests/perf.sh build/perf/tests/perf tests/perf_record.txt --write

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

clean: ## remove build/
	rm -rf build

.PHONY: all build-tests test demo test-asan test-clang test-noomp test-cxx test-m32 fuzz bench-peers check-onnx check-training perf perf-record help clean
