//! `migrations!`: a folder of SQL files, read when the program is compiled.

use std::fs;
use std::path::Path;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr};

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream, Error> {
    let folder: LitStr = syn::parse2(input)?;
    let fault = |text: String| Error::new(folder.span(), text);
    let root =
        std::env::var("CARGO_MANIFEST_DIR").map_err(|_| fault("cargo does not build this".to_owned()))?;
    let path = Path::new(&root).join(folder.value());
    let migrations = read(&path).map_err(fault)?;
    let migrations = migrations.iter().map(|Migration { version, name, path }| {
        // `include_str!`, so that cargo sees when a file changes
        quote!(::pgspan_server::migrate::Migration {
            version: #version,
            name: #name,
            sql: ::core::include_str!(#path),
        })
    });
    Ok(quote!(&[#(#migrations),*] as &'static [::pgspan_server::migrate::Migration]))
}

#[derive(Debug, PartialEq, Eq)]
struct Migration {
    version: i64,
    name: String,
    path: String,
}

/// The migrations in this folder, in the order of their numbers; or what is wrong with it.
fn read(folder: &Path) -> Result<Vec<Migration>, String> {
    let unreadable =
        |error: std::io::Error| format!("the folder {} can't be read: {error}", folder.display());
    let mut all: Vec<Migration> = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !file.ends_with(".sql") {
            continue; // a README, say
        }
        let Some((version, name)) = parse(&file) else {
            return Err(format!(
                "{file} must be called as in 0001_users.sql: a number above 0, `_`, and a name"
            ));
        };
        if let Some(other) = all.iter().find(|other| other.version == version) {
            return Err(format!("{file} has the number of {version:04}_{}.sql", other.name));
        }
        let path = path.to_str().ok_or(format!("the path of {file} is not UTF-8"))?.to_owned();
        all.push(Migration { version, name: name.to_owned(), path });
    }
    if all.is_empty() {
        return Err(format!("the folder {} has no .sql file", folder.display()));
    }
    all.sort_by_key(|migration| migration.version);
    Ok(all)
}

fn parse(file: &str) -> Option<(i64, &str)> {
    let (version, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let digits = version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|version| digits && *version > 0)?;
    (!name.is_empty()).then_some((version, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(name: &str, files: &[&str]) -> Result<Vec<(i64, String)>, String> {
        let folder = std::env::temp_dir().join(format!("pgspan-migrations-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::write(folder.join(file), "").unwrap();
        }
        let read = read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        Ok(read?.into_iter().map(|migration| (migration.version, migration.name)).collect())
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_numbers() {
        let read =
            read_of("order", &["0010_ten.sql", "0002_two_words.sql", "1_one.sql", "README.md"]).unwrap();
        assert_eq!(read, [(1, "one".to_owned()), (2, "two_words".to_owned()), (10, "ten".to_owned())]);
    }

    #[test]
    fn what_is_called_otherwise_or_has_a_number_twice_is_refused() {
        for (number, file) in [
            "users.sql",
            "_users.sql",
            "0001_.sql",
            "0000_a.sql",
            "-1_a.sql",
            "+1_a.sql",
            "1.sql",
            "99999999999999999999_a.sql",
        ]
        .iter()
        .enumerate()
        {
            let refused = read_of(&format!("called-{number}"), &[file]).unwrap_err();
            assert!(refused.contains("must be called as in 0001_users.sql"), "{file}: {refused}");
        }
        let refused = read_of("twice", &["0001_a.sql", "1_b.sql"]).unwrap_err();
        assert!(refused.contains("has the number of"), "{refused}");
        assert!(read_of("empty", &["README.md"]).unwrap_err().contains("no .sql file"));
        assert!(read(Path::new("/no/such/folder")).unwrap_err().contains("can't be read"));
    }
}
