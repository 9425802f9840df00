//! The help of every command, as reviewed.

mod common;

use common::Folder;

#[test]
fn help() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("cardinal@help", Folder::new().run("--help").succeeds());
        for name in [
            "compile",
            "relink",
            "quantize",
            "run",
            "score",
            "serve",
            "inspect",
            "bench",
            "profile",
            "doctor",
            "explain",
            "completions",
            "verify",
            "operators",
        ] {
            let help = Folder::new().run(&format!("{name} --help")).succeeds();
            insta::assert_snapshot!(format!("cardinal-{name}@help"), help);
        }
    });
}
