fn main() {
    println!("cargo:rustc-cfg=safepoint_loom");
    println!("cargo:rerun-if-changed=build.rs");
}
