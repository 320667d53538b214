// What all views share: where failures are shown, and who hears that the memory has changed.

import { byId } from "./dom.js";

const listeners = [];

export const onChange = (listener) => listeners.push(listener);

export function changed() {
  for (const listener of listeners) listener();
}

// Does something that may fail, and says so on the page.
export async function attempt(action) {
  const problem = byId("problem");
  problem.hidden = true;
  try {
    await action();
  } catch (failure) {
    problem.textContent = failure instanceof TypeError ? "The server cannot be reached." : failure.message;
    problem.hidden = false;
  }
}

// Runs a form's action while its buttons are off, so that nothing is sent twice.
export function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await busy(form, () => attempt(action));
  });
}

export async function busy(form, action) {
  const buttons = [...form.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  try {
    await action();
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}
