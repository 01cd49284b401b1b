/* check_data.c - says what a labelled image set is, and what is wrong with it, before anyone trains on it.

     build/data_tools/check_data SRC [--layout ...] [--json]

   SRC is a folder or list file in any layout of layout.h, or a pack. Prints the layout, the classes with their counts,
   image sizes, the totals beside those of RAF-DB and AffectNet, images that cannot be read, images that occur in both
   splits or with two labels (by content), and how many JPEG files are not upright as they are stored. Refuses where labels are not certain, and names the flag that decides.
   Exit status: 0 all well, 1 refused or something is wrong. Ends with: N images, nothing wrong | N things wrong */
#include "tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "zennet_image.h"

#include "layout.h"
#include "images.h"
#include "pack_decode.h"

typedef struct check_image {
    uint64_t hash; /* of the file's bytes, or of the pack's */
    size_t size, index;
    int width, height, label, split, x, y;
} check_image;

typedef struct check {
    const char *source;
    lay_set set;          /* of a pack: its class names and source names */
    zn_pack *pack;        /* NULL: a folder or list */
    check_image *images;  /* readable ones */
    size_t count, leaks, conflicts;
    size_t turned;        /* JPEG files whose EXIF orientation is not 1 */
    lay_list unreadable, both; /* "PATH: REASON"; "PATH = PATH" in both splits or with two labels */
    size_t *counts;
} check;

typedef struct check_known {
    const char *name;
    size_t classes, train, test;
} check_known;
static const check_known check_sets[] = {{"RAF-DB", 7, 12271, 3068}, {"AffectNet, 7 classes", 7, 283901, 3500}, {"AffectNet, 8 classes", 8, 287651, 3999}};

static int check_failed(const char *why) {
    fprintf(stderr, "check_data: %s\n", why);
    return TOOL_FAILED;
}
static void check_keep(check *c, const check_image *image) { c->images[c->count++] = *image; }

static int check_one(size_t index, const lay_sample *sample, images_one *one, void *user) {
    check *c = (check *)user;
    check_image image;
    zim_info info;
    char line[LAY_PATH + ZIM_ERROR_SIZE];
    if (one->error[0] != '\0') {
        snprintf(line, sizeof line, "%s: %s", sample->path, one->error);
        return lay_list_add(&c->unreadable, line) == 0 ? 0 : check_failed("out of memory");
    }
    if (one->bytes[0] == 0xff && zim_probe(one->bytes, one->size, &info, NULL) == 0) c->turned += info.orientation != 1;
    memset(&image, 0, sizeof image);
    image.hash = zn_fnv1a64(one->bytes, one->size, ZN_FNV_START);
    image.size = one->size;
    image.index = index;
    image.width = one->image.width;
    image.height = one->image.height;
    image.label = sample->label;
    image.split = (int)sample->split;
    image.x = sample->x;
    image.y = sample->y;
    check_keep(c, &image);
    return 0;
}

/* ---- packs ---- */
static const char *check_pack_image(check *c, size_t i, zn_pack_info *info) { /* decodes it; NULL when well */
    size_t train = zn_pack_count(c->pack, ZN_SPLIT_TRAIN);
    zn_split split = i < train ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
    size_t at = i < train ? i : i - train;
    unsigned char *rgb;
    zn_result result;
    (void)zn_pack_image(c->pack, split, at, info);
    rgb = (unsigned char *)malloc((size_t)info->width * (size_t)info->height * 3);
    if (rgb == NULL) return "out of memory";
    result = zn_pack_rgb(c->pack, split, at, rgb);
    free(rgb);
    return result == ZN_OK ? NULL : result == ZN_ERROR_FILE ? "cannot be read" : "damaged, or cannot be decoded";
}
static int check_pack_images(check *c, zn_ctx *ctx, int threads) {
    tool_progress progress;
    long i, done = 0, total = (long)c->set.count;
    int bad = 0;
    (void)threads;
    tool_progress_begin(&progress, "checking", "images", (double)total);
    TOOL_OMP(parallel for schedule(dynamic, 1) ordered num_threads(threads))
    for (i = 0; i < total; ++i) {
        zn_pack_info info;
        const char *fault = check_pack_image(c, (size_t)i, &info);
        TOOL_OMP(ordered)
        {
            char line[LAY_PATH + 64];
            check_image image;
            memset(&image, 0, sizeof image);
            image.hash = info.checksum;
            image.size = info.size;
            image.index = (size_t)i;
            image.width = info.stored_width;
            image.height = info.stored_height;
            image.label = info.label;
            image.split = (int)info.split;
            image.x = info.x;
            image.y = info.y;
            snprintf(line, sizeof line, "%.4000s: %s", info.source, fault != NULL ? fault : "");
            if (fault == NULL) check_keep(c, &image);
            else bad |= lay_list_add(&c->unreadable, line);
            tool_progress_step(&progress, (double)++done, NULL);
        }
    }
    tool_progress_end(&progress, (double)done, NULL);
    return bad ? check_failed("out of memory") : zn_pack_check(c->pack) != ZN_OK ? check_failed(zn_error_text(ctx)) : TOOL_DONE;
}
/* The pack's classes and names as a lay_set, so that all that follows is one. */
static int check_pack_open(check *c, zn_ctx *ctx) {
    size_t total, i;
    int k, bad = 0;
    if (zn_pack_open(ctx, c->source, &c->pack) != ZN_OK) return check_failed(zn_error_text(ctx));
    zn_pack_set_decoder(c->pack, pack_decode, NULL);
    total = zn_pack_count(c->pack, ZN_SPLIT_TRAIN) + zn_pack_count(c->pack, ZN_SPLIT_TEST);
    for (k = 0; k < zn_pack_classes(c->pack) && !bad; ++k) bad = lay_list_add(&c->set.names, zn_pack_class_name(c->pack, k));
    if (!bad) bad = lay_key(&c->set, "") < 0;
    for (i = 0; i < total && !bad; ++i) {
        zn_pack_info info;
        size_t train = zn_pack_count(c->pack, ZN_SPLIT_TRAIN);
        lay_sample *sample;
        (void)zn_pack_image(c->pack, i < train ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST, i < train ? i : i - train, &info);
        sample = lay_add(&c->set, info.source, "", info.split);
        bad = sample == NULL;
        if (sample != NULL) sample->label = info.label;
    }
    snprintf(c->set.layout, sizeof c->set.layout, "pack, data hash %08lx%08lx", (unsigned long)(zn_pack_hash(c->pack) >> 32), (unsigned long)(zn_pack_hash(c->pack) & 0xffffffffu));
    return bad ? check_failed("out of memory") : TOOL_DONE;
}

/* ---- the same content twice ---- */
static int check_by_content(const void *a, const void *b) {
    const check_image *x = (const check_image *)a, *y = (const check_image *)b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}
/* Boxes tell faces of one picture apart. */
static int check_alike(const check_image *a, const check_image *b) { return a->hash == b->hash && a->size == b->size && a->x == b->x && a->y == b->y; }
static int check_find_twins(check *c) {
    char line[2 * LAY_PATH];
    size_t i, j, k;
    if (c->count > 1) qsort(c->images, c->count, sizeof *c->images, check_by_content);
    for (i = 0; i < c->count; i = j) {
        for (j = i + 1; j < c->count && c->images[j].hash == c->images[i].hash && c->images[j].size == c->images[i].size; ++j) {}
        for (k = i + 1; k < j; ++k) {
            const check_image *a = &c->images[i], *b = &c->images[k];
            int leak = a->split != b->split, conflict = a->label != b->label;
            if (!check_alike(a, b) || (!leak && !conflict)) continue;
            c->leaks += (size_t)leak;
            c->conflicts += (size_t)conflict;
            snprintf(line, sizeof line, "%.3000s = %.3000s: %s%s%s", c->set.samples[a->index].path, c->set.samples[b->index].path, leak ? "in both splits" : "",
                     leak && conflict ? ", " : "", conflict ? "with two labels" : "");
            if (lay_list_add(&c->both, line) != 0) return check_failed("out of memory");
        }
    }
    return TOOL_DONE;
}

/* ---- sizes ---- */
typedef struct check_size {
    int width, height;
    size_t count;
} check_size;
static int check_by_size(const void *a, const void *b) {
    const check_image *x = (const check_image *)a, *y = (const check_image *)b;
    return x->width != y->width ? (x->width < y->width ? -1 : 1) : x->height < y->height ? -1 : x->height > y->height;
}
static int check_by_count(const void *a, const void *b) {
    size_t x = ((const check_size *)a)->count, y = ((const check_size *)b)->count;
    return x > y ? -1 : x < y;
}
/* Distinct sizes, most frequent first. Orders c->images anew. */
static check_size *check_sizes(check *c, size_t *out_count) {
    check_size *sizes = (check_size *)malloc((c->count + 1) * sizeof *sizes);
    size_t i, n = 0;
    *out_count = 0;
    if (sizes == NULL) return NULL;
    if (c->count > 1) qsort(c->images, c->count, sizeof *c->images, check_by_size);
    for (i = 0; i < c->count; ++i) {
        if (n == 0 || sizes[n - 1].width != c->images[i].width || sizes[n - 1].height != c->images[i].height) {
            sizes[n].width = c->images[i].width;
            sizes[n].height = c->images[i].height;
            sizes[n++].count = 0;
        }
        ++sizes[n - 1].count;
    }
    if (n > 1) qsort(sizes, n, sizeof *sizes, check_by_count);
    *out_count = n;
    return sizes;
}

/* ---- saying it ---- */
static void check_totals(const check *c, size_t out[2]) {
    size_t k;
    out[0] = out[1] = 0;
    for (k = 0; k < c->set.names.count; ++k) {
        out[0] += c->counts[2 * k];
        out[1] += c->counts[2 * k + 1];
    }
}
/* The published set whose classes these could be; NULL when the classes are no expressions. The nearest total wins. */
static const check_known *check_nearest(const check *c) {
    const check_known *best = NULL;
    size_t totals[2], i, k, gap = 0;
    for (k = 0; k < c->set.names.count; ++k)
        if (lay_expression(c->set.names.items[k]) < 0) return NULL;
    check_totals(c, totals);
    for (i = 0; i < sizeof check_sets / sizeof check_sets[0]; ++i) {
        size_t away = check_sets[i].train > totals[0] ? check_sets[i].train - totals[0] : totals[0] - check_sets[i].train;
        int affectnet = c->set.kind == LAY_NPY || c->set.kind == LAY_BOXES || c->set.kind == LAY_NUMBERS || c->set.without_contempt;
        if (check_sets[i].classes != c->set.names.count || (affectnet && i == 0) || (c->set.kind == LAY_RAF && i != 0)) continue;
        if (best == NULL || away < gap) best = &check_sets[i], gap = away;
    }
    return best;
}
static void check_print_lines(const char *what, const lay_list *list) {
    size_t i;
    if (list->count == 0) return;
    printf("%s: %lu\n", what, (unsigned long)list->count);
    for (i = 0; i < list->count && i < 20; ++i) printf("  %s\n", list->items[i]);
    if (list->count > 20) printf("  ... and %lu more (--json lists all)\n", (unsigned long)(list->count - 20));
}
static void check_print(const check *c, const check_size *sizes, size_t size_count, size_t wrong) {
    const check_known *known = check_nearest(c);
    size_t totals[2], k, i;
    check_totals(c, totals);
    printf("%s: %s\n%-24s %9s %9s\n", c->source, c->set.layout, "class", "train", "test");
    for (k = 0; k < c->set.names.count; ++k) {
        printf("%3lu ", (unsigned long)k);
        tool_print_padded(c->set.names.items[k], 20);
        printf(" %9lu %9lu\n", (unsigned long)c->counts[2 * k], (unsigned long)c->counts[2 * k + 1]);
    }
    printf("%-24s %9lu %9lu\n", "total", (unsigned long)totals[0], (unsigned long)totals[1]);
    if (known != NULL) {
        printf("%-24s %9lu %9lu", known->name, (unsigned long)known->train, (unsigned long)known->test);
        if (totals[0] == known->train && totals[1] == known->test) printf("  all there\n");
        else printf("  this is not all of it, or another set\n");
    }
    printf("sizes:");
    for (i = 0; i < size_count && i < 5; ++i) printf("%s %d x %d (%lu)", i > 0 ? "," : "", sizes[i].width, sizes[i].height, (unsigned long)sizes[i].count);
    printf(size_count > 5 ? " and %lu more\n" : "\n", (unsigned long)size_count - 5);
    for (i = 0; i < c->set.notes.count; ++i) printf("note: %s\n", c->set.notes.items[i]);
    if (c->set.dropped > 0) printf("left out on purpose (no expression of these classes, or no face): %ld\n", c->set.dropped);
    check_print_lines("listed but not to be had", &c->set.problems);
    check_print_lines("unreadable", &c->unreadable);
    check_print_lines("the same content twice", &c->both);
    if (wrong == 0) printf("%lu images, nothing wrong\n", (unsigned long)c->set.count);
    else printf("%lu images, %lu thing%s wrong\n", (unsigned long)c->set.count, (unsigned long)wrong, wrong == 1 ? "" : "s");
}
static void check_json_list(const char *name, const lay_list *list) {
    size_t i;
    printf(",\"%s\":[", name);
    for (i = 0; i < list->count; ++i) {
        if (i > 0) putchar(',');
        tool_json_text(stdout, list->items[i]);
    }
    putchar(']');
}
static void check_print_json(const check *c, const check_size *sizes, size_t size_count, size_t wrong) {
    const check_known *known = check_nearest(c);
    size_t totals[2], k, i;
    check_totals(c, totals);
    printf("{\"source\":");
    tool_json_text(stdout, c->source);
    printf(",\"layout\":");
    tool_json_text(stdout, c->set.layout);
    printf(",\"classes\":[");
    for (k = 0; k < c->set.names.count; ++k) {
        printf("%s{\"name\":", k > 0 ? "," : "");
        tool_json_text(stdout, c->set.names.items[k]);
        printf(",\"train\":%lu,\"test\":%lu}", (unsigned long)c->counts[2 * k], (unsigned long)c->counts[2 * k + 1]);
    }
    printf("],\"train\":%lu,\"test\":%lu,\"known\":", (unsigned long)totals[0], (unsigned long)totals[1]);
    if (known == NULL) printf("null");
    else printf("{\"name\":\"%s\",\"train\":%lu,\"test\":%lu,\"complete\":%s}", known->name, (unsigned long)known->train, (unsigned long)known->test,
                totals[0] == known->train && totals[1] == known->test ? "true" : "false");
    printf(",\"sizes\":[");
    for (i = 0; i < size_count; ++i) printf("%s{\"width\":%d,\"height\":%d,\"count\":%lu}", i > 0 ? "," : "", sizes[i].width, sizes[i].height, (unsigned long)sizes[i].count);
    printf("],\"dropped\":%ld,\"in_both_splits\":%lu,\"with_two_labels\":%lu", c->set.dropped, (unsigned long)c->leaks, (unsigned long)c->conflicts);
    check_json_list("missing", &c->set.problems);
    check_json_list("unreadable", &c->unreadable);
    check_json_list("twins", &c->both);
    check_json_list("notes", &c->set.notes);
    printf(",\"wrong\":%lu}\n", (unsigned long)wrong);
}

static int check_report(check *c, int json) {
    size_t size_count, wrong;
    check_size *sizes;
    if (check_find_twins(c) != TOOL_DONE) return TOOL_FAILED;
    if (c->turned > 0 && lay_note(&c->set, "%lu JPEG files have an EXIF orientation: pixels are taken as they are stored, pack --orient turns them upright",
                                  (unsigned long)c->turned) != 0)
        return check_failed("out of memory");
    c->counts = lay_counts(&c->set);
    sizes = check_sizes(c, &size_count);
    if (c->counts == NULL || sizes == NULL) {
        free(sizes);
        return check_failed("out of memory");
    }
    wrong = c->set.problems.count + c->unreadable.count + c->both.count;
    (json ? check_print_json : check_print)(c, sizes, size_count, wrong);
    free(sizes);
    return wrong > 0 ? TOOL_FAILED : TOOL_DONE;
}
static int check_is_pack(const char *path) {
    char head[8] = "";
    FILE *file = lay_kind_of(path) == 1 ? fopen(path, "rb") : NULL;
    int is = file != NULL && fread(head, 1, 8, file) == 8 && memcmp(head, "ZENPACK1", 8) == 0;
    if (file != NULL) fclose(file);
    return is;
}
static int check_run(check *c, const lay_opts *o, const zim_opts *decoding, int threads, int json) {
    zn_ctx *ctx = NULL;
    int status = TOOL_DONE, packed = check_is_pack(c->source);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return check_failed("out of memory");
    if (packed) status = check_pack_open(c, ctx);
    else if (lay_scan(&c->set, c->source, o) != 0) status = check_failed(c->set.error);
    if (status == TOOL_DONE) {
        c->images = (check_image *)malloc((c->set.count + 1) * sizeof *c->images);
        if (c->images == NULL) status = check_failed("out of memory");
        else if (packed) status = check_pack_images(c, ctx, threads);
        else if (images_run(&c->set, decoding, "checking", threads, check_one, c) != 0) status = TOOL_FAILED; /* and it has been said why */
    }
    if (status == TOOL_DONE) status = check_report(c, json);
    zn_pack_close(c->pack);
    zn_ctx_destroy(ctx);
    return status;
}

int main(int argc, char **argv) {
    lay_opts o = lay_opts_default();
    zim_opts decoding = zim_opts_default();
    check c;
    const char *words[1];
    int given, status, json = 0;
    long threads = 0, max_pixels = IMAGES_MAX_PIXELS;
    tool_option options[] = {
        LAY_OPTIONS(o),
        {"max-pixels", TOOL_INT, &max_pixels, "N", "larger images are refused", 1, 2e9},
        {"threads", TOOL_INT, &threads, "N", "0: as many as there are cores", 0, 256},
        {"json", TOOL_FLAG, &json, "", "the result as JSON", 0, 0},
    };
    status = tool_parse(argc, argv, "SRC", "Tells what a labelled image set (folder, list or pack) is, and what is wrong with it.", options,
                        (int)(sizeof options / sizeof options[0]), words, 1, &given);
    if (status != TOOL_GO) return status;
    if (given != 1) return tool_misused("wants one name: ", "SRC, a folder, a list file or a pack");
    memset(&c, 0, sizeof c);
    c.source = words[0];
    decoding.max_pixels = (size_t)max_pixels;
    status = check_run(&c, &o, &decoding, images_threads(threads), json);
    lay_free(&c.set);
    lay_list_free(&c.unreadable);
    lay_list_free(&c.both);
    free(c.images);
    free(c.counts);
    return status;
}
