//! A thin layer over Cranelift's function builder: loops, addresses, scalars and vectors.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I8X16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, BlockArg, ExtFuncData, ExternalName, FuncRef, InstBuilder, MemFlagsData, Signature,
    Type, UserExternalName, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use crate::error::Error;
use crate::ir::DType;
use crate::machine::F32_BYTES;

/// Emits the body of one kernel.
pub(crate) struct Emitter<'a, 'f> {
    pub(crate) builder: &'a mut FunctionBuilder<'f>,
    /// Whether `fma` is an instruction.
    pub(crate) fma: bool,
    /// The convention of leaf functions.
    pub(super) leaf_conv: CallConv,
    /// Why what was emitted must not be used.
    pub(crate) refused: Option<Error>,
}

/// An element in a register, and what it means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    pub(crate) value: Value,
    pub(crate) dtype: DType,
}

/// The register type of an element type. Bytes and bools stay bytes.
pub(crate) fn register(dtype: DType) -> Type {
    match dtype {
        DType::F32 => F32,
        DType::F64 => F64,
        DType::I64 => I64,
        DType::I32 => I32,
        DType::U8 | DType::I8 | DType::Bool => I8,
    }
}

impl Emitter<'_, '_> {
    // ---- integers and addresses ----------------------------------------------------------------

    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.builder.ins().iconst(I64, value)
    }

    pub(crate) fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().iadd(a, b)
    }

    pub(crate) fn add_imm(&mut self, a: Value, by: i64) -> Value {
        if by == 0 { a } else { self.builder.ins().iadd_imm_s(a, by) }
    }

    pub(crate) fn mul_imm(&mut self, a: Value, by: i64) -> Value {
        match by {
            0 => self.int(0),
            1 => a,
            _ => self.builder.ins().imul_imm_s(a, by),
        }
    }

    pub(crate) fn min(&mut self, a: Value, b: Value) -> Value {
        let less = self.builder.ins().icmp(IntCC::SignedLessThan, a, b);
        self.builder.ins().select(less, a, b)
    }

    pub(crate) fn max(&mut self, a: Value, b: Value) -> Value {
        let more = self.builder.ins().icmp(IntCC::SignedGreaterThan, a, b);
        self.builder.ins().select(more, a, b)
    }

    /// `a == b ? yes : no`, of integers.
    pub(crate) fn select_equal(&mut self, [a, b]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        let same = self.builder.ins().icmp(IntCC::Equal, a, b);
        self.builder.ins().select(same, yes, no)
    }

    /// `(index / by, index % by)` for a non-negative index.
    pub(crate) fn divide(&mut self, index: Value, by: usize) -> (Value, Value) {
        if by == 1 {
            let zero = self.int(0);
            return (index, zero);
        }
        let by = self.int(by as i64);
        self.divide_by(index, Some(by))
    }

    /// `(index / by, index % by)` for a non-negative index and a number that is known when this runs; 1 where
    /// there is none.
    pub(crate) fn divide_by(&mut self, index: Value, by: Option<Value>) -> (Value, Value) {
        let Some(by) = by else { return self.divide(index, 1) };
        let quotient = self.builder.ins().udiv(index, by);
        let product = self.builder.ins().imul(quotient, by);
        let remainder = self.builder.ins().isub(index, product);
        (quotient, remainder)
    }

    /// The address so many `stride`s of f32 elements further.
    pub(crate) fn moved(&mut self, base: Value, index: Value, stride: usize) -> Value {
        self.moved_by(base, index, stride * F32_BYTES)
    }

    /// The address so many times so many bytes further.
    pub(crate) fn moved_by(&mut self, base: Value, index: Value, bytes: usize) -> Value {
        if bytes == 0 {
            return base;
        }
        let by = self.mul_imm(index, bytes as i64);
        self.add(base, by)
    }

    /// Loads the `i`-th pointer of a kernel's argument array.
    pub(crate) fn pointer(&mut self, args: Value, i: usize) -> Value {
        self.builder.ins().load(I64, MemFlagsData::trusted(), args, (i * 8) as i32)
    }

    pub(crate) fn load(&mut self, ty: Type, address: Value, offset: i64) -> Value {
        let (address, offset) = self.reach(address, offset);
        self.builder.ins().load(ty, plain(), address, offset)
    }

    /// Eight bytes with signs, as `i16x8`.
    pub(crate) fn load_signed_bytes(&mut self, address: Value, offset: i64) -> Value {
        let (address, offset) = self.reach(address, offset);
        self.builder.ins().sload8x8(plain(), address, offset)
    }

    pub(crate) fn store(&mut self, value: Value, address: Value, offset: i64) {
        let (address, offset) = self.reach(address, offset);
        self.builder.ins().store(plain(), value, address, offset);
    }

    fn reach(&mut self, address: Value, offset: i64) -> (Value, i32) {
        match i32::try_from(offset) {
            Ok(offset) => (address, offset),
            Err(_) => (self.add_imm(address, offset), 0),
        }
    }

    // ---- functions -----------------------------------------------------------------------------

    /// The function at this offset of the code section, of so many pointer-sized parameters.
    pub(crate) fn import(&mut self, conv: CallConv, parameters: usize, offset: usize) -> FuncRef {
        let mut signature = Signature::new(conv);
        signature.params = vec![AbiParam::new(I64); parameters];
        self.import_with(signature, offset)
    }

    /// The function of this signature at this offset of the code section.
    pub(crate) fn import_with(&mut self, signature: Signature, offset: usize) -> FuncRef {
        let signature = self.builder.import_signature(signature);
        // The linker knows functions by their offsets.
        let name = UserExternalName::new(0, offset as u32);
        let name = self.builder.func.declare_imported_user_function(name);
        let name = ExternalName::user(name);
        let data = ExtFuncData { name, signature, colocated: true, patchable: false };
        self.builder.import_function(data)
    }

    // ---- loops ---------------------------------------------------------------------------------

    /// `for i in (begin..end).step_by(step) { state = body(i, state) }`, while `i + step <= end`.
    /// Returns the first `i` that was not done, and the final state.
    pub(crate) fn fold(
        &mut self,
        begin: Value,
        end: Value,
        step: i64,
        state: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> (Value, Vec<Value>) {
        let (header, inside, after) =
            (self.builder.create_block(), self.builder.create_block(), self.builder.create_block());
        let index = self.builder.append_block_param(header, I64);
        let mut carried = Vec::with_capacity(state.len());
        for value in state {
            let ty = self.builder.func.dfg.value_type(*value);
            carried.push(self.builder.append_block_param(header, ty));
        }
        let enter: Vec<BlockArg> =
            [begin].iter().chain(state).map(|v| BlockArg::Value(*v)).collect();
        self.builder.ins().jump(header, &enter);

        self.builder.switch_to_block(header);
        let next = self.add_imm(index, step);
        let more = self.builder.ins().icmp(IntCC::SignedLessThanOrEqual, next, end);
        self.builder.ins().brif(more, inside, &[], after, &[]);

        self.builder.switch_to_block(inside);
        self.builder.seal_block(inside);
        let results = body(self, index, &carried);
        let next = self.add_imm(index, step);
        let again: Vec<BlockArg> =
            [next].iter().chain(&results).map(|v| BlockArg::Value(*v)).collect();
        self.builder.ins().jump(header, &again);
        self.builder.seal_block(header);

        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
        (index, carried)
    }

    /// `if condition { yes() } else { no() }`
    pub(crate) fn either(
        &mut self,
        condition: Value,
        yes: impl FnOnce(&mut Self),
        no: impl FnOnce(&mut Self),
    ) {
        let [then, otherwise, done] = [(); 3].map(|()| self.builder.create_block());
        self.builder.ins().brif(condition, then, &[], otherwise, &[]);
        self.builder.switch_to_block(then);
        self.builder.seal_block(then);
        yes(self);
        self.builder.ins().jump(done, &[]);
        self.builder.switch_to_block(otherwise);
        self.builder.seal_block(otherwise);
        no(self);
        self.builder.ins().jump(done, &[]);
        self.builder.switch_to_block(done);
        self.builder.seal_block(done);
    }

    /// `for i in begin..end { body(i) }`
    pub(crate) fn each(&mut self, begin: Value, end: Value, body: impl FnOnce(&mut Self, Value)) {
        self.fold(begin, end, 1, &[], |e, i, _| {
            body(e, i);
            Vec::new()
        });
    }

    /// `for _ in 0..count { state = body(state) }` with the trip count known: none or one need no
    /// loop.
    pub(crate) fn repeat(
        &mut self,
        count: usize,
        state: &[Value],
        body: impl FnOnce(&mut Self, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        match count {
            0 => state.to_vec(),
            1 => body(self, state),
            _ => {
                let (zero, end) = (self.int(0), self.int(count as i64));
                self.fold(zero, end, 1, state, |e, _, state| body(e, state)).1
            }
        }
    }

    // ---- floats --------------------------------------------------------------------------------

    /// A float constant of type `ty`: f32, f64 or f32x4.
    pub(crate) fn float(&mut self, ty: Type, value: f64) -> Value {
        match ty {
            F64 => self.builder.ins().f64const(value),
            F32X4 => {
                let lane = self.builder.ins().f32const(value as f32);
                self.builder.ins().splat(F32X4, lane)
            }
            _ => self.builder.ins().f32const(value as f32),
        }
    }

    /// `a * b + c`: one rounding where the machine has the instruction, two elsewhere.
    pub(crate) fn multiply_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.builder.ins().fma(a, b, c);
        }
        let product = self.builder.ins().fmul(a, b);
        self.builder.ins().fadd(product, c)
    }

    /// `if a < b { yes } else { no }`, lane by lane; a NaN compares false.
    pub(super) fn select_less(&mut self, a: Value, b: Value, yes: Value, no: Value) -> Value {
        let less = self.builder.ins().fcmp(FloatCC::LessThan, a, b);
        self.pick_lanes(less, yes, no)
    }

    /// `if x >= low { x } else { low }`, lane by lane: a NaN is replaced.
    pub(super) fn select_not_less(&mut self, x: Value, low: Value) -> Value {
        let fits = self.builder.ins().fcmp(FloatCC::GreaterThanOrEqual, x, low);
        self.pick_lanes(fits, x, low)
    }

    /// What a comparison chooses, lane by lane.
    fn pick_lanes(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        if self.ty(yes) == F32X4 {
            let mask = self.builder.ins().bitcast(
                F32X4,
                MemFlagsData::new().with_endianness(LITTLE),
                condition,
            );
            return self.builder.ins().bitselect(mask, yes, no);
        }
        self.builder.ins().select(condition, yes, no)
    }

    /// The smaller; a NaN in `x` stays.
    pub(crate) fn float_min(&mut self, bound: Value, x: Value) -> Value {
        self.select_less(bound, x, bound, x)
    }

    /// The larger; a NaN in `x` stays.
    pub(crate) fn float_max(&mut self, bound: Value, x: Value) -> Value {
        self.select_less(x, bound, bound, x)
    }

    /// The larger (or smaller) of two elements, either of which may be NaN; of equal ones the first.
    pub(crate) fn extreme(&mut self, a: Value, b: Value, largest: bool) -> Value {
        let best = if largest { self.float_max(b, a) } else { self.float_min(b, a) };
        // Where `a` is NaN it is kept already.
        let nan = self.builder.ins().fcmp(FloatCC::Unordered, b, b);
        self.pick_lanes(nan, b, best)
    }

    /// The float with a zero of its sign for a denormal, which is what every computation takes it for.
    /// What only chooses one of its operands must say so.
    pub(crate) fn without_denormals(&mut self, x: Value) -> Value {
        let one = self.float(self.ty(x), 1.0);
        self.builder.ins().fmul(x, one)
    }

    pub(crate) fn ty(&self, value: Value) -> Type {
        self.builder.func.dfg.value_type(value)
    }

    // ---- bytes -------------------------------------------------------------------------------

    /// An integer that is 0, or a vector of bytes that are.
    pub(crate) fn nothing(&mut self, ty: Type) -> Value {
        if ty.is_vector() { self.zeros(ty) } else { self.builder.ins().iconst(ty, 0) }
    }

    /// A vector of integers that are 0.
    pub(crate) fn zeros(&mut self, ty: Type) -> Value {
        let lane = if ty.lane_type() == I8 { I8 } else { I32 };
        let zero = self.builder.ins().iconst(lane, 0);
        self.builder.ins().splat(ty, zero)
    }

    /// Sixteen bytes without signs, as four vectors of i32.
    pub(crate) fn load_bytes(&mut self, address: Value, offset: i64) -> [Value; 4] {
        let bytes = self.load(I8X16, address, offset);
        let low = self.builder.ins().uwiden_low(bytes);
        let high = self.builder.ins().uwiden_high(bytes);
        [
            self.builder.ins().uwiden_low(low),
            self.builder.ins().uwiden_high(low),
            self.builder.ins().uwiden_low(high),
            self.builder.ins().uwiden_high(high),
        ]
    }

    /// Stores four vectors of i32, from 0 to 255, as sixteen bytes, so many bytes apart.
    pub(crate) fn store_bytes(
        &mut self,
        lanes: [Value; 4],
        address: Value,
        offset: i64,
        apart: i64,
    ) {
        let [a, b, c, d] = lanes;
        let low = self.builder.ins().snarrow(a, b);
        let high = self.builder.ins().snarrow(c, d);
        let bytes = self.builder.ins().unarrow(low, high);
        if apart == 1 {
            return self.store(bytes, address, offset);
        }
        for lane in 0..I8X16.lane_count() as u8 {
            let byte = self.builder.ins().extractlane(bytes, lane);
            self.store(byte, address, offset + i64::from(lane) * apart);
        }
    }

    // ---- conversions ---------------------------------------------------------------------------

    /// Conversion between element types, as [`crate::ir::Op::Cast`] defines it.
    pub(crate) fn cast(&mut self, a: Element, to: DType) -> Element {
        if a.dtype == to {
            return a;
        }
        let value = match (a.dtype.is_float(), to.is_float()) {
            (true, true) if to == DType::F64 => self.builder.ins().fpromote(F64, a.value),
            (true, true) => self.builder.ins().fdemote(F32, a.value),
            (true, false) => self.float_to_int(a, to),
            (false, _) => {
                let wide = self.widen(a);
                match to {
                    DType::F32 => self.builder.ins().fcvt_from_sint(F32, wide),
                    DType::F64 => self.builder.ins().fcvt_from_sint(F64, wide),
                    DType::I64 => wide,
                    DType::Bool => self.builder.ins().icmp_imm_s(IntCC::NotEqual, wide, 0),
                    DType::I32 | DType::U8 | DType::I8 => {
                        self.builder.ins().ireduce(register(to), wide)
                    }
                }
            }
        };
        Element { value, dtype: to }
    }

    fn float_to_int(&mut self, a: Element, to: DType) -> Value {
        if to == DType::Bool {
            let zero = self.float(self.ty(a.value), 0.0);
            return self.builder.ins().fcmp(FloatCC::NotEqual, a.value, zero);
        }
        let wide = self.builder.ins().fcvt_to_sint_sat(I64, a.value);
        let (low, high) = match to {
            DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            DType::U8 => (0, 255),
            DType::I8 => (-128, 127),
            DType::I64 | DType::Bool | DType::F32 | DType::F64 => return wide,
        };
        let (low, high) = (self.int(low), self.int(high));
        let clipped = self.max(low, wide);
        let clipped = self.min(high, clipped);
        self.builder.ins().ireduce(register(to), clipped)
    }

    /// An integer as i64.
    pub(crate) fn widen(&mut self, a: Element) -> Value {
        match a.dtype {
            DType::I64 | DType::F32 | DType::F64 => a.value,
            DType::I32 | DType::I8 => self.builder.ins().sextend(I64, a.value),
            DType::U8 | DType::Bool => self.builder.ins().uextend(I64, a.value),
        }
    }
}

const LITTLE: cranelift_codegen::ir::Endianness = cranelift_codegen::ir::Endianness::Little;

/// Lanes of a vector.
pub(crate) const LANES: usize = 4;

/// Buffers are aligned to elements, not to vectors; no access traps.
fn plain() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
