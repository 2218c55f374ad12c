/**
 * `rstmdb/client`: what `@rstmdb/client` exports, under its names.
 *
 * @module
 */

export {
  type ApplyEventParams,
  type ApplyEventResult,
  type BatchOperation,
  Client,
  type ClientConfig,
  ClientOptions,
  type CreateInstanceParams,
  type Instance,
  type Machine,
  type ServerInfo,
  type StreamEvent,
  WatchStream,
} from './client.js';
export {
  ConflictError,
  ConnectionError,
  InvalidTransitionError,
  NotFoundError,
  RstmdbError,
  TimeoutError,
  UnauthorizedError as AuthenticationError,
} from './errors.js';
export type { MachineDefinition } from './machine.js';
