/**
 * `rstmdb/client` for `import`.
 *
 * @module
 */

export * from './compat.js';
