"use strict";

// Sends the requests of the API reference. Token and tenant are read from the page and stored nowhere.

const access = document.getElementById("access");

function requestUrl(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const input of form.querySelectorAll("[data-in=path], [data-in=query]")) {
    if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.append(input.name, input.value);
  }
  const url = new URL(path.slice(1), document.baseURI);
  url.search = query;
  return url;
}

function setHeaders(request, form) {
  const token = access.elements.token.value.trim();
  const tenant = access.elements.tenant.value.trim();
  if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  if (tenant) request.setRequestHeader("X-SE-TENANT", tenant);
  for (const input of form.querySelectorAll("[data-in=header]")) {
    if (input.value !== "") request.setRequestHeader(input.name, input.value);
  }
}

function selectedBody(form) {
  const chosen = form.elements["media-type"];
  return [...form.querySelectorAll("fieldset")].find((body) => !chosen || body.dataset.mediaType === chosen.value);
}

function formData(body) {
  const data = new FormData();
  for (const input of body.querySelectorAll("[name]")) {
    if (input.type === "file") for (const file of input.files) data.append(input.name, file, file.name);
    else for (const line of input.value.split("\n")) if (line !== "") data.append(input.name, line);
  }
  return data;
}

function requestBody(request, form) {
  const body = selectedBody(form);
  if (!body) return null;
  if (body.dataset.mediaType === "multipart/form-data") return formData(body);
  request.setRequestHeader("Content-Type", body.dataset.mediaType);
  const file = body.querySelector("input[type=file]");
  return file ? file.files[0] : body.querySelector("textarea").value;
}

function formatted(request, text) {
  if (!(request.getResponseHeader("Content-Type") || "").includes("json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function showResponse(request, output) {
  const isText = /json|text|pem/.test(request.getResponseHeader("Content-Type") || "text");
  const body = isText ? formatted(request, request.responseText) : `${request.responseText.length} bytes`;
  output.textContent = `${request.status} ${request.statusText}\n${request.getAllResponseHeaders()}\n${body}`;
  output.classList.toggle("failed", request.status >= 400);
}

function execute(form) {
  const output = form.querySelector("output");
  const button = form.querySelector("button");
  const request = new XMLHttpRequest();
  request.open(form.dataset.method, requestUrl(form));
  request.overrideMimeType("text/plain; charset=" + (form.dataset.binary ? "x-user-defined" : "utf-8"));
  setHeaders(request, form);
  request.onprogress = () => showResponse(request, output);
  request.onload = () => showResponse(request, output);
  request.onerror = () => (output.textContent = "The server does not respond.");
  request.onabort = () => (output.textContent += "\nCancelled.");
  request.onloadend = () => {
    button.textContent = "Execute";
    form.request = null;
  };
  form.request = request;
  button.textContent = "Cancel";
  output.textContent = "";
  request.send(requestBody(request, form));
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  if (form === access) return;
  if (form.request) form.request.abort();
  else execute(form);
});
