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
/* Real numbers in row-major order; images and feature maps are N x C x H x W. A tensor belongs to its context: created
   ones live until zn_tensor_destroy or the end of the context, results of operations until zn_tape_clear (which an
   optimiser step calls) - copy out what must live longer. */
#define ZN_MAX_DIMS 4
#define ZN_MAX_CLASSES 4096

typedef struct zn_shape {
    int dims;           /* 1..ZN_MAX_DIMS */
    int n[ZN_MAX_DIMS]; /* sizes, slowest first; those past dims are 1 */
} zn_shape;

typedef struct zn_tensor zn_tensor; /* opaque */

ZN_API zn_shape zn_shape1(int a);
ZN_API zn_shape zn_shape2(int a, int b);
ZN_API zn_shape zn_shape3(int a, int b, int c);
ZN_API zn_shape zn_shape4(int n, int c, int h, int w);

/* A tensor of zeros that no gradient flows into. NULL (and the error in ctx) when a size is below 1 or memory is out. */
ZN_API zn_tensor *zn_tensor_create(zn_ctx *ctx, zn_shape shape);
/* The same, filled with values (as many as the shape holds, row-major), which are copied. */
ZN_API zn_tensor *zn_tensor_from(zn_ctx *ctx, zn_shape shape, const zn_real *values);
/* A trainable tensor with uniform start values in +-1/sqrt(fan_in), fan_in = product of all sizes but the first. */
ZN_API zn_tensor *zn_param(zn_ctx *ctx, zn_shape shape, zn_rng *rng);
ZN_API zn_tensor *zn_param_zeros(zn_ctx *ctx, zn_shape shape);
/* Frees a created tensor at once; NULL and results of operations are left alone. No tape may still refer to it. */
ZN_API void zn_tensor_destroy(zn_tensor *t);

ZN_API zn_shape zn_tensor_shape(const zn_tensor *t);
ZN_API size_t zn_tensor_count(const zn_tensor *t); /* values in it */
ZN_API zn_real *zn_tensor_data(zn_tensor *t);      /* row-major values; writable for created tensors; NULL for NULL */
ZN_API const zn_real *zn_tensor_grad(const zn_tensor *t); /* of a trainable tensor after zn_backward, else NULL */
ZN_API const char *zn_tensor_name(const zn_tensor *t);    /* "" when it has none */
ZN_API void zn_tensor_set_trainable(zn_tensor *t, int trainable);
ZN_API int zn_tensor_trainable(const zn_tensor *t);
ZN_API double zn_tensor_value(const zn_tensor *t);        /* the only value of a one-element tensor; NaN for others */

/* ==================================================================================================================
   API-OPS  operations on tensors
   ================================================================================================================== */
/* Each takes and returns tensors of one context, records itself on the tape when a gradient may be asked for, and gives
   NULL for NULL or for shapes that do not fit (the first reason stays in the context), so operations compose without a
   check after each. Sizes below: N batch, C channels, H x W map, O output channels. */

/* x N C H W, w O C/groups K K, bias O or NULL -> N O H' W', H' = (H + 2*padding - K)/stride + 1. groups = C = O is
   depthwise. */
ZN_API zn_tensor *zn_conv2d(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias, int stride, int padding, int groups);
/* x N F, w O F, bias O or NULL -> N O: y = x w^T + bias. */
ZN_API zn_tensor *zn_linear(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias);
/* x N C H W (or N C); gamma, beta, running_mean, running_var C. training: normalises with the biased batch variance and
   moves the running values by momentum towards the batch's (the variance unbiased, and not at all from one value per
   channel); otherwise normalises with the running values. running_* may both be NULL in training. */
ZN_API zn_tensor *zn_batch_norm(zn_ctx *ctx, zn_tensor *x, zn_tensor *gamma, zn_tensor *beta, zn_tensor *running_mean,
                                zn_tensor *running_var, int training, double momentum, double eps);
/* x N C H W in `groups` groups of channels; gamma, beta C. (Wu & He 2018) */
ZN_API zn_tensor *zn_group_norm(zn_ctx *ctx, zn_tensor *x, zn_tensor *gamma, zn_tensor *beta, int groups, double eps);
ZN_API zn_tensor *zn_relu(zn_ctx *ctx, zn_tensor *x);
ZN_API zn_tensor *zn_swish(zn_ctx *ctx, zn_tensor *x); /* x * sigmoid(x) */
ZN_API zn_tensor *zn_sigmoid(zn_ctx *ctx, zn_tensor *x);
/* Shapes equal, or the second broadcast: each of its sizes equal or 1 (counted from the last size when it has fewer),
   so 1 C 1 1 or N C 1 1 works per channel and a single value scales everything. */
ZN_API zn_tensor *zn_add(zn_ctx *ctx, zn_tensor *a, zn_tensor *b);
ZN_API zn_tensor *zn_mul(zn_ctx *ctx, zn_tensor *a, zn_tensor *b);
ZN_API zn_tensor *zn_scale(zn_ctx *ctx, zn_tensor *x, double factor);
ZN_API zn_tensor *zn_global_avg_pool(zn_ctx *ctx, zn_tensor *x);                   /* N C H W -> N C 1 1 */
ZN_API zn_tensor *zn_adaptive_avg_pool(zn_ctx *ctx, zn_tensor *x, int size);       /* N C H W -> N C size size */
ZN_API zn_tensor *zn_max_pool(zn_ctx *ctx, zn_tensor *x, int kernel, int stride, int padding); /* padding with -infinity */
ZN_API zn_tensor *zn_concat(zn_ctx *ctx, zn_tensor *a, zn_tensor *b);              /* along channels (size 1) */
ZN_API zn_tensor *zn_slice(zn_ctx *ctx, zn_tensor *x, int begin, int count);       /* channels begin..begin+count-1 */
ZN_API zn_tensor *zn_reshape(zn_ctx *ctx, zn_tensor *x, zn_shape shape);           /* same number of values */
/* Output channel groups*i + j takes input channel j*(C/groups) + i. (ShuffleNet, Zhang et al. 2018) */
ZN_API zn_tensor *zn_channel_shuffle(zn_ctx *ctx, zn_tensor *x, int groups);
/* Shuffle attention (SA-Net, arXiv 2102.00240; specification section 4) with k = C/(2*groups); cweight, cbias, sweight,
   sbias, gn_weight, gn_bias hold k values each. The fused form of slice, pool, group norm, sigmoid, mul, shuffle. */
ZN_API zn_tensor *zn_shuffle_attention(zn_ctx *ctx, zn_tensor *x, zn_tensor *cweight, zn_tensor *cbias, zn_tensor *sweight,
                                       zn_tensor *sbias, zn_tensor *gn_weight, zn_tensor *gn_bias, int groups, double eps);
ZN_API zn_tensor *zn_softmax(zn_ctx *ctx, zn_tensor *x);     /* over the last size */
ZN_API zn_tensor *zn_log_softmax(zn_ctx *ctx, zn_tensor *x);
/* logits N K, target N K (soft, rows sum to 1) -> 1 value: mean over N of -sum(target * log_softmax(logits)). */
ZN_API zn_tensor *zn_cross_entropy(zn_ctx *ctx, zn_tensor *logits, zn_tensor *target);
/* Mean of |d| - beta/2 where |d| >= beta, else d^2/(2 beta), d = a - b, equal shapes. (Girshick 2015) */
ZN_API zn_tensor *zn_smooth_l1(zn_ctx *ctx, zn_tensor *a, zn_tensor *b, double beta);
ZN_API zn_tensor *zn_sum(zn_ctx *ctx, zn_tensor *x);  /* 1 value */
ZN_API zn_tensor *zn_mean(zn_ctx *ctx, zn_tensor *x); /* 1 value */

/* ==================================================================================================================
   API-GRAD  reverse-mode differentiation
   ================================================================================================================== */
/* zn_backward walks the tape from `loss` (one value) back and adds to the gradient of every trainable tensor. It returns
   the first error of the whole expression (a NULL loss included), ZN_ERROR_NUMBER when the loss is NaN or infinite. */
ZN_API zn_result zn_backward(zn_ctx *ctx, zn_tensor *loss);
/* Drops the results of all operations so far (their memory is kept for the next step). */
ZN_API void zn_tape_clear(zn_ctx *ctx);
/* Sets the gradients of all trainable tensors of the context to zero. */
ZN_API void zn_grad_clear(zn_ctx *ctx);
/* Between the two, operations record nothing and keep no inputs alive: evaluation in less memory. Nests. */
ZN_API void zn_no_grad_begin(zn_ctx *ctx);
ZN_API void zn_no_grad_end(zn_ctx *ctx);
/* Bytes now held by a context, and the most it ever held. */
ZN_API size_t zn_memory_now(const zn_ctx *ctx);
ZN_API size_t zn_memory_peak(const zn_ctx *ctx);

typedef struct zn_gradient_report {
    double worst;      /* largest error, relative to the larger of the gradient's scale and 1 */
    int checked;       /* derivatives compared */
    char where[128];   /* tensor and index of the worst */
} zn_gradient_report;
typedef struct zn_gradient_opts {
    double step;       /* of the central difference */
    int per_tensor;    /* derivatives compared per tensor (spread evenly) */
    double tolerance;  /* worst above it is ZN_ERROR_NUMBER */
} zn_gradient_opts;
ZN_API zn_gradient_opts zn_gradient_opts_default(void); /* suits the build's real type */
/* Compares the gradients of all trainable tensors with central differences of loss_fn, which builds the expression anew
   at each call and returns its single value. */
ZN_API zn_result zn_check_gradients(zn_ctx *ctx, zn_tensor *(*loss_fn)(zn_ctx *ctx, void *user), void *user,
                                    const zn_gradient_opts *opts, zn_gradient_report *out_report);
/* The operation table: name of row i (NULL past the end), and a self-check of that row's backward on small fixed shapes. */
ZN_API const char *zn_op_name(int row);
ZN_API zn_result zn_op_check(zn_ctx *ctx, int row, zn_gradient_report *out_report);

/* ==================================================================================================================
   API-STRUCTURE  structure strings
   ================================================================================================================== */
/* A structure string is a list of blocks Name(int,int,...), for example
       SuperConvK3BNRELU(3,16,2,1)SuperResIDWE4K3(16,24,2,16,1)SuperConvK1BNRELU(24,128,1,1)
   super blocks   SuperConvK{1,3,5,7}BNRELU(in,out,stride,sub_layers)
                  SuperResK{3,5,7}K{3,5,7}(in,out,stride,bottleneck,sub_layers), k twice the same
                  SuperResK1K{3,5,7}K1(...), SuperResIDWE{1,2,4,6}K{3,5,7}(...) likewise
   basic blocks   ConvKX(in,out,k,s) ConvKXG{2,4,8,16,32}(in,out,k,s) ConvDW(c,k,s) BN(c) RELU(c) Swish(c) SE(c)
                  SA(c,groups) Linear(in,out,bias) MaxPool(c,k,s) AdaptiveAvgPool(c,size) Flatten(c)
   containers     Sequential(blocks) ResBlock([in,[stride,]]blocks) ResBlockProj(...) MultiSumBlock(a;b) MultiCatBlock(a;b)
   White space is ignored, Name(label|...) carries a label that means nothing. (ZenNAS, arXiv 2102.01063; specification
   sections 1 and 2.) The head - pool and linear layer - is added by the network. */
typedef struct zn_structure zn_structure; /* opaque, never changed after it is made */

/* text may also be a built-in name. A bad string is ZN_ERROR_STRUCTURE with column (from 1) and reason. The caller
   destroys the result before the context. */
ZN_API zn_result zn_structure_parse(zn_ctx *ctx, const char *text, zn_structure **out_structure);
ZN_API void zn_structure_destroy(zn_structure *s);
/* Writes the canonical text (no labels, no white space), always terminated when size > 0; returns its full length. */
ZN_API size_t zn_structure_format(const zn_structure *s, char *buffer, size_t size);
/* Sum of sub_layers of the super blocks: what --max-layers limits. */
ZN_API int zn_structure_layers(const zn_structure *s);
/* One pass: every residual super block with sub_layers >= 6 becomes one with 3 and one with the rest. */
ZN_API zn_result zn_structure_split(const zn_structure *s, zn_structure **out_split);
/* The published networks "zennet-m" and "zennet-r" (specification section 8); NULL for other names. */
ZN_API const char *zn_structure_builtin(const char *name);

/* ==================================================================================================================
   API-NET  networks
   ================================================================================================================== */
typedef enum zn_attention { ZN_ATTENTION_NONE = 0, ZN_ATTENTION_SE, ZN_ATTENTION_SA } zn_attention;
/* Where residual units of the first repetition project: as the face paper does, or also in the first unit of every
   K1KkK1 and IDW block as ZenNAS does. */
typedef enum zn_projection { ZN_PROJECTION_FACE = 0, ZN_PROJECTION_ZENNAS } zn_projection;

typedef struct zn_net_opts {
    const char *structure;    /* string or built-in name; "zennet-m" by default */
    int classes;              /* 1..ZN_MAX_CLASSES; 7 */
    zn_attention attention;   /* in every residual super block; SA */
    int lw_att;               /* WIRW block on the pooled features; 0. Its group norm sees 1 x 1 maps and yields its bias,
                                 so its spatial gate is a constant, as published. */
    int reslink;              /* residual links of super blocks; 1 */
    int bn;                   /* batch norm of the main path of super blocks; 1 */
    zn_projection projection; /* FACE */
    double bn_momentum;       /* 0.01 */
    double bn_eps;            /* 1e-3 */
    double gn_eps;            /* 1e-5 */
    int train_attention;      /* 1: gates and scales are trained, as the paper means; 0: never, as its code does */
} zn_net_opts;
ZN_API zn_net_opts zn_net_opts_default(void);
/* "none", "se", "sa" <-> attention; -1 / NULL for others. */
ZN_API int zn_attention_parse(const char *text);
ZN_API const char *zn_attention_text(zn_attention attention);

typedef struct zn_net zn_net; /* opaque */

/* Builds the network with all weights zero, norms 1 and 0, attention at its start values (specification section 4).
   opts are copied. Errors: bad structure with column, channels that attention cannot divide, memory. The caller destroys
   it before its context. */
ZN_API zn_result zn_net_create(zn_ctx *ctx, const zn_net_opts *opts, zn_net **out_net);
ZN_API void zn_net_destroy(zn_net *net);
ZN_API const zn_net_opts *zn_net_get_opts(const zn_net *net); /* structure is the canonical text */
ZN_API zn_ctx *zn_net_ctx(const zn_net *net);

/* Start weights, specification section 9. */
typedef enum zn_init {
    ZN_INIT_CUSTOM = 0, /* the published default: scaled normal, last BN of every residual unit 0 */
    ZN_INIT_MSRA,       /* the same without that zeroing */
    ZN_INIT_XAVIER,     /* gain sqrt 2 for convolutions */
    ZN_INIT_STUPID,     /* N(0, 1/(k k out)) */
    ZN_INIT_ZERO,       /* that times 1e-3 */
    ZN_INIT_01,         /* that times 0.1 */
    ZN_INIT_PYTORCH,    /* uniform +-1/sqrt(fan_in), PyTorch's default */
    ZN_INIT_SCORE       /* convolution and linear weights N(0, 1), biases 0: what the Zen-score draws */
} zn_init;
ZN_API zn_result zn_net_init(zn_net *net, zn_init init, uint64_t seed);
ZN_API int zn_init_parse(const char *text); /* "custom", "msra", ... or -1 */

/* x N 3 H W -> logits N classes, on the tape. training: batch statistics, and running ones are moved. */
ZN_API zn_tensor *zn_net_forward(zn_net *net, zn_tensor *x, int training);
/* The same up to the features before global pooling, N C h w. */
ZN_API zn_tensor *zn_net_features(zn_net *net, zn_tensor *x, int training);

/* All parameters and buffers in PyTorch's order under their published names (specification section 3),
   num_batches_tracked left out. */
ZN_API int zn_net_tensor_count(const zn_net *net);
ZN_API zn_tensor *zn_net_tensor(const zn_net *net, int index);             /* NULL out of range */
ZN_API zn_tensor *zn_net_find(const zn_net *net, const char *name);        /* NULL when unknown */
ZN_API int zn_net_is_buffer(const zn_net *net, int index);                 /* running statistics */
/* Only fc_linear stays trainable, or everything again. BN statistics still move. */
ZN_API void zn_net_freeze_backbone(zn_net *net, int frozen);

/* Class names, copied; "0", "1", ... until set. count must equal the classes. */
ZN_API zn_result zn_net_set_class_names(zn_net *net, const char *const *names, int count);
ZN_API const char *zn_net_class_name(const zn_net *net, int index); /* NULL out of range */

/* ==================================================================================================================
   API-COUNT  parameters, MACs, FLOPs, memory
   ================================================================================================================== */
typedef struct zn_count { /* specification section 5 */
    double params;        /* trainable values */
    double macs;          /* multiply-accumulates of one image: convolutions, projections, SE, linear; no biases */
    double flops;         /* as published (ptflops 0.6.4) */
    double budget_params; /* the arithmetic of the published search, attention and WIRW left out */
    double budget_flops;
    double activations;   /* values of all layer outputs of one image */
    int layers;           /* sum of sub_layers */
} zn_count;

typedef struct zn_layer_info {
    const char *name;             /* published name of the module, valid during the call */
    const char *kind;             /* "conv", "bn", "relu", "sa", ... */
    int in, out, kernel, stride, groups;
    int in_size, out_size;        /* height = width of the maps */
    int depth;                    /* nesting, 0 = top level */
    double params, macs, flops, activations;
} zn_layer_info;

/* Counts without allocating weights; resolution in pixels, opts as for a network (opts->structure is not used). */
ZN_API zn_result zn_structure_count(const zn_structure *s, const zn_net_opts *opts, int resolution, zn_count *out_count);
/* The same, and calls on_layer for every leaf layer in order (head included). */
ZN_API zn_result zn_structure_count_layers(const zn_structure *s, const zn_net_opts *opts, int resolution,
                                           void (*on_layer)(const zn_layer_info *info, void *user), void *user,
                                           zn_count *out_count);

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
