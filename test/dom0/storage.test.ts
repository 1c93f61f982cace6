/** R02 R05: dom0's side of the sessions with a storage VM, against one that says what a test has it say. */

import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Call } from '../../dom0/call.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { KIND, seal } from '../../dom0/seal/object.ts';
import { Storage } from '../../dom0/storage/storage.ts';
import { BackupError } from '../../shared/errors.ts';
import { NO_ROOT, newRepositoryId, objectIdOf } from '../../shared/ids.ts';
import { get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import type { Session } from '../../shared/wire/session.ts';
import { TestRepository } from '../storagevm/fixtures.ts';
import { rejection } from '../support/failure.ts';
import { service } from '../attack/peer/storage-services.ts';
import { callDisposableHere } from '../support/in-process-services.ts';

/** A storage VM of which the service of `protocol` does as `play` says. */
function played<In extends FrameTable, Out extends FrameTable>(
  protocol: Protocol<In, Out>,
  play: (session: Session<In, Out>) => Promise<void>,
  change: Partial<ServiceCall> = {},
): Storage {
  const [name, serve] = service(protocol, play);
  const callStorage = () =>
    Promise.resolve({ ...callDisposableHere(name, serve), idleTimeout: 2_000, ...change });
  return new Storage({ callStorage }, 'vault');
}

const object = () =>
  seal(
    randomBytes(32),
    { kind: KIND.content, repository: newRepositoryId(), vm: undefined, number: 0, epoch: 1 },
    randomBytes(10),
  );
const codeOf = async (work: Promise<unknown>) => (await rejection(work)).code;
const listed = async (storage: Storage) => {
  const pages: Uint8Array[] = [];
  for await (const page of storage.listPages()) pages.push(page);
  return Buffer.concat(pages);
};

describe('objects in', () => {
  it('are durable once each is acknowledged', async () => {
    const [a, b] = [object(), object()];
    const storage = played(put, async (session) => {
      const objects = [];
      for (let i = 0; i < 2; i++) {
        const id = objectIdOf((await session.receive())!.value);
        objects.push({ id, stored: true });
      }
      await session.send('ack', { objects });
      await session.receive();
    });
    await Promise.all([storage.put(a), storage.put(b)]);
    await storage.close();
  });

  it.each<[string, string, (session: Session<typeof put.toService, typeof put.toCaller>) => Promise<void>]>([
    [
      'acknowledges what it was not sent',
      'protocol',
      async (session) => {
        await session.receive();
        await session.send('ack', { objects: [{ id: object().id, stored: true }] });
        await session.receive();
      },
    ],
    [
      'acknowledges them out of order',
      'protocol',
      async (session) => {
        await session.receive();
        const second = await session.receive();
        if (second !== undefined)
          await session.send('ack', { objects: [{ id: objectIdOf(second.value), stored: true }] });
        await session.receive();
      },
    ],
    [
      'ends with objects unacknowledged',
      'protocol',
      async (session) => {
        await session.receive();
      },
    ],
    [
      'has no room',
      'service-failed',
      async (session) => {
        await session.receive();
        throw new BackupError('store-full', 'no room');
      },
    ],
  ])('fail for all that wait if the storage VM %s', async (_title, code, play) => {
    const storage = played(put, play);
    const waiting = [object(), object()].map((each) => codeOf(storage.put(each)));
    expect(await Promise.all(waiting)).toEqual([code, code]);
    await storage.abort();
  });
});

describe('a storage VM that cannot be called', () => {
  it('fails what is asked of it, and nothing of it is left to end', async () => {
    const callStorage = () => Promise.reject(new BackupError('policy-denied', 'the policy says no'));
    const storage = new Storage({ callStorage }, 'vault');
    storage.warmUp();
    storage.warmUpWriting();
    storage.warmUpPublishing();
    expect(await codeOf(storage.setRoot(new TestRepository().root(), NO_ROOT))).toBe('policy-denied');
    expect(await codeOf(storage.get(object().id))).toBe('policy-denied');
    expect(await codeOf(storage.put(object()))).toBe('policy-denied');
    storage.warmUpPublishing();
    await storage.abort();
    await storage.close();
  });
});

describe('services that are started ahead', () => {
  /** Storage whose services say when they are called, and when they end. */
  function watched() {
    const events: string[] = [];
    const callStorage = (_name: string, called: string) => {
      events.push(`call ${called}`);
      const serve = async (): Promise<boolean> => {
        await new Promise((resolve) => setImmediate(resolve));
        return true;
      };
      const call = callDisposableHere(called, serve);
      const kill = () => {
        events.push(`kill ${called}`);
        call.kill();
      };
      return Promise.resolve({ ...call, kill });
    };
    return { storage: new Storage({ callStorage }, 'vault'), events };
  }

  it('are called once, and the next root goes to the one that waits', async () => {
    const calls: string[] = [];
    const root = new TestRepository().root();
    const [name, serve] = service(setRoot, async (session) => {
      await session.receive();
      await session.receive();
      await session.send('done', { waits: null });
    });
    const callStorage = (_vm: string, called: string) => {
      calls.push(called);
      return Promise.resolve(callDisposableHere(name, serve));
    };
    const storage = new Storage({ callStorage }, 'vault');
    storage.warmUpPublishing();
    storage.warmUpPublishing();
    await storage.setRoot(root, NO_ROOT);
    expect(calls).toEqual([setRoot.service]);
    await storage.setRoot(root, NO_ROOT);
    expect(calls).toEqual([setRoot.service, setRoot.service]);
    await storage.close();
  });

  it.each(['close', 'abort', 'forgetFailed'] as const)('are not left behind by %s', async (end) => {
    const { storage, events } = watched();
    storage.warmUpPublishing();
    await storage[end]();
    expect(events).toEqual([`call ${setRoot.service}`, `kill ${setRoot.service}`]);
  });
});

describe('after a failure', () => {
  /** Storage whose calls are counted by service; the first `failures` calls of each end at once, others answer that there is no root. */
  function counted(failures: number) {
    const calls: string[] = [];
    const [, serve] = service(get, async (session) => {
      while ((await session.receive()) !== undefined) await session.send('noRoot', {});
    });
    const callStorage = (_vm: string, called: string) => {
      calls.push(called);
      const fails = calls.filter((each) => each === called).length <= failures;
      return Promise.resolve(callDisposableHere(called, fails ? () => Promise.resolve(false) : serve));
    };
    return { storage: new Storage({ callStorage }, 'vault'), calls };
  }

  it('what failed is called anew', async () => {
    const { storage, calls } = counted(1);
    expect(await codeOf(storage.root())).toBe('service-died');
    expect(await codeOf(storage.put(object()))).toBe('service-died');
    expect([await codeOf(storage.root()), calls.length]).toEqual(['service-died', 2]);
    await storage.forgetFailed();
    expect(await storage.root()).toBeUndefined();
    storage.warmUpWriting();
    expect(calls).toEqual([get.service, put.service, get.service, put.service]);
    await storage.abort();
  });

  it('what works goes on, and what was called anew meanwhile is not forgotten', async () => {
    const { storage, calls } = counted(0);
    expect(await storage.root()).toBeUndefined();
    await storage.forgetFailed();
    expect(await storage.root()).toBeUndefined();
    expect(calls).toEqual([get.service]);
    await storage.abort();

    const again = counted(1);
    expect(await codeOf(again.storage.root())).toBe('service-died');
    expect(await codeOf(again.storage.put(object()))).toBe('service-died');
    await Promise.all([again.storage.forgetFailed(), again.storage.abort(), again.storage.forgetFailed()]);
    expect(await again.storage.root()).toBeUndefined();
    expect(again.calls).toEqual([get.service, put.service, get.service]);
    await again.storage.abort();
  });
});

describe('objects and roots out', () => {
  it('come in the order they were asked for, or not at all', async () => {
    const { id } = object();
    const storage = played(get, async (session) => {
      for (let message = await session.receive(); message !== undefined; message = await session.receive()) {
        if (message.name === 'wantRoot') await session.send('noRoot', {});
        else if (message.value.ids[0] === id) await session.send('missing', { id });
        else await session.send('object', randomBytes(5000));
      }
    });
    const other = object().id;
    const [missing, found, root] = await Promise.all([storage.get(id), storage.get(other), storage.root()]);
    expect([missing, found?.length, root]).toEqual([undefined, 5000, undefined]);
    await storage.close();
  });

  it('are not taken for one another', async () => {
    const answering = (answer: 'root' | 'object' | 'missing') =>
      played(get, async (session) => {
        await session.receive();
        if (answer === 'missing') await session.send('missing', { id: object().id });
        else await session.send(answer, randomBytes(5000));
      });
    expect(await codeOf(answering('root').get(object().id))).toBe('protocol');
    expect(await codeOf(answering('missing').get(object().id))).toBe('protocol');
    expect(await codeOf(answering('object').root())).toBe('protocol');
    const hung = played(get, async (session) => {
      await session.receive();
    });
    expect(await codeOf(hung.get(object().id))).toBe('protocol');
  });
});

describe('a listing', () => {
  const row = (size: number) => {
    const bytes = Buffer.alloc(36, size);
    bytes.writeUInt32BE(size, 32);
    return bytes;
  };

  it('is rows of names and sizes, never cut in one', async () => {
    const pages = (...rows: Buffer[]) =>
      played(list, async (session) => {
        await session.receive();
        for (const page of rows) await session.send('page', page);
      });
    expect(await listed(pages(Buffer.concat([row(1), row(2)]), row(3)))).toEqual(
      Buffer.concat([row(1), row(2), row(3)]),
    );
    expect(await codeOf(listed(pages(row(1).subarray(1))))).toBe('protocol');
    expect(await codeOf(listed(pages(row(2), row(1))))).toBe('protocol');
    expect(await codeOf(listed(pages(Buffer.concat([row(1), row(1)]))))).toBe('protocol');
  });

  it('may be left early', async () => {
    const storage = played(list, async (session) => {
      await session.receive();
      await session.send('page', row(1));
    });
    for await (const page of storage.listPages()) {
      expect(page).toEqual(row(1));
      break;
    }
  });
});

describe('a root', () => {
  const root = new TestRepository().root();
  const answering = (answer: 'done' | 'conflict' | undefined) =>
    played(setRoot, async (session) => {
      await session.receive();
      await session.receive();
      if (answer === 'done') await session.send('done', { waits: null });
      if (answer === 'conflict') await session.send('conflict', { current: NO_ROOT });
    });

  it('is published, lost to another, or neither', async () => {
    await answering('done').setRoot(root, NO_ROOT);
    const lost = await rejection(answering('conflict').setRoot(root, NO_ROOT));
    expect([lost.code, lost.message]).toEqual(['store-conflict', expect.stringContaining('vault') as string]);
    expect(await codeOf(answering(undefined).setRoot(root, NO_ROOT))).toBe('protocol');
  });

  it('is not taken for published if the service then ends badly', async () => {
    for (const end of [
      { code: 3, signal: null },
      { code: null, signal: 'SIGKILL' },
    ]) {
      const storage = played(
        setRoot,
        async (session) => {
          await session.receive();
          await session.receive();
          await session.send('done', { waits: null });
        },
        { exited: Promise.resolve(end), stderr: () => 'out of memory' },
      );
      const { code, message } = await rejection(storage.setRoot(root, NO_ROOT));
      expect(code).toBe('service-died');
      expect(message).toMatch(/out of memory/);
    }
  });
});

describe('how a call failed', () => {
  const failing = (change: Partial<ServiceCall>) =>
    new Call({ ...callDisposableHere(get.service, () => Promise.resolve(false)), ...change }, get, {
      window: 0,
    });

  it('is told with the end of its process and what it said', async () => {
    const died = new BackupError('service-died', 'vault: ended in the middle');
    const killed = failing({ exited: Promise.resolve({ code: null, signal: 'SIGKILL' }), stderr: () => ' ' });
    expect((await killed.explain(died)).message).toBe('vault: ended in the middle (killed by SIGKILL)');
    const said = failing({ exited: Promise.resolve({ code: 1, signal: null }), stderr: () => 'no disk' });
    expect((await said.explain(died)).message).toBe(
      'vault: ended in the middle (exit status 1; it said: no disk)',
    );
    const mute = failing({ exited: Promise.resolve({ code: 0, signal: null }) });
    expect((await mute.explain(new BackupError('protocol', 'garbled'))).message).toBe('garbled');
  });

  it('is told as it is where no process is to blame', async () => {
    const call = failing({});
    expect(await call.explain(new BackupError('refused', 'no'))).toMatchObject({
      code: 'refused',
      message: 'no',
    });
    expect(await call.explain(new TypeError('a mistake'))).toMatchObject({
      code: 'internal',
      message: 'a mistake',
    });
    expect(await call.explain('text')).toMatchObject({ code: 'internal', message: 'text' });
  });
});
