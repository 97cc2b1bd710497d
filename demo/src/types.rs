//! PostgreSQL types, and the conversions between their wire forms and SQLite's values.

mod cast;
mod convert;
mod decimal;
mod encode;
mod param;
mod time;
mod times;

pub(crate) use cast::cast;
pub(crate) use encode::encode;
pub(crate) use param::decode_param;
pub(crate) use time::timestamptz;
pub(crate) use times::{parse_interval, parse_timestamp};

use safepoint::Interrupt;

/// An error to report to the client under its SQLSTATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) sqlstate: &'static str,
    pub(crate) message: String,
}

impl SqlError {
    pub(crate) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into() }
    }
}

/// Ends long work on a value. The code that reports the error checks for a due interrupt first.
impl From<Interrupt> for SqlError {
    fn from(interrupt: Interrupt) -> SqlError {
        SqlError::new(interrupt.sqlstate(), interrupt.message())
    }
}

/// Counts the steps of a loop over bytes, and passes a safe point after many of them. A safe point
/// costs more than one byte does.
#[derive(Debug, Default)]
pub(crate) struct Steps(usize);

impl Steps {
    #[track_caller]
    pub(crate) fn step(&mut self) -> Result<(), Interrupt> {
        self.0 += 1;
        if self.0.is_multiple_of(CHUNK) { safepoint::check() } else { Ok(()) }
    }
}

/// The maximum length of a value, in bytes. SQLite's functions process a value without a safe
/// point, which takes some tens of milliseconds at this length.
pub(crate) const MAX_VALUE: i32 = 16 << 20;

/// The number of bytes of a value between two safe points.
pub(crate) const CHUNK: usize = 16 * 1024;

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    pub(crate) fn from_code(code: i16) -> Result<Self, SqlError> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(SqlError::new("22023", format!("unsupported format code: {code}"))),
        }
    }

    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// Returns the format of item `i` under Bind's rule. No codes mean text for all items, and one
    /// code is the format of all items. Otherwise there is one code for each item.
    pub(crate) fn pick(formats: &[Self], i: usize) -> Self {
        match formats {
            [one] => *one,
            many => many.get(i).copied().unwrap_or(Self::Text),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PgType {
    Bool,
    Bytea,
    Int8,
    Int2,
    Int4,
    Text,
    Float4,
    Float8,
    Varchar,
    Date,
    Timestamp,
    Timestamptz,
    Numeric,
    /// A time of a view of the server, which is a number in SQLite.
    Instant,
    Interval,
    Int4Array,
    Unknown,
    /// A text, or a value whose type is not known in a statement with times.
    Untyped,
    Other(u32),
}

/// Types that are texts or numbers in PostgreSQL's binary format too.
pub(crate) const NAME: u32 = 19;
pub(crate) const OID: u32 = 26;
pub(crate) const XID: u32 = 28;
pub(crate) const INET: u32 = 869;

impl PgType {
    pub(crate) fn from_oid(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 => Self::Text,
            700 => Self::Float4,
            701 => Self::Float8,
            0 | 705 => Self::Unknown,
            1043 => Self::Varchar,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1700 => Self::Numeric,
            1186 => Self::Interval,
            1007 => Self::Int4Array,
            oid => Self::Other(oid),
        }
    }

    pub(crate) fn oid(self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text => 25,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Unknown => 705,
            Self::Varchar => 1043,
            Self::Date => 1082,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Numeric => 1700,
            Self::Instant => 1184,
            Self::Interval => 1186,
            Self::Int4Array => 1007,
            Self::Untyped => 25,
            Self::Other(oid) => oid,
        }
    }

    /// Returns `pg_type.typlen`, which is negative for types of variable length.
    pub(crate) fn len(self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date | Self::Other(OID | XID) => 4,
            Self::Int8 | Self::Float8 | Self::Timestamp | Self::Timestamptz | Self::Instant => 8,
            Self::Interval => 16,
            Self::Other(NAME) => 64,
            Self::Unknown => -2,
            Self::Bytea
            | Self::Text
            | Self::Varchar
            | Self::Numeric
            | Self::Int4Array
            | Self::Untyped
            | Self::Other(_) => -1,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Bytea => "bytea",
            Self::Int8 => "bigint",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Text => "text",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Varchar => "character varying",
            Self::Date => "date",
            Self::Timestamp => "timestamp without time zone",
            Self::Timestamptz | Self::Instant => "timestamp with time zone",
            Self::Numeric => "numeric",
            Self::Interval => "interval",
            Self::Int4Array => "integer[]",
            Self::Untyped => "text",
            Self::Unknown => "unknown",
            Self::Other(_) => "other",
        }
    }

    /// Returns the type reported for a column with this declared type. Every integer of SQLite has
    /// 64 bits, and every other number is a double.
    pub(crate) fn from_decltype(decl: &str) -> Self {
        let decl = decl.to_ascii_uppercase();
        let has = |part: &str| decl.contains(part);
        // Without a precision.
        let plain = decl.split_once('(').map_or(&*decl, |(name, _)| name).trim();
        if plain == "DATE" {
            Self::Date
        } else if plain == "TIMESTAMPTZ" || (plain.starts_with("TIMESTAMP") && has("WITH TIME")) {
            Self::Timestamptz
        } else if plain == "TIMESTAMP" || plain.starts_with("TIMESTAMP ") {
            Self::Timestamp
        } else if has("NUMERIC") || has("DECIMAL") {
            Self::Numeric
        } else if matches!(decl.trim(), "BOOL" | "BOOLEAN") {
            Self::Bool
        } else if has("INT") || has("SERIAL") {
            Self::Int8
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") || has("BYTEA") {
            Self::Bytea
        } else if ["REAL", "FLOA", "DOUB"].into_iter().any(has) {
            Self::Float8
        } else {
            Self::Text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_go_both_ways() {
        for oid in [16, 17, 20, 21, 23, 25, 700, 701, 705, 1043, 1082, 1114, 1184, 1700, 2950] {
            assert_eq!(PgType::from_oid(oid).oid(), oid);
        }
        assert_eq!(PgType::from_oid(0), PgType::Unknown);
    }

    #[test]
    fn declared_types() {
        for (decl, ty) in [
            ("integer", PgType::Int8),
            ("INT", PgType::Int8),
            ("bigserial", PgType::Int8),
            ("boolean", PgType::Bool),
            ("Bool", PgType::Bool),
            ("double precision", PgType::Float8),
            ("float8", PgType::Float8),
            ("NUMERIC(10, 2)", PgType::Numeric),
            ("decimal", PgType::Numeric),
            ("blob", PgType::Bytea),
            ("bytea", PgType::Bytea),
            ("character varying(20)", PgType::Text),
            ("char(84)", PgType::Text),
            ("timestamp", PgType::Timestamp),
            ("timestamp(3) without time zone", PgType::Timestamp),
            ("timestamp with time zone", PgType::Timestamptz),
            ("TIMESTAMP(3) WITH TIME ZONE", PgType::Timestamptz),
            ("timestamptz", PgType::Timestamptz),
            ("date", PgType::Date),
            ("datetime", PgType::Text),
            ("", PgType::Text),
        ] {
            assert_eq!(PgType::from_decltype(decl), ty, "{decl}");
        }
    }

    #[test]
    fn formats_follow_binds_rule() {
        use Format::{Binary, Text};
        assert_eq!(Format::pick(&[], 3), Text);
        assert_eq!(Format::pick(&[Binary], 3), Binary);
        assert_eq!(Format::pick(&[Text, Binary], 0), Text);
        assert_eq!(Format::pick(&[Text, Binary], 1), Binary);
        assert_eq!(Format::from_code(1), Ok(Binary));
        assert_eq!(Format::from_code(2).unwrap_err().sqlstate, "22023");
    }
}
