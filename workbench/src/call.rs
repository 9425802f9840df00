//! Calls generated code and looks at what it must leave as it was (System V ABI for x86-64, 3.2.1): the
//! callee-saved registers, the direction flag, the control words of SSE and x87, and clean upper halves of
//! vectors.

use std::arch::naked_asm;
use std::sync::OnceLock;

/// Registers that a function must restore, with what they hold before: rbx, rbp, r12 to r15.
const PATTERNS: [u64; 6] = [
    0x1111_1111_1111_1111,
    0x2222_2222_2222_2222,
    0x3333_3333_3333_3333,
    0x4444_4444_4444_4444,
    0x5555_5555_5555_5555,
    0x6666_6666_6666_6666,
];

/// The direction flag.
const DIRECTION: u64 = 1 << 10;
/// What of the extended state is in use, by `xgetbv` with 1: upper halves of ymm, and of zmm0 to 15.
const UPPER: u64 = 1 << 2 | 1 << 6;

/// What the trampoline finds behind the call.
#[repr(C)]
#[derive(Debug, Default)]
struct Seen {
    registers: [u64; 6],
    flags: u64,
    mxcsr: u32,
    x87: u32,
    /// State in use before the call and after it; both 0 where this is not known.
    in_use: [u64; 2],
    /// Whether the CPU tells.
    tells: u64,
}

/// Calls `function` with six arguments, of which it may take fewer.
///
/// # Safety
/// The function is one of the System V ABI that takes these.
///
/// # Panics
/// If it does not leave as it was what it must.
pub(crate) unsafe fn call(function: *const u8, arguments: [usize; 6]) {
    let tells = u64::from(tells_what_is_in_use());
    let mut seen = Seen { tells, ..Seen::default() };
    let before = control_words();
    // SAFETY: the caller's; the trampoline keeps to the ABI whatever the function does to registers.
    unsafe { trampoline(function, &arguments, &mut seen) };
    assert_eq!(seen.registers, PATTERNS, "callee-saved registers: rbx, rbp, r12 to r15");
    assert_eq!(seen.flags & DIRECTION, 0, "the direction flag");
    // The lowest six bits of MXCSR are exceptions that happened, which are nobody's.
    assert_eq!(
        [seen.mxcsr & !0x3F, seen.x87 & 0xFFFF],
        before,
        "MXCSR and the control word of x87"
    );
    let [was, is] = seen.in_use;
    assert_eq!(
        is & !was & UPPER,
        0,
        "upper halves of vectors are in use: {is:#x}, before {was:#x}"
    );
}

/// MXCSR without its exceptions, and the control word of x87.
fn control_words() -> [u32; 2] {
    let (mut mxcsr, mut x87) = (0u32, 0u16);
    // SAFETY: both store to memory of ours.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack));
        std::arch::asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack));
    }
    [mxcsr & !0x3F, u32::from(x87)]
}

/// Whether `xgetbv` with 1 is there, and with it AVX.
fn tells_what_is_in_use() -> bool {
    const EXTENDED_STATE: u32 = 0xD;
    // Hypervisors take their time for it.
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| {
        let leaf = std::arch::x86_64::__cpuid_count(EXTENDED_STATE, 1);
        is_x86_feature_detected!("avx") && leaf.eax & (1 << 2) != 0
    })
}

/// Fills the registers, calls, and writes down what it finds.
#[unsafe(naked)]
unsafe extern "sysv64" fn trampoline(
    function: *const u8,
    arguments: *const [usize; 6],
    seen: *mut Seen,
) {
    naked_asm!(
        "push rbx; push rbp; push r12; push r13; push r14; push r15; push rdx",
        "mov r11, rdi",
        "mov r10, rsi",
        "mov r9, rdx",
        "cmp qword ptr [r9 + 80], 0",
        "je 2f",
        "vzeroupper",
        "mov ecx, 1",
        "xgetbv",
        "mov [r9 + 64], eax",
        "2:",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov rcx, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "mov r9, [r10 + 40]",
        "movabs rbx, 0x1111111111111111",
        "movabs rbp, 0x2222222222222222",
        "movabs r12, 0x3333333333333333",
        "movabs r13, 0x4444444444444444",
        "movabs r14, 0x5555555555555555",
        "movabs r15, 0x6666666666666666",
        "call r11",
        "mov r9, [rsp]",
        "mov [r9], rbx",
        "mov [r9 + 8], rbp",
        "mov [r9 + 16], r12",
        "mov [r9 + 24], r13",
        "mov [r9 + 32], r14",
        "mov [r9 + 40], r15",
        "pushfq",
        "pop qword ptr [r9 + 48]",
        "cld",
        "stmxcsr [r9 + 56]",
        "fnstcw [r9 + 60]",
        "cmp qword ptr [r9 + 80], 0",
        "je 3f",
        "mov ecx, 1",
        "xgetbv",
        "mov [r9 + 72], eax",
        "3:",
        "pop rdx; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
        "ret",
    )
}
