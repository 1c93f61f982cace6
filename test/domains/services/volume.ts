/** A service that writes into its volume, if it can, and tells what is there. */

import { readFileSync, readdirSync, writeFileSync, writeSync } from 'node:fs';

let written = 'ok';
try {
  writeFileSync('/mnt/volume/written', 'by a service');
} catch (error) {
  written = error instanceof Error && 'code' in error ? String(error.code) : 'failed';
}
const names = readdirSync('/mnt/volume')
  .filter((name) => name !== 'lost+found')
  .sort();
const files = Object.fromEntries(names.map((name) => [name, readFileSync(`/mnt/volume/${name}`, 'utf8')]));
writeSync(1, JSON.stringify({ written, files }));
