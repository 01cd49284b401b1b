/* train_affectnet.c - the whole way from AffectNet, in whichever layout it came, to a trained, tested, saved network.

     build/examples/train_affectnet path/to/AffectNet --classes 8 --out affectnet.run
     build/examples/train_affectnet --quick --out quick.run            the same on 1,500 drawn faces: a minute

   What differs from RAF-DB: pictures stay JPEG in the pack (280,000 of them; memory holds what is used), classes are
   drawn equally often because Contempt is rare, and evaluation crops the centre. Stop it with Ctrl-C, start it again: it
   goes on. Ends with: best epoch ... */
#include "examples/common.h"
#include "examples/structure_file.h"

int main(int argc, char **argv) {
    const char *source = NULL, *folder = "affectnet.run", *arch = "zennet-m", *classes = "8", *teacher_path = NULL, *data;
    long epochs = 0;
    int quick = 0, count, status;
    tool_option options[] = {{"out", TOOL_TEXT, &folder, "DIR", "where pack, checkpoints, model, log and report go", 0, 0},
                             {"classes", TOOL_TEXT, &classes, "7|8", "8 has Contempt", 0, 0},
                             {"arch", TOOL_TEXT, &arch, "NAME", "zennet-m, zennet-r, a structure string, or a file with one", 0, 0},
                             {"epochs", TOOL_INT, &epochs, "N", "0: the recipe's 400", 0, 100000},
                             {"teacher", TOOL_TEXT, &teacher_path, "FILE", "a larger network of the same classes to learn from", 0, 0},
                             {"quick", TOOL_FLAG, &quick, "", "a small network on drawn faces instead", 0, 0}};
    zn_train_opts recipe = zn_train_opts_affectnet();
    zn_net_opts structure = zn_net_opts_default();
    train_view view;
    zn_ctx *ctx = NULL;
    zn_pack *pack = NULL;
    zn_net *net = NULL, *teacher = NULL;
    zn_train_result *history = NULL;
    zn_result result;

    status = tool_parse(argc, argv, "SRC", "AffectNet from folder to report.", options, sizeof options / sizeof options[0], &source, 1, &count);
    if (status != TOOL_GO) return status;
    if ((count == 1) == quick) return tool_misused("wants either SRC, AffectNet's folder or a pack, or --quick", "");
    status = teacher_apart(teacher_path, in_folder(folder, "model.safetensors"));
    if (status != TOOL_GO) return status;
    if (!make_folder(folder)) return TOOL_FAILED;

    /* What is trained, and how. */
    structure.structure = structure_of_option(arch);
    if (quick) {
        source = draw_toys(argv[0], in_folder(folder, "faces"), "affectnet", classes, "1500", "300");
        make_quick(&structure, &recipe, zn_augment_opts_affectnet(48));
    }
    use_epochs(&recipe, epochs);
    watch_run(&recipe, &view, folder);

    /* Data, network, training. */
    data = source != NULL ? need_pack(argv[0], source, "auto", classes, in_folder(folder, "data.pack")) : NULL;
    if (data == NULL) return TOOL_FAILED;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return fail(NULL);
    result = open_pack(ctx, data, &pack);
    structure.classes = zn_pack_classes(pack);
    if (result == ZN_OK) result = zn_net_create(ctx, &structure, &net);
    if (result == ZN_OK && teacher_path != NULL) result = zn_net_load(ctx, teacher_path, &teacher);
    recipe.teacher = teacher;
    warn_untested(pack, data);
    if (result == ZN_OK) result = zn_train_run(net, pack, NULL, &recipe, &history);

    if (result == ZN_OK) result = finish_run(net, pack, history, in_folder(folder, "model.safetensors"), in_folder(folder, "report.html"), argc, argv);
    else if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped; the same command goes on\n", tool_name);
    if (result != ZN_OK && result != ZN_STOPPED) fail(ctx);

    zn_train_result_destroy(history);
    zn_net_destroy(teacher);
    zn_net_destroy(net);
    zn_pack_close(pack);
    zn_ctx_destroy(ctx);
    return result == ZN_OK && !view.failed ? TOOL_DONE : TOOL_FAILED;
}
