//! Gives the shared library the name under which programs look for it: that of the interface's version.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // As RSTMDB_ABI_VERSION, which `tests/header` compares.
    let abi = 1;
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/librstmdb.{abi}.dylib")
        }
        Ok("windows") => {}
        _ => println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librstmdb.so.{abi}"),
    }
}
