//! The roofline of a profile.
//!
//! Both axes are logarithmic: operations a byte, and operations a second. A step is a dot, as large as its share of the
//! time; the lines are what the machine allows.

use std::fmt::Write as _;

use super::super::Profile;
use super::super::steps::StepTime;
use super::escaped;

/// Height and width of the roofline.
const SIZE: [f64; 2] = [720.0, 380.0];
/// Left and lower margin of it, for its labels.
const MARGIN: f64 = 46.0;
/// The others: half of a label at most.
const EDGE: f64 = 16.0;
/// From the baseline of a roof's label to that of another's at least.
const LINE: f64 = 14.0;
/// The least baseline of a label: under the upper end of the drawing by a line of text.
const TOP: f64 = 11.0;
/// From a roof up to the baseline of its label, unless other labels are in the way.
const ABOVE: f64 = 4.0;

impl Profile {
    pub(super) fn roofline(&self, page: &mut String) {
        let Some(axes) = Axes::of(self) else { return };
        let [width, height] = SIZE;
        let _ = writeln!(
            page,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"roofline\">"
        );
        axes.grid(page);
        self.roofs(page, &axes);
        for step in &self.steps.steps {
            let (Some(rate), Some(intensity)) = (step.gflops(), intensity(step)) else { continue };
            let [x, y] = axes.place(intensity, rate);
            let _ = writeln!(
                page,
                "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill-opacity=\".6\">\
                 <title>{}: {:.3} ms, {rate:.1} GFLOP/s</title></circle>",
                self.bound(step).name(),
                3.0 + 40.0 * self.share(step).sqrt() / 2.0,
                escaped(&step.name),
                step.ms,
            );
        }
        self.labels(page, &axes);
        page.push_str("</svg>\n");
        let _ = writeln!(
            page,
            "<p><small>Operations a second over operations a byte, both logarithmic. The lines are what \
             was measured: {:.1} GB/s from memory, {:.0} from caches, and the peak of each element type, each the \
             best of {} short measurements before, between and after inferences. \
             Dots above it count multiply-adds that Winograd's and Strassen's ways need not make.</small></p>",
            self.ceilings.memory, self.ceilings.caches, self.ceilings.measurements
        );
    }

    /// The line of each peak and bandwidth.
    fn roofs(&self, page: &mut String, axes: &Axes) {
        for (_, peak) in &self.ceilings.gflops {
            axes.roof(page, *peak, self.ceilings.memory);
            axes.roof(page, *peak, self.ceilings.caches);
        }
    }

    /// What each peak is, at the end of its line.
    fn labels(&self, page: &mut String, axes: &Axes) {
        let gflops = &self.ceilings.gflops;
        let ends: Vec<[f64; 2]> = gflops.iter().map(|(_, peak)| axes.end(*peak)).collect();
        let wishes: Vec<f64> = ends.iter().map(|[_, y]| y - ABOVE).collect();
        for (((element, peak), [x, _]), y) in gflops.iter().zip(&ends).zip(apart(&wishes)) {
            let _ = writeln!(
                page,
                "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{} {peak:.0} GFLOP/s</text>",
                escaped(element.name())
            );
        }
    }
}

/// Operations a byte.
fn intensity(step: &StepTime) -> Option<f64> {
    (step.bytes > 0).then(|| step.operations() / step.bytes as f64)
}

/// Powers of ten at the ends of both axes.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    /// Axes on which all steps that multiply have a place, and the peaks.
    fn of(profile: &Profile) -> Option<Axes> {
        let steps = profile.steps.steps.iter();
        let points: Vec<[f64; 2]> =
            steps.filter_map(|step| Some([intensity(step)?, step.gflops()?])).collect();
        let peaks = profile.ceilings.gflops.iter().map(|(_, peak)| *peak);
        let x: Vec<f64> = points.iter().map(|[x, _]| *x).collect();
        let y: Vec<f64> = points.iter().map(|[_, y]| *y).chain(peaks).collect();
        Some(Axes { x: decades(&x)?, y: decades(&y)? })
    }

    /// Where a point is drawn.
    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [width, height] = SIZE;
        let part = |value: f64, [low, high]: [f64; 2]| {
            ((value.log10() - low) / (high - low)).clamp(0.0, 1.0)
        };
        let left = MARGIN + part(x, self.x) * (width - MARGIN - EDGE);
        [left, EDGE + (1.0 - part(y, self.y)) * (height - MARGIN - EDGE)]
    }

    fn grid(&self, page: &mut String) {
        let ([x0, x1], [y0, y1]) = (self.x, self.y);
        let ends = [
            self.place(10f64.powf(x0), 10f64.powf(y0)),
            self.place(10f64.powf(x1), 10f64.powf(y1)),
        ];
        let [[left, bottom], [right, top]] = ends;
        for decade in x0 as i32..=x1 as i32 {
            let value = 10f64.powi(decade);
            let [x, _] = self.place(value, 1.0);
            line(page, "grid", [x, bottom], [x, top]);
            let _ = writeln!(
                page,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
                bottom + 16.0
            );
        }
        for decade in y0 as i32..=y1 as i32 {
            let value = 10f64.powi(decade);
            let [_, y] = self.place(1.0, value);
            line(page, "grid", [left, y], [right, y]);
            let _ = writeln!(
                page,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                left - 4.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            page,
            "<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">operations a byte; GFLOP/s upwards</text>",
            bottom + 34.0
        );
    }

    /// Where the line of a peak ends.
    fn end(&self, peak: f64) -> [f64; 2] {
        self.place(10f64.powf(self.x[1]), peak)
    }

    /// What the machine allows: the bandwidth, up to the peak.
    fn roof(&self, page: &mut String, peak: f64, bandwidth: f64) {
        let ridge = self.place(peak / bandwidth, peak);
        let low = 10f64.powf(self.x[0]);
        // Where the slope leaves the drawing at its lower end, it begins there.
        let floor = 10f64.powf(self.y[0]);
        let begin = low.max(floor / bandwidth);
        line(page, "roof", self.place(begin, begin * bandwidth), ridge);
        line(page, "roof", ridge, self.end(peak));
    }
}

/// Baselines of labels that lie one above the other: each where it is to be, or else as little higher as keeps it off
/// those below, and lower only where the drawing ends. Those of higher roofs stay higher.
fn apart(wishes: &[f64]) -> Vec<f64> {
    let mut upwards: Vec<usize> = (0..wishes.len()).collect();
    upwards.sort_by(|a, b| wishes[*b].total_cmp(&wishes[*a]));
    let mut places = wishes.to_vec();
    for pair in upwards.windows(2) {
        places[pair[1]] = places[pair[1]].min(places[pair[0]] - LINE);
    }
    let mut least = TOP;
    for label in upwards.into_iter().rev() {
        places[label] = places[label].max(least);
        least = places[label] + LINE;
    }
    places
}

fn line(page: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    let _ = writeln!(
        page,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// The powers of ten around some values, at least one apart; `None` where there are none.
fn decades(values: &[f64]) -> Option<[f64; 2]> {
    let logs = || values.iter().filter(|x| **x > 0.0).map(|x| x.log10());
    let low = logs().reduce(f64::min)?.floor();
    let high = logs().reduce(f64::max)?.ceil();
    Some([low, high.max(low + 1.0)])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is a panic")]
mod tests {
    use std::num::NonZeroUsize;

    use cardinal_compiler::machine::Element;

    use super::*;
    use crate::measure::Spread;
    use crate::profile::steps::Cost;
    use crate::profile::{Ceilings, StepTimes};

    /// A profile of one step on a machine with these peaks.
    fn profile(gflops: Vec<(Element, f64)>) -> Profile {
        let step = StepTime {
            name: "x".into(),
            kernel: "blocked_conv",
            algorithm: "direct".into(),
            stage: "-".into(),
            ms: 1.0,
            calls: 1,
            multiply_adds: 30_000_000,
            element: Element::F32,
            bytes: 1_000_000,
        };
        let cost = Cost { with_clocks_ms: 1.0, without_ms: 1.0, spread: Spread::of(&[1.0]) };
        Profile {
            model: "m".into(),
            isa: "x86-64-v3".into(),
            precision: "f32".into(),
            batch: 1,
            threads: NonZeroUsize::MIN,
            iterations: NonZeroUsize::MIN,
            ceilings: Ceilings { gflops, memory: 10.0, caches: 100.0, measurements: 1 },
            steps: StepTimes { steps: vec![step], cost },
        }
    }

    fn attribute(tag: &str, name: &str) -> String {
        let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// A text of a drawing, with the box that it takes at most: 7 by 14 units for a character of 11.
    struct Label {
        text: String,
        is_of_roof: bool,
        x: [f64; 2],
        y: [f64; 2],
    }

    impl Label {
        fn of(tag: &str) -> Label {
            let text = tag.split_once('>').unwrap().1.to_owned();
            let [x, y] = ["x", "y"].map(|name| attribute(tag, name).parse::<f64>().unwrap());
            let width = 7.0 * text.chars().count() as f64;
            let x = match attribute(tag, "text-anchor").as_str() {
                "end" => [x - width, x],
                _ => [x - width / 2.0, x + width / 2.0],
            };
            let is_of_roof = tag.contains("class=\"label\"");
            Label { text, is_of_roof, x, y: [y - 10.8, y + 3.0] }
        }

        fn overlaps(&self, other: &Label) -> bool {
            let along = |[a, b]: [f64; 2], [c, d]: [f64; 2]| a < d && c < b;
            along(self.x, other.x) && along(self.y, other.y)
        }
    }

    fn labels(gflops: &[(Element, f64)]) -> Vec<Label> {
        let mut page = String::new();
        profile(gflops.to_vec()).roofline(&mut page);
        page.split("<text")
            .skip(1)
            .map(|tag| Label::of(tag.split_once("</text>").unwrap().0))
            .collect()
    }

    const ELEMENTS: [Element; 4] = [Element::F32, Element::Bf16, Element::U8, Element::I16];

    #[test]
    fn labels_of_roofs_never_overlap_and_stay_in_the_drawing() {
        // From all alike to far apart, at the lower end of an axis, at its upper end and in between.
        for base in [1.0, 9.0, 33.0, 98.0, 99.9, 100.0, 101.0, 1000.0, 12_345.0] {
            for factor in [1.0, 0.999, 1.001, 1.02, 0.97, 1.1, 0.8, 1.5, 2.0, 4.0, 0.1] {
                for count in 1..=ELEMENTS.len() {
                    let peaks = ELEMENTS.iter().zip(0..).take(count);
                    let peaks: Vec<_> =
                        peaks.map(|(e, i)| (*e, base * f64::powi(factor, i))).collect();
                    check(&peaks);
                }
            }
        }
    }

    fn check(peaks: &[(Element, f64)]) {
        let labels = labels(peaks);
        let roofs: Vec<&Label> = labels.iter().filter(|label| label.is_of_roof).collect();
        assert_eq!(roofs.len(), peaks.len(), "{peaks:?}");
        for (i, roof) in roofs.iter().enumerate() {
            assert!(roof.x[0] >= 0.0 && roof.x[1] <= SIZE[0], "{} of {peaks:?}", roof.text);
            assert!(roof.y[0] >= 0.0 && roof.y[1] <= SIZE[1], "{} of {peaks:?}", roof.text);
            let others = labels.iter().filter(|other| !std::ptr::eq(*other, *roof));
            for other in others {
                assert!(!roof.overlaps(other), "{} and {} of {peaks:?}", roof.text, other.text);
            }
            for j in 0..i {
                let is_higher = peaks[i].1 > peaks[j].1 && roofs[j].y[0] <= roof.y[0];
                assert!(!is_higher, "{} is under {}: {peaks:?}", roof.text, roofs[j].text);
            }
        }
    }

    #[test]
    fn a_label_without_others_near_stands_on_its_roof() {
        assert_eq!(apart(&[300.0, 200.0, 100.0]), [300.0, 200.0, 100.0]);
        assert_eq!(apart(&[200.0, 195.0]), [200.0, 200.0 - LINE]);
        assert_eq!(apart(&[TOP, TOP]), [TOP + LINE, TOP]);
        assert_eq!(apart(&[]), [0.0; 0]);
    }
}
