//! The server's side of one connection.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::block::{Block, tag};
use super::log::Event;
use super::reply::{Copy, Ending, Failure, Reply};
use super::wire::{self, Frontend};
use super::{Shared, Statement};
use crate::types::Oid;

pub(super) struct Server {
    number: usize,
    shared: Arc<Shared>,
    stream: DuplexStream,
    events: UnboundedReceiver<Event>,
    read: BytesMut,
    /// Bytes were read since the last statement: the next begins a flight.
    flight: bool,
    statements: HashMap<String, (String, Vec<Oid>)>,
    bound: Option<Bound>,
    /// What is written with the next Sync.
    answer: BytesMut,
    execute: bool,
    copying: Option<Copying>,
    block: Block,
    listening: Vec<String>,
    /// It answers nothing any more.
    mute: bool,
    /// How much may still be written.
    left: Option<usize>,
    /// What happens then: it stays open without a word.
    stops: bool,
    packet: Option<usize>,
}

struct Bound {
    statement: String,
    values: Vec<Option<Bytes>>,
}

/// A COPY whose data is on its way.
struct Copying {
    text: String,
    reply: Reply,
    rows: u64,
    failed: bool,
    over: bool,
}

/// A connection that is over.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over
    }
}

impl Server {
    pub(super) fn new(
        number: usize,
        shared: Arc<Shared>,
        stream: DuplexStream,
        events: UnboundedReceiver<Event>,
    ) -> Server {
        let network = shared.network();
        Server {
            number,
            shared,
            stream,
            events,
            read: BytesMut::new(),
            flight: false,
            statements: HashMap::new(),
            bound: None,
            answer: BytesMut::new(),
            execute: false,
            copying: None,
            block: Block::default(),
            listening: Vec::new(),
            mute: false,
            left: network.cut_after.or(network.stop_after),
            stops: network.cut_after.is_none(),
            packet: network.packet,
        }
    }

    pub(super) async fn serve(mut self) {
        let Over = match self.start().await {
            Ok(()) => self.converse().await,
            Err(over) => over,
        };
        self.shared.log.change(self.number, |log| log.ended = true);
    }

    async fn start(&mut self) -> Result<(), Over> {
        while wire::take_startup(&mut self.read).is_none() {
            self.hear().await?;
        }
        let reply = self.shared.greet(self.number);
        let mut out = BytesMut::new();
        if let Ending::Done { .. } = reply.ending {
            wire::put_authenticated(&mut out, self.number + 1);
        }
        self.end(out, &reply, None).await
    }

    async fn converse(&mut self) -> Over {
        loop {
            let done = match wire::take(&mut self.read) {
                Some(Frontend::Terminate) => return Over,
                Some(message) => self.message(message).await,
                None => self.hear().await,
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    async fn hear(&mut self) -> Result<(), Over> {
        self.read.reserve(super::BUFFER); // so that a flight is read at once
        let event =
            match select(self.events.next(), std::pin::pin!(self.stream.read_buf(&mut self.read))).await {
                Either::Right((read, _)) => {
                    self.flight = true;
                    return if read? == 0 { Err(Over) } else { Ok(()) };
                }
                Either::Left((event, _)) => event,
            };
        match event {
            None | Some(Event::Close) => Err(Over),
            Some(Event::Notify { channel, payload }) => {
                let mut out = BytesMut::new();
                if self.listening.contains(&channel) {
                    wire::put_notification(&mut out, &channel, &payload);
                }
                self.write(&out, None, None).await
            }
        }
    }

    async fn message(&mut self, message: Frontend) -> Result<(), Over> {
        match message {
            Frontend::Parse { name, text, types } => {
                self.statements.insert(name, (text, types));
                wire::put(&mut self.answer, b'1', |_| {});
            }
            Frontend::Bind { statement, values } => {
                self.bound = Some(Bound { statement, values });
                wire::put(&mut self.answer, b'2', |_| {});
            }
            // of a statement that is only prepared, which COPY alone is
            Frontend::Describe if self.bound.is_none() => {
                wire::put_parameter_types(&mut self.answer, &[]);
                wire::put_columns(&mut self.answer, None);
            }
            Frontend::Close => wire::put(&mut self.answer, b'3', |_| {}),
            Frontend::Execute => self.execute = true,
            Frontend::Sync => return self.sync().await,
            Frontend::CopyData(data) => {
                if let Some(copying) = &mut self.copying {
                    copying.rows += data.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
                    self.shared.log.copied(self.number, &data);
                }
            }
            Frontend::CopyDone | Frontend::CopyFail => {
                if let Some(copying) = &mut self.copying {
                    copying.over = true;
                    copying.failed = matches!(message, Frontend::CopyFail);
                }
            }
            Frontend::Describe | Frontend::Terminate | Frontend::Other => {}
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Over> {
        if let Some(copying) = self.copying.take_if(|copying| copying.over) {
            let ended = match copying.failed {
                true => Reply::error("57014"),
                false => copying.reply,
            };
            if let Ending::Error(_) = &ended.ending {
                self.block.fail(&copying.text);
            }
            let tag = tag(&copying.text, copying.rows);
            return self.end(BytesMut::new(), &ended, Some(tag)).await;
        }
        match (mem::take(&mut self.execute), self.bound.take()) {
            (true, Some(bound)) => self.statement(bound).await,
            // PostgreSQL ignores it until the data of a COPY is over
            _ if self.mute || self.copying.is_some() => Ok(()),
            _ => {
                let out = mem::take(&mut self.answer);
                self.end(out, &Reply::ok(), None).await
            }
        }
    }

    async fn statement(&mut self, bound: Bound) -> Result<(), Over> {
        let (text, types) = self.statements.get(&bound.statement).cloned().unwrap_or_default();
        self.shared.log.statement(self.number, &text, mem::take(&mut self.flight));
        let mut out = mem::take(&mut self.answer);
        if self.mute {
            return Ok(());
        }
        let mut reply = match self.block.refuses(&text) {
            Some(failure) => Reply::from(failure),
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
    async fn end(&mut self, mut out: BytesMut, reply: &Reply, done: Option<String>) -> Result<(), Over> {
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

    async fn write(&mut self, bytes: &[u8], packet: Option<usize>, cut: Option<usize>) -> Result<(), Over> {
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

    fn listen(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("listen")) {
            self.listening.extend(words.next().map(|name| name.trim_matches('"').to_owned()));
        }
    }
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
