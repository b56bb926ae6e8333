//! A real browser: headless Chromium, driven through chromedriver.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::children::{free_port, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A window of headless Chromium with a profile of its own.
pub struct Browser {
    client: Client,
    /// The session at chromedriver, for what is Chromium's own.
    session: String,
    http: reqwest::Client,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Opens a window of that size.
    ///
    /// # Errors
    /// When Chromium or chromedriver is missing or does not start.
    pub async fn open(width: u32, height: u32) -> Result<Self> {
        let port = free_port()?;
        let profile = TempDir::new()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver does not start: install Debian's chromium-driver")?;
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities =
            json!({"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(capabilities) = capabilities else { bail!("capabilities are an object") };
        let url = format!("http://127.0.0.1:{port}");
        let client = until("chromedriver", PATIENCE, || async {
            Ok(ClientBuilder::new(hyper_connector()).capabilities(capabilities.clone()).connect(&url).await?)
        })
        .await?;
        let id = client.session_id().await?.context("chromedriver names no session")?;
        let session = format!("{url}/session/{id}");
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let browser = Self { client, session, http, _driver: driver, _profile: profile };
        browser.resize(width, height).await?;
        Ok(browser)
    }

    /// Gives the page exactly so many pixels, as another screen would.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.ask_chromium("goog/cdp/execute", &command).await?;
        Ok(())
    }

    /// What the browser complained of since it was last asked: scripts that broke, what the
    /// Content-Security-Policy stopped, what could not be loaded.
    ///
    /// # Errors
    /// When the browser cannot say.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.ask_chromium("se/log", &json!({"type": "browser"})).await?;
        let entries = log.as_array().with_context(|| format!("not a log: {log}"))?;
        let said = |entry: &Value| entry.get("message").and_then(Value::as_str).unwrap_or("?").to_owned();
        let serious = |entry: &&Value| entry.get("level").is_some_and(|it| it == "SEVERE" || it == "WARNING");
        Ok(entries.iter().filter(serious).map(said).collect())
    }

    async fn ask_chromium(&self, what: &str, body: &Value) -> Result<Value> {
        let request = self.http.post(format!("{}/{what}", self.session)).body(body.to_string());
        let answer: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        let value = answer.get("value").cloned().unwrap_or(Value::Null);
        match value.get("error") {
            Some(error) => bail!("chromedriver refused {what}: {error}: {value}"),
            None => Ok(value),
        }
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn goto(&self, address: &str) -> Result<()> {
        Ok(self.client.goto(address).await?)
    }

    /// The page's visible text.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn text(&self) -> Result<String> {
        let body = self.client.find(Locator::Css("body")).await?;
        Ok(body.text().await?)
    }

    /// Waits until the page shows all of these.
    ///
    /// # Errors
    /// With the page's text, when it does not within twenty seconds.
    pub async fn sees(&self, words: &[&str]) -> Result<String> {
        until(&format!("a page with {words:?}"), PATIENCE, || async {
            let text = self.text().await?;
            // A page may show a word in capitals by its style alone.
            let folded = text.to_lowercase();
            match words.iter().find(|word| !folded.contains(&word.to_lowercase())) {
                None => Ok(text),
                Some(missing) => bail!("no {missing:?} on the page:\n{text}"),
            }
        })
        .await
    }

    /// Touches what a CSS selector finds.
    ///
    /// # Errors
    /// When it is not there within twenty seconds.
    pub async fn touch(&self, selector: &str) -> Result<()> {
        until(&format!("{selector} to touch"), PATIENCE, || async {
            Ok(self.client.find(Locator::Css(selector)).await?.click().await?)
        })
        .await
    }

    /// Touches the link or button that says `words`.
    ///
    /// # Errors
    /// When it is not there within twenty seconds.
    pub async fn touch_words(&self, words: &str) -> Result<()> {
        let path = format!(
            "//*[self::a or self::button or self::label or self::summary][contains(normalize-space(.), '{words}')]"
        );
        until(&format!("{words:?} to touch"), PATIENCE, || async {
            Ok(self.client.find(Locator::XPath(&path)).await?.click().await?)
        })
        .await
    }

    /// Types into what a CSS selector finds, in place of what stands there.
    ///
    /// # Errors
    /// When it is not there within twenty seconds.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        until(&format!("{selector} to fill"), PATIENCE, || async {
            let field = self.client.find(Locator::Css(selector)).await?;
            field.clear().await?;
            Ok(field.send_keys(text).await?)
        })
        .await
    }

    /// Runs a script on the page: its value.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn script(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Saves a picture of the window.
    ///
    /// # Errors
    /// When the browser cannot, or the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        let picture = self.client.screenshot().await?;
        std::fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Closes the window.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.close().await?)
    }
}

fn hyper_connector() -> hyper_util::client::legacy::connect::HttpConnector {
    hyper_util::client::legacy::connect::HttpConnector::new()
}
