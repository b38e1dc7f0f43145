//! The program pgspan grew from: `DATABASE_URL=postgres://… cargo run -p pgspan-server --example seed`, twice.

use pgspan::{FromRow, Session, sql};
use pgspan_server::migrations;

#[derive(FromRow)]
struct Sum {
    sum: i64,
}

#[derive(FromRow)]
struct User {
    id: i64,
    name: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        anyhow::bail!(
            "DATABASE_URL is not set; set it to a URL such as postgres://user:password@127.0.0.1:5432/database"
        );
    };
    pgspan_server::migrate(&url, migrations!("migrations")).await?; // the table `users`, if it is missing

    let db = pgspan_server::connect(&url).await?;
    let mut session = db.session().await?;

    let one = 1_i64;
    let row: Sum = session.fetch_one(sql!("SELECT {one} + {one} AS sum")).await?;
    println!("1 + 1 = {}", row.sum);

    match insert(&mut session, &["Thunder", "Bob"]).await {
        Ok(()) => println!("inserted Thunder and Bob"),
        Err(error) if error.is_unique_violation() => {
            println!("rolled back: {} is violated", error.constraint().unwrap_or("a unique constraint"));
        }
        Err(error) => return Err(error.into()),
    }

    // the same session goes on, whatever became of the transaction
    let users: Vec<User> = session.fetch_all(sql!("SELECT id, name FROM users ORDER BY id")).await?;
    for User { id, name } in users {
        println!("{id} {name}");
    }

    let sum = pgspan_app::add(&mut session, 1, 2).await?;
    println!("1 + 2 = {sum}");
    Ok(())
}

/// All of them or none.
async fn insert(session: &mut Session, names: &[&str]) -> pgspan::Result<()> {
    let mut tx = session.transaction();
    for name in names {
        tx.execute(sql!("INSERT INTO users(name) VALUES ({name})")).await?;
    }
    tx.commit().await
}
