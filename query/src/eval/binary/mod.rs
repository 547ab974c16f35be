//! Binary operators.

mod cells;
mod join;
mod scalar;
mod sets;
mod signature;
mod trim;

use super::{Eval, Output};
use crate::error::Error;
use crate::parser::{Binary, Cardinality, Expr, Fill, Matching};

/// How vectors match if the text does not say.
static ALL_LABELS: Matching = Matching {
    on: false,
    labels: Vec::new(),
    cardinality: Cardinality::OneToOne,
    include: Vec::new(),
    fill: Fill { left: None, right: None },
};

/// Evaluates an operator and both its sides.
///
/// # Errors
/// If a side cannot be evaluated, or their series do not match as the operator needs it.
pub(super) fn eval<'q>(eval: Eval<'q>, last: &'q Binary) -> Result<Output<'q>, Error> {
    let begun = eval.query.nodes.now();
    // Along the left sides without recursion: chains of operators are long.
    let mut chain = vec![(within(eval, last), last)];
    let mut innermost = (chain[0].0, &*last.lhs);
    while let (eval, Expr::Binary(e)) = innermost {
        if eval.grid.count > 1 && innermost.1.is_step_invariant() {
            break;
        }
        let eval = within(eval, e);
        chain.push((eval, e));
        innermost = (eval, &*e.lhs);
    }
    let mut result = innermost.0.eval(innermost.1)?;
    for (eval, e) in chain.into_iter().rev() {
        let rhs = eval.eval(&e.rhs)?;
        result = eval.counted(e.span, begun, combine(eval, e, result, rhs)?);
    }
    Ok(result)
}

/// How the sides of an operator are evaluated: trimming looks at buckets.
fn within<'q>(eval: Eval<'q>, e: &Binary) -> Eval<'q> {
    Eval { stats_only: eval.stats_only && !e.op.is_trim(), ..eval }
}

fn combine<'q>(eval: Eval<'q>, e: &'q Binary, lhs: Output<'q>, rhs: Output<'q>) -> Result<Output<'q>, Error> {
    let matching = e.matching.as_ref().unwrap_or(&ALL_LABELS);
    match (lhs, rhs) {
        (Output::Scalar(lhs), Output::Scalar(rhs)) => Ok(Output::Scalar(scalar::between_scalars(e.op, lhs, &rhs))),
        (Output::Series(vector), Output::Scalar(numbers)) => scalar::with_vector(eval, e, vector, numbers, false),
        (Output::Scalar(numbers), Output::Series(vector)) => scalar::with_vector(eval, e, vector, numbers, true),
        (Output::Series(lhs), Output::Series(rhs)) if e.op.is_set() => sets::eval(eval, e, matching, lhs, rhs),
        (Output::Series(lhs), Output::Series(rhs)) => join::eval(eval, e, matching, lhs, rhs),
        (Output::Text(_), _) | (_, Output::Text(_)) => Err(Error::Execution("binary operator on a string".into())),
    }
}
