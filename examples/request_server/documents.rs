//! The input: real text files, each with the answer that it must get.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use walkdir::WalkDir;

use crate::plain::{self, Answer};
use crate::words::MAX_BODY;

/// How many words every request asks for.
pub(crate) const TOP: usize = 20;

/// A body to post.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) body: Bytes,
    pub(crate) expected: Answer,
}

impl Document {
    pub(crate) fn new(name: impl Into<String>, text: String) -> Self {
        let expected = plain::count(&text, TOP);
        Self { name: name.into(), body: text.into(), expected }
    }
}

/// Why there is no input.
#[derive(Debug)]
pub(crate) struct InputError(String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

/// Reads the files given. Where there are none, reads every source and text file of this repository, and adds one document
/// that is all of them together.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Document>, InputError> {
    if !paths.is_empty() {
        return paths.iter().map(|path| read_one(path)).collect();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(String, String)> = files(root).filter_map(|path| text_of(root, &path)).collect();
    if texts.is_empty() {
        return Err(InputError(format!("no text files under {}", root.display())));
    }
    texts.sort();
    let together: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    if together.len() <= MAX_BODY {
        texts.push(("all together".into(), together));
    }
    Ok(texts.into_iter().map(|(name, text)| Document::new(name, text)).collect())
}

fn read_one(path: &Path) -> Result<Document, InputError> {
    let wrong = |what: &dyn fmt::Display| InputError(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    if text.len() > MAX_BODY {
        return Err(wrong(&format_args!("longer than {MAX_BODY} bytes")));
    }
    Ok(Document::new(path.display().to_string(), text))
}

/// The files that are neither hidden nor made by a build.
fn files(root: &Path) -> impl Iterator<Item = PathBuf> {
    let is_source = |name: &str| !name.starts_with('.') && name != "target";
    let walk = WalkDir::new(root).min_depth(1).into_iter();
    let kept = walk.filter_entry(move |entry| entry.file_name().to_str().is_some_and(is_source));
    kept.filter_map(Result::ok).filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path())
}

/// A file's name within the repository, and its text; none if it is no text.
fn text_of(root: &Path, path: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(path).ok().filter(|text| text.len() <= MAX_BODY)?;
    Some((path.strip_prefix(root).unwrap_or(path).display().to_string(), text))
}
