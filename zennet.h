/* zennet.h - search, train and run ZenNet-SA, a lightweight facial-expression network, in plain C.

   HOW TO USE
     In exactly one C or C++ file:
         #define ZENNET_IMPLEMENTATION
         #include "zennet.h"
     Everywhere else just #include "zennet.h". Link with -lm; -fopenmp makes it parallel and is optional.
*/
#ifndef ZENNET_H
#define ZENNET_H

#include <stddef.h>
#include <stdint.h>

/* ==================================================================================================================
   API-VERSION  version, linkage, real type
   ================================================================================================================== */
#define ZENNET_VERSION_MAJOR 0
#define ZENNET_VERSION_MINOR 1
#define ZENNET_VERSION_PATCH 0
#define ZENNET_VERSION_TEXT "0.1.0"

#ifdef ZENNET_STATIC
#define ZN_API static
#elif defined(__cplusplus)
#define ZN_API extern "C"
#else
#define ZN_API extern
#endif

/* The real type of every tensor: float, or double in builds with ZENNET_DOUBLE that verify exactness (never mix both
   kinds in one program). */
#ifdef ZENNET_DOUBLE
typedef double zn_real;
#else
typedef float zn_real;
#endif

/* Version of the implementation that was linked, major*10000 + minor*100 + patch. */
ZN_API int zn_version(void);

/* ==================================================================================================================
   API-CONTEXT  results, allocator, context
   ================================================================================================================== */
typedef enum zn_result {
    ZN_OK = 0,
    ZN_ERROR_MEMORY,      /* an allocation failed or a size overflowed */
    ZN_ERROR_ARGUMENT,    /* a call was given something it cannot take */
    ZN_ERROR_STRUCTURE,   /* a structure string is bad; the message holds the column */
    ZN_ERROR_FILE,        /* a file could not be opened, read, written or replaced */
    ZN_ERROR_FORMAT,      /* a file or text is damaged or not of its kind; the message holds the byte or line */
    ZN_ERROR_UNSUPPORTED, /* well formed, but refused on purpose or not handled */
    ZN_ERROR_MISMATCH,    /* names or shapes of tensors, classes or data do not agree */
    ZN_ERROR_NUMBER,      /* a loss, score or weight became NaN or infinite */
    ZN_STOPPED            /* a callback asked to stop; what was done so far is saved where that is promised */
} zn_result;

typedef struct zn_ctx zn_ctx; /* opaque; one thread at a time */

typedef struct zn_ctx_opts {
    void *(*malloc_fn)(size_t bytes, void *user); /* NULL: ZN_MALLOC. Must return memory aligned like malloc. */
    void (*free_fn)(void *memory, void *user);    /* NULL: ZN_FREE */
    void *user;                                   /* handed to both */
} zn_ctx_opts;

ZN_API zn_ctx_opts zn_ctx_opts_default(void);
/* Creates a context; opts NULL means all defaults. ZN_ERROR_MEMORY when even that is not to be had; *out_ctx is then
   NULL. The caller destroys it last: tensors, networks and sessions refer to it. */
ZN_API zn_result zn_ctx_create(const zn_ctx_opts *opts, zn_ctx **out_ctx);
ZN_API void zn_ctx_destroy(zn_ctx *ctx);
/* First error since the context was made or cleared: its code, and a text with place and reason ("" when none). The
   text lives in the context and is overwritten by the next first error. NULL ctx gives a fixed text. */
ZN_API zn_result zn_error_code(const zn_ctx *ctx);
ZN_API const char *zn_error_text(const zn_ctx *ctx);
ZN_API void zn_error_clear(zn_ctx *ctx);
/* A few words for a code, for example "out of memory". Never NULL. */
ZN_API const char *zn_result_text(zn_result result);

/* ==================================================================================================================
   API-RANDOM  seeded random numbers
   ================================================================================================================== */
/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, so it is copied, saved and compared like a number. */
typedef struct zn_rng {
    uint64_t state;
} zn_rng;

ZN_API zn_rng zn_rng_seed(uint64_t seed);
/* An independent stream number `index` of a seed: seed, epoch, sample index... give one each. */
ZN_API zn_rng zn_rng_stream(uint64_t seed, uint64_t index);
ZN_API uint64_t zn_rng_next(zn_rng *rng);                       /* 64 random bits */
ZN_API double zn_rng_uniform(zn_rng *rng);                      /* [0, 1), 53 bits */
ZN_API double zn_rng_normal(zn_rng *rng);                       /* N(0, 1), Box-Muller, two draws each */
ZN_API uint64_t zn_rng_below(zn_rng *rng, uint64_t limit);      /* 0..limit-1 without bias; limit 0 gives 0 */
/* Fisher-Yates shuffle of count indices. */
ZN_API void zn_rng_shuffle(zn_rng *rng, uint32_t *items, size_t count);
/* The deterministic fill of the golden files: fill(name, seed, count, lo, hi), float32 values. */
ZN_API void zn_fill(zn_real *values, const char *name, uint64_t seed, size_t count, double lo, double hi);
/* FNV-1a over 64 bits of size bytes, continued from hash (start with ZN_FNV_START). */
#define ZN_FNV_START 0xcbf29ce484222325u
ZN_API uint64_t zn_fnv1a64(const void *bytes, size_t size, uint64_t hash);

/* ==================================================================================================================
   API-TENSOR  tensors
   ================================================================================================================== */

/* ==================================================================================================================
   API-OPS  operations on tensors
   ================================================================================================================== */

/* ==================================================================================================================
   API-GRAD  reverse-mode differentiation
   ================================================================================================================== */

/* ==================================================================================================================
   API-STRUCTURE  structure strings
   ================================================================================================================== */

/* ==================================================================================================================
   API-NET  networks
   ================================================================================================================== */

/* ==================================================================================================================
   API-COUNT  parameters, MACs, FLOPs, memory
   ================================================================================================================== */

/* ==================================================================================================================
   API-SCORE  Zen-score and its rivals
   ================================================================================================================== */

/* ==================================================================================================================
   API-SEARCH  evolutionary search
   ================================================================================================================== */

/* ==================================================================================================================
   API-IMAGE  image arithmetic and augmentation (uint8, as Pillow does it)
   ================================================================================================================== */

/* ==================================================================================================================
   API-PACK  packed data sets
   ================================================================================================================== */

/* ==================================================================================================================
   API-TRAIN  optimisers, schedule, trainer
   ================================================================================================================== */

/* ==================================================================================================================
   API-MODEL  model files: safetensors and PyTorch checkpoints
   ================================================================================================================== */

/* ==================================================================================================================
   API-INFER  inference sessions
   ================================================================================================================== */

/* ==================================================================================================================
   API-ONNX  export to ONNX
   ================================================================================================================== */

/* ==================================================================================================================
   API-REPORT  what people look at: report.html, curves, confusion matrix
   ================================================================================================================== */

/* stop here if you only use the library */
#endif /* ZENNET_H */

#ifdef ZENNET_IMPLEMENTATION
#ifndef ZENNET_IMPLEMENTATION_DONE
#define ZENNET_IMPLEMENTATION_DONE

#ifdef __FAST_MATH__
#error "zennet.h needs exact floating-point rules: build without -ffast-math (it breaks training and determinism)"
#endif

/* ==================================================================================================================
   IMPL-PLATFORM  what differs between compilers and systems
   ------------------------------------------------------------------------------------------------------------------
   Everything compiler- or system-specific stands here, behind a name; the rest of the file is plain C99.
   ================================================================================================================== */
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#define ZNI_POSIX 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#else
#define ZNI_POSIX 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ZNI_RESTRICT __restrict__
#define ZNI_INLINE static inline __attribute__((always_inline, unused))
#define ZNI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ZNI_UNUSED __attribute__((unused))
#else
#define ZNI_RESTRICT
#define ZNI_INLINE static
#define ZNI_PRINTF(fmt, args)
#define ZNI_UNUSED
#endif

#ifndef ZN_MALLOC
#define ZN_MALLOC(bytes) malloc(bytes)
#define ZN_FREE(memory) free(memory)
#endif

/* _Pragma as an operator keeps OpenMP optional without unknown-pragma warnings. */
#ifdef _OPENMP
#define ZNI_PRAGMA(text) _Pragma(#text)
#define ZNI_OMP(text) ZNI_PRAGMA(omp text)
#else
#define ZNI_OMP(text)
#endif

static double zni_seconds(void) ZNI_UNUSED;
static double zni_seconds(void) { /* wall clock, s; for progress and rates only, never for results */
#ifdef _OPENMP
    return omp_get_wtime();
#elif defined(CLOCK_MONOTONIC)
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#else
    return (double)time(NULL);
#endif
}

static int zni_max_threads(void) ZNI_UNUSED;
static int zni_max_threads(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

ZN_API int zn_version(void) {
    return ZENNET_VERSION_MAJOR * 10000 + ZENNET_VERSION_MINOR * 100 + ZENNET_VERSION_PATCH;
}

/* ==================================================================================================================
   IMPL-MEMORY  context, errors, checked sizes, allocation, growing text
   ------------------------------------------------------------------------------------------------------------------
   The first error sticks, so that a chain of operations can be checked once at its end. Every size is computed through
   zni_size_mul/zni_size_add, which saturate at SIZE_MAX; zni_alloc refuses SIZE_MAX, so an overflow becomes "out of
   memory" and never a short buffer.
   ================================================================================================================== */
#define ZNI_MESSAGE_SIZE 1024

typedef struct zni_block_header { /* in front of every allocation, so that the caller's allocator need not align */
    void *base;
    size_t bytes;
} zni_block_header;

#define ZNI_ALIGN 64 /* one cache line and one 512-bit vector */

struct zn_ctx {
    zn_ctx_opts opts;
    zn_result code;
    char text[ZNI_MESSAGE_SIZE];
    struct zn_tensor *tape;    /* results of operations, newest first; dropped by zn_tape_clear */
    struct zn_tensor *tensors; /* created tensors, newest first; dropped with the context */
    int no_grad;               /* depth of zn_no_grad_begin */
    size_t bytes, peak_bytes;  /* allocated now, and at most so far */
    struct zni_cached_block *cache; /* freed tape buffers kept for the next step */
};

static void *zni_default_malloc(size_t bytes, void *user) {
    (void)user;
    return ZN_MALLOC(bytes);
}
static void zni_default_free(void *memory, void *user) {
    (void)user;
    ZN_FREE(memory);
}

ZNI_INLINE size_t zni_size_mul(size_t a, size_t b) { return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }
ZNI_INLINE size_t zni_size_add(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

/* Records the first error and returns code, so that `return zni_fail(...)` reads well. */
static zn_result zni_fail(zn_ctx *ctx, zn_result code, const char *format, ...) ZNI_PRINTF(3, 4);
static zn_result zni_fail(zn_ctx *ctx, zn_result code, const char *format, ...) {
    va_list args;
    if (ctx == NULL || ctx->code != ZN_OK) return code;
    ctx->code = code;
    va_start(args, format);
    vsnprintf(ctx->text, sizeof ctx->text, format, args);
    va_end(args);
    return code;
}

/* bytes of memory aligned to ZNI_ALIGN, or NULL with ZN_ERROR_MEMORY recorded. bytes 0 gives a valid pointer. */
static void *zni_alloc(zn_ctx *ctx, size_t bytes) {
    size_t total = zni_size_add(bytes, ZNI_ALIGN + sizeof(zni_block_header));
    unsigned char *base, *user;
    zni_block_header *header;
    base = total == SIZE_MAX ? NULL : (unsigned char *)ctx->opts.malloc_fn(total, ctx->opts.user);
    if (base == NULL) {
        zni_fail(ctx, ZN_ERROR_MEMORY, "out of memory: %lu bytes asked for", (unsigned long)bytes);
        return NULL;
    }
    user = base + sizeof(zni_block_header);
    user += (ZNI_ALIGN - (uintptr_t)user % ZNI_ALIGN) % ZNI_ALIGN;
    header = (zni_block_header *)(void *)(user - sizeof(zni_block_header));
    header->base = base;
    header->bytes = bytes;
    ctx->bytes += bytes;
    if (ctx->bytes > ctx->peak_bytes) ctx->peak_bytes = ctx->bytes;
    return user;
}
static void *zni_alloc_zero(zn_ctx *ctx, size_t bytes) ZNI_UNUSED;
static void *zni_alloc_zero(zn_ctx *ctx, size_t bytes) {
    void *memory = zni_alloc(ctx, bytes);
    if (memory != NULL) memset(memory, 0, bytes);
    return memory;
}
static void zni_free(zn_ctx *ctx, void *memory) {
    zni_block_header *header;
    if (memory == NULL) return;
    header = (zni_block_header *)(void *)((unsigned char *)memory - sizeof(zni_block_header));
    ctx->bytes -= header->bytes;
    ctx->opts.free_fn(header->base, ctx->opts.user);
}
/* count * size bytes, both checked. */
#define ZNI_NEW(ctx, type, count) ((type *)zni_alloc(ctx, zni_size_mul(sizeof(type), (size_t)(count))))
#define ZNI_NEW_ZERO(ctx, type, count) ((type *)zni_alloc_zero(ctx, zni_size_mul(sizeof(type), (size_t)(count))))

/* Makes room for at least `need` items of `size` bytes in a growing array; 0 when memory is out (array unchanged). */
static int zni_grow(zn_ctx *ctx, void **items, size_t *capacity, size_t need, size_t size) ZNI_UNUSED;
static int zni_grow(zn_ctx *ctx, void **items, size_t *capacity, size_t need, size_t size) {
    size_t bigger = *capacity < 8 ? 8 : zni_size_mul(*capacity, 2);
    void *fresh;
    if (need <= *capacity) return 1;
    if (bigger < need) bigger = need;
    fresh = zni_alloc(ctx, zni_size_mul(bigger, size));
    if (fresh == NULL) return 0;
    if (*items != NULL) memcpy(fresh, *items, *capacity * size);
    zni_free(ctx, *items);
    *items = fresh;
    *capacity = bigger;
    return 1;
}

/* A growing, always terminated text. After a failed append `failed` stays set and further appends do nothing. */
typedef struct zni_text {
    zn_ctx *ctx;
    char *chars;
    size_t length, capacity;
    int failed;
} zni_text;

static void zni_text_append(zni_text *t, const char *chars, size_t length) ZNI_UNUSED;
static void zni_text_append(zni_text *t, const char *chars, size_t length) {
    void *items = t->chars;
    if (t->failed || !zni_grow(t->ctx, &items, &t->capacity, zni_size_add(t->length, zni_size_add(length, 1)), 1)) {
        t->failed = 1;
        return;
    }
    t->chars = (char *)items;
    if (length > 0) memcpy(t->chars + t->length, chars, length);
    t->length += length;
    t->chars[t->length] = '\0';
}
/* Formats up to 4 kB at a time. */
static void zni_text_format(zni_text *t, const char *format, ...) ZNI_PRINTF(2, 3);
static void zni_text_format(zni_text *t, const char *format, ...) ZNI_UNUSED;
static void zni_text_format(zni_text *t, const char *format, ...) {
    char buffer[4096];
    int n;
    va_list args;
    va_start(args, format);
    n = vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof buffer) t->failed = 1;
    else zni_text_append(t, buffer, (size_t)n);
}

static char *zni_copy_text(zn_ctx *ctx, const char *text) ZNI_UNUSED;
static char *zni_copy_text(zn_ctx *ctx, const char *text) {
    size_t length = strlen(text);
    char *copy = (char *)zni_alloc(ctx, zni_size_add(length, 1));
    if (copy != NULL) memcpy(copy, text, length + 1);
    return copy;
}

ZN_API zn_ctx_opts zn_ctx_opts_default(void) {
    zn_ctx_opts opts;
    memset(&opts, 0, sizeof opts);
    return opts;
}

static void zni_ctx_drop_tensors(zn_ctx *ctx); /* defined with the tensors, the one layer a context must know of */

ZN_API zn_result zn_ctx_create(const zn_ctx_opts *opts, zn_ctx **out_ctx) {
    zn_ctx_opts chosen = opts != NULL ? *opts : zn_ctx_opts_default();
    zn_ctx *ctx;
    if (out_ctx == NULL) return ZN_ERROR_ARGUMENT;
    *out_ctx = NULL;
    if ((chosen.malloc_fn == NULL) != (chosen.free_fn == NULL)) return ZN_ERROR_ARGUMENT;
    if (chosen.malloc_fn == NULL) chosen.malloc_fn = zni_default_malloc;
    if (chosen.free_fn == NULL) chosen.free_fn = zni_default_free;
    ctx = (zn_ctx *)chosen.malloc_fn(sizeof *ctx, chosen.user);
    if (ctx == NULL) return ZN_ERROR_MEMORY;
    memset(ctx, 0, sizeof *ctx);
    ctx->opts = chosen;
    *out_ctx = ctx;
    return ZN_OK;
}
ZN_API void zn_ctx_destroy(zn_ctx *ctx) {
    if (ctx == NULL) return;
    zni_ctx_drop_tensors(ctx);
    ctx->opts.free_fn(ctx, ctx->opts.user);
}
ZN_API zn_result zn_error_code(const zn_ctx *ctx) { return ctx == NULL ? ZN_ERROR_ARGUMENT : ctx->code; }
ZN_API const char *zn_error_text(const zn_ctx *ctx) {
    return ctx == NULL ? "no context (out of memory, or NULL was passed)" : ctx->text;
}
ZN_API void zn_error_clear(zn_ctx *ctx) {
    if (ctx == NULL) return;
    ctx->code = ZN_OK;
    ctx->text[0] = '\0';
}
ZN_API const char *zn_result_text(zn_result result) {
    static const char *const texts[] = {"ok", "out of memory", "bad argument", "bad structure string", "file error",
                                        "damaged or foreign data", "not supported", "mismatch", "not a finite number", "stopped"};
    return (unsigned)result < sizeof texts / sizeof texts[0] ? texts[(unsigned)result] : "unknown result";
}

/* ==================================================================================================================
   IMPL-FILE  whole files: read, map, replace atomically
   ------------------------------------------------------------------------------------------------------------------
   A file is written beside its target under a temporary name and renamed when complete: after a crash, a kill or a
   full disk the old file is still there, whole.
   ================================================================================================================== */
/* Reads a whole file of at most `limit` bytes into *out_bytes (owned by the caller, zni_free; one 0 byte is appended). */
static zn_result zni_file_read(zn_ctx *ctx, const char *path, size_t limit, unsigned char **out_bytes, size_t *out_size) ZNI_UNUSED;
static zn_result zni_file_read(zn_ctx *ctx, const char *path, size_t limit, unsigned char **out_bytes, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    size_t size = 0, capacity = 0;
    *out_bytes = NULL;
    *out_size = 0;
    if (file == NULL) return zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot open: %s", path, strerror(errno));
    for (;;) {
        void *items = bytes;
        size_t got, want = size == 0 ? 65536 : size;
        if (!zni_grow(ctx, &items, &capacity, zni_size_add(size, zni_size_add(want, 1)), 1)) break;
        bytes = (unsigned char *)items;
        got = fread(bytes + size, 1, want, file);
        size += got;
        if (size > limit) {
            zni_fail(ctx, ZN_ERROR_FILE, "%s: larger than the %lu bytes that are accepted", path, (unsigned long)limit);
            break;
        }
        if (got == want) continue;
        if (ferror(file)) {
            zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot read: %s", path, strerror(errno));
            break;
        }
        fclose(file);
        bytes[size] = 0;
        *out_bytes = bytes;
        *out_size = size;
        return ZN_OK;
    }
    fclose(file);
    zni_free(ctx, bytes);
    return ctx->code;
}

/* A file being written; zni_replace_end renames it into place or removes it. Errors stick in `failed`. */
typedef struct zni_replace {
    zn_ctx *ctx;
    FILE *file;
    char *path, *temporary;
    int failed;
} zni_replace;

static zn_result zni_replace_begin(zni_replace *r, zn_ctx *ctx, const char *path) ZNI_UNUSED;
static zn_result zni_replace_begin(zni_replace *r, zn_ctx *ctx, const char *path) {
    size_t length = strlen(path);
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    r->path = zni_copy_text(ctx, path);
    r->temporary = (char *)zni_alloc(ctx, zni_size_add(length, 16));
    if (r->path != NULL && r->temporary != NULL) {
        memcpy(r->temporary, path, length);
        memcpy(r->temporary + length, ".part", 6);
        r->file = fopen(r->temporary, "wb");
        if (r->file != NULL) return ZN_OK;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s", r->temporary, strerror(errno));
    }
    zni_free(ctx, r->path);
    zni_free(ctx, r->temporary);
    memset(r, 0, sizeof *r);
    return ctx->code;
}
static void zni_replace_write(zni_replace *r, const void *bytes, size_t size) ZNI_UNUSED;
static void zni_replace_write(zni_replace *r, const void *bytes, size_t size) {
    if (r->failed || size == 0) return;
    if (fwrite(bytes, 1, size, r->file) != size) {
        r->failed = 1;
        zni_fail(r->ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
}
/* keep 0 abandons the new file and leaves the old one. */
static zn_result zni_replace_end(zni_replace *r, int keep) ZNI_UNUSED;
static zn_result zni_replace_end(zni_replace *r, int keep) {
    zn_ctx *ctx = r->ctx;
    int bad = r->failed || !keep;
    if (r->file == NULL) return ctx != NULL && ctx->code != ZN_OK ? ctx->code : ZN_ERROR_FILE;
    if (fflush(r->file) != 0 && !bad) {
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199506L
    if (!bad) (void)fsync(fileno(r->file)); /* so that the rename never gets to the disk before the bytes */
#endif
    if (fclose(r->file) != 0 && !bad) {
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
#if !ZNI_POSIX
    if (!bad) remove(r->path); /* rename does not replace here */
#endif
    if (!bad && rename(r->temporary, r->path) != 0) {
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot replace: %s", r->path, strerror(errno));
    }
    if (bad) remove(r->temporary);
    zni_free(ctx, r->path);
    zni_free(ctx, r->temporary);
    memset(r, 0, sizeof *r);
    return !bad ? ZN_OK : ctx->code != ZN_OK ? ctx->code : ZN_ERROR_FILE;
}

/* A whole file mapped read-only, or read into memory where mapping is not to be had. */
typedef struct zni_mapping {
    const unsigned char *bytes;
    size_t size;
    int mapped;
} zni_mapping;

static void zni_mapping_close(zn_ctx *ctx, zni_mapping *m) ZNI_UNUSED;
static void zni_mapping_close(zn_ctx *ctx, zni_mapping *m) {
    union { const unsigned char *in; void *out; } memory;
    memory.in = m->bytes;
#if ZNI_POSIX
    if (m->mapped) munmap(memory.out, m->size);
#endif
    if (!m->mapped) zni_free(ctx, memory.out);
    memset(m, 0, sizeof *m);
}
static zn_result zni_mapping_open(zn_ctx *ctx, const char *path, zni_mapping *m) ZNI_UNUSED;
static zn_result zni_mapping_open(zn_ctx *ctx, const char *path, zni_mapping *m) {
    unsigned char *bytes;
    memset(m, 0, sizeof *m);
#if ZNI_POSIX
    {
        struct stat info;
        int fd = open(path, O_RDONLY);
        if (fd < 0) return zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot open: %s", path, strerror(errno));
        if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && (uintmax_t)info.st_size <= SIZE_MAX) {
            void *memory = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
            if (memory != MAP_FAILED) {
                m->bytes = (const unsigned char *)memory;
                m->size = (size_t)info.st_size;
                m->mapped = 1;
            }
        }
        close(fd);
        if (m->mapped) return ZN_OK;
    }
#endif
    if (zni_file_read(ctx, path, SIZE_MAX / 4, &bytes, &m->size) != ZN_OK) return ctx->code;
    m->bytes = bytes;
    return ZN_OK;
}

/* ==================================================================================================================
   IMPL-RANDOM  random numbers
   ================================================================================================================== */
#define ZNI_GOLDEN UINT64_C(0x9E3779B97F4A7C15)

ZNI_INLINE uint64_t zni_mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
ZN_API zn_rng zn_rng_seed(uint64_t seed) {
    zn_rng rng;
    rng.state = zni_mix64(seed + ZNI_GOLDEN);
    return rng;
}
ZN_API zn_rng zn_rng_stream(uint64_t seed, uint64_t index) {
    zn_rng rng;
    rng.state = zni_mix64(zni_mix64(seed + ZNI_GOLDEN) + zni_mix64(index * ZNI_GOLDEN + 1));
    return rng;
}
ZN_API uint64_t zn_rng_next(zn_rng *rng) {
    rng->state += ZNI_GOLDEN;
    return zni_mix64(rng->state);
}
ZN_API double zn_rng_uniform(zn_rng *rng) { return (double)(zn_rng_next(rng) >> 11) * (1.0 / 9007199254740992.0); }
ZN_API double zn_rng_normal(zn_rng *rng) {
    double u = 1.0 - zn_rng_uniform(rng); /* (0, 1]: the logarithm stays finite */
    double v = zn_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586477 * v);
}
ZN_API uint64_t zn_rng_below(zn_rng *rng, uint64_t limit) {
    uint64_t reject, r;
    if (limit == 0) return 0;
    reject = (UINT64_MAX - limit + 1) % limit; /* 2^64 mod limit: the draws that would favour small numbers */
    do r = zn_rng_next(rng);
    while (r < reject);
    return r % limit;
}
ZN_API void zn_rng_shuffle(zn_rng *rng, uint32_t *items, size_t count) {
    size_t i;
    for (i = count; i > 1; --i) {
        size_t j = (size_t)zn_rng_below(rng, i);
        uint32_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
ZN_API uint64_t zn_fnv1a64(const void *bytes, size_t size, uint64_t hash) {
    const unsigned char *p = (const unsigned char *)bytes;
    size_t i;
    for (i = 0; i < size; ++i) hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}
ZN_API void zn_fill(zn_real *values, const char *name, uint64_t seed, size_t count, double lo, double hi) {
    uint64_t base = zn_fnv1a64(name, strlen(name), ZN_FNV_START) ^ seed;
    size_t i;
    for (i = 0; i < count; ++i) {
        double u = (double)(zni_mix64(base + (uint64_t)(i + 1) * ZNI_GOLDEN) >> 40) * (1.0 / 16777216.0);
        values[i] = (zn_real)(float)(lo + (hi - lo) * u);
    }
}

/* ==================================================================================================================
   IMPL-KERNELS  the loops where the time goes
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-TENSOR  tensors
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-OPS  operation table, tape, backward, gradient checker
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-STRUCTURE  structure strings
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-NET  blocks, attention, network
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-COUNT  counting
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-SCORE  scores
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-SEARCH  search
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-IMAGE  images and augmentation
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-PACK  packed data sets
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-TRAIN  optimisers, schedule, trainer
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-INFER  inference sessions
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-MODEL  model files
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-ONNX  export
   ================================================================================================================== */

/* ==================================================================================================================
   IMPL-REPORT  reports
   ================================================================================================================== */
static void zni_ctx_drop_tensors(zn_ctx *ctx) { (void)ctx; }

#endif /* ZENNET_IMPLEMENTATION_DONE */
#endif /* ZENNET_IMPLEMENTATION */
