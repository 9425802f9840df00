//! Which rewrite is the first after which the graph computes something else.

use super::Search;
use crate::exit::Outcome;
use crate::tensors::Array;

/// Its number, from 0; `None` where the graph after all of them gives what the first one did.
///
/// # Errors
/// Those of the passes and of the interpreter.
pub(super) fn first(search: &Search<'_>, exact: &[Array]) -> Outcome<Option<usize>> {
    let all = search.stages.rewrites();
    let differs = |rewrites: usize| {
        search.say(&format!("running the graph after {rewrites} of {all} rewrites"));
        let graph = search.stages.after(rewrites)?;
        Ok(search.differ(&search.stages.interpret(&graph, search.inputs)?, exact))
    };
    if all == 0 || !differs(all)? {
        return Ok(None);
    }
    // After `same` rewrites results are what they were, after `different` ones they are not.
    let (mut same, mut different) = (0, all);
    while different - same > 1 {
        let middle = same + (different - same) / 2;
        if differs(middle)? {
            different = middle;
        } else {
            same = middle;
        }
    }
    Ok(Some(same))
}
