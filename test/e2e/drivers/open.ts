/** The driver of a machine of the suite, as each process of dom0 opens it. */

import { join } from 'node:path';
import type { Domains } from '../../../dom0/domains/domains.ts';
import { LocalDomains } from '../../../dom0/domains/local/local.ts';
import { Admin } from '../../../dom0/domains/qubes/admin/admin.ts';
import { Journal } from '../../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../../dom0/domains/qubes/qubes.ts';
import { imageIn } from '../../lab/image-files.ts';
import { LabDomains } from '../../lab/lab-domains.ts';
import { callsBy } from '../../qubes/calls-kit.ts';
import { Instants } from '../../qubes/instants.ts';
import { playedTools } from '../../qubes/tools/tools-kit.ts';
import { SANDBOX } from '../../support/home.ts';
import type { Machine } from './system.ts';

/** Calls of programs and of qubesd that change nothing. */
const LOOKS = /^(?:lvs|qvm-block,list|losetup,--list)/;
const READS =
  /^(?:list|properties|property|globals|feature|tags|volume|volumes|pool|pools|state|firewall|notes|events|propertyDefault|labels|devices)/;

/** `instants` pass after each step that changes something: of the driver, of the journal, of dom0's programs, of qubesd. */
export function openDomains(
  machine: Machine,
  instants = new Instants(Infinity),
  warn: (text: string) => void = () => undefined,
): Domains {
  return instants.around(openDriver(machine, instants, warn), () => true);
}

function openDriver(machine: Machine, instants: Instants, warn: (text: string) => void): Domains {
  const { folder } = machine;
  if (machine.driver === 'local') return new LocalDomains({ home: folder, sandbox: SANDBOX, warn });
  if (machine.driver === 'lab')
    return new LabDomains({ home: folder, sandbox: SANDBOX, image: imageIn(machine.image), warn });
  const { root, socket, programs, dom0 } = machine;
  return new QubesDomains({
    admin: instants.around(new Admin(socket), (method) => !READS.test(method)),
    tools: instants.around(playedTools(root), (_run, args) => !LOOKS.test(String(args))),
    calls: instants.around(callsBy(programs), (method) => method === 'call'),
    journal: new Journal(join(folder, 'journal'), { after: instants.pass }),
    stateFolder: join(folder, 'state', 'qubes'),
    warn,
    ...(dom0 === undefined ? {} : { dom0 }),
    volumes: { root, patience: 5_000 },
  });
}
