fn main() {
    println!("cargo::rustc-cfg=lanpeer_simulation");
    println!("cargo::rerun-if-changed=build.rs");
}
