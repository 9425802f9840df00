//! Kernels specified by hand, each with what it must compute: the variants that the planner does not
//! choose at sizes that are quick to prove.

mod tile;
mod winograd;

pub use tile::tile;
pub use winograd::{Result, winograd};

use cardinal_compiler::plan::kernel::Kernel;
use cardinal_compiler::plan::{Base, Place, Plan, Step};

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
    Place { base: Base::Input(i), offset: 0 }
}

fn output() -> Place {
    Place { base: Base::Output(0), offset: 0 }
}

fn plan(steps: impl IntoIterator<Item = (Kernel, Vec<Place>)>) -> Plan {
    let step = |(kernel, args): (Kernel, Vec<Place>)| Step {
        name: kernel.name().into(),
        kernel,
        args,
        why: String::new(),
        from: Vec::new(),
    };
    Plan {
        name: "by hand".into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        buffers: Vec::new(),
        steps: steps.into_iter().map(step).collect(),
        arena_bytes: 0,
        worker_bytes: 0,
        weight_bytes: 0,
    }
}
