/* structure_file.h - programs that take a structure also take a text file whose first line is one, as the search writes
   best_structure.txt. And the names of the scores, as options list them. */
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
    text[strcspn(text, "\r\n")] = '\0';
    if (size > 0 && strlen(text) <= size && strchr(text, '(') != NULL) return text;
    free(text);
    return NULL;
}
/* A word of the command line: the first line of such a file, else the word itself. The caller frees it. */
TOOL_API char *structure_of_word(const char *word) {
    char *text = strchr(word, '(') == NULL ? structure_of_file(word) : NULL;
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
