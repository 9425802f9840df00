//! A profile as a page that needs nothing besides: a roofline, and bars.
//!
//! Both axes of the roofline are logarithmic: operations a byte, and operations a second. A step is a dot, as large
//! as its share of the time; the line is what the machine allows.

use std::fmt::Write as _;

use cardinal_runtime::text;

use super::steps::StepTime;
use super::text::tail;
use super::{Bound, Ceilings, Profile};
use crate::names::counted;

/// Bars that are drawn.
const BARS: usize = 30;
/// Height and width of the roofline.
const SIZE: [f64; 2] = [720.0, 380.0];
/// Left and lower margin of it, for its labels.
const MARGIN: f64 = 46.0;
/// The others: half of a label at most.
const EDGE: f64 = 16.0;
/// Characters of names of steps.
const NAME: usize = 40;

const STYLE: &str = "\
:root{--ink:#1b1f24;--paper:#fff;--faint:#8a939d;--compute:#2f6fbd;--memory:#c2691b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#14171b;--faint:#7d8691;--compute:#6fa8ef;--memory:#eb9a52}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:760px;margin:2em auto;padding:0 1em}
svg{width:100%;height:auto}text{font-size:11px;fill:var(--ink)}table{border-collapse:collapse;width:100%;font-size:13px}
td{padding:1px 6px;white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums}td.b{width:25%}
.bar{height:10px}.compute{fill:var(--compute);background:var(--compute)}.memory{fill:var(--memory);background:var(--memory)}
.roof{stroke:var(--ink);fill:none}.grid{stroke:var(--faint);stroke-opacity:.3}small{color:var(--faint)}";

impl Profile {
    /// The page.
    pub(crate) fn to_html(&self) -> String {
        let title = escaped(&format!("Profile of {}", self.model));
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        );
        let Profile { isa, precision, batch, threads, .. } = self;
        let threads = counted(threads.get(), "thread");
        let _ = writeln!(
            page,
            "<p>{:.3} ms an inference, batch {batch}, {threads}, {}, code for {}.</p>",
            self.cost().without_ms,
            escaped(precision),
            escaped(isa),
        );
        self.roofline(&mut page);
        self.bars(&mut page);
        page.push_str("</body></html>\n");
        page
    }

    fn roofline(&self, page: &mut String) {
        let Some(axes) = Axes::of(self) else { return };
        let [width, height] = SIZE;
        let _ = writeln!(
            page,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"roofline\">"
        );
        axes.grid(page);
        for (element, peak) in &self.ceilings.gflops {
            let Ceilings { memory, caches, .. } = self.ceilings;
            for bandwidth in [memory, caches] {
                axes.roof(page, element.name(), *peak, bandwidth);
            }
        }
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

    fn bars(&self, page: &mut String) {
        let mut steps: Vec<&StepTime> = self.steps.steps.iter().collect();
        steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let longest = steps.first().map_or(1.0, |step| step.ms);
        page.push_str("<table>\n");
        for step in steps.iter().take(BARS) {
            let _ = writeln!(
                page,
                "<tr><td class=\"n\">{:.3} ms</td><td class=\"n\">{:.1} %</td><td>{}</td><td>{}</td>\
                 <td class=\"b\" title=\"{}\"><div class=\"bar {}\" style=\"width:{:.1}%\"></div></td></tr>",
                step.ms,
                100.0 * self.share(step),
                escaped(&step.algorithm),
                escaped(&tail(&step.name, NAME)),
                escaped(&step.name),
                self.bound(step).name(),
                100.0 * step.ms / longest,
            );
        }
        page.push_str("</table>\n");
        let _ = writeln!(
            page,
            "<p><small>The slowest of {} steps. <span class=\"compute\">&emsp;</span> bound by {}, \
             <span class=\"memory\">&emsp;</span> by {}.</small></p>",
            steps.len(),
            Bound::Compute.name(),
            Bound::Memory.name(),
        );
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

    /// What the machine allows: the bandwidth, up to the peak.
    fn roof(&self, page: &mut String, name: &str, peak: f64, bandwidth: f64) {
        let ridge = self.place(peak / bandwidth, peak);
        let low = 10f64.powf(self.x[0]);
        // Where the slope leaves the drawing at its lower end, it begins there.
        let floor = 10f64.powf(self.y[0]);
        let begin = low.max(floor / bandwidth);
        line(page, "roof", self.place(begin, begin * bandwidth), ridge);
        let end = self.place(10f64.powf(self.x[1]), peak);
        line(page, "roof", ridge, end);
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {peak:.0} GFLOP/s</text>",
            end[0],
            end[1] - 4.0,
            escaped(name)
        );
    }
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

/// A text as HTML, on one line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text::line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
