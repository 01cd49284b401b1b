/* convert.c - turns a picture into PNG, PPM or JPEG, or says what it is.

     build/data_tools/convert face.jpg face.png --orient
     build/data_tools/convert --info *.jpg
     build/data_tools/convert broken.jpg rescued.png --salvage

   Reads JPEG, PNG, PNM and BMP; the ending of OUT (.png .ppm .jpg .jpeg) says what is written. Everything is done by
   zennet_image.h; this is the way to try it on a file that a training run complains about. */
#include "tool.h"
#define ZENNET_IMAGE_IMPLEMENTATION
#include "zennet_image.h"

#define CONVERT_FILES 4096

typedef enum convert_kind { CONVERT_NONE, CONVERT_PNG, CONVERT_PPM, CONVERT_JPEG } convert_kind;

static convert_kind convert_ending(const char *path) {
    static const struct {
        const char *ending;
        convert_kind kind;
    } known[] = {{".png", CONVERT_PNG}, {".ppm", CONVERT_PPM}, {".jpg", CONVERT_JPEG}, {".jpeg", CONVERT_JPEG}};
    size_t length = strlen(path), i, k, n;
    for (i = 0; i < sizeof known / sizeof known[0]; ++i) {
        n = strlen(known[i].ending);
        if (length <= n) continue;
        for (k = 0; k < n && (path[length - n + k] | 32) == (known[i].ending[k] | 32); ++k) {}
        if (k == n) return known[i].kind;
    }
    return CONVERT_NONE;
}

static int convert_failed(const char *path, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", tool_name, path, why);
    return TOOL_FAILED;
}

/* Gray as three channels, for PPM and JPEG. */
static int convert_spread(zim_image *image) {
    size_t pixels = (size_t)image->width * (size_t)image->height, i;
    unsigned char *rgb = pixels > SIZE_MAX / 3 ? NULL : (unsigned char *)ZIM_MALLOC(3 * pixels);
    if (rgb == NULL) return -1;
    for (i = 0; i < 3 * pixels; ++i) rgb[i] = image->pixels[i / 3];
    ZIM_FREE(image->pixels);
    image->pixels = rgb;
    image->channels = 3;
    return 0;
}
static int convert_one(const char *in, const char *out, const zim_opts *opts, int quality) {
    char error[ZIM_ERROR_SIZE] = "";
    convert_kind kind = convert_ending(out);
    zim_image image;
    int bad;
    if (zim_load(in, opts, &image, error) != 0) return convert_failed(in, error);
    if (image.damaged) fprintf(stderr, "%s: %s: damaged: %s\n", tool_name, in, error);
    if (image.channels == 1 && kind != CONVERT_PNG && convert_spread(&image) != 0) {
        zim_free(&image);
        return convert_failed(in, "out of memory");
    }
    if (kind == CONVERT_PNG) bad = zim_save_png(out, image.pixels, image.width, image.height, image.channels, error);
    else if (kind == CONVERT_PPM) bad = zim_save_ppm(out, image.pixels, image.width, image.height, error);
    else bad = zim_save_jpeg(out, image.pixels, image.width, image.height, quality, error);
    zim_free(&image);
    return bad ? convert_failed(out, error) : TOOL_DONE;
}

/* What a file is, by the headers in its first bytes. */
static int convert_probe(const char *path, zim_info *info, char *error) {
    static unsigned char head[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(head, 1, sizeof head, file) : 0;
    int bad = file == NULL || ferror(file);
    if (bad) snprintf(error, ZIM_ERROR_SIZE, "cannot read: %s", strerror(errno));
    if (file != NULL) fclose(file);
    memset(info, 0, sizeof *info);
    return bad ? -1 : zim_probe(head, size, info, error);
}
static int convert_info(const char *path, int json) {
    char error[ZIM_ERROR_SIZE];
    zim_info info;
    int bad = convert_probe(path, &info, error);
    if (!json) {
        if (bad) return convert_failed(path, error);
        printf("%s %d x %d, %d channels, %d bits, orientation %d: %s\n", zim_format_text(info.format), info.width, info.height, info.channels, info.depth, info.orientation, path);
        return TOOL_DONE;
    }
    printf("{\"file\":");
    tool_json_text(stdout, path);
    if (bad) {
        printf(",\"error\":");
        tool_json_text(stdout, error);
        printf("}\n");
        return TOOL_FAILED;
    }
    printf(",\"format\":\"%s\",\"width\":%d,\"height\":%d,\"channels\":%d,\"depth\":%d,\"orientation\":%d}\n", zim_format_text(info.format), info.width, info.height,
           info.channels, info.depth, info.orientation);
    return TOOL_DONE;
}

int main(int argc, char **argv) {
    static const char *words[CONVERT_FILES];
    int count, info = 0, json = 0, orient = 0, salvage = 0, gray = 0, alpha = 0, status, i;
    long quality = 90, max_pixels = 0;
    zim_opts opts = zim_opts_default();
    tool_option options[] = {
        {"info", TOOL_FLAG, &info, "", "only say what the files are", 0, 0},
        {"json", TOOL_FLAG, &json, "", "with --info: a line of JSON per file", 0, 0},
        {"orient", TOOL_FLAG, &orient, "", "turn the picture upright by its EXIF orientation", 0, 0},
        {"salvage", TOOL_FLAG, &salvage, "", "of a damaged file keep what can be read", 0, 0},
        {"gray", TOOL_FLAG, &gray, "", "without colour", 0, 0},
        {"alpha", TOOL_FLAG, &alpha, "", "keep transparency (PNG only)", 0, 0},
        {"quality", TOOL_INT, &quality, "N", "of JPEG", 1, 100},
        {"max-pixels", TOOL_INT, &max_pixels, "N", "refuse larger pictures", 1, 2e9}};
    max_pixels = (long)opts.max_pixels;
    status = tool_parse(argc, argv, "IN OUT.(png|ppm|jpg) | --info FILE...", "Turns a picture into PNG, PPM or JPEG, or says what it is.", options, (int)(sizeof options / sizeof options[0]),
                        words, CONVERT_FILES, &count);
    if (status != TOOL_GO) return status;
    if (info) {
        if (count == 0) return tool_misused("--info wants files", "");
        for (status = TOOL_DONE, i = 0; i < count; ++i)
            if (convert_info(words[i], json) != TOOL_DONE) status = TOOL_FAILED;
        return status;
    }
    if (json) return tool_misused("--json goes with --info", "");
    if (count != 2) return tool_misused("IN and OUT are wanted", "");
    if (convert_ending(words[1]) == CONVERT_NONE) return tool_misused("OUT must end in .png, .ppm, .jpg or .jpeg, not ", words[1]);
    if (alpha && (gray || convert_ending(words[1]) != CONVERT_PNG)) return tool_misused("--alpha goes with colours and PNG", "");
    opts.channels = gray ? 1 : alpha ? 4 : 3;
    opts.orient = orient;
    opts.salvage = salvage;
    opts.max_pixels = (size_t)max_pixels;
    return convert_one(words[0], words[1], &opts, (int)quality);
}
