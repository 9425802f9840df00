//! Builds the runner that executables begin with: this crate's other binary, without the compiler
//! and statically linked. `src/executable/write.rs` has its bytes.
//!
//! Cargo cannot link one binary of a build in another way than the rest, so a second cargo does it,
//! in a target folder of its own: neither waits for the other's locks. Where there is no C library
//! to link statically with, the build goes on without a runner and says so.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let is_wanted = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    if !is_wanted("COMPILER") {
        return Ok(());
    }
    let place = variable("OUT_DIR").join("cardinal-runner");
    let serving = variable("OUT_DIR").join("cardinal-serving-runner");
    fs::write(&serving, b"")?;
    let is_linux = env::var_os("CARGO_CFG_TARGET_OS").as_deref() == Some(OsStr::new("linux"));
    if !is_linux || !is_wanted("EXECUTABLES") {
        return fs::write(place, b"");
    }
    let build = Build::new();
    for file in ["Cargo.toml", "Cargo.lock", "cli/Cargo.toml", "runtime/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", build.root.join(file).display());
    }
    build.put(&PLAIN, &place)?;
    if is_wanted("FULL") { build.put(&SERVING, &serving) } else { Ok(()) }
}

/// A runner.
struct Kind {
    features: &'static str,
    profile: &'static str,
    flags: &'static str,
}

/// What executables begin with. It has no unwinding tables, since a panic ends it.
const PLAIN: Kind = Kind {
    features: "runner",
    profile: "runner",
    flags: "-Ctarget-feature=+crt-static\u{1f}-Cforce-unwind-tables=no",
};

/// What those begin with that serve: a panic there ends a request and not the server.
const SERVING: Kind = Kind {
    features: "runner,serving,formats",
    profile: "serving-runner",
    flags: "-Ctarget-feature=+crt-static",
};

/// A folder that cargo names.
fn variable(name: &str) -> PathBuf {
    env::var_os(name).map(PathBuf::from).unwrap_or_default()
}

/// Everything that the second cargo is told.
struct Build {
    /// The workspace.
    root: PathBuf,
    target: OsString,
    target_dir: PathBuf,
}

impl Build {
    fn new() -> Build {
        let root = variable("CARGO_MANIFEST_DIR").join("..");
        let out = variable("OUT_DIR");
        // Shared by debug and release builds, for which the runner is the same. The tag of the target folder is
        // not there if somebody else than cargo has made that.
        let shared = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
        let shared = shared.map(|folder| folder.join("cardinal-runner"));
        Build {
            root: root.canonicalize().unwrap_or(root),
            target: env::var_os("TARGET").unwrap_or_default(),
            target_dir: shared.unwrap_or_else(|| out.join("target")),
        }
    }

    /// Puts a runner there, or nothing where it cannot be built.
    fn put(&self, kind: &Kind, place: &Path) -> io::Result<()> {
        match self.run(kind) {
            Ok(runner) => {
                sources(&fs::read_to_string(runner.with_extension("d"))?);
                fs::copy(runner, place).map(drop)
            }
            Err(why) => {
                println!("cargo::warning=executables cannot be made: no static runner: {why}");
                println!("cargo::rerun-if-changed=src");
                fs::write(place, b"")
            }
        }
    }

    /// Gives the runner's path, or the first line of what is wrong.
    fn run(&self, kind: &Kind) -> Result<PathBuf, String> {
        let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
        let mut command = Command::new(cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| leaks(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
            .args(["build", "--package", "cardinal-cli", "--bin", "cardinal-runner", "--locked"])
            .args(["--no-default-features", "--features", kind.features])
            .args(["--profile", kind.profile])
            .arg("--target")
            .arg(&self.target)
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(kind))
            .stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().find(|line| line.starts_with("error"));
            return Err(line.unwrap_or("cargo failed").to_owned());
        }
        Ok(self.target_dir.join(&self.target).join(kind.profile).join("cardinal-runner"))
    }

    /// Links statically, and names no folder of this machine.
    fn rustflags(&self, kind: &Kind) -> OsString {
        let mut flags = OsString::from(kind.flags);
        let mut remap = |from: &Path, to: &str| {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        };
        remap(&self.root, "cardinal");
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.unwrap_or_else(|| variable("HOME").join(".cargo"));
        for registry in fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten() {
            remap(&registry.path(), "crates");
        }
        remap(&self.target_dir, "target");
        flags
    }
}

/// Whether a variable would carry settings of this build over to the runner's. What says how to
/// reach a registry, how to link and how many jobs may run stays.
fn leaks(name: &str) -> bool {
    const STAY: [&str; 5] =
        ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];
    let stays = STAY.iter().any(|stay| name.starts_with(stay))
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER"));
    match name {
        "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC_WORKSPACE_WRAPPER" => true,
        _ => name.starts_with("CARGO") && !stays,
    }
}

/// Asks to be run again when a file that the runner was made of changes: those that a dep-info file
/// names, `RUNNER: FILE FILE…` with escaped spaces.
fn sources(dep_info: &str) {
    let files = dep_info.lines().next().and_then(|line| line.split_once(": "));
    let files = files.map_or("", |(_, files)| files).replace("\\ ", "\0");
    for file in files.split(' ').filter(|file| !file.is_empty()) {
        println!("cargo::rerun-if-changed={}", file.replace('\0', " "));
    }
}
