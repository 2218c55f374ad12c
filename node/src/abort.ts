/**
 * Many waits on one signal: one listener for all, so that no number of calls is too many for it.
 *
 * @module
 */

const waits = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `abort` when the signal fires. The function returned takes that back. */
export function onAbort(signal: AbortSignal, abort: () => void): () => void {
  let all = waits.get(signal);
  if (all === undefined) {
    all = new Set();
    waits.set(signal, all);
  }
  const set = all;
  if (set.size === 0) signal.addEventListener('abort', fire);
  set.add(abort);
  return () => {
    if (set.delete(abort) && set.size === 0) signal.removeEventListener('abort', fire);
  };
}

function fire(this: AbortSignal): void {
  const all = waits.get(this);
  waits.delete(this);
  this.removeEventListener('abort', fire);
  for (const abort of all ?? []) abort();
}
