//! The calling convention between generated code and whoever calls it.
//!
//! The code section of each variant of an artifact is one position-independent blob without relocations. Its entry
//! point and its kernels are leaf-like functions of the platform's C convention; they call nothing
//! but `parallel_for` and each other, touch no global, and get everything through [`Frame`].

use std::ffi::c_void;

/// A kernel: does items `begin..end` of its work on the buffers that `args` points to.
///
/// `args` is an array of pointers whose meaning the generated entry point and the kernel agree on.
/// `worker` numbers the threads that run at once, from 0: it says which part of the scratch memory
/// behind the arena is this call's own.
pub type Kernel =
    unsafe extern "C" fn(args: *const c_void, begin: usize, end: usize, worker: usize);

/// Runs `kernel(args, begin, end, worker)` over disjoint ranges that cover `0..items`, and returns
/// when all are done. Any partition, order and number of threads gives the same bits. Ranges that
/// run at the same time have different workers, each below the number of threads for which there is
/// scratch memory.
pub type ParallelFor =
    unsafe extern "C" fn(context: *mut c_void, kernel: Kernel, args: *const c_void, items: usize);

/// The entry point of a compiled model.
///
/// [`Session`](crate::Session) calls it, and runs its kernels, with denormals taken for and flushed
/// to zero, rounding to nearest and all exceptions masked. It leaves that mode as it is.
pub type Entry = unsafe extern "C" fn(frame: *const Frame);

/// Everything that generated code may touch. Field order is part of the artifact format.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    /// One pointer per model input, in manifest order, each to a dense row-major tensor.
    pub inputs: *const *const u8,
    /// One pointer per model output, in manifest order.
    pub outputs: *const *mut u8,
    /// The weights section as loaded, aligned to [`ALIGNMENT`].
    pub weights: *const u8,
    /// Scratch memory, aligned to [`ALIGNMENT`]; needs no clearing. The variant's `arena_bytes`,
    /// then `worker_bytes` for each thread of the parallel-for.
    pub arena: *mut u8,
    /// The code section: kernels are addressed relative to it.
    pub code: *const u8,
    /// The caller's parallel-for.
    pub parallel_for: ParallelFor,
    /// Passed to `parallel_for` untouched.
    pub context: *mut c_void,
    /// How many images inputs and outputs have: at most as many as the model was compiled for, and
    /// exactly as many where its images are not computed one by one.
    pub images: usize,
}

/// Byte offsets of [`Frame`]'s fields on a 64-bit target, for the code generator.
pub mod offset {
    /// Offset of `inputs`.
    pub const INPUTS: i32 = 0;
    /// Offset of `outputs`.
    pub const OUTPUTS: i32 = 8;
    /// Offset of `weights`.
    pub const WEIGHTS: i32 = 16;
    /// Offset of `arena`.
    pub const ARENA: i32 = 24;
    /// Offset of `code`.
    pub const CODE: i32 = 32;
    /// Offset of `parallel_for`.
    pub const PARALLEL_FOR: i32 = 40;
    /// Offset of `context`.
    pub const CONTEXT: i32 = 48;
    /// Offset of `images`.
    pub const IMAGES: i32 = 56;
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Frame, inputs) == offset::INPUTS as usize);
    assert!(offset_of!(Frame, outputs) == offset::OUTPUTS as usize);
    assert!(offset_of!(Frame, weights) == offset::WEIGHTS as usize);
    assert!(offset_of!(Frame, arena) == offset::ARENA as usize);
    assert!(offset_of!(Frame, code) == offset::CODE as usize);
    assert!(offset_of!(Frame, parallel_for) == offset::PARALLEL_FOR as usize);
    assert!(offset_of!(Frame, context) == offset::CONTEXT as usize);
    assert!(offset_of!(Frame, images) == offset::IMAGES as usize);
};

/// Control words of the floating-point mode that generated code is called in: round to nearest,
/// exceptions masked, denormals taken for and flushed to zero.
pub mod float_mode {
    /// x86-64's MXCSR: the power-on default 0x1F80 with flush-to-zero (bit 15) and
    /// denormals-are-zero (bit 6).
    pub const MXCSR: u32 = 0x1F80 | 1 << 15 | 1 << 6;
    /// aarch64's FPCR: flush-to-zero (bit 24), which covers inputs and results.
    pub const FPCR: u32 = 1 << 24;
}

/// Alignment in bytes of the arena, of the weights section and of every buffer inside them.
pub const ALIGNMENT: usize = 64;

/// Bytes past the end of every input, output and arena that generated code never touches: buffers
/// need no slack.
pub const SLACK: usize = 0;
