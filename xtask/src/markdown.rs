//! Rules about markdown: one title per file, links and paths that lead somewhere.

use std::collections::BTreeSet;

use crate::tree::TextFile;

/// Wants exactly one `# ` title.
pub fn titles(text: &str) -> Vec<(usize, String)> {
    let titles: Vec<usize> =
        prose(text).filter(|(_, line)| line.starts_with("# ")).map(|(number, _)| number).collect();
    match titles.as_slice() {
        [_] => Vec::new(),
        [] => vec![(1, "has no title (a line that begins with \"# \")".to_owned())],
        [_, rest @ ..] => rest.iter().map(|line| (*line, "is a second title".to_owned())).collect(),
    }
}

/// Where this repository is read; links there are links into the tree.
const OURS: [&str; 2] =
    ["https://github.com/rstmdb/rstmdb/blob/main/", "https://github.com/rstmdb/rstmdb/tree/main/"];

/// The files of the tree and the folders that they are in.
struct Tree<'a> {
    files: BTreeSet<&'a str>,
    folders: BTreeSet<&'a str>,
}

impl<'a> Tree<'a> {
    fn of(files: &'a [TextFile]) -> Tree<'a> {
        let files: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let ends = files.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]));
        let folders = ends.collect();
        Tree { files, folders }
    }

    fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.files.contains(path) || self.folders.contains(path)
    }
}

/// Links to files of the tree that are not there, or to headings that are not in the file.
pub fn broken_links(files: &[TextFile]) -> Vec<String> {
    let tree = Tree::of(files);
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let ours = OURS.iter().find_map(|prefix| path.strip_prefix(prefix));
            let path = match (ours, path) {
                (Some(path), _) => path.to_owned(),
                (None, "") => file.path.clone(),
                (None, path) => join(&file.path, path),
            };
            let place = format!("{}:{line}", file.path);
            if !tree.has(&path) {
                problems.push(format!("{place}: the link {target} leads nowhere"));
            } else if !anchor.is_empty()
                && let Some(linked) = files.iter().find(|f| f.path == path && path.ends_with(".md"))
                && !anchors(&linked.text).contains(anchor)
            {
                problems.push(format!("{place}: {path} has no heading #{anchor}"));
            }
        }
    }
    problems
}

/// Paths that a page names as code, or another file as a page of `docs`, and that are not in the tree.
pub fn missing_paths(files: &[TextFile]) -> Vec<String> {
    let tree = Tree::of(files);
    let mut problems = Vec::new();
    // What checks pages names some that are not there.
    for file in files.iter().filter(|file| !file.path.starts_with("xtask/")) {
        let named: Vec<(usize, &str)> = match file.path.ends_with(".md") {
            true => prose(&file.text).flat_map(|(line, text)| paths_as_code(line, text)).collect(),
            false => {
                file.text.lines().zip(1..).flat_map(|(text, line)| pages(line, text)).collect()
            }
        };
        for (line, path) in named {
            let top = path.split('/').next().unwrap_or_default();
            if tree.folders.contains(top) && !tree.has(path) {
                problems.push(format!("{}:{line}: {path} is not in the tree", file.path));
            }
        }
    }
    problems
}

/// What stands between marks of code and looks like a path.
fn paths_as_code(line: usize, text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_path = |text: &&str| text.contains('/') && text.chars().all(is_part_of_a_path);
    text.split('`').skip(1).step_by(2).filter(is_path).map(move |path| (line, path))
}

/// Mentions of pages below `docs`.
fn pages(line: usize, text: &str) -> impl Iterator<Item = (usize, &str)> {
    let words = text.split(|c| !is_part_of_a_path(c));
    words
        .filter(|word| word.starts_with("docs/") && word.ends_with(".md"))
        .map(move |page| (line, page))
}

fn is_part_of_a_path(c: char) -> bool {
    c.is_alphanumeric() || "/_-.".contains(c)
}

/// Programs of the first page that nothing runs: each must stand in the page of its language too, whose
/// blocks that language's tests run.
pub fn unproven_blocks(files: &[TextFile]) -> Vec<String> {
    const PROVEN: &[(&str, &str)] = &[("python", "python/README.md"), ("ts", "node/README.md")];
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &*file.text);
    let first = text("README.md").unwrap_or_default();
    let mut problems = Vec::new();
    for (language, page) in PROVEN {
        let proven = blocks(text(page).unwrap_or_default(), language);
        for block in blocks(first, language) {
            if !proven.contains(&block) {
                let begin = block.lines().find(|line| !line.is_empty()).unwrap_or_default();
                problems.push(format!(
                    "README.md: the program that begins with {begin:?} is not in {page}, where it would be run"
                ));
            }
        }
    }
    problems
}

/// What stands between the fences of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let after = text.split(&*fence).skip(1);
    after.filter_map(|rest| rest.split_once("\n```")).map(|(block, _)| block).collect()
}

/// Relative link targets with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target.trim_matches(['<', '>']).to_owned()));
        }
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
        {
            found.push((number, target.trim().to_owned()));
        }
    }
    let elsewhere = |target: &str| {
        let is_ours = OURS.iter().any(|prefix| target.starts_with(prefix));
        (target.contains("://") && !is_ours) || target.starts_with("mailto:") || target.is_empty()
    };
    found.retain(|(_, target)| !elsewhere(target));
    found
}

/// The numbered lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// The line with its `code` blanked.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(i, part)| if i % 2 == 0 { part } else { "" }).collect()
}

/// The anchors that GitHub makes of the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let slug: String = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let repeats = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(repeats).find(|s| !anchors.contains(s));
        anchors.extend(free);
    }
    anchors
}

/// The path of a link in the file `from`, `.` and `..` resolved.
fn join(from: &str, link: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_one_title() {
        assert!(titles("# A\n\n## B\n```sh\n# comment\n```\n").is_empty());
        assert_eq!(titles("text\n").len(), 1);
        assert_eq!(titles("# A\n# B\n# C\n").len(), 2);
    }

    #[test]
    fn follows_relative_links() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let files = [
            file(
                "README.md",
                "[a](docs/a.md) [b](./docs) [c](#the-top) [d](https://x.y/z)\n# The top",
            ),
            file("docs/a.md", "# A\n[up](../README.md#the-top) [code](../src/x.rs \"title\")"),
            file("src/x.rs", ""),
        ];
        assert_eq!(broken_links(&files), Vec::<String>::new());
        let files = [
            file("README.md", "[a](docs/b.md)\n`[x](no.md)` [c](#nope)\n```\n[y](no.md)\n```\n"),
            file("docs/a.md", "# A\n[ref]: ../gone.md\n[up](../docs/a.md#b)"),
        ];
        assert_eq!(
            broken_links(&files),
            [
                "README.md:1: the link docs/b.md leads nowhere",
                "README.md:2: README.md has no heading #nope",
                "docs/a.md:2: the link ../gone.md leads nowhere",
                "docs/a.md:3: docs/a.md has no heading #b",
            ]
        );
    }

    #[test]
    fn follows_links_to_where_the_tree_is_read() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let page = |path: &str| {
            file("node/README.md", &format!("# A\n[a](https://github.com/rstmdb/rstmdb/{path})"))
        };
        let guide = || file("docs/guide.md", "# Guide\n## Part");
        for good in ["blob/main/docs/guide.md#part", "tree/main/docs", "issues"] {
            assert_eq!(broken_links(&[page(good), guide()]), Vec::<String>::new(), "{good}");
        }
        for bad in ["blob/main/docs/gide.md", "blob/main/docs/guide.md#parts", "tree/main/doc"] {
            assert_eq!(broken_links(&[page(bad), guide()]).len(), 1, "{bad}");
        }
    }

    #[test]
    fn finds_paths_that_are_not_there() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let text =
            "# A\n`core/a.rs` `core/b.rs` `core` `a/b` `core/<name>.rs`\n```\n`core/c.rs`\n```\n";
        let files = [
            file("docs/a.md", text),
            file("core/a.rs", "//! See docs/a.md, and `docs/b.md`.\n"),
            file("xtask/a.rs", "docs/c.md"),
        ];
        assert_eq!(
            missing_paths(&files),
            [
                "docs/a.md:2: core/b.rs is not in the tree",
                "core/a.rs:1: docs/b.md is not in the tree",
            ]
        );
    }

    #[test]
    fn programs_of_the_first_page_must_be_run_somewhere() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let page = file("python/README.md", "a\n```python\nimport a\n```\n```python\nb()\n```\n");
        let good = file("README.md", "x\n```python\nb()\n```\n```rust\nc();\n```\n");
        assert!(unproven_blocks(&[page, good]).is_empty());
        let page = file("python/README.md", "```python\nb()\n```\n");
        let bad = file("README.md", "```python\nb(1)\n```\n");
        assert_eq!(unproven_blocks(&[page, bad]).len(), 1);
    }

    #[test]
    fn makes_anchors_as_github_does() {
        let anchors = anchors("# What `x` is, and why\n## A\n## A\n");
        for anchor in ["what-x-is-and-why", "a", "a-1"] {
            assert!(anchors.contains(anchor), "{anchor}");
        }
    }
}
