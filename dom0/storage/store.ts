/** One place that holds a copy of the repository: how to reach it, what it was last seen with, how it stands to the others (R44). */

import { BackupError, isBackupError, messageOf } from '../../shared/errors.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import type { StorePinFile } from '../state/store-pin.ts';
import type { Storage } from './storage.ts';

/** How a store stands to the newest root that this machine accepts. */
export type Standing =
  /** Not judged yet; its root is not known to be right. */
  | { readonly is: 'unknown' }
  /** Has that root, and by all that was told every object of it. */
  | { readonly is: 'in-step' }
  /** Has one before it, and was never seen with a later one: it missed so many. */
  | { readonly is: 'behind'; readonly roots: number }
  /** Holds no repository, and never did as far as this machine knows. */
  | { readonly is: 'empty' }
  /** Cannot be reached; or was left out of the run after it failed; or cannot be what it was. */
  | { readonly is: Faulty; readonly error: BackupError };

type Faulty = 'absent' | 'failed' | 'damaged' | 'emptied' | 'rolled-back' | 'forked' | 'replaced';

export class Store {
  readonly name: string;
  /** On a medium that may be absent. */
  readonly removable: boolean;
  readonly client: Storage;
  readonly pin: StorePinFile;
  standing: Standing = { is: 'unknown' };
  /** The root that it offered last: its signature is right, nothing else is known of it. */
  root: Root | undefined;

  constructor(client: Storage, pin: StorePinFile, removable = false) {
    this.name = client.name;
    this.client = client;
    this.pin = pin;
    this.removable = removable;
  }

  /** Asks for its root. What fails becomes its standing. */
  async survey(): Promise<void> {
    this.root = undefined;
    this.standing = { is: 'unknown' };
    let untrusted: Uint8Array | undefined;
    try {
      untrusted = await this.client.root();
    } catch (error) {
      const is = isBackupError(error, 'store-missing') ? 'absent' : 'failed';
      this.standing = { is, error: asBackupError(error) };
      await this.client.abort(); // Nothing is left to be ended in order.
      return;
    }
    try {
      if (untrusted === undefined) this.standing = { is: 'empty' };
      else this.root = decodeRoot(untrusted);
    } catch (error) {
      this.standing = { is: 'damaged', error: unreadable(this.name, asBackupError(error)) };
    }
  }

  /** True if what it has for a root cannot be read: then it may be given the newest one again. */
  get lostRoot(): boolean {
    const { standing } = this;
    return standing.is === 'damaged' && this.root === undefined && standing.error.code === 'store-damaged';
  }

  /** Its root is `root`, which is the newest. `waits`: whether it said that something waits for its owner, if it said. */
  joined(root: Root, waits?: boolean): void {
    this.root = root;
    this.standing = { is: 'in-step' };
    this.pin.write(root, waits);
  }

  /** True if it said so when it was last given a root. */
  get waits(): boolean {
    return this.pin.read()?.waits === true;
  }

  get inStep(): boolean {
    return this.standing.is === 'in-step';
  }

  /** True if its medium is not there, which nobody need be told as a fault. */
  get isAway(): boolean {
    return this.removable && this.standing.is === 'absent';
  }

  /** Its standing, for people; without its name. */
  describe(): string {
    const { standing } = this;
    switch (standing.is) {
      case 'unknown':
        return 'has not been asked';
      case 'in-step':
        return 'is in step';
      case 'behind':
        return `is behind by ${standing.roots} ${standing.roots === 1 ? 'root' : 'roots'}`;
      case 'empty':
        return 'is empty';
      default:
        return `${DESCRIBED[standing.is]}: ${standing.error.message}`;
    }
  }
}

const DESCRIBED: Readonly<Record<Faulty, string>> = {
  absent: 'is absent',
  failed: 'failed',
  damaged: 'has a damaged root',
  emptied: 'was emptied',
  'rolled-back': 'was rolled back',
  forked: 'has another history',
  replaced: 'was replaced',
};

/** What to do about a root that cannot be read. */
function unreadable(name: string, error: BackupError): BackupError {
  if (error.code !== 'store-damaged') return error;
  const how =
    `"qubes-backup storage sync ${name}" gives it the newest one from another store; without another, ` +
    '"qubes-backup-storage roots" and "restore-root" in its VM go back to the one before';
  return new BackupError(error.code, `${error.message} (in ${name}): ${how}`, { cause: error });
}

export function asBackupError(error: unknown): BackupError {
  return isBackupError(error) ? error : new BackupError('internal', messageOf(error), { cause: error });
}
