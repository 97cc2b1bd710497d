//! The rules for each instruction: which types it requires of its registers, which times it must not
//! have, and which types its results have.

use rusqlite::Result;

use super::Program;
use crate::describe::algebra::{FLOAT, INT, TEXT, Ty, UNKNOWN, arithmetic, convert, join, widen};
use crate::describe::explain::Op;
use crate::describe::variables::{Cell, join_all, join_registers};
use crate::describe::{functions, schema, times};
use crate::types::PgType;

/// The type of numbers that a cast makes `integer`, and not `bigint`.
const SMALL: u32 = 23;

/// The source of a cursor's columns.
#[derive(Clone)]
pub(super) enum Source {
    Stored {
        root: i64,
        database: i64,
        keyed: bool,
        /// The types of the columns, once they are needed.
        columns: Option<Vec<Ty>>,
    },
    /// A table created while the statement runs, with the types of the inserted values.
    Made(Vec<Cell>),
    /// A pseudo-table over the record in a register.
    Record(i64),
    /// A duplicate of another cursor.
    Dup(i64),
}

impl Program<'_> {
    /// Notes the types that a comparison or a search requires of its registers.
    pub(super) fn compares(&mut self, op: &Op) -> Result<()> {
        let &Op { p1, p2, p3, .. } = op;
        match op.opcode.as_str() {
            "Eq" | "Ne" | "Lt" | "Le" | "Gt" | "Ge" => self.same_type(p1, p3),
            "SeekRowid" | "NotExists" => self.has_type(p3, INT),
            "MustBeInt" => self.has_type(p1, INT),
            "SeekGE" | "SeekGT" | "SeekLE" | "SeekLT" | "IdxGE" | "IdxGT" | "IdxLE" | "IdxLT"
            | "Found" | "NotFound" | "NoConflict" => {
                let keys = op.p4.parse::<i64>().unwrap_or(0);
                if keys == 0 && op.opcode.starts_with("Seek") {
                    // The key of a table is its rowid.
                    self.has_type(p3, INT);
                }
                for key in 0..keys.clamp(0, 1 << 15) {
                    let cell = self.cell(p3 + key);
                    let column = self.column(p1, key)?;
                    self.unify(cell, column);
                }
            }
            // In a coroutine, which other code resumes by the same instruction with a jump.
            "Yield" if p2 == 0 => {
                let now = self.now.clone();
                let all = self.yielded.entry(p1).or_default();
                join_registers(&mut self.variables, all, &now);
            }
            "Yield" => {
                if let Some(all) = self.yielded.remove(&p1) {
                    join_registers(&mut self.variables, &mut self.now, &all);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Rejects what would be wrong for times.
    pub(super) fn check(&self, op: &Op) -> Result<()> {
        if !self.has_times {
            return Ok(());
        }
        match op.opcode.as_str() {
            "Eq" | "Ne" | "Lt" | "Le" | "Gt" | "Ge" => {
                times::compare(&op.opcode, self.get(op.p3), self.get(op.p1))
            }
            "Concat" | "BitAnd" | "BitOr" | "ShiftLeft" | "ShiftRight" => {
                times::arithmetic(&op.opcode, self.get(op.p2), self.get(op.p1)).map(drop)
            }
            "Cast" => times::cast(self.get(op.p1)),
            // `IN` with a list, which is a table.
            "Found" | "NotFound" | "NoConflict" => {
                let record = self.now.records.get(&op.p3).and_then(|record| record.first());
                let value = record.map_or_else(|| self.get(op.p3), |cell| cell.ty);
                match self.cursors.get(&self.home(op.p1)) {
                    Some(Source::Made(columns)) => {
                        times::compare("Eq", value, columns.first().and_then(|cell| cell.ty))
                    }
                    _ => Ok(()),
                }
            }
            "Insert" | "IdxInsert" => match self.cursors.get(&self.home(op.p1)) {
                Some(Source::Stored { .. }) => {
                    let record = self.now.records.get(&op.p2);
                    record.map_or(Ok(()), |record| times::store(record.iter().map(|cell| cell.ty)))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn step(&mut self, op: &Op) -> Result<()> {
        let &Op { p1, p2, p3, .. } = op;
        match op.opcode.as_str() {
            // A number in the statement, as PostgreSQL takes it.
            "Integer" => self.set(p2, Some(PgType::Int4)),
            "Int64" | "Rowid" | "IdxRowid" | "NewRowid" | "Count" | "Sequence" | "BitNot"
            | "Not" | "IsTrue" | "ZeroOrNull" | "RowSetRead" | "Offset" => {
                let out = match op.opcode.as_str() {
                    "RowSetRead" | "Offset" => p3,
                    _ => p2,
                };
                self.set(out, INT);
            }
            "Real" => self.set(p2, FLOAT),
            "RealAffinity" if widen(self.get(p1)) == INT => {
                let cell = self.cell(p1);
                self.set(p1, Cell { ty: FLOAT, ..cell });
            }
            "Affinity" => self.convert_range(p1, &op.p4),
            "String8" | "String" => self.set(p2, TEXT),
            "Concat" => {
                self.has_type(p1, TEXT);
                self.has_type(p2, TEXT);
                self.set(p3, TEXT);
            }
            "Blob" => self.set(p2, Some(PgType::Bytea)),
            "Null" | "SoftNull" => {
                let (from, to) = match op.opcode.as_str() {
                    "Null" => (p2, p3.max(p2)),
                    _ => (p1, p1),
                };
                (from..=to.min(from + (1 << 15))).for_each(|r| self.set(r, Cell::default()));
            }
            "Variable" => {
                let index = usize::try_from(p1 - 1).unwrap_or(usize::MAX);
                let variable = self.parameters.get(index).map(|n| n - 1);
                let ty = variable.and_then(|variable| self.variables.ty(variable)).or(UNKNOWN);
                self.set(p2, Cell { ty, variable });
            }
            "Add" | "Subtract" | "Multiply" | "Divide" | "Remainder" => {
                self.same_type(p1, p2);
                // The second operand is the left one.
                let (right, left) = (self.get(p1), self.get(p2));
                let time = times::arithmetic(&op.opcode, left, right)?;
                self.set(p3, time.unwrap_or_else(|| arithmetic(right, left)));
            }
            "BitAnd" | "BitOr" | "ShiftLeft" | "ShiftRight" | "And" | "Or" => self.set(p3, INT),
            "Cast" => {
                let ty = match u8::try_from(p2) {
                    // The view of activity casts its small numbers, which gives them an affinity.
                    Ok(b'D') if self.get(p1) == Some(PgType::Other(SMALL)) => Some(PgType::Int4),
                    Ok(b'A') => Some(PgType::Bytea),
                    Ok(b'B') => TEXT,
                    Ok(b'D') => INT,
                    Ok(b'C' | b'E') => FLOAT,
                    _ => UNKNOWN,
                };
                self.has_type(p1, ty);
                self.set(p1, ty);
            }
            "Copy" | "Move" | "SCopy" | "IntCopy" => {
                let n = match op.opcode.as_str() {
                    "Copy" => p3 + 1,
                    "Move" => p3,
                    _ => 1,
                };
                for (i, cell) in (0..).zip(self.range(p1, n)) {
                    let record = self.now.records.get(&(p1 + i)).cloned();
                    self.set(p2 + i, cell);
                    if let Some(record) = record {
                        self.now.records.insert(p2 + i, record);
                    }
                }
            }
            "Column" => {
                let cell = self.column(p1, p2)?;
                self.set(p3, cell);
            }
            "VColumn" => self.set(p3, UNKNOWN),
            "Function" | "PureFunc" => {
                let (takes, n) = functions::takes(&op.p4, self.functions);
                for at in 0..n.clamp(0, 1 << 15) {
                    match takes {
                        functions::Takes::Same if at > 0 => self.same_type(p2, p2 + at),
                        functions::Takes::Each(types) => {
                            let ty = types.get(at as usize).or(types.last()).copied();
                            self.has_type(p2 + at, ty.flatten());
                        }
                        functions::Takes::Type(ty) => self.has_type(p2 + at, Some(ty)),
                        _ => {}
                    }
                }
                let ty = self.call(&op.p4, p2)?;
                self.set(p3, ty);
            }
            "AggStep" | "AggStep1" => {
                if self.has_times {
                    self.call(&op.p4, p2)?;
                }
                let arg = join(self.get(p2), self.aggregates.get(&p3).copied().flatten());
                self.aggregates.insert(p3, arg);
            }
            "AggFinal" | "AggValue" => {
                let out = if op.opcode == "AggValue" { p3 } else { p1 };
                let arg = self.aggregates.get(&p1).copied().flatten();
                // `sum` of intervals is an interval; `count` is a number.
                let is_time = times::is_time(arg) && !op.p4.starts_with("count");
                let ty = match is_time {
                    true => arg,
                    false => functions::returns(&op.p4, self.functions, |_| arg),
                };
                self.set(out, ty);
            }
            "OpenRead" | "OpenWrite" => {
                let keyed = op.p4.starts_with("k(");
                self.cursors
                    .insert(p1, Source::Stored { root: p2, database: p3, keyed, columns: None });
            }
            "OpenEphemeral" | "OpenAutoindex" | "SorterOpen" => {
                self.cursors.insert(p1, Source::Made(Vec::new()));
            }
            "OpenPseudo" => {
                self.cursors.insert(p1, Source::Record(p2));
            }
            "OpenDup" => {
                self.cursors.insert(p1, Source::Dup(self.home(p2)));
            }
            "MakeRecord" => {
                self.convert_range(p1, &op.p4);
                let record = self.range(p1, p2);
                self.set(p3, UNKNOWN);
                self.now.records.insert(p3, record);
            }
            "Insert" | "IdxInsert" | "SorterInsert" => self.insert(self.home(p1), p2)?,
            "SorterData" | "RowData" => {
                let record = match self.cursors.get(&self.home(p1)) {
                    Some(Source::Made(columns)) => columns.clone(),
                    _ => Vec::new(),
                };
                self.set(p2, UNKNOWN);
                self.now.records.insert(p2, record);
            }
            "ResultRow" if usize::try_from(p2) == Ok(self.results.len()) => {
                for (at, cell) in self.range(p1, p2).into_iter().enumerate() {
                    self.unify(cell, Cell::default());
                    self.results[at] = join(self.results[at], cell.ty);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the type of a function's result.
    fn call(&mut self, call: &str, first: i64) -> Result<Ty> {
        let (name, count) = call.split_once('(').unwrap_or((call, ""));
        let name = name.to_ascii_lowercase();
        let count: i64 = count.trim_end_matches(')').parse().unwrap_or(0);
        let arguments = match count {
            // Of a function with any number of arguments the number is not shown.
            ..0 if matches!(name.as_str(), "min" | "max") => self.range(first, 2),
            ..0 => self.range(first, times::WINDOW),
            count => self.range(first, count),
        };
        let arguments: Vec<_> = arguments.into_iter().map(|cell| cell.ty).collect();
        let ty = match times::function(&name, &arguments)? {
            Some(ty) => ty,
            None => functions::returns(call, self.functions, |i| self.get(first + i)),
        };
        self.has_times |= times::is_time(ty);
        self.has_instants |= times::is_number(ty);
        Ok(ty)
    }

    /// Applies the affinities, one letter each, to the registers from `first` on.
    fn convert_range(&mut self, first: i64, affinities: &str) {
        for (r, affinity) in (first..).zip(affinities.bytes().take(1 << 15)) {
            let cell = self.cell(r);
            self.set(r, Cell { ty: convert(cell.ty, affinity), ..cell });
        }
    }

    /// Inserts the record in a register. Its values have the types of a table's columns.
    fn insert(&mut self, cursor: i64, register: i64) -> Result<()> {
        let Some(record) = self.now.records.get(&register) else { return Ok(()) };
        match self.cursors.get_mut(&cursor) {
            Some(Source::Made(columns)) => join_all(&mut self.variables, columns, record),
            Some(Source::Stored { .. }) if record.iter().any(|cell| cell.variable.is_some()) => {
                let record = record.clone();
                for (at, cell) in (0..).zip(record) {
                    if cell.variable.is_some() {
                        let column = self.stored(cursor, at)?;
                        self.variables.unify(cell, column);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the cursor of which this one is a duplicate, or the cursor itself.
    fn home(&self, cursor: i64) -> i64 {
        match self.cursors.get(&cursor) {
            Some(&Source::Dup(of)) => of,
            _ => cursor,
        }
    }

    fn column(&mut self, cursor: i64, column: i64) -> Result<Cell> {
        let Ok(at) = usize::try_from(column) else {
            return Ok(UNKNOWN.into());
        };
        let cursor = self.home(cursor);
        let found = match self.cursors.get(&cursor) {
            Some(Source::Made(columns)) => columns.get(at).copied(),
            Some(Source::Record(register)) => {
                self.now.records.get(register).and_then(|record| record.get(at).copied())
            }
            Some(Source::Stored { .. }) => Some(self.stored(cursor, column)?),
            Some(Source::Dup(_)) | None => None,
        };
        Ok(found.unwrap_or(UNKNOWN.into()))
    }

    /// Returns the declared type of a stored column.
    fn stored(&mut self, cursor: i64, column: i64) -> Result<Cell> {
        let Some(Source::Stored { root, database, keyed, columns }) = self.cursors.get_mut(&cursor)
        else {
            return Ok(UNKNOWN.into());
        };
        let columns = match columns {
            Some(columns) => columns,
            None => columns.insert(schema::stored_columns(self.conn, *root, *database, *keyed)?),
        };
        let ty = usize::try_from(column).ok().and_then(|at| columns.get(at).copied());
        Ok(ty.flatten().or(UNKNOWN).into())
    }
}
