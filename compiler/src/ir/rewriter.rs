//! The only way to change a graph: edits, applied here, with provenance.

use std::collections::{BTreeMap, BTreeSet};

use super::function::Unary;
use super::graph::{Graph, Node, NodeId, Origin};
use super::infer::infer;
use super::op::Op;
use super::types::TensorType;
use super::weight::Weight;
use crate::error::{Error, Result};

/// What a rewrite says about one node.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The pattern is not here.
    NoMatch,
    /// The pattern is here and there is nothing to gain.
    NoEffect,
    /// The pattern nearly fits.
    Failed(Failure),
    /// Replace it.
    Edit(Edit),
}

impl Answer {
    /// The pattern nearly fits at this node, but for one condition.
    pub fn failed(because: impl Into<String>) -> Answer {
        Answer::Failed(Failure { because: because.into(), nodes: Vec::new() })
    }
}

/// Why a pattern that nearly fits does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The first condition that does not hold.
    pub because: String,
    /// The nodes that the pattern took in before it failed; none where that is one node, the one
    /// asked about.
    pub nodes: Vec<NodeId>,
}

/// One replacement: `nodes` are added, uses of `replaced` become uses of `by`, and every node of
/// `region` that nothing uses any more is removed, with whatever only it used.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The nodes that the replacement stands for; the new nodes inherit their origins.
    pub region: Vec<NodeId>,
    /// New nodes, each reading older ones of this list or of the graph.
    pub nodes: Vec<NewNode>,
    /// Nodes of the region whose rounding the replacement leaves out, and the function of their operand in
    /// slot 0 that is left of them, if any is.
    pub left_out: Vec<(NodeId, Option<Unary>)>,
    /// The value whose uses change, and what they become. `None` only removes `region`.
    pub replace: Option<(NodeId, Operand)>,
}

impl Edit {
    /// An edit that stands for these nodes; what replaces them is still to be added.
    pub fn of(region: impl IntoIterator<Item = NodeId>) -> Edit {
        let region = region.into_iter().collect();
        Edit { region, nodes: Vec::new(), left_out: Vec::new(), replace: None }
    }

    /// Adds a node whose type is inferred.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        op: Op,
        operands: Vec<(usize, Operand)>,
    ) -> Operand {
        self.add_typed(name, op, None, operands)
    }

    /// Adds a node.
    pub fn add_typed(
        &mut self,
        name: impl Into<String>,
        op: Op,
        ty: Option<TensorType>,
        operands: Vec<(usize, Operand)>,
    ) -> Operand {
        self.nodes.push(NewNode { name: name.into(), op, ty, operands, stands_for: Vec::new() });
        Operand::New(self.nodes.len() - 1)
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: impl Into<String>, ty: TensorType, weight: Weight) -> Operand {
        self.add_typed(name, Op::Weight(weight), Some(ty), Vec::new())
    }

    /// Says which nodes of the region a new node stands for, where it is not all of them.
    pub fn stands_for(&mut self, new: Operand, nodes: &[NodeId]) {
        if let Operand::New(n) = new
            && let Some(node) = self.nodes.get_mut(n)
        {
            node.stands_for = nodes.to_vec();
        }
    }

    /// Lets uses of `id` become uses of `by`.
    pub fn replace(mut self, id: NodeId, by: Operand) -> Answer {
        self.replace = Some((id, by));
        Answer::Edit(self)
    }
}

/// A node to be added.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Name of its value. When taken, the rewriter appends `.1`, `.2`, …; the replacement of a
    /// value may take over that value's name.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// The result's type where it cannot be inferred (weights, reshapes, expands, slices) or where
    /// it should carry factored axes.
    pub ty: Option<TensorType>,
    /// Operands by slot.
    pub operands: Vec<(usize, Operand)>,
    /// The nodes of the region whose origins it inherits; all of them when empty.
    pub stands_for: Vec<NodeId>,
}

/// A value that exists, or the `n`-th new node of the same edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A node of the graph.
    Old(NodeId),
    /// A new node of the edit.
    New(usize),
}

/// What an edit did to a graph.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The nodes that are gone, as they were.
    pub removed: Vec<Node>,
    /// The new ones that are there.
    pub made: Vec<NodeId>,
    /// What took the place of the replaced value, if one was.
    pub by: Option<NodeId>,
}

/// Applies edits to a graph.
#[derive(Debug)]
pub struct Rewriter<'g> {
    graph: &'g mut Graph,
    names: BTreeSet<String>,
    /// For names that several nodes have wanted, a number up to which all with one behind are taken.
    numbers: BTreeMap<String, usize>,
}

/// Most origins of one node. Of what a node is made of beyond that, nobody reads the list.
const MOST_ORIGINS: usize = 256;

impl<'g> Rewriter<'g> {
    /// A rewriter of this graph.
    pub fn new(graph: &'g mut Graph) -> Rewriter<'g> {
        let names = graph.nodes().map(|id| graph.node(id).name.clone()).collect();
        Rewriter { graph, names, numbers: BTreeMap::new() }
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Applies an edit that was computed from the graph as it is now.
    pub fn apply(&mut self, edit: Edit) -> Result<Applied> {
        let hidden = edit.replace.and_then(|(replaced, _)| self.free_name(replaced, &edit.nodes));
        let mut added = Vec::with_capacity(edit.nodes.len());
        let mut wanted = Vec::with_capacity(edit.nodes.len());
        for new in edit.nodes {
            wanted.push(new.name.clone());
            let stands_for = if new.stands_for.is_empty() { &edit.region } else { &new.stands_for };
            let from = self.origins(stands_for);
            added.push(self.add(new, &added, from)?);
        }
        let mut by = None;
        if let Some((replaced, operand)) = edit.replace {
            let operand = resolve(operand, &added)?;
            self.redirect(replaced, operand)?;
            by = Some(operand);
        }
        let mut removed = self.remove_unused(edit.region);
        if let Some((interim, name)) = hidden
            && let Some(node) = removed.iter_mut().find(|node| node.name == interim)
        {
            node.name = name;
        }
        for (&id, name) in added.iter().zip(wanted) {
            self.take_over(id, name);
        }
        added.retain(|id| self.graph.contains(*id));
        Ok(Applied { removed, made: added, by })
    }

    /// Gives a new node the name it wanted, if what had it is gone now.
    fn take_over(&mut self, id: NodeId, name: String) {
        if self.graph.contains(id) && self.names.insert(name.clone()) {
            let interim = std::mem::replace(&mut self.graph.dag.node_mut(id).name, name);
            self.free(&interim);
        }
    }

    fn origins(&self, region: &[NodeId]) -> Vec<Origin> {
        let mut ids = region.to_vec();
        ids.sort_unstable();
        let mut seen = BTreeSet::new();
        let origins = ids.into_iter().flat_map(|id| &self.graph.node(id).from);
        let distinct = origins.filter(|origin| seen.insert(Origin::clone(origin)));
        distinct.take(MOST_ORIGINS).cloned().collect()
    }

    /// Lets a new node take over the name of the value it replaces, which gets another until it is
    /// removed: that one and its own.
    fn free_name(&mut self, replaced: NodeId, nodes: &[NewNode]) -> Option<(String, String)> {
        let name = self.graph.node(replaced).name.clone();
        if nodes.iter().all(|n| n.name != name) {
            return None;
        }
        self.free(&name);
        let interim = self.unique(&format!("{name}.old"));
        self.graph.dag.node_mut(replaced).name.clone_from(&interim);
        Some((interim, name))
    }

    /// The name that is wanted if it is free, or that with the smallest number that is.
    fn unique(&mut self, wanted: &str) -> String {
        if self.names.insert(wanted.to_owned()) {
            return wanted.to_owned();
        }
        let number = self.numbers.entry(wanted.to_owned()).or_insert(0);
        loop {
            *number += 1;
            let name = format!("{wanted}.{number}");
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Gives a name back.
    fn free(&mut self, name: &str) {
        self.names.remove(name);
        let Some((wanted, number)) = name.rsplit_once('.') else { return };
        if let (Some(taken), Ok(number)) = (self.numbers.get_mut(wanted), number.parse::<usize>()) {
            *taken = (*taken).min(number.saturating_sub(1));
        }
    }

    fn add(&mut self, new: NewNode, added: &[NodeId], from: Vec<Origin>) -> Result<NodeId> {
        let mut operands = Vec::with_capacity(new.operands.len());
        for (slot, operand) in new.operands {
            operands.push((slot, resolve(operand, added)?));
        }
        let ty = match new.ty {
            Some(ty) => ty,
            None => {
                let types: Vec<_> =
                    operands.iter().map(|&(slot, id)| (slot, self.graph.ty(id))).collect();
                infer(&new.op, &types)?
            }
        };
        let from = match new.op {
            Op::Weight(_) => Vec::new(),
            _ => from,
        };
        let name = self.unique(&new.name);
        Ok(self.graph.add(Node { name, op: new.op, ty, from }, &operands))
    }

    fn redirect(&mut self, replaced: NodeId, by: NodeId) -> Result<()> {
        let (old, new) = (self.graph.ty(replaced), self.graph.ty(by));
        if old.dtype != new.dtype || old.shape() != new.shape() {
            let name = &self.graph.node(replaced).name;
            return Err(Error::internal(format!("`{name}`: {old} replaced by {new}")));
        }
        self.graph.redirect(replaced, by);
        Ok(())
    }

    /// Removes those nodes of the region that nothing uses, and whatever only they used. Inputs
    /// stay: they are the model's signature.
    fn remove_unused(&mut self, region: Vec<NodeId>) -> Vec<Node> {
        let mut removed = Vec::new();
        let mut work = region;
        while let Some(id) = work.pop() {
            if !self.graph.contains(id) || self.graph.is_used(id) || self.graph.is_output(id) {
                continue;
            }
            if self.graph.node(id).op == Op::Input {
                continue;
            }
            let name = self.graph.node(id).name.clone();
            self.free(&name);
            work.extend(self.graph.operands(id).into_iter().map(|(_, producer)| producer));
            removed.extend(self.graph.dag.remove(id));
        }
        removed
    }
}

fn resolve(operand: Operand, added: &[NodeId]) -> Result<NodeId> {
    match operand {
        Operand::Old(id) => Ok(id),
        Operand::New(n) => {
            added.get(n).copied().ok_or_else(|| Error::internal("an edit reads a later new node"))
        }
    }
}
