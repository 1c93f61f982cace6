/**
 * `setup`: the way from nothing to the first backup, by questions. Each step looks whether it is done already, so that the guide can be
 * left at any question and started again.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { requireUsage } from '../app.ts';
import { loadConfig } from '../config.ts';
import { DEFAULT_CONFIG } from '../config/file.ts';
import { STATUS } from '../exit-status.ts';
import type { Status } from '../exit-status.ts';
import { opensUnattended } from '../keys/unattended.ts';
import { copySecret, passphraseOf } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { newPaper, newPassphrase } from '../new-secret.ts';
import { Output } from '../output.ts';
import { askSecret, hasTerminal } from '../prompt.ts';
import { configOptions, report, runWork, secretIsGiven } from '../run.ts';
import type { GlobalOptions, Work } from '../run.ts';
import { parseTime, parseWeekly } from '../schedule/calendar.ts';
import type { Calendar } from '../schedule/calendar.ts';
import { readSchedule } from '../schedule/schedule.ts';
import { parseStore, writeConfig } from '../setup/config-file.ts';
import { Dialogue } from '../setup/dialogue.ts';
import { PinFile } from '../state/pin.ts';
import { backup } from './backup.ts';
import { doctor } from './doctor.ts';
import { drill } from './drill.ts';
import { init } from './init.ts';
import { keyAdd } from './key.ts';
import { enableSchedule } from './schedule.ts';
import { unlock } from './unlock.ts';

export async function setup(options: GlobalOptions, units: string | undefined): Promise<void> {
  const output = new Output(false);
  try {
    requireUsage(
      hasTerminal() && !options.json,
      'setup asks questions, so it needs a terminal; without one: init, key paper, backup, schedule enable',
    );
    process.exitCode = await new Guide(options, output, units).run();
  } catch (error) {
    output.note('"qubes-backup setup" goes on where you left it');
    process.exitCode = report(output, error);
  }
}

class Guide {
  readonly #options: GlobalOptions;
  readonly #output: Output;
  readonly #units: string | undefined;
  readonly #ask: Dialogue;
  /** The passphrase of this run, so that it is typed once. */
  #secret: Secret | undefined;

  constructor(options: GlobalOptions, output: Output, units: string | undefined) {
    this.#options = options;
    this.#output = output;
    this.#units = units;
    this.#ask = new Dialogue(output);
  }

  async run(): Promise<Status> {
    this.#ask.say(
      'From nothing to a first backup. Enter takes the answer in brackets; Ctrl-C leaves, and nothing is lost.',
    );
    try {
      await this.#configure();
      await this.#initialise();
      await this.#addPaper();
      await this.#look();
      const vms = await this.#schedule();
      return await this.#backUp(vms);
    } finally {
      this.#secret?.bytes.fill(0);
    }
  }

  get #config() {
    return loadConfig(configOptions(this.#options));
  }

  async #configure(): Promise<void> {
    const { config, local } = this.#options;
    const file = config ?? (local === undefined ? DEFAULT_CONFIG : join(local, 'config.toml'));
    this.#ask.heading('1 of 6: where backups are kept');
    if (existsSync(file)) {
      this.#ask.say(`${file} is there, and is used as it is.`);
      return;
    }
    this.#ask.say(
      'A storage VM keeps them sealed: it cannot read them. Or a folder on a disk that is attached to dom0, such as /media/usb/backup.',
      'More stores, each a whole copy, are added later in the configuration.',
    );
    const preset = local === undefined ? 'backup-store' : 'main';
    const store = await this.#ask.question('Storage VM or folder:', preset, parseStore);
    writeConfig(file, local === undefined ? 'qubes' : 'local', store);
    this.#ask.say(`Wrote ${file}.`);
  }

  async #initialise(): Promise<void> {
    this.#ask.heading('2 of 6: the repository and its passphrase');
    if (this.#isInitialised()) {
      this.#ask.say('This machine uses a repository already.');
      if (!secretIsGiven(this.#options) && !(await opensUnattended(this.#config)))
        this.#secret = passphraseOf(await askSecret('Passphrase: '));
      return;
    }
    this.#ask.say(
      'All backups are sealed under keys that a passphrase opens. Eight random words are strong; your own are weaker.',
    );
    const own = !(await this.#ask.yes('Have a passphrase generated:', 'yes'));
    await this.#must((app) =>
      init(app, async () => {
        const secret = await newPassphrase(own);
        this.#secret = copySecret(secret);
        return [secret];
      }),
    );
  }

  async #addPaper(): Promise<void> {
    this.#ask.heading('3 of 6: a paper key');
    this.#ask.say(
      '24 words on paper open the backups when the passphrase is forgotten, or when you are not there to be asked.',
    );
    const kinds: string[] = [];
    await this.#must(async (app) => {
      app.defer(() => app.storage.abort());
      kinds.push(...(await app.open()).root.body.slots.map(({ kind }) => kind));
      await app.closeStorage();
    });
    if (kinds.includes('paper')) {
      this.#ask.say('There is one already.');
      return;
    }
    if (await this.#ask.yes('Show one, to be written down:', 'yes'))
      await this.#must((app) => keyAdd(app, undefined, newPaper));
    else this.#ask.say('"qubes-backup key paper" makes one later, --sheet FILE a page to print.');
  }

  /** Not fatal: what is wrong may be meant so. */
  async #look(): Promise<void> {
    this.#ask.heading('4 of 6: is all there that a backup needs?');
    const { status } = await this.#run(doctor);
    if (status === STATUS.complete || (await this.#ask.yes('Go on as it is:', 'yes'))) return;
    throw new BackupError('usage', 'look at what is named above');
  }

  /** Answers the VMs to back up, null for all. */
  async #schedule(): Promise<readonly string[] | null> {
    this.#ask.heading('5 of 6: which VMs, and when');
    const present = readSchedule(this.#config.stateFolder);
    if (present !== undefined) {
      this.#ask.say('A schedule is there ("qubes-backup schedule show").');
      return present.vms;
    }
    const vms = await this.#ask.question(
      'VMs, with spaces between; all is each that is included in backups:',
      'all',
      (text) => (text === 'all' ? null : text.split(/[\s,]+/).map((name) => parseVmName(name))),
    );
    this.#ask.say(
      'A time each day (02:00) or week (sun,02:00), or never. A run that was missed is made up for.',
    );
    const when = await this.#ask.question('When:', '02:00', parseWhen);
    if (when === null) return vms;
    await this.#must((app, options) =>
      enableSchedule(
        app,
        options,
        { when, onAc: false, vms: vms === null ? null : [...vms], forget: false, check: 5, drill: 0 },
        this.#units,
      ),
    );
    await this.#offerUnlock();
    return vms;
  }

  async #offerUnlock(): Promise<void> {
    if (await opensUnattended(this.#config)) return;
    this.#ask.say(
      "At night nobody is there to type. The kernel's keyring can keep what opens the repository until shutdown.",
    );
    if (!(await this.#ask.yes('Unlock now:', 'yes'))) return;
    const { status } = await this.#run((app) => unlock(app, 0));
    if (status !== STATUS.complete) this.#ask.say('It is locked as before; the rest works all the same.');
  }

  async #backUp(vms: readonly string[] | null): Promise<Status> {
    this.#ask.heading('6 of 6: the first backup');
    if (!(await this.#ask.yes('Take it now:', 'yes'))) {
      this.#ask.say('"qubes-backup backup --all" takes it.');
      return STATUS.complete;
    }
    const { status } = await this.#run((app) =>
      vms === null ? backup(app, [], { all: true }) : backup(app, vms),
    );
    if (status !== STATUS.complete && status !== STATUS.warnings) return status;
    this.#ask.say(
      '',
      'A backup is good when it was restored. A drill restores one into a VM that is there for a moment, proves it, and removes it.',
    );
    if (!(await this.#ask.yes('Drill it', 'yes'))) {
      this.#ask.say('"qubes-backup drill VM" does it later.');
      return status;
    }
    return (await this.#run((app) => drill(app, [], { random: 1 }))).status;
  }

  #isInitialised(): boolean {
    return new PinFile(this.#config.stateFolder).read() !== undefined;
  }

  async #must(work: Work): Promise<void> {
    const { status } = await this.#run(work);
    if (status !== STATUS.complete && status !== STATUS.warnings)
      throw new BackupError('usage', 'that step has to work before the next one');
  }

  #run(work: Work) {
    return runWork(this.#options, this.#output, work, this.#secret);
  }
}

/** Null for never. Throws `usage`. */
function parseWhen(text: string): Calendar | null {
  if (text === 'never') return null;
  const daily = parseTime(text);
  const when = daily === undefined ? parseWeekly(text) : ({ every: 'day', ...daily } as const);
  if (when !== undefined) return when;
  throw new BackupError('usage', 'Give a time such as 02:00, or sun,02:00, or never.');
}
