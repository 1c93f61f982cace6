/**
 * The program's part for a disposable as a tar stream of its files at their places in a VM. All of them are dom0's own, as its package
 * installed them, so this reads nothing that another VM shaped.
 */

import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { byteString, utf8 } from '../../../shared/bytes.ts';
import { BackupError } from '../../../shared/errors.ts';
import { MAX_PIECE } from '../../../shared/limits.ts';
import { BLOCK, FLAG, encodeHeader, fillOf, headerName } from '../../../shared/tar-header.ts';
import type { Flag } from '../../../shared/tar-header.ts';

/** Below the root of the VM. `/usr/local` is looked into before `/etc/qubes-rpc`, and lies on disk, not in memory. */
const PROGRAM = 'usr/local/lib/qubes-backup';
const SERVICES = 'usr/local/etc/qubes-rpc';
const CONFIG = 'etc/qubes/rpc-config';

/** In the program's folder, as packaging/contents.ts lays it out. */
const NODE = 'bin/node';
const PART = 'services/dvm';
/** Who runs which service: a file each, which qrexec looks for elsewhere. */
const CONFIG_SOURCE = `${PART}/rpc-config`;
const LAUNCHER = /^qubes\.[A-Za-z]+$/;

interface Member {
  readonly name: string;
  readonly flag: Flag;
  readonly mode: number;
  readonly source?: string;
  readonly target?: string;
}

/** Pieces of the stream; `program` is the program's folder. */
export async function* agentArchive(program: string): AsyncGenerator<Uint8Array> {
  for (const member of await membersOf(program)) {
    const size = member.source === undefined ? 0 : (await stat(member.source)).size;
    yield headerOf(member, size);
    if (member.source !== undefined) yield* contentOf(member.source, size);
    yield fillOf(size);
  }
  yield new Uint8Array(2 * BLOCK);
}

async function membersOf(program: string): Promise<Member[]> {
  const found = await readdir(join(program, PART), { recursive: true, withFileTypes: true });
  const files = found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(program.length + 1));
  const config = files.filter((file) => file.startsWith(`${CONFIG_SOURCE}/`));
  const own = [NODE, ...files.filter((file) => !config.includes(file))];
  const fileAt = async (name: string, file: string): Promise<Member> => {
    const source = join(program, file);
    return { name, flag: FLAG.file, mode: (await stat(source)).mode & 0o777, source };
  };
  const links = own
    .map((file) => file.slice(PART.length + 1))
    .filter((name) => LAUNCHER.test(name))
    .map((name) => ({
      name: `${SERVICES}/${name}`,
      flag: FLAG.symlink,
      mode: 0o777,
      target: `../../lib/qubes-backup/${PART}/${name}`,
    }));
  const members = [
    ...(await Promise.all(own.map((file) => fileAt(`${PROGRAM}/${file}`, file)))),
    ...(await Promise.all(
      config.map((file) => fileAt(`${CONFIG}${file.slice(CONFIG_SOURCE.length)}`, file)),
    )),
    ...links,
  ];
  return [...foldersOf(members), ...members];
}

/** The folders that `members` are in, outermost first: whatever the umask there, others may look into them. */
function foldersOf(members: readonly Member[]): Member[] {
  const folders = members.flatMap(({ name }) => {
    const parts = name.split('/').slice(0, -1);
    return parts.map((_part, index) => `${parts.slice(0, index + 1).join('/')}/`);
  });
  const ours = [...new Set(folders)].filter((name) => name.length > 'usr/local/'.length);
  return ours.sort().map((name) => ({ name, flag: FLAG.directory, mode: 0o755 }));
}

function headerOf({ name, flag, mode, target }: Member, size: number): Uint8Array {
  const text = (value: string) => {
    const bytes = byteString(utf8(value));
    if (headerName(bytes) !== bytes) throw new BackupError('internal', `${value} is too long for a header`);
    return bytes;
  };
  const owner = { uid: 0, gid: 0, mtime: 0 };
  return encodeHeader({ ...owner, name: text(name), flag, mode, size, target: text(target ?? '') });
}

/** Exactly `size` bytes. */
async function* contentOf(file: string, size: number): AsyncGenerator<Uint8Array> {
  const handle = await open(file);
  try {
    for (let at = 0; at < size;) {
      const piece = Buffer.allocUnsafe(Math.min(MAX_PIECE, size - at));
      const { bytesRead } = await handle.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw new BackupError('io', `${file} became shorter while it was read`);
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
