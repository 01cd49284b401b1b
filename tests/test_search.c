/* test_search.c - the search: the same result for any threads, after a stop and after a reload; budgets, mutations, spaces,
   states that are not ours, impossible budgets, memory running out. The golden lists are checked by golden.c. */
#define _POSIX_C_SOURCE 200809L /* a clock finer than a second, without OpenMP too */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"
#include "files.h"

#define START "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)SuperResIDWE2K3(16,16,1,8,1)SuperConvK1BNRELU(16,64,1,1)"
#define STATE "build_search.state"

static zn_search_opts small_opts(void) {
    zn_search_opts o = zn_search_opts_default();
    o.max_layers = 8;
    o.max_params = 20000;
    o.max_flops = 1e6;
    o.batch = 2;
    o.resolution = 16;
    o.population = 24;
    o.iterations = 300;
    o.generation = 8;
    o.seed = 5;
    return o;
}
static zn_search_result run_of(zn_ctx *ctx, const zn_search_opts *o) {
    zn_search_result r;
    memset(&r, 0, sizeof r);
    CHECK_FOR(zn_search_run(ctx, START, o, &r) == ZN_OK, zn_error_text(ctx));
    return r;
}
/* Times aside. */
static int same_end(const zn_search_point *a, const zn_search_point *b) {
    int i, same = a->iterations == b->iterations && a->scored == b->scored && a->failed == b->failed && a->repeated == b->repeated && a->population == b->population;
    for (i = 0; i < ZN_BUDGETS; ++i) same &= a->over[i] == b->over[i];
    return same && a->best == b->best && a->median == b->median && a->worst == b->worst;
}
static int same_result(const zn_search_result *a, const zn_search_result *b) { return strcmp(a->structure, b->structure) == 0 && a->score == b->score && same_end(&a->end, &b->end); }

static void test_determinism(zn_ctx *ctx) {
    zn_search_opts o = small_opts();
    zn_search_result one, many, other;
    o.threads = 1;
    one = run_of(ctx, &o);
    CHECK(one.end.iterations == 300 && one.end.scored > 50 && one.end.population == 24 && one.end.best == one.score && one.end.median < one.score);
    o.threads = 3;
    many = run_of(ctx, &o);
    CHECK(same_result(&one, &many));
    o.seed = 6;
    other = run_of(ctx, &o);
    CHECK(!same_result(&one, &other));
}

static int stop_after(const zn_search_point *p, void *user) { return p->iterations >= *(const int64_t *)user; }
/* Stopped and started again, however often: the same course. */
static void test_resume(zn_ctx *ctx) {
    zn_search_opts o = small_opts();
    zn_search_result whole = run_of(ctx, &o), r;
    int64_t limit = 60;
    int stops = 0;
    zn_result result;
    remove(STATE);
    o.state_path = STATE;
    o.on_progress = stop_after;
    o.user = &limit;
    for (;; ++stops, limit += 60) {
        result = zn_search_run(ctx, START, &o, &r);
        if (result != ZN_STOPPED || stops > 20) break;
        CHECK(r.structure[0] != '\0' && r.end.iterations >= limit && zn_error_code(ctx) == ZN_OK);
    }
    CHECK(result == ZN_OK && stops >= 4 && same_result(&whole, &r));
    o.iterations = 400; /* a finished search can go further */
    limit = 1000;
    CHECK(zn_search_run(ctx, START, &o, &r) == ZN_OK && r.end.iterations == 400);
    o.state_path = NULL;
    whole = run_of(ctx, &o);
    CHECK(same_result(&whole, &r));
    remove(STATE);
}

static void test_members(zn_ctx *ctx) {
    zn_search_opts o = small_opts();
    zn_search *search = NULL;
    zn_search_member m;
    zn_search_point p;
    zn_search_result best;
    double top = -HUGE_VAL;
    int more = 1, i, over = 0, wrong = 0, repeated = 0;
    o.max_effective = 1.2;
    o.max_latency_ms = 1e6; /* measured, never refused */
    CHECK(zn_search_create(ctx, START, &o, &search) == ZN_OK);
    CHECK(zn_search_best(search, &best) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    while (more && zn_search_step(search, &more) == ZN_OK) {}
    CHECK(zn_search_population(search) == 24);
    for (i = 0; i < 24; ++i) {
        zn_structure *s = NULL;
        zn_net_opts n = zn_net_opts_default();
        zn_count count;
        zn_search_member again;
        zn_score_opts so = zn_score_opts_default();
        zn_score_result score;
        double effective = 0.0;
        int j;
        n.attention = ZN_ATTENTION_NONE;
        so.batch = o.batch;
        so.resolution = o.resolution;
        so.seed = o.seed;
        CHECK(zn_search_get_member(search, i, &m) == ZN_OK && zn_structure_parse(ctx, m.structure, &s) == ZN_OK && zn_structure_count(s, &n, o.resolution, &count) == ZN_OK);
        CHECK(zn_structure_effective_score(s, &effective) == ZN_OK && zn_score(ctx, m.structure, &so, &score) == ZN_OK);
        over += m.layers > o.max_layers || m.params > o.max_params || m.flops > o.max_flops || m.effective > o.max_effective;
        wrong += m.layers != count.layers || m.params != count.budget_params || m.flops != count.budget_flops || m.effective != effective || m.score != score.mean || !(m.latency_ms > 0.0);
        if (m.score > top) top = m.score;
        zn_structure_destroy(s);
        for (j = 0; j < i; ++j) repeated += zn_search_get_member(search, j, &again) == ZN_OK && strcmp(again.structure, m.structure) == 0;
    }
    CHECK(over == 0 && wrong == 0 && repeated == 0);
    CHECK(zn_search_best(search, &best) == ZN_OK && best.score == top && best.latency_ms > 0.0);
    CHECK(zn_search_get_member(search, 24, &m) == ZN_ERROR_ARGUMENT && zn_search_get_member(search, -1, &m) == ZN_ERROR_ARGUMENT);
    CHECK(zn_search_points(search) > 5 && zn_search_get_point(search, 0, &p) == ZN_OK && p.scored == 8 && p.population == 8);
    zn_search_destroy(search);
}

static void test_terms(zn_ctx *ctx) { /* depth penalty, DeepMAD, exact counts, a sieve */
    zn_search_opts o = small_opts();
    zn_search_result plain, r;
    zn_structure *s = NULL;
    zn_score_opts so = zn_score_opts_default();
    zn_score_result score, entropy;
    zn_net_opts n = zn_net_opts_default();
    zn_count count;
    o.iterations = 60;
    plain = run_of(ctx, &o);
    o.depth_penalty = o.deepmad = 1;
    o.exact_counts = 1;
    r = run_of(ctx, &o);
    n.attention = ZN_ATTENTION_NONE;
    so.batch = o.batch;
    so.resolution = o.resolution;
    so.seed = o.seed;
    CHECK(zn_score(ctx, r.structure, &so, &score) == ZN_OK && zn_structure_parse(ctx, r.structure, &s) == ZN_OK && zn_structure_count(s, &n, 16, &count) == ZN_OK);
    so.kind = ZN_SCORE_DEEPMAD;
    CHECK(zn_score(ctx, r.structure, &so, &entropy) == ZN_OK);
    CHECK(fabs(r.score - (score.mean - zn_structure_depth_penalty(s) + log(entropy.mean))) < 1e-9);
    CHECK(r.params == count.params && r.flops == count.macs && strcmp(r.structure, plain.structure) != 0);
    zn_structure_destroy(s);
    o = small_opts();
    o.iterations = 60;
    o.sieve_batch = 1;
    o.sieve_resolution = 12;
    o.finalists = 5;
    o.final_repeat = 3;
    r = run_of(ctx, &o);
    so.kind = ZN_SCORE_ZEN;
    so.repeat = 3;
    CHECK(zn_score(ctx, r.structure, &so, &score) == ZN_OK && score.mean == r.score && score.half_width == r.half_width && r.half_width > 0.0);
    CHECK(r.finalists == 5 && plain.finalists == 0);
    o.sieve_batch = o.sieve_resolution = 0; /* a sieve of another kind */
    o.sieve_score = ZN_SCORE_ZEN_EXPECTED;
    o.iterations = 2000;
    r = run_of(ctx, &o);
    CHECK(zn_score(ctx, r.structure, &so, &score) == ZN_OK && score.mean == r.score && r.finalists == 5 && r.score > plain.score);
}

static void test_impossible(zn_ctx *ctx) {
    static const struct { int layers; double params, flops, effective, ms; const char *name; } rows[] = {
        {3, 0, 0, 0, 0, "layers refuses"}, {0, 100, 0, 0, 0, "params refuses"}, {0, 0, 1000, 0, 0, "flops refuses"}, {0, 0, 0, 1e-3, 0, "effective score refuses"}, {0, 0, 0, 0, 1e-7, "latency refuses"}};
    size_t i;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        zn_search_opts o = zn_search_opts_default();
        zn_search_result r;
        o.resolution = 16;
        o.iterations = 6000;
        o.max_layers = rows[i].layers;
        o.max_params = rows[i].params;
        o.max_flops = rows[i].flops;
        o.max_effective = rows[i].effective;
        o.max_latency_ms = rows[i].ms;
        CHECK_FOR(zn_search_run(ctx, START, &o, &r) == ZN_ERROR_ARGUMENT, rows[i].name);
        CHECK_HOLDS(zn_error_text(ctx), rows[i].name);
        CHECK_HOLDS(zn_error_text(ctx), "% over");
        zn_error_clear(ctx);
    }
}

/* What mutation draws, against the list that the golden files prove: each candidate as often as its multiplicity says. */
typedef struct histogram {
    struct { char text[80]; int weight, seen; } row[4000];
    int count, total;
} histogram;
static void add_row(const char *text, int multiplicity, void *user) {
    histogram *h = (histogram *)user;
    snprintf(h->row[h->count].text, sizeof h->row[h->count].text, "%s", text);
    h->row[h->count].seen = 0;
    h->row[h->count++].weight = multiplicity;
    h->total += multiplicity;
}
static void test_mutation(zn_ctx *ctx) {
    static histogram h;
    zni_space space;
    zn_structure *s = NULL;
    zn_rng rng = zn_rng_seed(9);
    double chi = 0.0;
    int draw, draws = 40000, i, unknown = 0;
    CHECK(zni_space_read(&space, ctx, zn_space_text(ZN_SPACE_IDW)) == ZN_OK && zn_structure_parse(ctx, START, &s) == ZN_OK);
    CHECK(zn_space_candidates(s, 2, zn_space_text(ZN_SPACE_IDW), add_row, &h) == ZN_OK);
    for (draw = 0; draw < draws; ++draw) {
        zn_structure one = *s;
        zni_block b = s->blocks[2];
        char text[80];
        b.next = -1;
        one.blocks = &b;
        one.first = 0;
        zni_mutate_block(&space, &rng, &b);
        zn_structure_format(&one, text, sizeof text);
        for (i = 0; i < h.count && strcmp(h.row[i].text, text) != 0;) ++i;
        if (i < h.count) ++h.row[i].seen;
        else ++unknown;
    }
    for (i = 0; i < h.count; ++i) {
        double expected = (double)draws * h.row[i].weight / h.total;
        chi += (h.row[i].seen - expected) * (h.row[i].seen - expected) / expected;
    }
    CHECK(unknown == 0 && h.count > 100);
    CHECK(fabs(chi - h.count) < 5.0 * sqrt(2.0 * h.count)); /* chi-squared, h.count - 1 degrees of freedom */
    zn_structure_destroy(s);
}

/* A user's own space: only what it lists, weights left out are 1, widths in its limits. */
static void test_own_space(zn_ctx *ctx) {
    zn_search_opts o = small_opts();
    zn_search_result r;
    zn_search *search = NULL;
    zn_search_member m;
    int more = 1, i, foreign = 0;
    o.space_text = "# mine\nchannels *1.5 *1\n channels /1.5   # down\nlimits 8 40\ndepth 0 1\nkeep SuperConvK1BNRELU SuperConvK3BNRELU\n\nkinds SuperResK3K3 SuperResIDWE1K3:3\r\n";
    CHECK(zn_search_create(ctx, START, &o, &search) == ZN_OK);
    while (more && zn_search_step(search, &more) == ZN_OK) {}
    for (i = 0; i < zn_search_population(search); ++i) {
        CHECK(zn_search_get_member(search, i, &m) == ZN_OK);
        foreign += strstr(m.structure, "K5") != NULL || strstr(m.structure, "E4") != NULL || strstr(m.structure, ",64,1,1)") == NULL || strncmp(m.structure, "SuperConvK3BNRELU(3,8,", 22) != 0;
    }
    CHECK(foreign == 0 && zn_search_population(search) > 10);
    zn_search_destroy(search);
    o.space_text = "channels *1\ndepth 0 0\nkinds SuperResIDWE2K3\n"; /* nothing but the start */
    r = run_of(ctx, &o);
    CHECK(strcmp(r.structure, START) == 0 && r.end.scored == 1 && r.end.repeated == 299);
}
static void test_bad_spaces(zn_ctx *ctx) {
    static const struct { const char *text, *reason; } rows[] = {
        {"", "channels"}, {"channels *1\n", "kinds"}, {"kinds SuperResK3K3\n", "channels"}, {"channels 1\nkinds SuperResK3K3\n", "line 1: a factor"}, {"channels *1\nkind SuperResK3K3\n", "line 2: unknown word"},
        {"channels *0\n", "above 0"}, {"channels *1\nkinds Super\n", "line 2: not the name"}, {"channels *1\nkinds SuperConvK1BNRELU\n", "residual"}, {"channels *1\nkinds SuperResK3K3:0\n", "weight"},
        {"channels *1\nkinds SuperResK3K3 SuperResK3K3\n", "twice"}, {"channels *1\nlimits 8\nkinds SuperResK3K3\n", "line 2: two whole"}, {"limits 8 9 10\n", "two whole"}, {"limits 80 8\nchannels *1\nkinds SuperResK3K3\n", "wrong way"},
        {"channels\nkinds SuperResK3K3\n", "line 1: values are missing"}, {"channels *1x\n", "not understood"}, {"channels *1e5\n", "not understood"}, {"*1\n", "begins with a word"}, {"depth -2 2.5\n", "two whole"},
        {"channels *99999999999999999999\n", "a factor"}, {"keep RELU\n", "not the name"}};
    size_t i;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        zn_search_opts o = small_opts();
        zn_search *search = NULL;
        o.space_text = rows[i].text;
        CHECK_FOR(zn_search_create(ctx, START, &o, &search) == ZN_ERROR_FORMAT && search == NULL, rows[i].text);
        CHECK_HOLDS(zn_error_text(ctx), rows[i].reason);
        zn_error_clear(ctx);
    }
}

static void check_refused(zn_ctx *ctx, const char *start, const zn_search_opts *o, zn_result result, const char *reason) {
    zn_search_result r;
    CHECK_FOR(zn_search_run(ctx, start, o, &r) == result, reason);
    CHECK_HOLDS(zn_error_text(ctx), reason);
    zn_error_clear(ctx);
}
static double latency_of(const char *structure, void *user) {
    (void)structure;
    return *(const double *)user;
}
static void test_refused(zn_ctx *ctx) {
    double latencies[] = {(double)NAN, (double)INFINITY, -1};
    zn_search_opts o = small_opts(), good = o;
    zn_search_result r;
    int unknown = -1, i;
    check_refused(ctx, START "x", &o, ZN_ERROR_STRUCTURE, "column");
    check_refused(ctx, START "BN(64)", &o, ZN_ERROR_UNSUPPORTED, "super blocks only, not BN");
    check_refused(ctx, NULL, &o, ZN_ERROR_ARGUMENT, "NULL");
    o.population = 0;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "population");
    o = good;
    o.max_params = -1.0;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "negative");
    o = good;
    o.space = (zn_space)unknown;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "space -1");
    o = good;
    o.score = (zn_score_kind)unknown;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "score");
    o = good;
    o.score = (zn_score_kind)unknown;
    o.sieve_score = ZN_SCORE_ZEN_EXPECTED;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "score");
    o = good;
    o.sieve_score = 99;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "score 99");
    o = good;
    o.sieve_score = -2;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "score -2");
    o = good;
    o.sieve_batch = -1;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "sieve_batch -1");
    o = good;
    o.time_limit = (double)NAN;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "time_limit");
    o = good;
    o.time_limit = -1;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "time_limit -1");
    o = good;
    o.save_seconds = -1;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "save_seconds -1");
    o = good;
    o.projection = (zn_projection)unknown;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "projection rule -1");
    o = good;
    o.max_latency_ms = 1;
    o.latency_fn = latency_of;
    for (i = 0; i < 3; ++i) {
        o.user = &latencies[i];
        check_refused(ctx, START, &o, ZN_ERROR_NUMBER, "ms for SuperConvK3BNRELU(3,");
    }
    o = good;
    o.classes = 0;
    check_refused(ctx, START, &o, ZN_ERROR_ARGUMENT, "classes");
    o = good;
    o.state_path = "no/such/folder/state";
    check_refused(ctx, START, &o, ZN_ERROR_FILE, "no/such/folder");
    for (i = 0; i < 2; ++i) { /* a disturbance that is no number */
        zn_score_opts so = zn_score_opts_default();
        zn_score_result score;
        so.gamma = latencies[i];
        CHECK(zn_score(ctx, START, &so, &score) == ZN_ERROR_ARGUMENT);
        CHECK_HOLDS(zn_error_text(ctx), "below 1e6");
        zn_error_clear(ctx);
    }
    CHECK(zn_search_run(NULL, START, &o, &r) == ZN_ERROR_ARGUMENT && zn_search_preset("fer-x", &o) == NULL);
    zn_search_destroy(NULL);
}

/* Ends a changed state with the right checksum, so that the lines themselves are looked at. */
static size_t seal(char *bytes, size_t size) {
    uint64_t sum = zn_fnv1a64(bytes, size, ZN_FNV_START);
    return size + (size_t)sprintf(bytes + size, "end %08lx%08lx\n", (unsigned long)(sum >> 32), (unsigned long)(sum & 0xffffffffu));
}
static void test_states(zn_ctx *ctx) {
    static const char *const lines[] = {"member 12\n", "seen\n", "seen 00000000000000zz\n", "rng 1\n", "point 0000000000000001\n", "nonsense\n", "now ffffffffffffffff\n", "latency 0000000000000001\n", "\n"};
    zn_search_opts o = small_opts(), other;
    zn_search *search = NULL;
    size_t size, i, bad = 0;
    unsigned char *bytes;
    char *changed;
    remove(STATE);
    o.iterations = 60;
    o.state_path = STATE;
    run_of(ctx, &o);
    bytes = file_read(STATE, &size);
    changed = (char *)malloc(size + 4096);
    CHECK(size > 1000);
    other = o;
    other.seed = 77;
    check_refused(ctx, START, &other, ZN_ERROR_MISMATCH, "seed=0000000000000005, this one seed=000000000000004d");
    other = o;
    other.max_params = 30000;
    check_refused(ctx, START, &other, ZN_ERROR_MISMATCH, "max_params=20000");
    check_refused(ctx, "zennet-m", &o, ZN_ERROR_MISMATCH, "the state of another search");
    for (i = 0; i < size; i += i < 1500 ? 1 : size / 300) { /* cut short anywhere */
        file_write(STATE, bytes, i);
        if (zn_search_create(ctx, START, &o, &search) != ZN_ERROR_FORMAT || search != NULL) ++bad;
        zn_error_clear(ctx);
    }
    for (i = 0; i < size; i += 1 + size / 500) { /* one bit wrong anywhere */
        memcpy(changed, bytes, size);
        changed[i] ^= 4;
        file_write(STATE, changed, size);
        if (zn_search_create(ctx, START, &o, &search) == ZN_OK || search != NULL) ++bad;
        zn_error_clear(ctx);
    }
    CHECK(bad == 0);
    for (i = 0; i < sizeof lines / sizeof lines[0]; ++i) {
        memcpy(changed, bytes, size - 21);
        strcpy(changed + size - 21, lines[i]);
        file_write(STATE, changed, seal(changed, size - 21 + strlen(lines[i])));
        CHECK_FOR(zn_search_create(ctx, START, &o, &search) == ZN_ERROR_FORMAT && search == NULL, lines[i]);
        CHECK_HOLDS(zn_error_text(ctx), STATE ", line ");
        zn_error_clear(ctx);
    }
    file_write(STATE, bytes, size);
    CHECK(zn_search_create(ctx, START, &o, &search) == ZN_OK);
    zn_search_destroy(search);
    free(bytes);
    free(changed);
    remove(STATE);
}

static void test_memory(void) { /* one thread: the counting allocator is not made for more */
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    zn_search_opts o = small_opts();
    zn_search_result r, want;
    long n, wrong = 0;
    o.threads = 1;
    o.iterations = 4;
    o.generation = 2;
    o.resolution = 8;
    o.max_latency_ms = 1e6;
    o.state_path = STATE;
    remove(STATE);
    want = run_of(ctx, &o);
    for (n = 0; n < 100000; n += n < 400 ? 1 : 7) {
        zn_result result;
        remove(STATE);
        f.left = n;
        result = zn_search_run(ctx, START, &o, &r);
        if (f.live != 1 || zn_error_code(ctx) != result) ++wrong;
        if (result == ZN_OK) break;
        if (result != ZN_ERROR_MEMORY) ++wrong;
        zn_error_clear(ctx);
    }
    CHECK(wrong == 0 && n > 400 && n < 100000);
    CHECK(strcmp(r.structure, want.structure) == 0 && r.score == want.score);
    f.left = -1;
    for (n = 0; n < 100000; ++n) { /* and while a state is read */
        zn_search *search = NULL;
        zn_result result;
        f.left = n;
        result = zn_search_create(ctx, START, &o, &search);
        f.left = -1;
        zn_search_destroy(search);
        if (f.live != 1 || zn_error_code(ctx) != result) ++wrong;
        if (result == ZN_OK) break;
        if (result != ZN_ERROR_MEMORY) ++wrong;
        zn_error_clear(ctx);
    }
    CHECK(wrong == 0 && n > 20);
    zn_ctx_destroy(ctx);
    CHECK(f.live == 0);
    remove(STATE);
}

int main(void) {
    zn_ctx *ctx = NULL;
#ifdef _OPENMP
    omp_set_num_threads(1); /* these jobs are small; test_determinism asks for threads of its own */
#endif
    CHECK(zn_ctx_create(NULL, &ctx) == ZN_OK);
    test_determinism(ctx);
    test_resume(ctx);
    test_members(ctx);
    test_terms(ctx);
    test_impossible(ctx);
    test_mutation(ctx);
    test_own_space(ctx);
    test_bad_spaces(ctx);
    test_refused(ctx);
    test_states(ctx);
    zn_ctx_destroy(ctx);
    test_memory();
    return check_done();
}
