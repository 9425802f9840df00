//! Stand-ins for two functions of the C library: what a runner wants of them is little, and linked
//! statically they bring 115 kB with them. `runner.ld` puts these in their places.
//!
//! To say so when the main thread's stack overflows, Rust asks `pthread_getattr_np` where it is, and
//! that reads `/proc/self/maps` with `sscanf(line, "%lx-%lx", &from, &to)`. All of `scanf` comes along:
//! wide characters, and floats of every size. And the C library has its own messages translated,
//! which without `setlocale` leaves them as they are.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_ulong};

/// `dcgettext` in the locale "C": the message itself.
#[unsafe(no_mangle)]
extern "C" fn cardinal_dcgettext(
    _domain: *const c_char,
    message: *mut c_char,
    _category: c_int,
) -> *mut c_char {
    message
}

/// The only format that is understood.
const RANGE: &CStr = c"%lx-%lx";

/// What `sscanf` does with the format `%lx-%lx`; with any other, nothing in the line matches.
///
/// # Safety
/// `line` and `format` are C strings, and `from` and `to` can be written to, as `sscanf` asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn cardinal_sscanf(
    line: *const c_char,
    format: *const c_char,
    from: *mut c_ulong,
    to: *mut c_ulong,
) -> c_int {
    // SAFETY: the caller's promise.
    let (line, format) = unsafe { (CStr::from_ptr(line), CStr::from_ptr(format)) };
    let Some((begin, end)) = range(line.to_bytes()).filter(|_| format == RANGE) else {
        return 0;
    };
    // SAFETY: the caller's promise; the format says what these point to.
    unsafe {
        from.write(begin);
        to.write(end);
    }
    2
}

/// `7f00-7f80 …` in hexadecimal.
fn range(line: &[u8]) -> Option<(c_ulong, c_ulong)> {
    let (begin, rest) = number(line)?;
    let (end, _) = number(rest.strip_prefix(b"-")?)?;
    Some((begin, end))
}

/// A hexadecimal number, and what follows it.
fn number(text: &[u8]) -> Option<(c_ulong, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = text.split_at(digits);
    let number = c_ulong::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What our function and the C library's make of a line.
    fn both(line: &CStr, format: &CStr) -> [(c_int, c_ulong, c_ulong); 2] {
        let (line, format) = (line.as_ptr(), format.as_ptr());
        let [mut ours, mut theirs] = [(0, 1, 2); 2];
        // SAFETY: C strings, and as many numbers as the formats below ask for.
        unsafe {
            ours.0 = cardinal_sscanf(line, format, &mut ours.1, &mut ours.2);
            theirs.0 = libc::sscanf(line, format, &mut theirs.1, &mut theirs.2);
        }
        [ours, theirs]
    }

    #[test]
    fn ranges_are_read_as_the_c_library_reads_them() {
        for line in [
            c"7ffc1f2e3000-7ffc1f304000 rw-p 00000000 00:00 0    [stack]\n",
            c"0-ffffffffffffffff",
            c"00400000-0040B000 r-xp 00000000 08:01 42 /bin/\xff",
        ] {
            let [ours, theirs] = both(line, RANGE);
            assert_eq!((ours, ours.0), (theirs, 2), "{line:?}");
        }
    }

    #[test]
    fn anything_else_matches_nothing() {
        for line in [c"", c"-", c"x-1", c"1", c"1 2", c"1-", c"10000000000000000-1"] {
            assert_eq!(both(line, RANGE)[0], (0, 1, 2), "{line:?}");
        }
        assert_eq!(both(c"1-2", c"%lu-%lu")[0], (0, 1, 2));
    }
}
