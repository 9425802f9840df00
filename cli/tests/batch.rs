//! Batches on the command line: any number of samples up to a model's, and models that fix another.
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use std::path::Path;

use common::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A folder with the digits model for eight images, and with nine images of random numbers.
fn digits() -> Folder {
    let model = std::fs::read(root().join("examples/digits/mnist_resnest.onnx")).unwrap();
    let folder = Folder::new().file("digits.onnx", model).file("x9.npy", images(0, 9));
    folder.run("compile digits.onnx --batch 8 -o digits.cardinal").succeeds();
    folder
}

/// Images of random numbers in NumPy's format, from the one of this number on.
fn images(first: usize, count: usize) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 1, 28, 28), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    for i in first * 784..(first + count) * 784 {
        let number = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        bytes.extend((number as f32 / (1u32 << 24) as f32).to_le_bytes());
    }
    bytes
}

/// The elements of a file in NumPy's format.
fn elements(folder: &Folder, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder.path(name)).unwrap();
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    bytes[10 + header..].to_vec()
}

#[test]
fn any_number_of_samples_gives_the_rows_of_each_alone() {
    let mut folder = digits();
    assert!(folder.run("inspect digits.cardinal").succeeds().contains("1 to 8"));
    let mut alone = Vec::new();
    for image in 0..8 {
        folder = folder.file("x1.npy", images(image, 1));
        folder.run("run digits.cardinal --input x1.npy --output y1.npy").succeeds();
        alone.extend(elements(&folder, "y1.npy"));
    }
    for count in 1..=8 {
        folder = folder.file("x.npy", images(0, count));
        folder.run("run digits.cardinal --input x.npy --output y.npy --threads 2").succeeds();
        let found = elements(&folder, "y.npy");
        assert_eq!(found.len(), count * 40);
        assert!(found == alone[..count * 40], "{count} images");
    }
    let said = folder.run("run digits.cardinal --input x9.npy").fails_with(2);
    assert!(said.contains("has 9 images") && said.contains("takes 1 to 8"), "{said}");
    assert!(said.contains("--batch 9"), "{said}");
}

/// The last images of a run are as many as there are.
#[test]
fn the_last_images_are_computed_alone() {
    let folder = digits();
    let pictures = root().join("examples/digits/images");
    let mut names: Vec<String> = std::fs::read_dir(&pictures)
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|name| name.ends_with(".png"))
        .collect();
    names.sort();
    let names = &names[..3];
    let run = |names: &[String]| {
        let names = names.join(" ");
        folder.run(&format!("run digits.cardinal {names} --output y.npy")).succeeds();
        elements(&folder, "y.npy")
    };
    let together = run(names);
    let alone: Vec<u8> = names.iter().flat_map(|name| run(std::slice::from_ref(name))).collect();
    assert_eq!(together, alone);
}

/// A file that fixes its batch gets another, which is checked; or it is said what stands in the way.
#[test]
fn a_fixed_batch_is_followed_or_the_node_in_the_way_named() {
    let tiny = root().join("compiler/tests/fixtures/tiny");
    let read = |name: &str| std::fs::read(tiny.join(name)).unwrap();
    let folder = Folder::new()
        .file("m.onnx", read("resnest_r2k1_avdlast.ts17.onnx"))
        .file("x.npy", read("resnest_r2k1_avdlast.in.npy"))
        .file("y.npy", read("resnest_r2k1_avdlast.out.npy"));
    let ran = folder.run("compile m.onnx --batch 4 -o m.cardinal");
    assert!(ran.stderr.contains("gets 4"), "{ran:?}");
    ran.succeeds();
    assert!(folder.run("inspect m.cardinal").succeeds().contains("1 to 4"));
    folder.run("verify m.onnx --batch 3 --input x.npy --expected y.npy --atol 2e-5").succeeds();
    let relinked = folder.run("relink --weights m.onnx m.cardinal -o again.cardinal");
    relinked.succeeds();
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(bytes("m.cardinal") == bytes("again.cardinal"), "other bytes after relinking");
}

/// Of a list the largest batch is what code is made for, which takes the others.
#[test]
fn a_list_of_batches_is_one_code() {
    let folder = digits();
    let ran = folder.run("compile digits.onnx --batch 1,8,3 -o list.cardinal");
    assert!(ran.stderr.contains("batches of 1 to 8"), "{ran:?}");
    ran.succeeds();
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(bytes("list.cardinal") == bytes("digits.cardinal"), "other bytes than of --batch 8");
    folder.run("compile digits.onnx --batch 1,0 -o none.cardinal").fails_with(2);
}
