//! Start of kube-controller-manager and kube-scheduler.

use anyhow::Result;

use crate::tokens::{CONTROLLER_MANAGER, SCHEDULER};
use crate::{Program, Testbed};

/// Flags of both: no leader election as there is one of each, no HTTPS port, and client-side rate
/// limits that are never reached.
const FLAGS: [&str; 4] =
    ["--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"];

/// Starts both, and does not wait until they are ready.
pub(crate) fn start(testbed: &Testbed) -> Result<()> {
    let keys = &testbed.keys;
    let own = [
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", keys.token_key.display()),
        format!("--root-ca-file={}", keys.authority.display()),
    ];
    run(testbed, Program::ControllerManager, CONTROLLER_MANAGER, &own)?;
    run(testbed, Program::Scheduler, SCHEDULER, &[])
}

/// Waits until the controllers have created the first `ServiceAccount`.
pub(crate) fn wait_until_ready(testbed: &Testbed) -> Result<()> {
    let name = Program::ControllerManager.name();
    let processes = &testbed.processes;
    let ready = testbed.wait_for_service_account("default").and_then(|()| processes.check(name));
    ready.map_err(|error| processes.explain(name, &error))?;
    let name = Program::Scheduler.name();
    processes.check(name).map_err(|error| processes.explain(name, &error))
}

fn run(testbed: &Testbed, program: Program, user: &str, own: &[String]) -> Result<()> {
    let kubeconfig = testbed.user_kubeconfig(user, None)?;
    let mut arguments = vec![format!("--kubeconfig={}", kubeconfig.display())];
    arguments.extend(FLAGS.map(str::to_owned));
    arguments.extend_from_slice(own);
    testbed.processes.start(program.name(), &program.path()?, &arguments)
}
