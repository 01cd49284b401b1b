/* golden_images.h - a folder of image operations' results against this library: FOLDER/index.txt holds lines
   `operation input output arguments...` (# begins a comment), the pictures are binary PPM files.

   All operations must give every byte; shear may be one level off on 0.2 % of them. Include after zennet.h. */
#ifndef ZENNET_TESTS_GOLDEN_IMAGES_H
#define ZENNET_TESTS_GOLDEN_IMAGES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden_picture {
    unsigned char *rgb; /* width * height * 3, or NULL */
    int width, height;
} golden_picture;

/* A number of a PPM header; -1 when there is none. White space and comments before it are skipped. */
static int golden_ppm_number(FILE *file) {
    int c = fgetc(file), value = -1;
    while (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF) c = fgetc(file);
        else
            c = fgetc(file);
    }
    for (; c >= '0' && c <= '9'; c = fgetc(file)) {
        value = (value < 0 ? 0 : value) * 10 + (c - '0');
        if (value > ZN_MAX_IMAGE_SIDE) return -1;
    }
    return value;
}
/* Reads FOLDER/NAME; rgb stays NULL when that is no binary PPM of 8 bits. The caller frees rgb. */
static golden_picture golden_read_ppm(const char *folder, const char *name) {
    golden_picture p = {NULL, 0, 0};
    char path[1024];
    FILE *file;
    if (strlen(folder) + strlen(name) + 2 > sizeof path) return p;
    sprintf(path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (file == NULL) return p;
    if (fgetc(file) == 'P' && fgetc(file) == '6') {
        size_t bytes;
        p.width = golden_ppm_number(file);
        p.height = golden_ppm_number(file);
        bytes = p.width > 0 && p.height > 0 && (double)p.width * p.height < 3e8 && golden_ppm_number(file) == 255 ? (size_t)p.width * (size_t)p.height * 3 : 0;
        if (bytes > 0) p.rgb = (unsigned char *)malloc(bytes);
        if (p.rgb != NULL && fread(p.rgb, 1, bytes, file) != bytes) {
            free(p.rgb);
            p.rgb = NULL;
        }
    }
    fclose(file);
    return p;
}

typedef struct golden_image_kind { /* what was seen of one operation */
    int lines, worst;              /* worst: levels */
    double off;                    /* largest share of values that are not equal */
} golden_image_kind;

/* Applies op to `input` and compares with `expected`; NULL when equal enough, else the reason. */
static const char *golden_image_compare(zn_ctx *ctx, zn_image_op op, const golden_picture *input, const golden_picture *expected, const double *args, int count, golden_image_kind *kind) {
    int w, h, worst = 0, shear = op == ZN_IMAGE_SHEAR_X || op == ZN_IMAGE_SHEAR_Y;
    size_t i, bytes, off = 0;
    unsigned char *out;
    if (zn_image_op_size(ctx, op, input->width, input->height, args, count, &w, &h) != ZN_OK) return zn_error_text(ctx);
    if (w != expected->width || h != expected->height) return "the expected picture has another size";
    bytes = (size_t)w * (size_t)h * 3;
    out = (unsigned char *)malloc(bytes);
    if (out == NULL) return "out of memory";
    if (zn_image_apply(ctx, op, input->rgb, input->width, input->height, args, count, out) != ZN_OK) {
        free(out);
        return zn_error_text(ctx);
    }
    for (i = 0; i < bytes; ++i) {
        int d = abs((int)out[i] - (int)expected->rgb[i]);
        if (d > worst) worst = d;
        off += d > 0;
    }
    free(out);
    if (worst > kind->worst) kind->worst = worst;
    if ((double)off / (double)bytes > kind->off) kind->off = (double)off / (double)bytes;
    if (shear && worst <= 1 && (double)off <= 0.002 * (double)bytes) return NULL;
    return off == 0 ? NULL : "the pictures differ";
}
/* One line of the index: NULL when it passes or holds nothing, else the reason. */
static const char *golden_image_line(zn_ctx *ctx, const char *folder, char *line, golden_image_kind *kinds) {
    char *words[16], *word = strtok(line, " \t\r\n");
    const char *reason;
    golden_picture input, expected;
    double args[16];
    zn_image_op op;
    int count = 0, i;
    for (; word != NULL && count < 16; word = strtok(NULL, " \t\r\n")) words[count++] = word;
    if (count == 0 || words[0][0] == '#') return NULL;
    op = zn_image_op_find(words[0]);
    if (op == ZN_IMAGE_OPS) return "unknown operation";
    ++kinds[op].lines;
    if (count < 3) return "operation, input and output expected";
    for (i = 3; i < count; ++i) {
        char *end;
        args[i - 3] = strtod(words[i], &end);
        if (*end != '\0') return "an argument is not a number";
    }
    input = golden_read_ppm(folder, words[1]);
    expected = golden_read_ppm(folder, words[2]);
    reason = input.rgb == NULL || expected.rgb == NULL ? "a picture cannot be read" : golden_image_compare(ctx, op, &input, &expected, args, count - 3, &kinds[op]);
    free(input.rgb);
    free(expected.rgb);
    return reason;
}

/* Runs FOLDER/index.txt. 0: all lines pass; 1: skipped, there is no index or nothing in it; -1: failed. summary (of
   size bytes) says the worst error of each operation, or why. */
static int golden_folder(zn_ctx *ctx, const char *folder, char *summary, size_t size) {
    golden_image_kind kinds[ZN_IMAGE_OPS];
    char path[1024], line[2048], first[512] = "";
    int lines = 0, bad = 0, number = 0, op;
    size_t used = 0;
    FILE *file;
    memset(kinds, 0, sizeof kinds);
    snprintf(path, sizeof path, "%s/index.txt", folder);
    file = fopen(path, "r");
    snprintf(summary, size, "%s", file == NULL ? "no index.txt that can be read" : "index.txt holds no lines");
    if (file == NULL) return 1;
    while (fgets(line, sizeof line, file) != NULL) {
        char name[64];
        const char *reason;
        snprintf(name, sizeof name, "%.60s", line);
        name[strcspn(name, "\r\n")] = '\0';
        ++number;
        reason = golden_image_line(ctx, folder, line, kinds);
        lines += line[strspn(line, " \t\r\n")] != '\0' && line[strspn(line, " \t")] != '#';
        if (reason == NULL) continue;
        if (bad++ == 0) snprintf(first, sizeof first, "; line %d (%s): %.300s", number, name, reason);
        zn_error_clear(ctx);
    }
    fclose(file);
    if (lines == 0) return 1;
    used = (size_t)snprintf(summary, size, "images %d, bad %d", lines, bad);
    for (op = 0; op < ZN_IMAGE_OPS; ++op)
        if (kinds[op].lines > 0 && used < size) {
            used += (size_t)snprintf(summary + used, size - used, ", %s %d", zn_image_op_name((zn_image_op)op), kinds[op].worst);
            if (kinds[op].off > 0.0 && used < size) used += (size_t)snprintf(summary + used, size - used, " on %.2f%%", 100.0 * kinds[op].off);
        }
    if (used < size) snprintf(summary + used, size - used, "%s", first);
    return bad > 0 ? -1 : 0;
}

#endif
