//! Makes the copy of the library's sources that has the mistakes built in.

#[path = "../apply.rs"]
mod apply;

fn main() {
    apply::apply(|_, text| text);
}
