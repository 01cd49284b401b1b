/* to_onnx.c - writes a network as an ONNX file, for other programs to run.

     build/data_tools/to_onnx model.safetensors model.onnx
     build/data_tools/to_onnx checkpoint.pth model.onnx --arch zennet-r --attention sa --resolution 224 --batch 1
     build/data_tools/to_onnx zennet-m timing.onnx

   A model file says everything itself. For one that holds tensors only, --arch and the options after it say what they
   belong to. A structure or a built-in name in the place of a file gives a network with random weights: enough to time
   it elsewhere. Input "input" batch x 3 x R x R (normalised), output "logits" batch x classes. */
#include "tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

/* --batch N, or "free": 0; -1 when it is neither. */
static int batch_of(const char *text) {
    char *end;
    long n = strtol(text, &end, 10);
    if (strcmp(text, "free") == 0) return 0;
    return end != text && *end == '\0' && n >= 1 && n <= 65536 ? (int)n : -1;
}

static zn_result open_network(zn_ctx *ctx, const char *word, const char *arch, zn_net_opts *o, uint64_t seed, zn_net **out_net) {
    zn_result result;
    FILE *file = zn_structure_builtin(word) == NULL ? fopen(word, "rb") : NULL;
    if (file != NULL) fclose(file);
    if (file != NULL || (zn_structure_builtin(word) == NULL && strchr(word, '(') == NULL)) {
        o->structure = arch;
        return arch != NULL ? zn_net_load_checkpoint(ctx, word, o, out_net) : zn_net_load(ctx, word, out_net);
    }
    o->structure = word;
    if (o->classes == 0) o->classes = 7;
    result = zn_net_create(ctx, o, out_net);
    return result == ZN_OK ? zn_net_init(*out_net, ZN_INIT_MSRA, seed) : result;
}

static int files_apart(const char *word, const char *out) {
    const tool_place places[] = {{"the model", zn_structure_builtin(word) == NULL ? word : NULL, 0}, {"the file to write", out, 1}};
    return tool_apart(places, 2);
}

int main(int argc, char **argv) {
    const char *batch_text = "free", *arch = NULL, *attention = "sa", *projection = "face", *words[2];
    long resolution = 0, classes = 0;
    uint64_t seed = 1;
    int lw_att = 0, reslink = 1, bn = 1, count, status, batch;
    tool_option options[] = {{"batch", TOOL_TEXT, &batch_text, "N", "pictures at a time; free: any number", 0, 0},
                             {"resolution", TOOL_INT, &resolution, "R", "height and width of the input, pixels; 0: the model file's, or 224", 0, 65536},
                             {"arch", TOOL_TEXT, &arch, "NAME", "what a file without description holds: structure or name", 0, 0},
                             {"attention", TOOL_TEXT, &attention, "none|se|sa", "attention in every residual super block", 0, 0},
                             {"lw-att", TOOL_FLAG, &lw_att, "", "WIRW block on the pooled features", 0, 0},
                             {"reslink", TOOL_FLAG, &reslink, "", "residual links of super blocks (--no-reslink: none)", 0, 0},
                             {"bn", TOOL_FLAG, &bn, "", "batch norm of super blocks (--no-bn: none)", 0, 0},
                             {"projection", TOOL_TEXT, &projection, "face|zennas", "which units project, with random weights", 0, 0},
                             {"classes", TOOL_INT, &classes, "N", "0: as many as the file has, or 7", 0, ZN_MAX_CLASSES},
                             {"seed", TOOL_SEED, &seed, "S", "of random weights", 0, 0}};
    zn_net_opts o = zn_net_opts_default();
    zn_ctx *ctx = NULL;
    zn_net *net = NULL;
    status = tool_parse(argc, argv, "MODEL|STRUCTURE|NAME OUT.onnx", "Writes a network as an ONNX file.", options, (int)(sizeof options / sizeof options[0]), words, 2, &count);
    if (status != TOOL_GO) return status;
    if (count < 2) return tool_misused("a model and the file to write are wanted", "");
    status = files_apart(words[0], words[1]);
    if (status != TOOL_GO) return status;
    batch = batch_of(batch_text);
    if (batch < 0) return tool_bad_value("batch", "a whole number from 1 to 65536 or free", batch_text);
    o.attention = (zn_attention)zn_attention_parse(attention);
    o.projection = strcmp(projection, "zennas") == 0 ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    o.lw_att = lw_att;
    o.reslink = reslink;
    o.bn = bn;
    o.classes = (int)classes;
    status = TOOL_FAILED;
    if (zn_ctx_create(NULL, &ctx) == ZN_OK && open_network(ctx, words[0], arch, &o, seed, &net) == ZN_OK &&
        zn_net_export_onnx(net, words[1], resolution > 0 ? (int)resolution : zn_net_get_input(net)->size, batch) == ZN_OK)
        status = TOOL_DONE;
    else fprintf(stderr, "%s: %s\n", tool_name, zn_error_text(ctx));
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return status;
}
