//! Objects: linked into programs and libraries they give the bits that artifacts give.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;
use std::process::Command;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::object::{self, Name};
use cardinal_runtime::{Artifact, Program, Session, Tensor, cpu};
use running::files::{import, import_unfilled, models, stem};
use running::linked::{Link, Linked, NATIVE, artifact, build, c_file, compiled, object};
use running::{host, random};

fn parse(body: &str) -> Graph {
    text::parse(&format!("graph @test {{\n{body}\n}}\n")).unwrap_or_else(|e| panic!("{e}"))
}

fn in_process(artifact: Artifact, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut session = Session::new(Program::load(artifact).unwrap(), NonZeroUsize::MIN).unwrap();
    session.run(inputs).unwrap()
}

fn made_inputs(graph: &Graph) -> Vec<Tensor> {
    graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect()
}

/// Compares programs with the runtime, bit by bit.
fn check(graph: &Graph, target: &Target, inputs: &[Tensor], threads: &[usize], links: &[Link]) {
    let artifact = artifact(graph, target);
    let programs: Vec<Linked> =
        links.iter().map(|link| Linked::new(&artifact, NATIVE, *link)).collect();
    let expected = in_process(artifact, inputs);
    for (program, link) in programs.iter().zip(links) {
        for threads in threads {
            let found = program.run(*threads, inputs);
            let same = found.iter().zip(&expected).all(|(a, b)| a.as_bytes() == b.as_bytes());
            assert!(same, "{link:?} differs on {threads} threads for {:?}", target.features());
        }
    }
}

/// Targets that this machine runs, from the least to its own.
fn targets() -> Vec<Target> {
    let named = |cpu| Target::named(&cpu::host_triple(), cpu);
    let present = cpu::host_features();
    let runs = |target: &Target| cpu::missing_features(target.features(), &present).is_empty();
    let levels = ["generic", "x86-64-v3"].into_iter().filter_map(|cpu| named(cpu).ok());
    levels.filter(runs).chain([host()]).collect()
}

#[test]
fn every_fixture_gives_the_same_bits() {
    for (i, path) in ["tiny", "branches"].into_iter().flat_map(models).enumerate() {
        let model = import(&path, None);
        let inputs = made_inputs(&model.graph);
        let link = if i % 2 == 0 { Link::Static } else { Link::Shared };
        check(&model.graph, &host(), &inputs, &[0, 1 + i % 3], &[link]);
    }
}

#[test]
fn every_cpu_and_both_ways_of_linking_give_the_same_bits() {
    for kind in ["tiny", "branches"] {
        let model = import(&models(kind)[0], None);
        let inputs = made_inputs(&model.graph);
        for target in targets() {
            check(&model.graph, &target, &inputs, &[0, 1, 2, 5], &[Link::Static, Link::Shared]);
        }
    }
}

#[test]
fn a_full_size_network_gives_the_same_bits() {
    let path = models("graphs").into_iter().find(|path| stem(path).contains("resnest14d.ts17"));
    let model = import_unfilled(&path.unwrap());
    check(&model.graph, &host(), &made_inputs(&model.graph), &[0, 3], &[Link::Shared]);
}

#[test]
fn several_tensors_of_several_types_go_in_and_out() {
    let graph = parse(
        "input %a f32[4, 3]\ninput %s f32[]\n%t f32[4, 3] = add(%a, %s)\n%y i64[4, 3] = cast(%t)\n\
         %z bool[4, 3] = cast(%t)\n%w f32[4, 3] = where(%z, %a, %t)\n%n i64[4] = argmax(%w)\naxis 1\n\
         output %y\noutput %z\noutput %w\noutput %n",
    );
    let header = object(&artifact(&graph, &host())).header;
    let run = "int m_run(const float *in0, const float *in1, int64_t *out0, uint8_t *out1, \
               float *out2, int64_t *out3, void *arena);";
    assert!(header.contains(run), "{header}");
    for target in targets() {
        check(&graph, &target, &made_inputs(&graph), &[0, 1, 3], &[Link::Static]);
    }
}

#[test]
fn denormals_are_zero_on_every_thread() {
    let graph = parse("input %x f32[64, 1024]\n%y f32[64, 1024] = add(%x, %x)\noutput %y");
    let denormals = vec![f32::MIN_POSITIVE / 2.0; 64 * 1024];
    let input = Tensor::from_f32(&[64, 1024], &denormals).unwrap();
    let program = Linked::new(&artifact(&graph, &host()), NATIVE, Link::Static);
    for threads in [0, 1, 4] {
        let found = program.run(threads, std::slice::from_ref(&input));
        assert!(found[0].as_f32().unwrap().iter().all(|y| *y == 0.0), "{threads} threads");
    }
}

#[test]
fn misuse_is_an_error() {
    let graph = parse(
        "input %x f32[8, 40, 40]\n%y f32[8, 40, 40] = exp(%x)\n%z f32[8, 40, 40] = softmax(%y)\naxis 2\noutput %z",
    );
    let object = object(&artifact(&graph, &host()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.o"), object.elf).unwrap();
    std::fs::write(folder.path().join("m.h"), object.header).unwrap();
    let misuse = c_file("misuse.c");
    let misuse = misuse.to_str().unwrap();
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I."];
    build(NATIVE, folder.path(), &[&flags[..], &[misuse, "m.o", "-o", "misuse"]].concat());
    let said = Command::new(folder.path().join("misuse")).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{:?}: {text}", said.status);
}

/// What a tool says of files in a folder.
fn ask(folder: &std::path::Path, command: &[&str]) -> String {
    let said = Command::new(command[0]).args(&command[1..]).current_dir(folder).output().unwrap();
    assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn an_object_stands_alone() {
    let model = import(&models("tiny")[0], None);
    let object = object(&artifact(&model.graph, &host()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.o"), &object.elf).unwrap();
    assert_eq!(ask(folder.path(), &["nm", "-u", "m.o"]), "");
    let defined = ask(folder.path(), &["nm", "-g", "-j", "--defined-only", "m.o"]);
    let defined: Vec<&str> = defined.lines().collect();
    assert_eq!(defined, ["m_cpu_supported", "m_run", "m_run_images", "m_run_parallel"]);
    // Nothing that can be written to, nothing to relocate but the distance to the weights.
    let sections = ask(folder.path(), &["readelf", "-SW", "m.o"]);
    assert!(!sections.contains(" WA ") && !sections.contains(".data"), "{sections}");
    // Says that the stack need not be executable: linkers make it so for any object that does not.
    let stack = sections.lines().find(|line| line.contains(".note.GNU-stack"));
    assert!(stack.is_some_and(|line| !line.contains('X')), "{sections}");
    let relocations = ask(folder.path(), &["readelf", "-rW", "m.o"]);
    assert_eq!(relocations.matches(".rodata").count(), relocations.matches("R_").count());

    build(NATIVE, folder.path(), &["-shared", "-nostdlib", "-Wl,-z,text", "m.o", "-o", "m.so"]);
    let exported = ask(folder.path(), &["nm", "-D", "-j", "m.so"]);
    assert_eq!(exported.lines().collect::<Vec<_>>(), defined);
    let dynamic = ask(folder.path(), &["readelf", "-dlW", "m.so"]);
    assert!(!dynamic.contains("TEXTREL") && !dynamic.contains("NEEDED"), "{dynamic}");
    let stack = dynamic.lines().find(|line| line.contains("GNU_STACK"));
    assert!(stack.is_none_or(|line| line.contains("RW ")), "{dynamic}");
}

#[test]
fn a_header_compiles_alone_as_c_and_cpp() {
    let hostile = "*/ \"\\ ??/\n#error é\0%s".to_owned();
    let graph = parse("input %x f32[]\n%y f32[] = exp(%x)\noutput %y");
    let mut parts = compiled(&graph, &host());
    parts.manifest.model_name.clone_from(&hostile);
    parts.manifest.inputs[0].name.clone_from(&hostile);
    parts.manifest.outputs[0].shape = vec![1, 1 << 33];
    let artifact = parts.to_artifact().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for stem in ["m", "int", "3-d", "模型", ""] {
        let object = object::build(&artifact, &Name::from_stem(stem)).unwrap();
        std::fs::write(folder.path().join("m.h"), object.header).unwrap();
        let name = Name::from_stem(stem);
        let c = format!(
            "#include \"m.h\"\nconst char *names[] = {{{name}_MODEL, {name}_INPUT0_NAME}};\n\
             const unsigned long long shape[] = {name}_OUTPUT0_SHAPE;\n\
             const {name}_INPUT0_TYPE *x;\n"
        );
        std::fs::write(folder.path().join("m.c"), c).unwrap();
        let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"];
        for language in [&["-std=c99", "-x", "c"], &["-std=c++11", "-x", "c++"]] {
            build(NATIVE, folder.path(), &[&strict[..], language, &["m.c"]].concat());
        }
    }
}

#[test]
fn the_code_is_the_artifacts_and_little_more() {
    let model = import(&models("tiny")[0], None);
    let artifact = artifact(&model.graph, &host());
    let elf = object(&artifact).elf;
    let bare = artifact.code(0).len() + artifact.weights().len();
    assert!((bare..bare + 8192).contains(&elf.len()), "{bare} {}", elf.len());
    let holds = |part: &[u8]| elf.windows(part.len()).any(|window| window == part);
    assert!(holds(artifact.code(0)) && holds(artifact.weights()));
    assert_eq!(elf, object(&artifact).elf);
}
