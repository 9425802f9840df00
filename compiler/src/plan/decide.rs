//! Which algorithm computes each convolution, and how it is cut: by estimates, unless the caller has
//! chosen otherwise.
//!
//! Layers of equal [key](Layer::key) cost the same, and have the same candidates. A choice that is
//! none of what the layer could be is as good as absent.

use std::collections::BTreeMap;

use super::batch;
use super::choice::Choice;
use super::cut::{Cut, ProductCut, Products, joined_rows};
use super::layout::{self, Blocked, narrow_groups};
use super::lower::{Machine, tile_steps};
use super::tile::{BLOCK, TileStep, Vectors};
use super::winograd::{self, Estimate};
use crate::ir::text::values::Value as _;
use crate::ir::{Conv, Graph, NodeId, Op, TensorType, Window};

/// Most candidates of a layer.
const MOST_CANDIDATES: usize = 8;

/// Weights of a group up to so many bytes stay in a second-level cache while rows of pixels go by.
const CACHED_WEIGHTS: usize = 256 << 10;

/// A convolution whose algorithm or cut is a matter of choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The value it makes, whose name its steps have.
    pub name: String,
    /// Everything that its cost depends on besides the CPU: the vectors, shapes, the window, how
    /// channels fall into blocks, the epilogue. One line of at most
    /// [`MAX_CHOICE_BYTES`](cardinal_runtime::MAX_CHOICE_BYTES).
    pub key: String,
    /// What to try, the estimate's choice first.
    pub candidates: Vec<Choice>,
    /// What is taken.
    pub taken: Choice,
}

impl Layer {
    /// Whether something else is taken than the estimate has it.
    pub fn is_changed(&self) -> bool {
        self.candidates.first() != Some(&self.taken)
    }
}

/// The convolutions of a verified graph that [`lower`](super::lower) would plan as `machine` says,
/// in the order of the plan.
pub fn layers(graph: &Graph, machine: &Machine) -> Vec<Layer> {
    let staged = batch::staged(graph);
    let graph = staged.as_ref().unwrap_or(graph);
    let mut decisions = decide(graph, machine);
    let order = graph.topological();
    let layer = |id: NodeId| {
        let decision = decisions.remove(&id)?;
        let name = graph.node(id).name.clone();
        let Decision { key, geometry, choice: taken, .. } = decision;
        Some(Layer { name, key, candidates: geometry.candidates(), taken })
    };
    order.into_iter().filter_map(layer).collect()
}

/// How a convolution is computed.
pub(super) struct Decision {
    key: String,
    geometry: Geometry,
    pub(super) choice: Choice,
    /// Why, where there was a choice of algorithms or the caller chose; empty elsewhere.
    pub(super) why: String,
}

/// The decision for each convolution in blocks.
pub(super) fn decide(graph: &Graph, machine: &Machine) -> BTreeMap<NodeId, Decision> {
    // Borders do not depend on decisions but for their width, and nothing here on that.
    let layouts = layout::assign(graph, |_, conv| direct_border(&conv.window));
    let decision = |(&id, layout): (&NodeId, &Blocked)| {
        let Op::Conv(conv) = &graph.node(id).op else { return None };
        let site = Site { graph, id, conv, machine, layout, layouts: &layouts };
        Some((id, Decision::of(&site)))
    };
    layouts.iter().filter_map(decision).collect()
}

impl Decision {
    fn of(site: &Site<'_>) -> Decision {
        let geometry = Geometry::of(site);
        let key = key(site, &geometry);
        let chosen = site.machine.choices.get(&key).filter(|c| geometry.allows(&c.choice));
        let estimate = geometry.winograd.as_ref().map(|w| w.estimate.to_string());
        let tuned = chosen.map(|chosen| match chosen.because.as_str() {
            "" => format!("tuned: {}", chosen.choice),
            because => format!("tuned: {because}"),
        });
        let why = [tuned, estimate].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let choice = chosen.map_or_else(|| geometry.estimated(), |chosen| chosen.choice);
        Decision { key, geometry, choice, why }
    }

    /// The border that the convolution reads.
    pub(super) fn border(&self, conv: &Conv, made: &TensorType) -> [usize; 4] {
        match self.choice {
            Choice::Direct { .. } => direct_border(&conv.window),
            Choice::Winograd { outputs, .. } => {
                let shape = made.shape();
                winograd::border(outputs, [shape[2], shape[3]])
            }
        }
    }
}

fn direct_border(window: &Window) -> [usize; 4] {
    let ([top, left], [bottom, right]) = (window.pad_before, window.pad_after);
    [top, left, bottom, right]
}

/// A convolution in its graph.
struct Site<'s> {
    graph: &'s Graph,
    id: NodeId,
    conv: &'s Conv,
    machine: &'s Machine,
    layout: &'s Blocked,
    layouts: &'s BTreeMap<NodeId, Blocked>,
}

impl Site<'_> {
    fn operand(&self, slot: usize) -> Option<NodeId> {
        self.graph.operand(self.id, slot)
    }

    /// Whether neither side has a border, for a window of one pixel: then it need not know where image
    /// rows end.
    fn is_flat(&self) -> bool {
        let flat = |id: NodeId| self.layouts.get(&id).is_none_or(Blocked::is_flat);
        let (_, _, other) = tile_steps(&self.conv.epilogue);
        let operands = [Some(0), other].into_iter().flatten().filter_map(|slot| self.operand(slot));
        let window = Window { dilation: Window::POINT.dilation, ..self.conv.window };
        window == Window::POINT && self.layout.is_flat() && operands.into_iter().all(flat)
    }

    /// The operand's layout, as its maker or a copy has it for groups that begin at blocks.
    fn source(&self, groups: usize) -> Option<Blocked> {
        let x = self.operand(0)?;
        let made = self.layouts.get(&x).filter(|layout| layout.serves(groups)).copied();
        made.or_else(|| Some(layout::for_groups(self.graph.ty(x), groups, [0; 4])))
    }

    /// Elements that a sum runs over.
    fn depth(&self, groups: usize, narrow: Option<usize>) -> usize {
        let taps: usize = self.conv.window.kernel.iter().product();
        let Some(x) = self.operand(0) else { return 0 };
        let channels = self.graph.ty(x).shape()[1] / groups.max(1);
        let row_major = !self.layouts.contains_key(&x) && channels < BLOCK;
        match (narrow, self.source(groups)) {
            (Some(narrow), _) => narrow * taps,
            (None, Some(source)) if !row_major => source.blocks() / groups * BLOCK * taps,
            (None, _) => channels * taps,
        }
    }
}

/// The extents that choices are about.
struct Geometry {
    /// The vectors that direct convolution uses.
    vectors: Vectors,
    /// Groups as they are computed: narrow ones a block at a time.
    groups: usize,
    /// Blocks of output channels of a group.
    blocks: usize,
    /// Elements that a sum runs over.
    depth: usize,
    /// Pixels of a row of tiles.
    columns: usize,
    flat: bool,
    /// Whether Winograd's transforms could serve, but may not.
    withheld: bool,
    winograd: Option<InWinograd>,
}

/// What Winograd's transforms would do.
struct InWinograd {
    estimate: Estimate,
    /// Of tiles of one output.
    products: Products,
}

impl Geometry {
    fn of(site: &Site<'_>) -> Geometry {
        let narrow = narrow_groups(site.graph, site.id, site.conv);
        let groups = if narrow.is_some() { site.layout.blocks() } else { site.conv.groups };
        let [h, w] = site.layout.size;
        let flat = site.is_flat();
        let winograd = InWinograd::of(site, narrow);
        let allowed = site.machine.winograd;
        Geometry {
            vectors: site.machine.vectors.for_groups_of(narrow.unwrap_or(0)),
            groups,
            blocks: site.layout.blocks() / groups,
            depth: site.depth(groups, narrow),
            columns: if flat { joined_rows([h, w]) * w } else { w },
            flat,
            withheld: winograd.is_some() && !allowed,
            winograd: winograd.filter(|_| allowed),
        }
    }

    /// What the estimates take.
    fn estimated(&self) -> Choice {
        let fastest = self.winograd.as_ref().and_then(|w| Some((w, w.estimate.outputs()?)));
        match fastest {
            Some((w, outputs)) => in_winograd(outputs, w.products(outputs).best()),
            None => self.direct(Cut::best(self.vectors, self.columns, self.blocks)),
        }
    }

    /// A direct convolution in the order that weights of this size want.
    fn direct(&self, cut: Cut) -> Choice {
        let bytes = self.blocks * BLOCK * self.depth * 4;
        Choice::Direct { cut, pixels_first: bytes <= CACHED_WEIGHTS }
    }

    /// Whether the layer can be computed like this.
    fn allows(&self, choice: &Choice) -> bool {
        match *choice {
            Choice::Direct { cut, .. } => cut.fits(self.vectors, self.columns, self.blocks),
            Choice::Winograd { outputs, cut, rows, images } => {
                let item = ProductCut { together: images, chunk: rows, cut };
                let fits = |w: &InWinograd| w.products(outputs).fits(item);
                matches!(outputs, 2 | 4) && self.winograd.as_ref().is_some_and(fits)
            }
        }
    }

    /// What is worth trying, the estimate's choice first.
    fn candidates(&self) -> Vec<Choice> {
        let mut all = vec![self.estimated()];
        let direct = self.direct_candidates();
        if let Some(winograd) = &self.winograd {
            let first = winograd.estimate.outputs().unwrap_or(4);
            let second = if first == 4 { 2 } else { 4 };
            all.extend(winograd.candidates(first).take(3));
            all.extend(direct.iter().take(2));
            all.extend(winograd.candidates(second).take(2));
        }
        all.extend(direct);
        let mut distinct: Vec<Choice> = Vec::new();
        for choice in all {
            if !distinct.contains(&choice) {
                distinct.push(choice);
            }
        }
        distinct.truncate(MOST_CANDIDATES);
        distinct
    }

    /// The best tile in the other order, and for each width the best tile and the best of at most half
    /// its pixels, the cheapest first.
    fn direct_candidates(&self) -> Vec<Choice> {
        let ranked = Cut::ranked(self.vectors, self.columns, self.blocks);
        let mut kept: Vec<Cut> = Vec::new();
        for (_, cut) in &ranked {
            let of_width: Vec<&Cut> = kept.iter().filter(|k| k.blocks == cut.blocks).collect();
            let is_new = match of_width[..] {
                [] => true,
                [best] => 2 * cut.pixels <= best.pixels,
                _ => false,
            };
            if is_new {
                kept.push(*cut);
            }
        }
        let mut all: Vec<Choice> = kept.into_iter().map(|cut| self.direct(cut)).collect();
        if let Some(&Choice::Direct { cut, pixels_first }) = all.first() {
            all.insert(1, Choice::Direct { cut, pixels_first: !pixels_first });
        }
        all
    }
}

impl InWinograd {
    fn of(site: &Site<'_>, narrow: Option<usize>) -> Option<InWinograd> {
        let estimate = estimate(site, narrow)?;
        let groups = site.conv.groups;
        let source = site.source(groups)?;
        let products = Products {
            vectors: site.machine.vectors,
            images: site.layout.images,
            tiles: site.layout.size,
            blocks: site.layout.blocks() / groups,
            elements: 9,
            depth: source.blocks() / groups * BLOCK,
        };
        Some(InWinograd { estimate, products })
    }

    /// The products with tiles of `outputs`².
    fn products(&self, outputs: usize) -> Products {
        let tiles = self.products.tiles.map(|n| n.div_ceil(outputs));
        Products { tiles, elements: (outputs + 2) * (outputs + 2), ..self.products }
    }

    /// What is worth trying with these tiles, the best by the estimates first.
    fn candidates(&self, outputs: usize) -> impl Iterator<Item = Choice> {
        let products = self.products(outputs);
        let best = std::iter::once(products.best());
        best.chain(products.ranked()).map(move |item| in_winograd(outputs, item))
    }
}

fn in_winograd(outputs: usize, item: ProductCut) -> Choice {
    let ProductCut { together: images, chunk: rows, cut } = item;
    Choice::Winograd { outputs, cut, rows, images }
}

/// What a convolution costs directly and with Winograd's transforms, where these are possible.
fn estimate(site: &Site<'_>, narrow: Option<usize>) -> Option<Estimate> {
    let Site { graph, id, conv, machine, .. } = *site;
    let shape = graph.ty(id).shape();
    let read = site.operand(1).map(|w| graph.ty(w).shape()[1])?;
    let channels = [read, shape[1] / conv.groups].map(|n| n.next_multiple_of(BLOCK));
    if narrow.is_some() || (read < BLOCK && conv.groups == 1) {
        return None;
    }
    // Distances between elements are immediate.
    const MOST_ELEMENTS: usize = 1 << 26;
    let planes = [shape[0], conv.groups, channels[0], shape[2] + 4, shape[3] + 4];
    if planes.into_iter().fold(1, usize::saturating_mul) > MOST_ELEMENTS {
        return None;
    }
    Estimate::of(machine.vectors, conv, channels, [shape[2], shape[3]], shape[0])
}

/// The key of a layer.
fn key(site: &Site<'_>, geometry: &Geometry) -> String {
    let Site { graph, id, conv, machine, .. } = *site;
    let shape = |id: NodeId| {
        let extents: Vec<String> = graph.ty(id).shape().iter().map(usize::to_string).collect();
        extents.join("x")
    };
    let from = site.operand(0).map(shape).unwrap_or_default();
    let Geometry { groups, blocks, depth, .. } = geometry;
    let mut key = format!(
        "{} {from} to {} window {} groups {} as {groups} of {depth} to {blocks}",
        machine.vectors.name(),
        shape(id),
        conv.window.write(),
        conv.groups,
    );
    let (steps, done, _) = tile_steps(&conv.epilogue);
    let step = |step: &TileStep| match step {
        TileStep::AddOther => " add",
        TileStep::Relu => " relu",
    };
    if site.operand(2).is_some() {
        key += " bias";
    }
    key.extend(steps.iter().map(step));
    match conv.epilogue.steps.len() - done {
        0 => {}
        more => key += &format!(" and {more} more"),
    }
    if geometry.flat {
        key += " flat";
    }
    if geometry.withheld {
        key += " without winograd";
    }
    key
}
