//! Turns the rows of a log into events: which column is what, and what every row must have.

use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::DateTime;
use rstmdb::error::reason;
use rstmdb::{Error, ErrorCode, Json, Limits, Result};

use super::records::{Records, RowError, RowFields};

/// What joins the activities of several columns.
const JOINT: &str = " / ";

/// Which columns mean what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNames {
    /// The column of the case, which becomes the instance id.
    pub case: String,
    /// The columns of the activity, which becomes the event and the state.
    pub activity: Vec<String>,
    /// The column of the time, which must hold one.
    pub time: String,
}

/// One row that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// The line in the file, counted from 1.
    pub line: u64,
    /// The instance it belongs to.
    pub case: String,
    /// The event.
    pub activity: String,
    /// The fields of the row, without the case's.
    fields: Vec<String>,
}

/// The events of a file, row by row.
#[derive(Debug)]
pub struct LogEvents<R> {
    records: Records<R>,
    header: Vec<String>,
    case: usize,
    activity: Vec<usize>,
    time: usize,
    /// The columns of the payload in the order of its members, each with its key as JSON.
    payload: Vec<(usize, String)>,
    limits: Limits,
}

impl LogEvent {
    /// An event that was not read from a file.
    pub fn new(line: u64, case: &str, activity: &str) -> LogEvent {
        let (case, activity) = (case.to_owned(), activity.to_owned());
        LogEvent { line, case, activity, fields: Vec::new() }
    }
}

impl<R: BufRead> LogEvents<R> {
    /// Reads the header of `input` and finds the columns; `file` is named in errors.
    pub fn new(file: &str, input: R, names: &ColumnNames, limits: &Limits) -> Result<LogEvents<R>> {
        let mut records = Records::new(input);
        let header = match records.next().map_err(|e| crate::error::file(file, &e))? {
            Some(Ok(record)) => record.fields,
            Some(Err(bad)) => {
                return Err(row_error(file, bad.line, &format!("the header {}", bad.problem)));
            }
            None => return Err(row_error(file, 1, "the file is empty; it needs a header")),
        };
        let find = |name: &str| find_column(file, &header, name);
        let case = find(&names.case)?;
        let time = find(&names.time)?;
        let activity: Vec<usize> =
            names.activity.iter().map(|name| find(name)).collect::<Result<_>>()?;
        let payload = payload_columns(&header, |index| index != case && !activity.contains(&index));
        let limits = limits.clone();
        Ok(LogEvents { records, header, case, activity, time, payload, limits })
    }

    /// The bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.records.bytes()
    }

    /// The next event; None is the end. The outer error is one of the file.
    #[allow(clippy::should_implement_trait, reason = "two kinds of errors read better this way")]
    pub fn next(&mut self) -> std::io::Result<Option<std::result::Result<LogEvent, RowError>>> {
        let Some(record) = self.records.next()? else { return Ok(None) };
        Ok(Some(record.and_then(|record| {
            let line = record.line;
            self.event(record).map_err(|problem| RowError { line, problem })
        })))
    }

    fn event(&self, mut record: RowFields) -> std::result::Result<LogEvent, String> {
        let (found, wanted) = (record.fields.len(), self.header.len());
        if found != wanted {
            return Err(format!("has {found} columns, the header has {wanted}"));
        }
        let field = |index: usize| record.fields.get(index).map_or("", String::as_str);
        let activity: Vec<&str> = self.activity.iter().map(|index| field(*index)).collect();
        if activity.iter().all(|part| part.is_empty()) {
            return Err(format!("has no activity ({} is empty)", self.names_of(&self.activity)));
        }
        let activity = activity.join(JOINT);
        let time = field(self.time);
        if !is_time(time) {
            let name = self.names_of(&[self.time]);
            return Err(match time {
                "" => format!("has no time ({name} is empty)"),
                time => format!("has a time that is none: {name} is {time:?}"),
            });
        }
        let line = record.line;
        let case = record.fields.get_mut(self.case).map(std::mem::take).unwrap_or_default();
        if case.is_empty() {
            return Err(format!("has no case ({} is empty)", self.names_of(&[self.case])));
        }
        // Limits are checked here, because one request over a limit fails the batch it is in.
        let key = idempotency_key(&case, line);
        let checked = self
            .limits
            .check_name("case and line", &key)
            .and_then(|()| self.limits.check_name("activity", &activity));
        checked.map_err(|error| error.message().to_owned())?;
        Ok(LogEvent { line, case, activity, fields: record.fields })
    }

    /// The columns that are neither case nor activity, as strings, without the empty ones.
    ///
    /// A payload over the limit is a problem of its row.
    pub fn payload(&self, event: &LogEvent) -> std::result::Result<Json, RowError> {
        let mut text = String::with_capacity(256);
        text.push('{');
        for (at, (column, key)) in self.payload.iter().enumerate() {
            let Some(value) = event.fields.get(*column).filter(|value| !value.is_empty()) else {
                continue;
            };
            // Of columns with the same name the last that is not empty counts.
            let rest = self.payload.get(at + 1..).unwrap_or_default();
            let mut same = rest.iter().take_while(|(_, other)| other == key);
            if same.any(|(column, _)| event.fields.get(*column).is_some_and(|v| !v.is_empty())) {
                continue;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(key);
            text.push(':');
            push_json(value, &mut text);
        }
        text.push('}');
        let payload = Json::from_canonical(&text);
        match self.limits.check_payload(&payload) {
            Ok(()) => Ok(payload),
            Err(error) => Err(RowError { line: event.line, problem: error.message().to_owned() }),
        }
    }

    fn names_of(&self, columns: &[usize]) -> String {
        let names: Vec<&str> = columns
            .iter()
            .filter_map(|index| self.header.get(*index))
            .map(String::as_str)
            .collect();
        names.join(" and ")
    }
}

/// The columns of a payload, sorted as the members of canonical JSON are: by their escaped keys.
fn payload_columns(header: &[String], is_part: impl Fn(usize) -> bool) -> Vec<(usize, String)> {
    let mut columns: Vec<(usize, String)> = header
        .iter()
        .enumerate()
        .filter(|(index, _)| is_part(*index))
        .map(|(index, name)| {
            let mut key = String::new();
            push_json(name, &mut key);
            (index, key)
        })
        .collect();
    let inner = |key: &str| key.get(1..key.len() - 1).unwrap_or_default().to_owned();
    columns.sort_by_key(|(_, key)| inner(key));
    columns
}

/// Appends a JSON string in canonical form.
fn push_json(value: &str, out: &mut String) {
    if value.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // Serialising a string can't fail.
        out.push_str(&serde_json::to_string(value).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(value);
        out.push('"');
    }
}

/// What makes a second import of the same row harmless.
pub(super) fn idempotency_key(case: &str, line: u64) -> String {
    format!("{case}:{line}")
}

fn find_column(file: &str, header: &[String], name: &str) -> Result<usize> {
    let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => {
            Err(row_error(file, 1, &format!("the header has the column {name:?} twice")))
        }
        _ => {
            let columns = header.join(", ");
            let message = format!("the header has no column {name:?}; it has {columns}");
            Err(row_error(file, 1, &message).with("column", name))
        }
    }
}

/// The error of a row that stops the import.
pub(super) fn row_error(file: &str, line: u64, problem: &str) -> Error {
    let message = format!("{file}, line {line}: {problem}");
    Error::new(ErrorCode::BadRequest, message)
        .with_reason(reason::INVALID_REQUEST)
        .with("file", file)
        .with("line", line)
}

/// Whether the text is a point in time: ISO 8601, with or without a time of day or an offset.
fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok() || text.parse::<DateTime>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(activity: &[&str]) -> ColumnNames {
        ColumnNames {
            case: "case".into(),
            activity: activity.iter().map(|name| (*name).to_owned()).collect(),
            time: "at".into(),
        }
    }

    fn read(text: &str, activity: &[&str]) -> Vec<std::result::Result<LogEvent, RowError>> {
        let limits = Limits { name_bytes_max: 40, ..Limits::default() };
        let mut events =
            LogEvents::new("log.csv", text.as_bytes(), &names(activity), &limits).unwrap();
        std::iter::from_fn(|| events.next().unwrap()).collect()
    }

    #[test]
    fn activities_of_several_columns_are_joined() {
        let text =
            "case,act,at,sub,note,empty\nc-1,Open,2024-01-02T03:04:05+02:00,New,\"a \"\"b\"\"\",\n";
        let all = read(text, &["act", "sub"]);
        let event = all[0].as_ref().unwrap();
        assert_eq!((event.line, event.case.as_str()), (2, "c-1"));
        assert_eq!(event.activity, "Open / New");
    }

    #[test]
    fn payloads_are_canonical_and_leave_empty_fields_out() {
        let text = "case,act,at,\"b\"\"\",b,dup,dup,a,empty\n\
                    c,A,2024-01-02,\"1\"\"\n\",2,x,,\u{1},\nc,A,2024-01-02,,,x,y,,\n";
        let limits = Limits { payload_bytes_max: 60, ..Limits::default() };
        let mut events =
            LogEvents::new("log.csv", text.as_bytes(), &names(&["act"]), &limits).unwrap();
        let event = events.next().unwrap().unwrap().unwrap();
        let error = events.payload(&event).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.problem.contains("payload_bytes_max = 60"), "{}", error.problem);
        events.limits = Limits::default();
        let payload = events.payload(&event).unwrap();
        let expected = serde_json::json!({
            "a": "\u{1}", "at": "2024-01-02", "b": "2", "b\"": "1\"\n", "dup": "x"
        });
        assert_eq!(payload, Json::from_value(&expected));
        let event = events.next().unwrap().unwrap().unwrap();
        let payload = events.payload(&event).unwrap();
        assert_eq!(payload.as_str(), r#"{"at":"2024-01-02","dup":"y"}"#);
    }

    #[test]
    fn malformed_rows_name_the_line_and_the_column() {
        let long = "x".repeat(50);
        let text = format!(
            "case,act,at\nc,A\nc,A,yesterday\nc,,2024-01-01\n,A,2024-01-01\nc,A,\n{long},A,2024-01-01\nc,A,2024-01-01 10:00:00\n"
        );
        let all = read(&text, &["act"]);
        let problems: Vec<_> = all
            .iter()
            .filter_map(|row| row.as_ref().err())
            .map(|e| (e.line, &*e.problem))
            .collect();
        assert_eq!(
            problems,
            [
                (2, "has 2 columns, the header has 3"),
                (3, "has a time that is none: at is \"yesterday\""),
                (4, "has no activity (act is empty)"),
                (5, "has no case (case is empty)"),
                (6, "has no time (at is empty)"),
                (7, "case and line has size 52, more than the limit name_bytes_max = 40"),
            ]
        );
        assert!(all[6].is_ok());
    }

    #[test]
    fn a_missing_or_doubled_column_lists_the_columns() {
        let open = |text: &str| {
            LogEvents::new("log.csv", text.as_bytes(), &names(&["act"]), &Limits::default())
                .map(|_| ())
                .unwrap_err()
        };
        let error = open("case,at,activity\n");
        let message =
            "log.csv, line 1: the header has no column \"act\"; it has case, at, activity";
        assert_eq!(error.message(), message);
        assert!(open("case,act,at,at\n").message().contains("\"at\" twice"));
        assert!(open("").message().contains("empty"));
    }
}
