/* A server of the future: what the library does not know is passed on or skipped, what the server lacks is
 * named. tests/newer/answers.json is what it says. */

#define _DEFAULT_SOURCE
#include "newer.h"

static rstmdb_db *db;

static void members_and_features_that_are_not_known_are_skipped_or_passed_on(void) {
    must(rstmdb_ping, db, "{}", "{\"pong\":true}");
    must(rstmdb_info, db, "{}", "\"moonbeams\",\"timers\"]");
    must(rstmdb_get_instance, db, "{\"instance_id\":\"a\"}", "\"state\":\"s\"");
    must(rstmdb_apply_event, db, "{\"instance_id\":\"a\",\"event\":\"GO\"}", "\"to_state\":\"t\"");
    must(rstmdb_permitted, db, "{\"instance_id\":\"a\"}",
         "\"code\":\"INTERNAL_ERROR\",\"message\":\"it is short and stout\"");
}

/* What a call is refused with; the caller's to free. */
static rstmdb_error *refused(operation call, const char *request, int32_t code) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK(call(db, text(request), &out, &error) == code && error && rstmdb_error_code(error) == code);
    return error;
}

static bool says(rstmdb_slice slice, const char *part) {
    rstmdb_buffer buffer = {(uint8_t *)slice.data, slice.len, 0};
    return has(buffer, part);
}

static void errors_that_are_not_known_say_what_they_can(void) {
    rstmdb_error *error =
        refused(rstmdb_apply_event, "{\"instance_id\":\"a\",\"event\":\"SOON\"}", RSTMDB_ERROR_CONFLICT);
    CHECK(rstmdb_error_kind(error) == RSTMDB_KIND_CONFLICT && rstmdb_error_retryable(error));
    CHECK(is(rstmdb_error_reason(error), "too_soon") && says(rstmdb_error_context(error), "{\"at\":7}"));
    rstmdb_error_free(error);
    error = refused(rstmdb_apply_event, "{\"instance_id\":\"a\",\"event\":\"BREW\"}",
                    RSTMDB_ERROR_INTERNAL_ERROR);
    CHECK(rstmdb_error_kind(error) == RSTMDB_KIND_INTERNAL && rstmdb_error_retryable(error));
    CHECK(is(rstmdb_error_reason(error), "constructor"));
    CHECK(is(rstmdb_error_message(error), "TEAPOT: it is short and stout"));
    CHECK(says(rstmdb_error_context(error), "\"code\":\"TEAPOT\""));
    rstmdb_error_free(error);
}

static void check_event(const rstmdb_watch *watch, const char *kind) {
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_watch_next(watch, 1, -1, &out, &error), error);
    CHECK(has(out, kind));
    rstmdb_buffer_free(out);
}

static void events_of_kinds_that_are_not_known_are_passed_on(void) {
    must(rstmdb_history, db, "{\"instance_id\":\"a\"}", "\"kind\":\"rescheduled\"");
    must(rstmdb_history, db, "{\"instance_id\":\"a\"}", "\"payload\":{\"n\":18446744073709551615}");
    rstmdb_watch *watch = NULL;
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_watch_all(db, text("{\"include_lifecycle\":true}"), &watch, &out, &error), error);
    rstmdb_buffer_free(out);
    check_event(watch, "\"kind\":\"applied\"");
    check_event(watch, "\"kind\":\"rescheduled\"");
    check_event(watch, "\"kind\":\"deleted\"");
    rstmdb_watch_free(watch);
}

static void entries_of_types_that_are_not_known_are_passed_on(void) {
    const char *request = "{\"from_offset\":5}";
    must(rstmdb_wal_read, db, request, "{\"type\":\"apply_event\",\"instance_id\":\"a\",\"event\":\"GO\"");
    /* To the byte, blanks included. */
    must(rstmdb_wal_read, db, request, "{\"version\": \"two\", \"type\": \"set_timer\", \"timer\": {");
    must(rstmdb_wal_read, db, request, "\"due\": 18446744073709551615}}");
}

static void what_the_server_lacks_is_unsupported(void) {
    /* Nothing is sent, or it would succeed. */
    rstmdb_error *error = refused(rstmdb_batch, "{\"ops\":[]}", RSTMDB_ERROR_BAD_REQUEST);
    CHECK(is(rstmdb_error_reason(error), "unsupported") && is(rstmdb_error_operation(error), "BATCH"));
    CHECK(says(rstmdb_error_context(error), "\"feature\":\"batch\"") && !rstmdb_error_retryable(error));
    rstmdb_error_free(error);
    error = refused(rstmdb_validate_machine, "{\"definition\":{}}", RSTMDB_ERROR_BAD_REQUEST);
    CHECK(is(rstmdb_error_reason(error), "unsupported") && !rstmdb_error_retryable(error));
    CHECK(is(rstmdb_error_operation(error), "VALIDATE_MACHINE"));
    CHECK(says(rstmdb_error_context(error), "\"feature\":\"VALIDATE_MACHINE\""));
    rstmdb_error_free(error);
    must(rstmdb_ping, db, "{}", "{\"pong\":true}");
}

static void one_of_several_hosts_is_enough(const char *url) {
    char hosts[256];
    /* Nobody listens at the first. */
    snprintf(hosts, sizeof hosts, "rstmdb://127.0.0.1:1,%s?read=session&zone=here",
             url + strlen("rstmdb://"));
    rstmdb_db *several = open_db(hosts, "");
    rstmdb_buffer out;
    rstmdb_error *error = NULL;
    CHECK_OK(rstmdb_get_instance(several, text("{\"instance_id\":\"a\"}"), &out, &error), error);
    rstmdb_buffer_free(out);
    rstmdb_free(several);
    rstmdb_db *none = NULL;
    snprintf(hosts, sizeof hosts, "rstmdb://127.0.0.1:1,127.0.0.1:2?read=newest");
    int32_t status = rstmdb_open(text(hosts), text(""), &none, &error);
    CHECK(is(rstmdb_error_reason(error), "invalid_option") &&
          says(rstmdb_error_message(error), "linearizable"));
    CHECK_ERROR(status, error, RSTMDB_ERROR_BAD_REQUEST, RSTMDB_KIND_INVALID);
}

int main(void) {
    newer_server server;
    start_newer(&server);
    one_of_several_hosts_is_enough(server.url);
    db = open_db(server.url, "");
    RUN(members_and_features_that_are_not_known_are_skipped_or_passed_on);
    RUN(errors_that_are_not_known_say_what_they_can);
    RUN(events_of_kinds_that_are_not_known_are_passed_on);
    RUN(entries_of_types_that_are_not_known_are_passed_on);
    RUN(what_the_server_lacks_is_unsupported);
    rstmdb_free(db);
    stop_newer(&server);
    return 0;
}
