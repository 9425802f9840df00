//! `cardinal completions`: scripts that shells take, and manual pages, of every command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::process::Command;

use common::Folder;

/// Commands, as the help lists them.
fn commands() -> Vec<String> {
    let help = Folder::new().run("--help").succeeds();
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.is_empty());
    // Those of what they do go on further to the right.
    let lines = lines.filter(|line| !line.starts_with("   "));
    let names = lines.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_shell_is_told_of_every_command_and_of_flags() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Folder::new().run(&format!("completions {shell}")).succeeds();
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} is not told of {command}");
        }
        assert!(script.contains("calibrate") && !script.contains('\u{1b}'), "{shell}");
    }
}

#[test]
fn bash_takes_its_script() {
    let folder = Folder::new();
    let script = folder.run("completions bash").succeeds();
    fs::write(folder.path("script"), script).unwrap();
    // Without one there is nothing to be tried.
    let Ok(checked) = Command::new("bash").arg("-n").arg(folder.path("script")).output() else {
        return;
    };
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn there_is_a_page_for_each_command() {
    let folder = Folder::new();
    folder.run("completions man -o .").succeeds();
    let mut expected: Vec<String> =
        commands().iter().map(|command| format!("cardinal-{command}.1")).collect();
    expected.push("cardinal.1".into());
    expected.sort();
    assert_eq!(folder.names(), expected);
    let page = fs::read_to_string(folder.path("cardinal-compile.1")).unwrap();
    assert!(page.starts_with(".") || page.starts_with("'"), "{page}");
    assert!(page.contains("cardinal compile resnest50.onnx") && page.contains("max\\-memory"));
    folder.run("completions man -o share/man/man1").succeeds();
    assert!(folder.path("share/man/man1/cardinal-run.1").is_file());
    let whole = folder.run("completions man").succeeds();
    assert!(whole.contains(page.lines().last().unwrap()));
}

#[test]
fn misspelt_commands_and_flags_are_answered_with_the_right_ones() {
    let folder = Folder::new();
    let said = folder.run("profil m.onnx").fails_with(2);
    assert!(said.contains("'profile'"), "{said}");
    let said = folder.run("compile m.onnx --max-memry 1GiB").fails_with(2);
    assert!(said.contains("'--max-memory'"), "{said}");
    folder.run("completions tcsh").fails_with(2);
    folder.run("completions bash -o .").fails_with(2);
}
