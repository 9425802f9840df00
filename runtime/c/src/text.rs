//! Text as C wants it.

use std::ffi::CString;

/// A text for C. A zero inside, which would end it early, becomes U+FFFD.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default()
}
