/* test_context.c - context, errors, allocator hooks, random numbers: the ground that everything else stands on. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"

static void *no_malloc(size_t bytes, void *user) {
    (void)bytes;
    (void)user;
    return NULL;
}
static void no_free(void *memory, void *user) {
    (void)memory;
    (void)user;
}

static void test_version(void) {
    char text[32];
    CHECK(zn_version() == ZENNET_VERSION_MAJOR * 10000 + ZENNET_VERSION_MINOR * 100 + ZENNET_VERSION_PATCH);
    snprintf(text, sizeof text, "%d.%d.%d", ZENNET_VERSION_MAJOR, ZENNET_VERSION_MINOR, ZENNET_VERSION_PATCH);
    CHECK(strcmp(text, ZENNET_VERSION_TEXT) == 0);
}

static void test_create(void) {
    zn_ctx_opts o = zn_ctx_opts_default();
    zn_ctx *ctx = (zn_ctx *)(void *)&o;
    CHECK(zn_ctx_create(NULL, NULL) == ZN_ERROR_ARGUMENT);
    o.malloc_fn = no_malloc; /* one hook without the other cannot be right */
    CHECK(zn_ctx_create(&o, &ctx) == ZN_ERROR_ARGUMENT && ctx == NULL);
    o.free_fn = no_free;
    CHECK(zn_ctx_create(&o, &ctx) == ZN_ERROR_MEMORY && ctx == NULL);
    o.malloc_fn = NULL;
    CHECK(zn_ctx_create(&o, &ctx) == ZN_ERROR_ARGUMENT && ctx == NULL);
    zn_ctx_destroy(NULL);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK && ctx != NULL);
    CHECK(zn_error_code(ctx) == ZN_OK && strcmp(zn_error_text(ctx), "") == 0);
    zn_ctx_destroy(ctx);
}

static void test_errors(void) {
    zn_ctx *ctx = NULL;
    zn_structure *s = NULL;
    int i;
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    CHECK(zn_structure_parse(ctx, "Nothing(3)", &s) == ZN_ERROR_STRUCTURE);
    CHECK_HOLDS(zn_error_text(ctx), "Nothing");
    CHECK(zn_structure_parse(ctx, "Other(3)", &s) == ZN_ERROR_STRUCTURE);
    CHECK_HOLDS(zn_error_text(ctx), "Nothing"); /* the first error stays */
    zn_error_clear(ctx);
    CHECK(zn_error_code(ctx) == ZN_OK && strcmp(zn_error_text(ctx), "") == 0);
    CHECK(zn_structure_parse(ctx, "Other(3)", &s) == ZN_ERROR_STRUCTURE);
    CHECK_HOLDS(zn_error_text(ctx), "Other");
    zn_ctx_destroy(ctx);
    CHECK(zn_error_code(NULL) == ZN_ERROR_ARGUMENT && zn_error_text(NULL) != NULL);
    zn_error_clear(NULL);
    for (i = ZN_OK; i <= ZN_STOPPED; ++i) CHECK(strlen(zn_result_text((zn_result)i)) > 1 && strcmp(zn_result_text((zn_result)i), "unknown result") != 0);
    CHECK(strcmp(zn_result_text((zn_result)(ZN_STOPPED + 1)), "unknown result") == 0);
}

/* Values from an implementation in another language. */
static void test_fill(void) {
    static const double input[4] = {-1.11795402, 1.6736536, 0.888106823, -0.269391775}, x[3] = {0.674200475, 0.957789481, 0.370912552};
    zn_real got[4];
    int i;
    CHECK(zn_fnv1a64("", 0, ZN_FNV_START) == UINT64_C(0xcbf29ce484222325));
    CHECK(zn_fnv1a64("a", 1, ZN_FNV_START) == UINT64_C(0xaf63dc4c8601ec8c));
    CHECK(zn_fnv1a64("net", 3, zn_fnv1a64("zen", 3, ZN_FNV_START)) == UINT64_C(0x266c0bd252e64c45));
    zn_fill(got, "input", 1, 4, -2, 2);
    for (i = 0; i < 4; ++i) CHECK(fabs((double)got[i] - input[i]) < 1e-8);
    zn_fill(got, "x", UINT64_MAX, 3, 0, 1);
    for (i = 0; i < 3; ++i) CHECK(fabs((double)got[i] - x[i]) < 1e-8);
}

static void test_random(void) {
    enum { N = 20000 };
    zn_rng a = zn_rng_seed(1), b = zn_rng_seed(1), c = zn_rng_seed(2), s = zn_rng_stream(1, 0), t = zn_rng_stream(1, 1);
    double sum = 0, square = 0, normal_sum = 0, normal_square = 0;
    int i, outside = 0, bins[7] = {0, 0, 0, 0, 0, 0, 0};
    uint32_t items[10], seen = 0;
    CHECK(zn_rng_next(&a) == zn_rng_next(&b));
    CHECK(zn_rng_next(&a) != zn_rng_next(&c));
    CHECK(zn_rng_next(&s) != zn_rng_next(&t));
    for (i = 0; i < N; ++i) {
        double u = zn_rng_uniform(&a), g = zn_rng_normal(&a);
        outside += !(u >= 0 && u < 1);
        sum += u;
        square += u * u;
        normal_sum += g;
        normal_square += g * g;
        ++bins[zn_rng_below(&a, 7)];
    }
    CHECK(outside == 0);
    CHECK(fabs(sum / N - 0.5) < 0.01 && fabs(square / N - 1.0 / 3) < 0.01);
    CHECK(fabs(normal_sum / N) < 0.03 && fabs(normal_square / N - 1) < 0.04);
    for (i = 0; i < 7; ++i) CHECK(bins[i] > N / 7 - 250 && bins[i] < N / 7 + 250);
    CHECK(zn_rng_below(&a, 0) == 0 && zn_rng_below(&a, 1) == 0);
    for (i = 0; i < 10; ++i) items[i] = (uint32_t)i;
    zn_rng_shuffle(&a, items, 10);
    for (i = 0; i < 10; ++i) seen |= 1u << items[i];
    CHECK(seen == 1023u);
    zn_rng_shuffle(&a, items, 0);
}

/* Mixup's share for any alpha there is, and what it does to two samples of one value. */
static void test_mixup(void) {
    static const double alphas[] = {0, -1, (double)NAN, (double)INFINITY, 1e300}, shares[] = {1, 1, 1, 0.5, 0.5};
    int i;
    for (i = 0; i < 5; ++i) {
        zn_rng rng = zn_rng_seed(4);
        zn_real x[2] = {1, 3}, target[4] = {1, 0, 0, 1};
        uint32_t partner[2];
        CHECK(zn_mixup(&rng, alphas[i], 2, x, 1, target, 2, partner) == shares[i]);
        CHECK(partner[0] == 0 ? x[0] == 1 && x[1] == 3 : x[0] == 2 && x[1] == 2 && target[0] == (zn_real)0.5);
    }
}

/* Buffers of tape and kernels: none overlaps another, all begin on a cache line, and a step that is done again asks the
   system for nothing more. */
#define SLOTS 64
static void test_buffers(void) {
    zn_ctx *ctx = NULL;
    unsigned char *slot[SLOTS];
    size_t size[SLOTS], start, settled = 0, wrong = 0, i;
    int step, turn;
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    start = zn_memory_now(ctx);
    for (step = 0; step < 6; ++step) {
        zn_rng rng = zn_rng_seed(9);
        memset(slot, 0, sizeof slot);
        for (turn = 0; turn < 4000; ++turn) {
            int k = (int)(zn_rng_uniform(&rng) * SLOTS);
            if (slot[k] == NULL) {
                size[k] = (size_t)exp(4 + 9 * zn_rng_uniform(&rng));
                slot[k] = (unsigned char *)zni_buffer_take(ctx, size[k]);
                if (slot[k] == NULL) break;
                wrong += (uintptr_t)slot[k] % ZNI_ALIGN != 0 || zni_buffer_bytes(slot[k]) < size[k];
                memset(slot[k], k, size[k]);
            } else {
                for (i = 0; i < size[k]; ++i) wrong += slot[k][i] != k;
                zni_buffer_give(ctx, slot[k]);
                slot[k] = NULL;
            }
        }
        CHECK(turn == 4000);
        for (turn = 0; turn < SLOTS; ++turn) {
            for (i = 0; slot[turn] != NULL && i < size[turn]; ++i) wrong += slot[turn][i] != turn;
            zni_buffer_give(ctx, slot[turn]);
        }
        CHECK(ctx->lent == 0);
        zn_tape_clear(ctx);
        if (step == 2) settled = zn_memory_now(ctx);
    }
    CHECK(wrong == 0 && zn_memory_now(ctx) == settled);
    if (ZNI_CUTS_SLABS) CHECK(ctx->slab_bytes <= ctx->most_lent * 3 / 2);
    CHECK(zni_buffer_take(ctx, SIZE_MAX) == NULL && zn_error_code(ctx) == ZN_ERROR_MEMORY);
    zn_error_clear(ctx);
    zni_cache_flush(ctx);
    CHECK(zn_memory_now(ctx) == start);
    zn_ctx_destroy(ctx);
}

int main(void) {
    test_version();
    test_create();
    test_buffers();
    test_errors();
    test_fill();
    test_random();
    test_mixup();
    return check_done();
}
