/**
 * Events as they happen, pulled one after the other.
 *
 * @module
 */

import { onAbort } from './abort.js';
import type { NativeWatch } from './addon.js';
import { decodeInstanceEvent } from './codec.js';
import { asyncDispose } from './dispose.js';
import type { AnyMachine, MachineTypes } from './machine.js';
import { outcome } from './thread.js';
import type { InstanceEvent, Offset } from './types.js';

/** How many events are fetched at most while the reader is busy with one. */
const EVENTS_MAX = 256;

/** Events of one instance or of many. */
export type WatchEvent<M extends MachineTypes = AnyMachine> = InstanceEvent<M>;

/**
 * A watch: `for await (const event of watch)`. Leaving the loop ends it, and so does `close()`.
 *
 * Nothing is lost when the reader is slow: what does not fit into the queues is read from the log. A
 * watch that nobody awaits does not keep the process alive.
 */
export class Watch<Started = unknown, M extends MachineTypes = AnyMachine>
  implements AsyncIterableIterator<InstanceEvent<M>, undefined>
{
  /** What the operation answered: where the instance or the log was when the watch began. */
  readonly started: Started;

  readonly #native: NativeWatch;
  readonly #signal: AbortSignal | undefined;
  readonly #release: (() => void) | undefined;
  /** Fetched and not handed out, in wire form. */
  #fetched: { readonly wal_offset: Offset }[] = [];
  #next = 0;
  /** The last of those who asked before. */
  #turn: Promise<unknown> = Promise.resolve();
  #asking = 0;
  #ended = false;
  /** Why it ended, for the next one who asks. */
  #failure: { readonly reason: unknown } | undefined;

  /** @internal */
  constructor(native: NativeWatch, started: Started, signal: AbortSignal | undefined) {
    this.#native = native;
    this.started = started;
    this.#signal = signal;
    if (signal !== undefined) this.#release = onAbort(signal, this.#abort);
    if (signal?.aborted) this.#abort();
  }

  /** Where a later watch goes on without gap or repeat: give it as `fromOffset`. */
  get resumeOffset(): Offset {
    const next = this.#fetched[this.#next];
    if (next !== undefined) return next.wal_offset;
    const offset = BigInt(this.#native.resumeOffset());
    return offset > Number.MAX_SAFE_INTEGER ? offset : Number(offset);
  }

  /** The next event; done when the watch or its database was closed. */
  next(): Promise<IteratorResult<InstanceEvent<M>, undefined>> {
    if (this.#asking === 0 && this.#next < this.#fetched.length) {
      return Promise.resolve(this.#take());
    }
    this.#asking += 1;
    const mine = this.#turn.then(() => this.#pull());
    this.#turn = mine.then(this.#done, this.#done);
    return mine;
  }

  /** Ends the watch; `for await` calls it when its loop is left. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#end();
    return { value: undefined, done: true };
  }

  /** Ends the watch. Those who wait for an event are told that there is none. */
  async close(): Promise<void> {
    this.#end();
  }

  /** The watch itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the watch: `await using watch = await db.watchAll()`. */
  async [asyncDispose](): Promise<void> {
    this.#end();
  }

  readonly #done = (): void => {
    this.#asking -= 1;
  };

  readonly #abort = (): void => {
    if (this.#ended) return;
    this.#failure = { reason: this.#signal?.reason };
    this.#end();
  };

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#release?.();
    this.#native.end();
  }

  #take(): IteratorYieldResult<InstanceEvent<M>> {
    const value = decodeInstanceEvent(this.#fetched[this.#next]) as InstanceEvent<M>;
    this.#next += 1;
    if (this.#next === this.#fetched.length) {
      this.#fetched = [];
      this.#next = 0;
    }
    return { value, done: false };
  }

  async #pull(): Promise<IteratorResult<InstanceEvent<M>, undefined>> {
    if (!this.#ended && this.#next < this.#fetched.length) return this.#take();
    if (!this.#ended) {
      try {
        const events = await outcome(this.#native.next(EVENTS_MAX));
        if (!this.#ended && events !== null) {
          this.#fetched = events as { readonly wal_offset: Offset }[];
          return this.#take();
        }
      } catch (error) {
        if (!this.#ended) {
          this.#end();
          throw error;
        }
      }
      this.#end();
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.reason;
    return { value: undefined, done: true };
  }
}
