/**
 * qubes.Filecopy: files into ~/QubesIncoming of a VM of the local driver. Never to be installed: every VM of Qubes OS
 * has its own.
 */

import { receiveFiles } from '../../dvm/filecopy-receiver.ts';

await receiveFiles(process.env);
