/* perf.c - a fixed piece of work each, for counting its instructions: `make perf` runs it under valgrind's callgrind, which
   counts inside perf_counted alone, so that the making of networks and pictures does not count. Sizes are small because
   callgrind takes about a thousand times as long.

     build/perf/tests/perf infer-m    does that piece of work
     build/perf/tests/perf --list     names, one a line
     build/perf/tests/perf --about    the compiler and the instruction set that the counts belong to */
#include "data_tools/tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "data_tools/zennet_image.h"

enum { SIDE = 112, BATCH = 2, CLASSES = 7 };

typedef struct work {
    zn_ctx *ctx;
    zn_net *net;
    zn_session *session;
    zn_optimizer *optimizer;
    zn_tensor *x, *target;
    unsigned char *rgb, *jpeg;
    size_t jpeg_size;
    void *scratch;
    zn_augment_opts augment;
    double result; /* printed, so that nothing is left out */
} work;

static int make_net(work *w, const char *structure) {
    zn_net_opts o = zn_net_opts_default();
    o.structure = structure;
    o.classes = CLASSES;
    return zn_net_create(w->ctx, &o, &w->net) == ZN_OK && zn_net_init(w->net, ZN_INIT_MSRA, 0) == ZN_OK;
}
static int make_input(work *w, int batch, int side) {
    w->x = zn_tensor_create(w->ctx, zn_shape4(batch, 3, side, side));
    if (w->x != NULL) zn_fill(zn_tensor_data(w->x), "x", 1, zn_tensor_count(w->x), -2, 2);
    return w->x != NULL;
}
/* A picture with slopes, an edge and some noise, as a photograph has them. */
static int make_picture(work *w) {
    zn_rng rng = zn_rng_seed(1);
    int x, y, c;
    w->rgb = (unsigned char *)malloc(3 * SIDE * SIDE);
    if (w->rgb == NULL) return 0;
    for (y = 0; y < SIDE; ++y)
        for (x = 0; x < SIDE; ++x)
            for (c = 0; c < 3; ++c) w->rgb[3 * (y * SIDE + x) + c] = (unsigned char)((x + c * y) / 4 + (x > y ? 60 : 0) + (int)zn_rng_below(&rng, 20));
    return 1;
}

static int make_session(work *w, const char *structure) {
    zn_session_opts o = zn_session_opts_default();
    o.resolution = SIDE;
    o.threads = 1;
    return make_net(w, structure) && make_input(w, 1, SIDE) && zn_session_create(w->net, &o, &w->session) == ZN_OK;
}
static int make_infer_m(work *w) { return make_session(w, "zennet-m"); }
static int make_infer_r(work *w) { return make_session(w, "zennet-r"); }
static int do_infer(work *w) {
    zn_real logits[CLASSES];
    zn_result result = zn_session_run(w->session, zn_tensor_data(w->x), 1, logits);
    w->result = (double)logits[0];
    return result == ZN_OK;
}

static int do_train(work *w) {
    zn_tensor *loss = zn_cross_entropy(w->ctx, zn_net_forward(w->net, w->x, 1), w->target);
    w->result = loss != NULL ? zn_tensor_value(loss) : 0;
    return zn_backward(w->ctx, loss) == ZN_OK && zn_optimizer_step(w->optimizer, 1e-4) == ZN_OK;
}
static int make_train(work *w, const char *structure, int side) {
    int i;
    if (!make_net(w, structure) || !make_input(w, BATCH, side) || zn_optimizer_create(w->ctx, w->net, NULL, &w->optimizer) != ZN_OK) return 0;
    w->target = zn_tensor_create(w->ctx, zn_shape2(BATCH, CLASSES));
    for (i = 0; w->target != NULL && i < BATCH; ++i) zn_tensor_data(w->target)[i * CLASSES + i] = 1;
    return w->target != NULL && do_train(w); /* the first step makes the buffers that the next ones find */
}
static int make_train_m(work *w) {
    return make_train(w, "SuperConvK3BNRELU(3,64,2,1)SuperResIDWE2K7(64,48,2,48,1)SuperResIDWE2K7(48,80,2,80,1)SuperConvK1BNRELU(80,256,1,1)", 64);
}
static int make_train_r(work *w) { return make_train(w, "zennet-r", 32); }

static int make_nothing(work *w) { return w->ctx != NULL; }
static int do_zen(work *w) {
    zn_score_opts o = zn_score_opts_default();
    zn_score_result score;
    zn_result result;
    o.batch = BATCH;
    o.resolution = 64;
    result = zn_score(w->ctx, "zennet-m", &o, &score);
    w->result = score.mean;
    return result == ZN_OK;
}

static int make_augment(work *w) {
    size_t bytes;
    w->augment = zn_augment_opts_rafdb(SIDE);
    bytes = zn_augment_scratch_bytes(&w->augment, SIDE, SIDE);
    return make_picture(w) && make_input(w, 1, SIDE) && bytes < SIZE_MAX / 2 && (w->scratch = malloc(bytes)) != NULL;
}
static int do_augment(work *w) { /* several draws, so that most operations have their turn */
    zn_rng rng = zn_rng_seed(2);
    int i;
    for (i = 0; i < 4; ++i)
        if (zn_augment(&w->augment, &rng, w->rgb, SIDE, SIDE, w->scratch, zn_tensor_data(w->x)) != ZN_OK) return 0;
    w->result = (double)zn_tensor_data(w->x)[0];
    return 1;
}

static int make_jpeg(work *w) { return make_picture(w) && zim_encode_jpeg(w->rgb, SIDE, SIDE, 90, &w->jpeg, &w->jpeg_size, NULL) == 0; }
static int do_jpeg(work *w) {
    zim_image image;
    if (zim_decode(w->jpeg, w->jpeg_size, NULL, &image, NULL) != 0) return 0;
    w->result = (double)image.pixels[0];
    zim_free(&image);
    return 1;
}

static const struct {
    const char *name;
    int (*make)(work *), (*run)(work *);
} cases[] = {
    {"infer-m", make_infer_m, do_infer},   /* zennet-m with SA in a session, one picture of 112 x 112 */
    {"infer-r", make_infer_r, do_infer},
    {"train-m", make_train_m, do_train},   /* a training step, the second one, of zennet-m's first stages on two pictures of 64 x 64 */
    {"train-r", make_train_r, do_train},   /* the same of zennet-r on two of 32 x 32 */
    {"zen-m", make_nothing, do_zen},       /* the Zen-score, two pictures of 64 x 64 */
    {"augment", make_augment, do_augment}, /* RAF-DB's recipe, four draws on a picture of 112 x 112 */
    {"jpeg", make_jpeg, do_jpeg},          /* decodes 112 x 112 of quality 90 */
};
#define CASES ((int)(sizeof cases / sizeof cases[0]))

/* Where callgrind counts: called through a pointer that no compiler sees through, so that it stays a function. */
int perf_counted(work *w, int (*run)(work *));
int perf_counted(work *w, int (*run)(work *)) { return run(w); }
static int (*volatile counted)(work *, int (*)(work *)) = perf_counted;

/* The instruction set that zennet.h chooses here, and who compiled. */
static void about(void) {
    const char *level = "base";
#if defined(__GNUC__) && defined(__x86_64__) && !defined(ZN_NO_DISPATCH)
    __builtin_cpu_init();
    level = "x86-64";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = "avx2";
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) level = "avx512";
#elif defined(__aarch64__)
    level = "aarch64";
#endif
#if defined(__clang__)
    printf("clang %d.%d.%d, %s\n", __clang_major__, __clang_minor__, __clang_patchlevel__, level);
#elif defined(__GNUC__)
    printf("gcc %d.%d.%d, %s\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__, level);
#else
    printf("another compiler, %s\n", level);
#endif
}

static int run(const char *name) {
    work w;
    int i, good = 0;
    for (i = 0; i < CASES && strcmp(cases[i].name, name) != 0; ++i) {}
    if (i == CASES) return tool_misused("no such case: ", name);
    memset(&w, 0, sizeof w);
    if (zn_ctx_create(NULL, &w.ctx) == ZN_OK) good = cases[i].make(&w) && counted(&w, cases[i].run);
    if (good) printf("%s %.9g\n", name, w.result);
    else fprintf(stderr, "%s: %s: %s\n", tool_name, name, w.ctx != NULL ? zn_error_text(w.ctx) : "no memory");
    zn_session_destroy(w.session);
    zn_optimizer_destroy(w.optimizer);
    zn_net_destroy(w.net);
    zn_ctx_destroy(w.ctx);
    zim_free_bytes(w.jpeg);
    free(w.rgb);
    free(w.scratch);
    return good ? TOOL_DONE : TOOL_FAILED;
}

int main(int argc, char **argv) {
    const char *words[1] = {""};
    int list = 0, tell = 0, count, i;
    tool_option options[] = {{"list", TOOL_FLAG, &list, NULL, "the names of the cases", 0, 0},
                             {"about", TOOL_FLAG, &tell, NULL, "the compiler and the instruction set that counts belong to", 0, 0}};
    int status = tool_parse(argc, argv, "CASE", "A fixed piece of work, for counting its instructions under callgrind.", options, 2, words, 1, &count);
    if (status != TOOL_GO) return status;
    for (i = 0; list && i < CASES; ++i) printf("%s\n", cases[i].name);
    if (tell) about();
    if (list || tell) return TOOL_DONE;
    return count == 1 ? run(words[0]) : tool_misused("which case?", "");
}
