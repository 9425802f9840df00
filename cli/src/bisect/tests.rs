//! What is found of errors that are planted in passes and in code.
//!
//! In the digits model, and in that which [`MODEL`] names, such as a ResNeSt-50:
//! `CARDINAL_BISECT_MODEL=resnest50d.onnx cargo test -p cardinal-cli --lib bisect -- --nocapture` prints what is left.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cardinal_compiler::ir::{DType, Graph, Node, NodeId, Op, Step, Weight};
use indicatif::ProgressBar;

use super::*;
use crate::{random, tensors};

/// The variable with the path of another model.
const MODEL: &str = "CARDINAL_BISECT_MODEL";
/// Nodes that may be left: fewer than ten.
const MOST_LEFT: usize = 9;

/// Which nodes of a graph are wrong.
type Wrong = dyn Fn(&Graph, NodeId) -> bool;

/// The compiler with an error in it.
struct Planted<'a> {
    compiler: Compiler<'a>,
    /// What this rewrite makes is wrong, and so it comes to those after it.
    rewrite: Option<usize>,
    /// The code of these nodes computes something else.
    kernel: Box<Wrong>,
}

/// A node as it is copied.
struct Copied {
    node: Node,
    /// What it reads, by slot.
    operands: Vec<(usize, NodeId)>,
    /// A weight among these in whose place there is another.
    replaced: Option<NodeId>,
}

/// A node that leaves out the last step of its epilogue, or else has another weight; `None` where it has neither.
fn spoilt(graph: &Graph, id: NodeId) -> Option<Copied> {
    let (mut node, mut operands) = (graph.node(id).clone(), graph.operands(id));
    if let Some(step) = node.op.epilogue_mut().and_then(|epilogue| epilogue.steps.pop()) {
        if let Step::Binary(_, slot) = step {
            operands.retain(|(other, _)| *other != slot);
        }
        return Some(Copied { node, operands, replaced: None });
    }
    let weight = graph.operand(id, 1)?;
    let is_weight = matches!(graph.node(weight).op, Op::Weight(_));
    let can_be = is_weight && graph.ty(weight).dtype == DType::F32;
    can_be.then_some(Copied { node, operands, replaced: Some(weight) })
}

/// The graph with such nodes spoilt.
fn spoil(graph: &Graph, wrong: &dyn Fn(&Graph, NodeId) -> bool) -> Graph {
    let mut copy = Graph::new(graph.name.clone());
    let mut copies = HashMap::<NodeId, NodeId>::new();
    for id in graph.topological() {
        let wrong = wrong(graph, id).then(|| spoilt(graph, id)).flatten();
        let Copied { node, mut operands, replaced } = wrong.unwrap_or_else(|| Copied {
            node: graph.node(id).clone(),
            operands: graph.operands(id),
            replaced: None,
        });
        let other = replaced.map(|weight| {
            let name = format!("other weight of {}", node.name);
            let op = Op::Weight(Weight::rand(12));
            copy.add(Node { name, op, ..graph.node(weight).clone() }, &[])
        });
        for (_, operand) in &mut operands {
            let other = other.filter(|_| Some(*operand) == replaced);
            *operand = other.unwrap_or_else(|| copies[operand]);
        }
        copies.insert(id, copy.add(node, &operands));
    }
    for output in graph.outputs() {
        copy.add_output(output.name.clone(), copies[&output.node]);
    }
    copy
}

impl Planted<'_> {
    /// Whether a rewrite made this node.
    fn made(&self, rewrite: usize, node: &Node) -> bool {
        self.compiler.changes[rewrite].change.made.iter().any(|made| made.name == node.name)
    }

    /// The first rewrite of each pass that makes something that can be spoilt, the one in the middle, and the last.
    fn rewrites_to_spoil(&self) -> Vec<usize> {
        let mut of_pass = HashMap::<&str, Vec<usize>>::new();
        for (at, rewrite) in self.compiler.changes.iter().enumerate() {
            let graph = self.compiler.after(at + 1).unwrap();
            let can_be = |id: NodeId| self.made(at, graph.node(id)) && spoilt(&graph, id).is_some();
            if graph.nodes().any(can_be) {
                of_pass.entry(rewrite.pass).or_default().push(at);
            }
        }
        let mut all: Vec<usize> = of_pass
            .values()
            .flat_map(|all| [all[0], all[all.len() / 2], all[all.len() - 1]])
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Stages for Planted<'_> {
    fn rewrites(&self) -> usize {
        self.compiler.rewrites()
    }

    fn after(&self, rewrites: usize) -> Outcome<Graph> {
        let Some(at) = self.rewrite.filter(|at| rewrites > *at) else {
            return self.compiler.after(rewrites);
        };
        let wrong =
            spoil(&self.compiler.after(at + 1)?, &|graph, id| self.made(at, graph.node(id)));
        let wrong = Model { graph: wrong, ..self.compiler.model.clone() };
        self.compiler.accepted(engine::after(&wrong, rewrites - at - 1))
    }

    /// A pass that is wrong in one place is wrong in the first place of any other graph.
    fn passed(&self, graph: &Graph, until: Option<&str>) -> Outcome<Graph> {
        let wrong = self.rewrite.and_then(|at| self.compiler.changes.get(at));
        let Some(wrong) = wrong else { return self.compiler.passed(graph, until) };
        let model = Model { graph: graph.clone(), ..self.compiler.model.clone() };
        let all = self.compiler.accepted(engine::rewrites(&model))?;
        let Some(at) = all.iter().position(|rewrite| rewrite.pass == wrong.pass) else {
            return self.compiler.passed(graph, until);
        };
        let made = |node: &Node| all[at].change.made.iter().any(|made| made.name == node.name);
        let after = self.compiler.accepted(engine::after(&model, at + 1))?;
        let after = spoil(&after, &|graph, id| made(graph.node(id)));
        self.compiler.passed(&after, until)
    }

    fn interpret(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
        self.compiler.interpret(graph, inputs)
    }

    fn run(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
        self.compiler.run(&spoil(graph, &self.kernel), inputs)
    }
}

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx")
}

/// The models to look for errors in.
fn models() -> Vec<PathBuf> {
    std::iter::once(digits()).chain(std::env::var_os(MODEL).map(PathBuf::from)).collect()
}

fn specs(model: &Model) -> Vec<Spec> {
    let inputs = model.graph.inputs().iter();
    inputs.map(|id| engine::spec(model.graph.node(*id))).collect()
}

/// The part that is written of what was found; it must show it, and be small, unless only the whole model does.
fn written(
    (file, model): (&ModelFile, &Model),
    (search, compiler): (&Search<'_>, &Compiler<'_>),
    found: &Found,
) -> Option<Part> {
    let (nodes, suspect) = (compiler.origins(found).unwrap(), compiler.suspect(found));
    if nodes.is_empty() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.onnx");
    let part = Part::write((file, model), (search, suspect), &nodes, &path).unwrap();
    if !matches!(found, Found::Kernel(kernel) if !kernel.alone) {
        let (alone, inputs) = read(&part);
        assert!(search.shows(&alone.graph, &inputs, suspect).unwrap(), "{part:?}");
        // Where several nodes have to come together, the others come besides the block that one may be.
        let others = match found {
            Found::Kernel(kernel) => kernel.nodes.len() - 1,
            Found::Nothing | Found::Import(_) | Found::Rewrite(_) => 0,
        };
        assert!(part.nodes.len() <= MOST_LEFT + others, "{part:?}");
        let operators = alone.graph.nodes().filter(|id| !alone.graph.operands(*id).is_empty());
        assert!(operators.count() <= MOST_LEFT + others, "{part:?}");
    }
    Some(part)
}

/// What is printed of it must be as the book's schema says.
fn check_report(found: &Found, rewrites: &[Rewrite], part: &Part) {
    let schema = include_str!("../../../docs/src/schemas/bisect.v1.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let (model, flags) = ("m.onnx".to_owned(), String::new());
    let said = Report { model, found, rewrites, part: Some(part), flags }.to_json();
    let errors: Vec<String> = schema.iter_errors(&said).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {said}");
}

/// A part that was written, and its inputs.
fn read(part: &Part) -> (Model, Vec<Array>) {
    let file = ModelFile::open(&part.model).unwrap();
    let model = loading::import(&file, &loading::settings(&Default::default())).unwrap();
    let given = tensors::read(part.inputs.to_str().unwrap()).unwrap();
    let inputs = tensors::assign(&specs(&model), given, "input").unwrap();
    (model, inputs)
}

/// Calls `then` with the compiler of a model, and a search in it that takes what is planted.
fn search(path: &Path, then: impl FnOnce(Planted<'_>, &dyn Fn(&Planted<'_>) -> Found)) {
    let file = ModelFile::open(path).unwrap();
    let settings = loading::settings(&Default::default());
    let model = loading::import(&file, &settings).unwrap();
    let compiler = Compiler::new(&file, &model, &settings, NonZeroUsize::MIN).unwrap();
    let inputs = random::arrays(&specs(&model), 7).unwrap();
    let (tolerance, progress) = (Tolerance::DEFAULT, &ProgressBar::hidden());
    let find = |stages: &Planted<'_>| {
        let search = Search { stages, inputs: &inputs, outputs: &[], tolerance, progress };
        let begin = Instant::now();
        let found = search.run(None).unwrap();
        println!("{:.1} s: {found:?}", begin.elapsed().as_secs_f64());
        if let Some(part) = written((&file, &model), (&search, &stages.compiler), &found) {
            let Part { nodes, of, .. } = &part;
            let seconds = begin.elapsed().as_secs_f64();
            println!("{seconds:.1} s: {} nodes of {of} left: {nodes:?}", nodes.len());
            check_report(&found, &stages.compiler.changes, &part);
        }
        found
    };
    then(Planted { compiler, rewrite: None, kernel: Box::new(|_, _| false) }, &find);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for path in models() {
        search(&path, |stages, find| assert_eq!(find(&stages), Found::Nothing));
    }
}

/// How many of these are not weights.
fn operators(nodes: &[Node]) -> usize {
    nodes.iter().filter(|node| !matches!(node.op, Op::Weight(_))).count()
}

#[test]
fn the_rewrite_that_is_wrong_is_found() {
    for path in models() {
        search(&path, |mut stages, find| {
            let wrong = stages.rewrites_to_spoil();
            assert!(wrong.len() > 4, "{wrong:?}");
            for at in wrong {
                stages.rewrite = Some(at);
                assert_eq!(find(&stages), Found::Rewrite(at));
                let Rewrite { pass, change } = &stages.compiler.changes[at];
                let all = stages.rewrites();
                let [removed, made] = [&change.removed, &change.made].map(|nodes| operators(nodes));
                println!("  rewrite {at} of {all}, of {pass}: {made} instead of {removed}");
            }
        });
    }
}

/// The node of this name.
fn at(name: &str) -> impl Fn(&Graph, NodeId) -> bool + Clone + 'static {
    let name = name.to_owned();
    move |graph, id| graph.node(id).name == name
}

/// What an error in code that is wrong so comes to, which few nodes show.
fn wrong_code(
    stages: &mut Planted<'_>,
    find: &dyn Fn(&Planted<'_>) -> Found,
    wrong: impl Fn(&Graph, NodeId) -> bool + 'static,
) -> kernels::Kernel {
    stages.kernel = Box::new(wrong);
    let found = find(stages);
    let Found::Kernel(kernel) = found else { panic!("{found:?}") };
    assert!(kernel.nodes.len() <= MOST_LEFT, "{kernel:?}");
    kernel
}

/// The names of the nodes of the last graph that can be spoilt, in order, by that of their operator.
fn computed(stages: &Planted<'_>) -> BTreeMap<&'static str, Vec<String>> {
    let graph = stages.compiler.after(stages.rewrites()).unwrap();
    let mut of_op = BTreeMap::<_, Vec<String>>::new();
    for id in graph.topological().into_iter().filter(|id| spoilt(&graph, *id).is_some()) {
        let Node { op, name, .. } = graph.node(id);
        of_op.entry(op.mnemonic()).or_default().push(name.clone());
    }
    of_op
}

/// Of a kernel that is wrong wherever it is used, the first use is found.
#[test]
fn the_kernel_that_is_wrong_is_found() {
    for path in models() {
        search(&path, |mut stages, find| {
            for (op, names) in computed(&stages) {
                println!("{} of {op}", names.len());
                let kernel = wrong_code(&mut stages, find, move |graph, id| {
                    graph.node(id).op.mnemonic() == op
                });
                assert_eq!((&kernel.nodes, kernel.alone), (&names[..1].to_vec(), true));
            }
        });
    }
}

/// Of code that is wrong in one place, that place is found.
#[test]
fn the_place_that_is_wrong_is_found() {
    for path in models() {
        search(&path, |mut stages, find| {
            for names in computed(&stages).into_values() {
                let name = &names[names.len() / 2];
                let kernel = wrong_code(&mut stages, find, at(name));
                assert_eq!((&kernel.value, &kernel.nodes), (name, &vec![name.clone()]));
                assert!(kernel.alone);
            }
        });
    }
}

/// Of code that is wrong only where what it reads is computed too, both are found.
#[test]
fn what_is_wrong_together_is_found() {
    for path in models() {
        search(&path, |mut stages, find| {
            let graph = stages.compiler.after(stages.rewrites()).unwrap();
            for names in computed(&stages).into_values() {
                let name = &names[names.len() / 2];
                let read = graph.operand(graph.find(name).unwrap(), 0).unwrap();
                let read = graph.node(read).name.clone();
                let (is_it, both) = (at(name), BTreeSet::from([name.clone(), read.clone()]));
                let kernel = wrong_code(&mut stages, find, move |graph, id| {
                    let is_computed = |id: NodeId| graph.node(id).op != Op::Input;
                    is_it(graph, id) && graph.find(&read).is_some_and(is_computed)
                });
                assert!(kernel.alone && kernel.nodes.len() == 2, "{kernel:?}");
                assert_eq!(BTreeSet::from_iter(kernel.nodes), both);
            }
        });
    }
}

/// Of code that is wrong only in a large graph, the value is found.
#[test]
fn what_is_wrong_in_the_whole_only_is_not_said_to_be_shown() {
    for path in models() {
        search(&path, |mut stages, find| {
            let names = computed(&stages).remove("conv").unwrap();
            let name = names[names.len() / 2].clone();
            let is_it = at(&name);
            let wrong = move |graph: &Graph, id| is_it(graph, id) && graph.len() > 60;
            let kernel = wrong_code(&mut stages, find, wrong);
            assert_eq!((kernel.value, kernel.alone), (name, false));
        });
    }
}

/// The nodes of every rewrite are a model of their own, which gives with its inputs what they give in the whole.
#[test]
fn parts_are_models_with_their_inputs() {
    let path = digits();
    let file = ModelFile::open(&path).unwrap();
    let settings = loading::settings(&Default::default());
    let model = loading::import(&file, &settings).unwrap();
    let inputs = random::arrays(&specs(&model), 7).unwrap();
    let values = engine::values(&model.graph, &inputs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::new(&file, &model, &settings, NonZeroUsize::MIN).unwrap();
    let (tolerance, progress) = (Tolerance::DEFAULT, &ProgressBar::hidden());
    let search = Search { stages: &compiler, inputs: &inputs, outputs: &[], tolerance, progress };
    for (at, rewrite) in engine::rewrites(&model).unwrap().into_iter().enumerate() {
        let nodes = rewrite.change.removed.iter().flat_map(|node| node.from.clone()).collect();
        let path = folder.path().join(format!("{at}.onnx"));
        let part = Part::write((&file, &model), (&search, Suspect::Code), &nodes, &path).unwrap();
        let (alone, given) = read(&part);
        let outputs = engine::interpret(&alone.graph, &given).unwrap();
        assert!(!outputs.is_empty(), "{:?}", part.nodes);
        for (output, found) in alone.graph.outputs().iter().zip(&outputs) {
            let whole = &values[&model.graph.find(&output.name).unwrap()];
            assert!(Tolerance::DEFAULT.allows(found, whole), "{} of {at}", output.name);
        }
    }
}
