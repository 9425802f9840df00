//! Graphs of operators that several rows share, as text. Values in blocks come from a 1×1 convolution, as
//! they do in a network.

use super::{End, Extents, Taps};

pub(super) fn conv(e: &Extents, taps: Taps) -> String {
    let Extents { images: n, read, made, groups, size: [h, w], end } = *e;
    let ([oh, ow], k) = (taps.output(e.size), taps.kernel);
    let mut text = format!("input %x f32[{n}, {read}, {h}, {w}]\n");
    if end == End::Residual {
        text += &format!("input %r f32[{n}, {made}, {oh}, {ow}]\n");
    }
    text += &format!("weight %w f32[{made}, {}, {k}, {k}] rand(1)\n", read / groups);
    let bias = if end == End::Bare { "" } else { ", %b" };
    if end != End::Bare {
        text += &format!("weight %b f32[{made}] rand(2)\n");
    }
    let name = if groups > 1 { "group_conv" } else { "conv" };
    text += &format!("%y f32[{n}, {made}, {oh}, {ow}] = {name}(%x, %w{bias})\n");
    if groups > 1 {
        text += &format!("groups {groups}\n");
    }
    text += &format!("window {}\n", taps.text());
    text += match end {
        End::Bare => "",
        End::Relu => "then relu\n",
        End::Residual => "then add %r, relu\n",
    };
    text + "output %y"
}

/// The value `%u` in blocks, of so many channels.
fn in_blocks(e: &Extents, channels: usize) -> String {
    let Extents { images: n, read, size: [h, w], .. } = *e;
    format!(
        "input %x f32[{n}, {read}, {h}, {w}]\nweight %w f32[{channels}, {read}, 1, 1] rand(1)\n\
         %u f32[{n}, {channels}, {h}, {w}] = conv(%x, %w)\nwindow 1x1\n"
    )
}

pub(super) fn pool(e: &Extents, kind: &str, taps: Taps) -> String {
    let [oh, ow] = taps.output(e.size);
    let (n, c) = (e.images, e.made);
    let (operator, counted) = kind.split_once(' ').unwrap_or((kind, ""));
    in_blocks(e, c)
        + &format!(
            "%y f32[{n}, {c}, {oh}, {ow}] = {operator}(%u)\nwindow {}\n{counted}\noutput %y",
            taps.text()
        )
}

pub(super) fn attention(e: &Extents, radix: usize) -> String {
    let Extents { images: n, made, groups: k, size: [h, w], .. } = *e;
    let (all, each, inner) = (made * radix, made / k, (made / k / 2).max(1));
    let mut text = in_blocks(e, all);
    text += &format!(
        "weight %w1 f32[{}, {each}] rand(3)\nweight %b1 f32[{}] rand(4)\n\
         weight %w2 f32[{all}, {inner}] rand(5)\nweight %b2 f32[{all}] rand(6)\n\
         %y f32[{n}, {made}, {h}, {w}] = split_attention(%u, %w1, %b1, %w2, %b2)\n",
        k * inner,
        k * inner
    );
    for (key, value) in [("cardinality", k), ("radix", radix)] {
        if value > 1 {
            text += &format!("{key} {value}\n");
        }
    }
    let (sum, weigh) = if radix > 1 { (", sum r", "softmax r") } else { ("", "sigmoid") };
    text + &format!(
        "squeeze mean h w{sum}\nexcite i{inner} then relu\nweigh {weigh}\nfrom \"/node\"\noutput %y"
    )
}
