//! Mutants: valid graphs, schedules and plans with one field changed and nothing else. What checks them must
//! notice before any code is made; what it does not notice must touch no byte that is not its own.
//!
//! Mutants of graphs and plans are made of texts, in which every field stands: `parse(print(x)) == x` is
//! tested elsewhere with derived equality, so a new field is a new token here. (A plan's text leaves out from
//! when to when buffers live; these are changed by hand.) Schedules have no text that is read; theirs are
//! made by `schedule::mutants`, which names every field. Names of models, origins and reasons, which code
//! does not depend on, are left alone, and so are hashes.
//!
//! A mutant is *caught* by an error that comes before code is made. One that means the same is no mutant: a
//! plan that differs in names, a schedule that is written down as the same plan. What escapes runs between
//! guard pages, in a child process, as in `guarded.rs`. A mutant of a graph that escapes must be another
//! valid network: its code computes what the interpreter makes of it. One of a schedule or a plan is *equal*
//! if it has the bits of the plan that it was made of, and no plan may have others. Another schedule that is
//! valid may sum in another order: it is *near* if its results are as near to the interpreter's as those of
//! every kernel must be, and *wrong* otherwise. What escapes is listed, and counted by the field that was changed.
//!
//! `CARDINAL_MUTANTS` says how many of each kind, `all` for every one, and `CARDINAL_SEED` which.

#![cfg(all(unix, target_arch = "x86_64"))]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::process::Command;

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::kernels;
use cardinal_compiler::plan::{self, Buffer, Plan, check::check, generate};
use cardinal_compiler::schedule::{Preferences, Schedule, mutants};
use cardinal_runtime::cpu;
use cardinal_workbench::families::{FAMILIES, Way};
use cardinal_workbench::memory::Placement;
use cardinal_workbench::nearness;
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
    way: Way,
    graph: Graph,
    schedule: Schedule,
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
            let schedule = family.schedule(&graph, &target());
            let Ok(plan) = kernels::lower(&graph, &schedule)
                .inspect_err(|e| println!("REFUSED {name}: {e:?}"))
            else {
                continue;
            };
            all.push(Fixture { name, way: family.way, graph, schedule, plan });
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
        let mut fields: BTreeMap<String, usize> = BTreeMap::new();
        for (at, mutant) in chosen(graphs(&fixtures)) {
            made += 1;
            let Ok(graph) = mutant else { continue };
            let Ok(plan) = planned(&graph) else { continue };
            let fixture = &fixtures[at];
            let change = difference(&text::print(&fixture.graph), &text::print(&graph));
            println!("escaped {}: {change}", fixture.name);
            valid += 1;
            let field = change.split([' ', ';']).next().unwrap_or_default().to_owned();
            *fields.entry(field).or_insert(0) += 1;
            computes(&graph, &plan, &format!("{}: {change}", fixture.name));
        }
        println!("valid networks by field: {fields:?}");
        println!(
            "trust: mutants of graphs | {made} made, {} caught before code ({:.1} %), {valid} escaped \
             ({valid} other networks that are valid)",
            made - valid,
            100.0 * (made - valid) as f64 / made.max(1) as f64
        );
    });
}

fn planned(graph: &Graph) -> cardinal_compiler::error::Result<Plan> {
    verify(graph)?;
    let schedule = kernels::schedule(graph, &target().machine(), &Preferences::default());
    kernels::lower(graph, &schedule)
}

/// The outputs by the interpreter.
fn interpreted(graph: &Graph, plan: &Plan, inputs: &[Vec<u8>]) -> Vec<interp::Tensor> {
    let ports = plan.inputs.iter().zip(inputs);
    let tensors: Vec<_> =
        ports.map(|(p, bytes)| interp::Tensor::from_bytes(&p.ty, bytes).unwrap()).collect();
    interp::run(graph, &tensors).unwrap()
}

/// A mutant that is a network computes what the interpreter says.
fn computes(graph: &Graph, plan: &Plan, name: &str) {
    let given = inputs(plan);
    let expected = interpreted(graph, plan, &given);
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
fn judged(test: &str, of: &str, judge: fn(usize)) {
    if std::env::var_os(CHILD).is_some() {
        return judge(std::env::var(FROM).unwrap().parse().unwrap());
    }
    let (mut verdicts, mut astray, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").env(FROM, from.to_string());
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if from == 0 {
            println!("{}", said.lines().find(|line| line.starts_with("seed ")).unwrap_or_default());
        }
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
    let is_listed =
        |line: &&String| !line.starts_with("mutant caught") && !line.starts_with("mutant same");
    for line in verdicts.iter().filter(is_listed).chain(&astray) {
        println!("{line}");
    }
    summarised(of, &verdicts, &astray);
    assert_eq!(astray, [""; 0]);
    let of_plans = (of == "plans").then_some("mutant near");
    for bad in ["mutant wrong", "mutant panic"].into_iter().chain(of_plans) {
        let all = verdicts.iter().filter(|line| line.starts_with(bad));
        assert_eq!(all.collect::<Vec<_>>(), [""; 0], "what becomes of {of}: {bad}");
    }
}

/// Counts verdicts, and what escaped by field.
fn summarised(of: &str, verdicts: &[String], astray: &[String]) {
    let count = |word: &str| verdicts.iter().filter(|line| line.starts_with(word)).count();
    let [caught, same, equal, near, wrong, late, panicked] =
        ["caught", "same", "equal", "near", "wrong", "late", "panic"]
            .map(|word| count(&format!("mutant {word}")));
    let escaped = equal + near + wrong + late + panicked + astray.len();
    let mut fields: BTreeMap<&str, usize> = BTreeMap::new();
    for field in verdicts.iter().filter_map(|line| line.split(" field ").nth(1)) {
        *fields.entry(field).or_default() += 1;
    }
    println!("escaped by field: {fields:?}");
    println!(
        "trust: mutants of {of} | {} made, {caught} caught before code ({:.1} %), {escaped} escaped ({equal} \
         with the same bits, {near} with other bits and right, {wrong} wrong and inside their memory, {} \
         outside, {late} without code, {panicked} in a panic); {same} more mean the same",
        caught + escaped,
        100.0 * caught as f64 / (caught + escaped).max(1) as f64,
        astray.len()
    );
}

#[test]
fn of_plans() {
    judged("of_plans", "plans", run_plans);
}

#[test]
fn of_schedules() {
    judged("of_schedules", "schedules", run_schedules);
}

fn run_plans(from: usize) {
    let fixtures = fixtures();
    for (number, (at, mutant)) in chosen(plans(&fixtures)).into_iter().enumerate().skip(from) {
        let fixture = &fixtures[at];
        let Fixture { name, way: _, graph, schedule, plan: before } = fixture;
        if mutant.as_ref().is_ok_and(|plan| means_the_same(plan, before)) {
            println!("mutant same");
            continue;
        }
        let checked = mutant.ok().filter(|plan| check(plan).is_ok());
        let checked =
            checked.filter(|plan| kernels::validate::check(graph, schedule, plan).is_ok());
        let Some(plan) = checked else {
            println!("mutant caught");
            continue;
        };
        let change = difference(&plan::text::print(before), &plan::text::print(&plan));
        let field = change.split([' ', ';']).next().unwrap_or_default();
        run_escaped(number, fixture, &plan, &format!("{name}: {change}"), field);
    }
}

/// Whether two plans differ in names only, or in distances between trips of loops that have one.
fn means_the_same(plan: &Plan, other: &Plan) -> bool {
    let [plan, other] = [plan, other].map(unnamed);
    let texts = [&plan, &other].map(plan::text::print);
    let [words, others] = [0, 1].map(|i| without_distances(&texts[i]));
    let lives =
        |plan: &Plan| -> Vec<_> { plan.buffers.iter().map(|b| (b.first, b.last)).collect() };
    words == others && lives(&plan) == lives(&other)
}

/// The words of a plan's text without distances of loops of one trip: `1 by in 64 out 32` is `1`.
fn without_distances(text: &str) -> Vec<&str> {
    let mut words = text.split_whitespace().peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if word.trim_start_matches('[') != "1" || words.next_if_eq(&"by").is_none() {
            continue;
        }
        while words.next_if(|word| ["in", "weights", "out", "residual"].contains(word)).is_some() {
            let distance = words.next().unwrap_or_default();
            kept.extend(distance.find([',', ']']).map(|end| &distance[end..]));
        }
    }
    kept
}

/// The plan without the names of what it has.
fn unnamed(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let ports = plan.inputs.iter_mut().chain(&mut plan.outputs).map(|port| &mut port.name);
    let names = ports.chain(plan.constants.iter_mut().map(|constant| &mut constant.name));
    let names = names.chain(plan.buffers.iter_mut().map(|buffer| &mut buffer.name));
    names.chain(plan.steps.iter_mut().map(|step| &mut step.name)).for_each(String::clear);
    plan
}

fn run_schedules(from: usize) {
    let fixtures = fixtures();
    let numbers = fixtures.iter().enumerate().flat_map(|(at, fixture)| {
        (0..mutants::count(&fixture.schedule)).map(move |number| (at, number))
    });
    for (number, (at, of)) in chosen(numbers.collect()).into_iter().enumerate().skip(from) {
        let fixture = &fixtures[at];
        let (what, schedule) = mutants::mutant(&fixture.schedule, of).unwrap();
        let lower = AssertUnwindSafe(|| kernels::lower(&fixture.graph, &schedule));
        let change = format!("{}: {what}", fixture.name);
        match std::panic::catch_unwind(lower) {
            Ok(Err(_)) => println!("mutant caught"),
            Ok(Ok(plan)) if plan == fixture.plan => println!("mutant same"),
            Ok(Ok(plan)) => {
                let field = what.split(": ").next().unwrap_or_default();
                let words = field.split(' ').filter(|word| word.parse::<usize>().is_err());
                let field: Vec<&str> = words.collect();
                run_escaped(number, fixture, &plan, &change, &field.join(" "));
            }
            Err(_) => println!("mutant panic: {change} field panic"),
        }
    }
}

/// Runs what no check has caught, between guards.
fn run_escaped(number: usize, fixture: &Fixture, plan: &Plan, change: &str, field: &str) {
    println!("escaped {number} {change}");
    let code = || generate(plan, &target(), Listing::default()).is_ok();
    if !std::panic::catch_unwind(AssertUnwindSafe(code)).unwrap_or(false) {
        println!("mutant late: {change} field {field}");
        return;
    }
    let given = inputs(&fixture.plan);
    let [expected, found] = [&fixture.plan, plan].map(|plan| {
        [Placement::BeforeGuard, Placement::BehindGuard].map(|p| outputs(plan, &given, p))
    });
    let near = || found.iter().try_for_each(|found| check_near(fixture, &given, found));
    let verdict = match found == expected {
        true => "equal".to_owned(),
        false => near().map_or_else(|what| format!("wrong ({what})"), |()| "near".into()),
    };
    println!("mutant {verdict}: {change} field {field}");
}

/// Whether outputs are as near to the interpreter's as they must be; otherwise what is not.
fn check_near(fixture: &Fixture, given: &[Vec<u8>], found: &[Vec<u8>]) -> Result<(), String> {
    let expected = interpreted(&fixture.graph, &fixture.plan, given);
    for ((port, found), expected) in fixture.plan.outputs.iter().zip(found).zip(&expected) {
        let found = interp::Tensor::from_bytes(&port.ty, found).unwrap();
        nearness::check(fixture.way, &found.data, &expected.data)?;
    }
    Ok(())
}
