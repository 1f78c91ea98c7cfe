//! Two nodes with a bridge each for their pods, and a link between the nodes.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result};
use e2e::{NODES, Run};

/// The bridge of a node for its pods, which the CNI plug-in finds there.
pub(super) const BRIDGE: &str = "cni0";
/// The addresses of all pods.
pub(super) const PODS: &str = "10.244.0.0/16";
/// The addresses of Services: see the API server's `--service-cluster-ip-range`.
const SERVICES: &str = "10.0.0.0/24";
const LINK: [&str; 2] = ["10.244.255.1", "10.244.255.2"];
/// The ends of the link.
const ENDS: [&str; 2] = ["to-node-1", "to-node-0"];

/// The addresses of the pods of a node.
pub(super) fn pods(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

/// The address of a node: that of its bridge, as a node may not have a loopback address.
pub(super) fn address(node: usize) -> Ipv4Addr {
    let node = u8::try_from(node).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 244, node, 1)
}

/// The network namespace of the second node, by name; the first one is in that of the control plane.
pub(super) fn second() -> String {
    format!("/run/netns/{}", NODES[1])
}

/// Makes the network of both nodes, in the network namespace of the first.
pub(super) fn create() -> Result<()> {
    ip("link set lo up")?;
    bridge(0, ip)?;
    let in_second = |line: &str| ip(&format!("-netns {} {line}", NODES[1]));
    ip(&format!("netns add {}", NODES[1]))?;
    in_second("link set lo up")?;
    bridge(1, in_second)?;
    ip(&format!("link add {} type veth peer name {} netns {}", ENDS[0], ENDS[1], NODES[1]))?;
    ip(&format!("address add {}/30 dev {}", LINK[0], ENDS[0]))?;
    ip(&format!("link set {} up", ENDS[0]))?;
    in_second(&format!("address add {}/30 dev {}", LINK[1], ENDS[1]))?;
    in_second(&format!("link set {} up", ENDS[1]))?;
    ip(&format!("route add {} via {}", pods(1), LINK[1]))?;
    in_second(&format!("route add {} via {}", pods(0), LINK[0]))
}

/// Packets to a Service need a route, though kube-proxy gives them another destination.
fn bridge(node: usize, ip: impl Fn(&str) -> Result<()>) -> Result<()> {
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("address add {}/24 dev {BRIDGE}", address(node)))?;
    ip(&format!("link set {BRIDGE} up"))?;
    ip(&format!("route add {SERVICES} dev {BRIDGE}"))
}

/// Makes the network namespace of this process route the packets of pods.
pub(super) fn forward() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on IP forwarding")
}

fn ip(line: &str) -> Result<()> {
    command("ip", &line.split(' ').collect::<Vec<_>>())
}

/// Runs a program that has to succeed.
pub(super) fn command(program: &str, arguments: &[&str]) -> Result<()> {
    Run::of(Command::new(program).args(arguments), None)?.succeeded()?;
    Ok(())
}
