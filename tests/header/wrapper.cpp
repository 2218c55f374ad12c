// The C++ wrapper: requests as structs and as text, exceptions, futures, watches, ownership. Compiled
// as C++17, and as C++20 for coroutines.

#include "check.h"
#include "rstmdb.hpp"

#include <thread>

namespace {

using rstmdb::Database;
using rstmdb::Future;
using rstmdb::Watch;

const char *const machine = R"({"states": ["A", "B"], "initial": "A", "transitions": [
    {"from": "A", "event": "FLIP", "to": "B"}, {"from": "B", "event": "FLIP", "to": "A"}]})";

// As the values of a JSON library are.
struct Value {
    std::string dump() const { return R"({"n": 18446744073709551615})"; }
};

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

Database open_switch(std::string_view url = "mem:") {
    Database db = Database::open(url);
    db.put_machine({"switch", 1, machine});
    db.create_instance({"one", "switch", 1});
    return db;
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

void requests_are_structs_or_text() {
    const Database db = open_switch();
    rstmdb::ApplyEventRequest flip{"one", "FLIP"};
    flip.payload = Value{};
    flip.expected_state = "A";
    CHECK(contains(db.apply_event(flip), R"("n":18446744073709551615)"));
    CHECK(contains(db.apply_event(R"({"instance_id": "one", "event": "FLIP"})"), R"("to_state":"A")"));
    CHECK(contains(db.apply_event(std::string(R"({"instance_id": "one", "event": "FLIP"})")),
                   R"("to_state":"B")"));
    CHECK(contains(db.call(rstmdb::Operation::GetInstance, R"({"instance_id": "one"})"), R"("state":"B")"));
    CHECK(contains(db.list_machines(), "switch") && contains(db.list_instances(), "one"));
    rstmdb::BatchRequest batch{rstmdb::BatchMode::atomic, {}, {}};
    batch.ops.push_back(rstmdb::CreateInstanceRequest{"two", "switch", 1});
    batch.ops.push_back(rstmdb::ApplyEventRequest{"two", "FLIP"});
    batch.ops.push_back(rstmdb::DeleteInstanceRequest{"two"});
    CHECK(contains(db.batch(batch), R"("deleted":true)"));
    CHECK(contains(db.history({"one", rstmdb::HistoryOrder::oldest, 1}), R"("kind":"created")"));
    CHECK(contains(db.replication_status(), "role") && !rstmdb::version().empty());
    CHECK(rstmdb::WatchAllRequest{}.to_json() == "{}");
}

void text_is_escaped() {
    const Database db = open_switch();
    const std::string odd = std::string("q\"\\\n\t\x01\x1f\0z", 9) + "\xE2\x82\xAC";
    db.create_instance({odd, "switch", 1});
    const std::string got = db.get_instance({odd});
    CHECK(contains(got, R"("instance_id":"q\"\\\n\t\u0001\u001f\u0000z)"
                        "\xE2\x82\xAC"));
    const auto missing = thrown<rstmdb::NotFoundError>([&] { db.get_instance({"x\",\"y\":\"z"}); });
    CHECK(missing.code() == rstmdb::ErrorCode::InstanceNotFound);
}

void a_part_is_exactly_one_json_value() {
    const Database db = open_switch();
    const char *const forged = R"({"x":1},"idempotency_key":"forged")";
    const auto refused = [&](const std::string &member, auto call) {
        const auto error = thrown<rstmdb::InvalidError>(call);
        CHECK(error.code() == rstmdb::ErrorCode::BadRequest && error.reason() == "invalid_request");
        CHECK(contains(error.what(), member + " is not exactly one JSON value"));
        CHECK(contains(error.context(), "\"field\":\"" + member + "\"") &&
              contains(error.json(), "\"number\":2"));
    };
    for (const char *part : {forged,  "",     " ",       "1 2",        "1,2",    "{}}",
                             "{}]",   "[1,]", "{\"a\"}", "{\"a\":1,}", "tru",    "truex",
                             "01",    "1.",   "-",       "+1",         "1e",     ".5",
                             "NaN",   "\"a",  "\"\\x\"", "\"\\u12\"",  "\"\n\"", "'a'",
                             "{a:1}", "[}",   "{]",      "[1",         "/**/1",  "null,\"event\":\"NOPE\""}) {
        rstmdb::ApplyEventRequest event{"one", "FLIP"};
        event.payload = part;
        refused("payload", [&] { db.apply_event(event); });
        refused("payload", [&] { (void)db.apply_event_async(event); });
        refused("payload", [&] { rstmdb::BatchOperation{event}; });
        rstmdb::CreateInstanceRequest create{"two", "switch", 1};
        create.initial_ctx = part;
        refused("initial_ctx", [&] { db.create_instance(create); });
        refused("definition", [&] { db.put_machine({"m", 1, part}); });
        refused("payload", [&] { db.permitted({"one", part}); });
    }
    std::string deep(100000, '[');
    refused("definition", [&] { db.put_machine({"m", 1, deep}); });
    for (const char *part :
         {"null", " {\"a\" : [1, -0.5e+3, \"\\u00e9\\n\", true, false, null, {}, []]}\n", "{}"}) {
        rstmdb::ApplyEventRequest event{"one", "FLIP"};
        event.payload = part;
        db.apply_event(event);
    }
    CHECK(!contains(db.wal_read({1}), "forged"));
}

void errors_have_a_class_for_each_kind() {
    const Database db = open_switch();
    rstmdb::ApplyEventRequest wrong{"one", "FLIP"};
    wrong.expected_state = "B";
    const auto error = thrown<rstmdb::ConflictError>([&] { db.apply_event(wrong); });
    CHECK(error.code() == rstmdb::ErrorCode::Conflict && error.kind() == rstmdb::ErrorKind::Conflict);
    CHECK(error.code_name() == "CONFLICT" && error.reason() == "expected_state");
    CHECK(error.operation() == "APPLY_EVENT" && !error.retryable());
    CHECK(contains(error.context(), R"("instance_id":"one")") && contains(error.json(), R"("number":13)"));
    CHECK(std::string(error.what()).size() > 10);
    const rstmdb::Error copy = error;
    CHECK(copy.context() == error.context());
    thrown<rstmdb::RejectedError>([&] { db.apply_event({"one", "NOPE"}); });
    thrown<rstmdb::AlreadyExistsError>([&] { db.create_instance({"one", "switch", 1}); });
    thrown<rstmdb::InvalidError>([&] { db.apply_event("{"); });
    thrown<rstmdb::InvalidError>([] { Database::open("mem:", R"({"fsnyc": 1})"); });
    thrown<rstmdb::Error>([&] { db.get_machine({"nope", 1}); });
    thrown<std::runtime_error>([&] { db.get_machine({"nope", 1}); });
    const Database echo = Database::open("echo:");
    thrown<rstmdb::InternalError>([&] { echo.ping(R"({"$panic": 1})"); });
    CHECK(echo.ping(R"({"x":1})") == R"({"x":1})");
}

void handles_move_and_close() {
    Database first = open_switch();
    Database second = std::move(first);
    CHECK(contains(second.get_instance({"one"}), "one"));
    thrown<rstmdb::InvalidError>([&] { first.ping(); });
    second.close();
    second.close();
    thrown<rstmdb::ClosedError>([&] { second.ping(); });
    thrown<rstmdb::ClosedError>([&] { second.ping_async().get(); });
    thrown<rstmdb::ClosedError>([&] { (void)second.watch_all(); });
    second = open_switch();
    second.ping();
    const Database clock = Database::open("mem:", R"({"manual_clock_ms": 1000})");
    clock.advance_clock(std::chrono::seconds(1));
    thrown<rstmdb::InvalidError>([&] { second.advance_clock(std::chrono::seconds(1)); });
}

void options_are_members() {
    rstmdb::Options options;
    CHECK(options.to_json() == "{}");
    options.fsync = "never";
    options.limits = rstmdb::Limits{};
    options.limits->states_max = 3;
    options.retention = rstmdb::Retention::age(std::chrono::hours(1));
    options.idempotency_window = std::chrono::minutes(1);
    options.allow_flush_all = true;
    options.manual_clock_ms = -1;
    CHECK(options.to_json() ==
          R"({"fsync":"never","limits":{"states_max":3},"retention":{"age_ms":3600000},)"
          R"("idempotency_window_ms":60000,"allow_flush_all":true,"manual_clock_ms":-1})");
    const Database db = Database::open("mem:", options);
    CHECK(contains(db.info(), R"("states_max":3)"));
    db.flush_all();
    CHECK(contains(Database::open_async("mem:", options).get().info(), R"("states_max":3)"));
    options.tls = rstmdb::TlsOptions{};
    options.retry = rstmdb::RetryOptions{};
    options.retry->backoff_min = std::chrono::milliseconds(1);
    CHECK(contains(options.to_json(), R"("tls":{},"retry":{"backoff_min_ms":1}})"));
    thrown<rstmdb::InvalidError>([&] { Database::open("mem:", options); });
}

void futures_bring_results_and_errors() {
    char path[256];
    {
        const Database db = open_switch(new_directory(path, sizeof path));
        std::vector<Future<std::string>> futures;
        for (int i = 0; i < 100; i++) {
            futures.push_back(db.apply_event_async({"one", "FLIP"}));
        }
        for (auto &future : futures) {
            CHECK(contains(future.get(), "\"applied\":true") && !future.valid());
        }
        thrown<std::logic_error>([&] { futures[0].get(); });
        thrown<rstmdb::NotFoundError>([&] { db.apply_event_async({"two", "FLIP"}).get(); });
        auto event = db.apply_event_async({"one", "FLIP"});
        while (!event.wait_for(std::chrono::seconds(1))) {
        }
        CHECK(event.ready());
        event.wait();
        event.get();
        /* Dropped, it goes on. */
        (void)db.apply_event_async({"one", "FLIP"});
        latch done = LATCH;
        auto watched = db.apply_event_async({"one", "FLIP"});
        watched.on_ready([&done] { count_up(&done, 0); });
        wait_for(&done, 1);
        watched.get();
        thrown<rstmdb::UnavailableError>([&] { Database::open_async(path).get(); });
    }
    const Database again = Database::open_async(path).get();
    CHECK(contains(again.get_instance({"one"}), "\"last_wal_offset\":105"));
    again.close();
    remove_directory(path);
}

void a_cancelled_future_says_so() {
    const Database echo = Database::open("echo:");
    const int often = times(2000);
    for (int i = 0; i < often; i++) {
        auto future = echo.ping_async(R"({"$wait":1})");
        if (future.cancel()) {
            CHECK(future.ready());
            thrown<rstmdb::Cancelled>([&] { future.get(); });
        } else {
            CHECK(contains(future.get(), "$wait"));
        }
        CHECK(!future.cancel());
    }
    auto last = echo.ping_async("{}");
    CHECK(last.ready() && !last.cancel() && last.get() == "{}");
    auto left = echo.ping_async(R"({"$wait":1})");
    echo.close();
    CHECK(left.get() != "" && !left.cancel());
}

void a_member_that_does_not_fit_is_named() {
    const Database db = open_switch();
    const auto said = [&](rstmdb::Operation operation, std::string_view request) {
        try {
            db.call(operation, request);
        } catch (const rstmdb::InvalidError &error) {
            CHECK(contains(error.context(), "\"field\""));
            return std::string(error.what());
        }
        return std::string();
    };
    using rstmdb::Operation;
    CHECK(contains(said(Operation::CreateInstance, R"({"machine": "switch", "version": "1"})"),
                   "version must be a whole number from 0 to 4294967295, not the string \"1\""));
    CHECK(contains(said(Operation::GetInstance, R"({"instance_id": 7})"),
                   "instance_id must be a string, not 7"));
    CHECK(contains(said(Operation::GetInstance, "{}"), "instance_id is missing"));
    CHECK(contains(
        said(Operation::Batch, R"({"ops": [{"op": "GET_INSTANCE", "params": {"instance_id": []}}]})"),
        "ops[0].params.instance_id must be a string, not a list"));
}

void a_watch_is_a_range() {
    const Database db = open_switch();
    Watch watch = db.watch_instance({"one"});
    CHECK(contains(watch.result(), R"("current_state":"A")") &&
          !watch.next_for(std::chrono::milliseconds(0)));
    CHECK(!watch.ended());
    for (int i = 0; i < 5; i++) {
        db.apply_event({"one", "FLIP"});
    }
    int count = 0;
    for (const std::string &event : watch) {
        CHECK(event.front() == '{' && contains(event, "\"wal_offset\":" + std::to_string(3 + count)));
        if (++count == 3) {
            break;
        }
    }
    CHECK(watch.resume_offset() == 6);
    CHECK(watch.next() && watch.next_batch(10) && !watch.next_for(std::chrono::milliseconds(1)));
    /* Over a temporary, from a stored offset, ended by another thread. */
    std::string last;
    auto follow = db.watch_all_async({true, 5}).get();
    std::thread ender([&] {
        db.apply_event({"one", "FLIP"});
        CHECK(watch.next());
        follow.unwatch();
        watch.unwatch();
    });
    for (auto &&event : follow) {
        last = event;
    }
    ender.join();
    CHECK(follow.ended() && !watch.next() && watch.ended());
    for (auto &&event : db.watch_all({true, 1, {}, {"switch"}, {}, {}, {}, true})) {
        CHECK(contains(event, "created"));
        break;
    }
    thrown<rstmdb::NotFoundError>([&] { (void)db.watch_instance({"two"}); });
    thrown<rstmdb::NotFoundError>([&] { (void)db.watch_instance_async({"two"}).get(); });
}

void a_watch_can_be_waited_for_without_a_thread() {
    std::optional<Database> db = open_switch();
    Watch watch = db->watch_all();
    auto none = watch.next_batch_async(10);
    CHECK(!none.ready() && none.cancel());
    thrown<rstmdb::Cancelled>([&] { none.get(); });
    auto some = watch.next_batch_async(10);
    thrown<rstmdb::InvalidError>([&] { watch.next(); });
    db->apply_event({"one", "FLIP"});
    CHECK(contains(some.get().value(), R"("wal_offset":3)"));
    auto end = watch.next_batch_async(10);
    db->close();
    CHECK(!end.get() && watch.ended() && !watch.next());
}

void the_log_goes_to_a_function() {
    std::atomic<int> lines{0};
    char path[256];
    rstmdb::set_log(rstmdb::LogLevel::trace, [&lines](auto, auto target, auto message) {
        lines += !target.empty() && !message.empty();
        throw std::runtime_error("must not pass through the library");
    });
    open_switch(new_directory(path, sizeof path)).close();
    rstmdb::set_log(rstmdb::LogLevel::off);
    const int before = lines;
    CHECK(before > 0);
    Database::open(path).close();
    CHECK(lines == before);
    remove_directory(path);
}

#if defined(__cpp_impl_coroutine)
struct Task {
    struct promise_type {
        Task get_return_object() { return {}; }
        std::suspend_never initial_suspend() { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::abort(); }
    };
};

Task flip_often(const Database &db, latch &done) {
    // Before co_await: GCC 12 destroys a braced argument in its expression twice.
    const rstmdb::ApplyEventRequest flip{"one", "FLIP"}, missing{"two", "FLIP"};
    for (int i = 0; i < 20; i++) {
        co_await db.apply_event_async(flip);
    }
    try {
        co_await db.apply_event_async(missing);
    } catch (const rstmdb::NotFoundError &) {
        count_up(&done, 0);
    }
}

void futures_can_be_awaited() {
    char path[256];
    const Database db = open_switch(new_directory(path, sizeof path));
    latch done = LATCH;
    flip_often(db, done);
    flip_often(db, done);
    wait_for(&done, 2);
    CHECK(contains(db.get_instance({"one"}), "\"last_wal_offset\":42"));
    db.close();
    remove_directory(path);
}
#endif

} // namespace

int main() {
    RUN(requests_are_structs_or_text);
    RUN(text_is_escaped);
    RUN(a_part_is_exactly_one_json_value);
    RUN(errors_have_a_class_for_each_kind);
    RUN(handles_move_and_close);
    RUN(options_are_members);
    RUN(futures_bring_results_and_errors);
    RUN(a_cancelled_future_says_so);
    RUN(a_member_that_does_not_fit_is_named);
    RUN(a_watch_is_a_range);
    RUN(a_watch_can_be_waited_for_without_a_thread);
    RUN(the_log_goes_to_a_function);
#if defined(__cpp_impl_coroutine)
    RUN(futures_can_be_awaited);
#endif
    return 0;
}
