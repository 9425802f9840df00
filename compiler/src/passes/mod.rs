//! The passes: an ordered table, one file and one function each.
//!
//! A pass looks at one node of an unchanged graph and answers: no match, no effect, check failed
//! because …, or an edit. It never changes the graph itself; the [`Rewriter`] does, and remembers
//! where each new node came from. A pass is repeated until it finds nothing more to do.

mod cardinality_major;
mod channels;
mod check;
mod convolve_batch_norm;
mod drop_quantized;
mod fold_batch_norm;
mod fold_constants;
mod fold_scale;
mod fuse_epilogues;
mod grid;
mod join_quantization;
mod merge_branches;
mod name_activations;
mod raise_dequantize;
mod remove_dead_nodes;
mod split_attention;

use std::collections::BTreeSet;

use crate::error::{Error, Problem, Result};
use crate::ir::{Answer, Applied, Failure, Graph, Node, NodeId, Origin, Rewriter};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// As `--after` takes it.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    rewrite: fn(&Graph, NodeId) -> Answer,
}

/// Every pass, in order. Those that recognise Split-Attention stand between the folding of
/// constants, which leaves one spelling of each scalar, and the fusion of epilogues, which hides
/// activations inside their producers.
pub const TABLE: &[Pass] = &[
    Pass {
        name: "fold_constants",
        summary: "compute what depends on constants only, drop what changes nothing",
        rewrite: fold_constants::fold_constants,
    },
    Pass {
        name: "fold_batch_norm",
        summary: "fold BatchNormalization into the convolution or product before it",
        rewrite: fold_batch_norm::fold_batch_norm,
    },
    Pass {
        name: "fold_scale",
        summary: "fold one factor a channel into the convolution or product before it",
        rewrite: fold_scale::fold_scale,
    },
    Pass {
        name: "name_activations",
        summary: "make swish and gelu, spelled as several operators, one function",
        rewrite: name_activations::name_activations,
    },
    Pass {
        name: "raise_dequantize",
        summary: "dequantize before elements are moved, where they have just been quantized",
        rewrite: raise_dequantize::raise_dequantize,
    },
    Pass {
        name: "join_quantization",
        summary: "make quantizing and dequantizing on one grid a function of floats",
        rewrite: join_quantization::join_quantization,
    },
    Pass {
        name: "drop_quantized",
        summary: "drop what changes nothing around that function",
        rewrite: drop_quantized::drop_quantized,
    },
    Pass {
        name: "split_attention",
        summary: "make each Split-Attention block one operator, whatever spells it",
        rewrite: split_attention::recognise,
    },
    Pass {
        name: "merge_branches",
        summary: "collapse parallel branches that look alike into grouped operators",
        rewrite: merge_branches::merge_branches,
    },
    Pass {
        name: "cardinality_major",
        summary: "move the order of splits into the weights of the convolutions above",
        rewrite: cardinality_major::cardinality_major,
    },
    Pass {
        name: "convolve_batch_norm",
        summary: "make a BatchNormalization that is left a convolution of single channels",
        rewrite: convolve_batch_norm::convolve_batch_norm,
    },
    Pass {
        name: "fuse_epilogues",
        summary: "move biases, activations and residual additions into their producer",
        rewrite: fuse_epilogues::fuse_epilogues,
    },
    Pass {
        name: "remove_dead_nodes",
        summary: "remove what no output depends on",
        rewrite: remove_dead_nodes::remove_dead_nodes,
    },
];

/// A place where a pass's pattern nearly fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The pass.
    pub pass: &'static str,
    /// The value at which the pattern is anchored.
    pub value: String,
    /// The ONNX node that value came from, the last where it came from several.
    pub node: Option<Origin>,
    /// Every ONNX node that the pattern took in.
    pub from: Vec<Origin>,
    /// The first condition that does not hold.
    pub because: String,
}

impl NearMiss {
    /// Where it is: the ONNX node, or the value where that came from none.
    pub fn place(&self) -> &str {
        self.node.as_deref().unwrap_or(&self.value)
    }
}

/// What one rewrite of a pass did.
#[derive(Debug, Clone)]
pub struct Change {
    /// The value at which the pattern is anchored.
    pub at: String,
    /// The nodes that are gone, as they were.
    pub removed: Vec<Node>,
    /// The nodes that are new.
    pub made: Vec<Node>,
    /// The value that is used instead of what was replaced; none where nothing was.
    pub by: Option<String>,
}

/// What to run, and how carefully.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run<'a> {
    /// The last pass to run; all of them when absent.
    pub until: Option<&'a str>,
    /// Run both sides of every rewrite in the interpreter, on made-up values, and compare.
    pub check_rewrites: bool,
    /// Say what each rewrite did.
    pub changes: bool,
    /// Stop behind so many rewrites; at the end when absent. The graph computes what it did before, be it half way.
    pub rewrites: Option<usize>,
}

/// A pass that has run.
#[derive(Debug)]
pub struct Done<'g> {
    /// The pass.
    pub pass: &'static Pass,
    /// The graph after it.
    pub graph: &'g Graph,
    /// Where its pattern nearly fits, in its last round.
    pub near_misses: Vec<NearMiss>,
    /// What each of its rewrites did, in order, if that is asked for.
    pub changes: Vec<Change>,
}

/// Runs the passes in order, all of them or up to and with `until`; `observe` sees the graph after
/// each. Returns the near misses of the last round of each pass.
///
/// # Errors
/// Those of [`run_with`].
pub fn run(
    graph: &mut Graph,
    until: Option<&str>,
    observe: &mut dyn FnMut(&Pass, &Graph),
) -> Result<Vec<NearMiss>> {
    let mut misses = Vec::new();
    run_with(graph, Run { until, ..Run::default() }, &mut |done| {
        observe(done.pass, done.graph);
        misses.extend(done.near_misses);
    })?;
    Ok(misses)
}

/// Runs the passes in order; `observe` sees each when it has run.
///
/// # Errors
/// [`Problem::BadOption`] when [`Run::until`] is not a pass; [`Problem::WrongRewrite`] when a checked
/// rewrite is not right; [`Problem::Internal`] when an edit breaks the graph, which debug builds check
/// after every pass.
pub fn run_with(graph: &mut Graph, run: Run<'_>, observe: &mut dyn FnMut(Done<'_>)) -> Result<()> {
    let end = match run.until {
        None => TABLE.len(),
        Some(name) => 1 + TABLE.iter().position(|p| p.name == name).ok_or_else(|| unknown(name))?,
    };
    let mut left = run.rewrites.unwrap_or(usize::MAX);
    for pass in &TABLE[..end] {
        let (near_misses, changes) = pass.run(graph, run, &mut left)?;
        if cfg!(debug_assertions) {
            crate::ir::verify(graph)?;
        }
        observe(Done { pass, graph, near_misses, changes });
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = TABLE.iter().map(|p| p.name).collect();
    Error::from(Problem::BadOption(format!("there is no pass `{name}`")))
        .with_remedy(format!("the passes are {}", names.join(", ")))
}

impl Pass {
    /// Repeats the pass until nothing changes, or no rewrites are left to make.
    fn run(
        &self,
        graph: &mut Graph,
        run: Run<'_>,
        left: &mut usize,
    ) -> Result<(Vec<NearMiss>, Vec<Change>)> {
        let mut rewriter = Rewriter::new(graph);
        let mut changes = Vec::new();
        loop {
            let mut misses = Vec::new();
            if !self.round(&mut rewriter, run, left, (&mut misses, &mut changes))? {
                return Ok((misses, changes));
            }
        }
    }

    /// Asks about each node, and makes the edits. Says whether there were any.
    fn round(
        &self,
        rewriter: &mut Rewriter<'_>,
        run: Run<'_>,
        left: &mut usize,
        (misses, changes): (&mut Vec<NearMiss>, &mut Vec<Change>),
    ) -> Result<bool> {
        let mut changed = false;
        for id in rewriter.graph().topological() {
            if *left == 0 {
                return Ok(false);
            }
            if !rewriter.graph().contains(id) {
                continue;
            }
            match (self.rewrite)(rewriter.graph(), id) {
                Answer::NoMatch | Answer::NoEffect => {}
                Answer::Failed(failure) => {
                    misses.push(self.near_miss(rewriter.graph(), id, failure));
                }
                Answer::Edit(edit) => {
                    if run.check_rewrites {
                        check::check(self.name, rewriter.graph(), &edit)?;
                    }
                    let at = run.changes.then(|| rewriter.graph().node(id).name.clone());
                    let applied = rewriter.apply(edit)?;
                    changes.extend(at.map(|at| change(rewriter.graph(), at, applied)));
                    changed = true;
                    *left -= 1;
                }
            }
        }
        Ok(changed)
    }

    fn near_miss(&self, graph: &Graph, id: NodeId, failure: Failure) -> NearMiss {
        let Failure { because, mut nodes } = failure;
        if nodes.is_empty() {
            nodes.push(id);
        }
        let mut seen = BTreeSet::new();
        let origins = nodes.iter().flat_map(|id| &graph.node(*id).from);
        let from = origins.filter(|origin| seen.insert(*origin)).cloned().collect();
        let (value, node) = (graph.node(id).name.clone(), graph.node(id).from.last().cloned());
        NearMiss { pass: self.name, value, node, from, because }
    }
}

/// What an edit anchored at a value did, from the graph after it.
fn change(graph: &Graph, at: String, applied: Applied) -> Change {
    let Applied { removed, made, by } = applied;
    let made = made.into_iter().map(|id| graph.node(id).clone()).collect();
    Change { at, removed, made, by: by.map(|id| graph.node(id).name.clone()) }
}
