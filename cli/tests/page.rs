//! `cardinal inspect --format html` and `--format svg`: that they are true, and that names stay text. How pages
//! look and act is what `scripts/page.py` checks in a browser.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use common::{Folder, onnx};
use serde_json::Value;

/// Where schedules and plans are the same on every machine.
const CPU: &str = "--cpu x86-64-v3";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder with the digits model.
fn folder() -> Folder {
    with(&root().join("examples/digits/mnist_resnest.onnx"))
}

fn with(model: &Path) -> Folder {
    Folder::new().file("m.onnx", fs::read(model).unwrap())
}

/// Small models of every kind: spellings of attention, of exporters, with more groups than one.
fn models() -> Vec<PathBuf> {
    let fixtures = root().join("compiler/tests/fixtures");
    let mut all = vec![root().join("examples/digits/mnist_resnest.onnx")];
    for kind in ["branches", "tiny"] {
        let entries = fs::read_dir(fixtures.join(kind)).unwrap().map(|entry| entry.unwrap().path());
        all.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "onnx")));
    }
    all.sort();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// What the page's script reads.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// The units of a view, in order.
fn units(view: &Value) -> Vec<&Value> {
    let stages = view["stages"].as_array().unwrap().iter();
    let runs = stages.flat_map(|stage| stage["runs"].as_array().unwrap());
    runs.flat_map(|run| run.as_array().unwrap()).collect()
}

/// The edges of a graph between nodes that are no weights, as numbers of nodes.
fn edges(graph: &Value) -> BTreeSet<(usize, usize)> {
    let nodes = graph["nodes"].as_array().unwrap();
    let of_name: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(i, node)| (node["name"].as_str().unwrap(), i)).collect();
    let reads = |(to, node): (usize, &Value)| {
        let operands = texts(&node["operands"]).into_iter().map(|name| of_name[name]);
        let operands = operands.filter(|from| nodes[*from]["op"] != "weight");
        operands.map(move |from| (from, to)).collect::<Vec<_>>()
    };
    nodes.iter().enumerate().flat_map(reads).collect()
}

/// Each node in one unit and with one box, and every edge in the drawing of the unit that it ends in.
fn assert_complete(view: &Value) {
    let nodes = view["graph"]["nodes"].as_array().unwrap();
    let wanted: Vec<usize> = (0..nodes.len()).filter(|i| nodes[*i]["op"] != "weight").collect();
    let mut told: Vec<usize> =
        units(view).iter().flat_map(|unit| numbers(&unit["nodes"])).collect();
    told.sort_unstable();
    assert_eq!(told, wanted);
    let all = edges(&view["graph"]);
    for unit in units(view) {
        let inner = numbers(&unit["nodes"]);
        let wanted: BTreeSet<_> =
            all.iter().copied().filter(|(_, to)| inner.contains(to)).collect();
        if inner.len() == 1 {
            continue;
        }
        let shapes = unit["scene"]["shapes"].as_array().unwrap();
        let drawn = shapes.iter().filter(|shape| shape["ends"].is_array());
        let drawn: Vec<_> = drawn.map(|shape| numbers(&shape["ends"])).collect();
        let distinct: BTreeSet<_> = drawn.iter().map(|ends| (ends[0], ends[1])).collect();
        assert_eq!((distinct.len(), &distinct), (drawn.len(), &wanted), "{unit}");
        let boxes = shapes.iter().filter(|shape| shape["box"] != "source");
        let boxes = boxes.filter_map(|shape| shape["node"].as_u64());
        let mut boxes: Vec<usize> = boxes.map(|n| n as usize).collect();
        boxes.sort_unstable();
        let mut inner = inner;
        inner.sort_unstable();
        assert_eq!(boxes, inner, "{unit}");
        assert_apart(shapes);
    }
}

/// No two boxes of nodes overlap.
fn assert_apart(shapes: &[Value]) {
    let boxes = shapes.iter().filter(|shape| shape["node"].is_u64());
    let boxes: Vec<Vec<usize>> = boxes.map(|shape| numbers(&shape["at"])).collect();
    for (i, a) in boxes.iter().enumerate() {
        for b in &boxes[i + 1..] {
            let beside =
                |axis: usize| a[axis] + a[axis + 2] <= b[axis] || b[axis] + b[axis + 2] <= a[axis];
            assert!(beside(0) || beside(1), "{a:?} overlaps {b:?}");
        }
    }
}

#[test]
fn a_page_shows_every_node_once_and_every_edge() {
    for model in models() {
        let folder = with(&model);
        let page = folder.run(&format!("inspect m.onnx --format html {CPU}")).succeeds();
        let data = data(&page);
        for stage in ["import", "fused"] {
            let graph =
                folder.run(&format!("inspect m.onnx --format json --stage {stage}")).succeeds();
            let graph: Value = serde_json::from_str(&graph).unwrap();
            assert_eq!(data["views"][stage]["graph"], graph, "{}", model.display());
            assert_complete(&data["views"][stage]);
        }
    }
}

#[test]
fn a_page_says_what_the_other_formats_say() {
    let folder = folder();
    let data = data(&folder.run(&format!("inspect m.onnx --format html {CPU}")).succeeds());
    let json = |arguments: &str| -> Value {
        let text = folder.run(&format!("inspect m.onnx --format json {arguments}")).succeeds();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(data["schedule"], json(&format!("--stage schedule {CPU}")));
    let plan = json(&format!("--stage plan {CPU}"));
    for key in ["arena_bytes", "worker_bytes", "weight_bytes", "stages"] {
        assert_eq!(data["plan"][key], plan[key]);
    }
    let buffers = plan["buffers"].as_array().unwrap().iter();
    let buffers: Vec<Value> = buffers
        .map(|b| {
            serde_json::json!([b["name"], b["bytes"], b["offset"], b["live"][0], b["live"][1]])
        })
        .collect();
    assert_eq!(data["plan"]["buffers"], Value::from(buffers));
    let passes = json("--passes");
    let (shown, listed) =
        (data["passes"].as_array().unwrap(), passes["passes"].as_array().unwrap());
    assert_eq!(shown.len(), listed.len());
    for (shown, listed) in shown.iter().zip(listed) {
        assert_eq!(shown["name"], listed["name"]);
        assert_eq!(
            [&shown["before"], &shown["after"]],
            [&listed["nodes_before"], &listed["nodes_after"]]
        );
        assert_eq!(shown["operators"][1], listed["operators_after"]);
        assert_balanced(shown);
    }
    let misses = json("--why")["near_misses"].as_array().unwrap().len();
    let shown = shown.iter().map(|pass| pass["near_misses"].as_array().unwrap().len());
    assert_eq!(shown.sum::<usize>(), misses);
}

/// A pass's rewrites remove and make as many operators as there are fewer and more after it.
fn assert_balanced(pass: &Value) {
    let changes = pass["changes"].as_array().unwrap();
    let operators = |key: &str| {
        let nodes = changes.iter().flat_map(|change| change[key].as_array().unwrap());
        nodes.filter(|node| node[0] != "weight").count() as i64
    };
    let difference = pass["after"].as_i64().unwrap() - pass["before"].as_i64().unwrap();
    assert_eq!(operators("made") - operators("removed"), difference, "{}", pass["name"]);
}

/// Multiply-adds, counted by hand.
#[test]
fn a_page_says_how_much_work_nodes_are() {
    let data = data(&folder().run(&format!("inspect m.onnx --format html {CPU}")).succeeds());
    let view = &data["views"]["fused"];
    let nodes = view["graph"]["nodes"].as_array().unwrap();
    for (name, work) in [
        // 14x14 pixels of 8 channels, each of 3x3 pixels of 1 channel.
        ("/conv1/conv1.2/Relu_output_0", 14 * 14 * 8 * 9),
        // 7x7 pixels of 32 channels, each of 3x3 pixels of the 8 channels of its group.
        ("/layer1/layer1.0/conv2/act0/Relu_output_0", 7 * 7 * 32 * 9 * 8),
        // Dense layers from 16 to 32 and to 2 x 16, and a product for each of 32 channels' 7x7 pixels.
        ("/layer1/layer1.0/conv2/ReduceSum_1_output_0", 16 * 32 + 32 * 32 + 32 * 7 * 7),
        ("/maxpool/MaxPool_output_0", 0),
        ("output", 192 * 10),
    ] {
        let number = nodes.iter().position(|node| node["name"] == name).unwrap();
        assert_eq!(view["boxes"][number]["work"], work, "{name}");
    }
}

#[test]
fn names_do_not_become_markup() {
    let folder = Folder::new();
    let evil = "</script><img onerror=alert(1)>\u{2028}\u{1b}[31m<!-- script --><!--";
    let nodes = vec![
        onnx::node("Relu", &["x"], evil),
        onnx::node("Exp", &[evil], "e"),
        onnx::node("Add", &["e", evil], "y"),
    ];
    onnx::write(&folder.path("m.onnx"), &[1, 2, 3, 3], nodes, &[], |_, _| 0.0).unwrap();
    let page = folder.run("inspect m.onnx --format html").succeeds();
    for markup in ["<img", "<!--", "\u{2028}", "\u{1b}", "onerror=alert(1)>"] {
        assert!(!page.contains(markup), "{markup:?} is on the page");
    }
    assert_eq!(page.matches("</script>").count(), 2);
    let imported = data(&page)["views"]["import"]["graph"].clone();
    // Names are as they are printed.
    let shown = cardinal_runtime::text::line(evil);
    assert!(shown.contains("\\u{1b}"), "{shown}");
    assert!(imported["nodes"].as_array().unwrap().iter().any(|node| node["name"] == *shown));
    let svg = folder.run_node(evil);
    assert!(!svg.contains("<img") && !svg.contains('\u{1b}') && svg.contains("&lt;img"), "{svg}");
}

impl Folder {
    /// The drawing of a node whose name may have spaces in it.
    fn run_node(&self, name: &str) -> String {
        let arguments =
            ["inspect", "m.onnx", "--stage", "import", "--format", "svg", "--node", name];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_cardinal"))
            .args(arguments)
            .current_dir(self.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_page_opens_where_it_is_asked_to() {
    let folder = folder();
    let open = |arguments: &str| {
        let page = folder.run(&format!("inspect m.onnx --format html {arguments}")).succeeds();
        let open = data(&page)["open"].clone();
        [open["tab"].clone(), open["pass"].clone(), open["node"].clone()]
            .map(|v| v.as_str().unwrap_or("").to_owned())
    };
    assert_eq!(open(""), ["fused", "", ""]);
    assert_eq!(open("--stage plan"), ["plan", "", ""]);
    assert_eq!(open("--after split_attention"), ["passes", "split_attention", ""]);
    assert_eq!(open("--passes"), ["passes", "", ""]);
    let attention = "/layer1/layer1.0/conv2/ReduceSum_1_output_0";
    for name in [attention, "/layer1/layer1.0/conv2/rsoftmax/Softmax", "split_attention"] {
        assert_eq!(open(&format!("--node {name}")), ["fused", "", attention]);
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_with_advice() {
    let folder = folder();
    let said = folder.run("inspect m.onnx --format svg --node soup").fails_with(2);
    assert!(said.contains("`soup`") && said.contains("help:"), "{said}");
    folder.run("inspect m.onnx --format html --node soup").fails_with(2);
    folder.run("compile m.onnx -o m.cardinal --cpu x86-64-v3").succeeds();
    folder.run("inspect m.cardinal --format svg --node soup").fails_with(2);
    folder.run("inspect m.cardinal --format html --node soup").fails_with(2);
    for what in ["--stage import", "--passes", "--after split_attention", "--why"] {
        let said = folder.run(&format!("inspect m.cardinal --format html {what}")).fails_with(2);
        assert!(said.contains("inspect the .onnx") && said.contains("not in it"), "{said}");
    }
}

/// An artifact's page is that of its .onnx, but for what came before the graph that it holds, and candidates.
#[test]
fn a_page_of_an_artifact_shows_what_it_holds() {
    for model in models() {
        let folder = with(&model);
        folder.run(&format!("compile m.onnx -o m.cardinal {CPU}")).succeeds();
        let page = |file: &str, options: &str| {
            data(&folder.run(&format!("inspect {file} --format html {options}")).succeeds())
        };
        let (shown, of_onnx) = (page("m.cardinal", ""), page("m.onnx", CPU));
        assert_complete(&shown["views"]["fused"]);
        // Nodes are in the order of the text that the artifact has.
        let boxes = |data: &Value| {
            let boxes = data["views"]["fused"]["boxes"].as_array().unwrap().iter();
            let said = boxes.map(|b| format!("{} {} {}", b["class"], b["lines"], b["work"]));
            let mut said: Vec<String> = said.collect();
            said.sort_unstable();
            said
        };
        assert!(boxes(&shown) == boxes(&of_onnx), "{}", model.display());
        assert!(shown["plan"] == of_onnx["plan"] && shown["cpu"] == of_onnx["cpu"]);
        let json = |stage: &str| -> Value {
            let text = folder.run(&format!("inspect m.cardinal --stage {stage} --json")).succeeds();
            serde_json::from_str(&text).unwrap()
        };
        assert!(shown["views"]["fused"]["graph"] == json("fused"), "{}", model.display());
        assert!(shown["schedule"] == json("schedule"), "{}", model.display());
        assert!(shown["views"]["import"].is_null() && shown["passes"].is_null());
        assert_eq!(shown["open"]["tab"], "fused");
        assert_eq!(page("m.cardinal", "--stage plan")["open"]["tab"], "plan");
    }
}

#[test]
fn drawings() {
    let folder = folder();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, arguments) in
            [("network", ""), ("attention", "--node split_attention"), ("block", "--node conv")]
        {
            let svg = folder.run(&format!("inspect m.onnx --format svg {arguments}")).succeeds();
            insta::assert_snapshot!(format!("digits-{name}@svg"), svg);
        }
        let page = folder.run(&format!("inspect m.onnx --format html {CPU}")).succeeds();
        insta::assert_snapshot!("digits@page", lines(&data(&page)));
    });
}

/// Data with a line for each unit, pass and other part, without what other formats give too.
fn lines(data: &Value) -> String {
    let mut text = format!("{}\n{}\n{}\n", data["file"], data["cpu"], data["open"]);
    for (name, view) in data["views"].as_object().unwrap() {
        for unit in units(view) {
            text += &format!("{name} {unit}\n");
        }
    }
    for value in data["views"]["fused"]["boxes"].as_array().unwrap().iter().filter(|b| !b.is_null())
    {
        text += &format!("box {value}\n");
    }
    for pass in data["passes"].as_array().unwrap() {
        text += &format!("{} {}\n", pass["name"], pass["changes"]);
    }
    text + &format!("steps {}\n", data["plan"]["steps"])
}

/// The README's commands that draw, as they stand there but for the model.
#[test]
fn the_commands_of_the_readme_draw() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let commands =
        readme.lines().filter_map(|line| line.split('#').next()?.strip_prefix("cardinal "));
    let commands =
        commands.filter(|line| line.contains("--format html") || line.contains("--format svg"));
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        let (arguments, file) = command.split_once('>').unwrap();
        let arguments = arguments.trim().replace("MODEL.onnx", "m.onnx");
        let picture = folder().run(&arguments).succeeds();
        let begins = if file.trim().ends_with(".svg") { "<svg " } else { "<!doctype html>" };
        assert!(picture.starts_with(begins), "{command}: {picture:.80}");
    }
}

/// `scripts/pictures.sh` draws it.
#[test]
fn the_picture_of_the_book_is_what_is_drawn() {
    let folder = with(&root().join("compiler/tests/fixtures/tiny/resnest_r2k2_avdfirst.dyn.onnx"));
    let svg = folder.run("inspect m.onnx --format svg --node split_attention").succeeds();
    assert_eq!(svg, fs::read_to_string(root().join("docs/src/split_attention.svg")).unwrap());
}
