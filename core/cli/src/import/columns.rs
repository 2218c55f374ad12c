//! The header of a log: which column is what. Every column has a name, and no name stands twice.

use rstmdb::Result;

use super::records::row_error;

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

/// A column of the payload.
#[derive(Debug)]
pub(super) struct PayloadColumn {
    pub(super) index: usize,
    /// Its name as JSON.
    pub(super) key: String,
    /// Whether its fields are numbers.
    pub(super) is_number: bool,
}

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) header: Vec<String>,
    pub(super) case: usize,
    pub(super) activity: Vec<usize>,
    pub(super) time: usize,
    /// Those that are neither case nor activity, in the order of canonical JSON: by their escaped keys.
    pub(super) payload: Vec<PayloadColumn>,
}

impl Columns {
    /// Finds the columns in the header of `file`.
    pub(super) fn find(
        file: &str,
        header: Vec<String>,
        names: &ColumnNames,
        numbers: &[String],
    ) -> Result<Columns> {
        all_have_names_of_their_own(file, &header)?;
        let case = index_of(file, &header, &names.case)?;
        let time = index_of(file, &header, &names.time)?;
        let activity: Vec<usize> = names
            .activity
            .iter()
            .map(|name| index_of(file, &header, name))
            .collect::<Result<_>>()?;
        let is_payload = |index: usize| index != case && !activity.contains(&index);
        for name in numbers {
            let index = index_of(file, &header, name)?;
            if index == time || !is_payload(index) {
                let problem = format!(
                    "the column {name:?} is the case, the activity or the time; --number is for \
                     the others"
                );
                return Err(row_error(file, 1, &problem).with("column", name.as_str()));
            }
        }
        let mut payload: Vec<PayloadColumn> = header
            .iter()
            .enumerate()
            .filter(|(index, _)| is_payload(*index))
            .map(|(index, name)| {
                let mut key = String::new();
                push_json(name, &mut key);
                PayloadColumn { index, key, is_number: numbers.contains(name) }
            })
            .collect();
        let inner = |key: &str| key.get(1..key.len() - 1).unwrap_or_default().to_owned();
        payload.sort_by_key(|column| inner(&column.key));
        Ok(Columns { header, case, activity, time, payload })
    }

    /// The name of a column.
    pub(super) fn name(&self, index: usize) -> &str {
        self.header.get(index).map_or("", String::as_str)
    }
}

/// What two columns of one name hold can't both be a member of the payload, and one without a name can't be any.
fn all_have_names_of_their_own(file: &str, header: &[String]) -> Result<()> {
    let mut problems = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let number = index + 1;
        if name.trim().is_empty() {
            problems.push(format!("column {number} has no name"));
        } else if let Some(first) = header.iter().take(index).position(|other| other == name) {
            problems.push(format!("columns {} and {number} are both called {name:?}", first + 1));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problem =
        format!("in the header {}; give each column a name of its own", problems.join(", "));
    Err(row_error(file, 1, &problem))
}

fn index_of(file: &str, header: &[String], name: &str) -> Result<usize> {
    if let Some(index) = header.iter().position(|column| column == name) {
        return Ok(index);
    }
    let mut message = format!("the header has no column {name:?}; it has {}", header.join(", "));
    let line = header.join(",");
    let splits = |c: char| line.split(c).any(|part| part.trim_matches('"') == name);
    if let Some((_, word)) = SEPARATORS.iter().find(|(c, _)| splits(*c)) {
        message.push_str(&format!("; its separator is another one: --separator {word}"));
    }
    Err(row_error(file, 1, &message).with("column", name))
}

/// What stands between fields, as the option takes it in a shell.
const SEPARATORS: [(char, &str); 4] = [(';', "';'"), ('\t', "tab"), ('|', "'|'"), (',', "','")];

/// The separator that an option names.
pub(super) fn separator(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [b'"' | b'\r' | b'\n'] => Err("can't be a quote or a line end".to_owned()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("must be one ASCII character, or the word tab".to_owned()),
    }
}

/// Appends a JSON string in canonical form.
pub(super) fn push_json(value: &str, out: &mut String) {
    if value.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // Serialising a string can't fail.
        out.push_str(&serde_json::to_string(value).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(value);
        out.push('"');
    }
}
