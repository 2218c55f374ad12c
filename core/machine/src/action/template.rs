//! Values of actions: JSON with expressions in it.

use rstmdb_types::{Json, JsonRef, Result};

use super::read::Reading;
use crate::expression::{EvaluationBudget, Expression, Meter, Scope};
use crate::invalid::{invalid, kind};

/// The member that makes an object an expression.
const EXPRESSION: &str = "$";
/// The member whose value is meant as it stands.
const LITERAL: &str = "$$";

/// A value of an action.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Json),
    /// What stood behind `$$`.
    Escaped(Json),
    Expression(Expression),
    List(Vec<Template>),
    /// With the names as canonical JSON has them.
    Object(Vec<(Box<str>, Template)>),
}

impl Template {
    /// Reads a value: JSON is meant as it stands, but for `{"$": "expression"}` and `{"$$": anything}`.
    pub(super) fn read(
        path: &str,
        value: JsonRef<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<Template> {
        let whole = || Json::from_canonical(&value.text());
        match value {
            JsonRef::Array(_) => {
                let mut items = Vec::new();
                for (i, item) in value.elements().enumerate() {
                    items.push(Template::read(&format!("{path}[{i}]"), item, reading)?);
                }
                let is_literal = items.iter().all(Template::is_as_written);
                Ok(if is_literal { Template::Literal(whole()) } else { Template::List(items) })
            }
            JsonRef::Object(_) => {
                if let Some(marked) = Template::read_marked(path, value, reading)? {
                    return Ok(marked);
                }
                let mut members = Vec::new();
                for member in value.members() {
                    let path = format!("{path}.{}", member.raw_key);
                    let inner = Template::read(&path, member.value(), reading)?;
                    members.push((Box::from(member.raw_key), inner));
                }
                let is_literal = members.iter().all(|(_, one)| one.is_as_written());
                Ok(if is_literal { Template::Literal(whole()) } else { Template::Object(members) })
            }
            _ => Ok(Template::Literal(whole())),
        }
    }

    /// Reads an object with a mark; None for others.
    fn read_marked(
        path: &str,
        value: JsonRef<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Template>> {
        let marked = value.get(EXPRESSION).map(|inner| (EXPRESSION, inner));
        let Some((mark, inner)) = marked.or_else(|| Some((LITERAL, value.get(LITERAL)?))) else {
            return Ok(None);
        };
        if value.members().count() > 1 {
            let advice = "has other members beside it; an object that is meant as it stands is {\"$$\": {…}}";
            return Err(invalid(&format!("{path}.{mark}"), advice));
        }
        if mark == LITERAL {
            return Ok(Some(Template::Escaped(Json::from_canonical(&inner.text()))));
        }
        let JsonRef::String(_) = inner else {
            let message =
                format!("must be an expression, which is a string, found {}", kind(inner));
            return Err(invalid(&format!("{path}.{mark}"), message));
        };
        let expression = reading.expression(&format!("{path}.{mark}"), inner)?;
        Ok(Some(Template::Expression(expression)))
    }

    /// Whether it stands in the definition as it is meant.
    fn is_as_written(&self) -> bool {
        matches!(self, Template::Literal(_))
    }

    /// The text of the expression that it is.
    pub(super) fn expression(&self) -> Option<&str> {
        match self {
            Template::Expression(expression) => Some(expression.text()),
            _ => None,
        }
    }

    /// What it comes to; where the budget is exceeded the answer means nothing.
    pub(super) fn evaluate(&self, scope: &Scope<'_>, budget: &EvaluationBudget) -> Json {
        match self {
            Template::Literal(json) | Template::Escaped(json) => {
                budget.make(json.as_str().len());
                json.clone()
            }
            Template::Expression(expression) => expression.evaluate(scope, budget),
            Template::List(_) | Template::Object(_) => {
                let mut out = String::new();
                self.write(scope, budget, &mut out);
                Json::from_canonical(&out)
            }
        }
    }

    fn write(&self, scope: &Scope<'_>, budget: &EvaluationBudget, out: &mut String) {
        match self {
            Template::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    item.write(scope, budget, out);
                }
                out.push(']');
            }
            Template::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ",\"" } else { "\"" });
                    out.push_str(key);
                    out.push_str("\":");
                    value.write(scope, budget, out);
                }
                out.push('}');
            }
            other => out.push_str(other.evaluate(scope, budget).as_str()),
        }
    }
}
