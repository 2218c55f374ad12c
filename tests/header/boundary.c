/* Everything that can be handed to the C interface and should not be: it answers with an error, and
 * the process goes on. */

#define _DEFAULT_SOURCE
#include "check.h"
#include "operations.h"

#include <limits.h>

#define CALL(WIRE, name) rstmdb_##name,
static const operation calls[] = {RSTMDB_CALLS(CALL)};
#define NUMBER(WIRE, name) RSTMDB_OPERATION_##WIRE,
static const int32_t numbers[] = {RSTMDB_CALLS(NUMBER)};
static const int32_t watch_numbers[] = {RSTMDB_WATCHES(NUMBER)};
enum { CALLS = sizeof calls / sizeof *calls };

static const rstmdb_slice nothing = {NULL, 0};

static void versions_agree(void) {
    CHECK(rstmdb_abi_version() == RSTMDB_ABI_VERSION);
    CHECK(rstmdb_version().len > 0);
}

static void null_is_an_error_everywhere(void) {
    rstmdb_db *db = open_db("mem:", "");
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    latch never = LATCH;
    const rstmdb_slice null_with_length = {NULL, 5};
    const int32_t bad = RSTMDB_ERROR_BAD_REQUEST, invalid = RSTMDB_KIND_INVALID;
    for (int i = 0; i < CALLS; i++) {
        CHECK(calls[i](NULL, nothing, NULL, NULL) == bad);
        CHECK_ERROR(calls[i](NULL, nothing, &out, &error), error, bad, invalid);
        CHECK_ERROR(calls[i](db, nothing, NULL, &error), error, bad, invalid);
        CHECK_ERROR(calls[i](db, null_with_length, &out, &error), error, bad, invalid);
        CHECK_ERROR(rstmdb_submit(db, numbers[i], nothing, NULL, NULL, NULL, &out, &error), error, bad,
                    invalid);
        CHECK_ERROR(
            rstmdb_submit(db, numbers[i], null_with_length, count_callback, &never, NULL, &out, &error),
            error, bad, invalid);
        CHECK_ERROR(rstmdb_submit(db, numbers[i], nothing, count_callback, &never, NULL, NULL, &error), error,
                    bad, invalid);
        CHECK(rstmdb_submit(NULL, numbers[i], nothing, count_callback, &never, NULL, &out, NULL) == bad);
    }
    rstmdb_watch *watch = NULL;
    CHECK(rstmdb_open(nothing, nothing, NULL, NULL) == bad);
    rstmdb_db *other = db;
    CHECK_ERROR(rstmdb_open(null_with_length, nothing, &other, &error), error, bad, invalid);
    CHECK(other == NULL);
    CHECK(rstmdb_open_submit(text("mem:"), nothing, count_callback, &never, NULL, NULL, NULL) == bad);
    CHECK_ERROR(rstmdb_open_submit(text("mem:"), nothing, NULL, NULL, &other, NULL, &error), error, bad,
                invalid);
    CHECK(other == NULL);
    CHECK(rstmdb_close(NULL, NULL) == bad);
    CHECK(rstmdb_close_submit(NULL, count_callback, &never, NULL) == bad);
    CHECK(rstmdb_close_submit(db, NULL, NULL, NULL) == bad);
    CHECK(rstmdb_advance_clock(NULL, 1, NULL) == bad);
    CHECK(rstmdb_cancel(NULL, 1) == 0);
    CHECK(rstmdb_cancel(db, 0) == 0 && rstmdb_cancel(db, UINT64_MAX) == 0);
    CHECK(rstmdb_watch_all(NULL, nothing, &watch, &out, NULL) == bad);
    CHECK(rstmdb_watch_all(db, nothing, NULL, &out, NULL) == bad);
    CHECK(rstmdb_watch_all(db, nothing, &watch, NULL, NULL) == bad);
    CHECK(rstmdb_watch_instance(NULL, nothing, NULL, NULL, NULL) == bad);
    CHECK(rstmdb_watch_submit(db, watch_numbers[0], nothing, NULL, NULL, &watch, NULL, &out, NULL) == bad);
    CHECK(rstmdb_watch_submit(db, watch_numbers[0], nothing, count_callback, &never, NULL, NULL, &out,
                              NULL) == bad);
    CHECK(rstmdb_watch_next(NULL, 1, 0, &out, NULL) == bad);
    CHECK(rstmdb_watch_next_submit(NULL, 1, count_callback, &never, NULL, &out, NULL) == bad);
    CHECK(watch == NULL);
    CHECK(rstmdb_watch_resume_offset(NULL) == 0);
    rstmdb_unwatch(NULL);
    rstmdb_watch_free(NULL);
    rstmdb_free(NULL);
    rstmdb_error_free(NULL);
    rstmdb_buffer_free((rstmdb_buffer){0});
    CHECK(rstmdb_error_code(NULL) == 0 && rstmdb_error_kind(NULL) == 0 && !rstmdb_error_retryable(NULL));
    CHECK(is(rstmdb_error_code_name(NULL), "") && is(rstmdb_error_kind_name(NULL), ""));
    CHECK(is(rstmdb_error_reason(NULL), "") && is(rstmdb_error_message(NULL), ""));
    CHECK(is(rstmdb_error_operation(NULL), "") && is(rstmdb_error_context(NULL), ""));
    CHECK(is(rstmdb_error_json(NULL), ""));
    CHECK(rstmdb_set_log(3, NULL, NULL, NULL) == RSTMDB_OK);
    rstmdb_free(db);
    CHECK(counted(&never) == 0);
}

static void numbers_of_no_operation_are_refused(void) {
    rstmdb_db *db = open_db("mem:", "");
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    rstmdb_watch *watch = NULL;
    latch never = LATCH;
    const int32_t wrong[] = {0,         -1,        CALLS + 3,        1000,
                             INT32_MAX, INT32_MIN, watch_numbers[0], watch_numbers[1]};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_ERROR(rstmdb_submit(db, wrong[i], nothing, count_callback, &never, NULL, &out, &error), error,
                    RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
    }
    for (int i = 0; i < CALLS; i++) {
        CHECK_ERROR(
            rstmdb_watch_submit(db, numbers[i], nothing, count_callback, &never, &watch, NULL, &out, &error),
            error, RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
        CHECK(watch == NULL);
    }
    rstmdb_free(db);
    CHECK(counted(&never) == 0);
}

/* Every operation refuses the request, and goes on working. */
static void refused_by_all(const rstmdb_db *db, rstmdb_slice request) {
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    rstmdb_watch *watch = NULL;
    latch never = LATCH;
    for (int i = 0; i < CALLS; i++) {
        CHECK_ERROR(calls[i](db, request, &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                    RSTMDB_KIND_INVALID);
        CHECK(out.len == 0 && out.data == NULL);
        CHECK_ERROR(rstmdb_submit(db, numbers[i], request, count_callback, &never, NULL, &out, &error), error,
                    RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
    }
    CHECK_ERROR(rstmdb_watch_all(db, request, &watch, &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    CHECK_ERROR(rstmdb_watch_instance(db, request, &watch, &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    CHECK(watch == NULL && counted(&never) == 0);
    must(rstmdb_ping, db, "{}", "");
}

static void broken_text_is_refused(void) {
    rstmdb_db *db = open_db("mem:", "");
    static const char *const broken[] = {
        "{",
        "[",
        "nul",
        "{}x",
        "[]",
        "1",
        "\"text\"",
        "{\"instance_id\":}",
        "{'a':1}",
        "{\"a\":1,}",
        "\x01",
        /* UTF-8 that is none: a lone continuation, an overlong slash, a surrogate, a cut-off and a too high
           point */
        "{\"x\":\"\x80\"}",
        "{\"x\":\"\xC0\xAF\"}",
        "{\"x\":\"\xED\xA0\x80\"}",
        "{\"x\":\"\xE2\x82\"}",
        "{\"x\":\"\xF4\x90\x80\x80\"}",
        "\xFF\xFE{}",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        refused_by_all(db, text(broken[i]));
    }
    static const char with_nul[] = "{}\0{}";
    refused_by_all(db, (rstmdb_slice){(const uint8_t *)with_nul, sizeof with_nul - 1});
    rstmdb_free(db);
}

/* `count` times `piece`. */
static char *repeated(const char *piece, size_t count) {
    size_t len = strlen(piece);
    char *text = malloc(len * count + 1);
    CHECK(text);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * len, piece, len);
    }
    text[len * count] = 0;
    return text;
}

static void deep_and_huge_values_are_refused(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    const bool is_slow = getenv("RSTMDB_SLOW");
    const size_t depth = is_slow ? 20000 : 200000, bytes = is_slow ? 5u << 20 : 40u << 20;
    char *deep = repeated("[", depth), *request = malloc(bytes + depth + 1000);
    CHECK(request);
    sprintf(request, "{\"instance_id\":\"one\",\"event\":\"FLIP\",\"payload\":{\"x\":%s}}", deep);
    CHECK_ERROR(rstmdb_apply_event(db, text(request), &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    sprintf(request, "%s", deep);
    CHECK_ERROR(rstmdb_apply_event(db, text(request), &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    char *huge = repeated("0123456789abcdef", bytes / 16);
    sprintf(request, "{\"instance_id\":\"one\",\"event\":\"FLIP\",\"payload\":{\"x\":\"%s\"}}", huge);
    CHECK_ERROR(rstmdb_apply_event(db, text(request), &out, &error), error, RSTMDB_ERROR_BAD_REQUEST,
                RSTMDB_KIND_INVALID);
    sprintf(request, "{\"instance_id\":\"%s\"}", huge);
    int32_t status = rstmdb_get_instance(db, text(request), &out, &error);
    CHECK(status == RSTMDB_ERROR_BAD_REQUEST || status == RSTMDB_ERROR_INSTANCE_NOT_FOUND);
    rstmdb_error_free(error);
    rstmdb_db *none = NULL;
    status = rstmdb_open(text("mem:"), text(request), &none, &error);
    CHECK_ERROR(status, error, RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
    free(huge);
    free(deep);
    free(request);
    must(rstmdb_get_instance, db, "{\"instance_id\":\"one\"}", "\"state\":\"A\"");
    rstmdb_free(db);
}

static void nul_in_a_string_is_a_character(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    must(rstmdb_apply_event, db,
         "{\"instance_id\":\"one\",\"event\":\"FLIP\",\"payload\":{\"x\":\"a\\u0000b\",\"n\":"
         "18446744073709551615}}",
         "\"n\":18446744073709551615,\"x\":\"a\\u0000b\"");
    rstmdb_free(db);
}

static void open_refuses_what_it_does_not_know(void) {
    rstmdb_db *db = NULL;
    rstmdb_error *error = NULL;
    static const struct {
        const char *url, *options, *reason;
    } wrong[] = {
        {"", "", "invalid_option"},
        {"nope://x", "", "invalid_option"},
        {"mem:", "{\"fsnyc\":\"never\"}", "invalid_option"},
        {"mem:", "{\"fsync\":\"sometimes\"}", "invalid_option"},
        {"mem:", "{\"token\":\"x\"}", "invalid_option"},
        {"mem:", "[]", "invalid_option"},
        {"mem:", "{", "invalid_option"},
        {"rstmdb://127.0.0.1:1", "{\"fsync\":\"never\"}", "invalid_option"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int32_t status = rstmdb_open(text(wrong[i].url), text(wrong[i].options), &db, &error);
        if (status == RSTMDB_OK || !is(rstmdb_error_reason(error), wrong[i].reason)) {
            fprintf(stderr, "open %s %s: status %d\n", wrong[i].url, wrong[i].options, (int)status);
        }
        CHECK(is(rstmdb_error_reason(error), wrong[i].reason));
        CHECK_ERROR(status, error, RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
        CHECK(db == NULL);
    }
}

static void an_error_tells_everything(void) {
    rstmdb_db *db = open_db("mem:", "");
    put_switch(db);
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    CHECK(rstmdb_apply_event(db,
                             text("{\"instance_id\":\"one\",\"event\":\"FLIP\",\"expected_state\":\"B\"}"),
                             &out, &error) == RSTMDB_ERROR_CONFLICT);
    CHECK(rstmdb_error_code(error) == RSTMDB_ERROR_CONFLICT &&
          rstmdb_error_kind(error) == RSTMDB_KIND_CONFLICT);
    CHECK(is(rstmdb_error_code_name(error), "CONFLICT") && is(rstmdb_error_kind_name(error), "conflict"));
    CHECK(is(rstmdb_error_reason(error), "expected_state") &&
          is(rstmdb_error_operation(error), "APPLY_EVENT"));
    CHECK(!rstmdb_error_retryable(error));
    rstmdb_slice context = rstmdb_error_context(error), json = rstmdb_error_json(error);
    rstmdb_buffer context_text = {(uint8_t *)context.data, context.len, 0};
    rstmdb_buffer json_text = {(uint8_t *)json.data, json.len, 0};
    CHECK(has(context_text, "\"instance_id\":\"one\""));
    CHECK(has(json_text, "\"code\":\"CONFLICT\"") && has(json_text, "\"number\":13"));
    rstmdb_error_free(error);
    /* Nobody has to take the error. */
    CHECK(rstmdb_get_instance(db, text("{\"instance_id\":\"two\"}"), &out, NULL) ==
          RSTMDB_ERROR_INSTANCE_NOT_FOUND);
    rstmdb_free(db);
}

static void echo_returns_the_text_and_survives_panics(void) {
    rstmdb_db *db = open_db("echo:", "");
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    static const char odd[] = "{\"\xE2\x82\xAC\":\"\xF0\x9F\x9A\x80\",\"n\":-9223372036854775808}";
    must(rstmdb_ping, db, odd, odd);
    for (int i = 0; i < CALLS; i++) {
        CHECK_ERROR(calls[i](db, text("{\"payload\":{\"$panic\":1}}"), &out, &error), error,
                    RSTMDB_ERROR_INTERNAL_ERROR, RSTMDB_KIND_INTERNAL);
        must(calls[i], db, odd, odd);
    }
    latch one = LATCH;
    int32_t status = rstmdb_submit(db, RSTMDB_OPERATION_PING, text("{\"$wait\":1}"), count_callback, &one,
                                   NULL, &out, &error);
    CHECK(status == RSTMDB_PENDING);
    wait_for(&one, 1);
    CHECK(one.last_status == RSTMDB_OK);
    rstmdb_free(db);
}

static void a_closed_database_says_so(void) {
    rstmdb_db *db = open_db("mem:", "");
    rstmdb_error *error = NULL;
    rstmdb_buffer out;
    rstmdb_watch *watch = NULL, *before = NULL;
    latch never = LATCH;
    CHECK_OK(rstmdb_watch_all(db, nothing, &before, &out, &error), error);
    rstmdb_buffer_free(out);
    CHECK_OK(rstmdb_close(db, &error), error);
    CHECK_OK(rstmdb_close(db, &error), error);
    const int32_t internal = RSTMDB_ERROR_INTERNAL_ERROR, closed = RSTMDB_KIND_CLOSED;
    for (int i = 0; i < CALLS; i++) {
        CHECK_ERROR(calls[i](db, text("{}"), &out, &error), error, internal, closed);
        CHECK_ERROR(rstmdb_submit(db, numbers[i], text("{}"), count_callback, &never, NULL, &out, &error),
                    error, internal, closed);
    }
    CHECK_ERROR(rstmdb_watch_all(db, text("{}"), &watch, &out, &error), error, internal, closed);
    CHECK_ERROR(rstmdb_advance_clock(db, 1, &error), error, internal, closed);
    CHECK(rstmdb_cancel(db, 1) == 0);
    CHECK(rstmdb_watch_next(before, 1, -1, &out, &error) == RSTMDB_ENDED);
    rstmdb_free(db);
    CHECK(rstmdb_watch_next(before, 1, -1, &out, &error) == RSTMDB_ENDED);
    rstmdb_watch_free(before);
    CHECK(counted(&never) == 0);
}

int main(void) {
    RUN(versions_agree);
    RUN(null_is_an_error_everywhere);
    RUN(numbers_of_no_operation_are_refused);
    RUN(broken_text_is_refused);
    RUN(deep_and_huge_values_are_refused);
    RUN(nul_in_a_string_is_a_character);
    RUN(open_refuses_what_it_does_not_know);
    RUN(an_error_tells_everything);
    RUN(echo_returns_the_text_and_survives_panics);
    RUN(a_closed_database_says_so);
    return 0;
}
