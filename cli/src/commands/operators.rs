//! `cardinal operators`: what models may be made of.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::args::OperatorsArgs;
use crate::engine::{KnownOperator, operators};
use crate::exit::Outcome;
use crate::output;

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.operators/v1";

pub(crate) fn run(args: &OperatorsArgs) -> Outcome {
    let all = operators();
    match args.json {
        true => {
            let rows = Value::from_iter(all.iter().map(row));
            output::print_json(&json!({ "schema": SCHEMA, "operators": rows }))
        }
        false => output::print(|out| all.iter().try_for_each(|operator| line(out, operator))),
    }
}

/// An operator in JSON.
fn row(operator: &KnownOperator) -> Value {
    let (first, last) = operator.opsets;
    json!({
        "domain": operator.domain,
        "name": operator.name,
        "first_opset": first,
        "last_opset": last,
        "changed": operator.changed,
    })
}

/// An operator in text: its name, its first and last operator set, and those that changed it.
fn line(out: &mut dyn Write, operator: &KnownOperator) -> io::Result<()> {
    let name = match operator.domain {
        "" => operator.name.to_owned(),
        domain => format!("{domain}::{}", operator.name),
    };
    let (first, last) = operator.opsets;
    let changed: Vec<String> = operator.changed.iter().map(i64::to_string).collect();
    let line = format!("{name:44}{first:>4} {last:>3}  {}", changed.join(" "));
    writeln!(out, "{}", line.trim_end())
}
