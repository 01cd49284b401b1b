/* zennet.h - search, train and run ZenNet-SA, a lightweight facial-expression network, in plain C.

   HOW TO USE
     In exactly one C or C++ file:
         #define ZENNET_IMPLEMENTATION
         #include "zennet.h"
     Everywhere else just #include "zennet.h". Link with -lm; -fopenmp makes it parallel and is optional.

   A PROGRAM (a network learns to tell bright pictures from dark ones, and prints what it has learned)
         #define ZENNET_IMPLEMENTATION
         #include "zennet.h"
         int main(void) {
             static const zn_real dark[2 * 3 * 16 * 16] = {0}, truth[] = {1, 0, 0, 1};
             zn_ctx *ctx = NULL; zn_net *net = NULL; zn_optimizer *sgd = NULL;
             zn_net_opts opts = zn_net_opts_default();
             int step;
             opts.structure = "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE2K3(8,16,2,8,1)";
             opts.classes = 2;
             if (zn_ctx_create(NULL, &ctx) != ZN_OK || zn_net_create(ctx, &opts, &net) != ZN_OK || zn_net_init(net, ZN_INIT_MSRA, 1) != ZN_OK ||
                 zn_optimizer_create(ctx, net, NULL, &sgd) != ZN_OK) { fprintf(stderr, "%s\n", zn_error_text(ctx)); return 1; }
             zn_tensor *x = zn_tensor_from(ctx, zn_shape4(2, 3, 16, 16), dark), *target = zn_tensor_from(ctx, zn_shape2(2, 2), truth);
             for (step = 3 * 16 * 16; step < 2 * 3 * 16 * 16; ++step) zn_tensor_data(x)[step] = 1;   // the second picture is bright
             for (step = 0; step < 30; ++step) {
                 zn_tensor *loss = zn_cross_entropy(ctx, zn_net_forward(net, x, 1), target);         // NULL in, NULL out
                 if (step % 10 == 9) printf("step %d: loss %.3f\n", step + 1, zn_tensor_value(loss));
                 if (zn_backward(ctx, loss) != ZN_OK || zn_optimizer_step(sgd, 0.02) != ZN_OK) { fprintf(stderr, "%s\n", zn_error_text(ctx)); return 1; }
             }
             zn_optimizer_destroy(sgd); zn_net_destroy(net); zn_ctx_destroy(ctx);
             return 0;
         }

   CONTENTS (each word stands twice in this file: here and at its section)
     API-VERSION     version, linkage, real type
     API-CONTEXT     results, allocator, context
     API-RANDOM      seeded random numbers
     API-TENSOR      tensors
     API-OPS         operations on tensors
     API-GRAD        reverse-mode differentiation
     API-STRUCTURE   structure strings
     API-NET         networks
     API-COUNT       parameters, MACs, FLOPs, memory
     API-SCORE       Zen-score and its rivals
     API-SEARCH      evolutionary search
     API-IMAGE       image arithmetic and augmentation (uint8, as Pillow does it)
     API-PACK        packed data sets
     API-TRAIN       optimisers, schedule, trainer
     API-MODEL       model files: safetensors and PyTorch checkpoints
     API-INFER       inference sessions
     API-ONNX        export to ONNX
     API-REPORT      what people look at: report.html, curves, confusion matrix
     IMPL-PLATFORM   what differs between compilers and systems
     IMPL-MEMORY     context, errors, checked sizes, allocation, growing text
     IMPL-FILE       whole files: read, map, replace atomically
     IMPL-RANDOM     random numbers
     IMPL-KERNELS    the loops where the time goes
     IMPL-TENSOR     tensors
     IMPL-OPS        operation table, tape, backward, gradient checker
     IMPL-STRUCTURE  structure strings
     IMPL-BLOCKS     from blocks to layers
     IMPL-COUNT      counting
     IMPL-NET        blocks, attention, network
     IMPL-SCORE      scores
     IMPL-SEARCH     search
     IMPL-IMAGE      images and augmentation
     IMPL-PACK       packed data sets
     IMPL-MODEL      model files
     IMPL-TRAIN      optimisers, schedule, trainer
     IMPL-INFER      inference sessions
     IMPL-ONNX       export
     IMPL-REPORT     reports

   WHAT IT DOES AND DOES NOT
     Networks of ZenNAS structure strings with none, squeeze-and-excitation or shuffle attention: built, counted, scored
     without training, searched for, trained from packed image sets, saved, run. Tensors with reverse-mode gradients
     carry them and can be used alone. It runs on the CPU. It does not decode image files (data_tools/zennet_image.h does),
     find faces in pictures, or come with trained weights.

   LEARN IT IN THIS ORDER
     A tensor        is a block of numbers with a shape, images are N x C x H x W.                            API-TENSOR
     An operation    computes a tensor and remembers how; zn_backward walks back and hands every trainable
                     tensor its gradient dL/dw. zn_check_gradients shows that it is right.           API-OPS, API-GRAD
     A block         is a few operations with their parameters: convolution, norm, ReLU, a residual sum.      IMPL-BLOCKS
     A structure     is a text that lists blocks: Name(in,out,stride,...).                                  API-STRUCTURE
     A network       is a structure, its parameters, and a head: pool, linear layer.                              API-NET
     The Zen-score   asks how much an untrained network's features move when its input moves a little, corrected
                     for what batch norm hides: log E||f(x) - f(x + 0.01 e)|| + sum over norms of log std. More
                     movement, more that it can express; no training needed.                                    API-SCORE
     The search      keeps a population of structures, changes two places of a random one, drops what is over
                     budget, scores the rest and lets the worst die.                                           API-SEARCH
     Shuffle         attention halves each of g groups of channels. One half is gated by its mean,
     attention       a * sigmoid(w mean(a) + b), the other by itself normalised, s * sigmoid(w GN(s) + b); then
                     channels are shuffled so that groups meet.                                                   API-OPS
     Training        shows augmented batches, follows -gradient with momentum, and lets the step shrink along a
                     cosine.                                                                        API-IMAGE, API-TRAIN
     Inference       folds norms into convolutions, sums and gates into the loops that make the numbers, plans all
                     memory once, and then allocates nothing.                                                  API-INFER

   CONVENTIONS
     Layout          row-major, float (or double, see below); images NCHW; pictures are 8-bit RGB rows.
     Ownership       what a function returns through zn_x **out_x is yours: destroy it. Every destroy takes NULL. A context
                     is destroyed last. Texts and arrays you pass are copied unless it says otherwise.
     Errors          functions return zn_result; operations return NULL and take NULL. The first error of a context stays
                     in it with its reason until zn_error_clear; what leaves no words, because any thread may call it or a
                     loop ends there, says so. Nothing here prints, exits, aborts or asserts.
     Threads         a context belongs to one thread at a time. A network that nobody changes may serve many sessions in
                     many threads. OpenMP is used inside, where it is compiled in.
     Determinism     results are the same to the last bit for any number of threads and every rerun; all randomness comes
                     from seeds that you give.

   CONFIGURATION (define before the implementation)
     ZENNET_IMPLEMENTATION   this file holds the code
     ZENNET_STATIC           all functions static: each file that calls any needs ZENNET_IMPLEMENTATION too, and has its own copy
     ZENNET_DOUBLE           zn_real is double: for verification, slower; define it in every file that includes this one
     ZN_MALLOC, ZN_FREE      replace malloc(bytes) and free(p)   ZN_NO_DISPATCH  one instruction set: what the flags say

   STRUCTURE STRINGS: grammar and blocks stand at API-STRUCTURE.
   FILES: packs are described at API-PACK, model files (safetensors) at API-MODEL.

   REFERENCES
     [ZenNet-SA]   Nguyen, Nabi, Han: ZenNet-SA: An Efficient Lightweight Neural Network with Shuffle Attention for Facial
                   Expression Recognition. ICCAS 2024, doi 10.23919/ICCAS63016.2024.10773246
     [Zen-NAS]     Lin et al.: Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition. ICCV 2021, arXiv 2102.01063
     [SA-Net]      Zhang, Yang: SA-Net: Shuffle Attention for Deep Convolutional Neural Networks. ICASSP 2021, arXiv 2102.00240
     [DeepMAD]     Shen et al.: DeepMAD: Mathematical Architecture Design for Deep CNN. CVPR 2023, arXiv 2303.02165
     [AutoAugment] Cubuk et al.: AutoAugment: Learning Augmentation Policies from Data. CVPR 2019, arXiv 1805.09501
     "Specification section N" in comments is the description of the published system that this was built from.

   License: MIT or public domain, at your choice; the texts stand at the end of the file.
   Changes: 0.1.0 the first version.
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
#if defined(__GNUC__) || defined(__clang__)
#define ZN_API static __attribute__((unused)) /* a file need not use all of it */
#else
#define ZN_API static
#endif
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

/* A tensor of zeros that no gradient flows into. NULL with the error in ctx: ZN_ERROR_ARGUMENT when a size is below 1 or
   there are not 1 to 4 of them, ZN_ERROR_MEMORY when memory is out or no size_t holds the bytes. */
ZN_API zn_tensor *zn_tensor_create(zn_ctx *ctx, zn_shape shape);
/* The same, filled with values (as many as the shape holds, row-major), which are copied; NULL leaves zeros. */
ZN_API zn_tensor *zn_tensor_from(zn_ctx *ctx, zn_shape shape, const zn_real *values);
/* A trainable tensor with uniform start values in +-1/sqrt(fan_in), fan_in = product of all sizes but the first; rng
   NULL leaves zeros. */
ZN_API zn_tensor *zn_param(zn_ctx *ctx, zn_shape shape, zn_rng *rng);
ZN_API zn_tensor *zn_param_zeros(zn_ctx *ctx, zn_shape shape);
/* Frees a created tensor at once; NULL and results of operations are left alone. No tape may still refer to it. */
ZN_API void zn_tensor_destroy(zn_tensor *t);

ZN_API zn_shape zn_tensor_shape(const zn_tensor *t);
ZN_API size_t zn_tensor_count(const zn_tensor *t); /* values in it */
ZN_API zn_real *zn_tensor_data(zn_tensor *t);      /* row-major values; writable for created tensors; NULL for NULL */
ZN_API const zn_real *zn_tensor_grad(const zn_tensor *t); /* of a trainable tensor after zn_backward, else NULL */
ZN_API const char *zn_tensor_name(const zn_tensor *t);    /* "" when it has none */
/* For what zn_param and zn_param_zeros made, and a network's parameters; other tensors are left alone: they have no place
   for a gradient. */
ZN_API void zn_tensor_set_trainable(zn_tensor *t, int trainable);
ZN_API int zn_tensor_trainable(const zn_tensor *t);
ZN_API double zn_tensor_value(const zn_tensor *t);        /* the only value of a one-element tensor; NaN for others */

/* ==================================================================================================================
   API-OPS  operations on tensors
   ================================================================================================================== */
/* Each takes and returns tensors of one context, records itself on the tape when a gradient may be asked for, and gives
   NULL for NULL or for shapes that do not fit (the first reason stays in the context), so operations compose without a
   check after each. Sizes below: N batch, C channels, H x W map, O output channels. */

/* x N C H W, w O C/groups K K, bias O or NULL -> N O H' W', H' = (H + 2*padding - K)/stride + 1; stride and
   padding at most 65536. groups = C = O is depthwise. */
ZN_API zn_tensor *zn_conv2d(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias, int stride, int padding, int groups);
/* x N F, w O F, bias O or NULL -> N O: y = x w^T + bias. */
ZN_API zn_tensor *zn_linear(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias);
/* x N C H W (or N C); gamma, beta, running_mean, running_var C. training: normalises with the biased batch variance and
   moves the running values by momentum towards the batch's (the variance unbiased, and not at all from one value per
   channel); otherwise normalises with the running values. running_* may both be NULL in training. eps, here and below:
   finite, not negative. */
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
/* N C H W -> N C H' W' as a convolution's; kernel at most 65536; padding, at most half of it, is with -infinity. */
ZN_API zn_tensor *zn_max_pool(zn_ctx *ctx, zn_tensor *x, int kernel, int stride, int padding);
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
   the first error of the whole expression (a NULL loss included), ZN_ERROR_NUMBER when the loss is NaN or infinite,
   ZN_ERROR_ARGUMENT when it comes to a network's pass that was walked before: its results are given back on the way. */
ZN_API zn_result zn_backward(zn_ctx *ctx, zn_tensor *loss);
/* Drops the results of all operations so far (their memory is kept for the next step). */
ZN_API void zn_tape_clear(zn_ctx *ctx);
/* Sets the gradients of all trainable tensors of the context to zero. */
ZN_API void zn_grad_clear(zn_ctx *ctx);
/* Between the two, operations record nothing and keep no inputs alive: evaluation in less memory. Nests. */
ZN_API void zn_no_grad_begin(zn_ctx *ctx);
ZN_API void zn_no_grad_end(zn_ctx *ctx);
/* Bytes now held by a context, and the most it ever held: what was asked for, without the context itself and some 80
   bytes of bookkeeping that each allocation adds. */
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
   at each call and returns its single value. Clears tape and gradients before and after. */
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
   sections 1 and 2.) The head - pool and linear layer - is added by the network.
   Limits: 1,048,576 characters, 65536 channels, kernels and strides of 255, sizes of 4096, 4096 sub_layers in all, containers
   32 deep. */
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
    double bn_momentum;       /* 0.01; 0..1 */
    double bn_eps;            /* 1e-3; finite, above 0 */
    double gn_eps;            /* 1e-5; the same */
    int train_attention;      /* 1: gates and scales are trained, as the paper means; 0: never, as its code does */
} zn_net_opts;
ZN_API zn_net_opts zn_net_opts_default(void);
/* "none", "se", "sa" <-> attention; -1 / NULL for others. */
ZN_API int zn_attention_parse(const char *text);
ZN_API const char *zn_attention_text(zn_attention attention);

typedef struct zn_net zn_net; /* opaque */

/* Builds the network with all weights zero, norms 1 and 0, attention at its start values (specification section 4).
   opts are copied. Errors: bad structure with column, channels that attention cannot divide, memory. The caller destroys
   it before its context, and after zn_tape_clear where the tape holds a pass of it. */
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
   num_batches_tracked left out. They stay the network's: the caller never destroys them. */
ZN_API int zn_net_tensor_count(const zn_net *net);
ZN_API zn_tensor *zn_net_tensor(const zn_net *net, int index);             /* NULL out of range */
ZN_API zn_tensor *zn_net_find(const zn_net *net, const char *name);        /* NULL when unknown */
ZN_API int zn_net_is_buffer(const zn_net *net, int index);                 /* running statistics */
/* Only fc_linear stays trainable, or everything again. BN statistics still move. */
ZN_API void zn_net_freeze_backbone(zn_net *net, int frozen);

/* Class names, copied: UTF-8, none empty, no two equal; "0", "1", ... until set. count must equal the classes. */
ZN_API zn_result zn_net_set_class_names(zn_net *net, const char *const *names, int count);
ZN_API const char *zn_net_class_name(const zn_net *net, int index); /* NULL out of range */

/* ==================================================================================================================
   API-COUNT  parameters, MACs, FLOPs, memory
   ================================================================================================================== */
typedef struct zn_count { /* specification section 5 */
    double params;        /* trainable values */
    double macs;          /* multiply-accumulates of one image: convolutions, projections, SE, linear; no biases */
    double flops;         /* as published (ptflops 0.6.4) */
    double budget_params; /* the arithmetic of the published search; the search itself counts with attention none */
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

/* Counts without allocating weights; resolution in pixels, 1..65536, opts as for a network (opts->structure is not used). */
ZN_API zn_result zn_structure_count(const zn_structure *s, const zn_net_opts *opts, int resolution, zn_count *out_count);
/* The same, and calls on_layer for every leaf layer in order (head included). */
ZN_API zn_result zn_structure_count_layers(const zn_structure *s, const zn_net_opts *opts, int resolution,
                                           void (*on_layer)(const zn_layer_info *info, void *user), void *user,
                                           zn_count *out_count);

/* ==================================================================================================================
   API-SCORE  Zen-score and its rivals
   ================================================================================================================== */
/* A zero-cost score judges a structure without training it. All are taken on the network without residual links,
   attention and WIRW, in training mode, with fresh weights; higher is better. (Specification section 6.) */
typedef enum zn_score_kind {
    ZN_SCORE_ZEN = 0,   /* expressivity with the published variance (specification section 12, 3): what the published
                           networks were found with. arXiv 2102.01063 */
    ZN_SCORE_ZEN_PAPER, /* the same with the variance that the paper means */
    ZN_SCORE_GRADNORM,  /* 2-norm of all gradients of the cross entropy with random labels */
    ZN_SCORE_SYNFLOW,   /* synaptic flow, arXiv 2006.05467 */
    ZN_SCORE_NASWOT,    /* log-determinant of the kernel of ReLU patterns, arXiv 2006.04647 */
    ZN_SCORE_TENAS,     /* minus the condition number of the neural tangent kernel, arXiv 2102.11535 */
    ZN_SCORE_ZEN_EXPECTED, /* what ZEN comes to on average, by formulas over the layers instead of images (IMPL-SCORE):
                           ranks nearly as ZEN does, in some 10 microseconds. For convolutions, norms and ReLUs in a row,
                           as super blocks are; ZN_ERROR_UNSUPPORTED for others */
    ZN_SCORE_FLOPS,     /* budget arithmetic of the network without links */
    ZN_SCORE_PARAMS,
    ZN_SCORE_DEEPMAD,   /* entropy, arXiv 2303.02165; needs no forward pass */
    ZN_SCORE_RANDOM     /* N(0, 1): what a search without a score would do */
} zn_score_kind;
/* "zen", "zen-paper", "gradnorm", "synflow", "naswot", "tenas", "zen-expected", "flops", "params", "deepmad", "random" <->
   kind; -1 / NULL for others. */
ZN_API int zn_score_parse(const char *text);
ZN_API const char *zn_score_text(zn_score_kind kind);

#define ZN_SCORE_WORST (-9999.0) /* of a draw that cannot be computed, as published */

typedef struct zn_score_opts {
    zn_score_kind kind;
    int batch;          /* images of a draw; 16; 1..4096 */
    int resolution;     /* pixels; 224; 1..8192 */
    int repeat;         /* draws; 1; 1..1,000,000. Each starts fresh from its own stream of the seed. */
    int classes;        /* of the head: gradnorm, synflow, tenas, flops, params; 7 */
    double gamma;       /* zen: size of the disturbance; 0.01; not 0, below 1e6 in size */
    uint64_t seed;      /* weights, inputs, labels. Two structures scored with one seed see the same images; weights of
                           the same name and shape are the same numbers. 0 */
    int golden;         /* 1: weights and inputs are the deterministic fills of the golden files instead of normal draws */
    const int *targets; /* gradnorm: a class per image; NULL (default) draws them */
} zn_score_opts;
ZN_API zn_score_opts zn_score_opts_default(void);

typedef struct zn_score_result {
    double mean, std;   /* over the draws; population standard deviation */
    double half_width;  /* of the 95 % interval of the mean, 1.96 std/sqrt(repeat) */
    int repeat;         /* draws made */
    int failed;         /* draws that could not be computed (one value per channel in a norm, overflow, a singular
                           kernel) and count as ZN_SCORE_WORST */
} zn_score_result;

/* Scores a structure string. opts NULL means all defaults. The result does not depend on the number of threads. Errors:
   bad structure or option, resolution too small for the structure, memory. Works in memory of its own, which it frees. */
ZN_API zn_result zn_score(zn_ctx *ctx, const char *structure, const zn_score_opts *opts, zn_score_result *out_result);
/* For many scores: a scorer keeps its images and feature maps (some 170 MB at batch 16 and 224 x 224) from one structure to
   the next, which saves a fifth of a Zen-score of ZenNet-M: fresh pages from the system. The results are those of zn_score.
   opts are copied, targets is not; NULL means all defaults. The caller destroys the scorer before ctx, to which its errors
   go, the same as those of zn_score; after one has been cleared there it may run again. Destroying NULL does nothing. */
typedef struct zn_scorer zn_scorer; /* opaque; one thread at a time */
ZN_API zn_result zn_scorer_create(zn_ctx *ctx, const zn_score_opts *opts, zn_scorer **out_scorer);
ZN_API void zn_scorer_destroy(zn_scorer *scorer);
ZN_API zn_result zn_scorer_run(zn_scorer *scorer, const char *structure, zn_score_result *out_result);
/* exp(log L - W/L), the largest over the stages; L counts the convolutions up to a stage's end, W sums the logarithms of
   their fan-in (DeepMAD's effectiveness rho; specification section 7). 0 when there is no convolution. */
ZN_API zn_result zn_structure_effective_score(const zn_structure *s, double *out_score);
/* 5 exp(standard deviation of the unit counts of the residual super blocks), 0 without any: uneven depth costs. */
ZN_API double zn_structure_depth_penalty(const zn_structure *s);

/* ==================================================================================================================
   API-SEARCH  evolutionary search
   ================================================================================================================== */
/* Evolution over structure strings (ZenNAS; specification section 7): mutate a member of the population in two places,
   split deep blocks, refuse what is over a budget, score the rest, drop the worst. Budgets and scores are taken without
   attention and WIRW.

   A space says what a block may become. It is a small text; the two published ones are such texts (zn_space_text), and a
   user's own is written alike. '#' begins a comment; each line is a word and its values:
       channels *2.5 *2 *1.5 *1.25 *1 /1.25 /1.5 /2 /2.5     factors of a width; results are rounded to multiples of 8
       limits 8 2048                                         least and largest width, before rounding
       depth -2 2                                            how far sub_layers may move at once (it stays above 0)
       keep SuperConvK1BNRELU                                blocks whose `out` stays
       kinds SuperResK1K3K1:3 SuperResK3K3:3 SuperResK5K5:1  residual super blocks, each with its weight (1 when left out)
   Convolution blocks keep their kind and get sub_layers 1; strides stay. channels and kinds may fill several lines. */
typedef enum zn_space { ZN_SPACE_IDW = 0, ZN_SPACE_XXBL } zn_space;
ZN_API int zn_space_parse(const char *text);         /* "idw", "xxbl" or -1 */
ZN_API const char *zn_space_text(zn_space space);    /* NULL for others */
/* Calls on_candidate for every block that top-level block number `block` (from 0) of s may become: its text, and how
   often the published list holds it. ZN_ERROR_FORMAT with the line when the space's text is bad. */
ZN_API zn_result zn_space_candidates(const zn_structure *s, int block, const char *space_text,
                                     void (*on_candidate)(const char *text, int multiplicity, void *user), void *user);

/* What can refuse a candidate, in the order of the checks. */
typedef enum zn_budget { ZN_BUDGET_LAYERS = 0, ZN_BUDGET_PARAMS, ZN_BUDGET_FLOPS, ZN_BUDGET_EFFECTIVE, ZN_BUDGET_LATENCY } zn_budget;
#define ZN_BUDGETS 5
ZN_API const char *zn_budget_text(zn_budget budget); /* "layers", "params", "flops", "effective score", "latency" */

typedef struct zn_search_point { /* where a search stands, or stood */
    int64_t iterations;          /* proposals */
    int64_t scored, failed;      /* candidates scored, and those among them that could not be computed */
    int64_t repeated;            /* proposals that were scored before: neither scored nor added again */
    int64_t over[ZN_BUDGETS];    /* proposals refused by each budget */
    int64_t too_long;            /* proposals refused because their text passes ZN_SEARCH_TEXT */
    double seconds;              /* elapsed, all runs of a resumed search together */
    double propose_seconds, budget_seconds, latency_seconds, score_seconds; /* where they went */
    double best, median, worst;  /* scores of the population, 0 while it is empty */
    int population;
} zn_search_point;

#define ZN_SEARCH_TEXT 4096 /* longest structure of a search, with its end */

typedef struct zn_search_member {
    const char *structure;       /* canonical; lives until the next step */
    double score;                /* as the search sees it, switched-on terms included */
    double params, flops;        /* as the budgets count them */
    double effective, latency_ms; /* latency 0 without that budget */
    int layers;
    int64_t born;                /* number of the proposal, from 1 */
} zn_search_member;

typedef struct zn_search_opts {
    zn_space space;              /* IDW */
    const char *space_text;      /* NULL; else a space of one's own in the format above */
    int max_layers;              /* sum of sub_layers; here and below 0 is no limit, equal is allowed */
    double max_params, max_flops; /* by the published budget arithmetic; zn_count.budget_* */
    int exact_counts;            /* 0; 1: max_params limits the exact parameters and max_flops the exact MACs */
    double max_effective;        /* largest effective score. The published 0.5 refuses both published networks. */
    double max_latency_ms;       /* per image, in evaluation, with links, batch 1 */
    double (*latency_fn)(const char *structure, void *user); /* ms, at least 0 and finite (else ZN_ERROR_NUMBER
                                    with the structure), called by one thread at a time. NULL: the sum over a
                                    table of convolutions, each measured once when it first appears. The table is part of
                                    the state; two searches that measure anew may part ways where timings do. */
    zn_score_kind score;         /* ZEN, one draw */
    int batch, resolution;       /* 16, 224 */
    int classes;                 /* 7 */
    zn_projection projection;    /* FACE; counts in the budgets only */
    uint64_t seed;               /* everything follows from it; 0 */
    int depth_penalty;           /* 0; 1: zn_structure_depth_penalty is subtracted */
    int deepmad;                 /* 0; 1: the logarithm of the DeepMAD entropy is added */
    int sieve_score;             /* -1; else a zn_score_kind, a cheaper one than score: the search goes by it, and the best of
                                    the last population, `finalists` of them, get `score` itself to choose the result.
                                    ZEN_EXPECTED is the sieve for ZEN: nearly its ranks, thousands of times as fast */
    int sieve_batch, sieve_resolution; /* 0, 0; else the search scores with these, the finalists with batch and resolution */
    int finalists, final_repeat; /* 16, 1 draw each; of a search with a sieve */
    int population;              /* 512; 1..65536 */
    int64_t iterations;          /* 480,000; at least 1 */
    int generation;              /* 16; 1..4096: candidates that are drawn from one population, scored side by side and added in
                                    order. 1 is the published loop; results depend on it, but never on threads. */
    int threads;                 /* candidates scored at a time, one thread each; 0: as many as OpenMP has; 0..1024. The context's
                                    allocator is then called from several threads at once. */
    double time_limit;           /* seconds, 0: none; looked at between generations */
    const char *state_path;      /* NULL; else the search is saved there (atomically) and goes on from there if it exists */
    double save_seconds;         /* between saves, at least 0; 10 */
    int (*on_progress)(const zn_search_point *point, void *user); /* after each generation; not 0 stops the search */
    void *user;
} zn_search_opts;
ZN_API zn_search_opts zn_search_opts_default(void);
/* Published settings, "fer-m", "fer-r" or "cifar-1m", into *opts; returns the start structure, NULL for other names. */
ZN_API const char *zn_search_preset(const char *name, zn_search_opts *opts);

typedef struct zn_search_result {
    char structure[ZN_SEARCH_TEXT];
    double score;                /* of the best member; with a sieve that of the full score, its mean over the draws */
    double half_width;           /* of the 95 % interval of the mean, with a sieve and several draws */
    double params, flops, effective, latency_ms;
    int layers;
    int finalists;               /* that got the full score, 0 without a sieve */
    double final_seconds;        /* that they took; not in end.seconds */
    zn_search_point end;
} zn_search_result;

typedef struct zn_search zn_search; /* opaque; the context's thread */

/* The whole search: create, step to the end, choose the best. ZN_STOPPED when on_progress stops it (out_best is then the
   best so far, the state is saved). When no candidate at all fits the budgets, ZN_ERROR_ARGUMENT says which budget refused
   them and how near the nearest came. A state of other options or another start is ZN_ERROR_MISMATCH, a damaged or foreign
   one ZN_ERROR_FORMAT; neither is overwritten. A failed save is ZN_ERROR_FILE and leaves the last state as it was. */
ZN_API zn_result zn_search_run(zn_ctx *ctx, const char *start, const zn_search_opts *opts, zn_search_result *out_best);

/* The same by hand. start may hold super blocks only, and is itself no member. Texts in opts are copied. */
ZN_API zn_result zn_search_create(zn_ctx *ctx, const char *start, const zn_search_opts *opts, zn_search **out_search);
ZN_API void zn_search_destroy(zn_search *search);
/* One generation. *out_more is 0 when iterations or time are used up (the state is then saved). */
ZN_API zn_result zn_search_step(zn_search *search, int *out_more);
ZN_API zn_result zn_search_save(zn_search *search); /* to state_path; nothing without one */
ZN_API int zn_search_population(const zn_search *search);
/* Member `index`, oldest first. Past the end ZN_ERROR_ARGUMENT without words. */
ZN_API zn_result zn_search_get_member(const zn_search *search, int index, zn_search_member *out_member);
/* The course of the search: at most some 2,000 points however long it is. Past the end as above. */
ZN_API int zn_search_points(const zn_search *search);
ZN_API zn_result zn_search_get_point(const zn_search *search, int index, zn_search_point *out_point);
ZN_API zn_result zn_search_best(zn_search *search, zn_search_result *out_best);

/* ==================================================================================================================
   API-IMAGE  image arithmetic and augmentation (uint8, as Pillow does it)
   ================================================================================================================== */
/* A picture is width x height pixels of red, green, blue, 8 bit each, row after row from the top, without gaps: 3 *
   width * height bytes. Sides are 1..ZN_MAX_IMAGE_SIDE. Every operation gives the bytes that Pillow 9.4 gives, which the
   published networks were trained with (specification images.md; proof: golden/images). */
#define ZN_MAX_IMAGE_SIDE 65535
#define ZN_MAX_INPUT_SIZE 2048

typedef enum zn_filter { ZN_FILTER_BICUBIC, ZN_FILTER_BILINEAR } zn_filter;

/* Crops the box at left, top (pixels outside it are not used) and resizes it to out_w x out_h, written to out. The box
   must lie in the picture. ZN_ERROR_ARGUMENT, ZN_ERROR_MEMORY. */
ZN_API zn_result zn_image_resize(zn_ctx *ctx, const unsigned char *rgb, int width, int height, int left, int top, int box_w,
                                 int box_h, zn_filter filter, unsigned char *out, int out_w, int out_h);

/* The operations with their arguments. All but the first three keep the size. */
typedef enum zn_image_op {
    ZN_IMAGE_RESIZE_BICUBIC,  /* width height */
    ZN_IMAGE_RESIZE_BILINEAR, /* width height */
    ZN_IMAGE_CROP_RESIZE,     /* left top width height new_width new_height; bicubic */
    ZN_IMAGE_SHEAR_X,         /* m: takes the pixel at x + m*y, bicubic */
    ZN_IMAGE_SHEAR_Y,
    ZN_IMAGE_TRANSLATE_X,     /* m: takes the pixel at x + m*width, nearest */
    ZN_IMAGE_TRANSLATE_Y,
    ZN_IMAGE_ROTATE,          /* degrees counter-clockwise about the centre, nearest */
    ZN_IMAGE_COLOR,           /* factor: 0 gray, 1 unchanged, above 1 more of it; the same for the next three */
    ZN_IMAGE_CONTRAST,
    ZN_IMAGE_BRIGHTNESS,
    ZN_IMAGE_SHARPNESS,
    ZN_IMAGE_POSTERIZE,       /* bits that are kept, 0..8 */
    ZN_IMAGE_SOLARIZE,        /* threshold: values from it upwards are inverted */
    ZN_IMAGE_AUTOCONTRAST,
    ZN_IMAGE_EQUALIZE,
    ZN_IMAGE_INVERT,
    ZN_IMAGE_FLIP,
    ZN_IMAGE_OPS
} zn_image_op;
ZN_API const char *zn_image_op_name(zn_image_op op);      /* as in golden/images/index.txt; NULL past the end */
ZN_API zn_image_op zn_image_op_find(const char *name);    /* ZN_IMAGE_OPS when there is none of that name */
/* Checks that op takes these arguments (all finite, magnitudes up to 1e6) and says how large its result is. */
ZN_API zn_result zn_image_op_size(zn_ctx *ctx, zn_image_op op, int width, int height, const double *args, int count,
                                  int *out_w, int *out_h);
/* Applies op and writes the result to out, as large as zn_image_op_size says; out and rgb must not overlap. */
ZN_API zn_result zn_image_apply(zn_ctx *ctx, zn_image_op op, const unsigned char *rgb, int width, int height,
                                const double *args, int count, unsigned char *out);

/* How a network's input is made of a picture. Belongs to the model: it is kept in model files and obeyed in inference. */
typedef struct zn_input {
    int size;        /* side of the square input, pixels, 1..ZN_MAX_INPUT_SIZE */
    int resize;      /* the shorter side becomes this (size..2*ZN_MAX_INPUT_SIZE), then the centre is cropped;
                        0: the picture is stretched to exactly size x size, and one of that size is taken as it is */
    zn_filter filter;
    int bgr;         /* 1: planes in the order blue, green, red */
    double mean[3], std[3]; /* of red, green, blue on 0..1 (whatever bgr says): value = (v/255 - mean)/std */
} zn_input;
ZN_API zn_input zn_input_default(void); /* 224, stretched, bicubic, RGB, ImageNet's mean and std: RAF-DB's evaluation */
/* Whether every field is in its bounds; ZN_ERROR_ARGUMENT names the field. */
ZN_API zn_result zn_input_check(zn_ctx *ctx, const zn_input *in);
/* The input that a network was trained with; zn_input_default() until set. Copied; ZN_ERROR_ARGUMENT as zn_input_check. */
ZN_API zn_result zn_net_set_input(zn_net *net, const zn_input *in);
ZN_API const zn_input *zn_net_get_input(const zn_net *net); /* lives in the network; NULL for NULL */
/* The box at x, y of a picture -> 3 x size x size normalised values. scratch, aligned like malloc's memory, holds
   zn_input_scratch_bytes(in, W, H) with W and H at least as large as any box (SIZE_MAX: too large, or in is bad).
   Safe from many threads at once, each with its own scratch; allocates nothing; ZN_ERROR_ARGUMENT without words. */
ZN_API size_t zn_input_scratch_bytes(const zn_input *in, int max_w, int max_h);
ZN_API zn_result zn_input_apply(const zn_input *in, const unsigned char *rgb, int width, int height, int x, int y, int box_w,
                                int box_h, void *scratch, zn_real *out);

/* Augmentation: what training does to a picture before the network sees it, in this order. (specification section 10) */
typedef enum zn_crop {
    ZN_CROP_NONE,           /* as evaluation does it */
    ZN_CROP_RANDOM_RESIZED, /* shorter side to crop_resize (0: left), a random box of it, resized to the input's size */
    ZN_CROP_PADDED          /* stretched to the input's size, crop_padding black pixels around, a random square of size */
} zn_crop;
typedef enum zn_policy { ZN_POLICY_NONE, ZN_POLICY_IMAGENET, ZN_POLICY_CIFAR10 } zn_policy; /* AutoAugment, arXiv 1805.09501 */

typedef struct zn_augment_opts {
    zn_input input;          /* evaluation's input: size, filter, order, mean and std are training's too */
    zn_crop crop;
    int crop_resize;         /* 0..2*ZN_MAX_INPUT_SIZE */
    int crop_padding;        /* 0..size */
    double crop_area[2];     /* share of the picture, uniform, 0 < low <= high <= 1 */
    double crop_ratio[2];    /* width/height, log-uniform, 0.1..10 */
    double flip;             /* probability of mirroring left and right, 0..1 */
    zn_policy policy;
    double jitter;           /* brightness, contrast, color in random order, factors 1 +- this, 0..1; 0: none */
    double lighting;         /* standard deviation of ImageNet's colour shift on 0..1 values, 0..1 */
    double erase;            /* probability that a rectangle becomes zero after normalising, 0..1 */
    double erase_area[2];    /* its share of the input, uniform, 0 < low <= high < 1 */
    double erase_ratio[2];   /* its height/width, 0.1..10 */
    int erase_ratio_log;     /* ratio log-uniform instead of uniform */
} zn_augment_opts;

/* The published recipes for an input of this size. Up to 32 pixels the two for faces crop with padding 4 and evaluate
   without resizing. none: nothing random, evaluation's input stretched. */
ZN_API zn_augment_opts zn_augment_opts_none(int size);
ZN_API zn_augment_opts zn_augment_opts_rafdb(int size);
ZN_API zn_augment_opts zn_augment_opts_affectnet(int size);
ZN_API zn_augment_opts zn_augment_opts_cifar(int size);
ZN_API zn_augment_opts zn_augment_opts_imagenet(int size);
ZN_API zn_result zn_augment_check(zn_ctx *ctx, const zn_augment_opts *opts); /* ZN_ERROR_ARGUMENT names the field */
/* A picture -> 3 x size x size normalised values. Every draw comes from rng, in an order that depends on opts and the
   picture's size only. scratch, threads and errors as for zn_input_apply. */
ZN_API size_t zn_augment_scratch_bytes(const zn_augment_opts *opts, int max_w, int max_h);
ZN_API zn_result zn_augment(const zn_augment_opts *opts, zn_rng *rng, const unsigned char *rgb, int width, int height,
                            void *scratch, zn_real *out);
/* The same as a picture of size x size pixels for people to look at: lighting rounded and clipped, the erased rectangle
   in the mean colour (which is what zero means). */
ZN_API zn_result zn_augment_preview(const zn_augment_opts *opts, zn_rng *rng, const unsigned char *rgb, int width, int height,
                                    void *scratch, unsigned char *out);

/* target, count x classes, = (1 - smoothing) * onehot(label) + smoothing/classes. */
ZN_API void zn_smooth_targets(const int *labels, int count, int classes, double smoothing, zn_real *target);
/* Mixup (arXiv 1710.09412) of a batch in place: one share ~ Beta(alpha, alpha), x_i = share*x_i + (1-share)*x_p(i) with a
   random permutation p, and the same for the targets. x is batch x per_sample, target batch x classes; partner holds
   batch numbers and receives p. Returns the share; alpha <= 0 or NaN: 1, and nothing is mixed or drawn; infinite: 1/2. */
ZN_API double zn_mixup(zn_rng *rng, double alpha, int batch, zn_real *x, size_t per_sample, zn_real *target, int classes,
                       uint32_t *partner);

/* ==================================================================================================================
   API-PACK  packed data sets
   ================================================================================================================== */
/* A pack is one file that holds a whole labelled image set: what training reads. Class names and labels travel with the
   images, so nobody guesses a second time what class 3 was. All numbers are little endian:

       byte 0   "ZENPACK1"                     byte 32  u64 size of the index
            8   u32 version, 1                      40  u64 FNV-1a of the index
           12   u32 number of classes               48  u64 hash of the data (zn_pack_hash)
           16   u64 number of images                56  u64 FNV-1a of bytes 0..55
           24   u64 where the index begins          64  the images' bytes, one after the other

   The index ends the file: u32 size of the class names, the class names (each ended by 0), one record of 56 bytes per
   image, the source names (each ended by 0). A record: u64 offset, u64 size, u64 FNV-1a of the image's bytes; u32 offset
   of the source name; u16 label; u8 split; u8 encoding; u32 width and height of the stored image; u32 x, y, width, height
   of the box in it that is the sample (the whole image, or the face).

   Reading is safe from many threads at once, except where a function is said to belong to the context's thread. */
typedef enum zn_split { ZN_SPLIT_TRAIN, ZN_SPLIT_TEST } zn_split;
typedef enum zn_encoding {
    ZN_ENCODING_RGB, /* pixels: height rows of width times red, green, blue, 8 bit each */
    ZN_ENCODING_FILE /* the bytes of the original image file (JPEG, PNG...); the pack's decoder makes pixels of them */
} zn_encoding;

typedef struct zn_pack zn_pack; /* opaque */

typedef struct zn_pack_info {   /* one image of a pack; the pointers live as long as the pack */
    const unsigned char *bytes; /* size bytes in the given encoding; NULL in a pack that stays on disk */
    size_t size;
    zn_encoding encoding;
    zn_split split;
    int label;                   /* 0..classes-1 */
    int stored_width, stored_height; /* of the stored image, pixels; that of the box when the encoding is RGB */
    int x, y, width, height;     /* the sample's box in it, pixels */
    const char *source;          /* where it came from: the path below the packed folder */
    uint64_t checksum;           /* FNV-1a of bytes */
} zn_pack_info;

/* Decodes image->bytes and writes the box as image->width * image->height RGB pixels. 0 when that went well; anything
   else (also when the decoded size is not stored_width x stored_height) is an error. Called from many threads at once.
   data_tools/pack_decode.h has one on zennet_image.h. */
typedef int (*zn_decode_fn)(const zn_pack_info *image, unsigned char *rgb, void *user);

/* Opens a pack and checks the whole index (not the images' bytes: zn_pack_verify). Packs of at most 64 MB are read into
   memory; of larger ones only the index, and zn_pack_rgb reads what it is asked for (where strict C hides pread, that is
   without _POSIX_C_SOURCE 200809L, memory holds them too). ZN_ERROR_FILE, ZN_ERROR_FORMAT with the place. */
ZN_API zn_result zn_pack_open(zn_ctx *ctx, const char *path, zn_pack **out_pack);
ZN_API void zn_pack_close(zn_pack *pack);
ZN_API int zn_pack_classes(const zn_pack *pack);
ZN_API const char *zn_pack_class_name(const zn_pack *pack, int label); /* NULL when there is no such class */
ZN_API size_t zn_pack_count(const zn_pack *pack, zn_split split);      /* images of a split */
ZN_API size_t zn_pack_class_count(const zn_pack *pack, zn_split split, int label);
/* Image number index of a split, in the pack's order. ZN_ERROR_ARGUMENT, without words, when there is none. */
ZN_API zn_result zn_pack_image(const zn_pack *pack, zn_split split, size_t index, zn_pack_info *out_info);
/* Sets what decodes ZN_ENCODING_FILE (NULL: nothing does). The context's thread, before others read. */
ZN_API void zn_pack_set_decoder(zn_pack *pack, zn_decode_fn decode, void *user);
/* Pixels of an image: info.width * info.height * 3 bytes to rgb, after a look at the file and the image's checksum. A
   changed or truncated pack is ZN_ERROR_FILE, damaged bytes or a failing decoder ZN_ERROR_FORMAT, no decoder
   ZN_ERROR_UNSUPPORTED, no memory for an image file from disk (by ZN_MALLOC) ZN_ERROR_MEMORY. Leaves no text in the
   context, since any thread may call it: zn_pack_check has the words. */
ZN_API zn_result zn_pack_rgb(const zn_pack *pack, zn_split split, size_t index, unsigned char *rgb);
/* Whether the file is still the one that was opened, by size and time of change: the trainer asks before each epoch,
   zn_pack_rgb before each image. A pack in memory cannot change.
   A pack that was replaced by renaming is no problem: the old one stays until it is closed. The context's thread. */
ZN_API zn_result zn_pack_check(const zn_pack *pack);
/* Compares every image's bytes with its checksum. The context's thread. ZN_ERROR_FORMAT names the first bad image. */
ZN_API zn_result zn_pack_verify(const zn_pack *pack);
/* Hash of what training sees: every image's checksum, box, label, split, in order, and the class names. Source names
   and encoding details are not in it. */
ZN_API uint64_t zn_pack_hash(const zn_pack *pack);

/* Writes a pack image by image: the bytes go to disk at once, memory holds about 100 bytes of index per image. The file
   appears under its name only when zn_pack_writer_finish succeeds. */
typedef struct zn_pack_writer zn_pack_writer; /* opaque; the context's thread */
/* 1..ZN_MAX_CLASSES distinct class names, printable and not empty, which are copied. */
ZN_API zn_result zn_pack_writer_create(zn_ctx *ctx, const char *path, const char *const *class_names, int classes,
                                       zn_pack_writer **out_writer);
/* Appends one image; its bytes and source are copied, its checksum is computed here. */
ZN_API zn_result zn_pack_writer_add(zn_pack_writer *writer, const zn_pack_info *image);
/* Writes the index and puts the file in place; then the writer can only be destroyed. out_hash may be NULL. */
ZN_API zn_result zn_pack_writer_finish(zn_pack_writer *writer, uint64_t *out_hash);
/* Abandons the file when it is not finished. Takes NULL. */
ZN_API void zn_pack_writer_destroy(zn_pack_writer *writer);

/* ==================================================================================================================
   API-TRAIN  optimisers, schedule, trainer
   ================================================================================================================== */
typedef enum zn_optimizer_kind { ZN_SGD = 0, ZN_ADAM, ZN_RMSPROP, ZN_ADADELTA } zn_optimizer_kind;
typedef struct zn_optimizer_opts { /* specification section 9; the rules are PyTorch's. 0..1 where nothing else is said */
    zn_optimizer_kind kind;  /* SGD */
    double momentum;         /* sgd and rmsprop: 0.9 */
    int nesterov;            /* sgd: 1 */
    double weight_decay;     /* 5e-4; 0..1e6, added to the gradient of weights of convolutions and linear layers only */
    double clip;             /* 0: off; else, to 1e30, gradients are clipped one by one to [-clip, clip] before decay is added */
    double beta1, beta2;     /* adam: 0.9, 0.999; 0 to below 1 */
    double alpha;            /* rmsprop: 0.9 */
    double rho;              /* adadelta: 0.9 */
    double eps;              /* 1e-8; adadelta 1e-9 */
} zn_optimizer_opts;
ZN_API zn_optimizer_opts zn_optimizer_opts_default(zn_optimizer_kind kind);
ZN_API int zn_optimizer_parse(const char *text); /* "sgd", "adam", "rmsprop", "adadelta" or -1 */

typedef struct zn_optimizer zn_optimizer; /* opaque */
/* An optimiser for the parameters of a network, or (net NULL) for all tensors of the context that are trainable now. It
   must be destroyed before them. Its state (momentum and the like) starts at 0. ZN_ERROR_ARGUMENT names an option that is
   out of its bounds. */
ZN_API zn_result zn_optimizer_create(zn_ctx *ctx, zn_net *net, const zn_optimizer_opts *opts, zn_optimizer **out_optimizer);
ZN_API void zn_optimizer_destroy(zn_optimizer *optimizer);
/* One step from the gradients collected since the last, which are then cleared; drops the tape. Tensors that are not
   trainable at the moment stay as they are. Returns the context's first error instead of stepping; ZN_ERROR_ARGUMENT when
   lr is not finite. */
ZN_API zn_result zn_optimizer_step(zn_optimizer *optimizer, double lr);

typedef enum zn_schedule_kind { ZN_SCHEDULE_COSINE = 0, ZN_SCHEDULE_LINEAR, ZN_SCHEDULE_STEP } zn_schedule_kind;
#define ZN_MAX_MILESTONES 16
typedef struct zn_schedule {
    zn_schedule_kind kind;
    double lr, target;               /* at the end of warm-up and of training (cosine, linear) */
    double epochs, warmup;           /* epochs in all, and of linear warm-up among them */
    double samples;                  /* of one epoch: the whole training set */
    double decay;                    /* step: factor at each milestone */
    int milestones[ZN_MAX_MILESTONES], milestone_count; /* step: epochs */
} zn_schedule;
ZN_API int zn_schedule_parse(const char *text); /* "cosine", "linear", "step" or -1 */
/* Learning rate when n samples have been seen, those of the coming batch included (specification section 9). samples must be
   above 0 and epochs above warmup: what comes out otherwise is no learning rate, often NaN. */
ZN_API double zn_schedule_lr(const zn_schedule *schedule, double n);

/* ---- the parts of a training loop: sampler, loader, evaluation, weight averages, distillation ---- */
/* The order of an epoch: zn_pack_count(pack, split) image numbers of the split. Shuffled, or (balanced) drawn with
   replacement so that every class that has images comes up equally often. A function of seed and epoch. */
ZN_API zn_result zn_sampler_draw(const zn_pack *pack, zn_split split, int balanced, uint64_t seed, int epoch, uint32_t *order);
/* Which class of the network every label of the pack is, by name (upper and lower case are the same); -1 where there is
   none. by_index: label k is class k. ZN_ERROR_MISMATCH, naming the class, when a class that has images (in either split)
   has no counterpart. map holds zn_pack_classes(pack) numbers. */
ZN_API zn_result zn_class_map(const zn_net *net, const zn_pack *pack, int by_index, int *map);

typedef struct zn_loader_opts {
    zn_split split;          /* TRAIN */
    int batch;               /* 64 */
    int random;              /* 1: sampled, augmented, smoothed, mixed; the last partial batch is dropped. 0: the pack's order,
                                every image, through augment.input only, plain targets */
    int balanced;            /* 0; see zn_sampler_draw */
    uint64_t seed;           /* 1 */
    zn_augment_opts augment; /* none(224) */
    double label_smoothing;  /* 0; 0..1, see zn_smooth_targets */
    double mixup;            /* 0: off; alpha of zn_mixup, 0..100 */
    const int *class_map;    /* NULL: labels are the classes; else of zn_class_map, copied, for a network of `classes` */
    int classes;
} zn_loader_opts;
ZN_API zn_loader_opts zn_loader_opts_default(void);

typedef struct zn_batch { /* all of it belongs to the loader (x, target of a partial batch: to the tape), until the next load:
                             the caller destroys none of it */
    zn_tensor *x;           /* count x 3 x size x size */
    zn_tensor *target;      /* count x classes, rows sum to 1 */
    const int *labels;      /* count classes */
    const uint32_t *images; /* count numbers in the split */
    int count;
    double share;           /* of mixup; 1: nothing was mixed */
} zn_batch;

typedef struct zn_loader zn_loader; /* opaque; takes all its memory when it is made; belongs to the context's thread */
/* Images are decoded and augmented by all threads. Image p of an epoch draws from its own random stream, a function of
   seed, epoch and p: results do not depend on the number of threads, and any batch can be loaded first. */
ZN_API zn_result zn_loader_create(const zn_pack *pack, const zn_loader_opts *opts, zn_loader **out_loader);
ZN_API void zn_loader_destroy(zn_loader *loader);
ZN_API size_t zn_loader_batches(const zn_loader *loader); /* of an epoch */
/* Batch `index` of an epoch. Damaged images and changed packs are errors with the image's name. */
ZN_API zn_result zn_loader_load(zn_loader *loader, int epoch, size_t index, zn_batch *out_batch);
/* What image number `position` of an epoch looks like when the network sees it (before mixup): size x size RGB pixels to
   rgb, see zn_augment_preview. out_label, the class, may be NULL. Only for a random loader. */
ZN_API zn_result zn_loader_preview(zn_loader *loader, int epoch, size_t position, unsigned char *rgb, int *out_label);

typedef struct zn_metrics { /* of one evaluation; shares are of 1 */
    size_t images;
    int classes;             /* the network's */
    double loss;             /* mean of -log p(truth), plain targets */
    double top1, top5;       /* the truth is among the first 1, 5; of equal logits the lower class is first */
    double mean_class;       /* mean recall of the classes that have images: "mean class accuracy" */
    double *recall;          /* per class; 0 where there are no images */
    size_t *confusion;       /* [truth * classes + predicted] */
    int *predicted, *truth;  /* per image, in the pack's order */
    float *confidence;       /* per image: probability of the predicted class */
    zn_ctx *ctx;             /* whose memory this is */
} zn_metrics;
typedef struct zn_evaluate_opts {
    zn_split split;         /* TEST */
    int batch;              /* 64; changes memory, time, and rounding */
    int by_index;           /* 0: classes are matched by name */
    const zn_input *input;  /* NULL: the network's own */
    int (*on_batch)(size_t done, size_t images, void *user); /* not 0: stop */
    void *user;
} zn_evaluate_opts;
ZN_API zn_evaluate_opts zn_evaluate_opts_default(void);
/* Runs the network over a split of a pack of its context. ZN_ERROR_ARGUMENT when the split is empty, ZN_ERROR_MISMATCH when
   classes do not fit, ZN_ERROR_NUMBER when a logit is not finite, ZN_STOPPED. The caller destroys the result. */
ZN_API zn_result zn_evaluate(zn_net *net, const zn_pack *pack, const zn_evaluate_opts *opts, zn_metrics **out_metrics);
ZN_API void zn_metrics_destroy(zn_metrics *metrics);
/* The accuracy that the same guesses would have by luck: sum over classes of share among truths * share among guesses. An
   accuracy below it, or below 1/classes, means wrong labels rather than a bad network. */
ZN_API double zn_metrics_chance(const zn_metrics *metrics);
/* The renaming of the predicted classes that fits the truth best: class k of the network should be called map[k]. Returns
   the accuracy it would give. Exact (Kuhn 1955); at most 512 classes, else 0. */
ZN_API double zn_metrics_permutation(const zn_metrics *metrics, int *map);

/* A moving average of all parameters and running statistics: after each step average = d*average + (1-d)*value, d the
   smaller of decay and (1 + steps)/(10 + steps), so that the start weighs little. */
typedef struct zn_ema zn_ema; /* opaque */
ZN_API zn_result zn_ema_create(zn_net *net, double decay, zn_ema **out_ema);
ZN_API void zn_ema_destroy(zn_ema *ema);
ZN_API void zn_ema_update(zn_ema *ema);
ZN_API void zn_ema_swap(zn_ema *ema); /* the network's values become the averages, and back when called again */

/* Distillation (specification section 9): a teacher in evaluation mode sees the same batch, resized where its input size
   differs; loss += features * sum over stages of smooth L1(projection(student's map), teacher's map) + logits * mean of
   -sum(softmax(teacher) * log_softmax(student)). */
typedef struct zn_distill_opts {
    double logits, features; /* weights, 0..1000; 1, 1 */
    double clamp;            /* 0: off; else the teacher's maps are limited to [-clamp, clamp] */
} zn_distill_opts;
ZN_API zn_distill_opts zn_distill_opts_default(void);
typedef struct zn_distiller zn_distiller; /* opaque */
/* Both networks belong to one context and have the same classes; size is that of the student's input. Without equally many
   stages in both there is no feature loss (zn_distiller_stages says 0). Its projections are stepped by `optimizer`. */
ZN_API zn_result zn_distiller_create(zn_net *student, zn_net *teacher, int size, const zn_distill_opts *opts, zn_optimizer *optimizer,
                                     uint64_t seed, zn_distiller **out_distiller);
ZN_API void zn_distiller_destroy(zn_distiller *distiller); /* after the optimizer */
ZN_API int zn_distiller_stages(const zn_distiller *distiller);
/* The student's training-mode logits for x and the whole loss, cross entropy with target included. NULL on errors. */
ZN_API zn_tensor *zn_distiller_loss(zn_distiller *distiller, zn_tensor *x, zn_tensor *target, zn_tensor **out_logits);

/* ---- the trainer ---- */
typedef struct zn_train_row { /* one epoch of the history */
    int epoch;                /* from 0 */
    double lr;                /* of its last batch */
    double loss, top1;        /* means over its training batches, mixed and smoothed as they were */
    double test_loss, test_top1, test_top5, test_mean_class; /* NaN where it was not evaluated */
    double seconds;           /* wall clock of training and evaluation */
    double waited;            /* share of the training time spent on loading */
} zn_train_row;

typedef struct zn_train_state { /* what callbacks see */
    int epoch, epochs;           /* epoch from 0 */
    size_t batch, batches;       /* done in this epoch, and in all */
    double loss;                 /* of this batch */
    double mean_loss, top1;      /* of this epoch so far */
    double lr;
    double images_per_second;    /* training, in this run */
    double seconds_left;         /* estimate, evaluations included; -1 at first */
    int evaluating;              /* 1: batch and batches count test images of the evaluation that is going on */
    const zn_train_row *rows;    /* on_epoch: the history, rows[epoch] is the epoch that ended */
    const zn_metrics *metrics;   /* on_epoch: its evaluation, NULL without */
    int best;                    /* on_epoch: it is the best so far */
} zn_train_state;

typedef struct zn_train_opts {  /* defaults: of default() / rafdb(), where they differ; source: specification section 9 */
    int epochs;                 /* 100 / 400 */
    int batch;                  /* 64 */
    int micro_batch;            /* 0: the whole batch at once; else gradients of parts of this size are summed up, in less memory.
                                   Batch norm then sees the parts. */
    double lr;                  /* after warm-up; 0: 0.1 * batch / 256 */
    zn_schedule schedule;       /* cosine to 0, warmup 5 epochs, which must be fewer than epochs; its lr, epochs and samples are set
                                   by the trainer */
    zn_optimizer_opts optimizer; /* sgd */
    zn_init init;               /* CUSTOM */
    int keep_weights;           /* 0; 1: start from the network's weights instead of init (transfer) */
    int freeze_backbone;        /* 0; 1: only fc_linear learns; running statistics still move */
    uint64_t seed;              /* 1: of initialisation, order, augmentation */
    zn_augment_opts augment;    /* none(224) / rafdb(224); its input becomes the network's */
    double label_smoothing;     /* 0.1 */
    double mixup;               /* 0 / 0.2 */
    int balanced;               /* 0; affectnet: 1 */
    double ema;                 /* 0: off; below 1; decay of the average of weights, which is what is evaluated and kept */
    int keep_last;              /* 0: the network ends with the weights of the best epoch (highest test top-1, the first of
                                   equals), as published numbers do; 1, or no test images: of the last */
    int eval_batch;             /* 0: batch */
    int eval_every;             /* 1: test after every so many epochs, and after the last */
    zn_net *teacher;            /* NULL; distillation */
    zn_distill_opts distill;
    const char *checkpoint_dir; /* NULL: none. Made when it is not there (its parent must be). Holds latest.safetensors, the
                                   whole state, and best.safetensors, a model; both are replaced atomically. */
    double checkpoint_seconds;  /* 300: latest is written at every epoch's end and whenever it is older than this; 0: not between */
    int resume;                 /* 0; 1: go on from latest.safetensors, where there is one, to the same bits as without a stop */
    int (*on_batch)(const zn_train_state *state, void *user); /* not 0: stop after this batch, with a checkpoint */
    int (*on_epoch)(const zn_train_state *state, void *user); /* the same */
    void *user;
} zn_train_opts;
ZN_API zn_train_opts zn_train_opts_default(void);   /* no augmentation */
ZN_API zn_train_opts zn_train_opts_rafdb(void);     /* the published recipe */
ZN_API zn_train_opts zn_train_opts_affectnet(void); /* the same for AffectNet-7 and -8: its crop and erasing, balanced sampling */
ZN_API zn_train_opts zn_train_opts_cifar(void);     /* small images: CIFAR-10's policy, 1440 epochs, 32 pixels */

typedef struct zn_train_result {
    int epochs;               /* done, those before a resume included */
    int resumed_epoch;        /* where this run began; -1: afresh */
    int best_epoch;           /* -1: nothing was evaluated */
    double best_top1;
    zn_train_row *rows;       /* one per epoch */
    char *recipe;             /* every option that matters, the networks's and the data's identity: lines of "name value" */
    double seconds, waited;   /* of this run: training steps, and the part of that spent on loading */
    zn_ctx *ctx;
} zn_train_result;
/* Trains on the train split of train_pack, tests on the test split of test_pack (NULL: of train_pack; without images there:
   no tests), both of the network's context. The network takes the pack's class names when it has none of its own; otherwise
   classes are matched by name. ZN_STOPPED after a callback's wish, ZN_ERROR_NUMBER with the step when the loss is NaN or infinite,
   ZN_ERROR_MISMATCH when the checkpoint to resume was made with another recipe. out_result may be NULL; it is filled
   for ZN_OK and ZN_STOPPED, and the caller destroys it. Bit-identical for any number of threads and any rerun. */
ZN_API zn_result zn_train_run(zn_net *net, const zn_pack *train_pack, const zn_pack *test_pack, const zn_train_opts *opts,
                              zn_train_result **out_result);
ZN_API void zn_train_result_destroy(zn_train_result *result);
/* History and recipe out of a checkpoint (latest.safetensors), whether its run has ended or goes on. The caller destroys
   the result. ZN_ERROR_FORMAT when it is no checkpoint. */
ZN_API zn_result zn_train_history(zn_ctx *ctx, const char *path, zn_train_result **out_result);

/* ==================================================================================================================
   API-MODEL  model files: safetensors and PyTorch checkpoints
   ================================================================================================================== */
/* A model file is a safetensors file whose tensors have the published names (specification section 3) and whose
   metadata make it complete: structure, attention, head, class names, how the input is made, eps. Python's safetensors
   package reads it as it is. Reading takes safetensors and PyTorch's .pth (zip and legacy), told apart by content, with
   float64, float32, float16 or bfloat16 values; a .pth is only ever data here: its pickle may build dicts and tensors,
   anything else is refused by name. Files are written beside their target and renamed when complete; a link stays a link, a
   device or pipe is written to. */

/* Writes the network as a model file; the same network gives the same bytes. ZN_ERROR_FILE. */
ZN_API zn_result zn_net_save(const zn_net *net, const char *path);
/* Builds the network that a model file describes. ZN_ERROR_FORMAT for files without our metadata (zn_net_load_checkpoint
   takes those), damaged ones, or ones that do not agree with themselves. The caller destroys the network. */
ZN_API zn_result zn_net_load(zn_ctx *ctx, const char *path, zn_net **out_net);

typedef enum zn_load_skip {
    ZN_SKIP_MISSING,    /* the network has it, the file does not */
    ZN_SKIP_UNEXPECTED, /* the file has it, the network does not */
    ZN_SKIP_MISSHAPED   /* the shapes differ; detail says how */
} zn_load_skip;
typedef struct zn_load_opts {
    int transfer; /* 0: strict, every tensor must be there with its shape and none be left over; 1: load what matches */
    void (*on_skip)(zn_load_skip why, const char *name, const char *detail, void *user); /* NULL, or hears of each */
    void *user;
} zn_load_opts;
typedef struct zn_load_report {
    int loaded, missing, unexpected, misshaped; /* tensors */
    int half;                                   /* loaded ones that were stored with 16 bits */
} zn_load_report;
/* Loads the values of a network's tensors. A prefix "module." is taken off, a dict around the state_dict (training
   checkpoints) opened, num_batches_tracked and what training keeps under "train." ignored. Strict failures are
   ZN_ERROR_MISMATCH, name the first few tensors, and leave the network as it was. opts, out_report may be NULL. */
ZN_API zn_result zn_net_load_tensors(zn_net *net, const char *path, const zn_load_opts *opts, zn_load_report *out_report);
/* Builds a network for a file that holds tensors only: opts say what it is, the file decides two things: the rule of
   projections (by whether their tensors are there), and the classes when opts->classes is 0. Loads strictly. */
ZN_API zn_result zn_net_load_checkpoint(zn_ctx *ctx, const char *path, const zn_net_opts *opts, zn_net **out_net);
/* Calls on_tensor for each tensor of a file, in its order: name, dtype ("F32", "I64", ...), sizes. on_metadata (may be
   NULL) for each pair of texts that a safetensors file holds. */
ZN_API zn_result zn_file_list(zn_ctx *ctx, const char *path, void (*on_tensor)(const char *name, const char *dtype, const int64_t *sizes, int dims, void *user),
                              void (*on_metadata)(const char *key, const char *value, void *user), void *user);

/* ==================================================================================================================
   API-INFER  inference sessions
   ================================================================================================================== */
/* A session is a network compiled for running: batch norms are folded into convolutions, ReLU, residual sums and attention
   into the loops that make or read a tensor, weights packed for the kernels, buffers planned once. It copies what it
   needs, so later changes of the network do not reach it, and its network may be destroyed first. Nothing is allocated
   after creation. One network serves any number of sessions; they run side by side, each called by one thread at a time,
   but are created and destroyed where their context is used, by one thread at a time. Results are the same bits for any
   number of threads and any batch; they equal zn_net_forward in evaluation mode within rounding. */
typedef struct zn_session_opts {
    int batch;        /* most images of one zn_session_run; 1; 1..65536 */
    int resolution;   /* side of the input, pixels, to ZN_MAX_INPUT_SIZE; 0: the size that the network's zn_input says */
    int threads;      /* threads of a run, to 1024; 0: as many as OpenMP gives when the session is made */
    int picture_side; /* largest side of pictures for zn_session_classify_rgb, to ZN_MAX_IMAGE_SIDE; 4096; 0: no pictures */
} zn_session_opts;
typedef struct zn_session zn_session; /* opaque */

ZN_API zn_session_opts zn_session_opts_default(void);
/* Bytes that a session takes, all of them. NULL opts: defaults. Errors as for creating one. */
ZN_API zn_result zn_session_bytes(const zn_net *net, const zn_session_opts *opts, size_t *out_bytes);
/* ZN_ERROR_ARGUMENT: options out of bounds, or a map smaller than a kernel at this resolution. */
ZN_API zn_result zn_session_create(const zn_net *net, const zn_session_opts *opts, zn_session **out_session);
/* The same in the caller's memory, at least zn_session_bytes of any alignment, which outlives the session. */
ZN_API zn_result zn_session_create_in(const zn_net *net, const zn_session_opts *opts, void *memory, size_t bytes,
                                      zn_session **out_session);
ZN_API void zn_session_destroy(zn_session *session);
ZN_API int zn_session_resolution(const zn_session *session);
ZN_API int zn_session_classes(const zn_session *session);
/* x: count x 3 x R x R, normalised as in training; logits: count x classes. 1 <= count <= batch. Leaves no text in the
   context: any thread may call it. */
ZN_API zn_result zn_session_run(zn_session *session, const zn_real *x, int count, zn_real *logits);
/* 8-bit RGB pixels, rows of width from the top -> softmax over the classes and the likeliest of them; either may be NULL.
   The picture is resized, cropped and normalised as the network's zn_input says. ZN_ERROR_ARGUMENT: a side above
   picture_side, a box outside. ZN_ERROR_NUMBER: a logit is NaN or infinite, the weights are spoilt. */
ZN_API zn_result zn_session_classify_rgb(zn_session *session, const unsigned char *rgb, int width, int height, zn_real *prob,
                                         int *out_best);
ZN_API zn_result zn_session_classify_box(zn_session *session, const unsigned char *rgb, int width, int height, int x, int y,
                                         int box_w, int box_h, zn_real *prob, int *out_best);
/* What a session does, step by step (the head is the last one), and how long each takes. */
typedef struct zn_step_info {
    const char *kind;               /* "conv", "depthwise", "grouped", "map", "max_pool", "avg_pool", "statistics", "head";
                                       "with next", "with previous": done and counted within the step that follows or precedes it */
    int in, out, kernel, stride, groups, in_size, out_size;
    int gated, summed, measured;    /* reads through attention's gates; adds a residual; leaves statistics for attention */
    double macs, bytes;             /* multiply-adds; bytes that must be read and written at least, weights included */
} zn_step_info;
ZN_API int zn_session_step_count(const zn_session *session);
/* Past the end ZN_ERROR_ARGUMENT without words. */
ZN_API zn_result zn_session_step_info(const zn_session *session, int index, zn_step_info *out_info);
/* Runs one image, x 3 x R x R, on the calling thread alone; seconds: one value for each step. */
ZN_API zn_result zn_session_time_steps(zn_session *session, const zn_real *x, double *seconds);
/* Grad-CAM (arXiv 1610.02391) of the last picture or run of one image: how much each place of the last feature map speaks
   for a class, F x F values, negative ones set to 0, not scaled. */
ZN_API int zn_session_map_size(const zn_session *session); /* F */
ZN_API zn_result zn_session_grad_cam(const zn_session *session, int class_index, zn_real *out_map);

/* ==================================================================================================================
   API-ONNX  export to ONNX
   ================================================================================================================== */
/* Writes the network in evaluation mode as an ONNX file: opset 13, float32, input "input" batch x 3 x resolution x
   resolution (normalised as zn_net_get_input says), output "logits" batch x classes. batch 0: any batch. Weights keep
   their published names. How pictures become inputs, and the names of the classes, stand in its metadata. Equal
   networks give equal bytes; the file is replaced atomically. Errors: a batch above 65536, a resolution that leaves
   nothing of a map (ZN_ERROR_STRUCTURE), more than the 2 GiB that the format holds (ZN_ERROR_UNSUPPORTED), the file. */
ZN_API zn_result zn_net_export_onnx(const zn_net *net, const char *path, int resolution, int batch);

/* ==================================================================================================================
   API-REPORT  what people look at: report.html, curves, confusion matrix
   ================================================================================================================== */
typedef struct zn_report_opts { /* what is NULL is left out */
    const char *title;             /* "Training report" */
    const zn_train_result *result; /* history and recipe: of zn_train_run or zn_train_history */
    const zn_metrics *metrics;     /* how good the network is */
    const zn_pack *pack;           /* of whose split the metrics are: hash, counts, the worst mistakes as thumbnails */
    zn_split split;                /* TEST */
    int mistakes, thumbnail;       /* 24 of them, their side 72 pixels; 0..200, 16..256 */
    const char *command, *machine; /* texts for the end: how to do it again, on what it ran */
} zn_report_opts;
ZN_API zn_report_opts zn_report_opts_default(void);
/* Writes one self-contained HTML file, which needs no network to be looked at: accuracies, curves over the epochs, recall
   and precision of the classes, confusion matrix, the mistakes that the network was surest of, the whole recipe with
   seeds and the hash of the data. Replaces the file when complete. ZN_ERROR_FILE, or what reading the pack gives. */
ZN_API zn_result zn_report_write(const zn_net *net, const zn_report_opts *opts, const char *path);

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
#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#else
#define ZNI_POSIX 0
#endif
/* Strict C hides pread and readlink unless _POSIX_C_SOURCE asks for them. */
#if ZNI_POSIX && ((defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 200809L) || (!defined(_POSIX_C_SOURCE) && !defined(__STRICT_ANSI__)))
#define ZNI_POSIX_2008 1
#else
#define ZNI_POSIX_2008 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ZNI_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZNI_WATCHED 1
#endif
#endif
#ifndef ZNI_WATCHED
#define ZNI_WATCHED 0 /* by a sanitizer of addresses */
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

static int zni_thread(void) ZNI_UNUSED;
static int zni_thread(void) { /* 0 .. zni_max_threads() - 1 */
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

#define ZNI_PARALLEL_MIN 16384 /* values below which a second thread costs more than it brings */

/* Counters that several threads move: what was written before counting up is seen by whoever waited for the count. */
static int zni_count_up(int *counter, int by) ZNI_UNUSED;
static int zni_count_up(int *counter, int by) { /* returns what it was */
    int before;
    ZNI_OMP(flush)
    ZNI_OMP(atomic capture)
    { before = *counter; *counter += by; }
    ZNI_OMP(flush)
    return before;
}
static void zni_wait_for(int *counter, int least) ZNI_UNUSED;
static void zni_wait_for(int *counter, int least) {
    int now, tries;
    for (tries = 0;; ++tries) {
        ZNI_OMP(atomic read)
        now = *counter;
        ZNI_OMP(flush)
        if (now >= least) return;
#if ZNI_POSIX
        if (tries > 2000) sched_yield();
#endif
    }
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
    void *base;   /* NULL: cut from a slab */
    size_t bytes;
} zni_block_header;

#define ZNI_PI 3.14159265358979323846
#define ZNI_CACHE_LISTS 15
#define ZNI_ALIGN 64 /* one cache line and one 512-bit vector */

struct zn_ctx {
    zn_ctx_opts opts;
    zn_result code;
    char text[ZNI_MESSAGE_SIZE];
    struct zn_tensor *tape;    /* results of operations, newest first; dropped by zn_tape_clear */
    struct zn_tensor *tensors; /* created tensors, newest first; dropped with the context */
    int no_grad;               /* depth of zn_no_grad_begin */
    size_t bytes, peak_bytes;  /* allocated now, and at most so far */
    struct zni_cached_block *cache[ZNI_CACHE_LISTS]; /* freed small buffers kept for the next step, by their size */
    struct zni_slab *slabs;    /* what large buffers are cut from, oldest first */
    size_t slab_bytes, joined; /* of all slabs; what they shall be together, the next filling up to it */
    size_t lent, most_lent;    /* cut from slabs now, and at most so far */
    const struct zni_kernels *kernels; /* compiled for this machine; NULL until first asked for */
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

/* What a public function says that was given NULL where it takes none; ctx may be NULL itself. */
static zn_result zni_null(zn_ctx *ctx, const char *function) { return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: NULL was passed", function); }

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
    if (memory != NULL && bytes < SIZE_MAX) memset(memory, 0, bytes); /* the second is always so; it tells gcc, which warns without it */
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

/* ---- buffers that come and go in every training step, kept in the context: fresh pages from the system would cost more
   than the arithmetic. Small ones hang in lists by size. Large ones are cut from slabs, each from the first gap that
   holds it, and gaps that touch join: on its way back a step frees many small maps before it asks for large ones. When a
   step took several slabs, the next gets a single one of what was lent at most. (At batch 16 of ZenNet-M 26.3 MB an image
   are lent at most and 26.4 touched; from the smallest gaps 29.4, from lists by size 45.7. Of -R 47.3, 48.2, 48.2, 59.1.) ---- */
#define ZNI_LARGE ((size_t)16384) /* bytes from which a buffer is cut from a slab */
#define ZNI_CUTS_SLABS (!ZNI_WATCHED) /* else every buffer is a slab of its own, so that its ends are watched */

typedef struct zni_cached_block { /* written into the freed buffer itself */
    struct zni_cached_block *next;
} zni_cached_block;
typedef struct zni_gap { /* the first bytes of a gap, and of the ZNI_ALIGN in front of a large buffer */
    struct zni_slab *slab;
    struct zni_gap *next; /* by address */
    size_t bytes;         /* with these */
} zni_gap;
typedef struct zni_slab { /* the first ZNI_ALIGN bytes of it */
    struct zni_slab *next;
    zni_gap *gaps;
    size_t bytes; /* behind these */
} zni_slab;

static zni_block_header zni_header_of(const void *memory) {
    union { const void *in; const unsigned char *out; } p;
    zni_block_header header;
    p.in = memory;
    memcpy(&header, p.out - sizeof header, sizeof header);
    return header;
}
static size_t zni_buffer_bytes(const void *memory) { return zni_header_of(memory).bytes; }
ZNI_INLINE unsigned char *zni_gap_end(zni_gap *gap) { return (unsigned char *)gap + gap->bytes; }

/* Where the only gap of a new slab hangs, of at least `bytes`; NULL when memory is out. */
static zni_gap **zni_slab_add(zn_ctx *ctx, size_t bytes) {
    size_t room = bytes > ctx->slab_bytes / 4 ? bytes : ctx->slab_bytes / 4;
    zni_slab *slab, **at = &ctx->slabs;
    if (ctx->joined > ctx->slab_bytes && room < ctx->joined - ctx->slab_bytes) room = ctx->joined - ctx->slab_bytes;
    if (!ZNI_CUTS_SLABS) room = bytes;
    slab = (zni_slab *)zni_alloc(ctx, zni_size_add(room, ZNI_ALIGN));
    if (slab == NULL) return NULL;
    slab->next = NULL;
    slab->bytes = room;
    slab->gaps = (zni_gap *)(void *)((unsigned char *)slab + ZNI_ALIGN);
    slab->gaps->slab = slab;
    slab->gaps->next = NULL;
    slab->gaps->bytes = room;
    while (*at != NULL) at = &(*at)->next;
    *at = slab;
    ctx->slab_bytes += room;
    return &slab->gaps;
}
static void *zni_slab_take(zn_ctx *ctx, size_t bytes) {
    size_t whole = zni_size_add(bytes, 2 * ZNI_ALIGN - 1) / ZNI_ALIGN * ZNI_ALIGN;
    zni_slab *slab;
    zni_gap **at = NULL, *gap, *rest;
    zni_block_header header;
    for (slab = ctx->slabs; slab != NULL && (at == NULL || *at == NULL); slab = slab->next)
        for (at = &slab->gaps; *at != NULL && ((*at)->bytes < whole || (!ZNI_CUTS_SLABS && (*at)->bytes - whole > whole / 8));) at = &(*at)->next;
    if (at == NULL || *at == NULL) at = zni_slab_add(ctx, whole);
    if (at == NULL) return NULL;
    gap = *at;
    if (gap->bytes - whole >= ZNI_LARGE && ZNI_CUTS_SLABS) {
        rest = (zni_gap *)(void *)((unsigned char *)gap + whole);
        *rest = *gap;
        rest->bytes -= whole;
        gap->bytes = whole;
        *at = rest;
    } else *at = gap->next;
    ctx->lent += gap->bytes;
    if (ctx->lent > ctx->most_lent) ctx->most_lent = ctx->lent;
    header.base = NULL;
    header.bytes = gap->bytes - ZNI_ALIGN;
    memcpy((unsigned char *)gap + ZNI_ALIGN - sizeof header, &header, sizeof header);
    return (unsigned char *)gap + ZNI_ALIGN;
}
static void zni_slab_give(zn_ctx *ctx, void *memory) {
    zni_gap *gap = (zni_gap *)(void *)((unsigned char *)memory - ZNI_ALIGN), *before = NULL, **at;
    for (at = &gap->slab->gaps; *at != NULL && *at < gap; at = &(*at)->next) before = *at;
    ctx->lent -= gap->bytes;
    gap->next = *at;
    *at = gap;
    if (gap->next != NULL && zni_gap_end(gap) == (unsigned char *)gap->next) {
        gap->bytes += gap->next->bytes;
        gap->next = gap->next->next;
    }
    if (before == NULL || zni_gap_end(before) != (unsigned char *)gap) return;
    before->bytes += gap->bytes;
    before->next = gap->next;
}
static int zni_slab_unused(const zni_slab *slab) { return slab->gaps != NULL && slab->gaps->bytes == slab->bytes; }
static void zni_slabs_free(zn_ctx *ctx) {
    zni_slab **at = &ctx->slabs, *slab;
    while ((slab = *at) != NULL) {
        if (!zni_slab_unused(slab)) {
            at = &slab->next;
            continue;
        }
        *at = slab->next;
        ctx->slab_bytes -= slab->bytes;
        zni_free(ctx, slab);
    }
}
/* After a step that took clearly more than any before: of several free slabs one is to be made, a little larger than what was
   lent. (For a few bytes more it would cost what fresh pages cost: 0.3 s at batch 64 of ZenNet-M.) */
static void zni_slabs_join(zn_ctx *ctx) {
    size_t wanted = ctx->most_lent + ctx->most_lent / 32;
    const zni_slab *slab;
    int count = 0;
    for (slab = ctx->slabs; slab != NULL; slab = slab->next) count += zni_slab_unused(slab);
    if (count < 2 || wanted <= ctx->joined + ctx->joined / 32 || !ZNI_CUTS_SLABS) return;
    ctx->joined = wanted;
    zni_slabs_free(ctx);
}

/* They hang in a list for each power of two, so that few are looked at: the header of each costs a miss of the cache. */
static int zni_buffer_list(size_t bytes) {
    int list = 0;
    while (list < ZNI_CACHE_LISTS - 1 && (bytes >>= 1) > 0) ++list;
    return list;
}
static void zni_cache_flush(zn_ctx *ctx) {
    int list;
    for (list = 0; list < ZNI_CACHE_LISTS; ++list)
        while (ctx->cache[list] != NULL) {
            zni_cached_block *block = ctx->cache[list];
            ctx->cache[list] = block->next;
            zni_free(ctx, block);
        }
    zni_slabs_free(ctx);
}
/* Smallest cached buffer that fits and wastes at most an eighth, or fresh memory. */
static void *zni_buffer_take(zn_ctx *ctx, size_t bytes) {
    zni_cached_block **at, **best = NULL;
    size_t wasted;
    int list, last;
    if (bytes >= ZNI_LARGE) return zni_slab_take(ctx, bytes);
    if (bytes < sizeof(zni_cached_block)) bytes = sizeof(zni_cached_block);
    wasted = bytes / 8 + 1;
    last = zni_buffer_list(bytes + bytes / 8);
    for (list = zni_buffer_list(bytes); list <= last && best == NULL; ++list)
        for (at = &ctx->cache[list]; *at != NULL && wasted > 0; at = &(*at)->next) {
            size_t have = zni_buffer_bytes(*at);
            if (have < bytes || have - bytes >= wasted) continue;
            wasted = have - bytes;
            best = at;
        }
    if (best != NULL) {
        zni_cached_block *block = *best;
        *best = block->next;
        return block;
    }
    return zni_alloc(ctx, bytes);
}
static void zni_buffer_give(zn_ctx *ctx, void *memory) {
    zni_cached_block *block = (zni_cached_block *)memory;
    zni_block_header header;
    int list;
    if (memory == NULL) return;
    header = zni_header_of(memory);
    if (header.base == NULL) {
        zni_slab_give(ctx, memory);
        return;
    }
    list = zni_buffer_list(header.bytes);
    block->next = ctx->cache[list];
    ctx->cache[list] = block;
}
static zn_real *zni_reals_take(zn_ctx *ctx, size_t count) { return (zn_real *)zni_buffer_take(ctx, zni_size_mul(count, sizeof(zn_real))); }

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
/* Bytes of the UTF-8 character that text begins with; 0 when it is none. */
static size_t zni_utf8(const char *text) ZNI_UNUSED;
static size_t zni_utf8(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    size_t bytes = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0, i;
    for (i = 1; i < bytes; ++i)
        if ((p[i] & 0xc0) != 0x80) return 0;
    /* longer than needed, surrogates, above U+10FFFF */
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)) return 0;
    return bytes;
}
/* What is wrong with the names of classes, or NULL. plain: they shall stand in lines of logs. */
static const char *zni_class_names_fault(const char *const *names, int count, int plain) ZNI_UNUSED;
static const char *zni_class_names_fault(const char *const *names, int count, int plain) {
    int i, j;
    for (i = 0; i < count; ++i) {
        const char *c = names[i];
        if (c == NULL || *c == '\0') return "a class name is empty";
        for (; *c != '\0'; c += zni_utf8(c)) {
            if (plain && ((unsigned char)*c < 32 || *c == 127)) return "a class name holds control characters";
            if (zni_utf8(c) == 0) return "a class name is not UTF-8";
        }
        for (j = 0; j < i; ++j)
            if (strcmp(names[i], names[j]) == 0) return "two classes have one name";
    }
    return NULL;
}

static char *zni_copy_text(zn_ctx *ctx, const char *text) ZNI_UNUSED;
static char *zni_copy_text(zn_ctx *ctx, const char *text) {
    size_t length = strlen(text);
    char *copy = (char *)zni_alloc(ctx, zni_size_add(length, 1));
    if (copy != NULL) memcpy(copy, text, length + 1);
    return copy;
}

/* Index of a text in a table of names, -1 when it is not there or NULL. */
static int zni_find_name(const char *const *names, int count, const char *text) {
    int i;
    for (i = 0; text != NULL && i < count; ++i)
        if (strcmp(names[i], text) == 0) return i;
    return -1;
}

/* ASCII whatever the locale. */
ZNI_INLINE int zni_is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }
ZNI_INLINE int zni_is_digit(char c) { return c >= '0' && c <= '9'; }
ZNI_INLINE int zni_is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

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

#define ZNI_PATH_SIZE 4096
/* Where a chain of symbolic links ends, so that links stay links; there need not be anything. 0, and errno says why, for one
   without an end. */
static int zni_follow_links(const char *path, char to[ZNI_PATH_SIZE]) {
    int length = snprintf(to, ZNI_PATH_SIZE, "%s", path), hops = 0;
#if ZNI_POSIX_2008
    char target[ZNI_PATH_SIZE];
    ssize_t got;
    for (; length < ZNI_PATH_SIZE && hops < 40 && (got = readlink(to, target, sizeof target - 1)) > 0; ++hops) {
        const char *slash = strrchr(to, '/');
        int before = target[0] != '/' && slash != NULL ? (int)(slash + 1 - to) : 0;
        length = before + snprintf(to + before, (size_t)(ZNI_PATH_SIZE - before), "%.*s", (int)got, target);
    }
#endif
    errno = hops == 40 ? ELOOP : ENAMETOOLONG;
    return length < ZNI_PATH_SIZE && hops < 40;
}
/* Whether a device or a pipe is there, which is written to and not replaced. */
static int zni_is_special(const char *path) {
#if ZNI_POSIX
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
#else
    (void)path;
    return 0;
#endif
}
/* Opens the file that gets another's name when it is complete. Two processes that write one name would tear it: the second is
   refused (where locks are to be had). */
static FILE *zni_open_part(const char *path) {
#if ZNI_POSIX_2008
    struct stat mine, there;
    struct flock lock;
    FILE *file = NULL;
    int fd, tries;
    for (tries = 0; tries < 100; ++tries) {
        fd = open(path, O_RDWR | O_CREAT, 0666);
        if (fd < 0) return NULL;
        memset(&lock, 0, sizeof lock);
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        if (fcntl(fd, F_SETLK, &lock) != 0 && (errno == EACCES || errno == EAGAIN)) break;
        if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) { /* else it has got its name meanwhile */
            if (ftruncate(fd, 0) == 0) file = fdopen(fd, "wb");
            if (file == NULL) close(fd);
            return file;
        }
        close(fd);
    }
    if (tries < 100) close(fd);
    errno = EBUSY; /* another process is writing it */
    return NULL;
#else
    return fopen(path, "wb");
#endif
}
/* A file being written; zni_replace_end renames it into place or removes it. Errors stick in `failed`. */
typedef struct zni_replace {
    zn_ctx *ctx;
    FILE *file;
    char *path, *temporary; /* the same for a device */
    int failed;
} zni_replace;

static zn_result zni_replace_begin(zni_replace *r, zn_ctx *ctx, const char *path) ZNI_UNUSED;
static zn_result zni_replace_begin(zni_replace *r, zn_ctx *ctx, const char *path) {
    char end[ZNI_PATH_SIZE];
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    if (!zni_follow_links(path, end)) return zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s", path, strerror(errno));
    r->path = zni_copy_text(ctx, end);
    r->temporary = (char *)zni_alloc(ctx, strlen(end) + 16);
    if (r->path != NULL && r->temporary != NULL) {
        int special = zni_is_special(end);
        sprintf(r->temporary, special ? "%s" : "%s.part", end);
        r->file = special ? fopen(end, "wb") : zni_open_part(r->temporary);
        if (r->file != NULL) return ZN_OK;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s", r->temporary, errno == EBUSY ? "another process is writing it" : strerror(errno));
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
    int bad = r->failed || !keep, aside = r->file != NULL && strcmp(r->path, r->temporary) != 0;
    if (r->file == NULL) return ctx != NULL && ctx->code != ZN_OK ? ctx->code : ZN_ERROR_FILE;
    if (fflush(r->file) != 0 && !bad) {
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199506L
    if (!bad && fsync(fileno(r->file)) != 0 && aside && errno != EINVAL) { /* so that the rename never gets to the disk before the bytes */
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
#endif
#if !ZNI_POSIX
    if (fclose(r->file) != 0 && !bad) { /* an open file can have no other name here, and rename does not replace */
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot write: %s (disk full?)", r->temporary, strerror(errno));
    }
    if (!bad) remove(r->path);
#endif
    if (!bad && aside && rename(r->temporary, r->path) != 0) {
        bad = 1;
        zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot replace: %s", r->path, strerror(errno));
    }
    if (bad && aside) remove(r->temporary);
#if ZNI_POSIX
    fclose(r->file); /* whose lock it was; nothing is left to be written */
#endif
    zni_free(ctx, r->path);
    zni_free(ctx, r->temporary);
    memset(r, 0, sizeof *r);
    return !bad ? ZN_OK : ctx->code != ZN_OK ? ctx->code : ZN_ERROR_FILE;
}

/* A file that stays on disk and is read in parts, from any thread. It is held in memory when it has at most `limit` bytes
   or the system cannot read at a place. Not a mapping: whoever reads one is killed when somebody shortens its file. */
typedef struct zni_disk {
    unsigned char *bytes; /* the whole file, or NULL */
    size_t size;
#if ZNI_POSIX_2008
    int fd; /* of a file on disk: this very file, whatever its name is now */
    time_t modified;
#endif
} zni_disk;

static void zni_disk_close(zn_ctx *ctx, zni_disk *d) ZNI_UNUSED;
static void zni_disk_close(zn_ctx *ctx, zni_disk *d) {
#if ZNI_POSIX_2008
    if (d->bytes == NULL && d->size > 0) close(d->fd);
#endif
    zni_free(ctx, d->bytes);
    memset(d, 0, sizeof *d);
}
static zn_result zni_disk_open(zn_ctx *ctx, const char *path, size_t limit, zni_disk *d) ZNI_UNUSED;
static zn_result zni_disk_open(zn_ctx *ctx, const char *path, size_t limit, zni_disk *d) {
    memset(d, 0, sizeof *d);
#if ZNI_POSIX_2008
    {
        struct stat info;
        d->fd = open(path, O_RDONLY);
        if (d->fd < 0) return zni_fail(ctx, ZN_ERROR_FILE, "%s: cannot open: %s", path, strerror(errno));
        if (fstat(d->fd, &info) == 0 && S_ISREG(info.st_mode) && (uintmax_t)info.st_size > limit && (uintmax_t)info.st_size <= SIZE_MAX) {
            d->size = (size_t)info.st_size;
            d->modified = info.st_mtime;
            return ZN_OK;
        }
        close(d->fd);
    }
#else
    (void)limit;
#endif
    return zni_file_read(ctx, path, (size_t)1 << 30, &d->bytes, &d->size); /* what is no file on disk may never end */
}
/* size bytes from `offset` to `to`; 0 when they cannot be had. */
static int zni_disk_read(const zni_disk *d, size_t offset, size_t size, void *to) ZNI_UNUSED;
static int zni_disk_read(const zni_disk *d, size_t offset, size_t size, void *to) {
    if (offset > d->size || size > d->size - offset) return 0;
    if (d->bytes != NULL) memcpy(to, d->bytes + offset, size);
#if ZNI_POSIX_2008
    for (; d->bytes == NULL && size > 0;) {
        ssize_t got = pread(d->fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        to = (unsigned char *)to + got;
        offset += (size_t)got;
        size -= (size_t)got;
    }
#endif
    return 1;
}
/* Whether a file on disk got another size or time of change since it was opened; a copy in memory never changes. */
static int zni_disk_changed(const zni_disk *d) ZNI_UNUSED;
static int zni_disk_changed(const zni_disk *d) {
#if ZNI_POSIX_2008
    struct stat info;
    if (d->bytes == NULL && d->size > 0) return fstat(d->fd, &info) != 0 || (uintmax_t)info.st_size != d->size || info.st_mtime != d->modified;
#else
    (void)d;
#endif
    return 0;
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
/* Many normal numbers at a tenth of zn_rng_normal's price: the ziggurat of Marsaglia & Tsang (2000) in Doornik's form.
   edge[i] is the right end of layer i, ratio[i] the share of it that lies under the layer above. */
#define ZNI_LAYERS 128
typedef struct zni_ziggurat {
    double edge[ZNI_LAYERS + 1], ratio[ZNI_LAYERS];
} zni_ziggurat;

static void zni_ziggurat_make(zni_ziggurat *z) {
    double tail = 3.442619855899, area = 9.91256303526217e-3, f = exp(-0.5 * tail * tail);
    int i;
    z->edge[0] = area / f;
    z->edge[1] = tail;
    z->edge[ZNI_LAYERS] = 0.0;
    for (i = 2; i < ZNI_LAYERS; ++i) {
        z->edge[i] = sqrt(-2.0 * log(area / z->edge[i - 1] + f));
        f = exp(-0.5 * z->edge[i] * z->edge[i]);
    }
    for (i = 0; i < ZNI_LAYERS; ++i) z->ratio[i] = z->edge[i + 1] / z->edge[i];
}
/* What the quick test did not settle: the tail, and the wedge between two layers. NaN: draw again. */
static double zni_ziggurat_slow(const zni_ziggurat *z, zn_rng *rng, int layer, double u) {
    double x, y, f0, f1;
    if (layer == 0) {
        do {
            x = log(1.0 - zn_rng_uniform(rng)) / z->edge[1];
            y = log(1.0 - zn_rng_uniform(rng));
        } while (-2.0 * y < x * x);
        return u < 0.0 ? x - z->edge[1] : z->edge[1] - x;
    }
    x = u * z->edge[layer];
    f0 = exp(-0.5 * (z->edge[layer] * z->edge[layer] - x * x));
    f1 = exp(-0.5 * (z->edge[layer + 1] * z->edge[layer + 1] - x * x));
    return f1 + zn_rng_uniform(rng) * (f0 - f1) < 1.0 ? x : (double)NAN;
}
static void zni_normals(const zni_ziggurat *z, zn_rng *rng, zn_real *values, size_t count, double deviation) {
    size_t i;
    for (i = 0; i < count; ++i) {
        double x;
        do {
            uint64_t bits = zn_rng_next(rng);
            int layer = (int)(bits & (ZNI_LAYERS - 1)); /* the low bits choose a layer, the high ones a place in it */
            double u = (double)(int64_t)(bits >> 11) * (2.0 / 9007199254740992.0) - 1.0;
            x = fabs(u) < z->ratio[layer] ? u * z->edge[layer] : zni_ziggurat_slow(z, rng, layer, u);
        } while (isnan(x));
        values[i] = (zn_real)(deviation * x);
    }
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
   ------------------------------------------------------------------------------------------------------------------
   Plain loops over rows; threads share planes or channels, each value is written by one thread and summed in a fixed
   order, so results do not depend on how many there are.
   ================================================================================================================== */

/* ---- convolution, plain: the definition that the fast kernels are tested against, and what tiny maps run on ---- */
typedef struct zni_conv_shape { /* x n c h w, weights o c/groups k k, y n o oh ow */
    int n, c, h, w, o, k, stride, padding, groups, oh, ow;
} zni_conv_shape;

/* Output positions [*first, *last) whose tap `tap` of the kernel falls inside a row (or column) of `size` values. */
static void zni_conv_range(int size, int out, int tap, int stride, int padding, int *first, int *last) {
    int low = padding - tap, high = size - 1 + padding - tap; /* low <= stride * i <= high */
    *first = low > 0 ? (low + stride - 1) / stride : 0;
    *last = high < 0 ? 0 : high / stride + 1;
    if (*last > out) *last = out;
    if (*first > *last) *first = *last;
}

/* One tap between an input plane and an output plane: forward y += t * x, for the data's gradient dx += t * dy. Rows
   are the inner loops, so that compilers vectorise them. */
enum { ZNI_TAP_FORWARD, ZNI_TAP_DATA };
static void zni_conv_tap(const zni_conv_shape *s, int mode, int ki, int kj, zn_real t, zn_real *ZNI_RESTRICT to, const zn_real *ZNI_RESTRICT from) {
    int i, j, i0, i1, j0, j1;
    zni_conv_range(s->h, s->oh, ki, s->stride, s->padding, &i0, &i1);
    zni_conv_range(s->w, s->ow, kj, s->stride, s->padding, &j0, &j1);
    for (i = i0; i < i1; ++i) {
        ptrdiff_t in = (ptrdiff_t)(i * s->stride + ki - s->padding) * s->w + (j0 * s->stride + kj - s->padding), out = (ptrdiff_t)i * s->ow + j0;
        zn_real *ZNI_RESTRICT a = to + (mode == ZNI_TAP_FORWARD ? out : in);
        const zn_real *ZNI_RESTRICT b = from + (mode == ZNI_TAP_FORWARD ? in : out);
        int count = j1 - j0, stride = s->stride;
        if (stride == 1)
            for (j = 0; j < count; ++j) a[j] += t * b[j];
        else if (mode == ZNI_TAP_FORWARD)
            for (j = 0; j < count; ++j) a[j] += t * b[(ptrdiff_t)j * stride];
        else
            for (j = 0; j < count; ++j) a[(ptrdiff_t)j * stride] += t * b[j];
    }
}
/* Sum of dy * x over one tap; eight partial sums in a fixed order, in double across rows. */
static double zni_conv_tap_sum(const zni_conv_shape *s, int ki, int kj, const zn_real *x, const zn_real *dy) {
    int i, j, l, i0, i1, j0, j1;
    double sum = 0.0;
    zni_conv_range(s->h, s->oh, ki, s->stride, s->padding, &i0, &i1);
    zni_conv_range(s->w, s->ow, kj, s->stride, s->padding, &j0, &j1);
    for (i = i0; i < i1; ++i) {
        const zn_real *a = x + (ptrdiff_t)(i * s->stride + ki - s->padding) * s->w + (j0 * s->stride + kj - s->padding), *b = dy + (ptrdiff_t)i * s->ow + j0;
        zn_real part[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        int count = j1 - j0;
        if (s->stride == 1)
            for (j = 0; j + 8 <= count; j += 8)
                for (l = 0; l < 8; ++l) part[l] += a[j + l] * b[j + l];
        else
            for (j = 0; j + 8 <= count; j += 8)
                for (l = 0; l < 8; ++l) part[l] += a[(ptrdiff_t)(j + l) * s->stride] * b[j + l];
        for (; j < count; ++j) part[0] += a[(ptrdiff_t)j * s->stride] * b[j];
        sum += (double)((part[0] + part[4]) + (part[1] + part[5])) + (double)((part[2] + part[6]) + (part[3] + part[7]));
    }
    return sum;
}

#define ZNI_CONV_PARALLEL 65536.0 /* multiply-adds below which one thread is enough */
#define ZNI_CONV_FAST 8192.0 /* multiply-adds from which packing pays; maps need it */
ZNI_INLINE double zni_conv_work(const zni_conv_shape *s) {
    return (double)s->n * s->o * s->oh * s->ow * (s->c / s->groups) * s->k * s->k;
}

/* y = w * x + bias. Parallel over output planes, each written by one thread. */
static void zni_conv2d_plain_forward(const zni_conv_shape *s, const zn_real *x, const zn_real *w, const zn_real *bias, zn_real *y) {
    int per = s->c / s->groups, outs = s->o / s->groups, planes = s->n * s->o, plane;
    size_t in = (size_t)s->h * (size_t)s->w, out = (size_t)s->oh * (size_t)s->ow;
    ZNI_OMP(parallel for if (zni_conv_work(s) > ZNI_CONV_PARALLEL))
    for (plane = 0; plane < planes; ++plane) {
        int n = plane / s->o, o = plane % s->o, c, tap;
        zn_real *to = y + (size_t)plane * out;
        const zn_real *from = x + ((size_t)n * (size_t)s->c + (size_t)(o / outs * per)) * in, *weights = w + (size_t)o * (size_t)(per * s->k * s->k);
        size_t i;
        for (i = 0; i < out; ++i) to[i] = bias != NULL ? bias[o] : 0;
        for (c = 0; c < per; ++c)
            for (tap = 0; tap < s->k * s->k; ++tap) zni_conv_tap(s, ZNI_TAP_FORWARD, tap / s->k, tap % s->k, weights[c * s->k * s->k + tap], to, from + (size_t)c * in);
    }
}
/* dx (+)= w^T * dy. Parallel over input planes. */
static void zni_conv2d_plain_backward_data(const zni_conv_shape *s, const zn_real *dy, const zn_real *w, zn_real *dx, int add) {
    int per = s->c / s->groups, outs = s->o / s->groups, planes = s->n * s->c, plane;
    size_t in = (size_t)s->h * (size_t)s->w, out = (size_t)s->oh * (size_t)s->ow;
    ZNI_OMP(parallel for if (zni_conv_work(s) > ZNI_CONV_PARALLEL))
    for (plane = 0; plane < planes; ++plane) {
        int n = plane / s->c, c = plane % s->c, o, tap, group = c / per;
        zn_real *to = dx + (size_t)plane * in;
        if (!add) memset(to, 0, in * sizeof(zn_real));
        for (o = group * outs; o < (group + 1) * outs; ++o) {
            const zn_real *weights = w + ((size_t)o * (size_t)per + (size_t)(c % per)) * (size_t)(s->k * s->k);
            for (tap = 0; tap < s->k * s->k; ++tap)
                zni_conv_tap(s, ZNI_TAP_DATA, tap / s->k, tap % s->k, weights[tap], to, dy + ((size_t)n * (size_t)s->o + (size_t)o) * out);
        }
    }
}
/* dw += dy * x^T. Parallel over output channels, the batch in order. */
static void zni_conv2d_plain_backward_weights(const zni_conv_shape *s, const zn_real *x, const zn_real *dy, zn_real *dw) {
    int per = s->c / s->groups, outs = s->o / s->groups, o;
    size_t in = (size_t)s->h * (size_t)s->w, out = (size_t)s->oh * (size_t)s->ow;
    ZNI_OMP(parallel for if (zni_conv_work(s) > ZNI_CONV_PARALLEL))
    for (o = 0; o < s->o; ++o) {
        int n, c, tap, taps = s->k * s->k;
        for (c = 0; c < per; ++c)
            for (tap = 0; tap < taps; ++tap) {
                double sum = 0.0;
                for (n = 0; n < s->n; ++n)
                    sum += zni_conv_tap_sum(s, tap / s->k, tap % s->k, x + ((size_t)n * (size_t)s->c + (size_t)(o / outs * per + c)) * in,
                                            dy + ((size_t)n * (size_t)s->o + (size_t)o) * out);
                dw[((size_t)o * (size_t)per + (size_t)c) * (size_t)taps + (size_t)tap] += (zn_real)sum;
            }
    }
}

/* ---- one body, several instruction sets ---- */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#define ZNI_UNROLL _Pragma("clang loop unroll(full)") /* plain `unroll` would unroll by 2, and no further, what still lacks its constants */
#define ZNI_ROLLED _Pragma("clang loop unroll(disable)")
#define ZNI_LANEWISE ZNI_ROLLED /* a loop over lanes: unrolled, it would become one of single values, or of gathered ones */
/* clang 14 makes its vectors no wider than what is stored side by side, in blocks 8 values; unless all sums are first put down
   in memory and taken up from there by a loop that it may not unroll (AVX-512: ZenNet-M 5.5 instead of 11 ms, -R 6.2 instead
   of 12; AVX2 4 % slower). */
#define ZNI_SETTLES 1
#define ZNI_VECTORISE
#elif defined(__GNUC__)
#define ZNI_UNROLL _Pragma("GCC unroll 16")
#define ZNI_ROLLED ZNI_UNROLL
#define ZNI_LANEWISE
/* -O2 vectorises little, and -O3 unrolls the lanes before it would vectorise them (4 GFLOP/s instead of 98). */
#define ZNI_VECTORISING "O2", "tree-vectorize", "vect-cost-model=dynamic", "allow-store-data-races", "no-tree-loop-distribute-patterns", "no-var-tracking-assignments", "fp-contract=off"
#define ZNI_VECTORISE __attribute__((optimize(ZNI_VECTORISING)))
/* Where a vector is fetched for several products, gcc would fetch it again for each; not if it plans ahead. (Dots of AVX-512:
   1 % of a training step of ZenNet-R. With 16 registers they spill, and tiles do with any.) */
#define ZNI_VECTORISE_ONCE __attribute__((optimize(ZNI_VECTORISING, "schedule-insns")))
#else
#define ZNI_UNROLL
#define ZNI_ROLLED
#define ZNI_LANEWISE
#define ZNI_VECTORISE
#endif
#ifndef ZNI_VECTORISE_ONCE
#define ZNI_VECTORISE_ONCE ZNI_VECTORISE
#endif
#ifndef ZNI_SETTLES
#define ZNI_SETTLES 0
#endif
/* Into the second cache. Of requests for the first few can be under way (a training step at batch 16, on one core of a Zen 4:
   ZenNet-M 5, -R 10 % less than with those; how early they are made changes nothing). */
#ifdef __GNUC__
#define ZNI_PREFETCH(at) __builtin_prefetch(at, 0, 2)
#else
#define ZNI_PREFETCH(at) ((void)(at))
#endif
#define ZNI_LINE_REALS (64 / (int)sizeof(zn_real)) /* of a cache line */
#if defined(__GNUC__) && defined(__x86_64__) && !defined(ZN_NO_DISPATCH)
#define ZNI_DISPATCH 1
#if defined(__clang__)
#define ZNI_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#else
#define ZNI_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,prefer-vector-width=512")))
#endif
#define ZNI_RUNS_AVX512 \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
#else
#define ZNI_DISPATCH 0
#endif
/* A fused multiply-add where the instruction set has one. No compiler may make one of a * b + c. */
#ifdef ZENNET_DOUBLE
#define ZNI_FMA(a, b, c) fma(a, b, c)
#else
#define ZNI_FMA(a, b, c) fmaf(a, b, c)
#endif
ZNI_INLINE zn_real zni_multiply_add(const int fused, zn_real a, zn_real b, zn_real c) { return fused ? ZNI_FMA(a, b, c) : a * b + c; }

#define ZNI_LANES 8
#define ZNI_MAX_LANES 16 /* of any vector */
#define ZNI_WEAVE 128 /* positions woven at a time, in the first cache */
#define ZNI_WOVEN_PIXELS 8 /* of the longest tile */
#define ZNI_TILE_VECTORS 3
#define ZNI_DOT_ROWS 4
#define ZNI_DOT_RUNS 3
#define ZNI_MAX_SUMS (8 * ZNI_TILE_VECTORS * ZNI_MAX_LANES)
#define ZNI_MAX_COLUMNS (ZNI_TILE_VECTORS * ZNI_MAX_LANES)

/* The register tile: rows x columns sums over k, one row of a panel against one run of b after the other. a
   starts with the tile's start values (the bias), then holds `rows` weights for each step; b of step r is at b + off[r].
   `never` is NULL: a second way out keeps clang from turning the loop round, after which its vectoriser computes every sum
   twice and runs out of registers (17 instead of 87 GFLOP/s). */
ZNI_INLINE void zni_tile(const int rows, const int columns, const int lanes, const int fused, int k, const zn_real *ZNI_RESTRICT a,
                         const zn_real *ZNI_RESTRICT b, const int *ZNI_RESTRICT off, zn_real *ZNI_RESTRICT c, size_t ldc, int add, const zn_real *never) {
    zn_real sum[ZNI_MAX_SUMS];
    const int vectors = columns / lanes; /* as a parameter, the same for all sets, clang would put it in too early (77 GFLOP/s) */
    const zn_real *ZNI_RESTRICT start = a;
    int i, j, l;
#define ZNI_SUM sum[(i * vectors + j) * lanes + l]
#define ZNI_EACH(outer, inner, what)                                                            \
    ZNI_UNROLL for (outer) {                                                                    \
        ZNI_UNROLL for (inner) for (l = 0; l < lanes; ++l) what; \
    }
#define ZNI_ROWS i = 0; i < rows; ++i
#define ZNI_VECTORS j = 0; j < vectors; ++j
    ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, ZNI_SUM = 0)
    a += rows;
    do {
        const zn_real *run;
        if (k == 0) goto done;
        run = b + *off++;
        ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, ZNI_SUM = zni_multiply_add(fused, a[i], run[j * lanes + l], ZNI_SUM))
        a += rows;
        --k;
    } while (a != never);
    return;
done:
    if (add) ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, c[(size_t)i * ldc + (size_t)(j * lanes + l)] += ZNI_SUM)
    else ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, c[(size_t)i * ldc + (size_t)(j * lanes + l)] = ZNI_SUM + start[i])
}
/* Four rows of dy against three runs of x: twelve vectors of partial dot products over len values, a multiple of lanes, are
   added to out. gcc keeps the runs in registers and reads a row again for each of them; so the rows are what lies aligned,
   and the runs what starts anywhere (the other way round 8-8 3x3 takes a third longer). */
ZNI_INLINE void zni_dot_tile(const int lanes, const int fused, int len, const zn_real *const row[ZNI_DOT_ROWS], const zn_real *const run[ZNI_DOT_RUNS], zn_real *ZNI_RESTRICT out,
                             const zn_real *never) {
    zn_real sum[ZNI_DOT_ROWS * ZNI_DOT_RUNS * ZNI_MAX_LANES];
    const zn_real *a0 = run[0], *a1 = run[1], *a2 = run[2], *b0 = row[0], *b1 = row[1], *b2 = row[2], *b3 = row[3];
    ptrdiff_t i = 0;
    int j, l;
    ZNI_UNROLL for (j = 0; j < ZNI_DOT_ROWS * ZNI_DOT_RUNS; ++j) for (l = 0; l < lanes; ++l) sum[j * lanes + l] = 0;
    do {
        if (i >= len) goto done;
#define ZNI_DOT(m, r) \
        for (l = 0; l < lanes; ++l) sum[(m * ZNI_DOT_RUNS + r) * lanes + l] = zni_multiply_add(fused, a##r[i + l], b##m[i + l], sum[(m * ZNI_DOT_RUNS + r) * lanes + l]);
        ZNI_DOT(0, 0) ZNI_DOT(0, 1) ZNI_DOT(0, 2) ZNI_DOT(1, 0) ZNI_DOT(1, 1) ZNI_DOT(1, 2)
        ZNI_DOT(2, 0) ZNI_DOT(2, 1) ZNI_DOT(2, 2) ZNI_DOT(3, 0) ZNI_DOT(3, 1) ZNI_DOT(3, 2)
#undef ZNI_DOT
        i += lanes;
    } while (a0 + i != never);
    return;
done:
    ZNI_UNROLL for (j = 0; j < ZNI_DOT_ROWS * ZNI_DOT_RUNS; ++j) for (l = 0; l < lanes; ++l) out[j * lanes + l] += sum[j * lanes + l];
}

/* Sums of products of `rows` runs of a with `vectors * lanes` columns of b over k positions, added to c: b holds `lanes` columns
   of a position side by side, the next ones ZNI_WEAVE positions later. */
ZNI_INLINE void zni_outer_tile(const int rows, const int vectors, const int lanes, const int fused, int k, const zn_real *const *a, const zn_real *ZNI_RESTRICT b,
                               zn_real *ZNI_RESTRICT c, const zn_real *never) {
    zn_real sum[ZNI_MAX_SUMS];
    const zn_real *run[8];
    ptrdiff_t p = 0;
    int i, j, l;
    ZNI_UNROLL for (i = 0; i < rows; ++i) run[i] = a[i];
    ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, ZNI_SUM = 0)
    do {
        if (p == k) goto done;
        ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, ZNI_SUM = zni_multiply_add(fused, run[i][p], b[j * ZNI_WEAVE * lanes + l], ZNI_SUM))
        b += lanes;
        ++p;
    } while (b != never);
    return;
done:
    ZNI_EACH(ZNI_ROWS, ZNI_VECTORS, c[(i * vectors + j) * lanes + l] += ZNI_SUM)
}

/* Two rows of a depthwise convolution on woven channels: a pixel is a vector. The taps that read neighbouring pixels of a row
   are a run: all k of stride 1, every second one of stride 2. Their weights stay in registers, and what is fetched serves each
   of them for another pixel of the tile, so that two rows of 7 pixels keep both multipliers busy: 98 % of peak for 7 x 7 where
   single rows and runs of at most 3 taps reach 60. */
typedef struct zni_woven_rows {
    const zn_real *x, *w, *start; /* start: the biases */
    zn_real *y, least;            /* smaller results become this: 0 for ReLU */
    const int *off;               /* places of the runs: of the longer ones, then of those that are one tap shorter */
    int runs[2];                  /* how many of each */
    int width, x_step, y_step;    /* pixels, at least those of a tile; from one to the next */
    size_t x_row, y_row;          /* from the first row to the second; 0: that one again */
    size_t y_half;                /* from 8 channels to the next 8 */
} zni_woven_rows;
/* Of the pixels that a tile's row reads those from `first` to before `end`, each for all of its taps. */
ZNI_INLINE void zni_woven_pixels(zn_real acc[][ZNI_MAX_LANES], const zn_real *ZNI_RESTRICT x, const zn_real *ZNI_RESTRICT w, const int first, const int end, const int pixels, const int taps,
                                 const int x_step, const int lanes, const int fused) {
    int m, j, l;
    ZNI_UNROLL for (m = first; m < end; ++m) {
        zn_real value[ZNI_MAX_LANES];
        for (l = 0; l < lanes; ++l) value[l] = x[m * x_step + l];
        ZNI_UNROLL for (j = 0; j < taps; ++j)
            if (m >= j && m - j < pixels)
                for (l = 0; l < lanes; ++l) acc[m - j][l] = zni_multiply_add(fused, value[l], w[j * lanes + l], acc[m - j][l]);
    }
}
/* left, right: the first and the last `margin` of them are zeros beside the map, which change nothing (ZenNet-M 1 % faster). */
ZNI_INLINE void zni_woven_run_taps(zn_real acc[][ZNI_MAX_LANES], const zn_real *ZNI_RESTRICT x, const zn_real *ZNI_RESTRICT w, size_t x_row, const int rows, const int pixels, const int taps,
                                   const int x_step, const int margin, int left, int right, const int lanes, const int fused) {
    const int end = pixels + taps - 1;
    int r;
    ZNI_UNROLL for (r = 0; r < rows; ++r) {
        if (!left) zni_woven_pixels(acc + r * pixels, x + (size_t)r * x_row, w, 0, margin, pixels, taps, x_step, lanes, fused);
        zni_woven_pixels(acc + r * pixels, x + (size_t)r * x_row, w, margin, end - margin, pixels, taps, x_step, lanes, fused);
        if (!right) zni_woven_pixels(acc + r * pixels, x + (size_t)r * x_row, w, end - margin, end, pixels, taps, x_step, lanes, fused);
    }
}
ZNI_INLINE void zni_woven_tiles(const zni_woven_rows *t, const int rows, const int pixels, const int taps, const int fewer, const int x_step, const int lanes, const int fused) {
    const size_t x_row = t->x_row;
    int done, at;
    for (done = 0; done < t->width; done += pixels) { /* the last tile goes back to end with the row */
        zn_real acc[2 * ZNI_WOVEN_PIXELS][ZNI_MAX_LANES], settled[2 * ZNI_WOVEN_PIXELS][ZNI_MAX_LANES], (*const sums)[ZNI_MAX_LANES] = ZNI_SETTLES ? settled : acc;
        const zn_real *ZNI_RESTRICT w = t->w, *from;
        const zn_real least = t->least;
        const int *ZNI_RESTRICT off = t->off;
        int left, r, m, l, h;
        const int margin = fewer == 0 ? taps / 2 : 0; /* of runs of all taps */
        at = done + pixels <= t->width ? done : t->width - pixels;
        from = t->x + (size_t)at * (size_t)x_step;
        ZNI_UNROLL for (m = 0; m < rows * pixels; ++m) for (l = 0; l < lanes; ++l) acc[m][l] = t->start[l];
        left = t->runs[0] + t->runs[1];
        do { /* never none: then gcc keeps acc in registers from the start (5 to 10 %) */
            int now = fewer == 0 || left > t->runs[1] ? taps : fewer;
            if (now == taps) zni_woven_run_taps(acc, from + *off++, w, x_row, rows, pixels, taps, x_step, margin, at == 0, at + pixels == t->width, lanes, fused);
            else zni_woven_run_taps(acc, from + *off++, w, x_row, rows, pixels, fewer, x_step, 0, 0, 0, lanes, fused);
            w += now * lanes;
        } while (--left > 0);
        if (ZNI_SETTLES)
            ZNI_UNROLL for (m = 0; m < rows * pixels; ++m) for (l = 0; l < lanes; ++l) settled[m][l] = acc[m][l];
        ZNI_ROLLED for (r = 0; r < rows; ++r) {
            ZNI_ROLLED for (m = 0; m < pixels; ++m) {
                zn_real *y = t->y + (size_t)r * t->y_row + (size_t)(at + m) * (size_t)t->y_step;
                ZNI_UNROLL for (h = 0; h < lanes; h += ZNI_LANES) for (l = 0; l < ZNI_LANES; ++l) y[(size_t)(h / ZNI_LANES) * t->y_half + (size_t)l] = sums[r * pixels + m][h + l] < least ? least : sums[r * pixels + m][h + l];
            }
        }
    }
}
/* The gradient of the weights of `rows` rows of taps, k each, over some lines of dy, added to `to`. */
typedef struct zni_woven_lines {
    const zn_real *x, *dy;
    size_t x_line, x_row, dy_line; /* steps: of x from line to line and from a row of taps to the next; of dy */
    int x_step, width, lines;
} zni_woven_lines;
ZNI_INLINE void zni_woven_sums(const zni_woven_lines *t, zn_real *ZNI_RESTRICT to, const int rows, const int k, const int lanes, const int fused) {
    zn_real sum[14][ZNI_MAX_LANES]; /* of 2 x 7 taps */
    const size_t x_row = t->x_row;
    const int x_step = t->x_step, width = t->width;
    int line, p, i, j, l;
    ZNI_UNROLL for (i = 0; i < rows * k; ++i) for (l = 0; l < lanes; ++l) sum[i][l] = to[i * lanes + l];
    for (line = 0; line < t->lines; ++line) {
        const zn_real *ZNI_RESTRICT x = t->x + (size_t)line * t->x_line, *ZNI_RESTRICT dy = t->dy + (size_t)line * t->dy_line;
        for (p = 0; p < width; ++p, x += x_step, dy += lanes) {
            zn_real value[ZNI_MAX_LANES], one[ZNI_MAX_LANES]; /* clang 14 makes vectors of what is first put down (1/3 of the time) */
            for (l = 0; l < lanes; ++l) one[l] = dy[l];
            ZNI_UNROLL for (i = 0; i < rows; ++i) {
                ZNI_UNROLL for (j = 0; j < k; ++j) {
                    for (l = 0; l < lanes; ++l) value[l] = x[(size_t)i * x_row + (size_t)(j * lanes + l)];
                    for (l = 0; l < lanes; ++l) sum[i * k + j][l] = zni_multiply_add(fused, one[l], value[l], sum[i * k + j][l]);
                }
            }
        }
    }
    ZNI_UNROLL for (i = 0; i < rows * k; ++i) for (l = 0; l < lanes; ++l) to[i * lanes + l] = sum[i][l];
}

typedef struct zni_woven_tile {
    int pixels;
    void (*run)(const zni_woven_rows *t);
} zni_woven_tile;
typedef struct zni_kernels { /* the bodies compiled for one instruction set */
    const char *name;
    int lanes, rows; /* reals in a vector, rows of a tile */
    void (*tile)(int k, const zn_real *a, const zn_real *b, const int *off, zn_real *c, size_t ldc, int add, const zn_real *never);
    void (*dots)(int len, const zn_real *const *a, const zn_real *const *b, zn_real *out, const zn_real *never);
    void (*outer[ZNI_TILE_VECTORS])(int k, const zn_real *const *a, const zn_real *b, zn_real *c, const zn_real *never); /* by vectors - 1 */
    int woven_lanes, woven_rows;                       /* channels woven, rows that the next take at once */
    zni_woven_tile woven[2][3][2];                     /* all taps a run, every second; 3, 5 or 7 of them; two lengths of tiles */
    void (*sums[3][2])(const zni_woven_lines *t, zn_real *to); /* of 3, 5 and 7 taps; one row of them, and as many as fit */
} zni_kernels;

/* The functions of one instruction set with vectors of `bytes`. */
#define ZNI_OUTER(set, target, bytes, tile_rows, fused, vectors)                                                                                        \
    target ZNI_VECTORISE static void zni_outer##vectors##_##set(int k, const zn_real *const *a, const zn_real *b, zn_real *c, const zn_real *never) {          \
        zni_outer_tile(tile_rows, vectors, (int)(bytes / sizeof(zn_real)), fused, k, a, b, c, never);                                                   \
    }
/* Vectors of fewer than 8 values are taken by twos, and one row of pixels at a time. */
#define ZNI_WOVEN_LANES(bytes) ((int)(bytes / sizeof(zn_real)) > ZNI_LANES ? (int)(bytes / sizeof(zn_real)) : ZNI_LANES)
#define ZNI_WOVEN_ROWS(bytes) ((int)(bytes / sizeof(zn_real)) < ZNI_LANES ? 1 : 2)
#define ZNI_WOVEN(set, target, bytes, fused, k, pixels)                                                                                                    \
    target ZNI_VECTORISE static void zni_woven##k##_##pixels##_##set(const zni_woven_rows *t) {                                                            \
        zni_woven_tiles(t, ZNI_WOVEN_ROWS(bytes), pixels, k, 0, ZNI_WOVEN_LANES(bytes), ZNI_WOVEN_LANES(bytes), fused);                                    \
    }                                                                                                                                                      \
    target ZNI_VECTORISE static void zni_woven##k##_##pixels##_halves_##set(const zni_woven_rows *t) {                                                     \
        zni_woven_tiles(t, ZNI_WOVEN_ROWS(bytes), pixels, (k + 1) / 2, k / 2, t->x_step, ZNI_WOVEN_LANES(bytes), fused);                                   \
    }
#define ZNI_WOVEN_OF(set, k, halves, wide, narrow) {{wide, zni_woven##k##_##wide##halves##_##set}, {narrow, zni_woven##k##_##narrow##halves##_##set}}
#define ZNI_SUMS(set, target, bytes, fused, k, rows)                                                                \
    target ZNI_VECTORISE static void zni_sums##k##_##rows##_##set(const zni_woven_lines *t, zn_real *to) { \
        zni_woven_sums(t, to, rows, k, ZNI_WOVEN_LANES(bytes), fused);                                      \
    }
#define ZNI_KERNELS(set, target, fetch, bytes, tile_rows, wide, narrow, fused)                                                                                           \
    target ZNI_VECTORISE static void zni_tile_##set(int k, const zn_real *a, const zn_real *b, const int *off, zn_real *c, size_t ldc, int add, \
                                                    const zn_real *never) {                                                                             \
        zni_tile(tile_rows, ZNI_TILE_VECTORS * (int)(bytes / sizeof(zn_real)), (int)(bytes / sizeof(zn_real)), fused, k, a, b, off, c, ldc, add, never);                    \
    }                                                                                                                                                   \
    target fetch static void zni_dots_##set(int len, const zn_real *const *a, const zn_real *const *b, zn_real *out, const zn_real *never) {            \
        zni_dot_tile((int)(bytes / sizeof(zn_real)), fused, len, a, b, out, never);                                                                     \
    }                                                                                                                                                   \
    ZNI_OUTER(set, target, bytes, tile_rows, fused, 1)                                                                                                  \
    ZNI_OUTER(set, target, bytes, tile_rows, fused, 2)                                                                                                  \
    ZNI_OUTER(set, target, bytes, tile_rows, fused, 3)                                                                                                  \
    ZNI_WOVEN(set, target, bytes, fused, 3, wide) ZNI_WOVEN(set, target, bytes, fused, 5, wide) ZNI_WOVEN(set, target, bytes, fused, 7, wide)           \
    ZNI_WOVEN(set, target, bytes, fused, 3, narrow) ZNI_WOVEN(set, target, bytes, fused, 5, narrow) ZNI_WOVEN(set, target, bytes, fused, 7, narrow)        \
    ZNI_SUMS(set, target, bytes, fused, 3, 1) ZNI_SUMS(set, target, bytes, fused, 3, 3) ZNI_SUMS(set, target, bytes, fused, 5, 1)                       \
    ZNI_SUMS(set, target, bytes, fused, 5, 2) ZNI_SUMS(set, target, bytes, fused, 7, 1) ZNI_SUMS(set, target, bytes, fused, 7, 2)
#define ZNI_KERNELS_ROW(set, bytes, tile_rows, wide, narrow) \
    { #set, (int)(bytes / sizeof(zn_real)), tile_rows, zni_tile_##set, zni_dots_##set, {zni_outer1_##set, zni_outer2_##set, zni_outer3_##set}, ZNI_WOVEN_LANES(bytes), ZNI_WOVEN_ROWS(bytes), \
      {{ZNI_WOVEN_OF(set, 3, , wide, narrow), ZNI_WOVEN_OF(set, 5, , wide, narrow), ZNI_WOVEN_OF(set, 7, , wide, narrow)},                                       \
       {ZNI_WOVEN_OF(set, 3, _halves, wide, narrow), ZNI_WOVEN_OF(set, 5, _halves, wide, narrow), ZNI_WOVEN_OF(set, 7, _halves, wide, narrow)}},                 \
      {{zni_sums3_1_##set, zni_sums3_3_##set}, {zni_sums5_1_##set, zni_sums5_2_##set}, {zni_sums7_1_##set, zni_sums7_2_##set}} }

#if defined(__AVX512F__)
ZNI_KERNELS(base, , ZNI_VECTORISE_ONCE, 64, 8, 8, 7, 1)
#define ZNI_BASE_ROW ZNI_KERNELS_ROW(base, 64, 8, 8, 7)
#elif defined(__AVX2__) && defined(__FMA__)
ZNI_KERNELS(base, , ZNI_VECTORISE, 32, 4, 7, 4, 1)
#define ZNI_BASE_ROW ZNI_KERNELS_ROW(base, 32, 4, 7, 4)
#elif defined(__aarch64__)
ZNI_KERNELS(base, , ZNI_VECTORISE, 16, 8, 7, 4, 1)
#define ZNI_BASE_ROW ZNI_KERNELS_ROW(base, 16, 8, 7, 4)
#else
ZNI_KERNELS(base, , ZNI_VECTORISE, 16, 4, 7, 4, 0)
#define ZNI_BASE_ROW ZNI_KERNELS_ROW(base, 16, 4, 7, 4)
#endif
#if ZNI_DISPATCH
ZNI_KERNELS(avx2, __attribute__((target("avx2,fma"))), ZNI_VECTORISE, 32, 4, 7, 4, 1)
ZNI_KERNELS(avx512, ZNI_AVX512, ZNI_VECTORISE_ONCE, 64, 8, 8, 7, 1)
#endif
static const zni_kernels zni_kernel_sets[] = {
    ZNI_BASE_ROW,
#if ZNI_DISPATCH
    ZNI_KERNELS_ROW(avx2, 32, 4, 7, 4),
    ZNI_KERNELS_ROW(avx512, 64, 8, 8, 7),
#endif
};
#define ZNI_KERNEL_SETS ((int)(sizeof zni_kernel_sets / sizeof zni_kernel_sets[0]))

/* Whether this machine runs a row of zni_kernel_sets. */
static int zni_kernels_run(int set) {
#if ZNI_DISPATCH
    __builtin_cpu_init();
    if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (set == 2) return ZNI_RUNS_AVX512;
#endif
    return set == 0;
}
/* The context's choice: the last set that runs here. */
static const zni_kernels *zni_kernels_of(zn_ctx *ctx) {
    int set = ZNI_KERNEL_SETS - 1;
    if (ctx->kernels == NULL) {
        while (set > 0 && !zni_kernels_run(set)) --set;
        ctx->kernels = &zni_kernel_sets[set];
    }
    return ctx->kernels;
}

/* A loop over values where lanes never meet, or meet in fixed places: its body for the compiler's instruction set and, chosen
   at each call, for AVX2 and AVX-512 (the gates of attention take half of the time with the latter). Without fused
   multiply-adds all give the same bits. */
#if ZNI_DISPATCH
#define ZNI_WIDE(name, parameters, arguments)                                                       \
    ZNI_VECTORISE static void name##_base parameters { name##_body arguments; }                     \
    __attribute__((target("avx2"))) ZNI_VECTORISE static void name##_avx2 parameters { name##_body arguments; } \
    ZNI_AVX512 ZNI_VECTORISE static void name##_avx512 parameters { name##_body arguments; }        \
    static void name parameters {                                                                   \
        if (ZNI_RUNS_AVX512) name##_avx512 arguments;                                               \
        else if (__builtin_cpu_supports("avx2")) name##_avx2 arguments;                             \
        else name##_base arguments;                                                                 \
    }
#else
#define ZNI_WIDE(name, parameters, arguments) \
    ZNI_VECTORISE static void name parameters { name##_body arguments; }
#endif

/* ---- passes over planes: what training does between convolutions ----
   Memory bounds them: each reads every value once, and what the next reader can compute from what it reads anyway is not
   written at all. A map is a batch norm of one channel, with the ReLU after it or not. */
typedef struct zni_map {
    zn_real mean, scale, shift; /* (x - mean) * scale + shift */
    int relu;
} zni_map;

static const zni_map zni_as_it_is = {0, 1, 0, 0};

#define ZNI_MAPPED(m, x) (((x) - (m)->mean) * (m)->scale + (m)->shift)

ZNI_INLINE void zni_map_run_body(const zni_map *m, const zn_real *ZNI_RESTRICT x, size_t count, zn_real *ZNI_RESTRICT to) {
    zni_map map = *m;
    size_t i;
    if (map.relu)
        for (i = 0; i < count; ++i) {
            zn_real v = ZNI_MAPPED(&map, x[i]);
            to[i] = v < 0 ? 0 : v;
        }
    else
        for (i = 0; i < count; ++i) to[i] = ZNI_MAPPED(&map, x[i]);
}
ZNI_WIDE(zni_map_run, (const zni_map *m, const zn_real *x, size_t count, zn_real *to), (m, x, count, to))
/* to = a(x) + b(y), or the ReLU of it. */
ZNI_INLINE void zni_map_add_body(const zni_map *a, const zn_real *ZNI_RESTRICT x, const zni_map *b, const zn_real *ZNI_RESTRICT y, size_t count, int relu,
                                      zn_real *ZNI_RESTRICT to) {
    zni_map m = *a, n = *b;
    zn_real floor_a = m.relu ? 0 : -(zn_real)INFINITY, floor_b = n.relu ? 0 : -(zn_real)INFINITY, floor_sum = relu ? 0 : -(zn_real)INFINITY;
    size_t i;
    for (i = 0; i < count; ++i) {
        zn_real v = ZNI_MAPPED(&m, x[i]), w = ZNI_MAPPED(&n, y[i]), sum;
        v = v < floor_a ? floor_a : v;
        w = w < floor_b ? floor_b : w;
        sum = v + w;
        to[i] = sum < floor_sum ? floor_sum : sum;
    }
}
ZNI_WIDE(zni_map_add, (const zni_map *a, const zn_real *x, const zni_map *b, const zn_real *y, size_t count, int relu, zn_real *to), (a, x, b, y, count, relu, to))
/* Sums run over chunks in 32 reals side by side, and over the chunks in double. (Taken in two halves gcc keeps them in the
   registers of AVX-512: twice as fast out of the cache.) */
#define ZNI_SIDE 32
#define ZNI_CHUNK 2048
ZNI_INLINE double zni_side_sum(const zn_real sum[ZNI_SIDE]) {
    double part[8];
    int l;
    for (l = 0; l < 8; ++l) part[l] = ((double)sum[l] + (double)sum[l + 8]) + ((double)sum[l + 16] + (double)sum[l + 24]);
    return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}
/* out[0] += sum of x - about, out[1] += sum of its squares. */
ZNI_INLINE void zni_power_sums_body(const zn_real *x, size_t count, zn_real about, double out[2]) {
    while (count > 0) {
        zn_real sum[ZNI_SIDE] = {0}, squares[ZNI_SIDE] = {0};
        size_t now = count < ZNI_CHUNK ? count : ZNI_CHUNK, i;
        int h, l;
        for (i = 0; i + ZNI_SIDE <= now; i += ZNI_SIDE)
            ZNI_UNROLL for (h = 0; h < ZNI_SIDE; h += ZNI_SIDE / 2)
                for (l = h; l < h + ZNI_SIDE / 2; ++l) {
                    zn_real d = x[i + (size_t)l] - about;
                    sum[l] += d;
                    squares[l] += d * d;
                }
        for (l = 0; i < now; ++i, ++l) {
            zn_real d = x[i] - about;
            sum[l] += d;
            squares[l] += d * d;
        }
        out[0] += zni_side_sum(sum);
        out[1] += zni_side_sum(squares);
        x += now;
        count -= now;
    }
}
ZNI_WIDE(zni_power_sums, (const zn_real *x, size_t count, zn_real about, double out[2]), (x, count, about, out))

typedef struct zni_moments { /* of some values: how many, their mean, the sum of the squares of what they are off it */
    double count, mean, squares;
} zni_moments;
/* From zni_power_sums about any value near the mean, which keeps the squares from cancelling. */
static zni_moments zni_moments_from(double count, zn_real about, const double sums[2]) {
    zni_moments m = {0.0, 0.0, 0.0};
    if (count == 0.0) return m;
    m.count = count;
    m.mean = (double)about + sums[0] / count;
    m.squares = sums[1] - sums[0] * (sums[0] / count);
    if (m.squares < 0.0) m.squares = 0.0;
    return m;
}
/* Of planes `step` apart, values from .. to - 1 counted as if the planes followed each other. */
static zni_moments zni_moments_of(const zn_real *x, size_t plane, size_t step, size_t from, size_t to) {
    double sums[2] = {0.0, 0.0}, count = (double)(to > from ? to - from : 0);
    zn_real about = 0;
    size_t n, first, last, begin = from;
    for (n = from / plane; from < to; from = ++n * plane) {
        first = from - n * plane;
        last = to - n * plane < plane ? to - n * plane : plane;
        if (from == begin) about = x[n * step + first];
        zni_power_sums(x + n * step + first, last - first, about, sums);
    }
    return zni_moments_from(count, about, sums);
}
/* Of parts together (Chan, Golub & LeVeque 1983). */
static zni_moments zni_moments_join(const zni_moments *part, int parts, size_t step) {
    zni_moments m = {0.0, 0.0, 0.0};
    int i;
    for (i = 0; i < parts; ++i, part += step) {
        double count = m.count + part->count, off = part->mean - m.mean;
        if (part->count == 0.0) continue;
        m.mean += off * (part->count / count);
        m.squares += part->squares + off * off * (m.count * (part->count / count));
        m.count = count;
    }
    return m;
}
/* What a batch norm's backward sums: out[0] += sum of g, out[1] += sum of g * (x - mean), g = dy where the map's ReLU let x
   through. */
ZNI_INLINE void zni_map_sums_body(const zni_map *m, const zn_real *dy, const zn_real *x, size_t count, double out[2]) {
    zni_map map = *m;
    zn_real floor_x = map.relu ? 0 : -(zn_real)INFINITY;
    while (count > 0) {
        zn_real sum[ZNI_SIDE] = {0}, dot[ZNI_SIDE] = {0};
        size_t now = count < ZNI_CHUNK ? count : ZNI_CHUNK, i;
        int h, l;
        for (i = 0; i + ZNI_SIDE <= now; i += ZNI_SIDE)
            ZNI_UNROLL for (h = 0; h < ZNI_SIDE; h += ZNI_SIDE / 2)
                for (l = h; l < h + ZNI_SIDE / 2; ++l) {
                    zn_real d = x[i + (size_t)l] - map.mean, g = dy[i + (size_t)l];
                    g = d * map.scale + map.shift > floor_x ? g : 0;
                    sum[l] += g;
                    dot[l] += g * d;
                }
        for (l = 0; i < now; ++i, ++l) {
            zn_real d = x[i] - map.mean, g = dy[i];
            g = d * map.scale + map.shift > floor_x ? g : 0;
            sum[l] += g;
            dot[l] += g * d;
        }
        out[0] += zni_side_sum(sum);
        out[1] += zni_side_sum(dot);
        x += now;
        dy += now;
        count -= now;
    }
}
ZNI_WIDE(zni_map_sums, (const zni_map *m, const zn_real *dy, const zn_real *x, size_t count, double out[2]), (m, dy, x, count, out))
typedef struct zni_slope { /* what a batch norm makes of its gradient: a * g + b * (x - mean) + d, g as above */
    zni_map map;
    zn_real a, b, d;
    double sum; /* of that over the batch: none in training, when the mean does not count */
} zni_slope;
/* Of a map's ReLU alone. */
static zni_slope zni_relu_slope(const zni_map *m) {
    zni_slope s = {{0, 0, 0, 1}, 1, 0, 0, 0};
    s.map = *m;
    s.map.relu = 1;
    return s;
}
/* to (+)= slope of dy. dy NULL: it is `to` itself. */
ZNI_INLINE void zni_slope_run_of(const zni_slope slope, const zn_real *ZNI_RESTRICT dy, const zn_real *ZNI_RESTRICT x, size_t count, zn_real *ZNI_RESTRICT to, const int in_place,
                                 const int add) {
    zn_real floor_x = slope.map.relu ? 0 : -(zn_real)INFINITY;
    size_t i;
    for (i = 0; i < count; ++i) {
        zn_real e = x[i] - slope.map.mean, g = in_place ? to[i] : dy[i];
        g = e * slope.map.scale + slope.map.shift > floor_x ? g : 0;
        to[i] = (add ? to[i] : 0) + (slope.a * g + (slope.b * e + slope.d));
    }
}
ZNI_INLINE void zni_slope_run_body(const zni_slope *slope, const zn_real *dy, const zn_real *x, size_t count, zn_real *to, int add) {
    if (dy == NULL) zni_slope_run_of(*slope, x, x, count, to, 1, 0);
    else if (add) zni_slope_run_of(*slope, dy, x, count, to, 0, 1);
    else zni_slope_run_of(*slope, dy, x, count, to, 0, 0);
}
ZNI_WIDE(zni_slope_run, (const zni_slope *slope, const zn_real *dy, const zn_real *x, size_t count, zn_real *to, int add), (slope, dy, x, count, to, add))
/* The sums of the batch norms that get a gradient (two, where a residual sum hands it to both its sides), taken by who computes
   it, while it is in the cache. */
typedef struct zni_gather {
    int count, done;         /* norms; whether the sums were taken */
    const zn_real *x[2];     /* what a norm read, */
    const zni_map *maps[2];  /* what it and the ReLU after it made of that, one for each channel */
    double *sums[2];         /* two for each channel, see zni_map_sums */
} zni_gather;
/* Channel c's values from .. to - 1 of dx, counted as if its planes followed each other, add to `part` (zni_gather_room). What the
   next channel needs is asked for (ZenNet-R 1 to 3 % on one core). */
static void zni_gather_add(const zni_gather *g, int channels, int c, const zn_real *dx, size_t plane, size_t from, size_t to, double *part) {
    size_t n, first, last, at, soon;
    int i;
    for (n = from / plane; from < to; from = ++n * plane) {
        first = from - n * plane;
        last = to - n * plane < plane ? to - n * plane : plane;
        at = (n * (size_t)channels + (size_t)c) * plane + first;
        for (i = 0; c + 1 < channels && i < g->count; ++i)
            for (soon = at + plane; soon < at + plane + last - first; soon += ZNI_LINE_REALS) ZNI_PREFETCH(g->x[i] + soon);
        for (i = 0; i < g->count; ++i) zni_map_sums(g->maps[i] + c, dx + at, g->x[i] + at, last - first, part + 2 * (i * channels + c));
    }
}
static size_t zni_gather_room(const zni_gather *g, int channels) { return 2 * (size_t)g->count * (size_t)channels; }
/* Room for `count` parts, zeros; NULL when memory is out. */
static double *zni_gather_shares(zn_ctx *ctx, const zni_gather *g, int channels, int count) {
    size_t size = zni_size_mul(zni_size_mul(zni_gather_room(g, channels), (size_t)count), sizeof(double));
    double *shares = (double *)zni_buffer_take(ctx, size);
    if (shares != NULL) memset(shares, 0, size);
    return shares;
}
/* The sums from their parts, in order. */
static void zni_gather_join(zni_gather *g, int channels, const double *parts, int count) {
    ptrdiff_t room = (ptrdiff_t)zni_gather_room(g, channels), at;
    int part;
    ZNI_OMP(parallel for private(part) if ((double)room * count > ZNI_PARALLEL_MIN))
    for (at = 0; at < room; ++at) {
        double sum = 0.0;
        for (part = 0; part < count; ++part) sum += parts[part * room + at];
        g->sums[at / (2 * channels)][at % (2 * channels)] = sum;
    }
    g->done = 1;
}
ZNI_INLINE void zni_relu_run_body(const zn_real *ZNI_RESTRICT x, size_t count, zn_real *ZNI_RESTRICT to) {
    size_t i;
    for (i = 0; i < count; ++i) to[i] = x[i] < 0 ? 0 : x[i];
}
ZNI_WIDE(zni_relu_run, (const zn_real *x, size_t count, zn_real *to), (x, count, to))
/* to (+)= dy where y > 0. dy NULL: it is `to` itself. */
ZNI_INLINE void zni_relu_grad_body(const zn_real *ZNI_RESTRICT dy, const zn_real *ZNI_RESTRICT y, size_t count, zn_real *ZNI_RESTRICT to, int add) {
    size_t i;
    if (dy == NULL)
        for (i = 0; i < count; ++i) {
            zn_real g = to[i];
            to[i] = y[i] > 0 ? g : 0;
        }
    else
        for (i = 0; i < count; ++i) {
            zn_real g = dy[i];
            to[i] = (add ? to[i] : 0) + (y[i] > 0 ? g : 0);
        }
}
ZNI_WIDE(zni_relu_grad, (const zn_real *dy, const zn_real *y, size_t count, zn_real *to, int add), (dy, y, count, to, add))
ZNI_INLINE void zni_accumulate_body(zn_real *ZNI_RESTRICT to, const zn_real *ZNI_RESTRICT from, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) to[i] += from[i];
}
ZNI_WIDE(zni_accumulate, (zn_real *to, const zn_real *from, size_t count), (to, from, count))

/* ---- attention's gates ---- */
/* 1 + exp(-z), for loops that vectorise: a gate is its reciprocal, what it lets through x over it. exp(-z) = 2^n * 2^r,
   |r| <= 1/2, and 2^r is the polynomial of the fifth degree whose largest relative error is least, 1.1e-7. Only integers
   are compared: behind a comparison of numbers gcc keeps both ways apart. (16 gates by AVX-512 2.4 ns, by AVX2 4.7; with
   exp's series to r^6 and comparisons of numbers 5.2 and, no longer vectorised, 53.) */
#ifdef ZENNET_DOUBLE
ZNI_INLINE double zni_gate_divisor(double z, const int fused) {
    (void)fused;
    return 1.0 + exp(-z);
}
#else
ZNI_INLINE float zni_gate_divisor(float z, const int fused) {
    const float magic = 12582912.0f + 127; /* 1.5 * 2^23: adding it rounds to an integer, in the lowest bits; 127: the exponent's bias */
    const int32_t least = 0x4b400000 + 127 - 115, most = 0x4b400000 + 127 + 115; /* 1.5 * 2^23 is 0x4b400000 */
    float t = z * -1.44269504f, n = t + magic, r = t - (n - magic), power, e = 1.32647273e-3f; /* of z that is not finite r is no number, nor is the rest */
    int32_t bits;
    memcpy(&bits, &n, sizeof bits);
    bits = bits < least ? least : bits;
    bits = bits > most ? most : bits;
    bits = (int32_t)((uint32_t)bits << 23);
    memcpy(&power, &bits, sizeof power);
    e = zni_multiply_add(fused, e, r, 9.67151299e-3f);
    e = zni_multiply_add(fused, e, r, 5.55073358e-2f);
    e = zni_multiply_add(fused, e, r, 2.40222424e-1f);
    e = zni_multiply_add(fused, e, r, 6.93147004e-1f);
    e = zni_multiply_add(fused, e, r, 1.0f);
    return zni_multiply_add(fused, e, power, 1.0f);
}
#endif
/* One plane of attention's result: plane `from` of the same sample of x, times a gate, that of slope * x + offset; where slope
   is 0 it is `offset` itself. */
typedef struct zni_plane_gate {
    size_t from;
    zn_real slope, offset;
} zni_plane_gate;
/* to = v * gate, v what the map makes of x */
ZNI_INLINE void zni_gate_run_body(const zni_plane_gate *gate, const zni_map *m, const zn_real *ZNI_RESTRICT x, size_t count, zn_real *ZNI_RESTRICT to) {
    zni_map map = *m;
    zni_plane_gate g = *gate;
    zn_real floor_x = map.relu ? 0 : -(zn_real)INFINITY;
    size_t i;
    if (g.slope == 0)
        for (i = 0; i < count; ++i) {
            zn_real v = ZNI_MAPPED(&map, x[i]);
            to[i] = (v < floor_x ? floor_x : v) * g.offset;
        }
    else
        for (i = 0; i < count; ++i) {
            zn_real v = ZNI_MAPPED(&map, x[i]);
            v = v < floor_x ? floor_x : v;
            to[i] = v / zni_gate_divisor(g.slope * v + g.offset, 0);
        }
}
ZNI_WIDE(zni_gate_run, (const zni_plane_gate *gate, const zni_map *m, const zn_real *x, size_t count, zn_real *to), (gate, m, x, count, to))
/* du, the gradient of the gate's argument, is dy * x * gate * (1 - gate): out[0] += sum of du, out[1] += sum of du * (x - mean). */
ZNI_INLINE void zni_gate_sums_body(const zn_real *ZNI_RESTRICT dy, const zn_real *ZNI_RESTRICT x, size_t count, zn_real slope, zn_real offset, zn_real mean, double out[2]) {
    while (count > 0) {
        zn_real sum[ZNI_MAX_LANES] = {0}, dot[ZNI_MAX_LANES] = {0};
        size_t now = count < ZNI_CHUNK ? count : ZNI_CHUNK, i;
        int l;
#define ZNI_GATE_SUM(l) do { \
            zn_real v = x[i + (size_t)(l)], gate = 1 / zni_gate_divisor(slope * v + offset, 0), du = dy[i + (size_t)(l)] * v * (gate * (1 - gate)); \
            sum[l] += du; \
            dot[l] += du * (v - mean); \
        } while (0)
        for (i = 0; i + ZNI_MAX_LANES <= now; i += ZNI_MAX_LANES)
            for (l = 0; l < ZNI_MAX_LANES; ++l) ZNI_GATE_SUM(l);
        for (l = 0; i + (size_t)l < now; ++l) ZNI_GATE_SUM(l);
#undef ZNI_GATE_SUM
        for (l = 0; l < ZNI_MAX_LANES; ++l) {
            out[0] += (double)sum[l];
            out[1] += (double)dot[l];
        }
        x += now;
        dy += now;
        count -= now;
    }
}
ZNI_WIDE(zni_gate_sums, (const zn_real *dy, const zn_real *x, size_t count, zn_real slope, zn_real offset, zn_real mean, double out[2]), (dy, x, count, slope, offset, mean, out))
/* to (+)= dy * gate + slope * (du - p - q * (x - mean)) */
ZNI_INLINE void zni_gate_grad_body(const zn_real *ZNI_RESTRICT dy, const zn_real *ZNI_RESTRICT x, size_t count, zn_real slope, zn_real offset, zn_real mean, zn_real p,
                                        zn_real q, zn_real *ZNI_RESTRICT to, int add) {
    size_t i;
#define ZNI_GATE_GRAD(onto) do { \
        zn_real v = x[i], gate = 1 / zni_gate_divisor(slope * v + offset, 0); \
        to[i] = onto (dy[i] * gate + slope * (dy[i] * v * (gate * (1 - gate)) - p - q * (v - mean))); \
    } while (0)
    if (add)
        for (i = 0; i < count; ++i) ZNI_GATE_GRAD(to[i] +);
    else
        for (i = 0; i < count; ++i) ZNI_GATE_GRAD();
#undef ZNI_GATE_GRAD
}
ZNI_WIDE(zni_gate_grad, (const zn_real *dy, const zn_real *x, size_t count, zn_real slope, zn_real offset, zn_real mean, zn_real p, zn_real q, zn_real *to, int add), (dy, x, count, slope, offset, mean, p, q, to, add))
/* to (+)= a * x + b */
ZNI_INLINE void zni_affine_body(const zn_real *ZNI_RESTRICT x, size_t count, zn_real a, zn_real b, zn_real *ZNI_RESTRICT to, int add) {
    size_t i;
    if (add)
        for (i = 0; i < count; ++i) to[i] += a * x[i] + b;
    else
        for (i = 0; i < count; ++i) to[i] = a * x[i] + b;
}
ZNI_WIDE(zni_affine, (const zn_real *x, size_t count, zn_real a, zn_real b, zn_real *to, int add), (x, count, a, b, to, add))

/* ---- grids over maps: what a convolution reads, flattened ---- */
typedef struct zni_window {
    int n, gh, gw;         /* grid: samples, rows, columns */
    int sh, sw;            /* source map */
    int kh, kw;            /* taps */
    int sy, sx, top, left; /* grid position (a, b) reads the source at (sy*a + u - top, sx*b + v - left) for tap (u, v) */
    int py, px;            /* phases: a source plane is split into py * px planes, so that neighbours in the grid are neighbours in memory */
    int hp, wp;            /* pitches: flattened rows of a sample, columns of a row */
} zni_window;

/* Smallest pitch at which the zeros left of a row also serve as those right of the row before. */
static int zni_pitch(int grid, int source, int taps, int stride, int before, int phases) {
    int last = grid - 1 + (taps - 1) / stride, lead = before >= phases ? (before - phases + stride) / stride : 0;
    int valid = source - 1 + before >= 0 ? (source - 1 + before) / stride : 0, pitch = last + 1 - lead;
    if (valid > last) valid = last;
    if (pitch < valid + 1) pitch = valid + 1;
    return pitch < grid ? grid : pitch;
}
static void zni_window_finish(zni_window *w) {
    w->py = w->sy < w->kh ? w->sy : w->kh;
    w->px = w->sx < w->kw ? w->sx : w->kw;
    w->hp = zni_pitch(w->gh, w->sh, w->kh, w->sy, w->top, w->py);
    w->wp = zni_pitch(w->gw, w->sw, w->kw, w->sx, w->left, w->px);
}
ZNI_INLINE ptrdiff_t zni_window_positions(const zni_window *w) { return ((ptrdiff_t)(w->n - 1) * w->hp + w->gh) * w->wp; }
ZNI_INLINE int zni_window_halo(const zni_window *w) { return (w->kh - 1) / w->sy * w->wp + (w->kw - 1) / w->sx; }

/* Positions q .. q + len - 1 of one plane of a band: phase (i, j) of a channel. `from` is its plane in sample 0, read through
   `map` unless that is NULL; `ahead` values on lies what is wanted soon. */
ZNI_INLINE void zni_band_plane_body(const zni_window *w, int i, int j, const zn_real *from, size_t sample, size_t ahead, const zni_map *map, ptrdiff_t q, int len,
                                         zn_real *ZNI_RESTRICT to) {
    int b = (int)(q % w->wp), a = (int)(q / w->wp % w->hp), x, first = 0, last;
    ptrdiff_t n = q / w->wp / w->hp;
    zni_map mapped = map != NULL ? *map : zni_as_it_is;
    zn_real floor_x;
    floor_x = mapped.relu ? 0 : -(zn_real)INFINITY;
    /* columns first .. last - 1 lie inside the map */
    if (w->left > j) first = (w->left - j + w->sx - 1) / w->sx;
    last = w->sw - 1 + w->left - j >= 0 ? (w->sw - 1 + w->left - j) / w->sx + 1 : 0;
    while (len > 0) {
        int count = w->wp - b < len ? w->wp - b : len, row = a * w->sy + i - w->top, begin = first > b ? first : b, end = last < b + count ? last : b + count;
        if (n >= w->n || row < 0 || row >= w->sh || end <= begin) begin = end = b + count;
        for (x = b; x < begin; ++x) *to++ = 0;
        if (end > begin) {
            const zn_real *ZNI_RESTRICT line = from + (size_t)n * sample + (size_t)row * (size_t)w->sw + (ptrdiff_t)begin * w->sx + j - w->left;
            if (ahead > 0)
                for (x = 0; x < (end - begin) * w->sx; x += ZNI_LINE_REALS) ZNI_PREFETCH(line + ahead + x);
            if (w->sx == 1 && map != NULL) zni_map_run(map, line, (size_t)(end - begin), to);
            else if (w->sx == 1) memcpy(to, line, (size_t)(end - begin) * sizeof *to);
            else {
                if (w->sx == 2) /* a constant step vectorises */
                    for (x = 0; x < end - begin; ++x) to[x] = line[2 * (ptrdiff_t)x];
                else
                    for (x = 0; x < end - begin; ++x) to[x] = line[(ptrdiff_t)x * w->sx];
                if (map != NULL)
                    for (x = 0; x < end - begin; ++x) {
                        zn_real v = ZNI_MAPPED(&mapped, to[x]);
                        to[x] = v < floor_x ? floor_x : v;
                    }
            }
            to += end - begin;
        }
        for (x = end; x < b + count; ++x) *to++ = 0;
        len -= count;
        b = 0;
        if (++a == w->hp) {
            a = 0;
            ++n;
        }
    }
}
ZNI_WIDE(zni_band_plane, (const zni_window *w, int i, int j, const zn_real *from, size_t sample, size_t ahead, const zni_map *map, ptrdiff_t q, int len, zn_real *to), (w, i, j, from, sample, ahead, map, q, len, to))
/* What a convolution reads: x, through maps (one for each channel) unless that is NULL. y unless NULL: a residual sum's other
   side, read through y_maps likewise; then the ReLU of the sum is meant, and goes to `keep` too unless that is NULL. With
   slopes, x is the gradient that a batch norm got for what it made of y, and the norm's own is meant. With gates (one for each
   sample and channel) it is what attention makes of x. Where the grid is a line all of this is read, else but x through maps. */
typedef struct zni_input {
    const zn_real *x, *y;
    const zni_map *maps, *y_maps;
    zn_real *keep;
    const zni_slope *slopes;
    const zni_plane_gate *gates;
} zni_input;
static zni_input zni_input_of(const zn_real *x, const zni_map *maps) {
    zni_input in = {NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    in.x = x;
    in.maps = maps;
    return in;
}
/* The planes of `channels` channels, `pitch` apart. The next channel's line is not where the processor would look by itself,
   so it is asked for in good time (a Zen-score of ZenNet-M: 5 % less). */
#define ZNI_BAND_AHEAD 4 /* channels */
static void zni_band(const zni_window *w, int channels, const zn_real *from, size_t sample, size_t channel, const zni_map *maps, ptrdiff_t q, int len, zn_real *to,
                     size_t pitch) {
    int c, i, j;
    for (c = 0; c < channels; ++c)
        for (i = 0; i < w->py; ++i)
            for (j = 0; j < w->px; ++j, to += pitch)
                zni_band_plane(w, i, j, from + (size_t)c * channel, sample, c + ZNI_BAND_AHEAD < channels ? ZNI_BAND_AHEAD * channel : 0, maps != NULL ? maps + c : NULL,
                               q, len, to);
}

/* ---- a convolution, or the gradient of its data, as one pass of tiles ---- */
typedef struct zni_pass {
    zni_window win;
    int groups, channels, rows; /* rows of the result per group: its channels times the phases */
    int phases;                 /* 2: rows come in pairs, the even and the odd columns of a gradient of stride 2; else 1 */
    int blank;                  /* of stride 2, but the odd columns get nothing: zeros */
    size_t src_sample, src_group, src_channel;
    size_t dst_sample, dst_group, dst_row, dst_line, dst_at; /* steps of the destination; where grid position 0 goes */
    int dst_step, dst_h;                                     /* columns between grid positions; grid rows that exist */
    size_t w_group, w_row, w_channel;
    int dst_w;                  /* columns of the destination */
    int k, tap_y, tap_x[2], tap_step; /* tap (u, v) of phase j is the weight at (tap_y + u*tap_step, tap_x[j] + v*tap_step), */
    int first_tap[2], taps[2];        /* and is tap first_tap[j] + v of the window, v = 0 .. taps[j] - 1 */
} zni_pass;

/* Index of the weight of a result row and a step, or -1 where its phase has none. */
static ptrdiff_t zni_pass_weight(const zni_pass *p, int group, int row, int channel, int u, int v) {
    int phase = row % p->phases;
    row /= p->phases;
    v -= p->first_tap[phase];
    if (v < 0 || v >= p->taps[phase]) return -1;
    return (ptrdiff_t)((size_t)group * p->w_group + (size_t)row * p->w_row + (size_t)channel * p->w_channel) + (p->tap_y + u * p->tap_step) * p->k + p->tap_x[phase] + v * p->tap_step;
}
/* 1 x 1 ones that need no geometry are a single line. */
static void zni_pass_finish(zni_pass *p) {
    zni_window *w = &p->win;
    p->dst_h = w->gh;
    if (w->kh * w->kw * w->sy * w->sx == 1 && w->top == 0 && w->left == 0 && w->gh == w->sh && w->gw == w->sw && p->dst_step == 1 && p->dst_line == (size_t)w->gw &&
        (double)w->gh * w->gw < INT_MAX / 4) {
        w->gw = w->sw = w->gh * w->gw;
        w->gh = w->sh = p->dst_h = 1;
    }
    zni_window_finish(w);
}
static zni_pass zni_pass_forward(const zni_conv_shape *s) {
    zni_pass p;
    zni_window *w = &p.win;
    memset(&p, 0, sizeof p);
    w->n = s->n;
    w->gh = s->oh;
    w->gw = s->ow;
    w->sh = s->h;
    w->sw = s->w;
    w->kh = w->kw = p.k = s->k;
    w->sy = w->sx = s->stride;
    w->top = w->left = s->padding;
    p.groups = s->groups;
    p.channels = s->c / s->groups;
    p.rows = s->o / s->groups;
    p.src_channel = (size_t)s->h * (size_t)s->w;
    p.src_group = p.src_channel * (size_t)p.channels;
    p.src_sample = p.src_channel * (size_t)s->c;
    p.dst_row = (size_t)s->oh * (size_t)s->ow;
    p.dst_group = p.dst_row * (size_t)p.rows;
    p.dst_sample = p.dst_row * (size_t)s->o;
    p.dst_line = (size_t)s->ow;
    p.dst_step = p.phases = 1;
    p.dst_w = s->ow;
    p.taps[0] = s->k;
    p.w_channel = (size_t)s->k * (size_t)s->k;
    p.w_row = p.w_channel * (size_t)p.channels;
    p.w_group = p.w_row * (size_t)p.rows;
    p.tap_step = 1;
    zni_pass_finish(&p);
    return p;
}
/* First tap and number of taps that reach position `at` modulo the stride; offset of the first in the result's gradient. */
static int zni_pass_taps(const zni_conv_shape *s, int at, int *out_first, int *out_before) {
    int rest = (at + s->padding) % s->stride, last;
    if (rest >= s->k) return 0;
    last = rest + (s->k - 1 - rest) / s->stride * s->stride;
    *out_first = last;
    *out_before = (last - at - s->padding) / s->stride;
    return (last - rest) / s->stride + 1;
}
/* The gradient of the data at rows pi, pi + stride, ... and columns pj, ...: a convolution of stride 1 over dy. 0 when no
   tap gets there. With stride 2 and pj 0 the odd columns come along, so that whole lines are written: what is two taps for
   one phase and one for the other is a window of two with a zero. */
static int zni_pass_data(const zni_conv_shape *s, int pi, int pj, zni_pass *p) {
    zni_window *w = &p->win;
    int before[2] = {0, 0};
    memset(p, 0, sizeof *p);
    p->phases = 1;
    w->kh = zni_pass_taps(s, pi, &p->tap_y, &w->top);
    w->kw = p->taps[0] = zni_pass_taps(s, pj, &p->tap_x[0], &before[0]);
    w->left = before[0];
    if (s->stride == 2 && pj == 0 && w->kw > 0) {
        p->taps[1] = zni_pass_taps(s, 1, &p->tap_x[1], &before[1]);
        p->blank = p->taps[1] == 0;
        p->phases = p->blank ? 1 : 2;
        if (!p->blank && before[1] > w->left) w->left = before[1];
        p->first_tap[0] = w->left - before[0];
        w->kw += p->first_tap[0];
        if (!p->blank) p->first_tap[1] = w->left - before[1];
        if (!p->blank && p->first_tap[1] + p->taps[1] > w->kw) w->kw = p->first_tap[1] + p->taps[1];
    }
    w->n = s->n;
    w->gh = (s->h - pi + s->stride - 1) / s->stride;
    w->gw = (s->w - pj + s->stride - 1) / s->stride;
    if (w->kh == 0 || w->kw == 0 || w->gh <= 0 || w->gw <= 0) return 0;
    w->sh = s->oh;
    w->sw = s->ow;
    w->sy = w->sx = 1;
    p->groups = s->groups;
    p->channels = s->o / s->groups;
    p->rows = s->c / s->groups * p->phases;
    p->src_channel = (size_t)s->oh * (size_t)s->ow;
    p->src_group = p->src_channel * (size_t)p->channels;
    p->src_sample = p->src_channel * (size_t)s->o;
    p->dst_row = (size_t)s->h * (size_t)s->w;
    p->dst_group = p->dst_row * (size_t)(s->c / s->groups);
    p->dst_sample = p->dst_row * (size_t)s->c;
    p->dst_line = (size_t)s->w * (size_t)s->stride;
    p->dst_at = (size_t)pi * (size_t)s->w + (size_t)pj;
    p->dst_step = s->stride;
    p->dst_w = s->w;
    p->k = s->k;
    p->w_row = (size_t)s->k * (size_t)s->k;
    p->w_channel = p->w_row * (size_t)(s->c / s->groups);
    p->w_group = p->w_channel * (size_t)p->channels;
    p->tap_step = -s->stride;
    zni_pass_finish(p);
    return 1;
}

/* How the positions are cut into blocks, and what a thread needs for one. */
typedef struct zni_blocks {
    ptrdiff_t positions;
    int count, granule;  /* blocks, each some granules of positions, the last of them not whole */
    ptrdiff_t granules;
    int len, halo, band; /* positions of the longest block; what is read after a block; what lies between the planes of a band */
    size_t planes;       /* planes of the source's band */
    int steps;           /* taps times channels */
    int *off;            /* where the run of each step starts in a band */
} zni_blocks;

#define ZNI_BAND_REALS 49152 /* of one thread's band: half of a common second-level cache */
#define ZNI_MIN_TASKS 48     /* tasks wanted, so that many threads share them evenly; never their number of threads */
#define ZNI_EVEN_TASKS 16    /* and a multiple of this: of 49, one of 16 threads would have 4 and most 3 */
/* Tasks go to threads in order, in equal shares: pass after pass a thread finds the same samples in its own cache. In spells
   when two threads that share data are slow, though two processes side by side are not (so it seems that their cores have no
   third cache in common then), a Zen-score of ZenNet-M takes 130 ms that way and 156 with tasks for whoever is free, a training
   step 253 and 274; at other times it makes no difference. */

/* extra: planes besides the source's that share a block; shortest: positions below which a block wastes its time. */
static int zni_blocks_plan(zn_ctx *ctx, const zni_pass *p, int extra, int granule, int shortest, zni_blocks *out) {
    const zni_window *w = &p->win;
    int halo = zni_window_halo(w), c, u, v, r = 0;
    double fit, positions = ((double)(w->n - 1) * w->hp + w->gh) * w->wp;
    memset(out, 0, sizeof *out);
    out->planes = (size_t)p->channels * (size_t)(w->py * w->px);
    fit = ZNI_BAND_REALS / (double)(out->planes + (size_t)extra) - halo;
    if (fit > positions * p->groups / ZNI_MIN_TASKS) fit = positions * p->groups / ZNI_MIN_TASKS;
    if (fit < halo) fit = halo;
    if (fit < shortest) fit = shortest;
    if (fit > positions) fit = positions;
    if ((double)(out->planes + (size_t)extra) * (fit + halo + 3 * granule + 64) > INT_MAX / 4 || positions > (double)PTRDIFF_MAX / 64) return 0;
    out->positions = zni_window_positions(w);
    out->granule = granule;
    out->granules = (out->positions + granule - 1) / granule;
    out->count = (int)ceil(positions / fit);
    if (out->count > ZNI_EVEN_TASKS / 2) out->count = (out->count + ZNI_EVEN_TASKS / 2) / ZNI_EVEN_TASKS * ZNI_EVEN_TASKS;
    if (out->count > out->granules) out->count = (int)out->granules;
    out->len = (int)((out->granules + out->count - 1) / out->count) * granule;
    out->halo = halo;
    out->band = (out->len + halo + granule + 31) / 16 * 16; /* 16 more: planes do not fall on one cache set */
    out->steps = p->channels * w->kh * w->kw;
    out->off = (int *)zni_buffer_take(ctx, zni_size_mul((size_t)out->steps, sizeof(int)));
    if (out->off == NULL) return 0;
    for (c = 0; c < p->channels; ++c)
        for (u = 0; u < w->kh; ++u)
            for (v = 0; v < w->kw; ++v)
                out->off[r++] = ((c * w->py + u % w->sy) * w->px + v % w->sx) * out->band + u / w->sy * w->wp + v / w->sx;
    return 1;
}

/* First position of a block, the end of the one before. */
static ptrdiff_t zni_block_begin(const zni_blocks *blocks, int block) {
    ptrdiff_t q = (ptrdiff_t)((int64_t)blocks->granules * block / blocks->count) * blocks->granule;
    return q < blocks->positions ? q : blocks->positions;
}
/* Of positions begin .. end - 1 whole granules. */
static int zni_block_len(const zni_blocks *blocks, ptrdiff_t begin, ptrdiff_t end) { return (int)(end - begin + blocks->granule - 1) / blocks->granule * blocks->granule; }

/* Weights in panels of `rows`, group after group: start values, then the steps. */
static void zni_pass_pack(const zni_pass *p, int rows, const zn_real *weights, const zn_real *bias, zn_real *panels) {
    int per_group = (p->rows + rows - 1) / rows, count = p->groups * per_group, panel;
    size_t room = (size_t)rows * ((size_t)p->channels * (size_t)(p->win.kh * p->win.kw) + 1);
    ZNI_OMP(parallel for if (room * (size_t)count > ZNI_PARALLEL_MIN))
    for (panel = 0; panel < count; ++panel) {
        zn_real *to = panels + (size_t)panel * room;
        int group = panel / per_group, first = panel % per_group * rows, i, c, u, v;
        for (i = 0; i < rows; ++i) *to++ = bias == NULL || first + i >= p->rows ? 0 : bias[group * p->rows + first + i];
        for (c = 0; c < p->channels; ++c)
            for (u = 0; u < p->win.kh; ++u)
                for (v = 0; v < p->win.kw; ++v)
                    if (p->phases > 1)
                        for (i = 0; i < rows; ++i) {
                            ptrdiff_t at = first + i < p->rows ? zni_pass_weight(p, group, first + i, c, u, v) : -1;
                            *to++ = at >= 0 ? weights[at] : 0;
                        }
                    else {
                        const zn_real *w = weights + zni_pass_weight(p, group, first, c, u, v);
                        for (i = 0; i < rows; ++i) *to++ = first + i < p->rows ? w[(size_t)i * p->w_row] : 0;
                    }
    }
}

typedef struct zni_run { /* columns of a tile that go to one line of the destination */
    int first, count;
    int odd; /* of stride 2: as many have an odd column beside them */
    size_t to;
} zni_run;
static int zni_pass_runs(const zni_pass *p, ptrdiff_t q, int columns, zni_run runs[ZNI_MAX_COLUMNS]) {
    const zni_window *w = &p->win;
    /* without zeros between them, lines go on into each other */
    int joined = p->dst_step == 1 && w->wp == w->gw && w->hp == w->gh && p->dst_line == (size_t)w->gw && (double)w->gh * w->gw < INT_MAX / 4;
    int pitch = joined ? w->gh * w->gw : w->wp, width = joined ? pitch : w->gw, lines = joined ? 1 : w->hp, high = joined ? 1 : w->gh;
    int b = (int)(q % pitch), a = (int)(q / pitch % lines), at = 0, count = 0;
    size_t n = (size_t)(q / pitch / lines);
    while (at < columns && n < (size_t)w->n) {
        int len = pitch - b < columns - at ? pitch - b : columns - at, valid = width - b < len ? width - b : len;
        if (a < high && valid > 0) {
            zni_run *run = &runs[count++];
            run->first = at;
            run->count = valid;
            run->odd = p->dst_w / 2 - b < valid ? p->dst_w / 2 - b : valid;
            run->to = n * p->dst_sample + p->dst_at + (size_t)a * p->dst_line + (size_t)b * (size_t)p->dst_step;
        }
        at += len;
        b = 0;
        if (++a == lines) {
            a = 0;
            ++n;
        }
    }
    return count;
}
/* One line of results, and of stride 2 what goes between them: the line of the odd columns, or zeros. */
ZNI_INLINE void zni_pass_line(const zni_run *run, const zn_real *ZNI_RESTRICT line, const zn_real *ZNI_RESTRICT odd, int blank, ptrdiff_t step, zn_real *ZNI_RESTRICT to, int add) {
    int j;
    if (step == 1 && add)
        for (j = 0; j < run->count; ++j) to[j] += line[j];
    else if (step == 1)
        for (j = 0; j < run->count; ++j) to[j] = line[j];
    else if (odd != NULL && add)
        for (j = 0; j < run->odd; ++j) {
            to[2 * j] += line[j];
            to[2 * j + 1] += odd[j];
        }
    else if (odd != NULL)
        for (j = 0; j < run->odd; ++j) {
            to[2 * j] = line[j];
            to[2 * j + 1] = odd[j];
        }
    else if (blank && add)
        for (j = 0; j < run->odd; ++j) {
            to[2 * j] += line[j];
            to[2 * j + 1] += 0; /* whole vectors are faster than every other value */
        }
    else if (blank)
        for (j = 0; j < run->odd; ++j) {
            to[2 * j] = line[j];
            to[2 * j + 1] = 0;
        }
    else
        for (j = 0; j < run->count; ++j) to[j * step] = line[j] + (add ? to[j * step] : 0);
    if (step == 2 && run->odd < run->count && (odd != NULL || blank)) to[2 * run->odd] = line[run->odd] + (add ? to[2 * run->odd] : 0);
}
/* Rows first .. first + rows - 1 of a tile's results go where they belong. */
ZNI_INLINE void zni_pass_scatter_body(const zni_pass *p, const zni_run *runs, int count, const zn_real *from, int columns, int first, int rows, zn_real *dst, int add) {
    int r, i;
    for (i = 0; i < rows; i += p->phases)
        for (r = 0; r < count; ++r) {
            const zn_real *line = from + i * columns + runs[r].first;
            if (first + i < p->rows)
                zni_pass_line(&runs[r], line, p->phases == 2 ? line + columns : NULL, p->blank, p->dst_step, dst + runs[r].to + (size_t)((first + i) / p->phases) * p->dst_row, add);
        }
}
ZNI_WIDE(zni_pass_scatter, (const zni_pass *p, const zni_run *runs, int count, const zn_real *from, int columns, int first, int rows, zn_real *dst, int add), (p, runs, count, from, columns, first, rows, dst, add))

/* Their lines are asked for, while the tile is computed (the gradient of 160-256 of stride 2 at 56, added, takes 18 % less;
   lines that follow each other, as those of 3 x 3, the processor sees itself). */
static void zni_pass_ask(const zni_pass *p, const zni_run *runs, int count, int first, int rows, const zn_real *dst) {
    int i, r, at;
    for (i = first; i < first + rows && i < p->rows; i += p->phases)
        for (r = 0; r < count; ++r) {
            const zn_real *to = dst + runs[r].to + (size_t)(i / p->phases) * p->dst_row;
            int last = (runs[r].count - 1) * p->dst_step;
            for (at = 0; at < last; at += ZNI_LINE_REALS) ZNI_PREFETCH(to + at);
            ZNI_PREFETCH(to + last);
        }
}

#define ZNI_PANELS_AT_ONCE 8
/* The lines that a tile writes are asked for some tiles before, for it goes to each only for a moment (both gradients of 256-16
   at 28, added: 2.95 ms on one core without, 2.23 with 2, 2.18 with 5, 2.3 with 12). */
#define ZNI_TILES_AHEAD 5
/* Positions begin .. end - 1 of one group, tile after tile; position begin is the first of the band. tiles: room for a few. */
static void zni_pass_tiles(const zni_kernels *kernels, const zni_pass *p, int steps, const int *off, const zn_real *panels, const zn_real *band, ptrdiff_t begin, ptrdiff_t end,
                           zn_real *dst, int add, zn_real *tiles) {
    int rows = kernels->rows, columns = ZNI_TILE_VECTORS * kernels->lanes, whole = p->rows / rows, t, i, j;
    ptrdiff_t q;
    size_t panel = (size_t)(steps + 1) * (size_t)rows;
    zni_run runs[ZNI_MAX_COLUMNS];
    for (q = begin; q < end; q += columns) {
        int count = zni_pass_runs(p, q, columns, runs);
        const zn_real *b = band + (q - begin);
        int direct = count == 1 && runs[0].count == columns && p->dst_step == 1 ? whole : 0, now;
        if (count == 0) continue;
        for (t = 0; t < direct; ++t) {
            int later = (t + ZNI_TILES_AHEAD) / direct * columns;
            const zn_real *soon = dst + runs[0].to + (size_t)((t + ZNI_TILES_AHEAD) % direct * rows) * p->dst_row;
            for (i = 0; i < rows && q + later + columns <= end; ++i, soon += p->dst_row) {
                for (j = 0; j < columns; j += ZNI_LINE_REALS) ZNI_PREFETCH(soon + later + j);
                ZNI_PREFETCH(soon + later + columns - 1);
            }
            kernels->tile(steps, panels + (size_t)t * panel, b, off, dst + runs[0].to + (size_t)(t * rows) * p->dst_row, p->dst_row, add, NULL);
        }
        for (t = direct; t * rows < p->rows; t += now) {
            now = (p->rows - t * rows + rows - 1) / rows;
            if (now > ZNI_PANELS_AT_ONCE) now = ZNI_PANELS_AT_ONCE;
            if (p->dst_step > 1 || p->win.kh == 1) zni_pass_ask(p, runs, count, t * rows, now * rows, dst);
            for (i = 0; i < now; ++i) kernels->tile(steps, panels + (size_t)(t + i) * panel, b, off, tiles + (size_t)(i * rows * columns), (size_t)columns, 0, NULL);
            zni_pass_scatter(p, runs, count, tiles, columns, t * rows, now * rows, dst, add);
        }
    }
}
/* Of planes that are lines, without zeros between rows: how many positions from q on, at most to `end`, lie together in a sample; *out_at
   is where they begin in the plane of its first channel. */
static size_t zni_line_piece(size_t plane, size_t sample, ptrdiff_t q, ptrdiff_t end, size_t *out_at) {
    size_t column = (size_t)q % plane, left = plane - column;
    *out_at = (size_t)q / plane * sample + column;
    return left < (size_t)(end - q) ? left : (size_t)(end - q);
}
/* A band of maps that are lines, of more than x through maps: positions begin .. end - 1, and zeros up to `fill` positions.
   Residual sum and convolution of ZenNet-R's maps of 56 x 56 and more take 15 to 33 % less than one after the other, those of
   28 x 28 as long. */
static void zni_band_lines(const zni_input *in, int channels, size_t plane, size_t sample, ptrdiff_t begin, ptrdiff_t end, int fill, zn_real *to, size_t pitch) {
    size_t now, line, i;
    ptrdiff_t q;
    int c;
    for (c = 0; c < channels; ++c, to += pitch) {
        for (q = begin; q < end; q += (ptrdiff_t)now) {
            const zni_plane_gate *gate = in->gates != NULL ? in->gates + (size_t)q / plane * (size_t)channels + (size_t)c : NULL;
            const zni_map *map = in->maps == NULL ? &zni_as_it_is : in->maps + (gate != NULL ? gate->from : (size_t)c);
            size_t at, soon;
            now = zni_line_piece(plane, sample, q, end, &line);
            at = line + (gate != NULL ? gate->from : (size_t)c) * plane;
            soon = c + ZNI_BAND_AHEAD >= channels ? at : line + (gate != NULL ? gate[ZNI_BAND_AHEAD].from : (size_t)(c + ZNI_BAND_AHEAD)) * plane;
            for (i = 0; i < now && soon != at; i += ZNI_LINE_REALS) {
                ZNI_PREFETCH(in->x + soon + i);
                if (in->y != NULL) ZNI_PREFETCH(in->y + soon + i);
                if (in->keep != NULL) ZNI_PREFETCH(in->keep + soon + i);
            }
            if (gate != NULL) zni_gate_run(gate, map, in->x + at, now, to + (q - begin));
            else if (in->slopes != NULL) zni_slope_run(in->slopes + c, in->x + at, in->y + at, now, to + (q - begin), 0);
            else zni_map_add(map, in->x + at, in->y_maps != NULL ? in->y_maps + c : &zni_as_it_is, in->y + at, now, 1, to + (q - begin));
            if (in->keep != NULL) memcpy(in->keep + at, to + (q - begin), now * sizeof *to);
        }
        memset(to + (end - begin), 0, (size_t)(fill - (end - begin)) * sizeof *to);
    }
}
/* The band of a block of a group: positions begin .. end - 1 and what is read with them. */
static void zni_pass_band(const zni_pass *p, const zni_blocks *blocks, int group, const zni_input *in, ptrdiff_t begin, ptrdiff_t end, zn_real *to) {
    int fill = zni_block_len(blocks, begin, end) + blocks->halo;
    if (in->y != NULL || in->gates != NULL) zni_band_lines(in, p->channels, p->src_channel, p->src_sample, begin, end, fill, to, (size_t)blocks->band);
    else
        zni_band(&p->win, p->channels, in->x + (size_t)group * p->src_group, p->src_sample, p->src_channel, in->maps != NULL ? in->maps + group * p->channels : NULL, begin, fill,
                 to, (size_t)blocks->band);
}
/* One block of one group: its band is filled, then computed. scratch holds the band and a few tiles. */
static void zni_pass_block(const zni_kernels *kernels, const zni_pass *p, const zni_blocks *blocks, int group, int block, const zn_real *panels, const zni_input *in,
                           zn_real *dst, int add, zn_real *scratch) {
    ptrdiff_t begin = zni_block_begin(blocks, block), end = zni_block_begin(blocks, block + 1);
    zni_pass_band(p, blocks, group, in, begin, end, scratch);
    zni_pass_tiles(kernels, p, blocks->steps, blocks->off, panels, scratch, begin, end, dst, add, scratch + blocks->planes * (size_t)blocks->band);
}
/* Values of a row of results before grid position q, as zni_moments_of counts them. Where only every second line and column gets
   results, those beside and below belong to them. */
static size_t zni_pass_before(const zni_pass *p, ptrdiff_t q) {
    const zni_window *w = &p->win;
    ptrdiff_t b = q % w->wp, a = q / w->wp % w->hp, n = q / w->wp / w->hp;
    size_t at = (size_t)a * p->dst_line + (b < w->gw ? (size_t)b * (size_t)p->dst_step : p->dst_line);
    return (size_t)n * p->dst_row + (at < p->dst_row ? at : p->dst_row);
}
#define ZNI_COUNTED_BLOCK 200 /* positions of a block from which moments are taken block by block, while it is in the cache; else
                                 calls cost more than memory (2 % of a Zen-score of ZenNet-M) */
/* ZN_OK, ZN_ERROR_MEMORY, or ZN_ERROR_UNSUPPORTED without a message for sizes that only the plain loops take. moments: unless
   NULL those of each row, for forward passes; gather: unless NULL for gradients of stride 1. */
static zn_result zni_pass_run(zn_ctx *ctx, const zni_pass *p, const zni_input *in, const zn_real *weights, const zn_real *bias, zn_real *dst, int add,
                              zni_moments *moments, zni_gather *gather) {
    const zni_kernels *kernels = zni_kernels_of(ctx);
    int rows = kernels->rows, columns = ZNI_TILE_VECTORS * kernels->lanes, threads = zni_max_threads(), tasks, task, all = p->groups * p->rows;
    zni_blocks blocks;
    size_t panel, per_thread;
    zn_real *panels, *scratch;
    zni_moments *parts = NULL;
    double *sums = NULL, *shares = NULL;
    ptrdiff_t plane;
    if (!zni_blocks_plan(ctx, p, 0, columns, 2 * columns, &blocks)) return ctx->code != ZN_OK ? ctx->code : ZN_ERROR_UNSUPPORTED;
    panel = zni_size_mul((size_t)((p->rows + rows - 1) / rows * rows), (size_t)(blocks.steps + 1));
    per_thread = blocks.planes * (size_t)blocks.band + (size_t)(ZNI_PANELS_AT_ONCE * rows * columns) + 64;
    panels = zni_reals_take(ctx, zni_size_mul(panel, (size_t)p->groups));
    scratch = zni_reals_take(ctx, zni_size_mul(per_thread, (size_t)threads));
    if (moments != NULL && blocks.len >= ZNI_COUNTED_BLOCK) parts = (zni_moments *)zni_buffer_take(ctx, zni_size_mul(zni_size_mul((size_t)blocks.count, (size_t)all), sizeof *parts));
    else if (moments != NULL) sums = (double *)zni_buffer_take(ctx, zni_size_mul(zni_size_mul((size_t)p->win.n, (size_t)all), 2 * sizeof *sums));
    if (gather != NULL && gather->count > 0) shares = zni_gather_shares(ctx, gather, all, blocks.count);
    if (ctx->code == ZN_OK) {
        zni_pass_pack(p, rows, weights, bias, panels);
        tasks = p->groups * blocks.count;
        ZNI_OMP(parallel for schedule(static) num_threads(threads))
        for (task = 0; task < tasks; ++task) {
            int group = task / blocks.count, block = task % blocks.count, row;
            zn_real *to = dst + (size_t)group * p->dst_group;
            zni_pass_block(kernels, p, &blocks, group, block, panels + (size_t)group * panel, in, to, add, scratch + (size_t)zni_thread() * per_thread);
            if (parts != NULL || shares != NULL) {
                size_t from = zni_pass_before(p, zni_block_begin(&blocks, block)), end = block + 1 < blocks.count ? zni_pass_before(p, zni_block_begin(&blocks, block + 1)) : (size_t)p->win.n * p->dst_row;
                for (row = 0; row < p->rows; ++row) {
                    int of = group * p->rows + row;
                    if (parts != NULL) parts[(size_t)block * (size_t)all + (size_t)of] = zni_moments_of(to + (size_t)row * p->dst_row, p->dst_row, p->dst_sample, from, end);
                    else zni_gather_add(gather, all, of, dst, p->dst_row, from, end, shares + (size_t)block * zni_gather_room(gather, all));
                }
            }
        }
        if (shares != NULL) zni_gather_join(gather, all, shares, blocks.count);
        ZNI_OMP(parallel for if ((double)blocks.count * all > ZNI_PARALLEL_MIN))
        for (task = 0; task < (parts != NULL ? all : 0); ++task) moments[task] = zni_moments_join(parts + task, blocks.count, (size_t)all);
        if (moments != NULL && parts == NULL) { /* plane after plane, which a thread finds in its own cache */
            ZNI_OMP(parallel for schedule(static) if ((double)zni_window_positions(&p->win) * all > ZNI_CONV_PARALLEL))
            for (plane = 0; plane < (ptrdiff_t)p->win.n * all; ++plane) {
                sums[2 * plane] = sums[2 * plane + 1] = 0.0;
                zni_power_sums(dst + (size_t)plane * p->dst_row, p->dst_row, dst[(size_t)(plane % all) * p->dst_row], sums + 2 * plane);
            }
            ZNI_OMP(parallel for private(plane) if ((double)p->win.n * all > ZNI_PARALLEL_MIN))
            for (task = 0; task < all; ++task) {
                double sum[2] = {0.0, 0.0};
                for (plane = task; plane < (ptrdiff_t)p->win.n * all; plane += all) {
                    sum[0] += sums[2 * plane];
                    sum[1] += sums[2 * plane + 1];
                }
                moments[task] = zni_moments_from((double)p->win.n * (double)p->dst_row, dst[(size_t)task * p->dst_row], sum);
            }
        }
    }
    zni_buffer_give(ctx, shares);
    zni_buffer_give(ctx, sums);
    zni_buffer_give(ctx, parts);
    zni_buffer_give(ctx, scratch);
    zni_buffer_give(ctx, panels);
    zni_buffer_give(ctx, blocks.off);
    return ctx->code;
}

/* Zeros where no tap gets: rows pi, pi + stride, ... and columns pj, pj + step, ... */
static void zni_conv_clear(const zni_conv_shape *s, int pi, int pj, int step, zn_real *dx) {
    int plane, i, j;
    ZNI_OMP(parallel for private(i, j) if ((double)s->n * s->c * s->h * s->w > ZNI_CONV_PARALLEL))
    for (plane = 0; plane < s->n * s->c; ++plane)
        for (i = pi; i < s->h; i += s->stride) {
            zn_real *line = dx + ((size_t)plane * (size_t)s->h + (size_t)i) * (size_t)s->w;
            if (step == 1) memset(line, 0, (size_t)s->w * sizeof *line);
            else
                for (j = pj; j < s->w; j += step) line[j] = 0;
        }
}
/* The gradient of the data, phase after phase of a stride. */
static zn_result zni_passes_data(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *dy, const zn_real *w, zn_real *dx, int add, zni_gather *gather) {
    int pi, pj, tap, before;
    zn_result result = ZN_OK;
    zni_input in = zni_input_of(dy, NULL);
    zni_pass p;
    for (pi = 0; pi < s->stride; ++pi) {
        int empty = zni_pass_taps(s, pi, &tap, &before) == 0;
        if (empty && !add) zni_conv_clear(s, pi, 0, 1, dx);
        for (pj = 0; pj < s->stride && !empty && result == ZN_OK; ++pj)
            if (zni_pass_data(s, pi, pj, &p)) {
                result = zni_pass_run(ctx, &p, &in, w, NULL, dx, add, NULL, s->stride == 1 ? gather : NULL);
                pj += p.phases == 2 || p.blank; /* the odd columns came along */
            } else if (!add) zni_conv_clear(s, pi, pj, s->stride, dx);
    }
    return result;
}

/* ---- weaving: from rows to columns ----
       aaaa   value by value of four rows      abcdabcdabcdabcd
       bbbb   (of two, where no four are left):
       cccc
       dddd
   Whole vectors all the way. Sixteen rows take two passes, first of rows 0, 4, 8, 12, of 1, 5, 9, 13 and so on, then of what
   that made; of two rows at a time they took four passes and 11 instead of 7 cycles a vector. */
ZNI_INLINE void zni_weave_two(const zn_real *ZNI_RESTRICT even, const zn_real *ZNI_RESTRICT odd, int count, zn_real *ZNI_RESTRICT to) {
    int i;
    for (i = 0; i < count; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
    }
}
ZNI_INLINE void zni_weave_four(const zn_real *ZNI_RESTRICT a, const zn_real *ZNI_RESTRICT b, const zn_real *ZNI_RESTRICT c, const zn_real *ZNI_RESTRICT d, int count, zn_real *ZNI_RESTRICT to) {
    int i;
    for (i = 0; i < count; ++i) {
        to[4 * i] = a[i];
        to[4 * i + 1] = b[i];
        to[4 * i + 2] = c[i];
        to[4 * i + 3] = d[i];
    }
}
ZNI_INLINE void zni_part_two(const zn_real *ZNI_RESTRICT from, int count, zn_real *ZNI_RESTRICT even, zn_real *ZNI_RESTRICT odd) {
    int i;
    for (i = 0; i < count; ++i) {
        even[i] = from[2 * i];
        odd[i] = from[2 * i + 1];
    }
}
ZNI_INLINE void zni_part_four(const zn_real *ZNI_RESTRICT from, int count, zn_real *ZNI_RESTRICT a, zn_real *ZNI_RESTRICT b, zn_real *ZNI_RESTRICT c, zn_real *ZNI_RESTRICT d) {
    int i;
    for (i = 0; i < count; ++i) {
        a[i] = from[4 * i];
        b[i] = from[4 * i + 1];
        c[i] = from[4 * i + 2];
        d[i] = from[4 * i + 3];
    }
}
/* `rows` rows of count values to columns; spare: room for as many, where the rows may not lie. One is enough, because no vector
   has lanes for a third pass. */
ZNI_INLINE void zni_weave_body(const zn_real *const *row, zn_real *spare, zn_real *to, int rows, int count) {
    const zn_real *of[ZNI_MAX_LANES];
    int r, ways;
    for (r = 0; r < rows; ++r) of[r] = row[r];
    for (; rows > 1; count *= ways) {
        ways = rows % 4 == 0 ? 4 : 2;
        rows /= ways;
        for (r = 0; r < rows; ++r) {
            zn_real *out = (rows > 1 ? spare : to) + ways * r * count;
            if (ways == 4) zni_weave_four(of[r], of[r + rows], of[r + 2 * rows], of[r + 3 * rows], count, out);
            else zni_weave_two(of[r], of[r + rows], count, out);
        }
        for (r = 0; r < rows; ++r) of[r] = spare + ways * r * count;
    }
}
ZNI_WIDE(zni_weave, (const zn_real *const *row, zn_real *spare, zn_real *to, int rows, int count), (row, spare, to, rows, count))
/* And back, each row where `to` says. */
ZNI_INLINE void zni_unweave_body(const zn_real *from, zn_real *spare, zn_real *const *to, int rows, int count) {
    int r, now, ways;
    for (now = 1, count *= rows; now < rows; now *= ways) {
        zn_real *out[ZNI_MAX_LANES];
        ways = rows / now % 4 == 0 ? 4 : 2;
        count /= ways;
        for (r = 0; r < ways * now; ++r) out[r] = ways * now == rows ? to[r] : spare + r * count;
        for (r = 0; r < now; ++r) {
            const zn_real *x = from + ways * r * count;
            if (ways == 4) zni_part_four(x, count, out[r], out[r + now], out[r + 2 * now], out[r + 3 * now]);
            else zni_part_two(x, count, out[r], out[r + now]);
        }
        from = spare;
    }
}
ZNI_WIDE(zni_unweave, (const zn_real *from, zn_real *spare, zn_real *const *to, int rows, int count), (from, spare, to, rows, count))

/* ---- the weights' gradient ----
   dw[o][r] = sum over positions p of dy[o][p] * x[r][p], a run r being a channel of x seen by one tap. Two ways, both over
   bands:

     by columns, for 16 rows and runs or more          by dots, for fewer

     p:      x[r .. r + 7][p]   one value, repeated        dy[o]  | p p p .. p |  4 rows, aligned
             dy[o .. o + 47][p] three vectors, woven       x[r]   | p p p .. p |  3 runs, wherever they start
     keeps   8 x 3 vectors of sums, as a register tile     12 vectors of sums; lanes are added up after the last block

   On one core with AVX-512 (242 GFLOP/s), batch 16, in ms: 256-192 1 x 1 at 28 by dots 21.9, by columns 13.0; 16-16 7 x 7 at
   28 6.9 and 3.5; 8-8 3 x 3 at 224 by columns 21.7, by dots 14.3 (19.5 when lanes were added up after each block and rows
   were read again instead of runs). */
#define ZNI_DOT_BAND 256      /* rows of dy in one band */
#define ZNI_DOT_POSITIONS 512 /* of a dot product at a time, and the shortest block of them */
#define ZNI_DOT_TASKS 32      /* half as many where each would have but one or two blocks: to add up its sums costs too much (ZenNet-M 1 %) */

typedef struct zni_dots { /* tasks: group, then chunk of rows, then part of the blocks */
    zni_pass pass;
    zni_window dy; /* the grid's own values, zeros between rows */
    zni_blocks blocks;
    int channels;  /* of dy per group */
    int rows, chunks, parts;
    int outer;     /* products by columns, for more than a few rows */
    int weaves_x;  /* columns of x, else of dy */
    zni_pass data; /* where w is given: the gradient of the data, from the same bands of dy */
    const zn_real *w;
    zn_real *dx;
    int add, relu; /* relu: dx is complete then and passes the ReLU that x came out of */
    const zni_gather *gather;
    double *shares; /* of every part, unless NULL */
    size_t dy_channel, dy_group; /* steps of dy */
    size_t one;                  /* sums of a group in one part; those by columns stay in their tiles */
    size_t tiles;                /* reals of the tiles of a chunk */
} zni_dots;

/* Whether grids are lines (zni_pass_finish); and whether both gradients are taken in one pass: one band holds all rows of dy, and
   a value of dx gets something once. */
static int zni_conv_pointwise(const zni_conv_shape *s) { return s->k == 1 && s->padding == 0 && s->groups == 1 && (double)s->h * s->w < INT_MAX / 4; }
static int zni_conv_lines(const zni_conv_shape *s) { return zni_conv_pointwise(s) && s->stride == 1; }
static int zni_conv_shares(const zni_conv_shape *s) { return zni_conv_pointwise(s) && s->stride <= 2 && s->o <= ZNI_DOT_BAND; }
static int zni_conv_shares_fast(const zni_conv_shape *s) { return zni_conv_shares(s) && zni_conv_work(s) >= ZNI_CONV_FAST; }
static int zni_dots_plan(zn_ctx *ctx, const zni_conv_shape *s, int lanes, zni_dots *d) {
    zni_pass *p = &d->pass;
    *p = zni_pass_forward(s);
    d->dy = p->win;
    d->dy.sh = p->dst_h;
    d->dy.sw = p->win.gw;
    d->dy.sy = d->dy.py = d->dy.kh = d->dy.sx = d->dy.px = d->dy.kw = 1;
    d->dy.top = d->dy.left = 0;
    d->outer = p->rows >= 16 && p->channels * p->win.kh * p->win.kw >= 16;
    d->rows = p->rows < ZNI_DOT_BAND ? p->rows : ZNI_DOT_BAND;
    d->chunks = (p->rows + d->rows - 1) / d->rows;
    d->dy_channel = (size_t)s->oh * (size_t)s->ow;
    d->dy_group = d->dy_channel * (size_t)(s->o / s->groups);
    if (d->w != NULL) zni_pass_data(s, 0, 0, &d->data); /* of stride 2 as well: the odd lines and columns get nothing */
    if (!zni_blocks_plan(ctx, p, d->rows, d->w != NULL ? ZNI_TILE_VECTORS * lanes : lanes, d->outer ? ZNI_WEAVE : ZNI_DOT_POSITIONS, &d->blocks)) return 0;
    d->weaves_x = d->blocks.steps < d->rows;
    if (d->outer) d->tiles = d->weaves_x ? zni_size_mul((size_t)(d->blocks.steps + lanes), (size_t)(d->rows + 8)) : zni_size_mul((size_t)(d->rows + lanes), (size_t)(d->blocks.steps + 8));
    else d->tiles = zni_size_mul((size_t)((d->rows + ZNI_DOT_ROWS) * lanes), (size_t)(d->blocks.steps + ZNI_DOT_ROWS));
    d->one = d->outer ? zni_size_mul((size_t)d->chunks, d->tiles) : zni_size_mul((size_t)p->rows, (size_t)d->blocks.steps);
    d->parts = ((d->blocks.count < 2 * ZNI_DOT_TASKS ? ZNI_DOT_TASKS / 2 : ZNI_DOT_TASKS) + p->groups * d->chunks - 1) / (p->groups * d->chunks);
    if (d->parts > d->blocks.count) d->parts = d->blocks.count;
    return 1;
}
/* Tiles of rows of dy's band . runs of x's band over one block, added to those of the blocks before. */
static void zni_dots_block(const zni_kernels *kernels, const zni_dots *d, int rows, int len, const zn_real *dy, const zn_real *x, zn_real *tiles) {
    const zni_blocks *blocks = &d->blocks;
    const zn_real *a[ZNI_DOT_ROWS], *b[ZNI_DOT_RUNS];
    int p, m, r, i;
    for (p = 0; p < len; p += ZNI_DOT_POSITIONS) {
        int positions = len - p < ZNI_DOT_POSITIONS ? len - p : ZNI_DOT_POSITIONS;
        zn_real *at = tiles;
        for (r = 0; r < blocks->steps; r += ZNI_DOT_RUNS) {
            for (i = 0; i < ZNI_DOT_RUNS; ++i) b[i] = x + p + blocks->off[r + i < blocks->steps ? r + i : blocks->steps - 1];
            for (m = 0; m < rows; m += ZNI_DOT_ROWS, at += ZNI_DOT_ROWS * ZNI_DOT_RUNS * kernels->lanes) {
                for (i = 0; i < ZNI_DOT_ROWS; ++i) a[i] = dy + p + (size_t)(m + i < rows ? m + i : rows - 1) * (size_t)blocks->band;
                kernels->dots(positions, a, b, at, NULL);
            }
        }
    }
}
/* Their lanes added up: sums[m * steps + r]. */
ZNI_VECTORISE static void zni_dots_finish(const zni_kernels *kernels, const zni_dots *d, int rows, const zn_real *tiles, zn_real *sums) {
    int steps = d->blocks.steps, lanes = kernels->lanes, m, r, i, j, l;
    for (r = 0; r < steps; r += ZNI_DOT_RUNS)
        for (m = 0; m < rows; m += ZNI_DOT_ROWS, tiles += ZNI_DOT_ROWS * ZNI_DOT_RUNS * lanes)
            for (i = 0; i < ZNI_DOT_ROWS && m + i < rows; ++i)
                for (j = 0; j < ZNI_DOT_RUNS && r + j < steps; ++j) {
                    const zn_real *lane = tiles + (i * ZNI_DOT_RUNS + j) * lanes;
                    zn_real sum[2] = {0, 0};
                    for (l = 0; l < lanes; l += 2) {
                        sum[0] += lane[l];
                        sum[1] += lane[l + 1];
                    }
                    sums[(size_t)(m + i) * (size_t)steps + (size_t)(r + j)] = sum[0] + sum[1];
                }
}
/* Vectors of the next tile when `left` rows are left. */
static int zni_outer_vectors(const zni_kernels *kernels, int left) {
    int vectors = (left + kernels->lanes - 1) / kernels->lanes;
    return vectors < ZNI_TILE_VECTORS ? vectors : ZNI_TILE_VECTORS;
}
/* Of the rows of dy in a chunk and the runs of x the fewer are woven, and multiplied with the others. */
ZNI_INLINE int zni_woven_side(const zni_dots *d, int rows) { return d->weaves_x ? d->blocks.steps : rows; }
ZNI_INLINE int zni_other_side(const zni_dots *d, int rows) { return d->weaves_x ? rows : d->blocks.steps; }
/* Sums of one block, tile after tile, onto those of the blocks before. */
static void zni_outer_block(const zni_kernels *kernels, const zni_dots *d, int rows, int len, const zn_real *dy, const zn_real *x, zn_real *tiles, zn_real *columns) {
    static const zn_real nothing[ZNI_WEAVE] = {0};
    const zni_blocks *blocks = &d->blocks;
    int lanes = kernels->lanes, woven = zni_woven_side(d, rows), others = zni_other_side(d, rows), first, p, r, i, v;
    for (p = 0; p < len; p += ZNI_WEAVE) {
        int positions = len - p < ZNI_WEAVE ? len - p : ZNI_WEAVE;
        zn_real *at = tiles;
        for (first = 0; first < woven;) {
            const zn_real *run[8];
            int vectors = zni_outer_vectors(kernels, woven - first);
            for (v = 0; v < vectors; ++v, first += lanes) {
                const zn_real *row[ZNI_MAX_LANES];
                for (i = 0; i < lanes; ++i) row[i] = first + i >= woven ? nothing : p + (d->weaves_x ? x + blocks->off[first + i] : dy + (size_t)(first + i) * (size_t)blocks->band);
                zni_weave(row, columns + ZNI_TILE_VECTORS * ZNI_WEAVE * lanes, columns + v * ZNI_WEAVE * lanes, lanes, positions);
            }
            for (r = 0; r < others; r += kernels->rows, at += kernels->rows * vectors * lanes) {
                for (i = 0; i < kernels->rows; ++i) {
                    int other = r + i < others ? r + i : others - 1;
                    run[i] = p + (d->weaves_x ? dy + (size_t)other * (size_t)blocks->band : x + blocks->off[other]);
                }
                kernels->outer[vectors - 1](positions, run, columns, at, NULL);
            }
        }
    }
}
/* Values from .. end - 1 of channel c's planes of dx pass the ReLU that x came out of: of lines the band has x, which need not be
   anywhere else. */
static void zni_dots_relu(const zni_dots *d, int c, size_t from, size_t end, const zn_real *band, const zn_real *x) {
    const zni_pass *p = &d->data;
    size_t q, at, now;
    for (q = from; q < end; q += now) {
        now = zni_line_piece(p->dst_row, p->dst_sample, (ptrdiff_t)q, (ptrdiff_t)end, &at);
        at += (size_t)c * p->dst_row;
        zni_relu_grad(NULL, p->dst_step == 1 ? band + (q - from) : x + at, now, d->dx + at, 0);
    }
}
/* Products of a chunk of rows over the blocks of one part. panels, off: of the data's gradient. */
static void zni_dots_task(const zni_dots *d, const zni_kernels *kernels, int task, const zni_input *in, const zni_input *dy, zn_real *sums,
                          const zn_real *panels, const int *off, zn_real *scratch) {
    const zni_pass *p = &d->pass;
    const zni_blocks *blocks = &d->blocks;
    int part = task % d->parts, chunk = task / d->parts % d->chunks, group = task / d->parts / d->chunks, first = chunk * d->rows;
    int rows = p->rows - first < d->rows ? p->rows - first : d->rows, block = (int)((int64_t)blocks->count * part / d->parts);
    int last = (int)((int64_t)blocks->count * (part + 1) / d->parts), c;
    size_t from, to;
    zn_real *dy_band = scratch + blocks->planes * (size_t)blocks->band, *columns = dy_band + (size_t)d->rows * (size_t)blocks->band, *tiles = columns + ZNI_WEAVE * (ZNI_TILE_VECTORS + 1) * ZNI_MAX_LANES, *rest = d->outer ? tiles : tiles + d->tiles;
    sums += ((size_t)group * (size_t)d->parts + (size_t)part) * d->one + (d->outer ? (size_t)chunk * d->tiles : (size_t)first * (size_t)blocks->steps);
    if (d->outer) tiles = sums;
    memset(tiles, 0, d->tiles * sizeof(zn_real));
    for (; block < last; ++block) {
        ptrdiff_t q = zni_block_begin(blocks, block), end = zni_block_begin(blocks, block + 1);
        int len = zni_block_len(blocks, q, end);
        zni_pass_band(p, blocks, group, in, q, end, scratch);
        if (dy->slopes != NULL) zni_band_lines(dy, rows, d->dy_channel, p->dst_sample, q, end, len, dy_band, (size_t)blocks->band);
        else zni_band(&d->dy, rows, dy->x + (size_t)group * d->dy_group + (size_t)first * d->dy_channel, p->dst_sample, d->dy_channel, NULL, q, len, dy_band, (size_t)blocks->band);
        if (d->outer) zni_outer_block(kernels, d, rows, len, dy_band, scratch, tiles, columns);
        else zni_dots_block(kernels, d, rows, len, dy_band, scratch, tiles);
        if (d->w == NULL) continue;
        zni_pass_tiles(kernels, &d->data, rows, off, panels, dy_band, q, end, d->dx, d->add, rest);
        from = zni_pass_before(&d->data, q);
        to = zni_pass_before(&d->data, end);
        for (c = 0; c < p->channels; ++c) {
            if (d->relu) zni_dots_relu(d, c, from, to, scratch + (size_t)c * (size_t)blocks->band, in->x);
            if (d->shares != NULL) zni_gather_add(d->gather, p->channels, c, d->dx, p->src_channel, from, to, d->shares + (size_t)part * zni_gather_room(d->gather, p->channels));
        }
    }
    if (!d->outer) zni_dots_finish(kernels, d, rows, tiles, sums);
}
/* dw += the parts' sums, in their order: of count runs of a row from one on, or of a run with count rows. */
ZNI_VECTORISE static void zni_dots_add(const zni_dots *d, int group, int row, int run, int count, int of_rows, const zn_real *from, zn_real *dw) {
    const zni_pass *p = &d->pass;
    int taps = p->win.kh * p->win.kw, part, i, j, now;
    for (i = 0; i < count; i += 64) {
        double sum[64] = {0};
        now = count - i < 64 ? count - i : 64;
        for (part = 0; part < d->parts; ++part)
            for (j = 0; j < now; ++j) sum[j] += (double)from[(size_t)part * d->one + (size_t)(i + j)];
        for (j = 0; j < now; ++j) {
            int r = of_rows ? run : run + i + j;
            ptrdiff_t at = zni_pass_weight(p, group, of_rows ? row + i + j : row, r / taps, r % taps / p->win.kw, r % taps % p->win.kw);
            if (at >= 0) dw[at] += (zn_real)sum[j];
        }
    }
}
/* A task: a row of sums, or a row of a tile. */
static int zni_fold_tasks(const zni_dots *d, const zni_kernels *kernels) {
    int wide = ZNI_TILE_VECTORS * kernels->lanes;
    return d->outer ? d->chunks * ((zni_woven_side(d, d->rows) + wide - 1) / wide) * zni_other_side(d, d->rows) : d->pass.rows;
}
static void zni_dots_fold(const zni_dots *d, const zni_kernels *kernels, int group, int task, const zn_real *sums, zn_real *dw) {
    int per_chunk = zni_fold_tasks(d, kernels) / d->chunks, chunk = task / per_chunk, most = zni_other_side(d, d->rows), first = task % per_chunk / most * ZNI_TILE_VECTORS * kernels->lanes;
    int other = task % per_chunk % most, row = chunk * d->rows, rows = d->pass.rows - row < d->rows ? d->pass.rows - row : d->rows, left = zni_woven_side(d, rows) - first, width;
    sums += (size_t)group * (size_t)d->parts * d->one;
    if (!d->outer) zni_dots_add(d, group, task, 0, d->blocks.steps, 0, sums + (size_t)task * (size_t)d->blocks.steps, dw);
    else if (left > 0 && other < zni_other_side(d, rows)) { /* the last chunk has fewer */
        width = zni_outer_vectors(kernels, left) * kernels->lanes;
        sums += (size_t)chunk * d->tiles + (size_t)first * (size_t)((zni_other_side(d, rows) + kernels->rows - 1) / kernels->rows * kernels->rows) + (size_t)(other * width);
        if (left > width) left = width;
        if (d->weaves_x) zni_dots_add(d, group, row + other, first, left, 0, sums, dw);
        else zni_dots_add(d, group, row + first, other, left, 1, sums, dw);
    }
}
/* dw += dy * x^T, and where w is given (zni_conv_shares; only then dy may have slopes) dx (+)= w^T * dy, after which it passes
   the ReLU that x came out of if relu is set. */
static zn_result zni_pass_weights(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zni_input *dy, zn_real *dw, const zn_real *w, zn_real *dx, int add, int relu,
                                  zni_gather *gather) {
    const zni_kernels *kernels = zni_kernels_of(ctx);
    zni_dots d;
    int threads = zni_max_threads(), task, tasks, each, *off = NULL;
    size_t per_thread, panel = 0;
    zn_real *sums, *scratch, *panels = NULL;
    memset(&d, 0, sizeof d);
    d.w = w;
    d.dx = dx;
    d.add = add;
    d.relu = relu;
    d.gather = gather;
    if (!zni_dots_plan(ctx, s, kernels->lanes, &d)) return ctx->code != ZN_OK ? ctx->code : ZN_ERROR_UNSUPPORTED;
    per_thread = (d.blocks.planes + (size_t)d.rows) * (size_t)d.blocks.band + ZNI_WEAVE * (ZNI_TILE_VECTORS + 1) * ZNI_MAX_LANES + d.tiles + 64;
    if (w != NULL) {
        panel = (size_t)((d.data.rows + kernels->rows - 1) / kernels->rows * kernels->rows) * (size_t)(d.rows + 1);
        per_thread += (size_t)(ZNI_PANELS_AT_ONCE * kernels->rows * ZNI_TILE_VECTORS * kernels->lanes);
        panels = zni_reals_take(ctx, panel);
        off = (int *)zni_buffer_take(ctx, (size_t)d.rows * sizeof(int));
        if (gather != NULL && gather->count > 0) d.shares = zni_gather_shares(ctx, gather, d.pass.channels, d.parts);
    }
    sums = zni_reals_take(ctx, zni_size_mul(d.one, zni_size_mul((size_t)d.pass.groups, (size_t)d.parts)));
    scratch = zni_reals_take(ctx, zni_size_mul(per_thread, (size_t)threads));
    if (ctx->code == ZN_OK) {
        if (w != NULL) {
            if (s->stride > 1 && !add) zni_conv_clear(s, 1, 0, 1, dx);
            zni_pass_pack(&d.data, kernels->rows, w, NULL, panels);
            for (task = 0; task < d.rows; ++task) off[task] = task * d.blocks.band;
        }
        tasks = d.pass.groups * d.chunks * d.parts;
        ZNI_OMP(parallel for schedule(static) num_threads(threads))
        for (task = 0; task < tasks; ++task) zni_dots_task(&d, kernels, task, in, dy, sums, panels, off, scratch + (size_t)zni_thread() * per_thread);
        each = zni_fold_tasks(&d, kernels);
        tasks = d.pass.groups * each;
        ZNI_OMP(parallel for if ((double)d.one * d.parts > ZNI_CONV_PARALLEL))
        for (task = 0; task < tasks; ++task) zni_dots_fold(&d, kernels, task / each, task % each, sums, dw);
        if (d.shares != NULL) zni_gather_join(gather, d.pass.channels, d.shares, d.parts);
    }
    zni_buffer_give(ctx, d.shares);
    zni_buffer_give(ctx, scratch);
    zni_buffer_give(ctx, sums);
    zni_buffer_give(ctx, off);
    zni_buffer_give(ctx, panels);
    zni_buffer_give(ctx, d.blocks.off);
    return ctx->code;
}

/* ---- depthwise convolutions, woven ----
   As many channels as a vector has lanes, of one image, are woven into [row][column][channel], zeros around them, band after
   band of rows. A tap is then one vector wherever it lies, and no sum needs its lanes added up.

   Both gradients of 7 x 7 at batch 16, in ms on two cores of a Zen 5, and what they took as strips of rows on flat planes: 96
   channels at 112, stride 2: 11.9, 18.8; 96 at 56: 4.7, 8.0; 160 at 28: 2.0, 4.2; 192 at 14: 0.57, 1.7; 240 at 7: 0.25, 1.1.
   At 112 memory bounds them: asking for the next lines ahead saves a sixth. */
#define ZNI_WOVEN_MOST 7  /* taps of a row */

typedef struct zni_woven_taps { /* what one output reads, see zni_woven_rows */
    int off[2 * ZNI_WOVEN_MOST], tap[ZNI_WOVEN_MOST * ZNI_WOVEN_MOST];
    int runs[2], count;
} zni_woven_taps;
typedef struct zni_woven {
    const zni_conv_shape *s;
    const zni_kernels *kernels;
    int lanes, blocks, rows;      /* lanes: channels of a block; blocks of them; rows of y in a band */
    size_t x_pitch, dy_pitch;     /* of a row, zeros included */
    size_t x_room, dy_room, room; /* reals of the bands of x and dy, and of the result's */
    zni_woven_taps forward, data[2][2]; /* data: of dx's even and odd rows and columns */
    zni_input x, dy; /* of one tensor, or dy with slopes */
    const zn_real *w, *bias;
    zni_moments *moments;             /* of every plane of y; NULL: not wanted */
    const zni_gather *gather;
    double *shares;                   /* of every image, unless NULL */
    zn_real *y, *dx, *sums, *weights; /* weights: of every block, in the order of the taps of `forward`, or of all of `data` */
    int add;
} zni_woven;

/* The taps of outputs, or (gradient) of inputs at rows a, a + stride, ... and columns b, b + stride, ... */
static void zni_woven_taps_of(const zni_conv_shape *s, int gradient, int a, int b, size_t pitch, int lanes, zni_woven_taps *out) {
    int phase, i, j, runs = 0;
    memset(out, 0, sizeof *out);
    for (phase = 0; phase < s->stride; ++phase) {
        int taps = (s->k - phase + s->stride - 1) / s->stride, x = phase + (gradient ? taps - 1 : 0) * s->stride;
        int column = gradient ? (b + s->padding - x) / s->stride + s->padding : x;
        if (gradient && (b + s->padding + phase) % s->stride != 0) continue;
        for (i = 0; i < s->k; ++i) {
            int row = gradient ? (a + s->padding - i) / s->stride + s->padding : i;
            if (gradient && (a + s->padding + i) % s->stride != 0) continue;
            out->off[runs++] = (int)((size_t)row * pitch) + column * lanes;
            ++out->runs[phase];
            for (j = 0; j < taps; ++j) out->tap[out->count++] = i * s->k + x + (gradient ? -j : j) * s->stride;
        }
    }
}
/* Kernel, stride and padding of those that are woven. */
ZNI_INLINE int zni_woven_takes(int k, int stride, int padding) { return (k == 3 || k == 5 || k == 7) && stride <= 2 && padding == k / 2; }
static int zni_woven_fits(const zni_conv_shape *s) {
    return s->groups == s->c && s->o == s->c && s->c > 1 && zni_woven_takes(s->k, s->stride, s->padding) && zni_conv_work(s) >= ZNI_CONV_FAST && (double)(s->w + 2 * s->padding) * s->k * 64 < INT_MAX / 8;
}
static zni_woven zni_woven_plan(zn_ctx *ctx, const zni_conv_shape *s, int backward) {
    zni_woven p;
    int a, b;
    size_t lanes, more;
    memset(&p, 0, sizeof p);
    p.s = s;
    p.kernels = zni_kernels_of(ctx);
    p.lanes = p.kernels->woven_lanes;
    lanes = (size_t)p.lanes;
    p.blocks = (s->c + p.lanes - 1) / p.lanes;
    p.x_pitch = (size_t)(s->w + 2 * s->padding) * lanes;
    p.dy_pitch = (size_t)(s->ow + 2 * s->padding) * lanes;
    more = (size_t)(2 * ZNI_WOVEN_PIXELS + s->k) * lanes; /* tiles read beyond a row that is shorter */
    for (p.rows = s->oh;; --p.rows) {
        p.x_room = (size_t)((p.rows - 1) * s->stride + s->k) * p.x_pitch + more;
        p.dy_room = backward ? (size_t)(p.rows + 2 * s->padding) * p.dy_pitch + more : 0;
        p.room = (size_t)(p.rows * (backward ? s->stride * s->w : s->ow)) * lanes + more;
        if (p.rows == 1 || p.x_room + p.dy_room + p.room <= ZNI_BAND_REALS) break;
    }
    p.rows = (s->oh + (s->oh + p.rows - 1) / p.rows - 1) / ((s->oh + p.rows - 1) / p.rows);
    if (!backward) zni_woven_taps_of(s, 0, 0, 0, p.x_pitch, p.lanes, &p.forward);
    for (a = 0; backward && a < s->stride; ++a)
        for (b = 0; b < s->stride; ++b) zni_woven_taps_of(s, 1, a, b, p.dy_pitch, p.lanes, &p.data[a][b]);
    return p;
}
/* Rows first .. first + rows - 1 of some planes, h x w each, of channel c on and from `plane` on, into a band of rows of `pitch`.
   Unless step is 0 the band begins with row first - step, and its last `kept` rows are wanted again. scratch: room for three lots
   of woven positions. */
static void zni_woven_fill(const zni_woven *p, const zni_input *in, int c, size_t plane, int h, int w, int channels, int first, int rows, int step, int kept, size_t pitch, zn_real *to, zn_real *scratch) {
    int begin, end = first + rows < h ? first + rows : h, r, l, lanes = p->lanes, padding = p->s->padding, row, column = 0;
    ptrdiff_t q, last = (ptrdiff_t)end * w;
    zn_real *spare = scratch + ZNI_WEAVE * lanes, *woven = spare + ZNI_WEAVE * lanes;
    if (step == 0) kept = 0;
    else if (kept > rows) kept = rows;
    memmove(to, to + (size_t)step * pitch, (size_t)kept * pitch * sizeof *to);
    for (r = kept; r < rows; ++r)
        if (first + r < 0 || first + r >= h) memset(to + (size_t)r * pitch, 0, pitch * sizeof *to);
    begin = first + kept < 0 ? 0 : first + kept;
    row = begin - first;
    q = (ptrdiff_t)begin * w;
    for (; q < last; q += ZNI_WEAVE) {
        const zn_real *line_of[ZNI_MAX_LANES];
        int now = last - q < ZNI_WEAVE ? (int)(last - q) : ZNI_WEAVE, count = (now + 15) / 16 * 16, at;
        for (l = 0; l < lanes; ++l) {
            zn_real *line = scratch + l * count;
            size_t from = (plane + (size_t)l) * (size_t)h * (size_t)w + (size_t)q;
            line_of[l] = line;
            if (l >= channels) memset(line, 0, (size_t)count * sizeof *line);
            else if (in->slopes != NULL) zni_slope_run(in->slopes + c + l, in->x + from, in->y + from, (size_t)now, line, 0);
            else if (in->maps != NULL) zni_map_run(in->maps + c + l, in->x + from, (size_t)now, line);
            else if (now < count) memcpy(line, in->x + from, (size_t)now * sizeof *line);
            else line_of[l] = in->x + from;
        }
        for (l = 0; l < channels && last - q > ZNI_WEAVE; ++l)
            for (at = 0; at < ZNI_WEAVE; at += ZNI_LINE_REALS) {
                size_t soon = (plane + (size_t)l) * (size_t)h * (size_t)w + (size_t)(q + ZNI_WEAVE + at);
                ZNI_PREFETCH(in->x + soon);
                if (in->y != NULL) ZNI_PREFETCH(in->y + soon);
            }
        zni_weave(line_of, spare, woven, lanes, count);
        for (at = 0; at < now;) {
            int piece = w - column < now - at ? w - column : now - at;
            memcpy(to + (size_t)row * pitch + (size_t)((padding + column) * lanes), woven + at * lanes, (size_t)(piece * lanes) * sizeof *to);
            at += piece;
            column += piece;
            if (column == w) {
                column = 0;
                ++row;
            }
        }
    }
}
/* count woven positions, side by side, into planes. */
static void zni_woven_spill(const zni_woven *p, const zn_real *from, size_t count, int channels, zn_real *to, size_t plane, int add, zn_real *scratch) {
    int lanes = p->lanes, l;
    zn_real *spare = scratch + ZNI_WEAVE * lanes;
    while (count > 0) {
        size_t now = count < ZNI_WEAVE ? count : ZNI_WEAVE, whole = (now + 15) / 16 * 16, i;
        int beside = add || now < whole; /* else whole lines go straight to their planes */
        zn_real *lines[ZNI_MAX_LANES];
        for (l = 0; l < lanes; ++l) lines[l] = beside || l >= channels ? scratch + (size_t)l * whole : to + (size_t)l * plane;
        for (l = 0; l < channels; ++l)
            for (i = 0; i < now; i += ZNI_LINE_REALS) ZNI_PREFETCH(to + (size_t)l * plane + i);
        zni_unweave(from, spare, lines, lanes, (int)whole);
        for (l = 0; l < channels && beside; ++l) {
            const zn_real *ZNI_RESTRICT line = lines[l];
            zn_real *ZNI_RESTRICT at = to + (size_t)l * plane;
            if (add)
                for (i = 0; i < now; ++i) at[i] += line[i];
            else memcpy(at, line, now * sizeof *at);
        }
        from += now * (size_t)lanes;
        to += now;
        count -= now;
    }
}
static void zni_woven_weights(const zni_woven *p, const zni_woven_taps *taps, int c, zn_real *to) {
    int i, l, per = p->s->k * p->s->k;
    for (i = 0; i < taps->count; ++i)
        for (l = 0; l < p->lanes; ++l) *to++ = c + l < p->s->c ? p->w[(c + l) * per + taps->tap[i]] : 0;
}
/* Of the k rows of taps of stride 1 at t->off and t->w those that do not read only zeros above or below a map of `size` rows, whose
   row `top` t->x is. (Maps of 14 x 14: 8 % of them.) */
ZNI_INLINE void zni_woven_inside(zni_woven_rows *t, int k, int lanes, int top, int size) {
    int first = -top - (t->x_row > 0), end = size - top;
    if (first < 0) first = 0;
    t->off += first;
    t->w += first * k * lanes;
    t->runs[0] = (end < k ? end : k) - first;
}
/* As wide tiles as leave least over; rows that are shorter are computed beside and copied. */
static void zni_woven_rows_run(const zni_kernels *kernels, int k, int stride, zni_woven_rows *t) {
    const zni_woven_tile *two = kernels->woven[stride - 1][(k - 3) / 2];
    int best = (t->width + two[1].pixels - 1) / two[1].pixels * two[1].pixels < (t->width + two[0].pixels - 1) / two[0].pixels * two[0].pixels, r, i, l;
    zn_real beside[2 * ZNI_WOVEN_PIXELS * ZNI_MAX_LANES];
    zni_woven_rows whole = *t;
    if (t->width >= two[best].pixels) {
        two[best].run(t);
        return;
    }
    whole.width = two[best].pixels;
    whole.y = beside;
    whole.y_step = kernels->woven_lanes;
    whole.y_row = (size_t)(ZNI_WOVEN_PIXELS * kernels->woven_lanes);
    whole.y_half = ZNI_LANES;
    two[best].run(&whole);
    for (r = 0; r < (t->y_row > 0 ? kernels->woven_rows : 1); ++r)
        for (i = 0; i < t->width; ++i)
            for (l = 0; l < kernels->woven_lanes; ++l)
                t->y[(size_t)r * t->y_row + (size_t)(i * t->y_step) + (size_t)(l / ZNI_LANES) * t->y_half + (size_t)(l % ZNI_LANES)] = beside[(r * ZNI_WOVEN_PIXELS + i) * kernels->woven_lanes + l];
}
static zni_woven_rows zni_woven_rows_of(const zni_woven *p, const zni_woven_taps *taps, const zn_real *start, int x_step) {
    zni_woven_rows t;
    memset(&t, 0, sizeof t);
    t.start = start;
    t.least = -(zn_real)HUGE_VAL;
    t.off = taps->off;
    t.runs[0] = taps->runs[0];
    t.runs[1] = taps->runs[1];
    t.x_step = x_step * p->lanes;
    t.y_half = ZNI_LANES;
    return t;
}
/* One block of one image, forward. */
static void zni_woven_y(const zni_woven *p, int task, zn_real *scratch) {
    const zni_conv_shape *s = p->s;
    int n = task / p->blocks, c = task % p->blocks * p->lanes, channels = s->c - c < p->lanes ? s->c - c : p->lanes, row, r, l;
    size_t out = (size_t)s->oh * (size_t)s->ow, plane = (size_t)n * (size_t)s->c + (size_t)c;
    zn_real *band = scratch, *result = band + p->x_room, *start = result + p->room, *lots = start + p->lanes;
    zni_woven_rows t = zni_woven_rows_of(p, &p->forward, start, s->stride);
    memset(band, 0, p->x_room * sizeof *band);
    for (l = 0; l < p->lanes; ++l) start[l] = p->bias != NULL && l < channels ? p->bias[c + l] : 0;
    t.w = p->weights + c * s->k * s->k;
    t.width = s->ow;
    t.y_step = p->lanes;
    for (row = 0; row < s->oh; row += p->rows) {
        int rows = s->oh - row < p->rows ? s->oh - row : p->rows;
        zni_woven_fill(p, &p->x, c, plane, s->h, s->w, channels, row * s->stride - s->padding, (rows - 1) * s->stride + s->k, row > 0 ? p->rows * s->stride : 0, s->k - s->stride, p->x_pitch, band, lots);
        for (r = 0; r < rows; r += p->kernels->woven_rows) {
            t.x = band + (size_t)(r * s->stride) * p->x_pitch;
            t.y = result + (size_t)(r * s->ow) * (size_t)p->lanes;
            t.x_row = r + 1 < rows ? (size_t)s->stride * p->x_pitch : 0;
            t.y_row = r + 1 < rows ? (size_t)s->ow * (size_t)p->lanes : 0;
            zni_woven_rows_run(p->kernels, s->k, s->stride, &t);
        }
        zni_woven_spill(p, result, (size_t)rows * (size_t)s->ow, channels, p->y + plane * out + (size_t)row * (size_t)s->ow, out, 0, lots);
    }
    for (l = 0; l < channels && p->moments != NULL; ++l) p->moments[plane + (size_t)l] = zni_moments_of(p->y + (plane + (size_t)l) * out, out, 0, 0, out);
}
/* Both gradients of one block of one image, where wanted. */
static void zni_woven_gradients(const zni_woven *p, int task, zn_real *scratch) {
    const zni_conv_shape *s = p->s;
    int n = task / p->blocks, c = task % p->blocks * p->lanes, channels = s->c - c < p->lanes ? s->c - c : p->lanes, taps = s->k * s->k, row, r, a, b, i, l;
    size_t in = (size_t)s->h * (size_t)s->w, plane = (size_t)n * (size_t)s->c + (size_t)c;
    zn_real *x_band = scratch, *dy_band = x_band + p->x_room, *result = dy_band + p->dy_room, *start = result + p->room, *lots = start + p->lanes;
    zn_real *sums = p->sums != NULL ? p->sums + (size_t)task * (size_t)(taps * p->lanes) : NULL;
    zni_woven_lines lines;
    memset(scratch, 0, (p->x_room + p->dy_room) * sizeof *scratch);
    memset(start, 0, (size_t)p->lanes * sizeof *start);
    if (sums != NULL) memset(sums, 0, (size_t)(taps * p->lanes) * sizeof *sums);
    for (row = 0; row < s->oh; row += p->rows) {
        int rows = s->oh - row < p->rows ? s->oh - row : p->rows, first = row * s->stride, end = (row + rows) * s->stride < s->h ? (row + rows) * s->stride : s->h;
        zni_woven_fill(p, &p->dy, c, plane, s->oh, s->ow, channels, row - s->padding, rows + 2 * s->padding, row > 0 ? p->rows : 0, 2 * s->padding, p->dy_pitch, dy_band, lots);
        if (sums != NULL) {
            int size = (s->k - 3) / 2, most = s->k == 3 ? 3 : 2;
            zni_woven_fill(p, &p->x, c, plane, s->h, s->w, channels, first - s->padding, (rows - 1) * s->stride + s->k, row > 0 ? p->rows * s->stride : 0, s->k - s->stride, p->x_pitch, x_band, lots);
            lines.dy = dy_band + (size_t)s->padding * (p->dy_pitch + (size_t)p->lanes);
            lines.dy_line = p->dy_pitch;
            lines.x_row = p->x_pitch;
            lines.x_line = p->x_pitch * (size_t)s->stride;
            lines.x_step = s->stride * p->lanes;
            lines.width = s->ow;
            lines.lines = rows;
            for (i = 0; i < s->k; i += most) {
                lines.x = x_band + (size_t)i * p->x_pitch;
                p->kernels->sums[size][i + most <= s->k](&lines, sums + i * s->k * p->lanes);
            }
        }
        if (p->dx == NULL) continue;
        for (a = 0; a < s->stride; ++a)
            for (b = 0; b < s->stride; ++b) {
                zni_woven_rows t = zni_woven_rows_of(p, &p->data[a][b], start, 1);
                t.w = p->weights + c * taps + (a == 0 ? 0 : p->data[0][0].count + p->data[0][1].count) * p->lanes + (b == 0 ? 0 : p->data[a][0].count * p->lanes);
                t.width = (s->w - b + s->stride - 1) / s->stride;
                t.y_step = s->stride * p->lanes;
                for (r = first + a; r < end; r += s->stride * p->kernels->woven_rows) {
                    int two = r + s->stride < end;
                    t.x = dy_band + (size_t)(r / s->stride - row) * p->dy_pitch;
                    t.y = result + (size_t)((r - first) * s->w + b) * (size_t)p->lanes;
                    t.x_row = two ? p->dy_pitch : 0;
                    t.y_row = two ? (size_t)(s->stride * s->w * p->lanes) : 0;
                    zni_woven_rows_run(p->kernels, s->k, s->stride, &t);
                }
            }
        zni_woven_spill(p, result, (size_t)(end - first) * (size_t)s->w, channels, p->dx + plane * in + (size_t)first * (size_t)s->w, in, p->add, lots);
        for (l = 0; l < (p->shares != NULL ? channels : 0); ++l)
            zni_gather_add(p->gather, s->c, c + l, p->dx, in, (size_t)n * in + (size_t)(first * s->w), (size_t)n * in + (size_t)(end * s->w), p->shares + (size_t)n * zni_gather_room(p->gather, s->c));
    }
}
static zn_result zni_woven_run(zn_ctx *ctx, zni_woven *p, void (*work)(const zni_woven *p, int task, zn_real *scratch)) {
    int threads = zni_max_threads(), tasks = p->s->n * p->blocks, task, a, b, stride = p->s->stride, per = p->s->k * p->s->k * p->lanes;
    size_t per_thread = p->x_room + p->dy_room + p->room + (size_t)(1 + 3 * ZNI_WEAVE) * (size_t)p->lanes + 64;
    zn_real *scratch = zni_reals_take(ctx, zni_size_mul(per_thread, (size_t)threads));
    p->weights = zni_reals_take(ctx, zni_size_mul((size_t)p->blocks, (size_t)per));
    if (scratch != NULL && p->weights != NULL) {
        for (task = 0; task < p->blocks; ++task) {
            zn_real *to = p->weights + (size_t)task * (size_t)per;
            if (p->dy.x == NULL) zni_woven_weights(p, &p->forward, task * p->lanes, to);
            for (a = 0; p->dy.x != NULL && a < stride; ++a)
                for (b = 0; b < stride; to += p->data[a][b].count * p->lanes, ++b) zni_woven_weights(p, &p->data[a][b], task * p->lanes, to);
        }
        ZNI_OMP(parallel for schedule(static) num_threads(threads))
        for (task = 0; task < tasks; ++task) work(p, task, scratch + (size_t)zni_thread() * per_thread);
    }
    zni_buffer_give(ctx, p->weights);
    zni_buffer_give(ctx, scratch);
    return ctx->code;
}
static zn_result zni_woven_forward(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zn_real *w, const zn_real *bias, zn_real *y, zni_moments *moments) {
    zni_woven p = zni_woven_plan(ctx, s, 0);
    zn_result result;
    int c;
    p.x = *in;
    p.w = w;
    p.bias = bias;
    p.y = y;
    if (moments != NULL) {
        p.moments = (zni_moments *)zni_buffer_take(ctx, zni_size_mul((size_t)s->n * (size_t)s->c, sizeof *p.moments));
        if (p.moments == NULL) return ctx->code;
    }
    result = zni_woven_run(ctx, &p, zni_woven_y);
    for (c = 0; c < s->c && moments != NULL && result == ZN_OK; ++c) moments[c] = zni_moments_join(p.moments + c, s->n, (size_t)s->c);
    zni_buffer_give(ctx, p.moments);
    return result;
}
static zn_result zni_woven_backward(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zni_input *dy, const zn_real *w, zn_real *dw, zn_real *dx, int add, zni_gather *gather) {
    zni_woven p = zni_woven_plan(ctx, s, 1);
    size_t one = (size_t)(s->k * s->k * p.lanes), block = one * (size_t)p.blocks;
    zn_result result;
    int c;
    p.x = *in;
    p.dy = *dy;
    p.w = w;
    p.dx = dx;
    p.add = add;
    p.gather = gather;
    if (dx != NULL && gather != NULL && gather->count > 0 && (p.shares = zni_gather_shares(ctx, gather, s->c, s->n)) == NULL) return ctx->code;
    if (dw != NULL) {
        p.sums = zni_reals_take(ctx, zni_size_mul(block, (size_t)s->n));
        if (p.sums == NULL) {
            zni_buffer_give(ctx, p.shares);
            return ctx->code;
        }
    }
    result = zni_woven_run(ctx, &p, zni_woven_gradients);
    if (p.shares != NULL && result == ZN_OK) zni_gather_join(gather, s->c, p.shares, s->n);
    zni_buffer_give(ctx, p.shares);
    if (result == ZN_OK && dw != NULL) {
        ZNI_OMP(parallel for if ((double)block * s->n > ZNI_CONV_PARALLEL))
        for (c = 0; c < s->c; ++c) { /* samples in their order */
            int tap, n;
            for (tap = 0; tap < s->k * s->k; ++tap) {
                const zn_real *from = p.sums + (size_t)(c / p.lanes) * one + (size_t)(tap * p.lanes + c % p.lanes);
                double sum = 0.0;
                for (n = 0; n < s->n; ++n) sum += (double)from[(size_t)n * block];
                dw[c * s->k * s->k + tap] += (zn_real)sum;
            }
        }
    }
    zni_buffer_give(ctx, p.sums);
    return result;
}

/* ---- the three passes of a convolution ----
   ZN_ERROR_UNSUPPORTED, without a message: only plain loops take this, and x must be there itself. A residual sum is read by
   convolutions that are lines (zni_conv_lines; backward zni_conv_shares). */

/* y = w * x + bias. moments: unless NULL those of each channel of y, with a count of 0 where none were taken. */
static zn_result zni_conv2d_forward(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zn_real *w, const zn_real *bias, zn_real *y, zni_moments *moments) {
    if (zni_woven_fits(s)) return zni_woven_forward(ctx, s, in, w, bias, y, moments);
    if (zni_conv_work(s) >= ZNI_CONV_FAST) {
        zni_pass p = zni_pass_forward(s);
        zn_result result = zni_pass_run(ctx, &p, in, w, bias, y, 0, moments, NULL);
        if (result != ZN_ERROR_UNSUPPORTED) return result;
    }
    if (in->maps != NULL || in->y != NULL) return ZN_ERROR_UNSUPPORTED;
    if (moments != NULL) memset(moments, 0, (size_t)s->o * sizeof *moments);
    zni_conv2d_plain_forward(s, in->x, w, bias, y);
    return ZN_OK;
}
/* dx (+)= w^T * dy. */
static zn_result zni_conv2d_backward_data(zn_ctx *ctx, const zni_conv_shape *s, const zn_real *dy, const zn_real *w, zn_real *dx, int add, zni_gather *gather) {
    if (zni_conv_work(s) >= ZNI_CONV_FAST) {
        zn_result result = zni_passes_data(ctx, s, dy, w, dx, add, gather);
        if (result != ZN_ERROR_UNSUPPORTED) return result;
    }
    zni_conv2d_plain_backward_data(s, dy, w, dx, add);
    return ZN_OK;
}
/* dw += dy * x^T. */
static zn_result zni_conv2d_backward_weights(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zni_input *dy, zn_real *dw) {
    if (zni_conv_work(s) >= ZNI_CONV_FAST) {
        zn_result result = zni_pass_weights(ctx, s, in, dy, dw, NULL, NULL, 0, 0, NULL);
        if (result != ZN_ERROR_UNSUPPORTED || in->maps != NULL || in->y != NULL) return result;
    }
    zni_conv2d_plain_backward_weights(s, in->x, dy->x, dw);
    return ZN_OK;
}
/* Both, each where it is wanted (not NULL), side by side where they can read dy together (a training step takes 8 % less);
   relu and slopes of dy for those only: see zni_pass_weights. */
static zn_result zni_conv2d_backward_both(zn_ctx *ctx, const zni_conv_shape *s, const zni_input *in, const zni_input *dy, const zn_real *w, zn_real *dw, zn_real *dx, int add, int relu,
                                          zni_gather *gather) {
    zn_result result = ZN_ERROR_UNSUPPORTED;
    if (zni_woven_fits(s)) return zni_woven_backward(ctx, s, in, dy, w, dw, dx, add, gather);
    if (dw != NULL && dx != NULL && zni_conv_shares_fast(s)) result = zni_pass_weights(ctx, s, in, dy, dw, w, dx, add, relu, gather);
    if (result != ZN_ERROR_UNSUPPORTED || relu || dy->slopes != NULL) return result;
    result = dw != NULL ? zni_conv2d_backward_weights(ctx, s, in, dy, dw) : ZN_OK;
    return dx != NULL && result == ZN_OK ? zni_conv2d_backward_data(ctx, s, dy->x, w, dx, add, gather) : result;
}
/* dbias += sum of dy, channel by channel. */
static void zni_conv2d_backward_bias(const zni_conv_shape *s, const zni_input *dy, zn_real *dbias) {
    size_t out = (size_t)s->oh * (size_t)s->ow;
    int o, n;
    ZNI_OMP(parallel for private(n) if ((double)s->n * s->o * (double)out > ZNI_CONV_PARALLEL))
    for (o = 0; o < s->o; ++o) {
        double sums[2] = {0.0, 0.0};
        for (n = 0; n < s->n && dy->slopes == NULL; ++n) zni_power_sums(dy->x + ((size_t)n * (size_t)s->o + (size_t)o) * out, out, 0, sums);
        dbias[o] += (zn_real)(dy->slopes != NULL ? dy->slopes[o].sum : sums[0]);
    }
}

/* ==================================================================================================================
   IMPL-TENSOR  tensors
   ================================================================================================================== */

/* A tensor is a header and a block of reals. Created tensors hang in ctx->tensors, results in ctx->tape, newest first,
   which is the order that the backward walk needs. Buffers of results go back to a small cache in the context, because
   the next training step asks for the same sizes: fresh pages from the system would cost more than the arithmetic. */
#define ZNI_MAX_INPUTS 8

/* While gradients are recorded, a batch norm and the ReLU after it are only noted (ZNI_PENDING_MAP): the convolution or
   attention that reads them computes them while it loads what the norm read, and their memory is never needed. So is what
   attention makes of them (ZNI_PENDING_GATE), for 1 x 1 convolutions. A residual sum (ZNI_PENDING_SUM) waits for its ReLU in
   the same way, and that (ZNI_PENDING_RELU) for the convolution that reads it first and writes it on the way. The values are
   the same as if each had been computed by itself.

   So does the way back: a norm's gradient is a sum over the batch, then an affine map. Of  c = conv(..), r = ReLU(norm(c)),
   d = conv(r)  memory is touched by

     forward   conv         writes c, and counts its moments while it is in the cache
               norm, ReLU   nothing: a map for each channel
               conv         reads c through the maps, writes d
     backward  conv         reads c through the maps, and the gradient of d; writes g, that of r, and while g is in the cache
                            adds up what the norm needs (zni_gather)
               ReLU, norm   nothing: a slope for each channel
               conv         reads g and c through the slopes, which is the gradient of c

   Where one of the convolutions cannot, the norm makes a pass of its own for its sums, or the gradient of c is written by one
   (zni_batch_norm_backward, zni_grad_slope). */
enum { ZNI_PENDING_NOT = 0, ZNI_PENDING_MAP, ZNI_PENDING_GATE, ZNI_PENDING_SUM, ZNI_PENDING_RELU };

/* What computed a result: a row of zni_ops. */
enum {
    ZNI_OP_CONV2D, ZNI_OP_LINEAR, ZNI_OP_BATCH_NORM, ZNI_OP_GROUP_NORM, ZNI_OP_RELU, ZNI_OP_SWISH, ZNI_OP_SIGMOID, ZNI_OP_ADD,
    ZNI_OP_MUL, ZNI_OP_SCALE, ZNI_OP_AVG_POOL, ZNI_OP_MAX_POOL, ZNI_OP_CONCAT, ZNI_OP_SLICE, ZNI_OP_RESHAPE, ZNI_OP_SHUFFLE,
    ZNI_OP_SHUFFLE_ATTENTION, ZNI_OP_SOFTMAX, ZNI_OP_LOG_SOFTMAX, ZNI_OP_CROSS_ENTROPY, ZNI_OP_SMOOTH_L1, ZNI_OP_SUM, ZNI_OP_MEAN
};

struct zn_tensor {
    zn_ctx *ctx;
    zn_shape shape;
    size_t count;
    zn_real *data, *grad;
    struct zn_tensor *twin; /* whose gradient is the same memory, until one of them is changed */
    int created;     /* in ctx->tensors, lives until destroyed; otherwise a result on the tape */
    int trainable;   /* created tensors: a gradient is kept for the user */
    int needs_grad;  /* trainable, or computed from something trainable */
    int borrowed;    /* data and grad point into a network's block, or data into another tensor */
    int decay;       /* weight decay applies: weights of convolutions and linear layers */
    int internal;    /* a network's intermediate result: its data may go as soon as backward has passed it, */
    int spent;       /* which has happened */
    int reached;     /* by the walk from the loss, see zni_walk_spent */
    int pending;     /* ZNI_PENDING_...: data is computed only if somebody asks for it (zni_ready) */
    int masked;      /* grad still has to pass the ReLU of the maps, */
    zn_real *mask;   /* or the ReLU whose output this is (zni_grad_settle) */
    int passed;      /* of a ReLU: grad has passed it already */
    int readers;     /* of a result: others that may still add to grad */
    zni_map *maps;   /* of a batch norm, or of the ReLU upon it: one for each channel of base */
    double *sums;    /* of a batch norm: its backward's, two for each channel, if who completed grad has taken them (zni_gather) */
    zni_slope *slopes; /* of a convolution: grad still has to pass the batch norm that read data; one for each channel */
    struct zn_tensor *base;
    zni_plane_gate *gates; /* of attention: one for each sample and channel */
    int op;          /* row of zni_ops, -1 for none */
    zn_tensor *in[ZNI_MAX_INPUTS];
    int ints[4];
    double reals[2];
    zn_real *saved;  /* what backward needs besides inputs and output */
    zni_moments *moments; /* of each channel of a convolution's result, for the norm that may follow; or NULL */
    char *name;
    struct zn_tensor *next;
};

static zn_shape zni_shape(int dims, int a, int b, int c, int d) {
    zn_shape s;
    s.dims = dims;
    s.n[0] = a;
    s.n[1] = b;
    s.n[2] = c;
    s.n[3] = d;
    return s;
}
ZN_API zn_shape zn_shape1(int a) { return zni_shape(1, a, 1, 1, 1); }
ZN_API zn_shape zn_shape2(int a, int b) { return zni_shape(2, a, b, 1, 1); }
ZN_API zn_shape zn_shape3(int a, int b, int c) { return zni_shape(3, a, b, c, 1); }
ZN_API zn_shape zn_shape4(int n, int c, int h, int w) { return zni_shape(4, n, c, h, w); }

/* Number of values, 0 for a shape that cannot be, SIZE_MAX for one too large. */
static size_t zni_shape_count(zn_shape s) {
    size_t count = 1;
    int i;
    if (s.dims < 1 || s.dims > ZN_MAX_DIMS) return 0;
    for (i = 0; i < s.dims; ++i) {
        if (s.n[i] < 1) return 0;
        count = zni_size_mul(count, (size_t)s.n[i]);
    }
    return count > SIZE_MAX / sizeof(zn_real) / 4 ? SIZE_MAX : count;
}
static int zni_shape_equal(zn_shape a, zn_shape b) {
    return a.dims == b.dims && a.n[0] == b.n[0] && a.n[1] == b.n[1] && a.n[2] == b.n[2] && a.n[3] == b.n[3];
}
/* "2x3x8x8" for messages. */
static const char *zni_shape_text(zn_shape s, char text[64]) {
    if (s.dims < 1 || s.dims > ZN_MAX_DIMS) snprintf(text, 64, "(%d dimensions, must be 1 to %d)", s.dims, ZN_MAX_DIMS);
    else snprintf(text, 64, s.dims == 1 ? "%d" : s.dims == 2 ? "%dx%d" : s.dims == 3 ? "%dx%dx%d" : "%dx%dx%dx%d", s.n[0], s.n[1], s.n[2], s.n[3]);
    return text;
}

/* A header without data on no list. */
static zn_tensor *zni_tensor_header(zn_ctx *ctx, zn_shape shape) {
    zn_tensor *t;
    size_t count = zni_shape_count(shape);
    int i;
    if (ctx->code != ZN_OK) return NULL;
    if (count == 0 || count == SIZE_MAX) {
        char text[64];
        zni_shape_text(shape, text);
        if (count == 0) zni_fail(ctx, ZN_ERROR_ARGUMENT, "a tensor of shape %s cannot be", text);
        else zni_fail(ctx, ZN_ERROR_MEMORY, "out of memory: a tensor of shape %s is too large", text);
        return NULL;
    }
    t = (zn_tensor *)zni_buffer_take(ctx, sizeof *t);
    if (t == NULL) return NULL;
    memset(t, 0, sizeof *t);
    for (i = shape.dims; i < ZN_MAX_DIMS; ++i) shape.n[i] = 1;
    t->ctx = ctx;
    t->shape = shape;
    t->count = count;
    t->op = -1;
    return t;
}
/* Gives t's gradient back, or leaves it to the twin. */
static void zni_grad_leave(zn_tensor *t) {
    if (t->twin != NULL) t->twin->twin = NULL;
    else {
        zni_buffer_give(t->ctx, t->grad);
        zni_buffer_give(t->ctx, t->mask);
    }
    zni_buffer_give(t->ctx, t->sums);
    zni_buffer_give(t->ctx, t->slopes);
    t->twin = NULL;
    t->grad = t->mask = NULL;
    t->sums = NULL;
    t->slopes = NULL;
    t->passed = 0;
}
static void zni_tensor_free(zn_tensor *t) {
    zn_ctx *ctx = t->ctx;
    if (!t->borrowed) {
        zni_buffer_give(ctx, t->data);
        zni_grad_leave(t);
    }
    zni_buffer_give(ctx, t->saved);
    zni_buffer_give(ctx, t->moments);
    zni_buffer_give(ctx, t->maps);
    zni_buffer_give(ctx, t->gates);
    zni_free(ctx, t->name);
    zni_buffer_give(ctx, t);
}
static void zni_list_free(zn_tensor **list) {
    while (*list != NULL) {
        zn_tensor *t = *list;
        *list = t->next;
        zni_tensor_free(t);
    }
}
static void zni_ctx_drop_tensors(zn_ctx *ctx) {
    zni_list_free(&ctx->tape);
    zni_list_free(&ctx->tensors);
    zni_cache_flush(ctx);
}

ZN_API zn_tensor *zn_tensor_create(zn_ctx *ctx, zn_shape shape) {
    zn_tensor *t;
    if (ctx == NULL) return NULL;
    t = zni_tensor_header(ctx, shape);
    if (t == NULL) return NULL;
    t->created = 1;
    t->data = zni_reals_take(ctx, t->count);
    if (t->data == NULL) {
        zni_tensor_free(t);
        return NULL;
    }
    memset(t->data, 0, t->count * sizeof(zn_real));
    t->next = ctx->tensors;
    ctx->tensors = t;
    return t;
}
ZN_API zn_tensor *zn_tensor_from(zn_ctx *ctx, zn_shape shape, const zn_real *values) {
    zn_tensor *t = zn_tensor_create(ctx, shape);
    if (t != NULL && values != NULL) memcpy(t->data, values, t->count * sizeof(zn_real));
    return t;
}
ZN_API zn_tensor *zn_param_zeros(zn_ctx *ctx, zn_shape shape) {
    zn_tensor *t = zn_tensor_create(ctx, shape);
    if (t == NULL) return NULL;
    t->grad = zni_reals_take(ctx, t->count);
    if (t->grad == NULL) {
        zn_tensor_destroy(t);
        return NULL;
    }
    memset(t->grad, 0, t->count * sizeof(zn_real));
    t->trainable = t->needs_grad = 1;
    t->decay = shape.dims > 1;
    return t;
}
ZN_API zn_tensor *zn_param(zn_ctx *ctx, zn_shape shape, zn_rng *rng) {
    zn_tensor *t = zn_param_zeros(ctx, shape);
    size_t i;
    double bound;
    if (t == NULL || rng == NULL) return t;
    bound = 1.0 / sqrt((double)(t->count / (size_t)shape.n[0]));
    for (i = 0; i < t->count; ++i) t->data[i] = (zn_real)(bound * (2.0 * zn_rng_uniform(rng) - 1.0));
    return t;
}
ZN_API void zn_tensor_destroy(zn_tensor *t) {
    zn_tensor **at;
    if (t == NULL || !t->created) return;
    for (at = &t->ctx->tensors; *at != NULL && *at != t;) at = &(*at)->next;
    if (*at == t) *at = t->next;
    zni_tensor_free(t);
}
ZN_API zn_shape zn_tensor_shape(const zn_tensor *t) { return t != NULL ? t->shape : zni_shape(0, 0, 0, 0, 0); }
ZN_API size_t zn_tensor_count(const zn_tensor *t) { return t != NULL ? t->count : 0; }
/* What a plane (sample n, channel c) of t is computed from, and how. */
static const zn_real *zni_source(const zn_tensor *t, size_t n, size_t c, zni_map *out_map) {
    const zn_tensor *from = t->pending == ZNI_PENDING_MAP ? t->base : t;
    *out_map = from != t ? t->maps[c] : zni_as_it_is;
    return from->data + (n * (size_t)t->shape.n[1] + c) * ((size_t)t->shape.n[2] * (size_t)t->shape.n[3]);
}
/* Computes a pending tensor into `to`, or the ReLU of it. */
static void zni_compute(const zn_tensor *t, int relu, zn_real *to) {
    ptrdiff_t p, planes = (ptrdiff_t)t->shape.n[0] * t->shape.n[1];
    size_t plane = t->count / (size_t)planes, channels = (size_t)t->shape.n[1];
    if (t->pending == ZNI_PENDING_RELU) {
        t = t->in[0];
        relu = 1;
    }
    ZNI_OMP(parallel for if (t->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        size_t n = (size_t)p / channels, c = (size_t)p % channels;
        const zni_plane_gate *gate = t->pending == ZNI_PENDING_GATE ? t->gates + p : NULL;
        zni_map a, b;
        const zn_real *x = zni_source(t->pending >= ZNI_PENDING_GATE ? t->in[0] : t, n, gate != NULL ? gate->from : c, &a);
        if (gate != NULL) zni_gate_run(gate, &a, x, plane, to + (size_t)p * plane);
        else if (t->pending == ZNI_PENDING_SUM) {
            const zn_real *y = zni_source(t->in[1], n, c, &b);
            zni_map_add(&a, x, &b, y, plane, relu, to + (size_t)p * plane);
        } else {
            a.relu |= relu;
            zni_map_run(&a, x, plane, to + (size_t)p * plane);
        }
    }
}
/* What costs little to compute is not kept from forward to backward: the ReLU of a residual sum, and what attention makes of
   its input, when what they come from is there. Of sums that follow each other every second one goes, for the next is
   computed from it. (At batch 16 ZenNet-M trains in 9 % less memory and -R in 13 %, for 4 % of the time.) */
static int zni_available(const zn_tensor *t) { return (t->pending == ZNI_PENDING_MAP ? t->base : t)->data != NULL; }
static void zni_forget(zn_tensor *t) {
    const zn_tensor *from;
    if (t->created || t->borrowed || !t->internal || !t->needs_grad || t->data == NULL || t->op < 0) return;
    from = t->in[0];
    if (t->op == ZNI_OP_RELU ? from->pending != ZNI_PENDING_SUM || !zni_available(from->in[0]) || !zni_available(from->in[1])
                             : t->op != ZNI_OP_SHUFFLE_ATTENTION || !zni_available(from)) return;
    zni_buffer_give(t->ctx, t->data);
    t->data = NULL;
    t->pending = t->op == ZNI_OP_RELU ? ZNI_PENDING_RELU : ZNI_PENDING_GATE;
}
/* Computes what is pending; 0 when memory is out. */
static int zni_fill_in(zn_tensor *t) {
    if (t->data == NULL) t->data = zni_reals_take(t->ctx, t->count);
    if (t->data == NULL) return 0;
    zni_compute(t, 0, t->data);
    t->pending = ZNI_PENDING_NOT;
    return 1;
}
/* Makes sure that t has its data, on the way forward; 0 when memory is out. */
static int zni_ready(zn_tensor *t) {
    int residual = t != NULL && t->pending == ZNI_PENDING_RELU;
    if (t == NULL || t->pending == ZNI_PENDING_NOT) return 1;
    if (!zni_fill_in(t)) return 0;
    if (residual) zni_forget(t->in[0]->in[1]);
    return 1;
}
ZN_API zn_real *zn_tensor_data(zn_tensor *t) { return t != NULL && zni_ready(t) ? t->data : NULL; }
ZN_API const zn_real *zn_tensor_grad(const zn_tensor *t) { return t != NULL && t->trainable ? t->grad : NULL; }
ZN_API const char *zn_tensor_name(const zn_tensor *t) { return t != NULL && t->name != NULL ? t->name : ""; }
ZN_API void zn_tensor_set_trainable(zn_tensor *t, int trainable) {
    if (t == NULL || !t->created || t->grad == NULL) return;
    t->trainable = t->needs_grad = trainable != 0;
}
ZN_API int zn_tensor_trainable(const zn_tensor *t) { return t != NULL && t->trainable; }
ZN_API double zn_tensor_value(const zn_tensor *t) { return t != NULL && t->count == 1 && t->data != NULL ? (double)t->data[0] : (double)NAN; }
ZN_API size_t zn_memory_now(const zn_ctx *ctx) { return ctx != NULL ? ctx->bytes : 0; }
ZN_API size_t zn_memory_peak(const zn_ctx *ctx) { return ctx != NULL ? ctx->peak_bytes : 0; }

/* ==================================================================================================================
   IMPL-OPS  operation table, tape, backward, gradient checker
   ================================================================================================================== */

/* An operation stands in one place: its function checks shapes and computes forward at once, its backward adds to the
   gradients of the inputs, its check builds a small expression for the gradient checker, and one row of zni_ops at the
   end of the section ties them together. Sums that matter run in double and in a fixed order, so results do not depend
   on the number of threads. */

/* A result of `op` on the tape without data yet; NULL when an input is of another context. */
static zn_tensor *zni_result_bare(zn_ctx *ctx, int op, zn_shape shape, int count, zn_tensor *const *in) {
    zn_tensor *y;
    int i, needs_grad = 0;
    if (ctx == NULL) return NULL;
    for (i = 0; i < count; ++i) {
        if (in[i] == NULL) continue;
        if (in[i]->ctx != ctx) {
            zni_fail(ctx, ZN_ERROR_ARGUMENT, "an operation got a tensor of another context");
            return NULL;
        }
        needs_grad |= in[i]->needs_grad;
    }
    y = zni_tensor_header(ctx, shape);
    if (y == NULL) return NULL;
    y->needs_grad = needs_grad && ctx->no_grad == 0;
    y->op = y->needs_grad ? op : -1;
    for (i = 0; i < count; ++i) {
        y->in[i] = in[i];
        if (in[i] != NULL && !in[i]->created && y->needs_grad) ++in[i]->readers;
    }
    y->next = ctx->tape;
    ctx->tape = y;
    return y;
}
/* Room for the data of a bare result; NULL when memory is out. */
static zn_tensor *zni_result_fill(zn_tensor *y) {
    if (y == NULL) return NULL;
    y->data = zni_reals_take(y->ctx, y->count);
    return y->data != NULL ? y : NULL;
}
/* A result of `op` with room for data, its inputs ready. */
static zn_tensor *zni_result_new(zn_ctx *ctx, int op, zn_shape shape, int count, zn_tensor *const *in) {
    int i;
    for (i = 0; i < count; ++i)
        if (!zni_ready(in[i])) return NULL;
    return zni_result_fill(zni_result_bare(ctx, op, shape, count, in));
}
static zn_tensor *zni_result1(zn_ctx *ctx, int op, zn_shape shape, zn_tensor *x) {
    return x == NULL ? NULL : zni_result_new(ctx, op, shape, 1, &x);
}
/* Memory for values that backward needs; NULL drops the chain. */
static zn_real *zni_save(zn_tensor *y, size_t count) { return y->saved = zni_reals_take(y->ctx, count); }

/* x's gradient, and that of its twin, has passed the ReLU. */
static void zni_grad_masked(zn_tensor *x) {
    if (x->twin != NULL) x->twin->mask = NULL;
    zni_buffer_give(x->ctx, x->mask);
    x->mask = NULL;
    x->masked = 0;
}
/* to (+)= what a norm of x makes of its gradient g, which may be `to` itself. */
static void zni_slopes_run(const zn_tensor *x, const zni_slope *slopes, const zn_real *g, zn_real *to, int add) {
    ptrdiff_t p, planes = (ptrdiff_t)x->shape.n[0] * x->shape.n[1];
    size_t plane = x->count / (size_t)planes;
    ZNI_OMP(parallel for schedule(static) if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) zni_slope_run(slopes + p % x->shape.n[1], g != to ? g + (size_t)p * plane : NULL, x->data + (size_t)p * plane, plane, to + (size_t)p * plane, add);
}
/* The gradient of a convolution's result passes the norm that read it, into memory of its own where a twin has it too. */
static void zni_grad_slope(zn_tensor *x) {
    zn_real *to = x->twin != NULL ? zni_reals_take(x->ctx, x->count) : x->grad;
    if (to == NULL) return;
    zni_slopes_run(x, x->slopes, x->grad, to, 0);
    if (x->twin != NULL) zni_grad_leave(x);
    zni_buffer_give(x->ctx, x->slopes);
    x->slopes = NULL;
    x->grad = to;
}
/* The ReLU's backward leaves it to that of the norm before it, which reads the gradient anyway, to take only what the ReLU let
   through: the norm itself (masked), or the one on a side of a residual sum (mask). The norm's may leave its own to that of the
   convolution before it (slopes). Here this is done for anybody else. */
static void zni_grad_settle(zn_tensor *x) {
    ptrdiff_t p, planes = (ptrdiff_t)x->shape.n[0] * x->shape.n[1];
    size_t plane = x->count / (size_t)planes;
    if (x->slopes != NULL) zni_grad_slope(x);
    if (!x->masked && x->mask == NULL) return;
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        zn_real *g = x->grad + (size_t)p * plane;
        if (x->masked) {
            zni_slope slope = zni_relu_slope(&x->maps[p % x->shape.n[1]]);
            zni_slope_run(&slope, NULL, x->base->data + (size_t)p * plane, plane, g, 0);
        } else zni_relu_grad(NULL, x->mask + (size_t)p * plane, plane, g, 0);
    }
    zni_grad_masked(x);
}
/* The gradient of an input: NULL when none is wanted (or memory is out); *out_add tells whether to add or to set. */
static zn_real *zni_grad(zn_tensor *x, int *out_add) {
    zn_real *own;
    *out_add = 1;
    if (x == NULL || !x->needs_grad) return NULL;
    zni_grad_settle(x);
    if (x->grad != NULL && x->twin == NULL) return x->grad;
    own = zni_reals_take(x->ctx, x->count);
    if (own == NULL) return NULL;
    if (x->grad != NULL) memcpy(own, x->grad, x->count * sizeof *own);
    else *out_add = 0;
    zni_grad_leave(x);
    return x->grad = own;
}
/* x, which has no gradient yet, gets that of y, and its twin. */
static void zni_grad_hand(zn_tensor *x, zn_tensor *y) {
    x->grad = y->grad;
    x->twin = y->twin;
    if (x->twin != NULL) x->twin->twin = x;
    y->grad = NULL;
    y->twin = NULL;
}
/* Whether x can take over the gradient of y: it has none yet. */
static int zni_grad_moves(const zn_tensor *x, const zn_tensor *y) {
    return x != NULL && x->needs_grad && x->grad == NULL && x->count == y->count && !x->borrowed && !y->borrowed && y->twin == NULL;
}
/* The gradient of x where an operation's own (y->grad) may be changed in place into it: nobody else has added to it yet, so
   x takes the buffer over. */
static zn_real *zni_grad_take(zn_tensor *x, zn_tensor *y, int *out_add) {
    if (!zni_grad_moves(x, y)) return zni_grad(x, out_add);
    zni_grad_hand(x, y);
    *out_add = 0;
    return x->grad;
}
/* The same for small tensors that are always added to. */
static zn_real *zni_grad_zeroed(zn_tensor *x) {
    int add;
    zn_real *g = zni_grad(x, &add);
    if (g != NULL && !add) memset(g, 0, x->count * sizeof(zn_real));
    return g;
}

static int zni_need_dims(zn_ctx *ctx, const char *op, const zn_tensor *x, int dims) {
    char text[64];
    if (x == NULL) return 0;
    if (x->shape.dims == dims) return 1;
    zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: needs %d dimensions, got shape %s", op, dims, zni_shape_text(x->shape, text));
    return 0;
}
static int zni_need_count(zn_ctx *ctx, const char *op, const char *what, const zn_tensor *x, size_t count) {
    char text[64];
    if (x == NULL || x->count == count) return 1;
    zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: %s has shape %s, needs %lu values", op, what, zni_shape_text(x->shape, text), (unsigned long)count);
    return 0;
}

static int zni_need_eps(zn_ctx *ctx, const char *op, double eps) {
    if (eps >= 0.0 && isfinite(eps)) return 1;
    zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: eps is %g, must be finite and not negative", op, eps);
    return 0;
}

ZNI_INLINE double zni_sigmoid(double x) { return x >= 0.0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x)); }

/* sum of x[i] and of x[i]*y[i] over a plane, eight partial sums in double so that it vectorises in a fixed order */
static double zni_sum(const zn_real *x, size_t count) {
    double s[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    size_t i, j;
    for (i = 0; i + 8 <= count; i += 8)
        for (j = 0; j < 8; ++j) s[j] += (double)x[i + j];
    for (j = 0; i < count; ++i, ++j) s[j] += (double)x[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}
static double zni_dot(const zn_real *x, const zn_real *y, size_t count) {
    double s[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    size_t i, j;
    for (i = 0; i + 8 <= count; i += 8)
        for (j = 0; j < 8; ++j) s[j] += (double)x[i + j] * (double)y[i + j];
    for (j = 0; i < count; ++i, ++j) s[j] += (double)x[i] * (double)y[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}
static double zni_sum_squares(const zn_real *x, size_t count, double mean) { /* of x - mean */
    double s[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    size_t i, j;
    for (i = 0; i + 8 <= count; i += 8)
        for (j = 0; j < 8; ++j) s[j] += ((double)x[i + j] - mean) * ((double)x[i + j] - mean);
    for (j = 0; i < count; ++i, ++j) s[j] += ((double)x[i] - mean) * ((double)x[i] - mean);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* ---- convolution ---- */
#define ZNI_MAX_STRIDE 65536 /* and padding, and windows of max_pool: positions in maps of up to INT_MAX / 2 stay in an int */
static zni_conv_shape zni_conv_shape_of(const zn_tensor *x, const zn_tensor *w, int stride, int padding, int groups) {
    zni_conv_shape s;
    memset(&s, 0, sizeof s);
    s.n = x->shape.n[0];
    s.c = x->shape.n[1];
    s.h = x->shape.n[2];
    s.w = x->shape.n[3];
    s.o = w->shape.n[0];
    s.k = w->shape.n[2];
    s.stride = stride;
    s.padding = padding;
    s.groups = groups;
    s.oh = (s.h + 2 * padding - s.k) / stride + 1;
    s.ow = (s.w + 2 * padding - s.k) / stride + 1;
    return s;
}
/* Whether x is the ReLU of a residual sum, neither of them computed. */
static int zni_residual(const zn_tensor *x) { return x->pending == ZNI_PENDING_RELU && x->in[0]->pending == ZNI_PENDING_SUM; }
/* x as a convolution reads it; what is pending yet is kept. */
static zni_input zni_conv_input(const zn_tensor *x) {
    const zn_tensor *a = zni_residual(x) ? x->in[0]->in[0] : x, *b = zni_residual(x) ? x->in[0]->in[1] : NULL;
    zni_input in = zni_input_of(NULL, NULL);
    if (x->pending == ZNI_PENDING_GATE) {
        a = x->in[0];
        in.gates = x->gates;
    }
    in.x = a->pending == ZNI_PENDING_MAP ? a->base->data : a->data;
    in.maps = a->pending == ZNI_PENDING_MAP ? a->maps : NULL;
    if (b != NULL) {
        in.keep = x->data;
        in.y = b->pending == ZNI_PENDING_MAP ? b->base->data : b->data;
        in.y_maps = b->pending == ZNI_PENDING_MAP ? b->maps : NULL;
    }
    return in;
}
ZN_API zn_tensor *zn_conv2d(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias, int stride, int padding, int groups) {
    zn_tensor *in[3], *y;
    zni_conv_shape s;
    zni_input input;
    zn_result result;
    char tx[64], tw[64];
    if (!zni_need_dims(ctx, "conv2d", x, 4) || !zni_need_dims(ctx, "conv2d", w, 4)) return NULL;
    if (stride < 1 || stride > ZNI_MAX_STRIDE || padding < 0 || groups < 1 || padding > ZNI_MAX_STRIDE || x->shape.n[2] > INT_MAX / 2 || x->shape.n[3] > INT_MAX / 2 || x->shape.n[1] % groups != 0 || w->shape.n[0] % groups != 0 ||
        w->shape.n[1] != x->shape.n[1] / groups || w->shape.n[2] != w->shape.n[3] || x->shape.n[2] + 2 * padding < w->shape.n[2] ||
        x->shape.n[3] + 2 * padding < w->shape.n[3]) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "conv2d: x %s, w %s, stride %d, padding %d, groups %d do not fit", zni_shape_text(x->shape, tx),
                 zni_shape_text(w->shape, tw), stride, padding, groups);
        return NULL;
    }
    s = zni_conv_shape_of(x, w, stride, padding, groups);
    if (!zni_need_count(ctx, "conv2d", "bias", bias, (size_t)s.o)) return NULL;
    in[0] = x;
    in[1] = w;
    in[2] = bias;
    if (!zni_ready(w) || !zni_ready(bias)) return NULL;
    if ((zni_conv_work(&s) < ZNI_CONV_FAST || (x->pending != ZNI_PENDING_MAP && !((zni_residual(x) || x->pending == ZNI_PENDING_GATE) && zni_conv_lines(&s)))) && !zni_ready(x)) return NULL;
    y = zni_result_fill(zni_result_bare(ctx, ZNI_OP_CONV2D, zn_shape4(s.n, s.o, s.oh, s.ow), 3, in));
    if (y == NULL) return NULL;
    y->ints[0] = stride;
    y->ints[1] = padding;
    y->ints[2] = groups;
    if (y->needs_grad) {
        y->moments = (zni_moments *)zni_buffer_take(ctx, zni_size_mul((size_t)s.o, sizeof *y->moments));
        if (y->moments == NULL) return NULL;
    }
    if (x->pending == ZNI_PENDING_RELU && (x->data = zni_reals_take(ctx, x->count)) == NULL) return NULL;
    input = zni_conv_input(x);
    result = zni_conv2d_forward(ctx, &s, &input, w->data, bias != NULL ? bias->data : NULL, y->data, y->moments);
    if (input.keep != NULL && result == ZN_OK) {
        x->pending = ZNI_PENDING_NOT;
        zni_forget(x->in[0]->in[1]);
    }
    if (result == ZN_ERROR_UNSUPPORTED && zni_ready(x)) {
        input = zni_input_of(x->data, NULL);
        result = zni_conv2d_forward(ctx, &s, &input, w->data, bias != NULL ? bias->data : NULL, y->data, y->moments);
    }
    return result == ZN_OK ? y : NULL;
}
/* Whether y is a convolution that reads attention's result through its gates. */
static int zni_conv_gated(const zn_tensor *y) {
    const zn_tensor *x = y->in[0];
    zni_conv_shape s;
    if (y->op != ZNI_OP_CONV2D || x->pending != ZNI_PENDING_GATE || x->in[0]->pending != ZNI_PENDING_MAP) return 0;
    s = zni_conv_shape_of(x, y->in[1], y->ints[0], y->ints[1], y->ints[2]);
    return zni_conv_lines(&s) && zni_conv_work(&s) >= ZNI_CONV_FAST;
}
/* Whether y, a convolution, is the last to add to its input's gradient, and passes the ReLU that the input came out of while
   it is at it. Of stride 2 it has not all of the input, which must be there. */
static int zni_conv_last(const zn_tensor *y) {
    const zn_tensor *x = y->in[0];
    zni_conv_shape s;
    if (y->op != ZNI_OP_CONV2D || x->op != ZNI_OP_RELU || x->base != NULL || x->readers != 1 || !x->needs_grad || !y->in[1]->needs_grad) return 0;
    s = zni_conv_shape_of(x, y->in[1], y->ints[0], y->ints[1], y->ints[2]);
    return zni_conv_shares_fast(&s) && (zni_conv_lines(&s) || x->pending == ZNI_PENDING_NOT);
}
/* Batch norm `norm` will get the gradient that is being completed: room for its sums. */
static void zni_gather_for(zn_tensor *norm, const zni_map *maps, zni_gather *g, zn_tensor *norms[2]) {
    if (norm->op != ZNI_OP_BATCH_NORM || norm->pending != ZNI_PENDING_MAP || norm->readers != 1 || norm->base->data == NULL) return;
    norms[g->count] = norm;
    g->x[g->count] = norm->base->data;
    g->maps[g->count] = maps;
    g->sums[g->count++] = (double *)zni_buffer_take(norm->ctx, zni_size_mul((size_t)norm->shape.n[1], 2 * sizeof(double)));
}
/* Which norms get the gradient of x once its last reader has added to it: x is one, or the ReLU of one, or, where that reader
   lets the gradient pass the ReLU, the ReLU of a residual sum of one or two. */
static zni_gather zni_gather_of(zn_tensor *x, int passes, zn_tensor *norms[2]) {
    zn_tensor *from = x->op == ZNI_OP_RELU ? x->in[0] : NULL;
    zni_gather g;
    int i;
    memset(&g, 0, sizeof g);
    if (!x->needs_grad || x->readers != 1) return g;
    if (x->op == ZNI_OP_BATCH_NORM) zni_gather_for(x, x->maps, &g, norms);
    else if (from != NULL && x->base != NULL && from->grad == NULL) zni_gather_for(from, x->maps, &g, norms);
    else if (from != NULL && passes && from->op == ZNI_OP_ADD && from->readers == 1 && from->grad == NULL)
        for (i = 0; i < 2; ++i)
            if (from->in[i]->grad == NULL && zni_shape_equal(from->in[i]->shape, x->shape)) zni_gather_for(from->in[i], from->in[i]->maps, &g, norms);
    return g;
}
static void zni_gather_end(zni_gather *g, zn_tensor *const norms[2]) {
    int i;
    for (i = 0; i < g->count; ++i)
        if (g->done) norms[i]->sums = g->sums[i];
        else zni_buffer_give(norms[i]->ctx, g->sums[i]);
}
/* Whether the gradient of y, a convolution, may have slopes. */
static int zni_conv_sloped(const zn_tensor *y) {
    const zn_tensor *x = y->in[0];
    zni_conv_shape s;
    if (y->op != ZNI_OP_CONV2D || y->shape.dims != 4 || !x->needs_grad || !y->in[1]->needs_grad) return 0;
    s = zni_conv_shape_of(x, y->in[1], y->ints[0], y->ints[1], y->ints[2]);
    return zni_woven_fits(&s) || zni_conv_shares_fast(&s);
}
static zn_result zni_conv2d_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0], *w = y->in[1], *norms[2];
    zni_conv_shape s = zni_conv_shape_of(x, w, y->ints[0], y->ints[1], y->ints[2]);
    int add, last = zni_conv_last(y);
    zn_real *dw = zni_grad_zeroed(w), *dbias = y->in[2] != NULL ? zni_grad_zeroed(y->in[2]) : NULL, *dx;
    zni_input in = zni_conv_input(x), dy;
    zni_gather gather;
    zn_result result;
    if (y->mask != NULL || !zni_conv_sloped(y)) zni_grad_settle(y); /* a mask: a side of a residual sum without a norm */
    dy = zni_input_of(y->grad, NULL);
    dy.y = y->slopes != NULL ? y->data : NULL;
    dy.slopes = y->slopes;
    if (dbias != NULL) zni_conv2d_backward_bias(&s, &dy, dbias);
    dx = zni_grad(x, &add);
    if (y->ctx->code != ZN_OK) return y->ctx->code;
    gather = zni_gather_of(x, last, norms);
    result = zni_conv2d_backward_both(y->ctx, &s, &in, &dy, w->data, dw, dx, add, last, &gather);
    zni_gather_end(&gather, norms);
    if (last && result == ZN_OK) x->passed = 1;
    if (result != ZN_ERROR_UNSUPPORTED) return result;
    if (!zni_fill_in(x)) return y->ctx->code;
    zni_grad_settle(y);
    if (y->ctx->code != ZN_OK) return y->ctx->code;
    in = zni_input_of(x->data, NULL);
    dy = zni_input_of(y->grad, NULL);
    return zni_conv2d_backward_both(y->ctx, &s, &in, &dy, w->data, dw, dx, add, 0, NULL);
}

/* ---- linear ---- */
ZN_API zn_tensor *zn_linear(zn_ctx *ctx, zn_tensor *x, zn_tensor *w, zn_tensor *bias) {
    zn_tensor *in[3], *y;
    int n, o, features;
    if (!zni_need_dims(ctx, "linear", x, 2) || !zni_need_dims(ctx, "linear", w, 2)) return NULL;
    if (x->shape.n[1] != w->shape.n[1]) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "linear: x has %d features, w takes %d", x->shape.n[1], w->shape.n[1]);
        return NULL;
    }
    if (!zni_need_count(ctx, "linear", "bias", bias, (size_t)w->shape.n[0])) return NULL;
    in[0] = x;
    in[1] = w;
    in[2] = bias;
    y = zni_result_new(ctx, ZNI_OP_LINEAR, zn_shape2(x->shape.n[0], w->shape.n[0]), 3, in);
    if (y == NULL) return NULL;
    features = w->shape.n[1];
    ZNI_OMP(parallel for private(o) if (y->count * (size_t)features > ZNI_PARALLEL_MIN))
    for (n = 0; n < y->shape.n[0]; ++n)
        for (o = 0; o < y->shape.n[1]; ++o) {
            double dot = zni_dot(x->data + (size_t)n * (size_t)features, w->data + (size_t)o * (size_t)features, (size_t)features);
            y->data[n * y->shape.n[1] + o] = (zn_real)(dot + (bias != NULL ? (double)bias->data[o] : 0.0));
        }
    return y;
}
static zn_result zni_linear_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0], *w = y->in[1];
    size_t batch = (size_t)y->shape.n[0], outputs = (size_t)y->shape.n[1], features = (size_t)w->shape.n[1], n, o, f;
    zn_real *dx = zni_grad_zeroed(x), *dw = zni_grad_zeroed(w), *db = y->in[2] != NULL ? zni_grad_zeroed(y->in[2]) : NULL;
    const zn_real *dy = y->grad;
    ZNI_OMP(parallel for private(o, f) if (batch * outputs * features > ZNI_PARALLEL_MIN))
    for (n = 0; n < (dx != NULL ? batch : 0); ++n)
        for (o = 0; o < outputs; ++o)
            for (f = 0; f < features; ++f) dx[n * features + f] += dy[n * outputs + o] * w->data[o * features + f];
    ZNI_OMP(parallel for private(n, f) if (batch * outputs * features > ZNI_PARALLEL_MIN))
    for (o = 0; o < (dw != NULL ? outputs : 0); ++o)
        for (n = 0; n < batch; ++n)
            for (f = 0; f < features; ++f) dw[o * features + f] += dy[n * outputs + o] * x->data[n * features + f];
    for (n = 0; db != NULL && n < batch; ++n)
        for (o = 0; o < outputs; ++o) db[o] += dy[n * outputs + o];
    return ZN_OK;
}

/* ---- batch norm (Ioffe & Szegedy 2015) ---- */
/* Batch statistics of channel c, and the running values moved. */
static void zni_batch_statistics(const zn_tensor *x, int c, zn_real *running_mean, zn_real *running_var, double momentum, double *out_mean, double *out_var) {
    size_t plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3], channels = (size_t)x->shape.n[1];
    zni_moments m = {0.0, 0.0, 0.0};
    if (x->moments != NULL) m = x->moments[c];
    if (m.count == 0.0) m = zni_moments_of(x->data + (size_t)c * plane, plane, channels * plane, 0, (size_t)x->shape.n[0] * plane);
    *out_mean = m.mean;
    *out_var = m.squares / m.count;
    if (running_mean != NULL) running_mean[c] = (zn_real)((1.0 - momentum) * (double)running_mean[c] + momentum * *out_mean);
    if (running_var != NULL && m.count > 1.0) running_var[c] = (zn_real)((1.0 - momentum) * (double)running_var[c] + momentum * (m.squares / (m.count - 1.0)));
}
ZN_API zn_tensor *zn_batch_norm(zn_ctx *ctx, zn_tensor *x, zn_tensor *gamma, zn_tensor *beta, zn_tensor *running_mean,
                                zn_tensor *running_var, int training, double momentum, double eps) {
    zn_tensor *in[3], *y;
    size_t channels, plane;
    int c;
    if (x == NULL || gamma == NULL || beta == NULL) return NULL;
    if (x->shape.dims != 2 && !zni_need_dims(ctx, "batch_norm", x, 4)) return NULL;
    channels = (size_t)x->shape.n[1];
    if (!zni_need_count(ctx, "batch_norm", "gamma", gamma, channels) || !zni_need_count(ctx, "batch_norm", "beta", beta, channels) ||
        !zni_need_count(ctx, "batch_norm", "running_mean", running_mean, channels) || !zni_need_count(ctx, "batch_norm", "running_var", running_var, channels))
        return NULL;
    if ((running_mean == NULL) != (running_var == NULL) || (!training && running_mean == NULL)) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "batch_norm: evaluation needs running statistics, training both of them or none");
        return NULL;
    }
    if (!zni_need_eps(ctx, "batch_norm", eps)) return NULL;
    in[0] = x;
    in[1] = gamma;
    in[2] = beta;
    if (!zni_ready(x) || !zni_ready(gamma) || !zni_ready(beta)) return NULL;
    y = zni_result_bare(ctx, ZNI_OP_BATCH_NORM, x->shape, 3, in);
    if (y == NULL || zni_save(y, channels) == NULL) return NULL;
    y->maps = (zni_map *)zni_buffer_take(ctx, zni_size_mul(channels, sizeof(zni_map)));
    y->base = x;
    y->ints[0] = training;
    /* pending, unless the input could be changed by its owner or nobody would keep it */
    if (y->maps == NULL || ((!y->needs_grad || x->created || x->shape.dims != 4) && zni_result_fill(y) == NULL)) return NULL;
    y->pending = y->data == NULL ? ZNI_PENDING_MAP : ZNI_PENDING_NOT;
    plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3];
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (c = 0; c < (int)channels; ++c) {
        zni_map *map = &y->maps[c];
        size_t n;
        double mean, var;
        if (training) zni_batch_statistics(x, c, running_mean != NULL ? running_mean->data : NULL, running_var != NULL ? running_var->data : NULL, momentum, &mean, &var);
        else {
            mean = (double)running_mean->data[c];
            var = (double)running_var->data[c];
        }
        y->saved[c] = (zn_real)(1.0 / sqrt(var + eps));
        map->mean = (zn_real)mean;
        map->scale = gamma->data[c] * y->saved[c];
        map->shift = beta->data[c];
        map->relu = 0;
        for (n = 0; y->data != NULL && n < (size_t)x->shape.n[0]; ++n)
            zni_map_run(map, x->data + (n * channels + (size_t)c) * plane, plane, y->data + (n * channels + (size_t)c) * plane);
    }
    return y;
}
/* Plane p in the backward pass: what it adds to the sums of its channel. */
static void zni_norm_sums(const zn_tensor *y, size_t p, zn_real *dy, double sums[2]) {
    size_t plane = (size_t)y->shape.n[2] * (size_t)y->shape.n[3];
    zni_map map = y->maps[p % (size_t)y->shape.n[1]];
    map.relu = y->masked;
    sums[0] = sums[1] = 0.0;
    if (y->mask != NULL) zni_relu_grad(NULL, y->mask + p * plane, plane, dy + p * plane, 0);
    zni_map_sums(&map, dy + p * plane, y->base->data + p * plane, plane, sums);
}
/* dx = a g + b (x - mean) + d of channel c. */
static zni_slope zni_norm_slope(const zn_tensor *y, int c, const double sums[2]) {
    double m = (double)y->shape.n[0] * (double)y->shape.n[2] * (double)y->shape.n[3], inv = (double)y->saved[c], a = (double)y->in[1]->data[c] * inv;
    zni_slope s = {{0, 0, 0, 0}, 0, 0, 0, 0};
    s.map = y->maps[c];
    s.map.relu = y->masked;
    s.a = (zn_real)a;
    if (y->ints[0]) { /* training */
        s.b = (zn_real)(-a * inv * inv * sums[1] / m);
        s.d = (zn_real)(-a * sums[0] / m);
    } else s.sum = a * sums[0];
    return s;
}
/* By planes, so that a thread takes those of its samples, and of few channels all threads have work. */
static zn_result zni_batch_norm_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0], *gamma = y->in[1];
    int channels = x->shape.n[1], taken = y->sums != NULL, add = 0, c;
    /* the convolution that x came out of reads dy through the slopes, and dx is never there */
    int leaves = zni_conv_sloped(x) && x->grad == NULL && !x->borrowed;
    ptrdiff_t planes = (ptrdiff_t)x->shape.n[0] * channels, p;
    zn_real *dy = y->grad, *dgamma = zni_grad_zeroed(gamma), *dbeta = zni_grad_zeroed(y->in[2]), *dx = leaves ? NULL : zni_grad_take(x, y, &add);
    zni_slope *slopes = (zni_slope *)zni_buffer_take(y->ctx, zni_size_mul((size_t)channels, sizeof *slopes));
    double *parts = NULL;
    if (!taken) {
        y->sums = (double *)zni_buffer_take(y->ctx, zni_size_mul((size_t)channels, 2 * sizeof *parts));
        parts = (double *)zni_buffer_take(y->ctx, zni_size_mul((size_t)planes, 2 * sizeof *parts));
    }
    if (y->ctx->code == ZN_OK) {
        ZNI_OMP(parallel for schedule(static) if (x->count > ZNI_PARALLEL_MIN))
        for (p = 0; p < (taken ? 0 : planes); ++p) zni_norm_sums(y, (size_t)p, dy, parts + 2 * p);
        ZNI_OMP(parallel for private(p) if (!taken && planes > ZNI_PARALLEL_MIN))
        for (c = 0; c < channels; ++c) {
            double *sum = y->sums + 2 * c;
            if (!taken) sum[0] = sum[1] = 0.0;
            for (p = c; p < (taken ? 0 : planes); p += channels) {
                sum[0] += parts[2 * p];
                sum[1] += parts[2 * p + 1];
            }
            if (dgamma != NULL) dgamma[c] += (zn_real)(sum[1] * (double)y->saved[c]);
            if (dbeta != NULL) dbeta[c] += (zn_real)sum[0];
            slopes[c] = zni_norm_slope(y, c, sum);
        }
        if (dx != NULL) zni_slopes_run(x, slopes, dy, dx, add);
        zni_grad_masked(y);
    }
    zni_buffer_give(y->ctx, parts);
    if (leaves && y->ctx->code == ZN_OK) {
        zni_grad_hand(x, y);
        x->slopes = slopes;
    } else zni_buffer_give(y->ctx, slopes);
    return y->ctx->code;
}

/* ---- group norm ---- */
ZN_API zn_tensor *zn_group_norm(zn_ctx *ctx, zn_tensor *x, zn_tensor *gamma, zn_tensor *beta, int groups, double eps) {
    zn_tensor *in[3], *y;
    size_t channels, plane, per, g, units;
    if (gamma == NULL || beta == NULL || !zni_need_dims(ctx, "group_norm", x, 4)) return NULL;
    channels = (size_t)x->shape.n[1];
    if (!zni_need_count(ctx, "group_norm", "gamma", gamma, channels) || !zni_need_count(ctx, "group_norm", "beta", beta, channels)) return NULL;
    if (groups < 1 || x->shape.n[1] % groups != 0) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "group_norm: %d groups do not divide %d channels", groups, x->shape.n[1]);
        return NULL;
    }
    if (!zni_need_eps(ctx, "group_norm", eps)) return NULL;
    in[0] = x;
    in[1] = gamma;
    in[2] = beta;
    units = (size_t)x->shape.n[0] * (size_t)groups;
    y = zni_result_new(ctx, ZNI_OP_GROUP_NORM, x->shape, 3, in);
    if (y == NULL || zni_save(y, 2 * units) == NULL) return NULL;
    y->ints[0] = groups;
    plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3];
    per = channels / (size_t)groups;
    for (g = 0; g < units; ++g) {
        const zn_real *from = x->data + g * per * plane;
        zn_real *to = y->data + g * per * plane;
        double mu = zni_sum(from, per * plane) / (double)(per * plane);
        double inv = 1.0 / sqrt(zni_sum_squares(from, per * plane, mu) / (double)(per * plane) + eps);
        size_t i, c0 = g % (size_t)groups * per;
        y->saved[2 * g] = (zn_real)mu;
        y->saved[2 * g + 1] = (zn_real)inv;
        for (i = 0; i < per * plane; ++i)
            to[i] = (zn_real)(((double)from[i] - mu) * inv * (double)gamma->data[c0 + i / plane] + (double)beta->data[c0 + i / plane]);
    }
    return y;
}
static zn_result zni_group_norm_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0], *gamma = y->in[1];
    size_t channels = (size_t)x->shape.n[1], groups = (size_t)y->ints[0], plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3];
    size_t per = channels / groups, units = (size_t)x->shape.n[0] * groups, g, i;
    zn_real *dgamma = zni_grad_zeroed(gamma), *dbeta = zni_grad_zeroed(y->in[2]), *dx = zni_grad_zeroed(x);
    for (g = 0; g < units; ++g) {
        size_t base = g * per * plane, c0 = g % groups * per;
        double mu = (double)y->saved[2 * g], inv = (double)y->saved[2 * g + 1], s1 = 0.0, s2 = 0.0, m = (double)(per * plane);
        for (i = 0; i < per * plane; ++i) {
            double dy = (double)y->grad[base + i], xhat = ((double)x->data[base + i] - mu) * inv, d = dy * (double)gamma->data[c0 + i / plane];
            s1 += d;
            s2 += d * xhat;
            if (dgamma != NULL) dgamma[c0 + i / plane] += (zn_real)(dy * xhat);
            if (dbeta != NULL) dbeta[c0 + i / plane] += (zn_real)dy;
        }
        for (i = 0; dx != NULL && i < per * plane; ++i) {
            double xhat = ((double)x->data[base + i] - mu) * inv, d = (double)y->grad[base + i] * (double)gamma->data[c0 + i / plane];
            dx[base + i] += (zn_real)(inv * (d - s1 / m - xhat * s2 / m));
        }
    }
    return ZN_OK;
}

/* ---- element by element ---- */
/* One call's share of an element-by-element pass. */
#define ZNI_SHARE 16384
ZNI_INLINE size_t zni_share(size_t count, ptrdiff_t share) {
    size_t left = count - (size_t)share * ZNI_SHARE;
    return left < ZNI_SHARE ? left : ZNI_SHARE;
}
ZNI_INLINE ptrdiff_t zni_shares(size_t count) { return (ptrdiff_t)((count + ZNI_SHARE - 1) / ZNI_SHARE); }

/* The gradient of y goes to x as it is; last: nobody else needs it any more. */
static void zni_grad_pass(zn_tensor *y, zn_tensor *x, int last) {
    const zn_real *dy = y->grad;
    int add;
    ptrdiff_t i;
    zn_real *dx = last ? zni_grad_take(x, y, &add) : zni_grad(x, &add);
    if (dx == NULL || dx == dy) return;
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (i = 0; i < zni_shares(y->count); ++i) {
        if (add) zni_accumulate(dx + i * ZNI_SHARE, dy + i * ZNI_SHARE, zni_share(y->count, i));
        else memcpy(dx + i * ZNI_SHARE, dy + i * ZNI_SHARE, zni_share(y->count, i) * sizeof(zn_real));
    }
}
ZN_API zn_tensor *zn_relu(zn_ctx *ctx, zn_tensor *x) {
    zn_tensor *y;
    ptrdiff_t i;
    if (x == NULL) return NULL;
    if ((x->op == ZNI_OP_RELU || x->pending == ZNI_PENDING_GATE) && !zni_ready(x)) return NULL;
    y = zni_result_bare(ctx, ZNI_OP_RELU, x->shape, 1, &x);
    if (y == NULL) return NULL;
    if (x->pending == ZNI_PENDING_SUM && y->needs_grad) {
        y->pending = ZNI_PENDING_RELU;
        return y;
    }
    if (x->pending == ZNI_PENDING_MAP && y->needs_grad) {
        int c, channels = x->shape.n[1];
        y->maps = (zni_map *)zni_buffer_take(ctx, zni_size_mul((size_t)channels, sizeof(zni_map)));
        for (c = 0; y->maps != NULL && c < channels; ++c) {
            y->maps[c] = x->maps[c];
            y->maps[c].relu = 1;
        }
        y->pending = ZNI_PENDING_MAP;
        y->base = x->base;
        return y->maps != NULL ? y : NULL;
    }
    if (zni_result_fill(y) == NULL) return NULL;
    if (x->pending == ZNI_PENDING_SUM) {
        zni_compute(x, 1, y->data);
        return y;
    }
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (i = 0; i < zni_shares(y->count); ++i) zni_relu_run(x->data + i * ZNI_SHARE, zni_share(y->count, i), y->data + i * ZNI_SHARE);
    return y;
}
static zn_result zni_relu_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0];
    const zn_real *dy = y->grad;
    int add;
    ptrdiff_t i;
    zn_real *dx;
    if (y->passed) {
        zni_grad_pass(y, x, 1);
        return ZN_OK;
    }
    dx = zni_grad_take(x, y, &add);
    if (dx == NULL) return ZN_OK;
    if (y->base != NULL && dx == dy) x->masked = 1; /* the norm's backward reads what decides */
    else if (x->pending == ZNI_PENDING_SUM && dx == dy && y->internal) { /* that of a norm in the sum will */
        x->mask = y->data;
        y->data = NULL;
    } else if (y->base != NULL) {
        size_t plane = (size_t)y->shape.n[2] * (size_t)y->shape.n[3];
        ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
        for (i = 0; i < (ptrdiff_t)(y->count / plane); ++i) {
            zni_slope slope = zni_relu_slope(&y->maps[i % y->shape.n[1]]);
            zni_slope_run(&slope, dy + (size_t)i * plane, y->base->data + (size_t)i * plane, plane, dx + (size_t)i * plane, add);
        }
    } else {
        ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
        for (i = 0; i < zni_shares(y->count); ++i)
            zni_relu_grad(dx == dy ? NULL : dy + i * ZNI_SHARE, y->data + i * ZNI_SHARE, zni_share(y->count, i), dx + i * ZNI_SHARE, add);
    }
    return ZN_OK;
}
ZN_API zn_tensor *zn_swish(zn_ctx *ctx, zn_tensor *x) {
    zn_tensor *y = x != NULL ? zni_result1(ctx, ZNI_OP_SWISH, x->shape, x) : NULL;
    size_t i;
    if (y == NULL) return NULL;
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (i = 0; i < y->count; ++i) y->data[i] = (zn_real)((double)x->data[i] * zni_sigmoid((double)x->data[i]));
    return y;
}
static zn_result zni_swish_backward(zn_tensor *y) {
    zn_real *dx = zni_grad_zeroed(y->in[0]);
    size_t i;
    for (i = 0; dx != NULL && i < y->count; ++i) {
        double x = (double)y->in[0]->data[i], s = zni_sigmoid(x);
        dx[i] += (zn_real)((double)y->grad[i] * (s + x * s * (1.0 - s)));
    }
    return ZN_OK;
}
ZN_API zn_tensor *zn_sigmoid(zn_ctx *ctx, zn_tensor *x) {
    zn_tensor *y = x != NULL ? zni_result1(ctx, ZNI_OP_SIGMOID, x->shape, x) : NULL;
    size_t i;
    if (y == NULL) return NULL;
    for (i = 0; i < y->count; ++i) y->data[i] = (zn_real)zni_sigmoid((double)x->data[i]);
    return y;
}
static zn_result zni_sigmoid_backward(zn_tensor *y) {
    zn_real *dx = zni_grad_zeroed(y->in[0]);
    size_t i;
    for (i = 0; dx != NULL && i < y->count; ++i) dx[i] += y->grad[i] * y->data[i] * (1 - y->data[i]);
    return ZN_OK;
}
ZN_API zn_tensor *zn_scale(zn_ctx *ctx, zn_tensor *x, double factor) {
    zn_tensor *y = x != NULL ? zni_result1(ctx, ZNI_OP_SCALE, x->shape, x) : NULL;
    size_t i;
    if (y == NULL) return NULL;
    y->reals[0] = factor;
    for (i = 0; i < y->count; ++i) y->data[i] = (zn_real)(factor * (double)x->data[i]);
    return y;
}
static zn_result zni_scale_backward(zn_tensor *y) {
    zn_real *dx = zni_grad_zeroed(y->in[0]);
    size_t i;
    for (i = 0; dx != NULL && i < y->count; ++i) dx[i] += (zn_real)(y->reals[0] * (double)y->grad[i]);
    return ZN_OK;
}

/* ---- add and multiply, the second operand broadcast ---- */
/* Steps of b along the four sizes of a (0 where b is repeated); 0 when b does not fit. */
static int zni_broadcast(zn_ctx *ctx, const char *op, const zn_tensor *a, const zn_tensor *b, size_t step[ZN_MAX_DIMS]) {
    int lead = a->shape.dims - b->shape.dims, i;
    size_t size = 1;
    char ta[64], tb[64];
    for (i = 0; i < ZN_MAX_DIMS; ++i) step[i] = 0;
    for (i = a->shape.dims - 1; lead >= 0 && i >= lead; --i) {
        int n = b->shape.n[i - lead];
        if (n != 1 && n != a->shape.n[i]) break;
        step[i] = n == 1 ? 0 : size;
        size *= (size_t)n;
    }
    if (lead >= 0 && i < lead) return 1;
    zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: shape %s cannot be broadcast to %s", op, zni_shape_text(b->shape, tb), zni_shape_text(a->shape, ta));
    return 0;
}
/* Index in b of the first value of row r (a row runs over the last size of a). */
static size_t zni_broadcast_row(const zn_shape *a, const size_t step[ZN_MAX_DIMS], size_t r) {
    size_t at = 0;
    int i;
    for (i = a->dims - 2; i >= 0; --i) {
        at += r % (size_t)a->n[i] * step[i];
        r /= (size_t)a->n[i];
    }
    return at;
}
static zn_tensor *zni_pair(zn_ctx *ctx, int op, const char *name, zn_tensor *a, zn_tensor *b, size_t step[ZN_MAX_DIMS]) {
    zn_tensor *in[2], *y;
    int i;
    if (a == NULL || b == NULL || !zni_broadcast(ctx, name, a, b, step)) return NULL;
    in[0] = a;
    in[1] = b;
    for (i = 0; i < 2; ++i)
        if ((in[i]->pending == ZNI_PENDING_RELU || in[i]->pending == ZNI_PENDING_GATE) && !zni_ready(in[i])) return NULL;
    if (op == ZNI_OP_ADD && a->shape.dims == 4 && zni_shape_equal(a->shape, b->shape) && (a->pending == ZNI_PENDING_MAP || b->pending == ZNI_PENDING_MAP) &&
        a->pending != ZNI_PENDING_SUM && b->pending != ZNI_PENDING_SUM && !a->created && !b->created && ctx->no_grad == 0) { /* a residual link */
        y = zni_result_bare(ctx, op, a->shape, 2, in);
        if (y != NULL) y->pending = ZNI_PENDING_SUM;
        return y;
    }
    return zni_result_new(ctx, op, a->shape, 2, in);
}
ZN_API zn_tensor *zn_add(zn_ctx *ctx, zn_tensor *a, zn_tensor *b) {
    size_t step[ZN_MAX_DIMS], r, row, rows, last;
    zn_tensor *y = zni_pair(ctx, ZNI_OP_ADD, "add", a, b, step);
    if (y == NULL || y->pending == ZNI_PENDING_SUM) return y;
    row = (size_t)a->shape.n[a->shape.dims - 1];
    rows = a->count / row;
    last = step[a->shape.dims - 1];
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (r = 0; r < rows; ++r) {
        const zn_real *pa = a->data + r * row, *pb = b->data + zni_broadcast_row(&a->shape, step, r);
        zn_real *py = y->data + r * row;
        size_t i;
        if (last) for (i = 0; i < row; ++i) py[i] = pa[i] + pb[i];
        else for (i = 0; i < row; ++i) py[i] = pa[i] + pb[0];
    }
    return y;
}
ZN_API zn_tensor *zn_mul(zn_ctx *ctx, zn_tensor *a, zn_tensor *b) {
    size_t step[ZN_MAX_DIMS], r, row, rows, last;
    zn_tensor *y = zni_pair(ctx, ZNI_OP_MUL, "mul", a, b, step);
    if (y == NULL) return NULL;
    row = (size_t)a->shape.n[a->shape.dims - 1];
    rows = a->count / row;
    last = step[a->shape.dims - 1];
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (r = 0; r < rows; ++r) {
        const zn_real *pa = a->data + r * row, *pb = b->data + zni_broadcast_row(&a->shape, step, r);
        zn_real *py = y->data + r * row;
        size_t i;
        if (last) for (i = 0; i < row; ++i) py[i] = pa[i] * pb[i];
        else for (i = 0; i < row; ++i) py[i] = pa[i] * pb[0];
    }
    return y;
}
/* Both: da from dy (times b), db from dy (times a) summed over what was repeated. */
static zn_result zni_pair_backward(zn_tensor *y) {
    zn_tensor *a = y->in[0], *b = y->in[1];
    size_t step[ZN_MAX_DIMS], row = (size_t)a->shape.n[a->shape.dims - 1], rows = a->count / row, last, r;
    int add, mul = y->op == ZNI_OP_MUL;
    zn_real *da, *db;
    if (!mul && a != b && zni_grad_moves(a, y) && zni_grad_moves(b, y)) { /* both have as many values as y */
        a->grad = b->grad = y->grad;
        a->mask = b->mask = y->mask;
        y->grad = y->mask = NULL;
        a->twin = b;
        b->twin = a;
        return ZN_OK;
    }
    zni_grad_settle(y);
    if (!mul && zni_shape_equal(a->shape, b->shape)) {
        zni_grad_pass(y, b, 0);
        zni_grad_pass(y, a, 1);
        return ZN_OK;
    }
    da = zni_grad(a, &add);
    zni_broadcast(y->ctx, "broadcast", a, b, step);
    last = step[a->shape.dims - 1];
    if (da != NULL) {
        ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
        for (r = 0; r < rows; ++r) {
            const zn_real *dy = y->grad + r * row, *pb = b->data + zni_broadcast_row(&a->shape, step, r);
            zn_real *to = da + r * row;
            size_t i;
            for (i = 0; i < row; ++i) to[i] = (add ? to[i] : 0) + dy[i] * (mul ? pb[last ? i : 0] : 1);
        }
    }
    db = zni_grad_zeroed(b);
    if (db != NULL) {
        for (r = 0; r < rows; ++r) {
            const zn_real *dy = y->grad + r * row, *pa = a->data + r * row;
            zn_real *to = db + zni_broadcast_row(&a->shape, step, r);
            size_t i;
            if (last) for (i = 0; i < row; ++i) to[i] += dy[i] * (mul ? pa[i] : 1);
            else to[0] += (zn_real)(mul ? zni_dot(dy, pa, row) : zni_sum(dy, row));
        }
    }
    return ZN_OK;
}

/* ---- pooling ---- */
static int zni_bin_begin(int i, int in, int out) { return (int)((int64_t)i * in / out); }
static int zni_bin_end(int i, int in, int out) { return (int)((((int64_t)i + 1) * in + out - 1) / out); }
/* The rows (or columns) of a map that window i of max_pool covers: always some. */
static void zni_pool_window(int i, int size, int kernel, int stride, int padding, int *out_begin, int *out_end) {
    int begin = i * stride - padding, end = begin + kernel;
    *out_begin = begin > 0 ? begin : 0;
    *out_end = end < size ? end : size;
}

ZN_API zn_tensor *zn_adaptive_avg_pool(zn_ctx *ctx, zn_tensor *x, int size) {
    zn_tensor *y;
    size_t p, planes;
    if (!zni_need_dims(ctx, "avg_pool", x, 4)) return NULL;
    if (size < 1 || size > 4096) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "avg_pool: size is %d, must be 1 to 4096", size);
        return NULL;
    }
    y = zni_result1(ctx, ZNI_OP_AVG_POOL, zn_shape4(x->shape.n[0], x->shape.n[1], size, size), x);
    if (y == NULL) return NULL;
    y->ints[0] = size;
    planes = (size_t)x->shape.n[0] * (size_t)x->shape.n[1];
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        int h = x->shape.n[2], w = x->shape.n[3], i, j, r;
        const zn_real *from = x->data + p * (size_t)h * (size_t)w;
        for (i = 0; i < size; ++i)
            for (j = 0; j < size; ++j) {
                int r0 = zni_bin_begin(i, h, size), r1 = zni_bin_end(i, h, size), c0 = zni_bin_begin(j, w, size), c1 = zni_bin_end(j, w, size);
                double sum = 0.0;
                if (size == 1) sum = zni_sum(from, (size_t)h * (size_t)w);
                else for (r = r0; r < r1; ++r) sum += zni_sum(from + r * w + c0, (size_t)(c1 - c0));
                y->data[(p * (size_t)size + (size_t)i) * (size_t)size + (size_t)j] = (zn_real)(sum / ((double)(r1 - r0) * (double)(c1 - c0)));
            }
    }
    return y;
}
ZN_API zn_tensor *zn_global_avg_pool(zn_ctx *ctx, zn_tensor *x) { return zn_adaptive_avg_pool(ctx, x, 1); }
static zn_result zni_avg_pool_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0];
    int size = y->ints[0], h = x->shape.n[2], w = x->shape.n[3];
    size_t planes = (size_t)x->shape.n[0] * (size_t)x->shape.n[1], p;
    int add;
    zn_real *dx = zni_grad(x, &add);
    if (dx == NULL) return ZN_OK;
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        int i, j, r, c;
        zn_real *to = dx + p * (size_t)h * (size_t)w;
        if (!add) memset(to, 0, (size_t)h * (size_t)w * sizeof *to);
        for (i = 0; i < size; ++i)
            for (j = 0; j < size; ++j) {
                int r0 = zni_bin_begin(i, h, size), r1 = zni_bin_end(i, h, size), c0 = zni_bin_begin(j, w, size), c1 = zni_bin_end(j, w, size);
                zn_real d = y->grad[(p * (size_t)size + (size_t)i) * (size_t)size + (size_t)j] / ((zn_real)(r1 - r0) * (zn_real)(c1 - c0));
                for (r = r0; r < r1; ++r)
                    for (c = c0; c < c1; ++c) to[r * w + c] += d;
            }
    }
    return ZN_OK;
}
ZN_API zn_tensor *zn_max_pool(zn_ctx *ctx, zn_tensor *x, int kernel, int stride, int padding) {
    zn_tensor *y;
    int h, w, oh, ow;
    size_t p, planes;
    if (!zni_need_dims(ctx, "max_pool", x, 4)) return NULL;
    h = x->shape.n[2];
    w = x->shape.n[3];
    if (kernel < 1 || kernel > ZNI_MAX_STRIDE || stride < 1 || padding < 0 || padding > kernel / 2 || h > INT_MAX / 2 || w > INT_MAX / 2 ||
        h + 2 * padding < kernel || w + 2 * padding < kernel) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "max_pool: kernel %d, stride %d, padding %d do not fit a %d x %d map", kernel, stride, padding, h, w);
        return NULL;
    }
    oh = (h + 2 * padding - kernel) / stride + 1;
    ow = (w + 2 * padding - kernel) / stride + 1;
    y = zni_result1(ctx, ZNI_OP_MAX_POOL, zn_shape4(x->shape.n[0], x->shape.n[1], oh, ow), x);
    if (y == NULL) return NULL;
    y->ints[0] = kernel;
    y->ints[1] = stride;
    y->ints[2] = padding;
    planes = (size_t)x->shape.n[0] * (size_t)x->shape.n[1];
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        const zn_real *from = x->data + p * (size_t)h * (size_t)w;
        zn_real *to = y->data + p * (size_t)oh * (size_t)ow;
        int i, j, r, c, r0, r1, c0, c1;
        for (i = 0; i < oh; ++i)
            for (j = 0; j < ow; ++j) {
                zn_real best = -(zn_real)HUGE_VAL;
                zni_pool_window(i, h, kernel, stride, padding, &r0, &r1);
                zni_pool_window(j, w, kernel, stride, padding, &c0, &c1);
                for (r = r0; r < r1; ++r)
                    for (c = c0; c < c1; ++c)
                        if (!(from[r * w + c] <= best)) best = from[r * w + c];
                to[i * ow + j] = best;
            }
    }
    return y;
}
static zn_result zni_max_pool_backward(zn_tensor *y) { /* the first of equal maxima takes the gradient, as in PyTorch */
    zn_tensor *x = y->in[0];
    int h = x->shape.n[2], w = x->shape.n[3], oh = y->shape.n[2], ow = y->shape.n[3], kernel = y->ints[0], stride = y->ints[1], padding = y->ints[2];
    size_t planes = (size_t)x->shape.n[0] * (size_t)x->shape.n[1], p;
    zn_real *dx = zni_grad_zeroed(x);
    if (dx == NULL) return ZN_OK;
    ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < planes; ++p) {
        const zn_real *from = x->data + p * (size_t)h * (size_t)w;
        int i, j, r, c, r0, r1, c0, c1;
        for (i = 0; i < oh; ++i)
            for (j = 0; j < ow; ++j) {
                size_t at = (p * (size_t)oh + (size_t)i) * (size_t)ow + (size_t)j;
                int found = 0;
                zni_pool_window(i, h, kernel, stride, padding, &r0, &r1);
                zni_pool_window(j, w, kernel, stride, padding, &c0, &c1);
                for (r = r0; r < r1 && !found; ++r)
                    for (c = c0; c < c1 && !found; ++c)
                        if (from[r * w + c] == y->data[at]) {
                            dx[p * (size_t)h * (size_t)w + (size_t)(r * w + c)] += y->grad[at];
                            found = 1;
                        }
            }
    }
    return ZN_OK;
}

/* ---- moving values about ---- */
/* Copies blocks of `block` values: from[i * from_step] to to[i * to_step], adding when asked to. */
static void zni_copy_blocks(zn_real *to, size_t to_step, const zn_real *from, size_t from_step, size_t block, size_t count, int add) {
    size_t i, j;
    for (i = 0; i < count; ++i)
        for (j = 0; j < block; ++j) to[i * to_step + j] = from[i * from_step + j] + (add ? to[i * to_step + j] : 0);
}
ZN_API zn_tensor *zn_concat(zn_ctx *ctx, zn_tensor *a, zn_tensor *b) {
    zn_tensor *in[2], *y;
    zn_shape shape;
    size_t rest, batch, ca, cb;
    char ta[64], tb[64];
    if (a == NULL || b == NULL) return NULL;
    if (a->shape.dims < 2 || a->shape.dims != b->shape.dims || a->shape.n[0] != b->shape.n[0] || a->shape.n[2] != b->shape.n[2] || a->shape.n[3] != b->shape.n[3]) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "concat: shapes %s and %s differ in more than channels", zni_shape_text(a->shape, ta), zni_shape_text(b->shape, tb));
        return NULL;
    }
    shape = a->shape;
    shape.n[1] += b->shape.n[1];
    in[0] = a;
    in[1] = b;
    y = zni_result_new(ctx, ZNI_OP_CONCAT, shape, 2, in);
    if (y == NULL) return NULL;
    batch = (size_t)shape.n[0];
    rest = (size_t)shape.n[2] * (size_t)shape.n[3];
    ca = (size_t)a->shape.n[1] * rest;
    cb = (size_t)b->shape.n[1] * rest;
    zni_copy_blocks(y->data, ca + cb, a->data, ca, ca, batch, 0);
    zni_copy_blocks(y->data + ca, ca + cb, b->data, cb, cb, batch, 0);
    return y;
}
static zn_result zni_concat_backward(zn_tensor *y) {
    size_t batch = (size_t)y->shape.n[0], ca = y->in[0]->count / batch, cb = y->in[1]->count / batch;
    int add;
    zn_real *d = zni_grad(y->in[0], &add);
    if (d != NULL) zni_copy_blocks(d, ca, y->grad, ca + cb, ca, batch, add);
    d = zni_grad(y->in[1], &add);
    if (d != NULL) zni_copy_blocks(d, cb, y->grad + ca, ca + cb, cb, batch, add);
    return ZN_OK;
}
ZN_API zn_tensor *zn_slice(zn_ctx *ctx, zn_tensor *x, int begin, int count) {
    zn_tensor *y;
    zn_shape shape;
    size_t rest, batch;
    if (x == NULL) return NULL;
    if (x->shape.dims < 2 || begin < 0 || count < 1 || count > x->shape.n[1] || begin > x->shape.n[1] - count) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "slice: %d channels from %d on, of %d", count, begin, x->shape.n[1]);
        return NULL;
    }
    shape = x->shape;
    shape.n[1] = count;
    y = zni_result1(ctx, ZNI_OP_SLICE, shape, x);
    if (y == NULL) return NULL;
    y->ints[0] = begin;
    batch = (size_t)shape.n[0];
    rest = (size_t)shape.n[2] * (size_t)shape.n[3];
    zni_copy_blocks(y->data, y->count / batch, x->data + (size_t)begin * rest, x->count / batch, y->count / batch, batch, 0);
    return y;
}
static zn_result zni_slice_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0];
    size_t batch = (size_t)y->shape.n[0], rest = (size_t)y->shape.n[2] * (size_t)y->shape.n[3];
    zn_real *dx = zni_grad_zeroed(x);
    if (dx != NULL) zni_copy_blocks(dx + (size_t)y->ints[0] * rest, x->count / batch, y->grad, y->count / batch, y->count / batch, batch, 1);
    return ZN_OK;
}
ZN_API zn_tensor *zn_reshape(zn_ctx *ctx, zn_tensor *x, zn_shape shape) {
    zn_tensor *y;
    char tx[64], ts[64];
    if (x == NULL) return NULL;
    if (zni_shape_count(shape) != x->count) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "reshape: %s does not hold the values of %s", zni_shape_text(shape, ts), zni_shape_text(x->shape, tx));
        return NULL;
    }
    y = zni_result1(ctx, ZNI_OP_RESHAPE, shape, x);
    if (y != NULL) memcpy(y->data, x->data, x->count * sizeof(zn_real));
    return y;
}
static zn_result zni_reshape_backward(zn_tensor *y) {
    int add;
    zn_real *dx = zni_grad(y->in[0], &add);
    if (dx != NULL) zni_copy_blocks(dx, 0, y->grad, 0, y->count, 1, add);
    return ZN_OK;
}
/* Where input channel c of C goes when shuffled in g groups. */
ZNI_INLINE size_t zni_shuffled(size_t c, size_t channels, size_t groups) { return groups * (c % (channels / groups)) + c / (channels / groups); }

ZN_API zn_tensor *zn_channel_shuffle(zn_ctx *ctx, zn_tensor *x, int groups) {
    zn_tensor *y;
    size_t p, planes, plane, channels;
    if (!zni_need_dims(ctx, "channel_shuffle", x, 4)) return NULL;
    if (groups < 1 || x->shape.n[1] % groups != 0) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "channel_shuffle: %d groups do not divide %d channels", groups, x->shape.n[1]);
        return NULL;
    }
    y = zni_result1(ctx, ZNI_OP_SHUFFLE, x->shape, x);
    if (y == NULL) return NULL;
    y->ints[0] = groups;
    channels = (size_t)x->shape.n[1];
    planes = (size_t)x->shape.n[0] * channels;
    plane = x->count / planes;
    for (p = 0; p < planes; ++p)
        memcpy(y->data + (p - p % channels + zni_shuffled(p % channels, channels, (size_t)groups)) * plane, x->data + p * plane, plane * sizeof(zn_real));
    return y;
}
static zn_result zni_channel_shuffle_backward(zn_tensor *y) {
    size_t channels = (size_t)y->shape.n[1], planes = (size_t)y->shape.n[0] * channels, plane = y->count / planes, p;
    int add;
    zn_real *dx = zni_grad(y->in[0], &add);
    for (p = 0; dx != NULL && p < planes; ++p)
        zni_copy_blocks(dx + p * plane, 0, y->grad + (p - p % channels + zni_shuffled(p % channels, channels, (size_t)y->ints[0])) * plane, 0, plane, 1, add);
    return ZN_OK;
}

/* ---- shuffle attention ----
   Per sample and plane, k = C/(2 groups), i = channel within its half group:
     first half a:   y = a * sigmoid(cweight[i] * mean(a) + cbias[i])
     second half s:  y = s * sigmoid(sweight[i] * GN(s) + sbias[i]),  GN(s) = gn_weight[i] * (s - mean)/std + gn_bias[i]
   then channel shuffle in 2 groups. saved: mean and 1/std of every plane. */
/* Plane p of what attention reads, computed into scratch where it is pending. */
static const zn_real *zni_attention_input(const zn_tensor *x, size_t p, zn_real *scratch) {
    size_t channels = (size_t)x->shape.n[1], plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3];
    zni_map map;
    const zn_real *from = zni_source(x, p / channels, p % channels, &map);
    if (x->pending != ZNI_PENDING_MAP) return from;
    zni_map_run(&map, from, plane, scratch);
    return scratch;
}
/* Of plane p of x: its mean and spread, which are saved, and the gate it goes through. scratch: a plane's values. */
static zni_plane_gate zni_attention_gate(const zn_tensor *y, size_t p, zn_real *scratch) {
    zn_tensor *const *in = y->in;
    size_t channels = (size_t)y->shape.n[1], plane = (size_t)y->shape.n[2] * (size_t)y->shape.n[3], half = in[1]->count, c = p % channels, k = c % half;
    const zn_real *x = zni_attention_input(in[0], p, scratch);
    double sums[2] = {0.0, 0.0}, off, var, mu, inv, slope, offset;
    zni_plane_gate gate;
    zni_power_sums(x, plane, x[0], sums);
    off = sums[0] / (double)plane;
    var = sums[1] / (double)plane - off * off;
    y->saved[2 * p] = (zn_real)(off + (double)x[0]);
    y->saved[2 * p + 1] = (zn_real)(1.0 / sqrt((var > 0.0 ? var : 0.0) + y->reals[0]));
    mu = (double)y->saved[2 * p]; /* as backward reads them */
    inv = (double)y->saved[2 * p + 1];
    gate.from = c;
    if (c / half % 2 == 0) {
        slope = 0.0;
        offset = (double)in[1]->data[k] * mu + (double)in[2]->data[k];
    } else { /* u = sweight * (gn_weight * (s - mean) * inv + gn_bias) + sbias = slope * s + offset */
        slope = plane > 1 ? (double)in[3]->data[k] * (double)in[5]->data[k] * inv : 0.0; /* s - mean is 0 of a single value, however large inv */
        offset = (double)in[3]->data[k] * (double)in[6]->data[k] + (double)in[4]->data[k] - slope * mu;
    }
    gate.slope = (zn_real)slope;
    gate.offset = (zn_real)(gate.slope == 0 ? zni_sigmoid(offset) : offset);
    return gate;
}
ZN_API zn_tensor *zn_shuffle_attention(zn_ctx *ctx, zn_tensor *x, zn_tensor *cweight, zn_tensor *cbias, zn_tensor *sweight,
                                       zn_tensor *sbias, zn_tensor *gn_weight, zn_tensor *gn_bias, int groups, double eps) {
    zn_tensor *in[7], *y;
    zn_real *scratch;
    size_t half, channels, plane;
    ptrdiff_t planes, p;
    int i;
    if (!zni_need_dims(ctx, "shuffle_attention", x, 4)) return NULL;
    if (groups < 1 || groups > x->shape.n[1] / 2 || x->shape.n[1] % (2 * groups) != 0) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "shuffle_attention: 2 * %d groups do not divide %d channels", groups, x->shape.n[1]);
        return NULL;
    }
    if (!zni_need_eps(ctx, "shuffle_attention", eps)) return NULL;
    half = (size_t)(x->shape.n[1] / (2 * groups));
    in[0] = x;
    in[1] = cweight;
    in[2] = cbias;
    in[3] = sweight;
    in[4] = sbias;
    in[5] = gn_weight;
    in[6] = gn_bias;
    for (i = 1; i < 7; ++i)
        if (in[i] == NULL || !zni_need_count(ctx, "shuffle_attention", "a gate", in[i], half)) return NULL;
    for (i = 1; i < 7; ++i)
        if (!zni_ready(in[i])) return NULL;
    if (x->pending != ZNI_PENDING_MAP && !zni_ready(x)) return NULL;
    channels = (size_t)x->shape.n[1];
    planes = (ptrdiff_t)x->shape.n[0] * x->shape.n[1];
    y = zni_result_bare(ctx, ZNI_OP_SHUFFLE_ATTENTION, x->shape, 7, in);
    if (y == NULL || zni_save(y, 2 * (size_t)planes) == NULL) return NULL;
    y->ints[0] = groups;
    y->reals[0] = eps;
    y->gates = (zni_plane_gate *)zni_buffer_take(ctx, zni_size_mul((size_t)planes, sizeof *y->gates));
    plane = y->count / (size_t)planes;
    scratch = zni_reals_take(ctx, zni_size_mul(plane, (size_t)zni_max_threads())); /* each thread's own */
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < (ctx->code == ZN_OK ? planes : 0); ++p) {
        size_t c = (size_t)p % channels;
        y->gates[(size_t)p - c + zni_shuffled(c, channels, 2)] = zni_attention_gate(y, (size_t)p, scratch + (size_t)zni_thread() * plane);
    }
    zni_buffer_give(ctx, scratch);
    if (ctx->code != ZN_OK) return NULL;
    y->pending = ZNI_PENDING_GATE; /* unless nobody would keep it, or its input could be changed by its owner */
    return (y->needs_grad && x->pending == ZNI_PENDING_MAP) || zni_ready(y) ? y : NULL;
}
/* One plane's dx, and its share of the parameters' gradients in d[6] (order of the inputs 1 to 6). */
static void zni_attention_plane_backward(const zn_tensor *y, size_t p, zn_real *scratch, zn_real *dx, int add, double d[6]) {
    zn_tensor *const *in = y->in;
    size_t channels = (size_t)y->shape.n[1], plane = (size_t)y->shape.n[2] * (size_t)y->shape.n[3], half = in[1]->count, c = p % channels, k = c % half;
    const zn_real *x = zni_attention_input(in[0], p, scratch), *dy = y->grad + (p - c + zni_shuffled(c, channels, 2)) * plane;
    double mu = (double)y->saved[2 * p], inv = (double)y->saved[2 * p + 1], m = (double)plane, sums[2] = {0.0, 0.0};
    if (c / half % 2 == 0) {
        double cw = (double)in[1]->data[k], gate = zni_sigmoid(cw * mu + (double)in[2]->data[k]);
        double du; /* of the gate's argument */
        zni_map_sums(&zni_as_it_is, dy, x, plane, sums);
        du = sums[1] * gate * (1.0 - gate);
        d[0] = du * mu;
        d[1] = du;
        if (dx != NULL) zni_affine(dy, plane, (zn_real)gate, (zn_real)(du * cw / m), dx, add);
    } else {
        double sw = (double)in[3]->data[k], gw = (double)in[5]->data[k], gb = (double)in[6]->data[k], sb = (double)in[4]->data[k];
        double slope = plane > 1 ? sw * gw * inv : 0.0, offset = sw * gb + sb - slope * mu;
        zni_gate_sums(dy, x, plane, (zn_real)slope, (zn_real)offset, (zn_real)mu, sums);
        d[2] = gw * inv * sums[1] + gb * sums[0];
        d[3] = sums[0];
        d[4] = sw * inv * sums[1];
        d[5] = sw * sums[0];
        if (dx != NULL) zni_gate_grad(dy, x, plane, (zn_real)slope, (zn_real)offset, (zn_real)mu, (zn_real)(sums[0] / m), (zn_real)(inv * inv * sums[1] / m), dx, add);
    }
}
static zn_result zni_shuffle_attention_backward(zn_tensor *y) {
    zn_tensor *x = y->in[0];
    size_t channels = (size_t)x->shape.n[1], planes = (size_t)x->shape.n[0] * channels, plane = x->count / planes;
    zn_tensor *norms[2];
    zni_gather gather = zni_gather_of(x, 0, norms);
    double *shares = gather.count > 0 ? zni_gather_shares(y->ctx, &gather, x->shape.n[1], x->shape.n[0]) : NULL;
    int add, i;
    ptrdiff_t p, k, half = (ptrdiff_t)y->in[1]->count; /* which divides the channels */
    zn_real *dx = zni_grad(x, &add), *g[6], *scratch = zni_reals_take(y->ctx, zni_size_mul(plane, (size_t)zni_max_threads()));
    double *parts = (double *)zni_buffer_take(y->ctx, zni_size_mul(planes, 6 * sizeof(double)));
    for (i = 0; i < 6; ++i) g[i] = zni_grad_zeroed(y->in[i + 1]);
    if (y->ctx->code == ZN_OK) {
        ZNI_OMP(parallel for if (x->count > ZNI_PARALLEL_MIN))
        for (p = 0; p < (ptrdiff_t)planes; ++p) {
            size_t n = (size_t)p / channels;
            memset(parts + 6 * p, 0, 6 * sizeof(double));
            zni_attention_plane_backward(y, (size_t)p, scratch + (size_t)zni_thread() * plane, dx != NULL ? dx + (size_t)p * plane : NULL, add, parts + 6 * p);
            if (shares != NULL) zni_gather_add(&gather, (int)channels, (int)((size_t)p % channels), dx, plane, n * plane, (n + 1) * plane, shares + n * zni_gather_room(&gather, (int)channels));
        }
        if (shares != NULL) zni_gather_join(&gather, (int)channels, shares, x->shape.n[0]);
        ZNI_OMP(parallel for private(i, p) if (6 * planes > ZNI_PARALLEL_MIN))
        for (k = 0; k < half; ++k) {
            zn_real sum[6]; /* its own: threads that add to neighbours in memory wait for each other (16 of them, ZenNet-M's backward: twice as long) */
            for (i = 0; i < 6; ++i) sum[i] = g[i] != NULL ? g[i][k] : 0;
            for (p = k; p < (ptrdiff_t)planes; p += half)
                for (i = 0; i < 6; ++i) sum[i] += (zn_real)parts[6 * p + i];
            for (i = 0; i < 6; ++i)
                if (g[i] != NULL) g[i][k] = sum[i];
        }
    }
    zni_gather_end(&gather, norms);
    zni_buffer_give(y->ctx, shares);
    zni_buffer_give(y->ctx, scratch);
    zni_buffer_give(y->ctx, parts);
    return y->ctx->code;
}

/* ---- softmax and losses ---- */
/* log_softmax of one row in double. */
static void zni_log_softmax_row(const zn_real *x, int count, double *out) {
    double top = (double)x[0], sum = 0.0;
    int i;
    for (i = 1; i < count; ++i) top = (double)x[i] > top ? (double)x[i] : top;
    for (i = 0; i < count; ++i) sum += exp((double)x[i] - top);
    for (i = 0; i < count; ++i) out[i] = (double)x[i] - top - log(sum);
}
static zn_tensor *zni_softmax_any(zn_ctx *ctx, int op, zn_tensor *x) {
    zn_tensor *y = x != NULL ? zni_result1(ctx, op, x->shape, x) : NULL;
    int last, i;
    size_t r, rows;
    double *row;
    if (y == NULL) return NULL;
    last = x->shape.n[x->shape.dims - 1];
    rows = x->count / (size_t)last;
    row = (double *)zni_buffer_take(ctx, zni_size_mul((size_t)last, sizeof(double)));
    if (row == NULL) return NULL;
    for (r = 0; r < rows; ++r) {
        zni_log_softmax_row(x->data + r * (size_t)last, last, row);
        for (i = 0; i < last; ++i) y->data[r * (size_t)last + (size_t)i] = (zn_real)(op == ZNI_OP_SOFTMAX ? exp(row[i]) : row[i]);
    }
    zni_buffer_give(ctx, row);
    return y;
}
ZN_API zn_tensor *zn_softmax(zn_ctx *ctx, zn_tensor *x) { return zni_softmax_any(ctx, ZNI_OP_SOFTMAX, x); }
ZN_API zn_tensor *zn_log_softmax(zn_ctx *ctx, zn_tensor *x) { return zni_softmax_any(ctx, ZNI_OP_LOG_SOFTMAX, x); }
static zn_result zni_softmax_backward(zn_tensor *y) {
    size_t last = (size_t)y->shape.n[y->shape.dims - 1], r, i;
    zn_real *dx = zni_grad_zeroed(y->in[0]);
    for (r = 0; dx != NULL && r < y->count; r += last) {
        double dot = y->op == ZNI_OP_SOFTMAX ? zni_dot(y->grad + r, y->data + r, last) : zni_sum(y->grad + r, last);
        for (i = r; i < r + last; ++i) {
            double dy = (double)y->grad[i], v = (double)y->data[i];
            dx[i] += (zn_real)(y->op == ZNI_OP_SOFTMAX ? v * (dy - dot) : dy - exp(v) * dot);
        }
    }
    return ZN_OK;
}
ZN_API zn_tensor *zn_cross_entropy(zn_ctx *ctx, zn_tensor *logits, zn_tensor *target) {
    zn_tensor *in[2], *y;
    int classes, i;
    size_t n, batch;
    double *row, loss = 0.0;
    char tl[64], tt[64];
    if (target == NULL || !zni_need_dims(ctx, "cross_entropy", logits, 2)) return NULL;
    if (!zni_shape_equal(logits->shape, target->shape)) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "cross_entropy: logits %s, target %s", zni_shape_text(logits->shape, tl), zni_shape_text(target->shape, tt));
        return NULL;
    }
    in[0] = logits;
    in[1] = target;
    y = zni_result_new(ctx, ZNI_OP_CROSS_ENTROPY, zn_shape1(1), 2, in);
    if (y == NULL || zni_save(y, logits->count) == NULL) return NULL;
    batch = (size_t)logits->shape.n[0];
    classes = logits->shape.n[1];
    row = (double *)zni_buffer_take(ctx, zni_size_mul((size_t)classes, sizeof(double)));
    if (row == NULL) return NULL;
    for (n = 0; n < batch; ++n) {
        zni_log_softmax_row(logits->data + n * (size_t)classes, classes, row);
        for (i = 0; i < classes; ++i) {
            loss -= (double)target->data[n * (size_t)classes + (size_t)i] * row[i];
            y->saved[n * (size_t)classes + (size_t)i] = (zn_real)row[i];
        }
    }
    zni_buffer_give(ctx, row);
    y->data[0] = (zn_real)(loss / (double)batch);
    return y;
}
static zn_result zni_cross_entropy_backward(zn_tensor *y) {
    zn_tensor *target = y->in[1];
    size_t batch = (size_t)target->shape.n[0], classes = (size_t)target->shape.n[1], n, i;
    double scale = (double)y->grad[0] / (double)batch;
    zn_real *dx = zni_grad_zeroed(y->in[0]), *dt = zni_grad_zeroed(target);
    for (n = 0; n < target->count; n += classes) {
        double total = zni_sum(target->data + n, classes);
        for (i = n; i < n + classes; ++i) {
            if (dx != NULL) dx[i] += (zn_real)(scale * (exp((double)y->saved[i]) * total - (double)target->data[i]));
            if (dt != NULL) dt[i] -= (zn_real)(scale * (double)y->saved[i]);
        }
    }
    return ZN_OK;
}
ZN_API zn_tensor *zn_smooth_l1(zn_ctx *ctx, zn_tensor *a, zn_tensor *b, double beta) {
    zn_tensor *in[2], *y;
    size_t i;
    double sum = 0.0;
    char ta[64], tb[64];
    if (a == NULL || b == NULL) return NULL;
    if (!zni_shape_equal(a->shape, b->shape) || !(beta > 0.0)) {
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "smooth_l1: shapes %s and %s, beta %g", zni_shape_text(a->shape, ta), zni_shape_text(b->shape, tb), beta);
        return NULL;
    }
    in[0] = a;
    in[1] = b;
    y = zni_result_new(ctx, ZNI_OP_SMOOTH_L1, zn_shape1(1), 2, in);
    if (y == NULL) return NULL;
    y->reals[0] = beta;
    for (i = 0; i < a->count; ++i) {
        double d = fabs((double)a->data[i] - (double)b->data[i]);
        sum += d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
    }
    y->data[0] = (zn_real)(sum / (double)a->count);
    return y;
}
static zn_result zni_smooth_l1_backward(zn_tensor *y) {
    zn_tensor *a = y->in[0], *b = y->in[1];
    zn_real *da = zni_grad_zeroed(a), *db = zni_grad_zeroed(b);
    double beta = y->reals[0], scale = (double)y->grad[0] / (double)a->count;
    size_t i;
    for (i = 0; i < a->count; ++i) {
        double d = (double)a->data[i] - (double)b->data[i], g = scale * (fabs(d) < beta ? d / beta : d > 0 ? 1.0 : -1.0);
        if (da != NULL) da[i] += (zn_real)g;
        if (db != NULL) db[i] -= (zn_real)g;
    }
    return ZN_OK;
}
static zn_tensor *zni_total(zn_ctx *ctx, int op, zn_tensor *x) {
    zn_tensor *y = zni_result1(ctx, op, zn_shape1(1), x);
    if (y == NULL) return NULL;
    y->reals[0] = op == ZNI_OP_MEAN ? 1.0 / (double)x->count : 1.0;
    y->data[0] = (zn_real)(zni_sum(x->data, x->count) * y->reals[0]);
    return y;
}
ZN_API zn_tensor *zn_sum(zn_ctx *ctx, zn_tensor *x) { return zni_total(ctx, ZNI_OP_SUM, x); }
ZN_API zn_tensor *zn_mean(zn_ctx *ctx, zn_tensor *x) { return zni_total(ctx, ZNI_OP_MEAN, x); }
static zn_result zni_total_backward(zn_tensor *y) {
    zn_real *dx = zni_grad_zeroed(y->in[0]), d = (zn_real)((double)y->grad[0] * y->reals[0]);
    size_t i;
    for (i = 0; dx != NULL && i < y->in[0]->count; ++i) dx[i] += d;
    return ZN_OK;
}

/* ---- small expressions for the gradient checker: one value from fresh parameters p0, p1, ... ---- */
typedef struct zni_check {
    zn_tensor *p[ZNI_MAX_INPUTS];
    zn_tensor *mix; /* fixed factors that turn a tensor into one value without symmetries */
} zni_check;

static zn_tensor *zni_check_conv(zn_ctx *x, zni_check *k) {
    zn_tensor *y = zn_conv2d(x, k->p[0], k->p[1], k->p[2], 2, 1, 2);
    return zn_conv2d(x, zn_conv2d(x, y, k->p[3], NULL, 1, 2, 4), k->p[4], NULL, 1, 0, 1);
}
static zn_tensor *zni_check_linear(zn_ctx *x, zni_check *k) { return zn_linear(x, k->p[0], k->p[1], k->p[2]); }
static zn_tensor *zni_check_batch_norm(zn_ctx *x, zni_check *k) {
    zn_tensor *y = zn_batch_norm(x, k->p[0], k->p[1], k->p[2], NULL, NULL, 1, 0.1, 1e-3);
    return zn_batch_norm(x, y, k->p[3], k->p[4], k->p[5], k->p[6], 0, 0.1, 1e-3);
}
static zn_tensor *zni_check_group_norm(zn_ctx *x, zni_check *k) { return zn_group_norm(x, k->p[0], k->p[1], k->p[2], 2, 1e-3); }
static zn_tensor *zni_check_relu(zn_ctx *x, zni_check *k) { return zn_relu(x, k->p[0]); }
static zn_tensor *zni_check_swish(zn_ctx *x, zni_check *k) { return zn_swish(x, k->p[0]); }
static zn_tensor *zni_check_sigmoid(zn_ctx *x, zni_check *k) { return zn_sigmoid(x, k->p[0]); }
static zn_tensor *zni_check_add(zn_ctx *x, zni_check *k) { return zn_add(x, zn_add(x, zn_add(x, k->p[0], k->p[0]), k->p[1]), k->p[2]); }
static zn_tensor *zni_check_mul(zn_ctx *x, zni_check *k) { return zn_mul(x, zn_mul(x, zn_mul(x, k->p[0], k->p[0]), k->p[1]), k->p[2]); }
static zn_tensor *zni_check_scale(zn_ctx *x, zni_check *k) { return zn_scale(x, k->p[0], -1.75); }
static zn_tensor *zni_check_avg_pool(zn_ctx *x, zni_check *k) { return zn_add(x, zn_adaptive_avg_pool(x, k->p[0], 2), zn_global_avg_pool(x, k->p[0])); }
static zn_tensor *zni_check_max_pool(zn_ctx *x, zni_check *k) { return zn_max_pool(x, k->p[0], 3, 2, 1); }
static zn_tensor *zni_check_concat(zn_ctx *x, zni_check *k) { return zn_concat(x, k->p[0], zn_concat(x, k->p[1], k->p[0])); }
static zn_tensor *zni_check_slice(zn_ctx *x, zni_check *k) { return zn_mul(x, zn_slice(x, k->p[0], 1, 2), zn_slice(x, k->p[0], 2, 2)); }
static zn_tensor *zni_check_reshape(zn_ctx *x, zni_check *k) { return zn_softmax(x, zn_reshape(x, k->p[0], zn_shape2(4, 6))); }
static zn_tensor *zni_check_shuffle(zn_ctx *x, zni_check *k) { return zn_channel_shuffle(x, k->p[0], 2); }
static zn_tensor *zni_check_attention(zn_ctx *x, zni_check *k) {
    return zn_shuffle_attention(x, k->p[0], k->p[1], k->p[2], k->p[3], k->p[4], k->p[5], k->p[6], 2, 1e-2);
}
static zn_tensor *zni_check_softmax(zn_ctx *x, zni_check *k) { return zn_softmax(x, k->p[0]); }
static zn_tensor *zni_check_log_softmax(zn_ctx *x, zni_check *k) { return zn_log_softmax(x, k->p[0]); }
static zn_tensor *zni_check_cross_entropy(zn_ctx *x, zni_check *k) { return zn_cross_entropy(x, k->p[0], k->p[1]); }
static zn_tensor *zni_check_smooth_l1(zn_ctx *x, zni_check *k) { return zn_smooth_l1(x, k->p[0], k->p[1], 0.7); }
static zn_tensor *zni_check_sum(zn_ctx *x, zni_check *k) { return zn_sum(x, k->p[0]); }
static zn_tensor *zni_check_mean(zn_ctx *x, zni_check *k) { return zn_mean(x, k->p[0]); }

/* The operation table, in the order of the enumeration above. shapes: sizes of the check's parameters, one word each. */
typedef struct zni_op {
    const char *name;
    zn_result (*backward)(zn_tensor *y);
    zn_tensor *(*check)(zn_ctx *ctx, zni_check *check);
    const char *shapes;
} zni_op;

static const zni_op zni_ops[] = {
    {"conv2d", zni_conv2d_backward, zni_check_conv, "2x4x5x6 4x2x3x3 4 4x1x3x3 3x4x1x1"},
    {"linear", zni_linear_backward, zni_check_linear, "3x5 4x5 4"},
    {"batch_norm", zni_batch_norm_backward, zni_check_batch_norm, "3x2x3x4 2 2 2 2 2 2"},
    {"group_norm", zni_group_norm_backward, zni_check_group_norm, "2x4x3x3 4 4"},
    {"relu", zni_relu_backward, zni_check_relu, "3x7"},
    {"swish", zni_swish_backward, zni_check_swish, "3x7"},
    {"sigmoid", zni_sigmoid_backward, zni_check_sigmoid, "3x7"},
    {"add", zni_pair_backward, zni_check_add, "2x3x4x5 2x3x1x1 5"},
    {"mul", zni_pair_backward, zni_check_mul, "2x3x4x5 3x1x1 1"},
    {"scale", zni_scale_backward, zni_check_scale, "3x7"},
    {"avg_pool", zni_avg_pool_backward, zni_check_avg_pool, "2x2x5x3"},
    {"max_pool", zni_max_pool_backward, zni_check_max_pool, "2x2x5x6"},
    {"concat", zni_concat_backward, zni_check_concat, "2x3x2x2 2x1x2x2"},
    {"slice", zni_slice_backward, zni_check_slice, "2x5x2x2"},
    {"reshape", zni_reshape_backward, zni_check_reshape, "2x3x2x2"},
    {"channel_shuffle", zni_channel_shuffle_backward, zni_check_shuffle, "2x6x2x2"},
    {"shuffle_attention", zni_shuffle_attention_backward, zni_check_attention, "2x8x3x4 2 2 2 2 2 2"},
    {"softmax", zni_softmax_backward, zni_check_softmax, "3x7"},
    {"log_softmax", zni_softmax_backward, zni_check_log_softmax, "3x7"},
    {"cross_entropy", zni_cross_entropy_backward, zni_check_cross_entropy, "3x5 3x5"},
    {"smooth_l1", zni_smooth_l1_backward, zni_check_smooth_l1, "4x6 4x6"},
    {"sum", zni_total_backward, zni_check_sum, "3x7"},
    {"mean", zni_total_backward, zni_check_mean, "3x7"}};
#define ZNI_OPS ((int)(sizeof zni_ops / sizeof zni_ops[0]))

/* ---- tape ---- */
ZN_API void zn_tape_clear(zn_ctx *ctx) {
    if (ctx == NULL) return;
    zni_list_free(&ctx->tape);
    zni_slabs_join(ctx);
}
ZN_API void zn_grad_clear(zn_ctx *ctx) {
    zn_tensor *t;
    for (t = ctx != NULL ? ctx->tensors : NULL; t != NULL; t = t->next)
        if (t->grad != NULL) memset(t->grad, 0, t->count * sizeof(zn_real));
}
ZN_API void zn_no_grad_begin(zn_ctx *ctx) {
    if (ctx != NULL) ++ctx->no_grad;
}
ZN_API void zn_no_grad_end(zn_ctx *ctx) {
    if (ctx != NULL && ctx->no_grad > 0) --ctx->no_grad;
}
static int zni_recall(zn_tensor *t);
/* Both sides of a residual sum: a block that holds another may have let go what its sum comes from. */
static int zni_recall_sides(zn_tensor *sum) {
    int i, good = 1;
    for (i = 0; i < 2 && good; ++i) good = zni_recall(sum->in[i]) && zni_recall(sum->in[i]->base);
    return good;
}
/* Data that backward needs, computed again if it was given back. */
static int zni_recall(zn_tensor *t) {
    if (t == NULL) return 1;
    if (t->pending == ZNI_PENDING_RELU) return zni_recall_sides(t->in[0]) && zni_fill_in(t);
    return t->pending != ZNI_PENDING_GATE || (zni_recall(t->in[0]) && zni_recall(t->in[0]->base) && zni_fill_in(t));
}
/* What the backward of t reads: nothing of a sum; of what a convolution reads through gates, and of a residual sum's ReLU that
   it is the last to read, what these are computed from. */
static int zni_recall_inputs(zn_tensor *t) {
    int i, good = t->op != ZNI_OP_RELU || t->passed || zni_recall(t);
    zn_tensor *x = t->in[0];
    if (t->op == ZNI_OP_ADD) return 1;
    if (zni_conv_gated(t)) good = zni_recall(x->in[0]->base) && zni_recall(t->in[1]);
    else if (x != NULL && zni_residual(x) && zni_conv_last(t)) good = zni_recall_sides(x->in[0]) && zni_recall(t->in[1]);
    else
        for (i = 0; i < ZNI_MAX_INPUTS && good; ++i) good = t->in[i] == NULL || (zni_recall(t->in[i]) && zni_recall(t->in[i]->base));
    return good;
}
/* Whether the walk from the loss comes to results of a network whose data are gone. */
static int zni_walk_spent(zn_ctx *ctx, zn_tensor *loss) {
    zn_tensor *t;
    int i, spent = 0;
    for (t = ctx->tape; t != NULL; t = t->next) t->reached = t == loss;
    for (t = ctx->tape; t != NULL; t = t->next) {
        spent |= t->reached && t->spent;
        for (i = 0; t->reached && i < ZNI_MAX_INPUTS; ++i)
            if (t->in[i] != NULL && t->in[i]->needs_grad) t->in[i]->reached = 1;
    }
    return spent;
}
ZN_API zn_result zn_backward(zn_ctx *ctx, zn_tensor *loss) {
    zn_tensor *t, *after = NULL; /* who has just been passed */
    char text[64];
    int add, i;
    if (ctx == NULL) return ZN_ERROR_ARGUMENT;
    if (ctx->code != ZN_OK) return ctx->code;
    if (loss == NULL) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "backward: the loss is NULL");
    if (loss->ctx != ctx) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "backward: the loss is a tensor of another context");
    if (loss->count != 1) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "backward: the loss must be a single value, not of shape %s", zni_shape_text(loss->shape, text));
    if (!loss->needs_grad) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "backward: the loss depends on nothing trainable");
    if (zni_walk_spent(ctx, loss)) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "backward: a network's forward pass can be walked once: add the losses up, or run it again");
    if (!zni_ready(loss)) return ctx->code;
    if (!isfinite((double)loss->data[0])) return zni_fail(ctx, ZN_ERROR_NUMBER, "backward: the loss is %g", (double)loss->data[0]);
    if (zni_grad(loss, &add) == NULL) return ctx->code;
    loss->grad[0] = 1;
    for (t = ctx->tape; t != NULL; t = t->next) {
        if (t->op < 0) continue;
        for (i = 0; i < ZNI_MAX_INPUTS && after != NULL; ++i)
            if (after->in[i] != NULL && !after->in[i]->created) --after->in[i]->readers;
        after = t;
        if (t->grad == NULL) continue;
        if (t->op != ZNI_OP_ADD && t->op != ZNI_OP_BATCH_NORM && t->op != ZNI_OP_CONV2D) zni_grad_settle(t); /* a sum hands it on, the others take it while they read */
        if (!zni_recall_inputs(t) || zni_ops[t->op].backward(t) != ZN_OK || ctx->code != ZN_OK) return ctx->code;
        zni_grad_leave(t);
        if (!t->internal || t->borrowed) continue;
        zni_buffer_give(ctx, t->data);
        t->data = NULL;
        t->spent = 1;
    }
    return ZN_OK;
}

/* ---- gradient checker ---- */
ZN_API zn_gradient_opts zn_gradient_opts_default(void) {
    zn_gradient_opts o;
    o.step = sizeof(zn_real) == 8 ? 1e-5 : 1e-2;
    o.per_tensor = 24;
    o.tolerance = sizeof(zn_real) == 8 ? 1e-7 : 2e-2;
    return o;
}
/* loss at x[i] = value, or NaN */
static double zni_loss_at(zn_ctx *ctx, zn_tensor *(*loss_fn)(zn_ctx *, void *), void *user, zn_tensor *t, size_t i, zn_real value) {
    double loss;
    zn_real old = t->data[i];
    t->data[i] = value;
    zn_no_grad_begin(ctx);
    loss = zn_tensor_value(loss_fn(ctx, user));
    zn_no_grad_end(ctx);
    t->data[i] = old;
    zn_tape_clear(ctx);
    return loss;
}
static void zni_check_tensor(zn_ctx *ctx, zn_tensor *(*loss_fn)(zn_ctx *, void *), void *user, const zn_gradient_opts *o, zn_tensor *t, zn_gradient_report *report) {
    size_t shown = t->count < (size_t)o->per_tensor ? t->count : (size_t)o->per_tensor, j, i;
    double scale = 1.0;
    for (i = 0; i < t->count; ++i) scale = fabs((double)t->grad[i]) > scale ? fabs((double)t->grad[i]) : scale;
    for (j = 0; j < shown; ++j) {
        zn_real x, up, down;
        double numeric, error;
        i = j * t->count / shown;
        x = t->data[i];
        up = (zn_real)((double)x + o->step);
        down = (zn_real)((double)x - o->step);
        numeric = (zni_loss_at(ctx, loss_fn, user, t, i, up) - zni_loss_at(ctx, loss_fn, user, t, i, down)) / ((double)up - (double)down);
        error = fabs(numeric - (double)t->grad[i]) / scale;
        ++report->checked;
        if (error <= report->worst) continue; /* a NaN is the worst */
        report->worst = error;
        snprintf(report->where, sizeof report->where, "%.60s[%lu]: %.6g, by differences %.6g", zn_tensor_name(t), (unsigned long)i, (double)t->grad[i], numeric);
    }
}
ZN_API zn_result zn_check_gradients(zn_ctx *ctx, zn_tensor *(*loss_fn)(zn_ctx *ctx, void *user), void *user,
                                    const zn_gradient_opts *opts, zn_gradient_report *out_report) {
    zn_gradient_opts o = opts != NULL ? *opts : zn_gradient_opts_default();
    zn_gradient_report report;
    zn_tensor *t;
    memset(&report, 0, sizeof report);
    if (ctx == NULL || loss_fn == NULL) return zni_null(ctx, "zn_check_gradients");
    if (!(o.step > 0.0) || o.per_tensor < 1) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "check_gradients: step and per_tensor must be above 0");
    zn_tape_clear(ctx);
    zn_grad_clear(ctx);
    zn_backward(ctx, loss_fn(ctx, user));
    zn_tape_clear(ctx);
    for (t = ctx->tensors; t != NULL && ctx->code == ZN_OK; t = t->next)
        if (t->trainable) zni_check_tensor(ctx, loss_fn, user, &o, t, &report);
    if (out_report != NULL) *out_report = report;
    if (ctx->code == ZN_OK && !(report.worst <= o.tolerance))
        zni_fail(ctx, ZN_ERROR_NUMBER, "gradient off by %.3g at %s", report.worst, report.where);
    zn_grad_clear(ctx);
    return ctx->code;
}

typedef struct zni_op_case {
    int row;
    zni_check check;
} zni_op_case;

static zn_tensor *zni_op_loss(zn_ctx *ctx, void *user) {
    zni_op_case *c = (zni_op_case *)user;
    zn_tensor *y = zni_ops[c->row].check(ctx, &c->check);
    if (y == NULL || y->count == 1) return y;
    if (c->check.mix == NULL) {
        c->check.mix = zn_tensor_create(ctx, y->shape);
        if (c->check.mix != NULL) zn_fill(c->check.mix->data, "mix", 1, y->count, -1.0, 1.0);
    }
    return zn_sum(ctx, zn_mul(ctx, y, c->check.mix));
}
/* Parameters of the shapes in the row's text, filled so that no value is near a kink of relu, max or smooth L1. */
static void zni_op_params(zn_ctx *ctx, zni_op_case *c) {
    const char *text = zni_ops[c->row].shapes;
    int count;
    for (count = 0; *text != '\0' && count < ZNI_MAX_INPUTS; ++count) {
        zn_shape shape = zn_shape1(1);
        zn_tensor *t;
        char name[16];
        int dims = 0;
        size_t i;
        while (zni_is_digit(*text)) {
            shape.n[dims] = 0;
            while (zni_is_digit(*text)) shape.n[dims] = shape.n[dims] * 10 + (*text++ - '0');
            ++dims;
            if (*text == 'x') ++text;
        }
        if (*text == ' ') ++text;
        shape.dims = dims;
        t = c->check.p[count] = zn_param_zeros(ctx, shape);
        if (t == NULL) return;
        snprintf(name, sizeof name, "p%d", count);
        t->name = zni_copy_text(ctx, name);
        zn_fill(t->data, name, 7, t->count, 0.5, 1.5);
        for (i = 0; i < t->count; ++i) /* distinct steps of 0.07, far apart for the differences */
            if (count == 0) t->data[i] = (zn_real)(0.07 * (double)((i * 37 + 11) % 61) - 2.13);
    }
}
ZN_API const char *zn_op_name(int row) { return row >= 0 && row < ZNI_OPS ? zni_ops[row].name : NULL; }
ZN_API zn_result zn_op_check(zn_ctx *ctx, int row, zn_gradient_report *out_report) {
    zn_ctx *own;
    zni_op_case c;
    zn_result result;
    if (ctx == NULL || row < 0 || row >= ZNI_OPS) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "op_check: no row %d", row);
    if (zn_ctx_create(&ctx->opts, &own) != ZN_OK) return zni_fail(ctx, ZN_ERROR_MEMORY, "op_check: out of memory");
    memset(&c, 0, sizeof c);
    c.row = row;
    zni_op_params(own, &c);
    if (row == ZNI_OP_BATCH_NORM && own->code == ZN_OK) { /* running statistics are no parameters */
        zn_tensor_set_trainable(c.check.p[5], 0);
        zn_tensor_set_trainable(c.check.p[6], 0);
    }
    result = zn_check_gradients(own, zni_op_loss, &c, NULL, out_report);
    if (result != ZN_OK) zni_fail(ctx, result, "%s: %s", zni_ops[row].name, own->text);
    zn_ctx_destroy(own);
    return result;
}

/* ==================================================================================================================
   IMPL-STRUCTURE  structure strings
   ------------------------------------------------------------------------------------------------------------------
   A recursive-descent parser over two tables: which names there are, and which arguments each kind takes. Blocks stand
   in one array and refer to each other by index, so that a structure is copied and freed as one piece. Everything that
   can be wrong without knowing the network's options is refused here, with the column.
   Sources: ZenNAS (arXiv 2102.01063), specification sections 1, 7, 8.
   ================================================================================================================== */
typedef enum zni_kind {
    ZNI_SUPER_CONV, ZNI_SUPER_KK, ZNI_SUPER_K1KK1, ZNI_SUPER_IDW, ZNI_CONV, ZNI_CONV_GROUPED, ZNI_CONV_DW, ZNI_BN, ZNI_RELU,
    ZNI_SWISH, ZNI_SE, ZNI_SA, ZNI_LINEAR, ZNI_MAX_POOL, ZNI_AVG_POOL, ZNI_FLATTEN, ZNI_SEQUENTIAL, ZNI_RES, ZNI_RES_PROJ,
    ZNI_MULTI_SUM, ZNI_MULTI_CAT
} zni_kind;

/* One letter an argument, in order: i in, o out, c in = out, k kernel, s stride, b bottleneck, n sub_layers, g groups,
   z size, t bias (0 or 1). A star marks containers. Indexed by zni_kind. */
static const char *const zni_kind_args[] = {"iosn", "iosbn", "iosbn", "iosbn", "ioks", "ioks", "cks", "c", "c", "c", "c",
                                            "cg", "iot", "cks", "cz", "c", "*", "*", "*", "*", "*"};

typedef struct zni_block_name {
    const char *name;
    zni_kind kind;
    int kernel; /* 0 where it is an argument */
    int param;  /* expansion of IDW blocks, groups of grouped convolutions */
} zni_block_name;

static const zni_block_name zni_block_names[] = {
    {"SuperConvK1BNRELU", ZNI_SUPER_CONV, 1, 0}, {"SuperConvK3BNRELU", ZNI_SUPER_CONV, 3, 0},
    {"SuperConvK5BNRELU", ZNI_SUPER_CONV, 5, 0}, {"SuperConvK7BNRELU", ZNI_SUPER_CONV, 7, 0},
    {"SuperResK3K3", ZNI_SUPER_KK, 3, 0}, {"SuperResK5K5", ZNI_SUPER_KK, 5, 0}, {"SuperResK7K7", ZNI_SUPER_KK, 7, 0},
    {"SuperResK1K3K1", ZNI_SUPER_K1KK1, 3, 0}, {"SuperResK1K5K1", ZNI_SUPER_K1KK1, 5, 0},
    {"SuperResK1K7K1", ZNI_SUPER_K1KK1, 7, 0},
    {"SuperResIDWE1K3", ZNI_SUPER_IDW, 3, 1}, {"SuperResIDWE2K3", ZNI_SUPER_IDW, 3, 2},
    {"SuperResIDWE4K3", ZNI_SUPER_IDW, 3, 4}, {"SuperResIDWE6K3", ZNI_SUPER_IDW, 3, 6},
    {"SuperResIDWE1K5", ZNI_SUPER_IDW, 5, 1}, {"SuperResIDWE2K5", ZNI_SUPER_IDW, 5, 2},
    {"SuperResIDWE4K5", ZNI_SUPER_IDW, 5, 4}, {"SuperResIDWE6K5", ZNI_SUPER_IDW, 5, 6},
    {"SuperResIDWE1K7", ZNI_SUPER_IDW, 7, 1}, {"SuperResIDWE2K7", ZNI_SUPER_IDW, 7, 2},
    {"SuperResIDWE4K7", ZNI_SUPER_IDW, 7, 4}, {"SuperResIDWE6K7", ZNI_SUPER_IDW, 7, 6},
    {"ConvKX", ZNI_CONV, 0, 1}, {"ConvKXG2", ZNI_CONV_GROUPED, 0, 2}, {"ConvKXG4", ZNI_CONV_GROUPED, 0, 4},
    {"ConvKXG8", ZNI_CONV_GROUPED, 0, 8}, {"ConvKXG16", ZNI_CONV_GROUPED, 0, 16},
    {"ConvKXG32", ZNI_CONV_GROUPED, 0, 32}, {"ConvDW", ZNI_CONV_DW, 0, 0}, {"BN", ZNI_BN, 0, 0}, {"RELU", ZNI_RELU, 0, 0},
    {"Swish", ZNI_SWISH, 0, 0}, {"SE", ZNI_SE, 0, 0}, {"SA", ZNI_SA, 0, 0}, {"Linear", ZNI_LINEAR, 0, 0},
    {"MaxPool", ZNI_MAX_POOL, 0, 0}, {"AdaptiveAvgPool", ZNI_AVG_POOL, 0, 0}, {"Flatten", ZNI_FLATTEN, 0, 0},
    {"Sequential", ZNI_SEQUENTIAL, 0, 0}, {"ResBlock", ZNI_RES, 0, 0}, {"ResBlockProj", ZNI_RES_PROJ, 0, 0},
    {"MultiSumBlock", ZNI_MULTI_SUM, 0, 0}, {"MultiCatBlock", ZNI_MULTI_CAT, 0, 0}};
#define ZNI_BLOCK_NAMES ((int)(sizeof zni_block_names / sizeof zni_block_names[0]))

#define ZNI_MAX_CHANNELS 65536
#define ZNI_MAX_KERNEL 255
#define ZNI_MAX_LAYERS 4096      /* sub_layers in all: bounds what a short hostile string can make us build */
#define ZNI_MAX_NESTING 32
#define ZNI_MAX_STRUCTURE (1 << 20) /* characters */

typedef struct zni_block {
    zni_kind kind;
    int name;                  /* row of zni_block_names */
    int in, out, kernel, stride;
    int bottleneck, sub_layers;
    int param;                 /* expansion, groups, size of AdaptiveAvgPool, bias of Linear */
    int column;                /* of the name, from 1 */
    int first_child, next;     /* index or -1 */
} zni_block;

struct zn_structure {
    zn_ctx *ctx;
    zni_block *blocks;
    size_t capacity;
    int count, first;
};

typedef struct zni_parser {
    zn_ctx *ctx;
    const char *text;
    int at;       /* offset of the next character */
    int depth;
    int layers;   /* sub_layers so far */
    zn_structure *s;
} zni_parser;

static zn_result zni_parse_fail(zni_parser *p, int at, const char *format, ...) ZNI_PRINTF(3, 4);
static zn_result zni_parse_fail(zni_parser *p, int at, const char *format, ...) {
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return zni_fail(p->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: %s", at + 1, reason);
}


static char zni_peek(zni_parser *p) { /* next character that is no white space, not consumed */
    while (zni_is_space(p->text[p->at])) ++p->at;
    return p->text[p->at];
}
static zn_result zni_expect(zni_parser *p, char c) {
    char got = zni_peek(p);
    if (got == c) {
        ++p->at;
        return ZN_OK;
    }
    if (got == '\0') return zni_parse_fail(p, p->at, "'%c' expected, but the text ends", c);
    return zni_parse_fail(p, p->at, "'%c' expected, not '%c'", c, got);
}

static zn_result zni_parse_int(zni_parser *p, const char *what, int low, int high, int *out) {
    int start, value = 0, negative = 0;
    char c = zni_peek(p);
    start = p->at;
    if (c == ')' || c == ',' || c == '\0') return zni_parse_fail(p, start, "%s is missing", what);
    if (c == '-' || c == '+') {
        negative = c == '-';
        c = p->text[++p->at];
    }
    if (!zni_is_digit(c)) return zni_parse_fail(p, start, "%s must be a whole number", what);
    for (; zni_is_digit(c); c = p->text[++p->at]) value = value > 100000000 ? value : value * 10 + (c - '0');
    if (zni_is_letter(c) || c == '.') return zni_parse_fail(p, start, "%s must be a whole number", what);
    if (negative) value = -value;
    if (value < low || value > high) return zni_parse_fail(p, start, "%s must be %d to %d", what, low, high);
    *out = value;
    return ZN_OK;
}

/* Name(label|...): skips the label, which ends at the first '|' and cannot hold brackets, commas or semicolons. */
static void zni_skip_label(zni_parser *p) {
    int i = p->at;
    while (p->text[i] != '\0' && strchr("|(),;", p->text[i]) == NULL) ++i;
    if (p->text[i] == '|') p->at = i + 1;
}

static int zni_new_block(zni_parser *p, int name, int column) { /* index, or -1 */
    zni_block *b;
    void *items = p->s->blocks;
    if (!zni_grow(p->ctx, &items, &p->s->capacity, (size_t)p->s->count + 1, sizeof(zni_block))) return -1;
    p->s->blocks = (zni_block *)items;
    b = &p->s->blocks[p->s->count];
    memset(b, 0, sizeof *b);
    b->kind = zni_block_names[name].kind;
    b->name = name;
    b->kernel = zni_block_names[name].kernel;
    b->param = zni_block_names[name].param;
    b->stride = b->sub_layers = 1;
    b->column = column;
    b->first_child = b->next = -1;
    return p->s->count++;
}

static zn_result zni_parse_args(zni_parser *p, zni_block *b) {
    const char *role = zni_kind_args[b->kind];
    zn_result result = ZN_OK;
    for (; *role != '\0' && result == ZN_OK; ++role) {
        if (role != zni_kind_args[b->kind]) {
            result = zni_peek(p) == ')' ? zni_parse_fail(p, p->at, "%s takes %d arguments", zni_block_names[b->name].name,
                                                         (int)strlen(zni_kind_args[b->kind]))
                                        : zni_expect(p, ',');
            if (result != ZN_OK) break;
        }
        switch (*role) {
        case 'i': result = zni_parse_int(p, "in", 1, ZNI_MAX_CHANNELS, &b->in); break;
        case 'o': result = zni_parse_int(p, "out", 1, ZNI_MAX_CHANNELS, &b->out); break;
        case 'c': result = zni_parse_int(p, "channels", 1, ZNI_MAX_CHANNELS, &b->in); b->out = b->in; break;
        case 'k': result = zni_parse_int(p, "kernel", 1, ZNI_MAX_KERNEL, &b->kernel); break;
        case 's': result = zni_parse_int(p, "stride", 1, ZNI_MAX_KERNEL, &b->stride); break;
        case 'b': result = zni_parse_int(p, "bottleneck", 1, ZNI_MAX_CHANNELS, &b->bottleneck); break;
        case 'n': result = zni_parse_int(p, "sub_layers", 1, ZNI_MAX_LAYERS, &b->sub_layers); break;
        case 'g': result = zni_parse_int(p, "groups", 1, ZNI_MAX_CHANNELS, &b->param); break;
        case 'z': result = zni_parse_int(p, "size", 1, 4096, &b->param); break;
        default: result = zni_parse_int(p, "bias", 0, 1, &b->param); break;
        }
    }
    return result;
}

/* Resolution after a block, by the floor division of the search's arithmetic. */
static int zni_block_resolution(const zn_structure *s, int index, int r) {
    const zni_block *b = &s->blocks[index];
    int child;
    switch (b->kind) {
    case ZNI_AVG_POOL: return b->param;
    case ZNI_FLATTEN: case ZNI_LINEAR: return 1;
    case ZNI_SEQUENTIAL: case ZNI_RES: case ZNI_RES_PROJ:
        for (child = b->first_child; child >= 0; child = s->blocks[child].next) r = zni_block_resolution(s, child, r);
        return r;
    case ZNI_MULTI_SUM: case ZNI_MULTI_CAT: return zni_block_resolution(s, b->first_child, r);
    default: return r / b->stride;
    }
}

static zn_result zni_parse_blocks(zni_parser *p, int in, int *flat, int *out_first, int *out_channels);

/* Children of ResBlock, ResBlockProj and Sequential. */
static zn_result zni_parse_inner(zni_parser *p, int index, int in, int *flat) {
    int given = 0, ints[2], start = p->at, stride, first, channels;
    zni_block *b = &p->s->blocks[index];
    while (b->kind != ZNI_SEQUENTIAL && given < 2 && zni_is_digit(zni_peek(p))) {
        int at = p->at;
        zn_result result = zni_parse_int(p, given == 0 ? "in" : "stride", 1, given == 0 ? ZNI_MAX_CHANNELS : ZNI_MAX_KERNEL, &ints[given]);
        if (result != ZN_OK || (result = zni_expect(p, ',')) != ZN_OK) return result;
        if (given++ == 0 && in > 0 && ints[0] != in) return zni_parse_fail(p, at, "in is %d, but %d channels arrive", ints[0], in);
    }
    if (given > 0) in = ints[0];
    if (zni_parse_blocks(p, in, flat, &first, &channels) != ZN_OK) return p->ctx->code;
    b = &p->s->blocks[index]; /* the array may have moved */
    b->first_child = first;
    b->in = p->s->blocks[first].in;
    b->out = channels;
    if (b->kind == ZNI_SEQUENTIAL) return ZN_OK;
    if (*flat) return zni_parse_fail(p, start, "a residual block needs feature maps");
    {
        int r = zni_block_resolution(p->s, index, 1024);
        stride = r > 0 ? 1024 / r : 0;
    }
    if (stride < 1) return zni_parse_fail(p, start, "the inner blocks shrink the map to nothing");
    if (given == 2 && ints[1] != stride) return zni_parse_fail(p, start, "stride is %d, but the inner blocks have %d", ints[1], stride);
    b->stride = stride;
    return ZN_OK;
}

/* Branches of MultiSumBlock and MultiCatBlock; one of several blocks becomes a Sequential. */
static zn_result zni_parse_branches(zni_parser *p, int index, int in, int *flat) {
    int last = -1, sequential = ZNI_BLOCK_NAMES, r = -1, total = 0, i;
    for (i = 0; i < ZNI_BLOCK_NAMES; ++i)
        if (zni_block_names[i].kind == ZNI_SEQUENTIAL) sequential = i;
    do {
        int at, first, channels, branch, branch_flat = *flat, branch_r;
        zni_peek(p);
        at = p->at;
        if (zni_parse_blocks(p, in, &branch_flat, &first, &channels) != ZN_OK) return p->ctx->code;
        if (branch_flat) return zni_parse_fail(p, at, "a branch must end in a feature map");
        branch = first;
        if (p->s->blocks[first].next >= 0) {
            branch = zni_new_block(p, sequential, at + 1);
            if (branch < 0) return p->ctx->code;
            p->s->blocks[branch].first_child = first;
            p->s->blocks[branch].in = p->s->blocks[first].in;
            p->s->blocks[branch].out = channels;
        }
        branch_r = zni_block_resolution(p->s, branch, 1024);
        if (r >= 0 && branch_r != r) return zni_parse_fail(p, at, "branches differ in resolution");
        if (r >= 0 && p->s->blocks[index].kind == ZNI_MULTI_SUM && channels != p->s->blocks[index].out)
            return zni_parse_fail(p, at, "branch gives %d channels, the first %d", channels, p->s->blocks[index].out);
        if (in <= 0) in = p->s->blocks[first].in;
        r = branch_r;
        total = p->s->blocks[index].kind == ZNI_MULTI_CAT ? total + channels : channels;
        if (total > ZNI_MAX_CHANNELS) return zni_parse_fail(p, at, "more than %d channels", ZNI_MAX_CHANNELS);
        p->s->blocks[index].out = total;
        p->s->blocks[index].in = in;
        if (last >= 0) p->s->blocks[last].next = branch;
        else p->s->blocks[index].first_child = branch;
        last = branch;
    } while (zni_peek(p) == ';' && ++p->at > 0);
    return ZN_OK;
}

/* What can be said of one block without its neighbours. */
static zn_result zni_check_block(zni_parser *p, const zni_block *b, int at, int flat) {
    const char *name = zni_block_names[b->name].name;
    int groups = b->kind == ZNI_CONV_GROUPED ? b->param : 1;
    if (b->kind == ZNI_LINEAR ? !flat : flat && b->kind != ZNI_FLATTEN)
        return zni_parse_fail(p, at, b->kind == ZNI_LINEAR ? "%s needs Flatten before it" : "%s needs a feature map, not flat values", name);
    if (b->in % groups != 0 || b->out % groups != 0)
        return zni_parse_fail(p, at, "%s: %d groups do not divide %d and %d channels", name, groups, b->in, b->out);
    if (b->kind == ZNI_SA && b->in % (2 * b->param) != 0)
        return zni_parse_fail(p, at, "SA: 2 * %d groups do not divide %d channels", b->param, b->in);
    if (b->kind <= ZNI_SUPER_IDW && (p->layers += b->sub_layers) > ZNI_MAX_LAYERS)
        return zni_parse_fail(p, at, "more than %d sub_layers in all", ZNI_MAX_LAYERS);
    return ZN_OK;
}

static zn_result zni_parse_block(zni_parser *p, int in, int *flat, int *out_index) {
    int start, length, name, index, is_container;
    zn_result result;
    char shown[40];
    zni_peek(p);
    start = p->at;
    while (zni_is_letter(p->text[p->at]) || zni_is_digit(p->text[p->at])) ++p->at;
    length = p->at - start;
    if (length == 0) return zni_parse_fail(p, start, p->text[start] == '\0' ? "a block is missing" : "a block name expected, not '%c'", p->text[start]);
    for (name = 0; name < ZNI_BLOCK_NAMES; ++name)
        if (strlen(zni_block_names[name].name) == (size_t)length && strncmp(zni_block_names[name].name, p->text + start, (size_t)length) == 0) break;
    if (name == ZNI_BLOCK_NAMES) {
        snprintf(shown, sizeof shown, "%.*s", length < 32 ? length : 32, p->text + start);
        return zni_parse_fail(p, start, "unknown block '%s'", shown);
    }
    if ((result = zni_expect(p, '(')) != ZN_OK) return result;
    zni_skip_label(p);
    if ((index = zni_new_block(p, name, start + 1)) < 0) return p->ctx->code;
    is_container = zni_kind_args[zni_block_names[name].kind][0] == '*';
    if (!is_container) {
        result = zni_parse_args(p, &p->s->blocks[index]);
        if (result == ZN_OK) result = zni_check_block(p, &p->s->blocks[index], start, *flat);
    } else if (++p->depth > ZNI_MAX_NESTING) {
        result = zni_parse_fail(p, start, "blocks nest deeper than %d", ZNI_MAX_NESTING);
    } else {
        int multi = zni_block_names[name].kind == ZNI_MULTI_SUM || zni_block_names[name].kind == ZNI_MULTI_CAT;
        result = multi ? zni_parse_branches(p, index, in, flat) : zni_parse_inner(p, index, in, flat);
        --p->depth;
    }
    if (result != ZN_OK || (result = zni_expect(p, ')')) != ZN_OK) return result;
    if (in > 0 && p->s->blocks[index].in != in)
        return zni_parse_fail(p, start, "%s takes %d channels, but %d arrive", zni_block_names[name].name, p->s->blocks[index].in, in);
    if (zni_block_names[name].kind == ZNI_FLATTEN) *flat = 1;
    *out_index = index;
    return ZN_OK;
}

/* Blocks up to ')', ';' or the end; at least one. in 0 = not known yet. */
static zn_result zni_parse_blocks(zni_parser *p, int in, int *flat, int *out_first, int *out_channels) {
    int last = -1;
    do {
        int index = -1;
        if (zni_parse_block(p, in, flat, &index) != ZN_OK) return p->ctx->code;
        if (last >= 0) p->s->blocks[last].next = index;
        else *out_first = index;
        last = index;
        in = p->s->blocks[index].out;
    } while (zni_peek(p) != ')' && p->text[p->at] != ';' && p->text[p->at] != '\0');
    *out_channels = in;
    return ZN_OK;
}

ZN_API const char *zn_structure_builtin(const char *name) {
    if (name != NULL && strcmp(name, "zennet-m") == 0)
        return "SuperConvK3BNRELU(3,64,2,1)SuperResIDWE2K7(64,48,2,48,1)SuperResIDWE2K7(48,80,2,80,1)"
               "SuperResIDWE2K7(80,96,2,96,3)SuperResIDWE2K7(96,96,1,96,3)SuperResIDWE6K7(96,32,2,40,4)"
               "SuperConvK1BNRELU(32,2048,1,1)";
    if (name != NULL && strcmp(name, "zennet-r") == 0)
        return "SuperConvK3BNRELU(3,8,1,1)SuperResK1K3K1(8,8,1,8,1)SuperResK1K5K1(8,32,2,8,1)"
               "SuperResK1K7K1(32,160,2,8,1)SuperResK1K7K1(160,256,2,16,5)SuperConvK1BNRELU(256,192,1,1)";
    return NULL;
}

static zn_structure *zni_structure_new(zn_ctx *ctx) {
    zn_structure *s = ZNI_NEW_ZERO(ctx, zn_structure, 1);
    if (s != NULL) {
        s->ctx = ctx;
        s->first = -1;
    }
    return s;
}
ZN_API void zn_structure_destroy(zn_structure *s) {
    zn_ctx *ctx;
    if (s == NULL) return;
    ctx = s->ctx;
    zni_free(ctx, s->blocks);
    zni_free(ctx, s);
}

ZN_API zn_result zn_structure_parse(zn_ctx *ctx, const char *text, zn_structure **out_structure) {
    zni_parser p;
    int channels, flat = 0;
    zn_result result;
    if (ctx == NULL || out_structure == NULL) return zni_null(ctx, "zn_structure_parse");
    *out_structure = NULL;
    if (text == NULL) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "zn_structure_parse: text is NULL");
    if (ctx->code != ZN_OK) return ctx->code;
    memset(&p, 0, sizeof p);
    p.ctx = ctx;
    p.text = zn_structure_builtin(text) != NULL ? zn_structure_builtin(text) : text;
    if (strlen(p.text) > ZNI_MAX_STRUCTURE)
        return zni_fail(ctx, ZN_ERROR_STRUCTURE, "structure, column %d: text longer than %d characters", ZNI_MAX_STRUCTURE + 1, ZNI_MAX_STRUCTURE);
    p.s = zni_structure_new(ctx);
    if (p.s == NULL) return ctx->code;
    result = zni_parse_blocks(&p, 3, &flat, &p.s->first, &channels);
    if (result == ZN_OK && p.text[p.at] != '\0') result = zni_parse_fail(&p, p.at, "'%c' is left over", p.text[p.at]);
    if (result == ZN_OK && flat) result = zni_parse_fail(&p, p.at, "the network must end in a feature map (pool and linear layer are added)");
    if (result != ZN_OK) {
        zn_structure_destroy(p.s);
        return result;
    }
    *out_structure = p.s;
    return ZN_OK;
}

/* Bounded output that still counts, as snprintf does. */
typedef struct zni_printer {
    char *buffer;
    size_t size, length;
} zni_printer;

static void zni_print(zni_printer *out, const char *text) {
    for (; *text != '\0'; ++text, ++out->length)
        if (out->length + 1 < out->size) out->buffer[out->length] = *text;
}
static void zni_print_int(zni_printer *out, int value) {
    char digits[16];
    snprintf(digits, sizeof digits, "%d", value);
    zni_print(out, digits);
}

static void zni_format_block(const zn_structure *s, int index, zni_printer *out) {
    const zni_block *b = &s->blocks[index];
    const char *role = zni_kind_args[b->kind];
    int child, multi = b->kind == ZNI_MULTI_SUM || b->kind == ZNI_MULTI_CAT;
    zni_print(out, zni_block_names[b->name].name);
    zni_print(out, "(");
    if (b->kind == ZNI_RES || b->kind == ZNI_RES_PROJ) {
        zni_print_int(out, b->in);
        zni_print(out, ",");
        zni_print_int(out, b->stride);
        zni_print(out, ",");
    }
    for (child = b->first_child; child >= 0; child = s->blocks[child].next) {
        if (multi && child != b->first_child) zni_print(out, ";");
        zni_format_block(s, child, out);
    }
    for (; *role != '\0' && *role != '*'; ++role) {
        if (role != zni_kind_args[b->kind]) zni_print(out, ",");
        zni_print_int(out, *role == 'i' || *role == 'c' ? b->in : *role == 'o' ? b->out : *role == 'k' ? b->kernel
                           : *role == 's' ? b->stride : *role == 'b' ? b->bottleneck : *role == 'n' ? b->sub_layers : b->param);
    }
    zni_print(out, ")");
}

ZN_API size_t zn_structure_format(const zn_structure *s, char *buffer, size_t size) {
    zni_printer out;
    int index;
    out.buffer = buffer;
    out.size = buffer != NULL ? size : 0;
    out.length = 0;
    for (index = s != NULL ? s->first : -1; index >= 0; index = s->blocks[index].next) zni_format_block(s, index, &out);
    if (out.size > 0) buffer[out.length < out.size ? out.length : out.size - 1] = '\0';
    return out.length;
}

ZN_API int zn_structure_layers(const zn_structure *s) {
    int i, layers = 0;
    for (i = 0; s != NULL && i < s->count; ++i)
        if (s->blocks[i].kind <= ZNI_SUPER_IDW) layers += s->blocks[i].sub_layers;
    return layers;
}

/* A copy with room for `extra` more blocks. */
static zn_structure *zni_structure_copy(const zn_structure *s, int extra) {
    zn_structure *copy = zni_structure_new(s->ctx);
    if (copy == NULL) return NULL;
    copy->capacity = (size_t)(s->count + extra);
    copy->blocks = ZNI_NEW(s->ctx, zni_block, copy->capacity);
    if (copy->blocks == NULL) {
        zn_structure_destroy(copy);
        return NULL;
    }
    memcpy(copy->blocks, s->blocks, sizeof(zni_block) * (size_t)s->count);
    copy->count = s->count;
    copy->first = s->first;
    return copy;
}

ZN_API zn_result zn_structure_split(const zn_structure *s, zn_structure **out_split) {
    zn_structure *split;
    int index;
    if (out_split != NULL) *out_split = NULL;
    if (s == NULL || out_split == NULL) return zni_null(s != NULL ? s->ctx : NULL, "zn_structure_split");
    split = zni_structure_copy(s, s->count);
    if (split == NULL) return s->ctx->code;
    for (index = split->first; index >= 0; index = split->blocks[index].next) {
        zni_block *b = &split->blocks[index], *rest;
        if (b->kind < ZNI_SUPER_KK || b->kind > ZNI_SUPER_IDW || b->sub_layers < 6) continue;
        rest = &split->blocks[split->count];
        *rest = *b;
        rest->in = b->out;
        rest->stride = 1;
        rest->sub_layers = b->sub_layers - 3;
        b->sub_layers = 3;
        b->next = split->count++;
        index = b->next; /* one pass: the rest is not looked at again */
    }
    *out_split = split;
    return ZN_OK;
}

/* ==================================================================================================================
   IMPL-BLOCKS  from blocks to layers
   ------------------------------------------------------------------------------------------------------------------
   A plan is the tree of layers that a structure stands for under a network's options: super blocks become containers of
   convolutions, norms, residual units and attention, numbered as PyTorch's modules are (specification sections 2, 3).
   It holds no weights, so counting, scores and the search work on strings at no cost; a network is a plan and tensors.
   ================================================================================================================== */
typedef enum zni_layer_kind {
    ZNI_L_CONV, ZNI_L_BN, ZNI_L_RELU, ZNI_L_SWISH, ZNI_L_SE, ZNI_L_SA, ZNI_L_LINEAR, ZNI_L_MAX_POOL, ZNI_L_AVG_POOL,
    ZNI_L_FLATTEN, ZNI_L_SEQUENTIAL, ZNI_L_UNIT, ZNI_L_SUM, ZNI_L_CAT
} zni_layer_kind;
static const char *const zni_layer_kinds[] = {"conv", "bn", "relu", "swish", "se", "sa", "linear", "max_pool", "avg_pool",
                                              "flatten", "sequential", "unit", "sum", "cat"};

typedef struct zni_layer {
    zni_layer_kind kind;
    int in, out, kernel, stride, groups;
    int size;                            /* of the average pool */
    int bias;                            /* linear layers */
    int proj;                            /* units: link runs through BN(conv 1x1 with bias, stride) */
    int zero_init;                       /* BN that INIT_CUSTOM starts at weight 0 */
    int column;                          /* of the block it comes from */
    int block;                           /* index of the top-level block */
    int parent, first_child, last_child, next, position; /* -1 = none; position counts within the parent */
    int tensor;                          /* networks: index of its first tensor */
    int proj_tensor;                     /* units: index of the projection's first tensor */
} zni_layer;

typedef struct zni_plan {
    zn_ctx *ctx;
    zni_layer *layers;
    size_t capacity;
    int count, first, last;
    int features; /* channels that enter the head */
    zn_net_opts opts;
} zni_plan;

/* round_half_even(x/8)*8, at least 8. */
static int zni_round8(int x) {
    int q = x / 8, rest = x % 8;
    if (rest > 4 || (rest == 4 && q % 2 == 1)) ++q;
    return q < 1 ? 8 : q * 8;
}
static int zni_se_hidden(int c) { /* max(1, round_half_even(c/4)) */
    int q = c / 4, rest = c % 4;
    if (rest == 3 || (rest == 2 && q % 2 == 1)) ++q;
    return q < 1 ? 1 : q;
}

static int zni_plan_add(zni_plan *plan, int parent, zni_layer_kind kind, int in, int out, const zni_block *from) {
    zni_layer *l;
    void *items = plan->layers;
    int index = plan->count, *last, *first;
    if (!zni_grow(plan->ctx, &items, &plan->capacity, (size_t)plan->count + 1, sizeof(zni_layer))) return -1;
    plan->layers = (zni_layer *)items;
    l = &plan->layers[plan->count++];
    memset(l, 0, sizeof *l);
    l->kind = kind;
    l->in = in;
    l->out = out;
    l->kernel = l->stride = l->groups = 1;
    l->column = from->column;
    l->parent = parent;
    l->first_child = l->last_child = l->next = l->tensor = l->proj_tensor = -1;
    first = parent < 0 ? &plan->first : &plan->layers[parent].first_child;
    last = parent < 0 ? &plan->last : &plan->layers[parent].last_child;
    l->position = *last < 0 ? 0 : plan->layers[*last].position + 1;
    l->block = parent < 0 ? l->position : plan->layers[parent].block;
    if (*last < 0) *first = index;
    else plan->layers[*last].next = index;
    *last = index;
    return index;
}
static int zni_plan_conv(zni_plan *plan, int parent, int in, int out, int kernel, int stride, int groups, const zni_block *from) {
    int index = zni_plan_add(plan, parent, ZNI_L_CONV, in, out, from);
    if (index < 0) return -1;
    plan->layers[index].kernel = kernel;
    plan->layers[index].stride = stride;
    plan->layers[index].groups = groups;
    return index;
}
/* conv BN ReLU as super blocks have it, each kept or not. */
static int zni_plan_conv_bn(zni_plan *plan, int parent, int in, int out, int kernel, int stride, int groups, int relu, const zni_block *from) {
    if (zni_plan_conv(plan, parent, in, out, kernel, stride, groups, from) < 0) return 0;
    if (plan->opts.bn && zni_plan_add(plan, parent, ZNI_L_BN, out, out, from) < 0) return 0;
    return !relu || zni_plan_add(plan, parent, ZNI_L_RELU, out, out, from) >= 0;
}
static int zni_plan_attention(zni_plan *plan, int parent, int width, const zni_block *from) {
    int index, groups = 4; /* always 4: the published condition for 8 is never true */
    if (plan->opts.attention == ZN_ATTENTION_NONE) return 1;
    if (plan->opts.attention == ZN_ATTENTION_SA && width % (2 * groups) != 0) {
        zni_fail(plan->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: %s has %d inner channels; shuffle attention needs a multiple of %d (or use attention none)",
                 from->column, zni_block_names[from->name].name, width, 2 * groups);
        return 0;
    }
    index = zni_plan_add(plan, parent, plan->opts.attention == ZN_ATTENTION_SA ? ZNI_L_SA : ZNI_L_SE, width, width, from);
    if (index < 0) return 0;
    plan->layers[index].groups = groups;
    return 1;
}

/* Marks the BN that ends a unit's main path. */
static void zni_plan_mark_last_bn(zni_plan *plan, int parent) {
    int last = parent < 0 ? -1 : plan->layers[parent].last_child;
    if (last >= 0 && plan->layers[last].kind == ZNI_L_BN) plan->layers[last].zero_init = 1;
}

/* The unit { conv(in,width) [dw or conv kxk] conv(width,out) } + link, then ReLU; without links its elements stand flat
   in the super block. depthwise 0: KK (two convolutions of k), 1: K1KkK1, groups = width: IDW. */
static int zni_plan_unit(zni_plan *plan, int parent, int in, int width, int out, int stride, int project, const zni_block *from) {
    int unit = parent, ok;
    if (plan->opts.reslink) {
        unit = zni_plan_add(plan, parent, ZNI_L_UNIT, in, out, from);
        if (unit < 0) return 0;
        plan->layers[unit].stride = stride;
        plan->layers[unit].proj = project || stride > 1 || in != out;
    }
    if (from->kind == ZNI_SUPER_KK)
        ok = zni_plan_conv_bn(plan, unit, in, width, from->kernel, stride, 1, 1, from) && zni_plan_attention(plan, unit, width, from) &&
             zni_plan_conv_bn(plan, unit, width, out, from->kernel, 1, 1, 0, from);
    else
        ok = zni_plan_conv_bn(plan, unit, in, width, 1, 1, 1, 1, from) &&
             zni_plan_conv_bn(plan, unit, width, width, from->kernel, stride, from->kind == ZNI_SUPER_IDW ? width : 1, 1, from) &&
             zni_plan_attention(plan, unit, width, from) && zni_plan_conv_bn(plan, unit, width, out, 1, 1, 1, 0, from);
    if (!ok) return 0;
    zni_plan_mark_last_bn(plan, unit);
    return zni_plan_add(plan, parent, ZNI_L_RELU, out, out, from) >= 0;
}

static int zni_plan_super(zni_plan *plan, int parent, const zni_block *b) {
    int index = zni_plan_add(plan, parent, ZNI_L_SEQUENTIAL, b->in, b->out, b), rep, ok = index >= 0;
    for (rep = 0; ok && rep < b->sub_layers; ++rep) {
        int in = rep == 0 ? b->in : b->out, stride = rep == 0 ? b->stride : 1;
        int project = rep == 0 && plan->opts.projection == ZN_PROJECTION_ZENNAS;
        switch (b->kind) {
        case ZNI_SUPER_CONV: ok = zni_plan_conv_bn(plan, index, in, b->out, b->kernel, stride, 1, 1, b); break;
        case ZNI_SUPER_KK: ok = zni_plan_unit(plan, index, in, b->bottleneck, b->out, stride, rep == 0, b); break;
        case ZNI_SUPER_K1KK1:
            ok = zni_plan_unit(plan, index, in, b->bottleneck, b->out, stride, project, b) &&
                 zni_plan_unit(plan, index, b->out, b->bottleneck, b->out, 1, 0, b);
            break;
        default:
            ok = zni_plan_unit(plan, index, in, zni_round8(b->param * b->bottleneck), b->bottleneck, stride, project, b) &&
                 zni_plan_unit(plan, index, b->bottleneck, zni_round8(b->param * b->out), b->out, 1, 0, b);
        }
    }
    return ok;
}

/* Index by zni_kind of the leaf layers; containers are handled apart. */
static zni_layer_kind zni_leaf_kind(zni_kind kind) {
    static const zni_layer_kind kinds[] = {ZNI_L_CONV, ZNI_L_CONV, ZNI_L_CONV, ZNI_L_BN, ZNI_L_RELU, ZNI_L_SWISH, ZNI_L_SE,
                                           ZNI_L_SA, ZNI_L_LINEAR, ZNI_L_MAX_POOL, ZNI_L_AVG_POOL, ZNI_L_FLATTEN,
                                           ZNI_L_SEQUENTIAL, ZNI_L_UNIT, ZNI_L_UNIT, ZNI_L_SUM, ZNI_L_CAT};
    return kinds[kind - ZNI_CONV];
}

static int zni_plan_block(zni_plan *plan, int parent, const zn_structure *s, int from) {
    const zni_block *b = &s->blocks[from];
    zni_layer *l;
    int index, child;
    if (b->kind <= ZNI_SUPER_IDW) return zni_plan_super(plan, parent, b);
    index = zni_plan_add(plan, parent, zni_leaf_kind(b->kind), b->in, b->out, b);
    if (index < 0) return 0;
    l = &plan->layers[index];
    l->stride = b->stride;
    if (l->kind == ZNI_L_CONV || l->kind == ZNI_L_MAX_POOL) l->kernel = b->kernel;
    if (b->kind == ZNI_CONV_GROUPED || b->kind == ZNI_SA) l->groups = b->param;
    if (b->kind == ZNI_CONV_DW) l->groups = b->in;
    if (b->kind == ZNI_AVG_POOL) l->size = b->param;
    if (b->kind == ZNI_LINEAR) l->bias = b->param;
    if (l->kind == ZNI_L_UNIT) l->proj = b->kind == ZNI_RES_PROJ || b->stride > 1 || b->in != b->out;
    for (child = b->first_child; child >= 0; child = s->blocks[child].next)
        if (!zni_plan_block(plan, index, s, child)) return 0;
    return 1;
}

static void zni_plan_destroy(zni_plan *plan) {
    if (plan->ctx != NULL) zni_free(plan->ctx, plan->layers);
    memset(plan, 0, sizeof *plan);
}

/* opts->structure is ignored; the plan keeps the other options. */
static zn_result zni_plan_create(zni_plan *plan, const zn_structure *s, const zn_net_opts *opts) {
    int index;
    memset(plan, 0, sizeof *plan);
    plan->ctx = s->ctx;
    plan->opts = *opts;
    plan->opts.structure = NULL;
    plan->first = plan->last = -1;
    if (opts->classes < 1 || opts->classes > ZN_MAX_CLASSES)
        return zni_fail(s->ctx, ZN_ERROR_ARGUMENT, "classes is %d, must be 1 to %d", opts->classes, ZN_MAX_CLASSES);
    if ((int)opts->attention < 0 || opts->attention > ZN_ATTENTION_SA) return zni_fail(s->ctx, ZN_ERROR_ARGUMENT, "unknown attention %d", (int)opts->attention);
    if ((int)opts->projection < 0 || opts->projection > ZN_PROJECTION_ZENNAS) return zni_fail(s->ctx, ZN_ERROR_ARGUMENT, "unknown projection rule %d", (int)opts->projection);
    for (index = s->first; index >= 0; index = s->blocks[index].next) {
        plan->features = s->blocks[index].out;
        if (zni_plan_block(plan, -1, s, index)) continue;
        zni_plan_destroy(plan);
        return s->ctx->code;
    }
    if (opts->lw_att && plan->features % 16 != 0) {
        int features = plan->features;
        zni_plan_destroy(plan);
        return zni_fail(s->ctx, ZN_ERROR_STRUCTURE, "structure, column 1: it ends in %d channels; the WIRW head (lw_att) needs a multiple of 16", features);
    }
    return ZN_OK;
}

/* Published name of a layer's module, for example "module_list.1.module_list.0". */
static void zni_layer_name(const zni_plan *plan, int index, zni_printer *out) {
    const zni_layer *l = &plan->layers[index];
    if (l->parent >= 0) {
        zni_layer_name(plan, l->parent, out);
        zni_print(out, ".");
    }
    zni_print(out, "module_list.");
    zni_print_int(out, l->position);
}
#define ZNI_NAME_SIZE 1024 /* enough for ZNI_MAX_NESTING levels */
static void zni_layer_name_text(const zni_plan *plan, int index, const char *suffix, char name[ZNI_NAME_SIZE]) {
    zni_printer out;
    out.buffer = name;
    out.size = ZNI_NAME_SIZE;
    out.length = 0;
    zni_layer_name(plan, index, &out);
    zni_print(&out, suffix);
    name[out.length < ZNI_NAME_SIZE ? out.length : ZNI_NAME_SIZE - 1] = '\0';
}

ZN_API zn_net_opts zn_net_opts_default(void) {
    zn_net_opts o;
    memset(&o, 0, sizeof o);
    o.structure = "zennet-m";
    o.classes = 7;
    o.attention = ZN_ATTENTION_SA;
    o.reslink = o.bn = o.train_attention = 1;
    o.bn_momentum = 0.01;
    o.bn_eps = 1e-3;
    o.gn_eps = 1e-5;
    return o;
}
static const char *const zni_attention_names[] = {"none", "se", "sa"};
ZN_API int zn_attention_parse(const char *text) { return zni_find_name(zni_attention_names, 3, text); }
ZN_API const char *zn_attention_text(zn_attention attention) { return (unsigned)attention < 3 ? zni_attention_names[attention] : NULL; }

/* ==================================================================================================================
   IMPL-COUNT  counting
   ================================================================================================================== */
/* One walk computes every figure; each leaf adds its row. Exact sizes and the search's floor division go side by side.
   Source: specification section 5; proven by ../shared/golden and the published figures of ZenNet-M and -R. */
typedef struct zni_counter {
    const zni_plan *plan;
    zn_count total;
    void (*on_layer)(const zn_layer_info *info, void *user);
    void *user;
    int r;           /* exact height and width */
    double budget_r; /* by floor division */
    int depth;
} zni_counter;

static void zni_count_report(zni_counter *c, int index, const char *suffix, zn_layer_info *info) {
    char name[ZNI_NAME_SIZE];
    c->total.params += info->params;
    c->total.macs += info->macs;
    c->total.flops += info->flops;
    c->total.activations += info->activations;
    if (c->on_layer == NULL) return;
    if (index >= 0) zni_layer_name_text(c->plan, index, suffix, name);
    info->name = index >= 0 ? name : suffix;
    info->depth = c->depth;
    c->on_layer(info, c->user);
}

/* Fields that all leaves share; the map has `size` on both sides. */
static zn_layer_info zni_count_leaf(const char *kind, int in, int out, int in_size, int out_size) {
    zn_layer_info info;
    memset(&info, 0, sizeof info);
    info.kind = kind;
    info.in = in;
    info.out = out;
    info.kernel = info.stride = info.groups = 1;
    info.in_size = in_size;
    info.out_size = out_size;
    info.activations = (double)out * out_size * out_size;
    return info;
}
static zn_layer_info zni_count_conv(int in, int out, int kernel, int stride, int groups, int bias, int in_size, int out_size) {
    zn_layer_info info = zni_count_leaf("conv", in, out, in_size, out_size);
    info.kernel = kernel;
    info.stride = stride;
    info.groups = groups;
    info.params = (double)in * out / groups * kernel * kernel + (bias ? out : 0);
    info.macs = (double)in * out / groups * kernel * kernel * out_size * out_size;
    info.flops = info.macs + (bias ? info.activations : 0);
    return info;
}
static zn_layer_info zni_count_bn(int channels, int size) {
    zn_layer_info info = zni_count_leaf("bn", channels, channels, size, size);
    info.params = 2.0 * channels;
    info.flops = 2.0 * info.activations;
    return info;
}

static int zni_conv_size(int r, int kernel, int stride) { return r + 2 * ((kernel - 1) / 2) < kernel ? 0 : (r + 2 * ((kernel - 1) / 2) - kernel) / stride + 1; }

static void zni_count_se(zni_counter *c, int index, const zni_layer *l) {
    int h = zni_se_hidden(l->in);
    zn_layer_info info = zni_count_leaf("se", l->in, l->in, c->r, c->r);
    double pixels = (double)c->r * c->r;
    info.params = 2.0 * l->in * h + 2.0 * h + 2.0 * l->in;
    info.macs = 2.0 * l->in * h;
    info.flops = info.macs + 2.0 * h + 2.0 * l->in + h + l->in * pixels;
    zni_count_report(c, index, "", &info);
    c->total.budget_flops += 2.0 * l->in * h + l->in + l->in * c->budget_r * c->budget_r;
    c->total.budget_params += 2.0 * l->in * h + 2.0 * h + 2.0 * l->in;
}
static void zni_count_sa(zni_counter *c, int index, const zni_layer *l) {
    double k = (double)l->in / (2.0 * l->groups);
    zn_layer_info info = zni_count_leaf("sa", l->in, l->in, c->r, c->r);
    info.groups = l->groups;
    info.params = 6.0 * k;
    info.flops = l->in / 2.0 * c->r * c->r;
    zni_count_report(c, index, "", &info);
    c->total.budget_flops += 4.0 * l->in * l->in / (4.0 * l->groups * l->groups);
    c->total.budget_params += 4.0 * l->in / (2.0 * l->groups);
}

static zn_result zni_count_layers(zni_counter *c, int first);

static zn_result zni_count_unit(zni_counter *c, int index, const zni_layer *l) {
    int r = c->r, out_size = zni_conv_size(c->r, 1, l->stride);
    zn_result result = zni_count_layers(c, l->first_child);
    if (result != ZN_OK || !l->proj) return result;
    {
        zn_layer_info conv = zni_count_conv(l->in, l->out, 1, l->stride, 1, 1, r, out_size), bn = zni_count_bn(l->out, out_size);
        zni_count_report(c, index, ".proj.0", &conv);
        zni_count_report(c, index, ".proj.1", &bn);
    }
    if (out_size != c->r)
        return zni_fail(c->plan->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: the unit gives %d x %d, its projection %d x %d at this resolution", l->column, c->r, c->r, out_size, out_size);
    c->total.budget_flops += ((double)l->in * l->out + l->out) * (c->budget_r / l->stride) * (c->budget_r / l->stride);
    c->total.budget_params += (double)l->in * l->out + l->out;
    return ZN_OK;
}
static zn_result zni_count_branches(zni_counter *c, const zni_layer *l) {
    int child, r = c->r, out_r = -1;
    double budget_r = c->budget_r;
    for (child = l->first_child; child >= 0; child = c->plan->layers[child].next) {
        int next = c->plan->layers[child].next;
        c->r = r;
        c->budget_r = budget_r;
        { /* a branch is one layer: count it without its siblings */
            zni_layer *only = &c->plan->layers[child];
            zn_result result;
            only->next = -1;
            result = zni_count_layers(c, child);
            only->next = next;
            if (result != ZN_OK) return result;
        }
        if (out_r >= 0 && c->r != out_r) return zni_fail(c->plan->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: branches differ in size at this resolution (%d and %d)", l->column, out_r, c->r);
        out_r = c->r;
    }
    return ZN_OK;
}

static zn_result zni_count_one(zni_counter *c, int index, const zni_layer *l) {
    zn_layer_info info;
    double b = c->budget_r;
    int out_size = c->r;
    if (l->kind == ZNI_L_CONV || l->kind == ZNI_L_MAX_POOL) out_size = zni_conv_size(c->r, l->kernel, l->stride);
    if (l->kind == ZNI_L_AVG_POOL) out_size = l->size;
    if (out_size < 1)
        return zni_fail(c->plan->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: nothing is left of a %d x %d map (resolution too small)", l->column, c->r, c->r);
    info = zni_count_leaf(zni_layer_kinds[l->kind], l->in, l->out, c->r, out_size);
    switch (l->kind) {
    case ZNI_L_CONV:
        info = zni_count_conv(l->in, l->out, l->kernel, l->stride, l->groups, 0, c->r, out_size);
        c->total.budget_flops += floor(floor((double)l->in * l->out * l->kernel * l->kernel * b * b / ((double)l->stride * l->stride)) / l->groups);
        c->total.budget_params += (double)l->in * l->out * l->kernel * l->kernel / l->groups;
        c->budget_r = floor(b / l->stride);
        break;
    case ZNI_L_BN:
        info = zni_count_bn(l->in, c->r);
        c->total.budget_flops += b * b * l->in;
        c->total.budget_params += l->in;
        break;
    case ZNI_L_SWISH: c->total.budget_flops += b * b * l->in; break;
    case ZNI_L_MAX_POOL:
        info.kernel = l->kernel;
        info.stride = l->stride;
        c->budget_r = floor(b / l->stride);
        break;
    case ZNI_L_AVG_POOL: c->budget_r = l->size; break;
    default: break;
    }
    zni_count_report(c, index, "", &info);
    c->r = out_size;
    return ZN_OK;
}

static zn_result zni_count_layers(zni_counter *c, int first) {
    int index;
    zn_result result = ZN_OK;
    ++c->depth;
    for (index = first; index >= 0 && result == ZN_OK; index = c->plan->layers[index].next) {
        const zni_layer *l = &c->plan->layers[index];
        switch (l->kind) {
        case ZNI_L_SEQUENTIAL: result = zni_count_layers(c, l->first_child); break;
        case ZNI_L_UNIT: result = zni_count_unit(c, index, l); break;
        case ZNI_L_SUM: case ZNI_L_CAT: result = zni_count_branches(c, l); break;
        case ZNI_L_SE: zni_count_se(c, index, l); break;
        case ZNI_L_SA: zni_count_sa(c, index, l); break;
        default: result = zni_count_one(c, index, l);
        }
    }
    --c->depth;
    return result;
}

static void zni_count_head(zni_counter *c) {
    const zni_plan *plan = c->plan;
    int classes = plan->opts.classes, features = plan->features;
    zn_layer_info pool = zni_count_leaf("avg_pool", features, features, c->r, 1), linear, wirw;
    zni_count_report(c, -1, "pool", &pool);
    linear = zni_count_leaf("linear", features, classes, 1, 1);
    linear.params = (double)features * classes + classes;
    linear.macs = (double)features * classes;
    linear.flops = linear.macs + classes;
    if (plan->opts.lw_att) {
        wirw = zni_count_leaf("wirw", features, features, 1, 1);
        wirw.groups = 8;
        wirw.params = 2.0 + 6.0 * features / 16.0;
        wirw.flops = features / 2.0;
        zni_count_report(c, -1, "lw_att", &wirw);
    }
    zni_count_report(c, -1, "fc_linear", &linear);
    c->total.budget_flops += (double)features * classes;
    c->total.budget_params += (double)features * classes + 1.0;
}

static zn_result zni_plan_count(const zni_plan *plan, int resolution, void (*on_layer)(const zn_layer_info *, void *), void *user, zn_count *out) {
    zni_counter c;
    zn_result result;
    memset(&c, 0, sizeof c);
    memset(out, 0, sizeof *out);
    if (resolution < 1 || resolution > 65536) return zni_fail(plan->ctx, ZN_ERROR_ARGUMENT, "resolution is %d, must be 1 to 65536", resolution);
    c.plan = plan;
    c.on_layer = on_layer;
    c.user = user;
    c.r = resolution;
    c.budget_r = resolution;
    c.depth = -1;
    result = zni_count_layers(&c, plan->first);
    if (result != ZN_OK) return result;
    c.depth = 0;
    zni_count_head(&c);
    *out = c.total;
    return ZN_OK;
}

ZN_API zn_result zn_structure_count_layers(const zn_structure *s, const zn_net_opts *opts, int resolution,
                                           void (*on_layer)(const zn_layer_info *info, void *user), void *user, zn_count *out_count) {
    zn_net_opts defaults = zn_net_opts_default();
    zni_plan plan;
    zn_result result;
    if (s == NULL || out_count == NULL) return zni_null(s != NULL ? s->ctx : NULL, "zn_structure_count");
    memset(out_count, 0, sizeof *out_count);
    result = zni_plan_create(&plan, s, opts != NULL ? opts : &defaults);
    if (result != ZN_OK) return result;
    result = zni_plan_count(&plan, resolution, on_layer, user, out_count);
    out_count->layers = zn_structure_layers(s);
    zni_plan_destroy(&plan);
    return result;
}
ZN_API zn_result zn_structure_count(const zn_structure *s, const zn_net_opts *opts, int resolution, zn_count *out_count) {
    return zn_structure_count_layers(s, opts, resolution, NULL, NULL, out_count);
}

/* ==================================================================================================================
   IMPL-NET  blocks, attention, network
   ------------------------------------------------------------------------------------------------------------------
   A network is a plan and its tensors: all parameters and buffers in one block of memory, all gradients in another. A
   layer finds its tensors by index, in the fixed order of zni_net_declare. Forward walks the plan and calls operations;
   whoever needs to look inside (scores, distillation, Grad-CAM) hangs a tap into the walk.
   Sources: specification sections 2 to 4; proven by ../shared/golden.
   ================================================================================================================== */
struct zn_net {
    zn_ctx *ctx;
    zni_plan plan;
    zn_net_opts opts;
    char *structure;
    zn_tensor **tensors;
    unsigned char *roles;
    size_t capacity, role_capacity;
    int count;
    int head, wirw; /* index of the first tensor */
    zn_real *values, *grads;
    char **class_names;
    zn_input input;
};

enum { ZNI_PARAM, ZNI_WEIGHT, ZNI_GATE, ZNI_BUFFER }; /* weights decay, gates can be left untrained, buffers never are */

/* Appends one tensor without data; 0 when memory is out. */
static int zni_net_tensor_add(zn_net *net, const char *prefix, const char *suffix, zn_shape shape, int role) {
    zn_tensor *t;
    void *items = net->tensors;
    char name[ZNI_NAME_SIZE + 64];
    if (!zni_grow(net->ctx, &items, &net->capacity, (size_t)net->count + 1, sizeof(zn_tensor *))) return 0;
    net->tensors = (zn_tensor **)items;
    items = net->roles;
    if (!zni_grow(net->ctx, &items, &net->role_capacity, (size_t)net->count + 1, 1)) return 0;
    net->roles = (unsigned char *)items;
    t = zni_tensor_header(net->ctx, shape);
    if (t == NULL) return 0;
    t->created = t->borrowed = 1;
    t->trainable = t->needs_grad = role != ZNI_BUFFER && (role != ZNI_GATE || net->opts.train_attention);
    t->decay = role == ZNI_WEIGHT;
    net->roles[net->count] = (unsigned char)role;
    net->tensors[net->count++] = t;
    t->next = net->ctx->tensors;
    net->ctx->tensors = t;
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    t->name = zni_copy_text(net->ctx, name);
    return t->name != NULL;
}
static int zni_net_add_conv(zn_net *net, const char *prefix, const char *suffix, int in, int out, int kernel, int groups) {
    return zni_net_tensor_add(net, prefix, suffix, zn_shape4(out, in / groups, kernel, kernel), ZNI_WEIGHT);
}
static int zni_net_add_bn(zn_net *net, const char *prefix, int channels) {
    zn_shape s = zn_shape1(channels);
    return zni_net_tensor_add(net, prefix, ".weight", s, ZNI_PARAM) && zni_net_tensor_add(net, prefix, ".bias", s, ZNI_PARAM) &&
           zni_net_tensor_add(net, prefix, ".running_mean", s, ZNI_BUFFER) && zni_net_tensor_add(net, prefix, ".running_var", s, ZNI_BUFFER);
}
static int zni_net_add_sa(zn_net *net, const char *prefix, int channels, int groups) {
    zn_shape gate = zn_shape4(1, channels / (2 * groups), 1, 1), gn = zn_shape1(channels / (2 * groups));
    return zni_net_tensor_add(net, prefix, ".cweight", gate, ZNI_GATE) && zni_net_tensor_add(net, prefix, ".cbias", gate, ZNI_GATE) &&
           zni_net_tensor_add(net, prefix, ".sweight", gate, ZNI_GATE) && zni_net_tensor_add(net, prefix, ".sbias", gate, ZNI_GATE) &&
           zni_net_tensor_add(net, prefix, ".gn.weight", gn, ZNI_PARAM) && zni_net_tensor_add(net, prefix, ".gn.bias", gn, ZNI_PARAM);
}
static int zni_net_add_se(zn_net *net, const char *prefix, int channels) {
    int hidden = zni_se_hidden(channels);
    char inner[ZNI_NAME_SIZE + 16];
    snprintf(inner, sizeof inner, "%s.2", prefix);
    if (!zni_net_add_conv(net, prefix, ".1.weight", channels, hidden, 1, 1) || !zni_net_add_bn(net, inner, hidden)) return 0;
    snprintf(inner, sizeof inner, "%s.5", prefix);
    return zni_net_add_conv(net, prefix, ".4.weight", hidden, channels, 1, 1) && zni_net_add_bn(net, inner, channels);
}
static int zni_net_add_linear(zn_net *net, const char *prefix, int in, int out, int bias) {
    if (!zni_net_tensor_add(net, prefix, ".weight", zn_shape2(out, in), ZNI_WEIGHT)) return 0;
    return !bias || zni_net_tensor_add(net, prefix, ".bias", zn_shape1(out), ZNI_PARAM);
}

/* The tensors of the layers from `first` on, in PyTorch's order. */
static int zni_net_declare(zn_net *net, int first) {
    int index, ok = 1;
    for (index = first; index >= 0 && ok; index = net->plan.layers[index].next) {
        zni_layer *l = &net->plan.layers[index];
        char name[ZNI_NAME_SIZE];
        zni_layer_name_text(&net->plan, index, l->kind == ZNI_L_UNIT ? ".proj" : ".netblock", name);
        l->tensor = net->count;
        switch (l->kind) {
        case ZNI_L_CONV: ok = zni_net_add_conv(net, name, ".weight", l->in, l->out, l->kernel, l->groups); break;
        case ZNI_L_BN: ok = zni_net_add_bn(net, name, l->in); break;
        case ZNI_L_SE: ok = zni_net_add_se(net, name, l->in); break;
        case ZNI_L_SA: ok = zni_net_add_sa(net, name, l->in, l->groups); break;
        case ZNI_L_LINEAR: ok = zni_net_add_linear(net, name, l->in, l->out, l->bias); break;
        default: ok = zni_net_declare(net, l->first_child);
        }
        if (!ok || l->kind != ZNI_L_UNIT || !l->proj) continue;
        l->proj_tensor = net->count;
        ok = zni_net_add_conv(net, name, ".0.weight", l->in, l->out, 1, 1) && zni_net_tensor_add(net, name, ".0.bias", zn_shape1(l->out), ZNI_PARAM);
        strcat(name, ".1");
        ok = ok && zni_net_add_bn(net, name, l->out);
    }
    return ok;
}
static int zni_net_declare_head(zn_net *net) {
    int features = net->plan.features;
    net->head = net->count;
    if (!zni_net_add_linear(net, "fc_linear.netblock", features, net->opts.classes, 1)) return 0;
    net->wirw = net->count;
    if (!net->opts.lw_att) return 1;
    return zni_net_tensor_add(net, "lw_att", ".res_scale.scale", zn_shape1(1), ZNI_GATE) &&
           zni_net_tensor_add(net, "lw_att", ".x_scale.scale", zn_shape1(1), ZNI_GATE) && zni_net_add_sa(net, "lw_att.SAlayer", features, 8);
}

/* Gives every tensor its place in the two blocks, each on a cache line of its own. */
static zn_result zni_net_allocate(zn_net *net) {
    size_t line = ZNI_ALIGN / sizeof(zn_real), values = 0, grads = 0;
    int i;
    for (i = 0; i < net->count; ++i) {
        size_t room = zni_size_mul(zni_size_add(net->tensors[i]->count, line - 1) / line, line);
        values = zni_size_add(values, room);
        if (net->roles[i] != ZNI_BUFFER) grads = zni_size_add(grads, room);
    }
    net->values = ZNI_NEW_ZERO(net->ctx, zn_real, values);
    net->grads = ZNI_NEW_ZERO(net->ctx, zn_real, grads);
    if (net->values == NULL || net->grads == NULL) return net->ctx->code;
    for (i = 0, values = grads = 0; i < net->count; ++i) {
        zn_tensor *t = net->tensors[i];
        size_t room = (t->count + line - 1) / line * line;
        t->data = net->values + values;
        values += room;
        if (net->roles[i] == ZNI_BUFFER) continue;
        t->grad = net->grads + grads;
        grads += room;
    }
    return ZN_OK;
}

ZN_API void zn_net_destroy(zn_net *net) {
    zn_ctx *ctx;
    int i;
    if (net == NULL) return;
    ctx = net->ctx;
    zni_plan_destroy(&net->plan);
    for (i = net->count - 1; i >= 0; --i) zn_tensor_destroy(net->tensors[i]); /* newest first: each is at the list's front */
    for (i = 0; net->class_names != NULL && i < net->opts.classes; ++i) zni_free(ctx, net->class_names[i]);
    zni_free(ctx, net->class_names);
    zni_free(ctx, net->tensors);
    zni_free(ctx, net->roles);
    zni_free(ctx, net->values);
    zni_free(ctx, net->grads);
    zni_free(ctx, net->structure);
    zni_free(ctx, net);
}

/* Values that are the same whatever the initialisation: norms 1 and 0, running statistics 0 and 1, gates and scales. */
static void zni_net_start_values(zn_net *net) {
    static const struct { const char *end; double value; } starts[] = {
        {".cbias", 1}, {".sbias", 1}, {".running_var", 1}, {".scale", 1}};
    int i;
    for (i = 0; i < net->count; ++i) {
        zn_tensor *t = net->tensors[i];
        size_t length = strlen(t->name), end, k, j;
        double value = t->shape.dims == 1 && length > 7 && strcmp(t->name + length - 7, ".weight") == 0 ? 1.0 : 0.0;
        for (k = 0; k < sizeof starts / sizeof starts[0]; ++k) {
            end = strlen(starts[k].end);
            if (length > end && strcmp(t->name + length - end, starts[k].end) == 0) value = starts[k].value;
        }
        for (j = 0; j < t->count; ++j) t->data[j] = (zn_real)value;
    }
}

static zn_result zni_net_build(zn_net *net) {
    zn_structure *s = NULL;
    size_t length;
    int i;
    if (zn_structure_parse(net->ctx, net->opts.structure, &s) != ZN_OK) return net->ctx->code;
    length = zn_structure_format(s, NULL, 0);
    net->structure = (char *)zni_alloc(net->ctx, length + 1);
    if (net->structure != NULL) zn_structure_format(s, net->structure, length + 1);
    net->opts.structure = net->structure;
    if (net->structure != NULL) zni_plan_create(&net->plan, s, &net->opts);
    zn_structure_destroy(s);
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    if (!zni_net_declare(net, net->plan.first) || !zni_net_declare_head(net) || zni_net_allocate(net) != ZN_OK) return net->ctx->code;
    net->class_names = ZNI_NEW_ZERO(net->ctx, char *, net->opts.classes);
    if (net->class_names == NULL) return net->ctx->code;
    for (i = 0; i < net->opts.classes; ++i) {
        char digits[16];
        snprintf(digits, sizeof digits, "%d", i);
        net->class_names[i] = zni_copy_text(net->ctx, digits);
    }
    zni_net_start_values(net);
    return net->ctx->code;
}
ZN_API zn_result zn_net_create(zn_ctx *ctx, const zn_net_opts *opts, zn_net **out_net) {
    zn_net *net;
    if (out_net != NULL) *out_net = NULL;
    if (ctx == NULL || out_net == NULL) return zni_null(ctx, "zn_net_create");
    if (ctx->code != ZN_OK) return ctx->code;
    net = ZNI_NEW_ZERO(ctx, zn_net, 1);
    if (net == NULL) return ctx->code;
    net->ctx = ctx;
    net->opts = opts != NULL ? *opts : zn_net_opts_default();
    net->input = zn_input_default();
    if (!(net->opts.bn_eps > 0.0 && isfinite(net->opts.bn_eps)) || !(net->opts.gn_eps > 0.0 && isfinite(net->opts.gn_eps)) || !(net->opts.bn_momentum >= 0.0 && net->opts.bn_momentum <= 1.0))
        zni_fail(ctx, ZN_ERROR_ARGUMENT, "zn_net_create: bn_eps %g and gn_eps %g must be finite and above 0, bn_momentum %g in 0..1", net->opts.bn_eps, net->opts.gn_eps, net->opts.bn_momentum);
    else if (zni_net_build(net) == ZN_OK) {
        *out_net = net;
        return ZN_OK;
    }
    zn_net_destroy(net);
    return ctx->code;
}
ZN_API const zn_net_opts *zn_net_get_opts(const zn_net *net) { return net != NULL ? &net->opts : NULL; }
ZN_API zn_ctx *zn_net_ctx(const zn_net *net) { return net != NULL ? net->ctx : NULL; }
ZN_API int zn_net_tensor_count(const zn_net *net) { return net != NULL ? net->count : 0; }
ZN_API zn_tensor *zn_net_tensor(const zn_net *net, int index) { return net != NULL && index >= 0 && index < net->count ? net->tensors[index] : NULL; }
ZN_API int zn_net_is_buffer(const zn_net *net, int index) { return net != NULL && index >= 0 && index < net->count && net->roles[index] == ZNI_BUFFER; }
ZN_API zn_tensor *zn_net_find(const zn_net *net, const char *name) {
    int i;
    for (i = 0; net != NULL && name != NULL && i < net->count; ++i)
        if (strcmp(net->tensors[i]->name, name) == 0) return net->tensors[i];
    return NULL;
}
ZN_API void zn_net_freeze_backbone(zn_net *net, int frozen) {
    int i;
    for (i = 0; net != NULL && i < net->count; ++i) {
        int head = i >= net->head && i < net->wirw;
        zn_tensor_set_trainable(net->tensors[i], (net->roles[i] != ZNI_GATE || net->opts.train_attention) && (head || !frozen));
    }
}
ZN_API zn_result zn_net_set_class_names(zn_net *net, const char *const *names, int count) {
    const char *fault;
    int i;
    if (net == NULL || names == NULL) return zni_null(zn_net_ctx(net), "zn_net_set_class_names");
    if (count != net->opts.classes) return zni_fail(net->ctx, ZN_ERROR_MISMATCH, "%d class names for a network of %d classes", count, net->opts.classes);
    fault = zni_class_names_fault(names, count, 0);
    if (fault != NULL) return zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "%s", fault);
    for (i = 0; i < count; ++i) {
        char *copy = zni_copy_text(net->ctx, names[i]);
        if (copy == NULL) return net->ctx->code;
        zni_free(net->ctx, net->class_names[i]);
        net->class_names[i] = copy;
    }
    return ZN_OK;
}
ZN_API const char *zn_net_class_name(const zn_net *net, int index) { return net != NULL && index >= 0 && index < net->opts.classes ? net->class_names[index] : NULL; }

/* ---- initialisation ---- */
static const char *const zni_init_names[] = {"custom", "msra", "xavier", "stupid", "zero", "01", "pytorch", "score"};
ZN_API int zn_init_parse(const char *text) { return zni_find_name(zni_init_names, (int)(sizeof zni_init_names / sizeof zni_init_names[0]), text); }
/* Standard deviation of a weight. PyTorch's fans: fan_in = in/groups*k*k, fan_out = out*k*k. */
static double zni_init_deviation(zn_init init, const zn_tensor *t) {
    double fan_in = (double)(t->count / (size_t)t->shape.n[0]), fan_out = (double)t->shape.n[0] * t->shape.n[2] * t->shape.n[3];
    double xavier = sqrt(2.0 / (fan_in + fan_out)), stupid = 1.0 / sqrt(fan_out);
    switch (init) {
    case ZN_INIT_CUSTOM: case ZN_INIT_MSRA: return 3.26033 * xavier;
    case ZN_INIT_XAVIER: return (t->shape.dims == 4 ? sqrt(2.0) : 1.0) * xavier;
    case ZN_INIT_STUPID: return stupid;
    case ZN_INIT_ZERO: return 1e-3 * stupid;
    case ZN_INIT_01: return 0.1 * stupid;
    default: return 1.0;
    }
}
/* One stream per tensor, chosen by its name: a network draws the same convolutions with and without attention. */
static void zni_init_tensor(zn_tensor *t, zn_init init, uint64_t seed, size_t fan_in) {
    zn_rng rng = zn_rng_stream(seed, zn_fnv1a64(t->name, strlen(t->name), ZN_FNV_START));
    double bound = 1.0 / sqrt((double)fan_in), deviation = zni_init_deviation(init, t);
    size_t i;
    for (i = 0; i < t->count; ++i)
        t->data[i] = (zn_real)(init == ZN_INIT_PYTORCH ? bound * (2.0 * zn_rng_uniform(&rng) - 1.0) : deviation * zn_rng_normal(&rng));
}
ZN_API zn_result zn_net_init(zn_net *net, zn_init init, uint64_t seed) {
    int i;
    if (net == NULL) return ZN_ERROR_ARGUMENT;
    if ((int)init < 0 || init > ZN_INIT_SCORE) return zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "unknown initialisation %d", (int)init);
    zni_net_start_values(net);
    for (i = 0; i < net->count; ++i) {
        zn_tensor *t = net->tensors[i];
        size_t fan_in = t->count / (size_t)t->shape.n[0];
        if (!t->decay) continue;
        zni_init_tensor(t, init, seed, fan_in);
        if (init == ZN_INIT_PYTORCH && strcmp(net->tensors[i + 1]->name + strlen(net->tensors[i + 1]->name) - 5, ".bias") == 0) zni_init_tensor(net->tensors[i + 1], init, seed, fan_in);
    }
    for (i = 0; init == ZN_INIT_CUSTOM && net->opts.reslink && i < net->plan.count; ++i) {
        const zni_layer *l = &net->plan.layers[i];
        if (l->kind == ZNI_L_BN && l->zero_init) memset(net->tensors[l->tensor]->data, 0, net->tensors[l->tensor]->count * sizeof(zn_real));
    }
    return ZN_OK;
}

/* ---- forward ---- */
typedef struct zni_walk { /* one forward pass */
    zn_net *net;
    int training;
    void (*tap)(void *user, const zni_layer *layer, zn_tensor *x, zn_tensor *y); /* sees every layer, NULL for none */
    void *user;
} zni_walk;

static zn_tensor *zni_walk_bn(const zni_walk *w, zn_tensor *x, int first) {
    zn_tensor *const *t = w->net->tensors + first;
    return zn_batch_norm(w->net->ctx, x, t[0], t[1], t[2], t[3], w->training, w->net->opts.bn_momentum, w->net->opts.bn_eps);
}
static zn_tensor *zni_walk_sa(const zni_walk *w, zn_tensor *x, int first, int groups) {
    zn_tensor *const *t = w->net->tensors + first;
    return zn_shuffle_attention(w->net->ctx, x, t[0], t[1], t[2], t[3], t[4], t[5], groups, w->net->opts.gn_eps);
}
/* x * sigmoid(BN(conv(ReLU(BN(conv(mean x)))))) (specification section 4) */
static zn_tensor *zni_walk_se(const zni_walk *w, zn_tensor *x, int first) {
    zn_ctx *ctx = w->net->ctx;
    zn_tensor *const *t = w->net->tensors + first;
    zn_tensor *h = zn_relu(ctx, zni_walk_bn(w, zn_conv2d(ctx, zn_global_avg_pool(ctx, x), t[0], NULL, 1, 0, 1), first + 1));
    return zn_mul(ctx, x, zn_sigmoid(ctx, zni_walk_bn(w, zn_conv2d(ctx, h, t[5], NULL, 1, 0, 1), first + 6)));
}

/* An intermediate result that nobody but its reader will ask for gives its memory back: at once when that recorded nothing,
   else as soon as backward has passed it. */
static void zni_walk_drop(zn_tensor *x, const zn_tensor *reader) {
    if (x == NULL || x->created || x->borrowed) return;
    x->internal = 1;
    if (reader != NULL && reader->pending == ZNI_PENDING_NOT) zni_forget(x);
    if (x->needs_grad || (reader != NULL && reader->needs_grad)) return;
    zni_buffer_give(x->ctx, x->data);
    x->data = NULL;
}

static zn_tensor *zni_walk_layer(const zni_walk *w, const zni_layer *l, zn_tensor *x);
static zn_tensor *zni_walk_layers(const zni_walk *w, int first, zn_tensor *x, int keep);

/* f(x) + x, or f(x) + BN(projection(x)) */
static zn_tensor *zni_walk_unit(const zni_walk *w, const zni_layer *l, zn_tensor *x) {
    zn_ctx *ctx = w->net->ctx;
    zn_tensor *const *t = w->net->tensors + l->proj_tensor, *f, *link = x, *y;
    if (l->proj) { /* first, so that its gradient comes last: of stride 2 it adds to a quarter of what is there then, and ends it */
        zn_tensor *conv = zn_conv2d(ctx, x, t[0], t[1], l->stride, 0, 1);
        link = zni_walk_bn(w, conv, l->proj_tensor + 2);
        zni_walk_drop(conv, link);
    }
    f = zni_walk_layers(w, l->first_child, x, 1);
    y = zn_add(ctx, f, link);
    zni_walk_drop(f, y);
    if (link != x) zni_walk_drop(link, y);
    return y;
}
/* Branches read the same input; their results are added up or joined. */
static zn_tensor *zni_walk_branches(const zni_walk *w, const zni_layer *l, zn_tensor *x) {
    zn_tensor *sum = NULL;
    int child;
    for (child = l->first_child; child >= 0; child = w->net->plan.layers[child].next) {
        zn_tensor *y = zni_walk_layer(w, &w->net->plan.layers[child], x);
        if (y == NULL) return NULL;
        if (sum == NULL) sum = y;
        else sum = l->kind == ZNI_L_SUM ? zn_add(w->net->ctx, sum, y) : zn_concat(w->net->ctx, sum, y);
    }
    return sum;
}
static zn_tensor *zni_walk_layer(const zni_walk *w, const zni_layer *l, zn_tensor *x) {
    zn_ctx *ctx = w->net->ctx;
    zn_tensor *const *t = w->net->tensors + (l->tensor >= 0 ? l->tensor : 0), *y;
    switch (l->kind) {
    case ZNI_L_CONV: y = zn_conv2d(ctx, x, t[0], NULL, l->stride, (l->kernel - 1) / 2, l->groups); break;
    case ZNI_L_BN: y = zni_walk_bn(w, x, l->tensor); break;
    case ZNI_L_RELU: y = zn_relu(ctx, x); break;
    case ZNI_L_SWISH: y = zn_swish(ctx, x); break;
    case ZNI_L_SE: y = zni_walk_se(w, x, l->tensor); break;
    case ZNI_L_SA: y = zni_walk_sa(w, x, l->tensor, l->groups); break;
    case ZNI_L_LINEAR: y = zn_linear(ctx, x, t[0], l->bias ? t[1] : NULL); break;
    case ZNI_L_MAX_POOL: y = zn_max_pool(ctx, x, l->kernel, l->stride, (l->kernel - 1) / 2); break;
    case ZNI_L_AVG_POOL: y = zn_adaptive_avg_pool(ctx, x, l->size); break;
    case ZNI_L_FLATTEN: y = x != NULL ? zn_reshape(ctx, x, zn_shape2(x->shape.n[0], (int)(x->count / (size_t)x->shape.n[0]))) : NULL; break;
    case ZNI_L_SEQUENTIAL: y = zni_walk_layers(w, l->first_child, x, 1); break;
    case ZNI_L_UNIT: y = zni_walk_unit(w, l, x); break;
    default: y = zni_walk_branches(w, l, x); break;
    }
    if (w->tap != NULL && y != NULL) w->tap(w->user, l, x, y);
    return y;
}
/* The layers from `first` on; keep: x is still needed by somebody else. */
static zn_tensor *zni_walk_layers(const zni_walk *w, int first, zn_tensor *x, int keep) {
    int index;
    for (index = first; index >= 0 && x != NULL; index = w->net->plan.layers[index].next) {
        zn_tensor *y = zni_walk_layer(w, &w->net->plan.layers[index], x);
        if (y != NULL && y != x && !keep) zni_walk_drop(x, y);
        keep = 0;
        x = y;
    }
    return x;
}

static zn_tensor *zni_net_walk(const zni_walk *w, zn_tensor *x) {
    char text[64];
    if (x == NULL || !zni_need_dims(w->net->ctx, "network", x, 4)) return NULL;
    if (x->shape.n[1] != 3) {
        zni_fail(w->net->ctx, ZN_ERROR_ARGUMENT, "network: needs N x 3 x H x W, got %s", zni_shape_text(x->shape, text));
        return NULL;
    }
    x = zni_walk_layers(w, w->net->plan.first, x, 1);
    return zni_ready(x) ? x : NULL; /* what it is computed from may go in the backward pass */
}
/* Pool, optional WIRW y = res_scale * SA(x) + x_scale * x, linear. */
static zn_tensor *zni_net_head(const zni_walk *w, zn_tensor *features) {
    zn_net *net = w->net;
    zn_ctx *ctx = net->ctx;
    zn_tensor *x = zn_global_avg_pool(ctx, features), *const *t = net->tensors + net->wirw;
    if (net->opts.lw_att) x = zn_add(ctx, zn_mul(ctx, zni_walk_sa(w, x, net->wirw + 2, 8), t[0]), zn_mul(ctx, x, t[1]));
    if (x == NULL) return NULL;
    return zn_linear(ctx, zn_reshape(ctx, x, zn_shape2(x->shape.n[0], net->plan.features)), net->tensors[net->head], net->tensors[net->head + 1]);
}
static zni_walk zni_walk_of(zn_net *net, int training) {
    zni_walk w;
    memset(&w, 0, sizeof w);
    w.net = net;
    w.training = training;
    return w;
}
ZN_API zn_tensor *zn_net_features(zn_net *net, zn_tensor *x, int training) {
    zni_walk w = zni_walk_of(net, training);
    return net != NULL ? zni_net_walk(&w, x) : NULL;
}
ZN_API zn_tensor *zn_net_forward(zn_net *net, zn_tensor *x, int training) {
    zni_walk w = zni_walk_of(net, training);
    zn_tensor *features, *logits;
    if (net == NULL) return NULL;
    features = zni_net_walk(&w, x);
    logits = zni_net_head(&w, features);
    if (features != x) zni_walk_drop(features, NULL); /* the pool needs only its shape again */
    return logits;
}

/* ==================================================================================================================
   IMPL-SCORE  scores
   ------------------------------------------------------------------------------------------------------------------
   A scorer is what the draws of one score share, and the structures of a search: images, and memory that only grows. It
   works in a context of its own, so a search runs one per thread. The Zen-score has a pass of its own, without a tape;
   its rivals take the network's ordinary walk with a tap.
   Sources: specification section 6; proven by ../shared/golden (zen_*, proxy_*, effective_score).
   ================================================================================================================== */
static const char *const zni_score_names[] = {"zen", "zen-paper", "gradnorm", "synflow", "naswot", "tenas", "zen-expected", "flops", "params", "deepmad", "random"};
#define ZNI_SCORES ((int)(sizeof zni_score_names / sizeof zni_score_names[0]))
ZN_API int zn_score_parse(const char *text) { return zni_find_name(zni_score_names, ZNI_SCORES, text); }
ZN_API const char *zn_score_text(zn_score_kind kind) { return (unsigned)kind < (unsigned)ZNI_SCORES ? zni_score_names[kind] : NULL; }
ZN_API zn_score_opts zn_score_opts_default(void) {
    zn_score_opts o;
    memset(&o, 0, sizeof o);
    o.batch = 16;
    o.resolution = 224;
    o.repeat = 1;
    o.classes = 7;
    o.gamma = 0.01;
    return o;
}

/* ---- what the structure alone tells ---- */
/* Effectiveness and entropy over the stages: one ends before each block of stride 2 but the first, and at the end. */
static zn_result zni_stages(const zn_structure *s, int resolution, double *effective, double *entropy) {
    zn_net_opts opts = zn_net_opts_default();
    zni_plan plan;
    double layers = 0.0, logs = 0.0;
    int index, block = 0, at = 0, r = resolution;
    *effective = *entropy = 0.0;
    opts.attention = ZN_ATTENTION_NONE;
    if (zni_plan_create(&plan, s, &opts) != ZN_OK) return s->ctx->code;
    for (index = s->first; index >= 0; ++block) {
        const zni_block *b = &s->blocks[index];
        for (; at < plan.count && plan.layers[at].block == block; ++at) {
            const zni_layer *l = &plan.layers[at];
            if (l->kind != ZNI_L_CONV) continue;
            layers += 1.0;
            logs += log((double)l->in * l->kernel * l->kernel / l->groups);
        }
        r = zni_block_resolution(s, index, r);
        index = b->next;
        if (layers < 1.0 || (index >= 0 && s->blocks[index].stride != 2)) continue;
        *effective = fmax(*effective, exp(log(layers) - logs / layers));
        *entropy += log((double)b->out * r * r) * logs / 2.0;
    }
    zni_plan_destroy(&plan);
    return ZN_OK;
}
ZN_API zn_result zn_structure_effective_score(const zn_structure *s, double *out_score) {
    double entropy;
    if (s == NULL || out_score == NULL) return zni_null(s != NULL ? s->ctx : NULL, "zn_structure_effective_score");
    return zni_stages(s, 1024, out_score, &entropy);
}
ZN_API double zn_structure_depth_penalty(const zn_structure *s) {
    int index, block = 0, drop = 0, count = 0;
    double sum = 0.0, squares = 0.0;
    for (index = s != NULL ? s->first : -1; index >= 0; index = s->blocks[index].next, ++block) {
        const zni_block *b = &s->blocks[index];
        double units = b->kind == ZNI_SUPER_KK ? b->sub_layers : 2.0 * b->sub_layers;
        if (block == 1) drop = b->kind == ZNI_SUPER_K1KK1 ? 2 : b->kind == ZNI_SUPER_KK ? 1 : 0;
        if (b->kind < ZNI_SUPER_KK || b->kind > ZNI_SUPER_IDW || drop-- > 0) continue;
        ++count;
        sum += units;
        squares += units * units;
    }
    if (count == 0) return 0.0;
    return 5.0 * exp(sqrt(fmax(0.0, squares / count - sum / count * (sum / count))));
}

/* ---- the scorer: what the draws of a score, and the structures of a search, share ---- */
typedef struct zni_arena { /* memory that only grows, its contents not kept */
    void *memory;
    size_t bytes;
} zni_arena;

struct zn_scorer {
    zn_ctx *ctx;  /* of its own */
    zn_ctx *home; /* of who asked; errors go there */
    zn_score_opts opts;
    zni_ziggurat normal;
    zn_tensor *images[2]; /* x and x + gamma e of draw `drawn` */
    int drawn;
    uint64_t seed;        /* of the draw */
    /* one structure: */
    zn_net *net;
    zni_walk walk;
    double *norms;        /* by index of a running variance: values per channel that it was taken over */
    int single;           /* a norm saw one value per channel */
    double *agree;        /* NASWOT: batch x batch counts of equal ReLU states, NULL for the others */
    /* the fast pass: */
    zn_tensor *x;         /* the current feature map, to be read through the maps in `normed` when `pending` */
    int pending;
    zni_arena maps[2], normed, features;
};

static void *zni_arena_room(zn_scorer *s, zni_arena *arena, size_t bytes) {
    if (arena->bytes >= bytes && arena->memory != NULL) return arena->memory;
    zni_free(s->ctx, arena->memory);
    arena->memory = zni_alloc(s->ctx, bytes);
    arena->bytes = arena->memory != NULL ? bytes : 0;
    return arena->memory;
}
static zn_real *zni_arena_reals(zn_scorer *s, zni_arena *arena, size_t count) {
    return (zn_real *)zni_arena_room(s, arena, zni_size_mul(count, sizeof(zn_real)));
}

static void zni_scorer_close(zn_scorer *s) {
    if (s->ctx == NULL) return;
    zni_free(s->ctx, s->maps[0].memory);
    zni_free(s->ctx, s->maps[1].memory);
    zni_free(s->ctx, s->normed.memory);
    zni_free(s->ctx, s->features.memory);
    zn_ctx_destroy(s->ctx);
    memset(s, 0, sizeof *s);
}
/* Errors of the scorer's own context go to ctx. */
static zn_result zni_scorer_open(zn_scorer *s, zn_ctx *ctx, const zn_score_opts *opts) {
    memset(s, 0, sizeof *s);
    s->home = ctx;
    s->opts = *opts;
    s->drawn = -1;
    if (zn_score_text(opts->kind) == NULL) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "unknown score %d", (int)opts->kind);
    if (opts->batch < 1 || opts->batch > 4096 || opts->resolution < 1 || opts->resolution > 8192 || opts->repeat < 1 || opts->repeat > 1000000)
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "score: batch %d must be 1 to 4096, resolution %d 1 to 8192, repeat %d 1 to 1000000", opts->batch, opts->resolution, opts->repeat);
    if (opts->classes < 1 || opts->classes > ZN_MAX_CLASSES) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "classes is %d, must be 1 to %d", opts->classes, ZN_MAX_CLASSES);
    if (!(fabs(opts->gamma) > 0.0 && fabs(opts->gamma) < 1e6)) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "score: gamma is %g, must be below 1e6 in size and not 0", opts->gamma);
    if (zn_ctx_create(&ctx->opts, &s->ctx) != ZN_OK) return zni_fail(ctx, ZN_ERROR_MEMORY, "out of memory: a context for the score");
    zni_ziggurat_make(&s->normal);
    return ZN_OK;
}

/* x and x + gamma e of a draw; the gradient scores use x alone. */
static zn_result zni_scorer_draw(zn_scorer *s, int draw) {
    size_t count = (size_t)3 * (size_t)s->opts.resolution * (size_t)s->opts.resolution;
    int zen = s->opts.kind == ZN_SCORE_ZEN || s->opts.kind == ZN_SCORE_ZEN_PAPER, n;
    if (s->drawn == draw) return ZN_OK;
    s->seed = s->opts.golden ? s->opts.seed : zn_rng_stream(s->opts.seed, (uint64_t)draw).state;
    for (n = 0; n <= zen; ++n) {
        if (s->images[n] == NULL) s->images[n] = zn_tensor_create(s->ctx, zn_shape4(s->opts.batch, 3, s->opts.resolution, s->opts.resolution));
        if (s->images[n] == NULL) return s->ctx->code;
        if (s->opts.golden) zn_fill(s->images[n]->data, n == 0 ? "zen_a" : "zen_b", s->seed, s->images[n]->count, -1.7, 1.7);
    }
    ZNI_OMP(parallel for)
    for (n = 0; n < s->opts.batch; ++n) {
        zn_real *x = s->images[0]->data + (size_t)n * count, *e = zen ? s->images[1]->data + (size_t)n * count : NULL;
        zn_rng rng = zn_rng_stream(s->seed, (uint64_t)n);
        size_t i;
        if (!s->opts.golden) zni_normals(&s->normal, &rng, x, count, 1.0);
        if (!s->opts.golden && zen) zni_normals(&s->normal, &rng, e, count, 1.0);
        for (i = 0; zen && i < count; ++i) e[i] = (zn_real)((double)x[i] + s->opts.gamma * (double)e[i]);
    }
    s->drawn = draw;
    return ZN_OK;
}
/* Normal weights come from the ziggurat, a stream per tensor chosen by its name, as in zn_net_init. */
static void zni_scorer_weights(zn_scorer *s) {
    int i;
    if (s->opts.kind == ZN_SCORE_TENAS && !s->opts.golden) zn_net_init(s->net, ZN_INIT_PYTORCH, s->seed);
    else zni_net_start_values(s->net);
    ZNI_OMP(parallel for schedule(dynamic))
    for (i = 0; i < s->net->count; ++i) {
        size_t k;
        zn_tensor *t = s->net->tensors[i];
        zn_rng rng = zn_rng_stream(s->seed, zn_fnv1a64(t->name, strlen(t->name), ZN_FNV_START));
        if (s->opts.golden && t->shape.dims > 1) zn_fill(t->data, t->name, s->seed, t->count, -sqrt(3.0), sqrt(3.0));
        else if (t->decay && s->opts.kind != ZN_SCORE_TENAS) zni_normals(&s->normal, &rng, t->data, t->count, 1.0);
        for (k = 0; s->opts.kind == ZN_SCORE_SYNFLOW && s->net->roles[i] != ZNI_BUFFER && k < t->count; ++k) t->data[k] = (zn_real)fabs((double)t->data[k]);
    }
}

/* ---- the tap of ordinary passes ---- */
static void zni_scorer_saw_norm(zn_scorer *s, int running_var, size_t values) {
    s->norms[running_var] = (double)values;
    if (values < 2) s->single = 1;
}
static void zni_scorer_agree(zn_scorer *s, zn_tensor *x) {
    int batch = x->shape.n[0], i;
    size_t count = x->count / (size_t)batch;
    if (!zni_ready(x)) return;
    ZNI_OMP(parallel for schedule(dynamic, 1))
    for (i = 0; i < batch; ++i) {
        const zn_real *a = x->data + (size_t)i * count;
        int j;
        for (j = 0; j <= i; ++j) {
            const zn_real *b = x->data + (size_t)j * count;
            size_t k, equal = 0;
            for (k = 0; k < count; ++k) equal += (a[k] > 0) == (b[k] > 0);
            s->agree[i * batch + j] += (double)equal;
            if (j < i) s->agree[j * batch + i] = s->agree[i * batch + j];
        }
    }
}
static void zni_scorer_tap(void *user, const zni_layer *l, zn_tensor *x, zn_tensor *y) {
    zn_scorer *s = (zn_scorer *)user;
    if (l->kind == ZNI_L_BN) zni_scorer_saw_norm(s, l->tensor + 3, x->count / (size_t)l->in);
    if (l->kind == ZNI_L_UNIT && l->proj) zni_scorer_saw_norm(s, l->proj_tensor + 5, y->count / (size_t)l->out);
    if (l->kind == ZNI_L_SE) {
        zni_scorer_saw_norm(s, l->tensor + 4, (size_t)x->shape.n[0]);
        zni_scorer_saw_norm(s, l->tensor + 9, (size_t)x->shape.n[0]);
    }
    if (l->kind == ZNI_L_RELU && s->agree != NULL) zni_scorer_agree(s, x);
}
static zn_tensor *zni_scorer_logits(zn_scorer *s, zn_tensor *x) { return zni_net_head(&s->walk, zni_net_walk(&s->walk, x)); }

/* ---- Zen: two passes without a tape ----
   A convolution normalises and rectifies its input while it reads it, and takes the moments of its output block by block. So
   every map goes to memory once and comes back once, and a norm or ReLU of its own pass is never seen. Whatever is not
   convolution, norm or ReLU (hand-written links, pools, SE) goes through the network's ordinary walk. */

/* A map of the given shape in the arena that x does not occupy, on the tape of the scorer's context. */
static zn_tensor *zni_zen_map(zn_scorer *s, zn_shape shape) {
    zni_arena *arena = &s->maps[s->x->data == s->maps[0].memory];
    zn_tensor *y = zni_tensor_header(s->ctx, shape);
    if (y == NULL) return NULL;
    y->borrowed = 1;
    y->next = s->ctx->tape;
    s->ctx->tape = y;
    y->data = zni_arena_reals(s, arena, y->count);
    return y->data != NULL ? y : NULL;
}
/* Applies what is pending, for those who read x as it should be. */
static zn_result zni_zen_settle(zn_scorer *s) {
    zn_tensor *x = s->x, *y;
    const zni_map *maps = (const zni_map *)s->normed.memory;
    size_t plane = (size_t)x->shape.n[2] * (size_t)x->shape.n[3];
    int p;
    if (!s->pending) return ZN_OK;
    y = zni_zen_map(s, x->shape);
    if (y == NULL) return s->ctx->code;
    ZNI_OMP(parallel for if (y->count > ZNI_PARALLEL_MIN))
    for (p = 0; p < x->shape.n[0] * x->shape.n[1]; ++p) zni_map_run(&maps[p % x->shape.n[1]], x->data + (size_t)p * plane, plane, y->data + (size_t)p * plane);
    s->x = y;
    s->pending = 0;
    return ZN_OK;
}
static zn_result zni_zen_conv(zn_scorer *s, const zni_layer *l) {
    zn_tensor *w = s->net->tensors[l->tensor], *y;
    zni_conv_shape shape = zni_conv_shape_of(s->x, w, l->stride, (l->kernel - 1) / 2, l->groups);
    zni_input in;
    zn_result result;
    if (zni_conv_work(&shape) < ZNI_CONV_FAST && zni_zen_settle(s) != ZN_OK) return s->ctx->code; /* the plain loops read what they get */
    y = zni_zen_map(s, zn_shape4(shape.n, shape.o, shape.oh, shape.ow));
    if (y != NULL) y->moments = (zni_moments *)zni_buffer_take(s->ctx, zni_size_mul((size_t)shape.o, sizeof *y->moments));
    if (s->ctx->code != ZN_OK) return s->ctx->code;
    in = zni_input_of(s->x->data, s->pending ? (const zni_map *)s->normed.memory : NULL);
    result = zni_conv2d_forward(s->ctx, &shape, &in, w->data, NULL, y->data, y->moments);
    if (result != ZN_OK) return zni_fail(s->ctx, result, "score: a convolution of %d x %d is too large", shape.h, shape.w);
    s->x = y;
    s->pending = 0;
    return ZN_OK;
}
/* Statistics become pending maps; the running variance moves. */
static zn_result zni_zen_norm(zn_scorer *s, const zni_layer *l) {
    int c;
    zn_real *running = s->net->tensors[l->tensor + 3]->data;
    zni_map *maps;
    zni_scorer_saw_norm(s, l->tensor + 3, s->x->count / (size_t)l->in);
    if (zni_zen_settle(s) != ZN_OK) return s->ctx->code;
    maps = (zni_map *)zni_arena_room(s, &s->normed, zni_size_mul((size_t)l->in, sizeof(zni_map)));
    if (maps == NULL) return s->ctx->code;
    ZNI_OMP(parallel for if (s->x->count > ZNI_PARALLEL_MIN))
    for (c = 0; c < l->in; ++c) {
        double mean, var;
        zni_batch_statistics(s->x, c, NULL, running, s->net->opts.bn_momentum, &mean, &var);
        maps[c].mean = (zn_real)mean;
        maps[c].scale = (zn_real)(1.0 / sqrt(var + s->net->opts.bn_eps));
        maps[c].shift = 0;
        maps[c].relu = 0;
    }
    s->pending = 1;
    return ZN_OK;
}
static zn_result zni_zen_relu(zn_scorer *s) {
    int c, channels = s->x->shape.n[1];
    zni_map *maps = (zni_map *)zni_arena_room(s, &s->normed, zni_size_mul((size_t)channels, sizeof(zni_map)));
    if (maps == NULL) return s->ctx->code;
    for (c = 0; c < channels; ++c) {
        if (!s->pending) {
            maps[c].mean = maps[c].shift = 0;
            maps[c].scale = 1;
        }
        maps[c].relu = 1;
    }
    s->pending = 1;
    return ZN_OK;
}
static zn_result zni_zen_layers(zn_scorer *s, int first) {
    int index;
    for (index = first; index >= 0 && s->ctx->code == ZN_OK; index = s->net->plan.layers[index].next) {
        const zni_layer *l = &s->net->plan.layers[index];
        switch (l->kind) {
        case ZNI_L_SEQUENTIAL: zni_zen_layers(s, l->first_child); break;
        case ZNI_L_CONV: zni_zen_conv(s, l); break;
        case ZNI_L_BN: zni_zen_norm(s, l); break;
        case ZNI_L_RELU: zni_zen_relu(s); break;
        default:
            if (zni_zen_settle(s) == ZN_OK) s->x = zni_walk_layer(&s->walk, l, s->x);
        }
    }
    return s->ctx->code;
}
static zn_result zni_zen_pass(zn_scorer *s, zn_tensor *images) {
    s->x = images;
    s->pending = 0;
    return zni_zen_layers(s, s->net->plan.first) == ZN_OK ? zni_zen_settle(s) : s->ctx->code;
}
/* Sum over the norms of log sqrt(mean variance); unbiased variances become biased ones for the paper's form. */
static double zni_zen_norm_term(const zn_scorer *s) {
    double total = 0.0;
    int i;
    for (i = 0; i < s->net->count; ++i) {
        const zn_tensor *t = s->net->tensors[i];
        if (s->norms[i] < 1.0) continue;
        total += 0.5 * log(zni_sum(t->data, t->count) / (double)t->count * (s->opts.kind == ZN_SCORE_ZEN_PAPER ? (s->norms[i] - 1.0) / s->norms[i] : 1.0));
    }
    return total;
}
static double zni_score_zen(zn_scorer *s) {
    double norms;
    size_t i, count;
    zn_real *features;
    if (zni_zen_pass(s, s->images[0]) != ZN_OK) return (double)NAN;
    norms = zni_zen_norm_term(s);
    count = s->x->count;
    features = zni_arena_reals(s, &s->features, count);
    if (features == NULL) return (double)NAN;
    memcpy(features, s->x->data, count * sizeof(zn_real));
    zn_tape_clear(s->ctx);
    if (zni_zen_pass(s, s->images[1]) != ZN_OK) return (double)NAN;
    if (s->opts.kind == ZN_SCORE_ZEN) norms = zni_zen_norm_term(s);
    for (i = 0; i < count; ++i) features[i] = (zn_real)fabs((double)features[i] - (double)s->x->data[i]);
    return log(zni_sum(features, count) / s->opts.batch) + norms;
}

/* ---- rivals on gradients and patterns ---- */
static double zni_score_gradnorm(zn_scorer *s) {
    zn_tensor *target = zn_tensor_create(s->ctx, zn_shape2(s->opts.batch, s->opts.classes));
    zn_rng rng = zn_rng_stream(s->seed, (uint64_t)s->opts.batch);
    double sum = 0.0;
    int i;
    for (i = 0; target != NULL && i < s->opts.batch; ++i) {
        int label = s->opts.targets != NULL ? s->opts.targets[i] : (int)zn_rng_below(&rng, (uint64_t)s->opts.classes);
        if (label < 0 || label >= s->opts.classes) zni_fail(s->ctx, ZN_ERROR_ARGUMENT, "score: target %d of image %d, must be 0 to %d", label, i, s->opts.classes - 1);
        else target->data[i * s->opts.classes + label] = 1;
    }
    if (s->ctx->code == ZN_OK) zn_backward(s->ctx, zn_cross_entropy(s->ctx, zni_scorer_logits(s, s->images[0]), target));
    for (i = 0; i < s->net->count; ++i)
        if (s->net->roles[i] != ZNI_BUFFER) sum += zni_sum_squares(s->net->tensors[i]->grad, s->net->tensors[i]->count, 0.0);
    zn_tape_clear(s->ctx);
    zn_tensor_destroy(target);
    return sqrt(sum);
}
/* Minus the sum, over convolutions and the head, of the mean over output channels of sum |w dw|, all weights positive. */
static double zni_score_synflow(zn_scorer *s) {
    zn_tensor *ones = zn_tensor_create(s->ctx, zn_shape4(1, 3, s->opts.resolution, s->opts.resolution));
    double sum = 0.0;
    size_t k;
    int i;
    for (k = 0; ones != NULL && k < ones->count; ++k) ones->data[k] = 1;
    if (ones != NULL) zn_backward(s->ctx, zn_sum(s->ctx, zni_scorer_logits(s, ones)));
    for (i = 0; i < s->net->count; ++i) {
        const zn_tensor *t = s->net->tensors[i];
        double part = 0.0;
        for (k = 0; t->decay && k < t->count; ++k) part += fabs((double)t->data[k] * (double)t->grad[k]);
        sum += part / t->shape.n[0];
    }
    zn_tape_clear(s->ctx);
    zn_tensor_destroy(ones);
    return -sum;
}
/* Logarithm of the determinant of a positive definite n x n matrix, by Cholesky in place; NaN for others. */
static double zni_log_determinant(double *a, int n) {
    double sum = 0.0;
    int i, j, k;
    for (j = 0; j < n; ++j) {
        for (i = j; i < n; ++i) {
            double v = a[i * n + j];
            for (k = 0; k < j; ++k) v -= a[i * n + k] * a[j * n + k];
            if (i == j && !(v > 0.0)) return (double)NAN;
            a[i * n + j] = i == j ? sqrt(v) : v / a[j * n + j];
        }
        sum += 2.0 * log(a[j * n + j]);
    }
    return sum;
}
static double zni_score_naswot(zn_scorer *s) {
    double value;
    s->agree = ZNI_NEW_ZERO(s->ctx, double, (size_t)s->opts.batch * (size_t)s->opts.batch);
    if (s->agree == NULL) return (double)NAN;
    zn_no_grad_begin(s->ctx);
    zni_net_walk(&s->walk, s->images[0]);
    zn_no_grad_end(s->ctx);
    zn_tape_clear(s->ctx);
    value = zni_log_determinant(s->agree, s->opts.batch);
    zni_free(s->ctx, s->agree);
    s->agree = NULL;
    return value;
}
/* Smallest and largest eigenvalue of a symmetric n x n matrix by cyclic Jacobi rotations in place. */
static void zni_eigen_range(double *a, int n, double *low, double *high) {
    int sweep, p, q, k;
    for (sweep = 0; sweep < 60; ++sweep) {
        double off = 0.0, on = 0.0;
        for (p = 0; p < n; ++p)
            for (q = 0; q < n; ++q) *(p == q ? &on : &off) += a[p * n + q] * a[p * n + q];
        if (!(off > 1e-30 * on)) break;
        for (p = 0; p < n; ++p)
            for (q = p + 1; q < n; ++q) {
                double apq = a[p * n + q], theta, t, c, sn;
                if (!(fabs(apq) > 0.0)) continue;
                theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                t = (theta < 0.0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
                c = 1.0 / sqrt(t * t + 1.0);
                sn = t * c;
                for (k = 0; k < n; ++k) {
                    double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - sn * y;
                    a[k * n + q] = sn * x + c * y;
                }
                for (k = 0; k < n; ++k) {
                    double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - sn * y;
                    a[q * n + k] = sn * x + c * y;
                }
            }
    }
    for (*low = *high = a[0], p = 1; p < n; ++p) {
        *low = fmin(*low, a[p * n + p]);
        *high = fmax(*high, a[p * n + p]);
    }
}
/* Gradients of all parameters called weight, of sample i's summed logits, into row. */
static void zni_tenas_row(zn_scorer *s, zn_tensor *mask, int i, zn_real *row) {
    int k;
    zn_grad_clear(s->ctx);
    memset(mask->data, 0, mask->count * sizeof(zn_real));
    for (k = 0; k < s->opts.classes; ++k) mask->data[i * s->opts.classes + k] = 1;
    zn_backward(s->ctx, zn_sum(s->ctx, zn_mul(s->ctx, zni_scorer_logits(s, s->images[0]), mask)));
    zn_tape_clear(s->ctx);
    for (k = 0; k < s->net->count; ++k) {
        const zn_tensor *t = s->net->tensors[k];
        if (strstr(t->name, "weight") == NULL) continue;
        memcpy(row, t->grad, t->count * sizeof(zn_real));
        row += t->count;
    }
}
static double zni_score_tenas(zn_scorer *s) {
    zn_tensor *mask = zn_tensor_create(s->ctx, zn_shape2(s->opts.batch, s->opts.classes));
    int batch = s->opts.batch, i, j;
    size_t weights = 0;
    double *gram = ZNI_NEW(s->ctx, double, (size_t)batch * (size_t)batch), low = 0.0, high = 0.0;
    zn_real *rows;
    for (i = 0; i < s->net->count; ++i)
        if (strstr(s->net->tensors[i]->name, "weight") != NULL) weights += s->net->tensors[i]->count;
    rows = ZNI_NEW(s->ctx, zn_real, zni_size_mul(weights, (size_t)batch));
    for (i = 0; i < batch && s->ctx->code == ZN_OK; ++i) zni_tenas_row(s, mask, i, rows + (size_t)i * weights);
    if (s->ctx->code == ZN_OK) {
        for (i = 0; i < batch; ++i)
            for (j = 0; j <= i; ++j) gram[i * batch + j] = gram[j * batch + i] = zni_dot(rows + (size_t)i * weights, rows + (size_t)j * weights, weights);
        zni_eigen_range(gram, batch, &low, &high);
    }
    zni_free(s->ctx, rows);
    zni_free(s->ctx, gram);
    zn_tensor_destroy(mask);
    return low > 0.0 ? -high / low : (double)NAN;
}

/* ---- the Zen-score's expectation ----
   The score sees weights, images and disturbance as independent normal numbers, so what it measures hardly differs from
   draw to draw, and its mean follows from the layers alone. A map is described by its mean and variance over images and
   places, equal for all channels, and by how much the two passes differ: loss = 1 - their correlation.

     images       mean 0, variance 1; loss = 1 - 1/sqrt(1 + gamma^2)
     convolution  mean 0; variance = sum over the taps of each input channel of that tap's variance, zeros at the border
                  included (below); what the border adds to it is the same in both passes and loses nothing
     norm         adds log sqrt(running variance) to the score; then mean 0, variance 1
     ReLU         of a normal number of mean 0 and variance v: mean sqrt(v/2pi), variance v (1/2 - 1/2pi); with the angle
                  t = arccos(1 - loss) the loss becomes (pi loss - sin t + t cos t)/(pi - 1), some 1.47 times as much
     the end      E|difference| of two normal numbers is 2 sqrt(v loss/pi), after a ReLU exactly half of it

   Source of the ReLU's rule: the arc-cosine kernel of degree 1 (Cho and Saul 2009). */
typedef struct zni_field {
    double mean, var, loss;
    double step;  /* E|difference| of the passes */
    double norms; /* the score's sum over the norms */
    int batch, size, channels;
} zni_field;

/* As a sum of many values is. */
static void zni_field_normal(zni_field *f) { f->step = 2.0 * sqrt(f->var * f->loss / ZNI_PI); }
/* Of the output rows, tap t reads a row of the map in a share f of them and zeros otherwise. A tap's variance is
   f E[x^2] - (f E[x])^2, with f the product of the shares of its row and column. */
static void zni_field_conv(zni_field *f, const zni_layer *l) {
    int size = zni_conv_size(f->size, l->kernel, l->stride), tap, o;
    double shares = 0.0, squares = 0.0, var;
    for (tap = 0; tap < l->kernel; ++tap) {
        double share = 0.0;
        for (o = 0; o < size; ++o) {
            int row = o * l->stride + tap - (l->kernel - 1) / 2;
            share += row >= 0 && row < f->size;
        }
        share /= size;
        shares += share;
        squares += share * share;
    }
    shares *= shares;
    squares *= squares;
    var = (f->var + f->mean * f->mean) * shares - f->mean * f->mean * squares;
    f->loss *= f->var * shares / var;
    f->var = var * l->in / l->groups;
    f->mean = 0.0;
    zni_field_normal(f);
    f->size = size;
    f->channels = l->out;
}
static void zni_field_relu(zni_field *f) {
    double angle = 2.0 * asin(sqrt(f->loss / 2.0));
    if (f->mean > 0.0) return; /* a second ReLU changes nothing */
    f->loss = (ZNI_PI * f->loss - sin(angle) + angle * cos(angle)) / (ZNI_PI - 1.0);
    f->mean = sqrt(f->var / (2.0 * ZNI_PI));
    f->var *= 0.5 - 0.5 / ZNI_PI;
    f->step *= 0.5;
}
/* After both passes a running variance is 0.81 of its start, 1, and 0.19 of the batches' (specification section 6). */
static void zni_field_norm(zni_field *f, double momentum) {
    double kept = (1.0 - momentum) * (1.0 - momentum), values = (double)f->batch * f->size * f->size;
    f->norms += values > 1.5 ? 0.5 * log(kept + (1.0 - kept) * f->var) : (double)NAN; /* one value has no variance */
    f->mean = 0.0;
    f->var = 1.0;
    zni_field_normal(f);
}
static zn_result zni_field_layers(zni_field *f, const zni_plan *plan, int first) {
    zn_result result = ZN_OK;
    int index;
    for (index = first; index >= 0 && result == ZN_OK; index = plan->layers[index].next) {
        const zni_layer *l = &plan->layers[index];
        switch (l->kind) {
        case ZNI_L_SEQUENTIAL: result = zni_field_layers(f, plan, l->first_child); break;
        case ZNI_L_CONV: zni_field_conv(f, l); break;
        case ZNI_L_BN: zni_field_norm(f, plan->opts.bn_momentum); break;
        case ZNI_L_RELU: zni_field_relu(f); break;
        default: result = zni_fail(plan->ctx, ZN_ERROR_UNSUPPORTED, "structure, column %d: zen-expected has no formula for %s; use zen", l->column, zni_layer_kinds[l->kind]);
        }
    }
    return result;
}
static double zni_zen_expected(const zn_scorer *s, const zn_structure *structure, const zn_net_opts *opts) {
    zni_field f = {0.0, 1.0, 0.0, 0.0, 0.0, 0, 0, 3};
    double length = sqrt(1.0 + s->opts.gamma * s->opts.gamma); /* 1 - 1/length, without cancellation: */
    zni_plan plan;
    zn_result result;
    if (zni_plan_create(&plan, structure, opts) != ZN_OK) return (double)NAN;
    f.loss = s->opts.gamma * s->opts.gamma / (length * (1.0 + length));
    zni_field_normal(&f);
    f.batch = s->opts.batch;
    f.size = s->opts.resolution;
    result = zni_field_layers(&f, &plan, plan.first);
    zni_plan_destroy(&plan);
    if (result != ZN_OK) return (double)NAN;
    return log(f.step * f.channels * f.size * f.size) + f.norms;
}

/* ---- one structure ---- */
static double zni_score_static(const zn_scorer *s, const zn_structure *structure, const zn_net_opts *opts, const zn_count *count, int draw) {
    double effective, value = (double)NAN;
    char *text;
    size_t length;
    switch (s->opts.kind) {
    case ZN_SCORE_ZEN_EXPECTED: return zni_zen_expected(s, structure, opts);
    case ZN_SCORE_FLOPS: return count->budget_flops;
    case ZN_SCORE_PARAMS: return count->budget_params;
    case ZN_SCORE_DEEPMAD: return zni_stages(structure, s->opts.resolution, &effective, &value) == ZN_OK ? value : (double)NAN;
    default: break;
    }
    length = zn_structure_format(structure, NULL, 0);
    text = (char *)zni_alloc(s->ctx, length + 1);
    if (text == NULL) return (double)NAN;
    zn_structure_format(structure, text, length + 1);
    {
        zn_rng rng = zn_rng_stream(zn_rng_stream(s->opts.seed, (uint64_t)draw).state, zn_fnv1a64(text, length, ZN_FNV_START));
        value = zn_rng_normal(&rng);
    }
    zni_free(s->ctx, text);
    return value;
}
static double zni_score_draw(zn_scorer *s, int draw) {
    static double (*const scores[])(zn_scorer *) = {zni_score_zen, zni_score_zen, zni_score_gradnorm, zni_score_synflow, zni_score_naswot, zni_score_tenas};
    if (zni_scorer_draw(s, draw) != ZN_OK) return (double)NAN;
    zni_scorer_weights(s);
    zn_grad_clear(s->ctx);
    memset(s->norms, 0, (size_t)s->net->count * sizeof(double));
    s->single = 0;
    return scores[s->opts.kind](s);
}
/* One draw's value: ZN_SCORE_WORST and a count in *failed when it cannot be computed. */
static double zni_score_value(zn_scorer *s, const zn_structure *structure, const zn_net_opts *opts, const zn_count *count, int draw, int *failed) {
    double value = s->net == NULL ? zni_score_static(s, structure, opts, count, draw) : zni_score_draw(s, draw);
    zn_tape_clear(s->ctx);
    if (s->ctx->code == ZN_ERROR_NUMBER) zn_error_clear(s->ctx); /* backward of a loss that overflowed */
    else if (!s->single && isfinite(value)) return value;
    ++*failed;
    return ZN_SCORE_WORST;
}
static zn_result zni_scorer_draws(zn_scorer *s, const zn_structure *structure, const zn_net_opts *opts, const zn_count *count, zn_score_result *out) {
    double sum = 0.0, squares = 0.0, first = 0.0;
    int draw;
    for (draw = 0; draw < s->opts.repeat && s->ctx->code == ZN_OK; ++draw) {
        double value = zni_score_value(s, structure, opts, count, draw, &out->failed);
        if (draw == 0) first = value; /* sums of differences: no digits are lost */
        sum += value - first;
        squares += (value - first) * (value - first);
    }
    if (s->ctx->code != ZN_OK) return s->ctx->code;
    out->repeat = draw;
    out->mean = first + sum / draw;
    out->std = sqrt(fmax(0.0, squares / draw - sum / draw * (sum / draw)));
    out->half_width = 1.96 * out->std / sqrt((double)draw);
    return ZN_OK;
}
/* Scores text with a scorer that may have scored others before; its context is left without errors of the structure's. */
static zn_result zni_scorer_run(zn_scorer *s, const char *text, zn_score_result *out) {
    zn_net_opts opts = zn_net_opts_default();
    zn_structure *structure = NULL;
    zn_count count;
    memset(out, 0, sizeof *out);
    opts.structure = text;
    opts.classes = s->opts.classes;
    opts.attention = ZN_ATTENTION_NONE;
    opts.reslink = 0;
    opts.bn_momentum = s->opts.kind == ZN_SCORE_ZEN_PAPER ? 1.0 : 0.1;
    if (zn_structure_parse(s->ctx, text, &structure) == ZN_OK && zn_structure_count(structure, &opts, s->opts.resolution, &count) == ZN_OK &&
        s->opts.kind <= ZN_SCORE_TENAS && zn_net_create(s->ctx, &opts, &s->net) == ZN_OK) {
        s->walk = zni_walk_of(s->net, 1);
        s->walk.tap = zni_scorer_tap;
        s->walk.user = s;
        s->norms = ZNI_NEW(s->ctx, double, s->net->count);
        if (s->opts.kind <= ZN_SCORE_ZEN_PAPER) zn_no_grad_begin(s->ctx);
    }
    if (s->ctx->code == ZN_OK) zni_scorer_draws(s, structure, &opts, &count, out);
    if (s->net != NULL && s->opts.kind <= ZN_SCORE_ZEN_PAPER) zn_no_grad_end(s->ctx);
    zni_free(s->ctx, s->norms);
    zn_net_destroy(s->net);
    zn_structure_destroy(structure);
    s->norms = NULL;
    s->net = NULL;
    return s->ctx->code;
}
ZN_API zn_result zn_scorer_create(zn_ctx *ctx, const zn_score_opts *opts, zn_scorer **out_scorer) {
    zn_score_opts chosen = opts != NULL ? *opts : zn_score_opts_default();
    zn_scorer *s;
    if (out_scorer != NULL) *out_scorer = NULL;
    if (ctx == NULL || out_scorer == NULL) return zni_null(ctx, "zn_scorer_create");
    if (ctx->code != ZN_OK) return ctx->code;
    s = ZNI_NEW(ctx, zn_scorer, 1);
    if (s == NULL) return ctx->code;
    if (zni_scorer_open(s, ctx, &chosen) != ZN_OK) {
        zni_free(ctx, s);
        return ctx->code;
    }
    *out_scorer = s;
    return ZN_OK;
}
ZN_API void zn_scorer_destroy(zn_scorer *scorer) {
    zn_ctx *home = scorer != NULL ? scorer->home : NULL;
    if (scorer == NULL) return;
    zni_scorer_close(scorer);
    zni_free(home, scorer);
}
ZN_API zn_result zn_scorer_run(zn_scorer *scorer, const char *structure, zn_score_result *out_result) {
    zn_ctx *home = scorer != NULL ? scorer->home : NULL;
    if (scorer == NULL || structure == NULL || out_result == NULL) return zni_fail(home, ZN_ERROR_ARGUMENT, "zn_scorer_run: NULL was passed");
    memset(out_result, 0, sizeof *out_result);
    if (home->code != ZN_OK) return home->code;
    if (zni_scorer_run(scorer, structure, out_result) == ZN_OK) return ZN_OK;
    zni_fail(home, scorer->ctx->code, "%s", scorer->ctx->text);
    zn_tape_clear(scorer->ctx);
    zn_error_clear(scorer->ctx);
    return home->code;
}
ZN_API zn_result zn_score(zn_ctx *ctx, const char *structure, const zn_score_opts *opts, zn_score_result *out_result) {
    zn_scorer *s = NULL;
    if (ctx == NULL || structure == NULL || out_result == NULL) return zni_null(ctx, "zn_score");
    memset(out_result, 0, sizeof *out_result);
    if (zn_scorer_create(ctx, opts, &s) == ZN_OK) zn_scorer_run(s, structure, out_result);
    zn_scorer_destroy(s);
    return ctx->code;
}

/* ==================================================================================================================
   IMPL-SEARCH  search
   ------------------------------------------------------------------------------------------------------------------
   One loop: proposals are drawn one after the other by one generator, the candidates of a generation are scored side by
   side, and added in their order. So the course of a search is a function of its options alone, and its whole state is
   the population, one word of random state, counters and the hashes of what was scored.
   Sources: specification section 7; ../shared/golden/search.txt.
   ================================================================================================================== */
/* ---- spaces ---- */
#define ZNI_PUBLISHED_WIDTHS "channels *2.5 *2 *1.5 *1.25 *1 /1.25 /1.5 /2 /2.5\ndepth -2 2\n"
static const char *const zni_space_texts[] = {
    ZNI_PUBLISHED_WIDTHS "limits 8 65536\nkeep SuperConvK1BNRELU\n"
    "kinds SuperResIDWE1K3:12 SuperResIDWE2K3:12 SuperResIDWE4K3:11 SuperResIDWE6K3:10 SuperResIDWE1K5:9 SuperResIDWE2K5:8\n"
    "kinds SuperResIDWE4K5:7 SuperResIDWE6K5:6 SuperResIDWE1K7:5 SuperResIDWE2K7:4 SuperResIDWE4K7:3 SuperResIDWE6K7:2\n",
    ZNI_PUBLISHED_WIDTHS "limits 8 2048\n"
    "kinds SuperResK1K3K1:3 SuperResK1K5K1:3 SuperResK1K7K1:2 SuperResK3K3:3 SuperResK5K5:3 SuperResK7K7:2\n"};
static const char *const zni_space_names[] = {"idw", "xxbl"};
ZN_API int zn_space_parse(const char *text) { return zni_find_name(zni_space_names, 2, text); }
ZN_API const char *zn_space_text(zn_space space) { return (unsigned)space < 2 ? zni_space_texts[space] : NULL; }

#define ZNI_MAX_FACTORS 32
typedef struct zni_space {
    double multiply[ZNI_MAX_FACTORS], divide[ZNI_MAX_FACTORS]; /* of factor i: one of them is 1 */
    int factors;
    int low, high, depth_low, depth_high;
    int weights[sizeof zni_block_names / sizeof zni_block_names[0]], keep[sizeof zni_block_names / sizeof zni_block_names[0]];
    int total; /* of the weights */
} zni_space;

/* Decimal digits whatever the locale: 0..1e6. */
static int zni_take_decimal(const char **at, double *out) {
    const char *p = *at;
    double value = 0.0, scale = 1.0;
    if (!zni_is_digit(*p)) return 0;
    for (; zni_is_digit(*p) && value < 1e6; ++p) value = value * 10.0 + (*p - '0');
    if (*p == '.')
        for (++p; zni_is_digit(*p) && scale < 1e6; ++p, scale *= 10.0) value = value * 10.0 + (*p - '0');
    *out = value / scale;
    *at = p;
    return *out <= 1e6;
}
static int zni_take_whole(const char **at, int *out) {
    int negative = **at == '-';
    double value;
    *at += negative;
    if (!zni_take_decimal(at, &value) || floor(value) < value || value > 65536.0) return 0;
    *out = negative ? -(int)value : (int)value;
    return 1;
}
/* Row of a block name at *at, -1 for others; *at moves behind it. */
static int zni_take_block_name(const char **at) {
    const char *p = *at;
    size_t length;
    int name;
    while (zni_is_letter(*p) || zni_is_digit(*p)) ++p;
    length = (size_t)(p - *at);
    for (name = 0; name < ZNI_BLOCK_NAMES; ++name)
        if (strlen(zni_block_names[name].name) == length && strncmp(zni_block_names[name].name, *at, length) == 0) break;
    *at = p;
    return name < ZNI_BLOCK_NAMES ? name : -1;
}
/* One value of a line; index counts the values of this line. NULL, or what is wrong with it. */
static const char *zni_space_value(zni_space *s, const char *word, int index, const char **at) {
    int name, number = 1;
    if (strcmp(word, "channels") == 0) {
        char sign = **at;
        double value;
        if ((sign != '*' && sign != '/') || (++*at, !zni_take_decimal(at, &value)) || !(value > 0.0)) return "a factor is *NUMBER or /NUMBER, above 0";
        if (s->factors == ZNI_MAX_FACTORS) return "too many factors";
        s->multiply[s->factors] = sign == '*' ? value : 1.0;
        s->divide[s->factors++] = sign == '/' ? value : 1.0;
        return NULL;
    }
    if (strcmp(word, "limits") == 0 || strcmp(word, "depth") == 0) {
        int *pair = *word == 'l' ? &s->low : &s->depth_low;
        if (index > 1 || !zni_take_whole(at, &pair[index])) return "two whole numbers are wanted";
        return NULL;
    }
    name = zni_take_block_name(at);
    if (name < 0 || zni_block_names[name].kind > ZNI_SUPER_IDW) return "not the name of a super block";
    if (strcmp(word, "keep") == 0) {
        s->keep[name] = 1;
        return NULL;
    }
    if (zni_block_names[name].kind == ZNI_SUPER_CONV) return "kinds are residual super blocks";
    if (**at == ':' && (++*at, !zni_take_whole(at, &number) || number < 1)) return "a weight is a whole number from 1 to 65536";
    if (s->weights[name] > 0) return "this kind stands there twice";
    s->weights[name] = number;
    s->total += number;
    return NULL;
}
static zn_result zni_space_read(zni_space *s, zn_ctx *ctx, const char *text) {
    static const char *const words[] = {"channels", "limits", "depth", "keep", "kinds"};
    const char *at = text, *wrong = NULL;
    int line = 1;
    memset(s, 0, sizeof *s);
    s->low = 8;
    s->high = ZNI_MAX_CHANNELS;
    while (*at != '\0' && wrong == NULL) {
        char word[16];
        size_t length = 0;
        int index = 0;
        while (zni_is_space(*at) && *at != '\n') ++at;
        while (zni_is_letter(at[length])) ++length;
        snprintf(word, sizeof word, "%.*s", length < 16 ? (int)length : 15, at);
        if (length > 0 && zni_find_name(words, 5, word) < 0) wrong = "unknown word";
        at += length;
        while (wrong == NULL) {
            while (zni_is_space(*at) && *at != '\n') ++at;
            if (*at == '#') at += strcspn(at, "\n");
            if (*at == '\n' || *at == '\0') break;
            wrong = length == 0 ? "a line begins with a word" : zni_space_value(s, word, index++, &at);
            if (wrong == NULL && *at != '\0' && *at != '#' && !zni_is_space(*at)) wrong = "this value is not understood";
        }
        if (wrong == NULL && length > 0 && index == 0) wrong = "values are missing";
        if (wrong == NULL && (strcmp(word, "limits") == 0 || strcmp(word, "depth") == 0) && index != 2) wrong = "two whole numbers are wanted";
        if (*at == '\n' && wrong == NULL) {
            ++line;
            ++at;
        }
    }
    if (wrong == NULL && s->factors == 0) wrong = "there is no line `channels`";
    if (wrong == NULL && s->total == 0) wrong = "there is no line `kinds`";
    if (wrong == NULL && (s->low < 1 || s->high < s->low || s->depth_low > s->depth_high)) wrong = "limits or depth are the wrong way round";
    if (wrong != NULL) return zni_fail(ctx, ZN_ERROR_FORMAT, "search space, line %d: %s", line, wrong);
    return ZN_OK;
}

/* The distinct widths that c may become, as the published lists have them. */
static int zni_space_widths(const zni_space *s, int c, int out[ZNI_MAX_FACTORS]) {
    int i, j, count = 0;
    for (i = 0; i < s->factors; ++i) {
        double v = fmin(fmax(c * s->multiply[i] / s->divide[i], s->low), s->high) / 8.0, whole = floor(v);
        int q = (int)whole, width;
        if (v - whole > 0.5 || (!(v - whole < 0.5) && q % 2 == 1)) ++q;
        width = q < 1 ? 8 : q * 8;
        for (j = 0; j < count && out[j] != width;) ++j;
        if (j == count) out[count++] = width;
    }
    return count;
}
typedef struct zni_choices { /* what one block may become: all combinations */
    int outs[ZNI_MAX_FACTORS], bottlenecks[ZNI_MAX_FACTORS];
    int out_count, bottleneck_count, depth_low, depth_count;
    int residual;
} zni_choices;
static void zni_space_choices(const zni_space *s, const zni_block *b, zni_choices *c) {
    c->residual = b->kind != ZNI_SUPER_CONV;
    c->out_count = s->keep[b->name] ? 1 : zni_space_widths(s, b->out, c->outs);
    if (s->keep[b->name]) c->outs[0] = b->out;
    c->bottleneck_count = c->residual ? zni_space_widths(s, b->bottleneck, c->bottlenecks) : 1;
    c->depth_low = c->residual ? b->sub_layers + s->depth_low : 1;
    c->depth_count = c->residual ? s->depth_high - s->depth_low + 1 : 1;
    if (c->depth_low < 1) {
        c->depth_count += c->depth_low - 1;
        c->depth_low = 1;
    }
    if (c->depth_count < 1) c->depth_count = 1; /* a space that only shrinks: stay at one */
}
static void zni_choose(const zni_choices *c, zni_block *b, int name, int out, int bottleneck, int depth) {
    if (c->residual) {
        b->name = name;
        b->kind = zni_block_names[name].kind;
        b->kernel = zni_block_names[name].kernel;
        b->param = zni_block_names[name].param;
        b->bottleneck = c->bottlenecks[bottleneck];
    }
    b->out = c->outs[out];
    b->sub_layers = c->depth_low + depth;
}
static void zni_mutate_block(const zni_space *s, zn_rng *rng, zni_block *b) {
    zni_choices c;
    int name = b->name, out, bottleneck = 0;
    zni_space_choices(s, b, &c);
    if (c.residual) {
        int64_t ticket = (int64_t)zn_rng_below(rng, (uint64_t)s->total);
        for (name = 0; (ticket -= s->weights[name]) >= 0;) ++name;
        bottleneck = (int)zn_rng_below(rng, (uint64_t)c.bottleneck_count);
    }
    out = (int)zn_rng_below(rng, (uint64_t)c.out_count);
    zni_choose(&c, b, name, out, bottleneck, (int)zn_rng_below(rng, (uint64_t)c.depth_count));
}
/* Top-level block number `block`, or -1 (and the reason) when it, or any other, is no super block. */
static int zni_super_block(const zn_structure *s, int block) {
    int index, at = 0, found = -1;
    for (index = s->first; index >= 0; index = s->blocks[index].next, ++at) {
        if (s->blocks[index].kind > ZNI_SUPER_IDW) {
            zni_fail(s->ctx, ZN_ERROR_UNSUPPORTED, "structure, column %d: a search takes super blocks only, not %s", s->blocks[index].column, zni_block_names[s->blocks[index].name].name);
            return -1;
        }
        if (at == block) found = index;
    }
    if (found < 0) zni_fail(s->ctx, ZN_ERROR_ARGUMENT, "there is no block %d among %d", block, at);
    return found;
}
ZN_API zn_result zn_space_candidates(const zn_structure *s, int block, const char *space_text,
                                     void (*on_candidate)(const char *text, int multiplicity, void *user), void *user) {
    zni_space space;
    zni_choices c;
    zni_block b;
    zn_structure one;
    char text[256];
    int index, name, out, bottleneck, depth;
    if (s == NULL || space_text == NULL || on_candidate == NULL) return zni_null(s != NULL ? s->ctx : NULL, "zn_space_candidates");
    if (zni_space_read(&space, s->ctx, space_text) != ZN_OK || (index = zni_super_block(s, block)) < 0) return s->ctx->code;
    one = *s;
    one.blocks = &b;
    one.first = 0;
    zni_space_choices(&space, &s->blocks[index], &c);
    for (name = 0; name < ZNI_BLOCK_NAMES; ++name) {
        if (c.residual ? space.weights[name] == 0 : name != s->blocks[index].name) continue;
        for (out = 0; out < c.out_count; ++out)
            for (bottleneck = 0; bottleneck < c.bottleneck_count; ++bottleneck)
                for (depth = 0; depth < c.depth_count; ++depth) {
                    b = s->blocks[index];
                    b.next = -1;
                    zni_choose(&c, &b, name, out, bottleneck, depth);
                    zn_structure_format(&one, text, sizeof text);
                    on_candidate(text, c.residual ? space.weights[name] : 1, user);
                }
    }
    return ZN_OK;
}

/* ---- options ---- */
static const char *const zni_budget_names[] = {"layers", "params", "flops", "effective score", "latency"};
ZN_API const char *zn_budget_text(zn_budget budget) { return (unsigned)budget < ZN_BUDGETS ? zni_budget_names[budget] : NULL; }

ZN_API zn_search_opts zn_search_opts_default(void) {
    zn_search_opts o;
    memset(&o, 0, sizeof o);
    o.batch = 16;
    o.resolution = 224;
    o.classes = 7;
    o.sieve_score = -1;
    o.finalists = 16;
    o.final_repeat = 1;
    o.population = 512;
    o.iterations = 480000;
    o.generation = 16;
    o.save_seconds = 10.0;
    return o;
}
ZN_API const char *zn_search_preset(const char *name, zn_search_opts *opts) {
    static const char *const names[] = {"fer-m", "fer-r", "cifar-1m"};
    int preset = zni_find_name(names, 3, name);
    if (preset < 0 || opts == NULL) return NULL;
    opts->space = preset == 0 ? ZN_SPACE_IDW : ZN_SPACE_XXBL;
    opts->max_layers = preset == 0 ? 14 : preset == 1 ? 10 : 18;
    opts->max_params = preset == 1 ? 0.0 : 1e6;
    opts->max_flops = preset == 2 ? 0.0 : 400e6;
    opts->classes = preset == 0 ? 7 : preset == 1 ? 10 : 100;
    opts->batch = preset == 2 ? 64 : 16;
    opts->resolution = preset == 2 ? 32 : 224;
    opts->projection = preset == 2 ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    return preset == 0 ? "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)SuperResIDWE6K3(48,96,2,48,1)"
                         "SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
                       : "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)"
                         "SuperResK3K3(64,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)";
}

/* ---- the search ---- */
typedef struct zni_member { /* also a candidate on its way */
    zn_search_member m;     /* its structure points to text */
    char *text;
    double half_width;
    int failed;
    zn_result code;         /* of scoring it */
} zni_member;
typedef struct zni_latency_row {
    int in, out, kernel, stride, groups, size;
    double ms;
} zni_latency_row;

struct zn_search {
    zn_ctx *ctx;
    zn_search_opts opts;
    zni_space space;
    zn_score_opts score;
    char *start, *space_text, *state_path;
    zni_member *members;    /* room for the population and one generation */
    int count, jobs;        /* jobs: candidates of the current generation, behind the members */
    zn_rng rng;
    zn_search_point point, *points;
    size_t point_count, point_capacity;
    uint64_t *seen;         /* hashes of the structures scored: open addressing, 0 is free */
    size_t seen_count, seen_capacity;
    zn_scorer *workers;
    int threads;
    zni_latency_row *rows;
    size_t row_count, row_capacity;
    double nearest[ZN_BUDGETS]; /* smallest refused value, as a multiple of its limit */
    double began, saved;    /* clock of this run */
    double before;          /* seconds of earlier runs */
};

ZN_API void zn_search_destroy(zn_search *e) {
    zn_ctx *ctx;
    int i;
    if (e == NULL) return;
    ctx = e->ctx;
    for (i = 0; e->members != NULL && i < e->count + e->jobs; ++i) zni_free(ctx, e->members[i].text);
    for (i = 0; e->workers != NULL && i < e->threads; ++i) zni_scorer_close(&e->workers[i]);
    zni_free(ctx, e->members);
    zni_free(ctx, e->workers);
    zni_free(ctx, e->points);
    zni_free(ctx, e->seen);
    zni_free(ctx, e->rows);
    zni_free(ctx, e->start);
    zni_free(ctx, e->space_text);
    zni_free(ctx, e->state_path);
    zni_free(ctx, e);
}

/* 1 when the hash is new, 0 when it was there, -1 when memory is out. */
static int zni_seen_add(zn_search *e, uint64_t hash) {
    size_t i;
    if (hash == 0) hash = 1;
    if (2 * (e->seen_count + 1) > e->seen_capacity) {
        size_t old_capacity = e->seen_capacity, bigger = old_capacity == 0 ? 1024 : zni_size_mul(old_capacity, 2);
        uint64_t *old = e->seen, *fresh = ZNI_NEW(e->ctx, uint64_t, bigger);
        if (fresh == NULL) return -1;
        for (i = 0; i < bigger; ++i) fresh[i] = 0;
        e->seen = fresh;
        e->seen_capacity = bigger;
        e->seen_count = 0;
        for (i = 0; i < old_capacity; ++i)
            if (old[i] != 0) zni_seen_add(e, old[i]);
        zni_free(e->ctx, old);
    }
    for (i = (size_t)hash & (e->seen_capacity - 1); e->seen[i] != 0; i = (i + 1) & (e->seen_capacity - 1))
        if (e->seen[i] == hash) return 0;
    e->seen[i] = hash;
    ++e->seen_count;
    return 1;
}
static int zni_seen_has(const zn_search *e, uint64_t hash) {
    size_t i;
    if (hash == 0) hash = 1;
    if (e->seen_capacity == 0) return 0;
    for (i = (size_t)hash & (e->seen_capacity - 1); e->seen[i] != 0; i = (i + 1) & (e->seen_capacity - 1))
        if (e->seen[i] == hash) return 1;
    return 0;
}

/* ---- latency from a table of measured convolutions ---- */
static double zni_latency_measure(zn_ctx *user, const zn_layer_info *l) {
    zni_conv_shape s;
    zn_ctx *ctx; /* of its own, so that these maps are gone afterwards */
    zn_tensor *x, *y, *w;
    double best = HUGE_VAL;
    int run;
    if (zn_ctx_create(&user->opts, &ctx) != ZN_OK) {
        zni_fail(user, ZN_ERROR_MEMORY, "out of memory: a context for a measurement");
        return best;
    }
    x = zn_tensor_create(ctx, zn_shape4(1, l->in, l->in_size, l->in_size));
    y = zn_tensor_create(ctx, zn_shape4(1, l->out, l->out_size, l->out_size));
    w = zn_tensor_create(ctx, zn_shape4(l->out, l->in / l->groups, l->kernel, l->kernel));
    if (ctx->code == ZN_OK) {
        zni_input in = zni_input_of(x->data, NULL);
        zn_fill(x->data, "x", 1, x->count, 0.0, 1.0);
        zn_fill(w->data, "w", 1, w->count, -1.0, 1.0);
        s = zni_conv_shape_of(x, w, l->stride, (l->kernel - 1) / 2, l->groups);
        for (run = 0; run < 8 && ctx->code == ZN_OK; ++run) {
            double begin = zni_seconds();
            zni_conv2d_forward(ctx, &s, &in, w->data, NULL, y->data, NULL);
            if (run >= 3) best = fmin(best, 1e3 * (zni_seconds() - begin)); /* after three warm-ups, as published */
        }
    }
    if (ctx->code != ZN_OK) zni_fail(user, ctx->code, "%.900s", ctx->text);
    zn_ctx_destroy(ctx);
    return best;
}
typedef struct zni_latency_sum {
    zn_search *search;
    double ms;
} zni_latency_sum;
static void zni_latency_layer(const zn_layer_info *l, void *user) {
    zni_latency_sum *sum = (zni_latency_sum *)user;
    zn_search *e = sum->search;
    zni_latency_row row;
    void *rows = e->rows;
    size_t i;
    if (strcmp(l->kind, "conv") != 0 || e->ctx->code != ZN_OK) return;
    for (i = 0; i < e->row_count; ++i) {
        const zni_latency_row *r = &e->rows[i];
        if (r->in == l->in && r->out == l->out && r->kernel == l->kernel && r->stride == l->stride && r->groups == l->groups && r->size == l->in_size) break;
    }
    if (i == e->row_count) {
        if (!zni_grow(e->ctx, &rows, &e->row_capacity, e->row_count + 1, sizeof *e->rows)) return;
        e->rows = (zni_latency_row *)rows;
        row.in = l->in;
        row.out = l->out;
        row.kernel = l->kernel;
        row.stride = l->stride;
        row.groups = l->groups;
        row.size = l->in_size;
        row.ms = zni_latency_measure(e->ctx, l);
        e->rows[e->row_count++] = row;
    }
    sum->ms += e->rows[i].ms;
}

/* ---- proposals ---- */
static zn_net_opts zni_search_net_opts(const zn_search *e) {
    zn_net_opts n = zn_net_opts_default();
    n.attention = ZN_ATTENTION_NONE;
    n.classes = e->opts.classes;
    n.projection = e->opts.projection;
    return n;
}
static int zni_within(zn_search *e, zn_budget budget, double value, double limit) {
    if (!(limit > 0.0) || value <= limit) return 1;
    ++e->point.over[budget];
    e->nearest[budget] = fmin(e->nearest[budget], value / limit);
    return 0;
}
/* Counts the structure and holds it against the budgets, the cheap ones first. */
static int zni_search_fits(zn_search *e, const zn_structure *s, zni_member *job) {
    zn_net_opts n = zni_search_net_opts(e);
    zn_search_member *m = &job->m;
    zni_latency_sum sum;
    zn_count count;
    double begin;
    m->layers = zn_structure_layers(s);
    if (!zni_within(e, ZN_BUDGET_LAYERS, m->layers, e->opts.max_layers)) return 0;
    if (zn_structure_count(s, &n, e->opts.resolution, &count) != ZN_OK) return 0;
    m->params = e->opts.exact_counts ? count.params : count.budget_params;
    m->flops = e->opts.exact_counts ? count.macs : count.budget_flops;
    m->latency_ms = 0.0;
    if (!zni_within(e, ZN_BUDGET_PARAMS, m->params, e->opts.max_params) || !zni_within(e, ZN_BUDGET_FLOPS, m->flops, e->opts.max_flops)) return 0;
    if (zn_structure_effective_score(s, &m->effective) != ZN_OK || !zni_within(e, ZN_BUDGET_EFFECTIVE, m->effective, e->opts.max_effective)) return 0;
    if (!(e->opts.max_latency_ms > 0.0)) return 1;
    begin = zni_seconds();
    if (e->opts.latency_fn != NULL) {
        m->latency_ms = e->opts.latency_fn(job->text, e->opts.user);
        if (!(m->latency_ms >= 0.0 && isfinite(m->latency_ms))) zni_fail(e->ctx, ZN_ERROR_NUMBER, "search: latency_fn gave %g ms for %.900s", m->latency_ms, job->text);
    } else {
        sum.search = e;
        sum.ms = 0.0;
        zn_structure_count_layers(s, &n, e->opts.resolution, zni_latency_layer, &sum, &count);
        m->latency_ms = sum.ms;
    }
    e->point.latency_seconds += zni_seconds() - begin;
    return e->ctx->code == ZN_OK && zni_within(e, ZN_BUDGET_LATENCY, m->latency_ms, e->opts.max_latency_ms);
}
/* A mutant of text in `places` places, split twice; NULL with the error in the context. */
static zn_structure *zni_search_mutant(zn_search *e, const char *text, int places) {
    zn_structure *s = NULL, *split;
    int i, chosen[2], in = 3, pass;
    if (zn_structure_parse(e->ctx, text, &s) != ZN_OK) return NULL;
    for (i = 0; i < places; ++i) chosen[i] = (int)zn_rng_below(&e->rng, (uint64_t)s->count);
    for (i = 0; i < places; ++i)
        if (i == 0 || chosen[1] != chosen[0]) zni_mutate_block(&e->space, &e->rng, &s->blocks[chosen[i]]);
    for (i = 0; i < s->count; ++i) { /* a parsed row of super blocks stands in order */
        s->blocks[i].in = in;
        in = s->blocks[i].out;
    }
    for (pass = 0; pass < 2 && s != NULL; ++pass) {
        if (zn_structure_split(s, &split) != ZN_OK) split = NULL;
        zn_structure_destroy(s);
        s = split;
    }
    return s;
}
/* One proposal; becomes a job when it is to be scored. */
static void zni_search_propose(zn_search *e) {
    zni_member *job = &e->members[e->count + e->jobs];
    int from_start = e->count <= 10, ready = 0;
    double begin = zni_seconds(), middle, latency = e->point.latency_seconds;
    zn_structure *s = zni_search_mutant(e, from_start ? e->start : e->members[zn_rng_below(&e->rng, (uint64_t)e->count)].text, from_start ? 1 : 2);
    size_t length = zn_structure_format(s, NULL, 0);
    ++e->point.iterations;
    memset(job, 0, sizeof *job);
    if (s != NULL && length < ZN_SEARCH_TEXT && zn_structure_layers(s) <= ZNI_MAX_LAYERS) job->text = (char *)zni_alloc(e->ctx, length + 1);
    else ++e->point.too_long;
    middle = zni_seconds();
    e->point.propose_seconds += middle - begin;
    if (job->text != NULL) {
        uint64_t hash;
        zn_structure_format(s, job->text, length + 1);
        hash = zn_fnv1a64(job->text, length, ZN_FNV_START);
        if (zni_seen_has(e, hash)) ++e->point.repeated;
        else ready = zni_search_fits(e, s, job) && zni_seen_add(e, hash) > 0;
    }
    zn_structure_destroy(s);
    e->point.budget_seconds += zni_seconds() - middle - (e->point.latency_seconds - latency);
    if (!ready) {
        zni_free(e->ctx, job->text);
        job->text = NULL;
        return;
    }
    job->m.structure = job->text;
    job->m.born = e->point.iterations;
    ++e->jobs;
}

/* ---- scoring ---- */
static void zni_search_score_one(const zn_search *e, zn_scorer *worker, zni_member *job) {
    zn_score_result r;
    zn_structure *s = NULL;
    double effective, entropy;
    job->code = zni_scorer_run(worker, job->text, &r);
    if (job->code != ZN_OK) return;
    job->m.score = r.mean;
    job->half_width = r.half_width;
    job->failed = r.failed;
    if (r.failed > 0 || !(e->opts.depth_penalty || e->opts.deepmad)) return;
    if (zn_structure_parse(worker->ctx, job->text, &s) == ZN_OK) {
        if (e->opts.depth_penalty) job->m.score -= zn_structure_depth_penalty(s);
        if (e->opts.deepmad && zni_stages(s, e->opts.resolution, &effective, &entropy) == ZN_OK) job->m.score += log(entropy);
        zn_structure_destroy(s);
    }
    job->code = worker->ctx->code;
}
/* Scores `count` members side by side, each on one thread with the kernels inside it serial: no thread waits for another
   within a network, and what a score is does not depend on who computes it. */
static zn_result zni_search_score(zn_search *e, const zn_score_opts *opts, zni_member *jobs, int count) {
    int i;
    for (i = 0; i < e->threads && i < count; ++i)
        if (e->workers[i].ctx == NULL && zni_scorer_open(&e->workers[i], e->ctx, opts) != ZN_OK) return e->ctx->code;
    ZNI_OMP(parallel num_threads(e->threads < count ? e->threads : count))
    {
        int thread = 0;
#ifdef _OPENMP
        thread = omp_get_thread_num();
        omp_set_num_threads(1);
#endif
        ZNI_OMP(for schedule(dynamic, 1))
        for (i = 0; i < count; ++i) zni_search_score_one(e, &e->workers[thread], &jobs[i]);
    }
    for (i = 0; i < count; ++i)
        if (jobs[i].code != ZN_OK) {
            int w, found = 0;
            for (w = 0; w < e->threads; ++w)
                if (e->workers[w].ctx != NULL && e->workers[w].ctx->code == jobs[i].code) found = w;
            return zni_fail(e->ctx, jobs[i].code, "%.900s", e->workers[found].ctx != NULL ? e->workers[found].ctx->text : "");
        }
    return ZN_OK;
}

/* ---- population ---- */
static void zni_search_trim(zn_search *e) {
    while (e->count > e->opts.population) {
        int i, lowest = 0;
        for (i = 1; i < e->count; ++i)
            if (e->members[i].m.score < e->members[lowest].m.score) lowest = i;
        zni_free(e->ctx, e->members[lowest].text);
        memmove(e->members + lowest, e->members + lowest + 1, sizeof(zni_member) * (size_t)(e->count - lowest - 1));
        --e->count;
    }
}
static int zni_compare_down(const void *a, const void *b) {
    const double *x = (const double *)a, *y = (const double *)b;
    return (*x < *y) - (*x > *y);
}
/* Brings the point up to date, and keeps it when the search is half a percent further than at the last one kept. */
static zn_result zni_search_note(zn_search *e) {
    double *scores = ZNI_NEW(e->ctx, double, e->count + 1);
    void *points = e->points;
    int i;
    if (scores == NULL) return e->ctx->code;
    for (i = 0; i < e->count; ++i) scores[i] = e->members[i].m.score;
    qsort(scores, (size_t)e->count, sizeof(double), zni_compare_down);
    if (e->count > 0) {
        e->point.best = scores[0];
        e->point.median = scores[e->count / 2];
        e->point.worst = scores[e->count - 1];
    }
    zni_free(e->ctx, scores);
    e->point.population = e->count;
    e->point.seconds = e->before + zni_seconds() - e->began;
    if (e->point_count > 0 && e->point.iterations <= e->points[e->point_count - 1].iterations + e->points[e->point_count - 1].iterations / 200) return ZN_OK;
    if (!zni_grow(e->ctx, &points, &e->point_capacity, e->point_count + 1, sizeof *e->points)) return e->ctx->code;
    e->points = (zn_search_point *)points;
    e->points[e->point_count++] = e->point;
    return ZN_OK;
}
#define ZNI_SEARCH_PATIENCE 5000 /* proposals without a single candidate that prove budgets impossible */
static zn_result zni_search_impossible(zn_search *e) {
    const double limits[ZN_BUDGETS] = {(double)e->opts.max_layers, e->opts.max_params, e->opts.max_flops, e->opts.max_effective, e->opts.max_latency_ms};
    zni_text text;
    int i;
    memset(&text, 0, sizeof text);
    text.ctx = e->ctx;
    zni_text_format(&text, "search: none of %.0f proposals fits the budgets", (double)e->point.iterations);
    for (i = 0; i < ZN_BUDGETS; ++i)
        if (e->point.over[i] > 0 && isfinite(e->nearest[i]))
            zni_text_format(&text, "; %s refuses %.0f: the nearest has %.6g where %.6g is allowed, %.3g %% over", zni_budget_names[i], (double)e->point.over[i],
                            e->nearest[i] * limits[i], limits[i], 100.0 * (e->nearest[i] - 1.0));
    if (e->point.too_long > 0) zni_text_format(&text, "; %.0f are longer than %d characters", (double)e->point.too_long, ZN_SEARCH_TEXT - 1);
    if (!text.failed) zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "%s", text.chars);
    zni_free(e->ctx, text.chars);
    return e->ctx->code;
}

/* ---- state ----
   Lines of a keyword and hexadecimal words (doubles as their bits, so nothing is rounded), texts last; the final line is
   the checksum of all before. */
static uint64_t zni_bits(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static double zni_unbits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static void zni_put_word(zni_text *t, uint64_t word) { zni_text_format(t, " %08lx%08lx", (unsigned long)(word >> 32), (unsigned long)(word & 0xffffffffu)); }
static int zni_get_word(const char **at, uint64_t *word) {
    int i;
    if (*(*at)++ != ' ') return 0;
    for (*word = 0, i = 0; i < 16; ++i) {
        char c = *(*at)++;
        if (!zni_is_digit(c) && (c < 'a' || c > 'f')) return 0;
        *word = *word << 4 | (uint64_t)(zni_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    return 1;
}
/* Everything that the course of a search depends on. */
static void zni_search_describe(const zn_search *e, zni_text *t) {
    const zn_search_opts *o = &e->opts;
    const int whole[] = {o->max_layers, o->exact_counts, (int)e->score.kind, e->score.batch, e->score.resolution, o->resolution, o->classes, (int)o->projection,
                         o->depth_penalty, o->deepmad, o->population, o->generation, (int)sizeof(zn_real)};
    static const char *const names[] = {"max_layers", "exact_counts", "score", "score_batch", "score_resolution", "resolution", "classes", "projection",
                                        "depth_penalty", "deepmad", "population", "generation", "real"};
    size_t i;
    zni_text_format(t, "seed=%08lx%08lx space=%08lx", (unsigned long)(o->seed >> 32), (unsigned long)(o->seed & 0xffffffffu),
                    (unsigned long)(zn_fnv1a64(e->space_text, strlen(e->space_text), ZN_FNV_START) & 0xffffffffu));
    zni_text_format(t, " max_params=%.17g max_flops=%.17g max_effective=%.17g max_latency_ms=%.17g", o->max_params, o->max_flops, o->max_effective, o->max_latency_ms);
    for (i = 0; i < sizeof whole / sizeof whole[0]; ++i) zni_text_format(t, " %s=%d", names[i], whole[i]);
}
/* The counters of a point as words, in both directions: whole numbers first, then seconds and scores. */
#define ZNI_POINT_INTS (5 + ZN_BUDGETS + 1)
#define ZNI_POINT_WORDS (ZNI_POINT_INTS + 8)
static void zni_point_words(zn_search_point *p, int64_t *ints[ZNI_POINT_INTS - 1], double *reals[8]) {
    int i;
    ints[0] = &p->iterations;
    ints[1] = &p->scored;
    ints[2] = &p->failed;
    ints[3] = &p->repeated;
    ints[4] = &p->too_long;
    for (i = 0; i < ZN_BUDGETS; ++i) ints[5 + i] = &p->over[i];
    reals[0] = &p->seconds;
    reals[1] = &p->propose_seconds;
    reals[2] = &p->budget_seconds;
    reals[3] = &p->latency_seconds;
    reals[4] = &p->score_seconds;
    reals[5] = &p->best;
    reals[6] = &p->median;
    reals[7] = &p->worst;
}
static void zni_put_point(zni_text *t, zn_search_point point) {
    int64_t *ints[ZNI_POINT_INTS - 1];
    double *reals[8];
    int i;
    zni_point_words(&point, ints, reals);
    for (i = 0; i < ZNI_POINT_INTS - 1; ++i) zni_put_word(t, (uint64_t)*ints[i]);
    for (i = 0; i < 8; ++i) zni_put_word(t, zni_bits(*reals[i]));
    zni_put_word(t, (uint64_t)point.population);
}
static int zni_get_point(const char **at, zn_search_point *point) {
    int64_t *ints[ZNI_POINT_INTS - 1];
    double *reals[8];
    uint64_t word;
    int i;
    zni_point_words(point, ints, reals);
    for (i = 0; i < ZNI_POINT_INTS - 1; ++i) {
        if (!zni_get_word(at, &word) || word > INT64_MAX) return 0;
        *ints[i] = (int64_t)word;
    }
    for (i = 0; i < 8; ++i) {
        if (!zni_get_word(at, &word)) return 0;
        *reals[i] = zni_unbits(word);
        if (!isfinite(*reals[i])) return 0;
    }
    if (!zni_get_word(at, &word) || word > INT_MAX) return 0;
    point->population = (int)word;
    return 1;
}
static void zni_put_member(zni_text *t, const zni_member *member) {
    zni_text_format(t, "member");
    zni_put_word(t, zni_bits(member->m.score));
    zni_put_word(t, zni_bits(member->m.params));
    zni_put_word(t, zni_bits(member->m.flops));
    zni_put_word(t, zni_bits(member->m.effective));
    zni_put_word(t, zni_bits(member->m.latency_ms));
    zni_put_word(t, (uint64_t)member->m.layers);
    zni_put_word(t, (uint64_t)member->m.born);
    zni_text_append(t, " ", 1);
    zni_text_append(t, member->text, strlen(member->text));
    zni_text_append(t, "\n", 1);
}
static void zni_search_write(zn_search *e, zni_text *t) {
    size_t i;
    zni_text_format(t, "zennet-search 1\noptions ");
    zni_search_describe(e, t);
    zni_text_format(t, "\nstart %s\nrng", e->start);
    zni_put_word(t, e->rng.state);
    zni_text_format(t, "\nnow");
    zni_put_point(t, e->point);
    zni_text_append(t, "\n", 1);
    for (i = 0; i < e->point_count; ++i) {
        zni_text_format(t, "point");
        zni_put_point(t, e->points[i]);
        zni_text_append(t, "\n", 1);
    }
    for (i = 0; i < (size_t)e->count; ++i) zni_put_member(t, &e->members[i]);
    for (i = 0; i < e->row_count; ++i) {
        const zni_latency_row *r = &e->rows[i];
        const int numbers[6] = {r->in, r->out, r->kernel, r->stride, r->groups, r->size};
        int k;
        zni_text_format(t, "latency");
        for (k = 0; k < 6; ++k) zni_put_word(t, (uint64_t)numbers[k]);
        zni_put_word(t, zni_bits(r->ms));
        zni_text_append(t, "\n", 1);
    }
    for (i = 0; i < e->seen_capacity; ++i) {
        if (e->seen[i] == 0) continue;
        zni_text_format(t, "seen");
        zni_put_word(t, e->seen[i]);
        zni_text_append(t, "\n", 1);
    }
    zni_text_format(t, "end");
    if (!t->failed) zni_put_word(t, zn_fnv1a64(t->chars, t->length - 3, ZN_FNV_START));
    zni_text_append(t, "\n", 1);
}
ZN_API zn_result zn_search_save(zn_search *e) {
    zni_text text;
    zni_replace file;
    if (e == NULL) return ZN_ERROR_ARGUMENT;
    if (e->state_path == NULL || e->ctx->code != ZN_OK) return e->ctx->code;
    memset(&text, 0, sizeof text);
    text.ctx = e->ctx;
    e->point.seconds = e->before + zni_seconds() - e->began;
    zni_search_write(e, &text);
    if (!text.failed && zni_replace_begin(&file, e->ctx, e->state_path) == ZN_OK) {
        zni_replace_write(&file, text.chars, text.length);
        zni_replace_end(&file, 1);
    }
    zni_free(e->ctx, text.chars);
    e->saved = zni_seconds();
    return e->ctx->code;
}
/* A member's line behind its keyword; the text runs to `end`. */
static int zni_get_member(zn_search *e, const char *at, const char *end) {
    zni_member *member = &e->members[e->count];
    uint64_t words[7];
    zn_structure *s = NULL;
    int i;
    if (e->count >= e->opts.population + e->opts.generation) return 0;
    for (i = 0; i < 7; ++i)
        if (!zni_get_word(&at, &words[i])) return 0;
    if (*at++ != ' ' || end - at < 1 || end - at >= ZN_SEARCH_TEXT || words[5] > INT_MAX || words[6] > INT64_MAX) return 0;
    memset(member, 0, sizeof *member);
    member->text = (char *)zni_alloc(e->ctx, (size_t)(end - at) + 1);
    if (member->text == NULL) return 0;
    memcpy(member->text, at, (size_t)(end - at));
    member->text[end - at] = '\0';
    ++e->count;
    member->m.structure = member->text;
    member->m.score = zni_unbits(words[0]);
    member->m.params = zni_unbits(words[1]);
    member->m.flops = zni_unbits(words[2]);
    member->m.effective = zni_unbits(words[3]);
    member->m.latency_ms = zni_unbits(words[4]);
    member->m.layers = (int)words[5];
    member->m.born = (int64_t)words[6];
    if (!isfinite(member->m.score) || zn_structure_parse(e->ctx, member->text, &s) != ZN_OK) return 0;
    i = zni_super_block(s, 0);
    zn_structure_destroy(s);
    return i >= 0;
}
static int zni_get_latency(zn_search *e, const char *at) {
    void *rows = e->rows;
    uint64_t words[7];
    int i;
    for (i = 0; i < 7; ++i)
        if (!zni_get_word(&at, &words[i]) || (i < 6 && words[i] > INT_MAX)) return 0;
    if (!zni_grow(e->ctx, &rows, &e->row_capacity, e->row_count + 1, sizeof *e->rows)) return 0;
    e->rows = (zni_latency_row *)rows;
    e->rows[e->row_count].in = (int)words[0];
    e->rows[e->row_count].out = (int)words[1];
    e->rows[e->row_count].kernel = (int)words[2];
    e->rows[e->row_count].stride = (int)words[3];
    e->rows[e->row_count].groups = (int)words[4];
    e->rows[e->row_count].size = (int)words[5];
    e->rows[e->row_count++].ms = zni_unbits(words[6]);
    return 1;
}
/* One line [at, end) of the body; 0 when it is bad. */
static int zni_search_line(zn_search *e, const char *at, const char *end) {
    zn_search_point point;
    void *points = e->points;
    uint64_t word;
    memset(&point, 0, sizeof point);
    if (strncmp(at, "member ", 7) == 0) return zni_get_member(e, at + 6, end);
    if (strncmp(at, "latency ", 8) == 0) return zni_get_latency(e, at + 7);
    if (strncmp(at, "seen ", 5) == 0) {
        at += 4;
        return zni_get_word(&at, &word) && zni_seen_add(e, word) >= 0;
    }
    if (strncmp(at, "rng ", 4) == 0) {
        at += 3;
        return zni_get_word(&at, &e->rng.state);
    }
    if (strncmp(at, "now ", 4) == 0) {
        at += 3;
        return zni_get_point(&at, &e->point);
    }
    if (strncmp(at, "point ", 6) != 0) return 0;
    at += 5;
    if (!zni_get_point(&at, &point) || !zni_grow(e->ctx, &points, &e->point_capacity, e->point_count + 1, sizeof point)) return 0;
    e->points = (zn_search_point *)points;
    e->points[e->point_count++] = point;
    return 1;
}
static zn_result zni_search_parse(zn_search *e, const char *bytes, size_t size) {
    static const char magic[] = "zennet-search 1\noptions ";
    zni_text options;
    const char *at = bytes, *end, *tail;
    uint64_t sum;
    int line = 2, differ;
    if (size < sizeof magic + 21 || memcmp(bytes, magic, sizeof magic - 1) != 0 || memchr(bytes, 0, size) != NULL)
        return zni_fail(e->ctx, ZN_ERROR_FORMAT, "%s: not the state of a search", e->state_path);
    tail = bytes + size - 21;
    at = tail + 3;
    if (memcmp(tail, "end ", 4) != 0 || !zni_get_word(&at, &sum) || sum != zn_fnv1a64(bytes, size - 21, ZN_FNV_START))
        return zni_fail(e->ctx, ZN_ERROR_FORMAT, "%s: the state is damaged (its checksum does not fit)", e->state_path);
    memset(&options, 0, sizeof options);
    options.ctx = e->ctx;
    zni_search_describe(e, &options);
    zni_text_format(&options, "\nstart ");
    zni_text_append(&options, e->start, strlen(e->start));
    zni_text_append(&options, "\n", 1);
    if (options.failed) {
        zni_free(e->ctx, options.chars);
        return e->ctx->code;
    }
    at = bytes + sizeof magic - 1;
    for (differ = 0; at[differ] == options.chars[differ] && options.chars[differ] != '\0';) ++differ;
    if (options.chars[differ] != '\0') {
        while (differ > 0 && !zni_is_space(at[differ - 1])) --differ;
        zni_fail(e->ctx, ZN_ERROR_MISMATCH, "%s: the state of another search: it has %.*s, this one %.*s", e->state_path, (int)strcspn(at + differ, " \n") < 200 ? (int)strcspn(at + differ, " \n") : 200,
                 at + differ, (int)strcspn(options.chars + differ, " \n") < 200 ? (int)strcspn(options.chars + differ, " \n") : 200, options.chars + differ);
        zni_free(e->ctx, options.chars);
        return e->ctx->code;
    }
    at += options.length;
    zni_free(e->ctx, options.chars);
    for (; at < tail; at = end + 1) {
        end = (const char *)memchr(at, '\n', (size_t)(tail - at));
        ++line;
        if (end == NULL || !zni_search_line(e, at, end)) {
            if (e->ctx->code == ZN_ERROR_MEMORY) return e->ctx->code;
            zn_error_clear(e->ctx);
            return zni_fail(e->ctx, ZN_ERROR_FORMAT, "%s, line %d: the state is damaged", e->state_path, line + 1);
        }
    }
    e->before = e->point.seconds;
    return ZN_OK;
}
/* Goes on from the state file when there is one. */
static zn_result zni_search_resume(zn_search *e) {
    unsigned char *bytes;
    size_t size;
    FILE *file = e->state_path != NULL ? fopen(e->state_path, "rb") : NULL;
    if (file == NULL && (e->state_path == NULL || errno == ENOENT)) return ZN_OK;
    if (file != NULL) fclose(file);
    if (zni_file_read(e->ctx, e->state_path, (size_t)1 << 30, &bytes, &size) != ZN_OK) return e->ctx->code;
    zni_search_parse(e, (const char *)bytes, size);
    zni_free(e->ctx, bytes);
    return e->ctx->code;
}

/* ---- create, step, result ---- */
static int zni_search_sieves(const zn_search_opts *o) { return o->sieve_score >= 0 || o->sieve_batch > 0 || o->sieve_resolution > 0; }
static zn_result zni_search_check(zn_search *e) {
    const zn_search_opts *o = &e->opts;
    if (o->population < 1 || o->population > 65536 || o->generation < 1 || o->generation > 4096 || o->iterations < 1 || o->threads < 0 || o->threads > 1024)
        return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: population must be 1 to 65536, generation 1 to 4096, iterations at least 1, threads 0 to 1024");
    if (zn_score_text(o->score) == NULL) return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "unknown score %d", (int)o->score);
    if (o->sieve_score != -1 && zn_score_text((zn_score_kind)o->sieve_score) == NULL) return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "unknown score %d of a sieve (-1 is none)", o->sieve_score);
    if (o->sieve_batch < 0 || o->sieve_resolution < 0) return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: sieve_batch %d and sieve_resolution %d cannot be negative", o->sieve_batch, o->sieve_resolution);
    if (!(o->time_limit >= 0.0) || !(o->save_seconds >= 0.0))
        return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: time_limit %g and save_seconds %g cannot be negative", o->time_limit, o->save_seconds);
    if (zni_search_sieves(o) && (o->finalists < 1 || o->final_repeat < 1))
        return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: a sieve needs finalists and final_repeat of at least 1");
    if (o->max_layers < 0 || !(o->max_params >= 0.0) || !(o->max_flops >= 0.0) || !(o->max_effective >= 0.0) || !(o->max_latency_ms >= 0.0))
        return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: a budget cannot be negative (0 is none)");
    if (e->space_text == NULL) return e->ctx->code != ZN_OK ? e->ctx->code : zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "unknown search space %d", (int)o->space);
    return zni_space_read(&e->space, e->ctx, e->space_text);
}
static zn_score_opts zni_search_score_opts(const zn_search *e, int full) {
    zn_score_opts s = zn_score_opts_default();
    s.kind = !full && e->opts.sieve_score >= 0 ? (zn_score_kind)e->opts.sieve_score : e->opts.score;
    s.batch = !full && e->opts.sieve_batch > 0 ? e->opts.sieve_batch : e->opts.batch;
    s.resolution = !full && e->opts.sieve_resolution > 0 ? e->opts.sieve_resolution : e->opts.resolution;
    s.classes = e->opts.classes;
    s.seed = e->opts.seed;
    s.repeat = full ? e->opts.final_repeat : 1;
    return s;
}
static zn_result zni_search_begin(zn_search *e, const char *start) {
    zn_net_opts n = zni_search_net_opts(e);
    zn_structure *s = NULL;
    zn_count count;
    size_t length;
    int i;
    if (zni_search_check(e) != ZN_OK || zn_structure_parse(e->ctx, start, &s) != ZN_OK) return e->ctx->code;
    length = zn_structure_format(s, NULL, 0);
    if (length >= ZN_SEARCH_TEXT) zni_fail(e->ctx, ZN_ERROR_STRUCTURE, "structure, column %d: a search takes at most %d characters", ZN_SEARCH_TEXT, ZN_SEARCH_TEXT - 1);
    e->start = (char *)zni_alloc(e->ctx, length + 1);
    if (e->start != NULL) zn_structure_format(s, e->start, length + 1);
    if (e->ctx->code == ZN_OK && zni_super_block(s, 0) >= 0) {
        zn_structure_count(s, &n, e->opts.resolution, &count);
        n.reslink = 0;
        if (e->ctx->code == ZN_OK) zn_structure_count(s, &n, e->score.resolution, &count);
    }
    zn_structure_destroy(s);
    e->threads = e->opts.threads > 0 ? e->opts.threads : zni_max_threads();
    e->members = ZNI_NEW_ZERO(e->ctx, zni_member, e->opts.population + 2 * e->opts.generation);
    e->workers = ZNI_NEW_ZERO(e->ctx, zn_scorer, e->threads);
    if (e->ctx->code != ZN_OK || zni_scorer_open(&e->workers[0], e->ctx, &e->score) != ZN_OK) return e->ctx->code;
    for (i = 0; i < ZN_BUDGETS; ++i) e->nearest[i] = HUGE_VAL;
    e->rng = zn_rng_seed(e->opts.seed);
    e->began = e->saved = zni_seconds();
    return zni_search_resume(e);
}
ZN_API zn_result zn_search_create(zn_ctx *ctx, const char *start, const zn_search_opts *opts, zn_search **out_search) {
    zn_search *e;
    const char *space;
    if (out_search != NULL) *out_search = NULL;
    if (ctx == NULL || start == NULL || out_search == NULL) return zni_null(ctx, "zn_search_create");
    if (ctx->code != ZN_OK) return ctx->code;
    e = ZNI_NEW_ZERO(ctx, zn_search, 1);
    if (e == NULL) return ctx->code;
    e->ctx = ctx;
    e->opts = opts != NULL ? *opts : zn_search_opts_default();
    e->score = zni_search_score_opts(e, 0);
    space = e->opts.space_text != NULL ? e->opts.space_text : zn_space_text(e->opts.space);
    e->space_text = space != NULL ? zni_copy_text(ctx, space) : NULL;
    e->state_path = e->opts.state_path != NULL ? zni_copy_text(ctx, e->opts.state_path) : NULL;
    if (zni_search_begin(e, start) == ZN_OK) {
        *out_search = e;
        return ZN_OK;
    }
    zn_search_destroy(e);
    return ctx->code;
}
/* Proposals until the generation is full; the bound keeps progress and time limits alive where hardly anything fits. */
#define ZNI_PROPOSALS 4096
static zn_result zni_search_generation(zn_search *e) {
    double begin;
    int tries, i;
    for (tries = 0; tries < ZNI_PROPOSALS && e->jobs < e->opts.generation && e->point.iterations < e->opts.iterations && e->ctx->code == ZN_OK; ++tries) zni_search_propose(e);
    begin = zni_seconds();
    if (e->ctx->code == ZN_OK && e->jobs > 0) zni_search_score(e, &e->score, e->members + e->count, e->jobs);
    e->point.score_seconds += zni_seconds() - begin;
    if (e->ctx->code != ZN_OK) return e->ctx->code;
    for (i = 0; i < e->jobs; ++i) e->point.failed += e->members[e->count + i].failed > 0;
    e->point.scored += e->jobs;
    e->count += e->jobs;
    e->jobs = 0;
    return ZN_OK;
}
ZN_API zn_result zn_search_step(zn_search *e, int *out_more) {
    int stop;
    if (e == NULL || out_more == NULL) return zni_null(e != NULL ? e->ctx : NULL, "zn_search_step");
    *out_more = 0;
    if (e->ctx->code != ZN_OK) return e->ctx->code;
    zni_search_trim(e);
    if (zni_search_generation(e) != ZN_OK) return e->ctx->code;
    if (zni_search_note(e) != ZN_OK) return e->ctx->code;
    *out_more = e->point.iterations < e->opts.iterations && !(e->opts.time_limit > 0.0 && e->point.seconds >= e->opts.time_limit);
    if (e->point.scored == 0 && (e->point.iterations >= ZNI_SEARCH_PATIENCE || !*out_more)) return zni_search_impossible(e);
    if (!*out_more) zni_search_trim(e);
    stop = e->opts.on_progress != NULL && e->opts.on_progress(&e->point, e->opts.user) != 0;
    if ((stop || !*out_more || zni_seconds() - e->saved >= e->opts.save_seconds) && zn_search_save(e) != ZN_OK) return e->ctx->code;
    return stop ? ZN_STOPPED : ZN_OK;
}
ZN_API int zn_search_population(const zn_search *e) { return e != NULL ? e->count : 0; }
ZN_API zn_result zn_search_get_member(const zn_search *e, int index, zn_search_member *out_member) {
    if (e == NULL || out_member == NULL || index < 0 || index >= e->count) return ZN_ERROR_ARGUMENT;
    *out_member = e->members[index].m;
    return ZN_OK;
}
ZN_API int zn_search_points(const zn_search *e) { return e != NULL ? (int)e->point_count : 0; }
ZN_API zn_result zn_search_get_point(const zn_search *e, int index, zn_search_point *out_point) {
    if (e == NULL || out_point == NULL || index < 0 || (size_t)index >= e->point_count) return ZN_ERROR_ARGUMENT;
    *out_point = e->points[index];
    return ZN_OK;
}

static void zni_search_take(zn_search_result *out, const zn_search_member *m) {
    snprintf(out->structure, sizeof out->structure, "%s", m->structure);
    out->score = m->score;
    out->params = m->params;
    out->flops = m->flops;
    out->effective = m->effective;
    out->latency_ms = m->latency_ms;
    out->layers = m->layers;
}
/* The best of the sieve's best by the full score. */
static zn_result zni_search_finals(zn_search *e, zn_search_result *out) {
    int count = e->opts.finalists < e->count ? e->opts.finalists : e->count, i, k;
    zni_member *finalists = ZNI_NEW_ZERO(e->ctx, zni_member, count);
    zn_score_opts full = zni_search_score_opts(e, 1);
    double begin = zni_seconds();
    if (finalists == NULL) return e->ctx->code;
    for (k = 0; k < count; ++k) /* insertion into the best so far: older ones stay before equals */
        finalists[k].m.score = -HUGE_VAL;
    for (i = 0; i < e->count; ++i) {
        for (k = count; k > 0 && finalists[k - 1].m.score < e->members[i].m.score;) --k;
        if (k == count) continue;
        memmove(finalists + k + 1, finalists + k, sizeof(zni_member) * (size_t)(count - 1 - k));
        finalists[k] = e->members[i];
    }
    for (k = 0; k < e->threads; ++k) zni_scorer_close(&e->workers[k]); /* they are opened anew for the full score */
    if (zni_search_score(e, &full, finalists, count) == ZN_OK)
        for (k = i = 0; k < count; ++k) {
            if (k > 0 && !(finalists[k].m.score > finalists[i].m.score)) continue;
            i = k;
            zni_search_take(out, &finalists[k].m);
            out->half_width = finalists[k].half_width;
        }
    for (k = 0; k < e->threads; ++k) zni_scorer_close(&e->workers[k]);
    zni_free(e->ctx, finalists);
    out->finalists = count;
    out->final_seconds = zni_seconds() - begin;
    return e->ctx->code;
}
ZN_API zn_result zn_search_best(zn_search *e, zn_search_result *out_best) {
    int i, best = 0;
    if (e == NULL || out_best == NULL) return zni_null(e != NULL ? e->ctx : NULL, "zn_search_best");
    memset(out_best, 0, sizeof *out_best);
    if (e->ctx->code != ZN_OK) return e->ctx->code;
    if (e->count == 0) return zni_fail(e->ctx, ZN_ERROR_ARGUMENT, "search: the population is still empty");
    out_best->end = e->point;
    if (zni_search_sieves(&e->opts)) return zni_search_finals(e, out_best);
    for (i = 1; i < e->count; ++i)
        if (e->members[i].m.score > e->members[best].m.score) best = i;
    zni_search_take(out_best, &e->members[best].m);
    return ZN_OK;
}
ZN_API zn_result zn_search_run(zn_ctx *ctx, const char *start, const zn_search_opts *opts, zn_search_result *out_best) {
    zn_search *e;
    zn_result result;
    int more = 1;
    if (out_best == NULL) return zni_null(ctx, "zn_search_run");
    memset(out_best, 0, sizeof *out_best);
    result = zn_search_create(ctx, start, opts, &e);
    if (result != ZN_OK) return result;
    while (result == ZN_OK && more) result = zn_search_step(e, &more);
    if ((result == ZN_OK || result == ZN_STOPPED) && e->count > 0 && zn_search_best(e, out_best) != ZN_OK) result = ctx->code;
    zn_search_destroy(e);
    return result;
}

/* ==================================================================================================================
   IMPL-IMAGE  images and augmentation
   ------------------------------------------------------------------------------------------------------------------
   Bytes as Pillow 9.4 computes them: fixed point where it uses fixed point, its float where it uses float, its order of
   operations in double. Two buffers of a picture's size are enough for any chain of operations. Everything below
   zn_image_apply works in memory that the caller brought, so that loader threads never meet in an allocator.
   ================================================================================================================== */

/* ---- resizing ---- */
typedef struct zni_box {
    int x, y, w, h;
} zni_box;
typedef struct zni_view { /* a box of a larger picture; stride in bytes from row to row */
    const unsigned char *rgb;
    size_t stride;
    int w, h;
} zni_view;
typedef struct zni_taps { /* one pass: output i is the sum of k[i*size + j] * input[first[i] + j], j < count[i] */
    int size;
    int32_t *first, *count, *k; /* k: weights times 2^22; all that meet one output stay below 2^31 together, times 255 */
} zni_taps;

static zni_view zni_view_box(const unsigned char *rgb, int width, int x, int y, int w, int h) {
    zni_view v;
    v.stride = (size_t)width * 3;
    v.rgb = rgb + (size_t)y * v.stride + (size_t)x * 3;
    v.w = w;
    v.h = h;
    return v;
}
static double zni_filter_weight(zn_filter filter, double t) {
    t = fabs(t);
    if (filter == ZN_FILTER_BILINEAR) return t < 1.0 ? 1.0 - t : 0.0;
    if (t < 1.0) return (1.5 * t - 2.5) * t * t + 1.0;
    return t < 2.0 ? (((t - 5.0) * t + 8.0) * t - 4.0) * -0.5 : 0.0;
}
/* Taps reach support input pixels to both sides: more when shrinking, so that every pixel counts. */
static double zni_filter_support(zn_filter filter, double scale) {
    return (filter == ZN_FILTER_BILINEAR ? 1.0 : 2.0) * (scale > 1.0 ? scale : 1.0);
}
static size_t zni_taps_bytes(double scale, int count) {
    size_t each = (size_t)(2.0 * ceil(zni_filter_support(ZN_FILTER_BICUBIC, scale))) + 3;
    return zni_size_mul(zni_size_mul(each, sizeof(int32_t)), (size_t)count);
}
/* Outputs begin..begin+count-1 of a pass from `in` to `out` pixels; returns the first byte of memory that is left. */
static unsigned char *zni_taps_build(zni_taps *t, zn_filter filter, int in, int out, int begin, int count, unsigned char *memory) {
    double scale = (double)in / (double)out, support = zni_filter_support(filter, scale), shrink = 1.0 / (scale > 1.0 ? scale : 1.0);
    int i, j;
    t->size = (int)ceil(support) * 2 + 1;
    t->first = (int32_t *)(void *)memory;
    t->count = t->first + count;
    t->k = t->count + count;
    for (i = 0; i < count; ++i) {
        double centre = ((double)(begin + i) + 0.5) * scale, sum = 0.0;
        int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        t->first[i] = lo;
        t->count[i] = hi - lo;
        for (j = lo; j < hi; ++j) sum += zni_filter_weight(filter, ((double)j - centre + 0.5) * shrink);
        for (j = lo; j < hi; ++j) {
            double w = zni_filter_weight(filter, ((double)j - centre + 0.5) * shrink);
            if (sum != 0.0) w /= sum;
            t->k[(ptrdiff_t)i * t->size + (j - lo)] = (int32_t)(w * 4194304.0 + (w < 0.0 ? -0.5 : 0.5));
        }
    }
    return (unsigned char *)(void *)(t->k + (ptrdiff_t)count * t->size);
}
ZNI_INLINE unsigned char zni_from_fixed22(int32_t v) { return (unsigned char)(v < 0 ? 0 : v >= 1 << 30 ? 255 : v >> 22); }

/* One row to `count` outputs. */
static void zni_resize_row(const zni_taps *t, int count, const unsigned char *in, unsigned char *out) {
    int i, j;
    for (i = 0; i < count; ++i, out += 3) {
        const unsigned char *p = in + 3 * (size_t)t->first[i];
        const int32_t *k = t->k + (ptrdiff_t)i * t->size;
        int32_t r = 1 << 21, g = 1 << 21, b = 1 << 21;
        for (j = 0; j < t->count[i]; ++j, p += 3) {
            r += k[j] * p[0];
            g += k[j] * p[1];
            b += k[j] * p[2];
        }
        out[0] = zni_from_fixed22(r);
        out[1] = zni_from_fixed22(g);
        out[2] = zni_from_fixed22(b);
    }
}
/* n columns (bytes) of `count` rows to one row. Inlined with a constant n, it is vectorised also by -O2. */
ZNI_INLINE void zni_resize_block(const int32_t *k, int count, const unsigned char *in, size_t stride, int n, unsigned char *out) {
    int32_t sum[32];
    int i, j;
    for (i = 0; i < n; ++i) sum[i] = 1 << 21;
    for (j = 0; j < count; ++j, in += stride)
        for (i = 0; i < n; ++i) sum[i] += k[j] * in[i];
    for (i = 0; i < n; ++i) out[i] = zni_from_fixed22(sum[i]);
}
static void zni_resize_column(const int32_t *k, int count, const unsigned char *in, size_t stride, size_t bytes, unsigned char *out) {
    size_t from;
    for (from = 0; from + 32 <= bytes; from += 32) zni_resize_block(k, count, in + from, stride, 32, out + from);
    if (from < bytes) zni_resize_block(k, count, in + from, stride, (int)(bytes - from), out + from);
}

/* Scratch that zni_resize takes at most for sources up to in_h rows, windows up to out_w x out_h, shrinking by scale. */
static size_t zni_resize_bytes(double scale, int in_h, int out_w, int out_h) {
    size_t rows = zni_size_mul(zni_size_mul((size_t)out_w, 3), (size_t)in_h);
    return zni_size_add(zni_size_add(zni_taps_bytes(scale, out_w), zni_taps_bytes(scale, out_h)), rows);
}
/* The window of source resized to out_w x out_h, and nothing outside the window: a picture of 1 x 20000 does not become
   one of 224 x 4480000 before its centre is cropped. Horizontal pass first, bytes between the passes, a pass that
   changes nothing left out. */
static void zni_resize(zni_view source, zn_filter filter, int out_w, int out_h, zni_box window, unsigned char *scratch, unsigned char *out) {
    size_t bytes = (size_t)window.w * 3;
    zni_taps across, down;
    int row = window.y, rows = window.h, i;
    memset(&down, 0, sizeof down);
    if (out_h != source.h) {
        scratch = zni_taps_build(&down, filter, source.h, out_h, window.y, window.h, scratch);
        row = down.first[0];
        rows = down.first[window.h - 1] + down.count[window.h - 1] - row;
    }
    source.rgb += (size_t)row * source.stride;
    if (out_w != source.w) {
        unsigned char *to = zni_taps_build(&across, filter, source.w, out_w, window.x, window.w, scratch);
        if (out_h == source.h) to = out;
        for (i = 0; i < rows; ++i) zni_resize_row(&across, window.w, source.rgb + (size_t)i * source.stride, to + (size_t)i * bytes);
        source.rgb = to;
        source.stride = bytes;
    } else {
        source.rgb += (size_t)window.x * 3;
    }
    for (i = 0; i < window.h; ++i, out += bytes) {
        const unsigned char *from = source.rgb + (size_t)i * source.stride;
        if (out_h != source.h)
            zni_resize_column(down.k + (ptrdiff_t)i * down.size, down.count[i], source.rgb + (size_t)(down.first[i] - row) * source.stride,
                              source.stride, bytes, out);
        else if (from != out)
            memcpy(out, from, bytes);
    }
}

/* ---- operations that keep the size: in -> out, a holds the arguments ---- */
typedef void (*zni_image_fn)(const unsigned char *in, int w, int h, const double *a, unsigned char *out);

ZNI_INLINE size_t zni_pixels(int w, int h) { return (size_t)w * (size_t)h; }
ZNI_INLINE int zni_luma(const unsigned char *p) { return (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16; }
/* d + factor*(v - d), truncated; in float, as Pillow has it. */
ZNI_INLINE unsigned char zni_blend(int d, int v, float factor) {
    float t = (float)d + factor * (float)(v - d);
    return (unsigned char)(t <= 0.0f ? 0 : t >= 255.0f ? 255 : (int)t);
}
/* The same curve for red, green and blue, or (three) one each. */
static void zni_curve(const unsigned char *in, int w, int h, const unsigned char *lut, int three, unsigned char *out) {
    size_t i, n = zni_pixels(w, h) * 3, green = three ? 256 : 0;
    for (i = 0; i < n; i += 3) {
        out[i] = lut[in[i]];
        out[i + 1] = lut[green + in[i + 1]];
        out[i + 2] = lut[2 * green + in[i + 2]];
    }
}
/* Blends with the picture that has `level` everywhere. */
static void zni_blend_level(const unsigned char *in, int w, int h, int level, double factor, unsigned char *out) {
    unsigned char lut[256];
    int i;
    for (i = 0; i < 256; ++i) lut[i] = zni_blend(level, i, (float)factor);
    zni_curve(in, w, h, lut, 0, out);
}
static void zni_image_brightness(const unsigned char *in, int w, int h, const double *a, unsigned char *out) { zni_blend_level(in, w, h, 0, a[0], out); }
static void zni_image_contrast(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t i, n = zni_pixels(w, h);
    uint64_t sum = 0;
    for (i = 0; i < n; ++i) sum += (uint64_t)zni_luma(in + 3 * i);
    zni_blend_level(in, w, h, (int)((double)sum / (double)n + 0.5), a[0], out);
}
static void zni_image_color(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t i, n = zni_pixels(w, h) * 3;
    float factor = (float)a[0];
    for (i = 0; i < n; i += 3) {
        int gray = zni_luma(in + i);
        out[i] = zni_blend(gray, in[i], factor);
        out[i + 1] = zni_blend(gray, in[i + 1], factor);
        out[i + 2] = zni_blend(gray, in[i + 2], factor);
    }
}
/* Blends with the 3 x 3 smoothing (1 1 1; 1 5 1; 1 1 1)/13, rounded; its border is the picture's. */
static void zni_image_sharpness(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t stride = (size_t)w * 3, i;
    float factor = (float)a[0];
    int y;
    memcpy(out, in, stride * (size_t)h);
    for (y = 1; y < h - 1; ++y) {
        const unsigned char *p = in + (size_t)y * stride, *up = p - stride, *down = p + stride;
        unsigned char *to = out + (size_t)y * stride;
        for (i = 3; i + 3 < stride; ++i) {
            int sum = up[i - 3] + up[i] + up[i + 3] + p[i - 3] + 5 * p[i] + p[i + 3] + down[i - 3] + down[i] + down[i + 3];
            to[i] = zni_blend((2 * sum + 13) / 26, p[i], factor);
        }
    }
}
static void zni_image_posterize(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t i, n = zni_pixels(w, h) * 3;
    unsigned char mask = (unsigned char)(0xff00 >> (int)a[0]);
    for (i = 0; i < n; ++i) out[i] = in[i] & mask;
}
static void zni_image_solarize(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    unsigned char lut[256];
    int i;
    for (i = 0; i < 256; ++i) lut[i] = (unsigned char)((double)i < a[0] ? i : 255 - i);
    zni_curve(in, w, h, lut, 0, out);
}
static void zni_image_invert(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t i, n = zni_pixels(w, h) * 3;
    (void)a;
    for (i = 0; i < n; ++i) out[i] = (unsigned char)(255 - in[i]);
}
static void zni_histogram(const unsigned char *in, int w, int h, size_t count[3][256]) {
    size_t i, n = zni_pixels(w, h) * 3;
    memset(count, 0, 3 * sizeof count[0]);
    for (i = 0; i < n; i += 3) {
        ++count[0][in[i]];
        ++count[1][in[i + 1]];
        ++count[2][in[i + 2]];
    }
}
static void zni_image_autocontrast(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t count[3][256];
    unsigned char lut[3 * 256];
    int c, i, lo, hi;
    (void)a;
    zni_histogram(in, w, h, count);
    for (c = 0; c < 3; ++c) {
        double scale = 1.0, offset = 0.0;
        for (lo = 0; count[c][lo] == 0; ++lo) {}
        for (hi = 255; count[c][hi] == 0; --hi) {}
        if (hi > lo) {
            scale = 255.0 / (double)(hi - lo);
            offset = -(double)lo * scale;
        }
        for (i = 0; i < 256; ++i) {
            double v = (double)i * scale + offset;
            lut[c * 256 + i] = (unsigned char)(v <= 0.0 ? 0 : v >= 255.0 ? 255 : (int)v);
        }
    }
    zni_curve(in, w, h, lut, 1, out);
}
static void zni_image_equalize(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t count[3][256], n = zni_pixels(w, h);
    unsigned char lut[3 * 256];
    int c, i, hi;
    (void)a;
    zni_histogram(in, w, h, count);
    for (c = 0; c < 3; ++c) {
        size_t step, sum;
        for (hi = 255; count[c][hi] == 0; --hi) {}
        step = (n - count[c][hi]) / 255; /* 0 also when there is only one bin */
        sum = step / 2;
        for (i = 0; i < 256; ++i) {
            size_t v = step > 0 ? sum / step : (size_t)i;
            lut[c * 256 + i] = (unsigned char)(v > 255 ? 255 : v);
            sum += count[c][i];
        }
    }
    zni_curve(in, w, h, lut, 1, out);
}
static void zni_image_flip(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    int x, y;
    (void)a;
    for (y = 0; y < h; ++y) {
        const unsigned char *p = in + ((size_t)y * (size_t)w + (size_t)w) * 3;
        for (x = 0; x < w; ++x, out += 3) {
            p -= 3;
            out[0] = p[0];
            out[1] = p[1];
            out[2] = p[2];
        }
    }
}

/* ---- geometry: what no pixel of the picture covers becomes 128 ---- */
ZNI_INLINE void zni_copy_pixel(unsigned char *to, const unsigned char *from) {
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
}
/* Source column or row of each output along one side, found by adding 1 again and again, as Pillow does: where the sum
   meets an integer, its rounding decides. -1 outside. */
ZNI_INLINE int zni_nearest(double at, int size) { return at >= 0.0 && at < (double)size ? (int)at : -1; }
static void zni_translate(const unsigned char *in, int w, int h, double dx, double dy, unsigned char *out) {
    size_t stride = (size_t)w * 3;
    double at_y = dy + 0.5;
    int x, y;
    memset(out, 128, stride * (size_t)h);
    for (y = 0; y < h; ++y, at_y += 1.0, out += stride) {
        int from_y = zni_nearest(at_y, h);
        double at_x = dx + 0.5;
        if (from_y < 0) continue;
        for (x = 0; x < w; ++x, at_x += 1.0) {
            int from_x = zni_nearest(at_x, w);
            if (from_x >= 0) zni_copy_pixel(out + 3 * (size_t)x, in + (size_t)from_y * stride + 3 * (size_t)from_x);
        }
    }
}
static void zni_image_translate_x(const unsigned char *in, int w, int h, const double *a, unsigned char *out) { zni_translate(in, w, h, a[0] * (double)w, 0.0, out); }
static void zni_image_translate_y(const unsigned char *in, int w, int h, const double *a, unsigned char *out) { zni_translate(in, w, h, 0.0, a[0] * (double)h, out); }

/* Cubic through four values with a = -1, at d in [0, 1) between the second and the third, truncated. */
ZNI_INLINE unsigned char zni_cubic(int v0, int v1, int v2, int v3, double d) {
    double v = (double)v1 + d * ((double)(v2 - v0) + d * ((double)(2 * (v0 - v1) + v2 - v3) + d * (double)(v1 - v0 + v3 - v2)));
    return (unsigned char)(v <= 0.0 ? 0 : v >= 255.0 ? 255 : (int)v);
}
/* Sampling at (x + m*y, y) needs the cubic along x only, since the 4 x 4 filter is exact where a position is whole. One
   line of n pixels, `step` bytes apart; across is the line's own position. */
static void zni_shear_line(const unsigned char *in, int n, size_t step, double m, double across, unsigned char *out) {
    int i, c, j;
    for (i = 0; i < n; ++i, out += step) {
        double at = ((double)i + 0.5) + m * across, left;
        const unsigned char *p[4];
        if (!(at >= 0.0 && at < (double)n)) {
            memset(out, 128, 3);
            continue;
        }
        left = floor(at - 0.5);
        for (j = 0; j < 4; ++j) {
            int tap = (int)left - 1 + j;
            p[j] = in + (size_t)(tap < 0 ? 0 : tap >= n ? n - 1 : tap) * step;
        }
        for (c = 0; c < 3; ++c) out[c] = zni_cubic(p[0][c], p[1][c], p[2][c], p[3][c], at - 0.5 - left);
    }
}
static void zni_image_shear_x(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t stride = (size_t)w * 3;
    int y;
    for (y = 0; y < h; ++y) zni_shear_line(in + (size_t)y * stride, w, 3, a[0], (double)y + 0.5, out + (size_t)y * stride);
}
static void zni_image_shear_y(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    size_t stride = (size_t)w * 3;
    int x;
    for (x = 0; x < w; ++x) zni_shear_line(in + (size_t)x * 3, h, stride, a[0], (double)x + 0.5, out + (size_t)x * 3);
}

ZNI_INLINE int64_t zni_fixed16(double v) { return (int64_t)floor(v * 65536.0 + 0.5); }
static void zni_image_rotate(const unsigned char *in, int w, int h, const double *a, unsigned char *out) {
    double degrees = fmod(a[0], 360.0), angle, c, s, mx = 0.5 * (double)w, my = 0.5 * (double)h, x0, y0;
    int64_t at_x, at_y, dc, ds, neg, right = (int64_t)w << 16, bottom = (int64_t)h << 16;
    int x, y;
    if (degrees < 0.0) degrees += 360.0;
    angle = -(degrees * (ZNI_PI / 180.0));
    c = rint(cos(angle) * 1e15) / 1e15;
    s = rint(sin(angle) * 1e15) / 1e15;
    x0 = (c * -mx + s * -my) + mx; /* where the output's corner comes from */
    y0 = (-s * -mx + c * -my) + my;
    at_x = zni_fixed16(x0 + c * 0.5 + s * 0.5);
    at_y = zni_fixed16(y0 + -s * 0.5 + c * 0.5);
    dc = zni_fixed16(c);
    ds = zni_fixed16(s);
    neg = zni_fixed16(-s);
    for (y = 0; y < h; ++y, at_x += ds, at_y += dc) {
        int64_t px = at_x, py = at_y;
        for (x = 0; x < w; ++x, px += dc, py += neg, out += 3) {
            if (px >= 0 && px < right && py >= 0 && py < bottom)
                zni_copy_pixel(out, in + ((size_t)(py >> 16) * (size_t)w + (size_t)(px >> 16)) * 3);
            else
                memset(out, 128, 3);
        }
    }
}

typedef struct zni_image_row {
    const char *name;
    int args;
    zni_image_fn apply; /* NULL: the size changes */
} zni_image_row;
static const zni_image_row zni_image_rows[ZN_IMAGE_OPS] = { /* in the order of zn_image_op */
    {"resize_bicubic", 2, NULL},
    {"resize_bilinear", 2, NULL},
    {"crop_resize_bicubic", 6, NULL},
    {"shear_x", 1, zni_image_shear_x},
    {"shear_y", 1, zni_image_shear_y},
    {"translate_x", 1, zni_image_translate_x},
    {"translate_y", 1, zni_image_translate_y},
    {"rotate", 1, zni_image_rotate},
    {"color", 1, zni_image_color},
    {"contrast", 1, zni_image_contrast},
    {"brightness", 1, zni_image_brightness},
    {"sharpness", 1, zni_image_sharpness},
    {"posterize", 1, zni_image_posterize},
    {"solarize", 1, zni_image_solarize},
    {"autocontrast", 0, zni_image_autocontrast},
    {"equalize", 0, zni_image_equalize},
    {"invert", 0, zni_image_invert},
    {"flip_horizontal", 0, zni_image_flip},
};

ZN_API const char *zn_image_op_name(zn_image_op op) { return (unsigned)op < ZN_IMAGE_OPS ? zni_image_rows[op].name : NULL; }
ZN_API zn_image_op zn_image_op_find(const char *name) {
    int op = 0;
    while (op < ZN_IMAGE_OPS && (name == NULL || strcmp(name, zni_image_rows[op].name) != 0)) ++op;
    return (zn_image_op)op;
}
ZNI_INLINE int zni_side_ok(int side) { return side >= 1 && side <= ZN_MAX_IMAGE_SIDE; }
static int zni_box_ok(int width, int height, int x, int y, int w, int h) {
    return zni_side_ok(width) && zni_side_ok(height) && x >= 0 && y >= 0 && w >= 1 && h >= 1 && x <= width - w && y <= height - h;
}
ZN_API zn_result zn_image_resize(zn_ctx *ctx, const unsigned char *rgb, int width, int height, int left, int top, int box_w, int box_h,
                                 zn_filter filter, unsigned char *out, int out_w, int out_h) {
    zni_box all;
    double scale;
    unsigned char *scratch;
    if (rgb == NULL || out == NULL || (unsigned)filter > ZN_FILTER_BILINEAR || !zni_box_ok(width, height, left, top, box_w, box_h) || !zni_side_ok(out_w) || !zni_side_ok(out_h))
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "zn_image_resize: the box %d,%d %dx%d of %dx%d cannot become %dx%d", left, top, box_w, box_h, width, height, out_w, out_h);
    scale = (double)box_w / out_w > (double)box_h / out_h ? (double)box_w / out_w : (double)box_h / out_h;
    scratch = ZNI_NEW(ctx, unsigned char, zni_resize_bytes(scale, box_h, out_w, out_h));
    if (scratch == NULL) return ZN_ERROR_MEMORY;
    all.x = all.y = 0;
    all.w = out_w;
    all.h = out_h;
    zni_resize(zni_view_box(rgb, width, left, top, box_w, box_h), filter, out_w, out_h, all, scratch, out);
    zni_free(ctx, scratch);
    return ZN_OK;
}
ZN_API zn_result zn_image_op_size(zn_ctx *ctx, zn_image_op op, int width, int height, const double *args, int count, int *out_w, int *out_h) {
    const char *name = zn_image_op_name(op);
    int i;
    if (name == NULL || !zni_side_ok(width) || !zni_side_ok(height) || out_w == NULL || out_h == NULL)
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "image operation %d of a picture of %dx%d", (int)op, width, height);
    if (count != zni_image_rows[op].args || (count > 0 && args == NULL))
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s takes %d arguments, not %d", name, zni_image_rows[op].args, count);
    for (i = 0; i < count; ++i) {
        int whole = zni_image_rows[op].apply == NULL || op == ZN_IMAGE_POSTERIZE;
        if (!(fabs(args[i]) <= 1e6) || (whole && (args[i] < 0.0 || args[i] != floor(args[i]))) || (op == ZN_IMAGE_POSTERIZE && args[i] > 8.0))
            return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: argument %d cannot be %g", name, i + 1, args[i]);
    }
    *out_w = zni_image_rows[op].apply != NULL ? width : (int)args[count - 2];
    *out_h = zni_image_rows[op].apply != NULL ? height : (int)args[count - 1];
    return zni_side_ok(*out_w) && zni_side_ok(*out_h) ? ZN_OK : zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s to %dx%d", name, *out_w, *out_h);
}
ZN_API zn_result zn_image_apply(zn_ctx *ctx, zn_image_op op, const unsigned char *rgb, int width, int height, const double *args, int count, unsigned char *out) {
    int w = 0, h = 0;
    zn_result result = zn_image_op_size(ctx, op, width, height, args, count, &w, &h);
    if (result != ZN_OK) return result;
    if (op == ZN_IMAGE_CROP_RESIZE) return zn_image_resize(ctx, rgb, width, height, (int)args[0], (int)args[1], (int)args[2], (int)args[3], ZN_FILTER_BICUBIC, out, w, h);
    if (zni_image_rows[op].apply == NULL)
        return zn_image_resize(ctx, rgb, width, height, 0, 0, width, height, op == ZN_IMAGE_RESIZE_BILINEAR ? ZN_FILTER_BILINEAR : ZN_FILTER_BICUBIC, out, w, h);
    if (rgb == NULL || out == NULL) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: no picture", zn_image_op_name(op));
    zni_image_rows[op].apply(rgb, width, height, args, out);
    return ZN_OK;
}

/* ---- a network's input ---- */
ZN_API zn_input zn_input_default(void) {
    zn_input in = {224, 0, ZN_FILTER_BICUBIC, 0, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};
    return in;
}
/* NaN is in no range. */
ZNI_INLINE int zni_in_range(double v, double low, double high) { return v >= low && v <= high; }
ZNI_INLINE int zni_range_ok(const double v[2], double low, double high) { return zni_in_range(v[0], low, high) && zni_in_range(v[1], v[0], high); }
/* The field that is out of bounds, or NULL. */
static const char *zni_input_problem(const zn_input *in) {
    int c;
    if (in == NULL) return "input";
    if (in->size < 1 || in->size > ZN_MAX_INPUT_SIZE) return "size";
    if (in->resize != 0 && (in->resize < in->size || in->resize > 2 * ZN_MAX_INPUT_SIZE)) return "resize";
    if ((unsigned)in->filter > ZN_FILTER_BILINEAR) return "filter";
    if (in->bgr != 0 && in->bgr != 1) return "bgr";
    for (c = 0; c < 3; ++c) {
        if (!zni_in_range(in->mean[c], -1e3, 1e3)) return "mean";
        if (!zni_in_range(in->std[c], 1e-6, 1e6)) return "std";
    }
    return NULL;
}
ZN_API zn_result zn_input_check(zn_ctx *ctx, const zn_input *in) {
    const char *field = zni_input_problem(in);
    return field == NULL ? ZN_OK : zni_fail(ctx, ZN_ERROR_ARGUMENT, "input: the field %s is out of its bounds", field);
}
ZN_API zn_result zn_net_set_input(zn_net *net, const zn_input *in) {
    if (net == NULL || in == NULL) return zni_null(zn_net_ctx(net), "zn_net_set_input");
    if (zn_input_check(net->ctx, in) != ZN_OK) return ZN_ERROR_ARGUMENT;
    net->input = *in;
    return ZN_OK;
}
ZN_API const zn_input *zn_net_get_input(const zn_net *net) { return net != NULL ? &net->input : NULL; }
/* The size of a picture whose shorter side becomes `shorter`; sides below 2^16 keep it inside an int. */
static void zni_shorter_side(int w, int h, int shorter, int *out_w, int *out_h) {
    *out_w = w <= h ? shorter : (int)((int64_t)shorter * w / h);
    *out_h = h <= w ? shorter : (int)((int64_t)shorter * h / w);
}
/* Bytes of scratch for zni_input_picture. Its passes never shrink more than the larger side to the input's size. */
static size_t zni_input_picture_bytes(const zn_input *in, int max_w, int max_h) {
    return zni_resize_bytes((double)(max_w > max_h ? max_w : max_h) / in->size, max_h, in->size, in->size);
}
/* A view as size x size bytes: stretched, or its centre. */
static void zni_input_picture(const zn_input *in, zni_view view, unsigned char *scratch, unsigned char *out) {
    int w = in->size, h = in->size;
    zni_box window;
    if (in->resize > 0) zni_shorter_side(view.w, view.h, in->resize, &w, &h);
    window.w = window.h = in->size;
    window.x = (int)rint(0.5 * (w - in->size));
    window.y = (int)rint(0.5 * (h - in->size));
    zni_resize(view, in->filter, w, h, window, scratch, out);
}
/* Bytes to planes, by the arithmetic of PyTorch in the build's real type; light (or NULL) is added on 0..1. */
static void zni_normalise(const zn_input *in, const unsigned char *rgb, const double *light, zn_real *out) {
    size_t i, n = zni_pixels(in->size, in->size);
    int plane, v;
    for (plane = 0; plane < 3; ++plane, out += n) {
        int c = in->bgr ? 2 - plane : plane;
        zn_real lut[256], add = light != NULL ? (zn_real)light[c] : 0;
        for (v = 0; v < 256; ++v) lut[v] = ((zn_real)v / (zn_real)255 + add - (zn_real)in->mean[c]) / (zn_real)in->std[c];
        for (i = 0; i < n; ++i) out[i] = lut[rgb[3 * i + (size_t)c]];
    }
}
ZN_API size_t zn_input_scratch_bytes(const zn_input *in, int max_w, int max_h) {
    if (zni_input_problem(in) != NULL || !zni_side_ok(max_w) || !zni_side_ok(max_h)) return SIZE_MAX;
    return zni_size_add(zni_input_picture_bytes(in, max_w, max_h), 3 * zni_pixels(in->size, in->size));
}
ZN_API zn_result zn_input_apply(const zn_input *in, const unsigned char *rgb, int width, int height, int x, int y, int box_w, int box_h,
                                void *scratch, zn_real *out) {
    unsigned char *memory = (unsigned char *)scratch, *picture;
    if (zni_input_problem(in) != NULL || rgb == NULL || memory == NULL || out == NULL || !zni_box_ok(width, height, x, y, box_w, box_h)) return ZN_ERROR_ARGUMENT;
    picture = memory + zni_input_picture_bytes(in, box_w, box_h);
    zni_input_picture(in, zni_view_box(rgb, width, x, y, box_w, box_h), memory, picture);
    zni_normalise(in, picture, NULL, out);
    return ZN_OK;
}

/* ---- AutoAugment ---- */
/* Per policy 25 pairs of operations, each with its probability in tenths and its magnitude 0..9. */
static const unsigned char zni_policies[2][25][6] = {
    {{4, ZN_IMAGE_POSTERIZE, 8, 6, ZN_IMAGE_ROTATE, 9}, {6, ZN_IMAGE_SOLARIZE, 5, 6, ZN_IMAGE_AUTOCONTRAST, 5},
     {8, ZN_IMAGE_EQUALIZE, 8, 6, ZN_IMAGE_EQUALIZE, 3}, {6, ZN_IMAGE_POSTERIZE, 7, 6, ZN_IMAGE_POSTERIZE, 6},
     {4, ZN_IMAGE_EQUALIZE, 7, 2, ZN_IMAGE_SOLARIZE, 4}, {4, ZN_IMAGE_EQUALIZE, 4, 8, ZN_IMAGE_ROTATE, 8},
     {6, ZN_IMAGE_SOLARIZE, 3, 6, ZN_IMAGE_EQUALIZE, 7}, {8, ZN_IMAGE_POSTERIZE, 5, 10, ZN_IMAGE_EQUALIZE, 2},
     {2, ZN_IMAGE_ROTATE, 3, 6, ZN_IMAGE_SOLARIZE, 8}, {6, ZN_IMAGE_EQUALIZE, 8, 4, ZN_IMAGE_POSTERIZE, 6},
     {8, ZN_IMAGE_ROTATE, 8, 4, ZN_IMAGE_COLOR, 0}, {4, ZN_IMAGE_ROTATE, 9, 6, ZN_IMAGE_EQUALIZE, 2},
     {0, ZN_IMAGE_EQUALIZE, 7, 8, ZN_IMAGE_EQUALIZE, 8}, {6, ZN_IMAGE_INVERT, 4, 10, ZN_IMAGE_EQUALIZE, 8},
     {6, ZN_IMAGE_COLOR, 4, 10, ZN_IMAGE_CONTRAST, 8}, {8, ZN_IMAGE_ROTATE, 8, 10, ZN_IMAGE_COLOR, 2},
     {8, ZN_IMAGE_COLOR, 8, 8, ZN_IMAGE_SOLARIZE, 7}, {4, ZN_IMAGE_SHARPNESS, 7, 6, ZN_IMAGE_INVERT, 8},
     {6, ZN_IMAGE_SHEAR_X, 5, 10, ZN_IMAGE_EQUALIZE, 9}, {4, ZN_IMAGE_COLOR, 0, 6, ZN_IMAGE_EQUALIZE, 3},
     {4, ZN_IMAGE_EQUALIZE, 7, 2, ZN_IMAGE_SOLARIZE, 4}, {6, ZN_IMAGE_SOLARIZE, 5, 6, ZN_IMAGE_AUTOCONTRAST, 5},
     {6, ZN_IMAGE_INVERT, 4, 10, ZN_IMAGE_EQUALIZE, 8}, {6, ZN_IMAGE_COLOR, 4, 10, ZN_IMAGE_CONTRAST, 8},
     {8, ZN_IMAGE_EQUALIZE, 8, 6, ZN_IMAGE_EQUALIZE, 3}},
    {{1, ZN_IMAGE_INVERT, 7, 2, ZN_IMAGE_CONTRAST, 6}, {7, ZN_IMAGE_ROTATE, 2, 3, ZN_IMAGE_TRANSLATE_X, 9},
     {8, ZN_IMAGE_SHARPNESS, 1, 9, ZN_IMAGE_SHARPNESS, 3}, {5, ZN_IMAGE_SHEAR_Y, 8, 7, ZN_IMAGE_TRANSLATE_Y, 9},
     {5, ZN_IMAGE_AUTOCONTRAST, 8, 9, ZN_IMAGE_EQUALIZE, 2}, {2, ZN_IMAGE_SHEAR_Y, 7, 3, ZN_IMAGE_POSTERIZE, 7},
     {4, ZN_IMAGE_COLOR, 3, 6, ZN_IMAGE_BRIGHTNESS, 7}, {3, ZN_IMAGE_SHARPNESS, 9, 7, ZN_IMAGE_BRIGHTNESS, 9},
     {6, ZN_IMAGE_EQUALIZE, 5, 5, ZN_IMAGE_EQUALIZE, 1}, {6, ZN_IMAGE_CONTRAST, 7, 6, ZN_IMAGE_SHARPNESS, 5},
     {7, ZN_IMAGE_COLOR, 7, 5, ZN_IMAGE_TRANSLATE_X, 8}, {3, ZN_IMAGE_EQUALIZE, 7, 4, ZN_IMAGE_AUTOCONTRAST, 8},
     {4, ZN_IMAGE_TRANSLATE_Y, 3, 2, ZN_IMAGE_SHARPNESS, 6}, {9, ZN_IMAGE_BRIGHTNESS, 6, 2, ZN_IMAGE_COLOR, 8},
     {5, ZN_IMAGE_SOLARIZE, 2, 0, ZN_IMAGE_INVERT, 3}, {2, ZN_IMAGE_EQUALIZE, 0, 6, ZN_IMAGE_AUTOCONTRAST, 0},
     {2, ZN_IMAGE_EQUALIZE, 8, 8, ZN_IMAGE_EQUALIZE, 4}, {9, ZN_IMAGE_COLOR, 9, 6, ZN_IMAGE_EQUALIZE, 6},
     {8, ZN_IMAGE_AUTOCONTRAST, 4, 2, ZN_IMAGE_SOLARIZE, 8}, {1, ZN_IMAGE_BRIGHTNESS, 3, 7, ZN_IMAGE_COLOR, 0},
     {4, ZN_IMAGE_SOLARIZE, 5, 9, ZN_IMAGE_AUTOCONTRAST, 3}, {9, ZN_IMAGE_TRANSLATE_Y, 9, 7, ZN_IMAGE_TRANSLATE_Y, 9},
     {9, ZN_IMAGE_AUTOCONTRAST, 2, 8, ZN_IMAGE_SOLARIZE, 3}, {8, ZN_IMAGE_EQUALIZE, 8, 1, ZN_IMAGE_INVERT, 3},
     {7, ZN_IMAGE_TRANSLATE_Y, 9, 9, ZN_IMAGE_AUTOCONTRAST, 1}}};

/* The argument that an operation gets for a magnitude 0..9; the factors and distances that have two directions take one
   at random. */
static double zni_policy_argument(zn_image_op op, int magnitude, zn_rng *rng) {
    double share = magnitude / 9.0, sign;
    switch (op) {
    case ZN_IMAGE_POSTERIZE: return 8 - magnitude / 2;
    case ZN_IMAGE_SOLARIZE: return 256.0 * (9 - magnitude) / 9.0;
    case ZN_IMAGE_ROTATE: return 30.0 * share;
    default: break;
    }
    if (zni_image_rows[op].args == 0) return 0.0;
    sign = zn_rng_below(rng, 2) == 0 ? 1.0 : -1.0;
    if (op == ZN_IMAGE_SHEAR_X || op == ZN_IMAGE_SHEAR_Y) return sign * 0.3 * share;
    if (op == ZN_IMAGE_TRANSLATE_X || op == ZN_IMAGE_TRANSLATE_Y) return sign * 150.0 / 331.0 * share;
    return 1.0 + sign * 0.9 * share;
}
/* A square picture in `now` and a buffer of the same size; every operation swaps them. */
typedef struct zni_canvas {
    unsigned char *now, *other;
    int size;
} zni_canvas;
static void zni_canvas_apply(zni_canvas *p, zn_image_op op, double argument) {
    unsigned char *done = p->other;
    zni_image_rows[op].apply(p->now, p->size, p->size, &argument, done);
    p->other = p->now;
    p->now = done;
}
static void zni_policy_apply(zni_canvas *p, zn_policy policy, zn_rng *rng) {
    const unsigned char *pair = zni_policies[policy == ZN_POLICY_CIFAR10][zn_rng_below(rng, 25)];
    int i;
    for (i = 0; i < 6; i += 3) {
        zn_image_op op = (zn_image_op)pair[i + 1];
        if (zn_rng_uniform(rng) * 10.0 < pair[i]) zni_canvas_apply(p, op, zni_policy_argument(op, pair[i + 2], rng));
    }
}
static void zni_jitter_apply(zni_canvas *p, double jitter, zn_rng *rng) {
    uint32_t order[3] = {ZN_IMAGE_BRIGHTNESS, ZN_IMAGE_CONTRAST, ZN_IMAGE_COLOR};
    int i;
    zn_rng_shuffle(rng, order, 3);
    for (i = 0; i < 3; ++i) zni_canvas_apply(p, (zn_image_op)order[i], 1.0 + jitter * (2.0 * zn_rng_uniform(rng) - 1.0));
}

/* ---- augmentation ---- */
ZN_API zn_augment_opts zn_augment_opts_none(int size) {
    zn_augment_opts o;
    memset(&o, 0, sizeof o);
    o.input = zn_input_default();
    o.input.size = size;
    o.crop_padding = size < 4 ? size : 4;
    o.crop_area[0] = 0.8;
    o.crop_area[1] = 1.0;
    o.crop_ratio[0] = 3.0 / 4.0;
    o.crop_ratio[1] = 4.0 / 3.0;
    o.erase_area[0] = 0.02;
    o.erase_area[1] = 0.33;
    o.erase_ratio[0] = 0.3;
    o.erase_ratio[1] = 3.3;
    return o;
}
ZN_API zn_augment_opts zn_augment_opts_rafdb(int size) {
    zn_augment_opts o = zn_augment_opts_none(size);
    o.crop = size <= 32 ? ZN_CROP_PADDED : ZN_CROP_RANDOM_RESIZED;
    o.crop_resize = (int)rint(size / 0.75);
    o.flip = 0.5;
    o.policy = ZN_POLICY_IMAGENET;
    o.lighting = 0.1;
    o.erase = 0.5;
    o.erase_area[1] = 0.1;
    return o;
}
ZN_API zn_augment_opts zn_augment_opts_affectnet(int size) {
    zn_augment_opts o = zn_augment_opts_rafdb(size);
    o.input.resize = size <= 32 ? 0 : size;
    o.erase_area[0] = o.erase_area[1] = 0.4;
    o.erase_ratio_log = 1;
    return o;
}
ZN_API zn_augment_opts zn_augment_opts_imagenet(int size) {
    zn_augment_opts o = zn_augment_opts_rafdb(size);
    o.input.resize = (int)ceil(size / 0.875);
    o.crop = ZN_CROP_RANDOM_RESIZED;
    o.crop_resize = 0;
    o.crop_area[0] = 0.08;
    o.erase_area[1] = 0.33;
    return o;
}
ZN_API zn_augment_opts zn_augment_opts_cifar(int size) {
    static const double mean[3] = {0.4914, 0.4822, 0.4465}, std[3] = {0.2023, 0.1994, 0.2010};
    zn_augment_opts o = zn_augment_opts_none(size);
    memcpy(o.input.mean, mean, sizeof mean);
    memcpy(o.input.std, std, sizeof std);
    o.crop = ZN_CROP_PADDED;
    o.flip = 0.5;
    o.policy = ZN_POLICY_CIFAR10;
    o.erase = 0.5;
    return o;
}
static const char *zni_augment_problem(const zn_augment_opts *o) {
    const char *field = o == NULL ? "opts" : zni_input_problem(&o->input);
    if (field != NULL) return field;
    if ((unsigned)o->crop > ZN_CROP_PADDED) return "crop";
    if (o->crop_resize < 0 || o->crop_resize > 2 * ZN_MAX_INPUT_SIZE) return "crop_resize";
    if (o->crop_padding < 0 || o->crop_padding > o->input.size) return "crop_padding";
    if (!zni_range_ok(o->crop_area, 1e-6, 1.0)) return "crop_area";
    if (!zni_range_ok(o->crop_ratio, 0.1, 10.0)) return "crop_ratio";
    if (!zni_in_range(o->flip, 0.0, 1.0)) return "flip";
    if ((unsigned)o->policy > ZN_POLICY_CIFAR10) return "policy";
    if (!zni_in_range(o->jitter, 0.0, 1.0)) return "jitter";
    if (!zni_in_range(o->lighting, 0.0, 1.0)) return "lighting";
    if (!zni_in_range(o->erase, 0.0, 1.0)) return "erase";
    if (!zni_range_ok(o->erase_area, 1e-6, 1.0)) return "erase_area";
    if (!zni_range_ok(o->erase_ratio, 0.1, 10.0)) return "erase_ratio";
    return NULL;
}
ZN_API zn_result zn_augment_check(zn_ctx *ctx, const zn_augment_opts *opts) {
    const char *field = zni_augment_problem(opts);
    return field == NULL ? ZN_OK : zni_fail(ctx, ZN_ERROR_ARGUMENT, "augmentation: the field %s is out of its bounds", field);
}

ZNI_INLINE double zni_uniform_in(zn_rng *rng, const double range[2]) { return range[0] + (range[1] - range[0]) * zn_rng_uniform(rng); }
ZNI_INLINE double zni_log_uniform_in(zn_rng *rng, const double range[2]) {
    return exp(log(range[0]) + (log(range[1]) - log(range[0])) * zn_rng_uniform(rng));
}
/* The box of a random resized crop in a picture of w x h. (torchvision's RandomResizedCrop) */
static zni_box zni_crop_draw(const zn_augment_opts *o, zn_rng *rng, int w, int h) {
    double ratio = (double)w / h, side;
    zni_box b;
    int i;
    for (i = 0; i < 10; ++i) {
        double area = (double)w * h * zni_uniform_in(rng, o->crop_area), r = zni_log_uniform_in(rng, o->crop_ratio);
        double bw = rint(sqrt(area * r)), bh = rint(sqrt(area / r));
        if (bw < 1.0 || bh < 1.0 || bw > w || bh > h) continue;
        b.w = (int)bw;
        b.h = (int)bh;
        b.y = (int)zn_rng_below(rng, (uint64_t)(h - b.h + 1));
        b.x = (int)zn_rng_below(rng, (uint64_t)(w - b.w + 1));
        return b;
    }
    b.w = w;
    b.h = h;
    if (ratio < o->crop_ratio[0]) b.h = (side = rint(w / o->crop_ratio[0])) < 1.0 ? 1 : (int)side;
    if (ratio > o->crop_ratio[1]) b.w = (side = rint(h * o->crop_ratio[1])) < 1.0 ? 1 : (int)side;
    b.x = (w - b.w) / 2;
    b.y = (h - b.h) / 2;
    return b;
}
/* The largest box of that kind, for pictures up to max_w x max_h. With a given shorter side the longer side of the box
   is bounded by the ratio, however long the picture. */
static void zni_crop_bounds(const zn_augment_opts *o, int max_w, int max_h, int *box_w, int *box_h) {
    int s = o->crop_resize, w = (int)ceil(o->crop_ratio[1] * (s + 1)) + 1, h = (int)ceil((s + 1) / o->crop_ratio[0]) + 1;
    *box_w = s == 0 ? max_w : w > s ? w : s;
    *box_h = s == 0 ? max_h : h > s ? h : s;
}

/* What zni_augment_draw makes: the picture as bytes, and what happens to its normalised values. */
typedef struct zni_augmented {
    const unsigned char *rgb;
    double light[3]; /* added to red, green, blue on 0..1 */
    zni_box erased;  /* w 0: nothing */
} zni_augmented;
/* Scratch: two canvases, the crop before its second resizing, and the larger of both resizings' own. */
typedef struct zni_augment_memory {
    size_t canvas, crop, resize;
} zni_augment_memory;
ZNI_INLINE size_t zni_round16(size_t bytes) { return zni_size_add(bytes, 15) & ~(size_t)15; }
static zni_augment_memory zni_augment_layout(const zn_augment_opts *o, int max_w, int max_h) {
    zni_augment_memory m;
    int size = o->input.size, box_w, box_h;
    size_t second;
    m.canvas = zni_round16(3 * zni_pixels(size, size));
    m.crop = 0;
    m.resize = zni_input_picture_bytes(&o->input, max_w, max_h);
    if (o->crop != ZN_CROP_RANDOM_RESIZED) return m;
    zni_crop_bounds(o, max_w, max_h, &box_w, &box_h);
    if (o->crop_resize > 0) {
        m.crop = zni_round16(zni_size_mul(3, zni_pixels(box_w, box_h)));
        m.resize = zni_resize_bytes((double)(max_w > max_h ? max_w : max_h) / o->crop_resize, max_h, box_w, box_h);
    }
    second = zni_resize_bytes((double)(box_w > box_h ? box_w : box_h) / size, box_h, size, size);
    if (second > m.resize) m.resize = second;
    return m;
}
ZN_API size_t zn_augment_scratch_bytes(const zn_augment_opts *opts, int max_w, int max_h) {
    zni_augment_memory m;
    if (zni_augment_problem(opts) != NULL || !zni_side_ok(max_w) || !zni_side_ok(max_h)) return SIZE_MAX;
    m = zni_augment_layout(opts, max_w, max_h);
    return zni_size_add(zni_size_add(2 * m.canvas, m.crop), m.resize);
}

/* Resize to the shorter side, random box, resize to the input's size. */
static void zni_crop_resized(const zn_augment_opts *o, zn_rng *rng, zni_view view, unsigned char *crop, unsigned char *scratch, unsigned char *out) {
    zni_box box, all;
    int w = view.w, h = view.h;
    if (o->crop_resize > 0) zni_shorter_side(view.w, view.h, o->crop_resize, &w, &h);
    box = zni_crop_draw(o, rng, w, h);
    if (o->crop_resize > 0) {
        zni_resize(view, o->input.filter, w, h, box, scratch, crop);
        view = zni_view_box(crop, box.w, 0, 0, box.w, box.h);
    } else {
        view.rgb += (size_t)box.y * view.stride + (size_t)box.x * 3;
        view.w = box.w;
        view.h = box.h;
    }
    all.x = all.y = 0;
    all.w = all.h = o->input.size;
    zni_resize(view, o->input.filter, all.w, all.h, all, scratch, out);
}
/* The picture moved by up to `padding` pixels in each direction, black where nothing is. */
static void zni_crop_padded(zni_canvas *p, int padding, zn_rng *rng) {
    int dy = (int)zn_rng_below(rng, (uint64_t)(2 * padding + 1)) - padding, dx = (int)zn_rng_below(rng, (uint64_t)(2 * padding + 1)) - padding, y;
    unsigned char *done = p->other;
    size_t stride = 3 * (size_t)p->size, bytes = 3 * (size_t)(p->size - (dx < 0 ? -dx : dx));
    memset(done, 0, stride * (size_t)p->size);
    for (y = dy < 0 ? -dy : 0; y < p->size && y + dy < p->size; ++y)
        memcpy(done + (size_t)y * stride + (size_t)(dx < 0 ? -dx : 0) * 3, p->now + (size_t)(y + dy) * stride + (size_t)(dx > 0 ? dx : 0) * 3, bytes);
    p->other = p->now;
    p->now = done;
}
/* One number per direction in which ImageNet's colours vary, times how much they vary in it. (Krizhevsky et al. 2012) */
static void zni_lighting_draw(double deviation, zn_rng *rng, double light[3]) {
    static const double value[3] = {0.2175, 0.0188, 0.0045};
    static const double vector[3][3] = {{-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};
    int i, c;
    for (i = 0; i < 3; ++i) {
        double a = deviation * zn_rng_normal(rng) * value[i];
        for (c = 0; c < 3; ++c) light[c] += vector[c][i] * a;
    }
}
/* A rectangle that leaves a row and a column free, or nothing after ten tries. (arXiv 1708.04896) */
static zni_box zni_erase_draw(const zn_augment_opts *o, zn_rng *rng) {
    int size = o->input.size, i;
    zni_box b = {0, 0, 0, 0};
    if (!(zn_rng_uniform(rng) < o->erase)) return b;
    for (i = 0; i < 10; ++i) {
        double area = (double)size * size * zni_uniform_in(rng, o->erase_area);
        double r = o->erase_ratio_log ? zni_log_uniform_in(rng, o->erase_ratio) : zni_uniform_in(rng, o->erase_ratio);
        double h = rint(sqrt(area * r)), w = rint(sqrt(area / r));
        if (h >= size || w >= size) continue;
        b.h = (int)h;
        b.w = (int)w;
        b.y = (int)zn_rng_below(rng, (uint64_t)(size - b.h + 1));
        b.x = (int)zn_rng_below(rng, (uint64_t)(size - b.w + 1));
        break;
    }
    return b;
}
/* All draws and all bytes. 0 when the arguments are bad. */
static int zni_augment_draw(const zn_augment_opts *o, zn_rng *rng, const unsigned char *rgb, int width, int height, void *scratch, zni_augmented *out) {
    zni_augment_memory m;
    unsigned char *resize;
    zni_canvas p;
    zni_view view;
    if (zni_augment_problem(o) != NULL || rng == NULL || rgb == NULL || scratch == NULL || !zni_side_ok(width) || !zni_side_ok(height)) return 0;
    m = zni_augment_layout(o, width, height);
    p.now = (unsigned char *)scratch;
    p.other = p.now + m.canvas;
    p.size = o->input.size;
    resize = p.other + m.canvas + m.crop;
    view = zni_view_box(rgb, width, 0, 0, width, height);
    if (o->crop == ZN_CROP_RANDOM_RESIZED) {
        zni_crop_resized(o, rng, view, p.other + m.canvas, resize, p.now);
    } else {
        zn_input in = o->input;
        if (o->crop == ZN_CROP_PADDED) in.resize = 0;
        zni_input_picture(&in, view, resize, p.now);
    }
    if (o->crop == ZN_CROP_PADDED) zni_crop_padded(&p, o->crop_padding, rng);
    if (zn_rng_uniform(rng) < o->flip) zni_canvas_apply(&p, ZN_IMAGE_FLIP, 0.0);
    if (o->policy != ZN_POLICY_NONE) zni_policy_apply(&p, o->policy, rng);
    if (o->jitter > 0.0) zni_jitter_apply(&p, o->jitter, rng);
    memset(out, 0, sizeof *out);
    out->rgb = p.now;
    if (o->lighting > 0.0) zni_lighting_draw(o->lighting, rng, out->light);
    out->erased = zni_erase_draw(o, rng);
    return 1;
}
ZN_API zn_result zn_augment(const zn_augment_opts *opts, zn_rng *rng, const unsigned char *rgb, int width, int height, void *scratch, zn_real *out) {
    zni_augmented a;
    int c, x, y;
    if (out == NULL || !zni_augment_draw(opts, rng, rgb, width, height, scratch, &a)) return ZN_ERROR_ARGUMENT;
    zni_normalise(&opts->input, a.rgb, a.light, out);
    for (c = 0; c < 3; ++c)
        for (y = a.erased.y; y < a.erased.y + a.erased.h; ++y) {
            zn_real *row = out + ((size_t)c * (size_t)opts->input.size + (size_t)y) * (size_t)opts->input.size;
            for (x = a.erased.x; x < a.erased.x + a.erased.w; ++x) row[x] = 0;
        }
    return ZN_OK;
}
/* 0..1 to the nearest byte. */
ZNI_INLINE unsigned char zni_to_byte(double v) { return (unsigned char)(v <= 0.0 ? 0 : v >= 1.0 ? 255 : (int)(v * 255.0 + 0.5)); }
ZN_API zn_result zn_augment_preview(const zn_augment_opts *opts, zn_rng *rng, const unsigned char *rgb, int width, int height, void *scratch, unsigned char *out) {
    zni_augmented a;
    unsigned char lut[3 * 256];
    int c, x, y;
    if (out == NULL || !zni_augment_draw(opts, rng, rgb, width, height, scratch, &a)) return ZN_ERROR_ARGUMENT;
    for (c = 0; c < 3; ++c)
        for (x = 0; x < 256; ++x) lut[c * 256 + x] = zni_to_byte(x / 255.0 + a.light[c]);
    zni_curve(a.rgb, opts->input.size, opts->input.size, lut, 1, out);
    for (y = a.erased.y; y < a.erased.y + a.erased.h; ++y)
        for (x = a.erased.x; x < a.erased.x + a.erased.w; ++x)
            for (c = 0; c < 3; ++c) out[((size_t)y * (size_t)opts->input.size + (size_t)x) * 3 + (size_t)c] = zni_to_byte(opts->input.mean[c]);
    return ZN_OK;
}

/* ---- targets ---- */
ZN_API void zn_smooth_targets(const int *labels, int count, int classes, double smoothing, zn_real *target) {
    int i, k;
    for (i = 0; i < count; ++i)
        for (k = 0; k < classes; ++k)
            target[(size_t)i * (size_t)classes + (size_t)k] = (zn_real)((k == labels[i] ? 1.0 - smoothing : 0.0) + smoothing / classes);
}
/* Gamma(shape, 1) by Marsaglia and Tsang 2000; shapes below 1 are drawn at shape + 1 and multiplied by U^(1/shape). */
static double zni_gamma_draw(zn_rng *rng, double shape) {
    double boost = shape < 1.0 ? pow(1.0 - zn_rng_uniform(rng), 1.0 / shape) : 1.0;
    double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = zn_rng_normal(rng), v = 1.0 + c * x, u = 1.0 - zn_rng_uniform(rng);
        v = v * v * v;
        if (v > 0.0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) return d * v * boost;
    }
}
/* Rows i of values become share*row(i) + (1-share)*row(partner[i]), cycle by cycle of the permutation, so that only the
   part of one row that is overwritten first must be kept. The top bit of partner marks rows that are done. */
static void zni_mix_rows(zn_real *values, size_t per_row, uint32_t *partner, int rows, zn_real share) {
    enum { PART = 256 };
    const uint32_t done = UINT32_C(1) << 31;
    zn_real first[PART];
    size_t from, n, k;
    int start;
    for (start = 0; start < rows; ++start) {
        uint32_t i = (uint32_t)start;
        if (partner[start] & done) continue;
        for (from = 0; from < per_row; from += PART) {
            n = per_row - from < PART ? per_row - from : (size_t)PART;
            memcpy(first, values + (size_t)start * per_row + from, n * sizeof(zn_real));
            for (i = (uint32_t)start; partner[i] != (uint32_t)start; i = partner[i])
                for (k = from; k < from + n; ++k) values[i * per_row + k] = share * values[i * per_row + k] + (1 - share) * values[partner[i] * per_row + k];
            for (k = 0; k < n; ++k) values[i * per_row + from + k] = share * values[i * per_row + from + k] + (1 - share) * first[k];
        }
        for (i = (uint32_t)start; !(partner[i] & done); i = partner[i] & ~done) partner[i] |= done;
    }
    for (start = 0; start < rows; ++start) partner[start] &= ~done;
}
ZN_API double zn_mixup(zn_rng *rng, double alpha, int batch, zn_real *x, size_t per_sample, zn_real *target, int classes, uint32_t *partner) {
    double a = 0.5, b = 0.5, share;
    int i;
    for (i = 0; i < batch; ++i) partner[i] = (uint32_t)i;
    if (!(alpha > 0.0) || batch < 1) return 1.0;
    if (alpha < 1e32) { /* from there on the share is 1/2 to its last bit, and of infinity there is nothing to draw */
        a = zni_gamma_draw(rng, alpha);
        b = zni_gamma_draw(rng, alpha);
    }
    share = a + b > 0.0 ? a / (a + b) : (double)zn_rng_below(rng, 2); /* both underflow when alpha is tiny: 0 or 1 */
    zn_rng_shuffle(rng, partner, (size_t)batch);
    zni_mix_rows(x, per_sample, partner, batch, (zn_real)share);
    zni_mix_rows(target, (size_t)classes, partner, batch, (zn_real)share);
    return share;
}

/* ==================================================================================================================
   IMPL-PACK  packed data sets
   ------------------------------------------------------------------------------------------------------------------
   The index is checked once, when a pack is opened, and copied into native records; after that only the images' bytes
   are read from the file. Every number of the file is hostile until zni_pack_check_record has seen it.
   ================================================================================================================== */
#define ZNI_PACK_HEADER 64
#define ZNI_PACK_RECORD 56
#define ZNI_PACK_VERSION 1
#define ZNI_PACK_COPY_LIMIT ((size_t)64 << 20) /* up to here a copy in memory is cheaper than going to the disk again */
#define ZNI_PACK_MAX_SIDE 65535
static const char zni_pack_magic[9] = "ZENPACK1";

typedef struct zni_pack_record {
    uint64_t offset, size, checksum;
    uint32_t name; /* byte in the names */
    uint16_t label;
    uint8_t split, encoding;
    uint32_t stored_width, stored_height, x, y, width, height;
} zni_pack_record;

struct zn_pack {
    zn_ctx *ctx;
    char *path;
    zni_disk file;
    zni_pack_record *records;
    size_t images;
    uint32_t *order;    /* record numbers: first those of train, then those of test */
    size_t counts[2];   /* images per split */
    size_t *class_counts; /* split * classes + label */
    char *texts;        /* class names, then source names, each ended by 0 */
    const char **class_names;
    const char *sources;
    int classes;
    uint64_t hash;
    zn_decode_fn decode;
    void *decode_user;
};

static uint64_t zni_get_le(const unsigned char *p, int bytes) {
    uint64_t value = 0;
    while (bytes-- > 0) value = (value << 8) | p[bytes];
    return value;
}
static void zni_put_le(unsigned char *p, uint64_t value, int bytes) {
    int i;
    for (i = 0; i < bytes; ++i, value >>= 8) p[i] = (unsigned char)(value & 255u);
}

static void zni_pack_record_write(const zni_pack_record *r, unsigned char *p) {
    zni_put_le(p, r->offset, 8);
    zni_put_le(p + 8, r->size, 8);
    zni_put_le(p + 16, r->checksum, 8);
    zni_put_le(p + 24, r->name, 4);
    zni_put_le(p + 28, r->label, 2);
    p[30] = r->split;
    p[31] = r->encoding;
    zni_put_le(p + 32, r->stored_width, 4);
    zni_put_le(p + 36, r->stored_height, 4);
    zni_put_le(p + 40, r->x, 4);
    zni_put_le(p + 44, r->y, 4);
    zni_put_le(p + 48, r->width, 4);
    zni_put_le(p + 52, r->height, 4);
}
static void zni_pack_record_read(zni_pack_record *r, const unsigned char *p) {
    r->offset = zni_get_le(p, 8);
    r->size = zni_get_le(p + 8, 8);
    r->checksum = zni_get_le(p + 16, 8);
    r->name = (uint32_t)zni_get_le(p + 24, 4);
    r->label = (uint16_t)zni_get_le(p + 28, 2);
    r->split = p[30];
    r->encoding = p[31];
    r->stored_width = (uint32_t)zni_get_le(p + 32, 4);
    r->stored_height = (uint32_t)zni_get_le(p + 36, 4);
    r->x = (uint32_t)zni_get_le(p + 40, 4);
    r->y = (uint32_t)zni_get_le(p + 44, 4);
    r->width = (uint32_t)zni_get_le(p + 48, 4);
    r->height = (uint32_t)zni_get_le(p + 52, 4);
}
/* What is wrong with the sizes, split, label and encoding of a record; NULL when nothing is. */
static const char *zni_pack_record_fault(const zni_pack_record *r, int classes) {
    if (r->label >= classes) return "the label is not one of the classes";
    if (r->split > 1) return "the split is neither train nor test";
    if (r->encoding > 1) return "the encoding is unknown";
    if (r->stored_width < 1 || r->stored_width > ZNI_PACK_MAX_SIDE || r->stored_height < 1 || r->stored_height > ZNI_PACK_MAX_SIDE)
        return "a side is not 1..65535 pixels";
    if (r->width < 1 || r->width > r->stored_width || r->x > r->stored_width - r->width) return "the box leaves the image";
    if (r->height < 1 || r->height > r->stored_height || r->y > r->stored_height - r->height) return "the box leaves the image";
    if (r->encoding == ZN_ENCODING_RGB && (r->width != r->stored_width || r->height != r->stored_height)) return "pixels have no box";
    if (r->encoding == ZN_ENCODING_RGB && r->size != (uint64_t)r->width * r->height * 3) return "the size is not that of its pixels";
    return r->size < 1 ? "it is empty" : NULL;
}
/* The data hash, continued by one image. */
static uint64_t zni_pack_hash_record(uint64_t hash, const zni_pack_record *r) {
    unsigned char p[ZNI_PACK_RECORD];
    zni_pack_record_write(r, p);
    hash = zn_fnv1a64(p + 16, 8, hash);
    hash = zn_fnv1a64(p + 28, 3, hash);
    return zn_fnv1a64(p + 40, 16, hash);
}

static zn_result zni_pack_bad(const zn_pack *p, const char *what) {
    return zni_fail(p->ctx, ZN_ERROR_FORMAT, "%s: not a whole pack: %s", p->path, what);
}
static zn_result zni_pack_unread(const zn_pack *p) {
    return zni_fail(p->ctx, ZN_ERROR_FILE, "%s: cannot read: %s", p->path, zni_disk_changed(&p->file) ? "it changes while it is read" : strerror(errno));
}
/* Checks the header; *out_bytes, the index, is the caller's to free. */
static zn_result zni_pack_read_header(zn_pack *p, unsigned char **out_bytes, size_t *out_index, size_t *out_size) {
    unsigned char b[ZNI_PACK_HEADER] = {0};
    uint64_t images, index, size;
    if (!zni_disk_read(&p->file, 0, p->file.size < sizeof b ? p->file.size : sizeof b, b)) return zni_pack_unread(p);
    if (p->file.size < 8 || memcmp(b, zni_pack_magic, 8) != 0) return zni_pack_bad(p, "it does not begin with ZENPACK1");
    if (p->file.size < ZNI_PACK_HEADER) return zni_pack_bad(p, "it ends within the first 64 bytes");
    if (zni_get_le(b + 8, 4) != ZNI_PACK_VERSION)
        return zni_fail(p->ctx, ZN_ERROR_UNSUPPORTED, "%s: pack version %lu; this library reads version %d: pack the data again", p->path,
                        (unsigned long)zni_get_le(b + 8, 4), ZNI_PACK_VERSION);
    if (zn_fnv1a64(b, 56, ZN_FNV_START) != zni_get_le(b + 56, 8)) return zni_pack_bad(p, "the first 64 bytes are damaged");
    images = zni_get_le(b + 16, 8);
    index = zni_get_le(b + 24, 8);
    size = zni_get_le(b + 32, 8);
    if (index < ZNI_PACK_HEADER || index > p->file.size || size != p->file.size - index) return zni_pack_bad(p, "it is cut off, or something follows it");
    *out_bytes = ZNI_NEW(p->ctx, unsigned char, size);
    if (*out_bytes == NULL) return ZN_ERROR_MEMORY;
    if (!zni_disk_read(&p->file, (size_t)index, (size_t)size, *out_bytes)) return zni_pack_unread(p);
    if (zn_fnv1a64(*out_bytes, (size_t)size, ZN_FNV_START) != zni_get_le(b + 40, 8)) return zni_pack_bad(p, "the index is damaged");
    p->classes = (int)zni_get_le(b + 12, 4);
    if (p->classes < 1 || p->classes > ZN_MAX_CLASSES) return zni_pack_bad(p, "the number of classes is impossible");
    if (images < 1 || images > size / ZNI_PACK_RECORD || images > UINT32_MAX) return zni_pack_bad(p, "the number of images is impossible");
    p->images = (size_t)images;
    p->hash = zni_get_le(b + 48, 8);
    *out_index = (size_t)index;
    *out_size = (size_t)size;
    return ZN_OK;
}
/* Splits the class names of `size` bytes, which end with a 0. */
static zn_result zni_pack_read_classes(zn_pack *p, size_t size) {
    const char *fault;
    size_t at = 0;
    int i;
    p->class_names = ZNI_NEW(p->ctx, const char *, p->classes);
    if (p->class_names == NULL) return ZN_ERROR_MEMORY;
    for (i = 0; i < p->classes; ++i) {
        if (at >= size) return zni_pack_bad(p, "class names are missing");
        p->class_names[i] = p->texts + at;
        at += strlen(p->texts + at) + 1;
    }
    if (at != size) return zni_pack_bad(p, "there are more class names than classes");
    fault = zni_class_names_fault(p->class_names, p->classes, 1);
    return fault == NULL ? ZN_OK : zni_pack_bad(p, fault);
}
/* Reads and checks all records; `end` is where the images' bytes end, names_size what the names hold. */
static zn_result zni_pack_read_records(zn_pack *p, const unsigned char *bytes, size_t end, size_t names_size) {
    uint64_t hash = ZN_FNV_START;
    size_t i;
    int k;
    for (i = 0; i < p->images; ++i) {
        zni_pack_record *r = &p->records[i];
        const char *fault;
        zni_pack_record_read(r, bytes + i * ZNI_PACK_RECORD);
        fault = zni_pack_record_fault(r, p->classes);
        if (fault == NULL && (r->offset < ZNI_PACK_HEADER || r->offset > end || r->size > end - r->offset)) fault = "its bytes lie outside";
        if (fault == NULL && r->name >= names_size) fault = "its name lies outside";
        if (fault != NULL) return zni_fail(p->ctx, ZN_ERROR_FORMAT, "%s: not a whole pack: image %lu: %s", p->path, (unsigned long)i, fault);
        hash = zni_pack_hash_record(hash, r);
        ++p->counts[r->split];
        ++p->class_counts[(size_t)r->split * (size_t)p->classes + r->label];
    }
    for (k = 0; k < p->classes; ++k) hash = zn_fnv1a64(p->class_names[k], strlen(p->class_names[k]) + 1, hash);
    return hash == p->hash ? ZN_OK : zni_pack_bad(p, "the hash of the data is wrong");
}
static zn_result zni_pack_read_index(zn_pack *p, const unsigned char *b, size_t index, size_t size) {
    size_t records = p->images * ZNI_PACK_RECORD, names, texts, i, next[2];
    size_t class_text = size < 4 ? SIZE_MAX : (size_t)zni_get_le(b, 4);
    if (size < 4 || class_text < 1 || class_text > size - 4 || records >= size - 4 - class_text) return zni_pack_bad(p, "the index is too short");
    names = size - 4 - class_text - records;
    texts = class_text + names;
    if (b[4 + class_text - 1] != 0 || b[size - 1] != 0) return zni_pack_bad(p, "a name does not end");
    p->texts = ZNI_NEW(p->ctx, char, texts);
    p->records = ZNI_NEW(p->ctx, zni_pack_record, p->images);
    p->order = ZNI_NEW(p->ctx, uint32_t, p->images);
    p->class_counts = ZNI_NEW_ZERO(p->ctx, size_t, 2 * (size_t)p->classes);
    if (p->texts == NULL || p->records == NULL || p->order == NULL || p->class_counts == NULL) return ZN_ERROR_MEMORY;
    memcpy(p->texts, b + 4, class_text);
    memcpy(p->texts + class_text, b + 4 + class_text + records, names);
    p->sources = p->texts + class_text;
    if (zni_pack_read_classes(p, class_text) != ZN_OK) return p->ctx->code;
    if (zni_pack_read_records(p, b + 4 + class_text, index, names) != ZN_OK) return p->ctx->code;
    next[0] = 0;
    next[1] = p->counts[0];
    for (i = 0; i < p->images; ++i) p->order[next[p->records[i].split]++] = (uint32_t)i;
    return ZN_OK;
}

ZN_API void zn_pack_close(zn_pack *pack) {
    zn_ctx *ctx;
    if (pack == NULL) return;
    ctx = pack->ctx;
    zni_disk_close(ctx, &pack->file);
    zni_free(ctx, pack->records);
    zni_free(ctx, pack->order);
    zni_free(ctx, pack->class_counts);
    zni_free(ctx, pack->texts);
    zni_free(ctx, (void *)pack->class_names);
    zni_free(ctx, pack->path);
    zni_free(ctx, pack);
}
static zn_result zni_pack_load(zn_pack *p, const char *path) {
    unsigned char *bytes = NULL;
    size_t index = 0, size = 0;
    p->path = zni_copy_text(p->ctx, path);
    if (p->path == NULL) return ZN_ERROR_MEMORY;
    if (zni_disk_open(p->ctx, path, ZNI_PACK_COPY_LIMIT, &p->file) != ZN_OK) return p->ctx->code;
    if (zni_pack_read_header(p, &bytes, &index, &size) == ZN_OK) zni_pack_read_index(p, bytes, index, size);
    zni_free(p->ctx, bytes);
    return p->ctx->code;
}
ZN_API zn_result zn_pack_open(zn_ctx *ctx, const char *path, zn_pack **out_pack) {
    zn_pack *p;
    if (out_pack != NULL) *out_pack = NULL;
    if (ctx == NULL || path == NULL || out_pack == NULL) return zni_null(ctx, "zn_pack_open");
    if (ctx->code != ZN_OK) return ctx->code;
    p = ZNI_NEW_ZERO(ctx, zn_pack, 1);
    if (p == NULL) return ctx->code;
    p->ctx = ctx;
    if (zni_pack_load(p, path) == ZN_OK) {
        *out_pack = p;
        return ZN_OK;
    }
    zn_pack_close(p);
    return ctx->code;
}

ZN_API int zn_pack_classes(const zn_pack *pack) { return pack == NULL ? 0 : pack->classes; }
ZN_API const char *zn_pack_class_name(const zn_pack *pack, int label) {
    return pack == NULL || label < 0 || label >= pack->classes ? NULL : pack->class_names[label];
}
ZN_API size_t zn_pack_count(const zn_pack *pack, zn_split split) { return pack == NULL || (unsigned)split > 1 ? 0 : pack->counts[split]; }
ZN_API size_t zn_pack_class_count(const zn_pack *pack, zn_split split, int label) {
    if (zn_pack_class_name(pack, label) == NULL || (unsigned)split > 1) return 0;
    return pack->class_counts[(size_t)split * (size_t)pack->classes + (size_t)label];
}
ZN_API uint64_t zn_pack_hash(const zn_pack *pack) { return pack == NULL ? 0 : pack->hash; }
ZN_API void zn_pack_set_decoder(zn_pack *pack, zn_decode_fn decode, void *user) {
    if (pack == NULL) return;
    pack->decode = decode;
    pack->decode_user = user;
}
static void zni_pack_info_from(const zn_pack *pack, const zni_pack_record *r, zn_pack_info *info) {
    info->bytes = pack->file.bytes != NULL ? pack->file.bytes + (size_t)r->offset : NULL;
    info->size = (size_t)r->size;
    info->encoding = r->encoding == ZN_ENCODING_RGB ? ZN_ENCODING_RGB : ZN_ENCODING_FILE;
    info->split = r->split == ZN_SPLIT_TRAIN ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST;
    info->label = r->label;
    info->stored_width = (int)r->stored_width;
    info->stored_height = (int)r->stored_height;
    info->x = (int)r->x;
    info->y = (int)r->y;
    info->width = (int)r->width;
    info->height = (int)r->height;
    info->source = pack->sources + r->name;
    info->checksum = r->checksum;
}
static const zni_pack_record *zni_pack_find(const zn_pack *pack, zn_split split, size_t index) { /* NULL: no such image */
    if (index >= zn_pack_count(pack, split)) return NULL;
    return &pack->records[pack->order[split == ZN_SPLIT_TEST ? pack->counts[0] + index : index]];
}
ZN_API zn_result zn_pack_image(const zn_pack *pack, zn_split split, size_t index, zn_pack_info *out_info) {
    const zni_pack_record *r = zni_pack_find(pack, split, index);
    if (out_info == NULL || r == NULL) return ZN_ERROR_ARGUMENT;
    zni_pack_info_from(pack, r, out_info);
    return ZN_OK;
}
/* Reads the bytes of a record to `room`, where the pack is not in memory, and compares their checksum. */
static zn_result zni_pack_bytes(const zn_pack *pack, const zni_pack_record *r, unsigned char *room, zn_pack_info *info) {
    zni_pack_info_from(pack, r, info);
    if (info->bytes == NULL) {
        if (room == NULL) return ZN_ERROR_MEMORY;
        if (zni_disk_changed(&pack->file) || !zni_disk_read(&pack->file, (size_t)r->offset, info->size, room)) return ZN_ERROR_FILE;
        info->bytes = room;
    }
    return zn_fnv1a64(info->bytes, info->size, ZN_FNV_START) == r->checksum ? ZN_OK : ZN_ERROR_FORMAT;
}
ZN_API zn_result zn_pack_rgb(const zn_pack *pack, zn_split split, size_t index, unsigned char *rgb) {
    const zni_pack_record *r = zni_pack_find(pack, split, index);
    zn_pack_info info;
    zn_result result;
    unsigned char *room = NULL;
    if (rgb == NULL || r == NULL) return ZN_ERROR_ARGUMENT;
    if (r->encoding == ZN_ENCODING_RGB) {
        result = zni_pack_bytes(pack, r, rgb, &info);
        if (result == ZN_OK && info.bytes != rgb) memcpy(rgb, info.bytes, info.size);
        return result;
    }
    if (pack->decode == NULL) return ZN_ERROR_UNSUPPORTED;
    if (pack->file.bytes == NULL) room = (unsigned char *)ZN_MALLOC((size_t)r->size);
    result = zni_pack_bytes(pack, r, room, &info);
    if (result == ZN_OK && pack->decode(&info, rgb, pack->decode_user) != 0) result = ZN_ERROR_FORMAT;
    if (room != NULL) ZN_FREE(room);
    return result;
}
ZN_API zn_result zn_pack_check(const zn_pack *pack) {
    if (pack == NULL) return ZN_ERROR_ARGUMENT;
    if (!zni_disk_changed(&pack->file)) return ZN_OK;
    return zni_fail(pack->ctx, ZN_ERROR_FILE, "%s: the pack was changed or truncated while it was in use; open it again", pack->path);
}
ZN_API zn_result zn_pack_verify(const zn_pack *pack) {
    size_t i, most = 0;
    unsigned char *room = NULL;
    zn_pack_info info;
    zn_result result = ZN_OK;
    if (pack == NULL) return ZN_ERROR_ARGUMENT;
    for (i = 0; i < pack->images && pack->file.bytes == NULL; ++i)
        if (pack->records[i].size > most) most = (size_t)pack->records[i].size;
    if (most > 0 && (room = ZNI_NEW(pack->ctx, unsigned char, most)) == NULL) return pack->ctx->code;
    for (i = 0; i < pack->images && result == ZN_OK; ++i) {
        result = zni_pack_bytes(pack, &pack->records[i], room, &info);
        if (result == ZN_ERROR_FORMAT) zni_fail(pack->ctx, result, "%s: image %lu (%s) is damaged: its checksum is wrong", pack->path, (unsigned long)i, info.source);
        else if (result == ZN_ERROR_FILE && zn_pack_check(pack) == ZN_OK) result = zni_pack_unread(pack);
    }
    zni_free(pack->ctx, room);
    return result;
}

struct zn_pack_writer {
    zn_ctx *ctx;
    zni_replace file;
    zni_pack_record *records;
    size_t images, capacity;
    zni_text classes, names; /* as the file holds them */
    int class_count, finished;
    uint64_t offset, hash;
};

ZN_API void zn_pack_writer_destroy(zn_pack_writer *writer) {
    zn_ctx *ctx;
    if (writer == NULL) return;
    ctx = writer->ctx;
    if (writer->file.file != NULL) (void)zni_replace_end(&writer->file, 0);
    zni_free(ctx, writer->records);
    zni_free(ctx, writer->classes.chars);
    zni_free(ctx, writer->names.chars);
    zni_free(ctx, writer);
}
static zn_result zni_pack_writer_begin(zn_pack_writer *w, const char *path, const char *const *names, int classes) {
    unsigned char header[ZNI_PACK_HEADER];
    const char *fault = classes < 1 || classes > ZN_MAX_CLASSES ? "the number of classes is impossible" : zni_class_names_fault(names, classes, 1);
    int i;
    if (fault != NULL) return zni_fail(w->ctx, ZN_ERROR_ARGUMENT, "%s: cannot pack: %s", path, fault);
    for (i = 0; i < classes; ++i) zni_text_append(&w->classes, names[i], strlen(names[i]) + 1);
    if (w->classes.failed) return w->ctx->code;
    if (zni_replace_begin(&w->file, w->ctx, path) != ZN_OK) return w->ctx->code;
    memset(header, 0, sizeof header); /* the true one is written last */
    zni_replace_write(&w->file, header, sizeof header);
    w->offset = ZNI_PACK_HEADER;
    return w->ctx->code;
}
ZN_API zn_result zn_pack_writer_create(zn_ctx *ctx, const char *path, const char *const *class_names, int classes,
                                       zn_pack_writer **out_writer) {
    zn_pack_writer *w;
    if (out_writer != NULL) *out_writer = NULL;
    if (ctx == NULL || path == NULL || class_names == NULL || out_writer == NULL)
        return zni_null(ctx, "zn_pack_writer_create");
    if (ctx->code != ZN_OK) return ctx->code;
    w = ZNI_NEW_ZERO(ctx, zn_pack_writer, 1);
    if (w == NULL) return ctx->code;
    w->ctx = w->classes.ctx = w->names.ctx = ctx;
    w->class_count = classes;
    w->hash = ZN_FNV_START;
    if (zni_pack_writer_begin(w, path, class_names, classes) == ZN_OK) {
        *out_writer = w;
        return ZN_OK;
    }
    zn_pack_writer_destroy(w);
    return ctx->code;
}
ZN_API zn_result zn_pack_writer_add(zn_pack_writer *writer, const zn_pack_info *image) {
    zni_pack_record r;
    const char *fault;
    void *items;
    if (writer == NULL || image == NULL) return zni_null(writer != NULL ? writer->ctx : NULL, "zn_pack_writer_add");
    if (writer->ctx->code != ZN_OK) return writer->ctx->code;
    memset(&r, 0, sizeof r);
    r.offset = writer->offset;
    r.size = image->bytes == NULL ? 0 : image->size;
    r.label = (uint16_t)(image->label < 0 || image->label >= writer->class_count ? UINT16_MAX : image->label);
    r.split = (uint8_t)((unsigned)image->split > 1 ? 2 : image->split);
    r.encoding = (uint8_t)((unsigned)image->encoding > 1 ? 2 : image->encoding);
    r.stored_width = (uint32_t)image->stored_width; /* negative numbers become too large ones, and are refused */
    r.stored_height = (uint32_t)image->stored_height;
    r.x = (uint32_t)image->x;
    r.y = (uint32_t)image->y;
    r.width = (uint32_t)image->width;
    r.height = (uint32_t)image->height;
    fault = zni_pack_record_fault(&r, writer->class_count);
    if (fault == NULL && image->source == NULL) fault = "it has no source name";
    if (fault == NULL && (writer->images >= UINT32_MAX || writer->names.length > UINT32_MAX - 65536u)) fault = "the pack is full";
    if (writer->finished) fault = "the pack is finished";
    if (fault != NULL)
        return zni_fail(writer->ctx, ZN_ERROR_ARGUMENT, "cannot pack image %lu (%s): %s", (unsigned long)writer->images,
                        image->source != NULL ? image->source : "", fault);
    items = writer->records;
    if (!zni_grow(writer->ctx, &items, &writer->capacity, writer->images + 1, sizeof *writer->records)) return writer->ctx->code;
    writer->records = (zni_pack_record *)items;
    r.name = (uint32_t)writer->names.length;
    r.checksum = zn_fnv1a64(image->bytes, image->size, ZN_FNV_START);
    zni_text_append(&writer->names, image->source, strlen(image->source) + 1);
    zni_replace_write(&writer->file, image->bytes, image->size);
    if (writer->ctx->code != ZN_OK) return writer->ctx->code;
    writer->records[writer->images++] = r;
    writer->offset += r.size;
    writer->hash = zni_pack_hash_record(writer->hash, &r);
    return ZN_OK;
}
/* Writes a part of the index and adds it to its checksum and size. */
static void zni_pack_writer_index(zn_pack_writer *w, const void *bytes, size_t size, uint64_t *sum, uint64_t *total) {
    zni_replace_write(&w->file, bytes, size);
    *sum = zn_fnv1a64(bytes, size, *sum);
    *total += size;
}
ZN_API zn_result zn_pack_writer_finish(zn_pack_writer *writer, uint64_t *out_hash) {
    unsigned char header[ZNI_PACK_HEADER], record[ZNI_PACK_RECORD];
    uint64_t sum = ZN_FNV_START, size = 0;
    size_t i;
    if (writer == NULL) return ZN_ERROR_ARGUMENT;
    if (writer->ctx->code != ZN_OK) return writer->ctx->code;
    if (writer->finished) return zni_fail(writer->ctx, ZN_ERROR_ARGUMENT, "cannot finish: the pack is finished");
    if (writer->images == 0) return zni_fail(writer->ctx, ZN_ERROR_ARGUMENT, "%s: cannot pack: there are no images", writer->file.path);
    zni_put_le(header, writer->classes.length, 4);
    zni_pack_writer_index(writer, header, 4, &sum, &size);
    zni_pack_writer_index(writer, writer->classes.chars, writer->classes.length, &sum, &size);
    for (i = 0; i < writer->images; ++i) {
        zni_pack_record_write(&writer->records[i], record);
        zni_pack_writer_index(writer, record, sizeof record, &sum, &size);
    }
    zni_pack_writer_index(writer, writer->names.chars, writer->names.length, &sum, &size);
    writer->hash = zn_fnv1a64(writer->classes.chars, writer->classes.length, writer->hash);
    memcpy(header, zni_pack_magic, 8);
    zni_put_le(header + 8, ZNI_PACK_VERSION, 4);
    zni_put_le(header + 12, (uint64_t)writer->class_count, 4);
    zni_put_le(header + 16, writer->images, 8);
    zni_put_le(header + 24, writer->offset, 8);
    zni_put_le(header + 32, size, 8);
    zni_put_le(header + 40, sum, 8);
    zni_put_le(header + 48, writer->hash, 8);
    zni_put_le(header + 56, zn_fnv1a64(header, 56, ZN_FNV_START), 8);
    if (!writer->file.failed && fseek(writer->file.file, 0, SEEK_SET) != 0) {
        writer->file.failed = 1;
        zni_fail(writer->ctx, ZN_ERROR_FILE, "%s: cannot write: %s", writer->file.path, strerror(errno));
    }
    zni_replace_write(&writer->file, header, sizeof header);
    writer->finished = 1;
    if (out_hash != NULL) *out_hash = writer->hash;
    return zni_replace_end(&writer->file, 1);
}

/* ==================================================================================================================
   IMPL-MODEL  model files
   ------------------------------------------------------------------------------------------------------------------
   Whatever the format, reading makes an archive of a file: a list of named tensors that point into its bytes, and texts.
   Everything in a file is hostile until checked: offsets are, before anybody reads through them; what is read takes
   memory in proportion to the file. Names stay slices of the file.
   Sources: safetensors' format page, the zip format (APPNOTE), Python's pickletools for the opcodes, and files written
   by torch.save; proven by ../shared/golden/checkpoints.
   ================================================================================================================== */
typedef struct zni_slice { /* text that need not end in 0 */
    const char *text;
    size_t length;
} zni_slice;
static zni_slice zni_slice_of(const void *text, size_t length) {
    zni_slice s;
    s.text = (const char *)text;
    s.length = length;
    return s;
}
static int zni_slice_is(zni_slice s, const char *text) { return s.length == strlen(text) && memcmp(s.text, text, s.length) == 0; }
static int zni_slice_compare(zni_slice a, zni_slice b) {
    int order = memcmp(a.text, b.text, a.length < b.length ? a.length : b.length);
    return order != 0 ? order : a.length < b.length ? -1 : a.length > b.length;
}
static int zni_slice_begins(zni_slice s, const char *text) { return s.length >= strlen(text) && memcmp(s.text, text, strlen(text)) == 0; }
static int zni_slice_ends(zni_slice s, const char *text) {
    size_t n = strlen(text);
    return s.length >= n && memcmp(s.text + s.length - n, text, n) == 0;
}
/* For messages: at most 100 characters, control characters replaced. */
static const char *zni_slice_text(zni_slice s, char text[128]) {
    size_t i, n = s.length < 100 ? s.length : 100;
    for (i = 0; i < n; ++i) text[i] = (unsigned char)s.text[i] < 32 || s.text[i] == 127 ? '?' : s.text[i];
    text[n] = '\0';
    return text;
}

typedef enum zni_dtype { ZNI_F64, ZNI_F32, ZNI_F16, ZNI_BF16, ZNI_I64, ZNI_I32, ZNI_I16, ZNI_I8, ZNI_U8, ZNI_BOOL, ZNI_DTYPES } zni_dtype;
static const char *const zni_dtype_names[] = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"};
static const char *const zni_storage_names[] = {"DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage"};
static const size_t zni_dtype_bytes[] = {8, 4, 2, 2, 8, 4, 2, 1, 1, 1};

#define ZNI_ENTRY_DIMS 8
typedef struct zni_entry { /* one tensor of a file */
    zni_slice name;
    zni_dtype dtype;
    int dims;
    int64_t n[ZNI_ENTRY_DIMS], stride[ZNI_ENTRY_DIMS]; /* strides in values */
    const unsigned char *bytes;                        /* of the first value; all that sizes and strides reach is checked */
} zni_entry;
typedef struct zni_text_pair {
    zni_slice key, value;
} zni_text_pair;

#define ZNI_MAX_MODEL_BYTES ((size_t)1 << 30) /* of a file that is read */
typedef struct zni_archive {
    zn_ctx *ctx;
    const char *path;
    struct {
        unsigned char *bytes;
        size_t size;
    } file; /* whole in memory: a mapping would kill us when somebody shortens the file */
    zni_entry *entries;
    size_t count, capacity;
    size_t *by_name; /* indices of entries, sorted */
    zni_text_pair *pairs;
    size_t pair_count, pair_capacity;
    char *pool; /* of safetensors: unescaped texts */
    size_t pool_used;
} zni_archive;

static zn_result zni_archive_fail(zni_archive *a, zn_result code, const void *at, const char *format, ...) ZNI_PRINTF(4, 5);
static zn_result zni_archive_fail(zni_archive *a, zn_result code, const void *at, const char *format, ...) {
    char reason[600];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (at == NULL) return zni_fail(a->ctx, code, "%s: %s", a->path, reason);
    return zni_fail(a->ctx, code, "%s, byte %lu: %s", a->path, (unsigned long)((const unsigned char *)at - a->file.bytes), reason);
}
static void zni_archive_close(zni_archive *a) {
    if (a->ctx == NULL) return;
    zni_free(a->ctx, a->file.bytes);
    zni_free(a->ctx, a->entries);
    zni_free(a->ctx, a->by_name);
    zni_free(a->ctx, a->pairs);
    zni_free(a->ctx, a->pool);
    memset(a, 0, sizeof *a);
}
static zni_entry *zni_archive_add(zni_archive *a, zni_slice name) {
    void *items = a->entries;
    if (!zni_grow(a->ctx, &items, &a->capacity, a->count + 1, sizeof(zni_entry))) return NULL;
    a->entries = (zni_entry *)items;
    memset(&a->entries[a->count], 0, sizeof(zni_entry));
    a->entries[a->count].name = name;
    return &a->entries[a->count++];
}
/* Values of a shape; SIZE_MAX when that overflows or a size is negative. */
static size_t zni_entry_count(const zni_entry *e) {
    size_t count = 1;
    int i;
    for (i = 0; i < e->dims; ++i) count = e->n[i] < 0 ? SIZE_MAX : zni_size_mul(count, (uint64_t)e->n[i] > SIZE_MAX ? SIZE_MAX : (size_t)e->n[i]);
    return count;
}
/* Whether offset and strides stay inside a storage of `values` values. */
static int zni_entry_fits(const zni_entry *e, int64_t offset, uint64_t values) {
    uint64_t last;
    int i;
    if (offset < 0) return 0;
    last = (uint64_t)offset;
    for (i = 0; i < e->dims; ++i) {
        if (e->n[i] < 0 || e->stride[i] < 0) return 0;
        if (e->n[i] == 0) return (uint64_t)offset <= values;
        if (e->stride[i] > 0 && (uint64_t)(e->n[i] - 1) > (UINT64_MAX / 4 - last) / (uint64_t)e->stride[i]) return 0;
        last += (uint64_t)(e->n[i] - 1) * (uint64_t)e->stride[i];
    }
    return last < values;
}

/* ---- values ---- */
static double zni_half_value(unsigned bits) { /* IEEE 754 binary16 */
    int exponent = (int)(bits >> 10 & 31u);
    double fraction = (double)(bits & 1023u), sign = bits & 0x8000u ? -1.0 : 1.0;
    if (exponent == 31) return fraction > 0.0 ? (double)NAN : sign * HUGE_VAL;
    return sign * (exponent == 0 ? ldexp(fraction, -24) : ldexp(1024.0 + fraction, exponent - 25));
}
static double zni_dtype_value(zni_dtype dtype, const unsigned char *p) {
    uint64_t bits = zni_get_le(p, (int)zni_dtype_bytes[dtype]);
    union { uint64_t u; double d; } wide;
    union { uint32_t u; float f; } single;
    switch (dtype) {
    case ZNI_F64: wide.u = bits; return wide.d;
    case ZNI_F32: single.u = (uint32_t)bits; return (double)single.f;
    case ZNI_F16: return zni_half_value((unsigned)bits);
    case ZNI_BF16: single.u = (uint32_t)bits << 16; return (double)single.f;
    case ZNI_I64: return (double)(int64_t)bits;
    case ZNI_I32: return (double)(int32_t)(uint32_t)bits;
    case ZNI_I16: return (double)(int16_t)(uint16_t)bits;
    case ZNI_I8: return (double)(int8_t)(uint8_t)bits;
    default: return (double)bits;
    }
}
/* Writes all values row-major; to has room for zni_entry_count of them. */
static void zni_entry_read(const zni_entry *e, zn_real *to) {
    size_t count = zni_entry_count(e), width = zni_dtype_bytes[e->dtype], i;
    int64_t at[ZNI_ENTRY_DIMS] = {0}, offset = 0;
    int d;
    for (i = 0; i < count; ++i) {
        to[i] = (zn_real)zni_dtype_value(e->dtype, e->bytes + (size_t)offset * width);
        for (d = e->dims - 1; d >= 0; --d) { /* the next index, like an odometer */
            offset += e->stride[d];
            if (++at[d] < e->n[d]) break;
            offset -= e->stride[d] * e->n[d];
            at[d] = 0;
        }
    }
}

/* ---- safetensors: u64 size of a JSON text, the text, the values ---- */
typedef struct zni_json {
    zni_archive *archive;
    const char *at, *end;
    int depth;
} zni_json;

static zn_result zni_json_fail(zni_json *j, const char *what) { return zni_archive_fail(j->archive, ZN_ERROR_FORMAT, j->at, "the header is no proper JSON: %s", what); }
static char zni_json_peek(zni_json *j) {
    while (j->at < j->end && zni_is_space(*j->at)) ++j->at;
    return j->at < j->end ? *j->at : '\0';
}
static int zni_json_take(zni_json *j, char c) {
    if (zni_json_peek(j) != c) return 0;
    ++j->at;
    return 1;
}
static void zni_utf8_put(char *to, size_t *used, unsigned code) {
    if (code < 0x80) to[(*used)++] = (char)code;
    else if (code < 0x800) {
        to[(*used)++] = (char)(0xc0 | code >> 6);
        to[(*used)++] = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        to[(*used)++] = (char)(0xe0 | code >> 12);
        to[(*used)++] = (char)(0x80 | (code >> 6 & 63));
        to[(*used)++] = (char)(0x80 | (code & 63));
    } else {
        to[(*used)++] = (char)(0xf0 | code >> 18);
        to[(*used)++] = (char)(0x80 | (code >> 12 & 63));
        to[(*used)++] = (char)(0x80 | (code >> 6 & 63));
        to[(*used)++] = (char)(0x80 | (code & 63));
    }
}
static int zni_json_hex4(zni_json *j, unsigned *code) {
    int i;
    *code = 0;
    if (j->end - j->at < 4) return 0;
    for (i = 0; i < 4; ++i) {
        char c = *j->at++;
        unsigned digit = zni_is_digit(c) ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10u : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10u : 16u;
        if (digit > 15u) return 0;
        *code = *code * 16u + digit;
    }
    return 1;
}
/* After a backslash. */
static int zni_json_escape(zni_json *j, char *pool, size_t *used) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned code, low;
    const char *hit;
    char c = j->at < j->end ? *j->at++ : '\0';
    if (c != 'u') {
        hit = c != '\0' ? strchr(from, c) : NULL;
        if (hit != NULL) pool[(*used)++] = to[hit - from];
        return hit != NULL;
    }
    if (!zni_json_hex4(j, &code)) return 0;
    if (code >= 0xd800 && code < 0xdc00) {
        if (j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u') return 0;
        j->at += 2;
        if (!zni_json_hex4(j, &low) || low < 0xdc00 || low > 0xdfff) return 0;
        code = 0x10000u + ((code - 0xd800u) << 10) + (low - 0xdc00u);
    }
    zni_utf8_put(pool, used, code);
    return 1;
}
/* A text, unescaped into the pool: never longer than its source. */
static zn_result zni_json_string(zni_json *j, zni_slice *out) {
    zni_archive *a = j->archive;
    size_t begin = a->pool_used;
    if (!zni_json_take(j, '"')) return zni_json_fail(j, "a text is missing");
    while (j->at < j->end && *j->at != '"') {
        char c = *j->at++;
        if ((unsigned char)c < 32) return zni_json_fail(j, "a control character in a text");
        if (c != '\\') a->pool[a->pool_used++] = c;
        else if (!zni_json_escape(j, a->pool, &a->pool_used)) return zni_json_fail(j, "a bad escape");
    }
    if (j->at >= j->end) return zni_json_fail(j, "a text does not end");
    ++j->at;
    *out = zni_slice_of(a->pool + begin, a->pool_used - begin);
    a->pool[a->pool_used++] = '\0'; /* takes the place of a quote: metadata are ordinary texts */
    return ZN_OK;
}
static zn_result zni_json_natural(zni_json *j, int64_t *out) {
    int64_t value = 0;
    if (!zni_is_digit(zni_json_peek(j))) return zni_json_fail(j, "a number is missing");
    for (; j->at < j->end && zni_is_digit(*j->at); ++j->at) {
        if (value > (INT64_MAX - 9) / 10) return zni_json_fail(j, "a number is too large");
        value = value * 10 + (*j->at - '0');
    }
    *out = value;
    return ZN_OK;
}
/* [n, n, ...] of at most `limit` numbers. */
static zn_result zni_json_naturals(zni_json *j, int64_t *out, int limit, int *out_count) {
    *out_count = 0;
    if (!zni_json_take(j, '[')) return zni_json_fail(j, "'[' is missing");
    if (zni_json_take(j, ']')) return ZN_OK;
    do {
        if (*out_count >= limit) return zni_json_fail(j, "too many numbers");
        if (zni_json_natural(j, &out[(*out_count)++]) != ZN_OK) return j->archive->ctx->code;
    } while (zni_json_take(j, ','));
    return zni_json_take(j, ']') ? ZN_OK : zni_json_fail(j, "']' is missing");
}
/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]} */
static zn_result zni_safetensors_entry(zni_json *j, zni_slice name, const unsigned char *data, size_t size) {
    zni_archive *a = j->archive;
    zni_entry e;
    zni_slice key, dtype = zni_slice_of("", 0);
    int64_t offsets[2] = {-1, -1};
    int count = 0, seen = 0, i;
    char shown[128];
    const char *where = j->at;
    memset(&e, 0, sizeof e);
    if (!zni_json_take(j, '{')) return zni_json_fail(j, "'{' is missing");
    do {
        zn_result result = zni_json_string(j, &key);
        if (result == ZN_OK && !zni_json_take(j, ':')) return zni_json_fail(j, "':' is missing");
        if (result == ZN_OK && zni_slice_is(key, "dtype")) result = zni_json_string(j, &dtype), seen |= 1;
        else if (result == ZN_OK && zni_slice_is(key, "shape")) result = zni_json_naturals(j, e.n, ZNI_ENTRY_DIMS, &e.dims), seen |= 2;
        else if (result == ZN_OK && zni_slice_is(key, "data_offsets")) result = zni_json_naturals(j, offsets, 2, &count), seen |= 4;
        else if (result == ZN_OK) return zni_json_fail(j, "an unknown field");
        if (result != ZN_OK) return result;
    } while (zni_json_take(j, ','));
    if (!zni_json_take(j, '}')) return zni_json_fail(j, "'}' is missing");
    for (i = 0; i < ZNI_DTYPES && !zni_slice_is(dtype, zni_dtype_names[i]); ++i) {}
    if (seen != 7 || i == ZNI_DTYPES || count != 2) return zni_archive_fail(a, ZN_ERROR_FORMAT, where, "tensor %s has no known dtype, shape and offsets", zni_slice_text(name, shown));
    e.dtype = (zni_dtype)i;
    if (offsets[0] > offsets[1] || (uint64_t)offsets[1] > size || zni_size_mul(zni_entry_count(&e), zni_dtype_bytes[i]) != (uint64_t)(offsets[1] - offsets[0]))
        return zni_archive_fail(a, ZN_ERROR_FORMAT, where, "tensor %s: its bytes lie outside of the file or do not fit its shape", zni_slice_text(name, shown));
    for (count = 1, i = e.dims - 1; i >= 0; --i) e.stride[i] = i == e.dims - 1 ? 1 : e.stride[i + 1] * (e.n[i + 1] > 0 ? e.n[i + 1] : 1);
    e.bytes = data + (size_t)offsets[0];
    e.name = name;
    {
        zni_entry *slot = zni_archive_add(a, name);
        if (slot == NULL) return a->ctx->code;
        *slot = e;
    }
    return ZN_OK;
}
static zn_result zni_safetensors_metadata(zni_json *j) {
    zni_archive *a = j->archive;
    if (!zni_json_take(j, '{')) return zni_json_fail(j, "'{' is missing");
    if (zni_json_take(j, '}')) return ZN_OK;
    do {
        zni_slice key, value;
        void *items = a->pairs;
        if (zni_json_string(j, &key) != ZN_OK) return a->ctx->code;
        if (!zni_json_take(j, ':')) return zni_json_fail(j, "':' is missing");
        if (zni_json_string(j, &value) != ZN_OK) return a->ctx->code;
        if (!zni_grow(a->ctx, &items, &a->pair_capacity, a->pair_count + 1, sizeof(zni_text_pair))) return a->ctx->code;
        a->pairs = (zni_text_pair *)items;
        a->pairs[a->pair_count].key = key;
        a->pairs[a->pair_count++].value = value;
    } while (zni_json_take(j, ','));
    return zni_json_take(j, '}') ? ZN_OK : zni_json_fail(j, "'}' is missing");
}
static zn_result zni_safetensors_read(zni_archive *a) {
    uint64_t header = zni_get_le(a->file.bytes, 8);
    const unsigned char *data;
    zni_json j;
    memset(&j, 0, sizeof j);
    if (header < 2 || header > a->file.size - 8) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its header would be longer than the file");
    data = a->file.bytes + 8 + (size_t)header;
    j.archive = a;
    j.at = (const char *)a->file.bytes + 8;
    j.end = (const char *)data;
    a->pool = ZNI_NEW(a->ctx, char, (size_t)header + 1);
    if (a->pool == NULL) return a->ctx->code;
    if (!zni_json_take(&j, '{')) return zni_json_fail(&j, "'{' is missing");
    if (!zni_json_take(&j, '}')) {
        do {
            zni_slice name;
            zn_result result = zni_json_string(&j, &name);
            if (result == ZN_OK && !zni_json_take(&j, ':')) return zni_json_fail(&j, "':' is missing");
            if (result == ZN_OK) result = zni_slice_is(name, "__metadata__") ? zni_safetensors_metadata(&j) : zni_safetensors_entry(&j, name, data, a->file.size - 8 - (size_t)header);
            if (result != ZN_OK) return result;
        } while (zni_json_take(&j, ','));
        if (!zni_json_take(&j, '}')) return zni_json_fail(&j, "'}' is missing");
    }
    return zni_json_peek(&j) == '\0' ? ZN_OK : zni_json_fail(&j, "something is left over");
}

/* ---- pickle: a stack machine that builds plain values, and tensors of storages ---- */
typedef enum zni_value_kind {
    ZNI_V_NONE, ZNI_V_INT, ZNI_V_REAL, ZNI_V_TEXT, ZNI_V_MARK, ZNI_V_TUPLE, ZNI_V_LIST, ZNI_V_DICT, ZNI_V_DICT_TYPE, ZNI_V_SIZE_TYPE,
    ZNI_V_STORAGE_TYPE, ZNI_V_REBUILD, ZNI_V_PARAMETER, ZNI_V_STORAGE, ZNI_V_TENSOR
} zni_value_kind;
/* Containers are chains of links: a link holds item a (dicts: key) and item b, and the next. */
typedef struct zni_value {
    zni_value_kind kind;
    int32_t first, last;  /* containers: links; tensors: storage and sizes; storages: key */
    int32_t extra;        /* tensors: strides; storage types: dtype */
    int64_t number;       /* ints; tensors: offset; storages: values */
    zni_slice text;
} zni_value;
typedef struct zni_link {
    int32_t a, b, next;
} zni_link;
typedef struct zni_pickle {
    zni_archive *archive;
    const unsigned char *at, *end;
    zni_value *values;
    zni_link *links;
    int32_t *stack, *memo;
    size_t value_count, value_capacity, link_count, link_capacity, stack_count, stack_capacity, memo_count, memo_capacity, put_count;
} zni_pickle;
#define ZNI_PICKLE_LIMIT ((size_t)1 << 22) /* values, links, stack or memo places: far above any model's, and little memory */

static zn_result zni_pickle_fail(zni_pickle *p, const char *what) { return zni_archive_fail(p->archive, ZN_ERROR_FORMAT, p->at, "bad pickle: %s", what); }
static void zni_pickle_free(zni_pickle *p) {
    zn_ctx *ctx = p->archive->ctx;
    zni_free(ctx, p->values);
    zni_free(ctx, p->links);
    zni_free(ctx, p->stack);
    zni_free(ctx, p->memo);
    p->values = NULL;
    p->links = NULL;
    p->stack = p->memo = NULL;
    p->value_count = p->value_capacity = p->link_count = p->link_capacity = p->stack_count = p->stack_capacity = p->memo_count = p->memo_capacity = 0;
}
/* A new value, or -1. */
static int32_t zni_pickle_value(zni_pickle *p, zni_value_kind kind) {
    void *items = p->values;
    zni_value *v;
    if (p->value_count >= ZNI_PICKLE_LIMIT) return zni_pickle_fail(p, "too many values"), -1;
    if (!zni_grow(p->archive->ctx, &items, &p->value_capacity, p->value_count + 1, sizeof(zni_value))) return -1;
    p->values = (zni_value *)items;
    v = &p->values[p->value_count];
    memset(v, 0, sizeof *v);
    v->kind = kind;
    v->first = v->last = v->extra = -1;
    return (int32_t)p->value_count++;
}
static zn_result zni_pickle_push(zni_pickle *p, int32_t value) {
    void *items = p->stack;
    if (value < 0) return p->archive->ctx->code;
    if (p->stack_count >= ZNI_PICKLE_LIMIT) return zni_pickle_fail(p, "the stack is too deep");
    if (!zni_grow(p->archive->ctx, &items, &p->stack_capacity, p->stack_count + 1, sizeof(int32_t))) return p->archive->ctx->code;
    p->stack = (int32_t *)items;
    p->stack[p->stack_count++] = value;
    return ZN_OK;
}
static int32_t zni_pickle_pop(zni_pickle *p) { return p->stack_count > 0 ? p->stack[--p->stack_count] : (zni_pickle_fail(p, "nothing on the stack"), -1); }
static zn_result zni_pickle_append(zni_pickle *p, int32_t container, int32_t a, int32_t b) {
    void *items = p->links;
    zni_value *v = &p->values[container];
    if (p->link_count >= ZNI_PICKLE_LIMIT) return zni_pickle_fail(p, "too many items");
    if (!zni_grow(p->archive->ctx, &items, &p->link_capacity, p->link_count + 1, sizeof(zni_link))) return p->archive->ctx->code;
    p->links = (zni_link *)items;
    p->links[p->link_count].a = a;
    p->links[p->link_count].b = b;
    p->links[p->link_count].next = -1;
    if (v->last >= 0) p->links[v->last].next = (int32_t)p->link_count;
    else v->first = (int32_t)p->link_count;
    v->last = (int32_t)p->link_count++;
    return ZN_OK;
}
/* Place of the topmost mark, -1 when there is none. */
static ptrdiff_t zni_pickle_mark(zni_pickle *p) {
    ptrdiff_t i = (ptrdiff_t)p->stack_count - 1;
    while (i >= 0 && p->values[p->stack[i]].kind != ZNI_V_MARK) --i;
    if (i < 0) zni_pickle_fail(p, "a mark is missing");
    return i;
}
/* A tuple of the topmost `count` values. */
static zn_result zni_pickle_tuple(zni_pickle *p, size_t count, int drop_mark) {
    int32_t tuple = zni_pickle_value(p, ZNI_V_TUPLE);
    size_t i;
    if (tuple < 0 || count > p->stack_count) return tuple < 0 ? p->archive->ctx->code : zni_pickle_fail(p, "nothing on the stack");
    for (i = p->stack_count - count; i < p->stack_count; ++i)
        if (zni_pickle_append(p, tuple, p->stack[i], -1) != ZN_OK) return p->archive->ctx->code;
    p->stack_count -= count + (drop_mark ? 1 : 0);
    return zni_pickle_push(p, tuple);
}
/* Appends what stands above the topmost mark to the container below it: pairs for dicts. */
static zn_result zni_pickle_extend(zni_pickle *p, zni_value_kind kind) {
    ptrdiff_t mark = zni_pickle_mark(p);
    size_t i, step = kind == ZNI_V_DICT ? 2 : 1;
    if (mark < 0) return p->archive->ctx->code;
    if (mark < 1 || p->values[p->stack[mark - 1]].kind != kind || (p->stack_count - (size_t)mark - 1) % step != 0) return zni_pickle_fail(p, "items for something that takes none");
    for (i = (size_t)mark + 1; i < p->stack_count; i += step)
        if (zni_pickle_append(p, p->stack[mark - 1], p->stack[i], step == 2 ? p->stack[i + 1] : -1) != ZN_OK) return p->archive->ctx->code;
    p->stack_count = (size_t)mark;
    return ZN_OK;
}
/* Item i of a tuple or list, -1 past its end. */
static int32_t zni_pickle_item(const zni_pickle *p, int32_t container, int i) {
    int32_t link = container >= 0 && (p->values[container].kind == ZNI_V_TUPLE || p->values[container].kind == ZNI_V_LIST) ? p->values[container].first : -1;
    while (link >= 0 && i-- > 0) link = p->links[link].next;
    return link >= 0 ? p->links[link].a : -1;
}
static int zni_pickle_is(const zni_pickle *p, int32_t value, zni_value_kind kind) { return value >= 0 && p->values[value].kind == kind; }

/* What a pickle may name: containers, storage types and the two functions that put a tensor together. */
static zn_result zni_pickle_global(zni_pickle *p, zni_slice module, zni_slice name) {
    static const char *const dtypes[] = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"};
    zni_value_kind kind = ZNI_V_NONE;
    int32_t value;
    int i, known = 0, dtype = -1;
    char a[128], b[128];
    for (i = 0; i < ZNI_DTYPES && zni_slice_is(module, "torch"); ++i) {
        if (zni_slice_is(name, zni_storage_names[i])) dtype = i, kind = ZNI_V_STORAGE_TYPE, known = 1;
        if (zni_slice_is(name, dtypes[i])) known = 1;
    }
    if (zni_slice_is(module, "collections") && zni_slice_is(name, "OrderedDict")) kind = ZNI_V_DICT_TYPE, known = 1;
    if (zni_slice_is(module, "torch") && zni_slice_is(name, "Size")) kind = ZNI_V_SIZE_TYPE, known = 1;
    if (zni_slice_is(module, "torch._utils")) {
        if (zni_slice_is(name, "_rebuild_tensor_v2") || zni_slice_is(name, "_rebuild_tensor")) kind = ZNI_V_REBUILD, known = 1;
        if (zni_slice_is(name, "_rebuild_parameter")) kind = ZNI_V_PARAMETER, known = 1;
    }
    if (!known)
        return zni_archive_fail(p->archive, ZN_ERROR_UNSUPPORTED, p->at, "refused: the pickle names %s.%s, which no tensor needs; save a plain state_dict", zni_slice_text(module, a), zni_slice_text(name, b));
    value = zni_pickle_value(p, kind);
    if (value >= 0) p->values[value].extra = dtype;
    return zni_pickle_push(p, value);
}
/* (storage, offset, sizes, strides, ...) */
static zn_result zni_pickle_tensor(zni_pickle *p, int32_t args) {
    int32_t storage = zni_pickle_item(p, args, 0), offset = zni_pickle_item(p, args, 1), sizes = zni_pickle_item(p, args, 2), strides = zni_pickle_item(p, args, 3), tensor;
    if (!zni_pickle_is(p, storage, ZNI_V_STORAGE) || !zni_pickle_is(p, offset, ZNI_V_INT) || !zni_pickle_is(p, sizes, ZNI_V_TUPLE) || !zni_pickle_is(p, strides, ZNI_V_TUPLE))
        return zni_pickle_fail(p, "a tensor of something else than storage, offset, sizes, strides");
    tensor = zni_pickle_value(p, ZNI_V_TENSOR);
    if (tensor < 0) return p->archive->ctx->code;
    p->values[tensor].first = storage;
    p->values[tensor].last = sizes;
    p->values[tensor].extra = strides;
    p->values[tensor].number = p->values[offset].number;
    return zni_pickle_push(p, tensor);
}
static zn_result zni_pickle_reduce(zni_pickle *p) {
    int32_t args = zni_pickle_pop(p), callable = args >= 0 ? zni_pickle_pop(p) : -1, pairs, link, dict;
    if (callable < 0) return p->archive->ctx->code;
    if (!zni_pickle_is(p, args, ZNI_V_TUPLE)) return zni_pickle_fail(p, "a call without arguments");
    switch (p->values[callable].kind) {
    case ZNI_V_REBUILD: return zni_pickle_tensor(p, args);
    case ZNI_V_PARAMETER:
        if (!zni_pickle_is(p, zni_pickle_item(p, args, 0), ZNI_V_TENSOR)) return zni_pickle_fail(p, "a parameter that is no tensor");
        return zni_pickle_push(p, zni_pickle_item(p, args, 0));
    case ZNI_V_SIZE_TYPE: return zni_pickle_push(p, zni_pickle_is(p, zni_pickle_item(p, args, 0), ZNI_V_TUPLE) ? zni_pickle_item(p, args, 0) : args);
    case ZNI_V_DICT_TYPE:
        dict = zni_pickle_value(p, ZNI_V_DICT);
        pairs = zni_pickle_item(p, args, 0);
        if (dict < 0) return p->archive->ctx->code;
        for (link = zni_pickle_is(p, pairs, ZNI_V_LIST) ? p->values[pairs].first : -1; link >= 0; link = p->links[link].next)
            if (zni_pickle_append(p, dict, zni_pickle_item(p, p->links[link].a, 0), zni_pickle_item(p, p->links[link].a, 1)) != ZN_OK) return p->archive->ctx->code;
        return zni_pickle_push(p, dict);
    default: return zni_pickle_fail(p, "a call of something that cannot be called");
    }
}
/* ("storage", type, key, location, values) */
static zn_result zni_pickle_persistent(zni_pickle *p) {
    int32_t id = zni_pickle_pop(p), word, type, key, count, storage;
    if (id < 0) return p->archive->ctx->code;
    word = zni_pickle_item(p, id, 0);
    type = zni_pickle_item(p, id, 1);
    key = zni_pickle_item(p, id, 2);
    count = zni_pickle_item(p, id, 4);
    if (!zni_pickle_is(p, word, ZNI_V_TEXT) || !zni_slice_is(p->values[word].text, "storage") || !zni_pickle_is(p, type, ZNI_V_STORAGE_TYPE) ||
        !zni_pickle_is(p, key, ZNI_V_TEXT) || !zni_pickle_is(p, count, ZNI_V_INT) || zni_pickle_is(p, zni_pickle_item(p, id, 5), ZNI_V_TUPLE))
        return zni_pickle_fail(p, "a persistent value that is no plain storage");
    storage = zni_pickle_value(p, ZNI_V_STORAGE);
    if (storage < 0) return p->archive->ctx->code;
    p->values[storage].first = key;
    p->values[storage].extra = p->values[type].extra;
    p->values[storage].number = p->values[count].number;
    return zni_pickle_push(p, storage);
}

/* ---- operands ---- */
static int zni_pickle_bytes(zni_pickle *p, uint64_t size, zni_slice *out) {
    if (size > (uint64_t)(p->end - p->at)) return zni_pickle_fail(p, "it ends early"), 0;
    *out = zni_slice_of(p->at, (size_t)size);
    p->at += (size_t)size;
    return 1;
}
static int zni_pickle_number(zni_pickle *p, int bytes, uint64_t *out) {
    zni_slice s;
    if (!zni_pickle_bytes(p, (uint64_t)bytes, &s)) return 0;
    *out = zni_get_le((const unsigned char *)s.text, bytes);
    return 1;
}
static int zni_pickle_line(zni_pickle *p, zni_slice *out) {
    const unsigned char *end = (const unsigned char *)memchr(p->at, '\n', (size_t)(p->end - p->at));
    if (end == NULL) return zni_pickle_fail(p, "it ends early"), 0;
    *out = zni_slice_of(p->at, (size_t)(end - p->at));
    p->at = end + 1;
    return 1;
}
static zn_result zni_pickle_int(zni_pickle *p, int64_t number) {
    int32_t v = zni_pickle_value(p, ZNI_V_INT);
    if (v >= 0) p->values[v].number = number;
    return zni_pickle_push(p, v);
}
/* A text whose length stands in `bytes` bytes before it. */
static zn_result zni_pickle_text(zni_pickle *p, int bytes) {
    uint64_t size;
    zni_slice s;
    int32_t v;
    if (!zni_pickle_number(p, bytes, &size) || !zni_pickle_bytes(p, size, &s)) return p->archive->ctx->code;
    v = zni_pickle_value(p, ZNI_V_TEXT);
    if (v >= 0) p->values[v].text = s;
    return zni_pickle_push(p, v);
}
/* Whole number of `size` bytes, two's complement; those that do not fit keep their low 64 bits. */
static zn_result zni_pickle_long(zni_pickle *p, int length_bytes) {
    uint64_t size, value = 0;
    zni_slice s;
    size_t i;
    if (!zni_pickle_number(p, length_bytes, &size) || !zni_pickle_bytes(p, size, &s)) return p->archive->ctx->code;
    for (i = 0; i < s.length && i < 8; ++i) value |= (uint64_t)(unsigned char)s.text[i] << (8 * i);
    if (s.length > 0 && s.length < 8 && (unsigned char)s.text[s.length - 1] >= 0x80) value |= UINT64_MAX << (8 * s.length);
    return zni_pickle_int(p, (int64_t)value);
}
static zn_result zni_pickle_put(zni_pickle *p, uint64_t index) {
    void *items = p->memo;
    size_t i;
    if (p->stack_count == 0) return zni_pickle_fail(p, "nothing on the stack");
    if (index >= ZNI_PICKLE_LIMIT || index > 16 * (++p->put_count) + 65536) return zni_pickle_fail(p, "the memo is too large");
    if (index >= p->memo_count) {
        if (!zni_grow(p->archive->ctx, &items, &p->memo_capacity, (size_t)index + 1, sizeof(int32_t))) return p->archive->ctx->code;
        p->memo = (int32_t *)items;
        for (i = p->memo_count; i <= (size_t)index; ++i) p->memo[i] = -1;
        p->memo_count = (size_t)index + 1;
    }
    p->memo[index] = p->stack[p->stack_count - 1];
    return ZN_OK;
}
static zn_result zni_pickle_get(zni_pickle *p, uint64_t index) {
    if (index >= p->memo_count || p->memo[index] < 0) return zni_pickle_fail(p, "nothing in that memo place");
    return zni_pickle_push(p, p->memo[index]);
}
static zn_result zni_pickle_set_item(zni_pickle *p, zni_value_kind kind) { /* one item, without a mark */
    int32_t b = zni_pickle_pop(p), a = kind == ZNI_V_DICT && b >= 0 ? zni_pickle_pop(p) : b;
    if (b < 0 || a < 0) return p->archive->ctx->code;
    if (p->stack_count == 0 || p->values[p->stack[p->stack_count - 1]].kind != kind) return zni_pickle_fail(p, "an item for something that takes none");
    return zni_pickle_append(p, p->stack[p->stack_count - 1], a, kind == ZNI_V_DICT ? b : -1);
}

/* One opcode other than STOP. */
static zn_result zni_pickle_step(zni_pickle *p, unsigned op) {
    uint64_t n = 0;
    zni_slice a, b;
    ptrdiff_t mark;
    int32_t v;
    switch (op) {
    case 0x80: return zni_pickle_number(p, 1, &n) && n <= 5 ? ZN_OK : zni_pickle_fail(p, "unknown protocol");
    case 0x95: return zni_pickle_number(p, 8, &n) ? ZN_OK : p->archive->ctx->code; /* frames only group */
    case '(': return zni_pickle_push(p, zni_pickle_value(p, ZNI_V_MARK));
    case '0': return zni_pickle_pop(p) >= 0 ? ZN_OK : p->archive->ctx->code;
    case 'N': return zni_pickle_push(p, zni_pickle_value(p, ZNI_V_NONE));
    case 0x88: case 0x89: return zni_pickle_int(p, op == 0x88);
    case 'J': return zni_pickle_number(p, 4, &n) ? zni_pickle_int(p, (int32_t)(uint32_t)n) : p->archive->ctx->code;
    case 'K': return zni_pickle_number(p, 1, &n) ? zni_pickle_int(p, (int64_t)n) : p->archive->ctx->code;
    case 'M': return zni_pickle_number(p, 2, &n) ? zni_pickle_int(p, (int64_t)n) : p->archive->ctx->code;
    case 0x8a: return zni_pickle_long(p, 1);
    case 0x8b: return zni_pickle_long(p, 4);
    case 'G': return zni_pickle_number(p, 8, &n) ? zni_pickle_push(p, zni_pickle_value(p, ZNI_V_REAL)) : p->archive->ctx->code; /* accuracies and the like: not needed */
    case 'X': case 'T': case 'B': return zni_pickle_text(p, 4);
    case 0x8c: case 'U': case 'C': return zni_pickle_text(p, 1);
    case '}': return zni_pickle_push(p, zni_pickle_value(p, ZNI_V_DICT));
    case ']': return zni_pickle_push(p, zni_pickle_value(p, ZNI_V_LIST));
    case ')': return zni_pickle_tuple(p, 0, 0);
    case 0x85: case 0x86: case 0x87: return zni_pickle_tuple(p, op - 0x84, 0);
    case 't':
        mark = zni_pickle_mark(p);
        return mark >= 0 ? zni_pickle_tuple(p, p->stack_count - (size_t)mark - 1, 1) : p->archive->ctx->code;
    case 'a': return zni_pickle_set_item(p, ZNI_V_LIST);
    case 's': return zni_pickle_set_item(p, ZNI_V_DICT);
    case 'e': return zni_pickle_extend(p, ZNI_V_LIST);
    case 'u': return zni_pickle_extend(p, ZNI_V_DICT);
    case 'q': return zni_pickle_number(p, 1, &n) ? zni_pickle_put(p, n) : p->archive->ctx->code;
    case 'r': return zni_pickle_number(p, 4, &n) ? zni_pickle_put(p, n) : p->archive->ctx->code;
    case 0x94: return zni_pickle_put(p, p->put_count);
    case 'h': return zni_pickle_number(p, 1, &n) ? zni_pickle_get(p, n) : p->archive->ctx->code;
    case 'j': return zni_pickle_number(p, 4, &n) ? zni_pickle_get(p, n) : p->archive->ctx->code;
    case 'c': return zni_pickle_line(p, &a) && zni_pickle_line(p, &b) ? zni_pickle_global(p, a, b) : p->archive->ctx->code;
    case 0x93:
        v = zni_pickle_pop(p);
        if (!zni_pickle_is(p, v, ZNI_V_TEXT) || p->stack_count == 0) return zni_pickle_fail(p, "a name that is no text");
        b = p->values[v].text;
        v = zni_pickle_pop(p);
        return zni_pickle_is(p, v, ZNI_V_TEXT) ? zni_pickle_global(p, p->values[v].text, b) : zni_pickle_fail(p, "a name that is no text");
    case 'R': return zni_pickle_reduce(p);
    case 'b': return zni_pickle_pop(p) >= 0 ? ZN_OK : p->archive->ctx->code; /* attributes (_metadata): not needed */
    case 'Q': return zni_pickle_persistent(p);
    default: return zni_archive_fail(p->archive, ZN_ERROR_UNSUPPORTED, p->at, "refused: pickle opcode 0x%02x, which no tensor needs; save a plain state_dict", op);
    }
}
/* Runs one pickle from p->at on; its value, or -1. */
static int32_t zni_pickle_run(zni_pickle *p) {
    p->stack_count = p->memo_count = p->put_count = 0;
    while (p->at < p->end) {
        unsigned op = *p->at++;
        if (op == '.') return zni_pickle_pop(p);
        if (zni_pickle_step(p, op) != ZN_OK) return -1;
    }
    zni_pickle_fail(p, "it ends early");
    return -1;
}

/* The value of a text key in a dict; -1 when there is none. */
static int32_t zni_pickle_lookup(const zni_pickle *p, int32_t dict, const char *key) {
    int32_t link;
    if (!zni_pickle_is(p, dict, ZNI_V_DICT)) return -1;
    for (link = p->values[dict].first; link >= 0; link = p->links[link].next)
        if (zni_pickle_is(p, p->links[link].a, ZNI_V_TEXT) && zni_slice_is(p->values[p->links[link].a].text, key)) return p->links[link].b;
    return -1;
}
/* Where the bytes of a storage are. */
typedef struct zni_storages {
    int (*find)(const struct zni_storages *s, zni_slice key, const unsigned char **out_bytes, size_t *out_size);
    const void *items; /* sorted by key */
    size_t count;
} zni_storages;

static zn_result zni_pickle_entry(zni_pickle *p, zni_slice name, const zni_value *t, const zni_storages *storages) {
    zni_archive *a = p->archive;
    const zni_value *storage = &p->values[t->first];
    zni_slice key = p->values[storage->first].text;
    zni_entry *e;
    const unsigned char *bytes;
    size_t size;
    int i;
    char shown[128];
    if (!storages->find(storages, key, &bytes, &size)) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "tensor %s: its storage is not in the file", zni_slice_text(name, shown));
    e = zni_archive_add(a, name);
    if (e == NULL) return a->ctx->code;
    e->dtype = (zni_dtype)storage->extra;
    for (i = 0; i <= ZNI_ENTRY_DIMS && zni_pickle_item(p, t->last, i) >= 0; ++i) {
        int32_t n = zni_pickle_item(p, t->last, i), stride = zni_pickle_item(p, t->extra, i);
        if (i == ZNI_ENTRY_DIMS || !zni_pickle_is(p, n, ZNI_V_INT) || !zni_pickle_is(p, stride, ZNI_V_INT))
            return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "tensor %s: bad sizes or strides", zni_slice_text(name, shown));
        e->n[i] = p->values[n].number;
        e->stride[i] = p->values[stride].number;
    }
    e->dims = i;
    if (storage->number < 0 || (uint64_t)storage->number > size / zni_dtype_bytes[e->dtype] || !zni_entry_fits(e, t->number, (uint64_t)storage->number))
        return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "tensor %s reaches past its storage", zni_slice_text(name, shown));
    e->bytes = bytes + (size_t)t->number * zni_dtype_bytes[e->dtype];
    return ZN_OK;
}
/* The state_dict inside of root, whatever is around it. */
static zn_result zni_pickle_entries(zni_pickle *p, int32_t root, const zni_storages *storages) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "net"};
    int i = 0, rounds = 0;
    int32_t link;
    while (i < 4 && rounds++ < 8) {
        int32_t inner = zni_pickle_lookup(p, root, wrappers[i]);
        if (zni_pickle_is(p, inner, ZNI_V_DICT)) root = inner, i = 0;
        else ++i;
    }
    if (!zni_pickle_is(p, root, ZNI_V_DICT)) return zni_archive_fail(p->archive, ZN_ERROR_FORMAT, NULL, "it holds no dict of tensors");
    for (link = p->values[root].first; link >= 0; link = p->links[link].next) {
        const zni_link *l = &p->links[link];
        if (!zni_pickle_is(p, l->a, ZNI_V_TEXT) || !zni_pickle_is(p, l->b, ZNI_V_TENSOR)) continue;
        if (zni_pickle_entry(p, p->values[l->a].text, &p->values[l->b], storages) != ZN_OK) return p->archive->ctx->code;
    }
    return ZN_OK;
}

/* ---- zip, as torch.save writes it: nothing compressed ---- */
typedef struct zni_zip_file {
    zni_slice name;
    const unsigned char *bytes;
    size_t size;
} zni_zip_file;

static int zni_zip_compare(const void *a, const void *b) { return zni_slice_compare(((const zni_zip_file *)a)->name, ((const zni_zip_file *)b)->name); }

typedef struct zni_zip_directory {
    size_t offset, size;
    uint64_t entries;
} zni_zip_directory;
/* Finds the central directory through the record that ends the file (and its 64-bit twin before it). */
static zn_result zni_zip_locate(zni_archive *a, zni_zip_directory *d) {
    const unsigned char *b = a->file.bytes;
    size_t n = a->file.size, at, lowest = n > 65557 ? n - 65557 : 0;
    uint64_t offset, size, entries, end64;
    for (at = n >= 22 ? n - 22 : 0; n >= 22 && memcmp(b + at, "PK\5\6", 4) != 0; --at)
        if (at == lowest) break;
    if (n < 22 || memcmp(b + at, "PK\5\6", 4) != 0) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "refused: a zip file without central directory; it is cut short");
    entries = zni_get_le(b + at + 10, 2);
    size = zni_get_le(b + at + 12, 4);
    offset = zni_get_le(b + at + 16, 4);
    if (at >= 20 && memcmp(b + at - 20, "PK\6\7", 4) == 0 && (offset == 0xffffffffu || entries == 0xffffu || size == 0xffffffffu)) {
        end64 = zni_get_le(b + at - 12, 8);
        if (end64 > n - 56 || n < 56 || memcmp(b + (size_t)end64, "PK\6\6", 4) != 0) return zni_archive_fail(a, ZN_ERROR_FORMAT, b + at, "the zip64 record is not where it should be");
        entries = zni_get_le(b + (size_t)end64 + 32, 8);
        size = zni_get_le(b + (size_t)end64 + 40, 8);
        offset = zni_get_le(b + (size_t)end64 + 48, 8);
    }
    if (offset > n || size > n - offset || entries > size / 46) return zni_archive_fail(a, ZN_ERROR_FORMAT, b + at, "the central directory lies outside of the file");
    d->offset = (size_t)offset;
    d->size = (size_t)size;
    d->entries = entries;
    return ZN_OK;
}
/* 64-bit values of a central record stand in its extra field, in order, for those that are 0xffffffff. */
static uint64_t zni_zip_wide(const unsigned char *extra, size_t size, int which) {
    size_t at = 0;
    while (at + 4 <= size) {
        size_t length = (size_t)zni_get_le(extra + at + 2, 2);
        if (length > size - at - 4) break;
        if (zni_get_le(extra + at, 2) == 1) return length >= 8 * (size_t)(which + 1) ? zni_get_le(extra + at + 4 + 8 * (size_t)which, 8) : UINT64_MAX;
        at += 4 + length;
    }
    return UINT64_MAX;
}
static zn_result zni_zip_record(zni_archive *a, const unsigned char *r, size_t left, zni_zip_file *file, size_t *out_length) {
    size_t name, extra, comment;
    uint64_t packed, size, offset, n = a->file.size;
    const unsigned char *extras, *local;
    int wide = 0;
    if (left < 46 || memcmp(r, "PK\1\2", 4) != 0) return zni_archive_fail(a, ZN_ERROR_FORMAT, r, "a record of the central directory is damaged");
    name = (size_t)zni_get_le(r + 28, 2);
    extra = (size_t)zni_get_le(r + 30, 2);
    comment = (size_t)zni_get_le(r + 32, 2);
    if (name + extra + comment > left - 46) return zni_archive_fail(a, ZN_ERROR_FORMAT, r, "a record of the central directory is damaged");
    *out_length = 46 + name + extra + comment;
    file->name = zni_slice_of(r + 46, name);
    extras = r + 46 + name;
    if (zni_slice_ends(file->name, "/constants.pkl") || zni_slice_ends(file->name, ".py")) return zni_archive_fail(a, ZN_ERROR_UNSUPPORTED, r, "refused: a TorchScript archive; save the model's state_dict");
    if (zni_get_le(r + 10, 2) != 0) return zni_archive_fail(a, ZN_ERROR_UNSUPPORTED, r, "refused: the zip file is compressed; torch.save writes it plain");
    packed = zni_get_le(r + 20, 4);
    size = zni_get_le(r + 24, 4);
    offset = zni_get_le(r + 42, 4);
    if (size == 0xffffffffu) size = zni_zip_wide(extras, extra, wide++);
    if (packed == 0xffffffffu) packed = zni_zip_wide(extras, extra, wide++);
    if (offset == 0xffffffffu) offset = zni_zip_wide(extras, extra, wide);
    if (n < 30 || offset > n - 30 || memcmp(a->file.bytes + (size_t)offset, "PK\3\4", 4) != 0) return zni_archive_fail(a, ZN_ERROR_FORMAT, r, "a file of the zip is not where it should be");
    local = a->file.bytes + (size_t)offset;
    offset += 30 + zni_get_le(local + 26, 2) + zni_get_le(local + 28, 2);
    if (packed != size || offset > n || size > n - offset) return zni_archive_fail(a, ZN_ERROR_FORMAT, r, "a file of the zip reaches past its end");
    file->bytes = a->file.bytes + (size_t)offset;
    file->size = (size_t)size;
    return ZN_OK;
}
/* Storage key: the file whose name ends in /data/KEY. All names begin alike, so cutting that off keeps their order. */
static int zni_zip_storage(const zni_storages *s, zni_slice key, const unsigned char **out_bytes, size_t *out_size) {
    const zni_zip_file *files = (const zni_zip_file *)s->items;
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = zni_slice_compare(files[middle].name, key);
        if (order == 0) {
            *out_bytes = files[middle].bytes;
            *out_size = files[middle].size;
            return 1;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return 0;
}
static zn_result zni_zip_files(zni_archive *a, zni_zip_file *files, const zni_zip_directory *d, zni_slice *out_pickle, size_t *out_storages) {
    const unsigned char *at = a->file.bytes + d->offset, *end = at + d->size;
    uint64_t i;
    size_t length, root, kept = 0;
    zni_zip_file f;
    *out_pickle = zni_slice_of(NULL, 0);
    for (i = 0; i < d->entries; ++i, at += length) { /* first the pickle: its name says what the others begin with */
        if (zni_zip_record(a, at, (size_t)(end - at), &f, &length) != ZN_OK) return a->ctx->code;
        if (zni_slice_ends(f.name, "/byteorder") && f.size == 3 && memcmp(f.bytes, "big", 3) == 0) return zni_archive_fail(a, ZN_ERROR_UNSUPPORTED, NULL, "refused: values in big-endian order");
        if (!zni_slice_ends(f.name, "/data.pkl") || out_pickle->text != NULL) continue;
        *out_pickle = zni_slice_of(f.bytes, f.size);
        files[0] = f;
    }
    if (out_pickle->text == NULL) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "a zip file without data.pkl is no PyTorch checkpoint");
    root = files[0].name.length - strlen("data.pkl");
    f = files[0];
    for (i = 0, at = a->file.bytes + d->offset; i < d->entries; ++i, at += length) {
        zni_zip_file *to = &files[kept];
        zni_slice begin = f.name;
        if (zni_zip_record(a, at, (size_t)(end - at), to, &length) != ZN_OK) return a->ctx->code;
        if (to->name.length <= root + 5 || memcmp(to->name.text, begin.text, root) != 0 || memcmp(to->name.text + root, "data/", 5) != 0) continue;
        to->name = zni_slice_of(to->name.text + root + 5, to->name.length - root - 5);
        ++kept;
    }
    if (kept > 1) qsort(files, kept, sizeof *files, zni_zip_compare);
    *out_storages = kept;
    return ZN_OK;
}
static zn_result zni_zip_read(zni_archive *a) {
    zni_zip_directory d;
    zni_zip_file *files;
    zni_storages storages;
    zni_slice pickle;
    zni_pickle p;
    int32_t root;
    memset(&d, 0, sizeof d);
    if (zni_zip_locate(a, &d) != ZN_OK) return a->ctx->code;
    files = ZNI_NEW(a->ctx, zni_zip_file, (size_t)d.entries + 1);
    if (files == NULL) return a->ctx->code;
    storages.find = zni_zip_storage;
    storages.items = files;
    memset(&p, 0, sizeof p);
    p.archive = a;
    if (zni_zip_files(a, files, &d, &pickle, &storages.count) == ZN_OK) {
        p.at = (const unsigned char *)pickle.text;
        p.end = p.at + pickle.length;
        root = zni_pickle_run(&p);
        if (root >= 0) zni_pickle_entries(&p, root, &storages);
        zni_pickle_free(&p);
    }
    zni_free(a->ctx, files);
    return a->ctx->code;
}

/* ---- the format before zip: pickles of magic number, version, machine, value, storage keys; then the storages ---- */
/* Types of all storages that the pickle speaks of, sorted by key: size is the width of one value. */
static zni_zip_file *zni_legacy_widths(zni_pickle *p, size_t *out_count) {
    zni_zip_file *widths = ZNI_NEW(p->archive->ctx, zni_zip_file, p->value_count + 1);
    size_t i, count = 0;
    for (i = 0; widths != NULL && i < p->value_count; ++i) {
        if (p->values[i].kind != ZNI_V_STORAGE) continue;
        widths[count].name = p->values[p->values[i].first].text;
        widths[count].bytes = NULL;
        widths[count++].size = zni_dtype_bytes[p->values[i].extra];
    }
    if (count > 1) qsort(widths, count, sizeof *widths, zni_zip_compare);
    *out_count = count;
    return widths;
}
/* Each storage is an i64 number of values and the values; their type stands in the pickle, at the storage of that key. */
static zn_result zni_legacy_storages(zni_archive *a, zni_pickle *p, int32_t keys, zni_zip_file *files, size_t *out_count) {
    zni_storages widths;
    const unsigned char *none;
    zni_zip_file *items = zni_legacy_widths(p, &widths.count);
    size_t width;
    int32_t link;
    *out_count = 0;
    if (items == NULL) return a->ctx->code;
    widths.items = items;
    for (link = p->values[keys].first; link >= 0; link = p->links[link].next) {
        uint64_t values = p->end - p->at < 8 ? UINT64_MAX : zni_get_le(p->at, 8);
        zni_slice key = zni_slice_of("", 0);
        if (zni_pickle_is(p, p->links[link].a, ZNI_V_TEXT)) key = p->values[p->links[link].a].text;
        if (!zni_zip_storage(&widths, key, &none, &width)) {
            zni_archive_fail(a, ZN_ERROR_FORMAT, p->at, "a storage belongs to no tensor");
            break;
        }
        if (values == UINT64_MAX || values > (uint64_t)(p->end - p->at - 8) / width) {
            zni_archive_fail(a, ZN_ERROR_FORMAT, p->at, "a storage ends early: the file is cut short");
            break;
        }
        files[*out_count].name = key;
        files[*out_count].bytes = p->at + 8;
        files[(*out_count)++].size = (size_t)values * width;
        p->at += 8 + (size_t)values * width;
    }
    zni_free(a->ctx, items);
    if (*out_count > 1) qsort(files, *out_count, sizeof *files, zni_zip_compare);
    return a->ctx->code;
}
static zn_result zni_legacy_read(zni_archive *a) {
    static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    const unsigned char *end = a->file.bytes + a->file.size;
    zni_pickle p;
    zni_storages storages;
    zni_zip_file *files = NULL;
    int32_t root = -1, keys = -1;
    size_t count = 0;
    int32_t link;
    memset(&p, 0, sizeof p);
    p.archive = a;
    p.at = a->file.bytes;
    p.end = end;
    if (a->file.size > 16 && a->file.bytes[2] == 0x8a && a->file.bytes[3] == 10 && memcmp(a->file.bytes + 4, magic, 10) == 0) {
        zni_pickle_run(&p); /* the number itself */
        if (a->ctx->code == ZN_OK) zni_pickle_run(&p);
        if (a->ctx->code == ZN_OK) root = zni_pickle_run(&p);
        if (root >= 0 && zni_pickle_is(&p, zni_pickle_lookup(&p, root, "little_endian"), ZNI_V_INT) && p.values[zni_pickle_lookup(&p, root, "little_endian")].number == 0)
            zni_archive_fail(a, ZN_ERROR_UNSUPPORTED, NULL, "refused: values in big-endian order");
        root = a->ctx->code == ZN_OK ? zni_pickle_run(&p) : -1;
        keys = root >= 0 ? zni_pickle_run(&p) : -1;
    } else if (zni_pickle_run(&p) >= 0) { /* says by name what it refuses */
        zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "a pickle, but no PyTorch checkpoint");
    }
    for (link = keys >= 0 && p.values[keys].kind == ZNI_V_LIST ? p.values[keys].first : -1; link >= 0; link = p.links[link].next) ++count;
    if (keys >= 0) files = ZNI_NEW(a->ctx, zni_zip_file, count + 1);
    if (files != NULL && zni_legacy_storages(a, &p, keys, files, &storages.count) == ZN_OK) {
        storages.find = zni_zip_storage;
        storages.items = files;
        zni_pickle_entries(&p, root, &storages);
    }
    zni_free(a->ctx, files);
    zni_pickle_free(&p);
    return a->ctx->code;
}
/* ---- any of them ---- */
static zn_result zni_archive_sort(zni_archive *a) {
    size_t i, gap, j;
    char shown[128];
    a->by_name = ZNI_NEW(a->ctx, size_t, a->count + 1);
    if (a->by_name == NULL) return a->ctx->code;
    for (i = 0; i < a->count; ++i) {
        zni_slice *name = &a->entries[i].name;
        if (zni_slice_begins(*name, "module.")) *name = zni_slice_of(name->text + 7, name->length - 7); /* DataParallel's */
        a->by_name[i] = i;
    }
    for (gap = a->count / 2; gap > 0; gap /= 2) /* shell sort: qsort cannot see the entries */
        for (i = gap; i < a->count; ++i) {
            size_t moved = a->by_name[i];
            for (j = i; j >= gap && zni_slice_compare(a->entries[a->by_name[j - gap]].name, a->entries[moved].name) > 0; j -= gap) a->by_name[j] = a->by_name[j - gap];
            a->by_name[j] = moved;
        }
    for (i = 1; i < a->count; ++i)
        if (zni_slice_compare(a->entries[a->by_name[i - 1]].name, a->entries[a->by_name[i]].name) == 0)
            return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "tensor %s stands there twice", zni_slice_text(a->entries[a->by_name[i]].name, shown));
    return ZN_OK;
}
static const zni_entry *zni_archive_find(const zni_archive *a, const char *name) {
    zni_slice key = zni_slice_of(name, strlen(name));
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = zni_slice_compare(a->entries[a->by_name[middle]].name, key);
        if (order == 0) return &a->entries[a->by_name[middle]];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}
/* A text of the metadata; NULL when there is none. */
static const char *zni_archive_text(const zni_archive *a, const char *key) {
    size_t i;
    for (i = 0; i < a->pair_count; ++i)
        if (zni_slice_is(a->pairs[i].key, key)) return a->pairs[i].value.text;
    return NULL;
}
/* path must live as long as the archive. Close it also when this fails. */
static zn_result zni_archive_open(zn_ctx *ctx, const char *path, zni_archive *a) {
    const unsigned char *b;
    zn_result result;
    memset(a, 0, sizeof *a);
    if (ctx->code != ZN_OK) return ctx->code;
    a->ctx = ctx;
    a->path = path;
    if (zni_file_read(ctx, path, ZNI_MAX_MODEL_BYTES, &a->file.bytes, &a->file.size) != ZN_OK) return ctx->code;
    b = a->file.bytes;
    if (a->file.size >= 4 && memcmp(b, "PK\3\4", 4) == 0) result = zni_zip_read(a);
    else if (a->file.size >= 10 && b[8] == '{') result = zni_safetensors_read(a);
    else if (a->file.size >= 3 && b[0] == 0x80) result = zni_legacy_read(a);
    else return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "neither safetensors nor a PyTorch checkpoint");
    return result == ZN_OK ? zni_archive_sort(a) : result;
}

/* ---- tensors into a network ---- */
/* Equal sizes, those of 1 left out: a gate may be k or 1 x k x 1 x 1. */
static int zni_entry_shaped(const zni_entry *e, zn_shape s) {
    int i = 0, j = 0;
    for (;;) {
        while (i < e->dims && e->n[i] == 1) ++i;
        while (j < s.dims && s.n[j] == 1) ++j;
        if (i == e->dims || j == s.dims) return i == e->dims && j == s.dims;
        if (e->n[i++] != s.n[j++]) return 0;
    }
}
static const char *zni_entry_shape_text(const zni_entry *e, char *text, size_t size) {
    size_t used = 0;
    int i;
    text[0] = '\0';
    for (i = 0; i < e->dims && used + 24 < size; ++i) used += (size_t)snprintf(text + used, size - used, "%s%ld", i > 0 ? "x" : "", (long)e->n[i]);
    return text;
}
typedef struct zni_loading {
    const zn_load_opts *opts;
    zn_load_report report;
    char first[400]; /* the first few names that do not fit */
} zni_loading;
static void zni_loading_skip(zni_loading *l, zn_load_skip why, const char *name, const char *detail) {
    static const char *const words[] = {"missing", "unexpected", "misshaped"};
    int *count = why == ZN_SKIP_MISSING ? &l->report.missing : why == ZN_SKIP_UNEXPECTED ? &l->report.unexpected : &l->report.misshaped;
    size_t used = strlen(l->first);
    if (++*count <= 3) snprintf(l->first + used, sizeof l->first - used, "%s%s %.80s%s%s", used > 0 ? "; " : "", words[why], name, *detail != '\0' ? " " : "", detail);
    if (l->opts->on_skip != NULL) l->opts->on_skip(why, name, detail, l->opts->user);
}
static int zni_entry_is_state(const zni_entry *e) { return zni_slice_ends(e->name, "num_batches_tracked") || zni_slice_begins(e->name, "train."); }

/* Compares names and shapes without loading anything. */
static void zni_loading_compare(zni_loading *l, const zni_archive *a, const zn_net *net) {
    char text[128], detail[192], shape[64];
    size_t i;
    int k;
    for (k = 0; k < net->count; ++k) {
        const zni_entry *e = zni_archive_find(a, net->tensors[k]->name);
        if (e == NULL) zni_loading_skip(l, ZN_SKIP_MISSING, net->tensors[k]->name, "");
        else if (!zni_entry_shaped(e, net->tensors[k]->shape)) {
            snprintf(detail, sizeof detail, "(%s in the file, %s here)", zni_entry_shape_text(e, text, sizeof text), zni_shape_text(net->tensors[k]->shape, shape));
            zni_loading_skip(l, ZN_SKIP_MISSHAPED, net->tensors[k]->name, detail);
        } else {
            ++l->report.loaded;
            l->report.half += e->dtype == ZNI_F16 || e->dtype == ZNI_BF16;
        }
    }
    for (i = 0; i < a->count; ++i) {
        char name[128];
        int known = zni_entry_is_state(&a->entries[i]);
        for (k = 0; k < net->count && !known; ++k) known = zni_slice_is(a->entries[i].name, net->tensors[k]->name);
        if (!known) zni_loading_skip(l, ZN_SKIP_UNEXPECTED, zni_slice_text(a->entries[i].name, name), "");
    }
}
static zn_result zni_net_take(zn_net *net, const zni_archive *a, const zn_load_opts *opts, zn_load_report *out_report) {
    zn_load_opts strict;
    zni_loading l;
    int k;
    memset(&strict, 0, sizeof strict);
    memset(&l, 0, sizeof l);
    l.opts = opts != NULL ? opts : &strict;
    zni_loading_compare(&l, a, net);
    if (out_report != NULL) *out_report = l.report;
    if (!l.opts->transfer && l.report.missing + l.report.unexpected + l.report.misshaped > 0)
        return zni_fail(net->ctx, ZN_ERROR_MISMATCH, "%s: %d tensors fit, %d missing, %d unexpected, %d misshaped: %s", a->path, l.report.loaded, l.report.missing, l.report.unexpected, l.report.misshaped, l.first);
    for (k = 0; k < net->count; ++k) {
        const zni_entry *e = zni_archive_find(a, net->tensors[k]->name);
        if (e != NULL && zni_entry_shaped(e, net->tensors[k]->shape)) zni_entry_read(e, net->tensors[k]->data);
    }
    return ZN_OK;
}
ZN_API zn_result zn_net_load_tensors(zn_net *net, const char *path, const zn_load_opts *opts, zn_load_report *out_report) {
    zni_archive a;
    zn_result result;
    if (out_report != NULL) memset(out_report, 0, sizeof *out_report);
    if (net == NULL || path == NULL) return zni_null(zn_net_ctx(net), "zn_net_load_tensors");
    result = zni_archive_open(net->ctx, path, &a);
    if (result == ZN_OK) result = zni_net_take(net, &a, opts, out_report);
    zni_archive_close(&a);
    return result;
}
ZN_API zn_result zn_net_load_checkpoint(zn_ctx *ctx, const char *path, const zn_net_opts *opts, zn_net **out_net) {
    zni_archive a;
    zn_net_opts o = opts != NULL ? *opts : zn_net_opts_default();
    zn_net *net = NULL;
    int k, fits = 0;
    if (out_net != NULL) *out_net = NULL;
    if (ctx == NULL || path == NULL || out_net == NULL) return zni_null(ctx, "zn_net_load_checkpoint");
    if (zni_archive_open(ctx, path, &a) == ZN_OK) {
        const zni_entry *head = zni_archive_find(&a, "fc_linear.netblock.weight");
        if (o.classes == 0 && head != NULL && head->dims == 2 && head->n[0] <= ZN_MAX_CLASSES) o.classes = (int)head->n[0];
        for (k = ZN_PROJECTION_ZENNAS; k >= ZN_PROJECTION_FACE && !fits; --k) {
            int i;
            o.projection = k == ZN_PROJECTION_ZENNAS ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
            zn_net_destroy(net);
            if (zn_net_create(ctx, &o, &net) != ZN_OK) break;
            for (i = 0, fits = 1; i < net->count; ++i) fits = fits && zni_archive_find(&a, net->tensors[i]->name) != NULL;
        }
        if (net != NULL && zni_net_take(net, &a, NULL, NULL) == ZN_OK) {
            *out_net = net;
            net = NULL;
        }
    }
    zn_net_destroy(net);
    zni_archive_close(&a);
    return ctx->code;
}
ZN_API zn_result zn_file_list(zn_ctx *ctx, const char *path, void (*on_tensor)(const char *name, const char *dtype, const int64_t *sizes, int dims, void *user),
                              void (*on_metadata)(const char *key, const char *value, void *user), void *user) {
    zni_archive a;
    zn_result result;
    size_t i;
    if (ctx == NULL || path == NULL) return zni_null(ctx, "zn_file_list");
    result = zni_archive_open(ctx, path, &a);
    for (i = 0; result == ZN_OK && on_metadata != NULL && i < a.pair_count; ++i) on_metadata(a.pairs[i].key.text, a.pairs[i].value.text, user);
    for (i = 0; result == ZN_OK && on_tensor != NULL && i < a.count; ++i) {
        char name[128];
        on_tensor(zni_slice_text(a.entries[i].name, name), zni_dtype_names[a.entries[i].dtype], a.entries[i].n, a.entries[i].dims, user);
    }
    zni_archive_close(&a);
    return result;
}

/* ---- writing ---- */
/* Collects texts and tensors (whose values must live until the end), then writes the file in one go. */
typedef struct zni_store {
    zn_ctx *ctx;
    zni_text metadata, header;
    struct { const zn_real *data; size_t bytes; } *parts;
    size_t count, capacity, offset;
    int sealed; /* with a checksum of the whole file, itself taken as zeros, as the last of the metadata */
} zni_store;
#define ZNI_SEAL_KEY "train.checksum"
#define ZNI_SEAL_BEFORE "\"" ZNI_SEAL_KEY "\":\"" /* in the header; in texts their quotes are escaped */
#define ZNI_SEAL_ZEROS "0000000000000000"

static void zni_store_begin(zni_store *s, zn_ctx *ctx) {
    memset(s, 0, sizeof *s);
    s->ctx = s->metadata.ctx = s->header.ctx = ctx;
}
static void zni_text_json(zni_text *t, const char *text) { /* quoted and escaped; U+FFFD for what is not UTF-8 */
    size_t bytes;
    zni_text_append(t, "\"", 1);
    for (; *text != '\0'; text += bytes > 0 ? bytes : 1) {
        bytes = zni_utf8(text);
        if (*text == '"' || *text == '\\') zni_text_format(t, "\\%c", *text);
        else if ((unsigned char)*text < 32) zni_text_format(t, "\\u%04x", (unsigned)(unsigned char)*text);
        else if (bytes == 0) zni_text_append(t, "\\ufffd", 6);
        else zni_text_append(t, text, bytes);
    }
    zni_text_append(t, "\"", 1);
}
static void zni_store_text(zni_store *s, const char *key, const char *value) {
    zni_text_append(&s->metadata, ",", s->metadata.length > 0);
    zni_text_json(&s->metadata, key);
    zni_text_append(&s->metadata, ":", 1);
    zni_text_json(&s->metadata, value);
}
static void zni_store_tensor(zni_store *s, const char *name, zn_shape shape, const zn_real *data) {
    void *items = s->parts;
    size_t bytes = zni_shape_count(shape) * sizeof(zn_real);
    int i;
    zni_text_append(&s->header, ",", 1);
    zni_text_json(&s->header, name);
    zni_text_format(&s->header, ":{\"dtype\":\"%s\",\"shape\":[", sizeof(zn_real) == 8 ? "F64" : "F32");
    for (i = 0; i < shape.dims; ++i) zni_text_format(&s->header, "%s%d", i > 0 ? "," : "", shape.n[i]);
    zni_text_format(&s->header, "],\"data_offsets\":[%lu,%lu]}", (unsigned long)s->offset, (unsigned long)(s->offset + bytes));
    if (!zni_grow(s->ctx, &items, &s->capacity, s->count + 1, sizeof *s->parts)) {
        s->header.failed = 1;
        return;
    }
    memcpy(&s->parts, &items, sizeof items);
    s->parts[s->count].data = data;
    s->parts[s->count++].bytes = bytes;
    s->offset += bytes;
}
/* Little endian, whatever the machine. to_file NULL: only into the checksum. */
static void zni_store_bytes(zni_replace *to_file, uint64_t *sum, const void *bytes, size_t size) {
    if (to_file != NULL) zni_replace_write(to_file, bytes, size);
    else *sum = zn_fnv1a64(bytes, size, *sum);
}
static void zni_store_values(zni_replace *to_file, uint64_t *sum, const zn_real *data, size_t bytes) {
    static const union { uint16_t u; unsigned char first; } probe = {1};
    unsigned char buffer[4096];
    size_t i, k, width = sizeof(zn_real);
    if (probe.first == 1) {
        zni_store_bytes(to_file, sum, data, bytes);
        return;
    }
    for (i = 0; i < bytes; i += width) {
        const unsigned char *from = (const unsigned char *)data + i;
        for (k = 0; k < width; ++k) buffer[k] = from[width - 1 - k];
        zni_store_bytes(to_file, sum, buffer, width);
    }
}
/* Writes the file and frees the store, also after a failure. */
static zn_result zni_store_end(zni_store *s, const char *path) {
    zni_text whole;
    zni_replace r;
    unsigned char size[8];
    size_t i, seal;
    uint64_t sum = ZN_FNV_START;
    char digits[20];
    memset(&whole, 0, sizeof whole);
    whole.ctx = s->ctx;
    if (s->sealed) zni_store_text(s, ZNI_SEAL_KEY, ZNI_SEAL_ZEROS);
    seal = s->metadata.length; /* where its digits are: 17 characters come before, 17 are behind their begin */
    zni_text_append(&whole, "{\"__metadata__\":{", 17);
    if (s->metadata.length > 0) zni_text_append(&whole, s->metadata.chars, s->metadata.length);
    zni_text_append(&whole, "}", 1);
    if (s->header.length > 0) zni_text_append(&whole, s->header.chars, s->header.length);
    zni_text_append(&whole, "}", 1);
    while (!whole.failed && whole.length % 8 != 0) zni_text_append(&whole, " ", 1); /* values begin aligned */
    if (!whole.failed && !s->metadata.failed && !s->header.failed && zni_replace_begin(&r, s->ctx, path) == ZN_OK) {
        zni_put_le(size, whole.length, 8);
        if (s->sealed) {
            sum = zn_fnv1a64(whole.chars, whole.length, sum);
            for (i = 0; i < s->count; ++i) zni_store_values(NULL, &sum, s->parts[i].data, s->parts[i].bytes);
            snprintf(digits, sizeof digits, "%08lx%08lx", (unsigned long)(sum >> 32), (unsigned long)(sum & 0xffffffffu));
            memcpy(whole.chars + seal, digits, 16);
        }
        zni_replace_write(&r, size, 8);
        zni_replace_write(&r, whole.chars, whole.length);
        for (i = 0; i < s->count; ++i) zni_store_values(&r, NULL, s->parts[i].data, s->parts[i].bytes);
        zni_replace_end(&r, 1);
    }
    zni_free(s->ctx, whole.chars);
    zni_free(s->ctx, s->metadata.chars);
    zni_free(s->ctx, s->header.chars);
    zni_free(s->ctx, s->parts);
    return s->ctx->code;
}

/* ---- a network and its description ---- */
#define ZNI_MODEL_VERSION "1"
static const char *const zni_projection_names[] = {"face", "zennas"};
static const char *const zni_filter_names[] = {"bicubic", "bilinear"};

/* The description that makes a file complete, pair by pair: into model files, and into exports. 0 when memory is out. */
typedef void (*zni_pair_fn)(void *user, const char *key, const char *value);
static void zni_pairs_number(zni_pair_fn pair, void *user, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    pair(user, key, text);
}
static void zni_pairs_input(const zn_input *in, zni_pair_fn pair, void *user) {
    char key[32];
    int i;
    zni_pairs_number(pair, user, "input_size", in->size);
    zni_pairs_number(pair, user, "input_resize", in->resize);
    pair(user, "input_filter", zni_filter_names[in->filter]);
    pair(user, "input_channels", in->bgr ? "bgr" : "rgb");
    for (i = 0; i < 3; ++i) {
        snprintf(key, sizeof key, "input_mean_%d", i);
        zni_pairs_number(pair, user, key, in->mean[i]);
        snprintf(key, sizeof key, "input_std_%d", i);
        zni_pairs_number(pair, user, key, in->std[i]);
    }
}
static int zni_pairs_net(const zn_net *net, const zn_input *in, zni_pair_fn pair, void *user) {
    const zn_net_opts *o = &net->opts;
    zni_text names;
    int i;
    memset(&names, 0, sizeof names);
    names.ctx = net->ctx;
    pair(user, "zennet", ZNI_MODEL_VERSION);
    pair(user, "structure", o->structure);
    for (i = 0; i < o->classes; ++i) {
        zni_text_append(&names, i > 0 ? "," : "[", 1);
        zni_text_json(&names, net->class_names[i]);
    }
    zni_text_append(&names, "]", 1);
    if (!names.failed) pair(user, "classes", names.chars);
    zni_free(net->ctx, names.chars);
    pair(user, "attention", zni_attention_names[o->attention]);
    zni_pairs_number(pair, user, "lw_att", o->lw_att);
    zni_pairs_number(pair, user, "reslink", o->reslink);
    zni_pairs_number(pair, user, "bn", o->bn);
    pair(user, "projection", zni_projection_names[o->projection]);
    zni_pairs_number(pair, user, "train_attention", o->train_attention);
    zni_pairs_number(pair, user, "bn_momentum", o->bn_momentum);
    zni_pairs_number(pair, user, "bn_eps", o->bn_eps);
    zni_pairs_number(pair, user, "gn_eps", o->gn_eps);
    zni_pairs_input(in, pair, user);
    return !names.failed;
}
static void zni_store_pair(void *store, const char *key, const char *value) { zni_store_text((zni_store *)store, key, value); }
static void zni_store_net(zni_store *s, const zn_net *net) {
    int i;
    zni_store_text(s, "format", "pt");
    if (!zni_pairs_net(net, &net->input, zni_store_pair, s)) s->metadata.failed = 1;
    for (i = 0; i < net->count; ++i) zni_store_tensor(s, net->tensors[i]->name, net->tensors[i]->shape, net->tensors[i]->data);
}
ZN_API zn_result zn_net_save(const zn_net *net, const char *path) {
    zni_store s;
    if (net == NULL || path == NULL) return zni_null(zn_net_ctx(net), "zn_net_save");
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    zni_store_begin(&s, net->ctx);
    zni_store_net(&s, net);
    return zni_store_end(&s, path);
}

/* Each takes a text of the metadata; a missing or impossible one is an error that names it. */
static const char *zni_describe_text(zni_archive *a, const char *key) {
    const char *text = zni_archive_text(a, key);
    if (text == NULL) zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its metadata lack '%s'", key);
    return text;
}
static double zni_describe_number(zni_archive *a, const char *key, double low, double high) {
    const char *text = zni_describe_text(a, key);
    char *end = NULL;
    double value = text != NULL ? strtod(text, &end) : 0.0;
    if (text == NULL) return low;
    if (end != text && *end == '\0' && value >= low && value <= high) return value;
    zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its metadata say %s '%.40s', which must be %g to %g", key, text, low, high);
    return low;
}
static int zni_describe_choice(zni_archive *a, const char *key, const char *const *names, int count) {
    const char *text = zni_describe_text(a, key);
    int choice = zni_find_name(names, count, text);
    if (text != NULL && choice < 0) zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its metadata say %s '%.40s', which is not known", key, text);
    return choice < 0 ? 0 : choice;
}
/* Class names out of a JSON list: count 0 counts them only. */
static int zni_describe_classes(zni_archive *a, const char **names, int limit) {
    const char *text = zni_describe_text(a, "classes");
    zni_json j;
    int count = 0;
    memset(&j, 0, sizeof j);
    if (text == NULL) return 0;
    j.archive = a;
    j.at = text;
    j.end = text + strlen(text);
    a->pool_used = 0; /* of the second pool, see zni_net_describe */
    if (zni_json_take(&j, '[')) {
        do {
            zni_slice s;
            if (count >= limit || zni_json_string(&j, &s) != ZN_OK) break;
            names[count++] = s.text;
        } while (zni_json_take(&j, ','));
        if (zni_json_take(&j, ']') && zni_json_peek(&j) == '\0' && count > 0 && a->ctx->code == ZN_OK) return count;
    }
    a->ctx->code = ZN_OK; /* say it in our words: the place is in a text of its own */
    zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its metadata do not hold 1 to %d class names", limit);
    return 0;
}
/* Whether its names and its structure are some, and the file long enough for its parameters, before memory is taken for them. */
static int zni_describe_fits(zni_archive *a, const zn_net_opts *o, const char *const *names) {
    const char *fault = zni_class_names_fault(names, o->classes, 0);
    zn_structure *s = NULL;
    zn_count count;
    char reason[sizeof a->ctx->text];
    memset(&count, 0, sizeof count);
    if (fault != NULL) zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its metadata: %s", fault);
    else if (zn_structure_parse(a->ctx, o->structure, &s) == ZN_ERROR_STRUCTURE) { /* which says where in the text, but not in which file */
        snprintf(reason, sizeof reason, "%s", zn_error_text(a->ctx));
        zn_error_clear(a->ctx);
        zni_archive_fail(a, ZN_ERROR_STRUCTURE, NULL, "%s", reason);
    } else if (a->ctx->code == ZN_OK) {
        if (zn_structure_count(s, o, 65536, &count) == ZN_ERROR_STRUCTURE) zn_error_clear(a->ctx); /* not of maps of this size, which matter to no parameter */
        if (2.0 * count.params > (double)a->file.size) /* a value has two bytes at least */
            zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "its %lu bytes cannot hold the %.0f parameters of its structure", (unsigned long)a->file.size, count.params);
    }
    zn_structure_destroy(s);
    return a->ctx->code == ZN_OK;
}
static zn_net *zni_net_describe(zni_archive *a) {
    const char **names = ZNI_NEW(a->ctx, const char *, ZN_MAX_CLASSES);
    char *pool = a->pool, *texts;
    zn_net_opts o = zn_net_opts_default();
    zn_input in = zn_input_default();
    zn_net *net = NULL;
    char key[32];
    int i, bgr;
    static const char *const orders[] = {"rgb", "bgr"};
    if (names == NULL) return NULL;
    texts = ZNI_NEW(a->ctx, char, zni_archive_text(a, "classes") != NULL ? strlen(zni_archive_text(a, "classes")) + 1 : 1);
    if (texts != NULL) {
        a->pool = texts;
        o.classes = zni_describe_classes(a, names, ZN_MAX_CLASSES);
        a->pool = pool;
        o.structure = zni_describe_text(a, "structure");
        o.attention = (zn_attention)zni_describe_choice(a, "attention", zni_attention_names, 3);
        o.lw_att = (int)zni_describe_number(a, "lw_att", 0, 1);
        o.reslink = (int)zni_describe_number(a, "reslink", 0, 1);
        o.bn = (int)zni_describe_number(a, "bn", 0, 1);
        o.projection = (zn_projection)zni_describe_choice(a, "projection", zni_projection_names, 2);
        o.train_attention = (int)zni_describe_number(a, "train_attention", 0, 1);
        o.bn_momentum = zni_describe_number(a, "bn_momentum", 0, 1);
        o.bn_eps = zni_describe_number(a, "bn_eps", 1e-30, 1e30);
        o.gn_eps = zni_describe_number(a, "gn_eps", 1e-30, 1e30);
        in.size = (int)zni_describe_number(a, "input_size", 1, 65536);
        in.resize = (int)zni_describe_number(a, "input_resize", -65536, 65536);
        in.filter = (zn_filter)zni_describe_choice(a, "input_filter", zni_filter_names, 2);
        bgr = zni_describe_choice(a, "input_channels", orders, 2);
        in.bgr = bgr;
        for (i = 0; i < 3; ++i) {
            snprintf(key, sizeof key, "input_mean_%d", i);
            in.mean[i] = zni_describe_number(a, key, -1e6, 1e6);
            snprintf(key, sizeof key, "input_std_%d", i);
            in.std[i] = zni_describe_number(a, key, 1e-6, 1e6);
        }
        if (a->ctx->code == ZN_OK && zni_describe_fits(a, &o, names) && zn_net_create(a->ctx, &o, &net) == ZN_OK && (zn_net_set_class_names(net, names, o.classes) != ZN_OK || zn_net_set_input(net, &in) != ZN_OK)) {
            zn_net_destroy(net);
            net = NULL;
        }
    }
    zni_free(a->ctx, texts);
    zni_free(a->ctx, (void *)names);
    return net;
}
ZN_API zn_result zn_net_load(zn_ctx *ctx, const char *path, zn_net **out_net) {
    zni_archive a;
    zn_net *net = NULL;
    if (out_net != NULL) *out_net = NULL;
    if (ctx == NULL || path == NULL || out_net == NULL) return zni_null(ctx, "zn_net_load");
    if (zni_archive_open(ctx, path, &a) == ZN_OK) {
        if (zni_archive_text(&a, "zennet") == NULL)
            zni_archive_fail(&a, ZN_ERROR_FORMAT, NULL, "it holds tensors, but not the network's description; say which structure it is of");
        else if (strcmp(zni_archive_text(&a, "zennet"), ZNI_MODEL_VERSION) != 0)
            zni_archive_fail(&a, ZN_ERROR_UNSUPPORTED, NULL, "version %.20s of model files is not known", zni_archive_text(&a, "zennet"));
        else net = zni_net_describe(&a);
        if (net != NULL && zni_net_take(net, &a, NULL, NULL) == ZN_OK) {
            *out_net = net;
            net = NULL;
        }
    }
    zn_net_destroy(net);
    zni_archive_close(&a);
    return ctx->code;
}

/* ==================================================================================================================
   IMPL-TRAIN  optimisers, schedule, trainer
   ------------------------------------------------------------------------------------------------------------------
   Every rule is one function of one tensor's values, gradients and state, element by element, so threads change nothing.
   Sources: specification section 9, PyTorch's definitions of the four optimisers.
   ================================================================================================================== */
struct zn_optimizer {
    zn_ctx *ctx;
    zn_optimizer_opts opts;
    zn_tensor **tensors;
    zn_real **state; /* of tensor i: slots times its count, slot after slot */
    size_t tensor_room, state_room, values; /* values: of all tensors together */
    int count;
    int64_t steps;
};

static const char *const zni_optimizer_names[] = {"sgd", "adam", "rmsprop", "adadelta"};
ZN_API int zn_optimizer_parse(const char *text) { return zni_find_name(zni_optimizer_names, 4, text); }
ZN_API zn_optimizer_opts zn_optimizer_opts_default(zn_optimizer_kind kind) {
    zn_optimizer_opts o;
    memset(&o, 0, sizeof o);
    o.kind = kind;
    o.momentum = 0.9;
    o.nesterov = 1;
    o.weight_decay = 5e-4;
    o.beta1 = 0.9;
    o.beta2 = 0.999;
    o.alpha = 0.9;
    o.rho = 0.9;
    o.eps = kind == ZN_ADADELTA ? 1e-9 : 1e-8;
    return o;
}
/* A number among options: name, kind (int or double; a capital: the result does not depend on it), place, bounds. */
typedef struct zni_option {
    const char *name;
    char kind;
    size_t offset;
    double low, high;
} zni_option;
static double zni_option_value(const zni_option *f, const void *opts) {
    const char *at = (const char *)opts + f->offset;
    int whole;
    double real;
    if (f->kind == 'i' || f->kind == 'I') {
        memcpy(&whole, at, sizeof whole);
        return whole;
    }
    memcpy(&real, at, sizeof real);
    return real;
}
static zn_result zni_options_check(zn_ctx *ctx, const char *what, const zni_option *fields, size_t count, const void *opts) {
    size_t i;
    for (i = 0; i < count; ++i) {
        double value = zni_option_value(&fields[i], opts);
        if (!(value >= fields[i].low && value <= fields[i].high))
            return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: %s is %.9g, must be in %.9g..%.9g", what, fields[i].name, value, fields[i].low, fields[i].high);
    }
    return ZN_OK;
}
/* Below 1 where 1 divides by 0. */
#define ZNI_OPTIMIZER_FIELDS(F) \
    F(momentum, 'd', 0, 1), F(nesterov, 'i', 0, 1), F(weight_decay, 'd', 0, 1e6), F(clip, 'd', 0, 1e30), F(beta1, 'd', 0, 0.9999999), \
    F(beta2, 'd', 0, 0.9999999), F(alpha, 'd', 0, 1), F(rho, 'd', 0, 1), F(eps, 'd', 0, 1)
#define ZNI_FIELD(name, kind, low, high) {#name, kind, offsetof(zn_optimizer_opts, name), low, high}
static const zni_option zni_optimizer_fields[] = {ZNI_OPTIMIZER_FIELDS(ZNI_FIELD)};
#undef ZNI_FIELD

static size_t zni_optimizer_slots(zn_optimizer_kind kind) { return kind == ZN_SGD ? 1 : 2; }

ZN_API void zn_optimizer_destroy(zn_optimizer *optimizer) {
    int i;
    if (optimizer == NULL) return;
    for (i = 0; i < optimizer->count; ++i) zni_free(optimizer->ctx, optimizer->state[i]);
    zni_free(optimizer->ctx, optimizer->state);
    zni_free(optimizer->ctx, optimizer->tensors);
    zni_free(optimizer->ctx, optimizer);
}
/* Adds a tensor with fresh state. */
static zn_result zni_optimizer_adopt(zn_optimizer *o, zn_tensor *t) {
    void *tensors = o->tensors, *state = o->state;
    size_t count = (size_t)o->count + 1;
    if (!zni_grow(o->ctx, &tensors, &o->tensor_room, count, sizeof(zn_tensor *))) return o->ctx->code;
    o->tensors = (zn_tensor **)tensors;
    if (!zni_grow(o->ctx, &state, &o->state_room, count, sizeof(zn_real *))) return o->ctx->code;
    o->state = (zn_real **)state;
    o->state[o->count] = ZNI_NEW_ZERO(o->ctx, zn_real, zni_size_mul(t->count, zni_optimizer_slots(o->opts.kind)));
    if (o->state[o->count] == NULL) return o->ctx->code;
    o->values += t->count;
    o->tensors[o->count++] = t;
    return ZN_OK;
}
/* Those adopted behind the first `count` are none of its any more. */
static void zni_optimizer_forget(zn_optimizer *o, int count) {
    while (o->count > count) {
        --o->count;
        o->values -= o->tensors[o->count]->count;
        zni_free(o->ctx, o->state[o->count]);
    }
}
static zn_result zni_optimizer_collect(zn_optimizer *o, zn_net *net) {
    zn_tensor *t;
    int i;
    for (i = 0; net != NULL && i < net->count; ++i)
        if (net->roles[i] != ZNI_BUFFER && zni_optimizer_adopt(o, net->tensors[i]) != ZN_OK) return o->ctx->code;
    for (t = net == NULL ? o->ctx->tensors : NULL; t != NULL; t = t->next)
        if (t->trainable && zni_optimizer_adopt(o, t) != ZN_OK) return o->ctx->code;
    return o->count > 0 ? ZN_OK : zni_fail(o->ctx, ZN_ERROR_ARGUMENT, "optimizer: nothing is trainable");
}
ZN_API zn_result zn_optimizer_create(zn_ctx *ctx, zn_net *net, const zn_optimizer_opts *opts, zn_optimizer **out_optimizer) {
    zn_optimizer *o;
    if (out_optimizer != NULL) *out_optimizer = NULL;
    if (ctx == NULL || out_optimizer == NULL || (net != NULL && net->ctx != ctx)) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "zn_optimizer_create: NULL, or a network of another context");
    if (ctx->code != ZN_OK) return ctx->code;
    if (opts != NULL && ((int)opts->kind < 0 || opts->kind > ZN_ADADELTA)) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "unknown optimizer %d", (int)opts->kind);
    o = ZNI_NEW_ZERO(ctx, zn_optimizer, 1);
    if (o == NULL) return ctx->code;
    o->ctx = ctx;
    o->opts = opts != NULL ? *opts : zn_optimizer_opts_default(ZN_SGD);
    if (zni_options_check(ctx, "optimizer", zni_optimizer_fields, sizeof zni_optimizer_fields / sizeof zni_optimizer_fields[0], &o->opts) == ZN_OK &&
        zni_optimizer_collect(o, net) == ZN_OK) {
        *out_optimizer = o;
        return ZN_OK;
    }
    zn_optimizer_destroy(o);
    return ctx->code;
}

/* g: gradient after clipping and decay; w, a, b: value and state. */
ZNI_INLINE void zni_step_sgd(const zn_optimizer_opts *o, double lr, zn_real g, zn_real *w, zn_real *v) {
    *v = (zn_real)o->momentum * *v + g;
    *w -= (zn_real)lr * (o->nesterov ? g + (zn_real)o->momentum * *v : *v);
}
ZNI_INLINE void zni_step_adam(const zn_optimizer_opts *o, double lr, double correct1, double correct2, double g, zn_real *w, zn_real *m, zn_real *v) {
    double mean = o->beta1 * (double)*m + (1.0 - o->beta1) * g, square = o->beta2 * (double)*v + (1.0 - o->beta2) * g * g;
    *m = (zn_real)mean;
    *v = (zn_real)square;
    *w = (zn_real)((double)*w - lr * (mean / correct1) / (sqrt(square / correct2) + o->eps));
}
ZNI_INLINE void zni_step_rmsprop(const zn_optimizer_opts *o, double lr, double g, zn_real *w, zn_real *square, zn_real *buffer) {
    double s = o->alpha * (double)*square + (1.0 - o->alpha) * g * g, v = o->momentum * (double)*buffer + g / (sqrt(s) + o->eps);
    *square = (zn_real)s;
    *buffer = (zn_real)v;
    *w = (zn_real)((double)*w - lr * v);
}
ZNI_INLINE void zni_step_adadelta(const zn_optimizer_opts *o, double lr, double g, zn_real *w, zn_real *square, zn_real *change) {
    double s = o->rho * (double)*square + (1.0 - o->rho) * g * g, d = sqrt((double)*change + o->eps) / sqrt(s + o->eps) * g;
    *square = (zn_real)s;
    *change = (zn_real)(o->rho * (double)*change + (1.0 - o->rho) * d * d);
    *w = (zn_real)((double)*w - lr * d);
}
static void zni_step_tensor(const zn_optimizer *o, zn_tensor *t, zn_real *state, double lr) {
    double correct1 = 1.0 - pow(o->opts.beta1, (double)o->steps), correct2 = 1.0 - pow(o->opts.beta2, (double)o->steps);
    zn_real decay = (zn_real)(t->decay ? o->opts.weight_decay : 0.0), clip = (zn_real)o->opts.clip;
    zn_real *a = state, *b = state + t->count;
    size_t i;
    for (i = 0; i < t->count; ++i) {
        zn_real g = t->grad[i];
        if (clip > 0) g = g > clip ? clip : g < -clip ? -clip : g;
        g += decay * t->data[i];
        switch (o->opts.kind) {
        case ZN_SGD: zni_step_sgd(&o->opts, lr, g, &t->data[i], &a[i]); break;
        case ZN_ADAM: zni_step_adam(&o->opts, lr, correct1, correct2, (double)g, &t->data[i], &a[i], &b[i]); break;
        case ZN_RMSPROP: zni_step_rmsprop(&o->opts, lr, (double)g, &t->data[i], &a[i], &b[i]); break;
        default: zni_step_adadelta(&o->opts, lr, (double)g, &t->data[i], &a[i], &b[i]); break;
        }
    }
}
ZN_API zn_result zn_optimizer_step(zn_optimizer *optimizer, double lr) {
    int i;
    if (optimizer == NULL) return ZN_ERROR_ARGUMENT;
    zn_tape_clear(optimizer->ctx);
    if (optimizer->ctx->code != ZN_OK) return optimizer->ctx->code;
    if (!isfinite(lr)) return zni_fail(optimizer->ctx, ZN_ERROR_ARGUMENT, "optimizer: the learning rate is %g", lr);
    ++optimizer->steps;
    ZNI_OMP(parallel for schedule(dynamic) if (optimizer->values > ZNI_PARALLEL_MIN))
    for (i = 0; i < optimizer->count; ++i) {
        zn_tensor *t = optimizer->tensors[i];
        if (t->trainable) zni_step_tensor(optimizer, t, optimizer->state[i], lr);
        memset(t->grad, 0, t->count * sizeof(zn_real));
    }
    return ZN_OK;
}

/* ---- schedule ---- */
static const char *const zni_schedule_names[] = {"cosine", "linear", "step"};
ZN_API int zn_schedule_parse(const char *text) { return zni_find_name(zni_schedule_names, 3, text); }
ZN_API double zn_schedule_lr(const zn_schedule *s, double n) {
    double warm = s->warmup * s->samples, total = s->epochs * s->samples, share = (n - warm + 1.0) / (total - warm), lr = s->lr;
    int i;
    if (n < warm) return s->lr * (n + 1.0) / warm;
    if (s->kind == ZN_SCHEDULE_COSINE) return s->lr + (s->target - s->lr) * (1.0 - cos(ZNI_PI * share)) / 2.0;
    if (s->kind == ZN_SCHEDULE_LINEAR) return s->lr + (s->target - s->lr) * share;
    for (i = 0; i < s->milestone_count && i < ZN_MAX_MILESTONES; ++i)
        if (s->milestones[i] < floor(n / s->samples)) lr *= s->decay;
    return lr;
}

/* ---- sampler ---- */
/* The random stream of one purpose: everything a sample or batch draws is a function of seed, epoch and number. */
enum { ZNI_STREAM_ORDER = 1, ZNI_STREAM_IMAGE, ZNI_STREAM_MIX };
static zn_rng zni_train_stream(uint64_t seed, int epoch, int purpose, uint64_t number) {
    zn_rng of_epoch = zn_rng_stream(seed, (uint64_t)epoch), of_purpose = zn_rng_stream(of_epoch.state, (uint64_t)purpose);
    return zn_rng_stream(of_purpose.state, number);
}
/* Draws a class that has images, then one of its images: the same as weights of 1/count. */
static zn_result zni_sampler_balanced(const zn_pack *pack, zn_split split, zn_rng *rng, uint32_t *order) {
    size_t images = zn_pack_count(pack, split), i, from;
    int classes = pack->classes, present = 0, k;
    uint32_t *members = ZNI_NEW(pack->ctx, uint32_t, images);
    size_t *begin = ZNI_NEW_ZERO(pack->ctx, size_t, ZN_MAX_CLASSES + 1), *fill = ZNI_NEW_ZERO(pack->ctx, size_t, ZN_MAX_CLASSES);
    int *labels = ZNI_NEW(pack->ctx, int, classes);
    zn_pack_info info;
    if (members != NULL && begin != NULL && fill != NULL && labels != NULL) {
        for (k = 0; k < classes; ++k) {
            begin[k + 1] = begin[k] + zn_pack_class_count(pack, split, k);
            if (begin[k + 1] > begin[k]) labels[present++] = k;
        }
        for (i = 0; i < images; ++i)
            if (zn_pack_image(pack, split, i, &info) == ZN_OK) members[begin[info.label] + fill[info.label]++] = (uint32_t)i;
        for (i = 0; i < images; ++i) {
            k = labels[zn_rng_below(rng, (uint64_t)present)];
            from = begin[k];
            order[i] = members[from + (size_t)zn_rng_below(rng, begin[k + 1] - from)];
        }
    }
    zni_free(pack->ctx, members);
    zni_free(pack->ctx, begin);
    zni_free(pack->ctx, fill);
    zni_free(pack->ctx, labels);
    return pack->ctx->code;
}
ZN_API zn_result zn_sampler_draw(const zn_pack *pack, zn_split split, int balanced, uint64_t seed, int epoch, uint32_t *order) {
    zn_rng rng = zni_train_stream(seed, epoch, ZNI_STREAM_ORDER, 0);
    size_t i, images = zn_pack_count(pack, split);
    if (pack == NULL || order == NULL) return zni_null(pack != NULL ? pack->ctx : NULL, "zn_sampler_draw");
    if (pack->ctx->code != ZN_OK) return pack->ctx->code;
    if (images == 0) return zni_fail(pack->ctx, ZN_ERROR_ARGUMENT, "%s: the split has no images", pack->path);
    if (balanced) return zni_sampler_balanced(pack, split, &rng, order);
    for (i = 0; i < images; ++i) order[i] = (uint32_t)i;
    zn_rng_shuffle(&rng, order, images);
    return ZN_OK;
}

/* ---- classes by name ---- */
static int zni_same_name(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; ++a, ++b) {
        int x = *a >= 'A' && *a <= 'Z' ? *a + 32 : *a, y = *b >= 'A' && *b <= 'Z' ? *b + 32 : *b;
        if (x != y) return 0;
    }
    return *a == *b;
}
static int zni_net_class_find(const zn_net *net, const char *name) {
    int i = zni_find_name((const char *const *)net->class_names, net->opts.classes, name);
    if (i >= 0) return i;
    for (i = 0; i < net->opts.classes; ++i)
        if (zni_same_name(net->class_names[i], name)) return i;
    return -1;
}
ZN_API zn_result zn_class_map(const zn_net *net, const zn_pack *pack, int by_index, int *map) {
    int i, classes = zn_pack_classes(pack);
    if (net == NULL || pack == NULL || map == NULL) return zni_null(zn_net_ctx(net), "zn_class_map");
    for (i = 0; i < classes; ++i) {
        size_t images = zn_pack_class_count(pack, ZN_SPLIT_TRAIN, i) + zn_pack_class_count(pack, ZN_SPLIT_TEST, i);
        map[i] = !by_index ? zni_net_class_find(net, pack->class_names[i]) : i < net->opts.classes ? i : -1;
        if (map[i] < 0 && images > 0)
            return zni_fail(net->ctx, ZN_ERROR_MISMATCH, "%s: class %d, \"%s\", is none of the network's %d classes (\"%s\", ...)", pack->path, i,
                            pack->class_names[i], net->opts.classes, net->class_names[0]);
    }
    return ZN_OK;
}
/* Whether its classes still have the names that zn_net_create gave them. */
static int zni_net_unnamed(const zn_net *net) {
    char digits[16];
    int i;
    for (i = 0; i < net->opts.classes; ++i) {
        snprintf(digits, sizeof digits, "%d", i);
        if (strcmp(net->class_names[i], digits) != 0) return 0;
    }
    return 1;
}

/* ---- loader ---- */
struct zn_loader {
    zn_ctx *ctx;
    const zn_pack *pack;
    zn_loader_opts opts;
    int *class_map;
    size_t images, rgb_bytes, scratch_bytes; /* the latter of the largest image, per thread */
    int threads;
    unsigned char *rgb, *scratch;
    zn_tensor *x, *target;
    int *labels;
    uint32_t *numbers, *partner, *order;
    unsigned char *results; /* zn_result of each image of a batch */
    int order_epoch;
};

ZN_API zn_loader_opts zn_loader_opts_default(void) {
    zn_loader_opts o;
    memset(&o, 0, sizeof o);
    o.split = ZN_SPLIT_TRAIN;
    o.batch = 64;
    o.random = 1;
    o.seed = 1;
    o.augment = zn_augment_opts_none(224);
    return o;
}
ZN_API void zn_loader_destroy(zn_loader *loader) {
    zn_ctx *ctx;
    if (loader == NULL) return;
    ctx = loader->ctx;
    zn_tensor_destroy(loader->target);
    zn_tensor_destroy(loader->x);
    zni_free(ctx, loader->class_map);
    zni_free(ctx, loader->rgb);
    zni_free(ctx, loader->scratch);
    zni_free(ctx, loader->labels);
    zni_free(ctx, loader->numbers);
    zni_free(ctx, loader->partner);
    zni_free(ctx, loader->order);
    zni_free(ctx, loader->results);
    zni_free(ctx, loader);
}
/* Room for the largest image of the split and for what is done to it. */
static void zni_loader_measure(zn_loader *l) {
    zn_pack_info info;
    size_t i, rgb, scratch;
    int width = 0, height = 0;
    for (i = 0; i < l->images; ++i) {
        if (zn_pack_image(l->pack, l->opts.split, i, &info) != ZN_OK || (info.width == width && info.height == height)) continue;
        width = info.width;
        height = info.height;
        rgb = (size_t)width * (size_t)height * 3;
        scratch = l->opts.random ? zn_augment_scratch_bytes(&l->opts.augment, width, height) : zn_input_scratch_bytes(&l->opts.augment.input, width, height);
        if (rgb > l->rgb_bytes) l->rgb_bytes = rgb;
        if (scratch > l->scratch_bytes) l->scratch_bytes = scratch;
    }
    l->rgb_bytes = (l->rgb_bytes + ZNI_ALIGN - 1) / ZNI_ALIGN * ZNI_ALIGN; /* threads must not share cache lines */
    l->scratch_bytes = zni_size_mul(zni_size_add(l->scratch_bytes, ZNI_ALIGN - 1) / ZNI_ALIGN, ZNI_ALIGN);
}
static zn_result zni_loader_check(const zn_pack *pack, const zn_loader_opts *o) {
    zn_ctx *ctx = pack->ctx;
    size_t images = zn_pack_count(pack, o->split);
    if (ctx->code != ZN_OK) return ctx->code;
    if (images == 0) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: the %s split has no images", pack->path, o->split == ZN_SPLIT_TRAIN ? "train" : "test");
    if (o->batch < 1 || o->batch > 1000000) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "loader: a batch of %d images cannot be", o->batch);
    if (o->random && (size_t)o->batch > images) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "%s: a batch of %d is more than the %lu images there are", pack->path, o->batch, (unsigned long)images);
    if (!(o->label_smoothing >= 0.0 && o->label_smoothing <= 1.0) || !(o->mixup >= 0.0 && o->mixup <= 100.0))
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "loader: label_smoothing %g must be in 0..1, mixup %g in 0..100", o->label_smoothing, o->mixup);
    if (o->class_map != NULL && (o->classes < 1 || o->classes > ZN_MAX_CLASSES)) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "loader: a class map onto %d classes", o->classes);
    return zn_augment_check(ctx, &o->augment);
}
static zn_result zni_loader_build(zn_loader *l) {
    int size = l->opts.augment.input.size, i;
    size_t batch = (size_t)l->opts.batch;
    l->class_map = ZNI_NEW(l->ctx, int, l->pack->classes);
    for (i = 0; l->class_map != NULL && i < l->pack->classes; ++i) {
        l->class_map[i] = l->opts.class_map != NULL ? l->opts.class_map[i] : i;
        if (l->class_map[i] >= l->opts.classes || (l->class_map[i] < 0 && zn_pack_class_count(l->pack, l->opts.split, i) > 0))
            return zni_fail(l->ctx, ZN_ERROR_ARGUMENT, "loader: the class map has no class for \"%s\"", l->pack->class_names[i]);
    }
    zni_loader_measure(l);
    l->threads = zni_max_threads();
    l->rgb = ZNI_NEW(l->ctx, unsigned char, zni_size_mul(l->rgb_bytes, (size_t)l->threads));
    l->scratch = ZNI_NEW(l->ctx, unsigned char, zni_size_mul(l->scratch_bytes, (size_t)l->threads));
    l->x = zn_tensor_create(l->ctx, zn_shape4(l->opts.batch, 3, size, size));
    l->target = zn_tensor_create(l->ctx, zn_shape2(l->opts.batch, l->opts.classes));
    l->labels = ZNI_NEW(l->ctx, int, batch);
    l->numbers = ZNI_NEW(l->ctx, uint32_t, batch);
    l->partner = ZNI_NEW(l->ctx, uint32_t, batch);
    l->results = ZNI_NEW(l->ctx, unsigned char, batch);
    l->order = ZNI_NEW(l->ctx, uint32_t, l->images);
    l->order_epoch = -1;
    return l->ctx->code;
}
ZN_API zn_result zn_loader_create(const zn_pack *pack, const zn_loader_opts *opts, zn_loader **out_loader) {
    zn_loader_opts o = opts != NULL ? *opts : zn_loader_opts_default();
    zn_loader *l;
    if (out_loader != NULL) *out_loader = NULL;
    if (pack == NULL || out_loader == NULL) return zni_null(pack != NULL ? pack->ctx : NULL, "zn_loader_create");
    if (o.class_map == NULL) o.classes = pack->classes;
    if (zni_loader_check(pack, &o) != ZN_OK) return pack->ctx->code;
    l = ZNI_NEW_ZERO(pack->ctx, zn_loader, 1);
    if (l == NULL) return pack->ctx->code;
    l->ctx = pack->ctx;
    l->pack = pack;
    l->opts = o;
    l->images = zn_pack_count(pack, o.split);
    if ((size_t)o.batch > l->images) l->opts.batch = (int)l->images; /* only where the last batch may be partial */
    if (zni_loader_build(l) == ZN_OK) {
        l->opts.class_map = NULL;
        *out_loader = l;
        return ZN_OK;
    }
    zn_loader_destroy(l);
    return pack->ctx->code;
}
ZN_API size_t zn_loader_batches(const zn_loader *loader) {
    size_t batch;
    if (loader == NULL) return 0;
    batch = (size_t)loader->opts.batch;
    return loader->opts.random ? loader->images / batch : (loader->images + batch - 1) / batch;
}
/* Image number `position` of the epoch into place `slot` of the batch. Any thread. */
static zn_result zni_loader_image(zn_loader *l, int epoch, size_t position, int slot, int thread) {
    unsigned char *rgb = l->rgb + (size_t)thread * l->rgb_bytes, *scratch = l->scratch + (size_t)thread * l->scratch_bytes;
    zn_real *x = l->x->data + (size_t)slot * (l->x->count / (size_t)l->opts.batch);
    zn_pack_info info;
    zn_rng rng = zni_train_stream(l->opts.seed, epoch, ZNI_STREAM_IMAGE, position);
    zn_result result = zn_pack_image(l->pack, l->opts.split, l->numbers[slot], &info);
    if (result == ZN_OK) result = zn_pack_rgb(l->pack, l->opts.split, l->numbers[slot], rgb);
    if (result != ZN_OK) return result;
    l->labels[slot] = l->class_map[info.label];
    if (!l->opts.random) return zn_input_apply(&l->opts.augment.input, rgb, info.width, info.height, 0, 0, info.width, info.height, scratch, x);
    return zn_augment(&l->opts.augment, &rng, rgb, info.width, info.height, scratch, x);
}
static zn_result zni_loader_blame(zn_loader *l, int count) { /* words for the first image that failed */
    zn_pack_info info;
    int i;
    if (zn_pack_check(l->pack) != ZN_OK) return l->ctx->code;
    for (i = 0; i < count; ++i) {
        if (l->results[i] == ZN_OK || zn_pack_image(l->pack, l->opts.split, l->numbers[i], &info) != ZN_OK) continue;
        return zni_fail(l->ctx, (zn_result)l->results[i], "%s: cannot read image %lu, %s: %s", l->pack->path, (unsigned long)l->numbers[i], info.source,
                        l->results[i] == ZN_ERROR_UNSUPPORTED ? "it is an image file, and the pack has no decoder" : zn_result_text((zn_result)l->results[i]));
    }
    return ZN_OK;
}
/* The first `count` rows of t (its slowest size), whose memory they share, on the tape. */
static zn_tensor *zni_rows(zn_tensor *t, int begin, int count) {
    zn_tensor *rows;
    zn_shape shape = t->shape;
    shape.n[0] = count;
    rows = zni_tensor_header(t->ctx, shape);
    if (rows == NULL) return NULL;
    rows->borrowed = 1;
    rows->data = t->data + t->count / (size_t)t->shape.n[0] * (size_t)begin;
    rows->next = t->ctx->tape;
    t->ctx->tape = rows;
    return rows;
}
static zn_result zni_loader_fill(zn_loader *l, int epoch, size_t first, int count) {
    int i, bad = 0;
    for (i = 0; i < count; ++i) l->numbers[i] = l->opts.random ? l->order[first + (size_t)i] : (uint32_t)(first + (size_t)i);
    ZNI_OMP(parallel for schedule(dynamic, 1) num_threads(l->threads) reduction(| : bad))
    for (i = 0; i < count; ++i) {
        l->results[i] = (unsigned char)zni_loader_image(l, epoch, first + (size_t)i, i, zni_thread());
        bad |= l->results[i] != ZN_OK;
    }
    return bad ? zni_loader_blame(l, count) : ZN_OK;
}
static zn_result zni_loader_order(zn_loader *l, int epoch) {
    if (!l->opts.random || l->order_epoch == epoch) return l->ctx->code;
    l->order_epoch = zn_sampler_draw(l->pack, l->opts.split, l->opts.balanced, l->opts.seed, epoch, l->order) == ZN_OK ? epoch : -1;
    return l->ctx->code;
}
ZN_API zn_result zn_loader_load(zn_loader *loader, int epoch, size_t index, zn_batch *out_batch) {
    size_t batch, first, left;
    int count;
    if (loader == NULL || out_batch == NULL) return zni_null(loader != NULL ? loader->ctx : NULL, "zn_loader_load");
    if (loader->ctx->code != ZN_OK) return loader->ctx->code;
    if (index >= zn_loader_batches(loader) || epoch < 0)
        return zni_fail(loader->ctx, ZN_ERROR_ARGUMENT, "loader: there is no batch %lu of %lu in epoch %d", (unsigned long)index, (unsigned long)zn_loader_batches(loader), epoch);
    batch = (size_t)loader->opts.batch;
    first = index * batch;
    left = loader->images - first;
    count = left < batch ? (int)left : loader->opts.batch;
    if (zni_loader_order(loader, epoch) != ZN_OK) return loader->ctx->code;
    if (zni_loader_fill(loader, epoch, first, count) != ZN_OK) return loader->ctx->code;
    zn_smooth_targets(loader->labels, count, loader->opts.classes, loader->opts.random ? loader->opts.label_smoothing : 0.0, loader->target->data);
    out_batch->share = 1.0;
    if (loader->opts.random) {
        zn_rng rng = zni_train_stream(loader->opts.seed, epoch, ZNI_STREAM_MIX, index);
        out_batch->share = zn_mixup(&rng, loader->opts.mixup, count, loader->x->data, loader->x->count / batch, loader->target->data, loader->opts.classes, loader->partner);
    }
    out_batch->x = count == loader->opts.batch ? loader->x : zni_rows(loader->x, 0, count);
    out_batch->target = count == loader->opts.batch ? loader->target : zni_rows(loader->target, 0, count);
    out_batch->labels = loader->labels;
    out_batch->images = loader->numbers;
    out_batch->count = count;
    return loader->ctx->code;
}

ZN_API zn_result zn_loader_preview(zn_loader *loader, int epoch, size_t position, unsigned char *rgb, int *out_label) {
    zn_rng rng;
    zn_pack_info info;
    if (loader == NULL || rgb == NULL) return zni_null(loader != NULL ? loader->ctx : NULL, "zn_loader_preview");
    if (!loader->opts.random) return zni_fail(loader->ctx, ZN_ERROR_ARGUMENT, "loader: only a random one has previews");
    if (position >= loader->images || epoch < 0)
        return zni_fail(loader->ctx, ZN_ERROR_ARGUMENT, "loader: there is no image %lu of %lu in epoch %d", (unsigned long)position, (unsigned long)loader->images, epoch);
    if (zni_loader_order(loader, epoch) != ZN_OK) return loader->ctx->code;
    loader->numbers[0] = loader->order[position];
    loader->results[0] = (unsigned char)zn_pack_rgb(loader->pack, loader->opts.split, loader->numbers[0], loader->rgb);
    if (loader->results[0] != ZN_OK) return zni_loader_blame(loader, 1);
    if (zn_pack_image(loader->pack, loader->opts.split, loader->numbers[0], &info) != ZN_OK) return ZN_ERROR_ARGUMENT;
    if (out_label != NULL) *out_label = loader->class_map[info.label];
    rng = zni_train_stream(loader->opts.seed, epoch, ZNI_STREAM_IMAGE, position);
    return zn_augment_preview(&loader->opts.augment, &rng, loader->rgb, info.width, info.height, loader->scratch, rgb);
}

/* ---- evaluation ---- */
/* Errors of a network and its pack go to one context. */
static zn_result zni_pack_own(const zn_net *net, const zn_pack *pack, const char *function) {
    return pack->ctx == net->ctx ? ZN_OK : zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "%s: %s was opened in another context than the network's", function, pack->path);
}
ZN_API zn_evaluate_opts zn_evaluate_opts_default(void) {
    zn_evaluate_opts o;
    memset(&o, 0, sizeof o);
    o.split = ZN_SPLIT_TEST;
    o.batch = 64;
    return o;
}
ZN_API void zn_metrics_destroy(zn_metrics *metrics) {
    zn_ctx *ctx;
    if (metrics == NULL) return;
    ctx = metrics->ctx;
    zni_free(ctx, metrics->recall);
    zni_free(ctx, metrics->confusion);
    zni_free(ctx, metrics->predicted);
    zni_free(ctx, metrics->truth);
    zni_free(ctx, metrics->confidence);
    zni_free(ctx, metrics);
}
static zn_metrics *zni_metrics_create(zn_ctx *ctx, int classes, size_t images) {
    zn_metrics *m = ZNI_NEW_ZERO(ctx, zn_metrics, 1);
    if (m == NULL) return NULL;
    m->ctx = ctx;
    m->classes = classes;
    m->recall = ZNI_NEW_ZERO(ctx, double, classes);
    m->confusion = ZNI_NEW_ZERO(ctx, size_t, zni_size_mul((size_t)classes, (size_t)classes));
    m->predicted = ZNI_NEW(ctx, int, images);
    m->truth = ZNI_NEW(ctx, int, images);
    m->confidence = ZNI_NEW(ctx, float, images);
    if (ctx->code == ZN_OK) return m;
    zn_metrics_destroy(m);
    return NULL;
}
static int zni_argmax(const zn_real *v, int count) {
    int i, best = 0;
    for (i = 1; i < count; ++i)
        if (v[i] > v[best]) best = i;
    return best;
}
/* Adds one image; 0 when a logit is not finite. */
static int zni_metrics_add(zn_metrics *m, const zn_real *logits, int truth) {
    int k, best = zni_argmax(logits, m->classes), rank = 0;
    double sum = 0.0;
    for (k = 0; k < m->classes; ++k) {
        if (!isfinite((double)logits[k])) return 0;
        sum += exp((double)logits[k] - (double)logits[best]);
        rank += logits[k] > logits[truth] || (k < truth && !(logits[k] < logits[truth]));
    }
    m->loss += log(sum) - ((double)logits[truth] - (double)logits[best]);
    m->top1 += rank < 1;
    m->top5 += rank < 5;
    ++m->confusion[(size_t)truth * (size_t)m->classes + (size_t)best];
    m->predicted[m->images] = best;
    m->truth[m->images] = truth;
    m->confidence[m->images++] = (float)(1.0 / sum);
    return 1;
}
static void zni_metrics_finish(zn_metrics *m) {
    int i, k, present = 0;
    for (i = 0; i < m->classes; ++i) {
        size_t *row = m->confusion + (size_t)i * (size_t)m->classes, total = 0;
        for (k = 0; k < m->classes; ++k) total += row[k];
        if (total == 0) continue;
        m->recall[i] = (double)row[i] / (double)total;
        m->mean_class += m->recall[i];
        ++present;
    }
    m->mean_class /= present;
    m->loss /= (double)m->images;
    m->top1 /= (double)m->images;
    m->top5 /= (double)m->images;
}
static zn_result zni_evaluate_batches(zn_net *net, zn_loader *loader, const zn_evaluate_opts *o, zn_metrics *m) {
    size_t index, batches = zn_loader_batches(loader);
    zn_batch batch;
    int i;
    for (index = 0; index < batches; ++index) {
        zn_tensor *logits;
        if (zn_loader_load(loader, 0, index, &batch) != ZN_OK) return net->ctx->code;
        logits = zn_net_forward(net, batch.x, 0);
        if (logits == NULL) return net->ctx->code;
        for (i = 0; i < batch.count; ++i)
            if (!zni_metrics_add(m, logits->data + i * m->classes, batch.labels[i]))
                return zni_fail(net->ctx, ZN_ERROR_NUMBER, "evaluation: the network's output for image %lu is not finite", (unsigned long)batch.images[i]);
        zn_tape_clear(net->ctx);
        if (o->on_batch != NULL && o->on_batch(m->images, loader->images, o->user) != 0) return ZN_STOPPED;
    }
    zni_metrics_finish(m);
    return ZN_OK;
}
ZN_API zn_result zn_evaluate(zn_net *net, const zn_pack *pack, const zn_evaluate_opts *opts, zn_metrics **out_metrics) {
    zn_evaluate_opts o = opts != NULL ? *opts : zn_evaluate_opts_default();
    zn_loader_opts load = zn_loader_opts_default();
    zn_loader *loader = NULL;
    zn_metrics *m;
    zn_result result;
    int *map;
    if (out_metrics != NULL) *out_metrics = NULL;
    if (net == NULL || pack == NULL || out_metrics == NULL) return zni_null(zn_net_ctx(net), "zn_evaluate");
    if (zni_pack_own(net, pack, "zn_evaluate") != ZN_OK) return ZN_ERROR_ARGUMENT;
    load.split = o.split;
    load.batch = o.batch;
    load.random = 0;
    load.augment = zn_augment_opts_none(1);
    load.augment.input = o.input != NULL ? *o.input : net->input;
    load.class_map = map = ZNI_NEW(net->ctx, int, pack->classes);
    load.classes = net->opts.classes;
    if (map == NULL || zn_class_map(net, pack, o.by_index, map) != ZN_OK || zn_loader_create(pack, &load, &loader) != ZN_OK) {
        zni_free(net->ctx, map);
        return net->ctx->code;
    }
    m = zni_metrics_create(net->ctx, net->opts.classes, loader->images);
    zn_no_grad_begin(net->ctx);
    result = m != NULL ? zni_evaluate_batches(net, loader, &o, m) : net->ctx->code;
    zn_no_grad_end(net->ctx);
    zn_tape_clear(net->ctx);
    zn_loader_destroy(loader);
    zni_free(net->ctx, map);
    if (result == ZN_OK) *out_metrics = m;
    else zn_metrics_destroy(m);
    return result;
}
ZN_API double zn_metrics_chance(const zn_metrics *metrics) {
    double chance = 0.0, total;
    int i, k, classes;
    if (metrics == NULL) return 0.0;
    classes = metrics->classes;
    total = (double)metrics->images;
    for (i = 0; i < classes; ++i) {
        double truths = 0.0, guesses = 0.0;
        for (k = 0; k < classes; ++k) {
            truths += (double)metrics->confusion[i * classes + k];
            guesses += (double)metrics->confusion[k * classes + i];
        }
        chance += truths / total * (guesses / total);
    }
    return chance;
}
/* The assignment problem by shortest augmenting paths with potentials u, v; rows are predicted classes, columns truths, the
   cost of a pair the number of images it explains, negated. Index 0 stands for "none". */
static double zni_assign(const zn_metrics *m, int *map, double *u, double *v, double *least, int *row_of, int *way, char *done) {
    int n = m->classes, i, j;
    double hits = 0.0;
    for (i = 1; i <= n; ++i) {
        int column = 0;
        row_of[0] = i;
        for (j = 0; j <= n; ++j) {
            least[j] = 1e300;
            done[j] = 0;
        }
        do {
            int row = row_of[column], next = 0;
            double delta = 1e300;
            done[column] = 1;
            for (j = 1; j <= n; ++j) {
                double cost;
                if (done[j]) continue;
                cost = -(double)m->confusion[(j - 1) * n + row - 1] - u[row] - v[j];
                if (cost < least[j]) {
                    least[j] = cost;
                    way[j] = column;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    next = j;
                }
            }
            for (j = 0; j <= n; ++j) {
                if (done[j]) {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else least[j] -= delta;
            }
            column = next;
        } while (row_of[column] != 0);
        for (; column != 0; column = way[column]) row_of[column] = row_of[way[column]];
    }
    for (j = 1; j <= n; ++j) {
        map[row_of[j] - 1] = j - 1;
        hits += (double)m->confusion[(j - 1) * n + row_of[j] - 1];
    }
    return hits / (double)m->images;
}
ZN_API double zn_metrics_permutation(const zn_metrics *metrics, int *map) {
    size_t n = metrics != NULL ? (size_t)metrics->classes + 1 : 0;
    double *reals, share = 0.0;
    int *ints;
    char *done;
    if (metrics == NULL || map == NULL || n > 513) return 0.0;
    reals = ZNI_NEW_ZERO(metrics->ctx, double, 3 * n);
    ints = ZNI_NEW_ZERO(metrics->ctx, int, 2 * n);
    done = ZNI_NEW(metrics->ctx, char, n);
    if (reals != NULL && ints != NULL && done != NULL) share = zni_assign(metrics, map, reals, reals + n, reals + 2 * n, ints, ints + n, done);
    zni_free(metrics->ctx, reals);
    zni_free(metrics->ctx, ints);
    zni_free(metrics->ctx, done);
    return share;
}

/* ---- averages of weights ---- */
struct zn_ema {
    zn_net *net;
    double decay;
    int64_t steps;
    zn_real *values; /* a second block like the network's */
};
static size_t zni_net_value_count(const zn_net *net) { return zni_buffer_bytes(net->values) / sizeof(zn_real); }
ZN_API zn_result zn_ema_create(zn_net *net, double decay, zn_ema **out_ema) {
    zn_ema *e;
    if (out_ema != NULL) *out_ema = NULL;
    if (net == NULL || out_ema == NULL) return zni_null(zn_net_ctx(net), "zn_ema_create");
    if (!(decay > 0.0 && decay < 1.0)) return zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "average of weights: the decay %g must be above 0 and below 1", decay);
    e = ZNI_NEW_ZERO(net->ctx, zn_ema, 1);
    if (e == NULL) return net->ctx->code;
    e->net = net;
    e->decay = decay;
    e->values = ZNI_NEW(net->ctx, zn_real, zni_net_value_count(net));
    if (e->values == NULL) {
        zni_free(net->ctx, e);
        return net->ctx->code;
    }
    memcpy(e->values, net->values, zni_buffer_bytes(net->values));
    *out_ema = e;
    return ZN_OK;
}
ZN_API void zn_ema_destroy(zn_ema *ema) {
    if (ema == NULL) return;
    zni_free(ema->net->ctx, ema->values);
    zni_free(ema->net->ctx, ema);
}
ZN_API void zn_ema_update(zn_ema *ema) {
    size_t i, count;
    double start, keep;
    if (ema == NULL) return;
    ++ema->steps;
    start = (1.0 + (double)ema->steps) / (10.0 + (double)ema->steps);
    keep = start < ema->decay ? start : ema->decay;
    count = zni_net_value_count(ema->net);
    for (i = 0; i < count; ++i) ema->values[i] += (zn_real)(1.0 - keep) * (ema->net->values[i] - ema->values[i]);
}
ZN_API void zn_ema_swap(zn_ema *ema) {
    size_t i, count;
    if (ema == NULL) return;
    count = zni_net_value_count(ema->net);
    for (i = 0; i < count; ++i) {
        zn_real t = ema->values[i];
        ema->values[i] = ema->net->values[i];
        ema->net->values[i] = t;
    }
}

/* ---- distillation ---- */
#define ZNI_MAX_STAGES 8
typedef struct zni_stage_maps { /* what one pass met: the first top-level block that shrinks the input 16, 32, ... times */
    int input, shrink, count;
    zn_tensor *maps[ZNI_MAX_STAGES];
    zn_distiller *learner; /* the student's pass adds to its loss; NULL in the teacher's, whose maps are copied */
} zni_stage_maps;
struct zn_distiller {
    zn_ctx *ctx;
    zn_net *student, *teacher;
    zn_distill_opts opts;
    int stages;
    zn_tensor *weight[ZNI_MAX_STAGES], *bias[ZNI_MAX_STAGES];
    zni_stage_maps taught; /* the teacher's maps of the current batch */
    zn_tensor *loss;   /* sum over the stages of the current batch, NULL before the first */
};

/* x N C H W resized bilinearly to h x w (pixel centres at half numbers, as PyTorch does it), without a gradient. */
static zn_tensor *zni_resize_map(zn_tensor *x, int h, int w) {
    zn_tensor *y;
    int plane, planes, ih, iw;
    if (x == NULL || !zni_ready(x)) return NULL;
    ih = x->shape.n[2];
    iw = x->shape.n[3];
    planes = x->shape.n[0] * x->shape.n[1];
    y = zni_result_new(x->ctx, -1, zn_shape4(x->shape.n[0], x->shape.n[1], h, w), 0, NULL);
    if (y == NULL) return NULL;
    ZNI_OMP(parallel for)
    for (plane = 0; plane < planes; ++plane) {
        const zn_real *from = x->data + (size_t)plane * (size_t)ih * (size_t)iw;
        zn_real *to = y->data + (size_t)plane * (size_t)h * (size_t)w;
        int i, j;
        for (i = 0; i < h; ++i) {
            double v = (i + 0.5) * ih / h - 0.5, fv;
            int top = v > 0.0 ? (int)v : 0, bottom = top + 1 < ih ? top + 1 : ih - 1;
            fv = v > 0.0 ? v - top : 0.0;
            for (j = 0; j < w; ++j) {
                double u = (j + 0.5) * iw / w - 0.5, fu, a, b;
                int left = u > 0.0 ? (int)u : 0, right = left + 1 < iw ? left + 1 : iw - 1;
                fu = u > 0.0 ? u - left : 0.0;
                a = (double)from[top * iw + left] * (1.0 - fu) + (double)from[top * iw + right] * fu;
                b = (double)from[bottom * iw + left] * (1.0 - fu) + (double)from[bottom * iw + right] * fu;
                to[i * w + j] = (zn_real)(a * (1.0 - fv) + b * fv);
            }
        }
    }
    return y;
}
/* The teacher's map for stage k, as large as y and clamped. */
static zn_tensor *zni_taught_map(zn_distiller *d, int k, const zn_tensor *y) {
    zn_tensor *map = d->taught.maps[k];
    zn_real limit = (zn_real)d->opts.clamp;
    size_t i;
    if (map != NULL && (map->shape.n[2] != y->shape.n[2] || map->shape.n[3] != y->shape.n[3])) map = zni_resize_map(map, y->shape.n[2], y->shape.n[3]);
    for (i = 0; map != NULL && limit > 0 && i < map->count; ++i) map->data[i] = map->data[i] > limit ? limit : map->data[i] < -limit ? -limit : map->data[i];
    return map;
}
static void zni_stages_tap(void *user, const zni_layer *layer, zn_tensor *x, zn_tensor *y) {
    zni_stage_maps *s = (zni_stage_maps *)user;
    zn_distiller *d = s->learner;
    int k = s->count;
    (void)x;
    if (layer->parent >= 0 || y->shape.dims != 4 || k == ZNI_MAX_STAGES || (2 * s->input + y->shape.n[2]) / (2 * y->shape.n[2]) != s->shrink) return;
    s->shrink *= 2;
    ++s->count;
    if (d == NULL) s->maps[k] = zni_resize_map(y, y->shape.n[2], y->shape.n[3]); /* a copy: the pass drops its own maps */
    else if (k < d->stages) {
        zn_tensor *loss = zn_smooth_l1(d->ctx, zn_conv2d(d->ctx, y, d->weight[k], d->bias[k], 1, 0, 1), zni_taught_map(d, k, y), 1.0);
        d->loss = d->loss == NULL ? loss : zn_add(d->ctx, d->loss, loss);
    }
}
/* One pass that collects stages; returns the logits. */
static zn_tensor *zni_stages_pass(zni_stage_maps *s, zn_net *net, zn_tensor *x, int training, zn_distiller *learner) {
    zni_walk w = zni_walk_of(net, training);
    memset(s, 0, sizeof *s);
    if (x == NULL) return NULL;
    s->input = x->shape.n[2];
    s->shrink = 16;
    s->learner = learner;
    w.tap = zni_stages_tap;
    w.user = s;
    return zni_net_head(&w, zni_net_walk(&w, x));
}
ZN_API zn_distill_opts zn_distill_opts_default(void) {
    zn_distill_opts o;
    o.logits = o.features = 1.0;
    o.clamp = 0.0;
    return o;
}
ZN_API void zn_distiller_destroy(zn_distiller *distiller) {
    int k;
    if (distiller == NULL) return;
    for (k = 0; k < ZNI_MAX_STAGES; ++k) {
        zn_tensor_destroy(distiller->weight[k]);
        zn_tensor_destroy(distiller->bias[k]);
    }
    zni_free(distiller->ctx, distiller);
}
ZN_API int zn_distiller_stages(const zn_distiller *distiller) { return distiller != NULL ? distiller->stages : 0; }
/* Stages and their channels, found by a pass of one blank picture. */
static zn_result zni_distiller_probe(zn_net *net, int size, zni_stage_maps *stages, int *channels) {
    zn_tensor *x = zn_tensor_create(net->ctx, zn_shape4(1, 3, size, size));
    int k;
    if (x == NULL) return net->ctx->code;
    zn_no_grad_begin(net->ctx);
    zni_stages_pass(stages, net, x, 0, NULL);
    for (k = 0; net->ctx->code == ZN_OK && k < stages->count; ++k) channels[k] = stages->maps[k]->shape.n[1];
    zn_no_grad_end(net->ctx);
    zn_tape_clear(net->ctx);
    zn_tensor_destroy(x);
    return net->ctx->code;
}
static zn_result zni_distiller_build(zn_distiller *d, int size, zn_optimizer *optimizer, uint64_t seed) {
    zni_stage_maps student, teacher;
    int from[ZNI_MAX_STAGES], to[ZNI_MAX_STAGES], before = optimizer->count, k;
    if (zni_distiller_probe(d->student, size, &student, from) != ZN_OK || zni_distiller_probe(d->teacher, d->teacher->input.size, &teacher, to) != ZN_OK) return d->ctx->code;
    d->stages = student.count == teacher.count && d->opts.features > 0.0 ? student.count : 0;
    for (k = 0; k < d->stages; ++k) {
        zn_rng rng = zn_rng_stream(seed, (uint64_t)k);
        size_t i;
        d->weight[k] = zn_param_zeros(d->ctx, zn_shape4(to[k], from[k], 1, 1));
        d->bias[k] = zn_param_zeros(d->ctx, zn_shape1(to[k]));
        if (d->weight[k] == NULL || d->bias[k] == NULL) return d->ctx->code;
        for (i = 0; i < d->weight[k]->count; ++i) d->weight[k]->data[i] = (zn_real)(1e-3 * zn_rng_normal(&rng));
    }
    for (k = 0; k < d->stages && d->ctx->code == ZN_OK; ++k)
        if (zni_optimizer_adopt(optimizer, d->weight[k]) != ZN_OK || zni_optimizer_adopt(optimizer, d->bias[k]) != ZN_OK) zni_optimizer_forget(optimizer, before);
    return d->ctx->code;
}
ZN_API zn_result zn_distiller_create(zn_net *student, zn_net *teacher, int size, const zn_distill_opts *opts, zn_optimizer *optimizer, uint64_t seed,
                                     zn_distiller **out_distiller) {
    zn_distill_opts o = opts != NULL ? *opts : zn_distill_opts_default();
    zn_distiller *d;
    if (out_distiller != NULL) *out_distiller = NULL;
    if (student == NULL || teacher == NULL || optimizer == NULL || out_distiller == NULL) return zni_null(zn_net_ctx(student), "zn_distiller_create");
    if (student->ctx != teacher->ctx || student == teacher) return zni_fail(student->ctx, ZN_ERROR_ARGUMENT, "distillation: teacher and student must be two networks of one context");
    if (student->opts.classes != teacher->opts.classes)
        return zni_fail(student->ctx, ZN_ERROR_MISMATCH, "distillation: the teacher has %d classes, the student %d", teacher->opts.classes, student->opts.classes);
    if (!(o.logits >= 0.0 && o.logits <= 1000.0) || !(o.features >= 0.0 && o.features <= 1000.0) || !(o.clamp >= 0.0 && isfinite(o.clamp)))
        return zni_fail(student->ctx, ZN_ERROR_ARGUMENT, "distillation: weights %g, %g must be in 0..1000, clamp %g not negative", o.logits, o.features, o.clamp);
    d = ZNI_NEW_ZERO(student->ctx, zn_distiller, 1);
    if (d == NULL) return student->ctx->code;
    d->ctx = student->ctx;
    d->student = student;
    d->teacher = teacher;
    d->opts = o;
    if (zni_distiller_build(d, size, optimizer, seed) == ZN_OK) {
        *out_distiller = d;
        return ZN_OK;
    }
    zn_distiller_destroy(d);
    return student->ctx->code;
}
ZN_API zn_tensor *zn_distiller_loss(zn_distiller *distiller, zn_tensor *x, zn_tensor *target, zn_tensor **out_logits) {
    zn_distiller *d = distiller;
    zni_stage_maps learned;
    zn_tensor *soft, *logits, *loss;
    int size;
    if (d == NULL || x == NULL || out_logits == NULL) return NULL;
    size = d->teacher->input.size;
    zn_no_grad_begin(d->ctx);
    soft = zn_softmax(d->ctx, zni_stages_pass(&d->taught, d->teacher, x->shape.n[2] == size ? x : zni_resize_map(x, size, size), 0, NULL));
    zn_no_grad_end(d->ctx);
    d->loss = NULL;
    if (soft == NULL) return NULL;
    *out_logits = logits = zni_stages_pass(&learned, d->student, x, 1, d);
    loss = zn_cross_entropy(d->ctx, logits, target);
    if (d->opts.logits > 0.0) loss = zn_add(d->ctx, loss, zn_scale(d->ctx, zn_cross_entropy(d->ctx, logits, soft), d->opts.logits));
    if (d->loss != NULL) loss = zn_add(d->ctx, loss, zn_scale(d->ctx, d->loss, d->opts.features));
    return loss;
}

/* ---- the trainer's options ---- */
#define ZNI_MAX_EPOCHS 100000
static const zni_option zni_train_fields[] = { /* what is checked, and what the recipe says */
#define ZNI_OF_OPTIMIZER(name, kind, low, high) ZNI_FIELD(optimizer.name, kind, low, high)
#define ZNI_FIELD(name, kind, low, high) {#name, kind, offsetof(zn_train_opts, name), low, high}
    ZNI_FIELD(epochs, 'i', 1, ZNI_MAX_EPOCHS), ZNI_FIELD(batch, 'i', 1, 1000000), ZNI_FIELD(micro_batch, 'i', 0, 1000000), ZNI_FIELD(lr, 'd', 0, 1e6),
    ZNI_FIELD(schedule.target, 'd', 0, 1e6), ZNI_FIELD(schedule.warmup, 'd', 0, 100000), ZNI_FIELD(schedule.decay, 'd', 0, 1e6),
    ZNI_FIELD(schedule.milestone_count, 'i', 0, ZN_MAX_MILESTONES), ZNI_OPTIMIZER_FIELDS(ZNI_OF_OPTIMIZER),
    ZNI_FIELD(keep_weights, 'i', 0, 1), ZNI_FIELD(freeze_backbone, 'i', 0, 1), ZNI_FIELD(label_smoothing, 'd', 0, 1), ZNI_FIELD(mixup, 'd', 0, 100),
    ZNI_FIELD(balanced, 'i', 0, 1), ZNI_FIELD(ema, 'd', 0, 0.9999999), ZNI_FIELD(keep_last, 'i', 0, 1), ZNI_FIELD(eval_batch, 'i', 0, 1000000),
    ZNI_FIELD(eval_every, 'i', 1, 100000), ZNI_FIELD(distill.logits, 'd', 0, 1000), ZNI_FIELD(distill.features, 'd', 0, 1000), ZNI_FIELD(distill.clamp, 'd', 0, 1e30),
    ZNI_FIELD(checkpoint_seconds, 'D', 0, 1e9), ZNI_FIELD(augment.input.size, 'i', 1, ZN_MAX_INPUT_SIZE), ZNI_FIELD(augment.input.resize, 'i', 0, 2 * ZN_MAX_INPUT_SIZE),
    ZNI_FIELD(augment.input.bgr, 'i', 0, 1), ZNI_FIELD(augment.crop_resize, 'i', 0, 2 * ZN_MAX_INPUT_SIZE), ZNI_FIELD(augment.crop_padding, 'i', 0, ZN_MAX_INPUT_SIZE),
    ZNI_FIELD(augment.crop_area[0], 'd', 0, 1), ZNI_FIELD(augment.crop_area[1], 'd', 0, 1), ZNI_FIELD(augment.crop_ratio[0], 'd', 0, 10),
    ZNI_FIELD(augment.crop_ratio[1], 'd', 0, 10), ZNI_FIELD(augment.flip, 'd', 0, 1), ZNI_FIELD(augment.jitter, 'd', 0, 1), ZNI_FIELD(augment.lighting, 'd', 0, 1),
    ZNI_FIELD(augment.erase, 'd', 0, 1), ZNI_FIELD(augment.erase_area[0], 'd', 0, 1), ZNI_FIELD(augment.erase_area[1], 'd', 0, 1),
    ZNI_FIELD(augment.erase_ratio[0], 'd', 0, 10), ZNI_FIELD(augment.erase_ratio[1], 'd', 0, 10), ZNI_FIELD(augment.erase_ratio_log, 'i', 0, 1)};
#undef ZNI_FIELD
#undef ZNI_OF_OPTIMIZER
#define ZNI_TRAIN_FIELDS (sizeof zni_train_fields / sizeof zni_train_fields[0])

ZN_API zn_train_opts zn_train_opts_default(void) {
    zn_train_opts o;
    memset(&o, 0, sizeof o);
    o.epochs = 100;
    o.batch = 64;
    o.schedule.kind = ZN_SCHEDULE_COSINE;
    o.schedule.warmup = 5.0;
    o.schedule.decay = 0.1;
    o.optimizer = zn_optimizer_opts_default(ZN_SGD);
    o.init = ZN_INIT_CUSTOM;
    o.seed = 1;
    o.augment = zn_augment_opts_none(224);
    o.label_smoothing = 0.1;
    o.eval_every = 1;
    o.distill = zn_distill_opts_default();
    o.checkpoint_seconds = 300.0;
    return o;
}
ZN_API zn_train_opts zn_train_opts_rafdb(void) {
    zn_train_opts o = zn_train_opts_default();
    o.epochs = 400;
    o.augment = zn_augment_opts_rafdb(224);
    o.mixup = 0.2;
    return o;
}
ZN_API zn_train_opts zn_train_opts_affectnet(void) {
    zn_train_opts o = zn_train_opts_rafdb();
    o.augment = zn_augment_opts_affectnet(224);
    o.balanced = 1;
    return o;
}
ZN_API zn_train_opts zn_train_opts_cifar(void) {
    zn_train_opts o = zn_train_opts_rafdb();
    o.epochs = 1440;
    o.augment = zn_augment_opts_cifar(32);
    return o;
}
static zn_result zni_train_check(zn_ctx *ctx, const zn_train_opts *o) {
    if (zni_options_check(ctx, "training", zni_train_fields, ZNI_TRAIN_FIELDS, o) != ZN_OK) return ctx->code;
    if ((int)o->schedule.kind < 0 || o->schedule.kind > ZN_SCHEDULE_STEP || (int)o->optimizer.kind < 0 || o->optimizer.kind > ZN_ADADELTA)
        return zni_fail(ctx, ZN_ERROR_ARGUMENT, "training: unknown schedule %d or optimizer %d", (int)o->schedule.kind, (int)o->optimizer.kind);
    if (o->schedule.warmup >= o->epochs) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "training: a warm-up of %g epochs leaves nothing of %d", o->schedule.warmup, o->epochs);
    return zn_augment_check(ctx, &o->augment);
}
/* Lines of "name value": what decides the result, and nothing else. */
static char *zni_train_recipe(zn_net *net, const zn_pack *train, const zn_pack *test, const zn_train_opts *o) {
    zni_text text;
    size_t i;
    memset(&text, 0, sizeof text);
    text.ctx = net->ctx;
    zni_text_append(&text, "structure ", 10);
    zni_text_append(&text, net->structure, strlen(net->structure)); /* may be longer than zni_text_format takes */
    zni_text_format(&text, "\nattention %s\nlw_att %d\nreslink %d\nbn %d\nprojection %d\nclasses %d\ntrain_attention %d\nbn_momentum %.17g\nbn_eps %.17g\ngn_eps %.17g\n",
                    zn_attention_text(net->opts.attention), net->opts.lw_att, net->opts.reslink, net->opts.bn, (int)net->opts.projection, net->opts.classes,
                    net->opts.train_attention, net->opts.bn_momentum, net->opts.bn_eps, net->opts.gn_eps);
    zni_text_format(&text, "train_data %016llx\ntest_data %016llx\n", (unsigned long long)train->hash, (unsigned long long)(test != NULL ? test->hash : 0));
    zni_text_format(&text, "seed %llu\ninit %s\nschedule %s\noptimizer %s\ncrop %d\npolicy %d\nfilter %d\nteacher %016llx\nreal %d\n", (unsigned long long)o->seed,
                    zni_init_names[o->init], zni_schedule_names[o->schedule.kind], zni_optimizer_names[o->optimizer.kind], (int)o->augment.crop,
                    (int)o->augment.policy, (int)o->augment.input.filter, (unsigned long long)(o->teacher != NULL ? zn_fnv1a64(o->teacher->values, zni_buffer_bytes(o->teacher->values), ZN_FNV_START) : 0), (int)sizeof(zn_real) * 8);
    for (i = 0; i < ZNI_TRAIN_FIELDS; ++i)
        if (zni_train_fields[i].kind >= 'a') zni_text_format(&text, "%s %.10g\n", zni_train_fields[i].name, zni_option_value(&zni_train_fields[i], o));
    for (i = 0; i < (size_t)o->schedule.milestone_count; ++i) zni_text_format(&text, "milestone %d\n", o->schedule.milestones[i]);
    for (i = 0; i < 3; ++i) zni_text_format(&text, "mean %.17g\nstd %.17g\n", o->augment.input.mean[i], o->augment.input.std[i]);
    if (!text.failed) return text.chars;
    zni_free(net->ctx, text.chars);
    return NULL;
}

/* ---- the trainer ---- */
typedef struct zni_trainer {
    zn_ctx *ctx;
    zn_net *net;
    const zn_pack *train, *test; /* test NULL: nothing to test on */
    zn_train_opts opts;
    zn_loader *loader;
    zn_optimizer *optimizer;
    zn_ema *ema;
    zn_distiller *distiller;
    zn_train_result *result;
    int *class_map;
    zn_real *best;       /* the network's values at its best epoch */
    int epoch;           /* what comes next: batch number `batch` of this epoch */
    size_t batch;
    double loss, hits;   /* sums over this epoch so far */
    double begin, saved; /* wall clock */
    double trained, row_seconds, row_waited; /* seconds of training in this run; of this epoch: all, and loading */
    size_t steps;        /* in this run */
    zn_train_state state;
} zni_trainer;

/* The learning rate of batch number `batch` of an epoch. */
static double zni_trainer_lr(const zni_trainer *t, int epoch, size_t batch) {
    zn_schedule s = t->opts.schedule;
    s.lr = t->opts.lr;
    s.epochs = t->opts.epochs;
    s.samples = (double)zn_pack_count(t->train, ZN_SPLIT_TRAIN);
    return zn_schedule_lr(&s, epoch * s.samples + (double)(batch + 1) * t->opts.batch);
}
static int zni_count_hits(const zn_tensor *logits, const zn_tensor *target) {
    int i, hits = 0, classes = logits->shape.n[1];
    for (i = 0; i < logits->shape.n[0]; ++i) hits += zni_argmax(logits->data + i * classes, classes) == zni_argmax(target->data + i * classes, classes);
    return hits;
}
/* Gradients of images begin..begin+count-1 of a batch; their part of the batch's mean loss is added to *loss. */
static zn_result zni_trainer_gradient(zni_trainer *t, const zn_batch *batch, int begin, int count, double *loss) {
    double share = (double)count / batch->count, value;
    zn_tensor *x = batch->x, *target = batch->target, *logits = NULL, *y;
    if (count < batch->count) {
        x = zni_rows(x, begin, count);
        target = zni_rows(target, begin, count);
    }
    if (t->distiller != NULL) y = zn_distiller_loss(t->distiller, x, target, &logits);
    else y = zn_cross_entropy(t->ctx, logits = zn_net_forward(t->net, x, 1), target);
    if (y == NULL) return t->ctx->code;
    value = zn_tensor_value(y);
    if (!isfinite(value))
        return zni_fail(t->ctx, ZN_ERROR_NUMBER, "training: the loss is %g at step %lu (epoch %d, batch %lu), learning rate %g: a smaller one, or clipping, may help", value,
                        (unsigned long)t->epoch * (unsigned long)zn_loader_batches(t->loader) + (unsigned long)t->batch, t->epoch + 1, (unsigned long)t->batch + 1,
                        zni_trainer_lr(t, t->epoch, t->batch));
    *loss += share * value;
    t->hits += zni_count_hits(logits, target);
    if (zn_backward(t->ctx, count < batch->count ? zn_scale(t->ctx, y, share) : y) != ZN_OK) return t->ctx->code;
    zn_tape_clear(t->ctx);
    return ZN_OK;
}
static zn_result zni_trainer_step(zni_trainer *t) {
    double start = zni_seconds(), loaded, loss = 0.0, lr = zni_trainer_lr(t, t->epoch, t->batch);
    int begin, part = t->opts.micro_batch > 0 ? t->opts.micro_batch : t->opts.batch;
    zn_batch batch;
    if (zn_loader_load(t->loader, t->epoch, t->batch, &batch) != ZN_OK) return t->ctx->code;
    loaded = zni_seconds();
    for (begin = 0; begin < batch.count; begin += part)
        if (zni_trainer_gradient(t, &batch, begin, batch.count - begin < part ? batch.count - begin : part, &loss) != ZN_OK) return t->ctx->code;
    if (zn_optimizer_step(t->optimizer, lr) != ZN_OK) return t->ctx->code;
    zn_ema_update(t->ema);
    t->loss += loss;
    ++t->batch;
    ++t->steps;
    t->state.loss = loss;
    t->state.lr = lr;
    t->trained += zni_seconds() - start;
    t->row_waited += loaded - start;
    t->result->waited += loaded - start;
    return ZN_OK;
}
/* Fills what callbacks see. */
static void zni_trainer_show(zni_trainer *t) {
    zn_train_state *s = &t->state;
    size_t batches = zn_loader_batches(t->loader), left = (size_t)(t->opts.epochs - t->epoch) * batches - t->batch;
    double spent = zni_seconds() - t->begin;
    s->epoch = t->epoch;
    s->epochs = t->opts.epochs;
    s->batch = t->batch;
    s->batches = batches;
    s->mean_loss = t->batch > 0 ? t->loss / (double)t->batch : 0.0;
    s->top1 = t->batch > 0 ? t->hits / ((double)t->batch * t->opts.batch) : 0.0;
    s->images_per_second = t->trained > 0.0 ? (double)t->steps * t->opts.batch / t->trained : 0.0;
    s->seconds_left = t->steps > 1 ? spent / (double)t->steps * (double)left : -1.0;
    s->evaluating = 0;
}
static int zni_trainer_testing(size_t done, size_t images, void *user) {
    zni_trainer *t = (zni_trainer *)user;
    t->state.evaluating = 1;
    t->state.batch = done;
    t->state.batches = images;
    return t->opts.on_batch != NULL ? t->opts.on_batch(&t->state, t->opts.user) : 0;
}
static zn_result zni_trainer_test(zni_trainer *t, zn_metrics **out_metrics) {
    zn_evaluate_opts o = zn_evaluate_opts_default();
    zn_result result;
    *out_metrics = NULL;
    if (t->test == NULL || ((t->epoch + 1) % t->opts.eval_every != 0 && t->epoch + 1 < t->opts.epochs)) return ZN_OK;
    o.batch = t->opts.eval_batch > 0 ? t->opts.eval_batch : t->opts.batch;
    o.on_batch = zni_trainer_testing;
    o.user = t;
    zn_ema_swap(t->ema);
    result = zn_evaluate(t->net, t->test, &o, out_metrics);
    zn_ema_swap(t->ema);
    return result;
}
/* The values that are evaluated and kept. */
static zn_real *zni_trainer_values(zni_trainer *t) { return t->ema != NULL ? t->ema->values : t->net->values; }

/* Writes a row, and keeps the values when they are the best. */
static void zni_trainer_row(zni_trainer *t, const zn_metrics *m) {
    zn_train_row *row = &t->result->rows[t->epoch];
    double batches = (double)zn_loader_batches(t->loader);
    row->epoch = t->epoch;
    row->lr = zni_trainer_lr(t, t->epoch, zn_loader_batches(t->loader) - 1);
    row->loss = t->loss / batches;
    row->top1 = t->hits / (batches * t->opts.batch);
    row->test_loss = m != NULL ? m->loss : (double)NAN;
    row->test_top1 = m != NULL ? m->top1 : (double)NAN;
    row->test_top5 = m != NULL ? m->top5 : (double)NAN;
    row->test_mean_class = m != NULL ? m->mean_class : (double)NAN;
    row->seconds = t->row_seconds;
    row->waited = t->row_seconds > 0.0 ? t->row_waited / t->row_seconds : 0.0;
    t->state.rows = t->result->rows;
    t->state.metrics = m;
    t->state.best = m != NULL && (t->result->best_epoch < 0 || m->top1 > t->result->best_top1);
    if (!t->state.best) return;
    t->result->best_epoch = t->epoch;
    t->result->best_top1 = m->top1;
    memcpy(t->best, zni_trainer_values(t), zni_buffer_bytes(t->best));
}
static void zni_trainer_next_epoch(zni_trainer *t) {
    t->result->epochs = ++t->epoch;
    t->batch = 0;
    t->loss = t->hits = t->row_seconds = t->row_waited = 0.0;
}

/* ---- checkpoints: the network's model file, and what else a run is under "train." ---- */
static char *zni_checkpoint_path(const zni_trainer *t, const char *name) {
    size_t folder = strlen(t->opts.checkpoint_dir), length = strlen(name);
    char *path = ZNI_NEW(t->ctx, char, folder + length + 2);
    if (path == NULL) return NULL;
    memcpy(path, t->opts.checkpoint_dir, folder);
    path[folder] = '/';
    memcpy(path + folder + 1, name, length + 1);
    return path;
}
/* Name of the state of the optimiser's tensor i; the projections of distillation, which have none, are counted. */
static void zni_checkpoint_name(const zn_optimizer *o, int i, const char *what, char *name, size_t size) {
    if (o->tensors[i]->name != NULL) snprintf(name, size, "train.%s.%s", what, o->tensors[i]->name);
    else snprintf(name, size, "train.%s.projection.%d", what, i);
}
static zn_shape zni_checkpoint_shape(const zn_optimizer *o, int i) { return zn_shape1((int)(o->tensors[i]->count * zni_optimizer_slots(o->opts.kind))); }

static void zni_checkpoint_store(zni_trainer *t, zni_store *s) {
    zn_optimizer *o = t->optimizer;
    zn_shape block = zn_shape1((int)zni_net_value_count(t->net));
    zni_text rows;
    char text[256], name[ZNI_NAME_SIZE + 96];
    int i;
    zni_store_net(s, t->net);
    zni_store_text(s, "train.recipe", t->result->recipe);
    snprintf(text, sizeof text, "%d %lu %lu %lu %d %.17g %.17g %.17g %.17g %.17g", t->epoch, (unsigned long)t->batch, (unsigned long)o->steps,
             (unsigned long)(t->ema != NULL ? t->ema->steps : 0), t->result->best_epoch, t->result->best_top1, t->loss, t->hits, t->row_seconds, t->row_waited);
    zni_store_text(s, "train.state", text);
    memset(&rows, 0, sizeof rows);
    rows.ctx = t->ctx;
    zni_text_append(&rows, "", 0);
    for (i = 0; i < t->epoch; ++i) {
        const zn_train_row *r = &t->result->rows[i];
        zni_text_format(&rows, "%.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g\n", r->lr, r->loss, r->top1, r->test_loss, r->test_top1, r->test_top5,
                        r->test_mean_class, r->seconds, r->waited);
    }
    if (rows.failed) s->metadata.failed = 1;
    else zni_store_text(s, "train.rows", rows.chars);
    zni_free(t->ctx, rows.chars);
    for (i = 0; i < o->count; ++i) {
        zni_checkpoint_name(o, i, "optimizer", name, sizeof name);
        zni_store_tensor(s, name, zni_checkpoint_shape(o, i), o->state[i]);
        if (o->tensors[i]->name != NULL) continue;
        zni_checkpoint_name(o, i, "distill", name, sizeof name);
        zni_store_tensor(s, name, o->tensors[i]->shape, o->tensors[i]->data);
    }
    zni_store_tensor(s, "train.best", block, t->best);
    if (t->ema != NULL) zni_store_tensor(s, "train.ema", block, t->ema->values);
}
static zn_result zni_checkpoint_save(zni_trainer *t) {
    zni_store s;
    char *path;
    if (t->opts.checkpoint_dir == NULL || (path = zni_checkpoint_path(t, "latest.safetensors")) == NULL) return t->ctx->code;
    zni_store_begin(&s, t->ctx);
    s.sealed = 1; /* a run that goes on from one wrong bit would end in others, and nobody would know */
    zni_checkpoint_store(t, &s);
    zni_store_end(&s, path);
    zni_free(t->ctx, path);
    t->saved = zni_seconds();
    return t->ctx->code;
}
static zn_result zni_checkpoint_save_best(zni_trainer *t) {
    char *path;
    if (t->opts.checkpoint_dir == NULL || (path = zni_checkpoint_path(t, "best.safetensors")) == NULL) return t->ctx->code;
    zn_ema_swap(t->ema);
    zn_net_save(t->net, path);
    zn_ema_swap(t->ema);
    zni_free(t->ctx, path);
    return t->ctx->code;
}
/* Takes `count` numbers from text; NULL when they are not there. */
static const char *zni_take_numbers(const char *text, double *numbers, int count) {
    char *end;
    int i;
    for (i = 0; i < count && text != NULL; ++i) {
        numbers[i] = strtod(text, &end);
        text = end != text ? end : NULL;
    }
    return text;
}
/* One tensor of a checkpoint into memory. */
static void zni_checkpoint_tensor(zni_archive *a, const char *name, zn_shape shape, zn_real *to) {
    const zni_entry *e = zni_archive_find(a, name);
    if (e != NULL && zni_entry_shaped(e, shape)) zni_entry_read(e, to);
    else zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "not a whole checkpoint: tensor %.200s is missing or of another shape", name);
}
/* The rows of result->epochs epochs. */
static zn_result zni_checkpoint_rows(zni_archive *a, zn_train_result *result) {
    const char *rows = zni_archive_text(a, "train.rows");
    double n[9];
    int i;
    for (i = 0; i < result->epochs; ++i) {
        zn_train_row *r = &result->rows[i];
        rows = zni_take_numbers(rows, n, 9);
        if (rows == NULL) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "not a whole checkpoint: its history is cut off");
        r->epoch = i;
        r->lr = n[0];
        r->loss = n[1];
        r->top1 = n[2];
        r->test_loss = n[3];
        r->test_top1 = n[4];
        r->test_top5 = n[5];
        r->test_mean_class = n[6];
        r->seconds = n[7];
        r->waited = n[8];
    }
    return ZN_OK;
}
static zn_result zni_checkpoint_position(zni_trainer *t, zni_archive *a) {
    const char *state = zni_archive_text(a, "train.state");
    double n[10];
    int epochs = t->opts.epochs;
    if (zni_take_numbers(state, n, 10) == NULL || !(n[0] >= 0 && n[0] <= epochs) || !(n[1] >= 0 && n[1] <= (double)zn_loader_batches(t->loader)) ||
        !(n[2] >= 0 && n[2] < 1e15) || !(n[3] >= 0 && n[3] < 1e15) || !(n[4] >= -1 && n[4] < n[0]) || (n[4] < 0 && n[4] > -1))
        return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "not a whole checkpoint: its position makes no sense");
    t->result->epochs = t->result->resumed_epoch = t->epoch = (int)n[0];
    t->batch = (size_t)n[1];
    t->optimizer->steps = (int64_t)n[2];
    if (t->ema != NULL) t->ema->steps = (int64_t)n[3];
    t->result->best_epoch = (int)n[4];
    t->result->best_top1 = n[5];
    t->loss = n[6];
    t->hits = n[7];
    t->row_seconds = n[8];
    t->row_waited = n[9];
    return zni_checkpoint_rows(a, t->result);
}
/* Words for the first line in which two recipes differ. */
static zn_result zni_checkpoint_differs(zni_archive *a, const char *was, const char *now) {
    int i, line = 0;
    for (i = 0; was[i] == now[i] && was[i] != '\0'; ++i)
        if (was[i] == '\n') line = i + 1;
    return zni_archive_fail(a, ZN_ERROR_MISMATCH, NULL, "made with \"%.*s\", but now it is \"%.*s\"; resume with the same options, or begin anew", (int)strcspn(was + line, "\n") > 150 ? 150 : (int)strcspn(was + line, "\n"),
                            was + line, (int)strcspn(now + line, "\n") > 150 ? 150 : (int)strcspn(now + line, "\n"), now + line);
}
/* Whether a sealed file has the checksum that it says. */
static int zni_archive_unbroken(zni_archive *a) {
    const char *said = zni_archive_text(a, ZNI_SEAL_KEY);
    const size_t before = sizeof ZNI_SEAL_BEFORE - 1, digits = sizeof ZNI_SEAL_ZEROS - 1;
    unsigned char *bytes = a->file.bytes + 8;
    size_t size = a->file.size - 8, at;
    uint64_t sum;
    char text[20];
    if (said == NULL || strlen(said) != digits) return 0;
    for (at = 0; at + before + digits < size && memcmp(bytes + at, ZNI_SEAL_BEFORE, before) != 0; ++at) {}
    at += before;
    if (at + digits > size || memcmp(bytes + at, said, digits) != 0) return 0;
    sum = zn_fnv1a64(bytes, at, ZN_FNV_START);
    sum = zn_fnv1a64(ZNI_SEAL_ZEROS, digits, sum);
    sum = zn_fnv1a64(bytes + at + digits, size - at - digits, sum);
    snprintf(text, sizeof text, "%08lx%08lx", (unsigned long)(sum >> 32), (unsigned long)(sum & 0xffffffffu));
    return memcmp(text, said, digits) == 0;
}
static zn_result zni_checkpoint_take(zni_trainer *t, zni_archive *a) {
    zn_optimizer *o = t->optimizer;
    zn_shape block = zn_shape1((int)zni_net_value_count(t->net));
    const char *recipe = zni_archive_text(a, "train.recipe");
    char name[ZNI_NAME_SIZE + 96];
    int i;
    if (recipe == NULL) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "a model, but not a checkpoint");
    if (!zni_archive_unbroken(a)) return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "damaged: its checksum is wrong");
    if (strcmp(recipe, t->result->recipe) != 0) return zni_checkpoint_differs(a, recipe, t->result->recipe);
    if (zni_net_take(t->net, a, NULL, NULL) != ZN_OK || zni_checkpoint_position(t, a) != ZN_OK) return t->ctx->code;
    for (i = 0; i < o->count; ++i) {
        zni_checkpoint_name(o, i, "optimizer", name, sizeof name);
        zni_checkpoint_tensor(a, name, zni_checkpoint_shape(o, i), o->state[i]);
        if (o->tensors[i]->name != NULL) continue;
        zni_checkpoint_name(o, i, "distill", name, sizeof name);
        zni_checkpoint_tensor(a, name, o->tensors[i]->shape, o->tensors[i]->data);
    }
    zni_checkpoint_tensor(a, "train.best", block, t->best);
    if (t->ema != NULL) zni_checkpoint_tensor(a, "train.ema", block, t->ema->values);
    return t->ctx->code;
}
/* Resumes, or saves the start: better to learn now than after an epoch that the folder cannot be written. */
static zn_result zni_checkpoint_open(zni_trainer *t) {
    zni_archive a;
    char *path;
    FILE *file;
    if (t->opts.checkpoint_dir == NULL) return ZN_OK;
#if ZNI_POSIX
    if (mkdir(t->opts.checkpoint_dir, 0777) != 0 && errno != EEXIST) return zni_fail(t->ctx, ZN_ERROR_FILE, "%s: cannot make this folder: %s", t->opts.checkpoint_dir, strerror(errno));
#endif
    path = zni_checkpoint_path(t, "latest.safetensors");
    if (path == NULL) return t->ctx->code;
    file = t->opts.resume ? fopen(path, "rb") : NULL;
    if (file == NULL && (!t->opts.resume || errno == ENOENT)) {
        zni_free(t->ctx, path);
        return zni_checkpoint_save(t);
    }
    if (file != NULL) fclose(file);
    if (zni_archive_open(t->ctx, path, &a) == ZN_OK) zni_checkpoint_take(t, &a);
    zni_archive_close(&a);
    zni_free(t->ctx, path);
    return t->ctx->code;
}

/* ---- the run ---- */
/* The rest of an epoch and what ends it. ZN_STOPPED: a callback wants no more, and the state is saved. */
static zn_result zni_trainer_epoch(zni_trainer *t) {
    size_t batches = zn_loader_batches(t->loader);
    zn_metrics *metrics;
    zn_result result;
    int stop = 0;
    double start;
    if (zn_pack_check(t->train) != ZN_OK) return t->ctx->code;
    while (t->batch < batches && !stop) {
        start = zni_seconds();
        if (zni_trainer_step(t) != ZN_OK) return t->ctx->code;
        zni_trainer_show(t);
        stop = t->opts.on_batch != NULL && t->opts.on_batch(&t->state, t->opts.user) != 0;
        t->row_seconds += zni_seconds() - start;
        if (stop || (t->opts.checkpoint_seconds > 0.0 && zni_seconds() - t->saved > t->opts.checkpoint_seconds))
            if (zni_checkpoint_save(t) != ZN_OK) return t->ctx->code;
    }
    if (stop) return ZN_STOPPED;
    start = zni_seconds();
    result = zni_trainer_test(t, &metrics);
    t->row_seconds += zni_seconds() - start;
    if (result == ZN_STOPPED && zni_checkpoint_save(t) != ZN_OK) return t->ctx->code;
    if (result != ZN_OK) return result;
    zni_trainer_show(t);
    zni_trainer_row(t, metrics);
    zni_trainer_next_epoch(t);
    if (t->state.best) result = zni_checkpoint_save_best(t);
    if (result == ZN_OK) result = zni_checkpoint_save(t);
    if (result == ZN_OK && t->opts.on_epoch != NULL && t->opts.on_epoch(&t->state, t->opts.user) != 0) result = ZN_STOPPED;
    zn_metrics_destroy(metrics);
    t->state.metrics = NULL;
    return result;
}
/* What the network is before the first step. */
static zn_result zni_trainer_prepare_net(zni_trainer *t) {
    zn_net *net = t->net;
    if (zni_net_unnamed(net) && net->opts.classes == t->train->classes && zn_net_set_class_names(net, t->train->class_names, t->train->classes) != ZN_OK) return t->ctx->code;
    if (zn_net_set_input(net, &t->opts.augment.input) != ZN_OK) return t->ctx->code;
    if (!t->opts.keep_weights && zn_net_init(net, t->opts.init, t->opts.seed) != ZN_OK) return t->ctx->code;
    if (t->opts.freeze_backbone) zn_net_freeze_backbone(net, 1);
    zn_grad_clear(t->ctx);
    t->class_map = ZNI_NEW(t->ctx, int, t->train->classes);
    if (t->class_map == NULL || zn_class_map(net, t->train, 0, t->class_map) != ZN_OK) return t->ctx->code;
    if (t->test != NULL && t->test != t->train) { /* now rather than after the first epoch */
        int *map = ZNI_NEW(t->ctx, int, t->test->classes);
        if (map != NULL) zn_class_map(net, t->test, 0, map);
        zni_free(t->ctx, map);
    }
    return t->ctx->code;
}
static zn_result zni_trainer_prepare_loader(zni_trainer *t) {
    zn_loader_opts o = zn_loader_opts_default();
    o.batch = t->opts.batch;
    o.balanced = t->opts.balanced;
    o.seed = t->opts.seed;
    o.augment = t->opts.augment;
    o.label_smoothing = t->opts.label_smoothing;
    o.mixup = t->opts.mixup;
    o.class_map = t->class_map;
    o.classes = t->net->opts.classes;
    return zn_loader_create(t->train, &o, &t->loader);
}
static zn_result zni_trainer_prepare(zni_trainer *t) {
    zn_train_opts *o = &t->opts;
    if (zni_train_check(t->ctx, o) != ZN_OK || zni_trainer_prepare_net(t) != ZN_OK || zni_trainer_prepare_loader(t) != ZN_OK) return t->ctx->code;
    if (zn_optimizer_create(t->ctx, t->net, &o->optimizer, &t->optimizer) != ZN_OK) return t->ctx->code;
    if (o->ema > 0.0 && zn_ema_create(t->net, o->ema, &t->ema) != ZN_OK) return t->ctx->code;
    if (o->teacher != NULL && zn_distiller_create(t->net, o->teacher, o->augment.input.size, &o->distill, t->optimizer, o->seed, &t->distiller) != ZN_OK) return t->ctx->code;
    t->best = (zn_real *)zni_alloc_zero(t->ctx, zni_buffer_bytes(t->net->values));
    t->result->rows = ZNI_NEW_ZERO(t->ctx, zn_train_row, o->epochs);
    t->result->recipe = zni_train_recipe(t->net, t->train, t->test, o);
    return t->ctx->code;
}
static zn_result zni_trainer_run(zni_trainer *t) {
    zn_result result = zni_trainer_prepare(t);
    if (result == ZN_OK) result = zni_checkpoint_open(t);
    t->begin = t->saved = zni_seconds();
    while (result == ZN_OK && t->epoch < t->opts.epochs) result = zni_trainer_epoch(t);
    if (result == ZN_OK) memcpy(t->net->values, !t->opts.keep_last && t->result->best_epoch >= 0 ? t->best : zni_trainer_values(t), zni_buffer_bytes(t->best));
    if (result == ZN_STOPPED) zn_ema_swap(t->ema);
    t->result->seconds = t->trained;
    return result;
}
static void zni_trainer_close(zni_trainer *t) {
    zn_tape_clear(t->ctx);
    zn_loader_destroy(t->loader);
    zn_optimizer_destroy(t->optimizer);
    zn_distiller_destroy(t->distiller);
    zn_ema_destroy(t->ema);
    zni_free(t->ctx, t->class_map);
    zni_free(t->ctx, t->best);
    if (t->opts.freeze_backbone) zn_net_freeze_backbone(t->net, 0);
}
ZN_API void zn_train_result_destroy(zn_train_result *result) {
    zn_ctx *ctx;
    if (result == NULL) return;
    ctx = result->ctx;
    zni_free(ctx, result->rows);
    zni_free(ctx, result->recipe);
    zni_free(ctx, result);
}
static zn_result zni_history_take(zni_archive *a, zn_train_result *r) {
    const char *recipe = zni_archive_text(a, "train.recipe");
    double n[6];
    if (recipe == NULL || zni_take_numbers(zni_archive_text(a, "train.state"), n, 6) == NULL || !(n[0] >= 0 && n[0] <= ZNI_MAX_EPOCHS) || !(n[4] >= -1 && n[4] < n[0]))
        return zni_archive_fail(a, ZN_ERROR_FORMAT, NULL, "not a checkpoint of a training");
    r->epochs = (int)n[0];
    r->best_epoch = (int)n[4];
    r->best_top1 = n[5];
    r->resumed_epoch = -1;
    r->rows = ZNI_NEW_ZERO(a->ctx, zn_train_row, r->epochs);
    r->recipe = zni_copy_text(a->ctx, recipe);
    return r->rows != NULL && r->recipe != NULL ? zni_checkpoint_rows(a, r) : a->ctx->code;
}
ZN_API zn_result zn_train_history(zn_ctx *ctx, const char *path, zn_train_result **out_result) {
    zni_archive a;
    zn_train_result *r;
    if (out_result != NULL) *out_result = NULL;
    if (ctx == NULL || path == NULL || out_result == NULL) return zni_null(ctx, "zn_train_history");
    r = ctx->code == ZN_OK ? ZNI_NEW_ZERO(ctx, zn_train_result, 1) : NULL;
    if (r == NULL) return ctx->code;
    r->ctx = ctx;
    if (zni_archive_open(ctx, path, &a) == ZN_OK) zni_history_take(&a, r);
    zni_archive_close(&a);
    if (ctx->code == ZN_OK) *out_result = r;
    else zn_train_result_destroy(r);
    return ctx->code;
}
ZN_API zn_result zn_train_run(zn_net *net, const zn_pack *train_pack, const zn_pack *test_pack, const zn_train_opts *opts,
                              zn_train_result **out_result) {
    zni_trainer t;
    zn_result result;
    if (out_result != NULL) *out_result = NULL;
    if (net == NULL || train_pack == NULL) return zni_null(zn_net_ctx(net), "zn_train_run");
    if (zni_pack_own(net, train_pack, "zn_train_run") != ZN_OK || (test_pack != NULL && zni_pack_own(net, test_pack, "zn_train_run") != ZN_OK)) return ZN_ERROR_ARGUMENT;
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    memset(&t, 0, sizeof t);
    t.ctx = net->ctx;
    t.net = net;
    t.train = train_pack;
    t.test = test_pack != NULL ? test_pack : train_pack;
    if (zn_pack_count(t.test, ZN_SPLIT_TEST) == 0) t.test = NULL;
    t.opts = opts != NULL ? *opts : zn_train_opts_default();
    if (t.opts.lr == 0.0) t.opts.lr = 0.1 * t.opts.batch / 256.0;
    t.result = ZNI_NEW_ZERO(t.ctx, zn_train_result, 1);
    if (t.result == NULL) return t.ctx->code;
    t.result->ctx = t.ctx;
    t.result->best_epoch = t.result->resumed_epoch = -1;
    result = zni_trainer_run(&t);
    zni_trainer_close(&t);
    if (out_result != NULL && (result == ZN_OK || result == ZN_STOPPED)) *out_result = t.result;
    else zn_train_result_destroy(t.result);
    return result;
}

/* ==================================================================================================================
   IMPL-INFER  inference sessions
   ------------------------------------------------------------------------------------------------------------------
   A session is a list of steps on feature maps ("values") of one image. A map lies as blocks of 8 channels,
   [blocks][height][width][8], so that 8 channels of a pixel are a vector, or half of one, and a row of a block is contiguous.
   Depthwise steps weave as many blocks as a vector holds while they copy or make their input. What stands in lanes past the
   last channel means nothing and is read by nobody.

   A step is cut into tasks by shape alone: threads take tasks, every value is written by one task, sums are merged in the
   order of tasks. Who makes the next rows of what it made before takes over the input that both need. A batch of several
   images gives each thread whole images in an arena of its own instead.

   Shuffle attention costs no pass of its own: the step before leaves the mean and the variance of every channel of each
   of its tasks, the convolution behind applies the gates while it copies its input, its weights are packed for shuffled
   channels, and the channels before stand in an order in which whole vectors need the same gate.
   ================================================================================================================== */
#define ZNI_BLOCKS(channels) (((size_t)(channels) + ZNI_LANES - 1) / ZNI_LANES)
#define ZNI_MAX_TILE_BLOCKS 6
#define ZNI_MAX_TILE 16 /* pixels */

/* ---- kernels: one always-inline body each, compiled for several instruction sets and chosen when a session is made ---- */
typedef struct zni_strip {   /* a row of pixels of a convolution's tile of outputs */
    const zn_real *x;
    int x_pixel;             /* from a pixel to the next: ZNI_LANES, of pairs twice as much */
    const zn_real *w, *bias;
    const zn_real *add;      /* what is added: blocks add_plane and pixels add_pixel apart, or (distances 0) eight zeros */
    zn_real *y;
    size_t y_pair, y_half, y_pixel; /* from two blocks to the next two, from a block to its neighbour, from a pixel to the next */
    size_t add_plane, add_pixel;
    const int *off;          /* where each tap of each input stands, from a pixel; tiles of one block: 4 * place of a run + its taps */
    int steps;               /* entries of off, at least 1 */
    int width;               /* a multiple of the tile's pixels */
    int runs;                /* off and w are those of runs of taps */
    zn_real least;           /* smaller results become this: 0 for ReLU */
    const zn_real *never;    /* NULL: a second way out of the loop over off, as in zni_tile */
} zni_strip;
ZNI_INLINE zn_real *zni_strip_y(const zni_strip *t, size_t block, size_t pixel) { return t->y + block / 2 * t->y_pair + block % 2 * t->y_half + pixel * t->y_pixel; }

typedef enum zni_gate_mode { ZNI_GATE_COPY, ZNI_GATE_SCALE, ZNI_GATE_SIGMOID, ZNI_GATE_AFFINE } zni_gate_mode;

typedef struct zni_tile_kernel {
    int blocks, pixels;
    void (*run)(const zni_strip *t);
} zni_tile_kernel;
typedef struct zni_infer_kernels {
    zni_tile_kernel tiles[4]; /* widest first; the last has 1 block */
    zni_tile_kernel pairs;    /* of 1 block as well, a tile's two blocks are the halves of its row; pixels 0: there is none */
    int lanes;                /* of a vector */
    /* count pixels, from `step` values apart to `to_step` apart, through a gate x*p or x*sigmoid(p*x + q) */
    void (*copy)(zni_gate_mode mode, const zn_real *p, const zn_real *q, const zn_real *from, size_t step, int count, zn_real *to, size_t to_step);
    /* mean and sum of squared deviations of each lane over count pixels */
    void (*statistics)(const zn_real *x, int count, zn_real *mean, zn_real *squares);
} zni_infer_kernels;

/* pixels x (vectors*lanes) outputs stay in registers while taps and channels pass:

       acc[p][v] += x[pixel p][channel q] (one value, repeated) * w[tap][q][v] (a vector of outputs)

   What keeps gcc 12 from spilling: one loop over a table of offsets, not four over blocks, rows, columns and channels; a
   loop that runs at least once; no branch between the first sum and the last store (39 instead of 90 GFLOP/s at 64
   channels). Unrolling the channels gains nothing and takes 15 s to compile.

   All weights of a network are more than the second cache holds, but lie in the order of their use: while a tile works, as
   many as it reads are fetched from behind them (ZenNet-M 3 % faster; the last 32-2048 takes 33 instead of 47 us). */
ZNI_INLINE void zni_infer_tile(const zni_strip *t, size_t at, const int pixels, const int vectors, const int lanes, const int fused) {
    zn_real acc[ZNI_MAX_TILE][3][16], settled[ZNI_MAX_TILE][3][16], (*const sums)[3][16] = ZNI_SETTLES ? settled : acc;
    const zn_real *ZNI_RESTRICT w = t->w, *from = t->x + at;
    const int *ZNI_RESTRICT off = t->off;
    const int row = vectors * lanes;
    const ptrdiff_t ahead = (ptrdiff_t)t->steps * row; /* the next tile's weights */
    const zn_real least = t->least;
    int left = t->steps, p, v, l, h;
    ZNI_UNROLL for (p = 0; p < pixels; ++p) {
        ZNI_UNROLL for (v = 0; v < vectors; ++v) for (l = 0; l < lanes; ++l) acc[p][v][l] = t->bias[v * lanes + l];
    }
    do {
        const zn_real *ZNI_RESTRICT x;
        if (left == 0) goto done;
        x = from + *off++;
        ZNI_UNROLL for (v = 0; v < row; v += ZNI_LINE_REALS) ZNI_PREFETCH(w + ahead + v);
        ZNI_UNROLL for (p = 0; p < pixels; ++p) {
            zn_real one = x[p * ZNI_LANES];
            ZNI_UNROLL for (v = 0; v < vectors; ++v) for (l = 0; l < lanes; ++l) acc[p][v][l] = zni_multiply_add(fused, one, w[v * lanes + l], acc[p][v][l]);
        }
        w += row;
        --left;
    } while (w != t->never);
    return;
done:
    if (ZNI_SETTLES)
        ZNI_UNROLL for (p = 0; p < pixels; ++p) {
            ZNI_UNROLL for (v = 0; v < vectors; ++v) for (l = 0; l < lanes; ++l) settled[p][v][l] = acc[p][v][l];
        }
    if (lanes > ZNI_LANES && t->y_half == ZNI_LANES) { /* woven: whole vectors, with nothing to add (half a percent of ZenNet-M) */
        ZNI_ROLLED for (p = 0; p < pixels; ++p) {
            ZNI_ROLLED for (v = 0; v < vectors; ++v) {
                zn_real *y = zni_strip_y(t, (size_t)(v * lanes / ZNI_LANES), at / ZNI_LANES + (size_t)p);
                ZNI_LANEWISE for (l = 0; l < lanes; ++l) y[l] = sums[p][v][l] < least ? least : sums[p][v][l];
            }
        }
        return;
    }
    ZNI_ROLLED for (p = 0; p < pixels; ++p) {
        ZNI_ROLLED for (v = 0; v < vectors; ++v) {
            ZNI_UNROLL for (h = 0; h < lanes; h += ZNI_LANES) {
                const size_t block = (size_t)(v * lanes + h) / ZNI_LANES, pixel = at / ZNI_LANES + (size_t)p;
                const zn_real *add = t->add + block * t->add_plane + pixel * t->add_pixel;
                zn_real *y = zni_strip_y(t, block, pixel), sum[ZNI_LANES]; /* y may be add */
                for (l = 0; l < ZNI_LANES; ++l) sum[l] = sums[p][v][h + l] + add[l];
                for (l = 0; l < ZNI_LANES; ++l) y[l] = sum[l] < least ? least : sum[l];
            }
        }
    }
}
ZNI_INLINE void zni_infer_tiles(const zni_strip *t, const int pixels, const int vectors, const int lanes, const int fused) {
    size_t at, end = (size_t)t->width * ZNI_LANES;
    for (at = 0; at < end; at += (size_t)pixels * ZNI_LANES) zni_infer_tile(t, at, pixels, vectors, lanes, fused);
}

#define ZNI_MAX_RUN 3 /* taps */
/* A single block of outputs would wait for its loads, one for each product. So what is fetched serves a run of up to 3
   neighbouring taps of a row, each for another pixel; the taps' weights stay in registers (90 instead of 60 GFLOP/s). Lanes
   are one pixel's outputs; or a single block's of two pixels: of pixel p of the first half of a tile and of pixel p of the
   second (8 channels of ZenNet-R: 150 instead of 100 GFLOP/s), or by turns of pixel p of the first half of the row and of
   pixel p of the second:

       value     x[p] x[half + p] x[p] x[half + p] ...    one fetch: zni_pair_line has put them side by side
       w            w0         w0   w1          w1 ...

   Halves take two fetches and a blend for each value; where a vector of 512 bits occupies the multipliers for two turns (Zen
   4), that is as long as its products take: 94 instead of 80 GFLOP/s at 8 channels, 3 x 3, ZenNet-R 6.5 % faster. What is not
   copied anyway, 1 x 1, is left in halves. */
typedef enum zni_lane_use { ZNI_ONE_PIXEL, ZNI_HALVES, ZNI_PAIRS } zni_lane_use;
ZNI_INLINE void zni_run_taps(zn_real acc[ZNI_MAX_TILE][16], const zn_real *ZNI_RESTRICT x, const zn_real *ZNI_RESTRICT w, const int vectors, const int taps, const int lanes, const zni_lane_use use, const int fused) {
    int m, j, l;
    ZNI_UNROLL for (m = 0; m < vectors + taps - 1; ++m) {
        zn_real value[16];
        if (use == ZNI_PAIRS) for (l = 0; l < lanes; l += 2) memcpy(value + l, x + m * 2 * ZNI_LANES, 2 * sizeof *x);
        else {
            const zn_real one = x[m * ZNI_LANES], other = x[(use == ZNI_HALVES ? m + vectors : m) * ZNI_LANES];
            for (l = 0; l < lanes; ++l) value[l] = l < ZNI_LANES ? one : other;
        }
        ZNI_UNROLL for (j = 0; j < taps; ++j)
            if (m >= j && m - j < vectors)
                for (l = 0; l < lanes; ++l) acc[m - j][l] = zni_multiply_add(fused, value[l], w[j * lanes + l], acc[m - j][l]);
    }
}
/* A vector of `count` values again and again. (Read modulo, gcc makes gathers of them with -march=native: R took 16 % longer.) */
ZNI_INLINE void zni_repeat(const zn_real *from, const int lanes, const int count, zn_real *ZNI_RESTRICT to) {
    int i, l;
    ZNI_UNROLL for (i = 0; i < lanes; i += count) for (l = 0; l < count; ++l) to[i + l] = from[l];
}
/* The outputs of pairs of pixels to both halves of the row. */
ZNI_INLINE void zni_put_pairs(const zni_strip *t, size_t first, zn_real (*sums)[16], int vectors, const int lanes) {
    const zn_real least = t->least;
    int v, l;
    for (v = 0; v < vectors; ++v) {
        const zn_real *add = t->add + (first + (size_t)v) * t->add_pixel;
        zn_real *y = zni_strip_y(t, 0, first + (size_t)v), one[ZNI_MAX_LANES / 2], other[ZNI_MAX_LANES / 2]; /* y may be add */
        ZNI_LANEWISE for (l = 0; l < lanes / 2; ++l) {
            one[l] = sums[v][2 * l];
            other[l] = sums[v][2 * l + 1];
        }
        for (l = 0; l < lanes / 2; ++l) one[l] += add[l];
        for (l = 0; l < lanes / 2; ++l) other[l] += add[t->add_plane + (size_t)l];
        for (l = 0; l < lanes / 2; ++l) y[l] = one[l] < least ? least : one[l];
        for (l = 0; l < lanes / 2; ++l) y[t->y_half + (size_t)l] = other[l] < least ? least : other[l];
    }
}
ZNI_INLINE void zni_run_tiles(const zni_strip *t, const int vectors, const int lanes, const zni_lane_use use, const int fused) {
    zn_real acc[ZNI_MAX_TILE][16], settled[ZNI_MAX_TILE][16], start[16], (*const sums)[16] = ZNI_SETTLES ? settled : acc;
    const zn_real least = t->least;
    const int pixels = use == ZNI_HALVES ? 2 * vectors : vectors;
    size_t first;
    int i;
    if (use == ZNI_PAIRS) for (i = 0; i < lanes; ++i) start[i] = t->bias[i / 2];
    else zni_repeat(t->bias, lanes, use == ZNI_HALVES ? ZNI_LANES : lanes, start);
    for (first = 0; first < (size_t)t->width; first += (size_t)pixels) {
        const zn_real *ZNI_RESTRICT w = t->w, *from = t->x + first * (use == ZNI_PAIRS ? 2 * ZNI_LANES : ZNI_LANES);
        const int *ZNI_RESTRICT off = t->off;
        int left = t->steps, v, l, h;
        ZNI_UNROLL for (v = 0; v < vectors; ++v) for (l = 0; l < lanes; ++l) acc[v][l] = start[l];
        do {
            int taps = *off & 3;
            const zn_real *ZNI_RESTRICT x = from + (*off++ >> 2);
            if (taps == 3) zni_run_taps(acc, x, w, vectors, 3, lanes, use, fused);
            else if (taps == 2) zni_run_taps(acc, x, w, vectors, 2, lanes, use, fused);
            else zni_run_taps(acc, x, w, vectors, 1, lanes, use, fused);
            w += taps * lanes;
        } while (--left > 0);
        if (ZNI_SETTLES || use == ZNI_PAIRS)
            ZNI_UNROLL for (v = 0; v < vectors; ++v) for (l = 0; l < lanes; ++l) settled[v][l] = acc[v][l];
        if (use == ZNI_PAIRS) {
            zni_put_pairs(t, first, settled, vectors, lanes);
            continue;
        }
        ZNI_ROLLED for (v = 0; v < vectors; ++v) {
            ZNI_UNROLL for (h = 0; h < lanes; h += ZNI_LANES) {
                const size_t pixel = first + (size_t)(use == ZNI_HALVES ? v + h / ZNI_LANES * vectors : v), block = use == ZNI_HALVES ? 0 : (size_t)(h / ZNI_LANES);
                const zn_real *add = t->add + block * t->add_plane + pixel * t->add_pixel;
                zn_real *y = zni_strip_y(t, block, pixel), sum[ZNI_LANES]; /* y may be add */
                for (l = 0; l < ZNI_LANES; ++l) sum[l] = sums[v][h + l] + add[l];
                for (l = 0; l < ZNI_LANES; ++l) y[l] = sum[l] < least ? least : sum[l];
            }
        }
    }
}

/* Some pixels, a vector of them at a time. */
ZNI_INLINE void zni_copy_gated(zni_gate_mode mode, const zn_real *p, const zn_real *q, const zn_real *ZNI_RESTRICT from, size_t step, int vectors, zn_real *ZNI_RESTRICT to, size_t to_step, const int lanes, const int fused) {
    zn_real slope[ZNI_MAX_LANES], offset[ZNI_MAX_LANES];
    int i, l;
    zni_repeat(p, lanes, ZNI_LANES, slope);
    if (mode == ZNI_GATE_SCALE) {
        for (i = 0; i < vectors; ++i, from += step, to += to_step)
            ZNI_LANEWISE for (l = 0; l < lanes; ++l) to[l] = slope[l] * from[l];
        return;
    }
    zni_repeat(q, lanes, ZNI_LANES, offset);
    for (i = 0; i < vectors; ++i, from += step, to += to_step) {
        for (l = 0; l < lanes; ++l) to[l] = from[l] / zni_gate_divisor(zni_multiply_add(fused, slope[l], from[l], offset[l]), fused);
    }
}
ZNI_INLINE void zni_copy_body(zni_gate_mode mode, const zn_real *p, const zn_real *q, const zn_real *ZNI_RESTRICT from, size_t step, int count, zn_real *ZNI_RESTRICT to, size_t to_step, const int lanes, const int fused) {
    int i, l, side_by_side = step == ZNI_LANES && to_step == ZNI_LANES, whole = side_by_side ? count * ZNI_LANES / lanes : 0, done = whole * lanes / ZNI_LANES;
    if (mode == ZNI_GATE_COPY && side_by_side) memcpy(to, from, (size_t)count * ZNI_LANES * sizeof(zn_real));
    else if (mode == ZNI_GATE_COPY)
        for (i = 0; i < count; ++i, from += step, to += to_step)
            for (l = 0; l < ZNI_LANES; ++l) to[l] = from[l];
    else {
        zni_copy_gated(mode, p, q, from, (size_t)lanes, whole, to, (size_t)lanes, lanes, fused);
        zni_copy_gated(mode, p, q, from + (size_t)done * step, step, count - done, to + done * ZNI_LANES, to_step, ZNI_LANES, fused);
    }
}
/* Deviations from the first pixel, which is one of the samples: its own distance from the mean bounds the rounding. */
ZNI_INLINE void zni_statistics_body(const zn_real *ZNI_RESTRICT x, int count, zn_real *ZNI_RESTRICT mean, zn_real *ZNI_RESTRICT squares, const int lanes, const int fused) {
    zn_real sum[4][ZNI_MAX_LANES], square[4][ZNI_MAX_LANES], first[ZNI_MAX_LANES];
    const int pixels = 4 * lanes / ZNI_LANES;
    int i, u, l;
    zni_repeat(x, lanes, ZNI_LANES, first);
    ZNI_UNROLL
    for (u = 0; u < 4; ++u)
        for (l = 0; l < lanes; ++l) sum[u][l] = square[u][l] = 0;
    for (i = 0; i + pixels <= count; i += pixels, x += pixels * ZNI_LANES)
        ZNI_UNROLL
        for (u = 0; u < 4; ++u)
            for (l = 0; l < lanes; ++l) {
                zn_real d = x[u * lanes + l] - first[l];
                sum[u][l] += d;
                square[u][l] = zni_multiply_add(fused, d, d, square[u][l]);
            }
    for (; i < count; ++i, x += ZNI_LANES)
        for (l = 0; l < ZNI_LANES; ++l) {
            zn_real d = x[l] - first[l];
            sum[0][l] += d;
            square[0][l] = zni_multiply_add(fused, d, d, square[0][l]);
        }
    for (l = 0; l < ZNI_LANES; ++l) {
        zn_real s = (sum[0][l] + sum[1][l]) + (sum[2][l] + sum[3][l]), all = (square[0][l] + square[1][l]) + (square[2][l] + square[3][l]);
        if (lanes > ZNI_LANES) { /* the other half of the pixels */
            s += (sum[0][l + lanes - ZNI_LANES] + sum[1][l + lanes - ZNI_LANES]) + (sum[2][l + lanes - ZNI_LANES] + sum[3][l + lanes - ZNI_LANES]);
            all += (square[0][l + lanes - ZNI_LANES] + square[1][l + lanes - ZNI_LANES]) + (square[2][l + lanes - ZNI_LANES] + square[3][l + lanes - ZNI_LANES]);
        }
        mean[l] = first[l] + s / (zn_real)count;
        squares[l] = all - s * s / (zn_real)count;
    }
}

/* Up to three tiles of (vectors of `lanes`) x pixels, fewer where vectors are 0, one of a single block, and where vectors hold
   two blocks one of pairs of pixels. The third, of one vector, and what follows take runs of taps. */
#define ZNI_INFER_INSTANCE(name, target, lanes, fused, v0, p0, v1, p1, v2, p2, p3, p4) \
    target ZNI_VECTORISE static void zni_tile0_##name(const zni_strip *t) { zni_infer_tiles(t, p0, v0, lanes, fused); } \
    target ZNI_VECTORISE static void zni_tile1_##name(const zni_strip *t) { zni_infer_tiles(t, p1, v1, lanes, fused); } \
    target ZNI_VECTORISE static void zni_tile2_##name(const zni_strip *t) { \
        if (t->runs) zni_run_tiles(t, p2, lanes, ZNI_ONE_PIXEL, fused); \
        else zni_infer_tiles(t, p2, v2, lanes, fused); \
    } \
    target ZNI_VECTORISE static void zni_tile3_##name(const zni_strip *t) { zni_run_tiles(t, p3 * ZNI_LANES / lanes, lanes, lanes > ZNI_LANES ? ZNI_HALVES : ZNI_ONE_PIXEL, fused); } \
    target ZNI_VECTORISE static void zni_pairs_##name(const zni_strip *t) { zni_run_tiles(t, p4, lanes, ZNI_PAIRS, fused); } \
    target ZNI_VECTORISE static void zni_copy_##name(zni_gate_mode mode, const zn_real *p, const zn_real *q, const zn_real *from, size_t step, int count, zn_real *to, size_t to_step) { \
        zni_copy_body(mode, p, q, from, step, count, to, to_step, lanes, fused); \
    } \
    target ZNI_VECTORISE static void zni_statistics_##name(const zn_real *x, int count, zn_real *mean, zn_real *squares) { zni_statistics_body(x, count, mean, squares, lanes, fused); } \
    static const zni_infer_kernels zni_infer_##name = { \
        {{v0 * lanes / ZNI_LANES, p0, zni_tile0_##name}, {v1 * lanes / ZNI_LANES, p1, zni_tile1_##name}, {v2 * lanes / ZNI_LANES, p2, zni_tile2_##name}, {1, p3, zni_tile3_##name}}, \
        {2, p4, zni_pairs_##name}, lanes, zni_copy_##name, zni_statistics_##name};

#define ZNI_INFER_512(name, target) ZNI_INFER_INSTANCE(name, target, 16, 1, 3, 8, 2, 14, 1, 14, 14, 14)
#define ZNI_INFER_256(name, target) ZNI_INFER_INSTANCE(name, target, 8, 1, 3, 4, 2, 6, 0, 1, 8, 0)
#define ZNI_INFER_128(name, target, fused) ZNI_INFER_INSTANCE(name, target, 8, fused, 2, 2, 0, 1, 0, 1, 4, 0)
#if defined(__AVX512F__)
ZNI_INFER_512(base, )
#elif defined(__AVX2__) && defined(__FMA__)
ZNI_INFER_256(base, )
#elif defined(__aarch64__)
ZNI_INFER_INSTANCE(base, , 8, 1, 3, 4, 2, 6, 0, 1, 8, 0)
#else
ZNI_INFER_128(base, , 0)
#endif
#if ZNI_DISPATCH
ZNI_INFER_256(avx2, __attribute__((target("avx2,fma"))))
ZNI_INFER_512(avx512, ZNI_AVX512)
#endif
static const zni_infer_kernels *const zni_infer_sets[] = { /* row by row as zni_kernel_sets */
    &zni_infer_base,
#if ZNI_DISPATCH
    &zni_infer_avx2, &zni_infer_avx512
#endif
};
/* The tile for the next of `left` blocks: the widest that leaves no sliver behind, or the second where that wastes fewer of
   `size` pixels (28 = 2 x 14, but 3.5 x 8). */
ZNI_INLINE int zni_ceil_div(int whole, int part) { return (whole + part - 1) / part; }
static const zni_tile_kernel *zni_tile_for(const zni_infer_kernels *k, size_t left, int size) {
    const zni_tile_kernel *second = &k->tiles[1];
    int i;
    for (i = 0; i < 3; ++i) {
        size_t blocks = (size_t)k->tiles[i].blocks;
        if (blocks > 1 && blocks <= left && (left == blocks || left - blocks > blocks / 3)) break;
    }
    if (i == 0 && second->blocks > 1 && left % (size_t)second->blocks == 0 && zni_ceil_div(size, second->pixels) * second->pixels < zni_ceil_div(size, k->tiles[0].pixels) * k->tiles[0].pixels) i = 1;
    return &k->tiles[i];
}

/* ---- a session's parts ---- */
typedef struct zni_feature {
    int channels, size; /* size x size pixels */
    int buffer;         /* -1: the caller's planes, the input */
    int sa;             /* not 0: channels stand in the order of shuffle attention with so many groups, see zni_holds */
    int statistics;     /* buffer of mean and squares of every channel and band, -1: not wanted */
    int bands, band_pixels;
    int uses, producer, gate; /* while compiling: readers so far, step that wrote it (-1: none), gate for the next reader */
} zni_feature;

typedef enum zni_gate_kind { ZNI_SA_GATE, ZNI_SE_GATE, ZNI_BN_GATE } zni_gate_kind;
typedef struct zni_gate {
    zni_gate_kind kind;
    int groups, hidden, tensor; /* first tensor of its layer */
    size_t params;              /* where its parameters lie among the weights */
} zni_gate;

typedef enum zni_step_kind { ZNI_S_CONV, ZNI_S_DEPTHWISE, ZNI_S_GROUPED, ZNI_S_MAP, ZNI_S_MAX_POOL, ZNI_S_AVG_POOL, ZNI_S_STATISTICS } zni_step_kind;
typedef enum zni_act { ZNI_ACT_NONE, ZNI_ACT_RELU, ZNI_ACT_SWISH } zni_act;
typedef struct zni_step {
    zni_step_kind kind;
    int in, add, out;               /* values, add -1: none */
    int gate, shuffled;             /* how `in` is read: through a gate (-1: none), with its channels shuffled */
    int kernel, stride, groups, padding;
    zni_act act;
    int offset;                     /* map: first channel that it writes */
    int tensor, bias_tensor, bn;    /* first tensors of what it is packed from, -1: none */
    int rows, bands, parts;         /* rows (flat steps: pixels) of a band; parts of the outputs; a task is one of each */
    int chunk;                      /* rows whose input scratch holds at once */
    int front, next, merged;        /* steps done within this one, before and behind it, -1: none; whether this is such a step */
    int flat;                       /* pixels are taken in a row: 1 x 1 kernel, stride 1 */
    int paired;                     /* pixels of both halves of a row are computed side by side, see zni_run_taps */
    size_t weights, scratch;        /* place among the weights, bias first; values of scratch that a thread needs */
    size_t offsets;                 /* place among the offsets: taps of every block of inputs, behind them the runs of taps */
    int runs;                       /* how many of those */
} zni_step;

struct zn_session {
    zn_ctx *ctx; /* frees it; NULL: the memory is the caller's */
    const zni_infer_kernels *kernels;
    const zni_kernels *woven; /* those of depthwise steps */
    zn_input input;
    int batch, threads, workers, picture_side, resolution, classes, lw_att;
    int images; /* of the last run */
    int step_count, value_count, gate_count, buffer_count, features; /* features: the value that the head reads */
    zni_step *steps;
    zni_feature *values;
    zni_gate *gates;
    size_t *buffers;            /* where they begin in an arena */
    zn_real *weights, *arenas, *scratch, *picture;
    int *offsets, *progress;    /* progress: tasks done, then those taken of every stage, see zni_run_together */
    size_t arena, scratch_room; /* values: of an arena, of one thread's scratch */
    size_t pooled, gates_at, gate_room; /* places in an arena: the head's pooled features, with WIRW then what it makes of them; four rows of gate_room values */
    size_t head;                /* place among the weights */
    double gn_eps, work;        /* work: multiply-adds of an image */
};

/* Of a session's stages (see zni_run_together) each has as many shares as there are threads, up to some. */
#define ZNI_MAX_SHARES 16
ZNI_INLINE int zni_session_stages(const zn_session *s) { return 2 * s->step_count + 1; }
ZNI_INLINE int zni_session_shares(const zn_session *s) { return s->threads < ZNI_MAX_SHARES ? s->threads : ZNI_MAX_SHARES; }
static size_t zni_progress_bytes(const zn_session *s) { return (1 + (size_t)zni_session_stages(s) * (size_t)zni_session_shares(s)) * sizeof(int); }

typedef struct zni_frame { /* one image */
    const zn_session *s;
    const zn_real *x;
    zn_real *arena;
} zni_frame;

/* A thread's room for what its kernels read, and what stands in it: the input of output rows [row - rows, row) of a step, of
   blocks from `first` on; of a depthwise step as many woven blocks as `framed` have zeros beside all lines. Who goes on from
   there takes over what is needed again (ZenNet-M 1.6 % faster than if each band made all of its input). */
typedef struct zni_scratch {
    zn_real *values;
    const zni_step *step;
    size_t first, framed;
    int row, rows;
} zni_scratch;

/* Channel that stands at a place of a value, -1 past the last. In the order of shuffle attention come first the channels
   that are gated by their mean, then those gated by their normalised values. */
static int zni_holds(const zni_feature *v, int place) {
    int half = v->channels / 2, k, r;
    if (place >= v->channels) return -1;
    if (v->sa == 0) return place;
    k = half / v->sa;
    r = place % half;
    return r / k * 2 * k + place / half * k + r % k;
}
static int zni_shuffle2(int c, int channels) { return c < channels / 2 ? 2 * c : 2 * (c - channels / 2) + 1; }
/* The same as a step reads it. */
static int zni_reads(const zni_feature *v, int shuffled, int place) {
    int c = zni_holds(v, place);
    return shuffled && c >= 0 ? zni_shuffle2(c, v->channels) : c;
}
ZNI_INLINE size_t zni_pixels_of(const zni_feature *v) { return (size_t)v->size * (size_t)v->size; }
ZNI_INLINE size_t zni_lanes_of(const zni_feature *v) { return ZNI_BLOCKS(v->channels) * ZNI_LANES; }
ZNI_INLINE zn_real *zni_feature_at(const zni_frame *r, const zni_feature *v) { return r->arena + r->s->buffers[v->buffer]; }
static zni_gate_mode zni_mode_of(const zn_session *s, const zni_step *st, size_t block) {
    const zni_feature *v = &s->values[st->in];
    if (st->gate < 0) return ZNI_GATE_COPY;
    if (s->gates[st->gate].kind != ZNI_SA_GATE) return s->gates[st->gate].kind == ZNI_SE_GATE ? ZNI_GATE_SCALE : ZNI_GATE_AFFINE;
    return v->sa > 0 && (block + 1) * ZNI_LANES <= (size_t)(v->channels / 2) ? ZNI_GATE_SCALE : ZNI_GATE_SIGMOID;
}

/* ---- compiling: from the plan's layers to steps ---- */
typedef struct zni_buffer {
    size_t size, offset;
    int first, last; /* steps between which it lives */
} zni_buffer;
typedef struct zni_compiler {
    zn_ctx *ctx;
    const zn_net *net;
    zn_session s; /* its arrays steps, values, gates grow while compiling */
    zni_buffer *buffers;
    size_t step_capacity, value_capacity, gate_capacity, buffer_capacity, weights, offsets;
} zni_compiler;

/* Appends an item of zeros to a growing array; its index, -1 when memory is out. */
static int zni_append(zn_ctx *ctx, void **items, size_t *capacity, int *count, size_t size) {
    if (!zni_grow(ctx, items, capacity, (size_t)*count + 1, size)) return -1;
    memset((char *)*items + (size_t)*count * size, 0, size);
    return (*count)++;
}
static int zni_add_buffer(zni_compiler *c, size_t size, int first) {
    void *items = c->buffers;
    int index = zni_append(c->ctx, &items, &c->buffer_capacity, &c->s.buffer_count, sizeof(zni_buffer));
    c->buffers = (zni_buffer *)items;
    if (index < 0) return -1;
    c->buffers[index].size = size;
    c->buffers[index].first = first;
    c->buffers[index].last = c->s.step_count - 1;
    return index;
}
/* A value that the newest step writes. */
static int zni_add_value(zni_compiler *c, int channels, int size) {
    void *items = c->s.values;
    zni_feature *v;
    int index = zni_append(c->ctx, &items, &c->value_capacity, &c->s.value_count, sizeof(zni_feature));
    c->s.values = (zni_feature *)items;
    if (index < 0) return -1;
    v = &c->s.values[index];
    v->channels = channels;
    v->size = size;
    v->gate = v->statistics = v->buffer = -1;
    v->producer = c->s.step_count - 1;
    if (index == 0) return 0;
    v->buffer = zni_add_buffer(c, zni_size_mul(zni_pixels_of(v), zni_lanes_of(v)), v->producer);
    return v->buffer < 0 ? -1 : index;
}
static int zni_add_gate(zni_compiler *c, zni_gate_kind kind, int tensor, int groups, int hidden) {
    void *items = c->s.gates;
    int index = zni_append(c->ctx, &items, &c->gate_capacity, &c->s.gate_count, sizeof(zni_gate));
    zni_gate *g;
    c->s.gates = (zni_gate *)items;
    if (index < 0) return -1;
    g = &c->s.gates[index];
    g->kind = kind;
    g->tensor = tensor;
    g->groups = groups;
    g->hidden = hidden;
    return index;
}
/* The newest step reads a value: it and its statistics live at least until then. */
static void zni_read_value(zni_compiler *c, int value) {
    zni_feature *v = &c->s.values[value];
    ++v->uses;
    if (v->buffer >= 0) c->buffers[v->buffer].last = c->s.step_count - 1;
    if (v->statistics >= 0) c->buffers[v->statistics].last = c->s.step_count - 1;
}
ZNI_INLINE zni_step *zni_newest(const zni_compiler *c) { return &c->s.steps[c->s.step_count - 1]; }
/* A step that reads `in` and makes a map of channels x size x size, or (out not -1) writes into one. Returns that value. */
static int zni_add_step(zni_compiler *c, zni_step_kind kind, int in, int out, int channels, int size) {
    void *items = c->s.steps;
    int index = zni_append(c->ctx, &items, &c->step_capacity, &c->s.step_count, sizeof(zni_step));
    zni_step *st;
    c->s.steps = (zni_step *)items;
    if (index < 0) return -1;
    zni_read_value(c, in);
    if (out < 0) out = zni_add_value(c, channels, size);
    if (out < 0) return -1;
    c->s.values[out].producer = index;
    c->buffers[c->s.values[out].buffer].last = index;
    st = &c->s.steps[index];
    st->kind = kind;
    st->in = in;
    st->out = out;
    st->kernel = st->stride = st->groups = 1;
    st->add = st->tensor = st->bias_tensor = st->bn = st->front = st->next = -1;
    st->gate = c->s.values[in].gate;
    st->shuffled = st->gate >= 0 && c->s.gates[st->gate].kind == ZNI_SA_GATE;
    return out;
}
static int zni_add_map(zni_compiler *c, int x) { return zni_add_step(c, ZNI_S_MAP, x, -1, c->s.values[x].channels, c->s.values[x].size); }
/* Only convolutions and maps read the caller's planes; for others they are copied. */
static int zni_as_blocks(zni_compiler *c, int x) { return x == 0 ? zni_add_map(c, 0) : x; }
/* The step that made x, while nobody has looked at x, so that more can be done in it; NULL when that is not so. */
static zni_step *zni_open_step(zni_compiler *c, int x) {
    const zni_feature *v = &c->s.values[x];
    zni_step *st = v->producer >= 0 ? &c->s.steps[v->producer] : NULL;
    if (st == NULL || v->uses > 0 || v->gate >= 0 || st->kind > ZNI_S_MAP || st->act != ZNI_ACT_NONE) return NULL;
    return st->kind == ZNI_S_MAP && c->s.values[st->in].channels != v->channels ? NULL : st; /* not a branch of a concatenation */
}
/* Side of the output, -1 with an error when the kernel does not fit. */
static int zni_out_size(zni_compiler *c, int size, int kernel, int stride, int column) {
    int padded = size + 2 * ((kernel - 1) / 2);
    if (padded >= kernel) return (padded - kernel) / stride + 1;
    zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "structure, column %d: a kernel of %d does not fit a map of %d x %d (resolution %d)", column, kernel, size, size, c->s.resolution);
    return -1;
}
static int zni_compile_conv(zni_compiler *c, int x, const zni_layer *l, int kernel, int groups, int tensor, int bias_tensor, int bn) {
    int size = zni_out_size(c, c->s.values[x].size, kernel, l->stride, l->column), y;
    zni_step_kind kind = groups == 1 ? ZNI_S_CONV : groups == l->in && groups == l->out && zni_woven_takes(kernel, l->stride, (kernel - 1) / 2) ? ZNI_S_DEPTHWISE : ZNI_S_GROUPED;
    zni_step *st;
    if (size >= 0 && kind != ZNI_S_CONV) x = zni_as_blocks(c, x);
    if (size < 0 || x < 0) return -1;
    y = zni_add_step(c, kind, x, -1, l->out, size);
    if (y < 0) return -1;
    st = zni_newest(c);
    st->kernel = kernel;
    st->stride = l->stride;
    st->groups = groups;
    st->padding = (kernel - 1) / 2;
    st->tensor = tensor;
    st->bias_tensor = bias_tensor;
    st->bn = bn;
    st->flat = kernel == 1 && l->stride == 1 && kind == ZNI_S_CONV;
    c->s.work += (double)l->in / groups * l->out * kernel * kernel * size * size;
    return y;
}
static int zni_compile_act(zni_compiler *c, int x, zni_act act) {
    zni_step *st = zni_open_step(c, x);
    if (st == NULL || (act == ZNI_ACT_SWISH && st->kind != ZNI_S_MAP)) {
        x = zni_add_map(c, x);
        if (x < 0) return -1;
        st = zni_newest(c);
    }
    st->act = act;
    return x;
}
static int zni_compile_bn(zni_compiler *c, int x, int tensor) {
    zni_step *st = zni_open_step(c, x);
    int gate;
    if (st != NULL && st->kind != ZNI_S_MAP && st->bn < 0 && st->add < 0) {
        st->bn = tensor;
        return x;
    }
    gate = zni_add_gate(c, ZNI_BN_GATE, tensor, 1, 0);
    if (gate < 0) return -1;
    x = zni_add_map(c, x);
    if (x >= 0) zni_newest(c)->gate = gate;
    return x;
}
/* x + link: in the step that makes x, or in one more. */
static int zni_compile_add(zni_compiler *c, int x, int link, int column) {
    zni_step *st;
    link = zni_as_blocks(c, link);
    if (x < 0 || link < 0) return -1;
    if (c->s.values[x].size != c->s.values[link].size) {
        zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "structure, column %d: branches of %d x %d and %d x %d at resolution %d", column, c->s.values[x].size, c->s.values[x].size,
                 c->s.values[link].size, c->s.values[link].size, c->s.resolution);
        return -1;
    }
    st = zni_open_step(c, x);
    if (st == NULL || st != zni_newest(c) || st->add >= 0 || (st->kind != ZNI_S_CONV && st->kind != ZNI_S_MAP)) {
        x = zni_add_map(c, x);
        if (x < 0) return -1;
    }
    zni_newest(c)->add = link;
    zni_read_value(c, link);
    return x;
}
/* Mean and variance of every channel: left by the convolution that makes x, or gathered by a step of their own. */
static int zni_compile_statistics(zni_compiler *c, int x) {
    zni_feature *v = &c->s.values[x];
    int buffer;
    if (v->statistics < 0) {
        if (c->s.steps[v->producer].kind > ZNI_S_DEPTHWISE && zni_add_step(c, ZNI_S_STATISTICS, x, x, 0, 0) < 0) return 0;
        buffer = zni_add_buffer(c, 0, c->s.values[x].producer);
        if (buffer < 0) return 0;
        c->s.values[x].statistics = buffer;
    }
    ++c->s.values[x].uses; /* what was measured may not change any more */
    return 1;
}
/* The order of zni_holds is free to have where convolutions make x, or a convolution and a depthwise one behind it. */
static void zni_compile_order(zni_compiler *c, int x, int groups) {
    const zni_step *st = &c->s.steps[c->s.values[x].producer];
    if (st->kind == ZNI_S_DEPTHWISE) {
        zni_feature *in = &c->s.values[st->in];
        const zni_step *before = &c->s.steps[in->producer];
        if (before->kind != ZNI_S_CONV || before->add >= 0 || in->uses != 1) return;
        in->sa = groups;
    } else if (st->kind != ZNI_S_CONV || st->add >= 0) return;
    c->s.values[x].sa = groups;
}
static int zni_compile_attention(zni_compiler *c, int x, const zni_layer *l, const zni_layer *next) {
    int fused, gate;
    x = zni_as_blocks(c, x);
    if (x < 0) return -1;
    fused = next != NULL && next->kind == ZNI_L_CONV && next->groups == 1 && c->s.values[x].uses == 0;
    if (!zni_compile_statistics(c, x)) return -1;
    gate = zni_add_gate(c, l->kind == ZNI_L_SA ? ZNI_SA_GATE : ZNI_SE_GATE, l->tensor, l->groups, l->kind == ZNI_L_SE ? zni_se_hidden(l->in) : 0);
    if (gate < 0) return -1;
    c->s.values[x].gate = gate;
    if (fused) {
        if (l->kind == ZNI_L_SA) zni_compile_order(c, x, l->groups);
        return x;
    }
    gate = zni_add_map(c, x);
    c->s.values[x].gate = -1;
    return gate;
}
static int zni_compile_pool(zni_compiler *c, int x, const zni_layer *l) {
    int max = l->kind == ZNI_L_MAX_POOL, size = max ? zni_out_size(c, c->s.values[x].size, l->kernel, l->stride, l->column) : l->size, y;
    x = zni_as_blocks(c, x);
    if (size < 0 || x < 0) return -1;
    y = zni_add_step(c, max ? ZNI_S_MAX_POOL : ZNI_S_AVG_POOL, x, -1, l->out, size);
    if (y < 0) return -1;
    zni_newest(c)->kernel = l->kernel;
    zni_newest(c)->stride = l->stride;
    zni_newest(c)->padding = (l->kernel - 1) / 2;
    return y;
}
static int zni_compile_layers(zni_compiler *c, int first, int x);
static int zni_compile_layer(zni_compiler *c, const zni_layer *l, const zni_layer *next, int x);

static int zni_compile_unit(zni_compiler *c, const zni_layer *l, int x) {
    int link = x;
    ++c->s.values[x].uses; /* the link is a reader to come */
    if (l->proj) link = zni_compile_conv(c, x, l, 1, 1, l->proj_tensor, l->proj_tensor + 1, l->proj_tensor + 2);
    if (link < 0) return -1;
    return zni_compile_add(c, zni_compile_layers(c, l->first_child, x), link, l->column);
}
static int zni_compile_branches(zni_compiler *c, const zni_layer *l, int x) {
    int child, y = -1, offset = 0;
    ++c->s.values[x].uses;
    for (child = l->first_child; child >= 0; child = c->net->plan.layers[child].next) {
        int branch = zni_compile_layer(c, &c->net->plan.layers[child], NULL, x);
        if (branch < 0) return -1;
        if (l->kind == ZNI_L_SUM) y = y < 0 ? branch : zni_compile_add(c, branch, y, l->column);
        else if (y >= 0 && c->s.values[branch].size != c->s.values[y].size) {
            zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "structure, column %d: branches differ in size at resolution %d", l->column, c->s.resolution);
            return -1;
        } else {
            y = zni_add_step(c, ZNI_S_MAP, branch, y, l->out, c->s.values[branch].size);
            if (y >= 0) zni_newest(c)->offset = offset;
            offset += c->net->plan.layers[child].out;
        }
        if (y < 0) return -1;
    }
    return y;
}
static int zni_compile_layer(zni_compiler *c, const zni_layer *l, const zni_layer *next, int x) {
    switch (l->kind) {
    case ZNI_L_CONV: return zni_compile_conv(c, x, l, l->kernel, l->groups, l->tensor, -1, -1);
    case ZNI_L_BN: return zni_compile_bn(c, x, l->tensor);
    case ZNI_L_RELU: return zni_compile_act(c, x, ZNI_ACT_RELU);
    case ZNI_L_SWISH: return zni_compile_act(c, x, ZNI_ACT_SWISH);
    case ZNI_L_SE: case ZNI_L_SA: return zni_compile_attention(c, x, l, next);
    case ZNI_L_MAX_POOL: case ZNI_L_AVG_POOL: return zni_compile_pool(c, x, l);
    case ZNI_L_SEQUENTIAL: return zni_compile_layers(c, l->first_child, x);
    case ZNI_L_UNIT: return zni_compile_unit(c, l, x);
    case ZNI_L_SUM: case ZNI_L_CAT: return zni_compile_branches(c, l, x);
    default: zni_fail(c->ctx, ZN_ERROR_UNSUPPORTED, "structure, column %d: %s is not part of a feature map", l->column, zni_layer_kinds[l->kind]); return -1;
    }
}
static int zni_compile_layers(zni_compiler *c, int first, int x) {
    const zni_layer *layers = c->net->plan.layers;
    int index;
    for (index = first; index >= 0 && x >= 0; index = layers[index].next)
        x = zni_compile_layer(c, &layers[index], layers[index].next >= 0 ? &layers[layers[index].next] : NULL, x);
    return x;
}

/* ---- planning: tasks, places in memory ---- */
/* A share of work worth a task: small enough to balance, large enough to hide the start of one. */
#define ZNI_TASK_MACS 2e5

ZNI_INLINE int zni_clamp(double value, int low, int high) { return value >= high ? (high < low ? low : high) : value <= low ? low : (int)value; }
/* Columns of one phase of a gathered row: column j of the padded input stands in phase j % stride at j / stride, so that
   neighbouring outputs read neighbouring pixels whatever the stride is. */
ZNI_INLINE int zni_phases(const zni_step *st) { return st->stride < st->kernel ? st->stride : st->kernel; }
ZNI_INLINE int zni_phase_width(const zni_step *st, const zni_feature *out) { return out->size + (st->kernel - 1) / st->stride; }
ZNI_INLINE int zni_row_step(const zni_step *st) { return st->kernel == 1 ? 1 : st->stride; }
ZNI_INLINE int zni_rows_in(const zni_step *st, int rows) { return (rows - 1) * zni_row_step(st) + st->kernel; }
/* Blocks that are woven: their pixels stand side by side as one vector of a depthwise step. */
ZNI_INLINE size_t zni_woven_blocks(const zn_session *s) { return (size_t)(s->woven->woven_lanes / ZNI_LANES); }
ZNI_INLINE size_t zni_weaves(const zn_session *s, size_t blocks) { return (blocks + zni_woven_blocks(s) - 1) / zni_woven_blocks(s); }

/* What the kernels of a convolution read lies in the arena or, copied, in scratch: from a phase to the next, from a row to the
   next, from a block (of depthwise steps: from woven blocks) to the next. */
static size_t zni_phase_room(const zn_session *s, const zni_step *st) {
    const zni_feature *out = &s->values[st->out];
    return (size_t)(st->paired ? 2 * zni_phase_width(st, out) - out->size : zni_phase_width(st, out)) * ZNI_LANES;
}
static size_t zni_row_room(const zn_session *s, const zni_step *st) {
    if (st->kind == ZNI_S_DEPTHWISE) return (size_t)(s->values[st->in].size + 2 * st->padding) * (size_t)s->woven->woven_lanes;
    return (size_t)zni_phases(st) * zni_phase_room(s, st);
}
static size_t zni_block_room(const zn_session *s, const zni_step *st) {
    if (st->flat) return (st->scratch > 0 ? (size_t)st->rows : zni_pixels_of(&s->values[st->in])) * ZNI_LANES;
    return (size_t)zni_rows_in(st, st->chunk) * zni_row_room(s, st);
}
static int zni_tap_place(const zn_session *s, const zni_step *st, int i, int j) {
    return (int)((size_t)i * zni_row_room(s, st)) + j % st->stride * (int)zni_phase_room(s, st) + j / st->stride * ZNI_LANES * (st->paired ? 2 : 1);
}

/* Groups of outputs that a tile takes; *granule: pixels that are whole tiles for all of them. */
static int zni_group_count(const zni_infer_kernels *k, size_t blocks, int size, int *granule) {
    int count = 0, a, b, rest;
    for (*granule = 1; blocks > 0; ++count) {
        const zni_tile_kernel *tile = zni_tile_for(k, blocks, size);
        blocks -= (size_t)tile->blocks;
        for (a = *granule, b = tile->pixels; b > 0; a = b, b = rest) rest = a % b;
        *granule = *granule / a * tile->pixels;
    }
    return count;
}
/* Steps that are done within their neighbour, so that what passes between them stays in the cache:
   - a 1 x 1 convolution whose only reader is the depthwise one behind it: its rows are made right in that one's scratch, and
     its output, the largest map of a block, never goes to memory (6 % of ZenNet-M);
   - a 1 x 1 convolution behind another convolution takes each band as soon as that is there, of stride 2 a band of lines. */
#define ZNI_SCRATCH_VALUES 65536 /* of a thread: half of a common second-level cache */
ZNI_INLINE int zni_pointwise(const zni_step *st) { return st->kind == ZNI_S_CONV && st->flat && st->gate < 0 && st->in != 0; }
static void zni_merge_front(zni_compiler *c, int index) {
    zni_step *st = &c->s.steps[index], *before = st - 1;
    const zni_feature *between = &c->s.values[st->in];
    zni_buffer *source;
    if (index == 0 || st->kind != ZNI_S_DEPTHWISE || between->size < 12) return; /* shorter lines leave most of a tile unused */
    if (!zni_pointwise(before) || before->add >= 0 || before->out != st->in || between->uses > 1 || between->statistics >= 0) return;
    st->front = index - 1;
    before->merged = 1;
    c->buffers[between->buffer].size = 0;
    source = &c->buffers[c->s.values[before->in].buffer];
    if (source->last < index) source->last = index;
}
/* After the partition of the step before. */
static void zni_merge_next(zni_compiler *c, int index) {
    zni_step *st = &c->s.steps[index], *before = st - 1;
    const zni_feature *out = &c->s.values[st->out];
    if (index == 0 || st->merged || st->kind != ZNI_S_CONV || st->kernel > 1 || st->gate >= 0 || st->in == 0) return;
    if (before->kind != ZNI_S_CONV || before->merged || before->out != st->in || before->parts > 1 || before->bands < 4) return;
    if (!st->flat && (before->flat || before->rows % st->stride != 0)) return; /* it needs whole lines */
    before->next = index;
    st->merged = 1;
    c->buffers[out->buffer].first = index - 1; /* written while others still read what the step before reads */
    if (out->statistics >= 0) c->buffers[out->statistics].first = index - 1;
    st->rows = !st->flat ? before->rows / st->stride : before->rows * (before->flat ? 1 : c->s.values[st->in].size);
    st->bands = before->bands;
}
static void zni_partition_conv(zni_compiler *c, zni_step *st, int lines, double macs) {
    const zni_feature *in = &c->s.values[st->in], *out = &c->s.values[st->out];
    int granule, groups = zni_group_count(c->s.kernels, ZNI_BLOCKS(out->channels), out->size, &granule), blocks = (int)ZNI_BLOCKS(in->channels);
    if (st->flat) st->rows = zni_clamp(ZNI_TASK_MACS / macs, 48, 8192 / blocks);
    else st->rows = zni_clamp(ZNI_TASK_MACS / macs, 4, zni_ceil_div(lines, 8));
    st->rows = zni_ceil_div(lines, zni_ceil_div(lines, st->rows)); /* bands of equal size */
    if (st->flat) st->rows = zni_ceil_div(st->rows, granule) * granule;
    if (st->rows > lines) st->rows = lines;
    st->bands = zni_ceil_div(lines, st->rows);
    if (st->flat && (st->gate >= 0 || st->in == 0 || lines < ZNI_MAX_TILE)) st->scratch = (size_t)blocks * ZNI_LANES * (size_t)st->rows;
    st->parts = 1; /* what is copied is copied once */
    if (st->flat && st->scratch == 0 && st->bands < 16) st->parts = zni_clamp(macs * st->rows / ZNI_TASK_MACS, 1, zni_ceil_div(16, st->bands));
    if (st->parts > groups) st->parts = groups;
    zni_merge_next(c, (int)(st - c->s.steps));
    if (st->merged) st->parts = 1;
}
static void zni_partition_depthwise(zni_compiler *c, zni_step *st, int lines, double macs) {
    const zni_feature *in = &c->s.values[st->in];
    size_t blocks = ZNI_BLOCKS(in->channels), weaves = zni_weaves(&c->s, blocks);
    int granule;
    st->parts = (int)weaves;
    st->rows = st->chunk = zni_clamp(ZNI_TASK_MACS / (macs / (double)weaves), 4, lines);
    if (st->front >= 0) {
        weaves = zni_weaves(&c->s, (size_t)zni_tile_for(c->s.kernels, blocks, in->size)->blocks);
        st->parts = zni_group_count(c->s.kernels, blocks, in->size, &granule);
        st->rows = zni_ceil_div(lines, zni_ceil_div(4, st->parts));
        st->chunk = zni_clamp(((double)ZNI_SCRATCH_VALUES / (double)(weaves * zni_row_room(&c->s, st)) - st->kernel) / st->stride + 1, 4, st->rows);
    } else weaves = 1;
    st->bands = zni_ceil_div(lines, st->rows);
    st->scratch = zni_size_mul(weaves, zni_block_room(&c->s, st));
}
/* Cuts a step into tasks and says what it needs. */
static void zni_partition(zni_compiler *c, zni_step *st) {
    const zni_feature *in = &c->s.values[st->in];
    zni_feature *out = &c->s.values[st->out];
    int lines = st->flat ? out->size * out->size : out->size, per_line = st->flat ? 1 : out->size;
    double macs = (double)in->channels / st->groups * out->channels * st->kernel * st->kernel * per_line; /* of a line */
    st->rows = lines;
    st->bands = 1;
    st->parts = (int)ZNI_BLOCKS(st->kind == ZNI_S_GROUPED ? out->channels : in->channels);
    if (st->kind == ZNI_S_CONV) zni_partition_conv(c, st, lines, macs);
    if (st->kind == ZNI_S_DEPTHWISE) zni_partition_depthwise(c, st, lines, macs);
    else st->chunk = st->rows;
    if (st->kind == ZNI_S_CONV && !st->flat) {
        st->paired = out->channels <= ZNI_LANES && c->s.kernels->pairs.pixels > 0 && out->size % 2 == 0 && out->size / 2 >= c->s.kernels->pairs.pixels;
        st->scratch = zni_size_mul(ZNI_BLOCKS(in->channels), zni_block_room(&c->s, st));
        if (st->paired) st->scratch = zni_size_add(st->scratch, zni_row_room(&c->s, st)); /* a line before it is paired */
    }
    if (st->scratch > 0) st->scratch = zni_size_add(st->scratch, 4 * ZNI_MAX_TILE * ZNI_LANES); /* tiles may read beyond the row */
    out->bands = st->bands;
    out->band_pixels = st->rows * per_line;
    if (st->merged) st->bands = 0; /* no tasks of its own */
}

/* Places buffers one after the other in the order in which they begin to live, each in the first gap. */
typedef struct zni_planner {
    zn_ctx *ctx;
    int *live; /* buffers by offset */
    int count;
} zni_planner;
static void zni_place(zni_planner *p, zni_buffer *buffers, int index, size_t *arena) {
    size_t at = 0;
    int i, j;
    for (i = 0; i < p->count; ++i) {
        const zni_buffer *b = &buffers[p->live[i]];
        if (b->offset >= at && b->offset - at >= buffers[index].size) break;
        at = b->offset + b->size;
    }
    buffers[index].offset = at;
    for (j = p->count++; j > i; --j) p->live[j] = p->live[j - 1];
    p->live[i] = index;
    at = zni_size_add(at, buffers[index].size);
    if (*arena < at) *arena = at;
}
/* A sum may overwrite what it adds when nobody needs that any more. */
static int zni_in_place(const zni_compiler *c, const zni_step *st, int step) {
    int from, to;
    if (st->add < 0 || st->add == st->in || (st->front >= 0 && st->add == c->s.steps[st->front].in)) return -1;
    from = c->s.values[st->add].buffer;
    to = c->s.values[st->out].buffer;
    return c->buffers[from].last == step && c->buffers[to].first == step && c->buffers[from].size == c->buffers[to].size ? from : -1;
}
static zn_result zni_plan_buffers(zni_compiler *c) {
    zni_planner p;
    int step, i, j, *head = ZNI_NEW(c->ctx, int, c->s.step_count), *next = ZNI_NEW(c->ctx, int, c->s.buffer_count);
    p.count = 0;
    p.live = ZNI_NEW(c->ctx, int, c->s.buffer_count);
    if (head != NULL && next != NULL && p.live != NULL) {
        for (step = 0; step < c->s.step_count; ++step) head[step] = -1;
        for (i = c->s.buffer_count - 1; i >= 0; --i) {
            next[i] = head[c->buffers[i].first];
            head[c->buffers[i].first] = i;
        }
        for (step = 0; step < c->s.step_count; ++step) {
            const zni_step *st = &c->s.steps[step];
            int over = zni_in_place(c, st, step);
            for (i = head[step]; i >= 0; i = next[i]) {
                if (over < 0 || i != c->s.values[st->out].buffer) {
                    zni_place(&p, c->buffers, i, &c->s.arena);
                    continue;
                }
                c->buffers[i].offset = c->buffers[over].offset;
                for (j = 0; p.live[j] != over; ++j) {}
                p.live[j] = i;
            }
            for (i = j = 0; i < p.count; ++i)
                if (c->buffers[p.live[i]].last > step) p.live[j++] = p.live[i];
            p.count = j;
        }
    }
    zni_free(c->ctx, p.live);
    zni_free(c->ctx, next);
    zni_free(c->ctx, head);
    return c->ctx->code;
}
ZNI_INLINE size_t zni_line_up(size_t values) { return zni_size_mul(zni_size_add(values, 15) / 16, 16); } /* whole cache lines */
/* Room for packed weights; they begin on a cache line. */
static size_t zni_reserve_weights(zni_compiler *c, size_t values) {
    size_t at = c->weights;
    c->weights = zni_size_add(at, zni_line_up(values));
    return at;
}
static size_t zni_gate_params(const zni_gate *g, int channels) {
    size_t n = (size_t)channels, h = (size_t)g->hidden;
    return g->kind == ZNI_SA_GATE ? 6 * (n / (size_t)(2 * g->groups)) : g->kind == ZNI_SE_GATE ? zni_size_mul(2 * h, n) + h + n : 2 * n;
}
static int zni_takes_runs(const zni_infer_kernels *k, const zni_tile_kernel *tile, const zni_step *st) { return tile == &k->tiles[3] || (tile == &k->tiles[2] && st->kernel > 1); }
/* Tiles that take runs of taps, and the one of a single block, come last where they come at all. */
static const zni_tile_kernel *zni_last_tile(const zni_infer_kernels *k, const zni_feature *out) {
    const zni_tile_kernel *tile = NULL;
    size_t blocks = ZNI_BLOCKS(out->channels);
    for (; blocks > 0; blocks -= (size_t)tile->blocks) tile = zni_tile_for(k, blocks, out->size);
    return tile;
}
static size_t zni_step_weights(const zni_compiler *c, const zni_step *st) {
    const zni_feature *in = &c->s.values[st->in], *out = &c->s.values[st->out];
    size_t taps = (size_t)(st->kernel * st->kernel), outs = zni_lanes_of(out);
    if (st->kind > ZNI_S_GROUPED) return 0;
    if (st->kind == ZNI_S_DEPTHWISE) return zni_weaves(&c->s, ZNI_BLOCKS(out->channels)) * (size_t)c->s.woven->woven_lanes * (1 + taps);
    taps = zni_size_mul(taps, (size_t)(in->channels / st->groups));
    if (st->kind == ZNI_S_CONV && zni_last_tile(c->s.kernels, out) == &c->s.kernels->tiles[3]) outs += (size_t)(c->s.kernels->lanes - ZNI_LANES);
    return zni_size_add(zni_lanes_of(out), zni_size_mul(outs, taps));
}

/* The runs of a kernel's row, their first taps and lengths: taps j, j + stride, ... read neighbouring pixels, those of a phase.
   No single tap is left over where that can be avoided (7 = 3 + 2 + 2). */
static int zni_row_runs(int kernel, int stride, int first[ZNI_MAX_KERNEL], int length[ZNI_MAX_KERNEL]) {
    int count = 0, phase, j, left;
    for (phase = 0; phase < stride && phase < kernel; ++phase) {
        left = (kernel - phase + stride - 1) / stride;
        for (j = phase; left > 0; left -= length[count], j += length[count] * stride, ++count) {
            first[count] = j;
            length[count] = left == 4 ? 2 : left > ZNI_MAX_RUN ? ZNI_MAX_RUN : left;
        }
    }
    return count;
}
/* Offsets of a convolution's taps and, if tiles take them, of its runs; of a depthwise one's runs alone. */
static size_t zni_step_offsets(const zni_compiler *c, zni_step *st) {
    int first[ZNI_MAX_KERNEL], length[ZNI_MAX_KERNEL];
    size_t inputs = (size_t)(c->s.values[st->in].channels / st->groups), taps = zni_size_mul(inputs, (size_t)(st->kernel * st->kernel));
    if (st->kind == ZNI_S_GROUPED) return 0;
    if (st->kind == ZNI_S_DEPTHWISE) return (size_t)(st->kernel * st->stride);
    if (!zni_takes_runs(c->s.kernels, zni_last_tile(c->s.kernels, &c->s.values[st->out]), st)) return taps;
    st->runs = (int)inputs * st->kernel * zni_row_runs(st->kernel, st->stride, first, length);
    return zni_size_add(taps, (size_t)st->runs);
}

static zn_result zni_session_plan(zni_compiler *c) {
    zn_session *s = &c->s;
    int i;
    for (i = 0; i < s->step_count; ++i) zni_merge_front(c, i);
    for (i = 0; i < s->step_count; ++i) {
        zni_step *st = &s->steps[i];
        const zni_feature *in = &s->values[st->in];
        zni_partition(c, st);
        if (s->scratch_room < st->scratch) s->scratch_room = st->scratch;
        st->weights = zni_reserve_weights(c, zni_step_weights(c, st));
        st->offsets = c->offsets;
        if (st->kind <= ZNI_S_DEPTHWISE) c->offsets = zni_size_add(c->offsets, zni_step_offsets(c, st));
        if (st->gate < 0) continue;
        s->gates[st->gate].params = zni_reserve_weights(c, zni_gate_params(&s->gates[st->gate], in->channels));
        if (s->gate_room < zni_lanes_of(in)) s->gate_room = zni_lanes_of(in);
    }
    for (i = 0; i < s->value_count; ++i) {
        const zni_feature *v = &s->values[i];
        if (v->statistics >= 0) c->buffers[v->statistics].size = zni_size_mul(2 * (size_t)v->bands, zni_lanes_of(v));
    }
    for (i = 0; i < s->buffer_count; ++i) c->buffers[i].size = zni_line_up(c->buffers[i].size);
    s->head = zni_reserve_weights(c, (size_t)(c->net->plan.features + 1) * (size_t)s->classes + (s->lw_att ? 2 + 6 * (size_t)(c->net->plan.features / 16) : 0));
    s->scratch_room = zni_line_up(s->scratch_room);
    if (zni_plan_buffers(c) != ZN_OK) return c->ctx->code;
    s->pooled = s->arena;
    s->gates_at = zni_size_add(s->pooled, zni_line_up((s->lw_att ? 2 : 1) * zni_lanes_of(&s->values[s->features])));
    s->arena = zni_line_up(zni_size_add(s->gates_at, 4 * s->gate_room));
    return ZN_OK;
}

/* ---- packing weights ---- */
static const zn_real *zni_net_values(const zn_net *net, int tensor) { return net->tensors[tensor]->data; }
/* What a batch norm after a convolution does to it: weights times scale, scale * bias + shift. */
static void zni_fold_bn(const zn_net *net, int bn, int channel, double *scale, double *shift) {
    *scale = 1.0;
    *shift = 0.0;
    if (bn < 0) return;
    *scale = (double)zni_net_values(net, bn)[channel] / sqrt((double)zni_net_values(net, bn + 3)[channel] + net->opts.bn_eps);
    *shift = (double)zni_net_values(net, bn + 1)[channel] - *scale * (double)zni_net_values(net, bn + 2)[channel];
}
static zn_real zni_folded(const zn_net *net, const zni_step *st, int o, size_t at) {
    double scale, shift;
    if (o < 0) return 0;
    zni_fold_bn(net, st->bn, o, &scale, &shift);
    return (zn_real)(scale * (double)zni_net_values(net, st->tensor)[at]);
}
static zni_woven_taps zni_depthwise_taps(const zn_session *s, const zni_step *st) {
    zni_conv_shape shape;
    zni_woven_taps taps;
    memset(&shape, 0, sizeof shape);
    shape.k = st->kernel;
    shape.stride = st->stride;
    shape.padding = st->padding;
    zni_woven_taps_of(&shape, 0, 0, 0, zni_row_room(s, st), s->woven->woven_lanes, &taps);
    return taps;
}
/* Weights in the order in which tiles of `blocks` blocks read runs of them: of 3 taps, of 2, of 1, each [input][row][run][tap][lane];
   off receives where each run stands. */
static void zni_pack_runs(zn_session *s, const zn_net *net, const zni_step *st, size_t block, size_t blocks, zn_real *to, int *off) {
    const zni_feature *in = &s->values[st->in];
    int first[ZNI_MAX_KERNEL], length[ZNI_MAX_KERNEL], count = zni_row_runs(st->kernel, st->stride, first, length), wanted, c, i, r, j, l;
    for (wanted = ZNI_MAX_RUN; wanted > 0; --wanted)
        for (c = 0; c < in->channels; ++c)
            for (i = 0; i < st->kernel; ++i)
                for (r = 0; r < count; ++r) {
                    if (length[r] != wanted) continue;
                    *off++ = 4 * ((int)((size_t)(c / ZNI_LANES) * zni_block_room(s, st)) + zni_tap_place(s, st, i, first[r]) + c % ZNI_LANES * (st->paired ? 2 : 1)) + wanted;
                    for (j = 0; j < wanted; ++j)
                        for (l = 0; l < s->kernels->lanes; ++l) {
                            int o = zni_holds(&s->values[st->out], (int)block * ZNI_LANES + (st->paired ? l / 2 : l % (int)(blocks * ZNI_LANES)));
                            size_t input = (size_t)(o < 0 ? 0 : o) * (size_t)in->channels + (size_t)zni_reads(in, st->shuffled, c);
                            *to++ = zni_folded(net, st, o, (input * (size_t)st->kernel + (size_t)i) * (size_t)st->kernel + (size_t)(first[r] + j * st->stride));
                        }
                }
}
/* The same for other tiles: [row][tap][input][output], a block of 8 inputs after the other. */
static void zni_pack_taps(zn_session *s, const zn_net *net, const zni_step *st, size_t block, size_t blocks, zn_real *to, int *off) {
    const zni_feature *in = &s->values[st->in];
    int conv = st->kind == ZNI_S_CONV, inputs = in->channels / st->groups, b, i, j, q, l;
    for (b = 0; b < inputs; b += ZNI_LANES)
        for (i = 0; i < st->kernel; ++i)
            for (j = 0; j < st->kernel; ++j)
                for (q = b; q < inputs && q < b + ZNI_LANES; ++q) {
                    if (conv) *off++ = (int)((size_t)(b / ZNI_LANES) * zni_block_room(s, st)) + zni_tap_place(s, st, i, j) + q % ZNI_LANES;
                    for (l = 0; l < (int)blocks * ZNI_LANES; ++l) {
                        int o = zni_holds(&s->values[st->out], (int)block * ZNI_LANES + l);
                        size_t input = (size_t)(o < 0 ? 0 : o) * (size_t)inputs + (size_t)(conv ? zni_reads(in, st->shuffled, q) : q);
                        *to++ = zni_folded(net, st, o, (input * (size_t)st->kernel + (size_t)i) * (size_t)st->kernel + (size_t)j);
                    }
                }
}
static void zni_pack_conv(zn_session *s, const zn_net *net, const zni_step *st) {
    size_t inputs = (size_t)(s->values[st->in].channels / st->groups) * (size_t)(st->kernel * st->kernel), blocks = ZNI_BLOCKS(s->values[st->out].channels), b, wide;
    for (b = 0; b < blocks; b += wide) {
        const zni_tile_kernel *k = zni_tile_for(s->kernels, blocks - b, s->values[st->out].size);
        zn_real *to = s->weights + st->weights + (blocks + b * inputs) * ZNI_LANES;
        wide = st->kind == ZNI_S_CONV ? (size_t)k->blocks : 1;
        if (st->kind == ZNI_S_CONV && zni_takes_runs(s->kernels, k, st)) zni_pack_runs(s, net, st, b, wide, to, s->offsets + st->offsets + inputs);
        else zni_pack_taps(s, net, st, b, wide, to, s->offsets + st->offsets);
    }
}
static zn_real zni_folded_bias(const zn_net *net, const zni_step *st, int o) {
    double scale, shift;
    if (o < 0) return 0;
    zni_fold_bn(net, st->bn, o, &scale, &shift);
    return (zn_real)(scale * (st->bias_tensor >= 0 ? (double)zni_net_values(net, st->bias_tensor)[o] : 0.0) + shift);
}
static void zni_pack_bias(zn_session *s, const zn_net *net, const zni_step *st) {
    const zni_feature *out = &s->values[st->out];
    size_t l;
    for (l = 0; l < zni_lanes_of(out); ++l) s->weights[st->weights + l] = zni_folded_bias(net, st, zni_holds(out, (int)l));
}
/* Biases, then weights in the order of the taps; a last block without a neighbour is its own. */
static void zni_pack_depthwise(zn_session *s, const zn_net *net, const zni_step *st) {
    const zni_feature *out = &s->values[st->out];
    size_t blocks = ZNI_BLOCKS(out->channels), lanes = (size_t)s->woven->woven_lanes, weaves = zni_weaves(s, blocks), l;
    zn_real *to = s->weights + st->weights, *w = to + weaves * lanes;
    zni_woven_taps taps = zni_depthwise_taps(s, st);
    int i;
    for (l = 0; l < weaves * lanes; ++l) {
        size_t block = l / ZNI_LANES < blocks ? l / ZNI_LANES : blocks - 1;
        int o = zni_holds(out, (int)(block * ZNI_LANES + l % ZNI_LANES));
        to[l] = zni_folded_bias(net, st, o);
        for (i = 0; i < taps.count; ++i) w[(l / lanes * (size_t)taps.count + (size_t)i) * lanes + l % lanes] = zni_folded(net, st, o, (size_t)(o < 0 ? 0 : o) * (size_t)taps.count + (size_t)taps.tap[i]);
    }
    memcpy(s->offsets + st->offsets, taps.off, (size_t)(taps.runs[0] + taps.runs[1]) * sizeof(int));
}
/* One of the two 1 x 1 convolutions of SE with its norm: outs x ins weights, outs biases. */
static zn_real *zni_pack_dense(const zn_net *net, int tensor, size_t outs, size_t ins, zn_real *to) {
    const zn_real *from = zni_net_values(net, tensor);
    double scale, shift;
    size_t o, i;
    for (o = 0; o < outs; ++o) {
        zni_fold_bn(net, tensor + 1, (int)o, &scale, &shift);
        for (i = 0; i < ins; ++i) to[o * ins + i] = (zn_real)(scale * (double)from[o * ins + i]);
        to[outs * ins + o] = (zn_real)shift;
    }
    return to + outs * (ins + 1);
}
static zn_real *zni_pack_copies(const zn_net *net, int tensor, int count, zn_real *to) {
    for (; count > 0; --count, ++tensor) {
        memcpy(to, zni_net_values(net, tensor), net->tensors[tensor]->count * sizeof(zn_real));
        to += net->tensors[tensor]->count;
    }
    return to;
}
static void zni_pack_gate(zn_session *s, const zn_net *net, const zni_gate *g, size_t channels) {
    zn_real *to = s->weights + g->params;
    double scale, shift;
    size_t c;
    switch (g->kind) {
    case ZNI_SA_GATE: zni_pack_copies(net, g->tensor, 6, to); break;
    case ZNI_SE_GATE: zni_pack_dense(net, g->tensor + 5, channels, (size_t)g->hidden, zni_pack_dense(net, g->tensor, (size_t)g->hidden, channels, to)); break;
    default:
        for (c = 0; c < channels; ++c) {
            zni_fold_bn(net, g->tensor, (int)c, &scale, &shift);
            to[c] = (zn_real)scale;
            to[channels + c] = (zn_real)shift;
        }
    }
}
static void zni_session_pack(zn_session *s, const zn_net *net) {
    zn_real *head;
    int i;
    for (i = 0; i < s->step_count; ++i) {
        const zni_step *st = &s->steps[i];
        if (st->kind == ZNI_S_DEPTHWISE) zni_pack_depthwise(s, net, st);
        else if (st->kind <= ZNI_S_GROUPED) {
            zni_pack_conv(s, net, st);
            zni_pack_bias(s, net, st);
        }
        if (st->gate >= 0) zni_pack_gate(s, net, &s->gates[st->gate], (size_t)s->values[st->in].channels);
    }
    head = zni_pack_copies(net, net->head, 2, s->weights + s->head);
    if (s->lw_att) zni_pack_copies(net, net->wirw, 8, head);
}

/* ---- running: one task of a step ---- */
/* The caller's three planes as pixels. */
static void zni_interleave(const zn_real *ZNI_RESTRICT from, size_t plane, int step, int count, zn_real *ZNI_RESTRICT to) {
    const zn_real *ZNI_RESTRICT second = from + plane, *ZNI_RESTRICT third = second + plane;
    int i;
    for (i = 0; i < count; ++i) {
        to[i * ZNI_LANES] = from[i * step];
        to[i * ZNI_LANES + 1] = second[i * step];
        to[i * ZNI_LANES + 2] = third[i * step];
    }
}
/* A row of a block as the step's kernel wants it: zeros around, the gate applied, columns sorted by phase. */
static void zni_gather_line(const zni_frame *r, const zni_step *st, size_t block, int line, zn_real *to) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in];
    int phase, phases = zni_phases(st), step = st->stride, width = zni_phase_width(st, &s->values[st->out]), size = in->size;
    const zn_real *p = r->arena + s->gates_at + block * ZNI_LANES, *q = p + s->gate_room;
    zni_gate_mode mode = zni_mode_of(s, st, block);
    if (line < 0 || line >= size) {
        memset(to, 0, (size_t)(phases * width) * ZNI_LANES * sizeof(zn_real));
        return;
    }
    for (phase = 0; phase < phases; ++phase, to += width * ZNI_LANES) {
        int first = st->padding > phase ? (st->padding - phase + step - 1) / step : 0, column = first * step + phase - st->padding;
        int count = column < size ? (size - column - 1) / step + 1 : 0, i;
        size_t at = (size_t)line * (size_t)size + (size_t)column;
        if (first > width) first = width;
        if (count > width - first) count = width - first;
        for (i = 0; i < first * ZNI_LANES; ++i) to[i] = 0;
        for (i = (first + count) * ZNI_LANES; i < width * ZNI_LANES; ++i) to[i] = 0;
        if (count == 0) continue;
        if (st->in > 0) s->kernels->copy(mode, p, q, zni_feature_at(r, in) + (block * zni_pixels_of(in) + at) * ZNI_LANES, (size_t)step * ZNI_LANES, count, to + first * ZNI_LANES, ZNI_LANES);
        else zni_interleave(r->x + at, zni_pixels_of(in), step, count, to + first * ZNI_LANES);
    }
}
/* All blocks of pixels in a row. */
static void zni_gather_flat(const zni_frame *r, const zni_step *st, size_t pixel, int count, zni_scratch *scratch) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in];
    zn_real *to = scratch->values;
    size_t b, plane = zni_pixels_of(in);
    scratch->step = st;
    if (st->in == 0) zni_interleave(r->x + pixel, plane, 1, count, to);
    for (b = 0; st->in > 0 && b < ZNI_BLOCKS(in->channels); ++b, to += st->rows * ZNI_LANES) {
        const zn_real *p = r->arena + s->gates_at + b * ZNI_LANES;
        s->kernels->copy(zni_mode_of(s, st, b), p, p + s->gate_room, zni_feature_at(r, in) + (b * plane + pixel) * ZNI_LANES, ZNI_LANES, count, to, ZNI_LANES);
    }
}

static void zni_task_statistics(const zni_frame *r, const zni_feature *v, size_t block, size_t blocks, int band, size_t pixel, size_t count) {
    size_t lanes = zni_lanes_of(v), b;
    zn_real *to;
    if (v->statistics < 0) return;
    to = r->arena + r->s->buffers[v->statistics] + (size_t)band * 2 * lanes;
    for (b = block; b < block + blocks; ++b)
        r->s->kernels->statistics(zni_feature_at(r, v) + (b * zni_pixels_of(v) + pixel) * ZNI_LANES, (int)count, to + b * ZNI_LANES, to + lanes + b * ZNI_LANES);
}

static const zn_real zni_zeros[ZNI_LANES] = {0};
/* A row of pixels. The last, incomplete tile is computed whole a little to the left, or beyond the row where scratch has
   room for it, and what is new of it kept. */
ZNI_VECTORISE static void zni_conv_row(const zni_tile_kernel *k, zni_strip *row, int width) {
    zn_real out[ZNI_MAX_TILE * ZNI_LANES * ZNI_MAX_TILE_BLOCKS];
    int left = width % k->pixels, start = width >= k->pixels ? width - k->pixels : 0, skip = width - left - start, b, i, l;
    zni_strip t;
    row->width = width - left;
    if (row->width > 0) k->run(row);
    if (left == 0) return;
    t = *row;
    t.width = k->pixels;
    t.x += start * t.x_pixel;
    t.y = out;
    t.y_pixel = ZNI_LANES;
    t.y_half = (size_t)k->pixels * ZNI_LANES;
    t.y_pair = 2 * t.y_half;
    t.add = zni_zeros;
    t.add_plane = t.add_pixel = 0;
    t.least = -(zn_real)HUGE_VAL;
    k->run(&t);
    for (b = 0; b < k->blocks; ++b) {
        const zn_real *from = out + (b * k->pixels + skip) * ZNI_LANES;
        const zn_real *add = row->add + (size_t)b * row->add_plane + (size_t)(start + skip) * row->add_pixel;
        zn_real *y = zni_strip_y(row, (size_t)b, (size_t)(start + skip));
        for (i = 0; i < left; ++i, from += ZNI_LANES, add += row->add_pixel, y += row->y_pixel)
            for (l = 0; l < ZNI_LANES; ++l) {
                zn_real v = from[l] + add[l]; /* y may be add */
                y[l] = v < row->least ? row->least : v;
            }
    }
}
static zni_strip zni_strip_of(const zn_session *s, const zni_step *st) {
    zni_strip t;
    memset(&t, 0, sizeof t);
    t.x_pixel = st->paired ? 2 * ZNI_LANES : ZNI_LANES;
    t.add = zni_zeros;
    t.least = st->act == ZNI_ACT_RELU ? 0 : -(zn_real)HUGE_VAL;
    t.y_pixel = ZNI_LANES;
    t.y_half = (st->paired ? (size_t)s->values[st->out].size / 2 : zni_pixels_of(&s->values[st->out])) * ZNI_LANES;
    t.y_pair = 2 * t.y_half;
    if (st->add >= 0) {
        t.add_plane = t.y_half;
        t.add_pixel = ZNI_LANES;
    }
    return t;
}
/* The tile that takes the step's outputs from a block on; its weights and offsets. */
static const zni_tile_kernel *zni_strip_tile(const zn_session *s, const zni_step *st, size_t block, zni_strip *t) {
    size_t blocks = ZNI_BLOCKS(s->values[st->out].channels), per_block = (size_t)(st->kernel * st->kernel) * (size_t)s->values[st->in].channels;
    const zni_tile_kernel *k = zni_tile_for(s->kernels, blocks - block, s->values[st->out].size);
    t->bias = s->weights + st->weights + block * ZNI_LANES;
    t->w = s->weights + st->weights + (blocks + block * per_block) * ZNI_LANES;
    t->runs = zni_takes_runs(s->kernels, k, st);
    t->off = s->offsets + st->offsets + (t->runs ? per_block : 0);
    t->steps = t->runs ? st->runs : (int)per_block;
    return st->paired ? &s->kernels->pairs : k;
}
/* Blocks of outputs that a part of a step makes: whole tiles, or woven blocks. */
static size_t zni_part_blocks(const zn_session *s, const zni_step *st, int part, size_t *first) {
    const zni_step *made_by = st->front >= 0 ? &s->steps[st->front] : st; /* its tiles */
    size_t blocks = ZNI_BLOCKS(s->values[st->out].channels), block = 0;
    int size = s->values[made_by->out].size, granule, group = 0, groups = zni_group_count(s->kernels, blocks, size, &granule);
    *first = (size_t)part * zni_woven_blocks(s);
    if (st->kind == ZNI_S_DEPTHWISE && st->front < 0) return blocks - *first < zni_woven_blocks(s) ? blocks - *first : zni_woven_blocks(s);
    for (; group < groups * part / st->parts; ++group) block += (size_t)zni_tile_for(s->kernels, blocks - block, size)->blocks;
    *first = block;
    for (; group < groups * (part + 1) / st->parts; ++group) block += (size_t)zni_tile_for(s->kernels, blocks - block, size)->blocks;
    return block - *first;
}

/* Goes on to the input of output rows [row, row + rows): moves up what the rows before have left of it, if it is theirs that
   stands there, and returns how many lines that is. */
static int zni_keep_lines(const zni_frame *r, const zni_step *st, size_t first, size_t count, int row, int rows, zni_scratch *to) {
    size_t b, room = zni_block_room(r->s, st), pitch = zni_row_room(r->s, st);
    int lines = to->step == st && to->first == first && to->row == row && st->kernel > st->stride ? st->kernel - st->stride : 0;
    zn_real *at = to->values;
    for (b = 0; b < count && lines > 0; ++b, at += room) memmove(at, at + (size_t)(to->rows * st->stride) * pitch, (size_t)lines * pitch * sizeof(zn_real));
    if (to->step != st) to->framed = 0;
    to->step = st;
    to->first = first;
    to->row = row + rows;
    to->rows = rows;
    return lines;
}
/* Pixel p of the first half of each phase of a line beside pixel p of its second: both are multiplied by the same weights. */
ZNI_VECTORISE static void zni_pair_line(const zni_step *st, const zni_feature *out, const zn_real *ZNI_RESTRICT from, zn_real *ZNI_RESTRICT to) {
    int width = zni_phase_width(st, out), half = out->size / 2, phase, p, l;
    for (phase = 0; phase < zni_phases(st); ++phase, from += half * ZNI_LANES)
        for (p = 0; p < width - half; ++p, from += ZNI_LANES, to += 2 * ZNI_LANES)
            ZNI_LANEWISE for (l = 0; l < ZNI_LANES; ++l) {
                to[2 * l] = from[l];
                to[2 * l + 1] = from[half * ZNI_LANES + l];
            }
}
/* All blocks of the input of those rows. */
static void zni_fill(const zni_frame *r, const zni_step *st, int row, int rows, zni_scratch *to) {
    int lines = zni_rows_in(st, rows), step = st->kernel == 1 ? st->stride : 1, line;
    size_t b, blocks = ZNI_BLOCKS(r->s->values[st->in].channels), room = zni_block_room(r->s, st), pitch = zni_row_room(r->s, st);
    for (line = zni_keep_lines(r, st, 0, blocks, row, rows, to); line < lines; ++line)
        for (b = 0; b < blocks; ++b) {
            zn_real *at = to->values + b * room + (size_t)line * pitch, *plain = st->paired ? to->values + blocks * room : at;
            zni_gather_line(r, st, b, row * st->stride - st->padding + line * step, plain);
            if (st->paired) zni_pair_line(st, &r->s->values[st->out], plain, at);
        }
}
/* Where a block of a depthwise step's input stands in scratch. */
ZNI_INLINE zn_real *zni_woven_at(const zn_session *s, const zni_step *st, size_t block, zn_real *scratch) {
    return scratch + block / zni_woven_blocks(s) * zni_block_room(s, st) + block % zni_woven_blocks(s) * ZNI_LANES;
}
/* Lines of the merged step before a depthwise one, woven as they are made. */
static void zni_front_lines(const zni_frame *r, const zni_step *st, size_t first, size_t count, int line, int lines, zn_real *to) {
    const zn_session *s = r->s;
    const zni_step *front = &s->steps[st->front];
    const zni_feature *in = &s->values[front->in];
    size_t b, lanes = (size_t)s->woven->woven_lanes, width = (size_t)in->size * ZNI_LANES, pitch = zni_row_room(s, st);
    zni_strip t = zni_strip_of(s, front);
    const zni_tile_kernel *k;
    int i;
    t.y_pixel = lanes;
    t.y_half = lanes > ZNI_LANES ? ZNI_LANES : zni_block_room(s, st);
    t.y_pair = lanes > ZNI_LANES ? zni_block_room(s, st) : 2 * t.y_half;
    for (b = 0; b < count; b += (size_t)k->blocks) {
        k = zni_strip_tile(s, front, first + b, &t);
        t.x = zni_feature_at(r, in) + (size_t)line * width;
        t.y = zni_woven_at(s, st, b, to);
        for (i = 0; i < lines; ++i, t.x += width, t.y += pitch) zni_conv_row(k, &t, in->size);
    }
}
/* Zeros at both ends of a line. */
ZNI_INLINE void zni_zero_beside(zn_real *line, size_t pitch, size_t margin) {
    memset(line, 0, margin * sizeof *line);
    memset(line + pitch - margin, 0, margin * sizeof *line);
}
/* As zni_fill, for blocks [first, first + count) of depthwise steps. A last block without a neighbour is put down twice, so that
   all lanes compute what is known. */
static void zni_weave_lines(const zni_frame *r, const zni_step *st, size_t first, size_t count, int row, int rows, zni_scratch *scratch) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in];
    int size = in->size, lanes = s->woven->woven_lanes, lines = zni_rows_in(st, rows), top = row * st->stride - st->padding, end = (top + lines < size ? top + lines : size) - top, begin, line, i, l;
    size_t weaves = zni_weaves(s, count), room = zni_block_room(s, st), pitch = zni_row_room(s, st), margin = (size_t)(st->padding * lanes), b;
    int kept = zni_keep_lines(r, st, first, weaves, row, rows, scratch);
    zn_real *to = scratch->values + margin;
    begin = kept < -top ? -top : kept; /* lines [begin, end) are new and inside the map */
    for (; scratch->framed < weaves; ++scratch->framed)
        for (line = 0; line < zni_rows_in(st, st->chunk); ++line) zni_zero_beside(scratch->values + scratch->framed * room + (size_t)line * pitch, pitch, margin);
    for (b = 0; b < weaves; ++b) {
        zn_real *at = scratch->values + b * room;
        if (begin > kept) memset(at + (size_t)kept * pitch, 0, (size_t)(begin - kept) * pitch * sizeof *at);
        if (lines > end) memset(at + (size_t)end * pitch, 0, (size_t)(lines - end) * pitch * sizeof *at);
    }
    if (st->front >= 0 && begin < end) zni_front_lines(r, st, first, count, top + begin, end - begin, to + (size_t)begin * pitch);
    for (b = 0; st->front < 0 && b < count; ++b) {
        const zn_real *p = r->arena + s->gates_at + (first + b) * ZNI_LANES, *from = zni_feature_at(r, in) + (first + b) * zni_pixels_of(in) * ZNI_LANES;
        zni_gate_mode mode = zni_mode_of(s, st, first + b);
        for (line = begin; line < end; ++line)
            s->kernels->copy(mode, p, p + s->gate_room, from + (size_t)((top + line) * size) * ZNI_LANES, ZNI_LANES, size, zni_woven_at(s, st, b, to + (size_t)line * pitch), (size_t)lanes);
    }
    for (line = begin; weaves * zni_woven_blocks(s) > count && line < end; ++line) {
        zn_real *last = zni_woven_at(s, st, count - 1, to + (size_t)line * pitch);
        for (i = 0; i < size; ++i, last += lanes)
            for (l = 0; l < ZNI_LANES; ++l) last[ZNI_LANES + l] = last[l];
    }
}
/* Blocks [first, first + count) of output rows [begin, end), which are a band. */
static void zni_depthwise_band(const zni_frame *r, const zni_step *st, size_t first, size_t count, int begin, int end, zni_scratch *scratch) {
    const zn_session *s = r->s;
    const zni_feature *out = &s->values[st->out];
    size_t lanes = (size_t)s->woven->woven_lanes, per = zni_woven_blocks(s), pitch = zni_row_room(s, st), plane = zni_pixels_of(out) * ZNI_LANES, line = (size_t)out->size * ZNI_LANES, b;
    const zn_real *biases = s->weights + st->weights, *weights = biases + zni_weaves(s, ZNI_BLOCKS(out->channels)) * lanes;
    int row, rows, i, taps = st->kernel * st->kernel * (int)lanes; /* weights of a woven block */
    zni_woven_rows t;
    memset(&t, 0, sizeof t);
    t.least = st->act == ZNI_ACT_RELU ? 0 : -(zn_real)HUGE_VAL;
    t.runs[0] = st->kernel;
    t.runs[1] = st->stride == 2 ? st->kernel : 0;
    t.width = out->size;
    t.x_step = st->stride * (int)lanes;
    t.y_step = ZNI_LANES;
    for (row = begin; row < end; row += rows) {
        rows = end - row < st->chunk ? end - row : st->chunk;
        zni_weave_lines(r, st, first, count, row, rows, scratch);
        for (b = 0; b < count; b += per) {
            const zn_real *w = weights + (first + b) * ZNI_LANES * (size_t)(st->kernel * st->kernel);
            t.start = biases + (first + b) * ZNI_LANES;
            t.y_half = b + 1 < count ? plane : 0;
            for (i = 0; i < taps; i += ZNI_LINE_REALS) ZNI_PREFETCH(w + taps + i); /* the next block's (ZenNet-M 1 % faster) */
            for (i = 0; i < rows; i += s->woven->woven_rows) {
                t.x = zni_woven_at(s, st, b, scratch->values) + (size_t)(i * st->stride) * pitch;
                t.y = zni_feature_at(r, out) + (first + b) * plane + (size_t)(row + i) * line;
                t.x_row = i + 1 < rows ? (size_t)st->stride * pitch : 0;
                t.y_row = i + 1 < rows ? line : 0;
                t.off = s->offsets + st->offsets;
                t.w = w;
                if (st->stride == 1) zni_woven_inside(&t, st->kernel, (int)lanes, row + i - st->padding, out->size);
                zni_woven_rows_run(s->woven, st->kernel, st->stride, &t);
            }
        }
    }
}
/* The same of output rows (flat steps: pixels) [begin, end) of a convolution. */
static void zni_conv_band(const zni_frame *r, const zni_step *st, size_t first, size_t count, int begin, int end, zni_scratch *scratch) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in], *out = &s->values[st->out];
    int row, rows, line;
    size_t per_line = st->flat ? 1 : (size_t)out->size, plane = zni_pixels_of(out), b;
    zni_strip t = zni_strip_of(s, st);
    for (row = begin; row < end; row += rows) {
        int lines, width;
        const zn_real *x = scratch->values;
        rows = end - row < st->chunk ? end - row : st->chunk;
        lines = st->flat ? 1 : rows;
        width = st->flat ? rows : st->paired ? out->size / 2 : out->size;
        if (!st->flat) zni_fill(r, st, row, rows, scratch);
        else if (st->scratch > 0) zni_gather_flat(r, st, (size_t)row, rows, scratch);
        else x = zni_feature_at(r, in) + (size_t)row * ZNI_LANES;
        for (b = 0; b < count;) {
            const zni_tile_kernel *k = zni_strip_tile(s, st, first + b, &t);
            for (line = 0; line < lines; ++line) {
                size_t at = ((first + b) * plane + (size_t)(row + line) * per_line) * ZNI_LANES;
                t.x = x + (size_t)(line * zni_row_step(st)) * zni_row_room(s, st);
                t.y = zni_feature_at(r, out) + at;
                if (st->add >= 0) t.add = zni_feature_at(r, &s->values[st->add]) + at;
                zni_conv_row(k, &t, width);
            }
            b += (size_t)k->blocks;
        }
    }
}
static void zni_band_task(const zni_frame *r, const zni_step *st, size_t first, size_t count, int band, zni_scratch *scratch) {
    int size = r->s->values[st->out].size, total = st->flat ? size * size : size, begin = band * st->rows, end = begin + st->rows < total ? begin + st->rows : total;
    size_t per_line = st->flat ? 1 : (size_t)size;
    if (st->kind == ZNI_S_DEPTHWISE) zni_depthwise_band(r, st, first, count, begin, end, scratch);
    else zni_conv_band(r, st, first, count, begin, end, scratch);
    zni_task_statistics(r, &r->s->values[st->out], first, count, band, (size_t)begin * per_line, (size_t)(end - begin) * per_line);
}
static void zni_conv_task(const zni_frame *r, const zni_step *st, int task, zni_scratch *scratch) {
    size_t first, count = zni_part_blocks(r->s, st, task % st->parts, &first);
    zni_band_task(r, st, first, count, task / st->parts, scratch);
    if (st->next >= 0) zni_band_task(r, &r->s->steps[st->next], 0, ZNI_BLOCKS(r->s->values[r->s->steps[st->next].out].channels), task / st->parts, scratch);
}

/* ---- running: what is rare, plainly, one block of lanes per task ---- */
static void zni_grouped_task(const zni_frame *r, const zni_step *st, int task) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in], *out = &s->values[st->out];
    const zn_real *x = zni_feature_at(r, in);
    zn_real *y = zni_feature_at(r, out) + (size_t)task * zni_pixels_of(out) * ZNI_LANES;
    int per = in->channels / st->groups, outs = out->channels / st->groups, lane, row, column, c, i, j;
    for (lane = 0; lane < ZNI_LANES && task * ZNI_LANES + lane < out->channels; ++lane) {
        int o = task * ZNI_LANES + lane, taps = st->kernel * st->kernel;
        const zn_real *bias = s->weights + st->weights, *w = bias + zni_lanes_of(out) + (size_t)task * (size_t)(per * taps) * ZNI_LANES + lane;
        for (row = 0; row < out->size; ++row)
            for (column = 0; column < out->size; ++column) {
                zn_real sum = bias[o];
                for (c = 0; c < per; ++c) {
                    int from = o / outs * per + c, left = per - c / ZNI_LANES * ZNI_LANES, wide = left < ZNI_LANES ? left : ZNI_LANES;
                    for (i = 0; i < st->kernel; ++i)
                        for (j = 0; j < st->kernel; ++j) {
                            int at_row = row * st->stride - st->padding + i, at_column = column * st->stride - st->padding + j;
                            if (at_row < 0 || at_row >= in->size || at_column < 0 || at_column >= in->size) continue;
                            sum += x[((size_t)(from / ZNI_LANES) * zni_pixels_of(in) + (size_t)(at_row * in->size + at_column)) * ZNI_LANES + (size_t)(from % ZNI_LANES)] *
                                   w[(c / ZNI_LANES * ZNI_LANES * taps + (i * st->kernel + j) * wide + c % ZNI_LANES) * ZNI_LANES];
                        }
                }
                y[(row * out->size + column) * ZNI_LANES + lane] = st->act == ZNI_ACT_RELU && !(sum > 0) ? 0 : sum;
            }
    }
}
ZNI_INLINE double zni_sigmoid_exact(double z) { return 1.0 / (1.0 + exp(-z)); }
/* y[channel] = act(gate(x[channel]) + add[channel]), channels put where they belong. */
static void zni_map_task(const zni_frame *r, const zni_step *st, int task) {
    const zn_session *s = r->s;
    const zni_feature *in = &s->values[st->in], *out = &s->values[st->out];
    size_t pixels = zni_pixels_of(in), i, step = st->in == 0 ? 1 : ZNI_LANES;
    zni_gate_mode mode = zni_mode_of(s, st, (size_t)task);
    int lane;
    for (lane = 0; lane < ZNI_LANES && task * ZNI_LANES + lane < in->channels; ++lane) {
        int place = task * ZNI_LANES + lane, to = st->offset + zni_reads(in, st->shuffled, place);
        size_t at = (size_t)(to / ZNI_LANES) * pixels * ZNI_LANES + (size_t)(to % ZNI_LANES);
        const zn_real *x = st->in == 0 ? r->x + (size_t)place * pixels : zni_feature_at(r, in) + (size_t)task * pixels * ZNI_LANES + lane;
        const zn_real *add = st->add >= 0 ? zni_feature_at(r, &s->values[st->add]) + at : NULL;
        const zn_real *gates = r->arena + s->gates_at + (mode != ZNI_GATE_COPY ? place : 0);
        zn_real p = mode != ZNI_GATE_COPY ? gates[0] : 1, q = mode != ZNI_GATE_COPY ? gates[s->gate_room] : 0, *y = zni_feature_at(r, out) + at;
        for (i = 0; i < pixels; ++i, x += step) {
            zn_real v = *x;
            if (mode == ZNI_GATE_SCALE) v *= p;
            else if (mode == ZNI_GATE_SIGMOID) v *= (zn_real)zni_sigmoid_exact((double)(p * v + q));
            else if (mode == ZNI_GATE_AFFINE) v = p * v + q;
            if (add != NULL) v += add[i * ZNI_LANES];
            if (st->act == ZNI_ACT_RELU) v = v > 0 ? v : 0;
            else if (st->act == ZNI_ACT_SWISH) v *= (zn_real)zni_sigmoid_exact((double)v);
            y[i * ZNI_LANES] = v;
        }
    }
}
static void zni_max_pool_task(const zni_frame *r, const zni_step *st, int task) {
    const zni_feature *in = &r->s->values[st->in], *out = &r->s->values[st->out];
    const zn_real *x = zni_feature_at(r, in) + (size_t)task * zni_pixels_of(in) * ZNI_LANES;
    zn_real *y = zni_feature_at(r, out) + (size_t)task * zni_pixels_of(out) * ZNI_LANES;
    int row, column, i, j, l;
    for (row = 0; row < out->size; ++row)
        for (column = 0; column < out->size; ++column, y += ZNI_LANES) {
            for (l = 0; l < ZNI_LANES; ++l) y[l] = -(zn_real)HUGE_VAL;
            for (i = row * st->stride - st->padding; i < row * st->stride - st->padding + st->kernel; ++i)
                for (j = column * st->stride - st->padding; j < column * st->stride - st->padding + st->kernel; ++j) {
                    const zn_real *from = x + ((ptrdiff_t)i * in->size + j) * ZNI_LANES;
                    if (i < 0 || i >= in->size || j < 0 || j >= in->size) continue;
                    for (l = 0; l < ZNI_LANES; ++l) y[l] = from[l] <= y[l] ? y[l] : from[l];
                }
        }
}
static void zni_avg_pool_task(const zni_frame *r, const zni_step *st, int task) {
    const zni_feature *in = &r->s->values[st->in], *out = &r->s->values[st->out];
    const zn_real *x = zni_feature_at(r, in) + (size_t)task * zni_pixels_of(in) * ZNI_LANES;
    zn_real *y = zni_feature_at(r, out) + (size_t)task * zni_pixels_of(out) * ZNI_LANES;
    int row, column, i, j, l, size = out->size;
    for (row = 0; row < size; ++row)
        for (column = 0; column < size; ++column, y += ZNI_LANES) {
            int i0 = zni_bin_begin(row, in->size, size), i1 = zni_bin_end(row, in->size, size), j0 = zni_bin_begin(column, in->size, size), j1 = zni_bin_end(column, in->size, size);
            for (l = 0; l < ZNI_LANES; ++l) {
                double sum = 0.0;
                for (i = i0; i < i1; ++i)
                    for (j = j0; j < j1; ++j) sum += (double)x[(i * in->size + j) * ZNI_LANES + l];
                y[l] = (zn_real)(sum / ((double)(i1 - i0) * (double)(j1 - j0)));
            }
        }
}
static void zni_step_task(const zni_frame *r, const zni_step *st, int task, zni_scratch *scratch) {
    const zni_feature *v = &r->s->values[st->in];
    switch (st->kind) {
    case ZNI_S_CONV: case ZNI_S_DEPTHWISE: zni_conv_task(r, st, task, scratch); break;
    case ZNI_S_GROUPED: zni_grouped_task(r, st, task); break;
    case ZNI_S_MAP: zni_map_task(r, st, task); break;
    case ZNI_S_MAX_POOL: zni_max_pool_task(r, st, task); break;
    case ZNI_S_AVG_POOL: zni_avg_pool_task(r, st, task); break;
    default: zni_task_statistics(r, v, (size_t)task, 1, 0, 0, zni_pixels_of(v));
    }
}

/* ---- running: gates and the head ---- */
/* Mean (and variance, unless NULL) of what stands at a place of a value, from its bands in their order. */
static double zni_merge(const zni_frame *r, const zni_feature *v, int place, double *variance) {
    const zn_real *bands = r->arena + r->s->buffers[v->statistics] + place;
    size_t lanes = zni_lanes_of(v), b, pixels = zni_pixels_of(v), per = (size_t)v->band_pixels;
    double mean = 0.0, squares = 0.0;
    for (b = 0; b < (size_t)v->bands; ++b) mean += (double)bands[2 * b * lanes] * (double)(pixels - b * per < per ? pixels - b * per : per);
    mean /= (double)pixels;
    for (b = 0; b < (size_t)v->bands && variance != NULL; ++b) {
        double d = (double)bands[2 * b * lanes] - mean;
        squares += (double)bands[(2 * b + 1) * lanes] + d * d * (double)(pixels - b * per < per ? pixels - b * per : per);
    }
    if (variance != NULL) *variance = squares / (double)pixels;
    return mean;
}
/* x*sigmoid(p*x + q), where the mean alone decides p = 0; with whole blocks of such, p is the factor. */
static void zni_prepare_sa(const zni_frame *r, const zni_step *st, const zni_gate *g, zn_real *p, zn_real *q) {
    const zni_feature *v = &r->s->values[st->in];
    int place, k = v->channels / (2 * g->groups), run = v->sa > 0 ? v->channels / 2 : k; /* places gated alike, see zni_holds */
    const zn_real *cw = r->s->weights + g->params, *cb = cw + k, *sw = cb + k, *sb = sw + k, *gw = sb + k, *gb = gw + k;
    for (place = 0; place < v->channels; ++place) {
        int at = place % k, by_mean = place / run % 2 == 0;
        double variance = 1.0, mean = zni_merge(r, v, place, by_mean ? NULL : &variance), scale;
        if (by_mean) {
            double z = (double)cw[at] * mean + (double)cb[at];
            int whole = zni_mode_of(r->s, st, (size_t)(place / ZNI_LANES)) == ZNI_GATE_SCALE;
            p[place] = (zn_real)(whole ? zni_sigmoid_exact(z) : 0.0);
            q[place] = (zn_real)z;
        } else {
            scale = (double)gw[at] / sqrt(variance + r->s->gn_eps);
            p[place] = (zn_real)((double)sw[at] * scale);
            q[place] = (zn_real)((double)sw[at] * ((double)gb[at] - scale * mean) + (double)sb[at]);
        }
    }
}
static void zni_prepare_se(const zni_frame *r, const zni_step *st, const zni_gate *g, zn_real *p, zn_real *mean, zn_real *hidden) {
    const zni_feature *v = &r->s->values[st->in];
    const zn_real *w = r->s->weights + g->params;
    int c, h;
    for (c = 0; c < v->channels; ++c) mean[c] = (zn_real)zni_merge(r, v, c, NULL);
    for (h = 0; h < g->hidden; ++h) {
        double sum = (double)w[(size_t)v->channels * (size_t)g->hidden + (size_t)h];
        for (c = 0; c < v->channels; ++c) sum += (double)w[(size_t)h * (size_t)v->channels + (size_t)c] * (double)mean[c];
        hidden[h] = (zn_real)(sum > 0.0 ? sum : 0.0);
    }
    w += (size_t)(v->channels + 1) * (size_t)g->hidden;
    for (c = 0; c < v->channels; ++c) {
        double sum = (double)w[(size_t)v->channels * (size_t)g->hidden + (size_t)c];
        for (h = 0; h < g->hidden; ++h) sum += (double)w[(size_t)c * (size_t)g->hidden + (size_t)h] * (double)hidden[h];
        p[c] = (zn_real)zni_sigmoid_exact(sum);
    }
}
static void zni_prepare(const zni_frame *r, const zni_step *st) {
    const zni_gate *g = &r->s->gates[st->gate];
    zn_real *p = r->arena + r->s->gates_at, *q = p + r->s->gate_room;
    size_t channels = (size_t)r->s->values[st->in].channels;
    if (g->kind == ZNI_SA_GATE) zni_prepare_sa(r, st, g, p, q);
    else if (g->kind == ZNI_SE_GATE) zni_prepare_se(r, st, g, p, q + r->s->gate_room, q + 2 * r->s->gate_room);
    else {
        memcpy(p, r->s->weights + g->params, channels * sizeof(zn_real));
        memcpy(q, r->s->weights + g->params + channels, channels * sizeof(zn_real));
    }
}

/* WIRW on pooled features: what x[channel] becomes under shuffle attention on a 1 x 1 map, and its derivative. */
static double zni_wirw_gate(const zn_session *s, const zn_real *w, int channel, double x, double *slope) {
    int k = s->values[s->features].channels / 16, at = channel % (2 * k);
    double z = at < k ? (double)w[at] * x + (double)w[k + at] : (double)w[2 * k + at - k] * (double)w[5 * k + at - k] + (double)w[3 * k + at - k], gate = zni_sigmoid_exact(z);
    if (slope != NULL) *slope = gate + (at < k ? x * (double)w[at] * gate * (1.0 - gate) : 0.0);
    return x * gate;
}
static const zn_real *zni_wirw_weights(const zn_session *s) {
    return s->weights + s->head + (size_t)(s->values[s->features].channels + 1) * (size_t)s->classes;
}
static void zni_head(const zni_frame *r, zn_real *logits) {
    const zn_session *s = r->s;
    const zni_feature *v = &s->values[s->features];
    const zn_real *w = s->weights + s->head, *bias = w + (size_t)v->channels * (size_t)s->classes, *wirw = zni_wirw_weights(s);
    zn_real *pooled = r->arena + s->pooled, *x = pooled;
    int c, k, channels = v->channels;
    for (c = 0; c < channels; ++c) pooled[c] = (zn_real)zni_merge(r, v, c, NULL);
    if (s->lw_att) {
        x += zni_lanes_of(v);
        for (c = 0; c < channels; ++c) x[c] = wirw[1] * pooled[c];
        for (c = 0; c < channels; ++c) x[zni_shuffle2(c, channels)] += (zn_real)((double)wirw[0] * zni_wirw_gate(s, wirw + 2, c, (double)pooled[c], NULL));
    }
    for (k = 0; k < s->classes; ++k, w += channels) logits[k] = (zn_real)((double)bias[k] + zni_dot(w, x, (size_t)channels));
}

/* ---- running: images and threads ---- */
#define ZNI_PARALLEL_MACS 1e6 /* an image with less is not worth waking threads for */

static zni_scratch zni_scratch_of(const zn_session *s, int thread) {
    zni_scratch t;
    memset(&t, 0, sizeof t);
    t.values = s->scratch + (size_t)thread * s->scratch_room;
    return t;
}
/* Band after band of a part: each finds in scratch what the one before has left. */
static void zni_run_step(const zni_frame *r, const zni_step *st, zni_scratch *scratch) {
    int part, band;
    if (st->gate >= 0) zni_prepare(r, st);
    for (part = 0; part < st->parts; ++part)
        for (band = 0; band < st->bands; ++band) zni_step_task(r, st, band * st->parts + part, scratch);
}
static void zni_run_alone(const zni_frame *r, int thread, zn_real *logits) {
    zni_scratch scratch = zni_scratch_of(r->s, thread);
    int i;
    for (i = 0; i < r->s->step_count; ++i) zni_run_step(r, &r->s->steps[i], &scratch);
    zni_head(r, logits);
}
/* The same by all threads of a team, which call it together. Stages follow each other: a step's gate, its tasks, the head at
   last. A thread takes tasks of a stage only once all before it are done, and waits with empty hands: one that the system
   put aside, or that is late, holds nobody up (ZenNet-M by two threads beside a busy process: 28 ms; with a barrier behind
   each step 670). It begins with its own share, mostly the part of the map that it made before and still has in its cache,
   and then helps with those of others (two cores that share no cache: ZenNet-M 14, -R 28 % faster than by taking turns). */
static void zni_run_together(const zni_frame *r, int *progress, int thread, zn_real *logits) {
    const zn_session *s = r->s;
    zni_scratch scratch = zni_scratch_of(s, thread);
    int stage, stages = zni_session_stages(s), shares = zni_session_shares(s), before = 0;
    for (stage = 0; stage < stages; ++stage) {
        const zni_step *st = stage + 1 < stages ? &s->steps[stage / 2] : NULL;
        int count = st == NULL ? 1 : stage % 2 == 0 ? st->gate >= 0 : st->bands * st->parts, done = 0, i;
        if (count == 0) continue;
        zni_wait_for(&progress[0], before);
        for (i = 0; i < shares; ++i) {
            int share = (thread + i) % shares, end = count * (share + 1) / shares, task;
            while ((task = count * share / shares + zni_count_up(&progress[1 + share * stages + stage], 1)) < end) {
                if (st == NULL) zni_head(r, logits);
                else if (stage % 2 == 0) zni_prepare(r, st);
                else zni_step_task(r, st, task, &scratch);
                ++done;
            }
        }
        if (done > 0) zni_count_up(&progress[0], done);
        before += count;
    }
}
ZN_API zn_result zn_session_run(zn_session *s, const zn_real *x, int count, zn_real *logits) {
    size_t image;
    int threads, whole, i;
    if (s == NULL || x == NULL || logits == NULL || count < 1 || count > s->batch) return ZN_ERROR_ARGUMENT;
    s->images = count;
    image = 3 * (size_t)s->resolution * (size_t)s->resolution;
    threads = s->work * count < 2 * ZNI_PARALLEL_MACS || (count == 1 && s->work < ZNI_PARALLEL_MACS) ? 1 : s->threads;
    whole = threads == 1 ? count : s->workers < threads ? 0 : count / threads * threads;
    ZNI_OMP(parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && whole > 0))
    for (i = 0; i < whole; ++i) {
        zni_frame r;
        r.s = s;
        r.x = x + (size_t)i * image;
        r.arena = s->arenas + (size_t)zni_thread() * s->arena;
        zni_run_alone(&r, zni_thread(), logits + (size_t)i * (size_t)s->classes);
    }
    for (i = whole; i < count; ++i) {
        zni_frame r;
        r.s = s;
        r.x = x + (size_t)i * image;
        r.arena = s->arenas;
        memset(s->progress, 0, zni_progress_bytes(s));
        ZNI_OMP(parallel num_threads(threads))
        zni_run_together(&r, s->progress, zni_thread(), logits + (size_t)i * (size_t)s->classes);
    }
    return ZN_OK;
}
ZN_API zn_result zn_session_classify_box(zn_session *s, const unsigned char *rgb, int width, int height, int x, int y, int box_w, int box_h, zn_real *prob, int *out_best) {
    zn_real logits[ZN_MAX_CLASSES], top;
    double sum = 0.0;
    zn_result result;
    int i, best = 0;
    if (out_best != NULL) *out_best = -1;
    if (s == NULL || rgb == NULL || box_w > s->picture_side || box_h > s->picture_side) return ZN_ERROR_ARGUMENT;
    result = zn_input_apply(&s->input, rgb, width, height, x, y, box_w, box_h, s->arenas, s->picture);
    if (result != ZN_OK) return result;
    result = zn_session_run(s, s->picture, 1, logits);
    if (result != ZN_OK) return result;
    for (i = 0; i < s->classes; ++i) {
        if (!isfinite((double)logits[i])) return ZN_ERROR_NUMBER;
        if (logits[i] > logits[best]) best = i;
    }
    top = logits[best];
    for (i = 0; i < s->classes; ++i) sum += exp((double)(logits[i] - top));
    for (i = 0; i < s->classes && prob != NULL; ++i) prob[i] = (zn_real)(exp((double)(logits[i] - top)) / sum);
    if (out_best != NULL) *out_best = best;
    return ZN_OK;
}
ZN_API zn_result zn_session_classify_rgb(zn_session *s, const unsigned char *rgb, int width, int height, zn_real *prob, int *out_best) {
    return zn_session_classify_box(s, rgb, width, height, 0, 0, width, height, prob, out_best);
}
ZN_API int zn_session_step_count(const zn_session *s) { return s != NULL ? s->step_count + 1 : 0; }
static double zni_step_macs(const zn_session *s, const zni_step *st) {
    const zni_feature *out = &s->values[st->out];
    if (st->kind > ZNI_S_GROUPED) return 0;
    return (double)s->values[st->in].channels / st->groups * out->channels * st->kernel * st->kernel * (double)zni_pixels_of(out);
}
static double zni_step_bytes(const zn_session *s, const zni_step *st) {
    const zni_feature *in = &s->values[st->in], *out = &s->values[st->out];
    double values = (double)(zni_pixels_of(in) * (size_t)in->channels);
    if (st->kind != ZNI_S_STATISTICS) values += (st->add >= 0 ? 2.0 : 1.0) * (double)(zni_pixels_of(out) * (size_t)out->channels);
    if (st->kind <= ZNI_S_GROUPED) values += (double)in->channels / st->groups * out->channels * st->kernel * st->kernel;
    return values * (double)sizeof(zn_real);
}
ZN_API zn_result zn_session_step_info(const zn_session *s, int index, zn_step_info *info) {
    static const char *const kinds[] = {"conv", "depthwise", "grouped", "map", "max_pool", "avg_pool", "statistics"};
    const zni_feature *in, *out;
    const zni_step *st;
    int i;
    if (s == NULL || info == NULL || index < 0 || index > s->step_count) return ZN_ERROR_ARGUMENT;
    memset(info, 0, sizeof *info);
    if (index == s->step_count) {
        info->kind = "head";
        info->in = s->values[s->features].channels;
        info->out = s->classes;
        info->macs = (double)info->in * info->out;
        info->bytes = (double)sizeof(zn_real) * info->macs;
        return ZN_OK;
    }
    st = &s->steps[index];
    in = &s->values[st->in];
    out = &s->values[st->out];
    info->kind = !st->merged ? kinds[st->kind] : st[-1].next == index ? "with previous" : "with next";
    info->in = in->channels;
    info->out = out->channels;
    info->kernel = st->kernel;
    info->stride = st->stride;
    info->groups = st->groups;
    info->in_size = in->size;
    info->out_size = out->size;
    info->gated = st->gate >= 0;
    info->summed = st->add >= 0;
    info->measured = out->statistics >= 0;
    info->macs = zni_step_macs(s, st);
    info->bytes = zni_step_bytes(s, st);
    for (i = 0; i < 2; ++i) { /* steps done within this one; what passes between them does not count */
        int inner = i == 0 ? st->front : st->next;
        const zni_feature *passed = i == 0 ? in : out;
        if (inner < 0) continue;
        info->macs += zni_step_macs(s, &s->steps[inner]);
        info->bytes += zni_step_bytes(s, &s->steps[inner]) - (i == 0 ? 2.0 : 1.0) * (double)(zni_pixels_of(passed) * (size_t)passed->channels) * (double)sizeof(zn_real);
    }
    if (st->merged) info->macs = info->bytes = 0;
    return ZN_OK;
}
ZN_API zn_result zn_session_time_steps(zn_session *s, const zn_real *x, double *seconds) {
    zn_real logits[ZN_MAX_CLASSES];
    zni_scratch scratch;
    zni_frame r;
    double begin, end;
    int i;
    if (s == NULL || x == NULL || seconds == NULL) return ZN_ERROR_ARGUMENT;
    r.s = s;
    r.x = x;
    r.arena = s->arenas;
    scratch = zni_scratch_of(s, 0);
    begin = zni_seconds();
    for (i = 0; i <= s->step_count; ++i, begin = end) {
        if (i < s->step_count) zni_run_step(&r, &s->steps[i], &scratch);
        else zni_head(&r, logits);
        end = zni_seconds();
        seconds[i] = end - begin;
    }
    return ZN_OK;
}
ZN_API int zn_session_map_size(const zn_session *s) { return s != NULL ? s->values[s->features].size : 0; }
/* The head is nearly linear, so the gradient of a logit is written down: d logit/d feature = d logit/d pooled / pixels. */
ZN_API zn_result zn_session_grad_cam(const zn_session *s, int class_index, zn_real *out_map) {
    const zni_feature *v;
    const zn_real *w, *wirw, *features;
    size_t pixels, i;
    int c;
    if (s == NULL || out_map == NULL || class_index < 0 || class_index >= s->classes || s->images != 1) return ZN_ERROR_ARGUMENT;
    v = &s->values[s->features];
    pixels = zni_pixels_of(v);
    w = s->weights + s->head + (size_t)class_index * (size_t)v->channels;
    wirw = zni_wirw_weights(s);
    features = s->arenas + s->buffers[v->buffer];
    for (i = 0; i < pixels; ++i) out_map[i] = 0;
    for (c = 0; c < v->channels; ++c) {
        double slope = (double)w[c];
        if (s->lw_att) {
            zni_wirw_gate(s, wirw + 2, c, (double)s->arenas[s->pooled + (size_t)c], &slope);
            slope = (double)wirw[0] * slope * (double)w[zni_shuffle2(c, v->channels)] + (double)wirw[1] * (double)w[c];
        }
        for (i = 0; i < pixels; ++i) out_map[i] += (zn_real)(slope / (double)pixels) * features[((size_t)(c / ZNI_LANES) * pixels + i) * ZNI_LANES + (size_t)(c % ZNI_LANES)];
    }
    for (i = 0; i < pixels; ++i) out_map[i] = out_map[i] > 0 ? out_map[i] : 0;
    return ZN_OK;
}

/* ---- making one ---- */
ZN_API zn_session_opts zn_session_opts_default(void) {
    zn_session_opts o = {1, 0, 0, 4096};
    return o;
}
static zn_result zni_session_options(zni_compiler *c, const zn_session_opts *opts) {
    zn_session_opts o = opts != NULL ? *opts : zn_session_opts_default();
    zn_session *s = &c->s;
    int size = c->net->input.size;
    if (o.resolution == 0) o.resolution = size;
    if (o.threads == 0) o.threads = zni_max_threads() < 1024 ? zni_max_threads() : 1024;
    if (o.batch < 1 || o.batch > 65536) return zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "session: batch is %d, must be 1 to 65536", o.batch);
    if (o.resolution < 1 || o.resolution > ZN_MAX_INPUT_SIZE) return zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "session: resolution is %d, must be 1 to %d", o.resolution, ZN_MAX_INPUT_SIZE);
    if (o.threads < 1 || o.threads > 1024) return zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "session: threads is %d, must be 0 to 1024", o.threads);
    if (o.picture_side < 0 || o.picture_side > ZN_MAX_IMAGE_SIDE) return zni_fail(c->ctx, ZN_ERROR_ARGUMENT, "session: picture_side is %d, must be 0 to %d", o.picture_side, ZN_MAX_IMAGE_SIDE);
    s->batch = o.batch;
    s->resolution = o.resolution;
    s->threads = o.threads;
    s->workers = o.batch >= o.threads ? o.threads : 1; /* each thread has images of its own, or all share each image */
    s->picture_side = o.picture_side;
    s->input = c->net->input;
    s->input.resize = (int)((double)s->input.resize * o.resolution / size + 0.5);
    s->input.size = o.resolution;
    s->classes = c->net->opts.classes;
    s->lw_att = c->net->opts.lw_att;
    s->gn_eps = c->net->opts.gn_eps;
    s->woven = zni_kernels_of(c->ctx);
    s->kernels = zni_infer_sets[s->woven - zni_kernel_sets];
    return ZN_OK;
}
static zn_result zni_session_compile(zni_compiler *c, const zn_net *net, const zn_session_opts *opts) {
    int x;
    memset(c, 0, sizeof *c);
    c->ctx = net->ctx;
    c->net = net;
    if (zni_session_options(c, opts) != ZN_OK) return c->ctx->code;
    x = zni_add_value(c, 3, c->s.resolution);
    if (x == 0) x = zni_compile_layers(c, net->plan.first, 0);
    if (x >= 0) x = zni_as_blocks(c, x);
    if (x < 0 || !zni_compile_statistics(c, x)) return c->ctx->code;
    c->s.features = x;
    c->buffers[c->s.values[x].buffer].last = c->buffers[c->s.values[x].statistics].last = INT_MAX;
    return zni_session_plan(c);
}
static void zni_compiler_free(zni_compiler *c) {
    zni_free(c->ctx, c->s.steps);
    zni_free(c->ctx, c->s.values);
    zni_free(c->ctx, c->s.gates);
    zni_free(c->ctx, c->buffers);
}

/* Gives out a block of memory piece by piece; with base NULL it only counts. */
typedef struct zni_carver {
    unsigned char *base;
    size_t used;
} zni_carver;
static void *zni_carve(zni_carver *c, size_t bytes) {
    void *at = c->base != NULL ? c->base + c->used : NULL;
    c->used = zni_size_add(c->used, zni_size_mul(zni_size_add(bytes, ZNI_ALIGN - 1) / ZNI_ALIGN, ZNI_ALIGN));
    return at;
}
/* Lays the session out in memory (NULL: only counts its bytes, without those that align it). */
static size_t zni_session_layout(zni_compiler *c, unsigned char *memory, zn_session **out) {
    zn_session *s = &c->s, made = *s;
    zni_carver m;
    size_t arenas = zni_size_mul(zni_size_mul(s->arena, (size_t)s->workers), sizeof(zn_real)), picture = 0;
    if (s->picture_side > 0) picture = zn_input_scratch_bytes(&s->input, s->picture_side, s->picture_side); /* before the network runs: in its arena */
    m.base = memory;
    m.used = 0;
    *out = (zn_session *)zni_carve(&m, sizeof *s);
    made.steps = (zni_step *)zni_carve(&m, (size_t)s->step_count * sizeof *s->steps);
    made.values = (zni_feature *)zni_carve(&m, (size_t)s->value_count * sizeof *s->values);
    made.gates = (zni_gate *)zni_carve(&m, (size_t)s->gate_count * sizeof *s->gates);
    made.buffers = (size_t *)zni_carve(&m, (size_t)s->buffer_count * sizeof *s->buffers);
    made.offsets = (int *)zni_carve(&m, zni_size_mul(c->offsets, sizeof(int)));
    made.progress = (int *)zni_carve(&m, zni_progress_bytes(s));
    made.weights = (zn_real *)zni_carve(&m, zni_size_mul(c->weights, sizeof(zn_real)));
    made.arenas = (zn_real *)zni_carve(&m, arenas > picture ? arenas : picture);
    made.scratch = (zn_real *)zni_carve(&m, zni_size_mul(zni_size_mul(s->scratch_room, (size_t)s->threads), sizeof(zn_real)));
    if (s->picture_side > 0) made.picture = (zn_real *)zni_carve(&m, 3 * (size_t)s->resolution * (size_t)s->resolution * sizeof(zn_real));
    if (memory != NULL) {
        int i;
        memcpy(made.steps, s->steps, (size_t)s->step_count * sizeof *s->steps);
        memcpy(made.values, s->values, (size_t)s->value_count * sizeof *s->values);
        if (s->gate_count > 0) memcpy(made.gates, s->gates, (size_t)s->gate_count * sizeof *s->gates);
        for (i = 0; i < s->buffer_count; ++i) made.buffers[i] = c->buffers[i].offset;
        **out = made;
    }
    return m.used;
}
ZN_API zn_result zn_session_bytes(const zn_net *net, const zn_session_opts *opts, size_t *out_bytes) {
    zni_compiler c;
    zn_session *none;
    if (out_bytes != NULL) *out_bytes = 0;
    if (net == NULL || out_bytes == NULL) return zni_null(zn_net_ctx(net), "zn_session_bytes");
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    if (zni_session_compile(&c, net, opts) == ZN_OK) *out_bytes = zni_size_add(zni_session_layout(&c, NULL, &none), ZNI_ALIGN - 1);
    zni_compiler_free(&c);
    return net->ctx->code;
}
/* memory NULL: from the context. */
static zn_result zni_session_make(const zn_net *net, const zn_session_opts *opts, void *memory, size_t bytes, zn_session **out_session) {
    zni_compiler c;
    zn_session *s = NULL;
    unsigned char *base = (unsigned char *)memory;
    size_t need;
    if (out_session != NULL) *out_session = NULL;
    if (net == NULL || out_session == NULL) return zni_null(zn_net_ctx(net), "zn_session_create");
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    if (zni_session_compile(&c, net, opts) == ZN_OK) {
        need = zni_session_layout(&c, NULL, &s);
        if (memory == NULL) base = (unsigned char *)zni_alloc(net->ctx, need);
        else if (bytes < zni_size_add(need, ZNI_ALIGN - 1)) {
            zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "session: needs %lu bytes, was given %lu", (unsigned long)zni_size_add(need, ZNI_ALIGN - 1), (unsigned long)bytes);
            base = NULL;
        } else base += (ZNI_ALIGN - (uintptr_t)base % ZNI_ALIGN) % ZNI_ALIGN;
    }
    if (net->ctx->code == ZN_OK) {
        zni_session_layout(&c, base, &s);
        s->ctx = memory == NULL ? net->ctx : NULL;
        zni_session_pack(s, net);
        *out_session = s;
    }
    zni_compiler_free(&c);
    return net->ctx->code;
}
ZN_API zn_result zn_session_create(const zn_net *net, const zn_session_opts *opts, zn_session **out_session) { return zni_session_make(net, opts, NULL, 0, out_session); }
ZN_API zn_result zn_session_create_in(const zn_net *net, const zn_session_opts *opts, void *memory, size_t bytes, zn_session **out_session) {
    if (memory == NULL && out_session != NULL) *out_session = NULL;
    return memory == NULL ? zni_null(zn_net_ctx(net), "zn_session_create_in") : zni_session_make(net, opts, memory, bytes, out_session);
}
ZN_API void zn_session_destroy(zn_session *s) {
    if (s != NULL && s->ctx != NULL) zni_free(s->ctx, s);
}
ZN_API int zn_session_resolution(const zn_session *s) { return s != NULL ? s->resolution : 0; }
ZN_API int zn_session_classes(const zn_session *s) { return s != NULL ? s->classes : 0; }

/* ==================================================================================================================
   IMPL-ONNX  export
   ------------------------------------------------------------------------------------------------------------------
   The plan is walked as forward walks it, and every operation becomes one node or a few. Values are numbered, so a
   walk passes ints where forward passes tensors. An ONNX file is one protocol-buffers message: fields in any order, each
   a varint key (number * 8 + wire type) and a payload; a message within a message is written in place and gets its
   length in front when it ends. Sources: onnx.proto of IR version 7; the operators of opset 13.
   ================================================================================================================== */
enum { ZNI_ONNX_FLOAT = 1, ZNI_ONNX_INT64 = 7 }; /* TensorProto.DataType */

typedef struct zni_onnx {
    const zn_net *net;
    zni_text out;
    char module[ZNI_NAME_SIZE]; /* of the layer at work: nodes are called after it */
    int values;                 /* so far; value i is called "v<i>", 0 is "input" */
    int size;                   /* height and width of the map at this place */
    size_t node;                /* where the open node began */
} zni_onnx;

/* ---- protocol buffers ---- */
static int zni_onnx_varint_bytes(uint64_t value, unsigned char bytes[10]) { /* returns how many */
    int n = 0;
    for (; value > 127; value >>= 7) bytes[n++] = (unsigned char)(128u | (value & 127u));
    bytes[n++] = (unsigned char)value;
    return n;
}
static void zni_onnx_append(zni_onnx *o, const unsigned char *bytes, int size) {
    union { const unsigned char *in; const char *out; } p;
    p.in = bytes;
    zni_text_append(&o->out, p.out, (size_t)size);
}
static void zni_onnx_varint(zni_onnx *o, uint64_t value) {
    unsigned char bytes[10];
    zni_onnx_append(o, bytes, zni_onnx_varint_bytes(value, bytes));
}
static void zni_onnx_int(zni_onnx *o, unsigned field, int64_t value) {
    zni_onnx_varint(o, field * 8);
    zni_onnx_varint(o, (uint64_t)value);
}
static void zni_onnx_string(zni_onnx *o, unsigned field, const char *text) {
    zni_onnx_varint(o, field * 8 + 2);
    zni_onnx_varint(o, strlen(text));
    zni_text_append(&o->out, text, strlen(text));
}
static void zni_onnx_fixed(zni_onnx *o, uint64_t value, int bytes) { /* 4 or 8, little endian */
    unsigned char raw[8];
    zni_put_le(raw, value, bytes);
    zni_onnx_append(o, raw, bytes);
}
static void zni_onnx_float(zni_onnx *o, double value) {
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    zni_onnx_fixed(o, bits, 4);
}
static size_t zni_onnx_begin(zni_onnx *o, unsigned field) {
    zni_onnx_varint(o, field * 8 + 2);
    return o->out.length;
}
static void zni_onnx_end(zni_onnx *o, size_t begin) {
    unsigned char length[10];
    size_t size = o->out.length - begin, n = (size_t)zni_onnx_varint_bytes(size, length);
    zni_onnx_append(o, length, (int)n); /* makes room */
    if (o->out.failed) return;
    memmove(o->out.chars + begin + n, o->out.chars + begin, size);
    memcpy(o->out.chars + begin, length, n);
}
static void zni_onnx_pair(void *user, const char *key, const char *value) { /* metadata_props */
    zni_onnx *o = (zni_onnx *)user;
    size_t begin = zni_onnx_begin(o, 14);
    zni_onnx_string(o, 1, key);
    zni_onnx_string(o, 2, value);
    zni_onnx_end(o, begin);
}

/* ---- initialisers: graph field 5, a TensorProto each ---- */
static void zni_onnx_tensor_begin(zni_onnx *o, const char *name, const int *dims, int dim_count, int type, size_t count, size_t *out_begin) {
    int i;
    *out_begin = zni_onnx_begin(o, 5);
    for (i = 0; i < dim_count; ++i) zni_onnx_int(o, 1, dims[i]);
    zni_onnx_int(o, 2, type);
    zni_onnx_string(o, 8, name);
    zni_onnx_varint(o, 9 * 8 + 2); /* raw_data */
    zni_onnx_varint(o, (uint64_t)count * (type == ZNI_ONNX_FLOAT ? 4 : 8));
}
static void zni_onnx_weights(zni_onnx *o, int first, int count) { /* tensors of the network under their own names */
    int i;
    for (i = first; i < first + count; ++i) {
        const zn_tensor *t = o->net->tensors[i];
        size_t begin, j;
        zni_onnx_tensor_begin(o, t->name, t->shape.n, t->shape.dims, ZNI_ONNX_FLOAT, t->count, &begin);
        for (j = 0; j < t->count && !o->out.failed; ++j) zni_onnx_float(o, (double)t->data[j]);
        zni_onnx_end(o, begin);
    }
}
static void zni_onnx_value_name(int value, char name[16]) {
    if (value == 0) memcpy(name, "input", 6);
    else snprintf(name, 16, "v%d", value);
}
/* A constant that is a value of the graph; the caller appends its `count` numbers and ends it. */
static int zni_onnx_constant_begin(zni_onnx *o, const int *dims, int dim_count, int type, size_t count, size_t *out_begin) {
    char name[16];
    zni_onnx_value_name(++o->values, name);
    zni_onnx_tensor_begin(o, name, dims, dim_count, type, count, out_begin);
    return o->values;
}
static int zni_onnx_shape(zni_onnx *o, int c, int h, int w) { /* -1 c h w: what a Reshape wants; -1 is what is left */
    size_t begin;
    int four = 4, value = zni_onnx_constant_begin(o, &four, 1, ZNI_ONNX_INT64, 4, &begin);
    zni_onnx_fixed(o, UINT64_MAX, 8);
    zni_onnx_fixed(o, (uint64_t)c, 8);
    zni_onnx_fixed(o, (uint64_t)h, 8);
    zni_onnx_fixed(o, (uint64_t)w, 8);
    zni_onnx_end(o, begin);
    return value;
}

/* ---- nodes: graph field 1, open from zni_onnx_node to zni_onnx_close ---- */
static void zni_onnx_input(zni_onnx *o, int value) {
    char name[16];
    zni_onnx_value_name(value, name);
    zni_onnx_string(o, 1, name);
}
/* op(x, weights first .. first + count - 1, ...) */
static void zni_onnx_node(zni_onnx *o, const char *op, int x, int first, int count) {
    char name[ZNI_NAME_SIZE + 64];
    int i;
    zni_onnx_weights(o, first, count);
    o->node = zni_onnx_begin(o, 1);
    snprintf(name, sizeof name, "%s.%s_%d", o->module, op, o->values + 1);
    zni_onnx_string(o, 3, name);
    zni_onnx_string(o, 4, op);
    zni_onnx_input(o, x);
    for (i = first; i < first + count; ++i) zni_onnx_string(o, 1, o->net->tensors[i]->name);
}
static int zni_onnx_output(zni_onnx *o) {
    char name[16];
    zni_onnx_value_name(++o->values, name);
    zni_onnx_string(o, 2, name);
    return o->values;
}
static int zni_onnx_close(zni_onnx *o) {
    int value = zni_onnx_output(o);
    zni_onnx_end(o, o->node);
    return value;
}
static void zni_onnx_ints(zni_onnx *o, const char *name, const int *values, int count) {
    size_t begin = zni_onnx_begin(o, 5);
    int i;
    zni_onnx_string(o, 1, name);
    for (i = 0; i < count; ++i) zni_onnx_int(o, 8, values[i]);
    zni_onnx_int(o, 20, 7); /* INTS */
    zni_onnx_end(o, begin);
}
static void zni_onnx_attribute(zni_onnx *o, const char *name, int value) {
    size_t begin = zni_onnx_begin(o, 5);
    zni_onnx_string(o, 1, name);
    zni_onnx_int(o, 3, value);
    zni_onnx_int(o, 20, 2); /* INT */
    zni_onnx_end(o, begin);
}
static void zni_onnx_epsilon(zni_onnx *o, double value) {
    size_t begin = zni_onnx_begin(o, 5);
    zni_onnx_string(o, 1, "epsilon");
    zni_onnx_varint(o, 2 * 8 + 5);
    zni_onnx_float(o, value);
    zni_onnx_int(o, 20, 1); /* FLOAT */
    zni_onnx_end(o, begin);
}
static int zni_onnx_unary(zni_onnx *o, const char *op, int x) {
    zni_onnx_node(o, op, x, 0, 0);
    return zni_onnx_close(o);
}
static int zni_onnx_binary(zni_onnx *o, const char *op, int x, int y) {
    zni_onnx_node(o, op, x, 0, 0);
    zni_onnx_input(o, y);
    return zni_onnx_close(o);
}
static int zni_onnx_weighted(zni_onnx *o, const char *op, int x, int tensor) { /* Mul or Add of a broadcast weight */
    zni_onnx_node(o, op, x, tensor, 1);
    return zni_onnx_close(o);
}

/* ---- layers ---- */
static void zni_onnx_window(zni_onnx *o, int kernel, int stride) {
    int sizes[8], i;
    for (i = 0; i < 8; ++i) sizes[i] = i < 2 ? kernel : i < 4 ? stride : (kernel - 1) / 2;
    zni_onnx_ints(o, "kernel_shape", sizes, 2);
    zni_onnx_ints(o, "strides", sizes + 2, 2);
    zni_onnx_ints(o, "pads", sizes + 4, 4);
}
static int zni_onnx_conv(zni_onnx *o, int x, int first, int count, int kernel, int stride, int groups) {
    zni_onnx_node(o, "Conv", x, first, count);
    zni_onnx_window(o, kernel, stride);
    zni_onnx_attribute(o, "group", groups);
    return zni_onnx_close(o);
}
static int zni_onnx_bn(zni_onnx *o, int x, int first) {
    zni_onnx_node(o, "BatchNormalization", x, first, 4);
    zni_onnx_epsilon(o, o->net->opts.bn_eps);
    return zni_onnx_close(o);
}
static int zni_onnx_se(zni_onnx *o, int x, int first) {
    int h = zni_onnx_conv(o, zni_onnx_unary(o, "GlobalAveragePool", x), first, 1, 1, 1, 1);
    h = zni_onnx_unary(o, "Relu", zni_onnx_bn(o, h, first + 1));
    h = zni_onnx_bn(o, zni_onnx_conv(o, h, first + 5, 1, 1, 1, 1), first + 6);
    return zni_onnx_binary(o, "Mul", x, zni_onnx_unary(o, "Sigmoid", h));
}
/* sigmoid(sweight * GN(s) + sbias): the two affine maps are one, which saves readers two passes over the map. On a 1 x 1
   map GN gives its bias, so the gate is a constant; as a norm it cost ONNX Runtime 2e-5 of the logits in cancellation. */
static int zni_onnx_spatial_gate(zni_onnx *o, int s, int first, int k) {
    zn_tensor *const *t = o->net->tensors + first;
    int value[2], part, i, dims[4];
    dims[0] = dims[2] = dims[3] = 1;
    dims[1] = k;
    for (part = o->size == 1; part < 2; ++part) {
        const zn_real *gn = t[4 + part]->data, *sweight = t[2]->data, *sbias = t[3]->data;
        size_t begin;
        value[part] = zni_onnx_constant_begin(o, o->size == 1 ? dims : &k, o->size == 1 ? 4 : 1, ZNI_ONNX_FLOAT, (size_t)k, &begin);
        for (i = 0; i < k; ++i) zni_onnx_float(o, (double)sweight[i] * (double)gn[i] + (part == 1 ? (double)sbias[i] : 0.0));
        zni_onnx_end(o, begin);
    }
    if (o->size == 1) return zni_onnx_unary(o, "Sigmoid", value[1]);
    zni_onnx_node(o, "InstanceNormalization", s, 0, 0);
    zni_onnx_input(o, value[0]);
    zni_onnx_input(o, value[1]);
    zni_onnx_epsilon(o, o->net->opts.gn_eps);
    return zni_onnx_unary(o, "Sigmoid", zni_onnx_close(o));
}
/* Groups become samples, so that every group is gated by the same k parameters; then the channels are shuffled. */
static int zni_onnx_sa(zni_onnx *o, int x, int first, int channels, int groups) {
    static const int perm[4] = {0, 2, 1, 3};
    int k = channels / (2 * groups), a, s, gate;
    x = zni_onnx_binary(o, "Reshape", x, zni_onnx_shape(o, 2 * k, o->size, o->size));
    zni_onnx_node(o, "Split", x, 0, 0);
    zni_onnx_attribute(o, "axis", 1);
    a = zni_onnx_output(o);
    s = zni_onnx_close(o);
    gate = zni_onnx_weighted(o, "Mul", zni_onnx_unary(o, "GlobalAveragePool", a), first);
    a = zni_onnx_binary(o, "Mul", a, zni_onnx_unary(o, "Sigmoid", zni_onnx_weighted(o, "Add", gate, first + 1)));
    s = zni_onnx_binary(o, "Mul", s, zni_onnx_spatial_gate(o, s, first, k));
    zni_onnx_node(o, "Concat", a, 0, 0);
    zni_onnx_input(o, s);
    zni_onnx_attribute(o, "axis", 1);
    x = zni_onnx_close(o);
    x = zni_onnx_binary(o, "Reshape", x, zni_onnx_shape(o, 2, channels / 2, o->size * o->size));
    zni_onnx_node(o, "Transpose", x, 0, 0);
    zni_onnx_ints(o, "perm", perm, 4);
    x = zni_onnx_close(o);
    return zni_onnx_binary(o, "Reshape", x, zni_onnx_shape(o, channels, o->size, o->size));
}
/* Adaptive average pooling as two matrix products, rows and columns apart: bin i is floor(i*H/s) .. ceil((i+1)*H/s). */
static int zni_onnx_bins(zni_onnx *o, int s, int columns) {
    int dims[2], h = o->size, value, i, row, bin;
    size_t begin;
    dims[columns] = s;
    dims[!columns] = h;
    value = zni_onnx_constant_begin(o, dims, 2, ZNI_ONNX_FLOAT, zni_size_mul((size_t)s, (size_t)h), &begin);
    for (i = 0; i < dims[0] * dims[1] && !o->out.failed; ++i) {
        int low, high;
        row = i / dims[1];
        bin = columns ? i % dims[1] : row;
        row = columns ? row : i % dims[1];
        low = (int)((int64_t)bin * h / s);
        high = (int)(((int64_t)(bin + 1) * h + s - 1) / s);
        zni_onnx_float(o, row >= low && row < high ? 1.0 / (high - low) : 0.0);
    }
    zni_onnx_end(o, begin);
    return value;
}
static int zni_onnx_avg_pool(zni_onnx *o, int x, int s) {
    if (s == 1) return zni_onnx_unary(o, "GlobalAveragePool", x);
    x = zni_onnx_binary(o, "MatMul", zni_onnx_bins(o, s, 0), x);
    return zni_onnx_binary(o, "MatMul", x, zni_onnx_bins(o, s, 1));
}

static int zni_onnx_layer(zni_onnx *o, int index, int x);
static int zni_onnx_layers(zni_onnx *o, int first, int x) {
    for (; first >= 0; first = o->net->plan.layers[first].next) x = zni_onnx_layer(o, first, x);
    return x;
}
static int zni_onnx_unit(zni_onnx *o, int index, int x) {
    const zni_layer *l = &o->net->plan.layers[index];
    int f = zni_onnx_layers(o, l->first_child, x);
    zni_layer_name_text(&o->net->plan, index, l->proj ? ".proj" : "", o->module);
    if (l->proj) x = zni_onnx_bn(o, zni_onnx_conv(o, x, l->proj_tensor, 2, 1, l->stride, 1), l->proj_tensor + 2);
    return zni_onnx_binary(o, "Add", f, x);
}
static int zni_onnx_branches(zni_onnx *o, const zni_layer *l, int x) {
    int size = o->size, y = 0, child;
    for (child = l->first_child; child >= 0; child = o->net->plan.layers[child].next) {
        int branch;
        o->size = size;
        branch = zni_onnx_layer(o, child, x);
        if (child == l->first_child) y = branch;
        else {
            zni_onnx_node(o, l->kind == ZNI_L_SUM ? "Add" : "Concat", y, 0, 0);
            zni_onnx_input(o, branch);
            if (l->kind == ZNI_L_CAT) zni_onnx_attribute(o, "axis", 1);
            y = zni_onnx_close(o);
        }
    }
    return y;
}
/* Flatten and Linear cannot stand in a network: nothing leads back to the feature map that it must end in. */
static int zni_onnx_layer(zni_onnx *o, int index, int x) {
    const zni_layer *l = &o->net->plan.layers[index];
    zni_layer_name_text(&o->net->plan, index, "", o->module);
    switch (l->kind) {
    case ZNI_L_CONV:
        x = zni_onnx_conv(o, x, l->tensor, 1, l->kernel, l->stride, l->groups);
        o->size = zni_conv_size(o->size, l->kernel, l->stride);
        return x;
    case ZNI_L_BN: return zni_onnx_bn(o, x, l->tensor);
    case ZNI_L_RELU: return zni_onnx_unary(o, "Relu", x);
    case ZNI_L_SWISH: return zni_onnx_binary(o, "Mul", x, zni_onnx_unary(o, "Sigmoid", x));
    case ZNI_L_SE: return zni_onnx_se(o, x, l->tensor);
    case ZNI_L_SA: return zni_onnx_sa(o, x, l->tensor, l->in, l->groups);
    case ZNI_L_MAX_POOL:
        zni_onnx_node(o, "MaxPool", x, 0, 0);
        zni_onnx_window(o, l->kernel, l->stride);
        o->size = zni_conv_size(o->size, l->kernel, l->stride);
        return zni_onnx_close(o);
    case ZNI_L_AVG_POOL:
        x = zni_onnx_avg_pool(o, x, l->size);
        o->size = l->size;
        return x;
    case ZNI_L_SEQUENTIAL: return zni_onnx_layers(o, l->first_child, x);
    case ZNI_L_UNIT: return zni_onnx_unit(o, index, x);
    default: return zni_onnx_branches(o, l, x);
    }
}
/* Pool, optional WIRW, linear. */
static void zni_onnx_head(zni_onnx *o, int x) {
    const zn_net *net = o->net;
    memcpy(o->module, "head", 5);
    x = zni_onnx_unary(o, "GlobalAveragePool", x);
    o->size = 1;
    if (net->opts.lw_att) {
        int gated = zni_onnx_weighted(o, "Mul", zni_onnx_sa(o, x, net->wirw + 2, net->plan.features, 8), net->wirw);
        x = zni_onnx_binary(o, "Add", gated, zni_onnx_weighted(o, "Mul", x, net->wirw + 1));
    }
    zni_onnx_node(o, "Gemm", zni_onnx_unary(o, "Flatten", x), net->head, 2);
    zni_onnx_attribute(o, "transB", 1);
    zni_onnx_string(o, 2, "logits");
    zni_onnx_end(o, o->node);
}

/* ---- the file ---- */
/* ValueInfoProto of a float tensor; a size of 0 is free and called "batch". */
static void zni_onnx_value_info(zni_onnx *o, unsigned field, const char *name, const int *dims, int dim_count) {
    size_t info = zni_onnx_begin(o, field), type, tensor, shape;
    int i;
    zni_onnx_string(o, 1, name);
    type = zni_onnx_begin(o, 2);
    tensor = zni_onnx_begin(o, 1);
    zni_onnx_int(o, 1, ZNI_ONNX_FLOAT);
    shape = zni_onnx_begin(o, 2);
    for (i = 0; i < dim_count; ++i) {
        size_t dim = zni_onnx_begin(o, 1);
        if (dims[i] > 0) zni_onnx_int(o, 1, dims[i]);
        else zni_onnx_string(o, 2, "batch");
        zni_onnx_end(o, dim);
    }
    zni_onnx_end(o, shape);
    zni_onnx_end(o, tensor);
    zni_onnx_end(o, type);
    zni_onnx_end(o, info);
}
static void zni_onnx_model(zni_onnx *o, int resolution, int batch) {
    zn_input in = o->net->input;
    int dims[4];
    size_t begin;
    zni_onnx_int(o, 1, 7); /* ir_version */
    zni_onnx_string(o, 2, "zennet.h");
    zni_onnx_string(o, 3, ZENNET_VERSION_TEXT);
    begin = zni_onnx_begin(o, 8); /* opset_import of the default domain */
    zni_onnx_int(o, 2, 13);
    zni_onnx_end(o, begin);
    begin = zni_onnx_begin(o, 7);
    zni_onnx_string(o, 2, "zennet");
    dims[0] = batch;
    dims[1] = 3;
    dims[2] = dims[3] = resolution;
    zni_onnx_value_info(o, 11, "input", dims, 4);
    dims[1] = o->net->opts.classes;
    zni_onnx_value_info(o, 12, "logits", dims, 2);
    zni_onnx_head(o, zni_onnx_layers(o, o->net->plan.first, 0));
    zni_onnx_end(o, begin);
    in.resize = (int)((double)in.resize * resolution / in.size + 0.5); /* what is cut away stays the same share */
    in.size = resolution;
    if (!zni_pairs_net(o->net, &in, zni_onnx_pair, o)) o->out.failed = 1;
}
ZN_API zn_result zn_net_export_onnx(const zn_net *net, const char *path, int resolution, int batch) {
    zni_onnx *o;
    zn_ctx *ctx;
    zn_count count;
    zni_replace file;
    if (net == NULL || path == NULL) return zni_null(zn_net_ctx(net), "zn_net_export_onnx");
    ctx = net->ctx;
    if (ctx->code != ZN_OK) return ctx->code;
    if (batch < 0 || batch > 65536) return zni_fail(ctx, ZN_ERROR_ARGUMENT, "ONNX: batch is %d, must be 0 (any) to 65536", batch);
    if (zni_plan_count(&net->plan, resolution, NULL, NULL, &count) != ZN_OK) return ctx->code;
    o = ZNI_NEW_ZERO(ctx, zni_onnx, 1);
    if (o == NULL) return ctx->code;
    o->net = net;
    o->out.ctx = ctx;
    o->size = resolution;
    zni_onnx_model(o, resolution, batch);
    if (!o->out.failed && o->out.length > INT32_MAX)
        zni_fail(ctx, ZN_ERROR_UNSUPPORTED, "%s: %lu bytes, but an ONNX file holds at most 2 GiB", path, (unsigned long)o->out.length);
    if (ctx->code == ZN_OK && zni_replace_begin(&file, ctx, path) == ZN_OK) {
        zni_replace_write(&file, o->out.chars, o->out.length);
        zni_replace_end(&file, 1);
    }
    zni_free(ctx, o->out.chars);
    zni_free(ctx, o);
    return ctx->code;
}

/* ==================================================================================================================
   IMPL-REPORT  reports
   ------------------------------------------------------------------------------------------------------------------
   HTML and SVG written as text. Whatever comes from outside (class names, paths, the recipe) goes through zni_html_text;
   thumbnails are BMP in base64, the one image format that is a header and the pixels.
   ================================================================================================================== */
static void zni_html_text(zni_text *t, const char *text) {
    size_t bytes;
    for (; *text != '\0'; text += bytes > 0 ? bytes : 1) {
        const char *entity = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : NULL;
        bytes = zni_utf8(text);
        if (bytes == 0) entity = "&#xfffd;";
        if (entity != NULL) zni_text_append(t, entity, strlen(entity));
        else zni_text_append(t, text, bytes);
    }
}
static void zni_html(zni_text *t, const char *markup) { zni_text_append(t, markup, strlen(markup)); }

static const char zni_report_style[] =
    "<style>:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2330;--soft:#667085;--line:#e2e6ec;--a:#2563eb;--b:#e8590c;--c:#0d9488;--bad:220,38,38;--good:37,99,235}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1b212b;--ink:#e6eaf0;--soft:#98a2b3;--line:#2d3644;--a:#6ea1ff;--b:#ff9b5c;--c:#4fd1c5;--bad:248,113,113;--good:110,161,255}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;margin:0 0 4px}h2{font-size:17px;margin:0 0 14px}p{margin:0 0 8px;color:var(--soft)}\n"
    "section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px;margin-top:18px;overflow-x:auto}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin-top:20px}.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px}\n"
    ".card b{display:block;font-size:24px;white-space:nowrap;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}.card span{color:var(--soft);font-size:13px}\n"
    ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:0 18px}.pair section{min-width:0}svg{display:block;width:100%;height:auto}\n"
    "svg text{fill:var(--soft);font-size:11px}svg .grid{stroke:var(--line)}.legend{display:flex;flex-wrap:wrap;gap:16px;font-size:13px;color:var(--soft);margin-top:8px}.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}td,th{padding:5px 9px;text-align:right;font-weight:400;white-space:nowrap}th{color:var(--soft)}th:first-child,.left{text-align:left}\n"
    ".matrix td{min-width:44px;text-align:center;border-radius:5px}.matrix th.top{text-align:center;max-width:120px;overflow:hidden;text-overflow:ellipsis}.bar{width:100%}.bar div{height:9px;border-radius:5px;background:var(--a)}.bar{background:var(--line);border-radius:5px;min-width:40px}\n"
    ".faces{display:grid;grid-template-columns:repeat(auto-fill,minmax(112px,1fr));gap:14px}.faces figure{margin:0}.faces img{width:100%;aspect-ratio:1;object-fit:contain;border-radius:8px;background:var(--line);image-rendering:auto}\n"
    ".faces figcaption{font-size:12px;line-height:1.35;margin-top:5px;color:var(--soft);overflow-wrap:anywhere}.faces em{font-style:normal;color:rgb(var(--bad))}.faces b{color:var(--ink);font-weight:600}\n"
    "details summary{cursor:pointer;font-weight:600;font-size:17px}code,pre{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}.keys{margin-top:12px}.keys td{text-align:left;border-top:1px solid var(--line);vertical-align:top}\n"
    "@media(max-width:600px){main{padding:20px 12px 40px}section{padding:16px 14px}td,th{padding:5px 4px}svg{overflow:visible}svg text{font-size:14px}.matrix{font-size:12px}.matrix td{min-width:28px}\n"
    ".matrix th.top{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;max-height:120px}}</style>\n";

/* ---- curves ---- */
typedef struct zni_plot {
    const char *name, *color;
    size_t offset; /* of the double in a row */
    double factor;
} zni_plot;
typedef struct zni_chart {
    const char *title, *unit;
    int logarithmic;
    double low, high; /* of the vertical axis; high 0: from the data */
    zni_plot curves[3];
} zni_chart;
#define ZNI_CHART_W 480 /* pixels */
#define ZNI_CHART_H 260
#define ZNI_CHART_LEFT 46 /* margins */
#define ZNI_CHART_RIGHT 12
#define ZNI_CHART_TOP 10
#define ZNI_CHART_BOTTOM 28

static double zni_plot_at(const zni_plot *c, const zn_train_row *row) {
    union { const zn_train_row *row; const char *bytes; } at;
    double value;
    at.row = row;
    memcpy(&value, at.bytes + c->offset, sizeof value);
    return value * c->factor;
}
/* 1, 2 or 5 times a power of ten: about `parts` steps over the span. */
static double zni_nice_step(double span, double parts) {
    double raw = span / parts, power = pow(10.0, floor(log10(raw))), rest = raw / power;
    return power * (rest < 1.5 ? 1.0 : rest < 3.5 ? 2.0 : rest < 7.5 ? 5.0 : 10.0);
}
static void zni_chart_range(zni_chart *c, const zn_train_row *rows, int count) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    int i, k;
    if (c->high > c->low) return;
    for (k = 0; k < 3 && c->curves[k].name != NULL; ++k)
        for (i = 0; i < count; ++i) {
            double v = zni_plot_at(&c->curves[k], &rows[i]);
            if (!isfinite(v) || (c->logarithmic && v <= 0.0)) continue;
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
    if (low > high) low = high = 1.0;
    c->low = c->logarithmic ? low / 1.1 : 0.0;
    c->high = c->logarithmic ? high * 1.1 : high > 0.0 ? high * 1.05 : 1.0;
}
static double zni_chart_y(const zni_chart *c, double v) {
    double share = c->logarithmic ? log(v / c->low) / log(c->high / c->low) : (v - c->low) / (c->high - c->low);
    return ZNI_CHART_TOP + (1.0 - share) * (ZNI_CHART_H - ZNI_CHART_TOP - ZNI_CHART_BOTTOM);
}
static double zni_chart_x(double epoch, int count) { /* epochs count from 1 */
    double share = count > 1 ? (epoch - 1.0) / (count - 1.0) : 0.5;
    return ZNI_CHART_LEFT + share * (ZNI_CHART_W - ZNI_CHART_LEFT - ZNI_CHART_RIGHT);
}
static void zni_chart_line(zni_text *t, const zni_chart *c, double v) { /* of the grid, with its number */
    double y = zni_chart_y(c, v);
    zni_text_format(t, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g%s</text>", ZNI_CHART_LEFT,
                    ZNI_CHART_W - ZNI_CHART_RIGHT, y, y, ZNI_CHART_LEFT - 6, y + 4.0, v, c->unit);
}
static void zni_chart_axes(zni_text *t, const zni_chart *c, int count) {
    static const double marks[] = {1.0, 2.0, 5.0};
    double v, step, power, span = log10(c->high / (c->low > 0.0 ? c->low : 1.0));
    int k;
    if (c->logarithmic) {
        for (power = pow(10.0, floor(log10(c->low))); power <= c->high; power *= 10.0)
            for (k = 0; k < (span > 2.0 ? 1 : 3); ++k)
                if (power * marks[k] >= c->low && power * marks[k] <= c->high) zni_chart_line(t, c, power * marks[k]);
    } else {
        step = zni_nice_step(c->high - c->low, 5.0);
        for (k = 0; k <= (c->high - c->low) / step; ++k) zni_chart_line(t, c, c->low + k * step);
    }
    step = count > 8 ? zni_nice_step(count, 8.0) : 1.0;
    for (v = step > 1.0 ? step : 1.0; v <= count; v += step)
        zni_text_format(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>", zni_chart_x(v, count), ZNI_CHART_H - 8, v);
}
static void zni_chart_curve(zni_text *t, const zni_chart *c, const zni_plot *curve, const zn_train_row *rows, int count) {
    int i, drawn = 0;
    zni_text_format(t, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\" d=\"", curve->color);
    for (i = 0; i < count; ++i) {
        double v = zni_plot_at(curve, &rows[i]);
        if (isfinite(v) && (!c->logarithmic || v > 0.0)) zni_text_format(t, "%c%.1f %.1f", drawn++ > 0 ? 'L' : 'M', zni_chart_x(i + 1.0, count), zni_chart_y(c, v));
    }
    zni_html(t, "\"/>");
    for (i = 0; i < count; ++i) { /* something to point at; in long runs points would hide the curve */
        double v = zni_plot_at(curve, &rows[i]);
        if (isfinite(v) && (!c->logarithmic || v > 0.0))
            zni_text_format(t, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"%s><title>epoch %d: %s %.4g%s</title></circle>", zni_chart_x(i + 1.0, count), zni_chart_y(c, v),
                            count > 60 ? "4" : "2.6", curve->color, count > 60 ? " fill-opacity=\"0\"" : "", i + 1, curve->name, v, c->unit);
    }
}
static void zni_report_chart(zni_text *t, zni_chart c, const zn_train_row *rows, int count) {
    int k;
    zni_chart_range(&c, rows, count);
    zni_text_format(t, "<section><h2>%s</h2><svg viewBox=\"0 0 %d %d\" role=\"img\">", c.title, ZNI_CHART_W, ZNI_CHART_H);
    zni_chart_axes(t, &c, count);
    for (k = 0; k < 3 && c.curves[k].name != NULL; ++k) zni_chart_curve(t, &c, &c.curves[k], rows, count);
    zni_html(t, "</svg><div class=\"legend\">");
    for (k = 0; k < 3 && c.curves[k].name != NULL; ++k) zni_text_format(t, "<span><i style=\"background:%s\"></i>%s</span>", c.curves[k].color, c.curves[k].name);
    zni_html(t, "</div></section>\n");
}
static void zni_report_curves(zni_text *t, const zn_train_result *r) {
    static const zni_chart charts[] = {
        {"Accuracy by epoch", "%", 0, 0, 100, {{"training", "var(--a)", offsetof(zn_train_row, top1), 100}, {"test, mean of classes", "var(--c)", offsetof(zn_train_row, test_mean_class), 100},
                                               {"test", "var(--b)", offsetof(zn_train_row, test_top1), 100}}},
        {"Loss by epoch", "", 1, 0, 0, {{"training", "var(--a)", offsetof(zn_train_row, loss), 1}, {"test", "var(--b)", offsetof(zn_train_row, test_loss), 1}, {NULL, NULL, 0, 0}}},
        {"Learning rate by epoch", "", 0, 0, 0, {{"at the epoch's end", "var(--a)", offsetof(zn_train_row, lr), 1}, {NULL, NULL, 0, 0}, {NULL, NULL, 0, 0}}},
        {"Seconds by epoch", "", 0, 0, 0, {{"training and test", "var(--a)", offsetof(zn_train_row, seconds), 1}, {NULL, NULL, 0, 0}, {NULL, NULL, 0, 0}}}};
    size_t k;
    if (r == NULL || r->epochs < 1) return;
    zni_html(t, "<div class=\"pair\">");
    for (k = 0; k < sizeof charts / sizeof charts[0]; ++k) zni_report_chart(t, charts[k], r->rows, r->epochs);
    zni_html(t, "</div>");
}

/* ---- numbers ---- */
static void zni_report_card(zni_text *t, double value, const char *unit, const char *what) {
    zni_text_format(t, "<div class=\"card\"><b>%.2f%s</b><span>%s</span></div>", value, unit, what);
}
static void zni_report_cards(zni_text *t, const zn_report_opts *o) {
    const zn_metrics *m = o->metrics;
    const zn_train_result *r = o->result;
    char text[96];
    zni_html(t, "<div class=\"cards\">");
    if (m != NULL) {
        zni_report_card(t, 100.0 * m->top1, " %", "top-1 accuracy");
        zni_report_card(t, 100.0 * m->mean_class, " %", "mean class accuracy");
        zni_report_card(t, 100.0 * m->top5, " %", "top-5 accuracy");
    }
    if (r != NULL && r->best_epoch >= 0 && r->epochs > 0) {
        snprintf(text, sizeof text, "best epoch, number %d", r->best_epoch + 1);
        zni_report_card(t, 100.0 * r->best_top1, " %", text);
        snprintf(text, sizeof text, "last epoch, number %d", r->epochs);
        if (isfinite(r->rows[r->epochs - 1].test_top1)) zni_report_card(t, 100.0 * r->rows[r->epochs - 1].test_top1, " %", text);
    }
    if (m != NULL) {
        snprintf(text, sizeof text, "loss on %lu images", (unsigned long)m->images);
        zni_report_card(t, m->loss, "", text);
    }
    zni_html(t, "</div>\n");
}
static size_t zni_confusion_sum(const zn_metrics *m, int class_index, int of_truth) {
    size_t sum = 0;
    int k;
    for (k = 0; k < m->classes; ++k) sum += of_truth ? m->confusion[(size_t)class_index * (size_t)m->classes + (size_t)k] : m->confusion[(size_t)k * (size_t)m->classes + (size_t)class_index];
    return sum;
}
static void zni_report_classes(zni_text *t, const zn_net *net, const zn_metrics *m) {
    int k;
    zni_html(t, "<section><h2>Classes</h2><table style=\"width:100%\"><tr><th>class</th><th>images</th><th>recall</th><th style=\"width:45%\"></th><th>precision</th></tr>");
    for (k = 0; k < m->classes; ++k) {
        size_t images = zni_confusion_sum(m, k, 1), said = zni_confusion_sum(m, k, 0);
        zni_html(t, "<tr><td class=\"left\">");
        zni_html_text(t, zn_net_class_name(net, k));
        zni_text_format(t, "</td><td>%lu</td><td>%.1f %%</td><td><div class=\"bar\"><div style=\"width:%.1f%%\"></div></div></td><td>", (unsigned long)images, 100.0 * m->recall[k], 100.0 * m->recall[k]);
        if (said > 0) zni_text_format(t, "%.1f %%", 100.0 * (double)m->confusion[(size_t)k * (size_t)m->classes + (size_t)k] / (double)said);
        zni_html(t, "</td></tr>");
    }
    zni_html(t, "</table></section>\n");
}
#define ZNI_REPORT_MATRIX 48 /* more classes than this do not fit a page */
static void zni_report_confusion(zni_text *t, const zn_net *net, const zn_metrics *m) {
    int i, k;
    if (m->classes > ZNI_REPORT_MATRIX) return;
    zni_html(t, "<section><h2>Confusion matrix</h2><p>Rows: what it is. Columns: what the network says.</p><table class=\"matrix\"><tr><th></th>");
    for (k = 0; k < m->classes; ++k) {
        zni_html(t, "<th class=\"top\">");
        zni_html_text(t, zn_net_class_name(net, k));
        zni_html(t, "</th>");
    }
    zni_html(t, "</tr>");
    for (i = 0; i < m->classes; ++i) {
        size_t images = zni_confusion_sum(m, i, 1);
        zni_html(t, "<tr><th>");
        zni_html_text(t, zn_net_class_name(net, i));
        zni_html(t, "</th>");
        for (k = 0; k < m->classes; ++k) {
            size_t n = m->confusion[(size_t)i * (size_t)m->classes + (size_t)k];
            double share = images > 0 ? (double)n / (double)images : 0.0;
            zni_text_format(t, "<td style=\"background:rgba(var(--%s),%.3f)\" title=\"%.1f %%\">%lu</td>", i == k ? "good" : "bad", n > 0 ? 0.06 + 0.6 * sqrt(share) : 0.0, 100.0 * share, (unsigned long)n);
        }
        zni_html(t, "</tr>");
    }
    zni_html(t, "</table></section>\n");
}

/* ---- thumbnails ---- */
static void zni_text_base64(zni_text *t, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;
    for (i = 0; i < size; i += 3) {
        unsigned long word = (unsigned long)bytes[i] << 16 | (i + 1 < size ? (unsigned long)bytes[i + 1] << 8 : 0ul) | (i + 2 < size ? bytes[i + 2] : 0ul);
        char four[4];
        four[0] = digits[word >> 18];
        four[1] = digits[word >> 12 & 63];
        four[2] = i + 1 < size ? digits[word >> 6 & 63] : '=';
        four[3] = i + 2 < size ? digits[word & 63] : '=';
        zni_text_append(t, four, 4);
    }
}
/* RGB pixels as a BMP of 24 bits: blue first, rows from the bottom, each a multiple of four bytes long. */
static void zni_text_bmp(zni_text *t, const unsigned char *rgb, int width, int height, unsigned char *buffer) {
    size_t row = ((size_t)width * 3 + 3) / 4 * 4, size = 54 + row * (size_t)height;
    int x, y, c;
    memset(buffer, 0, size);
    memcpy(buffer, "BM", 2);
    zni_put_le(buffer + 2, size, 4);
    zni_put_le(buffer + 10, 54, 4);
    zni_put_le(buffer + 14, 40, 4);
    zni_put_le(buffer + 18, (uint64_t)width, 4);
    zni_put_le(buffer + 22, (uint64_t)height, 4);
    zni_put_le(buffer + 26, 1, 2);
    zni_put_le(buffer + 28, 24, 2);
    for (y = 0; y < height; ++y)
        for (x = 0; x < width; ++x)
            for (c = 0; c < 3; ++c) buffer[54 + row * (size_t)y + (size_t)(3 * x + c)] = rgb[((size_t)(height - 1 - y) * (size_t)width + (size_t)x) * 3 + (size_t)(2 - c)];
    zni_html(t, "data:image/bmp;base64,");
    zni_text_base64(t, buffer, size);
}
/* One mistake; memory holds thumbnail and BMP. */
static zn_result zni_report_face(zni_text *t, const zn_net *net, const zn_report_opts *o, size_t index, unsigned char *memory) {
    zn_ctx *ctx = net->ctx;
    const zn_metrics *m = o->metrics;
    zn_pack_info info;
    int side = o->thumbnail, w, h, longer;
    unsigned char *rgb, *small = memory, *bmp = memory + (size_t)side * (size_t)side * 3;
    if (zn_pack_image(o->pack, o->split, index, &info) != ZN_OK) return ZN_ERROR_ARGUMENT;
    longer = info.width > info.height ? info.width : info.height;
    w = side * info.width / longer > 0 ? side * info.width / longer : 1;
    h = side * info.height / longer > 0 ? side * info.height / longer : 1;
    rgb = ZNI_NEW(ctx, unsigned char, (size_t)info.width * (size_t)info.height * 3);
    if (rgb == NULL) return ctx->code;
    if (zn_pack_rgb(o->pack, o->split, index, rgb) == ZN_OK) { /* an unreadable one is no reason to give no report */
        zn_image_resize(ctx, rgb, info.width, info.height, 0, 0, info.width, info.height, ZN_FILTER_BICUBIC, small, w, h);
        zni_html(t, "<figure title=\"");
        zni_html_text(t, info.source);
        zni_html(t, "\"><img alt=\"\" src=\"");
        zni_text_bmp(t, small, w, h, bmp);
        zni_html(t, "\"><figcaption><b>");
        zni_html_text(t, zn_net_class_name(net, m->truth[index]));
        zni_html(t, "</b> taken for <em>");
        zni_html_text(t, zn_net_class_name(net, m->predicted[index]));
        zni_text_format(t, "</em>, %.0f&nbsp;%%</figcaption></figure>", 100.0 * (double)m->confidence[index]);
    }
    zni_free(ctx, rgb);
    return ctx->code;
}
/* The mistakes that the network was surest of. */
static zn_result zni_report_mistakes(zni_text *t, const zn_net *net, const zn_report_opts *o) {
    const zn_metrics *m = o->metrics;
    size_t side = (size_t)o->thumbnail, i, worst[200], count = 0, j;
    unsigned char *memory;
    if (o->pack == NULL || o->mistakes == 0 || zn_pack_count(o->pack, o->split) != m->images) return ZN_OK;
    for (i = 0; i < m->images; ++i) {
        if (m->predicted[i] == m->truth[i]) continue;
        for (j = count; j > 0 && m->confidence[worst[j - 1]] < m->confidence[i]; --j) /* into its place in a short sorted list */
            if (j < (size_t)o->mistakes) worst[j] = worst[j - 1];
        if (j < (size_t)o->mistakes) worst[j] = i;
        if (count < (size_t)o->mistakes) ++count;
    }
    if (count == 0) return ZN_OK;
    memory = ZNI_NEW(net->ctx, unsigned char, side * side * 3 + 54 + (side * 3 + 3) * side);
    if (memory == NULL) return net->ctx->code;
    zni_html(t, "<section><h2>Worst mistakes</h2><p>Wrong, and how sure the network was.</p><div class=\"faces\">");
    for (i = 0; i < count && net->ctx->code == ZN_OK; ++i) zni_report_face(t, net, o, worst[i], memory);
    zni_html(t, "</div></section>\n");
    zni_free(net->ctx, memory);
    return net->ctx->code;
}

/* ---- the page ---- */
static void zni_report_key(zni_text *t, const char *key, const char *value, size_t length) {
    char part[2] = {0, 0};
    zni_text_format(t, "<tr><td>%s</td><td><code>", key);
    for (; length > 0 && *value != '\0'; --length) {
        part[0] = *value++;
        zni_html_text(t, part);
    }
    zni_html(t, "</code></td></tr>");
}
static void zni_report_recipe(zni_text *t, const zn_report_opts *o) {
    const char *line = o->result != NULL ? o->result->recipe : NULL;
    char text[64];
    zni_html(t, "<section><h2>How it was made</h2><table class=\"keys\">");
    if (o->command != NULL) zni_report_key(t, "command", o->command, strlen(o->command));
    if (o->machine != NULL) zni_report_key(t, "machine", o->machine, strlen(o->machine));
    if (o->pack != NULL) {
        snprintf(text, sizeof text, "%lu to train on, %lu to test on", (unsigned long)zn_pack_count(o->pack, ZN_SPLIT_TRAIN), (unsigned long)zn_pack_count(o->pack, ZN_SPLIT_TEST));
        zni_report_key(t, "images", text, strlen(text));
        snprintf(text, sizeof text, "%016llx", (unsigned long long)o->pack->hash);
        zni_report_key(t, "data hash", text, strlen(text));
    }
    zni_report_key(t, "zennet.h", ZENNET_VERSION_TEXT, 32);
    zni_html(t, "</table>");
    if (line != NULL) zni_html(t, "<details><summary style=\"margin-top:16px;font-size:15px\">Every option of the recipe</summary><table class=\"keys\">");
    while (line != NULL && *line != '\0') {
        size_t key = strcspn(line, " \n"), end = strcspn(line, "\n");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(key < 60 ? key : 60), line);
        zni_report_key(t, name, line + (key < end ? key + 1 : end), key < end ? end - key - 1 : 0);
        line += end + (line[end] == '\n');
    }
    zni_html(t, o->result != NULL ? "</table></details></section>\n" : "</section>\n");
}
static zn_result zni_report_page(zni_text *t, const zn_net *net, const zn_report_opts *o) {
    zni_html(t, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    zni_html_text(t, o->title);
    zni_html(t, "</title>\n");
    zni_html(t, zni_report_style);
    zni_html(t, "</head><body><main><h1>");
    zni_html_text(t, o->title);
    zni_text_format(t, "</h1><p>%d classes, input %d x %d, attention %s</p>\n", net->opts.classes, net->input.size, net->input.size, zn_attention_text(net->opts.attention));
    zni_report_cards(t, o);
    zni_report_curves(t, o->result);
    if (o->metrics != NULL) {
        zni_report_confusion(t, net, o->metrics);
        zni_report_classes(t, net, o->metrics);
        if (zni_report_mistakes(t, net, o) != ZN_OK) return net->ctx->code;
    }
    zni_report_recipe(t, o);
    zni_html(t, "</main></body></html>\n");
    return t->failed ? zni_fail(net->ctx, ZN_ERROR_MEMORY, "report: out of memory") : ZN_OK;
}
ZN_API zn_report_opts zn_report_opts_default(void) {
    zn_report_opts o;
    memset(&o, 0, sizeof o);
    o.title = "Training report";
    o.split = ZN_SPLIT_TEST;
    o.mistakes = 24;
    o.thumbnail = 72;
    return o;
}
ZN_API zn_result zn_report_write(const zn_net *net, const zn_report_opts *opts, const char *path) {
    zn_report_opts o = opts != NULL ? *opts : zn_report_opts_default();
    zni_text text;
    zni_replace file;
    if (net == NULL || path == NULL) return zni_null(zn_net_ctx(net), "zn_report_write");
    if (net->ctx->code != ZN_OK) return net->ctx->code;
    if (o.mistakes < 0 || o.mistakes > 200 || o.thumbnail < 16 || o.thumbnail > 256)
        return zni_fail(net->ctx, ZN_ERROR_ARGUMENT, "report: %d mistakes must be 0..200, thumbnails of %d pixels 16..256", o.mistakes, o.thumbnail);
    if (o.metrics != NULL && o.metrics->classes != net->opts.classes) return zni_fail(net->ctx, ZN_ERROR_MISMATCH, "report: metrics of %d classes, a network of %d", o.metrics->classes, net->opts.classes);
    if (o.title == NULL) o.title = "Training report";
    memset(&text, 0, sizeof text);
    text.ctx = net->ctx;
    if (zni_report_page(&text, net, &o) == ZN_OK && zni_replace_begin(&file, net->ctx, path) == ZN_OK) {
        zni_replace_write(&file, text.chars, text.length);
        zni_replace_end(&file, 1);
    }
    zni_free(net->ctx, text.chars);
    return net->ctx->code;
}

#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#endif
#endif /* ZENNET_IMPLEMENTATION_DONE */
#endif /* ZENNET_IMPLEMENTATION */

/*
This file is available under two licenses: choose the one you like.

-------------------------------------------------------------------------------
ALTERNATIVE A - MIT License

Copyright (c) 2026 the zennet.h authors

Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the "Software"), to deal in
the Software without restriction, including without limitation the rights to
use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.

-------------------------------------------------------------------------------
ALTERNATIVE B - Public Domain (www.unlicense.org)

This is free and unencumbered software released into the public domain.
Anyone is free to copy, modify, publish, use, compile, sell, or distribute this
software, either in source code form or as a compiled binary, for any purpose,
commercial or non-commercial, and by any means.

In jurisdictions that recognize copyright laws, the author or authors of this
software dedicate any and all copyright interest in the software to the public
domain. We make this dedication for the benefit of the public at large and to
the detriment of our heirs and successors. We intend this dedication to be an
overt act of relinquishment in perpetuity of all present and future rights to
this software under copyright law.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
*/
