/** lvs, lvcreate and lvremove. Source of words and rules: lvm2 2.03, tools/ and lib/metadata/. */

import { existsSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { copySparse } from './copy.ts';
import { one, parse } from './options.ts';
import { Refusal } from './state.ts';
import type { World } from './state.ts';

/** Reserved by LVM, or not its characters. */
const BAD_NAME =
  /^(?:\.{1,2}|-.*|snapshot.*|pvmove.*)$|[^A-Za-z0-9+_.-]|_(?:tdata|tmeta|cdata|cmeta|rimage|mimage)/;

export function lvs(world: World, args: readonly string[]): string {
  const parsed = parse('lvs', args, { values: ['--reportformat', '-o'] });
  const fields = (one(parsed, '-o') ?? '').split(',');
  const [group, ...more] = parsed.rest;
  if (one(parsed, '--reportformat') !== 'json') throw new Refusal(3, 'this stand-in reports as JSON only');
  if (group === undefined || more.length > 0) throw new Refusal(3, 'this stand-in lists one group');
  const lv = namesIn(world, group).map((name) => {
    const path = `${group}/${name}`;
    const values: Readonly<Record<string, string>> = {
      lv_name: name,
      lv_tags: (world.state.logical[path]?.tags ?? []).join(','),
      lv_device_open: isOpen(world, path) ? 'open' : '',
    };
    return Object.fromEntries(
      fields.map((field) => {
        const value = values[field];
        if (value === undefined) throw new Refusal(3, `Unrecognised field: ${field}`);
        return [field, value];
      }),
    );
  });
  return `  ${JSON.stringify({ report: [{ lv }] }, undefined, 4)}\n`;
}

export function lvcreate(world: World, args: readonly string[]): string {
  const parsed = parse('lvcreate', args, { flags: ['-s', '-kn', '-ay'], values: ['-n', '--addtag'] });
  for (const flag of ['-s', '-kn', '-ay'])
    if (!parsed.flags.has(flag)) throw new Refusal(3, `without ${flag} there is no active thin snapshot`);
  const name = one(parsed, '-n') ?? '';
  const [origin = '', ...more] = parsed.rest;
  const group = origin.split('/')[0] ?? '';
  if (more.length > 0) throw new Refusal(3, 'Too many arguments');
  if (BAD_NAME.test(name) || name === '' || name.length > 127)
    throw new Refusal(3, `Logical volume name "${name}" is invalid.`);
  if (!namesIn(world, group).includes(origin.slice(group.length + 1)))
    throw new Refusal(5, `Failed to find logical volume "${origin}"`);
  if (namesIn(world, group).includes(name))
    throw new Refusal(5, `Logical Volume "${name}" already exists in volume group "${group}"`);
  if (name.startsWith('vm-'))
    world.breach(`lvcreate of ${name}, which udev hides and Qubes takes for its own`);
  const dm = world.next();
  copySparse(world.at(`dev/${origin}`), world.at(`dev/dm-${dm}`));
  symlinkSync(world.at(`dev/dm-${dm}`), world.at(`dev/${group}/${name}`));
  world.state.logical[`${group}/${name}`] = { tags: parsed.values.get('--addtag') ?? [], dm };
  return `  Logical volume "${name}" created.\n`;
}

export function lvremove(world: World, args: readonly string[]): string {
  const parsed = parse('lvremove', args, { flags: ['--yes'] });
  const [path = '', ...more] = parsed.rest;
  const [group = '', name = ''] = path.split('/');
  if (more.length > 0) throw new Refusal(3, 'Too many arguments');
  if (!namesIn(world, group).includes(name)) throw new Refusal(5, `Failed to find logical volume "${path}"`);
  if (!parsed.flags.has('--yes'))
    throw new Refusal(5, `Logical volume ${path} not removed: no terminal to ask`);
  const known = world.state.logical[path];
  if (known === undefined) world.breach(`lvremove of ${path}, which is not ours`);
  const file = realpathSync(world.at(`dev/${path}`));
  if (world.isHeld(file, `dm-${known.dm}`)) throw new Refusal(5, `Logical volume ${path} in use.`);
  rmSync(world.at(`dev/${path}`));
  rmSync(file);
  world.state.logical = Object.fromEntries(
    Object.entries(world.state.logical).filter(([key]) => key !== path),
  );
  return `  Logical volume "${name}" successfully removed.\n`;
}

function namesIn(world: World, group: string): readonly string[] {
  const folder = world.at(`dev/${group}`);
  if (group === '' || group === 'mapper' || !existsSync(folder))
    throw new Refusal(5, `Volume group "${group}" not found`);
  return readdirSync(folder).sort();
}

function isOpen(world: World, path: string): boolean {
  if (world.state.open.includes(path)) return true;
  const { dm } = world.state.logical[path] ?? {};
  const file = realpathSync(world.at(`dev/${path}`));
  return (
    Object.values(world.state.loops).some((loop) => loop.file === file) ||
    world.state.attachments.some(({ port }) => dm !== undefined && port === `dm-${dm}`)
  );
}
