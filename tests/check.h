/* check.h - the tests' one tiny harness: CHECK counts, says where it failed, and the last line is the verdict.

   A test program is a row of functions full of CHECKs and `return check_done();`. Each CHECK is one passed or failed;
   what cannot be tested here (a file that is not there) is said with check_skip and counts as neither. */
#ifndef ZENNET_TESTS_CHECK_H
#define ZENNET_TESTS_CHECK_H

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed;

static void check_that(int good, const char *what, const char *file, int line) {
    if (good) {
        ++check_passed;
        return;
    }
    ++check_failed;
    printf("%s:%d: failed: %s\n", file, line, what);
}
#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)
/* The same with words that say for which case of a loop. */
#define CHECK_FOR(condition, which) (((condition) != 0) ? check_that(1, "", "", 0) : (printf("for %s: ", which), check_that(0, #condition, __FILE__, __LINE__)))
/* text holds part. */
#define CHECK_HOLDS(text, part) \
    ((text) != NULL && strstr((text), (part)) != NULL ? check_that(1, "", "", 0) : (printf("'%s' does not hold '%s': ", (text) != NULL ? (text) : "NULL", part), check_that(0, #text, __FILE__, __LINE__)))

#define check_skip(reason) ((void)printf("skipped: %s\n", reason))

static int check_done(void) {
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed > 0 ? 1 : 0;
}

#endif
