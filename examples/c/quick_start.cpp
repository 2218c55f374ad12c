// Opens a database, makes an order and pays it.
//
//   quick_start [URL]     mem: when absent; a directory; rstmdb://localhost:7401

#include <iostream>
#include <rstmdb.hpp>

int main(int argc, char **argv) {
    try {
        const auto db = rstmdb::Database::open(argc > 1 ? argv[1] : "mem:");

        db.put_machine({"order", 1, R"({
            "states": ["created", "paid", "shipped"],
            "initial": "created",
            "transitions": [
                {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
                {"from": "paid", "event": "SHIP", "to": "shipped"}
            ]
        })"});
        db.create_instance({"order-17", "order", 1, R"({"total": 40})"});

        // A retry with the same key gets the first answer, also after a crash.
        rstmdb::ApplyEventRequest pay{"order-17", "PAY"};
        pay.payload = R"({"method": "card"})";
        pay.idempotency_key = "payment-1";
        std::cout << db.apply_event(pay) << "\n";

        try {
            db.apply_event({"order-17", "PAY"});
        } catch (const rstmdb::RejectedError &error) {
            std::cout << "refused: " << error.what() << "\n";
        }
    } catch (const rstmdb::Error &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
