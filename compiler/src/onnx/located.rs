//! What goes wrong after the import, at nodes of the file: with the operator that the file has there, and with what of
//! the node makes it large.

use std::collections::HashMap;
use std::sync::Arc;

use super::flatten::{FlatNode, qualified};
use crate::error::Error;
use crate::ir::Origin;

/// What says how large the result of an operator is, for those that can make any size of any operands.
const SIZED_BY: [(&str, &str); 16] = [
    ("AffineGrid", "`size`"),
    ("CenterCropPad", "`shape`"),
    ("Col2Im", "`image_shape`"),
    ("ConstantOfShape", "the shape"),
    ("Conv", "`pads`"),
    ("ConvTranspose", "`strides`, `pads` or `output_shape`"),
    ("Expand", "the shape"),
    ("GridSample", "the grid"),
    ("MaxUnpool", "`output_shape`"),
    ("OneHot", "`depth`"),
    ("Pad", "`pads`"),
    ("Range", "the limit or the step"),
    ("Resize", "`scales` or `sizes`"),
    ("RoiAlign", "a region, `sampling_ratio`, `output_height` or `output_width`"),
    ("Tile", "`repeats`"),
    ("Upsample", "`scales`"),
];

/// The operators of a model's nodes, by the nodes' names; none of a graph that is no file's.
#[derive(Debug, Clone, Default)]
pub struct NodeOperators(HashMap<Origin, Arc<str>>);

impl NodeOperators {
    pub(super) fn of(nodes: &[FlatNode<'_>]) -> NodeOperators {
        let (mut all, mut known) = (HashMap::new(), HashMap::new());
        add(nodes, &mut all, &mut known);
        NodeOperators(all)
    }

    /// An error with the operator that its node has in the file, and for what is too large with advice about that.
    pub(crate) fn locate(&self, mut error: Error) -> Error {
        let Some(site) = &mut error.site else { return error };
        let Some(operator) = self.0.get(site.node.as_str()) else { return error };
        site.operator = operator.to_string();
        match SIZED_BY.iter().find(|(sized, _)| **sized == **operator) {
            Some((_, cause)) => {
                error.because_of(&format!("the batch, an input, or {cause} of this {operator}"))
            }
            None => error,
        }
    }
}

/// Adds nodes, those of branches too. Equal operators are one text.
fn add<'m>(
    nodes: &[FlatNode<'m>],
    all: &mut HashMap<Origin, Arc<str>>,
    known: &mut HashMap<(&'m str, &'m str), Arc<str>>,
) {
    for node in nodes {
        let (domain, operator) = (node.domain, node.operator);
        let text = known.entry((domain, operator));
        let text = text.or_insert_with(|| qualified(domain, operator).into());
        all.insert(Origin::clone(&node.origin), Arc::clone(text));
        for branch in node.branches.iter().flat_map(|both| [&both.then, &both.otherwise]) {
            add(&branch.nodes, all, known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operators;
    use super::SIZED_BY;

    #[test]
    fn operators_that_can_be_large_are_operators() {
        for (name, _) in SIZED_BY {
            assert!(operators().iter().any(|operator| operator.name == name), "{name}");
        }
    }
}
