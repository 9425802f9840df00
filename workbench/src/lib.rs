//! A workbench for generated kernels: the same table of cases is proved by `tests/guarded.rs`, on
//! memory that ends where the kernel must stop, and timed by `benches/kernels.rs`.
//!
//! Generated code is called as the runtime calls it, through its [frame](cardinal_runtime::abi), but
//! on memory of our own. That needs unsafe code, which the compiler forbids itself, and the
//! compiler, which the runtime does not know: hence a crate beside both.
//!
//! Nothing here is part of what users get. What goes wrong fails the run, so it panics.

#![cfg(all(unix, target_arch = "x86_64"))]

pub mod by_hand;
#[allow(unsafe_code)] // Calls generated code in assembly.
mod call;
pub mod families;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // Asks the C library.
pub mod holdings;
#[allow(unsafe_code)] // Calls assembled code.
pub mod leaf;
#[allow(unsafe_code)] // Measures the machine in assembly.
pub mod machine;
#[allow(unsafe_code)] // Maps and protects pages, and makes slices of them.
pub mod memory;
pub mod nearness;
pub mod random;
#[allow(unsafe_code)] // Calls generated code.
pub mod rig;
