/* train_rafdb.c - the whole way from RAF-DB as its authors give it to a trained, tested, saved network with a report.

     build/examples/train_rafdb path/to/basic --out rafdb.run          the published recipe: days on a small machine
     build/examples/train_rafdb --quick --out quick.run                the same on 1,500 drawn faces: a minute

   Stop it with Ctrl-C, start it again: it goes on. Ends with: best epoch ... */
#include "examples/common.h"

static const char small_net[] =
    "SuperConvK3BNRELU(3,16,2,1)SuperResK3K3(16,24,2,24,1)SuperResK3K3(24,48,2,48,1)SuperResK3K3(48,64,2,64,1)SuperConvK1BNRELU(64,128,1,1)";

/* Everything after the data is packed. */
static zn_result train(zn_ctx *ctx, const char *data, const char *folder, const zn_net_opts *structure, const zn_train_opts *recipe, int argc, char **argv) {
    zn_pack *pack = NULL;
    zn_net *net = NULL;
    zn_train_result *history = NULL;
    zn_metrics *metrics = NULL;
    zn_net_opts n = *structure;
    zn_result result = open_pack(ctx, data, &pack);
    n.classes = zn_pack_classes(pack);
    if (result == ZN_OK) result = zn_net_create(ctx, &n, &net);
    if (result == ZN_OK) result = zn_train_run(net, pack, NULL, recipe, &history);
    if (result == ZN_OK) result = zn_net_save(net, in_folder(folder, "model.safetensors")); /* the best epoch's weights */
    if (result == ZN_OK) result = zn_evaluate(net, pack, NULL, &metrics);
    if (result == ZN_OK) result = write_report(net, history, metrics, pack, ZN_SPLIT_TEST, argc, argv, in_folder(folder, "report.html"));
    if (result == ZN_OK) {
        print_metrics(net, metrics);
        print_hint(net, metrics);
        printf("%s and %s\n", in_folder(folder, "model.safetensors"), in_folder(folder, "report.html"));
        printf("best epoch %d: accuracy %.2f %%\n", history->best_epoch + 1, 100 * history->best_top1);
    }
    zn_metrics_destroy(metrics);
    zn_train_result_destroy(history);
    zn_net_destroy(net);
    zn_pack_close(pack);
    return result;
}

int main(int argc, char **argv) {
    const char *source = NULL, *folder = "rafdb.run", *arch = "zennet-m", *data;
    long epochs = 0;
    int quick = 0, count, status;
    tool_option options[] = {{"out", TOOL_TEXT, &folder, "DIR", "where pack, checkpoints, model, log and report go", 0, 0},
                             {"arch", TOOL_TEXT, &arch, "NAME", "zennet-m, zennet-r, or a structure string", 0, 0},
                             {"epochs", TOOL_INT, &epochs, "N", "0: the recipe's 400", 0, 100000},
                             {"quick", TOOL_FLAG, &quick, "", "a small network on drawn faces instead", 0, 0}};
    zn_train_opts recipe = zn_train_opts_rafdb();
    zn_net_opts structure = zn_net_opts_default();
    train_view view;
    zn_ctx *ctx = NULL;
    zn_result result;

    status = tool_parse(argc, argv, "SRC", "RAF-DB from folder to report.", options, sizeof options / sizeof options[0], &source, 1, &count);
    if (status != TOOL_GO) return status;
    if ((count == 1) == quick) return tool_misused("wants either SRC, RAF-DB's folder or a pack, or --quick", "");
    if (!make_folder(folder)) return TOOL_FAILED;

    structure.structure = arch;
    if (quick) {
        source = draw_toys(argv[0], in_folder(folder, "faces"), "raf", "7", "1500", "300");
        structure.structure = small_net;
        structure.bn_momentum = 0.1;              /* few steps: running statistics must follow sooner */
        recipe.augment = zn_augment_opts_rafdb(48);
        recipe.augment.policy = ZN_POLICY_NONE;   /* the whole recipe needs its hundreds of epochs */
        recipe.mixup = 0;
        recipe.epochs = 24;
        recipe.batch = 32;
        recipe.lr = 0.1;
        recipe.schedule.warmup = 1;
    }
    data = source != NULL ? need_pack(argv[0], source, "auto", "7", in_folder(folder, "data.pack")) : NULL;
    if (data == NULL) return TOOL_FAILED;

    memset(&view, 0, sizeof view);
    view.log_path = in_folder(folder, "log.csv");
    use_epochs(&recipe, epochs);
    recipe.checkpoint_dir = folder;
    recipe.resume = 1;
    recipe.on_batch = view_batch;
    recipe.on_epoch = view_epoch;
    recipe.user = &view;
    signal(SIGINT, on_interrupt);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return fail(NULL);
    result = train(ctx, data, folder, &structure, &recipe, argc, argv);
    if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped; the same command goes on\n", tool_name);
    else if (result != ZN_OK) fail(ctx);
    zn_ctx_destroy(ctx);
    return result == ZN_OK ? TOOL_DONE : TOOL_FAILED;
}
