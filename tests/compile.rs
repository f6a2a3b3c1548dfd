//! What must compile, and then also runs; and what must not, by rustc's own words.

#[path = "compile/pass/async_handler.rs"]
mod async_handler;
#[path = "compile/pass/constructors.rs"]
mod constructors;
#[path = "compile/pass/handles.rs"]
mod handles;

#[test]
fn every_constructor_infers() {
    constructors::main();
}

#[test]
fn an_async_handler_is_send() {
    async_handler::main();
}

#[test]
fn heaps_and_handles_are_values() {
    handles::main();
}

/// With `TRYBUILD=overwrite` the words of another compiler are taken over.
///
/// Tests that are built for another system have no compiler where they run: the words are those of this one's anyway.
#[cfg(not(mallocstate_foreign))]
#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile/fail/*.rs");
}
