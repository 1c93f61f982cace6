/** Which version is packaged, and when it was made: the only time that is in a package. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT } from './bundle.ts';

export interface Release {
  readonly version: string;
  /** Seconds since 1970. */
  readonly seconds: number;
  readonly changelog: string;
}

/** The version of package.json, and the date of its entry in the changelog, which must be the newest. */
export function readRelease(): Release {
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { version: string };
  const changelog = readFileSync(join(PROJECT, 'packaging', 'changelog'), 'utf8');
  const [, newest, date] = /^qubes-backup \((\S+)\) [^]*?^ -- .*? {2}(.+)$/m.exec(changelog) ?? [];
  const milliseconds = Date.parse(date ?? '');
  if (newest !== version || !Number.isFinite(milliseconds))
    throw new Error(`packaging/changelog must begin with an entry of version ${version} and its date`);
  return { version, seconds: milliseconds / 1000, changelog };
}
