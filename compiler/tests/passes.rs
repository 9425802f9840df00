//! What each pass does, on graphs given as text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::passes;

/// The fused graph's text, and the near misses.
fn fused(body: &str) -> (String, Vec<passes::NearMiss>) {
    let mut graph: Graph = text::parse(&format!("graph @g {{\n{body}\n}}\n")).unwrap();
    verify(&graph).unwrap();
    let misses = passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    (text::print(&graph), misses)
}

#[test]
fn what_changes_nothing_is_dropped() {
    let (text, _) = fused(
        "input %x f32[2, 3]\nweight %zero f32[] = 0\nweight %one f32[3] = [1, 1, 1]\n\
         %a f32[2, 3] = add(%zero, %x)\n%b f32[2, 3] = mul(%a, %one)\n\
         %c f32[2, 3] = identity(%b)\n%d f32[2, 3] = cast(%c)\n%e f32[6] = reshape(%d)\n\
         %f f32[3, 2] = reshape(%e)\n%y f32[3, 2] = exp(%f)\noutput %y",
    );
    assert_eq!(text.matches(" = ").count(), 2, "{text}");
    assert!(text.contains("%f   f32[3, 2] = reshape(%x)"), "{text}");
}

#[test]
fn an_operand_that_broadcasts_is_not_dropped() {
    let (text, _) = fused(
        "input %x f32[1, 3]\nweight %zero f32[2, 3] = [0, 0, 0, 0, 0, 0]\n\
         %y f32[2, 3] = add(%zero, %x)\noutput %y",
    );
    assert!(text.contains("add(%zero, %x)"), "{text}");
}

/// What is expanded is both operands.
#[test]
fn an_expanded_value_with_itself_stays_expanded() {
    let (text, _) = fused(
        "input %x f32[1, 3]\n%e f32[2, 3] = expand(%x)\n%y f32[2, 3] = add(%e, %e)\noutput %y",
    );
    assert!(text.contains("add(%e, %e)"), "{text}");
}

const CONV_NORM: &str = "input %x f32[1, 1, 2, 2]\nweight %w f32[2, 1, 1, 1] = [2, 3]\n\
     weight %s f32[2] = [1, 2]\nweight %b f32[2] = [10, 20]\nweight %m f32[2] = [4, 6]\n\
     weight %v f32[2] = [3, 0.25]\n%c f32[1, 2, 2, 2] = conv(%x, %w)\nwindow 1x1\n\
     %n f32[1, 2, 2, 2] = batch_norm(%c, %s, %b, %m, %v)\nepsilon 1\n\
     %y f32[1, 2, 2, 2] = relu(%n)\noutput %y";

/// s = scale / sqrt(var + 1) = [1/2, 2/sqrt(1.25)]: the epsilon counts.
#[test]
fn batch_norm_folds_with_its_epsilon_and_without_a_bias() {
    let (text, misses) = fused(CONV_NORM);
    let factor = 2.0 / 1.25f64.sqrt();
    let (weight, bias) = ((3.0 * factor) as f32, (-6.0 * factor + 20.0) as f32);
    assert!(text.contains(&format!("= [1, {weight:?}]")), "{text}");
    assert!(text.contains(&format!("= [8, {bias:?}]")), "{text}");
    assert!(text.contains("then     relu") && !text.contains("batch_norm"), "{text}");
    assert!(misses.is_empty());
}

#[test]
fn batch_norm_of_a_value_used_twice_says_why_it_stays() {
    let (text, misses) = fused(&CONV_NORM.replace("output %y", "output %y\noutput %c"));
    assert!(text.contains("batch_norm"), "{text}");
    assert_eq!(misses.len(), 1);
    assert_eq!(misses[0].pass, "fold_batch_norm");
    assert!(misses[0].because.contains("used elsewhere"), "{}", misses[0].because);
}

#[test]
fn residual_additions_and_activations_join_the_convolution() {
    let (text, _) = fused(
        "input %x f32[1, 2, 3, 3]\nweight %w f32[2, 2, 1, 1] = [1, 2, 3, 4]\n\
         %c f32[1, 2, 3, 3] = conv(%x, %w)\nwindow 1x1\n\
         %s f32[1, 2, 3, 3] = add(%c, %x)\n%y f32[1, 2, 3, 3] = relu(%s)\noutput %y",
    );
    assert!(text.contains("then     add %x, relu"), "{text}");
    assert_eq!(text.matches("f32[1, 2, 3, 3] = ").count(), 1, "{text}");
}

#[test]
fn a_value_used_twice_keeps_its_epilogue_to_itself() {
    let (text, _) = fused(
        "input %x f32[1, 2, 3, 3]\nweight %w f32[2, 2, 1, 1] = [1, 2, 3, 4]\n\
         %c f32[1, 2, 3, 3] = conv(%x, %w)\nwindow 1x1\n\
         %y f32[1, 2, 3, 3] = relu(%c)\noutput %y\noutput %c",
    );
    assert!(text.contains("relu(%c)"), "{text}");
}

#[test]
fn nodes_that_no_output_needs_go() {
    let (text, _) = fused(
        "input %x f32[2]\n%dead f32[2] = exp(%x)\n%deader f32[2] = neg(%dead)\n\
         %y f32[2] = abs(%x)\noutput %y",
    );
    assert!(!text.contains("dead"), "{text}");
}
