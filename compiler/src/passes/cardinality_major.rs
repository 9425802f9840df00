//! Lays the splits of Split-Attention out cardinality-major, at no cost at run time.
//!
//! Released ResNeSt code makes the splits radix-major, (r k c); the operator wants (k r c). The
//! recogniser leaves a `gather` of channels between the two. Here the permutation moves up, through
//! whatever treats channels alike, into the weights of the convolutions before it: their rows are
//! reordered, and for a grouped one its groups, whose input is then permuted in turn. On the way
//! the axes get their factors, `(k2 r2 c20)`.

use crate::interp::{Data, Tensor};
use crate::ir::{Answer, Axis, Edit, Failure, Graph, NodeId, Op, Operand, SplitAttention, Weight};

pub(super) fn cardinality_major(graph: &Graph, id: NodeId) -> Answer {
    let Op::SplitAttention(attention) = &graph.node(id).op else { return Answer::NoMatch };
    let Some(u) = graph.operand(id, SplitAttention::U) else { return Answer::NoMatch };
    let splits = [attention.cardinality, attention.radix];
    let channels = graph.ty(u).shape()[1];
    let axis = Splits(splits).axis(channels);
    let permuted = permutation(graph, u).is_some();
    if !permuted && (graph.ty(u).axes[1] == axis || !leads_to_weights(graph, u)) {
        return Answer::NoMatch;
    }
    let mut mover = Mover { graph, edit: Edit::of([id]) };
    let order: Vec<usize> = (0..channels).collect();
    match mover.moved(u, &order, Some(Splits(splits))) {
        Ok(new) => {
            let node = graph.node(id);
            let operands = graph.operands(id).into_iter().map(|(slot, old)| {
                (slot, if slot == SplitAttention::U { new } else { Operand::Old(old) })
            });
            let operands = operands.collect();
            let mut edit = mover.edit;
            let ty = Some(node.ty.clone());
            let replacement = edit.add_typed(&node.name, node.op.clone(), ty, operands);
            edit.stands_for(replacement, &[id]);
            edit.replace(id, replacement)
        }
        Err(because) => Answer::Failed(Failure { because, nodes: mover.edit.region }),
    }
}

/// K and R.
#[derive(Clone, Copy)]
struct Splits([usize; 2]);

impl Splits {
    /// So many channels, cardinality-major.
    fn axis(self, channels: usize) -> Axis {
        let Splits([k, r]) = self;
        if channels.is_multiple_of(k * r) {
            Axis::cardinality_major([k, r, channels / (k * r)])
        } else {
            Axis::plain(channels)
        }
    }
}

/// The order in which a `gather` takes the channels of its operand, if it takes each once.
fn permutation(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let Op::Gather { axis: 1 } = graph.node(id).op else { return None };
    let (x, index) = (graph.operand(id, 0)?, graph.node(graph.operand(id, 1)?));
    let Op::Weight(weight) = &index.op else { return None };
    let Data::Int(order) = Tensor::from_bytes(&index.ty, &weight.bytes(&index.ty)?)?.data else {
        return None;
    };
    let order: Vec<usize> =
        order.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let all = 0..graph.ty(x).shape()[1];
    (index.ty.rank() == 1 && sorted.into_iter().eq(all)).then_some(order)
}

/// Most operators between Split-Attention and the weights that take its order over.
const MOST_OPERATORS: usize = 32;

/// Whether there is a convolution above that can take the order, or the axis, over.
fn leads_to_weights(graph: &Graph, mut id: NodeId) -> bool {
    for _ in 0..MOST_OPERATORS {
        if graph.sole_use(id).is_none() {
            return false;
        }
        match &graph.node(id).op {
            Op::Conv(_) => return true,
            Op::Unary(_, then) if then.is_empty() => {}
            Op::Pool(_) => {}
            _ => return false,
        }
        match graph.operand(id, 0) {
            Some(x) => id = x,
            None => return false,
        }
    }
    false
}

struct Mover<'g> {
    graph: &'g Graph,
    edit: Edit,
}

impl Mover<'_> {
    /// The value with channel `order[i]` as its channel `i`, made so by the weights above it.
    fn moved(
        &mut self,
        id: NodeId,
        order: &[usize],
        splits: Option<Splits>,
    ) -> Result<Operand, String> {
        if self.edit.region.len() > MOST_OPERATORS {
            return Err(format!("more than {MOST_OPERATORS} operators are above it"));
        }
        let graph = self.graph;
        let node = graph.node(id);
        let stays = order.iter().enumerate().all(|(i, at)| i == *at);
        if let Some(inner) = permutation(graph, id) {
            self.edit.region.push(id);
            let x = graph.operand(id, 0).ok_or("a gather of nothing")?;
            let order: Vec<usize> = order.iter().map(|at| inner[*at]).collect();
            return self.moved(x, &order, splits);
        }
        if stays && !leads_to_weights(graph, id) {
            return Ok(Operand::Old(id));
        }
        if graph.sole_use(id).is_none() {
            return Err(format!(
                "`{}`, whose channels would move, is used elsewhere too",
                node.name
            ));
        }
        match &node.op {
            Op::Unary(_, then) if then.is_empty() => self.pass_through(id, order, splits),
            Op::Pool(_) => self.pass_through(id, order, splits),
            Op::Conv(_) => self.conv(id, order, splits),
            op => Err(format!(
                "the order of channels cannot move through `{}` ({})",
                node.name,
                op.mnemonic()
            )),
        }
    }

    /// An operator that treats channels alike.
    fn pass_through(
        &mut self,
        id: NodeId,
        order: &[usize],
        splits: Option<Splits>,
    ) -> Result<Operand, String> {
        let node = self.graph.node(id);
        self.edit.region.push(id);
        let x = self.graph.operand(id, 0).ok_or("an operator of nothing")?;
        let x = self.moved(x, order, splits)?;
        let new = self.edit.add(&node.name, node.op.clone(), vec![(0, x)]);
        self.edit.stands_for(new, &[id]);
        Ok(new)
    }

    fn conv(
        &mut self,
        id: NodeId,
        order: &[usize],
        splits: Option<Splits>,
    ) -> Result<Operand, String> {
        let graph = self.graph;
        let node = graph.node(id);
        let Op::Conv(conv) = &node.op else { return Err("no convolution".into()) };
        if !conv.epilogue.is_empty() {
            return Err(format!("something is applied after `{}`", node.name));
        }
        self.edit.region.push(id);
        let operand = |slot| graph.operand(id, slot).ok_or("a convolution of nothing");
        let (x, weight) = (operand(0)?, operand(1)?);
        let weights = self.reordered(weight, order, splits)?;
        let mut operands = vec![(1, weights)];
        if let Some(bias) = graph.operand(id, 2) {
            operands.push((2, self.reordered(bias, order, splits)?));
        }
        let x = match conv.groups {
            1 => Operand::Old(x),
            groups => {
                let inputs = graph.ty(x).shape()[1];
                let order = group_order(order, groups, inputs).ok_or_else(|| {
                    format!("the order of channels would mix the groups of `{}`", node.name)
                })?;
                let splits = splits.filter(|Splits([k, r])| k * r == groups);
                self.moved(x, &order, splits)?
            }
        };
        operands.insert(0, (0, x));
        let new = self.edit.add(&node.name, node.op.clone(), operands);
        self.edit.stands_for(new, &[id]);
        Ok(new)
    }

    /// A weight with its rows in this order.
    fn reordered(
        &mut self,
        id: NodeId,
        order: &[usize],
        splits: Option<Splits>,
    ) -> Result<Operand, String> {
        let node = self.graph.node(id);
        let Op::Weight(weight) = &node.op else {
            return Err(format!("`{}` is not constant", node.name));
        };
        let mut ty = node.ty.clone();
        ty.axes[0] = splits.map_or_else(|| Axis::plain(order.len()), |s| s.axis(order.len()));
        if order.iter().enumerate().all(|(i, at)| i == *at) {
            // Only the axis has another name.
            return Ok(self.edit.constant(&node.name, ty, weight.clone()));
        }
        let values = weight.to_f32(&node.ty);
        let values = values.ok_or_else(|| format!("`{}` is not known", node.name))?;
        let length = values.len() / order.len().max(1);
        let rows = order.iter().flat_map(|at| &values[at * length..][..length]);
        let rows: Vec<f32> = rows.copied().collect();
        Ok(self.edit.constant(&node.name, ty, Weight::from_f32(&rows)))
    }
}

/// The order of `inputs` channels that makes the groups come in the order of the outputs; `None`
/// when an output would leave its group.
fn group_order(order: &[usize], groups: usize, inputs: usize) -> Option<Vec<usize>> {
    let (made, read) = (order.len() / groups, inputs / groups);
    let of_each = order.chunks(made).map(|outputs| {
        let group = outputs.first()? / made;
        outputs.iter().all(|o| o / made == group).then_some(group)
    });
    let groups: Vec<usize> = of_each.collect::<Option<_>>()?;
    Some(groups.into_iter().flat_map(|g| g * read..(g + 1) * read).collect())
}
