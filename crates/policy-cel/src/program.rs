//! A compiled expression.

use crate::compile;
use crate::eval::{self, Failure, Outcome};
use crate::node::Node;
use crate::types::{Shape, Type};
use crate::value::Value;

/// The type of the result of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// `true` or `false`.
    Bool,
    /// A text.
    String,
}

/// A compiled expression over variables. Cheap to evaluate, any number of times.
#[derive(Clone, Debug)]
pub struct Program {
    root: Node,
    uses: Vec<bool>,
}

impl Program {
    /// Compiles an expression over variables of these names, each with the fields that it has.
    ///
    /// # Errors
    /// Why it is refused, as a sentence: it is invalid, has something that is not supported, or
    /// another type.
    pub fn compile(
        text: &str,
        variables: &[(&str, Shape)],
        result: ResultType,
    ) -> Result<Self, String> {
        let wanted = match result {
            ResultType::Bool => Type::Bool,
            ResultType::String => Type::String,
        };
        let root = compile::compile(text, variables, &wanted)?;
        let mut uses = vec![false; variables.len()];
        compile::mark_variables(&root, &mut uses);
        Ok(Self { root, uses })
    }

    /// Whether the expression uses the variable at that position.
    #[must_use]
    pub fn uses(&self, variable: usize) -> bool {
        self.uses.get(variable).copied().unwrap_or(false)
    }

    /// Evaluates an expression that is true or false. The values are those of the variables, in
    /// their order.
    ///
    /// # Errors
    /// What is wrong with these values.
    pub fn is_true(&self, variables: &[&Value]) -> Result<bool, Failure> {
        match eval::evaluate(&self.root, variables)? {
            Outcome::Bool(value) => Ok(value),
            Outcome::String(_) => Err(Failure::result("bool")),
        }
    }

    /// Evaluates an expression that is a text.
    ///
    /// # Errors
    /// What is wrong with these values.
    pub fn text(&self, variables: &[&Value]) -> Result<String, Failure> {
        match eval::evaluate(&self.root, variables)? {
            Outcome::String(value) => Ok(value),
            Outcome::Bool(_) => Err(Failure::result("string")),
        }
    }
}
