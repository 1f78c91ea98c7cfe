//! Processes that are killed when their testbed ends, even by a crash of the test process.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use crate::run::Run;

/// Lines of a log that are quoted in an error.
const TAIL: usize = 20;

/// A shell script that outlives this process. It reads the ids of started and ended process groups
/// until its input is closed, by us or by the kernel after our end. Then it kills the groups that
/// are left and removes the folder. The removal is retried, as a process can write until it is dead.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
groups=
while read -r verb group; do
  case $verb in
    start) groups="$groups $group" ;;
    end)
      kept=
      for each in $groups; do [ "$each" = "$group" ] || kept="$kept $each"; done
      groups=$kept
      ;;
  esac
done
for each in $groups; do kill -s KILL -- "-$each"; done
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 50 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
"#;

/// A shell script that waits for a line before it becomes the program, so that the watchdog knows
/// the process group first. If this process dies earlier, its input is closed and the shell exits.
const STARTER: &str = r#"read -r go && exec "$@" </dev/null"#;

/// A folder, and the processes that run in it. They are killed and the folder is removed when this
/// is dropped or when this process dies, even by SIGKILL.
pub(crate) struct Processes {
    folder: PathBuf,
    watchdog: Child,
    /// `None` only during drop.
    input: Option<Mutex<ChildStdin>>,
    running: Mutex<Vec<Process>>,
}

struct Process {
    name: String,
    /// Not waited for while it is listed, so its id cannot belong to another process.
    child: Child,
}

/// A signal to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The request to stop that a kubelet sends.
    Term,
    /// Ctrl+C in a terminal.
    Int,
    /// The immediate end, without clean-up.
    Kill,
    /// A pause, such as of a virtual machine during live migration.
    Stop,
    /// The end of a pause.
    Cont,
    /// The request to read the configuration again.
    Hangup,
}

impl Signal {
    /// The name for the shell's `kill`.
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Hangup => "HUP",
        }
    }
}

/// The environment variables of a process. Its home folder has no settings in any case.
pub(crate) enum Environment<'a> {
    /// Those of this process.
    Ours,
    /// `PATH` and these.
    Only(&'a [(String, OsString)]),
}

impl Processes {
    /// A new temporary folder, readable by this user only, without processes.
    pub(crate) fn new() -> Result<Self> {
        // It will hold private keys.
        let mode = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("kube-devops-").permissions(mode).tempdir();
        let folder = folder.context("cannot create a temporary folder")?;
        fs::create_dir(folder.path().join("logs"))?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(folder.path())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        let input = watchdog.stdin.take().map(Mutex::new);
        Ok(Self { folder: folder.keep(), watchdog, input, running: Mutex::default() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a program in its own process group, with its output in the log of this name.
    pub(crate) fn start(&self, name: &str, program: &Path, arguments: &[String]) -> Result<()> {
        self.start_in(&Environment::Ours, name, program, arguments)
    }

    /// Like [`Processes::start`], with these environment variables.
    pub(crate) fn start_in(
        &self,
        environment: &Environment<'_>,
        name: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<()> {
        // Locked to the end, so that a name is used once at a time: it stands for log and process.
        let mut running = lock(&self.running);
        if running.iter().any(|process| process.name == name) {
            bail!("{name} is already running");
        }
        // Appended, so that the log of a restarted API server has both runs.
        let log = OpenOptions::new().create(true).append(true).open(self.log(name))?;
        let mut command = Command::new("sh");
        environment.give(&mut command);
        let mut child = command
            .args(["-c", STARTER, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(&self.folder)
            // kwok, for one, reads settings from the home folder.
            .env("HOME", &self.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let registered = self.notify_watchdog("start", child.id());
        let go = child.stdin.take().map(|mut stdin| stdin.write_all(b"go\n"));
        running.push(Process { name: name.to_owned(), child });
        registered?;
        go.transpose().with_context(|| format!("{name} ended while it started"))?;
        Ok(())
    }

    /// Kills a process by SIGKILL, and waits for its end.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let mut running = lock(&self.running);
        let Some(at) = running.iter().position(|process| process.name == name) else {
            bail!("{name} is not running");
        };
        let mut process = running.swap_remove(at);
        process.child.kill()?;
        // Before the wait: after it the id can belong to another process.
        self.notify_watchdog("end", process.child.id())?;
        process.child.wait()?;
        Ok(())
    }

    /// Fails if a process has ended.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        match self.ended(name)? {
            None => Ok(()),
            Some(status) => bail!("{name} ended ({status})"),
        }
    }

    /// The exit status of a process that has ended; from then on its name is free.
    pub(crate) fn ended(&self, name: &str) -> Result<Option<ExitStatus>> {
        let mut running = lock(&self.running);
        let Some(at) = running.iter().position(|process| process.name == name) else {
            bail!("{name} is not running");
        };
        let child = &mut running[at].child;
        let Some(status) = child.try_wait()? else { return Ok(None) };
        // At once, as its id can now belong to another process.
        let notified = self.notify_watchdog("end", child.id());
        running.swap_remove(at);
        notified?;
        Ok(Some(status))
    }

    /// Sends a signal to a process and all processes that it has started.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let running = lock(&self.running);
        let Some(process) = running.iter().find(|process| process.name == name) else {
            bail!("{name} is not running");
        };
        let mut kill = Command::new("sh");
        kill.args(["-c", r#"kill -s "$1" -- "-$2""#, "sh", signal.name()]);
        Run::of(kill.arg(process.child.id().to_string()), None)?.succeeded()?;
        Ok(())
    }

    /// The id and name of each process, the watchdog included.
    pub(crate) fn list(&self) -> Vec<(u32, String)> {
        let running = lock(&self.running);
        let programs = running.iter().map(|process| (process.child.id(), process.name.clone()));
        [(self.watchdog.id(), "watchdog".to_owned())].into_iter().chain(programs).collect()
    }

    /// The error with the end of a process's log.
    pub(crate) fn explain(&self, name: &str, error: &Error) -> Error {
        anyhow!("{error:#}\nThe end of the log of {name}:\n{}", self.log_tail(name))
    }

    /// The last lines of a process's log.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        let bytes = fs::read(self.log(name)).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes), TAIL)
    }

    /// The log with the output of all processes of this name.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    fn notify_watchdog(&self, verb: &str, group: u32) -> Result<()> {
        let Some(input) = &self.input else { return Ok(()) };
        writeln!(lock(input), "{verb} {group}").context("the watchdog is gone")
    }
}

impl Environment<'_> {
    fn give(&self, command: &mut Command) {
        match self {
            Self::Ours => {
                command.env_remove("KUBECONFIG");
            }
            Self::Only(variables) => {
                let path = std::env::var_os("PATH").map(|path| ("PATH".to_owned(), path));
                let variables = variables.iter().map(|(name, value)| (name, value));
                command.env_clear();
                command.envs(path.iter().map(|(name, value)| (name, value)).chain(variables));
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.input = None;
        // An error cannot be handled here.
        let _: io::Result<ExitStatus> = self.watchdog.wait();
        for process in lock(&self.running).iter_mut() {
            let _: io::Result<ExitStatus> = process.child.wait();
        }
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The lock of a panicked test is taken over: its data is never left in an invalid state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::poll::wait_for;

    fn sleep_for_long(processes: &Processes, name: &str) -> u32 {
        processes.start(name, Path::new("sleep"), &["1000".to_owned()]).unwrap();
        let listed = processes.list();
        listed.iter().find(|(_, listed)| listed == name).unwrap().0
    }

    fn gone(pid: u32) {
        wait_for("the process's end", Duration::from_secs(5), || {
            Ok((!Path::new(&format!("/proc/{pid}")).exists()).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn programs_and_folder_end_with_their_owner() {
        let processes = Processes::new().unwrap();
        let folder = processes.folder().to_owned();
        let first = sleep_for_long(&processes, "first");
        let second = sleep_for_long(&processes, "second");
        processes.check("first").unwrap();
        processes.kill("first").unwrap();
        gone(first);
        processes.check("first").unwrap_err();
        let third = sleep_for_long(&processes, "first");
        drop(processes);
        gone(second);
        gone(third);
        assert!(!folder.exists());
    }

    #[test]
    fn the_log_says_why_a_program_ended() {
        let processes = Processes::new().unwrap();
        let script = ["-c", "echo no more tea >&2; exit 4"].map(str::to_owned);
        processes.start("kettle", Path::new("sh"), &script).unwrap();
        let error =
            wait_for("the end", Duration::from_secs(5), || Ok(processes.check("kettle").err()));
        let text = processes.explain("kettle", &error.unwrap()).to_string();
        assert!(text.starts_with("kettle ended (exit status: 4)\nThe end of"), "{text}");
        assert!(text.ends_with("no more tea"), "{text}");
    }

    #[test]
    fn the_name_of_an_ended_program_is_free() {
        let processes = Processes::new().unwrap();
        let pid = sleep_for_long(&processes, "clock");
        let again = processes.start("clock", Path::new("sleep"), &["1000".to_owned()]);
        assert_eq!(again.unwrap_err().to_string(), "clock is already running");
        processes.signal("clock", Signal::Term).unwrap();
        wait_for("the end", Duration::from_secs(5), || processes.ended("clock")).unwrap();
        gone(pid);
        processes.signal("clock", Signal::Cont).unwrap_err();
        sleep_for_long(&processes, "clock");
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
