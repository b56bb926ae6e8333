//! What is typed is on the device before it is saved, however long it is and however slow the disk.

use anyhow::{Result, ensure};
use carepost_tests::children::until;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::Scene;
use serde_json::json;

use crate::browser::before_a_form;

/// Types into every field, more together than a browser sends once its page has gone.
const TYPES_MUCH: &str = "
    const fields = [...document.querySelectorAll('[name^=note_]')];
    for (const field of fields) field.value = 'x'.repeat(2000);
    fields[0].dispatchEvent(new Event('input', {bubbles: true}));
    return fields.length";

/// Has each draft take a while, and counts how many are on their way at once.
const SLOWLY: &str = "
    const ask = window.fetch;
    [window.sent, window.done, window.underway, window.most] = [[], 0, 0, 0];
    window.fetch = async (to, how) => {
        if (!String(to).endsWith('/draft')) return ask(to, how);
        window.sent.push(new URLSearchParams(how.body).get('note_1'));
        window.most = Math.max(window.most, ++window.underway);
        await new Promise((go) => setTimeout(go, 4000));
        const reply = await ask(to, how);
        window.underway -= 1;
        window.done += 1;
        return reply;
    }";

/// Has the next draft wait until it is released.
const HELD: &str = "
    const after = window.fetch;
    window.fetch = async (to, how) => {
        if (String(to).endsWith('/draft') && !window.release) {
            const reply = after(to, how);
            await new Promise((go) => (window.release = go));
            return reply;
        }
        return after(to, how);
    }";

fn types(words: &str) -> String {
    format!(
        "const field = document.querySelector('[name=note_1]');
        field.value = '{words}';
        field.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_form_is_kept_and_an_older_draft_is_never_written_over_a_newer_one() -> Result<()> {
    let scene = Scene::new(1).await?;
    let field = |n| json!({"key": format!("note_{n}"), "label": format!("Note {n}"), "type": "string"});
    let fields: Vec<_> = (0..40).map(field).collect();
    let long = json!({"key": "long", "label": "Long", "fields": fields});
    scene.facility.organization.admin.post("/api/v1/workflows", &long).await?;
    let kiosk = scene.kiosk("hall").await?;
    let page = before_a_form(&scene, &kiosk, "long").await?;
    page.sees(&["Note 39", "Save"]).await?;
    assert_eq!(page.script(TYPES_MUCH).await?, json!(40));
    page.sees(&["Unfinished answers are kept"]).await?;

    page.script(SLOWLY).await?;
    page.script(&types("older")).await?;
    let shows = async |what: &str, script: &str| {
        until(what, PATIENCE, || async {
            ensure!(page.script(script).await? == json!(true), "it is not");
            Ok(())
        })
        .await
    };
    shows("a draft on its way", "return window.sent.length === 1").await?;
    page.script(&types("newer")).await?;
    shows("both to arrive", "return window.done === 2").await?;
    assert_eq!(page.script("return window.sent").await?, json!(["older", "newer"]));
    assert_eq!(page.script("return window.most").await?, json!(1), "two were on their way at once");

    // The screen locks before a long draft was due: it is there all the same.
    page.script(&types("last")).await?;
    kiosk.tap_to(&scene.nora.uid, "locked").await?;
    page.sees(&["Tap your badge"]).await?;
    kiosk.tap_to(&scene.nora.uid, "open-").await?;
    page.sees(&["You began this earlier"]).await?;
    let kept = "return ['note_1', 'note_39'].map((key) => document.querySelector(`[name=${key}]`).value)";
    assert_eq!(page.script(kept).await?, json!(["last", "x".repeat(2_000)]));

    // It locks while an older one is on its way: the newer one goes after it, and is what is there.
    page.script(SLOWLY).await?;
    page.script(HELD).await?;
    page.script(&types("older still")).await?;
    shows("a draft on its way", "return window.sent.length === 1").await?;
    page.script(&types("newer still")).await?;
    kiosk.tap_to(&scene.nora.uid, "locked").await?;
    shows("a blank page", "return !document.querySelector('form')").await?;
    assert_eq!(page.script("return window.sent").await?, json!(["older still"]));
    page.script("window.release()").await?;
    page.sees(&["Tap your badge"]).await?;
    kiosk.tap_to(&scene.nora.uid, "open-").await?;
    page.sees(&["You began this earlier"]).await?;
    assert_eq!(page.script(kept).await?, json!(["newer still", "x".repeat(2_000)]));
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_does_not_wait_for_a_short_draft() -> Result<()> {
    let scene = Scene::new(1).await?;
    let kiosk = scene.kiosk("hall").await?;
    let page = before_a_form(&scene, &kiosk, "vitals").await?;
    page.script(HELD).await?;
    page.fill("[name=pulse]", "71").await?;
    until("a draft on its way", PATIENCE, || async {
        ensure!(page.script("return Boolean(window.release)").await? == json!(true), "it is not");
        Ok(())
    })
    .await?;
    kiosk.tap_to(&scene.nora.uid, "locked").await?;
    page.sees(&["Tap your badge"]).await?;
    page.close().await
}
