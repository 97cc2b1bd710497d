//! Sets the cfg that swaps `sync/mod.rs` over to shuttle, and makes the copy of the library's sources
//! that has the mistakes of `mutation-tests/table.rs` built in.

#[path = "../mutation-tests/apply.rs"]
mod apply;

fn main() {
    println!("cargo:rustc-cfg=safepoint_shuttle");
    apply::apply(|_, text| text);
}
