/**
 * rstmdb for `import`: the same modules as for `require`, so that both see the same classes.
 *
 * @module
 */

export * from './index.js';
