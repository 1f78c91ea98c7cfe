//! Evaluates expressions of CEL, the Common Expression Language, exactly as Kubernetes does in a
//! `ValidatingAdmissionPolicy`, or refuses them when they are compiled.
//!
//! The crate `cel` parses. Its evaluation differs from that of cel-go in places that nobody sees
//! (integers of JSON, regular expressions, types), checks no types and has no limit, so what is
//! evaluated is a tree of our own that has only what is the same in both: operators, the macros
//! `has`, `all`, `exists`, `exists_one`, `filter` and `map`, and a few functions. Types are checked
//! as far as they are known without a schema, as Kubernetes does for `object`.
//!
//! Time and memory are bounded: the text of an expression, its depth, the size of its input
//! ([`MAX_SIZE`]) and the steps of an evaluation ([`MAX_STEPS`]).

mod compile;
mod eval;
mod node;
mod operation;
mod pattern;
mod program;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use compile::MAX_LENGTH;
pub use eval::{Failure, MAX_STEPS};
pub use program::{Program, ResultType};
pub use types::Shape;
pub use value::{Bounded, Fields, MAX_SIZE, NODE, Value};
