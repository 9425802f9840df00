//! Split-Attention as in Figure 2 of the ResNeSt paper (Zhang et al. 2020), with a network's own numbers: what
//! happens in one of the K cardinal groups. Its R splits are summed and squeezed, two dense layers make a
//! number for each split and channel, a softmax over the splits makes weights of these, and the splits
//! are added up by them. Above and below lie all channels, cardinality-major.

use cardinal_compiler::ir::{
    Excite, Graph, NodeId, Op, Rounding, SplitAttention, TensorType, Weigh,
};

use super::block::strips;
use super::label;
use super::scene::{Anchor, Point, Rect, Scene};

/// Around everything.
const MARGIN: i32 = 16;
/// The size of a split's box, and the distance between such boxes.
const SPLIT: (i32, i32) = (116, 44);
const APART: i32 = 14;
/// The size of a box of the dense layers' column, and the distance between such boxes.
const STEP: (i32, i32) = (190, 42);
const GAP: i32 = 20;
/// Splits that are drawn, at most: of more, the first two and the last.
const MOST_SPLITS: usize = 4;
/// Cards that are drawn behind the first.
const MOST_CARDS: i32 = 2;
/// How far cards stand out.
const CARD: i32 = 8;

/// The extents of an attention.
struct Extents {
    splits: usize,
    groups: usize,
    channels: usize,
    height: usize,
    width: usize,
}

/// The figure of a node; `None` if it is no Split-Attention.
pub(crate) fn draw(graph: &Graph, id: NodeId) -> Option<Scene> {
    let Op::SplitAttention(attention) = &graph.node(id).op else { return None };
    let u = graph.ty(graph.operand(id, SplitAttention::U)?);
    let [_, all, height, width] = u.shape()[..] else { return None };
    let (groups, splits) = (attention.cardinality, attention.radix);
    let channels = all / groups.max(1) / splits.max(1);
    let extents = Extents { splits, groups, channels, height, width };
    Some(Figure::new(attention, extents).draw(u, &graph.node(id).ty))
}

/// Where things are.
struct Figure<'a> {
    attention: &'a SplitAttention,
    extents: Extents,
    /// The number of each split that is drawn, counted from 1, and the middle of its column.
    columns: Vec<(usize, i32)>,
    /// The middle of the dense layers' column.
    center: i32,
    card: Rect,
    scene: Scene,
}

impl<'a> Figure<'a> {
    fn new(attention: &'a SplitAttention, extents: Extents) -> Figure<'a> {
        let shown: Vec<usize> = match extents.splits {
            all if all <= MOST_SPLITS => (1..=all).collect(),
            all => vec![1, 2, all],
        };
        let left = shown.len().div_ceil(2);
        let (mut columns, mut x) = (Vec::new(), MARGIN + 12);
        let mut center = 0;
        for (place, split) in shown.iter().enumerate() {
            columns.push((*split, x + SPLIT.0 / 2));
            x += SPLIT.0 + APART;
            if place + 1 == left {
                center = x + STEP.0 / 2;
                x += STEP.0 + APART;
            }
        }
        let card = Rect { x: MARGIN, y: MARGIN + 58, width: x - APART + 12 - MARGIN, height: 0 };
        Figure { attention, extents, columns, center, card, scene: Scene::default() }
    }

    fn draw(mut self, u: &TensorType, y: &TensorType) -> Scene {
        let cards = (self.extents.groups as i32 - 1).clamp(0, MOST_CARDS);
        let top = self.card.y + CARD * cards;
        self.card.y = top;
        let steps = self.steps();
        let summed = top + 34 + SPLIT.1 + GAP + 6;
        let weighed = summed + GAP + steps.len() as i32 * (STEP.1 + GAP) + 6;
        let added = weighed + GAP + 26;
        self.card.height = added + GAP + SPLIT.1 + 14 - top;
        let bar = |y| Rect { x: MARGIN, y, width: self.card.width, height: 14 };
        let (above, below) = (bar(MARGIN + 24), bar(self.card.bottom() + 16));
        self.channels(above, MARGIN + 16, "u", u, self.extents.splits);
        self.cards(cards);
        self.splits(top + 34, summed, weighed, added);
        self.dense_layers(summed, weighed, &steps);
        self.result(added);
        self.channels(below, below.bottom() + 17, "y", y, 1);
        self.scene.width = MARGIN * 2 + self.card.width + CARD * cards;
        self.scene.height = below.bottom() + 24 + self.notes(below.bottom() + 36);
        self.scene
    }

    /// A bar of all channels, with the type of what they are of.
    fn channels(&mut self, bar: Rect, line: i32, name: &str, ty: &TensorType, splits: usize) {
        let text = format!("{name}   {}", label::shape(ty));
        self.scene.text("detail", (bar.x, line), Anchor::Start, text);
        strips(&mut self.scene, bar, self.extents.groups, splits);
    }

    fn cards(&mut self, behind: i32) {
        for i in (0..=behind).rev() {
            let at = Rect { x: self.card.x + CARD * i, y: self.card.y - CARD * i, ..self.card };
            self.scene.rect("card", at);
        }
        let text = match self.extents.groups {
            1 => "one cardinal group, K = 1".to_owned(),
            k => format!("each of K = {k} cardinal groups"),
        };
        self.scene.text("caption", (self.card.x + 12, self.card.y + 20), Anchor::Start, text);
    }

    /// The splits' boxes, and what goes down from each.
    fn splits(&mut self, top: i32, summed: i32, weighed: i32, added: i32) {
        let Extents { channels, height, width, .. } = self.extents;
        for (split, x) in self.columns.clone() {
            let at = Rect { x: x - SPLIT.0 / 2, y: top, width: SPLIT.0, height: SPLIT.1 };
            self.scene.line("edge", &[(x, at.bottom()), (x, weighed - 10)]);
            let bends = [(x, weighed + 10), (x, added), (self.toward(x, 10), added)];
            if self.is_outermost(x) {
                let class = if self.extents.splits > 1 { "edge" } else { "wire" };
                self.scene.line(class, &bends);
                self.scene.line("wire", &[(x, summed), (self.toward(x, 10), summed)]);
            } else {
                self.scene.line("wire", &bends[..2]);
                self.scene.rect("dot", Rect::around((x, added), 6, 6));
            }
            self.scene.line("edge", &[self.weight_from(x, weighed), (self.beside(x), weighed)]);
            self.scene.rect("dot", Rect::around((x, summed), 6, 6));
            self.scene.sign((x, weighed), "×");
            self.scene.rect("io", at);
            let title =
                if self.extents.splits > 1 { format!("split r = {split}") } else { "input".into() };
            self.scene.label(at, &[title, format!("{height} × {width} × {channels}")]);
        }
        if self.columns.len() < self.extents.splits {
            let (before, after) = (self.columns[1].1, self.columns[2].1);
            let middle =
                if before < self.center { after - SPLIT.0 / 2 - 6 } else { (before + after) / 2 };
            self.scene.text("title", (middle, top + 26), Anchor::Middle, "…");
        }
    }

    /// Whether no column is farther from the middle on the same side.
    fn is_outermost(&self, x: i32) -> bool {
        let ends = [self.columns.first(), self.columns.last()];
        ends.into_iter().flatten().any(|(_, end)| *end == x)
    }

    /// The place on the way from a column to the middle, so far from it.
    fn toward(&self, x: i32, far: i32) -> i32 {
        if x < self.center { self.center - far } else { self.center + far }
    }

    /// The place right of or left of a split's sign, where the weight comes from.
    fn beside(&self, x: i32) -> i32 {
        if x < self.center { x + 10 } else { x - 10 }
    }

    /// Where a split's weight comes from: the middle, or the sign of the split before it.
    fn weight_from(&self, x: i32, weighed: i32) -> Point {
        let inner = self.columns.iter().map(|(_, other)| *other);
        let inner = inner.filter(|other| (*other < self.center) == (x < self.center));
        let nearer = inner.filter(|other| (other - self.center).abs() < (x - self.center).abs());
        match nearer.min_by_key(|other| (other - x).abs()) {
            Some(other) => (if other < self.center { other - 10 } else { other + 10 }, weighed),
            None => (self.center, weighed),
        }
    }

    /// What the squeeze, the dense layers and the softmax say.
    fn steps(&self) -> Vec<(&'static str, [String; 2])> {
        let Extents { splits, channels, .. } = self.extents;
        let mut steps = vec![("pool", ["global average pool".into(), format!("{channels}")])];
        let last = match &self.attention.excite {
            Excite::Inner { width, activation } => {
                let names: Vec<&str> = activation.iter().map(|f| f.mnemonic()).collect();
                let title = format!("dense, {}", names.join(", "));
                let title = label::shortened(title.trim_end_matches(", "), 26);
                steps.push(("dense", [title, format!("{channels} → {width}")]));
                *width
            }
            Excite::Direct => channels,
        };
        let made =
            if splits > 1 { format!("{splits} · {channels}") } else { channels.to_string() };
        steps.push(("dense", ["dense".into(), format!("{last} → {made}")]));
        let (title, detail) = match self.attention.weigh {
            Weigh::Softmax => ("softmax over r".to_owned(), format!("{splits} weights a channel")),
            Weigh::Gate(gate) => (gate.mnemonic().to_owned(), "a weight a channel".to_owned()),
        };
        steps.push(("map", [title, detail]));
        steps
    }

    /// The column in the middle, from the sum of the splits to their weights.
    fn dense_layers(&mut self, summed: i32, weighed: i32, steps: &[(&'static str, [String; 2])]) {
        let x = self.center;
        let mut from = match self.extents.splits {
            1 => {
                self.scene
                    .line("wire", &[(self.toward(self.columns[0].1, 10), summed), (x, summed)]);
                summed
            }
            _ => {
                self.scene.sign((x, summed), "+");
                summed + 10
            }
        };
        let mut top = summed + GAP + 6;
        for (class, lines) in steps {
            let at = Rect { x: x - STEP.0 / 2, y: top, width: STEP.0, height: STEP.1 };
            self.scene.line("edge", &[(x, from), (x, top)]);
            self.scene.rect(class, at);
            self.scene.label(at, lines);
            (from, top) = (at.bottom(), at.bottom() + GAP);
        }
        self.scene.line("wire", &[(x, from), (x, weighed)]);
    }

    /// The sum of the weighed splits.
    fn result(&mut self, added: i32) {
        let Extents { splits, channels, height, width, .. } = self.extents;
        let x = self.center;
        let top = added + GAP + 2;
        let mut from = added;
        match splits {
            1 => {
                self.scene.line("wire", &[(self.toward(self.columns[0].1, 10), added), (x, added)])
            }
            _ => {
                self.scene.sign((x, added), "+");
                from += 10;
            }
        }
        self.scene.line("edge", &[(x, from), (x, top)]);
        let at = Rect { x: x - SPLIT.0 / 2, y: top, width: SPLIT.0, height: SPLIT.1 };
        self.scene.rect("io", at);
        self.scene.label(at, &["result".into(), format!("{height} × {width} × {channels}")]);
    }

    /// What else there is to say, and how much room that takes.
    fn notes(&mut self, top: i32) -> i32 {
        let epilogue = &self.attention.epilogue;
        let rounds = self.attention.rounding != Rounding::default();
        let notes = [
            (rounds, "rounded on the way, as the quantized model asks for"),
            (!epilogue.is_empty(), "then its epilogue, element by element"),
        ];
        let mut height = 0;
        for (_, text) in notes.into_iter().filter(|(there, _)| *there) {
            self.scene.text("caption", (MARGIN, top + height), Anchor::Start, text);
            height += 16;
        }
        height
    }
}
