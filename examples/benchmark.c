/* benchmark.c - how fast this machine runs, trains and scores a network, and what bounds it.

     build/examples/benchmark --arch zennet-m --batch 16 --threads 2 --mode train
     build/examples/benchmark --arch zennet-r --per-layer

   Medians after a warm-up, with the fastest and slowest run. Peaks are measured here as well: arithmetic by multiply-adds in
   registers, memory by copying a large array. --per-layer sets each layer against
   them: a layer that neither computes at the peak nor moves memory at the peak waits for something else. */
#include "examples/common.h"
#include "examples/structure_file.h"

typedef struct bench {
    const char *arch, *mode, *attention;
    long resolution, batch, threads, runs, classes;
    double seconds;
    int per_layer, json;
    double peak_flops, peak_bytes; /* per second, all threads together */
    int lines;
} bench;

typedef struct timing {
    double median, fastest, slowest; /* s */
    int runs;
} timing;
#define MAX_RUNS 10000
static double run_times[MAX_RUNS];

static int by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
/* Two warm-up calls, then `runs` of them, or as many as fit into `seconds`. */
static int measure(const bench *b, int (*step)(void *), void *user, timing *out) {
    double begin;
    int i;
    for (i = 0; i < 2; ++i)
        if (!step(user)) return 0;
    begin = tool_seconds();
    for (i = 0; i < MAX_RUNS && (b->seconds > 0 ? i == 0 || tool_seconds() - begin < b->seconds : i < b->runs); ++i) {
        double start = tool_seconds();
        if (!step(user)) return 0;
        run_times[i] = tool_seconds() - start;
    }
    qsort(run_times, (size_t)i, sizeof run_times[0], by_time);
    out->median = i % 2 ? run_times[i / 2] : (run_times[i / 2 - 1] + run_times[i / 2]) / 2;
    out->fastest = run_times[0];
    out->slowest = run_times[i - 1];
    out->runs = i;
    return 1;
}

/* ---- what the machine can do ---- */
static int thread_count(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
/* Twelve vectors of multiply-adds that wait only for themselves: what the units can do. Built for several instruction
   sets, as zennet.h builds its kernels; `never` and the way out in the middle are explained there (zni_tile). */
#define CHAINS 12
#define ROUNDS 200000L
#if defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define INLINE static
#define UNROLL
#endif
INLINE void chain_body(const int lanes, const int fused, float *out, const float *never) {
    float sum[CHAINS * 16], factor = out[0], term = out[1];
    long left = ROUNDS;
    const float *at = out;
    int i, l;
    UNROLL for (i = 0; i < CHAINS; ++i) for (l = 0; l < lanes; ++l) sum[i * lanes + l] = 0;
    do {
        if (left-- == 0) goto done;
        UNROLL for (i = 0; i < CHAINS; ++i)
            for (l = 0; l < lanes; ++l) sum[i * lanes + l] = fused ? fmaf(sum[i * lanes + l], factor, term) : sum[i * lanes + l] * factor + term;
    } while (at != never);
    return;
done:
    UNROLL for (i = 0; i < CHAINS; ++i) for (l = 0; l < lanes; ++l) out[i * lanes + l] += sum[i * lanes + l];
}
static void chain_base(float *out) { chain_body(4, 0, out, NULL); }
#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void chain_avx2(float *out) { chain_body(8, 1, out, NULL); }
__attribute__((target("avx512f,avx512vl,fma"))) static void chain_avx512(float *out) { chain_body(16, 1, out, NULL); }
#endif
static void measure_arithmetic(bench *b) {
    void (*chain)(float *) = chain_base;
    int threads = thread_count(), lanes = 4, i;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        chain = chain_avx2;
        lanes = 8;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        chain = chain_avx512;
        lanes = 16;
    }
#endif
    for (i = 0; i < 8; ++i) {
        double start = tool_seconds();
        int t;
        TOOL_OMP(parallel for schedule(static, 1))
        for (t = 0; t < threads; ++t) {
            float values[CHAINS * 16] = {0.5f, 0.25f};
            chain(values);
            if (values[0] < 0) fputs("never", stderr);
        }
        b->peak_flops = fmax(b->peak_flops, 2.0 * CHAINS * lanes * (double)ROUNDS * threads / (tool_seconds() - start));
    }
}
/* Reads one array and writes another, both far larger than the caches. */
static void measure_memory(bench *b) {
    long share = 1 << 16, shares = 512, i;
    float *from = (float *)malloc((size_t)(share * shares) * sizeof(float)), *to = (float *)malloc((size_t)(share * shares) * sizeof(float));
    volatile float seen = 0; /* or a compiler could leave out copies that nobody reads */
    int run;
    for (run = 0; from != NULL && to != NULL && run < 6; ++run) {
        double start = tool_seconds();
        TOOL_OMP(parallel for)
        for (i = 0; i < shares; ++i) {
            if (run == 0) memset(from + i * share, 0, (size_t)share * sizeof(float)); /* pages come to be */
            memcpy(to + i * share, from + i * share, (size_t)share * sizeof(float));
        }
        seen += to[run * share];
        if (run > 0) b->peak_bytes = fmax(b->peak_bytes, 2.0 * (double)(share * shares) * sizeof(float) / (tool_seconds() - start));
    }
    if (seen != 0) b->peak_bytes = 0; /* never */
    free(from);
    free(to);
}

/* ---- a line of the table ---- */
static void print_layer(bench *b, const char *name, double seconds, double macs, double bytes) {
    double flops = 2 * macs / seconds, moved = bytes / seconds, limit = fmax(2 * macs / b->peak_flops, bytes / b->peak_bytes);
    if (b->json)
        printf("%s\n    {\"name\": \"%s\", \"ms\": %.5f, \"gflops\": %.3f, \"gbytes\": %.3f, \"of_peak\": %.4f, \"of_memory\": %.4f, \"limit_ms\": %.5f}", b->lines > 0 ? "," : "", name,
               seconds * 1e3, flops * 1e-9, moved * 1e-9, flops / b->peak_flops, moved / b->peak_bytes, limit * 1e3);
    else {
        if (b->lines == 0) printf("%-40s %9s %8s %6s %7s %6s %9s\n", "layer", "ms", "GFLOP/s", "peak", "GB/s", "memory", "limit ms");
        printf("%-40s %9.3f %8.1f %4.0f %% %7.2f %4.0f %% %9.3f\n", name, seconds * 1e3, flops * 1e-9, 100 * flops / b->peak_flops, moved * 1e-9, 100 * moved / b->peak_bytes, limit * 1e3);
    }
    ++b->lines;
}

/* ---- inference ---- */
typedef struct infer_job {
    zn_session *session;
    zn_real *x, *logits;
    int batch;
} infer_job;
static int infer_step(void *user) {
    infer_job *job = (infer_job *)user;
    return zn_session_run(job->session, job->x, job->batch, job->logits) == ZN_OK;
}
static int infer_layers(bench *b, infer_job *job) {
    int count = zn_session_step_count(job->session), i, run;
    double *seconds = (double *)calloc((size_t)count, 2 * sizeof(double)), *best = seconds + count;
    for (run = 0; seconds != NULL && run < 20; ++run) {
        if (zn_session_time_steps(job->session, job->x, seconds) != ZN_OK) break;
        for (i = 0; i < count; ++i)
            if (run == 0 || seconds[i] < best[i]) best[i] = seconds[i];
    }
    for (i = 0; run == 20 && i < count; ++i) {
        zn_step_info s;
        char name[128];
        if (zn_session_step_info(job->session, i, &s) != ZN_OK) break;
        snprintf(name, sizeof name, "%s %d-%d k%d s%d at %d%s%s", s.kind, s.in, s.out, s.kernel, s.stride, s.in_size, s.gated ? ", gated" : "", s.summed ? ", summed" : "");
        print_layer(b, name, best[i], s.macs, s.bytes);
    }
    free(seconds);
    return run == 20 && i == count;
}
static int bench_infer(bench *b, zn_net *net, timing *out) {
    zn_session_opts o = zn_session_opts_default();
    infer_job job;
    size_t pixels = (size_t)b->batch * 3 * (size_t)b->resolution * (size_t)b->resolution;
    int good;
    memset(&job, 0, sizeof job);
    o.batch = job.batch = (int)b->batch;
    o.resolution = (int)b->resolution;
    o.threads = (int)b->threads;
    o.picture_side = 0;
    job.x = (zn_real *)malloc(pixels * sizeof(zn_real));
    job.logits = (zn_real *)malloc((size_t)b->batch * (size_t)b->classes * sizeof(zn_real));
    good = job.x != NULL && job.logits != NULL && zn_session_create(net, &o, &job.session) == ZN_OK;
    if (good) {
        zn_fill(job.x, "x", 1, pixels, -2, 2);
        good = b->per_layer ? infer_layers(b, &job) : measure(b, infer_step, &job, out);
    }
    zn_session_destroy(job.session);
    free(job.x);
    free(job.logits);
    return good;
}

/* ---- training ---- */
typedef struct train_job {
    zn_net *net;
    zn_tensor *x, *target;
    zn_optimizer *optimizer;
} train_job;
static int train_step(void *user) {
    train_job *job = (train_job *)user;
    zn_ctx *ctx = zn_net_ctx(job->net);
    zn_tensor *loss = zn_cross_entropy(ctx, zn_net_forward(job->net, job->x, 1), job->target);
    return zn_backward(ctx, loss) == ZN_OK && zn_optimizer_step(job->optimizer, 1e-4) == ZN_OK;
}
static int bench_train(bench *b, zn_net *net, timing *out) {
    zn_ctx *ctx = zn_net_ctx(net);
    train_job job;
    long i;
    int good;
    memset(&job, 0, sizeof job);
    job.net = net;
    job.x = zn_tensor_create(ctx, zn_shape4((int)b->batch, 3, (int)b->resolution, (int)b->resolution));
    job.target = zn_tensor_create(ctx, zn_shape2((int)b->batch, (int)b->classes));
    good = job.x != NULL && job.target != NULL && zn_optimizer_create(ctx, net, NULL, &job.optimizer) == ZN_OK;
    if (good) {
        zn_fill(zn_tensor_data(job.x), "x", 1, zn_tensor_count(job.x), -2, 2);
        for (i = 0; i < b->batch; ++i) zn_tensor_data(job.target)[i * b->classes + i % b->classes] = 1;
        good = measure(b, train_step, &job, out);
    }
    zn_optimizer_destroy(job.optimizer);
    return good;
}

/* Each convolution of the network by itself: forward, then backward (data and weights). The sum that backward starts from
   is timed alone as well and taken off. */
typedef struct conv_job {
    zn_ctx *ctx;
    zn_tensor *x, *w, *y;
    int stride, groups;
} conv_job;
typedef struct layer_list {
    bench *b;
    int failed;
} layer_list;
static int conv_forward(void *user) {
    conv_job *job = (conv_job *)user;
    int good;
    zn_no_grad_begin(job->ctx);
    good = zn_conv2d(job->ctx, job->x, job->w, NULL, job->stride, (zn_tensor_shape(job->w).n[2] - 1) / 2, job->groups) != NULL;
    zn_no_grad_end(job->ctx);
    zn_tape_clear(job->ctx);
    return good;
}
static int conv_both(void *user) {
    conv_job *job = (conv_job *)user;
    zn_tensor *y = zn_conv2d(job->ctx, job->x, job->w, NULL, job->stride, (zn_tensor_shape(job->w).n[2] - 1) / 2, job->groups);
    int good = zn_backward(job->ctx, zn_sum(job->ctx, y)) == ZN_OK;
    zn_tape_clear(job->ctx);
    return good;
}
static int sum_both(void *user) {
    conv_job *job = (conv_job *)user;
    int good = zn_backward(job->ctx, zn_sum(job->ctx, job->y)) == ZN_OK;
    zn_tape_clear(job->ctx);
    return good;
}
static void bench_conv(const zn_layer_info *info, void *user) {
    layer_list *list = (layer_list *)user;
    bench *b = list->b, quick = *b;
    conv_job job;
    timing forward, both, sum;
    char name[160];
    double macs = info->macs * (double)b->batch, values;
    if (list->failed || info->macs <= 0 || info->kernel < 1 || info->in_size < 1 || strcmp(info->kind, "linear") == 0) return;
    memset(&job, 0, sizeof job);
    job.stride = info->stride;
    job.groups = info->groups;
    quick.seconds = 0;
    quick.runs = b->runs < 5 ? b->runs : 5;
    list->failed = zn_ctx_create(NULL, &job.ctx) != ZN_OK;
    if (list->failed) return;
    job.x = zn_param(job.ctx, zn_shape4((int)b->batch, info->in, info->in_size, info->in_size), NULL);
    job.w = zn_param(job.ctx, zn_shape4(info->out, info->in / info->groups, info->kernel, info->kernel), NULL);
    job.y = zn_param(job.ctx, zn_shape4((int)b->batch, info->out, info->out_size, info->out_size), NULL);
    if (job.x == NULL || job.w == NULL || job.y == NULL || !measure(&quick, conv_forward, &job, &forward) || !measure(&quick, conv_both, &job, &both) || !measure(&quick, sum_both, &job, &sum)) {
        fprintf(stderr, "%s: %s: %s\n", tool_name, info->name, zn_error_text(job.ctx));
        list->failed = 1;
    } else {
        values = (double)zn_tensor_count(job.x) + (double)b->batch * info->out * info->out_size * info->out_size + (double)zn_tensor_count(job.w);
        snprintf(name, sizeof name, "%d-%d k%d s%d g%d at %d forward", info->in, info->out, info->kernel, info->stride, info->groups, info->in_size);
        print_layer(b, name, forward.median, macs, values * sizeof(zn_real));
        snprintf(name, sizeof name, "%d-%d k%d s%d g%d at %d backward", info->in, info->out, info->kernel, info->stride, info->groups, info->in_size);
        print_layer(b, name, fmax(both.median - forward.median - sum.median, 1e-9), 2 * macs, 2 * values * sizeof(zn_real));
    }
    zn_ctx_destroy(job.ctx);
}
static int bench_convs(bench *b, zn_net *net) {
    zn_ctx *ctx = zn_net_ctx(net);
    zn_structure *s = NULL;
    zn_count count;
    layer_list list;
    list.b = b;
    list.failed = 0;
    if (zn_structure_parse(ctx, zn_net_get_opts(net)->structure, &s) != ZN_OK) return 0;
    list.failed |= zn_structure_count_layers(s, zn_net_get_opts(net), (int)b->resolution, bench_conv, &list, &count) != ZN_OK;
    zn_structure_destroy(s);
    return !list.failed;
}

/* ---- Zen-score ---- */
typedef struct zen_job {
    zn_scorer *scorer;
    const char *structure;
} zen_job;
static int zen_step(void *user) {
    zen_job *job = (zen_job *)user;
    zn_score_result result;
    return zn_scorer_run(job->scorer, job->structure, &result) == ZN_OK;
}
/* A run makes two draws, which share no images, and counts as half its time. */
static int bench_zen(bench *b, zn_net *net, timing *out) {
    zn_score_opts o = zn_score_opts_default();
    zen_job job = {NULL, zn_net_get_opts(net)->structure};
    int good;
    o.batch = (int)b->batch;
    o.resolution = (int)b->resolution;
    o.repeat = 2;
    good = zn_scorer_create(zn_net_ctx(net), &o, &job.scorer) == ZN_OK && measure(b, zen_step, &job, out);
    out->median *= 0.5;
    out->fastest *= 0.5;
    out->slowest *= 0.5;
    zn_scorer_destroy(job.scorer);
    return good;
}

static int run(bench *b, zn_ctx *ctx, const char *structure) {
    zn_net_opts o = zn_net_opts_default();
    zn_net *net = NULL;
    timing t = {0, 0, 0, 0};
    int good;
    o.structure = structure;
    o.classes = (int)b->classes;
    o.attention = (zn_attention)zn_attention_parse(b->attention);
    good = zn_net_create(ctx, &o, &net) == ZN_OK && zn_net_init(net, ZN_INIT_MSRA, 0) == ZN_OK;
    if (good && b->per_layer) {
        measure_arithmetic(b);
        measure_memory(b);
        if (b->json) printf("{\"peak_gflops\": %.3f, \"peak_gbytes\": %.3f, \"layers\": [", b->peak_flops * 1e-9, b->peak_bytes * 1e-9);
        else printf("peaks: %.1f GFLOP/s, %.1f GB/s\n", b->peak_flops * 1e-9, b->peak_bytes * 1e-9);
    }
    if (good)
        good = strcmp(b->mode, "infer") == 0 ? bench_infer(b, net, &t) : strcmp(b->mode, "zen") == 0 ? bench_zen(b, net, &t) : b->per_layer ? bench_convs(b, net) : bench_train(b, net, &t);
    if (good && b->per_layer && b->json) printf("\n]}\n");
    if (good && !b->per_layer && b->json)
        printf("{\"arch\": \"%s\", \"mode\": \"%s\", \"attention\": \"%s\", \"resolution\": %ld, \"batch\": %ld, \"threads\": %d, \"runs\": %d, \"median_ms\": %.5f, "
               "\"fastest_ms\": %.5f, \"slowest_ms\": %.5f, \"peak_bytes\": %.0f}\n",
               b->arch, b->mode, b->attention, b->resolution, b->batch, thread_count(), t.runs, t.median * 1e3, t.fastest * 1e3, t.slowest * 1e3,
               (double)zn_memory_peak(ctx));
    else if (good && !b->per_layer)
        printf("%s, %s, attention %s, %ld x %ld, batch %ld, %d thread%s: %.2f ms (%.2f to %.2f, %d runs), %.2f ms an image, %.0f MB\n", b->arch, b->mode, b->attention,
               b->resolution, b->resolution, b->batch, thread_count(), thread_count() > 1 ? "s" : "", t.median * 1e3, t.fastest * 1e3,
               t.slowest * 1e3, t.runs, t.median * 1e3 / (double)b->batch, (double)zn_memory_peak(ctx) / 1e6);
    if (!good) fail(ctx);
    zn_net_destroy(net);
    return good;
}

int main(int argc, char **argv) {
    bench b = {"zennet-m", "infer", "sa", 224, 1, 0, 20, 7, 0.0, 0, 0, 0.0, 0.0, 0};
    tool_option options[] = {{"arch", TOOL_TEXT, &b.arch, "WHAT", "network: a built-in name, a structure string or a file with one", 0, 0},
                             {"attention", TOOL_TEXT, &b.attention, "none|se|sa", "attention of its super blocks", 0, 0},
                             {"resolution", TOOL_INT, &b.resolution, "R", "height and width of the images, pixels", 1, 4096},
                             {"batch", TOOL_INT, &b.batch, "N", "images of a run", 1, 4096},
                             {"threads", TOOL_INT, &b.threads, "N", "threads; 0: all", 0, 1024},
                             {"classes", TOOL_INT, &b.classes, "N", "classes of the head", 1, ZN_MAX_CLASSES},
                             {"mode", TOOL_TEXT, &b.mode, "infer|train|zen", "a session's run; forward, backward and a step of SGD; a Zen-score", 0, 0},
                             {"runs", TOOL_INT, &b.runs, "N", "timed runs after two of warm-up", 1, MAX_RUNS},
                             {"seconds", TOOL_REAL, &b.seconds, "S", "instead: as many runs as fit", 0, 86400},
                             {"per-layer", TOOL_FLAG, &b.per_layer, "", "each layer against the machine's peaks (train: its convolutions; infer: one image, one thread)", 0, 0},
                             {"json", TOOL_FLAG, &b.json, "", "JSON instead of text", 0, 0}};
    const char *words[1];
    char *structure;
    zn_ctx *ctx = NULL;
    int count, good, status = tool_parse(argc, argv, "", "Measures time per batch.", options, (int)(sizeof options / sizeof options[0]), words, 0, &count);
    if (status != TOOL_GO) return status;
    if (b.per_layer && strcmp(b.mode, "zen") == 0) return tool_misused("--per-layer is for infer and train", "");
    if (b.per_layer && strcmp(b.mode, "infer") == 0) b.threads = b.batch = 1;
    use_threads(b.threads);
    structure = structure_of_word(b.arch);
    if (structure == NULL || zn_ctx_create(NULL, &ctx) != ZN_OK) return TOOL_FAILED;
    good = run(&b, ctx, structure);
    zn_ctx_destroy(ctx);
    free(structure);
    return good ? TOOL_DONE : TOOL_FAILED;
}
