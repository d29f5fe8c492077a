//! How builds end before their time: a step that fails, Ctrl-C, and what is left then.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use testkit::{Action, Endpoint, Match};

use crate::site::{Caller, Site};

/// Both kinds of caller that this machine can play.
fn for_each_caller(test: impl Fn(&Site)) {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        if let Some(site) = Site::new(caller) {
            test(&site);
        }
    }
}

#[test]
fn a_step_that_fails_cancels_its_siblings_and_publishes_nothing() {
    for_each_caller(|site| {
        let mark = site.mark();
        let context = site.context(
            "context",
            &format!(
                "FROM REGISTRY/base:1 AS fails\n\
                 RUN sleep 1; echo last words; exit 3\n\
                 FROM REGISTRY/base:1 AS sibling\n\
                 RUN sleep 9{mark}; touch /never\n\
                 FROM REGISTRY/base:1\n\
                 COPY --from=fails / /a\n\
                 COPY --from=sibling / /b\n"
            ),
        );
        let output = site.build("store", "failed", &context, &[]).output();
        assert_eq!(
            site.describe(&output.expect("kiln starts")),
            "exit 1
stderr:
error: [fails 2/2] RUN sleep 1; echo last words; exit 3: the command exited with code 3
 --> Dockerfile:2:1
  |
2 | RUN sleep 1; echo last words; exit 3
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = command: sleep 1; echo last words; exit 3
  the end of its output:
  | last words
"
        );
        site.nothing_is_left();
        assert_eq!(site.registry.tags("failed"), [""; 0]);
        let wrote = |line: &String| !line.starts_with("GET") && !line.starts_with("HEAD");
        let manifests = site.registry.lines().into_iter().filter(wrote);
        assert_eq!(
            manifests
                .filter(|line| line.contains("manifests"))
                .collect::<Vec<_>>(),
            [""; 0]
        );
        site.verify("store");
    });
}

#[test]
fn the_next_run_continues_behind_the_last_step_that_succeeded() {
    for_each_caller(|site| {
        let context = site.context(
            "context",
            "FROM REGISTRY/base:1\n\
             RUN cat /proc/sys/kernel/random/uuid > /id\n\
             ARG CODE=4\n\
             RUN cat /id; exit $CODE\n",
        );
        let build = |code: &str| {
            let argument = format!("CODE={code}");
            let more = ["--build-arg", &argument, "--metadata-file", "numbers"];
            let output = site.build("store", "continued", &context, &more).output();
            output.expect("kiln starts")
        };
        let said = |code: &str| {
            let output = build(code);
            assert_eq!(output.status.code(), Some(1), "{}", site.describe(&output));
            let text = site.describe(&output);
            let id = text.lines().last().expect("the output's end").to_owned();
            assert_eq!(id.len(), "  | ".len() + 36, "{text}");
            id
        };
        let id = said("4");
        assert_eq!(said("4"), id, "the first step ran twice");
        site.success(&build("0"));
        let numbers = site.numbers("numbers");
        assert_eq!(numbers["kiln.steps.ran"], 1, "{numbers}");
        let kept = &site.image("continued").layers[1].entries[0];
        assert_eq!(
            format!("  | {}", String::from_utf8_lossy(&kept.content)),
            id + "\n"
        );
    });
}

/// Starts a build whose second step never ends, and waits until it runs.
fn endless(site: &Site, store: &str) -> Child {
    let mark = site.mark();
    let context = site.context(
        "endless",
        &format!(
            "FROM REGISTRY/base:1\n\
             RUN echo first > /first\n\
             RUN (trap '' INT TERM HUP; sleep 9{mark}) & sleep 9{mark}\n"
        ),
    );
    let child = site
        .build(store, "endless", &context, &[])
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    site.until("the step runs", || site.running(&format!("9{mark}")) >= 2);
    child
}

/// Waits for the end, which comes by itself, and looks at what is left.
fn interrupted(site: &Site, store: &str, child: Child) {
    let output = child.wait_with_output().expect("an end");
    assert_eq!(site.describe(&output), "exit 130\nstderr:\ninterrupted\n");
    site.nothing_is_left();
    site.verify(store);
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn a_signal_during_a_step_ends_it_and_leaves_nothing() {
    for_each_caller(|site| {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let child = endless(site, "store");
            kill_process(pid(&child), signal).expect("it runs");
            interrupted(site, "store", child);
        }
        assert_eq!(site.registry.tags("endless"), [""; 0]);
    });
}

#[test]
fn a_signal_to_the_whole_group_is_one_signal() {
    for_each_caller(|site| {
        let child = endless(site, "store");
        // As timeout(1) does it: first the program, then everybody.
        kill_process(pid(&child), Signal::TERM).expect("it runs");
        kill_process_group(pid(&child), Signal::TERM).expect("it runs");
        interrupted(site, "store", child);
    });
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_nothing_either() {
    for_each_caller(|site| {
        let child = endless(site, "store");
        for _ in 0..2 {
            // It may be gone before the second.
            let _ = kill_process(pid(&child), Signal::INT);
            sleep(Duration::from_millis(300));
        }
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(130));
        site.nothing_is_left();
        site.verify("store");
    });
}

/// Interrupts a build while the registry keeps it waiting.
fn waiting_for(site: &Site, fault: Match) {
    let context = site.context(
        "pushed",
        "FROM REGISTRY/base:1\nRUN echo pushed > /pushed\n",
    );
    site.registry.fault(fault, Action::Stall { after: None });
    let child = site
        .build("store", "pushed", &context, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    site.until("the registry keeps it waiting", || {
        site.registry.log().iter().any(|request| request.faulted)
    });
    kill_process(pid(&child), Signal::INT).expect("it runs");
    interrupted(site, "store", child);
    assert_eq!(site.registry.tags("pushed"), [""; 0]);
    site.registry.clear_faults();
    site.registry.clear_log();
}

#[test]
fn a_signal_while_the_registry_is_silent() {
    for_each_caller(|site| {
        let manifest = Match::any().endpoint(Endpoint::Manifest);
        waiting_for(site, manifest.clone().repository("base"));
        let blob = Match::any().endpoint(Endpoint::Blob).repository("base");
        waiting_for(site, blob);
        for endpoint in [Endpoint::UploadStart, Endpoint::UploadSession] {
            waiting_for(site, Match::any().endpoint(endpoint));
        }
        waiting_for(site, manifest.repository("pushed"));
        let context = site.path("pushed");
        site.built("store", "pushed", &context, &[]);
        site.image("pushed");
    });
}

/// What a step prints is text, whatever the step would like it to be.
#[test]
fn output_has_no_power_over_terminals_and_agents() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "context",
        "FROM REGISTRY/base:1\n\
         RUN printf '\\033[31mred \\033]52;c;eA==\\007 \\377 a\\rb\\n##vso[task.complete]\\n::add-path::/x\\n'\n\
         RUN head -c 20000000 /dev/zero | tr '\\0' x\n",
    );
    for progress in ["plain", "json", "tty"] {
        let more = ["--progress", progress, "--no-cache"];
        let tag = ["--tag", "REGISTRY/x:1"];
        let context = context.to_str().expect("UTF-8");
        let words = [&more[..], &tag, &[context]].concat();
        let output = site.kiln("build", "store", &words).output();
        let output = output.expect("kiln starts");
        site.success(&output);
        let said = &output.stderr;
        let text = std::str::from_utf8(said).expect("UTF-8, whatever the step printed");
        assert!(said.len() < 1_000_000, "{progress}: {} bytes", said.len());
        for line in text.split(['\n', '\r']) {
            assert!(!line.starts_with("##") && !line.starts_with("::"), "{line}");
            assert!(line.len() < 100_000, "{progress}: {} bytes", line.len());
        }
        if progress != "tty" {
            assert!(!text.contains('\u{1b}'), "{progress}: {text:?}");
        }
        for code in ["\u{1b}[31m", "\u{1b}]52", "\u{7}"] {
            assert!(!text.contains(code), "{progress}: {code:?}");
        }
    }
}
