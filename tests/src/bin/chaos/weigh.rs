//! Looks at the server and at every mirror, and says what is not as it should be.

use anyhow::{Context as _, Result};
use carepost_agent::upstream::StreamEvent;
use carepost_protocol::id::RecordId;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::pull::SyncPosition;
use carepost_tests::device::Device;
use carepost_tests::simulation::Documents;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Line<'a> {
    collection: Option<&'a str>,
    id: Option<&'a str>,
    seq: Option<u64>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// The facility's live documents, pulled from the beginning.
pub(crate) async fn feed(looker: &Device) -> Result<Documents> {
    let (mut stream, mut documents) =
        (looker.upstream.live(&SyncPosition::at(None)).await?, Documents::new());
    loop {
        let StreamEvent::Page(page) = stream.next().await?.context("the stream ended")? else { continue };
        for line in page.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(line)?;
            let Some(collection) = line.collection.and_then(Collection::from_name) else { continue };
            let id: RecordId = line.id.context("a document without an id")?.parse()?;
            if let (Some(seq), Some(body)) = (line.seq, line.body) {
                documents.insert((collection.name(), *id.as_bytes()), (seq, body.get().as_bytes().to_vec()));
            }
        }
        if page.end.reaches_head() {
            return Ok(documents);
        }
    }
}

/// The notes of all records.
pub(crate) fn notes(documents: &Documents) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for ((collection, _), (_, body)) in documents {
        if *collection == Collection::Records.name() {
            let body: Value = serde_json::from_slice(body)?;
            notes.extend(body.pointer("/values/note").and_then(Value::as_str).map(ToOwned::to_owned));
        }
    }
    Ok(notes)
}

/// How many documents are missing, other than in the feed, or too many.
pub(crate) fn differences(feed: &Documents, mirror: &Documents) -> usize {
    let missing = feed.iter().filter(|(key, document)| mirror.get(*key) != Some(*document)).count();
    missing + mirror.keys().filter(|key| !feed.contains_key(*key)).count()
}
