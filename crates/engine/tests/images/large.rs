//! Contexts of which hardly anything is wanted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::inotify;

use crate::Bench;

/// Files in the tree. The promise is about 200,000; what is never opened costs the same.
const FILES: usize = 20_000;

/// Hears of every directory that is opened, of those that it was told.
pub(crate) struct Ears(rustix::fd::OwnedFd);

impl Ears {
    pub(crate) fn new(directories: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let ears = inotify::init(flags).unwrap();
        let open = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
        for directory in directories {
            inotify::add_watch(&ears, directory.as_ref(), open).unwrap();
        }
        Self(ears)
    }

    /// The names of files that were opened or read, of those in the directories.
    pub(crate) fn heard_of_files(&self) -> Vec<String> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = reader.next() {
            let is_directory = event.events().contains(inotify::ReadFlags::ISDIR);
            if let Some(name) = event.file_name().filter(|_| !is_directory) {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names
    }

    fn heard(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut heard = 0;
        while reader.next().is_ok() {
            heard += 1;
        }
        heard
    }
}

/// Rows: D10
#[test]
fn what_is_ignored_is_not_walked() {
    let bench = Bench::new();
    let root = bench.context.path();
    let ignored: Vec<_> = (0..FILES / 100)
        .map(|number| root.join(format!("node_modules/package{number}")))
        .collect();
    for directory in &ignored {
        fs::create_dir_all(directory).unwrap();
        for number in 0..100 {
            fs::write(directory.join(number.to_string()), "").unwrap();
        }
    }
    let mut expected = vec!["d0755 0:0 0 n".to_owned()];
    for number in 0..10 {
        bench.file(&format!("wanted{number}"));
        expected.push(format!("-0644 0:0 7 n/wanted{number}"));
    }
    let sealed = root.join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o000)).unwrap();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();

    let watched = ignored.iter().take(100).chain([&sealed]);
    let ears = Ears::new(watched.chain([&root.join("node_modules")]));
    bench.file(".dockerignore: *\n!wanted*\n");
    bench.check("COPY . /n/", &expected);
    bench.file(".dockerignore: node_modules\nsealed\n.dockerignore\n");
    bench.check("COPY . /n/", &expected);
    bench.file(".dockerignore: .dockerignore\n");
    bench.check(
        "COPY --exclude=node_modules --exclude=sealed . /n/",
        &expected,
    );
    bench.check("COPY --parents wanted* /n/", &expected);
    bench.check("COPY wanted* /n/", &expected);
    assert_eq!(ears.heard(), 0, "directories were opened");
    // The ears are not deaf.
    bench.build("FROM BASE\nCOPY node_modules /n/\n").unwrap();
    assert!(ears.heard() > 0);
}
