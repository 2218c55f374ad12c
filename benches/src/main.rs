//! The benchmarks as a program, for tests and profilers; `cargo bench` runs the same.

fn main() -> std::process::ExitCode {
    rstmdb_benches::main()
}
