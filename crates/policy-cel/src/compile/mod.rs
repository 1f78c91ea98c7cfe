//! From text to the tree that is evaluated. What is not known to be the same in Kubernetes is
//! refused here.

mod calls;
mod macros;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SelectExpr};
use cel::parser::Parser;

use crate::node::{Loop, LoopKind, Node};
use crate::types::{Shape, Type};

/// The most bytes of an expression.
pub const MAX_LENGTH: usize = 2_048;
/// The deepest nesting. It bounds the stack, here and in an evaluation.
const MAX_DEPTH: usize = 48;
/// How many macros that go through a list may be within each other.
const MAX_LOOPS: usize = 2;
/// The deepest nesting of brackets, conditions and signs. The parser and its tree take some 10 KiB
/// of stack for each.
const MAX_BRACKETS: usize = 24;

type Typed = (Node, Type);

/// Compiles an expression of that type.
pub(crate) fn compile(
    text: &str,
    variables: &[(&str, Shape)],
    wanted: &Type,
) -> Result<Node, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > MAX_LENGTH {
        return Err(format!("it has {} bytes, more than {MAX_LENGTH}", text.len()));
    }
    let expression = parse(text)?;
    let declared =
        variables.iter().map(|(name, shape)| ((*name).to_owned(), Type::of(*shape))).collect();
    let mut compiler = Compiler { scope: declared, loops: 0, depth: 0 };
    let (node, found) = compiler.expression(&expression)?;
    match found {
        found if found == *wanted => Ok(node),
        // Kubernetes refuses these too: an expression must be of its type whatever the object is.
        found if found.is_dyn() => Err(format!(
            "its type is known only when it is evaluated; {}, so that it is {}",
            if *wanted == Type::String {
                "write `string(…)` around it"
            } else {
                "compare its value"
            },
            wanted.named()
        )),
        found => Err(format!("it is {}, and must be {}", found.named(), wanted.named())),
    }
}

fn parse(text: &str) -> Result<IdedExpr, String> {
    refuse_deep(text)?;
    let limit = u16::try_from(MAX_DEPTH).unwrap_or(u16::MAX);
    let parser = Parser::new().max_recursion_depth(limit).error_recovery_limit(1);
    parser.parse(text).map_err(|errors| match errors.errors.first() {
        Some(error) => {
            let (line, column) = error.pos;
            let why = error.msg.trim_start_matches("Syntax error: ");
            let why: String = why.chars().take(200).collect();
            format!("syntax error at line {line}, column {column}: {why}")
        }
        None => "syntax error".to_owned(),
    })
}

/// Refuses a text that could nest deeply, before the parser goes into it. Brackets in texts count
/// too: nobody writes so many.
fn refuse_deep(text: &str) -> Result<(), String> {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_BRACKETS { Err(too_deep()) } else { Ok(()) }
}

fn too_deep() -> String {
    "it is nested too deeply".to_owned()
}

/// What is refused because it may mean something else elsewhere, or nothing is known of it.
fn unsupported(what: &str) -> String {
    format!("{what} not supported")
}

struct Compiler {
    /// The variables that the expression sees.
    scope: Vec<(String, Type)>,
    loops: usize,
    depth: usize,
}

impl Compiler {
    fn expression(&mut self, expression: &IdedExpr) -> Result<Typed, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let typed = match &expression.expr {
            Expr::Literal(value) => literal(value),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::List(list) if !list.optional_indices.is_empty() => {
                Err(unsupported("optional members (`?`) are"))
            }
            Expr::List(list) => self.list(&list.elements),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Map(_) => Err(unsupported("objects in braces (`{…}`) are")),
            Expr::Struct(_) => Err(unsupported("messages (`Type{…}`) are")),
            Expr::Unspecified => Err("it cannot be read".to_owned()),
        };
        self.depth -= 1;
        typed
    }

    fn variable(&self, name: &str) -> Result<Typed, String> {
        let known = self.scope.iter().enumerate().rfind(|(_, (known, _))| known == name);
        let Some((position, (_, of_type))) = known else {
            let known: Vec<_> = self.scope.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(format!("`{name}` is not known; there are {}", known.join(" and ")));
        };
        Ok((Node::Variable(position), of_type.clone()))
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Typed, String> {
        let (of, of_type) = self.expression(&select.operand)?;
        let field = select.field.as_str();
        let member = match of_type {
            Type::Part(fields) | Type::Message(fields) => {
                let Some((_, shape)) = fields.iter().find(|(name, _)| *name == field) else {
                    let known: Vec<_> =
                        fields.iter().map(|(name, _)| format!("`{name}`")).collect();
                    return Err(format!(
                        "the field `{field}` is not available there; there are {}",
                        known.join(", ")
                    ));
                };
                Type::of(*shape)
            }
            Type::Texts => Type::String,
            Type::Dyn | Type::Free => Type::Dyn,
            other => return Err(format!("{} has no field `{field}`", other.named())),
        };
        let (of, field) = (Box::new(of), field.into());
        Ok(if select.test {
            (Node::Has { of, field }, Type::Bool)
        } else {
            (Node::Select { of, field }, member)
        })
    }

    fn list(&mut self, members: &[IdedExpr]) -> Result<Typed, String> {
        let mut nodes = Vec::with_capacity(members.len());
        let mut common: Option<Type> = None;
        for member in members {
            let (node, of_type) = self.expression(member)?;
            nodes.push(node);
            common = Some(match common {
                None => of_type,
                Some(common) if common.is_same(&of_type) => common.joined(of_type),
                Some(common) => {
                    let are_texts = common.fits(&Type::String) && of_type.fits(&Type::String);
                    let hint =
                        if are_texts { "; write `string(…)` around what is dyn" } else { "" };
                    return Err(format!(
                        "a list has members of one type, not {common} and {of_type}{hint}"
                    ));
                }
            });
        }
        Ok((Node::List(nodes.into()), Type::list(common.unwrap_or(Type::Free))))
    }
}

fn literal(value: &LiteralValue) -> Result<Typed, String> {
    Ok(match value {
        LiteralValue::Null => (Node::Null, Type::Null),
        LiteralValue::Boolean(value) => (Node::Bool(*value.inner()), Type::Bool),
        LiteralValue::Int(value) => (Node::Int(*value.inner()), Type::Int),
        LiteralValue::Double(value) => (Node::Double(*value.inner()), Type::Double),
        LiteralValue::String(value) => (Node::String(value.inner().into()), Type::String),
        LiteralValue::UInt(_) => return Err(unsupported("unsigned numbers (`1u`) are")),
        LiteralValue::Bytes(_) => return Err(unsupported("bytes (`b'…'`) are")),
    })
}

/// Marks the variables that a tree uses, by position.
pub(crate) fn mark_variables(node: &Node, uses: &mut [bool]) {
    let mut mark = |node: &Node| mark_variables(node, uses);
    match node {
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Double(_) | Node::String(_) => {}
        Node::Variable(position) => {
            if let Some(is_used) = uses.get_mut(*position) {
                *is_used = true;
            }
        }
        Node::List(nodes) | Node::Call(_, nodes) => nodes.iter().for_each(mark),
        Node::If(nodes) => nodes.iter().for_each(mark),
        Node::Index(nodes) | Node::And(nodes) | Node::Or(nodes) | Node::Binary(_, nodes) => {
            nodes.iter().for_each(mark);
        }
        Node::Select { of, .. }
        | Node::Has { of, .. }
        | Node::Not(of)
        | Node::Negate(of)
        | Node::Matches(of, _) => mark(of),
        Node::Loop(of) => {
            let Loop { kind, range } = &**of;
            mark(range);
            match kind {
                LoopKind::All(of) | LoopKind::Exists(of) | LoopKind::ExistsOne(of) => mark(of),
                LoopKind::Map { condition, made } => {
                    condition.iter().for_each(&mut mark);
                    mark(made);
                }
            }
        }
    }
}
