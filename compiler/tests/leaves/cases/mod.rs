//! Random leaf functions, each with memory as long as its specification allows and with what it must
//! compute, in f64 and without any code of what emits them.

mod bfloats;
mod bytes;
mod dense;
mod halves;
mod random;
mod rows;
mod strassen;
mod tile;
mod value;
mod winograd;

use std::collections::BTreeMap;

use cardinal_compiler::asm::interpret::{Call, Memory, Permission, Region};
use cardinal_compiler::asm::{Function, Vectors, is_encoded};
use cardinal_compiler::schedule::epilogue::FusedStep;
use random::Random;
use value::Value;

/// Elements of a block.
const BLOCK: usize = 16;

/// Bytes of an element.
const ELEMENT: i64 = 4;

/// What makes a random leaf function of a kind, for these vectors.
pub(crate) type Make = fn(&mut Random, Vectors) -> Case;

/// Kinds of leaf functions.
pub(crate) const KINDS: [(&str, Make); 20] = [
    ("micro-kernel", tile::whole),
    ("micro-kernel of narrow groups", tile::narrow),
    ("Winograd's input transform", winograd::input),
    ("Winograd's output transform", winograd::output),
    ("Strassen's sums of inputs", strassen::inputs),
    ("Strassen's sums of products", strassen::products),
    ("micro-kernel of bytes", bytes::tile),
    ("micro-kernel of bytes in narrow groups", bytes::narrow),
    ("micro-kernel of bytes in pairs", bytes::pairs),
    ("micro-kernel of bytes in pairs in narrow groups", bytes::narrow_pairs),
    ("micro-kernel of i16", halves::tile),
    ("micro-kernel of i16 in pairs", halves::pairs),
    ("Winograd's input transform of bytes", winograd::input_of_bytes),
    ("Winograd's output transform to bytes", winograd::output_of_bytes),
    ("sums of a dense layer", dense::sums),
    ("rows of functions", rows::of_functions),
    ("micro-kernel of bfloat16", bfloats::tile),
    ("micro-kernel of bfloat16 in narrow groups", bfloats::narrow),
    ("copies as bfloat16", bfloats::copies),
    ("Winograd's input transform to bfloat16", winograd::input_to_bfloats),
];

/// What code is assembled for.
pub(crate) fn assembled() -> impl Iterator<Item = Vectors> {
    Vectors::X86_64.into_iter().filter(|vectors| is_encoded(*vectors))
}

/// A function called once.
pub(crate) struct Case {
    /// What it was made of.
    pub(crate) spec: String,
    pub(crate) function: Function,
    pub(crate) arguments: [Argument; 6],
    pub(crate) places: Vec<Place>,
}

/// An argument.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument {
    /// Not used.
    Nothing,
    /// A number.
    Count(usize),
    /// Element 0 of the place of this number, which need not be in memory.
    Place(usize),
}

/// The elements around a pointer. Memory is from the first to the last of those that are there, and
/// what is between them is NaN.
#[derive(Default)]
pub(crate) struct Place {
    name: &'static str,
    before: BTreeMap<i64, f32>,
    /// What must be there at the end; what is not listed stays as it is.
    after: BTreeMap<i64, Value>,
    /// The same for words of bytes.
    words: BTreeMap<i64, [u8; 4]>,
    /// Whether it may hold anything at the end.
    is_scratch: bool,
}

impl Place {
    fn new(name: &'static str) -> Place {
        Place { name, ..Place::default() }
    }

    /// Elements without contents, to be overwritten.
    fn scratch(name: &'static str, elements: usize) -> Place {
        let before = (0..elements as i64).map(|at| (at, f32::NAN)).collect();
        Place { name, before, is_scratch: true, ..Place::default() }
    }

    fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// An element, of which there is one from now on.
    fn read(&mut self, at: usize, random: &mut Random) -> Value {
        Value::exact(*self.before.entry(at as i64).or_insert_with(|| random.float()))
    }

    /// What an element must be at the end.
    fn write(&mut self, at: usize, value: Value) {
        self.before.entry(at as i64).or_insert(f32::NAN);
        let earlier = self.after.insert(at as i64, value);
        assert!(earlier.is_none(), "{} is written twice at {at}", self.name);
    }

    /// A word of memory, made up if it is not there yet.
    fn word_of(&mut self, at: usize, make: impl FnOnce() -> [u8; 4]) -> [u8; 4] {
        let word = self.before.entry(at as i64).or_insert_with(|| f32::from_le_bytes(make()));
        word.to_le_bytes()
    }

    /// What four bytes must be at the end.
    fn write_word(&mut self, at: usize, bytes: [u8; 4]) {
        self.before.entry(at as i64).or_insert(f32::NAN);
        let earlier = self.words.insert(at as i64, bytes);
        assert!(earlier.is_none(), "{} is written twice at {at}", self.name);
    }

    /// The first element in memory.
    fn first(&self) -> i64 {
        self.before.first_key_value().map_or(0, |(at, _)| *at)
    }

    /// The contents at the start.
    fn contents(&self) -> Vec<f32> {
        let end = self.before.last_key_value().map_or(0, |(at, _)| at + 1);
        let at = |at| self.before.get(&at).copied().unwrap_or(f32::NAN);
        (self.first()..end).map(at).collect()
    }
}

impl Place {
    /// The first element that is not what it must be at the end.
    fn difference(&self, region: &Region) -> Option<String> {
        let (first, found, before) = (self.first(), region.elements(), self.contents());
        assert_eq!(found.len(), before.len());
        (first..).zip(found.into_iter().zip(before)).find_map(|(at, (found, before))| {
            let (expected, word) = (self.after.get(&at), self.words.get(&at));
            let is_right = match (expected, word) {
                (Some(value), _) => value.is_near(found),
                (None, Some(word)) => found.to_le_bytes() == *word,
                (None, None) => self.is_scratch || found.to_bits() == before.to_bits(),
            };
            let name = self.name;
            (!is_right).then(|| {
                format!("{name}[{at}]: {found} for {expected:?} or {word:?}, {before} before")
            })
        })
    }
}

/// What steps make of a value whose other operand is element `at`.
fn apply(
    steps: &[FusedStep],
    value: Value,
    (residual, at): (&mut Place, usize),
    random: &mut Random,
) -> Value {
    steps.iter().fold(value, |value, step| match step {
        FusedStep::AddResidual => value + residual.read(at, random),
        FusedStep::Relu => value.relu(),
    })
}

/// The argument that is a place, if it is used.
fn used(is_used: bool, place: usize) -> Argument {
    if is_used { Argument::Place(place) } else { Argument::Nothing }
}

impl Case {
    /// The case of a kind that a seed stands for.
    pub(crate) fn of(kind: Make, vectors: Vectors, seed: u64) -> Case {
        kind(&mut Random::new(seed), vectors)
    }

    /// Memory at addresses that nothing is known of, in the order of places.
    pub(crate) fn memory(&self, seed: u64) -> Memory {
        let mut random = Random::new(seed);
        let region = |(i, place): (usize, &Place)| {
            let address = ((i as u64 + 1) << 44) + (random.below(1 << 40) as u64 * ELEMENT as u64);
            let is_written =
                place.is_scratch || !(place.after.is_empty() && place.words.is_empty());
            let permission = if is_written { Permission::ReadWrite } else { Permission::Read };
            Region::of(place.name, address, &place.contents(), permission)
        };
        Memory { regions: self.places.iter().enumerate().map(region).collect() }
    }

    /// Bytes from the start of a place's memory to its element 0.
    pub(crate) fn offset(&self, place: usize) -> isize {
        (-self.places[place].first() * ELEMENT) as isize
    }

    /// The arguments in that memory.
    pub(crate) fn call(&self, memory: &Memory) -> Call {
        let address = |place: usize| {
            memory.regions[place].address.wrapping_add_signed(self.offset(place) as i64)
        };
        Call::new(self.arguments.map(|argument| match argument {
            Argument::Nothing => None,
            Argument::Count(count) => Some(count as u64),
            Argument::Place(place) => Some(address(place)),
        }))
    }

    /// What is in memory of those elements of the output that are written.
    pub(crate) fn output(&self, memory: &Memory) -> Vec<f32> {
        let all = self.places.iter().zip(&memory.regions);
        let output = all.filter(|(place, _)| place.name == "output");
        let written = |(place, region): (&Place, &Region)| -> Vec<f32> {
            let elements = region.elements();
            place.after.keys().map(|at| elements[(at - place.first()) as usize]).collect()
        };
        output.flat_map(written).collect()
    }

    /// Where memory is not what it must be, if anywhere.
    pub(crate) fn difference(&self, memory: &Memory) -> Option<String> {
        self.places.iter().zip(&memory.regions).find_map(|(place, region)| place.difference(region))
    }
}
