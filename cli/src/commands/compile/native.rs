//! Object files and shared libraries, each with its header beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cardinal_runtime::Artifact;

use crate::args::{CompileArgs, Emit};
use crate::engine::{self, Object};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::staging::StagedFolder;
use crate::stdio::is_dash;
use crate::{ending, output};

/// What goes into the output and into the header beside it.
pub(super) struct Files {
    binary: Vec<u8>,
    header: String,
}

/// Refuses outputs that leave no place for a header, code for several CPUs, and weights that have to be
/// loaded.
///
/// # Errors
/// [`Failure::Usage`].
pub(super) fn check(output: &Path, args: &CompileArgs) -> Outcome {
    if args.weights.narrow().is_some() {
        return Err(Failure::usage(
            "object files and libraries have f32 weights: code reads them in place, and nothing would expand others",
        )
        .with_help("leave --weights out, or write an artifact or an executable, which load theirs"));
    }
    if args.options.cpu.len() > 1 {
        return Err(Failure::usage("object files and libraries hold code for one CPU")
            .with_help("write one for each, or an artifact, which chooses when it is loaded"));
    }
    let refused = if is_dash(output) {
        "standard output has no place for the header"
    } else if output.file_name().is_none() {
        "the output has no name"
    } else if header_of(output) == output {
        "the output would overwrite its own header"
    } else if fs::metadata(output).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        "a device or a pipe has no place for the header"
    } else {
        return Ok(());
    };
    Err(Failure::usage(refused).with_help("name a file, such as `-o model.o`"))
}

/// Makes both files.
///
/// # Errors
/// [`Failure::Model`] where the compiler refuses, [`Failure::Linker`] where the system's does.
pub(super) fn make(
    emit: Emit,
    output: &Path,
    file: &ModelFile,
    artifact: &Artifact,
) -> Outcome<Files> {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let object = engine::object(artifact, &stem);
    let Object { elf, header } = object.map_err(|error| loading::refused(file, error))?;
    let binary = match emit {
        Emit::Shared => link(&elf, output)?,
        Emit::Obj | Emit::Artifact | Emit::Exe => elf,
    };
    Ok(Files { binary, header })
}

/// Writes both files, or neither.
///
/// # Errors
/// [`Failure::Io`].
pub(super) fn write(output: &Path, files: &Files) -> Outcome {
    let header = header_of(output);
    output::write_all(&[(output, &files.binary), (&header, files.header.as_bytes())])
}

fn header_of(output: &Path) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(".h");
    output.with_file_name(name)
}

/// What to do without a linker.
const ADVICE: &str = "install a C compiler for the target, or name one in the variable CC; or write \
                      an object file, `-o model.o`, and link it elsewhere";

/// Has the system's C compiler link an object into the library `output`, whose bytes this gives. Until
/// then everything is in a folder beside it.
fn link(elf: &[u8], output: &Path) -> Outcome<Vec<u8>> {
    let fail = |message: String| Failure::Linker { message, help: ADVICE.to_owned() };
    let folder = StagedFolder::new(output::folder_of(output), "model.o", "model.so");
    let folder = folder.map_err(|error| Failure::writing(output, error))?;
    fs::write(&folder.from, elf).map_err(|error| Failure::writing(output, error))?;
    let compiler = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty());
    let compiler = compiler.unwrap_or_else(|| "cc".into());
    let mut linker = linker(&compiler, output.file_name().unwrap_or_default());
    let said = ending::output(linker.arg("-o").arg(&folder.to).arg(&folder.from));
    let said = said.map_err(|error| fail(format!("cannot start `{compiler}`: {error}")))?;
    if !said.status.success() {
        let words = String::from_utf8_lossy(&said.stderr);
        return Err(fail(format!("`{compiler}`, {}:\n{}", said.status, words.trim())));
    }
    fs::read(&folder.to).map_err(|error| fail(format!("`{compiler}` made none: {error}")))
}

/// The command that links. The compiler may come with arguments, as it does for `make`. The library
/// needs no other, exports what the object does, and is the same wherever it is linked.
fn linker(compiler: &str, name: &OsStr) -> Command {
    let mut words = compiler.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words).args(["-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,text"]);
    // Not in one argument after `-Wl`, where commas separate.
    command.args(["-Xlinker", "-soname", "-Xlinker"]).arg(name);
    command
}
