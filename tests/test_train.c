/* test_train.c - the trainer and its parts on a set small enough to learn in a second: stripes in eight directions. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "check.h"

enum { SIDE = 16, TRAIN = 96, TEST = 40, CLASSES = 4, PIXELS = SIDE * SIDE * 3 };
static const char *const class_names[CLASSES] = {"rows", "columns", "falling", "rising"};
static const char small_net[] = "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)SuperConvK1BNRELU(16,32,1,1)";
static char pack_path[512], folder[512];

/* Stripes of class `label` with random phase, period, colours and noise. Classes come up 1 : 2 : 3 : 4. */
static void draw(int index, int label, unsigned char *rgb) {
    zn_rng rng = zn_rng_stream(7, (uint64_t)index);
    double phase = 7 * zn_rng_uniform(&rng), period = 0.9 + 0.4 * zn_rng_uniform(&rng), dark = 40 + 60 * zn_rng_uniform(&rng);
    int x, y, c;
    for (y = 0; y < SIDE; ++y)
        for (x = 0; x < SIDE; ++x) {
            double at = label == 0 ? y : label == 1 ? x : label == 2 ? 0.7 * (x - y) : 0.7 * (x + y);
            double v = 128 + dark * sin(phase + period * at);
            for (c = 0; c < 3; ++c) rgb[(y * SIDE + x) * 3 + c] = (unsigned char)(v + 40 * (zn_rng_uniform(&rng) - 0.5));
        }
}
static int label_of(int index) { return index % 10 < 1 ? 0 : index % 10 < 3 ? 1 : index % 10 < 6 ? 2 : 3; }
static zn_result write_pack(zn_ctx *ctx, const char *path, const char *const *names) {
    zn_pack_writer *w = NULL;
    unsigned char pixels[PIXELS];
    char name[32];
    zn_pack_info info;
    zn_result result = zn_pack_writer_create(ctx, path, names, CLASSES, &w);
    int i;
    for (i = 0; i < TRAIN + TEST && result == ZN_OK; ++i) {
        memset(&info, 0, sizeof info);
        draw(i, label_of(i), pixels);
        sprintf(name, "stripes/%03d", i);
        info.bytes = pixels;
        info.size = PIXELS;
        info.encoding = ZN_ENCODING_RGB;
        info.split = i < TRAIN ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
        info.label = label_of(i);
        info.stored_width = info.stored_height = info.width = info.height = SIDE;
        info.source = name;
        result = zn_pack_writer_add(w, &info);
    }
    if (result == ZN_OK) result = zn_pack_writer_finish(w, NULL);
    zn_pack_writer_destroy(w);
    return result;
}

static zn_train_opts quick_opts(void) {
    zn_train_opts o = zn_train_opts_default();
    o.epochs = 6;
    o.batch = 16;
    o.lr = 0.05;
    o.schedule.warmup = 1;
    o.augment = zn_augment_opts_none(SIDE);
    return o;
}
static zn_net *quick_net(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    zn_net *net = NULL;
    o.structure = small_net;
    o.classes = CLASSES;
    o.bn_momentum = 0.1; /* few steps */
    zn_net_create(ctx, &o, &net);
    return net;
}
/* FNV of all values of a network. */
static uint64_t net_hash(const zn_net *net) {
    uint64_t hash = ZN_FNV_START;
    int i;
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        hash = zn_fnv1a64(zn_tensor_data(t), zn_tensor_count(t) * sizeof(zn_real), hash);
    }
    return hash;
}
/* Trains a fresh network; its hash, 0 on errors. */
static uint64_t train_hash(zn_ctx *ctx, const zn_train_opts *o, zn_train_result **out_result) {
    zn_pack *pack = NULL;
    zn_net *net = quick_net(ctx);
    uint64_t hash = 0;
    if (zn_pack_open(ctx, pack_path, &pack) == ZN_OK && zn_train_run(net, pack, NULL, o, out_result) == ZN_OK) hash = net_hash(net);
    zn_pack_close(pack);
    zn_net_destroy(net);
    return hash;
}

/* Reruns, threads and how the batch is cut into evaluation batches change no bit. */
static void test_determinism(zn_ctx *ctx) {
    zn_train_opts o = quick_opts();
    uint64_t first, threads;
    o.augment = zn_augment_opts_rafdb(SIDE);
    o.mixup = 0.2;
    o.balanced = 1;
    o.ema = 0.9;
    first = train_hash(ctx, &o, NULL);
    CHECK(first != 0 && train_hash(ctx, &o, NULL) == first);
    o.eval_batch = 7;
    CHECK(train_hash(ctx, &o, NULL) == first);
#ifdef _OPENMP
    omp_set_num_threads(3);
    threads = train_hash(ctx, &o, NULL);
    omp_set_num_threads(1);
    CHECK(threads == first && train_hash(ctx, &o, NULL) == first);
    omp_set_num_threads(2);
#endif
    o.seed = 2;
    threads = train_hash(ctx, &o, NULL);
    CHECK(threads != 0 && threads != first);
}

static void test_learns(zn_ctx *ctx) {
    zn_train_opts o = quick_opts();
    zn_train_result *result = NULL;
    uint64_t hash;
    o.epochs = 12;
    hash = train_hash(ctx, &o, &result);
    CHECK(hash != 0 && result != NULL);
    if (result == NULL) {
        printf("%s\n", zn_error_text(ctx));
        return;
    }
    CHECK(result->epochs == 12 && result->best_epoch >= 0 && result->best_top1 >= 0.9);
    zn_train_result_destroy(result);
}

int main(int argc, char **argv) {
    zn_ctx *ctx = NULL;
    (void)argc;
    sprintf(pack_path, "%.480s.pack", argv[0]);
    sprintf(folder, "%.480s.run", argv[0]);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    CHECK(write_pack(ctx, pack_path, class_names) == ZN_OK);
    test_learns(ctx);
    test_determinism(ctx);
    zn_ctx_destroy(ctx);
    return check_done();
}
