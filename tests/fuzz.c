/* fuzz.c - feeds damaged input to everything that reads: structure strings, pictures and files of every kind that the
   library opens. Built with sanitizers by `make fuzz`; it ends well unless a reader crashes, leaks, or asks for more memory than
   a damaged small file can justify.

     build/asan/tests/fuzz [--seconds N] [--seed S] [FILE...]

   Sound samples are the FILEs and some that it writes itself. A round takes one, cuts, flips, repeats or swaps some
   bytes, puts checksums right where a format has them (or nothing behind them would ever be reached), and opens the
   result. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FUZZ_MEMORY ((size_t)1 << 30) /* what one damaged file may ask for in all */

typedef struct fuzz_file {
    const char *path;
    unsigned char *bytes;
    size_t size;
} fuzz_file;

typedef struct fuzz_memory {
    size_t asked;
    long live;
} fuzz_memory;

static void *fuzz_malloc(size_t bytes, void *user) {
    fuzz_memory *m = (fuzz_memory *)user;
    void *memory = bytes > FUZZ_MEMORY - m->asked ? NULL : malloc(bytes);
    if (memory == NULL) return NULL;
    m->asked += bytes;
    ++m->live;
    return memory;
}
static void fuzz_free(void *memory, void *user) {
    if (memory != NULL) --((fuzz_memory *)user)->live;
    free(memory);
}

/* zennet_image.h takes its memory here. */
static fuzz_memory fuzz_images;
static void *fuzz_image_realloc(void *memory, size_t bytes) {
    void *fresh = bytes > FUZZ_MEMORY - fuzz_images.asked ? NULL : realloc(memory, bytes);
    if (fresh == NULL) return NULL;
    fuzz_images.asked += bytes;
    fuzz_images.live += memory == NULL;
    return fresh;
}
static void *fuzz_image_malloc(size_t bytes) { return fuzz_image_realloc(NULL, bytes); }
static void fuzz_image_free(void *memory) { fuzz_free(memory, &fuzz_images); }
#define ZIM_MALLOC(bytes) fuzz_image_malloc(bytes)
#define ZIM_REALLOC(memory, bytes) fuzz_image_realloc(memory, bytes)
#define ZIM_FREE(memory) fuzz_image_free(memory)
#define ZENNET_IMAGE_IMPLEMENTATION
#include "data_tools/zennet_image.h"

static int fuzz_load(fuzz_file *f, const char *path) {
    FILE *file = fopen(path, "rb");
    size_t limit = (size_t)4 << 20;
    f->path = path;
    f->bytes = file != NULL ? (unsigned char *)malloc(limit) : NULL;
    f->size = f->bytes != NULL ? fread(f->bytes, 1, limit, file) : 0;
    if (file != NULL) fclose(file);
    if (f->size > 0) f->bytes = (unsigned char *)realloc(f->bytes, f->size); /* shrinks */
    return f->size > 0 && f->bytes != NULL;
}

/* One edit of *size bytes, never longer than capacity. */
static void fuzz_edit(zn_rng *rng, unsigned char *bytes, size_t *size, size_t capacity) {
    static const unsigned char special[] = {0, 1, 0x7f, 0x80, 0xff, '(', ')', ',', '{', '}', '"', '9', '-', '.'};
    size_t at = (size_t)zn_rng_below(rng, *size), length = 1 + (size_t)zn_rng_below(rng, 16), to;
    if (length > *size - at) length = *size - at;
    switch (zn_rng_below(rng, 8)) {
    case 0: *size = at > 0 ? at : 1; break; /* cut short */
    case 1: /* take some out */
        if (length < *size) {
            memmove(bytes + at, bytes + at + length, *size - at - length);
            *size -= length;
        }
        break;
    case 2: /* repeat some */
        if (*size + length <= capacity) {
            memmove(bytes + at + length, bytes + at, *size - at);
            *size += length;
        }
        break;
    case 3: /* copy from elsewhere */
        to = (size_t)zn_rng_below(rng, *size - length + 1);
        memmove(bytes + to, bytes + at, length);
        break;
    case 4: memset(bytes + at, special[zn_rng_below(rng, sizeof special)], length); break;
    case 5: bytes[at] = special[zn_rng_below(rng, sizeof special)]; break;
    case 6: bytes[at] = (unsigned char)(bytes[at] ^ 1u << zn_rng_below(rng, 8)); break;
    default: /* headers matter most */
        at = (size_t)zn_rng_below(rng, *size < 128 ? *size : 128);
        bytes[at] = (unsigned char)zn_rng_next(rng);
    }
}

static uint64_t fuzz_get64(const unsigned char *p) {
    uint64_t v = 0;
    int i;
    for (i = 7; i >= 0; --i) v = v << 8 | p[i];
    return v;
}
static void fuzz_put64(unsigned char *p, uint64_t v) {
    int i;
    for (i = 0; i < 8; ++i) p[i] = (unsigned char)(v >> (8 * i));
}
/* Every chunk of a PNG ends with one. */
static void fuzz_mend_png(unsigned char *bytes, size_t size) {
    uint32_t table[256], sum;
    size_t at = 8, length;
    int i;
    zimi_crc_table(table);
    while (size - at >= 12) {
        length = zimi_be32(bytes + at);
        if (length > size - at - 12) return;
        sum = zimi_crc(table, bytes + at + 4, length + 4);
        for (i = 0; i < 4; ++i) bytes[at + 8 + length + (size_t)i] = (unsigned char)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}
/* Packs carry checksums of their header and index. */
static void fuzz_mend(unsigned char *bytes, size_t size) {
    uint64_t begin, length;
    if (size > 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) fuzz_mend_png(bytes, size);
    if (size < 64 || memcmp(bytes, "ZENPACK1", 8) != 0) return;
    begin = fuzz_get64(bytes + 24);
    length = fuzz_get64(bytes + 32);
    if (begin <= size && length <= size - begin) fuzz_put64(bytes + 40, zn_fnv1a64(bytes + begin, (size_t)length, ZN_FNV_START));
    fuzz_put64(bytes + 56, zn_fnv1a64(bytes, 56, ZN_FNV_START));
}

static void fuzz_structure(zn_ctx *ctx, const char *text) {
    zn_structure *s = NULL, *split = NULL;
    zn_count count;
    char buffer[64];
    if (zn_structure_parse(ctx, text, &s) == ZN_OK) {
        zn_structure_format(s, buffer, sizeof buffer);
        zn_structure_count(s, NULL, 32, &count);
        zn_structure_split(s, &split);
    }
    zn_structure_destroy(split);
    zn_structure_destroy(s);
    zn_error_clear(ctx);
}
static void fuzz_pack(zn_ctx *ctx, const char *path) {
    zn_pack *pack = NULL;
    zn_pack_info info;
    size_t i;
    int split;
    if (zn_pack_open(ctx, path, &pack) == ZN_OK) {
        zn_pack_verify(pack);
        zn_pack_hash(pack);
        for (split = 0; split < 2; ++split)
            for (i = 0; i < zn_pack_count(pack, (zn_split)split) && i < 100; ++i) zn_pack_image(pack, (zn_split)split, i, &info);
    }
    zn_pack_close(pack);
    zn_error_clear(ctx);
}

/* A model file of its own description, and the same bytes as a checkpoint of a small network. */
static void fuzz_model(zn_ctx *ctx, const char *path) {
    zn_net_opts o = zn_net_opts_default();
    zn_load_opts transfer;
    zn_net *net = NULL;
    memset(&transfer, 0, sizeof transfer);
    transfer.transfer = 1;
    zn_net_load(ctx, path, &net);
    zn_net_destroy(net);
    zn_error_clear(ctx);
    o.structure = "SuperConvK3BNRELU(3,8,2,1)";
    o.classes = 3;
    o.attention = ZN_ATTENTION_NONE;
    if (zn_net_create(ctx, &o, &net) == ZN_OK) zn_net_load_tensors(net, path, &transfer, NULL);
    zn_net_destroy(net);
    zn_error_clear(ctx);
}

/* A copy of its own, so that the sanitizer sees a byte read past the end. 1 when everything was given back. */
static int fuzz_image(const unsigned char *bytes, size_t size) {
    unsigned char *exact = (unsigned char *)malloc(size > 0 ? size : 1);
    zim_opts opts = zim_opts_default();
    zim_info info;
    zim_image image;
    char error[ZIM_ERROR_SIZE];
    int way;
    if (exact == NULL) return 1;
    memcpy(exact, bytes, size);
    memset(&fuzz_images, 0, sizeof fuzz_images);
    opts.max_pixels = (size_t)1 << 20;
    zim_probe(exact, size, &info, error);
    for (way = 0; way < 4; ++way) {
        opts.salvage = way & 1;
        opts.orient = way >> 1;
        opts.channels = way == 0 ? 3 : way == 1 ? 4 : way == 2 ? 1 : 3;
        if (zim_decode(exact, size, &opts, &image, error) == 0) zim_free(&image);
    }
    free(exact);
    return fuzz_images.live == 0;
}

/* ------------------------------------------------------------------------------------------------------------------
   Samples that are written here: structures and a pack
   ------------------------------------------------------------------------------------------------------------------ */
static int fuzz_sample_text(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return 0;
    fputs(text, file);
    return fclose(file) == 0;
}
static int fuzz_sample_pack(const char *path) {
    static const char *const names[] = {"angry", "happy"};
    static unsigned char pixels[48];
    zn_ctx *ctx = NULL;
    zn_pack_writer *writer = NULL;
    zn_pack_info image;
    int i, ok = zn_ctx_create(NULL, &ctx) == ZN_OK && zn_pack_writer_create(ctx, path, names, 2, &writer) == ZN_OK;
    memset(&image, 0, sizeof image);
    image.bytes = pixels;
    image.size = sizeof pixels;
    image.source = "folder/face.png";
    image.stored_width = image.stored_height = image.width = image.height = 4;
    for (i = 0; i < 6 && ok; ++i) {
        image.label = i % 2;
        image.split = i < 4 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
        ok = zn_pack_writer_add(writer, &image) == ZN_OK;
    }
    ok = ok && zn_pack_writer_finish(writer, NULL) == ZN_OK;
    zn_pack_writer_destroy(writer);
    zn_ctx_destroy(ctx);
    return ok;
}
static int fuzz_sample_image(int kind, const char *path) {
    static unsigned char pixels[4 * 40 * 30];
    char error[ZIM_ERROR_SIZE];
    size_t i;
    for (i = 0; i < sizeof pixels; ++i) pixels[i] = (unsigned char)(i * i >> 4 ^ i / 7);
    memset(&fuzz_images, 0, sizeof fuzz_images);
    if (kind == 0) return zim_save_jpeg(path, pixels, 40, 30, 80, error) == 0;
    if (kind == 1) return zim_save_ppm(path, pixels, 10, 10, error) == 0;
    return zim_save_png(path, pixels, 40, 30, kind - 1, error) == 0; /* 1..4 channels */
}
/* Writes sample number i to path; 0 when there is none, or it could not be written. */
static int fuzz_sample(int i, const char *path) {
    static const char *const texts[] = {
        "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResK1K5K1(32,48,2,32,1)SuperResK3K3(48,48,1,16,6)",
        "ConvKX(3,8,3,2)ResBlock(8,1,ConvKX(8,8,3,1)BN(8)RELU(8))MultiCatBlock(a|BN(8);SE(8)Swish(8))SA(16,4)MaxPool(16,3,2)",
        "ConvKX(3,8,3,2)MultiSumBlock(MaxPool(8,3,2)ConvDW(8,3,1);ConvKXG2(8,8,3,2))AdaptiveAvgPool(8,4)Sequential(ResBlockProj(RELU(8)))"};
    if (i < 3) return fuzz_sample_text(path, texts[i]);
    return i == 3 ? fuzz_sample_pack(path) : i < 10 && fuzz_sample_image(i - 4, path);
}

/* Every reader gets every file: one that is not meant for it must say so, too. */
static void fuzz_open(zn_ctx *ctx, const char *path, unsigned char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return;
    fwrite(bytes, 1, size, file);
    fclose(file);
    fuzz_pack(ctx, path);
    fuzz_model(ctx, path);
    bytes[size < 4096 ? size : 4096] = 0;
    fuzz_structure(ctx, (const char *)bytes);
}

/* 1 when the readers gave everything back. */
static int fuzz_round(zn_rng *rng, const fuzz_file *f, const char *path, unsigned char *bytes, size_t capacity) {
    fuzz_memory memory;
    zn_ctx_opts hooks = zn_ctx_opts_default();
    zn_ctx *ctx = NULL;
    size_t size = f->size, edits = 1 + (size_t)zn_rng_below(rng, 4);
    memset(&memory, 0, sizeof memory);
    hooks.malloc_fn = fuzz_malloc;
    hooks.free_fn = fuzz_free;
    hooks.user = &memory;
    memcpy(bytes, f->bytes, size);
    while (edits-- > 0) fuzz_edit(rng, bytes, &size, capacity - 1);
    if (zn_rng_below(rng, 2) == 0) fuzz_mend(bytes, size);
    if (!fuzz_image(bytes, size) || zn_ctx_create(&hooks, &ctx) != ZN_OK) return 0;
    fuzz_open(ctx, path, bytes, size);
    zn_ctx_destroy(ctx);
    return memory.live == 0;
}

int main(int argc, char **argv) {
    fuzz_file *files = (fuzz_file *)calloc((size_t)argc + 16, sizeof *files);
    unsigned char *bytes;
    size_t capacity = ((size_t)4 << 20) + 4096;
    double seconds = 60, begin = (double)time(NULL);
    uint64_t seed = 1;
    long rounds = 0, leaks = 0;
    int i, count = 0;
    char path[4096];
    zn_rng rng;
    for (i = 1; i < argc && files != NULL; ++i) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else if (strncmp(argv[i], "--", 2) == 0) {
            fprintf(stderr, "usage: %s [--seconds N] [--seed S] [FILE...]\n", argv[0]);
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        } else if (fuzz_load(&files[count], argv[i])) ++count;
    }
    snprintf(path, sizeof path, "%s.tmp", argv[0]);
    for (i = 0; files != NULL && fuzz_sample(i, path); ++i) count += fuzz_load(&files[count], path);
    bytes = (unsigned char *)malloc(capacity);
    if (files == NULL || bytes == NULL || count == 0) {
        fprintf(stderr, "%s: no memory, or no sample could be written\n", argv[0]);
        return 2;
    }
    rng = zn_rng_seed(seed);
    while ((double)time(NULL) - begin < seconds) {
        const fuzz_file *f = &files[zn_rng_below(&rng, (uint64_t)count)];
        if (!fuzz_round(&rng, f, path, bytes, capacity) && leaks++ == 0) printf("%s: memory was not given back in round %ld\n", f->path, rounds);
        ++rounds;
    }
    printf("%ld rounds over %d files, seed %lu\n", rounds, count, (unsigned long)seed);
    printf("%d passed, %d failed\n", leaks == 0, leaks != 0);
    remove(path);
    for (i = 0; i < count; ++i) free(files[i].bytes);
    free(files);
    free(bytes);
    return leaks != 0;
}
