/* test_augment.c - image operations against the committed golden folder, and what augmentation promises: the same draws
   give the same values, draws follow their distributions, hostile sizes and arguments do no harm. */
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

#include "check.h"
#include "failing.h"
#include "files.h"
#include "golden_images.h"

enum { MOST = 64 * 64 * 3 };

/* Memory of the size that the library asks for; none when that is "too large". */
static void *scratch_for(size_t bytes) { return bytes < SIZE_MAX / 2 ? malloc(bytes) : NULL; }
static void noise(unsigned char *rgb, int w, int h, uint64_t seed, int low, int high) {
    zn_rng rng = zn_rng_seed(seed);
    int i;
    for (i = 0; i < w * h * 3; ++i) rgb[i] = (unsigned char)(low + (int)zn_rng_below(&rng, (uint64_t)(high - low + 1)));
}

/* ---- golden pictures, and that their check can fail ---- */
static void write_file(const char *folder, const char *name, const char *bytes, size_t size) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file_write(path, bytes, size);
}
static int golden_says(zn_ctx *ctx, const char *folder, const char *index, char *summary, size_t size) {
    write_file(folder, "index.txt", index, strlen(index));
    return golden_folder(ctx, folder, summary, size);
}
static void test_golden(zn_ctx *ctx, const char *folder) {
    char summary[4096], path[600];
    CHECK_FOR(golden_folder(ctx, "tests/golden/images", summary, sizeof summary) == 0, summary);
    CHECK_HOLDS(summary, "images 51, bad 0");
    CHECK(golden_folder(ctx, "tests/golden/no such folder", summary, sizeof summary) == 1);
    write_file(folder, "one.ppm", "P6\n# a comment\n1 1 255\nabc", 26);
    write_file(folder, "other.ppm", "P6 1 1\n255\nabd", 14);
    write_file(folder, "short.ppm", "P6 2 1\n255\nabc", 14);
    CHECK(golden_says(ctx, folder, "# nothing\n\n", summary, sizeof summary) == 1);
    CHECK(golden_says(ctx, folder, "rotate one.ppm one.ppm 360\n#\nposterize one.ppm one.ppm 8", summary, sizeof summary) == 0);
    CHECK(golden_says(ctx, folder, "rotate one.ppm other.ppm 0\n", summary, sizeof summary) == -1);
    CHECK_HOLDS(summary, "rotate 1 on 33.33%");
    CHECK(golden_says(ctx, folder, "shear_x one.ppm other.ppm 0\n", summary, sizeof summary) == -1);
    CHECK(golden_says(ctx, folder, "invert one.ppm one.ppm\nblur one.ppm one.ppm\n", summary, sizeof summary) == -1);
    CHECK_HOLDS(summary, "bad 2");
    CHECK(golden_says(ctx, folder, "#\nblur one.ppm one.ppm\n", summary, sizeof summary) == -1);
    CHECK_HOLDS(summary, "line 2 (blur one.ppm one.ppm): unknown operation");
    CHECK(golden_says(ctx, folder, "rotate one.ppm one.ppm\n", summary, sizeof summary) == -1);
    CHECK_HOLDS(summary, "rotate takes 1 argument");
    CHECK(golden_says(ctx, folder, "rotate one.ppm one.ppm x\n", summary, sizeof summary) == -1);
    CHECK(golden_says(ctx, folder, "rotate short.ppm one.ppm 0\n", summary, sizeof summary) == -1);
    CHECK(golden_says(ctx, folder, "resize_bicubic one.ppm one.ppm 2 1\n", summary, sizeof summary) == -1);
    snprintf(path, sizeof path, "%s/index.txt", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/one.ppm", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/other.ppm", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/short.ppm", folder);
    remove(path);
}

/* ---- operations ---- */
static int same_after(zn_ctx *ctx, zn_image_op op, int w, int h, double a, double b) {
    static unsigned char in[MOST], out[MOST];
    double args[6] = {0, 0, 0, 0, 0, 0};
    args[0] = a;
    args[1] = b;
    noise(in, w, h, 3, 0, 255);
    memset(out, 1, sizeof out);
    return zn_image_apply(ctx, op, in, w, h, args, zni_image_rows[op].args, out) == ZN_OK && memcmp(in, out, (size_t)(w * h * 3)) == 0;
}
static void test_identities(zn_ctx *ctx) {
    static const int sides[][2] = {{1, 1}, {1, 7}, {9, 1}, {2, 2}, {17, 12}, {64, 64}};
    static unsigned char in[MOST], once[MOST], twice[MOST], turned[MOST];
    size_t s;
    for (s = 0; s < sizeof sides / sizeof *sides; ++s) {
        int w = sides[s][0], h = sides[s][1], op, i;
        size_t bytes = (size_t)(w * h * 3);
        double half = 180.0, far = 1.0;
        for (op = ZN_IMAGE_COLOR; op <= ZN_IMAGE_SHARPNESS; ++op) CHECK_FOR(same_after(ctx, (zn_image_op)op, w, h, 1.0, 0.0), zn_image_op_name((zn_image_op)op));
        for (op = ZN_IMAGE_SHEAR_X; op <= ZN_IMAGE_ROTATE; ++op) CHECK_FOR(same_after(ctx, (zn_image_op)op, w, h, 0.0, 0.0), zn_image_op_name((zn_image_op)op));
        CHECK(same_after(ctx, ZN_IMAGE_ROTATE, w, h, -720.0, 0.0));
        CHECK(same_after(ctx, ZN_IMAGE_POSTERIZE, w, h, 8.0, 0.0));
        CHECK(same_after(ctx, ZN_IMAGE_SOLARIZE, w, h, 256.0, 0.0));
        CHECK(same_after(ctx, ZN_IMAGE_RESIZE_BICUBIC, w, h, w, h));
        noise(in, w, h, 4, 0, 255);
        for (op = ZN_IMAGE_INVERT; op <= ZN_IMAGE_FLIP; ++op) {
            zn_image_apply(ctx, (zn_image_op)op, in, w, h, NULL, 0, once);
            zn_image_apply(ctx, (zn_image_op)op, once, w, h, NULL, 0, twice);
            CHECK(memcmp(in, twice, bytes) == 0);
        }
        CHECK(zn_image_apply(ctx, ZN_IMAGE_ROTATE, in, w, h, &half, 1, turned) == ZN_OK);
        for (i = 0; i < w * h; ++i)
            if (memcmp(turned + 3 * i, in + 3 * (w * h - 1 - i), 3) != 0) break;
        CHECK(i == w * h);
        for (op = ZN_IMAGE_TRANSLATE_X; op <= ZN_IMAGE_TRANSLATE_Y; ++op) {
            zn_image_apply(ctx, (zn_image_op)op, in, w, h, &far, 1, once);
            for (i = 0; i < (int)bytes && once[i] == 128; ++i) {}
            CHECK(i == (int)bytes);
        }
    }
    CHECK(zn_error_code(ctx) == ZN_OK);
}
static int refused(zn_ctx *ctx, zn_image_op op, int w, int h, double a, double b, int count) {
    static unsigned char in[MOST], out[MOST];
    double args[6] = {0, 0, 0, 0, 0, 0};
    zn_result result;
    args[0] = a;
    args[1] = b;
    result = zn_image_apply(ctx, op, in, w, h, args, count, out);
    if (result != ZN_ERROR_ARGUMENT || zn_error_text(ctx)[0] == '\0') return 0;
    zn_error_clear(ctx);
    return 1;
}
static void test_bad_arguments(zn_ctx *ctx) {
    unsigned char in[12] = {0}, out[12];
    double nan = strtod("nan", NULL);
    int op;
    for (op = 0; op < ZN_IMAGE_OPS; ++op) {
        zn_image_op o = (zn_image_op)op;
        CHECK(zn_image_op_find(zn_image_op_name(o)) == o);
        CHECK(refused(ctx, o, 0, 2, 1.0, 1.0, zni_image_rows[op].args));
        CHECK(refused(ctx, o, 2, ZN_MAX_IMAGE_SIDE + 1, 1.0, 1.0, zni_image_rows[op].args));
        CHECK(refused(ctx, o, 2, 2, 1.0, 1.0, zni_image_rows[op].args + 1));
        if (zni_image_rows[op].args != 1) continue;
        CHECK(refused(ctx, o, 2, 2, nan, 0.0, 1));
        CHECK(refused(ctx, o, 2, 2, 1e300, 0.0, 1));
        if (op == ZN_IMAGE_POSTERIZE) continue;
        { /* extreme, but allowed: must only not fail */
            double far = 1e6, near = -1e6, tiny = 1e-300;
            CHECK(zn_image_apply(ctx, o, in, 2, 2, &far, 1, out) == ZN_OK);
            CHECK(zn_image_apply(ctx, o, in, 2, 2, &near, 1, out) == ZN_OK);
            CHECK(zn_image_apply(ctx, o, in, 2, 2, &tiny, 1, out) == ZN_OK);
        }
    }
    CHECK(zn_image_op_find("blur") == ZN_IMAGE_OPS && zn_image_op_find(NULL) == ZN_IMAGE_OPS && zn_image_op_name(ZN_IMAGE_OPS) == NULL);
    CHECK(refused(ctx, ZN_IMAGE_POSTERIZE, 2, 2, 9.0, 0.0, 1));
    CHECK(refused(ctx, ZN_IMAGE_POSTERIZE, 2, 2, 2.5, 0.0, 1));
    CHECK(refused(ctx, ZN_IMAGE_RESIZE_BICUBIC, 2, 2, 0.0, 2.0, 2));
    CHECK(refused(ctx, ZN_IMAGE_RESIZE_BICUBIC, 2, 2, 2.5, 2.0, 2));
    CHECK(refused(ctx, ZN_IMAGE_RESIZE_BICUBIC, 2, 2, 70000.0, 2.0, 2));
    CHECK(zn_image_resize(ctx, in, 2, 2, 1, 0, 2, 2, ZN_FILTER_BICUBIC, out, 1, 1) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "1,0 2x2 of 2x2");
    zn_error_clear(ctx);
    CHECK(zn_image_resize(ctx, in, 2, 2, 0, INT_MAX, 1, INT_MAX, ZN_FILTER_BICUBIC, out, 1, 1) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
}

/* ---- a network's input ---- */
/* The window that is computed is the same part of the whole resized picture. */
static void test_input(zn_ctx *ctx) {
    static unsigned char in[90 * 90 * 3], whole[256 * 256 * 3];
    static zn_real out[MOST];
    zn_rng rng = zn_rng_seed(7);
    int round;
    for (round = 0; round < 60; ++round) {
        zn_input o = zn_input_default();
        int w = 1 + (int)zn_rng_below(&rng, 60), h = 1 + (int)zn_rng_below(&rng, 60), rw, rh, c, y, x, bad = 0, x0, y0;
        void *scratch;
        o.size = 1 + (int)zn_rng_below(&rng, 32);
        o.resize = round % 3 == 0 ? 0 : o.size + (int)zn_rng_below(&rng, 8);
        o.filter = round % 4 == 0 ? ZN_FILTER_BILINEAR : ZN_FILTER_BICUBIC;
        o.bgr = round % 5 == 0;
        rw = o.resize == 0 ? o.size : w < h ? o.resize : o.resize * w / h;
        rh = o.resize == 0 ? o.size : w < h ? o.resize * h / w : o.resize;
        if (rw > 256 || rh > 256) continue;
        noise(in, 90, 90, (uint64_t)round, 0, 255);
        CHECK(zn_input_check(ctx, &o) == ZN_OK);
        CHECK(zn_image_resize(ctx, in, 90, 90, 11, 5, w, h, o.filter, whole, rw, rh) == ZN_OK);
        scratch = scratch_for(zn_input_scratch_bytes(&o, w, h));
        if (scratch == NULL) return;
        CHECK(zn_input_apply(&o, in, 90, 90, 11, 5, w, h, scratch, out) == ZN_OK);
        free(scratch);
        x0 = (int)rint((rw - o.size) / 2.0);
        y0 = (int)rint((rh - o.size) / 2.0);
        for (c = 0; c < 3; ++c)
            for (y = 0; y < o.size; ++y)
                for (x = 0; x < o.size; ++x) {
                    int from = o.bgr ? 2 - c : c;
                    double v = whole[((y0 + y) * rw + x0 + x) * 3 + from] / 255.0, want = (v - o.mean[from]) / o.std[from];
                    bad += !(fabs((double)out[(c * o.size + y) * o.size + x] - want) < 1e-5);
                }
        CHECK(bad == 0);
    }
}
static void test_input_refuses(zn_ctx *ctx) {
    zn_input o = zn_input_default();
    unsigned char in[3] = {1, 2, 3};
    static unsigned char scratch[4096];
    zn_real out[3];
    o.size = 1;
    CHECK(zn_input_scratch_bytes(&o, 1, 1) <= sizeof scratch);
    CHECK(zn_input_apply(&o, in, 1, 1, 0, 0, 1, 1, scratch, out) == ZN_OK);
    CHECK(zn_input_apply(&o, in, 1, 1, 0, 1, 1, 1, scratch, out) == ZN_ERROR_ARGUMENT);
    CHECK(zn_input_apply(&o, in, 1, 1, 0, 0, 2, 1, scratch, out) == ZN_ERROR_ARGUMENT);
    CHECK(zn_input_apply(&o, in, 0, 1, 0, 0, 0, 1, scratch, out) == ZN_ERROR_ARGUMENT);
    CHECK(zn_input_apply(NULL, in, 1, 1, 0, 0, 1, 1, scratch, out) == ZN_ERROR_ARGUMENT);
    CHECK(zn_input_scratch_bytes(&o, 0, 1) == SIZE_MAX);
    o.resize = -1;
    CHECK(zn_input_check(ctx, &o) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "resize");
    zn_error_clear(ctx);
    o.resize = 0;
    o.std[1] = 0.0;
    CHECK(zn_input_check(ctx, &o) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "std");
    zn_error_clear(ctx);
    o.std[1] = 1.0;
    o.mean[2] = strtod("nan", NULL);
    CHECK(zn_input_check(ctx, &o) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
    CHECK(zn_input_scratch_bytes(&o, 1, 1) == SIZE_MAX);
}

/* ---- augmentation ---- */
static zn_augment_opts recipe(int number, int size) {
    zn_augment_opts o;
    switch (number) {
    case 0: return zn_augment_opts_none(size);
    case 1: return zn_augment_opts_rafdb(size);
    case 2: return zn_augment_opts_affectnet(size);
    case 3: return zn_augment_opts_imagenet(size);
    case 4: return zn_augment_opts_cifar(size);
    default:
        o = zn_augment_opts_imagenet(size);
        o.policy = ZN_POLICY_NONE;
        o.jitter = 0.4;
        return o;
    }
}
enum { RECIPES = 6 };

/* Scratch of exactly the promised size and random contents; any picture, however odd. */
static void test_odd_pictures(zn_ctx *ctx) {
    static const int sides[][2] = {{1, 1}, {1, 40}, {40, 1}, {3, 2000}, {2000, 3}, {64, 64}, {65535, 1}, {1, 65535}, {31, 50}};
    static const int sizes[] = {1, 2, 8, 33, 48};
    size_t s, z;
    unsigned char *in = (unsigned char *)malloc(65535 * 3);
    static zn_real out[MOST], again[MOST];
    int number, draw;
    if (in == NULL) return;
    noise(in, 65535, 1, 9, 0, 255);
    for (s = 0; s < sizeof sides / sizeof *sides; ++s)
        for (z = 0; z < sizeof sizes / sizeof *sizes; ++z)
            for (number = 0; number < RECIPES; ++number) {
                zn_augment_opts o = recipe(number, sizes[z]);
                int w = sides[s][0], h = sides[s][1], values = 3 * sizes[z] * sizes[z], i, bad = 0;
                size_t bytes = zn_augment_scratch_bytes(&o, w, h);
                void *scratch = scratch_for(bytes);
                CHECK(zn_augment_check(ctx, &o) == ZN_OK && scratch != NULL);
                for (draw = 0; draw < 3 && scratch != NULL; ++draw) {
                    zn_rng rng = zn_rng_stream(1, (uint64_t)draw), second = rng;
                    memset(scratch, 0x55, bytes);
                    bad += zn_augment(&o, &rng, in, w, h, scratch, out) != ZN_OK;
                    memset(scratch, 0xAA, bytes);
                    bad += zn_augment(&o, &second, in, w, h, scratch, again) != ZN_OK || rng.state != second.state;
                    bad += memcmp(out, again, (size_t)values * sizeof(zn_real)) != 0;
                    for (i = 0; i < values; ++i) bad += !(fabs((double)out[i]) < 20.0);
                }
                CHECK(bad == 0);
                free(scratch);
            }
    free(in);
}
/* Scratch for the largest picture serves every smaller one. */
static void test_scratch_grows(void) {
    zn_rng rng = zn_rng_seed(2);
    int round;
    for (round = 0; round < 2000; ++round) {
        zn_augment_opts o = recipe(round % RECIPES, 1 + (int)zn_rng_below(&rng, 300));
        int w = 1 + (int)zn_rng_below(&rng, 3000), h = 1 + (int)zn_rng_below(&rng, 3000);
        size_t most = zn_augment_scratch_bytes(&o, w, h), input = zn_input_scratch_bytes(&o.input, w, h);
        int less_w = 1 + (int)zn_rng_below(&rng, (uint64_t)w), less_h = 1 + (int)zn_rng_below(&rng, (uint64_t)h);
        if (zn_augment_scratch_bytes(&o, less_w, less_h) > most || zn_input_scratch_bytes(&o.input, less_w, less_h) > input) break;
    }
    CHECK(round == 2000);
}
/* What people see is what the network gets. */
static void test_preview(void) {
    static unsigned char in[40 * 30 * 3], seen[32 * 32 * 3];
    static zn_real out[32 * 32 * 3];
    int number, draw;
    noise(in, 40, 30, 11, 0, 255);
    for (number = 0; number < RECIPES; ++number)
        for (draw = 0; draw < 20; ++draw) {
            zn_augment_opts o = recipe(number, 32);
            zn_rng rng = zn_rng_stream(5, (uint64_t)draw), second = rng;
            void *scratch = scratch_for(zn_augment_scratch_bytes(&o, 40, 30));
            int c, i, bad = 0;
            if (scratch == NULL) return;
            CHECK(zn_augment(&o, &rng, in, 40, 30, scratch, out) == ZN_OK);
            CHECK(zn_augment_preview(&o, &second, in, 40, 30, scratch, seen) == ZN_OK);
            free(scratch);
            for (c = 0; c < 3; ++c)
                for (i = 0; i < 32 * 32; ++i) {
                    double v = 255.0 * ((double)out[c * 1024 + i] * o.input.std[c] + o.input.mean[c]);
                    v = v < 0.0 ? 0.0 : v > 255.0 ? 255.0 : v;
                    bad += !(fabs(v - seen[3 * i + c]) < 0.501);
                }
            CHECK(bad == 0);
        }
}
static void test_threads(void) {
    static unsigned char in[50 * 50 * 3];
    enum { COUNT = 64, VALUES = 3 * 24 * 24 };
    zn_augment_opts o = zn_augment_opts_rafdb(24);
    size_t bytes;
    zn_real *serial, *parallel;
    unsigned char *scratch;
    int i;
    o.crop = ZN_CROP_RANDOM_RESIZED;
    bytes = zn_augment_scratch_bytes(&o, 50, 50) / 64 * 64 + 64;
    noise(in, 50, 50, 12, 0, 255);
    serial = (zn_real *)malloc(2 * COUNT * VALUES * sizeof(zn_real));
    scratch = (unsigned char *)scratch_for(COUNT * bytes);
    if (serial != NULL && scratch != NULL) {
        parallel = serial + COUNT * VALUES;
        for (i = 0; i < COUNT; ++i) {
            zn_rng rng = zn_rng_stream(3, (uint64_t)i);
            zn_augment(&o, &rng, in, 50, 50, scratch, serial + i * VALUES);
        }
        ZNI_OMP(parallel for num_threads(4))
        for (i = 0; i < COUNT; ++i) {
            zn_rng rng = zn_rng_stream(3, (uint64_t)i);
            zn_augment(&o, &rng, in, 50, 50, scratch + (size_t)i * bytes, parallel + i * VALUES);
        }
        CHECK(memcmp(serial, parallel, COUNT * VALUES * sizeof(zn_real)) == 0);
        CHECK(memcmp(serial, serial + VALUES, VALUES * sizeof(zn_real)) != 0);
    }
    free(serial);
    free(scratch);
}
static void test_crop_draws(void) {
    zn_augment_opts o = zn_augment_opts_rafdb(224);
    zn_rng rng = zn_rng_seed(13);
    int round, fits = 0, moved = 0;
    double area = 0.0;
    for (round = 0; round < 20000; ++round) {
        int w = round % 2 == 0 ? 299 : 1 + (int)zn_rng_below(&rng, 400), h = round % 2 == 0 ? 299 : 1 + (int)zn_rng_below(&rng, 400);
        zni_box b = zni_crop_draw(&o, &rng, w, h);
        if (!zni_box_ok(w, h, b.x, b.y, b.w, b.h)) break;
        if (round % 2 != 0) continue;
        area += (double)b.w * b.h / (299.0 * 299.0);
        fits += b.w >= 227 && b.h >= 227 && (double)b.w * b.h >= 0.795 * 299 * 299 && b.w <= 1.34 * b.h && b.h <= 1.34 * b.w;
        moved += b.x > 0 || b.y > 0;
    }
    CHECK(round == 20000);
    CHECK(fits == 10000);
    CHECK(moved > 9000);
    CHECK(area / 10000 > 0.86 && area / 10000 < 0.91); /* uniform in .8..1 has .9; wide boxes of the largest fit less often */
    { /* too long for the ratio: the centre, with the nearer bound */
        zni_box b = zni_crop_draw(&o, &rng, 30, 3000), c = zni_crop_draw(&o, &rng, 3000, 30);
        CHECK(b.x == 0 && b.y == 1480 && b.w == 30 && b.h == 40);
        CHECK(c.x == 1480 && c.y == 0 && c.w == 40 && c.h == 30);
    }
}
static void test_padded_crop(void) {
    zn_augment_opts o = zn_augment_opts_none(32);
    static unsigned char in[32 * 32 * 3], seen[32 * 32 * 3], scratch[1 << 16];
    int places[9][9] = {{0}}, round, i, dx, dy, hits = 0, wrong = 0;
    o.crop = ZN_CROP_PADDED;
    CHECK(zn_augment_scratch_bytes(&o, 32, 32) <= sizeof scratch);
    for (i = 0; i < 1024; ++i) { /* every pixel says where it is from */
        in[3 * i] = (unsigned char)(1 + i % 32);
        in[3 * i + 1] = (unsigned char)(1 + i / 32);
        in[3 * i + 2] = 7;
    }
    for (round = 0; round < 3000; ++round) {
        zn_rng rng = zn_rng_stream(17, (uint64_t)round);
        zn_augment_preview(&o, &rng, in, 32, 32, scratch, seen);
        dx = seen[3 * (16 * 32 + 16)] - 1 - 16;
        dy = seen[3 * (16 * 32 + 16) + 1] - 1 - 16;
        if (dx < -4 || dx > 4 || dy < -4 || dy > 4) break;
        ++places[dy + 4][dx + 4];
        for (i = 0; i < 1024; ++i) {
            int x = i % 32 + dx, y = i / 32 + dy, inside = x >= 0 && x < 32 && y >= 0 && y < 32;
            wrong += seen[3 * i] != (inside ? 1 + x : 0) || seen[3 * i + 1] != (inside ? 1 + y : 0) || seen[3 * i + 2] != (inside ? 7 : 0);
        }
    }
    CHECK(round == 3000 && wrong == 0);
    for (i = 0; i < 81; ++i) hits += places[i / 9][i % 9] > 10 && places[i / 9][i % 9] < 75; /* 37 +- 6 */
    CHECK(hits == 81);
}
static void test_erasing(void) {
    zn_augment_opts o = zn_augment_opts_affectnet(64);
    zn_rng rng = zn_rng_seed(19);
    int i, none = 0, wrong = 0, wide = 0;
    double mean = 0.0;
    for (i = 0; i < 10000; ++i) {
        zni_box b = zni_erase_draw(&o, &rng);
        none += b.w == 0;
        if (b.w == 0) continue;
        wrong += b.w >= 64 || b.h >= 64 || !zni_box_ok(64, 64, b.x, b.y, b.w, b.h) || fabs(b.w * b.h / 4096.0 - 0.4) > 0.012;
        wide += b.w > b.h;
    }
    CHECK(none > 4800 && none < 5200 && wrong == 0);
    CHECK(wide > (10000 - none) * 45 / 100 && wide < (10000 - none) * 55 / 100); /* log-uniform: as many wide as high */
    o = zn_augment_opts_rafdb(64);
    for (none = wide = i = 0; i < 10000; ++i) {
        zni_box b = zni_erase_draw(&o, &rng);
        none += b.w == 0;
        mean += b.w * b.h / 4096.0;
        wrong += b.w > 0 && (!zni_box_ok(64, 64, b.x, b.y, b.w, b.h) || b.w * b.h > 0.11 * 4096 || b.w * b.h < 0.015 * 4096);
        wide += b.w > b.h;
    }
    CHECK(none > 4800 && none < 5200 && wrong == 0);
    CHECK(fabs(mean / (10000 - none) - 0.06) < 0.002);
    CHECK(wide < (10000 - none) * 30 / 100); /* uniform in .3..3.3: 23 % wide */
    o.erase = 0.0;
    for (none = i = 0; i < 1000; ++i) none += zni_erase_draw(&o, &rng).w == 0;
    CHECK(none == 1000);
    { /* mass in the values: a white picture has no zeros but the erased ones, in all planes alike */
        static unsigned char white[64 * 64 * 3], scratch[1 << 18];
        static zn_real out[MOST];
        int planes[3] = {0, 0, 0};
        zn_augment_opts e = zn_augment_opts_none(64);
        memset(white, 255, sizeof white);
        e.erase = 1.0;
        e.erase_area[0] = e.erase_area[1] = 0.25;
        CHECK(zn_augment_scratch_bytes(&e, 64, 64) <= sizeof scratch);
        CHECK(zn_augment(&e, &rng, white, 64, 64, scratch, out) == ZN_OK);
        for (i = 0; i < 3 * 4096; ++i) planes[i / 4096] += fabs((double)out[i]) < 1e-9;
        CHECK(planes[0] == planes[1] && planes[1] == planes[2] && abs(planes[0] - 1024) < 40);
    }
}
/* The share of pictures that a policy leaves alone, against the table; and the arguments of its operations. */
static void test_policies(void) {
    static unsigned char in[32 * 32 * 3], a[32 * 32 * 3], b[32 * 32 * 3];
    static const unsigned char first[6] = {4, ZN_IMAGE_POSTERIZE, 8, 6, ZN_IMAGE_ROTATE, 9}, last[6] = {7, ZN_IMAGE_TRANSLATE_Y, 9, 9, ZN_IMAGE_AUTOCONTRAST, 1};
    zn_rng rng = zn_rng_seed(23);
    int policy, i, op, count = 4000;
    CHECK(memcmp(zni_policies[0][0], first, 6) == 0 && memcmp(zni_policies[1][24], last, 6) == 0);
    noise(in, 32, 32, 24, 30, 210);
    for (policy = 0; policy < 2; ++policy) {
        double expected = 0.0, alone = 0.0;
        for (i = 0; i < 25; ++i) {
            const unsigned char *p = zni_policies[policy][i];
            double first_idle = p[1] == ZN_IMAGE_COLOR && p[2] == 0 ? 1.0 : 1.0 - p[0] / 10.0, second_idle = p[4] == ZN_IMAGE_COLOR && p[5] == 0 ? 1.0 : 1.0 - p[3] / 10.0;
            expected += first_idle * second_idle / 25.0;
        }
        for (i = 0; i < count; ++i) {
            zni_canvas p;
            p.now = a;
            p.other = b;
            p.size = 32;
            memcpy(a, in, sizeof in);
            zni_policy_apply(&p, policy == 0 ? ZN_POLICY_IMAGENET : ZN_POLICY_CIFAR10, &rng);
            alone += memcmp(p.now, in, sizeof in) == 0;
        }
        CHECK(fabs(alone / count - expected) < 4.0 * sqrt(expected * (1.0 - expected) / count));
    }
    for (op = ZN_IMAGE_SHEAR_X; op <= ZN_IMAGE_SHARPNESS; ++op) {
        double most = op <= ZN_IMAGE_SHEAR_Y ? 0.3 : op <= ZN_IMAGE_TRANSLATE_Y ? 150.0 / 331.0 : 0.9, middle = op >= ZN_IMAGE_COLOR ? 1.0 : 0.0;
        int plus = 0, minus = 0;
        if (op == ZN_IMAGE_ROTATE) continue;
        for (i = 0; i < 1000; ++i) {
            double v = zni_policy_argument((zn_image_op)op, 9, &rng) - middle;
            plus += fabs(v - most) < 1e-12;
            minus += fabs(v + most) < 1e-12;
        }
        CHECK(plus + minus == 1000 && plus > 430 && minus > 430);
        CHECK(fabs(zni_policy_argument((zn_image_op)op, 0, &rng) - middle) <= 0.0);
    }
    CHECK(fabs(zni_policy_argument(ZN_IMAGE_ROTATE, 9, &rng) - 30.0) < 1e-12);
    CHECK(fabs(zni_policy_argument(ZN_IMAGE_SOLARIZE, 5, &rng) - 113.7777777777) < 1e-9);
    CHECK(fabs(zni_policy_argument(ZN_IMAGE_SOLARIZE, 9, &rng)) <= 0.0);
    for (i = 0; i < 10; ++i) {
        static const int bits[10] = {8, 8, 7, 7, 6, 6, 5, 5, 4, 4};
        CHECK((int)zni_policy_argument(ZN_IMAGE_POSTERIZE, i, &rng) == bits[i]);
    }
}
static void test_lighting(void) {
    zn_rng rng = zn_rng_seed(29);
    double sum[3] = {0, 0, 0}, square[3] = {0, 0, 0}, cross = 0.0;
    const double want[3] = {0.0124186, 0.0126376, 0.0127609}; /* 0.1 * sqrt(sum of (vector*value)^2) */
    int i, c, count = 20000;
    for (i = 0; i < count; ++i) {
        double light[3] = {0, 0, 0};
        zni_lighting_draw(0.1, &rng, light);
        for (c = 0; c < 3; ++c) {
            sum[c] += light[c];
            square[c] += light[c] * light[c];
        }
        cross += light[0] * light[2];
    }
    for (c = 0; c < 3; ++c) {
        CHECK(fabs(sum[c] / count) < 4.0 * want[c] / sqrt((double)count));
        CHECK(fabs(sqrt(square[c] / count) / want[c] - 1.0) < 0.02);
    }
    CHECK(cross / sqrt(square[0] * square[2]) > 0.95); /* mostly brightness */
}
static void test_augment_refuses(zn_ctx *ctx) {
    static const struct {
        size_t offset;
        double bad;
        const char *name;
    } rows[] = {
        {offsetof(zn_augment_opts, crop_area), 0.0, "crop_area"},   {offsetof(zn_augment_opts, crop_area) + sizeof(double), 1.1, "crop_area"},
        {offsetof(zn_augment_opts, crop_ratio), 2.0, "crop_ratio"}, {offsetof(zn_augment_opts, flip), 1.5, "flip"},
        {offsetof(zn_augment_opts, jitter), -0.1, "jitter"},        {offsetof(zn_augment_opts, lighting), 7.0, "lighting"},
        {offsetof(zn_augment_opts, erase), -1.0, "erase"},          {offsetof(zn_augment_opts, erase_area), 0.5, "erase_area"},
        {offsetof(zn_augment_opts, erase_ratio), 0.0, "erase_ratio"}};
    unsigned char in[3] = {0}, scratch[64], out[3];
    zn_rng rng = zn_rng_seed(1);
    zn_augment_opts o;
    size_t i;
    for (i = 0; i < sizeof rows / sizeof *rows; ++i) {
        o = zn_augment_opts_rafdb(48);
        memcpy((unsigned char *)&o + rows[i].offset, &rows[i].bad, sizeof(double));
        CHECK_FOR(zn_augment_check(ctx, &o) == ZN_ERROR_ARGUMENT, rows[i].name);
        CHECK_HOLDS(zn_error_text(ctx), rows[i].name);
        zn_error_clear(ctx);
        CHECK(zn_augment_preview(&o, &rng, in, 1, 1, scratch, out) == ZN_ERROR_ARGUMENT);
        CHECK(zn_augment_scratch_bytes(&o, 1, 1) == SIZE_MAX);
    }
    o = zn_augment_opts_rafdb(0);
    CHECK(zn_augment_check(ctx, &o) == ZN_ERROR_ARGUMENT);
    CHECK_HOLDS(zn_error_text(ctx), "size");
    zn_error_clear(ctx);
    o = zn_augment_opts_rafdb(48);
    o.crop_padding = 49;
    CHECK(zn_augment_check(ctx, &o) == ZN_ERROR_ARGUMENT && zn_augment_check(ctx, NULL) == ZN_ERROR_ARGUMENT);
    zn_error_clear(ctx);
}

/* ---- targets ---- */
static void test_mixup(void) {
    enum { ROWS = 9, PER = 700, CLASSES = 4 };
    static zn_real x[ROWS * PER], before[ROWS * PER], target[ROWS * CLASSES];
    static const double alphas[3] = {0.2, 1.0, 6.0};
    uint32_t partner[ROWS];
    int labels[ROWS], rows, i, k, a;
    zn_rng rng = zn_rng_seed(31);
    for (rows = 1; rows <= ROWS; ++rows)
        for (a = 0; a < 20; ++a) {
            size_t per = a % 3 == 0 ? 1 : a % 3 == 1 ? 256 : PER;
            uint32_t seen = 0;
            double share;
            int bad = 0;
            for (i = 0; i < ROWS; ++i) labels[i] = i % CLASSES;
            zn_fill(x, "x", (uint64_t)(a + 100 * rows), ROWS * PER, -1.0, 1.0);
            memcpy(before, x, sizeof x);
            zn_smooth_targets(labels, rows, CLASSES, 0.1, target);
            share = zn_mixup(&rng, 0.2, rows, x, per, target, CLASSES, partner);
            bad += !(share >= 0.0 && share <= 1.0);
            for (i = 0; i < rows; ++i) {
                seen |= UINT32_C(1) << partner[i];
                for (k = 0; k < (int)per; ++k) {
                    double want = share * (double)before[i * (int)per + k] + (1.0 - share) * (double)before[(int)partner[i] * (int)per + k];
                    bad += !(fabs((double)x[i * (int)per + k] - want) < 1e-6);
                }
                for (k = 0; k < CLASSES; ++k) {
                    double want = 0.025 + (k == labels[i] ? 0.9 * share : 0.0) + (k == labels[partner[i]] ? 0.9 * (1.0 - share) : 0.0);
                    bad += !(fabs((double)target[i * CLASSES + k] - want) < 1e-6);
                }
            }
            CHECK(bad == 0 && seen == (UINT32_C(1) << rows) - 1);
            CHECK(memcmp(x + rows * (int)per, before + rows * (int)per, sizeof(zn_real) * (size_t)(ROWS * PER - rows * (int)per)) == 0);
        }
    for (a = 0; a < 3; ++a) { /* moments of Beta(alpha, alpha): mean 1/2, variance 1/(4 (2 alpha + 1)) */
        double sum = 0.0, square = 0.0, variance = 0.25 / (2.0 * alphas[a] + 1.0), count = 20000.0;
        for (i = 0; i < 20000; ++i) {
            double d = zn_mixup(&rng, alphas[a], 1, x, 1, target, 1, partner) - 0.5;
            sum += d;
            square += d * d;
        }
        CHECK(fabs(sum / count) < 4.0 * sqrt(variance / count));
        CHECK(fabs(square / count / variance - 1.0) < 0.03);
    }
    for (i = k = 0; i < 200; ++i) { /* too small for double: one or the other, never NaN */
        double share = zn_mixup(&rng, 1e-4, 1, x, 1, target, 1, partner);
        k += share >= 0.5 ? 1 : 0;
        if (!(share >= 0.0 && share <= 1.0)) break;
    }
    CHECK(i == 200 && k > 60 && k < 140);
    memcpy(before, x, sizeof x);
    CHECK(fabs(zn_mixup(&rng, 0.0, 3, x, 5, target, 2, partner) - 1.0) <= 0.0 && partner[2] == 2 && memcmp(x, before, sizeof x) == 0);
}

/* Only zn_image_resize allocates. */
static void test_memory(void) {
    unsigned char in[12] = {0}, out[27];
    failing f;
    zn_ctx *ctx = failing_context(&f, 1);
    CHECK(zn_image_resize(ctx, in, 2, 2, 0, 0, 2, 2, ZN_FILTER_BICUBIC, out, 3, 3) == ZN_ERROR_MEMORY && zn_error_code(ctx) == ZN_ERROR_MEMORY);
    zn_error_clear(ctx);
    f.left = -1;
    CHECK(zn_image_resize(ctx, in, 2, 2, 0, 0, 2, 2, ZN_FILTER_BICUBIC, out, 3, 3) == ZN_OK && zn_memory_now(ctx) == 0);
    zn_ctx_destroy(ctx);
}

int main(void) {
    const char *build = getenv("BUILD");
    char folder[512];
    zn_ctx *ctx = NULL;
    snprintf(folder, sizeof folder, "%s/tests", build != NULL ? build : "build");
    if (zn_ctx_create(NULL, &ctx) != ZN_OK) return 1;
    test_golden(ctx, folder);
    test_identities(ctx);
    test_bad_arguments(ctx);
    test_input(ctx);
    test_input_refuses(ctx);
    test_odd_pictures(ctx);
    test_scratch_grows();
    test_preview();
    test_threads();
    test_crop_draws();
    test_padded_crop();
    test_erasing();
    test_policies();
    test_lighting();
    test_augment_refuses(ctx);
    test_mixup();
    test_memory();
    zn_ctx_destroy(ctx);
    return check_done();
}
