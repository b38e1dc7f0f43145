use pgspan::{Result, Session, sql};

async fn misuse(session: &mut Session) -> Result<()> {
    let mut tx = session.transaction();
    tx.commit().await?;
    tx.execute(sql!("SELECT 1")).await?;
    Ok(())
}

fn main() {}
