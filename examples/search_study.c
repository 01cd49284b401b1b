/* search_study.c - does a high Zen-score mean a good network? Searches tiny networks for drawn faces, trains the best, the
   median, the worst and some between for the same time, and sets score against accuracy.

     build/examples/search_study --out study
     build/examples/search_study --out study --iterations 600 --networks 9 --seconds 120 --repeats 2

   The last line is the rank correlation. Whatever comes out is printed: with few networks, short training and small pictures
   it need not be high. DIR/study.csv holds the rows. */
#include "examples/common.h"
#include "examples/rank.h"
#include "data_tools/toy_face.h"

#include <sys/stat.h>

#define START "SuperConvK3BNRELU(3,8,1,1)SuperResIDWE2K3(8,16,2,8,1)SuperResIDWE2K3(16,24,2,16,1)SuperResIDWE2K3(24,32,2,24,1)SuperConvK1BNRELU(32,64,1,1)"

typedef struct study {
    long size, train, test, iterations, networks, repeats, max_layers, threads;
    double max_params, max_flops, seconds;
    uint64_t seed;
    const char *out;
} study;
typedef struct row {
    zn_search_member member;
    char *structure;
    long rank; /* in the population, 1 is the best */
    int epochs;
    double top1, spread; /* mean over the repeats of the best test accuracy; highest minus lowest */
} row;

/* ---- drawn faces ---- */
static zn_result write_faces(zn_ctx *ctx, const study *s, const char *path) {
    static const char *const names[] = {"surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"};
    size_t bytes = (size_t)s->size * (size_t)s->size * 3;
    unsigned char *rgb = (unsigned char *)malloc(bytes);
    zn_pack_writer *w = NULL;
    zn_pack_info image;
    zn_result result = zn_pack_writer_create(ctx, path, names, 7, &w);
    long i;
    char source[32];
    memset(&image, 0, sizeof image);
    image.bytes = rgb;
    image.size = bytes;
    image.encoding = ZN_ENCODING_RGB;
    image.stored_width = image.stored_height = image.width = image.height = (int)s->size;
    image.source = source;
    for (i = 0; result == ZN_OK && i < s->train + s->test; ++i) {
        image.split = i < s->train ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
        image.label = (int)(i % 7);
        snprintf(source, sizeof source, "face %ld", i);
        if (rgb == NULL || toy_face_draw(s->seed, (uint64_t)i, image.label, (int)s->size, rgb) != 0) result = ZN_ERROR_MEMORY;
        else result = zn_pack_writer_add(w, &image);
    }
    if (result == ZN_OK) result = zn_pack_writer_finish(w, NULL);
    zn_pack_writer_destroy(w);
    free(rgb);
    return result;
}

/* ---- search: everything that was scored is kept, so that good and bad are there ---- */
static int by_score(const void *a, const void *b) {
    const row *x = (const row *)a, *y = (const row *)b;
    return (x->member.score < y->member.score) - (x->member.score > y->member.score);
}
static zn_result search_networks(zn_ctx *ctx, const study *s, row **out_rows, int *out_count) {
    zn_search_opts o = zn_search_opts_default();
    zn_search *search = NULL;
    zn_result result;
    int more = 1, i, count;
    o.max_params = s->max_params;
    o.max_flops = s->max_flops;
    o.max_layers = (int)s->max_layers;
    o.resolution = (int)s->size;
    o.iterations = s->iterations;
    o.population = 65536;
    o.seed = s->seed;
    result = zn_search_create(ctx, START, &o, &search);
    while (result == ZN_OK && more) result = zn_search_step(search, &more);
    count = zn_search_population(search);
    *out_rows = (row *)calloc((size_t)count + 1, sizeof **out_rows);
    for (i = 0; result == ZN_OK && *out_rows != NULL && i < count; ++i) {
        row *r = &(*out_rows)[i];
        zn_search_get_member(search, i, &r->member);
        r->structure = (char *)malloc(strlen(r->member.structure) + 1);
        if (r->structure != NULL) strcpy(r->structure, r->member.structure);
    }
    zn_search_destroy(search);
    if (*out_rows != NULL) qsort(*out_rows, (size_t)count, sizeof **out_rows, by_score);
    for (i = 0; *out_rows != NULL && i < count; ++i) (*out_rows)[i].rank = i + 1;
    *out_count = count;
    return result;
}

/* ---- training for a given time: one epoch tells how many fit, then a whole schedule of so many ---- */
static int stop_asked_for(const zn_train_state *state, void *user) {
    (void)state;
    (void)user;
    return stop_asked;
}
static zn_result train_once(zn_ctx *ctx, const study *s, const zn_pack *pack, const char *structure, int epochs, uint64_t seed, double *out_top1, double *out_seconds) {
    zn_net_opts n = zn_net_opts_default();
    zn_train_opts o = zn_train_opts_default();
    zn_net *net = NULL;
    zn_train_result *r = NULL;
    zn_result result;
    n.structure = structure;
    n.attention = ZN_ATTENTION_NONE; /* as it was scored */
    o.epochs = epochs;
    o.batch = 32;
    o.lr = 0.05;
    o.schedule.warmup = 0.1 * epochs;
    o.seed = seed;
    o.augment = zn_augment_opts_none((int)s->size);
    o.keep_last = 1;
    o.eval_every = epochs;
    o.on_batch = stop_asked_for;
    result = zn_net_create(ctx, &n, &net);
    if (result == ZN_OK) result = zn_train_run(net, pack, NULL, &o, &r);
    if (result == ZN_OK) {
        *out_top1 = r->rows[r->epochs - 1].test_top1;
        *out_seconds = r->seconds;
    }
    zn_train_result_destroy(r);
    zn_net_destroy(net);
    return result;
}
static zn_result train_row(zn_ctx *ctx, const study *s, const zn_pack *pack, row *r) {
    double top1, seconds, low = 2, high = -1;
    long k;
    zn_result result = train_once(ctx, s, pack, r->structure, 1, 1, &top1, &seconds);
    r->epochs = seconds > 0 && s->seconds / seconds < 1e5 ? (int)(s->seconds / seconds) : 1;
    if (r->epochs < 1) r->epochs = 1;
    for (k = 0; k < s->repeats && result == ZN_OK; ++k) {
        result = train_once(ctx, s, pack, r->structure, r->epochs, s->seed + (uint64_t)k + 1, &top1, &seconds);
        r->top1 += top1 / (double)s->repeats;
        low = fmin(low, top1);
        high = fmax(high, top1);
    }
    r->spread = high - low;
    return result;
}

static int write_rows(const study *s, const row *const *rows, int count) {
    const char *path = in_folder(s->out, "study.csv");
    tool_file file;
    FILE *f = tool_file_begin(&file, path);
    int i;
    if (f == NULL) return tool_cannot_write(path);
    fprintf(f, "rank,score,params,flops,layers,epochs,top1,spread,structure\n");
    for (i = 0; i < count; ++i) {
        const zn_search_member *m = &rows[i]->member;
        fprintf(f, "%ld,%.6g,%.0f,%.0f,%d,%d,%.6g,%.6g,\"%s\"\n", rows[i]->rank, m->score, m->params, m->flops, m->layers, rows[i]->epochs, rows[i]->top1, rows[i]->spread, rows[i]->structure);
    }
    return tool_file_end(&file) || tool_cannot_write(path);
}
static zn_result run(zn_ctx *ctx, const study *s) {
    const row *chosen[256];
    double scores[256], top1[256];
    char path[4096];
    zn_pack *pack = NULL;
    row *rows = NULL;
    int count = 0, k, picked = 0;
    zn_result result;
    snprintf(path, sizeof path, "%.4000s/faces.zenpack", s->out);
    result = write_faces(ctx, s, path);
    if (result == ZN_OK) result = zn_pack_open(ctx, path, &pack);
    if (result == ZN_OK) result = search_networks(ctx, s, &rows, &count);
    if (result == ZN_OK) printf("%d networks scored; scores from %.4g to %.4g\n%6s %8s %9s %11s %7s %9s %7s\n", count, rows[0].member.score, rows[count - 1].member.score, "rank", "score", "params", "FLOPs", "epochs", "accuracy", "spread");
    for (k = 0; k < s->networks && result == ZN_OK && k < count; ++k) { /* evenly from the best to the worst */
        row *r = &rows[s->networks > 1 ? (int)((long)(count - 1) * k / (s->networks - 1)) : 0];
        if (picked > 0 && r == chosen[picked - 1]) continue;
        result = train_row(ctx, s, pack, r);
        if (result != ZN_OK) break;
        scores[picked] = r->member.score;
        top1[picked] = r->top1;
        chosen[picked++] = r;
        printf("%6ld %8.3f %9.0f %11.0f %7d %7.2f %% %5.2f %%\n", r->rank, r->member.score, r->member.params, r->member.flops, r->epochs, 100 * r->top1, 100 * r->spread);
        fflush(stdout);
    }
    if (result == ZN_OK) printf("rank correlation of score and accuracy over %d networks: %.3f\n", picked, rank_correlation(scores, top1, picked));
    if (result == ZN_OK && !write_rows(s, chosen, picked)) result = ZN_ERROR_FILE;
    for (k = 0; rows != NULL && k < count; ++k) free(rows[k].structure);
    free(rows);
    zn_pack_close(pack);
    return result;
}

int main(int argc, char **argv) {
    study s = {32, 1400, 700, 200, 7, 1, 10, 0, 30000, 4e6, 60, 1, NULL};
    const char *words[1];
    int count, status;
    zn_result result;
    zn_ctx *ctx = NULL;
    tool_option options[] = {{"out", TOOL_TEXT, &s.out, "DIR", "where the faces and study.csv go", 0, 0},
                             {"size", TOOL_INT, &s.size, "N", "side of the faces, pixels", 16, 224},
                             {"train", TOOL_INT, &s.train, "N", "faces to train on", 70, 1e6},
                             {"test", TOOL_INT, &s.test, "N", "faces to test on", 70, 1e6},
                             {"budget-params", TOOL_REAL, &s.max_params, "N", "of the search", 0, 1e9},
                             {"budget-flops", TOOL_REAL, &s.max_flops, "N", "of the search", 0, 1e12},
                             {"max-layers", TOOL_INT, &s.max_layers, "N", "of the search", 0, 4096},
                             {"iterations", TOOL_INT, &s.iterations, "N", "proposals of the search", 1, 1e6},
                             {"networks", TOOL_INT, &s.networks, "N", "trained: the best, the worst, and evenly between", 2, 256},
                             {"seconds", TOOL_REAL, &s.seconds, "S", "of training each", 0.001, 1e6},
                             {"repeats", TOOL_INT, &s.repeats, "N", "trainings of each, with other seeds", 1, 100},
                             {"seed", TOOL_SEED, &s.seed, "N", "faces, search and training follow from it", 0, 0},
                             {"threads", TOOL_INT, &s.threads, "N", "threads; 0: all", 0, 1024}};
    status = tool_parse(argc, argv, "", "Trains networks of high and low Zen-score on drawn faces and compares.", options, (int)(sizeof options / sizeof options[0]), words, 0, &count);
    if (status != TOOL_GO) return status;
    if (s.out == NULL) return tool_misused("--out is missing", "");
    if (!make_folder(s.out)) return TOOL_FAILED;
    use_threads(s.threads);
    signal(SIGINT, on_interrupt);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return TOOL_FAILED;
    result = run(ctx, &s);
    if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped\n", tool_name);
    else if (zn_error_code(ctx) != ZN_OK) fail(ctx);
    zn_ctx_destroy(ctx);
    return result == ZN_OK ? TOOL_DONE : TOOL_FAILED;
}
