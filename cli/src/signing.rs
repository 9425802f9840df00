//! Detached signatures of what was compiled: whoever has the public key can tell who made a file.
//!
//! An artifact's digests say that it is whole; they say nothing of its maker, who writes them. Signatures
//! are minisign's (ed25519 over BLAKE2b, in FILE.minisig beside FILE), so that keys are made, and files
//! signed and checked, with any tool that reads that format.

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use minisign::{PublicKey, SecretKey, SecretKeyBox, SignatureBox};

use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::output;
use crate::stdio::is_dash;

/// Where the password of an encrypted key is, for want of a terminal.
const PASSWORD: &str = "CARDINAL_KEY_PASSWORD";

/// Keys and signatures are short: no more than this is read of a file.
const LONGEST: u64 = 16 << 10;

/// How to sign what is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct Signing {
    /// Sign OUT with this secret key, into OUT.minisig
    ///
    /// Keys are minisign's: `minisign -G` makes a pair. If the key has a password, it is read from the
    /// variable CARDINAL_KEY_PASSWORD, or asked for. `run --verify-with` checks a signature, and so
    /// does `minisign -V`.
    ///
    /// Example: --sign ~/.minisign/minisign.key
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<PathBuf>,
}

/// Whose compiled models to take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Trust {
    /// Take a compiled model only if this public key has signed it
    ///
    /// PUBKEY is a file that `minisign -G` wrote, or the key itself. It is checked before anything of the
    /// artifact is used.
    ///
    /// Example: --verify-with minisign.pub
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) verify_with: Option<String>,
    /// Where the signature is [default: the artifact's name with .minisig behind it]
    ///
    /// Example: --signature r50.minisig
    #[arg(long, value_name = "FILE", requires = "verify_with")]
    pub(crate) signature: Option<PathBuf>,
}

/// A secret key that can be used.
pub(crate) struct Signer(SecretKey);

impl Signing {
    /// The key to sign `output` with, if there is to be a signature. What cannot work is refused here,
    /// before any work.
    ///
    /// # Errors
    /// [`Failure::Usage`] for standard output, and for a key that has no password here;
    /// [`Failure::Io`] and [`Failure::Damaged`] for one that cannot be read.
    pub(crate) fn signer(&self, output: &Path) -> Outcome<Option<Signer>> {
        let Some(path) = &self.sign else { return Ok(None) };
        if is_dash(output) {
            return Err(Failure::usage("standard output has no place for a signature")
                .with_help("name a file, such as `-o model.cardinal`"));
        }
        let text = read(path)?;
        let stored = SecretKeyBox::from_string(&text);
        let damaged = |error: minisign::PError| damaged(path, "it is no secret key", &error);
        let stored = stored.map_err(damaged)?;
        // A key says of itself whether it has a password, but not before it is taken.
        if let Ok(key) = stored.clone().into_unencrypted_secret_key() {
            return Ok(Some(Signer(key)));
        }
        stored.into_secret_key(Some(password(path)?)).map(|key| Some(Signer(key))).map_err(damaged)
    }
}

impl Signer {
    /// Writes the signature of a file beside it.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub(crate) fn sign(&self, path: &Path) -> Outcome {
        let file = File::open(path).map_err(|error| Failure::reading(path, error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let comment = format!("file:{}", cardinal_runtime::text::line(&name));
        let by = Some("signed by cardinal");
        let signature = minisign::sign(None, &self.0, file, Some(&comment), by);
        let signature = signature.map_err(|error| Failure::Failed(error.to_string()))?;
        output::write(&signature_of(path), signature.to_string().as_bytes())
    }
}

impl Trust {
    /// Checks the signature of a model, where one is asked for.
    ///
    /// # Errors
    /// [`Failure::BadModel`] where it is not this key's, or not of these bytes; [`Failure::Usage`] for
    /// what has no signature; [`Failure::Io`] and [`Failure::Damaged`] where key or signature cannot be
    /// read.
    pub(crate) fn check(&self, model: &ModelFile) -> Outcome {
        let Some(key) = &self.verify_with else { return Ok(()) };
        if !model.is_artifact() {
            return Err(Failure::usage(format!("`{}` is not compiled", model.name()))
                .with_help("--verify-with is for compiled models; compile it with --sign KEY"));
        }
        let key = public_key(key)?;
        let path = match &self.signature {
            Some(path) => path.clone(),
            None if is_dash(&model.path) => {
                return Err(Failure::usage("standard input has no signature beside it")
                    .with_help("say where it is: --signature FILE"));
            }
            None => signature_of(&model.path),
        };
        let signature = SignatureBox::from_string(&read(&path)?)
            .map_err(|error| damaged(&path, "it is no signature", &error))?;
        let bytes = Cursor::new(&model.bytes);
        minisign::verify(&key, &signature, bytes, true, false, false).map_err(|error| {
            Failure::BadModel {
                file: model.name(),
                message: format!("the key has not signed it: {error}"),
                help: Some("get the file and its signature from whoever has the key".into()),
            }
        })
    }
}

/// `model.cardinal.minisig`
fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// A key from a file, or as it is typed.
fn public_key(key: &str) -> Outcome<PublicKey> {
    let path = Path::new(key);
    if fs::metadata(path).is_err()
        && let Ok(key) = PublicKey::from_base64(key)
    {
        return Ok(key);
    }
    let stored = minisign::PublicKeyBox::from_string(&read(path)?);
    let key = stored.and_then(minisign::PublicKeyBox::into_public_key);
    key.map_err(|error| damaged(path, "it is no public key", &error))
}

fn password(path: &Path) -> Outcome<String> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let asked = rpassword::prompt_password(format!("Password of {}: ", path.display()));
    asked.map_err(|_| {
        Failure::usage(format!("the key `{}` has a password", path.display()))
            .with_help(format!("put it into the variable {PASSWORD}"))
    })
}

/// The text of a short file.
fn read(path: &Path) -> Outcome<String> {
    let mut text = String::new();
    let failed = |error| Failure::reading(path, error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn damaged(path: &Path, what: &str, error: &minisign::PError) -> Failure {
    let file = path.display().to_string();
    Failure::Damaged { file, what: format!("{what}: {error}") }
}
