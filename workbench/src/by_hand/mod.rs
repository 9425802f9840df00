//! Kernels specified by hand, each with what it must compute: the variants that the planner does not
//! choose at sizes that are quick to prove.

mod tile;
mod winograd;

pub use tile::tile;
pub use winograd::{Result, winograd};

use cardinal_compiler::plan::{Base, KernelRef, Place, Plan, Role, Step};

/// Steps on inputs and one output.
pub struct ByHand {
    /// The steps.
    pub plan: Plan,
    /// Contents of the inputs.
    pub inputs: Vec<Vec<u8>>,
    /// What the output must hold.
    pub expected: Vec<f64>,
}

fn input(i: usize) -> Place {
    Place::of(Base::Input(i))
}

fn output() -> Place {
    Place::of(Base::Output(0))
}

/// A kernel with its arguments, some of which it may not have.
fn step(kernel: impl Into<KernelRef>, places: &[(Role, Place)]) -> Step {
    let kernel = kernel.into();
    let place = |role: &Role| {
        let found = places.iter().find(|(known, _)| known == role);
        found.unwrap_or_else(|| panic!("there is no {role}")).1
    };
    let args = kernel.arguments().iter().map(place).collect();
    let (name, why, from) = (kernel.name().into(), String::new(), Vec::new());
    Step { name, kernel, args, stage: 0, why, from }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        name: "by hand".into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        buffers: Vec::new(),
        stages: Vec::new(),
        steps,
        arena_bytes: 0,
        worker_bytes: 0,
        weight_bytes: 0,
    }
}
