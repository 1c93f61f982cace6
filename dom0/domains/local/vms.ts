/**
 * VMs as folders: `vms/NAME/` with `vm.json` and volumes: `private`, either the folder `private/` or the image
 * `private.img`, and perhaps `root`, as `root/` or `root.img`. The files of an image are read from an ext4, xfs or btrfs
 * file system. All of vm.json is optional, and nothing is ever written into a folder that a person made.
 *
 * A VM whose vm.json names no UUID has one derived from the inode and birth time of its folder: it survives a
 * rename, and a new folder of an old name is another VM (R11). Copying the folder makes another VM as well.
 */

import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { BackupError, messageOf, systemCode } from '../../../shared/errors.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import { MAX_VM_CONFIG } from '../../../shared/limits.ts';
import type { Vm, VolumeName } from '../domains.ts';
import { canonicalJson, issues, parseJson } from '../json.ts';
import { FILE_SYSTEMS, fileSystemOf } from './file-system.ts';
import type { FileSystem } from './file-system.ts';
import { statOf } from '../stat.ts';
import { readText } from './files.ts';

/** vm.json. Unknown fields travel with the backup untouched (R25). */
export const vmConfigSchema = z.looseObject({
  klass: z.enum(['AppVM', 'StandaloneVM', 'TemplateVM', 'DispVM']).default('AppVM'),
  uuid: z.uuid().optional(),
  label: z.string().default('red'),
  template: z.nullable(z.string()).default(null),
  netvm: z.nullable(z.string()).default(null),
  include_in_backups: z.boolean().default(true),
  tags: z.array(z.string()).default([]),
  features: z.record(z.string(), z.json()).default({}),
  properties: z.record(z.string(), z.json()).default({}),
});
export type VmConfig = z.output<typeof vmConfigSchema>;

/** Where a VM's volume is. */
export interface LocalVolume {
  readonly name: VolumeName;
  readonly kind: 'folder' | 'image';
  readonly path: string;
  /** Bytes of an image; 0 of a folder, which has no size of its own. */
  readonly size: number;
  /** What an image holds; undefined of a folder, and of an image without a file system that is known. */
  readonly fileSystem: FileSystem | undefined;
}

export interface LocalVm extends Vm {
  readonly name: VmName;
  readonly folder: string;
  readonly config: VmConfig;
}

/** All VMs under `vms`, sorted by name; `warn` is told of each name there that is no VM's. */
export async function listVms(vms: string, warn: (text: string) => void): Promise<readonly LocalVm[]> {
  const found: LocalVm[] = [];
  for (const entry of await readFolder(vms)) {
    if (entry.isDirectory() && isVmName(entry.name) && entry.name !== 'dom0')
      found.push(await readVm(vms, entry.name));
    else
      warn(`${join(vms, entry.name)} is ignored: ${entry.isDirectory() ? 'not a VM name' : 'not a folder'}`);
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** One VM. Throws `unknown-vm`, or `usage` where its vm.json is wrong. */
export async function readVm(vms: string, name: VmName): Promise<LocalVm> {
  const folder = join(vms, name);
  const stats = await statOf(folder);
  if (stats?.isDirectory() !== true)
    throw new BackupError('unknown-vm', `there is no VM ${name} (no folder ${folder})`);
  const config = await readConfigFile(name, join(folder, 'vm.json'));
  const uuid = config.uuid ?? derivedUuid(stats.ino, stats.birthtimeNs);
  const volumes: VolumeName[] = ['private'];
  for (const file of ['root', 'root.img'])
    if ((await statOf(join(folder, file))) !== undefined) volumes.push('root');
  const { klass, template, include_in_backups: includeInBackups } = config;
  return { name, folder, config, klass, uuid, includeInBackups, template, volumes: [...new Set(volumes)] };
}

/** Throws `unknown-vm` if the VM has no such volume, or an ambiguous one. */
export async function volumeOf(vm: LocalVm, name: VolumeName): Promise<LocalVolume> {
  const folder = await statOf(join(vm.folder, name));
  const image = await statOf(join(vm.folder, `${name}.img`));
  if (folder?.isDirectory() === true && image === undefined) {
    return { name, kind: 'folder', path: join(vm.folder, name), size: 0, fileSystem: undefined };
  }
  if (image?.isFile() === true && folder === undefined) {
    const path = join(vm.folder, `${name}.img`);
    return { name, kind: 'image', path, size: Number(image.size), fileSystem: await fileSystemOf(path) };
  }
  throw new BackupError(
    'unknown-vm',
    `VM ${vm.name} has no ${name} volume: ${vm.folder} must hold either the folder ${name}/ or the file ${name}.img`,
  );
}

/** What travels with a backup: vm.json with its defaults, the UUID and the volumes; canonical JSON. */
export async function describeVm(vm: LocalVm): Promise<string> {
  const volumes: [VolumeName, unknown][] = [];
  for (const name of vm.volumes) {
    const { kind, size, fileSystem } = await volumeOf(vm, name);
    volumes.push([name, fileSystem === undefined ? { kind, size } : { kind, size, fileSystem }]);
  }
  return canonicalJson({ ...vm.config, uuid: vm.uuid, volumes: Object.fromEntries(volumes) });
}

const describedVolume = z.looseObject({
  kind: z.enum(['folder', 'image']),
  size: z.int().min(0),
  fileSystem: z.enum(FILE_SYSTEMS).default('ext4'),
});
const describedSchema = vmConfigSchema.extend({
  volumes: z.strictObject({ private: describedVolume.optional(), root: describedVolume.optional() }),
});
export type DescribedVolumes = z.output<typeof describedSchema>['volumes'];

/** The inverse of {@link describeVm}. Throws `store-damaged`: the text comes from a backup. */
export function parseDescription(bytes: Uint8Array): {
  config: VmConfig;
  volumes: DescribedVolumes;
} {
  const result = describedSchema.safeParse(parseJson(Buffer.from(bytes).toString('utf8')));
  if (!result.success)
    throw new BackupError('store-damaged', `the VM's configuration is not valid: ${issues(result.error)}`);
  const { volumes, ...config } = result.data;
  return { config, volumes };
}

async function readConfigFile(name: string, path: string): Promise<VmConfig> {
  const text = await readText(path, MAX_VM_CONFIG);
  const result = vmConfigSchema.safeParse(text === undefined ? {} : parseJson(text));
  if (!result.success) throw new BackupError('usage', `VM ${name}: ${path}: ${issues(result.error)}`);
  return result.data;
}

/** A UUID of version 8 (RFC 9562, 5.8): the rest is a hash. */
function derivedUuid(inode: bigint, birth: bigint): string {
  const bytes = createHash('sha256')
    .update(`qubes-incremental-backup local vm ${inode} ${birth}`)
    .digest()
    .subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

async function readFolder(path: string) {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return [];
    throw new BackupError('io', `cannot list the VMs: ${messageOf(cause)}`, { cause });
  }
}
