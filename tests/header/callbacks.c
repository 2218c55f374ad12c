/* Requests whose outcome comes by callback: once each, on threads of the library, none after close. */

#define _DEFAULT_SOURCE
#include "check.h"

static const rstmdb_slice nothing = {NULL, 0};
static char directory[256];

static rstmdb_db *open_directory(void) { return open_db(new_directory(directory, sizeof directory), ""); }

static void free_directory(rstmdb_db *db) {
    rstmdb_free(db);
    remove_directory(directory);
}

static int32_t flip(const rstmdb_db *db, latch *latch, uint64_t *id) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    int32_t status =
        rstmdb_submit(db, RSTMDB_OPERATION_APPLY_EVENT, text(FLIP), count_callback, latch, id, &out, &error);
    if (status != RSTMDB_PENDING) {
        rstmdb_buffer_free(out);
        rstmdb_error_free(error);
    }
    return status;
}

enum { SUBMITTERS = 8, EACH = 50 };

typedef struct submitter {
    const rstmdb_db *db;
    latch done;
    int pending;
} submitter;

static void *submit_many(void *argument) {
    submitter *self = argument;
    for (int i = 0; i < EACH; i++) {
        int32_t status = flip(self->db, &self->done, NULL);
        CHECK(status == RSTMDB_OK || status == RSTMDB_PENDING);
        self->pending += status == RSTMDB_PENDING;
    }
    return NULL;
}

static void every_callback_of_many_threads_comes_once(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    pthread_t threads[SUBMITTERS];
    submitter submitters[SUBMITTERS];
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (submitter){db, LATCH, 0};
        CHECK(!pthread_create(&threads[i], NULL, submit_many, &submitters[i]));
    }
    int pending = 0;
    for (int i = 0; i < SUBMITTERS; i++) {
        CHECK(!pthread_join(threads[i], NULL));
        wait_for(&submitters[i].done, submitters[i].pending);
        CHECK(submitters[i].pending == 0 || submitters[i].done.last_status == RSTMDB_OK);
        pending += submitters[i].pending;
    }
    /* A write to a directory waits for its sync. */
    CHECK(pending > 0);
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(db, &error), error);
    for (int i = 0; i < SUBMITTERS; i++) {
        CHECK(counted(&submitters[i].done) == submitters[i].pending);
    }
    rstmdb_free(db);
    db = open_db(directory, "");
    char last[64];
    snprintf(last, sizeof last, "\"last_wal_offset\":%d", SUBMITTERS * EACH + 2);
    must(rstmdb_get_instance, db, "{\"instance_id\":\"one\"}", last);
    free_directory(db);
}

static void close_waits_for_what_is_under_way(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    latch done = LATCH;
    int pending = 0;
    for (int i = 0; i < 100; i++) {
        pending += flip(db, &done, NULL) == RSTMDB_PENDING;
    }
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(db, &error), error);
    CHECK(counted(&done) == pending);
    free_directory(db);
    CHECK(counted(&done) == pending);
}

static void free_closes_what_was_not_closed(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    latch done = LATCH;
    int pending = 0;
    for (int i = 0; i < 100; i++) {
        pending += flip(db, &done, NULL) == RSTMDB_PENDING;
    }
    rstmdb_free(db);
    CHECK(counted(&done) == pending);
    /* The lock of the directory is free again. */
    free_directory(open_db(directory, ""));
}

typedef struct closer {
    const rstmdb_db *db;
    latch done, closed;
    int done_before_close;
} closer;

static void close_callback(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    closer *self = user_data;
    CHECK(status == RSTMDB_OK && !error);
    rstmdb_buffer_free(result);
    self->done_before_close = counted(&self->done);
    count_up(&self->closed, status);
}

static void close_in_callback(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    closer *self = user_data;
    CHECK(status == RSTMDB_OK && !error);
    rstmdb_buffer_free(result);
    /* To wait here would be to wait for itself; to start it is fine. */
    CHECK_ERROR(rstmdb_close(self->db, &error), error, RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
    rstmdb_buffer out;
    rstmdb_error *refused = NULL;
    CHECK_OK(rstmdb_ping(self->db, nothing, &out, &refused), refused);
    rstmdb_buffer_free(out);
    CHECK(rstmdb_close_submit(self->db, close_callback, self, &refused) == RSTMDB_PENDING);
    count_up(&self->done, status);
}

static void close_from_a_callback_is_refused_and_can_be_started(void) {
    rstmdb_db *db = open_db("echo:", "");
    closer self = {db, LATCH, LATCH, 0};
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK(rstmdb_submit(db, RSTMDB_OPERATION_PING, text("{\"$wait\":1}"), close_in_callback, &self, NULL,
                        &out, &error) == RSTMDB_PENDING);
    wait_for(&self.closed, 1);
    CHECK(self.done_before_close == 1);
    CHECK_ERROR(rstmdb_ping(db, nothing, &out, &error), error, RSTMDB_ERROR_INTERNAL_ERROR,
                RSTMDB_KIND_CLOSED);
    rstmdb_free(db);
}

static void blocking_calls_work_in_a_callback_callback(void *user_data, int32_t status, rstmdb_buffer result,
                                                       rstmdb_error *error) {
    closer *self = user_data;
    CHECK(status == RSTMDB_OK && !error);
    rstmdb_buffer_free(result);
    must(rstmdb_apply_event, self->db, FLIP, "\"applied\":true");
    count_up(&self->done, status);
}

static void blocking_calls_work_in_a_callback(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    closer self = {db, LATCH, LATCH, 0};
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    int32_t status = rstmdb_submit(db, RSTMDB_OPERATION_APPLY_EVENT, text(FLIP),
                                   blocking_calls_work_in_a_callback_callback, &self, NULL, &out, &error);
    CHECK(status == RSTMDB_PENDING);
    wait_for(&self.done, 1);
    must(rstmdb_get_instance, db, "{\"instance_id\":\"one\"}", "\"last_wal_offset\":4");
    free_directory(db);
}

static void a_cancelled_request_has_no_callback_or_has_had_it(void) {
    rstmdb_db *db = open_db("echo:", "");
    const int often = times(20000);
    latch done = LATCH;
    int cancelled = 0;
    for (int i = 0; i < often; i++) {
        uint64_t id = 0;
        rstmdb_buffer out;
        rstmdb_error *error = NULL;
        CHECK(rstmdb_submit(db, RSTMDB_OPERATION_PING, text("{\"$wait\":1}"), count_callback, &done, &id,
                            &out, &error) == RSTMDB_PENDING);
        CHECK(id != 0);
        if (i % 3 != 0) {
            cancelled += rstmdb_cancel(db, id);
        }
        CHECK(i % 3 == 0 || rstmdb_cancel(db, id) == 0);
    }
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(db, &error), error);
    CHECK(counted(&done) + cancelled == often);
    rstmdb_free(db);
}

/* The events of a cancelled wait for a write that goes on. */
static void cancelling_stops_the_waiting_and_not_the_write(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    latch done = LATCH;
    uint64_t ids[20];
    int pending = 0, cancelled = 0;
    for (int i = 0; i < 20; i++) {
        pending += flip(db, &done, &ids[i]) == RSTMDB_PENDING;
    }
    for (int i = 0; i < 20; i++) {
        cancelled += rstmdb_cancel(db, ids[i]);
    }
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(db, &error), error);
    CHECK(counted(&done) + cancelled == pending);
    rstmdb_free(db);
    db = open_db(directory, "");
    must(rstmdb_get_instance, db, "{\"instance_id\":\"one\"}", "\"last_wal_offset\":22");
    free_directory(db);
}

static void opening_can_be_started(void) {
    latch done = LATCH;
    rstmdb_db *db = NULL;
    rstmdb_error *error = NULL;
    new_directory(directory, sizeof directory);
    int32_t status = rstmdb_open_submit(text(directory), nothing, count_callback, &done, &db, NULL, &error);
    CHECK(db && (status == RSTMDB_PENDING || status == RSTMDB_OK));
    if (status == RSTMDB_PENDING) {
        wait_for(&done, 1);
        CHECK(done.last_status == RSTMDB_OK);
    }
    put_switch(db);
    /* A second handle on the directory is refused, whichever way it is told. */
    latch locked = LATCH;
    rstmdb_db *second = NULL;
    status = rstmdb_open_submit(text(directory), nothing, count_callback, &locked, &second, NULL, &error);
    if (status == RSTMDB_PENDING) {
        CHECK(second != NULL);
        wait_for(&locked, 1);
        CHECK(locked.last_status == RSTMDB_ERROR_INTERNAL_ERROR);
        rstmdb_buffer out;
        CHECK_ERROR(rstmdb_ping(second, nothing, &out, &error), error, RSTMDB_ERROR_INTERNAL_ERROR,
                    RSTMDB_KIND_CLOSED);
        rstmdb_free(second);
    } else {
        CHECK(status == RSTMDB_ERROR_INTERNAL_ERROR && !second);
        rstmdb_error_free(error);
    }
    free_directory(db);
    /* A server that is not there; freeing the handle gives the waiting up. */
    latch lost = LATCH;
    rstmdb_db *away = NULL;
    status =
        rstmdb_open_submit(text("rstmdb://127.0.0.1:1"), nothing, count_callback, &lost, &away, NULL, &error);
    CHECK(status == RSTMDB_PENDING && away);
    rstmdb_free(away);
    CHECK(counted(&lost) == 1 && lost.last_status > 0);
}

typedef struct racer {
    const rstmdb_db *db;
    latch done;
    int pending, closed;
} racer;

static void *race(void *argument) {
    racer *self = argument;
    while (!self->closed) {
        rstmdb_buffer out = {0};
        rstmdb_error *error = NULL;
        int32_t status = rstmdb_submit(self->db, RSTMDB_OPERATION_PING, text("{\"$wait\":1}"), count_callback,
                                       &self->done, NULL, &out, &error);
        self->pending += status == RSTMDB_PENDING;
        self->closed = status > 0;
        if (status > 0) {
            CHECK(rstmdb_error_kind(error) == RSTMDB_KIND_CLOSED);
        }
        rstmdb_buffer_free(out);
        rstmdb_error_free(error);
    }
    return NULL;
}

static void closing_while_others_submit_loses_no_callback(void) {
    for (int round = 0; round < times(300); round++) {
        rstmdb_db *db = open_db("echo:", "");
        pthread_t threads[4];
        racer racers[4];
        for (int i = 0; i < 4; i++) {
            racers[i] = (racer){db, LATCH, 0, 0};
            CHECK(!pthread_create(&threads[i], NULL, race, &racers[i]));
        }
        rstmdb_error *error = NULL;
        CHECK_OK(rstmdb_close(db, &error), error);
        for (int i = 0; i < 4; i++) {
            CHECK(!pthread_join(threads[i], NULL));
        }
        /* Those that slipped in while it closed are waited for by free. */
        rstmdb_free(db);
        for (int i = 0; i < 4; i++) {
            CHECK(counted(&racers[i].done) == racers[i].pending);
        }
    }
}

static void log_callback(void *user_data, int32_t level, rstmdb_slice target, rstmdb_slice message) {
    CHECK(level >= 1 && level <= 5 && target.len > 0 && message.len > 0);
    count_up(user_data, level);
}

static void the_log_goes_where_it_is_sent(void) {
    static latch lines = LATCH;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_set_log(5, log_callback, &lines, &error), error);
    free_directory(open_directory());
    CHECK(counted(&lines) > 0);
    CHECK_OK(rstmdb_set_log(0, NULL, NULL, &error), error);
    int before = counted(&lines);
    free_directory(open_directory());
    CHECK(counted(&lines) == before);
    CHECK_ERROR(rstmdb_set_log(6, log_callback, &lines, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    CHECK_ERROR(rstmdb_set_log(-1, log_callback, &lines, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
}

typedef struct gathering {
    latch done, after;
} gathering;

static void count_after(void *user_data) { count_up(user_data, RSTMDB_OK); }

static void gathered_callback(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    gathering *self = user_data;
    CHECK(status == RSTMDB_OK && !error);
    rstmdb_buffer_free(result);
    count_up(&self->done, status);
    CHECK(rstmdb_after_callbacks(NULL, self) == 0);
    CHECK(rstmdb_after_callbacks(count_after, &self->after) == 1);
}

static void what_comes_after_callbacks_comes_once_and_before_close_returns(void) {
    rstmdb_db *db = open_directory();
    put_switch(db);
    gathering self = {LATCH, LATCH};
    CHECK(rstmdb_after_callbacks(count_after, &self.after) == 0);
    int pending = 0;
    for (int i = 0; i < 100; i++) {
        rstmdb_buffer out;
        rstmdb_error *error = NULL;
        int32_t status = rstmdb_submit(db, RSTMDB_OPERATION_APPLY_EVENT, text(FLIP), gathered_callback, &self,
                                       NULL, &out, &error);
        if (status == RSTMDB_PENDING) {
            pending++;
        } else {
            CHECK_OK(status, error);
            rstmdb_buffer_free(out);
        }
    }
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(db, &error), error);
    CHECK(counted(&self.done) == pending && counted(&self.after) == pending);
    free_directory(db);
}

int main(void) {
    RUN(every_callback_of_many_threads_comes_once);
    RUN(close_waits_for_what_is_under_way);
    RUN(free_closes_what_was_not_closed);
    RUN(close_from_a_callback_is_refused_and_can_be_started);
    RUN(blocking_calls_work_in_a_callback);
    RUN(a_cancelled_request_has_no_callback_or_has_had_it);
    RUN(cancelling_stops_the_waiting_and_not_the_write);
    RUN(what_comes_after_callbacks_comes_once_and_before_close_returns);
    RUN(opening_can_be_started);
    RUN(closing_while_others_submit_loses_no_callback);
    RUN(the_log_goes_where_it_is_sent);
    return 0;
}
