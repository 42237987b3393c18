//! I7: nothing is reached over the network, and with a network that was asked for not the master, not this machine.

use crate::world::{Level, World, source};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
};

/// What `reach.c` told of one address.
fn told<'a>(text: &'a str, kind: &str, address: &str, port: u16) -> &'a str {
    let start = format!("{kind} {address} {port} ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_else(|| panic!("no `{start}` in {text}"))
}

/// Services of this machine that listen everywhere, and answer nobody.
struct Services {
    stream: TcpListener,
    datagram: UdpSocket,
}

impl Services {
    fn new() -> Self {
        let stream = TcpListener::bind("[::]:0").unwrap();
        let datagram = UdpSocket::bind(("::", stream.local_addr().unwrap().port())).unwrap();
        stream.set_nonblocking(true).unwrap();
        datagram.set_nonblocking(true).unwrap();
        Self { stream, datagram }
    }

    fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// Nobody connected, and no datagram came.
    #[track_caller]
    fn assert_untouched(&self, level: Level) {
        assert!(self.stream.accept().is_err(), "{level:?}: a program connected to a service of this machine");
        assert!(self.datagram.recv(&mut [0; 8]).is_err(), "{level:?}: a program sent to a service of this machine");
    }
}

/// This machine's address that others see, if it has one.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the address that it would come from.
    socket.connect("192.0.2.1:9").ok()?;
    let IpAddr::V4(address) = socket.local_addr().ok()?.ip() else { return None };
    (!address.is_loopback() && !address.is_link_local()).then_some(address)
}

#[test]
fn i7_a_program_reaches_neither_the_master_nor_this_machine_nor_anything_else() {
    let world = World::shared();
    let services = Services::new();
    let master = world.cluster.address().rsplit(':').next().unwrap().to_owned();
    let port = services.port().to_string();
    let mut addresses: Vec<(String, String)> = Vec::new();
    for address in ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
        addresses.push((address.into(), master.clone()));
        addresses.push((address.into(), port.clone()));
    }
    if let Some(own) = own_address() {
        addresses.push((own.to_string(), master.clone()));
        addresses.push((own.to_string(), port.clone()));
    }
    for (address, port) in [("169.254.169.254", "80"), ("127.0.0.53", "53"), ("192.0.2.1", "53"), ("fe80::1", "80")] {
        addresses.push((address.into(), port.into()));
    }
    let words: Vec<&str> = addresses.iter().flat_map(|(address, port)| [address.as_str(), port.as_str()]).collect();
    for level in [Level::Root, Level::User, Level::Fallback] {
        if !world.has(level) {
            continue;
        }
        let text = world.run(level, source!("reach.c"), &[], &words).expect(0).out();
        for (address, port) in &addresses {
            let port: u16 = port.parse().unwrap();
            let stream = told(&text, "stream", address, port);
            assert!(!["connected", "silence"].contains(&stream), "{level:?} {address}:{port}: {stream}");
        }
        // Without a network of its own it learns the names of the machine's, and no more.
        assert!(level == Level::Fallback || !text.contains("interface "), "{level:?}: {text}");
        for socket in ["packet", "raw", "vsock"] {
            assert!(!text.contains(&format!("socket {socket}")), "{level:?}: {text}");
        }
        services.assert_untouched(level);
    }
}

#[test]
fn i7_a_network_that_was_asked_for_reaches_others_but_not_the_master_nor_this_machine() {
    let Some(own) = own_address() else {
        crate::not_exercised("a program with network: this machine has no address that others see");
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        crate::not_exercised("a program with network: this is not root");
        return;
    }
    let mut cluster = crate::world::cluster();
    let config = cluster.slave_config("network", "network = true\n");
    let mut start = crate::world::start(&cluster, Level::Root, 1);
    start.options = vec!["--config".into(), config];
    cluster.slave_started(start);
    let slave = crate::world::slave_named(&cluster, "root");
    if !crate::world::guard(&slave, "network-on-request") {
        crate::not_exercised(&format!("a program with network: {}", why_not(&slave)));
        return;
    }
    let services = Services::new();
    let (port, master) = (services.port(), cluster.address().rsplit(':').next().unwrap().to_owned());
    // From this machine to its own address that others see: the one other host that there always is.
    let words = |file: &str, network: bool| {
        let mut words = vec!["run".to_owned(), "--slave".into(), "root".into()];
        if network {
            words.push("--network".into());
        }
        words.push(file.to_owned());
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1"] {
            words.extend([address.to_owned(), port.to_string()]);
        }
        for address in [own.to_string(), format!("::ffff:{own}"), "127.0.0.1".into(), "0.0.0.0".into()] {
            words.extend([address, master.clone()]);
        }
        words.extend([own.to_string(), port.to_string()]);
        words
    };
    let file = source!("reach.c").file(&cluster);
    let text = cluster.admin().run(words(&file, true)).expect(0).out();
    let master: u16 = master.parse().unwrap();
    for (address, port) in [
        ("127.0.0.1", port),
        ("::1", port),
        ("::ffff:127.0.0.1", port),
        ("0.0.0.0", port),
        ("::", port),
        ("169.254.169.254", port),
        ("fe80::1", port),
        ("127.0.0.1", master),
        ("0.0.0.0", master),
        (&own.to_string(), master),
        (&format!("::ffff:{own}"), master),
    ] {
        for kind in ["stream", "datagram"] {
            let answer = told(&text, kind, address, port);
            assert!(!["connected", "silence", "sent"].contains(&answer), "{kind} {address}:{port}: {answer}\n{text}");
        }
    }
    assert_eq!(told(&text, "stream", &own.to_string(), port), "connected", "{text}");
    for socket in ["packet", "raw", "vsock"] {
        assert!(!text.contains(&format!("socket {socket}")), "{text}");
    }
    // Only for whom it was asked.
    let text = cluster.admin().run(words(&file, false)).expect(0).out();
    assert!(!text.contains(" connected"), "{text}");
}

fn why_not(slave: &Value) -> String {
    let guards = slave["isolation"]["guards"].as_array().cloned().unwrap_or_default();
    let guard = guards.iter().find(|guard| guard["name"] == "network-on-request");
    guard.map_or_else(|| "the guard is not told".to_owned(), |guard| guard["detail"].to_string())
}

#[test]
fn i7_a_program_that_asks_for_a_network_is_not_given_to_a_slave_that_allows_none() {
    let world = World::shared();
    let admin = world.admin();
    for level in world.levels() {
        let ran = admin.run(["submit", "--slave", level.slave(), "--network", "--", "true"]);
        if ran.code != 0 {
            assert!(ran.err().contains("network"), "{level:?}: {}", ran.err());
            continue;
        }
        let id = ran.out().trim().to_owned();
        let why = admin.run(["why", &id]).out();
        assert!(why.contains("network"), "{level:?}: {why}");
        assert_ne!(admin.show(&id)["state"], "done", "{level:?}");
        admin.run(["cancel", &id]);
    }
    // What is here to be reached is reached from outside: the test itself is sound.
    let master = world.cluster.address();
    assert!(std::net::TcpStream::connect(master).is_ok());
    assert!(Command::new("true").status().is_ok());
}
