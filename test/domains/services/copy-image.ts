/** Copies an image as the driver does: IMAGE COPY. Prints the bytes that this took, or the error's code and message. */

import { statfsSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { copyImage } from '../../../dom0/domains/local/image-copy.ts';
import { isBackupError } from '../../../shared/errors.ts';
import { parseVmName } from '../../../shared/ids.ts';

const [image = '', copy = ''] = process.argv.slice(2);
const free = () => {
  const { bfree, bsize } = statfsSync(dirname(copy));
  return bfree * bsize;
};
const before = free();
try {
  await copyImage(parseVmName('work'), image, copy);
  writeSync(1, JSON.stringify({ took: before - free() }));
} catch (error) {
  if (!isBackupError(error)) throw error;
  writeSync(1, JSON.stringify({ code: error.code, message: error.message }));
}
