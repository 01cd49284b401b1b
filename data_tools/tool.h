/* tool.h - what every command-line program here shares: long options from a table, --help made of the same table, JSON
   texts, files that appear whole or not at all, Ctrl-C, and a progress line. Include it first: it asks the system for POSIX, which strict C99 hides.

   A program declares a row per option and calls tool_parse; anything but TOOL_GO is its exit status:

       long epochs = 10; const char *words[1]; int count;
       tool_option options[] = {{"epochs", TOOL_INT, &epochs, "N", "passes over the data", 1, 1e6}};
       int status = tool_parse(argc, argv, "PACK", "Trains.", options, 1, words, 1, &count);
       if (status != TOOL_GO) return status;

   Exit status everywhere: 0 done, 1 failed (also when stdout could not take it all), 2 used wrongly. Messages go to
   stderr, results to stdout. */
#ifndef ZENNET_TOOL_H
#define ZENNET_TOOL_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#define TOOL_POSIX 1
#define TOOL_TERMINAL(file) isatty(fileno(file))
#else
#define TOOL_POSIX 0
#define TOOL_TERMINAL(file) 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define TOOL_API static __attribute__((unused)) /* a program need not use all of it */
#else
#define TOOL_API static
#endif

/* OpenMP where it is, nothing where it is not. */
#ifdef _OPENMP
#define TOOL_PRAGMA(text) _Pragma(#text)
#define TOOL_OMP(text) TOOL_PRAGMA(omp text)
#else
#define TOOL_OMP(text)
#endif

enum { TOOL_GO = -1, TOOL_DONE = 0, TOOL_FAILED = 1, TOOL_MISUSED = 2 };

typedef enum tool_kind {
    TOOL_FLAG, /* int: 1 when given; `--no-NAME` makes it 0 */
    TOOL_INT,  /* long, low..high */
    TOOL_SEED, /* uint64_t */
    TOOL_REAL, /* double, low..high */
    TOOL_TEXT  /* const char *; points into argv */
} tool_kind;

typedef struct tool_option {
    const char *name; /* without the dashes */
    tool_kind kind;
    void *value;          /* holds the default; set when the option is given */
    const char *argument; /* what --help calls the value; for TOOL_TEXT "a|b|c" allows just these words */
    const char *help;
    double low, high; /* of TOOL_INT and TOOL_REAL */
} tool_option;

static const char *tool_name = "";

/* One of the words of "a|b|c"? A list without a bar allows anything. */
TOOL_API int tool_is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    const char *at = choices;
    if (strchr(choices, '|') == NULL) return 1;
    for (;;) {
        const char *bar = strchr(at, '|');
        size_t part = bar != NULL ? (size_t)(bar - at) : strlen(at);
        if (part == length && memcmp(at, text, length) == 0) return 1;
        if (bar == NULL) return 0;
        at = bar + 1;
    }
}

TOOL_API int tool_misused(const char *what, const char *detail) {
    fprintf(stderr, "%s: %s%s; --help lists the options\n", tool_name, what, detail);
    return TOOL_MISUSED;
}
/* An option whose value the program finds bad only later. */
TOOL_API int tool_bad_value(const char *name, const char *wants, const char *given) {
    fprintf(stderr, "%s: --%s wants %s, not '%s'\n", tool_name, name, wants, given);
    return TOOL_MISUSED;
}

static int tool_set(const tool_option *o, const char *text) {
    char *end, range[96];
    double number;
    uint64_t seed;
    if (o->kind == TOOL_TEXT) {
        if (!tool_is_choice(o->argument, text)) return tool_bad_value(o->name, o->argument, text);
        *(const char **)o->value = text;
        return TOOL_GO;
    }
    if (o->kind == TOOL_SEED) {
        errno = 0;
        seed = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end != '\0' || errno != 0) return tool_bad_value(o->name, "a whole number from 0", text);
        *(uint64_t *)o->value = seed;
        return TOOL_GO;
    }
    number = strtod(text, &end);
    snprintf(range, sizeof range, "a %snumber from %.10g to %.10g", o->kind == TOOL_INT ? "whole " : "", o->low, o->high);
    if (end == text || *end != '\0' || !(number >= o->low && number <= o->high)) return tool_bad_value(o->name, range, text);
    if (o->kind == TOOL_REAL) *(double *)o->value = number;
    else if (floor(number) < number) return tool_bad_value(o->name, range, text);
    else *(long *)o->value = (long)number;
    return TOOL_GO;
}

static void tool_help(const char *words, const char *about, const tool_option *options, int count) {
    int i;
    printf("usage: %s %s%s[options]\n%s\n", tool_name, words, *words != '\0' ? " " : "", about);
    for (i = 0; i < count; ++i) {
        const tool_option *o = &options[i];
        int width = printf("  --%s %s", o->name, o->kind == TOOL_FLAG ? "" : o->argument);
        printf("%*s%s", width < 28 ? 28 - width : 2, "", o->help);
        if (o->kind == TOOL_INT) printf(" (%ld)", *(long *)o->value);
        if (o->kind == TOOL_REAL) printf(" (%g)", *(double *)o->value);
        if (o->kind == TOOL_SEED) printf(" (%lu)", (unsigned long)*(uint64_t *)o->value);
        if (o->kind == TOOL_TEXT && *(const char **)o->value != NULL) printf(" (%s)", *(const char **)o->value);
        printf("\n");
    }
    printf("  --help                    this text\n");
}

/* Handles argv[*at], an option; moves *at past its value. */
static int tool_take(int argc, char **argv, int *at, const tool_option *options, int count) {
    const char *given = argv[*at] + 2, *equals = strchr(given, '=');
    size_t length = equals != NULL ? (size_t)(equals - given) : strlen(given);
    int i;
    for (i = 0; i < count; ++i) {
        const tool_option *o = &options[i];
        int off = o->kind == TOOL_FLAG && length > 3 && memcmp(given, "no-", 3) == 0 && strcmp(o->name, given + 3) == 0;
        if (!off && (strlen(o->name) != length || memcmp(o->name, given, length) != 0)) continue;
        if (o->kind == TOOL_FLAG) {
            if (equals != NULL) return tool_misused(argv[*at], " takes no value");
            *(int *)o->value = !off;
            return TOOL_GO;
        }
        if (equals != NULL) return tool_set(o, equals + 1);
        if (*at + 1 >= argc) return tool_misused(argv[*at], " wants a value");
        return tool_set(o, argv[++*at]);
    }
    return tool_misused("unknown option ", argv[*at]);
}

/* Results that did not get out (a full disk behind stdout) are no success. */
static void tool_check_output(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return;
    fprintf(stderr, "%s: cannot write all results to stdout (disk full?)\n", tool_name);
    _Exit(TOOL_FAILED);
}
/* A stream that the caller closed would be the next file opened, and what is printed would go into it: /dev/null takes its
   number, opened so that reading stdin and writing the others still fail. Where files may not grow (ulimit -f) writing
   fails as on a full disk, instead of a signal that ends the program and leaves half a file. */
static void tool_settle(void) {
#if TOOL_POSIX
    int fd;
    for (fd = 0; fd < 3; ++fd)
        if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
#endif
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN);
#endif
}
/* Reads the command line. `words` (max_words of room) gets what is not an option; the program checks that there are
   enough. "--" ends the options. */
TOOL_API int tool_parse(int argc, char **argv, const char *usage, const char *about, const tool_option *options, int count,
                        const char **words, int max_words, int *out_words) {
    int i, only_words = 0, status;
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    tool_name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    *out_words = 0;
    tool_settle();
    (void)atexit(tool_check_output);
    for (i = 1; i < argc; ++i)
        if (strcmp(argv[i], "--") == 0) break;
        else if (strcmp(argv[i], "--help") == 0) {
            tool_help(usage, about, options, count);
            return TOOL_DONE;
        }
    for (i = 1; i < argc; ++i) {
        if (!only_words && strcmp(argv[i], "--") == 0) only_words = 1;
        else if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            status = tool_take(argc, argv, &i, options, count);
            if (status != TOOL_GO) return status;
        } else if (*out_words >= max_words) return tool_misused("what is this for: ", argv[i]);
        else words[(*out_words)++] = argv[i];
    }
    return TOOL_GO;
}

/* ---- files ---- */
typedef struct tool_file {
    FILE *file;
    char path[4096], part[4104];
} tool_file;
/* Where a chain of symbolic links ends, so that links stay links; there need not be anything. zennet.h and zennet_image.h, each of
   which stands alone, do the same; a tool need not include either. */
static int tool_follow_links(const char *path, char to[4096]) {
    int length = snprintf(to, 4096, "%s", path), hops = 0;
#if TOOL_POSIX
    char target[4096];
    ssize_t got;
    for (; length < 4096 && hops < 40 && (got = readlink(to, target, sizeof target - 1)) > 0; ++hops) {
        const char *slash = strrchr(to, '/');
        int before = target[0] != '/' && slash != NULL ? (int)(slash + 1 - to) : 0;
        length = before + snprintf(to + before, (size_t)(4096 - before), "%.*s", (int)got, target);
    }
#endif
    errno = hops == 40 ? ELOOP : ENAMETOOLONG;
    return length < 4096 && hops < 40;
}
/* Whether a device or a pipe is there, which is written to and not replaced. */
static int tool_is_special(const char *path) {
#if TOOL_POSIX
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
#else
    (void)path;
    return 0;
#endif
}
/* Opens a file that gets its name in tool_file_end, or a device; NULL, and errno says why. */
TOOL_API FILE *tool_file_begin(tool_file *f, const char *path) {
    f->file = NULL;
    if (!tool_follow_links(path, f->path)) return NULL;
    snprintf(f->part, sizeof f->part, tool_is_special(f->path) ? "%s" : "%s.part", f->path);
    return f->file = fopen(f->part, "wb");
}
static int tool_file_aside(const tool_file *f) { return strcmp(f->part, f->path) != 0; }
/* Puts it in the place of an old one; else 0, errno says why, and the old one stays. */
TOOL_API int tool_file_end(tool_file *f) {
    int bad = ferror(f->file) || fflush(f->file) != 0, why = errno;
    if (fclose(f->file) != 0 && !bad) bad = 1, why = errno;
    if (!bad && (!tool_file_aside(f) || rename(f->part, f->path) == 0)) return 1;
    if (!bad) why = errno;
    if (tool_file_aside(f)) remove(f->part);
    errno = why;
    return 0;
}
TOOL_API int tool_cannot_write(const char *path) { /* always 0 */
    fprintf(stderr, "%s: %s: cannot write: %s\n", tool_name, path, strerror(errno));
    return 0;
}
/* Whether a file can be written there, to be asked before the hours of work that it is to hold. 0 and a message when not. */
TOOL_API int tool_can_write(const char *path) {
#if TOOL_POSIX
    char folder[4096], *slash;
    struct stat old;
    if (!tool_follow_links(path, folder)) return tool_cannot_write(path);
    if (stat(folder, &old) == 0) {
        if (S_ISDIR(old.st_mode)) errno = EISDIR;
        if (S_ISDIR(old.st_mode) || access(folder, W_OK) != 0) return tool_cannot_write(path);
        if (!S_ISREG(old.st_mode)) return 1;
    }
    slash = strrchr(folder, '/');
    strcpy(slash == NULL ? folder : slash == folder ? folder + 1 : slash, slash == NULL ? "." : "");
    return access(folder, W_OK | X_OK) == 0 || tool_cannot_write(path);
#else
    tool_file f;
    if (tool_file_begin(&f, path) == NULL) return tool_cannot_write(path);
    fclose(f.file);
    remove(f.part);
    return 1;
#endif
}

/* ---- the same file twice ---- */
typedef struct tool_place {
    const char *what, *path; /* what it is for, an option perhaps; NULL or "": no file */
    int written;             /* else read */
} tool_place;
/* Whether two paths lead to one regular file, or will when it is there: to the same name in the same folder. */
static int tool_same_file(const char *a, const char *b) {
#if TOOL_POSIX
    char to[2][4096], *slash[2];
    struct stat s[2];
    int i, there;
    if (!tool_follow_links(a, to[0]) || !tool_follow_links(b, to[1])) return 0;
    there = (stat(to[0], &s[0]) == 0) + (stat(to[1], &s[1]) == 0);
    if (there == 1 || (there == 2 && !S_ISREG(s[0].st_mode))) return 0;
    for (i = 0; i < 2 && there == 0; ++i) {
        slash[i] = strrchr(to[i], '/');
        if (slash[i] != NULL) *slash[i] = '\0';
        if (stat(slash[i] == NULL ? "." : slash[i] == to[i] ? "/" : to[i], &s[i]) != 0) return 0;
    }
    return s[0].st_dev == s[1].st_dev && s[0].st_ino == s[1].st_ino &&
           (there == 2 || strcmp(slash[0] != NULL ? slash[0] + 1 : to[0], slash[1] != NULL ? slash[1] + 1 : to[1]) == 0);
#else
    return strcmp(a, b) == 0;
#endif
}
/* Asked before the work: a file written to must not be one that is read, nor be written to again. TOOL_GO, or the exit status
   after a message. */
TOOL_API int tool_apart(const tool_place *places, int count) {
    int i, k;
    for (i = 0; i < count; ++i)
        for (k = 0; k < i; ++k) {
            const tool_place *a = &places[k], *b = &places[i];
            if (a->path == NULL || b->path == NULL || *a->path == '\0' || *b->path == '\0' || (!a->written && !b->written) || !tool_same_file(a->path, b->path)) continue;
            fprintf(stderr, "%s: %s and %s are the same file, %s: one would replace the other\n", tool_name, a->what, b->what, b->path);
            return TOOL_MISUSED;
        }
    return TOOL_GO;
}

/* ---- Ctrl-C: signal(SIGINT, on_interrupt), and what takes long looks at stop_asked ---- */
static volatile sig_atomic_t stop_asked;
TOOL_API void on_interrupt(int number) {
    (void)number;
    if (stop_asked) _Exit(130); /* the second time means it */
    stop_asked = 1;
}

/* Prints text as a JSON string. Bytes that are not UTF-8 become U+FFFD. */
TOOL_API void tool_json_text(FILE *file, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    fputc('"', file);
    while (*p != 0) {
        int more = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : *p >= 0xf0 && *p < 0xf5 ? 3 : -1, i;
        for (i = 1; i <= more; ++i)
            if ((p[i] & 0xc0) != 0x80) more = -1;
        if (more > 1 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)))
            more = -1;
        if (*p == '"' || *p == '\\') fprintf(file, "\\%c", *p);
        else if (*p < 32 || *p == 127) fprintf(file, "\\u%04x", (unsigned)*p);
        else if (more < 0) fputs("\\ufffd", file);
        else fwrite(p, 1, (size_t)more + 1, file);
        p += more < 0 ? 1 : more + 1;
    }
    fputc('"', file);
}

/* Characters of UTF-8 text, of which each may be several bytes. */
TOOL_API int tool_text_width(const char *text) {
    int width = 0;
    for (; *text != '\0'; ++text) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}
/* Prints text to stdout, then blanks up to `width` characters. */
TOOL_API void tool_print_padded(const char *text, int width) {
    int blanks = width - tool_text_width(text);
    printf("%s%*s", text, blanks > 0 ? blanks : 0, "");
}

/* Wall clock in seconds, for rates only. */
TOOL_API double tool_seconds(void) {
#ifdef CLOCK_MONOTONIC
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#else
    return (double)time(NULL);
#endif
}

/* Progress on stderr: in place on a terminal, a plain line every few seconds otherwise. One thread at a time. */
typedef struct tool_progress {
    const char *what, *unit; /* "packing", "images" */
    double total, begin, shown;
    int terminal, width, lines;
} tool_progress;

TOOL_API void tool_progress_begin(tool_progress *p, const char *what, const char *unit, double total) {
    p->what = what;
    p->unit = unit;
    p->total = total;
    p->begin = p->shown = tool_seconds();
    p->terminal = TOOL_TERMINAL(stderr);
    p->width = p->lines = 0;
}
/* Takes the line away, so that something else can be printed. */
TOOL_API void tool_progress_clear(tool_progress *p) {
    if (p->terminal && p->width > 0) fprintf(stderr, "\r%*s\r", p->width, "");
    p->width = 0;
}
static void tool_progress_show(tool_progress *p, double done, const char *extra) {
    char line[400], left[32] = "";
    double spent = p->shown - p->begin, rate = spent > 0 ? done / spent : 0, rest = rate > 0 ? (p->total - done) / rate : 0;
    int width;
    if (rate > 0 && done < p->total) {
        if (rest < 100) snprintf(left, sizeof left, ", %.0f s left", rest);
        else if (rest < 6000) snprintf(left, sizeof left, ", %.0f min left", rest / 60);
        else snprintf(left, sizeof left, ", %.1f h left", rest / 3600);
    }
    width = snprintf(line, sizeof line, "%s %.0f of %.0f %s, %.*f/s%s%s%s", p->what, done, p->total, p->unit, rate < 10 ? 1 : 0, rate, left,
                     extra != NULL ? ", " : "", extra != NULL ? extra : "");
    if (width < 0) return;
    if (width >= (int)sizeof line) width = (int)sizeof line - 1;
    if (p->terminal) fprintf(stderr, "\r%s%*s", line, p->width > width ? p->width - width : 0, "");
    else fprintf(stderr, "%s\n", line);
    p->width = width;
    ++p->lines;
    fflush(stderr);
}
/* done of total; extra (may be NULL) is shown behind. Cheap: call it for every item. */
TOOL_API void tool_progress_step(tool_progress *p, double done, const char *extra) {
    double now = tool_seconds();
    if (now - p->shown < (p->terminal ? 0.1 : 5)) return;
    p->shown = now;
    tool_progress_show(p, done, extra);
}
/* The last state stays on the screen when anything was shown before. */
TOOL_API void tool_progress_end(tool_progress *p, double done, const char *extra) {
    p->shown = tool_seconds();
    if (p->lines > 0) tool_progress_show(p, done, extra);
    if (p->terminal && p->width > 0) fputc('\n', stderr);
    p->width = 0;
}

#endif
