/* What the tests of the C interface share: checks that say where they failed, JSON as slices, and a
 * latch that callbacks count down. */

#ifndef CHECK_H
#define CHECK_H

#include "rstmdb.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Fails with the error's text unless the call's status is RSTMDB_OK. The call comes before the error is read.
 */
#define CHECK_OK(call, error)                                                                                \
    do {                                                                                                     \
        int32_t status_ = (call);                                                                            \
        check_ok(status_, error, __FILE__, __LINE__);                                                        \
    } while (0)
/* Fails unless the status is the code and the error has the kind; frees the error. */
#define CHECK_ERROR(call, error, code, kind)                                                                 \
    do {                                                                                                     \
        int32_t status_ = (call);                                                                            \
        check_error(status_, error, code, kind, __FILE__, __LINE__);                                         \
    } while (0)

/* How often to repeat what is repeated often: less under valgrind. */
static inline int times(int often) { return getenv("RSTMDB_SLOW") ? (often + 99) / 100 : often; }

static inline rstmdb_slice text(const char *text) {
    rstmdb_slice slice = {(const uint8_t *)text, strlen(text)};
    return slice;
}

static inline bool is(rstmdb_slice slice, const char *expected) {
    return slice.len == strlen(expected) && (slice.len == 0 || !memcmp(slice.data, expected, slice.len));
}

static inline bool has(rstmdb_buffer buffer, const char *part) {
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= buffer.len; i++) {
        if (!memcmp(buffer.data + i, part, len)) {
            return true;
        }
    }
    return false;
}

static inline void check_ok(int32_t status, rstmdb_error *error, const char *file, int line) {
    if (status != RSTMDB_OK || error) {
        rstmdb_slice json = rstmdb_error_json(error);
        fprintf(stderr, "%s:%d: status %d: %.*s\n", file, line, (int)status, (int)json.len,
                json.data ? (const char *)json.data : "");
        abort();
    }
}

static inline void check_error(int32_t status, rstmdb_error *error, int32_t code, int32_t kind,
                               const char *file, int line) {
    if (status != code || !error || rstmdb_error_code(error) != code || rstmdb_error_kind(error) != kind ||
        rstmdb_error_message(error).len == 0) {
        rstmdb_slice json = rstmdb_error_json(error);
        fprintf(stderr, "%s:%d: status %d, expected code %d and kind %d: %.*s\n", file, line, (int)status,
                (int)code, (int)kind, (int)json.len, json.data ? (const char *)json.data : "");
        abort();
    }
    rstmdb_error_free(error);
}

static inline rstmdb_db *open_db(const char *url, const char *options) {
    rstmdb_db *db = NULL;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_open(text(url), text(options), &db, &error), error);
    CHECK(db);
    return db;
}

typedef int32_t (*operation)(const rstmdb_db *, rstmdb_slice, rstmdb_buffer *, rstmdb_error **);

/* Calls an operation that must succeed, and looks for a part of its result. */
static inline void must(operation call, const rstmdb_db *db, const char *request, const char *part) {
    rstmdb_buffer out;
    rstmdb_error *error;
    CHECK_OK(call(db, text(request), &out, &error), error);
    if (!has(out, part)) {
        fprintf(stderr, "%s is not in %.*s\n", part, (int)out.len, (const char *)out.data);
        abort();
    }
    rstmdb_buffer_free(out);
}

/* A machine that flips between A and B, and its instance "one". */
static inline void put_switch(const rstmdb_db *db) {
    must(rstmdb_put_machine, db,
         "{\"machine\":\"switch\",\"version\":1,\"definition\":{\"states\":[\"A\",\"B\"],\"initial\":\"A\","
         "\"transitions\":[{\"from\":\"A\",\"event\":\"FLIP\",\"to\":\"B\"},"
         "{\"from\":\"B\",\"event\":\"FLIP\",\"to\":\"A\"}]}}",
         "\"created\":true");
    must(rstmdb_create_instance, db, "{\"instance_id\":\"one\",\"machine\":\"switch\",\"version\":1}", "one");
}

#define FLIP "{\"instance_id\":\"one\",\"event\":\"FLIP\"}"

/* A number that threads wait for. */
typedef struct latch {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count;
    int32_t last_status;
} latch;

#define LATCH {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0}

static inline void count_up(latch *latch, int32_t status) {
    pthread_mutex_lock(&latch->mutex);
    latch->count++;
    latch->last_status = status;
    pthread_cond_broadcast(&latch->changed);
    pthread_mutex_unlock(&latch->mutex);
}

static inline int counted(latch *latch) {
    pthread_mutex_lock(&latch->mutex);
    int count = latch->count;
    pthread_mutex_unlock(&latch->mutex);
    return count;
}

static inline void wait_for(latch *latch, int count) {
    pthread_mutex_lock(&latch->mutex);
    while (latch->count < count) {
        pthread_cond_wait(&latch->changed, &latch->mutex);
    }
    pthread_mutex_unlock(&latch->mutex);
}

/* A callback that counts, and frees what it is given. */
static inline void count_callback(void *user_data, int32_t status, rstmdb_buffer result,
                                  rstmdb_error *error) {
    rstmdb_buffer_free(result);
    rstmdb_error_free(error);
    count_up((latch *)user_data, status);
}

/* An empty directory of its own under the one the tests were given. */
static inline const char *new_directory(char *path, size_t len) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, len, "%s/rstmdb-header-XXXXXX", folder ? folder : "/tmp");
    CHECK(mkdtemp(path));
    return path;
}

static inline void remove_directory(const char *path) {
    char command[1024];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    CHECK(system(command) == 0);
}

#define RUN(test)                                                                                            \
    do {                                                                                                     \
        test();                                                                                              \
        printf("ok %s\n", #test);                                                                            \
        fflush(stdout);                                                                                      \
    } while (0)

#endif
