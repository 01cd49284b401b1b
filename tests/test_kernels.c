/* test_kernels.c - every fast kernel against its plain twin, over odd shapes, for every instruction set that this machine has. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"

static zn_real *numbers(zn_ctx *ctx, const char *name, size_t count) {
    zn_real *values = ZNI_NEW(ctx, zn_real, count);
    if (values != NULL) zn_fill(values, name, 1, count, -1.0, 1.0);
    return values;
}
static double difference(const zn_real *a, const zn_real *b, size_t count, double scale) {
    double worst = 0.0;
    size_t i;
    for (i = 0; i < count; ++i) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst / scale;
}

static zni_conv_shape shape_of(const int *v) {
    zni_conv_shape s;
    memset(&s, 0, sizeof s);
    s.n = v[0];
    s.c = v[1];
    s.h = v[2];
    s.w = v[3];
    s.o = v[4];
    s.k = v[5];
    s.stride = v[6];
    s.padding = v[7];
    s.groups = v[8];
    s.oh = (s.h + 2 * s.padding - s.k) / s.stride + 1;
    s.ow = (s.w + 2 * s.padding - s.k) / s.stride + 1;
    return s;
}
static const double tolerance = sizeof(zn_real) == 8 ? 1e-14 : 3e-6;

/* What a convolution counted of its result against the definition. */
static void check_moments(const zni_conv_shape *s, const zn_real *y, const zni_moments *moments, const char *name) {
    size_t out = (size_t)s->oh * (size_t)s->ow, i;
    int c, n;
    for (c = 0; c < s->o; ++c) {
        double count = (double)s->n * (double)out, mean = 0.0, squares = 0.0;
        for (n = 0; n < s->n; ++n)
            for (i = 0; i < out; ++i) mean += (double)y[(size_t)(n * s->o + c) * out + i] / count;
        for (n = 0; n < s->n; ++n)
            for (i = 0; i < out; ++i) squares += pow((double)y[(size_t)(n * s->o + c) * out + i] - mean, 2.0);
        CHECK_FOR(moments[c].count == count && fabs(moments[c].mean - mean) <= tolerance * (1.0 + fabs(mean)) && fabs(moments[c].squares - squares) <= 4 * tolerance * (1.0 + squares), name);
    }
}

static void some_maps(zni_map *maps, int count) {
    int c;
    for (c = 0; c < count; ++c) {
        maps[c].mean = (zn_real)0.1 * (zn_real)(c % 3);
        maps[c].scale = (zn_real)1.5 - (zn_real)(c % 4);
        maps[c].shift = (zn_real)0.2;
        maps[c].relu = c % 5 == 0;
    }
}
/* The sums of one norm, or of two, that get the gradient of x. maps: of both. */
static void gather_begin(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *x, const zni_map *maps, int two, zni_gather *g) {
    int i;
    memset(g, 0, sizeof *g);
    for (i = 0; i < (two ? 2 : 1); ++i) {
        g->x[i] = x;
        g->maps[i] = maps + i * s->c;
        g->sums[i] = (double *)zni_alloc(ctx, 2 * (size_t)s->c * sizeof(double));
        ++g->count;
    }
}
/* They are those of dx, value by value; taken or not as expected. */
static void check_gather(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *dx, int taken, zni_gather *g, const char *name) {
    size_t plane = (size_t)s->h * (size_t)s->w, i;
    int k, c, n, wrong = 0;
    CHECK_FOR(g->done == taken, name);
    for (k = 0; k < g->count; ++k) {
        for (c = 0; c < (g->done ? s->c : 0); ++c) {
            const zni_map *m = &g->maps[k][c];
            double sum = 0.0, dot = 0.0, size = 1.0;
            for (n = 0; n < s->n; ++n)
                for (i = 0; i < plane; ++i) {
                    size_t at = ((size_t)n * (size_t)s->c + (size_t)c) * plane + i;
                    double v = (double)dx[at], d = (double)(g->x[k][at] - m->mean);
                    if (m->relu && !((g->x[k][at] - m->mean) * m->scale + m->shift > 0)) continue;
                    sum += v;
                    dot += v * d;
                    size += fabs(v) * (1.0 + fabs(d));
                }
            if (!(fabs(g->sums[k][2 * c] - sum) <= tolerance * size && fabs(g->sums[k][2 * c + 1] - dot) <= tolerance * size)) ++wrong;
        }
        CHECK_FOR(wrong == 0, name);
        zni_free(ctx, g->sums[k]);
    }
}
/* Both gradients from what a norm makes of dy while it is read, and from what it made of it before: the same bits. */
static void check_slopes(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zn_real *dy, const zn_real *w, size_t nx, size_t ny, size_t nw, const char *name) {
    zn_real *y = numbers(ctx, "read", ny), *made = numbers(ctx, "made", ny), *dx = numbers(ctx, "dx", nx), *dx0 = numbers(ctx, "dx", nx), *dw = numbers(ctx, "dw", nw), *dw0 = numbers(ctx, "dw", nw);
    zni_slope *slopes = (zni_slope *)zni_alloc(ctx, (size_t)s->o * sizeof *slopes);
    zni_map *maps = (zni_map *)zni_alloc(ctx, (size_t)s->o * sizeof *maps);
    zni_input through = zni_input_of(dy, NULL), settled = zni_input_of(made, NULL);
    size_t plane = (size_t)s->oh * (size_t)s->ow, i;
    int c, add;
    some_maps(maps, s->o);
    for (c = 0; c < s->o; ++c) {
        slopes[c].map = maps[c];
        slopes[c].a = (zn_real)0.7 - (zn_real)(c % 2);
        slopes[c].b = (zn_real)-0.2;
        slopes[c].d = (zn_real)0.1 * (zn_real)(c % 4);
    }
    for (i = 0; i < ny; i += plane) zni_slope_run(&slopes[i / plane % (size_t)s->o], dy + i, y + i, plane, made + i, 0);
    through.y = y;
    through.slopes = slopes;
    for (add = 0; add < 2; ++add) {
        if (zni_conv_shares(s)) {
            CHECK_FOR(zni_pass_weights(ctx, s, in, &through, dw, w, dx, add, 0, NULL) == ZN_OK && zni_pass_weights(ctx, s, in, &settled, dw0, w, dx0, add, 0, NULL) == ZN_OK, name);
        } else CHECK_FOR(zni_woven_backward(ctx, s, in, &through, w, dw, dx, add, NULL) == ZN_OK && zni_woven_backward(ctx, s, in, &settled, w, dw0, dx0, add, NULL) == ZN_OK, name);
        CHECK_FOR(memcmp(dw, dw0, nw * sizeof *dw) == 0 && memcmp(dx, dx0, nx * sizeof *dx) == 0, name);
    }
    zni_free(ctx, y), zni_free(ctx, made), zni_free(ctx, dx), zni_free(ctx, dx0), zni_free(ctx, dw), zni_free(ctx, dw0), zni_free(ctx, slopes), zni_free(ctx, maps);
}

/* What attention makes of x, read by both passes of a convolution through the gates: the same bits as from what it made before. */
static void check_gates(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *x, const zn_real *dy, const zn_real *w, size_t nx, size_t ny, size_t nw, const char *name) {
    zn_real *made = numbers(ctx, "made", nx), *y = numbers(ctx, "y", ny), *y0 = numbers(ctx, "y0", ny), *dx = numbers(ctx, "dx", nx), *dx0 = numbers(ctx, "dx", nx);
    zn_real *dw = numbers(ctx, "dw", nw), *dw0 = numbers(ctx, "dw", nw);
    size_t plane = (size_t)s->h * (size_t)s->w, planes = (size_t)s->n * (size_t)s->c, i;
    zni_plane_gate *gates = (zni_plane_gate *)zni_alloc(ctx, planes * sizeof *gates);
    zni_map *maps = (zni_map *)zni_alloc(ctx, (size_t)s->c * sizeof *maps);
    zni_input through = zni_input_of(x, maps), whole = zni_input_of(made, NULL), grad = zni_input_of(dy, NULL);
    zni_pass p = zni_pass_forward(s);
    int shares = zni_conv_shares(s);
    some_maps(maps, s->c);
    for (i = 0; i < planes; ++i) {
        gates[i].from = (i * 7 + i / (size_t)s->c) % (size_t)s->c;
        gates[i].slope = i % 3 == 0 ? 0 : (zn_real)0.4 * (zn_real)(i % 5) - 1;
        gates[i].offset = (zn_real)0.3;
        zni_gate_run(&gates[i], &maps[gates[i].from], x + (i / (size_t)s->c * (size_t)s->c + gates[i].from) * plane, plane, made + i * plane);
    }
    through.gates = gates;
    CHECK_FOR(zni_pass_run(ctx, &p, &through, w, NULL, y, 0, NULL, NULL) == ZN_OK && zni_pass_run(ctx, &p, &whole, w, NULL, y0, 0, NULL, NULL) == ZN_OK, name);
    CHECK_FOR(zni_pass_weights(ctx, s, &through, &grad, dw, shares ? w : NULL, dx, 0, 0, NULL) == ZN_OK && zni_pass_weights(ctx, s, &whole, &grad, dw0, shares ? w : NULL, dx0, 0, 0, NULL) == ZN_OK, name);
    CHECK_FOR(memcmp(y, y0, ny * sizeof *y) == 0 && memcmp(dw, dw0, nw * sizeof *dw) == 0 && memcmp(dx, dx0, nx * sizeof *dx) == 0, name);
    zni_free(ctx, made), zni_free(ctx, y), zni_free(ctx, y0), zni_free(ctx, dx), zni_free(ctx, dx0), zni_free(ctx, dw), zni_free(ctx, dw0), zni_free(ctx, gates), zni_free(ctx, maps);
}

/* A residual sum read by both passes of a convolution: the same bits as from the sum computed before, which the first keeps;
   and a gradient that passes the sum's ReLU at once. x is any side, `w`, `dy` and the counts those of the convolution. */
static void check_residual(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *x, const zn_real *w, const zn_real *dy, size_t nx, size_t ny, size_t nw, const char *name) {
    zn_real *side = numbers(ctx, "side", nx), *sum = numbers(ctx, "sum", nx), *kept = numbers(ctx, "kept", nx), *y = numbers(ctx, "y", ny), *y0 = numbers(ctx, "y0", ny);
    zn_real *dw = numbers(ctx, "dw", nw), *dw0 = numbers(ctx, "dw", nw), *dx = numbers(ctx, "dx", nx), *dx0 = numbers(ctx, "dx", nx);
    zni_map *maps = (zni_map *)zni_alloc(ctx, 2 * (size_t)s->c * sizeof *maps);
    size_t plane = (size_t)s->h * (size_t)s->w, i;
    zni_pass p = zni_pass_forward(s);
    zni_input grad = zni_input_of(dy, NULL);
    zni_gather gather;
    int mapped;
    some_maps(maps, 2 * s->c);
    for (mapped = 0; mapped < 4; ++mapped) { /* the first side, the second, both, none through maps */
        static const zni_map as_it_is = {0, 1, 0, 0};
        zni_input in = zni_input_of(x, mapped & 1 ? maps : NULL), whole = zni_input_of(sum, NULL);
        in.y = side;
        in.y_maps = mapped & 2 ? maps + s->c : NULL;
        in.keep = kept;
        for (i = 0; i < nx; i += plane) {
            size_t channel = i / plane % (size_t)s->c;
            zni_map_add(mapped & 1 ? &maps[channel] : &as_it_is, x + i, mapped & 2 ? &maps[(size_t)s->c + channel] : &as_it_is, side + i, plane, 1, sum + i);
        }
        CHECK_FOR(zni_pass_run(ctx, &p, &in, w, NULL, y, 0, NULL, NULL) == ZN_OK && zni_pass_run(ctx, &p, &whole, w, NULL, y0, 0, NULL, NULL) == ZN_OK, name);
        CHECK_FOR(memcmp(y, y0, ny * sizeof *y) == 0 && memcmp(kept, sum, nx * sizeof *sum) == 0, name);
        if (!zni_conv_shares(s)) continue;
        in.keep = NULL;
        gather_begin(ctx, s, x, maps, mapped, &gather);
        CHECK_FOR(zni_pass_weights(ctx, s, &in, &grad, dw, w, dx, mapped & 1, 1, &gather) == ZN_OK && zni_pass_weights(ctx, s, &whole, &grad, dw0, w, dx0, mapped & 1, 0, NULL) == ZN_OK, name);
        check_gather(ctx, s, dx, 1, &gather, name);
        zni_relu_grad(NULL, sum, nx, dx0, 0);
        CHECK_FOR(memcmp(dw, dw0, nw * sizeof *dw) == 0 && memcmp(dx, dx0, nx * sizeof *dx) == 0, name);
    }
    zni_free(ctx, side), zni_free(ctx, sum), zni_free(ctx, kept), zni_free(ctx, y), zni_free(ctx, y0), zni_free(ctx, maps);
    zni_free(ctx, dw), zni_free(ctx, dw0), zni_free(ctx, dx), zni_free(ctx, dx0);
}

/* The three passes straight through the tiles, whatever the size. */
static void check_conv(zn_ctx *ctx, const int *v) {
    zni_conv_shape s = shape_of(v);
    size_t nx = (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w, ny = (size_t)s.n * (size_t)s.o * (size_t)s.oh * (size_t)s.ow;
    size_t nw = (size_t)s.o * (size_t)(s.c / s.groups * s.k * s.k);
    zn_real *x = numbers(ctx, "x", nx), *w = numbers(ctx, "w", nw), *bias = numbers(ctx, "b", (size_t)s.o), *dy = numbers(ctx, "dy", ny);
    zn_real *y = numbers(ctx, "y", ny), *y0 = numbers(ctx, "y", ny), *dx = numbers(ctx, "dx", nx), *dx0 = numbers(ctx, "dx", nx), *dw = numbers(ctx, "dw", nw), *dw0 = numbers(ctx, "dw", nw);
    zni_moments *moments = (zni_moments *)zni_alloc(ctx, (size_t)s.o * sizeof *moments);
    zni_map *maps = (zni_map *)zni_alloc(ctx, 2 * (size_t)s.c * sizeof *maps);
    zni_pass p = zni_pass_forward(&s);
    zni_input in = zni_input_of(x, NULL), grad = zni_input_of(dy, NULL);
    zni_gather gather;
    double sum = (double)(s.c / s.groups) * s.k * s.k;
    char name[128];
    int add;
    snprintf(name, sizeof name, "%s n%d c%d %dx%d o%d k%d s%d p%d g%d", ctx->kernels->name, s.n, s.c, s.h, s.w, s.o, s.k, s.stride, s.padding, s.groups);
    CHECK_FOR(zni_pass_run(ctx, &p, &in, w, bias, y, 0, moments, NULL) == ZN_OK, name);
    check_moments(&s, y, moments, name);
    zni_free(ctx, moments);
    zni_conv2d_plain_forward(&s, x, w, bias, y0);
    CHECK_FOR(difference(y, y0, ny, sqrt(sum)) < tolerance, name);
    sum = (double)(s.o / s.groups) * s.k * s.k;
    some_maps(maps, 2 * s.c);
    for (add = 0; add < 2; ++add) {
        gather_begin(ctx, &s, x, maps, add, &gather);
        CHECK_FOR(zni_passes_data(ctx, &s, dy, w, dx, add, &gather) == ZN_OK, name);
        check_gather(ctx, &s, dx, s.stride == 1, &gather, name);
        zni_conv2d_plain_backward_data(&s, dy, w, dx0, add);
        CHECK_FOR(difference(dx, dx0, nx, sqrt(sum)) < 2 * tolerance, name);
    }
    CHECK_FOR(zni_pass_weights(ctx, &s, &in, &grad, dw, NULL, NULL, 0, 0, NULL) == ZN_OK, name);
    zni_conv2d_plain_backward_weights(&s, x, dy, dw0);
    CHECK_FOR(difference(dw, dw0, nw, sqrt((double)s.n * s.oh * s.ow)) < 2 * tolerance, name);
    for (add = 0; add < 2 && zni_conv_shares(&s); ++add) { /* both gradients from one reading of dy */
        gather_begin(ctx, &s, x, maps, add, &gather);
        CHECK_FOR(zni_pass_weights(ctx, &s, &in, &grad, dw, w, dx, add, 0, &gather) == ZN_OK, name);
        check_gather(ctx, &s, dx, 1, &gather, name);
        zni_conv2d_plain_backward_weights(&s, x, dy, dw0);
        zni_conv2d_plain_backward_data(&s, dy, w, dx0, add);
        CHECK_FOR(difference(dw, dw0, nw, sqrt((double)s.n * s.oh * s.ow)) < 4 * tolerance, name);
        CHECK_FOR(difference(dx, dx0, nx, sqrt(sum)) < 4 * tolerance, name);
        memcpy(dw, dw0, nw * sizeof *dw); /* errors so far do not count again */
        memcpy(dx, dx0, nx * sizeof *dx);
        gather_begin(ctx, &s, x, maps, add, &gather);
        CHECK_FOR(zni_pass_weights(ctx, &s, &in, &grad, dw, w, dx, add, 1, &gather) == ZN_OK, name); /* and dx through a ReLU */
        check_gather(ctx, &s, dx, 1, &gather, name);
        zni_conv2d_plain_backward_weights(&s, x, dy, dw0);
        if (add) zni_conv2d_plain_backward_data(&s, dy, w, dx0, 1);
        zni_relu_grad(NULL, x, nx, dx0, 0);
        CHECK_FOR(difference(dw, dw0, nw, sqrt((double)s.n * s.oh * s.ow)) < 4 * tolerance, name);
        CHECK_FOR(difference(dx, dx0, nx, sqrt(sum)) < 4 * tolerance, name);
        memcpy(dw, dw0, nw * sizeof *dw);
        memcpy(dx, dx0, nx * sizeof *dx);
    }
    if (zni_conv_lines(&s)) check_residual(ctx, &s, x, w, dy, nx, ny, nw, name);
    if (zni_conv_lines(&s)) check_gates(ctx, &s, x, dy, w, nx, ny, nw, name);
    if (zni_conv_shares(&s)) check_slopes(ctx, &s, &in, dy, w, nx, ny, nw, name);
    zni_free(ctx, maps);
    zni_free(ctx, x), zni_free(ctx, w), zni_free(ctx, bias), zni_free(ctx, dy), zni_free(ctx, y);
    zni_free(ctx, y0), zni_free(ctx, dx), zni_free(ctx, dx0), zni_free(ctx, dw), zni_free(ctx, dw0);
}

/* n, c, h, w, o, k, stride, padding, groups */
static const int shapes[][9] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 1},     {2, 3, 5, 7, 4, 1, 1, 0, 1},    {3, 17, 7, 7, 13, 1, 1, 0, 1},   {2, 8, 9, 11, 16, 1, 2, 0, 1},
    {1, 64, 28, 28, 96, 1, 1, 0, 1}, {1, 300, 3, 3, 70, 1, 1, 0, 1}, {2, 3, 33, 31, 64, 3, 2, 1, 1},  {2, 3, 15, 16, 8, 3, 1, 1, 1},
    {1, 8, 28, 28, 8, 7, 1, 3, 1},   {2, 8, 27, 29, 8, 7, 2, 3, 1},  {1, 16, 14, 13, 16, 5, 1, 2, 1}, {1, 5, 12, 9, 6, 5, 2, 2, 1},
    {3, 2, 4, 3, 3, 3, 1, 0, 1},     {2, 2, 5, 6, 3, 3, 1, 2, 1},    {1, 2, 9, 9, 2, 3, 3, 1, 1},     {1, 3, 8, 8, 5, 2, 2, 0, 1},
    {2, 6, 7, 5, 9, 3, 1, 1, 3},     {2, 8, 10, 6, 4, 1, 1, 0, 2},   {1, 4, 6, 6, 8, 3, 2, 1, 4},     {1, 3, 5, 5, 2, 4, 1, 1, 1},
    {2, 5, 7, 7, 5, 3, 1, 1, 5},     {3, 4, 7, 7, 4, 7, 1, 3, 4},    {2, 3, 14, 14, 3, 7, 1, 3, 3},   {2, 3, 28, 27, 3, 7, 2, 3, 3},
    {1, 2, 56, 55, 2, 5, 1, 2, 2},   {2, 3, 11, 12, 3, 5, 2, 2, 3},  {2, 2, 1, 1, 2, 7, 1, 3, 2},     {1, 2, 1, 9, 2, 3, 2, 1, 2},
    {2, 2, 9, 1, 2, 3, 1, 1, 2},     {1, 2, 3, 3, 2, 7, 2, 3, 2},    {1, 2, 8, 8, 2, 2, 2, 0, 2},     {1, 2, 10, 10, 2, 3, 4, 1, 2},
    {1, 2, 6, 6, 3, 3, 1, 3, 1},     {40, 33, 1, 1, 20, 1, 1, 0, 1}, {1, 3, 4, 30, 40, 1, 3, 1, 1},   {1, 4, 112, 112, 8, 3, 1, 1, 1},
    {1, 20, 9, 10, 33, 3, 2, 1, 1},  {1, 4, 6, 7, 5, 1, 2, 1, 1},     {2, 40, 13, 12, 50, 1, 2, 0, 1}, {1, 24, 11, 11, 100, 3, 1, 1, 1},
    {1, 18, 6, 6, 250, 1, 1, 0, 1},  {1, 6, 9, 8, 6, 7, 2, 2, 6},     {1, 24, 5, 5, 290, 1, 1, 0, 1}, {1, 310, 4, 5, 300, 1, 1, 0, 1},
    {2, 32, 5, 4, 600, 1, 1, 0, 2},  {3, 6, 65, 60, 20, 1, 2, 0, 1}, {2, 8, 60, 57, 12, 1, 2, 0, 1},  {1, 270, 3, 4, 270, 1, 1, 0, 1}};

/* Depthwise ones on woven channels, read through maps, whatever their number; one gradient, the other, both. */
static void check_woven(zn_ctx *ctx, const int *v) {
    zni_conv_shape s = shape_of(v);
    size_t in = (size_t)s.h * (size_t)s.w, nx = (size_t)s.n * (size_t)s.c * in, ny = (size_t)s.n * (size_t)s.c * (size_t)s.oh * (size_t)s.ow, nw = (size_t)(s.c * s.k * s.k), i;
    zn_real *x = numbers(ctx, "x", nx), *mapped = numbers(ctx, "x", nx), *w = numbers(ctx, "w", nw), *bias = numbers(ctx, "b", (size_t)s.o), *dy = numbers(ctx, "dy", ny);
    zn_real *y = numbers(ctx, "y", ny), *y0 = numbers(ctx, "y", ny), *dx = numbers(ctx, "dx", nx), *dx0 = numbers(ctx, "dx", nx), *dw = numbers(ctx, "dw", nw), *dw0 = numbers(ctx, "dw", nw);
    zni_map maps[64], norms[128];
    zni_input straight = zni_input_of(mapped, NULL), through = zni_input_of(x, maps), grad = zni_input_of(dy, NULL);
    zni_gather gather;
    zni_moments moments[64];
    double taps = (double)(s.k * s.k), positions = (double)s.n * s.oh * s.ow;
    char name[128];
    int c, add, what;
    snprintf(name, sizeof name, "woven %s n%d c%d %dx%d k%d s%d", ctx->kernels->name, s.n, s.c, s.h, s.w, s.k, s.stride);
    for (c = 0; c < s.c; ++c) {
        maps[c].mean = (zn_real)(0.1 * (c % 5));
        maps[c].scale = (zn_real)(1.5 - 0.2 * (c % 7));
        maps[c].shift = (zn_real)(0.3 - 0.1 * (c % 3));
        maps[c].relu = c % 4 != 1;
    }
    for (i = 0; i < nx; ++i) {
        const zni_map *m = &maps[i / in % (size_t)s.c];
        mapped[i] = ZNI_MAPPED(m, x[i]);
        if (m->relu && mapped[i] < 0) mapped[i] = 0;
    }
    some_maps(norms, 2 * s.c);
    for (add = 0; add < 2; ++add) { /* with maps and without */
        const zni_input *read = add ? &through : &straight;
        CHECK_FOR(zni_woven_forward(ctx, &s, read, w, add ? bias : NULL, y, moments) == ZN_OK, name);
        check_moments(&s, y, moments, name);
        zni_conv2d_plain_forward(&s, mapped, w, add ? bias : NULL, y0);
        CHECK_FOR(difference(y, y0, ny, sqrt(taps)) < tolerance, name);
        for (what = 1; what < 4; ++what) {
            gather_begin(ctx, &s, x, norms, add, &gather);
            CHECK_FOR(zni_woven_backward(ctx, &s, read, &grad, w, what & 1 ? dw : NULL, what & 2 ? dx : NULL, add, &gather) == ZN_OK, name);
            check_gather(ctx, &s, dx, what >= 2, &gather, name);
            if (what & 1) zni_conv2d_plain_backward_weights(&s, mapped, dy, dw0);
            if (what & 2) zni_conv2d_plain_backward_data(&s, dy, w, dx0, add);
            CHECK_FOR(difference(dx, dx0, nx, sqrt(taps)) < 4 * tolerance, name);
            CHECK_FOR(difference(dw, dw0, nw, sqrt(positions)) < 8 * tolerance, name);
        }
        check_slopes(ctx, &s, read, dy, w, nx, ny, nw, name);
    }
    zni_free(ctx, x), zni_free(ctx, mapped), zni_free(ctx, w), zni_free(ctx, bias), zni_free(ctx, dy), zni_free(ctx, y);
    zni_free(ctx, y0), zni_free(ctx, dx), zni_free(ctx, dx0), zni_free(ctx, dw), zni_free(ctx, dw0);
}
static const int woven_shapes[][9] = { /* channels of a part of a block, of several; maps of one band, of many; rows of every tile and of none */
    {1, 16, 14, 14, 16, 7, 1, 3, 16}, {2, 3, 7, 7, 3, 7, 1, 3, 3},       {1, 40, 28, 28, 40, 5, 1, 2, 40},   {2, 17, 9, 13, 17, 3, 1, 1, 17}, {1, 5, 1, 1, 5, 7, 1, 3, 5},
    {1, 20, 31, 2, 20, 5, 1, 2, 20},  {1, 18, 150, 61, 18, 7, 1, 3, 18}, {1, 16, 3, 224, 16, 3, 1, 1, 16},   {2, 16, 56, 56, 16, 7, 2, 3, 16}, {1, 33, 15, 15, 33, 7, 2, 3, 33},
    {2, 9, 13, 8, 9, 5, 2, 2, 9},     {1, 24, 14, 9, 24, 3, 2, 1, 24},   {1, 17, 131, 112, 17, 7, 2, 3, 17}, {1, 4, 1, 6, 4, 3, 2, 1, 4},      {1, 4, 6, 1, 4, 7, 2, 3, 4}};

static void test_convolutions(void) {
    zn_ctx *ctx;
    int set, i;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return;
    for (set = 0; set < ZNI_KERNEL_SETS; ++set) {
        if (!zni_kernels_run(set)) {
            printf("skipped: this machine does not run %s\n", zni_kernel_sets[set].name);
            continue;
        }
        ctx->kernels = &zni_kernel_sets[set];
        for (i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); ++i) check_conv(ctx, shapes[i]);
        for (i = 0; i < (int)(sizeof woven_shapes / sizeof woven_shapes[0]); ++i) check_woven(ctx, woven_shapes[i]);
    }
    zn_ctx_destroy(ctx);
}

#if ZNI_DISPATCH
/* The plane loops of each instruction set give the bits of the plain one. */
#define WIDE(name, ...)                                                                                           \
    do {                                                                                                          \
        void (*const forms[])(__VA_ARGS__) = {name##_base, name##_avx2, name##_avx512};                           \
        for (form = 0; form < 3 && runs[form]; ++form) {                                                          \
            memcpy(out, start, sizeof out);                                                                       \
            CALL(forms[form]);                                                                                    \
            if (form == 0) memcpy(first, out, sizeof out);                                                        \
            CHECK_FOR(memcmp(first, out, sizeof out) == 0, #name);                                                \
        }                                                                                                         \
    } while (0)
static void test_wide(void) {
    enum { COUNT = 1003 };
    static zn_real x[COUNT], y[COUNT], start[COUNT], out[COUNT], first[COUNT];
    const int runs[3] = {1, zni_kernels_run(1), zni_kernels_run(2)};
    const zni_plane_gate gate[2] = {{0, (zn_real)1.3, (zn_real)-0.2}, {0, 0, (zn_real)0.4}};
    zni_slope slope = {{(zn_real)0.3, (zn_real)1.7, (zn_real)-0.2, 1}, (zn_real)0.7, (zn_real)0.1, (zn_real)-0.3, 0};
    zni_map a = {(zn_real)0.3, (zn_real)1.7, (zn_real)-0.2, 1}, b = {(zn_real)-0.1, (zn_real)0.9, (zn_real)0.4, 0};
    const zn_real *rows[8];
    zn_real *parts[8];
    double sums[2];
    int form, add, i;
    for (i = 0; i < 8; ++i) rows[i] = x + 48 * i, parts[i] = out + 500 + 48 * i;
    zn_fill(x, "x", 1, COUNT, -2.0, 2.0);
    zn_fill(y, "y", 1, COUNT, -2.0, 2.0);
    zn_fill(start, "start", 1, COUNT, -2.0, 2.0);
    for (add = 0; add < 2; ++add) {
#define CALL(f) f(&a, x, COUNT, out)
        WIDE(zni_map_run, const zni_map *, const zn_real *, size_t, zn_real *);
#undef CALL
#define CALL(f) f(&a, x, &b, y, COUNT, add, out)
        WIDE(zni_map_add, const zni_map *, const zn_real *, const zni_map *, const zn_real *, size_t, int, zn_real *);
#undef CALL
#define CALL(f) (sums[0] = sums[1] = 0.0, f(x, COUNT, (zn_real)0.25, sums), memcpy(out, sums, sizeof sums))
        WIDE(zni_power_sums, const zn_real *, size_t, zn_real, double *);
#undef CALL
#define CALL(f) (sums[0] = sums[1] = 0.0, f(&a, add ? y : x, x, COUNT, sums), memcpy(out, sums, sizeof sums))
        WIDE(zni_map_sums, const zni_map *, const zn_real *, const zn_real *, size_t, double *);
#undef CALL
#define CALL(f) f(&slope, y, x, COUNT, out, add)
        WIDE(zni_slope_run, const zni_slope *, const zn_real *, const zn_real *, size_t, zn_real *, int);
#undef CALL
#define CALL(f) f(&gate[add], &a, x, COUNT, out)
        WIDE(zni_gate_run, const zni_plane_gate *, const zni_map *, const zn_real *, size_t, zn_real *);
#undef CALL
#define CALL(f) (sums[0] = sums[1] = 0.0, f(y, x, COUNT, (zn_real)1.3, (zn_real)-0.2, (zn_real)0.1, sums), memcpy(out, sums, sizeof sums))
        WIDE(zni_gate_sums, const zn_real *, const zn_real *, size_t, zn_real, zn_real, zn_real, double *);
#undef CALL
#define CALL(f) f(y, x, COUNT, (zn_real)1.3, (zn_real)-0.2, (zn_real)0.1, (zn_real)0.6, (zn_real)0.2, out, add)
        WIDE(zni_gate_grad, const zn_real *, const zn_real *, size_t, zn_real, zn_real, zn_real, zn_real, zn_real, zn_real *, int);
#undef CALL
#define CALL(f) f(rows, out, out + 500, 8, 48)
        WIDE(zni_weave, const zn_real *const *, zn_real *, zn_real *, int, int);
#undef CALL
#define CALL(f) f(x, out, parts, 8, 48)
        WIDE(zni_unweave, const zn_real *, zn_real *, zn_real *const *, int, int);
#undef CALL
#define CALL(f) f(x, COUNT, (zn_real)1.3, (zn_real)-0.2, out, add)
        WIDE(zni_affine, const zn_real *, size_t, zn_real, zn_real, zn_real *, int);
#undef CALL
    }
}
#endif

/* Rows of any length to columns, and back to where each is wanted. */
static void test_weaving(void) {
    enum { ROWS = 16, MOST = ZNI_WEAVE };
    static zn_real x[ROWS][MOST], spare[ROWS * MOST], woven[ROWS * MOST + 1], back[ROWS][MOST + 1];
    const zn_real *rows[ROWS];
    zn_real *to[ROWS];
    int count, many, r, i, wrong;
    for (r = 0; r < ROWS; ++r) {
        rows[r] = x[(r * 5 + 3) % ROWS];
        to[r] = back[(r * 7 + 2) % ROWS];
        for (i = 0; i < MOST; ++i) x[r][i] = (zn_real)(r * MOST + i);
    }
    for (many = 2; many <= ROWS; many *= 2)
        for (count = 1; count <= MOST; ++count) {
            woven[many * count] = -1;
            zni_weave(rows, spare, woven, many, count);
            for (wrong = i = 0; i < many * count; ++i) wrong += woven[i] != rows[i % many][i / many];
            CHECK_FOR(wrong == 0 && woven[many * count] == -1, "rows to columns");
            for (r = 0; r < many; ++r) to[r][count] = -1;
            zni_unweave(woven, spare, to, many, count);
            for (wrong = r = 0; r < many; ++r) wrong += to[r][count] != -1 || memcmp(to[r], rows[r], (size_t)count * sizeof(zn_real)) != 0;
            CHECK_FOR(wrong == 0, "columns to rows");
        }
}

/* A gate against its definition in double, far beyond where it is 0 or 1 too; what is not a number stays none. */
static void test_gates(void) {
    const double nearly = sizeof(zn_real) == sizeof(float) ? 2e-7 : 1e-15;
    double unknown, far;
    int fused, i, wrong = 0;
    for (fused = 0; fused < 2; ++fused) {
        for (i = -8000; i <= 8000; ++i) {
            zn_real z = (zn_real)i / 100;
            double gate = 1.0 / (1.0 + exp(-(double)z)), error = fabs(1.0 / (double)zni_gate_divisor(z, fused) - gate);
            if (error > gate * nearly * (1.0 + fabs((double)z)) + 1e-34) ++wrong;
        }
        CHECK_FOR(wrong == 0, "gate");
        for (far = 100.0; far < 1e37; far *= 1.3) {
            CHECK_FOR(1 / zni_gate_divisor((zn_real)far, fused) == 1, "gate, open");
            CHECK_FOR(fabs(1.0 / (double)zni_gate_divisor((zn_real)-far, fused)) <= 1e-34, "gate, closed");
        }
        unknown = (double)zni_gate_divisor((zn_real)NAN, fused);
        CHECK_FOR(unknown != unknown, "gate of what is not a number");
    }
}

int main(void) {
    test_convolutions();
    test_weaving();
    test_gates();
#if ZNI_DISPATCH
    test_wide();
#endif
    return check_done();
}
