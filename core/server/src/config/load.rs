//! Defaults, those of a package, then the file, then the environment, then flags: the later wins.

use std::path::{Path, PathBuf};

use rstmdb_types::text::{decode, is_misnamed};
use rstmdb_types::{Error, ErrorCode, Result, error::reason};

use super::forms::{PATH, check_path};
use super::origin::{Origin, Origins};
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
#[derive(Debug, Clone, Default)]
pub struct LoadedConfig {
    /// The configuration, valid.
    pub config: Config,
    /// What was ignored, each in a sentence that names it.
    pub warnings: Vec<String>,
    /// What was written and has no effect because another source wins, each in a sentence.
    pub overridden: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The settings that somebody chose, by key; the others have a default.
    pub chosen: Vec<&'static str>,
}

impl LoadedConfig {
    /// Whether somebody chose the value of this setting; else it is a default, perhaps of a package.
    pub fn is_chosen(&self, key: &str) -> bool {
        self.chosen.contains(&key)
    }
}

pub(super) fn load(sources: &Sources) -> Result<LoadedConfig> {
    let mut reading = Reading::default();
    reading.read(sources);
    if let Some(problem) = reading.problem {
        return Err(problem);
    }
    let Reading { config, mut warnings, origins, .. } = reading;
    config.validate()?;
    apply::remark(&config, &mut warnings);
    if sources.strict && !warnings.is_empty() {
        let message = format!("{} (an error because of --strict)", warnings.join("; "));
        return Err(Error::invalid(reason::INVALID_OPTION, message));
    }
    let (chosen, overridden) = (origins.chosen(), origins.overridden());
    Ok(LoadedConfig { config, warnings, overridden, file: sources.file.clone(), chosen })
}

/// What can be read of a configuration, whatever is wrong with the rest of it. What was to keep strangers out and
/// can't be read counts as a yes.
pub(super) fn as_far_as_readable(sources: &Sources) -> Config {
    let mut reading = Reading::default();
    reading.read(sources);
    let Reading { mut config, unreadable, .. } = reading;
    config.auth.required |= unreadable.contains(&"auth.required");
    config.tls.require_client_cert |= unreadable.contains(&"tls.require_client_cert");
    config
}

/// A configuration that is being read. After the first problem the rest is read all the same.
#[derive(Default)]
struct Reading {
    config: Config,
    warnings: Vec<String>,
    origins: Origins,
    problem: Option<Error>,
    /// The settings whose values can't be read.
    unreadable: Vec<&'static str>,
}

impl Reading {
    fn read(&mut self, sources: &Sources) {
        let environment = &sources.environment;
        for setting in table::all() {
            let variable = setting.packaged_variable();
            self.read_variable(environment, setting, variable, Origin::Package);
        }
        if let Some(path) = &sources.file
            && let Err(problem) = self.read_file(path)
        {
            self.problem.get_or_insert(problem);
        }
        for setting in table::all() {
            let variable = setting.variable().into_owned();
            self.read_variable(environment, setting, variable, Origin::Environment);
        }
        self.warn_of_slips(environment);
        for (key, value) in &sources.overrides {
            let Some(setting) = table::find(key) else {
                let problem = refused(key, format!("there is no setting {}", unknown(key)));
                self.problem.get_or_insert(problem);
                continue;
            };
            let named = |problem: String| refused(setting.key, format!("{key} {problem}"));
            self.set(setting, &flag_value(value), Origin::Flag, named);
        }
    }

    fn set(
        &mut self,
        setting: &'static Setting,
        node: &YamlNode,
        origin: Origin,
        named: impl FnOnce(String) -> Error,
    ) {
        if let Err(problem) = self.origins.set(&mut self.config, setting, node, origin) {
            self.problem.get_or_insert_with(|| named(problem));
            self.unreadable.push(setting.key);
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let named = |error: Error| error.with("file", path.display().to_string());
        check_path(&path.display().to_string()).map_err(|problem| {
            let message = format!("the configuration file {problem}");
            named(Error::invalid(reason::INVALID_OPTION, message))
        })?;
        let text = read_text(path).map_err(|error| {
            let message = format!("can't read the configuration file {}: {error}", path.display());
            named(match error.kind() {
                std::io::ErrorKind::NotFound => Error::new(ErrorCode::NotFound, message),
                // Trying again does not help: who runs the server may not read it.
                std::io::ErrorKind::PermissionDenied => {
                    let advice = "let the user of the server read it";
                    Error::invalid(reason::INVALID_OPTION, format!("{message}; {advice}"))
                }
                _ if is_misnamed(&error) => Error::invalid(reason::INVALID_OPTION, message),
                _ => Error::new(ErrorCode::InternalError, message).with_reason(reason::IO),
            })
        })?;
        let root = YamlNode::parse(&text).map_err(|error| {
            let message = format!("{} is not YAML: {}", path.display(), error.message());
            named(Error::invalid(reason::INVALID_OPTION, message))
        })?;
        for (key, node) in flatten(path, root).map_err(named)? {
            let line = node.line;
            let place = format!("{}, line {line}", path.display());
            match (table::find(&key), &node.value) {
                (Some(setting), _) => {
                    let node = beside(path, setting, node, &place, &mut self.warnings);
                    self.set(setting, &node, Origin::file(path, line), |problem| {
                        let error = refused(setting.key, format!("{place}: {key} {problem}"));
                        named(error).with("line", line)
                    });
                }
                (None, YamlValue::Null) if is_section(&key) => {}
                (None, _) => {
                    self.warnings.push(format!("{place}: there is no setting {}", unknown(&key)));
                }
            }
        }
        Ok(())
    }

    fn read_variable(
        &mut self,
        environment: &[(String, String)],
        setting: &'static Setting,
        variable: String,
        origin: fn(String) -> Origin,
    ) {
        let found = environment.iter().rfind(|(key, _)| *key == variable);
        let Some(value) = found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        else {
            return;
        };
        let named = |problem: String| {
            refused(setting.key, format!("the environment variable {variable} {problem}"))
                .with("variable", &*variable)
        };
        self.set(setting, &YamlNode::text(value), origin(variable.clone()), named);
    }

    fn warn_of_slips(&mut self, environment: &[(String, String)]) {
        let variables = || {
            table::all()
                .flat_map(|setting| [setting.variable().into_owned(), setting.packaged_variable()])
        };
        for (name, _) in environment {
            let known = |name: &str| variables().any(|variable| variable == name);
            if !name.starts_with("RSTMDB_") || NOT_OURS.contains(&name.as_str()) || known(name) {
                continue;
            }
            // Container systems set variables of their own by the name of a service: only what looks
            // like a slip is worth a warning.
            if let Some(like) = table::closest(name, variables()) {
                self.warnings.push(format!(
                    "the environment variable {name} is not a setting; did you mean {like}?"
                ));
            }
        }
    }
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
    if check_path(text).is_err() {
        // Refused when it is read; no folder before it may hide what it is.
        return node;
    }
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
