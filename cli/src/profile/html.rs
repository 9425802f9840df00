//! A profile as a page that needs nothing besides: a roofline, and bars.

mod roofline;

use std::fmt::Write as _;

use cardinal_runtime::text;

use super::steps::StepTime;
use super::text::tail;
use super::{Bound, Profile};
use crate::names::counted;

/// Bars that are drawn.
const BARS: usize = 30;
/// Characters of names of steps.
const NAME: usize = 40;

const STYLE: &str = "\
:root{--ink:#1b1f24;--paper:#fff;--faint:#8a939d;--compute:#2f6fbd;--memory:#c2691b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#14171b;--faint:#7d8691;--compute:#6fa8ef;--memory:#eb9a52}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:760px;margin:2em auto;padding:0 1em}
svg{width:100%;height:auto}text{font-size:11px;fill:var(--ink)}table{border-collapse:collapse;width:100%;font-size:13px}
td{padding:1px 6px;white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums}td.b{width:25%}
.bar{height:10px}.compute{fill:var(--compute);background:var(--compute)}.memory{fill:var(--memory);background:var(--memory)}
.roof{stroke:var(--ink);fill:none}.label{stroke:var(--paper);stroke-width:3px;paint-order:stroke}.grid{stroke:var(--faint);stroke-opacity:.3}small{color:var(--faint)}";

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
