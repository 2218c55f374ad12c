//! No circles between the files of a crate.
//!
//! A file imports another when it names a path into its module. A part may name its whole: what a
//! module says about its own children's `super` is no import. Everything else that leads back to
//! where it came from is a circle; what both ends need belongs into a file of its own.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::Outcome;
use crate::tree::{self, TextFile};

/// The modules of a crate by path, and the file of each.
type Modules<'a> = BTreeMap<Vec<String>, &'a TextFile>;

/// Who imports whom, by module path, and a name by which it does.
type Imports = BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>>;

/// Looks at every crate of the repository.
pub fn check() -> Outcome {
    let files = tree::text_files();
    let folders = files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    let mut problems = Vec::new();
    let mut edges = 0;
    for folder in folders {
        let modules = modules(&files, &format!("{folder}/src/"));
        let imports = imports(&modules).map_err(|problem| vec![problem])?;
        edges += imports.values().map(BTreeMap::len).sum::<usize>();
        let name = |path: &Vec<String>| -> String {
            modules.get(path).map_or(String::new(), |file| file.path.clone())
        };
        problems.extend(circles(&imports).iter().map(|circle| told(circle, &imports, &name)));
    }
    match problems.is_empty() {
        true => Ok(format!("{edges} imports between files, no circle")),
        false => Err(problems),
    }
}

/// A circle with the imports that make it.
fn told(
    circle: &BTreeSet<Vec<String>>,
    imports: &Imports,
    name: &impl Fn(&Vec<String>) -> String,
) -> String {
    let mut text =
        "files that import each other; what both need belongs into one of its own".to_owned();
    for from in circle {
        for (to, what) in imports.get(from).into_iter().flatten() {
            if circle.contains(to) {
                text.push_str(&format!("\n    {} -> {}: {what}", name(from), name(to)));
            }
        }
    }
    text
}

fn modules<'a>(files: &'a [TextFile], source: &str) -> Modules<'a> {
    let mut modules = Modules::new();
    for file in files {
        let Some(path) = file.path.strip_prefix(source).and_then(|p| p.strip_suffix(".rs")) else {
            continue;
        };
        let mut path: Vec<String> = path.split('/').map(str::to_owned).collect();
        match path.last().map(String::as_str) {
            Some("tests") => continue,
            // A program beside the library is a crate of its own.
            _ if path.first().is_some_and(|first| first == "bin") => continue,
            Some("mod") => drop(path.pop()),
            Some("lib" | "main") if path.len() == 1 => path.clear(),
            _ => {}
        }
        // The library comes before the program of the same crate.
        modules.entry(path).or_insert(file);
    }
    modules
}

fn imports(modules: &Modules) -> Result<Imports, String> {
    let mut imports = Imports::new();
    for (module, file) in modules {
        let tokens: TokenStream = file.text.parse().map_err(|e| format!("{}: {e}", file.path))?;
        let children =
            modules.keys().filter(|path| path.split_last().is_some_and(|(_, p)| p == module));
        let children = children.filter_map(|path| path.last().cloned()).collect();
        let mut reader = Reader { module: module.clone(), children, paths: Vec::new() };
        reader.read(tokens);
        let found = imports.entry(module.clone()).or_default();
        for path in reader.paths {
            let mut length = path.len();
            while length > 0 && !modules.contains_key(&path[..length]) {
                length -= 1;
            }
            let (target, rest) = path.split_at(length);
            // A part may name its whole.
            if !module.starts_with(target) {
                found.insert(target.to_vec(), rest.join("::"));
            }
        }
    }
    Ok(imports)
}

/// Collects the paths of a file that lead into its crate.
struct Reader {
    module: Vec<String>,
    children: BTreeSet<String>,
    paths: Vec<Vec<String>>,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..] =
                &tokens[at..]
                && word == "mod"
            {
                // A module within the file, but not its tests.
                if name != "tests" {
                    self.module.push(name.to_string());
                    self.read(body.stream());
                    self.module.pop();
                }
                at += 3;
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Ident(first)
                    if is_colons(&tokens[at + 1..]) && !follows_path(&tokens[..at]) =>
                {
                    let first = first.to_string();
                    if ["crate", "super", "self"].contains(&first.as_str())
                        || self.children.contains(&first)
                    {
                        at = self.path(&tokens, at, Vec::new());
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads a path, or a tree of paths, that begins here, and says where it ends.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, mut before: Vec<String>) -> usize {
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(name)) => before.push(name.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut inside = 0;
                    while inside < inner.len() {
                        inside = self.path(&inner, inside, before.clone()).max(inside + 1);
                    }
                    return at + 1;
                }
                _ => {}
            }
            at += 1;
            if !is_colons(tokens.get(at..).unwrap_or_default()) {
                self.resolve(before);
                return at;
            }
            at += 2;
        }
    }

    /// Keeps a path as one from the root of the crate.
    fn resolve(&mut self, path: Vec<String>) {
        let mut base = self.module.clone();
        let mut rest = path.as_slice();
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            rest = more;
        }
        base.extend(rest.iter().cloned());
        self.paths.push(base);
    }
}

/// Whether two colons stand here.
fn is_colons(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..] if a.as_char() == ':' && b.as_char() == ':')
}

/// Whether what comes next goes on a path, or is the crate of another macro.
fn follows_path(before: &[TokenTree]) -> bool {
    matches!(before.last(), Some(TokenTree::Punct(last)) if [':', '$'].contains(&last.as_char()))
}

/// The sets of modules each of which reaches all others of its set.
fn circles(imports: &Imports) -> Vec<BTreeSet<Vec<String>>> {
    let reached: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> =
        imports.keys().map(|module| (module, reach(imports, module))).collect();
    let mut found: Vec<BTreeSet<Vec<String>>> = Vec::new();
    for (module, reach) in &reached {
        if !reach.contains(module) || found.iter().any(|circle| circle.contains(*module)) {
            continue;
        }
        let back =
            reach.iter().filter(|other| reached.get(*other).is_some_and(|r| r.contains(module)));
        found.push(back.map(|other| (*other).clone()).collect());
    }
    found
}

fn reach<'a>(imports: &'a Imports, module: &Vec<String>) -> BTreeSet<&'a Vec<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Vec<String>> =
        imports.get(module).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(imports.get(next).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<BTreeSet<Vec<String>>> {
        let files: Vec<TextFile> = files
            .iter()
            .map(|(path, text)| TextFile { path: format!("c/src/{path}"), text: (*text).into() })
            .collect();
        circles(&imports(&modules(&files, "c/src/")).unwrap())
    }

    #[test]
    fn files_that_lead_back_to_each_other_are_a_circle() {
        let circle =
            [("a.rs", "use crate::{x::Y, b::{self, C}};"), ("b.rs", "fn f() { super::a::g() }")];
        assert_eq!(found(&circle).len(), 1);
        assert_eq!(found(&circle)[0].len(), 2);
        let three = [
            ("a/mod.rs", "mod part; pub use part::P;"),
            ("a/part.rs", "use super::Whole; use crate::b::B;"),
            ("b.rs", "use crate::a::P;"),
        ];
        assert_eq!(found(&three)[0].len(), 3);
    }

    #[test]
    fn a_part_may_name_its_whole_and_tests_may_name_all() {
        let files = [
            ("lib.rs", "mod a; pub use a::A;"),
            ("a.rs", "mod part; use part::P; pub struct A;"),
            ("a/part.rs", "use super::A; use crate::A as B;"),
            ("b.rs", "pub fn b() {} #[cfg(test)] mod tests { use crate::c::c; }"),
            ("c.rs", "pub fn c() { crate::b::b() } // crate::c"),
        ];
        assert!(found(&files).is_empty(), "{:?}", found(&files));
    }

    #[test]
    fn other_crates_are_no_files_of_this_one() {
        let files = [
            ("a.rs", "use std::b::C; macro_rules! m { () => { $crate::b::x() } }"),
            ("b.rs", "use crate::a;"),
        ];
        assert!(found(&files).is_empty());
    }
}
