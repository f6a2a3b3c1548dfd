//! The tool that this program was built for: how a child runs under it, and what it says.

use std::process::{Command, Output};

/// Says which case the child is to run.
const CASE: &str = "MALLOCSTATE_SANITIZED";

/// How a child ends of which the tool has reported something.
const REPORTED: i32 = 99;

/// A memory tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tool {
    AddressSanitizer,
    Memcheck,
}

impl Tool {
    /// The tool that this program was built for.
    pub(crate) const HERE: Self = if cfg!(mallocstate_asan) { Self::AddressSanitizer } else { Self::Memcheck };

    /// A command that runs this program again under the tool.
    fn command(self) -> Command {
        let program = std::env::current_exe().expect("this program's path");
        match self {
            Self::AddressSanitizer => {
                let mut command = Command::new(program);
                command.env("ASAN_OPTIONS", format!("exitcode={REPORTED}:symbolize=0:detect_leaks=0"));
                command
            }
            Self::Memcheck => {
                let mut command = Command::new("valgrind");
                command.args(["--quiet", "--fair-sched=yes", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
                command.arg("--show-leak-kinds=definite").arg(format!("--error-exitcode={REPORTED}")).arg(program);
                command
            }
        }
    }
}

/// What the tool is to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    Nothing,
    /// A read of one byte that may not be accessed.
    Read,
    /// Such a read within a free block, which memcheck knows.
    ReadOfFree,
    /// A write of one byte that may not be accessed.
    Write,
    /// A free of a block that is free.
    Free,
    /// A decision that depends on what memory holds that was never written.
    Uninitialised,
}

impl Report {
    /// What the tool writes where it reports this; `None` where it does not watch that.
    fn texts(self, tool: Tool) -> Option<&'static [&'static str]> {
        match (tool, self) {
            (_, Self::Nothing) | (Tool::AddressSanitizer, Self::Uninitialised) => None,
            // A free looks at the block's first byte.
            (Tool::AddressSanitizer, Self::Read | Self::ReadOfFree | Self::Free) => {
                Some(&["AddressSanitizer: use-after-poison", "READ of size 1"])
            }
            (Tool::AddressSanitizer, Self::Write) => Some(&["AddressSanitizer: use-after-poison", "WRITE of size 1"]),
            (Tool::Memcheck, Self::Read) => Some(&["Invalid read of size 1"]),
            (Tool::Memcheck, Self::ReadOfFree) => Some(&["Invalid read of size 1", "a block of size"]),
            (Tool::Memcheck, Self::Write) => Some(&["Invalid write of size 1"]),
            (Tool::Memcheck, Self::Free) => Some(&["Invalid free()", "free'd"]),
            (Tool::Memcheck, Self::Uninitialised) => {
                Some(&["Conditional jump or move depends on uninitialised value(s)"])
            }
        }
    }
}

/// The case that this process is to run, where it is a child of the test.
pub(crate) fn case(name: &str) -> Option<String> {
    std::env::var(CASE).ok()?.strip_prefix(name)?.strip_prefix('/').map(str::to_owned)
}

/// Runs the test again as a child under the tool, with a case.
///
/// # Panics
///
/// Where the tool is not there.
pub(crate) fn run(name: &str, case: &str) -> Child {
    let mut command = Tool::HERE.command();
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(CASE, format!("{name}/{case}")).env_remove("RUST_BACKTRACE");
    let output = command.output();
    Child(output.unwrap_or_else(|error| panic!("{:?} is needed by this test: {command:?}: {error}", Tool::HERE)))
}

/// How a child has ended.
pub(crate) struct Child(Output);

impl Child {
    /// Panics where the tool has said anything else than it should.
    pub(crate) fn check(&self, case: &str, expected: Report) {
        let (said, printed) = (String::from_utf8_lossy(&self.0.stderr), String::from_utf8_lossy(&self.0.stdout));
        let all = format!("{case}: {}\n{said}\n{printed}", self.0.status);
        let Some(texts) = expected.texts(Tool::HERE) else {
            assert!(self.0.status.success() && said.is_empty(), "reported, and is right: {all}");
            return;
        };
        // Where a report does not end the child, the heap's own checks may.
        let (code, aborted) = (self.0.status.code(), said.find("mallocstate: "));
        assert!(code == Some(REPORTED) || code.is_none() && aborted.is_some(), "not reported: {all}");
        texts.iter().for_each(|text| assert!(said.contains(text), "not reported as {text:?}: {all}"));
        let misused = printed.split_once("misused ").and_then(|(_, rest)| rest.lines().next()).expect("an address");
        // Of what memory holds, valgrind does not say where.
        assert!(expected == Report::Uninitialised || said.contains(misused), "not at {misused}: {all}");
        assert!(aborted.is_none() || said.find(texts[0]) < aborted, "the heap was first: {all}");
    }
}
