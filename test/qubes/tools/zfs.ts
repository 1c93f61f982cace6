/** zfs list, snapshot, clone and destroy of volumes. Source of words and rules: zfs-list(8) and its like, cmd/zfs/zfs_main.c. */

import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { copySparse } from './copy.ts';
import { one, parse } from './options.ts';
import { Refusal } from './state.ts';
import type { World } from './state.ts';

export function zfs(world: World, args: readonly string[]): string {
  const [command, ...rest] = args;
  switch (command) {
    case 'list':
      return list(world, rest);
    case 'snapshot':
      return snapshot(world, rest);
    case 'clone':
      return clone(world, rest);
    case 'destroy':
      return destroy(world, rest);
    default:
      throw new Refusal(2, `unrecognized command '${command ?? ''}'`);
  }
}

function list(world: World, args: readonly string[]): string {
  const parsed = parse('zfs', args, { flags: ['-H', '-r'], values: ['-t', '-o', '-s', '-d'] });
  const [of = '', ...more] = parsed.rest;
  const types = (one(parsed, '-t') ?? '').split(',');
  if (!parsed.flags.has('-H') || more.length > 0)
    throw new Refusal(2, 'this stand-in needs -H and one dataset');
  if (!existsSync(volumePath(world, of))) throw new Refusal(1, `cannot open '${of}': dataset does not exist`);
  const within = (name: string) =>
    parsed.flags.has('-r')
      ? name === of || name.startsWith(`${of}/`) || name.startsWith(`${of}@`)
      : name.startsWith(`${of}@`);
  const names = [
    ...(types.includes('volume') ? volumes(world) : []),
    ...(types.includes('snapshot') ? snapshots(world) : []),
  ].filter(within);
  if (one(parsed, '-s') === 'creation')
    names.sort((a, b) => (world.state.datasets[a]?.born ?? 0) - (world.state.datasets[b]?.born ?? 0));
  return names
    .map((name) =>
      (one(parsed, '-o') ?? 'name')
        .split(',')
        .map((field) => (field === 'name' ? name : (world.state.datasets[name]?.properties[field] ?? '-')))
        .join('\t'),
    )
    .map((row) => `${row}\n`)
    .join('');
}

function snapshot(world: World, args: readonly string[]): string {
  const parsed = parse('zfs', args, { values: ['-o'] });
  const [name = ''] = parsed.rest;
  const [volume = '', tag = ''] = name.split('@');
  if (!volumes(world).includes(volume))
    throw new Refusal(1, `cannot open '${volume}': dataset does not exist`);
  if (!/^[A-Za-z0-9_.:-]+$/.test(tag)) throw new Refusal(1, `cannot create snapshot '${name}': invalid name`);
  if (world.state.datasets[name] !== undefined)
    throw new Refusal(1, `cannot create snapshot '${name}': dataset already exists`);
  mkdirSync(dirname(snapshotPath(world, name)), { recursive: true });
  copySparse(volumePath(world, volume), snapshotPath(world, name));
  world.state.datasets[name] = {
    properties: properties(parsed.values.get('-o')),
    origin: volume,
    born: world.next(),
  };
  return '';
}

function clone(world: World, args: readonly string[]): string {
  const parsed = parse('zfs', args, { values: ['-o'] });
  const [origin = '', name = ''] = parsed.rest;
  if (!snapshots(world).includes(origin))
    throw new Refusal(1, `cannot open '${origin}': dataset does not exist`);
  if (existsSync(volumePath(world, name)))
    throw new Refusal(1, `cannot create '${name}': dataset already exists`);
  if (!existsSync(dirname(volumePath(world, name))))
    throw new Refusal(1, `cannot create '${name}': parent does not exist`);
  const device = world.at(`dev/zd${16 * world.next()}`);
  copySparse(snapshotPath(world, origin), device);
  symlinkSync(device, volumePath(world, name));
  world.state.datasets[name] = {
    properties: properties(parsed.values.get('-o')),
    origin,
    born: world.next(),
  };
  return '';
}

function destroy(world: World, args: readonly string[]): string {
  const [name = '', ...more] = parse('zfs', args, {}).rest;
  const known = world.state.datasets[name];
  if (more.length > 0) throw new Refusal(2, 'too many arguments');
  if (known === undefined) {
    if (!existsSync(volumePath(world, name)))
      throw new Refusal(1, `cannot open '${name}': dataset does not exist`);
    world.breach(`zfs destroy of ${name}, which is not ours`);
  }
  if (known.properties['qubes-backup:made'] !== 'yes')
    world.breach(`zfs destroy of ${name}, which is not ours`);
  const children = Object.keys(world.state.datasets).filter((other) => other.startsWith(`${name}@`));
  if (children.length > 0) throw new Refusal(1, `cannot destroy '${name}': volume has children`);
  if (Object.values(world.state.datasets).some(({ origin }) => name.includes('@') && origin === name))
    throw new Refusal(1, `cannot destroy '${name}': snapshot has dependent clones`);
  const path = name.includes('@') ? snapshotPath(world, name) : realpathSync(volumePath(world, name));
  if (!name.includes('@') && world.isHeld(path, undefined))
    throw new Refusal(1, `cannot destroy '${name}': dataset is busy`);
  rmSync(path);
  if (!name.includes('@')) rmSync(volumePath(world, name));
  world.state.datasets = Object.fromEntries(
    Object.entries(world.state.datasets).filter(([key]) => key !== name),
  );
  return '';
}

function properties(options: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries((options ?? []).map((option) => option.split('=', 2) as [string, string]));
}

function volumePath(world: World, name: string): string {
  return world.at(`dev/zvol/${name}`);
}

function snapshotPath(world: World, name: string): string {
  return world.at(`zfs/${name.replaceAll('/', '_')}`);
}

function snapshots(world: World): string[] {
  return Object.keys(world.state.datasets).filter((name) => name.includes('@'));
}

function volumes(world: World): string[] {
  const root = world.at('dev/zvol');
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(root, name)).isFile(),
  );
}
