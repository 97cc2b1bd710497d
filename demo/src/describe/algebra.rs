//! The types of values, and how they combine.

use crate::types::PgType;

/// The type in a register: `None` if only NULL was stored yet, and `Unknown` for any type.
pub(super) type Ty = Option<PgType>;

pub(super) const UNKNOWN: Ty = Some(PgType::Unknown);
pub(super) const INT: Ty = Some(PgType::Int8);
pub(super) const FLOAT: Ty = Some(PgType::Float8);
pub(super) const TEXT: Ty = Some(PgType::Text);

/// Returns the widest type of the same kind, with which SQLite computes.
pub(super) fn widen(ty: Ty) -> Ty {
    match ty {
        Some(PgType::Bool | PgType::Int2 | PgType::Int4) => INT,
        Some(PgType::Float4) => FLOAT,
        Some(PgType::Varchar) => TEXT,
        other => other,
    }
}

pub(super) fn join(a: Ty, b: Ty) -> Ty {
    if a == b || b.is_none() {
        return a;
    }
    if a.is_none() {
        return b;
    }
    match arithmetic(a, b) {
        UNKNOWN if widen(a) == widen(b) => widen(a),
        ty => ty,
    }
}

/// Returns the type of a sum or a product, by PostgreSQL's rules.
pub(super) fn arithmetic(a: Ty, b: Ty) -> Ty {
    use PgType::{Bool, Float4, Float8, Int2, Int4, Int8, Numeric};
    // In the order in which PostgreSQL converts.
    let rank = |ty: PgType| match ty {
        Int2 => Some(0),
        Int4 => Some(1),
        Int8 | Bool => Some(2),
        Numeric => Some(3),
        Float4 => Some(4),
        Float8 => Some(5),
        _ => None,
    };
    match (a?, b?) {
        (Float4, Float4) => Some(Float4),
        (a, b) => match (rank(a), rank(b)) {
            (Some(4..), Some(_)) | (Some(_), Some(4..)) => FLOAT,
            (Some(2), Some(..=2)) | (Some(..=2), Some(2)) => INT,
            (Some(one), Some(other)) => Some(if one >= other { a } else { b }),
            _ => UNKNOWN,
        },
    }
}

/// Returns the type of a value after it is stored in a column with this affinity.
pub(super) fn convert(ty: Ty, affinity: u8) -> Ty {
    match (affinity, widen(ty)) {
        (b'B', INT | FLOAT | Some(PgType::Numeric)) => TEXT,
        (b'C'..=b'F', TEXT) => UNKNOWN,
        (b'E', INT) => FLOAT,
        // A column has 64 bits.
        (b'D', INT) if ty != Some(PgType::Bool) => INT,
        _ => ty,
    }
}
