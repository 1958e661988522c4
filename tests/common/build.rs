//! Runs the tests of this package more at a time than there are processors, since most of them wait.
//!
//! Cargo also gives the programs that `cargo test` starts what `rustc-env` sets. The published package
//! has no build script.

fn main() {
    const NAME: &str = "RUST_TEST_THREADS";
    println!("cargo::rerun-if-changed=tests/common/build.rs");
    println!("cargo::rerun-if-env-changed={NAME}");
    if std::env::var_os(NAME).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        println!("cargo::rustc-env={NAME}={}", 4 * processors);
    }
}
