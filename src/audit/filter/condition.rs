//! Conditions on fields of the payload: `data.priority=0`, `data.runtime_us>1000000`.
//!
//! Numbers compare as numbers, texts as texts; a value of another type than the one asked for is
//! not equal to it. A field that is absent fits `!=` only.

use std::cmp::Ordering;
use std::str::FromStr;

use regex::Regex;
use serde_json::{Number, Value};

use super::{FilterError, parse_regex};

/// One condition on one field.
#[derive(Debug, Clone)]
pub struct Condition {
    path: Vec<Box<str>>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(Operand),
    NotEqual(Operand),
    Order(Operand, &'static [Ordering]),
    Match(Regex),
}

/// The value asked for: its text, and what it would be as JSON.
#[derive(Debug, Clone)]
struct Operand {
    text: Box<str>,
    json: Option<Value>,
}

impl Operand {
    fn new(text: &str) -> Self {
        match serde_json::from_str(text) {
            // In quotes: the text itself is meant, even where it looks like a number.
            Ok(Value::String(s)) => Self {
                json: Some(Value::String(s.clone())),
                text: s.into(),
            },
            json => Self {
                text: text.into(),
                json: json.ok(),
            },
        }
    }

    fn equals(&self, actual: &Value) -> bool {
        match (actual, &self.json) {
            (Value::Number(a), Some(Value::Number(b))) => compare(a, b) == Some(Ordering::Equal),
            (Value::String(s), _) => **s == *self.text,
            (actual, Some(json)) => actual == json,
            (_, None) => false,
        }
    }

    fn order(&self, actual: &Value) -> Option<Ordering> {
        match (actual, &self.json) {
            (Value::Number(a), Some(Value::Number(b))) => compare(a, b),
            (Value::String(s), _) => Some(s.as_str().cmp(&self.text)),
            _ => None,
        }
    }
}

/// Whole numbers compare exactly, all others as floating point.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

impl Condition {
    fn holds(&self, data: &Value) -> bool {
        let actual = self.path.iter().try_fold(data, |value, name| match value {
            Value::Object(fields) => fields.get(&**name),
            Value::Array(items) => name.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        });
        match (&self.test, actual) {
            (Test::NotEqual(operand), actual) => actual.is_none_or(|a| !operand.equals(a)),
            (_, None) => false,
            (Test::Equal(operand), Some(actual)) => operand.equals(actual),
            (Test::Order(operand, wanted), Some(actual)) => operand
                .order(actual)
                .is_some_and(|order| wanted.contains(&order)),
            (Test::Match(regex), Some(Value::String(text))) => regex.is_match(text),
            (Test::Match(regex), Some(other)) => regex.is_match(&other.to_string()),
        }
    }

    /// Whether it names a value, so that another one on the same field widens.
    fn names_a_value(&self) -> bool {
        match self.test {
            Test::Equal(_) | Test::Match(_) => true,
            Test::NotEqual(_) | Test::Order(..) => false,
        }
    }
}

/// Whether a payload fits all conditions, those that name a value of one field taken together.
pub(super) fn all_hold(conditions: &[Condition], data: &str) -> bool {
    if conditions.is_empty() {
        return true;
    }
    let Ok(data) = serde_json::from_str::<Value>(data) else {
        return false;
    };
    conditions.iter().all(|c| {
        c.holds(&data)
            || (c.names_a_value()
                && conditions
                    .iter()
                    .any(|o| o.names_a_value() && o.path == c.path && o.holds(&data)))
    })
}

impl FromStr for Condition {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        use Ordering::{Equal, Greater, Less};
        let error = || FilterError::Condition(text.chars().take(80).collect());
        let rest = text.strip_prefix("data.").ok_or_else(error)?;
        let at = rest.find(['=', '!', '<', '>', '~']).ok_or_else(error)?;
        let (path, test) = rest.split_at(at);
        let path: Vec<Box<str>> = path.trim_end().split('.').map(Box::from).collect();
        if path.iter().any(|name| name.is_empty()) {
            return Err(error());
        }
        type Operator = (&'static str, fn(Operand) -> Test);
        let operators: [Operator; 6] = [
            ("!=", Test::NotEqual),
            ("<=", |o| Test::Order(o, &[Less, Equal])),
            (">=", |o| Test::Order(o, &[Greater, Equal])),
            ("=", Test::Equal),
            ("<", |o| Test::Order(o, &[Less])),
            (">", |o| Test::Order(o, &[Greater])),
        ];
        if let Some(pattern) = test.strip_prefix('~') {
            return Ok(Self {
                path,
                test: Test::Match(parse_regex(pattern)?),
            });
        }
        let found = operators
            .iter()
            .find_map(|(op, make)| test.strip_prefix(op).map(|value| make(Operand::new(value))));
        found.map(|test| Self { path, test }).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"priority":0,"big":9007199254740993,"ratio":0.5,"name":"build","num":"5",
        "on":true,"none":null,"payload":{"argv":["echo","hi there"]}}"#;

    fn holds(conditions: &[&str]) -> bool {
        let parsed: Vec<Condition> = conditions.iter().map(|c| c.parse().unwrap()).collect();
        all_hold(&parsed, DATA)
    }

    #[test]
    fn fields_compare_by_their_type() {
        for yes in [
            "data.priority=0",
            "data.priority=0.0",
            "data.priority<1",
            "data.priority>=0",
            "data.big=9007199254740993",
            "data.big>9007199254740992",
            "data.ratio>0.25",
            "data.name=build",
            "data.name=\"build\"",
            "data.name~^bu",
            "data.name>alpha",
            "data.num=5",
            "data.num=\"5\"",
            "data.on=true",
            "data.none=null",
            "data.payload.argv.0=echo",
            "data.payload.argv.1=hi there",
            "data.payload.argv=[\"echo\",\"hi there\"]",
            "data.absent!=1",
            "data.priority!=1",
        ] {
            assert!(holds(&[yes]), "{yes}");
        }
        for no in [
            "data.priority=\"0\"",
            "data.priority=zero",
            "data.priority<0",
            "data.name<5 ",
            "data.on=\"true\"",
            "data.absent=null",
            "data.absent~.",
            "data.payload.argv.7=x",
            "data.name.x=build",
            "data.priority!=0",
        ] {
            assert!(!holds(&[no]), "{no}");
        }
    }

    #[test]
    fn values_of_one_field_widen_and_bounds_narrow() {
        assert!(holds(&["data.priority=0", "data.priority=2"]));
        assert!(!holds(&["data.priority=1", "data.priority=2"]));
        assert!(holds(&["data.priority>=0", "data.priority<=0"]));
        assert!(!holds(&["data.priority>=0", "data.priority>5"]));
        assert!(!holds(&["data.priority=0", "data.name=other"]));
        assert!(!holds(&["data.priority=0", "data.priority!=0"]));
    }

    #[test]
    fn what_is_not_a_condition_is_refused() {
        for bad in [
            "",
            "priority=0",
            "data.=1",
            "data.a..b=1",
            "data.a",
            "data.a!1",
            "data=1",
        ] {
            assert!(
                matches!(bad.parse::<Condition>(), Err(FilterError::Condition(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            "data.a~(".parse::<Condition>(),
            Err(FilterError::Regex { .. })
        ));
    }
}
