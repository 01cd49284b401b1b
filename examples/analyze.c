/* analyze.c - what a network costs: parameters, MACs, FLOPs and memory, layer by layer and in all, without building it.

     build/examples/analyze zennet-m
     build/examples/analyze 'SuperConvK3BNRELU(3,16,2,1)SuperConvK1BNRELU(16,64,1,1)' --resolution 64 --attention none --json

   Takes a structure string, a built-in name, a model file, or a text file whose first line is a structure. */
#include "data_tools/tool.h"

#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "examples/structure_file.h"

typedef struct listing {
    int json, layers, quiet;
} listing;

static void print_layer(const zn_layer_info *l, void *user) {
    listing *list = (listing *)user;
    if (list->quiet) return;
    if (list->json) {
        printf("%s\n    {\"name\": ", list->layers++ > 0 ? "," : "");
        tool_json_text(stdout, l->name);
        printf(", \"kind\": \"%s\", \"in\": %d, \"out\": %d, \"kernel\": %d, \"stride\": %d, \"groups\": %d, \"in_size\": %d, \"out_size\": %d, "
               "\"params\": %.0f, \"macs\": %.0f, \"flops\": %.0f, \"activations\": %.0f}",
               l->kind, l->in, l->out, l->kernel, l->stride, l->groups, l->in_size, l->out_size, l->params, l->macs, l->flops, l->activations);
        return;
    }
    if (list->layers++ == 0)
        printf("%-46s %-8s %5s %5s %2s %2s %5s %5s %9s %12s %12s %10s\n", "layer", "kind", "in", "out", "k", "s", "groups", "size", "params", "MACs", "FLOPs", "values");
    printf("%-46s %-8s %5d %5d %2d %2d %5d %5d %9.0f %12.0f %12.0f %10.0f\n", l->name, l->kind, l->in, l->out, l->kernel, l->stride, l->groups, l->out_size, l->params, l->macs, l->flops,
           l->activations);
}

static void print_totals(const char *structure, const zn_net_opts *o, int resolution, const zn_count *c, double effective, int json) {
    if (json) {
        printf("%s\"structure\": ", json > 1 ? "\n  ],\n  " : "{\n  ");
        tool_json_text(stdout, structure);
        printf(",\n  \"resolution\": %d, \"classes\": %d, \"attention\": \"%s\", \"lw_att\": %s,\n", resolution, o->classes, zn_attention_text(o->attention), o->lw_att ? "true" : "false");
        printf("  \"params\": %.0f, \"macs\": %.0f, \"flops\": %.0f, \"budget_params\": %.17g, \"budget_flops\": %.17g,\n", c->params, c->macs, c->flops, c->budget_params, c->budget_flops);
        printf("  \"activations\": %.0f, \"activation_bytes\": %.0f, \"layer_count\": %d, \"effective_score\": %.17g\n}\n", c->activations, c->activations * (double)sizeof(zn_real), c->layers, effective);
        return;
    }
    printf("\n%s\n%d x %d pixels, %d classes, attention %s%s\n", structure, resolution, resolution, o->classes, zn_attention_text(o->attention), o->lw_att ? ", WIRW head" : "");
    printf("parameters        %14.0f\n", c->params);
    printf("MACs              %14.0f   multiply-adds of convolutions and linear layers\n", c->macs);
    printf("FLOPs             %14.0f   as the paper's tool counts them\n", c->flops);
    printf("budget parameters %14.0f   the published search's arithmetic\n", c->budget_params);
    printf("budget FLOPs      %14.0f\n", c->budget_flops);
    printf("activations       %14.0f   values of all layers' outputs of one image, %.1f MB\n", c->activations, c->activations * (double)sizeof(zn_real) / 1e6);
    printf("layers            %14d   what --max-layers of the search limits\n", c->layers);
    printf("effective score   %14.4f\n", effective);
}

/* Counts and prints; the structure string is canonical from here on. */
static int analyze(zn_ctx *ctx, const char *text, const zn_net_opts *o, int resolution, int json, int layers) {
    zn_structure *s = NULL;
    zn_count count;
    listing list = {0, 0, 0};
    double effective = 0;
    char *canonical = NULL;
    int ok = zn_structure_parse(ctx, text, &s) == ZN_OK && zn_structure_count(s, o, resolution, &count) == ZN_OK; /* errors before any output */
    if (ok) ok = zn_structure_effective_score(s, &effective) == ZN_OK;
    if (ok) canonical = (char *)malloc(zn_structure_format(s, NULL, 0) + 1);
    if (ok && canonical != NULL) {
        zn_structure_format(s, canonical, zn_structure_format(s, NULL, 0) + 1);
        list.json = json;
        list.quiet = !layers;
        if (json && layers) printf("{\n  \"layers\": [");
        ok = zn_structure_count_layers(s, o, resolution, print_layer, &list, &count) == ZN_OK;
        print_totals(canonical, o, resolution, &count, effective, json ? 1 + layers : 0);
    }
    if (!ok) fprintf(stderr, "%s: %s\n", tool_name, zn_error_text(ctx));
    free(canonical);
    zn_structure_destroy(s);
    return ok && canonical != NULL ? TOOL_DONE : TOOL_FAILED;
}

int main(int argc, char **argv) {
    long resolution = 0, classes = 0;
    const char *attention = NULL, *projection = "face", *words[1] = {NULL};
    int lw_att = 0, reslink = 1, bn = 1, layers = 1, json = 0, count, status;
    tool_option options[] = {{"resolution", TOOL_INT, &resolution, "R", "height and width of the input, pixels; 0: 224, or the model file's", 0, 65536},
                             {"classes", TOOL_INT, &classes, "N", "classes of the head; 0: 7, or the model file's", 0, ZN_MAX_CLASSES},
                             {"attention", TOOL_TEXT, &attention, "none|se|sa", "attention in every residual super block; default sa, or the model file's", 0, 0},
                             {"lw-att", TOOL_FLAG, &lw_att, "", "WIRW block on the pooled features", 0, 0},
                             {"reslink", TOOL_FLAG, &reslink, "", "residual links of super blocks (--no-reslink: none)", 0, 0},
                             {"bn", TOOL_FLAG, &bn, "", "batch norm of super blocks (--no-bn: none)", 0, 0},
                             {"projection", TOOL_TEXT, &projection, "face|zennas", "which units project", 0, 0},
                             {"layers", TOOL_FLAG, &layers, "", "a line for every layer (--no-layers: totals only)", 0, 0},
                             {"json", TOOL_FLAG, &json, "", "JSON instead of a table", 0, 0}};
    zn_net_opts o = zn_net_opts_default();
    zn_ctx *ctx = NULL;
    zn_net *net = NULL;
    char *from_file = NULL;
    const char *text;
    status = tool_parse(argc, argv, "STRUCTURE|NAME|FILE", "Counts parameters, MACs, FLOPs and memory of a network.", options, (int)(sizeof options / sizeof options[0]), words, 1, &count);
    if (status != TOOL_GO) return status;
    if (count < 1) return tool_misused("a structure, a name or a file is missing", "");
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return TOOL_FAILED;
    text = words[0];
    if (structure_word_is_file(text)) {
        from_file = structure_of_file(text);
        if (from_file == NULL && zn_net_load(ctx, text, &net) == ZN_OK) o = *zn_net_get_opts(net);
        if (from_file == NULL && net == NULL) {
            fprintf(stderr, "%s: %s is no structure, no name (zennet-m, zennet-r) and no file with one: %s\n", tool_name, text, zn_error_text(ctx));
            zn_ctx_destroy(ctx);
            return TOOL_FAILED;
        }
        text = net != NULL ? o.structure : from_file;
        if (net != NULL && resolution == 0) resolution = zn_net_get_input(net)->size;
    }
    if (net == NULL || attention != NULL) o.attention = (zn_attention)zn_attention_parse(attention != NULL ? attention : "sa");
    if (classes > 0) o.classes = (int)classes;
    if (net == NULL) o.projection = strcmp(projection, "zennas") == 0 ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    o.lw_att |= lw_att;
    o.reslink &= reslink;
    o.bn &= bn;
    status = analyze(ctx, text, &o, resolution > 0 ? (int)resolution : 224, json, layers);
    free(from_file);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return status;
}
