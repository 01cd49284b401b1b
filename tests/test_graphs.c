/* test_graphs.c - random expressions and networks, and their gradients. What an operation writes at once and what it leaves to
   its readers (zennet.h, IMPL-OPS) depends on who stands beside it; here chance decides who does. A fourth of the graphs are
   networks of random blocks, whose results may go earlier than others. For each graph:

   - its gradient along a random direction is that of the difference quotient (with double only: differences of float tell little);
   - nobody can tell that results are let go: values without a tape, and gradients when every result has been looked at before,
     are the same to rounding;
   - a second walk over the tape adds the same again (a network's refuses), and one thread gives the bits that several give.

     build/tests/test_graphs_double [--graphs N] [--seconds N] [--seed S] [--graph G] [--verbose]

   A failure names the graph: --graph G builds it alone and says what it is. */
#include "zennet.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#else
static void omp_set_num_threads(int threads) { (void)threads; }
#endif

#define GRAPH_STEPS 16
#define NETWORK_TEXT 4096
#define GRAPH_PARAMS (GRAPH_STEPS * 12 + 4) /* the most that steps and the loss can take */

/* A graph is what a seed makes of it: building it again with the same seed gives the same operations on the same tensors. */
typedef struct graph {
    uint64_t seed;
    zn_ctx *ctx;
    zn_tensor *params[GRAPH_PARAMS], *fixed[GRAPH_PARAMS]; /* in order of creation; reused when the graph is built again */
    int param_count, fixed_count, next_param, next_fixed;
    zn_rng rng, values;
    zn_tensor *steps[GRAPH_STEPS + 1]; /* the last building's results */
    int step_count;
    zn_net *net; /* a network instead */
    int watch; /* read every result as soon as it is there: nothing may then be left to its readers */
    int verbose;
} graph;

static int pick(graph *g, int limit) { return (int)zn_rng_below(&g->rng, (uint64_t)limit); }

static void fill(graph *g, zn_tensor *t, double low, double high) {
    size_t i;
    for (i = 0; t != NULL && i < zn_tensor_count(t); ++i) zn_tensor_data(t)[i] = (zn_real)(low + (high - low) * zn_rng_uniform(&g->values));
}
/* The next trainable tensor of this building, and one that no gradient flows into. */
static zn_tensor *param(graph *g, zn_shape shape, double low, double high) {
    if (g->next_param == g->param_count) {
        g->params[g->param_count] = zn_param_zeros(g->ctx, shape);
        fill(g, g->params[g->param_count++], low, high);
    }
    return g->params[g->next_param++];
}
static zn_tensor *fixed(graph *g, zn_shape shape, double low, double high) {
    if (g->next_fixed == g->fixed_count) {
        g->fixed[g->fixed_count] = zn_tensor_create(g->ctx, shape);
        fill(g, g->fixed[g->fixed_count++], low, high);
    }
    return g->fixed[g->next_fixed++];
}
/* Weights are trainable but now and then. */
static zn_tensor *weight(graph *g, zn_shape shape, double low, double high) {
    return pick(g, 8) == 0 ? fixed(g, shape, low, high) : param(g, shape, low, high);
}

static zn_tensor *norm(graph *g, zn_tensor *x) {
    zn_shape c = zn_shape1(zn_tensor_shape(x).n[1]);
    zn_tensor *gamma = weight(g, c, 0.5, 1.5), *beta = weight(g, c, -0.5, 0.5);
    int running = pick(g, 6) == 0;
    zn_tensor *mean = running ? fixed(g, c, -0.3, 0.3) : NULL, *var = running ? fixed(g, c, 0.5, 1.5) : NULL;
    if (g->verbose) printf("norm%s ", running ? " running" : "");
    return zn_batch_norm(g->ctx, x, gamma, beta, mean, var, !running, 0.1, 1e-3);
}
/* link: to the shape of x. */
static zn_tensor *conv(graph *g, zn_tensor *x, int link) {
    static const int kernels[] = {1, 1, 1, 1, 1, 3, 5, 7};
    zn_shape s = zn_tensor_shape(x);
    int k = kernels[pick(g, 8)], stride = !link && pick(g, 4) == 0 ? 2 : 1, depthwise = k > 1 && pick(g, 2), out;
    double reach;
    zn_tensor *w, *bias;
    out = depthwise || link || pick(g, 3) ? s.n[1] : 4 * (1 + pick(g, 8));
    if (s.n[2] < 8 || s.n[3] < 8) stride = 1;
    reach = 1.7 / sqrt((double)(depthwise ? 1 : s.n[1]) * k * k);
    w = weight(g, zn_shape4(out, depthwise ? 1 : s.n[1], k, k), -reach, reach);
    bias = pick(g, 4) == 0 ? weight(g, zn_shape1(out), -0.3, 0.3) : NULL;
    if (g->verbose) printf("conv %d-%d k%d s%d%s%s ", s.n[1], out, k, stride, depthwise ? " dw" : "", bias != NULL ? " bias" : "");
    return zn_conv2d(g->ctx, x, w, bias, stride, k / 2, depthwise ? s.n[1] : 1);
}
static zn_tensor *attention(graph *g, zn_tensor *x) {
    int i, groups = zn_tensor_shape(x).n[1] % 8 == 0 && pick(g, 2) ? 4 : 2;
    zn_tensor *p[6];
    zn_shape k = zn_shape1(zn_tensor_shape(x).n[1] / (2 * groups));
    for (i = 0; i < 6; ++i) p[i] = weight(g, k, -1.0, 1.0);
    if (g->verbose) printf("attention %d ", groups);
    return zn_shuffle_attention(g->ctx, x, p[0], p[1], p[2], p[3], p[4], p[5], groups, 1e-2);
}
/* Some result of before; most often a late one. */
static zn_tensor *some(graph *g) {
    int i = g->step_count - 1 - (pick(g, 4) ? 0 : pick(g, g->step_count));
    if (g->verbose) printf("[%d] ", i);
    return g->steps[i];
}
/* Another result of the same shape as x, or x. */
static zn_tensor *partner(graph *g, zn_tensor *x) {
    zn_shape s = zn_tensor_shape(x), t;
    int i, at = pick(g, g->step_count);
    for (i = 0; i < g->step_count; ++i, at = (at + 1) % g->step_count) {
        t = zn_tensor_shape(g->steps[at]);
        if (memcmp(s.n, t.n, sizeof s.n) != 0 || g->steps[at] == x) continue;
        if (g->verbose) printf("[%d] ", at);
        return g->steps[at];
    }
    if (g->verbose) printf("[itself] ");
    return x;
}
static zn_tensor *relu(graph *g, zn_tensor *x) {
    if (g->verbose) printf("relu ");
    return zn_relu(g->ctx, x);
}
/* A side of a residual sum that computes something: most often a norm ends it. */
static zn_tensor *side(graph *g, zn_tensor *x) {
    zn_tensor *y = conv(g, x, 1);
    return pick(g, 4) ? norm(g, y) : y;
}
static zn_tensor *step(graph *g) {
    zn_tensor *x = some(g), *y;
    int kind = pick(g, 24);
    if (kind < 8) { /* the parts of a network */
        y = conv(g, x, 0);
        if (pick(g, 4)) y = norm(g, y);
        return pick(g, 2) ? relu(g, y) : y;
    }
    if (kind < 13) { /* a residual sum */
        y = pick(g, 4) ? side(g, x) : partner(g, x);
        y = zn_add(g->ctx, y, pick(g, 2) ? x : side(g, x));
        if (g->verbose) printf("add ");
        return pick(g, 3) ? relu(g, y) : y;
    }
    if (kind < 14) return norm(g, x);
    if (kind < 16) return relu(g, x);
    if (kind < 20) return attention(g, x);
    if (g->verbose) printf("op %d ", kind);
    if (kind == 20) return zn_mul(g->ctx, x, partner(g, x));
    if (kind == 21) return zn_mul(g->ctx, x, zn_sigmoid(g->ctx, zn_global_avg_pool(g->ctx, x)));
    if (kind == 22) return zn_channel_shuffle(g->ctx, zn_swish(g->ctx, x), 2);
    y = zn_slice(g->ctx, x, 0, zn_tensor_shape(x).n[1] / 2);
    return zn_concat(g->ctx, y, y);
}

/* ---- networks ---- */
static void say(char *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(text + strlen(text), NETWORK_TEXT - strlen(text), format, args);
    va_end(args);
}
/* Appends up to `most` blocks for maps of c channels; the channels that come out. within: how deep in residual blocks and sums. */
static int blocks(graph *g, char *text, int c, int most, int within) {
    static const char *const supers[] = {"SuperResIDWE2K3", "SuperResIDWE1K5", "SuperResK1K3K1", "SuperResK3K3", "SuperResK1K5K1"};
    int count = 1 + pick(g, most), out, i;
    for (i = 0; i < count; ++i) {
        out = pick(g, 2) ? c : 4 * (1 + pick(g, 6));
        switch (pick(g, within < 2 ? 10 : 4)) {
        case 0: say(text, "BN(%d)", c); break;
        case 1: say(text, "RELU(%d)", c); break;
        case 2: say(text, "ConvDW(%d,3,1)", c); break;
        case 3: say(text, "ConvKX(%d,%d,%d,1)", c, out, pick(g, 3) ? 1 : 3), c = out; break;
        case 4:
            say(text, "ResBlock(%d,", c);
            c = blocks(g, text, c, 3, within + 1);
            say(text, ")");
            if (pick(g, 3)) say(text, "RELU(%d)", c);
            break;
        case 5:
        case 6:
        case 7: /* two sides that end alike */
            say(text, "MultiSumBlock(");
            say(text, "ConvKX(%d,%d,1,1)", blocks(g, text, c, 2, within + 1), out);
            if (pick(g, 2)) say(text, "BN(%d)", out);
            say(text, ";");
            say(text, "ConvKX(%d,%d,1,1)", blocks(g, text, c, 2, within + 1), out);
            if (pick(g, 2)) say(text, "BN(%d)", out);
            say(text, ")");
            c = out;
            if (pick(g, 3)) say(text, "RELU(%d)", c);
            break;
        default:
            if (within > 0) { /* these stand nowhere within others */
                say(text, "RELU(%d)", c);
                break;
            }
            out = 8 * (1 + pick(g, 3));
            say(text, "%s(%d,%d,%d,%d,%d)", supers[pick(g, 5)], c, out, 1 + pick(g, 2), 8 * (1 + pick(g, 2)), 1 + pick(g, 2));
            c = out;
        }
    }
    return c;
}
static zn_tensor *build_network(graph *g) {
    char text[NETWORK_TEXT] = "";
    zn_net_opts o = zn_net_opts_default();
    zn_tensor *logits;
    int side = 5 + pick(g, 16), batch = 2 + pick(g, 2), i;
    say(text, "ConvKX(3,8,3,1)");
    say(text, "ConvKX(%d,16,1,1)RELU(16)", blocks(g, text, 8, 5, 0)); /* the WIRW head needs a multiple of 16 */
    o.structure = text;
    o.classes = 3;
    o.attention = (zn_attention)pick(g, 3);
    o.bn = pick(g, 4) != 0;
    o.reslink = pick(g, 8) != 0;
    o.lw_att = pick(g, 8) == 0;
    o.bn_eps = 1e-2;
    if (g->verbose) printf("graph %lu: %d x 3 x %d x %d, attention %d, bn %d, reslink %d, lw_att %d\n  %s\n", (unsigned long)g->seed, batch, side, side, (int)o.attention, o.bn, o.reslink, o.lw_att, text);
    if (g->net == NULL) {
        if (zn_net_create(g->ctx, &o, &g->net) != ZN_OK || zn_net_init(g->net, ZN_INIT_XAVIER, g->seed) != ZN_OK) return NULL;
        for (i = 0; i < zn_net_tensor_count(g->net) && g->param_count < GRAPH_PARAMS; ++i) {
            zn_tensor *t = zn_net_tensor(g->net, i);
            if (!zn_tensor_trainable(t)) continue;
            if (zn_tensor_shape(t).dims == 1) fill(g, t, 0.5, 1.0); /* no start values of 0, which hide things */
            g->params[g->param_count++] = t;
        }
    }
    logits = zn_net_forward(g->net, fixed(g, zn_shape4(batch, 3, side, side), -1.0, 1.0), 1);
    return zn_mean(g->ctx, zn_mul(g->ctx, logits, fixed(g, zn_shape2(batch, 3), -1.0, 1.0)));
}

/* The expression; how it reads its results into one value is part of it. */
static zn_tensor *build(graph *g) {
    zn_tensor *loss = NULL, *term;
    zn_shape s = zn_shape4(1, 1, 1, 1);
    int i, steps, used;
    g->rng = zn_rng_stream(g->seed, 0);
    g->next_param = g->next_fixed = 0;
    g->step_count = 0;
    if (g->seed % 4 == 0) return build_network(g);
    steps = 2 + pick(g, GRAPH_STEPS - 1);
    s.n[0] = 1 + pick(g, 3);
    s.n[1] = 4 * (1 + pick(g, 4));
    s.n[2] = s.n[3] = 3 + pick(g, 24);
    if (pick(g, 2)) s.n[3] = 3 + pick(g, 24);
    g->steps[g->step_count++] = pick(g, 2) ? param(g, s, -1.0, 1.0) : fixed(g, s, -1.0, 1.0);
    if (g->verbose) printf("graph %lu: %d x %d x %d x %d\n", (unsigned long)g->seed, s.n[0], s.n[1], s.n[2], s.n[3]);
    for (i = 1; i < steps; ++i) {
        if (g->verbose) printf("  [%d] ", i);
        if ((g->steps[g->step_count] = step(g)) == NULL) return NULL;
        if (g->verbose) printf("\n");
        if (g->watch && zn_tensor_data(g->steps[g->step_count]) == NULL) return NULL;
        ++g->step_count;
    }
    used = 1 + pick(g, 3);
    for (i = 0; i < used && i < g->step_count; ++i) {
        zn_tensor *y = g->steps[g->step_count - 1 - i];
        if (g->verbose) printf("  loss of [%d]\n", g->step_count - 1 - i);
        term = zn_mean(g->ctx, zn_mul(g->ctx, y, pick(g, 3) ? fixed(g, zn_tensor_shape(y), -1.0, 1.0) : y));
        loss = loss == NULL ? term : zn_add(g->ctx, loss, term);
    }
    return loss;
}

/* Gradients of all parameters, one after the other. The caller frees. */
static double *gradients(graph *g, size_t *count) {
    size_t n = 0, j, k = 0;
    int i;
    double *all;
    for (i = 0; i < g->param_count; ++i) n += zn_tensor_count(g->params[i]);
    all = (double *)calloc(n + 1, sizeof *all);
    for (i = 0; all != NULL && i < g->param_count; ++i) {
        const zn_real *grad = zn_tensor_grad(g->params[i]);
        for (j = 0; j < zn_tensor_count(g->params[i]); ++j) all[k++] = grad != NULL ? (double)grad[j] : 0.0;
    }
    *count = n;
    return all;
}
static double distance(const double *a, const double *b, double factor, size_t count) {
    double far = 0.0, large = 1e-300;
    size_t i;
    for (i = 0; i < count; ++i) {
        far = fmax(far, fabs(a[i] - factor * b[i]));
        large = fmax(large, fabs(factor * b[i]));
        if (!(fabs(a[i]) < 1e30) || !(fabs(b[i]) < 1e30)) return HUGE_VAL;
    }
    return far / large;
}
static void move(graph *g, const double *direction, double by) {
    size_t j, k = 0;
    int i;
    for (i = 0; i < g->param_count; ++i)
        for (j = 0; j < zn_tensor_count(g->params[i]); ++j) zn_tensor_data(g->params[i])[j] += (zn_real)(by * direction[k++]);
}
static double value(graph *g) {
    double v;
    zn_no_grad_begin(g->ctx);
    v = zn_tensor_value(build(g));
    zn_no_grad_end(g->ctx);
    zn_tape_clear(g->ctx);
    return v;
}
/* Builds, walks, and gives the gradients; NULL and a message when that fails. */
static double *walk(graph *g, int threads, int watch, int twice, double *loss, size_t *count) {
    zn_tensor *l;
    double *all = NULL;
    omp_set_num_threads(threads);
    g->watch = watch;
    zn_grad_clear(g->ctx);
    l = build(g);
    *loss = zn_tensor_value(l);
    if (zn_backward(g->ctx, l) == ZN_OK && (!twice || zn_backward(g->ctx, l) == ZN_OK)) all = gradients(g, count);
    zn_tape_clear(g->ctx);
    g->watch = 0;
    return all;
}

/* Whether another walk gives the same loss and `factor` times the gradients `grad`, within `near` of the largest; else says by how
   much they differ. */
static int again(graph *g, int threads, int watch, int twice, double near, double loss, const double *grad, char *detail, size_t size) {
    double other, factor = twice ? 2.0 : 1.0, far = HUGE_VAL;
    size_t count;
    double *more = walk(g, threads, watch, twice, &other, &count);
    if (more != NULL) far = distance(more, grad, factor, count);
    free(more);
    snprintf(detail, size, "loss %.9g and %.9g, gradients differ by %g %s", loss, other, far, zn_error_text(g->ctx));
    return far <= near && fabs(other - loss) <= near * fmax(1.0, fabs(loss));
}
/* Compares the slope along a random direction with differences, of the step that serves best: long ones cross kinks, short ones
   are lost in rounding. */
static int slopes(graph *g, const double *grad, size_t count, char *detail, size_t size) {
    double *direction = (double *)malloc((count + 1) * sizeof *direction), slope = 0.0, length = 0.0, best = HUGE_VAL, h;
    zn_rng rng = zn_rng_stream(g->seed, 2);
    size_t i;
    for (i = 0; direction != NULL && i < count; ++i) {
        direction[i] = 2.0 * zn_rng_uniform(&rng) - 1.0;
        slope += direction[i] * grad[i];
        length += grad[i] * grad[i];
    }
    length = fmax(sqrt(length), 1e-12);
    for (h = 1e-4; direction != NULL && h > 5e-11 && best > 1e-6; h /= 10.0) {
        double up, down;
        move(g, direction, h);
        up = value(g);
        move(g, direction, -2.0 * h);
        down = value(g);
        move(g, direction, h);
        best = fmin(best, fabs((up - down) / (2.0 * h) - slope) / length);
    }
    free(direction);
    snprintf(detail, size, "slope %.9g, off by %g of the gradient's norm %g", slope, best, length);
    return best <= 1e-4;
}
/* NULL, or what is wrong. *skipped: chance made a graph without anything trainable. */
static const char *check_graph(graph *g, int *skipped, char *detail, size_t size) {
    const double tight = sizeof(zn_real) == 8 ? 1e-10 : 2e-3;
    const char *bad = NULL;
    double loss, other;
    size_t count;
    double *grad = walk(g, 2, 0, 0, &loss, &count);
    *skipped = grad == NULL && strstr(zn_error_text(g->ctx), "nothing trainable") != NULL;
    if (grad == NULL) return *skipped ? NULL : zn_error_text(g->ctx);
    if (!again(g, 1, 0, 0, 0.0, loss, grad, detail, size)) bad = "one thread and two differ";
    else if (!again(g, 2, 1, 0, tight, loss, grad, detail, size)) bad = "looking at results changes something";
    else if (g->net == NULL && !again(g, 2, 0, 1, tight, loss, grad, detail, size)) bad = "a second walk is not the first again";
    else if (!(fabs((other = value(g)) - loss) <= tight * fmax(1.0, fabs(loss)))) {
        bad = "the value without a tape is another";
        snprintf(detail, size, "%g for %g", other, loss);
    } else if (sizeof(zn_real) == 8 && !slopes(g, grad, count, detail, size)) bad = "the gradient is not that of the differences";
    free(grad);
    return bad;
}

int main(int argc, char **argv) {
    double seconds = 0, begin = (double)time(NULL);
    uint64_t seed = 1, only = 0;
    long wanted = 300, graphs = 0, checked = 0, failed = 0;
    int i, skipped, verbose = 0, one = 0;
    for (i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--graphs") == 0 && i + 1 < argc) wanted = atol(argv[++i]);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--graph") == 0 && i + 1 < argc) one = 1, only = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--verbose") == 0) verbose = 1;
        else {
            fprintf(stderr, "usage: %s [--graphs N] [--seconds N] [--seed S] [--graph G] [--verbose]\n", argv[0]);
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    do {
        graph g;
        char detail[256] = "";
        const char *bad;
        memset(&g, 0, sizeof g);
        g.seed = one ? only : seed * 1000000 + (uint64_t)graphs;
        g.values = zn_rng_stream(g.seed, 1);
        if (zn_ctx_create(NULL, &g.ctx) != ZN_OK) return 1;
        if (one || verbose) {
            g.verbose = 1;
            value(&g);
            g.verbose = 0;
        }
        bad = check_graph(&g, &skipped, detail, sizeof detail);
        if (bad != NULL) printf("graph %lu: %s: %s\n", (unsigned long)g.seed, bad, detail);
        failed += bad != NULL;
        checked += !skipped;
        ++graphs;
        zn_net_destroy(g.net);
        zn_ctx_destroy(g.ctx);
    } while (!one && (graphs < wanted || (double)time(NULL) - begin < seconds));
    printf("%ld passed, %ld failed\n", checked - failed, failed);
    return failed != 0;
}
