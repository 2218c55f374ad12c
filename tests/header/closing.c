/* Closing, at the worst of times: while it fails, while others submit, before what was begun has begun, and
 * when the process ends. What holds always: no callback runs after rstmdb_close returned. */

#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const rstmdb_slice nothing = {NULL, 0};
static const char *self_path;
static char directory[256];

/* Callbacks of a database, and whether one ran after it was closed. */
typedef struct watcher {
    rstmdb_db *db, *other;
    atomic_bool closed;
    atomic_int late;
    latch done, gate;
} watcher;

static void counting(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    watcher *self = user_data;
    atomic_fetch_add(&self->late, atomic_load(&self->closed));
    count_callback(&self->done, status, result, error);
}

/* Takes its time once it may: other calls, each of which waits. */
static void working(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    watcher *self = user_data;
    wait_for(&self->gate, 1);
    for (int i = 0; i < 60; i++) {
        must(rstmdb_ping, self->other, "{\"$wait\":1}", "$wait");
    }
    counting(user_data, status, result, error);
}

static int submit(rstmdb_db *db, int32_t operation, const char *request, rstmdb_callback callback,
                  void *user_data) {
    rstmdb_buffer out = {0};
    rstmdb_error *error = NULL;
    int32_t status = rstmdb_submit(db, operation, text(request), callback, user_data, NULL, &out, &error);
    rstmdb_buffer_free(out);
    rstmdb_error_free(error);
    return status;
}

static void a_close_that_fails_waits_for_callbacks(void) {
    watcher self = {.done = LATCH, .gate = LATCH, .other = open_db("echo:", "")};
    self.db = open_db(new_directory(directory, sizeof directory), "");
    put_switch(self.db);
    int pending = 0;
    for (int i = 0; i < 300; i++) {
        pending += submit(self.db, RSTMDB_OPERATION_APPLY_EVENT, FLIP, working, &self) == RSTMDB_PENDING;
    }
    /* From here on no file may grow: the last of the log can not be written. */
    struct rlimit before, none;
    CHECK(!getrlimit(RLIMIT_FSIZE, &before));
    none = before;
    none.rlim_cur = 1;
    void (*ignored)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(!setrlimit(RLIMIT_FSIZE, &none));
    rstmdb_error *error = NULL;
    count_up(&self.gate, 0);
    int32_t status = rstmdb_close(self.db, &error);
    atomic_store(&self.closed, true);
    int at_close = counted(&self.done);
    CHECK(!setrlimit(RLIMIT_FSIZE, &before));
    signal(SIGXFSZ, ignored);
    CHECK(status > 0 && error && rstmdb_error_code(error) == status);
    rstmdb_error_free(error);
    CHECK(at_close == pending);
    rstmdb_free(self.db);
    rstmdb_free(self.other);
    CHECK(self.late == 0 && counted(&self.done) == pending);
    remove_directory(directory);
}

enum { SUBMITTERS = 3 };

typedef struct submitter {
    watcher *watcher;
    int32_t operation;
    const char *request;
    int pending;
} submitter;

static void *submit_until_closed(void *argument) {
    submitter *self = argument;
    for (;;) {
        int status = submit(self->watcher->db, self->operation, self->request, counting, self->watcher);
        if (status > 0) {
            return NULL;
        }
        self->pending += status == RSTMDB_PENDING;
        count_up(&self->watcher->gate, 0);
    }
}

static void close_while_others_submit(const char *url, int32_t operation, const char *request, int rounds) {
    for (int round = 0; round < rounds; round++) {
        watcher self = {.done = LATCH, .gate = LATCH};
        self.db = open_db(url ? url : new_directory(directory, sizeof directory), "");
        if (operation != RSTMDB_OPERATION_PING) {
            put_switch(self.db);
        }
        pthread_t threads[SUBMITTERS];
        submitter submitters[SUBMITTERS];
        for (int i = 0; i < SUBMITTERS; i++) {
            submitters[i] = (submitter){&self, operation, request, 0};
            CHECK(!pthread_create(&threads[i], NULL, submit_until_closed, &submitters[i]));
        }
        wait_for(&self.gate, round % 17);
        rstmdb_error *error = NULL;
        int32_t status = rstmdb_close(self.db, &error);
        atomic_store(&self.closed, true);
        CHECK_OK(status, error);
        int pending = 0;
        for (int i = 0; i < SUBMITTERS; i++) {
            CHECK(!pthread_join(threads[i], NULL));
            pending += submitters[i].pending;
        }
        /* Each of them once; when one is late, it comes only now. */
        wait_for(&self.done, pending);
        CHECK(self.late == 0);
        rstmdb_free(self.db);
        CHECK(counted(&self.done) == pending);
        if (!url) {
            remove_directory(directory);
        }
    }
}

static void no_callback_runs_after_close_returned(void) {
    close_while_others_submit("echo:", RSTMDB_OPERATION_PING, "{\"$wait\":1}", times(150));
    close_while_others_submit("mem:", RSTMDB_OPERATION_HISTORY, "{\"instance_id\":\"one\"}", times(80));
    close_while_others_submit(NULL, RSTMDB_OPERATION_APPLY_EVENT, FLIP, times(10));
}

static void close_waits_for_the_callback_of_close_submit(void) {
    rstmdb_db *other = open_db("echo:", "");
    for (int round = 0; round < times(60); round++) {
        watcher self = {.done = LATCH, .gate = LATCH, .other = other}, busy = self;
        self.db = open_db("echo:", "");
        busy.db = open_db("echo:", "");
        CHECK(submit(self.db, RSTMDB_OPERATION_PING, "{\"$wait\":1}", working, &self) == RSTMDB_PENDING);
        /* Another database's callback, before that of close_submit. */
        CHECK(submit(busy.db, RSTMDB_OPERATION_PING, "{\"$wait\":1}", working, &busy) == RSTMDB_PENDING);
        rstmdb_error *error = NULL;
        int32_t status = rstmdb_close_submit(self.db, counting, &self, &error);
        CHECK(status == RSTMDB_PENDING || status == RSTMDB_OK);
        count_up(&self.gate, 0);
        count_up(&busy.gate, 0);
        CHECK_OK(rstmdb_close(self.db, &error), error);
        atomic_store(&self.closed, true);
        wait_for(&self.done, 1 + (status == RSTMDB_PENDING));
        CHECK(self.late == 0);
        rstmdb_free(self.db);
        rstmdb_free(busy.db);
        CHECK(counted(&busy.done) == 1);
    }
    rstmdb_free(other);
}

static void close_while_it_opens_leaves_nothing_open(void) {
    for (int round = 0; round < times(10); round++) {
        watcher self = {.done = LATCH};
        rstmdb_error *error = NULL;
        new_directory(directory, sizeof directory);
        int32_t status =
            rstmdb_open_submit(text(directory), nothing, counting, &self, &self.db, NULL, &error);
        CHECK(status == RSTMDB_PENDING || status == RSTMDB_OK);
        CHECK_OK(rstmdb_close(self.db, &error), error);
        atomic_store(&self.closed, true);
        CHECK(counted(&self.done) == (status == RSTMDB_PENDING));
        /* It would still be locked. */
        rstmdb_free(open_db(directory, ""));
        rstmdb_buffer out;
        CHECK_ERROR(rstmdb_ping(self.db, nothing, &out, &error), error, RSTMDB_ERROR_INTERNAL_ERROR,
                    RSTMDB_KIND_CLOSED);
        rstmdb_free(self.db);
        CHECK(self.late == 0);
        remove_directory(directory);
    }
}

static void a_watch_can_be_ended_before_it_began(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    /* Most begin at once: until some did not. */
    int waited = 0;
    for (int round = 0; round < times(3000) && waited < 20; round++) {
        latch begun = LATCH;
        rstmdb_watch *watch = NULL;
        rstmdb_buffer out = {0};
        rstmdb_error *error = NULL;
        int32_t status = rstmdb_watch_submit(db, RSTMDB_OPERATION_WATCH_ALL, nothing, count_callback, &begun,
                                             &watch, NULL, &out, &error);
        rstmdb_unwatch(watch);
        if (status == RSTMDB_PENDING) {
            waited++;
            wait_for(&begun, 1);
        } else {
            CHECK_OK(status, error);
        }
        rstmdb_buffer_free(out);
        must(rstmdb_apply_event, db, FLIP, "\"applied\":true");
        CHECK(rstmdb_watch_next(watch, 1, -1, &out, &error) == RSTMDB_ENDED);
        rstmdb_watch_free(watch);
    }
    rstmdb_free(db);
}

static rstmdb_db *closed_at_exit;
static latch at_exit = LATCH;
static int under_way;

static void close_at_exit(void) {
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_close(closed_at_exit, &error), error);
    CHECK(counted(&at_exit) == under_way);
    rstmdb_free(closed_at_exit);
}

/* Runs in a process of its own. */
static int end_with_a_database(const char *path) {
    closed_at_exit = open_db(path, "");
    put_switch(closed_at_exit);
    CHECK(!atexit(close_at_exit));
    for (int i = 0; i < 20; i++) {
        under_way += submit(closed_at_exit, RSTMDB_OPERATION_APPLY_EVENT, FLIP, count_callback, &at_exit) ==
                     RSTMDB_PENDING;
    }
    return 0;
}

static void a_database_can_be_closed_at_exit(void) {
    new_directory(directory, sizeof directory);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl(self_path, self_path, directory, (char *)NULL);
        _exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    rstmdb_db *db = open_db(directory, "");
    must(rstmdb_get_instance, db, "{\"instance_id\":\"one\"}", "\"last_wal_offset\":22");
    rstmdb_free(db);
    remove_directory(directory);
}

int main(int count, char **arguments) {
    self_path = arguments[0];
    if (count > 1) {
        return end_with_a_database(arguments[1]);
    }
    RUN(a_close_that_fails_waits_for_callbacks);
    RUN(no_callback_runs_after_close_returned);
    RUN(close_waits_for_the_callback_of_close_submit);
    RUN(close_while_it_opens_leaves_nothing_open);
    RUN(a_watch_can_be_ended_before_it_began);
    RUN(a_database_can_be_closed_at_exit);
    return 0;
}
