/** The stand-ins for dom0's programs: `bin/node stand-in.ts FOLDER TOOL ARGUMENT...` is TOOL on the machine in FOLDER. */

import { writeSync } from 'node:fs';
import { TOOL_NAMES } from '../../../dom0/domains/qubes/tools/tools.ts';
import type { ToolName } from '../../../dom0/domains/qubes/tools/tools.ts';
import { cp } from './copy.ts';
import { losetup, mount, umount } from './losetup.ts';
import { lvcreate, lvremove, lvs } from './lvm.ts';
import { qvmBlock } from './qvm-block.ts';
import { runuser } from './runuser.ts';
import { Refusal, withWorld } from './state.ts';
import type { World } from './state.ts';
import { zfs } from './zfs.ts';

const PROGRAMS: Readonly<Partial<Record<ToolName, (world: World, args: readonly string[]) => string>>> = {
  ...{ cp, losetup, lvcreate, lvremove, lvs, mount, runuser, umount, zfs },
  'qvm-block': qvmBlock,
};

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Plays one call. */
export function play(root: string, tool: ToolName, args: readonly string[]): Ended {
  return withWorld(root, (world) => {
    world.state.calls.push([tool, ...args].join(' '));
    try {
      world.settle();
      const failing = world.state.failing.find(
        (failure) => failure.tool === tool && args.join(' ').startsWith(failure.args),
      );
      if (failing !== undefined) throw new Refusal(failing.code, failing.says);
      const program = PROGRAMS[tool];
      if (program === undefined) throw new Refusal(127, `there is no stand-in for ${tool}`);
      const stdout = program(world, args);
      world.state.expected = world.state.expected.filter(
        (call) => !(call.tool === tool && args.join(' ').startsWith(call.args)),
      );
      return { code: 0, stdout, stderr: '' };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { code: error.code, stdout: '', stderr: `${error.message}\n` };
    }
  });
}

if (import.meta.main) {
  const [root = '', name = '', ...args] = process.argv.slice(2);
  const tool = TOOL_NAMES.find((known) => known === name);
  if (tool === undefined) throw new Error(`no tool ${name}`);
  const { code, stdout, stderr } = play(root, tool, args);
  writeSync(1, stdout);
  writeSync(2, stderr);
  process.exitCode = code;
}
