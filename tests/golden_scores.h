/* golden_scores.h - the score lines of a golden network case: zen_published, zen_paper, proxy_* (FORMAT.md, Scores). */
#ifndef ZENNET_TESTS_GOLDEN_SCORES_H
#define ZENNET_TESTS_GOLDEN_SCORES_H

#include "zennet.h"

#include <math.h>
#include <string.h>

typedef struct golden_score_case {
    const char *structure;
    uint64_t seed;
    int batch, resolution, classes;
    const int *targets; /* batch of them */
    double params;      /* of the case's network: decides what the float build is held to */
} golden_score_case;

/* The first words of the lines, by kind. */
static const char *const golden_score_words[] = {"zen_published", "zen_paper", "proxy_gradnorm", "proxy_synflow", "proxy_naswot", "proxy_tenas"};
static int golden_score_kind(const char *word) { /* -1 for words that are no score */
    int i;
    for (i = 0; i < 6; ++i)
        if (strcmp(golden_score_words[i], word) == 0) return i;
    return -1;
}
/* Relative error that the line may have in this build; -1: it is shown, but not held to anything. */
static double golden_score_tolerance(int kind, const golden_score_case *c) {
    if (sizeof(zn_real) == 8) return 1e-9;
    if (kind <= ZN_SCORE_ZEN_PAPER) return 1e-4;
    if (kind == ZN_SCORE_SYNFLOW) return 2e-2;
    return c->params < 500000.0 && c->resolution < 64 ? 1e-4 : -1.0;
}
/* Relative error of the score, NaN when it cannot be computed. */
static double golden_score_error(zn_ctx *ctx, const golden_score_case *c, int kind, double want) {
    zn_score_opts o = zn_score_opts_default();
    zn_score_result result;
    o.kind = (zn_score_kind)kind;
    o.batch = c->batch;
    o.resolution = c->resolution;
    o.classes = c->classes;
    o.seed = c->seed;
    o.golden = 1;
    o.targets = c->targets;
    if (zn_score(ctx, c->structure, &o, &result) != ZN_OK || result.failed > 0) return (double)NAN;
    return fabs(result.mean - want) / fabs(want);
}

#endif
