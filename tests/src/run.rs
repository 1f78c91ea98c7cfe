//! A program that is run to its end.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// The exit code and the output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The exit code; none if a signal ended the program.
    pub code: Option<i32>,
    /// Standard output; invalid UTF-8 is replaced.
    pub stdout: String,
    /// Standard error; invalid UTF-8 is replaced.
    pub stderr: String,
    line: String,
}

impl Run {
    /// Runs a program to its end. Without `stdin` its input is empty.
    ///
    /// Fails only if the program cannot be started. The caller checks the exit code, or calls
    /// [`Run::succeeded`]. There is no deadline: pass one to the program.
    pub fn of(command: &mut Command, stdin: Option<&str>) -> Result<Self> {
        let line = line(command);
        let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {line}"))?;
        let pipe = child.stdin.take();
        // Written by a thread, as a program that writes before it has read all would block us both.
        let output = thread::scope(|scope| {
            if let (Some(mut pipe), Some(text)) = (pipe, stdin) {
                // An error is ignored: a program need not read all of its input.
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

    /// Standard output, or an error with command line, exit code and standard error.
    pub fn succeeded(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            Some(code) => bail!("{} exited with {code}: {}", self.line, self.stderr.trim_end()),
            None => bail!("{} was ended by a signal: {}", self.line, self.stderr.trim_end()),
        }
    }
}

/// The command line, without the folder of the program.
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
