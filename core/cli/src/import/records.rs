//! Reads CSV records strictly (RFC 4180, with any separator) and goes on after a bad one.
//!
//! Promises: every problem names the line its record begins on; a quote that is never closed costs
//! one line, not the rest of the file; memory stays below a few times [`RECORD_BYTES_MAX`].
//! Refuses: a quote inside an unquoted field, text after a closing quote, text that is not UTF-8.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use rstmdb::error::reason;
use rstmdb::{Error, text};

/// The longest record.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

const NOT_UTF8: &str = "is not UTF-8";

/// A row that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The line it begins on, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// The error of a row that stops the import.
pub(super) fn row_error(file: &str, line: u64, problem: &str) -> Error {
    let message = format!("{file}, line {line}: {problem}");
    Error::invalid(reason::INVALID_REQUEST, message).with("file", file).with("line", line)
}

/// The fields of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFields {
    /// The line it begins on, counted from 1.
    pub line: u64,
    /// The fields, without their quotes.
    pub fields: Vec<String>,
}

/// A stream of records.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    separator: u8,
    /// Lines that were read ahead in search of a closing quote.
    pending: VecDeque<Vec<u8>>,
    /// The lines handed out so far.
    lines: u64,
    bytes: u64,
    /// What the first bytes show that the input is, when it is no text that can be read.
    not_text: Option<text::NotText>,
}

/// Where the splitter is within a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SplitterState {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote within a quoted field: its end, or the first of two.
    QuoteInQuoted,
}

/// Splits one record, line by line.
#[derive(Debug)]
struct Splitter {
    separator: u8,
    fields: Vec<Vec<u8>>,
    field: Vec<u8>,
    place: SplitterState,
}

enum Fed {
    Complete,
    /// A quoted field goes on in the next line.
    More,
    Broken(&'static str),
}

impl<R: BufRead> Records<R> {
    /// Reads from `input`, with commas between the fields; a byte order mark at its beginning is skipped.
    pub fn new(input: R) -> Records<R> {
        Records::separated(input, b',')
    }

    /// As [`Records::new`], with another character between the fields.
    pub fn separated(input: R, separator: u8) -> Records<R> {
        let pending = VecDeque::new();
        Records { input, separator, pending, lines: 0, bytes: 0, not_text: None }
    }

    /// The bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next record; empty lines are skipped, None is the end.
    ///
    /// The outer error is one of the file, the inner one is of this record alone.
    #[allow(clippy::should_implement_trait, reason = "two kinds of errors read better this way")]
    pub fn next(&mut self) -> io::Result<Option<Result<RowFields, RowError>>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            if !line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                return self.record(line).map(Some);
            }
        }
    }

    /// The record that begins with `first`.
    fn record(&mut self, first: Vec<u8>) -> io::Result<Result<RowFields, RowError>> {
        let start = self.lines;
        if let Some(problem) = self.not_text.take() {
            return Ok(Err(RowError { line: start, problem: problem.to_string() }));
        }
        if first.len() <= RECORD_BYTES_MAX && !first.contains(&b'"') {
            return Ok(unquoted(&first, self.separator, start));
        }
        let failed = |problem: &str| RowError { line: start, problem: problem.to_owned() };
        let mut splitter = Splitter {
            separator: self.separator,
            fields: Vec::new(),
            field: Vec::new(),
            place: SplitterState::FieldStart,
        };
        let mut read_ahead: VecDeque<Vec<u8>> = VecDeque::new();
        let mut length = first.len();
        let mut fed = splitter.feed(&first);
        let problem = loop {
            match fed {
                _ if length > RECORD_BYTES_MAX => break "is longer than 1 MiB",
                Fed::Broken(problem) => break problem,
                Fed::Complete => {
                    return Ok(splitter
                        .finish()
                        .map_err(failed)
                        .map(|fields| RowFields { line: start, fields }));
                }
                Fed::More => match self.next_line()? {
                    None => break "has a quote that is never closed",
                    Some(next) => {
                        length += next.len();
                        fed = splitter.feed(&next);
                        read_ahead.push_back(next);
                    }
                },
            }
        };
        // The lines after the first are records of their own, for all we know.
        self.lines -= read_ahead.len() as u64;
        read_ahead.append(&mut self.pending);
        self.pending = read_ahead;
        Ok(Err(failed(problem)))
    }

    /// The next line with its end; one that is too long comes cut just above the limit.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = match self.pending.pop_front() {
            Some(line) => line,
            None => match self.read_line()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        self.lines += 1;
        Ok(Some(line))
    }

    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = RECORD_BYTES_MAX as u64 + 1;
        let mut read = self.input.by_ref().take(limit).read_until(b'\n', &mut line)? as u64;
        if read == limit && !line.ends_with(b"\n") {
            read += self.skip_line()?;
        }
        if self.bytes == 0 {
            match text::without_mark(&line) {
                Ok(rest) => drop(line.drain(..line.len() - rest.len())),
                Err(problem) => self.not_text = Some(problem),
            }
        }
        self.bytes += read;
        Ok((read > 0).then_some(line))
    }

    /// Passes over the rest of a line that is too long to keep.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(length);
            skipped += length as u64;
            if end.is_some() || length == 0 {
                return Ok(skipped);
            }
        }
    }
}

/// The record of a line without a quote: most of them, and quick to split.
fn unquoted(line: &[u8], separator: u8, number: u64) -> Result<RowFields, RowError> {
    let Ok(text) = std::str::from_utf8(content(line)) else {
        return Err(RowError { line: number, problem: NOT_UTF8.to_owned() });
    };
    Ok(RowFields {
        line: number,
        fields: text.split(char::from(separator)).map(str::to_owned).collect(),
    })
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").unwrap_or(text)
}

impl Splitter {
    /// Takes one more line, with its end.
    fn feed(&mut self, line: &[u8]) -> Fed {
        let text = content(line);
        for byte in text {
            if let Err(problem) = self.byte(*byte) {
                return Fed::Broken(problem);
            }
        }
        if self.place == SplitterState::Quoted {
            self.field.extend(line.get(text.len()..).unwrap_or_default());
            return Fed::More;
        }
        Fed::Complete
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match (self.place, byte) {
            (SplitterState::FieldStart, b'"') => self.place = SplitterState::Quoted,
            (SplitterState::Quoted, b'"') => self.place = SplitterState::QuoteInQuoted,
            (SplitterState::QuoteInQuoted, b'"') => {
                self.field.push(b'"');
                self.place = SplitterState::Quoted;
            }
            (SplitterState::Quoted, byte) => self.field.push(byte),
            (_, byte) if byte == self.separator => {
                self.fields.push(std::mem::take(&mut self.field));
                self.place = SplitterState::FieldStart;
            }
            (SplitterState::QuoteInQuoted, _) => return Err("has text after a closing quote"),
            (SplitterState::Plain, b'"') => {
                return Err("has a quote inside a field that is not quoted");
            }
            (SplitterState::FieldStart | SplitterState::Plain, byte) => {
                self.field.push(byte);
                self.place = SplitterState::Plain;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>, &'static str> {
        self.fields.push(self.field);
        let text = |field| String::from_utf8(field).map_err(|_| NOT_UTF8);
        self.fields.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Result<RowFields, RowError>> {
        let mut records = Records::new(text);
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push(record);
        }
        assert_eq!(records.bytes(), text.len() as u64);
        all
    }

    fn fields(record: &Result<RowFields, RowError>) -> (u64, Vec<&str>) {
        let record = record.as_ref().unwrap();
        (record.line, record.fields.iter().map(String::as_str).collect())
    }

    #[test]
    fn quoted_fields_hold_commas_quotes_and_line_ends() {
        let all = read(b"\xef\xbb\xbfa,\"b,\"\"c\"\"\r\nd\",\r\n\r\n,\"\"\nlast,x");
        assert_eq!(fields(&all[0]), (1, vec!["a", "b,\"c\"\r\nd", ""]));
        assert_eq!(fields(&all[1]), (4, vec!["", ""]));
        assert_eq!(fields(&all[2]), (5, vec!["last", "x"]));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn an_open_quote_costs_one_line() {
        let all = read(b"a,\"b\nc,d\ne,f\n");
        let error = all[0].as_ref().unwrap_err();
        assert_eq!((error.line, error.problem.as_str()), (1, "has a quote that is never closed"));
        assert_eq!(fields(&all[1]), (2, vec!["c", "d"]));
        assert_eq!(fields(&all[2]), (3, vec!["e", "f"]));
    }

    #[test]
    fn broken_quotes_and_encodings_name_their_line() {
        let all = read(b"a\"b,c\n\"a\"b,c\n\xff,c\nok,c\n");
        let problems: Vec<_> = all[..3].iter().map(|row| row.clone().unwrap_err()).collect();
        assert_eq!(problems[0].problem, "has a quote inside a field that is not quoted");
        assert_eq!(problems[1].problem, "has text after a closing quote");
        assert_eq!(problems[2].problem, "is not UTF-8");
        assert_eq!(problems.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(fields(&all[3]), (4, vec!["ok", "c"]));
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_and_passed_over() {
        let mut text = vec![b'x'; RECORD_BYTES_MAX * 2];
        text.extend(b"\nok,c\n");
        let all = read(&text);
        assert_eq!(all[0].as_ref().unwrap_err().problem, "is longer than 1 MiB");
        assert_eq!(fields(&all[1]), (2, vec!["ok", "c"]));

        let mut text = b"a,\"b\n".to_vec();
        text.extend(b"filler\n".repeat(RECORD_BYTES_MAX / 7 + 1));
        let all = read(&text);
        assert_eq!(all[0].as_ref().unwrap_err().problem, "is longer than 1 MiB");
        assert_eq!(fields(&all[1]), (2, vec!["filler"]));
    }
}
