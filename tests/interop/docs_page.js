// Fills in and sends forms of the API reference in jsdom, as a reader would; prints what the page shows.

import { JSDOM } from "jsdom";

const [baseUrl, token, config] = process.argv.slice(2);
const dom = await JSDOM.fromURL(`${baseUrl}/docs`, { runScripts: "dangerously", resources: "usable", pretendToBeVisual: true });
const { document } = dom.window;
await new Promise((resolve) => dom.window.addEventListener("load", resolve));
document.getElementById("access").elements.token.value = token;

function form(method, path) {
  return document.querySelector(`form[data-method=${method}][data-path='${path}']`);
}

async function execute(filled) {
  const button = filled.querySelector("button");
  button.click();
  while (button.textContent !== "Execute") await new Promise((resolve) => setTimeout(resolve, 5));
  return filled.querySelector("output").textContent;
}

const signing = form("POST", "/api/v1/signingTask");
const body = JSON.parse(signing.querySelector("textarea").value);
signing.querySelector("textarea").value = JSON.stringify({ ...body, deviceConfigId: config, inputBase64: "aGVsbG8=" });
const created = await execute(signing);
console.log(created.split("\n")[0], /"kind": "(\w+)"/.exec(created)[1]);

const encryption = form("POST", "/api/v1/encryptionTask");
encryption.querySelector("[name=deviceConfigId]").value = config;
const file = new dom.window.File(["content"], "firmware.bin");
Object.defineProperty(encryption.querySelector("[name=inputFile]"), "files", { value: [file] });
const uploaded = await execute(encryption);
console.log(uploaded.split("\n")[0], /"size": (\d+)/.exec(uploaded)[1]);

const task = form("GET", "/api/v1/task/{task_id}");
task.querySelector("[name=task_id]").value = "../../unknown";
console.log((await execute(task)).split("\n")[0]);
dom.window.close();
