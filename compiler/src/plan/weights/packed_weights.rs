//! The weights section of finished plans: which constants are stored as halves, and their packed bytes,
//! written where they lie. (`section_layout` has decided where that is.)

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;

use bytes::Bytes;
use cardinal_runtime::manifest::WeightRun;
use cardinal_runtime::{Encoding, Pieces, Weights};
use half::f16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};

use super::halves::{BeyondHalf, HalfPrecision};
use super::share::for_each;
use super::{Order, Packed};
use crate::plan::{Constant, Plan};

/// How the weights of an artifact are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As code reads them, in place.
    #[default]
    F32,
    /// Most of them in IEEE half precision, rounded to nearest even, in about half the bytes; the
    /// runtime makes them f32 again when it loads the artifact. What stays as it is: weights of less than
    /// 4 KiB in the model, what is not f32, and weights whose values may be beyond half precision.
    F16,
}

/// The weights section of plans that share it, before it is packed.
///
/// The section does not depend on the number of threads that pack it: each stripe of a constant has
/// its place, and whoever is free writes the next.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    /// In order; they do not overlap, and the first lies at 0.
    constants: Vec<Placed>,
    precision: Precision,
    threads: NonZeroUsize,
}

/// A constant that is stored.
#[derive(Debug, Clone)]
struct Placed {
    data: Packed,
    half_precision: HalfPrecision,
    /// Bytes from where it begins to where the next one does, as loaded.
    loaded: usize,
}

impl Placed {
    fn encoding(&self) -> Encoding {
        match self.half_precision {
            HalfPrecision::Yes => Encoding::Half,
            HalfPrecision::No | HalfPrecision::Beyond(_) => Encoding::Plain,
        }
    }

    fn stored(&self) -> usize {
        self.encoding().stored(self.loaded)
    }
}

impl PackedWeights {
    /// The section of these plans, to be packed by so many threads.
    pub fn new(plans: &[Plan], precision: Precision, threads: NonZeroUsize) -> PackedWeights {
        let all = plans.iter().flat_map(|plan| &plan.constants);
        // What several plans share is at one place. Constants without elements take none.
        let distinct: BTreeMap<usize, &Constant> = all
            .filter(|constant| constant.ty.bytes() > 0)
            .map(|constant| (constant.offset, constant))
            .collect();
        let total = plans.first().map_or(0, |plan| plan.weight_bytes);
        let ends = distinct.keys().copied().skip(1).chain([total]);
        let placed = |((begin, constant), end): ((&usize, &&Constant), usize)| Placed {
            data: constant.data.clone(),
            half_precision: HalfPrecision::No,
            loaded: end - begin,
        };
        let mut constants: Vec<Placed> = distinct.iter().zip(ends).map(placed).collect();
        if precision == Precision::F16 {
            let undecided = distinct.values().zip(&mut constants).collect();
            let decide = |_: &mut (), (constant, placed): (&&Constant, &mut Placed)| {
                placed.half_precision = HalfPrecision::of(constant);
            };
            for_each(threads, undecided, || (), decide);
        }
        PackedWeights { constants, precision, threads }
    }

    /// Length of the section as code reads it, in bytes.
    pub fn loaded_bytes(&self) -> usize {
        self.constants.iter().map(|placed| placed.loaded).sum()
    }

    /// How the section is stored, for the manifest. With [`Precision::F16`] this has a run even if no
    /// constant is stored as halves: others that take their places may be.
    pub fn runs(&self) -> Vec<WeightRun> {
        let mut runs: Vec<WeightRun> = Vec::new();
        if self.precision == Precision::F32 {
            return runs;
        }
        for placed in &self.constants {
            let (bytes, encoding) = (placed.loaded as u64, placed.encoding() as u32);
            match runs.last_mut() {
                Some(run) if run.encoding == encoding => run.bytes += bytes,
                Some(_) | None => runs.push(WeightRun { bytes, encoding }),
            }
        }
        runs
    }

    /// The weights that would be stored as halves if their values allowed it, by name.
    pub fn beyond_half(&self) -> Vec<BeyondHalf> {
        let beyond = |placed: &Placed| match &placed.half_precision {
            HalfPrecision::Beyond(beyond) => Some((beyond.name.clone(), beyond.clone())),
            HalfPrecision::Yes | HalfPrecision::No => None,
        };
        // A weight that is packed in several ways is one.
        let by_name: BTreeMap<_, _> = self.constants.iter().filter_map(beyond).collect();
        by_name.into_values().collect()
    }
}

impl Weights for PackedWeights {
    fn length(&self) -> usize {
        self.constants.iter().map(Placed::stored).sum()
    }

    fn write(self, to: &mut dyn Pieces) -> io::Result<()> {
        let source = |placed: &Placed| Source {
            order: placed.data.order(),
            from: placed.data.weight.bytes(&placed.data.ty),
            encoding: placed.encoding(),
            stored: placed.stored(),
        };
        let sources: Vec<Source> = self.constants.iter().map(source).collect();
        let stripes: Vec<Stripe<'_>> = sources.iter().flat_map(Source::stripes).collect();
        for piece in pieces(&stripes) {
            let length = piece.iter().map(|stripe| stripe.length).sum();
            to.piece(length, &mut |bytes| {
                for_each(self.threads, places(piece, bytes), Vec::new, |floats, (stripe, to)| {
                    stripe.write(floats, to);
                });
            })?;
        }
        Ok(())
    }
}

/// About as many bytes of the section are written at a time.
const PIECE: usize = 4 << 20;

/// Stripes that follow each other, in lists of about [`PIECE`] bytes.
fn pieces<'s, 'a>(stripes: &'s [Stripe<'a>]) -> impl Iterator<Item = &'s [Stripe<'a>]> {
    let mut bytes = 0;
    stripes.chunk_by(move |stripe, _| {
        bytes += stripe.length;
        let goes_on = bytes < PIECE;
        if !goes_on {
            bytes = 0;
        }
        goes_on
    })
}

/// Each stripe with its place.
fn places<'s, 'a>(
    stripes: &'s [Stripe<'a>],
    mut bytes: &'s mut [u8],
) -> Vec<(&'s Stripe<'a>, &'s mut [u8])> {
    let mut place = |stripe: &'s Stripe<'a>| {
        let (place, rest) = std::mem::take(&mut bytes).split_at_mut(stripe.length);
        bytes = rest;
        (stripe, place)
    };
    stripes.iter().map(&mut place).collect()
}

/// What a constant is made of.
struct Source {
    order: Box<dyn Order>,
    /// The weight, if it is known, as it is in every plan of a model.
    from: Option<Bytes>,
    encoding: Encoding,
    /// Bytes up to the next constant.
    stored: usize,
}

impl Source {
    /// Every stripe, in order.
    fn stripes(&self) -> Vec<Stripe<'_>> {
        let Source { order, from, encoding, stored } = self;
        let stripe = |(number, bytes)| {
            let (bytes, from) = (encoding.stored(bytes), from.as_deref());
            Stripe { order: &**order, from, encoding: *encoding, number, bytes, length: bytes }
        };
        let mut stripes: Vec<Stripe<'_>> =
            order.stripes().into_iter().enumerate().map(stripe).collect();
        let end: usize = stripes.iter().map(|stripe| stripe.bytes).sum();
        if let Some(last) = stripes.last_mut() {
            last.length += stored - end;
        }
        stripes
    }
}

/// A stripe that is to be written.
struct Stripe<'a> {
    order: &'a dyn Order,
    /// The weight, if it is known.
    from: Option<&'a [u8]>,
    encoding: Encoding,
    number: usize,
    /// Its bytes, as stored.
    bytes: usize,
    /// Bytes up to the next stripe, of this or of the next constant.
    length: usize,
}

impl Stripe<'_> {
    /// Writes it to the beginning of `to`; `floats` is memory to use.
    fn write(&self, floats: &mut Vec<f32>, to: &mut [u8]) {
        let Some(from) = self.from else { return };
        let to = &mut to[..self.bytes];
        match self.encoding {
            Encoding::Plain => self.order.fill(from, self.number, to),
            Encoding::Half => {
                let to: &mut [u16] = bytemuck::cast_slice_mut(to);
                floats.resize(to.len(), 0.0);
                self.order.fill(from, self.number, bytemuck::cast_slice_mut(floats));
                to.reinterpret_cast_mut::<f16>().convert_from_f32_slice(floats);
            }
        }
    }
}
