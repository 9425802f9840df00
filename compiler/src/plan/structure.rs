//! What a plan is but for the contents of its weights. Generated code depends on nothing else, so
//! plans of equal structure have the same code.

use super::weights::Packed;
use super::{Plan, text};

/// The structure of a plan, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// BLAKE3 of the plan's text without names, reasons, origins and hashes of constants.
    pub digest: [u8; 32],
    /// The first four bytes of the BLAKE3 of each step's part of that, to find what differs.
    pub outline: Vec<u32>,
}

impl Structure {
    /// The structure of a plan.
    pub fn of(plan: &Plan) -> Structure {
        let text = text::print(&bare(plan));
        // Blank lines are between steps: names, which could hold others, are quoted or gone.
        let steps = text.split("\n\n").skip(1).map(|step| step.trim_end_matches("}\n").trim_end());
        Structure {
            digest: *blake3::hash(text.as_bytes()).as_bytes(),
            outline: steps.map(short_digest).collect(),
        }
    }
}

fn short_digest(text: &str) -> u32 {
    let digest = blake3::hash(text.as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The plan without what code does not depend on. The names of inputs and outputs stay: callers do.
fn bare(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.name.clear();
    for constant in &mut plan.constants {
        constant.name.clear();
        constant.data = Packed::absent(0);
    }
    for buffer in &mut plan.buffers {
        buffer.name.clear();
    }
    for step in &mut plan.steps {
        step.name.clear();
        step.why.clear();
        step.from.clear();
    }
    plan
}
