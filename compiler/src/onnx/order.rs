//! ONNX's rules on names and order: each value is made once, and before it is used.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::flatten::FlatNode;
use super::names::Name;
use crate::error::{Error, Problem, Result};

/// Who makes a value.
type Makers = HashMap<Name, usize>;

/// Sorts the nodes so that each follows what it reads; nodes already in order stay as they are.
/// `given` are the values that exist without a node: inputs and initializers.
pub(super) fn sort<'m>(
    nodes: Vec<FlatNode<'m>>,
    given: &HashSet<Name>,
) -> Result<Vec<FlatNode<'m>>> {
    let makers = makers(&nodes, given)?;
    let mut missing = vec![0usize; nodes.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (user, node) in nodes.iter().enumerate() {
        for name in node.read().filter(|name| !given.contains(*name)) {
            let maker = *makers.get(name).ok_or_else(|| dangling(node, name))?;
            users[maker].push(user);
            missing[user] += 1;
        }
    }
    let order = topological(missing, &users);
    if order.len() < nodes.len() {
        return Err(cycle(&nodes, &order));
    }
    let mut nodes: Vec<Option<FlatNode<'m>>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| nodes[i].take()).collect())
}

fn makers(nodes: &[FlatNode<'_>], given: &HashSet<Name>) -> Result<Makers> {
    let mut makers = Makers::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().flatten() {
            if given.contains(name) || makers.insert(name.clone(), index).is_some() {
                let what = format!("the value `{name}` is made twice");
                return Err(node.locate(Problem::InvalidGraph(what).into()));
            }
        }
    }
    Ok(makers)
}

fn dangling(node: &FlatNode<'_>, name: &str) -> Error {
    let what = format!("it reads `{name}`, which nothing makes");
    node.locate(Problem::InvalidGraph(what).into())
}

/// Kahn's algorithm; of the nodes that are ready, the first in the file goes first.
pub(super) fn topological(mut missing: Vec<usize>, users: &[Vec<usize>]) -> Vec<usize> {
    let ready = missing.iter().enumerate().filter(|(_, n)| **n == 0);
    let mut ready: BinaryHeap<_> = ready.map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &user in &users[node] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    order
}

fn cycle(nodes: &[FlatNode<'_>], sorted: &[usize]) -> Error {
    let sorted: HashSet<usize> = sorted.iter().copied().collect();
    let what = "it depends on itself, directly or through other nodes";
    let error = Error::from(Problem::InvalidGraph(what.into()));
    match nodes.iter().enumerate().find(|(i, _)| !sorted.contains(i)) {
        Some((_, node)) => node.locate(error),
        None => error,
    }
}
