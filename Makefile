# zennet.h - no configure step. `make help` lists the targets.
CC      ?= cc
CFLAGS  ?= -O2
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wundef -Wdouble-promotion
# OpenMP is found by trying the compiler; OPENMP= turns it off.
OPENMP  := $(shell printf 'int main(void){return 0;}' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp)
ALL_CFLAGS = -std=c99 $(WARN) $(CFLAGS) $(OPENMP) -I.
LIBS     = -lm
HEADERS  = zennet.h $(wildcard data_tools/*.h) $(wildcard tests/*.h) $(wildcard examples/*.h)

EXAMPLES   = $(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c))
DATA_TOOLS = $(patsubst data_tools/%.c,build/data_tools/%,$(wildcard data_tools/*.c))
TESTS      = $(patsubst tests/%.c,build/tests/%,$(wildcard tests/*.c)) build/tests/golden_double

all: $(EXAMPLES) $(DATA_TOOLS) $(TESTS) ## build every example, tool and test program

build/examples/%: examples/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $< -o $@ $(LIBS)
build/data_tools/%: data_tools/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $< -o $@ $(LIBS)
build/tests/%: tests/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $< -o $@ $(LIBS)
build/tests/golden_double: tests/golden.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DZENNET_DOUBLE $< -o $@ $(LIBS)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

clean: ## remove build/
	rm -rf build

.PHONY: all help clean
