//! Mutants: valid graphs and plans with one field changed and nothing else. What checks them must notice
//! before any code is made; what it does not notice must touch no byte that is not its own.
//!
//! Mutants are made of texts, in which every field stands: `parse(print(x)) == x` is tested elsewhere with
//! derived equality, so a new field is a new token here. (A plan's text leaves out from when to when
//! buffers live; these are changed by hand.) Names of models, origins and reasons, which code does not
//! depend on, are left alone, and so are hashes.
//!
//! What escapes runs between guard pages, in a child process, as in `guarded.rs`. A mutant of a graph that
//! escapes must be another valid network: its code computes what the interpreter makes of it. One of a
//! plan is *equal* if it has the bits of the plan that it was made of, and *wrong* otherwise.
//!
//! `CARDINAL_MUTANTS` says how many of each kind, `all` for every one, and `CARDINAL_SEED` which.

#![cfg(all(unix, target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::kernels;
use cardinal_compiler::plan::{self, Buffer, Plan, check::check, generate};
use cardinal_compiler::schedule::Preferences;
use cardinal_runtime::cpu;
use cardinal_workbench::families::FAMILIES;
use cardinal_workbench::memory::Placement;
use cardinal_workbench::random;
use cardinal_workbench::rig::Rig;

/// Set in children.
const CHILD: &str = "CARDINAL_MUTANTS_CHILD";
/// How many of each kind are tried, where nothing else is said.
const USUAL: usize = 1500;

// ---- one token changed ------------------------------------------------------------------------------

/// Words of which one may stand for another.
const KINDS: [&[&str]; 4] = [
    &["f32", "f64", "i64", "i32", "u8", "i8", "bool"],
    &["true", "false"],
    &["relu", "abs", "sigmoid"],
    &["add", "sub", "mul", "equal"],
];

/// Every text with one token changed.
fn changed(text: &str) -> Vec<String> {
    let names: BTreeSet<&str> =
        tokens(text).map(|(_, t)| t).filter(|t| t.starts_with('%')).collect();
    let mut all = Vec::new();
    for (at, token) in tokens(text) {
        for other in alternatives(token, &names) {
            all.push([&text[..at], &other, &text[at + token.len()..]].concat());
        }
    }
    all
}

/// Words, numbers and names with where they begin; what is quoted is left out.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || "%@#_.:/-".contains(c);
    let mut quoted = false;
    let mut begin = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]).filter_map(move |(at, c)| {
        quoted ^= c == '"';
        if is_part(c) && !quoted {
            begin.get_or_insert(at);
            return None;
        }
        begin.take().map(|from| (from, &text[from..at]))
    });
    ends.collect::<Vec<_>>().into_iter()
}

/// What may stand in a token's place.
fn alternatives(token: &str, names: &BTreeSet<&str>) -> Vec<String> {
    if token.starts_with('%') {
        // Its neighbours in the alphabet.
        let after = names.range(token..).nth(1).into_iter();
        let before = names.range(..token).next_back().into_iter();
        return after.chain(before).map(|name| (*name).to_owned()).collect();
    }
    if let Some(kind) = KINDS.iter().find(|kind| kind.contains(&token)) {
        return kind.iter().filter(|word| **word != token).map(|word| (*word).to_owned()).collect();
    }
    let is_hash = token.starts_with('#') && token.len() > 8;
    if token.starts_with('@') || is_hash { Vec::new() } else { other_numbers(token) }
}

/// The token with each of its numbers one more, one less, twice as much and nothing.
fn other_numbers(token: &str) -> Vec<String> {
    let mut all = BTreeSet::new();
    let is_digit = |at: usize| token.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    for begin in (0..token.len()).filter(|at| is_digit(*at) && (*at == 0 || !is_digit(at - 1))) {
        let end = (begin..).find(|at| !is_digit(*at)).unwrap();
        let Ok(number) = token[begin..end].parse::<u64>() else { continue };
        for other in [number.wrapping_add(1), number.saturating_sub(1), number.saturating_mul(2), 0]
        {
            all.insert(format!("{}{other}{}", &token[..begin], &token[end..]));
        }
    }
    all.remove(token);
    all.into_iter().collect()
}

// ---- what is changed --------------------------------------------------------------------------------

struct Fixture {
    name: String,
    graph: Graph,
    plan: Plan,
}

fn target() -> Target {
    Target::new(&cpu::host_triple(), &cpu::host_features()).unwrap()
}

/// The first and the last size of every operator: every kernel that there is.
fn fixtures() -> Vec<Fixture> {
    let mut all = Vec::new();
    for family in FAMILIES {
        let tails = (family.tails)();
        for extents in [tails.first(), tails.last()].into_iter().flatten() {
            let graph = family.graph(extents).unwrap();
            let name = format!("{}, {extents}", family.name);
            let Ok(plan) =
                family.plan(&graph, &target()).inspect_err(|e| println!("REFUSED {name}: {e:?}"))
            else {
                continue;
            };
            all.push(Fixture { name, graph, plan });
        }
    }
    all
}

/// A mutant, and the fixture that it was made of.
type Mutant<T> = (usize, Result<T, String>);

fn graphs(fixtures: &[Fixture]) -> Vec<Mutant<Graph>> {
    let of = |(at, fixture): (usize, &Fixture)| {
        let changed = changed(&text::print(&fixture.graph)).into_iter();
        changed.map(move |text| (at, text::parse(&text).map_err(|e| e.to_string()))).collect()
    };
    fixtures.iter().enumerate().flat_map::<Vec<_>, _>(of).collect()
}

fn plans(fixtures: &[Fixture]) -> Vec<Mutant<Plan>> {
    let mut all = Vec::new();
    for (at, Fixture { plan, .. }) in fixtures.iter().enumerate() {
        for text in changed(&plan::text::print(plan)) {
            let parsed = plan::text::parse(&text, &kernels::registry());
            all.push((at, parsed.map(|parsed| filled(parsed, plan)).map_err(|e| e.to_string())));
        }
        all.extend(other_lives(plan).into_iter().map(|plan| (at, Ok(plan))));
    }
    all
}

/// With the contents of constants, which the text does not have.
fn filled(mut plan: Plan, from: &Plan) -> Plan {
    for (constant, from) in plan.constants.iter_mut().zip(&from.constants) {
        constant.data = from.data.clone();
    }
    plan
}

/// The plan with each buffer living from or to another step.
fn other_lives(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for at in 0..plan.buffers.len() {
        // Names its fields, so that none is forgotten: the others are in the text.
        let Buffer { name: _, bytes: _, offset: _, first, last } = plan.buffers[at];
        let lives = [(first + 1, last), (first.wrapping_sub(1), last)];
        for (first, last) in
            lives.into_iter().chain([(first, last + 1), (first, last.wrapping_sub(1))])
        {
            let mut changed = plan.clone();
            (changed.buffers[at].first, changed.buffers[at].last) = (first, last);
            all.push(changed);
        }
    }
    all
}

/// As many of them as are asked for, by the seed.
fn chosen<T>(mut all: Vec<T>) -> Vec<T> {
    let asked = std::env::var("CARDINAL_MUTANTS").unwrap_or_default();
    let seed = std::env::var("CARDINAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or(1);
    println!("seed {state}, {} in all", all.len());
    let count = if asked == "all" { all.len() } else { asked.parse().unwrap_or(USUAL) };
    // Fisher and Yates, with Knuth's generator.
    for at in (1..all.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(at, (state >> 33) as usize % (at + 1));
    }
    all.truncate(count);
    all
}

// ---- what becomes of them ---------------------------------------------------------------------------

/// Runs `body` in a process of its own, which must not fault.
fn in_child(test: &str, body: fn()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let arguments = [test, "--exact", "--nocapture"];
    let output = Command::new(program).args(arguments).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rfind(|line| line.starts_with("escaped ")).unwrap_or("before any case");
    let error = String::from_utf8_lossy(&output.stderr);
    let escaped = said.lines().filter(|line| line.starts_with("escaped ")).count();
    println!(
        "{}",
        said.lines().filter(|l| !l.starts_with("escaped ")).collect::<Vec<_>>().join("\n")
    );
    assert!(output.status.success(), "{}: {last}, the last of {escaped}\n{error}", output.status);
    assert!(said.contains("trust: "), "{test} names no test: nothing ran");
}

/// What the outputs hold afterwards.
fn outputs(plan: &Plan, inputs: &[Vec<u8>], placement: Placement) -> Vec<Vec<u8>> {
    let mut rig = Rig::apart(plan, &target(), placement);
    for (i, bytes) in inputs.iter().enumerate() {
        let memory = rig.input_mut(i);
        let count = memory.len().min(bytes.len());
        memory[..count].copy_from_slice(&bytes[..count]);
    }
    rig.run();
    (0..plan.outputs.len()).map(|i| rig.output(i).to_vec()).collect()
}

fn inputs(plan: &Plan) -> Vec<Vec<u8>> {
    plan.inputs.iter().zip(1..).map(|(port, seed)| random::bytes(&port.ty, seed)).collect()
}

/// What differs between two texts.
fn difference(before: &str, after: &str) -> String {
    let lines = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
    let said: Vec<String> = lines.map(|(a, b)| format!("{} -> {}", a.trim(), b.trim())).collect();
    said.join("; ")
}

#[test]
fn of_graphs() {
    in_child("of_graphs", || {
        let fixtures = fixtures();
        let (mut made, mut valid) = (0, 0);
        for (at, mutant) in chosen(graphs(&fixtures)) {
            made += 1;
            let Ok(graph) = mutant else { continue };
            let Ok(plan) = planned(&graph) else { continue };
            let fixture = &fixtures[at];
            let change = difference(&text::print(&fixture.graph), &text::print(&graph));
            println!("escaped {}: {change}", fixture.name);
            valid += 1;
            computes(&graph, &plan, &format!("{}: {change}", fixture.name));
        }
        println!(
            "trust: mutants of graphs | {made} made, {} caught before code, {valid} escaped ({valid} valid \
             networks)",
            made - valid
        );
    });
}

fn planned(graph: &Graph) -> cardinal_compiler::error::Result<Plan> {
    verify(graph)?;
    let schedule = kernels::schedule(graph, &target().machine(), &Preferences::default());
    kernels::lower(graph, &schedule)
}

/// A mutant that is a network computes what the interpreter says.
fn computes(graph: &Graph, plan: &Plan, name: &str) {
    let given = inputs(plan);
    let ports = plan.inputs.iter().zip(&given);
    let tensors: Vec<_> =
        ports.map(|(p, bytes)| interp::Tensor::from_bytes(&p.ty, bytes).unwrap()).collect();
    let expected = interp::run(graph, &tensors).unwrap();
    let found = outputs(plan, &given, Placement::BeforeGuard);
    for ((port, found), expected) in plan.outputs.iter().zip(&found).zip(&expected) {
        let found = interp::Tensor::from_bytes(&port.ty, found).unwrap();
        let (Data::Float(found), Data::Float(expected)) = (&found.data, &expected.data) else {
            assert_eq!(found.data, expected.data, "{name}");
            continue;
        };
        let largest =
            expected.iter().filter(|x| x.is_finite()).fold(1e-30, |m: f64, x| m.max(x.abs()));
        let near = |(a, b): (&f64, &f64)| {
            a == b || a.is_nan() == b.is_nan() && (b.is_nan() || (a - b).abs() <= 1e-5 * largest)
        };
        assert!(found.iter().zip(expected).all(near), "{name} is not what the interpreter says");
    }
}

/// From which mutant on a child goes on.
const FROM: &str = "CARDINAL_MUTANTS_FROM";

/// A child names each mutant that escapes before it runs it, and says afterwards what became of it. One that
/// kills its child is counted, and another child goes on behind it.
#[test]
fn of_plans() {
    if std::env::var_os(CHILD).is_some() {
        let from = std::env::var(FROM).unwrap().parse().unwrap();
        return run_plans(from);
    }
    let (mut verdicts, mut astray, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["of_plans", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .env(FROM, from.to_string());
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_mutants = said.lines().filter(|line| line.starts_with("mutant "));
        verdicts.extend(of_mutants.map(str::to_owned));
        if output.status.success() {
            break;
        }
        let escaped = said.lines().rfind(|line| line.starts_with("escaped "));
        let escaped =
            escaped.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        astray.push(escaped.to_owned());
        from = escaped.split(' ').nth(1).unwrap().parse::<usize>().unwrap() + 1;
    }
    let count = |word: &str| verdicts.iter().filter(|line| line.starts_with(word)).count();
    let [caught, equal, wrong] = ["mutant caught", "mutant equal", "mutant wrong"].map(count);
    for line in verdicts.iter().filter(|line| !line.starts_with("mutant caught")).chain(&astray) {
        println!("{line}");
    }
    println!(
        "trust: mutants of plans | {} made, {caught} caught before code, {} escaped ({equal} with the same \
         bits, {wrong} wrong and inside their memory, {} outside)",
        caught + equal + wrong + astray.len(),
        equal + wrong + astray.len(),
        astray.len()
    );
    assert_eq!(astray, [""; 0]);
}

fn run_plans(from: usize) {
    let fixtures = fixtures();
    for (number, (at, mutant)) in chosen(plans(&fixtures)).into_iter().enumerate().skip(from) {
        // Cranelift's verifier is the last that may say no.
        let passes = |plan: &Plan| {
            let code = || generate(plan, &target(), Listing::default()).is_ok();
            // A panic is a bug, but makes no code.
            check(plan).is_ok() && std::panic::catch_unwind(AssertUnwindSafe(code)).unwrap_or(false)
        };
        let Ok(plan) =
            mutant.and_then(|plan| if passes(&plan) { Ok(plan) } else { Err(String::new()) })
        else {
            println!("mutant caught");
            continue;
        };
        let fixture = &fixtures[at];
        let change = difference(&plan::text::print(&fixture.plan), &plan::text::print(&plan));
        println!("escaped {number} {}: {change}", fixture.name);
        let given = inputs(&fixture.plan);
        let same = [Placement::BeforeGuard, Placement::BehindGuard]
            .map(|p| outputs(&plan, &given, p) == outputs(&fixture.plan, &given, p));
        let verdict = if same == [true; 2] { "equal" } else { "wrong" };
        println!("mutant {verdict}: {}: {change}", fixture.name);
    }
}
