//! Child processes that misuse a heap, and how they must end.

use std::process::Output;

use crate::runner::{self, this_program};

/// Says which test the child is to run the misuse of, and with which value.
pub(crate) const CASE: &str = "MALLOCSTATE_MISUSE";

/// What the child prints before blocks return.
pub(crate) const RETURNING: &str = "returning";

/// This build checks each block that is freed or resized at once.
pub(crate) const CHECKED: bool = cfg!(any(debug_assertions, feature = "hardened"));

/// When a misuse is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// By the call itself, in every build.
    AtOnce,
    /// By the call itself in debug builds and with the feature `hardened`, on return in others.
    AtOnceIfChecked,
}

/// In the child runs the misuse; else runs a child for each value, and reads how it ended: the line must have one of
/// `texts` in it.
pub(crate) fn caught<T: Copy + ToString>(name: &str, when: When, texts: &[&str], values: &[T], misuse: impl Fn(T)) {
    if let Some(case) = std::env::var(CASE).ok().and_then(|case| Some(case.strip_prefix(name)?.to_owned())) {
        let value = values.iter().find(|value| case == format!(" {}", value.to_string()));
        misuse(*value.expect("the parent passes one of the values"));
        std::process::exit(0);
    }
    for value in values {
        let (lines, printed) = run_child(name, &value.to_string());
        let case = format!("{name} {}", value.to_string());
        let [line] = &lines[..] else { panic!("{case}: not one line but {lines:#?}") };
        let parts = line.strip_prefix("mallocstate: ").and_then(|rest| rest.rsplit_once(": 0x"));
        let (text, address) = parts.unwrap_or_else(|| panic!("{case}: malformed line: {line}"));
        assert!(texts.iter().any(|expected| text.contains(expected)), "{case}: {line}");
        let address = usize::from_str_radix(address, 16).unwrap_or_else(|_| panic!("{case}: no address: {line}"));
        assert!(printed.contains(&format!("misused {address:#x}\n")), "{case}: {line}, but {printed}");
        let at_once = when == When::AtOnce || (when == When::AtOnceIfChecked && CHECKED);
        assert!(!at_once || !printed.contains(RETURNING), "{case}: noticed only when blocks returned: {line}");
    }
}

/// How a child ended that runs this test with a value. The name starts with that of this program.
pub(crate) fn output_of_child(name: &str, value: &str) -> Output {
    let test = name.split_once("::").map_or(name, |(_, test)| test);
    let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
    let mut child = this_program();
    child.args(arguments).env(CASE, format!("{name} {value}")).env_remove("RUST_BACKTRACE");
    child.output().expect("this program runs")
}

/// The lines that a child wrote to standard error before it aborted, and what it printed.
pub(crate) fn run_child(name: &str, value: &str) -> (Vec<String>, String) {
    let output = output_of_child(name, value);
    let errors = runner::errors(&output);
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!output.status.success(), "{name} {value}: passed silently; printed {printed}");
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        let aborted = output.status.signal() == Some(6);
        assert!(aborted, "{name} {value}: {}, no abort; errors: {errors}; printed {printed}", output.status);
    }
    (errors.lines().map(str::to_owned).collect(), printed)
}
