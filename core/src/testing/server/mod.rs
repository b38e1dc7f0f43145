//! The server's side of one connection.

mod answer;

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt, DuplexStream};

use super::block::{Block, tag};
use super::log::Event;
use super::reply::{Ending, Reply};
use super::shared::{BUFFER, Shared};
use super::wire::{self, Frontend};
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
        if let Some(delay) = reply.delay {
            self.shared.clock.sleep(delay).await;
        }
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
        self.read.reserve(BUFFER); // so that a flight is read at once
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
            // of a statement that is only prepared, as COPY is; any other is so described that it is not used
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

    fn listen(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("listen")) {
            self.listening.extend(words.next().map(|name| name.trim_matches('"').to_owned()));
        }
    }
}
