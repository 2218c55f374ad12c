/* The part of the conformance runners of C and C++ that is about JSON: scenarios, programs, matching.
 * A language hands in how it opens a database and calls it. tests/conformance/SPEC.md is the specification.
 */

#ifndef SUITE_H
#define SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call came to: the result's JSON, or with `failed` the error's. The text is from malloc. */
typedef struct outcome {
    bool failed;
    char *text; /* NULL: an event that did not come */
    size_t len;
} outcome;

/* A copy of the text as an outcome. */
outcome outcome_of(bool failed, const void *text, size_t len);

/* How a language reaches its database. `op` is a wire name. */
typedef struct language {
    void *(*open)(const char *url, const char *options, outcome *failure);
    void (*close)(void *db);
    outcome (*call)(void *db, const char *op, const char *request, size_t len);
    outcome (*watch)(void *db, const char *op, const char *request, size_t len, void **watch);
    outcome (*next_event)(void *watch, int64_t timeout_ms);
    void (*unwatch)(void *watch);
    outcome (*advance)(void *db, int64_t ms);
} language;

/* Does what the environment asks for; gives the exit code. */
int suite_run(const language *language);

#ifdef __cplusplus
}
#endif

#endif
