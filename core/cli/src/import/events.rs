//! Turns the rows of a log into events: which column is what, and what every row must have.

use std::io::BufRead;

use rstmdb::fault::TOO_LARGE_INTEGER;
use rstmdb::{Json, Limits, Result};

use super::columns::{ColumnNames, Columns, push_json};
use super::identity::{RowDigest, RowId, RowTime};
use super::records::{Records, RowError, RowFields, row_error};

/// What joins the activities of several columns.
const JOINT: &str = " / ";

/// How a file is written and read, beside the names of its columns.
#[derive(Debug, Clone)]
pub(super) struct LogForm {
    /// What stands between fields.
    pub(super) separator: u8,
    /// The columns that hold numbers.
    pub(super) numbers: Vec<String>,
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
    /// When it happened.
    pub(super) time: Option<RowTime>,
    /// The fields of the row, without the case's.
    fields: Vec<String>,
}

/// The events of a file, row by row.
#[derive(Debug)]
pub struct LogEvents<R> {
    records: Records<R>,
    columns: Columns,
    limits: Limits,
}

impl LogEvent {
    /// An event that was not read from a file.
    pub fn new(line: u64, case: &str, activity: &str) -> LogEvent {
        let (case, activity) = (case.to_owned(), activity.to_owned());
        LogEvent { line, case, activity, time: None, fields: Vec::new() }
    }
}

impl<R: BufRead> LogEvents<R> {
    /// Reads the header of `input` and finds the columns; `file` is named in errors.
    pub fn new(file: &str, input: R, names: &ColumnNames, limits: &Limits) -> Result<LogEvents<R>> {
        let form = LogForm { separator: b',', numbers: Vec::new() };
        LogEvents::formed(file, input, names, &form, limits)
    }

    /// As [`LogEvents::new`], for a file of this form.
    pub(super) fn formed(
        file: &str,
        input: R,
        names: &ColumnNames,
        form: &LogForm,
        limits: &Limits,
    ) -> Result<LogEvents<R>> {
        let mut records = Records::separated(input, form.separator);
        let header = match records.next().map_err(|e| crate::error::file(file, &e))? {
            Some(Ok(record)) => record.fields,
            Some(Err(bad)) => {
                let problem = format!(
                    "the header {}; --separator says what separates its columns",
                    bad.problem
                );
                return Err(row_error(file, bad.line, &problem));
            }
            None => return Err(row_error(file, 1, "the file is empty; it needs a header")),
        };
        let columns = Columns::find(file, header, names, &form.numbers)?;
        Ok(LogEvents { records, columns, limits: limits.clone() })
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
        let columns = &self.columns;
        let (found, wanted) = (record.fields.len(), columns.header.len());
        if found != wanted {
            return Err(format!("has {found} columns, the header has {wanted}"));
        }
        let field = |index: usize| record.fields.get(index).map_or("", String::as_str);
        let activity: Vec<&str> = columns.activity.iter().map(|index| field(*index)).collect();
        if activity.iter().all(|part| part.is_empty()) {
            let names: Vec<&str> =
                columns.activity.iter().map(|index| columns.name(*index)).collect();
            return Err(format!("has no activity ({} is empty)", names.join(" and ")));
        }
        let activity = activity.join(JOINT);
        let text = field(columns.time);
        let Some(time) = RowTime::parse(text) else {
            let name = columns.name(columns.time);
            return Err(match text {
                "" => format!("has no time ({name} is empty)"),
                text => format!("has a time that is none: {name} is {text:?}"),
            });
        };
        let line = record.line;
        let case = record.fields.get_mut(columns.case).map(std::mem::take).unwrap_or_default();
        if case.is_empty() {
            return Err(format!("has no case ({} is empty)", columns.name(columns.case)));
        }
        // Limits are checked here, because one request over a limit fails the batch it is in.
        let checked = self
            .limits
            .check_name("case", &case)
            .and_then(|()| self.limits.check_name("activity", &activity));
        checked.map_err(|error| error.message().to_owned())?;
        Ok(LogEvent { line, case, activity, time: Some(time), fields: record.fields })
    }

    /// What makes the row the same in whatever file it stands: all it says, however it is written.
    pub(super) fn content(&self, event: &LogEvent) -> RowId {
        let mut digest = RowDigest::new();
        digest.add(&event.case);
        digest.add(&event.activity);
        digest.add(&event.time.map(RowTime::canonical).unwrap_or_default());
        for column in self.columns.payload.iter().filter(|c| c.index != self.columns.time) {
            let value = event.fields.get(column.index).filter(|value| !value.is_empty());
            if let Some(value) = value {
                digest.add(&column.key);
                digest.add(value);
            }
        }
        digest.finish()
    }

    /// The columns that are neither case nor activity, without the empty ones, as strings or numbers.
    ///
    /// A number that is none, and a payload over the limit, are problems of the row.
    pub fn payload(&self, event: &LogEvent) -> std::result::Result<Json, RowError> {
        let failed = |problem: String| RowError { line: event.line, problem };
        let mut text = String::with_capacity(256);
        text.push('{');
        for column in &self.columns.payload {
            let Some(value) = event.fields.get(column.index).filter(|value| !value.is_empty())
            else {
                continue;
            };
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&column.key);
            text.push(':');
            if column.is_number {
                let number = number(value).ok_or_else(|| {
                    let name = self.columns.name(column.index);
                    failed(match is_integer(value.trim()) {
                        true => format!("has {name} {value:?}: {TOO_LARGE_INTEGER}"),
                        false => format!("has a number that is none: {name} is {value:?}"),
                    })
                })?;
                text.push_str(number.as_str());
            } else {
                push_json(value, &mut text);
            }
        }
        text.push('}');
        let payload = Json::from_canonical(&text);
        match self.limits.check_payload(&payload) {
            Ok(()) => Ok(payload),
            Err(error) => Err(failed(error.message().to_owned())),
        }
    }
}

fn is_integer(text: &str) -> bool {
    text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit())
}

/// A number as JSON, of a text that is one to people as well: 007 and +1 are.
fn number(text: &str) -> Option<Json> {
    let text = text.trim();
    let value = match text.parse::<i64>() {
        Ok(whole) => serde_json::Value::from(whole),
        // A whole number that does not fit would lose its last digits.
        Err(_) if is_integer(text) => serde_json::Value::from(text.parse::<u64>().ok()?),
        Err(_) if text.bytes().any(|byte| !b"0123456789+-.eE".contains(&byte)) => return None,
        Err(_) => serde_json::Number::from_f64(text.parse().ok()?)?.into(),
    };
    Some(Json::from_value(&value))
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
        let text = "case,act,at,\"b\"\"\",b,a,empty\n\
                    c,A,2024-01-02,\"1\"\"\n\",2,\u{1},\n";
        let limits = Limits { payload_bytes_max: 50, ..Limits::default() };
        let mut events =
            LogEvents::new("log.csv", text.as_bytes(), &names(&["act"]), &limits).unwrap();
        let event = events.next().unwrap().unwrap().unwrap();
        let error = events.payload(&event).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.problem.contains("payload_bytes_max = 50"), "{}", error.problem);
        events.limits = Limits::default();
        let payload = events.payload(&event).unwrap();
        let expected = serde_json::json!({
            "a": "\u{1}", "at": "2024-01-02", "b": "2", "b\"": "1\"\n"
        });
        assert_eq!(payload, Json::from_value(&expected));
    }

    #[test]
    fn columns_of_numbers_hold_numbers() {
        let form = LogForm { separator: b';', numbers: vec!["n".to_owned()] };
        let read = |value: &str| {
            let text = format!("case;act;at;n\nc;A;2024-01-02;{value}\n");
            let limits = Limits::default();
            let names = names(&["act"]);
            let mut events =
                LogEvents::formed("log.csv", text.as_bytes(), &names, &form, &limits).unwrap();
            let event = events.next().unwrap().unwrap().unwrap();
            events.payload(&event).map(|payload| payload.to_value()["n"].to_string())
        };
        for (text, number) in [
            ("100", "100"),
            ("007", "7"),
            ("+5", "5"),
            ("-0.5", "-0.5"),
            ("1e3", "1000.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("", "null"),
        ] {
            assert_eq!(read(text).unwrap(), number, "{text}");
        }
        for text in ["1,5", "x", "NaN", "inf", "1e400", "18446744073709551616", "0x10", "1 000"] {
            let problem = read(text).unwrap_err().problem;
            let said =
                [format!("n is {text:?}"), format!("has n {text:?}: the integer does not fit")];
            assert!(said.iter().any(|said| problem.contains(said)), "{problem}");
        }
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
                (7, "case has size 50, more than the limit name_bytes_max = 40"),
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
        for (header, problem) in [
            ("case,act,at,at\n", "columns 3 and 4 are both called \"at\""),
            ("case,act,at,x,y,x\n", "columns 4 and 6 are both called \"x\""),
            ("case,act,at,\n", "column 4 has no name"),
            ("case,act,at, ,x,x\n", "column 4 has no name, columns 5 and 6 are"),
            ("case;act;at\n", "--separator ';'"),
            ("case\tact\tat\n", "--separator tab"),
            ("\"case\"\t\"act\"\t\"at\"\n", "--separator says"),
        ] {
            assert!(open(header).message().contains(problem), "{}", open(header));
        }
        assert!(open("").message().contains("empty"));
    }
}
