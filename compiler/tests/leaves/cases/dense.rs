//! Sums of dense layers.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::gemm::dense::DenseSums;

use super::random::Random;
use super::{Argument, Case, Place, Value, used};

/// Channels of a block.
const CHANNELS: usize = 8;

/// The registers are the same for all vectors.
pub(crate) fn sums(random: &mut Random, _: Vectors) -> Case {
    let (bytes, bias) = (random.is(), random.is());
    let depth = random.between(32, 300);
    let spec = DenseSums { depth, input: random.between(1, 3), bytes, bias };
    let [mut input, mut weights, mut to, mut biases] =
        ["input", "weights", "output", "bias"].map(Place::new);
    for channel in 0..CHANNELS {
        let start = if bias { biases.read(channel, random) } else { Value::ZERO };
        let products = (0..depth).map(|r| {
            let weight = match bytes {
                false => weights.read(r * CHANNELS + channel, random),
                true => {
                    let word = weights.word_of((r * CHANNELS + channel) / 4, || random.bytes());
                    Value::exact(f32::from(word[channel % 4].cast_signed()))
                }
            };
            input.read(r * spec.input, random) * weight
        });
        let sum: Value = products.sum();
        to.write(channel, start + sum);
    }
    let function = spec.assembled();
    Case {
        spec: format!("{spec:?}"),
        function,
        arguments: [
            Argument::Place(0),
            Argument::Place(1),
            Argument::Place(2),
            used(bias, 3),
            Argument::Nothing,
            Argument::Nothing,
        ],
        places: vec![input, weights, to, biases],
    }
}
