//! So that the program is compiled again when a migration is new.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=examples/notes");
}
