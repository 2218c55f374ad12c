/* Watches: every event once and in order, however slowly they are read and whoever gives up. */

#define _DEFAULT_SOURCE
#include "check.h"

static rstmdb_watch *watch_all(const rstmdb_db *db, const char *request) {
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_watch_all(db, text(request), &watch, &out, &error), error);
    CHECK(watch && has(out, "\"subscription_id\""));
    rstmdb_buffer_free(out);
    return watch;
}

/* The number of events in a JSON list of them, which must go on from `offset`. */
static int count_events(rstmdb_buffer events, uint64_t *offset) {
    static const char name[] = "\"wal_offset\":";
    int count = 0;
    for (size_t i = 0; i + sizeof name <= events.len; i++) {
        if (!memcmp(events.data + i, name, sizeof name - 1)) {
            CHECK(strtoull((const char *)events.data + i + sizeof name - 1, NULL, 10) == ++*offset);
            count++;
        }
    }
    return count;
}

static int take(const rstmdb_watch *watch, uint32_t events_max, int64_t timeout_ms, uint64_t *offset) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_watch_next(watch, events_max, timeout_ms, &out, &error), error);
    CHECK(out.len >= 2 && out.data[0] == '[');
    int count = count_events(out, offset);
    CHECK((uint32_t)count <= events_max || (events_max == 0 && count == 1));
    rstmdb_buffer_free(out);
    return count;
}

static void flip(const rstmdb_db *db, int often) {
    for (int i = 0; i < often; i++) {
        must(rstmdb_apply_event, db, FLIP, "\"applied\":true");
    }
}

static void events_come_in_order_and_a_wait_can_end(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *watch = watch_all(db, "{}");
    uint64_t offset = 2;
    CHECK(take(watch, 10, 0, &offset) == 0 && take(watch, 10, 1, &offset) == 0);
    CHECK(rstmdb_watch_resume_offset(watch) == 3);
    flip(db, 5);
    CHECK(take(watch, 2, -1, &offset) == 2 && rstmdb_watch_resume_offset(watch) == 5);
    CHECK(take(watch, 0, -1, &offset) == 1);
    CHECK(take(watch, UINT32_MAX, 10000, &offset) == 2);
    CHECK(take(watch, 10, 0, &offset) == 0 && offset == 7);
    rstmdb_watch_free(watch);
    /* A new one goes on where another ended. */
    watch = watch_all(db, "{\"from_offset\":5}");
    offset = 4;
    while (offset < 7) {
        take(watch, 10, -1, &offset);
    }
    rstmdb_watch_free(watch);
    rstmdb_free(db);
}

static void a_slow_reader_loses_nothing(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *watch = watch_all(db, "{}");
    const int often = times(20000);
    flip(db, often);
    uint64_t offset = 2;
    while (offset < (uint64_t)often + 2) {
        CHECK(take(watch, 100, -1, &offset) > 0);
    }
    rstmdb_watch_free(watch);
    rstmdb_free(db);
}

static void an_endless_stream_is_read_no_faster_than_pulled(void) {
    rstmdb_db *db = open_db("echo:", "");
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_watch_all(db, text("{}"), &watch, &out, &error), error);
    rstmdb_buffer_free(out);
    uint64_t offset = 0;
    for (int i = 0; i < times(1000); i++) {
        CHECK(take(watch, 50, -1, &offset) == 50);
    }
    CHECK(offset == 50 * (uint64_t)times(1000));
    rstmdb_watch_free(watch);
    rstmdb_free(db);
}

typedef struct waiter {
    const rstmdb_watch *watch;
    latch begun, ended;
} waiter;

static void *wait_for_end(void *argument) {
    waiter *self = argument;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    count_up(&self->begun, 0);
    int32_t status = rstmdb_watch_next(self->watch, 1, -1, &out, &error);
    CHECK(status == RSTMDB_ENDED && !error && out.len == 0);
    count_up(&self->ended, status);
    return NULL;
}

static void unwatch_and_close_end_a_wait(void) {
    for (int i = 0; i < 3; i++) {
        rstmdb_db *db = open_db("mem:", "");
        put_switch(db);
        rstmdb_watch *watch = watch_all(db, "{}");
        waiter self = {watch, LATCH, LATCH};
        pthread_t thread;
        CHECK(!pthread_create(&thread, NULL, wait_for_end, &self));
        wait_for(&self.begun, 1);
        rstmdb_error *error = NULL;
        if (i == 0) {
            rstmdb_unwatch(watch);
        } else if (i == 1) {
            CHECK_OK(rstmdb_close(db, &error), error);
        } else {
            rstmdb_free(db);
            db = NULL;
        }
        CHECK(!pthread_join(thread, NULL));
        CHECK(counted(&self.ended) == 1);
        rstmdb_unwatch(watch);
        rstmdb_buffer out;
        CHECK(rstmdb_watch_next(watch, 1, 0, &out, &error) == RSTMDB_ENDED);
        rstmdb_watch_free(watch);
        rstmdb_free(db);
    }
}

static void next_submit_tells_by_callback_or_at_once(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *watch = watch_all(db, "{}");
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    latch done = LATCH;
    CHECK(rstmdb_watch_next_submit(watch, 10, count_callback, &done, NULL, &out, &error) == RSTMDB_PENDING);
    /* One waits at a time. */
    CHECK_ERROR(rstmdb_watch_next(watch, 1, 0, &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    flip(db, 1);
    wait_for(&done, 1);
    CHECK(done.last_status == RSTMDB_OK);
    /* An event that is there already is told at once; it may still be on its way. */
    flip(db, 1);
    int calls = 2;
    int32_t status = rstmdb_watch_next_submit(watch, 10, count_callback, &done, NULL, &out, &error);
    if (status == RSTMDB_OK) {
        CHECK(has(out, "\"wal_offset\":4"));
        rstmdb_buffer_free(out);
        calls = 1;
    } else {
        CHECK(status == RSTMDB_PENDING);
    }
    wait_for(&done, calls);
    CHECK(rstmdb_watch_next_submit(watch, 10, count_callback, &done, NULL, &out, &error) == RSTMDB_PENDING);
    rstmdb_watch_free(watch);
    wait_for(&done, calls + 1);
    CHECK(done.last_status == RSTMDB_ENDED);
    rstmdb_free(db);
    CHECK(counted(&done) == calls + 1);
}

typedef struct collector {
    pthread_mutex_t mutex;
    uint64_t offset;
    latch done;
} collector;

static void collect(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    collector *self = user_data;
    CHECK(status == RSTMDB_OK && !error);
    pthread_mutex_lock(&self->mutex);
    count_events(result, &self->offset);
    pthread_mutex_unlock(&self->mutex);
    rstmdb_buffer_free(result);
    count_up(&self->done, status);
}

static void cancelling_a_wait_loses_no_event(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *watch = watch_all(db, "{}");
    collector self = {PTHREAD_MUTEX_INITIALIZER, 2, LATCH};
    const int often = times(5000);
    int awaited = 0;
    for (int i = 0; i < often; i++) {
        rstmdb_buffer out;
        rstmdb_error *error = NULL;
        uint64_t id = 0;
        int32_t status;
        while ((status = rstmdb_watch_next_submit(watch, 3, collect, &self, &id, &out, &error)) ==
               RSTMDB_OK) {
            pthread_mutex_lock(&self.mutex);
            count_events(out, &self.offset);
            pthread_mutex_unlock(&self.mutex);
            rstmdb_buffer_free(out);
        }
        if (status > 0) {
            CHECK_OK(status, error);
        }
        CHECK(status == RSTMDB_PENDING);
        flip(db, 1);
        if (rstmdb_cancel(db, id) == 0) {
            wait_for(&self.done, ++awaited);
        }
    }
    while (self.offset < (uint64_t)often + 2) {
        take(watch, 100, -1, &self.offset);
    }
    rstmdb_watch_free(watch);
    rstmdb_free(db);
}

static void watching_can_be_started(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    latch done = LATCH;
    static const char history[] = "{\"instance_id\":\"one\",\"from_offset\":1,\"include_lifecycle\":true}";
    int32_t status = rstmdb_watch_submit(db, RSTMDB_OPERATION_WATCH_INSTANCE, text(history), count_callback,
                                         &done, &watch, NULL, &out, &error);
    CHECK(watch && (status == RSTMDB_OK || status == RSTMDB_PENDING));
    if (status == RSTMDB_PENDING) {
        wait_for(&done, 1);
        CHECK(done.last_status == RSTMDB_OK);
    } else {
        CHECK(has(out, "\"current_state\":\"A\""));
        rstmdb_buffer_free(out);
    }
    uint64_t offset = 1;
    CHECK(take(watch, 1, -1, &offset) == 1);
    rstmdb_watch_free(watch);
    watch = NULL;
    latch refused = LATCH;
    status = rstmdb_watch_submit(db, RSTMDB_OPERATION_WATCH_INSTANCE, text("{\"instance_id\":\"two\"}"),
                                 count_callback, &refused, &watch, NULL, &out, &error);
    if (status == RSTMDB_PENDING) {
        wait_for(&refused, 1);
        CHECK(refused.last_status == RSTMDB_ERROR_INSTANCE_NOT_FOUND);
        rstmdb_watch_free(watch);
    } else {
        CHECK(status == RSTMDB_ERROR_INSTANCE_NOT_FOUND && !watch);
        rstmdb_error_free(error);
    }
    rstmdb_free(db);
}

static void a_watch_may_outlive_its_database_and_the_other_way_round(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_watch *first = watch_all(db, "{}"), *second = watch_all(db, "{}");
    flip(db, 1);
    rstmdb_watch_free(first);
    flip(db, 1);
    rstmdb_free(db);
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    int32_t status = RSTMDB_OK;
    while (status == RSTMDB_OK) {
        status = rstmdb_watch_next(second, 10, -1, &out, &error);
        rstmdb_buffer_free(out);
    }
    CHECK(status == RSTMDB_ENDED);
    rstmdb_watch_free(second);
}

int main(void) {
    RUN(events_come_in_order_and_a_wait_can_end);
    RUN(a_slow_reader_loses_nothing);
    RUN(an_endless_stream_is_read_no_faster_than_pulled);
    RUN(unwatch_and_close_end_a_wait);
    RUN(next_submit_tells_by_callback_or_at_once);
    RUN(cancelling_a_wait_loses_no_event);
    RUN(watching_can_be_started);
    RUN(a_watch_may_outlive_its_database_and_the_other_way_round);
    return 0;
}
