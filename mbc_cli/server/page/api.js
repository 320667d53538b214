// Calls of the server. A key, where it asks for one, is kept until the tab is closed.

import { byId } from "./dom.js";

const KEY = "mbc-api-key";
let needsKey = null; // whether the server asks for one, once that is known
let asking = null; // the dialog for the key is open once, however many calls wait for it

export async function call(path, { method = "GET", body = null } = {}) {
  for (;;) {
    const headers = {};
    const key = sessionStorage.getItem(KEY);
    if (key === null && (await isKeyNeeded())) {
      await askForKey(false);
      continue;
    }
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    if (body !== null) headers["Content-Type"] = "application/json";
    const response = await fetch(path, { method, headers, body: body === null ? null : JSON.stringify(body) });
    if (response.status === 401) {
      if (sessionStorage.getItem(KEY) === key) await askForKey(key !== null);
      continue;
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    return answer;
  }
}

function isKeyNeeded() {
  needsKey ??= fetch("/health").then(async (response) => (await response.json()).needs_key);
  return needsKey;
}

function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key");
    const field = dialog.querySelector("input");
    if (refused) byId("key-text").textContent = "The server does not know this key.";
    field.value = "";
    dialog.oncancel = (event) => event.preventDefault();
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEY, field.value.trim());
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

export function query(path, fields) {
  const parameters = new URLSearchParams(
    Object.entries(fields).filter(([, value]) => value !== null && value !== undefined),
  );
  return parameters.size ? `${path}?${parameters}` : path;
}

export const documentPath = (id) => `/v1/memory/documents/${encodeURIComponent(id)}`;
