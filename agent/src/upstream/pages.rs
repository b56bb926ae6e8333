//! A stream of NDJSON lines, zstd-compressed, cut into pages.

use carepost_protocol::wire::pull::{KeepAlive, Line, MAX_LINE_BYTES, MAX_PAGE_DOCUMENTS, PageEnd};
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use std::io::Write as _;
use zstd::stream::write::Decoder;

use super::{UpstreamError, transport};

/// The most bytes of one page, so that a broken server cannot fill the memory.
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
/// The most memory that the compression's window may take, as a power of two: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// What a stream brought.
#[derive(Debug)]
pub enum StreamEvent {
    /// A whole page.
    Page(Page),
    /// Nothing happened, and the server lives.
    KeepAlive(KeepAlive),
}

/// A page: documents as lines, and where the next one resumes.
#[derive(Debug)]
pub struct Page {
    /// The documents' lines, each ended by a line feed.
    pub lines: Vec<u8>,
    /// Where the next page resumes.
    pub end: PageEnd,
}

/// A stream of pages.
pub struct PageStream {
    answer: Response,
    cutter: Cutter,
}

impl PageStream {
    pub(super) fn new(answer: Response) -> Result<Self, UpstreamError> {
        let zstd = answer.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "zstd");
        Ok(Self { answer, cutter: Cutter::new(zstd)? })
    }

    /// The next page or keep-alive; none when the server ended the stream at the end of a page.
    ///
    /// # Errors
    /// [`UpstreamError::Transport`] when the stream broke off, [`UpstreamError::Nonsense`] when it is
    /// not one of this protocol. Pages that came before stay valid.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, UpstreamError> {
        loop {
            if let Some(event) = self.cutter.cut()? {
                return Ok(Some(event));
            }
            match self.answer.chunk().await.map_err(transport)? {
                Some(chunk) => self.cutter.feed(&chunk)?,
                None if self.cutter.is_clean() => return Ok(None),
                None => return Err(UpstreamError::Transport("the stream broke off inside a page".into())),
            }
        }
    }
}

/// What one piece of the stream unpacks to: a few bytes may unpack to gigabytes, so it is bounded as it
/// grows.
#[derive(Default)]
struct Plain(Vec<u8>);

impl std::io::Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PAGE_BYTES {
            return Err(std::io::Error::other(format!("a page of more than {MAX_PAGE_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Cuts decompressed bytes into pages without touching a byte twice.
struct Cutter {
    decoder: Option<Decoder<'static, Plain>>,
    plain: Vec<u8>,
    /// Where the line that is being read begins.
    line: usize,
    /// How far line feeds were looked for.
    seen: usize,
    documents: usize,
}

impl Cutter {
    fn new(zstd: bool) -> Result<Self, UpstreamError> {
        let decoder = if zstd {
            let mut decoder = Decoder::new(Plain::default()).map_err(broken)?;
            decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
            Some(decoder)
        } else {
            None
        };
        Ok(Self { decoder, plain: Vec::new(), line: 0, seen: 0, documents: 0 })
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<(), UpstreamError> {
        match &mut self.decoder {
            None => self.plain.extend_from_slice(chunk),
            Some(decoder) => {
                decoder.write_all(chunk).and_then(|()| decoder.flush()).map_err(broken)?;
                self.plain.append(&mut decoder.get_mut().0);
            }
        }
        if self.plain.len() > MAX_PAGE_BYTES {
            return Err(UpstreamError::Nonsense(format!("a page of more than {MAX_PAGE_BYTES} bytes")));
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<Option<StreamEvent>, UpstreamError> {
        loop {
            let rest = self.plain.get(self.seen..).unwrap_or_default();
            let Some(feed) = rest.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.plain.len();
                if self.seen - self.line > MAX_LINE_BYTES {
                    return Err(UpstreamError::Nonsense(format!(
                        "a line of more than {MAX_LINE_BYTES} bytes"
                    )));
                }
                return Ok(None);
            };
            let (start, end) = (self.line, self.seen + feed);
            let line = self.plain.get(start..end).unwrap_or_default();
            self.seen = end + 1;
            // Most lines are documents; they are parsed once, where they are applied.
            if line.starts_with(b"{\"collection\":") {
                self.line = self.seen;
                self.documents += 1;
                if self.documents > MAX_PAGE_DOCUMENTS {
                    return Err(UpstreamError::Nonsense(format!(
                        "a page of over {MAX_PAGE_DOCUMENTS} documents"
                    )));
                }
                continue;
            }
            let parsed: Line<'_> = serde_json::from_slice(line).map_err(broken)?;
            if let Some(end) = parsed.page {
                return Ok(Some(StreamEvent::Page(self.take_page(end))));
            }
            let keep_alive = parsed.keep_alive;
            if parsed.collection.is_some() {
                self.line = self.seen;
                self.documents += 1;
                continue;
            }
            // A keep-alive, or a line that a newer server knows: it is not part of the page.
            self.plain.drain(start..self.seen);
            self.seen = start;
            if let Some(keep_alive) = keep_alive {
                return Ok(Some(StreamEvent::KeepAlive(keep_alive)));
            }
        }
    }

    fn take_page(&mut self, end: PageEnd) -> Page {
        let rest = self.plain.split_off(self.seen);
        let mut lines = std::mem::replace(&mut self.plain, rest);
        lines.truncate(self.line);
        (self.line, self.seen, self.documents) = (0, 0, 0);
        Page { lines, end }
    }

    fn is_clean(&self) -> bool {
        self.plain.is_empty()
    }
}

fn broken(error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Nonsense(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"collection":"patients","id":"x","seq":1,"body":{"name":"Ada"}}"#;
    const KEEP_ALIVE: &str = r#"{"keep_alive":{"server_time":"2026-05-01T14:10:00Z"}}"#;

    fn end(seq: u64) -> String {
        format!(
            r#"{{"page":{{"cursor":{{"epoch":1,"seq":{seq}}},"head":{seq},"server_time":"2026-05-01T14:10:00Z"}}}}"#
        )
    }

    fn stream() -> String {
        let reordered = r#"{"seq":2,"collection":"users","id":"y","deleted":true}"#;
        let stranger = r#"{"from_the_future":1}"#;
        [DOCUMENT, stranger, reordered, &end(2), KEEP_ALIVE, DOCUMENT, &end(3), &end(3), ""].join("\n")
    }

    fn events(cutter: &mut Cutter) -> Result<Vec<String>, UpstreamError> {
        let mut seen = Vec::new();
        while let Some(event) = cutter.cut()? {
            seen.push(match event {
                StreamEvent::Page(page) => {
                    format!(
                        "page of {} to {}",
                        page.lines.iter().filter(|byte| **byte == b'\n').count(),
                        page.end.cursor.seq
                    )
                }
                StreamEvent::KeepAlive(_) => "keep-alive".to_owned(),
            });
        }
        Ok(seen)
    }

    #[test]
    fn pages_come_out_whole_however_the_bytes_arrive() {
        let expected = ["page of 2 to 2", "keep-alive", "page of 1 to 3", "page of 0 to 3"];
        let compressed = zstd::bulk::compress(stream().as_bytes(), 3).unwrap();
        for (zstd, bytes) in [(false, stream().into_bytes()), (true, compressed)] {
            for size in [1, 7, 64, 100_000] {
                let mut cutter = Cutter::new(zstd).unwrap();
                let mut seen = Vec::new();
                for chunk in bytes.chunks(size) {
                    cutter.feed(chunk).unwrap();
                    seen.extend(events(&mut cutter).unwrap());
                }
                assert_eq!(seen, expected, "in chunks of {size}");
                assert!(cutter.is_clean());
            }
        }
    }

    #[test]
    fn a_stream_cut_inside_a_page_is_not_clean() {
        let mut cutter = Cutter::new(false).unwrap();
        cutter.feed(DOCUMENT.as_bytes()).unwrap();
        cutter.feed(b"\n").unwrap();
        assert!(events(&mut cutter).unwrap().is_empty());
        assert!(!cutter.is_clean());
    }

    #[test]
    fn a_small_piece_that_unpacks_to_very_much_is_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; MAX_PAGE_BYTES + 1], 3).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(Cutter::new(true).unwrap().feed(&bomb).is_err());
    }

    #[test]
    fn frames_that_follow_one_another_are_one_stream() {
        let text = stream();
        let (first, second) = text.split_at(text.len() / 2);
        let frames = [zstd::bulk::compress(first.as_bytes(), 3), zstd::bulk::compress(second.as_bytes(), 3)];
        let mut cutter = Cutter::new(true).unwrap();
        let mut seen = Vec::new();
        for frame in frames {
            cutter.feed(&frame.unwrap()).unwrap();
            seen.extend(events(&mut cutter).unwrap());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn garbage_and_endless_lines_are_refused() {
        let mut cutter = Cutter::new(false).unwrap();
        cutter.feed(b"<html>\n").unwrap();
        assert!(events(&mut cutter).is_err());
        let mut cutter = Cutter::new(false).unwrap();
        cutter.feed(&vec![b'x'; MAX_LINE_BYTES + 1]).unwrap();
        assert!(events(&mut cutter).is_err());
        let mut cutter = Cutter::new(true).unwrap();
        assert!(cutter.feed(b"not zstd").is_err());
    }
}
