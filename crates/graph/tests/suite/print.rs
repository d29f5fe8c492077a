//! Graphs as text, for people to review.

use std::fmt::Write;

use dockerfile::chown::Identity;
use dockerfile::{Diagnostic, LineColumn, Severity};
use graph::{
    BuildGraph, ContextName, CopySource, FileSource, HistoryEntry, InlineFile, Lowered, MountOwner,
    Origin, RunMountKind, RunSecurity, Step, StepKind, Unpack, Variable,
};

pub(crate) fn lowered(text: &str, lowered: &Lowered, images: &[String]) -> String {
    let mut output = String::new();
    output.push_str("images\n");
    for image in images {
        writeln!(output, "  {image}").expect("a string");
    }
    output.push_str("steps\n");
    let graph = &lowered.graph;
    for id in graph.ids() {
        let step = graph.step(id);
        let at = LineColumn::of(text, step.span);
        write!(output, "  {id}").expect("a string");
        if let Some(parent) = step.parent {
            write!(output, " on {parent}").expect("a string");
        }
        writeln!(output, " line {} {}: {}", at.line, step.stage, step.title).expect("a string");
        for line in details(step) {
            writeln!(output, "    {line}").expect("a string");
        }
    }
    output.push_str("target ");
    output.push_str(&target(graph));
    output.push_str(&findings(text, &lowered.warnings));
    output
}

pub(crate) fn findings(text: &str, findings: &[Diagnostic]) -> String {
    let mut output = String::new();
    for finding in findings {
        let at = LineColumn::of(text, finding.span);
        let severity = match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let shown = finding.span.of(text).replace('\n', "⏎");
        writeln!(
            output,
            "{severity} {}:{} `{shown}`: {} ({})",
            at.line, at.column, finding.message, finding.label
        )
        .expect("a string");
        if let Some(help) = &finding.help {
            writeln!(output, "  help: {help}").expect("a string");
        }
    }
    output
}

fn details(step: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    match &step.origin {
        Origin::Dockerfile => {}
        Origin::Onbuild { reference, text } => {
            let from = reference
                .as_ref()
                .map_or("a stage".to_owned(), |r| r.familiar());
            lines.push(format!("trigger of {from}: {text:?}"));
        }
    }
    if step.ignores_cache {
        lines.push("ignores the cache".to_owned());
    }
    match &step.kind {
        StepKind::Scratch => {}
        StepKind::Base(base) => lines.push(format!("{} layers", base.layers.len())),
        StepKind::Run(run) => {
            lines.push(format!("argv {:?}", run.argv));
            lines.extend(run.env.iter().map(|one| variable("env", one)));
            lines.extend(run.hidden_env.iter().map(|one| variable("hidden", one)));
            lines.push(format!("cwd {} user {:?}", run.cwd, run.user));
            lines.push(format!(
                "network {} on {}",
                run.network.name(),
                run.platform
            ));
            for host in &run.extra_hosts {
                lines.push(format!("host {} {}", host.name, host.address));
            }
            lines.extend(run.files.iter().map(inline));
            lines.extend(run.mounts.iter().map(|one| mount(&one.kind)));
            if run.security != RunSecurity::Sandbox {
                lines.push(format!("security {}", run.security.name()));
            }
            if let Some(name) = &run.hostname {
                lines.push(format!("hostname {name}"));
            }
        }
        StepKind::Copy(copy) => {
            for source in &copy.sources {
                lines.push(match source {
                    CopySource::Files {
                        from,
                        pattern,
                        pivot,
                        ..
                    } => {
                        let after = match copy.parents {
                            true => format!(" after {pivot}"),
                            false => String::new(),
                        };
                        match from {
                            FileSource::Context(ContextName::Main(_)) => {
                                format!("context {pattern:?}{after}")
                            }
                            FileSource::Context(ContextName::Named(_, name)) => {
                                format!("context {name} {pattern:?}{after}")
                            }
                            FileSource::Step(step) => format!("from {step} {pattern:?}{after}"),
                        }
                    }
                    CopySource::Url(url) => format!("{url:?}"),
                    CopySource::Git(git) => format!("{git:?}"),
                    CopySource::Inline(file) => inline(file),
                });
            }
            let directory = if copy.destination_is_directory {
                " (directory)"
            } else {
                ""
            };
            lines.push(format!("to {}{directory}", copy.destination));
            if let Some(owner) = &copy.chown {
                let owner = &owner.value;
                let identity = |identity: &Identity| match identity {
                    Identity::Id(id) => format!("id {id}"),
                    Identity::Name(name) => format!("name {name}"),
                };
                let group = owner.group.as_ref().map_or("none".to_owned(), identity);
                lines.push(format!("user {}, group {group}", identity(&owner.user)));
            }
            if let Some(mode) = &copy.chmod {
                lines.push(format!("mode {}", mode.text));
            }
            if copy.unpack != Unpack::Nothing {
                lines.push("unpack".to_owned());
            }
            if copy.parents {
                lines.push("parents".to_owned());
            }
            lines.extend(copy.excludes.iter().map(|one| format!("without {one:?}")));
        }
        StepKind::Merge(layer) => lines.push(format!("layer of {layer}")),
        StepKind::Workdir(workdir) => {
            lines.push(format!("path {} user {:?}", workdir.path, workdir.user));
        }
    }
    lines
}

fn mount(kind: &RunMountKind) -> String {
    let owner = |owner: &MountOwner| format!("{:04o} {}:{}", owner.mode, owner.uid, owner.gid);
    let option = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    match kind {
        RunMountKind::Bind {
            target,
            from,
            path,
            writable,
        } => {
            let writable = if *writable { " writable" } else { "" };
            format!("bind {target} from {} {path:?}{writable}", whose(from))
        }
        RunMountKind::Cache {
            target,
            id,
            sharing,
            seed,
            owner: of,
            read_only,
        } => {
            let seed = seed.as_ref();
            let seed = seed.map(|(from, path)| format!(" seed {} {path:?}", whose(from)));
            let read_only = if *read_only { " read-only" } else { "" };
            format!(
                "cache {target} id {id:?} {} {}{}{read_only}",
                sharing.name(),
                owner(of),
                seed.unwrap_or_default()
            )
        }
        RunMountKind::Tmpfs { target, bytes_max } => format!("tmpfs {target} {bytes_max:?}"),
        RunMountKind::Secret {
            id,
            target,
            variable,
            owner: of,
            required,
        } => {
            let required = if *required { " required" } else { "" };
            format!(
                "secret {id:?} file {} variable {} {}{required}",
                option(target),
                option(variable),
                owner(of)
            )
        }
        RunMountKind::Ssh {
            id,
            target,
            owner: of,
            required,
        } => {
            let required = if *required { " required" } else { "" };
            format!("ssh {id:?} at {} {}{required}", option(target), owner(of))
        }
    }
}

fn whose(from: &FileSource) -> String {
    match from {
        FileSource::Context(ContextName::Main(_)) => "context".to_owned(),
        FileSource::Context(ContextName::Named(_, name)) => format!("context {name}"),
        FileSource::Step(step) => step.to_string(),
    }
}

fn variable(kind: &str, variable: &Variable) -> String {
    format!("{kind} {}={:?}", variable.name, variable.value)
}

fn inline(file: &InlineFile) -> String {
    format!("inline {} {:?}", file.name, file.content)
}

fn target(graph: &BuildGraph) -> String {
    let target = &graph.targets[0];
    let mut output = format!("{}\n", target.step);
    let config = serde_json::to_string_pretty(&target.config).expect("plain data");
    output.push_str(&config);
    output.push_str("\nhistory\n");
    for entry in &target.history {
        match entry {
            HistoryEntry::Base(entry) => {
                let layer = if entry.empty_layer { "-" } else { "layer" };
                let by = entry.created_by.as_deref().unwrap_or("?");
                writeln!(output, "  base {layer} {by}").expect("a string");
            }
            HistoryEntry::Made {
                created_by, layer, ..
            } => {
                let layer = layer.map_or("-".to_owned(), |step| step.to_string());
                writeln!(output, "  {layer} {}", created_by.replace('\n', "⏎")).expect("a string");
            }
        }
    }
    output
}
