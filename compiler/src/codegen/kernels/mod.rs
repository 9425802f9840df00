//! One file per kernel: `emit` writes its body for items `begin..end`.

mod argmax;
mod blocks;
mod contract;
mod gather;
mod map;
mod pool;
mod reduce;
mod softmax;
pub(super) mod strassen;
pub(super) mod tile;
pub(super) mod winograd;

use cranelift_codegen::ir::Value;

use super::emitter::Emitter;
use crate::plan::kernel::Kernel;

/// Emits the kernel's body. `args` is the address of its argument pointers.
pub(super) fn emit(e: &mut Emitter<'_, '_>, kernel: &Kernel, args: Value, items: [Value; 2]) {
    match kernel {
        Kernel::Map(map) => map::emit(e, map, args, items),
        Kernel::Contract(contract) => contract::emit(e, contract, args, items),
        // Its micro-kernels are functions of their own: the linker emits it.
        Kernel::Tile(_)
        | Kernel::WinogradInput(_)
        | Kernel::WinogradOutput(_)
        | Kernel::StrassenInput(_)
        | Kernel::StrassenOutput(_) => {}
        Kernel::BlockMean(mean) => blocks::mean(e, mean, args, items),
        Kernel::BlockPool(pool) => blocks::pool(e, pool, args, items),
        Kernel::Reduce(reduction) => reduce::emit(e, reduction, args, items),
        Kernel::Softmax(softmax) => softmax::emit(e, softmax, args, items),
        Kernel::Pool(pooling) => pool::emit(e, pooling, args, items),
        Kernel::Gather(gather) => gather::emit(e, gather, args, items),
        Kernel::ArgMax(argmax) => argmax::emit(e, argmax, args, items),
    }
}
