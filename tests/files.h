/* files.h - small files as a whole, for tests that damage them. After check.h. */
#ifndef ZENNET_TESTS_FILES_H
#define ZENNET_TESTS_FILES_H

#if defined(__GNUC__) || defined(__clang__)
#define FILES_API static __attribute__((unused)) /* a test need not use both */
#else
#define FILES_API static
#endif

/* The first 4 MiB of a file, to be freed; *out_size is 0 when there is none. */
FILES_API unsigned char *file_read(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = (unsigned char *)malloc((size_t)4 << 20);
    *out_size = file != NULL && bytes != NULL ? fread(bytes, 1, (size_t)4 << 20, file) : 0;
    if (file != NULL) fclose(file);
    return bytes;
}
/* Counts as a failed check when it cannot. */
FILES_API void file_write(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    int good = file != NULL && fwrite(bytes, 1, size, file) == size;
    if (file != NULL) good &= fclose(file) == 0;
    if (!good) CHECK_FOR(good, path);
}

#endif
