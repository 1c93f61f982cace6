import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { streamIo } from '../../shared/wire/io.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { Session } from '../../shared/wire/session.ts';
import { rejection } from '../support/failure.ts';
import { program, testNeeding } from '../support/needs.ts';
import { controlFrame, end, frame, framesOf } from '../support/peers.ts';
import { COMPILED, PROJECT, exited, isAlive, outcome, run, start, waitFor } from '../support/processes.ts';
import type { Child } from '../support/processes.ts';
import { FLOOD_PIECES, testProtocol } from '../support/test-service.ts';

const MiB = 1024 * 1024;
const SERVICE = join(PROJECT, 'test/support/test-service.ts');

const environment = (argument: string) => ({
  PATH: '/usr/bin:/bin',
  QREXEC_REMOTE_DOMAIN: 'dom0',
  QREXEC_SERVICE_FULL_NAME: `qubes.BackupTest+${argument}`,
  QREXEC_SERVICE_ARGUMENT: argument,
  ...COMPILED,
});

function call(argument: string): Child {
  return start(process.execPath, [SERVICE], { env: environment(argument), cwd: '/' });
}

function converse(child: Child, window = 4 * MiB) {
  const tables = { incoming: testProtocol.toCaller, outgoing: testProtocol.toService };
  return new Session(streamIo(child.stdout, child.stdin), tables, {
    peer: 'vault: qubes.BackupTest',
    window,
  });
}

/** Ends a conversation as a caller does that got what it wanted. */
async function part(session: ReturnType<typeof converse>, child: Child): Promise<void> {
  await session.finish();
  await session.drained();
  child.stdin.end();
}

describe('a service', () => {
  test('knows its caller and argument, and exits 0', async () => {
    const child = call('who');
    const session = converse(child);
    expect(await session.receive()).toEqual({ name: 'who', value: { caller: 'dom0', argument: 'who' } });
    await part(session, child);
    expect(await exited(child)).toEqual({ code: 0, signal: null });
  });

  test('keeps its descriptors from packages that import the process', async () => {
    const child = call('import');
    const session = converse(child);
    await session.send('data', Buffer.from('still read by the session'));
    expect(await session.receive()).toEqual({
      name: 'data',
      value: Buffer.from('still read by the session'),
    });
    await part(session, child);
    expect(await exited(child)).toEqual({ code: 0, signal: null });
  });

  test('that refuses tells why in printable ASCII, and exits 1', async () => {
    const child = call('refuse');
    const session = converse(child);
    const failed = await rejection(session.receive());
    expect(failed.message).toBe('vault: qubes.BackupTest reports store-full: no room for ?[2J more');
    child.stdin.end();
    const ended = await outcome(child);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toBe('no room for ?[2J more\n');
  });

  test('sends answers of 50 MiB uncut', async () => {
    const child = call('flood');
    const session = converse(child);
    for (let i = 0; i < FLOOD_PIECES; i++) {
      const message = await session.receive();
      expect(message?.name === 'data' && message.value.length === MiB && message.value[MiB - 1] === i).toBe(
        true,
      );
    }
    await part(session, child);
    expect((await exited(child)).code).toBe(0);
  });

  test('and its caller may both write 50 MiB at once', async () => {
    const child = call('both');
    const session = converse(child);
    const writing = (async () => {
      for (let i = 0; i < FLOOD_PIECES; i++) await session.send('data', Buffer.alloc(MiB, i));
    })();
    for (let i = 0; i < FLOOD_PIECES; i++) expect((await session.receive())?.name).toBe('data');
    await writing;
    await part(session, child);
    expect((await exited(child)).code).toBe(0);
  });

  test('gets its caller’s bytes in any pieces', async () => {
    const child = call('echo');
    const echoed: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => echoed.push(piece));
    const data = frame(0x80, Buffer.from('byte by byte'));
    const credit = controlFrame(0x03, { bytes: 1000 });
    const bytes = Buffer.concat([MAGIC, credit, data, end(2, credit.length + data.length)]);
    for (const byte of bytes) {
      await new Promise((resolve) => child.stdin.write(Uint8Array.of(byte), resolve));
    }
    expect((await exited(child)).code).toBe(0);
    const frames = framesOf(Buffer.concat(echoed));
    expect(frames.find((one) => one.type === 0x80)?.payload.toString()).toBe('byte by byte');
    expect(frames.at(-1)?.type).toBe(0x01);
  });
});

describe('a caller that', () => {
  test('hangs up without a final frame gets exit code 1', async () => {
    const child = call('echo');
    child.stdin.end(MAGIC);
    expect((await outcome(child)).code).toBe(1);
  });

  test('sends nothing at all gets exit code 1', async () => {
    expect((await run(process.execPath, [SERVICE], { env: environment('echo'), input: '' })).code).toBe(1);
  });

  test('breaks the protocol is told so', async () => {
    const ended = await run(process.execPath, [SERVICE], {
      env: environment('echo'),
      input: Buffer.concat([MAGIC, frame(0x99, new Uint8Array(5))]),
    });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('unknown type 153');
    expect(framesOf(ended.stdout).at(-1)?.payload.toString('latin1')).toContain('unknown type 153');
  });

  test.each(['echo', 'flood', 'refuse'])(
    'is gone before the service writes leaves no process behind (%s)',
    async (argument) => {
      const child = call(argument);
      child.stdout.destroy();
      child.stderr.destroy();
      child.stdin.write(
        Buffer.concat([MAGIC, controlFrame(0x03, { bytes: 2 ** 30 }), frame(0x80, Buffer.alloc(1000))]),
      );
      const gone = exited(child);
      child.stdin.destroy();
      expect((await gone).code).not.toBe(0);
    },
  );

  test('is killed while 50 MiB flow leaves no process behind', async () => {
    // The middle process is the caller: it starts the service, takes some output, and is killed.
    const script = `
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, [${JSON.stringify(SERVICE)}], { stdio: ['pipe', 'pipe', 'ignore'] });
      child.stdin.write(Buffer.from(${JSON.stringify(
        Buffer.concat([MAGIC, controlFrame(0x03, { bytes: 2 ** 30 })]).toString('latin1'),
      )}, 'latin1'));
      child.stdout.once('readable', () => process.stdout.write(String(child.pid)));`;
    const middle = start(process.execPath, ['-e', script], { env: environment('flood') });
    const pid = await new Promise<number>((resolve) => {
      middle.stdout.once('data', (text: Buffer) => {
        resolve(Number(text.toString()));
      });
    });
    expect(isAlive(pid)).toBe(true);
    middle.kill('SIGKILL');
    await waitFor(() => !isAlive(pid), 'the service ends after its caller was killed');
  });

  test.each(['refuse', 'crash', 'reject'])(
    'never hangs up after the service failed is not waited for (%s)',
    async (argument) => {
      const child = call(argument);
      child.stdin.write(MAGIC); // And stdin stays open.
      child.stdout.resume();
      const stderr: Buffer[] = [];
      child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
      expect((await exited(child)).code).not.toBe(0);
      expect(Buffer.concat(stderr).length).toBeGreaterThan(0);
    },
    30_000,
  );

  test('neither reads nor hangs up after the service failed is not waited for', async () => {
    const child = call('flood');
    child.stdin.write(Buffer.concat([MAGIC, controlFrame(0x03, { bytes: 2 ** 30 })]));
    await waitFor(() => child.stdout.readableLength > 0 || isFull(child), 'the service fills the pipe');
    child.stdin.write(frame(0x99, new Uint8Array(0))); // Now it has a reason to give up.
    expect((await exited(child)).code).not.toBe(0);
  }, 30_000);
});

/** Whether the service waits in a write. */
function isFull(child: Child): boolean {
  const tasks = `/proc/${child.pid ?? 0}/task`;
  return readdirSync(tasks).some((task) =>
    readFileSync(join(tasks, task, 'wchan'), 'latin1').includes('write'),
  );
}

const python = program('python3');

describe('non-blocking stdio', () => {
  /** Sets O_NONBLOCK on descriptors 0 and 1, as qrexec-client does, then becomes the service. */
  const wrapper = `
import fcntl, os, sys
for fd in (0, 1, 2):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
os.execv(sys.argv[1], sys.argv[1:])`;

  testNeeding(python)('a service works where qrexec made its stdio non-blocking', async () => {
    const child = start('python3', ['-c', wrapper, process.execPath, SERVICE], { env: environment('both') });
    const session = converse(child);
    const writing = (async () => {
      for (let i = 0; i < FLOOD_PIECES; i++) await session.send('data', Buffer.alloc(MiB, i));
    })();
    for (let i = 0; i < FLOOD_PIECES; i++) expect((await session.receive())?.name).toBe('data');
    await writing;
    await part(session, child);
    expect((await exited(child)).code).toBe(0);
  });
});
