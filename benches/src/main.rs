//! The benchmarks as a program, for tests and profilers; `cargo bench` runs the same.

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return rstmdb_benches::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("the benchmarks need Linux");
        std::process::ExitCode::FAILURE
    }
}
