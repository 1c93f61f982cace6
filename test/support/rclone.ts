/** Remotes for rclone: a folder, and the same folder served as WebDAV by rclone itself with a random password. */

import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll } from 'vitest';
import { makeTemp, removeTree } from './temp.ts';

export interface RcloneRemotes {
  /** What both remotes show. */
  readonly folder: string;
  /** For what rclone keeps for a moment. */
  readonly temporary: string;
  /** rclone.conf, with the remotes `folder` and `dav`. */
  readonly config: string;
  /** http://127.0.0.1:PORT of the WebDAV server. */
  readonly url: string;
  /** The configuration for the WebDAV server behind another URL, or with another password. */
  configFor(url: string, password?: string): string;
}

let running: Promise<RcloneRemotes> | undefined;
const ends: (() => Promise<void>)[] = [];

/** The remotes of this test file: made at the first call, gone with the file's last test. */
export function theRemotes(): Promise<RcloneRemotes> {
  running ??= makeRemotes();
  return running;
}

afterAll(async () => {
  await running?.catch(() => undefined);
  for (const end of ends) await end();
});

async function makeRemotes(): Promise<RcloneRemotes> {
  const base = makeTemp('qib-rclone-');
  ends.push(() => {
    removeTree(base);
    return Promise.resolve();
  });
  const [folder, temporary] = [join(base, 'folder'), join(base, 'temporary')];
  for (const path of [folder, temporary]) mkdirSync(path);
  const password = randomBytes(20).toString('hex');
  const url = await serveWebdav(folder, password);
  let count = 0;
  const configFor = (target: string, secret = password) => {
    const file = join(base, `rclone-${(count += 1)}.conf`);
    writeFileSync(file, configText(folder, target, secret), { mode: 0o600 });
    return file;
  };
  return { folder, temporary, config: configFor(url), url, configFor };
}

function configText(folder: string, url: string, password: string): string {
  const obscured = spawnSync('rclone', ['obscure', '-'], { input: password, encoding: 'utf8' }).stdout.trim();
  return [
    ...['[folder]', 'type = alias', `remote = ${folder}`],
    ...[
      '[dav]',
      'type = webdav',
      `url = ${url}`,
      'vendor = other',
      'user = tester',
      `pass = ${obscured}`,
      '',
    ],
  ].join('\n');
}

async function serveWebdav(folder: string, password: string): Promise<string> {
  const server = ['rclone', 'serve', 'webdav', folder, '--addr', '127.0.0.1:0', '--config', '/nonexistent'];
  server.push('--dir-cache-time', '0s'); // Tests change the folder behind its back.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...server], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, RCLONE_USER: 'tester', RCLONE_PASS: password },
  });
  const ended = once(child, 'close');
  ends.unshift(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let said = '';
  const url = new Promise<string>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said += `${line}\n`;
      const found = /(http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  const found = await Promise.race([url, ended.then(() => undefined)]);
  if (found === undefined) throw new Error(`rclone serve webdav ended: ${said}`);
  return found;
}
