//! Infers the types of a statement's results from the program to which SQLite compiles it:
//! <https://sqlite.org/opcode.html>.

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::{Connection, Result, Statement};

use super::explain::{Op, explain};
use super::{functions, number, schema};
use crate::types::PgType;

/// The type in a register: `None` if only NULL was stored yet, and `Unknown` for any type.
pub(super) type Ty = Option<PgType>;

pub(super) const UNKNOWN: Ty = Some(PgType::Unknown);
pub(super) const INT: Ty = Some(PgType::Int8);
pub(super) const FLOAT: Ty = Some(PgType::Float8);
pub(super) const TEXT: Ty = Some(PgType::Text);

/// The source of a cursor's columns.
#[derive(Clone)]
enum Source {
    Stored {
        root: i64,
        database: i64,
        keyed: bool,
    },
    /// A table created while the statement runs, with the types of the inserted values.
    Made(Vec<Ty>),
    /// A pseudo-table over the record in a register.
    Record(i64),
    /// A duplicate of another cursor.
    Dup(i64),
}

#[derive(Clone, Default)]
struct Registers {
    values: HashMap<i64, Ty>,
    records: HashMap<i64, Vec<Ty>>,
}

struct Program<'a> {
    conn: &'a Connection,
    functions: &'a dyn Fn(&str) -> Option<PgType>,
    parameters: Vec<Ty>,
    /// The registers that are set once, before the rest of the program.
    constants: HashMap<i64, Ty>,
    now: Registers,
    cursors: HashMap<i64, Source>,
    /// The type of the argument of the aggregate in a register.
    aggregates: HashMap<i64, Ty>,
    results: Vec<Ty>,
}

/// The result types of statements that read no table, by their text. Changes of the schema do not
/// affect them.
#[derive(Default)]
pub(crate) struct Known(RefCell<HashMap<String, Vec<PgType>>>);

/// The maximum number of such statements.
const KNOWN: usize = 64;

pub(super) fn result_types(
    conn: &Connection,
    stmt: &Statement<'_>,
    sql: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
    known: &Known,
) -> Result<Vec<PgType>> {
    if let Some(types) = known.0.borrow().get(sql) {
        return Ok(types.clone());
    }
    let ops = explain(conn, sql)?;
    let types = follow(conn, stmt, functions, &ops)?;
    let touches = |op: &Op| op.opcode.contains("Open");
    if !ops.iter().any(touches) && known.0.borrow().len() < KNOWN {
        known.0.borrow_mut().insert(sql.to_owned(), types.clone());
    }
    Ok(types)
}

fn follow(
    conn: &Connection,
    stmt: &Statement<'_>,
    functions: &dyn Fn(&str) -> Option<PgType>,
    ops: &[Op],
) -> Result<Vec<PgType>> {
    let parameters = (1..=stmt.parameter_count())
        .map(|i| {
            safepoint::check().map_err(interrupted)?;
            let name = stmt.parameter_name(i);
            Ok(name.and_then(number).and_then(|(_, ty)| ty).or(UNKNOWN))
        })
        .collect::<Result<_>>()?;
    let mut program = Program {
        conn,
        functions,
        parameters,
        constants: HashMap::new(),
        now: Registers::default(),
        cursors: HashMap::new(),
        aggregates: HashMap::new(),
        results: vec![None; stmt.column_count()],
    };
    program.run(ops)?;
    Ok(program
        .results
        .into_iter()
        .map(|ty| match ty {
            None | UNKNOWN => PgType::Text,
            Some(ty) => ty,
        })
        .collect())
}

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
    match (widen(a), widen(b)) {
        (None, _) => b,
        (INT, FLOAT) | (FLOAT, INT) => FLOAT,
        (a, b) if a == b => a,
        _ => UNKNOWN,
    }
}

fn join_all(into: &mut Vec<Ty>, from: &[Ty]) {
    if into.len() < from.len() {
        into.resize(from.len(), None);
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = join(*a, *b);
    }
}

fn join_registers(into: &mut Registers, from: &Registers) {
    for (&r, &ty) in &from.values {
        let slot = into.values.entry(r).or_default();
        *slot = join(*slot, ty);
    }
    for (&r, record) in &from.records {
        join_all(into.records.entry(r).or_default(), record);
    }
}

/// Converts an interrupt to an error. The code that reports the error checks for a due interrupt
/// first.
pub(super) fn interrupted(interrupt: safepoint::Interrupt) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(interrupt.into())
}

fn arithmetic(a: Ty, b: Ty) -> Ty {
    match (widen(a), widen(b)) {
        (None, _) | (_, None) => None,
        (INT, INT) => INT,
        (INT | FLOAT, INT | FLOAT) => FLOAT,
        _ => UNKNOWN,
    }
}

/// Returns the type of a value after it is stored in a column with this affinity.
fn convert(ty: Ty, affinity: u8) -> Ty {
    match (affinity, widen(ty)) {
        (b'B', INT | FLOAT) => TEXT,
        (b'C'..=b'F', TEXT) => UNKNOWN,
        (b'E', INT) => FLOAT,
        _ => ty,
    }
}

impl Program<'_> {
    /// Interprets the program once, in order of its instructions. Forward jumps, which implement
    /// CASE and similar expressions, pass their registers to the target.
    fn run(&mut self, ops: &[Op]) -> Result<()> {
        // The program starts with a jump to its end, where it sets the constants.
        let setup = match ops.first() {
            Some(op) if op.opcode == "Init" && op.p2 > 0 => (op.p2 as usize).min(ops.len()),
            _ => ops.len(),
        };
        for op in &ops[setup..] {
            safepoint::check().map_err(interrupted)?;
            self.step(op)?;
        }
        self.constants = std::mem::take(&mut self.now).values;
        let mut arriving: HashMap<usize, Registers> = HashMap::new();
        let mut reached = true;
        for (at, op) in ops[..setup].iter().enumerate() {
            // Joining many registers makes one step long.
            safepoint::check().map_err(interrupted)?;
            if let Some(from) = arriving.remove(&at) {
                if reached {
                    join_registers(&mut self.now, &from);
                } else {
                    self.now = from;
                }
            }
            reached = true;
            let target = usize::try_from(op.p2).unwrap_or_default();
            match op.opcode.as_str() {
                "Goto" | "If" | "IfNot" | "IsNull" | "NotNull" | "Eq" | "Ne" | "Lt" | "Le"
                | "Gt" | "Ge" | "IfNullRow" | "Once" | "SeekRowid"
                    if target > at =>
                {
                    join_registers(arriving.entry(target).or_default(), &self.now);
                    reached = op.opcode != "Goto";
                }
                _ => self.step(op)?,
            }
        }
        Ok(())
    }

    fn get(&self, register: i64) -> Ty {
        let set = self.now.values.get(&register);
        set.or_else(|| self.constants.get(&register)).copied().flatten()
    }

    fn set(&mut self, register: i64, ty: Ty) {
        self.now.values.insert(register, ty);
        self.now.records.remove(&register);
    }

    /// Returns the cursor of which this one is a duplicate, or the cursor itself.
    fn home(&self, cursor: i64) -> i64 {
        match self.cursors.get(&cursor) {
            Some(&Source::Dup(of)) => of,
            _ => cursor,
        }
    }

    fn range(&self, from: i64, n: i64) -> Vec<Ty> {
        // SQLite allows at most 32767 columns.
        (0..n.clamp(0, 1 << 15)).map(|i| self.get(from + i)).collect()
    }

    /// Applies the affinities, one letter each, to the registers from `first` on.
    fn convert_range(&mut self, first: i64, affinities: &str) {
        for (r, affinity) in (first..).zip(affinities.bytes().take(1 << 15)) {
            self.set(r, convert(self.get(r), affinity));
        }
    }

    fn step(&mut self, op: &Op) -> Result<()> {
        let &Op { p1, p2, p3, .. } = op;
        match op.opcode.as_str() {
            "Integer" | "Int64" | "Rowid" | "IdxRowid" | "NewRowid" | "Count" | "Sequence"
            | "BitNot" | "Not" | "IsTrue" | "ZeroOrNull" | "RowSetRead" | "Offset" => {
                let out = match op.opcode.as_str() {
                    "RowSetRead" | "Offset" => p3,
                    _ => p2,
                };
                self.set(out, INT);
            }
            "Real" => self.set(p2, FLOAT),
            "RealAffinity" if widen(self.get(p1)) == INT => self.set(p1, FLOAT),
            "Affinity" => self.convert_range(p1, &op.p4),
            "String8" | "String" => self.set(p2, TEXT),
            "Concat" => self.set(p3, TEXT),
            "Blob" => self.set(p2, Some(PgType::Bytea)),
            "Null" | "SoftNull" => {
                let (from, to) = match op.opcode.as_str() {
                    "Null" => (p2, p3.max(p2)),
                    _ => (p1, p1),
                };
                (from..=to.min(from + (1 << 15))).for_each(|r| self.set(r, None));
            }
            "Variable" => {
                let n = usize::try_from(p1 - 1).unwrap_or(usize::MAX);
                self.set(p2, self.parameters.get(n).copied().unwrap_or(UNKNOWN));
            }
            "Add" | "Subtract" | "Multiply" | "Divide" | "Remainder" => {
                self.set(p3, arithmetic(self.get(p1), self.get(p2)));
            }
            "BitAnd" | "BitOr" | "ShiftLeft" | "ShiftRight" | "And" | "Or" => self.set(p3, INT),
            "Cast" => self.set(
                p1,
                match u8::try_from(p2) {
                    Ok(b'A') => Some(PgType::Bytea),
                    Ok(b'B') => TEXT,
                    Ok(b'D') => INT,
                    Ok(b'C' | b'E') => FLOAT,
                    _ => UNKNOWN,
                },
            ),
            "Copy" | "Move" | "SCopy" | "IntCopy" => {
                let n = match op.opcode.as_str() {
                    "Copy" => p3 + 1,
                    "Move" => p3,
                    _ => 1,
                };
                for (i, ty) in (0..).zip(self.range(p1, n)) {
                    let record = self.now.records.get(&(p1 + i)).cloned();
                    self.set(p2 + i, ty);
                    if let Some(record) = record {
                        self.now.records.insert(p2 + i, record);
                    }
                }
            }
            "Column" => {
                let ty = self.column(p1, p2)?;
                self.set(p3, ty);
            }
            "VColumn" => self.set(p3, UNKNOWN),
            "Function" | "PureFunc" => {
                let ty = functions::returns(&op.p4, self.functions, |i| self.get(p2 + i));
                self.set(p3, ty);
            }
            "AggStep" | "AggStep1" => {
                let arg = join(self.get(p2), self.aggregates.get(&p3).copied().flatten());
                self.aggregates.insert(p3, arg);
            }
            "AggFinal" | "AggValue" => {
                let out = if op.opcode == "AggValue" { p3 } else { p1 };
                let arg = self.aggregates.get(&p1).copied().flatten();
                let ty = functions::returns(&op.p4, self.functions, |_| arg);
                self.set(out, ty);
            }
            "OpenRead" | "OpenWrite" => {
                let keyed = op.p4.starts_with("k(");
                self.cursors.insert(p1, Source::Stored { root: p2, database: p3, keyed });
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
            "Insert" | "IdxInsert" | "SorterInsert" => {
                let home = self.home(p1);
                if let (Some(Source::Made(columns)), Some(record)) =
                    (self.cursors.get_mut(&home), self.now.records.get(&p2))
                {
                    join_all(columns, record);
                }
            }
            "SorterData" | "RowData" => {
                let record = match self.cursors.get(&self.home(p1)) {
                    Some(Source::Made(columns)) => columns.clone(),
                    _ => Vec::new(),
                };
                self.set(p2, UNKNOWN);
                self.now.records.insert(p2, record);
            }
            "ResultRow" if usize::try_from(p2) == Ok(self.results.len()) => {
                let row = self.range(p1, p2);
                join_all(&mut self.results, &row);
            }
            _ => {}
        }
        Ok(())
    }

    fn column(&mut self, cursor: i64, column: i64) -> Result<Ty> {
        let Ok(column) = usize::try_from(column) else {
            return Ok(UNKNOWN);
        };
        let cursor = self.home(cursor);
        let stored = match self.cursors.get(&cursor) {
            Some(Source::Made(columns)) => columns.get(column).copied(),
            Some(Source::Record(register)) => {
                self.now.records.get(register).and_then(|record| record.get(column).copied())
            }
            Some(&Source::Stored { root, database, keyed }) => {
                let columns: Vec<Ty> = schema::stored_columns(self.conn, root, database, keyed)?
                    .into_iter()
                    .map(|ty| ty.or(UNKNOWN))
                    .collect();
                let ty = columns.get(column).copied();
                self.cursors.insert(cursor, Source::Made(columns));
                ty
            }
            Some(Source::Dup(_)) | None => None,
        };
        Ok(stored.unwrap_or(UNKNOWN))
    }
}
