/**
 * The jobs of a disposable that only read blobs, or none: restore, verify, prove, export. Each takes a running call,
 * and answers what the disposable reported, checked by schema. They grant the blobs of one snapshot, nothing else.
 */

import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import { DOM0_DOWNLOAD_SHARE, DRILL_SESSION_TIMEOUT, SESSION_TIMEOUT } from '../../shared/limits.ts';
import { drill, exportPaths, prove, restore, verify } from '../../shared/protocol/disposable.ts';
import type { ExportOutput, Volume } from '../../shared/protocol/disposable.ts';
import type { FrameTable, Protocol, ValueOf } from '../../shared/wire/frame.ts';
import type { Message } from '../../shared/wire/session.ts';
import { Call } from '../call.ts';
import type { ServiceCall } from '../domains/domains.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import { BlobServer } from './blob-server.ts';
import type { Grant } from './blob-server.ts';
import { NoteCounter } from './report.ts';
import type { Listener } from './report.ts';

/** Where a job's blobs come from. */
export interface BlobAccess {
  readonly history: VmHistory;
  readonly grant: Grant;
}

export type Restored = ValueOf<typeof restore.toCaller.done> & { readonly warnings: number };
export type Drilled = ValueOf<typeof drill.toCaller.done>;
export type Exported = ValueOf<typeof exportPaths.toCaller.done>;

/** Writes the tree `top` to an empty volume. */
export async function runRestore(
  call: ServiceCall,
  access: BlobAccess,
  job: { volume: Volume; top: number },
  listener: Listener,
): Promise<Restored> {
  return withCall(call, restore, async (open, fail) => {
    const { session } = open;
    const notes = new NoteCounter(listener);
    const server = blobServer(access, (pieces) => session.send('blob', pieces), fail);
    const { volume, top } = job;
    if (volume.kind === 'ext4' || volume.kind === 'folders')
      throw new BackupError('internal', 'what is only read cannot be filled');
    await session.send('job', { volume, top });
    const done = await receiveResult(session, (message) => takeCommon(message, listener, notes, server));
    server.stop();
    return { ...done.value, warnings: notes.warnings };
  });
}

/** The content digest of a volume, by a reader that is given nothing else. */
export async function runVerify(
  call: ServiceCall,
  job: ValueOf<typeof verify.toService.job>,
  listener: Listener,
): Promise<ContentDigest> {
  return withCall(call, verify, async ({ session }) => {
    const notes = new NoteCounter(listener);
    await session.send('job', job);
    const done = await receiveResult(session, (message) => takeCommon(message, listener, notes));
    return done.value.digest;
  });
}

/** How `command` judges a restored volume. */
export async function runDrill(
  call: ServiceCall,
  job: ValueOf<typeof drill.toService.job>,
  listener: Listener,
): Promise<Drilled> {
  const limited = { ...call, sessionTimeout: call.sessionTimeout ?? DRILL_SESSION_TIMEOUT };
  return withCall(limited, drill, async ({ session }) => {
    const notes = new NoteCounter(listener);
    await session.send('job', job);
    const done = await receiveResult(session, (message) => takeCommon(message, listener, notes));
    return done.value;
  });
}

/** The content digest of the stored tree `top`, by a reader that is given nothing but its blobs. */
export async function runProve(
  call: ServiceCall,
  access: BlobAccess,
  job: { top: number; owners: boolean },
  listener: Listener,
): Promise<ContentDigest> {
  return withCall(call, prove, async ({ session }, fail) => {
    const notes = new NoteCounter(listener);
    const server = blobServer(access, (pieces) => session.send('blob', pieces), fail);
    await session.send('job', job);
    const done = await receiveResult(session, (message) => takeCommon(message, listener, notes, server));
    server.stop();
    return done.value.digest;
  });
}

/** Where the stream of an export goes. What it throws is not the disposable's fault, and ends the session. */
export interface ExportSink {
  /** Before the first piece of a file copy: whether all names in it are printable ASCII. */
  begin(plainNames: boolean): Promise<void>;
  write(piece: Uint8Array): Promise<void>;
}

/**
 * Extracts `paths` of the tree `top`: below a folder, or as pieces of a stream of at most `limit` bytes to `sink`. Throws
 * `limit` if there are more.
 */
export async function runExport(
  call: ServiceCall,
  access: BlobAccess,
  job: { top: number; paths: Uint8Array[]; output: ExportOutput },
  sink: ExportSink,
  limit: number,
  listener: Listener,
): Promise<Exported> {
  return withCall(call, exportPaths, async ({ session }, fail) => {
    const notes = new NoteCounter(listener);
    const server = blobServer(access, (pieces) => session.send('blob', pieces), fail);
    const passOn = async (work: Promise<void>) => {
      try {
        await work;
      } catch (error) {
        fail(error);
        throw error;
      }
    };
    const { kind } = job.output;
    let streaming = kind === 'tar';
    let left = limit;
    await session.send('job', job);
    const { value: exported } = await receiveResult(session, async (message) => {
      if (message.name === 'begin') {
        if (streaming || kind !== 'fileCopy') throw new BackupError('protocol', 'began a stream out of turn');
        streaming = true;
        await passOn(sink.begin(message.value.plainNames));
      } else if (message.name === 'data') {
        if (!streaming) throw new BackupError('protocol', 'sent a stream that was not asked for');
        left -= message.value.length;
        if (left < 0) throw new BackupError('limit', 'sends more than its snapshot can hold');
        await passOn(sink.write(message.value));
      } else takeCommon(message, listener, notes, server);
    });
    server.stop();
    if ((exported.crc32 !== null) !== (kind === 'fileCopy'))
      throw new BackupError('protocol', 'ended another kind of export than was asked for');
    if (exported.missing.some((index) => index >= job.paths.length))
      throw new BackupError('protocol', 'misses paths that were not asked for');
    return exported;
  });
}

type CommonMessage = Message<Pick<typeof restore.toCaller, 'get' | 'progress' | 'note'>>;

/** Takes what every such job may say while it runs. */
export function takeCommon(
  message: CommonMessage,
  listener: Listener,
  notes: NoteCounter,
  server?: BlobServer,
): void {
  switch (message.name) {
    case 'get':
      server?.request(message.value.numbers);
      break;
    case 'progress':
      listener.progress(message.value);
      break;
    case 'note':
      notes.take(message.value);
      break;
  }
}

type Result<M> = Extract<M, { readonly name: 'done' }>;
type BeforeResult<M> = Exclude<M, { readonly name: 'done' }>;

/** Receives until the result, which is answered; `take` judges what comes before it. Throws `protocol` without a result. */
export async function receiveResult<M extends { readonly name: string }>(
  session: { receive(): Promise<M | undefined> },
  take: (message: BeforeResult<M>) => Promise<void> | void,
): Promise<Result<M>> {
  for (;;) {
    const message = await session.receive();
    if (message === undefined) throw new BackupError('protocol', 'ended without a result');
    if (message.name === 'done') return message as Result<M>;
    await take(message as BeforeResult<M>);
  }
}

export function blobServer(
  access: BlobAccess,
  send: (pieces: readonly Uint8Array[]) => Promise<void>,
  failed: (error: unknown) => void,
): BlobServer {
  return new BlobServer(access.history, access.grant, { send, failed });
}

/**
 * Runs `work` over a call and ends the call in order; `fail` reports a failure that is not the disposable's. The call
 * is over when this settles.
 */
export async function withCall<ToService extends FrameTable, ToCaller extends FrameTable, T>(
  serviceCall: ServiceCall,
  protocol: Protocol<ToService, ToCaller>,
  work: (call: Call<ToService, ToCaller>, fail: (error: unknown) => void) => Promise<T>,
): Promise<T> {
  const call = new Call(serviceCall, protocol, { window: DOM0_DOWNLOAD_SHARE });
  let failure: Error | undefined;
  const fail = (error: unknown) => {
    // What the storage VM did, or dom0 could not do, is not the disposable's fault: it is reported as it was.
    if (!isBackupError(error, 'refused'))
      failure ??= error instanceof Error ? error : new Error(messageOf(error));
    call.session.fail(error);
  };
  const deadline = setTimeout(
    () => fail(new BackupError('timeout', `${serviceCall.peer} takes longer than any session may`)),
    serviceCall.sessionTimeout ?? SESSION_TIMEOUT,
  );
  try {
    const result = await work(call, fail);
    await call.finish();
    return result;
  } catch (error) {
    if (failure !== undefined) throw failure;
    throw await call.explain(call.session.fail(error));
  } finally {
    clearTimeout(deadline);
    call.abort();
  }
}
