/* golden.c - compares the library with golden files through its public API.

     build/tests/golden [--case CASE.txt] FILE|FOLDER...          the float build
     build/tests/golden_double [--case CASE.txt] FILE|FOLDER...   the double build: 1e-9 everywhere

   Takes network cases, search.txt, schedule.txt, published.txt, a folder with index.txt (images), and checkpoints, which
   need the case that they were saved from (--case). Other folders are read file by file. One line per file with the worst
   error of each kind and PASS, FAIL or SKIP; then "N passed, N failed". Exit status 0 when nothing failed, 2 wrong usage. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_images.h"
#include "golden_scores.h"
#include "golden_search.h"

#define IS_DOUBLE (sizeof(zn_real) == 8)
#define SUMMARY 4096

/* ------------------------------------------------------------------------------------------------------------------
   Lines and words of a text file
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct golden_file {
    char *text;
    char **words;      /* of all lines, one after the other */
    int *first;        /* first[i]..first[i + 1] - 1 are the words of line i */
    int lines;
} golden_file;

static void golden_free(golden_file *f) {
    free(f->text);
    free(f->words);
    free(f->first);
    memset(f, 0, sizeof *f);
}
static char *golden_read_text(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, capacity = 1 << 16, got;
    if (file == NULL) return NULL;
    for (text = (char *)malloc(capacity); text != NULL; text = (char *)realloc(text, capacity *= 2)) {
        got = fread(text + size, 1, capacity - 1 - size, file);
        size += got;
        if (size < capacity - 1) break;
    }
    fclose(file);
    if (text != NULL) text[size] = '\0';
    *out_size = size;
    return text;
}
/* Splits a file into words, comments and empty lines left out; 0 when it cannot be read. */
static int golden_open(const char *path, golden_file *f) {
    size_t size = 0, i;
    int words = 0, line_begin = 1;
    memset(f, 0, sizeof *f);
    f->text = golden_read_text(path, &size);
    f->words = (char **)malloc((size + 2) * sizeof(char *));
    f->first = (int *)malloc((size + 2) * sizeof(int));
    if (f->text == NULL || f->words == NULL || f->first == NULL) return 0;
    for (i = 0; i < size;) {
        char c = f->text[i];
        if (c == '\n') line_begin = 1;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            f->text[i++] = '\0';
            continue;
        }
        if (line_begin && c == '#') {
            while (i < size && f->text[i] != '\n') ++i;
            continue;
        }
        if (line_begin) f->first[f->lines++] = words;
        line_begin = 0;
        f->words[words++] = f->text + i;
        while (i < size && f->text[i] != '\0' && strchr(" \t\r\n", f->text[i]) == NULL) ++i;
        if (i < size && f->text[i] == '\0') ++i; /* a stray 0 byte ends a word */
    }
    f->first[f->lines] = words;
    return 1;
}
static int line_words(const golden_file *f, int line) { return f->first[line + 1] - f->first[line]; }
static char *line_word(const golden_file *f, int line, int word) { return word < line_words(f, line) ? f->words[f->first[line] + word] : f->text + strlen(f->text); }
static double line_number(const golden_file *f, int line, int word) {
    char *end, *text = line_word(f, line, word);
    double value = strtod(text, &end);
    return *text != '\0' && *end == '\0' ? value : (double)NAN;
}
static int line_is(const golden_file *f, int line, const char *key) { return strcmp(line_word(f, line, 0), key) == 0; }

/* ------------------------------------------------------------------------------------------------------------------
   Worst errors by kind
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct golden_errors {
    char summary[SUMMARY];
    int failed;
    struct { char kind[32]; double worst, tolerance; int count; char where[96]; } kinds[32];
    int count;
} golden_errors;

/* One comparison; a NaN error is the worst there is. tolerance < 0: shown, not judged. */
static void golden_error(golden_errors *e, const char *kind, double error, double tolerance, const char *where) {
    int i;
    for (i = 0; i < e->count && strcmp(e->kinds[i].kind, kind) != 0; ++i) {}
    if (i == e->count) {
        if (i == 32) return;
        snprintf(e->kinds[e->count++].kind, sizeof e->kinds[i].kind, "%s", kind);
        e->kinds[i].worst = -1;
        e->kinds[i].tolerance = tolerance;
    }
    ++e->kinds[i].count;
    if (tolerance >= 0 && !(error <= tolerance)) e->failed = 1;
    if (error <= e->kinds[i].worst || isnan(e->kinds[i].worst)) return;
    e->kinds[i].worst = error;
    snprintf(e->kinds[i].where, sizeof e->kinds[i].where, "%s", where);
}
static void golden_say(golden_errors *e, const char *format, ...) {
    size_t used = strlen(e->summary);
    va_list args;
    va_start(args, format);
    vsnprintf(e->summary + used, sizeof e->summary - used, format, args);
    va_end(args);
}
/* A plain truth that does not hold. */
static void golden_fail(golden_errors *e, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (e->failed < 3) golden_say(e, " %s;", text);
    ++e->failed;
}
static void golden_report(golden_errors *e) {
    int i;
    for (i = 0; i < e->count; ++i) {
        golden_say(e, " %s %.2g", e->kinds[i].kind, e->kinds[i].worst);
        if (e->kinds[i].tolerance < 0) golden_say(e, " (not judged)");
        else if (!(e->kinds[i].worst <= e->kinds[i].tolerance)) golden_say(e, " > %.0e at %s", e->kinds[i].tolerance, e->kinds[i].where);
    }
}
static double relative(double value, double reference) { return fabs(value - reference) / (fabs(reference) > 1e-300 ? fabs(reference) : 1); }

/* ------------------------------------------------------------------------------------------------------------------
   Network cases
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct golden_case {
    golden_file f;
    char structure[1 << 16];
    zn_net_opts opts;
    int batch, resolution, ended;
    uint64_t seed;
    double params, macs, budget_flops, budget_params; /* NaN when not given */
    int *target;
    int small; /* gradients and later steps are judged in the float build, too */
} golden_case;

static void case_close(golden_case *c) {
    free(c->target);
    golden_free(&c->f);
}
static int case_int(const golden_file *f, int line, int low, int high, int *out) {
    double v = line_number(f, line, 1);
    if (!(v >= low && v <= high)) return 0;
    *out = (int)v;
    return 1;
}
/* Reads what describes the network; 0 with a reason in e. */
static int case_open(const char *path, golden_case *c, golden_errors *e) {
    int i, j, ok = 1;
    memset(c, 0, sizeof *c);
    c->opts = zn_net_opts_default();
    c->params = c->macs = c->budget_flops = c->budget_params = (double)NAN;
    if (!golden_open(path, &c->f)) return golden_fail(e, "cannot be read"), 0;
    for (i = 0; i < c->f.lines && ok; ++i) {
        const golden_file *f = &c->f;
        if (line_is(f, i, "structure")) snprintf(c->structure, sizeof c->structure, "%s", line_word(f, i, 1));
        else if (line_is(f, i, "classes")) ok = case_int(f, i, 1, ZN_MAX_CLASSES, &c->opts.classes);
        else if (line_is(f, i, "attention")) {
            ok = zn_attention_parse(line_word(f, i, 1)) >= 0;
            if (ok) c->opts.attention = (zn_attention)zn_attention_parse(line_word(f, i, 1));
        } else if (line_is(f, i, "lw_att")) ok = case_int(f, i, 0, 1, &c->opts.lw_att);
        else if (line_is(f, i, "reslink")) ok = case_int(f, i, 0, 1, &c->opts.reslink);
        else if (line_is(f, i, "batch")) ok = case_int(f, i, 1, 1024, &c->batch);
        else if (line_is(f, i, "resolution")) ok = case_int(f, i, 1, 4096, &c->resolution);
        else if (line_is(f, i, "seed")) c->seed = strtoull(line_word(f, i, 1), NULL, 10);
        else if (line_is(f, i, "params")) c->params = line_number(f, i, 1);
        else if (line_is(f, i, "macs")) c->macs = line_number(f, i, 1);
        else if (line_is(f, i, "budget_flops")) c->budget_flops = line_number(f, i, 1);
        else if (line_is(f, i, "budget_params")) c->budget_params = line_number(f, i, 1);
        else if (line_is(f, i, "end")) c->ended = 1;
        else if (line_is(f, i, "target")) {
            free(c->target);
            c->target = (int *)calloc((size_t)line_words(f, i) + 1, sizeof(int));
            for (j = 1; c->target != NULL && j < line_words(f, i); ++j) c->target[j - 1] = atoi(line_word(f, i, j));
            if (c->batch > line_words(f, i) - 1) ok = 0;
        }
        if (!ok) golden_fail(e, "line %d: bad value", i + 1);
    }
    if (ok && (c->batch < 1 || c->resolution < 1 || c->structure[0] == '\0' || !c->ended)) golden_fail(e, "incomplete: structure, batch, resolution or end is missing"), ok = 0;
    for (j = 0; ok && c->target != NULL && j < c->batch; ++j)
        if (c->target[j] < 0 || c->target[j] >= c->opts.classes) golden_fail(e, "target %d is no class", c->target[j]), ok = 0;
    c->opts.structure = c->structure;
    c->small = c->params < 500000 && c->resolution < 64;
    return ok;
}
static void case_counts(zn_ctx *ctx, const golden_case *c, golden_errors *e) {
    zn_structure *s = NULL;
    zn_net_opts plain = c->opts;
    zn_count count, budget;
    plain.lw_att = 0;
    if (zn_structure_parse(ctx, c->structure, &s) != ZN_OK || zn_structure_count(s, &c->opts, c->resolution, &count) != ZN_OK ||
        zn_structure_count(s, &plain, c->resolution, &budget) != ZN_OK) {
        golden_fail(e, "%s", zn_error_text(ctx));
        zn_structure_destroy(s);
        return;
    }
    zn_structure_destroy(s);
    if (!isnan(c->params)) golden_error(e, "params", fabs(count.params - c->params), 0, "params");
    if (!isnan(c->macs)) golden_error(e, "macs", fabs(count.macs - c->macs), 0, "macs");
    if (!isnan(c->budget_flops)) golden_error(e, "budget_flops", relative(budget.budget_flops, c->budget_flops), 1e-12, "budget_flops");
    if (!isnan(c->budget_params)) golden_error(e, "budget_params", relative(budget.budget_params, c->budget_params), 1e-12, "budget_params");
}
/* Fills every parameter and buffer as the file says; each must be named once, none forgotten. */
static void case_fill(zn_net *net, const golden_case *c, golden_errors *e, const char *only) {
    int i, filled = 0;
    for (i = 0; i < c->f.lines; ++i) {
        zn_tensor *t;
        if (!line_is(&c->f, i, "fill")) continue;
        t = zn_net_find(net, line_word(&c->f, i, 1));
        if (t == NULL) golden_fail(e, "fill of unknown tensor %s", line_word(&c->f, i, 1));
        else if ((double)zn_tensor_count(t) != line_number(&c->f, i, 2))
            golden_fail(e, "%s has %lu values, not %s", zn_tensor_name(t), (unsigned long)zn_tensor_count(t), line_word(&c->f, i, 2));
        else if (only == NULL || strcmp(only, zn_tensor_name(t)) == 0)
            zn_fill(zn_tensor_data(t), zn_tensor_name(t), c->seed, zn_tensor_count(t), line_number(&c->f, i, 3), line_number(&c->f, i, 4));
        ++filled;
    }
    if (filled != zn_net_tensor_count(net)) golden_fail(e, "%d tensors are filled, the network has %d", filled, zn_net_tensor_count(net));
}
static zn_tensor *case_input(zn_ctx *ctx, const golden_case *c) {
    zn_tensor *x = zn_tensor_create(ctx, zn_shape4(c->batch, 3, c->resolution, c->resolution));
    if (x != NULL) zn_fill(zn_tensor_data(x), "input", c->seed, zn_tensor_count(x), -2, 2);
    return x;
}
/* max|d| / max|reference| over the batch. */
static void case_logits(zn_net *net, zn_tensor *x, const golden_case *c, golden_errors *e, double tolerance) {
    zn_ctx *ctx = zn_net_ctx(net);
    double worst = 0, scale = 0;
    int i, k, seen = 0;
    zn_tensor *y;
    zn_no_grad_begin(ctx);
    y = zn_net_forward(net, x, 0);
    zn_no_grad_end(ctx);
    if (y == NULL) golden_fail(e, "%s", zn_error_text(ctx));
    for (i = 0; y != NULL && i < c->f.lines; ++i) {
        double b = line_number(&c->f, i, 1);
        if (!line_is(&c->f, i, "eval_logits")) continue;
        if (!(b >= 0 && b < c->batch) || line_words(&c->f, i) != c->opts.classes + 2) {
            golden_fail(e, "line %d: bad eval_logits", i + 1);
            continue;
        }
        ++seen;
        for (k = 0; k < c->opts.classes; ++k) {
            double v = line_number(&c->f, i, k + 2), d = fabs((double)zn_tensor_data(y)[(int)b * c->opts.classes + k] - v);
            if (!(d <= worst)) worst = d;
            if (fabs(v) > scale) scale = fabs(v);
        }
    }
    if (seen > 0) golden_error(e, "logits", worst / (scale > 0 ? scale : 1), tolerance, "eval_logits");
    zn_tape_clear(ctx);
}
/* `KEY NAME sum abssum v[0] v[n/3] v[2n/3] v[n-1]` against values. */
static void case_statistics(const golden_case *c, golden_errors *e, const char *key, double tolerance, int line, const zn_real *values, size_t n) {
    const char *name = line_word(&c->f, line, 1);
    double sum = 0, abssum = 0, reference = line_number(&c->f, line, 3), mean, worst;
    size_t at[4], i;
    if (values == NULL || line_words(&c->f, line) != 8) {
        golden_fail(e, "%s %s: no such values", key, name);
        return;
    }
    for (i = 0; i < n; ++i) {
        sum += (double)values[i];
        abssum += fabs((double)values[i]);
    }
    mean = reference / (double)n;
    if (mean < 1e-9) { /* zero in truth */
        golden_error(e, "zeros", abssum / (double)n, tolerance < 0 ? -1 : IS_DOUBLE ? 1e-12 : 1e-6, name);
        return;
    }
    at[0] = 0;
    at[1] = n / 3;
    at[2] = 2 * n / 3;
    at[3] = n - 1;
    worst = fabs(sum - line_number(&c->f, line, 2)) / reference;
    if (!(fabs(abssum - reference) / reference <= worst)) worst = fabs(abssum - reference) / reference;
    for (i = 0; i < 4; ++i) {
        double d = fabs((double)values[at[i]] - line_number(&c->f, line, 4 + (int)i)) / mean;
        if (!(d <= worst)) worst = d;
    }
    golden_error(e, key, worst, tolerance, name);
}
static void case_compare(zn_net *net, const golden_case *c, golden_errors *e, const char *key, double tolerance) {
    int i;
    for (i = 0; i < c->f.lines; ++i) {
        zn_tensor *t;
        if (!line_is(&c->f, i, key)) continue;
        t = zn_net_find(net, line_word(&c->f, i, 1));
        case_statistics(c, e, key, tolerance, i, strcmp(key, "grad") == 0 ? zn_tensor_grad(t) : zn_tensor_data(t), zn_tensor_count(t));
    }
}
/* Three SGD steps on one input. */
static void case_train(zn_net *net, zn_tensor *x, const golden_case *c, golden_errors *e) {
    zn_ctx *ctx = zn_net_ctx(net);
    zn_optimizer_opts sgd = zn_optimizer_opts_default(ZN_SGD);
    zn_optimizer *optimizer = NULL;
    zn_tensor *target = zn_tensor_create(ctx, zn_shape2(c->batch, c->opts.classes));
    double later = IS_DOUBLE ? 1e-9 : c->small ? 1e-3 : -1;
    int step, steps = IS_DOUBLE || c->small ? 3 : 1, i, j;
    zn_optimizer_create(ctx, net, &sgd, &optimizer);
    for (i = 0; target != NULL && i < c->batch; ++i)
        for (j = 0; j < c->opts.classes; ++j)
            zn_tensor_data(target)[i * c->opts.classes + j] = (zn_real)((j == c->target[i] ? 0.9 : 0.0) + 0.1 / c->opts.classes);
    for (step = 0; step < steps && zn_error_code(ctx) == ZN_OK; ++step) {
        zn_tensor *loss = zn_cross_entropy(ctx, zn_net_forward(net, x, 1), target);
        for (i = 0; i < c->f.lines; ++i)
            if (line_is(&c->f, i, "train_loss") && line_number(&c->f, i, 1) >= step && line_number(&c->f, i, 1) <= step)
                golden_error(e, step == 0 ? "loss" : "loss12", relative(zn_tensor_value(loss), line_number(&c->f, i, 2)), IS_DOUBLE ? 1e-9 : step == 0 ? 1e-5 : 1e-4, "train_loss");
        if (step == 0) case_compare(net, c, e, "buffer", IS_DOUBLE ? 1e-9 : 1e-5);
        if (steps == 1) break;
        zn_backward(ctx, loss);
        if (step == 0) case_compare(net, c, e, "grad", later);
        zn_optimizer_step(optimizer, 0.01);
    }
    if (steps == 3) case_compare(net, c, e, "param3", later);
    else golden_say(e, " (gradients and later steps: judged in the double build)");
    if (zn_error_code(ctx) != ZN_OK) golden_fail(e, "%s", zn_error_text(ctx));
    zn_optimizer_destroy(optimizer);
    zn_tensor_destroy(target);
}
static int has_line(const golden_file *f, const char *key) {
    int i, n = 0;
    for (i = 0; i < f->lines; ++i) n += line_is(f, i, key);
    return n;
}
static void case_scores(zn_ctx *ctx, const golden_case *c, golden_errors *e) {
    golden_score_case s;
    int i;
    s.structure = c->structure;
    s.seed = c->seed;
    s.batch = c->batch;
    s.resolution = c->resolution;
    s.classes = c->opts.classes;
    s.targets = c->target;
    s.params = c->params;
    for (i = 0; i < c->f.lines; ++i) {
        int kind = golden_score_kind(line_word(&c->f, i, 0));
        if (kind < 0) continue;
        golden_error(e, golden_score_words[kind], golden_score_error(ctx, &s, kind, line_number(&c->f, i, 1)), golden_score_tolerance(kind, &s), golden_score_words[kind]);
    }
    if (zn_error_code(ctx) != ZN_OK) golden_fail(e, "%s", zn_error_text(ctx));
}
static void golden_network(zn_ctx *ctx, const char *path, golden_errors *e) {
    golden_case *c = (golden_case *)malloc(sizeof *c);
    zn_net *net = NULL;
    if (c == NULL || !case_open(path, c, e)) {
        if (c != NULL) case_close(c);
        free(c);
        return;
    }
    case_counts(ctx, c, e);
    if (zn_net_create(ctx, &c->opts, &net) != ZN_OK) golden_fail(e, "%s", zn_error_text(ctx));
    else {
        zn_tensor *x = case_input(ctx, c);
        case_fill(net, c, e, NULL);
        if (x == NULL) golden_fail(e, "%s", zn_error_text(ctx));
        else if (e->failed == 0) {
            case_logits(net, x, c, e, IS_DOUBLE ? 1e-9 : 1e-4);
            if (c->target != NULL && has_line(&c->f, "train_loss") > 0) case_train(net, x, c, e);
        }
        zn_tensor_destroy(x);
    }
    zn_net_destroy(net);
    if (e->failed == 0) case_scores(ctx, c, e);
    case_close(c);
    free(c);
}

/* ------------------------------------------------------------------------------------------------------------------
   Checkpoints of a case
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct checkpoint_skips {
    golden_case *c;
    zn_net *net;
    golden_errors *e;
    int listed;
} checkpoint_skips;

/* A head of another size stays as the case fills it (transfer); anything else that is missing or misshaped is wrong. */
static void checkpoint_skip(zn_load_skip why, const char *name, const char *detail, void *user) {
    static const char *const words[] = {"missing", "unexpected", "misshaped"};
    checkpoint_skips *s = (checkpoint_skips *)user;
    int head = strncmp(name, "fc_linear.", 10) == 0;
    if (s->listed++ < 3) golden_say(s->e, " %s %s %s;", words[why], name, detail);
    if (why == ZN_SKIP_MISSHAPED && head) case_fill(s->net, s->c, s->e, name);
    else if (why != ZN_SKIP_UNEXPECTED) golden_fail(s->e, "%s is %s", name, words[why]);
}
/* All tensors hold nonsense first, so that only what the file brings can give the right logits. */
static void golden_checkpoint(zn_ctx *ctx, const char *case_path, const char *path, golden_errors *e) {
    golden_case *c = (golden_case *)malloc(sizeof *c);
    zn_load_opts o;
    zn_load_report report;
    checkpoint_skips skips;
    zn_net *net = NULL;
    int i, opened = c != NULL && case_open(case_path, c, e);
    memset(&o, 0, sizeof o);
    memset(&skips, 0, sizeof skips);
    if (opened && zn_net_create(ctx, &c->opts, &net) == ZN_OK) {
        zn_tensor *x = case_input(ctx, c);
        for (i = 0; i < zn_net_tensor_count(net); ++i) zn_fill(zn_tensor_data(zn_net_tensor(net, i)), "nonsense", (uint64_t)i, zn_tensor_count(zn_net_tensor(net, i)), 1, 3);
        skips.c = c;
        skips.net = net;
        skips.e = e;
        o.transfer = 1;
        o.on_skip = checkpoint_skip;
        o.user = &skips;
        if (x == NULL || zn_net_load_tensors(net, path, &o, &report) != ZN_OK) golden_fail(e, "%s", zn_error_text(ctx));
        else {
            golden_say(e, " %d tensors loaded%s", report.loaded, report.half > 0 ? " (16 bits)" : "");
            case_logits(net, x, c, e, report.half > 0 ? 2e-2 : IS_DOUBLE ? 1e-9 : 1e-4);
        }
        zn_tensor_destroy(x);
    } else if (opened) golden_fail(e, "%s", zn_error_text(ctx));
    zn_net_destroy(net);
    if (c != NULL) case_close(c);
    free(c);
}

/* ------------------------------------------------------------------------------------------------------------------
   published.txt, schedule.txt, search.txt
   ------------------------------------------------------------------------------------------------------------------ */
static void golden_published(zn_ctx *ctx, const golden_file *f, int line, golden_errors *e) {
    zn_net_opts o = zn_net_opts_default();
    zn_structure *s = NULL;
    zn_count exact, budget;
    const char *name = line_word(f, line, 1), *rule = line_word(f, line, 5);
    int attention = zn_attention_parse(line_word(f, line, 4));
    if (attention < 0 || (strcmp(rule, "face") != 0 && strcmp(rule, "zennas") != 0) || line_words(f, line) < 11) {
        golden_fail(e, "%s: bad line", name);
        return;
    }
    o.classes = atoi(line_word(f, line, 3));
    o.attention = (zn_attention)attention;
    o.projection = strcmp(rule, "zennas") == 0 ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    if (zn_structure_parse(ctx, line_word(f, line, 10), &s) != ZN_OK || zn_structure_count(s, &o, atoi(line_word(f, line, 2)), &exact) != ZN_OK) {
        golden_fail(e, "%s: %s", name, zn_error_text(ctx));
    } else {
        budget = exact;
        golden_error(e, "params", fabs(exact.params - line_number(f, line, 6)), 0, name);
        golden_error(e, "macs", fabs(exact.macs - line_number(f, line, 7)), 0, name);
        golden_error(e, "budget_flops", relative(budget.budget_flops, line_number(f, line, 8)), 1e-12, name);
        golden_error(e, "budget_params", relative(budget.budget_params, line_number(f, line, 9)), 1e-12, name);
    }
    zn_structure_destroy(s);
}
static void golden_schedule(const golden_file *f, int line, golden_errors *e) {
    zn_schedule s;
    int base = 1;
    double lr, want;
    memset(&s, 0, sizeof s);
    s.kind = (zn_schedule_kind)zn_schedule_parse(line_word(f, line, 0));
    s.lr = line_number(f, line, base);
    s.target = line_number(f, line, base + 1);
    s.epochs = line_number(f, line, base + 2);
    s.warmup = line_number(f, line, base + 3);
    s.samples = line_number(f, line, base + 4);
    lr = zn_schedule_lr(&s, line_number(f, line, base + 5));
    want = line_number(f, line, base + 6);
    golden_error(e, line_word(f, line, 0), fabs(lr - want) / s.lr, 1e-12, line_word(f, line, base + 5));
}
static void golden_split(zn_ctx *ctx, const golden_file *f, int line, golden_errors *e) {
    zn_structure *s = NULL, *split = NULL, *want = NULL;
    if (zn_structure_parse(ctx, line_word(f, line, 1), &s) != ZN_OK || zn_structure_split(s, &split) != ZN_OK || zn_structure_parse(ctx, line_word(f, line, 2), &want) != ZN_OK)
        golden_fail(e, "%s", zn_error_text(ctx));
    else {
        size_t size = zn_structure_format(split, NULL, 0) + zn_structure_format(want, NULL, 0) + 2;
        char *a = (char *)malloc(size), *b = (char *)malloc(size);
        if (a != NULL && b != NULL) {
            zn_structure_format(split, a, size);
            zn_structure_format(want, b, size);
            golden_error(e, "split", strcmp(a, b) != 0, 0, line_word(f, line, 1));
        }
        free(a);
        free(b);
    }
    zn_structure_destroy(s);
    zn_structure_destroy(split);
    zn_structure_destroy(want);
}
static void golden_layers(zn_ctx *ctx, const golden_file *f, int line, golden_errors *e) {
    zn_structure *s = NULL;
    if (zn_structure_parse(ctx, line_word(f, line, 1), &s) != ZN_OK) golden_fail(e, "%s", zn_error_text(ctx));
    else golden_error(e, "layers", fabs(zn_structure_layers(s) - line_number(f, line, 2)), 0, line_word(f, line, 1));
    zn_structure_destroy(s);
}
/* The words of a line from the second on, as one text. */
static const char *line_rest(const golden_file *f, int line, char *buffer, size_t size) {
    size_t used = 0;
    int i;
    buffer[0] = '\0';
    for (i = 1; i < line_words(f, line) && used < size; ++i) used += (size_t)snprintf(buffer + used, size - used, "%s ", line_word(f, line, i));
    return buffer;
}
/* Files of lines that each stand for themselves. */
static void golden_lines(zn_ctx *ctx, const char *path, golden_errors *e) {
    golden_file f;
    golden_candidates candidates;
    char rest[4096];
    int i, unknown = 0;
    memset(&candidates, 0, sizeof candidates);
    if (!golden_open(path, &f)) golden_fail(e, "cannot be read");
    for (i = 0; f.words != NULL && i < f.lines; ++i) {
        if (line_is(&f, i, "published")) golden_published(ctx, &f, i, e);
        else if (zn_schedule_parse(line_word(&f, i, 0)) == ZN_SCHEDULE_COSINE || zn_schedule_parse(line_word(&f, i, 0)) == ZN_SCHEDULE_LINEAR) golden_schedule(&f, i, e);
        else if (line_is(&f, i, "split")) golden_split(ctx, &f, i, e);
        else if (line_is(&f, i, "layers")) golden_layers(ctx, &f, i, e);
        else if (line_is(&f, i, "effective_score")) golden_error(e, "effective_score", !golden_effective_check(ctx, line_rest(&f, i, rest, sizeof rest)), 0, line_word(&f, i, 1));
        else if (line_is(&f, i, "types")) golden_error(e, "types", !golden_types_check(&candidates, line_rest(&f, i, rest, sizeof rest)), 0, line_word(&f, i, 1));
        else if (line_is(&f, i, "candidates")) {
            golden_candidates_free(&candidates);
            golden_error(e, "candidates", !golden_candidates_check(ctx, line_rest(&f, i, rest, sizeof rest), &candidates), 0, line_word(&f, i, 2));
        }
        else ++unknown;
        zn_error_clear(ctx);
    }
    if (unknown > 0) golden_say(e, " (%d lines not known)", unknown);
    golden_candidates_free(&candidates);
    golden_free(&f);
}

/* ------------------------------------------------------------------------------------------------------------------
   Which kind a file is
   ------------------------------------------------------------------------------------------------------------------ */
typedef struct golden_run {
    zn_ctx *ctx;
    const char *case_path; /* NULL when none was given */
    int passed, failed;
} golden_run;

static void golden_verdict(golden_run *run, const char *path, golden_errors *e, const char *skip) {
    golden_report(e);
    printf("%s %s%s%s\n", path, skip != NULL ? "SKIP " : e->failed > 0 ? "FAIL" : "PASS", skip != NULL ? skip : "", e->summary);
    fflush(stdout);
    if (skip != NULL) return;
    if (e->failed > 0) ++run->failed;
    else ++run->passed;
}
static int ends_with(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}
static void golden_one(golden_run *run, const char *path) {
    golden_errors *e = (golden_errors *)calloc(1, sizeof *e);
    const char *skip = NULL;
    golden_file f;
    if (e == NULL) return;
    memset(&f, 0, sizeof f);
    if (ends_with(path, ".pth") || ends_with(path, ".pt") || ends_with(path, ".safetensors")) {
        if (run->case_path == NULL) skip = "a checkpoint needs --case CASE.txt";
        else golden_checkpoint(run->ctx, run->case_path, path, e);
    } else if (!golden_open(path, &f)) golden_fail(e, "cannot be read");
    else if (f.lines > 0 && line_is(&f, 0, "zennet-golden")) {
        if (strcmp(line_word(&f, 0, 1), "1") == 0) golden_network(run->ctx, path, e);
        else golden_fail(e, "version %s is not known", line_word(&f, 0, 1));
    } else if (has_line(&f, "published") + has_line(&f, "cosine") + has_line(&f, "linear") + has_line(&f, "split") + has_line(&f, "layers") + has_line(&f, "candidates") + has_line(&f, "effective_score") > 0)
        golden_lines(run->ctx, path, e);
    else skip = "not a golden file";
    golden_verdict(run, path, e, skip);
    golden_free(&f);
    zn_error_clear(run->ctx);
    zn_tape_clear(run->ctx);
    free(e);
}
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static int golden_has_index(const char *folder) {
    char path[4096];
    FILE *file;
    snprintf(path, sizeof path, "%s/index.txt", folder);
    file = fopen(path, "rb");
    if (file != NULL) fclose(file);
    return file != NULL;
}
static void golden_images(golden_run *run, const char *folder) {
    golden_errors *e = (golden_errors *)calloc(1, sizeof *e);
    char text[SUMMARY / 2] = "";
    int result;
    if (e == NULL) return;
    result = golden_folder(run->ctx, folder, text, sizeof text);
    golden_say(e, " %s", text);
    e->failed = result < 0;
    golden_verdict(run, folder, e, result > 0 ? "nothing in it" : NULL);
    zn_error_clear(run->ctx);
    free(e);
}
static void golden_path(golden_run *run, const char *path, int depth) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    char **names = NULL, joined[4096];
    size_t count = 0, i;
    if (folder != NULL && golden_has_index(path)) {
        closedir(folder);
        golden_images(run, path);
        return;
    }
    if (folder == NULL || depth > 8) {
        golden_one(run, path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        char **more = entry->d_name[0] == '.' ? NULL : (char **)realloc(names, (count + 1) * sizeof *names);
        if (more == NULL) continue;
        names = more;
        names[count] = (char *)malloc(strlen(entry->d_name) + 1);
        if (names[count] != NULL) strcpy(names[count++], entry->d_name);
    }
    closedir(folder);
    if (count > 1) qsort(names, count, sizeof *names, by_name);
    for (i = 0; i < count; ++i) {
        snprintf(joined, sizeof joined, "%s/%s", path, names[i]);
        if (!ends_with(joined, ".md") && !ends_with(joined, "README.txt")) golden_path(run, joined, depth + 1);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv) {
    golden_run run;
    int i, paths = 0;
    memset(&run, 0, sizeof run);
    for (i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--case") == 0 && i + 1 < argc) run.case_path = argv[++i];
        else if (strcmp(argv[i], "--help") == 0) {
            printf("usage: golden [--case CASE.txt] FILE|FOLDER...\ncompares the library (%s) with golden files; a checkpoint needs the case it was saved from\n", IS_DOUBLE ? "double" : "float");
            return 0;
        } else if (strncmp(argv[i], "--", 2) == 0) paths = -1 - argc;
        else ++paths;
    }
    if (paths <= 0) {
        fprintf(stderr, "usage: %s [--case CASE.txt] FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    if (zn_ctx_create(NULL, &run.ctx) != ZN_OK) return 1;
    for (i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--case") == 0) ++i;
        else golden_path(&run, argv[i], 0);
    }
    zn_ctx_destroy(run.ctx);
    printf("%d passed, %d failed\n", run.passed, run.failed);
    return run.failed > 0 ? 1 : 0;
}
