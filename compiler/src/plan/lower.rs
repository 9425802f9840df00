//! Graph to plan: one arm per operator, and where each value lies.
//!
//! Reshapes, identities and slices whose result is contiguous are views: they cost nothing. A
//! value that is a model output is made in the output itself.

use std::collections::BTreeMap;

use super::arena;
use super::expr::Expr;
use super::kernel::{
    ArgMax, CHANNEL_BLOCK, Contract, Gather, Kernel, Map, Nest, Outer, Pixels, Pooling, Reduction,
    Softmax, Span,
};
use super::{Base, Buffer, Constant, Place, Plan, Port, Step, check, pack};
use crate::error::{Error, Problem, Result};
use crate::ir::{
    Binary, Conv, DType, Epilogue, Graph, NodeId, Op, Origin, Pool, Reduce, Step as EpilogueStep,
    TensorType, Unary, Weight, Window,
};

/// Most pixels that a tile of a contraction spans: with 8 channels, 12 vectors of sums.
const TILE: usize = 6;

/// Lowers a verified graph.
///
/// # Errors
/// [`Problem::Unsupported`] for element types that generated code does not compute in, and
/// [`Problem::Internal`] when the result fails its own check.
pub fn lower(graph: &Graph) -> Result<Plan> {
    let mut lowering = Lowering::new(graph);
    for id in graph.topological() {
        lowering.node(id).map_err(|e| located(graph, id, e))?;
    }
    lowering.outputs()?;
    let plan = lowering.finish();
    check::check(&plan)?;
    Ok(plan)
}

fn located(graph: &Graph, id: NodeId, error: Error) -> Error {
    let node = graph.node(id);
    let name = node.from.first().map_or(node.name.as_str(), |o| o);
    error.at(name, node.op.mnemonic())
}

struct Lowering<'g> {
    graph: &'g Graph,
    plan: Plan,
    places: BTreeMap<NodeId, Place>,
    /// Constants already stored, by the weight and how it is packed.
    stored: BTreeMap<(NodeId, Packing), Place>,
    name: String,
    from: Vec<Origin>,
}

/// How a weight is laid out in the weights section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Packing {
    /// As in the model.
    Plain,
    /// `pack::rows` of so many matrices with so many rows each.
    Rows(usize, usize),
    /// `pack::columns` of so many matrices.
    Columns(usize),
    /// A bias vector for so many groups, each padded to whole channel blocks.
    Bias(usize),
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph) -> Lowering<'g> {
        let port = |id: NodeId, name: &str| Port { name: name.into(), ty: graph.ty(id).clone() };
        let plan = Plan {
            name: graph.name.clone(),
            inputs: graph.inputs().iter().map(|i| port(*i, &graph.node(*i).name)).collect(),
            outputs: graph.outputs().iter().map(|o| port(o.node, &o.name)).collect(),
            constants: Vec::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            arena_bytes: 0,
            weight_bytes: 0,
        };
        Lowering {
            graph,
            plan,
            places: BTreeMap::new(),
            stored: BTreeMap::new(),
            name: String::new(),
            from: Vec::new(),
        }
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(id);
        self.name.clone_from(&node.name);
        self.from.clone_from(&node.from);
        computable(&node.ty)?;
        match &node.op {
            Op::Input => {
                let at = graph.inputs().iter().position(|i| *i == id).unwrap_or_default();
                self.places.insert(id, Place { base: Base::Input(at), offset: 0 });
                Ok(())
            }
            Op::Weight(_) => Ok(()),
            Op::Identity | Op::Reshape => self.view(id, 0),
            Op::Slice { starts, steps } => self.slice(id, starts, steps),
            Op::Conv(conv) => self.conv(id, conv),
            Op::MatMul { transpose_a, transpose_b, epilogue } => {
                self.matmul(id, *transpose_a, *transpose_b, epilogue)
            }
            Op::BatchNorm { epsilon } => self.batch_norm(id, *epsilon),
            Op::Unary(f, epilogue) => {
                let head = Expr::Operand(1).unary(*f);
                self.elementwise(id, 1, head, epilogue)
            }
            Op::Binary(f, epilogue) => {
                let head = self.binary_head(id, *f);
                self.elementwise(id, 2, head, epilogue)
            }
            Op::Where => {
                let arms = [1, 2, 3].map(|i| Box::new(Expr::Operand(i)));
                let [c, a, b] = arms;
                self.elementwise(id, 3, Expr::Select(c, a, b), &Epilogue::none())
            }
            Op::Cast { to } => {
                let head = Expr::Cast(*to, Box::new(Expr::Operand(1)));
                self.elementwise(id, 1, head, &Epilogue::none())
            }
            Op::Expand => self.elementwise(id, 1, Expr::Operand(1), &Epilogue::none()),
            Op::Transpose { perm } => self.transpose(id, perm),
            Op::Concat { axis } => self.concat(id, *axis),
            Op::Pad { before, value, .. } => self.pad(id, before, *value),
            Op::Softmax { axis, log } => self.softmax(id, *axis, *log),
            Op::Pool(pool) => self.pool(id, pool),
            Op::Reduce(reduce) => self.reduce(id, reduce),
            Op::Gather { axis } => self.gather(id, *axis),
            Op::ArgMax { axis, last, .. } => self.argmax(id, *axis, *last),
        }
    }

    // ---- places ------------------------------------------------------------------------------

    fn operand(&self, id: NodeId, slot: usize) -> Result<NodeId> {
        self.graph
            .operand(id, slot)
            .ok_or_else(|| Error::internal(format!("operand {slot} is missing")))
    }

    /// Where the value is; a weight is stored as it is in the model on first use.
    fn place(&mut self, id: NodeId) -> Result<Place> {
        if let Op::Weight(_) = self.graph.node(id).op {
            return self.packed(id, Packing::Plain);
        }
        self.places.get(&id).copied().ok_or_else(|| Error::internal("a value has no place yet"))
    }

    fn packed(&mut self, id: NodeId, packing: Packing) -> Result<Place> {
        if let Some(place) = self.stored.get(&(id, packing)) {
            return Ok(*place);
        }
        let node = self.graph.node(id);
        let Op::Weight(weight) = &node.op else {
            return Err(Error::internal("only weights are packed"));
        };
        computable(&node.ty)?;
        let (ty, data) = pack_weight(&node.ty, weight, packing)?;
        let offset = arena::round_up(self.plan.weight_bytes);
        self.plan.weight_bytes = offset + ty.bytes();
        let place = Place { base: Base::Constant(self.plan.constants.len()), offset: 0 };
        self.plan.constants.push(Constant { name: node.name.clone(), ty, data, offset });
        self.stored.insert((id, packing), place);
        Ok(place)
    }

    /// A place for a new value: the model output it is, or a fresh buffer.
    fn make(&mut self, id: NodeId) -> Place {
        let output = self.graph.outputs().iter().position(|o| o.node == id);
        let place = match output {
            Some(at) => Place { base: Base::Output(at), offset: 0 },
            None => self.scratch(self.graph.ty(id).bytes()),
        };
        self.places.insert(id, place);
        place
    }

    fn scratch(&mut self, bytes: usize) -> Place {
        let base = Base::Buffer(self.plan.buffers.len());
        let name = self.name.clone();
        self.plan.buffers.push(Buffer { name, bytes, offset: 0, first: usize::MAX, last: 0 });
        Place { base, offset: 0 }
    }

    fn step(&mut self, kernel: Kernel, args: Vec<Place>) {
        if kernel.items() == 0 {
            return;
        }
        let (name, from) = (self.name.clone(), self.from.clone());
        self.plan.steps.push(Step { name, kernel, args, from });
    }

    // ---- views -------------------------------------------------------------------------------

    fn view(&mut self, id: NodeId, offset: usize) -> Result<()> {
        let mut place = self.place(self.operand(id, 0)?)?;
        place.offset += offset;
        self.places.insert(id, place);
        Ok(())
    }

    fn slice(&mut self, id: NodeId, starts: &[usize], steps: &[isize]) -> Result<()> {
        let source = self.operand(id, 0)?;
        let (from, to) = (self.graph.ty(source).shape(), self.graph.ty(id).shape());
        let size = self.graph.ty(id).dtype.size();
        let natural = dense(&from);
        let first: isize = starts.iter().zip(&natural).map(|(s, n)| *s as isize * n).sum();
        let strides: Vec<isize> = steps.iter().zip(&natural).map(|(s, n)| s * n).collect();
        let nest = Nest::collapsed(&to, &[dense(&to), strides]);
        let contiguous = nest.dims.is_empty() || nest.strides[1] == [1];
        if contiguous && self.graph.ty(id).elements() > 0 {
            return self.view(id, first as usize * size);
        }
        let mut place = self.place(source)?;
        place.offset += first as usize * size;
        let out = self.make(id);
        self.copy(nest, self.graph.ty(id).dtype, out, place);
        Ok(())
    }

    // ---- elementwise and layout --------------------------------------------------------------

    fn copy(&mut self, nest: Nest, dtype: DType, out: Place, from: Place) {
        let map = Map { nest, dtypes: vec![dtype; 2], expr: Expr::Operand(1) };
        self.step(Kernel::Map(map), vec![out, from]);
    }

    fn fill(&mut self, ty: &TensorType, out: Place, value: f64) {
        let nest = Nest::collapsed(&[ty.elements()], &[vec![1]]);
        let map = Map { nest, dtypes: vec![ty.dtype], expr: Expr::Constant(value) };
        self.step(Kernel::Map(map), vec![out]);
    }

    /// Squares and square roots need no logarithm.
    fn binary_head(&self, id: NodeId, f: Binary) -> Expr {
        let exponent = || {
            let node = self.graph.node(self.graph.operand(id, 1)?);
            match &node.op {
                Op::Weight(w) if node.ty.elements() == 1 => w.to_f32(&node.ty)?.first().copied(),
                _ => None,
            }
        };
        let x = Expr::Operand(1);
        match f {
            Binary::Pow if exponent() == Some(2.0) => x.clone().binary(Binary::Mul, x),
            Binary::Pow if exponent() == Some(1.0) => x,
            _ => x.binary(f, Expr::Operand(2)),
        }
    }

    fn elementwise(&mut self, id: NodeId, own: usize, head: Expr, then: &Epilogue) -> Result<()> {
        let graph = self.graph;
        let ty = graph.ty(id);
        let mut sources = Vec::new();
        for slot in 0..own {
            sources.push(self.operand(id, slot)?);
        }
        let expr = self.apply(id, head, then, &mut sources)?;
        let shape = ty.shape();
        let mut strides = vec![dense(&shape)];
        let mut dtypes = vec![ty.dtype];
        for &source in &sources {
            strides.push(broadcast(&graph.ty(source).shape(), &shape));
            dtypes.push(graph.ty(source).dtype);
        }
        let mut args = Vec::new();
        for &source in &sources {
            args.push(self.place(source)?);
        }
        args.insert(0, self.make(id));
        let nest = Nest::collapsed(&shape, &strides);
        self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
        Ok(())
    }

    /// `then` around `head`; its operands are appended to `sources`, where `$1` is the first.
    fn apply(
        &self,
        id: NodeId,
        head: Expr,
        then: &Epilogue,
        sources: &mut Vec<NodeId>,
    ) -> Result<Expr> {
        let mut expr = head;
        for step in &then.steps {
            expr = match step {
                EpilogueStep::Unary(f) => expr.unary(*f),
                EpilogueStep::Binary(f, slot) => {
                    sources.push(self.operand(id, *slot)?);
                    expr.binary(*f, Expr::Operand(sources.len()))
                }
            };
        }
        Ok(expr)
    }

    fn batch_norm(&mut self, id: NodeId, epsilon: f32) -> Result<()> {
        let graph = self.graph;
        let shape = graph.ty(id).shape();
        let along: Vec<isize> = (0..shape.len()).map(|axis| isize::from(axis == 1)).collect();
        let mut strides = vec![dense(&shape), dense(&shape)];
        let mut args = Vec::new();
        for slot in 0..5 {
            let operand = self.operand(id, slot)?;
            args.push(self.place(operand)?);
            if slot > 0 {
                strides.push(along.clone());
            }
        }
        args.insert(0, self.make(id));
        let [x, scale, bias, mean, var] = [1, 2, 3, 4, 5].map(Expr::Operand);
        let deviation =
            var.binary(Binary::Add, Expr::Constant(f64::from(epsilon))).unary(Unary::Sqrt);
        let expr = x
            .binary(Binary::Sub, mean)
            .binary(Binary::Div, deviation)
            .binary(Binary::Mul, scale)
            .binary(Binary::Add, bias);
        let dtypes = vec![DType::F32; 6];
        let nest = Nest::collapsed(&shape, &strides);
        self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
        Ok(())
    }

    fn transpose(&mut self, id: NodeId, perm: &[usize]) -> Result<()> {
        let source = self.operand(id, 0)?;
        let natural = dense(&self.graph.ty(source).shape());
        let shape = self.graph.ty(id).shape();
        let strides = perm.iter().map(|p| natural[*p]).collect();
        let from = self.place(source)?;
        let out = self.make(id);
        let nest = Nest::collapsed(&shape, &[dense(&shape), strides]);
        self.copy(nest, self.graph.ty(id).dtype, out, from);
        Ok(())
    }

    fn concat(&mut self, id: NodeId, axis: usize) -> Result<()> {
        let graph = self.graph;
        let ty = graph.ty(id);
        let natural = dense(&ty.shape());
        let mut sources = Vec::new();
        for (_, source) in graph.operands(id) {
            sources.push((source, self.place(source)?));
        }
        let mut out = self.make(id);
        for (source, from) in sources {
            let part = graph.ty(source).shape();
            let nest = Nest::collapsed(&part, &[natural.clone(), dense(&part)]);
            self.copy(nest, ty.dtype, out, from);
            out.offset += part[axis] * natural[axis] as usize * ty.dtype.size();
        }
        Ok(())
    }

    fn pad(&mut self, id: NodeId, before: &[usize], value: f64) -> Result<()> {
        let graph = self.graph;
        let source = self.operand(id, 0)?;
        let from = self.place(source)?;
        let out = self.make(id);
        self.border(graph.ty(source), graph.ty(id), before, value, out, from);
        Ok(())
    }

    fn border(
        &mut self,
        inner: &TensorType,
        outer: &TensorType,
        before: &[usize],
        value: f64,
        out: Place,
        from: Place,
    ) {
        self.fill(outer, out, value);
        let natural = dense(&outer.shape());
        let skip: usize = before.iter().zip(&natural).map(|(b, n)| b * *n as usize).sum();
        let corner = Place { base: out.base, offset: out.offset + skip * outer.dtype.size() };
        let nest = Nest::collapsed(&inner.shape(), &[natural, dense(&inner.shape())]);
        self.copy(nest, outer.dtype, corner, from);
    }

    // ---- contractions ------------------------------------------------------------------------

    fn conv(&mut self, id: NodeId, conv: &Conv) -> Result<()> {
        let graph = self.graph;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [n, c, h, width] = four(graph.ty(x))?;
        let [m, cg, kh, kw] = four(graph.ty(w))?;
        let [_, _, oh, ow] = four(graph.ty(id))?;
        let group = m / conv.groups;
        let weights = self.packed(w, Packing::Rows(conv.groups, group))?;
        let bias = match graph.operand(id, 2) {
            Some(b) => Some(self.packed(b, Packing::Bias(conv.groups))?),
            None => None,
        };
        let (input, [h, width]) = self.padded(x, &conv.window, [n, c, h, width])?;
        let Window { stride, dilation, .. } = conv.window;
        let flat = conv.window.kernel == [1, 1] && stride == [1, 1];
        let (rows, columns) = if flat {
            let one = Pixels { count: 1, input: 0, output: 0 };
            (one, Pixels { count: oh * ow, input: 1, output: 1 })
        } else {
            let rows = Pixels { count: oh, input: width * stride[0], output: ow };
            (rows, Pixels { count: ow, input: stride[1], output: 1 })
        };
        let mut sources = Vec::new();
        let then = self.apply(id, Expr::Operand(0), &conv.epilogue, &mut sources)?;
        let contract = Contract {
            outer: vec![
                Outer { count: n, input: c * h * width, weights: 0, output: m * oh * ow },
                Outer {
                    count: conv.groups,
                    input: cg * h * width,
                    weights: 1,
                    output: group * oh * ow,
                },
            ],
            channels: Span { count: group, stride: oh * ow },
            rows,
            columns,
            reduce: vec![
                Span { count: cg, stride: h * width },
                Span { count: kh, stride: width * dilation[0] },
                Span { count: kw, stride: dilation[1] },
            ],
            tile: tile(columns.count),
            bias: bias.is_some(),
            then,
        };
        self.contract(id, contract, input, weights, bias, &sources)
    }

    fn contract(
        &mut self,
        id: NodeId,
        mut contract: Contract,
        input: Place,
        weights: Place,
        bias: Option<Place>,
        sources: &[NodeId],
    ) -> Result<()> {
        contract.outer.retain(|o| o.count != 1);
        contract.reduce.retain(|r| r.count != 1);
        let mut args = vec![input, weights];
        args.extend(bias);
        for &source in sources {
            args.push(self.place(source)?);
        }
        args.insert(0, self.make(id));
        self.step(Kernel::Contract(contract), args);
        Ok(())
    }

    /// The input with its zero border made explicit, so that kernels read without bounds checks.
    fn padded(
        &mut self,
        x: NodeId,
        window: &Window,
        dims: [usize; 4],
    ) -> Result<(Place, [usize; 2])> {
        let place = self.place(x)?;
        let [n, c, h, w] = dims;
        let (top, left) = (window.pad_before[0], window.pad_before[1]);
        let height = h + top + window.pad_after[0];
        let width = w + left + window.pad_after[1];
        if [height, width] == [h, w] {
            return Ok((place, [h, w]));
        }
        let outer = TensorType::new(DType::F32, &[n, c, height, width]);
        let out = self.scratch(outer.bytes());
        self.border(self.graph.ty(x), &outer, &[0, 0, top, left], 0.0, out, place);
        Ok((out, [height, width]))
    }

    fn matmul(&mut self, id: NodeId, ta: bool, tb: bool, then: &Epilogue) -> Result<()> {
        let graph = self.graph;
        let (a, b) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let (sa, sb, so) = (graph.ty(a).shape(), graph.ty(b).shape(), graph.ty(id).shape());
        let rank = so.len();
        let (rows, n) = (so[rank - 2], so[rank - 1]);
        let depth = sb[sb.len() - if tb { 1 } else { 2 }];
        let (row, step) = if ta { (1, rows) } else { (depth, 1) };
        let matrices: usize = sb[..sb.len() - 2].iter().product();
        let weights = match graph.node(b).op {
            Op::Weight(_) if tb => self.packed(b, Packing::Rows(matrices, n))?,
            Op::Weight(_) => self.packed(b, Packing::Columns(matrices))?,
            _ => self.pack_at_run_time(b, tb, matrices, n, depth)?,
        };
        let bias = match graph.operand(id, 2) {
            Some(c) => Some(self.packed(c, Packing::Bias(1))?),
            None => None,
        };
        let batch = &so[..rank - 2];
        let (over_a, over_b) =
            (broadcast(&sa[..sa.len() - 2], batch), broadcast(&sb[..sb.len() - 2], batch));
        let over_out = dense(batch);
        let outer = (0..batch.len())
            .map(|i| Outer {
                count: batch[i],
                input: over_a[i] as usize * rows * depth,
                weights: over_b[i] as usize,
                output: over_out[i] as usize * rows * n,
            })
            .collect();
        let mut sources = Vec::new();
        let then = self.apply(id, Expr::Operand(0), then, &mut sources)?;
        let contract = Contract {
            outer,
            channels: Span { count: n, stride: 1 },
            rows: Pixels { count: 1, input: 0, output: 0 },
            columns: Pixels { count: rows, input: row, output: n },
            reduce: vec![Span { count: depth, stride: step }],
            tile: tile(rows),
            bias: bias.is_some(),
            then,
        };
        let input = self.place(a)?;
        self.contract(id, contract, input, weights, bias, &sources)
    }

    /// `[n/8][depth][8]` per matrix, from a right-hand operand that is only known at run time.
    fn pack_at_run_time(
        &mut self,
        b: NodeId,
        turned: bool,
        matrices: usize,
        n: usize,
        depth: usize,
    ) -> Result<Place> {
        let from = self.place(b)?;
        let blocks = n.div_ceil(CHANNEL_BLOCK);
        let ty = TensorType::new(DType::F32, &[matrices, blocks, depth, CHANNEL_BLOCK]);
        let out = self.scratch(ty.bytes());
        if !n.is_multiple_of(CHANNEL_BLOCK) {
            self.fill(&ty, out, 0.0);
        }
        let (along_n, along_k) = if turned { (depth, 1) } else { (1, n) };
        let (whole, rest) = (n / CHANNEL_BLOCK, n % CHANNEL_BLOCK);
        let parts = [(0, whole, CHANNEL_BLOCK), (whole, 1, rest)];
        let natural = dense(&ty.shape());
        for (first, count, lanes) in parts {
            if count == 0 || lanes == 0 {
                continue;
            }
            let strides = [n * depth, along_n * CHANNEL_BLOCK, along_k, along_n];
            let strides = strides.map(|s| s as isize).to_vec();
            let at = |place: Place, elements: usize| Place {
                base: place.base,
                offset: place.offset + elements * 4,
            };
            let (to, from) =
                (at(out, first * natural[1] as usize), at(from, first * along_n * CHANNEL_BLOCK));
            let dims = [matrices, count, depth, lanes];
            self.copy(Nest::collapsed(&dims, &[natural.clone(), strides]), DType::F32, to, from);
        }
        Ok(out)
    }

    // ---- the rest ----------------------------------------------------------------------------

    fn softmax(&mut self, id: NodeId, axis: usize, log: bool) -> Result<()> {
        let [outer, extent, inner] = around(&self.graph.ty(id).shape(), axis);
        let from = self.place(self.operand(id, 0)?)?;
        let out = self.make(id);
        self.step(Kernel::Softmax(Softmax { outer, extent, inner, log }), vec![out, from]);
        Ok(())
    }

    fn pool(&mut self, id: NodeId, pool: &Pool) -> Result<()> {
        let x = self.operand(id, 0)?;
        let [n, c, h, w] = four(self.graph.ty(x))?;
        let [_, _, oh, ow] = four(self.graph.ty(id))?;
        let from = self.place(x)?;
        let out = self.make(id);
        let pooling = Pooling {
            kind: pool.kind,
            planes: n * c,
            input: [h, w],
            output: [oh, ow],
            window: pool.window,
        };
        self.step(Kernel::Pool(pooling), vec![out, from]);
        Ok(())
    }

    fn reduce(&mut self, id: NodeId, reduce: &Reduce) -> Result<()> {
        let x = self.operand(id, 0)?;
        let ty = self.graph.ty(x);
        let (shape, natural) = (ty.shape(), dense(&ty.shape()));
        let split = |reduced: bool| -> (Vec<usize>, Vec<isize>) {
            let axes = (0..shape.len()).filter(|a| reduce.axes.contains(a) == reduced);
            axes.map(|a| (shape[a], natural[a])).unzip()
        };
        let (kept, kept_strides) = split(false);
        let (over, over_strides) = split(true);
        let from = self.place(x)?;
        let out = self.make(id);
        let reduction = Reduction {
            kind: reduce.kind,
            dtype: ty.dtype,
            kept: Nest::collapsed(&kept, &[dense(&kept), kept_strides]),
            reduced: Nest::collapsed(&over, &[over_strides]),
        };
        self.step(Kernel::Reduce(reduction), vec![out, from]);
        Ok(())
    }

    fn gather(&mut self, id: NodeId, axis: usize) -> Result<()> {
        let graph = self.graph;
        let (x, index) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [outer, extent, inner] = around(&graph.ty(x).shape(), axis);
        let gather = Gather {
            outer,
            extent,
            inner,
            count: graph.ty(index).elements(),
            index: graph.ty(index).dtype,
            dtype: graph.ty(x).dtype,
        };
        let (from, index) = (self.place(x)?, self.place(index)?);
        let out = self.make(id);
        self.step(Kernel::Gather(gather), vec![out, from, index]);
        Ok(())
    }

    fn argmax(&mut self, id: NodeId, axis: usize, last: bool) -> Result<()> {
        let x = self.operand(id, 0)?;
        let dtype = self.graph.ty(x).dtype;
        let [outer, extent, inner] = around(&self.graph.ty(x).shape(), axis);
        let from = self.place(x)?;
        let out = self.make(id);
        self.step(Kernel::ArgMax(ArgMax { outer, extent, inner, last, dtype }), vec![out, from]);
        Ok(())
    }

    // ---- the end -----------------------------------------------------------------------------

    /// Copies outputs that were not made in place: views, inputs, weights, second names.
    fn outputs(&mut self) -> Result<()> {
        let graph = self.graph;
        for (at, output) in graph.outputs().iter().enumerate() {
            let here = Place { base: Base::Output(at), offset: 0 };
            let from = self.place(output.node)?;
            if from == here {
                continue;
            }
            self.name.clone_from(&output.name);
            self.from.clear();
            let ty = graph.ty(output.node);
            let nest = Nest::collapsed(&[ty.elements()], &[vec![1], vec![1]]);
            self.copy(nest, ty.dtype, here, from);
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        for (at, step) in self.plan.steps.iter().enumerate() {
            for place in &step.args {
                if let Base::Buffer(b) = place.base {
                    let buffer = &mut self.plan.buffers[b];
                    buffer.first = buffer.first.min(at);
                    buffer.last = buffer.last.max(at);
                }
            }
        }
        self.drop_unused_buffers();
        self.plan.arena_bytes = arena::assign(&mut self.plan.buffers);
        self.plan
    }

    /// Buffers that no step touches (of values without elements) go, and the rest is renumbered.
    fn drop_unused_buffers(&mut self) {
        let mut number = Vec::new();
        let mut kept = 0;
        for buffer in &self.plan.buffers {
            number.push(kept);
            kept += usize::from(buffer.first != usize::MAX);
        }
        self.plan.buffers.retain(|b| b.first != usize::MAX);
        for place in self.plan.steps.iter_mut().flat_map(|s| &mut s.args) {
            if let Base::Buffer(b) = &mut place.base {
                *b = number[*b];
            }
        }
    }
}

fn pack_weight(ty: &TensorType, weight: &Weight, packing: Packing) -> Result<(TensorType, Weight)> {
    let values = || {
        weight
            .to_f32(ty)
            .ok_or_else(|| Error::internal("the weight's contents are not known, only its hash"))
    };
    let shape = ty.shape();
    match packing {
        Packing::Plain => {
            let bytes = weight.bytes(ty);
            let bytes =
                bytes.ok_or_else(|| Error::internal("only the hash of a weight is known"))?;
            Ok((ty.clone(), Weight::from_bytes(bytes)))
        }
        Packing::Rows(matrices, m) => {
            let depth = ty.elements() / (matrices * m).max(1);
            let packed = pack::rows(&values()?, matrices, m, depth);
            let dims = [matrices, m.div_ceil(CHANNEL_BLOCK), depth, CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
        Packing::Columns(matrices) => {
            let (depth, m) = (shape[shape.len() - 2], shape[shape.len() - 1]);
            let packed = pack::columns(&values()?, matrices, m, depth);
            let dims = [matrices, m.div_ceil(CHANNEL_BLOCK), depth, CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
        Packing::Bias(groups) => {
            let m = ty.elements() / groups.max(1);
            let packed = pack::rows(&values()?, groups, m, 1);
            let dims = [groups, m.div_ceil(CHANNEL_BLOCK), CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
    }
}

fn computable(ty: &TensorType) -> Result<()> {
    if ty.dtype != DType::F64 {
        return Ok(());
    }
    let problem = Problem::Unsupported("float64 tensors at run time".into());
    Err(Error::from(problem).with_remedy("export the model in float32"))
}

/// Strides of a dense row-major tensor.
fn dense(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// Strides that repeat a dense tensor of shape `from` over `to`, as NumPy broadcasts.
fn broadcast(from: &[usize], to: &[usize]) -> Vec<isize> {
    let natural = dense(from);
    let ahead = to.len() - from.len();
    let strides = from.iter().zip(&natural).zip(&to[ahead..]);
    let strides = strides.map(|((f, n), t)| if f == t { *n } else { 0 });
    std::iter::repeat_n(0, ahead).chain(strides).collect()
}

/// Elements outside, along and inside an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

fn four(ty: &TensorType) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(ty.shape()).map_err(|_| Error::internal("expected four axes"))
}

/// Pixels per tile for rows of `count`: as few tiles as fit, then as even as can be.
fn tile(count: usize) -> usize {
    count.div_ceil(count.div_ceil(TILE).max(1)).max(1)
}
