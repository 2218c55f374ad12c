//! Measures rstmdb and its peers; `-- --help` says how.

fn main() -> std::process::ExitCode {
    rstmdb_benches::main()
}
