/** A machine with the VM `data`, a storage VM and dom0's state, as each driver has it: what the suite of both drivers runs on. */

import type { App } from '../../../dom0/app.ts';
import type { Dom0Paths } from '../../../dom0/domains/dom0-files.ts';
import type { Domains } from '../../../dom0/domains/domains.ts';
import type { Instants } from '../../qubes/instants.ts';

/** All that another process needs to be dom0 of the same machine. */
export type Machine =
  | { readonly driver: 'local'; readonly folder: string; readonly keyFile: string }
  | {
      readonly driver: 'lab';
      readonly folder: string;
      readonly keyFile: string;
      /** The folder of what its guests boot. */
      readonly image: string;
    }
  | {
      readonly driver: 'qubes';
      readonly folder: string;
      readonly keyFile: string;
      /** Of the stand-ins for dom0's programs, and qubesd's socket. */
      readonly root: string;
      readonly socket: string;
      readonly programs: { readonly client: string; readonly evaluator: string; readonly policy: string };
      /** What of dom0 is backed up. */
      readonly dom0?: Dom0Paths;
    };

export interface System {
  readonly machine: Machine;
  /** Runs a command as a new process of dom0 would. */
  run(command: (app: App) => Promise<void>): Promise<App>;
  /** The image of a VM's private volume. */
  imageOf(vm: string): string;
  /** What `~/QubesIncoming` of VM `data` holds at a path; fails if it does not. */
  incoming(path: string): string;
  vms(): Promise<readonly string[]>;
  /** Makes a VM like `data`, with an empty file system. */
  add(vm: string): Promise<void>;
  remove(vm: string): Promise<void>;
  /** All that a run makes for its own time, and that outlives its death. Nothing of it is there between runs. */
  leftovers(): readonly string[];
}

/** The driver of `machine` as a process opens it; `instants` pass with each step that changes something. */
export type OpenDomains = (instants?: Instants) => Domains;
