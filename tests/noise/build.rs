fn main() {
    println!("cargo::rustc-cfg=lanpeer_noise");
    println!("cargo::rerun-if-changed=build.rs");
}
