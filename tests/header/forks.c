/* fork at bad times: under load, from a callback, again and again, and what a child may still call. A child
 * opens databases of its own as if nothing had been; the parent notices nothing. */

#define _GNU_SOURCE
#include "check.h"

#include <stdatomic.h>
#include <sys/wait.h>

static const rstmdb_slice nothing = {NULL, 0};
static char directory[256], own[256];

/* Runs `work` in a child of its own and waits for it. That it is done it says by a word, and not by its
 * exit code: what a child inherited and may not free, valgrind calls lost. */
static void in_child(void (*work)(void *), void *argument) {
    int news[2];
    CHECK(pipe(news) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* One that hangs ends, and fails the test. */
        alarm(300);
        close(news[0]);
        work(argument);
        CHECK(write(news[1], "y", 1) == 1);
        _exit(0);
    }
    char word = 0;
    close(news[1]);
    CHECK(read(news[0], &word, 1) == 1 && word == 'y');
    close(news[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
}

/* Memory and files, a watch, a callback, and back to nothing. */
static void open_and_work(void *inherited) {
    rstmdb_db *memory = open_db("mem:", "");
    put_switch(memory);
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    latch done = LATCH;
    CHECK_OK(rstmdb_watch_all(memory, nothing, &watch, &out, &error), error);
    rstmdb_buffer_free(out);
    CHECK(rstmdb_watch_next_submit(watch, 1, count_callback, &done, NULL, &out, &error) == RSTMDB_PENDING);
    must(rstmdb_apply_event, memory, FLIP, "\"applied\":true");
    wait_for(&done, 1);
    CHECK(done.last_status == RSTMDB_OK);
    rstmdb_watch_free(watch);
    CHECK_OK(rstmdb_close(memory, &error), error);
    rstmdb_free(memory);
    rstmdb_db *files = open_db(new_directory(own, sizeof own), "");
    put_switch(files);
    must(rstmdb_history, files, "{\"instance_id\":\"one\"}", "created");
    CHECK_OK(rstmdb_close(files, &error), error);
    rstmdb_free(files);
    remove_directory(own);
    rstmdb_free(inherited);
}

enum { CANCELLED = 500 };

static void cancel_everything(void *inherited) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    /* Whichever of them are under way: another thread may have been in the middle of any. */
    for (uint64_t id = 1; id <= CANCELLED; id++) {
        rstmdb_cancel(inherited, id);
        CHECK(rstmdb_cancel(inherited, id) == 0);
    }
    CHECK_ERROR(rstmdb_ping(inherited, nothing, &out, &error), error, RSTMDB_ERROR_INTERNAL_ERROR,
                RSTMDB_KIND_CLOSED);
    CHECK_OK(rstmdb_close(inherited, &error), error);
    rstmdb_free(inherited);
}

typedef struct load {
    rstmdb_db *db;
    atomic_bool *stop;
    latch done, begun;
} load;

/* Keeps some dozens of requests under way: writes, and history, which other threads read. */
static void *keep_busy(void *argument) {
    load *self = argument;
    int pending = 0;
    for (int i = 0; !atomic_load(self->stop); i++) {
        rstmdb_buffer out = {0};
        rstmdb_error *error = NULL;
        uint64_t id = 0;
        int32_t status =
            rstmdb_submit(self->db, i % 8 ? RSTMDB_OPERATION_APPLY_EVENT : RSTMDB_OPERATION_HISTORY,
                          text(i % 8 ? FLIP : "{\"instance_id\":\"one\",\"limit\":5}"), count_callback,
                          &self->done, &id, &out, &error);
        CHECK(status == RSTMDB_PENDING || status == RSTMDB_OK);
        pending += status == RSTMDB_PENDING;
        rstmdb_buffer_free(out);
        count_up(&self->begun, 0);
        wait_for(&self->done, pending - 32);
    }
    wait_for(&self->done, pending);
    CHECK(self->done.last_status == RSTMDB_OK);
    return NULL;
}

enum { BUSY = 4 };

static void fork_under_load(void (*work)(void *), int often) {
    rstmdb_db *db = open_db(new_directory(directory, sizeof directory), "{\"fsync\":\"never\"}");
    put_switch(db);
    atomic_bool stop = false;
    pthread_t threads[BUSY];
    load loads[BUSY];
    for (int i = 0; i < BUSY; i++) {
        loads[i] = (load){db, &stop, LATCH, LATCH};
        CHECK(!pthread_create(&threads[i], NULL, keep_busy, &loads[i]));
    }
    for (int i = 0; i < often; i++) {
        /* Each in the middle of new requests. */
        wait_for(&loads[i % BUSY].begun, 10 * (i / BUSY + 1));
        in_child(work, db);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < BUSY; i++) {
        CHECK(!pthread_join(threads[i], NULL));
    }
    must(rstmdb_apply_event, db, FLIP, "\"applied\":true");
    rstmdb_free(db);
    remove_directory(directory);
}

static void a_child_of_a_busy_process_starts_anew(void) { fork_under_load(open_and_work, times(12)); }

static void a_child_may_cancel_what_its_parent_began(void) { fork_under_load(cancel_everything, times(50)); }

/* Threads of the library that only wait, many of them, are in the parent alone. */
static void a_child_of_an_idle_process_starts_anew(void) {
    rstmdb_db *db = open_db(new_directory(directory, sizeof directory), "");
    put_switch(db);
    for (int i = 0; i < times(6); i++) {
        latch done = LATCH;
        int pending = 0;
        for (int j = 0; j < 8; j++) {
            rstmdb_buffer out = {0};
            rstmdb_error *error = NULL;
            pending += rstmdb_submit(db, RSTMDB_OPERATION_HISTORY, text("{\"instance_id\":\"one\"}"),
                                     count_callback, &done, NULL, &out, &error) == RSTMDB_PENDING;
            rstmdb_buffer_free(out);
        }
        wait_for(&done, pending);
        in_child(open_and_work, db);
    }
    rstmdb_free(db);
    remove_directory(directory);
}

static void fork_here(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    CHECK(status == RSTMDB_OK && !error);
    rstmdb_buffer_free(result);
    /* In the child no callback is running any more: it may close, and wait for callbacks. */
    in_child(open_and_work, NULL);
    count_up(user_data, status);
}

static void a_callback_may_fork(void) {
    rstmdb_db *db = open_db("echo:", "");
    for (int i = 1; i <= times(3); i++) {
        latch done = LATCH;
        rstmdb_buffer out;
        rstmdb_error *error = NULL;
        CHECK(rstmdb_submit(db, RSTMDB_OPERATION_PING, text("{\"$wait\":1}"), fork_here, &done, NULL, &out,
                            &error) == RSTMDB_PENDING);
        wait_for(&done, 1);
        must(rstmdb_ping, db, "{\"x\":1}", "x");
    }
    rstmdb_free(db);
}

int main(void) {
    RUN(a_child_of_a_busy_process_starts_anew);
    RUN(a_child_may_cancel_what_its_parent_began);
    RUN(a_child_of_an_idle_process_starts_anew);
    RUN(a_callback_may_fork);
    return 0;
}
