//! Measures rstmdb and its peers; `-- --help` says how.

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return rstmdb_benches::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("the benchmarks need Linux");
        std::process::ExitCode::FAILURE
    }
}
