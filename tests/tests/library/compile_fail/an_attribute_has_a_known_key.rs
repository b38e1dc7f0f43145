#[derive(pgspan::FromRow)]
struct User {
    #[pgspan(column = "full name")]
    name: String,
}

fn main() {}
