//! What fuzzing checks about reading event logs.

use rstmdb::{Json, Limits};
use rstmdb_cli::import::{ColumnNames, Learner, LogEvents, Records};

/// A CSV file: records are read, written and read again, and compared with another reader.
pub fn csv_import(data: &[u8]) {
    let mut records = Records::new(data);
    let mut rows = Vec::new();
    let mut bad = 0;
    let mut last_line = 0;
    while let Some(record) = records.next().expect("memory has no errors") {
        let line = match &record {
            Ok(record) => record.line,
            Err(error) => error.line,
        };
        assert!(line > last_line, "line {line} after {last_line}");
        last_line = line;
        match record {
            Ok(record) => rows.push(record.fields),
            Err(_) => bad += 1,
        }
    }
    let lines = data.split(|byte| *byte == b'\n').count() as u64;
    assert!(last_line <= lines, "line {last_line} of {lines}");
    assert_eq!(records.bytes(), data.len() as u64);
    survives_writing(&rows);
    if bad == 0 && !data.contains(&b'\r') {
        agrees_with_another_reader(data, &rows);
    }
    events(data);
}

/// Whatever the fields are, quoted they come back.
fn survives_writing(rows: &[Vec<String>]) {
    let mut text = String::new();
    for fields in rows {
        let quoted: Vec<_> =
            fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        text.push_str(&quoted.join(","));
        text.push('\n');
    }
    let mut records = Records::new(text.as_bytes());
    for fields in rows {
        // Quotes may push a record over the limit.
        if fields.iter().map(|field| 2 * field.len() + 3).sum::<usize>() > 1 << 20 {
            return;
        }
        let record = records.next().expect("memory has no errors").expect("a record");
        assert_eq!(&record.expect("a good record").fields, fields);
    }
}

/// Files without a fault mean the same to the `csv` crate, which forgives more.
fn agrees_with_another_reader(data: &[u8], rows: &[Vec<String>]) {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(data);
    let others: Vec<Vec<String>> = reader
        .records()
        .map(|record| record.expect("a good record").iter().map(str::to_owned).collect())
        .collect();
    assert_eq!(rows, others);
}

/// Events have what they must have, and what was learned from them is a definition.
fn events(data: &[u8]) {
    let names = ColumnNames {
        case: "c".to_owned(),
        activity: vec!["a".to_owned(), "b".to_owned()],
        time: "t".to_owned(),
    };
    let limits = Limits { name_bytes_max: 64, states_max: 8, ..Limits::default() };
    let text = [b"c,a,b,t,x\n", data].concat();
    let mut events =
        LogEvents::new("log.csv", text.as_slice(), &names, &limits).expect("the header is good");
    let mut learner = Learner::new(&limits);
    while let Some(row) = events.next().expect("memory has no errors") {
        let Ok(event) = row else { continue };
        assert!(!event.case.is_empty() && event.case.len() <= 64);
        assert!(event.activity.len() <= 64 && event.activity.contains(" / "));
        let Ok(payload) = events.payload(&event) else { continue };
        assert_eq!(Json::parse(payload.as_str()).as_ref(), Ok(&payload), "not canonical");
        assert!(payload.root().get("t").is_some());
        assert!(payload.root().members().all(|member| ["t", "x"].contains(&member.raw_key)));
        if learner.see(&event).is_err() {
            break;
        }
    }
    let definition = learner.definition().to_value();
    let states = definition["states"].as_array().expect("states");
    assert!(states.len() <= 8 && states.contains(&definition["initial"]));
}
