//! Defaults, then the file, then the environment, then flags: the later wins.

use std::path::{Path, PathBuf};

use rstmdb_types::text::{decode, is_misnamed};
use rstmdb_types::{Error, ErrorCode, Result, error::reason};

use super::sections::PATH;
use super::setting::Setting;
use super::yaml::{YamlNode, YamlValue};
use super::{Config, apply, refused, table};

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The YAML file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables; those that are no settings are ignored, empty ones too.
    pub environment: Vec<(String, String)>,
    /// Settings given by key, such as `("network.bind_addr", "0.0.0.0:7401")`.
    pub overrides: Vec<(String, String)>,
    /// Whether what is only warned about otherwise is an error.
    pub strict: bool,
}

/// A configuration and what there is to say about it.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The configuration, valid.
    pub config: Config,
    /// What was ignored, each in a sentence that names it.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

pub(super) fn load(sources: &Sources) -> Result<LoadedConfig> {
    let mut config = Config::default();
    let mut warnings = Vec::new();
    if let Some(path) = &sources.file {
        read_file(path, &mut config, &mut warnings)?;
    }
    read_environment(&sources.environment, &mut config, &mut warnings)?;
    for (key, value) in &sources.overrides {
        let Some(setting) = table::find(key) else {
            return Err(refused(key, format!("there is no setting {}", unknown(key))));
        };
        (setting.set)(&mut config, &flag_value(value))
            .map_err(|problem| refused(setting.key, format!("{key} {problem}")))?;
    }
    config.validate()?;
    apply::remark(&config, &mut warnings);
    if sources.strict && !warnings.is_empty() {
        let message = format!("{} (an error because of --strict)", warnings.join("; "));
        return Err(Error::invalid(reason::INVALID_OPTION, message));
    }
    Ok(LoadedConfig { config, warnings, file: sources.file.clone() })
}

/// An empty value on the command line means none, as an empty one in YAML does.
fn flag_value(value: &str) -> YamlNode {
    match value {
        "" => YamlNode { tag: None, value: YamlValue::Null, line: 0 },
        text => YamlNode::text(text),
    }
}

/// A key between quotes, with the known one it resembles.
fn unknown(key: &str) -> String {
    let known = table::all().map(|setting| setting.key.to_owned());
    match table::closest(key, known) {
        Some(like) => format!("{key:?}; did you mean {like}?"),
        None => format!("{key:?}; `rstmdb --print-example-config` shows all"),
    }
}

fn read_file(path: &Path, config: &mut Config, warnings: &mut Vec<String>) -> Result<()> {
    let named = |error: Error| error.with("file", path.display().to_string());
    let text = read_text(path).map_err(|error| {
        let message = format!("can't read the configuration file {}: {error}", path.display());
        named(match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(ErrorCode::NotFound, message),
            _ if is_misnamed(&error) => Error::invalid(reason::INVALID_OPTION, message),
            _ => Error::new(ErrorCode::InternalError, message).with_reason(reason::IO),
        })
    })?;
    let root = YamlNode::parse(&text).map_err(|error| {
        let message = format!("{} is not YAML: {}", path.display(), error.message());
        named(Error::invalid(reason::INVALID_OPTION, message))
    })?;
    for (key, node) in flatten(path, root).map_err(named)? {
        let place = format!("{}, line {}", path.display(), node.line);
        match (table::find(&key), &node.value) {
            (Some(setting), _) => {
                let node = beside(path, setting, node, &place, warnings);
                (setting.set)(config, &node).map_err(|problem| {
                    let error = refused(setting.key, format!("{place}: {key} {problem}"));
                    named(error).with("line", node.line)
                })?;
            }
            (None, YamlValue::Null) if is_section(&key) => {}
            (None, _) => warnings.push(format!("{place}: there is no setting {}", unknown(&key))),
        }
    }
    Ok(())
}

/// The text of a file that people write.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(decode(&bytes)?.to_owned())
}

/// A relative path in a file is meant from where the file is: whoever starts the server elsewhere means
/// the same. Says so where something else was meant before.
fn beside(
    file: &Path,
    setting: &Setting,
    node: YamlNode,
    place: &str,
    warnings: &mut Vec<String>,
) -> YamlNode {
    let YamlValue::Text(text) = &node.value else { return node };
    let written = Path::new(text.trim());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (Some(folder), true) = (folder, setting.kind() == PATH && written.is_relative()) else {
        return node;
    };
    let meant = folder.join(written.strip_prefix(".").unwrap_or(written));
    if written.exists() && !meant.exists() {
        warnings.push(format!(
            "{place}: {} is {}, beside the file and not in the working directory, where there is \
             one too",
            setting.key,
            meant.display()
        ));
    }
    match meant.into_os_string().into_string() {
        Ok(meant) if !text.trim().is_empty() => YamlNode { value: YamlValue::Text(meant), ..node },
        _ => node,
    }
}

fn is_section(key: &str) -> bool {
    table::all().any(|setting| setting.section() == key)
}

/// The settings of a document by key: members of sections become `section.name`.
fn flatten(path: &Path, root: YamlNode) -> Result<Vec<(String, YamlNode)>> {
    let shape = |line: usize| {
        let path = path.display();
        let message = format!(
            "{path}, line {line}: expected sections with settings, such as network: bind_addr: …"
        );
        Error::invalid(reason::INVALID_OPTION, message)
    };
    let members = match root.value {
        YamlValue::Null => Vec::new(),
        YamlValue::Mapping(members) => members,
        _ => return Err(shape(root.line)),
    };
    let mut found = Vec::new();
    for (key, node) in members {
        let YamlValue::Text(section) = key.value else { return Err(shape(key.line)) };
        match node.value {
            YamlValue::Mapping(members) if is_section(&section) => {
                for (key, node) in members {
                    let YamlValue::Text(name) = key.value else { return Err(shape(key.line)) };
                    found.push((format!("{section}.{name}"), node));
                }
            }
            YamlValue::Text(_) | YamlValue::List(_) if is_section(&section) => {
                return Err(shape(node.line));
            }
            // A key that names its section itself, or one that is not known.
            _ => found.push((section, node)),
        }
    }
    Ok(found)
}

/// Variables of the command line client and of container systems, which are not settings.
const NOT_OURS: &[&str] =
    &["RSTMDB_CONFIG", "RSTMDB_TOKEN", "RSTMDB_PATH", "RSTMDB_OUTPUT", "RSTMDB_FSYNC"];

fn read_environment(
    environment: &[(String, String)],
    config: &mut Config,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let given = |name: &str| {
        let found = environment.iter().rfind(|(key, _)| key == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    for setting in table::all() {
        let variable = setting.variable();
        if let Some(value) = given(&variable) {
            (setting.add)(config, &YamlNode::text(value)).map_err(|problem| {
                refused(setting.key, format!("the environment variable {variable} {problem}"))
                    .with("variable", &*variable)
            })?;
        }
    }
    for (name, _) in environment {
        let known = |name: &str| table::all().any(|setting| setting.variable() == name);
        if !name.starts_with("RSTMDB_") || known(name) || NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        // Container systems set variables of their own by the name of a service: only what looks
        // like a slip is worth a warning.
        let variables = table::all().map(|setting| setting.variable().into_owned());
        if let Some(like) = table::closest(name, variables) {
            warnings.push(format!(
                "the environment variable {name} is not a setting; did you mean {like}?"
            ));
        }
    }
    Ok(())
}
