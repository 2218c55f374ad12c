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

/** Somebody who asked for an event that is not there yet. */
interface Waiter<M extends MachineTypes> {
  readonly resolve: (result: IteratorResult<InstanceEvent<M>, undefined>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A watch: `for await (const event of watch)`. Leaving the loop ends it, and so does `close()`.
 *
 * Nothing is lost when the reader is slow: what does not fit into the queues is read from the log. A
 * watch that nobody awaits does not keep the process alive. A watch keeps its database open, also when
 * nobody else refers to that.
 */
export class Watch<Started = unknown, M extends MachineTypes = AnyMachine>
  implements AsyncIterableIterator<InstanceEvent<M>, undefined>
{
  /** What the operation answered: where the instance or the log was when the watch began. */
  readonly started: Started;

  readonly #native: NativeWatch;
  readonly #owner: { readonly closing: boolean };
  readonly #signal: AbortSignal | undefined;
  readonly #release: (() => void) | undefined;
  /** Behind the last event that was handed out. What is fetched or on its way does not count. */
  #resume: Offset;
  #history: string | undefined;
  /** Fetched and not handed out, in wire form. */
  #fetched: readonly unknown[] = [];
  #next = 0;
  /** Those who asked and were not answered, in their order. */
  readonly #waiters: Waiter<M>[] = [];
  #fetching = false;
  #ended = false;
  /** Why it ended, for the next one who asks. */
  #failure: { readonly reason: unknown } | undefined;

  /** @internal */
  constructor(
    native: NativeWatch,
    started: Started,
    owner: { readonly closing: boolean },
    signal: AbortSignal | undefined,
  ) {
    this.#native = native;
    this.started = started;
    this.#owner = owner;
    this.#signal = signal;
    const offset = BigInt(native.resumeOffset());
    this.#resume = offset > Number.MAX_SAFE_INTEGER ? offset : Number(offset);
    this.#history = native.historyId() || undefined;
    if (signal !== undefined) this.#release = onAbort(signal, this.#abort);
    if (signal?.aborted) this.#abort();
  }

  /**
   * Where a later watch goes on without gap or repeat: give it as `fromOffset`. It is behind the last
   * event that was handed out, and where the watch began as long as there was none.
   */
  get resumeOffset(): Offset {
    return this.#resume;
  }

  /** The history that the change before it belongs to: give it as `historyId` beside `fromOffset`. */
  get historyId(): string | undefined {
    return this.#history;
  }

  /** The next event; done when the watch or its database was closed. */
  next(): Promise<IteratorResult<InstanceEvent<M>, undefined>> {
    if (this.#owner.closing) this.#end();
    if (this.#ended) return this.#last();
    if (this.#next < this.#fetched.length) return Promise.resolve(this.#take());
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (!this.#fetching) void this.#fetch();
    });
  }

  /** Ends the watch; `for await` calls it when its loop is left. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#end();
    return { value: undefined, done: true };
  }

  /** Ends the watch, and rejects with `reason`. */
  async throw(reason?: unknown): Promise<IteratorReturnResult<undefined>> {
    this.#end();
    throw reason;
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

  readonly #abort = (): void => {
    this.#end({ reason: this.#signal?.reason });
  };

  #end(failure?: { readonly reason: unknown }): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#fetched = [];
    this.#release?.();
    this.#native.end();
    for (const waiter of this.#waiters.splice(0)) this.#last().then(waiter.resolve, waiter.reject);
  }

  /** What those get who ask behind the end: the first one is told why. */
  #last(): Promise<IteratorReturnResult<undefined>> {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) return Promise.reject(failure.reason);
    return Promise.resolve({ value: undefined, done: true });
  }

  #take(): IteratorYieldResult<InstanceEvent<M>> {
    const value = decodeInstanceEvent(this.#fetched[this.#next]) as InstanceEvent<M>;
    this.#next += 1;
    if (this.#next === this.#fetched.length) {
      this.#fetched = [];
      this.#next = 0;
    }
    this.#resume = behind(value.walOffset);
    this.#history = value.historyId ?? this.#history;
    return { value, done: false };
  }

  /** Fetches as long as somebody waits. */
  async #fetch(): Promise<void> {
    this.#fetching = true;
    try {
      while (this.#waiters.length > 0) {
        const events = await outcome(this.#native.next(EVENTS_MAX));
        // Nobody receives what arrives behind the end, and `resumeOffset` is before it.
        if (this.#ended) return;
        if (events === null) {
          this.#end();
          return;
        }
        this.#fetched = events as readonly unknown[];
        while (this.#next < this.#fetched.length) {
          const waiter = this.#waiters.shift();
          if (waiter === undefined) break;
          waiter.resolve(this.#take());
        }
      }
    } catch (error) {
      this.#end({ reason: error });
    } finally {
      this.#fetching = false;
    }
  }
}

/** The offset behind `offset`. */
function behind(offset: Offset): Offset {
  return offset < 2 ** 53 ? Number(offset) + 1 : BigInt(offset) + 1n;
}
