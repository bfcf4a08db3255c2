//! An arithmetic expression that is evaluated here, shown to people, and written as a script: one formula, three readers.

use std::collections::BTreeMap;
use std::ops::{Add, Div, Mul};

use crate::format;

/// What the names in an expression stand for.
pub(in crate::report) type Values = BTreeMap<&'static str, f64>;

#[derive(Clone, Debug)]
pub(in crate::report) enum Expression {
    Number(f64),
    Name(&'static str),
    Sum(Vec<Self>),
    Product(Vec<Self>),
    Quotient(Box<Self>, Box<Self>),
    /// The next whole number.
    Ceiling(Box<Self>),
    Largest(Vec<Self>),
}

/// How an expression is written down.
#[derive(Clone, Copy)]
pub(in crate::report) enum Notation<'a> {
    /// With names: `w × (R ÷ r)`.
    Names,
    /// With what they stand for: `1.05 × (100 k ÷ 66.2 k)`.
    Numbers(&'a Values),
    /// JavaScript that finds them in an object `v`.
    Script,
}

pub(in crate::report) const fn name(name: &'static str) -> Expression {
    Expression::Name(name)
}

pub(in crate::report) const fn number(value: f64) -> Expression {
    Expression::Number(value)
}

pub(in crate::report) fn ceiling(of: Expression) -> Expression {
    Expression::Ceiling(Box::new(of))
}

pub(in crate::report) fn largest<const N: usize>(of: [Expression; N]) -> Expression {
    Expression::Largest(of.into())
}

impl Add for Expression {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match self {
            Self::Sum(mut terms) => {
                terms.push(other);
                Self::Sum(terms)
            }
            first => Self::Sum(vec![first, other]),
        }
    }
}

impl Mul for Expression {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        match self {
            Self::Product(mut factors) => {
                factors.push(other);
                Self::Product(factors)
            }
            first => Self::Product(vec![first, other]),
        }
    }
}

impl Div for Expression {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        Self::Quotient(Box::new(self), Box::new(other))
    }
}

impl Expression {
    /// Its value; not a number where a name stands for nothing.
    pub(in crate::report) fn value(&self, values: &Values) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Name(name) => values.get(name).copied().unwrap_or(f64::NAN),
            Self::Sum(terms) => terms.iter().map(|term| term.value(values)).sum(),
            Self::Product(factors) => factors.iter().map(|factor| factor.value(values)).product(),
            Self::Quotient(dividend, divisor) => dividend.value(values) / divisor.value(values),
            Self::Ceiling(of) => of.value(values).ceil(),
            Self::Largest(of) => of.iter().map(|one| one.value(values)).fold(f64::NEG_INFINITY, f64::max),
        }
    }

    pub(in crate::report) fn write(&self, notation: Notation<'_>) -> String {
        let all = |parts: &[Self], operator: &str| {
            let parts: Vec<String> =
                parts.iter().map(|part| part.write_inside(self.binds_closer(part), notation)).collect();
            parts.join(operator)
        };
        let is_script = matches!(notation, Notation::Script);
        match self {
            Self::Number(value) => notation.number(*value),
            Self::Name(name) => notation.name(name),
            Self::Sum(terms) => all(terms, " + "),
            Self::Product(factors) => all(factors, if is_script { " * " } else { " × " }),
            Self::Quotient(dividend, divisor) => {
                let dividend = dividend.write_inside(self.binds_closer(dividend), notation);
                let divisor = divisor.write_inside(divisor.has_parts(), notation);
                format!("{dividend} {} {divisor}", if is_script { "/" } else { "÷" })
            }
            Self::Ceiling(of) if is_script => format!("Math.ceil({})", of.write(notation)),
            Self::Ceiling(of) => format!("⌈{}⌉", of.write(notation)),
            Self::Largest(of) => format!("{}({})", if is_script { "Math.max" } else { "max" }, all(of, ", ")),
        }
    }

    fn write_inside(&self, has_parentheses: bool, notation: Notation<'_>) -> String {
        let written = self.write(notation);
        if has_parentheses { format!("({written})") } else { written }
    }

    /// Whether the part needs parentheses where this does not divide by it.
    const fn binds_closer(&self, part: &Self) -> bool {
        matches!((self, part), (Self::Product(_) | Self::Quotient(..), Self::Sum(_)))
    }

    /// Whether it needs parentheses where something is divided by it.
    const fn has_parts(&self) -> bool {
        matches!(self, Self::Sum(_) | Self::Product(_) | Self::Quotient(..))
    }
}

impl Notation<'_> {
    fn number(self, value: f64) -> String {
        match self {
            Self::Script => value.to_string(),
            Self::Names | Self::Numbers(_) => format::count(value),
        }
    }

    fn name(self, name: &'static str) -> String {
        match self {
            Self::Script => format!("v.{name}"),
            Self::Names => name.to_owned(),
            Self::Numbers(values) => match values.get(name) {
                Some(value) if value.is_infinite() => "∞".to_owned(),
                Some(value) => format::short(*value),
                None => name.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression() -> Expression {
        ceiling(name("w") * (name("a") / name("b") + number(2.0)) / largest([name("h"), number(0.5)]))
    }

    #[test]
    fn one_expression_has_a_value_and_three_notations_that_agree() {
        let values = Values::from([("w", 2.0), ("a", 30.0), ("b", 10.0), ("h", 0.25)]);
        assert_eq!(expression().value(&values), 20.0);
        assert_eq!(expression().write(Notation::Names), "⌈w × (a ÷ b + 2) ÷ max(h, 0.500)⌉");
        assert_eq!(expression().write(Notation::Numbers(&values)), "⌈2 × (30 ÷ 10 + 2) ÷ max(0.250, 0.500)⌉");
        assert_eq!(expression().write(Notation::Script), "Math.ceil(v.w * (v.a / v.b + 2) / Math.max(v.h, 0.5))");
        let divided = name("a") / (name("b") * name("w"));
        assert_eq!(divided.write(Notation::Script), "v.a / (v.b * v.w)");
    }

    #[test]
    fn a_name_that_stands_for_nothing_gives_no_number() {
        assert!(expression().value(&Values::new()).is_nan());
    }
}
