//! `score`: what it writes is what `run` says, however it is interrupted, cut into parts, and given images.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod digits_folder;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::moments::Moments;
use common::{Folder, command};
use digits_folder::{folder, json, lines, model, same};
use serde_json::Value;

/// What `run` says of images, by their names.
fn expected(folder: &Folder, images: &str) -> Vec<Value> {
    let ran = folder.run(&format!("run m.cardinal {images} --json")).succeeds();
    json(&ran)["results"].as_array().unwrap().clone()
}

/// Checks that a row has what `run` says.
fn assert_same(row: &Value, result: &Value) {
    let top = result["top"].as_array().unwrap();
    let best = [("class", "index"), ("score", "probability"), ("label", "label")];
    for (column, field) in best {
        assert_eq!(row[column], top[0][field], "{row} {result}");
        let all: Vec<&Value> = row["top"].as_array().unwrap().iter().map(|c| &c[column]).collect();
        assert_eq!(all, top.iter().map(|class| &class[field]).collect::<Vec<_>>());
    }
    assert_eq!(row["error"], Value::Null);
}

#[test]
fn rows_are_what_run_says_in_the_order_of_the_inputs() {
    let folder = folder(20);
    let images: Vec<String> = (0..20).map(|n| format!("images/{n:05}.png")).collect();
    let results = expected(&folder, &images.join(" "));
    for threads in [1, 2, 5] {
        let score = format!("score m.cardinal images -o r.jsonl --threads {threads}");
        folder.run(&score).succeeds();
        let rows = lines(&fs::read_to_string(folder.path("r.jsonl")).unwrap());
        assert_eq!(rows.len(), 20);
        for ((row, result), image) in rows.iter().zip(&results).zip(&images) {
            assert_eq!(row["key"], image.as_str());
            assert_same(row, result);
        }
        assert!(!folder.names().contains(&"r.jsonl.journal".to_owned()));
    }
    let piped = folder.run("score m.cardinal images -o - --quiet");
    assert_eq!(piped.stdout, fs::read_to_string(folder.path("r.jsonl")).unwrap());
    assert!(piped.stderr.is_empty(), "{piped:?}");
}

#[test]
fn csv_has_the_same_values() {
    let folder = folder(3);
    folder.run("score m.cardinal images -o r.jsonl --top 2").succeeds();
    folder.run("score m.cardinal images -o r.csv --top 2").succeeds();
    let rows = lines(&fs::read_to_string(folder.path("r.jsonl")).unwrap());
    let csv = fs::read_to_string(folder.path("r.csv")).unwrap();
    let mut csv = csv.lines();
    assert_eq!(csv.next(), Some("key,class,score,label,top,error"));
    for (line, row) in csv.by_ref().zip(&rows) {
        let (short, rest) = line.split_once(",\"").unwrap();
        let fields: Vec<&str> = short.split(',').collect();
        let [key, class, score, label] = *fields else { panic!("{line}") };
        assert_eq!((key, label), (row["key"].as_str().unwrap(), row["label"].as_str().unwrap()));
        assert!(same(&json(class), &row["class"]) && same(&json(score), &row["score"]), "{line}");
        let top = rest.strip_suffix("\",").unwrap().replace("\"\"", "\"");
        assert!(same(&json(&top), &row["top"]), "{line}");
    }
    assert_eq!(csv.count(), 0);
}

#[test]
fn logits_are_the_output_of_run() {
    let folder = folder(2);
    folder.run("score m.cardinal images -o r.jsonl --outputs logits").succeeds();
    let all = "run m.cardinal images/00000.png images/00001.png -o y.npy";
    folder.run(all).succeeds();
    let bytes = fs::read(folder.path("y.npy")).unwrap();
    let (words, _) = bytes[bytes.len() - 80..].as_chunks::<4>();
    let expected: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let rows = lines(&fs::read_to_string(folder.path("r.jsonl")).unwrap());
    let found = rows.iter().flat_map(|row| row["logits"].as_array().unwrap());
    let found: Vec<f32> = found.map(|value| value.as_f64().unwrap() as f32).collect();
    assert_eq!(found, expected);
    assert_eq!(rows[0].as_object().unwrap().len(), 3);
}

#[test]
fn bad_images_are_rows_with_errors_and_the_others_are_right() {
    let folder = folder(7);
    folder.run(&format!("compile {} --batch 3 -o three.cardinal", model())).succeeds();
    let models = ["m.cardinal", "three.cardinal"];
    // For other batches other code may round otherwise.
    let good = models.map(|model| folder.run(&format!("score {model} images -o -")).succeeds());
    let image = fs::read(folder.path("images/00001.png")).unwrap();
    fs::write(folder.path("images/00001.png"), &image[..image.len() / 2]).unwrap();
    fs::write(folder.path("images/00002.png"), "soup").unwrap();
    let list = (0..7).map(|n| format!("images/{n:05}.png\n")).collect::<String>() + "no.png\n";
    fs::write(folder.path("list"), list).unwrap();
    fs::write(folder.path("images/00006.png"), "").unwrap();
    for (model, good) in models.iter().zip(&good) {
        let good = lines(good);
        let ran = folder.run(&format!("score {model} --files-from list -o r.jsonl"));
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.stderr.contains("error: 4 of 8 images have no result"), "{ran:?}");
        let rows = lines(&fs::read_to_string(folder.path("r.jsonl")).unwrap());
        assert_eq!(rows.len(), 8);
        for (n, row) in rows.iter().enumerate() {
            if [1, 2, 6, 7].contains(&n) {
                let (error, key) = (row["error"].as_str().unwrap(), row["key"].as_str().unwrap());
                assert!(error.contains(&format!("cannot read `{key}`")), "{row}");
                assert!(
                    ["class", "score", "label", "top"].iter().all(|c| row[c].is_null()),
                    "{row}"
                );
            } else {
                assert_eq!(*row, good[n]);
            }
        }
    }
}

#[test]
fn shards_together_are_the_whole() {
    let folder = folder(11);
    folder.run(&format!("compile {} --batch 2 -o two.cardinal", model())).succeeds();
    for model in ["m.cardinal", "two.cardinal"] {
        folder.run(&format!("score {model} images -o whole.jsonl")).succeeds();
        let mut parts = String::new();
        for shard in 1..=4 {
            let output = format!("part{shard}.jsonl");
            folder.run(&format!("score {model} images -o {output} --shard {shard}/4")).succeeds();
            parts += &fs::read_to_string(folder.path(&output)).unwrap();
        }
        assert_eq!(parts, fs::read_to_string(folder.path("whole.jsonl")).unwrap());
    }
    folder.run("score m.cardinal images -o r.jsonl --shard 5/4").fails_with(2);
}

/// Rows without their keys.
fn without_keys(text: &str) -> Vec<Value> {
    let mut rows = lines(text);
    rows.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("key")));
    rows
}

#[test]
fn a_tar_archive_gives_what_the_folder_gives() {
    let folder = folder(6);
    let mut tar = tar::Builder::new(fs::File::create(folder.path("x.tar")).unwrap());
    for n in 0..6 {
        let name = format!("images/{n:05}.png");
        tar.append_path_with_name(folder.path(&name), format!("{n:05}.left.png")).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, format!("{n:05}.cls"), &b"7"[..]).unwrap();
    }
    tar.finish().unwrap();
    let score = |input: &str| folder.run(&format!("score m.cardinal {input} -o -")).succeeds();
    let (archive, images) = (score("x.tar"), score("images"));
    assert_eq!(without_keys(&archive), without_keys(&images));
    let keys: Vec<Value> = lines(&archive).iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, (0..6).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    assert_eq!(
        score("x.tar --shard 2/3"),
        archive.lines().skip(2).take(2).map(|l| l.to_owned() + "\n").collect::<String>()
    );
    // Cut in the middle, it has the images before that, and a row that says so.
    let whole = fs::read(folder.path("x.tar")).unwrap();
    fs::write(folder.path("x.tar"), &whole[..whole.len() / 2]).unwrap();
    let ran = folder.run("score m.cardinal x.tar -o -");
    let rows = lines(&ran.stdout);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(rows.len() < 6 && !rows.last().unwrap()["error"].is_null(), "{rows:?}");
    assert_eq!(rows[..rows.len() - 1], lines(&archive)[..rows.len() - 1]);
}

#[test]
fn the_same_image_twice_is_two_rows_and_no_images_are_none() {
    let folder = folder(1).file("empty", "\n");
    let text = folder.run("score m.cardinal images/00000.png images -o -").succeeds();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows.len() == 2 && rows[0] == rows[1], "{text}");
    folder.run("score m.cardinal --files-from empty -o r.csv").succeeds();
    let text = fs::read_to_string(folder.path("r.csv")).unwrap();
    assert_eq!(text, "key,class,score,label,top,error\n");
    folder.run("score m.cardinal images -o r.jsonl --shard 1/2").succeeds();
    assert_eq!(fs::read_to_string(folder.path("r.jsonl")).unwrap(), "");
    fs::create_dir(folder.path("none")).unwrap();
    for input in ["none", "*.gif"] {
        folder.run(&format!("score m.cardinal {input} -o r.csv")).fails_with(2);
    }
}

#[test]
fn what_cannot_be_is_found_before_the_first_inference() {
    let folder = folder(1);
    for (arguments, code) in [
        ("m.cardinal images -o r.txt", 2),
        ("m.cardinal images -o r", 2),
        ("m.cardinal images -o images/00000.png", 2),
        ("m.cardinal -o r.csv", 2),
        ("no.cardinal images -o no/r.csv", 5),
        ("m.cardinal images -o m.cardinal/r.csv", 5),
        ("- --files-from - -o r.csv", 2),
        ("m.cardinal images -o r.csv --labels images/00000.png", 5),
    ] {
        folder.run(&format!("score {arguments}")).fails_with(code);
    }
    if cfg!(not(feature = "full")) {
        for arguments in ["images -o r.parquet", "x.parquet -o r.csv"] {
            let said = folder.run(&format!("score m.cardinal {arguments}")).fails_with(2);
            assert!(said.contains("--features full"), "{said}");
        }
    }
    assert_eq!(folder.names(), ["images", "m.cardinal"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = folder(3);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut score = command(&folder.path(""), "score m.cardinal images -o - -q");
    let ended = score.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

fn start(folder: &Folder, arguments: &str) -> Child {
    let mut command = command(&folder.path(""), arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// After SIGKILL at any moment the same command goes on, on any number of threads, and ends with the same
/// bytes; under its final name there is nothing before.
#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_bytes() {
    let folder = folder(600);
    let score = "score m.cardinal images -o r.jsonl --threads";
    let begin = Instant::now();
    folder.run(&format!("{score} 2")).succeeds();
    let most = begin.elapsed();
    let whole = fs::read(folder.path("r.jsonl")).unwrap();
    let mut moments = Moments::new();
    let mut went_on = 0;
    for round in 0..20 {
        fs::remove_file(folder.path("r.jsonl")).unwrap();
        // Twice in half of the rounds.
        for _ in 0..=round % 2 {
            let mut child = start(&folder, &format!("{score} {}", 1 + round % 3));
            sleep(moments.next(most));
            child.kill().unwrap();
            child.wait().unwrap();
            if let Ok(found) = fs::read(folder.path("r.jsonl")) {
                assert!(found == whole, "half an output in round {round}");
            }
        }
        let ran = folder.run(&format!("{score} 2"));
        went_on += usize::from(ran.stderr.contains("going on after"));
        ran.succeeds();
        assert!(fs::read(folder.path("r.jsonl")).unwrap() == whole, "other bytes in round {round}");
        assert_eq!(folder.names(), ["images", "m.cardinal", "r.jsonl"]);
    }
    println!(
        "trust: runs of score killed and gone on with to the same bytes | 20, {went_on} of them from a journal"
    );
    assert!(went_on > 0);
}

#[test]
fn interrupted_runs_keep_their_journal() {
    let folder = folder(600);
    for (signal, number) in [("INT", libc::SIGINT), ("TERM", libc::SIGTERM)] {
        let child = start(&folder, "score m.cardinal images -o r.jsonl");
        let journal = folder.path("r.jsonl.journal");
        let deadline = Instant::now() + Duration::from_secs(60);
        // Longer than its first record: some rows are there.
        while fs::metadata(&journal).map_or(0, |about| about.len()) < 500 {
            assert!(Instant::now() < deadline, "no rows are there");
            sleep(Duration::from_millis(1));
        }
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait_with_output().unwrap().status;
        if status.success() {
            continue; // It was faster.
        }
        assert_eq!(status.signal(), Some(number));
        assert_eq!(folder.names(), ["images", "m.cardinal", "r.jsonl.journal"]);
        let ran = folder.run("score m.cardinal images -o r.jsonl");
        assert!(ran.stderr.contains("going on after"), "{ran:?}");
        ran.succeeds();
        fs::remove_file(folder.path("r.jsonl")).unwrap();
    }
}

#[test]
fn a_journal_of_something_else_is_refused() {
    let folder = folder(600);
    let mut child = start(&folder, "score m.cardinal images -o r.jsonl");
    while fs::metadata(folder.path("r.jsonl.journal")).map_or(0, |about| about.len()) < 500 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was killed");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for other in ["--top 1", "--outputs logits", "--shard 1/2", "--mean 0.4"] {
        let said = folder.run(&format!("score m.cardinal images -o r.jsonl {other}")).fails_with(2);
        assert!(said.contains("rm `r.jsonl.journal`"), "{said}");
    }
    fs::rename(folder.path("images/00000.png"), folder.path("images/9.png")).unwrap();
    let said = folder.run("score m.cardinal images -o r.jsonl").fails_with(2);
    assert!(said.contains("other images"), "{said}");
    fs::rename(folder.path("images/9.png"), folder.path("images/00000.png")).unwrap();
    folder.run("score m.cardinal images -o r.jsonl").succeeds();
}

#[test]
fn bench_says_what_to_expect() {
    let folder = folder(3);
    let bench = "bench m.cardinal --iterations 1 --images images";
    let report = json(&folder.run(&format!("{bench} --json")).succeeds());
    let number = |name: &str| report["images"][name].as_f64().unwrap();
    let (decode, inference) = (number("decode_per_second"), number("inference_per_second"));
    let predicted = 1. / (1. / decode + 1. / inference);
    assert!((number("predicted_per_second") / predicted - 1.).abs() < 1e-6, "{report}");
    assert!((number("decode_share") - predicted / decode).abs() < 1e-6, "{report}");
    assert_eq!(report["images"]["count"], 3);
    let text = folder.run(bench).succeeds();
    assert!(text.contains("images/s to expect of `cardinal score`"), "{text}");
}
