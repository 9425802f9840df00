//! Commands on compiled models. The models are made here, around a few bytes of machine code that
//! copies the input to the output, so that every number that comes out is known.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use cardinal_runtime::manifest::{Manifest, Property, TensorInfo, Variant};
use cardinal_runtime::{ArtifactParts, Code, DType, cpu};
use serde_json::Value;

use common::Folder;

/// A model that gives `x` of shape `from` back as `y` of shape `to`.
fn identity(from: &[u64], to: &[u64], metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes = u32::try_from(4 * from.iter().product::<u64>()).unwrap();
    let mut code = vec![0x48, 0x8b, 0x07]; // mov rax, [rdi]      the inputs
    code.extend([0x48, 0x8b, 0x30]); // mov rsi, [rax]      the first of them
    code.extend([0x48, 0x8b, 0x47, 0x08]); // mov rax, [rdi + 8]  the outputs
    code.extend([0x48, 0x8b, 0x38]); // mov rdi, [rax]      the first of them
    code.push(0xb9); // mov ecx, bytes
    code.extend(bytes.to_le_bytes());
    code.extend([0xf3, 0xa4, 0xc3]); // rep movsb; ret
    let tensor = |name: &str, shape: &[u64]| TensorInfo {
        name: name.into(),
        dtype: DType::F32 as u32,
        shape: shape.to_vec(),
    };
    let property =
        |(key, value): &(&str, &str)| Property { key: (*key).into(), value: (*value).into() };
    let manifest = Manifest {
        model_name: "identity".into(),
        model_digest: vec![7; 32],
        compiler_version: "test".into(),
        target: cpu::host_triple(),
        inputs: vec![tensor("x", from)],
        outputs: vec![tensor("y", to)],
        metadata: metadata.iter().map(property).collect(),
        ..Manifest::default()
    };
    let variant = Variant { name: "any".into(), arena_bytes: 64, ..Variant::default() };
    let code = vec![Code { variant, bytes: code }];
    let parts = ArtifactParts { manifest, code, others: Vec::new(), weights: vec![1; 64] };
    parts.to_artifact().unwrap().as_bytes().to_vec()
}

/// A `.npy` of f32.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{dict:<117}\n");
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &data].concat()
}

/// A grey 2x2 PNG.
fn png(pixels: [u8; 4]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::GrayImage::from_raw(2, 2, pixels.to_vec()).unwrap();
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A folder with a model of two rows of three scores, and an input for it.
fn scores() -> Folder {
    Folder::new()
        .file("m.cardinal", identity(&[2, 3], &[2, 3], &[]))
        .file("x.npy", npy("(2, 3)", &[0., 5., 1., 2., -1., 1.]))
}

/// A folder with a model of two grey 2x2 images, whose scores are the pixels, and three images.
fn pixels() -> Folder {
    let metadata = [("mean", "0"), ("std", "1"), ("classes", "a,b,c,d")];
    Folder::new()
        .file("m.cardinal", identity(&[2, 1, 2, 2], &[2, 4], &metadata))
        .file("1.png", png([255, 0, 0, 0]))
        .file("2.png", png([0, 255, 0, 0]))
        .file("3.png", png([0, 0, 51, 255]))
}

#[test]
fn tensors_go_in_and_come_out() {
    let folder = scores();
    let expected = std::fs::read(folder.path("x.npy")).unwrap();
    for input in ["x.npy", "x=x.npy"] {
        let out = folder.run(&format!("run m.cardinal --input {input} --output y.npy")).succeeds();
        assert_eq!(out, "");
        assert_eq!(std::fs::read(folder.path("y.npy")).unwrap(), expected);
    }
    let ran = folder.run_with("run m.cardinal --input - --output -", &expected);
    assert_eq!((ran.code, ran.bytes), (0, expected.clone()));
    folder.run("run m.cardinal --input x.npy --output y.npz").succeeds();
    let model = std::fs::read(folder.path("m.cardinal")).unwrap();
    let ran = folder.run_with("run - --input x.npy --output -", &model);
    assert_eq!((ran.code, ran.bytes), (0, expected));
}

#[test]
fn an_npz_goes_in_as_it_came_out() {
    let folder = Folder::new()
        .file("m.cardinal", identity(&[1, 2], &[1, 2], &[]))
        .file("renamed.cardinal", identity(&[1, 2], &[1, 2], &[]))
        .file("x.npy", npy("(1, 2)", &[3., 4.]));
    folder.run("run m.cardinal --input x.npy --output y.npz").succeeds();
    // The archive names the tensor `y`, and the model's input is `x`.
    let said = folder.run("run m.cardinal --input y.npz").fails_with(2);
    assert!(said.contains("no input `y`"), "{said}");
    let verdict = "verify m.cardinal --input x.npy --expected y.npz";
    assert!(folder.run(verdict).succeeds().starts_with("same"));
}

#[test]
fn inputs_that_do_not_fit_give_2() {
    let folder = scores()
        .file("one.npy", npy("(1, 3)", &[0., 1., 2.]))
        .file("f8.npy", String::from_utf8_lossy(&npy("(2,)", &[])).replace("<f4", "<f8"));
    let said = folder.run("run m.cardinal --input one.npy").fails_with(2);
    assert!(said.contains("input `x` takes f32[2, 3], and f32[1, 3] is given"), "{said}");
    let said = folder.run("run m.cardinal --input z=x.npy").fails_with(2);
    assert!(said.contains("no input `z`; it has `x`"), "{said}");
    folder.run("run m.cardinal --input x.npy --input x=x.npy").fails_with(2);
    folder.run("run m.cardinal --input x.npy --output y.txt").fails_with(2);
    folder.run("run m.cardinal --input x.npy --batch 1").fails_with(2);
    folder.run("run m.cardinal --input x.npy --threads 1000000").fails_with(2);
    folder.run("run m.cardinal --input no.npy").fails_with(5);
    let said = folder.run("run m.cardinal 1.png").fails_with(2);
    assert!(said.contains("which is no image") && said.contains("f32[N, C, H, W]"), "{said}");
    folder.run("run m.cardinal --input x.npy --output no/y.npy").fails_with(5);
}

#[test]
fn the_best_classes_are_printed() {
    let folder = scores().file("labels", "zero\none\ntwo\n");
    let ran = folder.run("run m.cardinal --input x.npy --top 2 --labels labels");
    assert!(ran.stderr.contains("softmax"), "{}", ran.stderr);
    assert_eq!(
        ran.succeeds(),
        "x.npy[0]\n      1  0.9756  one\n      2  0.0179  two\n\
         x.npy[1]\n      0  0.7054  zero\n      2  0.2595  two\n"
    );
    let said = folder.run("run m.cardinal --input x.npy --labels x.npy").stderr;
    assert!(said.contains("not UTF-8"), "{said}");
}

#[test]
fn results_are_json_when_asked() {
    let out = scores().run("run m.cardinal --input x.npy --json --threads 1").succeeds();
    let out = json(&out);
    assert_eq!(out["schema"], "cardinal.run/v1");
    assert_eq!(out["threads"], 1);
    assert_eq!(out["probabilities"], "softmax");
    assert_eq!(out["results"][1]["sample"], 1);
    assert_eq!(out["results"][1]["top"][0]["index"], 0);
    assert_eq!(out["results"][1]["top"][0]["score"], 2.);
    assert_eq!(out["results"][1]["top"][0]["label"], Value::Null);
    assert_eq!(out["outputs"][0]["shape"], json("[2, 3]"));
}

#[test]
fn outputs_that_are_no_scores_are_summed_up() {
    let folder = Folder::new()
        .file("m.cardinal", identity(&[4], &[1, 2, 2], &[]))
        .file("x.npy", npy("(4,)", &[1., 2., 3., -2.]));
    let out = folder.run("run m.cardinal --input x.npy").succeeds();
    assert_eq!(out, "y f32[1, 2, 2]: min -2.000000, max 3.000000, mean 1.000000\n");
    folder.run("run m.cardinal --input x.npy --top 1").fails_with(2);
}

#[test]
fn images_run_in_batches_and_the_last_is_filled_up() {
    let folder = pixels();
    let ran = folder.run("run m.cardinal 1.png 2.png 3.png --top 1 --output y.npy");
    // In lines of 80 columns.
    let note = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(note.contains("mean [0.0] (the model's metadata)"), "{note}");
    let out = ran.succeeds();
    let names: Vec<&str> = out.lines().map(|l| l.split_whitespace().last().unwrap()).collect();
    assert_eq!(names, ["1.png", "a", "2.png", "b", "3.png", "d"]);
    let expected = [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 0.2, 1.];
    assert_eq!(std::fs::read(folder.path("y.npy")).unwrap(), npy("(3, 4)", &expected));
    let flags = "run m.cardinal 1.png --mean 0.5 --std 0.5 --json";
    let out = json(&folder.run(flags).succeeds());
    assert_eq!(out["results"][0]["top"][3]["score"], -1.);
}

#[test]
fn images_that_are_none_give_5() {
    let folder = pixels().file("cut.png", &png([1, 2, 3, 4])[..50]).file("t.png", "soup");
    for name in ["cut.png", "t.png", "no.png"] {
        let said = folder.run(&format!("run m.cardinal {name}")).fails_with(5);
        assert!(said.contains(name), "{said}");
        // The others have results.
        let ran = folder.run(&format!("run m.cardinal {name} 1.png"));
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.stdout.starts_with("1.png\n") && ran.stderr.contains(name), "{ran:?}");
    }
}

#[test]
fn latencies_are_json_when_asked() {
    let out = scores().run("bench m.cardinal --threads 2 --warmup 1 --iterations 7 --json");
    let out = json(&out.succeeds());
    let keys: Vec<&String> = out.as_object().unwrap().keys().collect();
    let (what, took) = (["threads", "batch", "precision"], ["compile_ms", "load_ms"]);
    let expected =
        [&["schema", "latency_ms", "spread"][..], &what, &took, &["peak_rss_bytes"]].concat();
    assert_eq!(keys, expected);
    assert_eq!(out["schema"], "cardinal.bench/v1");
    assert_eq!(out["latency_ms"].as_array().unwrap().len(), 7);
    assert!(out["latency_ms"][0].as_f64().unwrap() > 0.);
    assert_eq!((&out["threads"], &out["batch"]), (&json("2"), &json("2")));
    assert_eq!(out["precision"], "f32");
    assert_eq!(out["compile_ms"], Value::Null);
    assert!(out["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(scores().run("bench m.cardinal --iterations 3").succeeds().contains("median"));
}

#[test]
fn a_comparison_that_fails_gives_4() {
    let folder = scores()
        .file("close.npy", npy("(2, 3)", &[0., 5., 1.001, 2., -1., 1.]))
        .file("nan.npy", npy("(2, 3)", &[f32::NAN, 5., 1., 2., -1., 1.]))
        .file("flat.npy", npy("(6,)", &[0., 5., 1., 2., -1., 1.]));
    let verify = |rest: &str| folder.run(&format!("verify m.cardinal --input x.npy {rest}"));
    let out = verify("--expected x.npy --rtol 0 --atol 0").succeeds();
    assert!(out.contains("max abs error 0.000e0") && out.contains("2 of 2"), "{out}");
    verify("--expected close.npy --rtol 0 --atol 0.002").succeeds();
    for (expected, said) in [
        ("close.npy --rtol 1e-6 --atol 0", "worst at element 2"),
        ("nan.npy", "inf"),
        ("flat.npy", "f32[6] is expected"),
    ] {
        let ran = verify(&format!("--expected {expected}"));
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.stdout.starts_with("DIFFERENT") && ran.stdout.contains(said), "{ran:?}");
    }
    verify("--expected no.npy").fails_with(5);
}

#[test]
fn an_artifact_says_what_it_is() {
    let folder = pixels();
    let out = folder.run("inspect m.cardinal").succeeds();
    assert!(out.contains("x f32[2, 1, 2, 2]") && out.contains("classes=a,b,c,d"), "{out}");
    let out = json(&folder.run("inspect m.cardinal --format json").succeeds());
    assert_eq!(out["schema"], "cardinal.artifact/v2");
    // It was put together by hand, so nothing is known of how it was compiled.
    let said = folder.run("inspect m.cardinal --stage asm").fails_with(3);
    assert!(said.contains("record"), "{said}");
}

#[test]
fn a_damaged_artifact_gives_3_and_never_runs() {
    let good = identity(&[1, 2], &[1, 2], &[]);
    let mut flipped = good.clone();
    flipped[4100] ^= 1; // In the code section.
    for bad in [&good[..good.len() - 1], &good[..5000], &good[..20], &flipped] {
        let folder = Folder::new().file("m.cardinal", bad);
        for arguments in ["bench m.cardinal", "inspect m.cardinal"] {
            let said = folder.run(arguments).fails_with(3);
            assert!(said.contains("compile the model again"), "{said}");
        }
    }
}
