//! A server of its own for each test, and as much of HTTP as it takes to talk to it.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Folder, command, onnx};

/// How long an answer may take before a test fails that would hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: String,
    said: Option<JoinHandle<String>>,
}

impl Server {
    /// `cardinal serve` with these arguments, in a folder, at a port that is free.
    pub(crate) fn start(folder: &Folder, arguments: &str) -> Server {
        Server::of(&mut command(&folder.path(""), &format!("serve {arguments} --port 0")))
    }

    /// What a command serves, which is to print its address.
    pub(crate) fn of(serve: &mut Command) -> Server {
        let serve = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = loop {
            match serve.spawn() {
                // A child of another test's thread may still hold the file open, between its fork and its exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().strip_prefix("http://").unwrap().to_owned();
        Server { child, address, said: Some(said) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.send("POST", path, &[], body)
    }

    /// A request on a connection of its own.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut stream = self.connect();
        stream.write_all(&request(method, path, headers, body)).unwrap();
        Reply::read(&mut BufReader::new(stream)).unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// How it ended, and what it said on stderr.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.said.take().unwrap().join().unwrap())
    }

    /// Ends it, and gives what it said on stderr.
    pub(crate) fn end(self) -> String {
        self.signal("-TERM");
        self.wait().1
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut bytes = format!("{text}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend(body);
    bytes
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Reads one; `None` where the connection is closed instead.
    pub(crate) fn read(stream: &mut impl BufRead) -> Option<Reply> {
        let mut reply = Reply::read_head(stream)?;
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body = vec![0; length];
        stream.read_exact(&mut reply.body).unwrap();
        Some(reply)
    }

    /// The same of an answer that says how long its body is, but has none.
    pub(crate) fn read_head(stream: &mut impl BufRead) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = stream.read_line(&mut line).ok().filter(|length| *length > 0);
            match (length, line.trim()) {
                (None, _) => return None,
                (_, "") => break,
                (_, text) => lines.push(text.to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        };
        Some(Reply { status, headers: lines[1..].iter().map(header).collect(), body: Vec::new() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of an answer with the status 200.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The message of an answer with this status.
    pub(crate) fn refuses_with(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}

/// The JSON of a request with one input of f32, of so many rows of a shape.
pub(crate) fn asked(name: &str, shape: &[usize], data: &Value) -> Value {
    json!({"inputs": [{"name": name, "datatype": "FP32", "shape": shape, "data": data}]})
}

/// The same with the elements behind it; gives the header's length and the body.
pub(crate) fn asked_in_binary(name: &str, shape: &[usize], elements: &[u8]) -> (String, Vec<u8>) {
    let size = elements.len();
    let parameters = json!({"binary_data_size": size});
    let input = json!({"name": name, "datatype": "FP32", "shape": shape, "parameters": parameters});
    let asked = json!({"inputs": [input], "parameters": {"binary_data_output": true}});
    let mut body = asked.to_string().into_bytes();
    let header = body.len().to_string();
    body.extend(elements);
    (header, body)
}

/// The elements of a `.npy`.
pub(crate) fn elements(folder: &Folder, name: &str) -> Vec<u8> {
    let file = fs::read(folder.path(name)).unwrap();
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[10 + header..].to_vec()
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Writes a model from `x` f32[1, 1, 512, 1] that takes many times as long for a row as a request does: products of
/// matrices of 512 × 512, one after the other.
pub(crate) fn write_slow_model(folder: &Folder, name: &str, products: usize) {
    let mut nodes = vec![onnx::node("MatMul", &["x", "w"], "p0")];
    for n in 0..products {
        nodes.push(onnx::node(
            "MatMul",
            &[&format!("p{n}"), &format!("p{n}")],
            &format!("p{}", n + 1),
        ));
    }
    nodes.push(onnx::node("MatMul", &["w", &format!("p{products}")], "y"));
    let weights = [onnx::Tensor::new("w", &[1, 1, 1, 512])];
    onnx::write(&folder.path(name), &[1, 1, 512, 1], nodes, &weights, |_, _| 0.01).unwrap();
}
