// When the memory is read: null is now, or { at, label }.

let past = null;
const listeners = [];

export const at = () => past?.at ?? null;

export function readAsOf(chosen) {
  past = chosen;
  for (const listener of listeners) listener(past);
}

export const onMoment = (listener) => listeners.push(listener);
