#!/usr/bin/env python3
"""Finds the polynomials of functions in lanes, and prints compiler/src/lanes/coefficients.rs.

    scripts/function_coefficients.py [--check]

Each is the polynomial of its degree whose largest weighted error over an interval is least, by Remez' exchange
algorithm (E. W. Cheney, Introduction to Approximation Theory, chapter 3) in 160 bits. Its coefficients are rounded to
f32 one after the other, lowest first, and after each the rest is found again, so that it makes up for the rounding.
On stderr are the logarithms to base 2 of the largest errors, before and after rounding. --check compares with the
file instead. It needs mpmath, which comes with sympy.
"""
import os
import struct
import sys

import common

FILE = os.path.join(common.HERE, 'compiler', 'src', 'lanes', 'coefficients.rs')
HEADER = '//! Coefficients of polynomials, lowest first, as `scripts/function_coefficients.py` prints them.\n'
BITS, ROUNDS, POINTS, FINE_POINTS = 160, 12, 600, 2000


def polynomials(mp):
    """Name, what it says, the function and the weight of its error, count of coefficients, and the interval."""
    def off_zero(f, least=mp.mpf(2)**-30):
        return lambda x: f(x if abs(x) > least else least)

    def ratio(f):
        """f(√t) / √t"""
        def of(t):
            root = mp.sqrt(t + mp.mpf(2)**-60)
            return f(root) / root
        return of

    half, end = mp.log(2) / 2 * (1 + mp.mpf(2)**-12), mp.mpf('13.3')
    tanh, erf, phi = ratio(mp.tanh), ratio(mp.erf), ratio(lambda s: mp.erf(s / mp.sqrt(2)) / 2)

    def tail(v):
        u = 2 * (1 - v) / v
        return u * mp.erfc(u / mp.sqrt(2)) * mp.exp(u * u / 2) / 2

    return [
        ('EXP', 'exp(r) = 1 + r + r² · P(r) for |r| ≤ ln 2 / 2.', off_zero(lambda r: (mp.expm1(r) - r) / r**2),
         off_zero(lambda r: r**2 / mp.exp(r)), 5, -half, half),
        ('LOG', 'log(1 + f) = f - f²/2 + f³ · P(f) for f from √½ - 1 to √2 - 1.',
         off_zero(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3), off_zero(lambda f: abs(f**3 / mp.log1p(f))), 9,
         mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1),
        ('TANH', 'tanh(x) = x + x³ · P(x²) for |x| ≤ 0.6.', lambda t: (tanh(t) - 1) / (t + mp.mpf(2)**-60),
         lambda t: t / tanh(t), 5, mp.mpf(2)**-20, mp.mpf('0.6')**2),
        ('ERF', 'erf(x) = x + x · P(x²) for |x| ≤ 0.93.', lambda t: erf(t) - 1, lambda t: 1 / erf(t), 6, mp.mpf(0),
         mp.mpf('0.93')**2),
        ('LOG_ERFC', 'log(1 - erf(x)) = P(x) for x from 0.9 to 4.', lambda z: mp.log(mp.erfc(z)),
         lambda z: mp.erfc(z) / mp.erf(z), 8, mp.mpf('0.9'), mp.mpf(4)),
        ('PHI', 'Φ(x) = 1/2 + x · P(x²) for |x| ≤ 1.', phi,
         lambda t: mp.sqrt(t) / (mp.mpf(1) / 2 - mp.sqrt(t) * phi(t)), 6, mp.mpf(0), mp.mpf(1)),
        ('GELU_TAIL', 'u · Φ(-u) · exp(u²/2) = P(1 / (1 + u/2)) for u from 0.95 to 13.3.', tail,
         lambda v: 1 / tail(v), 9, 2 / (end + 2), 2 / (2 + mp.mpf('0.95'))),
    ]


def nodes(mp, low, high, angles):
    return [(low + high) / 2 - (high - low) / 2 * mp.cos(angle) for angle in angles]


def exchanged(mp, f, weight, powers, low, high):
    """The coefficients of the best polynomial in these powers, and its largest error."""
    count = len(powers)
    points = nodes(mp, low, high, [mp.pi * (i + mp.mpf(1) / 2) / (count + 1) for i in range(count + 1)])
    grid = [(x, f(x), weight(x)) for x in nodes(mp, low, high, [mp.pi * i / POINTS for i in range(POINTS + 1)])]
    grid = [point for point in grid if point[2] != 0]
    for _ in range(ROUNDS):
        rows = [[x**power for power in powers] + [(-1)**i / weight(x)] for i, x in enumerate(points)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in points]))
        found = list(solution)[:count]
        errors = [(x, w * (y - value(found, powers, x))) for x, y, w in grid]
        points = extremes(errors, count + 1)
        if len(points) <= count:
            break
    return found, max(abs(error) for _, error in errors)


def value(coefficients, powers, x):
    return sum(c * x**power for c, power in zip(coefficients, powers))


def extremes(errors, count):
    """Where errors of alternating signs are largest, as many as wanted."""
    found = []
    for x, error in errors:
        if found and (found[-1][1] > 0) == (error > 0):
            if abs(error) > abs(found[-1][1]):
                found[-1] = (x, error)
        else:
            found.append((x, error))
    while len(found) > count:
        found.pop(0 if abs(found[0][1]) < abs(found[-1][1]) else -1)
    return [x for x, _ in found]


def fitted(mp, f, weight, count, low, high):
    """Coefficients in f32, and the largest errors before and after rounding."""
    known, ideal = [], None
    for first in range(count):
        def rest(x):
            return f(x) - value(known, range(first), x)
        found, error = exchanged(mp, rest, weight, list(range(first, count)), low, high)
        ideal = error if ideal is None else ideal
        known.append(mp.mpf(rounded(float(found[0]))))
    points = [low + (high - low) * i / FINE_POINTS for i in range(FINE_POINTS + 1)]
    errors = [abs(weight(x) * (f(x) - value(known, range(count), x))) for x in points if weight(x) != 0]
    return [float(c) for c in known], ideal, max(errors)


def rounded(number):
    return struct.unpack('<f', struct.pack('<f', number))[0]


def literal(number):
    """The shortest decimal that is this f32, as Rust writes it."""
    short = next(s for s in (f'{number:.{digits}g}' for digits in range(1, 10)) if rounded(float(s)) == number)
    mantissa, _, exponent = repr(float(short)).partition('e')
    whole, _, fraction = mantissa.partition('.')
    if len(fraction) > 3:
        fraction = '_'.join(fraction[i:i + 3] for i in range(0, len(fraction), 3))
    return f'{whole}.{fraction}' + (f'e{int(exponent)}' if exponent else '')


def in_one_line(text):
    """Without what a formatter may change."""
    return ''.join(text.split()).replace(',]', ']')


def main():
    common.enter('sympy')
    import mpmath as mp
    mp.mp.prec = BITS
    parts = [HEADER]
    for name, says, f, weight, count, low, high in polynomials(mp):
        coefficients, *errors = fitted(mp, f, weight, count, low, high)
        print(name, *(f'{float(mp.log(error, 2)):.1f}' for error in errors), file=sys.stderr)
        lines = ''.join(f'    {literal(c)},\n' for c in coefficients)
        parts.append(f'/// {says}\npub(super) const {name}: [f32; {count}] = [\n{lines}];\n')
    text = '\n'.join(parts)
    if '--check' not in sys.argv[1:]:
        print(text, end='')
    elif in_one_line(text) != in_one_line(open(FILE, encoding='utf-8').read()):
        sys.exit(f'{FILE} has other coefficients')


if __name__ == '__main__':
    main()
