/**
 * How a database is opened.
 *
 * @module
 */

import { stringify } from './json.js';
import type { Limits } from './types.js';

/** Options of a database in this process: a directory, or `mem:`. */
export interface LocalOptions {
  /**
   * When a change is synced to the disk: before it is answered (`every_write`, the default), after so
   * many changes, after so many milliseconds, or when the system pleases.
   */
  readonly fsync?: 'every_write' | `every_n:${number}` | `every_ms:${number}` | 'never' | undefined;
  /** Sizes and counts that requests may not exceed. */
  readonly limits?: Partial<Limits> | undefined;
  /** How much of the log, and with it of history, is kept. */
  readonly retention?:
    | 'forever'
    | { readonly bytes: number }
    | { readonly ageMs: number }
    | undefined;
  /** The size of a file of the log, in bytes. */
  readonly segmentBytesMax?: number | undefined;
  /** After how many bytes of log a checkpoint is written. */
  readonly checkpointLogBytes?: number | undefined;
  /** Below so many free bytes on the disk, writes are refused. */
  readonly freeBytesMin?: number | undefined;
  /** How long an idempotency key is remembered, in milliseconds. */
  readonly idempotencyWindowMs?: number | undefined;
  /** How many idempotency keys are remembered. */
  readonly idempotencyKeysMax?: number | undefined;
  /** Whether the id of a deleted instance may be used again. */
  readonly allowInstanceRecreate?: boolean | undefined;
  /** Whether `flushAll` is allowed. */
  readonly allowFlushAll?: boolean | undefined;
  /** Whether a directory that is not there is made. True unless said otherwise. */
  readonly create?: boolean | undefined;
  /**
   * For tests: the database's clock stands still at this time, in milliseconds since 1970, and moves
   * by `advanceClock` alone.
   */
  readonly manualClockMs?: number | undefined;
}

/** How a connection is encrypted. */
export interface TlsOptions {
  /** A file with the certificates to trust, instead of the system's. */
  readonly ca?: string | undefined;
  /** A file with the certificate to present. */
  readonly clientCert?: string | undefined;
  /** A file with the key of that certificate. */
  readonly clientKey?: string | undefined;
  /** The name that the server's certificate must have, instead of the URL's host. */
  readonly serverName?: string | undefined;
  /** Whether any certificate will do. For tests only. */
  readonly insecure?: boolean | undefined;
}

/** Options of a database on a server, `rstmdb://` or `rstmdbs://`. */
export interface ServerOptions {
  /** The token to present. */
  readonly token?: string | undefined;
  /** Whether the connection is encrypted, and how. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** How long connecting may take, in milliseconds. */
  readonly connectTimeoutMs?: number | undefined;
  /** How long an answer may take, in milliseconds. */
  readonly requestTimeoutMs?: number | undefined;
  /** How often an idle connection is tried, in milliseconds. */
  readonly keepAliveMs?: number | undefined;
  /** How many connections there are at most. */
  readonly poolSize?: number | undefined;
  /** How many requests may be on their way at once. */
  readonly inFlightMax?: number | undefined;
  /** What the server's log calls this client. */
  readonly clientName?: string | undefined;
  /** How often, and after how long, a request that can be repeated is repeated. */
  readonly retry?:
    | {
        readonly attempts?: number | undefined;
        readonly backoffMinMs?: number | undefined;
        readonly backoffMaxMs?: number | undefined;
      }
    | undefined;
}

/** How a database is opened. An option of the other kind of database is refused, not ignored. */
export interface OpenOptions extends LocalOptions, ServerOptions {
  /** Ends the waiting for the database to open. */
  readonly signal?: AbortSignal | undefined;
}

/** The options as the native side takes them. */
export function encodeOptions(options: OpenOptions): string {
  const { signal: _, ...own } = options;
  return stringify(own, 'the options', snake);
}

/** Names as on the wire, at every depth: options hold nothing of users. */
function snake(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const wire: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    wire[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = snake(member);
  }
  return wire;
}
