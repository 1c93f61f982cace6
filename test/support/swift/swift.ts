/** A real OpenStack Swift with its S3 layer (server.py), for the tests of one file. */

import { afterAll } from 'vitest';
import { attributes, isInstalled } from '../needs.ts';
import type { Missing } from '../needs.ts';
import { startSwift } from './start.ts';
import type { Swift } from './start.ts';

/** Why there can be no Swift here. */
export function swiftMissing(): Missing {
  const missing = ['swift-proxy-server', 'swift-object-server', 'memcached'].find(
    (program) => !isInstalled(program),
  );
  if (missing !== undefined) return `${missing} is not installed (packages swift-*, memcached)`;
  return attributes();
}

let running: Promise<Swift> | undefined;

/** The Swift of this test file: started at the first call, gone with the file's last test. */
export function theSwift(): Promise<Swift> {
  running ??= startSwift();
  return running;
}

afterAll(async () => {
  await (await running?.catch(() => undefined))?.stop();
});
