/* layout.h - recognises how a labelled image set lies on disk and lists its images with their labels.

   lay_scan looks at a folder (or a list file), tells which layout it is, collects every image with its label and split,
   and gives the classes their names. Labels come from a folder's name or a list file only. Where the meaning of a label
   is not certain it refuses, and the message names the flag that decides. Pixels are never looked at here.

     FOLDERS  class folders, with or without split folders (train, test or valid or val..., RAF_train) around them
     RAF      RAF-DB as its authors give it: EmoLabel/list_patition_label.txt (or partition), Image/aligned
     NPY      AffectNet 2021: train_set/images/N.jpg, train_set/annotations/N_exp.npy
     BOXES    AffectNet 2017: training.csv, validation.csv with face boxes
     NUMBERS  AffectNet as number,exp,val,aro
     CSV      any csv with a header that has an image and a label column
     LIST     text lines PATH LABEL

   Needs POSIX (folders). Include tool.h and zennet.h (zn_split) before this. */
#ifndef ZENNET_LAYOUT_H
#define ZENNET_LAYOUT_H

#include <dirent.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>

#define LAY_PATH 4096
#define LAY_DEPTH 16            /* folders within folders */
#define LAY_LINE ((size_t)1 << 20) /* longest line of a list file */
#define LAY_FIELDS 64

/* ---- texts and lists of them ---- */
typedef struct lay_list {
    char **items; /* owned */
    size_t count, capacity;
} lay_list;

static int lay_grow(void **items, size_t *capacity, size_t need, size_t size) {
    size_t bigger = *capacity < 16 ? 16 : *capacity * 2;
    void *fresh;
    if (need <= *capacity) return 0;
    if (bigger < need) bigger = need;
    fresh = bigger > SIZE_MAX / size ? NULL : realloc(*items, bigger * size);
    if (fresh == NULL) return -1;
    *items = fresh;
    *capacity = bigger;
    return 0;
}
static int lay_list_add(lay_list *list, const char *text) {
    void *items = list->items;
    size_t size = strlen(text) + 1;
    char *copy;
    if (lay_grow(&items, &list->capacity, list->count + 1, sizeof *list->items) != 0) return -1;
    list->items = (char **)items;
    copy = (char *)malloc(size);
    if (copy == NULL) return -1;
    memcpy(copy, text, size);
    list->items[list->count++] = copy;
    return 0;
}
TOOL_API void lay_list_free(lay_list *list) {
    while (list->count > 0) free(list->items[--list->count]);
    free(list->items);
    memset(list, 0, sizeof *list);
}
static int lay_by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int lay_lower(int c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }
static int lay_same(const char *a, const char *b) { /* whatever the case */
    while (*a != '\0' && lay_lower(*a) == lay_lower(*b)) ++a, ++b;
    return *a == *b;
}
static int lay_begins(const char *text, const char *start) {
    while (*start != '\0' && lay_lower(*text) == *start) ++text, ++start;
    return *start == '\0';
}
/* The end of a name from its last dot, or "". */
static const char *lay_extension(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot == NULL || strchr(dot, '/') != NULL ? "" : dot + 1;
}
static int lay_in(const char *text, const char *const *words) {
    for (; *words != NULL; ++words)
        if (lay_same(text, *words)) return 1;
    return 0;
}
/* Image files by name; those of kinds that cannot be read are among them, so that they are reported and not overlooked. */
static int lay_is_image(const char *name) {
    static const char *const extensions[] = {"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "ppm", "pgm", "pbm", "pnm", "gif", "tif", "tiff", "webp", NULL};
    return lay_in(lay_extension(name), extensions);
}

/* Sorted names in a folder, without hidden files and what systems leave behind. -1: it cannot be read (errno). */
TOOL_API int lay_read_folder(const char *path, lay_list *out) {
    static const char *const junk[] = {"__MACOSX", "Thumbs.db", "desktop.ini", NULL};
    DIR *folder = opendir(path);
    struct dirent *entry;
    int bad = 0;
    if (folder == NULL) return -1;
    while (!bad && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && !lay_in(entry->d_name, junk)) bad = lay_list_add(out, entry->d_name);
    closedir(folder);
    if (bad) errno = ENOMEM;
    else if (out->count > 1) qsort(out->items, out->count, sizeof *out->items, lay_by_text);
    return bad;
}

/* ---- what is known about expressions ---- */
enum { LAY_EXPRESSIONS = 8 };
/* In RAF-DB's order 1..7, then contempt. */
static const char *const lay_expressions[LAY_EXPRESSIONS] = {"Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral", "Contempt"};
/* AffectNet's 0..7. RAF-DB in folders 0..6 follows it. */
static const int lay_affectnet[LAY_EXPRESSIONS] = {6, 3, 4, 0, 1, 2, 5, 7};
/* RAF-DB's counts 1..7, train and test: no two alike, so they tell what a folder's number means. */
static const long lay_raf_counts[2][7] = {{1290, 281, 717, 4772, 1982, 705, 2524}, {329, 74, 160, 1185, 478, 162, 680}};

static int lay_expression(const char *word) { /* -1: none */
    static const struct { const char *word; int expression; } words[] = {
        {"surprise", 0}, {"surprised", 0}, {"fear", 1}, {"fearful", 1}, {"afraid", 1}, {"scared", 1}, {"disgust", 2}, {"disgusted", 2},
        {"happiness", 3}, {"happy", 3}, {"joy", 3}, {"sadness", 4}, {"sad", 4}, {"anger", 5}, {"angry", 5}, {"neutral", 6}, {"neutrality", 6},
        {"contempt", 7}, {"contemptuous", 7}};
    size_t i;
    for (i = 0; i < sizeof words / sizeof words[0]; ++i)
        if (lay_same(word, words[i].word)) return words[i].expression;
    return -1;
}

/* ---- what the caller says and gets ---- */
typedef struct lay_opts {
    const char *layout;  /* auto folders raf affectnet csv list */
    const char *labels;  /* NULL, raf, affectnet, a file with a name a line, or a,b,c; each may be KEY=NAME */
    const char *images;  /* NULL, or where the images lie: a folder, or aligned/original for RAF-DB */
    const char *fields;  /* NULL, or what a list's lines hold: words of path label split -, comma between */
    const char *test;    /* NULL, or the split folder that is the test set */
    long classes;        /* 0: as many as are there */
    long base;           /* -1: told by the numbers; else the number of the first label */
    long every;          /* 0, or every Nth file of a class goes to test */
} lay_opts;

typedef struct lay_sample {
    char *path;              /* below the set's root */
    int label;               /* class; the key's number while collecting */
    zn_split split;
    int x, y, width, height; /* face box as told; width 0: the whole image */
} lay_sample;

typedef enum lay_kind { LAY_NONE, LAY_FOLDERS, LAY_RAF, LAY_NPY, LAY_BOXES, LAY_NUMBERS, LAY_CSV, LAY_LIST } lay_kind;

typedef struct lay_set {
    lay_opts opts;
    lay_kind kind;
    char root[LAY_PATH];  /* the folder that paths are below */
    char layout[256];     /* the layout in words */
    char base[LAY_PATH];  /* where below root it was recognised: "" or "DATASET/" */
    lay_list names;       /* class names by label */
    lay_list keys;        /* what the folders or lists call them */
    int *key_class;       /* label of each key; -1: dropped */
    lay_sample *samples;
    size_t count, capacity;
    lay_list notes;       /* what the person should know */
    lay_list problems;    /* "PATH: REASON" of images that are listed but cannot be had */
    long dropped;         /* rows or files left out on purpose (no expression, no face) */
    int has_splits;       /* the layout itself says what is test */
    int without_contempt; /* it is among the dropped */
    size_t missing;       /* images that are listed and not there */
    char looked[2 * LAY_PATH]; /* one of the places where the first of them was looked for */
    char error[1024];
} lay_set;

TOOL_API lay_opts lay_opts_default(void) {
    lay_opts o;
    memset(&o, 0, sizeof o);
    o.layout = "auto";
    o.base = -1;
    return o;
}
TOOL_API void lay_free(lay_set *s) {
    size_t i;
    for (i = 0; i < s->count; ++i) free(s->samples[i].path);
    free(s->samples);
    free(s->key_class);
    lay_list_free(&s->names);
    lay_list_free(&s->keys);
    lay_list_free(&s->notes);
    lay_list_free(&s->problems);
    memset(s, 0, sizeof *s);
}

#if defined(__GNUC__) || defined(__clang__)
#define LAY_PRINTF __attribute__((format(printf, 2, 3)))
#else
#define LAY_PRINTF
#endif
static int lay_fail(lay_set *s, const char *format, ...) LAY_PRINTF;
static int lay_fail(lay_set *s, const char *format, ...) { /* the first reason stays */
    va_list args;
    if (s->error[0] != '\0') return -1;
    va_start(args, format);
    vsnprintf(s->error, sizeof s->error, format, args);
    va_end(args);
    return -1;
}
static int lay_no_memory(lay_set *s) { return lay_fail(s, "out of memory"); }
static int lay_note(lay_set *s, const char *format, ...) LAY_PRINTF;
static int lay_note(lay_set *s, const char *format, ...) {
    char line[LAY_PATH + 256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return lay_list_add(&s->notes, line) == 0 ? 0 : lay_no_memory(s);
}
TOOL_API int lay_problem(lay_set *s, const char *path, const char *reason) {
    char line[2 * LAY_PATH];
    snprintf(line, sizeof line, "%.4000s: %.4000s", path, reason);
    return lay_list_add(&s->problems, line) == 0 ? 0 : lay_no_memory(s);
}

/* root/base/name... as a path on disk; -1 (and the error) when it is too long. The parts bring their own slashes. */
static int lay_path(lay_set *s, char out[LAY_PATH], const char *a, const char *b, const char *c, const char *d) {
    int length = snprintf(out, LAY_PATH, "%s%s%s%s", a, b, c, d);
    return length >= 0 && length < LAY_PATH ? 0 : lay_fail(s, "%s%s%s%s: the path is too long", a, b, c, d);
}
static int lay_kind_of(const char *path) { /* 0 nothing there, 1 file, 2 folder */
    struct stat info;
    return stat(path, &info) != 0 ? 0 : S_ISDIR(info.st_mode) ? 2 : 1;
}
/* The same for a path below the root; lists may also hold absolute ones. */
static int lay_there(const lay_set *s, const char *a, const char *b, const char *c) {
    char path[LAY_PATH];
    int length = snprintf(path, sizeof path, "%s%s%s%s", *a == '/' ? "" : s->root, a, b, c);
    return length < 0 || length >= LAY_PATH ? 0 : lay_kind_of(path);
}

static int lay_key(lay_set *s, const char *text) { /* -1: out of memory */
    size_t i = s->count > 0 ? (size_t)s->samples[s->count - 1].label : 0;
    if (i < s->keys.count && strcmp(s->keys.items[i], text) == 0) return (int)i; /* neighbours are often alike */
    for (i = 0; i < s->keys.count; ++i)
        if (strcmp(s->keys.items[i], text) == 0) return (int)i;
    if (s->keys.count >= ZN_MAX_CLASSES) return lay_fail(s, "more than %d different labels: is the label column the right one? --fields says which it is", ZN_MAX_CLASSES);
    return lay_list_add(&s->keys, text) == 0 ? (int)s->keys.count - 1 : lay_no_memory(s);
}
static lay_sample *lay_add(lay_set *s, const char *path, const char *label, zn_split split) {
    void *items = s->samples;
    lay_sample *sample;
    int key = lay_key(s, label);
    size_t size = strlen(path) + 1;
    if (key < 0) return NULL;
    if (lay_grow(&items, &s->capacity, s->count + 1, sizeof *s->samples) == 0) {
        s->samples = (lay_sample *)items;
        sample = &s->samples[s->count];
        memset(sample, 0, sizeof *sample);
        sample->label = key;
        sample->split = split;
        sample->path = (char *)malloc(size);
        if (sample->path != NULL) {
            memcpy(sample->path, path, size);
            ++s->count;
            return sample;
        }
    }
    (void)lay_no_memory(s);
    return NULL;
}

/* A label as csv files and arrays write it: "3", " 3", "3.0". 0 when it is no whole number. */
static int lay_number(const char *text, long *out) {
    char *end;
    double value = strtod(text, &end);
    while (*end == ' ' || *end == '\t') ++end;
    if (end == text || *end != '\0' || !(value >= -1e9 && value <= 1e9) || floor(value) < value) return 0;
    *out = (long)value;
    return 1;
}

/* ---- lines and csv records ---- */
typedef struct lay_reader {
    FILE *file;
    char path[LAY_PATH]; /* for messages */
    char *text;          /* the line, without its end */
    size_t length, capacity;
    long line;
    char *field[LAY_FIELDS];
    int fields;
} lay_reader;

static int lay_open(lay_set *s, lay_reader *r, const char *path) {
    memset(r, 0, sizeof *r);
    snprintf(r->path, sizeof r->path, "%s", path);
    r->file = fopen(path, "rb");
    return r->file != NULL ? 0 : lay_fail(s, "%s: cannot open: %s", path, strerror(errno));
}
static void lay_close(lay_reader *r) {
    if (r->file != NULL) fclose(r->file);
    free(r->text);
    memset(r, 0, sizeof *r);
}
static int lay_bad_line(lay_set *s, const lay_reader *r, const char *what) { return lay_fail(s, "%s: line %ld: %s", r->path, r->line, what); }
/* Reads a line behind what r->text holds already. 1, 0 at the end of the file, -1. */
static int lay_append_line(lay_set *s, lay_reader *r) {
    int c = 0, any = 0;
    while ((c = getc(r->file)) != EOF) {
        void *items = r->text;
        if (!any++) ++r->line;
        if (c == 0) return lay_bad_line(s, r, "not a text file: it holds a byte 0");
        if (r->length + 2 >= LAY_LINE) return lay_bad_line(s, r, "longer than a megabyte");
        if (lay_grow(&items, &r->capacity, r->length + 2, 1) != 0) return lay_no_memory(s);
        r->text = (char *)items;
        if (c == '\n') break;
        r->text[r->length++] = (char)c;
    }
    if (!any) return ferror(r->file) ? lay_bad_line(s, r, strerror(errno)) : 0;
    if (r->length > 0 && r->text[r->length - 1] == '\r') --r->length;
    r->text[r->length] = '\0';
    if (r->line == 1 && strncmp(r->text, "\xef\xbb\xbf", 3) == 0) memmove(r->text, r->text + 3, (r->length -= 3) + 1);
    return 1;
}
/* The next line that is not blank, cut into fields at blanks. */
static int lay_next_words(lay_set *s, lay_reader *r) {
    int status;
    do {
        r->length = 0;
        status = lay_append_line(s, r);
    } while (status == 1 && strspn(r->text, " \t") == r->length);
    if (status == 1) {
        char *at = r->text + strspn(r->text, " \t");
        r->fields = 0;
        while (*at != '\0' && r->fields < LAY_FIELDS) {
            r->field[r->fields++] = at;
            at += strcspn(at, " \t");
            if (*at != '\0') *at++ = '\0';
            at += strspn(at, " \t");
        }
        if (*at != '\0') return lay_bad_line(s, r, "more fields than a list has");
    }
    return status;
}
/* Cuts the line at commas outside quotes; "" within quotes is a quote, blanks around a field are none of it. 0: a quote is
   still open. */
static int lay_cut_csv(lay_reader *r, char *scratch) {
    char *from = scratch, *to = r->text, *start;
    memcpy(scratch, r->text, r->length + 1);
    r->fields = 0;
    for (;;) {
        int quoted;
        from += strspn(from, " \t");
        quoted = *from == '"';
        if (r->fields == LAY_FIELDS) return 1;
        r->field[r->fields++] = to;
        if (quoted) {
            for (++from; *from != '\0' && !(*from == '"' && from[1] != '"'); ++from) {
                if (*from == '"') ++from;
                *to++ = *from;
            }
            if (*from == '\0') return 0;
            ++from;
        }
        for (start = to; *from != '\0' && *from != ',';) *to++ = *from++;
        while (to > start && (to[-1] == ' ' || to[-1] == '\t')) --to;
        *to++ = '\0';
        if (*from++ == '\0') return 1;
    }
}
/* The next csv record that is not blank; a quoted field may hold line ends. 1, 0 at the end of the file, -1. */
static int lay_next_record(lay_set *s, lay_reader *r) {
    int status, whole;
    char *scratch, *copy;
    size_t length;
    do {
        r->length = 0;
        status = lay_append_line(s, r);
    } while (status == 1 && r->length == 0);
    for (whole = 0; status == 1 && !whole;) {
        length = r->length;
        scratch = (char *)malloc(2 * (length + 1));
        if (scratch == NULL) return lay_no_memory(s);
        copy = scratch + length + 1;
        memcpy(copy, r->text, length + 1);
        whole = lay_cut_csv(r, scratch);
        if (!whole) memcpy(r->text, copy, length + 1);
        free(scratch);
        if (whole) break;
        r->text[r->length++] = '\n';
        if (lay_append_line(s, r) != 1) return lay_bad_line(s, r, "a quoted field does not end");
    }
    return status;
}
static int lay_column(const lay_reader *r, const char *const *names) { /* -1: none */
    int i;
    for (; *names != NULL; ++names)
        for (i = 0; i < r->fields; ++i)
            if (lay_same(r->field[i], *names)) return i;
    return -1;
}

/* ---- .npy scalars ---- */
static uint64_t lay_bits(const unsigned char *p, int bytes, int big) {
    uint64_t bits = 0;
    int i;
    for (i = 0; i < bytes; ++i) bits = bits << 8 | p[big ? i : bytes - 1 - i];
    return bits;
}
/* Half, single and double; the first is what expression files are sometimes shrunk to. */
static double lay_float(uint64_t bits, int bytes) {
    float single;
    double value;
    uint32_t word = (uint32_t)bits;
    if (bytes == 8) memcpy(&value, &bits, 8);
    else if (bytes == 4) {
        memcpy(&single, &word, 4);
        value = (double)single;
    } else {
        int exponent = (int)(bits >> 10 & 31);
        value = exponent == 31 ? HUGE_VAL : ldexp((double)(bits & 1023) + (exponent > 0 ? 1024 : 0), (exponent > 0 ? exponent : 1) - 25);
        if (bits >> 15 & 1) value = -value;
    }
    return value;
}
/* Text after 'key': in an array's header. */
static const char *lay_npy_entry(const char *header, const char *key) {
    const char *at = strstr(header, key);
    if (at == NULL) return NULL;
    at += strlen(key);
    at += strspn(at, "'\" \t:");
    return at;
}
/* A numeric string of fixed width: bytes, or UTF-32 characters. */
static int lay_npy_text(const unsigned char *p, size_t size, int wide, int big, double *out) {
    char text[32], *end;
    size_t i, n = wide ? size / 4 : size;
    for (i = 0; i < n && i + 1 < sizeof text; ++i) {
        uint64_t c = wide ? lay_bits(p + 4 * i, 4, big) : p[i];
        if (c == 0) break;
        if (c > 126) return 0;
        text[i] = (char)c;
    }
    text[i] = '\0';
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}
/* The one value of an array file in memory. NULL when well, else what is wrong. */
TOOL_API const char *lay_npy_scalar(const unsigned char *bytes, size_t size, double *out) {
    char header[1024];
    size_t head, length, item;
    const char *at;
    char *end;
    char order, type;
    int big, signed_bits;
    uint64_t bits;
    const unsigned char *data;
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) return "not an .npy file";
    if (bytes[6] < 1 || bytes[6] > 3) return "an .npy version that is not 1 to 3";
    head = bytes[6] == 1 ? 10 : 12;
    if (size < head) return "cut off";
    length = (size_t)lay_bits(bytes + 8, bytes[6] == 1 ? 2 : 4, 0);
    if (length > size - head || length >= sizeof header) return "its header is cut off or too long";
    memcpy(header, bytes + head, length);
    header[length] = '\0';
    data = bytes + head + length;
    size -= head + length;
    at = lay_npy_entry(header, "'shape'");
    if (at == NULL || *at++ != '(') return "its header has no shape";
    for (; *at != ')'; ++at)
        if (*at == '\0' || (*at >= '0' && *at <= '9' && (*at != '1' || (at[1] >= '0' && at[1] <= '9')))) return "it holds more than one value";
        else if (strchr("1, ", *at) == NULL) return "its shape is not understood";
    at = lay_npy_entry(header, "'descr'");
    if (at == NULL) return "its header has no type";
    order = strchr("<>|=", *at) != NULL && *at != '\0' ? *at++ : '=';
    type = *at;
    if (type == 'O') return "a pickled object, which is not read (it could run code)";
    if (type == '\0' || strchr("iufSUb?", type) == NULL) return "its type is not a number or a text";
    item = (size_t)strtoul(at + 1, &end, 10);
    if (end == at + 1) item = type == '?' ? 1 : 0;
    big = order == '>';
    if (type == 'U') item = item > 64 ? 0 : item * 4;
    if (item < 1 || item > 256 || item > size) return "it is cut off, or its type has no size";
    if (type == 'U' || type == 'S') return lay_npy_text(data, item, type == 'U', big, out) ? NULL : "its text is not a number";
    if (item > 8 || (item & (item - 1)) != 0 || (type == 'f' && item == 1)) return "a number of a size that is not known";
    bits = lay_bits(data, (int)item, big);
    if (type == 'f') {
        *out = lay_float(bits, (int)item);
        return NULL;
    }
    signed_bits = type == 'i' && (bits >> (8 * item - 1) & 1);
    if (signed_bits && item < 8) bits |= ~(uint64_t)0 << (8 * item);
    *out = signed_bits ? -(double)(~bits + 1) : (double)bits;
    return NULL;
}

/* ---- collecting: each layout adds its samples, labelled by key ---- */
static const char *const lay_train_words[] = {"train", "training", "train_set", "trainset", NULL};
static const char *const lay_test_words[] = {"test", "testing", "test_set", "testset", "val", "valid", "validation", "val_set", "valid_set", "valset", "eval", "evaluation", NULL};

static int lay_split_word(const char *word) { return lay_in(word, lay_train_words) ? ZN_SPLIT_TRAIN : lay_in(word, lay_test_words) ? ZN_SPLIT_TEST : -1; }
/* Split by the words within a name (RAF_train, labels-val.csv): -1 when none says it, or they say both. */
static int lay_split_within(const char *name) {
    char word[32];
    int split = -1, other;
    while (*name != '\0') {
        size_t n = 0;
        for (; lay_lower(*name) >= 'a' && lay_lower(*name) <= 'z'; ++name)
            if (n + 1 < sizeof word) word[n++] = *name;
        word[n] = '\0';
        other = lay_split_word(word);
        if (other >= 0 && split >= 0 && other != split) return -1;
        if (other >= 0) split = other;
        if (*name != '\0') ++name;
    }
    return split;
}
/* Split by a list file's name, its beginning first (train_labels.csv, validation.csv, test.txt): -1 when it does not say. */
static int lay_split_of(const char *name) {
    const char *slash = strrchr(name, '/');
    if (slash != NULL) name = slash + 1;
    if (lay_begins(name, "train")) return ZN_SPLIT_TRAIN;
    return lay_begins(name, "test") || lay_begins(name, "val") || lay_begins(name, "eval") ? ZN_SPLIT_TEST : lay_split_within(name);
}

/* A folder's names below root, in a fresh list; `below` ends with a slash or is "". */
static int lay_names_in(lay_set *s, const char *below, lay_list *out) {
    char path[LAY_PATH];
    memset(out, 0, sizeof *out);
    if (lay_path(s, path, s->root, below, "", "") != 0) return -1;
    return lay_read_folder(path, out) == 0 ? 0 : lay_fail(s, "%s: cannot read: %s", path, strerror(errno));
}
/* Adds every image in and under a folder. Links that lead back up end at LAY_DEPTH. */
static int lay_walk(lay_set *s, const char *below, const char *key, zn_split split, int depth) {
    lay_list names;
    char path[LAY_PATH];
    size_t i;
    int bad = 0;
    if (depth > LAY_DEPTH) return lay_fail(s, "%s%s: more than %d folders deep: does a link lead back to it?", s->root, below, LAY_DEPTH);
    bad = lay_names_in(s, below, &names);
    for (i = 0; i < names.count && !bad; ++i) {
        int image = lay_is_image(names.items[i]), kind;
        if (image && lay_path(s, path, below, names.items[i], "", "") != 0) bad = -1;
        if (bad) break;
        kind = image ? 1 : lay_there(s, below, names.items[i], ""); /* an image that is a folder is found out when it is read */
        if (kind == 1 && image) bad = lay_add(s, path, key, split) == NULL;
        else if (kind == 2) bad = lay_path(s, path, below, names.items[i], "/", "") != 0 || lay_walk(s, path, key, split, depth + 1) != 0;
    }
    lay_list_free(&names);
    return bad ? -1 : 0;
}

/* Subfolders of a folder; 0 when it cannot be read. */
static size_t lay_count_folders(lay_set *s, const char *below, size_t *out_images) {
    lay_list names;
    size_t i, folders = 0;
    *out_images = 0;
    if (lay_names_in(s, below, &names) == 0)
        for (i = 0; i < names.count; ++i) {
            if (lay_is_image(names.items[i])) ++*out_images;
            else folders += lay_there(s, below, names.items[i], "") == 2;
        }
    lay_list_free(&names);
    return folders;
}
/* A folder of class folders and nothing else. */
static int lay_holds_folders(lay_set *s, const char *below, const char *name, size_t least) {
    char path[LAY_PATH];
    size_t images;
    return lay_path(s, path, below, name, "/", "") == 0 && lay_there(s, path, "", "") == 2 && lay_count_folders(s, path, &images) >= least && images == 0;
}
/* Split of each folder in `below`, -1 for none: by the whole name, and where no folder is named so by a word within it. */
static void lay_folder_splits(lay_set *s, const char *below, const lay_list *names, int *out) {
    int whole[2] = {0, 0};
    size_t i;
    for (i = 0; i < names->count; ++i) {
        out[i] = lay_there(s, below, names->items[i], "") == 2 ? lay_split_word(names->items[i]) : -1;
        if (out[i] >= 0) whole[out[i]] = 1;
    }
    for (i = 0; i < names->count; ++i) {
        int split = lay_split_within(names->items[i]);
        if (split >= 0 && !whole[split] && lay_holds_folders(s, below, names->items[i], 1)) out[i] = split;
    }
}
/* Split folders in `below`: their paths, with a slash. More than one that could be test needs --test. */
typedef struct lay_splits {
    char path[2][LAY_PATH]; /* "" : none */
    char others[256];       /* split folders that were not taken */
    char beside[256];       /* folders of folders that are no split */
} lay_splits;
static int lay_find_splits(lay_set *s, const char *below, lay_splits *out) {
    lay_list names;
    size_t i;
    int bad, tests = 0, chosen = 0, *splits = NULL;
    char found[256] = "";
    memset(out, 0, sizeof *out);
    bad = lay_names_in(s, below, &names);
    if (!bad && (splits = (int *)malloc((names.count + 1) * sizeof *splits)) == NULL) bad = lay_no_memory(s);
    if (!bad) lay_folder_splits(s, below, &names, splits);
    for (i = 0; i < names.count && !bad; ++i) {
        int split = splits[i], named = s->opts.test != NULL && strcmp(s->opts.test, names.items[i]) == 0;
        if (named) split = ZN_SPLIT_TEST;
        if (split < 0 && lay_holds_folders(s, below, names.items[i], 2))
            snprintf(out->beside + strlen(out->beside), sizeof out->beside - strlen(out->beside), "%s%s", out->beside[0] != '\0' ? ", " : "", names.items[i]);
        if (split < 0 || lay_there(s, below, names.items[i], "") != 2) continue;
        if (split == ZN_SPLIT_TRAIN && out->path[0][0] != '\0') bad = lay_fail(s, "%s%s: several folders to train on; remove all but one", s->root, below);
        if (split == ZN_SPLIT_TEST) snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", tests++ > 0 ? ", " : "", names.items[i]);
        if (split == ZN_SPLIT_TEST && chosen) continue;
        chosen |= named;
        if (!bad) bad = lay_path(s, out->path[split], below, names.items[i], "/", "");
    }
    lay_list_free(&names);
    free(splits);
    if (!bad && s->opts.test != NULL && !chosen && tests > 0) bad = lay_fail(s, "%s%s has no folder %s (--test); there are %s", s->root, below, s->opts.test, found);
    if (!bad && tests > 1 && !chosen) bad = lay_fail(s, "%s%s: %s could each be the test set: --test NAME says which is", s->root, below, found);
    if (tests > 1) snprintf(out->others, sizeof out->others, "%s", found);
    return bad;
}
/* Folders that hold no images but the same folders are splits or copies of a set rather than classes, RAF-DB's aligned and
   original are its pictures: in doubt, refused. */
static int lay_doubt_classes(lay_set *s, const char *below) {
    static const char *const pictures[] = {"aligned", "original", NULL};
    lay_list names, inner;
    char path[LAY_PATH];
    const char *first = NULL;
    size_t i, k, same;
    int bad = lay_names_in(s, below, &names);
    memset(&inner, 0, sizeof inner);
    for (i = 0; i < names.count && !bad; ++i) {
        const char *name = names.items[i];
        if (lay_in(name, pictures) && lay_there(s, below, name, "") == 2)
            bad = lay_fail(s, "%s%s%s: RAF-DB's pictures, and no class: name the folder that holds EmoLabel and Image (--layout folders takes it for a class)", s->root, below, name);
        if (bad || lay_expression(name) >= 0 || !lay_holds_folders(s, below, name, 2)) continue;
        if (first == NULL) {
            first = name;
            continue;
        }
        bad = lay_path(s, path, below, name, "/", "") != 0 || lay_names_in(s, path, &inner) != 0;
        for (k = same = 0; !bad && k < inner.count; ++k) {
            char twin[LAY_PATH];
            if (lay_there(s, path, inner.items[k], "") == 2 && lay_path(s, twin, below, first, "/", inner.items[k]) == 0) same += lay_there(s, twin, "", "") == 2;
        }
        lay_list_free(&inner);
        if (same > 1)
            bad = lay_fail(s, "%s%s: %s and %s hold no images, but folders of the same names: rename them to train and test if they are splits, or name the one that is meant "
                              "(--layout folders takes them for classes)", s->root, below, first, name);
    }
    lay_list_free(&names);
    return bad ? -1 : 0;
}
/* Every folder in `below` is a class, empty or not. */
static int lay_collect_classes(lay_set *s, const char *below, zn_split split, size_t *stray) {
    lay_list names;
    char path[LAY_PATH];
    size_t i;
    int bad;
    if (strcmp(s->opts.layout, "folders") != 0 && lay_doubt_classes(s, below) != 0) return -1;
    bad = lay_names_in(s, below, &names);
    for (i = 0; i < names.count && !bad; ++i) {
        if (lay_there(s, below, names.items[i], "") != 2) {
            *stray += (size_t)lay_is_image(names.items[i]);
            continue;
        }
        bad = lay_key(s, names.items[i]) < 0 || lay_path(s, path, below, names.items[i], "/", "") != 0 || lay_walk(s, path, names.items[i], split, 0) != 0;
    }
    lay_list_free(&names);
    return bad ? -1 : 0;
}
static int lay_collect_folders(lay_set *s) {
    lay_splits splits;
    size_t stray = 0;
    int split;
    if (lay_find_splits(s, s->base, &splits) != 0) return -1;
    s->has_splits = splits.path[0][0] != '\0' || splits.path[1][0] != '\0';
    if (s->opts.test != NULL && splits.path[1][0] == '\0') return lay_fail(s, "%s%s has no folder %s (--test)", s->root, s->base, s->opts.test);
    if (!s->has_splits && lay_collect_classes(s, s->base, ZN_SPLIT_TRAIN, &stray) != 0) return -1;
    for (split = 0; split < 2 && s->has_splits; ++split)
        if (splits.path[split][0] != '\0' && lay_collect_classes(s, splits.path[split], split == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST, &stray) != 0) return -1;
    if (splits.others[0] != '\0' && lay_note(s, "of the split folders %s, --test %s is the test set; the others are left out", splits.others, s->opts.test) != 0) return -1;
    if (s->has_splits && splits.beside[0] != '\0' &&
        lay_note(s, "beside the split folders, %s is left out%s", splits.beside, splits.path[1][0] == '\0' ? ": --test NAME takes a folder to test on" : "") != 0)
        return -1;
    return stray > 0 ? lay_note(s, "%lu images lie outside of the class folders and are left out", (unsigned long)stray) : 0;
}

/* Tries the places where a list's images may lie, below the root: the name as it is, then with its extension in small and in
   capital letters. The first that has the file. */
static int lay_locate(lay_set *s, const char *const *places, const char *name, char out[LAY_PATH]) {
    size_t stem = strlen(name) - strlen(lay_extension(name)), i;
    int letters, k;
    for (letters = 0; letters < 3; ++letters)
        for (k = 0; places[k] != NULL; ++k) {
            size_t begin = strlen(places[k]);
            int length = snprintf(out, LAY_PATH, "%s%s", places[k], name);
            if (length <= 0 || length >= LAY_PATH) continue;
            for (i = begin + stem; letters > 0 && out[i] != '\0'; ++i) {
                out[i] = (char)lay_lower(out[i]);
                if (letters == 2 && out[i] >= 'a' && out[i] <= 'z') out[i] = (char)(out[i] - 'a' + 'A');
            }
            if ((letters == 0 || strcmp(out + begin, name) != 0) && lay_there(s, out, "", "") == 1) return 1;
        }
    return 0;
}
static int lay_not_there(lay_set *s, const char *const *places, const char *name) {
    if (s->missing++ == 0) snprintf(s->looked, sizeof s->looked, "%s%s", places[0][0] == '/' ? "" : s->root, places[0]);
    return lay_problem(s, name, "listed, but there is no such file");
}

/* RAF-DB: base is the folder that holds EmoLabel (or the list itself). The first is RAF-DB's own spelling. */
static const char *const lay_raf_lists[] = {"list_patition_label.txt", "list_partition_label.txt", NULL};
static int lay_find_raf_list(lay_set *s, const char *base, char out[LAY_PATH]) { /* its path below the root; 0: none */
    int i;
    for (i = 0; lay_raf_lists[i] != NULL; ++i)
        if ((lay_path(s, out, base, "EmoLabel/", lay_raf_lists[i], "") == 0 && lay_there(s, out, "", "") == 1) ||
            (lay_path(s, out, base, lay_raf_lists[i], "", "") == 0 && lay_there(s, out, "", "") == 1))
            return 1;
    return 0;
}
static int lay_raf_line(lay_set *s, const lay_reader *r, const char *const *places) {
    char name[LAY_PATH], found[LAY_PATH];
    const char *dot;
    long label;
    int split;
    if (r->fields != 2 || !lay_number(r->field[1], &label)) return lay_bad_line(s, r, "not of the form NAME.jpg LABEL");
    split = lay_split_of(r->field[0]);
    if (split < 0) return lay_bad_line(s, r, "the name begins neither with train nor with test");
    if (label > 7 && s->opts.labels == NULL)
        return lay_fail(s, "%s: line %ld: label %ld: labels above 7 mean RAF-DB's compound set, whose list has the same name; this is for the basic set "
                           "(--labels with 11 names takes it as it is)", r->path, r->line, label);
    if (label < 1 && s->opts.labels == NULL) return lay_bad_line(s, r, "RAF-DB's labels are 1 to 7; if they are in its order and begin at 0 here, --labels raf --base 0 says so");
    dot = strrchr(r->field[0], '.');
    if (dot == NULL || strlen(r->field[0]) + 16 > sizeof name) return lay_bad_line(s, r, "not an image's name");
    snprintf(name, sizeof name, "%.*s_aligned%s", (int)(dot - r->field[0]), r->field[0], dot);
    if (!lay_locate(s, places, name, found) && !lay_locate(s, places, r->field[0], found)) return lay_not_there(s, places, r->field[0]);
    snprintf(name, sizeof name, "%ld", label);
    return lay_add(s, found, name, split == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST) != NULL ? 0 : -1;
}
static int lay_collect_raf(lay_set *s) {
    char folders[4][LAY_PATH], list[LAY_PATH], path[LAY_PATH];
    const char *places[5] = {folders[0], folders[1], folders[2], folders[3], NULL}, *which = s->opts.images != NULL ? s->opts.images : "aligned";
    int there = 0, i, status;
    lay_reader r;
    lay_list names = {NULL, 0, 0};
    size_t images = 0, n;
    if (lay_path(s, folders[0], s->base, "Image/", which, "/") != 0 || lay_path(s, folders[1], *which == '/' ? "" : s->base, which, "/", "") != 0 ||
        lay_path(s, folders[2], folders[0], which, "/", "") != 0 || /* an archive unpacked into a folder of its name */
        lay_path(s, folders[3], s->base, "", "", "") != 0)
        return -1;
    for (i = 0; i < 2; ++i) there |= lay_there(s, folders[i], "", "") == 2;
    if (!there && lay_there(s, folders[0], "", "") == 0 && lay_there(s, s->base, "Image/aligned.zip", "") == 1)
        return lay_fail(s, "%s%sImage/aligned.zip: unpack it beside itself first", s->root, s->base);
    if (!there) return lay_fail(s, "%s%s is not there: --images NAME says which folder in Image holds the pictures (aligned, original)", s->root, folders[0]);
    if (!lay_find_raf_list(s, s->base, list) || lay_path(s, path, s->root, list, "", "") != 0 || lay_open(s, &r, path) != 0) return -1;
    while ((status = lay_next_words(s, &r)) == 1)
        if (lay_raf_line(s, &r, places) != 0) {
            status = -1;
            break;
        }
    lay_close(&r);
    if (status != 0) return -1;
    if (lay_there(s, folders[0], "", "") == 2 && lay_names_in(s, folders[0], &names) == 0)
        for (n = 0; n < names.count; ++n) images += (size_t)lay_is_image(names.items[n]);
    lay_list_free(&names);
    s->has_splits = 1;
    return images > s->count ? lay_note(s, "%lu images in %s are not in the list and are left out", (unsigned long)images - (unsigned long)s->count, folders[0]) : 0;
}

/* AffectNet 2021: a number in a file of its own for each image. */
static const char *lay_read_npy(lay_set *s, const char *below, double *out) {
    unsigned char bytes[4096];
    char path[LAY_PATH];
    FILE *file;
    size_t size;
    if (lay_path(s, path, s->root, below, "", "") != 0) return "its path is too long";
    file = fopen(path, "rb");
    if (file == NULL) return strerror(errno);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return lay_npy_scalar(bytes, size, out);
}
static int lay_expression_label(lay_set *s, const char *path, long label, zn_split split, lay_sample **out) { /* AffectNet's 0..10; *out NULL: dropped */
    char key[16];
    *out = NULL;
    if (label < 0 || label > 10) return lay_fail(s, "%s: expression %ld: AffectNet's are 0 to 10", path, label);
    if (label > 7) {
        ++s->dropped;
        return 0;
    }
    snprintf(key, sizeof key, "%ld", label);
    *out = lay_add(s, path, key, split);
    return *out != NULL ? 0 : -1;
}
static int lay_npy_image(lay_set *s, const char *set, const char *name, zn_split split) {
    char path[LAY_PATH], stem[LAY_PATH], note[LAY_PATH];
    double value = 0;
    const char *fault;
    lay_sample *sample;
    if (lay_path(s, path, set, "images/", name, "") != 0) return -1;
    snprintf(stem, sizeof stem, "%.*s", (int)(lay_extension(name) - name - 1), name);
    if (lay_path(s, note, set, "annotations/", stem, "_exp.npy") != 0) return -1;
    fault = lay_read_npy(s, note, &value);
    if (fault == NULL && !(value >= -1000 && value <= 1000 && floor(value) >= value)) fault = "not a whole number";
    if (fault != NULL) {
        snprintf(stem, sizeof stem, "no label: %.3000s: %.200s", note, fault);
        return lay_problem(s, path, stem);
    }
    return lay_expression_label(s, path, (long)value, split, &sample);
}
static int lay_collect_npy(lay_set *s) {
    static const char *const sets[2] = {"train_set/", "val_set/"};
    lay_list names;
    char set[LAY_PATH], images[LAY_PATH];
    size_t i;
    int k, bad = 0;
    for (k = 0; k < 2 && !bad; ++k) {
        if (lay_path(s, set, s->base, sets[k], "", "") != 0 || lay_path(s, images, set, "images/", "", "") != 0) return -1;
        if (lay_there(s, set, "", "") != 2) {
            bad = lay_note(s, "there is no %s", set);
            continue;
        }
        bad = lay_names_in(s, images, &names);
        for (i = 0; i < names.count && !bad; ++i)
            if (lay_is_image(names.items[i])) bad = lay_npy_image(s, set, names.items[i], k == 0 ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST);
        lay_list_free(&names);
    }
    s->has_splits = 1;
    return bad;
}

/* csv files: what their first line says they are, and where its columns are. */
typedef struct lay_columns {
    lay_kind kind;
    int header; /* the first line is not a sample */
    int image, label, split, box, width; /* box: column of face_x, followed by y, width, height */
} lay_columns;
static lay_columns lay_csv_columns(const lay_reader *r) {
    static const char *const paths_2017[] = {"subDirectory_filePath", NULL}, *const expression[] = {"expression", NULL}, *const x[] = {"face_x", NULL};
    static const char *const number[] = {"number", NULL}, *const exp_names[] = {"exp", NULL};
    static const char *const images[] = {"image", "path", "file", "filename", "file_name", "image_path", "img", "image_name", "filepath", "pth", NULL};
    static const char *const labels[] = {"label", "class", "emotion", "expression", "target", NULL}, *const splits[] = {"split", "usage", "set", NULL};
    lay_columns c;
    long n;
    memset(&c, 0, sizeof c);
    c.header = 1;
    c.split = c.box = -1;
    c.image = lay_column(r, paths_2017);
    c.label = lay_column(r, expression);
    c.box = lay_column(r, x);
    if (c.image >= 0 && c.label >= 0) {
        if (c.box >= 0 && c.box + 3 >= r->fields) c.box = -1;
        c.kind = LAY_BOXES;
        return c;
    }
    if (r->fields == 9 && lay_is_image(r->field[0]) && lay_number(r->field[1], &n) && lay_number(r->field[4], &n) && lay_number(r->field[6], &n)) {
        c.kind = LAY_BOXES; /* some copies of validation.csv have no header */
        c.image = c.header = 0;
        c.box = 1;
        c.label = 6;
        return c;
    }
    c.box = -1;
    c.image = lay_column(r, number);
    c.label = lay_column(r, exp_names);
    if (c.image >= 0 && c.label >= 0) {
        c.kind = LAY_NUMBERS;
        return c;
    }
    c.image = lay_column(r, images);
    c.label = lay_column(r, labels);
    c.split = lay_column(r, splits);
    c.kind = c.image >= 0 && c.label >= 0 ? LAY_CSV : LAY_NONE;
    if (c.kind == LAY_NONE && r->fields == 2 && lay_is_image(r->field[0]) && !lay_is_image(r->field[1])) { /* PATH,LABEL without header */
        c.kind = LAY_CSV;
        c.image = c.header = 0;
        c.label = 1;
    }
    return c;
}
/* Kind of a csv file below the root, by its first line. */
static lay_kind lay_csv_kind(lay_set *s, const char *below) {
    char path[LAY_PATH];
    lay_reader r;
    lay_kind kind = LAY_NONE;
    if (lay_path(s, path, s->root, below, "", "") != 0 || lay_open(s, &r, path) != 0) return LAY_NONE;
    if (lay_next_record(s, &r) == 1) kind = lay_csv_columns(&r).kind;
    lay_close(&r);
    return kind;
}
static int lay_boxes_row(lay_set *s, const lay_reader *r, const lay_columns *c, const char *path, long label, zn_split split) {
    long box[4] = {0, 0, 0, 0};
    lay_sample *sample;
    int i;
    for (i = 0; i < 4 && c->box >= 0; ++i)
        if (c->box + i >= r->fields || !lay_number(r->field[c->box + i], &box[i])) return lay_bad_line(s, r, "the face's box is not four numbers");
    if (box[2] < 0) {
        ++s->dropped;
        return 0;
    }
    if (lay_expression_label(s, path, label, split, &sample) != 0) return -1;
    if (sample == NULL || c->box < 0) return 0;
    sample->x = (int)box[0];
    sample->y = (int)box[1];
    sample->width = (int)box[2];
    sample->height = (int)box[3];
    return box[2] > 0 && box[3] > 0 ? 0 : lay_bad_line(s, r, "the face's box is empty");
}
/* One row: finds its image, then files it. csv_split is -1 when the file's name does not tell. */
static int lay_csv_row(lay_set *s, const lay_reader *r, const lay_columns *c, const char *const *places, int csv_split) {
    static const char *const endings[] = {".jpg", ".png", ".jpeg", ".bmp", ".ppm"};
    char name[LAY_PATH], path[LAY_PATH], number[32];
    lay_sample *sample;
    long label = 0;
    size_t e;
    int split = csv_split, numeric, found;
    if (c->image >= r->fields || c->label >= r->fields || r->fields == LAY_FIELDS) return lay_bad_line(s, r, "it has not the columns that the first line promises");
    numeric = lay_number(r->field[c->label], &label);
    if (!numeric && (c->kind != LAY_CSV || *r->field[c->label] == '\0')) return lay_bad_line(s, r, "the label is not a whole number");
    if (c->split >= 0 && c->split < r->fields) split = lay_split_word(r->field[c->split]);
    if (c->split >= 0 && split < 0) return lay_bad_line(s, r, "its split is neither train nor test");
    if (c->kind != LAY_CSV && (label > 7 && label <= 10)) { /* those have no image in some copies */
        ++s->dropped;
        return 0;
    }
    if (strlen(r->field[c->image]) + 8 > sizeof name) return lay_bad_line(s, r, "the image's name is too long");
    snprintf(name, sizeof name, "%s", r->field[c->image]);
    found = lay_locate(s, places, name, path);
    for (e = 0; !found && c->kind == LAY_NUMBERS && e < sizeof endings / sizeof endings[0]; ++e) {
        snprintf(name, sizeof name, "%s%s", r->field[c->image], endings[e]);
        found = lay_locate(s, places, name, path);
    }
    if (!found && c->box >= 0 && c->box + 2 < r->fields && r->field[c->box + 2][0] == '-') {
        ++s->dropped; /* no face there, so its picture need not be either */
        return 0;
    }
    if (!found) return lay_not_there(s, places, r->field[c->image]);
    if (c->kind == LAY_BOXES) return lay_boxes_row(s, r, c, path, label, split == ZN_SPLIT_TEST ? ZN_SPLIT_TEST : ZN_SPLIT_TRAIN);
    if (c->kind == LAY_NUMBERS) return lay_expression_label(s, path, label, split == ZN_SPLIT_TEST ? ZN_SPLIT_TEST : ZN_SPLIT_TRAIN, &sample);
    snprintf(number, sizeof number, "%ld", label);
    return lay_add(s, path, numeric ? number : r->field[c->label], split == ZN_SPLIT_TEST ? ZN_SPLIT_TEST : ZN_SPLIT_TRAIN) != NULL ? 0 : -1;
}
/* Folders in which a list file's images are looked for, all ending with a slash or empty. */
enum { LAY_PLACES = 24 };
typedef struct lay_places {
    char text[LAY_PLACES][LAY_PATH];
    const char *at[LAY_PLACES + 1];
    int count;
} lay_places;
static void lay_place(lay_places *p, const char *a, const char *b, const char *c) {
    if (p->count == LAY_PLACES || snprintf(p->text[p->count], LAY_PATH, "%s%s%s", a, b, c) >= LAY_PATH) return;
    p->at[p->count] = p->text[p->count];
    p->at[++p->count] = NULL;
}
static void lay_find_places(const lay_set *s, const char *list, lay_places *p) {
    const char *slash = strrchr(list, '/'), *name = slash != NULL ? slash + 1 : list;
    char folder[LAY_PATH], stem[256];
    int length = (int)(slash != NULL ? slash + 1 - list : 0), stem_length = (int)strcspn(name, "_."), k;
    p->count = 0;
    p->at[0] = NULL;
    snprintf(folder, sizeof folder, "%.*s", length, list);
    snprintf(stem, sizeof stem, "%.*s", stem_length, name);
    if (s->opts.images != NULL) {
        lay_place(p, s->opts.images, "/", "");
        return;
    }
    lay_place(p, folder, "", "");
    lay_place(p, folder, "images/", "");
    for (k = 0; k < 3; ++k) { /* the lists may lie in Manually_Annotated_file_lists, and be named alone */
        const char *around = k == 1 ? s->base : folder, *up = k == 2 ? "../" : "";
        lay_place(p, around, up, "Manually_Annotated_Images/");
        lay_place(p, around, up, "Manually_Annotated/Manually_Annotated_Images/");
    }
    lay_place(p, folder, "all/", "");
    lay_place(p, folder, stem, "/");
    lay_place(p, folder, stem, "/images/");
    lay_place(p, folder, stem, "_set/images/");
}
/* Runs over a csv file below the root; label-named folders around the image (DATASET/train/4/x.jpg) are tried per row. */
static int lay_collect_csv_file(lay_set *s, const char *below) {
    char path[LAY_PATH];
    lay_reader r;
    lay_columns c;
    lay_places *places = (lay_places *)malloc(sizeof *places);
    int status, split = lay_split_of(below), usual;
    if (places == NULL) return lay_no_memory(s);
    lay_find_places(s, below, places);
    usual = places->count;
    if (lay_path(s, path, s->root, below, "", "") != 0 || lay_open(s, &r, path) != 0) {
        free(places);
        return -1;
    }
    memset(&c, 0, sizeof c);
    status = lay_next_record(s, &r);
    if (status == 1) c = lay_csv_columns(&r);
    if (status == 1 && c.kind == LAY_NONE) status = lay_fail(s, "%s: its first line names no image and label column; --layout csv knows image,label and AffectNet's", path);
    if (status == 0) status = lay_fail(s, "%s: empty", path);
    if (status == 1 && c.header) status = lay_next_record(s, &r);
    for (; status == 1; status = lay_next_record(s, &r)) {
        if (c.kind == LAY_CSV && s->opts.images == NULL && c.label < r.fields) {
            const char *words = split == ZN_SPLIT_TEST ? "test/" : "train/";
            places->count = usual;
            lay_place(places, s->base, words, "");
            places->count = usual + 1;
            snprintf(path, sizeof path, "%s%s/", words, r.field[c.label]);
            lay_place(places, s->base, path, "");
            lay_place(places, s->base, "DATASET/", path);
        }
        if (lay_csv_row(s, &r, &c, places->at, split) != 0) {
            status = -1;
            break;
        }
    }
    s->has_splits |= split >= 0 || c.split >= 0;
    lay_close(&r);
    free(places);
    return status;
}

/* ---- lists: PATH LABEL ---- */
static int lay_is_list_line(const lay_reader *r) { return r->fields > 1 && r->fields < 8 && (lay_is_image(r->field[0]) || lay_is_image(r->field[1])); }
/* Words that name columns: neither an image nor a number is among them. */
static int lay_is_heading(const lay_reader *r) {
    long number;
    int i;
    for (i = 0; i < r->fields; ++i)
        if (lay_is_image(r->field[i]) || lay_number(r->field[i], &number)) return 0;
    return 1;
}
/* What a text file (its path on disk) begins with: 1 lines of a list, 2 the same below a heading, 0 something else; -1. */
static int lay_list_begins(lay_set *s, const char *path) {
    lay_reader r;
    int status, found = 0;
    if (lay_open(s, &r, path) != 0) return -1;
    status = lay_next_words(s, &r);
    if (status == 1 && lay_is_list_line(&r)) found = 1;
    else if (status == 1 && lay_is_heading(&r)) {
        status = lay_next_words(s, &r);
        if (status == 1 && lay_is_list_line(&r)) found = 2;
    }
    lay_close(&r);
    return status < 0 ? -1 : found;
}
/* Which field of a line is what; from --fields, or 2 fields, or 3 whose last is a split. */
typedef struct lay_fields {
    int path, label, split, count;
} lay_fields;
static int lay_read_fields(lay_set *s, const lay_reader *r, lay_fields *f) {
    const char *at = s->opts.fields;
    f->path = 0;
    f->label = 1;
    f->split = -1;
    f->count = r->fields;
    if (at == NULL) {
        if (r->fields == 1 && strchr(r->field[0], ',') != NULL)
            return lay_fail(s, "%s: line %ld has commas where a list has blanks: give the file a name that ends in .csv, and it is read as one", r->path, r->line);
        if (r->fields == 1) return lay_bad_line(s, r, "one word alone: PATH LABEL is wanted, with a blank between");
        if (r->fields == 3 && lay_split_word(r->field[2]) >= 0) f->split = 2;
        else if (r->fields != 2) return lay_fail(s, "%s: line %ld has %d fields, and which is the label is not sure: --fields path,label,- says it", r->path, r->line, r->fields);
        return 0;
    }
    f->path = f->label = -1;
    for (f->count = 0; *at != '\0'; ++f->count) {
        size_t n = strcspn(at, ",");
        if (n == 4 && strncmp(at, "path", 4) == 0) f->path = f->count;
        else if (n == 5 && strncmp(at, "label", 5) == 0) f->label = f->count;
        else if (n == 5 && strncmp(at, "split", 5) == 0) f->split = f->count;
        else if (n != 1 || *at != '-') return lay_fail(s, "--fields %s: the words are path, label, split and -, with commas between", s->opts.fields);
        at += n + (at[n] == ',');
    }
    return f->path >= 0 && f->label >= 0 ? 0 : lay_fail(s, "--fields %s: path and label must be among them", s->opts.fields);
}
static int lay_list_line(lay_set *s, const lay_reader *r, const lay_fields *f, const char *const *places, int split) {
    char path[LAY_PATH], number[32];
    const char *text;
    long label = 0;
    if (r->fields != f->count) return lay_fail(s, "%s: line %ld has %d fields, not %d (paths may not hold blanks; a csv may)", r->path, r->line, r->fields, f->count);
    if (f->split >= 0) split = lay_split_word(r->field[f->split]);
    if (f->split >= 0 && split < 0) return lay_bad_line(s, r, "its split is neither train nor test");
    text = r->field[f->label];
    if (lay_number(text, &label)) {
        snprintf(number, sizeof number, "%ld", label);
        text = number;
    }
    if (!lay_locate(s, places, r->field[f->path], path)) return lay_not_there(s, places, r->field[f->path]);
    return lay_add(s, path, text, split == ZN_SPLIT_TEST ? ZN_SPLIT_TEST : ZN_SPLIT_TRAIN) != NULL ? 0 : -1;
}
static int lay_collect_list_file(lay_set *s, const char *below) {
    char path[LAY_PATH];
    lay_reader r;
    lay_fields f = {0, 1, -1, 2};
    lay_places *places = (lay_places *)malloc(sizeof *places);
    int status, begins = 0, split = lay_split_of(below);
    if (places == NULL) return lay_no_memory(s);
    lay_find_places(s, below, places);
    if (s->opts.images == NULL) lay_place(places, "", "", ""); /* paths from the top, and absolute ones */
    if (lay_path(s, path, s->root, below, "", "") != 0 || (begins = lay_list_begins(s, path)) < 0 || lay_open(s, &r, path) != 0) {
        free(places);
        return -1;
    }
    status = lay_next_words(s, &r);
    if (status == 0) status = lay_fail(s, "%s: empty", path);
    if (status == 1 && begins == 2) status = lay_note(s, "%s: the first line is a heading and no image", below) == 0 ? lay_next_words(s, &r) : -1;
    if (status == 1 && lay_read_fields(s, &r, &f) != 0) status = -1;
    for (; status == 1; status = lay_next_words(s, &r))
        if (lay_list_line(s, &r, &f, places->at, split) != 0) {
            status = -1;
            break;
        }
    if (status == 0) s->has_splits |= split >= 0 || f.split >= 0;
    lay_close(&r);
    free(places);
    return status;
}

/* ---- recognising ---- */
/* Kind of a list file below the root, by its first lines; LAY_NONE when it is a text of another kind. */
static lay_kind lay_file_kind(lay_set *s, const char *below) {
    char path[LAY_PATH];
    lay_kind kind = LAY_NONE;
    if (lay_same(lay_extension(below), "csv")) kind = lay_csv_kind(s, below);
    else if (lay_path(s, path, s->root, below, "", "") == 0 && lay_list_begins(s, path) > 0) kind = LAY_LIST;
    s->error[0] = '\0'; /* reading it will say what is wrong */
    return kind;
}
/* List files in `below` of a kind (csv, or txt with lines PATH LABEL), added to out with their path. */
static int lay_find_lists(lay_set *s, const char *below, lay_kind kind, lay_list *out) {
    lay_list names;
    char path[LAY_PATH];
    size_t i;
    int bad;
    bad = lay_names_in(s, below, &names);
    for (i = 0; i < names.count && !bad; ++i) {
        const char *extension = lay_extension(names.items[i]);
        if (!lay_same(extension, kind == LAY_LIST ? "txt" : "csv") || lay_in(names.items[i], lay_raf_lists)) continue;
        bad = lay_path(s, path, below, names.items[i], "", "");
        if (bad || lay_there(s, path, "", "") != 1) continue;
        if (lay_file_kind(s, path) == kind && lay_list_add(out, path) != 0) bad = lay_no_memory(s);
    }
    lay_list_free(&names);
    return bad ? -1 : 0;
}
/* What a list file of a kind must hold, for messages. */
static const char *lay_wanted(lay_kind kind) {
    return kind == LAY_BOXES ? "columns subDirectory_filePath and expression, commas between" : kind == LAY_NUMBERS ? "columns number and exp, commas between"
         : kind == LAY_CSV ? "columns image and label, commas between" : "lines of PATH LABEL, a blank between";
}
/* Of the files beside the lists, one that is named like a list and cannot be read as they are must not be overlooked: it
   may be the test set. */
static int lay_check_beside(lay_set *s, lay_kind kind, const lay_list *lists) {
    lay_list names;
    char folder[LAY_PATH], path[LAY_PATH];
    const char *slash = strrchr(lists->items[0], '/');
    size_t i, k;
    int bad;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash != NULL ? slash + 1 - lists->items[0] : 0), lists->items[0]);
    bad = lay_names_in(s, folder, &names);
    for (i = 0; i < names.count && !bad; ++i) {
        const char *extension = lay_extension(names.items[i]);
        if ((!lay_same(extension, "txt") && !lay_same(extension, "csv")) || lay_split_of(names.items[i]) < 0) continue;
        bad = lay_path(s, path, folder, names.items[i], "", "");
        for (k = 0; k < lists->count && !bad && strcmp(lists->items[k], path) != 0; ++k) {}
        if (!bad && k == lists->count && lay_there(s, path, "", "") == 1)
            bad = lay_fail(s, "%s%s: line 1: it cannot be read as %s is; wanted are %s: correct the file, or move it away if it is no list of images", s->root, path, lists->items[0],
                           lay_wanted(kind));
    }
    lay_list_free(&names);
    return bad;
}
/* Class folders in `below`: 2 within split folders, 1 bare, 0 none. */
static int lay_has_classes(lay_set *s, const char *below) {
    lay_splits splits;
    size_t images, folders;
    int k;
    if (lay_find_splits(s, below, &splits) != 0) return -1;
    for (k = 0; k < 2; ++k)
        if (splits.path[k][0] != '\0' && lay_count_folders(s, splits.path[k], &images) > 1) return 2;
    if (splits.path[0][0] != '\0' || splits.path[1][0] != '\0') return 0;
    folders = lay_count_folders(s, below, &images);
    if (folders < 2) return 0;
    return 1;
}
static const char *lay_kind_text(lay_kind kind) {
    static const char *const texts[] = {"no layout", "class folders", "RAF-DB's official list", "AffectNet 2021 (an .npy per image)", "AffectNet 2017 (csv with face boxes)",
                                        "AffectNet as number,exp,val,aro", "csv with image and label", "list of PATH LABEL"};
    return texts[kind];
}
/* Which flag chooses a kind when several are there. */
static const char *lay_kind_flag(lay_kind kind) {
    static const char *const flags[] = {"auto", "folders", "raf", "affectnet", "affectnet", "affectnet", "csv", "list"};
    return flags[kind];
}
static int lay_allowed(const lay_set *s, lay_kind kind) {
    const char *layout = s->opts.layout;
    if (strcmp(layout, "auto") == 0 || strcmp(layout, lay_kind_flag(kind)) == 0) return 1;
    if (strcmp(layout, "csv") == 0) return kind == LAY_BOXES || kind == LAY_NUMBERS;
    if (strcmp(layout, "raf") == 0) return kind == LAY_FOLDERS || kind == LAY_CSV;
    return strcmp(layout, "affectnet") == 0 && kind == LAY_FOLDERS;
}
/* Tries one folder. 1 and s->kind, s->base, *lists when a layout is there; 0; -1 with the reason when in doubt. */
static int lay_recognise_at(lay_set *s, const char *below, lay_list *lists) {
    static const char *const raf_folders[] = {"", "basic/", "raf-basic/", "RAF-DB/basic/"};
    static const lay_kind csv_kinds[] = {LAY_BOXES, LAY_NUMBERS, LAY_CSV, LAY_LIST};
    lay_kind found[8];
    char base[LAY_PATH], at[8][LAY_PATH], *folder;
    int count = 0, classes = 0, k;
    size_t i;
    lay_list files[4];
    memset(files, 0, sizeof files);
    for (i = 0; i < 4 && lay_allowed(s, LAY_RAF); ++i) {
        folder = at[count];
        if (lay_path(s, folder, below, raf_folders[i], "", "") != 0) return -1;
        if (lay_find_raf_list(s, folder, base)) found[count++] = LAY_RAF;
        else if (lay_there(s, folder, "EmoLabel", "") == 2) return lay_fail(s, "%s%sEmoLabel: RAF-DB's list of labels is missing in it: %s", s->root, folder, lay_raf_lists[0]);
        if (count > 1) return lay_fail(s, "%s: there are two RAF-DB sets, in %s and %s: name the one that is meant", s->root, at[0], at[1]);
    }
    if (lay_allowed(s, LAY_NPY) && (lay_there(s, below, "train_set/annotations", "") == 2 || lay_there(s, below, "val_set/annotations", "") == 2)) {
        strcpy(at[count], below);
        found[count++] = LAY_NPY;
    }
    for (k = 0; k < 4; ++k) {
        if (!lay_allowed(s, csv_kinds[k])) continue;
        if (lay_find_lists(s, below, csv_kinds[k], &files[k]) != 0) count = -1;
        if (count >= 0 && csv_kinds[k] == LAY_BOXES && files[k].count == 0 && lay_there(s, below, "Manually_Annotated_file_lists", "") == 2 &&
            (lay_path(s, base, below, "Manually_Annotated_file_lists/", "", "") != 0 || lay_find_lists(s, base, LAY_BOXES, &files[k]) != 0))
            count = -1;
        if (count < 0) break;
        if (files[k].count == 0) continue;
        strcpy(at[count], below);
        found[count++] = csv_kinds[k];
    }
    if (count >= 0 && lay_allowed(s, LAY_FOLDERS) && !(count == 1 && found[0] == LAY_NPY)) { /* train_set/images is no class */
        strcpy(base, below);
        classes = lay_has_classes(s, base);
        if (classes == 0 && lay_there(s, below, "DATASET", "") == 2 && lay_path(s, base, below, "DATASET/", "", "") == 0) classes = lay_has_classes(s, base);
        if (count == 1 && found[0] == LAY_CSV && classes > 0) count = 0; /* image,label beside class folders: the csv is a check */
        if (classes == 2 || (classes == 1 && count == 0)) {
            strcpy(at[count], base);
            found[count++] = LAY_FOLDERS;
        }
    }
    if (classes < 0) count = -1;
    if (count > 1)
        count = lay_fail(s, "%s%s: it could be read as %s or as %s: --layout %s or --layout %s decides", s->root, below, lay_kind_text(found[0]), lay_kind_text(found[1]),
                         lay_kind_flag(found[0]), lay_kind_flag(found[1]));
    if (count == 1) {
        s->kind = found[0];
        strcpy(s->base, at[0]);
        for (k = 0; k < 4; ++k)
            if (csv_kinds[k] == s->kind || (s->kind == LAY_FOLDERS && csv_kinds[k] == LAY_CSV)) {
                *lists = files[k];
                memset(&files[k], 0, sizeof files[k]);
            }
    }
    if (count == 1 && lists->count > 0 && s->kind != LAY_FOLDERS && lay_check_beside(s, s->kind, lists) != 0) count = -1;
    for (k = 0; k < 4; ++k) lay_list_free(&files[k]);
    return count;
}
/* Looks in the folder, then into single folders within (a set that was unpacked into a folder of its own). */
static int lay_recognise(lay_set *s, lay_list *lists) {
    char below[LAY_PATH] = "", next[LAY_PATH];
    int depth, status = 0, alone = 0, split;
    size_t images = 0, folders = 0, first_images = 0, first_folders = 0;
    lay_splits splits;
    for (depth = 0; depth < 4 && status == 0; ++depth) {
        lay_list names;
        size_t i;
        status = lay_recognise_at(s, below, lists);
        if (status != 0) break;
        folders = lay_count_folders(s, below, &images);
        if (depth == 0) first_images = images, first_folders = folders;
        if (folders != 1) break;
        if (lay_names_in(s, below, &names) != 0) return -1;
        for (i = 0; i < names.count; ++i)
            if (lay_there(s, below, names.items[i], "") == 2) {
                if (lay_path(s, next, below, names.items[i], "/", "") != 0) status = -1;
                else strcpy(below, next);
                break;
            }
        lay_list_free(&names);
    }
    if (status != 0) return status < 0 ? -1 : 0;
    if (lay_find_splits(s, "", &splits) != 0) return -1;
    for (split = 0; split < 2; ++split) alone |= splits.path[split][0] != '\0' && lay_count_folders(s, splits.path[split], &images) == 1;
    return lay_fail(s, "%s: no data set is recognised here%s%s: %lu folders and %lu images, no list of labels: %s", s->root, strcmp(s->opts.layout, "auto") == 0 ? "" : " with --layout ",
                    strcmp(s->opts.layout, "auto") == 0 ? "" : s->opts.layout, (unsigned long)first_folders, (unsigned long)first_images,
                    first_folders == 1 || alone ? "one class alone teaches nothing" : "a folder for each class is wanted, or name a list file with lines of PATH LABEL");
}

/* ---- naming classes ---- */
static int lay_named(lay_set *s, size_t key, const char *name) { /* gives a key its class, made when it is new */
    size_t i;
    for (i = 0; i < s->names.count && strcmp(s->names.items[i], name) != 0; ++i) {}
    if (i == s->names.count && lay_list_add(&s->names, name) != 0) return lay_no_memory(s);
    s->key_class[key] = (int)i;
    return 0;
}
static int lay_find_key(const lay_set *s, const char *text) {
    size_t i;
    for (i = 0; i < s->keys.count; ++i)
        if (strcmp(s->keys.items[i], text) == 0) return (int)i;
    return -1;
}
static int lay_keys_are(const lay_set *s, int first, int last, int width) { /* exactly these numbers */
    char text[16];
    int i;
    if ((int)s->keys.count != last - first + 1) return 0;
    for (i = first; i <= last; ++i) {
        snprintf(text, sizeof text, "%0*d", width, i);
        if (lay_find_key(s, text) < 0) return 0;
    }
    return 1;
}
/* Keys are numbers, the first being `base`, of expressions in the given order (NULL: RAF-DB's). Classes keep that order. */
static int lay_name_numbers(lay_set *s, const int *order, int count, long base) {
    int expression;
    long number;
    size_t i;
    for (i = 0; i < s->keys.count; ++i)
        if (!lay_number(s->keys.items[i], &number)) return lay_fail(s, "label '%s' is not a number, as --labels raf and affectnet want", s->keys.items[i]);
        else if ((number < base || number >= base + count) && !(order != NULL && number > 7 && number <= 10))
            return lay_fail(s, "label %ld: the labels are %ld to %ld here; --base says where they begin, --labels what they mean", number, base, base + count - 1);
    for (expression = 0; expression < count; ++expression)
        for (i = 0; i < s->keys.count; ++i)
            if (lay_number(s->keys.items[i], &number) && number - base == expression &&
                lay_named(s, i, lay_expressions[order != NULL ? order[expression] : expression]) != 0)
                return -1;
    return 0;
}
/* The names that --labels gives: from a file, one a line, or from the text, commas between. */
static int lay_given_names(lay_set *s, lay_list *out) {
    const char *at = s->opts.labels;
    char name[256];
    int status = 0;
    lay_reader r;
    if (lay_kind_of(at) == 1) {
        if (lay_open(s, &r, at) != 0) return -1;
        for (;;) {
            r.length = 0;
            if ((status = lay_append_line(s, &r)) != 1) break;
            while (r.length > 0 && (r.text[r.length - 1] == ' ' || r.text[r.length - 1] == '\t')) r.text[--r.length] = '\0';
            if (r.length > 0 && lay_list_add(out, r.text) != 0) status = lay_no_memory(s);
            if (status < 0) break;
        }
        lay_close(&r);
        return status;
    }
    if (strchr(at, ',') == NULL) return lay_fail(s, "--labels %s: neither raf, affectnet, a file, nor names with commas between", at);
    for (;;) {
        size_t n, end;
        at += strspn(at, " \t");
        n = end = strcspn(at, ",");
        while (end > 0 && (at[end - 1] == ' ' || at[end - 1] == '\t')) --end;
        if (end < 1 || end >= sizeof name) return lay_fail(s, "--labels %s: a name is empty or too long", s->opts.labels);
        snprintf(name, sizeof name, "%.*s", (int)end, at);
        if (lay_list_add(out, name) != 0) return lay_no_memory(s);
        if (at[n] == '\0') return 0;
        at += n + 1;
    }
}
/* NAME,... go with the keys in order, by number where the keys are numbers of a list; KEY=NAME by key. */
static int lay_name_given(lay_set *s) {
    lay_list given;
    size_t i;
    long number, base = s->opts.base, low = 1000000, high = -1;
    int bad, keyed, numeric = s->kind != LAY_FOLDERS;
    memset(&given, 0, sizeof given);
    bad = lay_given_names(s, &given);
    keyed = given.count > 0 && strchr(given.items[0], '=') != NULL;
    for (i = 0; i < s->keys.count && !bad; ++i)
        if (!lay_number(s->keys.items[i], &number)) numeric = 0;
        else low = number < low ? number : low, high = number > high ? number : high;
    if (!bad && !keyed && numeric && base < 0) {
        if (low == 0 && high < (long)given.count) base = 0;
        else if (low > 0 && high == (long)given.count) base = 1;
        else bad = lay_fail(s, "%lu names for labels %ld to %ld: --base 0 or --base 1 says which number the first name has", (unsigned long)given.count, low, high);
    }
    if (!bad && !keyed && !numeric && given.count != s->keys.count)
        bad = lay_fail(s, "--labels has %lu names for %lu labels (%s to %s)", (unsigned long)given.count, (unsigned long)s->keys.count, s->keys.items[0], s->keys.items[s->keys.count - 1]);
    for (i = 0; i < given.count && !bad; ++i) {
        char key[256];
        const char *name = given.items[i], *equals = strchr(name, '=');
        int which = (int)i;
        if (keyed && equals == NULL) bad = lay_fail(s, "--labels: '%s' has no KEY= as the first name has", name);
        if (!bad && (keyed || numeric)) {
            if (keyed) snprintf(key, sizeof key, "%.*s", (int)(equals - name), name), name = equals + 1;
            else snprintf(key, sizeof key, "%ld", base + (long)i);
            which = lay_find_key(s, key);
        }
        if (!bad && which >= 0) bad = lay_named(s, (size_t)which, name);
        else if (!bad) bad = lay_note(s, "no image has the label of class %s", name);
    }
    for (i = 0; i < s->keys.count && !bad; ++i)
        if (s->key_class[i] < 0) bad = lay_fail(s, "--labels has no name for label %s", s->keys.items[i]);
    lay_list_free(&given);
    return bad;
}
/* When every class counts as RAF-DB's does, the counts tell which is which. 1 when they did. */
static int lay_name_by_counts(lay_set *s) {
    long counts[2][7];
    int of[7], k, e;
    size_t i;
    if (s->keys.count != 7) return 0;
    memset(counts, 0, sizeof counts);
    for (i = 0; i < s->count; ++i) ++counts[s->samples[i].split == ZN_SPLIT_TRAIN ? 0 : 1][s->samples[i].label];
    for (e = 0; e < 7; ++e) {
        for (k = 0; k < 7 && (counts[0][k] != lay_raf_counts[0][e] || counts[1][k] != lay_raf_counts[1][e]); ++k) {}
        if (k == 7) return 0;
        of[e] = k;
    }
    for (e = 0; e < 7; ++e)
        if (lay_named(s, (size_t)of[e], lay_expressions[e]) != 0) return -1;
    return lay_note(s, "the counts are those of RAF-DB and tell which class is which") == 0 ? 1 : -1;
}
static int lay_name_as_they_are(lay_set *s, int canonical) {
    size_t i;
    for (i = 0; i < s->keys.count; ++i)
        if (lay_named(s, i, canonical ? lay_expressions[lay_expression(s->keys.items[i])] : s->keys.items[i]) != 0) return -1;
    return 0;
}
/* A list whose labels are numbers but for a few is a list with mistakes. */
static int lay_check_numbers(lay_set *s) {
    size_t i, odd = 0, numbers = 0;
    long number;
    for (i = 0; i < s->keys.count; ++i)
        if (lay_number(s->keys.items[i], &number)) ++numbers;
        else odd = i;
    if (s->kind == LAY_FOLDERS || numbers == 0 || numbers == s->keys.count) return 0;
    for (i = 0; i + 1 < s->count && s->samples[i].label != (int)odd; ++i) {}
    return lay_fail(s, "%s: its label '%s' is no number from -1e9 to 1e9, as others here are: correct the list, or say with --labels KEY=NAME,... what each label means",
                    s->samples[i].path, s->keys.items[odd]);
}
static int lay_all_expressions(const lay_set *s) {
    size_t i;
    for (i = 0; i < s->keys.count; ++i)
        if (lay_expression(s->keys.items[i]) < 0) return 0;
    return s->keys.count > 1;
}
/* Folder names and list labels that no layout explains by itself. */
static int lay_interpret(lay_set *s) {
    const char *layout = s->opts.layout;
    int is_auto = strcmp(layout, "auto") == 0 || strcmp(layout, "csv") == 0 || strcmp(layout, "list") == 0, raf = strcmp(layout, "raf") == 0;
    int affectnet = strcmp(layout, "affectnet") == 0, numbers = 1, counted;
    size_t i;
    long number;
    if (strcmp(layout, "folders") == 0) return lay_name_as_they_are(s, 0);
    if (lay_all_expressions(s)) return lay_name_as_they_are(s, 1);
    if (!affectnet && (counted = lay_name_by_counts(s)) != 0) return counted < 0 ? -1 : 0;
    if (raf && lay_keys_are(s, 1, 7, 1)) return lay_name_numbers(s, NULL, 7, 1);
    if (raf && lay_keys_are(s, 0, 6, 1)) return lay_name_numbers(s, lay_affectnet, 7, 0);
    if (affectnet && (lay_keys_are(s, 0, 6, 1) || (s->keys.count >= 8 && lay_find_key(s, "0") >= 0 && lay_find_key(s, "7") >= 0)))
        return lay_name_numbers(s, lay_affectnet, 8, 0);
    if (lay_keys_are(s, 0, 6, 2))
        return lay_fail(s, "labels 00 to 06 (00 neutral, 01 happy, 02 sad, ... 06 disgust in the copies of RAF-DB that are seen) are not always in one order: "
                           "--labels 00=Neutral,01=Happiness,... says it");
    if (raf || affectnet) return lay_fail(s, "the labels (%s to %s, %lu of them) are not those of --layout %s; --labels gives them names, --layout folders takes them as they are",
                                          s->keys.items[0], s->keys.items[s->keys.count - 1], (unsigned long)s->keys.count, layout);
    if (is_auto && s->kind != LAY_LIST && s->has_splits && lay_keys_are(s, 1, 7, 1)) return lay_name_numbers(s, NULL, 7, 1);
    if (is_auto && s->kind == LAY_FOLDERS && s->has_splits && lay_keys_are(s, 0, 7, 1)) return lay_name_numbers(s, lay_affectnet, 8, 0);
    for (i = 0; i < s->keys.count; ++i) numbers &= lay_number(s->keys.items[i], &number);
    if (numbers && (s->kind != LAY_FOLDERS || lay_keys_are(s, 0, 6, 1) || lay_keys_are(s, 1, 7, 1) || lay_keys_are(s, 0, 7, 1)))
        return lay_fail(s, "labels %s to %s could mean several things: --labels affectnet (0 Neutral, 1 Happiness, 2 Sadness, 3 Surprise, 4 Fear, 5 Disgust, 6 Anger, "
                           "7 Contempt, as RAF-DB in folders 0 to 6 too), --labels raf (1 Surprise, 2 Fear, 3 Disgust, 4 Happiness, 5 Sadness, 6 Anger, 7 Neutral; "
                           "--base 0 when they begin at 0), --labels NAME,NAME,...%s", s->keys.items[0], s->keys.items[s->keys.count - 1],
                        s->kind == LAY_FOLDERS ? ", or --layout folders to keep the numbers as names" : "");
    return lay_name_as_they_are(s, 0);
}
static int lay_name_classes(lay_set *s) {
    const char *labels = s->opts.labels;
    long base = s->opts.base;
    if (labels != NULL && strcmp(labels, "raf") == 0) return lay_name_numbers(s, NULL, 7, base < 0 ? 1 : base);
    if (labels != NULL && strcmp(labels, "affectnet") == 0) return lay_name_numbers(s, lay_affectnet, 8, base < 0 ? 0 : base);
    if (labels != NULL) return lay_name_given(s);
    if (lay_check_numbers(s) != 0) return -1;
    if (s->kind == LAY_RAF) return lay_name_numbers(s, NULL, 7, 1);
    if (s->kind == LAY_NPY || s->kind == LAY_BOXES || s->kind == LAY_NUMBERS) return lay_name_numbers(s, lay_affectnet, 8, 0);
    return lay_interpret(s);
}
/* Keys in order: numbers by value when all are plain numbers of a list, else by text. Labels of samples follow. */
static int lay_sort_keys(lay_set *s) {
    size_t i, j, n = s->keys.count;
    int *moved = (int *)malloc((n + 1) * sizeof *moved);
    char **old = (char **)malloc((n + 1) * sizeof *old);
    if (moved == NULL || old == NULL) {
        free(moved);
        free(old);
        return lay_no_memory(s);
    }
    if (n > 0) memcpy(old, s->keys.items, n * sizeof *old);
    if (n > 1) qsort(s->keys.items, n, sizeof *s->keys.items, lay_by_text);
    for (i = 0; i < n; ++i)
        for (j = 0; j < n; ++j)
            if (s->keys.items[j] == old[i]) moved[i] = (int)j;
    for (i = 0; i < s->count; ++i) s->samples[i].label = moved[s->samples[i].label];
    free(moved);
    free(old);
    return 0;
}
/* Gives samples their class, leaves the dropped ones out. */
static void lay_apply(lay_set *s, int without) {
    size_t i, kept = 0;
    for (i = 0; i < s->count; ++i) {
        lay_sample *sample = &s->samples[i];
        int label = s->key_class[sample->label];
        if (label < 0 || label == without) {
            free(sample->path);
            ++s->dropped;
            continue;
        }
        sample->label = without >= 0 && label > without ? label - 1 : label;
        s->samples[kept++] = *sample;
    }
    s->count = kept;
}
/* --classes 7 leaves contempt out; any other number must be the one that is there. */
static int lay_choose_classes(lay_set *s) {
    long wanted = s->opts.classes;
    size_t i;
    int contempt = -1;
    for (i = 0; i < s->names.count; ++i)
        if (strcmp(s->names.items[i], "Contempt") == 0) contempt = (int)i;
    if (wanted != 7 || s->names.count != 8 || contempt < 0) contempt = -1;
    if (contempt < 0 && wanted > 0 && wanted != (long)s->names.count)
        return lay_fail(s, "there are %lu classes here, not %ld (--classes)", (unsigned long)s->names.count, wanted);
    lay_apply(s, contempt);
    if (contempt < 0) return 0;
    s->without_contempt = 1;
    free(s->names.items[contempt]);
    for (i = (size_t)contempt; i + 1 < s->names.count; ++i) s->names.items[i] = s->names.items[i + 1];
    --s->names.count;
    return 0;
}

/* ---- splitting and checking ---- */
static int lay_by_class(const void *a, const void *b) {
    const lay_sample *x = (const lay_sample *)a, *y = (const lay_sample *)b;
    return x->label != y->label ? (x->label < y->label ? -1 : 1) : strcmp(x->path, y->path);
}
static int lay_split_every(lay_set *s) {
    size_t i, number = 0;
    if (s->opts.every == 0) return 0;
    for (i = 0; i < s->count; ++i)
        if (s->samples[i].split == ZN_SPLIT_TEST) return lay_fail(s, "the set has its own test split: --every would mix it with the images to train on");
    if (s->count > 1) qsort(s->samples, s->count, sizeof *s->samples, lay_by_class);
    for (i = 0; i < s->count; ++i) {
        number = i > 0 && s->samples[i].label == s->samples[i - 1].label ? number + 1 : 1;
        if (number % (size_t)s->opts.every == 0) s->samples[i].split = ZN_SPLIT_TEST;
    }
    return 0;
}
/* Counts per class and split, classes * 2 numbers (train, test). */
TOOL_API size_t *lay_counts(const lay_set *s) {
    size_t *counts = (size_t *)calloc(s->names.count * 2 + 1, sizeof *counts), i;
    if (counts != NULL)
        for (i = 0; i < s->count; ++i) ++counts[2 * s->samples[i].label + (s->samples[i].split == ZN_SPLIT_TEST)];
    return counts;
}
/* Every class needs images to train on. */
TOOL_API int lay_check_classes(lay_set *s) {
    size_t *counts = lay_counts(s), k, tests = 0, listed = s->problems.count;
    int bad = counts == NULL ? lay_no_memory(s) : 0;
    char hint[LAY_PATH + 128] = "";
    if (s->missing > 0)
        snprintf(hint, sizeof hint, "%lu listed images are not there; one place to look was %.3000s: --images DIR, below SRC or absolute, says where they are", (unsigned long)s->missing, s->looked);
    if (!bad && s->count == 0)
        bad = lay_fail(s, "%s: no images%s%.300s%s%s", s->root, listed > 0 ? "; the first that is missing: " : "", listed > 0 ? s->problems.items[0] : "", *hint != '\0' ? "; " : "", hint);
    if (!bad && s->names.count < 2) bad = lay_fail(s, "%s: one class only (%s): there is nothing to tell apart", s->root, s->names.items[0]);
    for (k = 0; !bad && k < s->names.count; ++k) {
        if (counts[2 * k] == 0)
            bad = lay_fail(s, "%s: class %s has no images to train on: add some, or remove the class%s%s", s->root, s->names.items[k], *hint != '\0' ? "; " : "", hint);
        tests += counts[2 * k + 1];
    }
    for (k = 0; !bad && k < s->names.count; ++k)
        if (tests > 0 && counts[2 * k + 1] == 0) bad = lay_note(s, "class %s has no images to test on", s->names.items[k]);
    if (!bad && tests == 0) bad = lay_note(s, "there is no test split%s", s->opts.every > 0 ? ": no class has as many images as --every says" : ": --every N makes one");
    if (!bad && *hint != '\0') bad = lay_note(s, "%s", hint);
    free(counts);
    return bad;
}
static const char *lay_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}
/* Paths in the order of their ends, so that all that end alike are neighbours. */
static int lay_compare_ends(const char *a, const char *b) {
    size_t i = strlen(a), j = strlen(b);
    while (i > 0 && j > 0 && a[i - 1] == b[j - 1]) --i, --j;
    if (i == 0 || j == 0) return (i > 0) - (j > 0);
    return (unsigned char)a[i - 1] < (unsigned char)b[j - 1] ? -1 : 1;
}
static int lay_by_end(const void *a, const void *b) { return lay_compare_ends((*(lay_sample *const *)a)->path, (*(lay_sample *const *)b)->path); }
static int lay_ends(const char *path, const char *end) {
    size_t length = strlen(path), n = strlen(end);
    return n <= length && strcmp(path + length - n, end) == 0;
}
/* The first of the sorted samples whose path ends so; count when none does. */
static size_t lay_find_end(lay_sample *const *sorted, size_t count, const char *end) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lay_compare_ends(sorted[middle]->path, end) < 0) low = middle + 1;
        else high = middle;
    }
    return low < count && lay_ends(sorted[low]->path, end) ? low : count;
}
/* The sample that a list's path means: as much of the path counts as there is in common, at least the name. Where several
   are alike, one whose folder is `label` when there is one. NULL: none. */
static const lay_sample *lay_find_listed(const lay_set *s, lay_sample *const *sorted, const char *path, const char *label) {
    char end[LAY_PATH];
    const char *at = end;
    size_t first, i;
    if (snprintf(end, sizeof end, "/%s", path) >= LAY_PATH) return NULL;
    for (; at != NULL; at = strchr(at + 1, '/')) {
        first = lay_find_end(sorted, s->count, at + 1);
        if (first < s->count && strcmp(sorted[first]->path, at + 1) == 0) return sorted[first];
        first = lay_find_end(sorted, s->count, at);
        for (i = first; i < s->count && lay_ends(sorted[i]->path, at); ++i)
            if (lay_same(label, s->keys.items[sorted[i]->label])) return sorted[i];
        if (first < s->count) return sorted[first];
    }
    return NULL;
}
static int lay_cross_check_file(lay_set *s, const char *list, lay_sample *const *sorted) {
    char path[LAY_PATH];
    lay_reader r;
    lay_columns c;
    long number, rows = 0;
    int status;
    if (lay_path(s, path, s->root, list, "", "") != 0 || lay_open(s, &r, path) != 0) return -1;
    memset(&c, 0, sizeof c);
    status = lay_next_record(s, &r);
    if (status == 1) c = lay_csv_columns(&r);
    for (status = status == 1 && c.header ? lay_next_record(s, &r) : status; status == 1; status = lay_next_record(s, &r)) {
        char key[32];
        const lay_sample *sample;
        const char *folder;
        if (c.image >= r.fields || c.label >= r.fields) continue;
        snprintf(key, sizeof key, "%s", r.field[c.label]);
        if (lay_number(key, &number)) snprintf(key, sizeof key, "%ld", number);
        sample = lay_find_listed(s, sorted, r.field[c.image], key);
        if (sample == NULL) continue;
        ++rows;
        folder = s->keys.items[sample->label];
        if (!lay_same(key, folder)) {
            status = lay_fail(s, "%s: line %ld: %s has label %s, but lies in folder %s: --layout folders or --layout csv says which is right", path, r.line, sample->path, key, folder);
            break;
        }
    }
    lay_close(&r);
    return status < 0 ? -1 : lay_note(s, "%s agrees with the folders on %ld images", list, rows);
}
/* Class folders with an image,label csv beside them: both must say the same. */
static int lay_cross_check(lay_set *s, const lay_list *lists) {
    lay_sample **sorted;
    size_t i;
    int bad = 0;
    if (s->kind != LAY_FOLDERS || lists->count == 0 || s->count == 0 || strcmp(s->opts.layout, "folders") == 0) return 0;
    sorted = (lay_sample **)malloc(s->count * sizeof *sorted);
    if (sorted == NULL) return lay_no_memory(s);
    for (i = 0; i < s->count; ++i) sorted[i] = &s->samples[i];
    qsort(sorted, s->count, sizeof *sorted, lay_by_end);
    for (i = 0; i < lists->count && !bad; ++i) bad = lay_cross_check_file(s, lists->items[i], sorted);
    free(sorted);
    return bad;
}

static int lay_by_path(const void *a, const void *b) { return strcmp((*(lay_sample *const *)a)->path, (*(lay_sample *const *)b)->path); }
/* Lines of a list that name the same image again. A picture with boxes may hold several faces. */
static int lay_note_twice(lay_set *s) {
    lay_sample **sorted;
    const char *first = NULL;
    size_t i, twice = 0;
    if (s->kind == LAY_FOLDERS || s->kind == LAY_NPY || s->kind == LAY_BOXES || s->count == 0) return 0;
    sorted = (lay_sample **)malloc(s->count * sizeof *sorted);
    if (sorted == NULL) return lay_no_memory(s);
    for (i = 0; i < s->count; ++i) sorted[i] = &s->samples[i];
    qsort(sorted, s->count, sizeof *sorted, lay_by_path);
    for (i = 1; i < s->count; ++i)
        if (strcmp(sorted[i]->path, sorted[i - 1]->path) == 0 && twice++ == 0) first = sorted[i]->path;
    free(sorted);
    return twice > 0 ? lay_note(s, "%lu lines name an image that another line names already, and count again, among them %s", (unsigned long)twice, first) : 0;
}

/* ---- the whole ---- */
/* RAF-DB's list was named: the root is the folder that holds EmoLabel. */
static void lay_leave_emolabel(lay_set *s, const char *list) {
    static const char name[] = "EmoLabel/";
    size_t length = strlen(s->root), n = sizeof name - 1;
    if (length >= n && strcmp(s->root + length - n, name) == 0 && (length == n || s->root[length - n - 1] == '/')) strcpy(s->root + length - n, length == n ? "./" : "");
    else if (lay_there(s, "../", name, list) == 1) strcpy(s->base, "../"); /* called from within EmoLabel */
}
/* Splits SRC into the root folder and, when it is a file, *lists. */
static int lay_set_root(lay_set *s, const char *source, lay_list *lists) {
    int kind = lay_kind_of(source);
    const char *name;
    if (*source == '\0' || kind == 0) return lay_fail(s, "%s: %s", source, *source == '\0' ? "no folder was named" : strerror(errno));
    if (kind == 2) return lay_path(s, s->root, source, source[strlen(source) - 1] == '/' ? "" : "/", "", "");
    name = lay_base_name(source);
    s->kind = lay_same(lay_extension(name), "csv") ? LAY_CSV : lay_in(name, lay_raf_lists) && lay_allowed(s, LAY_RAF) ? LAY_RAF : LAY_LIST;
    if (name == source) strcpy(s->root, "./");
    else if (snprintf(s->root, sizeof s->root, "%.*s", (int)(name - source), source) >= LAY_PATH) return lay_fail(s, "%s: the path is too long", source);
    if (s->kind == LAY_RAF) lay_leave_emolabel(s, name);
    if (s->kind == LAY_CSV) {
        s->kind = lay_csv_kind(s, name);
        if (s->kind == LAY_NONE) s->kind = LAY_CSV; /* reading it says what is wrong */
    }
    if (!lay_allowed(s, s->kind)) return lay_fail(s, "%s: this is %s, not what --layout %s reads", source, lay_kind_text(s->kind), s->opts.layout);
    return lay_list_add(lists, name) == 0 ? 0 : lay_no_memory(s);
}
static int lay_collect(lay_set *s, const lay_list *lists) {
    size_t i;
    switch (s->kind) {
    case LAY_FOLDERS: return lay_collect_folders(s);
    case LAY_RAF: return lay_collect_raf(s);
    case LAY_NPY: return lay_collect_npy(s);
    default: break;
    }
    for (i = 0; i < lists->count; ++i) {
        if ((s->kind == LAY_LIST ? lay_collect_list_file(s, lists->items[i]) : lay_collect_csv_file(s, lists->items[i])) != 0) return -1;
        if (lists->count > 1 && lay_split_of(lists->items[i]) < 0)
            return lay_fail(s, "%s%s: of %lu list files, this one's name says neither train nor test: name one file alone instead of the folder", s->root, lists->items[i],
                            (unsigned long)lists->count);
    }
    return 0;
}
static void lay_describe(lay_set *s) {
    const char *first = s->keys.count > 0 ? s->keys.items[0] : "", *last = s->keys.count > 0 ? s->keys.items[s->keys.count - 1] : "";
    if (s->kind == LAY_FOLDERS) snprintf(s->layout, sizeof s->layout, "class folders %.60s to %.60s%s", first, last, s->has_splits ? " within split folders" : "");
    else snprintf(s->layout, sizeof s->layout, "%s", lay_kind_text(s->kind));
}
/* Reads what is at `source`. 0, or -1 with s->error. lay_free afterwards in both cases. opts' texts must live as long. */
TOOL_API int lay_scan(lay_set *s, const char *source, const lay_opts *opts) {
    lay_list lists;
    size_t i;
    int bad;
    memset(s, 0, sizeof *s);
    memset(&lists, 0, sizeof lists);
    s->opts = *opts;
    bad = lay_set_root(s, source, &lists);
    if (!bad && s->kind == LAY_NONE) bad = lay_recognise(s, &lists);
    if (!bad) bad = lay_collect(s, &lists);
    if (!bad) bad = lay_cross_check(s, &lists);
    if (!bad) bad = lay_note_twice(s);
    lay_list_free(&lists);
    if (!bad) bad = lay_sort_keys(s);
    if (bad) return -1;
    if (s->keys.count == 0) return lay_check_classes(s);
    lay_describe(s);
    s->key_class = (int *)malloc(s->keys.count * sizeof *s->key_class);
    if (s->key_class == NULL) return lay_no_memory(s);
    for (i = 0; i < s->keys.count; ++i) s->key_class[i] = -1;
    if (lay_name_classes(s) != 0 || lay_choose_classes(s) != 0 || lay_split_every(s) != 0) return -1;
    return lay_check_classes(s);
}
/* Where sample lies on disk. -1 when the path is too long. */
TOOL_API int lay_file(const lay_set *s, const lay_sample *sample, char out[LAY_PATH]) {
    int length = snprintf(out, LAY_PATH, "%s%s", sample->path[0] == '/' ? "" : s->root, sample->path);
    return length >= 0 && length < LAY_PATH ? 0 : -1;
}

/* The options that every program with a lay_opts has, to be copied into its table. */
#define LAY_OPTIONS(o) \
    {"layout", TOOL_TEXT, &(o).layout, "auto|folders|raf|affectnet|csv|list", "how files and labels lie", 0, 0}, \
    {"classes", TOOL_INT, &(o).classes, "N", "classes there must be; 7 leaves contempt out of 8; 0: any", 0, ZN_MAX_CLASSES}, \
    {"labels", TOOL_TEXT, &(o).labels, "NAMES", "what labels mean: raf, affectnet, a file with a name a line, NAME,NAME,... or KEY=NAME,...", 0, 0}, \
    {"base", TOOL_INT, &(o).base, "0|1", "number of the first label in a list; -1: told by the numbers", -1, 1}, \
    {"fields", TOOL_TEXT, &(o).fields, "WORDS", "what a list's lines hold: path,label,split,- in their order", 0, 0}, \
    {"images", TOOL_TEXT, &(o).images, "FOLDER", "where the images of a list lie, below SRC; for RAF-DB aligned or original", 0, 0}, \
    {"test", TOOL_TEXT, &(o).test, "FOLDER", "the split folder to test on, where there are several", 0, 0}, \
    {"every", TOOL_INT, &(o).every, "N", "every Nth file of a class, by name, is to test on; 0: none", 0, 1000000}
enum { LAY_OPTION_COUNT = 8 };

#endif
