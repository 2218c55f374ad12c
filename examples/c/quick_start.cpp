// Opens a database, makes an order and pays it.
//
//   quick_start [URL]     mem: when absent; a directory; rstmdb://localhost:7401

#include <chrono>
#include <iostream>
#include <rstmdb.hpp>
#include <string>

int main(int argc, char **argv) {
    try {
        const auto db = rstmdb::Database::open(argc > 1 ? argv[1] : "mem:");

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
        // An id of its own for each run; without one it would be random, and the result tells it.
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        const std::string id = "order-" + std::to_string(now.count());
        db.create_instance({id, "order", 1, R"({"total": 40})"});

        // A retry with the same key gets the first answer, also after a crash.
        rstmdb::ApplyEventRequest pay{id, "PAY"};
        pay.payload = R"({"method": "card"})";
        pay.idempotency_key = "payment-1";
        std::cout << db.apply_event(pay) << "\n";

        try {
            db.apply_event({id, "PAY"});
        } catch (const rstmdb::RejectedError &error) {
            std::cout << "refused: " << error.what() << "\n";
        }
    } catch (const rstmdb::Error &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
