//! The sources as words and signs, and the paths that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A source file: its name below `src`, its text, and its words and signs without comments and strings.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<String>,
}

/// A path in the sources: where it leads from the crate's root, and whether it stands in unit tests.
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) in_tests: bool,
}

pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let below = path.strip_prefix(&root).expect("below src");
                let name = below.to_str().expect("UTF-8").replace('\\', "/");
                found.push(Source { name, tokens: tokens(&text), text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() > 40, "the sources are here");
    found
}

/// Words, `::` and single signs; comments, strings, characters and lifetimes are left out.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut index) = (Vec::new(), 0);
    while index < chars.len() {
        match (at(index), at(index + 1)) {
            ('/', '/') => {
                while index < chars.len() && at(index) != '\n' {
                    index += 1
                }
            }
            ('/', '*') => {
                let end = (index + 2..chars.len()).find(|&end| (at(end), at(end + 1)) == ('*', '/'));
                index = end.map_or(chars.len(), |end| end + 2);
            }
            ('r', '"' | '#') if tokens.last().is_none_or(|token| token != "#") => {
                let hashes = (index + 1..).take_while(|&hash| at(hash) == '#').count();
                let closes = |end: &usize| at(*end) == '"' && (1..=hashes).all(|hash| at(end + hash) == '#');
                let end = (index + hashes + 2..chars.len()).find(closes).unwrap_or(chars.len());
                index = end + hashes + 1;
            }
            ('"', _) => {
                index += 1;
                while index < chars.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
            }
            ('\'', '\\') => index = (index + 3..).find(|&end| at(end) == '\'').map_or(chars.len(), |end| end + 1),
            ('\'', _) if at(index + 2) == '\'' => index += 3,
            ('\'', _) => index += 1 + (index + 1..chars.len()).take_while(|&letter| is_word(at(letter))).count(),
            (':', ':') => {
                tokens.push("::".to_owned());
                index += 2;
            }
            (c, _) if is_word(c) => {
                let len = (index..chars.len()).take_while(|&letter| is_word(at(letter))).count();
                tokens.push(chars[index..index + len].iter().collect());
                index += len;
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                index += 1;
            }
        }
    }
    tokens
}

impl Source {
    pub(crate) fn layer(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    fn token(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", String::as_str)
    }

    /// Whether the tokens from `index` on are these.
    pub(crate) fn reads(&self, index: usize, expected: &[&str]) -> bool {
        expected.iter().enumerate().all(|(offset, token)| self.token(index + offset) == *token)
    }

    /// Whether it has `unsafe` of its own, or a macro of the crate puts some in.
    pub(crate) fn is_unsafe(&self) -> bool {
        self.count(&["unsafe"]) + self.count(&["implement_allocator", "!"]) > 0
    }

    /// How often the tokens stand in the file, one behind the other.
    pub(crate) fn count(&self, expected: &[&str]) -> usize {
        (0..self.tokens.len()).filter(|&index| self.reads(index, expected)).count()
    }

    /// All paths that start with `crate` or `super`.
    pub(crate) fn named(&self) -> Vec<Named> {
        let file = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let mut module: Vec<String> = file.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
        let (mut depth, mut inline, mut found) = (0, Vec::new(), Vec::new());
        let mut index = 0;
        while index < self.tokens.len() {
            match self.token(index) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        module.pop();
                    }
                }
                "mod" if self.token(index + 2) == "{" => {
                    inline.push(depth);
                    module.push(self.token(index + 1).to_owned());
                }
                "crate" | "super" if self.token(index + 1) == "::" && (index == 0 || self.token(index - 1) != "::") => {
                    let mut base = if self.token(index) == "crate" { Vec::new() } else { module.clone() };
                    while self.token(index) == "super" && self.token(index + 1) == "::" {
                        base.pop();
                        index += 2;
                    }
                    let start = if self.token(index) == "crate" { index + 2 } else { index };
                    let mut paths = Vec::new();
                    self.leaves(start, &base, &mut paths);
                    let in_tests = self.name.contains("tests") || module.iter().any(|name| name == "tests");
                    found.extend(paths.into_iter().map(|path| Named { path, in_tests }));
                    index = start;
                    continue;
                }
                _ => {}
            }
            index += 1;
        }
        found
    }

    /// The full paths of a tree, as in `a::{b, c::d}`; the answer is where the tree ends.
    fn leaves(&self, mut index: usize, base: &[String], paths: &mut Vec<Vec<String>>) -> usize {
        let mut path = base.to_vec();
        loop {
            if self.token(index) == "{" {
                index += 1;
                while !matches!(self.token(index), "}" | "") {
                    index = self.leaves(index, &path, paths);
                    while !matches!(self.token(index), "," | "}" | "") {
                        index += 1;
                    }
                    index += usize::from(self.token(index) == ",");
                }
                return index + 1;
            }
            path.push(self.token(index).to_owned());
            if self.token(index + 1) != "::" {
                paths.push(path);
                return index + 1;
            }
            index += 2;
        }
    }
}
