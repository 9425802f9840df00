//! `score` with Parquet: what is written is read by the library's reader of rows, what is read was written
//! with its writer.
#![cfg(all(target_os = "linux", feature = "full"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod digits_folder;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Instant;

use common::moments::Moments;
use common::{Folder, command};
use digits_folder::{folder, lines, same};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

/// The rows of a Parquet file as JSON.
fn rows(path: &Path) -> Vec<Value> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect()
}

fn object(row: &Row) -> Value {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Int(number) => json!(number),
        Field::Float(number) => json!(number),
        Field::Double(number) => json!(number),
        Field::Str(text) => json!(text),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parquet_file_has_the_rows_of_the_json_lines() {
    let folder = folder(9);
    fs::write(folder.path("images/00004.png"), "soup").unwrap();
    fs::write(folder.path("labels"), "a\n\nc\nd\ne\nf\ng\nh\ni\nj\n").unwrap();
    for options in ["", "--top 2", "--labels labels", "--outputs logits"] {
        for name in ["r.jsonl", "r.parquet"] {
            let ran = folder.run(&format!("score m.cardinal images -o {name} {options}"));
            assert_eq!(ran.code, 5, "{ran:?}");
        }
        let expected = lines(&fs::read_to_string(folder.path("r.jsonl")).unwrap());
        let found = Value::Array(rows(&folder.path("r.parquet")));
        assert!(same(&found, &Value::Array(expected.clone())), "{options}: {found}");
        assert!(expected.len() == 9 && !expected[4]["error"].is_null());
    }
}

#[test]
fn no_rows_are_a_table_too() {
    let folder = folder(1).file("list", "");
    folder.run("score m.cardinal --files-from list -o r.parquet").succeeds();
    assert!(rows(&folder.path("r.parquet")).is_empty());
}

/// A killed run ends with the same file.
#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let folder = folder(400);
    let begin = Instant::now();
    folder.run("score m.cardinal images -o r.parquet").succeeds();
    let most = begin.elapsed();
    let whole = fs::read(folder.path("r.parquet")).unwrap();
    let mut moments = Moments::new();
    for _ in 0..6 {
        fs::remove_file(folder.path("r.parquet")).unwrap();
        let mut score = command(&folder.path(""), "score m.cardinal images -o r.parquet");
        let mut child = score.stderr(Stdio::null()).spawn().unwrap();
        sleep(moments.next(most));
        child.kill().unwrap();
        child.wait().unwrap();
        folder.run("score m.cardinal images -o r.parquet --threads 1").succeeds();
        assert!(fs::read(folder.path("r.parquet")).unwrap() == whole);
        assert_eq!(folder.names(), ["images", "m.cardinal", "r.parquet"]);
    }
}

/// Columns of texts or bytes, of which each is optional at every level of its path.
fn write(path: &Path, schema: &str, groups: &[Vec<Vec<Option<Vec<u8>>>>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut out = group.next_column().unwrap().unwrap();
            let typed = out.typed::<ByteArrayType>();
            let there = typed.get_descriptor().max_def_level();
            let levels: Vec<i16> =
                column.iter().map(|v| if v.is_some() { there } else { 0 }).collect();
            let values: Vec<ByteArray> =
                column.iter().flatten().map(|v| ByteArray::from(v.clone())).collect();
            typed.write_batch(&values, Some(&levels), None).unwrap();
            out.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn image(folder: &Folder, n: usize) -> Option<Vec<u8>> {
    Some(fs::read(folder.path(&format!("images/{n:05}.png"))).unwrap())
}

fn texts(texts: &[&str]) -> Vec<Option<Vec<u8>>> {
    texts.iter().map(|text| (!text.is_empty()).then(|| text.as_bytes().to_vec())).collect()
}

/// The rows of JSON Lines without their keys, and these.
fn apart(text: &str) -> (Vec<Value>, Vec<Value>) {
    let mut rows = lines(text);
    let keys = rows.iter_mut().map(|row| row.as_object_mut().unwrap().remove("key").unwrap());
    let keys = keys.collect();
    (rows, keys)
}

/// Structures with bytes and a path, as data sets of Hugging Face's have them, in two row groups.
#[test]
fn structures_of_images_give_what_the_folder_gives() {
    let folder = folder(40);
    let schema = "message m { optional group image { optional binary bytes; optional binary path (STRING); } }";
    let group = |range: std::ops::Range<usize>| {
        let paths: Vec<String> = range.clone().map(|n| format!("{n}.png")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        vec![range.map(|n| image(&folder, n)).collect(), texts(&paths)]
    };
    write(&folder.path("x.parquet"), schema, &[group(0..17), group(17..40)]);
    let score = |input: &str| folder.run(&format!("score m.cardinal {input} -o -")).succeeds();
    let (found, keys) = apart(&score("x.parquet"));
    assert_eq!(found, apart(&score("images")).0);
    assert_eq!(keys, (0..40).map(|n| format!("{n}.png")).collect::<Vec<_>>());
    let shards: String = (1..=3).map(|i| score(&format!("x.parquet --shard {i}/3"))).collect();
    assert_eq!(shards, score("x.parquet"));
}

#[test]
fn columns_of_bytes_may_have_any_name_and_miss_values() {
    let folder = folder(3);
    let schema = "message m { optional binary id (STRING); optional binary picture; }";
    let images = vec![image(&folder, 0), None, image(&folder, 2)];
    write(&folder.path("x.parquet"), schema, &[vec![texts(&["a", "", "c"]), images]]);
    let score = "score m.cardinal x.parquet -o - --image-column picture";
    let (images, _) = apart(&folder.run("score m.cardinal images -o -").succeeds());
    for (options, expected) in [
        ("--key-column id", ["a", "x.parquet#1", "c"]),
        ("", ["x.parquet#0", "x.parquet#1", "x.parquet#2"]),
    ] {
        let ran = folder.run(&format!("{score} {options}"));
        assert_eq!(ran.code, 5, "{ran:?}");
        let (rows, keys) = apart(&ran.stdout);
        assert_eq!(keys, expected);
        assert_eq!((&rows[0], &rows[2]), (&images[0], &images[2]));
        assert!(rows[1]["error"].as_str().unwrap().contains("there is no image in it"));
    }
    let said = folder.run("score m.cardinal x.parquet -o -").fails_with(2);
    assert!(said.contains("it has id, picture") && said.contains("--image-column"), "{said}");
    folder.run(&format!("{score} --key-column no")).fails_with(2);
}

/// Whatever byte is wrong: rows, errors in rows, or a refusal, never a crash.
#[test]
fn damaged_files_are_errors() {
    let folder = folder(3);
    let schema = "message m { optional binary key (STRING); optional binary image; }";
    let images = (0..3).map(|n| image(&folder, n)).collect();
    write(&folder.path("good.parquet"), schema, &[vec![texts(&["a", "b", "c"]), images]]);
    let good = fs::read(folder.path("good.parquet")).unwrap();
    let mut refused = 0;
    for place in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[place] ^= 0x55;
        fs::write(folder.path("x.parquet"), &bad).unwrap();
        let ran = folder.run("score m.cardinal x.parquet -o -");
        assert!([0, 2, 5].contains(&ran.code), "byte {place}: {ran:?}");
        assert!(!ran.stderr.contains("internal error"), "byte {place}: {ran:?}");
        refused += usize::from(ran.code != 0);
    }
    assert!(refused > 0);
    fs::write(folder.path("x.parquet"), &good[..good.len() / 2]).unwrap();
    folder.run("score m.cardinal x.parquet -o r.csv").fails_with(5);
}

/// On files of the names that it uses.
#[test]
fn the_commands_of_the_readme_run() {
    let folder = folder(12);
    let schema = "message m { optional binary key (STRING); optional binary image; }";
    let images = (0..3).map(|n| image(&folder, n)).collect();
    write(&folder.path("train.parquet"), schema, &[vec![texts(&["a", "b", "c"]), images]]);
    fs::create_dir(folder.path("shards")).unwrap();
    let tar = File::create(folder.path("shards/0.tar")).unwrap();
    tar::Builder::new(tar).append_dir_all("", folder.path("images")).unwrap();
    fs::rename(folder.path("images"), folder.path("photos")).unwrap();
    fs::rename(folder.path("m.cardinal"), folder.path("resnest50d.cardinal")).unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once("\n## Many images\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    assert!(commands.lines().count() >= 3, "{commands}");
    let programs = Path::new(env!("CARGO_BIN_EXE_cardinal")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path("")).args(["-e", "-c", commands]).env("PATH", path);
    let ran = shell.output().unwrap();
    assert!(ran.status.success(), "{commands}: {}", String::from_utf8_lossy(&ran.stderr));
    let table = fs::read_to_string(folder.path("results.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 2 * 12);
}
