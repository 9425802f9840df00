//! The whole pipeline: an imported model to an artifact.

use cardinal_runtime::ArtifactParts;
use cardinal_runtime::manifest::{Manifest, Property, TensorInfo};

use crate::codegen::{self, Listing, Target};
use crate::error::Result;
use crate::ir::{Graph, verify};
use crate::onnx::Model;
use crate::options::CompileOptions;
use crate::passes::{self, Run};
use crate::plan::{self, Plan, Port};

/// A compiled model.
#[derive(Debug)]
pub struct Compiled {
    /// Manifest, code and weights.
    pub parts: ArtifactParts,
    /// Nodes of the graph after all passes, weights not counted.
    pub nodes: usize,
}

/// Compiles a model for a target.
///
/// The result depends on the model, the target, the options and the version of the compiler alone.
///
/// # Errors
/// What the model asks for and generated code cannot do, as [`crate::error::Problem`] describes.
pub fn compile(model: &Model, target: &Target, options: &CompileOptions) -> Result<Compiled> {
    let mut graph = model.graph.clone();
    let run = Run { until: None, check_rewrites: options.check_rewrites };
    passes::run_with(&mut graph, run, &mut |_, _| {})?;
    verify(&graph)?;
    let plan = plan::lower(&graph, &target.machine(options.winograd))?;
    let code = codegen::generate(&plan, target, Listing::default())?;
    let manifest = Manifest {
        model_name: model.graph.name.clone(),
        model_digest: model.digest.to_vec(),
        compiler_version: env!("CARGO_PKG_VERSION").into(),
        target: target.triple(),
        cpu_features: target.features().to_vec(),
        inputs: plan.inputs.iter().map(info).collect(),
        outputs: plan.outputs.iter().map(info).collect(),
        arena_bytes: plan.arena_bytes as u64,
        entry_offset: code.entry as u64,
        code: None,
        weights: None,
        metadata: model.metadata.iter().map(property).collect(),
        worker_bytes: plan.worker_bytes as u64,
    };
    let parts = ArtifactParts { manifest, code: code.bytes, weights: weights(&plan) };
    Ok(Compiled { parts, nodes: computing_nodes(&graph) })
}

/// The weights section: every constant at its offset.
fn weights(plan: &Plan) -> Vec<u8> {
    let mut section = vec![0; plan.weight_bytes];
    for constant in &plan.constants {
        if let Some(bytes) = constant.data.bytes(&constant.ty) {
            section[constant.offset..][..bytes.len()].copy_from_slice(&bytes);
        }
    }
    section
}

/// Nodes that compute something.
pub fn computing_nodes(graph: &Graph) -> usize {
    let computes = |id: &crate::ir::NodeId| {
        !matches!(graph.node(*id).op, crate::ir::Op::Input | crate::ir::Op::Weight(_))
    };
    graph.nodes().filter(computes).count()
}

fn info(port: &Port) -> TensorInfo {
    TensorInfo {
        name: port.name.clone(),
        dtype: port.ty.dtype as u32,
        shape: port.ty.shape().iter().map(|n| *n as u64).collect(),
    }
}

fn property((key, value): &(String, String)) -> Property {
    Property { key: key.clone(), value: value.clone() }
}
