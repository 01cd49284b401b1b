/* rank.h - rank correlation, as programs that compare scores print it. */
#ifndef ZENNET_EXAMPLES_RANK_H
#define ZENNET_EXAMPLES_RANK_H

#include "data_tools/tool.h"

/* Twice the rank of values[i], 0 for the lowest; equal values share their mean rank. */
static double rank_of(const double *values, int count, int i) {
    double below = 0, equal = 0;
    int k;
    for (k = 0; k < count; ++k) {
        below += values[k] < values[i];
        equal += !(values[k] < values[i]) && !(values[k] > values[i]);
    }
    return 2 * below + equal - 1;
}
/* Spearman's, of two lists of `count` values: 1 when they rank alike, 0 when they have nothing to do with each other. */
TOOL_API double rank_correlation(const double *a, const double *b, int count) {
    double aa = 0, bb = 0, ab = 0;
    int i;
    for (i = 0; i < count; ++i) {
        double x = rank_of(a, count, i) - (count - 1), y = rank_of(b, count, i) - (count - 1);
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

#endif
