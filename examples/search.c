/* search.c - finds a network under budgets by the Zen-score: evolution over structure strings, without training any.

     build/examples/search --preset fer-m --time-limit 600 --out run1
     build/examples/search --space xxbl --start zennet-r --budget-flops 100e6 --max-layers 8 --resolution 96 --out run2
     build/examples/search --preset fer-m --out run1 --resume        goes on where run1 was stopped or killed

   DIR then holds best_structure.txt (which train, analyze and score take), population.csv, history.csv and search.html,
   and search.state, from which it resumes to the same result. */
#include "examples/common.h"
#include "examples/structure_file.h"

#include "examples/search_page.h"

#include <sys/stat.h>

typedef struct settings {
    zn_search_opts o;
    const char *preset, *space, *start, *out, *score, *sieve, *projection, *latency;
    long max_layers, batch, resolution, classes, sieve_batch, sieve_resolution, finalists, final_repeat, population, iterations, generation, threads;
    double max_params, max_flops;
    int exact, resume, json, print_space;
    char state_path[4096];
    char *space_text, *start_text;
} settings;

/* ---- files ---- */
static FILE *out_begin(tool_file *f, const char *folder, const char *name) {
    const char *path = in_folder(folder, name);
    if (tool_file_begin(f, path) == NULL) tool_cannot_write(path);
    return f->file;
}
static int out_end(tool_file *f) { return tool_file_end(f) || tool_cannot_write(f->path); }
/* A small text file; the caller frees it. NULL and a message when it cannot be had whole. */
static char *read_text(const char *path) {
    static char text[1 << 16];
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(text, 1, sizeof text, file) : 0;
    int good = file != NULL && !ferror(file);
    char *kept = good && size < sizeof text ? (char *)malloc(size + 1) : NULL;
    if (!good) fprintf(stderr, "%s: %s: cannot read: %s\n", tool_name, path, strerror(errno));
    else if (size == sizeof text) fprintf(stderr, "%s: %s: larger than %d bytes\n", tool_name, path, (int)sizeof text - 1);
    else if (kept == NULL) fprintf(stderr, "%s: %s: out of memory\n", tool_name, path);
    else {
        memcpy(kept, text, size);
        kept[size] = '\0';
    }
    if (file != NULL) fclose(file);
    return kept;
}

/* ---- latency of a network on this machine: an inference session, batch 1 ---- */
typedef struct clockwork {
    zn_ctx *ctx;
    const zn_search_opts *o;
} clockwork;
static double measure_ms(const clockwork *w, const char *structure) {
    zn_net_opts n = zn_net_opts_default();
    zn_net *net = NULL;
    zn_session *run = NULL;
    zn_session_opts so = zn_session_opts_default();
    size_t count = (size_t)3 * (size_t)w->o->resolution * (size_t)w->o->resolution;
    zn_real *x = (zn_real *)calloc(count, sizeof *x), *logits = (zn_real *)calloc((size_t)w->o->classes, sizeof *logits);
    double best = HUGE_VAL;
    int i;
    n.structure = structure;
    n.classes = w->o->classes;
    n.attention = ZN_ATTENTION_NONE;
    n.projection = w->o->projection;
    so.resolution = w->o->resolution;
    so.picture_side = 0;
    if (x != NULL && logits != NULL && zn_net_create(w->ctx, &n, &net) == ZN_OK && zn_net_init(net, ZN_INIT_MSRA, 1) == ZN_OK && zn_session_create(net, &so, &run) == ZN_OK) {
        zn_fill(x, "x", 1, count, -2, 2);
        for (i = 0; i < 13; ++i) { /* the first three are warm-ups, as published */
            double begin = tool_seconds();
            if (zn_session_run(run, x, 1, logits) != ZN_OK) break;
            if (i >= 3) best = fmin(best, 1e3 * (tool_seconds() - begin));
        }
    }
    zn_session_destroy(run);
    zn_net_destroy(net);
    free(x);
    free(logits);
    return best;
}
/* What the search asks for every candidate; user is the view. */
typedef struct view {
    clockwork clock;
    const settings *s;
    double begin, shown;
    int64_t done; /* iterations of earlier runs and the first generation, -1: not known yet */
    int hinted;
} view;
static double candidate_ms(const char *structure, void *user) {
    double ms = measure_ms(&((view *)user)->clock, structure);
    return isfinite(ms) ? ms : HUGE_VAL;
}

/* ---- progress ---- */
static int on_progress(const zn_search_point *p, void *user) {
    view *v = (view *)user;
    double now = tool_seconds(), spent = now - v->begin, left, share;
    char line[256], rest[32];
    if (v->done < 0) v->done = p->iterations;
    if (now - v->shown < (TOOL_TERMINAL(stderr) ? 0.25 : 15)) return stop_asked;
    v->shown = now;
    share = spent > 0 ? (double)(p->iterations - v->done) / spent : 0;
    left = share > 0 ? (double)(v->s->o.iterations - p->iterations) / share : -1;
    if (left > 3600 && v->s->o.score == ZN_SCORE_ZEN && v->s->o.sieve_score < 0 && !v->hinted++)
        fprintf(stderr, "%s%s: this takes hours; --sieve zen-expected in a new --out finds as good ones in minutes\n", TOOL_TERMINAL(stderr) ? "\r" : "", tool_name);
    if (v->s->o.time_limit > 0 && (left < 0 || left > v->s->o.time_limit - p->seconds)) left = v->s->o.time_limit - p->seconds;
    duration_text(left, rest);
    snprintf(line, sizeof line, "%.0f of %.0f proposals, %.0f scored, %.1f candidates/s, best %.4f, median %.4f, %s left", (double)p->iterations, (double)v->s->o.iterations, (double)p->scored,
             p->seconds > 0 ? (double)p->scored / p->seconds : 0, p->best, p->median, rest);
    fprintf(stderr, TOOL_TERMINAL(stderr) ? "\r%-118s" : "%s\n", line);
    fflush(stderr);
    return stop_asked;
}

/* ---- results ---- */
static int by_score(const void *a, const void *b) { /* best first, older first among equals */
    const zn_search_member *x = (const zn_search_member *)a, *y = (const zn_search_member *)b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? 1 : -1;
    return (x->born > y->born) - (x->born < y->born);
}
static void write_population(FILE *f, const page_data *d) {
    int i;
    fprintf(f, "score,params,flops,layers,effective,latency_ms,proposal,structure\n");
    for (i = 0; i < d->member_count; ++i) {
        const zn_search_member *m = &d->members[i];
        fprintf(f, "%.17g,%.17g,%.17g,%d,%.17g,%.6g,%.0f,\"%s\"\n", m->score, m->params, m->flops, m->layers, m->effective, m->latency_ms, (double)m->born, m->structure);
    }
}
static void write_history(FILE *f, const page_data *d) {
    int i, k;
    fprintf(f, "proposals,seconds,scored,failed,repeated,over_layers,over_params,over_flops,over_effective,over_latency,too_long,best,median,worst,population,"
               "propose_seconds,budget_seconds,latency_seconds,score_seconds\n");
    for (i = 0; i < d->point_count; ++i) {
        const zn_search_point *p = &d->points[i];
        fprintf(f, "%.0f,%.3f,%.0f,%.0f,%.0f", (double)p->iterations, p->seconds, (double)p->scored, (double)p->failed, (double)p->repeated);
        for (k = 0; k < ZN_BUDGETS; ++k) fprintf(f, ",%.0f", (double)p->over[k]);
        fprintf(f, ",%.0f,%.17g,%.17g,%.17g,%d,%.3f,%.3f,%.3f,%.3f\n", (double)p->too_long, p->best, p->median, p->worst, p->population, p->propose_seconds, p->budget_seconds, p->latency_seconds,
                p->score_seconds);
    }
}
static int write_all(const settings *s, const page_data *d) {
    tool_file f;
    if (out_begin(&f, s->out, "best_structure.txt") == NULL) return 0;
    fprintf(f.file, "%s\n", d->best.structure);
    if (!out_end(&f) || out_begin(&f, s->out, "population.csv") == NULL) return 0;
    write_population(f.file, d);
    if (!out_end(&f) || out_begin(&f, s->out, "history.csv") == NULL) return 0;
    write_history(f.file, d);
    if (!out_end(&f) || out_begin(&f, s->out, "search.html") == NULL) return 0;
    page_write(f.file, d);
    return out_end(&f);
}
static void print_best(const settings *s, const page_data *d) {
    const zn_search_result *b = &d->best;
    if (s->json) {
        printf("{\"structure\": \"%s\", \"score\": %.17g, \"half_width\": %.17g, \"params\": %.17g, \"flops\": %.17g, \"layers\": %d, \"effective\": %.17g, \"latency_ms\": %.6g, \"measured_ms\": %.6g, "
               "\"proposals\": %.0f, \"scored\": %.0f, \"failed\": %.0f, \"seconds\": %.3f, \"finalists\": %d, \"final_seconds\": %.3f}\n",
               b->structure, b->score, b->half_width, b->params, b->flops, b->layers, b->effective, b->latency_ms, d->measured_ms, (double)b->end.iterations, (double)b->end.scored,
               (double)b->end.failed, b->end.seconds, b->finalists, b->final_seconds);
        return;
    }
    printf("%s\n%s %.6g", b->structure, s->score, b->score);
    if (b->half_width > 0) printf(" +- %.3g", b->half_width);
    printf(", %.0f parameters, %.0f FLOPs (%s), %d layers, effective score %.3f\n", b->params, b->flops, s->exact ? "exact MACs" : "budget arithmetic", b->layers, b->effective);
    printf("%.0f candidates scored among %.0f proposals in %.1f minutes", (double)b->end.scored, (double)b->end.iterations, b->end.seconds / 60);
    if (b->finalists > 0) printf(", %d finalists in %.1f more", b->finalists, b->final_seconds / 60);
    printf("; see %s/search.html\n", s->out);
    if (d->measured_ms > 0)
        printf("latency: the search went by %.3g ms, a session takes %.3g ms: off by %.0f %%\n", b->latency_ms, d->measured_ms, 100 * (b->latency_ms / d->measured_ms - 1));
}
static int report(zn_ctx *ctx, zn_search *search, const settings *s, const view *v, const char *command) {
    page_data d;
    int i, good = 0;
    memset(&d, 0, sizeof d);
    if (zn_search_best(search, &d.best) != ZN_OK) return 0;
    d.point_count = zn_search_points(search);
    d.member_count = zn_search_population(search);
    d.points = (zn_search_point *)calloc((size_t)d.point_count + 1, sizeof *d.points);
    d.members = (zn_search_member *)calloc((size_t)d.member_count + 1, sizeof *d.members);
    d.command = command;
    d.resolution = s->o.resolution;
    d.latency = s->o.max_latency_ms > 0;
    d.sieve = d.best.finalists > 0;
    if (d.points != NULL && d.members != NULL) {
        for (i = 0; i < d.point_count; ++i) zn_search_get_point(search, i, &d.points[i]);
        for (i = 0; i < d.member_count; ++i) zn_search_get_member(search, i, &d.members[i]);
        qsort(d.members, (size_t)d.member_count, sizeof *d.members, by_score);
        if (d.latency) d.measured_ms = measure_ms(&v->clock, d.best.structure);
        good = zn_error_code(ctx) == ZN_OK && write_all(s, &d);
        if (good) print_best(s, &d);
    }
    free(d.points);
    free(d.members);
    return good;
}

/* ---- options ---- */
static int parse(int argc, char **argv, settings *s) {
    const char *words[1];
    int count;
    zn_search_opts *o = &s->o;
    tool_option options[] = {
        {"preset", TOOL_TEXT, &s->preset, "fer-m|fer-r|cifar-1m", "the published settings; options given besides override them", 0, 0},
        {"space", TOOL_TEXT, &s->space, "SPACE", "what blocks may become: idw, xxbl, or a file in the format that --print-space shows", 0, 0},
        {"start", TOOL_TEXT, &s->start, "STRUCTURE", "what is mutated first: a string, a name, or a file with one", 0, 0},
        {"max-layers", TOOL_INT, &s->max_layers, "N", "budget: sum of sub_layers; 0, here and below: none", 0, 4096},
        {"budget-params", TOOL_REAL, &s->max_params, "N", "budget: parameters", 0, 1e12},
        {"budget-flops", TOOL_REAL, &s->max_flops, "N", "budget: FLOPs of one image", 0, 1e15},
        {"exact", TOOL_FLAG, &s->exact, "", "budgets limit exact parameters and MACs, not the published arithmetic", 0, 0},
        {"max-effective", TOOL_REAL, &o->max_effective, "N", "budget: effective score (published: 0.5)", 0, 1e6},
        {"max-latency-ms", TOOL_REAL, &o->max_latency_ms, "MS", "budget: inference of one image on this machine", 0, 1e9},
        {"latency", TOOL_TEXT, &s->latency, "table|measured", "predicted from a table of measured convolutions, or every candidate measured", 0, 0},
        {"score", TOOL_TEXT, &s->score, SCORE_NAMES, "what to maximise", 0, 0},
        {"deepmad", TOOL_FLAG, &o->deepmad, "", "add the logarithm of the DeepMAD entropy", 0, 0},
        {"depth-penalty", TOOL_FLAG, &o->depth_penalty, "", "subtract the depth penalty", 0, 0},
        {"batch", TOOL_INT, &s->batch, "N", "images of a score", 1, 4096},
        {"resolution", TOOL_INT, &s->resolution, "R", "pixels, of budgets and scores", 1, 8192},
        {"classes", TOOL_INT, &s->classes, "N", "classes of the head", 1, ZN_MAX_CLASSES},
        {"projection", TOOL_TEXT, &s->projection, "face|zennas", "which units project, in the budgets", 0, 0},
        {"sieve", TOOL_TEXT, &s->sieve, SCORE_NAMES, "search by this cheaper score, and choose among the best by --score; zen-expected goes with zen", 0, 0},
        {"sieve-batch", TOOL_INT, &s->sieve_batch, "N", "search with a score of so many images; 0: --batch", 0, 4096},
        {"sieve-resolution", TOOL_INT, &s->sieve_resolution, "R", "search with a score at so many pixels; 0: --resolution", 0, 8192},
        {"finalists", TOOL_INT, &s->finalists, "N", "with a sieve: how many of the last population get the full score", 1, 65536},
        {"final-repeat", TOOL_INT, &s->final_repeat, "N", "draws of the full score", 1, 100000},
        {"population", TOOL_INT, &s->population, "N", "members", 1, 65536},
        {"iterations", TOOL_INT, &s->iterations, "N", "proposals", 1, 1e12},
        {"generation", TOOL_INT, &s->generation, "N", "candidates drawn from one population and scored side by side", 1, 4096},
        {"time-limit", TOOL_REAL, &o->time_limit, "S", "seconds, earlier runs of a resumed search included; 0: none", 0, 1e9},
        {"seed", TOOL_SEED, &o->seed, "N", "everything follows from it", 0, 0},
        {"threads", TOOL_INT, &s->threads, "N", "candidates scored at a time; 0: all processors. The result does not depend on it", 0, 1024},
        {"out", TOOL_TEXT, &s->out, "DIR", "where results and state go", 0, 0},
        {"save-seconds", TOOL_REAL, &o->save_seconds, "S", "between saves of the state; 0: after every generation", 0, 1e6},
        {"resume", TOOL_FLAG, &s->resume, "", "go on with the search in --out", 0, 0},
        {"print-space", TOOL_FLAG, &s->print_space, "", "print the text of --space, to be changed and given as FILE", 0, 0},
        {"json", TOOL_FLAG, &s->json, "", "print the result as JSON", 0, 0}};
    return tool_parse(argc, argv, "", "Searches for a network under budgets by a score that needs no training.", options, (int)(sizeof options / sizeof options[0]), words, 0, &count);
}
/* Defaults, then those of the preset: the command line is read again over them. */
static void take_defaults(settings *s, const char *preset) {
    const char *start;
    s->o = zn_search_opts_default();
    start = zn_search_preset(preset, &s->o);
    s->preset = preset;
    s->start = start;
    s->space = s->o.space == ZN_SPACE_XXBL ? "xxbl" : "idw";
    s->projection = s->o.projection == ZN_PROJECTION_ZENNAS ? "zennas" : "face";
    s->score = "zen";
    s->latency = "table";
    s->max_layers = s->o.max_layers;
    s->max_params = s->o.max_params;
    s->max_flops = s->o.max_flops;
    s->batch = s->o.batch;
    s->resolution = s->o.resolution;
    s->classes = s->o.classes;
    s->finalists = s->o.finalists;
    s->final_repeat = s->o.final_repeat;
    s->population = s->o.population;
    s->iterations = (long)s->o.iterations;
    s->generation = s->o.generation;
}
/* The parsed words into the library's options; TOOL_GO or an exit status. */
static int apply(settings *s) {
    zn_search_opts *o = &s->o;
    int space = zn_space_parse(s->space);
    if (space >= 0) o->space = (zn_space)space;
    else if ((s->space_text = read_text(s->space)) == NULL) return TOOL_FAILED;
    o->space_text = s->space_text;
    if (s->print_space) {
        printf("%s", s->space_text != NULL ? s->space_text : zn_space_text(o->space));
        return TOOL_DONE;
    }
    if (s->start == NULL) return tool_misused("--start or --preset is missing", "");
    if (s->out == NULL) return tool_misused("--out is missing", "");
    o->max_layers = (int)s->max_layers;
    o->max_params = s->max_params;
    o->max_flops = s->max_flops;
    o->exact_counts = s->exact;
    o->score = (zn_score_kind)zn_score_parse(s->score);
    if (s->sieve != NULL) o->sieve_score = zn_score_parse(s->sieve);
    o->batch = (int)s->batch;
    o->resolution = (int)s->resolution;
    o->classes = (int)s->classes;
    o->projection = strcmp(s->projection, "zennas") == 0 ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    o->sieve_batch = (int)s->sieve_batch;
    o->sieve_resolution = (int)s->sieve_resolution;
    o->finalists = (int)s->finalists;
    o->final_repeat = (int)s->final_repeat;
    o->population = (int)s->population;
    o->iterations = s->iterations;
    o->generation = (int)s->generation;
    o->threads = (int)s->threads;
    o->state_path = s->state_path;
    snprintf(s->state_path, sizeof s->state_path, "%.4000s/search.state", s->out);
    s->start_text = structure_of_word(s->start);
    return s->start_text != NULL ? TOOL_GO : TOOL_FAILED;
}
/* The folder, and no search in it unless it is to be resumed. */
static int prepare_folder(const settings *s) {
    FILE *state;
    if (mkdir(s->out, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "%s: %s: cannot make this folder: %s\n", tool_name, s->out, strerror(errno));
        return 0;
    }
    state = fopen(s->state_path, "rb");
    if (state == NULL && errno != ENOENT) {
        fprintf(stderr, "%s: %s: cannot open: %s\n", tool_name, s->state_path, strerror(errno));
        return 0;
    }
    if (state == NULL) {
        if (s->resume) fprintf(stderr, "%s: nothing to resume in %s: a new search begins\n", tool_name, s->out);
        return 1;
    }
    fclose(state);
    if (!s->resume) fprintf(stderr, "%s: %s holds a search already; --resume goes on with it\n", tool_name, s->out);
    return s->resume;
}

static int run(settings *s, const char *command) {
    zn_ctx *ctx = NULL;
    zn_search *search = NULL;
    zn_result result;
    view v;
    int more = 1, good;
    memset(&v, 0, sizeof v);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return TOOL_FAILED;
    v.s = s;
    v.clock.ctx = ctx;
    v.clock.o = &s->o;
    v.begin = tool_seconds();
    v.done = -1;
    if (!(s->o.max_params > 0 || s->o.max_flops > 0 || s->o.max_latency_ms > 0))
        fprintf(stderr, "%s: without --budget-params, --budget-flops or --max-latency-ms candidates may grow until memory ends\n", tool_name);
    s->o.on_progress = on_progress;
    s->o.user = &v;
    if (strcmp(s->latency, "measured") == 0) s->o.latency_fn = candidate_ms;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    result = zn_search_create(ctx, s->start_text, &s->o, &search);
    while (result == ZN_OK && more) result = zn_search_step(search, &more);
    if (TOOL_TERMINAL(stderr) && v.shown > 0) fprintf(stderr, "\n");
    if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped; --resume goes on\n", tool_name);
    if ((result == ZN_OK || result == ZN_STOPPED) && s->o.sieve_score >= 0)
        fprintf(stderr, "%s: now %s of the best %ld\n", tool_name, s->score, s->finalists < zn_search_population(search) ? s->finalists : (long)zn_search_population(search));
    good = (result == ZN_OK || result == ZN_STOPPED) && report(ctx, search, s, &v, command);
    if (zn_error_code(ctx) != ZN_OK) fail(ctx);
    zn_search_destroy(search);
    zn_ctx_destroy(ctx);
    return good && result == ZN_OK ? TOOL_DONE : TOOL_FAILED;
}

int main(int argc, char **argv) {
    static settings s;
    static char command[8192];
    int status;
    take_defaults(&s, NULL);
    status = parse(argc, argv, &s);
    if (status != TOOL_GO) return status;
    if (s.preset != NULL) {
        take_defaults(&s, s.preset);
        status = parse(argc, argv, &s);
    }
    if (status == TOOL_GO) status = apply(&s);
    command_text(argc, argv, command, sizeof command);
    if (status == TOOL_GO) status = prepare_folder(&s) ? run(&s, command) : TOOL_FAILED;
    free(s.space_text);
    free(s.start_text);
    return status;
}
