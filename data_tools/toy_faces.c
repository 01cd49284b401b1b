/* toy_faces.c - draws labelled faces in any layout that RAF-DB and AffectNet are found in, so that everything which
   reads those data sets can be tried without them.

     build/data_tools/toy_faces OUT                      3000 + 750 faces, official RAF-DB layout
     build/data_tools/toy_faces OUT --layout affectnet --classes 8 --train 200 --test 50

   Classes are as unequal as in RAF-DB. The same options give the same bytes. ends with: wrote N train and M test faces */
#include "tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "zennet_image.h"

#include "layout.h"
#include "toy_face.h"

#include <sys/stat.h>
#include <sys/types.h>

/* Images per class in RAF-DB (train, then test); contempt, which it lacks, is made as rare as surprise is. */
static const long raf_counts[2][TOY_EXPRESSIONS] = {{1290, 281, 717, 4772, 1982, 705, 2524, 1290}, {329, 74, 160, 1185, 478, 162, 680, 329}};

typedef enum faces_style { STYLE_RAF, STYLE_FOLDERS, STYLE_CSV, STYLE_LIST, STYLE_NPY, STYLE_BOXES, STYLE_NUMBERS } faces_style;

/* How a layout names things. `names` are by expression in RAF-DB's order, then contempt. */
typedef struct faces_layout {
    const char *name;
    faces_style style;
    const char *splits[2];
    const char *names[TOY_EXPRESSIONS];
} faces_layout;
static const faces_layout layouts[] = {
    {"raf", STYLE_RAF, {"train", "test"}, {"1", "2", "3", "4", "5", "6", "7", NULL}},
    {"folders", STYLE_FOLDERS, {"train", "test"}, {"1", "2", "3", "4", "5", "6", "7", NULL}},
    {"folders0", STYLE_FOLDERS, {"train", "test"}, {"3", "4", "5", "1", "2", "6", "0", NULL}},
    {"folders00", STYLE_FOLDERS, {"train", "valid"}, {"03", "04", "06", "01", "02", "05", "00", NULL}},
    {"names", STYLE_FOLDERS, {"train", "test"}, {"surprise", "fear", "disgust", "happy", "sad", "anger", "neutral", NULL}},
    {"csv", STYLE_CSV, {"train", "test"}, {"1", "2", "3", "4", "5", "6", "7", NULL}},
    {"list", STYLE_LIST, {"train", "test"}, {"0", "1", "2", "3", "4", "5", "6", NULL}},
    {"affectnet", STYLE_NPY, {"train_set", "val_set"}, {"3", "4", "5", "1", "2", "6", "0", "7"}},
    {"affectnet2017", STYLE_BOXES, {"training", "validation"}, {"3", "4", "5", "1", "2", "6", "0", "7"}},
    {"affectnet-csv", STYLE_NUMBERS, {"train", "val"}, {"3", "4", "5", "1", "2", "6", "0", "7"}},
    {"affectnet-folders", STYLE_FOLDERS, {"train", "val"}, {"3", "4", "5", "1", "2", "6", "0", "7"}},
    {"affectnet-names", STYLE_FOLDERS, {"train", "val"}, {"Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral", "Contempt"}},
};
#define LAYOUT_NAMES "raf|folders|folders0|folders00|names|csv|list|affectnet|affectnet2017|affectnet-csv|affectnet-folders|affectnet-names"
/* AffectNet also holds pictures of no expression (8 none, 9 uncertain, 10 no face): every so manieth is one. */
#define FACES_DROPPED_EVERY 40

typedef struct faces {
    const char *out, *format;
    const faces_layout *layout;
    long count[2], size, quality;
    uint64_t seed;
    unsigned char *label[2]; /* expression of each face of a split; TOY_EXPRESSIONS and up: 8, 9, 10 */
} faces;

/* Makes every folder on the way to path's last part. */
static int faces_make_folders(const char *path) {
    char part[4096];
    size_t i;
    for (i = 0; path[i] != '\0' && i + 1 < sizeof part; ++i) {
        part[i] = path[i];
        part[i + 1] = '\0';
        if (path[i + 1] != '/' || path[i] == '/') continue;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return -1;
    }
    return 0;
}
static int faces_failed(const char *path, const char *why) {
    fprintf(stderr, "toy_faces: %s: %s\n", path, why);
    return -1;
}
static FILE *faces_open(const faces *f, const char *name, char path[4096]) {
    FILE *file;
    if (snprintf(path, 4096, "%s/%s", f->out, name) >= 4096) errno = ENAMETOOLONG;
    file = strlen(f->out) + strlen(name) + 2 > 4096 || faces_make_folders(path) != 0 ? NULL : fopen(path, "wb");
    if (file == NULL) (void)faces_failed(path, strerror(errno));
    return file;
}
static int faces_close(FILE *file, const char *path) {
    int bad = ferror(file);
    if (fclose(file) != 0 || bad) return faces_failed(path, "cannot write (disk full?)");
    return 0;
}

/* Where face i of a split lies below OUT. */
static void faces_path(const faces *f, int split, long i, char path[256]) {
    const faces_layout *l = f->layout;
    const char *kind = split == 0 ? "train" : "test", *label;
    int digits = split == 0 ? 5 : 4, expression = f->label[split][i];
    label = expression < TOY_EXPRESSIONS ? l->names[expression] : "";
    switch (l->style) {
    case STYLE_RAF: sprintf(path, "basic/Image/aligned/%s_%0*ld_aligned.%s", kind, digits, i + 1, f->format); break;
    case STYLE_FOLDERS: sprintf(path, "%s/%s/%s_%0*ld_aligned.%s", l->splits[split], label, kind, digits, i + 1, f->format); break;
    case STYLE_CSV: sprintf(path, "DATASET/%s/%s/%s_%0*ld_aligned.%s", l->splits[split], label, kind, digits, i + 1, f->format); break;
    case STYLE_LIST: sprintf(path, "images/%s_%0*ld.%s", kind, digits, i + 1, f->format); break;
    case STYLE_NPY: sprintf(path, "%s/images/%ld.%s", l->splits[split], i, f->format); break;
    case STYLE_BOXES:
        sprintf(path, "Manually_Annotated_Images/%ld/%016lx.%s", i % 7 + 1, (unsigned long)(zn_rng_stream(f->seed, (uint64_t)(2 * i + split)).state & 0xffffffffu), f->format);
        break;
    default: sprintf(path, "%s/%ld.%s", l->splits[split], i, f->format);
    }
}
/* The label as list files write it. */
static int faces_label(const faces *f, int split, long i) {
    int expression = f->label[split][i];
    return expression < TOY_EXPRESSIONS ? atoi(f->layout->names[expression]) : expression;
}

/* The 2017 release holds whole pictures with a box: the face somewhere in a larger one. */
static void faces_box(const faces *f, int split, long i, int *x, int *y, int *side) {
    zn_rng rng = zn_rng_stream(f->seed ^ 0xb0c5u, (uint64_t)(2 * i + split));
    int room = (int)f->size / 2;
    *side = (int)f->size + room;
    *x = (int)zn_rng_below(&rng, (uint64_t)room + 1);
    *y = (int)zn_rng_below(&rng, (uint64_t)room + 1);
}
static unsigned char *faces_framed(const faces *f, int split, long i, unsigned char *face, int *side) {
    int x, y, row, size = (int)f->size;
    unsigned char *rgb;
    faces_box(f, split, i, &x, &y, side);
    rgb = (unsigned char *)malloc((size_t)*side * (size_t)*side * 3);
    if (rgb == NULL) return NULL;
    for (row = 0; row < *side * *side * 3; ++row) rgb[row] = (unsigned char)(96 + (row * 7919L + i) % 64);
    for (row = 0; row < size; ++row) memcpy(rgb + ((size_t)(y + row) * (size_t)*side + (size_t)x) * 3, face + (size_t)row * (size_t)size * 3, (size_t)size * 3);
    return rgb;
}

static int faces_save(const faces *f, const char *path, const unsigned char *rgb, int side) {
    char error[ZIM_ERROR_SIZE];
    int bad;
    if (strcmp(f->format, "png") == 0) bad = zim_save_png(path, rgb, side, side, 3, error);
    else if (strcmp(f->format, "ppm") == 0) bad = zim_save_ppm(path, rgb, side, side, error);
    else bad = zim_save_jpeg(path, rgb, side, side, (int)f->quality, error);
    return bad != 0 ? faces_failed(path, error) : 0;
}
static int faces_draw(const faces *f, int split, long i) {
    char name[256], path[4096];
    int side = (int)f->size, bad = 1, expression = f->label[split][i];
    unsigned char *rgb = (unsigned char *)malloc((size_t)side * (size_t)side * 3), *framed = NULL;
    faces_path(f, split, i, name);
    snprintf(path, sizeof path, "%s/%s", f->out, name);
    if (expression >= TOY_EXPRESSIONS) expression = TOY_NEUTRAL;
    if (rgb != NULL && toy_face_draw(f->seed, (uint64_t)(2 * i + split), expression, side, rgb) == 0) {
        bad = 0;
        if (f->layout->style == STYLE_BOXES) bad = (framed = faces_framed(f, split, i, rgb, &side)) == NULL;
    }
    if (bad) (void)faces_failed(path, "out of memory");
    if (!bad) bad = faces_save(f, path, framed != NULL ? framed : rgb, side);
    free(framed);
    free(rgb);
    return bad;
}

/* One number as numpy.save writes it. AffectNet's own dtypes differ between copies, so they differ here from file to file. */
static int faces_write_npy(const faces *f, const char *name, int value, long which) {
    static const char *const types[] = {"<i8", "<f8", "|S2", "<U2", ">i4", "<f4", "|u1", ">f8", "<i2", ">U2"};
    static const int sizes[] = {8, 8, 2, 8, 4, 4, 1, 8, 2, 8};
    int t = (int)(which % 10), size = sizes[t], i;
    unsigned char head[128], data[8];
    char dict[100], path[4096], digits[8];
    float single = (float)value;
    double real = value;
    uint64_t bits = 0;
    FILE *file = faces_open(f, name, path);
    if (file == NULL) return -1;
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    head[127] = '\n';
    i = sprintf(dict, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", types[t], which % 3 == 0 ? "(1,)" : "()");
    memcpy(head + 10, dict, (size_t)i);
    sprintf(digits, "%d", value);
    memset(data, 0, sizeof data);
    if (types[t][1] == 'S') memcpy(data, digits, strlen(digits));
    else if (types[t][1] == 'U')
        for (i = 0; digits[i] != '\0'; ++i) data[4 * i + (types[t][0] == '>' ? 3 : 0)] = (unsigned char)digits[i];
    else {
        if (types[t][1] == 'f' && size == 8) memcpy(&bits, &real, 8);
        else if (types[t][1] == 'f') {
            uint32_t word;
            memcpy(&word, &single, 4);
            bits = word;
        } else bits = (uint64_t)value;
        for (i = 0; i < size; ++i) data[types[t][0] == '>' ? size - 1 - i : i] = (unsigned char)(bits >> (8 * i));
    }
    fwrite(head, 1, sizeof head, file);
    fwrite(data, 1, (size_t)size, file);
    return faces_close(file, path);
}
/* The 2021 release: the expression and, unread by anyone here, valence and arousal beside each image. */
static int faces_annotate(const faces *f, int split) {
    static const char *const kinds[] = {"exp", "val", "aro"};
    char name[256];
    long i;
    int k;
    for (i = 0; i < f->count[split]; ++i)
        for (k = 0; k < 3; ++k) {
            sprintf(name, "%s/annotations/%ld_%s.npy", f->layout->splits[split], i, kinds[k]);
            if (faces_write_npy(f, name, k == 0 ? faces_label(f, split, i) : 0, i + (k != 0)) != 0) return -1;
        }
    return 0;
}

static void faces_row_2017(const faces *f, FILE *file, int split, long i) {
    int x, y, side, point, label = faces_label(f, split, i);
    char path[256];
    faces_path(f, split, i, path);
    faces_box(f, split, i, &x, &y, &side);
    if (label == 10 && i % 2 == 0) x = y = -1;
    fprintf(file, "%s,%d,%d,%ld,%ld,\"", strchr(path, '/') + 1, x, y, x < 0 ? -1 : f->size, x < 0 ? -1 : f->size);
    for (point = 0; point < 68; ++point) fprintf(file, "%s%d.5;%d.25", point > 0 ? ";" : "", x + point, y + point / 2);
    fprintf(file, "\",%d,%.4f,%.4f\n", label, 0.01 * (double)(i % 100), -0.005 * (double)(i % 100));
}
/* The list file of a split; RAF-DB's official one holds both. */
static int faces_write_list(const faces *f, int split) {
    static const char *const headers[] = {"", "", "image,label\n", "", "", "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n", "number,exp,val,aro\n"};
    faces_style style = f->layout->style;
    char name[256], path[4096];
    FILE *file;
    long i;
    int last = style == STYLE_RAF ? 1 : split;
    if (style == STYLE_FOLDERS || (style == STYLE_RAF && split == 1)) return 0;
    if (style == STYLE_NPY) return faces_annotate(f, split);
    if (style == STYLE_RAF) strcpy(name, "basic/EmoLabel/list_patition_label.txt");
    else sprintf(name, "%s%s.%s", f->layout->splits[split], style == STYLE_CSV ? "_labels" : "", style == STYLE_LIST ? "txt" : "csv");
    file = faces_open(f, name, path);
    if (file == NULL) return -1;
    fputs(headers[style], file);
    for (; split <= last; ++split)
        for (i = 0; i < f->count[split]; ++i) {
            faces_path(f, split, i, name);
            if (style == STYLE_RAF) fprintf(file, "%s_%0*ld.%s %d\n", split == 0 ? "train" : "test", split == 0 ? 5 : 4, i + 1, f->format, faces_label(f, split, i));
            else if (style == STYLE_CSV) fprintf(file, "%s,%d\n", strrchr(name, '/') + 1, faces_label(f, split, i));
            else if (style == STYLE_LIST) fprintf(file, "%s %d\n", name, faces_label(f, split, i));
            else if (style == STYLE_NUMBERS) fprintf(file, "%ld,%d,%.3f,%.3f\n", i, faces_label(f, split, i), 0.01 * (double)(i % 100), 0.0);
            else faces_row_2017(f, file, split, i);
        }
    return faces_close(file, path);
}

/* Labels in RAF-DB's proportions, at least one of each, in random order. */
static int faces_choose(faces *f, int split, int classes) {
    long count = f->count[split], sum = 0, given = 0, i, at = 0, share[TOY_EXPRESSIONS];
    int k, dropped = f->layout->names[TOY_CONTEMPT] != NULL && f->layout->style != STYLE_FOLDERS;
    zn_rng rng = zn_rng_stream(f->seed ^ 0x1abe15u, (uint64_t)split);
    for (k = 0; k < classes; ++k) sum += raf_counts[split][k];
    for (k = 0; k < classes; ++k) {
        share[k] = count * raf_counts[split][k] / sum;
        if (share[k] < 1) share[k] = 1;
        given += share[k];
    }
    share[TOY_HAPPINESS] += count - given; /* the largest class takes what rounding left */
    f->label[split] = (unsigned char *)malloc((size_t)(count + count / FACES_DROPPED_EVERY + 1));
    if (f->label[split] == NULL) return faces_failed(f->out, "out of memory");
    for (k = 0; k < classes; ++k)
        for (i = 0; i < share[k]; ++i) f->label[split][at++] = (unsigned char)k;
    for (i = 0; dropped && i < count / FACES_DROPPED_EVERY; ++i) f->label[split][at++] = (unsigned char)(8 + i % 3);
    for (i = at; i > 1; --i) {
        long j = (long)zn_rng_below(&rng, (uint64_t)i);
        unsigned char t = f->label[split][i - 1];
        f->label[split][i - 1] = f->label[split][j];
        f->label[split][j] = t;
    }
    f->count[split] = at;
    return 0;
}

static int faces_draw_all(const faces *f) {
    tool_progress progress;
    long total = f->count[0] + f->count[1], done = 0, i;
    int failed = 0;
    char name[256], path[4096];
    for (i = 0; i < total; ++i) { /* folders first: making them is not for many threads */
        faces_path(f, i >= f->count[0], i >= f->count[0] ? i - f->count[0] : i, name);
        if (snprintf(path, sizeof path, "%s/%s", f->out, name) >= (int)sizeof path) return faces_failed(f->out, "the path is too long");
        if (faces_make_folders(path) != 0) return faces_failed(path, strerror(errno));
    }
    tool_progress_begin(&progress, "drawing", "faces", (double)total);
    TOOL_OMP(parallel for schedule(dynamic, 8))
    for (i = 0; i < total; ++i) {
        int stop, split = i >= f->count[0];
        TOOL_OMP(atomic read)
        stop = failed;
        if (stop) continue;
        if (stop_asked || faces_draw(f, split, split ? i - f->count[0] : i) != 0) {
            TOOL_OMP(atomic write)
            failed = 1;
        }
        TOOL_OMP(critical)
        tool_progress_step(&progress, (double)++done, NULL);
    }
    tool_progress_end(&progress, (double)done, NULL);
    if (stop_asked) return faces_failed(f->out, "stopped: nothing is left there");
    return failed ? -1 : 0;
}

/* Takes away what a run that did not end has written: below a folder that was empty, all is its own. */
static void faces_remove(const char *folder, int depth) {
    lay_list found;
    char path[4096];
    size_t i;
    memset(&found, 0, sizeof found);
    if (depth < 8 && lay_read_folder(folder, &found) == 0)
        for (i = 0; i < found.count; ++i)
            if (snprintf(path, sizeof path, "%s/%s", folder, found.items[i]) < (int)sizeof path && remove(path) != 0) faces_remove(path, depth + 1);
    lay_list_free(&found);
    remove(folder);
}
static int faces_write(faces *f) {
    int split;
    if (faces_draw_all(f) != 0) return -1;
    for (split = 0; split < 2; ++split)
        if (faces_write_list(f, split) != 0) return -1;
    return 0;
}
static int faces_run(faces *f, int classes) {
    lay_list found;
    int split, filled;
    memset(&found, 0, sizeof found);
    filled = lay_read_folder(f->out, &found) == 0 && found.count > 0;
    lay_list_free(&found);
    if (filled) return faces_failed(f->out, "is not empty: give a new folder, or remove this one first");
    if (mkdir(f->out, 0777) != 0 && errno != EEXIST) {
        char path[4096];
        snprintf(path, sizeof path, "%s/", f->out);
        if (faces_make_folders(path) != 0) return faces_failed(f->out, strerror(errno));
    }
    for (split = 0; split < 2; ++split)
        if (faces_choose(f, split, classes) != 0) return -1;
    if (faces_write(f) != 0) {
        faces_remove(f->out, 0);
        return -1;
    }
    printf("wrote %ld train and %ld test faces of %d classes to %s\n", f->count[0], f->count[1], classes, f->out);
    return 0;
}

/* How many classes of a layout have a name, and whether --classes fits. */
static int faces_classes(const faces_layout *l, long wanted) {
    int named = l->names[TOY_CONTEMPT] != NULL ? 8 : 7;
    if (wanted == 0) return named;
    return (wanted == 7 || wanted == 8) && wanted <= named ? (int)wanted : 0;
}
int main(int argc, char **argv) {
    faces f;
    const char *words[1] = {NULL}, *layout = "raf";
    long count = 0, wanted = 0;
    int given, status, classes;
    size_t i;
    tool_option options[] = {
        {"layout", TOOL_TEXT, &layout, LAYOUT_NAMES, "how files and labels lie", 0, 0},
        {"classes", TOOL_INT, &wanted, "7|8", "8 adds contempt; 0: as many as the layout's data set has", 0, 8},
        {"train", TOOL_INT, &f.count[0], "N", "faces to train on", 8, 1e7},
        {"test", TOOL_INT, &f.count[1], "N", "faces to test on", 8, 1e7},
        {"count", TOOL_INT, &count, "N", "faces in all instead, a fifth of them to test on", 0, 1e7},
        {"size", TOOL_INT, &f.size, "PIXELS", "side of a face", 16, 4096},
        {"seed", TOOL_SEED, &f.seed, "S", "another seed draws other faces", 0, 0},
        {"format", TOOL_TEXT, &f.format, "jpg|png|ppm", "of the image files", 0, 0},
        {"quality", TOOL_INT, &f.quality, "Q", "of JPEG files", 1, 100},
    };
    memset(&f, 0, sizeof f);
    f.count[0] = 3000;
    f.count[1] = 750;
    f.size = 100;
    f.quality = 92;
    f.seed = 1;
    f.format = "jpg";
    status = tool_parse(argc, argv, "OUT", "Draws labelled faces in the layouts of RAF-DB and AffectNet.", options, (int)(sizeof options / sizeof options[0]), words, 1, &given);
    if (status != TOOL_GO) return status;
    if (given != 1) return tool_misused("name the folder to write: ", "OUT");
    if (count > 0 && count < 40) return tool_misused("--count wants at least 40: ", "each class needs a face in both splits");
    if (count > 0) {
        f.count[1] = count / 5;
        f.count[0] = count - f.count[1];
    }
    for (i = 0; strcmp(layouts[i].name, layout) != 0; ++i) {}
    f.out = words[0];
    f.layout = &layouts[i];
    signal(SIGINT, on_interrupt);
    classes = faces_classes(f.layout, wanted);
    if (classes == 0) return tool_misused("--classes is 7, or 8 in AffectNet's layouts, not for ", layout);
    status = faces_run(&f, classes) == 0 ? TOOL_DONE : TOOL_FAILED;
    free(f.label[0]);
    free(f.label[1]);
    return status;
}
