//! What each instruction means.

use super::memory::ELEMENT;
use super::{Access, AccessKind, Content, Memory, Wrong};
use crate::asm::{Address, Instruction, Label, Register, Vector, Vectors, Words};
use crate::machine::bfloat16;

/// The most lanes that registers have.
const MOST_LANES: usize = 16;

/// Bytes of an i16, and of a bfloat16.
const HALF: usize = size_of::<i16>();

/// Lanes of 128 bits.
const QUARTER: usize = 4;

/// The bits of a vector register's lanes.
type Lanes = [u32; MOST_LANES];

/// Registers and memory.
pub(super) struct Machine<'m> {
    lanes: usize,
    vectors: Vec<Option<Lanes>>,
    integers: [Content; Register::ALL.len()],
    saved: Vec<Content>,
    memory: &'m mut Memory,
    watch: &'m mut dyn FnMut(Access),
}

/// Where it goes on.
pub(super) enum Then {
    Next,
    Jump(usize),
    Return,
}

impl<'m> Machine<'m> {
    pub(super) fn new(
        vectors: Vectors,
        parameters: &[Option<u64>; 6],
        memory: &'m mut Memory,
        watch: &'m mut dyn FnMut(Access),
    ) -> Machine<'m> {
        let mut integers = [Content::Nothing; Register::ALL.len()];
        for register in Register::CALLERS {
            integers[register as usize] = Content::Callers(register);
        }
        for (register, parameter) in Register::PARAMETERS.into_iter().zip(parameters) {
            integers[register as usize] = parameter.map_or(Content::Nothing, Content::Number);
        }
        Machine {
            lanes: vectors.lanes(),
            vectors: vec![None; vectors.registers()],
            integers,
            saved: Vec::new(),
            memory,
            watch,
        }
    }

    /// Carries out an instruction.
    pub(super) fn step(&mut self, instruction: &Instruction) -> Result<Then, Wrong> {
        match *instruction {
            Instruction::Load { to, from } => self.read(from).and_then(|x| self.put(to, x))?,
            Instruction::Store { to, from } => self.write(to, from)?,
            Instruction::Broadcast { to, from } => self.broadcast(to, from)?,
            Instruction::BroadcastInQuarters { to, from, lane } => {
                let lanes = self.read(from)?;
                self.put(to, in_quarters(lanes, lane)?)?;
            }
            Instruction::MultiplyAdd { to, a, b } => self.fused(to, [a, b, to])?,
            Instruction::MultiplyBy { to, by, plus } => self.fused(to, [to, by, plus])?,
            Instruction::Add { to, a, b } => self.floats(to, [a, b], |a, b| a + b)?,
            Instruction::AddMemory { to, from } => self.add_memory(to, from)?,
            Instruction::Subtract { to, a, b } => self.floats(to, [a, b], |a, b| a - b)?,
            Instruction::Multiply { to, a, b } => self.floats(to, [a, b], |a, b| a * b)?,
            Instruction::Divide { to, a, b } => self.floats(to, [a, b], |a, b| a / b)?,
            Instruction::SquareRoot { to, from } => {
                self.each(to, [from], |[x]| bits(float(x).sqrt()))?
            }
            Instruction::Less { to, a, b } => self.each(to, [a, b], less)?,
            Instruction::Pick { mask, yes, no } => self.pick(mask, [yes, no])?,
            Instruction::And { to, a, b } => self.each(to, [a, b], |[a, b]| a & b)?,
            Instruction::Xor { to, a, b } => self.each(to, [a, b], |[a, b]| a ^ b)?,
            Instruction::Max { to, a, b } => self.floats(to, [a, b], larger)?,
            Instruction::Min { to, a, b } => self.floats(to, [a, b], smaller)?,
            Instruction::DotBytes { to, bytes, weights } => {
                self.add_dots(to, [bytes, weights], dot)?
            }
            Instruction::DotPairs { to, bytes, weights } => {
                self.each(to, [bytes, weights], |[a, b]| dot_pairs(a, b))?;
            }
            Instruction::DotHalves { to, a, b } => {
                self.each(to, [a, b], |[a, b]| dot_halves(a, b).cast_unsigned())?;
            }
            Instruction::AddDotHalves { to, a, b } => self.add_dots(to, [a, b], dot_halves)?,
            Instruction::AddDotBfloats { to, a, b } => {
                self.each(to, [a, b, to], |[a, b, sum]| dot_bfloats(a, b, sum))?;
            }
            Instruction::AddIntegers { to, a, b } => {
                self.each(to, [a, b], |[a, b]| a.wrapping_add(b))?;
            }
            Instruction::SubtractIntegers { to, a, b } => {
                self.each(to, [a, b], |[a, b]| a.wrapping_sub(b))?;
            }
            Instruction::ShiftLeft { to, from, by } => self.each(to, [from], |[x]| x << by)?,
            Instruction::ShiftRight { to, from, by } => {
                self.each(to, [from], |[x]| (x.cast_signed() >> by).cast_unsigned())?;
            }
            Instruction::FloatsOfIntegers { to, from } => {
                self.each(to, [from], |[x]| bits(x.cast_signed() as f32))?;
            }
            Instruction::IntegersOfFloats { to, from } => {
                self.each(to, [from], |[x]| nearest(float(x)).cast_unsigned())?;
            }
            Instruction::LoadBytes { to, from } => self.load_bytes(to, from, u32::from)?,
            Instruction::LoadSignedBytes { to, from } => self.load_bytes(to, from, signed)?,
            Instruction::LoadBfloats { to, from } => self.read_bfloats(to, from)?,
            Instruction::SpreadWords { to, from, words, order } => {
                self.spread_words(to, (from, words), order)?;
            }
            Instruction::StoreBytes { to, from } => self.write_bytes(to, from)?,
            Instruction::StoreHalves { to, from } => self.write_halves(to, from)?,
            Instruction::StoreBfloats { to, from } => self.write_bfloats(to, from)?,
            Instruction::Zero { to } => self.put(to, [0; MOST_LANES])?,
            Instruction::CopyVector { to, from } => self.each(to, [from], |[x]| x)?,
            Instruction::Splat { to, value } => self.splat(to, value)?,
            Instruction::Constant { to, bits } => self.put(to, [bits; MOST_LANES])?,
            Instruction::Numbers { to, numbers } => self.put(to, numbers.map(u32::from))?,
            Instruction::PrefetchT0 { at } => self.prefetch(AccessKind::PrefetchT0, at)?,
            Instruction::PrefetchT1 { at } => self.prefetch(AccessKind::PrefetchT1, at)?,
            Instruction::PrefetchWrite { at } => self.prefetch(AccessKind::PrefetchWrite, at)?,
            Instruction::Copy { to, from } => self.copy(to, from)?,
            Instruction::Lea { to, from } => {
                self.address(from).map(|address| self.set(to, Content::Number(address)))?;
            }
            Instruction::Set { to, value } => self.set(to, Content::Number(value as u64)),
            Instruction::AddImmediate { to, by } => self.add_immediate(to, by)?,
            Instruction::CopyIfEqual { to, from, counter, value } => {
                self.copy_if_equal(to, from, (counter, value))?;
            }
            Instruction::Save { register } => self.saved.push(self.integers[register as usize]),
            Instruction::Restore { register } => self.restore(register)?,
            Instruction::LoopBack { counter, to } => return self.loop_back(counter, to),
            Instruction::Return => return self.finish().map(|()| Then::Return),
        }
        Ok(Then::Next)
    }

    // ---- what takes more than a line -----------------------------------------------------------

    fn broadcast(&mut self, to: Vector, from: Address) -> Result<(), Wrong> {
        let element = self.read_lanes(from, 1)?[0];
        self.put(to, [element; MOST_LANES])
    }

    fn add_memory(&mut self, to: Vector, from: Address) -> Result<(), Wrong> {
        let [a, b] = [self.get(to)?, self.read(from)?];
        self.put(to, by_lane(|i| bits(float(a[i]) + float(b[i]))))
    }

    fn splat(&mut self, to: Vector, value: f32) -> Result<(), Wrong> {
        self.put(to, [value.to_bits(); MOST_LANES])?;
        self.set(Register::Scratch0, Content::Nothing);
        Ok(())
    }

    fn copy(&mut self, to: Register, from: Register) -> Result<(), Wrong> {
        self.number(from).map(|number| self.set(to, Content::Number(number)))
    }

    fn add_immediate(&mut self, to: Register, by: i64) -> Result<(), Wrong> {
        let sum = self.number(to)?.wrapping_add_signed(by);
        self.set(to, Content::Number(sum));
        Ok(())
    }

    fn load_bytes(
        &mut self,
        to: Vector,
        from: Address,
        of: impl Fn(u8) -> u32,
    ) -> Result<(), Wrong> {
        let bytes = self.read_bytes(from)?;
        self.put(to, bytes.map(of))
    }

    /// `to += of(a, b)`, in i32, which wraps.
    fn add_dots(
        &mut self,
        to: Vector,
        [a, b]: [Vector; 2],
        of: fn(u32, u32) -> i32,
    ) -> Result<(), Wrong> {
        self.each(to, [to, a, b], |[sum, a, b]| sum.wrapping_add_signed(of(a, b)))
    }

    fn spread_words(
        &mut self,
        to: Vector,
        (from, words): (Address, Words),
        order: Vector,
    ) -> Result<(), Wrong> {
        let count = words.count();
        let (words, order) = (self.read_lanes(from, count)?, self.get(order)?);
        if let Some(lane) = order[..self.lanes].iter().find(|n| **n >= count as u32) {
            return Err(Wrong::NoLane(*lane as usize));
        }
        self.put(to, by_lane(|i| words[order[i] as usize % count]))
    }

    fn pick(&mut self, mask: Vector, from: [Vector; 2]) -> Result<(), Wrong> {
        let lanes = self.get(mask)?;
        if let Some(lane) = lanes[..self.lanes].iter().find(|lane| ![0, u32::MAX].contains(lane)) {
            return Err(Wrong::NoMask { vector: mask, lane: *lane });
        }
        let [yes, no] = [self.get(from[0])?, self.get(from[1])?];
        self.put(mask, by_lane(|i| if lanes[i] == 0 { no[i] } else { yes[i] }))
    }

    fn copy_if_equal(
        &mut self,
        to: Register,
        from: Register,
        (counter, value): (Register, usize),
    ) -> Result<(), Wrong> {
        let [counter, from, to_is] = [self.number(counter)?, self.number(from)?, self.number(to)?];
        let number = if counter == value as u64 { from } else { to_is };
        self.set(to, Content::Number(number));
        Ok(())
    }

    fn restore(&mut self, register: Register) -> Result<(), Wrong> {
        let content = self.saved.pop().ok_or(Wrong::NothingSaved)?;
        self.set(register, content);
        Ok(())
    }

    fn loop_back(&mut self, counter: Register, to: Label) -> Result<Then, Wrong> {
        let left = self.number(counter)?.checked_sub(1).ok_or(Wrong::Counter(counter))?;
        self.set(counter, Content::Number(left));
        Ok(if left > 0 { Then::Jump(to.0) } else { Then::Next })
    }

    /// The caller must find what it left.
    fn finish(&self) -> Result<(), Wrong> {
        if !self.saved.is_empty() {
            return Err(Wrong::StillSaved(self.saved.len()));
        }
        for register in Register::CALLERS {
            let content = self.integers[register as usize];
            if content != Content::Callers(register) {
                return Err(Wrong::NotRestored(register, content));
            }
        }
        Ok(())
    }

    // ---- registers ---------------------------------------------------------------------------

    fn get(&self, vector: Vector) -> Result<Lanes, Wrong> {
        let lanes = self.vectors.get(vector.0).ok_or(Wrong::NoVector(vector))?;
        lanes.ok_or(Wrong::UnsetVector(vector))
    }

    fn put(&mut self, vector: Vector, lanes: Lanes) -> Result<(), Wrong> {
        *self.vectors.get_mut(vector.0).ok_or(Wrong::NoVector(vector))? = Some(lanes);
        Ok(())
    }

    /// Nobody knows what it holds.
    fn forget(&mut self, vector: Vector) -> Result<(), Wrong> {
        *self.vectors.get_mut(vector.0).ok_or(Wrong::NoVector(vector))? = None;
        Ok(())
    }

    /// `to = of(from)`, lane by lane.
    fn each<const N: usize>(
        &mut self,
        to: Vector,
        from: [Vector; N],
        of: impl Fn([u32; N]) -> u32,
    ) -> Result<(), Wrong> {
        let mut all = [[0; MOST_LANES]; N];
        for (all, vector) in all.iter_mut().zip(from) {
            *all = self.get(vector)?;
        }
        self.put(to, by_lane(|i| of(all.each_ref().map(|lanes| lanes[i]))))
    }

    /// The same of two f32.
    fn floats(
        &mut self,
        to: Vector,
        [a, b]: [Vector; 2],
        of: impl Fn(f32, f32) -> f32,
    ) -> Result<(), Wrong> {
        self.each(to, [a, b], |[a, b]| bits(of(float(a), float(b))))
    }

    /// `to = a * b + c`, rounded once.
    fn fused(&mut self, to: Vector, [a, b, c]: [Vector; 3]) -> Result<(), Wrong> {
        self.each(to, [a, b, c], |[a, b, c]| bits(float(a).mul_add(float(b), float(c))))
    }

    fn number(&self, register: Register) -> Result<u64, Wrong> {
        match self.integers[register as usize] {
            Content::Number(number) => Ok(number),
            content @ (Content::Nothing | Content::Callers(_)) => {
                Err(Wrong::Unset(register, content))
            }
        }
    }

    fn set(&mut self, register: Register, content: Content) {
        self.integers[register as usize] = content;
    }

    // ---- memory ------------------------------------------------------------------------------

    fn address(&self, Address { base, bytes }: Address) -> Result<u64, Wrong> {
        Ok(self.number(base)?.wrapping_add(bytes as u64))
    }

    /// An access, which is seen before it is allowed.
    fn access(&mut self, kind: AccessKind, at: Address, bytes: usize) -> Result<Access, Wrong> {
        let access = Access { kind, address: self.address(at)?, bytes };
        (self.watch)(access);
        Ok(access)
    }

    fn prefetch(&mut self, kind: AccessKind, at: Address) -> Result<(), Wrong> {
        self.access(kind, at, 0).map(|_| ())
    }

    /// The lanes of a vector in memory.
    fn read(&mut self, from: Address) -> Result<Lanes, Wrong> {
        self.read_lanes(from, self.lanes)
    }

    fn read_lanes(&mut self, from: Address, count: usize) -> Result<Lanes, Wrong> {
        let access = self.access(AccessKind::Read, from, count * ELEMENT)?;
        let (elements, _) = self.memory.read(access)?.as_chunks::<ELEMENT>();
        Ok(by_lane(|i| elements.get(i).map_or(0, |bytes| u32::from_le_bytes(*bytes))))
    }

    /// A byte in memory for each lane.
    fn read_bytes(&mut self, from: Address) -> Result<[u8; MOST_LANES], Wrong> {
        let access = self.access(AccessKind::Read, from, self.lanes)?;
        let bytes = self.memory.read(access)?;
        Ok(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)))
    }

    /// Each lane as a byte.
    fn write_bytes(&mut self, to: Address, from: Vector) -> Result<(), Wrong> {
        let lanes = self.get(from)?;
        let no_byte = |lane: &&u32| **lane > u32::from(u8::MAX);
        if let Some(lane) = lanes[..self.lanes].iter().find(no_byte) {
            return Err(Wrong::NoByte { vector: from, lane: lane.cast_signed() });
        }
        let access = self.access(AccessKind::Write, to, self.lanes)?;
        for (byte, lane) in self.memory.write(access)?.iter_mut().zip(lanes) {
            *byte = lane.to_le_bytes()[0];
        }
        self.forget(from)
    }

    /// Each lane as an i16.
    fn write_halves(&mut self, to: Address, from: Vector) -> Result<(), Wrong> {
        let lanes = self.get(from)?;
        let no_half = |lane: &&u32| i16::try_from(lane.cast_signed()).is_err();
        if let Some(lane) = lanes[..self.lanes].iter().find(no_half) {
            return Err(Wrong::NoHalf { vector: from, lane: lane.cast_signed() });
        }
        let access = self.access(AccessKind::Write, to, self.lanes * HALF)?;
        let (halves, _) = self.memory.write(access)?.as_chunks_mut::<HALF>();
        for (half, lane) in halves.iter_mut().zip(lanes) {
            *half = (lane as u16).to_le_bytes();
        }
        self.forget(from)
    }

    /// A bfloat16 in memory for each lane, as f32.
    fn read_bfloats(&mut self, to: Vector, from: Address) -> Result<(), Wrong> {
        let access = self.access(AccessKind::Read, from, self.lanes * HALF)?;
        let (halves, _) = self.memory.read(access)?.as_chunks::<HALF>();
        let wide = |half: &[u8; HALF]| u32::from(u16::from_le_bytes(*half)) << 16;
        let lanes = by_lane(|i| halves.get(i).map_or(0, wide));
        self.put(to, lanes)
    }

    /// Each lane as a bfloat16.
    fn write_bfloats(&mut self, to: Address, from: Vector) -> Result<(), Wrong> {
        let lanes = self.get(from)?;
        let access = self.access(AccessKind::Write, to, self.lanes * HALF)?;
        let (halves, _) = self.memory.write(access)?.as_chunks_mut::<HALF>();
        for (half, lane) in halves.iter_mut().zip(lanes) {
            *half = bfloat16::nearest(float(lane)).to_bits().to_le_bytes();
        }
        self.forget(from)
    }

    fn write(&mut self, to: Address, from: Vector) -> Result<(), Wrong> {
        let lanes = self.get(from)?;
        let access = self.access(AccessKind::Write, to, self.lanes * ELEMENT)?;
        let (elements, _) = self.memory.write(access)?.as_chunks_mut::<ELEMENT>();
        for (element, lane) in elements.iter_mut().zip(lanes) {
            *element = lane.to_le_bytes();
        }
        Ok(())
    }
}

fn float(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn bits(float: f32) -> u32 {
    float.to_bits()
}

/// A byte with a sign, as an i32.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

fn by_lane(lane: impl FnMut(usize) -> u32) -> Lanes {
    std::array::from_fn(lane)
}

/// All bits where the first is less.
fn less([a, b]: [u32; 2]) -> u32 {
    if float(a) < float(b) { u32::MAX } else { 0 }
}

/// The larger one; the second where either is a NaN.
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller one; the second where either is a NaN.
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The sum of the products of four bytes, the first without signs.
fn dot(bytes: u32, weights: u32) -> i32 {
    let pairs = bytes.to_le_bytes().into_iter().zip(weights.to_le_bytes());
    pairs.map(|(byte, weight)| i32::from(byte) * i32::from(weight.cast_signed())).sum()
}

/// The sums of the products of two bytes, the first without signs, as i16, which stop at its ends.
fn dot_pairs(bytes: u32, weights: u32) -> u32 {
    let halves = [0, 16].map(|at| dot(bytes >> at & 0xFFFF, weights >> at & 0xFFFF));
    let [low, high] = halves.map(|sum| sum.clamp(i16::MIN.into(), i16::MAX.into()) as u16);
    u32::from(low) | u32::from(high) << 16
}

/// The sum of the products of two i16, of which only that of four least ones wraps.
fn dot_halves(a: u32, b: u32) -> i32 {
    let half = |x: u32, at: u32| i32::from((x >> at) as i16);
    (half(a, 0) * half(b, 0)).wrapping_add(half(a, 16) * half(b, 16))
}

/// Two products of bfloat16 added to a sum, that of the upper ones first.
fn dot_bfloats(a: u32, b: u32, sum: u32) -> u32 {
    let upper = |x: u32| bfloat16::normal(float(x & 0xFFFF_0000));
    let add = |sum: f32, [a, b]: [u32; 2]| bfloat16::normal(upper(a).mul_add(upper(b), sum));
    let sum = add(bfloat16::normal(float(sum)), [a, b]);
    bits(add(sum, [a << 16, b << 16]))
}

/// The nearest integer, of two the even one; the least where there is none near.
fn nearest(x: f32) -> i32 {
    let whole = x.round_ties_even();
    let fits = (i32::MIN as f32..-(i32::MIN as f32)).contains(&whole);
    if fits { whole as i32 } else { i32::MIN }
}

/// Lane `lane` of every four lanes in all four of them.
fn in_quarters(lanes: Lanes, lane: usize) -> Result<Lanes, Wrong> {
    if lane >= QUARTER {
        return Err(Wrong::NoLane(lane));
    }
    Ok(by_lane(|i| lanes[i / QUARTER * QUARTER + lane]))
}
