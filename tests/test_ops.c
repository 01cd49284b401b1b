/* test_ops.c - operations and their gradients: every row of the operation table against central differences, values
   against plain loops written here, and refusals. Built with float and with double. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"

#ifdef ZENNET_DOUBLE
#define TOLERANCE 1e-12
#else
#define TOLERANCE 2e-6
#endif

/* A created tensor with values in [-1, 1) that depend on its name. */
static zn_tensor *filled(zn_ctx *ctx, zn_shape shape, const char *name) {
    zn_tensor *t = zn_tensor_create(ctx, shape);
    if (t != NULL) zn_fill(zn_tensor_data(t), name, 1, zn_tensor_count(t), -1, 1);
    return t;
}
static double at(zn_tensor *t, int i) { return (double)zn_tensor_data(t)[i]; }

static void test_table(zn_ctx *ctx) {
    static const char *const needed[] = {"conv", "linear", "batch_norm", "group_norm", "relu", "swish", "sigmoid", "add", "mul", "scale",
                                         "avg_pool", "max_pool", "concat", "slice", "reshape", "shuffle", "softmax", "cross_entropy", "smooth_l1", "sum", "mean"};
    int row = 0, other;
    size_t i;
    for (; zn_op_name(row) != NULL; ++row) {
        zn_gradient_report report;
        zn_result result = zn_op_check(ctx, row, &report);
        CHECK_FOR(result == ZN_OK, zn_op_name(row));
        if (result != ZN_OK) printf("    %s\n", zn_error_text(ctx));
        CHECK_FOR(report.checked > 0, zn_op_name(row));
        for (other = 0; other < row; ++other) CHECK(strcmp(zn_op_name(row), zn_op_name(other)) != 0);
        zn_error_clear(ctx);
    }
    CHECK(row >= 23 && zn_op_name(-1) == NULL && zn_op_check(ctx, row, NULL) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    for (i = 0; i < sizeof needed / sizeof needed[0]; ++i) {
        int found = 0;
        for (row = 0; zn_op_name(row) != NULL; ++row) found |= strstr(zn_op_name(row), needed[i]) != NULL;
        CHECK_FOR(found, needed[i]);
    }
}

/* ------------------------------------------------------------------------------------------------------------------
   Convolution against the plain definition, over odd shapes
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct conv_case {
    int n, c, h, w, o, k, stride, padding, groups;
} conv_case;

static double conv_value(zn_tensor *x, zn_tensor *w, zn_tensor *b, const conv_case *s, int n, int o, int y, int z) {
    int per = s->c / s->groups, first = o / (s->o / s->groups) * per, c, i, j;
    double sum = b != NULL ? at(b, o) : 0;
    for (c = 0; c < per; ++c)
        for (i = 0; i < s->k; ++i)
            for (j = 0; j < s->k; ++j) {
                int row = y * s->stride + i - s->padding, column = z * s->stride + j - s->padding;
                if (row < 0 || row >= s->h || column < 0 || column >= s->w) continue;
                sum += at(x, ((n * s->c + first + c) * s->h + row) * s->w + column) * at(w, ((o * per + c) * s->k + i) * s->k + j);
            }
    return sum;
}
static void check_conv(zn_ctx *ctx, const conv_case *s, int bias) {
    zn_tensor *x = filled(ctx, zn_shape4(s->n, s->c, s->h, s->w), "x"), *w = filled(ctx, zn_shape4(s->o, s->c / s->groups, s->k, s->k), "w");
    zn_tensor *b = bias ? filled(ctx, zn_shape1(s->o), "b") : NULL, *y = zn_conv2d(ctx, x, w, b, s->stride, s->padding, s->groups);
    int oh = (s->h + 2 * s->padding - s->k) / s->stride + 1, ow = (s->w + 2 * s->padding - s->k) / s->stride + 1, n, o, i, j, index = 0;
    double worst = 0;
    char which[128];
    snprintf(which, sizeof which, "%d x %d x %d x %d to %d, kernel %d stride %d padding %d groups %d", s->n, s->c, s->h, s->w, s->o, s->k, s->stride, s->padding, s->groups);
    CHECK_FOR(y != NULL && zn_tensor_count(y) == (size_t)s->n * (size_t)s->o * (size_t)oh * (size_t)ow, which);
    for (n = 0; y != NULL && n < s->n; ++n)
        for (o = 0; o < s->o; ++o)
            for (i = 0; i < oh; ++i)
                for (j = 0; j < ow; ++j, ++index) {
                    double d = fabs(at(y, index) - conv_value(x, w, b, s, n, o, i, j));
                    if (!(d <= worst)) worst = d;
                }
    CHECK_FOR(worst <= TOLERANCE * (s->k * s->k * s->c / s->groups + 1), which);
    zn_tape_clear(ctx);
    zn_tensor_destroy(x);
    zn_tensor_destroy(w);
    zn_tensor_destroy(b);
}
static void test_conv(zn_ctx *ctx) {
    static const conv_case fixed[] = {{1, 3, 1, 1, 1, 1, 1, 0, 1}, {2, 3, 7, 5, 4, 3, 2, 1, 1}, {1, 17, 9, 13, 33, 1, 1, 0, 1}, {1, 1, 3, 3, 1, 3, 1, 0, 1},
                                      {1, 64, 7, 7, 65, 1, 1, 0, 1}, {1, 8, 28, 28, 8, 7, 1, 3, 8}, {2, 8, 15, 1, 8, 5, 2, 2, 8}, {1, 4, 2, 2, 4, 7, 1, 3, 4},
                                      {1, 6, 11, 11, 9, 3, 3, 0, 3}, {3, 16, 5, 5, 31, 1, 2, 0, 1}, {1, 4, 3, 3, 4, 3, 65536, 2, 1}};
    zn_rng rng = zn_rng_seed(3);
    size_t i;
    int round;
    for (i = 0; i < sizeof fixed / sizeof fixed[0]; ++i) check_conv(ctx, &fixed[i], (int)i % 2);
    for (round = 0; round < 60; ++round) {
        conv_case s;
        s.groups = round % 3 == 0 ? 1 + (int)zn_rng_below(&rng, 5) : 1;
        s.c = s.groups * (1 + (int)zn_rng_below(&rng, 9));
        s.o = round % 6 == 0 ? (s.groups = s.c) : s.groups * (1 + (int)zn_rng_below(&rng, 9));
        s.n = 1 + (int)zn_rng_below(&rng, 3);
        s.k = 1 + (int)zn_rng_below(&rng, 5);
        s.h = s.k + (int)zn_rng_below(&rng, 12);
        s.w = s.k + (int)zn_rng_below(&rng, 20);
        s.stride = 1 + (int)zn_rng_below(&rng, 3);
        s.padding = (int)zn_rng_below(&rng, 4);
        check_conv(ctx, &s, round % 2);
    }
}

/* ------------------------------------------------------------------------------------------------------------------
   Small values worked out by hand
   ------------------------------------------------------------------------------------------------------------------ */
static void check_values(zn_tensor *t, const double *want, int count, const char *which) {
    int i;
    CHECK_FOR(t != NULL && zn_tensor_count(t) == (size_t)count, which);
    for (i = 0; t != NULL && i < count; ++i) CHECK_FOR(fabs(at(t, i) - want[i]) <= 4 * TOLERANCE, which);
}
static void test_values(zn_ctx *ctx) {
    static const zn_real four[] = {1, -2, 3, -4}, pair[] = {10, 20}, one[] = {2}, logits[] = {0, (zn_real)0.69314718055994530942, 1, 1}, target[] = {1, 0, (zn_real)0.5, (zn_real)0.5};
    static const double relu[] = {1, 0, 3, 0}, twice[] = {2, -4, 6, -8}, channel[] = {11, 8, 23, 16}, product[] = {10, -20, 60, -80}, pooled[] = {-0.5, -0.5}, maximum[] = {1, -2, 3, -4};
    static const double soft[] = {1.0 / 3, 2.0 / 3, 0.5, 0.5}, joined[] = {1, -2, 3, -4, 1, -2, 3, -4}, second[] = {3, -4}, shuffled[] = {0, 2, 1, 3};
    static const zn_real channels[] = {0, 1, 2, 3};
    zn_tensor *x = zn_tensor_from(ctx, zn_shape4(1, 2, 1, 2), four), *c = zn_tensor_from(ctx, zn_shape4(1, 2, 1, 1), pair), *s = zn_tensor_from(ctx, zn_shape1(1), one);
    zn_tensor *l = zn_tensor_from(ctx, zn_shape2(2, 2), logits), *t = zn_tensor_from(ctx, zn_shape2(2, 2), target), *q = zn_tensor_from(ctx, zn_shape4(1, 4, 1, 1), channels);
    check_values(zn_relu(ctx, x), relu, 4, "relu");
    check_values(zn_scale(ctx, x, 2), twice, 4, "scale");
    check_values(zn_mul(ctx, x, s), twice, 4, "mul by one value");
    check_values(zn_add(ctx, x, x), twice, 4, "add");
    check_values(zn_add(ctx, x, c), channel, 4, "add per channel");
    check_values(zn_mul(ctx, x, c), product, 4, "mul per channel");
    check_values(zn_global_avg_pool(ctx, x), pooled, 2, "global pool");
    check_values(zn_max_pool(ctx, x, 2, 2, 1), maximum, 4, "max pool with windows half outside");
    check_values(zn_softmax(ctx, l), soft, 4, "softmax");
    check_values(zn_concat(ctx, x, x), joined, 8, "concat");
    check_values(zn_slice(ctx, x, 1, 1), second, 2, "slice");
    check_values(zn_channel_shuffle(ctx, q, 2), shuffled, 4, "shuffle");
    CHECK(fabs(zn_tensor_value(zn_cross_entropy(ctx, l, t)) - (log(3.0) + log(2.0)) / 2) < 4 * TOLERANCE);
    CHECK(fabs(zn_tensor_value(zn_sum(ctx, x)) + 2) < TOLERANCE && fabs(zn_tensor_value(zn_mean(ctx, x)) + 0.5) < TOLERANCE);
    CHECK(fabs(zn_tensor_value(zn_smooth_l1(ctx, x, zn_scale(ctx, x, 0.75), 1)) - (0.03125 + 0.125 + 0.28125 + 0.5) / 4) < TOLERANCE);
    CHECK(zn_error_code(ctx) == ZN_OK);
    zn_tape_clear(ctx);
}

/* A window far larger than its map costs what lies inside: each of the sixteen would otherwise visit 4e9 places. */
static void test_large_window(zn_ctx *ctx) {
    zn_tensor *x = zn_param_zeros(ctx, zn_shape4(1, 1, 3, 3)), *y = NULL;
    int i, wrong = 0;
    zn_tensor_data(x)[4] = 1;
    y = zn_max_pool(ctx, x, 65536, 1, 32768);
    CHECK(zn_tensor_count(y) == 16 && zn_backward(ctx, zn_sum(ctx, y)) == ZN_OK);
    for (i = 0; i < 16 && y != NULL; ++i) wrong += at(y, i) != 1;
    for (i = 0; i < 9; ++i) wrong += (double)zn_tensor_grad(x)[i] != (i == 4 ? 16 : 0);
    CHECK(wrong == 0);
    zn_tape_clear(ctx);
    zn_tensor_destroy(x);
    x = zn_tensor_create(ctx, zn_shape4(1, 1, 1, 600000)); /* where the bins' bounds pass an int on the way */
    zn_tensor_data(x)[599999] = 1;
    y = zn_adaptive_avg_pool(ctx, x, 4096);
    CHECK(y != NULL && at(y, 0) == 0 && fabs(at(y, 4095) - 1.0 / 147) < TOLERANCE);
    zn_tape_clear(ctx);
    zn_tensor_destroy(x);
}

/* ------------------------------------------------------------------------------------------------------------------
   Refusals: NULL in, NULL out; shapes that do not fit leave a reason
   ------------------------------------------------------------------------------------------------------------------ */
static void check_refused(zn_ctx *ctx, zn_tensor *result, const char *which) {
    CHECK_FOR(result == NULL, which);
    CHECK_FOR(zn_error_code(ctx) != ZN_OK && zn_error_text(ctx)[0] != '\0', which);
    zn_error_clear(ctx);
    zn_tape_clear(ctx);
}
static void test_refusals(zn_ctx *ctx) {
    zn_tensor *x = filled(ctx, zn_shape4(2, 4, 5, 5), "x"), *w = filled(ctx, zn_shape4(6, 4, 3, 3), "w"), *v = filled(ctx, zn_shape1(4), "v"), *bad = filled(ctx, zn_shape1(3), "v");
    zn_tensor *m = filled(ctx, zn_shape2(2, 3), "m"), *one = filled(ctx, zn_shape1(1), "one");
    zn_shape five = zn_shape4(2, 3, 1, 1);
    zn_ctx *other = NULL;
    check_refused(ctx, zn_tensor_create(ctx, zn_shape2(0, 3)), "a size of 0");
    check_refused(ctx, zn_tensor_create(ctx, zn_shape2(-1, 3)), "a negative size");
    CHECK(zn_tensor_create(ctx, zn_shape4(INT_MAX, INT_MAX, INT_MAX, INT_MAX)) == NULL && zn_error_code(ctx) == ZN_ERROR_MEMORY);
    CHECK_HOLDS(zn_error_text(ctx), "too large");
    zn_error_clear(ctx);
    five.dims = 5;
    CHECK(zn_tensor_create(ctx, five) == NULL && zn_error_code(ctx) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "5 dimensions, must be 1 to 4");
    zn_error_clear(ctx);
    check_refused(ctx, zn_reshape(ctx, x, five), "reshape to five dimensions");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, 0, 1, 1), "stride 0");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, INT_MAX, 2, 1), "a stride whose positions overflow");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, 1, -1, 1), "negative padding");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, 1, 1, 2), "groups that do not fit the weights");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, 1, 1, 3), "groups that do not divide");
    check_refused(ctx, zn_conv2d(ctx, x, w, NULL, 1, 1, 0), "no groups");
    check_refused(ctx, zn_conv2d(ctx, x, w, bad, 1, 1, 1), "a bias of another size");
    check_refused(ctx, zn_conv2d(ctx, m, w, NULL, 1, 1, 1), "a matrix into a convolution");
    check_refused(ctx, zn_linear(ctx, x, w, NULL), "maps into a linear layer");
    check_refused(ctx, zn_batch_norm(ctx, x, v, bad, v, v, 0, 0.1, 1e-3), "batch norm of other sizes");
    check_refused(ctx, zn_batch_norm(ctx, x, v, v, NULL, NULL, 0, 0.1, 1e-3), "evaluation without running values");
    check_refused(ctx, zn_batch_norm(ctx, x, v, v, v, NULL, 1, 0.1, 1e-3), "one running value of two");
    check_refused(ctx, zn_batch_norm(ctx, x, v, v, NULL, v, 1, 0.1, 1e-3), "one running value of two");
    check_refused(ctx, zn_batch_norm(ctx, x, v, v, v, v, 1, 0.1, -1e-3), "a negative eps");
    check_refused(ctx, zn_group_norm(ctx, x, v, v, 2, (double)NAN), "an eps that is no number");
    check_refused(ctx, zn_shuffle_attention(ctx, x, one, one, one, one, one, one, 2, (double)INFINITY), "an infinite eps");
    check_refused(ctx, zn_group_norm(ctx, x, v, v, 3, 1e-5), "groups that do not divide");
    check_refused(ctx, zn_add(ctx, x, m), "add of unlike shapes");
    check_refused(ctx, zn_mul(ctx, x, bad), "mul of unlike shapes");
    check_refused(ctx, zn_concat(ctx, x, m), "concat of unlike shapes");
    check_refused(ctx, zn_slice(ctx, x, 2, 3), "slice past the end");
    check_refused(ctx, zn_slice(ctx, x, -1, 2), "slice before the start");
    check_refused(ctx, zn_slice(ctx, x, INT_MAX, INT_MAX), "slice that overflows");
    check_refused(ctx, zn_reshape(ctx, x, zn_shape2(3, 3)), "reshape to another count");
    check_refused(ctx, zn_channel_shuffle(ctx, x, 3), "shuffle groups that do not divide");
    check_refused(ctx, zn_shuffle_attention(ctx, x, v, v, v, v, v, v, 2, 1e-5), "attention of another size");
    check_refused(ctx, zn_max_pool(ctx, x, 9, 1, 0), "window larger than the map");
    check_refused(ctx, zn_max_pool(ctx, x, 0, 1, 0), "no window");
    check_refused(ctx, zn_max_pool(ctx, x, INT_MAX, 1, INT_MAX), "padding that overflows");
    check_refused(ctx, zn_max_pool(ctx, x, INT_MAX, 1, INT_MAX / 2), "a window that overflows");
    check_refused(ctx, zn_shuffle_attention(ctx, x, v, v, v, v, v, v, INT_MAX, 1e-5), "attention groups that overflow");
    check_refused(ctx, zn_adaptive_avg_pool(ctx, x, 0), "pool to nothing");
    check_refused(ctx, zn_cross_entropy(ctx, m, v), "target of another shape");
    check_refused(ctx, zn_smooth_l1(ctx, m, m, -1), "negative beta");
    CHECK(zn_relu(ctx, NULL) == NULL && zn_add(ctx, x, NULL) == NULL && zn_conv2d(ctx, NULL, w, NULL, 1, 1, 1) == NULL && zn_mean(ctx, zn_swish(ctx, NULL)) == NULL);
    CHECK(zn_backward(ctx, NULL) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "NULL");
    zn_error_clear(ctx);
    CHECK(zn_ctx_create(NULL, &other) == ZN_OK && zn_backward(other, zn_sum(ctx, zn_param_zeros(ctx, zn_shape1(2)))) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(other), "another context");
    zn_ctx_destroy(other);
    CHECK(zn_backward(ctx, zn_relu(ctx, x)) != ZN_OK); /* many values are no loss */
    zn_error_clear(ctx);
    zn_tensor_set_trainable(x, 1); /* has no place for a gradient */
    CHECK(!zn_tensor_trainable(x) && at(zn_param(ctx, zn_shape1(1), NULL), 0) == 0 && at(zn_tensor_from(ctx, zn_shape1(1), NULL), 0) == 0);
    CHECK(zn_tensor_data(NULL) == NULL && zn_tensor_grad(NULL) == NULL && zn_tensor_count(NULL) == 0);
    zn_tensor_destroy(NULL);
    zn_tape_clear(ctx);
}

/* ------------------------------------------------------------------------------------------------------------------
   Automatic differentiation
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct mlp {
    zn_tensor *x, *target, *w1, *b1, *w2, *b2;
} mlp;
static zn_tensor *mlp_loss(zn_ctx *ctx, void *user) {
    mlp *m = (mlp *)user;
    zn_tensor *h = zn_swish(ctx, zn_linear(ctx, m->x, m->w1, m->b1));
    return zn_cross_entropy(ctx, zn_linear(ctx, h, m->w2, m->b2), m->target);
}
/* A loss that nobody has computed yet: a norm of one value, a residual sum of it, its ReLU. */
static void test_lone(zn_ctx *ctx) {
    zn_tensor *x = filled(ctx, zn_shape4(1, 1, 1, 1), "x"), *w = zn_param_zeros(ctx, zn_shape4(1, 1, 1, 1)), *one = zn_param_zeros(ctx, zn_shape1(1)), *y;
    int kind;
    zn_tensor_data(one)[0] = 1;
    for (kind = 0; kind < 3; ++kind) {
        zn_grad_clear(ctx);
        y = zn_batch_norm(ctx, zn_conv2d(ctx, x, w, NULL, 1, 0, 1), one, one, NULL, NULL, 1, 0.1, 1e-3);
        if (kind > 0) y = zn_add(ctx, y, zn_conv2d(ctx, x, w, NULL, 1, 0, 1));
        if (kind > 1) y = zn_relu(ctx, y);
        CHECK(zn_backward(ctx, y) == ZN_OK && fabs((double)zn_tensor_grad(w)[0] - (kind > 0 ? at(x, 0) : 0)) <= TOLERANCE);
        zn_tape_clear(ctx);
    }
}
static void test_gradients(zn_ctx *ctx) {
    zn_rng rng = zn_rng_seed(5);
    zn_gradient_report report;
    zn_gradient_opts wrong = zn_gradient_opts_default();
    const zn_real nan_value = (zn_real)NAN;
    mlp m;
    double first;
    m.x = filled(ctx, zn_shape2(4, 2), "x");
    m.target = zn_tensor_create(ctx, zn_shape2(4, 3));
    zn_tensor_data(m.target)[0] = zn_tensor_data(m.target)[4] = zn_tensor_data(m.target)[8] = zn_tensor_data(m.target)[10] = 1;
    m.w1 = zn_param(ctx, zn_shape2(5, 2), &rng);
    m.b1 = zn_param_zeros(ctx, zn_shape1(5));
    m.w2 = zn_param(ctx, zn_shape2(3, 5), &rng);
    m.b2 = zn_param_zeros(ctx, zn_shape1(3));
    CHECK(zn_check_gradients(ctx, mlp_loss, &m, NULL, &report) == ZN_OK && report.checked >= 20);
    wrong.tolerance = 0; /* central differences are never exact: a checker that cannot fail would pass this */
    CHECK(zn_check_gradients(ctx, mlp_loss, &m, &wrong, &report) == ZN_ERROR_NUMBER && report.worst > 0 && report.where[0] != '\0');
    CHECK(zn_tensor_grad(m.w2)[1] == 0); /* the next step's gradient is that step's alone */
    zn_error_clear(ctx);
    CHECK(zn_backward(ctx, mlp_loss(ctx, &m)) == ZN_OK);
    first = (double)zn_tensor_grad(m.w2)[1];
    CHECK(first != 0);
    zn_tape_clear(ctx);
    CHECK(zn_backward(ctx, mlp_loss(ctx, &m)) == ZN_OK);
    CHECK(fabs((double)zn_tensor_grad(m.w2)[1] - 2 * first) <= 4 * TOLERANCE); /* gradients add up until they are cleared */
    zn_grad_clear(ctx);
    CHECK(fabs((double)zn_tensor_grad(m.w2)[1]) <= 0);
    zn_tape_clear(ctx);
    zn_tensor_set_trainable(m.w1, 0);
    CHECK(!zn_tensor_trainable(m.w1) && zn_backward(ctx, mlp_loss(ctx, &m)) == ZN_OK && zn_tensor_grad(m.w1) == NULL);
    zn_tape_clear(ctx);
    zn_no_grad_begin(ctx);
    zn_no_grad_begin(ctx);
    zn_no_grad_end(ctx);
    CHECK(mlp_loss(ctx, &m) != NULL);
    zn_no_grad_end(ctx);
    zn_tape_clear(ctx);
    zn_tensor_data(m.x)[0] = nan_value;
    CHECK(zn_backward(ctx, mlp_loss(ctx, &m)) == ZN_ERROR_NUMBER);
    zn_error_clear(ctx);
    zn_tape_clear(ctx);
    test_lone(ctx);
}

/* A batch norm's gradient against its formula: few values, and so many that threads share them. */
static void test_norm(zn_ctx *ctx) {
    static const int sizes[] = {7, 600};
    int k, c, n;
    for (k = 0; k < 2; ++k) {
        zn_tensor *x = zn_param_zeros(ctx, zn_shape4(2, 3, sizes[k], sizes[k])), *g = filled(ctx, zn_shape4(2, 3, sizes[k], sizes[k]), "g");
        zn_tensor *gamma = zn_param_zeros(ctx, zn_shape1(3)), *beta = zn_param_zeros(ctx, zn_shape1(3));
        size_t plane = (size_t)sizes[k] * (size_t)sizes[k], i;
        zn_fill(zn_tensor_data(x), "x", 3, zn_tensor_count(x), -1.0, 3.0);
        zn_fill(zn_tensor_data(gamma), "gamma", 3, 3, 0.5, 1.5);
        CHECK(zn_backward(ctx, zn_sum(ctx, zn_mul(ctx, zn_batch_norm(ctx, x, gamma, beta, NULL, NULL, 1, 0.1, 1e-3), g))) == ZN_OK);
        for (c = 0; c < 3; ++c) {
            double count = 2.0 * (double)plane, mean = 0.0, squares = 0.0, sum = 0.0, dot = 0.0, inv, worst = 0.0;
            for (n = 0; n < 2; ++n)
                for (i = 0; i < plane; ++i) mean += (double)zn_tensor_data(x)[(size_t)(3 * n + c) * plane + i] / count;
            for (n = 0; n < 2; ++n)
                for (i = 0; i < plane; ++i) {
                    double d = (double)zn_tensor_data(x)[(size_t)(3 * n + c) * plane + i] - mean, dy = (double)zn_tensor_data(g)[(size_t)(3 * n + c) * plane + i];
                    squares += d * d;
                    sum += dy;
                    dot += dy * d;
                }
            inv = 1.0 / sqrt(squares / count + 1e-3);
            for (n = 0; n < 2; ++n)
                for (i = 0; i < plane; ++i) {
                    size_t at = (size_t)(3 * n + c) * plane + i;
                    double d = (double)zn_tensor_data(x)[at] - mean, dx = (double)zn_tensor_data(gamma)[c] * inv * ((double)zn_tensor_data(g)[at] - sum / count - d * inv * inv * dot / count);
                    worst = fmax(worst, fabs((double)zn_tensor_grad(x)[at] - dx));
                }
            CHECK(worst <= 4 * TOLERANCE && fabs((double)zn_tensor_grad(gamma)[c] - dot * inv) <= TOLERANCE * sqrt(count) && fabs((double)zn_tensor_grad(beta)[c] - sum) <= TOLERANCE * sqrt(count));
        }
        zn_tape_clear(ctx);
        zn_tensor_destroy(x);
    }
}

/* Sums whose two sides share a gradient: residual links, a link that others read too, sums of sums, one tensor on both sides,
   a side that needs no gradient. (Those of networks: test_model, test_forgotten.) */
typedef struct sums {
    zn_tensor *x, *fixed, *frozen, *w[5], *gamma, *beta, *mean, *var, *deep, *gate[6];
    int kind;
} sums;
static zn_tensor *normed(zn_ctx *ctx, const sums *s, zn_tensor *x, int i) {
    return zn_batch_norm(ctx, zn_conv2d(ctx, x, s->w[i], NULL, 1, zn_tensor_shape(s->w[i]).n[2] / 2, 1), s->gamma, s->beta, NULL, NULL, 1, 0.1, 1e-3);
}
static zn_tensor *sums_loss(zn_ctx *ctx, void *user) {
    const sums *s = (const sums *)user;
    zn_tensor *a = normed(ctx, s, s->x, 0), *b = normed(ctx, s, s->x, 1), *first = zn_relu(ctx, zn_add(ctx, a, b)), *y = zn_relu(ctx, zn_add(ctx, normed(ctx, s, first, 2), first));
    if (s->kind == 1) y = zn_add(ctx, y, first);
    if (s->kind == 2) y = zn_relu(ctx, zn_add(ctx, zn_add(ctx, normed(ctx, s, y, 0), y), normed(ctx, s, y, 1)));
    if (s->kind == 3) y = zn_relu(ctx, zn_add(ctx, y, y));
    if (s->kind == 4) y = zn_relu(ctx, zn_add(ctx, normed(ctx, s, y, 0), s->fixed));
    return zn_sum(ctx, zn_mul(ctx, y, s->fixed));
}
/* Each kind's gradients by differences; not in float, where they step across kinks. */
static void check_sums(zn_ctx *ctx, sums *s, const char *what, int kinds, zn_tensor *(*loss)(zn_ctx *ctx, void *user), const zn_gradient_opts *o) {
    for (s->kind = 0; s->kind < kinds && sizeof(zn_real) == 8; ++s->kind) {
        zn_gradient_report report;
        char name[32];
        snprintf(name, sizeof name, "%s %d", what, s->kind);
        CHECK_FOR(zn_check_gradients(ctx, loss, s, o, &report) == ZN_OK && report.checked > 200, name);
        if (zn_error_code(ctx) != ZN_OK) printf("    %s\n", zn_error_text(ctx));
        zn_error_clear(ctx);
    }
}
static void test_sums(zn_ctx *ctx) {
    zn_rng rng = zn_rng_seed(7);
    zn_gradient_opts o = zn_gradient_opts_default();
    sums s;
    int i;
    s.x = filled(ctx, zn_shape4(2, 3, 4, 5), "x");
    s.fixed = filled(ctx, zn_shape4(2, 3, 4, 5), "fixed");
    for (i = 0; i < 3; ++i) s.w[i] = zn_param(ctx, zn_shape4(3, 3, 3, 3), &rng);
    s.gamma = zn_param(ctx, zn_shape1(3), &rng);
    s.beta = zn_param(ctx, zn_shape1(3), &rng);
    o.per_tensor = 100;
    check_sums(ctx, &s, "sums", 5, sums_loss, &o);
}

/* The same, read by convolutions of 1 x 1 large enough to compute the sum while they read it, and to end its gradient: one
   reader, two, one of them without a gradient of its own weights, a norm beside it, another sum upon it, stride 2, both strides as
   where a block with a projection begins. */
static zn_tensor *links_loss(zn_ctx *ctx, void *user) {
    const sums *s = (const sums *)user;
    zn_tensor *a = normed(ctx, s, s->x, 0), *b = normed(ctx, s, s->x, 1), *first = zn_relu(ctx, zn_add(ctx, a, b)), *y;
    if (s->kind == 0) y = normed(ctx, s, first, 2);
    else if (s->kind == 1) y = zn_add(ctx, normed(ctx, s, first, 2), normed(ctx, s, first, 3));
    else if (s->kind == 2) y = zn_add(ctx, zn_conv2d(ctx, first, s->frozen, NULL, 1, 0, 1), normed(ctx, s, first, 3));
    else if (s->kind == 3) y = zn_add(ctx, zn_conv2d(ctx, first, s->w[2], NULL, 1, 0, 1), zn_conv2d(ctx, first, s->frozen, NULL, 1, 0, 1));
    else if (s->kind == 4) y = zn_add(ctx, normed(ctx, s, first, 2), zn_batch_norm(ctx, first, s->gamma, s->beta, NULL, NULL, 1, 0.1, 1e-3));
    else if (s->kind == 5) y = zn_relu(ctx, zn_add(ctx, normed(ctx, s, zn_relu(ctx, zn_add(ctx, normed(ctx, s, first, 2), first)), 3), first));
    else y = zn_conv2d(ctx, normed(ctx, s, zn_conv2d(ctx, first, s->w[2], NULL, 2, 0, 1), 4), s->w[3], NULL, 1, 0, 1);
    if (s->kind == 7) return zn_add(ctx, zn_sum(ctx, zn_mul(ctx, y, y)), zn_sum(ctx, zn_mul(ctx, normed(ctx, s, first, 4), s->fixed)));
    return zn_sum(ctx, zn_mul(ctx, y, s->kind < 6 ? s->fixed : y));
}
/* Norms whose sums are taken by who ends their gradient, and whose gradient the convolution before them computes; and those
   that somebody else reads too, before or after, or whose convolution or sum somebody else reads, so that nobody may. Attention
   that a convolution reads, two, a ReLU, a sum. */
static zn_tensor *norms_loss(zn_ctx *ctx, void *user) {
    const sums *s = (const sums *)user;
    zn_tensor *c = zn_conv2d(ctx, s->kind == 13 ? s->fixed : s->x, s->w[0], s->kind == 12 || s->kind == 21 ? s->beta : NULL, 1, 0, 1), *beside = NULL, *n, *other = NULL, *sum = NULL, *r, *y;
    int running = s->kind == 10 || s->kind == 21;
    if (s->kind == 1) beside = zn_mul(ctx, c, s->fixed);
    n = zn_batch_norm(ctx, c, s->gamma, s->beta, running ? s->mean : NULL, running ? s->var : NULL, !running, 0.1, 1e-3);
    if (s->kind == 2) beside = zn_conv2d(ctx, n, s->w[3], NULL, 2, 0, 1);
    if (s->kind >= 5 && s->kind < 9) {
        other = normed(ctx, s, s->x, 1);
        if (s->kind == 5) beside = zn_conv2d(ctx, other, s->w[3], NULL, 1, 0, 1);
        sum = zn_add(ctx, n, other);
        if (s->kind == 6) beside = zn_mul(ctx, sum, s->fixed);
        r = zn_relu(ctx, sum);
    } else r = s->kind == 11 ? n : zn_relu(ctx, n);
    if (s->kind == 9) r = zn_relu(ctx, zn_batch_norm(ctx, zn_conv2d(ctx, r, s->deep, NULL, 1, 1, 8), s->gamma, s->beta, NULL, NULL, 1, 0.1, 1e-3));
    if (s->kind == 14 || s->kind > 16) r = zn_shuffle_attention(ctx, r, s->gate[0], s->gate[1], s->gate[2], s->gate[3], s->gate[4], s->gate[5], 2, 1e-2);
    if (s->kind == 18) r = zn_relu(ctx, r);
    if (s->kind == 19) r = zn_add(ctx, normed(ctx, s, s->x, 1), r);
    if (s->kind == 3) beside = zn_mul(ctx, r, s->fixed);
    y = zn_conv2d(ctx, r, s->w[2], NULL, 1, 0, 1);
    if (s->kind == 4) beside = zn_mul(ctx, c, s->fixed);
    if (s->kind == 7) beside = zn_mul(ctx, sum, s->fixed);
    if (s->kind == 8) beside = zn_conv2d(ctx, other, s->w[3], NULL, 1, 0, 1);
    if (s->kind == 15) beside = zn_conv2d(ctx, n, s->w[3], NULL, 1, 0, 1);
    if (s->kind == 20) beside = zn_mul(ctx, zn_conv2d(ctx, r, s->w[3], NULL, 2, 0, 1), zn_conv2d(ctx, r, s->w[1], NULL, 2, 0, 1));
    if (s->kind == 16 || s->kind == 17) beside = zn_conv2d(ctx, r, s->w[3], NULL, 1, 0, 1);
    y = zn_sum(ctx, zn_mul(ctx, y, s->fixed));
    return beside != NULL ? zn_add(ctx, y, zn_sum(ctx, beside)) : y;
}
/* A tape may be walked twice. */
static void check_twice(zn_ctx *ctx, sums *s, int kinds, zn_tensor *(*loss)(zn_ctx *ctx, void *user)) {
    for (s->kind = 0; s->kind < kinds; ++s->kind) {
        zn_tensor *value = loss(ctx, s);
        double once, twice;
        zn_grad_clear(ctx);
        CHECK(zn_backward(ctx, value) == ZN_OK);
        once = (double)zn_tensor_grad(s->w[0])[5];
        CHECK(zn_backward(ctx, value) == ZN_OK);
        twice = (double)zn_tensor_grad(s->w[0])[5];
        CHECK(fabs(once) > 0 && fabs(twice - 2 * once) <= 1e-3 * fabs(once) && (sizeof(zn_real) == 4 || fabs(twice - 2 * once) <= 1e-9 * fabs(once)));
        zn_tape_clear(ctx);
    }
}
static void test_links(zn_ctx *ctx) {
    zn_rng rng = zn_rng_seed(8);
    zn_gradient_opts o = zn_gradient_opts_default();
    sums s;
    int i;
    s.x = zn_param(ctx, zn_shape4(2, 8, 24, 23), &rng);
    s.fixed = filled(ctx, zn_shape4(2, 8, 24, 23), "fixed");
    s.frozen = filled(ctx, zn_shape4(8, 8, 1, 1), "frozen");
    for (i = 0; i < 5; ++i) s.w[i] = zn_param(ctx, zn_shape4(8, 8, 1, 1), &rng);
    s.gamma = zn_param(ctx, zn_shape1(8), &rng);
    s.beta = zn_param(ctx, zn_shape1(8), &rng);
    s.mean = filled(ctx, zn_shape1(8), "mean");
    s.var = zn_tensor_from(ctx, zn_shape1(8), NULL);
    for (i = 0; i < 8; ++i) zn_tensor_data(s.var)[i] = (zn_real)(0.5 + 0.1 * i);
    s.deep = zn_param(ctx, zn_shape4(8, 1, 3, 3), &rng);
    for (i = 0; i < 6; ++i) s.gate[i] = zn_param(ctx, zn_shape1(2), &rng);
    check_twice(ctx, &s, 8, links_loss);
    check_twice(ctx, &s, 22, norms_loss);
    o.per_tensor = 64;
    o.step = 1e-6; /* many values stand near the kink of a ReLU */
    check_sums(ctx, &s, "links", 8, links_loss, &o);
    o.step = 5e-6;
    check_sums(ctx, &s, "norms", 22, norms_loss, &o);
}

/* Networks, whose intermediate results may be let go: a sum that only a convolution of stride 2 reads; one where a block with a
   projection begins. */
typedef struct graph {
    zn_net *net;
    zn_tensor *x, *target;
} graph;
static zn_tensor *graph_loss(zn_ctx *ctx, void *user) {
    const graph *g = (const graph *)user;
    return zn_cross_entropy(ctx, zn_net_forward(g->net, g->x, 1), g->target);
}
static void test_graphs(zn_ctx *ctx) {
    static const char *const structures[] = {"SuperConvK3BNRELU(3,8,1,1)ResBlock(ConvKX(8,8,1,1)BN(8))RELU(8)ConvKX(8,16,1,2)BN(16)RELU(16)",
                                             "SuperConvK3BNRELU(3,8,1,1)SuperResK1K3K1(8,16,1,8,2)SuperResK1K5K1(16,24,2,8,1)"};
    zn_net_opts opts = zn_net_opts_default();
    zn_gradient_opts o = zn_gradient_opts_default();
    zn_gradient_report report;
    graph g;
    int i;
    g.x = filled(ctx, zn_shape4(2, 3, 30, 30), "x");
    g.target = filled(ctx, zn_shape2(2, 3), "target");
    opts.classes = 3;
    o.per_tensor = 24;
    o.step = 1e-6; /* as above */
    for (i = 0; i < 2 && sizeof(zn_real) == 8; ++i) {
        opts.structure = structures[i];
        CHECK(zn_net_create(ctx, &opts, &g.net) == ZN_OK && zn_net_init(g.net, ZN_INIT_MSRA, 3) == ZN_OK);
        CHECK_FOR(zn_check_gradients(ctx, graph_loss, &g, &o, &report) == ZN_OK && report.checked > 150, structures[i]);
        if (zn_error_code(ctx) != ZN_OK) printf("    %s\n", zn_error_text(ctx));
        zn_error_clear(ctx);
        zn_tape_clear(ctx);
        zn_net_destroy(g.net);
    }
}

/* Options of an optimiser that make no sense, and a learning rate that is no number. */
static void test_optimizer(zn_ctx *ctx) {
    static const double values[] = {(double)NAN, -5, 1e31};
    zn_optimizer *optimizer = NULL;
    zn_tensor *w = zn_param_zeros(ctx, zn_shape1(2));
    int field, i;
    for (field = 0; field < 8; ++field)
        for (i = 0; i < 3; ++i) {
            zn_optimizer_opts o = zn_optimizer_opts_default(ZN_ADAM);
            double *const fields[] = {&o.momentum, &o.weight_decay, &o.clip, &o.beta1, &o.beta2, &o.alpha, &o.rho, &o.eps};
            *fields[field] = values[i];
            CHECK(zn_optimizer_create(ctx, NULL, &o, &optimizer) == ZN_ERROR_ARGUMENT && optimizer == NULL);
            CHECK_HOLDS(zn_error_text(ctx), "must be in 0..");
            zn_error_clear(ctx);
        }
    CHECK(zn_optimizer_create(ctx, NULL, NULL, &optimizer) == ZN_OK);
    for (i = 0; i < 2; ++i) {
        CHECK(zn_optimizer_step(optimizer, i == 0 ? (double)NAN : (double)INFINITY) == ZN_ERROR_ARGUMENT && at(w, 0) == 0);
        CHECK_HOLDS(zn_error_text(ctx), "learning rate");
        zn_error_clear(ctx);
    }
    CHECK(zn_optimizer_step(optimizer, 0.1) == ZN_OK);
    zn_optimizer_destroy(optimizer);
}

/* The tape's memory must not grow with the steps. */
static void test_memory(zn_ctx *ctx) {
    zn_tensor *x = filled(ctx, zn_shape4(2, 4, 9, 9), "x");
    zn_rng rng = zn_rng_seed(6);
    zn_tensor *w = zn_param(ctx, zn_shape4(4, 4, 3, 3), &rng);
    size_t settled = 0;
    int step;
    for (step = 0; step < 50; ++step) {
        CHECK(zn_backward(ctx, zn_mean(ctx, zn_relu(ctx, zn_conv2d(ctx, x, w, NULL, 1, 1, 1)))) == ZN_OK);
        zn_tape_clear(ctx);
        zn_grad_clear(ctx);
        if (step == 3) settled = zn_memory_peak(ctx);
    }
    CHECK(settled > 0 && zn_memory_peak(ctx) == settled && zn_memory_now(ctx) <= settled);
}

int main(void) {
    zn_ctx *ctx = NULL;
    int i;
    static void (*const tests[])(zn_ctx *) = {test_table, test_conv, test_values, test_large_window, test_refusals, test_gradients, test_norm, test_sums, test_links, test_graphs, test_optimizer, test_memory};
    for (i = 0; i < (int)(sizeof tests / sizeof tests[0]); ++i) {
        CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
        tests[i](ctx);
        zn_ctx_destroy(ctx);
    }
    return check_done();
}
