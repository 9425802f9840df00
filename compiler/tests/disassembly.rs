//! The innermost functions as machine code, small enough to be read; and what must hold of any of
//! them: the registers are enough, nothing is called, and upper halves are cleared at the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::asm::{Assembler, Vector};
use cardinal_compiler::codegen::{FunctionInfo, Listing, Target};
use cardinal_compiler::kernels::conv::blocked::BlockedConv;
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, orders};
use cardinal_compiler::kernels::conv::strassen::{Halves, StrassenInput, StrassenOutput};
use cardinal_compiler::kernels::conv::winograd::{Grid, SIZES, WinogradInput, WinogradOutput};
use cardinal_compiler::machine::{BLOCK, Element, Factor, Vectors};
use cardinal_compiler::plan::{Base, KernelRef, Loop, Place, Plan, Step, generate};
use cardinal_compiler::schedule::epilogue::FusedStep;

const X86_64: &str = "x86_64-unknown-linux-gnu";

/// The functions that a kernel consists of, its driver and the entry point not counted.
fn functions(kernel: impl Into<KernelRef>, [triple, cpu]: [&str; 2]) -> Vec<FunctionInfo> {
    let kernel = kernel.into();
    let args = kernel.arguments().iter().map(|_| Place::of(Base::Worker)).collect();
    let (name, why, from) = ("y".into(), String::new(), Vec::new());
    let step = Step { name, kernel, args, stage: 0, why, from };
    let plan = Plan {
        name: "one kernel".into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        buffers: Vec::new(),
        stages: Vec::new(),
        steps: vec![step],
        arena_bytes: 0,
        worker_bytes: 0,
        weight_bytes: 0,
    };
    let target = Target::named(triple, cpu).unwrap();
    let code = generate(&plan, &target, Listing { clif: false, assembly: true }).unwrap();
    let innermost =
        |f: &FunctionInfo| ["micro.", "transform.", "sums."].iter().any(|n| f.name.starts_with(n));
    code.functions.into_iter().filter(innermost).collect()
}

/// A whole number of tiles, so that there is one micro-kernel.
fn tile(micro: MicroKernel) -> BlockedConv {
    let weights_block = micro.depth() * BLOCK;
    let micro = MicroKernel { output_pixel: BLOCK, output_block: 1024, weights_block, ..micro };
    let (blocks, columns) = (micro.blocks, 2 * micro.pixels);
    let [images, groups, rows] = [Loop::ONCE; 3];
    let (pixels_first, k_splits) = (false, 1);
    BlockedConv { images, groups, blocks, rows, columns, pixels_first, k_splits, micro }
}

/// Two channels of a loop of three.
fn short() -> MicroKernel {
    let reduce = vec![Loop::reading(3, 512), Loop::reading(2, 1)];
    MicroKernel {
        input_pixel: BLOCK,
        reduce,
        bias: true,
        steps: vec![FusedStep::Relu],
        ..MicroKernel::default()
    }
}

/// Windows of 3 by so many taps of groups of so many channels, so many pixels apart.
fn groups_of(narrow: usize, pixels: usize, [taps, stride]: [usize; 2]) -> MicroKernel {
    let spans = [[3, 512], [taps, BLOCK], [narrow, 1]];
    let reduce = spans.map(|[count, stride]| Loop::reading(count, stride)).to_vec();
    let input_pixel = stride * BLOCK;
    MicroKernel { pixels, blocks: 1, narrow, reduce, input_pixel, ..short() }
}

fn winograd_input(outputs: usize) -> WinogradInput {
    let [images, blocks] = [Loop::ONCE; 2];
    let size = [3 * outputs, 3 * outputs];
    let grid = Grid::new(outputs, 1, size, 1);
    WinogradInput { grid, size, images, blocks, row: 256, bytes: None, rounds: false }
}

/// Whole tiles, with one micro-kernel and one transform.
fn winograd_output(outputs: usize, steps: Vec<FusedStep>) -> WinogradOutput {
    WinogradOutput {
        grid: Grid::new(outputs, 1, [outputs, 2 * outputs], 1),
        images: Loop::ONCE,
        groups: Loop::ONCE,
        blocks: 1,
        chunk: 1,
        size: [outputs, 2 * outputs],
        element: 64,
        rows: [256, 256],
        block: [0, 0],
        bias: true,
        steps,
        totals: false,
        made: None,
        micro: MicroKernel { pixels: 2, blocks: 1, output_pixel: BLOCK, ..short() },
    }
}

const HALVES: Halves = Halves { pixels: 512, channels: 4096 };

fn strassen_input() -> StrassenInput {
    let [images, blocks] = [Loop::ONCE; 2];
    let (from, to) = (HALVES, Halves { pixels: 256, channels: 2048 });
    StrassenInput { images, blocks, pieces: [1, 8], from, to }
}

/// A whole number of tiles.
fn strassen_output(steps: Vec<FusedStep>) -> StrassenOutput {
    StrassenOutput {
        tile: tile(MicroKernel { pixels: 2, blocks: 1, bias: false, ..short() }),
        block: [0, 0],
        from: HALVES,
        sums: HALVES,
        sums_image: 0,
        to: HALVES,
        residual: HALVES,
        bias: true,
        steps,
        next: None,
    }
}

fn show(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("{name}@asm"), text));
}

/// The named one of a kernel's functions, shown.
fn shown(name: &str, kernel: impl Into<KernelRef>, machine: [&str; 2], prefix: &str) {
    let all = functions(kernel, machine);
    let found = all.iter().find(|f| f.name.starts_with(prefix)).unwrap();
    show(name, found.assembly.as_ref().unwrap());
}

#[test]
fn micro_kernels_read_as_before() {
    let sized = |pixels, blocks| tile(MicroKernel { pixels, blocks, ..short() });
    shown("tile.6x1.avx2", sized(6, 1), [X86_64, "x86-64-v3"], "micro.");
    shown("tile.6x2.avx512", sized(6, 2), [X86_64, "x86-64-v4"], "micro.");
    shown("tile.2x1.neon", sized(2, 1), ["aarch64-unknown-linux-gnu", "generic"], "micro.");
    let narrow = |narrow| tile(groups_of(narrow, 2, [1, 1]));
    shown("groups.4.avx512", narrow(4), [X86_64, "x86-64-v4"], "micro.");
    shown("groups.8.avx2", narrow(8), [X86_64, "x86-64-v3"], "micro.");
}

#[test]
fn transforms_read_as_before() {
    for (isa, cpu) in [("avx2", "x86-64-v3"), ("avx512", "x86-64-v4")] {
        let machine = [X86_64, cpu];
        shown(&format!("winograd.2.input.{isa}"), winograd_input(2), machine, "transform.");
        let output = winograd_output(2, vec![FusedStep::AddResidual, FusedStep::Relu]);
        shown(&format!("winograd.2.output.{isa}"), output, machine, "transform.");
    }
}

#[test]
fn sums_of_halves_read_as_before() {
    for (isa, cpu) in [("avx2", "x86-64-v3"), ("avx512", "x86-64-v4")] {
        let machine = [X86_64, cpu];
        shown(&format!("strassen.input.{isa}"), strassen_input(), machine, "sums.");
        let output = strassen_output(vec![FusedStep::AddResidual, FusedStep::Relu]);
        shown(&format!("strassen.output.{isa}"), output, machine, "sums.");
    }
}

/// Every kernel that is assembled for this machine, of every size that fits.
fn every(vectors: Vectors) -> Vec<KernelRef> {
    let mut all: Vec<KernelRef> = Vec::new();
    for blocks in 1..=4 {
        for pixels in 1..=vectors.most_pixels(Factor::F32, blocks) {
            let steps = vec![FusedStep::AddResidual, FusedStep::Relu];
            all.push(tile(MicroKernel { pixels, blocks, steps, ..short() }).into());
        }
    }
    for narrow in [1, 4, 8] {
        let taken = orders(Element::F32, narrow, vectors);
        let most = vectors.most_pixels(Factor::F32, 1) - taken;
        for window in [[1, 1], [3, 1], [3, 2], [7, 1]] {
            let of = |pixels| tile(groups_of(narrow, pixels, window)).into();
            all.extend((1..=most).map(of));
        }
    }
    for outputs in SIZES {
        all.push(winograd_input(outputs).into());
        let steps = vec![FusedStep::AddResidual, FusedStep::Relu];
        all.push(winograd_output(outputs, steps).into());
    }
    all.push(strassen_input().into());
    all.push(strassen_output(vec![FusedStep::AddResidual, FusedStep::Relu]).into());
    all
}

/// No machine that these tests run on need have AVX-VNNI: what is made for it is seen here, and what it means
/// in the tests of leaves.
#[test]
fn bytes_are_multiplied_by_the_instructions_that_there_are() {
    let products = |vectors, pairs| {
        let reduce = vec![Loop::reading(3, 4)];
        let micro = MicroKernel { element: Element::U8, pairs, pixels: 2, blocks: 1, ..short() };
        let text = MicroKernel { reduce, ..micro }.assembled(vectors).disassemble(0).unwrap();
        let count = |name: &str| text.lines().filter(|line| line.contains(name)).count();
        ["vpdpbusd ", "vpmaddubsw ", "vpmaddwd ", "vpaddd "].map(count)
    };
    // Words of two pixels; twice as many registers of half as many lanes.
    let words = 2 * 3;
    assert_eq!(products(Vectors::Avx2, false), [2 * words, 0, 0, 0]);
    assert_eq!(products(Vectors::Avx2, true), [0, 2 * words, 2 * words, 2 * words]);
    assert_eq!(products(Vectors::Avx512, false), [words, 0, 0, 0]);
    // In AVX-VNNI's encoding, which CPUs without AVX-512 have, and not in AVX-512's.
    for (vectors, prefix) in [(Vectors::Avx2, 0xC4), (Vectors::Avx512, 0x62)] {
        let mut a = Assembler::new("dot", vectors);
        a.dot_bytes(Vector(0), Vector(1), Vector(2));
        assert_eq!(a.finish().encode().unwrap()[0], prefix);
    }
}

#[test]
fn sums_stay_in_registers_and_nothing_is_called() {
    for (cpu, vectors, register) in
        [("x86-64-v3", Vectors::Avx2, "ymm"), ("x86-64-v4", Vectors::Avx512, "zmm")]
    {
        for kernel in every(vectors) {
            for function in functions(kernel, [X86_64, cpu]) {
                check(&function, register);
            }
        }
    }
}

#[test]
fn an_element_is_spread_once_for_a_row_of_taps() {
    for (stride, reads) in [(1, 6), (2, 9), (3, 12)] {
        // Each channel of a group, for as many registers as a block has.
        for (cpu, narrow, instruction, each) in
            [("x86-64-v3", 4, "vpermilps", 4 * 2), ("x86-64-v4", 8, "vpermps", 8)]
        {
            let kernel = tile(groups_of(narrow, 4, [3, stride]));
            let function = functions(kernel, [X86_64, cpu]).remove(0);
            let spread = function.assembly.unwrap().matches(instruction).count();
            assert_eq!(spread, each * reads, "groups of {narrow}, stride {stride}");
        }
    }
}

fn check(function: &FunctionInfo, register: &str) {
    let text = function.assembly.as_ref().unwrap();
    let fail = |what: &str| panic!("{}: {what}\n{text}", function.name);
    // Behind the code are constants.
    let is_code = |(_, text): &(u64, &str)| !text.starts_with("dd ");
    let lines: Vec<(u64, &str)> = text.lines().map(instruction).filter(is_code).collect();
    let other = if register == "zmm" { "ymm" } else { "zmm" };
    if !text.contains(register) || text.contains(other) {
        fail("wrong registers");
    }
    if lines.iter().any(|(_, i)| i.starts_with("call") || i.contains("rsp") || i.contains("bad")) {
        fail("a call, the stack, or what is no instruction");
    }
    // The stack is for the caller's registers only, outside of every loop.
    let loops = lines.iter().filter_map(|(at, i)| Some((target(i)?, *at)));
    for (first, last) in loops {
        let inside = lines.iter().filter(|(at, _)| (first..=last).contains(at));
        if first >= last
            || inside.clone().any(|(_, i)| i.starts_with("push") || i.starts_with("pop"))
        {
            fail("a jump ahead, or the stack in a loop");
        }
    }
    let [.., (_, "vzeroupper"), (_, "ret")] = lines.as_slice() else { return fail("wrong end") };
}

/// Address and text.
fn instruction(line: &str) -> (u64, &str) {
    let (at, text) = line.trim_start().split_once("  ").unwrap();
    (u64::from_str_radix(at, 16).unwrap(), text)
}

/// Where a jump goes; the only ones there are close loops.
fn target(instruction: &str) -> Option<u64> {
    let (name, operand) = instruction.split_once(' ')?;
    let hex = operand.trim_start_matches("short ").trim_end_matches('h');
    name.starts_with('j').then(|| u64::from_str_radix(hex, 16).unwrap())
}
