//! Readers are few, and nobody takes them all.

use super::*;

/// So many reads, all begun, that end when the first is dropped.
async fn reads_under_way(
    world: &World,
    count: usize,
) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinSet<Result<(), StoreError>>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (store, gate, begun) = (world.store.clone(), Arc::clone(&gate), begun.clone());
        let waits = move |_: &Tx<'_>| {
            begun.send(()).unwrap();
            let _ = gate.lock().unwrap().recv();
            Ok(())
        };
        busy.spawn(async move { store.read(AccessScope::Nothing, waits).await });
    }
    for _ in 0..count {
        let begins = tokio::time::timeout(std::time::Duration::from_secs(30), began.recv());
        begins.await.expect("each has a reader").unwrap();
    }
    (open, busy)
}

#[tokio::test]
async fn a_person_whose_four_requests_all_read_leaves_others_a_reader() {
    let world = World::new();
    let (open, busy) = reads_under_way(&world, 4).await;
    let other = world.store.read(AccessScope::Nothing, |_: &Tx<'_>| Ok(()));
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), other).await;
    drop(open);
    read.expect("it has a reader").unwrap();
    for read in busy.join_all().await {
        read.unwrap();
    }
}

/// Otherwise thousands of questions, asked and hung up on, hold up everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_for_who_has_hung_up() {
    let world = World::new();
    let readers = std::thread::available_parallelism().map_or(5, |cores| cores.get().clamp(5, 8));
    let (open, busy) = reads_under_way(&world, readers).await;
    let read = Arc::new(AtomicU64::new(0));
    let ask = || {
        let read = Arc::clone(&read);
        world.store.read(AccessScope::Nothing, move |_: &Tx<'_>| {
            read.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    };
    let mut stays = Box::pin(ask());
    let mut goes = Box::pin(ask());
    for asked in [&mut stays, &mut goes] {
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, asked).await.is_err(),
            "it waits for a reader"
        );
    }
    drop(goes);
    drop(open);
    stays.await.unwrap();
    for read in busy.join_all().await {
        read.unwrap();
    }
    world.store.close();
    assert_eq!(read.load(Ordering::SeqCst), 1);
}
