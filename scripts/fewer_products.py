#!/usr/bin/env python3
"""Rounding errors of ways to convolve and multiply with fewer products, beside those of the definition.

    scripts/fewer_products.py [--channels 128] [--seed 0]

For each: the root of the mean squared error in f32, in standard deviations of the results, with random weights and
inputs that a relu has passed, and how many times that of the definition it is. Sums are added up one product after the
other, each rounded with its sum to an f32, as the kernels do; filters are transformed in f64 and rounded once, as when
they are packed.

Winograd's F(m×m, 3×3) is made of Toom and Cook's construction at the points given, with powers of two moved from the
inputs' transform to the filters', so that no row of it makes much larger numbers than it gets. `--search` looks for
points of F(6×6, 3×3), by chance.
"""
import argparse
import random
from fractions import Fraction

import common

common.enter('numpy')
import numpy as np  # noqa: E402

F32 = np.float32
# Name, outputs of a tile along an axis, points besides 0 and infinity.
WINOGRAD = [
    ('F(3x3), as in Cardinal', 3, ['3/4', '-3/4', '-2']),
    ('F(4x4), as in Cardinal', 4, ['3/2', '-3/2', '5/8', '-5/8']),
    ('F(4x4), textbook', 4, ['1', '-1', '2', '-2']),
    ('F(6x6), textbook', 6, ['1', '-1', '2', '-2', '1/2', '-1/2']),
    ('F(6x6), arXiv 2512.18453', 6, ['5/6', '-5/6', '7/6', '-7/6', '3/5', '-3/5']),
    ('F(6x6), found by --search', 6, ['1/2', '-1/2', '1', '-1', '15/8', '-15/8']),
]
TAPS = 3


# ---- Winograd's filtering ------------------------------------------------------------------------

def product(roots):
    """Coefficients of the polynomial with these roots, the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        higher = [Fraction(0)] + coefficients
        lower = [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(higher, lower)]
    return coefficients


def matrices(outputs, points):
    """Transforms of outputs, filters and inputs, in f64."""
    size, last = outputs + TAPS - 1, len(points)
    norms = [np.prod([a - b for b in points if b != a]) for a in points]
    of_outputs = [[a**i for a in points] + [Fraction(i == outputs - 1)] for i in range(outputs)]
    of_filters = [[a**i / norm for i in range(TAPS)] for a, norm in zip(points, norms)]
    of_filters.append([Fraction(i == TAPS - 1) for i in range(TAPS)])
    rows = [product([b for b in points if b != a]) for a in points] + [product(points)]
    of_inputs = [row + [Fraction(0)] * (size - len(row)) for row in rows]
    assert len(of_inputs) == last + 1 == size
    a, g, b = (np.array(m, dtype=np.float64) for m in (of_outputs, of_filters, of_inputs))
    powers = 2.0 ** np.round(np.log2(np.abs(b).sum(axis=1)))
    return a, g * powers[:, None], b / powers[:, None]


def add(total, products):
    """The sum of an f32 and exact products, rounded once."""
    return (total.astype(np.float64) + products).astype(F32)


def transformed(matrix, values, axis):
    """Along an axis, in f32."""
    values, rows = np.moveaxis(values, axis, 0), []
    for row in matrix.astype(F32):
        total = np.zeros(values.shape[1:], F32)
        for factor, value in zip(row, values):
            total = add(total, np.float64(factor) * value) if factor else total
        rows.append(total)
    return np.moveaxis(np.stack(rows), 0, axis)


def winograd(outputs, points, channels, seed, tiles=48, filters=8):
    """Errors of a tile's outputs by Winograd's filtering, and by the definition."""
    rng = np.random.default_rng(seed)
    a, g, b = matrices(outputs, [Fraction(0)] + [Fraction(p) for p in points])
    size = outputs + TAPS - 1
    inputs = np.maximum(rng.standard_normal((tiles, channels, size, size)), 0).astype(F32)
    weights = rng.standard_normal((filters, channels, TAPS, TAPS))
    weights = (weights * np.sqrt(2 / channels / TAPS**2)).astype(F32)
    exact = np.zeros((tiles, filters, outputs, outputs))
    direct = exact.astype(F32)
    for c in range(channels):
        for y, x in np.ndindex(TAPS, TAPS):
            window = inputs[:, None, c, y:y + outputs, x:x + outputs].astype(np.float64)
            products = window * weights[None, :, c, y, x, None, None]
            exact, direct = exact + products, add(direct, products)
    packed = np.einsum('ai,fcij,bj->fcab', g, weights.astype(np.float64), g).astype(F32)
    moved = transformed(b, transformed(b, inputs, 2), 3)
    total = np.zeros((tiles, filters, size, size), F32)
    for c in range(channels):
        total = add(total, moved[:, None, c].astype(np.float64) * packed[None, :, c])
    made = transformed(a, transformed(a, total, 2), 3)
    return [error(found, exact) for found in (made, direct)]


def error(found, exact):
    return np.sqrt(((found - exact)**2).mean()) / exact.std()


def search(channels, seed, steps=300):
    """Three pairs of points of F(6×6, 3×3), each a number and its negative."""
    rng = random.Random(seed)
    best, least = [8, 16, 28], np.inf
    for _ in range(steps):
        points = list(best)
        points[rng.randrange(3)] += rng.choice([-4, -2, -1, 1, 2, 4])
        if min(points) < 2 or len(set(points)) < 3:
            continue
        signed = [str(Fraction(sign * p, 16)) for p in points for sign in (1, -1)]
        found, _ = winograd(6, signed, channels, seed, tiles=24, filters=4)
        if found < least:
            best, least = points, found
    return [str(Fraction(p, 16)) for p in best], least


# ---- seven products ------------------------------------------------------------------------------

def multiplied(a, b, longest):
    """In f32, in parts of so many products."""
    total = np.zeros((a.shape[0], b.shape[1]), F32)
    for first in range(0, a.shape[1], longest):
        part = np.zeros_like(total)
        for k in range(first, min(first + longest, a.shape[1])):
            part = add(part, a[:, k:k + 1].astype(np.float64) * b[k:k + 1])
        total = total + part
    return total


def quarters(m):
    return [half for rows in np.split(m, 2) for half in np.split(rows, 2, axis=1)]


def with_fewest_sums(a, b, longest):
    """Winograd's form of Strassen's products, as in Cardinal: 4 sums of inputs, 7 of products."""
    a11, a12, a21, a22 = quarters(a)
    b11, b12, b21, b22 = [quarter.astype(np.float64) for quarter in quarters(b)]
    s1 = a21 + a22
    s2 = s1 - a11
    left = [a11, a12, a12 - s2, a22, s1, s2, a11 - a21]
    right = [b11, b21, b22, b22 - b12 + b11 - b21, b12 - b11, b22 - b12 + b11, b22 - b12]
    p = [multiplied(x, y.astype(F32), longest) for x, y in zip(left, right)]
    u2 = p[0] + p[5]
    u3, u4 = u2 + p[6], u2 + p[4]
    return np.block([[p[0] + p[1], u4 + p[2]], [u3 - p[3], u3 + p[4]]])


def strassens(a, b, longest):
    """Strassen's own form: 5 sums of inputs, 8 of products."""
    a11, a12, a21, a22 = quarters(a)
    b11, b12, b21, b22 = [quarter.astype(np.float64) for quarter in quarters(b)]
    left = [a11 + a22, a21 + a22, a11, a22, a11 + a12, a21 - a11, a12 - a22]
    right = [b11 + b22, b11, b12 - b22, b21 - b11, b22, b11 + b12, b21 + b22]
    p = [multiplied(x, y.astype(F32), longest) for x, y in zip(left, right)]
    return np.block([[p[0] + p[3] - p[4] + p[6], p[2] + p[4]], [p[1] + p[3], p[0] - p[1] + p[2] + p[5]]])


def products(form, channels, longest, seed):
    """Errors of a product of matrices in a form, and by the definition."""
    rng = np.random.default_rng(seed)
    a = np.maximum(rng.standard_normal((96, channels)), 0).astype(F32)
    b = (rng.standard_normal((channels, 64)) * np.sqrt(2 / channels)).astype(F32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return [error(found, exact) for found in (form(a, b, longest), multiplied(a, b, 512))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--channels', type=int, default=128)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--search', action='store_true')
    args = parser.parse_args()
    if args.search:
        points, least = search(args.channels, args.seed)
        print(f'F(6x6): 0, ±{", ±".join(points)} and infinity: {least:.2e}')
        return
    print(f'3x3 convolutions of {args.channels} channels')
    for name, outputs, points in WINOGRAD:
        found, direct = winograd(outputs, points, args.channels, args.seed)
        print(f'  {name:26} {found:.2e}, {found / direct:5.2f} times the definition')
    print('products of matrices, in parts of 256')
    for channels in (256, 1024):
        for name, form in [('the form in Cardinal', with_fewest_sums), ("Strassen's own", strassens)]:
            found, direct = products(form, channels, 256, args.seed)
            print(f'  {name:21} {channels:4} {found:.2e}, {found / direct:5.2f} times the definition')


if __name__ == '__main__':
    main()
