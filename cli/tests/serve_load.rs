//! `serve` with many requests at once, with slow ones, with clients that do as they like, and when it is ended.
#![cfg(all(target_os = "linux", feature = "full"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod digits_folder;
mod serving;

use std::cell::RefCell;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::Folder;
use digits_folder::{folder, model};
use serde_json::json;
use serving::{Reply, Server, asked, asked_in_binary, elements, floats, request, write_slow_model};

const INFER: &str = "/v2/models/m/infer";
const SLOW: &str = "/v2/models/slow/infer";

/// Bytes of a row of the digits model's input, and of its output.
const X: usize = 784 * 4;
const Y: usize = 10 * 4;

/// Runs `m.cardinal` on images; gives their rows of the input and of the output.
fn rows(folder: &Folder, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let images: Vec<String> = (0..count).map(|n| format!("images/{n:05}.png")).collect();
    let images = images.join(" ");
    folder.run(&format!("run m.cardinal {images} -q --dump-input x.npy -o y.npy")).succeeds();
    let (x, y) = (elements(folder, "x.npy"), elements(folder, "y.npy"));
    x.chunks(X).zip(y.chunks(Y)).map(|(x, y)| (x.to_vec(), y.to_vec())).collect()
}

/// Asks for some rows, in binary or in JSON, and gives the output's bytes.
fn infer(server: &Server, x: &[u8], is_binary: bool) -> Vec<u8> {
    let shape = [x.len() / X, 1, 28, 28];
    if is_binary {
        let (header, body) = asked_in_binary("input", &shape, x);
        let headers = [("Inference-Header-Content-Length", header.as_str())];
        let reply = server.send("POST", INFER, &headers, &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        let header = reply.header("inference-header-content-length").unwrap();
        return reply.body[header.parse().unwrap()..].to_vec();
    }
    let asked = asked("input", &shape, &json!(floats(x))).to_string();
    let said = server.post(INFER, asked.as_bytes()).json();
    let data = said["outputs"][0]["data"].as_array().unwrap().iter();
    data.flat_map(|number| (number.as_f64().unwrap() as f32).to_le_bytes()).collect()
}

/// All at once, each on a connection and a thread of its own; some have several rows.
fn assert_none_is_wrong_or_lost(server: &Server, rows: &[(Vec<u8>, Vec<u8>)], requests: usize) {
    let start = Barrier::new(requests);
    thread::scope(|scope| {
        for n in 0..requests {
            let start = &start;
            scope.spawn(move || {
                let mine: Vec<_> =
                    (0..1 + n % 3).map(|more| &rows[(n + more * 7) % rows.len()]).collect();
                let x: Vec<u8> = mine.iter().flat_map(|(x, _)| x.clone()).collect();
                let y: Vec<u8> = mine.iter().flat_map(|(_, y)| y.clone()).collect();
                start.wait();
                let given = infer(server, &x, n % 2 == 0);
                assert!(given == y, "request {n}: {:?} and not {:?}", floats(&given), floats(&y));
            });
        }
    });
}

#[test]
fn of_200_requests_in_flight_none_is_wrong_or_lost() {
    let folder = folder(100);
    let rows = rows(&folder, 100);
    let server = Server::start(&folder, "m.cardinal --quiet");
    assert_none_is_wrong_or_lost(&server, &rows, 200);
    let metrics = server.get("/metrics");
    let count = "cardinal_requests_total{model=\"m\",endpoint=\"infer\",status=\"200\"} 200";
    assert!(metrics.text().contains(count), "{}", metrics.text());
}

/// Rows of different requests in one inference, requests with more rows than that, and batches that never fill.
#[test]
fn requests_in_batches_get_their_own_rows() {
    let folder = folder(100);
    folder.run(&format!("compile {} --batch 4 -o m.cardinal", model())).succeeds();
    let rows = rows(&folder, 100);
    let server = Server::start(&folder, "m.cardinal --batch-delay 3 --quiet");
    assert_none_is_wrong_or_lost(&server, &rows, 120);
    let all: Vec<u8> = rows.iter().flat_map(|(x, _)| x.clone()).collect();
    let expected: Vec<u8> = rows.iter().flat_map(|(_, y)| y.clone()).collect();
    assert_eq!(infer(&server, &all[..99 * X], true), &expected[..99 * Y]);
    assert_eq!(infer(&server, &all[..X], false), &expected[..Y]);
    let metrics = server.get("/metrics");
    let of = |name: &str| -> f64 {
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let inferences = of("cardinal_inference_rows_count{model=\"m\"}");
    let rows = of("cardinal_inference_rows_sum{model=\"m\"}");
    assert_eq!(rows, (120. * 2.) + 99. + 1.);
    assert!(inferences < rows, "no two requests were run together: {inferences} inferences");
}

/// A server with a model that takes long, and a request to it with so many rows that has been sent.
fn slow(options: &str, rows: usize) -> (Folder, Server, BufReader<TcpStream>) {
    let folder = folder(0);
    write_slow_model(&folder, "slow.onnx", 20);
    let server = Server::start(&folder, &format!("m.cardinal slow.onnx {options}"));
    let (header, body) = asked_in_binary("x", &[rows, 1, 512, 1], &vec![0; rows * 2048]);
    let headers = [("Inference-Header-Content-Length", header.as_str())];
    let mut slow = server.connect();
    slow.write_all(&request("POST", SLOW, &headers, &body)).unwrap();
    (folder, server, BufReader::new(slow))
}

/// The same once it is being run.
fn busy(options: &str, rows: usize) -> (Folder, Server, BufReader<TcpStream>) {
    let (folder, server, slow) = slow(options, rows);
    until(|| server.get("/metrics").text().contains("cardinal_requests_taken_on 1\n"));
    (folder, server, slow)
}

/// Waits for something that comes soon, but nobody knows when.
fn until(is_there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < Duration::from_secs(100));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks the digits model for something.
fn ask(server: &Server) -> Reply {
    let small = asked("input", &[1, 1, 28, 28], &json!(vec![0; 784])).to_string();
    server.post(INFER, small.as_bytes())
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let (_folder, server, _slow) = busy("--queue 1 --sessions 1 --quiet", 10_000);
    for _ in 0..3 {
        let reply = ask(&server);
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(reply.refuses_with(503).contains("--queue"));
    }
    // What takes no inference is answered all the same.
    assert_eq!(server.get("/v2/health/live").status, 200);
}

/// One model's many rows do not keep the others waiting.
#[test]
fn requests_take_turns_with_large_ones() {
    let (_folder, server, mut slow) = busy("--sessions 1 --quiet", 10_000);
    for _ in 0..5 {
        assert_eq!(ask(&server).status, 200);
    }
    slow.get_mut().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(slow.read_exact(&mut [0]).is_err(), "10,000 slow rows were faster than 5 requests");
}

#[test]
fn requests_end_when_their_time_is_over() {
    let (_folder, server, mut slow) = slow("--timeout 1.5 --sessions 1 --quiet", 10_000);
    let said = Reply::read(&mut slow).unwrap().refuses_with(504);
    assert!(said.contains("within 1.5s"), "{said}");
    // The rows that are left are not run.
    until(|| ask(&server).status == 200);
    until(|| server.get("/metrics").text().contains("cardinal_requests_taken_on 0\n"));
    let mut trickle = server.connect();
    trickle
        .write_all(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    let said = Reply::read(&mut BufReader::new(trickle)).unwrap().refuses_with(408);
    assert!(said.contains("did not come within 1.5s"), "{said}");
}

#[test]
fn what_is_in_flight_is_answered_when_the_server_ends() {
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let (_folder, server, mut slow) = busy("--queue 1 --sessions 1 --quiet", 30);
        server.signal(signal);
        let reply = Reply::read(&mut slow).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let address = server.address().to_owned();
        let (status, said) = server.wait();
        assert_eq!((status.signal(), said.as_str()), (Some(number), ""));
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let (_folder, mut server, mut slow) = busy("--queue 1 --sessions 1 --quiet", 10_000);
    server.signal("-INT");
    // It listens no more, but goes on.
    until(|| TcpStream::connect(server.address()).is_err());
    assert!(server.is_running());
    server.signal("-INT");
    let (status, said) = server.wait();
    assert_eq!(status.signal(), Some(2));
    assert!(said.contains("some requests are not answered"), "{said}");
    assert!(Reply::read(&mut slow).is_none());
}

#[test]
fn connections_are_kept_and_requests_sent_ahead() {
    let server = Server::start(&folder(0), "m.cardinal --quiet");
    let mut stream = server.connect();
    let asked = asked("input", &[1, 1, 28, 28], &json!(vec![0; 784])).to_string();
    let mut ahead = Vec::new();
    for _ in 0..10 {
        ahead.extend(request("POST", INFER, &[], asked.as_bytes()));
        ahead.extend(request("GET", "/v2/health/live", &[], b""));
        ahead.extend(request("POST", INFER, &[], b"{}"));
    }
    stream.write_all(&ahead).unwrap();
    let mut reader = BufReader::new(stream);
    for status in [200, 200, 400].repeat(10) {
        assert_eq!(Reply::read(&mut reader).unwrap().status, status);
    }
    // A client that sends no more still reads.
    let mut stream = server.connect();
    stream.write_all(&request("POST", INFER, &[], asked.as_bytes())).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(Reply::read(&mut reader).unwrap().status, 200);
    assert!(Reply::read(&mut reader).is_none());
    let mut stream = server.connect();
    stream.write_all(&request("HEAD", "/v2", &[], b"")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(Reply::read_head(&mut reader).unwrap().status, 200);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0, "HEAD has a body");
}

/// Whatever is sent, the next client is answered.
#[test]
fn what_is_no_http_harms_nobody() {
    let server = Server::start(&folder(0), "m.cardinal --quiet");
    let long = format!("GET /v2 HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET /v2 HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(1 << 20));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\0\0\0\0\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
        path.as_bytes(),
    ] {
        let mut stream = server.connect();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(reply) = Reply::read_head(&mut BufReader::new(stream)) {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            assert!((400..506).contains(&reply.status), "{text}: {reply:?}");
        }
    }
    // Connections that say nothing, and those that are broken off in the middle.
    let silent: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for _ in 0..20 {
        let mut stream = server.connect();
        stream
            .write_all(b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"in")
            .unwrap();
    }
    assert_eq!(ask(&server).status, 200);
    drop(silent);
}

/// More connections than there may be requests: each is answered, though not all are served.
#[test]
fn none_is_left_without_an_answer() {
    let folder = folder(1);
    let row = Arc::new(rows(&folder, 1).remove(0));
    let server = Server::start(&folder, "m.cardinal --queue 3 --quiet");
    let statuses = thread::scope(|scope| {
        let ask = || {
            let (header, body) = asked_in_binary("input", &[1, 1, 28, 28], &row.0);
            let headers = [("Inference-Header-Content-Length", header.as_str())];
            let reply = server.send("POST", INFER, &headers, &body);
            assert!(reply.status != 200 || reply.body.ends_with(&row.1));
            reply.status
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<u16>>()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
}

/// Bodies that do not come to an end take memory until their time is over.
#[test]
fn all_bodies_together_have_a_limit() {
    let server = Server::start(&folder(0), "m.cardinal --max-body 8KiB --quiet");
    let begun = RefCell::new(Vec::new());
    until(|| {
        // One more each time: while the small request is in memory itself, one that has begun may be refused.
        let mut stream = server.connect();
        let head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n";
        stream.write_all(&[&head[..], &[b' '; 8000]].concat()).unwrap();
        begun.borrow_mut().push(stream);
        let reply = ask(&server);
        reply.status == 503 && reply.refuses_with(503).contains("memory")
    });
    drop(begun);
    until(|| ask(&server).status == 200);
}
