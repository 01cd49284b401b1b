/* linear.c - how far a classifier that is linear in the pixels gets on a pack: what a set must be harder than.

     build/tests/linear PACK [SIDE]

   Multinomial logistic regression on SIDE x SIDE RGB (default 24; on toy faces no other side does clearly better), pixels standardised over the
   training set, momentum SGD with cosine, for four strengths of weight decay. The figure is the best test accuracy at any
   epoch of any of them - a choice made on the test set, so it flatters the linear classifier. Ends with: linear 0.521 */
#include "../data_tools/tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "../data_tools/zennet_image.h"

#include "../data_tools/pack_decode.h"

enum { EPOCHS = 30, BATCH = 50, MAX_CLASSES = 64 };

typedef struct linear_set {
    int side, classes;
    size_t features, count[2];
    float *x[2]; /* count * features */
    int *label[2];
} linear_set;

/* One image as side x side means of its pixels. */
static int linear_image(zn_pack *pack, zn_split split, size_t i, int side, float *out, int *out_label) {
    zn_pack_info info;
    unsigned char *rgb;
    int x, y, k;
    size_t *hits = (size_t *)calloc((size_t)(side * side), sizeof *hits);
    (void)zn_pack_image(pack, split, i, &info);
    rgb = (unsigned char *)malloc((size_t)info.width * (size_t)info.height * 3);
    if (hits == NULL || rgb == NULL || zn_pack_rgb(pack, split, i, rgb) != ZN_OK) {
        free(hits);
        free(rgb);
        return -1;
    }
    memset(out, 0, (size_t)(side * side * 3) * sizeof *out);
    for (y = 0; y < info.height; ++y)
        for (x = 0; x < info.width; ++x) {
            size_t cell = (size_t)(y * side / info.height * side + x * side / info.width);
            ++hits[cell];
            for (k = 0; k < 3; ++k) out[3 * cell + (size_t)k] += (float)rgb[((size_t)y * (size_t)info.width + (size_t)x) * 3 + (size_t)k];
        }
    for (x = 0; x < side * side * 3; ++x) out[x] /= hits[x / 3] > 0 ? 255.0f * (float)hits[x / 3] : 1.0f;
    *out_label = info.label;
    free(hits);
    free(rgb);
    return 0;
}
static int linear_load(zn_pack *pack, linear_set *s) {
    size_t i, f;
    int split;
    s->classes = zn_pack_classes(pack);
    s->features = (size_t)(s->side * s->side * 3);
    for (split = 0; split < 2; ++split) {
        s->count[split] = zn_pack_count(pack, split == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST);
        s->x[split] = (float *)malloc((s->count[split] * s->features + 1) * sizeof(float));
        s->label[split] = (int *)malloc((s->count[split] + 1) * sizeof(int));
        if (s->x[split] == NULL || s->label[split] == NULL) return -1;
        for (i = 0; i < s->count[split]; ++i)
            if (linear_image(pack, split == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST, i, s->side, s->x[split] + i * s->features, &s->label[split][i]) != 0) return -1;
    }
    for (f = 0; f < s->features; ++f) { /* mean 0, deviation 1 over the training set */
        double sum = 0, squares = 0, mean, scale;
        for (i = 0; i < s->count[0]; ++i) {
            double v = (double)s->x[0][i * s->features + f];
            sum += v;
            squares += v * v;
        }
        mean = sum / (double)s->count[0];
        scale = 1 / (sqrt(fabs(squares / (double)s->count[0] - mean * mean)) + 1e-3);
        for (split = 0; split < 2; ++split)
            for (i = 0; i < s->count[split]; ++i) {
                float *v = &s->x[split][i * s->features + f];
                *v = (float)(((double)*v - mean) * scale);
            }
    }
    return 0;
}

static void linear_scores(const linear_set *s, const float *w, const float *x, float *out) { /* w: classes rows of features + 1 */
    int k;
    size_t f;
    for (k = 0; k < s->classes; ++k) {
        const float *row = w + (size_t)k * (s->features + 1);
        float part[8] = {0, 0, 0, 0, 0, 0, 0, 0}; /* features is a multiple of 3 only; eight sums let the compiler vectorise */
        size_t whole = s->features / 8 * 8;
        for (f = 0; f < whole; f += 8) {
            int j;
            for (j = 0; j < 8; ++j) part[j] += row[f + (size_t)j] * x[f + (size_t)j];
        }
        for (; f < s->features; ++f) part[0] += row[f] * x[f];
        out[k] = row[s->features] + ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    }
}
static void linear_step(const linear_set *s, float *w, float *velocity, const uint32_t *batch, float rate, float decay) {
    float score[MAX_CLASSES];
    size_t row = s->features + 1, i, f;
    int b, k;
    for (i = 0; i < row * (size_t)s->classes; ++i) velocity[i] = 0.9f * velocity[i] + decay * w[i];
    for (b = 0; b < BATCH; ++b) {
        const float *x = s->x[0] + batch[b] * s->features;
        float top, sum = 0;
        linear_scores(s, w, x, score);
        for (top = score[0], k = 1; k < s->classes; ++k) top = score[k] > top ? score[k] : top;
        for (k = 0; k < s->classes; ++k) sum += score[k] = (float)exp((double)(score[k] - top));
        for (k = 0; k < s->classes; ++k) {
            float g = (score[k] / sum - (s->label[0][batch[b]] == k ? 1.0f : 0.0f)) / (float)BATCH, *v = velocity + (size_t)k * row;
            for (f = 0; f < s->features; ++f) v[f] += g * x[f];
            v[s->features] += g;
        }
    }
    for (i = 0; i < row * (size_t)s->classes; ++i) w[i] -= rate * velocity[i];
}
static double linear_accuracy(const linear_set *s, const float *w, int split) {
    size_t i, right = 0;
    for (i = 0; i < s->count[split]; ++i) {
        float score[MAX_CLASSES];
        int k, best = 0;
        linear_scores(s, w, s->x[split] + i * s->features, score);
        for (k = 1; k < s->classes; ++k)
            if (score[k] > score[best]) best = k;
        right += best == s->label[split][i];
    }
    return (double)right / (double)s->count[split];
}
/* Best test accuracy of one run; *out_train: accuracy on the training set at its end. */
static double linear_train(const linear_set *s, float decay, float *w, float *velocity, uint32_t *order, double *out_train) {
    size_t weights = (s->features + 1) * (size_t)s->classes, i, batches = s->count[0] / BATCH;
    zn_rng rng = zn_rng_seed(1);
    double best = 0;
    int epoch;
    memset(w, 0, weights * sizeof *w);
    memset(velocity, 0, weights * sizeof *velocity);
    for (i = 0; i < s->count[0]; ++i) order[i] = (uint32_t)i;
    for (epoch = 0; epoch < EPOCHS; ++epoch) {
        float rate = (float)(0.0015 * 0.5 * (1 + cos(3.14159265 * epoch / EPOCHS)));
        double accuracy;
        zn_rng_shuffle(&rng, order, s->count[0]);
        for (i = 0; i < batches; ++i) linear_step(s, w, velocity, order + i * BATCH, rate, decay);
        accuracy = linear_accuracy(s, w, 1);
        if (accuracy > best) best = accuracy;
    }
    *out_train = linear_accuracy(s, w, 0);
    return best;
}
static int linear_failed(const char *why) {
    fprintf(stderr, "linear: %s\n", why);
    return 1;
}
int main(int argc, char **argv) {
    static const float decays[] = {1e-3f, 1e-2f, 1e-1f, 3e-1f};
    zn_ctx *ctx = NULL;
    zn_pack *pack = NULL;
    linear_set s;
    double best = 0, accuracy, train;
    float *w, *velocity;
    uint32_t *order;
    size_t i, weights;
    memset(&s, 0, sizeof s);
    s.side = argc > 2 ? atoi(argv[2]) : 24;
    if (argc < 2 || s.side < 1 || s.side > 256) return fprintf(stderr, "usage: %s PACK [SIDE]\n", argv[0]), 2;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK || zn_pack_open(ctx, argv[1], &pack) != ZN_OK) return linear_failed(zn_error_text(ctx));
    zn_pack_set_decoder(pack, pack_decode, NULL);
    if (zn_pack_classes(pack) > MAX_CLASSES || linear_load(pack, &s) != 0 || s.count[0] < BATCH || s.count[1] < 1) return linear_failed("the pack cannot be used");
    weights = (s.features + 1) * (size_t)s.classes;
    w = (float *)malloc(weights * sizeof *w);
    velocity = (float *)malloc(weights * sizeof *velocity);
    order = (uint32_t *)malloc(s.count[0] * sizeof *order);
    if (w == NULL || velocity == NULL || order == NULL) return linear_failed("out of memory");
    for (i = 0; i < sizeof decays / sizeof decays[0]; ++i) {
        accuracy = linear_train(&s, decays[i], w, velocity, order, &train);
        printf("side %d, weight decay %g: training set %.3f, test %.3f\n", s.side, (double)decays[i], train, accuracy);
        if (accuracy > best) best = accuracy;
    }
    printf("linear %.3f\n", best);
    for (i = 0; i < 2; ++i) {
        free(s.x[i]);
        free(s.label[i]);
    }
    free(w);
    free(velocity);
    free(order);
    zn_pack_close(pack);
    zn_ctx_destroy(ctx);
    return 0;
}
