//! What a watcher was shown, held against what the clients were told: nothing is lost, doubled, shown in part or in another order.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::load::{ACCOUNTS, AMOUNT, Known, account};

/// What the events come to: the number that each instance holds at the end.
pub type Held = BTreeMap<String, u64>;

/// Reads what a watcher said; what it comes to, and everything that is wrong with it.
pub fn check(lines: &[Value], writes: &BTreeMap<u64, Known>) -> (Held, Vec<String>) {
    let accounts = (0..ACCOUNTS).map(|number| (account(number), AMOUNT));
    let mut seen = Seen { held: accounts.collect(), ..Seen::default() };
    for line in lines {
        seen.line(line);
    }
    seen.compare(writes);
    (seen.held, seen.faults)
}

/// Two watchers that were shown different events at one offset.
pub fn differences(one: &[Value], other: &[Value]) -> Vec<String> {
    let by_offset = |lines: &[Value]| -> BTreeMap<u64, Value> {
        let offset = |line: &Value| Some((line["wal_offset"].as_u64()?, line.clone()));
        lines.iter().filter_map(offset).collect()
    };
    let (one, other) = (by_offset(one), by_offset(other));
    let differs = |(offset, event): (&u64, &Value)| {
        let shown = other.get(offset)?;
        let same = ["instance_id", "payload", "ctx", "timestamp"];
        let same = same.iter().all(|name| event[name] == shown[name]);
        (!same).then(|| format!("at offset {offset} one saw {event}, another {shown}"))
    };
    one.iter().filter_map(differs).collect()
}

#[derive(Default)]
struct Seen {
    held: Held,
    /// The offsets at which the event with a number was shown.
    shown: BTreeMap<u64, Vec<u64>>,
    gaps: Vec<(u64, u64)>,
    last: u64,
    /// Half of a transfer: its number and offset.
    half: Option<(u64, u64)>,
    faults: Vec<String>,
}

impl Seen {
    fn line(&mut self, line: &Value) {
        if let Some(gap) = line.get("gap") {
            let of = |at: usize| gap[at].as_u64().unwrap_or_default();
            self.gaps.push((of(0), of(1)));
            // What lies in it is not known.
            self.held.clear();
            self.half = None;
            return;
        }
        let Some(offset) = line["wal_offset"].as_u64() else {
            return self.faults.push(format!("a watcher was told {line}"));
        };
        if offset <= self.last {
            self.faults.push(format!("offset {offset} was shown behind {}", self.last));
        }
        self.last = self.last.max(offset);
        let name = line["instance_id"].as_str().unwrap_or_default().to_owned();
        let payload = &line["payload"];
        let member = |name: &str| payload[name].as_u64();
        let (Some(number), Some(value)) =
            (member("t").or(member("n")), member("v").or(member("n")))
        else {
            return self.faults.push(format!("an event that nobody asked for: {line}"));
        };
        self.shown.entry(number).or_default().push(offset);
        if let (Some(was), Some(held)) = (member("was"), self.held.get(&name))
            && *held != was
        {
            self.faults.push(format!("{line} came while {name} held {held}"));
        }
        let is_transfer = member("t").is_some();
        self.held.insert(name, value);
        match (self.half.take(), is_transfer) {
            (None, true) => self.half = Some((number, offset)),
            (Some(half), true) if half == (number, offset - 1) => self.sum(offset),
            (None, false) => {}
            (Some((number, at)), _) => {
                self.faults
                    .push(format!("transfer {number} was shown in part at {at}: then {line}"));
            }
        }
    }

    fn sum(&mut self, offset: u64) {
        let amounts = self.held.iter().filter(|(name, _)| name.starts_with("account"));
        let amounts: Vec<u64> = amounts.map(|(_, amount)| *amount).collect();
        let sum: u64 = amounts.iter().sum();
        if amounts.len() == ACCOUNTS && sum != AMOUNT * ACCOUNTS as u64 {
            self.faults.push(format!("at offset {offset} the accounts have {amounts:?}"));
        }
    }

    fn compare(&mut self, writes: &BTreeMap<u64, Known>) {
        let in_gap =
            |offset: u64| self.gaps.iter().any(|(from, to)| (*from..=*to).contains(&offset));
        for (number, known) in writes {
            let shown = self.shown.get(number).map(Vec::as_slice).unwrap_or_default();
            match known {
                Known::Done(offsets) => {
                    let is_lost = |offset: &&u64| !shown.contains(offset) && !in_gap(**offset);
                    if let Some(lost) = offsets.iter().find(is_lost) {
                        self.faults.push(format!(
                            "write {number} was done at offset {lost}, and is shown at {shown:?}"
                        ));
                    }
                }
                Known::NotDone(told) if !shown.is_empty() => {
                    self.faults.push(format!(
                        "write {number} was done at {shown:?}, and its client was told that it was not: {told:?}"
                    ));
                }
                Known::NotDone(_) | Known::Perhaps => {}
            }
        }
        for (number, shown) in &self.shown {
            // A transfer has two halves.
            let most = match writes.get(number) {
                Some(Known::Done(offsets)) => offsets.len(),
                _ => 2,
            };
            if shown.len() > most {
                self.faults.push(format!("write {number} was done twice, at {shown:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(offset: u64, name: &str, number: u64) -> Value {
        json!({"wal_offset": offset, "instance_id": name, "payload": {"n": number}})
    }

    fn moved(offset: u64, account: u64, amount: u64, number: u64) -> Value {
        json!({"wal_offset": offset, "instance_id": format!("account{account}"),
            "payload": {"v": amount, "t": number}})
    }

    fn done(numbers: &[(u64, u64)]) -> BTreeMap<u64, Known> {
        numbers.iter().map(|(number, offset)| (*number, Known::Done(vec![*offset]))).collect()
    }

    fn found(lines: &[Value], writes: &BTreeMap<u64, Known>, word: &str) {
        let (_, faults) = check(lines, writes);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
    }

    #[test]
    fn what_was_told_and_shown_agrees() {
        let writes = done(&[(1, 5), (2, 6)]);
        let lines = [set(5, "r", 1), set(6, "r", 2)];
        let (held, faults) = check(&lines, &writes);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(held["r"], 2);
        // What the log had no longer is not lost.
        let gap = [json!({"gap": [1, 5]}), set(6, "r", 2)];
        assert_eq!(check(&gap, &writes).1, Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_found() {
        let writes = done(&[(1, 5), (2, 6)]);
        found(&[set(5, "r", 1)], &writes, "write 2 was done at offset 6");
        found(&[set(5, "r", 1), set(6, "r", 2), set(7, "r", 1)], &writes, "done twice");
        found(&[set(6, "r", 2), set(5, "r", 1)], &writes, "shown behind");
        let refused = BTreeMap::from([(1, Known::NotDone(Vec::new()))]);
        found(&[set(5, "r", 1)], &refused, "told that it was not");
        let swapped = json!({"wal_offset": 6, "instance_id": "r", "payload": {"n": 2, "was": 9}});
        found(&[set(5, "r", 1), swapped], &BTreeMap::new(), "while r held 1");
        found(&[moved(5, 0, 90, 7), set(6, "r", 1)], &BTreeMap::new(), "in part");
        found(&[moved(5, 0, 90, 7), moved(6, 1, 110, 8)], &BTreeMap::new(), "in part");
        let all: Vec<Value> =
            (0..4).map(|account| moved(account + 1, account, 99, account / 2)).collect();
        found(&all, &BTreeMap::new(), "the accounts have");
        found(&[json!({"diverged": "no"})], &BTreeMap::new(), "told");
        assert_eq!(differences(&[set(5, "r", 1)], &[set(5, "r", 2)]).len(), 1);
        assert!(differences(&[set(5, "r", 1)], &[set(6, "r", 2)]).is_empty());
    }
}
