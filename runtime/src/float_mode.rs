//! The floating-point mode that generated code runs in.
//!
//! Round to nearest, exceptions masked, and denormals taken for and flushed to zero: a deep network
//! makes denormals, and on most CPUs each one costs a hundred cycles. The mode is fixed in full, so
//! that results do not depend on what the caller had set. Rust code assumes the default mode, so
//! none that computes with floating-point numbers may run while a [`FloatMode`] is alive.

/// Holds the mode; puts the thread's former one back when dropped.
pub(crate) struct FloatMode {
    former: u64,
}

impl FloatMode {
    /// Sets this thread's mode.
    pub(crate) fn enter() -> FloatMode {
        let former = control::read();
        control::write(control::GENERATED_CODE);
        FloatMode { former }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        control::write(self.former);
    }
}

/// MXCSR.
#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    pub(super) const GENERATED_CODE: u64 = crate::abi::float_mode::MXCSR as u64;

    pub(super) fn read() -> u64 {
        let mut value = 0u32;
        // SAFETY: stores the register to the four bytes of `value`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        u64::from(value)
    }

    pub(super) fn write(value: u64) {
        let value = value as u32;
        // SAFETY: loads the four bytes of `value`, which is a value read before or the constant
        // above, so no reserved bit is set; no Rust arithmetic on floats runs until it is restored.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
        };
    }
}

/// FPCR.
#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub(super) const GENERATED_CODE: u64 = crate::abi::float_mode::FPCR as u64;

    pub(super) fn read() -> u64 {
        let value: u64;
        // SAFETY: reads a register that user code may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: u64) {
        // SAFETY: writes a register that user code may write, with a value read before or the
        // constant above; no Rust arithmetic on floats runs until it is restored.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

/// Architectures that Cardinal generates no code for.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub(super) const GENERATED_CODE: u64 = 0;

    pub(super) fn read() -> u64 {
        0
    }

    pub(super) fn write(_value: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[inline(never)]
    fn halve(x: f32) -> f32 {
        black_box(x) * black_box(0.5)
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn denormals_vanish_inside_and_come_back_after() {
        let before = control::read();
        assert_ne!(halve(f32::MIN_POSITIVE), 0.0);
        {
            let _mode = FloatMode::enter();
            assert_eq!(control::read() & GENERATED_BITS, GENERATED_BITS);
        }
        assert_eq!(control::read() & GENERATED_BITS, before & GENERATED_BITS);
        assert_ne!(halve(f32::MIN_POSITIVE), 0.0);
    }

    #[cfg(target_arch = "x86_64")]
    const GENERATED_BITS: u64 = 1 << 15 | 1 << 6;
    #[cfg(target_arch = "aarch64")]
    const GENERATED_BITS: u64 = 1 << 24;
}
