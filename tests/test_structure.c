/* test_structure.c - structure strings (what is accepted, printed back, refused with column and reason) and counting
   (the published figures exactly). */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"

#define STEM "SuperConvK3BNRELU(3,8,2,1)"

static char *format_text(const zn_structure *s) {
    size_t length = zn_structure_format(s, NULL, 0);
    char *text = (char *)malloc(length + 1);
    if (text != NULL) zn_structure_format(s, text, length + 1);
    return text;
}

/* The canonical text must be as given, and parse to itself. */
static void check_canonical(zn_ctx *ctx, const char *text, const char *canonical) {
    zn_structure *s = NULL, *again = NULL;
    char *once, *twice;
    CHECK_FOR(zn_structure_parse(ctx, text, &s) == ZN_OK, text);
    CHECK_HOLDS(canonical, "(");
    once = format_text(s);
    CHECK_FOR(once != NULL && strcmp(once, canonical) == 0, once != NULL ? once : text);
    CHECK_FOR(once != NULL && zn_structure_parse(ctx, once, &again) == ZN_OK, text);
    twice = format_text(again);
    CHECK_FOR(once != NULL && twice != NULL && strcmp(once, twice) == 0, text);
    free(once);
    free(twice);
    zn_structure_destroy(s);
    zn_structure_destroy(again);
    zn_error_clear(ctx);
}

static void test_accepted(zn_ctx *ctx) {
    static const char *const same[] = {
        STEM, "SuperConvK1BNRELU(3,8,1,2)", "SuperConvK5BNRELU(3,8,1,2)", "SuperConvK7BNRELU(3,8,4,2)",
        STEM "SuperResK3K3(8,16,2,8,2)SuperResK5K5(16,16,1,8,1)SuperResK7K7(16,24,1,8,1)",
        STEM "SuperResK1K3K1(8,16,2,8,2)SuperResK1K5K1(16,16,1,8,1)SuperResK1K7K1(16,24,1,8,1)",
        STEM "SuperResIDWE1K3(8,16,2,8,2)SuperResIDWE2K5(16,16,1,8,1)SuperResIDWE4K7(16,24,1,8,1)SuperResIDWE6K3(24,8,1,8,1)",
        "ConvKX(3,8,3,2)BN(8)RELU(8)ConvKXG2(8,16,3,1)ConvKXG4(16,16,3,1)ConvKXG8(16,32,1,1)ConvKXG16(32,32,1,1)ConvKXG32(32,64,1,1)",
        "ConvKX(3,8,3,2)ConvDW(8,3,1)BN(8)Swish(8)SE(8)SA(8,2)MaxPool(8,3,2)AdaptiveAvgPool(8,4)",
        "ConvKX(3,8,3,1)Sequential(BN(8)RELU(8))ResBlock(8,1,ConvKX(8,8,3,1)BN(8))ResBlockProj(8,1,ConvKX(8,8,3,1)BN(8))",
        "ConvKX(3,8,3,1)MultiSumBlock(BN(8);RELU(8);Sequential(BN(8)RELU(8)))MultiCatBlock(BN(8);ConvKX(8,4,1,1))BN(12)",
        "ConvKX(3,8,3,1)ResBlock(8,2,ConvKX(8,16,3,2)ResBlock(16,1,BN(16)))"};
    size_t i;
    for (i = 0; i < sizeof same / sizeof same[0]; ++i) check_canonical(ctx, same[i], same[i]);
    check_canonical(ctx, "zennet-m", zn_structure_builtin("zennet-m"));
    check_canonical(ctx, "zennet-r", zn_structure_builtin("zennet-r"));
    check_canonical(ctx, " SuperConvK3BNRELU ( 3 ,\t8 , 2 , 1 ) \n", STEM);
    check_canonical(ctx, "SuperConvK3BNRELU(stem|3,8,2,1)", STEM);
    check_canonical(ctx, "SuperConvK3BNRELU(|3,8,2,1)", STEM);
    check_canonical(ctx, STEM "Sequential(a|BN(b|8)RELU(8))", STEM "Sequential(BN(8)RELU(8))");
    check_canonical(ctx, STEM "ResBlock(x|ConvKX(8,8,3,1))", STEM "ResBlock(8,1,ConvKX(8,8,3,1))");
    check_canonical(ctx, STEM "ResBlock(8,ConvKX(8,16,3,2))", STEM "ResBlock(8,2,ConvKX(8,16,3,2))");
    check_canonical(ctx, STEM "MultiSumBlock(BN(8)RELU(8);BN(8))", STEM "MultiSumBlock(Sequential(BN(8)RELU(8));BN(8))");
    CHECK(zn_structure_builtin("zennet-x") == NULL && zn_structure_builtin(NULL) == NULL);
}

/* column 0: any */
static const struct bad {
    const char *text;
    int column;
    const char *reason;
} bads[] = {
    {"", 1, "missing"},
    {"   ", 4, "missing"},
    {"(3,8,2,1)", 1, "block name"},
    {"zennet-x", 0, "unknown"},
    {"SuperConvK2BNRELU(3,8,2,1)", 1, "unknown block 'SuperConvK2BNRELU'"},
    {"superconvk3bnrelu(3,8,2,1)", 1, "unknown"},
    {"SuperResK3K5(3,8,2,8,1)", 1, "unknown"},
    {"SuperResIDWE3K3(3,8,2,8,1)", 1, "unknown"},
    {"ConvKXG3(3,9,3,1)", 1, "unknown"},
    {STEM "Nothing(8)", 27, "unknown block 'Nothing'"},
    {"SuperConvK3BNRELU", 18, "'(' expected"},
    {"SuperConvK3BNRELU(", 19, "missing"},
    {"SuperConvK3BNRELU(3", 20, "','"},
    {"SuperConvK3BNRELU(3,8,2", 24, "','"},
    {"SuperConvK3BNRELU(3,8,2)", 24, "4 arguments"},
    {"SuperConvK3BNRELU(3,8,2,1", 26, "')'"},
    {"SuperConvK3BNRELU(3,8,2,1,1)", 26, "')'"},
    {"SuperConvK3BNRELU(3,,2,1)", 21, "out is missing"},
    {"SuperConvK3BNRELU(,8,2,1)", 19, "in is missing"},
    {"SuperConvK3BNRELU(3,x,2,1)", 21, "whole number"},
    {"SuperConvK3BNRELU(3,8.0,2,1)", 21, "whole number"},
    {"SuperConvK3BNRELU(3,8e1,2,1)", 21, "whole number"},
    {"SuperConvK3BNRELU(3,0x8,2,1)", 21, "whole number"},
    {"SuperConvK3BNRELU(3,- 8,2,1)", 21, "whole number"},
    {"SuperConvK3BNRELU(3,8 8,2,1)", 23, "','"},
    {"SuperConvK3BNRELU(3,0,2,1)", 21, "out must be"},
    {"SuperConvK3BNRELU(3,-8,2,1)", 21, "out must be"},
    {"SuperConvK3BNRELU(3,8,0,1)", 23, "stride must be"},
    {"SuperConvK3BNRELU(3,8,2,0)", 25, "sub_layers must be"},
    {"SuperConvK3BNRELU(3,65537,2,1)", 21, "out must be"},
    {"SuperConvK3BNRELU(3,4294967304,2,1)", 21, "out must be"},
    {"SuperConvK3BNRELU(3,99999999999999999999999999999999999999,2,1)", 21, "out must be"},
    {"SuperConvK3BNRELU(3,8,2,2147483648)", 25, "sub_layers must be"},
    {"SuperConvK3BNRELU(3,8,2,4097)", 25, "sub_layers must be"},
    {"SuperConvK3BNRELU(3,8,2,4000)SuperConvK3BNRELU(8,8,2,4000)", 30, "sub_layers in all"},
    {"SuperConvK3BNRELU(1,8,2,1)", 1, "3 arrive"},
    {STEM "SuperConvK3BNRELU(9,8,2,1)", 27, "8 arrive"},
    {STEM "BN(7)", 27, "8 arrive"},
    {STEM "BN(0)", 30, "channels must be"},
    {STEM "ConvKX(8,8,0,1)", 38, "kernel must be"},
    {STEM "ConvKXG2(8,9,3,1)", 27, "divide"},
    {STEM "ConvDW(8,3)", 37, "3 arguments"},
    {STEM "SA(8,3)", 27, "divide"},
    {STEM "SA(8,0)", 32, "groups must be"},
    {STEM "SA(8,8)", 27, "divide"},
    {STEM "AdaptiveAvgPool(8,0)", 45, "size must be"},
    {STEM "Flatten(8)", 37, "feature map"},
    {STEM "Linear(8,4,1)", 27, "Flatten"},
    {STEM "Flatten(8)Linear(8,4,2)", 48, "bias must be"},
    {STEM "Flatten(8)Linear(8,4,1)", 50, "feature map"},
    {STEM "Flatten(8)BN(8)", 37, "feature map"},
    {STEM ")", 27, "left over"},
    {STEM ";", 27, "left over"},
    {STEM "]", 27, "block name"},
    {STEM "Sequential()", 38, "block name"},
    {STEM "Sequential(BN(8)", 43, "')'"},
    {STEM "Sequential(BN(8);BN(8))", 43, "')'"},
    {STEM "ResBlock(7,BN(8))", 36, "8 channels arrive"},
    {STEM "ResBlock(8,2,BN(8))", 0, "stride is 2"},
    {STEM "ResBlock(8,1,1,BN(8))", 40, "unknown block '1'"},
    {STEM "ResBlock(8)", 37, "','"},
    {STEM "ResBlock(Flatten(8))", 0, "feature map"},
    {STEM "ResBlock(BN(8)BN(9))", 41, "8 arrive"},
    {STEM "MultiSumBlock(BN(8);ConvKX(8,9,1,1))", 47, "9 channels"},
    {STEM "MultiSumBlock(BN(8);ConvKX(8,8,1,2))", 47, "resolution"},
    {STEM "MultiCatBlock(BN(8);ConvKX(8,8,1,2))", 47, "resolution"},
    {STEM "MultiCatBlock(BN(8);BN(9))", 47, "8 arrive"},
    {STEM "MultiSumBlock(BN(8);)", 47, "block name"},
    {STEM "MultiSumBlock(Flatten(8);BN(8))", 41, "feature map"},
    {STEM "MultiCatBlock(ConvKX(8,40000,1,1);ConvKX(8,40000,1,1))", 61, "channels"},
};

static void check_refused(zn_ctx *ctx, const char *text, int column, const char *reason) {
    zn_structure *s = (zn_structure *)(void *)ctx; /* must be set to NULL */
    char place[32];
    CHECK_FOR(zn_structure_parse(ctx, text, &s) == ZN_ERROR_STRUCTURE, text);
    CHECK_FOR(s == NULL, text);
    CHECK(zn_error_code(ctx) == ZN_ERROR_STRUCTURE);
    snprintf(place, sizeof place, column > 0 ? "column %d:" : "column ", column);
    CHECK_HOLDS(zn_error_text(ctx), place);
    CHECK_HOLDS(zn_error_text(ctx), reason);
    zn_error_clear(ctx);
}

static char *repeat_text(const char *head, const char *part, int times, const char *tail) {
    size_t size = strlen(head) + strlen(part) * (size_t)times + strlen(tail) + 1;
    char *text = (char *)malloc(size), *p = text;
    if (text == NULL) return NULL;
    p += strlen(strcpy(p, head));
    while (times-- > 0) p += strlen(strcpy(p, part));
    strcpy(p, tail);
    return text;
}

static void test_refused(zn_ctx *ctx) {
    size_t i;
    char *text;
    for (i = 0; i < sizeof bads / sizeof bads[0]; ++i) check_refused(ctx, bads[i].text, bads[i].column, bads[i].reason);
    text = repeat_text(STEM, "Sequential(", 90000, "BN(8)");
    check_refused(ctx, text, 0, "nest deeper");
    free(text);
    text = repeat_text(STEM, "MultiCatBlock(", 33, "BN(8)");
    check_refused(ctx, text, 27 + 32 * 14, "nest deeper");
    free(text);
    text = repeat_text(STEM, "RELU(8)", 200000, "");
    check_refused(ctx, text, 0, "longer");
    free(text);
    text = repeat_text("SuperConvK3BNRELU(3,", "9", 100000, ",2,1)");
    check_refused(ctx, text, 21, "out must be");
    free(text);
    CHECK(zn_structure_parse(ctx, NULL, NULL) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    CHECK(zn_structure_parse(NULL, STEM, NULL) == ZN_ERROR_ARGUMENT);
}

/* Options that do not suit a structure, refused when it is counted or built. */
static void test_refused_options(zn_ctx *ctx) {
    static const struct {
        const char *text;
        zn_attention attention;
        int classes, resolution;
        zn_result result;
        const char *reason;
    } rows[] = {
        {STEM "SuperResK3K3(8,16,2,12,1)", ZN_ATTENTION_SA, 7, 32, ZN_ERROR_STRUCTURE, "column 27"},
        {STEM "SuperResK3K3(8,16,2,12,1)", ZN_ATTENTION_SE, 7, 32, ZN_OK, ""},
        {STEM "SuperResK3K3(8,16,2,16,1)", ZN_ATTENTION_SA, 7, 32, ZN_OK, ""},
        {STEM, ZN_ATTENTION_NONE, 0, 32, ZN_ERROR_ARGUMENT, "classes"},
        {STEM, ZN_ATTENTION_NONE, ZN_MAX_CLASSES + 1, 32, ZN_ERROR_ARGUMENT, "classes"},
        {STEM, ZN_ATTENTION_NONE, 7, 0, ZN_ERROR_ARGUMENT, "resolution"},
        {STEM "ConvKX(8,8,2,1)", ZN_ATTENTION_NONE, 7, 2, ZN_ERROR_STRUCTURE, "column 27"},
        {STEM "MaxPool(8,2,2)", ZN_ATTENTION_NONE, 7, 2, ZN_ERROR_STRUCTURE, "column 27"},
    };
    size_t i;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        zn_net_opts o = zn_net_opts_default();
        zn_structure *s = NULL;
        zn_count count;
        o.attention = rows[i].attention;
        o.classes = rows[i].classes;
        CHECK_FOR(zn_structure_parse(ctx, rows[i].text, &s) == ZN_OK, rows[i].text);
        CHECK_FOR(zn_structure_count(s, &o, rows[i].resolution, &count) == rows[i].result, rows[i].text);
        CHECK_HOLDS(zn_error_text(ctx), rows[i].reason);
        zn_structure_destroy(s);
        zn_error_clear(ctx);
    }
    for (i = 0; i < 4; ++i) { /* for a network, and the rule of projections for counting too */
        static const double eps[] = {1e-3, (double)INFINITY, (double)NAN, 0};
        int unknown = 2;
        zn_net_opts o = zn_net_opts_default();
        zn_net *net = NULL;
        if (i == 0) o.projection = (zn_projection)unknown;
        o.bn_eps = eps[i];
        CHECK(zn_net_create(ctx, &o, &net) == ZN_ERROR_ARGUMENT && net == NULL);
        CHECK_HOLDS(zn_error_text(ctx), i == 0 ? "projection rule 2" : "bn_eps");
        zn_error_clear(ctx);
    }
}

/* Deep but allowed nesting, and strings damaged at random: accepted or refused with a column, never more. */
static void test_mutations(zn_ctx *ctx) {
    static const char *const seeds[] = {
        STEM "SuperResIDWE6K3(8,32,2,8,1)SuperResK1K5K1(32,48,2,32,1)SuperResK3K3(48,48,1,16,2)",
        "ConvKX(3,8,3,2)ResBlock(8,1,ConvKX(8,8,3,1)BN(8)RELU(8))MultiCatBlock(a|BN(8);SE(8)Swish(8))SA(16,4)",
        "ConvKX(3,8,3,2)MultiSumBlock(MaxPool(8,3,2)ConvDW(8,3,1);ConvKXG2(8,8,3,2))AdaptiveAvgPool(8,4)Sequential(RELU(8))"};
    static const char letters[] = "()|,;0123456789 SuperResKBNXGELU-\001\377";
    zn_rng rng = zn_rng_seed(1);
    int round, accepted = 0, bad = 0;
    char *deep = repeat_text(STEM, "Sequential(", 32, "BN(8)))))))))))))))))))))))))))))))))");
    zn_structure *s = NULL;
    zn_count count;
    CHECK(zn_structure_parse(ctx, deep, &s) == ZN_OK && zn_structure_count(s, NULL, 8, &count) == ZN_OK);
    zn_structure_destroy(s);
    free(deep);
    for (round = 0; round < 20000; ++round) {
        char text[256];
        int edits = 1 + (round % 4 == 0);
        zn_result result;
        s = NULL;
        strcpy(text, seeds[round % 3]);
        while (edits-- > 0) {
            size_t at = (size_t)zn_rng_below(&rng, strlen(text) + 1), rest = strlen(text) - at;
            char letter = letters[zn_rng_below(&rng, sizeof letters - 1)];
            if (rest > 0 && zn_rng_below(&rng, 3) == 0) memmove(text + at, text + at + 1, rest);
            else if (rest > 0 && zn_rng_below(&rng, 2) == 0) text[at] = letter;
            else if (strlen(text) + 2 < sizeof text) {
                memmove(text + at + 1, text + at, rest + 1);
                text[at] = letter;
            }
        }
        result = zn_structure_parse(ctx, text, &s);
        if (result == ZN_OK) {
            char *canonical = format_text(s);
            zn_structure *again = NULL;
            ++accepted;
            if (zn_structure_parse(ctx, canonical, &again) != ZN_OK) ++bad;
            result = zn_structure_count(s, NULL, 1 + round % 70, &count);
            if (result == ZN_OK && !(count.params > 0 && count.macs >= 0)) ++bad;
            zn_structure_destroy(again);
            free(canonical);
        }
        if (result != ZN_OK && (result != ZN_ERROR_STRUCTURE || strstr(zn_error_text(ctx), "column ") == NULL)) ++bad;
        zn_structure_destroy(s);
        zn_error_clear(ctx);
    }
    CHECK(bad == 0);
    CHECK(accepted > 500 && accepted < 19000); /* the loop reaches both sides */
}

/* ------------------------------------------------------------------------------------------------------------------
   Counting
   ------------------------------------------------------------------------------------------------------------------ */
static zn_count count_of(zn_ctx *ctx, const char *text, const zn_net_opts *o, int resolution) {
    zn_structure *s = NULL;
    zn_count count;
    memset(&count, 0, sizeof count);
    CHECK_FOR(zn_structure_parse(ctx, text, &s) == ZN_OK && zn_structure_count(s, o, resolution, &count) == ZN_OK, text);
    zn_structure_destroy(s);
    return count;
}
/* Figures of specification section 5. */
static void test_published_counts(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    zn_count m = count_of(ctx, "zennet-m", &o, 224), r = count_of(ctx, "zennet-r", &o, 224);
    CHECK(m.params == 1007511 && m.macs == 387733696 && m.flops == 400718311 && m.layers == 14);
    CHECK(r.params == 327339 && r.macs == 426698048 && r.flops == 446479943 && r.layers == 10);
    o.attention = ZN_ATTENTION_NONE;
    m = count_of(ctx, "zennet-m", &o, 224);
    r = count_of(ctx, "zennet-r", &o, 224);
    CHECK(m.flops == 400023687 && r.flops == 445890375);
    CHECK(m.budget_params <= 1e6 && m.budget_flops <= 400e6 && r.budget_flops <= 400e6); /* the budgets that they were searched with */
}

typedef struct layer_sum {
    double params, macs, flops, activations;
    int layers;
    char first[64], last[64];
} layer_sum;
static void add_layer(const zn_layer_info *info, void *user) {
    layer_sum *sum = (layer_sum *)user;
    sum->params += info->params;
    sum->macs += info->macs;
    sum->flops += info->flops;
    sum->activations += info->activations;
    if (sum->layers++ == 0) snprintf(sum->first, sizeof sum->first, "%s", info->name);
    snprintf(sum->last, sizeof sum->last, "%s", info->name);
}
static void test_layer_counts(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    zn_structure *s = NULL;
    zn_count count;
    layer_sum sum;
    o.lw_att = 1;
    memset(&sum, 0, sizeof sum);
    CHECK(zn_structure_parse(ctx, "zennet-r", &s) == ZN_OK);
    CHECK(zn_structure_count_layers(s, &o, 224, add_layer, &sum, &count) == ZN_OK);
    CHECK(sum.params == count.params && sum.macs == count.macs && sum.flops == count.flops && sum.activations == count.activations);
    CHECK(sum.layers > 100);
    CHECK(strcmp(sum.first, "module_list.0.module_list.0") == 0);
    CHECK(strcmp(sum.last, "fc_linear") == 0);
    zn_structure_destroy(s);
}
/* Worked by hand: conv 3->8 k3 s2 on 5 x 5 gives 3 x 3; BN 8; linear 8 -> 2. */
static void test_small_counts(zn_ctx *ctx) {
    zn_net_opts o = zn_net_opts_default();
    zn_count c;
    o.classes = 2;
    o.attention = ZN_ATTENTION_NONE;
    c = count_of(ctx, "ConvKX(3,8,3,2)BN(8)", &o, 5);
    CHECK(c.params == 216 + 16 + 18);
    CHECK(c.macs == 216 * 9 + 16);
    CHECK(c.flops == 216 * 9 + 16 + 2 * 72 + 2);
    CHECK(c.budget_flops == 1350 + 2 * 2 * 8 + 16);
    CHECK(c.budget_params == 216 + 8 + 17);
    CHECK(c.layers == 0);
}

int main(void) {
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    test_accepted(ctx);
    test_refused(ctx);
    test_refused_options(ctx);
    test_mutations(ctx);
    test_published_counts(ctx);
    test_layer_counts(ctx);
    test_small_counts(ctx);
    CHECK(f.live == 1); /* the context itself: everything else was given back */
    zn_ctx_destroy(ctx);
    CHECK(f.live == 0);
    return check_done();
}
