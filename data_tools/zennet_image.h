/* zennet_image.h - reads JPEG, PNG, PNM and BMP pictures and writes PNG, PPM and JPEG; no other library is needed.

   HOW TO USE
     In exactly one C or C++ file:
         #define ZENNET_IMAGE_IMPLEMENTATION
         #include "zennet_image.h"
     Everywhere else just #include it. Nothing to link.

         zim_image image;
         char error[ZIM_ERROR_SIZE];
         if (zim_load("face.jpg", NULL, &image, error) != 0) return fprintf(stderr, "face.jpg: %s\n", error), 1;
         (row y begins at image.pixels + (size_t)y*image.width*image.channels)
         zim_free(&image);

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
    int max_side;      /* width and height above it are refused; 65535 */
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

/* Headers only: kind and size, no pixels, no memory. Also refuses what zim_decode would refuse by name. */
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
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199506L
#include <unistd.h>
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
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199506L
    (void)fsync(fileno(file)); /* so that the rename never gets to the disk before the bytes */
#endif
    return 0;
}
/* Writes head and body to path, replacing it in one step. */
static int zimi_write_file(const char *path, const void *head, size_t head_size, const void *body, size_t body_size, char *error) {
    size_t length = strlen(path);
    char *temporary = (char *)zimi_alloc(zimi_add(length, 6), error);
    FILE *file;
    int code;
    if (temporary == NULL) return -1;
    memcpy(temporary, path, length);
    memcpy(temporary + length, ".part", 6);
    file = fopen(temporary, "wb");
    if (file == NULL) zimi_fail(error, "cannot write: %s", strerror(errno));
    else {
        code = zimi_write_parts(file, head, head_size, body, body_size);
        if (fclose(file) != 0 && code == 0) code = errno;
#ifdef _WIN32
        if (code == 0) remove(path); /* rename does not replace here */
#endif
        if (code == 0 && rename(temporary, path) == 0) {
            ZIM_FREE(temporary);
            return 0;
        }
        zimi_fail(error, "cannot write: %s", strerror(code != 0 ? code : errno));
        remove(temporary);
    }
    ZIM_FREE(temporary);
    return -1;
}

/* ==================================================================================================================
   IMG-PIXELS  channels, orientation
   ------------------------------------------------------------------------------------------------------------------
   Decoders hand over rows of 1 (gray), 2 (gray + alpha), 3 (RGB) or 4 (RGBA) channels; here they become what was asked
   for. Layer above: IMG-BASE.
   ================================================================================================================== */
/* Checks the size in job->info against the limits and takes memory for the result. */
static int zimi_begin(zimi_job *job) {
    int width = job->info.width, height = job->info.height;
    size_t bytes;
    if (width < 1 || height < 1) return zimi_fail(job->error, "%d x %d pixels: the picture is empty", width, height);
    if (job->image == NULL) return 0;
    if (width > job->opts.max_side || height > job->opts.max_side)
        return zimi_fail(job->error, "%d x %d pixels: a side above the limit of %d", width, height, job->opts.max_side);
    if (zimi_mul((size_t)width, (size_t)height) > job->opts.max_pixels)
        return zimi_fail(job->error, "%d x %d pixels: above the limit of %lu in all", width, height, (unsigned long)job->opts.max_pixels);
    bytes = zimi_mul(zimi_mul((size_t)width, (size_t)height), (size_t)job->opts.channels);
    job->image->pixels = (unsigned char *)zimi_alloc(bytes, job->error);
    if (job->image->pixels == NULL) return -1;
    if (job->opts.salvage) memset(job->image->pixels, 0, bytes);
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
        if (p->kind == 4) value = 1 ^ (in[i / 8] >> (7 - i % 8) & 1u);
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
    if (zimi_pnm_header(&p) != 0 || zimi_begin(job) != 0) return -1;
    if (job->image == NULL) return 0;
    values = (size_t)job->info.width * (size_t)job->info.channels;
    if (!job->opts.salvage && zimi_mul(values, (size_t)job->info.height) / (p.kind == 4 ? 8 : 1) > job->size)
        return zimi_fail(job->error, "%lu bytes cannot hold %d x %d pixels", (unsigned long)job->size, job->info.width, job->info.height);
    row = (unsigned char *)zimi_alloc(values, job->error);
    if (row == NULL) return -1;
    for (y = 0; y < job->info.height && !bad; ++y) {
        bad = p.kind > 3 ? zimi_pnm_binary(&p, row, values) : zimi_pnm_plain(&p, row, values);
        if (!bad) zimi_put_row(job, y, row, job->info.channels);
    }
    ZIM_FREE(row);
    return bad;
}

static int zimi_jpeg_decode(zimi_job *job) { return zimi_fail(job->error, "JPEG is not read by this version"); }
static int zimi_png_decode(zimi_job *job) { return zimi_fail(job->error, "PNG is not read by this version"); }
static int zimi_bmp_decode(zimi_job *job) { return zimi_fail(job->error, "BMP is not read by this version"); }
static int zimi_png_encode(const unsigned char *pixels, int width, int height, int channels, unsigned char **out_bytes, size_t *out_size, char *error) {
    (void)zimi_append, (void)zimi_put_be32, (void)zimi_hand_over, (void)zimi_exif_orientation;
    (void)pixels, (void)width, (void)height, (void)channels, (void)out_bytes, (void)out_size;
    return zimi_fail(error, "PNG is not written by this version");
}
static int zimi_jpeg_encode(const unsigned char *rgb, int width, int height, int quality, unsigned char **out_bytes, size_t *out_size, char *error) {
    (void)rgb, (void)width, (void)height, (void)quality, (void)out_bytes, (void)out_size;
    return zimi_fail(error, "JPEG is not written by this version");
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

/* Writes what an encoder gave, and frees it. */
static int zimi_save_encoded(const char *path, unsigned char *bytes, size_t size, char *error) {
    int bad = zimi_write_file(path, "", 0, bytes, size, error);
    ZIM_FREE(bytes);
    return bad;
}
ZIM_API int zim_save_png(const char *path, const unsigned char *pixels, int width, int height, int channels, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    unsigned char *bytes;
    size_t size;
    if (error == NULL) error = scratch;
    if (zim_encode_png(pixels, width, height, channels, &bytes, &size, error) != 0) return -1;
    return zimi_save_encoded(path, bytes, size, error);
}
ZIM_API int zim_save_jpeg(const char *path, const unsigned char *rgb, int width, int height, int quality, char *error) {
    char scratch[ZIM_ERROR_SIZE];
    unsigned char *bytes;
    size_t size;
    if (error == NULL) error = scratch;
    if (zim_encode_jpeg(rgb, width, height, quality, &bytes, &size, error) != 0) return -1;
    return zimi_save_encoded(path, bytes, size, error);
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
