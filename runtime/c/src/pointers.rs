//! What C gives, as Rust sees it: checked where that is possible.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::status::Failure;

/// What a handle points to.
///
/// # Safety
///
/// A pointer that is not null points to a `T` that is not freed during `'a`.
pub(crate) unsafe fn handle<'a, T>(
    pointer: *const T,
    name: &'static str,
) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Failure::Null(name))
}

/// The place for a result.
///
/// # Safety
///
/// A pointer that is not null may be written to during `'a`.
pub(crate) unsafe fn place<'a, T>(
    pointer: *mut *mut T,
    name: &'static str,
) -> Result<&'a mut *mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or(Failure::Null(name))
}

/// An array; null is an empty one's address too.
///
/// # Safety
///
/// A pointer that is not null points to `length` values, if memory can hold as many, which nobody
/// changes during `'a`.
pub(crate) unsafe fn array<'a, T>(
    pointer: *const T,
    length: usize,
    name: &'static str,
) -> Result<&'a [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::Null(name));
    }
    let bytes = length.checked_mul(size_of::<T>());
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Failure::TooLong(name));
    }
    // SAFETY: not null, not too long, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A text that may be left out.
///
/// # Safety
///
/// A pointer that is not null points to a string that ends in a zero, which nobody changes during
/// `'a`.
pub(crate) unsafe fn text<'a>(
    pointer: *const c_char,
    name: &'static str,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::NotUtf8(name))
}

/// A file's path: any bytes where the system's paths are bytes, elsewhere UTF-8.
///
/// # Safety
///
/// As [`text`]'s.
pub(crate) unsafe fn path<'a>(pointer: *const c_char) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        if pointer.is_null() {
            return Err(Failure::Null("path"));
        }
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(pointer) };
        Ok(Path::new(std::ffi::OsStr::from_bytes(text.to_bytes())))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise.
        let text = unsafe { text(pointer, "path") }?;
        text.map(Path::new).ok_or(Failure::Null("path"))
    }
}
