// Ships every order that is paid, each exactly once, however often it is stopped: it keeps the place in
// the log up to which it has worked in a file, and goes on from there.
//
//   worker URL FILE COUNT     ends after COUNT orders

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <rstmdb.hpp>
#include <string>

namespace {

// Three paid orders to work on, with ids of their own for each run.
void make_orders(const rstmdb::Database &db) {
    db.put_machine({"order", 1, R"({
        "states": ["created", "paid", "shipped", "delivered", "cancelled"],
        "initial": "created",
        "transitions": [
            {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
            {"from": "paid", "event": "SHIP", "to": "shipped"},
            {"from": "shipped", "event": "DELIVER", "to": "delivered"},
            {"from": "created", "event": "CANCEL", "to": "cancelled"}
        ]
    })"});
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::string run = "order-" + std::to_string(now.count());
    for (const std::string &id : {run + "-1", run + "-2", run + "-3"}) {
        db.create_instance({id, "order", 1, R"({"total": 40})"});
        db.apply_event({id, "PAY"});
    }
}

// The id in an event. A program uses its JSON library; these ids have nothing to unescape.
std::string instance_id(const std::string &event) {
    static const std::string name = R"("instance_id":")";
    const auto start = event.find(name) + name.size();
    return event.substr(start, event.find('"', start) - start);
}

} // namespace

int main(int argc, char **argv) {
    int left = argc == 4 ? std::atoi(argv[3]) : 0;
    if (left < 1) {
        std::cerr << "usage: worker URL FILE COUNT\n";
        return 2;
    }
    try {
        const auto db = rstmdb::Database::open(argv[1]);
        make_orders(db);

        // A place is an offset, and the history that it was told in: data that was put back from a copy is an
        // error then, and not a gap.
        std::uint64_t place = 1; // the beginning of the log
        std::string history;
        std::ifstream(argv[2]) >> place >> history;

        rstmdb::WatchAllRequest paid;
        paid.machines = {"order"};
        paid.to_states = {"paid"};
        paid.include_ctx = false;
        paid.from_offset = place == 0 ? 1 : place;
        if (!history.empty()) {
            paid.history_id = history;
        }
        auto events = db.watch_all(paid);

        for (const std::string &event : events) {
            const std::string id = instance_id(event);
            // The key makes a repetition harmless: the worker may have stopped before it wrote its place.
            rstmdb::ApplyEventRequest ship{id, "SHIP"};
            ship.idempotency_key = "ship-" + id;
            try {
                db.apply_event(ship);
                std::cout << "shipped " << id << std::endl;
                left--;
            } catch (const rstmdb::RejectedError &) { // somebody else was faster,
            } catch (const rstmdb::NotFoundError &) { // or has deleted it
            }
            std::ofstream(argv[2]) << events.resume_offset() << " " << events.history_id() << "\n";
            if (left == 0) {
                break;
            }
        }
    } catch (const rstmdb::Error &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
