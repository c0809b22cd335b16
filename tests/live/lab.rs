//! Two network namespaces: a node with a real client, and a net with a resolver and TLS servers
//! behind a firewall. Everything that was started and made goes when the lab is dropped.

#![allow(dead_code, unreachable_pub)]

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What these tests run.
const PROGRAMS: [&str; 9] =
    ["ip", "nft", "setpriv", "kill", "tcpdump", "curl", "dnsmasq", "openssl", "python3"];

/// Long enough for the slowest machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

const NODE: &str = "10.77.1.10";
const NET: &str = "10.77.1.1";

/// Names in the lab's DNS, with their servers' addresses.
const ZONE: [(&str, &str); 3] = [
    ("management.azure.com", "203.0.113.20"),
    ("mcr.microsoft.com", "203.0.113.10"),
    ("telemetry.example.net", "198.51.100.200"),
];

pub struct Lab {
    pub folder: PathBuf,
    node: String,
    net: String,
    started: Vec<Child>,
}

/// A program in a namespace, with what it says.
pub struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
}

/// Why no lab can be made here.
pub fn obstacle() -> Option<String> {
    if output("id", &["-u"]).as_deref() != Some("0\n") {
        return Some("network namespaces need root".into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let has = |program: &&str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        return Some(format!("needs {}; .ci/setup installs them", missing.join(", ")));
    }
    let script = "ip netns add $0 && trap 'ip netns del $0' EXIT && ip netns exec $0 sh -ec \
                  'ip link add veth0 type veth peer name veth1; nft add table inet lab'";
    let name = format!("egresslive{}-probe", std::process::id());
    let possible = output("sh", &["-ec", script, &name]).is_some();
    (!possible).then(|| "this machine has no network namespaces with veth and nftables".into())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

impl Lab {
    /// Makes one, or says why not.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static OBSTACLE: Mutex<Option<Option<String>>> = Mutex::new(None);
        let obstacle = OBSTACLE.lock().unwrap().get_or_insert_with(obstacle).clone();
        if let Some(reason) = obstacle {
            println!("skipped: {reason}");
            return None;
        }
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(format!("egress-auditor-live-{id}"));
        fs::create_dir_all(&folder).unwrap();
        let (node, net) = (format!("egresslive{id}-node"), format!("egresslive{id}-net"));
        let mut lab = Self { folder, node, net, started: Vec::new() };
        lab.build();
        Some(lab)
    }

    fn build(&mut self) {
        for name in [&self.node, &self.net] {
            run("ip", &["netns", "add", name]);
            // Without it, the kernel's own neighbour discovery would be in the captures.
            run(
                "ip",
                &[
                    "netns",
                    "exec",
                    name,
                    "sysctl",
                    "-qw",
                    "net.ipv6.conf.all.disable_ipv6=1",
                    "net.ipv6.conf.default.disable_ipv6=1",
                ],
            );
            run("ip", &["-n", name, "link", "set", "lo", "up"]);
        }
        self.link();
        for (_, address) in ZONE {
            run("ip", &["-n", &self.net, "addr", "add", address, "dev", "lo"]);
        }
        let etc = Path::new("/etc/netns").join(&self.node);
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("resolv.conf"), format!("nameserver {NET}\n")).unwrap();
        let mut dns = vec![
            "dnsmasq".into(),
            "-k".into(),
            "-C".into(),
            "/dev/null".into(),
            "-u".into(),
            "root".into(),
            "--no-resolv".into(),
            "--no-hosts".into(),
            "--pid-file=".into(),
            format!("--listen-address={NET}"),
        ];
        dns.extend(ZONE.map(|(name, address)| format!("--address=/{name}/{address}")));
        let dns: Vec<_> = dns.iter().map(String::as_str).collect();
        self.start_in("net", &dns);
        let (key, certificate) = (self.path("key.pem"), self.path("cert.pem"));
        run(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=lab",
                "-days",
                "2",
                "-keyout",
                &key,
                "-out",
                &certificate,
            ],
        );
        self.start_in(
            "net",
            &[
                "openssl",
                "s_server",
                "-quiet",
                "-www",
                "-accept",
                "443",
                "-key",
                &key,
                "-cert",
                &certificate,
            ],
        );
        self.until("the servers listen", || {
            let (tcp, udp) = (self.sockets("-ltn"), self.sockets("-lun"));
            tcp.contains(":443 ") && udp.contains(":53 ")
        });
    }

    /// Joins node and net, both up, with addresses and neighbours that need no ARP.
    pub fn link(&self) {
        let (node, net) = (&self.node[..], &self.net[..]);
        let (left, right) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        run(
            "ip",
            &[
                "-n", node, "link", "add", "eth0", "address", left, "type", "veth", "peer", "name",
                "eth0", "address", right, "netns", net,
            ],
        );
        run("ip", &["-n", net, "addr", "add", &format!("{NET}/24"), "dev", "eth0"]);
        run("ip", &["-n", net, "link", "set", "eth0", "up"]);
        run("ip", &["-n", node, "addr", "add", &format!("{NODE}/24"), "dev", "eth0"]);
        self.up();
        run("ip", &["-n", net, "neigh", "replace", NODE, "lladdr", left, "dev", "eth0"]);
    }

    /// Takes the node's interface up.
    pub fn up(&self) {
        run("ip", &["-n", &self.node, "link", "set", "eth0", "up"]);
        run("ip", &["-n", &self.node, "route", "replace", "default", "via", NET]);
        run(
            "ip",
            &[
                "-n",
                &self.node,
                "neigh",
                "replace",
                NET,
                "lladdr",
                "02:00:00:00:00:02",
                "dev",
                "eth0",
            ],
        );
    }

    /// Takes the node's interface down.
    pub fn down(&self) {
        run("ip", &["-n", &self.node, "link", "set", "eth0", "down"]);
    }

    /// Removes the node's interface.
    pub fn unlink(&self) {
        run("ip", &["-n", &self.node, "link", "del", "eth0"]);
    }

    /// Has the firewall drop what goes to a name's server.
    pub fn block(&self, name: &str) {
        let address = ZONE.iter().find(|(known, _)| *known == name).unwrap().1;
        let rules = format!(
            "add table ip lab; add chain ip lab in {{ type filter hook input priority 0; }}; \
             add rule ip lab in ip daddr {address} tcp dport 443 drop"
        );
        run("ip", &["netns", "exec", &self.net, "nft", &rules]);
    }

    /// Has the node ask for a page, and wait for the answer. True when it came.
    pub fn fetch(&self, name: &str) -> bool {
        let url = format!("https://{name}/");
        self.in_node(&["curl", "-sk4", "-o", "/dev/null", "--max-time", "4", &url]).status.success()
    }

    /// Runs a program on the node to its end.
    pub fn in_node(&self, argv: &[&str]) -> Output {
        self.command(&self.node, argv).output().unwrap()
    }

    /// Starts a program on the node.
    pub fn start(&self, argv: &[&str]) -> Program {
        self.start_on(&self.node, argv)
    }

    /// Starts a program beside the servers.
    pub fn start_in_net(&self, argv: &[&str]) -> Program {
        self.start_on(&self.net, argv)
    }

    fn start_on(&self, namespace: &str, argv: &[&str]) -> Program {
        let mut child = self
            .command(namespace, argv)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for mut stream in streams {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    said.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
            });
        }
        Program { child, said }
    }

    /// Starts the auditor on the node; it captures when this returns.
    pub fn audit(&self, arguments: &[&str]) -> Program {
        let binary = env!("CARGO_BIN_EXE_egress-auditor");
        let argv: Vec<_> = [binary, "audit"].iter().chain(arguments).copied().collect();
        let program = self.start(&argv);
        program.wait_for("capturing on");
        program
    }

    /// A file of the lab.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        until(what, condition);
    }

    fn sockets(&self, which: &str) -> String {
        let output = self.command(&self.net, &["ss", which]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn start_in(&mut self, _net: &str, argv: &[&str]) {
        let mut command = self.command(&self.net, argv);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.started.push(command.spawn().unwrap());
    }

    /// A program in a namespace that ends when these tests do.
    fn command(&self, namespace: &str, argv: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL"]).args(argv);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in [&self.node, &self.net] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
            let _ = fs::remove_dir_all(Path::new("/etc/netns").join(name));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Program {
    /// What it has said so far, on both streams.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn wait_for(&self, text: &str) {
        let said = || self.said().contains(text);
        if !until_or_not(said) {
            panic!("waited in vain for `{text}` in:\n{}", self.said());
        }
    }

    pub fn signal(&self, signal: &str) {
        run("kill", &[&format!("-{signal}"), &self.child.id().to_string()]);
    }

    /// Ends it as Ctrl-C does. Gives the exit code and all that it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.signal("INT");
        let status = self.child.wait().unwrap();
        // The readers see the end of the streams soon after.
        until("its streams end", || Arc::strong_count(&self.said) == 1);
        (status.code(), self.said())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so; fails when it doesn't become so.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    assert!(until_or_not(condition), "waited in vain until {what}");
}

fn until_or_not(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}
