//! The rows. Graphs of rows that stand alone are at the end.

use super::{End, Extents, Family, Operator, Taps, Way, tails};

const fn taps(kernel: usize, stride: usize, pad: usize) -> Taps {
    Taps { kernel, stride, dilation: 1, pad }
}

/// 3×3 elements so far apart.
const fn dilated(dilation: usize) -> Taps {
    Taps { dilation, ..taps(3, 1, dilation) }
}

/// A layer with a residual.
const fn joined(read: usize, made: usize, side: usize) -> Extents {
    Extents::square(read, made, side).then(End::Residual)
}

const fn groups(channels: usize, groups: usize, side: usize) -> Extents {
    Extents::of([channels, channels, groups], [side, side])
}

/// A family that is timed nowhere: small, or off the path of the networks.
const fn only_proved(name: &'static str, text: fn(&Extents) -> String) -> Family {
    let operator = Operator::Other(text, no_work);
    Family { name, operator, way: Way::Exact, tails: tails::cubes, layers: &[] }
}

/// A 3×3 convolution of bytes that is computed in Winograd's domain.
const fn bytes_by(name: &'static str, algorithm: &'static str) -> Family {
    const LAYERS: &[(&str, Extents)] = &[("64-64@56", Extents::square(64, 64, 56))];
    let (operator, layers) = (Operator::Conv(taps(3, 1, 1)), LAYERS);
    Family { name, operator, way: Way::BytesBy(algorithm), tails: tails::windows, layers }
}

/// 3×3 convolutions with products of bfloat16.
const fn rounded_by(name: &'static str, algorithm: &'static str) -> Family {
    const LAYERS: &[(&str, Extents)] = &[("64-64@56", Extents::square(64, 64, 56))];
    let (operator, layers) = (Operator::Conv(taps(3, 1, 1)), LAYERS);
    Family { name, operator, way: Way::RoundedBy(algorithm), tails: tails::windows, layers }
}

/// 1×1 convolutions.
const POINTS: &[(&str, Extents)] = &[
    ("64-64@56", Extents::square(64, 64, 56)),
    ("64-256@56", joined(64, 256, 56)),
    ("256-64@56", Extents::square(256, 64, 56)),
    ("256-128@56", Extents::square(256, 128, 56)),
    ("512-128@28", Extents::square(512, 128, 28)),
    ("128-512@28", joined(128, 512, 28)),
    ("512-256@28", Extents::square(512, 256, 28)),
    ("1024-256@14", Extents::square(1024, 256, 14)),
    ("256-1024@14", joined(256, 1024, 14)),
    ("1024-512@14", Extents::square(1024, 512, 14)),
    ("2048-512@7", Extents::square(2048, 512, 7)),
    ("512-2048@7", joined(512, 2048, 7)),
];

/// Every row: layers are those of ResNet-50, ResNeSt-50 and ResNeXt-50 at 224 pixels, by the side of
/// what they read.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "conv 1x1",
        operator: Operator::Conv(taps(1, 1, 0)),
        way: Way::Exact,
        tails: tails::points,
        layers: POINTS,
    },
    Family {
        name: "conv 1x1 stride 2",
        operator: Operator::Conv(taps(1, 2, 0)),
        way: Way::Exact,
        tails: tails::windows,
        layers: &[
            ("256-512@56", Extents::square(256, 512, 56)),
            ("512-1024@28", Extents::square(512, 1024, 28)),
            ("1024-2048@14", Extents::square(1024, 2048, 14)),
        ],
    },
    Family {
        name: "conv 1x1 strassen",
        operator: Operator::Conv(taps(1, 1, 0)),
        way: Way::By("strassen"),
        tails: tails::halves,
        layers: POINTS,
    },
    Family {
        name: "conv 3x3 stride 2 strassen",
        operator: Operator::Conv(taps(3, 2, 1)),
        way: Way::By("strassen"),
        tails: tails::halves_of_windows,
        layers: &[
            ("128-128@56", Extents::square(128, 128, 56)),
            ("256-256@28", Extents::square(256, 256, 28)),
        ],
    },
    Family {
        name: "conv 3x3 direct",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Exact,
        tails: tails::windows,
        layers: &[
            ("64-64@56", Extents::square(64, 64, 56)),
            ("128-128@28", Extents::square(128, 128, 28)),
            ("256-256@14", Extents::square(256, 256, 14)),
            ("512-512@7", Extents::square(512, 512, 7)),
        ],
    },
    Family {
        name: "conv 3x3 winograd",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: tails::winograd,
        layers: &[
            ("64-64@56", Extents::square(64, 64, 56)),
            ("128-128@28", Extents::square(128, 128, 28)),
            ("256-256@14", Extents::square(256, 256, 14)),
            ("512-512@7", Extents::square(512, 512, 7)),
            ("32-64@112", Extents::square(32, 64, 112)),
            ("2 groups 64-128@56", Extents::of([64, 128, 2], [56, 56])),
            ("2 groups 128-256@28", Extents::of([128, 256, 2], [28, 28])),
            ("2 groups 256-512@14", Extents::of([256, 512, 2], [14, 14])),
            ("2 groups 512-1024@7", Extents::of([512, 1024, 2], [7, 7])),
        ],
    },
    Family {
        name: "conv 3x3 dilation 2 winograd",
        operator: Operator::Conv(dilated(2)),
        way: Way::Estimated,
        tails: tails::phases,
        layers: &[
            ("64-128@56", Extents::square(64, 128, 56)),
            ("128-256@28", Extents::square(128, 256, 28)),
            ("256-512@14", Extents::square(256, 512, 14)),
        ],
    },
    Family {
        name: "conv 3x3 stride 2",
        operator: Operator::Conv(taps(3, 2, 1)),
        way: Way::Estimated,
        tails: tails::windows,
        layers: &[
            ("3-32@224", Extents::square(3, 32, 224)),
            ("128-128@56", Extents::square(128, 128, 56)),
            ("256-256@28", Extents::square(256, 256, 28)),
            ("512-512@14", Extents::square(512, 512, 14)),
        ],
    },
    Family {
        name: "conv 7x7 stride 2",
        operator: Operator::Conv(taps(7, 2, 3)),
        way: Way::Estimated,
        tails: tails::stems,
        layers: &[("3-64@224", Extents::square(3, 64, 224))],
    },
    Family {
        name: "groups of 1, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: || tails::narrow(1),
        layers: &[("96@56", groups(96, 96, 56))],
    },
    Family {
        name: "groups of 1, rest of a block",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: tails::alone,
        layers: &[("72@28", groups(72, 72, 28))],
    },
    Family {
        name: "groups of 4, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: || tails::narrow(4),
        layers: &[("128@56", groups(128, 32, 56))],
    },
    Family {
        name: "groups of 8, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: || tails::narrow(8),
        layers: &[("256@28", groups(256, 32, 28))],
    },
    Family {
        name: "groups of 8, 3x3 stride 2",
        operator: Operator::Conv(taps(3, 2, 1)),
        way: Way::Estimated,
        tails: || tails::narrow(8),
        layers: &[("256@56", groups(256, 32, 56))],
    },
    Family {
        name: "groups of other widths, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Estimated,
        tails: tails::odd_groups,
        layers: &[],
    },
    Family {
        name: "max pool 3x3 stride 2",
        operator: Operator::Pool("max_pool", taps(3, 2, 1)),
        way: Way::Exact,
        tails: tails::planes,
        layers: &[("64@112", Extents::square(64, 64, 112))],
    },
    Family {
        name: "average pool 3x3 stride 2",
        operator: Operator::Pool("average_pool padding counted", taps(3, 2, 1)),
        way: Way::Exact,
        tails: tails::planes,
        layers: &[("128@56", Extents::square(64, 128, 56))],
    },
    Family {
        name: "average pool 2x2 stride 2",
        operator: Operator::Pool("average_pool", taps(2, 2, 0)),
        way: Way::Exact,
        tails: tails::even_planes,
        layers: &[("256@56", Extents::square(64, 256, 56))],
    },
    Family {
        name: "split attention, radix 2",
        operator: Operator::Attention(2),
        way: Way::Exact,
        tails: tails::attention,
        layers: &[("64@56", Extents::square(64, 64, 56)), ("512@7", Extents::square(64, 512, 7))],
    },
    Family {
        name: "gate",
        operator: Operator::Attention(1),
        way: Way::Exact,
        tails: tails::attention,
        layers: &[("256@56", Extents::square(64, 256, 56))],
    },
    Family {
        name: "bf16 conv 1x1",
        operator: Operator::Conv(taps(1, 1, 0)),
        way: Way::RoundedBy("direct"),
        tails: tails::points,
        layers: POINTS,
    },
    Family {
        name: "bf16 conv 3x3 stride 2",
        operator: Operator::Conv(taps(3, 2, 1)),
        way: Way::RoundedBy("direct"),
        tails: tails::windows,
        layers: &[("128-128@56", Extents::square(128, 128, 56))],
    },
    Family {
        name: "bf16 conv 7x7 stride 2",
        operator: Operator::Conv(taps(7, 2, 3)),
        way: Way::RoundedBy("direct"),
        tails: tails::stems,
        layers: &[("3-64@224", Extents::square(3, 64, 224))],
    },
    Family {
        name: "bf16 groups of 4, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::RoundedBy("direct"),
        tails: || tails::narrow(4),
        layers: &[("128@56", groups(128, 32, 56))],
    },
    Family {
        name: "bf16 groups of 8, 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::RoundedBy("direct"),
        tails: || tails::narrow(8),
        layers: &[("256@28", groups(256, 32, 28))],
    },
    Family {
        name: "bf16 groups of 8, 3x3 stride 2",
        operator: Operator::Conv(taps(3, 2, 1)),
        way: Way::RoundedBy("direct"),
        tails: || tails::narrow(8),
        layers: &[("256@56", groups(256, 32, 56))],
    },
    rounded_by("bf16 conv 3x3 F(2x2)", "F(2x2)"),
    rounded_by("bf16 conv 3x3 F(3x3)", "F(3x3)"),
    rounded_by("bf16 conv 3x3 F(4x4)", "F(4x4)"),
    Family {
        name: "bytes conv 1x1",
        operator: Operator::Conv(taps(1, 1, 0)),
        way: Way::Bytes,
        tails: tails::points,
        layers: POINTS,
    },
    Family {
        name: "bytes conv 3x3",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Bytes,
        tails: tails::windows,
        layers: &[
            ("64-64@56", Extents::square(64, 64, 56)),
            ("2 groups 64-128@56", Extents::of([64, 128, 2], [56, 56])),
            ("2 groups 128-256@28", Extents::of([128, 256, 2], [28, 28])),
            ("2 groups 256-512@14", Extents::of([256, 512, 2], [14, 14])),
            ("2 groups 512-1024@7", Extents::of([512, 1024, 2], [7, 7])),
        ],
    },
    bytes_by("bytes conv 3x3 by F(2x2)", "F(2x2)"),
    bytes_by("bytes conv 3x3 by F(3x3)", "F(3x3)"),
    bytes_by("bytes conv 3x3 by F(4x4)", "F(4x4)"),
    Family {
        name: "bytes conv 7x7 stride 2",
        operator: Operator::Conv(taps(7, 2, 3)),
        way: Way::Bytes,
        tails: tails::stems,
        layers: &[("3-64@224", Extents::square(3, 64, 224))],
    },
    Family {
        name: "bytes conv 3x3 groups of 4",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Bytes,
        tails: || tails::narrow(4),
        layers: &[("128@56", groups(128, 32, 56))],
    },
    Family {
        name: "bytes conv 3x3 groups of 8",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Bytes,
        tails: || tails::narrow(8),
        layers: &[("256@28", groups(256, 32, 28))],
    },
    Family {
        name: "bytes conv 3x3 depthwise",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Bytes,
        tails: || tails::narrow(1),
        layers: &[("96@56", groups(96, 96, 56))],
    },
    Family {
        name: "bytes conv 3x3 depthwise, rest of a block",
        operator: Operator::Conv(taps(3, 1, 1)),
        way: Way::Bytes,
        tails: tails::alone,
        layers: &[("72@28", groups(72, 72, 28))],
    },
    Family {
        name: "bytes max pool",
        operator: Operator::Pool("max_pool", taps(3, 2, 1)),
        way: Way::Bytes,
        tails: tails::planes,
        layers: &[("64@112", Extents::square(64, 64, 112))],
    },
    Family {
        name: "bytes average pool",
        operator: Operator::Pool("average_pool", taps(3, 2, 1)),
        way: Way::Bytes,
        tails: tails::planes,
        layers: &[("128@56", Extents::square(64, 128, 56))],
    },
    Family {
        name: "bytes average pool, padding counted",
        operator: Operator::Pool("average_pool padding counted", taps(3, 2, 1)),
        way: Way::Bytes,
        tails: tails::planes,
        layers: &[],
    },
    Family {
        name: "bytes attention",
        operator: Operator::Attention(2),
        way: Way::Bytes,
        tails: tails::attention,
        layers: &[("64@56", Extents::square(64, 64, 56)), ("512@7", Extents::square(64, 512, 7))],
    },
    Family {
        name: "product",
        operator: Operator::Other(product, product_work),
        way: Way::Exact,
        tails: tails::cubes,
        layers: &[("2048-1000", Extents::square(2048, 1000, 1))],
    },
    Family {
        name: "bytes product",
        operator: Operator::Other(product, product_work),
        way: Way::Bytes,
        tails: tails::cubes,
        layers: &[("2048-1000", Extents::square(2048, 1000, 1))],
    },
    Family {
        name: "product of many rows",
        operator: Operator::Other(table, table_work),
        way: Way::Exact,
        tails: tails::tables,
        layers: &[
            ("197x192-768", Extents::of([192, 768, 1], [1, 197])),
            ("197x768-192", Extents::of([768, 192, 1], [1, 197])),
            ("3136x96-384", Extents::of([96, 384, 1], [1, 3136])),
        ],
    },
    Family { tails: tails::tables, ..only_proved("products of matrices", matrices) },
    Family { tails: tails::planes, ..only_proved("conv 1x1 with functions", functions) },
    Family { tails: tails::planes, ..only_proved("channels to back and front", turned) },
    only_proved("map", map),
    only_proved("softmax", softmax),
    only_proved("argmax", argmax),
    only_proved("gather", gather),
    only_proved("scatter", scatter),
    only_proved("reduce", reduce),
    only_proved("row-major pools", plane_pools),
];

fn product(e: &Extents) -> String {
    let Extents { images: n, read, made, .. } = *e;
    format!(
        "input %a f32[{n}, {read}]\nweight %b f32[{read}, {made}] rand(1)\n\
         weight %c f32[{made}] rand(2)\n%y f32[{n}, {made}] = matmul(%a, %b, %c)\noutput %y"
    )
}

fn product_work(e: &Extents) -> usize {
    e.images * e.read * e.made
}

/// A dense layer of as many rows as the plane is wide, with a function of many steps and a residual.
fn table(e: &Extents) -> String {
    let Extents { images: n, read, made, size: [_, rows], .. } = *e;
    format!(
        "input %a f32[{n}, {rows}, {read}]\ninput %r f32[{n}, {rows}, {made}]\n\
         weight %b f32[{read}, {made}] rand(1)\nweight %c f32[{made}] rand(2)\n\
         %y f32[{n}, {rows}, {made}] = matmul(%a, %b, %c)\nthen gelu\n\
         %z f32[{n}, {rows}, {made}] = matmul(%a, %b)\nthen add %r, swish\noutput %y\noutput %z"
    )
}

fn table_work(e: &Extents) -> usize {
    2 * e.images * e.size[1] * e.read * e.made
}

/// Products of two values, of which either may be turned.
fn matrices(e: &Extents) -> String {
    let Extents { images: n, read, made, size: [_, rows], .. } = *e;
    format!(
        "input %a f32[{n}, {rows}, {read}]\ninput %b f32[{n}, {read}, {made}]\n\
         input %c f32[{n}, {made}, {read}]\ninput %d f32[{n}, {read}, {rows}]\n\
         %x f32[{n}, {rows}, {made}] = matmul(%a, %b)\n\
         %y f32[{n}, {rows}, {made}] = matmul(%a, %c)\ntrans_b true\n\
         %z f32[{n}, {rows}, {made}] = matmul(%d, %b)\ntrans_a true\n\
         output %x\noutput %y\noutput %z"
    )
}

/// Convolutions that end with functions of many steps, and with what is left of these.
fn functions(e: &Extents) -> String {
    let Extents { images: n, read, made, size: [h, w], .. } = *e;
    format!(
        "input %x f32[{n}, {read}, {h}, {w}]\nweight %a f32[{made}, {read}, 1, 1] rand(1)\n\
         weight %b f32[{made}] rand(2)\n\
         %p f32[{n}, {made}, {h}, {w}] = conv(%x, %a, %b)\nwindow 1x1\nthen swish\n\
         %q f32[{n}, {made}, {h}, {w}] = conv(%x, %a, %b)\nwindow 1x1\n\
         then hard_swish, clip -1 2, mul %p\n\
         %r f32[{n}, {made}, {h}, {w}] = conv(%x, %a)\nwindow 1x1\nthen add %p, leaky_relu 0.1, gelu\n\
         output %q\noutput %r"
    )
}

/// Channels that come last, and in blocks before and behind.
fn turned(e: &Extents) -> String {
    let Extents { images: n, read, size: [h, w], .. } = *e;
    let c = read.next_multiple_of(16);
    format!(
        "input %x f32[{n}, {c}, {h}, {w}]\nweight %a f32[{c}, {c}, 1, 1] rand(1)\n\
         weight %b f32[{c}, 1, 3, 3] rand(2)\n\
         %p f32[{n}, {c}, {h}, {w}] = conv(%x, %a)\nwindow 1x1\n\
         %q f32[{n}, {h}, {w}, {c}] = transpose(%p)\nperm [0, 2, 3, 1]\n\
         %r f32[{n}, {h}, {w}, {c}] = sigmoid(%q)\n\
         %s f32[{n}, {c}, {h}, {w}] = transpose(%r)\nperm [0, 3, 1, 2]\n\
         %t f32[{n}, {c}, {h}, {w}] = add(%s, %p)\n\
         %y f32[{n}, {c}, {h}, {w}] = group_conv(%s, %b)\ngroups {c}\nwindow 3x3 pad 1\n\
         output %y\noutput %t"
    )
}

/// `[read, made, w]` for the operators over three axes.
fn cube(e: &Extents) -> String {
    format!("[{}, {}, {}]", e.read, e.made, e.size[1])
}

fn softmax(e: &Extents) -> String {
    let shape = cube(e);
    format!("input %x f32{shape}\n%y f32{shape} = softmax(%x)\naxis 1\noutput %y")
}

fn argmax(e: &Extents) -> String {
    let (shape, r, w) = (cube(e), e.read, e.size[1]);
    format!("input %x f32{shape}\n%y i64[{r}, {w}] = argmax(%x)\naxis 1\noutput %y")
}

fn gather(e: &Extents) -> String {
    let (shape, r, last, w) = (cube(e), e.read, e.made - 1, e.size[1]);
    format!(
        "input %x f32{shape}\nweight %i i64[3] = [{last}, 0, {last}]\n\
         %y f32[{r}, 3, {w}] = gather(%x, %i)\naxis 1\noutput %y"
    )
}

fn scatter(e: &Extents) -> String {
    let (shape, r, m, last, w) = (cube(e), e.read, e.made, e.read - 1, e.size[1]);
    format!(
        "input %x f32[4, {m}, {w}]\ninput %d f32{shape}\nweight %i i64[4] = [{last}, -1, {r}, {last}]\n\
         %y f32{shape} = scatter(%x, %i, %d)\nextent {r}\n\
         %z f32{shape} = scatter(%x, %i)\nextent {r}\noutput %y\noutput %z"
    )
}

fn reduce(e: &Extents) -> String {
    let (shape, r, m, w) = (cube(e), e.read, e.made, e.size[1]);
    format!(
        "input %x f32{shape}\n%a f32[{r}, {m}] = reduce_mean(%x)\naxes [2]\n\
         %b f32[{m}, {w}] = reduce_max(%x)\naxes [0]\noutput %a\noutput %b"
    )
}

fn map(e: &Extents) -> String {
    let (shape, r, m, w) = (cube(e), e.read, e.made, e.size[1]);
    format!(
        "input %x f32{shape}\ninput %z f32[{m}, 1]\n%a f32{shape} = mul(%x, %z)\nthen sigmoid\n\
         %b f32{shape} = add(%x, %z)\nthen relu\n\
         %c f32[{w}, {r}, {m}] = transpose(%x)\nperm [2, 0, 1]\noutput %a\noutput %b\noutput %c"
    )
}

/// Pools of row-major planes.
fn plane_pools(e: &Extents) -> String {
    let Extents { images: n, read: c, size: [h, w], .. } = *e;
    let taps = taps(3, 2, 1);
    let [oh, ow] = taps.output(e.size);
    let window = taps.text();
    format!(
        "input %x f32[{n}, {c}, {h}, {w}]\n\
         %a f32[{n}, {c}, {oh}, {ow}] = max_pool(%x)\nwindow {window}\n\
         %b f32[{n}, {c}, {oh}, {ow}] = average_pool(%x)\nwindow {window}\noutput %a\noutput %b"
    )
}

fn no_work(_: &Extents) -> usize {
    0
}
