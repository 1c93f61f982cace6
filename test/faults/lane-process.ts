/** A lane in a process of its own (workers.ts): it changes its working folder and umask, as services in it do. */

import { Lane } from './lane.ts';
import type { Request } from './workers.ts';

let lane: Lane | undefined;

async function answer(request: Request): Promise<unknown> {
  if (request.kind === 'open') {
    lane = new Lane(request.folder, request.edits);
    return 'open';
  }
  if (lane === undefined) throw new Error('no folder to work in');
  return request.kind === 'baseline'
    ? lane.baseline(request.scenario)
    : lane.try(request.scenario, request.fault, request.usual);
}

process.on('message', (request: Request) => {
  answer(request).then(
    (result) => process.send?.({ result }),
    (error: unknown) =>
      process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
