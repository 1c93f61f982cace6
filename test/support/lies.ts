/** What a hand between a service and dom0 alters (tamper.ts). Hostile peers as such are attacked with in test/attack. */

import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import type { Frame, Instead } from './tamper.ts';

/** What to say instead of a frame, if not the frame itself. */
export type Alter = (frame: Frame, index: number) => Instead | undefined;

/** Alters the first frame of `type` after `skip` others of it. */
export function onType(type: number, make: (frame: Frame) => Instead, skip = 0): Alter {
  let seen = 0;
  return (frame) => (frame.type === type && seen++ === skip ? make(frame) : undefined);
}

export const backUp = (app: App): Promise<void> => backup(app, ['work']);
