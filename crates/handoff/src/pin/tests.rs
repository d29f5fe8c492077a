//! What is found where, and that nothing else of a text changes.

use super::{FileKind, find, replace};

/// Every `[name]` in the text is to be found, and every `<name>` to be left with a reason; the
/// brackets are not part of the text.
fn check(kind: FileKind, marked: &str) {
    let text = marked.replace(['[', ']', '⟨', '⟩'], "");
    let found = find(kind, &text);
    let mut again = text;
    let mut marks: Vec<(usize, usize, char, char)> = Vec::new();
    for name in &found.names {
        marks.push((name.place.bytes.start, name.place.bytes.end, '[', ']'));
    }
    for unread in &found.unread {
        assert!(!unread.reason.is_empty());
        marks.push((unread.place.bytes.start, unread.place.bytes.end, '⟨', '⟩'));
    }
    marks.sort_unstable();
    for (start, end, open, close) in marks.into_iter().rev() {
        again.insert(end, close);
        again.insert(start, open);
    }
    assert_eq!(again, marked);
}

#[test]
fn manifests() {
    let yaml = |marked: &str| check(FileKind::Manifest, marked);
    yaml("image: [nginx]\n");
    yaml("spec:\n  containers:\n  - image: [registry.example:5000/a/b:1] # why\n    name: x\n");
    yaml(
        "  - name: x\n    \"image\": \"[a/b:1]\"\r\n    image: '[c@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855]'\n",
    );
    yaml("image:\n  repository: a\n  tag: b\n");
    yaml("image: {repository: a}\n");
    yaml("- - image: [a]\n");
    yaml("image: ⟨{{ .Values.image }}⟩\n");
    yaml("image: ⟨${IMAGE}⟩\n");
    yaml("image: ⟨A/B⟩\n");
    yaml("⟨spec: {image: a, name: b}⟩\n");
    yaml("imagePullPolicy: Always\nmyimage: a\nimage:a\n# image: a\n");
    yaml("data:\n  script: |\n    image: a\n\n    image: b\n  image: [c]\n");
    yaml("list:\n- >-\n  image: a\n- image: [b]\n");
    yaml("image: &anchor a\nother:\n  image: *anchor\n");
    yaml("image: [a]");
}

#[test]
fn dockerfiles() {
    let file = |marked: &str| check(FileKind::Dockerfile, marked);
    file(
        "FROM [golang:1.24] AS build\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=0 /a /a\nCOPY --from=[busybox] /bin/sh /sh\n",
    );
    file(
        "ARG BASE=[golang:1.24]\nFROM $BASE\nFROM ${BASE} AS two\nFROM ⟨$OTHER⟩\nFROM ⟨golang:$V⟩\n",
    );
    file("ARG BASE=\"[golang:1.24]\"\nFROM $BASE\n");
    file(
        "from --platform=linux/arm64 \\\n  [alpine]\nRUN --mount=type=bind,from=[tools:1],target=/t true\n",
    );
    file("FROM [a] as Build\nFROM build\nARG BASE=b\nRUN echo FROM c\n");
    file("FROM ⟨A⟩\n");
}

#[test]
fn nothing_else_changes() {
    let text = "a:\r\n  image: \"x:1\"   # c\n  image: y";
    let found = find(FileKind::Manifest, text);
    let changes: Vec<_> = (found.names.iter())
        .map(|name| {
            (
                name.place.clone(),
                format!("{}@sha256:0", name.place.written),
            )
        })
        .collect();
    assert_eq!(
        replace(text, &changes),
        "a:\r\n  image: \"x:1@sha256:0\"   # c\n  image: y@sha256:0"
    );
    assert_eq!(
        (found.names[1].place.line, found.names[1].place.column),
        (3, 10)
    );
}

#[test]
fn names_tell_kinds() {
    let check = |name: &str, expected: Option<FileKind>| assert_eq!(FileKind::of(name), expected);
    check("Dockerfile", Some(FileKind::Dockerfile));
    check("Dockerfile.debug", Some(FileKind::Dockerfile));
    check("bbr.Dockerfile", Some(FileKind::Dockerfile));
    check("Containerfile", Some(FileKind::Dockerfile));
    check("deployment.yaml", Some(FileKind::Manifest));
    check("dockerfile.yml", Some(FileKind::Manifest));
    check("main.go", None);
}
