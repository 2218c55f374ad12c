// Who keeps what open in C++, and where it may be closed: futures that were taken, handles that were
// moved from, continuations and coroutines, static and thread-local databases. Compiled as C++17, and as
// C++20 for coroutines.

#include "check.h"

#include <atomic>

// How many watches were freed: nothing else tells from outside.
static std::atomic<int> watches_freed{0};

static inline void counted_watch_free(rstmdb_watch *watch) {
    watches_freed += watch != nullptr;
    rstmdb_watch_free(watch);
}

#define rstmdb_watch_free counted_watch_free
#include "rstmdb.hpp"
#undef rstmdb_watch_free

#include <sys/wait.h>
#include <thread>

namespace {

using rstmdb::Database;
using rstmdb::Future;
using rstmdb::Watch;

const char *self_path;

const char *const flip_json = R"({"instance_id": "one", "event": "FLIP"})";

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

Database open_switch(std::string_view url = "mem:") {
    Database db = Database::open(url);
    put_switch(db.raw());
    return db;
}

/// A directory that is gone at the end.
struct Directory {
    char path[256];
    Directory() { new_directory(path, sizeof path); }
    Directory(const Directory &) = delete;
    Directory &operator=(const Directory &) = delete;
    ~Directory() { remove_directory(path); }
};

template <class Expected, class Call> void throws(Call call) {
    try {
        call();
    } catch (const Expected &) {
        return;
    }
    CHECK(!"it should have thrown");
}

/// What a continuation throws has nowhere to go; here it is a failure.
template <class Work> void not_throwing(Work &work) {
    try {
        work();
    } catch (const std::exception &error) {
        fprintf(stderr, "in a continuation: %s\n", error.what());
        abort();
    }
}

/// Runs `work` once as the continuation of a request, on a thread of the library, and waits for it.
template <class Work> void in_a_continuation(Work work) {
    const Database echo = Database::open("echo:");
    const auto caller = std::this_thread::get_id();
    // When the outcome is there already, the continuation runs at once, here.
    for (bool ran = false; !ran;) {
        latch done = LATCH;
        auto event = echo.ping_async(R"({"$wait": 1})");
        event.on_ready([&] {
            if (std::this_thread::get_id() != caller) {
                not_throwing(work);
                ran = true;
            }
            count_up(&done, 0);
        });
        wait_for(&done, 1);
        event.get();
    }
}

void a_taken_future_keeps_no_database_open() {
    const Directory directory;
    auto future = Database::open_async(directory.path);
    {
        const Database db = future.get();
        put_switch(db.raw());
    }
    CHECK(!future.valid());
    // It would still be locked.
    Database::open(directory.path).close();
}

void a_taken_future_keeps_no_watch() {
    const Database db = open_switch();
    auto begun = db.watch_all_async();
    const int before = watches_freed;
    {
        const Watch watch = begun.get();
    }
    CHECK(watches_freed == before + 1);
    std::optional<Watch> watch = db.watch_all();
    auto next = watch->next_batch_async(1);
    db.apply_event(flip_json);
    CHECK(contains(next.get().value(), "FLIP"));
    watch.reset();
    CHECK(watches_freed == before + 2 && !next.valid());
    auto missing = db.watch_instance_async(R"({"instance_id": "two"})");
    throws<rstmdb::NotFoundError>([&] { (void)missing.get(); });
}

void a_watch_keeps_its_database_open() {
    const Directory directory;
    open_switch(directory.path).close();
    {
        const rstmdb::WatchAllRequest past{true, 1, {}, {}, {}, {}, {}, true};
        std::optional<Watch> watch = Database::open(directory.path).watch_all(past);
        CHECK(contains(watch->next().value(), "created"));
        auto next = watch->next_batch_async(1);
        // A future of it does as well as the watch.
        watch.reset();
        CHECK(next.valid());
        auto begun = Database::open("mem:").watch_all_async();
        CHECK(!begun.get().next_for(std::chrono::milliseconds(0)));
        // Moving from one place to another ends nothing either.
        Database db = open_switch();
        Watch other = db.watch_all();
        Database moved = std::move(db);
        moved.apply_event(flip_json);
        CHECK(contains(other.next().value(), "FLIP"));
        moved = Database::open("mem:");
        CHECK(!other.next_for(std::chrono::milliseconds(0)) && !other.ended());
    }
    // And with the last of them it is closed.
    Database::open(directory.path).close();
}

void a_watch_ends_when_its_database_is_closed() {
    std::optional<Database> db = open_switch();
    Watch watch = db->watch_all();
    db->close();
    db.reset();
    CHECK(!watch.next() && watch.ended());
}

void a_watch_that_was_moved_from_says_so() {
    const Database db = open_switch();
    Watch watch = db.watch_all();
    Watch other = std::move(watch);
    throws<std::logic_error>([&] { watch.next(); });
    throws<std::logic_error>([&] { watch.next_for(std::chrono::milliseconds(1)); });
    throws<std::logic_error>([&] { watch.next_batch(1); });
    throws<std::logic_error>([&] { (void)watch.next_batch_async(1); });
    throws<std::logic_error>([&] { watch.begin(); });
    CHECK(watch.ended() && watch.resume_offset() == 0);
    watch.unwatch();
    db.apply_event(flip_json);
    CHECK(!other.ended() && contains(other.next().value(), "FLIP"));
    watch = std::move(other);
    db.apply_event(flip_json);
    CHECK(!watch.ended() && contains(watch.next().value(), "FLIP") && other.ended());
}

void a_database_that_was_moved_from_says_so() {
    Database db = open_switch();
    const Database other = std::move(db);
    throws<rstmdb::InvalidError>([&] { db.call(rstmdb::Operation::Ping, "{}"); });
    throws<rstmdb::InvalidError>([&] { db.call_async(rstmdb::Operation::Ping, "{}").get(); });
    throws<rstmdb::InvalidError>([&] { (void)db.watch_all(); });
    throws<rstmdb::InvalidError>([&] { (void)db.watch_all_async().get(); });
    throws<rstmdb::InvalidError>([&] { db.close(); });
    throws<rstmdb::InvalidError>([&] { db.close_async().get(); });
    throws<rstmdb::InvalidError>([&] { db.replication_status(); });
    other.ping();
}

void calls_that_wait_work_in_a_continuation() {
    const Directory directory;
    const Database db = open_switch(directory.path);
    in_a_continuation([&] {
        // A directory's write waits for its sync, history for a thread of files.
        CHECK(contains(db.call(rstmdb::Operation::ApplyEvent, flip_json), R"("applied":true)"));
        CHECK(contains(db.call(rstmdb::Operation::History, R"({"instance_id": "one"})"), "FLIP"));
        CHECK(contains(db.apply_event(flip_json), R"("applied":true)"));
        CHECK(contains(db.watch_all({true, 1}).next().value(), "FLIP"));
    });
}

void a_call_by_number_refuses_what_has_no_single_answer() {
    const Database db = open_switch();
    throws<rstmdb::InvalidError>([&] { db.call(rstmdb::Operation::WatchAll, "{}"); });
    throws<rstmdb::InvalidError>([&] { db.call(rstmdb::Operation::WatchInstance, flip_json); });
    throws<rstmdb::InvalidError>([&] { db.call(static_cast<rstmdb::Operation>(-1), "{}"); });
    throws<rstmdb::InvalidError>([&] { db.call(rstmdb::Operation::ApplyEvent, "{"); });
}

void a_database_is_closed_without_waiting() {
    const Directory directory;
    const Database db = open_switch(directory.path);
    std::vector<Future<std::string>> under_way;
    for (int i = 0; i < 20; i++) {
        under_way.push_back(db.apply_event_async(flip_json));
    }
    auto closed = db.close_async();
    closed.wait();
    CHECK(!closed.cancel());
    closed.get();
    CHECK(!closed.valid());
    for (auto &future : under_way) {
        CHECK(future.ready());
    }
    throws<rstmdb::ClosedError>([&] { db.ping(); });
    // Twice is fine, either way.
    db.close_async().get();
    db.close();
    const Database again = Database::open(directory.path);
    CHECK(contains(again.get_instance({"one"}), R"("last_wal_offset":22)"));
}

void a_database_is_closed_in_a_continuation() {
    const Directory directory;
    const Database db = open_switch(directory.path);
    latch closed = LATCH;
    std::optional<Future<void>> closing;
    in_a_continuation([&] {
        throws<rstmdb::InvalidError>([&] { db.close(); });
        db.ping();
        closing = db.close_async();
        closing->on_ready([&] { count_up(&closed, 0); });
    });
    wait_for(&closed, 1);
    closing->get();
    Database::open(directory.path).close();
}

void a_database_destroyed_in_a_continuation_closes() {
    const Directory directory;
    std::optional<Database> db = open_switch(directory.path);
    db->apply_event(flip_json);
    in_a_continuation([&] { db.reset(); });
    // Nothing tells when: the handle is gone.
    for (std::optional<Database> again; !again;) {
        try {
            again = Database::open(directory.path);
        } catch (const rstmdb::UnavailableError &) {
            std::this_thread::yield();
        }
    }
}

/// A database that lives as long as the program, or as a thread, closed by its destructor.
int leave_it_to_the_end(const std::string &how, const char *path) {
    if (how == "static") {
        static const Database db = open_switch(path);
        db.apply_event(flip_json);
        // Some under way.
        for (int i = 0; i < 20; i++) {
            (void)db.apply_event_async(flip_json);
        }
        return 0;
    }
    std::thread([path] {
        // Before those of the library: so destroyed after them.
        static thread_local std::optional<Database> db;
        db.emplace(open_switch(path));
        db->apply_event(flip_json);
        (void)db->apply_event_async(flip_json);
    }).join();
    // Closed with its thread: it can be opened again here.
    const Database again = Database::open(path);
    CHECK(contains(again.get_instance({"one"}), "instance_id"));
    return 0;
}

/// Runs this program again and fails unless it ends well, and silently: a destructor that fails can only
/// complain.
void run_and_end(const char *how, const char *path) {
    int said[2];
    CHECK(pipe(said) == 0);
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(said[1], STDERR_FILENO);
        close(said[0]);
        close(said[1]);
        execl(self_path, self_path, how, path, static_cast<char *>(nullptr));
        _exit(1);
    }
    close(said[1]);
    char line[200];
    const ssize_t len = read(said[0], line, sizeof line);
    if (len != 0) {
        fprintf(stderr, "%s: %.*s\n", how, static_cast<int>(len), line);
    }
    close(said[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(len == 0);
}

void static_and_thread_local_databases_close() {
    for (const char *how : {"static", "thread"}) {
        const Directory directory;
        run_and_end(how, directory.path);
        const Database db = Database::open(directory.path);
        CHECK(contains(db.history({"one"}), R"("to_state":"B")"));
    }
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

/// Opens, works and closes with co_await alone, twice: the second time finds the directory unlocked.
Task open_work_and_close(const char *path, latch &done) {
    const rstmdb::ApplyEventRequest flip{"one", "FLIP"};
    for (int i = 0; i < 2; i++) {
        auto opening = Database::open_async(path);
        const Database db = co_await std::move(opening);
        co_await db.apply_event_async(flip);
        CHECK(contains(db.call(rstmdb::Operation::ApplyEvent, flip_json), "applied"));
        auto next = db.watch_all({true, 1});
        CHECK((co_await next.next_batch_async(10)).has_value());
        co_await db.close_async();
        throws<rstmdb::ClosedError>([&] { db.ping(); });
        // What was there may still be taken; then it ends.
        while (co_await next.next_batch_async(10)) {
        }
    }
    count_up(&done, 0);
}

void a_coroutine_opens_and_closes() {
    const Directory directory;
    open_switch(directory.path).close();
    latch done = LATCH;
    open_work_and_close(directory.path, done);
    wait_for(&done, 1);
    const Database db = Database::open(directory.path);
    CHECK(contains(db.get_instance({"one"}), R"("last_wal_offset":6)"));
}
#endif

} // namespace

int main(int count, char **arguments) {
    self_path = arguments[0];
    if (count > 2) {
        return leave_it_to_the_end(arguments[1], arguments[2]);
    }
    RUN(a_taken_future_keeps_no_database_open);
    RUN(a_taken_future_keeps_no_watch);
    RUN(a_watch_keeps_its_database_open);
    RUN(a_watch_ends_when_its_database_is_closed);
    RUN(a_watch_that_was_moved_from_says_so);
    RUN(a_database_that_was_moved_from_says_so);
    RUN(calls_that_wait_work_in_a_continuation);
    RUN(a_call_by_number_refuses_what_has_no_single_answer);
    RUN(a_database_is_closed_without_waiting);
    RUN(a_database_is_closed_in_a_continuation);
    RUN(a_database_destroyed_in_a_continuation_closes);
    RUN(static_and_thread_local_databases_close);
#if defined(__cpp_impl_coroutine)
    RUN(a_coroutine_opens_and_closes);
#endif
    return 0;
}
