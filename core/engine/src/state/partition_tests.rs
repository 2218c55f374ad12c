//! What a partition keeps beside its slots, its digest, and the places of who was forgotten.

use rstmdb_machine::Machine;

use super::super::machines::Machines;
use super::*;

struct Bench {
    partition: Partition,
    machine: Arc<MachineEntry>,
    next: Offset,
}

impl Bench {
    fn new() -> Bench {
        let definition = r#"{"states":["a","b"],"initial":"a","transitions":[]}"#;
        let as_sent = Json::parse(definition).unwrap();
        let machine = Machine::load(&as_sent, 1).unwrap();
        let machine = Machines::default().insert("m".into(), 1, machine, as_sent, 1, 1);
        Bench { partition: Partition::new(7, true), machine, next: 1 }
    }

    fn find(&self, id: &str) -> Option<u32> {
        self.partition.find(hash_id(id, 7), id)
    }

    /// Keeps the way back, as live changes do.
    fn keep(&mut self, step: UndoStep) -> Offset {
        self.partition.keep_undo(self.next, step, Some(0));
        self.next
    }

    fn create(&mut self, id: &str) -> Offset {
        self.next += 1;
        let birth = Birth {
            id: id.into(),
            machine: self.machine.clone(),
            state: 0,
            ctx: Json::empty_object(),
            at: 5,
            offset: self.next,
        };
        let existing = self.find(id);
        let (_, step) = self.partition.create(hash_id(id, 7), existing, birth);
        self.keep(step)
    }

    fn delete(&mut self, id: &str) -> Offset {
        self.next += 1;
        let number = self.find(id).unwrap();
        let step = self.partition.delete(number, 6, self.next).unwrap();
        self.keep(step)
    }

    fn attach(&mut self, id: &str, kind: u8, bytes: &[u8]) -> Offset {
        self.next += 1;
        let number = self.find(id).unwrap();
        let mut side = self.partition.side(number).cloned().unwrap_or_default();
        side.put(kind, bytes);
        let step = self.partition.attach(number, side).unwrap();
        self.keep(step)
    }

    fn side(&self, id: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(side) = self.find(id).and_then(|number| self.partition.side(number)) {
            side.encode(&mut bytes);
        }
        bytes
    }

    /// The digest as one who counts all instances anew comes to it.
    fn recounted(&self) -> u64 {
        let digest = |number| {
            let slot = self.partition.slot(number)?;
            Some(slot.digest(self.partition.side(number)))
        };
        (0..self.partition.slot_count()).filter_map(digest).fold(0, u64::wrapping_add)
    }
}

#[test]
fn the_side_table_is_undone_with_everything_else_and_counts_in_the_digest() {
    let mut bench = Bench::new();
    bench.create("x");
    let plain = bench.partition.digest();
    let first = bench.attach("x", 3, b"lease");
    let (one, with_one) = (bench.side("x"), bench.partition.digest());
    assert_ne!(with_one, plain);
    bench.attach("x", 1, b"timer");
    assert_ne!(bench.side("x"), one);
    let both = bench.attach("x", 3, b"");
    let (timer, with_timer) = (bench.side("x"), bench.partition.digest());
    bench.delete("x");
    assert!(bench.side("x").is_empty(), "a deleted instance has nothing");
    bench.create("x");
    assert_eq!(bench.partition.digest(), Some(bench.recounted()));
    assert!(bench.side("x").is_empty(), "nor has the next life of its id");
    bench.partition.roll_back(both);
    assert_eq!((bench.side("x"), bench.partition.digest()), (timer, with_timer));
    bench.partition.roll_back(first);
    assert_eq!((bench.side("x"), bench.partition.digest()), (one, with_one));
    bench.partition.roll_back(first - 1);
    assert_eq!((bench.side("x").len(), bench.partition.digest()), (0, plain));
    assert!(bench.partition.side(0).is_none());
}

#[test]
fn places_of_forgotten_instances_are_used_again() {
    let mut bench = Bench::new();
    for round in 0..100 {
        for number in 0..10 {
            bench.create(&format!("i-{round}-{number}"));
        }
        let kept = bench.create(&format!("kept-{round}"));
        for number in 0..10 {
            bench.delete(&format!("i-{round}-{number}"));
        }
        let floor = bench.next + 1;
        assert!(bench.partition.has_graves(floor));
        bench.partition.forget_undo();
        assert!(bench.partition.sweep(floor, 3), "three at a time");
        while bench.partition.sweep(floor, 3) {}
        assert!(!bench.partition.has_graves(floor));
        assert_eq!(bench.find(&format!("i-{round}-3")), None);
        let slot = bench.find(&format!("kept-{round}")).unwrap();
        assert_eq!(bench.partition.slot(slot).unwrap().last, kept);
        assert_eq!(bench.partition.digest(), Some(bench.recounted()));
    }
    assert!(bench.partition.slot_count() <= 110, "{}", bench.partition.slot_count());
    let page = bench.partition.page(None, &super::super::CellFilter::All, 1000);
    assert_eq!(page.len(), 100);
    // What is created in a freed place and taken back leaves it free.
    let before = bench.next;
    bench.create("again");
    bench.partition.roll_back(before);
    assert_eq!(bench.find("again"), None);
    bench.create("once more");
    assert!(bench.partition.slot_count() <= 110);
    assert_eq!(bench.partition.digest(), Some(bench.recounted()));
}

#[test]
fn a_byte_that_flips_in_memory_changes_the_digest_of_what_comes_after() {
    let (mut sound, mut flipped) = (Bench::new(), Bench::new());
    for bench in [&mut sound, &mut flipped] {
        bench.create("x");
        bench.create("y");
    }
    let number = flipped.find("x").unwrap();
    flipped.partition.contents.slots.get_mut(number).unwrap().ctx = Json::parse("[]").unwrap();
    for bench in [&mut sound, &mut flipped] {
        bench.delete("x");
    }
    assert_ne!(sound.partition.digest(), flipped.partition.digest());
}
