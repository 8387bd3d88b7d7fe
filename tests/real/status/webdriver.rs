//! A headless Chromium, driven by chromedriver over plain HTTP (<https://www.w3.org/TR/webdriver2/>).

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use slipway_testkit::{harness::Skip, tools};
use tokio::net::TcpStream;

use super::replica::within;

/// The key under which the protocol has an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";

/// A browser of its own, with nothing from before.
pub struct Browser {
    driver: Driver,
    session: String,
}

/// The driver, ended when it is dropped.
struct Driver {
    process: Child,
    port: u16,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    /// Starts chromedriver and a Chromium.
    pub async fn start() -> Result<Self, Skip> {
        let path = tools::need("chromedriver")?;
        let mut process = Command::new(path)
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
        let driver = Driver {
            process,
            port: port.expect("chromedriver ended"),
        };
        // A sandbox needs user namespaces, which root in a container seldom has.
        let options = json!({"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-dev-shm-usage", "--window-size=1280,1000"]});
        let capabilities = json!({"browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}});
        let asked = json!({"capabilities": {"alwaysMatch": capabilities}});
        let session = call(driver.port, Method::POST, "/session", &asked).await;
        let session = session["sessionId"]
            .as_str()
            .expect("no session")
            .to_owned();
        Ok(Self { driver, session })
    }

    pub async fn end(self) {
        self.call(Method::DELETE, "", &Value::Null).await;
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        call(self.driver.port, method, &path, body).await
    }

    async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.call(Method::POST, "/goog/cdp/execute", &body).await
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "/url", &json!({ "url": url }))
            .await;
    }

    /// `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features).await;
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)
            .await;
    }

    /// The value of a script's `return`.
    pub async fn script(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.call(Method::POST, "/execute/sync", &body).await
    }

    /// Waits until a page is there whole whose title contains the word: what leads to it may return as
    /// soon as the browser begins to ask for it, and a command may fail while one page gives way to another.
    pub async fn arrives_at(&self, word: &str) {
        let path = format!("/session/{}/execute/sync", self.session);
        let script = "return document.readyState === 'complete' ? document.title : ''";
        let body = json!({"script": script, "args": []});
        within(async {
            loop {
                let (status, title) = ask(self.driver.port, Method::POST, &path, &body).await;
                if status.is_success() && title.as_str().unwrap().contains(word) {
                    break;
                }
            }
        })
        .await;
    }

    /// The text that people see.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// The element that has the focus.
    async fn focus(&self) -> String {
        let element = self
            .call(Method::GET, "/element/active", &Value::Null)
            .await;
        element[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Types where the focus is.
    pub async fn keys(&self, text: &str) {
        let path = format!("/element/{}/value", self.focus().await);
        self.call(Method::POST, &path, &json!({ "text": text }))
            .await;
    }

    /// Presses one key, wherever the focus is.
    pub async fn press(&self, key: &str) {
        let actions = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.call(Method::POST, "/actions", &actions).await;
    }

    /// The role and the name that assistive technology gets of what has the focus.
    pub async fn focus_in_words(&self) -> (String, String) {
        let element = self.focus().await;
        let mut words = [String::new(), String::new()];
        for (word, what) in words.iter_mut().zip(["computedrole", "computedlabel"]) {
            let path = format!("/element/{element}/{what}");
            let said = self.call(Method::GET, &path, &Value::Null).await;
            said.as_str().unwrap().clone_into(word);
        }
        words.into()
    }

    /// What the console said since it was last asked.
    pub async fn console(&self) -> Vec<Value> {
        let log = self
            .call(Method::POST, "/se/log", &json!({"type": "browser"}))
            .await;
        log.as_array().unwrap().clone()
    }

    /// A picture of the page, as PNG: its upper part.
    pub async fn screenshot(&self, width: u32, height: u32) -> Vec<u8> {
        self.resize(width, height).await;
        let clip = json!({"captureBeyondViewport": false, "optimizeForSpeed": false});
        let picture = self.devtools("Page.captureScreenshot", &clip).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }
}

async fn call(port: u16, method: Method, path: &str, body: &Value) -> Value {
    let (status, value) = ask(port, method.clone(), path, body).await;
    assert!(status.is_success(), "{method} {path}: {value}");
    value
}

/// A command's status and value; that of a command that failed says why.
async fn ask(port: u16, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let status = response.status();
    let bytes = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    (status, answer["value"].clone())
}
