/** What dom0 loads when it loads the CBOR codec: no native code, and nothing that compiles text. */

import { expect, test } from 'vitest';
import { PROJECT, run } from '../support/processes.ts';

/** Decodes and encodes enough to make cbor-x compile readers, if it could, then reports what was loaded. */
const script = `
  import { z } from 'zod';
  import { decodeWith, encodeCbor } from './shared/cbor.ts';
  for (let i = 0; i < 5000; i++) {
    const value = { a: i, b: [{ key: 'text', value: new Uint8Array(3) }], c: 2 ** 40 };
    decodeWith(z.unknown(), encodeCbor(value));
  }
  const loaded = [...process.report.getReport().sharedObjects, ...process.moduleLoadList].filter((name) => /\\.node$/.test(name));
  let compiles = true;
  try { new Function('return 1')(); } catch { compiles = false; }
  console.log(JSON.stringify({ loaded, compiles }));`;

test('R02: the CBOR codec loads no native addon and compiles no text as code', async () => {
  const flags = ['--disallow-code-generation-from-strings', '--no-addons'];
  const ended = await run(process.execPath, [...flags, '--input-type=module', '-e', script], {
    cwd: PROJECT,
  });
  expect(ended.stderr).toBe('');
  expect(JSON.parse(ended.stdout.toString())).toEqual({ loaded: [], compiles: false });
});

test('the same check sees the plain import of cbor-x load native code', async () => {
  const plain = script.replace("'zod';", "'zod'; import 'cbor-x';");
  const ended = await run(process.execPath, ['--input-type=module', '-e', plain], { cwd: PROJECT });
  const { loaded, compiles } = JSON.parse(ended.stdout.toString()) as { loaded: string[]; compiles: boolean };
  expect(compiles).toBe(true);
  expect(loaded.some((name) => name.includes('cbor'))).toBe(true);
});

test('no timer of a session keeps a process alive', async () => {
  const sessions = `
    import { duplexPair } from 'node:stream';
    import { Session } from './shared/wire/session.ts';
    import { streamIo } from './shared/wire/io.ts';
    const [a, b] = duplexPair();
    const open = (end) => new Session(streamIo(end, end), { incoming: {}, outgoing: {} }, { peer: 'x', window: 1 });
    const [left, right] = [open(a), open(b)];
    await Promise.all([left.finish(), right.finish()]);
    await Promise.all([left.drained(), right.drained()]);
    const [c] = duplexPair();
    const failing = open(c);
    failing.fail(new Error('over'));
    await failing.receive().catch(() => console.log('done'));`;
  const ended = await run(process.execPath, ['--input-type=module', '-e', sessions], { cwd: PROJECT });
  expect([ended.code, ended.stdout.toString().trim()]).toEqual([0, 'done']);
}, 8_000);
