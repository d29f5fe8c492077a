//! What a process sees and may do.

use sandbox::{Network, UserIds};

use crate::cage::for_each_caller;

/// Runs each script and compares all that it wrote.
#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for_each_caller(|mut cage| {
        for (script, expected) in rows {
            let outcome = cage.sh(script);
            assert_eq!(
                outcome.outcome, "code 0",
                "{script} for {:?}: {outcome:?}",
                cage.caller
            );
            assert_eq!(
                outcome.stdout, *expected,
                "{script} for {:?}: {outcome:?}",
                cage.caller
            );
        }
    });
}

#[test]
fn identity_and_privileges() {
    check(&[
        (
            "id -u; id -g; grep ^Groups /proc/self/status | tr -d ' '",
            "0\n0\nGroups:\t\n",
        ),
        (
            "grep ^Cap /proc/self/status",
            "CapInh:\t0000000000000000\nCapPrm:\t00000000800405fb\nCapEff:\t00000000800405fb\n\
             CapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n",
        ),
        (
            "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status",
            "NoNewPrivs:\t0\nSeccomp:\t2\n",
        ),
        ("umask", "0022\n"),
        // One byte: the kernel takes that for "no dump at all", also where the host's core_pattern
        // is a program, for which a limit of zero does not count (core(5)).
        (
            "grep '^Max core' /proc/self/limits | tr -s ' '",
            "Max core file size 1 1 bytes \n",
        ),
        // Session and controlling terminal, fields 6 and 7 of stat.
        ("cut -d' ' -f6,7 /proc/$$/stat", "2 0\n"),
        // Without a program that would be counted too: init and this shell.
        ("echo $$; set -- /proc/[0-9]*; echo $#", "2\n2\n"),
        (
            "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\n'",
            "SigBlk:\t0000000000000000SigIgn:\t0000000000000000",
        ),
    ]);
}

#[test]
fn another_user_has_no_capabilities_and_just_its_groups() {
    for_each_caller(|mut cage| {
        cage.process.user = UserIds {
            uid: 1000,
            gid: 1001,
            groups: vec![5, 6],
        };
        let status = cage
            .sh("grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status")
            .success();
        let status = status.replace(" \n", "\n");
        assert_eq!(
            status,
            "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t5 6\n\
             CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
             CapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n",
        );
    });
}

#[test]
fn nothing_of_the_builder_leaks_in() {
    check(&[
        // The directory that the shell reads is open meanwhile, hence the second look.
        (
            "for f in /proc/$$/fd/*; do [ -L $f ] && echo ${f##*/}; done; true",
            "0\n1\n2\n",
        ),
        ("cat", ""),
        (
            "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c canary || true",
            "0\n",
        ),
        ("readlink /proc/1/exe || echo refused", "refused\n"),
        (
            "readlink /proc/1/fd/0 /proc/1/cwd /proc/1/root || echo refused",
            "refused\n",
        ),
        (
            "(echo x > /proc/1/exe) 2>/dev/null || echo refused",
            "refused\n",
        ),
        ("grep -c /tmp/ /proc/self/mounts || true", "0\n"),
    ]);
    for_each_caller(|mut cage| {
        assert_eq!(cage.run(&["env"]).success(), "PATH=/nowhere:/bin\n");
    });
}

#[test]
fn kernel_interfaces_are_out_of_reach() {
    check(&[
        (
            "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused",
            "refused\n",
        ),
        (
            "(echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo refused",
            "refused\n",
        ),
        (
            "(echo b > /proc/sysrq-trigger) 2>/dev/null || echo refused",
            "refused\n",
        ),
        (
            "cat /proc/timer_list /proc/keys /proc/interrupts | wc -c",
            "0\n",
        ),
        (
            "ls -A /sys/firmware /proc/acpi 2>/dev/null | grep -v : | grep -c . || true",
            "0\n",
        ),
        ("touch /sys/x 2>/dev/null || echo refused", "refused\n"),
        ("umount /proc/sys 2>/dev/null || echo refused", "refused\n"),
        (
            "rmdir /proc /sys /dev 2>/dev/null || ls -d /proc /sys /dev",
            "/dev\n/proc\n/sys\n",
        ),
    ]);
}

/// Other processes' groups, other programs' traces: whatever the host has mounted in `/sys`.
#[test]
fn what_is_mounted_in_sys_does_not_show() {
    for network in [Network::None, Network::Host] {
        for_each_caller(|mut cage| {
            cage.process.network = network;
            let script = "ls -d /sys/fs/cgroup/*/ 2>/dev/null; \
                          ls -A /sys/fs/pstore /sys/fs/selinux /sys/kernel/debug \
                          /sys/kernel/security /sys/kernel/tracing /sys/kernel/config 2>/dev/null \
                          | grep -v : | grep .; \
                          mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; true";
            assert_eq!(
                cage.sh(script).success(),
                "",
                "{:?} {network:?}",
                cage.caller
            );
        });
    }
}

#[test]
fn devices() {
    check(&[
        (
            "ls /dev | tr '\\n' ' '; stat -c %a /dev /dev/shm",
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \
             755\n1777\n",
        ),
        ("echo > /dev/null && head -c 3 /dev/zero | wc -c", "3\n"),
        (
            "head -c 1 /dev/urandom | wc -c; (echo > /dev/full) 2>/dev/null || echo full",
            "1\nfull\n",
        ),
        ("grep -o 'size=65536k' /proc/self/mounts", "size=65536k\n"),
        ("echo out > /dev/stdout; ls /dev/pts", "out\nptmx\n"),
    ]);
}

#[test]
fn names_and_networks() {
    check(&[
        (
            "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf",
            "cage\ncage\n127.0.0.1 localhost cage\nnameserver 192.0.2.1\n",
        ),
        (
            "(echo x >> /etc/hosts) 2>/dev/null || echo refused",
            "refused\n",
        ),
        (
            "ls /sys/class/net; ip -o addr show up | grep -c 127.0.0.1",
            "lo\n1\n",
        ),
    ]);
    for_each_caller(|mut cage| {
        cage.process.network = Network::Host;
        let inside = cage
            .sh("cat /proc/net/dev | wc -l; touch /sys/x 2>&1 | wc -l")
            .success();
        let outside = std::fs::read_to_string("/proc/net/dev").expect("it is there");
        assert_eq!(inside, format!("{}\n1\n", outside.lines().count()));
    });
}
