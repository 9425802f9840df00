//! Functions of the code: which steps call them, and where their innermost loops are.

use std::collections::BTreeSet;

use cardinal_compiler::codegen::{Code, FunctionInfo};

use super::Compiled;

/// A function, with its machine code if that is asked for.
pub(super) struct Function {
    pub(super) name: String,
    /// In the code section.
    pub(super) offset: usize,
    pub(super) bytes: usize,
    /// The functions that it calls.
    pub(super) calls: Vec<String>,
    pub(super) lines: Vec<Line>,
}

/// A line of a disassembly.
pub(super) struct Line {
    pub(super) text: String,
    /// Whether it is in the innermost loop that has the most instructions.
    pub(super) is_hot: bool,
}

/// The functions of steps, each with what it calls behind it, each once.
pub(super) fn of_steps(compiled: &Compiled<'_>, steps: &[usize]) -> Vec<Function> {
    let names = steps.iter().filter_map(|number| compiled.functions.get(*number));
    with_callees(compiled, &names.cloned().collect::<Vec<_>>())
}

/// The same for functions by their names.
pub(super) fn with_callees(compiled: &Compiled<'_>, names: &[String]) -> Vec<Function> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let chosen = chosen(&compiled.code, |name| names.contains(name));
    chosen.into_iter().map(|function| Function::of(&compiled.code, function)).collect()
}

/// The functions that are called so or call that one.
pub(super) fn callers<'c>(compiled: &'c Compiled<'_>, name: &str) -> BTreeSet<&'c str> {
    let code = &compiled.code;
    let calls = |function: &&FunctionInfo| {
        function.name == name || callees(code, function).any(|callee| callee.name == name)
    };
    code.functions.iter().filter(calls).map(|function| function.name.as_str()).collect()
}

/// The functions with a name that is wanted, each followed by those that it calls, each once.
pub(crate) fn chosen(code: &Code, is_wanted: impl Fn(&str) -> bool) -> Vec<&FunctionInfo> {
    let mut all: Vec<&FunctionInfo> = Vec::new();
    let mut known = BTreeSet::new();
    for function in code.functions.iter().filter(|function| is_wanted(&function.name)) {
        for function in std::iter::once(function).chain(callees(code, function)) {
            if known.insert(function.offset) {
                all.push(function);
            }
        }
    }
    all
}

/// The functions that one calls, each once, in the order of the code.
fn callees<'c>(
    code: &'c Code,
    function: &'c FunctionInfo,
) -> impl Iterator<Item = &'c FunctionInfo> {
    let calls: BTreeSet<usize> = function.calls.iter().copied().collect();
    calls.into_iter().filter_map(|offset| {
        let at = code.functions.binary_search_by_key(&offset, |other| other.offset).ok()?;
        code.functions.get(at)
    })
}

impl Function {
    fn of(code: &Code, function: &FunctionInfo) -> Function {
        let assembly = function.assembly.as_deref().unwrap_or_default();
        Function {
            name: function.name.clone(),
            offset: function.offset,
            bytes: function.length,
            calls: callees(code, function).map(|callee| callee.name.clone()).collect(),
            lines: lines(assembly),
        }
    }
}

/// The lines of a disassembly, with those marked that are in the hot loop.
fn lines(assembly: &str) -> Vec<Line> {
    let lines: Vec<&str> = assembly.trim_end().lines().collect();
    let hot = hot_loop(&lines);
    let line = |(at, text): (usize, &&str)| Line {
        text: (*text).to_owned(),
        is_hot: hot.is_some_and(|[from, to]| (from..=to).contains(&at)),
    };
    lines.iter().enumerate().map(line).collect()
}

/// The first and last line of the longest loop that has no other in it. Where instructions have no addresses, as
/// on aarch64, there is none.
fn hot_loop(lines: &[&str]) -> Option<[usize; 2]> {
    let addresses: Vec<Option<u64>> = lines.iter().map(|line| address(line)).collect();
    let target = |line: &str| {
        let target = jump(line)?;
        addresses.iter().position(|address| *address == Some(target))
    };
    let back = lines.iter().enumerate().filter_map(|(to, line)| Some([target(line)?, to]));
    let loops: Vec<[usize; 2]> = back.filter(|[from, to]| from <= to).collect();
    let is_innermost = |[from, to]: &&[usize; 2]| {
        loops.iter().all(|[a, b]| [a, b] == [from, to] || !(from <= a && b <= to))
    };
    loops.iter().filter(is_innermost).max_by_key(|[from, to]| to - from).copied()
}

/// The address that a line begins with.
fn address(line: &str) -> Option<u64> {
    u64::from_str_radix(line.split_whitespace().next()?, 16).ok()
}

/// Where a line jumps to, if it does: `jne 000000000000006Fh`.
fn jump(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip(1);
    words.next().filter(|word| word.starts_with('j'))?;
    u64::from_str_radix(words.next()?.trim_end_matches('h'), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_innermost_loops_is_hot() {
        let text = "     0  mov r11,3\n     4  add rax,1\n     8  dec r11\n     c  jne 0000000000000004h\n    \
                    10  vaddps a\n    14  vaddps b\n    18  dec rcx\n    1c  jne 10h\n    20  jne 0\n    24  ret\n";
        let hot: Vec<usize> = lines(text)
            .iter()
            .enumerate()
            .filter(|(_, line)| line.is_hot)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(hot, [4, 5, 6, 7]);
        assert!(lines("block0:\n  jmp 0x37\n  retq").iter().all(|line| !line.is_hot));
        assert!(lines("").is_empty());
    }
}
