/**
 * What the database has to say while it works.
 *
 * @module
 */

import { refuse } from './errors.js';
import { construct, environment, listen } from './thread.js';

/** How important a message is. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Takes one message: its level, the part it comes from, and its text. */
export type LogListener = (level: LogLevel, target: string, message: string) => void;

/**
 * Sends messages of `level` and above, of all databases of the process, to `listener`; to nobody
 * without one. An error thrown by the listener is an uncaught exception.
 */
export function setLog(level: LogLevel, listener?: LogListener): void {
  if (listener !== undefined && typeof listener !== 'function') {
    throw refuse('setLog: the listener is not a function');
  }
  if (typeof level !== 'string') {
    throw refuse(`setLog: expected the name of a level, not a ${typeof level}`);
  }
  construct(() => environment.log(listener === undefined ? 'off' : level));
  // Behind what may fail: a wrong level leaves all as it was.
  listen(listener);
}
