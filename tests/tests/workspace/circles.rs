//! No two files of a source folder need each other, directly or through others.
//!
//! A file needs another if it has a `use` of it or a path into it: `crate::…`, `super::…`, `self::…`, or the name of a module
//! below. A path to what the crate's root re-exports leads to the file that the root has it from. Tests are not looked at, and
//! the root (`lib.rs`, `main.rs`) stands above all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

const FOLDERS: [&str; 5] =
    ["core/src", "core/scan/src", "core/http/src", "native-server/src", "edge-worker/src"];

#[test]
fn no_two_files_need_each_other() -> Result<()> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for circle in circles(&tests::root().join(folder))? {
            found.push(format!("{folder}: {}", circle.join(" ")));
        }
    }
    assert!(found.is_empty(), "these files need each other:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn a_circle_is_seen_whatever_way_it_is_closed_and_comments_and_tests_close_none() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("pgspan-circles-{}", std::process::id()));
    let circles_of = |files: &[(&str, &str)]| -> Result<Vec<Vec<String>>> {
        let _ = fs::remove_dir_all(&folder);
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(path, text)?;
        }
        circles(&folder)
    };
    let root = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::{self, B as Bee};");
    let closing = [
        ("use crate::b::B;", "use crate::a::A;"),
        ("use crate::{b::B};", "fn f() { let _ = super::a::A; }"),
        ("use crate::Bee;", "macro_rules! m { () => { $crate::a::A } }"),
        ("fn f() { vec![crate::b::B] }", "impl super::A {}"),
        ("mod inner { use super::super::b::B; }", "use crate::{Other, A as First};"),
    ];
    for (a, b) in closing {
        assert_eq!(circles_of(&[root, ("a.rs", a), ("b.rs", b)])?, [["a.rs", "b.rs"]], "{a} {b}");
    }
    for (a, b) in [
        ("use crate::b::B;", "// use crate::a::A;\n/// [`A`](crate::a::A)\nstruct B;"),
        ("use crate::b::B;", "#[cfg(test)] mod tests { use crate::a::A; } struct B;"),
        ("use crate::b::B;", "#[cfg(test)] use crate::a::A; const C: &str = \"crate::a::A\";"),
        ("use other::b::B;", "use other::a::A;"),
    ] {
        assert!(circles_of(&[root, ("a.rs", a), ("b.rs", b)])?.is_empty(), "{a} {b}");
    }
    let above = ("a.rs", "mod c; fn f() { c::g() }");
    assert_eq!(circles_of(&[root, above, ("a/c.rs", "use super::A;")])?, [["a.rs", "a/c.rs"]]);
    assert_eq!(circles_of(&[root, above, ("a/c.rs", "use crate::a::A;")])?, [["a.rs", "a/c.rs"]]);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The name of a module, from the root on; the root's is empty.
type Module = Vec<String>;

/// The groups of files that need each other.
fn circles(folder: &Path) -> Result<Vec<Vec<String>>> {
    let mut files = BTreeMap::new();
    list(folder, &Vec::new(), &mut files)?;
    let modules: BTreeSet<Module> = files.values().cloned().collect();
    let mut paths = BTreeMap::new();
    for (file, module) in &files {
        let text = fs::read_to_string(folder.join(file))?;
        let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{file}: {error}"))?;
        let mut read = Reader { modules: &modules, paths: Vec::new() };
        read.tokens(module, tokens);
        paths.entry(module.clone()).or_insert_with(Vec::new).append(&mut read.paths);
    }
    let exported: BTreeMap<String, Module> = paths
        .get(&Module::new())
        .into_iter()
        .flatten()
        .map(|path| (path.name.clone(), path.to.clone()))
        .collect();
    let needs: BTreeMap<&Module, BTreeSet<Module>> = paths
        .iter()
        .filter(|(module, _)| !module.is_empty())
        .map(|(module, paths)| {
            let needed = paths.iter().filter_map(|path| {
                let through_root = path.to.first().and_then(|name| exported.get(name));
                let found = longest(&modules, &path.to).or_else(|| longest(&modules, through_root?))?;
                (found != *module).then_some(found)
            });
            (module, needed.collect())
        })
        .collect();
    let mut circles = BTreeSet::new();
    for module in needs.keys() {
        let back = |other: &&Module| reached(&needs, other).contains(*module);
        let circle: BTreeSet<&Module> = needs
            .keys()
            .copied()
            .filter(|other| reached(&needs, module).contains(*other))
            .filter(back)
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let name = |module: &&Module| {
        files.iter().find(|(_, found)| found == module).map(|(file, _)| file.clone()).unwrap_or_default()
    };
    Ok(circles.iter().map(|circle| circle.iter().map(name).collect()).collect())
}

/// Every source file with its module, tests aside.
fn list(folder: &Path, module: &Module, files: &mut BTreeMap<String, Module>) -> Result<()> {
    let here = if module.is_empty() { String::new() } else { format!("{}/", module.join("/")) };
    for entry in fs::read_dir(folder.join(&here))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let below = |name: &str| [module.as_slice(), &[name.to_owned()]].concat();
        if entry.file_type()?.is_dir() {
            list(folder, &below(&name), files)?;
        }
        match name.strip_suffix(".rs") {
            Some("lib" | "main" | "mod") => files.insert(format!("{here}{name}"), module.clone()),
            Some("tests") | None => None,
            Some(stem) => files.insert(format!("{here}{name}"), below(stem)),
        };
    }
    Ok(())
}

/// The module whose file this path leads into; none if that is the root's.
fn longest(modules: &BTreeSet<Module>, path: &Module) -> Option<Module> {
    let ends = (1..=path.len()).rev().filter_map(|end| path.get(..end));
    ends.map(<[String]>::to_vec).find(|start| modules.contains(start))
}

/// All that a module needs, and what those need.
fn reached(needs: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut next = vec![from.clone()];
    while let Some(module) = next.pop() {
        for needed in needs.get(&module).into_iter().flatten() {
            if found.insert(needed.clone()) {
                next.push(needed.clone());
            }
        }
    }
    found
}

/// A path that was found, and the name it has from then on.
struct Found {
    name: String,
    to: Module,
}

struct Reader<'m> {
    modules: &'m BTreeSet<Module>,
    paths: Vec<Found>,
}

impl Reader<'_> {
    /// Reads what stands in this module.
    fn tokens(&mut self, module: &Module, tokens: TokenStream) {
        let all: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = all.get(at) {
            let rest = all.get(at..).unwrap_or_default();
            at += 1;
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' && is_test(rest.get(1)) => {
                    at += 1 + rest.iter().skip(2).position(ends_an_item).map_or(rest.len(), |end| end + 1);
                }
                TokenTree::Ident(word) if *word == "use" => {
                    let end = rest.iter().position(is_semicolon).unwrap_or(rest.len());
                    self.tree(module, &Vec::new(), rest.get(1..end).unwrap_or_default());
                    at += end;
                }
                TokenTree::Ident(word) if *word == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                        (rest.get(1), rest.get(2))
                    {
                        self.tokens(&[module.as_slice(), &[name.to_string()]].concat(), body.stream());
                        at += 2;
                    }
                }
                TokenTree::Ident(_) => {
                    let path = path(rest);
                    let used = 3 * path.len().saturating_sub(1); // a name and two colons each
                    if path.len() > 1 {
                        self.found(module, &path, path.last().cloned().unwrap_or_default());
                    }
                    at += used;
                }
                TokenTree::Group(group) => self.tokens(module, group.stream()),
                _ => {}
            }
        }
    }

    /// The paths of a `use`.
    fn tree(&mut self, module: &Module, before: &[String], tokens: &[TokenTree]) {
        let path = path(tokens);
        let mut rest = tokens.get(3 * path.len().saturating_sub(1)..).unwrap_or_default();
        let whole: Vec<String> = [before, &path].concat();
        if !path.is_empty() {
            rest = rest.get(1..).unwrap_or_default();
        }
        let colons = rest.iter().take_while(|token| is(token, ':')).count();
        match rest.get(colons) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is(token, ',')).filter(|part| !part.is_empty()) {
                    self.tree(module, &whole, part);
                }
            }
            Some(TokenTree::Ident(word)) if *word == "as" => {
                let name = rest.get(colons + 1).map(ToString::to_string).unwrap_or_default();
                self.found(module, &whole, name);
            }
            _ => {
                let named = whole.iter().rfind(|name| *name != "self");
                self.found(module, &whole, named.cloned().unwrap_or_default());
            }
        }
    }

    /// Notes a path that leads into this crate.
    fn found(&mut self, module: &Module, path: &[String], name: String) {
        let Some((first, mut rest)) = path.split_first() else { return };
        let mut to = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module.iter().take(module.len().saturating_sub(1)).cloned().collect(),
            child => {
                let below = [module.as_slice(), &[child.to_owned()]].concat();
                if !self.modules.contains(&below) {
                    return;
                }
                below
            }
        };
        while let Some(("super", more)) = rest.split_first().map(|(first, more)| (first.as_str(), more)) {
            to.pop();
            rest = more;
        }
        to.extend(rest.iter().filter(|name| *name != "self").cloned());
        self.paths.push(Found { name, to });
    }
}

/// The names at the start, joined by `::`.
fn path(tokens: &[TokenTree]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let Some(TokenTree::Ident(name)) = rest.first() {
        names.push(name.to_string());
        rest = match rest {
            [_, one, other, next @ ..]
                if is(one, ':') && is(other, ':') && matches!(next.first(), Some(TokenTree::Ident(_))) =>
            {
                next
            }
            _ => break,
        };
    }
    names
}

fn is(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_semicolon(token: &TokenTree) -> bool {
    is(token, ';')
}

/// Whether an item can end here.
fn ends_an_item(token: &TokenTree) -> bool {
    is_semicolon(token) || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// `[cfg(test)]`
fn is_test(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    group.stream().to_string().replace(' ', "") == "cfg(test)"
}
