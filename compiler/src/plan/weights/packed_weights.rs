//! The weights section of finished plans: which constants are stored in fewer digits, and their packed
//! bytes, written where they lie. (`section_layout` has decided where that is.)

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;

use bytes::Bytes;
use cardinal_runtime::manifest::WeightRun;
use cardinal_runtime::{Encoding, Narrow, Pieces, Weights};

use super::narrow::{OutOfRange, Storage};
use super::share::for_each;
use super::{Order, Packed};
use crate::plan::{Constant, Plan};

/// The weights section of plans that share it, before it is packed.
///
/// The section does not depend on the number of threads that pack it: each stripe of a constant has
/// its place, and whoever is free writes the next.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    /// In order; they do not overlap, and the first lies at 0.
    constants: Vec<Placed>,
    /// What is asked for.
    narrow: Option<Narrow>,
    threads: NonZeroUsize,
}

/// A constant that is stored.
#[derive(Debug, Clone)]
struct Placed {
    data: Packed,
    storage: Storage,
    /// Bytes from where it begins to where the next one does, as loaded.
    loaded: usize,
}

impl Placed {
    fn stored(&self) -> usize {
        self.storage.encoding().stored(self.loaded)
    }
}

impl PackedWeights {
    /// The section of these plans, to be packed by so many threads, with weights rounded to a format where one is
    /// given and their values allow it.
    pub fn new(plans: &[Plan], narrow: Option<Narrow>, threads: NonZeroUsize) -> PackedWeights {
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
            storage: Storage::Plain,
            loaded: end - begin,
        };
        let mut constants: Vec<Placed> = distinct.iter().zip(ends).map(placed).collect();
        if let Some(narrow) = narrow {
            let undecided = distinct.values().zip(&mut constants).collect();
            let decide = |_: &mut (), (constant, placed): (&&Constant, &mut Placed)| {
                placed.storage = Storage::of(constant, narrow);
            };
            for_each(threads, undecided, || (), decide);
        }
        PackedWeights { constants, narrow, threads }
    }

    /// Length of the section as code reads it, in bytes.
    pub fn loaded_bytes(&self) -> usize {
        self.constants.iter().map(|placed| placed.loaded).sum()
    }

    /// How the section is stored, for the manifest. Where a format is asked for, this has a run even if no
    /// constant is stored in it.
    pub fn runs(&self) -> Vec<WeightRun> {
        let mut runs: Vec<WeightRun> = Vec::new();
        if self.narrow.is_none() {
            return runs;
        }
        for placed in &self.constants {
            let (bytes, encoding) = (placed.loaded as u64, placed.storage.encoding().code());
            match runs.last_mut() {
                Some(run) if run.encoding == encoding => run.bytes += bytes,
                Some(_) | None => runs.push(WeightRun { bytes, encoding }),
            }
        }
        runs
    }

    /// The weights that would be stored in fewer digits if their values allowed it, by name.
    pub fn out_of_range(&self) -> Vec<OutOfRange> {
        let beyond = |placed: &Placed| match &placed.storage {
            Storage::OutOfRange(beyond) => Some((beyond.name.clone(), beyond.clone())),
            Storage::Narrow(_) | Storage::Plain => None,
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
            encoding: placed.storage.encoding(),
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
            Encoding::Narrow(narrow) => {
                let to: &mut [u16] = bytemuck::cast_slice_mut(to);
                floats.resize(to.len(), 0.0);
                self.order.fill(from, self.number, bytemuck::cast_slice_mut(floats));
                narrow.round(floats, to);
            }
        }
    }
}
