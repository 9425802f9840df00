//! `serve`: every endpoint gives what `run` gives, and refuses garbage with a message.
#![cfg(all(target_os = "linux", feature = "full"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod digits_folder;
mod serving;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::Folder;
use digits_folder::{folder, json as parsed, model, same};
use serde_json::{Value, json};
use serving::{Reply, Server, asked, asked_in_binary, elements, floats};

const INFER: &str = "/v2/models/m/infer";
const CLASSIFY: &str = "/v2/models/m/classify";

/// A folder with inputs and outputs of `run` for so many images, in `x.npy` and `y.npy`.
fn folder_with_outputs(count: usize) -> Folder {
    let folder = folder(count);
    let images: Vec<String> = (0..count).map(|n| format!("images/{n:05}.png")).collect();
    let images = images.join(" ");
    folder.run(&format!("run m.cardinal {images} -q --dump-input x.npy -o y.npy")).succeeds();
    folder
}

#[test]
fn the_server_and_its_models_say_what_they_are() {
    let folder = folder(0);
    let name = "ein Modell é.cardinal";
    fs::copy(folder.path("m.cardinal"), folder.path(name)).unwrap();
    fs::rename(folder.path(name), folder.path("ein_Modell_é.cardinal")).unwrap();
    let server = Server::start(&folder, "m.cardinal ein_Modell_é.cardinal");
    let v2 = server.get("/v2").json();
    assert_eq!(
        (&v2["name"], &v2["extensions"]),
        (&json!("cardinal"), &json!(["binary_tensor_data"]))
    );
    assert_eq!(server.get("/v2/health/live").json(), json!({"live": true}));
    assert_eq!(server.get("/v2/health/ready").json(), json!({"ready": true}));
    for path in ["/v2/models/m", "/v2/models/m/versions/1"] {
        let said = server.get(path).json();
        let input = json!([{"name": "input", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]);
        assert_eq!((&said["name"], &said["versions"]), (&json!("m"), &json!(["1"])));
        assert_eq!(said["inputs"], input);
        assert_eq!(said["outputs"][0]["shape"], json!([-1, 10]));
        assert_eq!(
            server.get(&format!("{path}/ready")).json(),
            json!({"name": "m", "ready": true})
        );
    }
    let said = server.get("/v2/models/ein_Modell_%C3%A9").json();
    assert_eq!(said["name"], "ein_Modell_é");
    let index = server.post("/v2/repository/index", b"{}").json();
    assert_eq!(
        index[1],
        json!({"name": "ein_Modell_é", "version": "1", "state": "READY", "reason": ""})
    );
}

#[test]
fn inferences_have_the_bits_of_run() {
    let folder = folder_with_outputs(3);
    let server = Server::start(&folder, "m.cardinal");
    let (x, y) = (elements(&folder, "x.npy"), elements(&folder, "y.npy"));
    let shape = [3, 1, 28, 28];
    let flat = json!(floats(&x));
    let nested: Vec<Value> =
        floats(&x).chunks(784).map(|image| json!([image.chunks(28).collect::<Vec<_>>()])).collect();
    for data in [flat, json!(nested)] {
        let mut body = asked("input", &shape, &data);
        body["id"] = json!("mine");
        let said = server.post(INFER, body.to_string().as_bytes()).json();
        assert_eq!((&said["id"], &said["model_name"]), (&json!("mine"), &json!("m")));
        let output = &said["outputs"][0];
        assert_eq!((&output["name"], &output["shape"]), (&json!("output"), &json!([3, 10])));
        let data = output["data"].as_array().unwrap().iter();
        let data: Vec<f32> = data.map(|number| number.as_f64().unwrap() as f32).collect();
        assert_eq!(data, floats(&y));
    }
    let (header, body) = asked_in_binary("input", &shape, &x);
    let reply = server.send("POST", INFER, &[("Inference-Header-Content-Length", &header)], &body);
    assert_eq!(reply.status, 200);
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let said = parsed(std::str::from_utf8(&reply.body[..length]).unwrap());
    assert_eq!(said["outputs"][0]["parameters"]["binary_data_size"], y.len());
    assert_eq!(said["outputs"][0].get("data"), None);
    assert_eq!(&reply.body[length..], y);
}

/// JSON in, binary out, and the other way round.
#[test]
fn each_output_says_whether_it_is_in_binary() {
    let folder = folder_with_outputs(1);
    let server = Server::start(&folder, "m.cardinal");
    let (x, y) = (elements(&folder, "x.npy"), elements(&folder, "y.npy"));
    let mut body = asked("input", &[1, 1, 28, 28], &json!(floats(&x)));
    body["outputs"] = json!([{"name": "output", "parameters": {"binary_data": true}}]);
    let reply = server.post(INFER, body.to_string().as_bytes());
    assert!(reply.status == 200 && reply.body.ends_with(&y));
    body["parameters"] = json!({"binary_data_output": true});
    body["outputs"] = json!([{"name": "output", "parameters": {"binary_data": false}}]);
    let reply = server.post(INFER, body.to_string().as_bytes());
    assert_eq!(reply.header("inference-header-content-length"), None);
    assert_eq!(reply.json()["outputs"][0]["data"].as_array().unwrap().len(), 10);
}

#[test]
fn images_are_classified_as_run_does() {
    let folder = folder(2);
    let results = folder.run("run m.cardinal images/00000.png images/00001.png --json --top 3");
    let results = parsed(&results.succeeds());
    let server = Server::start(&folder, "m.cardinal");
    for (n, expected) in results["results"].as_array().unwrap().iter().enumerate() {
        let image = fs::read(folder.path(&format!("images/{n:05}.png"))).unwrap();
        let said = server.post(&format!("{CLASSIFY}?top=3"), &image).json();
        assert!(same(&said["top"], &expected["top"]), "{said} {expected}");
        assert_eq!(server.post(CLASSIFY, &image).json()["top"].as_array().unwrap().len(), 5);
        let damaged = server.post(CLASSIFY, &image[..image.len() / 2]).refuses_with(400);
        assert!(damaged.contains("cannot read `the body`"), "{damaged}");
        let said = server.post(&format!("{CLASSIFY}?top=0"), &image).refuses_with(400);
        assert!(said.contains("top is a number of classes"), "{said}");
    }
    let said = server.post(CLASSIFY, b"P5 1 1 255 x").refuses_with(415);
    assert!(said.contains("no PNG, JPEG"), "{said}");
    server.post(CLASSIFY, b"").refuses_with(415);
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    assert!(
        server.send("POST", CLASSIFY, &form, b"--x").refuses_with(415).contains("--data-binary")
    );
}

/// Requests that are not, each with its status and with what the message has.
#[test]
fn garbage_is_refused_with_what_was_expected() {
    let server = Server::start(&folder(0), "m.cardinal");
    let image = json!(vec![0.5; 784]);
    let good = asked("input", &[1, 1, 28, 28], &image);
    assert_eq!(server.post(INFER, good.to_string().as_bytes()).status, 200);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body.to_string()
    };
    let input = |field: &'static str, value: Value| {
        changed(&move |body| body["inputs"][0][field] = value.clone())
    };
    let takes = "`input FP32 [-1, 1, 28, 28]` is expected";
    for (body, what) in [
        (String::new(), "EOF while parsing"),
        ("{".into(), "EOF while parsing"),
        ("[]".into(), "invalid length 0"),
        ("{}".into(), "missing field `inputs`"),
        ("[".repeat(100_000), "invalid type: sequence"),
        (format!("{{\"inputs\": {}", "[".repeat(100_000)), "invalid type: sequence"),
        (format!("{{\"x\": {}", "[".repeat(100_000)), "EOF while parsing"),
        (format!("{}{}", good, "x"), "trailing characters"),
        (changed(&|body| body["inputs"] = json!([])), "`input FP32 [-1, 1, 28, 28]` is not given"),
        (changed(&|body| body["id"] = json!(7)), "expected a string"),
        (input("name", json!("nope")), "no input `nope`; it has `input`"),
        (input("datatype", json!("FP64")), takes),
        (input("datatype", json!("fp32")), takes),
        (input("shape", json!([1, 28, 28])), takes),
        (input("shape", json!([1, 1, 28, 29])), takes),
        (input("shape", json!([0, 1, 28, 28])), takes),
        (input("shape", json!([-1, 1, 28, 28])), takes),
        (input("shape", json!([2, 1, 28, 28])), "784 numbers are given"),
        (input("shape", json!([i64::MAX, 1, 28, 28])), "more than the 67108864 bytes"),
        (input("shape", json!("x")), "invalid type: string"),
        (input("data", json!([1, 2, 3])), "3 numbers are given"),
        (input("data", json!(["1"])), "invalid type: string"),
        (input("data", json!(1e39)), "expected numbers"),
        (input("data", json!([[1e39]])), "beyond what f32 holds"),
        (input("data", json!([[[[[1]]]]])), "nested deeper than the 4 axes"),
        (input("data", Value::Null), "has no data"),
        (input("parameters", json!({"binary_data_size": 3136})), "both data and binary_data_size"),
        (input("parameters", json!({"shared_memory_region": "x"})), "shared memory"),
        (
            changed(&|body| body["inputs"] = json!([good["inputs"][0], good["inputs"][0]])),
            "given twice",
        ),
        (
            changed(&|body| body["outputs"] = json!([{"name": "z"}])),
            "no output `z`; it has `output`",
        ),
        (
            changed(&|body| body["outputs"] = json!([{"name": "output"}, {"name": "output"}])),
            "asked for twice",
        ),
        (
            changed(&|body| {
                body["outputs"] = json!([{"name": "output", "parameters": {"classification": 2}}]);
            }),
            "classification is not supported",
        ),
    ] {
        let said = server.post(INFER, body.as_bytes()).refuses_with(400);
        assert!(said.contains(what), "{what}: {said}\n{}", &body[..body.len().min(300)]);
    }
    server.post(INFER, b"{\"inputs\": \"\xff\"}").refuses_with(400);
}

#[test]
fn binary_tensors_must_add_up() {
    let server = Server::start(&folder(0), "m.cardinal");
    let (header, good) = asked_in_binary("input", &[1, 1, 28, 28], &[0; 3136]);
    let send = |header: &str, body: &[u8]| {
        server.send("POST", INFER, &[("Inference-Header-Content-Length", header)], body)
    };
    assert_eq!(send(&header, &good).status, 200);
    let longer = [&good[..], b"x"].concat();
    let (_, wrong) = asked_in_binary("input", &[1, 1, 28, 28], &[0; 3132]);
    for (header, body, what) in [
        (header.as_str(), &good[..good.len() - 1], "where 3135 are left"),
        (&header, &longer, "1 bytes behind the JSON belong to no input"),
        (&header, &wrong, "takes 3136 bytes"),
        ("999999", &good, "is 999999, and the body has"),
        ("0", &good, "EOF while parsing"),
        ("10", &good, "EOF while parsing"),
        ("-1", &good, "is no number of bytes"),
        ("x", &good, "is no number of bytes"),
        ("99999999999999999999999", &good, "is no number of bytes"),
    ] {
        let said = send(header, body).refuses_with(400);
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn paths_and_methods_that_are_not_are_refused() {
    let server = Server::start(&folder(0), "m.cardinal");
    for path in ["/", "/v1", "/v2/nope", "/v2/models", "/v2/models/m/nope", "/../v2", "/v2/models/"]
    {
        server.get(path).refuses_with(404);
    }
    for name in ["nope", "..%2f..%2fetc%2fpasswd", "m%00", "%E2%80%AE", "m.cardinal", "M"] {
        for rest in ["", "/ready", "/versions/1"] {
            let said = server.get(&format!("/v2/models/{name}{rest}")).refuses_with(404);
            assert!(said.contains("there are `m`"), "{said}");
        }
        for endpoint in ["infer", "classify"] {
            server.post(&format!("/v2/models/{name}/{endpoint}"), b"x").refuses_with(404);
        }
    }
    assert!(server.get("/v2/models/m/versions/2").refuses_with(404).contains("has version 1"));
    assert!(server.get("/v2/models/%ff").refuses_with(400).contains("UTF-8"));
    for (method, path) in
        [("GET", INFER), ("PUT", "/v2"), ("BREW", "/metrics"), ("POST", "/v2/models/m")]
    {
        let reply = server.send(method, path, &[], b"");
        assert!(reply.refuses_with(405).contains(method));
        assert!(reply.header("allow").is_some(), "{reply:?}");
    }
    let compressed = [("Content-Encoding", "gzip")];
    server.send("POST", INFER, &compressed, b"x").refuses_with(415);
}

#[test]
fn bodies_have_a_limit() {
    let server = Server::start(&folder(1), "m.cardinal --max-body 20KiB");
    let large = vec![b' '; 21 << 10];
    assert!(server.post(INFER, &large).refuses_with(413).contains("--max-body"));
    // Without its length before.
    let mut chunked =
        b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..30 {
        chunked.extend(b"400\r\n");
        chunked.extend([b' '; 1024]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, &chunked).unwrap();
    Reply::read(&mut std::io::BufReader::new(stream)).unwrap().refuses_with(413);
    // Much larger ones, whose rest is read so that the answer is not missed.
    server.post(INFER, &vec![0; 30 << 20]).refuses_with(413);
    let asked = asked("input", &[9, 1, 28, 28], &json!([0]));
    let said = server.post(INFER, asked.to_string().as_bytes()).refuses_with(400);
    assert!(said.contains("send fewer rows at once"), "{said}");
    assert_eq!(server.get("/v2").status, 200);
}

#[test]
fn requests_are_counted_and_logged() {
    let folder = folder(1);
    let server = Server::start(&folder, "m.cardinal");
    let image = fs::read(folder.path("images/00000.png")).unwrap();
    let reply = server.send("POST", CLASSIFY, &[("X-Request-Id", "my-own")], &image);
    assert_eq!(reply.header("x-request-id"), Some("my-own"));
    assert_eq!(reply.json()["input"], "my-own");
    let mut asked = asked("input", &[1, 1, 28, 28], &json!(vec![0; 784]));
    asked["id"] = json!("\u{1b}[2J of\nmine\u{202e}");
    assert_eq!(server.post(INFER, asked.to_string().as_bytes()).status, 200);
    server.get("/v2/models/%1B%5B2J").refuses_with(404);
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "cardinal_requests_total{model=\"m\",endpoint=\"classify\",status=\"200\"} 1",
        "cardinal_requests_total{model=\"\",endpoint=\"metadata\",status=\"404\"} 1",
        "cardinal_inference_rows_count{model=\"m\"} 2",
        "cardinal_requests_in_flight 1",
    ] {
        assert!(metrics.text().lines().any(|other| other == line), "{line}: {}", metrics.text());
    }
    let said = server.end();
    let logged: Vec<&str> = said.lines().filter(|line| line.contains(" ms, ")).collect();
    assert_eq!(logged.len(), 4, "{said}");
    assert!(logged[0].starts_with("POST /v2/models/m/classify 200 "), "{said}");
    assert!(logged[0].contains(" ms in the queue, id my-own"), "{said}");
    assert!(logged[1].ends_with("id \\u{1b}[2J\\u{20}of\\nmine\\u{202e}"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said}");
    let quiet = Server::start(&folder, "m.cardinal --quiet");
    assert_eq!(quiet.get("/v2").status, 200);
    assert_eq!(quiet.end(), "");
}

/// Several at once, and one that takes no images.
#[test]
fn other_models_are_served_too() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let folder = Folder::new();
    for name in ["fixed.onnx", "names.onnx"] {
        fs::copy(models.join(name), folder.path(name)).unwrap();
    }
    let server = Server::start(&folder, "fixed.onnx names.onnx");
    for name in ["fixed", "names"] {
        let said = server.get(&format!("/v2/models/{name}")).json();
        let zeros = |tensor: &Value| {
            let shape = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap());
            let shape: Vec<i64> = shape.map(|extent| extent.max(1)).collect();
            let data = vec![0; shape.iter().product::<i64>() as usize];
            json!({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data})
        };
        let inputs: Vec<Value> = said["inputs"].as_array().unwrap().iter().map(zeros).collect();
        let asked = json!({"inputs": inputs}).to_string();
        let reply = server.post(&format!("/v2/models/{name}/infer"), asked.as_bytes()).json();
        assert_eq!(
            reply["outputs"].as_array().unwrap().len(),
            said["outputs"].as_array().unwrap().len()
        );
    }
    let said = server.post("/v2/models/names/classify", b"x").refuses_with(400);
    assert!(said.contains("does not classify images"), "{said}");
    // It is called so that terminals obey.
    let metadata = server.get("/v2/models/names");
    assert!(metadata.text().chars().all(|c| !c.is_control()), "{}", metadata.text());
}

/// Two inputs and two outputs of two types, a batch of 2, in JSON and behind it.
#[test]
fn inputs_and_outputs_go_by_their_names() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let folder = Folder::new();
    fs::copy(models.join("pair.onnx"), folder.path("pair.onnx")).unwrap();
    let server = Server::start(&folder, "pair.onnx --batch 2");
    let path = "/v2/models/pair/infer";
    let a = |data: Value| json!({"name": "a", "datatype": "FP32", "shape": [3, 3], "data": data});
    let n = |rows: usize, data: Value| json!({"name": "n", "datatype": "INT64", "shape": [rows, 2], "data": data});
    let (first, second) =
        (a(json!([1, 2, 3, 4, 5, 6, 7, 8, 9])), n(3, json!([[1, -2], [3, -4], [5, 6]])));
    let asked = |inputs: Value| json!({"inputs": inputs}).to_string();
    for inputs in [json!([first, second]), json!([second, first])] {
        let said = server.post(path, asked(inputs).as_bytes()).json();
        assert_eq!(said["outputs"][0]["data"], json!([2., 4., 6., 8., 10., 12., 14., 16., 18.]));
        assert_eq!(said["outputs"][1]["data"], json!([1, 4, 9, 16, 25, 36]));
        assert_eq!(said["outputs"][1]["shape"], json!([3, 2]));
    }
    for (inputs, what) in [
        (json!([first]), "input `n INT64 [-1, 2]` is not given"),
        (json!([first, n(2, json!([1, 2, 3, 4]))]), "input `n` has 2 rows, and others have 3"),
        (json!([first, n(3, json!([1, 2, 3, 4, 5, 0.5]))]), "invalid value: floating point"),
    ] {
        let said = server.post(path, asked(inputs).as_bytes()).refuses_with(400);
        assert!(said.contains(what), "{what}: {said}");
    }
    // The second input is behind the JSON, and so is the output that is asked for.
    let mut behind = n(3, Value::Null);
    behind["parameters"] = json!({"binary_data_size": 48});
    let output = json!({"name": "square", "parameters": {"binary_data": true}});
    let mut body = json!({"inputs": [first, behind], "outputs": [output]}).to_string().into_bytes();
    let header = body.len().to_string();
    body.extend([1i64, 2, 3, 4, 5, -(1 << 31)].iter().flat_map(|n| n.to_le_bytes()));
    let reply = server.send("POST", path, &[("Inference-Header-Content-Length", &header)], &body);
    let expected: Vec<u8> =
        [1i64, 4, 9, 16, 25, 1 << 62].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.ends_with(&expected), "{reply:?}");
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!(reply.body.len(), length + expected.len());
}

#[test]
fn what_cannot_be_served_is_refused_before() {
    let folder = folder(0);
    fs::create_dir(folder.path("other")).unwrap();
    fs::copy(model(), folder.path("other/m.onnx")).unwrap();
    let said = folder.run("serve m.cardinal other/m.onnx").fails_with(2);
    assert!(said.contains("would both be served as `m`") && said.contains("rename"), "{said}");
    assert!(
        folder.run("serve nope.cardinal").fails_with(5).contains("cannot read `nope.cardinal`")
    );
    assert!(folder.run("serve -").fails_with(2).contains("no name to be served under"));
    folder.run("serve").fails_with(2);
    for bad in
        ["--queue 0", "--timeout 0", "--timeout x", "--port 70000", "--max-body 0", "--sessions 0"]
    {
        folder.run(&format!("serve m.cardinal {bad}")).fails_with(2);
    }
    let said = folder.run("serve m.cardinal --max-body 2KiB").fails_with(2);
    assert!(said.contains("take 3176 bytes a row") && said.contains("--max-body 25408"), "{said}");
    let said = folder.run("serve m.cardinal --host 192.0.2.1").fails_with(5);
    assert!(said.contains("cannot listen at `192.0.2.1:8000`"), "{said}");
    let server = Server::start(&folder, "m.cardinal");
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let said = folder.run(&format!("serve m.cardinal --port {port}")).fails_with(5);
    assert!(said.contains("Address already in use"), "{said}");
}

/// On files of the names that they use.
#[test]
fn the_commands_of_the_readme_run() {
    let folder = folder(1);
    fs::rename(folder.path("m.cardinal"), folder.path("resnest50d.cardinal")).unwrap();
    fs::rename(folder.path("images/00000.png"), folder.path("cat.jpg")).unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once("\n## Over HTTP\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let (serve, others) = commands.split_once('\n').unwrap();
    let arguments = serve.strip_prefix("cardinal serve ").unwrap().strip_suffix(" &").unwrap();
    // Port 8000 may be another's.
    let server = Server::start(&folder, arguments);
    assert!(others.lines().count() >= 2 && others.contains("127.0.0.1:8000"), "{others}");
    let others = others.replace("127.0.0.1:8000", server.address());
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("NOT TESTED: the README's commands, as there is no curl");
        return;
    }
    for command in others.lines() {
        let mut shell = Command::new("sh");
        let ran = shell.current_dir(folder.path("")).args(["-e", "-c", command]).output().unwrap();
        let said = parsed(&String::from_utf8(ran.stdout).unwrap());
        assert!(ran.status.success() && said.get("error").is_none(), "{command}: {said}");
    }
}
