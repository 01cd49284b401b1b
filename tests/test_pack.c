/* test_pack.c - the pack file: what is written is read back, and whatever was damaged is refused with a reason. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"
#include "files.h"

enum { IMAGES = 9, SIDE = 4, PIXELS = SIDE * SIDE * 3 };

static uint64_t get64(const unsigned char *p) { /* little endian */
    uint64_t v = 0;
    int i;
    for (i = 7; i >= 0; --i) v = v << 8 | p[i];
    return v;
}
static void put64(unsigned char *p, uint64_t v) {
    int i;
    for (i = 0; i < 8; ++i) p[i] = (unsigned char)(v >> (8 * i));
}

/* Files beside the test programs. */
static char pack_path[512], other_path[512], missing_folder[512];

static const char *const class_names[3] = {"zero", "one", "two words"};

/* Image i: pixels, or for every third a "file" with a box in it. */
static void image_number(int i, unsigned char *pixels, char *name, zn_pack_info *out) {
    int j;
    memset(out, 0, sizeof *out);
    for (j = 0; j < PIXELS; ++j) pixels[j] = (unsigned char)(i * 31 + j * 7);
    sprintf(name, "folder/image_%d.jpg", i);
    out->bytes = pixels;
    out->size = i % 3 == 2 ? (size_t)(10 + i) : (size_t)PIXELS;
    out->encoding = i % 3 == 2 ? ZN_ENCODING_FILE : ZN_ENCODING_RGB;
    out->split = i % 4 == 3 ? ZN_SPLIT_TEST : ZN_SPLIT_TRAIN;
    out->label = i % 3;
    out->stored_width = out->stored_height = out->width = out->height = SIDE;
    if (i % 3 == 2) {
        out->x = 1;
        out->width = 2;
    }
    out->source = name;
}
static zn_result write_pack(zn_ctx *ctx, const char *path, uint64_t *out_hash) {
    zn_pack_writer *w = NULL;
    unsigned char pixels[PIXELS];
    char name[32];
    zn_pack_info info;
    zn_result result = zn_pack_writer_create(ctx, path, class_names, 3, &w);
    int i;
    for (i = 0; i < IMAGES && result == ZN_OK; ++i) {
        image_number(i, pixels, name, &info);
        result = zn_pack_writer_add(w, &info);
    }
    if (result == ZN_OK) result = zn_pack_writer_finish(w, out_hash);
    zn_pack_writer_destroy(w);
    return result;
}

static int decode_box(const zn_pack_info *image, unsigned char *rgb, void *user) {
    memset(rgb, image->bytes[0], (size_t)(image->width * image->height * 3));
    return *(int *)user;
}

static void test_round_trip(zn_ctx *ctx) {
    zn_pack *pack = NULL;
    uint64_t hash = 0, again = 1;
    unsigned char pixels[PIXELS], rgb[PIXELS];
    char name[32];
    zn_pack_info want, got;
    size_t next[2] = {0, 0};
    int i, verdict = 0;
    CHECK(write_pack(ctx, pack_path, &hash) == ZN_OK);
    CHECK(write_pack(ctx, pack_path, &again) == ZN_OK && again == hash);
    CHECK(zn_pack_open(ctx, pack_path, &pack) == ZN_OK);
    CHECK(zn_pack_hash(pack) == hash);
    CHECK(zn_pack_classes(pack) == 3 && strcmp(zn_pack_class_name(pack, 2), "two words") == 0);
    CHECK(zn_pack_class_name(pack, 3) == NULL && zn_pack_class_name(pack, -1) == NULL);
    CHECK(zn_pack_count(pack, ZN_SPLIT_TRAIN) == 7 && zn_pack_count(pack, ZN_SPLIT_TEST) == 2);
    CHECK(zn_pack_class_count(pack, ZN_SPLIT_TRAIN, 0) == 2 && zn_pack_class_count(pack, ZN_SPLIT_TEST, 0) == 1);
    for (i = 0; i < IMAGES; ++i) {
        image_number(i, pixels, name, &want);
        CHECK(zn_pack_image(pack, want.split, next[want.split]++, &got) == ZN_OK);
        CHECK(got.size == want.size && memcmp(got.bytes, want.bytes, got.size) == 0);
        CHECK(got.label == want.label && got.split == want.split && got.encoding == want.encoding && strcmp(got.source, want.source) == 0);
        CHECK(got.x == want.x && got.width == want.width && got.height == want.height && got.stored_width == want.stored_width);
    }
    CHECK(zn_pack_image(pack, ZN_SPLIT_TEST, 2, &got) == ZN_ERROR_ARGUMENT);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 0, rgb) == ZN_OK && rgb[1] == 7);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 2, rgb) == ZN_ERROR_UNSUPPORTED);
    zn_pack_set_decoder(pack, decode_box, &verdict);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 2, rgb) == ZN_OK && rgb[0] == 62);
    verdict = 1;
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 2, rgb) == ZN_ERROR_FORMAT);
    CHECK(zn_pack_check(pack) == ZN_OK && zn_pack_verify(pack) == ZN_OK);
    zn_pack_close(pack);
    zn_pack_close(NULL);
}

static void refused(zn_ctx *ctx, zn_result result, zn_result want, const char *why) {
    CHECK_FOR(result == want, why);
    CHECK_HOLDS(zn_error_text(ctx), why);
    zn_error_clear(ctx);
}
static void test_writer_refuses(zn_ctx *ctx) {
    static const char *const twins[2] = {"a", "a"}, *const odd[2] = {"a", "b\n"}, *const none[1] = {""};
    zn_pack_writer *w = NULL;
    unsigned char pixels[PIXELS];
    char name[32];
    zn_pack_info info;
    refused(ctx, zn_pack_writer_create(ctx, other_path, twins, 2, &w), ZN_ERROR_ARGUMENT, "two classes have one name");
    refused(ctx, zn_pack_writer_create(ctx, other_path, odd, 2, &w), ZN_ERROR_ARGUMENT, "control characters");
    refused(ctx, zn_pack_writer_create(ctx, other_path, none, 1, &w), ZN_ERROR_ARGUMENT, "is empty");
    refused(ctx, zn_pack_writer_create(ctx, other_path, twins, 0, &w), ZN_ERROR_ARGUMENT, "number of classes");
    refused(ctx, zn_pack_writer_create(ctx, missing_folder, class_names, 3, &w), ZN_ERROR_FILE, "cannot write");
    CHECK(zn_pack_writer_create(ctx, other_path, class_names, 3, &w) == ZN_OK);
    image_number(0, pixels, name, &info);
    info.label = 3;
    refused(ctx, zn_pack_writer_add(w, &info), ZN_ERROR_ARGUMENT, "label");
    info.label = -1;
    refused(ctx, zn_pack_writer_add(w, &info), ZN_ERROR_ARGUMENT, "label");
    image_number(0, pixels, name, &info);
    info.size -= 1;
    refused(ctx, zn_pack_writer_add(w, &info), ZN_ERROR_ARGUMENT, "size is not that of its pixels");
    image_number(2, pixels, name, &info);
    info.width = SIDE;
    refused(ctx, zn_pack_writer_add(w, &info), ZN_ERROR_ARGUMENT, "box leaves");
    refused(ctx, zn_pack_writer_finish(w, NULL), ZN_ERROR_ARGUMENT, "no images");
    zn_pack_writer_destroy(w);
}

/* Whatever refuses an argument says so in the context that it has at hand. */
static void test_reasons(zn_ctx *ctx) {
    zn_pack *pack = NULL;
    zn_pack_writer *w = NULL;
    zn_net *net = NULL, *foreign = NULL;
    zn_ctx *other = NULL;
    zn_structure *s = NULL;
    zn_loader *loader = NULL;
    zn_search *search = NULL;
    zn_session *session = NULL;
    zn_loader_opts lo = zn_loader_opts_default();
    zn_net_opts no = zn_net_opts_default();
    zn_search_opts so = zn_search_opts_default();
    zn_train_opts to = zn_train_opts_default();
    zn_batch batch;
    zn_metrics *metrics = NULL;
    unsigned char pixels[PIXELS], rgb[3 * 8 * 8];
    char name[32];
    zn_pack_info info;
    int map[3];
    no.structure = "SuperConvK3BNRELU(3,8,1,1)";
    no.attention = ZN_ATTENTION_NONE;
    no.classes = 3;
    lo.batch = 1;
    lo.augment = zn_augment_opts_none(8);
    CHECK(write_pack(ctx, pack_path, NULL) == ZN_OK && zn_pack_open(ctx, pack_path, &pack) == ZN_OK && zn_net_create(ctx, &no, &net) == ZN_OK);
    CHECK(zn_structure_parse(ctx, no.structure, &s) == ZN_OK && zn_loader_create(pack, &lo, &loader) == ZN_OK && zn_search_create(ctx, no.structure, &so, &search) == ZN_OK);
    CHECK(zn_pack_writer_create(ctx, other_path, class_names, 3, &w) == ZN_OK);
    refused(ctx, zn_pack_writer_add(w, NULL), ZN_ERROR_ARGUMENT, "zn_pack_writer_add: NULL");
    image_number(0, pixels, name, &info);
    CHECK(zn_pack_writer_add(w, &info) == ZN_OK && zn_pack_writer_finish(w, NULL) == ZN_OK);
    refused(ctx, zn_pack_writer_finish(w, NULL), ZN_ERROR_ARGUMENT, "finished");
    refused(ctx, zn_net_save(net, NULL), ZN_ERROR_ARGUMENT, "zn_net_save: NULL");
    refused(ctx, zn_net_export_onnx(net, NULL, 8, 1), ZN_ERROR_ARGUMENT, "zn_net_export_onnx: NULL");
    refused(ctx, zn_report_write(net, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_report_write: NULL");
    refused(ctx, zn_net_load_tensors(net, NULL, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_net_load_tensors: NULL");
    refused(ctx, zn_session_create(net, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_session_create: NULL");
    refused(ctx, zn_session_bytes(net, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_session_bytes: NULL");
    refused(ctx, zn_session_create_in(net, NULL, NULL, 0, &session), ZN_ERROR_ARGUMENT, "zn_session_create_in: NULL");
    refused(ctx, zn_structure_count(s, NULL, 8, NULL), ZN_ERROR_ARGUMENT, "zn_structure_count: NULL");
    refused(ctx, zn_structure_split(s, NULL), ZN_ERROR_ARGUMENT, "zn_structure_split: NULL");
    refused(ctx, zn_structure_effective_score(s, NULL), ZN_ERROR_ARGUMENT, "zn_structure_effective_score: NULL");
    refused(ctx, zn_net_set_class_names(net, NULL, 3), ZN_ERROR_ARGUMENT, "zn_net_set_class_names: NULL");
    refused(ctx, zn_net_set_input(net, NULL), ZN_ERROR_ARGUMENT, "zn_net_set_input: NULL");
    refused(ctx, zn_check_gradients(ctx, NULL, NULL, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_check_gradients: NULL");
    refused(ctx, zn_space_candidates(s, 0, NULL, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_space_candidates: NULL");
    refused(ctx, zn_search_step(search, NULL), ZN_ERROR_ARGUMENT, "zn_search_step: NULL");
    refused(ctx, zn_search_best(search, NULL), ZN_ERROR_ARGUMENT, "zn_search_best: NULL");
    refused(ctx, zn_loader_create(pack, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_loader_create: NULL");
    refused(ctx, zn_loader_load(loader, 0, 99, &batch), ZN_ERROR_ARGUMENT, "no batch 99 of 7");
    refused(ctx, zn_loader_load(loader, 0, 0, NULL), ZN_ERROR_ARGUMENT, "zn_loader_load: NULL");
    refused(ctx, zn_loader_preview(loader, -1, 0, rgb, NULL), ZN_ERROR_ARGUMENT, "epoch -1");
    refused(ctx, zn_loader_preview(loader, 0, 0, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_loader_preview: NULL");
    refused(ctx, zn_sampler_draw(pack, ZN_SPLIT_TRAIN, 0, 1, 0, NULL), ZN_ERROR_ARGUMENT, "zn_sampler_draw: NULL");
    refused(ctx, zn_class_map(net, pack, 1, NULL), ZN_ERROR_ARGUMENT, "zn_class_map: NULL");
    refused(ctx, zn_class_map(net, NULL, 1, map), ZN_ERROR_ARGUMENT, "zn_class_map: NULL");
    refused(ctx, zn_ema_create(net, 0.9, NULL), ZN_ERROR_ARGUMENT, "zn_ema_create: NULL");
    refused(ctx, zn_distiller_create(net, net, 8, NULL, NULL, 1, NULL), ZN_ERROR_ARGUMENT, "zn_distiller_create: NULL");
    refused(ctx, zn_train_history(ctx, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_train_history: NULL");
    refused(ctx, zn_train_run(net, NULL, NULL, NULL, NULL), ZN_ERROR_ARGUMENT, "zn_train_run: NULL");
    refused(ctx, zn_evaluate(net, NULL, NULL, &metrics), ZN_ERROR_ARGUMENT, "zn_evaluate: NULL");
    to.ema = 1;
    refused(ctx, zn_train_run(net, pack, NULL, &to, NULL), ZN_ERROR_ARGUMENT, "ema is 1, must be in 0..0.9999999");
    CHECK(zn_pack_image(pack, ZN_SPLIT_TEST, 2, &info) == ZN_ERROR_ARGUMENT && zn_error_code(ctx) == ZN_OK); /* the end of a loop */
    CHECK(zn_ctx_create(NULL, &other) == ZN_OK && zn_net_create(other, &no, &foreign) == ZN_OK);
    refused(other, zn_train_run(foreign, pack, NULL, NULL, NULL), ZN_ERROR_ARGUMENT, "another context");
    refused(other, zn_evaluate(foreign, pack, NULL, &metrics), ZN_ERROR_ARGUMENT, "another context");
    zn_net_destroy(foreign);
    zn_ctx_destroy(other);
    zn_pack_writer_destroy(w);
    zn_search_destroy(search);
    zn_loader_destroy(loader);
    zn_structure_destroy(s);
    zn_net_destroy(net);
    zn_pack_close(pack);
}

static zn_result open_bytes(zn_ctx *ctx, const unsigned char *bytes, size_t size, int verify) {
    zn_pack *pack = NULL;
    zn_result result;
    file_write(other_path, bytes, size);
    result = zn_pack_open(ctx, other_path, &pack);
    if (result == ZN_OK && verify) result = zn_pack_verify(pack);
    if (result != ZN_OK) CHECK(strlen(zn_error_text(ctx)) > 10);
    zn_pack_close(pack);
    zn_error_clear(ctx);
    return result;
}
/* Makes the checksums right again, so that a changed number is judged by itself. */
static void repair(unsigned char *bytes, size_t size) {
    size_t index = (size_t)get64(bytes + 24);
    if (index <= size) put64(bytes + 40, zn_fnv1a64(bytes + index, size - index, ZN_FNV_START));
    put64(bytes + 56, zn_fnv1a64(bytes, 56, ZN_FNV_START));
}
static void test_damage(zn_ctx *ctx) {
    size_t size, i;
    unsigned char *bytes = file_read(pack_path, &size), *copy = (unsigned char *)malloc(size);
    zn_rng rng = zn_rng_seed(1);
    CHECK(bytes != NULL && copy != NULL && size > 600);
    for (i = 0; i < size; ++i) CHECK(open_bytes(ctx, bytes, i, 1) != ZN_OK); /* every length */
    for (i = 0; i < size; ++i) {                                              /* every byte */
        memcpy(copy, bytes, size);
        copy[i] = (unsigned char)(copy[i] ^ (1 + zn_rng_below(&rng, 255)));
        CHECK(open_bytes(ctx, copy, size, 1) != ZN_OK);
    }
    for (i = 0; i < 3000; ++i) { /* with checksums that are right: never a crash, whatever the verdict */
        int changes = 1 + (int)zn_rng_below(&rng, 4);
        memcpy(copy, bytes, size);
        while (changes-- > 0) {
            size_t at = zn_rng_below(&rng, 3) == 0 ? 8 + (size_t)zn_rng_below(&rng, 32) : (size_t)get64(bytes + 24) + (size_t)zn_rng_below(&rng, size - get64(bytes + 24));
            copy[at] = (unsigned char)zn_rng_next(&rng);
        }
        repair(copy, size);
        (void)open_bytes(ctx, copy, size, 1);
    }
    free(bytes);
    free(copy);
}
static void test_not_packs(zn_ctx *ctx) {
    zn_pack *pack = NULL;
    refused(ctx, zn_pack_open(ctx, missing_folder, &pack), ZN_ERROR_FILE, "cannot open");
    file_write(other_path, "", 0);
    refused(ctx, zn_pack_open(ctx, other_path, &pack), ZN_ERROR_FORMAT, "ZENPACK1");
    CHECK(zn_pack_open(ctx, ".", &pack) != ZN_OK && pack == NULL);
    zn_error_clear(ctx);
    CHECK(zn_pack_count(NULL, ZN_SPLIT_TRAIN) == 0 && zn_pack_classes(NULL) == 0 && zn_pack_check(NULL) == ZN_ERROR_ARGUMENT);
}
/* A decoder whose file is cut short while it works: what it was given stays. */
static int decode_cut(const zn_pack_info *image, unsigned char *rgb, void *user) {
    file_write(other_path, rgb, *(size_t *)user);
    memcpy(rgb, image->bytes, (size_t)(image->width * image->height * 3));
    return 0;
}
/* A pack of more than the 64 MB that are copied stays on disk; its file changing must be noticed. */
static void test_changed_on_disk(zn_ctx *ctx) {
    enum { BIG = 3000 };
    size_t bytes = (size_t)BIG * BIG * 3, cut = 1000;
    unsigned char *pixels = (unsigned char *)malloc(bytes), *rgb = (unsigned char *)malloc(bytes);
    zn_pack_writer *w = NULL;
    zn_pack *pack = NULL;
    zn_pack_info info;
    char name[32];
    int i;
    CHECK(pixels != NULL && rgb != NULL);
    memset(pixels, 9, bytes);
    image_number(0, rgb, name, &info);
    info.bytes = pixels;
    info.size = bytes;
    info.stored_width = info.stored_height = info.width = info.height = BIG;
    CHECK(zn_pack_writer_create(ctx, other_path, class_names, 3, &w) == ZN_OK);
    for (i = 0; i < 3; ++i) {
        info.encoding = i == 2 ? ZN_ENCODING_FILE : ZN_ENCODING_RGB;
        CHECK(zn_pack_writer_add(w, &info) == ZN_OK);
    }
    CHECK(zn_pack_writer_finish(w, NULL) == ZN_OK);
    zn_pack_writer_destroy(w);
    CHECK(zn_pack_open(ctx, other_path, &pack) == ZN_OK && zn_pack_verify(pack) == ZN_OK);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 1, rgb) == ZN_OK && rgb[bytes - 1] == 9);
#if defined(__unix__) || defined(__APPLE__)
    zn_pack_set_decoder(pack, decode_cut, &cut);
    memset(rgb, 0, bytes);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 2, rgb) == ZN_OK && rgb[bytes - 1] == 9);
    CHECK(zn_pack_rgb(pack, ZN_SPLIT_TRAIN, 1, rgb) == ZN_ERROR_FILE);
    refused(ctx, zn_pack_verify(pack), ZN_ERROR_FILE, "changed or truncated");
#else
    check_skip("packs are held in memory on this system");
#endif
    zn_pack_close(pack);
    free(pixels);
    free(rgb);
}

/* Write and open with the n-th allocation failing, until nothing fails any more. */
static void test_memory(void) {
    long n, failures = 0;
    for (n = 2; n < 200; ++n) {
        failing f;
        zn_ctx *ctx = failing_context(&f, n - 1);
        zn_pack *pack = NULL;
        zn_result result = write_pack(ctx, other_path, NULL);
        if (result == ZN_OK) result = zn_pack_open(ctx, other_path, &pack);
        if (result == ZN_OK) result = zn_pack_verify(pack);
        CHECK(result == ZN_OK || result == ZN_ERROR_MEMORY);
        failures += result != ZN_OK;
        zn_pack_close(pack);
        zn_ctx_destroy(ctx);
        CHECK(f.live == 0);
        if (f.left > 0) break;
    }
    CHECK(failures > 10 && n < 200);
}

int main(void) {
    const char *build = getenv("BUILD");
    zn_ctx *ctx = NULL;
    if (build == NULL) build = "build";
    snprintf(pack_path, sizeof pack_path, "%s/tests/test_pack.zpack", build);
    snprintf(other_path, sizeof other_path, "%s/tests/test_pack_damaged.zpack", build);
    snprintf(missing_folder, sizeof missing_folder, "%s/tests/no such folder/x", build);
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return 1;
    test_round_trip(ctx);
    test_writer_refuses(ctx);
    test_reasons(ctx);
    test_damage(ctx);
    test_not_packs(ctx);
    test_changed_on_disk(ctx);
    test_memory();
    zn_ctx_destroy(ctx);
    remove(pack_path);
    remove(other_path);
    return check_done();
}
