/* structure_file.h - programs that take a structure also take a text file whose first line is one, as the search writes
   best_structure.txt. And the names of the scores, as options list them. Include it behind zennet.h. */
#ifndef ZENNET_EXAMPLES_STRUCTURE_FILE_H
#define ZENNET_EXAMPLES_STRUCTURE_FILE_H

#include "data_tools/tool.h"

#define SCORE_NAMES "zen|zen-paper|gradnorm|synflow|naswot|tenas|zen-expected|flops|params|deepmad|random"

/* The first line of a text file, NULL when path is no such file or its first line no structure. The caller frees it. */
TOOL_API char *structure_of_file(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = file != NULL ? (char *)malloc(1 << 20) : NULL;
    size_t size = text != NULL ? fread(text, 1, (1 << 20) - 1, file) : 0;
    if (file != NULL) fclose(file);
    if (text == NULL) return NULL;
    text[size] = '\0';
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) memmove(text, text + 3, size - 2); /* what some editors begin a file with */
    text[strcspn(text, "\r\n")] = '\0';
    if (size > 0 && strlen(text) <= size && strchr(text, '(') != NULL) return text;
    free(text);
    return NULL;
}
/* Whether a word of the command line means a file: it is no name, and a file is there, or it is no structure either. */
TOOL_API int structure_word_is_file(const char *word) {
    FILE *file = zn_structure_builtin(word) == NULL ? fopen(word, "rb") : NULL;
    if (file != NULL) fclose(file);
    return file != NULL || (zn_structure_builtin(word) == NULL && strchr(word, '(') == NULL);
}
/* A word of the command line: the first line of such a file, else the word itself. The caller frees it. */
TOOL_API char *structure_of_word(const char *word) {
    int file = structure_word_is_file(word);
    char *text = file ? structure_of_file(word) : NULL;
    if (file && text == NULL) fprintf(stderr, "%s: %.200s is no structure, no name (zennet-m, zennet-r) and no file with one\n", tool_name, word);
    if (text == NULL && (text = (char *)malloc(strlen(word) + 1)) != NULL) strcpy(text, word);
    return text;
}
/* The same for an option of a program, which needs one at a time; kept until the program ends. */
TOOL_API const char *structure_of_option(const char *word) {
    static char *kept;
    free(kept);
    kept = structure_of_word(word);
    return kept != NULL ? kept : word;
}

#endif
