//! `cardinal completions`: the command line's own definition, for shells and as manual pages.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, Written};
use crate::exit::{Failure, Outcome};
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let shell = match args.written {
        Written::Bash => Shell::Bash,
        Written::Zsh => Shell::Zsh,
        Written::Fish => Shell::Fish,
        Written::Elvish => Shell::Elvish,
        Written::Powershell => Shell::PowerShell,
        Written::Man => return manual(args.output.as_deref()),
    };
    if args.output.is_some() {
        return Err(Failure::usage("what completes commands goes to stdout")
            .with_help("leave out -o: it is the folder of manual pages"));
    }
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cardinal", &mut script);
    output::print(|out| out.write_all(&script))
}

/// Pages of the command and of its subcommands: a file each, or one after the other.
fn manual(folder: Option<&Path>) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    let named = |sub: &Command| (format!("cardinal-{}", sub.get_name()), sub.clone());
    let pages: Vec<(String, Command)> = subcommands.map(named).collect();
    let pages = std::iter::once(("cardinal".to_owned(), command)).chain(pages);
    let pages = pages.map(|(name, command)| Ok((name, page(command)?)));
    let pages = pages.collect::<Outcome<Vec<_>>>()?;
    match folder {
        None => output::print(|out| pages.iter().try_for_each(|(_, page)| out.write_all(page))),
        Some(folder) => {
            fs::create_dir_all(folder).map_err(|error| Failure::writing(folder, error))?;
            let page_of = |name: &str| folder.join(format!("{name}.1"));
            pages.iter().try_for_each(|(name, page)| output::write(&page_of(name), page))
        }
    }
}

fn page(command: Command) -> Outcome<Vec<u8>> {
    let mut page = Vec::new();
    let rendered = Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::Failed(format!("the page cannot be made: {error}")))?;
    Ok(page)
}
