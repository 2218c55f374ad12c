// The TypeScript in the guide compiles, but for the lines that say that they don't.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript-5';

const here = fileURLToPath(new URL('..', import.meta.url));
const guide = readFileSync(join(here, '../docs/guide/typescript.md'), 'utf8');
// What the text around a block speaks of.
const AROUND = `
declare const db: import('rstmdb').Database;
declare const signal: AbortSignal;
declare const id: string;
declare function ship(instanceId: string): Promise<void>;
declare function remember(
  offset: import('rstmdb').Offset,
  historyId: string | undefined,
): Promise<void>;
`;

test('the blocks of the guide compile', () => {
  const folder = join(here, 'build', 'guide');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'around.d.ts'), AROUND);
  const blocks = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block]) => block);
  assert.ok(blocks.length >= 4);
  const files = blocks.map((block, index) => {
    const path = join(folder, `block-${index}.mts`);
    writeFileSync(
      path,
      `${block.replace(/^(.*)\/\/ does not compile$/gm, '// @ts-expect-error\n$1')}\nexport {};\n`,
    );
    return path;
  });
  const { config } = ts.readConfigFile(join(here, 'tsconfig.json'), ts.sys.readFile);
  const options = {
    ...config.compilerOptions,
    noEmit: true,
    rootDir: here,
    noUnusedLocals: false,
  };
  const parsed = ts.convertCompilerOptionsFromJson(options, here);
  const program = ts.createProgram([...files, join(folder, 'around.d.ts')], parsed.options);
  const problems = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    return `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
  assert.deepEqual(problems, []);
});
