/**
 * `request-service.ts SERVICE HOME`: a service of dom0 as it is installed, but for the home of the local driver in HOME, and for its
 * patience with a form.
 */

import { answerRequest, answerStart } from '../../dom0/request/serve.ts';
import { SANDBOX } from './home.ts';

/** Milliseconds. */
const PATIENCE = 2_000;

const [service = '', home = ''] = process.argv.slice(2);
const options = { file: undefined, localHome: home, sandbox: SANDBOX } as const;
await (service === 'qubes.BackupStart' ? answerStart(options) : answerRequest(options, PATIENCE));
