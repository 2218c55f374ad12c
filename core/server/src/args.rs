//! The command line of the server, and what it adds to the configuration.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use rstmdb_server::config::Sources;
use rstmdb_server::control::Order;

/// The rstmdb server: state machines over the network.
///
/// Settings come from defaults, then the file, then the environment, then these flags; the later wins.
#[derive(Debug, Parser)]
#[command(name = "rstmdb", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration file, YAML; RSTMDB_CONFIG names one too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the database (storage.data_dir).
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The address to listen on (network.bind_addr).
    #[arg(long, value_name = "HOST:PORT")]
    bind: Option<String>,
    /// The address of metrics and health (metrics.bind_addr), or `off`.
    #[arg(long, value_name = "HOST:PORT|off")]
    metrics_bind: Option<String>,
    /// What is logged: a level or a filter (log.level).
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look: auto, json or pretty (log.format).
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any setting, such as storage.fsync_policy=never; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Refuse unknown settings and settings without effect, instead of warning.
    #[arg(long)]
    strict: bool,
    /// Say whether the configuration can be used, and start nothing.
    #[arg(long, group = "instead")]
    pub(crate) check_config: bool,
    /// Ask the running server whether it serves, and start nothing. Without other flags its own count,
    /// where it is the only one of this user (Linux).
    #[arg(long, group = "instead")]
    pub(crate) check_health: bool,
    /// Have the running server read its configuration again, and say how that went (server.control_socket).
    /// Without other flags its own count, as for --check-health.
    #[arg(long, group = "instead")]
    pub(crate) reload: bool,
    /// List the sessions that are open on the running server: whose they are and what they watch
    /// (server.control_socket). Without other flags those of its own count, as for --check-health.
    #[arg(long, group = "instead")]
    pub(crate) sessions: bool,
    /// End a session that --sessions lists. Take its token away first: a client connects again.
    #[arg(long, group = "instead", value_name = "SESSION")]
    pub(crate) end_session: Option<u64>,
    /// Print the configuration in force as YAML, without secrets, and start nothing.
    #[arg(long, group = "instead")]
    pub(crate) print_config: bool,
    /// Print a commented configuration file with every setting.
    #[arg(long, group = "instead")]
    pub(crate) print_example_config: bool,
    /// Print what makes a shell complete the flags: bash, zsh, fish, powershell or elvish.
    #[arg(long, group = "instead", value_name = "SHELL", value_enum, hide_possible_values = true)]
    pub(crate) print_completions: Option<Shell>,
    /// Print the manual page.
    #[arg(long, group = "instead")]
    pub(crate) print_man_page: bool,
    /// Print the reference of all settings as Markdown.
    #[arg(long, group = "instead", hide = true)]
    pub(crate) print_config_reference: bool,
}

const EXAMPLES: &str = "\
Examples:
  rstmdb
  rstmdb --data ./data --bind 127.0.0.1:7401
  rstmdb --config rstmdb.yaml --check-config
  rstmdb --set storage.fsync_policy=every_ms:10 --set compaction.enabled=false
  rstmdb --print-example-config > rstmdb.yaml
  RSTMDB_BIND=0.0.0.0:7401 RSTMDB_DATA=/data rstmdb --metrics-bind 0.0.0.0:9090

Signals:
  SIGTERM, SIGINT  stop cleanly; a second one stops at once
  SIGHUP           read the configuration, tokens and certificates again

Exit codes:
  0  stopped cleanly             8  unavailable: data locked, port taken, file error
  1  a fault inside rstmdb       9  stored data is damaged
  2  the configuration is wrong  3  the configuration file is not there";

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write KEY=VALUE, such as network.max_connections=100".to_owned()),
    }
}

impl Args {
    /// What the running server is asked, when it is.
    pub(crate) fn order(&self) -> Option<Order> {
        match self.end_session {
            Some(number) => Some(Order::End(number)),
            None if self.sessions => Some(Order::Sessions),
            None => self.reload.then_some(Order::Reload),
        }
    }

    /// What a system installs beside the program, when that is asked for.
    pub(crate) fn manual(&self) -> std::io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        if let Some(shell) = self.print_completions {
            clap_complete::generate(shell, &mut Args::command(), "rstmdb", &mut text);
        } else if self.print_man_page {
            clap_mangen::Man::new(Args::command()).render(&mut text)?;
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Where the server to ask has its configuration from: as given here, or its own flags and environment.
    pub(crate) fn of_running(&self, environment: Vec<(String, String)>) -> Sources {
        let has_own = self.config.is_some()
            || [&self.data, &self.bind, &self.metrics_bind].iter().any(|flag| flag.is_some())
            || !self.set.is_empty();
        let mut running = if has_own { Vec::new() } else { running() };
        match (running.pop(), running.is_empty()) {
            (Some(only), true) => only,
            _ => self.sources(environment),
        }
    }

    /// Where the configuration comes from, with this environment.
    pub(crate) fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        let mut overrides = self.set.clone();
        let mut add = |key: &str, value: &Option<String>| {
            overrides.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        };
        add("storage.data_dir", &self.data);
        add("network.bind_addr", &self.bind);
        add("log.level", &self.log_level);
        add("log.format", &self.log_format);
        match self.metrics_bind.as_deref() {
            Some("off") => add("metrics.enabled", &Some("false".to_owned())),
            Some(_) => {
                add("metrics.enabled", &Some("true".to_owned()));
                add("metrics.bind_addr", &self.metrics_bind);
            }
            None => {}
        }
        let named = environment.iter().find(|(name, _)| name == "RSTMDB_CONFIG");
        let named = named.map(|(_, path)| path.trim()).filter(|path| !path.is_empty());
        Sources {
            file: self.config.clone().or(named.map(PathBuf::from)),
            environment,
            overrides,
            strict: self.strict,
        }
    }
}

/// Where the servers that this user runs have their configuration from, as far as the system shows it.
fn running() -> Vec<Sources> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_process = |folder: PathBuf| {
        let program = std::fs::read_link(folder.join("exe")).ok()?;
        if program.file_name()? != "rstmdb" {
            return None;
        }
        let line = std::fs::read_to_string(folder.join("cmdline")).ok()?;
        let args = Args::try_parse_from(line.trim_end_matches('\0').split('\0')).ok()?;
        if args.check_health || args.order().is_some() {
            return None;
        }
        let variables = std::fs::read(folder.join("environ")).ok()?;
        let variables = variables.split(|byte| *byte == 0).filter_map(|variable| {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let mut sources = args.sources(variables.collect());
        // Its relative paths are meant from where it runs.
        let from = std::fs::read_link(folder.join("cwd")).unwrap_or_default();
        sources.file = sources.file.map(|file| from.join(file));
        Some(sources)
    };
    processes.filter_map(|process| of_process(process.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstmdb_server::config::Config;

    #[test]
    fn the_command_line_is_well_formed_and_its_examples_parse() {
        Args::command().debug_assert();
        let examples = EXAMPLES.split("\n\n").next().unwrap();
        for line in examples.lines().skip(1) {
            let line = line.split('>').next().unwrap();
            let words = line.split_whitespace().skip_while(|word| *word != "rstmdb");
            let args = Args::try_parse_from(words).unwrap();
            let mut sources = args.sources(Vec::new());
            sources.file = None;
            Config::load(&sources).unwrap();
        }
    }

    #[test]
    fn flags_set_what_they_say() {
        let args = Args::try_parse_from(
            "rstmdb --data d --bind h:1 --metrics-bind off --log-level debug --log-format json \
             --set limits.states_max=7"
                .split_whitespace(),
        );
        let config = Config::load(&args.unwrap().sources(Vec::new())).unwrap().config;
        assert_eq!(config.storage.data_dir, PathBuf::from("d"));
        assert_eq!(config.network.bind_addr.as_str(), "h:1");
        assert!(!config.metrics.enabled);
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.log.format.to_string(), "json");
        assert_eq!(config.limits.states_max, 7);
        assert!(Args::try_parse_from(["rstmdb", "--set", "x"]).is_err());
        assert!(Args::try_parse_from(["rstmdb", "--check-config", "--print-config"]).is_err());
    }
}
