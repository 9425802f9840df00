//! One file a subcommand.

pub(crate) mod bench;
pub(crate) mod compile;
pub(crate) mod inspect;
pub(crate) mod relink;
pub(crate) mod run;
pub(crate) mod verify;
