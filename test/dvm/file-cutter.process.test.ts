/** The second thread of a reader whose working directory vanishes, as it may in a live volume. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT, run } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

/** Answers how many chunks a file has that another thread cut. */
const PROGRAM = `
  import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
  import { tmpdir } from 'node:os';
  import { join } from 'node:path';
  import { FileCutter } from ${JSON.stringify(join(PROJECT, 'dvm/file-cutter.ts'))};

  const newFolder = () => mkdtempSync(join(tmpdir(), 'qib-test-'));
  const goWhereNothingIs = () => {
    const folder = newFolder();
    process.chdir(folder);
    rmSync(folder, { recursive: true });
  };
  const folder = newFolder();
  const path = join(folder, 'file');
  writeFileSync(path, Buffer.alloc(20_000, 1));
  const descriptor = openSync(path, 'r');
  rmSync(folder, { recursive: true });
  const cutter = new FileCutter();
  goWhereNothingIs();
  const cut = cutter.cut({ descriptor, size: 20_000 });
  if (process.argv[2] === 'starting') goWhereNothingIs();
  console.log((await cut)?.length);
  await cutter.close();
`;

test.each(['before', 'starting'])('cuts all the same: gone while it is %s', async (when) => {
  const program = join(tempFolder(), 'program.mjs');
  writeFileSync(program, PROGRAM);
  const { code, stdout, stderr } = await run(process.execPath, [program, when]);
  expect([stderr, stdout.toString(), code]).toEqual(['', '1\n', 0]);
});
