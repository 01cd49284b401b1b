/* evaluate.c - how good a model is on a packed data set: accuracies and the confusion matrix, as text or JSON.

     build/examples/evaluate --model FILE --data PACK [--split test] [--json] [--report FILE]

   Classes of the pack and of the model are matched by name. Ends with: N images: top-1 ... */
#include "examples/common.h"

static int show(size_t done, size_t images, void *user) {
    (void)images;
    tool_progress_step((tool_progress *)user, (double)done, NULL);
    return stop_asked;
}

static int files_apart(const char *model, const char *data, const char *history, const char *report) {
    const tool_place places[] = {{"--model", model, 0}, {"--data", data, 0}, {"--history", history, 0}, {"--report", report, 1}};
    return tool_apart(places, 4);
}

int main(int argc, char **argv) {
    const char *model = NULL, *data = NULL, *split = "test", *report = NULL, *history = NULL, *words[1];
    long batch = 64, threads = 0;
    int json = 0, by_index = 0, count, status;
    tool_option options[] = {{"model", TOOL_TEXT, &model, "FILE", "the network", 0, 0},
                             {"data", TOOL_TEXT, &data, "PACK", "the packed images", 0, 0},
                             {"split", TOOL_TEXT, &split, "train|test", "part of the pack", 0, 0},
                             {"json", TOOL_FLAG, &json, "", "the result as JSON", 0, 0},
                             {"by-index", TOOL_FLAG, &by_index, "", "match classes by number, whatever their names", 0, 0},
                             {"report", TOOL_TEXT, &report, "FILE", "the result as one HTML page as well", 0, 0},
                             {"history", TOOL_TEXT, &history, "FILE", "with the curves of this checkpoint (latest.safetensors)", 0, 0},
                             {"batch", TOOL_INT, &batch, "N", "images at once", 1, 4096},
                             {"threads", TOOL_INT, &threads, "N", "0: as many as there are cores", 0, 1024}};
    zn_evaluate_opts o = zn_evaluate_opts_default();
    zn_ctx *ctx = NULL;
    zn_net *net = NULL;
    zn_pack *pack = NULL;
    zn_metrics *metrics = NULL;
    zn_train_result *past = NULL;
    tool_progress progress;
    zn_result result;

    status = tool_parse(argc, argv, "", "How good a model is on a packed data set.", options, sizeof options / sizeof options[0], words, 0, &count);
    if (status != TOOL_GO) return status;
    if (model == NULL || data == NULL) return tool_misused("--model and --data are needed", "");
    if (history != NULL && report == NULL) return tool_misused("--history is for --report", "");
    status = files_apart(model, data, history, report);
    if (status != TOOL_GO) return status;
    if (report != NULL && !tool_can_write(report)) return TOOL_FAILED;
    use_threads(threads);
    signal(SIGINT, on_interrupt);

    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return fail(NULL);
    result = zn_net_load(ctx, model, &net);
    if (result == ZN_OK) result = open_pack(ctx, data, &pack);
    o.split = strcmp(split, "train") == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
    o.batch = (int)batch;
    o.by_index = by_index;
    o.on_batch = show;
    o.user = &progress;
    tool_progress_begin(&progress, "evaluating", "images", (double)zn_pack_count(pack, o.split));
    if (result == ZN_OK) result = zn_evaluate(net, pack, &o, &metrics);
    tool_progress_clear(&progress);
    if (result == ZN_OK && history != NULL) result = zn_train_history(ctx, history, &past);
    if (result == ZN_OK && report != NULL) result = write_report(net, past, metrics, pack, o.split, argc, argv, report);
    status = TOOL_FAILED;
    if (result == ZN_OK) {
        if (json) print_json(net, metrics);
        else print_metrics(net, metrics);
        print_hint(net, metrics);
        status = TOOL_DONE;
    } else if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped\n", tool_name);
    else fail(ctx);
    if (result == ZN_ERROR_MISMATCH && !by_index) fprintf(stderr, "%s: --by-index matches classes by their numbers\n", tool_name);
    zn_train_result_destroy(past);
    zn_metrics_destroy(metrics);
    zn_pack_close(pack);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return status;
}
