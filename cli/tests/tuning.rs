//! `compile --tune`. What is the fastest depends on the machine and on the hour: nothing here does.
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Folder, Ran, command};
use serde_json::Value;

/// A folder with the digits model, an image that shows a seven, and the classifier.
fn folder() -> Folder {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        ("digits.onnx", "../examples/digits/mnist_resnest.onnx"),
        ("seven.png", "../examples/digits/images/00000.png"),
        ("classifier.onnx", "tests/models/classifier.onnx"),
        ("x.npy", "tests/models/x.npy"),
        ("y.npy", "tests/models/y.npy"),
    ];
    files
        .iter()
        .fold(Folder::new(), |folder, (name, from)| folder.file(name, read(&here.join(from))))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

const TUNE: &str = "--tune --tune-cache tune.json --json";

/// Tunes, and gives what `--json` says of that.
fn tuned(folder: &Folder, arguments: &str) -> Value {
    let said = folder.run(&format!("compile {arguments} {TUNE}")).succeeds();
    let about: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(about["schema"], "cardinal.compile/v1");
    about["tune"].clone()
}

fn shows_a_seven(folder: &Folder, model: &str) {
    let said = folder.run(&format!("run {model} seven.png --top 1 --json")).succeeds();
    let about: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(about["results"][0]["top"][0]["index"], 7, "{said}");
}

#[test]
fn a_second_tuning_measures_nothing() {
    let folder = folder();
    let first = tuned(&folder, "digits.onnx -o first.cardinal");
    let kinds = first["cpus"][0]["measured"].as_u64().unwrap();
    assert!(kinds > 3, "{first}");
    assert_eq!(first["cpus"][0]["cached"], 0);
    assert_eq!((&first["threads"], &first["cache"]), (&1.into(), &"tune.json".into()));
    assert_eq!(first["warnings"], Value::Array(Vec::new()));
    let [estimate, now] = ["estimate_us", "tuned_us"].map(|key| first["cpus"][0][key].as_f64());
    assert!(now > Some(0.0) && now <= estimate, "{first}");
    shows_a_seven(&folder, "first.cardinal");

    let second = tuned(&folder, "digits.onnx -o second.cardinal");
    assert_eq!(second["cpus"][0]["measured"], 0, "{second}");
    assert_eq!(second["cpus"][0]["cached"], kinds);
    assert_eq!(second["cpus"][0]["changed"], first["cpus"][0]["changed"]);
    let [first, second] =
        ["first.cardinal", "second.cardinal"].map(|name| read(&folder.path(name)));
    assert!(first == second);

    // Other numbers of threads are other machines.
    let other = tuned(&folder, "digits.onnx --tune-threads 2 -o third.cardinal");
    assert_eq!((&other["threads"], &other["cpus"][0]["cached"]), (&2.into(), &0.into()));
    // Without tuning there is nothing to say of it.
    let plain = folder.run("compile digits.onnx -o plain.cardinal --json").succeeds();
    let plain: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(plain["tune"], Value::Null);
    assert_eq!(plain["output"], "plain.cardinal");
}

/// A network of another shape has other layers: those that both have are not measured again.
#[test]
fn only_what_the_cache_lacks_is_measured() {
    let folder = folder();
    let all = tuned(&folder, "digits.onnx -o m.cardinal");
    let text = std::fs::read_to_string(folder.path("tune.json")).unwrap();
    let mut cache: Value = serde_json::from_str(&text).unwrap();
    let machines = cache["machines"].as_object_mut().unwrap();
    let layers = machines.values_mut().next().unwrap().as_object_mut().unwrap();
    let forgotten: Vec<String> = layers.keys().step_by(2).cloned().collect();
    forgotten.iter().for_each(|key| drop(layers.remove(key)));
    std::fs::write(folder.path("tune.json"), cache.to_string()).unwrap();
    let rest = tuned(&folder, "digits.onnx -o m.cardinal");
    let count = |of: &Value, key: &str| of["cpus"][0][key].as_u64().unwrap() as usize;
    assert_eq!(count(&rest, "measured"), forgotten.len());
    assert_eq!(count(&rest, "cached"), count(&all, "measured") - forgotten.len());
}

#[test]
fn the_plan_says_what_is_tuned() {
    let folder = folder();
    tuned(&folder, "digits.onnx -o m.cardinal");
    let inspect = "inspect digits.onnx --stage plan";
    let plain = folder.run(inspect).succeeds();
    assert!(!plain.contains("tuned"), "{plain}");
    let ran = folder.run(&format!("{inspect} --tuned --tune-cache tune.json"));
    assert!(ran.stderr.contains("kinds of convolutions are tuned"), "{}", ran.stderr);
    let shown = ran.succeeds();
    let reasons: Vec<&str> = shown.lines().filter(|l| l.contains("why       \"tuned: ")).collect();
    assert!(reasons.len() > 3, "{shown}");
    for reason in reasons {
        assert!(reason.contains(" us, "), "{reason}");
    }
    // An empty cache changes nothing, and is not made.
    let ran = folder.run(&format!("{inspect} --tuned --tune-cache none.json"));
    assert!(ran.stderr.starts_with("0 of "), "{}", ran.stderr);
    assert_eq!(ran.succeeds(), plain);
    assert!(!folder.names().contains(&"none.json".to_owned()));
    let about = folder.run("inspect m.cardinal").succeeds();
    assert!(about.contains("\ntuned layers "), "{about}");
}

#[test]
fn results_are_right_in_every_kind_of_output() {
    let folder = folder();
    tuned(&folder, "classifier.onnx --batch 2 -o m.cardinal");
    let verify = "--input x.npy --expected y.npy --rtol 1e-5 --atol 0";
    folder.run(&format!("verify m.cardinal {verify}")).succeeds();
    tuned(&folder, "digits.onnx -o digits");
    let program = folder.path("digits");
    let said = std::process::Command::new(&program).arg("--selftest").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    // Its sample does not depend on what is tuned.
    tuned(&folder, "digits.onnx -o digits.o");
    assert!(folder.names().contains(&"digits.h".to_owned()));
}

#[test]
fn a_tuned_model_is_relinked_as_it_was_compiled() {
    // One bit of the weights: the middle of the file is in an initializer.
    let mut retrained =
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx"));
    let at = retrained.len() / 2;
    retrained[at] ^= 1;
    let folder = folder().file("new.onnx", retrained);
    tuned(&folder, "digits.onnx -o old.cardinal");
    let fresh = tuned(&folder, "new.onnx -o fresh.cardinal");
    assert_eq!(fresh["cpus"][0]["measured"], 0);
    folder.run("relink --weights new.onnx old.cardinal -o relinked.cardinal").succeeds();
    let [fresh, relinked] =
        ["fresh", "relinked"].map(|n| read(&folder.path(&format!("{n}.cardinal"))));
    assert!(fresh == relinked);
}

// ---- the cache -----------------------------------------------------------------------------------

/// Tunes the classifier, which is quick, and gives what is said on stderr.
fn tune_classifier(folder: &Folder, cache: &str) -> String {
    let ran =
        folder.run(&format!("compile classifier.onnx --tune --tune-cache {cache} -o m.cardinal"));
    assert_eq!(ran.code, 0, "{ran:?}");
    folder.run("inspect m.cardinal").succeeds();
    ran.stderr
}

#[test]
fn a_useless_cache_is_replaced_with_a_warning() {
    let folder = folder();
    let said = tune_classifier(&folder, "tune.json");
    assert!(!said.contains("warning") && said.contains("0 from the cache"), "{said}");
    let good = std::fs::read_to_string(folder.path("tune.json")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for (bad, why) in [
        (good[..good.len() / 2].to_owned(), "damaged"),
        (good.replace(version, "99.0.0"), "version 99.0.0 wrote it"),
        (good.replace("direct ", "directly "), "damaged"),
    ] {
        std::fs::write(folder.path("tune.json"), &bad).unwrap();
        let said = tune_classifier(&folder, "tune.json");
        assert!(
            said.contains("warning: the cache `tune.json` is ignored") && said.contains(why),
            "{said}"
        );
        assert!(said.contains("0 from the cache"), "{said}");
        let said = tune_classifier(&folder, "tune.json");
        assert!(
            !said.contains("warning") && said.contains(" 0 kinds of convolutions measured"),
            "{said}"
        );
    }
}

#[test]
fn no_other_file_is_taken_for_a_cache_or_lost() {
    let folder = folder().file("notes.txt", "precious").file("other.json", "{}");
    for name in ["notes.txt", "other.json", "classifier.onnx"] {
        let before = read(&folder.path(name));
        let tune = format!("compile classifier.onnx -o c.cardinal --tune --tune-cache {name}");
        let said = folder.run(&tune).fails_with(2);
        assert!(said.contains("is no cache of measurements"), "{said}");
        assert!(read(&folder.path(name)) == before, "{name}");
    }
    let tune = "compile classifier.onnx --tune --tune-cache tune.json -o tune.json --emit artifact";
    let said = folder.run(tune).fails_with(2);
    assert!(said.contains("is an input, and would be lost"), "{said}");
}

#[test]
fn where_nothing_can_be_kept_the_result_is_used_all_the_same() {
    let folder = folder();
    std::fs::create_dir(folder.path("folder")).unwrap();
    for place in ["no/such/tune.json", "x.npy/tune.json", "folder", "/proc/tune.json"] {
        let said = tune_classifier(&folder, place);
        assert!(
            said.contains("warning: measurements are not kept: cannot write"),
            "{place}: {said}"
        );
    }
    assert_eq!(folder.names().iter().filter(|n| n.starts_with(".cardinal-")).count(), 0);
}

#[test]
fn the_cache_is_where_caches_are() {
    let folder = folder();
    let tune = |variable: &str, value: &std::ffi::OsStr| {
        let mut tune = command(&folder.path(""), "compile classifier.onnx --tune -o m.cardinal");
        tune.env_remove("XDG_CACHE_HOME").env(variable, value);
        assert!(tune.output().unwrap().status.success());
    };
    let [xdg, home] = ["xdg", "home"].map(|name| folder.path(name));
    tune("XDG_CACHE_HOME", xdg.as_os_str());
    assert!(xdg.join("cardinal/tune.json").is_file());
    tune("HOME", home.as_os_str());
    assert!(home.join(".cache/cardinal/tune.json").is_file());
}

/// Whenever it is stopped, the cache is the old one or a new one, and the output there or not.
#[test]
fn stopping_leaves_no_half_of_anything() {
    let folder = folder();
    tune_classifier(&folder, "tune.json");
    let mut before = read(&folder.path("tune.json"));
    for wait in [0, 30, 100, 300] {
        let arguments = "compile digits.onnx --tune --tune-cache tune.json -o stopped.cardinal";
        let mut child = command(&folder.path(""), arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = read(&folder.path("tune.json"));
        let parsed: Value = serde_json::from_slice(&after).unwrap();
        assert!(after == before || parsed["schema"] == "cardinal.tune/v1");
        before = after;
        if folder.names().contains(&"stopped.cardinal".to_owned()) {
            folder.run("inspect stopped.cardinal").succeeds();
        }
    }
}

/// What its rounds have measured is kept, until the next tuning comes to its end.
#[test]
fn a_tuning_that_is_interrupted_goes_on_where_it_was() {
    let folder = folder();
    let arguments = "compile digits.onnx --tune --tune-cache tune.json -o m.cardinal";
    let mut child = command(&folder.path(""), arguments).spawn().unwrap();
    let kept = || -> Option<Value> {
        let text = std::fs::read(folder.path("tune.json")).ok()?;
        let cache: Value = serde_json::from_slice(&text).unwrap();
        cache["unfinished"].as_object()?.values().next().cloned()
    };
    let before = loop {
        if let Some(kept) = kept() {
            break kept;
        }
        assert!(child.try_wait().unwrap().is_none(), "it came to its end without keeping anything");
        std::thread::sleep(Duration::from_millis(5));
    };
    let interrupt = ["-INT".to_owned(), child.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert!(!folder.names().contains(&"m.cardinal".to_owned()));
    let layers = before.as_object().unwrap();
    assert!(layers.values().all(|layer| !layer["timings"].as_array().unwrap().is_empty()));

    folder.run(&format!("compile digits.onnx {TUNE} -o m.cardinal")).succeeds();
    assert_eq!(kept(), None, "all have winners");
}

// ---- what cannot be ------------------------------------------------------------------------------

#[test]
fn other_machines_are_not_tuned_for() {
    let folder = folder();
    for (target, cpu) in
        [("aarch64-unknown-linux-gnu", "generic"), ("x86_64-unknown-none", "x86-64")]
    {
        let tune =
            format!("compile digits.onnx --target {target} --cpu {cpu} --tune -o m.cardinal");
        let same = cardinal_runtime::cpu::matches_host(target);
        if !same {
            let said = folder.run(&tune).fails_with(2);
            assert!(said.contains("not tuned for") && said.contains(target), "{said}");
            assert!(said.contains("help: tune where the model will run"), "{said}");
        }
    }
    assert!(!folder.names().contains(&"m.cardinal".to_owned()));
}

/// Each CPU of an artifact for several is tuned by itself.
#[cfg(target_arch = "x86_64")]
#[test]
fn each_cpu_that_runs_here_is_tuned() {
    let folder = folder();
    let cpus = ["x86-64", "x86-64-v3", "x86-64-v4"];
    let target =
        |cpu: &str| cardinal_compiler::codegen::Target::named("x86_64-unknown-linux-gnu", cpu);
    let here = cardinal_runtime::cpu::host_features();
    let runs = |cpu: &&&str| {
        let target = target(cpu).unwrap();
        cardinal_runtime::cpu::missing_features(target.features(), &here).is_empty()
    };
    let expected: Vec<&&str> = cpus.iter().filter(runs).collect();
    let about = tuned(&folder, &format!("digits.onnx --cpu {} -o m.cardinal", cpus.join(",")));
    let all = about["cpus"].as_array().unwrap();
    let names: Vec<&str> = all.iter().map(|cpu| cpu["cpu"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
    assert_eq!(about["warnings"].as_array().unwrap().len(), cpus.len() - names.len());
    assert!(all.iter().all(|cpu| cpu["measured"].as_u64() > Some(0)), "{about}");
    for cpu in names {
        shows_a_seven(&folder, &format!("m.cardinal --isa {cpu}"));
    }
}

#[test]
fn command_lines_that_cannot_be_give_2() {
    let folder = folder();
    for arguments in [
        "compile digits.onnx --tune-cache tune.json",
        "compile digits.onnx --tune-threads 2",
        "compile digits.onnx --tune --tune-threads 0",
        "compile digits.onnx --tune --tune-cache -",
        "compile digits.onnx --tune --tune-cache tune.json --tune-threads 100000",
        "compile digits.onnx --json -o -",
        "inspect digits.onnx --tuned",
        "inspect digits.onnx --stage fused --tuned",
        "inspect digits.onnx --stage plan --tune-cache tune.json",
    ] {
        let ran: Ran = folder.run(arguments);
        ran.fails_with(2);
    }
    assert_eq!(folder.names().len(), 5, "{:?}", folder.names());
}
