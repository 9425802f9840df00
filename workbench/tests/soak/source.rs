//! Compiled models, in memory and as files, with inputs and what must come out.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cardinal_compiler::codegen::Target;
use cardinal_compiler::options::{CompileOptions, Narrow};
use cardinal_compiler::{Model, compile};
use cardinal_runtime::{Artifact, Program, Session, Tensor, cpu};
use cardinal_workbench::random;

/// The models, from the top of the repository, and how their weights are stored.
pub(crate) const MODELS: [(&str, Option<Narrow>); 6] = [
    ("examples/digits/mnist_resnest.onnx", None),
    ("compiler/tests/fixtures/tiny/resnest_r2k2_avdfirst.dyn.onnx", None),
    ("compiler/tests/fixtures/tiny/resnest_r2k1_odd75.dyn.onnx", None),
    ("compiler/tests/fixtures/tiny/resnet_basic.dyn.onnx", None),
    ("examples/digits/mnist_resnest.onnx", Some(Narrow::F16)),
    ("examples/digits/mnist_resnest.onnx", Some(Narrow::Bf16)),
];

/// Where a program is loaded from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Memory,
    File,
}

/// One compiled model.
pub(crate) struct Source {
    /// Its artifact.
    pub(crate) artifact: Vec<u8>,
    file: PathBuf,
    /// The program that new sessions share, loaded from memory and from the file.
    loaded: [Mutex<Arc<Program>>; 2],
    /// Inputs. The last is full of numbers that are none.
    pub(crate) inputs: Vec<Tensor>,
    /// The output for each, as the first run gave it.
    pub(crate) expected: Vec<Tensor>,
}

impl Source {
    /// Compiles a model, writes its artifact into `folder`, and runs it once on every input.
    pub(crate) fn new(index: usize, folder: &Path) -> Source {
        let (path, precision) = MODELS[index];
        let artifact = artifact(path, precision);
        let file = folder.join(format!("{index}.cardinal"));
        std::fs::write(&file, &artifact).expect("the artifact can be written");
        let [memory, mapped] = [From::Memory, From::File].map(|from| load(from, &artifact, &file));
        let inputs = inputs(&memory);
        let mut session = Session::new(Arc::clone(&memory), NonZeroUsize::MIN).expect("a session");
        let run = |input| session.run(std::slice::from_ref(input)).expect("a result").remove(0);
        let expected: Vec<Tensor> = inputs.iter().map(run).collect();
        assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "results tell inputs apart");
        Source { artifact, file, loaded: [memory, mapped].map(Mutex::new), inputs, expected }
    }

    /// A program that other sessions have too.
    pub(crate) fn program(&self, from: From) -> Arc<Program> {
        Arc::clone(&self.slot(from).lock().expect("no thread has panicked"))
    }

    /// Loads the program anew, for the sessions that are made from now on.
    pub(crate) fn reload(&self, from: From) {
        let program = load(from, &self.artifact, &self.file);
        *self.slot(from).lock().expect("no thread has panicked") = program;
    }

    fn slot(&self, from: From) -> &Mutex<Arc<Program>> {
        match from {
            From::Memory => &self.loaded[0],
            From::File => &self.loaded[1],
        }
    }
}

fn artifact(path: &str, weights: Option<Narrow>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let model = Model::read(std::fs::read(path).expect("the model is there")).expect("it is good");
    let target = Target::new(&cpu::host_triple(), &cpu::host_features()).expect("this machine");
    let target = target.for_core(cpu::host_core());
    let options = CompileOptions { weights, ..CompileOptions::default() };
    let compiled = compile(&model, &[target], &options).expect("it compiles");
    compiled.parts.to_artifact().expect("an artifact").as_bytes().to_vec()
}

fn load(from: From, bytes: &[u8], file: &Path) -> Arc<Program> {
    let artifact = match from {
        From::Memory => Artifact::copy(bytes),
        From::File => Artifact::open(file),
    };
    Program::load(artifact.expect("the artifact is good")).expect("it runs here")
}

/// Three ordinary inputs, and one of NaNs and infinities.
fn inputs(program: &Program) -> Vec<Tensor> {
    let shape = &program.inputs()[0].shape;
    let count = shape.iter().product();
    let ordinary = (0..3).map(|seed| random::floats(count, seed));
    let strange = (0..count).map(|i| [f32::NAN, f32::INFINITY, 1.0][i % 3]).collect();
    let values = ordinary.chain([strange]);
    values.map(|values| Tensor::from_f32(shape, &values).expect("a tensor")).collect()
}
