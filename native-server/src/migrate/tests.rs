use super::*;

#[test]
fn the_embedded_migrations_are_those_in_the_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let embedded: Vec<String> =
        MIGRATIONS.iter().map(|Migration { version, name, .. }| format!("{version:04}_{name}.sql")).collect();
    assert_eq!(embedded, files);
}

#[test]
fn a_migrations_checksum_does_not_depend_on_line_ends() {
    assert_eq!(digest("a\r\nb"), digest("a\nb"));
    assert_ne!(digest("a\nb"), digest("a b"));
}

#[test]
fn migrations_are_applied_in_order_and_no_version_twice() {
    let one = |version| Migration { version, name: "", sql: "" };
    let order = [one(2), one(1)];
    let versions: Vec<i64> = in_order(&order).unwrap().iter().map(|migration| migration.version).collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(in_order(&[one(1), one(1)]).unwrap_err().kind(), Kind::Config);
}
