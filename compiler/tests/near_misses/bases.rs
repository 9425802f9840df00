//! Well-formed graphs, whose edits are the cases.

// Each node comes from the ONNX node of its name; the softmax or the gate is `a`.

/// K = 2, R = 2, radix-major, as the released ResNeSt code is exported.
pub(crate) const RADIX: &str = "
input %x f32[2, 4, 2, 3]
weight %wu f32[8, 4, 1, 1] rand(1)
weight %w1 f32[6, 2, 1, 1] rand(2)
weight %b1 f32[6] rand(3)
weight %w2 f32[8, 3, 1, 1] rand(4)
weight %b2 f32[8] rand(5)
%conv f32[2, 8, 2, 3] = conv(%x, %wu) window 1x1
%u f32[2, 8, 2, 3] = relu(%conv)
%s0 f32[2, 4, 2, 3] = slice(%u) starts [0, 0, 0, 0]
%s1 f32[2, 4, 2, 3] = slice(%u) starts [0, 4, 0, 0]
%sum f32[2, 4, 2, 3] = add(%s0, %s1)
%z f32[2, 4, 1, 1] = reduce_mean(%sum) axes [2, 3] keep true
%h f32[2, 6, 1, 1] = group_conv(%z, %w1, %b1) groups 2 window 1x1
%act f32[2, 6, 1, 1] = relu(%h)
%logits f32[2, 8, 1, 1] = group_conv(%act, %w2, %b2) groups 2 window 1x1
%view f32[2, 2, 2, 2] = reshape(%logits)
%swapped f32[2, 2, 2, 2] = transpose(%view) perm [0, 2, 1, 3]
%a f32[2, 2, 2, 2] = softmax(%swapped) axis 1
%flat f32[2, 8, 1, 1] = reshape(%a)
%a0 f32[2, 4, 1, 1] = slice(%flat) starts [0, 0, 0, 0]
%a1 f32[2, 4, 1, 1] = slice(%flat) starts [0, 4, 0, 0]
%m0 f32[2, 4, 2, 3] = mul(%a0, %s0)
%m1 f32[2, 4, 2, 3] = mul(%a1, %s1)
%y f32[2, 4, 2, 3] = add(%m0, %m1)
output %y
";

/// K = 1, R = 3 with five axes, as timm writes it, and linear layers.
pub(crate) const VIEWS: &str = "
input %x f32[2, 4, 3, 2]
weight %wu f32[12, 4, 1, 1] rand(1)
weight %w1 f32[4, 5] rand(2)
weight %b1 f32[5] rand(3)
weight %w2 f32[12, 5] rand(4)
weight %b2 f32[12] rand(5)
%conv f32[2, 12, 3, 2] = conv(%x, %wu) window 1x1
%u f32[2, 3, 4, 3, 2] = reshape(%conv)
%sum f32[2, 4, 3, 2] = reduce_sum(%u) axes [1]
%z f32[2, 4] = reduce_mean(%sum) axes [2, 3]
%h f32[2, 5] = matmul(%z, %w1)
%biased f32[2, 5] = add(%h, %b1)
%act f32[2, 5] = relu(%biased)
%logits f32[2, 12] = matmul(%act, %w2, %b2) trans_b true
%view f32[2, 3, 4, 1, 1] = reshape(%logits)
%a f32[2, 3, 4, 1, 1] = softmax(%view) axis 1
%m f32[2, 3, 4, 3, 2] = mul(%u, %a)
%y f32[2, 4, 3, 2] = reduce_sum(%m) axes [1]
output %y
";

/// Squeeze-and-excitation.
pub(crate) const GATE: &str = "
input %x f32[2, 4, 2, 3]
weight %wu f32[6, 4, 1, 1] rand(1)
weight %w1 f32[4, 6, 1, 1] rand(2)
weight %b1 f32[4] rand(3)
weight %w2 f32[6, 4, 1, 1] rand(4)
weight %b2 f32[6] rand(5)
%u f32[2, 6, 2, 3] = conv(%x, %wu) window 1x1
%z f32[2, 6, 1, 1] = reduce_mean(%u) axes [2, 3] keep true
%h f32[2, 4, 1, 1] = conv(%z, %w1, %b1) window 1x1
%act f32[2, 4, 1, 1] = relu(%h)
%logits f32[2, 6, 1, 1] = conv(%act, %w2, %b2) window 1x1
%a f32[2, 6, 1, 1] = sigmoid(%logits)
%y f32[2, 6, 2, 3] = mul(%u, %a)
output %y
";

/// K = 1, R = 2 as two branches, with a linear layer for each split and a stacked softmax.
pub(crate) const BRANCHES: &str = "
input %x f32[2, 6, 4, 4]
weight %p0 f32[4, 6, 1, 1] rand(1)
weight %p1 f32[4, 6, 1, 1] rand(2)
weight %q0 f32[8, 4, 3, 3] rand(3)
weight %q1 f32[8, 4, 3, 3] rand(4)
weight %w1 f32[8, 5] rand(5)
weight %w20 f32[5, 8] rand(6)
weight %w21 f32[5, 8] rand(7)
%s0 f32[2, 4, 4, 4] = conv(%x, %p0) window 1x1
%s1 f32[2, 4, 4, 4] = conv(%x, %p1) window 1x1
%t0 f32[2, 4, 4, 4] = relu(%s0)
%t1 f32[2, 4, 4, 4] = relu(%s1)
%c0 f32[2, 8, 4, 4] = conv(%t0, %q0) window 3x3 pad 1
%c1 f32[2, 8, 4, 4] = conv(%t1, %q1) window 3x3 pad 1
%u0 f32[2, 8, 4, 4] = relu(%c0)
%u1 f32[2, 8, 4, 4] = relu(%c1)
%sum f32[2, 8, 4, 4] = add(%u0, %u1)
%mean f32[2, 8, 1, 1] = reduce_mean(%sum) axes [2, 3] keep true
%z f32[2, 8] = reshape(%mean)
%fc1 f32[2, 5] = matmul(%z, %w1)
%act f32[2, 5] = relu(%fc1)
%h0 f32[2, 8] = matmul(%act, %w20)
%h1 f32[2, 8] = matmul(%act, %w21)
%k0 f32[2, 1, 8] = reshape(%h0)
%k1 f32[2, 1, 8] = reshape(%h1)
%stack f32[2, 2, 8] = concat(%k0, %k1) axis 1
%a f32[2, 2, 8] = softmax(%stack) axis 1
%a0 f32[2, 1, 8] = slice(%a) starts [0, 0, 0]
%a1 f32[2, 1, 8] = slice(%a) starts [0, 1, 0]
%g0 f32[2, 8, 1, 1] = reshape(%a0)
%g1 f32[2, 8, 1, 1] = reshape(%a1)
%m0 f32[2, 8, 4, 4] = mul(%u0, %g0)
%m1 f32[2, 8, 4, 4] = mul(%u1, %g1)
%y f32[2, 8, 4, 4] = add(%m0, %m1)
output %y
";

/// K = 2 as two squeeze-and-excitations, joined.
pub(crate) const CARDS: &str = "
input %x f32[2, 4, 3, 3]
weight %p0 f32[3, 4, 1, 1] rand(1)
weight %p1 f32[3, 4, 1, 1] rand(2)
weight %w0 f32[2, 3, 1, 1] rand(3)
weight %w1 f32[2, 3, 1, 1] rand(4)
weight %v0 f32[3, 2, 1, 1] rand(5)
weight %v1 f32[3, 2, 1, 1] rand(6)
%u0 f32[2, 3, 3, 3] = conv(%x, %p0) window 1x1
%u1 f32[2, 3, 3, 3] = conv(%x, %p1) window 1x1
%z0 f32[2, 3, 1, 1] = reduce_mean(%u0) axes [2, 3] keep true
%z1 f32[2, 3, 1, 1] = reduce_mean(%u1) axes [2, 3] keep true
%h0 f32[2, 2, 1, 1] = conv(%z0, %w0) window 1x1
%h1 f32[2, 2, 1, 1] = conv(%z1, %w1) window 1x1
%r0 f32[2, 2, 1, 1] = relu(%h0)
%r1 f32[2, 2, 1, 1] = relu(%h1)
%l0 f32[2, 3, 1, 1] = conv(%r0, %v0) window 1x1
%l1 f32[2, 3, 1, 1] = conv(%r1, %v1) window 1x1
%a f32[2, 3, 1, 1] = sigmoid(%l0)
%b f32[2, 3, 1, 1] = sigmoid(%l1)
%y0 f32[2, 3, 3, 3] = mul(%u0, %a)
%y1 f32[2, 3, 3, 3] = mul(%u1, %b)
%y f32[2, 6, 3, 3] = concat(%y0, %y1) axis 1
output %y
";

/// Two branches whose sum is one convolution of both (Figure 3 of ResNeXt, a).
pub(crate) const SUMMED: &str = "
input %x f32[2, 6, 4, 4]
weight %p0 f32[4, 6, 1, 1] rand(1)
weight %p1 f32[4, 6, 1, 1] rand(2)
weight %q0 f32[6, 4, 1, 1] rand(3)
weight %q1 f32[6, 4, 1, 1] rand(4)
%s0 f32[2, 4, 4, 4] = conv(%x, %p0) window 1x1
%s1 f32[2, 4, 4, 4] = conv(%x, %p1) window 1x1
%t0 f32[2, 4, 4, 4] = relu(%s0)
%t1 f32[2, 4, 4, 4] = relu(%s1)
%c0 f32[2, 6, 4, 4] = conv(%t0, %q0) window 1x1
%c1 f32[2, 6, 4, 4] = conv(%t1, %q1) window 1x1
%y f32[2, 6, 4, 4] = add(%c0, %c1)
output %y
";
