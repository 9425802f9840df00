//! `cardinal operators`: text, JSON and the book's page say the same.

mod common;

use std::path::Path;

use common::Folder;

/// The page of the book. With CARDINAL_BLESS=1 it is written instead of compared.
fn page() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/operators.md")
}

#[test]
fn the_book_has_what_the_command_prints() {
    let printed = Folder::new().run("operators").succeeds();
    let text = std::fs::read_to_string(page()).unwrap();
    let (before, rest) = text.split_once("```text\n").unwrap();
    let (listed, after) = rest.split_once("```").unwrap();
    if std::env::var_os("CARDINAL_BLESS").is_some() {
        std::fs::write(page(), format!("{before}```text\n{printed}```{after}")).unwrap();
        return;
    }
    assert_eq!(listed, printed, "CARDINAL_BLESS=1 writes docs/src/operators.md anew");
}

#[test]
fn json_has_the_rows_of_the_text() {
    let printed = Folder::new().run("operators").succeeds();
    let json = Folder::new().run("operators --json").succeeds();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "cardinal.operators/v1");
    let rows = json["operators"].as_array().unwrap();
    assert_eq!(rows.len(), printed.lines().count());
    for (row, line) in rows.iter().zip(printed.lines()) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().rsplit("::").next().unwrap();
        assert_eq!(row["name"], name);
        let mut numbers = words.map(|word| word.parse::<i64>().unwrap());
        assert_eq!(row["first_opset"], numbers.next().unwrap());
        assert_eq!(row["last_opset"], numbers.next().unwrap());
        assert_eq!(row["changed"], serde_json::json!(numbers.collect::<Vec<_>>()));
    }
    let resize = rows.iter().find(|row| row["name"] == "Resize").unwrap();
    assert_eq!(resize["changed"], serde_json::json!([11, 13, 18, 19]));
}
