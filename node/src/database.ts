/**
 * A database: in memory, in a directory, or on a server.
 *
 * @module
 */

import type { NativeDatabase, NativeResults } from './addon.js';
import { OPERATIONS } from './codec.js';
import { asyncDispose } from './dispose.js';
import { isPromise, refuse } from './errors.js';
import { MachineHandle } from './handle.js';
import { stringify } from './json.js';
import { lazily } from './lazy.js';
import type { AnyMachine, DefinedMachine, MachineDefinition, MachineTypes } from './machine.js';
import { native } from './native.js';
import { Operations } from './operations.js';
import { encodeOptions, type OpenOptions } from './options.js';
import { plainText } from './plain.js';
import { arrange, expectOptions, expectSignal, rename, type Spec } from './spec.js';
import { construct, environment, isFailure, isReady, later, outcome, read } from './thread.js';
import type { BatchResult } from './types.js';
import { Watch } from './watch.js';

/**
 * An open database, with one method for each operation. All of them can be called while others are
 * under way; writes share their syncs.
 *
 * Waiting for an operation keeps the process alive; an open database does not. Close it where data
 * matters to others: the directory is then free for the next process.
 */
export class Database extends Operations {
  readonly #native: NativeDatabase;
  /** What watches ask before they hand out what they have, and what they keep from being collected. */
  readonly #state: { closing: boolean; readonly native: NativeDatabase };

  private constructor(native: NativeDatabase) {
    super();
    this.#native = native;
    this.#state = { closing: false, native };
  }

  /**
   * Opens the database at `url`: `mem:` for one in memory, a path such as `./data` for a directory, or
   * `rstmdb://host:7401` (encrypted: `rstmdbs://`) for a server.
   */
  static async open(url: string, options?: OpenOptions): Promise<Database> {
    const given: OpenOptions = expectOptions(options, 'open');
    if (typeof url !== 'string') throw refuse(`open: expected a URL or a path, not ${shown(url)}`);
    if (/\p{Surrogate}/u.test(url)) {
      throw refuse('open: the URL or path holds half a surrogate pair, which is no text');
    }
    const signal = expectSignal(given, 'open');
    if (signal?.aborted) throw signal.reason;
    const text = encodeOptions(given);
    const database = new Database(
      construct(() => new native.NativeDatabase(environment, url, text)),
    );
    try {
      await outcome(database.#native.opened(), signal);
    } catch (error) {
      // It may be opened yet, for someone who gave up and does not wait for the end of that either.
      const closed = database.close();
      if (signal?.aborted) closed.catch(() => undefined);
      else await closed;
      throw error;
    }
    return database;
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#native.isClosed();
  }

  /**
   * Closes the database: operations under way end with their result or a `ClosedError`, watches end,
   * and a directory is free for others when this is done. Closing twice is fine.
   */
  async close(): Promise<void> {
    this.#state.closing = true;
    await outcome(this.#native.close());
  }

  /** Closes the database: `await using db = await Database.open('./data')`. */
  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /** A machine that is known to the compiler, made by `defineMachine`. */
  machine<M extends MachineTypes>(machine: DefinedMachine<M>): MachineHandle<M>;
  /** A machine by name and version; with its definition, the compiler knows states and events. */
  machine<const S extends string, const E extends string>(
    name: string,
    version: number,
    definition: MachineDefinition<S, E>,
  ): MachineHandle<{ readonly state: S; readonly event: E }>;
  /** A machine by name and version, which the database has already. */
  machine<M extends MachineTypes = AnyMachine>(name: string, version: number): MachineHandle<M>;
  machine(
    machine: string | DefinedMachine,
    version?: number,
    definition?: MachineDefinition,
  ): MachineHandle {
    if (typeof machine === 'object' && machine !== null) {
      if (isPromise(machine)) expectMachine(machine, version);
      expectMachine(machine.name, machine.version);
      return new MachineHandle(this, machine.name, machine.version, machine.definition);
    }
    expectMachine(machine, version);
    return new MachineHandle(this, machine, version as number, definition);
  }

  /** For tests: moves the clock of a database that was opened with `manualClockMs`. */
  async advanceClock(ms: number): Promise<void> {
    if (!Number.isSafeInteger(ms)) {
      throw refuse(`advanceClock: expected whole milliseconds, not ${shown(ms)}`);
    }
    await outcome(this.#native.advanceClock(ms));
  }

  /** @internal */
  protected async invoke<R>(spec: Spec<R>, args: readonly unknown[]): Promise<R> {
    const { request, signal } = arrange(spec, args);
    if (signal?.aborted) throw signal.reason;
    const text = encode(spec, request);
    if (spec.number === BATCH.number) {
      const started = this.#native.startBatch(text);
      return keep(isReady(started, BATCH_WEIGHT) ? started : await later(started, signal)) as R;
    }
    const started = this.#native.start(spec.number, text);
    // In memory, most answers are there: no promise more than the caller's.
    return spec.decode(read(isReady(started) ? started : await later(started, signal)));
  }

  /** @internal */
  protected async follow<R>(spec: Spec<R>, args: readonly unknown[]): Promise<Watch<R>> {
    const { request, signal } = arrange(spec, args);
    if (signal?.aborted) throw signal.reason;
    const text = encode(spec, request);
    const watch = construct(() => new native.NativeWatch(this.#native, spec.number, text));
    const started = spec.decode(await outcome(watch.started(), signal));
    return new Watch(watch, started, this.#state, signal);
  }
}

function expectMachine(name: unknown, version: unknown): void {
  if (typeof name !== 'string') {
    throw refuse(
      `machine: expected a name and a version, or what defineMachine made, not ${shown(name)}`,
    );
  }
  if (!Number.isInteger(version)) {
    throw refuse(
      `machine ${JSON.stringify(name)}: expected a whole number as version, not ${shown(version)}`,
      { machine: name },
    );
  }
}

/** A value as it stands in a message. */
function shown(value: unknown): string {
  if (isPromise(value)) return 'a promise; await it first';
  return typeof value === 'number' || value == null ? String(value) : `a ${typeof value}`;
}

const BATCH: Spec<BatchResult> = OPERATIONS.batch;
/** A batch is worth so many other answers; and what nobody looked at is freed in the turn of others. */
const BATCH_WEIGHT = 32;

/** The result of a batch. Many are never looked at: what was not refused did what it says. */
function keep(answer: string | NativeResults): BatchResult {
  if (typeof answer === 'string' && isFailure(answer)) read(answer);
  const text = () => (typeof answer === 'string' ? answer : answer.text());
  return lazily('results', () => BATCH.decode(read(text())));
}

function encode(spec: Spec<unknown>, request: object): string {
  return (
    plainText(spec.members, request) ??
    stringify(request, spec.name, (request) => rename(spec.members, request as object, spec.name))
  );
}

/** Opens a database; the same as `Database.open`. */
export function open(url: string, options?: OpenOptions): Promise<Database> {
  return Database.open(url, options);
}
