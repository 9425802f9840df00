//! Cardinal's runtime for C: `include/cardinal_runtime.h` is made of these files.
//!
//! ```text
//! pointers from C --checked--> cardinal-runtime (safe Rust) --Failure--> status and text
//! ```
//!
//! Each function is a few lines: check what C gave, call the runtime, hand out a pointer. No panic
//! leaves one (`status::guard`). What the runtime knows is not decided here a second time.

#[allow(unsafe_code)] // Follows pointers from C.
pub mod info;
#[allow(unsafe_code)] // Follows pointers from C.
mod pointers;
#[allow(unsafe_code)] // Follows pointers from C.
pub mod program;
#[allow(unsafe_code)] // Follows pointers from C.
pub mod session;
#[allow(unsafe_code)] // Has a name that C knows.
pub mod status;
#[cfg(test)]
#[allow(unsafe_code)] // Calls what C calls.
mod tests;
mod text;
