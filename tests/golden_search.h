/* golden_search.h - the lines `candidates` with `types`, and `effective_score`, of golden/search.txt (FORMAT.md). */
#ifndef ZENNET_TESTS_GOLDEN_SEARCH_H
#define ZENNET_TESTS_GOLDEN_SEARCH_H

#include "zennet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden_candidates {
    char **texts;
    int count, room;
    long total;
    int kinds; /* distinct block names, in order of appearance, with how often each stands in the list */
    struct { char name[32]; long total; } kind[64];
} golden_candidates;

static void golden_candidate(const char *text, int multiplicity, void *user) {
    golden_candidates *g = (golden_candidates *)user;
    size_t length = strcspn(text, "(");
    int i;
    g->total += multiplicity;
    if (g->count == g->room) {
        g->room = g->room == 0 ? 1024 : 2 * g->room;
        g->texts = (char **)realloc(g->texts, sizeof(char *) * (size_t)g->room);
    }
    g->texts[g->count] = (char *)malloc(strlen(text) + 1);
    strcpy(g->texts[g->count++], text);
    for (i = 0; i < g->kinds && (strncmp(g->kind[i].name, text, length) != 0 || g->kind[i].name[length] != '\0');) ++i;
    if (i == 64) return;
    if (i == g->kinds) {
        snprintf(g->kind[i].name, sizeof g->kind[i].name, "%.*s", (int)length, text);
        g->kind[g->kinds++].total = 0;
    }
    g->kind[i].total += multiplicity;
}
static int golden_compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static void golden_candidates_free(golden_candidates *g) {
    while (g->count > 0) free(g->texts[--g->count]);
    free(g->texts);
    memset(g, 0, sizeof *g);
}
/* line: what follows the word `candidates`. 1 when total, unique and hash agree; *out holds the list for the line `types`
   and is freed by the caller. */
static int golden_candidates_check(zn_ctx *ctx, const char *line, golden_candidates *out) {
    char space[16], structure[2048], hash[17], found[32];
    int block, i, good, kind;
    long total, unique;
    uint64_t h = ZN_FNV_START;
    zn_structure *s = NULL;
    memset(out, 0, sizeof *out);
    if (sscanf(line, "%15s %2047s %d %ld %ld %16s", space, structure, &block, &total, &unique, hash) != 6) return 0;
    kind = zn_space_parse(space);
    if (kind < 0 || zn_structure_parse(ctx, structure, &s) != ZN_OK) return 0;
    good = zn_space_candidates(s, block, zn_space_text((zn_space)kind), golden_candidate, out) == ZN_OK;
    zn_structure_destroy(s);
    if (!good) return 0;
    qsort(out->texts, (size_t)out->count, sizeof(char *), golden_compare_texts);
    for (i = 0; i < out->count; ++i) {
        if (i > 0 && strcmp(out->texts[i], out->texts[i - 1]) == 0) return 0;
        h = i > 0 ? zn_fnv1a64("\n", 1, h) : h;
        h = zn_fnv1a64(out->texts[i], strlen(out->texts[i]), h);
    }
    snprintf(found, sizeof found, "%08lx%08lx", (unsigned long)(h >> 32), (unsigned long)(h & 0xffffffffu));
    return out->total == total && out->count == unique && strcmp(found, hash) == 0;
}
/* line: what follows the word `types` of the line after it. */
static int golden_types_check(const golden_candidates *g, const char *line) {
    char name[32];
    long total;
    int used, seen = 0, i;
    while (sscanf(line, "%31s %ld%n", name, &total, &used) == 2) {
        for (i = 0; i < g->kinds && strcmp(g->kind[i].name, name) != 0;) ++i;
        if (i == g->kinds || g->kind[i].total != total) return 0;
        ++seen;
        line += used;
    }
    return seen == g->kinds && seen > 0;
}
/* line: what follows `effective_score`; the file has 12 digits. */
static int golden_effective_check(zn_ctx *ctx, const char *line) {
    char structure[2048];
    double want, got = 0.0;
    zn_structure *s = NULL;
    int good;
    if (sscanf(line, "%2047s %lf", structure, &want) != 2 || zn_structure_parse(ctx, structure, &s) != ZN_OK) return 0;
    good = zn_structure_effective_score(s, &got) == ZN_OK && fabs(got - want) <= 1e-11;
    zn_structure_destroy(s);
    return good;
}

#endif
