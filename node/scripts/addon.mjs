// Puts the library that cargo built where npm installs the addon of this platform, so that it is found in one way.
// Usage: node scripts/addon.mjs LIBRARY

import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { triple } from '../dist/platform.js';

const installed = join('node_modules', `rstmdb-${triple()}`);
const addon = join(installed, `rstmdb.${triple()}.node`);
mkdirSync(installed, { recursive: true });
copyFileSync(join('npm', triple(), 'package.json'), join(installed, 'package.json'));
// By way of another name: a process that has the old one loaded keeps it.
copyFileSync(process.argv[2], `${addon}.new`);
renameSync(`${addon}.new`, addon);
