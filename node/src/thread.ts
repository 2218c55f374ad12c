/**
 * Waiting for the native side: one queue for all databases of this JavaScript thread.
 *
 * @module
 */

import { setImmediate, setInterval } from 'node:timers';
import { onAbort } from './abort.js';
import { decodeError } from './errors.js';
import { parse } from './json.js';
import type { LogLevel, LogListener } from './log.js';
import { native } from './native.js';

/** Who waits for which ticket. */
const waiting = new Map<number, (answer: string) => void>();

/** What this thread has on the native side. */
export const environment = new native.Environment((tickets, answers) => {
  for (let index = 0; index < tickets.length; index += 1) {
    settle(tickets[index] as number, answers[index] as string);
  }
});

/** Keeps the process alive while someone waits; the native side never does. */
let alive: NodeJS.Timeout | undefined;
/** The longest that a timer can wait. */
const LONG_MS = 2 ** 31 - 1;

let listener: LogListener | undefined;

/** Sets who gets the messages of the log. */
export function listen(wanted: LogListener | undefined): void {
  listener = wanted;
}

function tell(line: string): void {
  const [level, target, message] = JSON.parse(line);
  try {
    listener?.(level as LogLevel, target, message);
  } catch (error) {
    // Not here: others wait for the answers behind it.
    process.nextTick(() => {
      throw error;
    });
  }
}

function settle(ticket: number, answer: string): void {
  if (ticket === 0) {
    tell(answer);
    return;
  }
  const waiter = waiting.get(ticket);
  // Given up: the answer was on its way already.
  if (waiter === undefined) return;
  remove(ticket);
  waiter(answer);
}

function add(ticket: number, waiter: (answer: string) => void): void {
  if (waiting.size === 0) {
    if (alive === undefined) alive = setInterval(() => undefined, LONG_MS);
    else alive.ref();
  }
  waiting.set(ticket, waiter);
}

function remove(ticket: number): boolean {
  const removed = waiting.delete(ticket);
  if (removed && waiting.size === 0) alive?.unref();
  return removed;
}

let inTurn = false;

/** One sync is for all that is begun in a turn: the native side hears when promises have had theirs. */
function endTurnLater(): void {
  if (inTurn) return;
  inTurn = true;
  process.nextTick(() => {
    inTurn = false;
    environment.endTurn();
  });
}

/** The answer of a ticket, or the reason of `signal`. */
function answer(ticket: number, signal: AbortSignal | undefined): Promise<string> {
  endTurnLater();
  return new Promise((resolve, reject) => {
    if (signal === undefined) {
      add(ticket, resolve);
      return;
    }
    const release = onAbort(signal, () => {
      if (remove(ticket)) {
        environment.cancel(ticket);
        reject(signal.reason);
      }
    });
    add(ticket, (text) => {
      release();
      resolve(text);
    });
  });
}

/** So many answers that were there at once let timers and sockets have their turn. */
const TURN = 256;
let ready = 0;

/** Whether an answer is there, and it is not the turn of others: then `read` needs no waiting. */
export function isReady<T>(started: T, weight = 1): started is Exclude<T, number> {
  if (typeof started === 'number') return false;
  ready += weight;
  if (ready < TURN) return true;
  ready = 0;
  return false;
}

/** What the native side answers, parsed; an error is thrown here, where the stack still says whose. */
export async function outcome(
  started: string | number,
  signal?: AbortSignal | undefined,
): Promise<unknown> {
  return read(isReady(started) ? started : await later(started, signal));
}

/** The answer that `outcome` reads, for what `isReady` said no to. */
export async function later<T>(
  started: T,
  signal: AbortSignal | undefined,
): Promise<Exclude<T, number> | string> {
  if (typeof started === 'number') return answer(started, signal);
  await new Promise<void>((resolve) => setImmediate(resolve));
  return started as Exclude<T, number>;
}

/** Whether an answer is an error. */
export function isFailure(text: string): boolean {
  return text.charCodeAt(0) === 33;
}

/** The result in an answer. Throws the error in it. */
export function read(text: string): unknown {
  if (isFailure(text)) throw decodeError(JSON.parse(text.slice(1)));
  return parse(text);
}

/** Runs what throws on the native side: a constructor, say, which throws the text of an error. */
export function construct<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { message } = error as Error;
    if (message?.startsWith('!')) throw decodeError(JSON.parse(message.slice(1)));
    throw error;
  }
}
