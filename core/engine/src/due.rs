//! When something is due: at a time, or when the log has grown so far; and whom its growth wakes.

use std::task::Waker;

use rstmdb_types::Offset;

use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, thread_waker};

/// How far the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub offset: Offset,
    /// Written since the opening.
    pub bytes: u64,
}

/// The moment to look again: when any of this has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// By the monotonic clock.
    pub at_ms: i64,
    pub offset: Offset,
    pub bytes: u64,
}

impl Due {
    pub(crate) const NEVER: Due = Due { at_ms: i64::MAX, offset: Offset::MAX, bytes: u64::MAX };

    pub(crate) fn at(at_ms: i64) -> Due {
        Due { at_ms, ..Due::NEVER }
    }

    pub(crate) fn at_offset(offset: Offset) -> Due {
        Due { offset, ..Due::NEVER }
    }

    /// Whichever comes first.
    pub(crate) fn or(self, other: Due) -> Due {
        Due {
            at_ms: self.at_ms.min(other.at_ms),
            offset: self.offset.min(other.offset),
            bytes: self.bytes.min(other.bytes),
        }
    }

    pub(crate) fn has_come(&self, now_ms: i64, reach: Reach) -> bool {
        now_ms >= self.at_ms || self.is_reached(reach)
    }

    fn is_reached(&self, reach: Reach) -> bool {
        reach.offset >= self.offset || reach.bytes >= self.bytes
    }
}

/// How far the log reaches, and where it wakes whom.
#[derive(Debug)]
pub(crate) struct Growth {
    offset: AtomicU64,
    bytes: AtomicU64,
    alarms: [Alarm; Growth::ALARMS],
}

#[derive(Debug)]
struct Alarm {
    offset: AtomicU64,
    bytes: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Somebody said to look again. A job that waits for something else may use up the wake-up itself.
    is_called: AtomicBool,
}

impl Growth {
    /// How many may be woken.
    pub(crate) const ALARMS: usize = 2;

    pub(crate) fn new(offset: Offset) -> Growth {
        let never = || Alarm {
            offset: AtomicU64::new(Offset::MAX),
            bytes: AtomicU64::new(u64::MAX),
            waker: Mutex::new(None),
            is_called: AtomicBool::new(false),
        };
        Growth {
            offset: AtomicU64::new(offset),
            bytes: AtomicU64::new(0),
            alarms: [never(), never()],
        }
    }

    pub(crate) fn reach(&self) -> Reach {
        let offset = self.offset.load(Ordering::SeqCst);
        Reach { offset, bytes: self.bytes.load(Ordering::SeqCst) }
    }

    /// The log was written up to here. Either this sees an alarm, or who sets it sees this: both say
    /// first what they look for in the other.
    pub(crate) fn grown(&self, reach: Reach) {
        self.offset.store(reach.offset, Ordering::SeqCst);
        self.bytes.store(reach.bytes, Ordering::SeqCst);
        for alarm in &self.alarms {
            if alarm.due().is_reached(reach) {
                alarm.set(Due::NEVER);
                alarm.wake();
            }
        }
    }

    /// From now on the calling thread is woken by this alarm.
    pub(crate) fn listen(&self, number: usize) {
        if let Some(alarm) = self.alarms.get(number) {
            *alarm.waker.lock() = Some(thread_waker());
        }
    }

    /// Sets an alarm; says whether the log reaches as far already, or somebody said to look again.
    pub(crate) fn set_alarm(&self, number: usize, due: Due) -> bool {
        let Some(alarm) = self.alarms.get(number) else { return false };
        alarm.set(due);
        alarm.is_called.swap(false, Ordering::SeqCst) || due.is_reached(self.reach())
    }

    /// Lets everybody look again.
    pub(crate) fn wake_all(&self) {
        for alarm in &self.alarms {
            alarm.is_called.store(true, Ordering::SeqCst);
            alarm.wake();
        }
    }
}

impl Alarm {
    fn due(&self) -> Due {
        let offset = self.offset.load(Ordering::SeqCst);
        Due { offset, bytes: self.bytes.load(Ordering::SeqCst), ..Due::NEVER }
    }

    fn set(&self, due: Due) {
        self.offset.store(due.offset, Ordering::SeqCst);
        self.bytes.store(due.bytes, Ordering::SeqCst);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod model {
    use std::sync::Arc;

    use super::*;
    use crate::sync::park;

    #[test]
    fn shuttle_whoever_sets_an_alarm_is_woken_or_told() {
        let run = || {
            let growth = Arc::new(Growth::new(0));
            let writer = growth.clone();
            let writing = shuttle::thread::spawn(move || {
                (1..=3).for_each(|offset| writer.grown(Reach { offset, bytes: 0 }));
            });
            growth.listen(1);
            let mut next = 1;
            while next <= 3 {
                if !growth.set_alarm(1, Due::at_offset(next)) {
                    park(None);
                }
                next = growth.reach().offset + 1;
            }
            writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        };
        shuttle::check_random(run, 3000);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_alarm_rings_once_where_the_log_reaches_it() {
        let growth = Growth::new(7);
        let count = Arc::new(Count::default());
        *growth.alarms[1].waker.lock() = Some(count.clone().into());
        let woken = |offset, bytes| {
            growth.grown(Reach { offset, bytes });
            count.0.swap(0, Ordering::SeqCst)
        };
        assert_eq!(growth.reach(), Reach { offset: 7, bytes: 0 });
        assert_eq!(woken(8, 10), 0, "no alarm is set");
        assert!(!growth.set_alarm(1, Due { offset: 10, bytes: 50, ..Due::NEVER }));
        assert_eq!((woken(9, 49), woken(10, 49), woken(11, 60)), (0, 1, 0), "by its offset");
        assert!(!growth.set_alarm(1, Due { offset: 20, bytes: 61, ..Due::NEVER }));
        assert_eq!((woken(12, 61), woken(20, 70)), (1, 0), "by its size");
        assert!(growth.set_alarm(1, Due::at_offset(20)), "who comes late is told");
    }

    #[test]
    fn who_is_told_to_look_again_while_at_work_does() {
        let growth = Growth::new(7);
        assert!(!growth.set_alarm(1, Due::NEVER));
        growth.wake_all();
        assert!(growth.set_alarm(1, Due::NEVER));
        assert!(!growth.set_alarm(1, Due::NEVER), "once");
    }
}
