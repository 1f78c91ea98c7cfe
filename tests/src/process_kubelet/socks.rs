//! The pod network for clients beside the cluster, such as Prometheus: a SOCKS proxy (RFC 1928), as far
//! as they use it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

use super::lock;
use super::network::{Routes, join};

/// The version, and then: one method, no authentication.
const GREETING: [u8; 3] = [5, 1, 0];
/// Connect to an address of IPv4.
const CONNECT: [u8; 4] = [5, 1, 0, 1];
/// The rest of an answer: an address that nobody needs.
const BOUND: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const CONNECTED: u8 = 0;
const REFUSED: u8 = 5;

/// Accepts connections until this process ends.
pub(super) fn start(routes: Routes) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the SOCKS proxy")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let routes = Routes::clone(&routes);
            // An error is one of the client, which has closed the connection then.
            thread::spawn(move || serve(client, &routes));
        }
    });
    Ok(addr)
}

fn serve(mut client: TcpStream, routes: &Routes) -> Result<()> {
    let pod = destination(&mut client)?;
    let process = lock(routes).get(&pod).copied();
    let server = process.map(TcpStream::connect).transpose();
    let Ok(Some(server)) = server else {
        return Ok(answer(&mut client, REFUSED)?);
    };
    answer(&mut client, CONNECTED)?;
    join(&client, &server, || client.shutdown(Shutdown::Write));
    Ok(())
}

fn answer(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[&[5, code][..], &BOUND].concat())
}

fn destination(client: &mut TcpStream) -> Result<SocketAddr> {
    let mut greeting = [0; GREETING.len()];
    client.read_exact(&mut greeting)?;
    ensure!(greeting == GREETING, "no SOCKS5 without authentication");
    client.write_all(&[5, 0])?;
    let (mut head, mut address, mut port) = ([0; CONNECT.len()], [0; 4], [0; 2]);
    client.read_exact(&mut head)?;
    if head != CONNECT {
        bail!("no connection to an address of IPv4");
    }
    client.read_exact(&mut address)?;
    client.read_exact(&mut port)?;
    Ok(SocketAddr::from((Ipv4Addr::from(address), u16::from_be_bytes(port))))
}
