//! Drawings: shapes with places, which become SVG or, for the page, JSON.

use std::fmt::Write as _;

use cardinal_runtime::text::is_visible;
use serde_json::{Value, json};

/// How shapes look; the page has its own colours for the same classes.
const STYLE: &str = include_str!("drawing.css");

/// A drawing. Places are in pixels, from the left and from the top.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scene {
    pub(crate) width: i32,
    pub(crate) height: i32,
    /// In the order in which they are painted.
    pub(crate) shapes: Vec<Shape>,
}

/// Something that is drawn. Classes are those of `drawing.css`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A box; that of a node can be chosen on the page.
    Box { class: &'static str, at: Rect, node: Option<usize> },
    /// A line through the points, bent where it changes its column. An edge of the graph has its ends.
    Line { class: &'static str, points: Vec<Point>, ends: Option<(usize, usize)> },
    /// A circle around a sign.
    Sign { at: Point, sign: &'static str },
    /// A line of text, which begins at its place or has it in the middle, on its base line.
    Text { class: &'static str, at: Point, anchor: Anchor, text: String },
}

/// A place.
pub(crate) type Point = (i32, i32);

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// Which part of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
}

impl Rect {
    /// The rectangle around this place.
    pub(crate) fn around((x, y): Point, width: i32, height: i32) -> Rect {
        Rect { x: x - width / 2, y: y - height / 2, width, height }
    }

    pub(crate) fn center(&self) -> i32 {
        self.x + self.width / 2
    }

    pub(crate) fn bottom(&self) -> i32 {
        self.y + self.height
    }
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
        }
    }
}

impl Scene {
    /// Adds a box that is no node's.
    pub(crate) fn rect(&mut self, class: &'static str, at: Rect) {
        self.shapes.push(Shape::Box { class, at, node: None });
    }

    /// Adds a line that is no edge of the graph.
    pub(crate) fn line(&mut self, class: &'static str, points: &[Point]) {
        self.shapes.push(Shape::Line { class, points: points.to_vec(), ends: None });
    }

    /// Adds a sign in a circle.
    pub(crate) fn sign(&mut self, at: Point, sign: &'static str) {
        self.shapes.push(Shape::Sign { at, sign });
    }

    /// Adds text.
    pub(crate) fn text(
        &mut self,
        class: &'static str,
        at: Point,
        anchor: Anchor,
        text: impl Into<String>,
    ) {
        self.shapes.push(Shape::Text { class, at, anchor, text: text.into() });
    }

    /// Adds lines of text in the middle of a rectangle, the first as a title.
    pub(crate) fn label(&mut self, at: Rect, lines: &[String]) {
        const TITLE: i32 = 17;
        const OTHER: i32 = 15;
        let height = TITLE + OTHER * (lines.len().max(1) as i32 - 1);
        let mut y = at.y + (at.height - height) / 2 + 13;
        for (i, line) in lines.iter().enumerate() {
            let class = if i == 0 { "title" } else { "detail" };
            self.text(class, (at.center(), y), Anchor::Middle, line);
            y += OTHER + i32::from(i == 0) * (TITLE - OTHER);
        }
    }

    /// Adds another drawing at a place.
    pub(crate) fn place(&mut self, other: Scene, (x, y): Point) {
        let shift = |(px, py): Point| (px + x, py + y);
        self.width = self.width.max(x + other.width);
        self.height = self.height.max(y + other.height);
        self.shapes.extend(other.shapes.into_iter().map(|shape| match shape {
            Shape::Box { class, at, node } => {
                let at = Rect { x: at.x + x, y: at.y + y, ..at };
                Shape::Box { class, at, node }
            }
            Shape::Line { class, points, ends } => {
                Shape::Line { class, points: points.into_iter().map(shift).collect(), ends }
            }
            Shape::Sign { at, sign } => Shape::Sign { at: shift(at), sign },
            Shape::Text { class, at, anchor, text } => {
                Shape::Text { class, at: shift(at), anchor, text }
            }
        }));
    }

    /// For the page, which draws it itself: texts stay texts there.
    pub(crate) fn to_json(&self) -> Value {
        let shapes: Vec<Value> = self.shapes.iter().map(Shape::to_json).collect();
        json!({"width": self.width, "height": self.height, "shapes": shapes})
    }

    /// A whole SVG file.
    pub(crate) fn to_svg(&self, title: &str) -> String {
        let (width, height) = (self.width, self.height);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
             <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
             markerHeight=\"7\" orient=\"auto\"><path class=\"arrow\" d=\"M0 0L8 4L0 8Z\"/></marker></defs>\n\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n",
            escaped(title)
        );
        for shape in &self.shapes {
            shape.write_svg(&mut out);
        }
        out + "</svg>\n"
    }
}

impl Shape {
    fn to_json(&self) -> Value {
        match self {
            Shape::Box { class, at: Rect { x, y, width, height }, node } => {
                json!({"box": class, "at": [x, y, width, height], "node": node})
            }
            Shape::Line { class, points, ends } => {
                json!({"line": class, "path": path(points), "ends": ends})
            }
            Shape::Sign { at: (x, y), sign } => json!({"sign": sign, "at": [x, y]}),
            Shape::Text { class, at: (x, y), anchor, text } => {
                json!({"text": text, "class": class, "at": [x, y], "anchor": anchor.name()})
            }
        }
    }

    fn write_svg(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = match self {
            Shape::Box { class, at: Rect { x, y, width, height }, .. } => writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{}\"/>",
                radius(class, *height)
            ),
            Shape::Line { class, points, .. } => {
                writeln!(out, "<path class=\"{class}\" d=\"{}\"/>", path(points))
            }
            Shape::Sign { at: (x, y), sign } => writeln!(
                out,
                "<circle class=\"sign\" cx=\"{x}\" cy=\"{y}\" r=\"10\"/>\
                 <text class=\"sign-text\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{sign}</text>",
                y + 5
            ),
            Shape::Text { class, at: (x, y), anchor, text } => writeln!(
                out,
                "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{}\">{}</text>",
                anchor.name(),
                escaped(text)
            ),
        };
    }
}

/// How round the corners of a box are.
fn radius(class: &str, height: i32) -> i32 {
    if class == "dot" { height / 2 } else { 6.min(height / 4) }
}

/// A path through the points: straight along columns and rows, and an S between columns.
fn path(points: &[Point]) -> String {
    let mut out = String::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        let _ = match i.checked_sub(1).map(|before| points[before]) {
            None => write!(out, "M{x} {y}"),
            Some((px, _)) if px == x => write!(out, "V{y}"),
            Some((_, py)) if py == y => write!(out, "H{x}"),
            Some((px, py)) => {
                let middle = (py + y) / 2;
                write!(out, "C{px} {middle} {x} {middle} {x} {y}")
            }
        };
    }
    out
}

/// Text between tags. Control characters, which XML has no way to say, are written as Rust would.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            c if is_visible(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_become_markup() {
        let mut scene = Scene::default();
        scene.text("title", (0, 0), Anchor::Start, "</script><img onerror=x>&\u{7}\u{2028}");
        let svg = scene.to_svg("<b>");
        assert!(
            svg.contains("&lt;/script&gt;&lt;img onerror=x&gt;&amp;\\u{7}\\u{2028}</text>"),
            "{svg}"
        );
        assert!(svg.contains("<title>&lt;b&gt;</title>"), "{svg}");
    }

    #[test]
    fn lines_bend_between_columns_only() {
        assert_eq!(path(&[(0, 0), (0, 10), (20, 30), (5, 30)]), "M0 0V10C0 20 20 20 20 30H5");
    }
}
