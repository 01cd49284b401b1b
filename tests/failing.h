/* failing.h - an allocator that counts what lives and fails when told to: one thread at a time. */
#ifndef ZENNET_TESTS_FAILING_H
#define ZENNET_TESTS_FAILING_H

#include "zennet.h"

#include <stdlib.h>

typedef struct failing {
    long left; /* allocations until one fails; negative: none does */
    long live;
} failing;
static void *failing_malloc(size_t bytes, void *user) {
    failing *f = (failing *)user;
    if (f->left == 0) return NULL;
    --f->left;
    ++f->live;
    return malloc(bytes);
}
static void failing_free(void *memory, void *user) {
    if (memory != NULL) --((failing *)user)->live;
    free(memory);
}
static zn_ctx_opts failing_hooks(failing *f) {
    zn_ctx_opts hooks = zn_ctx_opts_default();
    hooks.malloc_fn = failing_malloc;
    hooks.free_fn = failing_free;
    hooks.user = f;
    return hooks;
}

#endif
