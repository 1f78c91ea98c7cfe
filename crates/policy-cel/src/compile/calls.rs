//! Operators and functions.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Compiler, Typed, unsupported};
use crate::node::{Binary, Function, Node};
use crate::pattern;
use crate::types::Type;

/// What may be called, for whoever wrote something else.
const SUPPORTED: &str = "supported are the macros has, all, exists, exists_one, filter and map, and \
    the functions size, contains, startsWith, endsWith, matches, lowerAscii, upperAscii, split, \
    join and string";

fn binary(operator: &str) -> Option<Binary> {
    Some(match operator {
        operators::EQUALS => Binary::Equal,
        operators::NOT_EQUALS => Binary::NotEqual,
        operators::LESS => Binary::Less,
        operators::LESS_EQUALS => Binary::LessOrEqual,
        operators::GREATER => Binary::Greater,
        operators::GREATER_EQUALS => Binary::GreaterOrEqual,
        operators::ADD => Binary::Add,
        operators::SUBSTRACT => Binary::Subtract,
        operators::MULTIPLY => Binary::Multiply,
        operators::DIVIDE => Binary::Divide,
        operators::MODULO => Binary::Remainder,
        operators::IN => Binary::In,
        _ => return None,
    })
}

impl Compiler {
    pub(super) fn call(&mut self, call: &CallExpr) -> Result<Typed, String> {
        let CallExpr { func_name, target, args } = call;
        if let Some(target) = target {
            return self.method(func_name, target, args);
        }
        match (func_name.as_str(), args.as_slice()) {
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let condition = self.condition(condition)?;
                let (then, of_then) = self.expression(then)?;
                let (otherwise, of_other) = self.expression(otherwise)?;
                if !of_then.fits(&of_other) {
                    return Err(format!(
                        "both results of `?:` have one type, not {of_then} and {of_other}"
                    ));
                }
                Ok((Node::If(Box::new([condition, then, otherwise])), of_then.joined(of_other)))
            }
            (operators::LOGICAL_AND, [left, right]) => {
                let both = [self.condition(left)?, self.condition(right)?];
                Ok((Node::And(Box::new(both)), Type::Bool))
            }
            (operators::LOGICAL_OR, [left, right]) => {
                let both = [self.condition(left)?, self.condition(right)?];
                Ok((Node::Or(Box::new(both)), Type::Bool))
            }
            (operators::LOGICAL_NOT, [of]) => {
                Ok((Node::Not(Box::new(self.condition(of)?)), Type::Bool))
            }
            (operators::NEGATE, [of]) => match self.expression(of)? {
                (node, of_type @ (Type::Int | Type::Double)) => {
                    Ok((Node::Negate(Box::new(node)), of_type))
                }
                (node, of_type) if of_type.is_dyn() => {
                    Ok((Node::Negate(Box::new(node)), Type::Dyn))
                }
                (_, of_type) => Err(format!("`-` has no meaning for {of_type}")),
            },
            (operators::INDEX, [list, index]) => self.index(list, index),
            (operators::OPT_INDEX | operators::OPT_SELECT, _) => {
                Err(unsupported("optional values (`?`) are"))
            }
            ("size", [of]) => self.function(Function::Size, of, &[]),
            ("string", [of]) => self.function(Function::String, of, &[]),
            (operator, [left, right]) if binary(operator).is_some() => {
                let operator = binary(operator).unwrap_or(Binary::Equal);
                let (left, of_left) = self.expression(left)?;
                let (right, of_right) = self.expression(right)?;
                let result = result_type(operator, of_left, of_right)?;
                Ok((Node::Binary(operator, Box::new([left, right])), result))
            }
            (name, _) => Err(unknown(name)),
        }
    }

    fn method(
        &mut self,
        name: &str,
        target: &IdedExpr,
        args: &[IdedExpr],
    ) -> Result<Typed, String> {
        let function = match (name, args.len()) {
            ("matches", 1) => return self.matches(target, args),
            ("size", 0) => Function::Size,
            ("contains", 1) => Function::Contains,
            ("startsWith", 1) => Function::StartsWith,
            ("endsWith", 1) => Function::EndsWith,
            ("lowerAscii", 0) => Function::LowerAscii,
            ("upperAscii", 0) => Function::UpperAscii,
            ("split", 1) => Function::Split,
            ("join", 0 | 1) => Function::Join,
            _ => return Err(unknown(name)),
        };
        self.function(function, target, args)
    }

    fn function(
        &mut self,
        function: Function,
        target: &IdedExpr,
        args: &[IdedExpr],
    ) -> Result<Typed, String> {
        let (node, of_type) = self.expression(target)?;
        let takes = match function {
            Function::Size => matches!(of_type, Type::String | Type::List(_) | Type::Texts),
            Function::String => matches!(of_type, Type::Int | Type::Bool | Type::String),
            Function::Join => of_type.fits(&Type::list(Type::String)),
            _ => of_type == Type::String,
        };
        let name = function.name();
        if !takes && !of_type.is_dyn() {
            return Err(format!("{name}() takes no {of_type}"));
        }
        let mut nodes = vec![node];
        for argument in args {
            let (node, of_type) = self.expression(argument)?;
            if !of_type.fits(&Type::String) {
                return Err(format!("{name}() takes a string, not {}", of_type.named()));
            }
            nodes.push(node);
        }
        let result = match function {
            Function::Size => Type::Int,
            Function::Contains | Function::StartsWith | Function::EndsWith => Type::Bool,
            Function::Split => Type::list(Type::String),
            Function::LowerAscii | Function::UpperAscii | Function::Join | Function::String => {
                Type::String
            }
        };
        Ok((Node::Call(function, nodes.into()), result))
    }

    /// A pattern is compiled once, so it has to be known.
    fn matches(&mut self, target: &IdedExpr, args: &[IdedExpr]) -> Result<Typed, String> {
        let (node, of_type) = self.expression(target)?;
        if !of_type.fits(&Type::String) {
            return Err(format!("matches() takes no {of_type}"));
        }
        let [IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }] = args else {
            return Err(unsupported("matches() with a pattern that is no text in quotes is"));
        };
        let regex = pattern::compile(pattern.inner());
        let regex = regex.map_err(|why| format!("matches(): {why}"))?;
        Ok((Node::Matches(Box::new(node), Box::new(regex)), Type::Bool))
    }

    fn index(&mut self, list: &IdedExpr, index: &IdedExpr) -> Result<Typed, String> {
        let (list, of_list) = self.expression(list)?;
        let (index, of_index) = self.expression(index)?;
        let member = match &of_list {
            Type::List(member) if of_index.fits(&Type::Int) => (**member).clone(),
            Type::List(_) => return Err(format!("the index of a list is an int, not {of_index}")),
            Type::Texts if of_index.fits(&Type::String) => Type::String,
            Type::Part(_) | Type::Message(_) => {
                return Err("use a name after a dot there, not an index (`[…]`)".to_owned());
            }
            Type::Dyn | Type::Free
                if !matches!(of_index, Type::Null | Type::List(_) | Type::Double) =>
            {
                Type::Dyn
            }
            Type::Dyn | Type::Free | Type::Texts => {
                return Err(format!("{} is no index", of_index.named()));
            }
            other => return Err(format!("{} has no index", other.named())),
        };
        Ok((Node::Index(Box::new([list, index])), member))
    }
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    format!("{name}() is not supported, or not with these arguments; {SUPPORTED}")
}

/// The type of the result of an operator on values of these types.
fn result_type(operator: Binary, left: Type, right: Type) -> Result<Type, String> {
    use Binary::{
        Add, Divide, Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, Multiply, NotEqual,
        Remainder, Subtract,
    };
    let has_meaning = match operator {
        Equal | NotEqual => left.fits(&right),
        Less | LessOrEqual | Greater | GreaterOrEqual => {
            let is_number = |of: &Type| matches!(of, Type::Int | Type::Double);
            let is_ordered =
                |of: &Type| is_number(of) || of.is_dyn() || matches!(of, Type::String | Type::Bool);
            let are_numbers = is_number(&left) && is_number(&right);
            is_ordered(&left) && is_ordered(&right) && (are_numbers || left.fits(&right))
        }
        In => right.member().is_some_and(|member| left.fits(&member)),
        Add | Subtract | Multiply | Divide | Remainder => {
            let is_operand = |of: &Type| match of {
                Type::Int => true,
                Type::Double => operator != Remainder,
                Type::String | Type::List(_) => operator == Add,
                other => other.is_dyn(),
            };
            is_operand(&left) && is_operand(&right) && left.fits(&right)
        }
    };
    if !has_meaning {
        return Err(format!("`{}` has no meaning for {left} and {right}", operator.symbol()));
    }
    Ok(match operator {
        Add | Subtract | Multiply | Divide | Remainder => match (left, right) {
            (left @ Type::List(_), right @ Type::List(_)) => left.joined(right),
            // A list of which nothing more is known.
            (Type::List(_), _) | (_, Type::List(_)) => Type::list(Type::Dyn),
            (left, right) if left.is_dyn() => {
                if right.is_dyn() {
                    Type::Dyn
                } else {
                    right
                }
            }
            (left, _) => left,
        },
        _ => Type::Bool,
    })
}
