/**
 * One class for each kind of error, with everything that is needed to act on it.
 *
 * @module
 */

import type { Json } from './json.js';
import type { ErrorCode, ErrorKind, ErrorReason } from './types.js';

/** What an error consists of. */
export interface ErrorDetails {
  /** What went wrong. */
  readonly code: ErrorCode;
  /** What the caller should do. */
  readonly kind: ErrorKind;
  /** The finer distinction within the code. */
  readonly reason?: ErrorReason | undefined;
  /** In words, with what to do. */
  readonly message: string;
  /** Whether the same request may succeed later without a change. */
  readonly retryable: boolean;
  /** The operation that failed, by its wire name. */
  readonly operation?: string | undefined;
  /** The facts: names of things, limits, positions. Keys are spelled as on the wire. */
  readonly context: Readonly<Record<string, Json>>;
}

/** The base of all errors of rstmdb. */
export class RstmdbError extends Error implements ErrorDetails {
  /** What went wrong. Stable: programs may compare it. */
  readonly code: ErrorCode;
  /** What the caller should do; each kind has a class. */
  readonly kind: ErrorKind;
  /** The finer distinction within the code, where there is one. Stable. */
  declare readonly reason?: ErrorReason;
  /** Whether the same request may succeed later without a change. */
  readonly retryable: boolean;
  /** The operation that failed, by its wire name, such as `APPLY_EVENT`. */
  declare readonly operation?: string;
  /** The facts: names of things, limits, positions. Keys are spelled as on the wire. */
  readonly context: Readonly<Record<string, Json>>;

  constructor(details: ErrorDetails) {
    super(details.message);
    this.code = details.code;
    this.kind = details.kind;
    if (details.reason !== undefined) this.reason = details.reason;
    this.retryable = details.retryable;
    if (details.operation !== undefined) this.operation = details.operation;
    this.context = details.context;
  }

  /** The error as it travels on the wire. */
  toJSON(): ErrorDetails {
    const { code, kind, reason, message, retryable, operation, context } = this;
    return {
      code,
      kind,
      ...(reason !== undefined && { reason }),
      message,
      retryable,
      ...(operation !== undefined && { operation }),
      context,
    };
  }
}

/** Something that was named is not there. */
export class NotFoundError extends RstmdbError {}
/** The name is taken. */
export class AlreadyExistsError extends RstmdbError {}
/** The rules of the machine or a limit say no; change the state or the request. */
export class RejectedError extends RstmdbError {}
/** The machine has no transition for this state and event. */
export class InvalidTransitionError extends RejectedError {}
/** The instance is not where the caller expected it to be: read again, decide again. */
export class ConflictError extends RstmdbError {}
/** The request is wrong; correct it. */
export class InvalidError extends RstmdbError {}
/** Present (other) credentials. */
export class UnauthorizedError extends RstmdbError {}
/** Try again later, or free what is missing. */
export class UnavailableError extends RstmdbError {}
/** There is no connection to the server. */
export class ConnectionError extends UnavailableError {}
/** No answer came in time. */
export class TimeoutError extends UnavailableError {}
/** Stored data is damaged. */
export class CorruptError extends RstmdbError {}
/** The database, or the watch, was closed. */
export class ClosedError extends RstmdbError {}
/** A fault inside rstmdb; report it. */
export class InternalError extends RstmdbError {}

type ErrorClass = new (details: ErrorDetails) => RstmdbError;

/** Complete: a kind without a class does not compile. */
const BY_KIND: { readonly [K in ErrorKind]: ErrorClass } = {
  not_found: NotFoundError,
  already_exists: AlreadyExistsError,
  rejected: RejectedError,
  conflict: ConflictError,
  invalid: InvalidError,
  unauthorized: UnauthorizedError,
  unavailable: UnavailableError,
  corrupt: CorruptError,
  closed: ClosedError,
  internal: InternalError,
};

/** Codes and reasons that users of other clients know by a class of their own. */
const FINER = new Map<string, ErrorClass>([
  ['INVALID_TRANSITION', InvalidTransitionError],
  ['connection_lost', ConnectionError],
  ['timeout', TimeoutError],
]);

for (const [name, made] of Object.entries({
  RstmdbError,
  NotFoundError,
  AlreadyExistsError,
  RejectedError,
  InvalidTransitionError,
  ConflictError,
  InvalidError,
  UnauthorizedError,
  UnavailableError,
  ConnectionError,
  TimeoutError,
  CorruptError,
  ClosedError,
  InternalError,
})) {
  // On the prototype, where those of the language have it; minifiers rename classes.
  Object.defineProperty(made.prototype, 'name', {
    value: name,
    configurable: true,
    writable: true,
  });
}

/** The error that the wire form describes. */
export function decodeError(
  wire: {
    readonly [K in keyof ErrorDetails]?: ErrorDetails[K] | null;
  },
): RstmdbError {
  const { code, kind, reason, message, retryable, operation, context } = wire;
  const details: ErrorDetails = {
    code: code ?? 'INTERNAL_ERROR',
    kind: kind ?? 'internal',
    reason: reason ?? undefined,
    message: spelled(message ?? '', context?.field),
    retryable: retryable ?? false,
    operation: operation ?? undefined,
    context: context ?? {},
  };
  const finer = FINER.get(details.reason ?? '') ?? FINER.get(details.code);
  const found: ErrorClass = finer ?? BY_KIND[details.kind] ?? RstmdbError;
  return new found(details);
}

/** The message with the member of the request that it is about as it is called here. */
function spelled(message: string, field: Json | undefined): string {
  if (typeof field !== 'string') return message;
  const here = field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return message.replace(` request: ${field}`, () => ` request: ${here}`);
}

/** Whether a value is a promise, of whatever make. */
export function isPromise(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

/** The error of a request that can't even be written. */
export function refuse(message: string, context: Record<string, Json> = {}): InvalidError {
  return new InvalidError({
    code: 'BAD_REQUEST',
    kind: 'invalid',
    reason: 'invalid_request',
    message,
    retryable: false,
    context,
  });
}
