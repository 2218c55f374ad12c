// A server of the future, through the C++ wrapper: what it does not know is passed on or skipped, what the
// server lacks is named. tests/newer/answers.json is what it says.

#include "newer.h"
#include "rstmdb.hpp"

namespace {

using rstmdb::Database;

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

template <class Expected, class Call> Expected thrown(Call call) {
    try {
        call();
    } catch (const Expected &error) {
        return error;
    }
    CHECK(!"it should have thrown");
    std::abort();
}

void members_and_features_that_are_not_known_are_skipped_or_passed_on(const Database &db) {
    CHECK(contains(db.info(), R"("moonbeams","timers"])"));
    CHECK(contains(db.get_instance({"a"}), R"("state":"s")"));
    CHECK(contains(db.apply_event({"a", "GO"}), R"("to_state":"t")"));
    CHECK(contains(db.permitted({"a"}), R"("code":"INTERNAL_ERROR","message":"it is short and stout")"));
}

void errors_that_are_not_known_say_what_they_can(const Database &db) {
    const auto soon = thrown<rstmdb::ConflictError>([&] { db.apply_event({"a", "SOON"}); });
    CHECK(soon.code() == rstmdb::ErrorCode::Conflict && soon.retryable());
    CHECK(soon.reason() == "too_soon" && contains(soon.context(), R"("due":{"at":7})"));
    const auto brew = thrown<rstmdb::InternalError>([&] { db.apply_event({"a", "BREW"}); });
    CHECK(brew.code() == rstmdb::ErrorCode::InternalError && brew.retryable());
    CHECK(brew.reason() == "constructor" && contains(brew.context(), R"("code":"TEAPOT")"));
    CHECK(brew.what() == std::string("TEAPOT: it is short and stout"));
}

void events_of_kinds_that_are_not_known_are_passed_on(const Database &db) {
    CHECK(contains(db.history({"a"}), R"("kind":"rescheduled")"));
    rstmdb::WatchAllRequest all;
    all.include_lifecycle = true;
    rstmdb::Watch watch = db.watch_all(all);
    for (const char *kind : {"applied", "rescheduled", "deleted"}) {
        CHECK(contains(watch.next().value(), std::string(R"("kind":")") + kind + '"'));
    }
}

void entries_of_types_that_are_not_known_are_passed_on(const Database &db) {
    const std::string page = db.wal_read({5});
    CHECK(contains(page, R"({"type":"apply_event","instance_id":"a","event":"GO")"));
    CHECK(contains(page, R"({"version": "two", "type": "set_timer", "timer": {)"));
}

void what_the_server_lacks_is_unsupported(const Database &db) {
    const auto batch = thrown<rstmdb::InvalidError>([&] { db.batch(rstmdb::BatchRequest{}); });
    CHECK(batch.reason() == "unsupported" && batch.operation() == "BATCH" && !batch.retryable());
    CHECK(contains(batch.context(), R"("feature":"batch")"));
    const auto validate = thrown<rstmdb::InvalidError>([&] { db.validate_machine({"{}"}); });
    CHECK(validate.reason() == "unsupported" && validate.operation() == "VALIDATE_MACHINE");
    CHECK(contains(validate.context(), R"("feature":"VALIDATE_MACHINE")"));
    CHECK(contains(db.ping(), "true"));
}

} // namespace

int main() {
    newer_server server;
    start_newer(&server);
    {
        const Database db = Database::open(server.url);
        members_and_features_that_are_not_known_are_skipped_or_passed_on(db);
        errors_that_are_not_known_say_what_they_can(db);
        events_of_kinds_that_are_not_known_are_passed_on(db);
        entries_of_types_that_are_not_known_are_passed_on(db);
        what_the_server_lacks_is_unsupported(db);
    }
    stop_newer(&server);
    std::puts("ok");
}
