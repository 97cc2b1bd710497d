//! Sets the cfg that swaps `sync.rs` over to loom, and makes the copy of the library's sources that
//! has the mistakes of `mutation-tests/table.rs` built in.

#[path = "../mutation-tests/apply.rs"]
mod apply;

fn main() {
    println!("cargo:rustc-cfg=safepoint_loom");
    apply::apply(|file, text| {
        // The word's own models are part of its module, as the word is nobody else's to see.
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/word_models.rs");
        match file {
            "word.rs" => format!("{text}\n#[cfg(test)]\n#[path = {models:?}]\nmod models;\n"),
            _ => text,
        }
    });
}
