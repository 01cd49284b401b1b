/* pack.c - packs a labelled image set into the one file that training reads.

     build/data_tools/pack SRC OUT [--layout auto|folders|raf|affectnet|csv|list] [--every N] [...]

   SRC is a folder or a list file; layout.h lists the layouts. Images that cannot be read are listed and left
   out; the pack is written all the same, and the exit status is 1 unless --skip-bad. Pixels are taken as they are stored;
   --orient turns them by the files' EXIF orientation. Ends with: packed N images ... */
#include "tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "zennet_image.h"

#include "layout.h"
#include "images.h"

/* Sets that take up to this many bytes as pixels are stored as pixels. */
#define PACK_PIXELS_LIMIT 512e6

typedef struct packer {
    zn_pack_writer *writer;
    const char *out;
    int pixels;         /* store pixels, else the files as they are */
    long skipped;       /* unreadable */
    size_t *counts;     /* per class and split of what got in, as lay_counts gives them */
    uint64_t bytes;
} packer;

static int pack_one(size_t index, const lay_sample *sample, images_one *one, void *user) {
    packer *p = (packer *)user;
    zn_pack_info info;
    int y;
    (void)index;
    if (stop_asked) return -1;
    if (one->error[0] != '\0') return ++p->skipped, 0;
    memset(&info, 0, sizeof info);
    info.label = sample->label;
    info.split = sample->split;
    info.source = sample->path;
    info.stored_width = info.width = one->width;
    info.stored_height = info.height = one->height;
    info.encoding = ZN_ENCODING_RGB;
    info.bytes = one->image.pixels;
    info.size = (size_t)one->width * (size_t)one->height * 3;
    if (!p->pixels) {
        info.encoding = ZN_ENCODING_FILE;
        info.bytes = one->bytes;
        info.size = one->size;
        info.stored_width = one->image.width;
        info.stored_height = one->image.height;
        info.x = one->x;
        info.y = one->y;
    } else if (one->width < one->image.width || one->height < one->image.height) /* the box's rows to the front */
        for (y = 0; y < one->height; ++y)
            memmove(one->image.pixels + (size_t)y * (size_t)one->width * 3, one->image.pixels + ((size_t)(one->y + y) * (size_t)one->image.width + (size_t)one->x) * 3,
                    (size_t)one->width * 3);
    if (zn_pack_writer_add(p->writer, &info) != ZN_OK) return -1;
    ++p->counts[2 * sample->label + (sample->split == ZN_SPLIT_TEST)];
    p->bytes += info.size;
    return 0;
}

/* About what the set takes as pixels, from up to 64 of its files. */
static double pack_pixel_bytes(const lay_set *set) {
    unsigned char head[65536];
    char path[LAY_PATH];
    size_t step = set->count / 64 + 1, i, seen = 0;
    double sum = 0;
    zim_info info;
    struct stat kind;
    for (i = 0; i < set->count; i += step) {
        FILE *file = lay_file(set, &set->samples[i], path) == 0 && stat(path, &kind) == 0 && S_ISREG(kind.st_mode) ? fopen(path, "rb") : NULL; /* a pipe would be waited for */
        size_t size = file != NULL ? fread(head, 1, sizeof head, file) : 0;
        if (file != NULL) fclose(file);
        if (zim_probe(head, size, &info, NULL) != 0) continue;
        sum += set->samples[i].width > 0 ? 3.0 * set->samples[i].width * set->samples[i].height : 3.0 * info.width * info.height;
        ++seen;
    }
    return seen > 0 ? sum / (double)seen * (double)set->count : 0;
}

static void pack_table(const lay_set *set, const size_t *counts) {
    size_t k;
    printf("%-24s %9s %9s\n", "class", "train", "test");
    for (k = 0; k < set->names.count; ++k) {
        printf("%3lu ", (unsigned long)k);
        tool_print_padded(set->names.items[k], 20);
        printf(" %9lu %9lu\n", (unsigned long)counts[2 * k], (unsigned long)counts[2 * k + 1]);
    }
}
static void pack_json(const lay_set *set, const packer *p, uint64_t hash) {
    size_t k;
    printf("{\"out\":");
    tool_json_text(stdout, p->out);
    printf(",\"layout\":");
    tool_json_text(stdout, set->layout);
    printf(",\"store\":\"%s\",\"bytes\":%.0f,\"hash\":\"%08lx%08lx\",\"unreadable\":%ld,\"missing\":%lu,\"dropped\":%ld,\"classes\":[", p->pixels ? "pixels" : "files", (double)p->bytes,
           (unsigned long)(hash >> 32), (unsigned long)(hash & 0xffffffffu), p->skipped, (unsigned long)set->problems.count, set->dropped);
    for (k = 0; k < set->names.count; ++k) {
        printf("%s{\"name\":", k > 0 ? "," : "");
        tool_json_text(stdout, set->names.items[k]);
        printf(",\"train\":%lu,\"test\":%lu}", (unsigned long)p->counts[2 * k], (unsigned long)p->counts[2 * k + 1]);
    }
    printf("]}\n");
}

static int pack_failed(const char *why) {
    fprintf(stderr, "pack: %s\n", why);
    return TOOL_FAILED;
}
/* Unreadable images may have been all that a class had. */
static int pack_finish(const lay_set *set, packer *p, uint64_t *out_hash) {
    char why[512];
    size_t k;
    for (k = 0; k < set->names.count; ++k)
        if (p->counts[2 * k] == 0) {
            snprintf(why, sizeof why, "nothing is written: class %s has no readable images to train on", set->names.items[k]);
            return pack_failed(why);
        }
    return zn_pack_writer_finish(p->writer, out_hash) == ZN_OK ? TOOL_DONE : TOOL_FAILED;
}
static int pack_write(zn_ctx *ctx, const lay_set *set, packer *p, const zim_opts *opts, int threads, uint64_t *out_hash) {
    int status = TOOL_FAILED;
    p->counts = (size_t *)calloc(set->names.count * 2, sizeof *p->counts);
    if (p->counts == NULL) return pack_failed("out of memory");
    if (zn_pack_writer_create(ctx, p->out, (const char *const *)set->names.items, (int)set->names.count, &p->writer) == ZN_OK &&
        images_run(set, opts, "packing", threads, pack_one, p) == 0)
        status = pack_finish(set, p, out_hash);
    zn_pack_writer_destroy(p->writer);
    if (zn_error_code(ctx) != ZN_OK) return pack_failed(zn_error_text(ctx));
    if (stop_asked) return pack_failed("stopped: nothing is written");
    return status;
}

static int pack_run(const lay_set *set, packer *p, const zim_opts *opts, int threads, int skip_bad, int json) {
    zn_ctx *ctx = NULL;
    uint64_t hash = 0;
    long bad;
    int status;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return pack_failed("out of memory");
    status = pack_write(ctx, set, p, opts, threads, &hash);
    if (status == TOOL_DONE && json) pack_json(set, p, hash);
    else if (status == TOOL_DONE) {
        pack_table(set, p->counts);
        if (set->dropped > 0) printf("left out %ld that show no expression of these classes\n", set->dropped);
        printf("packed %lu images of %lu classes to %s: %s, %.1f MB, data hash %08lx%08lx\n", (unsigned long)(set->count - (size_t)p->skipped), (unsigned long)set->names.count, p->out,
               p->pixels ? "pixels" : "original files", (double)p->bytes / 1e6, (unsigned long)(hash >> 32), (unsigned long)(hash & 0xffffffffu));
    }
    bad = p->skipped + (long)set->problems.count;
    if (status == TOOL_DONE && bad > 0) {
        fprintf(stderr, "pack: %ld images could not be read or have no label, and are left out%s\n", bad, skip_bad ? "" : "; --skip-bad makes that no failure");
        if (!skip_bad) status = TOOL_FAILED;
    }
    free(p->counts);
    zn_ctx_destroy(ctx);
    return status;
}

/* Whether OUT is new, a pack, or no file at all. Another file is more likely one of the set's own than one to be lost. */
static int replaces_pack(const char *out) {
    char head[8] = "";
    struct stat kind;
    FILE *file = stat(out, &kind) == 0 && S_ISREG(kind.st_mode) && kind.st_size > 0 ? fopen(out, "rb") : NULL;
    int is = file == NULL || (fread(head, 1, 8, file) == 8 && memcmp(head, "ZENPACK1", 8) == 0);
    if (file != NULL) fclose(file);
    if (!is) fprintf(stderr, "pack: %s is there and no pack: remove it first, or give another name\n", out);
    return is;
}

int main(int argc, char **argv) {
    lay_opts o = lay_opts_default();
    lay_set set;
    packer p;
    zim_opts decoding = zim_opts_default();
    const char *words[2], *store = "auto";
    int given, status, skip_bad = 0, json = 0;
    long threads = 0, max_pixels = IMAGES_MAX_PIXELS;
    size_t i;
    tool_option options[] = {
        LAY_OPTIONS(o),
        {"store", TOOL_TEXT, &store, "auto|pixels|files", "what the pack holds; auto: pixels up to 512 MB of them", 0, 0},
        {"orient", TOOL_FLAG, &decoding.orient, "", "turn pictures upright by their EXIF orientation; wants pixels", 0, 0},
        {"skip-bad", TOOL_FLAG, &skip_bad, "", "exit status 0 although images could not be read", 0, 0},
        {"max-pixels", TOOL_INT, &max_pixels, "N", "larger images are refused", 1, 2e9},
        {"threads", TOOL_INT, &threads, "N", "0: as many as there are cores", 0, 256},
        {"json", TOOL_FLAG, &json, "", "the result as JSON", 0, 0},
    };
    status = tool_parse(argc, argv, "SRC OUT", "Packs a labelled image set into one file that training reads.", options, (int)(sizeof options / sizeof options[0]), words, 2, &given);
    if (status != TOOL_GO) return status;
    if (given != 2) return tool_misused("wants two names: ", "SRC, a folder or list file, and OUT, the pack");
    memset(&p, 0, sizeof p);
    p.out = words[1];
    decoding.max_pixels = (size_t)max_pixels;
    if (!replaces_pack(p.out) || !tool_can_write(p.out)) return TOOL_FAILED;
    signal(SIGINT, on_interrupt);
    if (lay_scan(&set, words[0], &o) != 0) status = pack_failed(set.error);
    else {
        fprintf(stderr, "%s: %s\n", words[0], set.layout);
        for (i = 0; i < set.notes.count; ++i) fprintf(stderr, "note: %s\n", set.notes.items[i]);
        for (i = 0; i < set.problems.count; ++i) fprintf(stderr, "unreadable: %s\n", set.problems.items[i]);
        p.pixels = strcmp(store, "pixels") == 0 || (strcmp(store, "auto") == 0 && pack_pixel_bytes(&set) <= PACK_PIXELS_LIMIT);
        if (decoding.orient && !p.pixels) status = pack_failed("--orient turns pixels, and this pack would hold the files as they are: --store pixels");
        else status = pack_run(&set, &p, &decoding, images_threads(threads), skip_bad, json);
    }
    lay_free(&set);
    return status;
}
