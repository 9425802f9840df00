//! A graph's text under construction: one method an operator.

use std::fmt::Display;

/// A value that the text defines.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl Value {
    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The last two extents.
    pub(crate) fn plane(&self) -> [usize; 2] {
        [self.shape[self.rank() - 2], self.shape[self.rank() - 1]]
    }

    fn with(&self, axis: usize, extent: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[axis] = extent;
        shape
    }
}

/// A window of odd extent, padded so that with stride 1 it keeps the extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) dilation: usize,
    pub(crate) stride: usize,
}

impl Window {
    pub(crate) fn of(kernel: usize) -> Window {
        Window { kernel, dilation: 1, stride: 1 }
    }

    fn text(self) -> String {
        let Window { kernel: k, dilation, stride } = self;
        let pad = (k - 1) * dilation / 2;
        format!("window {k}x{k} stride {stride} dilation {dilation} pad {pad}")
    }

    fn positions(self, extent: usize) -> usize {
        (extent - 1) / self.stride + 1
    }
}

/// The text so far.
pub(crate) struct Source {
    text: String,
    fresh: usize,
}

impl Source {
    pub(crate) fn new() -> Source {
        Source { text: "graph @spelled {\n".into(), fresh: 0 }
    }

    pub(crate) fn finish(mut self, output: &Value) -> String {
        self.text += &format!("  output %{}\n}}\n", output.name);
        self.text
    }

    fn name(&mut self, prefix: &str) -> String {
        self.fresh += 1;
        format!("{prefix}{}", self.fresh)
    }

    pub(crate) fn input(&mut self, shape: &[usize]) -> Value {
        let name = self.name("x");
        self.text += &format!("  input %{name} f32{shape:?}\n");
        Value { name, shape: shape.to_vec() }
    }

    /// A random weight.
    pub(crate) fn weight(&mut self, shape: &[usize]) -> Value {
        let name = self.name("w");
        let seed = self.fresh * 7919;
        self.text += &format!("  weight %{name} f32{shape:?} rand({seed})\n");
        Value { name, shape: shape.to_vec() }
    }

    fn literal(&mut self, ty: &str, shape: &[usize], contents: impl Display) -> Value {
        let name = self.name("w");
        self.text += &format!("  weight %{name} {ty}{shape:?} = {contents}\n");
        Value { name, shape: shape.to_vec() }
    }

    fn node(&mut self, shape: Vec<usize>, op: &str, operands: &[&Value], more: &str) -> Value {
        let name = self.name("v");
        let operands: Vec<String> = operands.iter().map(|v| format!("%{}", v.name)).collect();
        let operands = operands.join(", ");
        self.text += &format!("  %{name} f32{shape:?} = {op}({operands})\n");
        for line in more.lines() {
            self.text += &format!("    {line}\n");
        }
        Value { name, shape }
    }

    // ---- layers --------------------------------------------------------------------------------

    pub(crate) fn conv(
        &mut self,
        x: &Value,
        [rows, groups]: [usize; 2],
        window: Window,
        bias: bool,
    ) -> Value {
        let [n, channels, h, w] = x.shape[..] else { panic!("a convolution of {x:?}") };
        let k = window.kernel;
        let weight = self.weight(&[rows, channels / groups, k, k]);
        let bias = bias.then(|| self.weight(&[rows]));
        let operands: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        let shape = vec![n, rows, window.positions(h), window.positions(w)];
        let (op, groups) = match groups {
            1 => ("conv", String::new()),
            _ => ("group_conv", format!("groups {groups}\n")),
        };
        self.node(shape, op, &operands, &(groups + &window.text()))
    }

    pub(crate) fn batch_norm(&mut self, x: &Value) -> Value {
        let channels = [x.shape[1]];
        let [scale, bias, mean, raw] = [(); 4].map(|()| self.weight(&channels));
        // A variance is not negative.
        let var = self.unary(&raw, "abs");
        let more = "epsilon 0.1";
        self.node(x.shape.clone(), "batch_norm", &[x, &scale, &bias, &mean, &var], more)
    }

    /// `[n, m]` times a constant.
    pub(crate) fn matmul(&mut self, x: &Value, rows: usize, transposed: bool, bias: bool) -> Value {
        let [n, columns] = x.shape[..] else { panic!("a product of {x:?}") };
        let shape = if transposed { [rows, columns] } else { [columns, rows] };
        let weight = self.weight(&shape);
        let bias = bias.then(|| self.weight(&[rows]));
        let operands: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        let more = if transposed { "trans_b true" } else { "" };
        self.node(vec![n, rows], "matmul", &operands, more)
    }

    pub(crate) fn average_pool(&mut self, x: &Value, counted: bool) -> Value {
        let padding = if counted { "\npadding counted" } else { "" };
        let more = Window::of(3).text() + padding;
        self.node(x.shape.clone(), "average_pool", &[x], &more)
    }

    // ---- arithmetic ----------------------------------------------------------------------------

    /// A function, its parameters each on a line after its name.
    pub(crate) fn unary(&mut self, x: &Value, function: &str) -> Value {
        let (op, more) = function.split_once('\n').unwrap_or((function, ""));
        self.node(x.shape.clone(), op, &[x], more)
    }

    /// A function of two operands, of which the second is broadcast to the first unless swapped.
    pub(crate) fn binary(&mut self, op: &str, a: &Value, b: &Value, swapped: bool) -> Value {
        let operands = if swapped { [b, a] } else { [a, b] };
        self.node(a.shape.clone(), op, &operands, "")
    }

    pub(crate) fn zero(&mut self) -> Value {
        self.literal("f32", &[], 0)
    }

    pub(crate) fn softmax(&mut self, x: &Value, axis: usize) -> Value {
        self.node(x.shape.clone(), "softmax", &[x], &format!("axis {axis}"))
    }

    pub(crate) fn reduce(&mut self, kind: &str, x: &Value, axes: &[usize], keep: bool) -> Value {
        let mut shape = x.shape.clone();
        for axis in axes.iter().rev() {
            if keep {
                shape[*axis] = 1;
            } else {
                shape.remove(*axis);
            }
        }
        let more = format!("axes {axes:?}{}", if keep { "\nkeep true" } else { "" });
        self.node(shape, &format!("reduce_{kind}"), &[x], &more)
    }

    // ---- layout --------------------------------------------------------------------------------

    pub(crate) fn reshape(&mut self, x: &Value, shape: Vec<usize>) -> Value {
        self.node(shape, "reshape", &[x], "")
    }

    pub(crate) fn expand(&mut self, x: &Value, shape: &[usize]) -> Value {
        self.node(shape.to_vec(), "expand", &[x], "")
    }

    pub(crate) fn transpose(&mut self, x: &Value, perm: &[usize]) -> Value {
        let shape = perm.iter().map(|p| x.shape[*p]).collect();
        self.node(shape, "transpose", &[x], &format!("perm {perm:?}"))
    }

    pub(crate) fn slice(&mut self, x: &Value, axis: usize, start: usize, length: usize) -> Value {
        let mut starts = vec![0; x.rank()];
        starts[axis] = start;
        self.node(x.with(axis, length), "slice", &[x], &format!("starts {starts:?}"))
    }

    pub(crate) fn gather(&mut self, x: &Value, axis: usize, picked: &[usize]) -> Value {
        let index = self.literal("i64", &[picked.len()], format!("{picked:?}"));
        let more = format!("axis {axis}");
        self.node(x.with(axis, picked.len()), "gather", &[x, &index], &more)
    }

    /// One place of an axis, which goes.
    pub(crate) fn select(&mut self, x: &Value, axis: usize, at: usize) -> Value {
        let index = self.literal("i64", &[], at);
        let mut shape = x.shape.clone();
        shape.remove(axis);
        self.node(shape, "gather", &[x, &index], &format!("axis {axis}"))
    }

    pub(crate) fn concat(&mut self, parts: &[Value], axis: usize) -> Value {
        let extent = parts.iter().map(|part| part.shape[axis]).sum();
        let operands: Vec<&Value> = parts.iter().collect();
        let shape = parts[0].with(axis, extent);
        self.node(shape, "concat", &operands, &format!("axis {axis}"))
    }
}
