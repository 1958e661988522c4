//! Has `cargo test` run more tests at a time than there are processors, since most of them wait.
//!
//! What `rustc-env` sets, Cargo also gives to the programs that it runs. It is the same whatever the
//! environment says: a test that calls Cargo must not lead to another build. `-- --test-threads=1`
//! has them run one by one. The published package has no build script.

fn main() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("cargo::rustc-env=RUST_TEST_THREADS={}", 8 * processors);
    println!("cargo::rerun-if-changed=tests/common/build.rs");
}
