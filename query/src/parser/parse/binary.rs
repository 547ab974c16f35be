//! What stands between two expressions: an operator, and which series of the two sides it puts together.

use super::super::ParseError;
use super::super::ast::{Binary, BinaryOp, Cardinality, Expr, Fill, Matching, ValueType};
use super::super::lexer::Kind;
use super::Parser;

impl Parser<'_> {
    pub(super) fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.token.kind {
            Kind::Add => BinaryOp::Add,
            Kind::Sub => BinaryOp::Sub,
            Kind::Mul => BinaryOp::Mul,
            Kind::Div => BinaryOp::Div,
            Kind::Mod => BinaryOp::Mod,
            Kind::Pow => BinaryOp::Pow,
            Kind::Equal => BinaryOp::Equal,
            Kind::NotEqual => BinaryOp::NotEqual,
            Kind::Less => BinaryOp::Less,
            Kind::LessEqual => BinaryOp::LessEqual,
            Kind::Greater => BinaryOp::Greater,
            Kind::GreaterEqual => BinaryOp::GreaterEqual,
            Kind::TrimUpper => BinaryOp::TrimUpper,
            Kind::TrimLower => BinaryOp::TrimLower,
            Kind::Word => match self.word().as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    pub(super) fn binary(&mut self, op: BinaryOp, lhs: Expr) -> Result<Expr, ParseError> {
        let operator = self.last;
        let mut return_bool = false;
        if self.word() == "bool" {
            self.advance()?;
            return_bool = true;
        }
        let mut matching = Matching::default();
        let listed = matches!(self.word().as_str(), "on" | "ignoring");
        if listed {
            matching.on = self.word() == "on";
            self.advance()?;
            matching.labels = self.label_list()?;
            matching.cardinality = match self.word().as_str() {
                "group_left" => Cardinality::ManyToOne,
                "group_right" => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if matching.cardinality != Cardinality::OneToOne {
                self.advance()?;
                if self.token.kind == Kind::LeftParen || !self.begins_expression() {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fill(&mut matching)?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let operator = operator.to(self.last);
        // Left-associative but for the power.
        let floor = op.precedence() - u8::from(op == BinaryOp::Pow);
        let rhs = self.expression(floor)?;
        let span = lhs.span().to(self.last);
        let (lhs_type, rhs_type) = (lhs.value_type(), rhs.value_type());
        let both_vectors = lhs_type == ValueType::Vector && rhs_type == ValueType::Vector;
        // What matches no vectors is complained of when types are checked.
        let matches = both_vectors || !matching.labels.is_empty() || matching.fill != Fill::default();
        Ok(Expr::Binary(Binary {
            span,
            operator,
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            value_type: if lhs_type == ValueType::Scalar && rhs_type == ValueType::Scalar {
                ValueType::Scalar
            } else {
                ValueType::Vector
            },
            matching: matches.then_some(matching),
            return_bool,
        }))
    }

    /// `fill(0)`, `fill_left(0)`, `fill_right(0)`: words that are names unless a number in parentheses follows.
    fn fill(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        loop {
            let (left, right) = match self.word().as_str() {
                "fill" => (true, true),
                "fill_left" => (true, false),
                "fill_right" => (false, true),
                _ => return Ok(()),
            };
            let rest = &self.text[self.token.span.end as usize..];
            if !rest.trim_start().starts_with('(') {
                return Ok(());
            }
            self.advance()?;
            self.expect(Kind::LeftParen, "fill modifier", "\"(\"")?;
            let negative = self.sign()?;
            let value = self.number("fill modifier", "number")?;
            let value = if negative { -value } else { value };
            self.expect(Kind::RightParen, "fill modifier", "\")\"")?;
            if left {
                matching.fill.left = Some(value);
            }
            if right {
                matching.fill.right = Some(value);
            }
        }
    }
}
