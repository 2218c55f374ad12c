/**
 * JSON text of values with bigints, by the rules of the database.
 *
 * @module
 */

import { refuse } from './errors.js';
import { type Json, type JsonInput, stringify as write } from './json.js';
import { native } from './native.js';
import { read } from './thread.js';

/**
 * Writes a value as JSON text, as `JSON.stringify` does, but bigints with all their digits: what the
 * database gives, contexts and whole results, can be written with it. What can't be stored is an
 * `InvalidError` that names the place. With `indent`, each member has a line of its own.
 */
export function stringify(value: JsonInput, indent?: number | string): string {
  return write(value, 'stringify', (value) => value, indent);
}

/**
 * Reads JSON text as the database does: integers beyond 2^53 are bigints, exact, and what it would
 * refuse is an `InvalidError` with the place, in `context.path`, `context.line` and `context.column`.
 */
export function parse(text: string): Json {
  if (typeof text !== 'string') throw refuse(`parse: expected a string, not a ${typeof text}`);
  return read(native.readJson(text.replace(/\p{Surrogate}/gu, refused))) as Json;
}

/**
 * For half of a surrogate pair, an escape that the database refuses where it stands: on the way there it would become another
 * character. The space keeps it from an escaped half behind it, a first half does not go with one before it,
 * and a backslash before it that escapes nothing known is refused for itself.
 */
function refused(_half: string, at: number, text: string): string {
  let backslashes = 0;
  while (text[at - 1 - backslashes] === '\\') backslashes += 1;
  return backslashes % 2 === 0 ? '\\ud800 ' : '\ufffd';
}
