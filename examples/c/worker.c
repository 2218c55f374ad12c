/* Ships every order that is paid, each exactly once, however often it is stopped: it keeps the place in
 * the log up to which it has worked in a file, and goes on from there.
 *
 *   worker URL FILE COUNT     ends after COUNT orders */

#include <inttypes.h>
#include <rstmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static rstmdb_slice text(const char *text) {
    rstmdb_slice slice = {(const uint8_t *)text, strlen(text)};
    return slice;
}

/* By the error's place: of two arguments, C may evaluate the second one first. */
static void check(int32_t status, rstmdb_error *const *error) {
    if (status != RSTMDB_OK) {
        rstmdb_slice message = rstmdb_error_message(*error);
        fprintf(stderr, "%.*s\n", (int)message.len, (const char *)message.data);
        exit(1);
    }
}

/* Three paid orders to work on, with ids of their own for each run. */
static void make_orders(const rstmdb_db *db) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    check(rstmdb_put_machine(
              db,
              text("{\"machine\": \"order\", \"version\": 1, \"definition\": {"
                   "  \"states\": [\"created\", \"paid\", \"shipped\", \"delivered\", \"cancelled\"],"
                   "  \"initial\": \"created\", \"transitions\": ["
                   "    {\"from\": \"created\", \"event\": \"PAY\", \"to\": \"paid\", \"guard\": \"ctx.total "
                   "> 0\"},"
                   "    {\"from\": \"paid\", \"event\": \"SHIP\", \"to\": \"shipped\"},"
                   "    {\"from\": \"shipped\", \"event\": \"DELIVER\", \"to\": \"delivered\"},"
                   "    {\"from\": \"created\", \"event\": \"CANCEL\", \"to\": \"cancelled\"}]}}"),
              &out, &error),
          &error);
    rstmdb_buffer_free(out);
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    for (int i = 1; i <= 3; i++) {
        char id[64], request[256];
        snprintf(id, sizeof id, "order-%lld-%09ld-%d", (long long)now.tv_sec, now.tv_nsec, i);
        snprintf(request, sizeof request,
                 "{\"instance_id\": \"%s\", \"machine\": \"order\", \"version\": 1, "
                 "\"initial_ctx\": {\"total\": 40}}",
                 id);
        check(rstmdb_create_instance(db, text(request), &out, &error), &error);
        rstmdb_buffer_free(out);
        snprintf(request, sizeof request, "{\"instance_id\": \"%s\", \"event\": \"PAY\"}", id);
        check(rstmdb_apply_event(db, text(request), &out, &error), &error);
        rstmdb_buffer_free(out);
    }
}

/* A place is an offset, and the history that it was told in: data that was put back from a copy is an error
 * then, and not a gap. */
struct place {
    uint64_t offset;
    char history[33];
};

static struct place read_place(const char *path) {
    struct place place = {1, ""}; /* the beginning of the log */
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%" SCNu64 " %32s", &place.offset, place.history) < 1) {
            place.offset = 1;
        }
        fclose(file);
    }
    return place;
}

static void write_place(const char *path, const rstmdb_watch *watch) {
    uint64_t offset = rstmdb_watch_resume_offset(watch);
    rstmdb_buffer history = rstmdb_watch_history_id(watch);
    FILE *file = fopen(path, "w");
    if (!file ||
        fprintf(file, "%" PRIu64 " %.*s\n", offset, (int)history.len, (const char *)history.data) < 0 ||
        fclose(file)) {
        perror(path);
        exit(1);
    }
    rstmdb_buffer_free(history);
}

/* The id in a list of one event. A program uses its JSON library; these ids have nothing to unescape. */
static void instance_id(rstmdb_buffer events, char *id, size_t size) {
    static const char name[] = "\"instance_id\":\"";
    for (size_t i = 0; i + sizeof name < events.len; i++) {
        if (!memcmp(events.data + i, name, sizeof name - 1)) {
            const char *start = (const char *)events.data + i + sizeof name - 1;
            snprintf(id, size, "%.*s", (int)strcspn(start, "\""), start);
            return;
        }
    }
}

int main(int argc, char **argv) {
    int left = argc == 4 ? atoi(argv[3]) : 0;
    if (left < 1) {
        fprintf(stderr, "usage: worker URL FILE COUNT\n");
        return 2;
    }
    rstmdb_db *db = NULL;
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    check(rstmdb_open(text(argv[1]), text(""), &db, &error), &error);
    make_orders(db);

    char request[512];
    struct place from = read_place(argv[2]);
    const char *quote = *from.history ? "\"" : "";
    snprintf(request, sizeof request,
             "{\"machines\": [\"order\"], \"to_states\": [\"paid\"], \"include_ctx\": false, "
             "\"from_offset\": %" PRIu64 ", \"history_id\": %s%s%s}",
             from.offset, quote, *from.history ? from.history : "null", quote);
    check(rstmdb_watch_all(db, text(request), &watch, &out, &error), &error);
    rstmdb_buffer_free(out);

    while (left > 0) {
        int32_t status = rstmdb_watch_next(watch, 1, -1, &out, &error);
        if (status == RSTMDB_ENDED) {
            break;
        }
        check(status, &error);
        char id[128] = "";
        instance_id(out, id, sizeof id);
        rstmdb_buffer_free(out);
        /* The key makes a repetition harmless: the worker may have stopped before it wrote its place. */
        snprintf(request, sizeof request,
                 "{\"instance_id\": \"%s\", \"event\": \"SHIP\", \"idempotency_key\": \"ship-%s\"}", id, id);
        status = rstmdb_apply_event(db, text(request), &out, &error);
        if (status == RSTMDB_ERROR_INVALID_TRANSITION || status == RSTMDB_ERROR_INSTANCE_NOT_FOUND) {
            /* Somebody else was faster, or has deleted it. */
            rstmdb_error_free(error);
        } else {
            check(status, &error);
            rstmdb_buffer_free(out);
            printf("shipped %s\n", id);
            left--;
        }
        write_place(argv[2], watch);
    }
    rstmdb_watch_free(watch);
    rstmdb_free(db);
    return 0;
}
