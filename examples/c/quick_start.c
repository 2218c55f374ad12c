/* Opens a database, makes an order and pays it.
 *
 *   quick_start [URL]     mem: when absent; a directory; rstmdb://localhost:7401 */

#include <rstmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static rstmdb_slice text(const char *text) {
    rstmdb_slice slice = {(const uint8_t *)text, strlen(text)};
    return slice;
}

/* Ends the program unless a call succeeded. */
static void check(int32_t status, rstmdb_error *error) {
    if (status != RSTMDB_OK) {
        rstmdb_slice message = rstmdb_error_message(error);
        fprintf(stderr, "%.*s\n", (int)message.len, (const char *)message.data);
        exit(1);
    }
}

int main(int argc, char **argv) {
    rstmdb_db *db = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    int32_t status = rstmdb_open(text(argc > 1 ? argv[1] : "mem:"), text(""), &db, &error);
    check(status, error);

    status = rstmdb_put_machine(
        db,
        text(
            "{\"machine\": \"order\", \"version\": 1, \"definition\": {"
            "  \"states\": [\"created\", \"paid\", \"shipped\", \"delivered\", \"cancelled\"],"
            "  \"initial\": \"created\","
            "  \"transitions\": ["
            "    {\"from\": \"created\", \"event\": \"PAY\", \"to\": \"paid\", \"guard\": \"ctx.total > 0\"},"
            "    {\"from\": \"paid\", \"event\": \"SHIP\", \"to\": \"shipped\"},"
            "    {\"from\": \"shipped\", \"event\": \"DELIVER\", \"to\": \"delivered\"},"
            "    {\"from\": \"created\", \"event\": \"CANCEL\", \"to\": \"cancelled\"}]}}"),
        &out, &error);
    check(status, error);
    rstmdb_buffer_free(out);

    /* An id of its own for each run; without one it would be random, and the result tells it. */
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    char id[64], request[256];
    snprintf(id, sizeof id, "order-%lld-%09ld", (long long)now.tv_sec, now.tv_nsec);
    snprintf(
        request, sizeof request,
        "{\"instance_id\": \"%s\", \"machine\": \"order\", \"version\": 1, \"initial_ctx\": {\"total\": 40}}",
        id);
    status = rstmdb_create_instance(db, text(request), &out, &error);
    check(status, error);
    rstmdb_buffer_free(out);

    /* A retry with the same key gets the first answer, also after a crash. */
    snprintf(request, sizeof request,
             "{\"instance_id\": \"%s\", \"event\": \"PAY\", \"payload\": {\"method\": \"card\"},"
             " \"idempotency_key\": \"payment-1\"}",
             id);
    status = rstmdb_apply_event(db, text(request), &out, &error);
    check(status, error);
    printf("%.*s\n", (int)out.len, (const char *)out.data);
    rstmdb_buffer_free(out);

    snprintf(request, sizeof request, "{\"instance_id\": \"%s\", \"event\": \"PAY\"}", id);
    status = rstmdb_apply_event(db, text(request), &out, &error);
    if (status == RSTMDB_ERROR_INVALID_TRANSITION) {
        rstmdb_slice message = rstmdb_error_message(error);
        printf("refused: %.*s\n", (int)message.len, (const char *)message.data);
    }
    rstmdb_error_free(error);

    rstmdb_free(db);
    return 0;
}
