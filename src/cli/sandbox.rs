//! Rights that a live capture gives up once everything is open: whoever sends packets to the parsers
//! should find nothing to use.

use std::path::{Path, PathBuf};

/// What to give up.
#[derive(clap::Args)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) struct SandboxArgs {
    /// Go on as this user (name or number) once the capture is open, with -i as root; `root` to
    /// stay.
    #[arg(long, value_name = "USER", requires = "interface", conflicts_with = "files")]
    user: Option<String>,

    /// Neither Landlock nor seccomp, with -i. An interface that was removed can be opened again
    /// only with this and `--user root`.
    #[arg(long, requires = "interface", conflicts_with = "files")]
    no_sandbox: bool,
}

impl SandboxArgs {
    /// Gives up rights for good, in this thread and those that it starts. `read` are the files that
    /// SIGHUP reads anew, `written` one that is replaced now and then; with `maps`, BPF maps that are open
    /// are read. Says on standard error what was given up.
    #[cfg(target_os = "linux")]
    pub(super) fn enter(
        &self,
        read: &[PathBuf],
        written: Option<&Path>,
        maps: bool,
    ) -> anyhow::Result<()> {
        let mut done = vec![linux::leave_root(self.user.as_deref())?];
        if self.no_sandbox {
            done.push("no sandbox, as asked for".to_owned());
        } else {
            done.push(linux::restrict_files(read, written));
            done.push(linux::restrict_calls(written.is_some(), maps));
        }
        eprintln!("egress-auditor: {}", done.join("; "));
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn enter(&self, _: &[PathBuf], _: Option<&Path>, _: bool) -> anyhow::Result<()> {
        eprintln!("egress-auditor: no sandbox on this system; all rights stay");
        Ok(())
    }
}

/// A file's folder: the file may be replaced by a new one of the same name.
#[cfg(target_os = "linux")]
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::BTreeMap,
        path::{Path, PathBuf},
    };

    use anyhow::{Context, bail};
    use caps::{CapSet, Capability};
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
        RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    };
    use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::folder;

    /// Who is nobody where no user has that name.
    const NOBODY: u32 = 65534;

    /// Becomes another user if that is possible, and drops all capabilities.
    pub(super) fn leave_root(wanted: Option<&str>) -> anyhow::Result<String> {
        nix::sys::prctl::set_no_new_privs().context("cannot rule out new privileges")?;
        if wanted == Some("root") || (wanted == Some("0") && geteuid().is_root()) {
            return Ok("stays root, with all rights, as asked for".to_owned());
        }
        let has = |cap| caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false);
        let able = has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID);
        let who = if geteuid().is_root() && able {
            let (name, uid, gid) = user(wanted.unwrap_or("nobody"))?;
            // What only a privileged process may give up comes first.
            if has(Capability::CAP_SETPCAP) {
                caps::clear(None, CapSet::Bounding).context("cannot drop capabilities")?;
            }
            setgroups(&[]).context("cannot leave groups")?;
            setresgid(gid, gid, gid).context("cannot change the group")?;
            setresuid(uid, uid, uid).context("cannot change the user")?;
            format!("goes on as user {name}")
        } else if wanted.is_some() {
            bail!("--user: only root, with CAP_SETUID and CAP_SETGID, can become another user");
        } else {
            format!("goes on as user {}", geteuid())
        };
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            // Kernels before 4.3 have no ambient set.
            if let Err(error) = caps::clear(None, set)
                && !matches!(set, CapSet::Ambient)
            {
                return Err(error).context("cannot drop capabilities");
            }
        }
        let left = caps::read(None, CapSet::Permitted).unwrap_or_default();
        if !left.is_empty() {
            bail!("capabilities are still there after they were dropped: {left:?}");
        }
        Ok(format!("{who}, without capabilities or a way to new ones"))
    }

    /// A user by name or number.
    fn user(text: &str) -> anyhow::Result<(String, Uid, Gid)> {
        if let Ok(number) = text.parse() {
            let uid = Uid::from_raw(number);
            let gid = User::from_uid(uid).ok().flatten().map_or(Gid::from_raw(number), |u| u.gid);
            return Ok((text.to_owned(), uid, gid));
        }
        match User::from_name(text).with_context(|| format!("--user {text}"))? {
            Some(user) => Ok((user.name, user.uid, user.gid)),
            None if text == "nobody" => {
                Ok((NOBODY.to_string(), Uid::from_raw(NOBODY), Gid::from_raw(NOBODY)))
            }
            None => bail!("--user {text}: there is no such user"),
        }
    }

    /// Leaves nothing of the file system but what may have to be read again, and no TCP.
    pub(super) fn restrict_files(read: &[PathBuf], written: Option<&Path>) -> String {
        match landlock(read, written) {
            Ok(RulesetStatus::FullyEnforced) => "Landlock: reads its own settings alone".to_owned(),
            Ok(RulesetStatus::PartiallyEnforced) => {
                "Landlock: reads its own settings alone, as far as this kernel can enforce it"
                    .to_owned()
            }
            Ok(RulesetStatus::NotEnforced) => "no Landlock in this kernel".to_owned(),
            Err(error) => format!("no Landlock ({error})"),
        }
    }

    fn landlock(read: &[PathBuf], written: Option<&Path>) -> Result<RulesetStatus, RulesetError> {
        let abi = ABI::V6;
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?;
        // The interfaces' state is in /sys.
        let system = ["/sys/class/net", "/sys/devices"].map(PathBuf::from);
        for folder in read.iter().map(|file| folder(file)).chain(system) {
            // What isn't there needn't be read.
            if let Ok(fd) = PathFd::new(&folder) {
                rules =
                    rules.add_rule(PathBeneath::new(fd, AccessFs::ReadFile | AccessFs::ReadDir))?;
            }
        }
        if let Some(fd) = written.and_then(|file| PathFd::new(folder(file)).ok()) {
            let replace = AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::MakeReg
                | AccessFs::RemoveFile
                | AccessFs::Truncate;
            rules = rules.add_rule(PathBeneath::new(fd, replace))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }

    /// Leaves the system calls that are needed from now on; others fail.
    pub(super) fn restrict_calls(replaces: bool, maps: bool) -> String {
        match seccomp(replaces, maps) {
            Ok(calls) => format!("seccomp: {calls} system calls are left"),
            Err(error) => format!("no seccomp ({error})"),
        }
    }

    fn seccomp(replaces: bool, maps: bool) -> anyhow::Result<usize> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let replacing = if replaces { REPLACING } else { &[] };
        let all = CALLS.iter().chain(replacing);
        let mut calls: BTreeMap<_, _> = all.map(|&call| (call, Vec::new())).collect();
        if maps {
            calls.insert(libc::SYS_bpf, reading_maps()?);
        }
        let count = calls.len();
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(calls, refused, SeccompAction::Allow, arch)?;
        let program = BpfProgram::try_from(filter)?;
        seccompiler::apply_filter(&program)?;
        Ok(count)
    }

    /// Of bpf(2), looking up the entries of a map (`BPF_MAP_LOOKUP_BATCH`): no programs, and no new maps.
    fn reading_maps() -> anyhow::Result<Vec<SeccompRule>> {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 24)?;
        Ok(vec![SeccompRule::new(vec![is])?])
    }

    /// Putting a new file in the place of an old one.
    const REPLACING: &[i64] = &[
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(not(target_arch = "riscv64"))]
        libc::SYS_renameat,
    ];

    /// Reading and writing what is open, opening files (Landlock says which), threads, memory,
    /// time, accepting connections. No new programs, no new sockets but pairs, no tracing.
    const CALLS: &[i64] = &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_openat,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_readlinkat,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_ftruncate,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_pipe2,
        libc::SYS_eventfd2,
        libc::SYS_ppoll,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_socketpair,
        libc::SYS_accept4,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_shutdown,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_membarrier,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getrandom,
        libc::SYS_prlimit64,
        libc::SYS_uname,
        libc::SYS_sysinfo,
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_tgkill,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access,
    ];
}
