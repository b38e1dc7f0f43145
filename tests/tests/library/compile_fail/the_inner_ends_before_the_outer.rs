use pgspan::{Result, Session};

async fn misuse(session: &mut Session) -> Result<()> {
    let mut outer = session.transaction();
    let inner = outer.savepoint("inner");
    outer.commit().await?;
    inner.commit().await
}

fn main() {}
