import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { writeNewFile } from '../../storagevm/new-file.ts';
import { diskFolder, tempFolder } from '../support/temp.ts';

const MiB = 1024 * 1024;
/** Small, around where files are large, around pieces and blocks, and as an object is. */
const SIZES = [0, 1, 4096, MiB - 1, MiB, MiB + 1, 2 * MiB, 2 * MiB + 4095, 2 * MiB + 4096, 8 * MiB + 40];

describe.each([
  ['on a disk', diskFolder],
  ['in memory', tempFolder],
])('a new file %s', (_, folder) => {
  test.each(SIZES)('of %i bytes has them, and nobody may write to it', async (size) => {
    const place = folder();
    const bytes = randomBytes(size);
    await writeNewFile(join(place, 'file'), bytes);
    expect(readFileSync(join(place, 'file')).equals(bytes)).toBe(true);
    expect(statSync(join(place, 'file')).mode & 0o777).toBe(0o400);
  });

  test.each([10, 3 * MiB])('of %i bytes never takes the place of another', async (size) => {
    const place = folder();
    writeFileSync(join(place, 'file'), 'as it was');
    await expect(writeNewFile(join(place, 'file'), randomBytes(size))).rejects.toMatchObject({
      code: 'EEXIST',
    });
    expect(readFileSync(join(place, 'file'), 'utf8')).toBe('as it was');
  });

  test('is one of several that are written at the same time', async () => {
    const place = folder();
    const files = Array.from({ length: 12 }, (_, i) => randomBytes(MiB + i * 300_001));
    await Promise.all(files.map((bytes, i) => writeNewFile(join(place, String(i)), bytes)));
    for (const [i, bytes] of files.entries())
      expect(readFileSync(join(place, String(i))).equals(bytes)).toBe(true);
  });

  test('that cannot be made leaves nothing', async () => {
    const place = folder();
    await expect(writeNewFile(join(place, 'none', 'file'), randomBytes(2 * MiB))).rejects.toMatchObject({
      code: 'ENOENT',
    });
    expect(readdirSync(place)).toEqual([]);
  });
});
