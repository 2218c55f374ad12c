// Copies the library that cargo built to where the package looks for it.
// Usage: node scripts/addon.mjs FOLDER

import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { triple } from './triple.mjs';

const names = { darwin: 'librstmdb_node.dylib', win32: 'rstmdb_node.dll' };
const library = join(process.argv[2], names[process.platform] ?? 'librstmdb_node.so');
const addon = `rstmdb.${triple()}.node`;
// By way of another name: a process that has the old one loaded keeps it.
copyFileSync(library, `${addon}.new`);
renameSync(`${addon}.new`, addon);
