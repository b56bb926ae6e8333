//! What is on a kiosk's screen, as a browser without scripts reads it, and what somebody does there.

use anyhow::{Context as _, Result, bail};
use reqwest::StatusCode;
use serde_json::Value;

use super::{Kiosk, PATIENCE, tail};
use crate::children::until;
use crate::world::Nurse;

/// A page: its status and its HTML.
#[derive(Debug, Clone)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    pub html: String,
}

impl Page {
    /// What a person reads.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut inside = false;
        for c in self.html.chars() {
            match c {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    words.push(' ');
                }
                _ if inside => {}
                _ => words.push(c),
            }
        }
        let words = words.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The value of a hidden field.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn hidden(&self, name: &str) -> Result<String> {
        between(&self.html, &format!("name=\"{name}\" value=\""), "\"")
            .with_context(|| format!("no hidden {name} on the page: {}", self.words()))
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
}

impl Kiosk {
    /// Fetches a page.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Page> {
        let mut request = self.page.get(format!("{}{path}", self.address()));
        if let Some(cookie) = &*self.cookie.lock().await {
            request = request.header("cookie", cookie);
        }
        self.read(request.send().await?).await
    }

    /// Opens a page, or the one that it leads to.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn visit(&self, path: &str) -> Result<Page> {
        let page = self.get(path).await?;
        match &page.location {
            Some(location) => self.get(location).await,
            None => Ok(page),
        }
    }

    /// Sends a form, as a page of the kiosk's own would.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Page> {
        if self.cookie.lock().await.is_none() {
            self.get("/").await?;
        }
        let body = fields
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let cookie = self.cookie.lock().await.clone().unwrap_or_default();
        let request = self
            .page
            .post(format!("{}{path}", self.address()))
            .header("cookie", cookie)
            .header("origin", self.address())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        self.read(request.send().await?).await
    }

    async fn read(&self, answer: reqwest::Response) -> Result<Page> {
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        if let Some(set) = header("set-cookie") {
            let cookie = set.split(';').next().unwrap_or_default().to_owned();
            *self.cookie.lock().await = Some(cookie);
        }
        let (status, location) = (answer.status().as_u16(), header("location"));
        Ok(Page { status, location, html: answer.text().await? })
    }

    /// How the agent is, in a form for programs.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/status.json").await?.html)?)
    }

    /// Waits until the agent says that of itself.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn status_is(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let what = format!("{} to have {key} {value}", self.name);
        let waited = until(&what, PATIENCE, || async {
            let status = self.status().await?;
            if status.get(key) == Some(&value) { Ok(()) } else { bail!("{status}") }
        });
        waited.await.map_err(|error| error.context(format!("log of {}:\n{}", self.name, tail(&self.log()))))
    }

    /// The key of the screen, as its pages name it.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn screen(&self) -> Result<String> {
        let page = self.get("/status").await?;
        between(&page.html, "data-screen=\"", "\"").with_context(|| format!("no screen: {}", page.words()))
    }

    /// Waits until the start page, or the form that it leads back to, says all of these.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        self.page_says("/", words).await
    }

    /// Waits until a page, or the one that it leads to, says all of these.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn page_says(&self, path: &str, words: &[&str]) -> Result<String> {
        let what = format!("{} to show {words:?} at {path}", self.name);
        let waited = until(&what, PATIENCE, || async {
            let page = self.visit(path).await?;
            let said = page.words();
            match words.iter().find(|word| !said.contains(**word)) {
                None => Ok(said),
                Some(missing) => bail!("no {missing:?} on the page ({}): {said}", page.status),
            }
        });
        waited.await.map_err(|error| error.context(format!("log of {}:\n{}", self.name, tail(&self.log()))))
    }

    /// Badge and PIN, until the residents are on the screen.
    ///
    /// # Errors
    /// With what the screen says instead.
    pub async fn sign_in(&self, nurse: &Nurse) -> Result<()> {
        self.tap(&nurse.uid).await?;
        self.says(&[&nurse.name, "Enter your PIN"]).await?;
        self.enter_pin(&nurse.pin).await?;
        self.says(&[&nurse.name, "Lock"]).await?;
        Ok(())
    }

    /// Types a PIN into the pad that is shown.
    ///
    /// # Errors
    /// When there is no pad.
    pub async fn enter_pin(&self, pin: &str) -> Result<()> {
        let attempt = self.get("/").await?.hidden("attempt")?;
        self.post("/pin", &[("attempt", &attempt), ("pin", pin)]).await?;
        Ok(())
    }

    /// The path of a resident's page.
    ///
    /// # Errors
    /// When no such name is on the list.
    pub async fn path_of(&self, resident: &str) -> Result<String> {
        until(&format!("{resident} on the list of {}", self.name), PATIENCE, || async {
            let page = self.get("/").await?;
            let cards = page.html.split("href=\"/residents/").skip(1);
            for card in cards {
                let (id, rest) = card.split_once('"').unwrap_or_default();
                let card = rest.split("</a>").next().unwrap_or_default();
                // A link to a form about somebody is no card.
                if card.contains(resident) && !id.contains('/') {
                    return Ok(format!("/residents/{id}"));
                }
            }
            bail!("not there: {}", page.words())
        })
        .await
    }

    /// Fills in a form about a resident and saves it.
    ///
    /// # Errors
    /// With what the page says, unless it was saved.
    pub async fn chart(&self, resident: &str, workflow: &str, answers: &[(&str, &str)]) -> Result<()> {
        let path = format!("{}/chart/{workflow}", self.path_of(resident).await?);
        let answer = self.fill_in(&path, answers).await?;
        if answer.status != StatusCode::SEE_OTHER.as_u16()
            || !answer.location.iter().any(|to| to.contains("saved"))
        {
            bail!("not saved ({} to {:?}): {}", answer.status, answer.location, answer.words());
        }
        Ok(())
    }

    /// Opens a form and sends it filled in: whatever the kiosk answers.
    ///
    /// # Errors
    /// When no form is shown.
    pub async fn fill_in(&self, path: &str, answers: &[(&str, &str)]) -> Result<Page> {
        let form = self.get(path).await?;
        let (token, screen) = (form.hidden("_token")?, form.hidden("_screen")?);
        let carried = ["_units", "_version"].map(|name| (name, form.hidden(name).ok()));
        let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
        fields.extend(carried.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        fields.extend_from_slice(answers);
        self.post(path, &fields).await
    }

    /// Opens the stream on which a page hears which screen is the right one.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn listen(&self) -> Result<Listener> {
        let cookie = self.cookie.lock().await.clone().unwrap_or_default();
        let request = self.page.get(format!("{}/events", self.address())).header("cookie", cookie);
        Ok(Listener { answer: request.send().await?, heard: String::new() })
    }

    /// The code on the screen of a device that is not enrolled.
    ///
    /// # Errors
    /// When it shows none in time.
    pub async fn pairing_code(&self) -> Result<String> {
        self.in_large_letters(9).await
    }

    /// The two digits on the screen of a device that is being confirmed.
    ///
    /// # Errors
    /// When it shows none in time.
    pub async fn confirmation_number(&self) -> Result<String> {
        self.in_large_letters(2).await
    }

    async fn in_large_letters(&self, length: usize) -> Result<String> {
        until(&format!("{length} large letters on {}", self.name), PATIENCE, || async {
            let page = self.get("/").await?;
            let code = between(&page.html, "class=\"code\" translate=\"no\">", "<").unwrap_or_default();
            if code.len() == length { Ok(code) } else { bail!("{code:?}: {}", page.words()) }
        })
        .await
    }
}

/// A page's ear.
#[derive(Debug)]
pub struct Listener {
    answer: reqwest::Response,
    heard: String,
}

impl Listener {
    /// Waits until a screen is announced whose key begins so.
    ///
    /// # Errors
    /// When the stream ends first, or nothing comes for long.
    pub async fn until_says(&mut self, key: &str) -> Result<()> {
        let wanted = format!("\"screen\":\"{key}");
        while !self.heard.contains(&wanted) {
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            let chunk = chunk.with_context(|| format!("no {key:?} within {PATIENCE:?}"))??;
            self.heard.push_str(&String::from_utf8_lossy(&chunk.context("the stream ended")?));
        }
        Ok(())
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
