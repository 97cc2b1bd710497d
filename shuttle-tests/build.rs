fn main() {
    println!("cargo:rustc-cfg=safepoint_shuttle");
    println!("cargo:rerun-if-changed=build.rs");
}
