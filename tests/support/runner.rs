//! This test program once more, in a process of its own.

use std::process::{Command, Output};
use std::string::String;

/// The environment variable that names what runs test programs, with its arguments: an emulator, where the system cannot
/// run them by itself.
const RUNNER: &str = "MALLOCSTATE_TEST_RUNNER";

/// A command that runs this program, without arguments so far.
pub(crate) fn this_program() -> Command {
    let program = std::env::current_exe().expect("this program's path");
    let runner = std::env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
    }
}

/// What the program said on standard error. An emulator adds a line of its own where a signal ends the program.
pub(crate) fn errors(output: &Output) -> String {
    let text = std::str::from_utf8(&output.stderr).expect("UTF-8");
    text.split_inclusive('\n').filter(|line| !line.starts_with("qemu: uncaught target signal")).collect()
}
