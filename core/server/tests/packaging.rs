//! The packaging, as far as it can be looked at without building an image or installing a unit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rstmdb_server::config::{Config, SETTINGS, Sources};

fn read(path: &str) -> String {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The instructions with their arguments; lines that go on are joined.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let joined = dockerfile.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    let instructions = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        (name.to_uppercase(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    instructions.collect()
}

/// What is wrong with a Dockerfile.
fn problems(dockerfile: &str) -> Vec<String> {
    let instructions = instructions(dockerfile);
    let mut problems = Vec::new();
    let mut stages = Vec::new();
    for (name, rest) in &instructions {
        match name.as_str() {
            "FROM" => {
                let words: Vec<_> = rest.split(' ').collect();
                let tag = words[0].split_once(':').map_or("latest", |(_, tag)| tag);
                let digits = tag.chars().any(|c| c.is_ascii_digit());
                if !stages.contains(&words[0]) && !digits {
                    problems.push(format!("the base image {} is not pinned", words[0]));
                }
                stages.extend(words.get(2).copied());
            }
            "ADD" => problems.push("ADD fetches and unpacks by surprise; use COPY".to_owned()),
            "RUN" if rest.contains("sudo ") || rest.contains("| sh") || rest.contains("curl ") => {
                problems.push(format!("RUN {rest} runs what it has not checked"));
            }
            _ => {}
        }
    }
    let last = instructions.iter().rposition(|(name, _)| name == "FROM").unwrap_or(0);
    let last = &instructions[last..];
    let of = |wanted: &str| {
        let found = last.iter().rfind(|(name, _)| name == wanted);
        found.map(|(_, rest)| rest.as_str())
    };
    let user = of("USER").map(|user| user.split(':').next().unwrap());
    if user.is_none_or(|user| ["root", "0"].contains(&user)) {
        problems.push("it runs as root".to_owned());
    } else if user.is_some_and(|user| user.parse::<u32>().is_err()) {
        problems.push("a cluster can't see that its user is not root; give a number".to_owned());
    }
    if of("LABEL").is_none_or(|label| !label.contains("org.opencontainers.image.source=")) {
        problems.push("no label says where it comes from".to_owned());
    }
    for (name, rest) in &instructions {
        let installs = name == "RUN" && rest.contains("apt-get install");
        let is_lean = ["-y", "--no-install-recommends", "rm -rf /var/lib/apt/lists/*"];
        if installs && !is_lean.iter().all(|part| rest.contains(part)) {
            problems.push(format!("RUN {rest} leaves lists or takes more than it needs"));
        }
        if name == "RUN" && rest.contains("cargo build") {
            for (part, problem) in [
                ("--mount=type=cache", "it downloads and compiles everything again each time"),
                ("--locked", "it builds what was not tested"),
                ("strip", "its programs have symbols that nobody reads"),
            ] {
                if !rest.contains(part) {
                    problems.push(problem.to_owned());
                }
            }
        }
    }
    if !last.iter().any(|(_, rest)| rest.contains("ca-certificates")) {
        problems.push("it knows no certificate authorities".to_owned());
    }
    if of("HEALTHCHECK").is_none_or(|check| check == "NONE" || !check.contains("--timeout")) {
        problems.push("there is no health check with a timeout".to_owned());
    }
    if of("ENTRYPOINT").is_none_or(|entry| !entry.starts_with('[')) {
        problems
            .push("signals do not reach a program behind a shell; use the list form".to_owned());
    }
    if of("STOPSIGNAL") != Some("SIGTERM") {
        problems.push("STOPSIGNAL is not SIGTERM".to_owned());
    }
    problems
}

#[test]
fn the_image_is_well_made() {
    let dockerfile = read("Dockerfile");
    assert_eq!(problems(&dockerfile), [""; 0]);
    // The lint finds what it is for.
    let bad = "FROM debian\nADD https://example.org/x /x\nRUN curl x | sh\nENTRYPOINT rstmdb\n";
    assert_eq!(problems(bad).len(), 9);
    let bad = "FROM debian:12 AS a\nRUN cargo build\nFROM debian:12\nUSER rstmdb\nRUN apt-get install x\n";
    assert_eq!(problems(bad).len(), 10);

    let instructions = instructions(&dockerfile);
    // It asks as the server is configured: with TLS, with other ports, with a file.
    let check = instructions.iter().find(|(name, _)| name == "HEALTHCHECK").unwrap();
    assert!(check.1.ends_with(r#"CMD ["rstmdb", "--check-health"]"#), "{}", check.1);
    let environment = instructions.iter().rfind(|(name, _)| name == "ENV").unwrap();
    let environment: Vec<_> =
        environment.1.split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
    let sources = Sources {
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        strict: true,
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.network.bind_addr.as_str(), "0.0.0.0:7401");
    assert_eq!(config.metrics.bind_addr.as_str(), "0.0.0.0:9090");
    assert_eq!(config.storage.data_dir.to_str(), Some("/data"));
    // They are defaults: a file that is mounted wins.
    assert!(environment.iter().all(|(name, _)| name.starts_with("RSTMDB_DEFAULT_")));
    for (name, rest) in [("EXPOSE", "7401 9090"), ("VOLUME", "/data")] {
        assert!(instructions.contains(&(name.to_owned(), rest.to_owned())), "{name} {rest}");
    }
}

/// An image can't be built here, so what it takes from the repository is looked at: whether it is there.
#[test]
fn the_image_is_built_from_what_there_is() {
    let instructions = instructions(&read("Dockerfile"));
    let of = |wanted: &'static str| {
        instructions.iter().filter(move |(name, _)| name == wanted).map(|(_, rest)| &**rest)
    };
    // The toolchain file stays outside: the image has that version.
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let (name, tag) = of("FROM").next().unwrap().split_once(':').unwrap();
    let version = tag.split('-').next().unwrap();
    assert_eq!(name, "rust");
    assert!(format!("{}.", channel.trim_matches('"')).starts_with(&format!("{version}.")), "{tag}");
    assert!(read(".dockerignore").lines().any(|line| line == "rust-toolchain.toml"));
    // Who builds and who runs have the same C library.
    let releases: Vec<_> =
        of("FROM").map(|from| from.contains("bookworm") || from.contains("debian:12-")).collect();
    assert_eq!(releases, [true, true]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for copy in of("COPY").filter(|copy| !copy.starts_with("--from")) {
        let sources = copy.split(' ').rev().skip(1);
        sources.for_each(|source| assert!(root.join(source).exists(), "{source}"));
    }
    let lock = read("Cargo.lock");
    let run: Vec<_> = of("RUN").filter(|run| run.contains("cargo build")).collect();
    let words: Vec<_> = run[0].split(' ').collect();
    let packages = words.windows(2).filter(|pair| pair[0] == "--package");
    let packages: Vec<_> = packages.map(|pair| format!("name = \"{}\"\n", pair[1])).collect();
    assert!(packages.len() == 2 && packages.iter().all(|package| lock.contains(package)));
    let script = root.join(words.iter().find(|word| word.ends_with(".sh")).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_ne!(script.metadata().unwrap().permissions().mode() & 0o111, 0);
    }
    assert!(script.exists());
}

#[test]
fn the_unit_starts_what_there_is_and_gives_it_nothing_else() {
    let unit = read("packaging/systemd/rstmdb.service");
    let lines: Vec<_> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    for line in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "CapabilityBoundingSet=",
        "User=rstmdb",
        "StateDirectory=rstmdb",
        "Restart=on-failure",
        "Type=notify",
        "StateDirectoryMode=0700",
        "UMask=0077",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    // Defaults alone: what the file says wins.
    let variables: Vec<_> =
        SETTINGS.iter().copied().flatten().map(|setting| setting.packaged_variable()).collect();
    let set = lines.iter().filter_map(|line| line.strip_prefix("Environment="));
    for name in set.map(|pair| pair.split('=').next().unwrap()) {
        assert!(variables.iter().any(|variable| variable == name), "{name}");
    }
    // A stop takes at most this long beyond what the server waits for.
    let stop = lines.iter().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let stop: u64 = stop.parse().unwrap();
    assert!(stop > Config::default().server.shutdown_timeout.as_secs());
    let commands: Vec<_> = lines.iter().filter(|line| line.starts_with("Exec")).collect();
    assert_eq!(
        commands,
        [
            &"ExecStart=/usr/local/bin/rstmdb --config /etc/rstmdb/rstmdb.yaml",
            &"ExecReload=/usr/local/bin/rstmdb --config /etc/rstmdb/rstmdb.yaml --reload",
        ],
        "systemd tries again what fails before ExecStart, whatever its code"
    );
}

/// Everything below a folder, by its path there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
#[cfg(unix)]
fn packages_install_manual_pages_and_completions() {
    let built = Path::new(env!("CARGO_BIN_EXE_rstmdb")).parent().unwrap();
    if !built.join("rstmdb-cli").exists() {
        assert!(std::env::var_os("CI").is_none(), "rstmdb-cli is not built");
        eprintln!("rstmdb-cli is not built beside the server; installing is not tried");
        return;
    }
    let root = format!("{}/../..", env!("CARGO_MANIFEST_DIR"));
    let place = tempfile::tempdir().unwrap();
    let mut install = Command::new("make");
    install.args(["--no-print-directory", "-C", &format!("{root}/packaging"), "install"]);
    install.arg(format!("DESTDIR={}", place.path().display()));
    install.arg(format!("PROGRAMS={}", built.display())).arg("PREFIX=/usr");
    let output = install.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let prefix = place.path().join("usr");
    let files = files(&prefix);
    for program in ["rstmdb", "rstmdb-cli"] {
        for file in [
            format!("bin/{program}"),
            format!("share/man/man1/{program}.1"),
            format!("share/bash-completion/completions/{program}"),
            format!("share/zsh/site-functions/_{program}"),
            format!("share/fish/vendor_completions.d/{program}.fish"),
            format!("share/powershell/completions/{program}.ps1"),
        ] {
            assert!(files.contains(&file), "no {file} in {files:?}");
            assert!(std::fs::metadata(prefix.join(&file)).unwrap().len() > 100, "{file} is empty");
        }
    }
    assert!(files.contains(&"share/man/man1/rstmdb-cli-put-machine.1".to_owned()));
    let page = std::fs::read_to_string(prefix.join("share/man/man1/rstmdb.1")).unwrap();
    assert!(page.contains("SIGHUP") && page.contains("metrics"), "{page}");
    // What is not built is named.
    let output = install.arg("PROGRAMS=/nowhere").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nowhere/rstmdb is missing"), "{said}");
}

#[test]
fn the_log_has_colours_for_who_wants_them() {
    let place = tempfile::tempdir().unwrap();
    let log = |variables: &[(&str, &str)], format: &str| {
        let mut server = Command::new(env!("CARGO_BIN_EXE_rstmdb"))
            .args(["--metrics-bind", "off", "--bind", "127.0.0.1:0", "--log-format", format])
            .arg(format!("--data={}", place.path().join("data").display()))
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        line
    };
    let coloured = |text: &str| text.contains('\u{1b}');
    let forced = log(&[("CLICOLOR_FORCE", "1")], "pretty");
    assert!(coloured(&forced), "{forced}");
    for (variables, format) in [
        (&[] as &[(&str, &str)], "pretty"),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], "pretty"),
        (&[("CLICOLOR_FORCE", "0")], "pretty"),
        (&[("CLICOLOR_FORCE", "1")], "json"),
    ] {
        let text = log(variables, format);
        assert!(!coloured(&text), "{variables:?} {format}: {text}");
    }
}
