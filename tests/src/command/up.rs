//! `e2e up`. Ctrl+C needs no handler, as the testbed's watchdog kills all processes.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};
use e2e::{Parts, Testbed, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of nodes; 0 for none
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// How to end, for the tests that no process is left
    #[arg(long, hide = true, value_enum, default_value_t = Then::Wait)]
    then: Then,
}

#[derive(Clone, Copy, ValueEnum)]
enum Then {
    Wait,
    Exit,
    Panic,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let parts = Parts::new("testbed").with_controllers().with_nodes(options.nodes);
    let testbed = Testbed::start(&parts)?;
    say(&format!("ready after {:.1} s", start.elapsed().as_secs_f32()));
    print(&testbed)?;
    end(options.then)
}

fn print(testbed: &Testbed) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "kubeconfig {}", testbed.kubeconfig().display())?;
    writeln!(out, "folder {}", testbed.folder().display())?;
    for (pid, name) in testbed.processes() {
        writeln!(out, "pid {pid} {name}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

#[expect(clippy::panic, reason = "a test checks that no process is left after a panic")]
fn end(then: Then) -> Result<()> {
    match then {
        Then::Wait => {
            io::copy(&mut io::stdin().lock(), &mut io::sink())?;
            Ok(())
        }
        // Does not drop the testbed.
        Then::Exit => std::process::exit(3),
        Then::Panic => panic!("as asked for"),
    }
}
