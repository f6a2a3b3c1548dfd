//! Tests that change the whole process run in one of their own.

use crate::runner::{errors, this_program};

/// Says which test the process is the child of.
const CASE: &str = "MALLOCSTATE_FAULT";

/// In the child runs `work`; else runs this test again in a child, which must end well, and prints what it printed.
pub(crate) fn in_child(name: &str, work: impl FnOnce()) {
    if std::env::var(CASE).is_ok_and(|case| case == name) {
        work();
        return;
    }
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    let output = this_program().args(arguments).env(CASE, name).output().expect("this program runs");
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), errors(&output));
    assert!(printed.contains("1 passed"), "{name}: {}\n{printed}\n{errors}", output.status);
    println!("{printed}");
}
