/** One call of qubesd: what is sent, what is refused before it, and every way in which an answer can be wrong. */

import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AdminError } from '../../dom0/domains/qubes/admin/admin-error.ts';
import { callQubesd, encodeRequest } from '../../dom0/domains/qubes/admin/connection.ts';
import type { AdminRequest } from '../../dom0/domains/qubes/admin/connection.ts';
import { utf8 } from '../../shared/bytes.ts';
import { MAX_ADMIN_ANSWER, MAX_ADMIN_REQUEST } from '../../shared/limits.ts';
import { failure, rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';
import { answering, listen, machine } from './qubes-kit.ts';

const LONG = 20_000;

function request(more: Partial<AdminRequest> = {}): AdminRequest {
  return {
    ...{ method: 'admin.vm.property.Set', argument: 'memory', destination: 'work', payload: utf8('600') },
    ...more,
  };
}

const call = (path: string, more: Partial<AdminRequest> = {}, timeout = LONG) =>
  callQubesd(path, request(more), timeout);

describe('a request', () => {
  test('is METHOD+ARG dom0 name DEST NUL and the payload, then the end of writing', async () => {
    const seen: string[] = [];
    const path = await listen((socket) => {
      let text = '';
      socket.on('data', (piece) => (text += piece.toString('latin1')));
      socket.on('end', () => {
        seen.push(text);
        socket.end('0\0');
      });
    });
    await call(path);
    await call(path, { argument: '', payload: utf8('a\0b') });
    expect(seen).toEqual([
      'admin.vm.property.Set+memory dom0 name work\x00600',
      'admin.vm.property.Set+ dom0 name work\0a\0b',
    ]);
  });

  test('of exactly 65,536 bytes is sent, and one more is not', async () => {
    const { qubesd } = await machine();
    const header = encodeRequest(request({ payload: new Uint8Array() })).length;
    const fits = new Uint8Array(MAX_ADMIN_REQUEST - header).fill(0x30);
    expect(await rejection(call(qubesd.socketPath, { payload: fits }))).toBeInstanceOf(AdminError);
    expect(qubesd.calls).toHaveLength(1);
    const tooLong = new Uint8Array(fits.length + 1).fill(0x30);
    expect(await rejection(call(qubesd.socketPath, { payload: tooLong }))).toMatchObject({ code: 'limit' });
    expect(qubesd.calls).toHaveLength(1);
  });

  test.each<Partial<AdminRequest>>([
    { argument: 'a b' },
    { argument: 'a\0' },
    { argument: 'memory dom0 name dom0\0' },
    { argument: 'ä' },
    { argument: 'x'.repeat(257) },
    { destination: '' },
    { destination: 'no such' },
    { destination: 'work\0' },
    { destination: '-work' },
    { destination: 'x'.repeat(32) },
    { destination: 'uuid:../x' },
  ])('%j is refused before anything is sent', (wrong) => {
    expect(failure(() => encodeRequest(request(wrong))).code).toBe('usage');
  });

  test.each(['admin.vm.List+x', 'admin', 'Admin.vm.List', 'admin.vm.List dom0', 'qubes.VMShell'])(
    'a method called %j is a fault of ours',
    (method) => {
      expect(failure(() => encodeRequest(request({ method }))).code).toBe('internal');
    },
  );
});

describe('an answer', () => {
  test('is the bytes after its header, none too', async () => {
    expect(Buffer.from(await call(await answering('0\0a\0b\xff'))).toString('latin1')).toBe('a\0b\xff');
    expect(await call(await answering('0\0'))).toHaveLength(0);
  });

  test("an exception keeps Qubes' type and message, as printable ASCII", async () => {
    const path = await answering('2\0QubesVMNotFoundError\0\0No such \x1b[31mdomain: \xc3\xa9\0');
    const error = await rejection(call(path));
    expect(error).toBeInstanceOf(AdminError);
    expect(error).toMatchObject({ code: 'unknown-vm', type: 'QubesVMNotFoundError' });
    expect(error.message).toBe(
      String.raw`VM work: admin.vm.property.Set+memory: No such \x1b[31mdomain: \xc3\xa9 (QubesVMNotFoundError)`,
    );
  });

  test.each([
    ['QubesVMAlreadyExistsError', 'vm-exists'],
    ['StoragePoolException', 'io'],
    ['ProtocolError', 'protocol'],
    ['PermissionDenied', 'refused'],
    ['QubesVMInUseError', 'refused'],
    ['ErrorOfALaterRelease', 'refused'],
    ['constructor', 'refused'],
  ])('%s is %s', async (type, code) => {
    expect(await rejection(call(await answering(`2\0${type}\0\0why\0`)))).toMatchObject({ code, type });
  });

  test('a message as long as the state of a VM is cut', async () => {
    const error = await rejection(call(await answering(`2\0QubesValueError\0\0${'x'.repeat(100_000)}\0`)));
    expect(error.message.length).toBeLessThan(1200);
  });

  test("none at all says to look at qubesd's journal", async () => {
    const error = await rejection(call(await answering('')));
    expect(error).toMatchObject({ code: 'refused', type: 'EmptyAnswer' });
    expect(error.message).toContain('journalctl -u qubesd');
    expect(error.message).toContain('VM work: admin.vm.property.Set+memory');
  });

  test('a connection that is cut is no answer either', async () => {
    const path = await listen((socket) => socket.on('data', () => socket.destroy()));
    expect(await rejection(call(path))).toMatchObject({ code: 'refused', type: 'EmptyAnswer' });
    const atOnce = await listen((socket) => socket.destroy());
    expect(await rejection(call(atOnce, { payload: new Uint8Array(60_000) }))).toMatchObject({
      type: 'EmptyAnswer',
    });
  });

  test.each([
    '0',
    '1\0work\0x\0\0',
    '3\0',
    '00',
    '0 \0',
    '\0',
    '2\0',
    '2\0X\0\0',
    '2\0X\0\0why',
    '2\0X\0\0why\0more\0',
    '2\0X\0\0why\0\0',
    '2\0X Y\0\0why\0',
  ])('%j is none of the Admin API', async (bytes) => {
    const error = await rejection(call(await answering(bytes)));
    expect(error.code).toBe('protocol');
    expect(error).not.toBeInstanceOf(AdminError);
  });

  test('beyond the cap is refused, however it comes', async () => {
    const path = await listen((socket) => {
      socket.on('end', () => undefined);
      socket.on('data', () => undefined);
      socket.write('0\0');
      const flood = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) continue;
        socket.once('drain', flood);
      };
      flood();
    });
    expect((await rejection(call(path))).code).toBe('limit');
    const exactly = await call(await answering(`0\0${'x'.repeat(MAX_ADMIN_ANSWER - 2)}`));
    expect(exactly).toHaveLength(MAX_ADMIN_ANSWER - 2);
  });

  test('that does not come is waited for no longer than said, and names VM, call and what to do', async () => {
    const peers: Socket[] = [];
    const path = await listen((socket) => {
      peers.push(socket);
      socket.resume();
      socket.write('0\0half');
    });
    const error = await rejection(call(path, {}, 50));
    expect(error.code).toBe('timeout');
    expect(error.message).toMatch(/VM work: admin\.vm\.property\.Set\+memory.*systemctl status qubesd/);
    // Nothing is left open behind it: who writes there now finds nobody.
    const [peer] = peers;
    await new Promise((resolve) => peer?.once('close', resolve).write('more'));
  });

  test('cannot come where there is no qubesd', async () => {
    const error = await rejection(call(join(tempFolder(), 'qubesd.sock')));
    expect(error.code).toBe('io');
    expect(error.message).toMatch(/cannot reach qubesd at .*is this dom0/);
  });
});
