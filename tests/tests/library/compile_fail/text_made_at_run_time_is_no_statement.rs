use pgspan::{Result, Session};

async fn misuse(session: &mut Session, name: String) -> Result<u64> {
    let text = format!("DELETE FROM users WHERE name = '{name}'");
    session.execute(text.as_str()).await
}

fn main() {}
