/* failing.h - an allocator that counts what lives and fails when told to: one thread at a time. */
#ifndef ZENNET_TESTS_FAILING_H
#define ZENNET_TESTS_FAILING_H

#include "zennet.h"

#include <stdlib.h>

typedef struct failing {
    long left;  /* allocations that still succeed, then none does; negative: all do */
    long live;  /* allocated and not freed */
    long calls; /* allocations that succeeded */
} failing;
static void *failing_malloc(size_t bytes, void *user) {
    failing *f = (failing *)user;
    if (f->left == 0) return NULL;
    --f->left;
    ++f->live;
    ++f->calls;
    return malloc(bytes);
}
static void failing_free(void *memory, void *user) {
    if (memory != NULL) --((failing *)user)->live;
    free(memory);
}
/* A context that allocates so, `left` times; NULL when that is not enough for the context itself. */
static zn_ctx *failing_context(failing *f, long left) {
    zn_ctx_opts hooks = zn_ctx_opts_default();
    zn_ctx *ctx = NULL;
    f->left = left;
    f->live = f->calls = 0;
    hooks.malloc_fn = failing_malloc;
    hooks.free_fn = failing_free;
    hooks.user = f;
    zn_ctx_create(&hooks, &ctx);
    return ctx;
}

#endif
