//! When the log is asked, with callbacks that note what becomes of them. No thread looks on: the tests do that.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::active::Active;

type OnCall = Box<dyn FnOnce() + Send>;

/// A callback that is ready when it is told to be.
#[derive(Default)]
struct Noted {
    is_ready: AtomicBool,
    asked: AtomicUsize,
    called: AtomicUsize,
    on_call: Mutex<Option<OnCall>>,
    active: Arc<Active>,
}

impl Noted {
    fn new() -> Arc<Noted> {
        Arc::default()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }

    /// The log has come to it.
    fn written(&self) {
        self.is_ready.store(true, Ordering::SeqCst);
    }

    fn when_called(&self, run: impl FnOnce() + Send + 'static) {
        *self.on_call.lock() = Some(Box::new(run));
    }
}

impl Completion for Noted {
    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::SeqCst)
    }

    fn ask(&self, _: &mut Context<'_>) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.is_ready()
    }

    fn write(&self) -> Option<QueuedWrite> {
        None
    }

    fn complete(&self) -> Option<Counted> {
        self.called.fetch_add(1, Ordering::SeqCst);
        let run = self.on_call.lock().take();
        if let Some(run) = run {
            run();
        }
        Some(self.active.operation())
    }
}

fn completions() -> Arc<Completions> {
    let completions = Completions::new();
    completions.gathered.lock().is_looked_after = true;
    completions
}

/// So many that wait, begun outside of turns.
fn waiting<const N: usize>(completions: &Arc<Completions>) -> [Arc<Noted>; N] {
    std::array::from_fn(|_| {
        let noted = Noted::new();
        completions.push(noted.clone(), None);
        noted
    })
}

#[test]
fn the_first_is_asked_for_at_once_and_those_behind_it_are_not() {
    let [first, second] = waiting(&completions());
    assert_eq!((first.asked(), second.asked()), (1, 0));
}

#[test]
fn what_a_turn_begins_is_asked_for_once_at_its_end() {
    let (completions, turn) = (completions(), Turn::default());
    let (first, second) = (Noted::new(), Noted::new());
    assert!(completions.push(first.clone(), Some(&turn)), "the turn begins with the first");
    assert!(!completions.push(second.clone(), Some(&turn)), "and with no other");
    assert_eq!((first.asked(), second.asked()), (0, 0));
    turn.end();
    assert_eq!((first.asked(), second.asked()), (1, 0));
    turn.end();
    assert_eq!(first.asked(), 1, "it is over already");
}

#[test]
fn a_turn_is_of_all_databases() {
    let (one, other, turn) = (completions(), completions(), Turn::default());
    let (first, second) = (Noted::new(), Noted::new());
    assert!(one.push(first.clone(), Some(&turn)));
    assert!(!other.push(second.clone(), Some(&turn)));
    turn.end();
    assert_eq!((first.asked(), second.asked()), (1, 1));
}

#[test]
fn all_that_are_ready_are_called_in_one_go_and_the_next_is_asked_for() {
    let completions = completions();
    let [first, second, third, fourth] = waiting(&completions);
    for noted in [&first, &second, &fourth] {
        noted.written();
    }
    completions.clone().deliver();
    assert_eq!((first.called(), second.called()), (1, 1));
    assert_eq!(fourth.called(), 0, "they come in their order");
    assert_eq!((third.asked(), third.called()), (1, 0));
}

#[test]
fn what_callbacks_begin_is_asked_for_when_their_group_is_over() {
    // A machine that pauses within the group ends it early, so one of several is enough.
    assert!((0..20).any(|_| asked_while_and_after_a_group() == ([0, 0], [1, 0])));
}

/// How often what two callbacks of a group begin was asked for, at its end and after it.
fn asked_while_and_after_a_group() -> ([usize; 2], [usize; 2]) {
    let completions = completions();
    let callbacks: [_; 2] = waiting(&completions);
    let begun = [Noted::new(), Noted::new()];
    for (noted, begun) in callbacks.iter().zip(&begun) {
        noted.written();
        let (to, begun) = (completions.clone(), begun.clone());
        noted.when_called(move || {
            to.push(begun, None);
        });
    }
    let (last, inside) = (Noted::new(), Arc::new(Mutex::new([usize::MAX; 2])));
    completions.gathered.lock().waiting.push_back(last.clone());
    last.written();
    let (seen, of) = (inside.clone(), begun.clone());
    last.when_called(move || *seen.lock() = of.each_ref().map(|noted| noted.asked()));
    // Nobody knows yet how long a write takes.
    completions.gathered.lock().asked = None;
    completions.clone().deliver();
    let inside = *inside.lock();
    (inside, begun.each_ref().map(|noted| noted.asked()))
}

#[test]
fn a_turn_that_lasts_is_not_waited_for() {
    let (completions, turn) = (completions(), Turn::default());
    let first = Noted::new();
    completions.push(first.clone(), Some(&turn));
    let long_ago = Instant::now().checked_sub(FIRST_GATHERING_MAX + GATHERING_MAX);
    completions.gathered.lock().since = long_ago;
    assert!(completions.clone().look(), "there is more to look after");
    assert_eq!(first.asked(), 1);
    turn.end();
    assert_eq!(first.asked(), 1, "it was asked for already");
}

#[test]
fn a_turn_is_waited_for_half_as_long_as_callbacks_are() {
    assert_eq!(asked_behind_half(0), 1);
    // A machine that pauses is late for the other half too, so one of several is enough.
    assert!((0..20).any(|_| asked_behind_half(1) == 0));
}

/// How often a write was asked for that is begun when more than half of the time of one has passed.
fn asked_behind_half(turns: usize) -> usize {
    let (completions, turn) = (completions(), Turn::default());
    let mut gathered = completions.gathered.lock();
    (gathered.took, gathered.turns) = (Some(GATHERING_MAX), turns);
    gathered.since = Instant::now().checked_sub(GATHERING_MAX / 8 * 5);
    drop(gathered);
    let first = Noted::new();
    completions.push(first.clone(), Some(&turn));
    first.asked()
}

#[test]
fn a_write_that_took_long_is_not_gathered_for_as_long() {
    let (completions, turn) = (completions(), Turn::default());
    let [slow] = waiting(&completions);
    let long_ago = Instant::now().checked_sub(FIRST_GATHERING_MAX);
    completions.gathered.lock().asked = long_ago;
    slow.written();
    completions.clone().deliver();
    let first = Noted::new();
    completions.push(first.clone(), Some(&turn));
    completions.gathered.lock().since = Instant::now().checked_sub(GATHERING_MAX * 2);
    completions.clone().look();
    assert_eq!(first.asked(), 1);
}

#[test]
fn what_is_begun_while_callbacks_are_kept_up_is_asked_for_at_the_second_look() {
    let completions = completions();
    let [first, second] = waiting(&completions);
    first.written();
    // The log says so, and no thread of callbacks comes to it.
    completions.is_scheduled.store(true, Ordering::SeqCst);
    completions.clone().look();
    assert_eq!((first.asked(), second.asked()), (1, 0), "a thread may be on its way");
    completions.clone().look();
    assert_eq!((first.asked(), second.asked()), (1, 1));
    // They come to it after all.
    completions.clone().deliver();
    assert_eq!((first.called(), second.called()), (1, 0));
}

#[test]
fn who_has_nothing_to_gather_is_left_alone_after_a_while() {
    let completions = completions();
    let looks = (0..IDLE_LOOKS_MAX * 2).take_while(|_| completions.clone().look()).count();
    assert_eq!(looks + 1, IDLE_LOOKS_MAX as usize);
    assert!(!completions.gathered.lock().is_looked_after, "the next write says so again");
}

#[test]
fn callbacks_are_under_way_until_their_group_is_over() {
    let completions = completions();
    let [first] = waiting(&completions);
    first.written();
    let noted = completions.clone();
    first.when_called(move || assert_eq!(noted.gathered.lock().turns, 1));
    let active = first.active.clone();
    completions.clone().deliver();
    assert_eq!((first.called(), completions.gathered.lock().turns), (1, 0));
    active.close();
    rstmdb_threads::park::wait(active.operations_end());
}
