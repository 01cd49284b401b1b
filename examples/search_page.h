/* search_page.h - search.html: one self-contained page about a search, its drawings inline SVG made here. */
#ifndef ZENNET_EXAMPLES_SEARCH_PAGE_H
#define ZENNET_EXAMPLES_SEARCH_PAGE_H

#include "examples/common.h"

/* ---- text ---- */
static void page_text(FILE *f, const char *text) {
    for (; *text != '\0'; ++text)
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"') fprintf(f, "&#%d;", *text);
        else fputc(*text, f);
}
/* "12.3 M" and the like. */
static const char *page_amount(double v, char text[32]) {
    if (v >= 1e9) snprintf(text, 32, "%.3g G", v / 1e9);
    else if (v >= 1e6) snprintf(text, 32, "%.3g M", v / 1e6);
    else if (v >= 1e3) snprintf(text, 32, "%.3g k", v / 1e3);
    else snprintf(text, 32, "%.3g", v);
    return text;
}

/* ---- charts ---- */
typedef struct chart {
    FILE *f;
    double x0, x1, y0, y1; /* the data's range */
} chart;
enum { CHART_LEFT = 62, CHART_TOP = 14, CHART_WIDTH = 560, CHART_HEIGHT = 250 };

static double chart_x(const chart *c, double x) { return CHART_LEFT + CHART_WIDTH * (x - c->x0) / (c->x1 - c->x0); }
static double chart_y(const chart *c, double y) { return CHART_TOP + CHART_HEIGHT * (c->y1 - y) / (c->y1 - c->y0); }
static double chart_step(double range) { /* 1, 2 or 5 times a power of ten, about five of them */
    double power = pow(10, floor(log10(range / 5))), part = range / 5 / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}
/* Frame, grid and axes for a range that is widened a little. */
static void chart_begin(chart *c, FILE *f, const char *title, double x0, double x1, double y0, double y1, const char *x_name, const char *y_name) {
    double step, v;
    char text[32];
    c->f = f;
    c->x0 = x0;
    c->x1 = x1 > x0 ? x1 : x0 + 1;
    c->y0 = y0 - 0.04 * (y1 > y0 ? y1 - y0 : 1);
    c->y1 = y1 + 0.06 * (y1 > y0 ? y1 - y0 : 1);
    fprintf(f, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", title, CHART_LEFT + CHART_WIDTH + 20, CHART_TOP + CHART_HEIGHT + 44, title);
    step = chart_step(c->y1 - c->y0);
    for (v = ceil(c->y0 / step) * step; v <= c->y1; v += step)
        fprintf(f, "<path class=\"grid\" d=\"M%d %.1fh%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", CHART_LEFT, chart_y(c, v), CHART_WIDTH, CHART_LEFT - 6, chart_y(c, v) + 4,
                fabs(v) < 1e-9 * step ? "0" : fabs(v) >= 1e3 ? page_amount(v, text) : (snprintf(text, sizeof text, "%.4g", v), text));
    step = chart_step(c->x1 - c->x0);
    for (v = ceil(c->x0 / step) * step; v <= c->x1; v += step)
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %dv%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", chart_x(c, v), CHART_TOP, CHART_HEIGHT, chart_x(c, v), CHART_TOP + CHART_HEIGHT + 16,
                fabs(v) >= 1e3 ? page_amount(v, text) : (snprintf(text, sizeof text, "%.4g", fabs(v) < 1e-9 * step ? 0 : v), text));
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text><text transform=\"translate(13 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", CHART_LEFT + CHART_WIDTH / 2,
            CHART_TOP + CHART_HEIGHT + 36, x_name, CHART_TOP + CHART_HEIGHT / 2, y_name);
}
static void chart_end(const chart *c) { fprintf(c->f, "</svg></figure>\n"); }
static void chart_label(const chart *c, int row, const char *class_name, const char *text) {
    fprintf(c->f, "<path class=\"line %s\" d=\"M%d %dh22\"/><text x=\"%d\" y=\"%d\">%s</text>\n", class_name, CHART_LEFT + CHART_WIDTH - 110, CHART_TOP + CHART_HEIGHT - 14 - 18 * row,
            CHART_LEFT + CHART_WIDTH - 82, CHART_TOP + CHART_HEIGHT - 10 - 18 * row, text);
}

/* ---- the search as the page sees it ---- */
typedef struct page_data {
    zn_search_point *points;
    int point_count;
    zn_search_member *members; /* best first */
    int member_count;
    zn_search_result best;
    const char *command; /* how it was started, in words */
    double measured_ms;  /* of the best network, 0 when it was not measured */
    int resolution, latency, sieve;
} page_data;

static double point_value(const zn_search_point *p, int which) {
    int64_t all = p->iterations > 0 ? p->iterations : 1;
    return which == 0 ? p->best : which == 1 ? p->median : 100.0 * (double)p->scored / (double)all;
}
static void page_line(const chart *c, const page_data *d, int which, const char *class_name) {
    int i;
    fprintf(c->f, "<path class=\"line %s\" d=\"", class_name);
    for (i = 0; i < d->point_count; ++i) fprintf(c->f, "%c%.1f %.1f", i == 0 ? 'M' : 'L', chart_x(c, d->points[i].seconds / 60), chart_y(c, point_value(&d->points[i], which)));
    fprintf(c->f, "\"/>\n");
}
static void page_course(FILE *f, const page_data *d) {
    const zn_search_point *last = &d->points[d->point_count - 1];
    double low = HUGE_VAL, high = -HUGE_VAL, accepted = 0;
    chart c;
    int i;
    for (i = 0; i < d->point_count; ++i) {
        const zn_search_point *p = &d->points[i];
        if (p->median > ZN_SCORE_WORST) low = fmin(low, p->median);
        high = fmax(high, p->best);
        accepted = fmax(accepted, point_value(p, 2));
    }
    if (!(low < high)) low = high - 1;
    chart_begin(&c, f, "Score of the population over time", 0, last->seconds / 60, low, high, "minutes", "score");
    page_line(&c, d, 0, "a");
    page_line(&c, d, 1, "b");
    chart_label(&c, 1, "a", "best");
    chart_label(&c, 0, "b", "median");
    chart_end(&c);
    chart_begin(&c, f, "Proposals that were scored, of all so far", 0, last->seconds / 60, 0, accepted, "minutes", "per cent");
    page_line(&c, d, 2, "a");
    chart_end(&c);
}
/* One bar of shares with a legend. */
static void page_bar(FILE *f, const char *title, int count, const char *const *names, const double *values, const char *unit) {
    double total = 0, at = 0;
    char text[32];
    int i;
    for (i = 0; i < count; ++i) total += values[i];
    fprintf(f, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 640 34\" role=\"img\" aria-label=\"%s\">\n", title, title);
    for (i = 0; i < count && total > 0; ++i) {
        double width = 640 * values[i] / total;
        if (values[i] > 0) fprintf(f, "<rect class=\"s%d\" x=\"%.2f\" y=\"2\" width=\"%.2f\" height=\"30\"><title>%s: %s%s</title></rect>\n", i, at, width, names[i], page_amount(values[i], text), unit);
        at += width;
    }
    fprintf(f, "</svg><ul class=\"key\">");
    for (i = 0; i < count; ++i)
        if (values[i] > 0) fprintf(f, "<li><svg viewBox=\"0 0 12 12\"><rect class=\"s%d\" width=\"12\" height=\"12\"/></svg> %s %s%s (%.3g %%)</li>\n", i, names[i], page_amount(values[i], text), unit, 100 * values[i] / total);
    fprintf(f, "</ul></figure>\n");
}
static void page_shares(FILE *f, const page_data *d) {
    static const char *const fates[] = {"scored", "scored before", "over layers", "over params", "over FLOPs", "over effective score", "over latency", "too long"};
    static const char *const parts[] = {"propose and parse", "budgets", "latency", "score", "the rest"};
    const zn_search_point *p = &d->best.end;
    double fate[8], part[5];
    int i;
    fate[0] = (double)p->scored;
    fate[1] = (double)p->repeated;
    for (i = 0; i < ZN_BUDGETS; ++i) fate[2 + i] = (double)p->over[i];
    fate[7] = (double)p->too_long;
    part[0] = p->propose_seconds;
    part[1] = p->budget_seconds;
    part[2] = p->latency_seconds;
    part[3] = p->score_seconds;
    part[4] = fmax(0, p->seconds - part[0] - part[1] - part[2] - part[3]);
    page_bar(f, "What became of the proposals", 8, fates, fate, "");
    page_bar(f, "Where the time went", 5, parts, part, " s");
}

static double member_cost(const zn_search_member *m, int cost) { return cost == 0 ? m->flops : cost == 1 ? m->params : m->latency_ms; }
/* Members against a cost; the Pareto front: nobody has more score for less. */
static void page_scatter(FILE *f, const page_data *d, int cost) {
    static const char *const titles[] = {"Score against FLOPs; red: the Pareto front", "Score against parameters; red: the Pareto front", "Score against latency; red: the Pareto front"};
    static const char *const names[] = {"FLOPs", "parameters", "ms"};
    double low = HUGE_VAL, high = 0, worst = HUGE_VAL;
    char text[32];
    chart c;
    int i, k;
    for (i = 0; i < d->member_count; ++i) {
        low = fmin(low, member_cost(&d->members[i], cost));
        high = fmax(high, member_cost(&d->members[i], cost));
        if (d->members[i].score > ZN_SCORE_WORST) worst = fmin(worst, d->members[i].score);
    }
    if (d->member_count == 0 || !(worst < HUGE_VAL)) return;
    chart_begin(&c, f, titles[cost], low - 0.03 * (high - low), high + 0.03 * (high - low), worst, d->members[0].score, names[cost], "score");
    for (k = 0; k < 2; ++k) /* the front over the crowd */
        for (i = 0; i < d->member_count; ++i) {
            const zn_search_member *m = &d->members[i];
            int j, front = m->score > ZN_SCORE_WORST;
            for (j = 0; j < i && front; ++j) front = member_cost(&d->members[j], cost) > member_cost(m, cost); /* those before have more score */
            if (front != k || !(m->score >= worst)) continue;
            fprintf(f, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"><title>", front ? "front" : "dot", chart_x(&c, member_cost(m, cost)), chart_y(&c, m->score), front ? 4 : 3);
            fprintf(f, "score %.6g, %s FLOPs, ", m->score, page_amount(m->flops, text));
            fprintf(f, "%s parameters, %d layers</title></circle>\n", page_amount(m->params, text), m->layers);
        }
    chart_end(&c);
}

/* A network as a row of boxes: as high as the map, as wide as the block is deep, its channels written below. */
static void page_network(FILE *f, const page_data *d, const char *structure) {
    const char *at = structure;
    double x = 40, r = d->resolution;
    int block = 0;
    fprintf(f, "<svg class=\"net\" viewBox=\"0 0 1000 190\" role=\"img\" aria-label=\"block diagram\">\n<text x=\"4\" y=\"98\">image</text>\n");
    while (*at != '\0' && block < 32) {
        char name[40], label[40];
        int v[5] = {0, 0, 1, 0, 1}, count = 0, length = (int)strcspn(at, "("), conv, layers;
        double height, width;
        snprintf(name, sizeof name, "%.*s", length, at);
        at += length;
        while (*at != '\0' && *at != ')' && count < 5) {
            v[count++] = atoi(at + 1);
            at += 1 + strcspn(at + 1, ",)");
        }
        while (*at != '\0' && *at++ != ')') {}
        conv = strncmp(name, "SuperConv", 9) == 0;
        layers = conv ? v[3] : v[4];
        r /= v[2] > 0 ? v[2] : 1;
        height = 20 + 110 * sqrt(r / d->resolution);
        width = 46 + 22 * sqrt(layers);
        snprintf(label, sizeof label, "%.*s", conv ? 2 : (int)strlen(name) - 8, name + (conv ? 9 : 8)); /* SuperConvK3BNRELU: K3, SuperResIDWE2K7: IDWE2K7 */
        fprintf(f, "<path class=\"grid\" d=\"M%.1f 94h10\"/><rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"4\"><title>%s: %d to %d channels, stride %d, %d layers, %.0f x %.0f</title></rect>", x,
                conv ? "conv" : "res", x + 10, 94 - height / 2, width, height, name, v[0], v[1], v[2], layers, r, r);
        fprintf(f, "<text x=\"%.1f\" y=\"90\" text-anchor=\"middle\" class=\"in\">%s</text><text x=\"%.1f\" y=\"106\" text-anchor=\"middle\" class=\"in\">x %d</text>", x + 10 + width / 2, label, x + 10 + width / 2, layers);
        fprintf(f, "<text x=\"%.1f\" y=\"176\" text-anchor=\"middle\">%d</text><text x=\"%.1f\" y=\"188\" text-anchor=\"middle\" class=\"small\">%.0f px</text>\n", x + 10 + width / 2, v[1], x + 10 + width / 2, r);
        x += 10 + width;
        ++block;
    }
    fprintf(f, "</svg>\n");
}
static void page_best(FILE *f, const page_data *d) {
    char a[32], b[32];
    int i;
    fprintf(f, "<h2>The best networks</h2><p>Boxes are as high as the maps and as wide as the block is deep; below stand output channels and resolution.</p>\n");
    for (i = 0; i < d->member_count && i < 3; ++i) {
        const zn_search_member *m = &d->members[i];
        fprintf(f, "<h3>%d: score %.6g, %s FLOPs, %s parameters, %d layers</h3>\n", i + 1, m->score, page_amount(m->flops, a), page_amount(m->params, b), m->layers);
        page_network(f, d, m->structure);
        fprintf(f, "<p class=\"code\">");
        page_text(f, m->structure);
        fprintf(f, "</p>\n");
    }
    fprintf(f, "<h2>The first twenty</h2><table><tr><th>score</th><th>FLOPs</th><th>parameters</th><th>layers</th><th>effective</th>%s<th>proposal</th><th>structure</th></tr>\n", d->latency ? "<th>ms</th>" : "");
    for (i = 0; i < d->member_count && i < 20; ++i) {
        const zn_search_member *m = &d->members[i];
        fprintf(f, "<tr><td>%.6g</td><td>%s</td><td>%s</td><td>%d</td><td>%.3f</td>", m->score, page_amount(m->flops, a), page_amount(m->params, b), m->layers, m->effective);
        if (d->latency) fprintf(f, "<td>%.3g</td>", m->latency_ms);
        fprintf(f, "<td>%.0f</td><td class=\"code\">", (double)m->born);
        page_text(f, m->structure);
        fprintf(f, "</td></tr>\n");
    }
    fprintf(f, "</table>\n");
}
static const char page_style[] =
    ":root{--ink:#222;--paper:#fff;--soft:#e4e4e4;--a:#1667b0;--b:#c8641b;--dot:#8aa7c2;--front:#c8321b}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#17191c;--soft:#383c42;--a:#5aa6ea;--b:#f0964f;--dot:#56708a;--front:#ff7a5c}}\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1340px;margin:24px auto;padding:0 16px}\n"
    "h1{font-size:24px}h2{font-size:19px;margin-top:32px}h3{font-size:15px;margin-bottom:4px}\n"
    "svg text{font-size:12px;fill:var(--ink)}svg .small{font-size:10px}svg .in{fill:#fff;font-size:11px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px 28px}figure{margin:0}figcaption{font-weight:600;margin-bottom:4px}\n"
    ".grid{stroke:var(--soft);fill:none}.line{fill:none;stroke-width:2}.a{stroke:var(--a)}.b{stroke:var(--b)}.dot{fill:var(--dot)}.front{fill:var(--front)}\n"
    ".conv{fill:#4a7f4f}.res{fill:#1f5f96}.s0{fill:#1667b0}.s1{fill:#9ab}.s2{fill:#c8641b}.s3{fill:#8a5fb0}.s4{fill:#2f8f6b}.s5{fill:#b0304f}.s6{fill:#b59a1b}.s7{fill:#777}\n"
    ".key{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;padding:0;margin:6px 0 0}.key svg{width:12px;height:12px;vertical-align:-1px}\n"
    "table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}td,th{padding:3px 10px;text-align:right;border-bottom:1px solid var(--soft);white-space:nowrap}td.code,th:last-child{text-align:left}\n"
    ".code{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}.net{max-width:1000px;width:100%}\n";

static void page_write(FILE *f, const page_data *d) {
    char a[32], b[32], c[32], spent[32];
    const zn_search_point *p = &d->best.end;
    duration_text(p->seconds, spent);
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Search: score %.6g</title><style>\n%s</style></head><body>\n",
            d->best.score, page_style);
    fprintf(f, "<h1>Search for a network: best score %.6g</h1>\n<p>%s FLOPs, %s parameters, %d layers, effective score %.3f. %s proposals", d->best.score, page_amount(d->best.flops, a),
            page_amount(d->best.params, b), d->best.layers, d->best.effective, page_amount((double)p->iterations, c));
    fprintf(f, ", %.0f scored in %s (%.3g a second), %.0f of them could not be computed.", (double)p->scored, spent, p->seconds > 0 ? (double)p->scored / p->seconds : 0, (double)p->failed);
    if (d->measured_ms > 0) {
        fprintf(f, " Measured latency of the best: %.3g ms an image", d->measured_ms);
        if (d->best.latency_ms > 0) fprintf(f, " (the search went by %.3g ms, off by %.0f %%)", d->best.latency_ms, 100 * (d->best.latency_ms / d->measured_ms - 1));
        fprintf(f, ".");
    }
    fprintf(f, "</p>\n<p class=\"code\">");
    page_text(f, d->best.structure);
    fprintf(f, "</p>\n<p class=\"code\">");
    page_text(f, d->command);
    if (d->sieve) fprintf(f, "</p>\n<p>Scores below are those of the sieve; the one above is the full score of the best finalist.");
    fprintf(f, "</p>\n<h2>Course</h2><div class=\"charts\">\n");
    if (d->point_count > 0) page_course(f, d);
    page_shares(f, d);
    fprintf(f, "</div>\n<h2>The last population</h2><div class=\"charts\">\n");
    page_scatter(f, d, 0);
    page_scatter(f, d, 1);
    if (d->latency) page_scatter(f, d, 2);
    fprintf(f, "</div>\n");
    page_best(f, d);
    fprintf(f, "</body></html>\n");
}

#endif
