//! Where the database is: in a directory, in memory, or on a server, and how to reach that.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{Args, ValueHint};
use rstmdb::{RemoteOptions, Result, TlsOptions};

use crate::error;
use crate::quote::option;

/// Where a server is looked for when nothing else is said.
const DEFAULT_SERVER: &str = "127.0.0.1:7401";

const HEADING: &str = "Where the database is";

/// The options that say where the database is.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct ConnectionArgs {
    /// A server (HOST:PORT), several with commas between, or a URL (rstmdb://HOST?…); 127.0.0.1:7401
    /// when there is no --path either.
    #[arg(short, long, global = true, env = "RSTMDB_SERVER", hide_env_values = true,
        help_heading = HEADING, value_name = "HOST:PORT,…")]
    server: Option<String>,
    /// A directory to work on without a server, or `mem:` for a database in memory.
    #[arg(long, global = true, env = "RSTMDB_PATH", hide_env_values = true,
        help_heading = HEADING, value_name = "DIR", value_hint = ValueHint::DirPath)]
    path: Option<String>,
    /// The token that the server asks for; the variable hides it from other users of the machine.
    #[arg(short, long, global = true, env = "RSTMDB_TOKEN", hide_env_values = true,
        help_heading = HEADING, value_name = "TOKEN")]
    token: Option<String>,
    /// Connect with TLS, trusting the authorities of the system.
    #[arg(long, global = true, env = "RSTMDB_TLS", hide_env_values = true,
        help_heading = HEADING, value_parser = FalseyValueParser::new())]
    tls: bool,
    /// Connect with TLS, trusting the authorities in this PEM file alone.
    #[arg(long, global = true, env = "RSTMDB_CA_CERT", hide_env_values = true,
        help_heading = HEADING, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Connect with TLS and this client certificate (PEM).
    #[arg(long, global = true, env = "RSTMDB_CLIENT_CERT", hide_env_values = true,
        help_heading = HEADING, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The key of the client certificate (PEM).
    #[arg(long, global = true, env = "RSTMDB_CLIENT_KEY", hide_env_values = true,
        help_heading = HEADING, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// The name in the server's certificate; the host's when absent.
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    server_name: Option<String>,
    /// Connect with TLS and accept ANY certificate: whoever sits between can read and change
    /// everything, the token included.
    #[arg(short = 'k', long, global = true, help_heading = HEADING)]
    insecure: bool,
}

/// The names of these options, as clap knows them.
pub(crate) const OPTIONS: [&str; 9] = [
    "server",
    "path",
    "token",
    "tls",
    "ca_cert",
    "client_cert",
    "client_key",
    "server_name",
    "insecure",
];

/// Where a database is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// In a directory, or `mem:`.
    Here(String),
    /// On a server.
    There(Box<RemoteOptions>),
}

impl fmt::Display for Target {
    /// As people know it; never with a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Here(path) => f.write_str(path),
            Target::There(options) => {
                let names: Vec<_> = options.endpoints.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl Target {
    /// The directory, for what works on files.
    pub(crate) fn directory(&self, command: &str) -> Result<&str> {
        match self {
            Target::Here(path) => Ok(path),
            Target::There(_) => Err(error::usage(format!(
                "{command} works on a directory that no server has open: name it with --path"
            ))),
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Target::There(_))
    }
}

/// The options for a server, from HOST:PORT or a URL.
pub(crate) fn server(text: &str) -> Result<RemoteOptions> {
    let mut options = match is_url(text) {
        true => RemoteOptions::from_url(text),
        false => RemoteOptions::from_url(&format!("rstmdb://{text}")),
    }?;
    options.client_name = concat!("rstmdb-cli/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(options)
}

/// A list of servers, or a URL, without the token in it.
fn without_token(server: &str) -> String {
    let (scheme, rest) = match server.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), server),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, behind) = rest.split_at(end);
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    format!("{scheme}{hosts}{behind}")
}

/// Whether this names a server by a URL.
pub(crate) fn is_url(text: &str) -> bool {
    RemoteOptions::is_server(text)
}

impl ConnectionArgs {
    /// What names this place once more on a command line: the options that `said` finds there, without
    /// the token, which is nothing to print.
    pub(crate) fn repeated(&self, said: impl Fn(&str) -> bool) -> String {
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let server = self.server.as_deref().map(without_token);
        let values = [
            ("path", self.path.clone()),
            ("server", server),
            ("ca_cert", file(&self.ca_cert)),
            ("client_cert", file(&self.client_cert)),
            ("client_key", file(&self.client_key)),
            ("server_name", self.server_name.clone()),
        ];
        let mut text = String::new();
        for (name, value) in values {
            if let Some(value) = value.filter(|_| said(name)) {
                let option_name = format!("--{}", name.replace('_', "-"));
                text.push_str(&format!("{} ", option(&option_name, &value)));
            }
        }
        for name in ["tls", "insecure"].into_iter().filter(|name| said(name)) {
            text.push_str(&format!("--{name} "));
        }
        text
    }

    /// Takes this server instead of the one that was named.
    pub(crate) fn use_server(&mut self, server: Option<String>) {
        self.server = server;
    }

    /// Decides where the database is. `given` says what stands on the command line: that comes before
    /// the environment.
    pub(crate) fn place(&self, given: impl Fn(&str) -> bool) -> Result<Target> {
        let path_first = match (given("path"), given("server")) {
            (true, true) => {
                return Err(error::usage("--path and --server exclude each other; give one"));
            }
            (true, false) => true,
            (false, true) => false,
            (false, false) if self.path.is_some() && self.server.is_some() => {
                return Err(error::usage(
                    "RSTMDB_PATH and RSTMDB_SERVER are both set; unset one, or give --path or \
                     --server",
                ));
            }
            (false, false) => self.path.is_some(),
        };
        if !path_first {
            let server = self.server.as_deref().unwrap_or(DEFAULT_SERVER);
            return Ok(Target::There(Box::new(self.remote(server, given("token"))?)));
        }
        let path = self.path.clone().unwrap_or_default();
        if is_url(&path) {
            return Err(error::usage("--path takes a directory; give a server with --server"));
        }
        rstmdb::check_url(&path)?;
        if Path::new(&path).is_file() {
            return Err(error::usage(format!(
                "{path:?} is a file; --path takes the directory of a database"
            )));
        }
        let of_servers = OPTIONS.iter().find(|name| **name != "path" && given(name));
        if let Some(name) = of_servers {
            let name = name.replace('_', "-");
            return Err(error::usage(format!("--{name} is for servers; --path is a directory")));
        }
        Ok(Target::Here(path))
    }

    /// Options beat the URL, the URL beats the environment.
    fn remote(&self, text: &str, token_given: bool) -> Result<RemoteOptions> {
        let mut options = server(text)?;
        if token_given || options.token.is_none() {
            options.token = self.token.clone().filter(|token| !token.is_empty());
        }
        let wanted = self.tls
            || self.insecure
            || self.ca_cert.is_some()
            || self.client_cert.is_some()
            || options.tls.is_some();
        if !wanted {
            if self.client_key.is_some() || self.server_name.is_some() {
                return Err(error::usage(
                    "--client-key and --server-name are for TLS; add --tls, or --client-cert",
                ));
            }
            return Ok(options);
        }
        let tls: &mut TlsOptions = options.tls.get_or_insert_default();
        tls.insecure |= self.insecure;
        let set = |to: &mut Option<PathBuf>, from: &Option<PathBuf>| {
            if from.is_some() {
                to.clone_from(from);
            }
        };
        set(&mut tls.ca, &self.ca_cert);
        set(&mut tls.client_cert, &self.client_cert);
        set(&mut tls.client_key, &self.client_key);
        if self.server_name.is_some() {
            tls.server_name.clone_from(&self.server_name);
        }
        if tls.client_cert.is_some() != tls.client_key.is_some() {
            return Err(error::usage(
                "--client-cert and --client-key belong together; give both or none",
            ));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        connection: ConnectionArgs,
    }

    fn place(words: &[&str]) -> Result<Target> {
        let all: Vec<&str> = ["cli"].iter().chain(words).copied().collect();
        let parsed = Words::try_parse_from(all).unwrap();
        let given = |name: &str| {
            let name = format!("--{}", name.replace('_', "-"));
            words.contains(&name.as_str())
        };
        parsed.connection.place(given)
    }

    fn options(words: &[&str]) -> RemoteOptions {
        match place(words).unwrap() {
            Target::There(options) => *options,
            Target::Here(path) => panic!("{path} is no server"),
        }
    }

    #[test]
    fn without_a_word_it_is_the_server_of_this_machine() {
        assert_eq!(place(&[]).unwrap().to_string(), "127.0.0.1:7401");
        assert!(options(&[]).tls.is_none());
        assert_eq!(place(&["--server", "a,b:1"]).unwrap().to_string(), "a:7401,b:1");
        assert_eq!(place(&["--path", "d"]).unwrap().to_string(), "d");
    }

    #[test]
    fn any_option_of_tls_switches_it_on() {
        for words in [
            &["--tls"] as &[&str],
            &["--ca-cert", "c"],
            &["--insecure"],
            &["--client-cert", "c", "--client-key", "k"],
            &["--server", "rstmdbs://h"],
        ] {
            assert!(options(words).tls.is_some(), "{words:?}");
        }
        let tls = options(&["--tls", "--server-name", "n", "--ca-cert", "c"]).tls.unwrap();
        assert_eq!((tls.server_name.as_deref(), tls.insecure), (Some("n"), false));
    }

    #[test]
    fn a_token_on_the_command_line_beats_the_one_in_the_url() {
        let url = "rstmdb://u@h?request_timeout=2s";
        assert_eq!(options(&["--server", url]).token.as_deref(), Some("u"));
        assert_eq!(options(&["--server", url, "--token", "t"]).token.as_deref(), Some("t"));
        assert_eq!(options(&["--token", "t"]).token.as_deref(), Some("t"));
        assert_eq!(options(&["--token", ""]).token, None);
    }

    #[test]
    fn the_place_is_repeated_without_the_token() {
        let repeated = |words: &[&str]| {
            let all: Vec<&str> = ["cli"].iter().chain(words).copied().collect();
            let parsed = Words::try_parse_from(all).unwrap();
            parsed.connection.repeated(|name| {
                let name = format!("--{}", name.replace('_', "-"));
                words.iter().any(|word| word.split('=').next() == Some(&name))
            })
        };
        assert_eq!(repeated(&[]), "");
        assert_eq!(repeated(&["--path", "my data"]), "--path 'my data' ");
        assert_eq!(repeated(&["--path=-x"]), "--path=-x ");
        let url = "rstmdb://s3cret@h:1?request_timeout=2s";
        assert_eq!(
            repeated(&["--server", url, "--tls", "--token", "s3cret", "--ca-cert", "c d"]),
            "--server 'rstmdb://h:1?request_timeout=2s' --ca-cert 'c d' --tls "
        );
        assert_eq!(repeated(&["--server", "s3cret@h,g"]), "--server h,g ");
    }

    #[test]
    fn contradictions_are_explained() {
        for (words, expected) in [
            (&["--path", "d", "--server", "h"] as &[&str], "exclude each other"),
            (&["--path", "d", "--token", "s3cret"], "--token is for servers"),
            (&["--path", "rstmdb://s3cret@h"], "--server"),
            (&["--path", "s3cret@h:7401"], "looks like a server"),
            (&["--path", ":memory:"], "write mem:"),
            (&["--path", "~/data"], "only a shell"),
            (&["--server-name", "n"], "add --tls"),
            (&["--tls", "--client-cert", "c"], "belong together"),
            (&["--server", "h:x"], "port"),
        ] {
            let error = place(words).unwrap_err();
            assert!(error.message().contains(expected), "{words:?}: {error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{words:?}: {error:?}");
        }
    }
}
