/**
 * The names of `@rstmdb/client`, for programs that were written for it. New programs use `Database`.
 *
 * @module
 */

import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import { Database } from './database.js';
import { asyncDispose } from './dispose.js';
import { ClosedError, refuse } from './errors.js';
import { type JsonInput, type JsonObject, stored } from './json.js';
import type { MachineDefinition } from './machine.js';
import type { OpenOptions } from './options.js';
import { type ClientTls, TlsFiles } from './tls_files.js';
import type * as types from './types.js';
import type { Watch } from './watch.js';

/** How a client connects. */
export interface ClientConfig {
  readonly host: string;
  /** 7401 when absent. */
  readonly port?: number | undefined;
  /** The token to present. */
  readonly auth?: string | undefined;
  /** How long connecting may take, in milliseconds; 10 seconds when absent. */
  readonly connectionTimeout?: number | undefined;
  /** How long an answer may take, in milliseconds; 30 seconds when absent. */
  readonly requestTimeout?: number | undefined;
  /** What the server's log calls this client. */
  readonly clientName?: string | undefined;
  /** Certificates: files, or their contents. */
  readonly tls?: boolean | ClientTls | undefined;
  /** How a lost connection is made again; a request that can be repeated is repeated meanwhile. */
  readonly reconnect?:
    | {
        readonly enabled?: boolean | undefined;
        /** In milliseconds. */
        readonly interval?: number | undefined;
        readonly maxAttempts?: number | undefined;
      }
    | undefined;
}

/** An instance. */
export interface Instance {
  readonly id: string;
  readonly machine: string;
  readonly version: number;
  readonly state: string;
  readonly context: JsonObject;
}

/** A machine and its versions. */
export interface Machine {
  readonly name: string;
  readonly versions: readonly number[];
}

/** What became of an event. */
export interface ApplyEventResult extends types.ApplyEventResult {
  /** The state before. */
  readonly previousState: string;
  /** The state after. */
  readonly currentState: string;
  /** The context after the payload was merged. */
  readonly context: JsonObject;
}

/** What the server is. */
export interface ServerInfo extends types.InfoResult {
  /** The version of rstmdb. */
  readonly version: string;
  /** What there is; an older server does not tell. */
  readonly stats: Pick<types.InfoResult, 'instances' | 'machines'>;
}

/** One event of a watch. */
export type StreamEvent = types.InstanceEvent;

/** The arguments of `createInstance`. */
export interface CreateInstanceParams {
  readonly machine: string;
  readonly version: number;
  readonly id?: string | undefined;
  readonly context?: object | undefined;
  readonly idempotencyKey?: string | undefined;
}

/** The arguments of `applyEvent`. */
export interface ApplyEventParams {
  readonly instanceId: string;
  readonly event: string;
  readonly payload?: JsonInput | undefined;
  readonly expectedState?: string | undefined;
  readonly eventId?: string | undefined;
  readonly idempotencyKey?: string | undefined;
}

/** One operation of a batch. */
export type BatchOperation =
  | { readonly op: 'createInstance'; readonly params: CreateInstanceParams }
  | { readonly op: 'applyEvent'; readonly params: ApplyEventParams }
  | { readonly op: 'deleteInstance'; readonly params: { readonly id: string } }
  | { readonly op: 'getInstance'; readonly params: { readonly id: string } };

/** Builds a `ClientConfig` step by step. */
export class ClientOptions {
  readonly #config: { -readonly [K in keyof ClientConfig]: ClientConfig[K] };

  private constructor(host: string) {
    this.#config = { host };
  }

  /** Begins with the host to connect to. */
  static create(host: string): ClientOptions {
    return new ClientOptions(host);
  }

  /** The port to connect to. */
  port(port: number): this {
    return this.#set('port', port);
  }

  /** The token to present. */
  auth(token: string): this {
    return this.#set('auth', token);
  }

  /** How long connecting may take, in milliseconds. */
  connectionTimeout(ms: number): this {
    return this.#set('connectionTimeout', ms);
  }

  /** How long an answer may take, in milliseconds. */
  requestTimeout(ms: number): this {
    return this.#set('requestTimeout', ms);
  }

  /** What the server's log calls this client. */
  clientName(name: string): this {
    return this.#set('clientName', name);
  }

  /** Certificates: files, or their contents. */
  tls(tls: boolean | ClientTls): this {
    return this.#set('tls', tls);
  }

  /** How a lost connection is made again. */
  reconnect(reconnect: NonNullable<ClientConfig['reconnect']>): this {
    return this.#set('reconnect', reconnect);
  }

  /** What was said. Printed, or written as JSON, it does not show the token or the key. */
  build(): ClientConfig {
    const config = { ...this.#config };
    const { auth, tls } = config;
    const key = typeof tls === 'object' && tls.key !== undefined;
    const shown = () => ({
      ...config,
      ...(auth !== undefined && { auth: '…' }),
      ...(key && { tls: { ...tls, key: '…' } }),
    });
    for (const name of [inspect.custom, 'toJSON']) {
      Object.defineProperty(config, name, { value: shown });
    }
    return config;
  }

  #set<K extends keyof ClientConfig>(name: K, value: ClientConfig[K]): this {
    this.#config[name] = value;
    return this;
  }
}

/** A client of a server, with the names of `@rstmdb/client`. */
export class Client {
  readonly #config: ClientConfig;
  #db: Promise<Database> | undefined;
  /** Ends the connecting. */
  #giveUp = new AbortController();
  #files: TlsFiles | undefined;

  constructor(config: ClientConfig) {
    this.#config = config;
  }

  /** Makes a client and connects it. */
  static async connect(
    host: string,
    port?: number,
    options?: Omit<ClientConfig, 'host' | 'port'>,
  ): Promise<Client> {
    const client = new Client({ ...options, host, port });
    await client.connect();
    return client;
  }

  /** Connects. Once connected, connecting again does nothing. */
  async connect(): Promise<void> {
    this.#db ??= this.#open();
    const mine = this.#db;
    try {
      await mine;
    } catch (error) {
      // Another one may be under way since.
      if (this.#db === mine) this.#db = undefined;
      throw error;
    }
  }

  /** Closes the connection. A `connect` under way rejects with a `ClosedError`. */
  async close(): Promise<void> {
    const opening = this.#db;
    const files = this.#files;
    this.#db = undefined;
    this.#files = undefined;
    this.#giveUp.abort(closed('the client was closed while it connected'));
    try {
      // Whoever connects is told why that failed; here there is nothing left to close then.
      const db = await opening?.catch(() => undefined);
      await db?.close();
    } finally {
      await files?.remove();
    }
  }

  /** The database behind it, with all operations. */
  async database(): Promise<Database> {
    if (this.#db !== undefined) return this.#db;
    throw closed('the client is not connected; call connect() first');
  }

  async #open(): Promise<Database> {
    const { host, port = 7401, auth, tls, reconnect, clientName } = this.#config;
    // They become parts of a URL.
    if (typeof host !== 'string' || !/^[^\s/?#@,]+$/.test(host)) {
      throw refuse('host must be the name or the address of a server, and no URL', {
        field: 'host',
      });
    }
    if (!Number.isInteger(port)) throw refuse('port must be a whole number', { field: 'port' });
    const files = new TlsFiles();
    this.#files = files;
    this.#giveUp = new AbortController();
    const { signal } = this.#giveUp;
    const attempts = reconnect?.enabled === false ? 0 : (reconnect?.maxAttempts ?? 10);
    const options: OpenOptions = {
      token: auth,
      clientName,
      connectTimeoutMs: this.#config.connectionTimeout ?? 10_000,
      requestTimeoutMs: this.#config.requestTimeout ?? 30_000,
      tls: typeof tls === 'object' ? await files.options(tls) : tls,
      retry: { attempts, backoffMinMs: reconnect?.interval },
      signal,
    };
    // An IPv6 address stands in brackets.
    const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
    try {
      return await Database.open(`rstmdb://${name}:${port}`, options);
    } catch (error) {
      await files.remove();
      throw error;
    }
  }

  /** Stores a machine definition. */
  async putMachine(
    name: string,
    version: number,
    definition: MachineDefinition,
  ): Promise<types.PutMachineResult> {
    return (await this.database()).putMachine(name, version, definition);
  }

  /** Returns a machine definition. */
  async getMachine(name: string, version: number): Promise<types.GetMachineResult> {
    return (await this.database()).getMachine(name, version);
  }

  /** Lists machines and their versions. */
  async listMachines(): Promise<Machine[]> {
    const { items } = await (await this.database()).listMachines();
    return items.map(({ machine, versions }) => ({ name: machine, versions }));
  }

  /** Creates an instance. */
  async createInstance(params: CreateInstanceParams): Promise<Instance> {
    const { machine, version, context = {} } = params;
    const created = await (await this.database()).createInstance(creation(params));
    const { instanceId: id, state } = created;
    // As it is stored, and not the caller's own object, which they may change.
    return { id, machine, version, state, context: stored(context, 'context') as JsonObject };
  }

  /** Returns the state and context of an instance. */
  async getInstance(id: string): Promise<Instance> {
    return instance(await (await this.database()).getInstance(id));
  }

  /** Deletes an instance. */
  async deleteInstance(id: string): Promise<types.DeleteInstanceResult> {
    return (await this.database()).deleteInstance(id);
  }

  /** Lists instances, a page at a time. */
  async listInstances(request?: types.ListInstancesRequest): Promise<types.ListInstancesResult> {
    return (await this.database()).listInstances(request);
  }

  /** Applies an event to an instance. */
  async applyEvent(params: ApplyEventParams): Promise<ApplyEventResult> {
    return applied(await (await this.database()).applyEvent(params));
  }

  /** Runs several operations, all or nothing (`atomic`) or each on its own. */
  async batch(batch: {
    readonly mode?: types.BatchMode | undefined;
    readonly operations: readonly BatchOperation[];
    readonly idempotencyKey?: string | undefined;
  }): Promise<readonly types.BatchOutcome[]> {
    const { operations, ...rest } = batch;
    const ops = operations.map(operation);
    return (await (await this.database()).batch({ ...rest, ops })).results;
  }

  /** Follows the events of one instance. */
  watchInstance(id: string, options?: Omit<types.WatchInstanceRequest, 'instanceId'>): WatchStream {
    return new WatchStream(this.database().then((db) => db.watchInstance(id, options)));
  }

  /** Follows the events of all instances, filtered. */
  watchAll(request?: types.WatchAllRequest): WatchStream {
    return new WatchStream(this.database().then((db) => db.watchAll(request)));
  }

  /** Answers when the server is alive. */
  async ping(): Promise<types.PingResult> {
    return (await this.database()).ping();
  }

  /** Returns name, version, features and limits of the server. */
  async info(): Promise<ServerInfo> {
    const info = await (await this.database()).info();
    const { serverVersion: version, instances, machines } = info;
    const stats = {
      ...(instances === undefined ? {} : { instances }),
      ...(machines === undefined ? {} : { machines }),
    };
    return { ...info, version, stats };
  }

  /** Closes the client: `await using client = await Client.connect('localhost')`. */
  async [asyncDispose](): Promise<void> {
    await this.close();
  }
}

function closed(message: string): ClosedError {
  const code = 'INTERNAL_ERROR';
  return new ClosedError({
    code,
    kind: 'closed',
    reason: 'closed',
    message,
    retryable: false,
    context: {},
  });
}

function instance(got: types.GetInstanceResult): Instance & types.GetInstanceResult {
  return { ...got, id: got.instanceId, context: got.ctx };
}

function applied(got: types.ApplyEventResult): ApplyEventResult {
  return { ...got, previousState: got.fromState, currentState: got.toState, context: got.ctx };
}

function creation(params: CreateInstanceParams): types.CreateInstanceRequest {
  const { id: instanceId, context: initialCtx, ...rest } = params;
  return { ...rest, instanceId, initialCtx };
}

function operation(given: BatchOperation): types.BatchOperation {
  switch (given.op) {
    case 'createInstance':
      return { op: given.op, params: creation(given.params) };
    case 'deleteInstance':
    case 'getInstance':
      return { op: given.op, params: { instanceId: given.params.id } };
    default:
      return given;
  }
}

/**
 * A watch as an async iterator, or with listeners: `event` for each event, `error` when it fails,
 * `end` when it is over. Listen for events or iterate, not both. A listener for `error` or `end` alone
 * learns what becomes of the watch, and takes no event away from who listens or iterates later.
 */
export class WatchStream extends EventEmitter implements AsyncIterable<StreamEvent> {
  readonly #watch: Promise<Watch>;
  #listening = false;
  /** What was asked for to see whether there is anything at all; the first that a reader gets. */
  #first: Promise<IteratorResult<StreamEvent, undefined>> | undefined;
  #read = false;
  #told = false;

  /** @internal */
  constructor(watch: Promise<Watch>) {
    super();
    this.#watch = watch;
    // Who never listens nor iterates never learns of it; that is no uncaught error.
    watch.catch(() => undefined);
    this.on('newListener', (name) => {
      if (name === 'event' && !this.#listening) {
        this.#listening = true;
        void this.#listen();
      }
      if ((name === 'error' || name === 'end') && !this.#read) this.#peek();
    });
  }

  async #listen(): Promise<void> {
    try {
      for await (const event of this) this.#tell('event', event);
      this.#over('end');
    } catch (error) {
      this.#over('error', error);
    }
  }

  /** Learns how it goes, for those who listen for nothing but that. */
  #peek(): void {
    if (this.#first !== undefined) return;
    this.#first = this.#watch.then((watch) => watch.next());
    this.#first.then(
      ({ done }) => {
        if (done && !this.#read) this.#over('end');
      },
      (error) => {
        if (!this.#read && this.listenerCount('error') > 0) this.#over('error', error);
      },
    );
  }

  /** It ends once, whoever saw it first. */
  #over(name: 'end' | 'error', ...args: unknown[]): void {
    if (this.#told) return;
    this.#told = true;
    this.#tell(name, ...args);
  }

  /** A listener that throws is an uncaught exception, and the watch goes on. */
  #tell(name: string, ...args: unknown[]): void {
    try {
      this.emit(name, ...args);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** The events, one after the other. */
  async *[Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    this.#read = true;
    const watch = await this.#watch;
    try {
      const first = this.#first;
      this.#first = undefined;
      const { done, value } = (await first) ?? { done: false, value: undefined };
      if (done) return;
      if (value !== undefined) yield value;
      yield* watch;
    } finally {
      await watch.close();
    }
  }

  /** Ends the watch. */
  async close(): Promise<void> {
    await (await this.#watch).close();
  }
}
