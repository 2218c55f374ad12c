/**
 * How a database is opened.
 *
 * @module
 */

import { stringify } from './json.js';
import type { LocalOptions, ServerOptions } from './option_types.js';

export type { LocalOptions, RetryOptions, ServerOptions, TlsOptions } from './option_types.js';

/** How a database is opened. An option of the other kind of database is refused, not ignored. */
export interface OpenOptions extends LocalOptions, ServerOptions {
  /** Ends the waiting for the database to open. */
  readonly signal?: AbortSignal | undefined;
}

/** The options as the native side takes them. */
export function encodeOptions(options: OpenOptions): string {
  const { signal: _, ...own } = options;
  return stringify(own, 'the options', snake);
}

/** Names as on the wire, at every depth: options hold nothing of users. */
function snake(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const wire: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    wire[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = snake(member);
  }
  return wire;
}
