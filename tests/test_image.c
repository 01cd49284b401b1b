/* test_image.c - zennet_image.h against what Pillow and libjpeg-turbo make of the same files (tests/images, hashes; all of
   ../shared/data where it is there), against damage at every byte, and against its own writers. */
#include <stddef.h>
#include <stdlib.h>

/* Counts what the decoder takes, and can fail at the nth time. */
static size_t memory_now, memory_peak;
static long memory_calls, memory_fail_at, memory_live;
static void *test_realloc(void *memory, size_t bytes);
#define ZIM_MALLOC(bytes) test_realloc(NULL, bytes)
#define ZIM_REALLOC(memory, bytes) test_realloc(memory, bytes)
#define ZIM_FREE(memory) test_free(memory)
static void test_free(void *memory);
#define ZENNET_IMAGE_IMPLEMENTATION
#include "data_tools/zennet_image.h"
#include "tests/check.h"
#include "tests/files.h"

static void *test_realloc(void *memory, size_t bytes) {
    size_t *base = memory != NULL ? (size_t *)memory - 2 : NULL, old = base != NULL ? base[0] : 0;
    if (++memory_calls == memory_fail_at) return NULL;
    base = (size_t *)realloc(base, bytes + 2 * sizeof *base);
    if (base == NULL) return NULL;
    memory_live += memory == NULL;
    memory_now = memory_now - old + bytes;
    if (memory_now > memory_peak) memory_peak = memory_now;
    base[0] = bytes;
    return base + 2;
}
static void test_free(void *memory) {
    size_t *base = memory != NULL ? (size_t *)memory - 2 : NULL;
    if (base == NULL) return;
    memory_now -= base[0];
    --memory_live;
    free(base);
}

static uint64_t fnv(const unsigned char *bytes, size_t size) {
    uint64_t hash = 0xcbf29ce484222325u;
    size_t i;
    for (i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}
static size_t image_size(const zim_image *m) { return (size_t)m->width * (size_t)m->height * (size_t)m->channels; }

typedef struct test_file {
    unsigned char *bytes;
    size_t size;
} test_file;

static test_file load_sample(const char *name) {
    char path[512];
    test_file f;
    snprintf(path, sizeof path, "tests/images/%s", name);
    f.bytes = file_read(path, &f.size);
    if (f.size == 0) {
        printf("%s: cannot read\n", path);
        exit(1);
    }
    return f;
}
static int decode(test_file f, int channels, int orient, int salvage, zim_image *image, char *error) {
    zim_opts opts = zim_opts_default();
    opts.channels = channels;
    opts.orient = orient;
    opts.salvage = salvage;
    opts.max_pixels = (size_t)1 << 24;
    error[0] = '\0';
    return zim_decode(f.bytes, f.size, &opts, image, error);
}

/* ---- files with known pixels ---- */
static void check_pixels(test_file f, const char *name, int channels, int orient, int width, int height, const char *hash) {
    char error[ZIM_ERROR_SIZE], got[32];
    zim_image image;
    int bad = decode(f, channels, orient, 0, &image, error);
    if (bad) printf("%s: %s\n", name, error);
    CHECK_FOR(!bad, name);
    if (bad) return;
    snprintf(got, sizeof got, "%08lx%08lx", (unsigned long)(fnv(image.pixels, image_size(&image)) >> 32), (unsigned long)(fnv(image.pixels, image_size(&image)) & 0xffffffffu));
    CHECK_FOR(image.width == width && image.height == height && image.channels == channels, name);
    CHECK_FOR(strcmp(got, hash) == 0, name);
    zim_free(&image);
}
static void check_good(const char *name, const char *line) {
    int width, height, turned_width, turned_height;
    char rgb[32], rgba[32], upright[32];
    test_file f = load_sample(name);
    zim_info info;
    CHECK_FOR(sscanf(line, "%*s ok %d %d %31s %31s %d %d %31s", &width, &height, rgb, rgba, &turned_width, &turned_height, upright) == 7, name);
    check_pixels(f, name, 3, 0, width, height, rgb);
    if (strcmp(rgba, "-") != 0) check_pixels(f, name, 4, 0, width, height, rgba);
    check_pixels(f, name, 3, 1, turned_width, turned_height, upright);
    CHECK_FOR(zim_probe(f.bytes, f.size, &info, NULL) == 0 && info.width == width && info.height == height && info.format != ZIM_UNKNOWN, name);
    free(f.bytes);
}
static void check_bad(const char *name, const char *words) {
    char error[ZIM_ERROR_SIZE];
    test_file f = load_sample(name);
    zim_image image;
    CHECK_FOR(decode(f, 3, 0, 0, &image, error) == -1 && image.pixels == NULL, name);
    CHECK_HOLDS(error, words);
    free(f.bytes);
}
static void test_samples(void) {
    FILE *list = fopen("tests/images/MANIFEST.txt", "r");
    char line[512], name[256];
    int count = 0;
    CHECK(list != NULL);
    while (list != NULL && fgets(line, sizeof line, list) != NULL && sscanf(line, "%255s", name) == 1) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line + strlen(name), " bad ", 5) == 0) check_bad(name, line + strlen(name) + 5);
        else check_good(name, line);
        ++count;
    }
    CHECK(count > 150);
    if (list != NULL) fclose(list);
}

/* ---- refused by name ---- */
static size_t find_marker(test_file f, int marker) { /* in a file without entropy-coded look-alikes before it */
    size_t i;
    for (i = 0; i + 1 < f.size; ++i)
        if (f.bytes[i] == 0xff && f.bytes[i + 1] == marker) return i;
    return 0;
}
static void test_refused_jpeg(void) {
    static const struct {
        int marker;
        const char *words;
    } kinds[] = {{0xc3, "lossless JPEG is not supported"}, {0xc5, "hierarchical"}, {0xc6, "hierarchical"}, {0xc7, "hierarchical"}, {0xc9, "arithmetic-coded"}, {0xca, "arithmetic-coded"},
                 {0xcb, "arithmetic-coded"}, {0xcd, "hierarchical"}, {0xce, "hierarchical"}, {0xcf, "hierarchical"}, {0xf7, "JPEG-LS"}};
    char error[ZIM_ERROR_SIZE];
    test_file f = load_sample("17x33_420_q90.jpg");
    size_t sof = find_marker(f, 0xc0), i;
    zim_image image;
    zim_info info;
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        f.bytes[sof + 1] = (unsigned char)kinds[i].marker;
        CHECK(decode(f, 3, 0, 1, &image, error) == -1); /* nothing to salvage, either */
        CHECK_HOLDS(error, kinds[i].words);
        CHECK(zim_probe(f.bytes, f.size, &info, error) == -1);
        CHECK_HOLDS(error, kinds[i].words);
    }
    f.bytes[sof + 1] = 0xc1;
    CHECK(decode(f, 3, 0, 0, &image, error) == 0); /* extended sequential with 8 bits is fine */
    zim_free(&image);
    f.bytes[sof + 4] = 12;
    CHECK(decode(f, 3, 0, 0, &image, error) == -1);
    CHECK_HOLDS(error, "12-bit JPEG is not supported");
    f.bytes[sof + 4] = 8;
    f.bytes[sof + 5] = f.bytes[sof + 6] = 0;
    CHECK(decode(f, 3, 0, 0, &image, error) == -1);
    CHECK_HOLDS(error, "DNL");
    free(f.bytes);
}

/* ---- damage ---- */
/* Every shorter file is refused; with salvage it gives a picture of the right size or is refused. */
static void check_truncations(const char *name) {
    char error[ZIM_ERROR_SIZE];
    test_file f = load_sample(name);
    zim_image whole, image;
    size_t size = f.size, salvaged = 0;
    int all_refused = 1, all_clear = 1, sizes = 1;
    CHECK_FOR(decode(f, 3, 0, 0, &whole, error) == 0, name);
    for (f.size = 0; f.size < size; ++f.size) {
        unsigned char *exact = (unsigned char *)malloc(f.size > 0 ? f.size : 1); /* so that reading past the end shows */
        test_file part;
        if (exact == NULL) break;
        memcpy(exact, f.bytes, f.size);
        part.bytes = exact;
        part.size = f.size;
        all_refused &= decode(part, 3, 0, 0, &image, error) == -1 && image.pixels == NULL;
        all_clear &= error[0] != '\0';
        if (decode(part, 3, 0, 1, &image, error) == 0) {
            sizes &= image.width == whole.width && image.height == whole.height && image.damaged == 1 && error[0] != '\0';
            ++salvaged;
            zim_free(&image);
        }
        free(exact);
    }
    CHECK_FOR(all_refused && all_clear && sizes && salvaged > 0, name);
    zim_free(&whole);
    free(f.bytes);
}
static void test_damage(void) {
    static const char *const names[] = {"17x33_420_q90.jpg", "17x33_420_q75_prog.jpg", "17x33_422_q50_rst1.jpg", "made_cmyk.jpg", "basn6a16.png", "basi3p04.png", "made.ppm", "made_32.bmp", "hopper_rle8_grayscale.bmp"};
    char error[ZIM_ERROR_SIZE];
    uint64_t state = 1;
    size_t i, k;
    long sound = 0;
    for (i = 0; i + 1 < sizeof names / sizeof names[0]; ++i) check_truncations(names[i]); /* the last one has bytes that are not needed at its end */
    for (i = 0; i < sizeof names / sizeof names[0]; ++i)
        for (k = 0; k < 300; ++k) { /* some bytes changed: any answer will do, but an answer */
            test_file f = load_sample(names[i]);
            zim_image image;
            int edits = 1 + (int)(k % 5);
            while (edits-- > 0) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                f.bytes[(size_t)(state >> 33) % f.size] = (unsigned char)(state >> 24);
            }
            sound += decode(f, 3 + (int)(k & 1), (int)(k >> 1 & 1), (int)(k >> 2 & 1), &image, error) == 0 && image.pixels != NULL;
            zim_free(&image);
            free(f.bytes);
        }
    CHECK(sound > 100 && memory_live == 0);
}
/* Two thirds of a picture with restart markers survive what happens in the middle; the rest keeps its place. */
static void test_salvage(void) {
    char error[ZIM_ERROR_SIZE];
    test_file f = load_sample("17x33_422_q50_rst1.jpg");
    zim_image whole, image;
    size_t scan = find_marker(f, 0xda), i, marker = scan, same = 0;
    CHECK(decode(f, 3, 0, 0, &whole, error) == 0);
    for (i = scan; i + 1 < f.size; ++i)
        if (f.bytes[i] == 0xff && f.bytes[i + 1] == 0xd1) marker = i;
    CHECK(marker > scan);
    for (i = marker + 2; f.bytes[i] != 0xff && i < marker + 8; ++i) f.bytes[i] = 0; /* the third run becomes nonsense */
    CHECK(decode(f, 3, 0, 1, &image, error) == 0);
    for (i = 0; i < image_size(&whole); ++i) same += whole.pixels[i] == image.pixels[i];
    CHECK(same * 3 > image_size(&whole) * 2);
    CHECK(memcmp(whole.pixels, image.pixels, 17 * 3 * 8) == 0); /* the runs before */
    CHECK(memcmp(whole.pixels + 24 * 17 * 3, image.pixels + 24 * 17 * 3, 17 * 3 * 9) == 0); /* and behind */
    zim_free(&whole);
    zim_free(&image);
    free(f.bytes);
    f = load_sample("peacock.default.truncated.jpeg");
    CHECK(decode(f, 3, 0, 1, &image, error) == 0 && image.damaged == 1);
    CHECK_HOLDS(error, "byte 1024");
    zim_free(&image);
    free(f.bytes);
}

/* ---- limits ---- */
static void put_be32(unsigned char *p, unsigned long value) {
    int i;
    for (i = 0; i < 4; ++i) p[i] = (unsigned char)(value >> (24 - 8 * i));
}
/* A small file that claims to be large is refused before memory is taken for it. */
static void check_claim(test_file f, const char *name) {
    char error[ZIM_ERROR_SIZE];
    zim_image image;
    memory_peak = memory_now;
    CHECK_FOR(zim_decode(f.bytes, f.size, NULL, &image, error) == -1 && image.pixels == NULL, name);
    CHECK_HOLDS(error, "pixels");
    CHECK_FOR(memory_peak < memory_now + ((size_t)16 << 20) + 10 * f.size, name);
    free(f.bytes);
}
static void test_limits(void) {
    char error[ZIM_ERROR_SIZE];
    zim_opts opts = zim_opts_default();
    test_file f = load_sample("17x33_420_q90.jpg"), big;
    zim_image image;
    uint32_t crc[256];
    opts.max_side = 32;
    CHECK(zim_decode(f.bytes, f.size, &opts, &image, error) == -1);
    CHECK_HOLDS(error, "17 x 33 pixels: a side above the limit of 32");
    opts.max_side = 33;
    opts.max_pixels = 17 * 33 - 1;
    CHECK(zim_decode(f.bytes, f.size, &opts, &image, error) == -1);
    CHECK_HOLDS(error, "above the limit of 560");
    opts.max_pixels = 17 * 33;
    CHECK(zim_decode(f.bytes, f.size, &opts, &image, error) == 0);
    zim_free(&image);
    opts.channels = 2;
    CHECK(zim_decode(f.bytes, f.size, &opts, &image, error) == -1);
    CHECK_HOLDS(error, "2 channels");
    memset(f.bytes + find_marker(f, 0xc0) + 5, 0x3f, 4); /* 16191 x 16191 */
    check_claim(f, "large JPEG");
    f = load_sample("17x33_420_q75_prog.jpg");
    memset(f.bytes + find_marker(f, 0xc2) + 5, 0x3f, 4);
    check_claim(f, "large progressive JPEG");
    f = load_sample("basn6a08.png");
    put_be32(f.bytes + 16, 16000);
    put_be32(f.bytes + 20, 16000);
    zimi_crc_table(crc);
    put_be32(f.bytes + 29, zimi_crc(crc, f.bytes + 12, 17));
    check_claim(f, "large PNG");
    f = load_sample("made_24.bmp");
    f.bytes[19] = f.bytes[23] = 0x3f;
    check_claim(f, "large BMP");
    big.bytes = (unsigned char *)malloc(32);
    big.size = 20;
    if (big.bytes == NULL) return;
    memcpy(big.bytes, "P6 16000 16000 255\nabc", 20);
    check_claim(big, "large PPM");
    CHECK(zim_decode((const unsigned char *)"", 0, NULL, &image, error) == -1);
    CHECK_HOLDS(error, "empty");
    CHECK(zim_load("tests/images/no-such-file.jpg", NULL, &image, error) == -1);
    CHECK_HOLDS(error, "cannot open");
    CHECK(zim_load("tests/images/no-such-file.jpg", NULL, &image, NULL) == -1);
}

/* ---- PNM and BMP by hand ---- */
static int decode_text(const char *text, size_t size, int channels, zim_image *image, char *error) {
    zim_opts opts = zim_opts_default();
    opts.channels = channels;
    return zim_decode((const unsigned char *)text, size, &opts, image, error);
}
static void check_text(const char *text, size_t size, int channels, const char *expected, size_t expected_size) {
    char error[ZIM_ERROR_SIZE] = "";
    zim_image image;
    int good = decode_text(text, size, channels, &image, error) == 0;
    if (!good) printf("%s\n", error);
    CHECK_FOR(good && image_size(&image) == expected_size && memcmp(image.pixels, expected, expected_size) == 0, text);
    zim_free(&image);
}
#define CHECK_TEXT(text, channels, expected) check_text(text, sizeof text - 1, channels, expected, sizeof expected - 1)
static void check_text_bad(const char *text, size_t size, const char *words) {
    char error[ZIM_ERROR_SIZE] = "";
    zim_image image;
    CHECK_FOR(decode_text(text, size, 3, &image, error) == -1, text);
    CHECK_HOLDS(error, words);
}
#define CHECK_TEXT_BAD(text, words) check_text_bad(text, sizeof text - 1, words)

static void test_pnm(void) {
    CHECK_TEXT("P1 # a comment\n2 2\n1001", 1, "\0\377\377\0");
    CHECK_TEXT("P1 2 1 #c\n0#d\n1\n", 1, "\377\0");
    CHECK_TEXT("P2\n3 1\n#x\n3\n0 1 3", 1, "\0\125\377");
    CHECK_TEXT("P3 1 1 65535 65535 32768 0", 3, "\377\200\0");
    CHECK_TEXT("P4 9 1\n\200\200", 1, "\0\377\377\377\377\377\377\377\0");
    CHECK_TEXT("P5 2 1 255\nAB", 3, "AAABBB");
    CHECK_TEXT("P5 2 1 65535\n\200\0\377\377", 1, "\200\377");
    CHECK_TEXT("P5 2 1 2\n\1\7", 1, "\200\377"); /* half rounds to even; too large counts as the largest */
    CHECK_TEXT("P6\r1\t1\r255\rabc", 4, "abc\377");
    CHECK_TEXT_BAD("P6 1 1 255\nab", "2 bytes cannot hold 1 x 1 pixels");
    CHECK_TEXT_BAD("P5 1 1 256\na", "ends too early");
    CHECK_TEXT_BAD("P2 2 1 255 1 ", "ends too early");
    CHECK_TEXT_BAD("P2 2 1 255 1 x ", "byte 13: a number was expected");
    CHECK_TEXT_BAD("P2 2 1 255 1 256 ", "byte 13: a number above 255");
    CHECK_TEXT_BAD("P5 0 1 255\n", "empty");
    CHECK_TEXT_BAD("P5 1 1 0\n1", "largest value is 0");
    CHECK_TEXT_BAD("P5 1 1 65536\n1", "number above 65535");
    CHECK_TEXT_BAD("P7 1 1 255\n1", "not a JPEG");
    CHECK_TEXT_BAD("P1 2 1 02", "0 or 1");
}
/* 54 bytes of BMP header in front of the pixels. */
static size_t bmp_header(unsigned char *h, int width, int height, int bits, int compression, int colours, size_t tail) {
    size_t pixels = 54 + 4 * (size_t)colours + (compression == 3 ? 12 : 0);
    memset(h, 0, 54);
    h[0] = 'B';
    h[1] = 'M';
    h[10] = (unsigned char)pixels;
    h[14] = 40;
    h[18] = (unsigned char)width;
    h[22] = (unsigned char)height;
    h[23] = h[24] = h[25] = (unsigned char)(height < 0 ? 255 : 0);
    h[26] = 1;
    h[28] = (unsigned char)bits;
    h[30] = (unsigned char)compression;
    h[46] = (unsigned char)colours;
    return pixels + tail;
}
static void check_bmp(int width, int height, int bits, int compression, int colours, const char *tail, size_t size, const char *rgb) {
    char error[ZIM_ERROR_SIZE] = "";
    unsigned char file[256];
    zim_image image;
    size_t total = bmp_header(file, width, height, bits, compression, colours, 0);
    int good;
    memcpy(file + 54, tail, size);
    total = 54 + size;
    good = zim_decode(file, total, NULL, &image, error) == 0;
    if (!good) printf("%s\n", error);
    CHECK(good && memcmp(image.pixels, rgb, image_size(&image)) == 0);
    zim_free(&image);
}
#define PALETTE "\1\2\3\0\21\22\23\0" /* (3, 2, 1) and (19, 18, 17) */
static void test_bmp(void) {
    char error[ZIM_ERROR_SIZE];
    unsigned char file[256];
    zim_image image;
    check_bmp(1, 2, 24, 0, 0, "abc\0def\0", 8, "fedcba");
    check_bmp(1, -2, 24, 0, 0, "abc\0def\0", 8, "cbafed");
    check_bmp(2, 1, 1, 0, 2, PALETTE "\100\0\0\0", 12, "\3\2\1\23\22\21");
    check_bmp(3, 1, 2, 0, 2, PALETTE "\20\0\0\0", 12, "\3\2\1\23\22\21\3\2\1");
    check_bmp(2, 1, 4, 0, 2, PALETTE "\20\0\0\0", 12, "\23\22\21\3\2\1");
    check_bmp(2, 1, 16, 0, 0, "\37\174\340\3", 4, "\377\0\377\0\377\0");
    check_bmp(2, 1, 16, 3, 0, "\0\370\0\0\340\7\0\0\37\0\0\0\37\370\340\7", 16, "\377\0\377\0\377\0");
    check_bmp(1, 1, 32, 3, 0, "\0\0\0\377\0\0\377\0\0\377\0\0xRGB", 16, "BGR");
    check_bmp(3, 2, 8, 1, 2, PALETTE "\2\1\1\0\0\0\0\3\0\1\0\0\0\1", 22, "\3\2\1\23\22\21\3\2\1\23\22\21\23\22\21\3\2\1");
    check_bmp(3, 1, 4, 2, 2, PALETTE "\3\20\0\1", 12, "\23\22\21\3\2\1\23\22\21");
    check_bmp(3, 1, 4, 2, 2, PALETTE "\0\3\20\20\0\1", 14, "\23\22\21\3\2\1\23\22\21");
    check_bmp(2, 2, 8, 1, 2, PALETTE "\0\2\1\1\1\1\0\1", 16, "\3\2\1\23\22\21\3\2\1\3\2\1");
    bmp_header(file, 1, 1, 24, 1, 0, 4);
    CHECK(zim_decode(file, 58, NULL, &image, error) == -1);
    CHECK_HOLDS(error, "24 bits per pixel and compression 1");
    bmp_header(file, 1, 1, 24, 4, 0, 4);
    CHECK(zim_decode(file, 58, NULL, &image, error) == -1);
    bmp_header(file, 0, 1, 24, 0, 0, 4);
    CHECK(zim_decode(file, 58, NULL, &image, error) == -1);
    CHECK_HOLDS(error, "empty");
    bmp_header(file, 2, 1, 8, 1, 2, 0);
    memcpy(file + 54, PALETTE "\1\0\0\2", 12);
    CHECK(zim_decode(file, 66, NULL, &image, error) == -1);
    CHECK_HOLDS(error, "too early");
}

/* ---- writers ---- */
static void fill(unsigned char *pixels, size_t size, int kind) {
    uint64_t state = 7;
    size_t i;
    for (i = 0; i < size; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pixels[i] = (unsigned char)(kind == 0 ? state >> 56 : kind == 1 ? i / 50 : kind == 2 ? 200 : (i * i) >> 7);
    }
}
static void check_png(const unsigned char *pixels, int width, int height, int channels, size_t *out_size) {
    char error[ZIM_ERROR_SIZE] = "";
    test_file f;
    zim_image image;
    size_t size = (size_t)width * (size_t)height * (size_t)channels, i, wrong = 0;
    int as = channels == 2 ? 4 : channels;
    f.bytes = NULL;
    CHECK(zim_encode_png(pixels, width, height, channels, &f.bytes, &f.size, error) == 0);
    CHECK(decode(f, as, 0, 0, &image, error) == 0 && image.width == width && image.height == height);
    *out_size = f.size;
    if (channels == 2)
        for (i = 0; i < size / 2; ++i) wrong += image.pixels[4 * i] != pixels[2 * i] || image.pixels[4 * i + 3] != pixels[2 * i + 1];
    else wrong = image.pixels == NULL || memcmp(image.pixels, pixels, size) != 0;
    CHECK(wrong == 0);
    zim_free(&image);
    zim_free_bytes(f.bytes);
}
static void test_png_writer(void) {
    static const int sizes[][2] = {{1, 1}, {3, 2}, {17, 33}, {1, 300}, {300, 1}, {200, 150}};
    static unsigned char pixels[200 * 150 * 4];
    char error[ZIM_ERROR_SIZE];
    unsigned char *bytes;
    size_t size, i;
    int channels, kind;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
        for (channels = 1; channels <= 4; ++channels)
            for (kind = 0; kind < 4; ++kind) {
                size_t raw = (size_t)sizes[i][0] * (size_t)sizes[i][1] * (size_t)channels;
                fill(pixels, raw, kind);
                check_png(pixels, sizes[i][0], sizes[i][1], channels, &size);
                CHECK(size < raw + raw / 100 + (size_t)sizes[i][1] + 200);                       /* noise does not grow */
                if ((kind == 1 || kind == 2) && raw > 20000) CHECK(size < raw / 8); /* and patterns shrink */
            }
    CHECK(zim_encode_png(pixels, 0, 1, 3, &bytes, &size, error) == -1 && bytes == NULL);
    CHECK(zim_encode_png(pixels, 1, 1, 5, &bytes, &size, error) == -1 && bytes == NULL);
    CHECK_HOLDS(error, "5 channels");
}
static double mean_error(const unsigned char *a, const unsigned char *b, size_t size) {
    double sum = 0;
    size_t i;
    for (i = 0; i < size; ++i) sum += a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    return sum / (double)size;
}
static void test_jpeg_writer(void) {
    static const int sizes[][2] = {{1, 1}, {16, 16}, {17, 33}, {31, 1}, {120, 90}};
    unsigned char pixels[120 * 90 * 3];
    char error[ZIM_ERROR_SIZE];
    size_t i, first = 0, k;
    test_file f;
    zim_image image;
    int quality;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
        for (quality = 20; quality <= 100; quality += 40) {
            int w = sizes[i][0], h = sizes[i][1];
            for (k = 0; k < (size_t)w * (size_t)h; ++k) {
                pixels[3 * k] = (unsigned char)(255 * (k % (size_t)w) / (size_t)w);
                pixels[3 * k + 1] = (unsigned char)(255 * (k / (size_t)w) / (size_t)h);
                pixels[3 * k + 2] = (unsigned char)(128 + (k % (size_t)w) / 2);
            }
            f.bytes = NULL;
            CHECK(zim_encode_jpeg(pixels, w, h, quality, &f.bytes, &f.size, error) == 0);
            CHECK(decode(f, 3, 0, 0, &image, error) == 0 && image.width == w && image.height == h);
            if (image.pixels != NULL) CHECK(mean_error(image.pixels, pixels, image_size(&image)) < (quality == 20 ? 12 : quality == 60 ? 6 : 3));
            if (quality == 20) first = f.size;
            CHECK(f.size >= first);
            zim_free(&image);
            zim_free_bytes(f.bytes);
        }
    CHECK(zim_encode_jpeg(pixels, 16, 16, 0, &f.bytes, &f.size, error) == -1 && f.bytes == NULL);
    CHECK_HOLDS(error, "quality 0");
    CHECK(zim_encode_jpeg(pixels, 65536, 1, 90, &f.bytes, &f.size, error) == -1);
}
static void test_files(const char *program) {
    char path[1024], part[1100], error[ZIM_ERROR_SIZE];
    static const unsigned char pixels[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    zim_image image;
    FILE *left;
    int kind;
    snprintf(path, sizeof path, "%s.tmp", program);
    snprintf(part, sizeof part, "%s.part", path);
    for (kind = 0; kind < 3; ++kind) { /* each replaces the one before */
        int bad = kind == 0 ? zim_save_jpeg(path, pixels, 2, 2, 90, error) : kind == 1 ? zim_save_png(path, pixels, 2, 2, 3, error) : zim_save_ppm(path, pixels, 2, 2, error);
        CHECK(bad == 0);
        CHECK(zim_load(path, NULL, &image, error) == 0 && image.width == 2 && image.height == 2);
        if (kind > 0 && image.pixels != NULL) CHECK(memcmp(image.pixels, pixels, 12) == 0);
        zim_free(&image);
        left = fopen(part, "rb");
        CHECK(left == NULL);
        if (left != NULL) fclose(left);
    }
    remove(path);
    CHECK(zim_save_png("no-such-folder/x.png", pixels, 2, 2, 3, error) == -1);
    CHECK_HOLDS(error, "cannot write");
    CHECK(zim_save_ppm(path, pixels, 0, 2, error) == -1);
}

/* ---- memory running out ---- */
static void test_memory(void) {
    static const char *const names[] = {"17x33_420_q90.jpg", "17x33_420_q75_prog.jpg", "made_orient_6.jpg", "basi6a08.png", "made.ppm", "hopper_rle8_grayscale.bmp"};
    static unsigned char pixels[64 * 64 * 3];
    char error[ZIM_ERROR_SIZE], path[512];
    size_t i, size;
    long n;
    int bad;
    fill(pixels, sizeof pixels, 0);
    for (i = 0; i < sizeof names / sizeof names[0] + 2; ++i) {
        for (n = 1, bad = -1; bad != 0 && n < 1000; ++n) {
            unsigned char *bytes = NULL;
            zim_image image;
            zim_opts opts = zim_opts_default();
            opts.orient = 1;
            memset(&image, 0, sizeof image);
            memory_calls = 0;
            memory_fail_at = n;
            if (i == 0) bad = zim_encode_png(pixels, 64, 64, 3, &bytes, &size, error);
            else if (i == 1) bad = zim_encode_jpeg(pixels, 64, 64, 95, &bytes, &size, error);
            else {
                snprintf(path, sizeof path, "tests/images/%s", names[i - 2]);
                bad = zim_load(path, &opts, &image, error);
            }
            memory_fail_at = 0;
            if (bad) CHECK_HOLDS(error, "out of memory");
            CHECK(bad == 0 || (bytes == NULL && image.pixels == NULL));
            zim_free(&image);
            zim_free_bytes(bytes);
            CHECK(memory_live == 0);
        }
        CHECK(bad == 0 && n > 3);
    }
}

/* ---- everything in ../shared/data ---- */
/* Files that Pillow reads and this header refuses, or the other way round, each for a reason. */
static int is_exception(const char *file) {
    static const char *const names[] = {
        "invalid-noend.png", "invalid-trunc.png",  /* no IEND: truncated */
        "xcsn0g01.png",                            /* wrong checksum of the pixels */
        "hopper_bad_exif.jpg",                     /* data that are not of its Huffman tables: noise with warnings */
        "182.0-original.jpg",                      /* progressive scans in a baseline frame */
        "truncated_exif_dpi.jpg"                   /* Pillow stumbles over the EXIF data */
    };
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; ++i)
        if (strstr(file, names[i]) != NULL) return 1;
    return 0;
}
/* At most 1 % of the values are off by more than 2. */
static int is_near(const zim_image *a, const zim_image *b) {
    size_t i, off = 0;
    if (a->width != b->width || a->height != b->height) return 0;
    for (i = 0; i < image_size(a); ++i) off += a->pixels[i] > b->pixels[i] + 2 || b->pixels[i] > a->pixels[i] + 2;
    return off * 100 <= image_size(a);
}
/* Compares with what djpeg made of the file, where that lies in ref/. */
static void check_reference(const char *folder, const char *file, const zim_image *image) {
    char path[1024];
    const char *slash = strrchr(file, '/'), *dot = strrchr(file, '.');
    zim_image reference;
    if (slash == NULL || dot == NULL || strstr(file, "generated") == NULL) return;
    snprintf(path, sizeof path, "%s/%.*s/ref/%.*s.fancy.ppm", folder, (int)(slash - file), file, (int)(dot - slash - 1), slash + 1);
    if (zim_load(path, NULL, &reference, NULL) != 0) return;
    CHECK_FOR(is_near(image, &reference), file);
    zim_free(&reference);
}
static void check_shared(const char *folder, const char *file, const char *line) {
    char path[2100], error[ZIM_ERROR_SIZE] = "";
    const char *column = line;
    int width = 0, height = 0, refused, i, bad;
    zim_image image;
    for (i = 0; i < 14 && column != NULL; ++i) column = strchr(column + (i > 0), '\t');
    if (column == NULL || is_exception(file)) return;
    ++column; /* what Pillow made of it */
    refused = strncmp(column, "OK", 2) != 0 || strstr(line, "arithmetic") != NULL || strstr(line, "arith-prog") != NULL;
    sscanf(column, "OK %*s %*s %dx%d", &width, &height);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    bad = zim_load(path, NULL, &image, error);
    if (bad != (refused ? -1 : 0)) printf("%s: %s\n", path, bad ? error : "was not refused");
    CHECK_FOR(bad == (refused ? -1 : 0), file);
    if (bad && strstr(line, "arith") != NULL) CHECK_HOLDS(error, "arithmetic-coded");
    if (bad) return;
    CHECK_FOR(image.width == width && image.height == height, file);
    check_reference(folder, file, &image);
    zim_free(&image);
}
static void test_shared(const char *folder) {
    char path[1024], line[2100], file[1024];
    FILE *list;
    snprintf(path, sizeof path, "%s/MANIFEST.tsv", folder);
    list = fopen(path, "r");
    if (list == NULL) {
        snprintf(line, sizeof line, "%s is not there", path);
        check_skip(line);
        return;
    }
    while (fgets(line, sizeof line, list) != NULL) {
        const char *dot, *tab = strchr(line, '\t');
        if (tab == NULL || tab == line || tab - line >= (ptrdiff_t)sizeof file) continue;
        memcpy(file, line, (size_t)(tab - line));
        file[tab - line] = '\0';
        dot = strrchr(file, '.');
        if (dot != NULL && strstr("|.jpg|.JPG|.jpeg|.png|.bmp|.ppm|.pgm|.pbm|.pnm|.pfm|", dot) != NULL) check_shared(folder, file, line);
    }
    fclose(list);
}

int main(int argc, char **argv) {
    (void)argc;
    test_samples();
    test_refused_jpeg();
    test_damage();
    test_salvage();
    test_limits();
    test_pnm();
    test_bmp();
    test_png_writer();
    test_jpeg_writer();
    test_files(argv[0]);
    test_memory();
    test_shared("../shared/data/jpeg");
    test_shared("../shared/data/png");
    test_shared("../shared/data/sign_digits");
    return check_done();
}
