/** Devices of dom0 that VMs have. */

import { withWorld } from './state.ts';

/** What a VM that runs has of dom0's devices: where it has it, the file behind it, and whether it may write. */
export function devicesOf(
  root: string,
  vm: string,
): readonly { readonly device: string; readonly file: string; readonly readOnly: boolean }[] {
  return withWorld(root, (world) => {
    world.settle();
    return world.state.attachments
      .filter((attachment) => attachment.vm === vm)
      .map(({ port, frontend, readOnly }) => ({
        device: `/dev/${frontend}`,
        file: world.state.loops[port.slice('loop'.length)]?.file ?? world.at(`dev/${port}`),
        readOnly,
      }));
  });
}
