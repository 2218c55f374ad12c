//! How values are written: the way from text to a value of a field and back.
//!
//! Whatever [`SettingForm::show`] gives, [`SettingForm::read`] takes again; secrets are the exception.

use std::fmt::Display;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use rstmdb_engine::{FsyncPolicy, Retention};
use rstmdb_types::lookalike::Lookalike;
use rstmdb_types::units;

use super::values::{
    Address, LogFormat, MemberRole, OnTimeout, Outside, ReplicationMode, Role, Secret,
};
use super::yaml::{YamlNode, YamlValue};

/// A value as it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Absent,
    /// A list without entries.
    Empty,
    Text(String),
    /// So many secrets.
    Hidden(usize),
}

/// A way of writing a value.
pub(super) trait SettingForm {
    type Value;

    /// What kind of value it is, such as `a path`.
    fn kind(&self) -> &'static str;

    /// Reads a value; the error is a whole sentence without the setting's name.
    fn read(&self, node: &YamlNode) -> Result<Self::Value, String>;

    fn show(&self, value: &Self::Value) -> Shown;

    fn replace(&self, field: &mut Self::Value, value: Self::Value) {
        *field = value;
    }

    /// What an environment variable does: lists grow by it.
    fn add(&self, field: &mut Self::Value, value: Self::Value) {
        self.replace(field, value);
    }
}

/// The form of a field of this type.
pub(super) fn of<T, F: SettingForm<Value = T>>(form: F) -> F {
    form
}

fn scalar<'a>(node: &'a YamlNode, kind: &str) -> Result<&'a str, String> {
    match (&node.value, &node.tag) {
        (YamlValue::Text(text), None) => Ok(text.trim()),
        (YamlValue::Null, _) => Err(format!("is empty; give {kind} or leave the key out")),
        _ => Err(format!("must be {kind}, not a list, a mapping or a tagged value")),
    }
}

/// What its text says.
pub(super) struct Plain<T>(&'static str, PhantomData<T>);

impl<T> Plain<T> {
    pub(super) const fn new(kind: &'static str) -> Plain<T> {
        Plain(kind, PhantomData)
    }
}

/// The kind of a setting that names a file or a directory.
pub(super) const PATH: &str = "a path";

/// Refuses a path that was hardly meant as one, with what to write.
pub(crate) fn check_path(text: &str) -> Result<(), String> {
    let way_out = match Lookalike::of(text.trim()) {
        None => return Ok(()),
        // A configuration has its own null; who quotes the word means it.
        Some(Lookalike::Nothing) if text == "null" => return Ok(()),
        Some(Lookalike::Memory) => {
            "a server keeps its data in files; name a directory, or write ./ before it for one of that name"
        }
        Some(Lookalike::Server) => {
            "this looks like a server; name a directory or a file of this machine, or write ./ before it for \
             one of that name"
        }
        Some(Lookalike::Url) => {
            "a colon in the first part of a path looks like a URL; write the path alone, such as /data for \
             file:///data, or ./ before it for one of that name"
        }
        Some(Lookalike::Home) => {
            "only a shell knows what ~ is; write the whole path, or ./ before it for one of that name"
        }
        Some(Lookalike::Variable) => {
            "only a shell knows variables; write the whole path, or ./ before it for one of that name"
        }
        Some(Lookalike::Nothing) => {
            "this is what programs write for a value that is not there; name a directory or a file, or write \
             ./ before it for one of that name"
        }
    };
    Err(format!("must be a path, not {text:?}: {way_out}"))
}

/// A path.
pub(super) struct PathForm;

impl SettingForm for PathForm {
    type Value = PathBuf;

    fn kind(&self) -> &'static str {
        PATH
    }

    fn read(&self, node: &YamlNode) -> Result<PathBuf, String> {
        let path = Plain::<PathBuf>::new(PATH).read(node)?;
        check_path(&path.written())?;
        Ok(path)
    }

    fn show(&self, value: &PathBuf) -> Shown {
        Shown::Text(value.written())
    }
}

/// The text of a value, also of one that has no `Display`.
pub(super) trait Written {
    fn written(&self) -> String;
}

macro_rules! written {
    ($($name:ty),+) => {
        $(impl Written for $name {
            fn written(&self) -> String {
                self.to_string()
            }
        })+
    };
}

written!(Address, LogFormat, MemberRole, OnTimeout, Outside, ReplicationMode, Role, String);

impl Written for PathBuf {
    fn written(&self) -> String {
        self.display().to_string()
    }
}

impl<T: FromStr<Err: Display> + Written> SettingForm for Plain<T> {
    type Value = T;

    fn kind(&self) -> &'static str {
        self.0
    }

    fn read(&self, node: &YamlNode) -> Result<T, String> {
        let text = scalar(node, self.0)?;
        if text.is_empty() {
            return Err(format!("is empty; give {}", self.0));
        }
        text.parse().map_err(|error| format!("must be {}: {error}", self.0))
    }

    fn show(&self, value: &T) -> Shown {
        Shown::Text(value.written())
    }
}

/// As another form, or nothing.
pub(super) struct Optional<F>(pub(super) F);

impl<F: SettingForm> SettingForm for Optional<F> {
    type Value = Option<F::Value>;

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn read(&self, node: &YamlNode) -> Result<Option<F::Value>, String> {
        match &node.value {
            YamlValue::Null => Ok(None),
            _ => self.0.read(node).map(Some),
        }
    }

    fn show(&self, value: &Option<F::Value>) -> Shown {
        value.as_ref().map_or(Shown::Absent, |value| self.0.show(value))
    }
}

/// A whole number.
pub(super) struct Number<T>(PhantomData<T>);

impl<T> Number<T> {
    pub(super) const fn new() -> Number<T> {
        Number(PhantomData)
    }
}

impl<T: FromStr + Display> SettingForm for Number<T> {
    type Value = T;

    fn kind(&self) -> &'static str {
        "a number"
    }

    fn read(&self, node: &YamlNode) -> Result<T, String> {
        let text = scalar(node, self.kind())?;
        // Grouped as people and YAML write large numbers: 1_000_000.
        let digits = text.replace('_', "");
        digits.parse().map_err(|_| format!("must be a whole number, not {text:?}"))
    }

    fn show(&self, value: &T) -> Shown {
        Shown::Text(value.to_string())
    }
}

/// Yes or no.
pub(super) struct Flag;

impl SettingForm for Flag {
    type Value = bool;

    fn kind(&self) -> &'static str {
        "true or false"
    }

    fn read(&self, node: &YamlNode) -> Result<bool, String> {
        let text = scalar(node, self.kind())?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("must be true or false, not {text:?}")),
        }
    }

    fn show(&self, value: &bool) -> Shown {
        Shown::Text(value.to_string())
    }
}

fn whole(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn read_bytes(text: &str, unit: u64) -> Result<u64, String> {
    if let Some(number) = whole(text) {
        return number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"));
    }
    if let Some(problem) = units::two_sizes(text) {
        return Err(problem);
    }
    let size = text.parse::<ByteSize>().map(|size| size.as_u64());
    size.map_err(|_| format!("must be a size, such as 64MiB, or a number, not {text:?}"))
}

fn show_bytes(value: u64, unit: u64) -> Shown {
    if value.is_multiple_of(unit) && unit > 1 {
        return Shown::Text((value / unit).to_string());
    }
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(unit, _)| value > 0 && value.is_multiple_of(*unit));
    Shown::Text(match unit {
        Some((unit, name)) => format!("{}{name}", value / unit),
        None => value.to_string(),
    })
}

/// A size; a bare number counts bytes.
pub(super) struct Bytes<T>(PhantomData<T>);

impl<T> Bytes<T> {
    pub(super) const fn new() -> Bytes<T> {
        Bytes(PhantomData)
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy> SettingForm for Bytes<T> {
    type Value = T;

    fn kind(&self) -> &'static str {
        "a size in bytes"
    }

    fn read(&self, node: &YamlNode) -> Result<T, String> {
        let text = scalar(node, self.kind())?;
        T::try_from(read_bytes(text, 1)?).map_err(|_| format!("{text:?} is too large"))
    }

    fn show(&self, value: &T) -> Shown {
        show_bytes((*value).try_into().unwrap_or(u64::MAX), 1)
    }
}

/// A size; a bare number counts MiB.
pub(super) struct Mebibytes;

impl SettingForm for Mebibytes {
    type Value = u64;

    fn kind(&self) -> &'static str {
        "a size in MiB"
    }

    fn read(&self, node: &YamlNode) -> Result<u64, String> {
        read_bytes(scalar(node, self.kind())?, 1 << 20)
    }

    fn show(&self, value: &u64) -> Shown {
        show_bytes(*value, 1 << 20)
    }
}

fn read_time(text: &str, unit: Duration) -> Result<Duration, String> {
    if let Some(number) = whole(text) {
        let number = u32::try_from(number).ok();
        return number
            .and_then(|number| unit.checked_mul(number))
            .ok_or_else(|| format!("{text:?} is too long"));
    }
    if let Some(problem) = units::two_times(text) {
        return Err(problem);
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("must be a time, such as 30s, 5m or 250ms, or a number, not {text:?}"))
}

fn show_time(value: Duration, unit: Duration) -> Shown {
    let (value_ns, unit_ns) = (value.as_nanos(), unit.as_nanos());
    Shown::Text(if value_ns.is_multiple_of(unit_ns) {
        (value_ns / unit_ns).to_string()
    } else {
        humantime::format_duration(value).to_string()
    })
}

macro_rules! time {
    ($($name:ident $kind:literal $unit:expr;)*) => {
        $(
        #[doc = concat!("A time; a bare number is ", $kind, ".")]
        pub(super) struct $name;

        impl SettingForm for $name {
            type Value = Duration;

            fn kind(&self) -> &'static str {
                $kind
            }

            fn read(&self, node: &YamlNode) -> Result<Duration, String> {
                read_time(scalar(node, self.kind())?, $unit)
            }

            fn show(&self, value: &Duration) -> Shown {
                show_time(*value, $unit)
            }
        }
        )*
    };
}

time! {
    Seconds "a time in seconds" Duration::from_secs(1);
    Millis "a time in milliseconds" Duration::from_millis(1);
}

const POLICIES: &str = "every_write, every_n:100, every_ms:100 or never";

/// A sync policy in every spelling: `every_n:100`, `!every_n 100`, `every_n: 100` as a mapping.
pub(super) struct Fsync;

impl SettingForm for Fsync {
    type Value = FsyncPolicy;

    fn kind(&self) -> &'static str {
        "a sync policy"
    }

    fn read(&self, node: &YamlNode) -> Result<FsyncPolicy, String> {
        let number = |node: &YamlNode| match &node.value {
            YamlValue::Text(text) => Some(text.trim().to_owned()),
            _ => None,
        };
        let text = match (&node.tag, &node.value) {
            (None, YamlValue::Text(text)) => Some(text.trim().to_owned()),
            // A tag without a value: `!never`.
            (Some(tag), YamlValue::Null) => Some(tag.clone()),
            (Some(tag), YamlValue::Text(text)) if text.is_empty() => Some(tag.clone()),
            (Some(tag), YamlValue::Text(text)) => Some(format!("{tag}:{}", text.trim())),
            (None, YamlValue::Mapping(members)) => match members.as_slice() {
                [(name, value)] => {
                    number(name).zip(number(value)).map(|(name, n)| format!("{name}:{n}"))
                }
                _ => None,
            },
            _ => None,
        };
        let text = text.ok_or_else(|| format!("must be {POLICIES}"))?;
        text.parse().map_err(|_| format!("must be {POLICIES}, not {text:?}"))
    }

    fn show(&self, value: &FsyncPolicy) -> Shown {
        Shown::Text(value.to_string())
    }
}

/// How much history is kept: a size with its unit, an age, or for ever.
pub(super) struct RetentionForm;

impl SettingForm for RetentionForm {
    type Value = Retention;

    fn kind(&self) -> &'static str {
        "a size, an age or forever"
    }

    fn read(&self, node: &YamlNode) -> Result<Retention, String> {
        let text = scalar(node, self.kind())?;
        let wrong =
            || format!("must be a size such as 1GiB, an age such as 30d, or forever, not {text:?}");
        if text.eq_ignore_ascii_case("forever") {
            return Ok(Retention::Forever);
        }
        if let Some(problem) = units::size_or_time(text) {
            return Err(problem);
        }
        // A size ends in B, as no time does.
        if whole(text).is_some() || text.ends_with(['b', 'B']) {
            return read_bytes(text, 1).map(Retention::Bytes).map_err(|_| wrong());
        }
        humantime::parse_duration(text).map(Retention::Age).map_err(|_| wrong())
    }

    fn show(&self, value: &Retention) -> Shown {
        match value {
            Retention::Forever => Shown::Text("forever".to_owned()),
            Retention::Bytes(bytes) => show_bytes(*bytes, 1),
            Retention::Age(age) => Shown::Text(show_age(*age)),
        }
    }
}

/// An age where a size may stand as well: minutes are `min`, since `m` alone has two readings there.
fn show_age(age: Duration) -> String {
    let text = humantime::format_duration(age).to_string();
    let part = |part: &str| match part.strip_suffix('m') {
        Some(minutes) => format!("{minutes}min"),
        None => part.to_owned(),
    };
    text.split(' ').map(part).collect::<Vec<_>>().join(" ")
}

/// A log filter.
pub(super) struct FilterForm;

impl SettingForm for FilterForm {
    type Value = String;

    fn kind(&self) -> &'static str {
        "a level or a filter"
    }

    fn read(&self, node: &YamlNode) -> Result<String, String> {
        let text = scalar(node, self.kind())?;
        super::log_filter::parse(text)
            .map(|_| text.to_owned())
            .map_err(|problem| format!("must be a level such as info, or a filter: {problem}"))
    }

    fn show(&self, value: &String) -> Shown {
        Shown::Text(value.clone())
    }
}

/// One secret, or none.
pub(super) struct Hidden;

impl SettingForm for Hidden {
    type Value = Option<Secret>;

    fn kind(&self) -> &'static str {
        "a secret"
    }

    fn read(&self, node: &YamlNode) -> Result<Option<Secret>, String> {
        match &node.value {
            YamlValue::Null => Ok(None),
            _ => scalar(node, self.kind()).map(|text| Some(Secret::new(text))),
        }
    }

    fn show(&self, value: &Option<Secret>) -> Shown {
        value.as_ref().map_or(Shown::Absent, |_| Shown::Hidden(1))
    }
}

/// A list of secrets. A single text stands for a list of one, or of several with commas.
pub(super) struct List<T>(&'static str, PhantomData<T>);

impl<T> List<T> {
    pub(super) const fn hidden(kind: &'static str) -> List<T> {
        List(kind, PhantomData)
    }
}

/// Read from a node, with an error that does not show the text.
pub(crate) trait FromNode: Sized {
    fn from_node(node: &YamlNode) -> Result<Self, String>;
}

impl<T: FromNode> SettingForm for List<T> {
    type Value = Vec<T>;

    fn kind(&self) -> &'static str {
        self.0
    }

    fn read(&self, node: &YamlNode) -> Result<Vec<T>, String> {
        let items = match &node.value {
            YamlValue::Null => Vec::new(),
            YamlValue::List(items) => items.clone(),
            YamlValue::Text(text) => text
                .split(',')
                .filter(|part| !part.trim().is_empty())
                .map(|part| YamlNode {
                    tag: None,
                    value: YamlValue::Text(part.into()),
                    line: node.line,
                })
                .collect(),
            YamlValue::Mapping(_) => return Err(format!("must be a list of {}", self.0)),
        };
        let read = |(index, item)| {
            T::from_node(item)
                .map_err(|problem| format!("has an entry, number {}, that {problem}", index + 1))
        };
        items.iter().enumerate().map(read).collect()
    }

    fn show(&self, value: &Vec<T>) -> Shown {
        if value.is_empty() { Shown::Empty } else { Shown::Hidden(value.len()) }
    }

    fn add(&self, field: &mut Vec<T>, value: Vec<T>) {
        field.extend(value);
    }
}

/// A list of what can be shown. A single text stands for a list of one, or of several with commas.
pub(super) struct Words<T>(&'static str, PhantomData<T>);

impl<T> Words<T> {
    pub(super) const fn new(kind: &'static str) -> Words<T> {
        Words(kind, PhantomData)
    }
}

impl<T: FromStr<Err: Display> + Display> SettingForm for Words<T> {
    type Value = Vec<T>;

    fn kind(&self) -> &'static str {
        self.0
    }

    fn read(&self, node: &YamlNode) -> Result<Vec<T>, String> {
        let items = match &node.value {
            YamlValue::Null => Vec::new(),
            YamlValue::List(items) => {
                items.iter().map(|item| scalar(item, self.0)).collect::<Result<_, _>>()?
            }
            _ => scalar(node, self.0)?.split(',').collect(),
        };
        let words = items.into_iter().map(str::trim).filter(|word| !word.is_empty());
        let read =
            |word: &str| word.parse().map_err(|error| format!("must be {}: {error}", self.0));
        words.map(read).collect()
    }

    fn show(&self, value: &Vec<T>) -> Shown {
        match value.is_empty() {
            true => Shown::Empty,
            false => {
                Shown::Text(value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
