//! What a convolution can be computed as: its extents, what the estimates take for them, what is worth
//! trying and what is possible at all.

use std::collections::BTreeMap;

use super::choice::Choice;
use super::cut::{Cut, ProductCut, Products, joined_rows};
use super::halves::InHalves;
use super::layout::{self, Blocked, narrow_groups};
use super::lower::{Machine, tile_steps};
use super::tile::{BLOCK, Vectors};
use super::winograd::{Estimate, SIZES};
use crate::ir::{Conv, Graph, NodeId};

/// Most candidates of a layer.
const MOST_CANDIDATES: usize = 12;

/// A convolution in its graph.
pub(super) struct Site<'s> {
    pub(super) graph: &'s Graph,
    pub(super) id: NodeId,
    /// With its groups as they are computed.
    pub(super) conv: &'s Conv,
    pub(super) machine: &'s Machine,
    pub(super) layout: &'s Blocked,
    pub(super) layouts: &'s BTreeMap<NodeId, Blocked>,
}

impl Site<'_> {
    pub(super) fn operand(&self, slot: usize) -> Option<NodeId> {
        self.graph.operand(self.id, slot)
    }

    /// Whether neither side has a border, for a window of one pixel: then it need not know where image
    /// rows end.
    pub(super) fn is_flat(&self) -> bool {
        let (_, _, other) = tile_steps(&self.conv.epilogue);
        let read = [Some(0), other].into_iter().flatten().all(|slot| self.reads_flat(slot));
        self.conv.window.is_point() && self.layout.is_flat() && read
    }

    /// Whether an operand, if there is one, lies without a border.
    pub(super) fn reads_flat(&self, slot: usize) -> bool {
        let layout = self.operand(slot).and_then(|id| self.layouts.get(&id));
        layout.is_none_or(Blocked::is_flat)
    }

    /// The operand's layout, as its maker or a copy has it for groups that begin at blocks.
    pub(super) fn source(&self, groups: usize) -> Option<Blocked> {
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
pub(super) struct Geometry {
    /// The vectors that direct convolution uses.
    vectors: Vectors,
    /// Groups as they are computed: narrow ones a block at a time.
    pub(super) groups: usize,
    /// Blocks of output channels of a group.
    pub(super) blocks: usize,
    /// Elements that a sum runs over.
    pub(super) depth: usize,
    /// Pixels of a row of tiles.
    columns: usize,
    /// Rows of tiles in an image.
    rows: usize,
    /// Elements of a pixel that a group reads.
    channels: usize,
    pub(super) flat: bool,
    /// Whether Winograd's transforms could serve, but may not.
    pub(super) withheld: bool,
    pub(super) winograd: Option<InWinograd>,
    pub(super) halves: Option<InHalves>,
}

/// What Winograd's transforms would do.
pub(super) struct InWinograd {
    pub(super) estimate: Estimate,
    /// With tiles of some size.
    products: Products,
}

impl Geometry {
    pub(super) fn of(site: &Site<'_>) -> Geometry {
        let narrow = narrow_groups(site.graph, site.id, site.conv);
        let groups = if narrow.is_some() { site.layout.blocks() } else { site.conv.groups };
        let [h, w] = site.layout.size;
        let flat = site.is_flat();
        let winograd = InWinograd::of(site, narrow);
        let halves = InHalves::of(site, narrow);
        let allowed = site.machine.winograd;
        let joined = if flat { joined_rows([h, w]) } else { 1 };
        let depth = site.depth(groups, narrow);
        let taps: usize = site.conv.window.kernel.iter().product();
        Geometry {
            vectors: site.machine.vectors.for_groups_of(narrow.unwrap_or(0)),
            groups,
            blocks: site.layout.blocks() / groups,
            depth,
            columns: joined * w,
            rows: h / joined,
            channels: depth / taps.max(1),
            flat,
            withheld: (winograd.is_some() || halves.is_some()) && !allowed,
            winograd: winograd.filter(|_| allowed),
            halves: halves.filter(|_| allowed),
        }
    }

    /// What the estimates take.
    pub(super) fn estimated(&self) -> Choice {
        let fastest = self.winograd.as_ref().and_then(|w| Some((w, w.estimate.outputs()?)));
        let halves = self.halves.as_ref().filter(|h| h.is_worthwhile());
        match (fastest, halves) {
            (Some((w, outputs)), _) => in_winograd(outputs, w.products(outputs).best().1),
            (None, Some(halves)) => self.in_halves(halves, halves.best().1)[0],
            (None, None) => self.in_order(self.direct_cuts()[0])[0],
        }
    }

    /// Strassen's products in the order that weights of this size want, and in the other.
    fn in_halves(&self, halves: &InHalves, (row, cut): (usize, Cut)) -> [Choice; 2] {
        let pixels_first = halves.weights() <= self.vectors.cached_weights();
        [pixels_first, !pixels_first].map(|pixels_first| Choice::Strassen {
            cut,
            pixels_first,
            row,
        })
    }

    /// A direct convolution in the order that weights of this size want, and in the other.
    fn in_order(&self, cut: Cut) -> [Choice; 2] {
        let bytes = |extents: [usize; 3]| extents.into_iter().fold(4, usize::saturating_mul);
        let weights = bytes([self.blocks, BLOCK, self.depth]);
        let pixels = bytes([self.rows, self.columns, self.channels]);
        // What goes by while the other stays: all weights for each row, or all pixels for each tile.
        let by_pixels = weights.saturating_mul(self.rows);
        let tiles = self.blocks.div_ceil(cut.blocks);
        let by_weights = pixels.saturating_mul(tiles);
        let is_small = weights <= self.vectors.cached_weights();
        // Groups read pixels of their own.
        let pixels_first =
            self.groups == 1 && (is_small || self.rows > 1 && by_pixels <= by_weights);
        [pixels_first, !pixels_first].map(|pixels_first| Choice::Direct { cut, pixels_first })
    }

    /// Whether the layer can be computed like this.
    pub(super) fn allows(&self, choice: &Choice) -> bool {
        match *choice {
            Choice::Direct { cut, .. } => cut.fits(self.vectors, self.columns, self.blocks),
            Choice::Winograd { outputs, cut, rows, images } => {
                let item = ProductCut { together: images, chunk: rows, cut };
                let fits = |w: &InWinograd| w.products(outputs).fits(item);
                SIZES.contains(&outputs) && self.winograd.as_ref().is_some_and(fits)
            }
            Choice::Strassen { cut, row, .. } => {
                self.halves.as_ref().is_some_and(|halves| halves.fits(row, cut))
            }
        }
    }

    /// What is worth trying, the estimate's choice first.
    pub(super) fn candidates(&self) -> Vec<Choice> {
        let mut all = vec![self.estimated()];
        let direct = self.direct_candidates();
        if let Some(winograd) = &self.winograd {
            let first = winograd.estimate.outputs().unwrap_or(4);
            all.extend(winograd.candidates(first).take(5));
            all.extend(direct.iter().take(2));
            let others = SIZES.into_iter().rev().filter(|outputs| *outputs != first);
            all.extend(others.flat_map(|outputs| winograd.candidates(outputs).take(2)));
        }
        if let Some(halves) = &self.halves {
            all.extend(direct.iter().take(2));
            let ways = halves.ranked().into_iter().take(3);
            all.extend(ways.flat_map(|(_, way)| self.in_halves(halves, way)));
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

    /// Tiles of a direct convolution, the cheapest first.
    fn direct_cuts(&self) -> Vec<Cut> {
        let ranked = Cut::ranked(self.vectors, self.columns, self.blocks, self.depth);
        let cuts: Vec<Cut> = ranked.into_iter().map(|(_, cut)| cut).collect();
        if cuts.is_empty() { vec![Cut::UNIT] } else { cuts }
    }

    /// For each width the best tile and the best of at most half its pixels, in both orders, the cheapest
    /// first.
    fn direct_candidates(&self) -> Vec<Choice> {
        let mut kept: Vec<Cut> = Vec::new();
        for cut in self.direct_cuts() {
            let of_width: Vec<&Cut> = kept.iter().filter(|k| k.blocks == cut.blocks).collect();
            let is_new = match of_width[..] {
                [] => true,
                [best] => 2 * cut.pixels <= best.pixels,
                _ => false,
            };
            if is_new {
                kept.push(cut);
            }
        }
        kept.into_iter().flat_map(|cut| self.in_order(cut)).collect()
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
            size: site.layout.size,
            dilation: site.conv.window.dilation[0],
            outputs: SIZES[0],
            blocks: site.layout.blocks() / groups,
            depth: source.blocks() / groups * BLOCK,
        };
        Some(InWinograd { estimate, products })
    }

    /// The products with tiles of `outputs`².
    fn products(&self, outputs: usize) -> Products {
        Products { outputs, ..self.products }
    }

    /// What is worth trying with these tiles, the best by the estimates first.
    fn candidates(&self, outputs: usize) -> impl Iterator<Item = Choice> {
        let products = self.products(outputs);
        let best = std::iter::once(products.best().1);
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
    let read = site.operand(0).map(|x| graph.ty(x).shape()[1] / conv.groups)?;
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
