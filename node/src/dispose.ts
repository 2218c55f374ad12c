/**
 * The symbol behind `await using`, also where Node does not have it yet (before 18.18).
 *
 * @module
 */

/** `Symbol.asyncDispose`, or what Node takes for it. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for('nodejs.asyncDispose') as typeof Symbol.asyncDispose);
