//! The project's own text files, and what is needed to read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the project.
pub struct File {
    /// From the project's root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl File {
    /// A file that exists only in a test of a rule, in a folder that there is: a breach elsewhere proves nothing.
    pub fn planted(path: &str, text: &str) -> Self {
        let folder = Path::new(path).parent().expect("a file lies in a folder");
        assert!(
            root().join(folder).is_dir(),
            "{} is gone: plant the breach where it would be",
            folder.display()
        );
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether the file's name ends in `.extension`.
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// The file's lines with their numbers, counted from one, without what follows `//`.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
    }
}

/// The folder that holds the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Every text file of the project; what git and cargo make is not part of it.
pub fn project() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the project's folders can be read") {
            let path = entry.expect("the project's folders can be listed").path();
            if ["target", ".git"].iter().any(|made| path.ends_with(made)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).expect("found under the root");
                files.push(File { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Fails where a rule is about a place that is no more, and so about nothing.
#[track_caller]
pub fn assert_there<'p>(places: impl IntoIterator<Item = &'p str>) {
    for place in places {
        assert!(root().join(place).exists(), "{place} is gone: say where that is now");
    }
}

/// Whether `word` stands in `text` by itself, not as a part of a longer name.
pub fn has_word(text: &str, word: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        !text[..start].ends_with(of_name) && !text[start + word.len()..].starts_with(of_name)
    })
}

/// A line up to its comment. A `//` right after a colon belongs to an address, not to a comment.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(start, _)| !line[..*start].ends_with(':'));
    comment.map_or(line, |(start, _)| &line[..start])
}

#[test]
fn words_and_comments_are_told_apart() {
    assert!(has_word("from some_table where", "some_table"));
    assert!(!has_word("from some_table_old", "some_table"));
    assert_eq!(without_comment("let a = 1; // why"), "let a = 1; ");
    assert_eq!(without_comment("let a = \"https://example.test\";"), "let a = \"https://example.test\";");
}
