//! What must hold when all is quiet, looked at from outside.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use carepost_agent::sqlite::{self, Durability, FileKey, Opening};
use carepost_protocol::change::Lane;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::pull::Line;

use super::Story;
use super::device::{Device, Due, mirror_key};

/// A document's place and exact bytes, by collection and id.
pub type Documents = BTreeMap<(&'static str, [u8; 16]), (u64, Vec<u8>)>;

/// Everything that is not as it should be, in words.
pub(super) fn look(story: &mut Story) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let places = story.devices.iter().map(Device::place).max().map_or(0, |last| last + 1);
    let feeds: Vec<Documents> = (0..places).map(|place| feed(story, place)).collect::<Result<_>>()?;
    let marks: Vec<BTreeMap<i64, usize>> = feeds.iter().map(marks).collect::<Result<_>>()?;
    for (at, device) in story.devices.iter().enumerate() {
        for lane in Lane::ALL {
            let waiting = device.waiting(lane)?;
            if waiting > 0 {
                found.push(format!("device {at} stands still: {waiting} wait in {}", lane.name()));
            }
        }
        for made in &device.made {
            for (place, marks) in marks.iter().enumerate() {
                let times = marks.get(&made.mark).copied().unwrap_or(0);
                let here = place == device.place();
                let well = match made.due {
                    Due::Once => times == usize::from(here),
                    Due::Never => times == 0,
                    Due::AtMostOnce => times <= usize::from(here),
                };
                if !well {
                    found.push(format!("{made:?} of device {at} is {times} times in facility {place}"));
                }
            }
        }
        let broken = device.made.iter().filter(|made| made.due == Due::Never).count();
        let rejected =
            device.live.as_ref().map_or(Ok(0), |live| live.outbox.counts().map(|counts| counts.rejected))?;
        if !device.forked && usize::try_from(rejected)? != broken {
            found.push(format!("device {at} has {rejected} rejected entries, not {broken}"));
        }
        found.extend(compare(at, device, &feeds[device.place()])?);
    }
    Ok(found)
}

/// What was charted in a facility, as its feed has it: how often each mark.
pub(super) fn marks_of(story: &Story, place: usize) -> Result<BTreeMap<i64, usize>> {
    marks(&feed(story, place)?)
}

/// A whole facility's feed, as a device that has nothing pulls it.
fn feed(story: &Story, place: usize) -> Result<Documents> {
    let mut documents = Documents::new();
    let mut after = None;
    loop {
        let Ok(page) = story.server.page(place, after, 500) else { bail!("the feed cannot be read") };
        for line in page.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(line)?;
            let Some(collection) = line.collection.as_deref().and_then(Collection::from_name) else {
                continue;
            };
            let id: carepost_protocol::id::RecordId = line.id.context("a document without an id")?.parse()?;
            let seq = line.seq.context("a document without its place")?;
            if let Some(body) = line.body {
                documents.insert((collection.name(), *id.as_bytes()), (seq, body.get().as_bytes().to_vec()));
            }
        }
        if page.end.reaches_head() {
            return Ok(documents);
        }
        after = Some(page.end.cursor);
    }
}

/// How often each mark was charted.
fn marks(documents: &Documents) -> Result<BTreeMap<i64, usize>> {
    let mut marks = BTreeMap::new();
    for ((collection, _), (_, body)) in documents {
        if *collection == Collection::Records.name() {
            let body: serde_json::Value = serde_json::from_slice(body)?;
            let mark = body.pointer("/values/mark").and_then(serde_json::Value::as_i64);
            *marks.entry(mark.context("a record without a mark")?).or_insert(0) += 1;
        }
    }
    Ok(marks)
}

/// What a mirror's file holds, which an agent may have open as well.
///
/// # Errors
/// When it cannot be read.
pub fn mirrored(path: &Path, key: &FileKey) -> Result<Documents> {
    let durability = Durability::ProcessCrash;
    let connection =
        sqlite::open_reader(&Opening { path, key, durability, cache_kib: 1024, migrations: &[] })?;
    let mut statement = connection.prepare("SELECT collection, id, seq, body FROM documents")?;
    let mut rows = statement.query([])?;
    let mut documents = Documents::new();
    while let Some(row) = rows.next()? {
        // The file numbers the collections from 1, in the order of the protocol.
        let number: u32 = row.get(0)?;
        let collection = number.checked_sub(1).and_then(|at| Collection::ALL.get(usize::try_from(at).ok()?));
        let name = collection.context("a collection without a name")?.name();
        documents.insert((name, row.get(1)?), (u64::try_from(row.get::<_, i64>(2)?)?, row.get(3)?));
    }
    Ok(documents)
}

/// Compares a device's mirror with its facility's feed, row by row and byte by byte.
fn compare(at: usize, device: &Device, feed: &Documents) -> Result<Vec<String>> {
    let mirror = mirrored(&device.mirror_path(), &mirror_key())?;
    let mut found = Vec::new();
    let missing = feed.iter().filter(|(key, document)| mirror.get(*key) != Some(*document)).count();
    let surplus = mirror.keys().filter(|key| !feed.contains_key(*key)).count();
    if missing + surplus > 0 {
        found.push(format!("the mirror of device {at} lacks {missing} documents and has {surplus} too many"));
    }
    Ok(found)
}
