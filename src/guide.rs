#![doc = include_str!("../docs/guide.md")]
// It links to all features.
#![cfg_attr(
    not(all(feature = "async", feature = "crossbeam-channel")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[doc = include_str!("../docs/operating.md")]
pub mod operating {}

#[doc = include_str!("../docs/limitations.md")]
pub mod limitations {}
