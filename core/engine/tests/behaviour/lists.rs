//! Pages of many instances: any offset, cursor and filter gives what a sorted list would.

use rstmdb::blocking::Database;
use rstmdb_testkit::faulty::Rng;
use rstmdb_types::*;

const INSTANCES: u64 = 20_000;

/// Three states, unevenly filled; ids in no order.
fn fill(db: &Database) -> Vec<(Text, Text)> {
    fill_with(db, |n| {
        let state = match n % 100 {
            0 => "c",
            1..40 => "b",
            _ => "a",
        };
        (format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), state)
    })
}

/// Returns every (id, state), sorted by id.
fn fill_with(db: &Database, make: impl Fn(u64) -> (String, &'static str)) -> Vec<(Text, Text)> {
    let machine = Json::parse(
        r#"{"states": ["a", "b", "c"], "initial": "a", "transitions": [
            {"from": "a", "event": "b", "to": "b"}, {"from": "a", "event": "c", "to": "c"}]}"#,
    );
    db.put_machine(PutMachineRequest::new("m", 1, machine.unwrap())).unwrap();
    let mut all = Vec::new();
    for n in 0..INSTANCES {
        let (id, state) = make(n);
        db.create_instance(CreateInstanceRequest::new(id.as_str(), "m", 1)).unwrap();
        if state != "a" {
            db.apply_event(ApplyEventRequest::new(id.as_str(), state)).unwrap();
        }
        all.push((Text::from(id), Text::from(state)));
    }
    all.sort();
    all
}

#[test]
fn any_offset_gives_what_a_sorted_list_would() {
    let db = Database::open("mem:").unwrap();
    let all = fill(&db);
    compare(&db, &all);
}

#[test]
fn any_offset_fits_where_ids_begin_alike_and_states_come_in_runs() {
    let db = Database::open("mem:").unwrap();
    let all = fill_with(&db, |n| {
        let state = match n {
            0..7_000 => "a",
            7_000..7_200 => "c",
            _ if n % 700 < 350 => "b",
            _ => "a",
        };
        (format!("a beginning that many ids share/{n:06}"), state)
    });
    compare(&db, &all);
}

/// Compares pages of all sorts with what a sorted list gives.
fn compare(db: &Database, all: &[(Text, Text)]) {
    let mut random = Rng::new(7);
    for round in 0..300 {
        let state = [None, Some("a"), Some("b"), Some("c")][round % 4];
        let matching: Vec<&Text> = all
            .iter()
            .filter(|(_, is)| state.is_none_or(|state| is == state))
            .map(|(id, _)| id)
            .collect();
        let offset = random.below(matching.len() as u64 + 50) as u32;
        let limit = random.below(120) as u32;
        let cursor_at = (round % 3 == 0).then(|| random.index(matching.len()));
        let request = ListInstancesRequest {
            state: state.map(Text::from),
            limit: Some(limit),
            offset: Some(offset),
            cursor: cursor_at.map(|at| format!("after:{}", matching[at]).into()),
            ..ListInstancesRequest::default()
        };
        let page = db.list_instances(request).unwrap();
        let begin = cursor_at.map_or(0, |at| at + 1);
        let expected: Vec<&Text> =
            matching.iter().skip(begin + offset as usize).take(limit as usize).copied().collect();
        let got: Vec<&Text> = page.instances.iter().map(|instance| &instance.id).collect();
        assert_eq!(got, expected, "round {round}: offset {offset}, limit {limit}, {state:?}");
        assert_eq!(page.total, matching.len() as u64);
        let seen = begin + offset as usize + expected.len();
        assert_eq!(page.has_more, seen < matching.len(), "round {round}");
    }
}

#[test]
fn cursors_visit_what_stays_exactly_once_while_others_come_and_go() {
    let db = Database::open("mem:").unwrap();
    let all = fill(&db);
    let mut cursor = None;
    let mut seen: Vec<Text> = Vec::new();
    let mut random = Rng::new(3);
    loop {
        let request =
            ListInstancesRequest { limit: Some(500), cursor, ..ListInstancesRequest::default() };
        let page = db.list_instances(request).unwrap();
        seen.extend(page.instances.into_iter().map(|instance| instance.id));
        // Behind and ahead of the cursor: new ones come, and odd old ones go.
        for _ in 0..200 {
            let id = format!("{:016x}-new", random.next_u64());
            db.create_instance(CreateInstanceRequest::new(id, "m", 1)).unwrap();
            let odd = &all[random.index(all.len() / 2) * 2 + 1].0;
            let delete = DeleteInstanceRequest { instance_id: odd.clone(), idempotency_key: None };
            db.delete_instance(delete).unwrap();
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!(seen.is_sorted());
    let stayed: Vec<&Text> = all.iter().step_by(2).map(|(id, _)| id).collect();
    let found: Vec<&Text> = seen.iter().filter(|id| stayed.binary_search(id).is_ok()).collect();
    assert_eq!(found, stayed);
}
