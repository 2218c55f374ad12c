/* The conformance runner of C: every operation through its own function and, every other time,
 * through rstmdb_submit. The rest of it is in suite.c. */

#include "operations.h"
#include "rstmdb.h"
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rstmdb_slice slice(const char *text, size_t len) { return (rstmdb_slice){(const uint8_t *)text, len}; }

/* What a call came to; takes the buffer and the error. */
static outcome taken(int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    outcome came = {false, NULL, 0};
    if (status > 0) {
        rstmdb_slice json = rstmdb_error_json(error);
        came = outcome_of(true, json.data, json.len);
    } else if (status == RSTMDB_OK) {
        came = outcome_of(false, result.data, result.len);
    }
    rstmdb_error_free(error);
    rstmdb_buffer_free(result);
    return came;
}

/* One outcome that a callback brings. */
typedef struct pending {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
    outcome came;
} pending;

static void done(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    pending *waiting = user_data;
    outcome came = taken(status, result, error);
    pthread_mutex_lock(&waiting->mutex);
    waiting->came = came;
    waiting->is_done = true;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->mutex);
}

static outcome await(pending *waiting, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    if (status != RSTMDB_PENDING) {
        return taken(status, result, error);
    }
    pthread_mutex_lock(&waiting->mutex);
    while (!waiting->is_done) {
        pthread_cond_wait(&waiting->changed, &waiting->mutex);
    }
    pthread_mutex_unlock(&waiting->mutex);
    return waiting->came;
}

#define PENDING {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, {false, NULL, 0}}

/* Says whether this call goes the asynchronous way. */
static bool other_way(void) {
    static unsigned calls;
    return ++calls % 2 == 0;
}

static void *open_db(const char *url, const char *options, outcome *failure) {
    rstmdb_db *db = NULL;
    rstmdb_error *error = NULL;
    rstmdb_slice where = slice(url, strlen(url)), how = slice(options, strlen(options));
    rstmdb_buffer none = {0};
    if (other_way()) {
        pending waiting = PENDING;
        int32_t status = rstmdb_open_submit(where, how, done, &waiting, &db, NULL, &error);
        *failure = await(&waiting, status, none, error);
    } else {
        *failure = taken(rstmdb_open(where, how, &db, &error), none, error);
    }
    if (!failure->failed) {
        free(failure->text);
        return db;
    }
    rstmdb_free(db);
    return NULL;
}

static void close_db(void *db) {
    if (other_way()) {
        pending waiting = PENDING;
        rstmdb_error *error = NULL;
        rstmdb_buffer none = {0};
        int32_t status = rstmdb_close_submit(db, done, &waiting, &error);
        free(await(&waiting, status, none, error).text);
    }
    rstmdb_free(db);
}

#define CALL(WIRE, name) {#WIRE, RSTMDB_OPERATION_##WIRE, rstmdb_##name},

static const struct {
    const char *wire;
    int32_t number;
    int32_t (*call)(const rstmdb_db *, rstmdb_slice, rstmdb_buffer *, rstmdb_error **);
} calls[] = {RSTMDB_CALLS(CALL)};

static const struct {
    const char *wire;
    int32_t number;
    int32_t (*call)(const rstmdb_db *, rstmdb_slice, rstmdb_watch **, rstmdb_buffer *, rstmdb_error **);
} watches[] = {RSTMDB_WATCHES(CALL)};

static outcome call(void *db, const char *op, const char *request, size_t len) {
    rstmdb_buffer out = {0};
    rstmdb_error *error = NULL;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].wire, op)) {
            continue;
        }
        if (!other_way()) {
            int32_t status = calls[i].call(db, slice(request, len), &out, &error);
            return taken(status, out, error);
        }
        pending waiting = PENDING;
        int32_t status =
            rstmdb_submit(db, calls[i].number, slice(request, len), done, &waiting, NULL, &out, &error);
        return await(&waiting, status, out, error);
    }
    return outcome_of(true, "\"unknown operation\"", 19);
}

static outcome watch(void *db, const char *op, const char *request, size_t len, void **stream) {
    rstmdb_buffer out = {0};
    rstmdb_error *error = NULL;
    rstmdb_watch *made = NULL;
    outcome came = {true, NULL, 0};
    for (size_t i = 0; i < sizeof watches / sizeof *watches; i++) {
        if (strcmp(watches[i].wire, op)) {
            continue;
        }
        if (other_way()) {
            pending waiting = PENDING;
            int32_t status = rstmdb_watch_submit(db, watches[i].number, slice(request, len), done, &waiting,
                                                 &made, NULL, &out, &error);
            came = await(&waiting, status, out, error);
        } else {
            int32_t status = watches[i].call(db, slice(request, len), &made, &out, &error);
            came = taken(status, out, error);
        }
    }
    if (came.failed) {
        rstmdb_watch_free(made);
        made = NULL;
    }
    *stream = made;
    return came;
}

/* The one event of `[event]`; none of `[]`. */
static outcome next_event(void *stream, int64_t timeout_ms) {
    rstmdb_buffer out = {0};
    rstmdb_error *error = NULL;
    int32_t status = rstmdb_watch_next(stream, 1, timeout_ms, &out, &error);
    outcome came = taken(status, out, error);
    if (came.failed || !came.text || came.len <= 2) {
        if (!came.failed) {
            free(came.text);
            came.text = NULL;
        }
        return came;
    }
    came.len -= 2;
    memmove(came.text, came.text + 1, came.len);
    came.text[came.len] = 0;
    return came;
}

static void unwatch(void *stream) { rstmdb_watch_free(stream); }

static outcome advance(void *db, int64_t ms) {
    rstmdb_error *error = NULL;
    rstmdb_buffer none = {0};
    return taken(rstmdb_advance_clock(db, ms, &error), none, error);
}

int main(void) {
    static const language c = {open_db, close_db, call, watch, next_event, unwatch, advance};
    return suite_run(&c);
}
