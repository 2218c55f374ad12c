/// <reference lib="esnext.disposable" preserve="true" />
/**
 * rstmdb: a database of state machines, in this process or on a server.
 *
 * @module
 */

export { Client, ClientOptions, WatchStream } from './client.js';
export { Database, open } from './database.js';
export {
  AlreadyExistsError,
  ClosedError,
  ConflictError,
  ConnectionError,
  CorruptError,
  type ErrorDetails,
  InternalError,
  InvalidError,
  InvalidTransitionError,
  NotFoundError,
  RejectedError,
  RstmdbError,
  TimeoutError,
  UnauthorizedError,
  UnauthorizedError as AuthenticationError,
  UnavailableError,
} from './errors.js';
export { MachineHandle } from './handle.js';
export type { Json, JsonInput, JsonObject } from './json.js';
export { type LogLevel, type LogListener, setLog } from './log.js';
export {
  type Action,
  type AnyMachine,
  type ContextInput,
  type ContextOf,
  type DefinedMachine,
  defineMachine,
  type EventOf,
  type MachineDefinition,
  type MachineTypes,
  type PayloadInput,
  type PayloadOf,
  type State,
  type StateOf,
  type Transition,
} from './machine.js';
export { version } from './native.js';
export type {
  LocalOptions,
  OpenOptions,
  RetryOptions,
  ServerOptions,
  TlsOptions,
} from './options.js';
export type { CallOptions, Rest } from './spec.js';
export { parse, stringify } from './text.js';
export * from './types.js';
export { Watch } from './watch.js';
