#![doc = include_str!("../docs/guide.md")]

#[doc = include_str!("../docs/operating.md")]
pub mod operating {}

#[doc = include_str!("../docs/limitations.md")]
pub mod limitations {}
