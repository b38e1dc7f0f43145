//! A moment that `SystemTime` can't hold in WebAssembly is an error of that request alone. It panicked, which ends the isolate.

use anyhow::Result;

use crate::support::{Bed, get, other_worker};

/// Looked for: both infinities, the last moment before 1970 and the first of it, alone, in an option, and in an array.
#[tokio::test]
async fn a_moment_before_1970_is_an_error_and_the_isolate_lives_on() -> Result<()> {
    let bed = Bed::new().await?;
    let pool = other_worker(&bed.url, "pool", &[]).await?;
    let process = get(&pool, "/shared").await?.body;
    for (odd, why) in [
        ("-infinity", "infinite"),
        ("infinity", "infinite"),
        ("1969-12-31T23:59:59.999999Z", "before 1970"),
        ("1000-01-01", "before 1970"),
    ] {
        for path in [format!("/moment/{odd}"), format!("/moments/{{1970-01-01Z,NULL,{odd}}}")] {
            let answer = get(&pool, &path).await?;
            assert!(answer.status == 503 && answer.body.contains(why), "{path}: {answer:?}");
        }
    }
    for (late, seconds) in [("1970-01-01Z", "0"), ("2000-01-01Z", "946684800")] {
        let (one, several) = (format!("/moment/{late}"), format!("/moments/{{NULL,{late}}}"));
        assert_eq!(get(&pool, &one).await?.body, seconds, "{late}");
        assert_eq!(get(&pool, &several).await?.body, seconds, "{late}");
    }
    assert_eq!(get(&pool, "/shared").await?.body, process, "the object was never ended");
    Ok(())
}
