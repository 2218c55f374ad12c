/* The rates of C, as JSON lines: the same machine, contexts and events as benches/src/languages/rust.rs.
 * RSTMDB_BENCH_SECONDS says how long each is measured, RSTMDB_BENCH_DIR where databases go. */

#define _GNU_SOURCE
#include <pthread.h>
#include <rstmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INSTANCES = 1000, BATCH = 1000, IN_FLIGHT = 64 };

#define CONTEXT                                                                                              \
    "{\"customer\":\"c-0000001\",\"n\":0,\"note\":\"------------------------------------------------\","     \
    "\"total\":100}"

/* A database of instances that go to and fro; each gets an event in turn. */
typedef struct ping_pong {
    rstmdb_db *db;
    uint64_t sent;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int in_flight;
    uint64_t done;
    /* Until when callbacks send the next event. */
    double until;
} ping_pong;

static rstmdb_slice slice(const char *text, size_t len) {
    rstmdb_slice made = {(const uint8_t *)text, len};
    return made;
}

static void must(int32_t status, rstmdb_error *error) {
    if (status != RSTMDB_OK) {
        rstmdb_slice json = rstmdb_error_json(error);
        fprintf(stderr, "%.*s\n", (int)json.len, (const char *)json.data);
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void report(const char *name, double value, const char *unit) {
    printf("{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}\n", name, value, unit);
    fflush(stdout);
}

static void call(const rstmdb_db *db,
                 int32_t (*operation)(const rstmdb_db *, rstmdb_slice, rstmdb_buffer *, rstmdb_error **),
                 const char *request, size_t len) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    must(operation(db, slice(request, len), &out, &error), error);
    rstmdb_buffer_free(out);
}

static void start(ping_pong *self, const char *url) {
    static const char machine[] =
        "{\"machine\":\"pingpong\",\"version\":1,\"definition\":{\"states\":[\"A\",\"B\"],\"initial\":\"A\","
        "\"transitions\":[{\"from\":\"A\",\"event\":\"FLIP\",\"to\":\"B\"},"
        "{\"from\":\"B\",\"event\":\"FLOP\",\"to\":\"A\"}]}}";
    rstmdb_error *error = NULL;
    memset(self, 0, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    must(rstmdb_open(slice(url, strlen(url)), slice(NULL, 0), &self->db, &error), error);
    call(self->db, rstmdb_put_machine, machine, sizeof machine - 1);
    for (int i = 0; i < INSTANCES; i++) {
        char request[512];
        int len = snprintf(request, sizeof request,
                           "{\"instance_id\":\"instance-%d\",\"machine\":\"pingpong\",\"version\":1,"
                           "\"initial_ctx\":" CONTEXT "}",
                           i);
        call(self->db, rstmdb_create_instance, request, (size_t)len);
    }
}

/* The next event; its length. */
static size_t next(ping_pong *self, char *request, size_t size) {
    uint64_t number = self->sent++;
    return (size_t)snprintf(
        request, size, "{\"instance_id\":\"instance-%d\",\"event\":\"%s\",\"payload\":{\"n\":%llu}}",
        (int)(number % INSTANCES), number / INSTANCES % 2 == 0 ? "FLIP" : "FLOP", (unsigned long long)number);
}

static double blocking(ping_pong *self, double seconds) {
    double begun = now(), passed = 0;
    uint64_t done = 0;
    while (passed < seconds) {
        for (int i = 0; i < 32; i++) {
            char request[256];
            size_t len = next(self, request, sizeof request);
            call(self->db, rstmdb_apply_event, request, len);
        }
        done += 32;
        passed = now() - begun;
    }
    return (double)done / passed;
}

static void applied(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error);

/* Sends events until one is under way, or the time is over. */
static void send(ping_pong *self) {
    int is_over = 0;
    while (!is_over) {
        char request[256];
        rstmdb_buffer out;
        rstmdb_error *error = NULL;
        pthread_mutex_lock(&self->mutex);
        size_t len = next(self, request, sizeof request);
        pthread_mutex_unlock(&self->mutex);
        int32_t status = rstmdb_submit(self->db, RSTMDB_OPERATION_APPLY_EVENT, slice(request, len), applied,
                                       self, NULL, &out, &error);
        if (status == RSTMDB_PENDING) {
            return;
        }
        must(status, error);
        rstmdb_buffer_free(out);
        pthread_mutex_lock(&self->mutex);
        self->done++;
        is_over = now() >= self->until;
        pthread_mutex_unlock(&self->mutex);
    }
    pthread_mutex_lock(&self->mutex);
    if (--self->in_flight == 0) {
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->mutex);
}

/* Sends the next event where the last one came back: one sync covers what a group of callbacks sends. */
static void applied(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
    ping_pong *self = user_data;
    must(status, error);
    rstmdb_buffer_free(result);
    pthread_mutex_lock(&self->mutex);
    self->done++;
    int is_over = now() >= self->until;
    if (is_over && --self->in_flight == 0) {
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->mutex);
    if (!is_over) {
        send(self);
    }
}

static double in_flight(ping_pong *self, double seconds) {
    double begun = now();
    self->done = 0;
    self->until = begun + seconds;
    self->in_flight = IN_FLIGHT;
    for (int i = 0; i < IN_FLIGHT; i++) {
        send(self);
    }
    pthread_mutex_lock(&self->mutex);
    while (self->in_flight > 0) {
        pthread_cond_wait(&self->changed, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    return (double)self->done / (now() - begun);
}

static double batches(ping_pong *self, double seconds) {
    char *request = malloc(BATCH * 256);
    double begun = now(), passed = 0;
    uint64_t done = 0;
    while (request && passed < seconds) {
        size_t len = (size_t)sprintf(request, "{\"mode\":\"atomic\",\"ops\":[");
        for (int i = 0; i < BATCH; i++) {
            len += (size_t)sprintf(request + len, "%s{\"op\":\"APPLY_EVENT\",\"params\":", i ? "," : "");
            len += next(self, request + len, 128);
            request[len++] = '}';
        }
        len += (size_t)sprintf(request + len, "]}");
        call(self->db, rstmdb_batch, request, len);
        done += BATCH;
        passed = now() - begun;
    }
    free(request);
    return (double)done / passed;
}

static double open_ms(const char *url) {
    rstmdb_db *db = NULL;
    rstmdb_error *error = NULL;
    double begun = now();
    must(rstmdb_open(slice(url, strlen(url)), slice(NULL, 0), &db, &error), error);
    call(db, rstmdb_ping, "{}", 2);
    double took = (now() - begun) * 1000;
    rstmdb_free(db);
    return took;
}

int main(void) {
    const char *text = getenv("RSTMDB_BENCH_SECONDS"), *given = getenv("RSTMDB_BENCH_DIR");
    double seconds = text ? atof(text) : 1.0;
    char folder[512], url[600];
    snprintf(folder, sizeof folder, "%s", given ? given : "/tmp/rstmdb-bench-XXXXXX");
    if (!given && !mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    ping_pong memory, many, durable;
    start(&memory, "mem:");
    blocking(&memory, seconds / 4);
    report("mem_apply", blocking(&memory, seconds), "ops/s");
    report("mem_apply_64", in_flight(&memory, seconds), "ops/s");
    start(&many, "mem:");
    report("batch_1000", batches(&many, seconds), "ops/s");
    snprintf(url, sizeof url, "%s/durable", folder);
    start(&durable, url);
    in_flight(&durable, seconds / 4);
    report("durable_apply_64", in_flight(&durable, seconds), "ops/s");
    snprintf(url, sizeof url, "%s/empty", folder);
    report("open_ms", open_ms(url), "ms");
    rstmdb_free(memory.db);
    rstmdb_free(many.db);
    rstmdb_free(durable.db);
    if (!given) {
        snprintf(url, sizeof url, "rm -rf '%s'", folder);
        return system(url) == 0 ? 0 : 1;
    }
    return 0;
}
