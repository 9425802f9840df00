//! Lines for people, of [`WIDTH`] columns at most, as far as words allow.
//!
//! Words are never broken: names of nodes are words, and whoever copies one wants all of it.

/// Columns of a line.
pub(crate) const WIDTH: usize = 80;

/// The lines of `text`, broken between words where they are longer than `width` characters, after `first` or
/// `rest`.
pub(crate) fn wrapped(text: &str, width: usize, first: &str, rest: &str) -> String {
    let lines = text.lines().flat_map(|line| broken(line.split_whitespace(), width));
    let indents = std::iter::once(first).chain(std::iter::repeat(rest));
    lines.zip(indents).map(|(line, indent)| format!("{indent}{line}\n")).collect()
}

/// The same of clauses that stay whole, with `first` and `rest` of equal length in [`WIDTH`] columns.
pub(crate) fn clauses<'t>(
    clauses: impl IntoIterator<Item = &'t str>,
    first: &str,
    rest: &str,
) -> String {
    let lines = broken(clauses.into_iter(), WIDTH - first.chars().count());
    let indents = std::iter::once(first).chain(std::iter::repeat(rest));
    lines.iter().zip(indents).map(|(line, indent)| format!("{indent}{line}\n")).collect()
}

/// Words in lines of `width` characters: one that is longer has a line of its own.
fn broken<'t>(words: impl Iterator<Item = &'t str>, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_short() {
        let text = format!("a {} b c\n\nd", "x".repeat(90));
        let lines = wrapped(&text, 10, "- ", "  ");
        assert_eq!(lines, format!("- a\n  {}\n  b c\n  \n  d\n", "x".repeat(90)));
        let lines = wrapped(&"seven 7".repeat(40), WIDTH - 2, "- ", "  ");
        assert!(
            lines.lines().count() > 3 && lines.lines().all(|line| line.chars().count() <= WIDTH)
        );
    }

    #[test]
    fn clauses_stay_whole() {
        let all = ["one and two,", "three and four"];
        assert_eq!(clauses(all, "first ", "      "), "first one and two, three and four\n");
        let (long, first, rest) = ("y".repeat(70), "first ", "      ");
        let lines = clauses(["one and two,", &long], first, rest);
        assert_eq!(lines, format!("first one and two,\n      {long}\n"));
    }
}
