//! The macros that go through a list, or the names of the fields of an object. The parser writes
//! them as comprehensions; nothing else does.

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Compiler, MAX_LOOPS, Typed, unsupported};
use crate::node::{Loop, LoopKind, Node};
use crate::types::Type;

/// What a comprehension is, with its parts.
enum Macro<'a> {
    All(&'a IdedExpr),
    Exists(&'a IdedExpr),
    ExistsOne(&'a IdedExpr),
    Map { condition: Option<&'a IdedExpr>, made: &'a IdedExpr },
}

impl<'a> Macro<'a> {
    fn of(comprehension: &'a ComprehensionExpr) -> Option<Self> {
        let step = &comprehension.loop_step;
        Some(match &comprehension.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(start)) => {
                let operator =
                    if *start.inner() { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
                let [_, condition] = arguments(step, operator)?;
                if *start.inner() { Self::All(condition) } else { Self::Exists(condition) }
            }
            Expr::Literal(LiteralValue::Int(_)) => {
                let [condition, _, _] = arguments(step, operators::CONDITIONAL)?;
                Self::ExistsOne(condition)
            }
            Expr::List(_) => {
                let conditional = arguments(step, operators::CONDITIONAL);
                let (condition, step) = match conditional {
                    Some([condition, step, _]) => (Some(condition), step),
                    None => (None, step),
                };
                let [_, made] = arguments(step, operators::ADD)?;
                let Expr::List(made) = &made.expr else { return None };
                Self::Map { condition, made: made.elements.first()? }
            }
            _ => return None,
        })
    }
}

/// The arguments of a call of that operator.
fn arguments<'a, const N: usize>(
    expression: &'a IdedExpr,
    operator: &str,
) -> Option<&'a [IdedExpr; N]> {
    match &expression.expr {
        Expr::Call(call) if call.func_name == operator => call.args.as_slice().try_into().ok(),
        _ => None,
    }
}

impl Compiler {
    pub(super) fn comprehension(&mut self, of: &ComprehensionExpr) -> Result<Typed, String> {
        let parts = Macro::of(of).filter(|_| of.iter_var2.is_none());
        let parts = parts.ok_or_else(|| unsupported("a macro with two variables is"))?;
        let (range, of_type) = self.expression(&of.iter_range)?;
        let Some(member) = of_type.member() else {
            return Err(format!("{} has no members to go through", of_type.named()));
        };
        let name = &of.iter_var;
        if self.scope.iter().any(|(known, _)| known == name) {
            return Err(format!("the variable `{name}` is there already; choose another name"));
        }
        if self.loops == MAX_LOOPS {
            return Err(format!(
                "more than {MAX_LOOPS} macros such as `all` are within each other"
            ));
        }
        self.loops += 1;
        self.scope.push((name.clone(), member));
        let kind = self.loop_kind(&parts);
        self.scope.pop();
        self.loops -= 1;
        let (kind, result) = kind?;
        Ok((Node::Loop(Box::new(Loop { kind, range })), result))
    }

    fn loop_kind(&mut self, parts: &Macro<'_>) -> Result<(LoopKind, Type), String> {
        Ok(match *parts {
            Macro::All(condition) => (LoopKind::All(self.condition(condition)?), Type::Bool),
            Macro::Exists(condition) => (LoopKind::Exists(self.condition(condition)?), Type::Bool),
            Macro::ExistsOne(condition) => {
                (LoopKind::ExistsOne(self.condition(condition)?), Type::Bool)
            }
            Macro::Map { condition, made } => {
                let condition = condition.map(|condition| self.condition(condition)).transpose()?;
                let (made, of_type) = self.expression(made)?;
                (LoopKind::Map { condition, made }, Type::list(of_type))
            }
        })
    }

    /// An expression that is true or false.
    pub(super) fn condition(&mut self, expression: &IdedExpr) -> Result<Node, String> {
        let (node, of_type) = self.expression(expression)?;
        if !of_type.fits(&Type::Bool) {
            return Err(format!("a condition is {}, and must be a bool", of_type.named()));
        }
        Ok(node)
    }
}
