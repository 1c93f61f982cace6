/** A volume made by a script, backed up, restored beside itself: through the command line. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Event } from '../support/home.ts';
import { shell } from '../support/images.ts';
import { eventOf, runCommand } from './command-line.ts';

export interface CameBack {
  /** The volume's folder. */
  readonly volume: string;
  /** The restored one's. */
  readonly restored: string;
  /** What the backup said at its end. */
  readonly backup: Event;
}

/** Makes a volume by `script` (/bin/sh -eu, in the volume's folder), backs it up and restores it, all below `folder`. */
export function comeBack(folder: string, script: string): CameBack {
  const home = { folder, keyFile: join(folder, 'key-file') };
  const [volume, restored] = ['work', 'copy'].map((vm) => join(folder, 'vms', vm, 'private')) as [
    string,
    string,
  ];
  mkdirSync(volume, { recursive: true });
  shell(`cd "$1"; ${script}`, volume);
  runCommand(home, 'init');
  const backup = eventOf(runCommand(home, 'backup', 'work'), 'backup');
  runCommand(home, 'restore', 'work', '--as', 'copy');
  return { volume, restored, backup };
}

/** A directory of so many entries, backed up and restored below `folder`. */
export function comeBackWide(folder: string, entries: number): CameBack {
  return comeBack(folder, `mkdir many; seq -f many/entry-%.0f ${entries} | xargs touch -d @1.000000001`);
}

/** Everything that find tells of a tree, as one hash, and the number of its entries. */
export function listing(folder: string): string {
  return shell(
    'cd "$1"; find . -printf "%p %y %m %U:%G %n %T@ %l\\0" | LC_ALL=C sort -z | sha256sum; find . | wc -l',
    folder,
  );
}
