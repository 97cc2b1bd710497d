//! Infers the types of a statement's parameters and results from the program to which SQLite compiles
//! it: <https://sqlite.org/opcode.html>.

mod instructions;

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::{Connection, Result, Statement};

use super::algebra::{Ty, UNKNOWN};
use super::explain::{Op, explain};
use super::variables::{Cell, Registers, Variables, join_registers};
use super::{Parameters, times};
use crate::sqlite_error::interrupted;
use crate::types::PgType;
use instructions::Source;

struct Program<'a> {
    conn: &'a Connection,
    functions: &'a dyn Fn(&str) -> Option<PgType>,
    /// The number `n` of the `$n` of each of SQLite's parameters. Its variable has the number before.
    parameters: &'a [usize],
    variables: Variables,
    /// The registers that are set once, before the rest of the program.
    constants: HashMap<i64, Cell>,
    now: Registers,
    /// The registers that the coroutines have yielded, by the register of the coroutine.
    yielded: HashMap<i64, Registers>,
    cursors: HashMap<i64, Source>,
    /// The type of the argument of the aggregate in a register.
    aggregates: HashMap<i64, Ty>,
    /// Whether there are times.
    has_times: bool,
    /// Whether some of them are numbers to SQLite. A value of an unknown type may be one.
    has_instants: bool,
    results: Vec<Ty>,
    /// Whether only columns decide types, in which values are stored.
    stores_only: bool,
}

/// The types of a statement: of `$1`, `$2`, ..., where they can be inferred, and of its results.
#[derive(Clone, Debug, Default)]
pub(super) struct Types {
    pub(super) parameters: Vec<Ty>,
    pub(super) results: Vec<PgType>,
}

/// The types of a statement for each list of types that clients have declared.
type Declarations = Vec<(Vec<Ty>, Types)>;

/// The types of statements that read no table, by their text. Changes of the schema do not affect them.
#[derive(Default)]
pub(crate) struct Known(RefCell<HashMap<String, Declarations>>);

/// The maximum number of such statements, and of such declarations for each.
const KNOWN: (usize, usize) = (64, 8);

pub(super) fn types(
    conn: &Connection,
    stmt: &Statement<'_>,
    sql: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
    known: &Known,
    parameters: &Parameters,
    declared: &[Ty],
) -> Result<Types> {
    if let Some(types) = known.0.borrow().get(sql) {
        let found = types.iter().find(|(of, _)| of == declared);
        if let Some((_, types)) = found {
            return Ok(types.clone());
        }
    }
    let ops = explain(conn, sql)?;
    let follow = |declared: &[Ty], stores_only| {
        follow(conn, stmt, functions, &ops, parameters, declared, stores_only)
    };
    // The column decides first: a CHECK constraint may compare the value with any number before it is
    // stored.
    let stored = if ops.iter().any(|op| op.opcode == "Insert" || op.opcode == "IdxInsert") {
        follow(declared, true)?.parameters
    } else {
        declared.to_vec()
    };
    let mut types = follow(&stored, false)?;
    if types.parameters != stored {
        // The results of parameters whose types are known now.
        types.results = follow(&types.parameters, false)?.results;
    }
    let touches = |op: &Op| op.opcode.contains("Open");
    if !ops.iter().any(touches) {
        let mut known = known.0.borrow_mut();
        if known.len() < KNOWN.0 || known.contains_key(sql) {
            let all = known.entry(sql.to_owned()).or_default();
            if all.len() < KNOWN.1 {
                all.push((declared.to_vec(), types.clone()));
            }
        }
    }
    Ok(types)
}

fn follow(
    conn: &Connection,
    stmt: &Statement<'_>,
    functions: &dyn Fn(&str) -> Option<PgType>,
    ops: &[Op],
    parameters: &Parameters,
    declared: &[Ty],
    stores_only: bool,
) -> Result<Types> {
    let mut program = Program {
        conn,
        functions,
        parameters: &parameters.numbers,
        variables: Variables::new(declared.iter().copied()),
        constants: HashMap::new(),
        now: Registers::default(),
        yielded: HashMap::new(),
        cursors: HashMap::new(),
        aggregates: HashMap::new(),
        has_times: false,
        has_instants: false,
        results: vec![None; stmt.column_count()],
        stores_only,
    };
    program.run(ops)?;
    let has_instants = program.has_instants;
    let parameters = (0..declared.len()).map(|variable| program.variables.ty(variable)).collect();
    let results = program.results.into_iter().map(|ty| match ty {
        UNKNOWN if has_instants => PgType::Untyped,
        None | UNKNOWN => PgType::Text,
        Some(ty) => ty,
    });
    let types = Types { parameters, results: results.collect() };
    if has_instants {
        times::parameters(&types.parameters)?;
    }
    Ok(types)
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
                    join_registers(&mut self.variables, &mut self.now, &from);
                } else {
                    self.now = from;
                }
            }
            reached = true;
            self.compares(op)?;
            let target = usize::try_from(op.p2).unwrap_or_default();
            match op.opcode.as_str() {
                "Goto" | "If" | "IfNot" | "IsNull" | "NotNull" | "Eq" | "Ne" | "Lt" | "Le"
                | "Gt" | "Ge" | "IfNullRow" | "Once" | "SeekRowid"
                    if target > at =>
                {
                    self.check(op)?;
                    let there = arriving.entry(target).or_default();
                    if op.opcode == "IfNullRow" {
                        // The jump sets a register: the row of an outer join that is missing.
                        let mut jumped = self.now.clone();
                        jumped.values.insert(op.p3, Cell::default());
                        join_registers(&mut self.variables, there, &jumped);
                    } else {
                        join_registers(&mut self.variables, there, &self.now);
                    }
                    reached = op.opcode != "Goto";
                }
                _ => {
                    self.check(op)?;
                    self.step(op)?;
                }
            }
        }
        Ok(())
    }

    fn cell(&self, register: i64) -> Cell {
        let set = self.now.values.get(&register);
        set.or_else(|| self.constants.get(&register)).copied().unwrap_or_default()
    }

    fn get(&self, register: i64) -> Ty {
        self.cell(register).ty
    }

    fn set(&mut self, register: i64, cell: impl Into<Cell>) {
        self.now.values.insert(register, cell.into());
        self.now.records.remove(&register);
    }

    /// Notes that the value in a register has a type.
    fn has_type(&mut self, register: i64, ty: Ty) {
        self.unify(self.cell(register), ty.into());
    }

    /// Notes that the values in two registers have one type.
    fn same_type(&mut self, one: i64, other: i64) {
        self.unify(self.cell(one), self.cell(other));
    }

    fn unify(&mut self, one: Cell, other: Cell) {
        if !self.stores_only {
            self.variables.unify(one, other);
        }
    }

    fn range(&self, from: i64, n: i64) -> Vec<Cell> {
        // SQLite allows at most 32767 columns.
        (0..n.clamp(0, 1 << 15)).map(|i| self.cell(from + i)).collect()
    }
}
