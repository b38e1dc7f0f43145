use pgspan::{Result, Session, sql};

async fn misuse(session: &mut Session) -> Result<()> {
    let mut tx = session.transaction();
    session.execute(sql!("SELECT 1")).await?;
    tx.execute(sql!("SELECT 2")).await?;
    tx.commit().await
}

fn main() {}
