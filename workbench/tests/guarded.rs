//! Every kernel on memory that ends where it must stop: each argument lies right before a page that
//! may not be touched, then right behind one, and is full of NaNs where nobody has written. Results
//! are compared with the f64 interpreter, or with what a kernel specified by hand must compute.
//!
//! A kernel that strays kills its process. So each test runs itself again as a child, which names
//! every case before it starts; the test fails with the last name.

#![cfg(all(unix, target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::process::Command;

use cardinal_compiler::asm::is_encoded;
use cardinal_compiler::codegen::Target;
use cardinal_compiler::interp;
use cardinal_compiler::ir::{DType, Graph, verify};
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, Prefetch};
use cardinal_compiler::kernels::conv::winograd::SIZES;
use cardinal_compiler::kernels::to_bfloat16::ToBfloat16;
use cardinal_compiler::kernels::{self, conv};
use cardinal_compiler::machine::Factor;
use cardinal_compiler::plan::{Kernel as _, Plan};
use cardinal_compiler::schedule::epilogue::FusedStep;
use cardinal_runtime::cpu;
use cardinal_workbench::by_hand::{self, ByHand, Result};
use cardinal_workbench::families::{FAMILIES, Way};
use cardinal_workbench::memory::Placement;
use cardinal_workbench::nearness;
use cardinal_workbench::random;
use cardinal_workbench::rig::Rig;

/// Set in children.
const CHILD: &str = "CARDINAL_GUARDED_CHILD";

const PLACEMENTS: [Placement; 2] = [Placement::BeforeGuard, Placement::BehindGuard];

#[test]
fn families_on_x86_64() {
    in_child("families_on_x86_64", "x86-64", families);
}

#[test]
fn families_on_x86_64_v3() {
    in_child("families_on_x86_64_v3", "x86-64-v3", families);
}

#[test]
fn families_on_x86_64_v4() {
    in_child("families_on_x86_64_v4", "x86-64-v4", families);
}

/// With dot products of bytes and of bfloat16, of which only rows of these make use.
#[test]
fn families_on_znver4() {
    in_child("families_on_znver4", "znver4", families);
}

#[test]
fn micro_kernels_on_x86_64() {
    in_child("micro_kernels_on_x86_64", "x86-64", micro_kernels);
}

#[test]
fn micro_kernels_on_x86_64_v3() {
    in_child("micro_kernels_on_x86_64_v3", "x86-64-v3", micro_kernels);
}

#[test]
fn micro_kernels_on_x86_64_v4() {
    in_child("micro_kernels_on_x86_64_v4", "x86-64-v4", micro_kernels);
}

/// The guards guard: one byte too far is seen.
#[test]
fn a_step_too_far_is_a_failure() {
    let outcome = std::panic::catch_unwind(|| {
        in_child("a_step_too_far_is_a_failure", "x86-64", |target| {
            begin("one byte more");
            let mut case = by_hand::tile(MicroKernel { pixels: 2, ..one_block() }, 1, [5, 1]);
            case.inputs[0].pop();
            run_by_hand(&case, target, Placement::BeforeGuard);
        });
    });
    if std::env::var_os(CHILD).is_none() {
        let message = *outcome.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("signal") && message.contains("one byte more"), "{message}");
    }
}

/// What is timed is a graph too.
#[test]
fn layers_are_graphs() {
    for family in FAMILIES {
        for (name, extents) in family.layers {
            let graph = family.graph(extents);
            let graph = graph.unwrap_or_else(|e| panic!("{}, {name}: {e}", family.name));
            verify(&graph).unwrap_or_else(|e| panic!("{}, {name}: {e}", family.name));
        }
    }
}

/// Runs `body` for a CPU in a process of its own, if this machine has what it needs.
fn in_child(test: &str, named: &str, body: fn(&Target)) {
    let target = Target::named(&cpu::host_triple(), named).unwrap();
    let missing = cpu::missing_features(target.features(), &cpu::host_features());
    if !missing.is_empty() {
        let required = std::env::var("CARDINAL_REQUIRE_CPUS").unwrap_or_default();
        let is_required = required.split(',').any(|cpu| cpu == named);
        assert!(!is_required, "{named} is required, and this machine lacks {missing:?}");
        println!("SKIPPED {test}: this machine is no {named}, it lacks {missing:?}");
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        return body(&target);
    }
    let program = std::env::current_exe().unwrap();
    let arguments = [test, "--exact", "--nocapture"];
    let output = Command::new(program).args(arguments).env(CHILD, "1").output().unwrap();
    let said = lossy(&output.stdout);
    let last = said.lines().rfind(|line| line.starts_with("case "));
    let last = last.unwrap_or("before any case");
    assert!(output.status.success(), "{}: {last}\n{}", output.status, lossy(&output.stderr));
    assert!(said.contains("case "), "{test} names no test: nothing ran");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Names the case that begins, for the parent.
fn begin(name: &str) {
    println!("\ncase {name}");
}

/// Every size of every family, as the planner has it done; and all kernels together are every
/// kernel there is.
fn families(target: &Target) {
    let (mut seen, mut of_bytes) = (BTreeSet::new(), 0);
    for family in FAMILIES {
        for extents in (family.tails)() {
            let name = format!("{}, {extents}", family.name);
            begin(&name);
            let graph = family.graph(&extents).unwrap_or_else(|e| panic!("{name}: {e}"));
            verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
            let plan = family.plan(&graph, target).unwrap();
            seen.extend(plan.steps.iter().map(|step| step.kernel.name()));
            of_bytes += usize::from(plan.constants.iter().any(|c| c.ty.dtype == DType::I8));
            run_planned(&name, family.way, &graph, &plan, target);
        }
    }
    assert_eq!(of_bytes > 30, target.machine().dots.is_some(), "{of_bytes} cases multiply bytes");
    let every = kernels::registry().into_iter().map(|row| row.name);
    let missing: Vec<&str> =
        every.filter(|name| !seen.contains(name) && !needs_assembled_code(name, target)).collect();
    assert!(missing.is_empty(), "kernels that no case runs: {missing:?}");
}

/// Whether a kernel is made of assembled functions, which there are none of for this target, or for products that
/// it has not: then its algorithm does not give every CPU the same bits.
fn needs_assembled_code(kernel: &str, target: &Target) -> bool {
    let mut others = conv::algorithms().filter(|algorithm| !algorithm.has_portable_bits);
    let is_among = others.any(|a| a.kernels.iter().any(|row| row.name == kernel));
    let is_of_bfloats = kernel == ToBfloat16::NAME;
    is_among && (!is_encoded(target.vectors()) || is_of_bfloats && !target.machine().bfloats)
}

fn run_planned(name: &str, way: Way, graph: &Graph, plan: &Plan, target: &Target) {
    let ports = plan.inputs.iter().zip(1..);
    let inputs: Vec<Vec<u8>> = ports.map(|(port, seed)| random::bytes(&port.ty, seed)).collect();
    let tensor = |(port, bytes): (&cardinal_compiler::plan::Port, &Vec<u8>)| {
        interp::Tensor::from_bytes(&port.ty, bytes).unwrap()
    };
    let tensors: Vec<_> = plan.inputs.iter().zip(&inputs).map(tensor).collect();
    let expected = interp::run(graph, &tensors).unwrap();
    for placement in PLACEMENTS {
        let mut rig = Rig::apart(plan, target, placement);
        for (i, bytes) in inputs.iter().enumerate() {
            rig.input_mut(i).copy_from_slice(bytes);
        }
        rig.run();
        for (i, expected) in expected.iter().enumerate() {
            let found = interp::Tensor::from_bytes(&plan.outputs[i].ty, rig.output(i)).unwrap();
            let near = nearness::check(way, &found.data, &expected.data);
            near.unwrap_or_else(|what| panic!("{name}, {placement:?}: {what}"));
        }
    }
}

/// One block at a time with everything else at rest.
fn one_block() -> MicroKernel {
    MicroKernel { blocks: 1, ..MicroKernel::default() }
}

/// Every tile that fits the registers, with every rest of pixels and of blocks and every epilogue;
/// and Winograd's transforms cut off at every place.
fn micro_kernels(target: &Target) {
    use FusedStep::{AddResidual, Relu};
    let ends =
        [vec![], vec![Relu], vec![AddResidual], vec![AddResidual, Relu], vec![Relu, AddResidual]];
    let mut ends = ends.into_iter().cycle();
    for blocks in 1..=4 {
        for pixels in 1..=target.vectors().most_pixels(Factor::F32, blocks) {
            for columns in rests(pixels) {
                let all_blocks = blocks + columns % (blocks + 1);
                let (parts, bias) = (1 + columns % 2, columns % 3 > 0);
                let steps = ends.next().unwrap_or_default();
                // Weights are fetched ahead or not.
                let tiles = if all_blocks % 2 == 0 { columns.div_ceil(pixels) } else { 0 };
                let prefetch = Prefetch { tiles, ..Prefetch::default() };
                let micro = MicroKernel { pixels, blocks, bias, steps, prefetch, ..one_block() };
                let size = [columns, all_blocks];
                let name = format!("{size:?} pixels and blocks in {parts} parts, {micro:?}");
                check_by_hand(&name, &by_hand::tile(micro, parts, size), target);
            }
        }
    }
    if !is_encoded(target.vectors()) {
        return;
    }
    for outputs in SIZES {
        for (h, w) in (1..=9).flat_map(|h| (1..=9).map(move |w| (h, w))) {
            for dilation in [1, 2, 3] {
                check_winograd(outputs, dilation, [h, w].map(|n| n * dilation), target);
            }
        }
        // Too large for tiles that fit.
        for size in [[45, 47], [46, 46], [47, 45]] {
            check_winograd(outputs, 1, size, target);
        }
    }
}

fn check_winograd(outputs: usize, dilation: usize, size: [usize; 2], target: &Target) {
    for result in [Result::Pixels, Result::Mean] {
        let name = format!("winograd {outputs}, dilation {dilation}, {size:?}: {result:?}");
        check_by_hand(&name, &by_hand::winograd(outputs, dilation, size, result), target);
    }
}

/// Rows of every length up to two tiles and one pixel, where these are few.
fn rests(pixels: usize) -> Vec<usize> {
    let all = 1..=2 * pixels + 1;
    let near = |n: &usize| pixels <= 4 || n % pixels <= 1 || n % pixels == pixels - 1;
    all.filter(near).collect()
}

fn check_by_hand(name: &str, case: &ByHand, target: &Target) {
    begin(name);
    for placement in PLACEMENTS {
        let found = run_by_hand(case, target, placement);
        let near = nearness::check_floats(&found, &case.expected, nearness::TOLERANCE);
        near.unwrap_or_else(|what| panic!("{name}, {placement:?}: {what}"));
    }
}

fn run_by_hand(case: &ByHand, target: &Target, placement: Placement) -> Vec<f64> {
    let bytes = case.expected.len() * 4;
    let mut rig = Rig::by_hand(case.plan.clone(), target, &case.inputs, &[bytes], placement);
    rig.run();
    random::from_bytes(rig.output(0)).into_iter().map(f64::from).collect()
}
