//! Which algorithm computes each convolution, and with which tiles: by estimates, unless the caller has
//! chosen otherwise.
//!
//! Layers of equal [key](Layer::key) cost the same, and have the same candidates. A choice that is
//! none of what the layer could be is as good as absent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::algorithm::{Algorithm, ConvSchedule, Offer};
use super::byte_values::ByteValues;
use super::choice::{Choice, Estimate};
use super::epilogue::FusedStep;
use super::groups::Groups;
use super::layout::{self, Layouts};
use super::problem::ConvProblem;
use super::stages::{Stages, View};
use super::{Algorithms, Preferences, tuned_because};
use crate::ir::text::values::Value as _;
use crate::ir::{Conv, Graph, NodeId, Op, SplitAttention};
use crate::machine::{Dots, Element, Factor, Machine};

/// Most candidates of a layer.
const MOST_CANDIDATES: usize = 12;

/// Choices that are tried of each algorithm's best way, and of its others: of few algorithms, and where there are
/// those for products of bfloat16 besides.
const TRIED: [[usize; 2]; 2] = [[6, 2], [3, 1]];

/// A convolution whose algorithm or tile is a matter of choice.
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
    /// The ways to compute it, each with its best choice.
    pub estimates: Vec<Estimate>,
    /// What is taken.
    pub taken: Choice,
}

impl Layer {
    /// Whether something else is taken than the estimate has it.
    pub fn is_changed(&self) -> bool {
        self.candidates.first() != Some(&self.taken)
    }
}

/// Where a schedule looks for convolutions.
pub(super) struct Site<'s> {
    pub(super) graph: &'s Graph,
    pub(super) stages: &'s Stages,
    pub(super) groups: &'s Groups,
    pub(super) machine: &'s Machine,
    pub(super) preferences: &'s Preferences,
    pub(super) algorithms: Algorithms,
    pub(super) bytes: &'s ByteValues,
    /// What was offered already: many layers of a network are alike.
    pub(super) offered: Offered,
}

/// Offers for convolutions, by the `Debug` text of what they depend on.
#[derive(Default)]
pub(super) struct Offered(RefCell<BTreeMap<String, Rc<Offers>>>);

impl Offered {
    /// The offers for a problem, made if there are none yet.
    fn of(
        &self,
        problem: &ConvProblem,
        make: impl FnOnce() -> Option<Offers>,
    ) -> Option<Rc<Offers>> {
        let mut all = self.0.borrow_mut();
        let key = format!("{problem:?}");
        if let Some(offers) = all.get(&key) {
            return Some(offers.clone());
        }
        let offers = Rc::new(make()?);
        all.insert(key, offers.clone());
        Some(offers)
    }
}

/// Convolutions in blocks, by node.
pub(super) type Convs = BTreeMap<NodeId, ConvSchedule>;

impl Site<'_> {
    /// How each convolution in blocks is computed, and where values lie then, given where channels lie.
    pub(super) fn decide(&self, flat: &Layouts) -> (Convs, Layouts) {
        let nothing = Preferences { choices: Default::default(), ..self.preferences.clone() };
        // Borders are those that the estimates' choices read, so that a layer's key does not depend on
        // what is chosen for others. Which choices these are does not depend on borders.
        let padding = |_: NodeId, conv: &Conv| super::algorithm::padding(&conv.window);
        let estimated = self.choose(&nothing, &self.bordered(flat, padding, |_| false));
        let border = |id: NodeId, conv: &Conv| self.border(&estimated, id, conv);
        let mut convs = self.choose(self.preferences, &self.bordered(flat, border, |_| false));
        let border = |id: NodeId, conv: &Conv| self.border(&convs, id, conv);
        let without = |id: NodeId| convs.get(&id).is_some_and(|conv| conv.flat);
        let layouts = self.bordered(flat, border, without);
        for (&id, conv) in &mut convs {
            let view = self.stages.view(self.graph, self.stages.of(id));
            if let Some(problem) = self.problem(view, id, &conv.conv, &layouts) {
                conv.problem = problem;
            }
        }
        self.fuse(&mut convs);
        (convs, layouts)
    }

    fn bordered(
        &self,
        flat: &Layouts,
        border: impl Fn(NodeId, &Conv) -> [usize; 4],
        without: impl Fn(NodeId) -> bool,
    ) -> Layouts {
        layout::with_borders(self.graph, self.stages, flat, border, without)
    }

    fn border(&self, convs: &Convs, id: NodeId, conv: &Conv) -> [usize; 4] {
        let algorithm = convs.get(&id).and_then(|c| self.algorithms.of(&c.choice));
        algorithm.map_or([0; 4], |a| a.border(&conv.window))
    }

    fn choose(&self, preferences: &Preferences, layouts: &Layouts) -> Convs {
        let mut convs = Convs::new();
        for (view, nodes) in self.stages.views(self.graph) {
            for &id in nodes.iter().filter(|id| layouts.contains_key(id)) {
                let Op::Conv(conv) = &view.node(id).op else { continue };
                convs.extend(self.conv(view, id, conv, preferences, layouts).map(|c| (id, c)));
            }
        }
        convs
    }

    fn problem(
        &self,
        view: View<'_>,
        id: NodeId,
        conv: &Conv,
        layouts: &Layouts,
    ) -> Option<ConvProblem> {
        let multiplies_bytes = self.bytes.are_multiplied(id);
        ConvProblem::of(view, id, conv, *self.machine, multiplies_bytes, layouts)
    }

    fn conv(
        &self,
        view: View<'_>,
        id: NodeId,
        conv: &Conv,
        preferences: &Preferences,
        layouts: &Layouts,
    ) -> Option<ConvSchedule> {
        let (joined, conv) = (self.groups.together(id), self.groups.computed(id, conv));
        let problem = self.problem(view, id, &conv, layouts)?;
        // Preferences differ in choices only, which offers do not depend on.
        let make = || Offers::of(self.algorithms, preferences, &problem);
        let offers = self.offered.of(&problem, make)?;
        let key = key(view, id, &conv, &problem, offers.withheld);
        let allowed = |choice: &Choice| {
            self.algorithms
                .of(choice)
                .is_some_and(|a| preferences.allows(a, problem.reads) && a.allows(&problem, choice))
        };
        let chosen = preferences.choices.get(&key).filter(|c| allowed(&c.choice));
        let candidates = offers.candidates();
        let choice = chosen.map(|c| &c.choice).or(candidates.first())?.clone();
        // What the estimates choose anyway is computed because of these.
        let other = chosen.filter(|chosen| candidates.first() != Some(&chosen.choice));
        let tuned = other.map(|chosen| match chosen.because.as_str() {
            "" => format!("tuned: {}", chosen.choice),
            because => tuned_because(because),
        });
        let joined_why = self.groups.why(id).map(str::to_owned);
        let reasons = [joined_why, tuned, offers.reason()].into_iter().flatten();
        let why = reasons.collect::<Vec<_>>().join("; ");
        let estimates = offers.estimates();
        let flat = self.algorithms.of(&choice).is_some_and(|a| a.makes_flat(&problem));
        let (totals, prepares) = (false, false);
        Some(ConvSchedule {
            key,
            conv,
            joined,
            problem,
            candidates,
            choice,
            is_asked_for: chosen.is_some(),
            estimates,
            why,
            flat,
            totals,
            prepares,
        })
    }

    /// What is made along with values, for those that read them in the same stage.
    fn fuse(&self, convs: &mut Convs) {
        let marks = |(&id, conv): (&NodeId, &ConvSchedule)| {
            let algorithm = self.algorithms.of(&conv.choice)?;
            let (fused, stage) = (&conv.problem.fused, self.stages.of(id));
            if fused.left > 0 {
                return None;
            }
            let users = || {
                let users = self.graph.uses(id).into_iter();
                users.filter(|(user, _)| self.stages.of(*user) == stage)
            };
            let squeezes = |(user, slot): (NodeId, usize)| {
                matches!(self.graph.node(user).op, Op::SplitAttention(_))
                    && slot == SplitAttention::U
            };
            let continues = |(user, slot): (NodeId, usize)| {
                convs.get(&user).is_some_and(|next| {
                    slot == 0
                        && next.choice.algorithm() == conv.choice.algorithm()
                        && algorithm.prepares(conv, next)
                })
            };
            let totals = algorithm.makes_totals(&conv.problem) && users().any(squeezes);
            Some((id, totals, users().any(continues)))
        };
        let marks: Vec<_> = convs.iter().filter_map(marks).collect();
        for (id, totals, prepares) in marks {
            if let Some(conv) = convs.get_mut(&id) {
                (conv.totals, conv.prepares) = (totals, prepares);
            }
        }
    }
}

/// The ways in which a convolution can be computed.
struct Offers {
    /// By the definition.
    direct: Offer,
    /// By each of the other algorithms, the best way first.
    others: Vec<Vec<Offer>>,
    /// Whether there are others, which may not be taken.
    withheld: bool,
    /// Whether there are algorithms for products of bfloat16 among them.
    rounds: bool,
}

impl Offers {
    /// `None` if the definition does not serve, which it always does.
    fn of(
        algorithms: Algorithms,
        preferences: &Preferences,
        problem: &ConvProblem,
    ) -> Option<Offers> {
        let direct = algorithms.direct().offers(problem).into_iter().next()?;
        let may = |a: &dyn Algorithm| preferences.allows(a, problem.reads);
        let all = algorithms.others().map(|a| (may(a), a.offers(problem)));
        let all: Vec<(bool, Vec<Offer>)> = all.filter(|(_, offers)| !offers.is_empty()).collect();
        let withheld = all.iter().any(|(may, _)| !may);
        let others = all.into_iter().filter(|(may, _)| *may).map(|(_, offers)| offers).collect();
        Some(Offers { direct, others, withheld, rounds: problem.machine.bfloats })
    }

    /// The fastest way that is enough faster than the definition, or else that.
    fn best(&self) -> &Offer {
        let worthwhile = |offer: &&Offer| offer.cycles < self.direct.cycles * (1.0 - offer.gain);
        let ways = self.others.iter().flatten().filter(worthwhile);
        ways.min_by(|a, b| a.cycles.total_cmp(&b.cycles)).unwrap_or(&self.direct)
    }

    /// What is worth trying, the estimate's choice first.
    fn candidates(&self) -> Vec<Choice> {
        let [most, few] = TRIED[usize::from(self.rounds)];
        let mut all: Vec<&Choice> = self.best().choices.iter().take(1).collect();
        let direct = &self.direct.choices;
        for offers in &self.others {
            let Some((first, others)) = offers.split_first() else { continue };
            all.extend(first.choices.iter().take(most));
            all.extend(direct.iter().take(few));
            all.extend(others.iter().flat_map(|offer| offer.choices.iter().take(few)));
        }
        all.extend(direct);
        let mut distinct: Vec<Choice> = Vec::new();
        for choice in all {
            if !distinct.contains(choice) {
                distinct.push(choice.clone());
            }
        }
        distinct.truncate(MOST_CANDIDATES);
        distinct
    }

    fn estimates(&self) -> Vec<Estimate> {
        let all = self.others.iter().flatten().chain([&self.direct]);
        let estimate = |offer: &Offer| {
            let choice = offer.choices.first()?.clone();
            Some(Estimate { way: offer.name.clone(), choice, cycles: offer.cycles })
        };
        all.filter_map(estimate).collect()
    }

    /// What each way costs, where there are several.
    fn reason(&self) -> Option<String> {
        let kilocycles =
            |estimate: &Estimate| format!("{} {}", estimate.way, (estimate.cycles / 1e3).round());
        let all: Vec<String> = self.estimates().iter().map(kilocycles).collect();
        (all.len() > 1).then(|| format!("estimated kilocycles: {}", all.join(", ")))
    }
}

/// What keys of layers say that may multiply bfloat16.
const OR_BFLOATS: &str = " or bf16";

/// The key of the same layer where it may not.
pub(super) fn key_in_floats(key: &str) -> String {
    key.replace(OR_BFLOATS, "")
}

/// The key of a layer.
fn key(graph: View<'_>, id: NodeId, conv: &Conv, problem: &ConvProblem, withheld: bool) -> String {
    let shape = |id: NodeId| {
        let extents: Vec<String> = graph.ty(id).shape().iter().map(usize::to_string).collect();
        extents.join("x")
    };
    let mut key = format!(
        "{} {} to {} window {} groups {} as {} of {} to {}",
        problem.machine.vectors.name(),
        graph.operand(id, 0).map(shape).unwrap_or_default(),
        shape(id),
        conv.window.write(),
        conv.groups,
        problem.tile_groups(),
        problem.depth(),
        problem.blocks(),
    );
    if problem.reads != Element::F32 {
        key += &format!(" of {} to {}", problem.reads.name(), problem.made.element.name());
    }
    if problem.factor() == Factor::U8(Dots::Pairs) {
        key += " in pairs";
    }
    if problem.machine.bfloats && problem.reads == Element::F32 {
        key += OR_BFLOATS;
    }
    if problem.residual_bytes.is_some() {
        key += " with bytes";
    }
    if problem.bias {
        key += " bias";
    }
    for step in &problem.fused.steps {
        key += match step {
            FusedStep::AddResidual => " add",
            FusedStep::Relu => " relu",
        };
    }
    if problem.fused.left > 0 {
        key += &format!(" and {} more", problem.fused.left);
    }
    if problem.is_flat() {
        key += " flat";
    }
    if withheld {
        // Whichever algorithms these are: keys are in caches of measurements and in artifacts, whose
        // choices would find no layer under another text.
        key += " without winograd";
    }
    key
}
