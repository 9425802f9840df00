//! Models as programs: an object file and `../c/driver.c`, compiled and linked by a C compiler.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cardinal_compiler::codegen::Target;
use cardinal_compiler::ir::Graph;
use cardinal_compiler::object::{self, Name, Object};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::plan::weights::PackedWeights;
use cardinal_runtime::{Artifact, ArtifactParts, Tensor, TensorSpec};

/// What builds programs for a machine, and what runs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools {
    /// The C compiler, with arguments.
    pub(crate) compiler: &'static [&'static str],
    /// What stands before the program's name.
    pub(crate) runner: &'static [&'static str],
}

/// This machine's.
pub(crate) const NATIVE: Tools = Tools { compiler: &["cc"], runner: &[] };

const AARCH64: Tools =
    Tools { compiler: &["aarch64-linux-gnu-gcc", "-static"], runner: &["qemu-aarch64"] };

/// Another machine to try everything on, where `CARDINAL_CROSS` is `aarch64`.
/// `scripts/check_cross.sh` sets it, and installs what it needs.
pub(crate) fn foreign() -> Option<(Target, Tools)> {
    let name = std::env::var("CARDINAL_CROSS").ok()?;
    assert_eq!(name, "aarch64", "CARDINAL_CROSS is aarch64 or not set");
    Some((Target::named("aarch64-unknown-linux-gnu", "generic").unwrap(), AARCH64))
}

pub(crate) fn compiled(graph: &Graph, target: &Target) -> ArtifactParts<PackedWeights> {
    let model = Model {
        graph: graph.clone(),
        metadata: Vec::new(),
        digest: [0; 32],
        operators: Default::default(),
    };
    cardinal_compiler::compile(&model, std::slice::from_ref(target), &CompileOptions::default())
        .unwrap()
        .parts
}

pub(crate) fn artifact(graph: &Graph, target: &Target) -> Artifact {
    compiled(graph, target).to_artifact().unwrap()
}

/// The object of a model that is called `m`.
pub(crate) fn object(artifact: &Artifact) -> Object {
    object::build(artifact, &Name::from_stem("m")).unwrap()
}

/// How a program gets its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// The object is part of the program.
    Static,
    /// The object is made a library, and the program finds it beside itself.
    Shared,
}

/// A program made of the driver and a model.
pub(crate) struct Linked {
    folder: tempfile::TempDir,
    tools: Tools,
    outputs: Vec<TensorSpec>,
}

impl Linked {
    pub(crate) fn new(artifact: &Artifact, tools: Tools, link: Link) -> Linked {
        let folder = tempfile::tempdir().unwrap();
        let Object { elf, header } = object(artifact);
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        put("m.o", &elf).unwrap();
        put("m.h", header.as_bytes()).unwrap();
        put("tensors.h", lists(artifact).as_bytes()).unwrap();
        let model = match link {
            Link::Static => "m.o",
            Link::Shared => {
                build(tools, folder.path(), &["-shared", "-nostdlib", "m.o", "-o", "libm.so"]);
                "./libm.so"
            }
        };
        let driver = c_file("driver.c");
        let driver = driver.to_str().unwrap();
        let flags = ["-std=c11", "-D_DEFAULT_SOURCE", "-pthread", "-Wall", "-Wextra", "-Werror"];
        build(tools, folder.path(), &[&flags[..], &["-I.", driver, model, "-o", "run"]].concat());
        Linked { folder, tools, outputs: artifact.outputs().to_vec() }
    }

    /// Runs it; no threads mean the entry point without a parallel-for.
    pub(crate) fn run(&self, threads: usize, inputs: &[Tensor]) -> Vec<Tensor> {
        let program = self.folder.path().join("run");
        let words = self.tools.runner.iter().map(Into::into).chain([program.into_os_string()]);
        let words: Vec<std::ffi::OsString> = words.collect();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(threads.to_string())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let all: Vec<u8> = inputs.iter().flat_map(Tensor::as_bytes).copied().collect();
        child.stdin.take().unwrap().write_all(&all).unwrap();
        let said = child.wait_with_output().unwrap();
        assert!(said.status.success(), "{:?}", said.status);
        let mut rest = &said.stdout[..];
        let tensor = |spec: &TensorSpec| {
            let bytes = spec.shape.iter().product::<usize>() * spec.dtype.size();
            let (bytes, more) = rest.split_at(bytes);
            rest = more;
            Tensor::from_bytes(spec.dtype, &spec.shape, bytes).unwrap()
        };
        self.outputs.iter().map(tensor).collect()
    }
}

pub(crate) fn c_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// Runs the C compiler, which must have nothing to say.
pub(crate) fn build(tools: Tools, folder: &Path, arguments: &[&str]) {
    let said = Command::new(tools.compiler[0])
        .args(&tools.compiler[1..])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", tools.compiler[0]));
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.is_empty(), "{arguments:?}: {text}");
}

/// What the driver wants to know.
fn lists(artifact: &Artifact) -> String {
    let mut text = String::new();
    let mut arguments = Vec::new();
    for (role, array, qualifier, specs) in
        [("INPUT", "in", "const ", artifact.inputs()), ("OUTPUT", "out", "", artifact.outputs())]
    {
        let list = |what: &dyn Fn(usize) -> String| {
            (0..specs.len()).map(what).collect::<Vec<_>>().join(", ")
        };
        let bytes = list(&|i| format!("m_{role}{i}_BYTES"));
        let align = list(&|i| format!("sizeof(m_{role}{i}_TYPE)"));
        let _ = writeln!(text, "#define {role}_BYTES {bytes}\n#define {role}_ALIGN {align}");
        let cast = |i| format!("({qualifier}m_{role}{i}_TYPE *){array}[{i}]");
        arguments.extend((0..specs.len()).map(cast));
    }
    text + &format!("#define ARGUMENTS {}\n", arguments.join(", "))
}
