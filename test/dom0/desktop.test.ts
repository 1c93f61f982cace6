import { chmodSync, chownSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { STATUS } from '../../dom0/exit-status.ts';
import { notifyDesktops } from '../../dom0/schedule/desktop.ts';
import { root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const uid = process.getuid?.() ?? 0;
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** A machine on which `users` are logged in; its notify-send, as the real one, wants a summary, a body and known options. */
async function machine(...users: readonly number[]) {
  const folder = tempFolder();
  const folders = join(folder, 'run');
  const told = join(folder, 'told');
  mkdirSync(told);
  for (const path of [folder, told]) chmodSync(path, 0o777);
  for (const user of users) {
    const own = join(folders, String(user));
    mkdirSync(own, { recursive: true });
    chmodSync(own, 0o700);
    const server = createServer();
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(join(own, 'bus'), resolve));
    if (uid === 0) chownSync(own, user, user);
  }
  const program = join(folder, 'notify-send');
  writeFileSync(
    program,
    `#!/bin/sh
for option; do
  shift
  case $option in --) break ;; --app-name=*) ;; --urgency=low | --urgency=normal | --urgency=critical) urgency=$option ;; *) exit 1 ;; esac
done
[ $# -eq 2 ] || exit 1
printf '%s\\n' "$(id -u) $(id -g) $urgency" "$1" "$2" "$DBUS_SESSION_BUS_ADDRESS" >"${told}/$(id -u)"
`,
    { mode: 0o755 },
  );
  return {
    machine: { uid, folders, program },
    folders,
    told: () => readdirSync(told).map((name) => readFileSync(join(told, name), 'utf8').split('\n')),
  };
}

test('a user is told on that one’s own desktop, of nobody else’s', async () => {
  const here = await machine(uid, ...(uid === 0 ? [] : [uid + 1]));
  await notifyDesktops('always', STATUS.complete, here.machine);
  expect(here.told()).toEqual([
    [
      `${uid} ${process.getgid?.() ?? 0} --urgency=low`,
      'Backup complete',
      'All went well.',
      `unix:path=${here.folders}/${uid}/bus`,
      '',
    ],
  ]);
});

testNeeding(root)('root tells each who is logged in, as that user', async () => {
  const here = await machine(61_001, 61_002);
  await notifyDesktops('problems', STATUS.failed, here.machine);
  expect(here.told().map(([who, summary]) => [who, summary])).toEqual([
    ['61001 61001 --urgency=critical', 'Backup failed'],
    ['61002 61002 --urgency=critical', 'Backup failed'],
  ]);
});

testNeeding(root)('a folder of another one’s making is nobody’s desktop', async () => {
  const here = await machine(61_001);
  chownSync(join(here.folders, '61001'), 61_002, 61_002);
  await notifyDesktops('always', STATUS.failed, here.machine);
  expect(here.told()).toEqual([]);
});

test.each([
  ['problems', STATUS.complete, 0],
  ['problems', STATUS.warnings, 1],
  ['problems', STATUS.failed, 1],
  ['always', STATUS.busy, 0],
  ['always', STATUS.warnings, 1],
  ['never', STATUS.failed, 0],
] as const)('notify = "%s", status %i: told %i times', async (notify, status, times) => {
  const here = await machine(uid);
  await notifyDesktops(notify, status, here.machine);
  expect(here.told()).toHaveLength(times);
});

test('where there is no desktop, or no program, nobody is told and nothing fails', async () => {
  const here = await machine(uid);
  await notifyDesktops('always', STATUS.failed, { ...here.machine, folders: join(here.folders, 'none') });
  await notifyDesktops('always', STATUS.failed, { ...here.machine, program: '/nowhere/notify-send' });
  expect(here.told()).toEqual([]);
});
