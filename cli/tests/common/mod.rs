//! Runs the built `cardinal` in a folder of its own.

#![allow(clippy::unwrap_used, reason = "a test may stop here")]
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod moments;
pub(crate) mod npy;
pub(crate) mod onnx;
pub(crate) mod programs;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An empty folder that `cardinal` runs in.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run of `cardinal` left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output, as text.
    pub(crate) stdout: String,
    /// Standard output.
    pub(crate) bytes: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Folder {
    /// An empty folder.
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// An absolute path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in it.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Folder {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// The names of what is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `cardinal` with arguments separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        self.run_with(arguments, b"")
    }

    /// The same, with something on stdin.
    pub(crate) fn run_with(&self, arguments: &str, stdin: &[u8]) -> Ran {
        let mut child = command(self.0.path(), arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that fails early does not read it.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// `cardinal` with arguments separated by spaces, not yet started.
pub(crate) fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardinal"));
    command.current_dir(folder).args(arguments.split_whitespace()).env_remove("NO_COLOR");
    command
}

impl Ran {
    /// Checks the exit code and gives stderr.
    pub(crate) fn fails_with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.bytes.is_empty(), "something on stdout: {self:?}");
        assert!(!self.stderr.is_empty() && !self.stderr.contains('\u{1b}'), "{self:?}");
        assert!(self.stderr.lines().count() < 40, "{self:?}");
        self.stderr
    }

    /// Checks that it went well and gives stdout.
    pub(crate) fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}
