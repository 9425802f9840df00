//! Files whose batch is fixed, for another batch: the stored outputs of each row; and what stands in the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::path::Path;

use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::{Graph, rebatch, text};
use running::files::{import, models, read_npy, stem, try_import};
use running::{compile_for, host, rows};

/// The stored input and output of a fixture.
fn stored(path: &Path) -> [std::path::PathBuf; 2] {
    let name = stem(path);
    let mut parts = name.split('.');
    let (base, form) = (parts.next().unwrap(), parts.next().unwrap());
    let output = match form {
        "cardinal_linear" | "radix_of_linear" => format!("{base}.linear.out.npy"),
        "cardinal_conv" | "radix" => format!("{base}.conv.out.npy"),
        _ => format!("{base}.out.npy"),
    };
    [path.with_file_name(format!("{base}.in.npy")), path.with_file_name(output)]
}

/// Of both exporters: all rows of the stored input at once, five images, and each number of these.
#[test]
fn fixed_batches_are_followed_through_networks_and_blocks() {
    let mut followed = 0;
    for path in models("tiny").into_iter().chain(models("branches")) {
        let model = import(&path, None);
        let own = model.graph.ty(model.graph.inputs()[0]).shape()[0];
        if try_import(&path, Some(own + 1)).is_ok() {
            continue;
        }
        let [x, y] = stored(&path).map(|path| read_npy(&path));
        let all = x.shape()[0];
        let graph = rebatch(&model.graph, all).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let found = running::run(&graph, &host(), 2, std::slice::from_ref(&x)).remove(0);
        assert_eq!(found.shape(), y.shape());
        let pairs = found.as_f32().unwrap().iter().zip(y.as_f32().unwrap());
        let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst <= 2e-5, "{path:?}: {worst} off");
        let five = rebatch(&model.graph, 5).unwrap();
        rows::check(&compile_for(&five, &host()), &stem(&path));
        followed += 1;
    }
    assert!(followed >= 10, "{followed} files have a batch of their own");
}

/// A graph with this node between its input and its output.
fn graph(node: &str, output: &str) -> Graph {
    let source = format!(
        "graph @between {{
  input %x f32[1, 4, 6]
  weight %w f32[1, 4, 6] rand(1)
{node}
  output %{output}
}}"
    );
    text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"))
}

#[test]
fn constants_are_broadcast_and_shapes_follow() {
    for node in [
        "  %y f32[1, 4, 6] = add(%x, %w)",
        "  %y f32[1, 24] = reshape(%x)",
        "  %y f32[1, 1, 24] = reshape(%x)",
        "  %z f32[1, 4, 1] = reduce_mean(%x)\n    axes [2]\n    keep true\n  %y f32[1, 4, 6] = expand(%z)",
        "  %y f32[1, 6, 4] = transpose(%x)\n    perm [0, 2, 1]",
        "  %y f32[1, 8, 6] = concat(%x, %x)\n    axis 1",
    ] {
        let many = rebatch(&graph(node, "y"), 3).unwrap_or_else(|e| panic!("{node}: {e}"));
        assert_eq!(many.ty(many.outputs()[0].node).shape()[0], 3, "{node}");
        rows::check(&compile_for(&many, &host()), node);
    }
}

/// What takes images together, or loses their axis, is named, with advice.
#[test]
fn the_node_in_the_way_is_named() {
    for node in [
        "  %y f32[4, 1, 6] = transpose(%x)\n    perm [1, 0, 2]\n    from \"/way\"",
        "  %y f32[4, 6] = reshape(%x)\n    from \"/way\"",
        "  %y f32[1, 4, 6] = softmax(%x)\n    axis 0\n    from \"/way\"",
        "  %y f32[2, 4, 6] = concat(%x, %x)\n    axis 0\n    from \"/way\"",
        "  %y f32[1, 8, 6] = concat(%x, %w)\n    axis 1\n    from \"/way\"",
        "  %y f32[4, 6] = reduce_sum(%x)\n    axes [0]\n    from \"/way\"",
    ] {
        let error = rebatch(&graph(node, "y"), 3).unwrap_err();
        assert!(matches!(error.problem, Problem::Unsupported(_)), "{node}: {error}");
        assert!(error.to_string().contains("`/way`"), "{node}: {error}");
        assert!(error.remedy.unwrap().contains("dynamic batch"));
    }
    // An absurd batch is an error, too, before anything is made.
    let large = rebatch(&graph("  %y f32[1, 24] = reshape(%x)", "y"), usize::MAX).unwrap_err();
    assert!(large.to_string().contains("take"), "{large}");
    let constant = rebatch(&graph("  %y f32[1, 4, 6] = relu(%x)", "w"), 3).unwrap_err();
    assert!(constant.to_string().contains("constant"), "{constant}");
}
