//! Where others decide, nobody is woken who would only find that out.
#![allow(clippy::unwrap_used)]

use super::*;

/// Others decide about all batches.
struct UndecidedSink {
    may_write: bool,
}

impl Sink for UndecidedSink {
    fn may_write(&self) -> bool {
        self.may_write
    }

    fn write(&mut self, _: Batch) -> std::result::Result<BatchFate, SinkFailure> {
        Ok(BatchFate::Submitted)
    }

    fn roll_back(&mut self, _: Offset, reset: &mut dyn FnMut()) {
        reset();
    }
}

#[test]
fn the_log_thread_is_woken_for_what_it_can_hand_over_and_nothing_else() {
    let queue = Queue::new(UndecidedSink { may_write: true }, 1, 0, false);
    queue.become_log_thread();
    queue.stand_up(|_| Ok(true)).unwrap();
    let is_woken = || queue.is_asked.swap(false, Ordering::SeqCst);
    let wait = |ticket| {
        let polled = queue.poll(ticket, &mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    };
    let append = || queue.ticket_of_own(queue.append(0, 0, &[7]).unwrap().offset);
    let first = append();
    wait(first);
    assert!(!is_woken(), "who waits handed it over");
    queue.with_writer(|_| ());
    assert!(!is_woken(), "nothing more has come");
    let second = append();
    queue.with_writer(|sink| sink.may_write = false);
    assert!(!is_woken(), "nothing more may go now");
    wait(second);
    assert!(!is_woken());
    queue.commit(|sink| {
        sink.may_write = true;
        (Some(first.offset), ())
    });
    assert!(is_woken(), "the next may go");
    queue.write_waiting();
    queue.commit(|_| (Some(second.offset), ()));
    // Who reads waits for a round now, which the log thread has no part in.
    wait(queue.ticket(second.offset));
    assert!(!is_woken());
}
