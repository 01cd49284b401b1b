/* images.h - one image of a data set: its bytes from disk, decoded, its box; and running over all of them in parallel
   with the results handled in order. What pack and check_data share. After tool.h, zennet.h, zennet_image.h, layout.h. */
#ifndef ZENNET_IMAGES_H
#define ZENNET_IMAGES_H

#ifdef _OPENMP
#include <omp.h>
#endif

#define IMAGES_MAX_PIXELS (1L << 26) /* decoding takes up to 15 bytes for each, in every thread */
#define IMAGES_FILE_LIMIT ((size_t)1 << 30) /* bytes of one image file */

typedef struct images_one {
    unsigned char *bytes; /* the file */
    size_t size;
    zim_image image;      /* decoded, RGB */
    char error[ZIM_ERROR_SIZE];
    int starved;          /* the error is the machine's (memory, open files, a failing disk) and says nothing of the image */
    int x, y, width, height; /* the box, within the image */
} images_one;

static void images_drop(images_one *one) {
    free(one->bytes);
    zim_free(&one->image);
    memset(one, 0, sizeof *one);
}
static int images_bad(images_one *one, const char *why) {
    snprintf(one->error, sizeof one->error, "%s", why);
    return -1;
}
static int images_bad_file(images_one *one) {
    one->starved = errno == ENOMEM || errno == EMFILE || errno == ENFILE || errno == EIO;
    return images_bad(one, strerror(errno));
}
static int images_read(images_one *one, const char *path) {
    FILE *file;
    struct stat info;
    if (stat(path, &info) != 0) return images_bad_file(one);
    if (!S_ISREG(info.st_mode)) return images_bad(one, "not a file");
    if (info.st_size == 0) return images_bad(one, "empty");
    if ((uintmax_t)info.st_size > IMAGES_FILE_LIMIT) return images_bad(one, "larger than a gigabyte");
    file = fopen(path, "rb");
    if (file == NULL) return images_bad_file(one);
    one->size = (size_t)info.st_size;
    one->bytes = (unsigned char *)malloc(one->size);
    if (one->bytes == NULL) one->starved = images_bad(one, "out of memory") != 0;
    else if (fread(one->bytes, 1, one->size, file) != one->size) (void)(ferror(file) ? images_bad_file(one) : images_bad(one, "cannot read it all"));
    fclose(file);
    return one->error[0] != '\0' ? -1 : 0;
}
/* The box as told, cut to the image: columns x..x+width, rows y..y+height. */
static int images_box(images_one *one, const lay_sample *s) {
    int right, bottom;
    one->width = one->image.width;
    one->height = one->image.height;
    if (s->width == 0) return 0;
    one->x = s->x > 0 ? s->x : 0;
    one->y = s->y > 0 ? s->y : 0;
    right = s->x > one->width - s->width ? one->width : s->x + s->width;
    bottom = s->y > one->height - s->height ? one->height : s->y + s->height;
    one->width = right - one->x;
    one->height = bottom - one->y;
    return one->width > 0 && one->height > 0 ? 0 : images_bad(one, "the face's box lies outside of the image");
}
/* Reads and decodes a sample. 0, or -1 with one->error. */
static int images_load(images_one *one, const lay_set *set, const lay_sample *sample, const zim_opts *opts) {
    char path[LAY_PATH];
    zim_info info;
    memset(one, 0, sizeof *one);
    if (lay_file(set, sample, path) != 0) return images_bad(one, "its path is too long");
    if (images_read(one, path) != 0) return -1;
    if (zim_probe(one->bytes, one->size, &info, NULL) == 0 && (size_t)info.width * (size_t)info.height > opts->max_pixels) {
        snprintf(one->error, sizeof one->error, "%d x %d pixels, above the limit of %lu (--max-pixels)", info.width, info.height, (unsigned long)opts->max_pixels);
        return -1;
    }
    if (zim_decode(one->bytes, one->size, opts, &one->image, one->error) != 0) {
        one->starved = strstr(one->error, "out of memory") != NULL;
        return -1;
    }
    return images_box(one, sample);
}

/* Called for each sample in order, from one thread at a time; one->error says when it could not be read. Other than 0
   ends the run. An image that the machine could not read ends it too, after a message: left out, it would be missed by nobody. */
typedef int (*images_fn)(size_t index, const lay_sample *sample, images_one *one, void *user);

/* Loads all samples in parallel; memory holds one image per thread. */
static int images_run(const lay_set *set, const zim_opts *opts, const char *what, int threads, images_fn each, void *user) {
    tool_progress progress;
    long i, count = (long)set->count;
    int stop = 0;
    (void)threads;
    tool_progress_begin(&progress, what, "images", (double)count);
    TOOL_OMP(parallel for ordered schedule(dynamic, 1) num_threads(threads))
    for (i = 0; i < count; ++i) {
        images_one one;
        int stopped;
        TOOL_OMP(atomic read)
        stopped = stop;
        memset(&one, 0, sizeof one);
        if (!stopped && images_load(&one, set, &set->samples[i], opts) != 0 && one.error[0] == '\0') (void)images_bad(&one, "cannot be read");
        TOOL_OMP(ordered)
        {
            TOOL_OMP(atomic read)
            stopped = stop;
            if (!stopped && one.error[0] != '\0') {
                tool_progress_clear(&progress);
                if (one.starved) fprintf(stderr, "%s: stopped at %s: %s\n", tool_name, set->samples[i].path, one.error);
                else fprintf(stderr, "unreadable: %s: %s\n", set->samples[i].path, one.error);
            }
            if (!stopped && (one.starved || each((size_t)i, &set->samples[i], &one, user) != 0)) {
                TOOL_OMP(atomic write)
                stop = 1;
            }
            if (!stopped) tool_progress_step(&progress, (double)(i + 1), NULL);
        }
        images_drop(&one);
    }
    tool_progress_end(&progress, (double)count, NULL);
    return stop ? -1 : 0;
}
static int images_threads(long wanted) {
#ifdef _OPENMP
    return wanted > 0 ? (int)wanted : omp_get_max_threads();
#else
    (void)wanted;
    return 1;
#endif
}

#endif
