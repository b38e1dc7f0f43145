//! No more than six sockets at a time, whatever happens to them, and a place is waited for.
//!
//! Six is what Cloudflare allows. The proxy says how many there are, and the kernel how many are under way. Looked for: sessions that
//! can't be given back, by a changed setting, by a statement that was dropped and by an error in a transaction; a server that accepts
//! and never answers; a host that swallows packets; the cancels that belong to them;
//! one listener, and more than there are sockets; all of it at once; and each in an object and in a
//! request of its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use tests::{Edge, Proxy, Way};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{Bed, all_closed, backends, get, other_worker, within_async};

const SIX: usize = 6;

/// Asks so many times, so many at once; gives the answers that were not 200.
async fn ask(edge: &Edge, path: &str, rounds: usize, at_once: usize) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for _ in 0..rounds {
        for answer in join_all((0..at_once).map(|_| get(edge, path))).await {
            let answer = answer?;
            if answer.status != 200 {
                failed.push(format!("{} {}", answer.status, answer.body));
            }
        }
    }
    Ok(failed)
}

#[tokio::test]
async fn a_session_that_can_t_be_given_back_costs_nobody_an_error() -> Result<()> {
    let bed = Bed::new().await?;
    for latency in [0, 10] {
        let proxy = Proxy::before(&bed.url).await?;
        proxy.delay(Duration::from_millis(latency));
        let mut pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
        for path in ["/taint", "/abandon/2000"] {
            let failed = ask(&pool, path, 5, 8).await?;
            assert!(failed.is_empty(), "{path}, {latency} ms: {} of 40: {failed:?}", failed.len());
            assert!(proxy.most_open() <= SIX, "{path}, {latency} ms: {}", proxy.most_open());
        }
        let log = pool.process().last_lines();
        assert!(!log.contains("can't be reached"), "{log}");
    }
    let proxy = Proxy::before(&bed.url).await?;
    proxy.delay(Duration::from_millis(10));
    let socket = other_worker(&proxy.url(&bed.url), "socket", &[]).await?;
    let failed = ask(&socket, "/crowd/20", 1, 1).await?;
    assert!(failed.is_empty(), "twenty sessions of one request: {failed:?}");
    assert!(proxy.most_open() <= SIX, "{}", proxy.most_open());
    all_closed(&proxy, Duration::from_secs(5)).await
}

/// In a storm of faults no more than six are open at any moment, and afterwards what is open is known to both ends. It lasts for 30 s,
/// or as many as `PGSPAN_STORM_SECONDS` says.
#[tokio::test]
async fn in_a_storm_of_faults_there_are_never_more_than_six() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &IMPATIENT).await?;
    let seconds = std::env::var("PGSPAN_STORM_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(30));
    let asking = join_all((0..8).map(async |number: usize| {
        let (mut step, mut well) = (number, 0);
        while Instant::now() < end {
            step += 3;
            let path = STORM.get(step % STORM.len()).copied().unwrap_or_default();
            well += usize::from(get(&pool, path).await?.status == 200);
        }
        anyhow::Ok(well)
    }));
    let faults = async {
        for step in 0_u32.. {
            if Instant::now() >= end {
                break;
            }
            match step % 8 {
                0 => proxy.reset(),
                1 => proxy.forget(),
                2 => proxy.close(),
                3 => proxy.lose(Way::Down),
                4 => proxy.half_close(),
                5 => proxy.deaf(),
                6 => proxy.lose(Way::Up),
                _ => {
                    bed.number(END_ALL).await?;
                }
            }
            sleep(Duration::from_millis(150)).await;
            proxy.pass().await;
            proxy.delay(Duration::from_millis(2));
            sleep(Duration::from_millis(450)).await;
        }
        anyhow::Ok(())
    };
    let (well, faults) = tokio::join!(asking, faults);
    faults?;
    let well = well.into_iter().sum::<Result<usize>>()?;
    // each is counted as it comes in, with those that are open then
    assert!(proxy.most_open() <= SIX, "{} at a time", proxy.most_open());
    assert!(well > 20, "only {well} requests were answered well: no storm, but a wreck");
    assert!(proxy.traffic().len() > 20, "{} connections were opened", proxy.traffic().len());
    proxy.pass().await;
    let mut failed = Vec::new();
    let is_well = async || {
        failed.clear();
        for path in ["/backend", "/shared", "/write"] {
            failed.extend(ask(&pool, path, 3, 4).await?);
        }
        Ok(failed.is_empty())
    };
    let is_well = within_async(Duration::from_secs(15), "all is well again", is_well).await;
    is_well.with_context(|| format!("{} are open, and this failed: {failed:?}", proxy.open_now()))?;
    let known = async || Ok(proxy.open_now() <= 5 && proxy.open_now() == backends(&bed).await?);
    within_async(Duration::from_secs(5), "what is open is known to both ends", known).await
}

#[tokio::test]
async fn a_listener_gets_a_socket_of_a_full_pool_and_nobody_starves() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.delay(Duration::from_millis(5));
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
    for path in ["/wait", "/shared"] {
        assert_eq!(ask(&pool, path, 3, 8).await?, [""; 0], "{path}");
    }
    assert_eq!(proxy.open_now(), 5, "the pool is full");
    let (listening, asked) = tokio::join!(get(&pool, "/listen/3"), async {
        let mut failed = Vec::new();
        for path in ["/wait", "/backend", "/write", "/shared"].repeat(5) {
            failed.extend(ask(&pool, path, 1, 8).await?);
            // so that some are idle while others wait
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(failed)
    });
    assert_eq!(listening?.status, 200);
    assert_eq!(asked?, [""; 0]);
    assert!(proxy.most_open() <= SIX, "{}", proxy.most_open());
    Ok(())
}

#[tokio::test]
async fn listeners_leave_a_socket_for_sessions_and_who_gets_none_is_told_so() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[("ACQUIRE_TIMEOUT_MS", "2000")]).await?;
    let listening = join_all((0..6).map(|_| get(&pool, "/listen/8")));
    let writing = async {
        sleep(Duration::from_millis(2500)).await;
        ask(&pool, "/write", 3, 2).await
    };
    let (listened, written) = tokio::join!(listening, writing);
    assert_eq!(written?, [""; 0]);
    let listened = listened.into_iter().collect::<Result<Vec<_>>>()?;
    let refused: Vec<&str> =
        listened.iter().filter(|answer| answer.status == 503).map(|answer| answer.body.as_str()).collect();
    assert!(refused.len() == 2 && refused.iter().all(|why| why.contains("listeners")), "{refused:?}");
    assert!(proxy.most_open() <= SIX, "{}", proxy.most_open());
    assert_eq!(ask(&pool, "/shared", 1, 4).await?, [""; 0]);
    Ok(())
}

const STORM: [&str; 8] =
    ["/taint", "/abandon/400", "/backend", "/shared", "/fail", "/write", "/listen/1", "/abandon/5"];
const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE application_name = 'pgspan' AND datname = current_database()";

const IMPATIENT: [(&str, &str); 3] =
    [("ACQUIRE_TIMEOUT_MS", "400"), ("STATEMENT_TIMEOUT_MS", "300"), ("LOCK_TIMEOUT_MS", "300")];

#[tokio::test]
async fn a_server_that_never_answers_gets_no_seventh_connection_and_all_is_well_when_it_does() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &IMPATIENT).await?;
    proxy.deaf();
    for path in ["/backend", "/shared", "/taint"] {
        let failed = ask(&pool, path, 4, 8).await?;
        assert_eq!(failed.len(), 32, "{path}");
    }
    assert!(proxy.most_open() <= SIX, "{}", proxy.most_open());
    proxy.pass().await;
    let healed = async {
        while get(&pool, "/backend").await?.status != 200 || get(&pool, "/shared").await?.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(10), healed).await.context("it does not heal")??;
    assert!(proxy.most_open() <= SIX, "{}", proxy.most_open());
    Ok(())
}

/// A listener whose queue is full, so that the kernel swallows what comes: a connect to it is under way for minutes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_swallows_packets_gets_no_seventh_connect() -> Result<()> {
    let bed = Bed::new().await?;
    let server = bed.url.parse::<tokio_postgres::Config>()?;
    let server = server.get_ports().first().copied().context("no port")?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(1)?;
    let port = listener.local_addr()?.port();
    let mut filling = Vec::new();
    while let Ok(filled) = timeout(Duration::from_millis(300), TcpStream::connect(("127.0.0.1", port))).await
    {
        filling.push(filled?);
    }
    let (head, _) = bed.url.rsplit_once(':').context("no port")?;
    let (_, database) = bed.url.rsplit_once('/').context("no database")?;
    let url = format!("{head}:{port}/{database}");
    let pool = other_worker(&url, "pool", &[("ACQUIRE_TIMEOUT_MS", "300")]).await?;
    for path in ["/backend", "/shared"] {
        for _ in 0..4 {
            let failed = ask(&pool, path, 1, 8).await?;
            assert_eq!(failed.len(), 8, "{path}");
            let under_way = connects_under_way(port)?;
            assert!((1..=SIX).contains(&under_way), "{path}: {under_way} under way");
        }
    }
    // the kernel tries again, and the connects that nobody waits for any more give their places back
    drop(filling);
    tokio::spawn(carry(listener, server));
    let healed = async {
        while get(&pool, "/backend").await?.status != 200 {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(60), healed).await.context("it does not heal")?
}

/// How many sockets wait for an answer to their SYN from this port.
#[cfg(target_os = "linux")]
fn connects_under_way(port: u16) -> Result<usize> {
    let sockets = std::fs::read_to_string("/proc/net/tcp")?;
    let is_one = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let to = fields.next().is_some_and(|remote| remote.ends_with(&format!(":{port:04X}")));
        to && fields.next() == Some("02")
    };
    Ok(sockets.lines().filter(|line| is_one(line)).count())
}

/// Carries what comes to a server on this machine.
pub(crate) async fn carry(listener: TcpListener, port: u16) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}
