//! A kiosk in good order that comes back with a long queue: it is slowed, says so, and everything arrives.

use anyhow::Result;
use carepost_tests::scene::{Scene, vitals};

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_comes_back_with_very_much_is_slowed_says_so_and_all_of_it_arrives() -> Result<()> {
    let mut scene = Scene::new(1).await?;
    // In proportion: 40 at once, and then one in three seconds.
    scene.server.configure("[sync]\nmax_documents = 400\nentries_per_hour = 1200").await?;
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    let (name, id) = scene.resident()?;
    let notes: Vec<String> = (0..30).map(|n| format!("Round {n}")).collect();
    for note in &notes {
        hall.chart(name, "vitals", &vitals(note)).await?;
    }
    hall.link.restore();
    hall.says(&["sent slowly", "Nothing is lost"]).await?;
    hall.status_is("slowed", true).await?;
    scene.has_notes(id, &notes).await?;
    hall.says(&["Everything is sent"]).await?;
    hall.status_is("slowed", false).await
}
