//! A program run to its end.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// How a program ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    line: String,
}

impl Run {
    /// Runs a program to its end. Without `stdin` its input is empty.
    ///
    /// Fails only where the program cannot be started; a bad exit is for the caller to judge, or
    /// for [`Run::succeeded`]. There is no deadline: give the program one of its own.
    pub fn of(command: &mut Command, stdin: Option<&str>) -> Result<Self> {
        let line = line(command);
        let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {line}"))?;
        let pipe = child.stdin.take();
        // A thread feeds it: a program that answers while it reads would else block both sides.
        let output = thread::scope(|scope| {
            if let (Some(mut pipe), Some(text)) = (pipe, stdin) {
                // A program need not read all of its input.
                scope.spawn(move || pipe.write_all(text.as_bytes()));
            }
            child.wait_with_output()
        });
        let output = output.with_context(|| format!("cannot read from {line}"))?;
        Ok(Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        })
    }

    /// What it printed, or an error with its command line, exit code and standard error.
    pub fn succeeded(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            Some(code) => bail!("{} exited with {code}: {}", self.line, self.stderr.trim_end()),
            None => bail!("{} was ended by a signal: {}", self.line, self.stderr.trim_end()),
        }
    }
}

/// The command line, the program by its name only.
fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(std::ffi::OsStr::to_string_lossy);
    [name].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_code_and_both_streams() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo no >&2; exit 3"]);
        let run = Run::of(&mut command, Some("yes")).unwrap();
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(3), "yes", "no\n"));
        let error = run.succeeded().unwrap_err().to_string();
        assert_eq!(error, "sh -c cat; echo no >&2; exit 3 exited with 3: no");
    }

    #[test]
    fn a_program_need_not_read_its_input() {
        let long = "x".repeat(1 << 20);
        assert_eq!(Run::of(&mut Command::new("true"), Some(&long)).unwrap().code, Some(0));
    }
}
