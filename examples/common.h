/* common.h - what the training examples share: a progress line, a log file, results as text and JSON. Include it first;
   it brings the option parser, file, Ctrl-C and progress helpers of data_tools/tool.h, zennet.h and the image decoders. */
#ifndef ZENNET_EXAMPLES_COMMON_H
#define ZENNET_EXAMPLES_COMMON_H

#include "data_tools/tool.h"
#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "data_tools/zennet_image.h"

#include "data_tools/pack_decode.h"

/* Says what went wrong, with the program's name before it once, and gives the exit status for it. */
TOOL_API int fail(const zn_ctx *ctx) {
    const char *text = zn_error_text(ctx);
    size_t length = strlen(tool_name);
    int named = strncmp(text, tool_name, length) == 0 && strncmp(text + length, ": ", 2) == 0;
    fprintf(stderr, "%s: %s\n", tool_name, named ? text + length + 2 : text);
    return TOOL_FAILED;
}
TOOL_API zn_result open_pack(zn_ctx *ctx, const char *path, zn_pack **out_pack) {
    struct stat info;
    zn_result result = zn_pack_open(ctx, path, out_pack);
    if (result != ZN_OK && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        fprintf(stderr, "%s: %s is a folder: build/data_tools/pack makes one file of it, which is wanted here\n", tool_name, path);
    zn_pack_set_decoder(*out_pack, pack_decode, NULL);
    return result;
}
/* --threads N, before anything runs; results do not depend on it. */
TOOL_API void use_threads(long threads) {
#ifdef _OPENMP
    if (threads > 0) omp_set_num_threads((int)threads);
#else
    (void)threads;
#endif
}

/* ---- data ---- */
/* Runs a program of data_tools beside this one; args end with NULL. Its exit status. */
TOOL_API int run_data_tool(const char *argv0, const char *program, const char *const *args) {
    char path[4096];
    const char *slash = strrchr(argv0, '/'), *words[32];
    int status, count = 0;
    pid_t child;
    if (slash == NULL) snprintf(path, sizeof path, "build/data_tools/%s", program);
    else snprintf(path, sizeof path, "%.*s/../data_tools/%s", (int)(slash - argv0), argv0, program);
    words[count++] = path;
    while (count < 31 && *args != NULL) words[count++] = *args++;
    words[count] = NULL;
    child = fork();
    if (child == 0) {
        union { const char **in; char *const *out; } list;
        list.in = words;
        execv(path, list.out);
        fprintf(stderr, "%s: cannot run %s: %s\n", tool_name, path, strerror(errno));
        _exit(TOOL_FAILED);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return TOOL_FAILED;
    return WEXITSTATUS(status);
}
/* What a pack was made of, in a line beside it: the number of classes that was asked for, and the source. Whether it is that now. */
static int packed_from(const char *note, const char *source, const char *classes) {
    char line[4200] = "", *was;
    struct stat a, b;
    FILE *file = fopen(note, "rb");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) line[0] = '\0';
    if (file != NULL) fclose(file);
    line[strcspn(line, "\n")] = '\0';
    was = strchr(line, ' ');
    if (was == NULL) return 0;
    *was++ = '\0';
    return strcmp(line, classes) == 0 && (strcmp(was, source) == 0 || (stat(was, &a) == 0 && stat(source, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino));
}
/* A pack is taken as it is; anything else is packed to `out` first, unless that is there and was made of the same, with the
   layout and the number of classes that are wanted. What to open, or NULL. */
TOOL_API const char *need_pack(const char *argv0, const char *source, const char *layout, const char *classes, const char *out) {
    char magic[8] = {0}, note[4096];
    const char *args[] = {"--layout", layout, "--classes", classes, "--skip-bad", "--", source, out, NULL};
    FILE *file = fopen(source, "rb");
    size_t size = file != NULL ? fread(magic, 1, 8, file) : 0;
    tool_file f;
    if (file != NULL) fclose(file);
    if (size == 8 && memcmp(magic, "ZENPACK1", 8) == 0) return source;
    snprintf(note, sizeof note, "%.4000s.source", out);
    if (access(out, F_OK) == 0) {
        if (packed_from(note, source, classes)) {
            printf("%s is there: packed before\n", out);
            return out;
        }
        fprintf(stderr, "%s: %s is there, but not made of %s with the same classes: give another --out, remove that pack, or give it instead of %s\n", tool_name, out, source, source);
        return NULL;
    }
    file = tool_file_begin(&f, note);
    if (file != NULL) fprintf(file, "%s %s\n", classes, source);
    if (file == NULL || !tool_file_end(&f)) {
        tool_cannot_write(note);
        return NULL;
    }
    if (run_data_tool(argv0, "pack", args) == 0) return out;
    fprintf(stderr, "%s: where pack has to be told more, use it by hand, \"build/data_tools/pack %s OUT ...\", and give OUT instead of %s\n", tool_name, source, source);
    return NULL;
}
/* Removes a folder and all that is in it, but nothing that links lead to. */
static void remove_folder(const char *path) {
    char inside[4096];
    struct stat info;
    struct dirent *entry;
    DIR *folder = lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    if (folder == NULL) return;
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && (size_t)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) < sizeof inside &&
            remove(inside) != 0)
            remove_folder(inside);
    closedir(folder);
    remove(path);
}
/* Faces to try everything on, in any of toy_faces' layouts; not drawn twice. The folder gets its name when they are all there;
   what a killed run left of them is drawn anew. */
TOOL_API const char *draw_toys(const char *argv0, const char *out, const char *layout, const char *classes, const char *train, const char *test) {
    char part[4096];
    const char *args[] = {"--layout", layout, "--classes", classes, "--train", train, "--test", test, "--", part, NULL};
    snprintf(part, sizeof part, "%.4000s.part", out);
    if (access(out, F_OK) == 0) return out;
    remove_folder(part);
    return run_data_tool(argv0, "toy_faces", args) == 0 && rename(part, out) == 0 ? out : NULL;
}
/* FOLDER/NAME in one of a few buffers that live as long as the program. */
TOOL_API const char *in_folder(const char *folder, const char *name) {
    static char paths[32][4096];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}
TOOL_API int make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return 1;
    fprintf(stderr, "%s: cannot make %s: %s\n", tool_name, path, strerror(errno));
    return 0;
}

/* A shorter training than the recipe's warms up for a tenth of it at most. 0 epochs: as the recipe says. */
TOOL_API void use_epochs(zn_train_opts *recipe, long epochs) {
    if (epochs > 0) recipe->epochs = (int)epochs;
    if (recipe->schedule.warmup > 0.1 * recipe->epochs) recipe->schedule.warmup = 0.1 * recipe->epochs;
}

/* ---- progress of training ---- */
typedef struct train_view {
    const char *log_path; /* csv, or NULL */
    double shown;
    int width, failed; /* the log could not be written */
} train_view;

TOOL_API void duration_text(double seconds, char text[32]) {
    if (seconds < 0) strcpy(text, "?");
    else if (seconds < 100) sprintf(text, "%.0f s", seconds);
    else if (seconds < 6000) sprintf(text, "%.0f min", seconds / 60);
    else if (seconds < 360000) sprintf(text, "%.1f h", seconds / 3600);
    else snprintf(text, 32, "%.1f days", seconds / 86400);
}
/* In place on a terminal, a plain line now and then (and at an epoch's end) otherwise. */
static void view_line(train_view *v, const char *line, int always) {
    double now = tool_seconds();
    int terminal = TOOL_TERMINAL(stderr), width = (int)strlen(line);
    if (!always && now - v->shown < (terminal ? 0.2 : 15)) return;
    v->shown = now;
    if (terminal) fprintf(stderr, "\r%s%*s%s", line, v->width > width ? v->width - width : 0, "", always ? "\n" : "");
    else fprintf(stderr, "%s\n", line);
    v->width = always ? 0 : width;
    fflush(stderr);
}
TOOL_API int view_batch(const zn_train_state *s, void *user) {
    char line[256], left[32];
    duration_text(s->seconds_left, left);
    if (s->evaluating) snprintf(line, sizeof line, "epoch %d/%d, testing %lu/%lu", s->epoch + 1, s->epochs, (unsigned long)s->batch, (unsigned long)s->batches);
    else
        snprintf(line, sizeof line, "epoch %d/%d, batch %lu/%lu, loss %.4f, accuracy %.1f %%, lr %.3g, %.0f images/s, %s left", s->epoch + 1, s->epochs,
                 (unsigned long)s->batch, (unsigned long)s->batches, s->mean_loss, 100 * s->top1, s->lr, s->images_per_second, left);
    view_line((train_view *)user, line, 0);
    return stop_asked;
}
TOOL_API int write_log(const char *path, const zn_train_row *rows, int count) {
    tool_file f;
    FILE *file = tool_file_begin(&f, path);
    int i;
    if (file == NULL) return 0;
    fprintf(file, "epoch,lr,loss,top1,test_loss,test_top1,test_top5,test_mean_class,seconds,waited\n");
    for (i = 0; i < count; ++i) {
        const zn_train_row *r = &rows[i];
        fprintf(file, "%d,%.6g,%.6g,%.6g,", r->epoch + 1, r->lr, r->loss, r->top1);
        if (r->test_top1 >= 0) fprintf(file, "%.6g,%.6g,%.6g,%.6g,", r->test_loss, r->test_top1, r->test_top5, r->test_mean_class);
        else fprintf(file, ",,,,");
        fprintf(file, "%.3f,%.4f\n", r->seconds, r->waited);
    }
    return tool_file_end(&f);
}
TOOL_API int view_epoch(const zn_train_state *s, void *user) {
    train_view *v = (train_view *)user;
    const zn_train_row *r = &s->rows[s->epoch];
    char line[320], left[32], tested[96] = "";
    int failed;
    duration_text(s->seconds_left, left);
    if (r->test_top1 >= 0)
        snprintf(tested, sizeof tested, ", test loss %.4f, accuracy %.2f %%%s", r->test_loss, 100 * r->test_top1, s->best ? " (best)" : "");
    snprintf(line, sizeof line, "epoch %d/%d, loss %.4f, accuracy %.2f %%%s, lr %.3g, %.0f images/s, %s left", s->epoch + 1, s->epochs, r->loss, 100 * r->top1,
             tested, r->lr, s->images_per_second, left);
    view_line(v, line, 1);
    failed = v->log_path != NULL && !write_log(v->log_path, s->rows, s->epoch + 1);
    if (failed && !v->failed) tool_cannot_write(v->log_path); /* which need not end the training */
    v->failed = failed;
    return stop_asked;
}

/* ---- the report ---- */
/* Processor, threads, compiler: what speeds depend on. */
TOOL_API void machine_text(char *text, size_t size) {
    char line[256], *name = NULL;
    FILE *file = fopen("/proc/cpuinfo", "r");
    int threads = 1;
#ifdef _OPENMP
    threads = omp_get_max_threads();
#endif
    while (file != NULL && name == NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) name = strchr(line, ':') + 1;
    if (file != NULL) fclose(file);
    if (name != NULL) name[strcspn(name, "\n")] = '\0';
#ifdef __VERSION__
    snprintf(text, size, "%s, %d threads, compiler %s", name != NULL ? name + 1 : "unknown processor", threads, __VERSION__);
#else
    snprintf(text, size, "%s, %d threads", name != NULL ? name + 1 : "unknown processor", threads);
#endif
}
/* The command line as a shell would take it. */
TOOL_API void command_text(int argc, char **argv, char *text, size_t size) {
    size_t used = 0;
    int i;
    text[0] = '\0';
    for (i = 0; i < argc && used < size; ++i) {
        const char *at = argv[i];
        int plain = *at != '\0' && strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,:+") == strlen(at);
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? " " : "", plain ? "" : "'");
        for (; *at != '\0' && used < size; ++at) used += (size_t)snprintf(text + used, size - used, "%s%c", *at == '\'' ? "'\\'" : "", *at);
        if (!plain && used < size) used += (size_t)snprintf(text + used, size - used, "'");
    }
}
TOOL_API zn_result write_report(const zn_net *net, const zn_train_result *result, const zn_metrics *metrics, const zn_pack *pack, zn_split split, int argc, char **argv,
                                const char *path) {
    static char command[4096], machine[512];
    zn_report_opts o = zn_report_opts_default();
    command_text(argc, argv, command, sizeof command);
    machine_text(machine, sizeof machine);
    o.result = result;
    o.metrics = metrics;
    o.pack = pack;
    o.split = split;
    o.command = command;
    o.machine = machine;
    return zn_report_write(net, &o, path);
}

/* ---- results ---- */
/* The hint that wrong labels deserve: chance would do better, or other names for what the network says would do so much better
   that it knows the pictures well. */
TOOL_API void print_hint(const zn_net *net, const zn_metrics *m) {
    static int map[512];
    double chance = zn_metrics_chance(m), share;
    int k;
    if (m->classes > 512) return;
    if (chance < 1.0 / m->classes) chance = 1.0 / m->classes;
    share = zn_metrics_permutation(m, map);
    if (m->top1 >= chance && share < m->top1 + 0.25) return;
    fprintf(stderr, "%s: an accuracy of %.2f %%, where chance has %.2f %%: are the labels those that the network learned?\n", tool_name, 100 * m->top1, 100 * chance);
    fprintf(stderr, "With its classes renamed as follows it would be %.2f %%:\n", 100 * share);
    for (k = 0; k < m->classes; ++k)
        if (map[k] != k) fprintf(stderr, "  what it calls \"%s\" is \"%s\"\n", zn_net_class_name(net, k), zn_net_class_name(net, map[k]));
}
/* A text cut or filled up with blanks to `width` characters. */
static void print_cell(const char *text, int width, int right) {
    int blanks = width - tool_text_width(text), bytes = 0, left = width;
    while (text[bytes] != '\0' && (left > 0 || ((unsigned char)text[bytes] & 0xc0) == 0x80)) left -= ((unsigned char)text[++bytes] & 0xc0) != 0x80;
    printf("%*s%.*s%*s", right && blanks > 0 ? blanks : 0, "", bytes, text, !right && blanks > 0 ? blanks : 0, "");
}
/* Rows are truths, columns what the network said. */
TOOL_API void print_confusion(const zn_net *net, const zn_metrics *m) {
    int i, k, name = 8;
    for (i = 0; i < m->classes; ++i)
        if (tool_text_width(zn_net_class_name(net, i)) > name) name = tool_text_width(zn_net_class_name(net, i));
    if (name > 24) name = 24;
    if (m->classes > 32) return;
    printf("%*s  recall", name, "");
    for (i = 0; i < m->classes; ++i) {
        printf(" ");
        print_cell(zn_net_class_name(net, i), 6, 1);
    }
    printf("\n");
    for (i = 0; i < m->classes; ++i) {
        print_cell(zn_net_class_name(net, i), name, 0);
        printf(" %5.1f %%", 100 * m->recall[i]);
        for (k = 0; k < m->classes; ++k) printf(" %6lu", (unsigned long)m->confusion[i * m->classes + k]);
        printf("\n");
    }
}
TOOL_API void print_metrics(const zn_net *net, const zn_metrics *m) {
    print_confusion(net, m);
    printf("%lu images: top-1 %.2f %%, top-5 %.2f %%, mean class accuracy %.2f %%, loss %.4f\n", (unsigned long)m->images, 100 * m->top1, 100 * m->top5,
           100 * m->mean_class, m->loss);
}
TOOL_API void print_json(const zn_net *net, const zn_metrics *m) {
    int i, k;
    printf("{\"images\": %lu, \"top1\": %.17g, \"top5\": %.17g, \"mean_class\": %.17g, \"loss\": ", (unsigned long)m->images, m->top1, m->top5, m->mean_class);
    if (isfinite(m->loss)) printf("%.17g, \"classes\": [", m->loss);
    else printf("null, \"classes\": ["); /* JSON knows no infinity */
    for (i = 0; i < m->classes; ++i) {
        if (i > 0) printf(", ");
        tool_json_text(stdout, zn_net_class_name(net, i));
    }
    printf("], \"recall\": [");
    for (i = 0; i < m->classes; ++i) printf("%s%.17g", i > 0 ? ", " : "", m->recall[i]);
    printf("], \"confusion\": [");
    for (i = 0; i < m->classes; ++i) {
        printf("%s[", i > 0 ? ", " : "");
        for (k = 0; k < m->classes; ++k) printf("%s%lu", k > 0 ? ", " : "", (unsigned long)m->confusion[(size_t)i * (size_t)m->classes + (size_t)k]);
        printf("]");
    }
    printf("]}\n");
}

/* ---- what the pipelines share ---- */
/* A small network and few epochs for 48 x 48 faces: a minute. */
TOOL_API void make_quick(zn_net_opts *net, zn_train_opts *recipe, zn_augment_opts augment) {
    net->structure = "SuperConvK3BNRELU(3,16,2,1)SuperResK3K3(16,24,2,24,1)SuperResK3K3(24,48,2,48,1)SuperResK3K3(48,64,2,64,1)SuperConvK1BNRELU(64,128,1,1)";
    net->bn_momentum = 0.1; /* few steps: running statistics must follow sooner */
    recipe->augment = augment;
    recipe->augment.policy = ZN_POLICY_NONE; /* the whole recipe needs its hundreds of epochs */
    recipe->mixup = 0;
    recipe->epochs = 16;
    recipe->batch = 32;
    recipe->lr = 0.3;
    recipe->init = ZN_INIT_MSRA;
    recipe->schedule.warmup = 1;
}
/* The teacher is not what the run writes over at its end. */
TOOL_API int teacher_apart(const char *teacher, const char *model) {
    const tool_place places[] = {{"--teacher", teacher, 0}, {"the model that --out gets", model, 1}};
    return tool_apart(places, 2);
}
/* Progress, log, and checkpoints in the folder, from which the same command goes on. */
TOOL_API void watch_run(zn_train_opts *recipe, train_view *view, const char *folder) {
    memset(view, 0, sizeof *view);
    view->log_path = in_folder(folder, "log.csv");
    recipe->checkpoint_dir = folder;
    recipe->resume = 1;
    recipe->on_batch = view_batch;
    recipe->on_epoch = view_epoch;
    recipe->user = view;
    signal(SIGINT, on_interrupt);
}
/* Said before the days of work: without a test split the last epoch's weights are kept, and nobody knows how good they are. */
TOOL_API void warn_untested(const zn_pack *pack, const char *path) {
    if (pack != NULL && zn_pack_count(pack, ZN_SPLIT_TEST) == 0)
        fprintf(stderr, "%s: %s has no images to test on: the last epoch's weights will be kept, untested (pack --every 5 tests on every fifth)\n", tool_name, path);
}
/* The network, which has the weights of its best epoch, is saved and tested; a report tells the story. */
TOOL_API zn_result finish_run(zn_net *net, const zn_pack *pack, const zn_train_result *history, const char *model, const char *report, int argc, char **argv) {
    zn_metrics *metrics = NULL;
    zn_result result = zn_net_save(net, model);
    if (result == ZN_OK && zn_pack_count(pack, ZN_SPLIT_TEST) > 0) result = zn_evaluate(net, pack, NULL, &metrics);
    if (result == ZN_OK) result = write_report(net, history, metrics, pack, ZN_SPLIT_TEST, argc, argv, report);
    if (result == ZN_OK && metrics != NULL) {
        print_metrics(net, metrics);
        print_hint(net, metrics);
    }
    if (result == ZN_OK) printf("%s and %s\n", model, report);
    if (result == ZN_OK && metrics != NULL) printf("best epoch %d: accuracy %.2f %%\n", history->best_epoch + 1, 100 * history->best_top1);
    zn_metrics_destroy(metrics);
    return result;
}

#endif
