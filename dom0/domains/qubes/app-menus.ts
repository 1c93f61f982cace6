/**
 * Menus of applications: desktop files in the home of dom0's user. qubesd has them made when a VM is created; what a template or
 * standalone VM has of its own is copied as Qubes' own tools do when they clone one: by `qvm-appmenus`, as that user.
 */

import { readFileSync } from 'node:fs';
import { isBackupError, systemCode } from '../../../shared/errors.ts';
import type { ToolRunner } from './tools/tools.ts';

/** The first name is the user of dom0 whose menus there are. */
const GROUP = /^qubes:[^:]*:[0-9]+:([a-z_][a-z0-9_-]*)/m;

export class AppMenus {
  readonly #tools: ToolRunner;
  readonly #warn: (text: string) => void;
  readonly #groups: string;

  /** `groups`: the file of groups, in tests. */
  constructor(tools: ToolRunner, warn: (text: string) => void, groups = '/etc/group') {
    this.#tools = tools;
    this.#warn = warn;
    this.#groups = groups;
  }

  /** Gives `to` the menus of `from`. A menu is no part of a VM: what fails is a warning. */
  async copy(from: string, to: string): Promise<void> {
    const user = this.#user();
    if (user === undefined) return; // Nobody has menus.
    const args = ['-u', user, '--', '/usr/bin/qvm-appmenus', '--init', '--update', '--source', from, to];
    try {
      await this.#tools.run('runuser', args, { subject: `VM ${to}` });
    } catch (error) {
      if (!isBackupError(error)) throw error;
      this.#warn(error.message);
    }
  }

  #user(): string | undefined {
    try {
      return GROUP.exec(readFileSync(this.#groups, 'latin1'))?.[1];
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
}
