//! Toom-Cook's points, and the matrices that follow from them.
//!
//! Elements of a transformed tile stand for points: 0, infinity, then the others. A tile of fewer
//! outputs has the first of its family's elements, so that one set of transformed filters serves tiles
//! of all sizes up to m×m. What differs between the sizes, a factor for each element, is in the
//! transform of the input.

/// The finite points of F(m×m, 3×3), 0 first. Beside 0 they are pairs ±p as far as they go.
///
/// With 0.625 and 1.5 errors are about four times smaller than with the textbook's 1 and 2, at the same
/// cost.
pub fn points(outputs: usize) -> &'static [f64] {
    match outputs {
        2 => &[0.0, 1.0, -1.0],
        3 => &[0.0, 0.75, -0.75, -2.0],
        _ => &[0.0, 1.5, -1.5, 0.625, -0.625],
    }
}

/// `Π (p − q)` over the finite points q of F(m×m, 3×3) that are not p, for the point p of this number.
fn scale(outputs: usize, point: usize) -> f64 {
    let points = points(outputs);
    let others = points.iter().enumerate().filter(|(other, _)| *other != point);
    others.map(|(_, q)| points[point] - q).product()
}

/// What the element of a point in a tile of fewer outputs is multiplied by, so that it goes with
/// filters transformed for tiles of `outputs`.
pub fn factor(outputs: usize, fewer: usize, point: usize) -> f64 {
    let points = points(outputs);
    points[fewer + 1..].iter().map(|q| points[point] - q).product()
}

/// Rows of `G`, `[outputs + 2][3]`, in the order of elements.
pub fn filter_matrix(outputs: usize) -> Vec<[f64; 3]> {
    let row = |(at, p): (usize, &f64)| {
        let scale = scale(outputs, at);
        [1.0 / scale, p / scale, p * p / scale]
    };
    let mut rows: Vec<[f64; 3]> = points(outputs).iter().enumerate().map(row).collect();
    rows.insert(1, [0.0, 0.0, 1.0]);
    rows
}

/// `G ⊗ G`, `[(outputs + 2)²][9]`: what each element of a transformed 3×3 filter is of the filter's,
/// both row by row.
pub fn filter_products(outputs: usize) -> Vec<[f64; 9]> {
    let g = filter_matrix(outputs);
    let pairs = g.iter().flat_map(|rows| g.iter().map(move |columns| (rows, columns)));
    pairs.map(|(rows, columns)| std::array::from_fn(|at| rows[at / 3] * columns[at % 3])).collect()
}

/// A 3×3 filter in the transformed domain, row by row.
pub fn transformed(outputs: usize, filter: &[f32]) -> Vec<f64> {
    let element = |factors: &[f64; 9]| {
        factors.iter().zip(filter).fold(0.0, |sum, (a, x)| sum + a * f64::from(*x))
    };
    filter_products(outputs).iter().map(element).collect()
}
