//! The attributes of each kernel, listed once for both the printer and the parser.

use super::expr::Expr;
use super::kernel::{
    ArgMax, BlockMean, BlockPool, Contract, Gather, Kernel, Map, Nest, Outer, Pixels, Pooling,
    Reduction, Softmax, Span,
};
use super::strassen::{Halves, NextSums, StrassenInput, StrassenOutput};
use super::tile::{Around, MicroKernel, Tile, TileStep};
use super::winograd::{Grid, WinogradInput, WinogradOutput};
use crate::error::Result;
use crate::ir::text::functions::{blank_unary, parameters};
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::ir::{Binary, DType, PoolKind, ReduceKind, Window};

/// Visits the attributes of a kernel in their order.
pub(super) trait Fields {
    /// One attribute.
    fn field<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<()>;
}

/// Every attribute of the kernel.
pub(super) fn visit(kernel: &mut Kernel, v: &mut impl Fields) -> Result<()> {
    match kernel {
        Kernel::Map(m) => {
            nest(&mut m.nest, v)?;
            v.field("types", &mut m.dtypes)?;
            v.field("store", &mut m.expr)
        }
        Kernel::Contract(c) => {
            v.field("outer", &mut c.outer)?;
            v.field("channels", &mut c.channels)?;
            v.field("rows", &mut c.rows)?;
            v.field("columns", &mut c.columns)?;
            v.field("reduce", &mut c.reduce)?;
            v.field("tile", &mut c.tile)?;
            v.field("bias", &mut c.bias)?;
            v.field("store", &mut c.then)
        }
        Kernel::Tile(t) => tile(t, v),
        Kernel::WinogradInput(w) => {
            grid(&mut w.grid, v)?;
            v.field("size", &mut w.size)?;
            v.field("images", &mut w.images)?;
            v.field("blocks", &mut w.blocks)?;
            v.field("row", &mut w.row)
        }
        Kernel::WinogradOutput(w) => {
            grid(&mut w.grid, v)?;
            v.field("images", &mut w.images)?;
            v.field("groups", &mut w.groups)?;
            v.field("blocks", &mut w.blocks)?;
            v.field("chunk", &mut w.chunk)?;
            v.field("size", &mut w.size)?;
            v.field("element", &mut w.element)?;
            v.field("rows", &mut w.rows)?;
            v.field("block", &mut w.block)?;
            v.field("bias", &mut w.bias)?;
            v.field("then", &mut w.steps)?;
            v.field("totals", &mut w.totals)?;
            micro(&mut w.micro, v)
        }
        Kernel::StrassenInput(s) => {
            v.field("images", &mut s.images)?;
            v.field("blocks", &mut s.blocks)?;
            v.field("pieces", &mut s.pieces)?;
            v.field("in_halves", &mut s.from)?;
            v.field("out_halves", &mut s.to)
        }
        Kernel::StrassenOutput(s) => {
            v.field("in_halves", &mut s.from)?;
            v.field("sum_halves", &mut s.sums)?;
            v.field("out_halves", &mut s.to)?;
            v.field("other_halves", &mut s.other)?;
            v.field("sum_image", &mut s.sums_image)?;
            v.field("block", &mut s.block)?;
            v.field("bias", &mut s.bias)?;
            v.field("then", &mut s.steps)?;
            let NextSums { mut to, mut image } = s.next.unwrap_or(NO_SUMS);
            v.field("next_halves", &mut to)?;
            v.field("next_image", &mut image)?;
            s.next = (image > 0).then_some(NextSums { to, image });
            tile(&mut s.tile, v)
        }
        Kernel::BlockMean(m) => {
            v.field("kept", &mut m.kept.dims)?;
            v.field("kept_strides", &mut m.kept.strides)?;
            v.field("reduced", &mut m.reduced.dims)?;
            v.field("reduced_strides", &mut m.reduced.strides)?;
            v.field("scale", &mut m.scale)
        }
        Kernel::BlockPool(p) => {
            v.field("kind", &mut p.kind)?;
            v.field("window", &mut p.window)?;
            v.field("input", &mut p.input)?;
            v.field("output", &mut p.output)?;
            for (key, values) in [("images", &mut p.images), ("blocks", &mut p.blocks)] {
                let [count, input, output] = *values;
                let mut pixels = Pixels { count, input, output };
                v.field(key, &mut pixels)?;
                *values = [pixels.count, pixels.input, pixels.output];
            }
            let mut rows = p.rows.to_vec();
            v.field("rows", &mut rows)?;
            p.rows = [rows.first().copied().unwrap_or(0), rows.get(1).copied().unwrap_or(0)];
            Ok(())
        }
        Kernel::Reduce(r) => {
            v.field("kind", &mut r.kind)?;
            v.field("type", &mut r.dtype)?;
            v.field("kept", &mut r.kept.dims)?;
            v.field("kept_strides", &mut r.kept.strides)?;
            v.field("reduced", &mut r.reduced.dims)?;
            v.field("reduced_strides", &mut r.reduced.strides)
        }
        Kernel::Softmax(s) => {
            axis(&mut s.outer, &mut s.extent, &mut s.inner, v)?;
            v.field("log", &mut s.log)
        }
        Kernel::Pool(p) => {
            v.field("kind", &mut p.kind)?;
            v.field("planes", &mut p.planes)?;
            v.field("input", &mut p.input)?;
            v.field("output", &mut p.output)?;
            v.field("window", &mut p.window)
        }
        Kernel::Gather(g) => {
            axis(&mut g.outer, &mut g.extent, &mut g.inner, v)?;
            v.field("count", &mut g.count)?;
            v.field("index", &mut g.index)?;
            v.field("type", &mut g.dtype)
        }
        Kernel::ArgMax(a) => {
            axis(&mut a.outer, &mut a.extent, &mut a.inner, v)?;
            v.field("last", &mut a.last)?;
            v.field("type", &mut a.dtype)
        }
    }
}

fn tile(t: &mut Tile, v: &mut impl Fields) -> Result<()> {
    v.field("images", &mut t.images)?;
    v.field("groups", &mut t.groups)?;
    v.field("blocks", &mut t.blocks)?;
    v.field("rows", &mut t.rows)?;
    v.field("columns", &mut t.columns)?;
    v.field("pixels_first", &mut t.pixels_first)?;
    v.field("parts", &mut t.parts)?;
    micro(&mut t.micro, v)
}

fn grid(g: &mut Grid, v: &mut impl Fields) -> Result<()> {
    v.field("outputs", &mut g.outputs)?;
    v.field("dilation", &mut g.dilation)?;
    v.field("tiles", &mut g.tiles)?;
    v.field("last", &mut g.last)?;
    v.field("together", &mut g.together)
}

fn micro(m: &mut MicroKernel, v: &mut impl Fields) -> Result<()> {
    let mut tile = [m.pixels, m.blocks];
    v.field("tile", &mut tile)?;
    [m.pixels, m.blocks] = tile;
    v.field("weights_block", &mut m.weights_block)?;
    v.field("in_pixel", &mut m.input_pixel)?;
    v.field("out_pixel", &mut m.output_pixel)?;
    v.field("out_block", &mut m.output_block)?;
    v.field("other_block", &mut m.other_block)?;
    v.field("reduce", &mut m.reduce)?;
    v.field("narrow", &mut m.narrow)?;
    v.field("passes", &mut m.passes)?;
    v.field("next", &mut m.next)?;
    v.field("bias", &mut m.bias)?;
    v.field("onto", &mut m.onto)?;
    v.field("then", &mut m.steps)
}

fn nest(nest: &mut Nest, v: &mut impl Fields) -> Result<()> {
    v.field("loops", &mut nest.dims)?;
    v.field("strides", &mut nest.strides)
}

fn axis(
    outer: &mut usize,
    extent: &mut usize,
    inner: &mut usize,
    v: &mut impl Fields,
) -> Result<()> {
    v.field("outer", outer)?;
    v.field("extent", extent)?;
    v.field("inner", inner)
}

const AROUND: Around = Around { count: 0, input: 0, output: 0, other: 0 };

const HALVES: Halves = Halves { pixels: 0, channels: 0 };

const NO_SUMS: NextSums = NextSums { to: HALVES, image: 0 };

fn blank_grid() -> Grid {
    Grid { outputs: 0, dilation: 1, tiles: [0; 2], last: [0; 2], together: 1 }
}

fn blank_tile() -> Tile {
    Tile {
        images: AROUND,
        groups: AROUND,
        blocks: 0,
        rows: AROUND,
        columns: 0,
        pixels_first: false,
        parts: 1,
        micro: MicroKernel::default(),
    }
}

/// A kernel of this name whose attributes are still to be read.
pub(super) fn blank(name: &str) -> Option<Kernel> {
    let nest = || Nest { dims: Vec::new(), strides: Vec::new() };
    let pixels = Pixels { count: 0, input: 0, output: 0 };
    let all = [
        Kernel::Map(Map { nest: nest(), dtypes: Vec::new(), expr: Expr::Operand(0) }),
        Kernel::Contract(Contract {
            outer: Vec::new(),
            channels: Span { count: 0, stride: 0 },
            rows: pixels,
            columns: pixels,
            reduce: Vec::new(),
            tile: 0,
            bias: false,
            then: Expr::Operand(0),
        }),
        Kernel::Tile(blank_tile()),
        Kernel::WinogradInput(WinogradInput {
            grid: blank_grid(),
            size: [0; 2],
            images: Span { count: 0, stride: 0 },
            blocks: Span { count: 0, stride: 0 },
            row: 0,
        }),
        Kernel::WinogradOutput(WinogradOutput {
            grid: blank_grid(),
            images: AROUND,
            groups: AROUND,
            blocks: 0,
            chunk: 0,
            size: [0; 2],
            element: 0,
            rows: [0; 2],
            block: [0; 2],
            bias: false,
            steps: Vec::new(),
            totals: false,
            micro: MicroKernel::default(),
        }),
        Kernel::StrassenInput(StrassenInput {
            images: AROUND,
            blocks: Span { count: 0, stride: 0 },
            pieces: [0; 2],
            from: HALVES,
            to: HALVES,
        }),
        Kernel::StrassenOutput(StrassenOutput {
            tile: blank_tile(),
            block: [0; 2],
            from: HALVES,
            sums: HALVES,
            sums_image: 0,
            to: HALVES,
            other: HALVES,
            bias: false,
            steps: Vec::new(),
            next: None,
        }),
        Kernel::BlockMean(BlockMean { kept: nest(), reduced: nest(), scale: 0.0 }),
        Kernel::BlockPool(BlockPool {
            kind: PoolKind::Max,
            window: Window::POINT,
            input: [0; 2],
            output: [0; 2],
            images: [0; 3],
            blocks: [0; 3],
            rows: [0; 2],
        }),
        Kernel::Reduce(Reduction {
            kind: ReduceKind::Sum,
            dtype: DType::F32,
            kept: nest(),
            reduced: nest(),
        }),
        Kernel::Softmax(Softmax { outer: 0, extent: 0, inner: 0, log: false }),
        Kernel::Pool(Pooling {
            kind: PoolKind::Max,
            planes: 0,
            input: [0; 2],
            output: [0; 2],
            window: Window::POINT,
        }),
        Kernel::Gather(Gather {
            outer: 0,
            extent: 0,
            inner: 0,
            count: 0,
            index: DType::I64,
            dtype: DType::F32,
        }),
        Kernel::ArgMax(ArgMax { outer: 0, extent: 0, inner: 0, last: false, dtype: DType::F32 }),
    ];
    all.into_iter().find(|k| k.name() == name)
}

// ---- values ------------------------------------------------------------------------------------

impl Value for bool {
    fn write(&self) -> String {
        self.to_string()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<bool> {
        cursor.word("true or false", |w| w.parse().ok())
    }
}

impl Value for [usize; 2] {
    fn write(&self) -> String {
        format!("{}x{}", self[0], self[1])
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<[usize; 2]> {
        cursor.word("two numbers such as 3x3", |w| {
            let (a, b) = w.split_once('x')?;
            Some([a.parse().ok()?, b.parse().ok()?])
        })
    }
}

impl Value for Span {
    fn write(&self) -> String {
        format!("{} by {}", self.count, self.stride)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Span> {
        let (count, [stride]) = counted(cursor)?;
        Ok(Span { count, stride })
    }
}

impl Value for Pixels {
    fn write(&self) -> String {
        format!("{} by {} {}", self.count, self.input, self.output)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Pixels> {
        let (count, [input, output]) = counted(cursor)?;
        Ok(Pixels { count, input, output })
    }
}

impl Value for Outer {
    fn write(&self) -> String {
        format!("{} by {} {} {}", self.count, self.input, self.weights, self.output)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Outer> {
        let (count, [input, weights, output]) = counted(cursor)?;
        Ok(Outer { count, input, weights, output })
    }
}

impl Value for Around {
    fn write(&self) -> String {
        format!("{} by {} {} {}", self.count, self.input, self.output, self.other)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Around> {
        let (count, [input, output, other]) = counted(cursor)?;
        Ok(Around { count, input, output, other })
    }
}

impl Value for Halves {
    fn write(&self) -> String {
        [self.pixels, self.channels].write()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Halves> {
        let [pixels, channels] = Value::read(cursor)?;
        Ok(Halves { pixels, channels })
    }
}

impl Value for TileStep {
    fn write(&self) -> String {
        match self {
            TileStep::AddOther => "add_other",
            TileStep::Relu => "relu",
        }
        .into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<TileStep> {
        cursor.word("`add_other` or `relu`", |w| match w {
            "add_other" => Some(TileStep::AddOther),
            "relu" => Some(TileStep::Relu),
            _ => None,
        })
    }
}

/// `count by stride…`
fn counted<const N: usize>(cursor: &mut Cursor<'_>) -> Result<(usize, [usize; N])> {
    let count = cursor.number("a trip count")?;
    if !cursor.eat_word("by") {
        return Err(cursor.expected("`by`"));
    }
    let mut strides = [0; N];
    for stride in &mut strides {
        *stride = cursor.number("a stride")?;
    }
    Ok((count, strides))
}

impl Value for ReduceKind {
    fn write(&self) -> String {
        self.mnemonic().into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<ReduceKind> {
        cursor.word("a kind of reduction", |w| {
            ReduceKind::ALL.into_iter().find(|k| k.mnemonic() == w)
        })
    }
}

impl Value for PoolKind {
    fn write(&self) -> String {
        match self {
            PoolKind::Max => "max",
            PoolKind::Average { count_padding: false } => "average",
            PoolKind::Average { count_padding: true } => "average_with_padding",
        }
        .into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<PoolKind> {
        cursor.word("a kind of pool", |w| match w {
            "max" => Some(PoolKind::Max),
            "average" => Some(PoolKind::Average { count_padding: false }),
            "average_with_padding" => Some(PoolKind::Average { count_padding: true }),
            _ => None,
        })
    }
}

impl Value for Expr {
    fn write(&self) -> String {
        match self {
            Expr::Operand(i) => format!("x{i}"),
            Expr::Constant(value) => value.write(),
            Expr::Unary(f, a) => {
                let mut f = *f;
                let parameters: Vec<String> =
                    parameters(&mut f).iter().map(|(_, v)| format!(", {}", v.write())).collect();
                format!("{}({}{})", f.mnemonic(), a.write(), parameters.concat())
            }
            Expr::Binary(f, a, b) => format!("{}({}, {})", f.mnemonic(), a.write(), b.write()),
            Expr::Select(c, a, b) => {
                format!("select({}, {}, {})", c.write(), a.write(), b.write())
            }
            Expr::Cast(to, a) => format!("to_{}({})", to.name(), a.write()),
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Expr> {
        read_expr(cursor, 0)
    }
}

/// Deeper expressions are not of our making.
const MOST_DEPTH: usize = 256;

fn read_expr(cursor: &mut Cursor<'_>, depth: usize) -> Result<Expr> {
    if depth > MOST_DEPTH {
        return Err(cursor.error("the expression is too deep"));
    }
    let word = cursor.word("an expression", |w| Some(w.to_owned()))?;
    let operand = word.strip_prefix('x').and_then(|i| i.parse().ok());
    if let Some(i) = operand {
        return Ok(Expr::Operand(i));
    }
    if !cursor.eat_mark('(') {
        let number = word.parse().map_err(|_| cursor.error(format!("`{word}` is no number")))?;
        return Ok(Expr::Constant(number));
    }
    let expr = call(cursor, &word, depth)?;
    cursor.mark(')')?;
    Ok(expr)
}

fn call(cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Result<Expr> {
    let first = Box::new(read_expr(cursor, depth + 1)?);
    let next = |cursor: &mut Cursor<'_>| -> Result<Box<Expr>> {
        cursor.mark(',')?;
        Ok(Box::new(read_expr(cursor, depth + 1)?))
    };
    if let Some(to) = name.strip_prefix("to_").and_then(DType::from_name) {
        return Ok(Expr::Cast(to, first));
    }
    if name == "select" {
        let a = next(cursor)?;
        return Ok(Expr::Select(first, a, next(cursor)?));
    }
    if let Some(f) = Binary::ALL.into_iter().find(|f| f.mnemonic() == name) {
        return Ok(Expr::Binary(f, first, next(cursor)?));
    }
    let Some(mut f) = blank_unary(name) else {
        return Err(cursor.error(format!("there is no function `{name}`")));
    };
    for (_, value) in parameters(&mut f) {
        cursor.mark(',')?;
        *value = f32::read(cursor)?;
    }
    Ok(Expr::Unary(f, first))
}
