//! RNN, GRU and LSTM, a step after the other.

use super::activation::{softplus, softsign};
use super::matmul;
use crate::error::Result;
use crate::ir::Unary;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// Each step takes a dozen operators.
pub(super) const MOST_STEPS: usize = 4096;

/// Which cell the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    /// How many matrices its weights are.
    fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    fn default_activations(self) -> &'static [&'static str] {
        match self {
            Cell::Rnn => &["Tanh"],
            Cell::Gru => &["Sigmoid", "Tanh"],
            Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// What a cell remembers, `[batch, hidden]`; LSTM has two.
#[derive(Debug, Clone, Copy)]
struct State {
    hidden: ValueId,
    cell: ValueId,
}

/// A network in one direction.
struct Direction {
    cell: Cell,
    activations: Vec<String>,
    clip: Option<f32>,
    /// GRU's `linear_before_reset`.
    linear_first: bool,
    /// `[gates * hidden, hidden]`
    recurrence: ValueId,
    /// `[gates * hidden]`, if it is there.
    bias: Option<ValueId>,
    /// LSTM's `[3 * hidden]`, of the gates i, o and f.
    peepholes: Option<ValueId>,
    hidden: usize,
}

/// RNN, GRU and LSTM.
pub(in crate::onnx) fn recurrent(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let cell = match ctx.operator() {
        "RNN" => Cell::Rnn,
        "GRU" => Cell::Gru,
        _ => Cell::Lstm,
    };
    let batch_first = ctx.attributes.flag("layout", false)?;
    let x = ctx.required(0)?;
    let x = if batch_first { ctx.transposed(x, &[1, 0, 2])? } else { x };
    let reversed: &[bool] = match ctx.attributes.string("direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(bad(format!("attribute `direction` is `{other}`"))),
    };
    check_sizes(ctx, cell, x, reversed.len())?;
    let (mut outputs, mut hidden, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for (index, &reverse) in reversed.iter().enumerate() {
        let (y, last) = one_direction(ctx, cell, x, (index, reversed.len()), reverse)?;
        outputs.push(y);
        hidden.push(last.hidden);
        cells.push(last.cell);
    }
    let y = ctx.joined(1, &outputs)?;
    let y = if batch_first { ctx.transposed(y, &[2, 0, 1, 3])? } else { y };
    ctx.bind(0, y)?;
    for (index, last) in [(1, hidden), (2, cells)] {
        let y = ctx.joined(0, &last)?;
        let y = if batch_first { ctx.transposed(y, &[1, 0, 2])? } else { y };
        ctx.bind(index, y)?;
    }
    Ok(())
}

/// Refuses what does not fit together, and sequences of different lengths.
fn check_sizes(
    ctx: &mut NodeContext<'_, '_>,
    cell: Cell,
    x: ValueId,
    directions: usize,
) -> Result<()> {
    let (w, r) = (ctx.required(1)?, ctx.required(2)?);
    let ([steps, _, input], [_, rows, hidden]) = (three(ctx, x)?, three(ctx, r)?);
    let gates = cell.gates();
    let fits = ctx.shape(w) == [directions, gates * hidden, input]
        && ctx.shape(r) == [directions, gates * hidden, hidden]
        && rows == gates * hidden;
    if !fits {
        return Err(bad(format!("weights {} and {} for {}", ctx.ty(w), ctx.ty(r), ctx.ty(x))));
    }
    if let Some(declared) = ctx.attributes.optional_int("hidden_size")?
        && declared != hidden as i64
    {
        return Err(bad(format!("attribute `hidden_size` is {declared}, not {hidden}")));
    }
    if steps > MOST_STEPS || steps == 0 {
        return Err(unsupported(format!("a sequence of {steps} steps")));
    }
    match ctx.constant_ints(4)? {
        Some(lengths) if lengths.iter().any(|n| *n != steps as i64) => {
            Err(unsupported("sequences of different lengths")
                .with_remedy("export the model for sequences of one length"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The extents of three axes.
pub(super) fn three(ctx: &NodeContext<'_, '_>, id: ValueId) -> Result<[usize; 3]> {
    let shape = <[usize; 3]>::try_from(ctx.shape(id));
    shape.map_err(|_| bad(format!("{} has not 3 axes", ctx.ty(id))))
}

/// Operand `index` of one direction of several, without that axis.
fn of_direction(ctx: &mut NodeContext<'_, '_>, operand: ValueId, index: usize) -> Result<ValueId> {
    let shape = ctx.shape(operand);
    let one = part(ctx, operand, 0, index, 1)?;
    ctx.reshape(one, &shape[1..])
}

/// The hidden states of all steps, `[steps, 1, batch, hidden]`, and the last, `[1, batch, hidden]`.
fn one_direction(
    ctx: &mut NodeContext<'_, '_>,
    cell: Cell,
    x: ValueId,
    (index, directions): (usize, usize),
    reverse: bool,
) -> Result<(ValueId, State)> {
    let [steps, batch, input] = three(ctx, x)?;
    let direction = direction(ctx, cell, (index, directions))?;
    let hidden = direction.hidden;
    // What comes from x is one product for all steps.
    let w = ctx.required(1)?;
    let w = of_direction(ctx, w, index)?;
    let rows = ctx.reshape(x, &[steps * batch, input])?;
    let gates = ctx.emit(matmul::op(false, true), &[rows, w])?;
    let gates = ctx.reshape(gates, &[steps, batch, cell.gates() * hidden])?;
    let mut state = first_state(ctx, index, [batch, hidden])?;
    let mut outputs = Vec::with_capacity(steps);
    for step in 0..steps {
        let at = if reverse { steps - 1 - step } else { step };
        let own = part(ctx, gates, 0, at, 1)?;
        let own = ctx.reshape(own, &[batch, cell.gates() * hidden])?;
        state = direction.step(ctx, own, state)?;
        outputs.push(ctx.reshape(state.hidden, &[1, 1, batch, hidden])?);
    }
    if reverse {
        outputs.reverse();
    }
    let y = ctx.joined(0, &outputs)?;
    let [hidden, cell] = [state.hidden, state.cell].map(|id| ctx.reshape(id, &[1, batch, hidden]));
    Ok((y, State { hidden: hidden?, cell: cell? }))
}

/// What a direction begins with: operands 5 and 6, or 0.
fn first_state(ctx: &mut NodeContext<'_, '_>, index: usize, shape: [usize; 2]) -> Result<State> {
    let batch_first = ctx.attributes.flag("layout", false)?;
    let mut initial = |operand: usize| match ctx.optional(operand)? {
        Some(given) => {
            let given = if batch_first { ctx.transposed(given, &[1, 0, 2])? } else { given };
            of_direction(ctx, given, index)
        }
        None => {
            let zero = ctx.scalar(crate::ir::DType::F32, 0.0);
            ctx.expanded(zero, &shape)
        }
    };
    Ok(State { hidden: initial(5)?, cell: initial(6)? })
}

fn direction(
    ctx: &mut NodeContext<'_, '_>,
    cell: Cell,
    (index, directions): (usize, usize),
) -> Result<Direction> {
    let recurrence = ctx.required(2)?;
    let recurrence = of_direction(ctx, recurrence, index)?;
    let hidden = ctx.shape(recurrence)[1];
    let bias = match ctx.optional(3)? {
        Some(bias) => Some(of_direction(ctx, bias, index)?),
        None => None,
    };
    let peepholes = match if cell == Cell::Lstm { ctx.optional(7)? } else { None } {
        Some(all) => Some(of_direction(ctx, all, index)?),
        None => None,
    };
    if cell == Cell::Lstm && ctx.attributes.flag("input_forget", false)? {
        return Err(unsupported("gates that are coupled (`input_forget`)"));
    }
    let linear_first = cell == Cell::Gru && ctx.attributes.int("linear_before_reset", 0)? != 0;
    let clip = ctx.attributes.optional_float("clip")?;
    let defaults = cell.default_activations();
    let activations = match ctx.attributes.strings("activations")? {
        Some(all) if all.len() == defaults.len() * directions => {
            let own = all.into_iter().skip(index * defaults.len()).take(defaults.len());
            own.map(str::to_ascii_lowercase).collect()
        }
        Some(all) if all.len() >= defaults.len() && directions == 1 => {
            all.into_iter().take(defaults.len()).map(str::to_ascii_lowercase).collect()
        }
        Some(all) => return Err(bad(format!("attribute `activations` is {all:?}"))),
        None => defaults.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    Ok(Direction { cell, activations, clip, linear_first, recurrence, bias, peepholes, hidden })
}

impl Direction {
    /// One step: `gates`, `[batch, gates * hidden]`, is what comes from x.
    fn step(&self, ctx: &mut NodeContext<'_, '_>, gates: ValueId, state: State) -> Result<State> {
        match self.cell {
            Cell::Rnn => {
                let gates = self.with_hidden(ctx, gates, state.hidden)?;
                let hidden = self.activated(ctx, 0, gates)?;
                Ok(State { hidden, ..state })
            }
            Cell::Gru => self.gru(ctx, gates, state),
            Cell::Lstm => self.lstm(ctx, gates, state),
        }
    }

    /// The gates with what comes from the hidden state, and both biases.
    fn with_hidden(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        gates: ValueId,
        hidden: ValueId,
    ) -> Result<ValueId> {
        let own = ctx.emit(matmul::op(false, true), &[hidden, self.recurrence])?;
        let mut sum = ctx.add(gates, own)?;
        if let Some(bias) = self.bias {
            let count = self.cell.gates() * self.hidden;
            for start in [0, count] {
                let bias = part(ctx, bias, 0, start, count)?;
                sum = ctx.add(sum, bias)?;
            }
        }
        Ok(sum)
    }

    /// Gate `index` of all.
    fn gate(&self, ctx: &mut NodeContext<'_, '_>, all: ValueId, index: usize) -> Result<ValueId> {
        let last = ctx.ty(all).rank() - 1;
        part(ctx, all, last, index * self.hidden, self.hidden)
    }

    fn activated(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        index: usize,
        x: ValueId,
    ) -> Result<ValueId> {
        let x = match self.clip {
            Some(most) => ctx.unary(Unary::Clip { low: -most, high: most }, x)?,
            None => x,
        };
        match self.activations[index].as_str() {
            "sigmoid" => ctx.unary(Unary::Sigmoid, x),
            "tanh" => ctx.unary(Unary::Tanh, x),
            "relu" => ctx.unary(Unary::Relu, x),
            "hardsigmoid" => ctx.unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, x),
            "leakyrelu" => ctx.unary(Unary::LeakyRelu { alpha: 0.01 }, x),
            "softsign" => softsign(ctx, x),
            "softplus" => softplus(ctx, x),
            other => Err(unsupported(format!("the activation `{other}`"))),
        }
    }

    /// `(1 - z) * h + z * hidden`
    fn gru(&self, ctx: &mut NodeContext<'_, '_>, gates: ValueId, state: State) -> Result<State> {
        let hidden = state.hidden;
        let all = self.with_hidden(ctx, gates, hidden)?;
        let z = self.gate(ctx, all, 0)?;
        let z = self.activated(ctx, 0, z)?;
        let r = self.gate(ctx, all, 1)?;
        let r = self.activated(ctx, 0, r)?;
        // The third gate, of which the hidden state's part is reset before or after the product.
        let own = self.gate(ctx, gates, 2)?;
        let recurrence = part(ctx, self.recurrence, 0, 2 * self.hidden, self.hidden)?;
        let from = if self.linear_first { hidden } else { ctx.mul(r, hidden)? };
        let mut inner = ctx.emit(matmul::op(false, true), &[from, recurrence])?;
        if let Some(bias) = self.bias {
            let bias = self.gate(ctx, bias, 5)?;
            inner = ctx.add(inner, bias)?;
        }
        let inner = if self.linear_first { ctx.mul(r, inner)? } else { inner };
        let mut sum = ctx.add(own, inner)?;
        if let Some(bias) = self.bias {
            let bias = self.gate(ctx, bias, 2)?;
            sum = ctx.add(sum, bias)?;
        }
        let candidate = self.activated(ctx, 1, sum)?;
        let kept = ctx.mul(z, hidden)?;
        let one = ctx.number(z, 1.0);
        let rest = ctx.sub(one, z)?;
        let new = ctx.mul(rest, candidate)?;
        Ok(State { hidden: ctx.add(new, kept)?, ..state })
    }

    /// `cell = f * cell + i * c` and `hidden = o * h(cell)`
    fn lstm(&self, ctx: &mut NodeContext<'_, '_>, gates: ValueId, state: State) -> Result<State> {
        let all = self.with_hidden(ctx, gates, state.hidden)?;
        let i = self.peeped(ctx, (all, 0), 0, state.cell)?;
        let f = self.peeped(ctx, (all, 2), 2, state.cell)?;
        let c = self.gate(ctx, all, 3)?;
        let c = self.activated(ctx, 1, c)?;
        let (kept, new) = (ctx.mul(f, state.cell)?, ctx.mul(i, c)?);
        let cell = ctx.add(kept, new)?;
        let o = self.peeped(ctx, (all, 1), 1, cell)?;
        // What bounds the other activations does not bound this one.
        let shown = Direction { clip: None, ..self.copy() }.activated(ctx, 2, cell)?;
        Ok(State { hidden: ctx.mul(o, shown)?, cell })
    }

    fn copy(&self) -> Direction {
        Direction { activations: self.activations.clone(), ..*self }
    }

    /// A gate that may look at the cell, through its peephole.
    fn peeped(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        (all, gate): (ValueId, usize),
        peephole: usize,
        cell: ValueId,
    ) -> Result<ValueId> {
        let mut x = self.gate(ctx, all, gate)?;
        if let Some(peepholes) = self.peepholes {
            let own = self.gate(ctx, peepholes, peephole)?;
            let own = ctx.mul(own, cell)?;
            x = ctx.add(x, own)?;
        }
        self.activated(ctx, 0, x)
    }
}
