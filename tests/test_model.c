/* test_model.c - model files and checkpoints: what is written is read back, PyTorch's files give their exact values, and
   whatever is damaged, foreign or hostile is refused with a reason and no harm. Built with float and with double. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"
#include "files.h"

static const char tiny[] = "SuperConvK3BNRELU(3,8,2,1)";
static const char rich[] = "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)SuperResK3K3(16,16,1,8,1)SuperConvK1BNRELU(16,32,1,1)";
static char file_path[600], other_path[600];

static zn_net *new_net(zn_ctx *ctx, const char *structure, int classes, zn_attention attention) {
    zn_net_opts o = zn_net_opts_default();
    zn_net *net = NULL;
    o.structure = structure;
    o.classes = classes;
    o.attention = attention;
    zn_net_create(ctx, &o, &net);
    return net;
}
static int same_file(const char *a, const char *b) {
    size_t na, nb;
    unsigned char *x = file_read(a, &na), *y = file_read(b, &nb);
    int same = x != NULL && y != NULL && na > 0 && na == nb && memcmp(x, y, na) == 0;
    free(x);
    free(y);
    return same;
}

/* ------------------------------------------------------------------------------------------------------------------
   Files written by PyTorch
   ------------------------------------------------------------------------------------------------------------------ */
static const char *const samples[] = {"plain.pth", "legacy.pth", "training_half.pth", "bfloat16.pth", "views.pth", "views_legacy.pth", "plain.safetensors"};
static const char *const refused[][2] = {{"hostile.pth", "posix.system"}, {"module_object.pth", "refused"}, {"script.pth", "TorchScript"}};

static int exact_values(const zn_net *net) {
    int k;
    size_t i;
    for (k = 0; k < zn_net_tensor_count(net); ++k)
        for (i = 0; i < zn_tensor_count(zn_net_tensor(net, k)); ++i)
            if (zn_tensor_data(zn_net_tensor(net, k))[i] != (zn_real)((i * 7 + (size_t)k * 3) % 61) / 32) return 0;
    return k == 7;
}
static void test_samples(zn_ctx *ctx) {
    size_t i;
    char path[256];
    for (i = 0; i < sizeof samples / sizeof samples[0]; ++i) {
        zn_net *net = new_net(ctx, tiny, 3, ZN_ATTENTION_NONE);
        zn_load_report r;
        snprintf(path, sizeof path, "tests/checkpoints/%s", samples[i]);
        CHECK_FOR(zn_net_load_tensors(net, path, NULL, &r) == ZN_OK, samples[i]);
        if (zn_error_code(ctx) != ZN_OK) printf("    %s\n", zn_error_text(ctx));
        CHECK_FOR(exact_values(net), samples[i]);
        CHECK_FOR(r.loaded == 7 && r.missing + r.unexpected + r.misshaped == 0 && r.half == (strstr(samples[i], "half") || strstr(samples[i], "16") ? 7 : 0), samples[i]);
        zn_net_destroy(net);
        zn_error_clear(ctx);
    }
    for (i = 0; i < sizeof refused / sizeof refused[0]; ++i) {
        zn_net *net = new_net(ctx, tiny, 3, ZN_ATTENTION_NONE);
        snprintf(path, sizeof path, "tests/checkpoints/%s", refused[i][0]);
        CHECK_FOR(zn_net_load_tensors(net, path, NULL, NULL) == ZN_ERROR_UNSUPPORTED, refused[i][0]);
        CHECK_HOLDS(zn_error_text(ctx), refused[i][1]);
        CHECK_HOLDS(zn_error_text(ctx), path);
        zn_error_clear(ctx);
        zn_net_destroy(net);
    }
}
/* Cut short anywhere, every file is refused, and the network stays as it was. */
static void test_truncation(zn_ctx *ctx) {
    static const int which[] = {0, 1, 6};
    size_t k, cut, size;
    char path[256];
    for (k = 0; k < 3; ++k) {
        zn_net *net = new_net(ctx, tiny, 3, ZN_ATTENTION_NONE);
        unsigned char *bytes;
        int bad = 0;
        snprintf(path, sizeof path, "tests/checkpoints/%s", samples[which[k]]);
        bytes = file_read(path, &size);
        CHECK(size > 1000);
        for (cut = 0; cut < size; cut += cut < 300 || cut + 600 > size ? 1 : 13) {
            file_write(file_path, bytes, cut);
            if (zn_net_load_tensors(net, file_path, NULL, NULL) == ZN_OK || zn_error_text(ctx)[0] == '\0') ++bad;
            if (zn_tensor_data(zn_net_tensor(net, 0))[1] != 0) ++bad;
            zn_error_clear(ctx);
        }
        CHECK_FOR(bad == 0, samples[which[k]]);
        free(bytes);
        zn_net_destroy(net);
    }
}

/* ------------------------------------------------------------------------------------------------------------------
   What does not fit
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct skips {
    int count[3];
    char names[512];
} skips;
static void note_skip(zn_load_skip why, const char *name, const char *detail, void *user) {
    skips *s = (skips *)user;
    size_t used = strlen(s->names);
    ++s->count[why];
    snprintf(s->names + used, sizeof s->names - used, "%s %s;", name, detail);
}
static void test_mismatch(zn_ctx *ctx) {
    zn_net *net = new_net(ctx, tiny, 5, ZN_ATTENTION_NONE);
    zn_load_opts o;
    zn_load_report r;
    skips s;
    memset(&o, 0, sizeof o);
    memset(&s, 0, sizeof s);
    CHECK(zn_net_load_tensors(net, "tests/checkpoints/plain.pth", NULL, &r) == ZN_ERROR_MISMATCH);
    CHECK(r.loaded == 5 && r.misshaped == 2 && zn_tensor_data(zn_net_tensor(net, 0))[1] == 0);
    CHECK_HOLDS(zn_error_text(ctx), "fc_linear.netblock.weight (3x8 in the file, 5x8 here)");
    zn_error_clear(ctx);
    o.transfer = 1;
    o.on_skip = note_skip;
    o.user = &s;
    CHECK(zn_net_load_tensors(net, "tests/checkpoints/plain.pth", &o, &r) == ZN_OK && r.loaded == 5);
    CHECK(s.count[ZN_SKIP_MISSHAPED] == 2 && s.count[ZN_SKIP_MISSING] == 0 && s.count[ZN_SKIP_UNEXPECTED] == 0);
    CHECK_HOLDS(s.names, "fc_linear.netblock.bias (3 in the file, 5 here)");
    CHECK(zn_tensor_data(zn_net_tensor(net, 0))[1] > 0);
    zn_net_destroy(net);
    net = new_net(ctx, "ConvKX(3,8,3,2)", 3, ZN_ATTENTION_NONE);
    memset(&s, 0, sizeof s);
    CHECK(zn_net_load_tensors(net, "tests/checkpoints/plain.pth", &o, &r) == ZN_OK);
    CHECK(r.loaded == 2 && s.count[ZN_SKIP_MISSING] == 1 && s.count[ZN_SKIP_UNEXPECTED] == 5);
    zn_net_destroy(net);
}
static void test_checkpoint_of_structure(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    zn_net *net = NULL, *source;
    o.structure = tiny;
    o.classes = 0;
    o.attention = ZN_ATTENTION_NONE;
    CHECK(zn_net_load_checkpoint(ctx, "tests/checkpoints/plain.pth", &o, &net) == ZN_OK);
    CHECK(net != NULL && zn_net_get_opts(net)->classes == 3 && exact_values(net));
    zn_net_destroy(net);
    o.structure = rich;
    o.classes = 4;
    o.attention = ZN_ATTENTION_SA;
    o.projection = ZN_PROJECTION_ZENNAS;
    o.structure = "ConvKX(3,8,3,2)SuperResK1K3K1(8,8,1,8,1)";
    CHECK(zn_net_create(ctx, &o, &source) == ZN_OK && zn_net_save(source, file_path) == ZN_OK);
    zn_net_destroy(source);
    o.projection = ZN_PROJECTION_FACE; /* the file knows better */
    CHECK(zn_net_load_checkpoint(ctx, file_path, &o, &net) == ZN_OK && zn_net_get_opts(net)->projection == ZN_PROJECTION_ZENNAS);
    zn_net_destroy(net);
    CHECK(zn_net_load(ctx, "tests/checkpoints/plain.safetensors", &net) == ZN_ERROR_FORMAT && net == NULL);
    CHECK_HOLDS(zn_error_text(ctx), "not the network's description");
    zn_error_clear(ctx);
}

/* ------------------------------------------------------------------------------------------------------------------
   Our own files
   ------------------------------------------------------------------------------------------------------------------ */
/* A network's forward pass gives its results back while backward walks: once. */
static void test_walked_once(zn_ctx *ctx) {
    zn_net *net = new_net(ctx, rich, 4, ZN_ATTENTION_SA);
    zn_tensor *x = zn_tensor_create(ctx, zn_shape4(2, 3, 32, 32)), *maps, *one, *other, *data;
    zn_fill(zn_tensor_data(x), "x", 1, zn_tensor_count(x), -2, 2);
    CHECK(zn_net_init(net, ZN_INIT_MSRA, 3) == ZN_OK);
    maps = zn_net_features(net, x, 1);
    one = zn_mean(ctx, maps);
    other = zn_sum(ctx, zn_mul(ctx, maps, maps));
    data = zn_mul(ctx, one, one); /* later than both on the tape */
    CHECK(zn_backward(ctx, one) == ZN_OK);
    CHECK(zn_backward(ctx, other) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "can be walked once");
    zn_error_clear(ctx);
    CHECK(zn_backward(ctx, data) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    CHECK(zn_backward(ctx, zn_mean(ctx, zn_net_forward(net, x, 1))) == ZN_OK); /* another pass on the same tape */
    zn_tape_clear(ctx);
    CHECK(zn_backward(ctx, zn_mean(ctx, zn_net_forward(net, x, 1))) == ZN_OK);
    zn_tape_clear(ctx);
    zn_tensor_destroy(x);
    zn_net_destroy(net);
}
static void test_round_trip(zn_ctx *ctx) {
    static const char *const names[] = {"angry \"very\"", "a\\b", "na\xc3\xafve", "tab\there"};
    zn_net *net = new_net(ctx, rich, 4, ZN_ATTENTION_SA), *again = NULL;
    zn_input in = zn_input_default();
    int i, same = 1;
    in.size = 96;
    in.resize = 110;
    in.filter = ZN_FILTER_BILINEAR;
    in.bgr = 1;
    in.mean[1] = 0.1;
    in.std[2] = 1.0 / 3.0;
    CHECK(zn_net_init(net, ZN_INIT_CUSTOM, 3) == ZN_OK && zn_net_set_class_names(net, names, 4) == ZN_OK && zn_net_set_input(net, &in) == ZN_OK);
    CHECK(zn_net_save(net, file_path) == ZN_OK && zn_net_save(net, other_path) == ZN_OK && same_file(file_path, other_path));
    CHECK(zn_net_load(ctx, file_path, &again) == ZN_OK);
    if (again == NULL) printf("    %s\n", zn_error_text(ctx));
    for (i = 0; again != NULL && i < zn_net_tensor_count(net); ++i)
        same = same && memcmp(zn_tensor_data(zn_net_tensor(net, i)), zn_tensor_data(zn_net_tensor(again, i)), zn_tensor_count(zn_net_tensor(net, i)) * sizeof(zn_real)) == 0;
    CHECK(again != NULL && same && zn_net_tensor_count(again) == zn_net_tensor_count(net));
    for (i = 0; again != NULL && i < 4; ++i) CHECK_FOR(strcmp(zn_net_class_name(again, i), names[i]) == 0, names[i]);
    CHECK(again != NULL && memcmp(zn_net_get_input(again)->std, in.std, sizeof in.std) == 0 && zn_net_get_input(again)->bgr == 1 && zn_net_get_input(again)->resize == 110);
    CHECK(again != NULL && zn_net_get_opts(again)->attention == ZN_ATTENTION_SA && strcmp(zn_net_get_opts(again)->structure, rich) == 0);
    CHECK(zn_net_save(again, other_path) == ZN_OK && same_file(file_path, other_path));
    zn_net_destroy(again);
    {
        static const char *const bad[][3] = {{"a", "\xff\xfe", "UTF-8"}, {"a", "", "empty"}, {"a", "a", "one name"}, {"\xed\xa0\x80", "b", "UTF-8"}};
        for (i = 0; i < 4; ++i) {
            const char *four[4] = {bad[i][0], bad[i][1], "c", "d"};
            CHECK(zn_net_set_class_names(net, four, 4) == ZN_ERROR_ARGUMENT);
            CHECK_HOLDS(zn_error_text(ctx), bad[i][2]);
            zn_error_clear(ctx);
        }
    }
    {
        size_t held = 0;
        for (i = 0; i < 6; ++i) { /* names, too, go with their network */
            zn_net *one = new_net(ctx, rich, 4, ZN_ATTENTION_SA);
            zn_net_destroy(one);
            if (i == 1) held = zn_memory_now(ctx);
        }
        CHECK(zn_memory_now(ctx) == held);
    }
    CHECK(zn_net_save(net, "no/such/folder/model") == ZN_ERROR_FILE);
    CHECK_HOLDS(zn_error_text(ctx), "no/such/folder/model");
    zn_error_clear(ctx);
    zn_net_destroy(net);
}
/* One place of a sound file's description changed to something wrong, of the same length. */
static void test_description(zn_ctx *ctx) {
    static const char *const edits[][3] = {{"\"attention\":\"none\"", "\"attention\":\"nome\"", "attention"}, {"\"zennet\":\"1\"", "\"zennet\":\"7\"", "version 7"},
                                           {"\"bn_eps\":\"0", "\"bn_eps\":\"x", "bn_eps"}, {"[\\\"0\\\",", "[\\\"0\\\";", "class names"},
                                           {"SuperConvK3", "SuperConvK4", "unknown block"}, {"\"input_size\":\"224\"", "\"input_size\":\"22!\"", "input_size"},
                                           {"\"reslink\"", "\"resLink\"", "lack 'reslink'"}, {"\"F", "\"G", "dtype"}, {"data_offsets", "data_offsetz", "unknown field"},
                                           {"[\\\"0\\\",\\\"1\\\"", "[\\\"0\\\",\\\"0\\\"", "one name"}};
    zn_net *net = new_net(ctx, tiny, 3, ZN_ATTENTION_NONE), *again = NULL;
    size_t i, size, at;
    unsigned char *bytes;
    CHECK(zn_net_save(net, file_path) == ZN_OK);
    zn_net_destroy(net);
    bytes = file_read(file_path, &size);
    for (i = 0; i < sizeof edits / sizeof edits[0]; ++i) {
        unsigned char *copy = (unsigned char *)malloc(size);
        size_t length = strlen(edits[i][0]);
        int hit = 0;
        memcpy(copy, bytes, size);
        for (at = 0; at + length < size && !hit; ++at)
            if (memcmp(copy + at, edits[i][0], length) == 0) memcpy(copy + at, edits[i][1], length), hit = 1;
        CHECK_FOR(hit, edits[i][0]);
        file_write(other_path, copy, size);
        CHECK_FOR(zn_net_load(ctx, other_path, &again) != ZN_OK && again == NULL, edits[i][1]);
        CHECK_HOLDS(zn_error_text(ctx), edits[i][2]);
        CHECK_HOLDS(zn_error_text(ctx), other_path);
        zn_error_clear(ctx);
        free(copy);
    }
    free(bytes);
}
static void count_entry(const char *name, const char *dtype, const int64_t *sizes, int dims, void *user) {
    int *seen = (int *)user;
    ++*seen;
    if (strcmp(name, "fc_linear.netblock.weight") == 0) CHECK(dims == 2 && sizes[0] == 3 && sizes[1] == 8 && strcmp(dtype, "F16") == 0);
}
static void test_list(zn_ctx *ctx) {
    int seen = 0;
    CHECK(zn_file_list(ctx, "tests/checkpoints/training_half.pth", count_entry, NULL, &seen) == ZN_OK && seen == 8);
    CHECK(zn_file_list(ctx, "tests/checkpoints/README.txt", count_entry, NULL, &seen) == ZN_ERROR_FORMAT);
    zn_error_clear(ctx);
    CHECK(zn_file_list(ctx, "tests/checkpoints/nothing.pth", count_entry, NULL, &seen) == ZN_ERROR_FILE);
    zn_error_clear(ctx);
}

/* Every allocation may fail: an error, nothing leaked, an existing file kept. */
static void test_memory(void) {
    static const char *const paths[] = {"tests/checkpoints/plain.pth", "tests/checkpoints/legacy.pth", "tests/checkpoints/plain.safetensors"};
    failing f;
    size_t k;
    long n;
    for (k = 0; k < 4; ++k) {
        int done = 0, bad = 0;
        for (n = 1; !done && n < 5000; ++n) {
            zn_ctx *ctx = failing_context(&f, n - 1);
            zn_net *net = NULL;
            zn_net_opts o = zn_net_opts_default();
            if (ctx == NULL) continue;
            o.structure = tiny;
            o.classes = 3;
            o.attention = ZN_ATTENTION_NONE;
            if (k < 3) done = zn_net_load_checkpoint(ctx, paths[k], &o, &net) == ZN_OK;
            else if (zn_net_create(ctx, &o, &net) == ZN_OK && zn_net_save(net, file_path) == ZN_OK) {
                zn_net_destroy(net);
                net = NULL;
                done = zn_net_load(ctx, file_path, &net) == ZN_OK;
            }
            if (!done && zn_error_code(ctx) != ZN_ERROR_MEMORY) ++bad;
            zn_net_destroy(net);
            zn_ctx_destroy(ctx);
            if (f.live != 0) ++bad;
        }
        CHECK_FOR(done && bad == 0 && n > 20, k < 3 ? paths[k] : "save and load");
    }
}

/* What is let go between forward and backward comes back right, however units stand in one another: the loss moves along a
   direction as the gradients say. In double; in float such a difference of losses says little. */
static double loss_of(zn_ctx *ctx, zn_net *net, zn_tensor *x, zn_tensor *target) {
    double loss = zn_tensor_value(zn_cross_entropy(ctx, zn_net_forward(net, x, 1), target));
    zn_tape_clear(ctx);
    return loss;
}
static void move(zn_net *net, double step) { /* along normal numbers of its own for each tensor */
    int i;
    size_t k;
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        zn_rng rng = zn_rng_seed((uint64_t)i);
        for (k = 0; zn_tensor_trainable(t) && k < zn_tensor_count(t); ++k) zn_tensor_data(t)[k] += (zn_real)(step * zn_rng_normal(&rng));
    }
}
static void test_forgotten(zn_ctx *ctx) {
    static const char *const rows[] = {
        "SuperConvK3BNRELU(3,8,1,1)SuperResK1K3K1(8,16,2,8,3)SuperResIDWE2K3(16,16,1,16,2)SuperConvK1BNRELU(16,24,1,1)",
        "ConvKX(3,16,3,1)BN(16)RELU(16)Sequential(ResBlock(16,1,ConvKX(16,16,3,1)BN(16))RELU(16)ResBlock(16,1,ConvKX(16,16,3,1)BN(16)SA(16,2))RELU(16))ResBlock(16,1,ConvKX(16,16,3,1)BN(16))RELU(16)Sequential("
        "ResBlock(16,1,SA(16,2)ConvKX(16,16,3,1)BN(16))RELU(16)BN(16)SA(16,2)RELU(16)ResBlock(16,1,ConvKX(16,16,1,1)BN(16))RELU(16)MaxPool(16,3,2))ConvKX(16,8,1,1)BN(8)",
        "ConvKX(3,8,3,1)BN(8)RELU(8)ResBlock(8,1,ConvKX(8,8,3,1)BN(8))RELU(8)MultiSumBlock(ResBlock(8,1,ConvKX(8,8,3,1)BN(8));Sequential(ResBlock(8,1,ConvKX(8,8,1,1)BN(8))RELU(8));ConvKX(8,8,3,1))RELU(8)"
        "ResBlockProj(8,1,ConvKX(8,8,3,1)BN(8))RELU(8)MultiCatBlock(ResBlock(8,1,ConvKX(8,8,3,1)BN(8));BN(8))RELU(16)ResBlock(16,1,ConvKX(16,16,3,1)BN(16))RELU(16)ConvKX(16,8,1,1)"};
    size_t i;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        zn_net_opts o = zn_net_opts_default();
        zn_net *net = NULL;
        zn_tensor *x = zn_tensor_create(ctx, zn_shape4(3, 3, 10, 10)), *target = zn_tensor_create(ctx, zn_shape2(3, 4)), *logits, *loss;
        double slope = 0.0, moved, step = 1e-6;
        int k;
        size_t at;
        o.structure = rows[i];
        o.classes = 4;
        CHECK_FOR(zn_net_create(ctx, &o, &net) == ZN_OK && zn_net_init(net, ZN_INIT_MSRA, 3) == ZN_OK, rows[i]);
        if (net == NULL || x == NULL || target == NULL) return;
        zn_fill(zn_tensor_data(x), "x", 1, zn_tensor_count(x), -2.0, 2.0);
        for (k = 0; k < 3; ++k) zn_tensor_data(target)[4 * k + k] = 1;
        move(net, 0.05); /* no gate at 0 */
        zn_grad_clear(ctx);
        logits = zn_net_forward(net, x, 1);
        loss = zn_cross_entropy(ctx, logits, target);
        CHECK_FOR(zn_backward(ctx, loss) == ZN_OK, rows[i]);
        for (k = 0; k < zn_net_tensor_count(net); ++k) {
            zn_tensor *w = zn_net_tensor(net, k);
            zn_rng rng = zn_rng_seed((uint64_t)k);
            for (at = 0; zn_tensor_trainable(w) && at < zn_tensor_count(w); ++at) slope += (double)zn_tensor_grad(w)[at] * zn_rng_normal(&rng);
        }
        zn_tape_clear(ctx);
        move(net, step);
        moved = loss_of(ctx, net, x, target);
        move(net, -2.0 * step);
        moved -= loss_of(ctx, net, x, target);
        if (sizeof(zn_real) == 8) CHECK_FOR(fabs(moved / (2.0 * step) - slope) < 1e-5 * fmax(1.0, fabs(slope)), rows[i]);
        zn_net_destroy(net);
        zn_tensor_destroy(x);
        zn_tensor_destroy(target);
    }
}

int main(int argc, char **argv) {
    zn_ctx *ctx = NULL;
    (void)argc;
    snprintf(file_path, sizeof file_path, "%s.file", argv[0]);
    snprintf(other_path, sizeof other_path, "%s.other", argv[0]);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    test_samples(ctx);
    test_truncation(ctx);
    test_mismatch(ctx);
    test_checkpoint_of_structure(ctx);
    test_walked_once(ctx);
    test_round_trip(ctx);
    test_description(ctx);
    test_list(ctx);
    test_forgotten(ctx);
    zn_ctx_destroy(ctx);
    test_memory();
    remove(file_path);
    remove(other_path);
    return check_done();
}
