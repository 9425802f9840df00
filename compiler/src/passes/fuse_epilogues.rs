//! Moves what is done to each element of a result into the operator that computes it: biases,
//! activations, residual additions. The result is then stored once.

use crate::ir::{
    Answer, Binary, DType, Edit, Epilogue, Graph, NodeId, Op, Operand, Step, TensorType, Unary,
    Weight,
};

/// Most steps of an epilogue. A longer one gains nothing, and its expression grows as deep as it is long.
const MOST_STEPS: usize = 32;

pub(super) fn fuse_epilogues(graph: &Graph, id: NodeId) -> Answer {
    match &graph.node(id).op {
        Op::Unary(function, then) => match producer(graph, id, 0) {
            Some(producer) => fuse(graph, id, producer, Step::Unary(*function), None, then),
            None => Answer::NoMatch,
        },
        Op::Binary(function, _) if function.compares() => Answer::NoMatch,
        Op::Binary(function, then) => fuse_binary(graph, id, *function, then),
        _ => Answer::NoMatch,
    }
}

/// The addition of a bias, joined with the layer before it.
pub(super) fn join_bias(graph: &Graph, id: NodeId) -> Option<Answer> {
    let Op::Binary(Binary::Add, then) = &graph.node(id).op else { return None };
    [(0, 1), (1, 0)].into_iter().find_map(|(slot, other)| {
        fuse_bias(graph, id, producer(graph, id, slot)?, graph.operand(id, other)?, then)
    })
}

/// The operand in `slot`, when it has an epilogue, is f32 of the node's shape, and goes nowhere
/// else. What is rounded to multiples of a scale stays a value: it can be stored as bytes.
fn producer(graph: &Graph, id: NodeId, slot: usize) -> Option<NodeId> {
    let producer = graph.operand(id, slot)?;
    let same = graph.ty(producer).shape() == graph.ty(id).shape();
    let fits = graph.node(producer).op.epilogue().is_some();
    let f32s = graph.ty(producer).dtype == DType::F32 && graph.ty(id).dtype == DType::F32;
    let is_rounded = is_quantized(&graph.node(producer).op);
    (same && fits && f32s && !is_rounded && graph.sole_use(producer).is_some()).then_some(producer)
}

/// Whether the last that is done to a result is to round it to multiples of a scale.
fn is_quantized(op: &Op) -> bool {
    let last = match (op, op.epilogue().and_then(|then| then.steps.last())) {
        (Op::Unary(function, _), None) | (_, Some(Step::Unary(function))) => function,
        _ => return false,
    };
    matches!(last, Unary::Quantized { .. })
}

fn fuse_binary(graph: &Graph, id: NodeId, function: Binary, then: &Epilogue) -> Answer {
    for (slot, other) in [(0, 1), (1, 0)] {
        if slot == 1 && !function.commutes() {
            continue;
        }
        let (Some(producer), Some(other)) = (producer(graph, id, slot), graph.operand(id, other))
        else {
            continue;
        };
        if function == Binary::Add
            && let Some(answer) = fuse_bias(graph, id, producer, other, then)
        {
            return answer;
        }
        if graph.ty(other).shape() == graph.ty(id).shape() {
            return fuse(graph, id, producer, Step::Binary(function, 0), Some(other), then);
        }
    }
    Answer::NoMatch
}

/// Appends `step` (whose operand, if any, is `other`) and the node's own epilogue to the
/// producer's.
fn fuse(
    graph: &Graph,
    id: NodeId,
    producer: NodeId,
    step: Step,
    other: Option<NodeId>,
    then: &Epilogue,
) -> Answer {
    let before = graph.node(producer).op.epilogue().map_or(0, |epilogue| epilogue.steps.len());
    if before + 1 + then.steps.len() > MOST_STEPS {
        return Answer::failed(format!("an epilogue has at most {MOST_STEPS} steps"));
    }
    let mut fused = Fused::new(graph, producer);
    fused.push(&step, other);
    fused.extend(graph, id, then);
    fused.answer(graph, id, Edit::of([producer, id]))
}

/// A producer with its epilogue under construction.
struct Fused {
    op: Op,
    operands: Vec<(usize, Operand)>,
    next_slot: usize,
}

impl Fused {
    fn new(graph: &Graph, producer: NodeId) -> Fused {
        let op = graph.node(producer).op.clone();
        let operands = graph.operands(producer);
        let used = operands.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
        let next_slot = used.max(op.epilogue_slot().unwrap_or(0));
        let operands = operands.into_iter().map(|(s, o)| (s, Operand::Old(o))).collect();
        Fused { op, operands, next_slot }
    }

    fn push(&mut self, step: &Step, operand: Option<NodeId>) {
        let step = match (step, operand) {
            (Step::Binary(function, _), Some(operand)) => {
                self.operands.push((self.next_slot, Operand::Old(operand)));
                self.next_slot += 1;
                Step::Binary(*function, self.next_slot - 1)
            }
            (step, _) => step.clone(),
        };
        if let Some(epilogue) = self.op.epilogue_mut() {
            epilogue.steps.push(step);
        }
    }

    /// Appends the epilogue of another node.
    fn extend(&mut self, graph: &Graph, id: NodeId, then: &Epilogue) {
        for step in &then.steps {
            let operand = match step {
                Step::Unary(_) => None,
                Step::Binary(_, slot) => graph.operand(id, *slot),
            };
            self.push(step, operand);
        }
    }

    fn answer(self, graph: &Graph, id: NodeId, mut edit: Edit) -> Answer {
        let fused = edit.add(&graph.node(id).name, self.op, self.operands);
        edit.replace(id, fused)
    }
}

/// An addition of one constant per channel, to a producer that has neither bias nor epilogue yet,
/// becomes its bias.
fn fuse_bias(
    graph: &Graph,
    id: NodeId,
    producer: NodeId,
    other: NodeId,
    then: &Epilogue,
) -> Option<Answer> {
    let op = &graph.node(producer).op;
    let shape = graph.ty(producer).shape();
    let axis = match op {
        Op::Conv(_) => 1,
        Op::MatMul { .. } if graph.ty(graph.operand(producer, 1)?).rank() == 2 => shape.len() - 1,
        _ => return None,
    };
    let free = graph.operand(producer, 2).is_none() && op.epilogue()?.is_empty();
    let Op::Weight(weight) = &graph.node(other).op else { return None };
    if !free || !is_per_channel(&graph.ty(other).shape(), &shape, axis) {
        return None;
    }
    let bytes = weight.bytes(graph.ty(other))?;
    let mut edit = Edit::of([producer, id]);
    let ty = TensorType::new(DType::F32, &[shape[axis]]);
    let bias = edit.constant(&graph.node(other).name, ty, Weight::from_bytes(bytes));
    let mut fused = Fused::new(graph, producer);
    fused.operands.push((2, bias));
    fused.extend(graph, id, then);
    Some(fused.answer(graph, id, edit))
}

/// Whether `small`, aligned with the last axes of `shape`, has `shape`'s extent along `axis` and 1
/// along every other.
fn is_per_channel(small: &[usize], shape: &[usize], axis: usize) -> bool {
    let Some(ahead) = shape.len().checked_sub(small.len()) else { return false };
    ahead <= axis
        && small.iter().enumerate().all(|(i, n)| {
            let here = i + ahead;
            if here == axis { *n == shape[axis] } else { *n == 1 }
        })
}
