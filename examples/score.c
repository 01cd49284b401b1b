/* score.c - zero-cost scores of structures: what the search ranks by, and its rivals.

     build/examples/score zennet-m zennet-r
     build/examples/score zennet-m --score gradnorm --batch 4 --resolution 64 --repeat 32 --seed 7 --json
     build/examples/score $(cut -s -d'"' -f2 DIR/population.csv) --beside zen-expected      do the two rank alike?

   Takes structure strings, built-in names, or text files whose first line is a structure. */
#include "examples/common.h"
#include "examples/rank.h"
#include "examples/structure_file.h"

#define MAX_WORDS 4096

typedef struct report {
    int json, timing;
    int lines;                                 /* structures scored */
    double means[MAX_WORDS], beside[MAX_WORDS]; /* of these; the second only with --beside */
} report;

static void print_result(const report *r, const char *structure, const zn_score_opts *o, const zn_score_result *s, double seconds, const char *beside) {
    if (r->json) {
        printf("%s\n  {\"structure\": ", r->lines > 0 ? "," : "");
        tool_json_text(stdout, structure);
        printf(", \"score\": \"%s\", \"batch\": %d, \"resolution\": %d, \"seed\": %lu, \"repeat\": %d, \"mean\": %.17g, \"std\": %.17g, \"half_width\": %.17g, \"failed\": %d, \"seconds\": %.6f",
               zn_score_text(o->kind), o->batch, o->resolution, (unsigned long)o->seed, s->repeat, s->mean, s->std, s->half_width, s->failed, seconds);
        if (beside != NULL) printf(", \"beside\": \"%s\", \"beside_mean\": %.17g", beside, r->beside[r->lines]);
        printf("}");
        return;
    }
    printf("%s\n  %s %.6g", structure, zn_score_text(o->kind), s->mean);
    if (s->repeat > 1) printf(" +- %.3g (95 %%), standard deviation %.3g", s->half_width, s->std);
    printf("; %d draw%s of %d images at %d x %d, seed %lu", s->repeat, s->repeat > 1 ? "s" : "", o->batch, o->resolution, o->resolution, (unsigned long)o->seed);
    if (s->failed > 0) printf("; %d of them could not be computed and count as %g", s->failed, ZN_SCORE_WORST);
    if (r->timing) printf("; %.3g s a draw", seconds / s->repeat);
    if (beside != NULL) printf("; %s %.6g", beside, r->beside[r->lines]);
    printf("\n");
}

int main(int argc, char **argv) {
    long batch = 16, resolution = 224, repeat = 1, classes = 7, threads = 0;
    double gamma = 0.01;
    const char *kind = "zen", *beside = NULL;
    static const char *words[MAX_WORDS];
    static report r;
    int count, status, i, failed = 0;
    zn_score_opts o = zn_score_opts_default(), second;
    tool_option options[] = {{"score", TOOL_TEXT, &kind, SCORE_NAMES, "what to compute", 0, 0},
                             {"beside", TOOL_TEXT, &beside, SCORE_NAMES, "a second score, and how well both rank alike (Spearman)", 0, 0},
                             {"batch", TOOL_INT, &batch, "N", "images of a draw", 1, 4096},
                             {"resolution", TOOL_INT, &resolution, "R", "height and width of the images, pixels", 1, 8192},
                             {"repeat", TOOL_INT, &repeat, "N", "draws: mean, standard deviation and 95 % half width", 1, 1000000},
                             {"classes", TOOL_INT, &classes, "N", "classes of the head", 1, ZN_MAX_CLASSES},
                             {"gamma", TOOL_REAL, &gamma, "G", "size of the disturbance of zen and zen-paper", 1e-9, 1e3},
                             {"seed", TOOL_SEED, &o.seed, "N", "weights, images and labels follow from it", 0, 0},
                             {"threads", TOOL_INT, &threads, "N", "threads; 0: all. The score does not depend on it", 0, 1024},
                             {"timing", TOOL_FLAG, &r.timing, "", "also print seconds of a draw", 0, 0},
                             {"json", TOOL_FLAG, &r.json, "", "a JSON array instead of text", 0, 0}};
    zn_ctx *ctx = NULL;
    zn_scorer *scorer = NULL, *rival = NULL;
    status = tool_parse(argc, argv, "STRUCTURE|NAME|FILE...", "Scores networks without training them; higher is better.", options, (int)(sizeof options / sizeof options[0]), words, MAX_WORDS, &count);
    if (status != TOOL_GO) return status;
    if (count < 1) return tool_misused("a structure, a name or a file is missing", "");
    o.kind = (zn_score_kind)zn_score_parse(kind);
    o.batch = (int)batch;
    o.resolution = (int)resolution;
    o.repeat = (int)repeat;
    o.classes = (int)classes;
    o.gamma = gamma;
    second = o;
    if (beside != NULL) second.kind = (zn_score_kind)zn_score_parse(beside);
    use_threads(threads);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return TOOL_FAILED;
    if (zn_scorer_create(ctx, &o, &scorer) != ZN_OK || (beside != NULL && zn_scorer_create(ctx, &second, &rival) != ZN_OK)) {
        fprintf(stderr, "%s: %s\n", tool_name, zn_error_text(ctx));
        zn_scorer_destroy(scorer);
        zn_ctx_destroy(ctx);
        return TOOL_FAILED;
    }
    if (r.json) printf("[");
    for (i = 0; i < count; ++i) {
        char *text = structure_of_word(words[i]);
        double begin;
        zn_score_result s, b;
        if (text != NULL && beside != NULL && zn_scorer_run(rival, text, &b) == ZN_OK) r.beside[r.lines] = b.mean;
        begin = tool_seconds();
        if (text != NULL && zn_scorer_run(scorer, text, &s) == ZN_OK) { /* refuses while an error of the second stands */
            r.means[r.lines] = s.mean;
            print_result(&r, text, &o, &s, tool_seconds() - begin, beside);
            ++r.lines;
        } else {
            fprintf(stderr, "%s: %.200s: %s\n", tool_name, words[i], text != NULL ? zn_error_text(ctx) : "out of memory");
            failed = 1;
        }
        fflush(stdout);
        free(text);
        zn_error_clear(ctx);
    }
    if (r.json) printf("\n]\n");
    if (beside != NULL) fprintf(r.json ? stderr : stdout, "rank correlation of %s and %s over %d structures: %.4f\n", kind, beside, r.lines, rank_correlation(r.means, r.beside, r.lines));
    zn_scorer_destroy(rival);
    zn_scorer_destroy(scorer);
    zn_ctx_destroy(ctx);
    return failed ? TOOL_FAILED : TOOL_DONE;
}
