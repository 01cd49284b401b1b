/* transfer.c - learn on a large set, then on a small one that matters: the published (*) rows.

     build/examples/transfer LARGE SMALL --out transfer.run            two packs; their classes may differ
     build/examples/transfer --quick                                   drawn faces: with and without the first step

   Each step leaves NAME.safetensors, NAME.html (a report) and a folder NAME with checkpoints and log.csv: large, then
   model. Stop it with Ctrl-C, start it again: it goes on.

   The first network's head knows other classes, so only tensors whose name and shape fit go over; --freeze trains
   nothing but the new head. --teacher distils a network with the large set's classes into the first step. Ends with:
   from scratch ... or transferred ... */
#include "examples/common.h"
#include "examples/structure_file.h"

typedef struct plan {
    zn_net_opts net;
    zn_train_opts recipe;
    const char *teacher, *folder;
    train_view view;
    int failed; /* a log could not be written */
    int argc;
    char **argv;
} plan;
static void print_share(const char *what, double top1) {
    if (top1 >= 0) printf("%s: %.2f %%\n", what, 100 * top1);
    else printf("%s: no images to test on\n", what);
}

/* One step: a new network for a pack's classes, started from a file or not, trained, tested, saved under a name in the folder. */
static zn_result learn(zn_ctx *ctx, plan *p, const char *data, const char *start, const char *name, double *out_top1) {
    char model[64], page[64];
    zn_pack *pack = NULL;
    zn_net *net = NULL, *teacher = NULL;
    zn_train_result *history = NULL;
    zn_load_opts fitting;
    zn_load_report report;
    zn_result result = open_pack(ctx, data, &pack);
    memset(&fitting, 0, sizeof fitting);
    memset(&report, 0, sizeof report);
    fitting.transfer = 1;
    p->net.classes = zn_pack_classes(pack);
    p->recipe.keep_weights = start != NULL;
    if (result == ZN_OK) result = zn_net_create(ctx, &p->net, &net);
    if (result == ZN_OK && start != NULL) {
        result = zn_net_init(net, p->recipe.init, p->recipe.seed);
        if (result == ZN_OK) result = zn_net_load_tensors(net, start, &fitting, &report);
        if (result == ZN_OK) printf("%d tensors taken from %s, %d of another shape stay as drawn\n", report.loaded, start, report.misshaped);
    }
    if (result == ZN_OK && p->teacher != NULL) result = zn_net_load(ctx, p->teacher, &teacher);
    p->recipe.teacher = teacher;
    snprintf(model, sizeof model, "%s.safetensors", name);
    snprintf(page, sizeof page, "%s.html", name);
    watch_run(&p->recipe, &p->view, in_folder(p->folder, name));
    warn_untested(pack, data);
    if (result == ZN_OK) result = zn_train_run(net, pack, NULL, &p->recipe, &history);
    if (result == ZN_OK) result = finish_run(net, pack, history, in_folder(p->folder, model), in_folder(p->folder, page), p->argc, p->argv);
    if (result == ZN_OK) *out_top1 = history->best_epoch >= 0 ? history->best_top1 : -1;
    p->failed |= p->view.failed;
    zn_train_result_destroy(history);
    zn_net_destroy(teacher);
    zn_net_destroy(net);
    zn_pack_close(pack);
    return result;
}

int main(int argc, char **argv) {
    const char *words[2] = {NULL, NULL}, *folder = "transfer.run", *arch = "zennet-m", *teacher = NULL, *first, *second;
    long epochs = 0;
    double large = 0, moved = 0, alone = 0;
    int quick = 0, freeze = 0, count, status;
    tool_option options[] = {{"out", TOOL_TEXT, &folder, "DIR", "where the models go", 0, 0},
                             {"arch", TOOL_TEXT, &arch, "NAME", "zennet-m, zennet-r, a structure string, or a file with one", 0, 0},
                             {"epochs", TOOL_INT, &epochs, "N", "of each step; 0: the recipes' 400", 0, 100000},
                             {"freeze", TOOL_FLAG, &freeze, "", "the second step trains the last layer only", 0, 0},
                             {"teacher", TOOL_TEXT, &teacher, "FILE", "a network to learn from in the first step", 0, 0},
                             {"quick", TOOL_FLAG, &quick, "", "a small network on drawn faces instead", 0, 0}};
    plan p;
    zn_ctx *ctx = NULL;
    zn_result result;

    status = tool_parse(argc, argv, "LARGE SMALL", "Trains on a large set, then on a small one.", options, sizeof options / sizeof options[0], words, 2, &count);
    if (status != TOOL_GO) return status;
    if (count != (quick ? 0 : 2)) return tool_misused("wants LARGE and SMALL, folders or packs, or --quick", "");
    status = teacher_apart(teacher, in_folder(folder, "large.safetensors"));
    if (status == TOOL_GO) status = teacher_apart(teacher, in_folder(folder, "model.safetensors"));
    if (status != TOOL_GO) return status;
    if (!make_folder(folder) || !tool_can_write(in_folder(folder, "model.safetensors"))) return TOOL_FAILED;
    memset(&p, 0, sizeof p);
    p.folder = folder;
    p.argc = argc;
    p.argv = argv;
    p.net = zn_net_opts_default();
    p.net.structure = structure_of_option(arch);
    p.recipe = zn_train_opts_affectnet();
    if (quick) { /* eight classes in one layout, seven in another */
        words[0] = draw_toys(argv[0], in_folder(folder, "large"), "affectnet-names", "8", "1500", "300");
        words[1] = draw_toys(argv[0], in_folder(folder, "small"), "raf", "7", "200", "300");
        make_quick(&p.net, &p.recipe, zn_augment_opts_none(48));
        p.recipe.augment.flip = 0.5;
        p.recipe.batch = 20;
    }
    first = words[0] != NULL ? need_pack(argv[0], words[0], "auto", "0", in_folder(folder, "large.pack")) : NULL;
    second = words[1] != NULL ? need_pack(argv[0], words[1], "auto", "0", in_folder(folder, "small.pack")) : NULL;
    if (first == NULL || second == NULL) return TOOL_FAILED;

    use_epochs(&p.recipe, epochs);
    p.teacher = teacher;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return fail(NULL);
    result = learn(ctx, &p, first, NULL, "large", &large);
    p.teacher = NULL;
    p.recipe.balanced = 0;
    if (quick && result == ZN_OK) result = learn(ctx, &p, second, NULL, "scratch", &alone);
    p.recipe.lr *= 0.2; /* what was learned should not be shaken out at once */
    p.recipe.freeze_backbone = freeze;
    if (result == ZN_OK) result = learn(ctx, &p, second, in_folder(folder, "large.safetensors"), "model", &moved);
    if (result == ZN_OK) {
        print_share("on the large set", large);
        if (quick) print_share("from scratch", alone);
        print_share("transferred", moved);
    } else if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped; the same command goes on\n", tool_name);
    else fail(ctx);
    zn_ctx_destroy(ctx);
    return result == ZN_OK && !p.failed ? TOOL_DONE : TOOL_FAILED;
}
