//! The order of the sources, read from the sources: which layer may name which, where `unsafe` may stand, and the habits
//! that every file keeps. They are the same on every system.

#![cfg(not(mallocstate_foreign))]

#[path = "architecture/reader.rs"]
mod reader;

use std::collections::BTreeSet;
use std::fs;

use reader::{Named, Source, sources, tokens};

/// The layers, highest first, and what each may name: `api → heap → {cache → slab, coalesce; mapping} → segment → os →
/// primitives`, at any distance downwards. The three tiers never name each other.
const LAYERS: [(&str, &[&str]); 9] = [
    ("api", &["heap", "cache", "slab", "coalesce", "mapping", "segment", "os", "primitives"]),
    ("heap", &["cache", "slab", "coalesce", "mapping", "segment", "os", "primitives"]),
    ("cache", &["slab", "coalesce", "segment", "os", "primitives"]),
    ("slab", &["segment", "os", "primitives"]),
    ("coalesce", &["segment", "os", "primitives"]),
    ("mapping", &["segment", "os", "primitives"]),
    ("segment", &["os", "primitives"]),
    ("os", &["primitives"]),
    ("primitives", &[]),
];

/// Files that contain `unsafe`, in the order of their names.
const UNSAFE_FILES: &[&str] = &[
    "api/allocator.rs",
    "api/arena.rs",
    "api/coalescing_allocator.rs",
    "api/engine.rs",
    "api/global.rs",
    "api/malloc.rs",
    "api/shared.rs",
    "api/slab_allocator.rs",
    "cache/chunks.rs",
    "cache/magazine.rs",
    "cache/tests.rs",
    "cache/thread_cache.rs",
    "coalesce/block.rs",
    "coalesce/reclaim.rs",
    "coalesce/resize.rs",
    "coalesce/root.rs",
    "coalesce/segment.rs",
    "coalesce/tests/cases.rs",
    "coalesce/tests/damage.rs",
    "coalesce/tests/mod.rs",
    "coalesce/tests/random.rs",
    "coalesce/validate.rs",
    "heap/allocate.rs",
    "heap/caches.rs",
    "heap/checks.rs",
    "heap/core.rs",
    "heap/fork.rs",
    "heap/global.rs",
    "heap/large.rs",
    "heap/medium.rs",
    "heap/mod.rs",
    "heap/resize.rs",
    "heap/teardown.rs",
    "heap/watched.rs",
    "mapping/list.rs",
    "mapping/resize.rs",
    "mapping/segment.rs",
    "mapping/tests/cases.rs",
    "mapping/tests/mod.rs",
    "os/elsewhere.rs",
    "os/guard.rs",
    "os/leftovers.rs",
    "os/linux.rs",
    "os/lock.rs",
    "os/raw_locks/futex.rs",
    "os/raw_locks/mod.rs",
    "os/raw_locks/spin.rs",
    "os/raw_locks/srw.rs",
    "os/raw_locks/unfair.rs",
    "os/raw_locks/waiting.rs",
    "os/region.rs",
    "os/segment_cache.rs",
    "os/source.rs",
    "os/system.rs",
    "os/testing/mod.rs",
    "os/testing/tests.rs",
    "os/thread_exit.rs",
    "os/unix.rs",
    "os/windows.rs",
    "primitives/abort.rs",
    "primitives/fill.rs",
    "primitives/list.rs",
    "primitives/published.rs",
    "primitives/sanitizer/asan.rs",
    "primitives/sanitizer/none.rs",
    "primitives/sanitizer/valgrind.rs",
    "segment/header.rs",
    "segment/known.rs",
    "segment/link_word.rs",
    "segment/records.rs",
    "segment/supply.rs",
    "slab/depot.rs",
    "slab/link.rs",
    "slab/locate.rs",
    "slab/nursery.rs",
    "slab/pool.rs",
    "slab/range.rs",
    "slab/returns.rs",
    "slab/root.rs",
    "slab/segment.rs",
    "slab/slab.rs",
    "slab/tag.rs",
    "slab/tests.rs",
    "slab/tests/pool.rs",
    "slab/tests/root.rs",
];

/// Files of plain arithmetic, and what they name outside `core`: constants, functions and traits without `unsafe`.
const ARITHMETIC: &[(&str, &[&str])] = &[
    ("coalesce/bin_index.rs", &["coalesce::boundary_tag::GRANULE"]),
    ("coalesce/boundary_tag.rs", &[]),
    (
        "heap/route.rs",
        &[
            "os::PageSource",
            "primitives::address::align_up",
            "segment::Geometry",
            "slab::BLOCK_ALIGN",
            "slab::LINEAR_MAX",
            "slab::SizeClass",
        ],
    ),
    ("primitives/address.rs", &[]),
    ("primitives/corruption.rs", &[]),
    (
        "segment/account.rs",
        &[
            "os::lock::RawLock",
            "primitives::sync::atomic::AtomicUsize",
            "primitives::sync::atomic::Ordering::Acquire",
            "primitives::sync::atomic::Ordering::Relaxed",
            "primitives::sync::atomic::Ordering::Release",
        ],
    ),
    ("segment/geometry.rs", &["os::PageSource"]),
    ("segment/policy.rs", &[]),
    ("slab/bitmap.rs", &[]),
    ("slab/size_class.rs", &[]),
    ("slab/units.rs", &["segment::UNIT"]),
];

/// Where a function becomes an address for the system: there is no other way to write that.
const FUNCTION_TO_POINTER: [&str; 1] = ["os/thread_exit.rs"];

/// What the top of the repository may hold beside names that start with a dot.
const TOP_LEVEL: [&str; 9] =
    ["CHANGELOG.md", "Cargo.lock", "Cargo.toml", "README.md", "benches", "examples", "src", "target", "tests"];

const MAX_LINES: usize = 400;

/// Fails with every violation in a line of its own.
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

/// What each source has to say against a rule.
fn violations<F: Fn(&Source) -> Vec<String>>(check: F) -> Vec<String> {
    sources()
        .iter()
        .flat_map(|source| check(source).into_iter().map(|what| format!("src/{}: {what}", source.name)))
        .collect()
}

#[test]
fn the_reader_understands_the_language() {
    let text = "use crate::{a, b::{C, d as e}}; // crate::x\nmod m { fn f<'a>() { super::super::s(\"crate::y\", '\\'', '{') } }";
    let source = Source { name: "heap/core.rs".into(), tokens: tokens(text), text: text.into() };
    let paths: Vec<String> = source.named().iter().map(|named| named.path.join("::")).collect();
    assert_eq!(paths, ["a", "b::C", "b::d", "heap::s"]);
    assert_eq!(tokens("r#\"unsafe\"# b\"x\" /* unsafe */ x::y"), ["b", "x", "::", "y"]);
}

#[test]
fn layers_name_only_what_is_below_them() {
    let known: BTreeSet<&str> = LAYERS.iter().map(|(layer, _)| *layer).chain(["lib.rs", "design.rs"]).collect();
    let violations = violations(|source| {
        if !known.contains(source.layer()) {
            return vec!["belongs to no layer".to_owned()];
        }
        let Some((layer, below)) = LAYERS.iter().find(|(layer, _)| *layer == source.layer()) else { return Vec::new() };
        let wrong = |named: &&Named| named.path[0] != *layer && !below.contains(&named.path[0].as_str());
        source
            .named()
            .iter()
            .filter(wrong)
            .map(|named| format!("{layer} names crate::{}", named.path.join("::")))
            .collect()
    });
    assert_none("api → heap → {cache → slab, coalesce; mapping} → segment → os → primitives", &violations);
}

#[test]
fn unsafe_stands_where_it_is_listed() {
    let found = sources().iter().filter(|source| source.is_unsafe()).map(|source| source.name.as_str());
    let (found, listed): (BTreeSet<_>, BTreeSet<_>) = (found.collect(), UNSAFE_FILES.iter().copied().collect());
    let added: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(added.is_empty() && gone.is_empty(), "unlisted files with unsafe: {added:?}; listed without: {gone:?}");
}

#[test]
fn unsafe_is_expected_at_the_head_of_the_file() {
    let violations = violations(|source| {
        let head = source.tokens.iter().position(|token| token == "use" || token == "mod").unwrap_or(usize::MAX);
        let expects: Vec<usize> =
            (0..source.tokens.len()).filter(|&index| source.reads(index, &["expect", "(", "unsafe_code"])).collect();
        let inner =
            source.count(&["#", "!", "[", "expect", "(", "unsafe_code"]) + source.count(&["#", "!", "[", "cfg_attr"]);
        match expects[..] {
            [] if source.is_unsafe() => vec!["has unsafe without #![expect(unsafe_code, …)]".to_owned()],
            [index] if source.is_unsafe() && index < head && inner > 0 => Vec::new(),
            [] => Vec::new(),
            _ => vec!["does not say #![expect(unsafe_code, …)] once, at its head".to_owned()],
        }
    });
    assert_none("#![expect(unsafe_code, reason = …)] stands at the head of each file with unsafe", &violations);
}

#[test]
fn arithmetic_is_safe_and_names_nothing_else() {
    let violations = violations(|source| {
        let Some((_, allowed)) = ARITHMETIC.iter().find(|(name, _)| *name == source.name) else { return Vec::new() };
        let mut wrong: Vec<String> = source
            .named()
            .iter()
            .filter(|named| !named.in_tests && !allowed.contains(&named.path.join("::").as_str()))
            .map(|named| format!("names crate::{}", named.path.join("::")))
            .collect();
        if source.is_unsafe() {
            wrong.push("contains unsafe".to_owned());
        }
        let head = source.text.split("mod tests {").next().map(tokens).unwrap_or_default();
        if head.windows(2).any(|pair| pair[0] == "use" && !["core", "crate", "super"].contains(&pair[1].as_str())) {
            wrong.push("uses something other than core".to_owned());
        }
        wrong
    });
    assert_none("arithmetic stands in files without unsafe, over core alone", &violations);
    for (name, _) in ARITHMETIC {
        assert!(sources().iter().any(|source| source.name == *name), "src/{name} is gone");
    }
}

#[test]
fn every_file_is_short_and_says_what_it_is() {
    let violations = violations(|source| {
        let lines = source.text.lines().count();
        let mut wrong = Vec::new();
        if lines > MAX_LINES {
            wrong.push(format!("has {lines} lines, more than {MAX_LINES}"));
        }
        if !source.text.starts_with("//! ") {
            wrong.push("does not start with a line of documentation".to_owned());
        }
        wrong
    });
    assert_none("files are short, and their first line says what they are", &violations);
}

#[test]
fn habits_are_kept() {
    let violations = violations(|source| {
        let casts = source.count(&["as", "*"]);
        let may_cast = usize::from(FUNCTION_TO_POINTER.contains(&source.name.as_str()));
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let open: Vec<&str> =
            source.text.split(|c| !is_word(c)).filter(|word| ["TODO", "FIXME"].contains(word)).collect();
        let mut wrong = Vec::new();
        if casts > may_cast {
            wrong.push(format!("casts to a raw pointer with `as`, {casts} times"));
        }
        if source.count(&["allow", "("]) > 0 {
            wrong.push("allows a lint; `expect` says more".to_owned());
        }
        if !open.is_empty() {
            wrong.push(format!("leaves work open: {open:?}"));
        }
        if source.name == "design.rs" && !source.tokens.is_empty() {
            wrong.push("is documentation only".to_owned());
        }
        wrong
    });
    assert_none("no pointer casts by `as`, no allowed lints, nothing left open", &violations);
}

#[test]
fn addresses_become_pointers_in_one_place() {
    let found: Vec<String> = violations(|source| {
        let regains = source.tokens.iter().filter(|token| token.starts_with("with_exposed_provenance"));
        regains.cloned().collect()
    });
    assert!(found.len() == 1 && found[0].starts_with("src/segment/header.rs"), "with_exposed_provenance: {found:#?}");
}

#[test]
fn the_top_of_the_repository_is_bare() {
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the repository");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let allowed =
        |name: &String| name.starts_with('.') || name.starts_with("LICENSE-") || TOP_LEVEL.contains(&name.as_str());
    let others: Vec<String> = names.filter(|name| !allowed(name)).collect();
    assert_none("the top of the repository holds nothing else", &others);
}
