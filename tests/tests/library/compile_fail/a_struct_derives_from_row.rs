use pgspan::{Result, Session, sql};

struct User {
    id: i64,
}

async fn misuse(session: &mut Session) -> Result<i64> {
    let user: User = session.fetch_one(sql!("SELECT 1::int8 AS id")).await?;
    Ok(user.id)
}

fn main() {}
