/**
 * What the database has to say while it works.
 *
 * @module
 */

import { refuse } from './errors.js';
import { environment, listen } from './thread.js';

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
  listen(listener);
  environment.log(listener === undefined ? 'off' : level);
}
