//! The table: families, their layers, and the steps of each.

use std::collections::BTreeSet;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::kernels::conv::blocked::BlockedConv;
use cardinal_compiler::kernels::conv::strassen::StrassenOutput;
use cardinal_compiler::kernels::conv::winograd::WinogradOutput;
use cardinal_compiler::kernels::map::Map;
use cardinal_compiler::machine::BLOCK;
use cardinal_compiler::plan::{Base, KernelRef, Plan, Step};
use cardinal_runtime::cpu;
use cardinal_workbench::families::{Extents, FAMILIES, Family, Operator};
use cardinal_workbench::machine;
use cardinal_workbench::random;
use cardinal_workbench::rig::Rig;

use crate::timing::{Times, time};

/// The CPUs that code is assembled for.
const CPUS: [&str; 2] = ["x86-64-v4", "x86-64-v3"];

/// Families whose name contains one of the words, or all, on the CPUs named, or all that this
/// machine is.
pub(crate) fn print(words: &[String]) {
    let (cpus, names): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| CPUS.contains(word));
    let wanted = |f: &Family| names.is_empty() || names.iter().any(|word| f.name.contains(word));
    println!("memory read by one thread: {:.1} GB/s", machine::bandwidth());
    for named in CPUS {
        let target = Target::named(&cpu::host_triple(), named).expect("a known CPU");
        let missing = cpu::missing_features(target.features(), &cpu::host_features());
        if !missing.is_empty() || !(cpus.is_empty() || cpus.contains(&named)) {
            continue;
        }
        let bits = target.vectors().lanes() * 32;
        let peak = machine::peak(target.vectors());
        println!("\n{named}: {peak:.0} GFLOP/s at best with registers of {bits} bits\n");
        println!(
            "{:40} {:>9} {:>9} {:>8} {:>5}   {:>9} {:>8} {:>5}",
            "", "best us", "median", "GFLOP/s", "%", "cold us", "GFLOP/s", "%"
        );
        for family in FAMILIES.iter().filter(|f| !f.layers.is_empty() && wanted(f)) {
            println!("{}", family.name);
            for (name, extents) in family.layers {
                layer(family, name, extents, &target, peak);
            }
        }
        println!("\n{:.0} GFLOP/s at best after that", machine::peak(target.vectors()));
    }
}

fn layer(family: &Family, name: &str, extents: &Extents, target: &Target, peak: f64) {
    let graph = family.graph(extents).expect("a graph");
    let plan = family.plan(&graph, target).expect("a plan");
    let mut rig = Rig::together(&plan, target);
    for (i, (port, seed)) in plan.inputs.iter().zip(1..).enumerate() {
        rig.input_mut(i).copy_from_slice(&random::bytes(&port.ty, seed));
    }
    // Everything in memory is then a value that there might be.
    rig.run();
    let steps = of_interest(family, &plan);
    let times: Vec<Times> = steps.iter().map(|(at, _)| time(&mut rig, *at)).collect();
    let total = times.iter().fold(Times::default(), |sum, times| sum + *times);
    let whole = 2 * family.multiply_adds(extents);
    if whole > 0 {
        let way = way(steps.iter().map(|(_, step)| &step.kernel));
        line(&format!("  {name}, {way}"), total, Some((whole, peak)));
        if times.len() == 1 {
            return;
        }
    } else {
        println!("  {name}");
    }
    for ((_, step), times) in steps.iter().zip(times) {
        let work = 2 * multiply_adds(&step.kernel);
        let label = format!("    {}", step.kernel.name());
        if work > 0 {
            line(&label, times, Some((work, peak)));
        } else {
            let rate = bytes(&plan, step) as f64 / times.best / 1e9;
            line(&format!("{label}, {rate:.0} GB/s"), times, None);
        }
    }
}

/// The steps of the operator: values are packed and unpacked around it, and where it is no
/// convolution one makes what it reads.
fn of_interest<'p>(family: &Family, plan: &'p Plan) -> Vec<(usize, &'p Step)> {
    let is_conv = matches!(family.operator, Operator::Conv(_));
    let moves = |step: &Step| step.kernel.get::<Map>().is_some();
    let makes_ready =
        |step: &Step| moves(step) || step.kernel.get::<BlockedConv>().is_some() && !is_conv;
    let unpacks = plan.steps.last().is_some_and(moves);
    let end = plan.steps.len() - usize::from(unpacks);
    plan.steps[..end].iter().enumerate().skip_while(|(_, step)| makes_ready(step)).collect()
}

fn line(label: &str, times: Times, work: Option<(usize, f64)>) {
    let Times { best, median, cold } = times;
    let micros = |seconds: f64| seconds * 1e6;
    let rate = |seconds: f64| {
        let Some((work, peak)) = work else { return format!("{:8} {:>5}", "", "") };
        let rate = work as f64 / seconds / 1e9;
        format!("{rate:8.1} {:5.1}", 100.0 * rate / peak)
    };
    println!(
        "{label:40} {:9.1} {:9.1} {}   {:9.1} {}",
        micros(best),
        micros(median),
        rate(best),
        micros(cold),
        rate(cold)
    );
}

/// How the planner has it computed.
fn way<'p>(kernels: impl Iterator<Item = &'p KernelRef>) -> String {
    let Some(kernel) = kernels.last() else { return String::new() };
    if let Some(conv) = kernel.get::<BlockedConv>() {
        format!("direct {}x{}", conv.micro.pixels, conv.micro.blocks)
    } else if let Some(w) = kernel.get::<WinogradOutput>() {
        format!("F({}), tile {}x{}", w.grid.outputs, w.micro.pixels, w.micro.blocks)
    } else if let Some(StrassenOutput { tile, .. }) = kernel.get() {
        format!("strassen, tile {}x{}", tile.micro.pixels, tile.micro.blocks)
    } else {
        kernel.name().into()
    }
}

/// Multiply-adds that the kernel itself has: of Winograd's and Strassen's products, not of the convolution.
fn multiply_adds(kernel: &KernelRef) -> usize {
    if let Some(w) = kernel.get::<WinogradOutput>() {
        let products = w.images.count * w.grid.products();
        return w.groups.count * w.blocks * BLOCK * products * w.micro.depth();
    }
    match kernel.get::<StrassenOutput>() {
        Some(_) => kernel.multiply_adds() / 8 * 7,
        None => kernel.multiply_adds(),
    }
}

/// Bytes of everything that a step reads or writes, each counted once.
fn bytes(plan: &Plan, step: &Step) -> usize {
    let mut seen = BTreeSet::new();
    let size = |base: Base| match base {
        Base::Input(i) => (0, i, plan.inputs[i].ty.bytes()),
        Base::Output(i) => (1, i, plan.outputs[i].ty.bytes()),
        Base::Constant(i) => (2, i, plan.constants[i].ty.bytes()),
        Base::Buffer(i) => (3, i, plan.buffers[i].bytes),
        Base::Worker => (4, 0, 0),
    };
    seen.extend(step.args.iter().map(|place| size(place.base)));
    seen.into_iter().map(|(_, _, bytes)| bytes).sum()
}
