//! What only the native host does.

use std::process::Command;

use anyhow::Result;
use tests::Native;

#[tokio::test]
async fn bad_settings_are_told_all_at_once_and_end_with_2() -> Result<()> {
    let output = Command::new(Native::program())
        .arg("serve")
        .env_clear()
        .env("LISTEN_ADDR", "nowhere")
        .env("DATABASE_URL", "postgres://u:s3cr3t-CANARY@db.example.com/d?sslmode=prefer")
        .env("API_TOKEN", "short")
        .output()?;
    let told =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for expected in ["LISTEN_ADDR", "DATABASE_URL", "verify-full", "API_TOKEN"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(!told.contains("CANARY"), "{told}");
    Ok(())
}
