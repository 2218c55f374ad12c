// The conformance runner of C++: every operation through its own method and, every other time,
// through its asynchronous twin. What it shares with C is in ../c/suite.c.

#include "operations.h"
#include "rstmdb.hpp"
#include "suite.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace {

using rstmdb::Database;

outcome good(const std::string &text) { return outcome_of(false, text.data(), text.size()); }
outcome bad(const std::string &text) { return outcome_of(true, text.data(), text.size()); }

// Says whether this call goes the asynchronous way.
bool other_way() {
    static unsigned calls = 0;
    return ++calls % 2 == 0;
}

// Each kind has its own class: an error that comes as another one is a fault of the wrapper.
bool has_its_class(const rstmdb::Error &error) {
    switch (error.kind()) {
#define KIND(kind)                                                                                           \
    case rstmdb::ErrorKind::kind:                                                                            \
        return dynamic_cast<const rstmdb::kind##Error *>(&error) != nullptr
        KIND(NotFound);
        KIND(AlreadyExists);
        KIND(Rejected);
        KIND(Conflict);
        KIND(Invalid);
        KIND(Unauthorized);
        KIND(Unavailable);
        KIND(Corrupt);
        KIND(Closed);
        KIND(Internal);
#undef KIND
    }
    return false;
}

template <class Call> outcome attempt(Call call) {
    try {
        return call();
    } catch (const rstmdb::Error &error) {
        return has_its_class(error) ? bad(error.json()) : bad("\"an error of the wrong class\"");
    } catch (const std::exception &error) {
        return bad("\"" + std::string(error.what()) + "\"");
    }
}

void *open_db(const char *url, const char *options, outcome *failure) {
    Database *db = nullptr;
    *failure = attempt([&] {
        db = new Database(other_way() ? Database::open_async(url, options).get()
                                      : Database::open(url, options));
        return outcome{};
    });
    return db;
}

void close_db(void *db) { delete static_cast<Database *>(db); }

using Call = std::function<std::string(const Database &, const std::string &)>;
using Begin = std::function<rstmdb::Watch(const Database &, const std::string &)>;

#define METHOD(WIRE, name)                                                                                   \
    {#WIRE, [](const Database &db, const std::string &request) {                                             \
         return other_way() ? db.name##_async(request).get() : db.name(request);                             \
     }},

outcome call(void *db, const char *op, const char *request, size_t len) {
    static const std::map<std::string, Call> calls = {RSTMDB_CALLS(METHOD)};
    return attempt(
        [&] { return good(calls.at(op)(*static_cast<Database *>(db), std::string(request, len))); });
}

outcome watch(void *db, const char *op, const char *request, size_t len, void **stream) {
    static const std::map<std::string, Begin> begins = {RSTMDB_WATCHES(METHOD)};
    return attempt([&] {
        auto made = std::make_unique<rstmdb::Watch>(
            begins.at(op)(*static_cast<Database *>(db), std::string(request, len)));
        const std::string result = made->result();
        *stream = made.release();
        return good(result);
    });
}

outcome next_event(void *stream, int64_t timeout_ms) {
    return attempt([&] {
        auto &events = *static_cast<rstmdb::Watch *>(stream);
        const auto event = events.next_for(std::chrono::milliseconds(timeout_ms));
        return event ? good(*event) : outcome{};
    });
}

void unwatch(void *stream) { delete static_cast<rstmdb::Watch *>(stream); }

outcome advance(void *db, int64_t ms) {
    return attempt([&] {
        static_cast<Database *>(db)->advance_clock(std::chrono::milliseconds(ms));
        return outcome{};
    });
}

} // namespace

int main() {
    const language cpp = {open_db, close_db, call, watch, next_event, unwatch, advance};
    return suite_run(&cpp);
}
