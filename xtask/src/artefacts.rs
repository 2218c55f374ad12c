//! What is published holds no path of the machine that built it, and needs no newer C library than it says.
//!
//! `pathless` runs a command in whose cargo builds such paths get other names; `check` looks at what came out.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use object::elf::FileHeader64;
use object::endian::Endianness;
use object::read::elf::FileHeader;

use crate::tree;

/// The C library that something is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Libc {
    /// Whichever the machine has.
    Any,
    /// glibc of this version at most.
    Glibc(u32, u32),
    Musl,
}

/// What systems with musl have of this; they have no versions of symbols.
const SYSTEM_MUSL: &[&str] = &["ld-musl-", "libc.musl-", "libc.so", "libgcc_s."];

/// What programs that run on any Linux with glibc may be linked with.
const SYSTEM: &[&str] =
    &["ld-linux-", "libc.", "libdl.", "libgcc_s.", "libm.", "libpthread.", "librt.", "libutil."];

/// Runs a command; cargo and the C compilers under it write other names for the folders of this machine.
pub fn pathless(command: &[&str]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else {
        eprintln!("pathless: name a command, such as cargo build --release");
        return ExitCode::from(2);
    };
    let mut flags = rust_flags();
    flags.extend(remapped());
    let mut run = Command::new(program);
    run.args(arguments).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // What `cargo run` told this program is not for the command.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            run.env_remove(&*name);
        }
    }
    if cfg!(unix) {
        // For the C in what we depend on, which cargo's flags do not reach.
        let given = std::env::var("CFLAGS").unwrap_or_default();
        let maps =
            places().into_iter().map(|(path, name)| format!(" -ffile-prefix-map={path}={name}"));
        run.env("CFLAGS", maps.fold(given, |flags, map| flags + &map));
    }
    match run.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("pathless: {program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What tells rustc the other names.
fn remapped() -> Vec<String> {
    places().into_iter().map(|(path, name)| format!("--remap-path-prefix={path}={name}")).collect()
}

/// The flags that the caller gave, as cargo reads them.
fn rust_flags() -> Vec<String> {
    let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags = if encoded.is_empty() { flags.split(' ') } else { encoded.split('\u{1f}') };
    flags.filter(|flag| !flag.is_empty()).map(str::to_owned).collect()
}

/// The folders of this machine that builds know of, and what they are called instead. Of several that fit, the
/// compilers take the last.
fn places() -> Vec<(String, &'static str)> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let home = home.map(PathBuf::from);
    let under_home = |variable: &str, folder: &str| {
        let set = std::env::var_os(variable).map(PathBuf::from);
        set.or_else(|| home.as_ref().map(|home| home.join(folder)))
    };
    let root = tree::root();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |target| root.join(target));
    [
        (home.clone(), "/home"),
        (under_home("RUSTUP_HOME", ".rustup"), "/rustup"),
        (under_home("CARGO_HOME", ".cargo"), "/cargo"),
        (Some(root), "/rstmdb"),
        (Some(target), "/rstmdb/target"),
    ]
    .into_iter()
    .filter_map(|(path, name)| Some((path?.to_str()?.to_owned(), name)))
    .filter(|(path, _)| path.len() > 1)
    .collect()
}

/// Looks at programs, libraries, wheels and archives: `[--glibc VERSION | --musl] FILE...`.
pub fn check(arguments: &[&str]) -> ExitCode {
    let (libc, files) = match arguments {
        ["--glibc", version, files @ ..] => {
            (numbers(version).map(|(major, minor)| Libc::Glibc(major, minor)), files)
        }
        ["--musl", files @ ..] => (Some(Libc::Musl), files),
        files => (Some(Libc::Any), files),
    };
    let Some(libc) = libc.filter(|_| !files.is_empty()) else {
        eprintln!("usage: cargo xtask artefacts [--glibc 2.28 | --musl] FILE...");
        return ExitCode::from(2);
    };
    let mut problems = Vec::new();
    let mut looked_at = 0;
    for file in files {
        let found = unpacked(Path::new(file), &mut |name, bytes| {
            looked_at += 1;
            problems.extend(
                problems_of(bytes, libc).into_iter().map(|p| format!("{file}: {name}: {p}")),
            );
        });
        problems.extend(found.err().map(|error| format!("{file}: {error}")));
    }
    for problem in &problems {
        eprintln!("artefacts: {problem}");
    }
    if problems.is_empty() && looked_at > 0 {
        println!(
            "artefacts: no path of this machine in {looked_at} files, {}",
            match libc {
                Libc::Glibc(major, minor) =>
                    format!("and none needs more than glibc {major}.{minor}"),
                Libc::Musl => "and none needs more than musl".to_owned(),
                Libc::Any => "whatever C library they need".to_owned(),
            }
        );
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Hands over the file, or each file in it when it is an archive.
fn unpacked(file: &Path, look: &mut dyn FnMut(&str, &[u8])) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut unpack = if name.ends_with(".whl") {
        let mut python = Command::new(if cfg!(windows) { "python" } else { "python3" });
        python.args(["-m", "zipfile", "-e"]).arg(file);
        python
    } else if name.ends_with(".tgz") || name.ends_with(".tar.gz") {
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(file).arg("-C");
        tar
    } else {
        look(&name, &std::fs::read(file).map_err(|error| error.to_string())?);
        return Ok(());
    };
    let folder = std::env::temp_dir().join(format!("rstmdb-artefacts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let done = unpack.arg(&folder).status();
    let looked = match done {
        Ok(status) if status.success() => walk(&folder, look),
        Ok(status) => Err(format!("can't be unpacked: {status}")),
        Err(error) => Err(format!("can't be unpacked: {error}")),
    };
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    looked
}

fn walk(folder: &Path, look: &mut dyn FnMut(&str, &[u8])) -> Result<(), String> {
    for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            walk(&path, look)?;
        } else if !path.is_symlink() {
            let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
            look(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes);
        }
    }
    Ok(())
}

/// What is wrong with the bytes of one file.
fn problems_of(bytes: &[u8], libc: Libc) -> Vec<String> {
    let mut problems: Vec<String> = places()
        .into_iter()
        .filter_map(|(path, _)| {
            let at = memchr::memmem::find_iter(bytes, path.as_bytes())
                .find(|at| ends_there(&path, bytes.get(at + path.len())))?;
            let end = bytes[at..].iter().position(|byte| !(b' '..=b'~').contains(byte));
            let text = &bytes[at..end.map_or(bytes.len(), |end| at + end).min(at + 160)];
            Some(format!("has a path of this machine in it: {}", String::from_utf8_lossy(text)))
        })
        .collect();
    let (system, newest) = match libc {
        Libc::Any => return problems,
        Libc::Glibc(major, minor) => (SYSTEM, (major, minor)),
        Libc::Musl => (SYSTEM_MUSL, (0, 0)),
    };
    if let Ok(header) = FileHeader64::<Endianness>::parse(bytes) {
        match needs(header, bytes) {
            Ok((libraries, versions)) => {
                problems.extend(
                    libraries
                        .into_iter()
                        .filter(|name| !is_of(system, name))
                        .map(|name| format!("needs {name}, which not every system has")),
                );
                problems.extend(
                    versions
                        .into_iter()
                        .filter(|name| name.strip_prefix("GLIBC_").and_then(numbers) > Some(newest))
                        .map(|name| format!("needs {name}")),
                );
            }
            Err(error) => problems.push(format!("can't be read: {error}")),
        }
    }
    problems
}

/// Whether a library is one of those. The name of a C library is whole where it is that of another one with more.
fn is_of(system: &[&str], library: &str) -> bool {
    system.iter().any(|known| match *known {
        "libc.so" => library == "libc.so",
        known => library.starts_with(known),
    })
}

/// Whether a path ends before this byte: another name may begin alike. A short one, such as `/root`, must go on.
fn ends_there(path: &str, next: Option<&u8>) -> bool {
    let is_short = Path::new(path).components().count() < 3;
    next.map_or(!is_short, |&next| {
        char::from(next) == std::path::MAIN_SEPARATOR
            || !(is_short || next.is_ascii_alphanumeric() || b"-_.".contains(&next))
    })
}

/// The libraries that a program or library is linked with, and the versions of symbols that it asks them for.
fn needs(
    header: &FileHeader64<Endianness>,
    bytes: &[u8],
) -> object::read::Result<(Vec<String>, Vec<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let mut libraries = Vec::new();
    let dynamic = sections.dynamic_table(endian, bytes)?;
    for entry in dynamic.iter() {
        if entry.tag == object::elf::DT_NEEDED {
            libraries.push(text(dynamic.string(entry)?));
        }
    }
    let mut versions = Vec::new();
    if let Some((mut files, link)) = sections.gnu_verneed(endian, bytes)? {
        let strings = sections.strings(endian, bytes, link)?;
        while let Some((_, mut needed)) = files.next()? {
            while let Some(version) = needed.next()? {
                versions.push(text(version.name(endian, strings)?));
            }
        }
    }
    Ok((libraries, versions))
}

/// The first two numbers of a version such as `2.28` or `2.2.5`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_path_of_this_machine_is_in_a_file() {
        let place = tree::root().join("core/engine/src/lib.rs");
        let text = format!("before\0{}\0after", place.display());
        let problems = problems_of(text.as_bytes(), Libc::Any);
        assert!(
            problems.iter().any(|problem| problem.ends_with("core/engine/src/lib.rs")),
            "{problems:?}"
        );
        assert_eq!(problems_of(b"/rstmdb/core/engine/src/lib.rs", Libc::Any), Vec::<String>::new());
    }

    #[test]
    fn cargo_is_told_other_names_for_the_folders_of_this_machine() {
        let folder = std::env::temp_dir().join(format!("rstmdb-pathless-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let source = folder.join("place.rs");
        std::fs::write(&source, "pub fn place() -> &'static str { file!() }").unwrap();
        let rustc = |flags: &[String]| {
            let object = folder.join("place.o");
            let mut rustc = Command::new("rustc");
            rustc.args(["--crate-type=lib", "--emit=obj", "-g", "-o"]).arg(&object).arg(&source);
            assert!(rustc.args(flags).current_dir(tree::root()).status().unwrap().success());
            problems_of(&std::fs::read(object).unwrap(), Libc::Any)
        };
        assert!(!rustc(&[]).is_empty(), "debuggers are told where rustc ran");
        assert_eq!(rustc(&remapped()), Vec::<String>::new());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn says_which_version_of_the_c_library_is_too_new() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let versions = |glibc: (u32, u32)| {
            let mut problems = problems_of(&program, Libc::Glibc(glibc.0, glibc.1));
            problems.retain(|problem| problem.starts_with("needs "));
            problems
        };
        assert_eq!(versions((99, 0)), Vec::<String>::new());
        assert!(
            versions((2, 0)).contains(&"needs GLIBC_2.2.5".to_owned())
                || cfg!(not(target_arch = "x86_64"))
        );
        assert!(!versions((2, 0)).is_empty());
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_is_linked_with_glibc_is_nothing_for_musl() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let problems = problems_of(&program, Libc::Musl);
        let needs = |what| problems.iter().any(|problem| problem.starts_with(what));
        assert!(needs("needs libc.so.6, which"), "{problems:?}");
        assert!(needs("needs GLIBC_2."), "{problems:?}");
        assert!(is_of(SYSTEM_MUSL, "libc.so") && is_of(SYSTEM_MUSL, "libc.musl-x86_64.so.1"));
    }
}
