/** What the figures hold for: the machine, its software, and how busy it was. */

import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { tool } from './contender.ts';
import { versions } from './contenders.ts';

export interface Machine {
  readonly cores: string;
  readonly memory: string;
  readonly kernel: string;
  readonly fileSystem: string;
  readonly software: readonly string[];
  /** Of the last minute, at the start. */
  readonly load: number;
  readonly date: string;
}

/** `folder` is on the file system that all is measured on. */
export function machineOf(folder: string): Machine {
  const distribution =
    /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
  return {
    cores: `${cpus().length} x ${cpus()[0]?.model.trim() ?? '?'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `${distribution}, Linux ${release()}`,
    fileSystem: tool('stat', '-f', '-c', '%T', folder).trim(),
    software: [`Node.js ${process.version}`, ...versions()],
    load: loadavg()[0] ?? NaN,
    date: new Date().toISOString().slice(0, 10),
  };
}
