//! PostgreSQL's messages in a stream of bytes.

use super::Way;

/// Finds the messages in a stream of bytes (PostgreSQL documentation, 54.7), however it is cut.
pub(super) struct Frames {
    /// The client's first message has no type.
    untyped: bool,
    head: Vec<u8>,
    body: Vec<u8>,
    left: usize,
}

/// No more of a message is kept: enough to know COMMIT by.
const KEPT: usize = 1024;

impl Frames {
    pub(super) fn new(way: Way) -> Self {
        Self { untyped: way == Way::Up, head: Vec::new(), body: Vec::new(), left: 0 }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, &[u8])) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let head = if self.untyped { 4 } else { 5 };
            if self.head.len() < head {
                self.head.push(byte);
                bytes = rest;
                if self.head.len() < head {
                    continue;
                }
                let length = self.head.last_chunk::<4>().map_or(4, |length| u32::from_be_bytes(*length));
                self.left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.body.extend(body.iter().take(KEPT.saturating_sub(self.body.len())));
            self.left -= body.len();
            bytes = rest;
            if self.left == 0 {
                if let (false, Some(tag)) = (self.untyped, self.head.first()) {
                    found(*tag, &self.body);
                }
                self.untyped = false;
                self.head.clear();
                self.body.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let mut stream = vec![0, 0, 0, 9, 0, 3, 0, 0, 0]; // start-up
        stream.extend([b'P', 0, 0, 0, 14, 0]);
        stream.extend(b"COMMIT\0\0\0");
        stream.extend([b'S', 0, 0, 0, 4]);
        for size in 1..stream.len() {
            let (mut frames, mut found) = (Frames::new(Way::Up), Vec::new());
            for piece in stream.chunks(size) {
                frames.read(piece, |tag, body| found.push((tag, body.len())));
            }
            assert_eq!(found, [(b'P', 10), (b'S', 0)], "pieces of {size}");
        }
    }
}
