/** A service that writes into its volume, or reads it: the argument says which. */

import { fsyncSync, openSync, readFileSync, readdirSync, writeFileSync, writeSync } from 'node:fs';

if (process.argv[2] === 'write') {
  writeFileSync('/mnt/volume/written', 'by a service');
  fsyncSync(openSync('/mnt/volume', 'r'));
  writeSync(1, 'done');
} else {
  const names = readdirSync('/mnt/volume').filter((name) => name !== 'lost+found');
  writeSync(1, JSON.stringify(names.map((name) => [name, readFileSync(`/mnt/volume/${name}`, 'utf8')])));
}
