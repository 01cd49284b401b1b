/* test_train.c - the trainer and its parts on a set small enough to learn in a second: stripes in eight directions. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "check.h"
#include "failing.h"

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

/* ---- optimisers: three steps of two values against the rules written out here ---- */
static const double gradients[3][2] = {{0.5, -3.0}, {-0.25, 1.0}, {2.0, 0.125}};
typedef struct by_hand {
    double w[2], a[2], b[2];
} by_hand;
static void hand_step(by_hand *h, const zn_optimizer_opts *o, int step, double lr) {
    int i;
    for (i = 0; i < 2; ++i) {
        double g = gradients[step - 1][i], d;
        if (o->clip > 0 && g > o->clip) g = o->clip;
        if (o->clip > 0 && g < -o->clip) g = -o->clip;
        g += o->weight_decay * h->w[i];
        if (o->kind == ZN_SGD) {
            h->a[i] = o->momentum * h->a[i] + g;
            h->w[i] -= lr * (o->nesterov ? g + o->momentum * h->a[i] : h->a[i]);
        } else if (o->kind == ZN_ADAM) {
            h->a[i] = o->beta1 * h->a[i] + (1 - o->beta1) * g;
            h->b[i] = o->beta2 * h->b[i] + (1 - o->beta2) * g * g;
            h->w[i] -= lr * (h->a[i] / (1 - pow(o->beta1, step))) / (sqrt(h->b[i] / (1 - pow(o->beta2, step))) + o->eps);
        } else if (o->kind == ZN_RMSPROP) {
            h->a[i] = o->alpha * h->a[i] + (1 - o->alpha) * g * g;
            h->b[i] = o->momentum * h->b[i] + g / (sqrt(h->a[i]) + o->eps);
            h->w[i] -= lr * h->b[i];
        } else {
            h->a[i] = o->rho * h->a[i] + (1 - o->rho) * g * g;
            d = sqrt(h->b[i] + o->eps) / sqrt(h->a[i] + o->eps) * g;
            h->b[i] = o->rho * h->b[i] + (1 - o->rho) * d * d;
            h->w[i] -= lr * d;
        }
    }
}
static void test_optimizer(zn_ctx *ctx, zn_optimizer_opts o, const char *which) {
    static const zn_real start[2] = {1, -2};
    zn_tensor *w = zn_param_zeros(ctx, zn_shape2(1, 2)); /* two dimensions: it decays */
    zn_optimizer *optimizer = NULL;
    by_hand h = {{1, -2}, {0, 0}, {0, 0}};
    int step, i;
    memcpy(zn_tensor_data(w), start, sizeof start);
    CHECK(zn_optimizer_create(ctx, NULL, &o, &optimizer) == ZN_OK);
    for (step = 1; step <= 3; ++step) {
        zn_real factor[2];
        for (i = 0; i < 2; ++i) factor[i] = (zn_real)gradients[step - 1][i];
        { /* the loss sum(g * w) has the gradient g */
            zn_tensor *g = zn_tensor_from(ctx, zn_shape2(1, 2), factor);
            CHECK(zn_backward(ctx, zn_sum(ctx, zn_mul(ctx, w, g))) == ZN_OK && zn_optimizer_step(optimizer, 0.1) == ZN_OK);
            zn_tensor_destroy(g);
        }
        hand_step(&h, &o, step, 0.1);
        for (i = 0; i < 2; ++i) CHECK_FOR(fabs((double)zn_tensor_data(w)[i] - h.w[i]) < 2e-6, which);
    }
    zn_optimizer_destroy(optimizer);
    zn_tensor_destroy(w);
}
static void test_optimizers(zn_ctx *ctx) {
    static const char *const names[] = {"sgd", "adam", "rmsprop", "adadelta"};
    int kind;
    for (kind = 0; kind < 4; ++kind) {
        zn_optimizer_opts o = zn_optimizer_opts_default((zn_optimizer_kind)kind);
        CHECK(zn_optimizer_parse(names[kind]) == kind);
        o.weight_decay = 0.01;
        test_optimizer(ctx, o, names[kind]);
        o.clip = 0.4;
        o.nesterov = 0;
        test_optimizer(ctx, o, names[kind]);
    }
    CHECK(zn_optimizer_parse("sgdm") == -1 && zn_optimizer_parse(NULL) == -1);
}
static void test_schedule(void) {
    zn_schedule s;
    memset(&s, 0, sizeof s);
    s.lr = 0.025;
    s.epochs = 400;
    s.warmup = 5;
    s.samples = 12271;
    CHECK(fabs(zn_schedule_lr(&s, 64) - 2.6485209029418955e-05) < 1e-18 && fabs(zn_schedule_lr(&s, 2454200) - 0.012748519245590267) < 1e-15);
    s.kind = ZN_SCHEDULE_STEP;
    s.decay = 0.1;
    s.milestones[0] = 30;
    s.milestones[1] = 60;
    s.milestone_count = 2;
    CHECK(fabs(zn_schedule_lr(&s, 31 * 12271.0 - 1) - 0.025) < 1e-15 && fabs(zn_schedule_lr(&s, 31 * 12271.0) - 0.0025) < 1e-15 && fabs(zn_schedule_lr(&s, 399 * 12271.0) - 0.00025) < 1e-15);
    s.kind = ZN_SCHEDULE_LINEAR;
    CHECK(fabs(zn_schedule_lr(&s, 400 * 12271.0 - 1)) < 1e-12);
}

/* ---- sampler and loader ---- */
static void test_sampler(const zn_pack *pack) {
    uint32_t order[TRAIN], again[TRAIN];
    int seen[TRAIN] = {0}, classes[CLASSES] = {0}, epoch, i, once = 1;
    zn_pack_info info;
    CHECK(zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 0, 5, 3, order) == ZN_OK && zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 0, 5, 3, again) == ZN_OK);
    CHECK(memcmp(order, again, sizeof order) == 0);
    for (i = 0; i < TRAIN; ++i) ++seen[order[i]];
    for (i = 0; i < TRAIN; ++i) once &= seen[i] == 1;
    CHECK(once);
    CHECK(zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 0, 5, 4, again) == ZN_OK && memcmp(order, again, sizeof order) != 0);
    CHECK(zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 0, 6, 3, again) == ZN_OK && memcmp(order, again, sizeof order) != 0);
    for (epoch = 0; epoch < 100; ++epoch) {
        CHECK(zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 1, 5, epoch, order) == ZN_OK);
        for (i = 0; i < TRAIN; ++i)
            if (zn_pack_image(pack, ZN_SPLIT_TRAIN, order[i], &info) == ZN_OK) ++classes[info.label];
    }
    for (i = 0; i < CLASSES; ++i) CHECK(abs(classes[i] - 2400) < 200); /* 4.7 deviations of 42 */
}
static void test_loader(zn_ctx *ctx, const zn_pack *pack) {
    zn_loader_opts o = zn_loader_opts_default();
    zn_loader *loader = NULL;
    zn_batch batch;
    zn_real first[3 * SIDE * SIDE], *x;
    unsigned char shown[PIXELS];
    int label, i, k, good = 1;
    o.batch = 7;
    o.augment = zn_augment_opts_rafdb(SIDE);
    o.label_smoothing = 0.2;
    CHECK(zn_loader_create(pack, &o, &loader) == ZN_OK && zn_loader_batches(loader) == TRAIN / 7);
    CHECK(zn_loader_load(loader, 2, 5, &batch) == ZN_OK && batch.count == 7 && batch.share >= 1);
    memcpy(first, zn_tensor_data(batch.x), sizeof first);
    for (i = 0; i < 7; ++i)
        for (k = 0; k < CLASSES; ++k) good &= fabs((double)zn_tensor_data(batch.target)[i * CLASSES + k] - (k == batch.labels[i] ? 0.85 : 0.05)) < 1e-6;
    CHECK(good);
    CHECK(zn_loader_preview(loader, 2, 35, shown, &label) == ZN_OK && label == batch.labels[0]);
    CHECK(zn_loader_load(loader, 1, 0, &batch) == ZN_OK && zn_loader_load(loader, 2, 5, &batch) == ZN_OK); /* any order, the same batch */
    CHECK(memcmp(first, zn_tensor_data(batch.x), sizeof first) == 0);
    CHECK(zn_loader_load(loader, 2, TRAIN / 7, &batch) == ZN_ERROR_ARGUMENT && zn_loader_load(loader, -1, 0, &batch) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    zn_loader_destroy(loader);

    o.mixup = 1;
    CHECK(zn_loader_create(pack, &o, &loader) == ZN_OK && zn_loader_load(loader, 0, 0, &batch) == ZN_OK && batch.share > 0 && batch.share < 1);
    zn_loader_destroy(loader);

    o.random = 0; /* all images in order, the last batch small */
    CHECK(zn_loader_create(pack, &o, &loader) == ZN_OK && zn_loader_batches(loader) == 14);
    CHECK(zn_loader_load(loader, 0, 13, &batch) == ZN_OK && batch.count == 5 && batch.images[4] == 95);
    x = zn_tensor_data(batch.x);
    CHECK(zn_tensor_shape(batch.x).n[0] == 5 && zn_tensor_shape(batch.target).n[0] == 5 && fabs((double)x[0]) < 3);
    zn_tape_clear(ctx);
    zn_loader_destroy(loader);

    o.random = 1;
    o.batch = TRAIN + 1;
    CHECK(zn_loader_create(pack, &o, &loader) == ZN_ERROR_ARGUMENT && loader == NULL);
    CHECK_HOLDS(zn_error_text(ctx), "a batch of 97 is more than the 96 images");
    zn_error_clear(ctx);
}
static int damage(const zn_pack_info *image, unsigned char *rgb, void *user) {
    (void)user;
    memset(rgb, 0, (size_t)image->width * (size_t)image->height * 3);
    return strcmp(image->source, "bad") == 0;
}
/* An image that cannot be decoded is named. */
static void test_bad_image(zn_ctx *ctx) {
    zn_pack_writer *w = NULL;
    zn_pack *pack = NULL;
    zn_loader *loader = NULL;
    zn_loader_opts o = zn_loader_opts_default();
    zn_pack_info info;
    zn_batch batch;
    char path[600];
    int i;
    sprintf(path, "%s.bad", pack_path);
    CHECK(zn_pack_writer_create(ctx, path, class_names, CLASSES, &w) == ZN_OK);
    for (i = 0; i < 3; ++i) {
        memset(&info, 0, sizeof info);
        info.bytes = (const unsigned char *)"xyz";
        info.size = 3;
        info.encoding = ZN_ENCODING_FILE;
        info.stored_width = info.stored_height = info.width = info.height = 4;
        info.source = i == 1 ? "bad" : "good";
        CHECK(zn_pack_writer_add(w, &info) == ZN_OK);
    }
    CHECK(zn_pack_writer_finish(w, NULL) == ZN_OK && zn_pack_open(ctx, path, &pack) == ZN_OK);
    zn_pack_writer_destroy(w);
    o.batch = 3;
    o.random = 0;
    o.augment = zn_augment_opts_none(4);
    CHECK(zn_loader_create(pack, &o, &loader) == ZN_OK && zn_loader_load(loader, 0, 0, &batch) == ZN_ERROR_UNSUPPORTED);
    CHECK_HOLDS(zn_error_text(ctx), "the pack has no decoder");
    zn_error_clear(ctx);
    zn_pack_set_decoder(pack, damage, NULL);
    CHECK(zn_loader_load(loader, 0, 0, &batch) == ZN_ERROR_FORMAT);
    CHECK_HOLDS(zn_error_text(ctx), "image 1, bad");
    zn_error_clear(ctx);
    zn_loader_destroy(loader);
    zn_pack_close(pack);
    remove(path);
}

/* Pictures of any shape through every recipe; a class without images; one class only. */
static void test_odd_sets(zn_ctx *ctx) {
    static const int sizes[6][2] = {{1, 1}, {1, 300}, {300, 1}, {2, 2}, {65, 33}, {31, 32}};
    static const char *const five[5] = {"a", "b", "nobody", "c", "d"};
    static unsigned char pixels[300 * 300 * 3];
    zn_augment_opts recipes[5];
    zn_pack *pack = NULL;
    zn_loader *loader = NULL;
    zn_loader_opts o = zn_loader_opts_default();
    zn_train_opts t = quick_opts();
    zn_batch batch;
    char path[600];
    int classes, i, r;
    recipes[0] = zn_augment_opts_none(24);
    recipes[1] = zn_augment_opts_rafdb(24);
    recipes[2] = zn_augment_opts_affectnet(48);
    recipes[3] = zn_augment_opts_cifar(16);
    recipes[4] = zn_augment_opts_imagenet(40);
    for (i = 0; i < (int)sizeof pixels; ++i) pixels[i] = (unsigned char)(i * 7);
    sprintf(path, "%s.odd", pack_path);
    for (classes = 1; classes <= 5; classes += 4) {
        zn_pack_writer *w = NULL;
        zn_net_opts n = zn_net_opts_default();
        zn_net *net = NULL;
        CHECK(zn_pack_writer_create(ctx, path, five, classes, &w) == ZN_OK);
        for (i = 0; i < 12; ++i) {
            zn_pack_info info;
            memset(&info, 0, sizeof info);
            info.bytes = pixels;
            info.stored_width = info.width = sizes[i % 6][0];
            info.stored_height = info.height = sizes[i % 6][1];
            info.size = (size_t)info.width * (size_t)info.height * 3;
            info.encoding = ZN_ENCODING_RGB;
            info.label = classes == 1 ? 0 : i % 4 + (i % 4 > 1); /* never class 2 */
            info.source = "odd";
            CHECK(zn_pack_writer_add(w, &info) == ZN_OK);
        }
        CHECK(zn_pack_writer_finish(w, NULL) == ZN_OK && zn_pack_open(ctx, path, &pack) == ZN_OK);
        zn_pack_writer_destroy(w);
        o.batch = 6;
        for (r = 0; r < 10; ++r) {
            o.augment = recipes[r / 2];
            o.random = r % 2;
            o.balanced = 1;
            CHECK(zn_loader_create(pack, &o, &loader) == ZN_OK && zn_loader_load(loader, 3, 1, &batch) == ZN_OK && isfinite((double)zni_sum(batch.x->data, batch.x->count)));
            zn_loader_destroy(loader);
        }
        n.structure = small_net;
        n.classes = classes;
        t.batch = 12;
        t.epochs = 2;
        t.augment = recipes[0];
        CHECK(zn_net_create(ctx, &n, &net) == ZN_OK && zn_train_run(net, pack, NULL, &t, NULL) == ZN_OK); /* nothing to test on, either */
        zn_net_destroy(net);
        zn_pack_close(pack);
    }
    remove(path);
}

/* ---- evaluation ---- */
static void test_metrics(zn_ctx *ctx) {
    static const zn_real logits[4][CLASSES] = {{3, 1, 0, 0}, {0, 2, 2, 1}, {0, 5, 1, 0}, {1, 1, 1, 1}};
    static const int truths[4] = {0, 2, 0, 0};
    zn_metrics *m = zni_metrics_create(ctx, CLASSES, 4);
    int i, map[CLASSES];
    double loss = 0;
    for (i = 0; i < 4; ++i) {
        double sum = 0;
        int k;
        for (k = 0; k < CLASSES; ++k) sum += exp((double)logits[i][k]);
        loss += log(sum) - (double)logits[i][truths[i]];
        CHECK(zni_metrics_add(m, logits[i], truths[i]));
    }
    zni_metrics_finish(m);
    CHECK(m->images == 4 && fabs(m->loss - loss / 4) < 1e-12 && fabs(m->top1 - 0.5) < 1e-12 && fabs(m->top5 - 1) < 1e-12); /* a tie goes to the lower class */
    CHECK(m->confusion[0] == 2 && m->confusion[1] == 1 && m->confusion[2 * CLASSES + 1] == 1);
    CHECK(fabs(m->recall[0] - 2.0 / 3) < 1e-12 && fabs(m->mean_class - 1.0 / 3) < 1e-12 && m->predicted[2] == 1 && m->truth[1] == 2);
    CHECK(fabs(zn_metrics_chance(m) - 0.375) < 1e-12 && fabs(zn_metrics_permutation(m, map) - 0.75) < 1e-12 && map[0] == 0 && map[1] == 2);
    zn_metrics_destroy(m);
}
static void test_evaluation(zn_ctx *ctx) {
    static const char *const other_names[CLASSES] = {"RISING", "Rows", "columns", "falling"}; /* label k is class k + 3 of the others */
    static const char *const strange_names[CLASSES] = {"a", "b", "c", "d"};
    zn_train_opts o = quick_opts();
    zn_evaluate_opts e = zn_evaluate_opts_default();
    zn_pack *pack = NULL, *other = NULL, *strange = NULL;
    zn_net *net = quick_net(ctx);
    zn_metrics *m = NULL, *n = NULL;
    char path[600];
    int map[CLASSES];
    o.epochs = 12;
    CHECK(zn_pack_open(ctx, pack_path, &pack) == ZN_OK && zn_train_run(net, pack, NULL, &o, NULL) == ZN_OK);
    CHECK(strcmp(zn_net_class_name(net, 2), "falling") == 0 && zn_net_get_input(net)->size == SIDE);
    CHECK(zn_evaluate(net, pack, NULL, &m) == ZN_OK && m->top1 > 0.8 && m->images == TEST);
    sprintf(path, "%s.other", pack_path);
    CHECK(write_pack(ctx, path, other_names) == ZN_OK && zn_pack_open(ctx, path, &other) == ZN_OK);
    /* By name: what is stored as label 1 ("Rows") is class 0 for the network, so these labels are all wrong. */
    CHECK(zn_evaluate(net, other, NULL, &n) == ZN_OK && n->top1 < zn_metrics_chance(n) && fabs(n->loss - m->loss) > 0.5);
    CHECK(fabs(zn_metrics_permutation(n, map) - m->top1) < 1e-12 && map[0] == 3 && map[1] == 0 && map[2] == 1 && map[3] == 2);
    zn_metrics_destroy(n);
    e.by_index = 1;
    e.batch = 11;
    CHECK(zn_evaluate(net, other, &e, &n) == ZN_OK && fabs(n->top1 - m->top1) < 1e-12 && fabs(n->loss - m->loss) < 1e-6);
    zn_metrics_destroy(n);
    CHECK(write_pack(ctx, path, strange_names) == ZN_OK && zn_pack_open(ctx, path, &strange) == ZN_OK);
    CHECK(zn_evaluate(net, strange, NULL, &n) == ZN_ERROR_MISMATCH && n == NULL);
    CHECK_HOLDS(zn_error_text(ctx), "class 0, \"a\", is none of the network's 4 classes");
    zn_error_clear(ctx);
    zn_metrics_destroy(m);
    zn_pack_close(strange);
    zn_pack_close(other);
    zn_pack_close(pack);
    zn_net_destroy(net);
    remove(path);
}

/* ---- what the trainer's options do ---- */
static void test_freeze_and_parts(zn_ctx *ctx) {
    zn_train_opts o = quick_opts();
    zn_pack *pack = NULL;
    zn_net *net = quick_net(ctx), *start = quick_net(ctx);
    int i, same = 1, moved = 0;
    o.freeze_backbone = 1;
    o.keep_weights = 1;
    o.epochs = 2;
    zn_net_init(net, ZN_INIT_MSRA, 3);
    zn_net_init(start, ZN_INIT_MSRA, 3);
    CHECK(zn_pack_open(ctx, pack_path, &pack) == ZN_OK && zn_train_run(net, pack, NULL, &o, NULL) == ZN_OK);
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *a = zn_net_tensor(net, i), *b = zn_net_tensor(start, i);
        int equal = memcmp(zn_tensor_data(a), zn_tensor_data(b), zn_tensor_count(a) * sizeof(zn_real)) == 0;
        if (zn_net_is_buffer(net, i) || strncmp(zn_tensor_name(a), "fc_linear", 9) == 0) moved += !equal;
        else same &= equal;
        CHECK(zn_net_is_buffer(net, i) || zn_tensor_trainable(a)); /* free again */
    }
    CHECK(same && moved > 4);
    zn_pack_close(pack);
    zn_net_destroy(start);
    zn_net_destroy(net);
}
/* Without batch norm, gradients of parts add up to that of the batch. */
static void test_micro_batch(zn_ctx *ctx) {
    zn_train_opts o = quick_opts();
    zn_net_opts n = zn_net_opts_default();
    zn_net *nets[2] = {NULL, NULL};
    zn_pack *pack = NULL;
    double worst = 0;
    int k, i;
    n.structure = small_net;
    n.classes = CLASSES;
    n.bn = n.reslink = 0;
    o.init = ZN_INIT_01;
    o.epochs = 1;
    o.schedule.warmup = 0;
    CHECK(zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
    for (k = 0; k < 2; ++k) {
        o.micro_batch = k * 5; /* 5 5 5 1 */
        CHECK(zn_net_create(ctx, &n, &nets[k]) == ZN_OK && zn_train_run(nets[k], pack, NULL, &o, NULL) == ZN_OK);
    }
    for (i = 0; i < zn_net_tensor_count(nets[0]); ++i) {
        zn_tensor *a = zn_net_tensor(nets[0], i), *b = zn_net_tensor(nets[1], i);
        size_t j;
        for (j = 0; j < zn_tensor_count(a); ++j) worst = fmax(worst, fabs((double)(zn_tensor_data(a)[j] - zn_tensor_data(b)[j])));
    }
    CHECK(worst < 1e-5 && net_hash(nets[0]) != net_hash(nets[1]));
    for (k = 0; k < 2; ++k) zn_net_destroy(nets[k]);
    zn_pack_close(pack);
}
static void test_ema(zn_ctx *ctx) {
    zn_net *net = quick_net(ctx);
    zn_ema *ema = NULL;
    zn_tensor *t = zn_net_find(net, "fc_linear.netblock.weight");
    double average = 0;
    int step;
    CHECK(zn_ema_create(net, 0.5, &ema) == ZN_OK);
    for (step = 1; step <= 20; ++step) {
        double keep = fmin(0.5, (1.0 + step) / (10.0 + step));
        zn_tensor_data(t)[0] = (zn_real)step;
        zn_ema_update(ema);
        average = keep * average + (1 - keep) * step;
    }
    zn_ema_swap(ema);
    CHECK(fabs((double)zn_tensor_data(t)[0] - average) < 1e-4);
    zn_ema_swap(ema);
    CHECK((double)zn_tensor_data(t)[0] > 19.5);
    zn_ema_destroy(ema);
    CHECK(zn_ema_create(net, 1.0, &ema) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    zn_net_destroy(net);
}
static const char deep_net[] = "SuperConvK3BNRELU(3,8,2,1)SuperResK1K3K1(8,8,2,8,1)SuperResK1K3K1(8,16,2,8,1)SuperResK1K3K1(16,16,2,8,1)SuperConvK1BNRELU(16,32,2,1)";
static void test_distillation(zn_ctx *ctx) {
    zn_net_opts n = zn_net_opts_default();
    zn_net *student = NULL, *teacher = NULL;
    zn_optimizer *optimizer = NULL;
    zn_distiller *d = NULL;
    zn_distill_opts o = zn_distill_opts_default();
    zn_tensor *x = zn_tensor_create(ctx, zn_shape4(2, 3, 64, 64)), *target = zn_tensor_create(ctx, zn_shape2(2, CLASSES)), *logits = NULL, *loss;
    zn_input in = zn_input_default();
    uint64_t before, after;
    double plain;
    n.structure = deep_net;
    n.classes = CLASSES;
    n.attention = ZN_ATTENTION_NONE;
    CHECK(zn_net_create(ctx, &n, &student) == ZN_OK && zn_net_create(ctx, &n, &teacher) == ZN_OK);
    zn_net_init(student, ZN_INIT_MSRA, 1);
    zn_net_init(teacher, ZN_INIT_MSRA, 2);
    in.size = 96; /* the teacher looks at larger pictures */
    CHECK(zn_net_set_input(teacher, &in) == ZN_OK);
    zn_fill(zn_tensor_data(x), "x", 1, zn_tensor_count(x), -2, 2);
    zn_tensor_data(target)[0] = zn_tensor_data(target)[CLASSES + 1] = 1;
    CHECK(zn_optimizer_create(ctx, student, NULL, &optimizer) == ZN_OK);
    CHECK(zn_distiller_create(student, teacher, 64, &o, optimizer, 1, &d) == ZN_OK && zn_distiller_stages(d) == 2); /* maps of 4 and 2 */
    before = net_hash(teacher);
    loss = zn_distiller_loss(d, x, target, &logits);
    plain = zn_tensor_value(zn_cross_entropy(ctx, logits, target));
    CHECK(zn_tensor_value(loss) > plain + 0.1 && zn_backward(ctx, loss) == ZN_OK && zn_optimizer_step(optimizer, 0.1) == ZN_OK);
    after = net_hash(teacher);
    CHECK(before == after); /* values, running statistics, all */
    zn_optimizer_destroy(optimizer);
    zn_distiller_destroy(d);

    n.structure = small_net; /* one stage less: no features */
    zn_net_destroy(student);
    CHECK(zn_net_create(ctx, &n, &student) == ZN_OK && zn_optimizer_create(ctx, student, NULL, &optimizer) == ZN_OK);
    CHECK(zn_distiller_create(student, teacher, 64, &o, optimizer, 1, &d) == ZN_OK && zn_distiller_stages(d) == 0);
    zn_optimizer_destroy(optimizer);
    zn_distiller_destroy(d);
    CHECK(zn_optimizer_create(ctx, student, NULL, &optimizer) == ZN_OK && zn_distiller_create(student, student, 64, &o, optimizer, 1, &d) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    zn_optimizer_destroy(optimizer);
    zn_net_destroy(student);
    zn_net_destroy(teacher);
    zn_tensor_destroy(x);
    zn_tensor_destroy(target);
}
/* Memory runs out at every place of a distiller's life; what was the optimiser's before goes on. The teacher's maps are resized. */
static void test_distiller_memory(void) {
    long n;
    int done = 0;
    for (n = 1; n < 3000 && !done; ++n) {
        failing f;
        zn_ctx *ctx = failing_context(&f, -1);
        zn_net_opts o = zn_net_opts_default();
        zn_net *student = NULL, *teacher = NULL;
        zn_optimizer *optimizer = NULL;
        zn_distiller *d = NULL;
        zn_tensor *x = zn_tensor_create(ctx, zn_shape4(2, 3, 32, 32)), *target = zn_tensor_create(ctx, zn_shape2(2, CLASSES)), *logits = NULL;
        zn_result result;
        o.structure = deep_net;
        o.classes = CLASSES;
        CHECK(zn_net_create(ctx, &o, &student) == ZN_OK && zn_net_create(ctx, &o, &teacher) == ZN_OK && zn_optimizer_create(ctx, student, NULL, &optimizer) == ZN_OK);
        zn_net_init(student, ZN_INIT_MSRA, 1);
        f.left = n - 1;
        result = zn_distiller_create(student, teacher, 32, NULL, optimizer, 1, &d);
        if (result == ZN_OK && zn_distiller_loss(d, x, target, &logits) == NULL) result = zn_error_code(ctx);
        CHECK_FOR(result == ZN_OK || result == ZN_ERROR_MEMORY, zn_error_text(ctx));
        done = result == ZN_OK;
        f.left = -1;
        zn_error_clear(ctx);
        zn_tape_clear(ctx);
        CHECK(zn_backward(ctx, zn_mean(ctx, zn_net_forward(student, x, 1))) == ZN_OK && zn_optimizer_step(optimizer, 0.1) == ZN_OK);
        zn_optimizer_destroy(optimizer);
        zn_distiller_destroy(d);
        zn_net_destroy(student);
        zn_net_destroy(teacher);
        zn_ctx_destroy(ctx);
        CHECK(f.live == 0);
    }
    CHECK(done && n > 100);
}
/* Bilinear resizing as PyTorch has it: 2 values to 4 and back. */
static void test_resize_map(zn_ctx *ctx) {
    static const zn_real row[2] = {0, 4}, wide[4] = {0, 1, 3, 4};
    zn_tensor *x = zn_tensor_from(ctx, zn_shape4(1, 1, 1, 2), row), *y = zni_resize_map(x, 1, 4);
    int i;
    for (i = 0; i < 4; ++i) CHECK(fabs((double)(y->data[i] - wide[i])) < 1e-6);
    y = zni_resize_map(y, 1, 2);
    CHECK(fabs((double)y->data[0] - 0.5) < 1e-6 && fabs((double)y->data[1] - 3.5) < 1e-6);
    zn_tape_clear(ctx);
    zn_tensor_destroy(x);
}

/* ---- the report: whole, escaped, with a picture of every mistake ---- */
static void test_report(zn_ctx *ctx) {
    static const char *const hostile[CLASSES] = {"<b>", "a&b", "\"q\"", "plain"};
    zn_train_opts o = quick_opts();
    zn_report_opts r = zn_report_opts_default();
    zn_train_result *result = NULL;
    zn_metrics *m = NULL;
    zn_pack *pack = NULL;
    zn_net *net = quick_net(ctx);
    unsigned char *page = NULL;
    char path[600];
    const char *at;
    size_t size = 0, wrong = 0, i, pictures = 0;
    sprintf(path, "%s.html", pack_path);
    o.epochs = 3;
    CHECK(zn_net_set_class_names(net, hostile, CLASSES) == ZN_OK && zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
    CHECK(zn_train_run(net, pack, NULL, &o, NULL) == ZN_ERROR_MISMATCH); /* its classes have other names */
    zn_error_clear(ctx);
    zn_net_destroy(net);
    net = quick_net(ctx);
    CHECK(zn_train_run(net, pack, NULL, &o, &result) == ZN_OK && zn_evaluate(net, pack, NULL, &m) == ZN_OK);
    CHECK(zn_net_set_class_names(net, hostile, CLASSES) == ZN_OK);
    r.result = result;
    r.metrics = m;
    r.pack = pack;
    r.mistakes = 7;
    r.command = "train --arch '<x>'";
    CHECK(zn_report_write(net, &r, path) == ZN_OK && zni_file_read(ctx, path, 1 << 24, &page, &size) == ZN_OK);
    for (i = 0; i < m->images; ++i) wrong += m->predicted[i] != m->truth[i];
    for (at = (const char *)page; at != NULL && (at = strstr(at, "data:image/bmp;base64,Qk")) != NULL; ++at) ++pictures;
    CHECK(pictures == (wrong < 7 ? wrong : 7));
    CHECK(page != NULL && strstr((const char *)page, "</html>") != NULL && strstr((const char *)page, "&lt;b&gt;") != NULL && strstr((const char *)page, "<b>&lt;b&gt;</b>") != NULL);
    CHECK(page != NULL && strstr((const char *)page, "a&amp;b") != NULL && strstr((const char *)page, "'&lt;x&gt;'") != NULL && strstr((const char *)page, "http") == NULL);
    CHECK(page != NULL && strstr((const char *)page, "label_smoothing") != NULL && strstr((const char *)page, "Accuracy by epoch") != NULL);
    zni_free(ctx, page);
    r.thumbnail = 3;
    CHECK(zn_report_write(net, &r, path) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    memset(&r, 0, sizeof r);
    r.thumbnail = 16;
    CHECK(zn_report_write(net, &r, path) == ZN_OK); /* nothing to tell */
    remove(path);
    zn_metrics_destroy(m);
    zn_train_result_destroy(result);
    zn_pack_close(pack);
    zn_net_destroy(net);
}

/* ---- errors ---- */
static void refuse_opts(zn_ctx *ctx, const zn_train_opts *o, zn_result code, const char *words) {
    zn_pack *pack = NULL;
    zn_net *net = quick_net(ctx);
    CHECK(zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
    CHECK_FOR(zn_train_run(net, pack, NULL, o, NULL) == code, words);
    CHECK_HOLDS(zn_error_text(ctx), words);
    zn_error_clear(ctx);
    zn_pack_close(pack);
    zn_net_destroy(net);
}
static void test_errors(zn_ctx *ctx) {
    zn_train_opts o = quick_opts();
    char path[600];
    o.lr = 1e6;
    o.schedule.warmup = 0;
    o.epochs = 50;
    refuse_opts(ctx, &o, ZN_ERROR_NUMBER, "training: the loss is");
    o = quick_opts(), o.epochs = 0;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "epochs is 0");
    o = quick_opts(), o.lr = -1;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "lr is -1");
    o = quick_opts(), o.lr = (double)NAN;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "lr is ");
    o = quick_opts(), o.batch = TRAIN + 1;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "a batch of 97");
    o = quick_opts(), o.schedule.warmup = 6;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "warm-up of 6 epochs");
    o = quick_opts(), o.ema = 1;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "ema is 1");
    o = quick_opts(), o.augment.input.size = 0;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "augment.input.size is 0");
    o = quick_opts(), o.optimizer.kind = (zn_optimizer_kind)3, o.optimizer.rho = 2;
    refuse_opts(ctx, &o, ZN_ERROR_ARGUMENT, "optimizer.rho is 2");
    sprintf(path, "%s/none/none", folder);
    o = quick_opts(), o.checkpoint_dir = path;
    refuse_opts(ctx, &o, ZN_ERROR_FILE, "cannot make this folder");
    o = quick_opts(), o.checkpoint_dir = pack_path; /* a file */
    refuse_opts(ctx, &o, ZN_ERROR_FILE, "latest.safetensors");
}

/* ---- stopping and going on ---- */
static int stop_at(const zn_train_state *s, void *user) {
    (void)s;
    return --*(int *)user == 0;
}
static void clean_folder(void) {
    char path[600];
    sprintf(path, "%s/latest.safetensors", folder);
    remove(path);
    sprintf(path, "%s/best.safetensors", folder);
    remove(path);
    remove(folder);
}
/* Stopped after every third callback (batches, tests, epochs alike), resumed in a new context each time. */
static void test_resume(void) {
    zn_ctx *ctx = NULL;
    zn_train_opts o = quick_opts();
    zn_train_result *result = NULL;
    zn_pack *pack = NULL;
    zn_net *net, *teacher;
    zn_result end = ZN_STOPPED;
    uint64_t whole = 0, parts = 0;
    int left, runs, part;
    o.epochs = 3;
    o.ema = 0.8;
    o.mixup = 0.3;
    o.augment = zn_augment_opts_rafdb(SIDE);
    o.micro_batch = 12;
    o.optimizer = zn_optimizer_opts_default(ZN_ADAM);
    o.lr = 0.002;
    clean_folder();
    for (part = 0; part < 2; ++part) {
        for (runs = 0, end = ZN_STOPPED; end == ZN_STOPPED && runs < 40; ++runs) {
            CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK && zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
            net = quick_net(ctx);
            teacher = quick_net(ctx);
            zn_net_init(teacher, ZN_INIT_MSRA, 9);
            zn_net_set_input(teacher, &o.augment.input);
            o.teacher = teacher;
            left = 3 + runs % 5;
            if (part == 1) {
                o.checkpoint_dir = folder;
                o.resume = 1;
                o.on_batch = o.on_epoch = stop_at;
                o.user = &left;
            }
            end = zn_train_run(net, pack, NULL, &o, &result);
            if (end == ZN_OK) *(part == 0 ? &whole : &parts) = net_hash(net);
            else if (end != ZN_STOPPED) printf("%s\n", zn_error_text(ctx));
            if (end == ZN_OK && part == 1) CHECK(result->resumed_epoch >= 2 && result->epochs == 3 && result->rows[0].test_top1 >= 0);
            zn_train_result_destroy(result);
            zn_pack_close(pack);
            zn_net_destroy(teacher);
            zn_net_destroy(net);
            zn_ctx_destroy(ctx);
        }
    }
    CHECK(runs > 5 && whole != 0 && whole == parts);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    {
        char path[600];
        sprintf(path, "%s/latest.safetensors", folder);
        CHECK(zn_train_history(ctx, path, &result) == ZN_OK && result->epochs == 3 && result->rows[2].test_top1 >= 0 && strstr(result->recipe, "optimizer adam") != NULL);
        zn_train_result_destroy(result);
        sprintf(path, "%s/best.safetensors", folder);
        CHECK(zn_train_history(ctx, path, &result) == ZN_ERROR_FORMAT && result == NULL);
    }
    zn_ctx_destroy(ctx);
    o.teacher = NULL;
    o.on_batch = o.on_epoch = NULL;
    o.lr = 0.003;
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    refuse_opts(ctx, &o, ZN_ERROR_MISMATCH, "resume with the same options");
    { /* one wrong bit anywhere is found; a cut checkpoint is refused, and left alone */
        char path[600];
        FILE *file;
        unsigned char *bytes;
        size_t size, at;
        sprintf(path, "%s/latest.safetensors", folder);
        o.lr = 0.002;
        CHECK(zni_file_read(ctx, path, SIZE_MAX / 4, &bytes, &size) == ZN_OK && size > 10000);
        for (at = size / 50; at < size; at += size / 25) {
            bytes[at] ^= 4;
            file = fopen(path, "wb");
            CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
            bytes[at] ^= 4;
            {
                zn_pack *pack_again = NULL;
                zn_net *again = quick_net(ctx);
                CHECK(zn_pack_open(ctx, pack_path, &pack_again) == ZN_OK);
                CHECK(zn_train_run(again, pack_again, NULL, &o, NULL) != ZN_OK);
                zn_error_clear(ctx);
                zn_pack_close(pack_again);
                zn_net_destroy(again);
            }
        }
        zni_free(ctx, bytes);
        o.lr = 0.003;
        file = fopen(path, "wb");
        CHECK(file != NULL && fputs("cut off", file) >= 0 && fclose(file) == 0);
        refuse_opts(ctx, &o, ZN_ERROR_FORMAT, "latest.safetensors");
    }
    zn_ctx_destroy(ctx);
    clean_folder();
}

/* ---- memory running out at every allocation in turn ---- */
static zn_result train_counted(failing *f, long left) {
    zn_ctx *ctx = failing_context(f, left);
    zn_train_opts o = quick_opts();
    zn_pack *pack = NULL;
    zn_net *net = NULL;
    zn_result result;
    o.epochs = 1;
    o.batch = TRAIN;
    o.schedule.warmup = 0;
    o.ema = 0.9;
    o.balanced = 1;
    o.checkpoint_dir = folder;
    result = ctx != NULL ? zn_pack_open(ctx, pack_path, &pack) : ZN_ERROR_MEMORY;
    if (result == ZN_OK && (net = quick_net(ctx)) == NULL) result = zn_error_code(ctx);
    if (result == ZN_OK) result = zn_train_run(net, pack, NULL, &o, NULL);
    zn_pack_close(pack);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return result;
}
static void test_memory(void) {
    failing f;
    long total, n, good = 1, tried = 0;
    CHECK(train_counted(&f, -1) == ZN_OK && f.live == 0);
    total = f.calls;
    for (n = 0; n < total; n += 1 + total / 60) {
        zn_result result = train_counted(&f, n);
        good &= result == ZN_ERROR_MEMORY && f.live == 0;
        if (!(result == ZN_ERROR_MEMORY && f.live == 0)) printf("allocation %ld: result %d, %ld left\n", n, (int)result, f.live);
        ++tried;
    }
    CHECK(good && tried > 30);
    clean_folder();
}

int main(int argc, char **argv) {
    zn_ctx *ctx = NULL;
    zn_pack *pack = NULL;
    (void)argc;
    sprintf(pack_path, "%.480s.pack", argv[0]);
    sprintf(folder, "%.480s.run", argv[0]);
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK && write_pack(ctx, pack_path, class_names) == ZN_OK && zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
    test_optimizers(ctx);
    test_schedule();
    test_sampler(pack);
    test_loader(ctx, pack);
    test_bad_image(ctx);
    test_odd_sets(ctx);
    test_metrics(ctx);
    test_evaluation(ctx);
    test_learns(ctx);
    test_determinism(ctx);
    test_freeze_and_parts(ctx);
    test_micro_batch(ctx);
    test_ema(ctx);
    test_distillation(ctx);
    test_resize_map(ctx);
    test_report(ctx);
    test_errors(ctx);
    zn_pack_close(pack);
    zn_ctx_destroy(ctx);
    test_resume();
    test_distiller_memory();
    test_memory();
    remove(pack_path);
    return check_done();
}
