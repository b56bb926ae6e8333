//! The virtual reader, seen through the real pcscd and the `pcsc` crate.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test file: whatever fails, fails the story"
)]

use std::ffi::CString;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use carepost_reader::pcscd::alone;
use carepost_reader::{Manner, Pcscd};
use pcsc::{Card, Context, Protocols, ReaderState, Scope, ShareMode, State};

const UID: &str = "04A1B2C3D4E5F6";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_card_laid_down_answers_its_uid() {
    alone("a_card_laid_down_answers_its_uid", 1, |pcscd| {
        let context = Context::establish(Scope::User).unwrap();
        pcscd.reader(0).present(UID).unwrap();
        let card = connect(&context);
        let mut buffer = [0; 64];
        let answer = card.transmit(&[0xFF, 0xCA, 0, 0, 0], &mut buffer).unwrap();
        assert_eq!(answer, [0x04, 0xA1, 0xB2, 0xC3, 0xD4, 0xE5, 0xF6, 0x90, 0x00]);
    });
}

#[test]
fn the_tools_own_pcscd_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for is_told in [true, false] {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_carepost-tap"));
        let mut tool = tool
            .arg("pcscd")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, mut said) = (tool.stdin.take().unwrap(), BufReader::new(tool.stdout.take().unwrap()));
        let mut line = String::new();
        while !line.starts_with("reader ") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
        }
        if is_told {
            assert!(Command::new("kill").arg(tool.id().to_string()).status().unwrap().success());
        } else {
            drop(input);
        }
        assert!(tool.wait().unwrap().success(), "{is_told}");
        // It is removed once pcscd has ended.
        assert!(!folder.path().join("pcscd.comm").exists(), "{is_told}");
    }
}

#[test]
fn the_tool_lays_down_and_takes_away() {
    alone("the_tool_lays_down_and_takes_away", 1, |pcscd| {
        let context = Context::establish(Scope::User).unwrap();
        let socket = pcscd.reader(0).socket().to_owned();
        let tool = |arguments: &[&str]| {
            let mut tool = Command::new(env!("CARGO_BIN_EXE_carepost-tap"));
            assert!(tool.arg("--reader").arg(&socket).args(arguments).status().unwrap().success());
        };
        tool(&["present", UID]);
        wait_for(&context, State::PRESENT);
        tool(&["remove"]);
        wait_for(&context, State::EMPTY);
        let before = events(&context);
        tool(&[UID, "--hold", "10"]);
        assert_eq!(events(&context), before + 2, "a tap is a card laid down and taken away");
    });
}

#[test]
fn lights_and_buzzer_are_remembered() {
    alone("lights_and_buzzer_are_remembered", 1, |pcscd| {
        let context = Context::establish(Scope::User).unwrap();
        let signal = [0xFF, 0x00, 0x40, 0x0C, 0x04, 1, 0, 1, 1];
        let mut buffer = [0; 64];
        let reader = context.connect(&name(&context), ShareMode::Direct, Protocols::UNDEFINED).unwrap();
        assert_eq!(reader.control(pcsc::ctl_code(1), &signal, &mut buffer).unwrap(), [0x90, 0x00]);
        drop(reader);
        pcscd.reader(0).present(UID).unwrap();
        assert_eq!(connect(&context).transmit(&signal, &mut buffer).unwrap(), [0x90, 0x00]);
        assert_eq!(pcscd.reader(0).signals().unwrap(), [signal.to_vec(), signal.to_vec()]);
    });
}

#[test]
fn readers_come_and_go_and_pcscd_dies_and_returns() {
    alone("readers_come_and_go_and_pcscd_dies_and_returns", 0, |pcscd: &mut Pcscd| {
        let listed = || Context::establish(Scope::User).unwrap().list_readers_owned().unwrap().len();
        assert_eq!(listed(), 0);
        pcscd.restart_with(2).unwrap();
        until(|| listed() == 2);
        pcscd.restart_with(1).unwrap();
        until(|| listed() == 1);
        pcscd.kill();
        assert!(matches!(Context::establish(Scope::User), Err(pcsc::Error::NoService)));
        pcscd.restart().unwrap();
        until(|| listed() == 1);
    });
}

#[test]
fn an_unplugged_reader_is_unavailable_until_plugged_in() {
    alone("an_unplugged_reader_is_unavailable_until_plugged_in", 1, |pcscd| {
        let context = Context::establish(Scope::User).unwrap();
        wait_for(&context, State::EMPTY);
        pcscd.reader(0).unplug().unwrap();
        wait_for(&context, State::UNAVAILABLE);
        pcscd.reader(0).plug().unwrap();
        wait_for(&context, State::EMPTY);
    });
}

#[test]
fn bad_words_are_refused_with_a_reason() {
    alone("bad_words_are_refused_with_a_reason", 1, |pcscd| {
        let refusal = pcscd.reader(0).present("04A1B").unwrap_err().to_string();
        assert_eq!(refusal, "the reader refused: a UID is 1 to 16 bytes in hex");
        assert!("sleepy".parse::<Manner>().is_err());
    });
}

fn name(context: &Context) -> CString {
    context.list_readers_owned().unwrap().remove(0)
}

fn connect(context: &Context) -> Card {
    wait_for(context, State::PRESENT);
    context.connect(&name(context), ShareMode::Shared, Protocols::ANY).unwrap()
}

fn wait_for(context: &Context, wanted: State) {
    let mut states = [ReaderState::new(name(context), State::UNAWARE)];
    let deadline = Instant::now() + PATIENCE;
    while !states[0].event_state().contains(wanted) {
        assert!(Instant::now() < deadline, "{wanted:?} never came, it is {:?}", states[0].event_state());
        states[0].sync_current_state();
        let _timeout = context.get_status_change(Duration::from_millis(200), &mut states);
    }
}

fn events(context: &Context) -> u32 {
    let mut states = [ReaderState::new(name(context), State::UNAWARE)];
    context.get_status_change(PATIENCE, &mut states).unwrap();
    states[0].event_count()
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to pass");
        std::thread::yield_now();
    }
}
