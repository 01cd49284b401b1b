/* zennet_image.h - reads JPEG, PNG, PNM and BMP pictures and writes PNG, PPM and JPEG; no other library is needed.

   HOW TO USE
     In exactly one C or C++ file:
         #define ZENNET_IMAGE_IMPLEMENTATION
         #include "zennet_image.h"
     Everywhere else just #include it. Nothing to link.

   A PROGRAM
         #define ZENNET_IMAGE_IMPLEMENTATION
         #include "zennet_image.h"
         int main(int argc, char **argv) { // picture in, picture of half its size out
             char error[ZIM_ERROR_SIZE] = "needs IN and OUT.png";
             zim_image image;
             int i, bad = argc != 3 || zim_load(argv[1], NULL, &image, error) != 0; // NULL: RGB, and limits on the size
             if (!bad) {
                 int w = image.width / 2, h = image.height / 2;
                 for (i = 0; i < w * h * 3; ++i) // row y begins at pixels + y*width*3; the half fits in front of the whole
                     image.pixels[i] = image.pixels[(i / (w * 3) * 2 * image.width + i / 3 % w * 2) * 3 + i % 3];
                 bad = zim_save_png(argv[2], image.pixels, w, h, 3, error) != 0;
                 zim_free(&image);
             }
             if (bad) fprintf(stderr, "%s\n", error);
             return bad;
         }

   READS
     JPEG  baseline, extended (Huffman, 8 bit), progressive; gray, YCbCr, RGB, CMYK, YCCK (Adobe marker, component ids);
           every sampling factor, restart intervals, EXIF orientation. Pixels are those of libjpeg-turbo with its default
           settings (accurate integer DCT, triangle upsampling), CMYK is turned into RGB as Pillow does.
           Refused by name: arithmetic coding, lossless, hierarchical, 12 bit, a height given by DNL only.
     PNG   all colour types and depths, interlaced, tRNS, eXIf orientation; checksums are verified. 16-bit samples give
           their high byte. Gamma and colour profiles are not applied.
     PNM   P1..P6, maxval up to 65535, scaled to 255 and rounded.
     BMP   1, 4, 8, 16, 24, 32 bit, RLE4, RLE8, bit fields, bottom-up and top-down.

   CONVENTIONS
     Pixels are unsigned 8-bit, row by row from the top, channels interleaved, rows not padded. All calls are free of
     shared state, so threads need no locks. No call prints, exits, or trusts its input: what a file asks for is checked
     against the limits in zim_opts and against what its size can hold before memory is taken for it.

   MACROS (before the implementation)
     ZENNET_IMAGE_STATIC                 everything static
     ZIM_MALLOC ZIM_REALLOC ZIM_FREE     memory; all three or none
     ZIM_MAX_FILE                        bytes that zim_load reads at most (1 GiB)

   CONTENTS
     API-IMAGE     the declarations
     IMG-BASE      memory, errors, bytes, files
     IMG-PIXELS    channels, orientation
     IMG-PNM       PNM reader
     IMG-BMP       BMP reader
     IMG-INFLATE   zlib streams, reading
     IMG-DEFLATE   zlib streams, writing
     IMG-PNG       PNG reader
     IMG-PNGOUT    PNG writer
     IMG-JPEG      JPEG reader: markers and tables
     IMG-SCAN      JPEG reader: entropy-coded data
     IMG-DCT       JPEG reader: inverse DCT
     IMG-COLOUR    JPEG reader: upsampling and colours
     IMG-JPEGOUT   JPEG writer
     IMG-PUBLIC    entry points

   License: MIT or public domain, see the end of the file.
*/
#ifndef ZENNET_IMAGE_H
#define ZENNET_IMAGE_H

#include <stddef.h>

/* ==================================================================================================================
   API-IMAGE  the declarations
   ================================================================================================================== */
#ifdef ZENNET_IMAGE_STATIC
#if defined(__GNUC__) || defined(__clang__)
#define ZIM_API static __attribute__((unused)) /* a file need not use all of it */
#else
#define ZIM_API static
#endif
#elif defined(__cplusplus)
#define ZIM_API extern "C"
#else
#define ZIM_API extern
#endif

#define ZIM_ERROR_SIZE 256 /* bytes of the error texts below */

typedef enum zim_format { ZIM_UNKNOWN = 0, ZIM_JPEG, ZIM_PNG, ZIM_PNM, ZIM_BMP } zim_format;

typedef struct zim_opts {
    int channels;      /* of the result. 3: RGB (gray repeated, alpha dropped, as Pillow's convert("RGB")); 4: RGBA (255
                          where the file has no alpha); 1: gray, (19595 R + 38470 G + 7471 B + 32768) >> 16. Default 3 */
    int max_side;      /* width and height above it are refused; 65535, at most 1 << 24 */
    size_t max_pixels; /* width*height above it is refused before anything big is allocated; 1 << 28. Decoding takes up to
                          about 15 bytes per pixel */
    int orient;        /* 1: turns and mirrors the picture upright by its EXIF orientation; 0 */
    int salvage;       /* 1: of a damaged file give what could be decoded; 0 */
} zim_opts;

typedef struct zim_image {
    int width, height, channels;
    unsigned char *pixels; /* height rows of width*channels bytes, owned: zim_free */
    int damaged;           /* salvage only: 1 when parts are missing (black or gray) or may be wrong; the error text says why */
} zim_image;

typedef struct zim_info {
    zim_format format;
    int width, height; /* as stored, before orientation */
    int channels;      /* in the file: 1 gray, 2 gray + alpha, 3 RGB (palettes, too), 4 RGBA or CMYK */
    int depth;         /* bits per sample in the file; of the index for palettes */
    int orientation;   /* EXIF, 1..8; 1 when the file has none */
} zim_info;

/* 3 channels, the limits above, no orientation, no salvage. NULL stands for these wherever opts are taken. */
ZIM_API zim_opts zim_opts_default(void);

/* All calls that can fail return 0 when well, else -1 with a reason, and the byte where it helps, in
   error[ZIM_ERROR_SIZE]; error may be NULL. Reading leaves *out_image zeroed on failure. */

/* Headers only: kind and size, no pixels. Also refuses what zim_decode would refuse by name. The begin of a file is
   enough when it holds the headers; a PNG's orientation may stand behind the pixels. */
ZIM_API int zim_probe(const unsigned char *bytes, size_t size, zim_info *out_info, char *error);
/* Decodes a file in memory; the kind is told by its first bytes. */
ZIM_API int zim_decode(const unsigned char *bytes, size_t size, const zim_opts *opts, zim_image *out_image, char *error);
/* The same from disk; messages do not repeat the path. */
ZIM_API int zim_load(const char *path, const zim_opts *opts, zim_image *out_image, char *error);
/* Frees the pixels and zeroes the struct; NULL and zeroed ones are fine. */
ZIM_API void zim_free(zim_image *image);
/* "JPEG", "PNG", "PNM", "BMP", or "unknown". */
ZIM_API const char *zim_format_text(zim_format format);

/* PNG of 8-bit pixels with 1 (gray), 2 (gray + alpha), 3 (RGB) or 4 (RGBA) channels. *out_bytes is owned by the caller:
   zim_free_bytes. */
ZIM_API int zim_encode_png(const unsigned char *pixels, int width, int height, int channels, unsigned char **out_bytes, size_t *out_size, char *error);
/* Baseline JPEG, YCbCr 4:2:0 with the standard tables; quality 1..100 scaled as libjpeg does. Sides up to 65535. */
ZIM_API int zim_encode_jpeg(const unsigned char *rgb, int width, int height, int quality, unsigned char **out_bytes, size_t *out_size, char *error);
ZIM_API void zim_free_bytes(unsigned char *bytes);

/* The same to disk. A file is written under path + ".part" and renamed when complete: whatever happens, what was there
   before is still whole. */
ZIM_API int zim_save_png(const char *path, const unsigned char *pixels, int width, int height, int channels, char *error);
ZIM_API int zim_save_ppm(const char *path, const unsigned char *rgb, int width, int height, char *error);
ZIM_API int zim_save_jpeg(const char *path, const unsigned char *rgb, int width, int height, int quality, char *error);

/* stop here if you only use the library */
#endif /* ZENNET_IMAGE_H */

#ifdef ZENNET_IMAGE_IMPLEMENTATION
#ifndef ZENNET_IMAGE_IMPLEMENTATION_DONE
#define ZENNET_IMAGE_IMPLEMENTATION_DONE

/* ==================================================================================================================
   IMG-BASE  memory, errors, bytes, files
   ------------------------------------------------------------------------------------------------------------------
   Sizes go through zimi_mul and zimi_add, which saturate at SIZE_MAX; zimi_alloc refuses that, so an overflow is "out of
   memory" and never a short buffer. A function that can fail returns 0 or -1 and leaves the reason in the job's error.
   ================================================================================================================== */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 200112L
#include <sys/stat.h>
#include <unistd.h>
#define ZIMI_POSIX 1
#else
#define ZIMI_POSIX 0
#endif

#ifndef ZIM_MALLOC
#define ZIM_MALLOC(bytes) malloc(bytes)
#define ZIM_REALLOC(memory, bytes) realloc(memory, bytes)
#define ZIM_FREE(memory) free(memory)
#endif
#ifndef ZIM_MAX_FILE
#define ZIM_MAX_FILE ((size_t)1 << 30)
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ZIMI_RESTRICT __restrict__
#define ZIMI_INLINE static inline __attribute__((always_inline, unused))
#define ZIMI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ZIMI_RESTRICT
#define ZIMI_INLINE static
#define ZIMI_PRINTF(fmt, args)
#endif

/* One decoding: what is read, what is wanted, what was found, where it goes. */
typedef struct zimi_job {
    const unsigned char *bytes;
    size_t size;
    zim_opts opts;
    zim_info info;
    zim_image *image; /* NULL: headers only */
    char *error;      /* ZIM_ERROR_SIZE bytes, never NULL */
} zimi_job;

static int zimi_fail(char *error, const char *format, ...) ZIMI_PRINTF(2, 3);
static int zimi_fail(char *error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, ZIM_ERROR_SIZE, format, args);
    va_end(args);
    return -1;
}
static int zimi_fail_at(zimi_job *job, size_t at, const char *what) {
    return zimi_fail(job->error, "byte %lu: %s", (unsigned long)at, what);
}

ZIMI_INLINE size_t zimi_mul(size_t a, size_t b) { return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }
ZIMI_INLINE size_t zimi_add(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }
ZIMI_INLINE size_t zimi_min(size_t a, size_t b) { return a < b ? a : b; }

static void *zimi_alloc(size_t bytes, char *error) {
    void *memory = bytes == SIZE_MAX ? NULL : ZIM_MALLOC(bytes > 0 ? bytes : 1);
    if (memory == NULL) zimi_fail(error, "out of memory (%lu bytes)", (unsigned long)bytes);
    return memory;
}

ZIMI_INLINE unsigned zimi_be16(const unsigned char *p) { return (unsigned)p[0] << 8 | p[1]; }
ZIMI_INLINE unsigned zimi_le16(const unsigned char *p) { return (unsigned)p[1] << 8 | p[0]; }
ZIMI_INLINE uint32_t zimi_be32(const unsigned char *p) { return (uint32_t)zimi_be16(p) << 16 | zimi_be16(p + 2); }
ZIMI_INLINE uint32_t zimi_le32(const unsigned char *p) { return (uint32_t)zimi_le16(p + 2) << 16 | zimi_le16(p); }

/* A growing run of bytes; after a failure it stays as it was and `failed` is set. */
typedef struct zimi_bytes {
    unsigned char *data;
    size_t size, capacity;
    int failed;
} zimi_bytes;

static int zimi_reserve(zimi_bytes *b, size_t more) {
    size_t need = zimi_add(b->size, more), bigger = zimi_mul(b->capacity, 2);
    unsigned char *fresh;
    if (b->failed) return 0;
    if (need <= b->capacity) return 1;
    if (bigger < need) bigger = need;
    if (bigger < 4096) bigger = 4096;
    fresh = bigger == SIZE_MAX ? NULL : (unsigned char *)ZIM_REALLOC(b->data, bigger);
    if (fresh == NULL) {
        b->failed = 1;
        return 0;
    }
    b->data = fresh;
    b->capacity = bigger;
    return 1;
}
static void zimi_append(zimi_bytes *b, const void *data, size_t size) {
    if (size == 0 || !zimi_reserve(b, size)) return;
    memcpy(b->data + b->size, data, size);
    b->size += size;
}
ZIMI_INLINE void zimi_put8(zimi_bytes *b, unsigned value) {
    if (b->size < b->capacity || zimi_reserve(b, 1)) b->data[b->size++] = (unsigned char)value;
}
static void zimi_put_be16(zimi_bytes *b, unsigned value) {
    zimi_put8(b, value >> 8 & 255);
    zimi_put8(b, value & 255);
}
static void zimi_put_be32(zimi_bytes *b, uint32_t value) {
    zimi_put_be16(b, value >> 16);
    zimi_put_be16(b, value & 0xffff);
}
/* Hands the bytes over to the caller of an encoder, or says that memory is out. */
static int zimi_hand_over(zimi_bytes *b, unsigned char **out_bytes, size_t *out_size, char *error) {
    if (b->failed) {
        ZIM_FREE(b->data);
        return zimi_fail(error, "out of memory");
    }
    *out_bytes = b->data;
    *out_size = b->size;
    return 0;
}

static int zimi_read_file(const char *path, zimi_bytes *out, char *error) {
    FILE *file = fopen(path, "rb");
    size_t got = 1;
    int saved;
    memset(out, 0, sizeof *out);
    if (file == NULL) return zimi_fail(error, "cannot open: %s", strerror(errno));
    errno = 0;
    while (got > 0 && out->size <= ZIM_MAX_FILE && zimi_reserve(out, 65536)) {
        got = fread(out->data + out->size, 1, out->capacity - out->size, file);
        out->size += got;
    }
    saved = ferror(file) ? errno : 0;
    fclose(file);
    if (saved == 0 && !out->failed && out->size <= ZIM_MAX_FILE) return 0;
    ZIM_FREE(out->data);
    if (out->failed) return zimi_fail(error, "out of memory");
    if (saved != 0) return zimi_fail(error, "cannot read: %s", strerror(saved));
    return zimi_fail(error, "larger than the %lu bytes that are read at most", (unsigned long)ZIM_MAX_FILE);
}

static int zimi_write_parts(FILE *file, const void *head, size_t head_size, const void *body, size_t body_size) {
    if (fwrite(head, 1, head_size, file) != head_size || fwrite(body, 1, body_size, file) != body_size || fflush(file) != 0) return errno;
#if ZIMI_POSIX
    (void)fsync(fileno(file)); /* so that the rename never gets to the disk before the bytes */
#endif
    return 0;
}
#define ZIMI_PATH_SIZE 4096
/* Where a chain of symbolic links ends, so that links stay links; there need not be anything. -1 for one without an
   end. (As in zennet.h, which this header does without.) */
static int zimi_follow_links(const char *path, char to[ZIMI_PATH_SIZE], char *error) {
    int length = snprintf(to, ZIMI_PATH_SIZE, "%s", path), hops = 0;
#if ZIMI_POSIX
    char target[ZIMI_PATH_SIZE];
    ssize_t got;
    for (; length < ZIMI_PATH_SIZE && hops < 40 && (got = readlink(to, target, sizeof target - 1)) > 0; ++hops) {
        const char *slash = strrchr(to, '/');
        int before = target[0] != '/' && slash != NULL ? (int)(slash + 1 - to) : 0;
        length = before + snprintf(to + before, (size_t)(ZIMI_PATH_SIZE - before), "%.*s", (int)got, target);
    }
#endif
    if (length < ZIMI_PATH_SIZE && hops < 40) return 0;
    return zimi_fail(error, "cannot write: %s", strerror(hops == 40 ? ELOOP : ENAMETOOLONG));
}
/* Whether a device or a pipe is there, which is written to and not replaced. */
static int zimi_is_special(const char *path) {
#if ZIMI_POSIX
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
#else
    (void)path;
    return 0;
#endif
}
/* Writes head and body to path, replacing it in one step. */
static int zimi_write_file(const char *path, const void *head, size_t head_size, const void *body, size_t body_size, char *error) {
    char end[ZIMI_PATH_SIZE], temporary[ZIMI_PATH_SIZE + 8];
    int aside, code;
    FILE *file;
    if (zimi_follow_links(path, end, error) != 0) return -1;
    aside = !zimi_is_special(end);
    snprintf(temporary, sizeof temporary, aside ? "%s.part" : "%s", end);
    file = fopen(temporary, "wb");
    if (file == NULL) return zimi_fail(error, "cannot write: %s", strerror(errno));
    code = zimi_write_parts(file, head, head_size, body, body_size);
    if (fclose(file) != 0 && code == 0) code = errno;
#ifdef _WIN32
    if (code == 0) remove(end); /* rename does not replace here */
#endif
    if (code == 0 && aside && rename(temporary, end) != 0) code = errno;
    if (code == 0) return 0;
    if (aside) remove(temporary);
    return zimi_fail(error, "cannot write: %s", strerror(code));
}

/* ==================================================================================================================
   IMG-PIXELS  channels, orientation
   ------------------------------------------------------------------------------------------------------------------
   Decoders hand over rows of 1 (gray), 2 (gray + alpha), 3 (RGB) or 4 (RGBA) channels; here they become what was asked
   for. Layer above: IMG-BASE.
   ================================================================================================================== */
#define ZIMI_MAX_SIDE (1 << 24) /* so that the bits of a row can be counted in 32 bits */

/* Checks the size in job->info against the limits. */
static int zimi_check_limits(zimi_job *job) {
    int width = job->info.width, height = job->info.height;
    int limit = job->opts.max_side < ZIMI_MAX_SIDE ? job->opts.max_side : ZIMI_MAX_SIDE;
    if (width < 1 || height < 1) return zimi_fail(job->error, "%d x %d pixels: the picture is empty", width, height);
    if (job->image == NULL) return 0;
    if (width > limit || height > limit) return zimi_fail(job->error, "%d x %d pixels: a side above the limit of %d", width, height, limit);
    if (zimi_mul((size_t)width, (size_t)height) > job->opts.max_pixels)
        return zimi_fail(job->error, "%d x %d pixels: above the limit of %lu in all", width, height, (unsigned long)job->opts.max_pixels);
    return 0;
}
/* Takes memory for the result, unless the compressed or plain pixels are fewer bytes than they can possibly be: so a small
   file cannot ask for much. What is salvaged may be short. */
static int zimi_begin(zimi_job *job, size_t bytes, size_t at_least) {
    int width = job->info.width, height = job->info.height;
    size_t size = zimi_mul(zimi_mul((size_t)width, (size_t)height), (size_t)job->opts.channels);
    if (bytes < at_least && !job->opts.salvage)
        return zimi_fail(job->error, "%lu bytes cannot hold %d x %d pixels: the file ends too early", (unsigned long)bytes, width, height);
    job->image->pixels = (unsigned char *)zimi_alloc(size, job->error);
    if (job->image->pixels == NULL) return -1;
    if (job->opts.salvage) memset(job->image->pixels, 0, size);
    job->image->width = width;
    job->image->height = height;
    job->image->channels = job->opts.channels;
    return 0;
}

ZIMI_INLINE unsigned char zimi_luma(const unsigned char *rgb) {
    return (unsigned char)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}
/* One pixel of `from` channels to `to` channels. */
ZIMI_INLINE void zimi_convert_pixel(const unsigned char *in, int from, unsigned char *out, int to) {
    unsigned char alpha = (from & 1) == 0 ? in[from - 1] : 255;
    if (to == 1) out[0] = from < 3 ? in[0] : zimi_luma(in);
    else {
        out[0] = in[0];
        out[1] = in[from < 3 ? 0 : 1];
        out[2] = in[from < 3 ? 0 : 2];
        if (to == 4) out[3] = alpha;
    }
}
ZIMI_INLINE void zimi_convert_row(const unsigned char *in, int from, unsigned char *out, int to, int count) {
    int i;
    for (i = 0; i < count; ++i) zimi_convert_pixel(in + (size_t)i * (size_t)from, from, out + (size_t)i * (size_t)to, to);
}
/* Stores a whole row of the result. */
static void zimi_put_row(zimi_job *job, int y, const unsigned char *in, int from) {
    int width = job->image->width, to = job->image->channels;
    unsigned char *out = job->image->pixels + (size_t)y * (size_t)width * (size_t)to;
    if (from == to) memcpy(out, in, (size_t)width * (size_t)to);
    else if (from == 1 && to == 3) zimi_convert_row(in, 1, out, 3, width);
    else if (from == 4 && to == 3) zimi_convert_row(in, 4, out, 3, width);
    else zimi_convert_row(in, from, out, to, width);
}

/* Turns the picture upright; orientation 1..8 as in EXIF: 2 mirrored, 3 by 180 degrees, 4 mirrored upside down, 5..8 the
   same with rows and columns exchanged. */
static int zimi_orient(zim_image *image, int orientation, char *error) {
    int w = image->width, h = image->height, c = image->channels, turned = orientation >= 5, x, y, k;
    int flip_x, flip_y; /* of the source */
    unsigned char *pixels, *out;
    if (orientation < 2 || orientation > 8) return 0;
    flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    pixels = (unsigned char *)zimi_alloc(zimi_mul(zimi_mul((size_t)w, (size_t)h), (size_t)c), error);
    if (pixels == NULL) return -1;
    out = pixels;
    for (y = 0; y < (turned ? w : h); ++y)
        for (x = 0; x < (turned ? h : w); ++x) {
            int sx = turned ? y : x, sy = turned ? x : y;
            const unsigned char *in = image->pixels + ((size_t)(flip_y ? h - 1 - sy : sy) * (size_t)w + (size_t)(flip_x ? w - 1 - sx : sx)) * (size_t)c;
            for (k = 0; k < c; ++k) *out++ = in[k];
        }
    ZIM_FREE(image->pixels);
    image->pixels = pixels;
    image->width = turned ? h : w;
    image->height = turned ? w : h;
    return 0;
}

/* Orientation in a TIFF block (the body of an EXIF segment or chunk): 1..8, or 0 when it holds none. */
static int zimi_exif_orientation(const unsigned char *tiff, size_t size) {
    int big;
    size_t at, count, i;
    if (size < 8 || (memcmp(tiff, "II*", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0)) return 0;
    big = tiff[0] == 'M';
    at = big ? zimi_be32(tiff + 4) : zimi_le32(tiff + 4);
    if (at > size || size - at < 2) return 0;
    count = big ? zimi_be16(tiff + at) : zimi_le16(tiff + at);
    for (i = 0, at += 2; i < count && size - at >= 12; ++i, at += 12) {
        const unsigned char *entry = tiff + at;
        unsigned value = big ? zimi_be16(entry + 8) : zimi_le16(entry + 8);
        if ((big ? zimi_be16(entry) : zimi_le16(entry)) == 0x112) return value >= 1 && value <= 8 ? (int)value : 0;
    }
    return 0;
}

/* ==================================================================================================================
   IMG-PNM  PNM reader
   ------------------------------------------------------------------------------------------------------------------
   P1 P2 P3 in digits, P4 P5 P6 in bytes. (netpbm's pbm, pgm, ppm manual pages.) Layers above: IMG-BASE, IMG-PIXELS.
   ================================================================================================================== */
typedef struct zimi_pnm {
    zimi_job *job;
    size_t at;
    int kind;            /* 1..6 */
    unsigned maxval;     /* 1 for bitmaps */
} zimi_pnm;

ZIMI_INLINE int zimi_is_space(int c) { return c == ' ' || (c >= 9 && c <= 13); }

static void zimi_pnm_skip(zimi_pnm *p) { /* white space and comments */
    const unsigned char *bytes = p->job->bytes;
    while (p->at < p->job->size && (zimi_is_space(bytes[p->at]) || bytes[p->at] == '#')) {
        if (bytes[p->at] == '#')
            while (p->at < p->job->size && bytes[p->at] != '\n' && bytes[p->at] != '\r') ++p->at;
        else ++p->at;
    }
}
static int zimi_pnm_number(zimi_pnm *p, unsigned limit, unsigned *out_value) {
    const unsigned char *bytes = p->job->bytes;
    size_t begin;
    unsigned value = 0;
    zimi_pnm_skip(p);
    begin = p->at;
    while (p->at < p->job->size && bytes[p->at] >= '0' && bytes[p->at] <= '9') {
        value = value * 10 + (unsigned)(bytes[p->at++] - '0');
        if (value > limit) return zimi_fail(p->job->error, "byte %lu: a number above %u", (unsigned long)begin, limit);
    }
    if (p->at == begin) return zimi_fail_at(p->job, p->at, p->at < p->job->size ? "a number was expected" : "the file ends too early");
    *out_value = value;
    return 0;
}
static int zimi_pnm_header(zimi_pnm *p) {
    unsigned width, height;
    zim_info *info = &p->job->info;
    p->kind = p->job->bytes[1] - '0';
    p->at = 2;
    p->maxval = 1;
    if (zimi_pnm_number(p, 0x7fffffff / 16, &width) != 0 || zimi_pnm_number(p, 0x7fffffff / 16, &height) != 0) return -1;
    if (p->kind % 3 != 1 && zimi_pnm_number(p, 65535, &p->maxval) != 0) return -1;
    if (p->maxval == 0) return zimi_fail_at(p->job, p->at, "the largest value is 0");
    if (p->kind > 3) { /* one white space, then bytes */
        if (p->at >= p->job->size || !zimi_is_space(p->job->bytes[p->at])) return zimi_fail_at(p->job, p->at, "white space was expected after the header");
        ++p->at;
    }
    info->width = (int)width;
    info->height = (int)height;
    info->channels = p->kind % 3 == 0 ? 3 : 1;
    info->depth = p->kind % 3 == 1 ? 1 : p->maxval > 255 ? 16 : 8;
    return 0;
}
/* value*255/maxval rounded to nearest, halves to even as Pillow does. */
ZIMI_INLINE unsigned char zimi_pnm_scale(unsigned value, unsigned maxval) {
    unsigned scaled = value * 255, whole = scaled / maxval, twice = scaled % maxval * 2;
    return (unsigned char)(whole + (twice > maxval || (twice == maxval && (whole & 1) != 0)));
}
/* One row in digits. Digits of bitmaps need no white space between them. */
static int zimi_pnm_plain(zimi_pnm *p, unsigned char *row, size_t count) {
    size_t i;
    unsigned value;
    for (i = 0; i < count; ++i) {
        if (p->kind == 1) {
            zimi_pnm_skip(p);
            if (p->at >= p->job->size) return zimi_fail_at(p->job, p->at, "the file ends too early");
            if (p->job->bytes[p->at] != '0' && p->job->bytes[p->at] != '1') return zimi_fail_at(p->job, p->at, "0 or 1 was expected");
            row[i] = p->job->bytes[p->at++] == '1' ? 0 : 255;
        } else {
            if (zimi_pnm_number(p, p->maxval, &value) != 0) return -1;
            row[i] = zimi_pnm_scale(value, p->maxval);
        }
    }
    return 0;
}
static int zimi_pnm_binary(zimi_pnm *p, unsigned char *row, size_t count) {
    const unsigned char *in = p->job->bytes + p->at;
    size_t need = p->kind == 4 ? (count + 7) / 8 : count * (p->maxval > 255 ? 2 : 1), i;
    if (p->job->size - p->at < need) return zimi_fail_at(p->job, p->job->size, "the file ends too early");
    for (i = 0; i < count; ++i) {
        unsigned value;
        if (p->kind == 4) value = 1u ^ ((unsigned)in[i / 8] >> (7 - i % 8) & 1u);
        else value = p->maxval > 255 ? zimi_be16(in + 2 * i) : in[i];
        if (p->maxval == 255) row[i] = (unsigned char)value;
        else row[i] = zimi_pnm_scale(value < p->maxval ? value : p->maxval, p->maxval);
    }
    p->at += need;
    return 0;
}
static int zimi_pnm_decode(zimi_job *job) {
    zimi_pnm p;
    size_t values;
    unsigned char *row;
    int y, bad = 0;
    memset(&p, 0, sizeof p);
    p.job = job;
    if (zimi_pnm_header(&p) != 0 || zimi_check_limits(job) != 0) return -1;
    if (job->image == NULL) return 0;
    values = (size_t)job->info.width * (size_t)job->info.channels;
    if (zimi_begin(job, job->size - p.at, zimi_mul(values, (size_t)job->info.height) / (p.kind == 4 ? 8 : 1)) != 0) return -1;
    row = (unsigned char *)zimi_alloc(values, job->error);
    if (row == NULL) return -1;
    for (y = 0; y < job->info.height && !bad; ++y) {
        bad = p.kind > 3 ? zimi_pnm_binary(&p, row, values) : zimi_pnm_plain(&p, row, values);
        if (!bad) zimi_put_row(job, y, row, job->info.channels);
    }
    ZIM_FREE(row);
    return bad;
}

/* ==================================================================================================================
   IMG-BMP  BMP reader
   ------------------------------------------------------------------------------------------------------------------
   OS/2 and Windows headers up to version 5. (Microsoft, Bitmap Storage.) Layers above: IMG-BASE, IMG-PIXELS.
   ================================================================================================================== */
enum { ZIMI_BMP_RGB = 0, ZIMI_BMP_RLE8 = 1, ZIMI_BMP_RLE4 = 2, ZIMI_BMP_FIELDS = 3, ZIMI_BMP_ALPHA_FIELDS = 6 };

typedef struct zimi_bmp {
    zimi_job *job;
    size_t header, palette, pixels; /* header size; offsets */
    int entry, colours;             /* bytes per palette entry, entries */
    int bits, compression, top_down;
    uint32_t mask[4];               /* R G B A of 16- and 32-bit pixels */
} zimi_bmp;

static int zimi_bmp_header(zimi_bmp *b) {
    zimi_job *job = b->job;
    const unsigned char *h = job->bytes + 14;
    int32_t width, height;
    uint32_t used = 0;
    if (job->size < 26) return zimi_fail_at(job, job->size, "the file ends in the BMP header");
    b->header = zimi_le32(h);
    b->pixels = zimi_le32(job->bytes + 10);
    if (b->header != 12 && (b->header < 40 || b->header > 4096)) return zimi_fail(job->error, "byte 14: a BMP header of %lu bytes is not known", (unsigned long)b->header);
    if (job->size - 14 < b->header) return zimi_fail_at(job, job->size, "the file ends in the BMP header");
    if (b->header == 12) {
        width = (int32_t)zimi_le16(h + 4);
        height = (int32_t)zimi_le16(h + 6);
        b->bits = (int)zimi_le16(h + 10);
    } else {
        width = (int32_t)zimi_le32(h + 4);
        height = (int32_t)zimi_le32(h + 8);
        b->bits = (int)zimi_le16(h + 14);
        b->compression = (int)(zimi_le32(h + 16) & 0xffff);
        used = zimi_le32(h + 32);
    }
    b->top_down = height < 0;
    if (width < 1 || height == 0 || height == INT32_MIN) return zimi_fail_at(job, 18, "the picture is empty");
    job->info.width = (int)width;
    job->info.height = (int)(height < 0 ? -height : height);
    job->info.depth = b->bits <= 8 ? b->bits : b->bits == 16 ? 5 : 8;
    job->info.channels = 3;
    b->entry = b->header == 12 ? 3 : 4;
    b->colours = b->bits <= 8 ? (used == 0 || used > (1u << b->bits) ? 1 << b->bits : (int)used) : 0;
    return 0;
}
/* Where palette and bit fields lie, and whether all this goes together. */
static int zimi_bmp_layout(zimi_bmp *b) {
    static const uint32_t fields16[4] = {0x7c00, 0x3e0, 0x1f, 0}, fields32[4] = {0xff0000, 0xff00, 0xff, 0};
    zimi_job *job = b->job;
    int fields = b->compression == ZIMI_BMP_FIELDS || b->compression == ZIMI_BMP_ALPHA_FIELDS, i;
    size_t masks = b->compression == ZIMI_BMP_ALPHA_FIELDS || b->header >= 56 ? 4 : 3;
    int fits = b->compression == ZIMI_BMP_RGB ? b->bits == 1 || b->bits == 2 || b->bits == 4 || b->bits == 8 || b->bits == 16 || b->bits == 24 || b->bits == 32
               : b->compression == ZIMI_BMP_RLE8 ? b->bits == 8
               : b->compression == ZIMI_BMP_RLE4 ? b->bits == 4
                                                 : fields && (b->bits == 16 || b->bits == 32);
    if (!fits) return zimi_fail(job->error, "byte 28: BMP with %d bits per pixel and compression %d is not supported", b->bits, b->compression);
    b->palette = 14 + b->header;
    memcpy(b->mask, b->bits == 16 ? fields16 : fields32, sizeof b->mask);
    if (fields) {
        if (job->size < 54 + 4 * masks) return zimi_fail_at(job, job->size, "the file ends in the bit fields");
        for (i = 0; i < (int)masks; ++i) b->mask[i] = zimi_le32(job->bytes + 54 + 4 * i); /* within or right behind the header */
        if (b->mask[3] != 0) job->info.channels = 4;
    }
    if (b->pixels == b->palette) b->pixels += (size_t)(b->colours * b->entry); /* some writers forget the palette */
    if (b->pixels > job->size || b->pixels < b->palette) return zimi_fail_at(job, 10, "the pixels lie outside the file");
    if ((size_t)(b->colours * b->entry) > b->pixels - b->palette) b->colours = (int)(b->pixels - b->palette) / b->entry;
    return 0;
}

/* Bits under a mask, scaled to 0..255 rounding down as Pillow does. */
static unsigned char zimi_bmp_field(uint32_t pixel, uint32_t mask) {
    if (mask == 0) return 0;
    while ((mask & 1) == 0) {
        mask >>= 1;
        pixel >>= 1;
    }
    return (unsigned char)((uint64_t)(pixel & mask) * 255 / mask);
}
static void zimi_bmp_true_colour(const zimi_bmp *b, const unsigned char *in, unsigned char *row, int width) {
    int x, k;
    if (b->bits == 24) {
        for (x = 0; x < width; ++x, in += 3, row += 3) {
            row[0] = in[2];
            row[1] = in[1];
            row[2] = in[0];
        }
        return;
    }
    for (x = 0; x < width; ++x) {
        uint32_t pixel = b->bits == 16 ? zimi_le16(in + 2 * (size_t)x) : zimi_le32(in + 4 * (size_t)x);
        for (k = 0; k < b->job->info.channels; ++k) *row++ = zimi_bmp_field(pixel, b->mask[k]);
    }
}
/* Indices (one per byte) to colours; those past the palette are black. */
static void zimi_bmp_colours(const zimi_bmp *b, const unsigned char *index, unsigned char *row) {
    const unsigned char *palette = b->job->bytes + b->palette;
    int x;
    memset(row, 0, (size_t)b->job->info.width * 3);
    for (x = 0; x < b->job->info.width; ++x, row += 3) {
        const unsigned char *colour = palette + (size_t)index[x] * (size_t)b->entry;
        if (index[x] >= b->colours) continue;
        row[0] = colour[2];
        row[1] = colour[1];
        row[2] = colour[0];
    }
}
static void zimi_bmp_store(const zimi_bmp *b, int line, const unsigned char *row) {
    zimi_put_row(b->job, b->top_down ? line : b->job->info.height - 1 - line, row, b->job->info.channels);
}
static int zimi_bmp_plain(zimi_bmp *b, unsigned char *row, unsigned char *index) {
    zimi_job *job = b->job;
    int width = job->info.width, y, x;
    size_t stride = ((size_t)width * (size_t)b->bits + 31) / 32 * 4, need = ((size_t)width * (size_t)b->bits + 7) / 8, at = b->pixels;
    for (y = 0; y < job->info.height; ++y, at += stride) {
        const unsigned char *in = job->bytes + at;
        if (at > job->size || job->size - at < need) return zimi_fail_at(job, job->size, "the file ends too early");
        if (b->bits > 8) zimi_bmp_true_colour(b, in, row, width);
        else {
            for (x = 0; x < width; ++x) {
                size_t bit = (size_t)x * (size_t)b->bits;
                index[x] = (unsigned char)(in[bit / 8] >> (8 - b->bits - (int)(bit % 8)) & ((1 << b->bits) - 1));
            }
            zimi_bmp_colours(b, index, row);
        }
        zimi_bmp_store(b, y, row);
    }
    return 0;
}

/* Run-length coding. Skipped pixels are colour 0; what runs over the end of its line is dropped. */
typedef struct zimi_bmp_rle {
    const unsigned char *in;
    size_t at;
    int x, y;
} zimi_bmp_rle;

static int zimi_bmp_rle_line(zimi_bmp *b, zimi_bmp_rle *r, unsigned char *index) {
    zimi_job *job = b->job;
    int width = job->info.width, four = b->bits == 4, i, line = r->y;
    while (r->y == line) {
        int count, value;
        if (r->at > job->size || job->size - r->at < 2) return zimi_fail_at(job, job->size, "the file ends too early");
        count = r->in[r->at];
        value = r->in[r->at + 1];
        r->at += 2;
        if (count > 0) {
            for (i = 0; i < count && r->x < width; ++i) index[r->x++] = (unsigned char)(!four ? value : i % 2 == 0 ? value >> 4 : value & 15);
        } else if (value == 0) {
            r->x = 0;
            ++r->y;
        } else if (value == 1) {
            r->y = job->info.height; /* the rest stays colour 0 */
        } else if (value == 2) {
            if (job->size - r->at < 2) return zimi_fail_at(job, job->size, "the file ends too early");
            r->x = r->x + r->in[r->at] < width ? r->x + r->in[r->at] : width;
            r->y += r->in[r->at + 1];
            r->at += 2;
        } else {
            size_t need = four ? ((size_t)value + 3) / 4 * 2 : ((size_t)value + 1) / 2 * 2;
            if (job->size - r->at < (four ? ((size_t)value + 1) / 2 : (size_t)value)) return zimi_fail_at(job, job->size, "the file ends too early");
            for (i = 0; i < value && r->x < width; ++i) {
                const unsigned char *in = r->in + r->at;
                index[r->x++] = (unsigned char)(!four ? in[i] : i % 2 == 0 ? in[i / 2] >> 4 : in[i / 2] & 15);
            }
            r->at += need;
        }
    }
    return 0;
}
static int zimi_bmp_runs(zimi_bmp *b, unsigned char *row, unsigned char *index) {
    zimi_bmp_rle r;
    int y, bad = 0;
    r.in = b->job->bytes;
    r.at = b->pixels;
    r.x = r.y = 0;
    for (y = 0; y < b->job->info.height; ++y) {
        memset(index, 0, (size_t)b->job->info.width);
        if (r.y == y && !bad) bad = zimi_bmp_rle_line(b, &r, index);
        zimi_bmp_colours(b, index, row);
        zimi_bmp_store(b, y, row);
    }
    return bad;
}
static int zimi_bmp_decode(zimi_job *job) {
    zimi_bmp b;
    unsigned char *row;
    size_t width, least;
    int bad, runs;
    memset(&b, 0, sizeof b);
    b.job = job;
    if (zimi_bmp_header(&b) != 0 || zimi_bmp_layout(&b) != 0) return -1;
    width = (size_t)job->info.width;
    if (zimi_check_limits(job) != 0) return -1;
    if (job->image == NULL) return 0;
    runs = b.compression == ZIMI_BMP_RLE8 || b.compression == ZIMI_BMP_RLE4; /* two bytes of these can be all of a picture */
    least = runs ? 0 : zimi_mul(zimi_mul(width, (size_t)job->info.height), (size_t)b.bits) / 8;
    if (zimi_begin(job, job->size - b.pixels, least) != 0) return -1;
    row = (unsigned char *)zimi_alloc(zimi_mul(width, 5), job->error); /* colours, and indices behind them */
    if (row == NULL) return -1;
    bad = runs ? zimi_bmp_runs(&b, row, row + width * 4) : zimi_bmp_plain(&b, row, row + width * 4);
    ZIM_FREE(row);
    return bad;
}

/* ==================================================================================================================
   IMG-INFLATE  zlib streams, reading
   ------------------------------------------------------------------------------------------------------------------
   The output is a buffer whose full size is known beforehand, so a stream cannot ask for more memory than the picture.
   (RFC 1950, RFC 1951.) Layer above: IMG-BASE.
   ================================================================================================================== */
#define ZIMI_FLATE_BITS 10 /* codes up to this length are found by one look into a table */

typedef struct zimi_flate_code {
    uint16_t fast[1 << ZIMI_FLATE_BITS]; /* symbol << 4 | length; 0: longer, or no code */
    uint16_t count[16], symbol[288];     /* codes per length; symbols by code */
} zimi_flate_code;

typedef struct zimi_inflate {
    const unsigned char *in, *end;
    uint64_t bits;
    int count, beyond; /* bits held; zero bytes that were supplied past the end */
    unsigned char *out;
    size_t done, size; /* of the output */
    zimi_flate_code literal, distance;
} zimi_inflate;

static const uint16_t zimi_length_base[29] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const unsigned char zimi_length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t zimi_distance_base[30] = {1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const unsigned char zimi_distance_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
static const unsigned char zimi_code_order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

ZIMI_INLINE void zimi_flate_fill(zimi_inflate *z) { /* at least 56 bits */
    while (z->count <= 56) {
        if (z->in < z->end) z->bits |= (uint64_t)*z->in++ << z->count;
        else ++z->beyond;
        z->count += 8;
    }
}
ZIMI_INLINE unsigned zimi_flate_take(zimi_inflate *z, int count) { /* after a fill */
    unsigned value = (unsigned)(z->bits & (((uint64_t)1 << count) - 1));
    z->bits >>= count;
    z->count -= count;
    return value;
}
/* Whether bits were used that the stream does not have. */
ZIMI_INLINE int zimi_flate_short(const zimi_inflate *z) { return z->beyond * 8 > z->count; }

static unsigned zimi_reverse_bits(unsigned code, int length) {
    unsigned reversed = 0;
    for (; length > 0; --length, code >>= 1) reversed = reversed << 1 | (code & 1);
    return reversed;
}
/* 0 when the lengths make a complete code (or one with at most a single symbol, as zlib allows). */
static int zimi_flate_table(zimi_flate_code *t, const unsigned char *lengths, int symbols) {
    unsigned next[16], at[16], code = 0, first = 0, total = 0;
    int i, left = 1;
    memset(t, 0, sizeof *t);
    for (i = 0; i < symbols; ++i) t->count[lengths[i]]++;
    t->count[0] = 0;
    for (i = 1; i < 16; ++i) {
        left = left * 2 - t->count[i];
        if (left < 0) return -1;
        next[i] = code = (code + t->count[i - 1]) << 1;
        at[i] = first;
        first += t->count[i];
        total += t->count[i];
    }
    if (left > 0 && (total > 1 || t->count[1] != total)) return -1;
    for (i = 0; i < symbols; ++i) {
        int length = lengths[i];
        unsigned k;
        if (length == 0) continue;
        t->symbol[at[length]++] = (uint16_t)i;
        k = zimi_reverse_bits(next[length]++, length);
        for (; length <= ZIMI_FLATE_BITS && k < 1u << ZIMI_FLATE_BITS; k += 1u << length) t->fast[k] = (uint16_t)(i << 4 | length);
    }
    return 0;
}
/* -1 for a code that is not in the table. */
ZIMI_INLINE int zimi_flate_symbol(zimi_inflate *z, const zimi_flate_code *t) {
    unsigned entry = t->fast[z->bits & ((1u << ZIMI_FLATE_BITS) - 1)];
    int length, code = 0, first = 0, index = 0;
    if (entry != 0) {
        (void)zimi_flate_take(z, (int)(entry & 15));
        return (int)(entry >> 4);
    }
    for (length = 1; length < 16; ++length) {
        code |= (int)(z->bits >> (length - 1) & 1);
        if (code - first < t->count[length]) {
            (void)zimi_flate_take(z, length);
            return t->symbol[index + code - first];
        }
        index += t->count[length];
        first = (first + t->count[length]) << 1;
        code <<= 1;
    }
    return -1;
}

static const char *zimi_flate_dynamic(zimi_inflate *z) {
    unsigned char lengths[320];
    int literals, distances, codes, i, symbol, repeat, value;
    zimi_flate_fill(z);
    literals = (int)zimi_flate_take(z, 5) + 257;
    distances = (int)zimi_flate_take(z, 5) + 1;
    codes = (int)zimi_flate_take(z, 4) + 4;
    if (literals > 286 || distances > 30) return "too many codes in the compressed data";
    memset(lengths, 0, sizeof lengths);
    for (i = 0; i < codes; ++i) {
        zimi_flate_fill(z);
        lengths[zimi_code_order[i]] = (unsigned char)zimi_flate_take(z, 3);
    }
    if (zimi_flate_table(&z->literal, lengths, 19) != 0) return "a bad code in the compressed data";
    memset(lengths, 0, sizeof lengths);
    for (i = 0; i < literals + distances;) {
        zimi_flate_fill(z);
        symbol = zimi_flate_symbol(z, &z->literal);
        if (symbol < 0 || zimi_flate_short(z)) return "a bad code in the compressed data";
        if (symbol < 16) {
            lengths[i++] = (unsigned char)symbol;
            continue;
        }
        if (symbol == 16 && i == 0) return "a bad code in the compressed data";
        value = symbol == 16 ? lengths[i - 1] : 0;
        repeat = symbol == 16 ? 3 + (int)zimi_flate_take(z, 2) : symbol == 17 ? 3 + (int)zimi_flate_take(z, 3) : 11 + (int)zimi_flate_take(z, 7);
        if (repeat > literals + distances - i) return "a bad code in the compressed data";
        for (; repeat > 0; --repeat) lengths[i++] = (unsigned char)value;
    }
    if (lengths[256] == 0 || zimi_flate_table(&z->literal, lengths, literals) != 0 || zimi_flate_table(&z->distance, lengths + literals, distances) != 0)
        return "a bad code in the compressed data";
    return NULL;
}
static void zimi_flate_fixed(zimi_inflate *z) {
    unsigned char lengths[288];
    int i;
    for (i = 0; i < 288; ++i) lengths[i] = (unsigned char)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    (void)zimi_flate_table(&z->literal, lengths, 288);
    memset(lengths, 5, 32);
    (void)zimi_flate_table(&z->distance, lengths, 32);
}
static const char *zimi_flate_stored(zimi_inflate *z) {
    unsigned length, check;
    (void)zimi_flate_take(z, z->count & 7);
    zimi_flate_fill(z);
    length = zimi_flate_take(z, 16);
    check = zimi_flate_take(z, 16);
    if (zimi_flate_short(z)) return "the compressed data end too early";
    if ((length ^ check) != 0xffff) return "a bad block length in the compressed data";
    for (; length > 0 && z->done < z->size; --length) {
        zimi_flate_fill(z);
        z->out[z->done] = (unsigned char)zimi_flate_take(z, 8);
        if (zimi_flate_short(z)) return "the compressed data end too early";
        ++z->done;
    }
    return NULL;
}
static const char *zimi_flate_coded(zimi_inflate *z) {
    for (;;) {
        int symbol;
        size_t length, distance;
        zimi_flate_fill(z);
        symbol = zimi_flate_symbol(z, &z->literal);
        if (zimi_flate_short(z)) return "the compressed data end too early";
        if (symbol == 256) return NULL;
        if (symbol < 0 || symbol > 285) return "a bad code in the compressed data";
        if (z->done == z->size) return NULL;
        if (symbol < 256) {
            z->out[z->done++] = (unsigned char)symbol;
            continue;
        }
        length = zimi_length_base[symbol - 257] + zimi_flate_take(z, zimi_length_extra[symbol - 257]);
        symbol = zimi_flate_symbol(z, &z->distance);
        if (symbol < 0 || symbol > 29) return "a bad code in the compressed data";
        distance = zimi_distance_base[symbol] + zimi_flate_take(z, zimi_distance_extra[symbol]);
        if (zimi_flate_short(z)) return "the compressed data end too early";
        if (distance > z->done) return "a distance before the begin of the compressed data";
        for (length = zimi_min(length, z->size - z->done); length > 0; --length, ++z->done) z->out[z->done] = z->out[z->done - distance];
    }
}

static uint32_t zimi_adler(const unsigned char *bytes, size_t size) {
    uint32_t a = 1, b = 0;
    while (size > 0) {
        size_t run = zimi_min(size, 5552); /* as long as b cannot overflow */
        size -= run;
        for (; run > 0; --run) {
            a += *bytes++;
            b += a;
        }
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}
/* NULL when out is full and right; otherwise the reason, with z->done bytes usable. A stream that goes on when out is
   full is not complained about (as everywhere). */
static const char *zimi_inflate_all(zimi_inflate *z) {
    const char *bad = NULL;
    int last = 0;
    uint32_t check;
    if (z->end - z->in < 2 || (z->in[0] & 15) != 8 || zimi_be16(z->in) % 31 != 0 || (z->in[1] & 32) != 0) return "not a zlib stream";
    z->in += 2;
    while (!last && bad == NULL && (z->done < z->size || z->size == 0)) {
        unsigned kind;
        zimi_flate_fill(z);
        last = (int)zimi_flate_take(z, 1);
        kind = zimi_flate_take(z, 2);
        if (zimi_flate_short(z)) bad = "the compressed data end too early";
        else if (kind == 3) bad = "a bad block in the compressed data";
        else if (kind == 0) bad = zimi_flate_stored(z);
        else {
            if (kind == 1) zimi_flate_fixed(z);
            else bad = zimi_flate_dynamic(z);
            if (bad == NULL) bad = zimi_flate_coded(z);
        }
    }
    if (bad != NULL) return bad;
    if (z->done < z->size) return "the compressed data hold too few bytes";
    if (!last) return NULL;
    (void)zimi_flate_take(z, z->count & 7);
    zimi_flate_fill(z);
    check = zimi_flate_take(z, 16);
    check |= zimi_flate_take(z, 16) << 16;
    check = check >> 24 | (check >> 8 & 0xff00) | (check << 8 & 0xff0000) | check << 24;
    if (zimi_flate_short(z)) return "the checksum of the compressed data is missing";
    return check != zimi_adler(z->out, z->size) ? "the checksum of the compressed data is wrong" : NULL;
}

/* ==================================================================================================================
   IMG-DEFLATE  zlib streams, writing
   ------------------------------------------------------------------------------------------------------------------
   LZ77 by hash chains with one step of lazy matching; every block takes the smallest of stored, fixed and dynamic codes.
   Layers above: IMG-BASE, the tables of IMG-INFLATE.
   ================================================================================================================== */
#define ZIMI_WINDOW 32768
#define ZIMI_TOKENS 32768 /* per block */
#define ZIMI_CHAIN 48     /* earlier places tried per match */

typedef struct zimi_deflate {
    zimi_bytes *out;
    uint64_t bits;
    int count;
    const unsigned char *in;
    size_t size;
    size_t head[ZIMI_WINDOW], previous[ZIMI_WINDOW]; /* place + 1 of the last three bytes with this hash, and before it */
    uint32_t token[ZIMI_TOKENS];                     /* literal, or 1 << 31 | distance << 9 | length */
    int tokens;
    uint32_t use[2][288];          /* literals and lengths; distances */
    unsigned char length[2][288];
    uint16_t code[2][288];
} zimi_deflate;

static void zimi_bits(zimi_deflate *d, unsigned value, int count) {
    d->bits |= (uint64_t)value << d->count;
    d->count += count;
    for (; d->count >= 8; d->count -= 8, d->bits >>= 8) zimi_put8(d->out, (unsigned)(d->bits & 255));
}

/* Code lengths of at most `limit` for symbols used use[] times: Huffman's tree over the sorted counts, then the codes
   that are too long are shortened at the cost of others until the code is complete again. */
static void zimi_huffman_lengths(const uint32_t *use, int symbols, int limit, unsigned char *length) {
    int order[288], parent[576], depth[576], per_length[64];
    uint64_t weight[576];
    int n = 0, i, k, leaf = 0, inner, total, nodes;
    memset(length, 0, (size_t)symbols);
    memset(per_length, 0, sizeof per_length);
    for (i = 0; i < symbols; ++i) {
        if (use[i] == 0) continue;
        for (k = n++; k > 0 && use[order[k - 1]] > use[i]; --k) order[k] = order[k - 1];
        order[k] = i;
    }
    if (n < 2) {
        if (n == 1) length[order[0]] = 1;
        return;
    }
    for (i = 0; i < n; ++i) weight[i] = use[order[i]];
    for (nodes = inner = n; nodes < 2 * n - 1; ++nodes) { /* leaves and inner nodes are two queues, both sorted */
        weight[nodes] = 0;
        for (k = 0; k < 2; ++k) {
            int least = leaf < n && (inner >= nodes || weight[leaf] <= weight[inner]) ? leaf++ : inner++;
            weight[nodes] += weight[least];
            parent[least] = nodes;
        }
    }
    depth[nodes - 1] = 0;
    for (i = nodes - 2; i >= 0; --i) {
        depth[i] = depth[parent[i]] + 1;
        if (i < n) per_length[depth[i] < limit ? depth[i] : limit]++;
    }
    for (total = 0, i = 1; i <= limit; ++i) total += per_length[i] << (limit - i);
    for (; total > 1 << limit; --total) {
        --per_length[limit];
        for (i = limit - 1; per_length[i] == 0; --i) {}
        --per_length[i];
        per_length[i + 1] += 2;
    }
    for (i = limit, k = 0; i > 0; --i)
        for (; per_length[i] > 0; --per_length[i]) length[order[k++]] = (unsigned char)i;
}
static void zimi_huffman_codes(const unsigned char *length, int symbols, uint16_t *code) {
    unsigned next[17], count[17];
    int i;
    memset(count, 0, sizeof count);
    for (i = 0; i < symbols; ++i) count[length[i]]++;
    count[0] = next[0] = 0;
    for (i = 1; i < 17; ++i) next[i] = (next[i - 1] + count[i - 1]) << 1;
    for (i = 0; i < symbols; ++i) code[i] = (uint16_t)(length[i] > 0 ? zimi_reverse_bits(next[length[i]]++, length[i]) : 0);
}

/* The code of a length or distance: the last one whose base is not above the value. */
static int zimi_base_code(const uint16_t *base, int count, unsigned value) {
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (base[middle] <= value) low = middle;
        else high = middle - 1;
    }
    return low;
}
static void zimi_write_tokens(zimi_deflate *d) {
    int i, k;
    for (i = 0; i < d->tokens; ++i) {
        uint32_t token = d->token[i];
        unsigned length = token & 511, distance = token >> 9 & 0x3fffff;
        if (token >> 31 == 0) {
            zimi_bits(d, d->code[0][token], d->length[0][token]);
            continue;
        }
        k = zimi_base_code(zimi_length_base, 29, length);
        zimi_bits(d, d->code[0][257 + k], d->length[0][257 + k]);
        zimi_bits(d, length - zimi_length_base[k], zimi_length_extra[k]);
        k = zimi_base_code(zimi_distance_base, 30, distance);
        zimi_bits(d, d->code[1][k], d->length[1][k]);
        zimi_bits(d, distance - zimi_distance_base[k], zimi_distance_extra[k]);
    }
    zimi_bits(d, d->code[0][256], d->length[0][256]);
}
static size_t zimi_cost(const uint32_t *use, const unsigned char *length, int symbols) {
    size_t bits = 0;
    int i;
    for (i = 0; i < symbols; ++i) bits += (size_t)use[i] * length[i];
    return bits;
}
/* Run-length codes of the code lengths, one per item: symbol | value of its extra bits << 8. */
static int zimi_pack_lengths(const unsigned char *lengths, int count, uint16_t *items) {
    int i = 0, n = 0;
    while (i < count) {
        int run = 1;
        while (i + run < count && lengths[i + run] == lengths[i] && run < 138) ++run;
        if (lengths[i] == 0 && run >= 3) items[n++] = (uint16_t)(run < 11 ? 17 | (run - 3) << 8 : 18 | (run - 11) << 8);
        else if (lengths[i] != 0 && run >= 4) {
            if (run > 7) run = 7;
            items[n++] = lengths[i];
            items[n++] = (uint16_t)(16 | (run - 4) << 8);
        } else {
            run = 1;
            items[n++] = lengths[i];
        }
        i += run;
    }
    return n;
}
/* Writes the head of a dynamic block, or only counts its bits when write is 0. */
static size_t zimi_dynamic_head(zimi_deflate *d, int write) {
    static const unsigned char extra[19] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7};
    unsigned char all[288 + 32], lengths[19];
    uint16_t items[288 + 32], codes[19];
    uint32_t use[19];
    int literals = 286, distances = 30, count, n, i;
    size_t bits;
    while (literals > 257 && d->length[0][literals - 1] == 0) --literals;
    while (distances > 1 && d->length[1][distances - 1] == 0) --distances;
    memcpy(all, d->length[0], (size_t)literals);
    memcpy(all + literals, d->length[1], (size_t)distances);
    n = zimi_pack_lengths(all, literals + distances, items);
    memset(use, 0, sizeof use);
    for (i = 0; i < n; ++i) use[items[i] & 255]++;
    zimi_huffman_lengths(use, 19, 7, lengths);
    for (count = 19; count > 4 && lengths[zimi_code_order[count - 1]] == 0; --count) {}
    bits = 14 + 3 * (size_t)count + zimi_cost(use, lengths, 19) + 2 * use[16] + 3 * use[17] + 7 * use[18];
    if (!write) return bits;
    zimi_huffman_codes(lengths, 19, codes);
    zimi_bits(d, (unsigned)(literals - 257), 5);
    zimi_bits(d, (unsigned)(distances - 1), 5);
    zimi_bits(d, (unsigned)(count - 4), 4);
    for (i = 0; i < count; ++i) zimi_bits(d, lengths[zimi_code_order[i]], 3);
    for (i = 0; i < n; ++i) {
        int symbol = items[i] & 255;
        zimi_bits(d, codes[symbol], lengths[symbol]);
        zimi_bits(d, (unsigned)(items[i] >> 8), extra[symbol]);
    }
    return bits;
}
static void zimi_write_stored(zimi_deflate *d, size_t begin, size_t end, int last) {
    do {
        size_t run = zimi_min(end - begin, 65535);
        zimi_bits(d, last && begin + run == end, 3);
        if (d->count > 0) zimi_bits(d, 0, 8 - d->count);
        zimi_bits(d, (unsigned)run, 16);
        zimi_bits(d, (unsigned)run ^ 0xffff, 16);
        zimi_append(d->out, d->in + begin, run);
        begin += run;
    } while (begin < end);
}
/* Writes the collected tokens, which stand for in[begin..end-1], as one block. */
static void zimi_write_block(zimi_deflate *d, size_t begin, size_t end, int last) {
    size_t bits, stored = (end - begin) * 8 + 40 * ((end - begin) / 65535 + 1), extra = 0, fixed;
    int i;
    d->use[0][256] = 1;
    for (i = 0; i < 29; ++i) extra += (size_t)d->use[0][257 + i] * zimi_length_extra[i];
    for (i = 0; i < 30; ++i) extra += (size_t)d->use[1][i] * zimi_distance_extra[i];
    for (i = 0; i < 288; ++i) d->length[0][i] = (unsigned char)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    memset(d->length[1], 5, 30);
    fixed = extra + zimi_cost(d->use[0], d->length[0], 286) + zimi_cost(d->use[1], d->length[1], 30);
    zimi_huffman_lengths(d->use[0], 288, 15, d->length[0]);
    zimi_huffman_lengths(d->use[1], 30, 15, d->length[1]);
    bits = extra + zimi_cost(d->use[0], d->length[0], 286) + zimi_cost(d->use[1], d->length[1], 30) + zimi_dynamic_head(d, 0);
    if (stored < bits && stored < fixed) zimi_write_stored(d, begin, end, last);
    else {
        zimi_bits(d, (unsigned)last, 1);
        zimi_bits(d, bits < fixed ? 2 : 1, 2);
        if (bits < fixed) (void)zimi_dynamic_head(d, 1);
        else {
            for (i = 0; i < 288; ++i) d->length[0][i] = (unsigned char)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
            memset(d->length[1], 5, 30);
        }
        zimi_huffman_codes(d->length[0], 288, d->code[0]);
        zimi_huffman_codes(d->length[1], 30, d->code[1]);
        zimi_write_tokens(d);
    }
    d->tokens = 0;
    memset(d->use, 0, sizeof d->use);
}

ZIMI_INLINE unsigned zimi_flate_hash(const unsigned char *p) {
    return ((uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]) * 2654435761u >> 17;
}
static void zimi_remember(zimi_deflate *d, size_t at) {
    unsigned hash;
    if (d->size - at < 3) return;
    hash = zimi_flate_hash(d->in + at);
    d->previous[at % ZIMI_WINDOW] = d->head[hash];
    d->head[hash] = at + 1;
}
/* The longest earlier match of what stands at `at` (not yet remembered); 0 when shorter than 3. */
static unsigned zimi_longest_match(const zimi_deflate *d, size_t at, unsigned *out_distance) {
    const unsigned char *here = d->in + at;
    size_t limit = zimi_min(d->size - at, 258), best = 2, place;
    int tries = ZIMI_CHAIN;
    if (limit < 3) return 0;
    for (place = d->head[zimi_flate_hash(here)]; place > 0 && at - (place - 1) < ZIMI_WINDOW && tries > 0; place = d->previous[(place - 1) % ZIMI_WINDOW], --tries) {
        const unsigned char *there = d->in + place - 1;
        size_t n = 0;
        if (there[best] != here[best]) continue;
        while (n < limit && there[n] == here[n]) ++n;
        if (n <= best) continue;
        best = n;
        *out_distance = (unsigned)(here - there);
        if (n == limit) break;
    }
    return best < 3 || (best == 3 && *out_distance > 4096) ? 0 : (unsigned)best; /* three literals are shorter than that */
}
static void zimi_token(zimi_deflate *d, unsigned literal, unsigned length, unsigned distance) {
    d->token[d->tokens++] = length > 0 ? 1u << 31 | distance << 9 | length : literal;
    if (length == 0) d->use[0][literal]++;
    else {
        d->use[0][257 + zimi_base_code(zimi_length_base, 29, length)]++;
        d->use[1][zimi_base_code(zimi_distance_base, 30, distance)]++;
    }
}
/* Appends the zlib stream of in[0..size-1] to out. */
static int zimi_deflate_all(const unsigned char *in, size_t size, zimi_bytes *out, char *error) {
    zimi_deflate *d = (zimi_deflate *)zimi_alloc(sizeof *d, error);
    size_t at = 0, begin = 0;
    if (d == NULL) return -1;
    memset(d, 0, sizeof *d);
    d->out = out;
    d->in = in;
    d->size = size;
    zimi_put_be16(out, 0x789c);
    while (at < size) {
        unsigned distance = 0, later = 0, length = zimi_longest_match(d, at, &distance), i;
        zimi_remember(d, at);
        if (length > 0 && length < 32 && at + 1 < size && zimi_longest_match(d, at + 1, &later) > length) length = 0;
        zimi_token(d, in[at], length, distance);
        for (i = 1; i < length; ++i) zimi_remember(d, at + i);
        at += length > 0 ? length : 1;
        if (d->tokens == ZIMI_TOKENS && at < size) {
            zimi_write_block(d, begin, at, 0);
            begin = at;
        }
    }
    zimi_write_block(d, begin, size, 1);
    if (d->count > 0) zimi_bits(d, 0, 8 - d->count);
    zimi_put_be32(out, zimi_adler(in, size));
    ZIM_FREE(d);
    return out->failed ? zimi_fail(error, "out of memory") : 0;
}

/* ==================================================================================================================
   IMG-PNG  PNG reader
   ------------------------------------------------------------------------------------------------------------------
   Chunks are checked and the IDAT bodies joined, inflated in one go, then filtered rows become 8-bit rows.
   (PNG specification, third edition.) Layers above: IMG-BASE, IMG-PIXELS, IMG-INFLATE.
   ================================================================================================================== */
enum { ZIMI_PNG_GRAY = 0, ZIMI_PNG_RGB = 2, ZIMI_PNG_PALETTE = 3, ZIMI_PNG_GRAY_ALPHA = 4, ZIMI_PNG_RGBA = 6 };

typedef struct zimi_png {
    zimi_job *job;
    int colour, interlaced, bits;    /* colour type; bits per pixel */
    int key;                         /* tRNS gave a transparent colour: */
    unsigned transparent[3];
    int colours, translucent;        /* entries of the palette; it has alpha */
    unsigned char palette[256][4];
    unsigned char *data;             /* joined IDAT bodies */
    size_t data_size;
    int seen_data;
    uint32_t crc[256];
} zimi_png;

typedef struct zimi_pass {
    int x, y, dx, dy, width, height;
    size_t stride; /* bytes of a filtered row without its filter type */
} zimi_pass;

static void zimi_crc_table(uint32_t *table) {
    uint32_t i, k, c;
    for (i = 0; i < 256; ++i) {
        for (c = i, k = 0; k < 8; ++k) c = (c & 1) != 0 ? c >> 1 ^ 0xedb88320u : c >> 1;
        table[i] = c;
    }
}
static uint32_t zimi_crc(const uint32_t *table, const unsigned char *bytes, size_t size) {
    uint32_t c = 0xffffffffu;
    for (; size > 0; --size) c = table[(c ^ *bytes++) & 255] ^ c >> 8;
    return c ^ 0xffffffffu;
}

static int zimi_png_header(zimi_png *p, const unsigned char *body, size_t size) {
    static const unsigned char channels[7] = {1, 0, 3, 1, 2, 0, 4};
    zim_info *info = &p->job->info;
    int depth;
    if (size != 13) return zimi_fail_at(p->job, 8, "the IHDR chunk has a wrong size");
    if (zimi_be32(body) > 0x7fffffff || zimi_be32(body + 4) > 0x7fffffff) return zimi_fail_at(p->job, 16, "the size is out of range");
    info->width = (int)zimi_be32(body);
    info->height = (int)zimi_be32(body + 4);
    info->depth = depth = body[8];
    p->colour = body[9];
    if (p->colour > 6 || channels[p->colour] == 0) return zimi_fail(p->job->error, "byte 25: colour type %d does not exist", p->colour);
    if ((depth != 1 && depth != 2 && depth != 4 && depth != 8 && depth != 16) || (depth < 8 && p->colour != ZIMI_PNG_GRAY && p->colour != ZIMI_PNG_PALETTE) ||
        (depth == 16 && p->colour == ZIMI_PNG_PALETTE))
        return zimi_fail(p->job->error, "byte 24: %d bits with colour type %d do not exist", depth, p->colour);
    if (body[10] != 0 || body[11] != 0 || body[12] > 1) return zimi_fail_at(p->job, 26, "an unknown compression, filter or interlace method");
    p->interlaced = body[12];
    p->bits = channels[p->colour] * depth;
    info->channels = p->colour == ZIMI_PNG_PALETTE ? 3 : channels[p->colour];
    return zimi_check_limits(p->job);
}
static int zimi_png_palette(zimi_png *p, const unsigned char *body, size_t size, size_t at) {
    size_t i;
    if (size % 3 != 0 || size > 768 || size == 0) return zimi_fail_at(p->job, at, "the palette has a wrong size");
    p->colours = (int)(size / 3);
    for (i = 0; i < size; ++i) p->palette[i / 3][i % 3] = body[i];
    return 0;
}
static void zimi_png_transparency(zimi_png *p, const unsigned char *body, size_t size) {
    size_t i, need = p->colour == ZIMI_PNG_GRAY ? 2 : 6;
    if (p->colour == ZIMI_PNG_PALETTE) {
        p->translucent = size > 0;
        for (i = 0; i < size && i < 256; ++i) p->palette[i][3] = body[i];
    } else if ((p->colour == ZIMI_PNG_GRAY || p->colour == ZIMI_PNG_RGB) && size >= need) {
        p->key = 1;
        for (i = 0; i < need / 2; ++i) p->transparent[i] = zimi_be16(body + 2 * i);
    }
}
/* One chunk with a right checksum. */
static int zimi_png_chunk(zimi_png *p, const unsigned char *kind, const unsigned char *body, size_t size, size_t at) {
    int orientation;
    if (memcmp(kind, "IHDR", 4) == 0) return zimi_fail_at(p->job, at, "a second IHDR chunk");
    if (memcmp(kind, "IDAT", 4) == 0) {
        if (p->colour == ZIMI_PNG_PALETTE && p->colours == 0) return zimi_fail_at(p->job, at, "the palette is missing");
        p->seen_data = 1;
        if (p->data != NULL) memcpy(p->data + p->data_size, body, size);
        p->data_size += size;
    } else if (memcmp(kind, "PLTE", 4) == 0) {
        if (p->seen_data || p->colours > 0) return zimi_fail_at(p->job, at, "a palette in the wrong place");
        return zimi_png_palette(p, body, size, at);
    } else if (memcmp(kind, "tRNS", 4) == 0) {
        if (!p->seen_data) zimi_png_transparency(p, body, size);
    } else if (memcmp(kind, "eXIf", 4) == 0) {
        orientation = zimi_exif_orientation(body, size);
        if (orientation > 0) p->job->info.orientation = orientation;
    } else if ((kind[0] & 32) == 0 && memcmp(kind, "IEND", 4) != 0) {
        return zimi_fail(p->job->error, "byte %lu: the critical chunk '%.4s' is not known", (unsigned long)at, (const char *)kind);
    }
    return 0;
}
static int zimi_is_chunk_kind(const unsigned char *kind) {
    int i;
    for (i = 0; i < 4; ++i)
        if ((kind[i] | 32) < 'a' || (kind[i] | 32) > 'z') return 0;
    return 1;
}
/* Walks over all chunks. When only the headers are wanted, checksums of pixels are not computed, and the file may end
   anywhere behind the first chunk. */
static int zimi_png_chunks(zimi_png *p) {
    zimi_job *job = p->job;
    size_t at = 8, size, room;
    int bad = 0, first = 1, probe = job->image == NULL;
    for (;;) {
        const unsigned char *chunk = job->bytes + at;
        int data, last;
        if (job->size - at < 12) return probe && !first ? 0 : zimi_fail_at(job, job->size, "the file ends too early (no IEND chunk)");
        size = zimi_be32(chunk);
        room = job->size - at - 12;
        if (!zimi_is_chunk_kind(chunk + 4)) return zimi_fail_at(job, at + 4, "not the name of a chunk");
        if (first != (memcmp(chunk + 4, "IHDR", 4) == 0)) return zimi_fail_at(job, at, first ? "the IHDR chunk is missing" : "a second IHDR chunk");
        data = memcmp(chunk + 4, "IDAT", 4) == 0;
        last = memcmp(chunk + 4, "IEND", 4) == 0;
        if (size > room) {
            if (data && room > 0 && job->opts.salvage) (void)zimi_png_chunk(p, chunk + 4, chunk + 8, zimi_min(size, room + 4), at);
            return probe && !first ? 0 : zimi_fail(job->error, "byte %lu: the file ends in the chunk '%.4s'", (unsigned long)job->size, (const char *)chunk + 4);
        }
        if (!(probe && data) && zimi_crc(p->crc, chunk + 4, size + 4) != zimi_be32(chunk + 8 + size)) {
            if ((chunk[4] & 32) == 0) bad = zimi_fail(job->error, "byte %lu: the checksum of the chunk '%.4s' is wrong", (unsigned long)(at + 8 + size), (const char *)chunk + 4);
            if (bad && (!job->opts.salvage || first)) return bad;
            if (!data) size = 0; /* a damaged chunk tells nothing */
        }
        if (first && zimi_png_header(p, chunk + 8, size) != 0) return -1;
        if (!first && (size > 0 || !bad) && zimi_png_chunk(p, chunk + 4, chunk + 8, size, at) != 0) return -1;
        first = 0;
        if (last) break;
        at += 12 + zimi_be32(chunk);
    }
    if (!p->seen_data) return zimi_fail_at(job, at, "there are no pixels (no IDAT chunk)");
    return bad;
}

/* The rows that interlacing spreads over seven passes; pass 0 of a plain picture is all of it. */
static zimi_pass zimi_png_pass(const zimi_png *p, int index) {
    static const unsigned char start_x[7] = {0, 4, 0, 2, 0, 1, 0}, start_y[7] = {0, 0, 4, 0, 2, 0, 1};
    static const unsigned char step_x[7] = {8, 8, 4, 4, 2, 2, 1}, step_y[7] = {8, 8, 8, 4, 4, 2, 2};
    int width = p->job->info.width, height = p->job->info.height;
    zimi_pass pass;
    memset(&pass, 0, sizeof pass);
    pass.dx = pass.dy = 1;
    if (p->interlaced) {
        pass.x = start_x[index];
        pass.y = start_y[index];
        pass.dx = step_x[index];
        pass.dy = step_y[index];
    }
    pass.width = width > pass.x ? (width - pass.x - 1) / pass.dx + 1 : 0;
    pass.height = height > pass.y ? (height - pass.y - 1) / pass.dy + 1 : 0;
    if (pass.width == 0) pass.height = 0;
    pass.stride = (size_t)(((uint64_t)pass.width * (uint64_t)p->bits + 7) / 8);
    return pass;
}
static unsigned char zimi_paeth(int a, int b, int c) {
    int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
    return (unsigned char)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}
/* Undoes the filter of a row in place; above is the row before it, NULL for the first; step is bytes per pixel. */
static int zimi_unfilter(int filter, unsigned char *row, const unsigned char *above, size_t stride, size_t step) {
    size_t i;
    switch (filter) {
    case 0: return 0;
    case 1:
        for (i = step; i < stride; ++i) row[i] = (unsigned char)(row[i] + row[i - step]);
        return 0;
    case 2:
        for (i = 0; i < stride && above != NULL; ++i) row[i] = (unsigned char)(row[i] + above[i]);
        return 0;
    case 3:
        for (i = 0; i < stride; ++i) row[i] = (unsigned char)(row[i] + ((i >= step ? row[i - step] : 0) + (above != NULL ? above[i] : 0)) / 2);
        return 0;
    case 4:
        for (i = 0; i < stride; ++i)
            row[i] = (unsigned char)(row[i] + zimi_paeth(i >= step ? row[i - step] : 0, above != NULL ? above[i] : 0, i >= step && above != NULL ? above[i - step] : 0));
        return 0;
    default: return -1;
    }
}
/* Sample number i of a row, as it is stored. */
ZIMI_INLINE unsigned zimi_png_sample(const unsigned char *row, size_t i, int depth) {
    if (depth == 8) return row[i];
    if (depth == 16) return zimi_be16(row + 2 * i);
    return (unsigned)row[i * (size_t)depth / 8] >> (8 - depth - (int)(i * (size_t)depth % 8)) & ((1u << depth) - 1);
}
/* Makes an 8-bit row of `count` pixels and returns its channels. */
static int zimi_png_expand(const zimi_png *p, const unsigned char *row, int count, unsigned char *out) {
    int depth = p->job->info.depth, channels = p->job->info.channels, x, k, result = channels + p->key;
    if (p->colour == ZIMI_PNG_PALETTE) {
        result = p->translucent ? 4 : 3;
        for (x = 0; x < count; ++x) {
            unsigned index = zimi_png_sample(row, (size_t)x, depth);
            for (k = 0; k < result; ++k) *out++ = p->palette[index][k];
        }
        return result;
    }
    for (x = 0; x < count; ++x) {
        int hits = 0;
        for (k = 0; k < channels; ++k) {
            unsigned value = zimi_png_sample(row, (size_t)x * (size_t)channels + (size_t)k, depth);
            hits += p->key && value == p->transparent[k];
            *out++ = (unsigned char)(depth == 16 ? value >> 8 : depth == 8 ? value : value * (255 / ((1u << depth) - 1)));
        }
        if (p->key) *out++ = hits == channels ? 0 : 255;
    }
    return result;
}
static void zimi_png_put(zimi_png *p, const zimi_pass *pass, int line, const unsigned char *row, unsigned char *expanded) {
    zim_image *image = p->job->image;
    int channels, x, y = pass->y + line * pass->dy;
    if (!p->interlaced && p->job->info.depth == 8 && p->colour != ZIMI_PNG_PALETTE && !p->key) {
        zimi_put_row(p->job, y, row, p->job->info.channels);
        return;
    }
    channels = zimi_png_expand(p, row, pass->width, expanded);
    if (!p->interlaced) zimi_put_row(p->job, y, expanded, channels);
    else
        for (x = 0; x < pass->width; ++x)
            zimi_convert_pixel(expanded + (size_t)x * (size_t)channels, channels,
                               image->pixels + ((size_t)y * (size_t)image->width + (size_t)(pass->x + x * pass->dx)) * (size_t)image->channels, image->channels);
}
/* Turns raw (its first `size` bytes) into pixels. */
static int zimi_png_rows(zimi_png *p, unsigned char *raw, size_t size, unsigned char *expanded) {
    size_t at = 0, step = (size_t)(p->bits + 7) / 8;
    int index, y;
    for (index = 0; index < (p->interlaced ? 7 : 1); ++index) {
        zimi_pass pass = zimi_png_pass(p, index);
        const unsigned char *above = NULL;
        for (y = 0; y < pass.height; ++y) {
            if (size - at < pass.stride + 1) return 0; /* inflate has said why */
            if (zimi_unfilter(raw[at], raw + at + 1, above, pass.stride, step) != 0) return zimi_fail(p->job->error, "row %d: filter type %d does not exist", y, raw[at]);
            above = raw + at + 1;
            zimi_png_put(p, &pass, y, above, expanded);
            at += pass.stride + 1;
        }
    }
    return 0;
}
static int zimi_png_pixels(zimi_png *p) {
    zimi_job *job = p->job;
    zimi_inflate *z;
    unsigned char *expanded;
    const char *reason;
    size_t size = 0;
    int index, bad = 0;
    for (index = 0; index < (p->interlaced ? 7 : 1); ++index) {
        zimi_pass pass = zimi_png_pass(p, index);
        size = zimi_add(size, zimi_mul(zimi_add(pass.stride, 1), (size_t)pass.height));
    }
    if (zimi_begin(job, p->data_size, size / 1040) != 0) return -1; /* deflate cannot do better than 1:1032 */
    z = (zimi_inflate *)zimi_alloc(sizeof *z, job->error);
    if (z == NULL) return -1;
    memset(z, 0, sizeof *z);
    z->in = p->data;
    z->end = p->data + p->data_size;
    z->size = size;
    z->out = (unsigned char *)zimi_alloc(size, job->error);
    expanded = (unsigned char *)zimi_alloc(zimi_mul((size_t)job->info.width, 4), job->error);
    if (z->out == NULL || expanded == NULL) bad = -1;
    else {
        reason = zimi_inflate_all(z);
        if (reason != NULL) bad = zimi_fail(job->error, "byte %lu of the pixels' data: %s", (unsigned long)(z->in - p->data), reason);
        if ((!bad || job->opts.salvage) && zimi_png_rows(p, z->out, z->done, expanded) != 0) bad = -1;
    }
    ZIM_FREE(z->out);
    ZIM_FREE(expanded);
    ZIM_FREE(z);
    return bad;
}
static int zimi_png_decode(zimi_job *job) {
    zimi_png p;
    int bad, i;
    memset(&p, 0, sizeof p);
    p.job = job;
    for (i = 0; i < 256; ++i) { /* what a picture sees of entries that its palette lacks: gray, as in Pillow */
        memset(p.palette[i], i, 3);
        p.palette[i][3] = 255;
    }
    zimi_crc_table(p.crc);
    if (job->image == NULL) return zimi_png_chunks(&p);
    p.data = (unsigned char *)zimi_alloc(job->size, job->error);
    if (p.data == NULL) return -1;
    bad = zimi_png_chunks(&p);
    if ((!bad || job->opts.salvage) && p.data_size > 0 && zimi_png_pixels(&p) != 0) bad = -1;
    ZIM_FREE(p.data);
    return bad;
}

/* ==================================================================================================================
   IMG-PNGOUT  PNG writer
   ------------------------------------------------------------------------------------------------------------------
   Each row takes the filter whose bytes, taken as signed, have the smallest sum of absolute values.
   Layers above: IMG-BASE, IMG-DEFLATE, the checksum and Paeth's predictor of IMG-PNG.
   ================================================================================================================== */
static unsigned long zimi_filter_row(int filter, const unsigned char *row, const unsigned char *above, size_t stride, size_t step, unsigned char *out) {
    unsigned long sum = 0;
    size_t i;
    out[0] = (unsigned char)filter;
    for (i = 0; i < stride; ++i) {
        int a = i >= step ? row[i - step] : 0, b = above != NULL ? above[i] : 0, c = i >= step && above != NULL ? above[i - step] : 0;
        int guess = filter == 0 ? 0 : filter == 1 ? a : filter == 2 ? b : filter == 3 ? (a + b) / 2 : zimi_paeth(a, b, c);
        unsigned char value = (unsigned char)(row[i] - guess);
        out[1 + i] = value;
        sum += value < 128 ? value : 256u - value;
    }
    return sum;
}
/* All rows, filtered; trial is room for one row more. */
static void zimi_filter_rows(const unsigned char *pixels, int height, size_t stride, size_t step, unsigned char *raw, unsigned char *trial) {
    int y, filter;
    for (y = 0; y < height; ++y, raw += stride + 1) {
        const unsigned char *row = pixels + (size_t)y * stride, *above = y > 0 ? row - stride : NULL;
        unsigned long best = zimi_filter_row(0, row, above, stride, step, raw), sum;
        for (filter = 1; filter < 5; ++filter) {
            sum = zimi_filter_row(filter, row, above, stride, step, trial);
            if (sum >= best) continue;
            best = sum;
            memcpy(raw, trial, stride + 1);
        }
    }
}
static void zimi_put_chunk(zimi_bytes *out, const uint32_t *crc, const char *kind, const unsigned char *body, size_t size) {
    size_t begin;
    zimi_put_be32(out, (uint32_t)size);
    begin = out->size;
    zimi_append(out, kind, 4);
    zimi_append(out, body, size);
    if (!out->failed) zimi_put_be32(out, zimi_crc(crc, out->data + begin, size + 4));
}
static int zimi_png_encode(const unsigned char *pixels, int width, int height, int channels, unsigned char **out_bytes, size_t *out_size, char *error) {
    static const unsigned char colours[5] = {0, ZIMI_PNG_GRAY, ZIMI_PNG_GRAY_ALPHA, ZIMI_PNG_RGB, ZIMI_PNG_RGBA};
    size_t stride = zimi_mul((size_t)width, (size_t)channels), rows = zimi_mul(zimi_add(stride, 1), (size_t)height), at;
    unsigned char *raw = (unsigned char *)zimi_alloc(zimi_add(rows, zimi_add(stride, 1)), error);
    unsigned char header[13];
    zimi_bytes out, data;
    uint32_t crc[256];
    int bad;
    if (raw == NULL) return -1;
    memset(&out, 0, sizeof out);
    memset(&data, 0, sizeof data);
    zimi_filter_rows(pixels, height, stride, (size_t)channels, raw, raw + rows);
    bad = zimi_deflate_all(raw, rows, &data, error);
    ZIM_FREE(raw);
    if (!bad) {
        zimi_crc_table(crc);
        zimi_append(&out, "\x89PNG\r\n\x1a\n", 8);
        for (at = 0; at < 4; ++at) {
            header[at] = (unsigned char)((unsigned)width >> (24 - 8 * at));
            header[4 + at] = (unsigned char)((unsigned)height >> (24 - 8 * at));
        }
        memset(header + 8, 0, 5);
        header[8] = 8;
        header[9] = colours[channels];
        zimi_put_chunk(&out, crc, "IHDR", header, 13);
        for (at = 0; at < data.size; at += (size_t)1 << 30) zimi_put_chunk(&out, crc, "IDAT", data.data + at, zimi_min(data.size - at, (size_t)1 << 30));
        zimi_put_chunk(&out, crc, "IEND", header, 0);
        bad = zimi_hand_over(&out, out_bytes, out_size, error);
    }
    ZIM_FREE(data.data);
    return bad;
}

/* ==================================================================================================================
   IMG-JPEG  JPEG reader: markers and tables
   ------------------------------------------------------------------------------------------------------------------
   Sequential scans go block by block through the inverse DCT into one plane of samples per component; progressive scans
   collect coefficients first. When all scans are read, rows are upsampled and turned into RGB. (ITU-T T.81; T.871 for
   JFIF; Adobe technical note 5116 for APP14.) Layers above: IMG-BASE, IMG-PIXELS.
   ================================================================================================================== */
#define ZIMI_LOOK 10        /* bits of a code that one look into a table decodes */
#define ZIMI_STEP 16        /* rows are worked on in steps of that many with a constant inner loop, which compilers turn into
                               vector code; they have that much room behind them */
#define ZIMI_MAX_SCANS 256  /* progressive scans cost time for every block, whatever their size in the file */

static const unsigned char zimi_zigzag[80] = { /* the last 16 catch coefficients past the end of a damaged block */
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36,
    29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};

/* The standard Huffman tables (T.81, K.3): codes per length, then symbols. DC and AC for luminance, then for colour. Used
   by the writer, and by the reader for files without tables, as in motion JPEG. */
static const unsigned char zimi_std_dc[2][28] = {
    {0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
    {0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
static const unsigned char zimi_std_ac[2][178] = {
    {0,    2,    1,    3,    3,    2,    4,    3,    5,    5,    4,    4,    0,    0,    1,    0x7d, 0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31,
     0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
     0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47,
     0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79,
     0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9,
     0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,
     0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa},
    {0,    2,    1,    2,    4,    4,    3,    4,    7,    5,    4,    4,    0,    1,    2,    0x77, 0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06,
     0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
     0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46,
     0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
     0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
     0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6,
     0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa}};

/* A Huffman table. look[] is indexed by the next ZIMI_LOOK bits; an entry holds, from bit 0: bits of code and value (5),
   bits of the code (4), ZIMI_VALUE when the value that follows fits in, too, symbol (8, from bit 12), value (12, signed,
   from bit 20). 0: the code is longer. */
#define ZIMI_VALUE 512
typedef struct zimi_huffman {
    int present;
    int32_t look[1 << ZIMI_LOOK];
    uint32_t limit[17]; /* of 16 bits that begin with a code of this length or a shorter one */
    int offset[17];     /* symbol index - code */
    unsigned char symbol[256];
} zimi_huffman;

typedef struct zimi_component {
    int id, h, v, quant_index;
    int width, height;       /* samples that count */
    int blocks_x, blocks_y;  /* blocks that hold them */
    int stride, rows;        /* samples with the padding to whole MCUs */
    int dc, ac, pred;        /* tables of the scan; DC of the last block */
    int seen;                /* 1: a scan held it, and quant is set */
    uint16_t quant[64];      /* as it was at its first scan, zigzag order */
    signed char known[64];   /* progressive: lowest bit read of each coefficient; -1 none yet */
    unsigned char *plane;
    int16_t *coefs;          /* progressive: 64 per block in zigzag order, stride/8 blocks a row */
} zimi_component;

/* Entropy-coded bytes between two markers, with stuffing removed; reading past the end gives zeros. */
typedef struct zimi_bit_reader {
    const unsigned char *data;
    size_t size, at;
    uint64_t bits;
    int count;
    int bad; /* a code that is not in its table */
} zimi_bit_reader;

typedef struct zimi_jpeg {
    zimi_job *job;
    size_t at;
    int frame, progressive;  /* SOF seen; its kind */
    int components, h_max, v_max, mcus_x, mcus_y;
    zimi_component component[4];
    int quant_present[4];
    uint16_t quant[4][64];
    zimi_huffman dc[4], ac[4];
    int restart;             /* MCUs between restart markers, 0 none */
    int jfif, adobe;         /* APP0 seen; colour transform of APP14, -1 none */
    int in_scan[4], scan_components, first, last, high, low; /* of the scan: components, coefficients, bits */
    int scans;
    size_t segment;          /* where the current run of entropy-coded bytes begins in the file */
    unsigned char *buffer;
    zimi_bit_reader in;
    int run;                 /* blocks without further coefficients that follow (EOBRUN) */
} zimi_jpeg;

/* Codes of each length and their symbols; 0 when they make a code. */
static int zimi_huffman_build(zimi_huffman *t, const unsigned char *counts, const unsigned char *symbols, int dc) {
    unsigned code = 0;
    int length, i, index = 0;
    memset(t->look, 0, sizeof t->look);
    for (length = 1; length <= 16; ++length, code <<= 1) {
        t->offset[length] = index - (int)code;
        for (i = 0; i < counts[length - 1]; ++i, ++index, ++code) {
            unsigned symbol = symbols[index], size = symbol & 15, k, n;
            t->symbol[index] = (unsigned char)symbol;
            if (dc && symbol > 15) return -1;
            if (length > ZIMI_LOOK || code >= 1u << length) continue;
            n = 1u << (ZIMI_LOOK - length);
            for (k = 0; k < n; ++k) {
                int32_t entry = (int32_t)((unsigned)length | (unsigned)length << 5 | symbol << 12), value = 0;
                if ((size > 0 || dc) && (unsigned)length + size <= ZIMI_LOOK) {
                    if (size > 0) {
                        value = (int32_t)(k >> (ZIMI_LOOK - (unsigned)length - size));
                        if (value < 1 << (size - 1)) value -= (1 << size) - 1;
                    }
                    entry += (int32_t)size + ZIMI_VALUE + value * (1 << 20);
                }
                t->look[(code << (ZIMI_LOOK - length)) + k] = entry;
            }
        }
        if (code > 1u << length) return -1;
        t->limit[length] = code << (16 - length);
    }
    t->present = 1;
    return 0;
}

static int zimi_jpeg_huffman(zimi_jpeg *j, const unsigned char *body, size_t size, size_t at) {
    while (size >= 17) {
        int kind = body[0] >> 4, index = body[0] & 15, total = 0, i;
        for (i = 1; i <= 16; ++i) total += body[i];
        if (kind > 1 || index > 3 || total > 256 || (size_t)total > size - 17) break;
        if (zimi_huffman_build(kind == 0 ? &j->dc[index] : &j->ac[index], body + 1, body + 17, kind == 0) != 0) break;
        body += 17 + total;
        size -= 17 + (size_t)total;
    }
    return size == 0 ? 0 : zimi_fail_at(j->job, at, "a bad Huffman table");
}
static int zimi_jpeg_quant(zimi_jpeg *j, const unsigned char *body, size_t size, size_t at) {
    while (size > 0) {
        int wide = body[0] >> 4, index = body[0] & 15, i;
        size_t need = wide ? 129 : 65;
        if (wide > 1 || index > 3 || size < need) return zimi_fail_at(j->job, at, "a bad quantisation table");
        for (i = 0; i < 64; ++i) j->quant[index][i] = (uint16_t)(wide ? zimi_be16(body + 1 + 2 * i) : body[1 + i]);
        j->quant_present[index] = 1;
        body += need;
        size -= need;
    }
    return 0;
}

static const char *zimi_jpeg_refused(int marker) {
    switch (marker) {
    case 0xc3: return "lossless JPEG is not supported";
    case 0xc5: case 0xc6: case 0xc7: return "hierarchical JPEG is not supported";
    case 0xc9: case 0xca: return "arithmetic-coded JPEG is not supported";
    case 0xcb: return "lossless arithmetic-coded JPEG is not supported";
    case 0xcd: case 0xce: case 0xcf: return "hierarchical arithmetic-coded JPEG is not supported";
    case 0xde: return "hierarchical JPEG is not supported"; /* DHP */
    case 0xf7: return "JPEG-LS is not supported";
    default: return NULL;
    }
}
static int zimi_ceil_div(int a, int b) { return (a + b - 1) / b; }

static void zimi_jpeg_geometry(zimi_jpeg *j) {
    int i;
    for (i = 0; i < j->components; ++i) {
        if (j->component[i].h > j->h_max) j->h_max = j->component[i].h;
        if (j->component[i].v > j->v_max) j->v_max = j->component[i].v;
    }
    j->mcus_x = zimi_ceil_div(j->job->info.width, 8 * j->h_max);
    j->mcus_y = zimi_ceil_div(j->job->info.height, 8 * j->v_max);
    for (i = 0; i < j->components; ++i) {
        zimi_component *c = &j->component[i];
        c->width = zimi_ceil_div(j->job->info.width * c->h, j->h_max);
        c->height = zimi_ceil_div(j->job->info.height * c->v, j->v_max);
        c->blocks_x = zimi_ceil_div(c->width, 8);
        c->blocks_y = zimi_ceil_div(c->height, 8);
        c->stride = j->mcus_x * c->h * 8;
        c->rows = j->mcus_y * c->v * 8;
        memset(c->known, -1, sizeof c->known);
    }
}
static int zimi_jpeg_frame(zimi_jpeg *j, int marker, const unsigned char *body, size_t size, size_t at) {
    zim_info *info = &j->job->info;
    int i;
    if (j->frame) return zimi_fail_at(j->job, at, "a second frame header");
    if (size < 6 || size != 6 + 3 * (size_t)body[5]) return zimi_fail_at(j->job, at, "the frame header has a wrong size");
    if (body[0] != 8) return zimi_fail(j->job->error, "byte %lu: %d-bit JPEG is not supported (8 bits only)", (unsigned long)at, body[0]);
    info->height = (int)zimi_be16(body + 1);
    info->width = (int)zimi_be16(body + 3);
    info->depth = 8;
    info->channels = j->components = body[5];
    if (info->height == 0) return zimi_fail_at(j->job, at, "JPEG without a height in its header (given by DNL) is not supported");
    if (j->components != 1 && j->components != 3 && j->components != 4)
        return zimi_fail(j->job->error, "byte %lu: JPEG with %d components is not supported", (unsigned long)at, j->components);
    j->h_max = j->v_max = 1;
    for (i = 0; i < j->components; ++i) {
        zimi_component *c = &j->component[i];
        c->id = body[6 + 3 * i];
        c->h = body[7 + 3 * i] >> 4;
        c->v = body[7 + 3 * i] & 15;
        c->quant_index = body[8 + 3 * i];
        if (c->h < 1 || c->h > 4 || c->v < 1 || c->v > 4 || c->quant_index > 3) return zimi_fail_at(j->job, at, "a bad component in the frame header");
    }
    j->frame = 1;
    j->progressive = marker == 0xc2;
    zimi_jpeg_geometry(j);
    return zimi_check_limits(j->job);
}
static void zimi_jpeg_app(zimi_jpeg *j, int marker, const unsigned char *body, size_t size) {
    int orientation;
    if (marker == 0xe0 && size >= 14 && memcmp(body, "JFIF", 5) == 0) j->jfif = 1;
    if (marker == 0xee && size >= 12 && memcmp(body, "Adobe", 5) == 0) j->adobe = body[11];
    if (marker == 0xe1 && size >= 6 && memcmp(body, "Exif\0", 6) == 0 && j->job->info.orientation == 1) {
        orientation = zimi_exif_orientation(body + 6, size - 6);
        if (orientation > 0) j->job->info.orientation = orientation;
    }
}

static int zimi_jpeg_scan(zimi_jpeg *j, const unsigned char *body, size_t size, size_t at); /* IMG-SCAN */

/* One marker with its body. */
static int zimi_jpeg_segment(zimi_jpeg *j, int marker, const unsigned char *body, size_t size, size_t at) {
    const char *refused = zimi_jpeg_refused(marker);
    if (refused != NULL) return zimi_fail_at(j->job, at, refused);
    switch (marker) {
    case 0xc0: case 0xc1: case 0xc2: return zimi_jpeg_frame(j, marker, body, size, at);
    case 0xc4: return zimi_jpeg_huffman(j, body, size, at);
    case 0xdb: return zimi_jpeg_quant(j, body, size, at);
    case 0xdd:
        if (size != 2) return zimi_fail_at(j->job, at, "a bad restart interval");
        j->restart = (int)zimi_be16(body);
        return 0;
    case 0xda: return zimi_jpeg_scan(j, body, size, at);
    default: zimi_jpeg_app(j, marker, body, size); return 0;
    }
}
/* The next marker, whatever lies before it; 0 at the end of the file. */
static int zimi_jpeg_marker(zimi_jpeg *j) {
    const unsigned char *bytes = j->job->bytes;
    size_t size = j->job->size;
    for (;;) {
        while (j->at < size && bytes[j->at] != 0xff) ++j->at;
        while (j->at < size && bytes[j->at] == 0xff) ++j->at;
        if (j->at >= size) return 0;
        if (bytes[j->at++] != 0) return bytes[j->at - 1];
    }
}
/* Reads all segments, or up to the frame header when only that is wanted. */
static int zimi_jpeg_markers(zimi_jpeg *j) {
    zimi_job *job = j->job;
    size_t size, at;
    j->at = 2;
    for (;;) {
        int marker = zimi_jpeg_marker(j);
        at = j->at - (marker != 0 ? 2 : 0);
        if (marker == 0) return zimi_fail_at(job, job->size, j->frame ? "the file ends too early (no end of image)" : "the file ends before the frame header");
        if (marker == 0xd9) return 0;
        if (marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue; /* these have no body */
        size = job->size - j->at < 2 ? 0 : zimi_be16(job->bytes + j->at);
        if (size < 2 && job->size - j->at >= 2 && marker >= 0xe0) continue; /* a comment or the like */
        if (size < 2 || size > job->size - j->at) return zimi_fail_at(job, at, size == 1 ? "a marker with a bad length" : "the file ends too early (within a marker's data)");
        j->at += size;
        if (zimi_jpeg_segment(j, marker, job->bytes + j->at - size + 2, size - 2, at) != 0) return -1;
        if (job->image == NULL && j->frame) return 0;
    }
}

/* ==================================================================================================================
   IMG-DCT  JPEG reader: inverse DCT
   ------------------------------------------------------------------------------------------------------------------
   The accurate integer transform that libjpeg calls islow (Loeffler, Ligtenberg, Moschytz 1989, 13-bit constants,
   2 further bits kept between the passes), to the last bit. Arithmetic is modulo 2^16 and 2^32, so that absurd
   coefficients are harmless. Layers above: IMG-BASE.
   ================================================================================================================== */
ZIMI_INLINE unsigned char zimi_clamp(int value) { return (unsigned char)((unsigned)value <= 255 ? value : value < 0 ? 0 : 255); }
ZIMI_INLINE int16_t zimi_wrap(int value) { return (int16_t)value; }
ZIMI_INLINE uint32_t zimi_times(int16_t a, int16_t b) { return (uint32_t)((int32_t)a * b); }
ZIMI_INLINE unsigned char zimi_clamp16(int16_t value) { return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value); } /* vectorises */

/* Cosines times 2^13. They are handed over as a table because products of two 16-bit variables vectorise well, products
   with 32-bit constants do not. */
static const int16_t zimi_idct_factor[12] = {4433, 15137, 6270, 9633, 16069, 3196, 7373, 20995, 2446, 16819, 25172, 12299};

/* The transform of all eight columns; in and out have 8 rows of 8. */
static void zimi_idct_columns(const int16_t *ZIMI_RESTRICT in, int16_t *ZIMI_RESTRICT out, int bits, const int16_t *ZIMI_RESTRICT f) {
    const int16_t f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], f4 = f[4], f5 = f[5], f6 = f[6], f7 = f[7], f8 = f[8], f9 = f[9], f10 = f[10], f11 = f[11];
    uint32_t half = 1u << (bits - 1);
    int i;
    for (i = 0; i < 8; ++i) {
        int16_t s3 = zimi_wrap(in[56 + i] + in[24 + i]), s4 = zimi_wrap(in[40 + i] + in[8 + i]);
        uint32_t a0 = ((uint32_t)zimi_wrap(in[i] + in[32 + i]) << 13) + half, a1 = ((uint32_t)zimi_wrap(in[i] - in[32 + i]) << 13) + half;
        uint32_t z = zimi_times(zimi_wrap(in[16 + i] + in[48 + i]), f0), a2 = z - zimi_times(in[48 + i], f1), a3 = z + zimi_times(in[16 + i], f2);
        uint32_t z5 = zimi_times(zimi_wrap(s3 + s4), f3), z3 = z5 - zimi_times(s3, f4), z4 = z5 - zimi_times(s4, f5);
        uint32_t z1 = zimi_times(zimi_wrap(in[56 + i] + in[8 + i]), f6), z2 = zimi_times(zimi_wrap(in[40 + i] + in[24 + i]), f7);
        uint32_t b0 = zimi_times(in[56 + i], f8) - z1 + z3, b1 = zimi_times(in[40 + i], f9) - z2 + z4;
        uint32_t b2 = zimi_times(in[24 + i], f10) - z2 + z3, b3 = zimi_times(in[8 + i], f11) - z1 + z4;
        out[i] = zimi_wrap((int32_t)(a0 + a3 + b3) >> bits);
        out[56 + i] = zimi_wrap((int32_t)(a0 + a3 - b3) >> bits);
        out[8 + i] = zimi_wrap((int32_t)(a1 + a2 + b2) >> bits);
        out[48 + i] = zimi_wrap((int32_t)(a1 + a2 - b2) >> bits);
        out[16 + i] = zimi_wrap((int32_t)(a1 - a2 + b1) >> bits);
        out[40 + i] = zimi_wrap((int32_t)(a1 - a2 - b1) >> bits);
        out[24 + i] = zimi_wrap((int32_t)(a0 - a3 + b0) >> bits);
        out[32 + i] = zimi_wrap((int32_t)(a0 - a3 - b0) >> bits);
    }
}
/* Interleaves the halves of 64 items; three times make rows of columns. */
ZIMI_INLINE void zimi_interleave(const int16_t *ZIMI_RESTRICT in, int16_t *ZIMI_RESTRICT out) {
    int i;
    for (i = 0; i < 32; ++i) {
        out[2 * i] = in[i];
        out[2 * i + 1] = in[32 + i];
    }
}
ZIMI_INLINE void zimi_interleave8(const unsigned char *ZIMI_RESTRICT in, unsigned char *ZIMI_RESTRICT out) {
    int i;
    for (i = 0; i < 32; ++i) {
        out[2 * i] = in[i];
        out[2 * i + 1] = in[32 + i];
    }
}
/* Dequantised coefficients in rows to 8 x 8 samples; last is the zigzag index of the last one that is not 0. The block is
   cleared for the next. */
static void zimi_idct(int16_t *block, int last, unsigned char *out, size_t stride) {
    int16_t half[64], turned[64];
    unsigned char samples[64], rows[64];
    int i;
    if (last == 0) {
        unsigned char flat = zimi_clamp(((block[0] + 4) >> 3) + 128);
        block[0] = 0;
        for (i = 0; i < 8; ++i, out += stride) memset(out, flat, 8);
        return;
    }
    zimi_idct_columns(block, half, 11, zimi_idct_factor);
    memset(block, 0, 64 * sizeof *block);
    zimi_interleave(half, turned);
    zimi_interleave(turned, half);
    zimi_interleave(half, turned);
    zimi_idct_columns(turned, half, 18, zimi_idct_factor);
    for (i = 0; i < 64; ++i) samples[i] = zimi_clamp16(zimi_wrap(half[i] + 128));
    zimi_interleave8(samples, rows);
    zimi_interleave8(rows, samples);
    zimi_interleave8(samples, rows);
    for (i = 0; i < 8; ++i, out += stride) memcpy(out, rows + 8 * i, 8);
}

/* ==================================================================================================================
   IMG-SCAN  JPEG reader: entropy-coded data
   ------------------------------------------------------------------------------------------------------------------
   The bytes up to the next marker are copied without their stuffing first, so that the bit reader has no special cases.
   A restart interval is one such run; damage cannot spread out of it. Layers above: IMG-BASE, IMG-JPEG, IMG-DCT.
   ================================================================================================================== */
/* Fetches the next run of entropy-coded bytes and returns the marker behind it, 0 at the end of the file. Restart markers
   are stepped over, others are not. */
static int zimi_next_run(zimi_jpeg *j) {
    const unsigned char *bytes = j->job->bytes;
    size_t size = j->job->size, out = 0;
    int marker = 0;
    j->segment = j->at;
    while (j->at < size) {
        const unsigned char *stop = (const unsigned char *)memchr(bytes + j->at, 0xff, size - j->at);
        size_t run = stop != NULL ? (size_t)(stop - bytes) - j->at : size - j->at, next;
        memcpy(j->buffer + out, bytes + j->at, run);
        out += run;
        j->at += run;
        for (next = j->at; next < size && bytes[next] == 0xff; ++next) {}
        if (next >= size) {
            j->at = size;
            break;
        }
        if (bytes[next] != 0) {
            marker = bytes[next];
            j->at = marker >= 0xd0 && marker <= 0xd7 ? next + 1 : next - 1;
            break;
        }
        j->buffer[out++] = 0xff;
        j->at = next + 1;
    }
    memset(j->buffer + out, 0, 8); /* so that eight bytes can always be loaded */
    memset(&j->in, 0, sizeof j->in);
    j->in.data = j->buffer;
    j->in.size = out;
    j->run = 0;
    return marker;
}
/* Place in the file of a byte of the run. */
static size_t zimi_run_place(const zimi_jpeg *j, size_t index) {
    size_t at = j->segment;
    for (; index > 0 && at < j->job->size; --index) at += j->job->bytes[at] == 0xff ? 2 : 1;
    return zimi_min(at, j->job->size);
}

ZIMI_INLINE void zimi_fill(zimi_bit_reader *b) { /* at least 56 bits */
    if (b->at < b->size) {
        const unsigned char *p = b->data + b->at;
        b->bits |= ((uint64_t)zimi_be32(p) << 32 | zimi_be32(p + 4)) >> b->count;
    }
    b->at += (size_t)(63 - b->count) >> 3;
    b->count |= 56;
}
ZIMI_INLINE void zimi_need(zimi_bit_reader *b) { /* enough for a code and its value */
    if (b->count < 32) zimi_fill(b);
}
ZIMI_INLINE void zimi_skip(zimi_bit_reader *b, int count) {
    b->bits <<= count;
    b->count -= count;
}
/* Whether more bits were used than there are. */
ZIMI_INLINE int zimi_overrun(const zimi_bit_reader *b) { return b->at > b->size && (b->at - b->size) * 8 > (size_t)b->count; }

/* The next 1..16 bits as a signed value: those that begin with 0 are negative (T.81, F.2.2.1). */
ZIMI_INLINE int zimi_value(zimi_bit_reader *b, int size) {
    int value = (int)(b->bits >> (64 - size));
    zimi_skip(b, size);
    return value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
}
ZIMI_INLINE unsigned zimi_take(zimi_bit_reader *b, int count) { /* 1..16 bits */
    unsigned value;
    zimi_need(b);
    value = (unsigned)(b->bits >> (64 - count));
    zimi_skip(b, count);
    return value;
}
/* A code that is longer than ZIMI_LOOK. */
ZIMI_INLINE int zimi_long_symbol(zimi_bit_reader *b, const zimi_huffman *t) {
    uint32_t next = (uint32_t)(b->bits >> 48);
    int length;
    for (length = ZIMI_LOOK + 1; length <= 16; ++length)
        if (next < t->limit[length]) {
            zimi_skip(b, length);
            return t->symbol[(t->offset[length] + (int)(next >> (16 - length))) & 255];
        }
    b->bad = 1;
    return 0;
}
ZIMI_INLINE int zimi_symbol(zimi_bit_reader *b, const zimi_huffman *t) {
    int32_t entry;
    zimi_need(b);
    entry = t->look[b->bits >> (64 - ZIMI_LOOK)];
    if (entry == 0) return zimi_long_symbol(b, t);
    zimi_skip(b, entry >> 5 & 15);
    return entry >> 12 & 255;
}
ZIMI_INLINE int zimi_dc_difference(zimi_bit_reader *b, const zimi_huffman *t) {
    int32_t entry;
    int size;
    zimi_need(b);
    entry = t->look[b->bits >> (64 - ZIMI_LOOK)];
    if ((entry & ZIMI_VALUE) != 0) {
        zimi_skip(b, entry & 31);
        return entry >> 20;
    }
    size = zimi_symbol(b, t);
    return size > 0 ? zimi_value(b, size) : 0;
}

/* One block of a sequential scan, dequantised in rows; returns the zigzag index of its last coefficient. */
static int zimi_block(zimi_jpeg *j, zimi_component *c, int16_t *block) {
    const zimi_huffman *ac = &j->ac[c->ac];
    zimi_bit_reader b = j->in; /* in registers */
    int k = 1, last = 0;
    c->pred = (int16_t)(c->pred + zimi_dc_difference(&b, &j->dc[c->dc]));
    block[0] = (int16_t)((uint32_t)c->pred * c->quant[0]);
    while (k < 64) {
        int32_t entry;
        int symbol;
        zimi_need(&b);
        entry = ac->look[b.bits >> (64 - ZIMI_LOOK)];
        if ((entry & ZIMI_VALUE) != 0) {
            zimi_skip(&b, entry & 31);
            k += entry >> 16 & 15;
            block[zimi_zigzag[k]] = (int16_t)((uint32_t)(entry >> 20) * c->quant[k & 63]);
            last = k++;
            continue;
        }
        symbol = zimi_symbol(&b, ac);
        k += symbol >> 4;
        if ((symbol & 15) == 0) {
            if (symbol != 0xf0) break;
            ++k;
            continue;
        }
        block[zimi_zigzag[k]] = (int16_t)((uint32_t)zimi_value(&b, symbol & 15) * c->quant[k & 63]);
        last = k++;
    }
    if (last > 63) b.bad = 1;
    j->in = b;
    return last;
}

/* Blocks of progressive scans: first bits and refinement of DC and AC (T.81, G.1.2). */
static void zimi_dc_first(zimi_jpeg *j, zimi_component *c, int16_t *block) {
    c->pred = (int16_t)(c->pred + zimi_dc_difference(&j->in, &j->dc[c->dc]));
    block[0] = (int16_t)((uint32_t)c->pred << j->low);
}
static void zimi_dc_refine(zimi_jpeg *j, int16_t *block) {
    if (zimi_take(&j->in, 1) != 0) block[0] = (int16_t)(block[0] | 1 << j->low);
}
/* The run of empty blocks that an EOBn symbol begins, this one included. */
ZIMI_INLINE int zimi_eob_run(zimi_bit_reader *b, int bits) { return bits > 0 ? (1 << bits) + (int)zimi_take(b, bits) : 1; }

static void zimi_ac_first(zimi_jpeg *j, const zimi_component *c, int16_t *block) {
    zimi_bit_reader b = j->in;
    int k = j->first;
    while (k <= j->last) {
        int symbol = zimi_symbol(&b, &j->ac[c->ac]), size = symbol & 15;
        if (size == 0 && symbol != 0xf0) {
            j->run = zimi_eob_run(&b, symbol >> 4);
            break;
        }
        k += symbol >> 4;
        if (size > 0) {
            int value = zimi_value(&b, size);
            if (k > 63) b.bad = 1;
            block[k & 63] = (int16_t)((uint32_t)value << j->low);
        }
        ++k;
    }
    j->in = b;
}
/* Moves a coefficient that is not 0 away from it by one bit, if the file says so. */
ZIMI_INLINE void zimi_refine(zimi_bit_reader *b, int16_t *coef, int bit) {
    if (zimi_take(b, 1) != 0 && (*coef & bit) == 0) *coef = (int16_t)(*coef + (*coef >= 0 ? bit : -bit));
}
static void zimi_ac_refine(zimi_jpeg *j, const zimi_component *c, int16_t *block) {
    zimi_bit_reader b = j->in;
    int k = j->first, bit = 1 << j->low, value, zeros, symbol;
    while (j->run == 0 && k <= j->last) {
        symbol = zimi_symbol(&b, &j->ac[c->ac]);
        zeros = symbol >> 4;
        value = 0;
        if ((symbol & 15) != 0) {
            if ((symbol & 15) != 1) b.bad = 1;
            value = zimi_take(&b, 1) != 0 ? bit : -bit;
        } else if (zeros < 15) {
            j->run = zimi_eob_run(&b, zeros);
            break;
        }
        for (; k <= j->last; ++k) {
            if (block[k] != 0) zimi_refine(&b, &block[k], bit);
            else if (--zeros < 0) break;
        }
        if (value != 0) block[k < 64 ? k : 63] = (int16_t)value; /* past the end only in bad files: there as libjpeg does */
        ++k;
    }
    for (; j->run > 0 && k <= j->last; ++k)
        if (block[k] != 0) zimi_refine(&b, &block[k], bit);
    j->in = b;
}

/* Block (x, y) of a component, whatever the kind of scan. */
ZIMI_INLINE void zimi_scan_block(zimi_jpeg *j, zimi_component *c, int x, int y, int16_t *scratch) {
    int16_t *block;
    if (!j->progressive) {
        int last = zimi_block(j, c, scratch);
        zimi_idct(scratch, last, c->plane + ((size_t)y * (size_t)c->stride + (size_t)x) * 8, (size_t)c->stride);
        return;
    }
    block = c->coefs + ((size_t)y * (size_t)(c->stride / 8) + (size_t)x) * 64;
    if (j->first == 0) {
        if (j->high == 0) zimi_dc_first(j, c, block);
        else zimi_dc_refine(j, block);
    } else {
        if (j->high != 0) zimi_ac_refine(j, c, block);
        else if (j->run == 0) zimi_ac_first(j, c, block);
        if (j->run > 0) --j->run;
    }
}
/* MCUs begin..end-1 of a scan from one run; -1 as soon as the run is found bad or too short. */
static int zimi_scan_run(zimi_jpeg *j, int begin, int end) {
    int16_t scratch[64];
    zimi_component *c = &j->component[j->in_scan[0]];
    int single = j->scan_components == 1, per_row = single ? c->blocks_x : j->mcus_x, mcu, i, x, y;
    memset(scratch, 0, sizeof scratch);
    for (i = 0; i < j->scan_components; ++i) j->component[j->in_scan[i]].pred = 0;
    for (mcu = begin; mcu < end; ++mcu) {
        int column = mcu % per_row, row = mcu / per_row;
        if (single) zimi_scan_block(j, c, column, row, scratch);
        else
            for (i = 0; i < j->scan_components; ++i) {
                c = &j->component[j->in_scan[i]];
                for (y = 0; y < c->v; ++y)
                    for (x = 0; x < c->h; ++x) zimi_scan_block(j, c, column * c->h + x, row * c->v + y, scratch);
            }
        if (j->in.bad || zimi_overrun(&j->in)) {
            size_t used = j->in.at - (size_t)j->in.count / 8;
            return zimi_fail_at(j->job, zimi_run_place(j, used), j->in.bad ? "a bad code in the compressed data" : "the compressed data end too early");
        }
    }
    return 0;
}
/* All runs of a scan. With salvage, a damaged run is left and the next one goes to its own place. */
static int zimi_scan_data(zimi_jpeg *j) {
    const zimi_component *c = &j->component[j->in_scan[0]];
    int total = j->scan_components == 1 ? c->blocks_x * c->blocks_y : j->mcus_x * j->mcus_y;
    int step = j->restart > 0 && j->restart < total ? j->restart : total, begin, marker = 0, bad = 0, expected = 0;
    for (begin = 0; begin < total; begin += step, expected = (expected + 1) & 7) {
        if (begin > 0 && (marker < 0xd0 || marker > 0xd7)) return zimi_fail_at(j->job, j->at, marker == 0 ? "the file ends too early" : "a restart marker is missing");
        if (begin > 0 && marker != 0xd0 + ((expected + 7) & 7)) {
            int lost = (marker - 0xd0 - expected + 1) & 7; /* runs that are missing */
            bad = zimi_fail_at(j->job, j->at, "a restart marker with a wrong number");
            if (!j->job->opts.salvage || lost > 4 || lost * step >= total - begin) return bad;
            begin += lost * step;
            expected = (expected + lost) & 7;
        }
        marker = zimi_next_run(j);
        if (zimi_scan_run(j, begin, total - begin < step ? total : begin + step) != 0) {
            bad = -1;
            if (!j->job->opts.salvage || j->progressive) return bad;
        }
    }
    while (marker >= 0xd0 && marker <= 0xd7) marker = zimi_next_run(j); /* a restart marker at the very end, as some writers leave */
    return bad;
}

/* Memory for planes or coefficients, once the first scan begins. */
static int zimi_jpeg_memory(zimi_jpeg *j) {
    zimi_job *job = j->job;
    size_t blocks = 0, bytes;
    int i;
    for (i = 0; i < j->components; ++i) blocks = zimi_add(blocks, zimi_mul((size_t)j->component[i].blocks_x, (size_t)j->component[i].blocks_y));
    if (zimi_begin(job, job->size - j->at, blocks / 8) != 0) return -1; /* a block takes a bit at least */
    j->buffer = (unsigned char *)zimi_alloc(zimi_add(job->size - j->at, 16), job->error);
    if (j->buffer == NULL) return -1;
    for (i = 0; i < j->components; ++i) {
        zimi_component *c = &j->component[i];
        bytes = zimi_mul((size_t)c->stride, (size_t)c->rows);
        c->plane = (unsigned char *)zimi_alloc(zimi_add(bytes, ZIMI_STEP), job->error);
        if (c->plane == NULL) return -1;
        if (job->opts.salvage) memset(c->plane, 128, bytes);
        if (!j->progressive) continue;
        c->coefs = (int16_t *)zimi_alloc(zimi_mul(bytes, sizeof *c->coefs), job->error);
        if (c->coefs == NULL) return -1;
        memset(c->coefs, 0, bytes * sizeof *c->coefs);
    }
    return 0;
}
/* Components and tables that the scan header names. */
static int zimi_scan_components(zimi_jpeg *j, const unsigned char *body, size_t at) {
    int i, k, blocks = 0;
    for (i = 0; i < j->scan_components; ++i) {
        zimi_component *c;
        for (k = 0; k < j->components && j->component[k].id != body[1 + 2 * i]; ++k) {}
        if (k == j->components) return zimi_fail_at(j->job, at, "the scan names a component that the frame has not");
        for (blocks = 0; blocks < i; ++blocks)
            if (j->in_scan[blocks] == k) return zimi_fail_at(j->job, at, "the scan names a component twice");
        c = &j->component[k];
        j->in_scan[i] = k;
        c->dc = body[2 + 2 * i] >> 4;
        c->ac = body[2 + 2 * i] & 15;
        if (c->dc > 3 || c->ac > 3) return zimi_fail_at(j->job, at, "the scan names a Huffman table that cannot exist");
        if (c->seen) continue;
        if (!j->quant_present[c->quant_index]) return zimi_fail_at(j->job, at, "a quantisation table is missing");
        memcpy(c->quant, j->quant[c->quant_index], sizeof c->quant);
        c->seen = 1;
    }
    for (i = 0, blocks = 0; i < j->scan_components; ++i) blocks += j->component[j->in_scan[i]].h * j->component[j->in_scan[i]].v;
    return j->scan_components > 1 && blocks > 10 ? zimi_fail_at(j->job, at, "more than 10 blocks in an MCU") : 0;
}
static int zimi_scan_tables(zimi_jpeg *j, size_t at) {
    int i, k;
    for (i = 0; i < j->scan_components; ++i) {
        const zimi_component *c = &j->component[j->in_scan[i]];
        zimi_huffman *used[2];
        int needed[2];
        used[0] = &j->dc[c->dc];
        used[1] = &j->ac[c->ac];
        needed[0] = !j->progressive || (j->first == 0 && j->high == 0);
        needed[1] = !j->progressive || j->first > 0;
        for (k = 0; k < 2; ++k) {
            int index = k == 0 ? c->dc : c->ac;
            const unsigned char *standard = k == 0 ? zimi_std_dc[index & 1] : zimi_std_ac[index & 1];
            if (!needed[k] || used[k]->present) continue;
            if (index > 1 || j->progressive) return zimi_fail_at(j->job, at, "a Huffman table is missing");
            (void)zimi_huffman_build(used[k], standard, standard + 16, k == 0);
        }
    }
    return 0;
}
/* Which coefficients and bits a progressive scan holds, and whether it may. */
static int zimi_scan_progress(zimi_jpeg *j, size_t at) {
    int i, k;
    if (++j->scans > ZIMI_MAX_SCANS) return zimi_fail(j->job->error, "byte %lu: more than %d scans", (unsigned long)at, ZIMI_MAX_SCANS);
    if (j->first > j->last || j->last > 63 || (j->first == 0 && j->last > 0) || (j->first > 0 && j->scan_components > 1) || j->low > 13 ||
        (j->high != 0 && j->high != j->low + 1))
        return zimi_fail_at(j->job, at, "bad parameters of a progressive scan");
    for (i = 0; i < j->scan_components; ++i)
        for (k = j->first; k <= j->last; ++k) j->component[j->in_scan[i]].known[k] = (signed char)j->low;
    return 0;
}
static int zimi_jpeg_scan(zimi_jpeg *j, const unsigned char *body, size_t size, size_t at) {
    if (!j->frame) return zimi_fail_at(j->job, at, "a scan before the frame header");
    j->scan_components = size > 0 ? body[0] : 0;
    if (j->scan_components < 1 || j->scan_components > 4 || size != 4 + 2 * (size_t)j->scan_components) return zimi_fail_at(j->job, at, "the scan header has a wrong size");
    j->first = body[size - 3];
    j->last = body[size - 2];
    j->high = body[size - 1] >> 4;
    j->low = body[size - 1] & 15;
    if (zimi_scan_components(j, body, at) != 0) return -1;
    if (j->progressive && zimi_scan_progress(j, at) != 0) return -1;
    if (zimi_scan_tables(j, at) != 0) return -1;
    if (j->buffer == NULL && zimi_jpeg_memory(j) != 0) return -1;
    return zimi_scan_data(j);
}

/* ==================================================================================================================
   IMG-COLOUR  JPEG reader: upsampling and colours
   ------------------------------------------------------------------------------------------------------------------
   As libjpeg-turbo with its defaults: components of half width and (or) half height by triangle filters, others by
   repetition; fixed-point YCbCr to RGB with 16 bits (T.871). Layers above: IMG-BASE, IMG-PIXELS, IMG-JPEG, IMG-DCT.
   ================================================================================================================== */
/* sums[1 + x] = near*a + far*b, the border repeated on both sides. */
static void zimi_sum_rows(const unsigned char *ZIMI_RESTRICT near, const unsigned char *ZIMI_RESTRICT far, int a, int b, int width, int16_t *ZIMI_RESTRICT sums) {
    const int16_t weight_a = (int16_t)a, weight_b = (int16_t)b;
    int x, i;
    for (x = 0; x < width; x += ZIMI_STEP)
        for (i = 0; i < ZIMI_STEP; ++i) sums[1 + x + i] = zimi_wrap(near[x + i] * weight_a + far[x + i] * weight_b);
    sums[0] = sums[1];
    sums[1 + width] = sums[width];
}
/* Twice as many samples, each 3/4 of the nearer sum and 1/4 of the other one. The biases take turns, so that rounding
   does not drift. */
static void zimi_double_row(const int16_t *ZIMI_RESTRICT sums, int width, int bias_even, int bias_odd, int bits, unsigned char *ZIMI_RESTRICT out) {
    const int16_t even = (int16_t)bias_even, odd = (int16_t)bias_odd;
    int x, i;
    for (x = 0; x < width; x += ZIMI_STEP)
        for (i = 0; i < ZIMI_STEP; ++i) {
            int16_t here = zimi_wrap(sums[1 + x + i] * 3);
            out[2 * (x + i)] = (unsigned char)(zimi_wrap(here + sums[x + i] + even) >> bits);
            out[2 * (x + i) + 1] = (unsigned char)(zimi_wrap(here + sums[2 + x + i] + odd) >> bits);
        }
}
static void zimi_between_rows(const unsigned char *ZIMI_RESTRICT near, const unsigned char *ZIMI_RESTRICT far, int width, int bias, unsigned char *ZIMI_RESTRICT out) {
    int x, i;
    for (x = 0; x < width; x += ZIMI_STEP)
        for (i = 0; i < ZIMI_STEP; ++i) out[x + i] = (unsigned char)((near[x + i] * 3 + far[x + i] + bias) >> 2);
}
static void zimi_repeat_row(const unsigned char *in, int width, int h, int h_max, unsigned char *out) {
    int x, rest = 0; /* of x*h/h_max, which is where *in stands */
    for (x = 0; x < width; ++x) {
        out[x] = *in;
        rest += h;
        in += rest >= h_max;
        rest -= rest >= h_max ? h_max : 0;
    }
}
/* Row y of the picture of a component: its own, or one made in buffer. */
static const unsigned char *zimi_full_row(const zimi_jpeg *j, const zimi_component *c, int y, int16_t *sums, unsigned char *buffer) {
    int row = y * c->v / j->v_max, width = j->job->info.width;
    int half_x = c->h * 2 == j->h_max, half_y = c->v * 2 == j->v_max, other = (y & 1) != 0 ? row + 1 : row - 1;
    const unsigned char *near = c->plane + (size_t)row * (size_t)c->stride, *far;
    if (c->h == j->h_max && !half_y) return near;
    other = other < 0 ? 0 : other >= c->height ? c->height - 1 : other; /* the border is repeated */
    far = c->plane + (size_t)other * (size_t)c->stride;
    if (half_x && (half_y || c->v == j->v_max) && c->width > 2) {
        zimi_sum_rows(near, far, half_y ? 3 : 1, half_y, c->width, sums);
        zimi_double_row(sums, c->width, half_y ? 8 : 1, half_y ? 7 : 2, half_y ? 4 : 2, buffer);
    } else if (c->h == j->h_max && half_y) zimi_between_rows(near, far, c->width, (y & 1) != 0 ? 2 : 1, buffer);
    else zimi_repeat_row(near, width, c->h, j->h_max, buffer);
    return buffer;
}

/* T.871 with 16 binary digits, whole parts of the factors taken out so that the rest fits 16 bits: 1.40200, 0.34414,
   0.71414, 1.77200. */
static const int16_t zimi_ycc_factor[4] = {26345, -22554, 18734, -14942};

static void zimi_ycc_part(const unsigned char *ZIMI_RESTRICT y, const unsigned char *ZIMI_RESTRICT cb, const unsigned char *ZIMI_RESTRICT cr,
                          const int16_t *ZIMI_RESTRICT f, unsigned char *ZIMI_RESTRICT out) {
    const int16_t f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
    int16_t rgb[4 * ZIMI_STEP];
    unsigned char planes[4 * ZIMI_STEP], pairs[4 * ZIMI_STEP];
    int i;
    for (i = 0; i < ZIMI_STEP; ++i) {
        int16_t b = zimi_wrap(cb[i] - 128), r = zimi_wrap(cr[i] - 128);
        rgb[i] = zimi_wrap(y[i] + r + ((r * f0 + 32768) >> 16));
        rgb[ZIMI_STEP + i] = zimi_wrap(y[i] - r + ((b * f1 + r * f2 + 32768) >> 16));
        rgb[2 * ZIMI_STEP + i] = zimi_wrap(y[i] + b + b + ((b * f3 + 32768) >> 16));
        rgb[3 * ZIMI_STEP + i] = 0;
    }
    for (i = 0; i < 4 * ZIMI_STEP; ++i) planes[i] = zimi_clamp16(rgb[i]);
    zimi_interleave8(planes, pairs);
    zimi_interleave8(pairs, out); /* four bytes a pixel, the last one 0 */
}
static void zimi_ycc_row(const unsigned char *y, const unsigned char *cb, const unsigned char *cr, int width, unsigned char *out) {
    unsigned char part[4 * ZIMI_STEP];
    int x, i, count;
    for (x = 0; x < width; x += ZIMI_STEP) {
        zimi_ycc_part(y + x, cb + x, cr + x, zimi_ycc_factor, part);
        count = width - x < ZIMI_STEP ? width - x : ZIMI_STEP;
        for (i = 0; i < count - 1; ++i, out += 3) memcpy(out, part + 4 * i, 4); /* the fourth byte is overwritten next */
        memcpy(out, part + 4 * i, 3);
        out += 3;
    }
}
/* Inks, stored inverted as Adobe does, over each other: what one lets pass times what black lets pass. */
static void zimi_cmyk_row(const unsigned char *const *in, int width, unsigned char *out) {
    int x, k;
    for (x = 0; x < width; ++x)
        for (k = 0; k < 3; ++k) {
            int light = in[3][x], ink = (255 - in[k][x]) * light + 128;
            *out++ = zimi_clamp(light - ((ink + (ink >> 8)) >> 8));
        }
}
/* Whether the components are YCbCr (or YCCK) rather than RGB (or CMYK). */
static int zimi_jpeg_is_ycc(const zimi_jpeg *j) {
    const zimi_component *c = j->component;
    if (j->components == 4) return j->adobe > 0;
    if (j->jfif) return 1;
    if (j->adobe >= 0) return j->adobe != 0;
    return !(c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B');
}
/* Full rows of all components into one of RGB (or gray, returning 1 channel). */
static int zimi_jpeg_row(const zimi_jpeg *j, const unsigned char *const *in, int ycc, unsigned char *out) {
    int width = j->job->info.width, x, k;
    if (j->components == 1) memcpy(out, in[0], (size_t)width);
    else if (j->components == 4) {
        const unsigned char *inks[4];
        for (k = 0; k < 4; ++k) inks[k] = in[k];
        if (ycc) { /* YCC holds the inverse of what is stored as CMY */
            unsigned char *rgb = out + 3 * (size_t)width;
            zimi_ycc_row(in[0], in[1], in[2], width, rgb);
            for (k = 0; k < 3; ++k) {
                unsigned char *ink = out + (size_t)(6 + k) * (size_t)width;
                for (x = 0; x < width; ++x) ink[x] = (unsigned char)(255 - rgb[3 * x + k]);
                inks[k] = ink;
            }
        }
        zimi_cmyk_row(inks, width, out);
    } else if (ycc) zimi_ycc_row(in[0], in[1], in[2], width, out);
    else
        for (x = 0; x < width; ++x)
            for (k = 0; k < 3; ++k) out[3 * x + k] = in[k][x];
    return j->components == 1 ? 1 : 3;
}
static int zimi_jpeg_output(zimi_jpeg *j) {
    zimi_job *job = j->job;
    size_t width = (size_t)job->info.width, room = zimi_add(width, 3 * ZIMI_STEP);
    unsigned char *memory = (unsigned char *)zimi_alloc(zimi_mul(room, 15), job->error), *buffer, *rgb;
    const unsigned char *rows[4];
    int direct = job->opts.channels == 3 && j->components == 3, ycc = zimi_jpeg_is_ycc(j), y, i;
    union { unsigned char *bytes; int16_t *sums; } first;
    if (memory == NULL) return -1;
    first.bytes = memory;
    buffer = memory + 2 * room;
    rgb = buffer + 4 * room; /* nine widths: CMYK needs them */
    for (y = 0; y < job->info.height; ++y) {
        for (i = 0; i < j->components; ++i) rows[i] = zimi_full_row(j, &j->component[i], y, first.sums, buffer + (size_t)i * room);
        if (direct) (void)zimi_jpeg_row(j, rows, ycc, job->image->pixels + (size_t)y * width * 3);
        else zimi_put_row(job, y, rgb, zimi_jpeg_row(j, rows, ycc, rgb));
    }
    ZIM_FREE(memory);
    return 0;
}

/* A progressive file may end before all coefficients are there. libjpeg-turbo then guesses the lowest ones that are
   missing from the DC of the 5 x 5 blocks around (T.81, K.8, has the idea), so that blocks do not show; the weights, in
   1/256, are those of its version 2.1. Kernels for coefficients 0, 1, 3, 4, 6, 7 in zigzag order; 2, 5, 9, 8 are 1, 3, 6,
   7 with rows and columns exchanged. The first set is for DC alone, the second for files that have some AC. */
static const signed char zimi_smooth_kernel[2][6][25] = {
    {{-2, -6, -8, -6, -2, -6, 6, 42, 6, -6, -8, 42, 0, 42, -8, -6, 6, 42, 6, -6, -2, -6, -8, -6, -2}, /* and 152 in the middle */
     {-1, -1, 0, 1, 1, -3, 13, 0, -13, 3, -3, 38, 0, -38, 3, -3, 13, 0, -13, 3, -1, -1, 0, 1, 1},
     {0, 0, 1, 0, 0, 0, 2, 7, 2, 0, 0, -5, -14, -5, 0, 0, 2, 7, 2, 0, 0, 0, 1, 0, 0},
     {-1, 0, 0, 0, 1, 0, 9, 0, -9, 0, 0, 0, 0, 0, 0, 0, -9, 0, 9, 0, 1, 0, 0, 0, -1},
     {0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, 2, 0, -2, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0, 0},
     {0, 0, 0, 0, 0, 0, 1, -3, 1, 0, 0, 0, 0, 0, 0, 0, -1, 3, -1, 0, 0, 0, 0, 0, 0}},
    {{0},
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -7, 50, 0, -50, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
     {0, 0, -1, 0, 0, 0, 0, 13, 0, 0, 0, 0, -24, 0, 0, 0, 0, 13, 0, 0, 0, 0, -1, 0, 0},
     {0, -1, 0, 1, 0, -1, 10, 0, -10, 1, 0, 0, 0, 0, 0, 1, -10, 0, 10, -1, 0, 1, 0, -1, 0},
     {0},
     {0}}};

/* Whether anything is missing, and what is needed for the guess is there. */
static int zimi_smooth_wanted(const zimi_jpeg *j) {
    int i, k, missing = 0;
    for (i = 0; i < j->components; ++i)
        for (k = 0; k < 10; ++k) {
            const zimi_component *c = &j->component[i];
            if (c->known[0] < 0 || c->quant[k] == 0) return 0;
            missing |= k > 0 && c->known[k] != 0;
        }
    return missing;
}
/* Guesses coefficient k of a block from the DC around it. */
static int zimi_smooth_guess(const zimi_component *c, const int *dc, int k, int some_ac) {
    static const unsigned char kernels[10] = {0, 1, 1, 2, 3, 2, 4, 5, 5, 4}, exchanged[10] = {0, 0, 1, 0, 0, 1, 0, 0, 1, 1};
    const signed char *kernel = zimi_smooth_kernel[some_ac][kernels[k]];
    int64_t sum = k == 0 ? 152 * (int64_t)dc[12] : 0, guess;
    int i;
    for (i = 0; i < 25; ++i) sum += (int64_t)kernel[exchanged[k] ? i % 5 * 5 + i / 5 : i] * dc[i];
    sum *= c->quant[0];
    guess = ((sum < 0 ? -sum : sum) + ((int64_t)c->quant[k] << 7)) / ((int64_t)c->quant[k] << 8);
    if (k > 0 && c->known[k] > 0 && guess >= 1 << c->known[k]) guess = (1 << c->known[k]) - 1; /* or it would have been sent */
    return (int)(sum < 0 ? -guess : guess);
}
/* The rows of blocks around row y, in libjpeg-turbo's own way near the borders of MCU rows. */
static void zimi_smooth_rows(const zimi_jpeg *j, const zimi_component *c, int y, int *rows) {
    int mcu = y / c->v, part = y % c->v, last = j->mcus_y - 1, parts = mcu < last || c->blocks_y % c->v == 0 ? c->v : c->blocks_y % c->v;
    rows[2] = y;
    rows[1] = y > 0 ? y - 1 : y;
    rows[0] = part > 1 || mcu > 1 ? y - 2 : rows[1];
    rows[3] = part < parts - 1 || mcu < last ? y + 1 : y;
    rows[4] = part < parts - 2 || mcu + 1 < last ? y + 2 : rows[3];
}
static void zimi_smooth_block(const zimi_component *c, const int *rows, int x, int some_ac, int16_t *coefs) {
    int dc[25], i;
    for (i = 0; i < 25; ++i) {
        int column = x + i % 5 - 2;
        column = column < 0 ? 0 : column >= c->blocks_x ? c->blocks_x - 1 : column;
        dc[i] = c->coefs[((size_t)rows[i / 5] * (size_t)(c->stride / 8) + (size_t)column) * 64];
    }
    for (i = some_ac; i < (some_ac ? 6 : 10); ++i)
        if (i == 0 || (c->known[i] != 0 && coefs[i] == 0)) coefs[i] = (int16_t)zimi_smooth_guess(c, dc, i, some_ac);
}

/* The coefficients of a progressive picture into samples. */
static void zimi_jpeg_transform(const zimi_jpeg *j, const zimi_component *c, int smooth) {
    int16_t block[64];
    int16_t coefs[64];
    int rows[5], x, y, k, last, some_ac = 0;
    memset(block, 0, sizeof block);
    for (k = 1; k < 10; ++k) some_ac |= c->known[k] >= 0;
    for (y = 0; y < c->blocks_y; ++y) {
        if (smooth) zimi_smooth_rows(j, c, y, rows);
        for (x = 0; x < c->blocks_x; ++x) {
            memcpy(coefs, c->coefs + ((size_t)y * (size_t)(c->stride / 8) + (size_t)x) * 64, sizeof coefs);
            if (smooth) zimi_smooth_block(c, rows, x, some_ac, coefs);
            for (k = 0, last = 0; k < 64; ++k) {
                if (coefs[k] == 0) continue;
                block[zimi_zigzag[k]] = (int16_t)((uint32_t)coefs[k] * c->quant[k]);
                last = k;
            }
            zimi_idct(block, last, c->plane + ((size_t)y * (size_t)c->stride + (size_t)x) * 8, (size_t)c->stride);
        }
    }
}
static int zimi_jpeg_decode(zimi_job *job) {
    zimi_jpeg *j = (zimi_jpeg *)zimi_alloc(sizeof *j, job->error);
    int bad, i, usable;
    if (j == NULL) return -1;
    memset(j, 0, sizeof *j);
    j->job = job;
    j->adobe = -1;
    bad = zimi_jpeg_markers(j);
    usable = j->components > 0 && j->component[j->components - 1].plane != NULL && (!j->progressive || j->component[j->components - 1].coefs != NULL);
    for (i = 0; i < j->components && !bad && job->image != NULL; ++i)
        if (!j->component[i].seen) bad = zimi_fail(job->error, "no scan holds component %d", i + 1);
    if (usable && (!bad || job->opts.salvage)) {
        int smooth = j->progressive && zimi_smooth_wanted(j);
        for (i = 0; i < j->components && j->progressive; ++i)
            if (j->component[i].seen) zimi_jpeg_transform(j, &j->component[i], smooth);
        if (zimi_jpeg_output(j) != 0) bad = -1;
    }
    for (i = 0; i < 4; ++i) {
        ZIM_FREE(j->component[i].plane);
        ZIM_FREE(j->component[i].coefs);
    }
    ZIM_FREE(j->buffer);
    ZIM_FREE(j);
    return bad;
}

/* ==================================================================================================================
   IMG-JPEGOUT  JPEG writer
   ------------------------------------------------------------------------------------------------------------------
   Baseline, 4:2:0, standard tables; the same coefficients as libjpeg writes at the same quality.
   Layers above: IMG-BASE, the tables and the clamp of IMG-JPEG and IMG-DCT.
   ================================================================================================================== */
static const unsigned char zimi_std_quant[2][64] = { /* T.81, K.1, in rows */
    {16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
     18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99},
    {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99}};

typedef struct zimi_jpeg_out {
    zimi_bytes out;
    uint32_t bits;
    int count;
    int quant[2][64];               /* in rows */
    uint16_t code[2][2][256];       /* DC, AC; luminance, colour */
    unsigned char length[2][2][256];
    int pred[3];
} zimi_jpeg_out;

static void zimi_jpeg_bits(zimi_jpeg_out *w, unsigned value, int count) { /* up to 16 */
    w->bits = w->bits << count | (value & ((1u << count) - 1));
    for (w->count += count; w->count >= 8; w->count -= 8) {
        unsigned byte = w->bits >> (w->count - 8) & 255;
        zimi_put8(&w->out, byte);
        if (byte == 255) zimi_put8(&w->out, 0);
    }
}
static void zimi_jpeg_codes(const unsigned char *table, uint16_t *code, unsigned char *length) {
    unsigned next = 0;
    int bits, i, index = 16;
    for (bits = 1; bits <= 16; ++bits, next <<= 1)
        for (i = 0; i < table[bits - 1]; ++i, ++index) {
            code[table[index]] = (uint16_t)next++;
            length[table[index]] = (unsigned char)bits;
        }
}
/* The forward twin of zimi_idct_line, in place; the first pass keeps two further bits, the second removes them. */
static void zimi_fdct_line(int *d, int step, int first) {
    int s0 = d[0] + d[7 * step], s1 = d[step] + d[6 * step], s2 = d[2 * step] + d[5 * step], s3 = d[3 * step] + d[4 * step];
    int t0 = d[0] - d[7 * step], t1 = d[step] - d[6 * step], t2 = d[2 * step] - d[5 * step], t3 = d[3 * step] - d[4 * step];
    int bits = first ? 11 : 15, half = 1 << (bits - 1), z1, z2, z3, z4, z5;
    if (first) {
        d[0] = (s0 + s3 + s1 + s2) * 4;
        d[4 * step] = (s0 + s3 - s1 - s2) * 4;
    } else {
        d[0] = (s0 + s3 + s1 + s2 + 2) >> 2;
        d[4 * step] = (s0 + s3 - s1 - s2 + 2) >> 2;
    }
    z1 = (s1 - s2 + s0 - s3) * 4433;
    d[2 * step] = (z1 + (s0 - s3) * 6270 + half) >> bits;
    d[6 * step] = (z1 - (s1 - s2) * 15137 + half) >> bits;
    z5 = (t3 + t1 + t2 + t0) * 9633;
    z1 = (t3 + t0) * 7373;
    z2 = (t2 + t1) * 20995;
    z3 = z5 - (t3 + t1) * 16069;
    z4 = z5 - (t2 + t0) * 3196;
    d[7 * step] = (t3 * 2446 - z1 + z3 + half) >> bits;
    d[5 * step] = (t2 * 16819 - z2 + z4 + half) >> bits;
    d[3 * step] = (t1 * 25172 - z2 + z3 + half) >> bits;
    d[step] = (t0 * 12299 - z1 + z4 + half) >> bits;
}
/* Value of a coefficient: its size, and the bits that tell it. */
static void zimi_jpeg_value(zimi_jpeg_out *w, int value, int run, const uint16_t *code, const unsigned char *length) {
    int size = 0, rest = value < 0 ? -value : value;
    for (; rest > 0; rest >>= 1) ++size;
    zimi_jpeg_bits(w, code[run << 4 | size], length[run << 4 | size]);
    if (size > 0) zimi_jpeg_bits(w, (unsigned)(value < 0 ? value - 1 : value), size);
}
/* Transforms, quantises and writes 8 x 8 samples less 128. */
static void zimi_jpeg_block(zimi_jpeg_out *w, int *samples, int component) {
    int table = component > 0, i, run = 0, value, quant;
    for (i = 0; i < 8; ++i) zimi_fdct_line(samples + 8 * i, 1, 1);
    for (i = 0; i < 8; ++i) zimi_fdct_line(samples + i, 8, 0);
    for (i = 0; i < 64; ++i) {
        quant = w->quant[table][zimi_zigzag[i]] * 8; /* the transform scales by 8 */
        value = samples[zimi_zigzag[i]];
        value = value < 0 ? -((quant / 2 - value) / quant) : (value + quant / 2) / quant;
        if (i == 0) {
            zimi_jpeg_value(w, value - w->pred[component], 0, w->code[0][table], w->length[0][table]);
            w->pred[component] = value;
        } else if (value == 0) ++run;
        else {
            for (; run > 15; run -= 16) zimi_jpeg_bits(w, w->code[1][table][0xf0], w->length[1][table][0xf0]);
            zimi_jpeg_value(w, value, run, w->code[1][table], w->length[1][table]);
            run = 0;
        }
    }
    if (run > 0) zimi_jpeg_bits(w, w->code[1][table][0], w->length[1][table][0]);
}
/* 16 x 16 pixels at (x0, y0), the border repeated: four blocks of Y, one each of Cb and Cr from means of 2 x 2. */
static void zimi_jpeg_mcu(zimi_jpeg_out *w, const unsigned char *rgb, int width, int height, int x0, int y0) {
    int luma[4][64], colour[2][64], x, y;
    memset(colour, 0, sizeof colour);
    for (y = 0; y < 16; ++y)
        for (x = 0; x < 16; ++x) {
            int px = x0 + x < width ? x0 + x : width - 1, py = y0 + y < height ? y0 + y : height - 1, place = y / 2 * 8 + x / 2;
            const unsigned char *p = rgb + ((size_t)py * (size_t)width + (size_t)px) * 3;
            luma[y / 8 * 2 + x / 8][y % 8 * 8 + x % 8] = zimi_luma(p) - 128;
            colour[0][place] += (-11059 * p[0] - 21709 * p[1] + 32768 * p[2] + (128 << 16) + 32767) >> 16;
            colour[1][place] += (32768 * p[0] - 27439 * p[1] - 5329 * p[2] + (128 << 16) + 32767) >> 16;
        }
    for (y = 0; y < 2; ++y)
        for (x = 0; x < 64; ++x) colour[y][x] = ((colour[y][x] + 1 + x % 2) >> 2) - 128; /* halves go up and down in turn */
    for (x = 0; x < 4; ++x) {
        if (x0 + x % 2 * 8 < width && y0 + x / 2 * 8 < height) zimi_jpeg_block(w, luma[x], 0);
        else { /* nothing of it is seen: the same as the one before, flat */
            zimi_jpeg_bits(w, w->code[0][0][0], w->length[0][0][0]);
            zimi_jpeg_bits(w, w->code[1][0][0], w->length[1][0][0]);
        }
    }
    for (x = 0; x < 2; ++x) zimi_jpeg_block(w, colour[x], 1 + x);
}
static void zimi_jpeg_headers(zimi_jpeg_out *w, int width, int height) {
    static const unsigned char jfif[18] = {0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0};
    static const unsigned char frame[10] = {3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1};
    static const unsigned char scan[14] = {0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0};
    int i, k;
    zimi_put_be16(&w->out, 0xffd8);
    zimi_append(&w->out, jfif, sizeof jfif);
    for (k = 0; k < 2; ++k) {
        zimi_put_be16(&w->out, 0xffdb);
        zimi_put_be16(&w->out, 67);
        zimi_put8(&w->out, (unsigned)k);
        for (i = 0; i < 64; ++i) zimi_put8(&w->out, (unsigned)w->quant[k][zimi_zigzag[i]]);
    }
    zimi_put_be16(&w->out, 0xffc0);
    zimi_put_be16(&w->out, 17);
    zimi_put8(&w->out, 8);
    zimi_put_be16(&w->out, (unsigned)height);
    zimi_put_be16(&w->out, (unsigned)width);
    zimi_append(&w->out, frame, sizeof frame);
    for (k = 0; k < 4; ++k) { /* DC and AC of luminance, then of colour */
        size_t size = k % 2 == 0 ? sizeof zimi_std_dc[0] : sizeof zimi_std_ac[0];
        zimi_put_be16(&w->out, 0xffc4);
        zimi_put_be16(&w->out, (unsigned)size + 3);
        zimi_put8(&w->out, (unsigned)(k % 2 * 16 + k / 2));
        zimi_append(&w->out, k % 2 == 0 ? zimi_std_dc[k / 2] : zimi_std_ac[k / 2], size);
    }
    zimi_append(&w->out, scan, sizeof scan);
}
static int zimi_jpeg_encode(const unsigned char *rgb, int width, int height, int quality, unsigned char **out_bytes, size_t *out_size, char *error) {
    zimi_jpeg_out *w = (zimi_jpeg_out *)zimi_alloc(sizeof *w, error);
    int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality, i, k, x, y, bad;
    if (w == NULL) return -1;
    memset(w, 0, sizeof *w);
    for (k = 0; k < 2; ++k) {
        for (i = 0; i < 64; ++i) {
            int value = (zimi_std_quant[k][i] * scale + 50) / 100;
            w->quant[k][i] = value < 1 ? 1 : value > 255 ? 255 : value;
        }
        zimi_jpeg_codes(zimi_std_dc[k], w->code[0][k], w->length[0][k]);
        zimi_jpeg_codes(zimi_std_ac[k], w->code[1][k], w->length[1][k]);
    }
    zimi_jpeg_headers(w, width, height);
    for (y = 0; y < height && !w->out.failed; y += 16)
        for (x = 0; x < width; x += 16) zimi_jpeg_mcu(w, rgb, width, height, x, y);
    if (w->count > 0) zimi_jpeg_bits(w, 0x7f, 8 - w->count);
    zimi_put_be16(&w->out, 0xffd9);
    bad = zimi_hand_over(&w->out, out_bytes, out_size, error);
    ZIM_FREE(w);
    return bad;
}

/* ==================================================================================================================
   IMG-PUBLIC  entry points
   ------------------------------------------------------------------------------------------------------------------
   Layers above: all.
   ================================================================================================================== */
ZIM_API zim_opts zim_opts_default(void) {
    zim_opts opts;
    memset(&opts, 0, sizeof opts);
    opts.channels = 3;
    opts.max_side = 65535;
    opts.max_pixels = (size_t)1 << 28;
    return opts;
}
ZIM_API const char *zim_format_text(zim_format format) {
    switch (format) {
    case ZIM_JPEG: return "JPEG";
    case ZIM_PNG: return "PNG";
    case ZIM_PNM: return "PNM";
    case ZIM_BMP: return "BMP";
    case ZIM_UNKNOWN: break;
    }
    return "unknown";
}

static zim_format zimi_sniff(const unsigned char *bytes, size_t size) {
    if (size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) return ZIM_JPEG;
    if (size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) return ZIM_PNG;
    if (size >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6' && (zimi_is_space(bytes[2]) || bytes[2] == '#')) return ZIM_PNM;
    if (size >= 2 && bytes[0] == 'B' && bytes[1] == 'M') return ZIM_BMP;
    return ZIM_UNKNOWN;
}
static int zimi_read(zimi_job *job) {
    job->info.format = zimi_sniff(job->bytes, job->size);
    job->info.orientation = 1;
    switch (job->info.format) {
    case ZIM_JPEG: return zimi_jpeg_decode(job);
    case ZIM_PNG: return zimi_png_decode(job);
    case ZIM_PNM: return zimi_pnm_decode(job);
    case ZIM_BMP: return zimi_bmp_decode(job);
    case ZIM_UNKNOWN: break;
    }
    return zimi_fail(job->error, job->size == 0 ? "the file is empty" : "not a JPEG, PNG, PNM or BMP file");
}

ZIM_API int zim_probe(const unsigned char *bytes, size_t size, zim_info *out_info, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    zimi_job job;
    int bad;
    memset(&job, 0, sizeof job);
    job.bytes = bytes;
    job.size = size;
    job.error = error != NULL ? error : scratch;
    bad = zimi_read(&job);
    if (out_info != NULL) *out_info = job.info;
    return bad;
}

ZIM_API int zim_decode(const unsigned char *bytes, size_t size, const zim_opts *opts, zim_image *out_image, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    zimi_job job;
    int bad;
    memset(&job, 0, sizeof job);
    job.bytes = bytes;
    job.size = size;
    job.opts = opts != NULL ? *opts : zim_opts_default();
    job.image = out_image;
    job.error = error != NULL ? error : scratch;
    memset(out_image, 0, sizeof *out_image);
    if (job.opts.channels != 1 && job.opts.channels != 3 && job.opts.channels != 4)
        return zimi_fail(job.error, "%d channels were asked for; 1, 3 and 4 are possible", job.opts.channels);
    bad = zimi_read(&job);
    if (bad && job.opts.salvage && out_image->pixels != NULL) {
        out_image->damaged = 1;
        bad = 0;
    }
    if (!bad && job.opts.orient) bad = zimi_orient(out_image, job.info.orientation, job.error);
    if (bad) zim_free(out_image);
    return bad;
}
ZIM_API int zim_load(const char *path, const zim_opts *opts, zim_image *out_image, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    zimi_bytes file;
    int bad;
    memset(out_image, 0, sizeof *out_image);
    if (error == NULL) error = scratch;
    if (zimi_read_file(path, &file, error) != 0) return -1;
    bad = zim_decode(file.data, file.size, opts, out_image, error);
    ZIM_FREE(file.data);
    return bad;
}
ZIM_API void zim_free(zim_image *image) {
    if (image == NULL) return;
    ZIM_FREE(image->pixels);
    memset(image, 0, sizeof *image);
}
ZIM_API void zim_free_bytes(unsigned char *bytes) { ZIM_FREE(bytes); }

/* Width and height that a writer can take. */
static int zimi_check_size(int width, int height, int limit, char *error) {
    if (width >= 1 && height >= 1 && width <= limit && height <= limit) return 0;
    return zimi_fail(error, "%d x %d pixels: sides of 1 to %d can be written", width, height, limit);
}
ZIM_API int zim_encode_png(const unsigned char *pixels, int width, int height, int channels, unsigned char **out_bytes, size_t *out_size, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    if (error == NULL) error = scratch;
    *out_bytes = NULL;
    *out_size = 0;
    if (zimi_check_size(width, height, 0x7fffffff / 4, error) != 0) return -1;
    if (channels < 1 || channels > 4) return zimi_fail(error, "%d channels: 1 to 4 can be written", channels);
    return zimi_png_encode(pixels, width, height, channels, out_bytes, out_size, error);
}
ZIM_API int zim_encode_jpeg(const unsigned char *rgb, int width, int height, int quality, unsigned char **out_bytes, size_t *out_size, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    if (error == NULL) error = scratch;
    *out_bytes = NULL;
    *out_size = 0;
    if (zimi_check_size(width, height, 65535, error) != 0) return -1;
    if (quality < 1 || quality > 100) return zimi_fail(error, "quality %d is outside 1..100", quality);
    return zimi_jpeg_encode(rgb, width, height, quality, out_bytes, out_size, error);
}

/* Encodes and writes; setting is the quality of JPEG, the channels of PNG. */
static int zimi_save(zim_format format, const char *path, const unsigned char *pixels, int width, int height, int setting, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    unsigned char *bytes;
    size_t size;
    int bad;
    if (error == NULL) error = scratch;
    if (format == ZIM_JPEG) bad = zim_encode_jpeg(pixels, width, height, setting, &bytes, &size, error);
    else bad = zim_encode_png(pixels, width, height, setting, &bytes, &size, error);
    if (bad) return -1;
    bad = zimi_write_file(path, "", 0, bytes, size, error);
    ZIM_FREE(bytes);
    return bad;
}
ZIM_API int zim_save_png(const char *path, const unsigned char *pixels, int width, int height, int channels, char *error) {
    return zimi_save(ZIM_PNG, path, pixels, width, height, channels, error);
}
ZIM_API int zim_save_jpeg(const char *path, const unsigned char *rgb, int width, int height, int quality, char *error) {
    return zimi_save(ZIM_JPEG, path, rgb, width, height, quality, error);
}
ZIM_API int zim_save_ppm(const char *path, const unsigned char *rgb, int width, int height, char *error) {
    char head[64], scratch[ZIM_ERROR_SIZE];
    int length = snprintf(head, sizeof head, "P6\n%d %d\n255\n", width, height);
    if (error == NULL) error = scratch;
    if (zimi_check_size(width, height, 0x7fffffff / 4, error) != 0) return -1;
    return zimi_write_file(path, head, (size_t)length, rgb, zimi_mul(zimi_mul((size_t)width, (size_t)height), 3), error);
}

#endif /* ZENNET_IMAGE_IMPLEMENTATION_DONE */
#endif /* ZENNET_IMAGE_IMPLEMENTATION */

/*
   License, at your choice:

   A - MIT License
   Copyright (c) 2026 the zennet.h authors
   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
   documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
   rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
   persons to whom the Software is furnished to do so, subject to the following conditions:
   The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
   Software.
   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
   WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
   COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
   OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

   B - Public Domain (www.unlicense.org)
   This is free and unencumbered software released into the public domain. Anyone is free to copy, modify, publish, use,
   compile, sell, or distribute this software, either in source code form or as a compiled binary, for any purpose,
   commercial or non-commercial, and by any means.
   In jurisdictions that recognize copyright laws, the author or authors of this software dedicate any and all copyright
   interest in the software to the public domain. We make this dedication for the benefit of the public at large and to
   the detriment of our heirs and successors. We intend this dedication to be an overt act of relinquishment in
   perpetuity of all present and future rights to this software under copyright law.
   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
   WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS BE
   LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
   OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
*/
