//! What `cardinal score` takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::ModelOptions;
use crate::image_input::ImageOptions;
use crate::request::{ClassOptions, IsaOption};
use crate::score::{Kind, Shard};
use crate::signing::Trust;

/// `cardinal score`
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Images, folders of them, globs, tar archives, Parquet files with a column of images
    #[arg(value_name = "INPUT", required_unless_present = "files_from")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Where the table goes: .parquet, .jsonl or .csv, or `-` for JSON Lines on stdout
    ///
    /// It is written when all rows are there; until then they are in OUT.journal, with which the same command
    /// goes on where it was, whatever ended it.
    ///
    /// Example: -o results.parquet
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Score what this file lists too, a path a line; `-` reads it from stdin
    ///
    /// Example: --files-from list.txt
    #[arg(long, value_name = "LIST")]
    pub(crate) files_from: Option<PathBuf>,
    /// Score one of N parts of the images, the first being 1/N
    ///
    /// Parts are runs of images, so that their tables, one after the other, are what all images give. 0/N is
    /// what N/N is, for those who count from 0.
    ///
    /// Example: --shard 2/8
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub(crate) shard: Option<Shard>,
    /// What columns there are besides key and error
    ///
    /// Example: --outputs logits
    #[arg(long, value_name = "WHAT", default_value = "classes")]
    pub(crate) outputs: Kind,
    /// Which classes are given, and how they are called.
    #[command(flatten)]
    pub(crate) classes: ClassOptions,
    /// The column of a Parquet file that has the images: bytes, or structures with `bytes`
    ///
    /// Example: --image-column picture
    #[arg(long, value_name = "NAME", default_value = "image")]
    pub(crate) image_column: String,
    /// The column of a Parquet file that has the keys [default: key, __key__, or the images' path]
    ///
    /// Where there is none, keys are FILE#ROW.
    ///
    /// Example: --key-column id
    #[arg(long, value_name = "NAME")]
    pub(crate) key_column: Option<String>,
    /// Threads to run on [default: all of this machine]
    ///
    /// Each decodes, resizes and infers on its own. The results do not depend on it.
    ///
    /// Example: --threads 4
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Say nothing on stderr but what goes wrong
    ///
    /// Example: --quiet
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How images are made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}
