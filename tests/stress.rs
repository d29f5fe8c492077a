//! Kills, and several programs on one store. `KILN_KILLS` says how many builds are killed; 8 when
//! it is not set. `KILN_SEED` has the moments again that a failure printed.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::{Caller, Site, line};

/// Steps in two stages, with processes in the background, files that are large for a test, and
/// deletions.
fn dockerfile(mark: &str) -> String {
    format!(
        "FROM REGISTRY/base:1 AS one\n\
         RUN sleep 0.2{mark}; for n in 1 2 3; do cat /bin/busybox > /one-$n; done\n\
         FROM REGISTRY/base:1 AS two\n\
         RUN (sleep 9{mark} &) ; sleep 0.1{mark}; dd if=/dev/zero of=/two bs=1M count=8 2>/dev/null\n\
         FROM REGISTRY/base:1\n\
         RUN sleep 0.1{mark}; rm -r /data; mkdir -p /d/e; echo x > /d/x; ln /d/x /d/e/y\n\
         COPY --from=one /one-1 /one-2 /d/\n\
         COPY --from=two /two /d/\n\
         RUN sleep 0.1{mark}; mv /d/one-1 /d/three\n"
    )
}

/// The number in a variable, or what is used without it.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Numbers that look like chance (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn killed(caller: Caller) {
    let Some(site) = Site::new(caller) else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let seed = number("KILN_SEED", now.as_nanos() as u64 | 1);
    eprintln!("KILN_SEED={seed}");
    let mut chance = Chance(seed);
    let context = site.context("context", &dockerfile(&site.mark()));
    let begin = Instant::now();
    let digest = site.built("calm", "calm", &context, &[]);
    let duration = begin.elapsed().as_micros() as u64;
    for round in 0..number("KILN_KILLS", 8) {
        let repository = format!("round-{round}");
        let mut child = site
            .build("store", &repository, &context, &["--no-cache"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kiln starts");
        let moment = chance.below(duration * 11 / 10);
        sleep(Duration::from_micros(moment));
        kill_process(Pid::from_child(&child), Signal::KILL).expect("not waited for yet");
        child.wait().expect("an end");
        site.nothing_is_left();
        if !site.registry.tags(&repository).is_empty() {
            assert_eq!(site.image(&repository).digest.as_str(), digest);
        }
        let again = site.built("store", &repository, &context, &[]);
        assert_eq!(again, digest, "round {round}, killed after {moment} µs");
        assert_eq!(site.image(&repository).digest.as_str(), digest);
        site.verify("store");
    }
    site.nothing_is_left();
}

#[test]
fn a_build_that_was_killed_leaves_nothing_in_the_way() {
    killed(Caller::Ourselves);
}

#[test]
fn a_build_of_an_ordinary_user_that_was_killed() {
    killed(Caller::Ordinary);
}

#[test]
fn programs_that_share_a_store_do_not_disturb_each_other() {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        let Some(site) = Site::new(caller) else {
            continue;
        };
        let mark = site.mark();
        let same = site.context("same", &dockerfile(&mark));
        let other = site.context(
            "other",
            "FROM REGISTRY/base:1\nRUN rm -r /data; echo other > /other\nRUN cat /other > /more\n",
        );
        let alone = site.built("alone", "alone", &same, &[]);
        let other_alone = site.built("alone", "alone-other", &other, &[]);
        for (round, more) in [&[][..], &["--no-cache"], &[]].iter().enumerate() {
            let start = |name: &str, context| {
                let repository = format!("{name}-{round}");
                let child = site
                    .build("store", &repository, context, more)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn();
                child.expect("kiln starts")
            };
            let running = [
                (start("one", &same), &alone),
                (start("two", &same), &alone),
                (start("three", &other), &other_alone),
                (start("two", &same), &alone),
            ];
            for (child, digest) in running {
                let output = child.wait_with_output().expect("an end");
                assert_eq!(site.success(&output), *digest, "round {round}");
            }
        }
        site.verify("store");
        site.nothing_is_left();
    }
}

#[test]
fn more_layers_than_the_options_of_a_mount_have_room_for() {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        let Some(site) = Site::new(caller) else {
            continue;
        };
        let mut text = "FROM REGISTRY/base:1\n".to_owned();
        for number in 0..200 {
            text.push_str(&format!("WORKDIR /many/{number:0100}\n"));
        }
        text.push_str("RUN ls /many | wc -l > /count; rm -r /many\n");
        let context = site.context("context", &text);
        site.built("store", "many", &context, &[]);
        let image = site.image("many");
        let last = image.layers.last().expect("layers");
        let lines: Vec<_> = last.entries.iter().map(line).collect();
        assert_eq!(
            lines,
            ["-0644 0:0 4 count \"200\\n\"", "-0000 0:0 0 .wh.many"]
        );
    }
}
