/* train.c - trains a network on a packed data set, with checkpoints, a log and a model file at the end.

     build/examples/train --data PACK --arch STRUCTURE|NAME --resolution R --epochs N --batch B --lr L --out FILE [...]

   --recipe chooses a published recipe, the other options change it. A run can be stopped with Ctrl-C (or die) and go on
   with --resume, to the same result. Ends with: wrote FILE ... */
#include "examples/common.h"
#include "examples/structure_file.h"

typedef struct settings {
    zn_train_opts train;
    zn_net_opts net;
    const char *recipe, *data, *test, *arch, *attention, *out, *augment, *schedule, *milestones, *optimizer, *init, *pretrained, *teacher, *checkpoint_dir, *log, *report, *preview;
    long epochs, batch, micro_batch, resolution, eval_every, threads;
    double warmup, flip;
    int no_augment;
} settings;

static zn_train_opts recipe_opts(const char *name) {
    zn_train_opts o;
    if (strcmp(name, "rafdb") == 0) return zn_train_opts_rafdb();
    if (strncmp(name, "affectnet", 9) == 0) return zn_train_opts_affectnet();
    if (strcmp(name, "cifar") == 0) return zn_train_opts_cifar();
    o = zn_train_opts_default();
    o.schedule.warmup = 1;
    return o;
}
/* --recipe is looked for first, so that the other options' defaults (and --help) are the recipe's. */
static const char *find_recipe(int argc, char **argv) {
    const char *found = "plain"; /* the last counts, as of every option */
    int i;
    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; ++i) {
        if (strncmp(argv[i], "--recipe=", 9) == 0) found = argv[i] + 9;
        if (strcmp(argv[i], "--recipe") == 0 && i + 1 < argc) found = argv[i + 1];
    }
    return found;
}
static zn_augment_opts augment_opts(const char *name, int size) {
    if (strcmp(name, "rafdb") == 0) return zn_augment_opts_rafdb(size);
    if (strcmp(name, "affectnet") == 0) return zn_augment_opts_affectnet(size);
    if (strcmp(name, "cifar") == 0) return zn_augment_opts_cifar(size);
    if (strcmp(name, "imagenet") == 0) return zn_augment_opts_imagenet(size);
    if (strcmp(name, "simple") == 0) {
        zn_augment_opts o = zn_augment_opts_none(size);
        o.crop = ZN_CROP_PADDED;
        o.crop_padding = size / 16 + 1;
        o.flip = 0.5;
        return o;
    }
    return zn_augment_opts_none(size);
}

static int parse(int argc, char **argv, settings *s) {
    tool_option options[] = {
        {"data", TOOL_TEXT, &s->data, "PACK", "the packed images", 0, 0},
        {"test", TOOL_TEXT, &s->test, "PACK", "test on this pack's test images instead", 0, 0},
        {"arch", TOOL_TEXT, &s->arch, "NAME", "zennet-m, zennet-r, a structure string, or a file with one", 0, 0},
        {"attention", TOOL_TEXT, &s->attention, "none|se|sa", "in every residual super block", 0, 0},
        {"lw-att", TOOL_FLAG, &s->net.lw_att, "", "WIRW block before the head", 0, 0},
        {"resolution", TOOL_INT, &s->resolution, "R", "side of the input, pixels", 1, ZN_MAX_INPUT_SIZE},
        {"recipe", TOOL_TEXT, &s->recipe, "plain|rafdb|affectnet7|affectnet8|cifar", "what the other defaults are", 0, 0},
        {"epochs", TOOL_INT, &s->epochs, "N", "passes over the data", 1, 100000},
        {"batch", TOOL_INT, &s->batch, "B", "images of a step", 1, 100000},
        {"micro-batch", TOOL_INT, &s->micro_batch, "N", "images at once, their gradients summed up; 0: the batch", 0, 100000},
        {"lr", TOOL_REAL, &s->train.lr, "L", "learning rate after warm-up; 0: 0.1 * batch / 256", 0, 1e6},
        {"schedule", TOOL_TEXT, &s->schedule, "cosine|linear|step", "how it falls", 0, 0},
        {"warmup", TOOL_REAL, &s->warmup, "E", "epochs of rising learning rate; -1: the recipe's, at most a tenth of all", -1, 100000},
        {"milestones", TOOL_TEXT, &s->milestones, "N,N,...", "epochs after which schedule step multiplies by --decay", 0, 0},
        {"decay", TOOL_REAL, &s->train.schedule.decay, "F", "of schedule step", 0, 1},
        {"optimizer", TOOL_TEXT, &s->optimizer, "sgd|adam|rmsprop|adadelta", "the rule of a step", 0, 0},
        {"momentum", TOOL_REAL, &s->train.optimizer.momentum, "M", "of sgd and rmsprop", 0, 1},
        {"weight-decay", TOOL_REAL, &s->train.optimizer.weight_decay, "D", "of convolution and linear weights", 0, 1},
        {"clip", TOOL_REAL, &s->train.optimizer.clip, "C", "limits every gradient to -C..C; 0: off", 0, 1e30},
        {"bn-momentum", TOOL_REAL, &s->net.bn_momentum, "M", "of batch norm's running statistics", 0, 1},
        {"init", TOOL_TEXT, &s->init, "custom|msra|xavier|stupid|zero|01|pytorch", "start weights", 0, 0},
        {"seed", TOOL_SEED, &s->train.seed, "S", "of start weights, order, augmentation", 0, 0},
        {"augment", TOOL_TEXT, &s->augment, "none|simple|rafdb|affectnet|cifar|imagenet", "what happens to images; simple: shifted, flipped", 0, 0},
        {"no-augment", TOOL_FLAG, &s->no_augment, "", "the same as --augment none --mixup 0", 0, 0},
        {"flip", TOOL_REAL, &s->flip, "P", "probability of mirroring, where left and right do not matter; -1: the augmentation's", -1, 1},
        {"mixup", TOOL_REAL, &s->train.mixup, "A", "alpha of mixup; 0: off", 0, 100},
        {"label-smoothing", TOOL_REAL, &s->train.label_smoothing, "X", "share of a target spread over all classes", 0, 1},
        {"balanced", TOOL_FLAG, &s->train.balanced, "", "draw all classes equally often", 0, 0},
        {"ema", TOOL_REAL, &s->train.ema, "D", "decay of an average of weights that is evaluated and saved; 0: off", 0, 0.9999999},
        {"pretrained", TOOL_TEXT, &s->pretrained, "FILE", "start from its tensors, where names and shapes match", 0, 0},
        {"freeze", TOOL_FLAG, &s->train.freeze_backbone, "", "train only the last layer", 0, 0},
        {"teacher", TOOL_TEXT, &s->teacher, "FILE", "a network to learn from", 0, 0},
        {"teacher-logits", TOOL_REAL, &s->train.distill.logits, "W", "weight of its answers", 0, 1000},
        {"teacher-features", TOOL_REAL, &s->train.distill.features, "W", "weight of its feature maps", 0, 1000},
        {"out", TOOL_TEXT, &s->out, "FILE", "the trained network", 0, 0},
        {"keep-last", TOOL_FLAG, &s->train.keep_last, "", "save the last epoch's weights, not those of the best", 0, 0},
        {"eval-every", TOOL_INT, &s->eval_every, "N", "epochs from test to test", 1, 100000},
        {"checkpoint-dir", TOOL_TEXT, &s->checkpoint_dir, "DIR", "where the run's state is kept; \"\": nowhere; else OUT.run", 0, 0},
        {"checkpoint-seconds", TOOL_REAL, &s->train.checkpoint_seconds, "S", "how often within an epoch; 0: at its end only", 0, 1e9},
        {"resume", TOOL_FLAG, &s->train.resume, "", "go on where the run was stopped", 0, 0},
        {"log", TOOL_TEXT, &s->log, "FILE", "the history as csv, after every epoch", 0, 0},
        {"report", TOOL_TEXT, &s->report, "FILE", "the result as one HTML page; else DIR/report.html", 0, 0},
        {"preview", TOOL_TEXT, &s->preview, "FILE", "a PNG of what the network is fed", 0, 0},
        {"threads", TOOL_INT, &s->threads, "N", "0: as many as there are cores; changes no result", 0, 1024}};
    const char *words[1];
    int count;
    return tool_parse(argc, argv, "", "Trains a network on a packed data set.", options, sizeof options / sizeof options[0], words, 0, &count);
}
/* Defaults of the recipe, into the settings that options change. */
static void set_defaults(settings *s, const char *recipe) {
    memset(s, 0, sizeof *s);
    s->recipe = recipe;
    s->train = recipe_opts(recipe);
    s->net = zn_net_opts_default();
    s->arch = "zennet-m";
    s->attention = "sa";
    s->schedule = "cosine";
    s->optimizer = "sgd";
    s->init = "custom";
    s->augment = strncmp(recipe, "affectnet", 9) == 0 ? "affectnet" : strcmp(recipe, "rafdb") == 0 || strcmp(recipe, "cifar") == 0 ? recipe : "none";
    s->epochs = s->train.epochs;
    s->batch = s->train.batch;
    s->resolution = s->train.augment.input.size;
    s->eval_every = s->train.eval_every;
    s->warmup = s->flip = -1;
}
static int parse_milestones(settings *s) {
    const char *at = s->milestones;
    char *end;
    while (at != NULL && *at != '\0') {
        long value = strtol(at, &end, 10);
        if (end == at || (*end != ',' && *end != '\0') || value < 0 || value > 100000 || s->train.schedule.milestone_count == ZN_MAX_MILESTONES)
            return tool_bad_value("milestones", "up to 16 epochs with commas between them", s->milestones);
        s->train.schedule.milestones[s->train.schedule.milestone_count++] = (int)value;
        at = *end == ',' ? end + 1 : end;
    }
    return TOOL_GO;
}
/* What the texts mean. */
static int apply(settings *s) {
    zn_train_opts *o = &s->train;
    zn_optimizer_opts chosen = zn_optimizer_opts_default((zn_optimizer_kind)zn_optimizer_parse(s->optimizer));
    o->batch = (int)s->batch;
    o->micro_batch = (int)s->micro_batch;
    o->eval_every = (int)s->eval_every;
    o->augment = augment_opts(s->no_augment ? "none" : s->augment, (int)s->resolution);
    if (s->no_augment) o->mixup = 0;
    if (s->flip >= 0) o->augment.flip = s->flip;
    o->schedule.kind = (zn_schedule_kind)zn_schedule_parse(s->schedule);
    use_epochs(o, s->epochs);
    if (s->warmup >= 0) o->schedule.warmup = s->warmup;
    if (o->schedule.warmup >= o->epochs) {
        char given[32];
        snprintf(given, sizeof given, "%g", o->schedule.warmup);
        return tool_bad_value("warmup", "fewer than all epochs", given);
    }
    o->optimizer.kind = chosen.kind;
    o->optimizer.eps = chosen.eps;
    o->init = (zn_init)zn_init_parse(s->init);
    o->keep_weights = s->pretrained != NULL;
    s->net.attention = (zn_attention)zn_attention_parse(s->attention);
    return parse_milestones(s);
}

/* A sheet of pictures as the first batches of epoch 1 have them. */
static zn_result write_preview(const zn_ctx *ctx, const settings *s, const zn_pack *pack) {
    enum { COLUMNS = 8, ROWS = 8, GAP = 2 };
    int size = s->train.augment.input.size, width = COLUMNS * (size + GAP), x, y, i;
    zn_loader_opts o = zn_loader_opts_default();
    zn_loader *loader = NULL;
    unsigned char *sheet = (unsigned char *)calloc((size_t)width * (size_t)ROWS * (size_t)(size + GAP), 3), *one = (unsigned char *)malloc((size_t)size * (size_t)size * 3);
    char error[ZIM_ERROR_SIZE] = "out of memory";
    zn_result result;
    o.batch = 1;
    o.balanced = s->train.balanced;
    o.seed = s->train.seed;
    o.augment = s->train.augment;
    result = sheet != NULL && one != NULL ? zn_loader_create(pack, &o, &loader) : ZN_ERROR_MEMORY;
    for (i = 0; i < ROWS * COLUMNS && (size_t)i < zn_loader_batches(loader) && result == ZN_OK; ++i) {
        result = zn_loader_preview(loader, 0, (size_t)i, one, NULL);
        x = i % COLUMNS * (size + GAP);
        for (y = 0; y < size; ++y) memcpy(sheet + ((size_t)(i / COLUMNS * (size + GAP) + y) * (size_t)width + (size_t)x) * 3, one + (size_t)y * (size_t)size * 3, (size_t)size * 3);
    }
    if (result == ZN_OK && zim_save_png(s->preview, sheet, width, ROWS * (size + GAP), 3, error) != 0) result = ZN_ERROR_FILE;
    if (result != ZN_OK && zn_error_code(ctx) == ZN_OK) fprintf(stderr, "%s: %s: %s\n", tool_name, s->preview, error);
    zn_loader_destroy(loader);
    free(sheet);
    free(one);
    return result;
}

typedef struct job { /* everything a run holds */
    zn_ctx *ctx;
    zn_pack *data, *test;
    zn_net *net, *teacher;
    zn_train_result *result;
    zn_metrics *metrics;
    int began; /* the training */
} job;

static zn_result load_pretrained(job *j, const settings *s) {
    zn_load_opts transfer;
    zn_load_report report;
    zn_result result = zn_net_init(j->net, s->train.init, s->train.seed);
    memset(&transfer, 0, sizeof transfer);
    memset(&report, 0, sizeof report);
    transfer.transfer = 1;
    if (result == ZN_OK) result = zn_net_load_tensors(j->net, s->pretrained, &transfer, &report);
    if (result == ZN_OK)
        printf("pretrained %s: %d tensors taken, %d missing there, %d not for this network, %d of another shape\n", s->pretrained, report.loaded, report.missing,
               report.unexpected, report.misshaped);
    return result;
}
static zn_result open_all(job *j, settings *s) {
    zn_result result = open_pack(j->ctx, s->data, &j->data);
    if (result == ZN_OK && s->test != NULL) result = open_pack(j->ctx, s->test, &j->test);
    s->net.classes = zn_pack_classes(j->data);
    if (result == ZN_OK) result = zn_net_create(j->ctx, &s->net, &j->net);
    if (result == ZN_OK && s->pretrained != NULL) result = load_pretrained(j, s);
    if (result == ZN_OK && s->teacher != NULL) result = zn_net_load(j->ctx, s->teacher, &j->teacher);
    s->train.teacher = j->teacher;
    return result;
}
/* The run's own folder unless told otherwise; log.csv and report.html lie there too. */
static int name_files(settings *s) {
    static char folder[4096], log[4096], report[4096];
    const size_t size = sizeof folder;
    if (s->checkpoint_dir == NULL) {
        if ((size_t)snprintf(folder, size, "%s.run", s->out) >= size) return 0;
        s->checkpoint_dir = folder;
    }
    s->train.checkpoint_dir = *s->checkpoint_dir != '\0' ? s->checkpoint_dir : NULL;
    if (s->train.checkpoint_dir == NULL) return 1;
    if ((size_t)snprintf(log, size, "%s/log.csv", s->checkpoint_dir) >= size || (size_t)snprintf(report, size, "%s/report.html", s->checkpoint_dir) >= size) return 0;
    if (s->log == NULL) s->log = log;
    if (s->report == NULL) s->report = report;
    return 1;
}
/* Nothing that is read is written over. */
static int files_apart(const settings *s) {
    const tool_place places[] = {{"--data", s->data, 0}, {"--test", s->test, 0}, {"--arch", structure_word_is_file(s->arch) ? s->arch : NULL, 0},
                                 {"--pretrained", s->pretrained, 0}, {"--teacher", s->teacher, 0}, {"--out", s->out, 1},
                                 {"--log", s->log, 1}, {"--report", s->report, 1}, {"--preview", s->preview, 1}};
    return tool_apart(places, (int)(sizeof places / sizeof places[0]));
}
static void print_run(const job *j, const settings *s) {
    const zn_train_opts *o = &s->train;
    uint64_t hash = zn_pack_hash(j->data);
    zn_structure *structure = NULL;
    zn_count count;
    memset(&count, 0, sizeof count);
    if (zn_structure_parse(j->ctx, s->arch, &structure) == ZN_OK) zn_structure_count(structure, &s->net, (int)s->resolution, &count);
    zn_structure_destroy(structure);
    printf("data %s: %lu images to train on, %lu to test on, %d classes, hash %08lx%08lx\n", s->data, (unsigned long)zn_pack_count(j->data, ZN_SPLIT_TRAIN),
           (unsigned long)zn_pack_count(j->test != NULL ? j->test : j->data, ZN_SPLIT_TEST), s->net.classes, (unsigned long)(hash >> 32), (unsigned long)(hash & 0xffffffffu));
    printf("network: %.3f M parameters, %.1f M FLOPs at %ld x %ld, attention %s\n", count.params / 1e6, count.flops / 1e6, s->resolution, s->resolution, s->attention);
    printf("recipe %s: %d epochs, batch %d, %s, augmentation %s, mixup %g, label smoothing %g, classes %s, seed %lu\n", s->recipe, o->epochs, o->batch, s->optimizer,
           s->no_augment ? "none" : s->augment, o->mixup, o->label_smoothing, o->balanced ? "drawn equally often (balanced)" : "as they are (not balanced)",
           (unsigned long)o->seed);
    fflush(stdout);
}
/* Whether a run that was stopped waits in the folder and would be lost. */
static int would_lose_run(const settings *s) {
    const char *latest = s->train.checkpoint_dir != NULL && !s->train.resume ? in_folder(s->train.checkpoint_dir, "latest.safetensors") : NULL, *line;
    zn_train_result *past = NULL;
    zn_ctx *ctx = NULL;
    int epochs = 0, done = 0;
    if (latest == NULL || access(latest, F_OK) != 0) return 0;
    if (zn_ctx_create(NULL, &ctx) == ZN_OK && zn_train_history(ctx, latest, &past) == ZN_OK) {
        line = strstr(past->recipe, "\nepochs ");
        epochs = line != NULL ? atoi(line + 8) : 0;
        done = past->epochs;
    }
    zn_train_result_destroy(past);
    zn_ctx_destroy(ctx);
    if (done == 0 || done >= epochs) return 0;
    fprintf(stderr, "%s: %s holds a run stopped after epoch %d of %d: --resume goes on with it; to begin anew, remove it or choose another --out\n", tool_name, latest, done, epochs);
    return 1;
}
/* The run's folder is there, and everything can be written that is to be: before the work, not after it. */
static int can_write(const settings *s) {
    const char *files[3] = {s->out, s->log, s->report};
    int i, good = s->train.checkpoint_dir == NULL || make_folder(s->train.checkpoint_dir);
    for (i = 0; i < 3 && good; ++i) good = files[i] == NULL || *files[i] == '\0' || tool_can_write(files[i]);
    return good;
}
/* Trains, tests the network that is kept, saves it. */
static zn_result run(job *j, settings *s, int argc, char **argv) {
    zn_evaluate_opts test = zn_evaluate_opts_default();
    const zn_pack *tested = j->test != NULL ? j->test : j->data;
    zn_result result;
    if (would_lose_run(s) || !can_write(s)) return ZN_ERROR_FILE;
    j->began = 1;
    result = zn_train_run(j->net, j->data, j->test, &s->train, &j->result);
    if (result != ZN_OK) return result;
    result = zn_net_save(j->net, s->out);
    if (result == ZN_OK && zn_pack_count(tested, ZN_SPLIT_TEST) > 0) result = zn_evaluate(j->net, tested, &test, &j->metrics);
    if (result == ZN_OK && s->report != NULL && *s->report != '\0') result = write_report(j->net, j->result, j->metrics, tested, test.split, argc, argv, s->report);
    return result;
}

int main(int argc, char **argv) {
    settings s;
    train_view view;
    job j;
    zn_result result;
    int status;
    set_defaults(&s, find_recipe(argc, argv));
    status = parse(argc, argv, &s);
    if (status == TOOL_GO && (s.data == NULL || s.out == NULL)) status = tool_misused("--data and --out are needed", "");
    if (status == TOOL_GO) status = apply(&s);
    if (status == TOOL_GO && !name_files(&s)) status = tool_misused("the name of --out is too long", "");
    if (status == TOOL_GO) status = files_apart(&s);
    if (status != TOOL_GO) return status;
    s.arch = s.net.structure = structure_of_option(s.arch);
    use_threads(s.threads);
    signal(SIGINT, on_interrupt);

    memset(&view, 0, sizeof view);
    view.log_path = s.log != NULL && *s.log != '\0' ? s.log : NULL;
    s.train.on_batch = view_batch;
    s.train.on_epoch = view_epoch;
    s.train.user = &view;
    memset(&j, 0, sizeof j);
    if (zn_ctx_create(NULL, &j.ctx) != ZN_OK) return fail(NULL);
    result = open_all(&j, &s);
    if (result == ZN_OK) print_run(&j, &s);
    if (result == ZN_OK && s.preview != NULL) result = write_preview(j.ctx, &s, j.data);
    if (result == ZN_OK) result = run(&j, &s, argc, argv);
    if (result == ZN_OK) {
        if (j.metrics != NULL) {
            print_metrics(j.net, j.metrics);
            print_hint(j.net, j.metrics);
        }
        if (j.result->best_epoch >= 0)
            printf("best epoch %d: accuracy %.2f %%; last: %.2f %%; waited for data %.1f %% of the time\n", j.result->best_epoch + 1, 100 * j.result->best_top1,
                   100 * j.result->rows[j.result->epochs - 1].test_top1, 100 * j.result->waited / (j.result->seconds > 0 ? j.result->seconds : 1));
        if (s.report != NULL && *s.report != '\0') printf("report: %s\n", s.report);
        printf("wrote %s, weights of epoch %d\n", s.out, (s.train.keep_last || j.result->best_epoch < 0 ? j.result->epochs - 1 : j.result->best_epoch) + 1);
    } else if (result == ZN_STOPPED) fprintf(stderr, "%s: stopped; --resume goes on\n", tool_name);
    else if (zn_error_code(j.ctx) != ZN_OK) fail(j.ctx);
    if (result == ZN_ERROR_FILE && j.began && s.train.checkpoint_dir != NULL && access(in_folder(s.train.checkpoint_dir, "latest.safetensors"), F_OK) == 0)
        fprintf(stderr, "%s: %s has the run up to its last checkpoint: --resume goes on from there\n", tool_name, s.train.checkpoint_dir);
    zn_metrics_destroy(j.metrics);
    zn_train_result_destroy(j.result);
    zn_net_destroy(j.teacher);
    zn_net_destroy(j.net);
    zn_pack_close(j.test);
    zn_pack_close(j.data);
    zn_ctx_destroy(j.ctx);
    return result == ZN_OK && !view.failed ? TOOL_DONE : TOOL_FAILED;
}
