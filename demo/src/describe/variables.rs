//! The types of parameters, found by unification: each parameter is a variable, and where two values
//! must have one type, their variables become one.

use super::algebra::{Ty, UNKNOWN, join};
use std::collections::HashMap;

/// The type of a value in a register, and the variable that decides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) ty: Ty,
    pub(super) variable: Option<usize>,
}

impl From<Ty> for Cell {
    fn from(ty: Ty) -> Cell {
        Cell { ty, variable: None }
    }
}

impl Cell {
    /// Returns the type if it is known.
    fn known(self) -> Ty {
        self.ty.filter(|_| self.ty != UNKNOWN)
    }
}

#[derive(Clone, Copy)]
enum Node {
    Root(Ty),
    Same(usize),
    /// Either of two values, which is decided when a value is used: registers that no instruction reads
    /// any more have no type in common.
    Either(Cell, Cell),
}

/// All variables. The first belong to the parameters `$1`, `$2`, ...
#[derive(Default)]
pub(super) struct Variables(Vec<Node>);

impl Variables {
    /// Creates variables with these types, of which some may be unknown.
    pub(super) fn new(types: impl Iterator<Item = Ty>) -> Variables {
        Variables(types.map(Node::Root).collect())
    }

    fn root(&mut self, mut variable: usize) -> usize {
        while let Node::Same(of) = self.0[variable] {
            if let Node::Same(next) = self.0[of] {
                self.0[variable] = Node::Same(next);
            }
            variable = of;
        }
        variable
    }

    /// Returns the type of a variable, or `None` if it is not known.
    pub(super) fn ty(&mut self, variable: usize) -> Ty {
        let root = self.root(variable);
        match self.0[root] {
            Node::Root(ty) => ty,
            _ => None,
        }
    }

    /// Returns the variable of a value that is one of two.
    pub(super) fn either(&mut self, a: Cell, b: Cell) -> Option<usize> {
        if a.variable == b.variable {
            return a.variable;
        }
        if a.variable.is_none() && a.known().is_none() {
            return b.variable;
        }
        if b.variable.is_none() && b.known().is_none() {
            return a.variable;
        }
        self.0.push(Node::Either(a, b));
        Some(self.0.len() - 1)
    }

    /// Makes the type of two values one. With no value, the other one is used.
    pub(super) fn unify(&mut self, a: Cell, b: Cell) {
        let mut pairs = vec![(a, b)];
        while let Some((a, b)) = pairs.pop() {
            let (a, b) = (self.used(a, &mut pairs), self.used(b, &mut pairs));
            match (a.variable, b.variable) {
                (Some(one), Some(other)) if one != other => {
                    let (ty, other_ty) = (self.ty(one), self.ty(other));
                    // Two types that are known stay as they are.
                    if ty.is_none() || other_ty.is_none() {
                        self.0[other] = Node::Same(one);
                        self.0[one] = Node::Root(ty.or(other_ty));
                    }
                }
                (Some(one), None) => self.decide(one, b.known()),
                (None, Some(other)) => self.decide(other, a.known()),
                _ => {}
            }
        }
    }

    /// Returns the cell with its root, and adds the pairs that must have one type because it is used.
    fn used(&mut self, cell: Cell, pairs: &mut Vec<(Cell, Cell)>) -> Cell {
        let Some(variable) = cell.variable else { return cell };
        let root = self.root(variable);
        if let Node::Either(a, b) = self.0[root] {
            self.0[root] = Node::Root(None);
            let this = Cell { ty: UNKNOWN, variable: Some(root) };
            pairs.extend([(this, a), (this, b)]);
        }
        Cell { variable: Some(root), ..cell }
    }

    fn decide(&mut self, variable: usize, ty: Ty) {
        let root = self.root(variable);
        if let Node::Root(None) = self.0[root] {
            self.0[root] = Node::Root(ty);
        }
    }
}

/// The values in the registers at one instruction.
#[derive(Clone, Default)]
pub(super) struct Registers {
    pub(super) values: HashMap<i64, Cell>,
    pub(super) records: HashMap<i64, Vec<Cell>>,
}

pub(super) fn join_all(variables: &mut Variables, into: &mut Vec<Cell>, from: &[Cell]) {
    if into.len() < from.len() {
        into.resize(from.len(), Cell::default());
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = Cell { ty: join(a.ty, b.ty), variable: variables.either(*a, *b) };
    }
}

pub(super) fn join_registers(variables: &mut Variables, into: &mut Registers, from: &Registers) {
    for (&r, &cell) in &from.values {
        let slot = into.values.entry(r).or_default();
        *slot = Cell { ty: join(slot.ty, cell.ty), variable: variables.either(*slot, cell) };
    }
    for (&r, record) in &from.records {
        join_all(variables, into.records.entry(r).or_default(), record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PgType;

    fn parameter(variable: usize) -> Cell {
        Cell { ty: UNKNOWN, variable: Some(variable) }
    }

    #[test]
    fn the_first_use_decides() {
        let mut all = Variables::new([None, None, Some(PgType::Text), None].into_iter());
        all.unify(parameter(0), Some(PgType::Int8).into());
        all.unify(parameter(0), Some(PgType::Text).into());
        assert_eq!(all.ty(0), Some(PgType::Int8));
        all.unify(parameter(1), parameter(2));
        assert_eq!(all.ty(1), Some(PgType::Text));
        all.unify(parameter(3), UNKNOWN.into());
        assert_eq!(all.ty(3), None);
        all.unify(parameter(0), parameter(1));
        assert_eq!((all.ty(0), all.ty(1)), (Some(PgType::Int8), Some(PgType::Text)));
        all.unify(parameter(1), parameter(3));
        assert_eq!(all.ty(3), Some(PgType::Text));
    }

    #[test]
    fn one_of_two_is_decided_only_by_a_use() {
        let mut all = Variables::new([None, None].into_iter());
        let int = Some(PgType::Int8).into();
        let either = all.either(parameter(0), int);
        let either = Cell { ty: UNKNOWN, variable: either };
        let outer = all.either(either, parameter(1));
        let outer = Cell { ty: UNKNOWN, variable: outer };
        assert_eq!((all.ty(0), all.ty(1)), (None, None));
        all.unify(outer, Cell::default());
        assert_eq!((all.ty(0), all.ty(1)), (Some(PgType::Int8), Some(PgType::Int8)));
        assert_eq!(all.either(parameter(0), parameter(0)), Some(0));
        assert_eq!(all.either(parameter(0), None.into()), Some(0));
        assert_eq!(all.either(UNKNOWN.into(), int), None);
    }

    #[test]
    fn long_chains_take_no_long_time() {
        let mut all = Variables::new(std::iter::repeat_n(None, 10_000));
        let mut chain = parameter(0);
        for next in 1..10_000 {
            chain = Cell { ty: UNKNOWN, variable: all.either(chain, parameter(next)) };
        }
        all.unify(chain, Some(PgType::Bool).into());
        assert!((0..10_000).all(|variable| all.ty(variable) == Some(PgType::Bool)));
    }
}
