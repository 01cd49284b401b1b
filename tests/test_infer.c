/* test_infer.c - sessions against the network's own forward pass: the golden networks, every block, random structures;
   threads, memory, pictures, class maps. `test_infer --model FILE` writes the model that test_infer.sh uses. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"

#define TOLERANCE (sizeof(zn_real) == sizeof(double) ? 1e-9 : 1e-4)

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}
/* Values that make every tensor matter: variances and norm weights about 1, everything else about 0. */
static void fill_net(zn_net *net, uint64_t seed) {
    int i;
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        const char *name = zn_tensor_name(t);
        double scale = zn_tensor_shape(t).dims == 4 ? 1.7 / sqrt((double)zn_tensor_count(t) / zn_tensor_shape(t).n[0]) : 0.5;
        int near1 = ends_with(name, "running_var") || ends_with(name, ".scale") || (zn_tensor_shape(t).dims == 1 && ends_with(name, ".weight"));
        zn_fill(zn_tensor_data(t), name, seed, zn_tensor_count(t), near1 ? 0.5 : -scale, near1 ? 1.5 : scale);
    }
}
static zn_net *make_net(zn_ctx *ctx, const zn_net_opts *opts, uint64_t seed) {
    zn_net *net = NULL;
    if (zn_net_create(ctx, opts, &net) != ZN_OK) return NULL;
    fill_net(net, seed);
    return net;
}
static zn_real *make_input(int batch, int r, uint64_t seed) {
    size_t count = (size_t)batch * 3 * (size_t)r * (size_t)r;
    zn_real *x = (zn_real *)malloc(count * sizeof(zn_real));
    if (x != NULL) zn_fill(x, "input", seed, count, -2.0, 2.0);
    return x;
}
/* max |a - b| / max |b|; 1e30 when something is not a number. */
static double distance(const zn_real *a, const zn_real *b, int count) {
    double worst = 0.0, scale = 1e-30;
    int i;
    for (i = 0; i < count; ++i) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d < 1e30)) return 1e30;
        if (d > worst) worst = d;
        if (fabs((double)b[i]) > scale) scale = fabs((double)b[i]);
    }
    return worst / scale;
}

/* A session's logits for batch images of r x r, in fresh memory; NULL on errors. */
static zn_real *session_logits(zn_net *net, const zn_real *x, int batch, int r, int threads) {
    zn_session_opts opts = zn_session_opts_default();
    zn_session *s = NULL;
    zn_real *logits = (zn_real *)malloc((size_t)batch * (size_t)zn_net_get_opts(net)->classes * sizeof(zn_real));
    opts.batch = batch;
    opts.resolution = r;
    opts.threads = threads;
    opts.picture_side = 0;
    if (logits == NULL || zn_session_create(net, &opts, &s) != ZN_OK || zn_session_run(s, x, batch, logits) != ZN_OK) {
        free(logits);
        logits = NULL;
    }
    zn_session_destroy(s);
    return logits;
}
/* The network's forward pass is the definition. */
static void check_against_forward(zn_net *net, int batch, int r, const char *which) {
    zn_ctx *ctx = zn_net_ctx(net);
    int count = batch * zn_net_get_opts(net)->classes;
    zn_real *x = make_input(batch, r, 5), *one = session_logits(net, x, batch, r, 1), *three = session_logits(net, x, batch, r, 3);
    zn_tensor *in, *y;
    zn_no_grad_begin(ctx);
    in = zn_tensor_from(ctx, zn_shape4(batch, 3, r, r), x);
    y = zn_net_forward(net, in, 0);
    CHECK_FOR((y != NULL) == (one != NULL), which);
    if (y != NULL && one != NULL && three != NULL) {
        CHECK_FOR(distance(one, zn_tensor_data(y), count) <= TOLERANCE, which);
        CHECK_FOR(memcmp(one, three, (size_t)count * sizeof(zn_real)) == 0, which);
    }
    zn_no_grad_end(ctx);
    zn_tape_clear(ctx);
    zn_tensor_destroy(in);
    free(x);
    free(one);
    free(three);
}

/* ---- the golden networks ---- */
static char line[1 << 16];
static int read_case(const char *path, zn_net_opts *o, char *structure, int *batch, int *r, uint64_t *seed) {
    FILE *file = fopen(path, "r");
    char key[64], word[1024];
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL && strncmp(line, "fill", 4) != 0) {
        if (sscanf(line, "%63s %1023s", key, word) != 2) continue;
        if (strcmp(key, "structure") == 0) strcpy(structure, word);
        if (strcmp(key, "classes") == 0) o->classes = atoi(word);
        if (strcmp(key, "attention") == 0) o->attention = (zn_attention)zn_attention_parse(word);
        if (strcmp(key, "lw_att") == 0) o->lw_att = atoi(word);
        if (strcmp(key, "reslink") == 0) o->reslink = atoi(word);
        if (strcmp(key, "batch") == 0) *batch = atoi(word);
        if (strcmp(key, "resolution") == 0) *r = atoi(word);
        if (strcmp(key, "seed") == 0) *seed = strtoul(word, NULL, 10);
    }
    o->structure = structure;
    fclose(file);
    return 1;
}
static void check_golden(zn_ctx *ctx, const char *path) {
    zn_net_opts o = zn_net_opts_default();
    char structure[1024], name[256];
    int batch = 1, r = 32, classes, b, i;
    uint64_t seed = 1;
    zn_net *net = NULL;
    zn_real *x, *logits, *want;
    FILE *file;
    CHECK_FOR(read_case(path, &o, structure, &batch, &r, &seed), path);
    CHECK_FOR(zn_net_create(ctx, &o, &net) == ZN_OK, path);
    file = fopen(path, "r");
    classes = o.classes;
    want = (zn_real *)calloc((size_t)(batch * classes), sizeof(zn_real));
    while (net != NULL && file != NULL && fgets(line, sizeof line, file) != NULL) {
        int count, at;
        double lo, hi;
        if (sscanf(line, "fill %255s %d %lf %lf", name, &count, &lo, &hi) == 4) {
            zn_tensor *t = zn_net_find(net, name);
            CHECK_FOR(t != NULL && zn_tensor_count(t) == (size_t)count, name);
            if (t != NULL) zn_fill(zn_tensor_data(t), name, seed, (size_t)count, lo, hi);
        } else if (sscanf(line, "eval_logits %d%n", &b, &at) == 1) {
            char *p = line + at;
            for (i = 0; i < classes; ++i) want[b * classes + i] = (zn_real)strtod(p, &p);
        }
    }
    x = make_input(batch, r, seed);
    logits = net != NULL ? session_logits(net, x, batch, r, 2) : NULL;
    CHECK_FOR(logits != NULL && distance(logits, want, batch * classes) <= TOLERANCE, path);
    if (file != NULL) fclose(file);
    free(x);
    free(logits);
    free(want);
    zn_net_destroy(net);
}

/* ---- every block, and random ones ---- */
static const char *const every_block[] = {
    "SuperConvK3BNRELU(3,8,1,1)", "SuperConvK7BNRELU(3,20,4,2)", "BN(3)SE(3)ConvKX(3,8,3,1)", "RELU(3)ConvKX(3,8,3,1)SA(8,2)", "Swish(3)BN(3)",
    "SE(3)", "ResBlock(3,1,BN(3))ConvKX(3,16,1,1)", "MultiCatBlock(BN(3);ConvKX(3,5,3,1);SE(3))ConvKX(11,8,3,2)",
    "MultiSumBlock(ConvKX(3,3,3,1);BN(3))ConvKX(3,9,1,2)BN(9)", "MultiSumBlock(BN(3);ConvKX(3,3,3,1);RELU(3))MaxPool(3,3,2)",
    "SuperConvK1BNRELU(3,24,2,1)SuperResK3K3(24,40,2,24,2)", "SuperConvK3BNRELU(3,8,2,1)SuperResK1K5K1(8,32,2,16,2)SuperResK5K5(32,8,1,8,1)",
    "SuperConvK1BNRELU(3,24,2,1)SuperResIDWE1K5(24,24,1,40,1)SuperResIDWE1K7(24,72,2,40,2)", "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE1K3(8,24,1,16,1)SuperResIDWE6K7(24,16,2,24,1)SuperConvK1BNRELU(16,48,1,1)",
    "ConvKX(3,16,3,2)BN(16)RELU(16)ConvKXG2(16,24,3,1)BN(24)RELU(24)ConvKXG8(24,16,5,2)SE(16)ConvKXG16(16,16,3,1)Swish(16)",
    "ConvKX(3,8,2,2)ConvDW(8,4,1)BN(8)RELU(8)SA(8,4)ConvKX(8,16,2,3)", "ConvKX(3,12,5,3)ConvDW(12,5,2)SA(12,3)ConvKX(12,8,3,1)RELU(8)",
    "ConvKX(3,8,3,1)MaxPool(8,3,2)AdaptiveAvgPool(8,5)ConvKX(8,8,3,1)SE(8)MaxPool(8,2,1)",
    "ConvKX(3,8,3,1)ResBlock(8,1,SA(8,1)ConvKX(8,8,3,1)BN(8))RELU(8)ResBlockProj(8,2,ConvDW(8,3,2))ResBlock(8,1,Sequential(BN(8)Swish(8)))",
    "ConvKX(3,8,3,1)ResBlock(8,1,ConvKX(8,8,3,1)SA(8,2))ResBlock(8,1,SE(8))BN(8)BN(8)RELU(8)RELU(8)",
    "ConvKX(3,16,1,1)MultiCatBlock(SA(16,4);ConvKX(16,3,3,1);Sequential(ConvDW(16,3,1)BN(16)RELU(16)SA(16,4)ConvKX(16,8,1,1)))ConvKX(27,16,3,2)",
    "ConvKX(3,16,3,2)ResBlock(16,1,MultiSumBlock(ConvKX(16,16,3,1);Sequential(ConvKX(16,8,1,1)ConvKX(8,16,3,1));BN(16)))RELU(16)"};
static void test_blocks(zn_ctx *ctx) {
    static const int sizes[] = {9, 16, 23, 62};
    size_t i;
    for (i = 0; i < sizeof every_block / sizeof every_block[0]; ++i) {
        zn_net_opts o = zn_net_opts_default();
        int attention, r = sizes[i % 4], switches;
        o.structure = every_block[i];
        for (attention = 0; attention < 3; ++attention)
            for (switches = 0; switches < 4; ++switches) {
                zn_net *net;
                if (switches > 0 && strstr(every_block[i], "Super") == NULL) continue;
                o.attention = (zn_attention)attention;
                o.bn = switches % 2 == 0;
                o.reslink = switches / 2 == 0;
                o.classes = 3 + switches;
                net = make_net(ctx, &o, i);
                CHECK_FOR(net != NULL, every_block[i]);
                if (net != NULL) check_against_forward(net, 1 + (int)i % 3, r, every_block[i]);
                zn_error_clear(ctx);
                zn_net_destroy(net);
            }
    }
}
/* A chain of random blocks; appends to text, returns the channels it ends in. */
static int random_blocks(zn_rng *rng, char *text, int channels, int count, int depth) {
    for (; count > 0; --count) {
        char *end = text + strlen(text);
        int kind = (int)zn_rng_below(rng, depth > 0 ? 14 : 11), out = 1 + (int)zn_rng_below(rng, 40), k = 1 + 2 * (int)zn_rng_below(rng, 3), s = 1 + (int)zn_rng_below(rng, 2);
        int eight = 8 * (1 + (int)zn_rng_below(rng, 4));
        switch (kind) {
        case 0: sprintf(end, "ConvKX(%d,%d,%d,%d)", channels, out, k, s); channels = out; break;
        case 1: sprintf(end, "ConvDW(%d,%d,%d)", channels, k, s); break;
        case 2: sprintf(end, "BN(%d)", channels); break;
        case 3: sprintf(end, "RELU(%d)", channels); break;
        case 4: sprintf(end, "Swish(%d)", channels); break;
        case 5: sprintf(end, "SE(%d)", channels); break;
        case 6: if (channels % 4 == 0) sprintf(end, "SA(%d,2)", channels); break;
        case 7: sprintf(end, "SuperResK1K%dK1(%d,%d,%d,%d,1)", k < 3 ? 3 : k, channels, out, s, eight); channels = out; break;
        case 8: sprintf(end, "SuperResIDWE%dK%d(%d,%d,%d,%d,1)", 2 * s, k < 3 ? 3 : k, channels, out, s, eight); channels = out; break;
        case 9: sprintf(end, "SuperConvK%dBNRELU(%d,%d,1,1)", k, channels, out); channels = out; break;
        case 10: sprintf(end, "MaxPool(%d,3,1)", channels); break;
        default:
            sprintf(end, kind == 11 ? "ResBlockProj(%d,1,ConvKX(%d,%d,%d,1)" : kind == 12 ? "MultiCatBlock(Sequential(BN(%d)RELU(%d));ConvKX(%d,%d,3,1)" : "MultiSumBlock(ConvKX(%d,%d,%d,1);ConvKX(", channels, channels,
                    kind == 13 ? 3 : channels, kind == 12 ? out : k);
            if (kind == 11) {
                sprintf(end + strlen(end), "BN(%d)", channels);
            } else if (kind == 12) channels += out;
            else sprintf(end + strlen(end), "%d,%d,1,1)", channels, channels);
            strcat(end, ")");
        }
    }
    return channels;
}
static void test_random(zn_ctx *ctx, int count) {
    zn_rng rng = zn_rng_seed(11);
    int i;
    for (i = 0; i < count; ++i) {
        zn_net_opts o = zn_net_opts_default();
        char text[4096] = "";
        zn_net *net;
        random_blocks(&rng, text, 3, 2 + (int)zn_rng_below(&rng, 5), 1);
        o.structure = text;
        o.classes = 1 + (int)zn_rng_below(&rng, 9);
        o.attention = (zn_attention)zn_rng_below(&rng, 3);
        o.bn = zn_rng_below(&rng, 4) > 0;
        o.reslink = zn_rng_below(&rng, 4) > 0;
        net = make_net(ctx, &o, (uint64_t)i);
        CHECK_FOR(net != NULL, text[0] != '\0' ? zn_error_text(ctx) : "an empty structure");
        if (net != NULL) check_against_forward(net, 1 + i % 5, 7 + (int)zn_rng_below(&rng, 20), text);
        zn_error_clear(ctx);
        zn_net_destroy(net);
    }
}
static void test_named(zn_ctx *ctx) {
    static const char *const few[] = {"ConvKX(3,8,3,1)ResBlock(8,1,ConvKX(8,8,3,1)BN(8))RELU(8)",
                                      "ConvKX(3,8,1,2)BN(8)RELU(8)ResBlock(8,1,ConvKX(8,5,3,1)RELU(5)ConvKX(5,8,7,1)SA(8,2))ConvKX(8,13,2,1)ConvKX(13,3,4,2)"}; /* outputs, of long lines */
    zn_net_opts o = zn_net_opts_default();
    int lw, i;
    for (i = 0; i < 2; ++i) {
        zn_net *net;
        o.structure = few[i];
        net = make_net(ctx, &o, 4);
        check_against_forward(net, 2, 120, few[i]);
        check_against_forward(net, 1, 116, few[i]);
        zn_net_destroy(net);
    }
    for (lw = 0; lw < 2; ++lw) {
        zn_net *net;
        o.lw_att = lw;
        o.structure = lw ? "zennet-r" : "zennet-m";
        net = make_net(ctx, &o, 3);
        check_against_forward(net, 2, 64, o.structure);
        check_against_forward(net, 1, 120, o.structure); /* lines of 120, 60, 30 pixels */
        zn_net_destroy(net);
    }
}

/* ---- memory ---- */
static zn_net *small_net(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    o.structure = "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE2K3(16,24,2,16,1)SuperResK3K3(24,32,1,16,1)SuperConvK1BNRELU(32,64,1,1)";
    return make_net(ctx, &o, 9);
}
static void test_memory(void) {
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    zn_net *net = small_net(ctx);
    zn_session_opts opts = zn_session_opts_default();
    zn_session *s = NULL, *in = NULL;
    size_t bytes = 0, before;
    unsigned char *memory, *guard;
    zn_real *x = make_input(4, 40, 1), a[28], b[28];
    long calls;
    opts.batch = 4;
    opts.resolution = 40;
    opts.threads = 2;
    CHECK(zn_session_bytes(net, &opts, &bytes) == ZN_OK && bytes > 0);
    before = zn_memory_now(ctx);
    CHECK(zn_session_create(net, &opts, &s) == ZN_OK);
    CHECK(zn_memory_now(ctx) - before <= bytes && zn_memory_now(ctx) - before + 64 > bytes);
    memory = (unsigned char *)malloc(bytes + 64 + 3);
    memset(memory, 0xa5, bytes + 64 + 3);
    guard = memory + 3 + bytes; /* any alignment will do, and nothing past the end is touched */
    CHECK(zn_session_create_in(net, &opts, memory + 3, bytes, &in) == ZN_OK);
    calls = f.calls;
    CHECK(zn_session_run(s, x, 4, a) == ZN_OK && zn_session_run(in, x, 4, b) == ZN_OK);
    CHECK(memcmp(a, b, sizeof a) == 0);
    CHECK(guard[0] == 0xa5 && guard[63] == 0xa5 && memory[0] == 0xa5 && memory[2] == 0xa5);
    CHECK(zn_session_run(s, x + 3 * 40 * 40, 2, b) == ZN_OK && memcmp(a + 7, b, 14 * sizeof(zn_real)) == 0); /* whatever the batch */
    CHECK(zn_session_run(s, x, 5, b) == ZN_ERROR_ARGUMENT && zn_session_run(s, x, 0, b) == ZN_ERROR_ARGUMENT && zn_session_run(NULL, x, 1, b) == ZN_ERROR_ARGUMENT);
    CHECK(f.calls == calls);
    zn_session_destroy(in);
    CHECK(zn_session_create_in(net, &opts, memory, bytes - 1, &in) == ZN_ERROR_ARGUMENT && in == NULL);
    CHECK_HOLDS(zn_error_text(ctx), "bytes");
    zn_error_clear(ctx);
    zn_session_destroy(s);
    free(memory);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    free(x);
    CHECK(f.live == 0);
}
static void test_no_memory(void) {
    long n;
    zn_result result = ZN_ERROR_MEMORY;
    for (n = 1; result == ZN_ERROR_MEMORY && n < 1000; ++n) {
        failing f;
        zn_ctx *ctx = failing_context(&f, -1);
        zn_net *net = small_net(ctx);
        zn_session *s = NULL;
        long live = f.live;
        f.left = n - 1;
        result = zn_session_create(net, NULL, &s);
        CHECK(result == ZN_OK || (result == ZN_ERROR_MEMORY && s == NULL && f.live == live));
        zn_session_destroy(s);
        zn_net_destroy(net);
        zn_ctx_destroy(ctx);
        CHECK(f.live == 0);
    }
    CHECK(result == ZN_OK && n > 5);
}
static void test_refused(zn_ctx *ctx) {
    static const zn_session_opts bad[] = {{0, 0, 0, 0}, {1, -1, 0, 0}, {1, 100000, 0, 0}, {1, 0, -1, 0}, {1, 0, 5000, 0}, {1, 0, 0, -1}, {1, 0, 0, 70000}, {70000, 0, 0, 0}};
    zn_net *net = small_net(ctx);
    zn_net_opts o = zn_net_opts_default();
    zn_session *s = NULL;
    size_t i, bytes;
    for (i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        CHECK(zn_session_create(net, &bad[i], &s) == ZN_ERROR_ARGUMENT && s == NULL);
        CHECK_HOLDS(zn_error_text(ctx), "session: ");
        zn_error_clear(ctx);
        CHECK(zn_session_bytes(net, &bad[i], &bytes) == ZN_ERROR_ARGUMENT && bytes == 0);
        zn_error_clear(ctx);
    }
    CHECK(zn_session_create(NULL, NULL, &s) == ZN_ERROR_ARGUMENT && zn_session_create(net, NULL, NULL) == ZN_ERROR_ARGUMENT);
    CHECK(zn_session_create_in(net, NULL, NULL, 0, &s) == ZN_ERROR_ARGUMENT && zn_session_bytes(net, NULL, NULL) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    zn_net_destroy(net);
    o.structure = "ConvKX(3,8,3,2)ConvKX(8,8,6,1)";
    net = make_net(ctx, &o, 1);
    CHECK(zn_session_create(net, NULL, &s) == ZN_OK);
    zn_session_destroy(s);
    {
        zn_session_opts opts = zn_session_opts_default();
        opts.resolution = 2;
        CHECK(zn_session_create(net, &opts, &s) == ZN_ERROR_ARGUMENT && s == NULL);
        CHECK_HOLDS(zn_error_text(ctx), "column 16");
        zn_error_clear(ctx);
    }
    zn_net_destroy(net);
    zn_session_destroy(NULL);
}

/* ---- pictures and class maps ---- */
static void check_cam(zn_ctx *ctx, zn_net *net, zn_session *s, const zn_real *x, int r) {
    /* what it is by definition: the features weighted with the mean of the logit's gradient, by the network's own head */
    int f = zn_session_map_size(s), classes = zn_session_classes(s), i, c, channels;
    zn_real *map = (zn_real *)malloc((size_t)(f * f) * sizeof(zn_real)), *want = (zn_real *)calloc((size_t)(f * f), sizeof(zn_real)), *logits = (zn_real *)malloc((size_t)classes * sizeof(zn_real));
    zn_tensor *in = zn_tensor_from(ctx, zn_shape4(1, 3, r, r), x), *features, *loss;
    CHECK(zn_session_run(s, x, 1, logits) == ZN_OK && zn_session_grad_cam(s, 1, map) == ZN_OK);
    {
        zn_session *fresh = NULL;
        static const unsigned char gray[12] = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
        zn_real *bias = zn_tensor_data(zn_net_tensor(net, zn_net_tensor_count(net) - 1)), old = bias[0];
        int best;
        CHECK(zn_session_create(net, NULL, &fresh) == ZN_OK && zn_session_grad_cam(fresh, 1, map) == ZN_ERROR_ARGUMENT); /* nothing was looked at */
        CHECK(zn_session_classify_rgb(fresh, gray, 2, 2, NULL, &best) == ZN_OK && best >= 0);
        zn_session_destroy(fresh);
        bias[0] = (zn_real)NAN; /* spoilt weights say nothing, not the first class */
        CHECK(zn_session_create(net, NULL, &fresh) == ZN_OK && zn_session_classify_rgb(fresh, gray, 2, 2, NULL, &best) == ZN_ERROR_NUMBER && best == -1);
        zn_session_destroy(fresh);
        bias[0] = old;
        CHECK(zn_session_grad_cam(s, 1, map) == ZN_OK);
    }
    features = zn_net_features(net, in, 0);
    channels = zn_tensor_shape(features).n[1];
    {
        zn_tensor *copy = zn_param_zeros(ctx, zn_tensor_shape(features));
        zni_walk w = zni_walk_of(net, 0);
        memcpy(zn_tensor_data(copy), zn_tensor_data(features), zn_tensor_count(copy) * sizeof(zn_real));
        loss = zn_sum(ctx, zn_slice(ctx, zni_net_head(&w, copy), 1, 1));
        CHECK(zn_backward(ctx, loss) == ZN_OK);
        for (c = 0; c < channels; ++c) {
            double alpha = 0.0;
            for (i = 0; i < f * f; ++i) alpha += (double)zn_tensor_grad(copy)[c * f * f + i] / (f * f);
            for (i = 0; i < f * f; ++i) want[i] += (zn_real)alpha * zn_tensor_data(copy)[c * f * f + i];
        }
        for (i = 0; i < f * f; ++i) want[i] = want[i] > 0 ? want[i] : 0;
        CHECK(distance(map, want, f * f) <= 10 * TOLERANCE);
        zn_tape_clear(ctx);
        zn_tensor_destroy(copy);
    }
    CHECK(zn_session_grad_cam(s, classes, map) == ZN_ERROR_ARGUMENT && zn_session_grad_cam(s, -1, map) == ZN_ERROR_ARGUMENT);
    zn_tensor_destroy(in);
    free(map);
    free(want);
    free(logits);
}
static void test_pictures(zn_ctx *ctx, int lw_att) {
    zn_net_opts o = zn_net_opts_default();
    zn_input input = zn_input_default();
    zn_session_opts opts = zn_session_opts_default();
    zn_session *s = NULL;
    unsigned char rgb[50 * 30 * 3];
    zn_real prob[ZN_MAX_CLASSES], again[ZN_MAX_CLASSES], logits[7], *x = make_input(1, 32, 2), sum = 0;
    void *scratch;
    zn_net *net;
    int best = -1, i;
    o.structure = "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE2K3(16,24,2,16,1)SuperConvK1BNRELU(24,32,1,1)";
    o.lw_att = lw_att;
    net = make_net(ctx, &o, 21);
    input.size = 32;
    input.resize = 36;
    CHECK(zn_net_set_input(net, &input) == ZN_OK);
    opts.picture_side = 64;
    CHECK(zn_session_create(net, &opts, &s) == ZN_OK && zn_session_resolution(s) == 32 && zn_session_classes(s) == 7);
    for (i = 0; i < (int)sizeof rgb; ++i) rgb[i] = (unsigned char)(i * 7 + i / 150 * 31);
    CHECK(zn_session_classify_rgb(s, rgb, 50, 30, prob, &best) == ZN_OK);
    scratch = malloc(zn_input_scratch_bytes(&input, 50, 30));
    CHECK(zn_input_apply(&input, rgb, 50, 30, 0, 0, 50, 30, scratch, x) == ZN_OK && zn_session_run(s, x, 1, logits) == ZN_OK);
    for (i = 0; i < 7; ++i) {
        CHECK(logits[i] <= logits[best] && prob[i] <= prob[best]);
        CHECK(fabs(log((double)(prob[i] / prob[best])) - (double)(logits[i] - logits[best])) < 1e-4);
        sum += prob[i];
    }
    CHECK(fabs((double)sum - 1.0) < 1e-5);
    CHECK(zn_session_classify_box(s, rgb, 50, 30, 0, 0, 50, 30, again, NULL) == ZN_OK && memcmp(prob, again, 7 * sizeof(zn_real)) == 0);
    CHECK(zn_session_classify_box(s, rgb, 50, 30, 3, 4, 20, 25, again, &best) == ZN_OK && memcmp(prob, again, 7 * sizeof(zn_real)) != 0);
    CHECK(zn_session_classify_box(s, rgb, 50, 30, 40, 4, 20, 25, again, &best) == ZN_ERROR_ARGUMENT && best == -1);
    CHECK(zn_session_classify_rgb(s, rgb, 65, 2, again, NULL) == ZN_ERROR_ARGUMENT && zn_session_classify_rgb(s, NULL, 5, 5, again, NULL) == ZN_ERROR_ARGUMENT);
    check_cam(ctx, net, s, x, 32);
    zn_session_destroy(s);
    zn_net_destroy(net);
    free(scratch);
    free(x);
}

static int write_model(const char *path) {
    static const char *const names[] = {"alpha", "beta \"b\"", "gamma", "delta", "epsilon", "zeta", "eta"};
    zn_ctx *ctx = NULL;
    zn_net *net = NULL;
    zn_input input = zn_input_default();
    int bad = 1;
    input.size = 32;
    if (zn_ctx_create(NULL, &ctx) == ZN_OK) net = small_net(ctx);
    if (net != NULL) bad = zn_net_set_input(net, &input) != ZN_OK || zn_net_set_class_names(net, names, 7) != ZN_OK || zn_net_save(net, path) != ZN_OK;
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return bad;
}

int main(int argc, char **argv) {
    static const char *const golden[] = {"conv3", "conv5x2", "idw_e6k3_sa", "plain_nores", "res_k1k3k1_sa", "res_k1k7k1_se", "res_k3k3", "res_k5k5_sa"};
    static const char *const shared[] = {"idw_e4k5_se", "idw_mixed", "m_lw_128", "m_sa_96", "r_sa_64", "m_sa_224", "r_sa_lw_224"};
    zn_ctx *ctx = NULL;
    char path[128];
    size_t i;
    int set;
    if (argc == 3 && strcmp(argv[1], "--model") == 0) return write_model(argv[2]);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    for (i = 0; i < sizeof golden / sizeof golden[0]; ++i) {
        sprintf(path, "tests/golden/%s.txt", golden[i]);
        check_golden(ctx, path);
    }
    for (i = 0; i < sizeof shared / sizeof shared[0]; ++i) {
        FILE *file;
        sprintf(path, "../shared/golden/%s.txt", shared[i]);
        file = fopen(path, "r");
        if (file == NULL) check_skip(path);
        else {
            fclose(file);
            check_golden(ctx, path);
        }
    }
    for (set = 0; set < ZNI_KERNEL_SETS; ++set) {
        if (!zni_kernels_run(set)) check_skip(zni_kernel_sets[set].name);
        else {
            ctx->kernels = &zni_kernel_sets[set];
            test_named(ctx);
            test_blocks(ctx);
            test_random(ctx, 60);
        }
    }
    test_memory();
    test_no_memory();
    test_refused(ctx);
    test_pictures(ctx, 0);
    test_pictures(ctx, 1);
    zn_ctx_destroy(ctx);
    return check_done();
}
