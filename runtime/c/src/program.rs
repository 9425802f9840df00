//! Loading artifacts.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use cardinal_runtime::Artifact;

use crate::info::{Description, ProgramInfo};
use crate::pointers::{array, path as path_at, place, text};
use crate::status::{Failure, Status, guard};

/// A loaded model. It never changes: any number of threads may use it at once.
pub struct Program {
    pub(crate) program: Arc<cardinal_runtime::Program>,
    description: Description,
}

/// Loads the artifact (.cardinal) at a path. The file is mapped, not read: nobody may change it
/// while the program or a session of it lives. Replacing it by renaming another over it is harmless.
/// Cutting it short ends the process by SIGBUS: where others may, give cardinal_program_from_bytes what
/// you have read.
///
/// Of an artifact with code for several CPUs, the best that this machine can run is taken, or, where
/// `variant` is not null, the one of that name. Writes to `program` only when it succeeds.
///
/// An artifact is machine code: loading one from a stranger and running it is running the stranger's
/// program. One that is damaged is an error.
///
/// # Safety
///
/// `path` and `variant` are null or point to strings that end in a zero; `program` is null or may be
/// written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_program_open(
    path: *const c_char,
    variant: *const c_char,
    program: *mut *mut Program,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (path, variant, place) =
            unsafe { (path_at(path)?, text(variant, "variant")?, place(program, "program")?) };
        *place = load(Artifact::open(path)?, variant, None)?;
        Ok(())
    })
}

/// The same, with weights that are stored as f16 or bf16 expanded once for all processes that name this
/// folder: to a file in it, which they map, and which is compared with the artifact's own before it is used.
/// The folder is made if there is none; files in it can be deleted at any time. Weights in f32 are shared
/// without it.
///
/// # Safety
///
/// As for cardinal_program_open; and `folder` is null or points to a string that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_program_open_sharing(
    path: *const c_char,
    variant: *const c_char,
    folder: *const c_char,
    program: *mut *mut Program,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (path, variant, folder, place) = unsafe {
            let (path, folder) = (path_at(path)?, path_at(folder)?);
            (path, text(variant, "variant")?, folder, place(program, "program")?)
        };
        *place = load(Artifact::open(path)?, variant, Some(folder))?;
        Ok(())
    })
}

/// The same for an artifact in memory, of which it keeps a copy.
///
/// # Safety
///
/// As for cardinal_program_open; and `bytes` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_program_from_bytes(
    bytes: *const c_void,
    length: usize,
    variant: *const c_char,
    program: *mut *mut Program,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (bytes, variant, place) = unsafe {
            let bytes = array(bytes.cast::<u8>(), length, "bytes")?;
            (bytes, text(variant, "variant")?, place(program, "program")?)
        };
        *place = load(Artifact::copy(bytes)?, variant, None)?;
        Ok(())
    })
}

fn load(
    artifact: Artifact,
    variant: Option<&str>,
    folder: Option<&Path>,
) -> Result<*mut Program, Failure> {
    let program = cardinal_runtime::Program::load_sharing(artifact, variant, folder)?;
    let description = Description::new(&program);
    Ok(Box::into_raw(Box::new(Program { program, description })))
}

/// What a program is: its model, target, inputs and outputs. Null for null. Valid until the program
/// is freed.
///
/// # Safety
///
/// `program` is null or a program that is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_program_info(program: *const Program) -> *const ProgramInfo {
    // SAFETY: this function's condition.
    unsafe { program.as_ref() }
        .map_or(std::ptr::null(), |program| &raw const program.description.info)
}

/// Frees a program, unless it is null. Its sessions live on, and keep what they need.
///
/// # Safety
///
/// `program` is null or a program that is not freed and that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_program_free(program: *mut Program) {
    guard(|| {
        // SAFETY: this function's condition; programs are made by `load` alone.
        drop((!program.is_null()).then(|| unsafe { Box::from_raw(program) }));
        Ok(())
    });
}

/// The version of this library: "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn cardinal_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
