//! Sound graphs of the IR with every operator, whose results are known closely.
//!
//! A value is *exact* when compiled code and the interpreter must agree on all its bits. What takes a
//! small difference far, such as a comparison or a reciprocal, is applied to exact values only.

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};
use cardinal_compiler::ir::text::print;
use cardinal_compiler::ir::{
    Binary, Conv, DType, Epilogue, Excite, Graph, Node, NodeId, Op, Pool, PoolKind, Reduce,
    ReduceKind, Rounding, SplitAttention, TensorType, Unary, Weigh, Weight, Window, infer,
};

/// Bytes of a value at most.
const VALUE: usize = 1 << 15;

/// A graph, and what its inputs hold.
pub struct Case {
    /// What inputs are made of.
    pub seed: u64,
    /// The graph.
    pub graph: Graph,
    /// Whether every operator reads exact values only, so that NaN and infinity are where the
    /// interpreter has them.
    pub takes_specials: bool,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Case> {
        let seed = u.arbitrary::<u16>()?.into();
        let takes_specials = u.ratio(1, 4)?;
        let mut draft =
            Draft { u, graph: Graph::new("random"), values: Vec::new(), takes_specials };
        draft.inputs()?;
        for _ in 0..draft.u.int_in_range(1..=7)? {
            draft.operator()?;
        }
        let last = draft.values.len() - 1;
        for (i, value) in [last, last / 2].into_iter().enumerate() {
            draft.graph.add_output(format!("out{i}"), draft.values[value].id);
        }
        Ok(Case { seed, graph: draft.graph, takes_specials })
    }
}

/// All that is needed to see it again.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { seed, graph, takes_specials } = self;
        let what = if *takes_specials { "with NaN and infinity" } else { "finite" };
        write!(f, "; inputs of seed {seed}, {what}\n{}", print(graph))
    }
}

#[derive(Clone, Copy)]
struct Value {
    id: NodeId,
    is_exact: bool,
}

struct Draft<'a, 'u> {
    u: &'a mut Unstructured<'u>,
    graph: Graph,
    values: Vec<Value>,
    takes_specials: bool,
}

impl Draft<'_, '_> {
    fn inputs(&mut self) -> Result<()> {
        let batch = self.u.int_in_range(1..=3)?;
        let channels = *self.u.choose(&[4, 16, 8, 3, 1, 17, 32, 24])?;
        let [h, w] = [self.u.int_in_range(1..=9)?, self.u.int_in_range(1..=9)?];
        self.input(TensorType::new(DType::F32, &[batch, channels, h, w]));
        if self.u.ratio(1, 3)? {
            let dtype = *self.u.choose(&DType::ALL)?;
            self.input(TensorType::new(dtype, &[batch, channels]));
        }
        Ok(())
    }

    fn input(&mut self, ty: TensorType) {
        let id = self.node(Op::Input, ty, &[]);
        self.values.push(Value { id, is_exact: true });
    }

    fn node(&mut self, op: Op, ty: TensorType, operands: &[(usize, NodeId)]) -> NodeId {
        let name = format!("v{}", self.graph.len());
        self.graph.add(Node { name, op, ty, from: Vec::new() }, operands)
    }

    fn weight(&mut self, shape: &[usize]) -> NodeId {
        let seed = self.graph.len() as u64;
        self.node(Op::Weight(Weight::rand(seed)), TensorType::new(DType::F32, shape), &[])
    }

    /// Adds a node of a type that follows from its operands, if they fit it.
    fn add(&mut self, op: Op, operands: &[(usize, NodeId)], is_exact: bool) {
        let types: Vec<_> = operands.iter().map(|(slot, id)| (*slot, self.graph.ty(*id))).collect();
        if let Ok(ty) = infer(&op, &types) {
            self.add_as(op, ty, operands, is_exact);
        }
    }

    fn add_as(&mut self, op: Op, ty: TensorType, operands: &[(usize, NodeId)], is_exact: bool) {
        if ty.bytes() <= VALUE {
            let id = self.node(op, ty, operands);
            self.values.push(Value { id, is_exact });
        }
    }

    /// A value of this rank, if one is given, of which the newer are preferred.
    fn pick(&mut self, rank: Option<usize>, exact: bool) -> Result<Option<Value>> {
        let exact = exact || self.takes_specials;
        let fits = |value: &&Value| {
            rank.is_none_or(|rank| self.graph.ty(value.id).rank() == rank)
                && (value.is_exact || !exact)
        };
        let fitting: Vec<Value> = self.values.iter().rev().filter(fits).copied().collect();
        match (fitting.first(), self.u.ratio(2, 3)?) {
            (None, _) => Ok(None),
            (newest, true) => Ok(newest.copied()),
            (Some(_), false) => self.u.choose(&fitting).copied().map(Some),
        }
    }

    fn shape(&self, value: Value) -> Vec<usize> {
        self.graph.ty(value.id).shape()
    }

    fn operator(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=19)? {
            0..=3 => self.conv(),
            4 => self.batch_norm(),
            5 => self.unary(),
            6 | 7 => self.binary(),
            8 => self.select(),
            9 => self.convert(),
            10 => self.softmax(),
            11 => self.pool(),
            12 => self.reduce(),
            13 => self.attention(),
            14 => self.reshape(),
            15 => self.rearrange(),
            16 => self.slice(),
            17 => self.gather(),
            18 => self.scatter(),
            _ => self.matmul(),
        }
    }

    fn window(&mut self) -> Result<Window> {
        let kernel = *self.u.choose(&[[3, 3], [1, 1], [2, 2], [1, 3], [5, 5]])?;
        let stride = *self.u.choose(&[[1, 1], [2, 2], [1, 2]])?;
        let dilation = *self.u.choose(&[[1, 1], [1, 1], [1, 1], [2, 2]])?;
        let pad = *self.u.choose(&[[1, 1], [0, 0], [2, 1]])?;
        Ok(Window { kernel, stride, dilation, pad_before: pad, pad_after: pad })
    }

    fn conv(&mut self) -> Result<()> {
        let Some(x) = self.pick(Some(4), false)? else { return Ok(()) };
        let channels = self.shape(x)[1];
        let groups = [1, 1, 2, 4, channels][self.u.int_in_range(0..=4)?];
        if groups == 0 || channels % groups != 0 {
            return Ok(());
        }
        let out = groups * *self.u.choose(&[1, 2, 4, 5, 16])?;
        let window = self.window()?;
        let weight = self.weight(&[out, channels / groups, window.kernel[0], window.kernel[1]]);
        let mut operands = vec![(0, x.id), (1, weight)];
        if self.u.arbitrary()? {
            operands.push((2, self.weight(&[out])));
        }
        let epilogue = Epilogue::none();
        self.add(Op::Conv(Conv { groups, window, epilogue }), &operands, false);
        Ok(())
    }

    fn batch_norm(&mut self) -> Result<()> {
        let Some(x) = self.pick(Some(4), false)? else { return Ok(()) };
        let shape = [self.shape(x)[1]];
        let [scale, bias, mean, raw] = [(); 4].map(|()| self.weight(&shape));
        // A variance is not negative.
        let absolute = Op::Unary(Unary::Abs, Epilogue::none());
        let variance = self.node(absolute, TensorType::new(DType::F32, &shape), &[(0, raw)]);
        let operands = [(0, x.id), (1, scale), (2, bias), (3, mean), (4, variance)];
        self.add(Op::BatchNorm { epsilon: 0.1 }, &operands, false);
        Ok(())
    }

    fn unary(&mut self) -> Result<()> {
        let mut function = *self.u.choose(&Unary::ALL)?;
        for (_, parameter) in function.parameters() {
            *parameter = *self.u.choose(&[0.5, 0.25, 1.0, 0.0, 6.0])?;
        }
        // Compiled code and the interpreter may round what lies in the middle to different neighbours.
        if matches!(function, Unary::Quantized { .. } | Unary::Round) {
            return Ok(());
        }
        let goes_far =
            matches!(function, Unary::Exp | Unary::Log | Unary::Sqrt | Unary::Reciprocal);
        let Some(x) = self.pick(None, goes_far)? else { return Ok(()) };
        let keeps = matches!(function, Unary::Relu | Unary::Neg | Unary::Abs | Unary::Clip { .. });
        self.add(Op::Unary(function, Epilogue::none()), &[(0, x.id)], keeps && x.is_exact);
        Ok(())
    }

    fn binary(&mut self) -> Result<()> {
        let function = *self.u.choose(&Binary::ALL)?;
        let goes_far = matches!(function, Binary::Div | Binary::Pow | Binary::Equal);
        let Some(a) = self.pick(None, goes_far)? else { return Ok(()) };
        let ty = self.graph.ty(a.id).clone();
        let b = match self.pick(None, goes_far)? {
            Some(b) if *self.graph.ty(b.id) == ty => b,
            _ if ty.dtype == DType::F32 && ty.rank() == 4 => {
                let id = self.weight(&[ty.shape()[1], 1, 1]);
                Value { id, is_exact: true }
            }
            _ => a,
        };
        let keeps = ty.dtype != DType::F32 && ty.dtype != DType::F64
            || matches!(function, Binary::Min | Binary::Max | Binary::Equal);
        let is_exact = keeps && a.is_exact && b.is_exact;
        let pair = if self.u.arbitrary()? { [a.id, b.id] } else { [b.id, a.id] };
        self.add(Op::Binary(function, Epilogue::none()), &[(0, pair[0]), (1, pair[1])], is_exact);
        Ok(())
    }

    /// A choice of two values, or of a value and its negative, by whether a value is zero.
    fn select(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, true)? else { return Ok(()) };
        let Some(a) = self.pick(None, false)? else { return Ok(()) };
        let shape = self.shape(x);
        let condition = self.node(
            Op::Cast { to: DType::Bool },
            TensorType::new(DType::Bool, &shape),
            &[(0, x.id)],
        );
        let other = self.pick(None, false)?.unwrap_or(a);
        let is_exact = a.is_exact && other.is_exact;
        self.add(Op::Where, &[(0, condition), (1, a.id), (2, other.id)], is_exact);
        Ok(())
    }

    fn convert(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, true)? else { return Ok(()) };
        let to = *self.u.choose(&DType::ALL)?;
        self.add(Op::Cast { to }, &[(0, x.id)], true);
        Ok(())
    }

    /// Softmax, or the place of the largest, along an axis.
    fn softmax(&mut self) -> Result<()> {
        let finds = self.u.ratio(1, 3)?;
        let Some(x) = self.pick(None, finds)? else { return Ok(()) };
        let axis = self.u.int_in_range(0..=3)?;
        let op = match finds {
            true => Op::ArgMax { axis, keep: self.u.arbitrary()?, last: self.u.arbitrary()? },
            false => Op::Softmax { axis, log: self.u.arbitrary()? },
        };
        self.add(op, &[(0, x.id)], finds);
        Ok(())
    }

    fn pool(&mut self) -> Result<()> {
        let Some(x) = self.pick(Some(4), false)? else { return Ok(()) };
        let count_padding = self.u.arbitrary()?;
        let average = PoolKind::Average { count_padding };
        let kind = if self.u.arbitrary()? { PoolKind::Max } else { average };
        let pool = Pool { kind, window: self.window()?, ceil: self.u.arbitrary()? };
        self.add(Op::Pool(pool), &[(0, x.id)], kind == PoolKind::Max && x.is_exact);
        Ok(())
    }

    fn reduce(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let axes = self.u.choose(&[&[2, 3][..], &[1], &[0], &[3], &[1, 2, 3]])?.to_vec();
        let kind = *self.u.choose(&ReduceKind::ALL)?;
        let keeps = matches!(kind, ReduceKind::Max | ReduceKind::Min)
            || !matches!(self.graph.ty(x.id).dtype, DType::F32 | DType::F64);
        let reduce = Reduce { kind, axes, keep: self.u.arbitrary()? };
        self.add(Op::Reduce(reduce), &[(0, x.id)], keeps && x.is_exact);
        Ok(())
    }

    fn attention(&mut self) -> Result<()> {
        let Some(x) = self.pick(Some(4), false)? else { return Ok(()) };
        let channels = self.shape(x)[1];
        let [cardinality, radix] = *self.u.choose(&[[1, 2], [2, 2], [1, 1], [2, 1], [1, 4]])?;
        let width = *self.u.choose(&[4, 2, 8])?;
        let each = channels / (cardinality * radix);
        if each == 0 || each * cardinality * radix != channels {
            return Ok(());
        }
        let weigh = if radix == 1 { Weigh::Gate(Unary::Sigmoid) } else { Weigh::Softmax };
        let inner = self.u.arbitrary()?;
        let mut operands = vec![(SplitAttention::U, x.id)];
        if inner {
            operands.push((SplitAttention::W1, self.weight(&[cardinality * width, each])));
        }
        let read = if inner { width } else { each };
        operands.push((SplitAttention::W2, self.weight(&[channels, read])));
        let inner = |width| Excite::Inner { width, activation: vec![Unary::Relu] };
        let excite = if operands.len() == 3 { inner(width) } else { Excite::Direct };
        // A value in the middle of two multiples may be rounded to either.
        let (rounding, epilogue) = (Rounding::default(), Epilogue::none());
        let op = SplitAttention { cardinality, radix, excite, weigh, rounding, epilogue };
        self.add(Op::SplitAttention(op), &operands, false);
        Ok(())
    }

    /// Two axes to one or one to two, or more of the same.
    fn reshape(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let (dtype, mut shape) = (self.graph.ty(x.id).dtype, self.shape(x));
        let op = match self.u.int_in_range(0..=2)? {
            0 if shape.len() > 1 => {
                let last = shape.pop().unwrap_or(1);
                shape.iter_mut().rev().take(1).for_each(|extent| *extent *= last);
                Op::Reshape
            }
            1 => {
                shape.insert(0, 2);
                Op::Expand
            }
            _ => {
                shape.push(1);
                Op::Reshape
            }
        };
        if shape.len() <= 5 {
            self.add_as(op, TensorType::new(dtype, &shape), &[(0, x.id)], x.is_exact);
        }
        Ok(())
    }

    /// Transposes, joins or surrounds.
    fn rearrange(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let rank = self.graph.ty(x.id).rank();
        let turn = self.u.int_in_range(0..=3)?;
        match self.u.int_in_range(0..=2)? {
            0 if rank > 0 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.rotate_left(turn % rank);
                self.add(Op::Transpose { perm }, &[(0, x.id)], x.is_exact);
            }
            1 => {
                let other = self.pick(Some(rank), false)?.unwrap_or(x);
                let is_exact = x.is_exact && other.is_exact;
                self.add(Op::Concat { axis: turn }, &[(0, x.id), (1, other.id)], is_exact);
            }
            _ => {
                let side = |at: usize| (0..rank).map(|axis| usize::from(axis == at)).collect();
                let value = *self.u.choose(&[0.0, 0.5, -3.0])?;
                let pad = Op::Pad { before: side(turn), after: side(turn / 2), value };
                self.add(pad, &[(0, x.id)], x.is_exact);
            }
        }
        Ok(())
    }

    fn slice(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let (dtype, mut shape) = (self.graph.ty(x.id).dtype, self.shape(x));
        let (mut starts, mut steps) = (vec![0; shape.len()], vec![1; shape.len()]);
        let axis = self.u.int_in_range(0..=3)?;
        if let Some(extent) = shape.get_mut(axis).filter(|extent| **extent > 1) {
            match self.u.int_in_range(0..=2)? {
                0 => (starts[axis], steps[axis]) = (*extent - 1, -1),
                1 => (starts[axis], *extent) = (1, *extent - 1),
                _ => (steps[axis], *extent) = (2, extent.div_ceil(2)),
            }
        }
        let ty = TensorType::new(dtype, &shape);
        self.add_as(Op::Slice { starts, steps }, ty, &[(0, x.id)], x.is_exact);
        Ok(())
    }

    fn gather(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let axis = self.u.int_in_range(0..=3)?;
        let Some(extent) = self.shape(x).get(axis).copied() else { return Ok(()) };
        let count = self.u.int_in_range(1..=4)?;
        let index = |_| self.u.int_in_range(0..=extent.saturating_sub(1) as i64);
        let indices: Vec<i64> = (0..count).map(index).collect::<Result<_>>()?;
        let ty = TensorType::new(DType::I64, &[indices.len()]);
        let indices = self.node(Op::Weight(Weight::from_i64(&indices)), ty, &[]);
        self.add(Op::Gather { axis }, &[(0, x.id), (1, indices)], x.is_exact);
        Ok(())
    }

    /// Slices put at places along the first axis, some of which may be outside of it.
    fn scatter(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, true)? else { return Ok(()) };
        let shape = self.shape(x);
        let Some((&count, slice)) = shape.split_first() else { return Ok(()) };
        let extent = self.u.int_in_range(1..=6)?;
        let place = |_| self.u.int_in_range(-1..=extent as i64);
        let places: Vec<i64> = (0..count).map(place).collect::<Result<_>>()?;
        let ty = TensorType::new(DType::I64, &[count]);
        let places = self.node(Op::Weight(Weight::from_i64(&places)), ty, &[]);
        let mut operands = vec![(0, x.id), (1, places)];
        if self.u.arbitrary()? {
            operands.push((2, self.weight(&[&[extent], slice].concat())));
        }
        self.add(Op::Scatter { extent }, &operands, x.is_exact);
        Ok(())
    }

    fn matmul(&mut self) -> Result<()> {
        let Some(x) = self.pick(None, false)? else { return Ok(()) };
        let Some(depth) = self.shape(x).last().copied() else { return Ok(()) };
        let columns = self.u.int_in_range(1..=20)?;
        let transpose_b = self.u.arbitrary()?;
        let shape = if transpose_b { [columns, depth] } else { [depth, columns] };
        let mut operands = vec![(0, x.id), (1, self.weight(&shape))];
        if self.u.arbitrary()? {
            operands.push((2, self.weight(&[columns])));
        }
        let epilogue = Epilogue::none();
        self.add(Op::MatMul { transpose_a: false, transpose_b, epilogue }, &operands, false);
        Ok(())
    }
}
