//! A headless Chromium, driven through chromedriver.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use fantoccini::{
    Client, ClientBuilder,
    actions::{InputSource, KeyAction, KeyActions},
    key::Key,
    wd::WebDriverCompatibleCommand,
};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use slipway_testkit::{client::within, harness::Skip, tools};
use url::{ParseError, Url};

/// What Chromium needs to run as root in a container, and to make no requests of its own. The
/// sandbox needs user namespaces, which root in a container seldom has.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,1000",
];

/// A browser with a fresh profile.
pub struct Browser {
    client: Client,
    _driver: Driver,
}

/// A chromedriver, stopped when it is dropped.
struct Driver {
    process: Child,
    port: u16,
    profile: PathBuf,
}

/// A command that WebDriver's standard or its Chromium extension has, but fantoccini has not.
#[derive(Debug)]
struct Extension {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base_url: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base_url.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = self.body.as_ref().map(Value::to_string);
        (self.method.clone(), body)
    }
}

impl Driver {
    fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let name = format!("chromium-{}", process.id());
        Self {
            process,
            port: port.expect("chromedriver did not start"),
            profile: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have stopped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

impl Browser {
    /// Starts a browser.
    pub async fn start() -> Result<Self, Skip> {
        let driver = Driver::start(&tools::need("chromedriver")?);
        let profile = format!("--user-data-dir={}", driver.profile.display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([&*profile]).collect();
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .unwrap();
        Ok(Self {
            client,
            _driver: driver,
        })
    }

    pub async fn end(self) {
        within(self.client.close()).await.unwrap();
    }

    pub async fn open(&self, url: &str) {
        within(self.client.goto(url)).await.unwrap();
    }

    /// Emulates a preference for the colour scheme `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Resizes the page, to less than the smallest window too.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// Runs a script and returns the value of its `return`.
    pub async fn script(&self, script: &str) -> Value {
        within(self.client.execute(script, Vec::new()))
            .await
            .unwrap()
    }

    /// Waits for a complete page whose title contains the word. A click may return before the browser
    /// begins to load the next page, and commands may fail while one page replaces another.
    pub async fn arrives_at(&self, word: &str) {
        let script = "return document.readyState === 'complete' ? document.title : ''";
        within(async {
            loop {
                let title = self.client.execute(script, Vec::new()).await;
                if title.is_ok_and(|title| title.as_str().unwrap().contains(word)) {
                    break;
                }
            }
        })
        .await;
    }

    /// Returns the visible text.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// Types into the focused element.
    pub async fn keys(&self, text: &str) {
        let element = within(self.client.active_element()).await.unwrap();
        within(element.send_keys(text)).await.unwrap();
    }

    /// Presses one key, wherever the focus is.
    pub async fn press(&self, key: Key) {
        let value = key.into();
        let press = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        within(self.client.perform_actions(press)).await.unwrap();
    }

    /// Returns the role and the name that assistive technology gets of the focused element.
    pub async fn focus(&self) -> (String, String) {
        let element = within(self.client.active_element()).await.unwrap();
        let id = element.element_id();
        let property = async |name: &str| {
            let path = format!("element/{id}/{name}");
            let value = self.extension(Method::GET, path, None).await;
            value.as_str().unwrap().to_owned()
        };
        (
            property("computedrole").await,
            property("computedlabel").await,
        )
    }

    /// Returns the messages on the console since the last call.
    pub async fn console(&self) -> Vec<Value> {
        let body = json!({"type": "browser"});
        let log = self
            .extension(Method::POST, "se/log".to_owned(), Some(body))
            .await;
        log.as_array().unwrap().clone()
    }

    /// Takes a picture of the upper part of the page, as PNG.
    pub async fn screenshot(&self, width: u32, height: u32) -> Vec<u8> {
        self.resize(width, height).await;
        let clip = json!({"captureBeyondViewport": false, "optimizeForSpeed": false});
        let picture = self.devtools("Page.captureScreenshot", clip).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.extension(Method::POST, "goog/cdp/execute".to_owned(), Some(body))
            .await
    }

    async fn extension(&self, method: Method, path: String, body: Option<Value>) -> Value {
        let command = Extension { method, path, body };
        within(self.client.issue_cmd(command)).await.unwrap()
    }
}
