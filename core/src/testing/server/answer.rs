//! What the server answers, and how it travels.

use std::mem;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;

use super::{Bound, Copying, Over, Server};
use crate::testing::block::tag;
use crate::testing::failure::Failure;
use crate::testing::reply::{Copy, Ending, Reply};
use crate::testing::statement::Statement;
use crate::testing::wire;
use crate::types::Oid;

impl Server {
    pub(super) async fn statement(&mut self, bound: Bound) -> Result<(), Over> {
        let (text, types) = self.statements.get(&bound.statement).cloned().unwrap_or_default();
        let (flight, is_limit) = (mem::take(&mut self.flight), is_limit(&text));
        match is_limit {
            true => self.shared.log.limit(self.number, &text, flight),
            false => self.shared.log.statement(self.number, &text, flight),
        }
        let mut out = mem::take(&mut self.answer);
        if self.mute {
            return Ok(());
        }
        let mut reply = match self.block.refuses(&text) {
            Some(failure) => Reply::from(failure),
            None if is_limit => Reply::ok(),
            None => self.shared.ask(&Statement {
                text: &text,
                connection: self.number,
                types: &types,
                values: &bound.values,
            }),
        };
        if let Some(delay) = reply.delay {
            self.shared.clock.sleep(delay).await;
        }
        let mut done = tag(&text, reply.rows.len() as u64);
        if let Ending::Done { affected, tag: own } = &reply.ending {
            done = own.clone().unwrap_or_else(|| tag(&text, affected.unwrap_or(reply.rows.len() as u64)));
            match self.block.carry_out(&text) {
                Ok(Some(control)) if own.is_none() => done = control.to_owned(),
                Ok(_) => {}
                Err(failure) => reply = Reply { columns: None, ..Reply::from(failure) },
            }
            self.listen(&text);
        }
        if let Ending::Error(_) = &reply.ending {
            self.block.fail(&text);
        }
        let is_copy = text.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("copy"));
        if is_copy && reply.copy.is_none() && matches!(reply.ending, Ending::Done { .. }) {
            reply.copy = Some(Copy::In);
        }
        match &reply.ending {
            Ending::Error(failure) if failure.is_found_early() && reply.columns.is_none() => out.clear(),
            Ending::Done { .. } | Ending::Error(_) | Ending::Silence | Ending::Close if is_copy => {}
            Ending::Done { .. } | Ending::Error(_) => self.describe(&mut out, &types, &reply),
            Ending::Silence | Ending::Close if reply.columns.is_some() => {
                self.describe(&mut out, &types, &reply)
            }
            Ending::Silence | Ending::Close | Ending::Raw(_) => out.clear(),
        }
        match reply.copy.take() {
            Some(Copy::In) => {
                wire::put_copy(&mut out, b'G');
                self.write(&out, reply.packet, reply.cut).await?;
                self.copying = Some(Copying { text, reply, rows: 0, failed: false, over: false });
                return Ok(());
            }
            Some(Copy::Out(pieces)) => {
                wire::put_copy(&mut out, b'H');
                for piece in &pieces {
                    wire::put(&mut out, b'd', |body| body.put_slice(piece));
                }
                if matches!(reply.ending, Ending::Done { .. }) {
                    wire::put(&mut out, b'c', |_| {});
                }
            }
            None => {}
        }
        self.end(out, &reply, Some(done)).await
    }

    fn describe(&self, out: &mut BytesMut, types: &[Oid], reply: &Reply) {
        wire::put_parameter_types(out, types);
        wire::put_columns(out, reply.columns.as_deref());
        for row in &reply.rows {
            wire::put(out, b'D', |body| body.put_slice(row));
        }
    }

    /// Ends an answer as the reply says, and writes it.
    pub(super) async fn end(
        &mut self,
        mut out: BytesMut,
        reply: &Reply,
        done: Option<String>,
    ) -> Result<(), Over> {
        let counted = done.is_some();
        let mut over = false;
        match &reply.ending {
            Ending::Done { .. } => {
                if let Some(tag) = done {
                    wire::put(&mut out, b'C', |body| wire::put_string(body, &tag));
                }
            }
            Ending::Error(failure) => {
                wire::put_error(&mut out, failure);
                over = failure.fatal;
            }
            Ending::Silence => self.mute = true,
            Ending::Close => over = true,
            Ending::Raw(bytes) => out.put_slice(bytes),
        }
        let status = self.block.status();
        if !over && matches!(reply.ending, Ending::Done { .. } | Ending::Error(_)) {
            wire::put(&mut out, b'Z', |body| body.put_u8(status.byte()));
            self.shared.log.change(self.number, |log| log.unanswered -= usize::from(counted));
        }
        self.shared.log.change(self.number, |log| log.status = status);
        self.write(&out, reply.packet, reply.cut).await?;
        if over { Err(Over) } else { Ok(()) }
    }

    pub(super) async fn write(
        &mut self,
        bytes: &[u8],
        packet: Option<usize>,
        cut: Option<usize>,
    ) -> Result<(), Over> {
        let most = cut.unwrap_or(usize::MAX).min(self.left.unwrap_or(usize::MAX));
        let kept = bytes.get(..most).unwrap_or(bytes);
        match packet.or(self.packet) {
            None => self.stream.write_all(kept).await?,
            Some(packet) => {
                for packet in kept.chunks(packet.max(1)) {
                    self.stream.write_all(packet).await?;
                    pause().await;
                }
            }
        }
        self.left = self.left.map(|left| left - kept.len());
        let cut = cut.is_some_and(|cut| cut <= kept.len());
        let used_up = self.left == Some(0);
        if cut || used_up && !self.stops { Err(Over) } else { Ok(()) }
    }
}

/// Whether pgspan says this by itself, ahead of a statement or behind one.
fn is_limit(text: &str) -> bool {
    let rest = text.strip_prefix("SET LOCAL ").or(text.strip_prefix("SET "));
    rest.is_some_and(|rest| rest.starts_with("statement_timeout TO "))
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        let mut reply = Reply::error("");
        reply.ending = Ending::Error(failure);
        reply
    }
}

/// Lets the other side read what was written.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if mem::replace(&mut paused, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
