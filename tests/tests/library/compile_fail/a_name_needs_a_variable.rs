fn main() {
    let name = "Bob";
    let _ = pgspan::sql!("SELECT {name}, {email}");
}
