/** What qubesd says while it works. */

import { describe, expect, test } from 'vitest';
import type { AdminEvent } from '../../dom0/domains/qubes/admin/events.ts';
import { followEvents } from '../../dom0/domains/qubes/admin/events.ts';
import { MAX_ADMIN_EVENT } from '../../shared/limits.ts';
import { rejection } from '../support/failure.ts';
import { answering, listen, machine } from './qubes-kit.ts';

/** Follows until `last` was seen. */
async function collect(events: AsyncIterable<AdminEvent>, last: (event: AdminEvent) => boolean) {
  const seen: AdminEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (last(event)) break;
  }
  return seen;
}

const endOf = (path: string, signal = new AbortController().signal) =>
  collect(followEvents(path, 'dom0', signal), () => false);

test('tells of a VM from its creation to its end', async () => {
  const { admin } = await machine();
  const events = admin.events(new AbortController().signal);
  expect((await events.next()).value).toEqual({ subject: '', event: 'connection-established', details: {} });
  await admin.create({ klass: 'AppVM', name: 'new', label: 'red', template: 'debian-12' });
  await admin.start('new');
  await admin.kill('new');
  await admin.remove('new');
  const seen = await collect(events, ({ event }) => event === 'domain-delete');
  expect(seen.map(({ subject, event }) => `${subject} ${event}`)).toEqual([
    ' domain-add',
    'new domain-tag-add:created-by-dom0',
    'new domain-tag-add:guivm-dom0',
    'new domain-tag-add:audiovm-dom0',
    'new domain-create-on-disk',
    'new domain-pre-start',
    'sys-net domain-pre-start',
    'sys-net domain-spawn',
    'sys-net domain-start',
    'new domain-spawn',
    'new domain-start',
    'new domain-stopped',
    'new domain-shutdown',
    ' domain-pre-delete',
    ' domain-delete',
  ]);
  expect(seen.at(-1)?.details).toEqual({ vm: 'new' });
});

test('are taken byte by byte as well', async () => {
  const bytes = Buffer.from('1\0\0connection-established\0\x001\0work\0e\0k\0\0l\0v=w\0\x001\0x\0y\0\0');
  const path = await listen((socket) => {
    socket.resume();
    socket.on('end', () => {
      let at = 0;
      const next = () => {
        if (at < bytes.length) socket.write(bytes.subarray(at, ++at), next);
      };
      next();
    });
  });
  const seen = await collect(
    followEvents(path, 'dom0', new AbortController().signal),
    ({ subject }) => subject === 'x',
  );
  expect(seen).toEqual([
    { subject: '', event: 'connection-established', details: {} },
    { subject: 'work', event: 'e', details: { k: '', l: 'v=w' } },
    { subject: 'x', event: 'y', details: {} },
  ]);
});

describe('end', () => {
  test('when they are no longer wanted, before or after the first', async () => {
    const { qubesd } = await machine();
    const abort = new AbortController();
    const events = followEvents(qubesd.socketPath, 'dom0', abort.signal);
    await events.next();
    const next = events.next();
    abort.abort();
    expect((await next).done).toBe(true);
    expect(await endOf(qubesd.socketPath, AbortSignal.abort())).toEqual([]);
  });

  test('with an error when qubesd goes away', async () => {
    const { qubesd } = await machine();
    const events = followEvents(qubesd.socketPath, 'dom0', new AbortController().signal);
    await events.next();
    await qubesd.close();
    expect(await rejection(events.next())).toMatchObject({ type: 'EmptyAnswer' });
    expect(await rejection(endOf(qubesd.socketPath))).toMatchObject({ code: 'io' });
  });

  test('with an error for what is no event, or too long a one', async () => {
    expect(await rejection(endOf(await answering('')))).toMatchObject({ type: 'EmptyAnswer' });
    expect(await rejection(endOf(await answering('2\0PermissionDenied\0\0no\0')))).toMatchObject({
      type: 'PermissionDenied',
    });
    expect(await rejection(endOf(await answering('1\0work\0cut')))).toMatchObject({ code: 'protocol' });
    expect(
      await rejection(endOf(await answering(`1\0work\0e\0${'x'.repeat(MAX_ADMIN_EVENT)}`))),
    ).toMatchObject({
      code: 'limit',
    });
  });

  test('of one VM only where one is followed, and not of a VM that is not there', async () => {
    const { qubesd, admin } = await machine();
    const events = followEvents(qubesd.socketPath, 'work', new AbortController().signal);
    await events.next();
    await admin.setTag('sys-net', 'a');
    await admin.setTag('work', 'b');
    expect((await events.next()).value).toMatchObject({ subject: 'work', event: 'domain-tag-add:b' });
    await events.return();
    const gone = followEvents(qubesd.socketPath, 'nosuch', new AbortController().signal);
    expect(await rejection(gone.next())).toMatchObject({ code: 'unknown-vm' });
  });
});
