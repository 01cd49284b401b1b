/* infer.c - what a model sees in pictures: files, folders of them, or raw frames from another program.

     build/examples/infer --model FILE IMAGE... [--top-k 3] [--json]
     build/examples/infer --model FILE --gradcam OUT.png IMAGE
     ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | build/examples/infer --model FILE --raw 640x480 --json

   One line per picture: its name and the likeliest classes. Pictures that cannot be read are reported on stderr; the
   others go on, and the exit status is 1. */
#include "data_tools/tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "data_tools/zennet_image.h"

#include "data_tools/layout.h"

#define MAX_BATCH 256

typedef struct job {
    zn_ctx *ctx;
    zn_net *net;
    zn_session *session;
    int json, top_k, classes, orient, bad;
    int box[4]; /* x, y, width, height; width 0: the whole picture */
    long batch, threads;
} job;

static int say_bad(job *j, const char *name, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", tool_name, name, why);
    j->bad = 1;
    return 0;
}

/* ---- results ---- */
/* Index of the largest probability that is not in taken[0..count). */
static int next_best(const zn_real *prob, int classes, const int *taken, int count) {
    int c, i, best = -1;
    for (c = 0; c < classes; ++c) {
        for (i = 0; i < count && taken[i] != c; ++i) {}
        if (i == count && (best < 0 || prob[c] > prob[best])) best = c;
    }
    return best;
}
static void print_result(job *j, const char *name, long frame, const zn_real *prob) {
    static int taken[ZN_MAX_CLASSES];
    int i, top = j->top_k < j->classes ? j->top_k : j->classes;
    for (i = 0; i < top; ++i) taken[i] = next_best(prob, j->classes, taken, i);
    if (!isfinite((double)prob[taken[0]])) {
        say_bad(j, name != NULL ? name : "stdin", "the network's answer is not a number: its weights are damaged");
        return;
    }
    if (!j->json) {
        if (name != NULL) printf("%s:", name);
        else printf("%ld:", frame);
        for (i = 0; i < top; ++i) printf("%s %s %.1f %%", i > 0 ? "," : "", zn_net_class_name(j->net, taken[i]), 100 * (double)prob[taken[i]]);
        printf("\n");
        return;
    }
    if (name == NULL) printf("{\"frame\": %ld", frame);
    else {
        printf("{\"image\": ");
        tool_json_text(stdout, name);
    }
    printf(", \"class\": ");
    tool_json_text(stdout, zn_net_class_name(j->net, taken[0]));
    printf(", \"probability\": %.6g, \"top\": [", (double)prob[taken[0]]);
    for (i = 0; i < top; ++i) {
        printf("%s{\"class\": ", i > 0 ? ", " : "");
        tool_json_text(stdout, zn_net_class_name(j->net, taken[i]));
        printf(", \"index\": %d, \"probability\": %.6g}", taken[i], (double)prob[taken[i]]);
    }
    printf("]}\n");
}
static void softmax(zn_real *values, int count) {
    double top = (double)values[0], sum = 0;
    int i;
    for (i = 1; i < count; ++i)
        if ((double)values[i] > top) top = (double)values[i];
    for (i = 0; i < count; ++i) sum += exp((double)values[i] - top);
    for (i = 0; i < count; ++i) values[i] = (zn_real)(exp((double)values[i] - top) / sum);
}

/* ---- pictures ---- */
static int load_picture(const job *j, const char *path, zim_image *image, char why[ZIM_ERROR_SIZE]) {
    zim_opts o = zim_opts_default();
    o.orient = j->orient;
    memset(image, 0, sizeof *image);
    return zim_load(path, &o, image, why) == 0;
}
/* One picture as the network's input. Called from many threads. */
static int prepare(const job *j, const char *path, zn_real *x, char why[ZIM_ERROR_SIZE]) {
    const zn_input *in = zn_net_get_input(j->net);
    zim_image image;
    int w, h;
    size_t bytes;
    void *scratch;
    zn_result result = ZN_ERROR_MEMORY;
    if (!load_picture(j, path, &image, why)) return 0;
    w = j->box[2] > 0 ? j->box[2] : image.width;
    h = j->box[2] > 0 ? j->box[3] : image.height;
    bytes = zn_input_scratch_bytes(in, w, h);
    scratch = bytes < SIZE_MAX ? malloc(bytes) : NULL;
    if (scratch != NULL) result = zn_input_apply(in, image.pixels, image.width, image.height, j->box[0], j->box[1], w, h, scratch, x);
    if (result == ZN_ERROR_ARGUMENT) snprintf(why, ZIM_ERROR_SIZE, "the box is not inside of its %d x %d pixels", image.width, image.height);
    else if (result != ZN_OK) snprintf(why, ZIM_ERROR_SIZE, "%s", zn_result_text(result));
    free(scratch);
    zim_free(&image);
    return result == ZN_OK;
}
static int open_session(job *j, int batch, int picture_side) {
    zn_session_opts o = zn_session_opts_default();
    o.batch = batch;
    o.threads = (int)j->threads;
    o.picture_side = picture_side;
    return zn_session_create(j->net, &o, &j->session) == ZN_OK;
}
/* Batch after batch: decoded by all threads, classified, printed in order. */
static int infer_files(job *j, const lay_list *files) {
    int batch = files->count < (size_t)j->batch ? (int)files->count : (int)j->batch, i, size;
    size_t at, per;
    zn_real *x, *prob;
    char(*why)[ZIM_ERROR_SIZE] = (char(*)[ZIM_ERROR_SIZE])malloc(MAX_BATCH * sizeof *why);
    tool_progress progress;
    int quiet = TOOL_TERMINAL(stdout);
    if (!open_session(j, batch, 0)) {
        free(why);
        return 0;
    }
    size = zn_session_resolution(j->session);
    per = 3 * (size_t)size * (size_t)size;
    x = (zn_real *)malloc((size_t)batch * per * sizeof(zn_real));
    prob = (zn_real *)malloc((size_t)batch * (size_t)j->classes * sizeof(zn_real));
    tool_progress_begin(&progress, "classifying", "pictures", (double)files->count);
    for (at = 0; why != NULL && x != NULL && prob != NULL && at < files->count; at += (size_t)batch) {
        int count = files->count - at < (size_t)batch ? (int)(files->count - at) : batch, good = 0, ok[MAX_BATCH];
        TOOL_OMP(parallel for schedule(dynamic))
        for (i = 0; i < count; ++i) ok[i] = prepare(j, files->items[at + (size_t)i], x + (size_t)i * per, why[i]);
        for (i = 0; i < count; ++i) /* bad ones leave no gap */
            if (ok[i]) {
                if (good < i) memmove(x + (size_t)good * per, x + (size_t)i * per, per * sizeof(zn_real));
                ++good;
            }
        if (good > 0) zn_session_run(j->session, x, good, prob);
        if (!quiet) tool_progress_clear(&progress);
        for (i = 0, good = 0; i < count; ++i) {
            const char *name = files->items[at + (size_t)i];
            if (!ok[i]) say_bad(j, name, why[i]);
            else {
                zn_real *p = prob + (size_t)good++ * (size_t)j->classes;
                softmax(p, j->classes);
                print_result(j, name, 0, p);
            }
        }
        if (!quiet) tool_progress_step(&progress, (double)(at + (size_t)count), NULL);
    }
    if (!quiet) tool_progress_clear(&progress);
    if (why == NULL || x == NULL || prob == NULL) say_bad(j, "infer", "out of memory");
    free(why);
    free(x);
    free(prob);
    return 1;
}
/* Frames of width x height RGB pixels until stdin ends, each answered at once. */
static int infer_raw(job *j, int width, int height) {
    size_t bytes = (size_t)width * (size_t)height * 3, got;
    unsigned char *rgb = (unsigned char *)malloc(bytes);
    zn_real *prob = (zn_real *)malloc((size_t)j->classes * sizeof(zn_real));
    long frame = 0;
    int w = j->box[2] > 0 ? j->box[2] : width, h = j->box[2] > 0 ? j->box[3] : height, good;
    good = rgb != NULL && prob != NULL;
    if (!good) say_bad(j, "stdin", "out of memory");
    if (good && open_session(j, 1, width > height ? width : height)) {
        while ((got = fread(rgb, 1, bytes, stdin)) == bytes) {
            if (zn_session_classify_box(j->session, rgb, width, height, j->box[0], j->box[1], w, h, prob, NULL) != ZN_OK) {
                say_bad(j, "stdin", "the box is not inside of the frame");
                break;
            }
            print_result(j, NULL, frame++, prob);
            fflush(stdout);
        }
        if (ferror(stdin)) say_bad(j, "stdin", strerror(errno));
        else if (got > 0 && got < bytes) say_bad(j, "stdin", "ends within a frame");
        else if (frame == 0 && got == 0) say_bad(j, "stdin", "no frame");
    }
    free(rgb);
    free(prob);
    return j->session != NULL || !good;
}

/* ---- Grad-CAM: which parts of the picture spoke for the class ---- */
static double sample(const zn_real *map, int size, double row, double column) { /* bilinear */
    int r, c, r1, c1;
    row = row < 0 ? 0 : row > size - 1 ? size - 1 : row;
    column = column < 0 ? 0 : column > size - 1 ? size - 1 : column;
    r = (int)row;
    c = (int)column;
    r1 = r + 1 < size ? r + 1 : r;
    c1 = c + 1 < size ? c + 1 : c;
    row -= r;
    column -= c;
    return (1 - row) * ((1 - column) * (double)map[r * size + c] + column * (double)map[r * size + c1]) +
           row * ((1 - column) * (double)map[r1 * size + c] + column * (double)map[r1 * size + c1]);
}
/* Lays the map, blue to red, over the part of the picture that the network saw. */
static void overlay(const job *j, zim_image *image, const zn_real *map, int size, int w, int h) {
    const zn_input *in = zn_net_get_input(j->net);
    double shorter = w < h ? w : h, side = in->resize > 0 ? shorter * in->size / in->resize : 0, vw = side > 0 ? side : w, vh = side > 0 ? side : h;
    double left = j->box[0] + 0.5 * (w - vw), top = j->box[1] + 0.5 * (h - vh), most = 0;
    int i, r, c, k;
    for (i = 0; i < size * size; ++i)
        if ((double)map[i] > most) most = (double)map[i];
    for (r = 0; r < image->height; ++r)
        for (c = 0; c < image->width; ++c) {
            double v = (r + 0.5 - top) / vh, u = (c + 0.5 - left) / vw, heat, colour[3], share;
            unsigned char *pixel = image->pixels + 3 * ((size_t)r * (size_t)image->width + (size_t)c);
            if (most <= 0 || v < 0 || v >= 1 || u < 0 || u >= 1) continue;
            heat = sample(map, size, v * size - 0.5, u * size - 0.5) / most;
            colour[0] = 255 * (heat < 0.5 ? 0 : heat < 0.75 ? 4 * heat - 2 : 1);
            colour[1] = 255 * (heat < 0.25 ? 4 * heat : heat < 0.75 ? 1 : 4 - 4 * heat);
            colour[2] = 255 * (heat < 0.25 ? 1 : heat < 0.5 ? 2 - 4 * heat : 0);
            share = 0.15 + 0.45 * heat;
            for (k = 0; k < 3; ++k) pixel[k] = (unsigned char)((1 - share) * pixel[k] + share * colour[k] + 0.5);
        }
}
static int cam_apart(const char *model, const char *path, const char *out_path) {
    const tool_place places[] = {{"--model", model, 0}, {"the picture", path, 0}, {"--gradcam", out_path, 1}};
    return tool_apart(places, 3);
}
static int infer_cam(job *j, const char *path, const char *out_path) {
    zim_image image;
    char why[ZIM_ERROR_SIZE];
    zn_real *map = NULL, *prob = (zn_real *)malloc((size_t)j->classes * sizeof(zn_real));
    int best, size, w, h, ok = 1;
    if (!load_picture(j, path, &image, why)) {
        free(prob);
        say_bad(j, path, why);
        return 1;
    }
    w = j->box[2] > 0 ? j->box[2] : image.width;
    h = j->box[2] > 0 ? j->box[3] : image.height;
    if (open_session(j, 1, image.width > image.height ? image.width : image.height)) {
        size = zn_session_map_size(j->session);
        map = (zn_real *)malloc((size_t)(size * size) * sizeof(zn_real));
        if (prob == NULL || map == NULL) say_bad(j, path, "out of memory");
        else if (zn_session_classify_box(j->session, image.pixels, image.width, image.height, j->box[0], j->box[1], w, h, prob, &best) != ZN_OK)
            say_bad(j, path, "the box is not inside of the picture");
        else {
            print_result(j, path, 0, prob);
            zn_session_grad_cam(j->session, best, map);
            overlay(j, &image, map, size, w, h);
            if (zim_save_png(out_path, image.pixels, image.width, image.height, 3, why) != 0) say_bad(j, out_path, why);
        }
    } else ok = 0;
    free(map);
    free(prob);
    zim_free(&image);
    return ok;
}

/* ---- the command line ---- */
/* The folders that lead to a place, innermost first. */
typedef struct trail {
    struct stat info;
    int depth;
    const struct trail *up;
} trail;
static int trail_has(const trail *at, const struct stat *info) {
    for (; at != NULL; at = at->up)
        if (at->info.st_dev == info->st_dev && at->info.st_ino == info->st_ino) return 1;
    return 0;
}
/* A file, or all images below a folder in the order of their names, not following links that lead back up. */
static int collect(job *j, const char *path, lay_list *files, const trail *up) {
    struct stat info;
    trail here;
    lay_list names;
    size_t i;
    int ok = 1;
    if (stat(path, &info) != 0) {
        say_bad(j, path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(info.st_mode)) return lay_list_add(files, path) == 0;
    memset(&names, 0, sizeof names);
    here.info = info;
    here.depth = up != NULL ? up->depth + 1 : 0;
    here.up = up;
    if (here.depth > LAY_DEPTH || lay_read_folder(path, &names) != 0) say_bad(j, path, here.depth > LAY_DEPTH ? "folders are nested too deep" : strerror(errno));
    for (i = 0; ok && i < names.count; ++i) {
        char full[LAY_PATH];
        if (snprintf(full, sizeof full, "%s/%s", path, names.items[i]) >= (int)sizeof full) say_bad(j, path, "a path is too long");
        else if (stat(full, &info) == 0 && (S_ISDIR(info.st_mode) ? !trail_has(&here, &info) : S_ISREG(info.st_mode) && lay_is_image(full))) ok = collect(j, full, files, &here);
    }
    lay_list_free(&names);
    return ok;
}
/* The numbers of "a,b,c,d" or "axb"; 0 when there are not exactly count of them, each low..65535. */
static int read_numbers(const char *text, char between, int low, int count, int *out) {
    int i;
    for (i = 0; i < count; ++i) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || value < low || value > ZN_MAX_IMAGE_SIDE || *end != (i + 1 < count ? between : '\0')) return 0;
        out[i] = (int)value;
        text = end + 1;
    }
    return 1;
}

int main(int argc, char **argv) {
    const char *model = NULL, *box = NULL, *raw = NULL, *cam = NULL, *arch = NULL, *attention = "sa", **words = (const char **)calloc((size_t)argc, sizeof *words);
    long top_k = 3, classes = 0;
    int lw_att = 0, count = 0, status, i, good = 1, frame[2] = {0, 0};
    lay_list files;
    zn_net_opts net_opts = zn_net_opts_default();
    job j;
    tool_option options[] = {{"model", TOOL_TEXT, &model, "FILE", "the network", 0, 0},
                             {"json", TOOL_FLAG, &j.json, "", "a JSON object per picture and line", 0, 0},
                             {"top-k", TOOL_INT, &top_k, "K", "classes to print, likeliest first", 1, ZN_MAX_CLASSES},
                             {"box", TOOL_TEXT, &box, "X,Y,W,H", "the face in every picture, pixels", 0, 0},
                             {"orient", TOOL_FLAG, &j.orient, "", "turn pictures upright as their EXIF says, boxes being on what comes of it", 0, 0},
                             {"batch", TOOL_INT, &j.batch, "N", "pictures at once", 1, MAX_BATCH},
                             {"threads", TOOL_INT, &j.threads, "N", "0: as many as there are cores", 0, 1024},
                             {"raw", TOOL_TEXT, &raw, "WxH", "frames of RGB bytes from stdin", 0, 0},
                             {"gradcam", TOOL_TEXT, &cam, "OUT.png", "where the class was seen in the one picture given", 0, 0},
                             {"arch", TOOL_TEXT, &arch, "NAME", "for checkpoints without description: structure or name", 0, 0},
                             {"attention", TOOL_TEXT, &attention, "none|se|sa", "with --arch", 0, 0},
                             {"lw-att", TOOL_FLAG, &lw_att, "", "with --arch: WIRW head", 0, 0},
                             {"classes", TOOL_INT, &classes, "N", "with --arch; 0: as the file says", 0, ZN_MAX_CLASSES}};
    memset(&j, 0, sizeof j);
    memset(&files, 0, sizeof files);
    j.batch = 16;
    if (words == NULL) return TOOL_FAILED;
    status = tool_parse(argc, argv, "IMAGE...", "Says which class pictures show.", options, sizeof options / sizeof options[0], words, argc, &count);
    if (status == TOOL_GO && model == NULL) status = tool_misused("--model is needed", "");
    if (status == TOOL_GO && (raw != NULL) + (count > 0) != 1) status = tool_misused("pictures, or --raw and frames on stdin", "");
    if (status == TOOL_GO && box != NULL && (!read_numbers(box, ',', 0, 4, j.box) || j.box[2] < 1 || j.box[3] < 1)) status = tool_bad_value("box", "X,Y,WIDTH,HEIGHT", box);
    if (status == TOOL_GO && raw != NULL && !read_numbers(raw, 'x', 1, 2, frame)) status = tool_bad_value("raw", "WIDTHxHEIGHT", raw);
    if (status == TOOL_GO && cam != NULL && count != 1) status = tool_misused("--gradcam is for one picture", "");
    if (status != TOOL_GO) {
        free(words);
        return status;
    }
    net_opts.structure = arch;
    net_opts.attention = (zn_attention)zn_attention_parse(attention);
    net_opts.lw_att = lw_att;
    net_opts.classes = (int)classes;
    j.top_k = (int)top_k;
    if (zn_ctx_create(NULL, &j.ctx) == ZN_OK && (arch != NULL ? zn_net_load_checkpoint(j.ctx, model, &net_opts, &j.net) : zn_net_load(j.ctx, model, &j.net)) == ZN_OK) {
        j.classes = zn_net_get_opts(j.net)->classes;
        for (i = 0; i < count && good; ++i) good = collect(&j, words[i], &files, NULL);
        if (!good) say_bad(&j, "infer", "out of memory");
        else if (raw != NULL) good = infer_raw(&j, frame[0], frame[1]);
        else if (cam != NULL && files.count > 1) say_bad(&j, words[0], "--gradcam is for one picture, and several are in it");
        else if (cam != NULL && files.count == 1) {
            status = cam_apart(model, files.items[0], cam);
            if (status == TOOL_GO) good = infer_cam(&j, files.items[0], cam);
        }
        else if (files.count > 0) good = infer_files(&j, &files);
        else if (!j.bad) say_bad(&j, words[0], "no picture in it");
    }
    if (zn_error_code(j.ctx) != ZN_OK) {
        fprintf(stderr, "%s: %s\n", tool_name, zn_error_text(j.ctx));
        j.bad = 1;
    }
    lay_list_free(&files);
    zn_session_destroy(j.session);
    zn_net_destroy(j.net);
    zn_ctx_destroy(j.ctx);
    free(words);
    return status != TOOL_GO ? status : j.bad ? TOOL_FAILED : TOOL_DONE;
}
