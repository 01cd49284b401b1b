/* test_score.c - scores: the fast Zen pass against the ordinary network, published figures, repeats, threads, what cannot
   be computed, bad options, memory running out. The golden lines are checked by golden.c. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "check.h"
#include "failing.h"

#define TINY "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)SuperResK3K3(16,16,1,8,1)SuperConvK1BNRELU(16,24,1,1)"

static zn_score_opts small_opts(zn_score_kind kind) {
    zn_score_opts o = zn_score_opts_default();
    o.kind = kind;
    o.batch = 4;
    o.resolution = 16;
    o.seed = 3;
    return o;
}
static zn_score_result score_of(zn_ctx *ctx, const char *text, const zn_score_opts *o) {
    zn_score_result r;
    memset(&r, 0, sizeof r);
    CHECK_FOR(zn_score(ctx, text, o, &r) == ZN_OK, zn_error_text(ctx));
    return r;
}

/* The Zen-score by the definition, with the network's ordinary forward pass on the golden fills. */
static double plain_zen(zn_ctx *ctx, const char *text, const zn_score_opts *o) {
    zn_net_opts n = zn_net_opts_default();
    zn_net *net = NULL;
    zn_tensor *x = zn_tensor_create(ctx, zn_shape4(o->batch, 3, o->resolution, o->resolution)), *e = zn_tensor_create(ctx, zn_tensor_shape(x)), *a, *b;
    double sum = 0.0, norms = 0.0;
    size_t k;
    int i;
    n.structure = text;
    n.classes = o->classes;
    n.attention = ZN_ATTENTION_NONE;
    n.reslink = 0;
    n.bn_momentum = 0.1;
    CHECK_FOR(zn_net_create(ctx, &n, &net) == ZN_OK, zn_error_text(ctx));
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        if (zn_tensor_shape(t).dims > 1) zn_fill(zn_tensor_data(t), zn_tensor_name(t), o->seed, zn_tensor_count(t), -sqrt(3.0), sqrt(3.0));
    }
    zn_fill(zn_tensor_data(x), "zen_a", o->seed, zn_tensor_count(x), -1.7, 1.7);
    zn_fill(zn_tensor_data(e), "zen_b", o->seed, zn_tensor_count(e), -1.7, 1.7);
    for (k = 0; k < zn_tensor_count(x); ++k) zn_tensor_data(e)[k] = (zn_real)((double)zn_tensor_data(x)[k] + o->gamma * (double)zn_tensor_data(e)[k]);
    a = zn_net_features(net, x, 1);
    b = zn_net_features(net, e, 1);
    for (k = 0; k < zn_tensor_count(a); ++k) sum += fabs((double)zn_tensor_data(a)[k] - (double)zn_tensor_data(b)[k]);
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        double mean = 0.0;
        if (strstr(zn_tensor_name(t), "running_var") == NULL) continue;
        for (k = 0; k < zn_tensor_count(t); ++k) mean += (double)zn_tensor_data(t)[k] / (double)zn_tensor_count(t);
        norms += 0.5 * log(mean);
    }
    zn_tape_clear(ctx);
    zn_net_destroy(net);
    zn_tensor_destroy(x);
    zn_tensor_destroy(e);
    return log(sum / o->batch) + norms;
}
static void test_zen_against_network(zn_ctx *ctx) {
    static const char *const texts[] = {
        TINY, "SuperConvK3BNRELU(3,8,1,1)SuperResK1K5K1(8,24,2,8,2)SuperConvK1BNRELU(24,40,1,1)",
        "RELU(3)BN(3)RELU(3)BN(3)BN(3)ConvKX(3,8,3,2)RELU(8)RELU(8)ConvDW(8,3,1)BN(8)",
        "ConvKX(3,8,3,2)BN(8)ResBlock(8,1,BN(8)RELU(8)ConvKX(8,8,3,1)BN(8))RELU(8)MaxPool(8,3,2)ConvKX(8,8,1,1)",
        "ConvKX(3,8,3,1)BN(8)Swish(8)SE(8)ResBlockProj(8,2,ConvKX(8,16,3,2)BN(16))RELU(16)ConvKX(16,8,1,1)",
        "ConvKX(3,8,3,2)BN(8)RELU(8)MultiCatBlock(BN(8)RELU(8);ConvKX(8,4,1,1)BN(4))RELU(12)Sequential(ConvKX(12,8,3,1)BN(8)RELU(8))"};
    size_t i;
    for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
        zn_score_opts o = small_opts(ZN_SCORE_ZEN);
        double want = plain_zen(ctx, texts[i], &o), got;
        o.golden = 1;
        got = score_of(ctx, texts[i], &o).mean;
        CHECK_FOR(fabs(got - want) <= 2e-5 * fabs(want), texts[i]);
    }
}

static void test_figures(zn_ctx *ctx) { /* specification sections 6 and 7 */
    static const struct { const char *name; double effective, depth, entropy; } rows[] = {
        {"zennet-m", 0.902685357003, 55.1159, 3445.7592}, {"zennet-r", 0.617299884128, 272.9908, 2129.9389}};
    size_t i;
    for (i = 0; i < 2; ++i) {
        zn_structure *s = NULL;
        zn_score_opts o = zn_score_opts_default();
        zn_count count;
        zn_net_opts n = zn_net_opts_default();
        double effective = 0.0;
        o.kind = ZN_SCORE_DEEPMAD;
        CHECK(zn_structure_parse(ctx, rows[i].name, &s) == ZN_OK && zn_structure_effective_score(s, &effective) == ZN_OK);
        CHECK_FOR(fabs(effective - rows[i].effective) < 1e-9, rows[i].name);
        CHECK_FOR(fabs(zn_structure_depth_penalty(s) - rows[i].depth) < 1e-4, rows[i].name);
        CHECK_FOR(fabs(score_of(ctx, rows[i].name, &o).mean - rows[i].entropy) < 1e-4, rows[i].name);
        n.attention = ZN_ATTENTION_NONE;
        n.reslink = 0;
        CHECK(zn_structure_count(s, &n, 224, &count) == ZN_OK);
        o.kind = ZN_SCORE_FLOPS;
        CHECK(score_of(ctx, rows[i].name, &o).mean == count.budget_flops);
        o.kind = ZN_SCORE_PARAMS;
        CHECK(score_of(ctx, rows[i].name, &o).mean == count.budget_params);
        zn_structure_destroy(s);
    }
}

static void test_repeats(zn_ctx *ctx) {
    int kind;
    for (kind = 0; zn_score_text((zn_score_kind)kind) != NULL; ++kind) {
        const char *name = zn_score_text((zn_score_kind)kind);
        zn_score_opts o = small_opts((zn_score_kind)kind);
        zn_score_result once, again, many;
        CHECK_FOR(zn_score_parse(name) == kind, name);
        once = score_of(ctx, TINY, &o);
        again = score_of(ctx, TINY, &o);
        CHECK_FOR(once.mean == again.mean && once.repeat == 1 && once.std == 0.0 && once.failed == 0, name);
        o.repeat = 5;
        many = score_of(ctx, TINY, &o);
        CHECK_FOR(many.repeat == 5 && many.failed == 0 && fabs(many.half_width - 1.96 * many.std / sqrt(5.0)) < 1e-12, name);
        if (kind == ZN_SCORE_ZEN_EXPECTED || kind == ZN_SCORE_FLOPS || kind == ZN_SCORE_PARAMS || kind == ZN_SCORE_DEEPMAD) CHECK_FOR(many.std == 0.0 && many.mean == once.mean, name);
        else if (kind != ZN_SCORE_SYNFLOW) CHECK_FOR(many.std > 0.0, name);
        o.repeat = 1;
        o.seed = 4;
        again = score_of(ctx, TINY, &o);
        if (many.std > 0.0) CHECK_FOR(again.mean != once.mean, name);
    }
    CHECK(kind == 11 && zn_score_parse("zen_published") == -1 && zn_score_parse(NULL) == -1);
}

/* Formulas against draws. A first convolution is linear in the images, so there they must agree but for chance; behind norms
   and ReLUs the draws drift off (neighbouring values of a map are not independent), but in the same way for all. */
static void test_expected(zn_ctx *ctx) {
    static const char *const rows[] = {"SuperConvK3BNRELU(3,64,2,1)", "SuperConvK5BNRELU(3,64,1,1)", "ConvKX(3,64,3,1)BN(64)", "ConvKX(3,64,3,2)RELU(64)", "SuperConvK3BNRELU(3,64,2,1)SuperConvK3BNRELU(64,64,1,2)",
                                       "SuperConvK3BNRELU(3,32,2,1)SuperResK3K3(32,64,2,64,2)", "SuperConvK3BNRELU(3,32,2,1)SuperResIDWE2K5(32,64,2,64,1)"};
    static const double within[] = {0.02, 0.02, 0.02, 0.02, 0.03, 0.1, 0.05};
    zn_score_opts o = small_opts(ZN_SCORE_ZEN), f = small_opts(ZN_SCORE_ZEN_EXPECTED);
    zn_score_result r;
    double small, large;
    size_t i;
    o.batch = f.batch = 8;
    o.resolution = f.resolution = 32;
    o.repeat = 16;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        double drawn = score_of(ctx, rows[i], &o).mean, expected = score_of(ctx, rows[i], &f).mean;
        CHECK_FOR(fabs(drawn - expected) < within[i], rows[i]);
    }
    small = score_of(ctx, "zennet-r", &f).mean;
    f.gamma = 1e-9; /* the disturbance enters as its logarithm, and nothing cancels */
    large = score_of(ctx, rows[0], &f).mean;
    f.gamma = 1e-3;
    CHECK(fabs(score_of(ctx, rows[0], &f).mean - large - log(1e6)) < 1e-5);
    f = small_opts(ZN_SCORE_ZEN_EXPECTED);
    f.resolution = 224;
    CHECK(score_of(ctx, "zennet-r", &f).mean > small && score_of(ctx, "zennet-m", &f).mean > score_of(ctx, "zennet-r", &f).mean);
    f.batch = 1;
    f.resolution = 2; /* one value per channel, as a drawn score refuses it */
    r = score_of(ctx, "SuperConvK3BNRELU(3,8,2,1)", &f);
    CHECK(r.failed == 1 && r.mean == ZN_SCORE_WORST);
    CHECK(zn_score(ctx, "SuperConvK3BNRELU(3,8,2,1)MaxPool(8,3,2)", &f, &r) == ZN_ERROR_UNSUPPORTED);
    CHECK_HOLDS(zn_error_text(ctx), "no formula for max_pool; use zen");
    zn_error_clear(ctx);
}

/* The draws of a seed are normal: mean 0, variance 1, fourth moment 3, tails of the right weight. */
static void test_normals(void) {
    enum { COUNT = 400000 };
    static zn_real values[COUNT];
    zni_ziggurat z;
    zn_rng rng = zn_rng_seed(5);
    double m1 = 0.0, m2 = 0.0, m4 = 0.0, beyond2 = 0.0, beyond35 = 0.0;
    int i;
    zni_ziggurat_make(&z);
    zni_normals(&z, &rng, values, COUNT, 2.0);
    for (i = 0; i < COUNT; ++i) {
        double x = (double)values[i] / 2.0;
        m1 += x / COUNT;
        m2 += x * x / COUNT;
        m4 += x * x * x * x / COUNT;
        beyond2 += fabs(x) > 2.0;
        beyond35 += fabs(x) > 3.5;
    }
    CHECK(fabs(m1) < 0.008 && fabs(m2 - 1.0) < 0.012 && fabs(m4 - 3.0) < 0.1);
    CHECK(fabs(beyond2 / COUNT - 0.0455) < 0.0015);
    CHECK(fabs(beyond35 - 186.1) < 60.0); /* 0.00046526 of them */
}

static void test_threads(zn_ctx *ctx) {
#ifdef _OPENMP
    int kind, before = omp_get_max_threads();
    for (kind = 0; kind <= ZN_SCORE_TENAS; ++kind) {
        zn_score_opts o = small_opts((zn_score_kind)kind);
        double one, three;
        o.resolution = 32;
        omp_set_num_threads(1);
        one = score_of(ctx, TINY, &o).mean;
        omp_set_num_threads(3);
        three = score_of(ctx, TINY, &o).mean;
        CHECK_FOR(one == three, zn_score_text((zn_score_kind)kind));
    }
    omp_set_num_threads(before);
#else
    (void)ctx;
    check_skip("threads: built without OpenMP");
#endif
}

static void test_cannot_be_computed(zn_ctx *ctx) {
    zn_score_opts o = small_opts(ZN_SCORE_ZEN);
    zn_score_result r;
    o.batch = 1;
    o.repeat = 2;
    r = score_of(ctx, TINY "ConvKX(24,8,1,16)BN(8)", &o); /* one value per channel */
    CHECK(r.failed == 2 && r.mean == ZN_SCORE_WORST && r.std == 0.0);
    r = score_of(ctx, "ConvKX(3,8,3,2)SE(8)ConvKX(8,8,1,1)", &o); /* the norms inside of SE see one value each */
    CHECK(r.failed == 2);
    o.batch = 2;
    r = score_of(ctx, TINY, &o);
    CHECK(r.failed == 0);
    o.kind = ZN_SCORE_NASWOT;
    r = score_of(ctx, "ConvKX(3,8,3,2)", &o); /* no ReLU: a kernel of zeros */
    CHECK(r.failed == 2 && r.mean == ZN_SCORE_WORST);
    o.kind = ZN_SCORE_ZEN;
    o.gamma = 1e-30;
    r = score_of(ctx, TINY, &o); /* x + gamma e is x: the logarithm of 0 */
    CHECK(r.failed == 2);
    CHECK(zn_error_code(ctx) == ZN_OK);
}

static void check_refused(zn_ctx *ctx, const char *text, const zn_score_opts *o, zn_result result, const char *reason) {
    zn_score_result r;
    CHECK_FOR(zn_score(ctx, text, o, &r) == result, reason);
    CHECK_HOLDS(zn_error_text(ctx), reason);
    zn_error_clear(ctx);
}
static void test_refused(zn_ctx *ctx) {
    int targets[4] = {0, 1, 7, 0};
    zn_score_opts o = small_opts(ZN_SCORE_ZEN), good = o;
    zn_score_result r;
    double v;
    check_refused(ctx, "SuperConvK3BNRELU(3,8,2,1)x", &o, ZN_ERROR_STRUCTURE, "column 27");
    o.resolution = 4;
    check_refused(ctx, "ConvKX(3,8,1,2)ConvKX(8,8,4,1)ConvKX(8,8,4,1)", &o, ZN_ERROR_STRUCTURE, "resolution too small");
    o = good;
    o.kind = (zn_score_kind)11;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "unknown score 11");
    o = good;
    o.batch = 0;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "batch 0");
    o = good;
    o.repeat = -1;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "repeat -1");
    o = good;
    o.classes = ZN_MAX_CLASSES + 1;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "classes");
    o = good;
    o.gamma = 0.0;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "gamma");
    o = small_opts(ZN_SCORE_GRADNORM);
    o.targets = targets;
    check_refused(ctx, TINY, &o, ZN_ERROR_ARGUMENT, "target 7 of image 2");
    CHECK(zn_score(ctx, NULL, NULL, &r) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    CHECK(zn_score(NULL, TINY, NULL, &r) == ZN_ERROR_ARGUMENT);
    CHECK(zn_structure_effective_score(NULL, &v) == ZN_ERROR_ARGUMENT && zn_structure_depth_penalty(NULL) == 0.0);
}

/* A scorer that is kept scores as a new one does, whatever it scored before, and after an error too. */
static void test_scorer(zn_ctx *ctx, zn_score_kind kind) {
    static const char *const texts[] = {TINY, "ConvKX(3,8,3,2)BN(8)RELU(8)ConvKX(8,8,1,1)", "SuperConvK3BNRELU(3,32,1,1)SuperResK3K3(32,32,1,32,2)", TINY};
    zn_score_opts o = small_opts(kind);
    zn_scorer *s = NULL;
    zn_score_result r;
    int i;
    o.repeat = 2;
    CHECK(zn_scorer_create(ctx, &o, &s) == ZN_OK);
    for (i = 0; i < 4; ++i) {
        CHECK(zn_scorer_run(s, "SuperConvK3BNRELU(3,8,2,1)x", &r) == ZN_ERROR_STRUCTURE && zn_scorer_run(s, texts[i], &r) == ZN_ERROR_STRUCTURE);
        zn_error_clear(ctx);
        CHECK_FOR(zn_scorer_run(s, texts[i], &r) == ZN_OK && r.repeat == 2 && r.mean == score_of(ctx, texts[i], &o).mean, texts[i]);
    }
    CHECK(zn_scorer_run(s, NULL, &r) == ZN_ERROR_ARGUMENT && zn_error_code(ctx) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    zn_scorer_destroy(s);
    zn_scorer_destroy(NULL);
    CHECK(zn_scorer_run(NULL, TINY, &r) == ZN_ERROR_ARGUMENT && zn_scorer_create(NULL, &o, &s) == ZN_ERROR_ARGUMENT && s == NULL);
    o.batch = 0;
    CHECK(zn_scorer_create(ctx, &o, &s) == ZN_ERROR_ARGUMENT && s == NULL);
    zn_error_clear(ctx);
}
/* The same when memory runs out anywhere in it. */
static void test_scorer_memory(zn_score_kind kind) {
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    zn_score_opts o = small_opts(kind);
    zn_scorer *s = NULL;
    zn_score_result r;
    long n, wrong = 0;
    double want;
    o.resolution = 8;
    want = score_of(ctx, TINY, &o).mean;
    CHECK(zn_scorer_create(ctx, &o, &s) == ZN_OK);
    for (n = 0; n < 100000; ++n) {
        zn_result result;
        f.left = n;
        result = zn_scorer_run(s, TINY, &r);
        f.left = -1;
        if (result == ZN_OK) break;
        if (result != ZN_ERROR_MEMORY || zn_error_code(ctx) != result) ++wrong;
        zn_error_clear(ctx);
        if (n % 7 == 0 && (zn_scorer_run(s, TINY, &r) != ZN_OK || r.mean != want)) ++wrong;
    }
    CHECK_FOR(wrong == 0 && n > 3 && r.mean == want, zn_score_text(kind));
    zn_scorer_destroy(s);
    CHECK(f.live == 1);
    zn_ctx_destroy(ctx);
    CHECK(f.live == 0);
}

/* Every nth allocation fails in turn: an error, nothing left behind, and the next try works. */
static void test_memory(zn_score_kind kind) {
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    zn_score_opts o = small_opts(kind);
    zn_score_result r;
    long n, wrong = 0;
    double want;
    o.resolution = 8;
    want = score_of(ctx, TINY, &o).mean;
    for (n = 0; n < 100000; ++n) {
        zn_result result;
        f.left = n;
        result = zn_score(ctx, TINY, &o, &r);
        if (f.live != 1 || zn_error_code(ctx) != result) ++wrong;
        if (result == ZN_OK) break;
        if (result != ZN_ERROR_MEMORY) ++wrong;
        zn_error_clear(ctx);
    }
    CHECK_FOR(wrong == 0 && n > 3 && n < 100000, zn_score_text(kind));
    CHECK(r.mean == want);
    zn_ctx_destroy(ctx);
    CHECK(f.live == 0);
}

int main(void) {
    zn_ctx *ctx = NULL;
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    test_zen_against_network(ctx);
    test_figures(ctx);
    test_repeats(ctx);
    test_expected(ctx);
    test_normals();
    test_threads(ctx);
    test_cannot_be_computed(ctx);
    test_refused(ctx);
    test_scorer(ctx, ZN_SCORE_ZEN);
    test_scorer(ctx, ZN_SCORE_GRADNORM);
    test_scorer(ctx, ZN_SCORE_NASWOT);
    zn_ctx_destroy(ctx);
    test_scorer_memory(ZN_SCORE_ZEN);
    test_scorer_memory(ZN_SCORE_GRADNORM);
    test_memory(ZN_SCORE_ZEN);
    test_memory(ZN_SCORE_NASWOT);
    test_memory(ZN_SCORE_TENAS);
    test_memory(ZN_SCORE_RANDOM);
    return check_done();
}
