/* test_onnx.c - exported files against the network itself: a reader of protocol buffers checks that every length and name
   agrees, and an interpreter of the operators runs the graph, whose logits must be the network's. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"
#include "files.h"

static char path[512], other_path[512];

/* ---- protocol buffers ---- */
typedef struct span {
    const unsigned char *at;
    size_t size;
} span;
typedef struct item { /* one field of a message */
    unsigned field, wire;
    uint64_t number; /* wire 0 */
    span bytes;      /* wire 2; wire 5: its four bytes */
} item;

static int malformed; /* set by anything that is not a message */

static uint64_t take_varint(span *s) {
    uint64_t value = 0;
    int shift = 0;
    for (;; shift += 7) {
        if (s->size == 0 || shift > 63) {
            malformed = 1;
            return 0;
        }
        value |= (uint64_t)(*s->at & 127u) << shift;
        --s->size;
        if ((*s->at++ & 128u) == 0) return value;
    }
}
static int take(span *s, item *out) { /* 0 at the end */
    uint64_t key, size = 4;
    memset(out, 0, sizeof *out);
    if (s->size == 0 || malformed) return 0;
    key = take_varint(s);
    out->field = (unsigned)(key / 8);
    out->wire = (unsigned)(key % 8);
    if (out->wire == 0) out->number = take_varint(s);
    else {
        if (out->wire == 2) size = take_varint(s);
        if ((out->wire != 2 && out->wire != 5) || size > s->size) malformed = 1;
        if (malformed) return 0;
        out->bytes.at = s->at;
        out->bytes.size = (size_t)size;
        s->at += size;
        s->size -= (size_t)size;
    }
    return !malformed;
}
/* The index-th occurrence of a field; field 0 when it is not there. */
static item find(span message, unsigned field, int index) {
    item i;
    while (take(&message, &i))
        if (i.field == field && index-- == 0) return i;
    memset(&i, 0, sizeof i);
    return i;
}
static int is(span s, const char *text) { return s.size == strlen(text) && memcmp(s.at, text, s.size) == 0; }
static int same(span a, span b) { return a.size == b.size && memcmp(a.at, b.at, a.size) == 0; }

/* ---- the graph's values ---- */
typedef struct value {
    span name;
    zn_tensor *t;
    int64_t ints[4]; /* of an int64 initialiser */
    int used, initialiser;
} value;
enum { MOST_VALUES = 4096 };
typedef struct machine {
    zn_ctx *ctx;
    value values[MOST_VALUES];
    int count, nodes;
    span node;
} machine;

static value *look_up(machine *m, span name) {
    int i;
    for (i = 0; i < m->count; ++i)
        if (same(m->values[i].name, name)) return &m->values[i];
    return NULL;
}
static value *define(machine *m, span name, zn_tensor *t) {
    value *v = &m->values[m->count];
    CHECK(name.size > 0 && look_up(m, name) == NULL);
    if (m->count + 1 < MOST_VALUES) ++m->count;
    memset(v, 0, sizeof *v);
    v->name = name;
    v->t = t;
    return v;
}
static float float_at(const unsigned char *p) {
    uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
static void define_initialiser(machine *m, span tensor) {
    zn_shape shape = zn_shape1(1);
    span raw = find(tensor, 9, 0).bytes;
    value *v = define(m, find(tensor, 8, 0).bytes, NULL);
    size_t i, count = 1;
    v->initialiser = 1;
    for (shape.dims = 0; shape.dims < 4 && find(tensor, 1, shape.dims).field == 1; ++shape.dims)
        count *= (size_t)(shape.n[shape.dims] = (int)find(tensor, 1, shape.dims).number);
    if (find(tensor, 2, 0).number == 7) {
        CHECK(shape.dims == 1 && count == 4 && raw.size == 32);
        for (i = 0; i < raw.size && i < 32; ++i) v->ints[i / 8] = (int64_t)((uint64_t)v->ints[i / 8] | (uint64_t)raw.at[i] << (i % 8 * 8));
        return;
    }
    CHECK(find(tensor, 2, 0).number == 1 && raw.size == 4 * count);
    v->t = zn_tensor_create(m->ctx, shape);
    for (i = 0; v->t != NULL && raw.size == 4 * count && i < count; ++i) zn_tensor_data(v->t)[i] = (zn_real)float_at(raw.at + 4 * i);
}

/* ---- operators ---- */
static value *input_value(machine *m, int index) {
    static value none;
    value *v = look_up(m, find(m->node, 1, index).bytes);
    CHECK(v != NULL); /* defined before it is used */
    if (v == NULL) return &none;
    v->used = 1;
    return v;
}
static zn_tensor *input(machine *m, int index) { return input_value(m, index)->t; }
static item attribute(machine *m, const char *name) {
    span node = m->node;
    item i;
    while (take(&node, &i))
        if (i.field == 5 && is(find(i.bytes, 1, 0).bytes, name)) return i;
    CHECK_FOR(0, name);
    return i;
}
static int int_attribute(machine *m, const char *name) { return (int)find(attribute(m, name).bytes, 3, 0).number; }
static int ints_attribute(machine *m, const char *name, int index) { return (int)find(attribute(m, name).bytes, 8, index).number; }
static double epsilon(machine *m) {
    span bytes = find(attribute(m, "epsilon").bytes, 2, 0).bytes;
    return bytes.size == 4 ? (double)float_at(bytes.at) : -1.0;
}
/* Kernel and stride alike in both directions, padding alike on all four sides. */
static void window(machine *m, int *kernel, int *stride, int *padding) {
    int i;
    *kernel = ints_attribute(m, "kernel_shape", 0);
    *stride = ints_attribute(m, "strides", 0);
    *padding = ints_attribute(m, "pads", 0);
    CHECK(ints_attribute(m, "kernel_shape", 1) == *kernel && ints_attribute(m, "strides", 1) == *stride);
    for (i = 1; i < 4; ++i) CHECK(ints_attribute(m, "pads", i) == *padding);
}
static zn_tensor *run_conv(machine *m) {
    int kernel, stride, padding;
    window(m, &kernel, &stride, &padding);
    CHECK(zn_tensor_shape(input(m, 1)).n[2] == kernel && zn_tensor_shape(input(m, 1)).n[3] == kernel);
    return zn_conv2d(m->ctx, input(m, 0), input(m, 1), find(m->node, 1, 2).field == 1 ? input(m, 2) : NULL, stride, padding, int_attribute(m, "group"));
}
static zn_tensor *run_max_pool(machine *m) {
    int kernel, stride, padding;
    window(m, &kernel, &stride, &padding);
    return zn_max_pool(m->ctx, input(m, 0), kernel, stride, padding);
}
static zn_tensor *run_reshape(machine *m) {
    zn_tensor *x = input(m, 0);
    const int64_t *to = input_value(m, 1)->ints;
    int rest = (int)(to[1] * to[2] * to[3]);
    CHECK(to[0] == -1 && rest > 0);
    return x != NULL && rest > 0 ? zn_reshape(m->ctx, x, zn_shape4((int)(zn_tensor_count(x) / (size_t)rest), (int)to[1], (int)to[2], (int)to[3])) : NULL;
}
static zn_tensor *run_transpose(machine *m) {
    zn_tensor *x = input(m, 0), *y;
    zn_shape s = zn_tensor_shape(x);
    int n, c, h;
    CHECK(ints_attribute(m, "perm", 0) == 0 && ints_attribute(m, "perm", 1) == 2 && ints_attribute(m, "perm", 2) == 1 && ints_attribute(m, "perm", 3) == 3);
    y = zn_tensor_create(m->ctx, zn_shape4(s.n[0], s.n[2], s.n[1], s.n[3]));
    for (n = 0; n < s.n[0] && y != NULL; ++n)
        for (c = 0; c < s.n[1]; ++c)
            for (h = 0; h < s.n[2]; ++h)
                memcpy(zn_tensor_data(y) + ((size_t)(n * s.n[2] + h) * (size_t)s.n[1] + (size_t)c) * (size_t)s.n[3],
                       zn_tensor_data(x) + ((size_t)(n * s.n[1] + c) * (size_t)s.n[2] + (size_t)h) * (size_t)s.n[3], (size_t)s.n[3] * sizeof(zn_real));
    return y;
}
/* A matrix times every map, or every map times a matrix. */
static zn_tensor *run_mat_mul(machine *m) {
    zn_tensor *a = input(m, 0), *b = input(m, 1), *y;
    zn_shape sa = zn_tensor_shape(a), sb = zn_tensor_shape(b), s = sa.dims == 2 ? sb : sa;
    int left = sa.dims == 2, rows = sa.n[sa.dims - 2], inner = sa.n[sa.dims - 1], columns = sb.n[sb.dims - 1], map, i, j, k;
    CHECK(sb.n[sb.dims - 2] == inner && sa.dims + sb.dims == 6);
    y = zn_tensor_create(m->ctx, zn_shape4(s.n[0], s.n[1], rows, columns));
    for (map = 0; y != NULL && map < s.n[0] * s.n[1]; ++map)
        for (i = 0; i < rows; ++i)
            for (j = 0; j < columns; ++j) {
                double sum = 0;
                for (k = 0; k < inner; ++k)
                    sum += (double)zn_tensor_data(a)[(left ? 0 : map * rows * inner) + i * inner + k] * (double)zn_tensor_data(b)[(left ? map * inner * columns : 0) + k * columns + j];
                zn_tensor_data(y)[(map * rows + i) * columns + j] = (zn_real)sum;
            }
    return y;
}
static zn_tensor *run_split(machine *m) {
    zn_tensor *x = input(m, 0);
    int half = zn_tensor_shape(x).n[1] / 2;
    CHECK(int_attribute(m, "axis") == 1 && zn_tensor_shape(x).n[1] % 2 == 0);
    define(m, find(m->node, 2, 1).bytes, zn_slice(m->ctx, x, half, half));
    return zn_slice(m->ctx, x, 0, half);
}
static zn_tensor *run_flatten(machine *m) {
    zn_tensor *x = input(m, 0);
    return zn_reshape(m->ctx, x, zn_shape2(zn_tensor_shape(x).n[0], (int)(zn_tensor_count(x) / (size_t)zn_tensor_shape(x).n[0])));
}
static zn_tensor *run_op(machine *m) {
    span op = find(m->node, 4, 0).bytes;
    zn_ctx *ctx = m->ctx;
    if (is(op, "Conv")) return run_conv(m);
    if (is(op, "BatchNormalization")) return zn_batch_norm(ctx, input(m, 0), input(m, 1), input(m, 2), input(m, 3), input(m, 4), 0, 0.1, epsilon(m));
    if (is(op, "InstanceNormalization")) return zn_group_norm(ctx, input(m, 0), input(m, 1), input(m, 2), zn_tensor_shape(input(m, 0)).n[1], epsilon(m));
    if (is(op, "Relu")) return zn_relu(ctx, input(m, 0));
    if (is(op, "Sigmoid")) return zn_sigmoid(ctx, input(m, 0));
    if (is(op, "Add")) return zn_add(ctx, input(m, 0), input(m, 1));
    if (is(op, "Mul")) return zn_mul(ctx, input(m, 0), input(m, 1));
    if (is(op, "GlobalAveragePool")) return zn_global_avg_pool(ctx, input(m, 0));
    if (is(op, "MaxPool")) return run_max_pool(m);
    if (is(op, "Reshape")) return run_reshape(m);
    if (is(op, "Transpose")) return run_transpose(m);
    if (is(op, "MatMul")) return run_mat_mul(m);
    if (is(op, "Split")) return run_split(m);
    if (is(op, "Concat") && int_attribute(m, "axis") == 1) return zn_concat(ctx, input(m, 0), input(m, 1));
    if (is(op, "Flatten")) return run_flatten(m);
    if (is(op, "Gemm") && int_attribute(m, "transB") == 1) return zn_linear(ctx, input(m, 0), input(m, 1), input(m, 2));
    CHECK_FOR(0, "an operator that is not known");
    return NULL;
}

/* Dimension `index` of a graph's input or output (field), 0 when it is called "batch", -1 when it is wrong. */
static int dimension(span graph, unsigned field, const char *name, int index) {
    span info = find(graph, field, 0).bytes, tensor = find(find(info, 2, 0).bytes, 1, 0).bytes;
    item dim = find(find(tensor, 2, 0).bytes, 1, index);
    if (!is(find(info, 1, 0).bytes, name) || find(tensor, 1, 0).number != 1 || dim.field != 1) return -1;
    if (is(find(dim.bytes, 2, 0).bytes, "batch")) return 0;
    return find(dim.bytes, 1, 0).field == 1 ? (int)find(dim.bytes, 1, 0).number : -1;
}
/* The logits of a file for x; every initialiser is used, every node has a name of its own. */
static zn_tensor *run_file(zn_ctx *ctx, span model, zn_tensor *x) {
    machine *m = (machine *)calloc(1, sizeof *m);
    span graph = find(model, 7, 0).bytes, rest = graph, logits = {NULL, 0};
    static const char result_name[] = "logits";
    zn_tensor *result = NULL;
    value *v;
    item i;
    int k;
    if (m == NULL) return NULL;
    m->ctx = ctx;
    define(m, find(find(graph, 11, 0).bytes, 1, 0).bytes, x);
    while (take(&rest, &i)) { /* written so that everything stands before its first use */
        if (i.field == 5) define_initialiser(m, i.bytes);
        if (i.field != 1) continue;
        m->node = i.bytes;
        ++m->nodes;
        CHECK(find(i.bytes, 3, 0).bytes.size > 0);
        define(m, find(i.bytes, 2, 0).bytes, run_op(m));
    }
    logits.at = (const unsigned char *)result_name;
    logits.size = 6;
    v = look_up(m, logits);
    CHECK(v != NULL && !malformed && m->nodes > 0);
    for (k = 0; k < m->count; ++k) CHECK_FOR(m->values[k].used || &m->values[k] == v, m->values[k].initialiser ? "an initialiser that nothing uses" : "a value that nothing uses");
    if (v != NULL) result = v->t;
    free(m);
    return result;
}

/* ---- networks ---- */
#define STEM "SuperConvK3BNRELU(3,16,2,1)"
typedef struct sample {
    const char *structure, *options; /* letters: n none, e SE, a SA; w WIRW, r no links, b no BN, z projections of ZenNAS */
    int resolution, batch;
} sample;
static const sample samples[] = {
    {"SuperConvK3BNRELU(3,8,1,2)SuperConvK7BNRELU(8,16,2,1)SuperConvK1BNRELU(16,16,1,1)", "aw", 9, 2},
    {STEM "SuperResIDWE4K5(16,24,2,16,1)SuperResIDWE1K3(24,24,1,24,1)", "a", 20, 2},
    {STEM "SuperResIDWE6K3(16,24,2,8,2)SuperConvK1BNRELU(24,32,1,1)", "ew", 16, 1},
    {STEM "SuperResK1K7K1(16,32,2,8,2)SuperConvK1BNRELU(32,48,1,1)", "aw", 11, 3},
    {STEM "SuperResK1K3K1(16,24,1,8,1)", "ez", 8, 2},
    {STEM "SuperResK3K3(16,16,1,8,2)SuperResK5K5(16,32,2,16,1)", "a", 13, 2},
    {STEM "SuperResIDWE2K7(16,16,2,8,1)", "arw", 12, 2},
    {STEM "SuperResK3K3(16,24,2,16,1)", "nb", 12, 1},
    {STEM "SuperResK1K5K1(16,24,2,8,1)", "abz", 4, 2}, /* attention on 1 x 1 maps */
    {"ConvKX(3,16,3,2)BN(16)Swish(16)ConvKXG4(16,32,3,1)ConvDW(32,5,2)SE(32)SA(32,2)RELU(32)", "n", 15, 2},
    {"ConvKX(3,8,2,2)MaxPool(8,3,2)AdaptiveAvgPool(8,4)SA(8,4)", "n", 30, 2},
    {"ConvKX(3,8,3,1)AdaptiveAvgPool(8,5)MaxPool(8,2,1)AdaptiveAvgPool(8,1)", "n", 7, 2},
    {"ConvKX(3,8,3,1)MultiSumBlock(ConvKX(8,12,3,2)BN(12)RELU(12);MaxPool(8,3,2)ConvKX(8,12,1,1))MultiCatBlock(BN(12);ConvKX(12,4,1,1);RELU(12))Swish(28)", "n", 10, 2},
    {"ConvKX(3,8,3,1)ResBlock(ConvKX(8,16,3,2)BN(16)ResBlock(ConvKX(16,16,3,1)))ResBlockProj(ConvKX(16,16,1,1))Sequential(RELU(16)BN(16))", "n", 10, 2}};
#define SAMPLES ((int)(sizeof samples / sizeof samples[0]))

static zn_net *make_net(zn_ctx *ctx, const sample *s) {
    static const char *const names[3] = {"calm", "\"quoted\"", "third"};
    zn_net_opts o = zn_net_opts_default();
    zn_net *net = NULL;
    int i;
    o.structure = s->structure;
    o.classes = 3;
    o.attention = strchr(s->options, 'n') != NULL ? ZN_ATTENTION_NONE : strchr(s->options, 'e') != NULL ? ZN_ATTENTION_SE : ZN_ATTENTION_SA;
    o.lw_att = strchr(s->options, 'w') != NULL;
    o.reslink = strchr(s->options, 'r') == NULL;
    o.bn = strchr(s->options, 'b') == NULL;
    o.projection = strchr(s->options, 'z') != NULL ? ZN_PROJECTION_ZENNAS : ZN_PROJECTION_FACE;
    if (zn_net_create(ctx, &o, &net) != ZN_OK) return NULL;
    zn_net_set_class_names(net, names, 3);
    for (i = 0; i < zn_net_tensor_count(net); ++i) {
        zn_tensor *t = zn_net_tensor(net, i);
        double scale = zn_tensor_shape(t).dims == 4 && zn_tensor_shape(t).n[0] > 1 ? 1.7 / sqrt((double)zn_tensor_count(t) / zn_tensor_shape(t).n[0]) : 0.5;
        zn_fill(zn_tensor_data(t), zn_tensor_name(t), 3, zn_tensor_count(t), zn_net_is_buffer(net, i) ? 0.5 : -scale, zn_net_is_buffer(net, i) ? 1.5 : scale);
    }
    return net;
}
static void check_head(span model, int batch, int resolution) {
    char side[16];
    span graph = find(model, 7, 0).bytes, opset = find(model, 8, 0).bytes, pair = {NULL, 0}, rest = model;
    item i;
    int known = 0;
    CHECK(find(model, 1, 0).number == 7 && find(opset, 2, 0).number == 13 && find(opset, 1, 0).field == 0);
    CHECK(is(find(model, 2, 0).bytes, "zennet.h") && is(find(graph, 2, 0).bytes, "zennet"));
    CHECK(dimension(graph, 11, "input", 0) == batch && dimension(graph, 11, "input", 1) == 3 && dimension(graph, 11, "input", 2) == resolution && dimension(graph, 11, "input", 3) == resolution);
    CHECK(dimension(graph, 12, "logits", 0) == batch && dimension(graph, 12, "logits", 1) == 3);
    while (take(&rest, &i)) {
        if (i.field != 14) continue;
        pair = i.bytes;
        known += is(find(pair, 1, 0).bytes, "classes") && is(find(pair, 2, 0).bytes, "[\"calm\",\"\\\"quoted\\\"\",\"third\"]");
        snprintf(side, sizeof side, "%d", resolution);
        known += is(find(pair, 1, 0).bytes, "input_size") && is(find(pair, 2, 0).bytes, side); /* of this file, whatever the network's own is */
        known += is(find(pair, 1, 0).bytes, "input_channels") && is(find(pair, 2, 0).bytes, "rgb");
    }
    CHECK(known == 3);
}
static void test_samples(zn_ctx *ctx) {
    int k, i, fixed;
    for (k = 0; k < SAMPLES; ++k)
        for (fixed = 0; fixed < 2; ++fixed) {
            const sample *s = &samples[k];
            zn_net *net = make_net(ctx, s);
            zn_tensor *x = zn_tensor_create(ctx, zn_shape4(s->batch, 3, s->resolution, s->resolution)), *want, *got;
            double worst = 0, scale = 0;
            unsigned char *bytes;
            span model;
            zn_fill(zn_tensor_data(x), "input", 3, zn_tensor_count(x), -2, 2);
            CHECK_FOR(zn_net_export_onnx(net, path, s->resolution, fixed ? s->batch : 0) == ZN_OK, s->structure);
            bytes = file_read(path, &model.size);
            model.at = bytes;
            malformed = 0;
            check_head(model, fixed ? s->batch : 0, s->resolution);
            zn_no_grad_begin(ctx);
            want = zn_net_forward(net, x, 0);
            got = run_file(ctx, model, x);
            zn_no_grad_end(ctx);
            CHECK_FOR(want != NULL && got != NULL && zn_tensor_count(want) == zn_tensor_count(got), s->structure);
            for (i = 0; want != NULL && got != NULL && i < s->batch * 3; ++i) {
                double d = fabs((double)zn_tensor_data(want)[i] - (double)zn_tensor_data(got)[i]), v = fabs((double)zn_tensor_data(want)[i]);
                if (!(d <= worst)) worst = d;
                if (v > scale) scale = v;
            }
            CHECK_FOR(worst <= 1e-5 * scale && scale > 0.05, s->structure);
            CHECK_FOR(zn_error_code(ctx) == ZN_OK, zn_error_text(ctx));
            zn_error_clear(ctx);
            zn_tape_clear(ctx);
            zn_net_destroy(net);
            free(bytes);
        }
}

/* ---- what can go wrong ---- */
static void refused(zn_net *net, const char *to, int resolution, int batch, zn_result want, const char *reason) {
    zn_ctx *ctx = zn_net_ctx(net);
    CHECK_FOR(zn_net_export_onnx(net, to, resolution, batch) == want, reason);
    CHECK_HOLDS(zn_error_text(ctx), reason);
    zn_error_clear(ctx);
}
static void test_errors(zn_ctx *ctx) {
    zn_net *net = make_net(ctx, &samples[1]), *small;
    sample valid = {"ConvKX(3,8,2,1)ConvKX(8,8,2,1)", "n", 8, 1};
    unsigned char *first, *second;
    size_t sizes[2];
    remove(path);
    refused(net, path, 0, 1, ZN_ERROR_ARGUMENT, "resolution is 0");
    refused(net, path, 70000, 1, ZN_ERROR_ARGUMENT, "resolution is 70000");
    refused(net, path, 32, -1, ZN_ERROR_ARGUMENT, "batch is -1");
    refused(net, path, 32, 65537, ZN_ERROR_ARGUMENT, "batch is 65537");
    refused(net, "no/such/folder/x.onnx", 32, 1, ZN_ERROR_FILE, "no/such/folder");
    small = make_net(ctx, &valid);
    refused(small, path, 2, 1, ZN_ERROR_STRUCTURE, "resolution too small");
    CHECK(fopen(path, "rb") == NULL); /* nothing was begun */
    CHECK(zn_net_export_onnx(NULL, path, 32, 1) == ZN_ERROR_ARGUMENT && zn_net_export_onnx(net, NULL, 32, 1) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    CHECK(zn_net_export_onnx(net, path, 32, 0) == ZN_OK && zn_net_export_onnx(net, other_path, 32, 0) == ZN_OK);
    first = file_read(path, &sizes[0]);
    second = file_read(other_path, &sizes[1]);
    CHECK(sizes[0] > 1000 && sizes[0] == sizes[1] && memcmp(first, second, sizes[0]) == 0);
    free(first);
    free(second);
    zn_net_destroy(net);
    zn_net_destroy(small);
}

/* The n-th allocation of an export fails: memory is said to be out, nothing leaks, the old file stays. */
static void test_memory(void) {
    failing f;
    zn_ctx *ctx = failing_context(&f, -1);
    zn_net *net;
    unsigned char *bytes;
    size_t before, size;
    long n;
    if (ctx == NULL || (net = make_net(ctx, &samples[3])) == NULL) {
        CHECK(0);
        return;
    }
    before = zn_memory_now(ctx);
    remove(path);
    for (n = 0; n < 1000; ++n) {
        zn_result result;
        f.left = n;
        result = zn_net_export_onnx(net, path, 11, 0);
        CHECK(zn_memory_now(ctx) == before);
        if (result == ZN_OK) break;
        CHECK(result == ZN_ERROR_MEMORY && zn_error_code(ctx) == ZN_ERROR_MEMORY);
        CHECK(fopen(path, "rb") == NULL);
        zn_error_clear(ctx);
    }
    CHECK(n > 5 && n < 1000);
    bytes = file_read(path, &size);
    CHECK(size > 1000);
    free(bytes);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
}

int main(int argc, char **argv) {
    zn_ctx *ctx = NULL;
    (void)argc;
    snprintf(path, sizeof path, "%.480s.onnx", argv[0]);
    snprintf(other_path, sizeof other_path, "%.480s.other", argv[0]);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return 1;
    test_samples(ctx);
    test_errors(ctx);
    test_memory();
    remove(path);
    remove(other_path);
    zn_ctx_destroy(ctx);
    return check_done();
}
