//! The page stream: NDJSON lines, zstd-compressed, cut into pages.
//!
//! A document whose line is longer than any may be is stepped over: its bytes go by, hashed and not kept,
//! and the page names it.

use std::collections::VecDeque;
use std::io::Write as _;

use carepost_protocol::digest::{Element, Growing};
use carepost_protocol::id::RecordId;
use carepost_protocol::wire::pull::{KeepAlive, Line, MAX_LINE_BYTES, MAX_PAGE_DOCUMENTS, PageEnd};
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use zstd::stream::write::Decoder;

use super::{UpstreamError, transport};

/// The most bytes that wait at once to be applied, so that a broken server cannot fill the memory.
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
/// The most memory that the compression's window may take, as a power of two: 8 MiB.
const WINDOW_LOG: u32 = 23;
/// How the line of a document begins.
const DOCUMENT: &[u8] = b"{\"collection\":";
/// What comes before its body, which is the last of it.
const BODY: &[u8] = b",\"body\":";
/// What comes before a body is shorter.
const MAX_HEAD: usize = 512;

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
    /// Documents whose lines were too long.
    pub oversized: Vec<Oversized>,
    /// Where the next page resumes.
    pub end: PageEnd,
}

/// A document whose line is longer than any may be: all that is kept of it.
#[derive(Debug)]
pub struct Oversized {
    pub collection: String,
    pub id: RecordId,
    pub seq: u64,
    pub bytes: u64,
    /// Its part in the digest; none where it did not end as a document does.
    pub element: Option<Element>,
}

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
            if let Some(event) = self.cutter.cut() {
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

/// Cuts a stream into pages; what a few bytes unpack to is bounded as it grows.
enum Cutter {
    Plain(Lines),
    Zstd(Decoder<'static, Lines>),
}

impl Cutter {
    fn new(zstd: bool) -> Result<Self, UpstreamError> {
        if !zstd {
            return Ok(Self::Plain(Lines::default()));
        }
        let mut decoder = Decoder::new(Lines::default()).map_err(broken)?;
        decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
        Ok(Self::Zstd(decoder))
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<(), UpstreamError> {
        let fed = match self {
            Self::Plain(lines) => lines.write_all(chunk),
            Self::Zstd(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        };
        fed.map_err(broken)
    }

    fn cut(&mut self) -> Option<StreamEvent> {
        let (event, bytes) = self.lines_mut().ready.pop_front()?;
        self.lines_mut().held -= bytes;
        Some(event)
    }

    fn is_clean(&self) -> bool {
        let lines = match self {
            Self::Plain(lines) => lines,
            Self::Zstd(decoder) => decoder.get_ref(),
        };
        lines.held == 0 && lines.documents == 0 && lines.over.is_none()
    }

    fn lines_mut(&mut self) -> &mut Lines {
        match self {
            Self::Plain(lines) => lines,
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// Lines as they come, put together to pages.
#[derive(Default)]
struct Lines {
    /// What came of a line that has not ended.
    line: Vec<u8>,
    /// The line is too long, and goes by.
    over: Option<Over>,
    page: Vec<u8>,
    oversized: Vec<Oversized>,
    documents: usize,
    /// What is whole, each with its bytes.
    ready: VecDeque<(StreamEvent, usize)>,
    held: usize,
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (part, ends) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(feed) => (bytes.get(..feed).unwrap_or_default(), true),
            None => (bytes, false),
        };
        self.take(part, ends).map_err(std::io::Error::other)?;
        Ok(part.len() + usize::from(ends))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Takes a part of a line, the last one if that ends.
    fn take(&mut self, part: &[u8], ends: bool) -> Result<(), String> {
        if let Some(over) = &mut self.over {
            over.pass(part);
        } else if self.line.len() + part.len() > MAX_LINE_BYTES {
            let over = Over::begin(&self.line, part)?;
            self.held -= std::mem::take(&mut self.line).len();
            self.over = Some(over);
        } else if self.line.is_empty() && ends {
            return self.end_line(part);
        } else {
            self.hold(part.len())?;
            self.line.extend_from_slice(part);
        }
        if !ends {
            return Ok(());
        }
        if let Some(over) = self.over.take() {
            self.count_document()?;
            self.oversized.push(over.end());
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        self.held -= line.len();
        self.end_line(&line)?;
        // Its memory is used again.
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), String> {
        // Most lines are documents; they are parsed once, where they are applied.
        if line.starts_with(DOCUMENT) {
            return self.add(line);
        }
        let parsed: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if parsed.collection.is_some() {
            return self.add(line);
        }
        // A line that is none of these is one that a newer server knows: it is not part of the page.
        let event = match (parsed.page, parsed.keep_alive) {
            (Some(end), _) => {
                self.documents = 0;
                let (lines, oversized) =
                    (std::mem::take(&mut self.page), std::mem::take(&mut self.oversized));
                StreamEvent::Page(Page { lines, oversized, end })
            }
            (None, Some(alive)) => StreamEvent::KeepAlive(alive),
            (None, None) => return Ok(()),
        };
        self.hold(line.len())?;
        let page = if let StreamEvent::Page(page) = &event { page.lines.len() } else { 0 };
        self.ready.push_back((event, line.len() + page));
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        self.count_document()?;
        self.hold(line.len() + 1)?;
        self.page.extend_from_slice(line);
        self.page.push(b'\n');
        Ok(())
    }

    fn count_document(&mut self) -> Result<(), String> {
        self.documents += 1;
        if self.documents > MAX_PAGE_DOCUMENTS {
            return Err(format!("a page of over {MAX_PAGE_DOCUMENTS} documents"));
        }
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), String> {
        self.held += bytes;
        if self.held > MAX_PAGE_BYTES {
            return Err(format!("a page of more than {MAX_PAGE_BYTES} bytes"));
        }
        Ok(())
    }
}

/// A line that is too long, as it goes by.
struct Over {
    collection: String,
    id: RecordId,
    seq: u64,
    bytes: u64,
    /// How much comes before the body.
    head: usize,
    growing: Growing,
    /// The last byte that came: it may be the line's own end, which is none of the body's.
    last: Option<u8>,
}

impl Over {
    /// From what was kept of it, and what came next: it has to say which document it is.
    fn begin(kept: &[u8], next: &[u8]) -> Result<Self, String> {
        let nonsense = || format!("a line of more than {MAX_LINE_BYTES} bytes that is no document");
        let start: Vec<u8> = kept.iter().chain(next).take(MAX_HEAD).copied().collect();
        let at = start.windows(BODY.len()).position(|window| window == BODY).ok_or_else(nonsense)?;
        let mut said = start.get(..at).unwrap_or_default().to_vec();
        said.push(b'}');
        let line: Line<'_> = serde_json::from_slice(&said).map_err(|_| nonsense())?;
        let (Some(collection), Some(id), Some(seq)) = (line.collection, line.id, line.seq) else {
            return Err(nonsense());
        };
        let (collection, id): (_, RecordId) = (collection.into_owned(), id.parse().map_err(|_| nonsense())?);
        let growing = Growing::of(&collection, id.as_bytes(), seq);
        let head = at + BODY.len();
        let mut over = Self { collection, id, seq, bytes: 0, head, growing, last: None };
        over.pass(kept);
        over.pass(next);
        Ok(over)
    }

    fn pass(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        let skipped = self.head.min(part.len());
        self.head -= skipped;
        let Some((last, before)) = part.get(skipped..).and_then(<[u8]>::split_last) else { return };
        if let Some(earlier) = self.last.replace(*last) {
            self.growing.update(&[earlier]);
        }
        self.growing.update(before);
    }

    fn end(self) -> Oversized {
        let element = (self.last == Some(b'}')).then(|| self.growing.end());
        let Self { collection, id, seq, bytes, .. } = self;
        Oversized { collection, id, seq, bytes, element }
    }
}

fn broken(error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Nonsense(error.to_string())
}

#[cfg(test)]
mod tests {
    use carepost_protocol::record::Collection;
    use carepost_protocol::time::Timestamp;

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

    fn events(cutter: &mut Cutter) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(event) = cutter.cut() {
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
        seen
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
                    seen.extend(events(&mut cutter));
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
        assert!(events(&mut cutter).is_empty());
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
            seen.extend(events(&mut cutter));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn garbage_and_endless_lines_that_are_no_document_are_refused() {
        assert!(Cutter::new(false).unwrap().feed(b"<html>\n").is_err());
        assert!(Cutter::new(false).unwrap().feed(&vec![b'x'; MAX_LINE_BYTES + 1]).is_err());
        let nameless = format!(r#"{{"collection":"users","seq":1,"body":"{}"#, "x".repeat(MAX_LINE_BYTES));
        assert!(Cutter::new(false).unwrap().feed(nameless.as_bytes()).is_err());
        assert!(Cutter::new(true).unwrap().feed(b"not zstd").is_err());
    }

    /// However its bytes arrive, a document that is too long is known by its digest, and what comes after
    /// it is taken.
    #[test]
    fn a_document_that_is_too_long_goes_by_and_is_not_kept() {
        let id = RecordId::new(Timestamp::EPOCH, [7; 10]);
        let body = format!(r#"{{"values":"{}"}}"#, "x".repeat(3 * MAX_LINE_BYTES));
        let long = format!(r#"{{"collection":"reviews","id":"{id}","seq":2,"body":{body}}}"#);
        let text = [DOCUMENT, &long, DOCUMENT, &end(3), &long, &end(3), ""].join("\n");
        let compressed = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
        for (zstd, bytes) in [(false, text.into_bytes()), (true, compressed)] {
            for size in [7, 1_000, 700_000, usize::MAX] {
                let mut cutter = Cutter::new(zstd).unwrap();
                let mut pages = Vec::new();
                for chunk in bytes.chunks(size) {
                    cutter.feed(chunk).unwrap();
                    assert!(cutter.lines_mut().line.capacity() <= 2 * MAX_LINE_BYTES);
                    while let Some(StreamEvent::Page(page)) = cutter.cut() {
                        pages.push((page.lines.len(), page.oversized));
                    }
                }
                assert!(cutter.is_clean());
                let [(first, over), (second, again)] = &pages[..] else { panic!("{}", pages.len()) };
                assert_eq!((*first, *second), (2 * (DOCUMENT.len() + 1), 0), "in chunks of {size}");
                let [over] = &over[..] else { panic!("{over:?}") };
                assert_eq!((over.collection.as_str(), over.id, over.seq), ("reviews", id, 2));
                assert_eq!(over.bytes, long.len() as u64);
                let whole = Element::of(Collection::Reviews, id.as_bytes(), 2, body.as_bytes());
                assert_eq!((over.element, again.len()), (Some(whole), 1));
            }
        }
    }
}
