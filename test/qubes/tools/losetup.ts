/** losetup, mount --bind and umount. test/qubes/real-tools.process.test.ts holds them against the real ones. */

import { existsSync, linkSync, lstatSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { one, parse } from './options.ts';
import { Refusal } from './state.ts';
import type { World } from './state.ts';

export function losetup(world: World, args: readonly string[]): string {
  const flags = ['--find', '--show', '--read-only', '--list', '--json'];
  const parsed = parse('losetup', args, { flags, values: ['--output', '--detach'] });
  const detached = one(parsed, '--detach');
  if (detached !== undefined) return detach(world, detached, parsed.rest);
  if (parsed.flags.has('--list')) return list(world, one(parsed, '--output') ?? '');
  const [file = '', ...more] = parsed.rest;
  if (!parsed.flags.has('--find') || !parsed.flags.has('--show') || more.length > 0)
    throw new Refusal(1, 'losetup: this stand-in needs --find --show and one file');
  if (!existsSync(file))
    throw new Refusal(1, `losetup: ${file}: failed to set up loop device: No such file or directory`);
  const number = Array.from({ length: 1000 }, (_none, i) => String(i)).find(
    (candidate) => world.state.loops[candidate] === undefined,
  );
  if (number === undefined) throw new Refusal(1, 'losetup: cannot find an unused loop device');
  // The kernel names the file by the path on which it was opened, without symlinks.
  world.state.loops[number] = {
    file: realpathSync(file),
    readOnly: parsed.flags.has('--read-only'),
    autoclear: false,
  };
  symlinkSync(realpathSync(file), world.at(`dev/loop${number}`));
  return `${world.at(`dev/loop${number}`)}\n`;
}

function list(world: World, output: string): string {
  if (output !== 'NAME,BACK-FILE') throw new Refusal(1, `losetup: unknown column: ${output}`);
  const loopdevices = Object.entries(world.state.loops).map(([number, { file }]) => ({
    name: world.at(`dev/loop${number}`),
    'back-file': existsSync(file) ? file : `${file} (deleted)`,
  }));
  return loopdevices.length === 0 ? '' : `${JSON.stringify({ loopdevices }, undefined, 3)}\n`;
}

function detach(world: World, device: string, rest: readonly string[]): string {
  const number = /\/dev\/loop([0-9]+)$/.exec(device)?.[1] ?? '';
  const loop = world.state.loops[number];
  if (rest.length > 0) throw new Refusal(1, 'losetup: bad usage');
  if (loop === undefined)
    throw new Refusal(1, `losetup: ${device}: detach failed: No such device or address`);
  loop.autoclear = true;
  world.settle();
  return '';
}

export function mount(world: World, args: readonly string[]): string {
  const parsed = parse('mount', args, { flags: ['--bind'] });
  const [file = '', place = '', ...more] = parsed.rest;
  if (!parsed.flags.has('--bind') || more.length > 0)
    throw new Refusal(1, 'mount: this stand-in binds files only');
  if (!existsSync(file)) throw new Refusal(32, `mount: ${place}: special device ${file} does not exist.`);
  if (!existsSync(place)) throw new Refusal(32, `mount: ${place}: mount point does not exist.`);
  if (!lstatSync(file).isFile() || !lstatSync(place).isFile() || lstatSync(place).size > 0)
    world.breach(`mount of ${file} on ${place}: not a file on an empty file`);
  rmSync(place);
  linkSync(file, place);
  world.state.mounts[place] = file;
  return '';
}

export function umount(world: World, args: readonly string[]): string {
  const [place = '', ...more] = parse('umount', args, {}).rest;
  if (world.state.mounts[place] === undefined || more.length > 0)
    throw new Refusal(32, `umount: ${place}: not mounted.`);
  if (world.isHeld(place, undefined)) throw new Refusal(32, `umount: ${place}: target is busy.`);
  world.state.mounts = Object.fromEntries(
    Object.entries(world.state.mounts).filter(([key]) => key !== place),
  );
  rmSync(place);
  writeFileSync(place, '');
  return '';
}
