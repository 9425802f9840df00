//! Times the kernels of named layers: `cargo bench -p cardinal-workbench --bench kernels [-- WORD…]`.
//! Words choose families by parts of their names, and CPUs (`x86-64-v3`); without any, all are timed.
//!
//! Figures are in units of 10⁹ floating-point operations a second, a multiply-add being two, and in
//! percent of what a loop of independent multiply-adds reaches on this machine just now. Warm: the
//! kernel ran just before. Cold: its weights were taken out of the caches. Winograd's totals count
//! what direct convolution would compute. One thread; the best run, and the median of warm ones.

#[cfg(all(unix, target_arch = "x86_64"))]
mod table;
#[cfg(all(unix, target_arch = "x86_64"))]
mod timing;

#[cfg(all(unix, target_arch = "x86_64"))]
fn main() {
    // `cargo bench` adds flags of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    table::print(&words);
}

#[cfg(not(all(unix, target_arch = "x86_64")))]
fn main() {
    eprintln!("kernels are timed on x86-64 only");
}
